//! A whole server for one test.

use std::sync::Arc;

use antumbra_server::{
    AppState, Clock, Ids, Server, ServerConfig, World,
    api_keys::{self, ApiKeyInput, ScopeName},
    audit::Actor,
    keyring::{Keyring, RootFile},
    organization::OrganizationId,
    silos::DataSiloId,
};
use antumbra_store::{Blobs, EmbeddedConfig, Store, StoreConfig};
use jiff::Timestamp;
use tokio::net::TcpListener;

/// A server on a port of its own.
pub struct TestServer {
    server: Server,
    /// The clock, moved by hand.
    pub clock: Clock,
    /// The organization that keys belong to.
    pub organization: OrganizationId,
    client: reqwest::Client,
    _folder: Arc<tempfile::TempDir>,
}

impl TestServer {
    /// A server with no configuration.
    pub async fn start() -> TestServer {
        TestServer::with(ServerConfig::default()).await
    }

    /// A server with `config`.
    pub async fn with(config: ServerConfig) -> TestServer {
        let clock = Clock::manual("2026-03-02T10:00:00Z".parse::<Timestamp>().unwrap());
        let ids = Ids::new(clock.clone());
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let store = StoreConfig::Embedded(EmbeddedConfig {
            cache_bytes: 16 << 20,
            journal_bytes: 64 << 20,
            ..EmbeddedConfig::new(folder.path().join("store"))
        });
        let store = Store::open(store, &antumbra_server::tables()).await.unwrap();
        let blobs = Blobs::local(folder.path().join("blobs")).await.unwrap();
        let keys = Keyring::open(&store, &RootFile::at(folder.path().join("root.key")))
            .await
            .unwrap();
        let world = World {
            store,
            blobs,
            keys,
            clock: clock.clone(),
            ids,
        };
        let organization = world.first_organization().await.unwrap().id;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(config, world, listener).await.unwrap();
        TestServer {
            server,
            clock,
            organization,
            client: reqwest::Client::new(),
            _folder: folder,
        }
    }

    /// Where the server listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.server.address()
    }

    /// The address of `path` on this server.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    /// A client.
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// The state that the handlers see.
    pub fn app(&self) -> &AppState {
        self.server.app()
    }

    /// A fresh key with these scopes.
    pub async fn key(&self, scopes: &[ScopeName]) -> String {
        self.key_for(scopes, &[]).await
    }

    /// A fresh key with these scopes, attached to these data silos.
    pub async fn key_for(&self, scopes: &[ScopeName], silos: &[DataSiloId]) -> String {
        let input = ApiKeyInput {
            title: "test".to_owned(),
            scopes: scopes.to_vec(),
            silos: silos.to_vec(),
            ..ApiKeyInput::default()
        };
        let created = api_keys::create(self.app(), self.organization, Actor::Operator, input).await;
        created.unwrap().secret.expose().to_owned()
    }
}
