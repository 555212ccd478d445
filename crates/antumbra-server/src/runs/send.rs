//! Sending one notice: reading what there is to say, saying it while no transaction is open, and keeping what came of it.

use std::{sync::Arc, time::Duration};

use antumbra_crypto::value;
use antumbra_store::{Reader, StoreError};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    RunError, absence,
    http::completion_link,
    jobs::{done, let_go_on},
    model::{Profile, ProfileId, Proof, Received, RunId, SiloRun, Verdict},
    nonce::{self, SiloNonce},
    notice::Notice,
    store,
    webhooks::{Delivery, TOTAL_MAX},
};
use crate::{
    AppState,
    audit::Actor,
    dsr::{self, Deed, DsrError, DsrId, DsrStatus},
    jobs::{self, Claimed, INNER_RETRIES, JobError, JobId, JobKind, Waiting},
    keyring::{KeyKind, OrganizationKeys},
    organization::OrganizationId,
    silos::{self, DataSiloId, Header, VendorMailCompletionLink},
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

/// Tries at the transaction that keeps a notice's outcome. The notice itself is not sent again for a conflict.
const CONFLICTS_MAX: u32 = 16;

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
    let word = prepare(&app, &mut reader, &keys, &about, job.id).await?;
    drop(reader);
    let is_at_rest = matches!(word, Word::Rest);
    let delivery = match word {
        Word::Nothing | Word::Rest => None,
        Word::Say(Prepared {
            url,
            headers,
            own,
            body,
        }) => {
            let posted = app.webhooks.post(&url, own, &headers, body).await;
            Some(posted.unwrap_or_else(|refused| Delivery {
                received: Received::Failed,
                status: None,
                why: refused.to_string(),
                retry_after: None,
            }))
        }
    };
    for _ in 0..CONFLICTS_MAX {
        match keep_outcome(&app, &job, &about, delivery.as_ref(), is_at_rest).await {
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

/// What there is to say.
enum Word {
    /// This.
    Say(Prepared),
    /// Nothing any more, or it is another job's to say.
    Nothing,
    /// Nothing while the silo is paused.
    Rest,
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
) -> Result<Word, JobError> {
    let organization = keys.organization;
    let Some(mut run) = store::find(reader, organization, about.request, about.run).await? else {
        return Ok(Word::Nothing);
    };
    if run.abandoned || run.open_profile(about.profile).is_err() {
        return Ok(Word::Nothing);
    }
    let dsr = match dsr::get(reader, keys, about.request).await {
        Ok(dsr) => dsr,
        Err(DsrError::NotFound) => return Ok(Word::Nothing),
        Err(error) => return Err(RunError::from(error).into()),
    };
    if !run.is_of(&dsr.head) || dsr.head.state.status() == DsrStatus::OnHold {
        return Ok(Word::Nothing);
    }
    let Some(silo) = silos::find_silo(reader, organization, run.silo).await? else {
        return Ok(Word::Nothing);
    };
    if silo.is_paused {
        return Ok(Word::Rest);
    }
    let planned = |profile: &Profile| profile.next_notice.as_ref().is_some_and(|planned| planned.id == job);
    let mine = |profile: &&Profile| profile.id == about.profile && planned(profile);
    let Some(profile) = run.profiles.iter().find(mine) else {
        return Ok(Word::Nothing);
    };
    let identifier = dsr
        .subject
        .identifiers
        .iter()
        .find(|identifier| identifier.id == profile.identifier);
    let (Some(url), Some(identifier)) = (silo.url.clone(), identifier) else {
        return Ok(Word::Nothing);
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
        completion_link: completion_link(app.public_url(), keys, &run, profile),
    }
    .to_json();
    let token = keys.sign_webhook(&crate::keyring::WebhookClaims {
        core_identifier: &dsr.subject.core_identifier,
        audience: &settings.organization.uri,
        // The receiver holds it against a clock of its own.
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
    Ok(Word::Say(Prepared {
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
    is_at_rest: bool,
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
    let now = app.now(organization);
    let windows = &run.windows(&app.config.webhooks.windows);
    let before = run.clone();
    let was_open = run.is_open();
    // The silo may have been resumed since: whoever resumed it saw this notice planned, and left it to us.
    let goes_on = is_at_rest && may_be_told(&mut tx, organization, run.silo).await?;
    // Whoever is only told, and asked for no answer, has done their part with that.
    let completes = run.manual_days.is_some() && is_only_told(&mut tx, organization, run.silo).await?;
    let asked = delivery.filter(|delivery| delivery.received == Received::Failed);
    let asked = asked.and_then(|delivery| delivery.retry_after);
    let Some(profile) = run.profiles.iter_mut().find(|profile| profile.id == about.profile) else {
        return done(tx, job).await.map(|()| None);
    };
    if received.is_some_and(|received| received != Received::Failed) {
        profile.asked_at.get_or_insert(now);
    }
    let is_mine = |waiting: &Waiting| waiting.id == job.id;
    match received {
        Some(Received::Accepted) if completes => profile.report(Some(Verdict::Resolved), None),
        Some(received) => profile.noticed(received, windows.tries),
        None => {}
    }
    // A report that came meanwhile may have planned another notice; then this job has no next one.
    if profile.next_notice.as_ref().is_some_and(is_mine) {
        let next = match received {
            Some(_) if was_open => profile
                .notice_at(windows, now)
                .map(|at| windows.heeding(asked, at, now)),
            None if goes_on => Some(now),
            Some(_) | None => None,
        };
        again = next.filter(|_| reason.is_some()).map(|at| Next {
            failures: profile.failed_notices,
            at,
        });
        profile.next_notice = jobs::come_back(&mut tx, job, now, next, reason).await?;
    } else {
        jobs::finish(&mut tx, job).await?;
    }
    if let Some(status) = delivery.and_then(|delivery| delivery.status) {
        run.follow(&before, now, Proof::Reply { status });
    }
    store::replace(&mut tx, organization, &before, &run);
    if was_open {
        let deed = Deed {
            organization,
            by: Actor::System,
            now,
            ids: &app.ids,
        };
        absence::record(&mut tx, &deed, &before, &run);
        let_go_on(&mut tx, &deed, &run).await.map_err(RunError::from)?;
    }
    tx.commit().await?;
    app.jobs.ring();
    Ok(again)
}

async fn may_be_told(reader: &mut Reader, organization: OrganizationId, silo: DataSiloId) -> Result<bool, StoreError> {
    let found = silos::find_silo(reader, organization, silo).await?;
    Ok(found.is_some_and(|silo| silo.may_be_told()))
}

async fn is_only_told(reader: &mut Reader, organization: OrganizationId, silo: DataSiloId) -> Result<bool, StoreError> {
    let found = silos::find_silo(reader, organization, silo).await?;
    let without_link = VendorMailCompletionLink::NoLinkMarkDatapointAsResolved;
    Ok(found.is_some_and(|silo| silo.vendor_mail.completion_link == without_link))
}
