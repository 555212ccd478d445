//! The background jobs of a request. Each reads how the request stands and does what is still missing.

use std::time::Duration;

use super::{Deed, DsrError, change::advance, model::DsrId, state::DsrEvent};
use crate::{
    AppState,
    audit::Actor,
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

fn by_the_system<'a>(app: &'a AppState, job: &Claimed) -> Deed<'a> {
    Deed {
        organization: job.organization,
        by: Actor::System,
        now: app.clock.now(),
        ids: &app.ids,
    }
}

pub(super) fn failed(error: impl Into<DsrError>) -> JobError {
    match error.into() {
        DsrError::Store(error) => JobError::Store(error),
        error => JobError::because("moving the request on", error),
    }
}
