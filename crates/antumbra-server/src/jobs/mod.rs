//! Durable jobs: claim, lease, retry, give up.
//!
//! A job is written by the transaction that wants it done and removed by the transaction that does it, so it is neither
//! lost nor done for a change that never happened. In between a runner holds it on a lease. A job may all the same run
//! twice, late, or after a crash halfway: it holds ids only, reads the present state and does what is still missing.
//! This slice knows no other; what a kind of job does is told to the [`Runner`] from outside.

pub(crate) mod graphql;
mod runner;
mod store;

use std::{sync::Arc, time::Duration};

use antumbra_store::{Corrupt, Key, Reader, StoreError, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;
use uuid::Uuid;

pub use runner::{Bounds, Handler, Runner};
pub use store::{Failing, Parked, TABLES};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

use crate::{organization::OrganizationId, world::Clock};

/// One job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl Key for JobId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(JobId)
    }
}

/// What sort of work a job is, and within which bounds it runs. One constant per kind, in the slice it serves.
#[derive(Debug)]
pub struct JobKind {
    /// Stored with each job: never change it while jobs of the kind may be waiting.
    pub name: &'static str,
    /// How long one attempt may take. A job not finished by then is stopped and tried again.
    pub lease: Duration,
    /// The wait before each further attempt, give or take a tenth. Past the last, the job is parked.
    pub retries: &'static [Duration],
    /// Attempts under way at once in one process.
    pub at_once: usize,
    /// The same for jobs with one [`Job::target`], so that a slow target delays no other.
    pub at_once_per_target: usize,
}

/// Waits that suit work within the server: it fails only when something it stands on is away.
pub const INNER_RETRIES: &[Duration] = &[
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(6 * 60 * 60),
    Duration::from_secs(24 * 60 * 60),
];

/// A job to enqueue: ids and nothing else.
#[derive(Clone, Debug)]
pub struct Job {
    /// Fresh from `Ids::uuid`.
    pub id: JobId,
    /// What to do.
    pub kind: &'static JobKind,
    /// To what, in the order that the kind's handler expects.
    pub subjects: Vec<Uuid>,
    /// Whom the work waits for, where that is somebody outside.
    pub target: Option<Uuid>,
}

impl Job {
    /// A job of `kind` about `subjects`.
    pub fn new(id: Uuid, kind: &'static JobKind, subjects: impl IntoIterator<Item = Uuid>) -> Job {
        Job {
            id: JobId(id),
            kind,
            subjects: subjects.into_iter().collect(),
            target: None,
        }
    }

    /// The same, waiting for `target`.
    pub fn waiting_for(mut self, target: Uuid) -> Job {
        self.target = Some(target);
        self
    }
}

/// A waiting job's place, by which [`cancel`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// When it is due, in milliseconds since the epoch.
    pub due_at_ms: u64,
    /// Which it is.
    pub id: JobId,
}

/// A job in the hands of this process until its lease ends.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Whose job.
    pub organization: OrganizationId,
    /// Which job.
    pub id: JobId,
    /// To what, as enqueued.
    pub subjects: Vec<Uuid>,
    /// Whom the work waits for, as enqueued.
    pub target: Option<Uuid>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    lease_ends_at_ms: u64,
    token: u64,
}

impl Claimed {
    /// The subject at `place`. Fails for a job that an older version enqueued with fewer.
    pub fn subject(&self, place: usize) -> Result<Uuid, JobError> {
        self.subjects
            .get(place)
            .copied()
            .ok_or(JobError::Failed("the job names fewer things than its kind needs"))
    }

    /// Whether the job, which is of this kind, is parked if this attempt fails.
    pub fn is_last_attempt(&self, kind: &JobKind) -> bool {
        usize::try_from(self.attempt).is_ok_and(|attempt| attempt > kind.retries.len())
    }
}

/// Why an attempt came to nothing. Ends up in logs and with the parked job, so it never holds personal data.
#[derive(Debug, Error)]
pub enum JobError {
    /// The lease ended and another runner has the job. Nothing was changed.
    #[error("the job's lease has ended")]
    Lost,
    /// Somebody outside did not do their part, and the job has seen to what follows itself, with [`fail_until`] if it is
    /// tried again. Nothing is left to settle.
    #[error("somebody outside did not do their part")]
    InVain,
    /// Storage did not do its part. A conflict is tried again at once.
    #[error("storage failed")]
    Store(#[from] StoreError),
    /// The reason, in words.
    #[error("{0}")]
    Failed(&'static str),
    /// Something the job stands on failed.
    #[error("{doing} failed")]
    Cause {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl JobError {
    /// Whether something within the server failed, and the attempt has come to nothing for good.
    pub fn is_within(&self) -> bool {
        match self {
            JobError::Lost | JobError::InVain | JobError::Store(StoreError::Conflict) => false,
            JobError::Store(_) | JobError::Failed(_) | JobError::Cause { .. } => true,
        }
    }

    /// A failure while `doing`, because of `source`.
    pub fn because(doing: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> JobError {
        JobError::Cause {
            doing,
            source: Box::new(source),
        }
    }
}

/// Enqueues `job`, to run at `due_at` or soon after, if and only if `tx` commits. Ring [`Wake`] afterwards to have it found
/// at once.
pub fn enqueue(tx: &mut Tx, organization: OrganizationId, job: Job, due_at: Timestamp) -> Waiting {
    store::enqueue(tx, organization, job, due_at)
}

/// Removes a waiting job. One that a runner has claimed meanwhile runs all the same and finds nothing left to do.
pub fn cancel(tx: &mut Tx, organization: OrganizationId, waiting: Waiting) {
    store::cancel(tx, organization, waiting);
}

/// The job is done, if and only if `tx` commits. Fails when another runner has taken the job over: then `tx` must not
/// commit either.
pub async fn finish(tx: &mut Tx, claimed: &Claimed) -> Result<(), JobError> {
    store::release(tx, claimed).await.map(drop)
}

/// The job is done for now and runs once more at `due_at`, with its attempts counted afresh. Fails as [`finish`] does.
pub async fn finish_until(tx: &mut Tx, claimed: &Claimed, due_at: Timestamp) -> Result<Waiting, JobError> {
    store::finish_until(tx, claimed, due_at).await
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// When.
    pub at: Timestamp,
    /// Why; seen by whoever lists failing jobs, so it holds no personal data and no address.
    pub reason: &'a str,
    /// When the next attempt is due.
    pub next_try_at: Timestamp,
}

/// As [`finish_until`], but the job is listed as failing until an attempt succeeds. For what others do wrong, whom the
/// job gives a schedule of its own; its handler ends with [`JobError::InVain`].
pub async fn fail_until(tx: &mut Tx, claimed: &Claimed, failure: &Failure<'_>) -> Result<Waiting, JobError> {
    store::fail_until(tx, claimed, failure).await
}

/// The job is done, or runs once more at `again`: listed as failing until then where there is a `reason`. For what waits for others
/// on a schedule of its own.
pub async fn come_back(
    tx: &mut Tx,
    claimed: &Claimed,
    now: Timestamp,
    again: Option<Timestamp>,
    reason: Option<&str>,
) -> Result<Option<Waiting>, JobError> {
    Ok(match (again, reason) {
        (Some(next_try_at), Some(reason)) => {
            let failure = Failure {
                at: now,
                reason,
                next_try_at,
            };
            Some(fail_until(tx, claimed, &failure).await?)
        }
        (Some(at), None) => Some(finish_until(tx, claimed, at).await?),
        (None, _) => {
            finish(tx, claimed).await?;
            None
        }
    })
}

/// Jobs whose last attempt failed and that are tried again, oldest id first, at most `limit` of them after `after`.
pub async fn list_failing(
    reader: &mut Reader,
    organization: OrganizationId,
    after: Option<JobId>,
    limit: usize,
) -> Result<Vec<Failing>, StoreError> {
    store::list_failing(reader, organization, after, limit).await
}

/// Jobs that were given up, oldest id first, at most `limit` of them after `after`.
pub async fn list_parked(
    reader: &mut Reader,
    organization: OrganizationId,
    after: Option<JobId>,
    limit: usize,
) -> Result<Vec<Parked>, StoreError> {
    store::list_parked(reader, organization, after, limit).await
}

/// Has a parked job tried again from `due_at` on. `false` when no such job is parked.
pub async fn retry_parked(
    tx: &mut Tx,
    organization: OrganizationId,
    id: JobId,
    due_at: Timestamp,
) -> Result<bool, StoreError> {
    store::retry_parked(tx, organization, id, due_at).await
}

/// How many jobs are due, each by the time of its organization, claimed ones not counted, at most `limit`.
pub async fn count_due(reader: &mut Reader, clock: &Clock, limit: usize) -> Result<usize, StoreError> {
    store::count_due(reader, clock, limit).await
}

/// What an organization's jobs come to next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// A job is due, or under way.
    pub is_busy: bool,
    /// When the next job comes due; none if no job waits.
    pub next_due_at: Option<Timestamp>,
}

/// What the jobs of `organization` come to after `now`. Whoever reads it in a transaction that writes knows that no job
/// was claimed meanwhile.
pub async fn outlook(reader: &mut Reader, organization: OrganizationId, now: Timestamp) -> Result<Outlook, StoreError> {
    store::outlook(reader, organization, now).await
}

/// Tells the runner of this process that a job was enqueued; without it the runner would find the job a little later.
#[derive(Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// A job is due.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Returns when [`Wake::ring`] was called since the last time.
    pub async fn rung(&self) {
        self.0.notified().await;
    }
}

#[cfg(test)]
mod tests;
