//! Who is being written about at the moment, in this process.
//!
//! Transactions about the same person can't both commit: one would be run again. So a call waits until no other is at
//! work on any of its people. This saves work and promises nothing: another process, or a record that is found only
//! through its other identifiers, is caught by the store.

use std::{
    collections::HashSet,
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::store::Blind;

/// How long a call waits for its turn. It then goes on without one, and the store decides.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The identifiers that calls of this process are at work on.
#[derive(Debug, Default)]
pub struct Turns {
    busy: Mutex<HashSet<Blind>>,
    freed: Notify,
}

/// A call's claim on its people. They are free again when it is dropped.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    people: Vec<Blind>,
}

impl Turns {
    /// Waits until nobody else is at work on `people`, for five seconds at most. All of them are claimed at once, so no
    /// two calls wait for each other.
    pub(super) async fn take(&self, people: Vec<Blind>) -> Turn<'_> {
        self.take_within(WAIT_MAX, people).await
    }

    async fn take_within(&self, wait_max: Duration, people: Vec<Blind>) -> Turn<'_> {
        let until = Instant::now() + wait_max;
        loop {
            let mut freed = pin!(self.freed.notified());
            // From here on nothing that is freed goes unnoticed.
            freed.as_mut().enable();
            if self.claim(&people) {
                return Turn { turns: self, people };
            }
            if timeout_at(until, freed).await.is_err() {
                let people = Vec::new();
                return Turn { turns: self, people };
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
        let turns = Arc::new(Turns::default());
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
    async fn nobody_waits_for_ever() {
        let turns = Turns::default();
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
        let turns = Arc::new(Turns::default());
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
