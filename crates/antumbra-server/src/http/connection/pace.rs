//! A request body that must keep arriving: it starts with some time on its account, waiting spends it, each KiB that
//! arrives earns a second. So a body of any size may take its time, and one that trickles is let go. Only waiting for the
//! peer counts: a handler that reads slowly costs the peer nothing.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

const EARNS_A_SECOND: f64 = 1024.0;

/// The body did not keep arriving.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the body did not keep arriving")]
pub(crate) struct TooSlow;

/// A body with a bound on how slowly it may arrive.
pub(crate) struct Paced<B> {
    inner: B,
    most: Duration,
    left: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    ended: Arc<AtomicBool>,
}

impl<B> Paced<B> {
    /// `most` is how long a body may stand still.
    pub(crate) fn new(inner: B, most: Duration) -> Paced<B> {
        Paced {
            inner,
            most,
            left: most,
            waiting: None,
            ended: Arc::default(),
        }
    }

    /// Becomes true once the whole body was read.
    pub(crate) fn ended(&self) -> Arc<AtomicBool> {
        self.ended.clone()
    }

    fn earn(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        #[allow(clippy::cast_precision_loss, reason = "frames are far smaller than the loss")]
        let earned = Duration::from_secs_f64(bytes as f64 / EARNS_A_SECOND);
        self.left = (self.left + earned).min(self.most);
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                let bytes = frame
                    .as_ref()
                    .and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
                this.earn(bytes.unwrap_or(0));
                if frame.is_none() || this.inner.is_end_stream() {
                    this.ended.store(true, Ordering::Relaxed);
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let left = this.left;
                let (_, sleep) = this.waiting.get_or_insert_with(|| {
                    let now = Instant::now();
                    (now, Box::pin(sleep_until(now + left)))
                });
                sleep.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
