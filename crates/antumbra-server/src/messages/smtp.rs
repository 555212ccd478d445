//! Giving mail to the one mail server that the operator named.
//!
//! Every wait is bounded, and nobody waits here for a turn: a message whose turn has not come is told when to come back, so
//! that a slow server holds up nothing but mail. What a server says of a message may name people, so only its codes are
//! repeated.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use lettre::transport::smtp::{
    Error,
    authentication::Mechanism,
    client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
    commands::{Data, Mail as MailFrom, Rcpt},
    extension::{ClientId, Extension, MailParameter},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    mail::{Mail, Written},
    model::{MessageId, Outcome},
    unmixed::Unmixed,
};
use crate::config::{MailConfig, MailEncryption};

/// How long a message waits at least that found every connection in use, and how long a conversation is thought to take: those
/// that wait come back one after another. In milliseconds.
const BUSY: i64 = 1_000;
const CONVERSATION: i64 = 200;
/// So much of a minute's messages may go out at once.
const BURST: i64 = 5_000;
const UNREACHED: &str = "the mail server could not be reached";
/// Saying goodbye: the server has the message by then.
const QUIT_MAX: Duration = Duration::from_secs(2);

/// Sends mail, if there is a server to send it to.
#[derive(Clone)]
pub struct Mailer(Option<Arc<Inner>>);

struct Inner {
    config: MailConfig,
    /// Made when it is first needed: authorities are read from disk.
    tls: OnceLock<Result<TlsParameters, String>>,
    connections: Arc<Semaphore>,
    pace: Mutex<Pace>,
}

/// When the next message may go, in milliseconds since the epoch.
#[derive(Default)]
struct Pace {
    next: i64,
    /// The place of the last message that was told to come back.
    waiting: i64,
}

/// Whether a message may go now.
pub(super) enum Admission {
    /// There is no mail server.
    NoServer,
    /// Not before then.
    Later(Timestamp),
    /// Yes.
    Now(Turn),
}

/// Leave to send one message.
pub(super) struct Turn {
    mailer: Arc<Inner>,
    _connection: OwnedSemaphorePermit,
}

impl Mailer {
    /// A mailer for the server that is configured, if one is.
    pub fn new(config: Option<&MailConfig>) -> Mailer {
        Mailer(config.map(|config| {
            Arc::new(Inner {
                config: config.clone(),
                tls: OnceLock::new(),
                connections: Arc::new(Semaphore::new(config.connections.get())),
                pace: Mutex::default(),
            })
        }))
    }

    /// Asks for a turn.
    pub(super) fn admit(&self, now: Timestamp) -> Admission {
        let Some(mailer) = &self.0 else {
            return Admission::NoServer;
        };
        let config = &mailer.config;
        let later = |at| Admission::Later(Timestamp::from_millisecond(at).unwrap_or(now));
        let mut pace = mailer.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(connection) = Arc::clone(&mailer.connections).try_acquire_owned() else {
            return later(pace.wait(now.as_millisecond(), config.connections.get()));
        };
        match pace.take(now.as_millisecond(), config.per_minute.map(|count| count.get())) {
            Ok(()) => Admission::Now(Turn {
                mailer: Arc::clone(mailer),
                _connection: connection,
            }),
            Err(at) => later(at),
        }
    }
}

impl Pace {
    /// Takes a place at `now`, or says when to come back: each one later than those that were told so before.
    fn take(&mut self, now: i64, per_minute: Option<u32>) -> Result<(), i64> {
        let Some(per_minute) = per_minute else { return Ok(()) };
        let interval = (60_000 / i64::from(per_minute)).max(1);
        let next = self.next.max(now);
        if next - now <= BURST {
            self.next = next + interval;
            return Ok(());
        }
        self.waiting = self.waiting.max(next - BURST) + interval;
        Err(self.waiting)
    }

    /// When to come back at `now`, since all of so many connections are in use.
    fn wait(&mut self, now: i64, connections: usize) -> i64 {
        let apart = CONVERSATION / i64::try_from(connections).unwrap_or(i64::MAX);
        self.waiting = self.waiting.max(now + BUSY) + apart.max(1);
        self.waiting
    }
}

impl Turn {
    /// Sends the mail. Takes no longer than the operator allows.
    pub(super) async fn send(self, id: MessageId, at: Timestamp, mail: &Mail) -> Outcome {
        let config = &self.mailer.config;
        let Ok(written) = mail.write(config, id, at) else {
            return Outcome::Refused("the address of the data subject is none that mail can go to".to_owned());
        };
        match tokio::time::timeout(config.timeout, self.mailer.converse(&written)).await {
            Ok(outcome) => outcome.unwrap_or_else(|outcome| outcome),
            Err(_) => Outcome::PutOff("the mail server did not answer in time".to_owned()),
        }
    }
}

impl Inner {
    /// One conversation. What goes wrong before the message is named is put off, whatever the server says of it: it is
    /// about us, and somebody will repair it.
    async fn converse(&self, written: &Written) -> Result<Outcome, Outcome> {
        let mut connection = self.connect().await?;
        let accepts_any_letter = connection.server_info().supports_feature(Extension::SmtpUtfEight);
        let named = [&written.to].into_iter().chain(&written.copies);
        let parameters = match named
            .into_iter()
            .all(|address| AsRef::<str>::as_ref(address).is_ascii())
        {
            true => Vec::new(),
            false if accepts_any_letter => vec![MailParameter::SmtpUtfEight],
            false => {
                let why = "the mail server takes no addresses with letters beyond ASCII";
                return Err(Outcome::Refused(why.to_owned()));
            }
        };
        let from = self.config.from.email.clone();
        let said = connection.command(MailFrom::new(Some(from), parameters)).await;
        said.map_err(|error| refusal("the sender", &error))?;
        let said = connection.command(Rcpt::new(written.to.clone(), vec![])).await;
        said.map_err(|error| refusal("the recipient", &error))?;
        let mut copies_refused = 0;
        for copy in &written.copies {
            let said = connection.command(Rcpt::new(copy.clone(), vec![])).await;
            if let Err(error) = said {
                // What is said about a copy must not keep the message from the data subject.
                error
                    .status()
                    .ok_or_else(|| put_off("the conversation broke off", &error))?;
                copies_refused += 1;
            }
        }
        let said = connection.command(Data).await;
        said.map_err(|error| refusal("the message", &error))?;
        let said = connection.message(&written.bytes).await;
        said.map_err(|error| refusal("the message", &error))?;
        tokio::time::timeout(QUIT_MAX, connection.quit()).await.ok();
        Ok(Outcome::Sent { copies_refused })
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Outcome> {
        let config = &self.config;
        let hello = ClientId::Domain(config.from.email.domain().to_owned());
        let mut connection = match config.encryption {
            MailEncryption::None => self.open(&hello, None).await?,
            MailEncryption::Tls => self.open(&hello, Some(self.tls()?)).await?,
            MailEncryption::StartTls => self.open_and_upgrade(&hello, self.tls()?).await?,
        };
        if let Some(login) = &config.login {
            let admitted = connection.auth(&[Mechanism::Plain, Mechanism::Login], login).await;
            admitted.map_err(|error| put_off("the mail server did not take user name and password", &error))?;
        }
        Ok(connection)
    }

    /// Connects, encrypted from the first byte or not at all.
    async fn open(&self, hello: &ClientId, tls: Option<TlsParameters>) -> Result<AsyncSmtpConnection, Outcome> {
        let server = (self.config.host.as_str(), self.config.port);
        let wait = Some(self.config.connect_timeout);
        let connected = AsyncSmtpConnection::connect_tokio1(server, wait, hello, tls, None).await;
        connected.map_err(|error| put_off(UNREACHED, &error))
    }

    /// Connects in the clear, and encrypts before anything is said.
    async fn open_and_upgrade(&self, hello: &ClientId, tls: TlsParameters) -> Result<AsyncSmtpConnection, Outcome> {
        let server = (self.config.host.as_str(), self.config.port);
        let stream = match tokio::time::timeout(self.config.connect_timeout, TcpStream::connect(server)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return Err(Outcome::PutOff(UNREACHED.to_owned())),
            Err(_) => return Err(Outcome::PutOff(format!("{UNREACHED} (it took too long)"))),
        };
        let connected = AsyncSmtpConnection::connect_with_transport(Box::new(Unmixed::new(stream)), hello).await;
        let mut connection = connected.map_err(|error| put_off(UNREACHED, &error))?;
        let upgraded = connection.starttls(tls, hello).await;
        upgraded.map_err(|error| put_off("the connection to the mail server could not be encrypted", &error))?;
        Ok(connection)
    }

    fn tls(&self) -> Result<TlsParameters, Outcome> {
        let tls = self.tls.get_or_init(|| tls(&self.config));
        tls.clone().map_err(Outcome::PutOff)
    }
}

/// What a connection is encrypted with. Fails, in words, when the file of authorities is not one.
pub(super) fn tls(config: &MailConfig) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(file) = &config.ca_file {
        let pem = std::fs::read(file).map_err(|error| format!("the file of authorities cannot be read: {error}"))?;
        let authorities =
            Certificate::from_pem(&pem).map_err(|_| "the file of authorities holds no certificate".to_owned())?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authorities);
    }
    builder
        .build()
        .map_err(|_| "encryption to the mail server could not be set up".to_owned())
}

/// What follows from the server's refusal of `what`: those of 5xx are for good.
fn refusal(what: &str, error: &Error) -> Outcome {
    let Some(code) = code(error) else {
        return put_off("the conversation with the mail server broke off", error);
    };
    if error.is_permanent() {
        Outcome::Refused(format!("the mail server refused {what} ({code})"))
    } else {
        Outcome::PutOff(format!("the mail server put {what} off ({code})"))
    }
}

fn put_off(why: &str, error: &Error) -> Outcome {
    Outcome::PutOff(match code(error) {
        Some(code) => format!("{why} ({code})"),
        None if error.is_timeout() => format!("{why} (it took too long)"),
        None => why.to_owned(),
    })
}

/// The code of an answer, with the finer one that begins its text, as `550 5.1.1`. Nothing else of the text: it may name
/// the person.
fn code(error: &Error) -> Option<String> {
    let code = error.status()?;
    let text = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    let finer = text.split_whitespace().next().filter(|word| {
        let parts: Vec<&str> = word.split('.').collect();
        let digits = |part: &&str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.len() == 3 && parts.iter().all(digits)
    });
    Some(match finer {
        Some(finer) => format!("{code} {finer}"),
        None => code.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_go_at_the_pace_that_is_set_and_those_that_wait_come_back_one_after_another() {
        let mut pace = Pace::default();
        let per_minute = Some(60);
        // Five seconds' worth goes at once, and the one that is due.
        for _ in 0..6 {
            assert_eq!(pace.take(100_000, per_minute), Ok(()));
        }
        assert_eq!(pace.take(100_000, per_minute), Err(102_000));
        assert_eq!(pace.take(100_000, per_minute), Err(103_000));
        assert_eq!(pace.take(102_000, per_minute), Ok(()));
        assert_eq!(pace.take(103_000, per_minute), Ok(()));
        assert_eq!(pace.take(103_000, None), Ok(()));
        let mut pace = Pace::default();
        assert_eq!([pace.wait(100_000, 4), pace.wait(100_000, 4)], [101_050, 101_100]);
    }
}
