//! Noting deadlines: one job for each open request writes down that its deadline is near, and that it has passed.
//!
//! The job keeps no date of its own. Whenever it runs it reads how the request stands, notes what has come, and waits for
//! what comes next; so a deadline that has moved on is found by the job that waits for the old one.

use std::time::Duration;

use antumbra_store::Tx;
use jiff::{SignedDuration, Timestamp};

use super::{
    super::{Deed, DsrHead, DsrId, DsrState, change::record, store},
    Noted,
};
use crate::{
    AppState,
    audit::{Actor, Detail},
    jobs::{self, Claimed, INNER_RETRIES, Job, JobError, JobKind},
};

/// Notes that a deadline is near or has passed. Subject: the request.
pub static NOTE_DEADLINE: JobKind = JobKind {
    name: "dsr.note_deadline",
    lease: Duration::from_secs(60),
    retries: INNER_RETRIES,
    at_once: 16,
    at_once_per_target: 16,
};

/// Has the deadline of a request noted when it comes, looking at it from `at` on.
pub(in crate::dsr) fn watch(tx: &mut Tx, deed: &Deed<'_>, id: DsrId, at: Timestamp) {
    let job = Job::new(deed.ids.uuid(), &NOTE_DEADLINE, [id.0]);
    jobs::enqueue(tx, deed.organization, job, at);
}

/// What a change of state means for the deadline: once nothing is verified any more, the days of it are known; and a
/// request that is taken up again after its end is watched again.
pub(in crate::dsr) fn follow(tx: &mut Tx, deed: &Deed<'_>, before: &DsrHead, after: DsrHead) -> DsrHead {
    let is_verifying = after
        .deadline
        .as_ref()
        .is_some_and(|known| known.verifying_since.is_some());
    let is_over = is_verifying && !is_before_silos(&after.state);
    let is_reopened = !before.state.is_open() && after.state.is_open();
    if !is_over && !is_reopened {
        return after;
    }
    let mut deadline = after.deadline();
    if is_reopened {
        deadline.noted = Noted::Nothing;
        watch(tx, deed, after.id, deed.now);
    }
    if is_over {
        deadline.verification_ends(deed.now);
    }
    let after = after.due_by(deadline);
    let days = after.due_at.duration_since(before.due_at).as_hours() / 24;
    if days > 0 {
        let details = vec![
            ("days", Detail::Count(u64::try_from(days).unwrap_or(0))),
            ("because_of", "verification".into()),
        ];
        record(tx, deed, after.id, "dsr.deadline_moved", details);
    }
    after
}

/// Whether identities may still be under verification.
fn is_before_silos(state: &DsrState) -> bool {
    match state {
        DsrState::RequestMade | DsrState::Enriching => true,
        DsrState::OnHold { held } => is_before_silos(held),
        DsrState::Waiting { .. }
        | DsrState::Compiling
        | DsrState::Approving { .. }
        | DsrState::Delayed { .. }
        | DsrState::Secondary
        | DsrState::SecondaryApproving
        | DsrState::SecondaryCompleted { .. }
        | DsrState::Downloadable { .. }
        | DsrState::ViewCategories { .. }
        | DsrState::Completed { .. }
        | DsrState::Canceled { .. }
        | DsrState::Revoked { .. }
        | DsrState::FailedVerification { .. } => false,
    }
}

/// When the deadline is near.
pub(in crate::dsr) fn near_at(head: &DsrHead, near: Duration) -> Timestamp {
    head.due_at - SignedDuration::try_from(near).unwrap_or(SignedDuration::ZERO)
}

/// When it has passed.
fn passed_at(head: &DsrHead) -> Timestamp {
    head.due_at + SignedDuration::from_millis(1)
}

/// Does [`NOTE_DEADLINE`].
pub async fn note_deadline(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let mut tx = app.store.begin_write().await?;
    let deed = Deed {
        organization: job.organization,
        by: Actor::System,
        now: app.now(job.organization),
        ids: &app.ids,
    };
    let head = store::find_head(&mut tx, job.organization, id).await?;
    let Some(before) = head.filter(|head| head.state.is_open()) else {
        jobs::finish(&mut tx, &job).await?;
        return Ok(tx.commit().await?);
    };
    let near = app.config.dsr.deadline_near;
    let mut deadline = before.deadline();
    let comes = match () {
        () if deed.now >= passed_at(&before) => Noted::Passed,
        () if deed.now >= near_at(&before, near) => Noted::Near,
        () => Noted::Nothing,
    };
    if comes > deadline.noted {
        deadline.noted = comes;
        let after = DsrHead {
            deadline: Some(deadline),
            ..before.clone()
        };
        store::replace(&mut tx, job.organization, &before, &after);
        note(&mut tx, &deed, &before, comes);
    }
    match comes {
        Noted::Passed => jobs::finish(&mut tx, &job).await?,
        Noted::Near => drop(jobs::finish_until(&mut tx, &job, passed_at(&before)).await?),
        Noted::Nothing => drop(jobs::finish_until(&mut tx, &job, near_at(&before, near)).await?),
    }
    Ok(tx.commit().await?)
}

fn note(tx: &mut Tx, deed: &Deed<'_>, head: &DsrHead, what: Noted) {
    let status = ("status", head.state.status().as_str().into());
    let days = head.days_until_overdue(deed.now);
    match what {
        Noted::Near => {
            let days = ("days", Detail::Count(u64::try_from(days).unwrap_or(0)));
            record(tx, deed, head.id, "dsr.deadline_near", vec![status, days]);
        }
        Noted::Passed => {
            record(tx, deed, head.id, "dsr.overdue", vec![status]);
            tracing::warn!(dsr.id = %head.id, "the time to answer a request is over, and it is still open");
        }
        Noted::Nothing => {}
    }
}
