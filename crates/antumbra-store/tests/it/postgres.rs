//! What only the PostgreSQL engine can meet: too few connections, a server that goes away, somebody else at the same
//! moment. Each test passes without a look where `ANTUMBRA_TEST_POSTGRES` is not set.

use crate::engines::{execute, fresh_schema};
use antumbra_store::{OpenError, PostgresConfig, Raw, Store, StoreConfig, StoreError, Table};
use std::time::{Duration, Instant};

const ROWS: Table<u64, Raw> = Table::new("rows");

struct Fresh {
    url: String,
    schema: String,
    config: PostgresConfig,
}

async fn fresh() -> Option<Fresh> {
    let url = std::env::var("ANTUMBRA_TEST_POSTGRES").ok()?;
    let (schema, config) = fresh_schema(&url).await;
    Some(Fresh { url, schema, config })
}

impl Fresh {
    async fn open(&self, connections_max: usize) -> Store {
        let wait_max = Duration::from_millis(200);
        let config = PostgresConfig {
            connections_max,
            wait_max,
            ..self.config.clone()
        };
        Store::open(StoreConfig::Postgres(config), &[ROWS.name()])
            .await
            .unwrap()
    }

    async fn drop_schema(self) {
        execute(&self.url, &format!("DROP SCHEMA {} CASCADE", self.schema)).await;
    }
}

async fn put(store: &Store, number: u64) -> Result<(), StoreError> {
    let mut tx = store.begin_write().await?;
    tx.put(&ROWS, &number, &Raw(vec![]));
    tx.commit().await
}

#[tokio::test]
async fn without_a_free_connection_a_transaction_is_refused_in_time() {
    let Some(fresh) = fresh().await else { return };
    let store = fresh.open(1).await;
    let mut reader = store.begin_read().await.unwrap();
    reader.get(&ROWS, &1).await.unwrap();

    let began = Instant::now();
    assert!(matches!(store.begin_write().await.err(), Some(StoreError::Overloaded)));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(store.stats().overloads, 1);
    drop(reader);
    put(&store, 1).await.unwrap();
    store.close().await;
    fresh.drop_schema().await;
}

#[tokio::test]
async fn a_connection_that_was_left_in_the_middle_of_a_transaction_is_clean_for_the_next() {
    let Some(fresh) = fresh().await else { return };
    let store = fresh.open(1).await;
    for _ in 0..3 {
        let mut tx = store.begin_write().await.unwrap();
        assert_eq!(tx.get(&ROWS, &1).await.unwrap(), None);
        tx.put(&ROWS, &1, &Raw(vec![]));
        drop(tx);
    }
    // Were one of them still open, its snapshot would hide this row from the reader.
    execute(
        &fresh.url,
        &format!("INSERT INTO {}.rows VALUES ('\\x0000000000000002', '')", fresh.schema),
    )
    .await;
    let mut reader = store.begin_read().await.unwrap();
    assert_eq!(reader.get(&ROWS, &1).await.unwrap(), None);
    assert_eq!(reader.get(&ROWS, &2).await.unwrap(), Some(Raw(vec![])));
    drop(reader);
    store.close().await;
    fresh.drop_schema().await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_reported_and_the_next_transaction_finds_a_new_connection() {
    let Some(fresh) = fresh().await else { return };
    let store = fresh.open(1).await;
    let mut tx = store.begin_write().await.unwrap();
    tx.get(&ROWS, &1).await.unwrap();
    tx.put(&ROWS, &1, &Raw(vec![]));
    let ours = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
        fresh.schema
    );
    execute(&fresh.url, &ours).await;

    assert!(matches!(tx.commit().await, Err(StoreError::Unavailable { .. })));
    put(&store, 2).await.unwrap();
    let mut reader = store.begin_read().await.unwrap();
    assert_eq!(
        reader.get_many(&ROWS, &[1, 2]).await.unwrap(),
        [None, Some(Raw(vec![]))]
    );
    drop(reader);
    store.close().await;
    fresh.drop_schema().await;
}

#[tokio::test]
async fn several_processes_may_make_the_tables_at_the_same_moment() {
    let Some(fresh) = fresh().await else { return };
    let stores = futures_util::future::join_all((0..4).map(|_| fresh.open(1))).await;
    for (number, store) in (0..).zip(stores) {
        put(&store, number).await.unwrap();
        store.close().await;
    }
    fresh.drop_schema().await;
}

/// Where `ANTUMBRA_TEST_POSTGRES_CA` names the authority that vouches for a certificate of the server's for `localhost`.
#[tokio::test]
async fn the_way_to_the_server_is_guarded_as_the_address_asks() {
    let Ok(authority) = std::env::var("ANTUMBRA_TEST_POSTGRES_CA") else {
        return;
    };
    let Some(fresh) = fresh().await else { return };
    let stranger = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fixtures/stranger.cert.pem");
    let by_name = fresh.config.url.replace("127.0.0.1", "localhost");
    assert!(by_name.contains("sslmode=disable") && by_name != fresh.config.url);
    let by_number = fresh.config.url.clone();
    for (url, mode, ca_file, encrypted) in [
        (&by_name, "disable", None, Some(false)),
        (&by_name, "prefer", None, Some(true)),
        (&by_name, "require", None, Some(true)),
        (&by_name, "verify-full", Some(authority.as_str()), Some(true)),
        (&by_name, "verify-full", Some(stranger), None),
        (&by_number, "verify-full", Some(&authority), None),
        (&by_number, "verify-ca", Some(&authority), Some(true)),
        (&by_number, "verify-ca", Some(stranger), None),
    ] {
        let config = PostgresConfig {
            url: url.replace("sslmode=disable", &format!("sslmode={mode}")),
            ca_file: ca_file.map(Into::into),
            connections_max: 1,
            ..fresh.config.clone()
        };
        let opened = Store::open(StoreConfig::Postgres(config), &[ROWS.name()]).await;
        let what = format!("{mode} with {ca_file:?}");
        match (opened, encrypted) {
            (Ok(store), Some(encrypted)) => {
                put(&store, 1).await.unwrap();
                assert_eq!(is_encrypted(&fresh).await, encrypted, "{what}");
                store.close().await;
            }
            (Err(OpenError::Unreachable { source }), None) => {
                let why = std::error::Error::source(&source).unwrap().to_string();
                assert!(why.contains("invalid peer certificate"), "{what}: {why}");
            }
            (Ok(_), None) => panic!("{what} was let through"),
            (Err(refused), _) => panic!("{what}: {refused} {:?}", std::error::Error::source(&refused)),
        }
    }
    fresh.drop_schema().await;
}

/// Whether the store's one session is encrypted, as the server sees it.
async fn is_encrypted(fresh: &Fresh) -> bool {
    let sql = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = $1";
    let (client, connection) = tokio_postgres::connect(&fresh.url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let asked = async move {
        let row = client.query_one(sql, &[&fresh.schema]).await;
        drop(client);
        row
    };
    let (row, _) = tokio::join!(asked, connection);
    row.unwrap().get(0)
}

#[tokio::test]
async fn neither_an_error_nor_a_setting_shows_the_password() {
    for url in [
        "postgres://ada:hunter2@127.0.0.1:1/none",
        "postgres://ada:hunter2@[::broken/none",
        "hunter2",
    ] {
        let config = PostgresConfig::new(url);
        let refused = Store::open(StoreConfig::Postgres(config.clone()), &[])
            .await
            .err()
            .unwrap();
        let causes = std::iter::successors(std::error::Error::source(&refused), |cause| cause.source());
        let causes: Vec<String> = causes.map(ToString::to_string).collect();
        let shown = format!("{config:?} {refused} {refused:?} {causes:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
