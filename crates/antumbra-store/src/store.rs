//! The seam: what the rest of the program uses, and the one place where the engines are told apart.

use crate::{
    Corrupt, Crash, Key, OpenError, Scan, StoreConfig, StoreError, Table, Value,
    crash::{self, Fate},
    embedded::{Embedded, View},
    key::{bytes_of, key_of},
    overlay::Overlay,
    postgres::{self, Postgres},
};
use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// The longest key, in bytes: what every engine can index.
pub(crate) const KEY_BYTES_MAX: usize = 2_000;
/// The longest value, in bytes. What is larger belongs in [`Blobs`](crate::Blobs).
pub(crate) const VALUE_BYTES_MAX: usize = 32 << 20;

/// An open store. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    fate: Arc<Fate>,
}

#[derive(Clone)]
enum Engine {
    Embedded(Arc<Embedded>),
    Postgres(Arc<Postgres>),
}

impl Store {
    /// Opens the store with exactly these tables; those that are not there yet are made.
    pub async fn open(config: StoreConfig, tables: &[&'static str]) -> Result<Store, OpenError> {
        let engine = match config {
            StoreConfig::Embedded(config) => {
                let tables = tables.to_vec();
                #[expect(clippy::disallowed_methods, reason = "reading the log blocks; waited for below")]
                let opening = tokio::task::spawn_blocking(move || Embedded::open(&config, &tables));
                let opened = opening.await.map_err(|source| OpenError::Engine {
                    doing: "opening the embedded engine",
                    source: source.into(),
                })?;
                Engine::Embedded(Arc::new(opened?))
            }
            StoreConfig::Postgres(config) => Engine::Postgres(Postgres::open(&config, tables).await?),
        };
        let fate = Arc::default();
        Ok(Store { engine, fate })
    }

    /// Begins to read: one consistent snapshot, taken at the latest with the first read, of everything committed
    /// before.
    pub async fn begin_read(&self) -> Result<Reader, StoreError> {
        self.fate.check()?;
        Ok(Reader::over(match &self.engine {
            Engine::Embedded(engine) => Session::Embedded(engine.begin_read()),
            Engine::Postgres(engine) => Session::Postgres(engine.begin_read().await?),
        }))
    }

    /// Begins a serialisable transaction.
    pub async fn begin_write(&self) -> Result<Tx, StoreError> {
        self.fate.check()?;
        let reader = Reader::over(match &self.engine {
            Engine::Embedded(engine) => Session::Embedded(engine.begin_write()?),
            Engine::Postgres(engine) => Session::Postgres(engine.begin_write().await?),
        });
        let fate = Arc::clone(&self.fate);
        Ok(Tx { reader, fate })
    }

    /// For tests of what stands on the store: has it end at the `nth` commit from now on, 1 being the next. From then on every
    /// handle on it fails with [`StoreError::Stopped`], to read as to write, until the store is opened anew.
    pub fn crash_at(&self, nth: u64, crash: Crash) {
        self.fate.plan(nth, crash);
    }

    /// Whether the crash that was planned has come.
    pub fn has_crashed(&self) -> bool {
        self.fate.has_come()
    }

    /// Whether no other process can have this store open: whoever left something in it is gone.
    pub fn is_exclusive(&self) -> bool {
        matches!(self.engine, Engine::Embedded(_))
    }

    /// What the store has done since it was opened, for metrics.
    pub fn stats(&self) -> StoreStats {
        match &self.engine {
            Engine::Embedded(engine) => engine.stats(),
            Engine::Postgres(engine) => engine.stats(),
        }
    }

    /// Commits what is waiting and closes the store. Transactions that are still open can no longer commit.
    pub async fn close(self) {
        match self.engine {
            Engine::Embedded(engine) => {
                #[expect(clippy::disallowed_methods, reason = "the last commit blocks; waited for below")]
                let closing = tokio::task::spawn_blocking(move || engine.close());
                if closing.await.is_err() {
                    tracing::error!("closing the store failed");
                }
            }
            Engine::Postgres(engine) => engine.close(),
        }
    }
}

/// Counts since the store was opened, and its present state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes of transactions that wait to be committed.
    pub queue_bytes: u64,
    /// Transactions refused because another was faster.
    pub conflicts: u64,
    /// Transactions refused because too much was waiting.
    pub overloads: u64,
    /// Durable commits. The embedded engine makes one for a whole group of transactions.
    pub commits: u64,
    /// Transactions in those commits.
    pub transactions: u64,
    /// Rows written in those commits.
    pub rows: u64,
    /// Time spent in those commits, in microseconds: writing and syncing.
    pub commit_micros: u64,
    /// Bytes on disk, where the engine is ours.
    pub disk_bytes: u64,
    /// Whether writing has stopped after a failure of the disk.
    pub stopped: bool,
}

/// Reads one consistent snapshot; inside a [`Tx`], with its own writes laid over it.
pub struct Reader {
    session: Session,
    overlay: Overlay,
    /// The first write that could not be taken; the commit reports it.
    refused: Option<StoreError>,
}

/// What a reader sees, by a number: readers of one store with equal stamps see the same rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp(u64);

enum Session {
    Embedded(View),
    Postgres(postgres::Session),
}

impl Reader {
    fn over(session: Session) -> Reader {
        Reader {
            session,
            overlay: Overlay::default(),
            refused: None,
        }
    }

    /// The number of what this reader sees. None where the engine has none, and in a transaction: what that relies on it
    /// has to read, or nobody would notice that it has changed.
    pub fn stamp(&self) -> Option<Stamp> {
        match &self.session {
            Session::Embedded(view) => view.stamp().map(Stamp),
            Session::Postgres(_) => None,
        }
    }

    /// The value of `key`, if there is one.
    pub async fn get<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K) -> Result<Option<V>, StoreError> {
        let key = bytes_of(key);
        let found = match self.overlay.get(table.name(), &key) {
            Some(written) => written.as_deref().map(V::decode),
            None => match &mut self.session {
                Session::Embedded(view) => view.get(table.name(), &key)?.map(|bytes| V::decode(&bytes)),
                Session::Postgres(session) => session.get(table.name(), &key).await?.map(|bytes| V::decode(&bytes)),
            },
        };
        found.map(|decoded| decode(table, decoded)).transpose()
    }

    /// The values of many keys, in the order of the keys. One round trip, however many they are.
    pub async fn get_many<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        keys: &[K],
    ) -> Result<Vec<Option<V>>, StoreError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(bytes_of).collect();
        match &mut self.session {
            Session::Embedded(view) => {
                let found = view.get_many(table.name(), &keys).await?;
                overlaid(&self.overlay, table, &keys, found)
            }
            Session::Postgres(session) => {
                let found = session.get_many(table.name(), &keys).await?;
                overlaid(&self.overlay, table, &keys, found)
            }
        }
    }

    /// The rows of a scan, all of them at once: give it a limit unless the rows are few by nature. One round trip.
    pub async fn scan<K: Key, V: Value>(&mut self, table: &Table<K, V>, scan: Scan) -> Result<Vec<(K, V)>, StoreError> {
        let span = scan.span();
        let mut wanted = span.clone();
        wanted.limit = span
            .limit
            .saturating_add(self.overlay.deletions_in(table.name(), &span));
        let below = match &mut self.session {
            Session::Embedded(view) => view.scan(table.name(), wanted).await?,
            Session::Postgres(session) => session.scan(table.name(), wanted).await?,
        };
        let rows = self.overlay.merge(table.name(), &span, below);
        let row =
            |(key, value): (Vec<u8>, Vec<u8>)| -> Result<(K, V), Corrupt> { Ok((key_of(&key)?, V::decode(&value)?)) };
        rows.into_iter().map(|bytes| decode(table, row(bytes))).collect()
    }
}

/// The values of `keys`, from what was found of them in the engine and what is written over it.
fn overlaid<K, V: Value>(
    overlay: &Overlay,
    table: &Table<K, V>,
    keys: &[Vec<u8>],
    found: Vec<Option<impl Deref<Target = [u8]>>>,
) -> Result<Vec<Option<V>>, StoreError> {
    let value = |(key, below): (&Vec<u8>, Option<_>)| {
        let value = match overlay.get(table.name(), key) {
            Some(written) => written.as_deref().map(V::decode),
            None => below.as_deref().map(V::decode),
        };
        value.map(|decoded| decode(table, decoded)).transpose()
    };
    keys.iter().zip(found).map(value).collect()
}

fn decode<K, V, T>(table: &Table<K, V>, decoded: Result<T, Corrupt>) -> Result<T, StoreError> {
    decoded.map_err(|source| StoreError::Corrupt {
        table: table.name(),
        source,
    })
}

/// A transaction: a [`Reader`] that may also write. Dropped without [`commit`](Tx::commit), it leaves nothing.
///
/// Writes wait in memory, so a transaction is to be kept small; its reads see them at once.
pub struct Tx {
    reader: Reader,
    fate: Arc<Fate>,
}

impl Deref for Tx {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl Tx {
    /// Sets the value of `key`. A row beyond the bounds (2,000 bytes of key, 32 MiB of value) fails the commit.
    pub fn put<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K, value: &V) {
        let mut bytes = Vec::new();
        let encoded = value.encode(&mut bytes);
        let key = bytes_of(key);
        let problem = match encoded {
            Err(Corrupt(problem)) => problem,
            Ok(()) if key.len() > KEY_BYTES_MAX => "a key is longer than 2,000 bytes",
            Ok(()) if bytes.len() > VALUE_BYTES_MAX => "a value is larger than 32 MiB",
            Ok(()) => return self.reader.overlay.put(table.name(), key, Some(bytes)),
        };
        self.reader.refused.get_or_insert(StoreError::Misused {
            table: table.name(),
            problem,
        });
    }

    /// Removes `key`, whether or not it is there.
    pub fn delete<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K) {
        self.reader.overlay.put(table.name(), bytes_of(key), None);
    }

    /// Makes every write of this transaction durable and visible, or none.
    ///
    /// [`StoreError::Conflict`], [`StoreError::Overloaded`] and [`StoreError::Misused`] mean that nothing was written.
    /// After [`StoreError::Unavailable`] and [`StoreError::Stopped`] the outcome is unknown.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Reader {
            session,
            overlay,
            refused,
        } = self.reader;
        if let Some(refused) = refused {
            return Err(refused);
        }
        let met = self.fate.meet()?;
        if met == Some(Crash::Before) {
            return Err(crash::crashed());
        }
        let committed = match session {
            Session::Embedded(view) => view.commit(overlay).await,
            Session::Postgres(session) => session.commit(overlay).await,
        };
        match met {
            Some(_) => committed.and(Err(crash::crashed())),
            None => committed,
        }
    }
}
