//! Who is being written about at the moment, in this process.
//!
//! Transactions about the same person can't both commit: one would be run again. So a call waits until no other is at
//! work on any of its people. This saves work and promises nothing: another process, or a record that is found only
//! through its other identifiers, is caught by the store.
//!
//! An engine behind the PostgreSQL wire notes what was read by pages of its indexes, so that large calls about different
//! people meet all the same, and run again and again. There a call also waits, in the order of arrival, until few others
//! are at work.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::store::Blind;

/// How long a call waits for its turn. It then goes on without one, and the store decides.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Identifiers that calls may be at work on together where the engine is shared: those of one large call, or of many small
/// ones. A larger call waits until it is alone.
const SHARED_MAX: u32 = 100;

/// The identifiers that calls of this process are at work on.
#[derive(Debug)]
pub struct Turns {
    busy: Mutex<HashSet<Blind>>,
    freed: Notify,
    /// None where calls about different people never meet.
    room: Option<Semaphore>,
}

/// A call's claim on its people. They are free again when it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    people: Vec<Blind>,
    _room: Option<SemaphorePermit<'a>>,
}

impl Turns {
    /// For an engine that only this process uses, or one that it shares.
    pub(crate) fn new(is_exclusive: bool) -> Turns {
        Turns {
            busy: Mutex::default(),
            freed: Notify::new(),
            room: (!is_exclusive).then(|| Semaphore::new(SHARED_MAX as usize)),
        }
    }

    /// Waits until nobody else is at work on `people`, for five seconds at most. All of them are claimed at once, so no
    /// two calls wait for each other.
    pub(super) async fn take(&self, people: Vec<Blind>) -> Turn<'_> {
        self.take_within(WAIT_MAX, people).await
    }

    async fn take_within(&self, wait_max: Duration, people: Vec<Blind>) -> Turn<'_> {
        let until = Instant::now() + wait_max;
        let mut room = None;
        if let Some(rooms) = &self.room {
            let wanted = u32::try_from(people.len()).unwrap_or(u32::MAX).min(SHARED_MAX);
            // Nobody closes it; whoever waited for too long goes on without.
            room = timeout_at(until, rooms.acquire_many(wanted))
                .await
                .ok()
                .and_then(Result::ok);
        }
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on nothing that is freed goes unnoticed.
            freed.as_mut().enable();
            if self.claim(&people) {
                return Turn {
                    turns: self,
                    people,
                    _room: room,
                };
            }
            if timeout_at(until, freed).await.is_err() {
                return Turn {
                    turns: self,
                    people: Vec::new(),
                    _room: room,
                };
            }
        }
    }

    fn claim(&self, people: &[Blind]) -> bool {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let free = !people.iter().any(|one| busy.contains(one));
        if free {
            busy.extend(people);
        }
        free
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = self.turns.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for one in &self.people {
            busy.remove(one);
        }
        drop(busy);
        self.turns.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_call_waits_for_those_who_are_at_work_on_its_people_only() {
        let turns = Arc::new(Turns::new(true));
        let first = turns.take(vec![[1; 16], [2; 16]]).await;
        drop(turns.take(vec![[3; 16]]).await);
        let waiting = {
            let turns = turns.clone();
            tokio::time::timeout(Duration::from_secs(60), async move {
                turns.take(vec![[2; 16], [3; 16]]).await.people.len()
            })
        };
        let mut waiting = pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(first);
        assert_eq!(waiting.await.unwrap(), 2);
        assert!(turns.busy.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn where_the_engine_is_shared_a_large_call_is_alone_and_small_ones_are_not() {
        let turns = Turns::new(false);
        let people = |from: u8, count: u8| (from..from + count).map(|one| [one; 16]).collect::<Vec<_>>();
        let small = (turns.take(people(0, 1)).await, turns.take(people(1, 99)).await);
        assert!(futures_util::poll!(pin!(turns.take(people(100, 1)))).is_pending());
        drop(small);
        let large = turns.take(people(0, 200)).await;
        assert_eq!(
            large.people.len(),
            200,
            "more than all that fits is not kept waiting for ever"
        );
        assert!(futures_util::poll!(pin!(turns.take(people(200, 1)))).is_pending());
        let without = turns.take_within(Duration::from_millis(1), people(200, 1)).await;
        assert!(without._room.is_none());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let turns = Turns::new(true);
        let stuck = turns.take(vec![[1; 16]]).await;
        let without = turns.take_within(Duration::from_millis(1), vec![[1; 16]]).await;
        assert!(without.people.is_empty());
        drop(without);
        assert!(
            turns.busy.lock().unwrap().contains(&[1; 16]),
            "the first still has its turn"
        );
        drop(stuck);
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the test waits for each")]
    async fn calls_about_overlapping_people_all_come_to_an_end() {
        let turns = Arc::new(Turns::new(true));
        let mut calls = tokio::task::JoinSet::new();
        for call in 0..200u8 {
            let turns = turns.clone();
            calls.spawn(async move {
                let turn = turns
                    .take(
                        (0..4)
                            .map(|n| [(call.wrapping_mul(7).wrapping_add(n * 3)) % 10; 16])
                            .collect(),
                    )
                    .await;
                tokio::task::yield_now().await;
                drop(turn);
            });
        }
        while let Some(done) = calls.join_next().await {
            done.unwrap();
        }
        assert!(turns.busy.lock().unwrap().is_empty());
    }
}
