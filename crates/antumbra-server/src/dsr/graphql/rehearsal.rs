//! Rehearsing with the management API: an organization of test requests whose time is moved forward.
//!
//! Time is moved from one thing to do to the next, and only while nothing is being done: so everything happens on its day,
//! in its order, by the same code as always. What comes from outside (a silo that answers later) does not come faster.

use antumbra_store::{StoreError, Tx};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use jiff::{SignedDuration, Timestamp};

use super::super::{jobs::RETAIN, store};
use crate::{
    graphql::{Date, Refusal, Session},
    jobs::{self, Job},
    organization::{Changes, Retention, RetentionKind},
};

/// Requests that are looked at before an organization may rehearse; one that has more is no new one.
const REQUESTS_MAX: usize = 10_000;

/// What people do to the time of an organization that rehearses.
#[derive(Default)]
pub(crate) struct RehearsalMutations;

#[Object]
impl RehearsalMutations {
    /// Makes the organization one that rehearses, for good: every request of it is a test, and its time can be moved
    /// forward. Refused once it holds a request that is not a test.
    async fn begin_rehearsal(&self, context: &Context<'_>) -> Result<AdvancedClock, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        let mut tx = session.write().await;
        if !settings.organization.rehearses {
            if store::holds_real_ones(&mut tx, session.organization(), REQUESTS_MAX).await? {
                return Err(Refusal::client(
                    "the organization holds requests that are not tests; rehearse in an organization of its own",
                ));
            }
            changes(session, &mut tx).begin_rehearsal(&settings.organization);
            session.run_ahead_after_commit(session.app.clock.ahead_for(session.organization()));
        }
        Ok(AdvancedClock {
            now: Date(session.now),
            moved: false,
            arrived: true,
        })
    }

    /// Moves the time of an organization that rehearses to the next thing that is to be done, or to `until` if nothing is
    /// before that. Moves nothing while anything is still being done. Ask again until `arrived`.
    async fn advance_clock(&self, context: &Context<'_>, input: AdvanceClockInput) -> Result<AdvancedClock, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        if !settings.organization.rehearses {
            return Err(Refusal::client(
                "the organization does not rehearse; `beginRehearsal` makes it one that does, while it holds test requests only",
            ));
        }
        let (now, until) = (session.now, input.until.0);
        let mut tx = session.write().await;
        let outlook = jobs::outlook(&mut tx, session.organization(), now).await?;
        if outlook.is_busy {
            return Ok(AdvancedClock {
                now: Date(now),
                moved: false,
                arrived: false,
            });
        }
        let forgets_at = forgets_at(session, &mut tx, settings.organization.retention, until).await?;
        if forgets_at.is_some_and(|at| at <= now) {
            let job = Job::new(session.app.ids.uuid(), &RETAIN, []);
            jobs::enqueue(&mut tx, session.organization(), job, now);
            changes(session, &mut tx).note_retained().await?;
            return Ok(AdvancedClock {
                now: Date(now),
                moved: false,
                arrived: false,
            });
        }
        let next_due_at = [outlook.next_due_at, forgets_at].into_iter().flatten().min();
        let to = next_due_at.map_or(until, |next| next.min(until)).max(now);
        let by = std::time::Duration::try_from(to.duration_since(now)).unwrap_or_default();
        if !by.is_zero() {
            let ahead = changes(session, &mut tx).run_ahead(by).await?;
            let ahead = ahead.ok_or_else(|| Refusal::client("time cannot be moved more than ten years ahead"))?;
            session.run_ahead_after_commit(ahead);
        }
        Ok(AdvancedClock {
            now: Date(to),
            moved: !by.is_zero(),
            arrived: to >= until && next_due_at.is_none_or(|next| next > to),
        })
    }
}

/// When retention has something to do that has not been begun, up to `until`. The server itself begins a round now and then,
/// which is not often enough for time that leaps.
async fn forgets_at(
    session: &Session,
    tx: &mut Tx,
    retention: Retention,
    until: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let kept_for = match retention.kind {
        RetentionKind::Keep => return Ok(None),
        RetentionKind::DeletePersonalData | RetentionKind::DeleteRequest => retention.after.span(),
    };
    let begun = changes(session, tx).retained_until().await?.map(|at| at - kept_for);
    let over = store::next_over(tx, session.organization(), begun, until - kept_for).await?;
    Ok(over.map(|over_since| over_since + kept_for + SignedDuration::from_millis(1)))
}

fn changes<'a>(session: &'a Session, tx: &'a mut Tx) -> Changes<'a> {
    Changes {
        tx,
        ids: &session.app.ids,
        organization: session.organization(),
        actor: session.actor(),
        at: session.now,
    }
}

/// How far time is to be moved.
#[derive(InputObject)]
struct AdvanceClockInput {
    /// No further than this.
    until: Date,
}

/// Where the time of the organization stands.
#[derive(SimpleObject)]
struct AdvancedClock {
    /// What time it is now.
    now: Date,
    /// Whether it was moved.
    moved: bool,
    /// Nothing is left to be done before the time that was asked for, and it is that time or later.
    arrived: bool,
}
