//! The change feed: every change of a preference record, in one order for each partition, numbered without a gap.
//!
//! Numbers are given out after the fact. A transaction that changes records leaves a row of what it changed, under an id of
//! its own, and meets nobody in doing so. A sequencer takes such rows from a snapshot and numbers them on from the last
//! number given out, all in one transaction. So a reader who has seen number 7 has seen all up to it, for good: whatever
//! commits later gets a later number. Of one record the changes come in the order in which they happened.
//!
//! The feed holds ids only; what a change was is read from the record's history when the feed is, with the key of the
//! person. When that is destroyed their changes stay in the feed as empty places.
//!
//! | File | Holds |
//! | --- | --- |
//! | `http.rs` | `GET /v1/preferences/{partition}/changes`: by long poll, or as a stream of events |
//! | `page.rs` | what changes were, and the cursors between them |
//! | `wire.rs` | a change as JSON |
//! | `webhooks.rs` | receivers that are told of changes, and the job that tells them |
//! | `graphql.rs` | their part of the management API |
//! | `sequencer.rs` | who gives out the numbers, and when |
//! | `store.rs` | the tables |
//! | `entry.rs` | rows as bytes, and the order in which they get their numbers |

mod entry;
pub(crate) mod graphql;
pub(crate) mod http;
mod page;
mod sequencer;
mod store;
mod webhooks;
mod wire;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{organization::OrganizationId, purposes::PartitionId};

pub(super) use entry::What;
pub use sequencer::{expire_changes, number_changes, run_sequencer};
pub(super) use store::News;
#[cfg(any(test, fuzzing))]
pub(crate) use webhooks::RECORDS;
pub use webhooks::{TELL_OF_CHANGES, tell_of_changes};

/// Names of this folder's tables.
pub(super) const TABLES: [&str; 5] = [
    store::TABLES[0],
    store::TABLES[1],
    store::TABLES[2],
    webhooks::TABLES[0],
    webhooks::TABLES[1],
];

/// A partition of an organization.
type Place = (OrganizationId, PartitionId);

/// What writers, the sequencer and readers of the feed tell each other within this process. Nothing depends on it but how
/// soon they hear of each other.
pub struct Feed {
    /// Where something was written since the sequencer last looked.
    written: Mutex<HashSet<Place>>,
    wake: Notify,
    /// The last numbers, as far as somebody waits for the next.
    heads: Mutex<HashMap<Place, watch::Sender<u64>>>,
    seats: Arc<Semaphore>,
    closed: CancellationToken,
}

impl Feed {
    /// A feed for so many readers at once.
    pub(crate) fn new(readers_max: usize) -> Feed {
        Feed {
            written: Mutex::default(),
            wake: Notify::new(),
            heads: Mutex::default(),
            seats: Arc::new(Semaphore::new(readers_max)),
            closed: CancellationToken::new(),
        }
    }

    /// A transaction that has changed records has been committed.
    pub(super) fn note(&self, organization: OrganizationId, partitions: impl IntoIterator<Item = PartitionId>) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend(partitions.into_iter().map(|partition| (organization, partition)));
        drop(written);
        self.wake.notify_one();
    }

    /// Nobody is kept waiting any longer.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    fn take_written(&self) -> HashSet<Place> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells those who wait at `place` of the number given out last.
    fn advance(&self, place: Place, last: u64) {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(head) = heads.get(&place) {
            head.send_if_modified(|known| {
                let newer = last > *known;
                *known = last.max(*known);
                newer
            });
        }
    }

    fn watch(&self, place: Place) -> watch::Receiver<u64> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.retain(|_, head| head.receiver_count() > 0);
        heads.entry(place).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// A seat for one more reader, unless all are taken.
    fn seat(&self) -> Option<OwnedSemaphorePermit> {
        self.seats.clone().try_acquire_owned().ok()
    }
}
