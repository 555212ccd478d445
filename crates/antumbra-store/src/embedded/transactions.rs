//! Which transactions are open, and where each began.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// The open transactions and the last commit, shared by those who begin and the committer.
pub(super) struct Transactions {
    /// The last commit that is durable and visible.
    committed: AtomicU64,
    /// How many open transactions began at which commit.
    open: Mutex<BTreeMap<u64, usize>>,
}

impl Transactions {
    pub(super) fn new(committed: u64) -> Self {
        Transactions {
            committed: committed.into(),
            open: Mutex::default(),
        }
    }

    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    pub(super) fn commit(&self, commit: u64) {
        self.committed.store(commit, Ordering::Release);
    }

    pub(super) fn begin(self: &Arc<Self>) -> OpenTransaction {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Read inside the lock: nothing written after this commit is forgotten while the entry stands.
        let began = self.committed();
        *open.entry(began).or_default() += 1;
        OpenTransaction {
            all: self.clone(),
            began,
        }
    }

    /// Where the oldest open transaction began; the last commit if none is open.
    pub(super) fn oldest(&self) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.keys().next().copied().unwrap_or_else(|| self.committed())
    }
}

/// Keeps what was written since it began known to the committer.
pub(super) struct OpenTransaction {
    all: Arc<Transactions>,
    began: u64,
}

impl OpenTransaction {
    pub(super) fn began(&self) -> u64 {
        self.began
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let mut open = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.began) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.began);
            }
        }
    }
}
