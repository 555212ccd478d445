//! The confirmation of absence: a silo that has erased is asked whether anything is left, before its erasure counts as done.
//!
//! The question is a run of its own, an access at the same silo in the same phase, made in the transaction that closed the
//! erasure. Nothing that the silo hands over in it is kept or delivered. If it hands anything over, that run stays open and
//! needs a person, who has the silo erase once more ([`erase_again`]) or accepts what is there for a reason ([`accept`]).

use antumbra_crypto::value;
use antumbra_store::{Reader, StoreError, Tx};

use super::{
    RunError,
    admin::get_run,
    jobs::{let_go_on, look_once},
    model::{Profile, ProfileId, Proof, Resolution, RunId, RunStatus, SiloRun},
    send::{open_text, text_context},
    store,
};
use crate::{
    audit::{self, Actor, AuditEntry},
    dsr::{self, Deed, DsrError},
    jobs,
    keyring::{KeyKind, OrganizationKeys},
    organization::Action,
    silos,
};

/// Has the silo asked whether anything is left, if `run` is an erasure that was just closed and wants that. Says whether it is.
pub(super) async fn is_to_be_confirmed(tx: &mut Tx, deed: &Deed<'_>, run: &SiloRun) -> Result<bool, DsrError> {
    let is_wanted = run.confirms_absence && run.confirmed_by.is_none() && !run.abandoned;
    // What was left for a reason in law is still there, and nobody says otherwise.
    let is_erased = |profile: &&Profile| matches!(profile.status, RunStatus::Resolved | RunStatus::Skipped);
    if !is_wanted || !run.profiles.iter().any(|profile| is_erased(&profile)) {
        return Ok(false);
    }
    let head = dsr::get_head(tx, deed.organization, run.request).await?;
    let silo = silos::find_silo(tx, deed.organization, run.silo).await?;
    let Some(silo) = silo.filter(|_| run.is_of(&head)) else {
        return Ok(false);
    };
    let mut points = silos::list_data_points(tx, deed.organization, silo.id).await?;
    points.retain(|point| point.enabled_actions.contains(&Action::Access));
    let profiles = run.profiles.iter().filter(is_erased).map(|erased| {
        let points = points.iter().map(|point| point.id);
        asked_anew(deed, erased, silo.is_noticed(), points.collect())
    });
    let question = SiloRun {
        id: RunId(deed.ids.uuid()),
        action: Action::Access,
        created_at: deed.now,
        profiles: profiles.collect(),
        decided: None,
        waits_for: Vec::new(),
        confirms_absence: false,
        confirms: Some(run.id),
        ..run.clone()
    };
    let asked = SiloRun {
        confirmed_by: Some(question.id),
        ..run.clone()
    };
    store::replace(tx, deed.organization, run, &asked);
    store::save(tx, deed.organization, &question);
    jobs::enqueue(tx, deed.organization, look_once(deed.ids, run.request), deed.now);
    note(tx, deed, &question, Actor::System, "silo_run.absence_asked");
    Ok(true)
}

/// A profile about the identifier of `former`, which the silo has not heard of yet.
fn asked_anew(deed: &Deed<'_>, former: &Profile, is_noticed: bool, points: Vec<silos::DataPointId>) -> Profile {
    let status = if is_noticed {
        RunStatus::Queued
    } else {
        RunStatus::Waiting
    };
    let id = ProfileId(deed.ids.uuid());
    Profile {
        digest: former.digest,
        asked_at: (!is_noticed).then_some(deed.now),
        ..Profile::new(id, former.identifier, former.name.clone(), status, points)
    }
}

/// Adds to the audit log what a change of a run says about absence.
pub(super) fn record(tx: &mut Tx, deed: &Deed<'_>, before: &SiloRun, after: &SiloRun) {
    if before.contradiction.is_none() && after.contradiction.is_some() {
        note(tx, deed, after, deed.by, "silo_run.absence_contradicted");
    } else if after.confirms.is_some() && after.contradiction.is_none() && before.is_open() && !after.is_open() {
        note(tx, deed, after, deed.by, "silo_run.absence_confirmed");
    }
}

/// Has a silo erase once more what it showed that it still holds: in a new run, after which it is asked again.
pub(super) async fn erase_again(tx: &mut Tx, deed: &Deed<'_>, before: &SiloRun) -> Result<SiloRun, RunError> {
    let silo = silos::find_silo(tx, deed.organization, before.silo).await?;
    let is_noticed = silo.is_some_and(|silo| silo.is_noticed());
    let profiles = before
        .profiles
        .iter()
        .map(|left| asked_anew(deed, left, is_noticed, Vec::new()));
    let erasure = SiloRun {
        id: RunId(deed.ids.uuid()),
        action: Action::Erasure,
        created_at: deed.now,
        profiles: profiles.collect(),
        confirms_absence: true,
        confirmed_by: None,
        confirms: None,
        contradiction: None,
        ..before.clone()
    };
    let resolution = Resolution::ErasedAgain {
        run: erasure.id,
        by: deed.by,
        at: deed.now,
    };
    store::save(tx, deed.organization, &erasure);
    jobs::enqueue(tx, deed.organization, look_once(deed.ids, before.request), deed.now);
    resolve(tx, deed, before, resolution);
    note(tx, deed, &erasure, deed.by, "silo_run.erased_again");
    Ok(erasure)
}

/// Lets a contradiction stand, for a reason: the erasure counts as done.
///
/// Fails with [`RunError::NotContradicted`] if nothing contradicts it, or somebody has decided before.
pub async fn accept(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: RunId,
    reason: &str,
) -> Result<SiloRun, RunError> {
    let before = get_run(tx, deed.organization, id).await?;
    let head = dsr::get_head(tx, deed.organization, before.request).await?;
    if before.abandoned || !before.is_of(&head) {
        return Err(RunError::RequestMovedOn(head.state.status()));
    }
    if !before.is_contradicted() {
        return Err(RunError::NotContradicted);
    }
    let key = keys.find_key(tx, KeyKind::Request, before.request.0).await?;
    let key = key.ok_or(RunError::Closed)?;
    let resolution = Resolution::Accepted {
        by: deed.by,
        at: deed.now,
        reason: value::seal(&key, &text_context(&before), reason.as_bytes()),
    };
    let run = resolve(tx, deed, &before, resolution);
    note(tx, deed, &run, deed.by, "silo_run.contradiction_accepted");
    let_go_on(tx, deed, &run).await?;
    Ok(run)
}

fn resolve(tx: &mut Tx, deed: &Deed<'_>, before: &SiloRun, resolution: Resolution) -> SiloRun {
    let mut run = before.clone();
    run.resolve(resolution);
    run.follow(before, deed.now, Proof::Decision { by: deed.by });
    for profile in &mut run.profiles {
        if let Some(planned) = profile.next_notice.take() {
            jobs::cancel(tx, deed.organization, planned);
        }
    }
    store::replace(tx, deed.organization, before, &run);
    run
}

/// Why somebody accepted what `run` showed; nothing if nobody did, or if the reason was deleted with the person's data.
pub(super) async fn reason_of(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    run: &SiloRun,
) -> Result<Option<String>, RunError> {
    let resolved = run.contradiction.as_ref().and_then(|found| found.resolved.as_ref());
    match resolved {
        Some(Resolution::Accepted { reason, .. }) => Ok(open_text(reader, keys, run, Some(reason)).await?),
        Some(Resolution::ErasedAgain { .. }) | None => Ok(None),
    }
}

/// An erasure is asked for anew by hand: what was asked about it before is over, whatever came of it.
pub(super) async fn forget_question(tx: &mut Tx, deed: &Deed<'_>, run: &mut SiloRun) -> Result<(), StoreError> {
    let Some(question) = run.confirmed_by.take() else {
        return Ok(());
    };
    let Some(before) = store::find(tx, deed.organization, run.request, question).await? else {
        return Ok(());
    };
    if before.is_contradicted() {
        let resolution = Resolution::ErasedAgain {
            run: run.id,
            by: deed.by,
            at: deed.now,
        };
        resolve(tx, deed, &before, resolution);
    } else if before.is_open() {
        let mut after = before.clone();
        after.abandoned = true;
        for profile in &mut after.profiles {
            if let Some(planned) = profile.next_notice.take() {
                jobs::cancel(tx, deed.organization, planned);
            }
        }
        store::replace(tx, deed.organization, &before, &after);
    }
    Ok(())
}

fn note(tx: &mut Tx, deed: &Deed<'_>, run: &SiloRun, actor: Actor, action: &'static str) {
    let entry = AuditEntry {
        actor,
        action,
        object: ("silo_run", run.id.0),
        at: deed.now,
        details: vec![("request", run.request.0.into()), ("silo", run.silo.0.into())],
    };
    audit::record(tx, deed.ids, deed.organization, entry);
}
