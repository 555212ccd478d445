//! Going through requests that are over, and clearing up after those whose key is destroyed.

use std::time::Duration;

use antumbra_store::{StoreError, Tx};
use jiff::{SignedDuration, Timestamp};

use super::{ROUNDS, Round};
use crate::{
    AppState,
    audit::{Actor, Detail},
    dsr::{self, Deed, DsrError, DsrHead, DsrId},
    files::{self, Left},
    jobs::{self, Claimed, INNER_RETRIES, Job, JobError, JobKind},
    keyring, messages,
    organization::{self, Organization, OrganizationId, RetentionKind},
    preflights,
    runs::{self, Forgetting},
};

/// Removes what is left of the files of a request whose key is destroyed, and what silos said. Subject: the request.
pub static CLEAR: JobKind = inner("retention.clear");
/// As [`CLEAR`], and then the record of the request. Subject: the request.
pub static DELETE: JobKind = inner("retention.delete");

const fn inner(name: &'static str) -> JobKind {
    JobKind {
        name,
        lease: Duration::from_secs(5 * 60),
        retries: INNER_RETRIES,
        at_once: 4,
        at_once_per_target: 4,
    }
}

/// From the beginning of one round to that of the next.
const ROUND_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// Requests whose keys one transaction destroys.
const REQUESTS_AT_ONCE: usize = 20;
/// Transactions of one attempt, after which the job lets others have a turn.
const BATCHES_AT_ONCE: usize = 64;
/// Rows of each sort that one transaction removes.
const ROWS_AT_ONCE: usize = 500;

/// Begins a round for each organization that has not had one for an hour and has something to do.
pub async fn keep(app: &AppState) -> Result<(), StoreError> {
    let mut reader = app.store.begin_read().await?;
    for organization in organization::list(&mut reader).await? {
        begin_round(app, &organization).await?;
    }
    Ok(())
}

async fn begin_round(app: &AppState, organization: &Organization) -> Result<(), StoreError> {
    let now = app.now(organization.id);
    let mut tx = app.store.begin_write().await?;
    let before = tx.get(&ROUNDS, &organization.id.0).await?;
    if before.is_some_and(|round| now < round.begun_at + ROUND_EVERY) {
        return Ok(());
    }
    let Some(horizon) = horizon(organization, now) else {
        return Ok(());
    };
    if dsr::list_over(&mut tx, organization.id, horizon, None, 1)
        .await?
        .is_empty()
    {
        return Ok(());
    }
    tx.put(&ROUNDS, &organization.id.0, &Round { begun_at: now });
    jobs::enqueue(
        &mut tx,
        organization.id,
        Job::new(app.ids.uuid(), &dsr::RETAIN, []),
        now,
    );
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// What was over before this has been over for long enough; nothing where everything is kept.
fn horizon(organization: &Organization, now: Timestamp) -> Option<Timestamp> {
    let retention = organization.retention;
    match retention.kind {
        RetentionKind::Keep => None,
        RetentionKind::DeletePersonalData | RetentionKind::DeleteRequest => Some(now - retention.after.span()),
    }
}

/// Does [`dsr::RETAIN`]: batch by batch, each in a transaction of its own. The settings count as they are now. What must be kept for
/// a legal hold is passed over, until a later round finds the hold lifted.
pub async fn retain(app: AppState, job: Claimed) -> Result<(), JobError> {
    let (mut batches, mut walked_to) = (0, None);
    while batches < BATCHES_AT_ONCE {
        let now = app.now(job.organization);
        let deed = by_the_system(&app, job.organization, now);
        let mut tx = app.store.begin_write().await?;
        let settings = app.settings.get(&mut tx, job.organization).await?;
        let over = match horizon(&settings.organization, now) {
            Some(horizon) => dsr::list_over(&mut tx, job.organization, horizon, walked_to, REQUESTS_AT_ONCE).await?,
            None => Vec::new(),
        };
        let what = match settings.organization.retention.kind {
            RetentionKind::DeleteRequest => &DELETE,
            RetentionKind::Keep | RetentionKind::DeletePersonalData => &CLEAR,
        };
        let mut is_idle = true;
        for request in &over {
            walked_to = Some(request.place);
            match shred(&mut tx, &app, &deed, request.id, what).await {
                Ok(_) => is_idle = false,
                Err(DsrError::LegallyHeld) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        batches += usize::from(!is_idle);
        if over.len() < REQUESTS_AT_ONCE {
            jobs::finish(&mut tx, &job).await?;
            tx.commit().await?;
            app.jobs.ring();
            return Ok(());
        }
        tx.commit().await?;
        app.jobs.ring();
    }
    let mut tx = app.store.begin_write().await?;
    jobs::finish_until(&mut tx, &job, app.now(job.organization)).await?;
    Ok(tx.commit().await?)
}

/// Destroys the key of a request, with everything that may go in the same transaction, and has the rest cleared up by a job of
/// the kind `then`. The audit log gets what proves it: which key, when, and from when on no copy of the store brings it back.
pub(crate) async fn shred(
    tx: &mut Tx,
    app: &AppState,
    deed: &Deed<'_>,
    id: DsrId,
    then: &'static JobKind,
) -> Result<DsrHead, DsrError> {
    let before = dsr::get_head(tx, deed.organization, id).await?;
    if before.shredded_at.is_some() {
        return Ok(before);
    }
    let head = dsr::shred(tx, deed, id).await?;
    let reach = match app.config.keys.epoch.filter(|_| app.store.is_exclusive()) {
        Some(epoch) => (
            "out_of_reach_after_hours",
            Detail::Count(keyring::erasure_horizon(epoch).as_secs().div_ceil(3600)),
        ),
        None => ("out_of_reach_after", "the last copy of the store".into()),
    };
    let details = vec![("destroyed_key", "request".into()), ("key", id.0.into()), reach];
    dsr::record(tx, deed, id, "dsr.shredded", details);
    jobs::enqueue(tx, deed.organization, Job::new(deed.ids.uuid(), then, [id.0]), deed.now);
    Ok(head)
}

/// Does [`CLEAR`].
pub async fn clear(app: AppState, job: Claimed) -> Result<(), JobError> {
    clear_up(&app, &job, Forgetting::Texts).await
}

/// Does [`DELETE`].
pub async fn delete(app: AppState, job: Claimed) -> Result<(), JobError> {
    clear_up(&app, &job, Forgetting::All).await
}

async fn clear_up(app: &AppState, job: &Claimed, what: Forgetting) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let (organization, now) = (job.organization, app.now(job.organization));
    let keys = app
        .keys
        .organization(organization)
        .await
        .map_err(|error| failed(error.into()))?;
    let file_failed = |error| dsr::file_failed("removing the files of a request", error);
    loop {
        let mut tx = app.store.begin_write().await?;
        let head = match dsr::get_head(&mut tx, organization, id).await {
            // Only what was shredded is cleared up; whatever else there may be is somebody's.
            Ok(head) if head.shredded_at.is_some() => head,
            Ok(_) | Err(DsrError::NotFound) => {
                jobs::finish(&mut tx, job).await?;
                return Ok(tx.commit().await?);
            }
            Err(error) => return Err(failed(error)),
        };
        let mut is_over = files::discard_some(&mut tx, &keys, id.0, ROWS_AT_ONCE)
            .await
            .map_err(file_failed)?
            == Left::Nothing;
        is_over = is_over
            && files::forget_some(&mut tx, organization, id.0, ROWS_AT_ONCE)
                .await
                .map_err(file_failed)?
                == Left::Nothing;
        is_over = is_over && !dsr::forget_some(&mut tx, organization, id, ROWS_AT_ONCE).await?;
        is_over = is_over && !runs::forget(&mut tx, organization, id, what, ROWS_AT_ONCE).await?;
        if what == Forgetting::All {
            is_over = is_over && !messages::forget(&mut tx, organization, id).await?;
            is_over = is_over && !preflights::forget(&mut tx, organization, id, ROWS_AT_ONCE).await?;
        }
        if is_over {
            if what == Forgetting::All {
                let deed = by_the_system(app, organization, now);
                dsr::delete(&mut tx, &deed, head.id).await.map_err(failed)?;
            }
            jobs::finish(&mut tx, job).await?;
            return Ok(tx.commit().await?);
        }
        tx.commit().await?;
    }
}

fn by_the_system(app: &AppState, organization: OrganizationId, now: Timestamp) -> Deed<'_> {
    Deed {
        organization,
        by: Actor::System,
        now,
        ids: &app.ids,
    }
}

fn failed(error: DsrError) -> JobError {
    match error {
        DsrError::Store(error) => JobError::Store(error),
        error => JobError::because("removing personal data of requests that are over", error),
    }
}
