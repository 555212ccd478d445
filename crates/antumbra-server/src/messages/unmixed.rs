//! A way to a mail server on which nobody can slip in words before it is encrypted.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What every encrypted connection begins with, and no command of a mail client.
const HANDSHAKE: u8 = 0x16;

/// A connection that gives one byte at a time until we begin to encrypt it, so that nothing is read ahead.
///
/// Somebody on the way could put words of their own behind the server's leave to encrypt. Read ahead, they would be taken for
/// what the server says under encryption: that it took a message which it refused, say. Not read ahead, they stand where
/// encryption begins, which fails.
#[derive(Debug)]
pub(super) struct Unmixed {
    stream: TcpStream,
    is_encrypted: bool,
}

impl Unmixed {
    pub(super) fn new(stream: TcpStream) -> Unmixed {
        Unmixed {
            stream,
            is_encrypted: false,
        }
    }
}

impl AsyncTokioStream for Unmixed {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Unmixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_encrypted {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut one))?;
        into.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unmixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_encrypted |= bytes.first() == Some(&HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
