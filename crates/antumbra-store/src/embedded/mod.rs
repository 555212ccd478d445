//! The engine in this process: tables in a log-structured tree on the local disk.
//!
//! Reads go straight to a snapshot of the tree. Writes wait in memory until the commit, which goes through one
//! committer thread (`committer.rs`) that checks what was read against what others wrote since (`conflicts.rs`).

mod committer;
mod conflicts;
mod lock;

use self::{
    committer::{Committer, Submission, Write},
    conflicts::{ReadSet, TableId},
    lock::FolderLock,
};
use crate::{
    EmbeddedConfig, OpenError, StoreError,
    overlay::{Overlay, Row},
    scan::{Order, Span},
};
use fjall::{Keyspace, KeyspaceCreateOptions, Readable, Snapshot};
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Where each batch leaves the number of its commit.
const COMMIT_KEY: &[u8] = b"commit";
/// The table of the engine's own rows.
const META_TABLE: &str = "store_meta";
/// Most bytes that wait in the queue of commits, each transaction counted as at least `TRANSACTION_BYTES_MIN`.
const QUEUE_BYTES_MAX: usize = 64 << 20;
const TRANSACTION_BYTES_MIN: usize = 16 << 10;
/// How long a transaction waits for room in that queue.
const QUEUE_WAIT_MAX: Duration = Duration::from_millis(500);
/// Rows of a long scan after which other tasks get their turn.
const SCAN_ROWS_PER_TURN: usize = 1_000;

/// The engine. Dropping it waits for the committer to finish what is queued.
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    db: fjall::Database,
    tables: HashMap<&'static str, (TableId, Keyspace)>,
    queue: Mutex<Option<mpsc::UnboundedSender<Submission>>>,
    room: Arc<Semaphore>,
    committer: Mutex<Option<JoinHandle<()>>>,
    _lock: FolderLock,
}

/// What transactions and the committer both look at.
struct Shared {
    /// The last commit that is durable and visible.
    committed: AtomicU64,
    /// How many open transactions began at which commit.
    active: Mutex<BTreeMap<u64, usize>>,
    stopped: OnceLock<String>,
    stats: Stats,
}

#[derive(Default)]
struct Stats {
    conflicts: AtomicU64,
    groups: AtomicU64,
    transactions: AtomicU64,
    rows: AtomicU64,
    commit_micros: AtomicU64,
}

impl Stats {
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
        let _ = self.stopped.set(because);
    }

    fn oldest_active(&self) -> u64 {
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        active
            .keys()
            .next()
            .copied()
            .unwrap_or_else(|| self.committed.load(Ordering::Acquire))
    }

    fn begin(self: &Arc<Self>) -> ActiveTransaction {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        // Read inside the lock: the committer forgets nothing after this commit while the entry stands.
        let began = self.committed.load(Ordering::Acquire);
        *active.entry(began).or_default() += 1;
        ActiveTransaction {
            shared: self.clone(),
            began,
        }
    }
}

/// Keeps what was written since `began` known to the committer.
struct ActiveTransaction {
    shared: Arc<Shared>,
    began: u64,
}

impl Drop for ActiveTransaction {
    fn drop(&mut self) {
        let mut active = self.shared.active.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = active.get_mut(&self.began) {
            *count -= 1;
            if *count == 0 {
                active.remove(&self.began);
            }
        }
    }
}

impl Embedded {
    /// Opens the folder. Blocks on the disk.
    pub(crate) fn open(config: &EmbeddedConfig, names: &[&'static str]) -> Result<Embedded, OpenError> {
        let folder = &config.folder;
        std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder {
            doing: "making the data folder",
            path: folder.clone(),
            source,
        })?;
        let lock = FolderLock::take(folder)?;
        let failed = |doing| {
            move |source: fjall::Error| OpenError::Engine {
                doing,
                source: source.into(),
            }
        };
        let db = fjall::Database::builder(folder.join("tables"))
            .cache_size(config.cache_bytes)
            .max_journaling_size(config.journal_bytes.max(64 << 20))
            .worker_threads(std::thread::available_parallelism().map_or(1, usize::from))
            .open()
            .map_err(failed("opening the tables"))?;
        let keyspace = |name: &str| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(64 << 20);
            db.keyspace(name, options).map_err(failed("opening a table"))
        };
        let meta = keyspace(META_TABLE)?;
        let stored = meta.get(COMMIT_KEY).map_err(failed("reading the last commit"))?;
        let committed = stored.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
        let mut tables = HashMap::new();
        let mut keyspaces = Vec::new();
        for (id, name) in (0..).zip(names) {
            let keyspace = keyspace(name)?;
            keyspaces.push(keyspace.clone());
            tables.insert(*name, (id, keyspace));
        }
        let shared = Arc::new(Shared {
            committed: AtomicU64::new(committed.unwrap_or(0)),
            active: Mutex::default(),
            stopped: OnceLock::new(),
            stats: Stats::default(),
        });
        let (queue, submissions) = mpsc::unbounded_channel();
        let committer = Committer::new(shared.clone(), db.clone(), keyspaces, meta);
        let committer = std::thread::Builder::new()
            .name("antumbra-commit".into())
            .spawn(move || committer.run(submissions))
            .map_err(|source| OpenError::Engine {
                doing: "starting the committer",
                source: source.into(),
            })?;
        Ok(Embedded {
            shared,
            db,
            tables,
            queue: Mutex::new(Some(queue)),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            committer: Mutex::new(Some(committer)),
            _lock: lock,
        })
    }

    pub(crate) fn begin(self: &Arc<Self>, tracking: Tracking) -> Result<View, StoreError> {
        let tracked = match tracking {
            Tracking::Off => None,
            // The commit is read before the snapshot is taken. So the snapshot holds at least that commit, and a
            // later one that it happens to hold too can only refuse the transaction needlessly.
            Tracking::On => match self.shared.stopped() {
                Some(stopped) => return Err(stopped),
                None => Some((self.shared.begin(), ReadSet::default())),
            },
        };
        Ok(View {
            snapshot: self.db.snapshot(),
            engine: self.clone(),
            tracked,
        })
    }

    /// Commits what is queued, stops the committer, and refuses further commits. Blocks.
    pub(crate) fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committer) = committer
            && committer.join().is_err()
        {
            tracing::error!("the committer had failed");
        }
    }

    fn table(&self, table: &'static str) -> Result<&(TableId, Keyspace), StoreError> {
        let problem = "it was not named when the store was opened";
        self.tables.get(table).ok_or(StoreError::Misused { table, problem })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether a view keeps account of what it reads, as a transaction must that will write.
pub(crate) enum Tracking {
    On,
    Off,
}

/// One snapshot, and what was read from it.
pub(crate) struct View {
    snapshot: Snapshot,
    engine: Arc<Embedded>,
    tracked: Option<(ActiveTransaction, ReadSet)>,
}

impl View {
    pub(crate) fn get(&mut self, table: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let (id, keyspace) = self.engine.table(table)?;
        if let Some((_, reads)) = &mut self.tracked {
            reads.add_key(*id, key);
        }
        let found = self.snapshot.get(keyspace, key).map_err(unreadable)?;
        Ok(found.map(|value| value.to_vec()))
    }

    pub(crate) async fn get_many(
        &mut self,
        table: &'static str,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            found.push(self.get(table, key)?);
            if i % SCAN_ROWS_PER_TURN == SCAN_ROWS_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
        }
        Ok(found)
    }

    pub(crate) async fn scan(&mut self, table: &'static str, span: Span) -> Result<Vec<Row>, StoreError> {
        let (id, keyspace) = self.engine.table(table)?;
        let mut rows = Vec::new();
        if !span.is_empty() && span.limit > 0 {
            let bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>) = (span.from.clone(), span.to.clone());
            let mut iter = self.snapshot.range(keyspace, bounds);
            while rows.len() < span.limit {
                let next = match span.order {
                    Order::Ascending => iter.next(),
                    Order::Descending => iter.next_back(),
                };
                let Some(row) = next else { break };
                let (key, value) = row.into_inner().map_err(unreadable)?;
                rows.push((key.to_vec(), value.to_vec()));
                if rows.len() % SCAN_ROWS_PER_TURN == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
        if let Some((_, reads)) = &mut self.tracked {
            let cut = rows.len() >= span.limit;
            match rows.last() {
                Some((last, _)) if cut => reads.add_span(*id, span.up_to(last.clone())),
                _ if span.limit == 0 => {}
                _ => reads.add_span(*id, span),
            }
        }
        Ok(rows)
    }

    /// Hands the writes to the committer and waits until they are durable.
    pub(crate) async fn commit(self, overlay: Overlay) -> Result<(), StoreError> {
        let View {
            snapshot,
            engine,
            tracked,
        } = self;
        let Some((active, reads)) = tracked.filter(|_| !overlay.is_empty()) else {
            return Ok(());
        };
        drop(snapshot);
        let mut writes = Vec::new();
        for (table, rows) in overlay.into_tables() {
            let (table, _) = *engine.table(table)?;
            writes.extend(rows.into_iter().map(|(key, value)| Write { table, key, value }));
        }
        let bytes = writes
            .iter()
            .map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len))
            .sum();
        let room = usize::clamp(bytes, TRANSACTION_BYTES_MIN, QUEUE_BYTES_MAX) as u32;
        let room = tokio::time::timeout(QUEUE_WAIT_MAX, engine.room.clone().acquire_many_owned(room)).await;
        let Ok(Ok(room)) = room else {
            return Err(StoreError::Overloaded);
        };
        let (answer, outcome) = oneshot::channel();
        let submission = Submission {
            active,
            reads,
            writes,
            bytes,
            answer,
            room,
        };
        let closed = || StoreError::Stopped {
            because: "the store has been closed".into(),
        };
        let queued = match engine.queue.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(queue) => queue.send(submission).is_ok(),
            None => false,
        };
        if !queued {
            return Err(closed());
        }
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn unreadable(source: fjall::Error) -> StoreError {
    StoreError::Unavailable {
        doing: "reading",
        source: source.into(),
    }
}
