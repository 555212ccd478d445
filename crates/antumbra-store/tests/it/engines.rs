//! Fresh stores to test on.

use antumbra_store::{EmbeddedConfig, PostgresConfig, Store, StoreConfig};
use tokio_postgres::NoTls;
use uuid::Uuid;

/// An empty store on one of the engines, gone with its value.
pub(crate) struct Fresh {
    pub(crate) store: Store,
    pub(crate) engine: &'static str,
    place: Place,
}

enum Place {
    Folder { _folder: tempfile::TempDir },
    Schema { url: String, schema: String },
}

/// One empty store for each engine that is to be had.
pub(crate) async fn each(tables: &[&'static str]) -> Vec<Fresh> {
    let mut all = vec![embedded(tables).await];
    if let Ok(url) = std::env::var("ANTUMBRA_TEST_POSTGRES") {
        all.push(postgres(url, tables).await);
    }
    all
}

async fn embedded(tables: &[&'static str]) -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::Embedded(EmbeddedConfig::new(folder.path()));
    let store = Store::open(config, tables).await.unwrap();
    Fresh {
        store,
        engine: "embedded",
        place: Place::Folder { _folder: folder },
    }
}

async fn postgres(url: String, tables: &[&'static str]) -> Fresh {
    let (schema, config) = fresh_schema(&url).await;
    let store = Store::open(StoreConfig::Postgres(config), tables).await.unwrap();
    Fresh {
        store,
        engine: "postgres",
        place: Place::Schema { url, schema },
    }
}

/// A new schema, and how to open a store in it. The schema's name is also the name that its sessions go by.
pub(crate) async fn fresh_schema(url: &str) -> (String, PostgresConfig) {
    let schema = format!("test_{}", Uuid::new_v4().simple());
    execute(url, &format!("CREATE SCHEMA {schema}")).await;
    let joint = if url.contains('?') { '&' } else { '?' };
    let config = format!("{url}{joint}application_name={schema}&options=-c%20search_path%3D{schema}");
    (schema, PostgresConfig::new(config))
}

pub(crate) async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let (done, _) = tokio::join!(
        async move {
            let done = client.batch_execute(sql).await;
            drop(client);
            done
        },
        connection
    );
    done.unwrap();
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Place::Schema { url, schema } = &self.place {
            let (url, sql) = (url.clone(), format!("DROP SCHEMA {schema} CASCADE"));
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
}
