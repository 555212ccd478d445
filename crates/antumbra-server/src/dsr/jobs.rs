//! The background jobs of a request. Each reads how the request stands and does what is still missing.

use std::time::Duration;

use super::{
    Deed, DsrError,
    change::advance,
    drop_runs::{self, DropRunId},
    holds,
    model::DsrId,
    state::DsrEvent,
};
use crate::{
    AppState,
    audit::Actor,
    files::{self, FileError},
    jobs::{self, Claimed, INNER_RETRIES, JobError, JobKind},
};

/// Sees to it that enrichers run and identifiers are verified, and lets the request go on once nothing of it is left to do.
/// Subject: the request. The work is done by the slice of preflights.
pub static SETTLE_IDENTITIES: JobKind = inner("dsr.settle_identities");

/// Opens the silo runs of the phase a request is in, or looks again at those that are open; when every one has ended,
/// says so with [`DsrEvent::RunsFinished`]. Subject: the request. The work is done by the slice of silo runs.
pub static OPEN_RUNS: JobKind = inner("dsr.open_runs");

/// A waiting period, a delay, or the time to download is over. Subject: the request.
pub static ELAPSED: JobKind = inner("dsr.elapsed");

/// Removes the files of a request that ended in a way in which nobody sees them any more, such as the preview of an erasure that is
/// done. Subject: the request.
pub static DROP_FILES: JobKind = inner("dsr.drop_files");

/// Forgets the records of a deletion platform's run that is closed. Subject: the run.
pub static FORGET_DROP_RECORDS: JobKind = inner("dsr.forget_drop_records");

/// Destroys the keys of an organization's requests that have been over for long enough. Names no subject. The work is done by
/// the slice of retention.
pub static RETAIN: JobKind = JobKind {
    name: "retention.retain",
    lease: Duration::from_secs(5 * 60),
    retries: INNER_RETRIES,
    at_once: 1,
    at_once_per_target: 1,
};

/// Files, and rows of other sorts, that one transaction removes.
const DROPPED_AT_ONCE: usize = 500;

pub(super) const fn inner(name: &'static str) -> JobKind {
    JobKind {
        name,
        lease: Duration::from_secs(60),
        retries: INNER_RETRIES,
        at_once: 16,
        at_once_per_target: 16,
    }
}

/// Does [`ELAPSED`]. A request that has moved on, or that waits for a later time, is left alone.
pub async fn elapsed(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let mut tx = app.store.begin_write().await?;
    match advance(&mut tx, &by_the_system(&app, &job), id, DsrEvent::TimeElapsed).await {
        Ok(_) | Err(DsrError::OutOfPlace(_) | DsrError::NotFound) => {}
        Err(error) => return Err(failed(error)),
    }
    jobs::finish(&mut tx, &job).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// Does [`DROP_FILES`], unless the request has started again meanwhile, or its data subject is on legal hold: the end of that has
/// it done again.
pub async fn drop_files(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let keys = app.keys.organization(job.organization).await.map_err(failed)?;
    loop {
        let mut tx = app.store.begin_write().await?;
        let is_wanted = match super::get_head(&mut tx, job.organization, id).await {
            Ok(head) => head.shows_nothing_any_more() && !holds::is_held(&mut tx, job.organization, &head).await?,
            Err(DsrError::NotFound) => false,
            Err(error) => return Err(failed(error)),
        };
        let left = match is_wanted {
            true => files::discard_some(&mut tx, &keys, id.0, DROPPED_AT_ONCE)
                .await
                .map_err(|error| file_failed("removing files that nobody sees", error))?,
            false => files::Left::Nothing,
        };
        if left == files::Left::Nothing {
            jobs::finish(&mut tx, &job).await?;
            return Ok(tx.commit().await?);
        }
        tx.commit().await?;
    }
}

/// Does [`FORGET_DROP_RECORDS`].
pub async fn forget_drop_records(app: AppState, job: Claimed) -> Result<(), JobError> {
    let run = DropRunId(job.subject(0)?);
    loop {
        let mut tx = app.store.begin_write().await?;
        let is_closed = drop_runs::find(&mut tx, job.organization, run)
            .await?
            .is_some_and(|run| run.closed_at.is_some());
        if !is_closed || !drop_runs::forget_records(&mut tx, job.organization, run, DROPPED_AT_ONCE).await? {
            jobs::finish(&mut tx, &job).await?;
            return Ok(tx.commit().await?);
        }
        tx.commit().await?;
    }
}

/// A failure of files while `doing`; one of storage as such.
pub(crate) fn file_failed(doing: &'static str, error: FileError) -> JobError {
    match error {
        FileError::Store(error) => JobError::Store(error),
        error => JobError::because(doing, error),
    }
}

pub(super) fn by_the_system<'a>(app: &'a AppState, job: &Claimed) -> Deed<'a> {
    Deed {
        organization: job.organization,
        by: Actor::System,
        now: app.now(job.organization),
        ids: &app.ids,
    }
}

pub(super) fn failed(error: impl Into<DsrError>) -> JobError {
    match error.into() {
        DsrError::Store(error) => JobError::Store(error),
        error => JobError::because("moving the request on", error),
    }
}
