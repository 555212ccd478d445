//! Starting and stopping: the listener, the accept loop, the job runner.

#![expect(
    clippy::disallowed_methods,
    reason = "the parts of a server, which `shutdown` waits for"
)]

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    AppState, ServerConfig, World,
    config::RunJobs,
    dsr, files,
    http::{
        chain,
        connection::{Listening, TlsError},
        metrics,
    },
    jobs, keyring, organization, preferences, retention, routes,
};

/// Overdue requests are counted up to here: beyond, more of them is no news.
const OVERDUE_MAX: usize = 10_000;

/// How often the time of organizations that rehearse is looked up.
const CLOCKS_EVERY: Duration = Duration::from_secs(1);

/// A running server.
pub struct Server {
    address: SocketAddr,
    app: AppState,
    stop: CancellationToken,
    running: JoinSet<()>,
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
    pub async fn start(mut config: ServerConfig, world: World, listener: TcpListener) -> Result<Server, StartError> {
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        config
            .public_url
            .get_or_insert_with(|| format!("{scheme}://{}", reachable(address)));
        let app = AppState::new(config, world);
        follow_clocks(&app).await;
        let router = routes::router(app.clone());
        let limits = app.config.limits.clone();
        let listening = Listening::new(listener, app.config.tls.as_ref(), router, limits).map_err(StartError::Tls)?;
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(listening.run(stop.clone()));
        metrics::begin();
        running.spawn(keep_house(app.clone(), stop.clone()));
        let runner = app.job_runner();
        take_over_leases(&runner).await;
        if app.config.run_jobs == RunJobs::InBackground {
            running.spawn(preferences::run_sequencer(app.clone(), stop.clone()));
            running.spawn(runner.run(stop.clone(), app.config.limits.shutdown));
        }
        if !app.store.is_exclusive() {
            running.spawn(keep_time(app.clone(), stop.clone()));
        }
        Ok(Server {
            address,
            app,
            stop,
            running,
        })
    }

    /// Answers `/metrics` on a listener of its own as well.
    pub fn show_metrics(&mut self, listener: TcpListener) -> Result<(), StartError> {
        let limits = self.app.config.limits.clone();
        let listening = Listening::new(listener, None, metrics::apart(), limits).map_err(StartError::Tls)?;
        self.running.spawn(listening.run(self.stop.clone()));
        Ok(())
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
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.app.feed.close();
        while let Some(ended) = self.running.join_next().await {
            if let Err(cause) = ended {
                tracing::error!(%cause, "a part of the server ended badly");
            }
        }
    }
}

/// Where others share the store, they too move the time of organizations that rehearse.
async fn keep_time(app: AppState, stop: CancellationToken) {
    while tokio::time::timeout(CLOCKS_EVERY, stop.cancelled()).await.is_err() {
        follow_clocks(&app).await;
    }
}

/// What this misses, the next look finds.
async fn follow_clocks(app: &AppState) {
    let followed = async {
        let mut reader = app.store.begin_read().await?;
        organization::load_clocks(&mut reader, &app.clock).await
    };
    if let Err(error) = followed.await {
        tracing::warn!(
            cause = chain(&error),
            "the time of organizations that rehearse is not read"
        );
    }
}

/// What cannot be taken over now comes due by itself when its lease ends.
async fn take_over_leases(runner: &jobs::Runner) {
    match runner.take_over_leases().await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "jobs that were running when the server ended go on"),
        Err(error) => tracing::warn!(
            cause = chain(&error),
            "jobs that were running when the server ended wait for their leases"
        ),
    }
}

/// The server's own small chores.
async fn keep_house(app: AppState, stop: CancellationToken) {
    let mut rounds: u32 = 0;
    keep_epochs(&app).await;
    count_overdue(&app).await;
    while tokio::time::timeout(metrics::TIDY_EVERY, stop.cancelled())
        .await
        .is_err()
    {
        metrics::tidy();
        rounds += 1;
        if rounds.is_multiple_of(12) {
            note_uses(&app).await;
            sweep_files(&app).await;
            expire_changes(&app).await;
            keep_epochs(&app).await;
            keep_history(&app).await;
            keep_retention(&app).await;
            count_overdue(&app).await;
        }
    }
    note_uses(&app).await;
}

/// What this leaves undone, the next round does.
async fn keep_epochs(app: &AppState) {
    if let Err(error) = keyring::keep_epochs(app).await {
        let cause = chain(&error);
        tracing::warn!(
            cause,
            "the keys are not renewed as they should be; trying again shortly"
        );
    }
}

/// What this leaves undone, the next round does.
async fn sweep_files(app: &AppState) {
    if let Err(error) = files::sweep(app).await {
        let cause = chain(&error);
        tracing::warn!(cause, "bodies that belong to no file are not removed");
    }
}

/// What this leaves undone, the next round does.
async fn keep_history(app: &AppState) {
    if let Err(error) = preferences::keep_history(app).await {
        let cause = chain(&error);
        tracing::warn!(cause, "old history of preferences is not folded");
    }
}

/// Tells the operator how many requests are late.
async fn count_overdue(app: &AppState) {
    let counted = async {
        let mut reader = app.store.begin_read().await?;
        dsr::count_overdue(&mut reader, OVERDUE_MAX).await
    };
    match counted.await {
        Ok(count) => metrics::show_overdue(count),
        Err(error) => tracing::warn!(cause = chain(&error), "requests that are overdue are not counted"),
    }
}

/// What this leaves undone, the next round does.
async fn keep_retention(app: &AppState) {
    if let Err(error) = retention::keep(app).await {
        let cause = chain(&error);
        tracing::warn!(cause, "requests that are over keep what they should lose");
    }
}

/// What this leaves undone, the next round does.
async fn expire_changes(app: &AppState) {
    if let Err(error) = preferences::expire_changes(app).await {
        let cause = chain(&error);
        tracing::warn!(cause, "old changes of preferences are not removed");
    }
}

/// Losing this loses a date that people look at to tell which keys are still in use, so it is tried once and let go.
async fn note_uses(app: &AppState) {
    if let Err(cause) = app.callers.note_uses(app).await {
        tracing::warn!(%cause, "when API keys were last used is not written down");
    }
}

/// An address that reaches this listener from the machine itself, where it listens on all of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}
