//! How often a transaction on PostgreSQL waits for the server: once for each call, however many rows it is about.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use antumbra_store::{PostgresConfig, Raw, Scan, Store, StoreConfig, Table};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedWriteHalf},
    sync::watch,
};

use crate::engines::{execute, fresh_schema};

const ROWS: Table<u64, Raw> = Table::new("rows");
const MANY: u64 = 500;

/// What stands between a store and its server: it counts statements, and holds back every answer until it is let go.
#[derive(Clone)]
struct Wire {
    statements: Arc<AtomicUsize>,
    /// How many statements the client has still to send before an answer passes.
    awaited: Arc<watch::Sender<usize>>,
}

impl Wire {
    /// A wire to `server`, and its near end.
    async fn to(server: String) -> (Wire, String) {
        let near = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = near.local_addr().unwrap().to_string();
        let wire = Wire {
            statements: Arc::default(),
            awaited: Arc::new(watch::Sender::new(0)),
        };
        let ours = wire.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = near.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(&server).await.unwrap().into_split();
                tokio::spawn(ours.clone().forward(from_client, to_server));
                tokio::spawn(ours.clone().answer(from_server, to_client));
            }
        });
        (wire, address)
    }

    /// Message by message. The first has no letter; `E` executes a prepared statement, `Q` a simple one.
    async fn forward(self, mut from: impl AsyncRead + Unpin, mut to: OwnedWriteHalf) {
        let mut is_first = true;
        loop {
            let mut letter = Vec::new();
            if !std::mem::take(&mut is_first) {
                let Ok(read) = from.read_u8().await else { return };
                letter.push(read);
            }
            let Ok(length) = from.read_u32().await else { return };
            let mut rest = vec![0; length as usize - 4];
            if from.read_exact(&mut rest).await.is_err() {
                return;
            }
            let message = [&letter, &length.to_be_bytes()[..], &rest].concat();
            if to.write_all(&message).await.is_err() {
                return;
            }
            if matches!(letter.as_slice(), b"E" | b"Q") {
                self.statements.fetch_add(1, Ordering::SeqCst);
                self.awaited.send_modify(|awaited| *awaited = awaited.saturating_sub(1));
            }
        }
    }

    async fn answer(self, mut from: impl AsyncRead + Unpin, mut to: OwnedWriteHalf) {
        let (mut space, mut awaited) = (vec![0; 64 << 10], self.awaited.subscribe());
        while let Ok(read @ 1..) = from.read(&mut space).await {
            let let_go = awaited.wait_for(|awaited| *awaited == 0).await.is_ok();
            if !let_go || to.write_all(&space[..read]).await.is_err() {
                return;
            }
        }
    }

    /// From here on nothing is answered before the client has sent so many statements.
    fn hold(&self, statements: usize) {
        self.statements.store(0, Ordering::SeqCst);
        self.awaited.send_replace(statements);
    }

    fn sent(&self) -> usize {
        self.statements.load(Ordering::SeqCst)
    }
}

/// Reads, scans, writes and deletes many rows. `hold` is told before each step how many statements it is to send.
async fn work(store: &Store, hold: impl Fn(usize), sent: impl Fn(usize, &str)) {
    let keys: Vec<u64> = (0..MANY).collect();
    let mut reader = store.begin_read().await.unwrap();
    hold(2);
    reader.get_many(&ROWS, &keys).await.unwrap();
    sent(2, "many rows, and the beginning that is not waited for");
    hold(1);
    reader.scan(&ROWS, Scan::prefix(&()).limit(keys.len())).await.unwrap();
    sent(1, "a scan");
    drop(reader);
    let mut tx = store.begin_write().await.unwrap();
    // The end of the reader is on its way until this is answered.
    tx.get(&ROWS, &0).await.unwrap();
    for key in &keys {
        match key % 2 {
            0 => tx.put(&ROWS, key, &Raw(vec![1; 100])),
            _ => tx.delete(&ROWS, key),
        }
    }
    hold(3);
    tx.commit().await.unwrap();
    sent(3, "writes, deletions and the commit");
}

#[tokio::test]
async fn each_call_is_one_round_trip_however_many_rows_it_is_about() {
    let Ok(url) = std::env::var("ANTUMBRA_TEST_POSTGRES") else {
        return;
    };
    let (schema, config) = fresh_schema(&url).await;
    let (_, rest) = config.url.split_once('@').unwrap();
    let server = rest.split('/').next().unwrap().to_owned();
    let (wire, near) = Wire::to(server.clone()).await;
    let config = PostgresConfig {
        url: config.url.replace(&server, &near),
        connections_max: 1,
        ..config
    };
    let store = Store::open(StoreConfig::Postgres(config), &[ROWS.name()])
        .await
        .unwrap();
    // The first time, statements are prepared; a connection keeps them.
    work(&store, |_| {}, |_, _| {}).await;
    work(
        &store,
        |statements| wire.hold(statements),
        |statements, what| assert_eq!(wire.sent(), statements, "{what}"),
    )
    .await;
    store.close().await;
    execute(&url, &format!("DROP SCHEMA {schema} CASCADE")).await;
}
