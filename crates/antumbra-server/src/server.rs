//! Starting and stopping: the listener, the accept loop, the job runner.

use std::{io, net::SocketAddr};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{AppState, ServerConfig, World, routes};

/// A running server.
pub struct Server {
    address: SocketAddr,
    app: AppState,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The listener has no address.
    #[error("the listener has no local address")]
    Listener(#[source] io::Error),
}

impl Server {
    /// Serves on `listener` until [`Server::shutdown`].
    pub async fn start(config: ServerConfig, world: World, listener: TcpListener) -> Result<Server, StartError> {
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let app = AppState::new(config, world);
        let stop = CancellationToken::new();
        #[allow(clippy::disallowed_methods, reason = "the accept loop; shutdown waits for it")]
        let accepting = tokio::spawn(accept(listener, app.clone(), stop.clone()));
        Ok(Server {
            address,
            app,
            stop,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The state its handlers see, for the executable's own needs such as the first key.
    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// Accepts no more, waits a bounded time for HTTP requests under way, and stops.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(cause) = self.accepting.await {
            tracing::error!(%cause, "the accept loop ended badly");
        }
    }
}

async fn accept(listener: TcpListener, app: AppState, stop: CancellationToken) {
    let router = routes::router(app.clone());
    let open = GracefulShutdown::new();
    let builder = auto::Builder::new(TokioExecutor::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _peer)) = accepted else { continue };
        let service = TowerToHyperService::new(router.clone());
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let watched = open.watch(connection);
        #[allow(
            clippy::disallowed_methods,
            reason = "the accept loop; shutdown waits for its connections"
        )]
        tokio::spawn(async move {
            if let Err(cause) = watched.await {
                tracing::debug!(cause, "a connection ended early");
            }
        });
    }
    if tokio::time::timeout(app.config.limits.shutdown, open.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were cut off, they took longer than limits.shutdown");
    }
}
