//! Epochs: every so often each organization gets a new KEK, and the key that the old ones were wrapped under is erased.
//!
//! A destroyed key's row lives on in every copy of the store that was made before. It is noise there as soon as the KEK
//! that wraps it can't be had any more. So an epoch has a key in a file beside the root key, outside the store; KEKs are
//! wrapped under root and epoch key together, and when the next epoch has re-wrapped what is still wanted, the file is
//! overwritten and removed. The order is what makes it safe to stop anywhere:
//!
//! 1. the file of the new epoch, durable;
//! 2. the store says that the new epoch has begun, and from then on nothing is wrapped under the old one;
//! 3. each organization gets a new KEK, and a job that re-wraps its keys and then removes the older KEKs;
//! 4. once no KEK names the old epoch, and a day has passed since the new one began, its file is erased.
//!
//! The day is for whoever copies the store: a copy from before the new epoch can be restored until there is one from after.
//! Between 1 and 4 both files are there. Each round finds out from the store and the files what is still to be done.
//!
//! Where several processes share a store there is no such file: a new epoch brings new KEKs under the root alone, and
//! for how long a destroyed key could be brought back is a matter of how long copies of the database are kept.

use std::time::Duration;

use antumbra_store::StoreError;
use jiff::Timestamp;

use super::{
    Keyring, KeyringError, RootError, RootFile,
    root::EpochFiles,
    rotation::{self, Rewrapped},
    store::{self, EpochRow, KekState},
    wrappers::NO_EPOCH,
};
use crate::{
    AppState,
    jobs::{self, Claimed, INNER_RETRIES, Job, JobError, JobKind},
    organization::OrganizationId,
};

/// Re-wraps the keys of an organization. Names no subject: the job's organization is all it needs.
pub const REWRAP: JobKind = JobKind {
    name: "keyring.rewrap",
    lease: Duration::from_secs(5 * 60),
    retries: INNER_RETRIES,
    at_once: 1,
    at_once_per_target: 1,
};
/// Pages of one attempt, after which the job lets others have a turn.
const PAGES_AT_ONCE: usize = 64;
/// How long the key of an epoch is kept after the next one has begun.
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);

/// After how long a destroyed key cannot come back from a copy of the store any more, if epochs have keys and last `epoch`.
pub fn erasure_horizon(epoch: Duration) -> Duration {
    epoch + kept(epoch)
}

/// Short epochs do not wait for a day.
fn kept(epoch: Duration) -> Duration {
    epoch.min(KEPT_MAX)
}

/// One round: begins a new epoch if one is due, and goes on with whatever an earlier round has left.
pub async fn keep_epochs(app: &AppState) -> Result<(), KeyringError> {
    if let Some(length) = app.config.keys.epoch {
        app.keys.begin_epoch_if_due(app.clock.now(), length).await?;
    }
    for organization in app.keys.behind().await? {
        rotate(app, organization).await?;
    }
    let kept = app.config.keys.epoch.map_or(KEPT_MAX, kept);
    app.keys.erase_past_epochs(app.clock.now(), kept).await
}

/// Gives an organization a new KEK, and has its keys re-wrapped.
pub async fn rotate(app: &AppState, organization: OrganizationId) -> Result<(), KeyringError> {
    let mut tx = app.store.begin_write().await?;
    app.keys.rotate(&mut tx, organization).await?;
    let job = Job::new(app.ids.uuid(), &REWRAP, []);
    jobs::enqueue(&mut tx, organization, job, app.now(organization));
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// `REWRAP`: page by page, each in a transaction of its own.
pub async fn rewrap(app: AppState, job: Claimed) -> Result<(), JobError> {
    let failed = |error| match error {
        KeyringError::Store(error) => JobError::Store(error),
        error => JobError::because("re-wrapping keys", error),
    };
    let keys = app.keys.organization(job.organization).await.map_err(failed)?;
    let mut done = Rewrapped::Page;
    for _ in 0..PAGES_AT_ONCE {
        done = rotation::rewrap_page(&app.store, &keys).await.map_err(failed)?;
        if done == Rewrapped::All {
            break;
        }
    }
    let mut tx = app.store.begin_write().await?;
    match done {
        Rewrapped::All => jobs::finish(&mut tx, &job).await?,
        Rewrapped::Page => drop(jobs::finish_until(&mut tx, &job, app.now(job.organization)).await?),
    }
    Ok(tx.commit().await?)
}

fn has_lasted(epoch: &EpochRow, length: Duration, now: Timestamp) -> bool {
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    epoch.begun_at_ms.saturating_add(length_ms) <= now_ms
}

impl Keyring {
    /// Steps 1 and 2.
    pub(super) async fn begin_epoch_if_due(&self, now: Timestamp, length: Duration) -> Result<(), KeyringError> {
        let epoch = store::find_epoch(&mut self.0.store.begin_read().await?).await?;
        if epoch.as_ref().is_none_or(|epoch| has_lasted(epoch, length, now)) {
            let number = epoch.as_ref().map_or(NO_EPOCH, |epoch| epoch.number) + 1;
            let key_id = self.make_epoch_key(number).await?;
            let mut tx = self.0.store.begin_write().await?;
            let before = store::find_epoch(&mut tx).await?.map_or(NO_EPOCH, |epoch| epoch.number);
            if before + 1 == number {
                let row = EpochRow {
                    number,
                    begun_at_ms: u64::try_from(now.as_millisecond()).unwrap_or(0),
                    key_id,
                };
                store::put_epoch(&mut tx, &row);
                tx.commit().await?;
            }
        }
        self.follow_epoch().await
    }

    /// Step 1: the key of an epoch is durable, and known to this process. Gives its id, if epochs have keys.
    pub(super) async fn make_epoch_key(&self, number: u32) -> Result<Option<[u8; 8]>, KeyringError> {
        if self.0.root_file.epochs() == EpochFiles::None {
            return Ok(None);
        }
        let key = self.with_files(move |files| files.make_epoch(number)).await?;
        let wrappers = self.0.wrappers.get().with_epoch(number, key);
        let id = wrappers.newest(number).map(|wrapper| wrapper.kek.id().0);
        self.0.wrappers.set(wrappers);
        Ok(id)
    }

    /// From here on this process wraps under the epoch that the store names.
    async fn follow_epoch(&self) -> Result<(), KeyringError> {
        let epoch = store::find_epoch(&mut self.0.store.begin_read().await?).await?;
        if let Some(EpochRow {
            number,
            key_id: Some(_),
            ..
        }) = epoch
        {
            let wrappers = self.0.wrappers.get();
            if wrappers.active().epoch != number && wrappers.newest(number).is_some() {
                self.0.wrappers.set(wrappers.turned_to(number));
            }
        }
        Ok(())
    }

    /// The organizations that have no KEK of the present epoch yet.
    pub(super) async fn behind(&self) -> Result<Vec<OrganizationId>, KeyringError> {
        let mut reader = self.0.store.begin_read().await?;
        let Some(epoch) = store::find_epoch(&mut reader).await? else {
            return Ok(Vec::new());
        };
        let keks = store::list_all_keks(&mut reader).await?.into_iter();
        let behind = keks.filter(|(_, _, row)| row.state == KekState::Active && row.epoch < epoch.number);
        Ok(behind.map(|(organization, ..)| organization).collect())
    }

    /// Step 4, if it is time for it: the present epoch has lasted for `kept`. A transaction that would still wrap a KEK under an older epoch has read the row of the
    /// epoch before step 2 wrote it, and is a conflict.
    pub(super) async fn erase_past_epochs(&self, now: Timestamp, kept: Duration) -> Result<(), KeyringError> {
        let wrappers = self.0.wrappers.get();
        let active = wrappers.active();
        let current = active.epoch;
        if current == NO_EPOCH {
            return Ok(());
        }
        let past: Vec<u32> = self.with_files(|files| files.list_epochs()).await?;
        let past: Vec<u32> = past.into_iter().filter(|number| *number < current).collect();
        let mut reader = self.0.store.begin_read().await?;
        let epoch = store::find_epoch(&mut reader).await?;
        if past.is_empty() || !epoch.is_some_and(|epoch| epoch.number == current && has_lasted(&epoch, kept, now)) {
            return Ok(());
        }
        let keks = store::list_all_keks(&mut reader).await?;
        drop(reader);
        let is_needed = keks.iter().any(|(_, _, row)| row.wrapped.kek_id() != active.kek.id());
        if is_needed {
            return Ok(());
        }
        self.with_files(move |files| past.iter().try_for_each(|number| files.erase_epoch(*number)))
            .await?;
        self.0.wrappers.set(wrappers.without_past_epochs());
        // What was loaded before holds the old KEKs.
        self.forget_organizations();
        tracing::info!(epoch = current, "the keys of earlier epochs are erased");
        Ok(())
    }

    /// Files are waited for on a thread that may wait.
    async fn with_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&RootFile) -> Result<T, RootError> + Send + 'static,
    ) -> Result<T, KeyringError> {
        let files = self.0.root_file.clone();
        #[expect(clippy::disallowed_methods, reason = "key files block; waited for here")]
        let worked = tokio::task::spawn_blocking(move || work(&files)).await;
        let worked = worked.map_err(|source| StoreError::Unavailable {
            doing: "working on key files",
            source: source.into(),
        })?;
        Ok(worked?)
    }
}
