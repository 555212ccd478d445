//! What triggers could not open, kept to be tried again.
//!
//! A firing that failed leaves a row with what its write wanted, sealed under the key of the person's record, and a job.
//! The job looks at the record and the trigger as they are by then. If the trigger still has its reason, the request is
//! opened and the row goes in one transaction, so it is opened once however often the job runs; if it has not (the person
//! chose otherwise, the record or the trigger is gone), the row goes and the audit log says why. What fails for a week is
//! parked, where `antumbra job list --parked` shows it and `antumbra job retry` has it tried again.
//!
//! A record is owed one request of each trigger at most: what a later write misses takes the place of the earlier row, and
//! a later write that succeeds takes it away. Whoever deletes a record need not know of this: its key opens no row any more.

use std::time::Duration;

use antumbra_crypto::value;
use antumbra_store::{Record as Row, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{FIRED, Firing, LAPSED, Scene, model::TriggerId, settings::RequestSettings};
use crate::{
    AppState,
    audit::Actor,
    dsr::{Cause, DsrError, DsrId},
    http::{Code, Problem},
    jobs::{self, Claimed, Job, JobError, JobId, JobKind},
    keyring::{KeyKind, KeyringError},
    organization::OrganizationId,
    preferences::{
        expiry::Sight,
        http::Known,
        model::RecordId,
        store::{Site, find_records},
    },
    purposes::PartitionId,
};

/// What triggers owe a record.
const MISSED: Table<(OrganizationId, RecordId, TriggerId), Missed> = Table::new("missed_workflow_triggers");

/// The name of the table.
pub(super) const TABLE: &str = MISSED.name();

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[crate::fuzz::same_when_written_again::<Missed>];

/// Tries a firing again. Subjects: the trigger, and the preference record.
pub const FIRE_AGAIN: JobKind = JobKind {
    name: "preferences.fire_again",
    lease: Duration::from_secs(60),
    retries: &[
        Duration::from_secs(10 * 60),
        Duration::from_secs(HOUR),
        Duration::from_secs(6 * HOUR),
        Duration::from_secs(24 * HOUR),
        Duration::from_secs(24 * HOUR),
        Duration::from_secs(24 * HOUR),
        Duration::from_secs(24 * HOUR),
        Duration::from_secs(24 * HOUR),
        Duration::from_secs(24 * HOUR),
        Duration::from_secs(24 * HOUR),
    ],
    at_once: 4,
    at_once_per_target: 4,
};

const HOUR: u64 = 60 * 60;

/// From the write to the first time that it is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// A firing that opened nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Missed {
    /// The job that sees to it. Another finds that it has nothing left to do.
    job: JobId,
    partition: PartitionId,
    /// The purpose that it is about.
    purpose: u32,
    /// Somebody insisted; nothing had changed.
    insisted: bool,
    /// What the write wants of the request, under the key of the record.
    sealed: Vec<u8>,
}

impl Row for Missed {
    const VERSION: u8 = 1;
}

/// Keeps a firing that opened nothing.
pub(super) async fn keep(
    tx: &mut Tx,
    site: &Site<'_>,
    now: Timestamp,
    (partition, record): (PartitionId, RecordId),
    firing: &Firing<'_>,
) -> Result<(), KeyringError> {
    // A record without its key could not have been read, and nothing would have fired.
    let Some(key) = site.keys.find_key(tx, KeyKind::Subject, record.0).await? else {
        return Ok(());
    };
    let trigger = firing.trigger.id;
    let plain = serde_json::to_vec(&firing.settings).map(Zeroizing::new);
    let plain = plain.expect("words, flags and ids have no way to fail");
    let job = Job::new(site.ids.uuid(), &FIRE_AGAIN, [trigger.0, record.0]);
    let missed = Missed {
        job: job.id,
        partition,
        purpose: firing.purpose,
        insisted: firing.cause == Cause::Insistence,
        sealed: value::seal(&key, &context(&site.organization, &record, &trigger), &plain),
    };
    tx.put(&MISSED, &(site.organization, record, trigger), &missed);
    jobs::enqueue(tx, site.organization, job, now + FIRST_WAIT);
    Ok(())
}

/// Nothing is owed any more.
pub(super) fn forget(tx: &mut Tx, organization: OrganizationId, (trigger, record): (TriggerId, RecordId)) {
    tx.delete(&MISSED, &(organization, record, trigger));
}

fn context<'a>(organization: &'a OrganizationId, record: &'a RecordId, trigger: &'a TriggerId) -> [&'a [u8]; 4] {
    [
        b"missed firing",
        organization.0.as_bytes(),
        record.0.as_bytes(),
        trigger.0.as_bytes(),
    ]
}

/// Does [`FIRE_AGAIN`].
pub async fn fire_again(app: AppState, job: Claimed) -> Result<(), JobError> {
    let (trigger, record) = (TriggerId(job.subject(0)?), RecordId(job.subject(1)?));
    let organization = job.organization;
    let keys = app.keys.organization(organization).await.map_err(failed)?;
    let mut tx = app.store.begin_write().await?;
    let missed = tx.get(&MISSED, &(organization, record, trigger)).await?;
    if let Some(missed) = missed.filter(|missed| missed.job == job.id) {
        let known = Known::read(&app, &mut tx, organization, app.clock.now()).await;
        let known = known.map_err(failed)?;
        let site = known.site(&app, organization, &keys);
        let scene = Scene {
            app: &app,
            site: &site,
            catalog: &known.catalog,
            triggers: &known.triggers,
            by: Actor::System,
        };
        let (action, detail) = match scene.try_again(&mut tx, &missed, trigger, record).await? {
            Ok(dsr) => (FIRED, ("dsr", dsr.0.into())),
            Err(why) => (LAPSED, ("reason", why.into())),
        };
        scene.record(&mut tx, action, (trigger, record), detail);
        forget(&mut tx, organization, (trigger, record));
    }
    jobs::finish(&mut tx, &job).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

impl Scene<'_> {
    /// Opens what is owed, or gives one word for why nothing is any more. Fails if it can't be opened now either.
    async fn try_again(
        &self,
        tx: &mut Tx,
        missed: &Missed,
        id: TriggerId,
        record: RecordId,
    ) -> Result<Result<DsrId, &'static str>, JobError> {
        let Some(trigger) = self.triggers.iter().find(|armed| armed.id == id) else {
            return Ok(Err("no-such-trigger"));
        };
        let held = find_records(tx, self.site, missed.partition, &[record]).await;
        let held = held.map_err(failed)?.pop().flatten();
        let key = self.site.keys.find_key(tx, KeyKind::Subject, record.0).await;
        let key = key.map_err(failed)?;
        let context = context(&self.site.organization, &record, &id);
        let plain = key.and_then(|key| value::open(&key, &context, &missed.sealed).ok());
        let (Some(whole), Some(plain)) = (held.and_then(|held| held.record), plain) else {
            return Ok(Err("no-such-record"));
        };
        let after = Sight::now(self.catalog, self.site.now).left_of(&whole);
        let is_asked = trigger.conditions.iter().any(|one| one.purpose == missed.purpose);
        if !is_asked || !trigger.holds(&after) {
            return Ok(Err("no-longer-so"));
        }
        let settings: RequestSettings =
            serde_json::from_slice(&plain).map_err(|bad| JobError::because("reading what a write wants", bad))?;
        let firing = Firing {
            trigger,
            purpose: missed.purpose,
            cause: if missed.insisted {
                Cause::Insistence
            } else {
                Cause::Change
            },
            settings,
        };
        match self.open(tx, missed.partition, &after, &firing).await {
            Ok(Ok(dsr)) => Ok(Ok(dsr)),
            Ok(Err(unfit)) => Err(JobError::Failed(unfit.word())),
            Err(DsrError::PastStopping(_)) => Ok(Err("under-way")),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: impl Into<Problem>) -> JobError {
    let problem = error.into();
    match problem.code() {
        Code::WriteConflict => JobError::Store(StoreError::Conflict),
        _ => JobError::because("trying a workflow trigger again", problem),
    }
}
