//! A mail server, as somebody else might have written it: it speaks SMTP in the clear or encrypted, asks for a password if it is
//! told to, and refuses, stalls and hangs up as a test wants.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// One message, as it was taken.
#[derive(Clone, Debug)]
pub struct Posted {
    pub from: String,
    pub to: Vec<String>,
    /// The lines between DATA and the dot, the dots that were doubled single again.
    pub content: String,
}

impl Posted {
    /// A header, unfolded.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.content.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let start = format!("{name}: ");
        let mut lines = head.split("\r\n");
        lines.find_map(|line| line.strip_prefix(&start).map(str::to_owned))
    }

    /// The parts of the body, decoded: plain text, then HTML.
    pub fn parts(&self) -> Vec<String> {
        let kind = self.header("Content-Type").unwrap();
        let boundary = kind.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
        let boundary = format!("--{boundary}");
        let parts = self.content.split(&boundary).skip(1);
        parts
            .filter_map(|part| {
                let (head, body) = part.split_once("\r\n\r\n")?;
                Some(match head.contains("quoted-printable") {
                    true => unquote(body),
                    false if head.contains("base64") => panic!("the texts of tests are mostly ASCII"),
                    false => body.to_owned(),
                })
            })
            .map(|body| body.replace("\r\n", "\n"))
            .collect()
    }
}

fn unquote(body: &str) -> String {
    let joined = body.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = joined.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'=' {
            let hex = std::str::from_utf8(&behind[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What the server does at a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Says this in place of what it should, as `550 5.1.1 nobody here`.
    Say(String),
    /// Says nothing for good.
    Stall,
    /// Closes the connection.
    HangUp,
    /// Takes the message, then closes the connection without a word.
    TakeAndHangUp,
}

#[derive(Default)]
struct Shared {
    posted: Vec<Posted>,
    /// What begins a line of the client's, and what is done about it.
    answers: Vec<(String, Answer)>,
    password: Option<String>,
    /// How somebody is asked for the password.
    mechanism: Option<&'static str>,
    connections: usize,
    /// What somebody on the way adds to the leave to encrypt.
    slipped_in: String,
    /// Every line that was said in the clear.
    in_the_clear: Vec<String>,
}

/// How a postbox keeps what is said from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Not at all.
    None,
    /// From STARTTLS on.
    StartTls,
    /// From the first byte.
    Tls,
}

/// Where the certificate lies that encrypting postboxes have: for `localhost` and 127.0.0.1, vouched for by itself.
pub fn certificate_file() -> std::path::PathBuf {
    fixture("localhost.cert.pem")
}

fn fixture(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    folder.join(name)
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(certificate_file()).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("localhost.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A mail server on a port of its own.
pub struct Postbox {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _serving: JoinSet<()>,
}

impl Postbox {
    pub async fn start() -> Postbox {
        Postbox::at_address("127.0.0.1:0", Secrecy::None).await
    }

    /// One on this address that encrypts.
    pub async fn at_address(address: &str, secrecy: Secrecy) -> Postbox {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let mut serving = JoinSet::new();
        let for_all = Arc::clone(&shared);
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                for_all.lock().unwrap().connections += 1;
                let shared = Arc::clone(&for_all);
                conversations.spawn(async move {
                    match secrecy {
                        Secrecy::Tls => {
                            // Whoever does not trust the certificate does not come in.
                            let Ok(stream) = acceptor().accept(stream).await else {
                                return;
                            };
                            converse(Box::new(stream), shared, Secrecy::Tls).await;
                        }
                        other => converse(Box::new(stream), shared, other).await,
                    }
                });
            }
        });
        Postbox {
            address,
            shared,
            _serving: serving,
        }
    }

    /// How a configuration names it.
    pub fn url(&self) -> String {
        format!("smtp://{}?tls=none", self.address)
    }

    /// The same, with a user name and a password.
    pub fn url_with_password(&self, password: &str) -> String {
        format!("smtp://mailer:{password}@{}?tls=none", self.address)
    }

    /// From now on takes mail only after AUTH PLAIN with these bytes in base64.
    pub fn asks_for(&self, password: &str) {
        self.asks_by("PLAIN", password);
    }

    /// From now on takes mail only after this kind of AUTH. For LOGIN what is to be said are name and password, each in base64,
    /// with a space between.
    pub fn asks_by(&self, mechanism: &'static str, password: &str) {
        let mut shared = self.shared.lock().unwrap();
        (shared.mechanism, shared.password) = (Some(mechanism), Some(password.to_owned()));
    }

    /// From now on somebody on the way adds this to the leave to encrypt.
    pub fn slip_in(&self, words: &str) {
        words.clone_into(&mut self.shared.lock().unwrap().slipped_in);
    }

    /// What was said in the clear since the last call.
    pub fn overheard(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().in_the_clear)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on does this at lines that begin so.
    pub fn at(&self, line: &str, answer: Answer) {
        self.shared
            .lock()
            .unwrap()
            .answers
            .push((line.to_ascii_uppercase(), answer));
    }

    /// From now on does what it should.
    pub fn behaves(&self) {
        self.shared.lock().unwrap().answers.clear();
    }

    /// The messages since the last call.
    pub fn take(&self) -> Vec<Posted> {
        std::mem::take(&mut self.shared.lock().unwrap().posted)
    }

    /// The one message since the last call.
    pub fn take_one(&self) -> Posted {
        let mut taken = self.take();
        assert_eq!(taken.len(), 1, "one message was expected");
        taken.remove(0)
    }

    /// How often anybody has connected.
    pub fn connections(&self) -> usize {
        self.shared.lock().unwrap().connections
    }
}

async fn converse(stream: Box<dyn Stream>, shared: Arc<Mutex<Shared>>, mut secrecy: Secrecy) {
    let mut stream = BufReader::new(stream);
    let mut in_the_clear = secrecy != Secrecy::Tls;
    let mut posted = Posted {
        from: String::new(),
        to: vec![],
        content: String::new(),
    };
    let mut admitted = shared.lock().unwrap().password.is_none();
    let mut said = "220 postbox".to_owned();
    loop {
        if stream.write_all(format!("{said}\r\n").as_bytes()).await.is_err() {
            return;
        }
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_owned();
        if in_the_clear {
            shared.lock().unwrap().in_the_clear.push(line.clone());
        }
        let upper = line.to_ascii_uppercase();
        let planned = shared.lock().unwrap().answers.clone();
        let planned = planned.into_iter().find(|(begins, _)| upper.starts_with(begins));
        let late = match planned.map(|(_, answer)| answer) {
            Some(Answer::Say(text)) if upper != "DATA" || text.starts_with('4') || text.starts_with('5') => {
                said = text;
                continue;
            }
            Some(Answer::Stall) => std::future::pending().await,
            Some(Answer::HangUp) => return,
            other => other,
        };
        said = match upper.split(' ').next().unwrap() {
            "EHLO" if secrecy == Secrecy::StartTls => "250-postbox\r\n250 STARTTLS".to_owned(),
            "EHLO" if admitted => "250-postbox\r\n250 8BITMIME".to_owned(),
            "EHLO" => {
                let mechanism = shared.lock().unwrap().mechanism.unwrap();
                format!("250-postbox\r\n250 AUTH {mechanism}")
            }
            "STARTTLS" if secrecy == Secrecy::StartTls => {
                let leave = format!("220 go on\r\n{}", shared.lock().unwrap().slipped_in);
                if stream.write_all(leave.as_bytes()).await.is_err() {
                    return;
                }
                let Ok(encrypted) = acceptor().accept(stream.into_inner()).await else {
                    return;
                };
                let encrypted: Box<dyn Stream> = Box::new(encrypted);
                stream = BufReader::new(encrypted);
                (secrecy, in_the_clear) = (Secrecy::Tls, false);
                let Some(greeting) = next_line(&mut stream).await else {
                    return;
                };
                assert!(greeting.to_ascii_uppercase().starts_with("EHLO"), "{greeting}");
                match shared.lock().unwrap().mechanism {
                    Some(mechanism) => format!("250-postbox\r\n250 AUTH {mechanism}"),
                    None => "250-postbox\r\n250 8BITMIME".to_owned(),
                }
            }
            "AUTH" => {
                let known = shared.lock().unwrap().password.clone().unwrap();
                let mut told = line.clone();
                if upper == "AUTH LOGIN" {
                    told.clear();
                    for asked in ["334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n"] {
                        if stream.write_all(asked.as_bytes()).await.is_err() {
                            return;
                        }
                        let Some(said) = next_line(&mut stream).await else {
                            return;
                        };
                        told = format!("{told} {said}");
                    }
                }
                admitted = told.ends_with(&known);
                if admitted { "235 come in" } else { "535 5.7.8 no" }.to_owned()
            }
            "MAIL" if admitted => {
                posted.from = between(&line);
                "250 ok".to_owned()
            }
            "RCPT" => {
                posted.to.push(between(&line));
                "250 ok".to_owned()
            }
            "DATA" => {
                if stream.write_all(b"354 go on\r\n").await.is_err() {
                    return;
                }
                let mut content = String::new();
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                        return;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                posted.content = content;
                shared.lock().unwrap().posted.push(posted.clone());
                if late == Some(Answer::TakeAndHangUp) {
                    return;
                }
                "250 taken".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "530 5.7.0 who are you?".to_owned(),
        };
    }
}

/// The next line that the client says.
async fn next_line(stream: &mut BufReader<Box<dyn Stream>>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.unwrap_or(0);
    (read > 0).then(|| line.trim_end().to_owned())
}

fn between(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap().to_owned()
}
