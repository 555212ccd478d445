//! The background jobs of silo runs: opening the runs of a phase, and sending one notice.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use antumbra_crypto::value;
use antumbra_store::{Reader, StoreError, Tx};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    RunError,
    model::{Profile, ProfileId, Received, RunId, RunStatus, SiloRun, Verdict},
    nonce::{self, SiloNonce},
    notice::Notice,
    store,
    webhooks::{Delivery, TOTAL_MAX},
};
use crate::{
    AppState,
    audit::{self, Actor, AuditEntry, Detail},
    dsr::{self, Deed, Dsr, DsrError, DsrEvent, DsrHead, DsrId, DsrStatus, OPEN_RUNS, Phase},
    jobs::{self, Claimed, Failure, INNER_RETRIES, Job, JobError, JobId, JobKind, Waiting},
    keyring::{KeyKind, OrganizationKeys},
    organization::{Action, OrganizationId},
    silos::{self, DataSilo, DataSiloId, Header},
    world::Ids,
};

/// Sends one notice about one profile. Subjects: request, run, profile. Target: the silo.
///
/// What the receiver does wrong is no failure of the job: tries are counted with the profile, and the job comes back on the
/// schedule of [`super::Windows`].
pub static SEND_NOTICE: JobKind = JobKind {
    name: "runs.send_notice",
    lease: Duration::from_secs(2 * TOTAL_MAX.as_secs()),
    retries: INNER_RETRIES,
    at_once: 256,
    at_once_per_target: 16,
};

/// An open phase is looked at again after this span, whatever has happened in it: the slow sweep.
const LOOK_AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Tries at the transaction that keeps a notice's outcome. The notice itself is not sent again for a conflict.
const CONFLICTS_MAX: u32 = 16;

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
    let now = app.clock.now();
    let silos = silos::list_silos(&mut tx, job.organization).await?;
    let kept = runs.clone();
    if runs.is_empty() {
        runs = make_runs(&app, &mut tx, &keys, &dsr, phase, &silos).await?;
        if runs.iter().all(|run| run.profiles.is_empty()) {
            nobody_to_ask(&app, &mut tx, &keys, &dsr.head, phase, silos.len());
        }
    }
    for run in runs.iter_mut().filter(|run| run.is_open()) {
        // Nobody is left to answer for a silo that was taken away.
        if !silos.iter().any(|silo| silo.id == run.silo) {
            run.decide(Verdict::Skipped);
        }
    }
    release(&mut runs);
    for run in &mut runs {
        let is_noticed = silos.iter().any(|silo| silo.id == run.silo && silo.is_noticed());
        if is_noticed && run.is_open() && run.waits_for.is_empty() {
            plan_missing_notices(&app, &mut tx, job.organization, run, now).await?;
        }
        if !kept.contains(run) {
            store::save(&mut tx, job.organization, run);
        }
    }
    if runs.iter().any(SiloRun::is_open) {
        if looks_once(&job) {
            jobs::finish(&mut tx, &job).await?;
        } else {
            jobs::finish_until(&mut tx, &job, now + LOOK_AGAIN).await?;
        }
    } else {
        let any_data = runs.iter().any(SiloRun::has_data);
        let deed = Deed {
            organization: job.organization,
            by: Actor::System,
            now,
            ids: &app.ids,
        };
        dsr::advance(&mut tx, &deed, id, DsrEvent::RunsFinished { any_data })
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

async fn done(mut tx: Tx, job: &Claimed) -> Result<(), JobError> {
    jobs::finish(&mut tx, job).await?;
    Ok(tx.commit().await?)
}

fn abandon(tx: &mut Tx, organization: OrganizationId, run: &mut SiloRun) {
    run.abandoned = true;
    for profile in &mut run.profiles {
        if let Some(waiting) = profile.next_notice.take() {
            jobs::cancel(tx, organization, waiting);
        }
    }
    store::save(tx, organization, run);
}

/// One run for each silo that takes part, one profile in it for each identifier the silo can look up.
async fn make_runs(
    app: &AppState,
    tx: &mut Tx,
    keys: &OrganizationKeys,
    dsr: &Dsr,
    phase: Phase,
    silos: &[DataSilo],
) -> Result<Vec<SiloRun>, StoreError> {
    let action = dsr.head.rules.action_in(phase);
    let mut runs = Vec::new();
    for silo in silos.iter().filter(|silo| may_take_part(silo, &dsr.head)) {
        let points = silos::list_data_points(tx, keys.organization, silo.id).await?;
        if !silo.serves(action, &points) {
            continue;
        }
        let asked = points
            .iter()
            .filter(|point| action == Action::Access && point.enabled_actions.contains(&action));
        let asked: Vec<_> = asked.map(|point| point.id).collect();
        if silo.kind == "server" && !silo.is_noticed() {
            tracing::warn!(
                dsr.id = %dsr.head.id,
                silo.id = %silo.id.0,
                "a data silo of the kind `server` has no url: it is told nothing, and the request waits until it comes for its work"
            );
        }
        // A silo that comes for its work itself counts as asked as soon as the work is there.
        let status = if silo.is_noticed() {
            RunStatus::Queued
        } else {
            RunStatus::Waiting
        };
        let mut seen = BTreeSet::new();
        let known = dsr.subject.identifiers.iter().filter(|identifier| {
            identifier.verified_at.is_some()
                && silo.identity_keys.contains(&identifier.name)
                && seen.insert((&identifier.name, &identifier.value))
        });
        let profile = |identifier: &dsr::DsrIdentifier| {
            let id = ProfileId(app.ids.uuid());
            Profile::new(
                id,
                identifier.id,
                identifier.name.clone(),
                status,
                asked.iter().copied(),
            )
        };
        let profiles: Vec<Profile> = known.map(profile).collect();
        if profiles.is_empty() {
            tracing::warn!(
                dsr.id = %dsr.head.id,
                silo.id = %silo.id.0,
                keys = silo.identity_keys.len(),
                "a data silo is left out: none of the identifiers it looks people up by is a verified one of the request"
            );
        }
        runs.push(SiloRun {
            id: RunId(app.ids.uuid()),
            request: dsr.head.id,
            phase,
            round: dsr.head.round,
            silo: silo.id,
            action,
            created_at: app.clock.now(),
            request_created_at: dsr.head.created_at,
            profiles,
            decided: None,
            waits_for: if action == Action::Erasure {
                silo.depends_on.iter().copied().collect()
            } else {
                Vec::new()
            },
            is_awaited: false,
            abandoned: false,
        });
    }
    let awaited: BTreeSet<DataSiloId> = runs.iter().flat_map(|run| run.waits_for.iter().copied()).collect();
    for run in &mut runs {
        run.is_awaited = awaited.contains(&run.silo);
    }
    Ok(runs)
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
        at: app.clock.now(),
        details: vec![("action", action.into()), ("silos", Detail::Count(silos as u64))],
    };
    audit::record(tx, &app.ids, keys.organization, entry);
}

fn may_take_part(silo: &DataSilo, head: &DsrHead) -> bool {
    (silo.is_live || head.is_test)
        && head.silos.includes(silo.id.0)
        && !silo.subject_blocklist.contains(&head.subject_type)
}

/// Lets runs go whose predecessors are done. Where all that is open waits for each other, all of it is let go: a circle in
/// the configuration must not keep a person's data.
fn release(runs: &mut [SiloRun]) {
    let open: BTreeSet<DataSiloId> = runs.iter().filter(|run| run.is_open()).map(|run| run.silo).collect();
    for run in runs.iter_mut() {
        let silo = run.silo;
        run.waits_for.retain(|other| *other != silo && open.contains(other));
    }
    let mut waiting = runs.iter_mut().filter(|run| run.is_open()).peekable();
    if waiting.peek().is_none() {
        return;
    }
    let mut waiting: Vec<&mut SiloRun> = waiting.collect();
    if waiting.iter().all(|run| !run.waits_for.is_empty()) {
        tracing::warn!(
            runs = waiting.len(),
            "the dependencies of data silos form a circle; none of them is waited for"
        );
        for run in &mut waiting {
            run.waits_for.clear();
        }
    }
}

/// Plans the notices that no profile has, and has those tried again that were given up: nobody else would send them.
async fn plan_missing_notices(
    app: &AppState,
    tx: &mut Tx,
    organization: OrganizationId,
    run: &mut SiloRun,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (request, id, silo) = (run.request, run.id, run.silo);
    for profile in &mut run.profiles {
        if let Some(Waiting { id, .. }) = profile.next_notice {
            if jobs::retry_parked(tx, organization, id, now).await? {
                let due_at_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
                profile.next_notice = Some(Waiting { due_at_ms, id });
            }
        } else if let Some(at) = profile.notice_at(&app.config.webhooks.windows, now) {
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
    let Some(profile) = run.profiles.iter_mut().find(|known| known.id == profile) else {
        return;
    };
    let Some(planned) = profile.next_notice.take() else {
        return;
    };
    jobs::cancel(tx, organization, planned);
    if let Some(at) = profile.notice_at(&app.config.webhooks.windows, now) {
        let job = notice_job(app, request, id, profile.id, silo);
        profile.next_notice = Some(jobs::enqueue(tx, organization, job, at));
    }
}

/// After `run` was saved closed: lets the runs that wait for it begin, or the request go on if this was the last.
pub(super) async fn let_go_on(tx: &mut Tx, deed: &Deed<'_>, run: &SiloRun) -> Result<(), DsrError> {
    if run.is_open() {
        return Ok(());
    }
    if store::any_open(tx, deed.organization, run.request).await? {
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
    let runs = store::list(tx, deed.organization, run.request).await?;
    let any_data = runs.iter().any(|other| other.is_of(&head) && other.has_data());
    dsr::advance(tx, deed, run.request, DsrEvent::RunsFinished { any_data }).await?;
    Ok(())
}

/// Does [`SEND_NOTICE`]. No transaction is open while the receiver has the word: it may report its result before we have
/// read its answer.
pub async fn send_notice(app: AppState, job: Claimed) -> Result<(), JobError> {
    let about = About {
        request: DsrId(job.subject(0)?),
        run: RunId(job.subject(1)?),
        profile: ProfileId(job.subject(2)?),
    };
    let keys = app.keys.organization(job.organization).await.map_err(RunError::from)?;
    let mut reader = app.store.begin_read().await?;
    let prepared = prepare(&app, &mut reader, &keys, &about, job.id).await?;
    drop(reader);
    let delivery = match prepared {
        None => None,
        Some(Prepared {
            url,
            headers,
            own,
            body,
        }) => {
            let posted = app.webhooks.post(&url, own, &headers, body).await;
            Some(posted.unwrap_or_else(|refused| Delivery {
                received: Received::Failed,
                why: refused.to_string(),
                retry_after: None,
            }))
        }
    };
    for _ in 0..CONFLICTS_MAX {
        match keep_outcome(&app, &job, &about, delivery.as_ref()).await {
            Err(JobError::Store(StoreError::Conflict)) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
            Ok(next) => return delivery.map_or(Ok(()), |delivery| tell(&job, &about, &delivery, next)),
        }
    }
    Err(JobError::Failed(
        "the outcome of a notice could not be kept, others changed the run all the time",
    ))
}

/// Says in the log what came of a notice, and to the runner whether it failed.
fn tell(job: &Claimed, about: &About, delivery: &Delivery, next: Option<Next>) -> Result<(), JobError> {
    let (received, why) = (delivery.received, delivery.why.as_str());
    let silo = job.target.map(tracing::field::display);
    if received != Received::Failed {
        tracing::info!(
            dsr.id = %about.request, run.id = %about.run.0, silo.id = silo, ?received, why, "a notice was sent to a data silo"
        );
        return Ok(());
    }
    tracing::warn!(
        dsr.id = %about.request,
        run.id = %about.run.0,
        silo.id = silo,
        why,
        failures = next.map(|next| next.failures),
        next_try_at = next.map(|next| tracing::field::display(next.at)),
        "a notice to a data silo failed"
    );
    Err(JobError::InVain)
}

/// The try that follows one that failed.
#[derive(Clone, Copy)]
struct Next {
    failures: u32,
    at: Timestamp,
}

/// What a notice is about.
struct About {
    request: DsrId,
    run: RunId,
    profile: ProfileId,
}

/// A notice ready to be sent.
struct Prepared {
    url: String,
    headers: Vec<Header>,
    own: HeaderMap,
    body: Bytes,
}

/// The notice, unless there is nothing to say any more, or another job has been given it to say: one that was given up and
/// is tried again waits elsewhere than the run remembers, and could not be canceled when the notice was planned anew.
async fn prepare(
    app: &AppState,
    reader: &mut Reader,
    keys: &Arc<OrganizationKeys>,
    about: &About,
    job: JobId,
) -> Result<Option<Prepared>, JobError> {
    let organization = keys.organization;
    let Some(mut run) = store::find(reader, organization, about.request, about.run).await? else {
        return Ok(None);
    };
    if run.abandoned || run.open_profile(about.profile).is_err() {
        return Ok(None);
    }
    let dsr = match dsr::get(reader, keys, about.request).await {
        Ok(dsr) => dsr,
        Err(DsrError::NotFound) => return Ok(None),
        Err(error) => return Err(RunError::from(error).into()),
    };
    if !run.is_of(&dsr.head) || dsr.head.state.status() == DsrStatus::OnHold {
        return Ok(None);
    }
    let Some(silo) = silos::find_silo(reader, organization, run.silo).await? else {
        return Ok(None);
    };
    let planned = |profile: &Profile| profile.next_notice.as_ref().is_some_and(|planned| planned.id == job);
    let mine = |profile: &&Profile| profile.id == about.profile && planned(profile);
    let Some(profile) = run.profiles.iter().find(mine) else {
        return Ok(None);
    };
    let identifier = dsr
        .subject
        .identifiers
        .iter()
        .find(|identifier| identifier.id == profile.identifier);
    let (Some(url), Some(identifier)) = (silo.url.clone(), identifier) else {
        return Ok(None);
    };
    let poll_id = open_text(reader, keys, &run, profile.poll_id.as_deref()).await?;
    let headers = silos::open_headers(reader, keys, &silo).await.map_err(RunError::from)?;
    let settings = app.settings.get(reader, organization).await?;
    let body = Notice {
        public_url: app.public_url(),
        organization: &settings.organization,
        dsr: &dsr,
        silo: &silo,
        run: &run,
        profile,
        identifier,
        poll_id: poll_id.as_deref(),
    }
    .to_json();
    let token = keys.sign_webhook(&crate::keyring::WebhookClaims {
        core_identifier: &dsr.subject.core_identifier,
        audience: &settings.organization.uri,
        issued_at: app.clock.now(),
        id: app.ids.hidden_uuid(),
        body: &body,
    });
    let nonce = SiloNonce::of(organization, &run, profile).sign(keys);
    let own = [("x-sombra-token", token), (nonce::HEADER, nonce)]
        .into_iter()
        .map(|(name, value)| {
            let mut value = HeaderValue::try_from(value).expect("tokens are printable ASCII");
            value.set_sensitive(true);
            (HeaderName::from_static(name), value)
        });
    Ok(Some(Prepared {
        url,
        headers,
        own: own.collect(),
        body: Bytes::from(body),
    }))
}

/// A text of a profile that is sealed under the request's key.
pub(super) async fn open_text(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    run: &SiloRun,
    sealed: Option<&[u8]>,
) -> Result<Option<String>, JobError> {
    let Some(sealed) = sealed else { return Ok(None) };
    let key = keys
        .find_key(reader, KeyKind::Request, run.request.0)
        .await
        .map_err(RunError::from)?;
    let Some(key) = key else { return Ok(None) };
    let plain = value::open(&key, &text_context(run), sealed).map_err(RunError::from)?;
    Ok(String::from_utf8(plain.to_vec()).ok())
}

/// Where texts of a run belong.
pub(super) fn text_context(run: &SiloRun) -> [&[u8]; 2] {
    [b"silo-run", run.id.0.as_bytes()]
}

/// Keeps what came of a notice, and plans the next; `None`: there was nothing to say. Answers when a notice that failed is
/// sent again, if it is.
async fn keep_outcome(
    app: &AppState,
    job: &Claimed,
    about: &About,
    delivery: Option<&Delivery>,
) -> Result<Option<Next>, JobError> {
    let received = delivery.map(|delivery| delivery.received);
    let reason = delivery.filter(|delivery| delivery.received == Received::Failed);
    let reason = reason.map(|delivery| delivery.why.as_str());
    let mut again = None;
    let mut tx = app.store.begin_write().await?;
    let organization = job.organization;
    let run = store::find(&mut tx, organization, about.request, about.run).await?;
    let Some(mut run) = run else {
        return done(tx, job).await.map(|()| None);
    };
    let now = app.clock.now();
    let windows = &app.config.webhooks.windows;
    let was_open = run.is_open();
    let Some(profile) = run.profiles.iter_mut().find(|profile| profile.id == about.profile) else {
        return done(tx, job).await.map(|()| None);
    };
    let is_mine = |waiting: &Waiting| waiting.id == job.id;
    if let Some(received) = received {
        profile.noticed(received, windows.tries);
    }
    // A report that came meanwhile may have planned another notice; then this job has no next one.
    if profile.next_notice.as_ref().is_some_and(is_mine) {
        let next = profile
            .notice_at(windows, now)
            .filter(|_| received.is_some() && was_open);
        profile.next_notice = match (next, reason) {
            (Some(next_try_at), Some(reason)) => {
                let failure = Failure {
                    at: now,
                    reason,
                    next_try_at,
                };
                again = Some(Next {
                    failures: profile.failed_notices,
                    at: next_try_at,
                });
                Some(jobs::fail_until(&mut tx, job, &failure).await?)
            }
            (Some(at), None) => Some(jobs::finish_until(&mut tx, job, at).await?),
            (None, _) => {
                jobs::finish(&mut tx, job).await?;
                None
            }
        };
    } else {
        jobs::finish(&mut tx, job).await?;
    }
    store::save(&mut tx, organization, &run);
    if was_open {
        let deed = Deed {
            organization,
            by: Actor::System,
            now,
            ids: &app.ids,
        };
        let_go_on(&mut tx, &deed, &run).await.map_err(RunError::from)?;
    }
    tx.commit().await?;
    app.jobs.ring();
    Ok(again)
}
