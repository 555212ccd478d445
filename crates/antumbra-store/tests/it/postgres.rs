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
        let OpenError::Engine { source, .. } = &refused else {
            panic!("{refused}")
        };
        let shown = format!(
            "{config:?} {refused} {refused:?} {source} {:?}",
            source.source().map(|s| s.to_string())
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
