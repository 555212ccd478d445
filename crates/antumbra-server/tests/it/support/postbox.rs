//! A mail server, as somebody else might have written it: it speaks SMTP in the clear, asks for a password if it is told to,
//! and refuses, stalls and hangs up as a test wants.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

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
    connections: usize,
}

/// A mail server on a port of its own.
pub struct Postbox {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _serving: JoinSet<()>,
}

impl Postbox {
    pub async fn start() -> Postbox {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Mutex<Shared>> = Arc::default();
        let mut serving = JoinSet::new();
        let for_all = Arc::clone(&shared);
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                for_all.lock().unwrap().connections += 1;
                conversations.spawn(converse(stream, Arc::clone(&for_all)));
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
        self.shared.lock().unwrap().password = Some(password.to_owned());
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

async fn converse(stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    let mut stream = BufReader::new(stream);
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
            "EHLO" if admitted => "250-postbox\r\n250 8BITMIME".to_owned(),
            "EHLO" => "250-postbox\r\n250 AUTH PLAIN".to_owned(),
            "AUTH" => {
                let known = shared.lock().unwrap().password.clone().unwrap();
                admitted = line.ends_with(&known);
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

fn between(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap().to_owned()
}
