//! A client that costs next to nothing, since it shares the cores with the server it measures: one connection, kept open,
//! one answer read for each request written.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// A connection to a server.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether it has a `Retry-After`.
    pub(crate) says_when_to_come_again: bool,
}

/// The bytes of a request with a JSON body.
pub(crate) fn request(method: &str, path: &str, key: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Connection {
    /// Connects to `http://host:port`.
    pub(crate) async fn open(url: &str) -> Result<Connection> {
        Connection::open_from(url, Ipv4Addr::LOCALHOST).await
    }

    /// Connects from an address of this machine: a server takes so many connections of one and no more.
    pub(crate) async fn open_from(url: &str, from: Ipv4Addr) -> Result<Connection> {
        let address = url.strip_prefix("http://").context("only plain HTTP is measured")?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(address.parse()?).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            read: Vec::with_capacity(64 * 1024),
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn call(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let head = std::str::from_utf8(&self.read[..head_end])?;
        let status = head.get(9..12).context("no status")?.parse()?;
        let says_when_to_come_again = head.lines().any(|line| {
            line.len() > 12 && line.is_char_boundary(12) && line[..12].eq_ignore_ascii_case("retry-after:")
        });
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")
                    .map(|l| l.trim().parse::<usize>())
            })
            .context("an answer without its length")??;
        while self.read.len() < head_end + length {
            self.more().await?;
        }
        Ok(Answer {
            status,
            says_when_to_come_again,
            body: self.read[head_end..head_end + length].to_vec(),
        })
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}
