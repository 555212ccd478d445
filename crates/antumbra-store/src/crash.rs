//! Rehearsing a crash: a store that ends at one of its commits, as if its process had been killed there.
//!
//! Whatever stands on the store goes on running, and can do no more than a dead process could: it neither reads nor
//! writes. So tests try every moment at which a process may end, and need no second process for it.

use crate::StoreError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// On which side of a commit a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Nothing of it is written.
    Before,
    /// It is on stable storage, and nobody is told.
    After,
}

/// The crash that a store is to meet, if any, and whether it has.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Commits until then, that one included; 0 if none is planned.
    commits: AtomicU64,
    is_after: AtomicBool,
    has_come: AtomicBool,
}

impl Fate {
    pub(crate) fn plan(&self, nth: u64, crash: Crash) {
        self.is_after.store(crash == Crash::After, Ordering::SeqCst);
        self.commits.store(nth, Ordering::SeqCst);
    }

    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::SeqCst)
    }

    /// Fails if the crash is behind us.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.has_come() {
            true => Err(crashed()),
            false => Ok(()),
        }
    }

    /// What happens to the commit that begins now. A crash has come by the time that it is answered here.
    pub(crate) fn meet(&self) -> Result<Option<Crash>, StoreError> {
        self.check()?;
        let one_less = |left: u64| left.checked_sub(1);
        match self.commits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less) {
            Ok(1) => {
                self.has_come.store(true, Ordering::SeqCst);
                let is_after = self.is_after.load(Ordering::SeqCst);
                Ok(Some(if is_after { Crash::After } else { Crash::Before }))
            }
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

pub(crate) fn crashed() -> StoreError {
    StoreError::Stopped {
        because: "a crash was rehearsed".to_owned(),
    }
}
