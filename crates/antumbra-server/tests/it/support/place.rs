//! Where a test server keeps its data: a folder, and where `ANTUMBRA_TEST_POSTGRES` holds a URL, a schema of its own there.

use std::path::Path;

use antumbra_store::{EmbeddedConfig, PostgresConfig, StoreConfig};
use tempfile::TempDir;
use tokio_postgres::NoTls;
use uuid::Uuid;

pub(super) struct Place {
    folder: TempDir,
    schema: Option<Schema>,
}

struct Schema {
    url: String,
    name: String,
}

impl Place {
    pub(super) async fn fresh() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let schema = match std::env::var("ANTUMBRA_TEST_POSTGRES") {
            Err(_) => None,
            Ok(url) => Some(Schema::create(url).await),
        };
        Place { folder, schema }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn is_embedded(&self) -> bool {
        self.schema.is_none()
    }

    pub(super) fn store(&self) -> StoreConfig {
        match &self.schema {
            None => StoreConfig::Embedded(EmbeddedConfig {
                cache_bytes: 16 << 20,
                journal_bytes: 64 << 20,
                ..EmbeddedConfig::new(self.folder().join("store"))
            }),
            Some(Schema { url, name }) => {
                let joint = if url.contains('?') { '&' } else { '?' };
                let config = PostgresConfig::new(format!("{url}{joint}options=-c%20search_path%3D{name}"));
                // Many test servers share one database server.
                StoreConfig::Postgres(PostgresConfig {
                    connections_max: 8,
                    ..config
                })
            }
        }
    }
}

impl Schema {
    async fn create(url: String) -> Schema {
        let name = format!("test_{}", Uuid::from_bytes(antumbra_crypto::random_bytes()).simple());
        execute(&url, &format!("CREATE SCHEMA {name}")).await;
        Schema { url, name }
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A read that the test let go of ends on the runtime that waits here, so it would hold its locks till it is ended
        // from outside.
        let (url, name) = (self.url.clone(), &self.name);
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (
                SELECT locks.pid FROM pg_locks locks JOIN pg_class tables ON tables.oid = locks.relation
                WHERE tables.relnamespace = '{name}'::regnamespace);
             DROP SCHEMA {name} CASCADE"
        );
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(execute(&url, &sql));
        });
        // A test that failed already says more than this would.
        let _ = dropping.join();
    }
}

async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let statement = async move {
        let done = client.batch_execute(sql).await;
        drop(client);
        done
    };
    let (done, _) = tokio::join!(statement, connection);
    done.unwrap();
}
