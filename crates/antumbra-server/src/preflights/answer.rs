//! What an answer does: to the preflight it belongs to, and to the request.

use antumbra_store::{Reader, Tx};

use super::{
    PreflightError,
    model::{End, Preflight, PreflightEvent},
    store,
    wire::Answer,
};
use crate::{
    audit::{self, AuditEntry},
    dsr::{self, Deed, DsrError, DsrEvent, DsrHead, DsrId, DsrStatus, PreflightEnd, Words},
    jobs,
    keyring::OrganizationKeys,
    organization::{MessageKind, TemplateId},
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
    let Some((request, first)) = runs.first().map(|run| (run.request, run.id.0)) else {
        return Ok(());
    };
    dsr::add_identifiers(tx, keys, deed, request, answer.found, first).await?;
    for run in runs {
        run.step(PreflightEvent::Answered)?;
        forget_job(tx, deed, run);
        keep(tx, deed, run, "preflight.answered");
    }
    match answer.end {
        Some(end) => end_checks(tx, keys, deed, request, End::Stop(end), answer.template).await,
        None => {
            dsr::settle_soon(tx, deed, request);
            Ok(())
        }
    }
}

/// Ends the checks of a request, with this template for the message that tells of it. One that is parked already stays so, unless
/// it is to be canceled.
pub(super) async fn end_checks(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    end: End,
    template: Option<TemplateId>,
) -> Result<(), PreflightError> {
    let head = open_head(tx, deed, id).await?;
    let how = match end {
        End::Stop(how) => how,
        End::GoOn => return go_on(tx, keys, deed, &head).await,
    };
    let event = match (head.state.status(), how) {
        (DsrStatus::OnHold, PreflightEnd::OnHold | PreflightEnd::FailedVerification) => return Ok(()),
        (DsrStatus::OnHold, PreflightEnd::Canceled) => DsrEvent::Canceled,
        (_, how) => DsrEvent::PreflightEnded(how),
    };
    let told = match how {
        PreflightEnd::Canceled => Some(MessageKind::Canceled),
        PreflightEnd::FailedVerification => Some(MessageKind::Denied),
        PreflightEnd::OnHold => None,
    };
    if let Some(kind) = told {
        let words = Words {
            template,
            ..Words::default()
        };
        dsr::choose_words(tx, keys, &head, kind, &words).await?;
    }
    dsr::advance(tx, deed, id, event).await?;
    Ok(())
}

/// Has the request go on with what is verified: what is not is taken out, and what has not been checked is passed over.
async fn go_on(tx: &mut Tx, keys: &OrganizationKeys, deed: &Deed<'_>, head: &DsrHead) -> Result<(), PreflightError> {
    for mut run in store::list(tx, deed.organization, head.id, head.round).await? {
        if run.is_open() {
            run.step(PreflightEvent::PassedOver)?;
            forget_job(tx, deed, &mut run);
            keep(tx, deed, &run, "preflight.passed_over");
        }
    }
    let subject = dsr::get(tx, keys, head.id).await?.subject;
    let unverified = subject.identifiers.iter().filter(|known| known.verified_at.is_none());
    let unverified: Vec<uuid::Uuid> = unverified.map(|known| known.id).collect();
    dsr::remove_identifiers(tx, keys, deed, head.id, &unverified).await?;
    dsr::settle_soon(tx, deed, head.id);
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
