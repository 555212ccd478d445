//! The engine in this process: one log-structured tree on the local disk.
//!
//! Every table lives in the same tree, behind a number of its own at the front of each key: a tree for each table would
//! cost several synced files apiece at the first start. Reads go straight to a snapshot, or to what was read from one lately
//! (`row_cache.rs`). Writes wait in memory until
//! the commit, which goes through one committer thread (`committer.rs`); it checks what was read against what others
//! wrote since (`conflicts.rs`). Opening (`recovery.rs`) never passes over a loss in silence (`journal.rs`, `mark.rs`).

mod committer;
mod conflicts;
mod journal;
mod mark;
mod published;
mod recovery;
mod row_cache;
mod transactions;

#[cfg(any(test, fuzzing))]
pub(crate) use journal::fuzz as fuzz_journal;

use self::{
    committer::{Committer, Submission, Write},
    conflicts::ReadSet,
    mark::Mark,
    published::Published,
    row_cache::RowCache,
    transactions::{OpenTransaction, Transactions},
};
use crate::{
    EmbeddedConfig, FolderLock, OpenError, StoreError, StoreStats,
    error::folder_failed,
    overlay::{Overlay, Row},
    scan::{Order, Span},
};
use fjall::{Keyspace, PersistMode, Readable, Slice, Snapshot};
use std::{
    collections::HashMap,
    ops::Bound,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The number of the engine's own rows: the last commit, and the numbers of the tables.
const OWN_ROWS: [u8; 2] = [0, 0];
/// Where each batch leaves the number of its commit.
const COMMIT_KEY: &[u8] = b"\0\0commit";
/// What stands before the name of a table where its number is kept.
const TABLE_KEY: &[u8] = b"\0\0table:";
/// Most bytes that wait in the queue of commits, each transaction counted as at least `TRANSACTION_BYTES_MIN`.
const QUEUE_BYTES_MAX: usize = 64 << 20;
const TRANSACTION_BYTES_MIN: usize = 16 << 10;
/// How long a transaction waits for room in that queue.
const QUEUE_WAIT_MAX: Duration = Duration::from_millis(500);
/// Rows of a long read after which other tasks get their turn.
const ROWS_PER_TURN: usize = 1_000;
/// The part of the memory for caches that single rows get; the rest is for blocks.
const ROW_CACHE_PART: u64 = 8;
/// How often the high-water mark follows the commits.
const MARK_INTERVAL: Duration = Duration::from_secs(2);

/// The engine. Dropping it waits for the committer to finish what is queued.
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    db: fjall::Database,
    rows: Keyspace,
    tables: HashMap<&'static str, [u8; 2]>,
    room: Arc<Semaphore>,
    threads: Mutex<Option<Threads>>,
    mark: Arc<Mark>,
    _lock: FolderLock,
}

/// What transactions and the committer both look at.
struct Shared {
    transactions: Arc<Transactions>,
    published: Published,
    row_cache: RowCache,
    stopped: OnceLock<String>,
    counters: Counters,
}

#[derive(Default)]
struct Counters {
    conflicts: AtomicU64,
    overloads: AtomicU64,
    groups: AtomicU64,
    transactions: AtomicU64,
    rows: AtomicU64,
    commit_micros: AtomicU64,
}

impl Counters {
    fn note_group(&self, transactions: usize, rows: usize, took: Duration) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.transactions.fetch_add(transactions as u64, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.commit_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Shared {
    fn stopped(&self) -> Option<StoreError> {
        self.stopped.get().map(|because| StoreError::Stopped {
            because: because.clone(),
        })
    }

    fn stop(&self, because: String) {
        tracing::error!(because, "writing has stopped until the store is opened anew");
        self.stopped.get_or_init(|| because);
    }
}

/// The threads of an open engine, and what makes them end: their senders going away.
struct Threads {
    queue: mpsc::Sender<Submission>,
    committer: JoinHandle<()>,
    marker_stop: std_mpsc::Sender<()>,
    marker: JoinHandle<()>,
}

impl Embedded {
    /// Opens the folder. Blocks on the disk.
    pub(crate) fn open(config: &EmbeddedConfig, names: &[&'static str]) -> Result<Embedded, OpenError> {
        let folder = config.folder.clone();
        crate::folder::make(&folder).map_err(folder_failed("making the data folder", &folder))?;
        let lock = FolderLock::take(&folder)?;
        let recovery::Recovered {
            db,
            rows,
            committed,
            mark,
        } = recovery::open(config)?;
        let mark = Arc::new(mark);
        let tables = number_tables(&db, &rows, names).map_err(|source| OpenError::Engine {
            doing: "numbering the tables",
            source: source.into(),
        })?;
        let shared = Arc::new(Shared {
            transactions: Arc::new(Transactions::new(committed)),
            published: Published::new(&db, committed),
            row_cache: RowCache::new(config.cache_bytes / ROW_CACHE_PART, committed),
            stopped: OnceLock::new(),
            counters: Counters::default(),
        });
        let threads = Threads::start(&shared, &db, &rows, &mark).map_err(|source| OpenError::Engine {
            doing: "starting the engine's threads",
            source: source.into(),
        })?;
        Ok(Embedded {
            shared,
            db,
            rows,
            tables,
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            threads: Mutex::new(Some(threads)),
            mark,
            _lock: lock,
        })
    }

    pub(crate) fn begin_read(self: &Arc<Self>) -> View {
        let (snapshot, commit) = self.shared.published.get();
        View {
            snapshot,
            commit,
            engine: self.clone(),
            tracked: None,
        }
    }

    pub(crate) fn begin_write(self: &Arc<Self>) -> Result<View, StoreError> {
        if let Some(stopped) = self.shared.stopped() {
            return Err(stopped);
        }
        // The commit is read before the snapshot is taken. So the snapshot holds at least that commit, and a later one
        // that it happens to hold too can only refuse the transaction needlessly.
        let open = self.shared.transactions.begin();
        let (snapshot, commit) = self.shared.published.get();
        Ok(View {
            snapshot,
            commit,
            engine: self.clone(),
            tracked: Some((open, ReadSet::default())),
        })
    }

    /// Commits what is queued and refuses further commits. Blocks.
    pub(crate) fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads {
            queue,
            committer,
            marker_stop,
            marker,
        }) = threads
        else {
            return;
        };
        drop((queue, marker_stop));
        if committer.join().is_err() | marker.join().is_err() {
            tracing::error!("a thread of the storage engine had failed");
        }
        if let Err(error) = self.mark.follow(self.shared.transactions.committed()) {
            tracing::warn!(%error, "writing the high-water mark of commits failed");
        }
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            queue_bytes: (QUEUE_BYTES_MAX - self.room.available_permits()) as u64,
            conflicts: read(&counters.conflicts),
            overloads: read(&counters.overloads),
            commits: read(&counters.groups),
            transactions: read(&counters.transactions),
            rows: read(&counters.rows),
            commit_micros: read(&counters.commit_micros),
            disk_bytes: self.db.disk_space().unwrap_or(0),
            stopped: self.shared.stopped.get().is_some(),
        }
    }

    fn number_of(&self, table: &'static str) -> Result<[u8; 2], StoreError> {
        let problem = "it was not named when the store was opened";
        self.tables
            .get(table)
            .copied()
            .ok_or(StoreError::Misused { table, problem })
    }

    /// Waits for room in the queue, but not long.
    async fn submit(
        &self,
        open: OpenTransaction,
        reads: ReadSet,
        writes: Vec<Write>,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let bytes = writes
            .iter()
            .map(|write| write.key.len() + write.value.as_ref().map_or(0, |value| value.len()))
            .sum();
        let counted = usize::clamp(bytes, TRANSACTION_BYTES_MIN, QUEUE_BYTES_MAX) as u32;
        let room = tokio::time::timeout(QUEUE_WAIT_MAX, self.room.clone().acquire_many_owned(counted)).await;
        let Ok(Ok(room)) = room else {
            self.shared.counters.overloads.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Overloaded);
        };
        let (answer, outcome) = oneshot::channel();
        let submission = Submission {
            open,
            reads,
            writes,
            bytes,
            answer,
            room,
        };
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let queued = threads
            .as_ref()
            .is_some_and(|threads| threads.queue.try_send(submission).is_ok());
        if queued { Ok(outcome) } else { Err(closed()) }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Threads {
    fn start(
        shared: &Arc<Shared>,
        db: &fjall::Database,
        rows: &Keyspace,
        mark: &Arc<Mark>,
    ) -> std::io::Result<Threads> {
        // As many as the queue's room lets in, so that there is always a place for one that has room.
        let (queue, submissions) = mpsc::channel(QUEUE_BYTES_MAX / TRANSACTION_BYTES_MIN);
        let committer = Committer::new(shared.clone(), db.clone(), rows.clone(), mark.clone());
        let committer = std::thread::Builder::new()
            .name("store-commit".into())
            .spawn(move || committer.run(submissions))?;
        let (marker_stop, stop) = std_mpsc::channel();
        let (shared, db, mark) = (shared.clone(), db.clone(), mark.clone());
        let marker = std::thread::Builder::new()
            .name("store-mark".into())
            .spawn(move || follow_commits(&shared, &db, &mark, &stop))?;
        Ok(Threads {
            queue,
            committer,
            marker_stop,
            marker,
        })
    }
}

/// Moves the high-water mark after the commits until `stop` ends, and keeps no snapshot longer than needed.
fn follow_commits(shared: &Shared, db: &fjall::Database, mark: &Mark, stop: &std_mpsc::Receiver<()>) {
    while let Err(std_mpsc::RecvTimeoutError::Timeout) = stop.recv_timeout(MARK_INTERVAL) {
        shared.published.renew(db);
        if let Err(error) = mark.follow(shared.transactions.committed()) {
            tracing::warn!(%error, "writing the high-water mark of commits failed");
        }
    }
}

/// Finds the number of each table, and gives one to those that have none.
fn number_tables(
    db: &fjall::Database,
    rows: &Keyspace,
    names: &[&'static str],
) -> fjall::Result<HashMap<&'static str, [u8; 2]>> {
    let mut known = HashMap::new();
    for row in rows.prefix(TABLE_KEY) {
        let (key, number) = row.into_inner()?;
        if let Ok(number) = <[u8; 2]>::try_from(number.as_ref()) {
            known.insert(key[TABLE_KEY.len()..].to_vec(), number);
        }
    }
    let mut last = known.values().copied().max().unwrap_or(OWN_ROWS);
    let mut tables = HashMap::new();
    let mut batch = db.batch().durability(Some(PersistMode::SyncData));
    for name in names {
        let number = *known.entry(name.as_bytes().to_vec()).or_insert_with(|| {
            last = (u16::from_be_bytes(last) + 1).to_be_bytes();
            batch.insert(rows, [TABLE_KEY, name.as_bytes()].concat(), last);
            last
        });
        tables.insert(*name, number);
    }
    batch.commit()?;
    Ok(tables)
}

/// One snapshot, and what was read from it.
pub(crate) struct View {
    snapshot: Snapshot,
    /// The last commit that the snapshot holds.
    commit: u64,
    engine: Arc<Embedded>,
    /// What a transaction that may write has read.
    tracked: Option<(OpenTransaction, ReadSet)>,
}

impl View {
    /// The number of the last commit that this snapshot holds, unless it belongs to a transaction.
    pub(crate) fn stamp(&self) -> Option<u64> {
        self.tracked.is_none().then_some(self.commit)
    }

    pub(crate) fn get(&mut self, table: &'static str, key: &[u8]) -> Result<Option<Slice>, StoreError> {
        let key = [&self.engine.number_of(table)?, key].concat();
        let cache = &self.engine.shared.row_cache;
        let mut found = cache.find(&key, self.commit);
        if found.is_none() {
            found = self.snapshot.get(&self.engine.rows, &key).map_err(unreadable)?;
            if let Some(value) = &found {
                cache.note_read(&key, value, self.commit);
            }
        }
        if let Some((_, reads)) = &mut self.tracked {
            reads.keys.push(key);
        }
        Ok(found)
    }

    pub(crate) async fn get_many(
        &mut self,
        table: &'static str,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Slice>>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.get(table, key)?);
            if found.len() % ROWS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(found)
    }

    pub(crate) async fn scan(&mut self, table: &'static str, span: Span) -> Result<Vec<Row>, StoreError> {
        if span.is_empty() || span.limit == 0 {
            return Ok(Vec::new());
        }
        let span = within_table(self.engine.number_of(table)?, span);
        let mut rows = Vec::new();
        let mut stored = self
            .snapshot
            .range(&self.engine.rows, (span.from.clone(), span.to.clone()));
        while rows.len() < span.limit {
            let next = match span.order {
                Order::Ascending => stored.next(),
                Order::Descending => stored.next_back(),
            };
            let Some(row) = next else { break };
            let (key, value) = row.into_inner().map_err(unreadable)?;
            rows.push((key[OWN_ROWS.len()..].to_vec(), value.to_vec()));
            if rows.len() % ROWS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        if let Some((_, reads)) = &mut self.tracked {
            // Beyond the last row of a scan that its limit cut short, nothing was seen.
            let cut = rows
                .last()
                .filter(|_| rows.len() == span.limit)
                .map(|(key, _)| key.clone());
            let number = self.engine.number_of(table)?;
            reads.spans.push(match cut {
                Some(key) => span.up_to([&number[..], &key].concat()),
                None => span,
            });
        }
        Ok(rows)
    }

    /// Hands the writes to the committer and waits until they are durable.
    pub(crate) async fn commit(self, overlay: Overlay) -> Result<(), StoreError> {
        let View {
            snapshot,
            engine,
            tracked,
            ..
        } = self;
        let Some((open, reads)) = tracked.filter(|_| !overlay.is_empty()) else {
            return Ok(());
        };
        // Held no longer than needed: old versions of rows are kept for it.
        drop(snapshot);
        // Whatever can be done here is done here, for the committer works alone.
        let (mut writes, mut numbered) = (Vec::new(), Vec::new());
        for (table, rows) in overlay.into_tables() {
            let number = engine.number_of(table)?;
            for (key, value) in rows {
                numbered.clear();
                numbered.extend_from_slice(&number);
                numbered.extend_from_slice(&key);
                let (key, value) = (Slice::from(&numbered), value.map(Slice::from));
                writes.push(Write { key, value });
            }
        }
        let outcome = engine.submit(open, reads, writes).await?;
        // Only the engine's threads answer from here on, so that closing it does not wait for this task.
        drop(engine);
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// The same span behind the number of its table.
fn within_table(number: [u8; 2], span: Span) -> Span {
    let numbered = |key: Vec<u8>| [&number[..], &key].concat();
    let from = match span.from {
        Bound::Unbounded => Bound::Included(number.to_vec()),
        bounded => bounded.map(numbered),
    };
    let to = match span.to {
        Bound::Unbounded => Bound::Excluded((u16::from_be_bytes(number) + 1).to_be_bytes().to_vec()),
        bounded => bounded.map(numbered),
    };
    Span { from, to, ..span }
}

fn unreadable(source: fjall::Error) -> StoreError {
    StoreError::Unavailable {
        doing: "reading",
        source: source.into(),
    }
}

fn closed() -> StoreError {
    StoreError::Stopped {
        because: "the store has been closed".into(),
    }
}
