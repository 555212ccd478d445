//! `antumbra-bench preferences`: upserts in batches and one by one, and look-ups by identifier.
//!
//! The limits are measured in the same run. For upserts: the bare engine, writing the very rows that the server wrote,
//! with the same grouping of commits, from as many writers; on PostgreSQL, the store by itself. For look-ups: a handler that does nothing, behind the same
//! libraries, with bodies of the same size.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use antumbra_server::{
    Clock, Ids, Server, ServerConfig, World,
    api_keys::{self, ApiKeyInput, ScopeName},
    audit::Actor,
    keyring::{Keyring, RootFile},
};
use antumbra_store::{
    Blobs, Corrupt, EmbeddedConfig, Key, PostgresConfig, Raw, Scan, Store, StoreConfig, StoreError, Table,
};
use anyhow::{Context, Result, bail};
use axum::{Router, body::Bytes, routing};
use fjall::{
    CompressionType, KeyspaceCreateOptions, PersistMode,
    config::{BlockSizePolicy, CompressionPolicy, HashRatioPolicy, PartitioningPolicy, PinningPolicy},
};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    load::{BATCH, Caller, Run, Until, load, mixed},
    table::{Row, print},
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to write. Emptied first.
    #[arg(long, default_value = "target/bench-preferences")]
    folder: PathBuf,
    /// People whose records are stored before anything else is measured
    #[arg(long, default_value_t = 100_000)]
    people: u64,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Store so many afterwards, and measure again what changes and what is looked up. 10,000,000 want some 15 GB of disk
    #[arg(long)]
    then: Option<u64>,
    /// Store in this PostgreSQL database, which is to be empty, and not on the embedded engine
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
}

const BATCH_CONNECTIONS: u64 = 16;
const SINGLE_CONNECTIONS: u64 = 64;
const GOAL_RECORDS: f64 = 20_000.0;
const GOAL_CALLS: f64 = 5_000.0;
const GOAL_P99_MILLIS: f64 = 5.0;

impl Arguments {
    fn store(&self) -> StoreConfig {
        match &self.postgres {
            None => StoreConfig::Embedded(EmbeddedConfig::new(self.folder.join("store"))),
            Some(url) => StoreConfig::Postgres(PostgresConfig::new(url)),
        }
    }
}

/// Rows of the bare store.
const BARE_ROWS: Table<AnyKey, Raw> = Table::new("bench_rows");

/// Tables that a record stands in.
const TABLES: [&str; 6] = [
    "preference_records",
    "preference_owners",
    "preferences_by_update",
    "preferences_by_event",
    "preference_history",
    "subject_keys",
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.folder.exists() {
        std::fs::remove_dir_all(&arguments.folder).context("emptying the folder")?;
    }
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
    };
    let (server, clients) = (runtime()?, runtime()?);
    let house = server.block_on(House::on(&arguments.folder, arguments.store()))?;
    let (rows, few) = clients.block_on(measure(arguments, &house, server.handle()))?;
    let place = arguments.postgres.as_ref().map_or("", |_| " on PostgreSQL");
    let title = format!(
        "preferences, {} people stored{place}; the load shares the cores",
        arguments.people
    );
    print(&title, &rows);
    if let Some(people) = arguments.then {
        let rows = clients.block_on(measure_again(arguments, &house, people, &few))?;
        let title = format!("preferences, {people} people stored, beside {}", arguments.people);
        print(&title, &rows);
    }
    server.block_on(house.close());
    std::fs::remove_dir_all(&arguments.folder).context("removing the folder")
}

/// Calls a second with few people stored.
struct Few {
    batches: f64,
    found: f64,
}

/// With many more people stored than before.
async fn measure_again(arguments: &Arguments, house: &House, people: u64, few: &Few) -> Result<Vec<Row>> {
    let for_a_while = Duration::from_secs(arguments.seconds);
    let first = arguments.people / BATCH;
    let filling = house.caller.clone();
    let fill = move |call: u64| filling.upsert((first + call) * BATCH..(first + call + 1) * BATCH, 0);
    let calls = (people / BATCH).saturating_sub(first);
    let filled = load(&house.caller.url, BATCH_CONNECTIONS, Until::Calls(calls), fill).await?;
    println!("\nfilled at {:.0} records a second", filled.per_second * BATCH as f64);
    let changing = house.caller.clone();
    let change = move |call: u64| changing.upsert(scattered(call, people), call + 2_000_000);
    let changed = load(&house.caller.url, BATCH_CONNECTIONS, Until::Time(for_a_while), change).await?;
    let looking = house.caller.clone();
    let look = move |call: u64| looking.query(mixed(call, people));
    let found = load(&house.caller.url, SINGLE_CONNECTIONS, Until::Time(for_a_while), look).await?;
    println!("look-ups: p50 {:.2} ms, p99 {:.2} ms", found.p50, found.p99);
    let records = |batches: f64| batches * BATCH as f64;
    Ok(vec![
        Row::at_least(
            "changed records, 100 a call x 16",
            records(changed.per_second),
            records(few.batches),
            0.80,
            "1/s",
        ),
        Row::beside("look-ups by identifier", found.per_second, few.found, "1/s"),
    ])
}

async fn measure(arguments: &Arguments, house: &House, server: &Handle) -> Result<(Vec<Row>, Few)> {
    let for_a_while = Duration::from_secs(arguments.seconds);
    let (people, url) = (arguments.people, house.caller.url.clone());
    let filled = {
        let caller = house.caller.clone();
        let make = move |call: u64| caller.upsert(call * BATCH..(call + 1) * BATCH, 0);
        load(&url, BATCH_CONNECTIONS, Until::Calls(people / BATCH), make).await?
    };
    let rows = house.rows().await?;
    let bytes: usize = rows.iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
    println!(
        "{} bytes of keys and values a record, in {} rows",
        bytes / rows.len(),
        rows.iter().map(Vec::len).sum::<usize>() / rows.len()
    );
    let bare = match &arguments.postgres {
        None => Bare::open(&arguments.folder.join("bare"))?,
        Some(_) => Bare::Store(Store::open(arguments.store(), &[BARE_ROWS.name()]).await?),
    };
    let bare_filled = bare.fill(rows.clone()).await?;
    let changed = {
        let caller = house.caller.clone();
        let make = move |call: u64| caller.upsert(scattered(call, people), call + 1);
        load(&url, BATCH_CONNECTIONS, Until::Time(for_a_while), make).await?
    };
    let bare_changed = bare.change(&rows, BATCH, BATCH_CONNECTIONS, for_a_while).await?;
    let single = {
        let caller = house.caller.clone();
        let make = move |call: u64| caller.upsert([mixed(call, people)], call + 1_000_000);
        load(&url, SINGLE_CONNECTIONS, Until::Time(for_a_while), make).await?
    };
    let bare_single = bare.change(&rows, 1, SINGLE_CONNECTIONS, for_a_while).await?;
    let found = {
        let caller = house.caller.clone();
        let make = move |call: u64| caller.query(mixed(call, people));
        load(&url, SINGLE_CONNECTIONS, Until::Time(for_a_while), make).await?
    };
    let empty = {
        let caller = house.caller.clone();
        let aside = empty_handler(server, found.answer_bytes).await?;
        let make = move |call: u64| caller.query(mixed(call, people));
        load(&aside, SINGLE_CONNECTIONS, Until::Time(for_a_while), make).await?
    };
    let records = |run: &Run| run.per_second * BATCH as f64;
    println!(
        "look-ups: p50 {:.2} ms, p99 {:.2} ms (an empty handler {:.2} and {:.2}); batches: p50 {:.1} ms, p99 {:.1} ms",
        found.p50, found.p99, empty.p50, empty.p99, changed.p50, changed.p99
    );
    let few = Few {
        batches: changed.per_second,
        found: found.per_second,
    };
    let rows = vec![
        Row::at_least(
            "new records, 100 a call x 16",
            records(&filled),
            bare_filled,
            0.70,
            "1/s",
        ),
        Row::at_least(
            "changed records, 100 a call x 16",
            records(&changed),
            bare_changed,
            0.70,
            "1/s",
        ),
        Row::at_least(
            "changed records, against the aim",
            records(&changed),
            GOAL_RECORDS,
            1.0,
            "1/s",
        ),
        Row::beside("changed records, 1 a call x 64", single.per_second, bare_single, "1/s"),
        Row::at_least("the same, against the goal", single.per_second, GOAL_CALLS, 1.0, "1/s"),
        Row::at_least(
            "look-ups by identifier",
            found.per_second,
            empty.per_second,
            0.60,
            "1/s",
        ),
        Row::at_most("look-ups, p99", found.p99, GOAL_P99_MILLIS, "ms"),
    ];
    Ok((rows, few))
}

/// A server of its own, in this process.
#[derive(Clone)]
pub(crate) struct House {
    server: Arc<Server>,
    pub(crate) caller: Caller,
}

impl House {
    pub(crate) async fn open(folder: &Path) -> Result<House> {
        let store = StoreConfig::Embedded(EmbeddedConfig::new(folder.join("store")));
        House::on(folder, store).await
    }

    async fn on(folder: &Path, store: StoreConfig) -> Result<House> {
        let store = Store::open(store, &antumbra_server::tables()).await?;
        let clock = Clock::system();
        let world = World {
            keys: Keyring::open(&store, &RootFile::at(folder.join("root.key"))).await?,
            blobs: Blobs::local(folder.join("blobs")).await?,
            ids: Ids::new(clock.clone()),
            store,
            clock,
        };
        let organization = world.first_organization().await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Server::start(ServerConfig::default(), world, listener).await?;
        let input = ApiKeyInput {
            title: "bench".to_owned(),
            scopes: vec![
                ScopeName::ManageStoredPreferences,
                ScopeName::ViewPreferenceStoreSettings,
            ],
            ..ApiKeyInput::default()
        };
        let created = api_keys::create(server.app(), organization.id, Actor::Operator, input).await;
        let created = created.map_err(|problem| anyhow::anyhow!("no key: {:?}", problem.code()))?;
        Ok(House {
            caller: Caller {
                url: format!("http://{}", server.address()),
                key: created.secret.expose().to_owned(),
                partition: organization.default_partition(),
            },
            server: Arc::new(server),
        })
    }

    pub(crate) async fn close(self) {
        if let Ok(server) = Arc::try_unwrap(self.server) {
            server.shutdown().await;
        }
    }

    /// What was stored, record by record.
    async fn rows(&self) -> Result<Vec<Vec<(Vec<u8>, Vec<u8>)>>> {
        let mut reader = self.server.app().store.begin_read().await?;
        let mut records: Vec<Vec<(Vec<u8>, Vec<u8>)>> = Vec::new();
        for (number, name) in (0u8..).zip(TABLES) {
            let table: Table<AnyKey, Raw> = Table::new(name);
            let rows = reader.scan(&table, Scan::prefix(&())).await?;
            records.resize_with(rows.len().max(records.len()), Vec::new);
            for (place, (AnyKey(key), Raw(value))) in rows.into_iter().enumerate() {
                records[place].push(([&[number], key.as_slice()].concat(), value));
            }
        }
        Ok(records)
    }
}

/// Any key, as its bytes.
struct AnyKey(Vec<u8>);

impl Key for AnyKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Ok(AnyKey(std::mem::take(from).to_vec()))
    }
}

/// The people of a batch, each once.
fn scattered(call: u64, people: u64) -> impl Iterator<Item = u64> {
    let (first, step) = (mixed(call, people), people / BATCH);
    (0..BATCH).map(move |place| (first + place * step) % people)
}

/// A handler that reads its body and answers as many bytes as it is told to, on the threads that ours has.
async fn empty_handler(server: &Handle, answer_bytes: usize) -> Result<String> {
    let answer = Bytes::from(vec![b' '; answer_bytes]);
    let handler = routing::any(move |body: Bytes| {
        let answer = answer.clone();
        async move {
            std::hint::black_box(body);
            answer
        }
    });
    let listener = server.spawn(TcpListener::bind("127.0.0.1:0")).await??;
    let url = format!("http://{}", listener.local_addr()?);
    server.spawn(async move { axum::serve(listener, Router::new().fallback(handler)).await });
    Ok(url)
}

type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;
type Waiting = (Rows, oneshot::Sender<()>);

/// What is below the server.
#[derive(Clone)]
enum Bare {
    /// The embedded engine by itself, with the plainest group commit that there can be.
    Engine(mpsc::Sender<Waiting>),
    /// The store by itself.
    Store(Store),
}

impl Bare {
    fn open(folder: &Path) -> Result<Bare> {
        let cache = EmbeddedConfig::new(folder).cache_bytes;
        let db = fjall::Database::builder(folder).cache_size(cache).open()?;
        // Laid out as the store lays out its own.
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(64 << 20)
                .data_block_compression_policy(CompressionPolicy::all(CompressionType::None))
                .data_block_size_policy(BlockSizePolicy::all(8 << 10))
                .data_block_hash_ratio_policy(HashRatioPolicy::all(1.33))
                .filter_block_partitioning_policy(PartitioningPolicy::all(false))
                .index_block_partitioning_policy(PartitioningPolicy::all(false))
                .filter_block_pinning_policy(PinningPolicy::all(true))
                .index_block_pinning_policy(PinningPolicy::all(true))
        };
        let rows = db.keyspace("rows", options)?;
        let (queue, mut waiting) = mpsc::channel::<Waiting>(4096);
        std::thread::spawn(move || {
            while let Some(first) = waiting.blocking_recv() {
                let (mut group, mut size) = (vec![first], 0);
                while size < 6000 {
                    let Ok(next) = waiting.try_recv() else { break };
                    size += next.0.len();
                    group.push(next);
                }
                let mut batch = db.batch().durability(Some(PersistMode::SyncData));
                let mut answers = Vec::new();
                for (changes, answer) in group {
                    for (key, value) in changes {
                        match value {
                            Some(value) => batch.insert(&rows, key, value),
                            None => batch.remove(&rows, key),
                        }
                    }
                    answers.push(answer);
                }
                if batch.commit().is_err() {
                    return;
                }
                for answer in answers {
                    // A writer that has gone needs no answer.
                    let _ = answer.send(());
                }
            }
        });
        Ok(Bare::Engine(queue))
    }

    /// Writes the rows of new records; gives records a second.
    async fn fill(&self, records: Vec<Vec<(Vec<u8>, Vec<u8>)>>) -> Result<f64> {
        let count = records.len();
        let all = Arc::new(records);
        let next = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        let mut writers = JoinSet::new();
        for _ in 0..BATCH_CONNECTIONS {
            let (bare, all, next) = (self.clone(), all.clone(), next.clone());
            writers.spawn(async move {
                while let Some(batch) = all
                    .chunks(BATCH as usize)
                    .nth(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let rows = batch
                        .iter()
                        .flatten()
                        .map(|(key, value)| (key.clone(), Some(value.clone())));
                    bare.write(rows.collect()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = writers.join_next().await {
            done??;
        }
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }

    /// Changes records as an upsert does: the record, its two places in lists, one more row of history.
    async fn change(
        &self,
        records: &[Vec<(Vec<u8>, Vec<u8>)>],
        batch: u64,
        writers: u64,
        time: Duration,
    ) -> Result<f64> {
        let (all, next) = (Arc::new(records.to_vec()), Arc::new(AtomicU64::new(0)));
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for _ in 0..writers {
            let (bare, all, next) = (self.clone(), all.clone(), next.clone());
            tasks.spawn(async move {
                let people = all.len() as u64;
                let mut written = 0;
                while begun.elapsed() < time {
                    let call = next.fetch_add(1, Ordering::Relaxed);
                    let first = mixed(call, people);
                    let mut rows = Rows::new();
                    for place in 0..batch {
                        let record = &all[((first + place * (people / BATCH)) % people) as usize];
                        rows.push((record[0].0.clone(), Some(record[0].1.clone())));
                        for list in [2, 3] {
                            rows.push((record[list].0.clone(), None));
                            let mut key = record[list].0.clone();
                            key[33..41].copy_from_slice(&(call + (1 << 63)).to_be_bytes());
                            rows.push((key, Some(Vec::new())));
                        }
                        let mut key = record[4].0.clone();
                        let end = key.len();
                        key[end - 4..].copy_from_slice(&(call as u32).to_be_bytes());
                        rows.push((key, Some(record[4].1.clone())));
                    }
                    bare.write(rows).await?;
                    written += batch;
                }
                anyhow::Ok(written)
            });
        }
        let mut written = 0;
        while let Some(done) = tasks.join_next().await {
            written += done??;
        }
        Ok(written as f64 / begun.elapsed().as_secs_f64())
    }

    async fn write(&self, rows: Rows) -> Result<()> {
        let queue = match self {
            Bare::Engine(queue) => queue,
            Bare::Store(store) => return write_to(store, &rows).await,
        };
        let (answer, done) = oneshot::channel();
        queue
            .send((rows, answer))
            .await
            .ok()
            .context("the bare engine has stopped")?;
        done.await.context("the bare engine has stopped")
    }
}

/// Writes in one transaction, and again if another was faster.
async fn write_to(store: &Store, rows: &Rows) -> Result<()> {
    for _ in 0..20 {
        let mut tx = store.begin_write().await?;
        for (key, value) in rows {
            let key = AnyKey(key.clone());
            match value {
                Some(value) => tx.put(&BARE_ROWS, &key, &Raw(value.clone())),
                None => tx.delete(&BARE_ROWS, &key),
            }
        }
        match tx.commit().await {
            Err(StoreError::Conflict) => {}
            done => return Ok(done?),
        }
    }
    bail!("the bare store was never first")
}
