//! The background jobs of preflights: looking at a request, asking an enricher's address, and the end of a span of time.

use std::{sync::Arc, time::Duration};

use antumbra_store::{Reader, StoreError, Tx};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    PreflightError,
    answer::{self, end_checks},
    look::look,
    mail,
    model::{End, Preflight, PreflightEvent, PreflightId, Reason},
    nonce::{self, nonce_of},
    notice::Notice,
    store,
    verification::{built_in, wake_at},
    wire::{Answer, Enrichment},
};
use crate::{
    AppState,
    audit::Actor,
    dsr::{self, Cursor, Deed, DsrError, DsrId, DsrState, DsrStatus, Filter, Order, PreflightEnd},
    jobs::{self, Claimed, INNER_RETRIES, Job, JobError, JobKind, Waiting},
    keyring::{OrganizationKeys, WebhookClaims},
    organization::{MessageKind, Organization},
    runs::{NotAccepted, Reply, RetryAfter},
    silos::{self, Enricher, EnricherKind, Header},
    world::Ids,
};

/// Asks an enricher's address about one identifier. Subjects: request, run. Target: the enricher.
///
/// What the receiver does wrong is no failure of the job: tries are counted with the run, and the job comes back on the
/// schedule of the webhooks' windows.
pub static ASK: JobKind = JobKind {
    name: "preflights.ask",
    lease: Duration::from_secs(90),
    retries: INNER_RETRIES,
    at_once: 64,
    at_once_per_target: 16,
};

/// A run's time is over, or somebody is to be reminded. Subjects: request, run.
pub static WAKE: JobKind = JobKind {
    name: "preflights.wake",
    lease: Duration::from_secs(60),
    retries: INNER_RETRIES,
    at_once: 16,
    at_once_per_target: 16,
};

/// Tries at the transaction that keeps what came of a webhook. The webhook itself is not sent again for a conflict.
const CONFLICTS_MAX: u32 = 16;

pub(super) fn ask_job(ids: &Ids, run: &Preflight) -> Job {
    Job::new(ids.uuid(), &ASK, [run.request.0, run.id.0]).waiting_for(run.enricher.0)
}

pub(super) fn wake_job(ids: &Ids, run: &Preflight) -> Job {
    Job::new(ids.uuid(), &WAKE, [run.request.0, run.id.0])
}

/// Does [`dsr::SETTLE_IDENTITIES`].
pub async fn settle_identities(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let keys = organization_keys(&app, &job).await?;
    let mut tx = app.store.begin_write().await?;
    look(&app, &mut tx, &keys, &by_the_system(&app, &job), id).await?;
    jobs::finish(&mut tx, &job).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// Does [`WAKE`].
pub async fn wake(app: AppState, job: Claimed) -> Result<(), JobError> {
    let keys = organization_keys(&app, &job).await?;
    let mut tx = app.store.begin_write().await?;
    let deed = by_the_system(&app, &job);
    let mut again = None;
    if let Some(mut run) = find_mine(&mut tx, &job).await? {
        run.next = None;
        if !is_under_way(&mut tx, &run, &job).await? {
            // One whose request is parked comes back with a look at the request.
            store::save(&mut tx, job.organization, &run);
        } else if run.ends_at.is_none_or(|at| at > deed.now) {
            again = remind(&app, &mut tx, &keys, &deed, &mut run).await?;
            if let Some(at) = again {
                run.next = Some(jobs::finish_until(&mut tx, &job, at).await?);
            }
            store::save(&mut tx, job.organization, &run);
        } else {
            time_is_over(&mut tx, &keys, &deed, run).await?;
        }
    }
    if again.is_none() {
        jobs::finish(&mut tx, &job).await?;
    }
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// Reminds the data subject where that is due, and says when something is to be done next.
async fn remind(
    app: &AppState,
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    run: &mut Preflight,
) -> Result<Option<Timestamp>, JobError> {
    let Some(enricher) = enricher_of(tx, keys, run).await? else {
        return Ok(run.ends_at);
    };
    let is_due = wake_at(run, &enricher).is_some_and(|at| at <= deed.now);
    let dsr = dsr::get(tx, keys, run.request).await.map_err(PreflightError::from)?;
    let input = dsr.subject.identifiers.iter().find(|input| input.id == run.input);
    if let (true, Some(input), Some(verification)) = (is_due, input, run.verification.as_mut()) {
        verification.reminded += 1;
        verification.send_again(deed.now);
        mail::post(
            app,
            tx,
            keys,
            deed,
            &dsr,
            (&*run, input, &enricher),
            MessageKind::VerificationReminder,
        )
        .await?;
        answer::keep(tx, deed, run, "preflight.reminded");
    }
    Ok(wake_at(run, &enricher).or(run.ends_at))
}

/// When the address of a run's enricher is asked next: on the schedule of webhooks, as late as it asks for itself, and in the part
/// of the day that is its own.
pub(super) fn next_ask(
    app: &AppState,
    organization: &Organization,
    enricher: Option<&Enricher>,
    run: &Preflight,
    asked: Option<RetryAfter>,
    now: Timestamp,
) -> Option<Timestamp> {
    let windows = &app.config.webhooks.windows;
    let at = windows.heeding(asked, run.ask_at(windows, now)?, now);
    Some(in_its_window(app, organization, enricher, at))
}

fn in_its_window(app: &AppState, organization: &Organization, enricher: Option<&Enricher>, at: Timestamp) -> Timestamp {
    let Some(window) = enricher.and_then(|enricher| enricher.daily_window) else {
        return at;
    };
    // Nobody can set a zone that is not known; without it the clock of the world will do.
    let zone = organization.time_zone.as_deref().unwrap_or(&app.config.dsr.time_zone);
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    window.next(at, &zone)
}

/// What follows when a run's time is over: a wait has done its part, and who did not verify an identifier goes no further. An
/// address that has not answered is asked no more, and the request waits for a person unless something else is configured.
async fn time_is_over(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    mut run: Preflight,
) -> Result<(), JobError> {
    let request = run.request;
    if run.kind == EnricherKind::WaitPeriod {
        run.step(PreflightEvent::Answered).map_err(PreflightError::from)?;
        answer::keep(tx, deed, &run, "preflight.waited");
        dsr::settle_soon(tx, deed, request);
        return Ok(());
    }
    let configured = enricher_of(tx, keys, &run).await?;
    let end = configured.as_ref().and_then(End::of);
    let (why, end) = match run.kind {
        EnricherKind::Server => (Reason::NoAnswer, end),
        _ => (
            Reason::NotInTime,
            end.or(Some(End::Stop(PreflightEnd::FailedVerification))),
        ),
    };
    run.step(PreflightEvent::TimedOut(why)).map_err(PreflightError::from)?;
    answer::keep(tx, deed, &run, "preflight.timed_out");
    if let Some(end) = end {
        let template = configured.and_then(|enricher| enricher.end_template);
        end_checks(tx, keys, deed, request, end, template).await?;
    }
    Ok(())
}

/// The enricher of a run, the built-in one included.
pub(super) async fn enricher_of(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    run: &Preflight,
) -> Result<Option<Enricher>, StoreError> {
    let built_in = built_in(keys);
    if built_in.id == run.enricher {
        return Ok(Some(built_in));
    }
    silos::find_enricher(reader, keys.organization, run.enricher).await
}

/// The open run that waits for this job.
async fn find_mine(reader: &mut Reader, job: &Claimed) -> Result<Option<Preflight>, JobError> {
    let id = PreflightId(job.subject(1)?);
    let is_mine = |run: &Preflight| run.is_open() && run.next.is_some_and(|next: Waiting| next.id == job.id);
    Ok(store::find(reader, job.organization, id).await?.filter(is_mine))
}

/// Whether the run's request is at its preflight checks, not parked, and was not restarted since.
async fn is_under_way(reader: &mut Reader, run: &Preflight, job: &Claimed) -> Result<bool, JobError> {
    match dsr::get_head(reader, job.organization, run.request).await {
        Ok(head) => Ok(head.state == DsrState::Enriching && head.round == run.round),
        Err(DsrError::NotFound) => Ok(false),
        Err(error) => Err(PreflightError::from(error).into()),
    }
}

/// Does [`ASK`]. No transaction is open while the receiver has the word: it may post its answer before we have read what it
/// says to the webhook.
pub async fn ask(app: AppState, job: Claimed) -> Result<(), JobError> {
    let keys = organization_keys(&app, &job).await?;
    let mut reader = app.store.begin_read().await?;
    let prepared = prepare(&app, &mut reader, &keys, &job).await?;
    drop(reader);
    let came = match prepared {
        Prepared::Nothing => Came::Nothing,
        Prepared::Rest => Came::Rest,
        Prepared::Later(at) => Came::Later(at),
        Prepared::TooLate => Came::TooLate,
        Prepared::Webhook(Webhook {
            url,
            headers,
            own,
            body,
        }) => Came::Reply(app.webhooks.ask(&url, own, &headers, body).await),
    };
    for _ in 0..CONFLICTS_MAX {
        match keep_outcome(&app, &job, &keys, &came).await {
            Err(JobError::Store(StoreError::Conflict)) => tokio::task::yield_now().await,
            outcome => return outcome,
        }
    }
    Err(JobError::Failed(
        "what came of a preflight webhook could not be kept, others changed the run all the time",
    ))
}

/// What there is to do about a run whose turn it is.
enum Prepared {
    /// Nothing any more, or it is another job's to do.
    Nothing,
    /// Nothing while its enricher is paused.
    Rest,
    /// Nothing before then: its enricher is asked at other times of the day.
    Later(Timestamp),
    /// It is given up.
    TooLate,
    /// This is sent.
    Webhook(Webhook),
}

/// A webhook ready to be sent.
struct Webhook {
    url: String,
    headers: Vec<Header>,
    own: HeaderMap,
    body: Bytes,
}

/// What came of a turn.
enum Came {
    /// There was nothing to ask.
    Nothing,
    /// Its enricher is paused.
    Rest,
    /// It is to be asked then.
    Later(Timestamp),
    /// Nobody is asked any more.
    TooLate,
    /// This was replied.
    Reply(Reply),
}

/// The webhook, unless there is nothing to ask any more, or another job has been given it to ask.
async fn prepare(
    app: &AppState,
    reader: &mut Reader,
    keys: &Arc<OrganizationKeys>,
    job: &Claimed,
) -> Result<Prepared, JobError> {
    let Some(run) = find_mine(reader, job).await? else {
        return Ok(Prepared::Nothing);
    };
    if !is_under_way(reader, &run, job).await? {
        return Ok(Prepared::Nothing);
    }
    let now = app.now(job.organization);
    if run.was_asked_enough(&app.config.webhooks.windows, now) {
        return Ok(Prepared::TooLate);
    }
    let dsr = dsr::get(reader, keys, run.request)
        .await
        .map_err(PreflightError::from)?;
    let enricher = silos::find_enricher(reader, job.organization, run.enricher).await?;
    let Some(enricher) = enricher else {
        return Ok(Prepared::Nothing);
    };
    if enricher.is_paused {
        return Ok(Prepared::Rest);
    }
    let settings = app.settings.get(reader, job.organization).await?;
    let at = in_its_window(app, &settings.organization, Some(&enricher), now);
    if at > now {
        return Ok(Prepared::Later(at));
    }
    let input = dsr.subject.identifiers.iter().find(|input| input.id == run.input);
    let configured = input.and_then(|input| settings.find_identifier(&input.name));
    let (Some(url), Some(input), Some(configured)) = (enricher.url.clone(), input, configured) else {
        return Ok(Prepared::Nothing);
    };
    let headers = silos::open_enricher_headers(reader, keys, &enricher)
        .await
        .map_err(PreflightError::from)?;
    let body = Notice {
        link: dsr::link(app, run.request),
        organization: &settings.organization,
        dsr: &dsr,
        enricher: &enricher,
        run: &run,
        input,
        configured: &configured.identifier,
    }
    .to_json();
    let token = keys.sign_webhook(&WebhookClaims {
        core_identifier: &dsr.subject.core_identifier,
        audience: &settings.organization.uri,
        issued_at: app.clock.now(),
        id: app.ids.hidden_uuid(),
        body: &body,
    });
    let own = [("x-sombra-token", token), (nonce::HEADER, nonce_of(keys, &run))]
        .into_iter()
        .map(|(name, value)| {
            let mut value = HeaderValue::try_from(value).expect("tokens are printable ASCII");
            value.set_sensitive(true);
            (HeaderName::from_static(name), value)
        });
    Ok(Prepared::Webhook(Webhook {
        url,
        headers,
        own: own.collect(),
        body: Bytes::from(body),
    }))
}

/// What a reply to a webhook comes to.
enum Outcome {
    /// There was nothing to ask.
    Nothing,
    /// Taken; the answer will be posted.
    Accepted,
    /// Nobody, or nothing to find.
    NothingFound,
    /// The answer itself.
    Answered(Answer),
    /// Not taken.
    Refused(Reason, String),
}

/// Keeps what came of a webhook, and plans the next.
async fn keep_outcome(app: &AppState, job: &Claimed, keys: &OrganizationKeys, came: &Came) -> Result<(), JobError> {
    let mut tx = app.store.begin_write().await?;
    let deed = by_the_system(app, job);
    // An answer that was posted meanwhile has ended the run, or taken this job from it.
    let Some(mut run) = find_mine(&mut tx, job).await? else {
        jobs::finish(&mut tx, job).await?;
        return Ok(tx.commit().await?);
    };
    if let Came::Later(at) = came {
        run.next = Some(jobs::finish_until(&mut tx, job, *at).await?);
        store::save(&mut tx, job.organization, &run);
        return Ok(tx.commit().await?);
    }
    run.next = None;
    if let Came::TooLate = came {
        jobs::finish(&mut tx, job).await?;
        if is_under_way(&mut tx, &run, job).await? {
            tracing::warn!(
                dsr.id = %run.request,
                preflight.id = %run.id.0,
                enricher.id = %run.enricher.0,
                asked = run.asked,
                "an enricher has not answered and is asked no more: its preflight waits for a person"
            );
            time_is_over(&mut tx, keys, &deed, run).await?;
        } else {
            store::save(&mut tx, job.organization, &run);
        }
        tx.commit().await?;
        app.jobs.ring();
        return Ok(());
    }
    let settings = app.settings.get(&mut tx, job.organization).await?;
    let outcome = match came {
        Came::Reply(reply) if at_preflight(&mut tx, &deed, &run).await? => read(reply, &settings),
        Came::Reply(_) | Came::Nothing | Came::Rest | Came::Later(_) | Came::TooLate => Outcome::Nothing,
    };
    let asked = match came {
        Came::Reply(Reply::Refused(refused)) => refused.retry_after,
        Came::Reply(_) | Came::Nothing | Came::Rest | Came::Later(_) | Came::TooLate => None,
    };
    let last = run.is_last_try(&app.config.webhooks.windows);
    let mut failed = None;
    let event = match outcome {
        Outcome::Nothing => {
            // An enricher that was taken away, has no address any more, or was resumed since: a look at the request says what
            // becomes of it.
            let enricher = silos::find_enricher(&mut tx, job.organization, run.enricher).await?;
            let is_resumed = |enricher: &Enricher| matches!(came, Came::Rest) && !enricher.is_paused;
            if enricher.is_none_or(|enricher| enricher.url.is_none() || is_resumed(&enricher)) {
                dsr::settle_soon(&mut tx, &deed, run.request);
            }
            None
        }
        Outcome::Accepted => Some(PreflightEvent::Begun),
        Outcome::NothingFound => {
            dsr::settle_soon(&mut tx, &deed, run.request);
            Some(PreflightEvent::NothingFound)
        }
        Outcome::Answered(answer) => {
            match answer::take(&mut tx, keys, &deed, std::slice::from_mut(&mut run), answer).await {
                Ok(()) => {
                    jobs::finish(&mut tx, job).await?;
                    tx.commit().await?;
                    app.jobs.ring();
                    return Ok(());
                }
                // Nothing was kept of it.
                Err(PreflightError::Dsr(DsrError::TooManyIdentifiers)) => {
                    failed = Some("its answer brings more identifiers than a request can have".to_owned());
                    let why = Reason::BadAnswer;
                    Some(PreflightEvent::Refused { last, why })
                }
                Err(error) => return Err(error.into()),
            }
        }
        Outcome::Refused(why, words) => {
            failed = Some(words);
            Some(PreflightEvent::Refused { last, why })
        }
    };
    if let Some(event) = event {
        run.step(event).map_err(PreflightError::from)?;
    }
    // One whose request is parked comes back with a look at the request.
    let enricher = silos::find_enricher(&mut tx, job.organization, run.enricher).await?;
    let next =
        next_ask(app, &settings.organization, enricher.as_ref(), &run, asked, deed.now).filter(|_| event.is_some());
    run.next = jobs::come_back(&mut tx, job, deed.now, next, failed.as_deref()).await?;
    match event {
        Some(_) => answer::keep(&mut tx, &deed, &run, "preflight.asked"),
        None => store::save(&mut tx, job.organization, &run),
    }
    tx.commit().await?;
    app.jobs.ring();
    match failed {
        None => Ok(()),
        Some(why) => {
            tracing::warn!(
                dsr.id = %run.request,
                preflight.id = %run.id.0,
                enricher.id = %run.enricher.0,
                why,
                tries = run.tries,
                "a webhook of a preflight failed"
            );
            Err(JobError::InVain)
        }
    }
}

/// Whether an answer still matters: also while the request is parked.
async fn at_preflight(reader: &mut Reader, deed: &Deed<'_>, run: &Preflight) -> Result<bool, JobError> {
    match answer::open_head(reader, deed, run.request).await {
        Ok(head) => Ok(head.round == run.round),
        Err(PreflightError::RequestMovedOn | PreflightError::NotFound) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read(reply: &Reply, settings: &crate::organization::Settings) -> Outcome {
    let body = match reply {
        Reply::Nothing => return Outcome::NothingFound,
        Reply::Refused(NotAccepted { why, .. }) => return Outcome::Refused(Reason::NotAccepted, why.clone()),
        Reply::Said(body) => body,
    };
    match Enrichment::said_in(body) {
        Ok(None) => Outcome::Accepted,
        Ok(Some(said)) => match said.read_leniently(settings) {
            Ok(answer) => Outcome::Answered(answer),
            Err(broken) => {
                let rules: Vec<String> = broken.into_iter().map(|(_, rule)| rule).take(3).collect();
                Outcome::Refused(Reason::BadAnswer, format!("its answer {}", rules.join("; ")))
            }
        },
        Err(_) => Outcome::Refused(
            Reason::BadAnswer,
            "its answer is not of the form that is asked for".to_owned(),
        ),
    }
}

async fn organization_keys(app: &AppState, job: &Claimed) -> Result<Arc<OrganizationKeys>, JobError> {
    let keys = app.keys.organization(job.organization).await;
    Ok(keys.map_err(PreflightError::from)?)
}

fn by_the_system<'a>(app: &'a AppState, job: &Claimed) -> Deed<'a> {
    let now: Timestamp = app.now(job.organization);
    Deed {
        organization: job.organization,
        by: Actor::System,
        now,
        ids: &app.ids,
    }
}

/// Requests looked at again in one transaction.
const PAGE: usize = 200;

/// Does [`silos::ENRICHER_CHANGED`]: has every request looked at again that is at its preflight checks.
pub async fn enricher_changed(app: AppState, job: Claimed) -> Result<(), JobError> {
    let keys = organization_keys(&app, &job).await?;
    let filter = Filter {
        statuses: vec![DsrStatus::Enriching],
        ..Filter::default()
    };
    let mut after: Option<Cursor> = None;
    loop {
        let mut tx = app.store.begin_write().await?;
        let deed = by_the_system(&app, &job);
        let page = dsr::list(&mut tx, &keys, &filter, Order::OldestFirst, after, PAGE);
        let page = page.await.map_err(PreflightError::from)?;
        for dsr in &page.items {
            dsr::settle_soon(&mut tx, &deed, dsr.head.id);
        }
        after = page.items.last().map(|last| Cursor::after(&last.head));
        let is_last = !page.has_next;
        if is_last {
            jobs::finish(&mut tx, &job).await?;
        }
        tx.commit().await?;
        app.jobs.ring();
        if is_last {
            return Ok(());
        }
    }
}
