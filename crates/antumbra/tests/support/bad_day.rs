//! A network and a server that have a bad day.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Something between a command and the server that goes wrong in every way, one after the other.
pub(crate) struct BadDay {
    pub(crate) url: String,
    pub(crate) calls: Arc<AtomicUsize>,
}

impl BadDay {
    pub(crate) fn before(server: &str) -> BadDay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let upstream = server.strip_prefix("http://").unwrap().to_owned();
        let calls = Arc::new(AtomicUsize::new(0));
        let count = calls.clone();
        std::thread::Builder::new()
            .spawn(move || {
                for connection in listener.incoming() {
                    let (upstream, count) = (upstream.clone(), count.clone());
                    let serve = move || serve_badly(connection.unwrap(), &upstream, &count);
                    std::thread::Builder::new().spawn(serve).unwrap();
                }
            })
            .unwrap();
        BadDay { url, calls }
    }
}

/// One call of a connection, then it is closed.
fn serve_badly(mut connection: TcpStream, upstream: &str, calls: &AtomicUsize) {
    let Some(request) = read_message(&mut connection) else {
        return;
    };
    let call = calls.fetch_add(1, Ordering::Relaxed);
    let is_upsert = request.starts_with(b"PUT");
    let answer =
        |status: &str, more: &str| format!("HTTP/1.1 {status}\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n");
    let answer = match call % 7 {
        1 if is_upsert => answer("429 Too Many Requests", "retry-after: 1\r\n").into_bytes(),
        2 if is_upsert => answer("503 Service Unavailable", "").into_bytes(),
        3 if is_upsert => return,
        way => {
            let mut server = TcpStream::connect(upstream).unwrap();
            server.write_all(&request).unwrap();
            let answer = read_message(&mut server).unwrap();
            // The write happened, and nobody is told.
            if way == 4 && is_upsert {
                return;
            }
            let head = answer.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            [&answer[..head], b"connection: close\r\n", &answer[head..]].concat()
        }
    };
    connection.write_all(&answer).ok();
}

/// A head and as much of a body as it says; none if there is no more.
fn read_message(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut piece = [0; 65536];
    loop {
        if let Some(head) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            if message.len() >= head + 4 + length.unwrap_or(0) {
                return Some(message);
            }
        }
        match connection.read(&mut piece) {
            Ok(read) if read > 0 => message.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}
