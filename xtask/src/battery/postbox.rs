//! A mail server that takes everything, and remembers which messages came and in which life of the server they did.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Whom a mail is for, and its subject line.
type About = (String, String);

/// A running mail server; it lives as long as the battery.
pub(super) struct Postbox {
    port: u16,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    /// How often the server under test has been started.
    life: u64,
    /// By what the mail is about: the ids of the messages, and in which lives each of them came.
    mails: BTreeMap<About, BTreeMap<String, Vec<u64>>>,
}

impl Postbox {
    pub(super) async fn start() -> Result<Postbox> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let taken = Arc::<Mutex<Taken>>::default();
        let into = Arc::clone(&taken);
        #[allow(
            clippy::disallowed_methods,
            reason = "a battery is no server: its mail server lives as long as the process"
        )]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let into = Arc::clone(&into);
                // Whoever is killed in the middle of a conversation has said nothing.
                tokio::spawn(async move { converse(stream, &into).await.ok() });
            }
        });
        Ok(Postbox { port, taken })
    }

    /// What the server under test is told of it.
    pub(super) fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("ANTUMBRA_MAIL__URL", format!("smtp://127.0.0.1:{}?tls=none", self.port)),
            ("ANTUMBRA_MAIL__FROM", "privacy@example.test".to_owned()),
        ]
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().expect("no conversation panics while it writes")
    }

    /// The server under test has been started once more.
    pub(super) fn next_life(&self) {
        self.taken().life += 1;
    }

    /// Whether a mail about this has come.
    pub(super) fn has(&self, about: &About) -> bool {
        self.taken().mails.contains_key(about)
    }

    /// Mails that came so far.
    pub(super) fn count(&self) -> u64 {
        self.taken().mails.len() as u64
    }

    /// Mails that say the same under two ids, and those that came twice though nobody had died in between.
    pub(super) fn check(&self, losses: &mut Vec<String>) {
        for ((to, subject), messages) in &self.taken().mails {
            if messages.len() > 1 {
                losses.push(format!("{to} was told {subject:?} under {} ids", messages.len()));
            }
            for lives in messages.values() {
                if lives.windows(2).any(|pair| pair[0] == pair[1]) {
                    losses.push(format!("{to} was told {subject:?} again and again, in lives {lives:?}"));
                }
            }
        }
    }
}

async fn converse(stream: TcpStream, taken: &Mutex<Taken>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 postbox\r\n").await?;
    let mut to = String::new();
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let said = line.trim_end();
        let answer = match said.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-postbox\r\n250 8BITMIME",
            "RCPT" => {
                to = said.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let (id, subject) = read_mail(&mut stream).await?;
                let mut taken = taken.lock().expect("no conversation panics while it writes");
                let life = taken.life;
                let messages = taken.mails.entry((to.clone(), subject)).or_default();
                messages.entry(id).or_default().push(life);
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
}

/// The id and the subject line of the mail that follows, once its last line has come.
async fn read_mail(stream: &mut BufReader<TcpStream>) -> Result<(String, String)> {
    let (mut id, mut subject) = (String::new(), String::new());
    let mut line = String::new();
    loop {
        line.clear();
        anyhow::ensure!(stream.read_line(&mut line).await? > 0, "the mail was cut short");
        match line.trim_end() {
            "." => return Ok((id, subject)),
            header if id.is_empty() && header.starts_with("Message-ID: ") => id = header[12..].to_owned(),
            header if subject.is_empty() && header.starts_with("Subject: ") => subject = header[9..].to_owned(),
            _ => {}
        }
    }
}
