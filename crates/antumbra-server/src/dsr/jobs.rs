//! The background jobs of a request. Each reads how the request stands and does what is still missing.

use std::time::Duration;

use super::{
    Deed, DsrError,
    change::{advance, record},
    model::{DsrId, Identities, identities},
    state::{DsrEvent, DsrState},
};
use crate::{
    AppState,
    audit::{Actor, Detail},
    jobs::{self, Claimed, INNER_RETRIES, JobError, JobKind},
};

/// Looks whether every identifier is verified, and lets the request go on if so. Subject: the request.
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

/// Does [`SETTLE_IDENTITIES`].
///
/// What an API key holder submits counts as verified when it arrives, but for an address they themselves call unverified.
/// Such a request stays where it is until somebody removes the address or cancels the request; the audit log and a
/// warning say so, each time that the request is looked at.
pub async fn settle_identities(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let keys = app.keys.organization(job.organization).await.map_err(failed)?;
    let mut tx = app.store.begin_write().await?;
    let deed = by_the_system(&app, &job);
    let dsr = match super::get(&mut tx, &keys, id).await {
        Ok(dsr) => Some(dsr).filter(|dsr| dsr.head.state == DsrState::Enriching),
        Err(DsrError::NotFound) => None,
        Err(error) => return Err(failed(error)),
    };
    let unverified = match dsr.as_ref().map(|dsr| identities(&dsr.subject)) {
        Some(Identities::Settled) => {
            advance(&mut tx, &deed, id, DsrEvent::IdentitiesSettled)
                .await
                .map_err(failed)?;
            None
        }
        Some(Identities::Unverified(count)) => {
            record(
                &mut tx,
                &deed,
                id,
                "dsr.verification_awaited",
                vec![
                    ("count", Detail::Count(count as u64)),
                    ("waits_for", "verified identifiers".into()),
                    ("continued_by", "removeRequestIdentifiers".into()),
                ],
            );
            Some(count)
        }
        None => None,
    };
    jobs::finish(&mut tx, &job).await?;
    tx.commit().await?;
    app.jobs.ring();
    if let Some(count) = unverified {
        tracing::warn!(
            dsr.id = %id,
            count,
            "the request waits: it was submitted with identifiers that are not verified. Nothing verifies them later: the \
             mutation removeRequestIdentifiers takes them out and lets the request go on, cancelRequest ends it"
        );
    }
    Ok(())
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
