//! The accept loop: how many connections, whose, and the end of all of them.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request},
    http::{HeaderValue, Version, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{
    client::client_of,
    pace::Paced,
    stream::{Checked, REFUSED, Shared},
    tls::{self, TlsError},
};
use crate::config::{Limits, TlsFiles};

/// When the system has no more descriptors to give, closing connections gives some back; asking again at once would only
/// burn the processor.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// A body no longer than this has mostly arrived by the time it is answered unread: the engine drops it and serves on.
const LEFT_OVER_MAX: u64 = 4 * 1024;

/// The address that a request came from, as far as the server can know it; see [`client_of`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Tells whoever keeps a peer waiting that the peer closed its sending half. Most who do have gone; one who still reads gets
/// what there is.
#[derive(Clone, Default)]
pub(crate) struct Hangup(Arc<Shared>);

impl Hangup {
    pub(crate) fn was_heard(&self) -> bool {
        self.0.hung_up.is_cancelled()
    }

    pub(crate) async fn heard(&self) {
        self.0.hung_up.cancelled().await;
    }
}

impl<S: Sync> FromRequestParts<S> for Hangup {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Hangup, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// A listener about to accept.
pub(crate) struct Listening {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Arc<Limits>,
}

impl Listening {
    /// Serves `router` on `listener`, under TLS if there are files for it.
    pub(crate) fn new(
        listener: TcpListener,
        tls: Option<&TlsFiles>,
        router: Router,
        limits: Limits,
    ) -> Result<Listening, TlsError> {
        let tls = tls.map(tls::acceptor).transpose()?;
        Ok(Listening {
            listener,
            tls,
            router,
            limits: Arc::new(limits),
        })
    }

    /// Accepts until `stop`, then waits at most `limits.shutdown` for HTTP requests under way.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        let graceful = GracefulShutdown::new();
        let seats = Seats::new(&self.limits);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.welcome(stream, peer, &seats, &graceful, &mut connections),
                    Err(cause) => recover(&cause).await,
                },
                Some(_) = connections.join_next() => {}
                () = stop.cancelled() => break,
            }
        }
        drop(self.listener);
        let finished = async {
            graceful.shutdown().await;
            while connections.join_next().await.is_some() {}
        };
        if tokio::time::timeout(self.limits.shutdown, finished).await.is_err() {
            tracing::warn!("connections were cut off, they took longer than server.stop_within");
            connections.shutdown().await;
        }
    }

    fn welcome(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        seats: &Seats,
        graceful: &GracefulShutdown,
        connections: &mut JoinSet<()>,
    ) {
        let Some(seat) = seats.take(peer.ip(), self.limits.trusts_proxy(peer.ip())) else {
            metrics::counter!("antumbra_connections_refused_total").increment(1);
            return;
        };
        // Answers are written whole, so waiting to fill a packet only delays them.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let visit = Visit {
            router: self.router.clone(),
            limits: self.limits.clone(),
            peer: peer.ip(),
        };
        let watcher = graceful.watcher();
        let tls = self.tls.clone();
        #[expect(clippy::disallowed_methods, reason = "one task a connection; a stop waits for them")]
        connections.spawn(async move {
            let _seat = seat;
            match tls {
                None => visit.serve(stream, watcher).await,
                Some(tls) => match tokio::time::timeout(visit.limits.first_byte, tls.accept(stream)).await {
                    Ok(Ok(stream)) => visit.serve(stream, watcher).await,
                    Ok(Err(_)) | Err(_) => tracing::debug!("a TLS handshake did not come to its end"),
                },
            }
        });
    }
}

/// What `accept` reports is about one connection or about the process running short; neither ends the server.
async fn recover(cause: &io::Error) {
    let about_one = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
    ];
    if !about_one.contains(&cause.kind()) {
        tracing::error!(%cause, "cannot accept connections for now");
        tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
    }
}

/// One connection, before it is served.
struct Visit {
    router: Router,
    limits: Arc<Limits>,
    peer: IpAddr,
}

impl Visit {
    async fn serve<S>(self, stream: S, watcher: hyper_util::server::graceful::Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let stream = TokioIo::new(Checked::new(stream, shared.clone(), self.limits.clone()));
        let door = Door {
            router: self.router,
            shared,
            peer: self.peer,
            limits: self.limits,
        };
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // A client that closes its sending half may still read; the engine's own timers are replaced by `Checked`.
        builder
            .http1()
            .half_close(true)
            .timer(TokioTimer::new())
            .header_read_timeout(None);
        let http2 = &mut builder.http2();
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(128)
            .max_header_list_size(32 * 1024);
        http2
            .initial_stream_window_size(1024 * 1024)
            .initial_connection_window_size(4 * 1024 * 1024);
        let connection = builder.serve_connection(stream, door).into_owned();
        if let Err(cause) = watcher.watch(connection).await {
            tracing::debug!(cause, "a connection ended early");
        }
    }
}

/// Hands the HTTP requests of one connection to the router.
#[derive(Clone)]
struct Door {
    router: Router,
    shared: Arc<Shared>,
    peer: IpAddr,
    limits: Arc<Limits>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Door {
    type Response = hyper::Response<Counted>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let flight = Flight::begin(self.shared.clone());
        let is_http1 = request.version() < Version::HTTP_2;
        let mut ended = None;
        let mut request: Request = request.map(|body| {
            let most = body.size_hint().upper();
            let body = Paced::new(body, self.limits.body_progress);
            if is_http1 && most.is_none_or(|bytes| bytes > LEFT_OVER_MAX) {
                ended = Some(body.ended());
            }
            Body::new(body)
        });
        let client = client_of(self.peer, request.headers(), &self.limits);
        request.extensions_mut().insert(Peer(client));
        request.extensions_mut().insert(Hangup(self.shared.clone()));
        if request.method().as_str() == REFUSED
            && let Some(refusal) = self.shared.refusal.get()
        {
            request.extensions_mut().insert(*refusal);
        }
        let answer = self.router.clone().call(request);
        Box::pin(async move {
            let mut response: Response = answer.await?;
            // The engine does not read on in a body that nobody wanted; a client has to be told that this is the end.
            if ended.is_some_and(|ended| !ended.load(Ordering::Relaxed)) {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            let flight = flight.respond();
            Ok(response.map(|body| Counted { body, flight }))
        })
    }
}

/// An HTTP request between its head and the end of its response.
struct Flight {
    shared: Arc<Shared>,
    responding: bool,
}

impl Flight {
    fn begin(shared: Arc<Shared>) -> Flight {
        shared.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight {
            shared,
            responding: false,
        }
    }

    fn respond(mut self) -> Flight {
        self.shared.responding.fetch_add(1, Ordering::Relaxed);
        self.responding = true;
        self
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.responding {
            self.shared.responding.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A response body that ends its flight when the engine is done with it.
struct Counted {
    body: Body,
    flight: Flight,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_ready() {
            self.flight.shared.taken.fetch_add(1, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How many connections there may be, all together and of one address.
struct Seats {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    all: Arc<tokio::sync::Semaphore>,
    per_address: usize,
}

struct Seat {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
    _one_of_all: tokio::sync::OwnedSemaphorePermit,
}

impl Seats {
    fn new(limits: &Limits) -> Seats {
        // A quarter of the descriptors is left for the store, the files and the way out.
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let affordable = descriptors.map_or(usize::MAX, |all| usize::try_from(all / 4 * 3).unwrap_or(usize::MAX));
        let most = limits.connections_max.min(affordable).max(1);
        Seats {
            taken: Arc::default(),
            all: Arc::new(tokio::sync::Semaphore::new(most)),
            per_address: limits.connections_per_address_max,
        }
    }

    /// A proxy's connections are those of many, and only counted among all.
    fn take(&self, address: IpAddr, is_proxy: bool) -> Option<Seat> {
        let one_of_all = self.all.clone().try_acquire_owned().ok()?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = taken.entry(address).or_default();
        if *of_address >= self.per_address && !is_proxy {
            return None;
        }
        *of_address += 1;
        Some(Seat {
            taken: self.taken.clone(),
            address,
            _one_of_all: one_of_all,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = taken.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                taken.remove(&self.address);
            }
        }
    }
}
