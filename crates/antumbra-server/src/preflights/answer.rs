//! What an answer does: to the preflight it belongs to, and to the request.

use antumbra_store::{Reader, Tx};

use super::{
    PreflightError,
    model::{Preflight, PreflightEvent},
    store,
    wire::Answer,
};
use crate::{
    audit::{self, AuditEntry},
    dsr::{self, Deed, DsrError, DsrEvent, DsrHead, DsrId, DsrStatus, PreflightEnd, Words},
    jobs,
    keyring::OrganizationKeys,
    organization::MessageKind,
};

/// How the request of a preflight stands. Refuses where preflights no longer matter to it.
pub(super) async fn open_head(reader: &mut Reader, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, PreflightError> {
    let head = match dsr::get_head(reader, deed.organization, id).await {
        Err(DsrError::NotFound) => return Err(PreflightError::NotFound),
        head => head?,
    };
    match head.state.is_at_preflight() {
        true => Ok(head),
        false => Err(PreflightError::RequestMovedOn),
    }
}

/// Takes an answer to these runs of one request: keeps what was found, ends the runs, and lets the request go on or end, all
/// in the caller's transaction.
pub(super) async fn take(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    runs: &mut [Preflight],
    answer: Answer,
) -> Result<(), PreflightError> {
    let Some(request) = runs.first().map(|run| run.request) else {
        return Ok(());
    };
    dsr::add_identifiers(tx, keys, deed, request, answer.found).await?;
    for run in runs {
        run.step(PreflightEvent::Answered)?;
        forget_job(tx, deed, run);
        keep(tx, deed, run, "preflight.answered");
    }
    match answer.end {
        Some(end) => {
            if let (PreflightEnd::Canceled, Some(_)) = (end, answer.template) {
                let words = Words {
                    template: answer.template,
                    ..Words::default()
                };
                let head = open_head(tx, deed, request).await?;
                dsr::choose_words(tx, keys, &head, MessageKind::Canceled, &words).await?;
            }
            stop(tx, deed, request, end).await
        }
        None => {
            dsr::settle_soon(tx, deed, request);
            Ok(())
        }
    }
}

/// Ends the request's way to the silos. One that is parked already stays so, unless it is to be canceled.
pub(super) async fn stop(tx: &mut Tx, deed: &Deed<'_>, id: DsrId, end: PreflightEnd) -> Result<(), PreflightError> {
    let head = open_head(tx, deed, id).await?;
    let event = match (head.state.status(), end) {
        (DsrStatus::OnHold, PreflightEnd::OnHold | PreflightEnd::FailedVerification) => return Ok(()),
        (DsrStatus::OnHold, PreflightEnd::Canceled) => DsrEvent::Canceled,
        (_, end) => DsrEvent::PreflightEnded(end),
    };
    dsr::advance(tx, deed, id, event).await?;
    Ok(())
}

/// Takes away the job that a run waits with.
pub(super) fn forget_job(tx: &mut Tx, deed: &Deed<'_>, run: &mut Preflight) {
    if let Some(waiting) = run.next.take() {
        jobs::cancel(tx, deed.organization, waiting);
    }
}

/// Keeps a run, and what was done to it.
pub(super) fn keep(tx: &mut Tx, deed: &Deed<'_>, run: &Preflight, action: &'static str) {
    store::save(tx, deed.organization, run);
    let entry = AuditEntry {
        actor: deed.by,
        action,
        object: ("preflight", run.id.0),
        at: deed.now,
        details: vec![
            ("request", run.request.0.into()),
            ("enricher", run.enricher.0.into()),
            ("status", run.state.status().as_str().into()),
        ],
    };
    audit::record(tx, deed.ids, deed.organization, entry);
}
