//! The part of the management API that is about jobs: those that fail and those that were given up, for whoever
//! repairs them.

use async_graphql::{Context, ID, Object, SimpleObject};

use super::{Failing, JobId, Parked, list_failing, list_parked, retry_parked};
use crate::graphql::{Acknowledged, Date, Refusal, Session, bound, parse_id};

/// Jobs on a page that asks for no number of them.
const FIRST: usize = 100;
/// Jobs on a page.
const FIRST_MAX: i32 = 1_000;

/// Queries about jobs.
#[derive(Default)]
pub(crate) struct JobQueries;

#[Object]
impl JobQueries {
    /// Jobs whose last attempt failed, in the order in which they were made. They are tried again by themselves.
    async fn failing_jobs(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        #[graphql(desc = "The last job of the page before.")] after: Option<ID>,
    ) -> Result<FailingJobsPayload, Refusal> {
        let session = Session::of(context);
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(FIRST);
        let after = after.map(|id| parse_id(&id, "job")).transpose()?.map(JobId);
        let mut reader = session.read().await;
        let listed = list_failing(&mut reader, session.organization(), after, first).await?;
        Ok(FailingJobsPayload {
            nodes: listed.into_iter().map(FailingJob::from).collect(),
        })
    }

    /// Jobs that were given up after their last attempt, in the order in which they were made. Nothing happens to them
    /// until somebody has them tried again.
    async fn parked_jobs(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        #[graphql(desc = "The last job of the page before.")] after: Option<ID>,
    ) -> Result<ParkedJobsPayload, Refusal> {
        let session = Session::of(context);
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(FIRST);
        let after = after.map(|id| parse_id(&id, "job")).transpose()?.map(JobId);
        let mut reader = session.read().await;
        let listed = list_parked(&mut reader, session.organization(), after, first).await?;
        Ok(ParkedJobsPayload {
            nodes: listed.into_iter().map(ParkedJob::from).collect(),
        })
    }
}

/// What people do to jobs.
#[derive(Default)]
pub(crate) struct JobMutations;

#[Object]
impl JobMutations {
    /// Has a job that was given up tried again, at once and with its attempts counted afresh.
    async fn retry_job(&self, context: &Context<'_>, id: ID) -> Result<Acknowledged, Refusal> {
        let session = Session::of(context);
        let id = parse_id(&id, "parked job")?;
        let mut tx = session.write().await;
        if !retry_parked(&mut tx, session.organization(), JobId(id), session.now).await? {
            return Err(Refusal::not_found("parked job"));
        }
        session.record(&mut tx, "job.retried", ("job", id));
        Ok(Acknowledged::default())
    }
}

/// A job that was given up.
#[derive(SimpleObject)]
struct ParkedJob {
    /// Its id.
    id: ID,
    /// What sort of work it is.
    kind: String,
    /// The ids of what it is about.
    subjects: Vec<ID>,
    /// How often it was tried.
    attempts: u32,
    /// When it was given up.
    parked_at: Date,
    /// Why the last attempt failed.
    reason: String,
}

impl From<Parked> for ParkedJob {
    fn from(parked: Parked) -> ParkedJob {
        ParkedJob {
            id: parked.id.0.into(),
            kind: parked.kind,
            subjects: parked.subjects.into_iter().map(ID::from).collect(),
            attempts: parked.attempts,
            parked_at: Date(parked.parked_at),
            reason: parked.reason,
        }
    }
}

/// A page of jobs that were given up.
#[derive(SimpleObject)]
struct ParkedJobsPayload {
    /// The page.
    nodes: Vec<ParkedJob>,
}

/// A job whose last attempt failed.
#[derive(SimpleObject)]
struct FailingJob {
    /// Its id.
    id: ID,
    /// What sort of work it is.
    kind: String,
    /// The ids of what it is about.
    subjects: Vec<ID>,
    /// Attempts that failed since one did not.
    failures: u32,
    /// When the last attempt failed.
    failed_at: Date,
    /// When it is tried again; in the past if that is under way.
    next_try_at: Date,
    /// Why the last attempt failed.
    reason: String,
}

impl From<Failing> for FailingJob {
    fn from(failing: Failing) -> FailingJob {
        FailingJob {
            id: failing.id.0.into(),
            kind: failing.kind,
            subjects: failing.subjects.into_iter().map(ID::from).collect(),
            failures: failing.failures,
            failed_at: Date(failing.failed_at),
            next_try_at: Date(failing.next_try_at),
            reason: failing.reason,
        }
    }
}

/// A page of jobs whose last attempt failed.
#[derive(SimpleObject)]
struct FailingJobsPayload {
    /// The page.
    nodes: Vec<FailingJob>,
}
