//! One connection's bytes. Nothing of a head reaches the HTTP engine before all of it has been read strictly; a silent
//! or stalled peer is let go.
//!
//! A refused head is replaced by a request of our own making, [`REFUSED`], which the engine answers in its turn, so that
//! the answers to earlier requests on the connection come first and whole.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::framing::{Chunks, Framing, HeadScan, Refusal, read_head};
use crate::{config::Limits, http::Code};

/// The method of the request that stands in for a refused one.
pub(crate) const REFUSED: &str = "REFUSED";
const STAND_IN: &[u8] = b"REFUSED / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// After the last answer, bytes still on their way are read and dropped for this long: closing at once would make the
/// network throw away the answer too.
const LINGER: Duration = Duration::from_secs(2);

/// What the bytes of a connection and its HTTP requests know of each other.
#[derive(Default)]
pub(crate) struct Shared {
    /// Set once, when a head was refused.
    pub(crate) refusal: OnceLock<Refusal>,
    /// HTTP requests between their head and the end of their response.
    pub(crate) in_flight: AtomicUsize,
    /// Those of them whose response has begun.
    pub(crate) responding: AtomicUsize,
    /// Grows whenever the engine takes a piece of a response.
    pub(crate) taken: AtomicUsize,
    /// Cancelled when the peer closed its sending half while an answer was awaited or under way.
    pub(crate) hung_up: CancellationToken,
}

/// A connection whose framing is checked and whose silence is bounded.
pub(crate) struct Checked<S> {
    inner: S,
    shared: Arc<Shared>,
    limits: Arc<Limits>,
    state: State,
    scan: HeadScan,
    /// Bytes that arrived and were not handed on.
    inbound: BytesMut,
    /// How many of them may be handed on.
    released: usize,
    silence: Silence,
    taken: usize,
    reading: Timer,
    writing: Timer,
    lingering: Timer,
}

enum State {
    Head,
    Body(u64),
    Chunked(Chunks),
    /// HTTP/2 frames itself.
    Free,
    /// Nothing more is read.
    Over,
}

/// Why the peer may be silent for now, and so for how long.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    BeforeFirst,
    InHead,
    Between,
    /// Responses are ready and the peer takes none of any. Only HTTP/2 lets a peer do that while it still reads; over
    /// HTTP/1 the socket fills, and the writing timer notices.
    Unread,
    /// We are at work, it is not the peer's turn.
    NotTheirTurn,
}

impl<S> Checked<S> {
    pub(crate) fn new(inner: S, shared: Arc<Shared>, limits: Arc<Limits>) -> Checked<S> {
        Checked {
            inner,
            shared,
            limits,
            state: State::Head,
            scan: HeadScan::default(),
            inbound: BytesMut::new(),
            released: 0,
            silence: Silence::BeforeFirst,
            taken: 0,
            reading: Timer::default(),
            writing: Timer::default(),
            lingering: Timer::default(),
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        // The first refusal ends the connection, so there is no second.
        let _ = self.shared.refusal.set(refusal);
        self.inbound = BytesMut::from(STAND_IN);
        self.released = STAND_IN.len();
        self.state = State::Over;
    }

    /// Looks at the bytes of the head so far. `false` asks for more.
    fn advance_head(&mut self) -> bool {
        let found = match self.scan.find_end(&self.inbound) {
            Ok(None) => return false,
            Ok(Some(end)) => read_head(&self.inbound[..end]).map(|framing| (end, framing)),
            Err(refusal) => Err(refusal),
        };
        match found {
            Err(refusal) => self.refuse(refusal),
            Ok((end, framing)) => {
                self.scan = HeadScan::default();
                self.released = end;
                self.silence = Silence::NotTheirTurn;
                self.state = match framing {
                    Framing::Length(0) => State::Head,
                    Framing::Length(length) => State::Body(length),
                    Framing::Chunked => State::Chunked(Chunks::default()),
                    Framing::Http2 => State::Free,
                };
            }
        }
        true
    }

    /// Releases what is already here of a body.
    fn release_body(&mut self) -> io::Result<()> {
        let here = self.inbound.len();
        match &mut self.state {
            State::Body(left) => {
                self.released = usize::try_from(*left).unwrap_or(usize::MAX).min(here);
                *left -= self.released as u64;
            }
            State::Chunked(chunks) => self.released = chunks.advance(&self.inbound).map_err(broken)?,
            State::Head | State::Free | State::Over => self.released = here,
        }
        self.settle_body();
        Ok(())
    }

    fn settle_body(&mut self) {
        let done = match &self.state {
            State::Body(left) => *left == 0,
            State::Chunked(chunks) => chunks.is_done(),
            State::Head | State::Free | State::Over => false,
        };
        if done {
            self.state = State::Head;
        }
    }

    /// Whether the peer has been silent for longer than it may.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let idle = self.shared.in_flight.load(Ordering::Relaxed) == 0;
        let unread = self.shared.responding.load(Ordering::Relaxed) > 0;
        let taken = self.shared.taken.load(Ordering::Relaxed);
        let silence = match (&self.state, self.silence) {
            (State::Head, _) if !self.inbound.is_empty() => Silence::InHead,
            (State::Head, Silence::BeforeFirst) => Silence::BeforeFirst,
            (State::Head | State::Free, _) if idle => Silence::Between,
            (State::Free, _) if unread => Silence::Unread,
            _ => Silence::NotTheirTurn,
        };
        if silence != self.silence || taken != self.taken {
            (self.silence, self.taken) = (silence, taken);
            self.reading.stop();
        }
        let allowed = match silence {
            Silence::BeforeFirst => self.limits.first_byte,
            Silence::InHead => self.limits.header,
            Silence::Between => self.limits.idle,
            Silence::Unread => self.limits.unread_response,
            Silence::NotTheirTurn => return false,
        };
        self.reading.has_rung(cx, allowed)
    }
}

fn broken(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, refusal.reason)
}

impl<S: AsyncRead + Unpin> Checked<S> {
    /// Reads more of a head into `inbound`.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [std::mem::MaybeUninit::uninit(); 8 * 1024];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut space))?;
        self.inbound.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }

    /// Reads a body straight into the engine's buffer; what lies beyond its end is kept for the next head.
    fn poll_body(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        let taken = match &mut self.state {
            State::Body(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(fresh.len());
                *left -= taken as u64;
                taken
            }
            State::Chunked(chunks) => chunks.advance(fresh).map_err(broken)?,
            State::Head | State::Free | State::Over => fresh.len(),
        };
        self.inbound.extend_from_slice(&fresh[taken..]);
        buf.set_filled(before + taken);
        self.settle_body();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Checked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.released > 0 {
                let part = this.released.min(buf.remaining());
                buf.put_slice(&this.inbound[..part]);
                this.inbound.advance(part);
                this.released -= part;
                return Poll::Ready(Ok(()));
            }
            let waiting = match this.state {
                State::Over => return Poll::Ready(Ok(())),
                State::Head if this.inbound.is_empty() => Waiting::Head,
                State::Head => Waiting::RestOfHead,
                _ => Waiting::Body,
            };
            match waiting {
                Waiting::RestOfHead if this.advance_head() => {}
                Waiting::Head | Waiting::RestOfHead => match this.poll_more(cx) {
                    Poll::Ready(Ok(0)) => this.state = State::Over,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(cause)) => return Poll::Ready(Err(cause)),
                    Poll::Pending if !this.is_overdue(cx) => return Poll::Pending,
                    Poll::Pending if this.inbound.is_empty() => this.state = State::Over,
                    Poll::Pending => {
                        this.refuse(Refusal {
                            code: Code::TooSlow,
                            reason: "The head did not arrive in time",
                        });
                    }
                },
                Waiting::Body if !this.inbound.is_empty() => this.release_body()?,
                Waiting::Body => match this.poll_body(cx, buf) {
                    Poll::Pending if this.is_overdue(cx) => this.state = State::Over,
                    read => return read,
                },
            }
        }
    }
}

/// What a connection waits for.
enum Waiting {
    Head,
    RestOfHead,
    Body,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Checked<S> {
    /// Gives up when the peer has taken nothing for as long as it may.
    fn bound_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing.stop();
        } else if self.writing.has_rung(cx, self.limits.unread_response) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        written
    }

    /// Listens for the peer's end while an answer is awaited or under way: then the engine reads nothing, and a peer who has
    /// left would be noticed by the next bytes sent only, which may be a long time in coming.
    fn listen_for_end(&mut self, cx: &mut Context<'_>) {
        let between_heads = matches!(self.state, State::Head) && self.inbound.is_empty();
        if !between_heads || self.shared.in_flight.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Poll::Ready(Ok(0) | Err(_)) = self.poll_more(cx) {
            self.state = State::Over;
            self.shared.hung_up.cancel();
        }
    }

    /// Reads and drops what still arrives, for a moment.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [std::mem::MaybeUninit::uninit(); 16 * 1024];
        loop {
            if self.lingering.has_rung(cx, LINGER) {
                return Poll::Ready(());
            }
            let mut space = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut space)) {
                Ok(()) if !space.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bound_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.bound_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The engine comes by here whenever it has done what it can for now.
        self.listen_for_end(cx);
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.bound_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        ready!(self.bound_write(cx, shut))?;
        ready!(self.poll_linger(cx));
        Poll::Ready(Ok(()))
    }
}

/// A deadline that is set by the first question after a [`Timer::stop`].
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    fn has_rung(&mut self, cx: &mut Context<'_>, after: Duration) -> bool {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + after)));
        if !self.running {
            sleep.as_mut().reset(Instant::now() + after);
            self.running = true;
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    fn stop(&mut self) {
        self.running = false;
    }
}
