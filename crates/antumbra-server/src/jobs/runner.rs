//! The runner: the only place that spawns background work.
//!
//! One task owns the loop and all counts, so nothing here is locked. It claims in batches and keeps within each kind's
//! bounds ([`room`]). What a look at the queues does stands in [`look`].

mod look;
mod room;

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use antumbra_store::{Store, StoreError};
use tokio::{
    task::{self, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::room::Bounds;
use self::{
    look::{Fronts, Look, Reach},
    room::{Lane, Room},
};
use super::{Claimed, Failure, JobError, JobId, JobKind, Wake, store};
use crate::world::Clock;

/// What a kind of job does. It calls [`super::finish`] in the transaction that holds its effect.
pub type Handler = Arc<dyn Fn(Claimed) -> Pin<Box<dyn Future<Output = Result<(), JobError>> + Send>> + Send + Sync>;

/// Jobs looked at in one read.
const PAGE: usize = 512;
/// Attempts under way at once in one process, of every kind together.
const AT_ONCE: usize = 512;
/// Longest sleep between two looks at the queue, so that jobs of other processes are found without being told of.
const POLL: Duration = Duration::from_secs(1);
/// Between two looks at all while jobs are under way: it may pass over every row removed of late, which is not little then.
const ALL_EVERY: Duration = Duration::from_secs(10);
/// Attempts at a transaction that conflicts with another, before the conflict counts as a failure.
const CONFLICTS_MAX: u32 = 16;
/// Longest wait between two of them.
const CONFLICT_WAIT_MAX: Duration = Duration::from_millis(256);

/// Claims jobs and runs them.
pub struct Runner {
    store: Store,
    clock: Clock,
    wake: Wake,
    kinds: HashMap<&'static str, Known>,
    tasks: JoinSet<()>,
    running: HashMap<task::Id, Running>,
    room: Room,
    fronts: Fronts,
    /// When it last looked at everything.
    looked_at: Option<Instant>,
}

/// A kind of job that this process can do.
struct Known {
    kind: &'static JobKind,
    bounds: Bounds,
    handler: Handler,
}

struct Running {
    claimed: Claimed,
    kind: &'static JobKind,
}

impl Runner {
    /// A runner that knows these kinds. A job of any other kind is parked.
    pub fn new(store: Store, clock: Clock, wake: Wake, kinds: Vec<(&'static JobKind, Handler)>) -> Runner {
        let known = |(kind, handler): (&'static JobKind, Handler)| {
            let bounds = Bounds::of(kind);
            (kind.name, Known { kind, bounds, handler })
        };
        Runner {
            store,
            clock,
            wake,
            kinds: kinds.into_iter().map(known).collect(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            room: Room::new(AT_ONCE),
            fronts: Fronts::default(),
            looked_at: None,
        }
    }

    /// The same, which runs jobs of `kind` within `bounds` and not within those the kind was made with.
    pub fn bounded(mut self, kind: &'static JobKind, bounds: Bounds) -> Runner {
        if let Some(known) = self.kinds.get_mut(kind.name) {
            known.bounds = bounds;
        }
        // Whatever one kind may take, the others find places beside it.
        let most = self.kinds.values().map(|known| known.bounds.at_once).max();
        self.room = Room::new(AT_ONCE.max(most.unwrap_or(0).saturating_add(AT_ONCE / 2)));
        self
    }

    /// Takes over what an earlier process had in hand, so that its work goes on without waiting for leases to end. Does
    /// nothing where other processes may share the store: there a lease may be alive. To be called before anything runs.
    ///
    /// A job that was cut short for the first time is due at once. One that has been tried before comes back on its
    /// schedule: it may be what ended the process.
    pub async fn take_over_leases(&self) -> Result<usize, StoreError> {
        if !self.store.is_exclusive() {
            return Ok(0);
        }
        let longest = self
            .kinds
            .values()
            .map(|known| known.kind.lease)
            .max()
            .unwrap_or_default();
        let mut tx = self.store.begin_write().await?;
        let mut taken = 0;
        for organization in store::organizations(&mut tx).await? {
            let now = self.clock.now_for(organization);
            let mut cursor = None;
            loop {
                let page = store::list_due_within(&mut tx, organization, now, longest, cursor, PAGE).await?;
                let Some((last, _)) = page.last() else { break };
                cursor = Some((last.1, last.2));
                for (key, row) in page.into_iter().filter(|(_, row)| row.claimed) {
                    let wait = self.wait_after_cut(&row);
                    store::take_over(&mut tx, key, row, now + wait);
                    taken += 1;
                }
            }
        }
        tx.commit().await?;
        Ok(taken)
    }

    /// How long a job waits whose last attempt ended with its process.
    fn wait_after_cut(&self, row: &store::JobRow) -> Duration {
        let kind = self.kinds.get(row.kind.as_str());
        let earlier = row
            .attempts
            .checked_sub(2)
            .and_then(|earlier| usize::try_from(earlier).ok());
        let wait = kind
            .zip(earlier)
            .and_then(|(known, earlier)| known.kind.retries.get(earlier));
        wait.copied().unwrap_or_default()
    }

    /// Runs jobs until `stop`, then lets those under way end. What does not end within `grace` is left to its lease.
    pub async fn run(mut self, stop: CancellationToken, grace: Duration) {
        let wake = self.wake.clone();
        while !stop.is_cancelled() {
            if self.look_or_log().await == Look::Again {
                self.reap().await;
                continue;
            }
            let pause = self.pause();
            tokio::select! {
                () = stop.cancelled() => break,
                () = wake.rung() => {}
                () = tokio::time::sleep(pause) => {}
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
            }
            self.reap().await;
        }
        let ended_in_time = tokio::time::timeout(grace, async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.ended(ended).await;
            }
        });
        if ended_in_time.await.is_err() {
            tracing::warn!(
                jobs = self.running.len(),
                "stopping with jobs under way; they run again when their leases end"
            );
        }
    }

    /// Runs whatever is due, and whatever that makes due, until nothing is. For tests, which move the clock by hand.
    pub async fn run_until_idle(&mut self) -> Result<(), StoreError> {
        let mut reach = Reach::All;
        loop {
            if self.look(reach).await? == Look::Again {
                reach = Reach::Front;
                continue;
            }
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.ended(ended).await,
                None if reach == Reach::All => return Ok(()),
                None => {
                    reach = Reach::All;
                    continue;
                }
            }
            self.reap().await;
            reach = Reach::Front;
        }
    }

    /// Claims what is due and begins it, then forgets it as a crashed process would: nothing of it is finished by this
    /// runner. For tests.
    pub async fn claim_and_crash(&mut self) -> Result<usize, StoreError> {
        while self.look(Reach::All).await? == Look::Again {}
        let lost = self.running.len();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        for job in std::mem::take(&mut self.running).into_values() {
            self.room.give_back(lane_of(job.kind, &job.claimed));
        }
        Ok(lost)
    }

    /// Runs whatever is due until no more than `stuck` jobs are under way, which never end.
    #[cfg(test)]
    pub(super) async fn run_but(&mut self, stuck: usize) {
        loop {
            if self.look(Reach::Front).await.unwrap() == Look::Again {
                self.reap().await;
            } else if self.running.len() <= stuck {
                return;
            } else if let Some(ended) = self.tasks.join_next_with_id().await {
                self.ended(ended).await;
            }
        }
    }

    /// How often it has looked at the queue.
    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.fronts.looks
    }

    async fn look_or_log(&mut self) -> Look {
        let every = if self.running.is_empty() { POLL } else { ALL_EVERY };
        let is_fresh = self.looked_at.is_some_and(|at| at.elapsed() < every);
        let reach = if is_fresh { Reach::Front } else { Reach::All };
        if !is_fresh {
            self.looked_at = Some(Instant::now());
        }
        self.look(reach).await.unwrap_or_else(|error| {
            tracing::warn!(
                cause = crate::http::chain(&error),
                "looking for jobs failed; trying again shortly"
            );
            Look::Wait
        })
    }

    fn begin(&mut self, claimed: Claimed, kind: &'static JobKind) {
        let Some(Known { handler, .. }) = self.kinds.get(kind.name) else {
            return;
        };
        let attempt = Attempt {
            store: self.store.clone(),
            clock: self.clock.clone(),
            kind,
            handler: Arc::clone(handler),
            claimed: claimed.clone(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the runner waits for its attempts, and ends them with its leases"
        )]
        let id = self.tasks.spawn(attempt.run()).id();
        self.running.insert(id, Running { claimed, kind });
    }

    /// Takes note of every attempt that has ended by now.
    async fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended).await;
        }
    }

    async fn ended(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        match ended {
            Ok((id, ())) => drop(self.forget(id)),
            Err(error) => {
                let Some(job) = self.forget(error.id()) else { return };
                let reason = JobError::Failed("the job panicked");
                settle(&self.store, &self.clock, job.kind, &job.claimed, reason).await;
            }
        }
    }

    fn forget(&mut self, id: task::Id) -> Option<Running> {
        let job = self.running.remove(&id)?;
        self.room.give_back(lane_of(job.kind, &job.claimed));
        Some(job)
    }

    /// How long to sleep when nothing is due: until something is, but never long.
    fn pause(&mut self) -> Duration {
        let now = self.clock.now();
        let due = self.fronts.next_due_at_ms.filter(|due| *due > store::millis(now));
        let until_due = |due: u64| Duration::from_millis(due.saturating_sub(store::millis(now)));
        // Several processes on one database should not look in step.
        let poll = jittered(POLL, self.fronts.looks as u64 ^ store::millis(now));
        let until = [due.map(until_due), self.room.wait_for_budget(now)];
        let until = until.into_iter().flatten().min();
        until.unwrap_or(poll).clamp(Duration::from_millis(1), poll)
    }
}

fn lane_of(kind: &'static JobKind, claimed: &Claimed) -> Lane {
    (kind.name, claimed.target)
}

/// One attempt at one job.
struct Attempt {
    store: Store,
    clock: Clock,
    kind: &'static JobKind,
    handler: Handler,
    claimed: Claimed,
}

impl Attempt {
    async fn run(self) {
        // Stops a little before the lease ends, so that giving the job back is still ours to do.
        let allowed = self.kind.lease - self.kind.lease / 10;
        let outcome = tokio::time::timeout(allowed, self.until_free_of_conflicts()).await;
        let outcome = outcome.unwrap_or(Err(JobError::Failed("the attempt took longer than its lease")));
        match outcome {
            Ok(()) => count(self.kind.name, "done"),
            Err(JobError::InVain) => count(self.kind.name, "failed"),
            Err(JobError::Lost) => {
                count(self.kind.name, "lost");
                tracing::warn!(job.kind = self.kind.name, job.id = %self.claimed.id.0, "another runner took the job over");
            }
            Err(error) => settle(&self.store, &self.clock, self.kind, &self.claimed, error).await,
        }
    }

    async fn until_free_of_conflicts(&self) -> Result<(), JobError> {
        let mut conflicts = 0;
        loop {
            match (self.handler)(self.claimed.clone()).await {
                Err(JobError::Store(StoreError::Conflict)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                outcome => return outcome,
            }
            let wait = Duration::from_millis(1 << conflicts).min(CONFLICT_WAIT_MAX);
            let wait = jittered(wait, self.claimed.id.0.as_u64_pair().1 ^ u64::from(conflicts));
            tokio::time::sleep(wait).await;
        }
    }
}

/// Puts a failed job back for its next attempt, or parks it after its last.
async fn settle(store: &Store, clock: &Clock, kind: &'static JobKind, claimed: &Claimed, error: JobError) {
    let now = clock.now_for(claimed.organization);
    let retry = usize::try_from(claimed.attempt - 1)
        .ok()
        .and_then(|failed| kind.retries.get(failed));
    let cause = crate::http::chain(&error);
    match retry {
        Some(_) => {
            count(kind.name, "failed");
            tracing::warn!(job.kind = kind.name, job.id = %claimed.id.0, attempt = claimed.attempt, cause, "a job failed and is tried again");
        }
        None => given_up(kind.name, claimed.id, &cause),
    }
    let settled = async {
        let mut tx = store.begin_write().await?;
        match retry {
            Some(wait) => {
                let wait = jittered(*wait, claimed.id.0.as_u64_pair().1 ^ u64::from(claimed.attempt));
                let failure = Failure {
                    at: now,
                    reason: &cause,
                    next_try_at: now + wait,
                };
                store::try_again(&mut tx, claimed, &failure).await?;
            }
            None => store::park(&mut tx, claimed, now, cause).await?,
        }
        tx.commit().await.map_err(JobError::from)
    };
    // What cannot be put back now comes back by itself when the lease ends.
    if let Err(error) = settled.await {
        let cause = crate::http::chain(&error);
        tracing::warn!(job.kind = kind.name, job.id = %claimed.id.0, cause, "a failed job waits for its lease to end");
    }
}

/// What became of attempts, for whoever watches the server.
fn count(kind: &str, outcome: &'static str) {
    metrics::counter!("antumbra_jobs_total", "kind" => kind.to_owned(), "outcome" => outcome).increment(1);
}

/// Calls a person: the job does nothing more until somebody has it tried again.
fn given_up(kind: &str, id: JobId, cause: &str) {
    count(kind, "parked");
    tracing::error!(job.kind = kind, job.id = %id.0, cause, "a job was given up; `antumbra job retry` has it tried again");
}

/// `span` give or take a tenth, spread by `seed`: no generator is needed where any spreading will do.
pub(super) fn jittered(span: Duration, seed: u64) -> Duration {
    let spread = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54; // 0..1024
    let tenth = span / 10;
    let offset = tenth * 2 * u32::try_from(spread).unwrap_or(512) / 1024;
    span - tenth + offset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_spreads() {
        let span = Duration::from_secs(3600);
        let waits: Vec<Duration> = (0..1000).map(|seed| jittered(span, seed)).collect();
        assert!(
            waits
                .iter()
                .all(|wait| *wait >= span - span / 10 && *wait <= span + span / 10)
        );
        let distinct: std::collections::HashSet<Duration> = waits.into_iter().collect();
        assert!(distinct.len() > 300);
    }
}
