//! A receiver of notices, as somebody else might have written it: it reads and writes bare bytes, so that it can answer
//! as badly as a test wants.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// One notice, as it arrived.
#[derive(Clone, Debug)]
pub struct Notice {
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Notice {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn nonce(&self) -> String {
        self.header("x-transcend-nonce").unwrap().to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What a receiver sends back; nothing closes the connection without a word.
pub type Answer = Vec<u8>;

/// Thinks of an answer.
pub type Behaviour = Arc<dyn Fn(Notice) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A plain answer with this status.
pub fn status(status: u16) -> Answer {
    format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

/// A receiver on a port of its own.
pub struct Receiver {
    address: SocketAddr,
    notices: Arc<Mutex<Vec<Notice>>>,
    behaviour: Arc<Mutex<Behaviour>>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// One that answers 200.
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let always: Behaviour = Arc::new(|_| Box::pin(async { status(200) }));
        let behaviour = Arc::new(Mutex::new(always));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&notices), Arc::clone(&behaviour)));
        Receiver {
            address,
            notices,
            behaviour,
            _serving: serving,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/transcend/new-dsr", self.address)
    }

    /// From now on answers what `behaviour` thinks of.
    pub fn answers_as<F>(&self, behaviour: impl Fn(Notice) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        *self.behaviour.lock().unwrap() = Arc::new(move |notice| Box::pin(behaviour(notice)));
    }

    /// From now on answers this.
    pub fn answers(&self, answer: Answer) {
        self.answers_as(move |_| std::future::ready(answer.clone()));
    }

    /// The notices since the last call.
    pub fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut *self.notices.lock().unwrap())
    }

    /// The one notice since the last call.
    pub fn take_one(&self) -> Notice {
        let mut taken = self.take();
        assert_eq!(taken.len(), 1, "one notice was expected");
        taken.remove(0)
    }
}

async fn serve(listener: TcpListener, notices: Arc<Mutex<Vec<Notice>>>, behaviour: Arc<Mutex<Behaviour>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&notices), Arc::clone(&behaviour)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(mut stream: TcpStream, notices: Arc<Mutex<Vec<Notice>>>, behaviour: Arc<Mutex<Behaviour>>) {
    let mut buffer = Vec::new();
    while let Some(notice) = read_notice(&mut stream, &mut buffer).await {
        notices.lock().unwrap().push(notice.clone());
        let think = Arc::clone(&*behaviour.lock().unwrap());
        let answer = think(notice).await;
        if answer.is_empty() || stream.write_all(&answer).await.is_err() || answer.starts_with(b"HTTP/1.0") {
            return;
        }
    }
}

/// Reads as the plainest of receivers do: the head to its empty line, then exactly `Content-Length` bytes.
async fn read_notice(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Notice> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.expect("a notice has a length").1.parse().unwrap();
    while buffer.len() < head_end + 4 + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end + 4..head_end + 4 + length].to_vec();
    buffer.drain(..head_end + 4 + length);
    Some(Notice { path, headers, body })
}
