//! The job that sends a message. It reads how the message stands and does what is still missing; a crash after the mail
//! server took the message and before that is kept has it sent once more, with the same id.

use std::time::Duration;

use antumbra_store::{Reader, StoreError};
use jiff::Timestamp;

use super::{
    MessageError,
    mail::Mail,
    model::{MessageHead, MessageId, MessageStatus, Next, Outcome},
    smtp::Admission,
    store,
};
use crate::{
    AppState,
    audit::{self, Actor, AuditEntry},
    jobs::{self, Claimed, Failure, INNER_RETRIES, JobError, JobKind},
    keyring::KeyKind,
};

/// Sends a message. Subject: the message. What the mail server does wrong has a schedule of its own; that of the kind is for
/// what fails within.
pub static SEND: JobKind = JobKind {
    name: "messages.send",
    lease: Duration::from_secs(200),
    retries: INNER_RETRIES,
    at_once: 16,
    at_once_per_target: 16,
};

/// Others may be changing the message at the same moment; few do so often.
const CONFLICTS_MAX: usize = 8;

/// Does [`SEND`]. A message that the last attempt could not send has failed, and is listed with those.
pub async fn send(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = MessageId(job.subject(0)?);
    match attempt(&app, &job, id).await {
        Err(error) if job.is_last_attempt(&SEND) && error.is_within() => {
            let why = crate::http::chain(&error);
            tracing::error!(message.id = %id, why, "a message could not be sent within the server");
            let outcome = Outcome::Refused("it could not be sent within the server".to_owned());
            keep_outcome(&app, &job, id, Some(outcome)).await.map(drop)
        }
        done => done,
    }
}

/// No transaction is open while the mail server has the word.
async fn attempt(app: &AppState, job: &Claimed, id: MessageId) -> Result<(), JobError> {
    let mut reader = app.store.begin_read().await?;
    let prepared = prepare(app, &mut reader, job, id).await?;
    let now = app.clock.now();
    drop(reader);
    let outcome = match prepared {
        Prepared::Nothing => None,
        Prepared::Known(outcome) => Some(outcome),
        Prepared::Ready(ready) => match app.mailer.admit(now) {
            Admission::NoServer => Some(Outcome::NoServer),
            // The mail server lives by the machine's time, the job by its organization's.
            Admission::Later(at) => {
                let at = app.now(job.organization) + at.duration_since(now);
                return wait(app, job, at).await;
            }
            Admission::Now(turn) => {
                let (head, mail) = *ready;
                Some(turn.send(head.id, head.created_at, &mail).await)
            }
        },
    };
    for _ in 0..CONFLICTS_MAX {
        match keep_outcome(app, job, id, outcome.clone()).await {
            Err(JobError::Store(StoreError::Conflict)) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
            Ok(Told::Nothing) => return Ok(()),
            Ok(Told::PutOff) => return Err(JobError::InVain),
        }
    }
    Err(JobError::Failed(
        "what came of a message could not be kept, others changed it all the time",
    ))
}

/// What is known before anybody is called.
enum Prepared {
    /// There is nothing to send any more.
    Nothing,
    /// It cannot be sent.
    Known(Outcome),
    /// It is to be sent.
    Ready(Box<(MessageHead, Mail)>),
}

async fn prepare(app: &AppState, reader: &mut Reader, job: &Claimed, id: MessageId) -> Result<Prepared, MessageError> {
    let organization = job.organization;
    let head = store::find(reader, organization, id).await?;
    let Some(head) = head.filter(|head| head.status == MessageStatus::Queued) else {
        return Ok(Prepared::Nothing);
    };
    let keys = app.keys.organization(organization).await?;
    let key = keys.find_key(reader, KeyKind::Request, head.request.0).await?;
    let mail = match key {
        Some(key) => store::open(reader, organization, id, &key).await?,
        None => None,
    };
    Ok(match mail {
        Some(mail) => Prepared::Ready(Box::new((head, mail))),
        None => Prepared::Known(Outcome::Refused("what it said has been erased".to_owned())),
    })
}

/// It is not this message's turn: nothing has failed.
async fn wait(app: &AppState, job: &Claimed, at: Timestamp) -> Result<(), JobError> {
    let mut tx = app.store.begin_write().await?;
    jobs::finish_until(&mut tx, job, at).await?;
    tx.commit().await?;
    Ok(())
}

enum Told {
    Nothing,
    PutOff,
}

/// Keeps what came of the attempt and plans the next; `None`: there was nothing to send.
async fn keep_outcome(
    app: &AppState,
    job: &Claimed,
    id: MessageId,
    outcome: Option<Outcome>,
) -> Result<Told, JobError> {
    let (organization, now) = (job.organization, app.now(job.organization));
    let mut tx = app.store.begin_write().await?;
    let before = store::find(&mut tx, organization, id).await?;
    let (Some(before), Some(outcome)) = (before, outcome) else {
        jobs::finish(&mut tx, job).await?;
        tx.commit().await?;
        return Ok(Told::Nothing);
    };
    let mut after = before.clone();
    let next = after.tried(outcome, now);
    store::replace(&mut tx, organization, &before, &after);
    let told = match next {
        Next::Nothing => {
            jobs::finish(&mut tx, job).await?;
            Told::Nothing
        }
        Next::TryAgain(wait) => {
            let failure = Failure {
                at: now,
                reason: after.reason.as_deref().unwrap_or_default(),
                next_try_at: now + jittered(app, wait),
            };
            jobs::fail_until(&mut tx, job, &failure).await?;
            Told::PutOff
        }
    };
    if after.status != before.status {
        let entry = AuditEntry {
            actor: Actor::System,
            action: match after.status {
                MessageStatus::Sent => "message.sent",
                MessageStatus::Queued => "message.queued",
                MessageStatus::Failed | MessageStatus::NotSent | MessageStatus::Suppressed => "message.failed",
            },
            object: ("message", id.0),
            at: now,
            details: vec![("kind", after.kind.as_str().into())],
        };
        audit::record(&mut tx, &app.ids, organization, entry);
    }
    tx.commit().await?;
    tell(&after, &told);
    Ok(told)
}

/// `span` give or take a tenth, so that what was put off together does not come back together.
fn jittered(app: &AppState, span: Duration) -> Duration {
    let tenth = span / 10;
    span - tenth + tenth * 2 * app.ids.below(1024) / 1024
}

/// Says in the log what came of an attempt.
fn tell(head: &MessageHead, told: &Told) {
    let (id, request, kind) = (head.id, head.request, head.kind.as_str());
    let why = head.reason.as_deref();
    let outcome = match (head.status, told) {
        (MessageStatus::Sent, _) => {
            tracing::info!(message.id = %id, dsr.id = %request, kind, copies_refused = head.copies_refused, "a message was sent");
            "sent"
        }
        (_, Told::PutOff) => {
            tracing::warn!(message.id = %id, dsr.id = %request, kind, why, failures = head.failures, "a message could not be sent and is tried again");
            "put_off"
        }
        (MessageStatus::Failed, Told::Nothing) => {
            tracing::error!(message.id = %id, dsr.id = %request, kind, why, "a message could not be sent; `retryMessages` has it tried again");
            "failed"
        }
        (MessageStatus::NotSent, Told::Nothing) => {
            tracing::warn!(message.id = %id, dsr.id = %request, kind, "a message was not sent: no mail server is configured ([mail])");
            "not_sent"
        }
        (MessageStatus::Queued | MessageStatus::Suppressed, Told::Nothing) => "taken_back",
    };
    metrics::counter!("antumbra_messages_total", "kind" => kind, "outcome" => outcome).increment(1);
}
