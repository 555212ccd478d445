//! Changing a request that exists. Every change of state goes through [`advance`].

use antumbra_store::{StoreError, Tx};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    DsrError, bulk,
    deadlines::{self, Noted},
    drop_runs,
    holds::{self, Followed},
    jobs::{DROP_FILES, ELAPSED, OPEN_RUNS, SETTLE_IDENTITIES},
    links,
    model::{Dsr, DsrHead, DsrId, DsrIdentifier, DsrSubject, IdentifierSource, Region, Verifier},
    state::{DsrEffect, DsrEvent, DsrState, OutOfPlace},
    store,
    submission::IDENTIFIERS_MAX,
    tell::{compose_job, forget_words},
};
use crate::{
    audit::{self, Actor, AuditEntry},
    files,
    jobs::{self, Job},
    keyring::{KeyKind, OrganizationKeys, destroy_key},
    messages,
    organization::{Days, IdentifierKind, OrganizationId},
    world::Ids,
};

/// Who does something, for whom and when.
#[derive(Clone, Copy)]
pub struct Deed<'a> {
    /// Whose requests it is about.
    pub organization: OrganizationId,
    /// Who does it.
    pub by: Actor,
    /// When.
    pub now: Timestamp,
    /// Where ids come from.
    pub ids: &'a Ids,
}

/// Lets `event` happen to a request: keeps the state that follows, with an audit entry and the jobs it wants.
///
/// The only place where a state changes. Fails with [`DsrError::OutOfPlace`] if the event does not fit, and then has
/// written nothing.
pub async fn advance(tx: &mut Tx, deed: &Deed<'_>, id: DsrId, event: DsrEvent) -> Result<DsrHead, DsrError> {
    let before = super::get_head(tx, deed.organization, id).await?;
    let (mut state, mut effects) = before.state.clone().step(event, &before.rules, deed.now)?;
    if holds::begins_to_erase(&before, &state) && holds::is_held(tx, deed.organization, &before).await? {
        if let DsrState::OnHold { .. } = before.state {
            return Err(DsrError::LegallyHeld);
        }
        (state, effects) = before.state.clone().step(DsrEvent::Held, &before.rules, deed.now)?;
        record(tx, deed, id, "dsr.stopped_by_legal_hold", vec![]);
        holds::park(tx, deed.organization, &before);
    }
    if matches!(before.state, DsrState::OnHold { .. }) {
        holds::unpark(tx, deed.organization, &before);
    }
    let after = DsrHead {
        state,
        updated_at: deed.now,
        moved_at: Some(deed.now),
        ..before.clone()
    };
    let after = deadlines::follow(tx, deed, &before, after);
    store::replace(tx, deed.organization, &before, &after);
    let (from, to) = (before.state.status().as_str(), after.state.status().as_str());
    record(
        tx,
        deed,
        id,
        "dsr.moved",
        vec![("from", from.into()), ("to", to.into())],
    );
    let wanted = effects.into_iter().filter(|effect| after.wants(effect));
    enqueue(tx, deed, id, wanted);
    follow_holds(tx, deed, &after).await?;
    drop_unseen_files(tx, deed, &after).await?;
    Ok(after)
}

/// Has legal holds follow how a request stands now: what erases the data of a person who is held from now on is parked, and what
/// was parked so is resumed when nothing holds them any more.
pub(super) async fn follow_holds(tx: &mut Tx, deed: &Deed<'_>, head: &DsrHead) -> Result<(), DsrError> {
    match holds::follow(tx, deed.organization, head).await? {
        Followed::Nothing => {}
        Followed::Placed => {
            record(tx, deed, head.id, "dsr.legal_hold_placed", vec![]);
            for erasing in holds::erasing(tx, deed.organization, head).await? {
                record(tx, deed, erasing.id, "dsr.stopped_by_legal_hold", vec![]);
                holds::park(tx, deed.organization, &erasing);
                Box::pin(advance(tx, deed, erasing.id, DsrEvent::Held)).await?;
            }
        }
        Followed::Lifted => {
            resume_parked(tx, deed, head).await?;
            drop_what_was_held(tx, deed, head).await?;
        }
    }
    Ok(())
}

/// Takes up again what a hold has parked, as far as nothing holds it any more. What somebody has done something else with is left
/// alone.
async fn resume_parked(tx: &mut Tx, deed: &Deed<'_>, lifted: &DsrHead) -> Result<(), DsrError> {
    for before in holds::parked(tx, deed.organization, lifted.core_index).await? {
        if holds::is_held(tx, deed.organization, &before).await? {
            continue;
        }
        holds::unpark(tx, deed.organization, &before);
        if matches!(before.state, DsrState::OnHold { .. }) {
            record(tx, deed, before.id, "dsr.resumed_after_legal_hold", vec![]);
            Box::pin(advance(tx, deed, before.id, DsrEvent::Resumed)).await?;
        }
    }
    Ok(())
}

/// Has the files removed that nobody sees any more and that a legal hold kept. The job finds out whether another hold keeps them.
async fn drop_what_was_held(tx: &mut Tx, deed: &Deed<'_>, head: &DsrHead) -> Result<(), DsrError> {
    let ids = store::list_by_core_index(tx, deed.organization, head.core_index).await?;
    for over in store::find_heads(tx, deed.organization, &ids).await? {
        // What changes with this commit sees to its own files.
        if over.id != head.id {
            drop_unseen_files(tx, deed, &over).await?;
        }
    }
    Ok(())
}

/// Has the files of a request removed where nobody sees them any more.
async fn drop_unseen_files(tx: &mut Tx, deed: &Deed<'_>, head: &DsrHead) -> Result<(), DsrError> {
    if !head.shows_nothing_any_more() || !files::any(tx, deed.organization, head.id.0).await? {
        return Ok(());
    }
    let job = Job::new(deed.ids.uuid(), &DROP_FILES, [head.id.0]);
    jobs::enqueue(tx, deed.organization, job, deed.now);
    Ok(())
}

/// Approves what a phase brought: a report, or the end of the second phase.
pub async fn approve(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, DsrError> {
    advance(tx, deed, id, DsrEvent::Approved)
        .await
        .map_err(|error| match error {
            DsrError::OutOfPlace(refused) => DsrError::NotApproving(refused.status),
            other => other,
        })
}

/// Stops a request in the name of an administrator.
pub async fn cancel(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, DsrError> {
    advance(tx, deed, id, DsrEvent::Canceled).await.map_err(not_stoppable)
}

/// Stops a request in the name of the data subject.
pub async fn withdraw(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, DsrError> {
    advance(tx, deed, id, DsrEvent::Withdrawn).await.map_err(not_stoppable)
}

fn not_stoppable(error: DsrError) -> DsrError {
    match error {
        DsrError::OutOfPlace(refused) => DsrError::NotStoppable(refused.status),
        other => other,
    }
}

/// Ends a waiting period or a delay before its time.
pub async fn begin_early(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, DsrError> {
    advance(tx, deed, id, DsrEvent::BegunEarly).await
}

/// Parks a request.
pub async fn hold(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, DsrError> {
    advance(tx, deed, id, DsrEvent::Held).await
}

/// Takes a parked request up again where it stood. One whose plan waits for approval is taken up by that alone, and one that a
/// legal hold has parked by the end of the hold.
pub async fn resume(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, DsrError> {
    let head = super::get_head(tx, deed.organization, id).await?;
    if head.plan.is_stopped {
        return Err(DsrError::PlanNotApproved);
    }
    if holds::is_parked(tx, deed.organization, &head).await? && holds::is_held(tx, deed.organization, &head).await? {
        return Err(DsrError::LegallyHeld);
    }
    advance(tx, deed, id, DsrEvent::Resumed).await
}

/// Says whether the data subject gets messages from now on. Those that are not sent yet are taken back.
pub async fn set_silent(tx: &mut Tx, deed: &Deed<'_>, id: DsrId, is_silent: bool) -> Result<DsrHead, DsrError> {
    let before = super::get_head(tx, deed.organization, id).await?;
    if before.is_silent == is_silent {
        return Ok(before);
    }
    let after = DsrHead {
        is_silent,
        updated_at: deed.now,
        ..before.clone()
    };
    store::replace(tx, deed.organization, &before, &after);
    if is_silent {
        messages::silence(tx, deed.organization, id, deed.now).await?;
    }
    record(
        tx,
        deed,
        id,
        if is_silent { "dsr.silenced" } else { "dsr.unsilenced" },
        vec![],
    );
    Ok(after)
}

/// Says until when what the request delivers can be seen and downloaded, in place of the usual time. Whatever has been handed out
/// to open files with opens nothing from then on.
///
/// Fails with [`DsrError::Shredded`] where there is nothing left to see.
pub async fn set_available_until(
    tx: &mut Tx,
    deed: &Deed<'_>,
    id: DsrId,
    until: Timestamp,
) -> Result<DsrHead, DsrError> {
    let before = super::get_head(tx, deed.organization, id).await?;
    if before.shredded_at.is_some() {
        return Err(DsrError::Shredded);
    }
    let mut after = DsrHead {
        updated_at: deed.now,
        ..before.clone()
    };
    after.rules.available_until = Some(until);
    store::replace(tx, deed.organization, &before, &after);
    record(tx, deed, id, "dsr.availability_set", vec![]);
    if before.state.available_until().is_some() {
        enqueue(tx, deed, id, [DsrEffect::WakeAt(until.max(deed.now))]);
    }
    Ok(after)
}

/// Destroys the key of a request that is over, and removes whatever names or finds the person by it. What is left says what was
/// demanded, when, and how it ended. Files are noise from the commit on; their rows and bodies are the caller's to remove.
///
/// Fails with [`DsrError::StillOpen`] before the request is over, and with [`DsrError::LegallyHeld`] while what is about the
/// person must be kept. One that was shredded before stays as it is.
pub async fn shred(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<DsrHead, DsrError> {
    let before = super::get_head(tx, deed.organization, id).await?;
    if before.state.is_open() {
        return Err(DsrError::StillOpen(before.state.status()));
    }
    if before.shredded_at.is_some() {
        return Ok(before);
    }
    if holds::is_held(tx, deed.organization, &before).await? {
        return Err(DsrError::LegallyHeld);
    }
    let after = DsrHead {
        region: Region::default(),
        core_index: [0; 16],
        equivalence: [0; 16],
        restarted: None,
        shredded_at: Some(deed.now),
        updated_at: deed.now,
        ..before.clone()
    };
    destroy_key(tx, deed.organization, KeyKind::Request, id.0);
    store::forget_person(tx, deed.organization, &before);
    links::remove_all(tx, deed.organization, id).await?;
    forget_words(tx, deed.organization, id).await?;
    messages::silence(tx, deed.organization, id, deed.now).await?;
    store::replace(tx, deed.organization, &before, &after);
    Ok(after)
}

/// Removes what else points from a person's words and ids to a request whose key is destroyed, up to `limit` rows of each sort:
/// the names of its submissions, and which records of deletion platforms it answered. Says whether more may be left.
pub async fn forget_some(
    tx: &mut Tx,
    organization: OrganizationId,
    id: DsrId,
    limit: usize,
) -> Result<bool, StoreError> {
    let names = bulk::forget_names(tx, organization, id, limit).await?;
    let links = drop_runs::forget_links(tx, organization, id, limit).await?;
    Ok(names || links)
}

/// Removes the record of a request that was shredded, so that nothing tells that there was one but the audit log.
pub async fn delete(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) -> Result<(), DsrError> {
    let head = super::get_head(tx, deed.organization, id).await?;
    if head.shredded_at.is_none() {
        return Err(DsrError::StillOpen(head.state.status()));
    }
    store::delete(tx, deed.organization, &head);
    record(tx, deed, id, "dsr.deleted", vec![]);
    Ok(())
}

/// Gives a request more time: so many days, or as many as its law allows. With `force` also more than that, and when its time is
/// over.
///
/// Fails with [`DsrError::NoExtension`], having written nothing, if it has been extended before or may not be.
pub async fn extend(
    tx: &mut Tx,
    deed: &Deed<'_>,
    id: DsrId,
    days: Option<Days>,
    force: bool,
) -> Result<DsrHead, DsrError> {
    let before = super::get_head(tx, deed.organization, id).await?;
    if !before.state.is_open() {
        return Err(DsrError::Ended(before.state.status()));
    }
    let mut deadline = before.deadline();
    let by = deadline.extension(days, before.created_at, deed.now, force)?;
    let is_watched = deadline.noted != Noted::Passed && before.deadline.is_some();
    deadline.extend(by, deed.now);
    let after = DsrHead {
        updated_at: deed.now,
        ..before.clone()
    };
    let after = after.due_by(deadline);
    store::replace(tx, deed.organization, &before, &after);
    let days = after.due_at.duration_since(before.due_at).as_hours() / 24;
    let details = vec![
        ("days", audit::Detail::Count(u64::try_from(days).unwrap_or(0))),
        ("forced", if force { "yes" } else { "no" }.into()),
    ];
    record(tx, deed, id, "dsr.extended", details);
    if !is_watched {
        deadlines::watch(tx, deed, id, deed.now);
    }
    Ok(after)
}

/// Takes identifiers that nobody verified out of a request that is at its preflight checks, which may let it go on. Says how
/// many were taken out. An address that is taken out gets no messages any more.
///
/// What is verified stays whatever is asked: silos may have been told of it. So does the core identifier: a request is about
/// somebody. Fails with [`DsrError::OutOfPlace`] once the checks are over.
pub async fn remove_identifiers(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    identifiers: &[Uuid],
) -> Result<usize, DsrError> {
    let Dsr { head, mut subject } = super::get(tx, keys, id).await?;
    if !head.state.is_at_preflight() {
        let status = head.state.status();
        return Err(OutOfPlace { status }.into());
    }
    let had = subject.identifiers.len();
    subject.identifiers.retain(|identifier| {
        identifier.kind == IdentifierKind::CoreIdentifier
            || identifier.verified_at.is_some()
            || !identifiers.contains(&identifier.id)
    });
    let removed = had - subject.identifiers.len();
    if removed > 0 {
        if subject.email.is_some() && subject.address().next().is_none() {
            subject.email = None;
            store::put_open(tx, deed.organization, &head, None);
        }
        keep_subject(tx, keys, deed, id, &subject, ("dsr.identifiers_removed", removed)).await?;
        settle_soon(tx, deed, id);
    }
    Ok(removed)
}

/// An identifier that an enricher found: its value is in the form in which it is kept.
pub struct FoundIdentifier {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: IdentifierKind,
    /// Its value.
    pub value: String,
}

/// Adds what a preflight found about the person to an open request. It counts as verified, and so from now on does what the
/// request had already and the enricher names too. Says how many identifiers are new, or verified by that.
pub async fn add_identifiers(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    found: Vec<FoundIdentifier>,
    preflight: Uuid,
) -> Result<usize, DsrError> {
    if found.is_empty() {
        return Ok(0);
    }
    let mut subject = open_subject(tx, keys, id).await?;
    let mut changed = 0;
    for FoundIdentifier { name, kind, value } in found {
        let same = |known: &DsrIdentifier| known.name == name && known.value == value;
        match subject.identifiers.iter().position(same) {
            Some(at) if subject.identifiers[at].verified_at.is_some() => {}
            Some(at) => {
                verify(&mut subject.identifiers[at], preflight, deed.now);
                changed += 1;
            }
            None if subject.identifiers.len() >= IDENTIFIERS_MAX => return Err(DsrError::TooManyIdentifiers),
            None => {
                subject.identifiers.push(DsrIdentifier {
                    id: deed.ids.uuid(),
                    name,
                    kind,
                    value,
                    source: IdentifierSource::Enricher,
                    verified_at: Some(deed.now),
                    verified_by: Verifier::Preflight,
                    preflight: Some(preflight),
                });
                changed += 1;
            }
        }
    }
    if changed > 0 {
        keep_subject(tx, keys, deed, id, &subject, ("dsr.identifiers_found", changed)).await?;
    }
    Ok(changed)
}

/// Has these identifiers of an open request count as verified by a preflight. Says how many did not before.
pub async fn verify_identifiers(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    identifiers: &[Uuid],
    preflight: Uuid,
) -> Result<usize, DsrError> {
    let mut subject = open_subject(tx, keys, id).await?;
    let named = subject
        .identifiers
        .iter_mut()
        .filter(|known| identifiers.contains(&known.id));
    let mut verified = 0;
    for known in named.filter(|known| known.verified_at.is_none()) {
        verify(known, preflight, deed.now);
        verified += 1;
    }
    if verified > 0 {
        keep_subject(tx, keys, deed, id, &subject, ("dsr.identifiers_verified", verified)).await?;
    }
    Ok(verified)
}

fn verify(known: &mut DsrIdentifier, preflight: Uuid, now: Timestamp) {
    known.preflight = Some(preflight);
    known.verified_at = Some(now);
    known.verified_by = Verifier::Preflight;
}

/// What is about the person of an open request.
async fn open_subject(tx: &mut Tx, keys: &OrganizationKeys, id: DsrId) -> Result<DsrSubject, DsrError> {
    let dsr = super::get(tx, keys, id).await?;
    if !dsr.head.state.is_open() {
        return Err(DsrError::NotStoppable(dsr.head.state.status()));
    }
    Ok(dsr.subject)
}

/// Keeps what is about the person, and how many of their identifiers `what` was done to.
async fn keep_subject(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    subject: &DsrSubject,
    (what, count): (&'static str, usize),
) -> Result<(), DsrError> {
    let key = keys
        .find_key(tx, KeyKind::Request, id.0)
        .await?
        .ok_or(DsrError::NotFound)?;
    store::put_subject(tx, deed.organization, id, &key, subject)?;
    record(tx, deed, id, what, vec![("count", audit::Detail::Count(count as u64))]);
    Ok(())
}

/// Has the identities of a request looked at again.
pub fn settle_soon(tx: &mut Tx, deed: &Deed<'_>, id: DsrId) {
    enqueue(tx, deed, id, [DsrEffect::SettleIdentities]);
}

/// One job for each effect, in the same transaction as the state that wants it.
pub(super) fn enqueue(tx: &mut Tx, deed: &Deed<'_>, id: DsrId, effects: impl IntoIterator<Item = DsrEffect>) {
    for effect in effects {
        let job = deed.ids.uuid();
        let (job, due_at) = match effect {
            DsrEffect::SettleIdentities => (Job::new(job, &SETTLE_IDENTITIES, [id.0]), deed.now),
            DsrEffect::OpenRuns => (Job::new(job, &OPEN_RUNS, [id.0]), deed.now),
            DsrEffect::WakeAt(at) => (Job::new(job, &ELAPSED, [id.0]), at),
            DsrEffect::Tell(kind) => (compose_job(job, id, kind), deed.now),
        };
        jobs::enqueue(tx, deed.organization, job, due_at);
    }
}

/// Adds to the audit log what was done to a request.
pub fn record(
    tx: &mut Tx,
    deed: &Deed<'_>,
    id: DsrId,
    action: &'static str,
    details: Vec<(&'static str, audit::Detail)>,
) {
    let entry = AuditEntry {
        actor: deed.by,
        action,
        object: ("dsr", id.0),
        at: deed.now,
        details,
    };
    audit::record(tx, deed.ids, deed.organization, entry);
}
