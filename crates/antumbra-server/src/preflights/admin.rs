//! What people do to preflights through the management API.

use antumbra_store::{Reader, Tx};

use super::{
    PreflightError,
    answer::{forget_job, keep, open_head},
    model::{Preflight, PreflightEvent, PreflightId},
    store,
};
use crate::{
    dsr::{self, DsrId},
    organization::OrganizationId,
};

/// What a person does to a preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// It is begun anew, also if it has ended.
    Retry,
    /// The request goes on without it.
    Skip,
}

/// The preflights of a request since it was last restarted, oldest first.
pub(super) async fn list(
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
) -> Result<Vec<Preflight>, PreflightError> {
    let head = dsr::get_head(reader, organization, request).await?;
    Ok(store::list(reader, organization, request, head.round).await?)
}

/// Does what a person says. Refuses once the request is past its preflight checks.
pub(super) async fn act(
    tx: &mut Tx,
    by: &dsr::Deed<'_>,
    id: PreflightId,
    deed: Deed,
) -> Result<Preflight, PreflightError> {
    let run = store::find(tx, by.organization, id).await?;
    let mut run = run.ok_or(PreflightError::NotFound)?;
    let (event, action) = match deed {
        Deed::Retry => (PreflightEvent::Retried, "preflight.retried"),
        Deed::Skip => (PreflightEvent::PassedOver, "preflight.skipped"),
    };
    // That it has ended is said first: it may be the reason that the request went on.
    run.step(event)?;
    let head = open_head(tx, by, run.request).await?;
    if head.round != run.round {
        return Err(PreflightError::RequestMovedOn);
    }
    forget_job(tx, by, &mut run);
    keep(tx, by, &run, action);
    dsr::settle_soon(tx, by, run.request);
    Ok(run)
}
