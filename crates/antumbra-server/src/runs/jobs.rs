//! The background jobs of silo runs: opening the runs of a phase, letting them follow each other, and taking them up again
//! where a silo was paused.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use antumbra_store::{StoreError, Tx};
use jiff::Timestamp;

use super::{
    RunError, absence,
    closing::{self, Digests},
    model::{Profile, ProfileId, Proof, RunId, RunStatus, SiloRun, Verdict, Windows},
    send::SEND_NOTICE,
    store,
};
use crate::{
    AppState,
    audit::{self, Actor, AuditEntry, Detail},
    dsr::{
        self, Begun, Configured, Connection, Deed, Dsr, DsrError, DsrEvent, DsrHead, DsrId, DsrStatus, OPEN_RUNS, Part,
        Phase, PhasePlan,
    },
    jobs::{self, Claimed, Job, JobError, Waiting},
    keyring::OrganizationKeys,
    organization::OrganizationId,
    silos::{self, DataSilo, DataSiloId},
    world::Ids,
};

/// An open phase is looked at again after this span, whatever has happened in it: the slow sweep.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Does [`OPEN_RUNS`]: makes the runs of the phase a request is in, sees to it that each open profile has its next notice,
/// and closes what is left of a phase the request is no longer in.
pub async fn open_runs(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let keys = app.keys.organization(job.organization).await.map_err(RunError::from)?;
    let mut tx = app.store.begin_write().await?;
    let dsr = match dsr::get(&mut tx, &keys, id).await {
        Ok(dsr) => dsr,
        Err(DsrError::NotFound) => return done(tx, &job).await,
        Err(error) => return Err(RunError::from(error).into()),
    };
    let phase = dsr.head.phase();
    let mut runs = store::list(&mut tx, job.organization, id).await?;
    for run in runs.iter_mut().filter(|run| run.is_open() && !run.is_of(&dsr.head)) {
        abandon(&mut tx, job.organization, run);
    }
    let Some(phase) = phase.filter(|_| dsr.head.state.status() != DsrStatus::OnHold) else {
        return done(tx, &job).await;
    };
    runs.retain(|run| run.is_of(&dsr.head));
    let now = app.now(job.organization);
    let silos = silos::list_silos(&mut tx, job.organization).await?;
    let kept = runs.clone();
    let deed = Deed {
        organization: job.organization,
        by: Actor::System,
        now,
        ids: &app.ids,
    };
    if runs.is_empty() {
        let configured = Configured::read(&mut tx, job.organization, &silos).await?;
        let plan = dsr::draw_phase(&mut tx, &dsr, phase, &configured).await?;
        let begun = dsr::begin_phase(&mut tx, &deed, &dsr.head, &plan).await;
        if begun.map_err(RunError::from)? == Begun::Parked {
            return done(tx, &job).await;
        }
        warn_of(&plan);
        let digests = Digests::of_request(&mut tx, &keys, id).await.map_err(RunError::from)?;
        runs = make_runs(&app.ids, &dsr, &digests, &plan, now);
        if !plan.asks_anybody() {
            nobody_to_ask(&app, &mut tx, &keys, &dsr.head, phase, silos.len());
        }
    }
    for run in runs.iter_mut().filter(|run| run.is_open()) {
        // Nobody is left to answer for a silo that was taken away.
        if !silos.iter().any(|silo| silo.id == run.silo) {
            let before = run.clone();
            run.decide(Verdict::Skipped);
            run.follow(&before, now, Proof::Decision { by: Actor::System });
        }
    }
    release(&mut runs);
    for run in &mut runs {
        let silo = silos.iter().find(|silo| silo.id == run.silo);
        if silo.is_some_and(DataSilo::may_be_told) && run.is_work() {
            plan_missing_notices(&app, &mut tx, job.organization, run, now, Profile::notice_at).await?;
        }
        match kept.iter().find(|before| before.id == run.id) {
            Some(before) => store::replace(&mut tx, job.organization, before, run),
            None => store::save(&mut tx, job.organization, run),
        }
    }
    if runs.iter().any(SiloRun::is_open) {
        if looks_once(&job) {
            jobs::finish(&mut tx, &job).await?;
        } else {
            jobs::finish_until(&mut tx, &job, now + LOOK_AGAIN).await?;
        }
    } else {
        phase_ends(&mut tx, &deed, id, phase, &runs)
            .await
            .map_err(RunError::from)?;
        jobs::finish(&mut tx, &job).await?;
    }
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// A job that has the runs of a request looked at now, beside the one that looks at them every day.
pub(super) fn look_once(ids: &Ids, request: DsrId) -> Job {
    Job::new(ids.uuid(), &OPEN_RUNS, [request.0, request.0])
}

fn looks_once(job: &Claimed) -> bool {
    job.subjects.len() > 1
}

pub(super) async fn done(mut tx: Tx, job: &Claimed) -> Result<(), JobError> {
    jobs::finish(&mut tx, job).await?;
    Ok(tx.commit().await?)
}

fn abandon(tx: &mut Tx, organization: OrganizationId, run: &mut SiloRun) {
    let before = run.clone();
    run.abandoned = true;
    for profile in &mut run.profiles {
        if let Some(waiting) = profile.next_notice.take() {
            jobs::cancel(tx, organization, waiting);
        }
    }
    store::replace(tx, organization, &before, run);
}

/// Makes the runs of a phase as it is planned: one for each part, with one profile for each identifier. Nothing else decides
/// who is asked what.
pub(super) fn make_runs(ids: &Ids, dsr: &Dsr, digests: &Digests, plan: &PhasePlan, now: Timestamp) -> Vec<SiloRun> {
    let action = plan.action;
    let awaited: BTreeSet<DataSiloId> = plan
        .parts
        .iter()
        .flat_map(|part| part.waits_for.iter().copied())
        .collect();
    let run = |part: &Part| {
        // A silo that comes for its work itself counts as asked as soon as the work is there.
        let status = match part.connection {
            Connection::Noticed => RunStatus::Queued,
            Connection::ComesForWork | Connection::Disconnected => RunStatus::Waiting,
        };
        let profiles = part.identifiers.iter().map(|asked| {
            let id = ProfileId(ids.uuid());
            let known = dsr.subject.identifiers.iter().find(|known| known.id == asked.id);
            Profile {
                digest: known.and_then(|known| digests.of(known)),
                asked_at: (status == RunStatus::Waiting).then_some(now),
                ..Profile::new(id, asked.id, asked.name.clone(), status, part.answered(action))
            }
        });
        SiloRun {
            id: RunId(ids.uuid()),
            request: plan.request,
            phase: plan.phase,
            round: plan.round,
            silo: part.silo,
            action,
            created_at: now,
            request_created_at: dsr.head.created_at,
            profiles: profiles.collect(),
            decided: None,
            waits_for: part.waits_for.clone(),
            is_awaited: awaited.contains(&part.silo),
            abandoned: false,
            manual_days: part.manual_days,
            confirms_absence: part.confirms_absence,
            confirmed_by: None,
            confirms: None,
            contradiction: None,
        }
    };
    plan.parts.iter().map(run).collect()
}

/// Tells the operator of parts that come to nothing, or that nobody learns of.
fn warn_of(plan: &PhasePlan) {
    for part in &plan.parts {
        if part.connection == Connection::Disconnected {
            tracing::warn!(
                dsr.id = %plan.request,
                silo.id = %part.silo.0,
                "a data silo of the kind `server` has no url: it is told nothing, and the request waits until it comes for its work"
            );
        }
        if part.identifiers.is_empty() {
            tracing::warn!(
                dsr.id = %plan.request,
                silo.id = %part.silo.0,
                "a data silo is left out: none of the identifiers it looks people up by is a verified one of the request"
            );
        }
    }
}

/// Leaves word of a request that goes on without any silo having been asked: whoever reviews it sees only that there is
/// no data.
fn nobody_to_ask(app: &AppState, tx: &mut Tx, keys: &OrganizationKeys, head: &DsrHead, phase: Phase, silos: usize) {
    let action = head.rules.action_in(phase).as_str();
    tracing::warn!(
        dsr.id = %head.id,
        action,
        silos,
        "no data silo could be asked about the request: none takes part that is live, does the action and looks up an \
         identifier of the request; it goes on as if no data had been found"
    );
    let entry = AuditEntry {
        actor: Actor::System,
        action: "dsr.no_silo_to_ask",
        object: ("dsr", head.id.0),
        at: app.now(keys.organization),
        details: vec![("action", action.into()), ("silos", Detail::Count(silos as u64))],
    };
    audit::record(tx, &app.ids, keys.organization, entry);
}

/// Lets runs go whose predecessors are done, and all those that wait for themselves: a circle, which configuration refuses,
/// must not keep a person's data where it got through.
fn release(runs: &mut [SiloRun]) {
    let open: BTreeSet<DataSiloId> = runs.iter().filter(|run| run.is_open()).map(|run| run.silo).collect();
    for run in runs.iter_mut() {
        let silo = run.silo;
        run.waits_for.retain(|other| *other != silo && open.contains(other));
    }
    let waits_for: HashMap<DataSiloId, Vec<DataSiloId>> = runs
        .iter()
        .filter(|run| run.is_open())
        .map(|run| (run.silo, run.waits_for.clone()))
        .collect();
    let waits_for_itself = |silo: DataSiloId| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![silo]);
        while let Some(other) = next.pop() {
            next.extend(
                waits_for
                    .get(&other)
                    .into_iter()
                    .flatten()
                    .filter(|it| seen.insert(**it)),
            );
        }
        seen.contains(&silo)
    };
    let circle: BTreeSet<DataSiloId> = open.iter().copied().filter(|silo| waits_for_itself(*silo)).collect();
    if circle.is_empty() {
        return;
    }
    tracing::warn!(
        runs = circle.len(),
        "the dependencies of data silos form a circle; none in it waits for another of it"
    );
    for run in runs.iter_mut().filter(|run| circle.contains(&run.silo)) {
        run.waits_for.retain(|other| !circle.contains(other));
    }
}

/// Plans the notices that no profile has, and has those tried again that were given up: nobody else would send them.
async fn plan_missing_notices(
    app: &AppState,
    tx: &mut Tx,
    organization: OrganizationId,
    run: &mut SiloRun,
    now: Timestamp,
    when: fn(&Profile, &Windows, Timestamp) -> Option<Timestamp>,
) -> Result<(), StoreError> {
    let (request, id, silo) = (run.request, run.id, run.silo);
    let windows = run.windows(&app.config.webhooks.windows);
    for profile in &mut run.profiles {
        if let Some(Waiting { id, .. }) = profile.next_notice {
            if jobs::retry_parked(tx, organization, id, now).await? {
                let due_at_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
                profile.next_notice = Some(Waiting { due_at_ms, id });
            }
        } else if let Some(at) = when(profile, &windows, now) {
            let job = notice_job(app, request, id, profile.id, silo);
            profile.next_notice = Some(jobs::enqueue(tx, organization, job, at));
        }
    }
    Ok(())
}

fn notice_job(app: &AppState, request: DsrId, run: RunId, profile: ProfileId, silo: DataSiloId) -> Job {
    Job::new(app.ids.uuid(), &SEND_NOTICE, [request.0, run.0, profile.0]).waiting_for(silo.0)
}

/// After something has happened to a profile: moves its next notice to where it now belongs, or takes it away. A silo that
/// is never noticed has none.
pub(super) fn replan_notice(
    app: &AppState,
    tx: &mut Tx,
    organization: OrganizationId,
    run: &mut SiloRun,
    profile: ProfileId,
    now: Timestamp,
) {
    let (request, id, silo) = (run.request, run.id, run.silo);
    let windows = run.windows(&app.config.webhooks.windows);
    let Some(profile) = run.profiles.iter_mut().find(|known| known.id == profile) else {
        return;
    };
    let Some(planned) = profile.next_notice.take() else {
        return;
    };
    jobs::cancel(tx, organization, planned);
    if let Some(at) = profile.notice_at(&windows, now) {
        let job = notice_job(app, request, id, profile.id, silo);
        profile.next_notice = Some(jobs::enqueue(tx, organization, job, at));
    }
}

/// After `run` was saved closed: lets the runs that wait for it begin, or the request go on if this was the last.
pub(super) async fn let_go_on(tx: &mut Tx, deed: &Deed<'_>, run: &SiloRun) -> Result<(), DsrError> {
    if run.is_open() || absence::is_to_be_confirmed(tx, deed, run).await? {
        return Ok(());
    }
    if store::any_other_open(tx, deed.organization, run).await? {
        if run.is_awaited {
            jobs::enqueue(tx, deed.organization, look_once(deed.ids, run.request), deed.now);
        }
        return Ok(());
    }
    let head = dsr::get_head(tx, deed.organization, run.request).await?;
    // A request on hold looks at its runs again when it is resumed.
    if !run.is_of(&head) || head.state.status() == DsrStatus::OnHold {
        return Ok(());
    }
    let mut runs = store::list(tx, deed.organization, run.request).await?;
    runs.retain(|other| other.is_of(&head));
    phase_ends(tx, deed, run.request, run.phase, &runs).await
}

/// Every run of a phase is closed: the request goes on, with what stands for the answers kept.
async fn phase_ends(
    tx: &mut Tx,
    deed: &Deed<'_>,
    request: DsrId,
    phase: Phase,
    runs: &[SiloRun],
) -> Result<(), DsrError> {
    let any_data = runs.iter().any(SiloRun::delivers);
    dsr::phase_answered(tx, deed, request, phase, closing::digest_of(runs)).await?;
    dsr::advance(tx, deed, request, DsrEvent::RunsFinished { any_data }).await?;
    Ok(())
}

/// Runs looked at in one transaction.
const PAGE: usize = 200;
/// Tries at such a transaction: the silo reports while it is looked at.
const CONFLICTS_MAX: u32 = 16;

/// Does [`RESUMED`](silos::RESUMED): plans a notice for everything that a silo was not told while it was paused.
pub async fn go_on_at_silo(app: AppState, job: Claimed) -> Result<(), JobError> {
    let silo = DataSiloId(job.subject(0)?);
    let mut after = None;
    let mut conflicts = 0;
    loop {
        match go_on_with_page(&app, &job, silo, after.as_ref()).await {
            Ok(Some(last)) => after = Some(last),
            Ok(None) => break,
            Err(JobError::Store(StoreError::Conflict)) if conflicts < CONFLICTS_MAX => conflicts += 1,
            Err(error) => return Err(error),
        }
        app.jobs.ring();
    }
    let mut tx = app.store.begin_write().await?;
    jobs::finish(&mut tx, &job).await?;
    Ok(tx.commit().await?)
}

/// Does so for one page of the silo's work. Answers where the next begins.
async fn go_on_with_page(
    app: &AppState,
    job: &Claimed,
    silo: DataSiloId,
    after: Option<&store::WorkKey>,
) -> Result<Option<store::WorkKey>, JobError> {
    let now = app.now(job.organization);
    let mut tx = app.store.begin_write().await?;
    let may_be_told = silos::find_silo(&mut tx, job.organization, silo)
        .await?
        .is_some_and(|silo| silo.may_be_told());
    let work = store::list_all_work(&mut tx, job.organization, silo, after, PAGE).await?;
    let Some(last) = work.last().filter(|_| may_be_told).cloned() else {
        return Ok(None);
    };
    let runs = store::find_work(&mut tx, &work).await?;
    let ids: BTreeSet<DsrId> = runs.iter().map(|run| run.request).collect();
    let heads = dsr::find_heads(&mut tx, job.organization, &Vec::from_iter(ids)).await?;
    let heads: HashMap<DsrId, DsrHead> = heads.into_iter().map(|head| (head.id, head)).collect();
    for before in runs {
        let is_worked_on = |head: &DsrHead| before.is_of(head) && head.state.status() != DsrStatus::OnHold;
        if !before.is_work() || !heads.get(&before.request).is_some_and(is_worked_on) {
            continue;
        }
        let mut run = before.clone();
        plan_missing_notices(
            app,
            &mut tx,
            job.organization,
            &mut run,
            now,
            Profile::notice_after_rest,
        )
        .await?;
        store::replace(&mut tx, job.organization, &before, &run);
    }
    tx.commit().await?;
    Ok(Some(last))
}

#[cfg(test)]
mod tests;
