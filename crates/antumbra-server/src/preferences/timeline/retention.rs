//! Retention: history that is older than it has to be kept is folded into what it came to.
//!
//! With `preferences.history_days`, what we learned longer ago than that (and a day, by which an event may be ahead of when we
//! learn of it) is replaced, record by record, by one row that holds what it came to. What is stored now stays as it is, and so
//! does every answer about times within what is kept; a question about an earlier time is refused where a record would not be
//! told whole. A record of which no more than one old row is left stays as it is: there is nothing to fold.
//!
//! Once a day a job goes through the history of each organization, a bounded number of rows in a transaction, and notes how far
//! it has come in the same transaction. Without the setting nothing is ever folded, and what was stays so.

use std::time::Duration;

use antumbra_store::StoreError;

use super::super::{
    moment::Moment,
    store::{self, Progress, Site},
};
use crate::{
    AppState,
    jobs::{self, Claimed, INNER_RETRIES, Job, JobError, JobKind},
    keyring::KeyringError,
    organization::{self, OrganizationId},
};

/// Folds the old history of an organization. Names no subject: the job's organization is all it needs.
pub const FOLD_HISTORY: JobKind = JobKind {
    name: "preferences.fold_history",
    lease: Duration::from_secs(5 * 60),
    retries: INNER_RETRIES,
    at_once: 1,
    at_once_per_target: 1,
};

/// From the beginning of one round to that of the next.
const ROUND_EVERY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// How far ahead of our clock the time of an event may lie, when we learn of it.
const AHEAD_MAX_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// Transactions of one attempt, after which the job lets others have a turn.
const BATCHES_AT_ONCE: usize = 64;

/// Has the history of each organization gone through that was not for a day. Does nothing without the setting.
pub async fn keep_history(app: &AppState) -> Result<(), StoreError> {
    if app.config.preferences.history.is_none() {
        return Ok(());
    }
    let now = Moment::from(app.clock.now());
    let mut reader = app.store.begin_read().await?;
    for organization in organization::list(&mut reader).await? {
        if is_due(store::find_round(&mut reader, organization.id).await?, now) {
            begin_round(app, organization.id, now).await?;
        }
    }
    Ok(())
}

fn is_due(round: Option<store::Round>, now: Moment) -> bool {
    round.is_none_or(|round| round.is_over && round.begun_at_ms.saturating_add(ROUND_EVERY_MILLIS) <= now.0)
}

async fn begin_round(app: &AppState, organization: OrganizationId, now: Moment) -> Result<(), StoreError> {
    let mut tx = app.store.begin_write().await?;
    // Another process may have been quicker.
    if !is_due(store::find_round(&mut tx, organization).await?, now) {
        return Ok(());
    }
    store::put_round(&mut tx, organization, &store::Round::beginning(now));
    jobs::enqueue(
        &mut tx,
        organization,
        Job::new(app.ids.uuid(), &FOLD_HISTORY, []),
        app.now(organization),
    );
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// `FOLD_HISTORY`: batch by batch, each in a transaction of its own.
pub async fn fold_history(app: AppState, job: Claimed) -> Result<(), JobError> {
    let failed = |error| match error {
        KeyringError::Store(error) => JobError::Store(error),
        error => JobError::because("folding history", error),
    };
    let keys = app.keys.organization(job.organization).await.map_err(failed)?;
    let mut reader = app.store.begin_read().await?;
    let settings = app.settings.get(&mut reader, job.organization).await?;
    let catalog = app.catalogs.current(&mut reader, job.organization).await?;
    drop(reader);
    let now = Moment::from(app.clock.now());
    let site = Site {
        organization: job.organization,
        keys: &keys,
        settings: &settings,
        catalog: &catalog,
        ids: &app.ids,
        now,
    };
    // Who took the setting away meanwhile has the round end here.
    let kept = app
        .config
        .preferences
        .history
        .map(|kept| i64::try_from(kept.as_millis()).unwrap_or(i64::MAX));
    let horizon = kept.map(|kept| Moment(now.0.saturating_sub(kept)));
    for _ in 0..BATCHES_AT_ONCE {
        let mut tx = app.store.begin_write().await?;
        let progress = match horizon {
            Some(horizon) => {
                let until = Moment(horizon.0.saturating_sub(AHEAD_MAX_MILLIS));
                store::fold_batch(&mut tx, &site, until, horizon)
                    .await
                    .map_err(failed)?
            }
            None => store::end_round(&mut tx, job.organization).await?,
        };
        if progress == Progress::All {
            jobs::finish(&mut tx, &job).await?;
            return Ok(tx.commit().await?);
        }
        tx.commit().await?;
    }
    let mut tx = app.store.begin_write().await?;
    jobs::finish_until(&mut tx, &job, app.now(job.organization)).await?;
    Ok(tx.commit().await?)
}
