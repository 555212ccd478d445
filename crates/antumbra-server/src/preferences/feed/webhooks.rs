//! Webhooks for changes: who is told, how far each of them has got, and the job that tells them.
//!
//! A webhook reads the feed as everybody does, after the number of the last change that its receiver has accepted. While
//! there is something to tell it has one job, which the sequencer enqueues with the numbers and which ends when the receiver
//! has all there is. What was sent and not accepted is sent again under the same id, with the same changes; so each change
//! arrives at least once, and in order. When it is sent again follows the settings of all webhooks. A receiver is never
//! given up: what it does not come for in time expires with the feed, and then it is told that there is a gap.

use std::time::Duration;

use antumbra_crypto::{Key32, value, webhook};
use antumbra_store::{Corrupt, Key, Reader, Record, Scan, StoreError, Table, Tx};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    Place,
    page::{Desk, Page},
    store,
};
use crate::{
    AppState,
    http::Code,
    jobs::{self, Claimed, Failure, INNER_RETRIES, Job, JobError, JobKind},
    keyring::{KeyKind, KeyringError, OrganizationKeys, destroy_key},
    organization::OrganizationId,
    purposes::PartitionId,
    runs::NotAccepted,
    world::Ids,
};

/// Sends the next changes to one webhook. Subjects: webhook, partition. Target: the webhook.
///
/// What the receiver does wrong is no failure of the job: it comes back on a schedule of its own.
pub static TELL_OF_CHANGES: JobKind = JobKind {
    name: "preferences.tell_of_changes",
    lease: Duration::from_secs(90),
    retries: INNER_RETRIES,
    at_once: 64,
    at_once_per_target: 1,
};

/// The longest that a receiver may put us off in one go.
const PUT_OFF_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Changes in one message.
const CHANGES_MAX: u64 = 100;

/// Tries at the transaction that keeps what came of a message, which is not sent again for a conflict.
const CONFLICTS_MAX: u32 = 16;

/// Webhooks of one organization.
pub(super) const WEBHOOKS_MAX: usize = 100;

/// Webhooks by their ids.
const WEBHOOKS: Table<(OrganizationId, WebhookId), Webhook> = Table::new("preference_webhooks");

/// How far those of each partition have got.
const PROGRESS: Table<(OrganizationId, PartitionId, WebhookId), Progress> = Table::new("preference_webhook_progress");

/// Names of these tables.
pub(super) const TABLES: [&str; 2] = [WEBHOOKS.name(), PROGRESS.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<Webhook>,
    crate::fuzz::same_when_written_again::<Progress>,
];

/// The id of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct WebhookId(pub(super) Uuid);

impl Key for WebhookId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(WebhookId)
    }
}

/// A receiver of changes. Its address may hold secrets and is sealed; the secret it checks signatures with is derived from
/// its key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Webhook {
    pub(super) id: WebhookId,
    pub(super) partition: PartitionId,
    sealed_url: Vec<u8>,
    pub(super) created_at: Timestamp,
}

impl Record for Webhook {
    const VERSION: u8 = 1;
}

/// How far a webhook has got.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The number of the last change that was accepted.
    after: u64,
    /// The number of the last change of a message that was not: it is sent again with the same changes.
    again_to: Option<u64>,
    /// How often in a row it was not.
    pub(super) failures: u32,
    /// Whether a job is at work on it.
    at_work: bool,
}

impl Record for Progress {
    const VERSION: u8 = 1;
}

/// A webhook with its address, and its secret as receivers are given it.
pub(super) struct Opened {
    pub(super) url: String,
    key: Key32,
}

impl Opened {
    pub(super) fn secret(&self) -> Zeroizing<String> {
        webhook::secret_text(&self.key)
    }
}

/// Makes a webhook that is told of what changes from now on.
pub(super) async fn create(
    tx: &mut Tx,
    ids: &Ids,
    keys: &OrganizationKeys,
    partition: PartitionId,
    url: &str,
    now: Timestamp,
) -> Result<Webhook, KeyringError> {
    let id = WebhookId(ids.uuid());
    let key = keys.create_key(tx, KeyKind::Silo, id.0).await?;
    let webhook = Webhook {
        id,
        partition,
        sealed_url: value::seal(&key, &URL, url.as_bytes()),
        created_at: now,
    };
    let progress = Progress {
        after: store::find_head(tx, (keys.organization, partition)).await?,
        again_to: None,
        failures: 0,
        at_work: false,
    };
    tx.put(&WEBHOOKS, &(keys.organization, id), &webhook);
    tx.put(&PROGRESS, &(keys.organization, partition, id), &progress);
    Ok(webhook)
}

const URL: [&[u8]; 1] = [b"change webhook url"];

/// The webhooks of an organization, the oldest first.
pub(super) async fn list(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<Webhook>, StoreError> {
    let rows = reader.scan(&WEBHOOKS, Scan::prefix(&(organization,))).await?;
    Ok(rows.into_iter().map(|(_, webhook)| webhook).collect())
}

/// How far a webhook has got.
pub(super) async fn find_progress(
    reader: &mut Reader,
    organization: OrganizationId,
    webhook: &Webhook,
) -> Result<Option<Progress>, StoreError> {
    reader
        .get(&PROGRESS, &(organization, webhook.partition, webhook.id))
        .await
}

/// The address and the secret of a webhook.
pub(super) async fn open(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    webhook: &Webhook,
) -> Result<Opened, KeyringError> {
    let key = keys.find_key(reader, KeyKind::Silo, webhook.id.0).await?;
    let refused = || KeyringError::Sealed {
        what: "address of a webhook for changes",
        source: antumbra_crypto::OpenFailed::Refused,
    };
    let key = key.ok_or_else(refused)?;
    let url = value::open(&key, &URL, &webhook.sealed_url).map_err(|_| refused())?;
    Ok(Opened {
        url: String::from_utf8(url.to_vec()).map_err(|_| refused())?,
        key: key.derive("change webhook secret"),
    })
}

/// Forgets a webhook. `false` if there is none.
pub(super) async fn delete(tx: &mut Tx, organization: OrganizationId, id: WebhookId) -> Result<bool, StoreError> {
    let Some(webhook) = tx.get(&WEBHOOKS, &(organization, id)).await? else {
        return Ok(false);
    };
    tx.delete(&WEBHOOKS, &(organization, id));
    tx.delete(&PROGRESS, &(organization, webhook.partition, id));
    destroy_key(tx, organization, KeyKind::Silo, id.0);
    Ok(true)
}

/// Sees to it that each webhook of `place` has a job, if and only if `tx` commits. How many got one.
pub(super) async fn wake(tx: &mut Tx, ids: &Ids, place: Place, now: Timestamp) -> Result<usize, StoreError> {
    let rows = tx.scan(&PROGRESS, Scan::prefix(&place)).await?;
    let idle = rows.into_iter().filter(|(_, progress)| !progress.at_work);
    let mut woken = 0;
    for (key, progress) in idle {
        let (organization, partition, id) = key;
        let job = Job::new(ids.uuid(), &TELL_OF_CHANGES, [id.0, partition.0]).waiting_for(id.0);
        jobs::enqueue(tx, organization, job, now);
        tx.put(
            &PROGRESS,
            &key,
            &Progress {
                at_work: true,
                ..progress
            },
        );
        woken += 1;
    }
    Ok(woken)
}

/// Does [`TELL_OF_CHANGES`]. No transaction is open while the receiver has the word.
pub async fn tell_of_changes(app: AppState, job: Claimed) -> Result<(), JobError> {
    let (id, partition) = (WebhookId(job.subject(0)?), PartitionId(job.subject(1)?));
    let key = (job.organization, partition, id);
    let keys = app.keys.organization(job.organization).await.map_err(failed)?;
    let mut reader = app.store.begin_read().await?;
    let webhook = reader.get(&WEBHOOKS, &(job.organization, id)).await?;
    let progress = reader.get(&PROGRESS, &key).await?;
    let (Some(webhook), Some(progress)) = (webhook, progress) else {
        let mut tx = app.store.begin_write().await?;
        jobs::finish(&mut tx, &job).await?;
        return Ok(tx.commit().await?);
    };
    let opened = open(&mut reader, &keys, &webhook).await.map_err(failed)?;
    let catalog = app.catalogs.current(&mut reader, job.organization).await?;
    let desk = Desk {
        organization: job.organization,
        partition,
        partition_key: catalog.partition_key(partition).unwrap_or_default().to_owned(),
        keys,
        app: app.clone(),
    };
    let wanted = progress
        .again_to
        .map_or(CHANGES_MAX, |to| to.saturating_sub(progress.after));
    let limit = usize::try_from(wanted).unwrap_or(usize::MAX);
    let (message, told) = match desk.read(progress.after, limit).await {
        Ok(page) if page.lines.is_empty() => {
            drop(reader);
            return rest(&app, &job, key, progress.after).await;
        }
        Ok(page) => (
            Message::of_changes(&app, id, progress.after, &page),
            Told {
                last: page.last,
                again_to: Some(page.last),
            },
        ),
        Err(problem) if problem.code() == Code::CursorExpired => {
            let start = store::find_start(&mut reader, key_place(key)).await?;
            tracing::warn!(webhook = %id.0, "changes have expired before a receiver came to accept them; it is told so");
            let told = Told {
                last: start,
                again_to: None,
            };
            (Message::of_gap(&desk, id, progress.after, start), told)
        }
        Err(problem) => return Err(failed(problem)),
    };
    drop(reader);
    let sent = message.send(&app, &opened).await;
    keep_outcome(&app, &job, key, told, sent).await
}

/// How far a message leads.
#[derive(Clone, Copy)]
struct Told {
    /// The number of the last change that its receiver has dealt with once it accepts it.
    last: u64,
    /// The last of the changes in it, if it has to be sent again as long.
    again_to: Option<u64>,
}

fn key_place((organization, partition, _): (OrganizationId, PartitionId, WebhookId)) -> Place {
    (organization, partition)
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> JobError {
    JobError::because("telling a receiver of changes", error)
}

/// Ends the job of a webhook that has all there is. A conflict if there is more by now: then the job begins anew.
async fn rest(
    app: &AppState,
    job: &Claimed,
    key: (OrganizationId, PartitionId, WebhookId),
    after: u64,
) -> Result<(), JobError> {
    let mut tx = app.store.begin_write().await?;
    // Whoever gives out numbers finds the webhook at work, or has been seen here.
    if store::find_head(&mut tx, key_place(key)).await? != after {
        return Err(StoreError::Conflict.into());
    }
    if tx.get(&PROGRESS, &key).await?.is_some() {
        let rested = Progress {
            after,
            again_to: None,
            failures: 0,
            at_work: false,
        };
        tx.put(&PROGRESS, &key, &rested);
    }
    jobs::finish(&mut tx, job).await?;
    Ok(tx.commit().await?)
}

/// A message to a receiver.
struct Message {
    id: String,
    seconds: i64,
    body: Bytes,
}

impl Message {
    /// Changes, in order. The same changes make a message of the same id. What was chosen stays as it was; who somebody is, and
    /// whether they were erased, is read anew each time.
    fn of_changes(app: &AppState, webhook: WebhookId, after: u64, page: &Page) -> Message {
        let (first, last) = (after + 1, page.last);
        let mut body = br#"{"type":"preferences.changed","data":{"changes":["#.to_vec();
        for (place, line) in page.lines.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&line.json);
        }
        body.extend_from_slice(b"]}}");
        Message {
            id: format!("chg_{}_{first}_{last}", webhook.0.simple()),
            seconds: app.clock.now().as_second(),
            body: Bytes::from(body),
        }
    }

    /// That the changes after one number, up to another, have expired.
    fn of_gap(desk: &Desk, webhook: WebhookId, after: u64, last: u64) -> Message {
        let (first, expired) = (after + 1, last.saturating_sub(after));
        let data = json!({ "partition": desk.partition_key, "expired": expired, "cursor": desk.cursor(last) });
        let body = json!({ "type": "preferences.gap", "data": data });
        Message {
            id: format!("gap_{}_{first}_{last}", webhook.0.simple()),
            seconds: desk.app.clock.now().as_second(),
            body: Bytes::from(body.to_string()),
        }
    }

    async fn send(self, app: &AppState, to: &Opened) -> Result<(), NotAccepted> {
        let signature = webhook::sign(&to.key, &self.id, self.seconds, &self.body);
        let ascii = |text: &str| HeaderValue::from_str(text).expect("ids, times and signatures are plain text");
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("webhook-id"), ascii(&self.id)),
            (
                HeaderName::from_static("webhook-timestamp"),
                HeaderValue::from(self.seconds),
            ),
            (HeaderName::from_static("webhook-signature"), ascii(&signature)),
        ]);
        app.webhooks.send(&to.url, headers, self.body).await
    }
}

/// Keeps what came of a message, and when the next is due.
async fn keep_outcome(
    app: &AppState,
    job: &Claimed,
    key: (OrganizationId, PartitionId, WebhookId),
    told: Told,
    sent: Result<(), NotAccepted>,
) -> Result<(), JobError> {
    for _ in 0..CONFLICTS_MAX {
        let mut tx = app.store.begin_write().await?;
        let kept = keep(app, &mut tx, job, key, told, &sent).await;
        match kept {
            Ok(()) => {}
            Err(JobError::Store(StoreError::Conflict)) => continue,
            Err(error) => return Err(error),
        }
        match tx.commit().await {
            Err(StoreError::Conflict) => {}
            committed => {
                committed?;
                app.jobs.ring();
                return tell(key.2, sent);
            }
        }
    }
    Err(JobError::Failed(
        "what came of a message to a receiver of changes could not be kept",
    ))
}

async fn keep(
    app: &AppState,
    tx: &mut Tx,
    job: &Claimed,
    key: (OrganizationId, PartitionId, WebhookId),
    told: Told,
    sent: &Result<(), NotAccepted>,
) -> Result<(), JobError> {
    let now = app.now(job.organization);
    let Some(progress) = tx.get(&PROGRESS, &key).await? else {
        // It was deleted while its receiver had the word.
        return jobs::finish(tx, job).await;
    };
    let next = match sent {
        Ok(()) => {
            jobs::finish_until(tx, job, now).await?;
            Progress {
                after: told.last,
                again_to: None,
                failures: 0,
                ..progress
            }
        }
        Err(NotAccepted { why, retry_after }) => {
            let failures = progress.failures.saturating_add(1);
            let windows = &app.config.webhooks.windows;
            let wait = if failures < windows.tries {
                windows.try_again
            } else {
                windows.error
            };
            let asked_for = retry_after.and_then(|asked| asked.time(now, PUT_OFF_MAX));
            let failure = Failure {
                at: now,
                reason: why,
                next_try_at: asked_for.unwrap_or(now + wait),
            };
            jobs::fail_until(tx, job, &failure).await?;
            Progress {
                again_to: told.again_to,
                failures,
                ..progress
            }
        }
    };
    tx.put(&PROGRESS, &key, &next);
    Ok(())
}

/// Says in the log what came of a message, and to the runner whether it failed.
fn tell(webhook: WebhookId, sent: Result<(), NotAccepted>) -> Result<(), JobError> {
    match sent {
        Ok(()) => Ok(()),
        Err(NotAccepted { why, .. }) => {
            tracing::warn!(webhook = %webhook.0, why, "a receiver did not accept changes of preferences; it is told again");
            Err(JobError::InVain)
        }
    }
}
