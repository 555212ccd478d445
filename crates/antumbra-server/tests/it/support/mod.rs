//! A whole server for one test: a real store, a real listener, a clock moved by hand.

mod canary;
pub mod manage;
mod place;
pub mod postbox;
pub mod receiver;
pub mod rows;
pub mod story;

use std::net::SocketAddr;

use antumbra_server::{
    AppState, Clock, Ids, Server, ServerConfig, World,
    api_keys::{self, ApiKeyId, ApiKeyInput, ScopeName},
    audit::Actor,
    config::RunJobs,
    jobs,
    keyring::{Keyring, RootFile},
    organization::OrganizationId,
    preferences,
    silos::DataSiloId,
};
use antumbra_store::{Blobs, Store, StoreConfig};
use jiff::Timestamp;
use tokio::net::TcpListener;

#[allow(unused_imports, reason = "for the slices whose tests plant it")]
pub use canary::CANARY;
use place::Place;

/// A server on a port of its own. Dropping it fails the test if jobs are due and not done, or if anything that must not
/// be logged was logged.
pub struct TestServer {
    server: Option<Server>,
    /// The clock, moved by hand.
    pub clock: Clock,
    /// The organization that keys belong to.
    pub organization: OrganizationId,
    client: reqwest::Client,
    config: ServerConfig,
    place: Place,
}

impl TestServer {
    /// A server with no configuration.
    pub async fn start() -> TestServer {
        TestServer::with(ServerConfig::default()).await
    }

    /// A server with `config`.
    pub async fn with(config: ServerConfig) -> TestServer {
        canary::watch();
        let place = Place::fresh();
        let clock = Clock::manual("2026-03-02T10:00:00Z".parse::<Timestamp>().unwrap());
        let mut server = TestServer {
            server: None,
            organization: OrganizationId(uuid::Uuid::nil()),
            clock,
            client: reqwest::Client::new(),
            config,
            place,
        };
        let world = server.open().await;
        server.organization = world.first_organization().await.unwrap().id;
        server.serve(world).await;
        server
    }

    async fn open(&self) -> World {
        let store = Store::open(self.place.store(), &antumbra_server::tables())
            .await
            .unwrap();
        let blobs = Blobs::local(self.place.folder().join("blobs")).await.unwrap();
        let root = RootFile::at(self.place.folder().join("root.key"));
        let keys = Keyring::open(&store, &root).await.unwrap();
        let (clock, ids) = (self.clock.clone(), Ids::new(self.clock.clone()));
        World {
            store,
            blobs,
            keys,
            clock,
            ids,
        }
    }

    async fn serve(&mut self, world: World) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.server = Some(Server::start(self.config.clone(), world, listener).await.unwrap());
    }

    /// Stops the server in good order and starts another on the same data.
    pub async fn restart(&mut self) {
        let stopping = self.server.take().unwrap();
        let store = stopping.app().store.clone();
        stopping.shutdown().await;
        store.close().await;
        let world = self.open().await;
        self.serve(world).await;
    }

    /// The same, with another configuration.
    pub async fn reconfigure(&mut self, change: impl FnOnce(&mut ServerConfig)) {
        change(&mut self.config);
        self.restart().await;
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs, save while it restarts")
    }

    /// The server itself.
    pub fn server_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("the server runs, save while it restarts")
    }

    /// The server itself, for a test that stops it.
    pub fn take(&mut self) -> Server {
        self.server.take().expect("the server runs, save while it restarts")
    }

    /// The state that the handlers see.
    pub fn app(&self) -> &AppState {
        self.server().app()
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.server().address()
    }

    /// Where blobs and the root key are.
    pub fn folder(&self) -> &std::path::Path {
        self.place.folder()
    }

    /// The address of `path` on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// A client.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// A fresh key with these scopes.
    pub async fn key(&self, scopes: &[ScopeName]) -> String {
        self.key_for(scopes, &[]).await
    }

    /// A fresh key with these scopes, attached to these data silos.
    pub async fn key_for(&self, scopes: &[ScopeName], silos: &[DataSiloId]) -> String {
        let input = ApiKeyInput {
            scopes: scopes.to_vec(),
            silos: silos.to_vec(),
            ..key_input()
        };
        self.make_key(self.organization, input).await.1
    }

    /// A key made of `input`, of any organization.
    pub async fn make_key(&self, organization: OrganizationId, input: ApiKeyInput) -> (ApiKeyId, String) {
        let created = api_keys::create(self.app(), organization, Actor::Operator, input)
            .await
            .unwrap();
        (created.id, created.secret.expose().to_owned())
    }

    /// Another organization on the same server.
    pub async fn another_organization(&self) -> OrganizationId {
        let made = self
            .app()
            .world
            .create_organization("Another".into(), "another".into())
            .await;
        made.unwrap().id
    }

    /// Gives changes of preferences their numbers, and runs the background jobs that are due, and those that become due by that, until none is. The server must have been
    /// told to leave them to the test.
    pub async fn run_jobs_until_idle(&self) {
        assert_eq!(self.config.run_jobs, RunJobs::WhenAsked);
        preferences::number_changes(self.app()).await.unwrap();
        self.app().job_runner().run_until_idle().await.unwrap();
    }

    /// Moves the clock and runs what that makes due.
    pub async fn pass(&self, time: std::time::Duration) {
        self.clock.advance(time);
        self.run_jobs_until_idle().await;
    }

    /// Waits until no job has been due for a while: one that is being done is not due, and may leave another behind.
    pub async fn settle(&self) {
        if self.config.run_jobs == RunJobs::WhenAsked {
            return self.run_jobs_until_idle().await;
        }
        self.app().jobs.ring();
        let mut quiet = 0;
        for _ in 0..1000 {
            quiet = if due(self.app()).await == 0 { quiet + 1 } else { 0 };
            if quiet == 10 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("jobs are due and nobody does them");
    }
}

/// A key that may do nothing.
pub fn key_input() -> ApiKeyInput {
    ApiKeyInput {
        title: "test".to_owned(),
        ..ApiKeyInput::default()
    }
}

async fn due(app: &AppState) -> usize {
    let mut reader = app.store.begin_read().await.unwrap();
    jobs::count_due(&mut reader, &app.clock, 10).await.unwrap()
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // A test that has failed already says more than this would.
        if std::thread::panicking() {
            return;
        }
        canary::check();
        // On PostgreSQL the connections live on the runtime that is blocked here; the embedded engine needs none.
        let embedded = matches!(self.place.store(), StoreConfig::Embedded(_));
        if let Some(server) = self.server.take().filter(|_| embedded) {
            let left = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(due(server.app()))
            });
            assert_eq!(
                left.join().unwrap(),
                0,
                "jobs are left over; did the test want `settle`?"
            );
        }
    }
}
