//! Time and randomness, behind two values that tests replace: nothing else in the crate reads a clock or makes an id.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use uuid::{ContextV7, Uuid};

use crate::organization::OrganizationId;

/// Time, to the millisecond that the wire shows.
///
/// There are two. [`Clock::now`] is the time of the machine: what keys, tokens, signatures and stored bodies live by.
/// [`Clock::now_for`] is the time of an organization: what requests, their silo runs, messages, deadlines and jobs live
/// by. They differ only for an organization that rehearses, whose time has been moved forward.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    /// How far the time of organizations that rehearse is ahead of the machine's.
    ahead: Arc<RwLock<HashMap<OrganizationId, Duration>>>,
}

#[derive(Clone, Debug)]
enum Source {
    System,
    /// Milliseconds since the epoch, moved by hand.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock::over(Source::System)
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Clock {
        Clock::over(Source::Manual(Arc::new(AtomicI64::new(start.as_millisecond()))))
    }

    fn over(source: Source) -> Clock {
        let ahead = Arc::default();
        Clock { source, ahead }
    }

    /// Now, cut to the millisecond.
    pub fn now(&self) -> Timestamp {
        let millis = match &self.source {
            #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
            Source::System => Timestamp::now().as_millisecond(),
            Source::Manual(millis) => millis.load(Ordering::SeqCst),
        };
        Timestamp::from_millisecond(millis).expect("milliseconds taken from a timestamp fit a timestamp")
    }

    /// Now, as `organization` counts it.
    pub fn now_for(&self, organization: OrganizationId) -> Timestamp {
        self.now() + self.ahead_for(organization)
    }

    /// How far the time of `organization` is ahead of the machine's; nothing unless it rehearses.
    pub fn ahead_for(&self, organization: OrganizationId) -> Duration {
        let ahead = self.ahead.read().unwrap_or_else(PoisonError::into_inner);
        ahead.get(&organization).copied().unwrap_or_default()
    }

    /// Lets the time of `organization` run so far ahead. Time never goes back: of two spans the longer one counts, in
    /// whatever order they are heard of.
    pub(crate) fn run_ahead(&self, organization: OrganizationId, by: Duration) {
        let mut ahead = self.ahead.write().unwrap_or_else(PoisonError::into_inner);
        let known = ahead.entry(organization).or_default();
        *known = by.max(*known);
    }

    /// Moves a manual clock forward; the machine's clock is not ours to move and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(millis) = &self.source {
            millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

/// Fresh ids.
#[derive(Clone)]
pub struct Ids {
    clock: Clock,
    order: Arc<Mutex<ContextV7>>,
}

impl Ids {
    /// Ids whose order follows `clock`.
    pub fn new(clock: Clock) -> Ids {
        Ids {
            clock,
            order: Arc::new(Mutex::new(ContextV7::new())),
        }
    }

    /// An id that sorts after every earlier one of this process. For rows whose order matters and may show.
    pub fn uuid(&self) -> Uuid {
        let now = self.clock.now();
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        Uuid::new_v7(uuid::Timestamp::from_unix(&*order, seconds, nanos))
    }

    /// Twenty random letters: an id for a log line and an error. There are no digits in it, because clients search error
    /// texts for `429` and its like, and no vowels, so that it spells nothing.
    pub fn letters(&self) -> String {
        const LETTERS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
        let (first, second) = (self.hidden_uuid(), self.hidden_uuid());
        let bytes = first.as_bytes().iter().chain(second.as_bytes()).take(20);
        bytes
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect()
    }

    /// A random number below `bound`, or 0 if there is none. For waits, not for secrets.
    pub fn below(&self, bound: u32) -> u32 {
        let random = self.hidden_uuid().as_u128() as u32;
        random.checked_rem(bound).unwrap_or(0)
    }

    /// An id that tells nothing, not even when it was made.
    pub fn hidden_uuid(&self) -> Uuid {
        #[allow(clippy::disallowed_methods, reason = "the one place that makes random ids")]
        Uuid::new_v4()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_keep_their_order() {
        let ids = Ids::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let made: Vec<Uuid> = (0..1000).map(|_| ids.uuid()).collect();
        assert!(made.is_sorted());
    }

    #[test]
    fn letters_hold_no_digits_and_differ() {
        let ids = Ids::new(Clock::manual(Timestamp::UNIX_EPOCH));
        let made: std::collections::HashSet<String> = (0..1000).map(|_| ids.letters()).collect();
        assert_eq!(made.len(), 1000);
        assert!(
            made.iter()
                .all(|id| id.len() == 20 && id.bytes().all(|byte| byte.is_ascii_lowercase()))
        );
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().as_millisecond(), 1500);
    }

    #[test]
    fn the_time_of_an_organization_that_rehearses_is_ahead_and_never_goes_back() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let [rehearses, other] = [1, 2].map(|number| OrganizationId(Uuid::from_u128(number)));
        clock.run_ahead(rehearses, Duration::from_secs(60));
        clock.clone().run_ahead(rehearses, Duration::from_secs(30));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now_for(rehearses).as_second(), 61);
        assert_eq!(clock.now_for(other), clock.now());
    }
}
