//! The runner: the only place that spawns background work.
//!
//! One task owns the loop and all counts, so nothing here is locked. It claims in batches, keeps within each kind's bounds,
//! and goes through the queue with a cursor: jobs whose target is busy are passed over, and a long row of them at the front
//! hides nobody behind it.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use antumbra_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Claimed, Failure, JobError, JobId, JobKind, Wake, store};
use crate::{organization::OrganizationId, world::Clock};

/// What a kind of job does. It calls [`super::finish`] in the transaction that holds its effect.
pub type Handler = Arc<dyn Fn(Claimed) -> Pin<Box<dyn Future<Output = Result<(), JobError>> + Send>> + Send + Sync>;

/// Jobs looked at in one read.
const PAGE: usize = 512;
/// Jobs claimed in one commit.
const BATCH: usize = 64;
/// Longest sleep between two looks at the queue, so that jobs of other processes are found without being told of.
const POLL: Duration = Duration::from_secs(1);
/// Attempts at a transaction that conflicts with another, before the conflict counts as a failure.
const CONFLICTS_MAX: u32 = 8;

/// Claims jobs and runs them.
pub struct Runner {
    store: Store,
    clock: Clock,
    wake: Wake,
    kinds: HashMap<&'static str, (&'static JobKind, Handler)>,
    tasks: JoinSet<()>,
    running: HashMap<task::Id, Running>,
    busy: HashMap<Slot, usize>,
    /// Where to go on in queues that were not read to their end.
    cursors: HashMap<OrganizationId, (u64, JobId)>,
    /// Looks so far; lets every organization be the first in turn.
    looks: usize,
    /// Jobs claimed since the cursors last stood at the front.
    claimed_since_front: usize,
}

struct Running {
    claimed: Claimed,
    kind: &'static JobKind,
}

/// What a running job uses up: a place among its kind, and one at its target.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Slot {
    Kind(&'static str),
    Target(&'static str, Uuid),
}

/// A due job that may run now.
struct Candidate {
    key: store::JobKey,
    kind: &'static JobKind,
    target: Option<Uuid>,
}

/// What was found in the queues.
#[derive(Default)]
struct Found {
    wanted: Vec<Candidate>,
    hopeless: Vec<(store::JobKey, &'static str)>,
    /// A queue was not read to its end.
    more: bool,
    /// A job was passed over for its target's sake, although its kind has room.
    passed_for_target: bool,
}

/// What a look at the queue came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// There may be more to claim at once.
    Again,
    /// Nothing can be claimed before something changes.
    Wait,
}

impl Runner {
    /// A runner that knows these kinds. A job of any other kind is parked.
    pub fn new(store: Store, clock: Clock, wake: Wake, kinds: Vec<(&'static JobKind, Handler)>) -> Runner {
        let kinds = kinds
            .into_iter()
            .map(|(kind, handler)| (kind.name, (kind, handler)))
            .collect();
        Runner {
            store,
            clock,
            wake,
            kinds,
            tasks: JoinSet::new(),
            running: HashMap::new(),
            busy: HashMap::new(),
            cursors: HashMap::new(),
            looks: 0,
            claimed_since_front: 0,
        }
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
        let now = self.clock.now();
        let longest = self
            .kinds
            .values()
            .map(|(kind, _)| kind.lease)
            .max()
            .unwrap_or_default();
        let mut tx = self.store.begin_write().await?;
        let mut taken = 0;
        for organization in store::organizations(&mut tx).await? {
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
            .and_then(|((kind, _), earlier)| kind.retries.get(earlier));
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
            let pause = self.pause().await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = wake.rung() => {}
                () = tokio::time::sleep(pause) => {}
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
            }
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
        loop {
            if self.look().await? == Look::Again {
                continue;
            }
            match self.tasks.join_next_with_id().await {
                Some(ended) => self.ended(ended).await,
                None => return Ok(()),
            }
        }
    }

    /// Claims what is due and begins it, then forgets it as a crashed process would: nothing of it is finished by this
    /// runner. For tests.
    pub async fn claim_and_crash(&mut self) -> Result<usize, StoreError> {
        while self.look().await? == Look::Again {}
        let lost = self.running.len();
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.running.clear();
        self.busy.clear();
        Ok(lost)
    }

    async fn look_or_log(&mut self) -> Look {
        self.look().await.unwrap_or_else(|error| {
            tracing::warn!(
                cause = crate::http::chain(&error),
                "looking for jobs failed; trying again shortly"
            );
            Look::Wait
        })
    }

    /// Looks at one page of each organization's queue and claims what has room.
    async fn look(&mut self) -> Result<Look, StoreError> {
        let now = self.clock.now();
        let mut reader = self.store.begin_read().await?;
        let mut organizations = store::organizations(&mut reader).await?;
        self.looks = self.looks.wrapping_add(1);
        let first = self.looks % organizations.len().max(1);
        organizations.rotate_left(first);
        let mut found = Found::default();
        for organization in organizations {
            if found.wanted.len() >= BATCH {
                found.more = true;
                break;
            }
            let cursor = self.cursors.get(&organization).copied();
            let page = store::list_due(&mut reader, organization, now, cursor, PAGE).await?;
            match self.choose(page, &mut found) {
                Some(cursor) => {
                    found.more = true;
                    self.cursors.insert(organization, cursor);
                }
                None => drop(self.cursors.remove(&organization)),
            }
        }
        drop(reader);
        // A page on which every job waits for room among its kind says nothing about what lies behind it, but reading on
        // would only wear the queue: whatever ends next makes room, and the cursor stays where it is.
        let full_up = found.wanted.is_empty() && found.hopeless.is_empty() && !found.passed_for_target;
        self.park(&found.hopeless, now).await?;
        self.claimed_since_front += self.claim(found.wanted, now).await?;
        if found.more {
            return Ok(if full_up { Look::Wait } else { Look::Again });
        }
        let idle = std::mem::take(&mut self.claimed_since_front) == 0;
        Ok(if idle { Look::Wait } else { Look::Again })
    }

    /// Chooses from one page. Answers where to go on, or nothing where the queue has ended.
    fn choose(&mut self, page: Vec<(store::JobKey, store::JobRow)>, found: &mut Found) -> Option<(u64, JobId)> {
        let mut ends_here = page.len() < PAGE;
        let mut last = None;
        for (key, row) in page {
            if found.wanted.len() >= BATCH {
                ends_here = false;
                break;
            }
            last = Some((key.1, key.2));
            match self.kinds.get(row.kind.as_str()) {
                None => found.hopeless.push((key, "this version knows no such kind of job")),
                Some((kind, _)) if row.attempts as usize > kind.retries.len() => {
                    found.hopeless.push((key, "the process ended during its last attempt"));
                }
                Some((kind, _)) => {
                    let kind = *kind;
                    if self.take_room(kind, row.target) {
                        found.wanted.push(Candidate {
                            key,
                            kind,
                            target: row.target,
                        });
                    } else if self.has_room(Slot::Kind(kind.name), kind) {
                        found.passed_for_target = true;
                    }
                }
            }
        }
        last.filter(|_| !ends_here)
    }

    /// Takes the places a job of `kind` needs, or none of them.
    fn take_room(&mut self, kind: &'static JobKind, target: Option<Uuid>) -> bool {
        let has_room = slots(kind, target).all(|slot| self.has_room(slot, kind));
        if has_room {
            for slot in slots(kind, target) {
                *self.busy.entry(slot).or_default() += 1;
            }
        }
        has_room
    }

    fn has_room(&self, slot: Slot, kind: &JobKind) -> bool {
        let max = match slot {
            Slot::Kind(_) => kind.at_once,
            Slot::Target(..) => kind.at_once_per_target,
        };
        self.busy.get(&slot).copied().unwrap_or(0) < max
    }

    fn give_room_back(&mut self, kind: &'static JobKind, target: Option<Uuid>) {
        for slot in slots(kind, target) {
            if let Some(count) = self.busy.get_mut(&slot) {
                *count -= 1;
                if *count == 0 {
                    self.busy.remove(&slot);
                }
            }
        }
    }

    /// Claims what is wanted and begins it. Some of it may be gone: another runner was faster.
    async fn claim(&mut self, wanted: Vec<Candidate>, now: Timestamp) -> Result<usize, StoreError> {
        if wanted.is_empty() {
            return Ok(0);
        }
        let outcome = self.claim_free_of_conflicts(&wanted, now).await;
        let claimed = outcome.as_ref().map_or(&[][..], Vec::as_slice);
        for Candidate { key, kind, target } in wanted {
            if !claimed.iter().any(|(claimed, _)| claimed.id == key.2) {
                self.give_room_back(kind, target);
            }
        }
        let claimed = outcome?;
        let count = claimed.len();
        for (claimed, kind) in claimed {
            self.begin(claimed, kind);
        }
        Ok(count)
    }

    async fn claim_free_of_conflicts(
        &self,
        wanted: &[Candidate],
        now: Timestamp,
    ) -> Result<Vec<(Claimed, &'static JobKind)>, StoreError> {
        let wanted: Vec<(store::JobKey, &'static JobKind)> = wanted.iter().map(|it| (it.key, it.kind)).collect();
        let mut conflicts = 0;
        loop {
            let mut tx = self.store.begin_write().await?;
            let claimed = store::claim(&mut tx, &wanted, now).await?;
            match tx.commit().await {
                Ok(()) => return Ok(claimed),
                Err(StoreError::Conflict) if conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn begin(&mut self, claimed: Claimed, kind: &'static JobKind) {
        let Some((_, handler)) = self.kinds.get(kind.name) else {
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
        self.give_room_back(job.kind, job.claimed.target);
        Some(job)
    }

    async fn park(&self, hopeless: &[(store::JobKey, &'static str)], now: Timestamp) -> Result<(), StoreError> {
        if hopeless.is_empty() {
            return Ok(());
        }
        let mut tx = self.store.begin_write().await?;
        let mut parked = Vec::with_capacity(hopeless.len());
        for (key, reason) in hopeless {
            let kind = store::park_waiting(&mut tx, key, now, reason).await?;
            parked.extend(kind.map(|kind| (kind, key.2, reason)));
        }
        tx.commit().await?;
        for (kind, id, reason) in parked {
            given_up(&kind, id, reason);
        }
        Ok(())
    }

    /// How long to sleep when nothing is due: until something is, but never long.
    async fn pause(&mut self) -> Duration {
        let now = self.clock.now();
        let next = async {
            let mut reader = self.store.begin_read().await?;
            let mut next = None;
            for organization in store::organizations(&mut reader).await? {
                let due = store::next_due_ms(&mut reader, organization, now).await?;
                next = [next, due].into_iter().flatten().min();
            }
            Ok::<_, StoreError>(next)
        };
        let until = next
            .await
            .ok()
            .flatten()
            .map(|due| Duration::from_millis(due.saturating_sub(store::millis(now))));
        // Several processes on one database should not look in step.
        let poll = jittered(POLL, self.looks as u64 ^ store::millis(now));
        until.unwrap_or(poll).clamp(Duration::from_millis(1), poll)
    }
}

fn slots(kind: &'static JobKind, target: Option<Uuid>) -> impl Iterator<Item = Slot> {
    let of_target = target.map(|target| Slot::Target(kind.name, target));
    std::iter::once(Slot::Kind(kind.name)).chain(of_target)
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
            let wait = jittered(Duration::from_millis(1 << conflicts), self.claimed.id.0.as_u64_pair().1);
            tokio::time::sleep(wait).await;
        }
    }
}

/// Puts a failed job back for its next attempt, or parks it after its last.
async fn settle(store: &Store, clock: &Clock, kind: &'static JobKind, claimed: &Claimed, error: JobError) {
    let now = clock.now();
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
