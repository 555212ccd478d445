//! The snapshot that everybody begins to read from: the store as it stood between two commits.
//!
//! A snapshot taken while a batch is being written could hold half of it: the engine's flushes move the number below
//! which rows are seen, and do not wait for a batch that has a lower one. So a snapshot is taken only while no batch is
//! being written, and shared by all who begin until the next commit.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use fjall::{Database, Snapshot};

pub(super) struct Published {
    last: RwLock<(Snapshot, u64)>,
    writing: Mutex<()>,
}

impl Published {
    /// What `db` holds, up to `commit`. Nothing may be being written.
    pub(super) fn new(db: &Database, commit: u64) -> Self {
        Published {
            last: RwLock::new((db.snapshot(), commit)),
            writing: Mutex::new(()),
        }
    }

    /// The store after its last commit, and that commit's number.
    pub(super) fn get(&self) -> (Snapshot, u64) {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Leave to write a batch. No snapshot is taken while it stands.
    pub(super) fn begin_writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what has been written, as `commit`.
    pub(super) fn publish(&self, _written: MutexGuard<'_, ()>, db: &Database, commit: u64) {
        let next = (db.snapshot(), commit);
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// Takes the snapshot anew, where nothing is being written: an old one keeps files and memory that flushes have
    /// replaced since.
    pub(super) fn renew(&self, db: &Database) {
        let Ok(writing) = self.writing.try_lock() else { return };
        let (_, commit) = self.get();
        self.publish(writing, db, commit);
    }
}
