//! `antumbra-bench engine`: what the store costs above the engine that it stands on.
//!
//! Both sides write the same records with the same grouping of commits: writers hand over their batch and wait; one
//! thread takes what waits, writes it as one batch, syncs it once and answers all. The bare side does only that, with
//! the engine's own interface. The store's side also keeps account of what was read, checks it for conflicts, counts
//! commits and encodes typed keys. A record is what an upsert of preferences writes: a row of some 600 bytes under a
//! random key, and an index row under its time. `--read` reads the old row first, as an upsert does.

use antumbra_store::{EmbeddedConfig, Raw, Store, StoreConfig, Table};
use anyhow::Context;
use fjall::{KeyspaceCreateOptions, PersistMode, Readable};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

type RecordKey = ([u8; 16], [u8; 16]);
type IndexKey = ([u8; 16], u64, [u8; 16]);

const RECORDS: Table<RecordKey, Raw> = Table::new("records");
const INDEX: Table<IndexKey, ()> = Table::new("records_by_time");
const VALUE_BYTES: usize = 616;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to write. Emptied before each round.
    #[arg(long, default_value = "target/bench-engine")]
    folder: PathBuf,
    /// Seconds for each round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds, bare engine and store in turn; the median is printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Read the old row of each record before writing the new one.
    #[arg(long)]
    read: bool,
}

/// How much one side did in one round.
#[derive(Clone, Copy)]
struct Round {
    records_per_second: f64,
    cpu_micros_per_record: f64,
    records_per_commit: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    println!(
        "{:>8} {:>8} {:>8} {:>12} {:>12} {:>14}",
        "batch", "writers", "side", "records/s", "CPU us/rec", "rec/commit"
    );
    for (batch, writers) in [(100, 16), (1, 64)] {
        let (mut bare, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            bare.push(runtime.block_on(measure(arguments, batch, writers, Side::Bare))?);
            ours.push(runtime.block_on(measure(arguments, batch, writers, Side::Store))?);
        }
        let (bare, ours) = (median(bare), median(ours));
        for (side, round) in [("bare", bare), ("store", ours)] {
            println!(
                "{batch:>8} {writers:>8} {side:>8} {:>12.0} {:>12.1} {:>14.0}",
                round.records_per_second, round.cpu_micros_per_record, round.records_per_commit
            );
        }
        println!(
            "{:>26} {:>11.0}%",
            "store : bare",
            100.0 * ours.records_per_second / bare.records_per_second
        );
    }
    Ok(())
}

fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|a, b| a.records_per_second.total_cmp(&b.records_per_second));
    rounds[rounds.len() / 2]
}

enum Side {
    Bare,
    Store,
}

/// One of the two sides, opened.
#[derive(Clone)]
enum Target {
    Bare(Arc<Bare>),
    Store(Store),
}

async fn measure(arguments: &Arguments, batch: u64, writers: u64, side: Side) -> anyhow::Result<Round> {
    if arguments.folder.exists() {
        std::fs::remove_dir_all(&arguments.folder).context("emptying the folder")?;
    }
    let target = match side {
        Side::Bare => Target::Bare(Arc::new(Bare::open(&arguments.folder)?)),
        Side::Store => {
            let config = StoreConfig::Embedded(EmbeddedConfig::new(&arguments.folder));
            Target::Store(Store::open(config, &[RECORDS.name(), INDEX.name()]).await?)
        }
    };
    let (began, cpu) = (Instant::now(), cpu_time()?);
    let until = began + Duration::from_secs(arguments.seconds);
    let read = arguments.read;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let target = target.clone();
        tasks.spawn(async move {
            let mut written = 0;
            while Instant::now() < until {
                let records = (0..batch).map(|i| record(writer, written + i)).collect();
                target.write(records, read).await?;
                written += batch;
            }
            anyhow::Ok(written)
        });
    }
    let mut written = 0;
    while let Some(outcome) = tasks.join_next().await {
        written += outcome??;
    }
    let (took, cpu) = (began.elapsed(), cpu_time()? - cpu);
    let commits = match target {
        Target::Bare(bare) => bare.commits.load(Ordering::Relaxed),
        Target::Store(store) => {
            let commits = store.stats().commits;
            store.close().await;
            commits
        }
    };
    Ok(Round {
        records_per_second: written as f64 / took.as_secs_f64(),
        cpu_micros_per_record: cpu.as_micros() as f64 / written as f64,
        records_per_commit: written as f64 / commits as f64,
    })
}

impl Target {
    async fn write(&self, records: Vec<(RecordKey, IndexKey, Vec<u8>)>, read: bool) -> anyhow::Result<()> {
        match self {
            Target::Bare(bare) => bare.write(records, read).await,
            Target::Store(store) => {
                let mut tx = store.begin_write().await?;
                if read {
                    let keys: Vec<RecordKey> = records.iter().map(|(key, _, _)| *key).collect();
                    tx.get_many(&RECORDS, &keys).await?;
                }
                for (key, index, value) in records {
                    tx.put(&RECORDS, &key, &Raw(value));
                    tx.put(&INDEX, &index, &());
                }
                Ok(tx.commit().await?)
            }
        }
    }
}

type Waiting = (Vec<(Vec<u8>, Vec<u8>)>, oneshot::Sender<()>);

/// The engine by itself, with the plainest group commit that there can be.
struct Bare {
    db: fjall::Database,
    rows: fjall::Keyspace,
    queue: mpsc::Sender<Waiting>,
    commits: Arc<AtomicU64>,
}

impl Bare {
    fn open(folder: &Path) -> anyhow::Result<Bare> {
        let db = fjall::Database::builder(folder)
            .cache_size(EmbeddedConfig::new(folder).cache_bytes)
            .open()?;
        let rows = db.keyspace("rows", || KeyspaceCreateOptions::default().max_memtable_size(64 << 20))?;
        let (queue, mut waiting) = mpsc::channel::<Waiting>(4_096);
        let commits = Arc::new(AtomicU64::new(0));
        let (committer_db, committer_rows, counted) = (db.clone(), rows.clone(), commits.clone());
        std::thread::spawn(move || {
            while let Some(first) = waiting.blocking_recv() {
                let mut group = vec![first];
                while group.len() < 1_000 {
                    let Ok(next) = waiting.try_recv() else { break };
                    group.push(next);
                }
                let mut batch = committer_db.batch().durability(Some(PersistMode::SyncData));
                let mut answers = Vec::new();
                for (rows, answer) in group {
                    rows.into_iter()
                        .for_each(|(key, value)| batch.insert(&committer_rows, key, value));
                    answers.push(answer);
                }
                if batch.commit().is_err() {
                    return;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                for answer in answers {
                    // A writer that has gone needs no answer.
                    let _ = answer.send(());
                }
            }
        });
        Ok(Bare {
            db,
            rows,
            queue,
            commits,
        })
    }

    async fn write(&self, records: Vec<(RecordKey, IndexKey, Vec<u8>)>, read: bool) -> anyhow::Result<()> {
        if read {
            let snapshot = self.db.snapshot();
            for (key, _, _) in &records {
                snapshot.get(&self.rows, [&[1][..], &key.0, &key.1].concat())?;
            }
        }
        let mut rows = Vec::with_capacity(records.len() * 2);
        for (key, index, value) in records {
            rows.push(([&[1][..], &key.0, &key.1].concat(), value));
            rows.push((
                [&[2][..], &index.0, &index.1.to_be_bytes(), &index.2].concat(),
                Vec::new(),
            ));
        }
        let (answer, done) = oneshot::channel();
        self.queue
            .send((rows, answer))
            .await
            .ok()
            .context("the bare engine has stopped")?;
        done.await.context("the bare engine has stopped")
    }
}

/// A record that is the same in every run: random-looking key, value of random-looking bytes and plain ones in turn.
fn record(writer: u64, number: u64) -> (RecordKey, IndexKey, Vec<u8>) {
    let mut state = (writer << 40 | number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&draw());
    id[8..].copy_from_slice(&draw());
    let mut partition = [0; 16];
    partition[15] = id[0] % 4;
    let mut value = Vec::with_capacity(VALUE_BYTES);
    while value.len() < VALUE_BYTES {
        value.extend(draw());
        value.extend(b"purpose=allow");
    }
    value.truncate(VALUE_BYTES);
    ((partition, id), (partition, number, id), value)
}

/// User and system time of this process so far.
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("reading the process's CPU time")?;
    let fields = stat.rsplit(')').next().context("the form of /proc/self/stat")?;
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}
