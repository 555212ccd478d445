//! Starting and stopping: the listener, the accept loop, the job runner.

use std::{io, net::SocketAddr};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    AppState, ServerConfig, World,
    http::connection::{Listening, TlsError},
    routes,
};

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
    /// The files for TLS do not serve.
    #[error("the listener cannot speak TLS")]
    Tls(#[source] TlsError),
}

impl Server {
    /// Serves on `listener` until [`Server::shutdown`].
    pub async fn start(config: ServerConfig, world: World, listener: TcpListener) -> Result<Server, StartError> {
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let app = AppState::new(config, world);
        let router = routes::router(app.clone());
        let limits = app.config.limits.clone();
        let listening = Listening::new(listener, app.config.tls.as_ref(), router, limits).map_err(StartError::Tls)?;
        let stop = CancellationToken::new();
        #[allow(clippy::disallowed_methods, reason = "the accept loop; shutdown waits for it")]
        let accepting = tokio::spawn(listening.run(stop.clone()));
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
