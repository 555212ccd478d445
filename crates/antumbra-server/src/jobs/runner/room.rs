//! Room: how many jobs may be under way, of what kind and for whom. Pure.
//!
//! The busier a kind is, the fewer places one target may take: as many as are free, at most, and the last quarter is for
//! targets that have none. So a target that is slow, or does not answer at all, never holds them all, however many jobs
//! wait for it; several such targets share the places out among them, and who comes then still finds one.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;
use uuid::Uuid;

use crate::jobs::JobKind;

/// What an operator allows a kind of job in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Attempts under way at once.
    pub at_once: usize,
    /// The same for jobs with one target.
    pub at_once_per_target: usize,
    /// Attempts that may begin for one target within a minute; none: as many as there is room for.
    pub per_minute_per_target: Option<u32>,
}

impl Bounds {
    /// As the kind itself says.
    pub fn of(kind: &JobKind) -> Bounds {
        Bounds {
            at_once: kind.at_once,
            at_once_per_target: kind.at_once_per_target,
            per_minute_per_target: None,
        }
    }
}

/// A kind of job, and whom its jobs wait for.
pub(super) type Lane = (&'static str, Option<Uuid>);

/// Places, and who has taken them.
#[derive(Debug)]
pub(super) struct Room {
    /// Attempts under way at once, of every kind.
    at_once: usize,
    taken: usize,
    kinds: HashMap<&'static str, usize>,
    targets: HashMap<(&'static str, Uuid), usize>,
    budgets: HashMap<(&'static str, Uuid), Budget>,
}

/// What a target may be asked at the moment: one attempt costs one, and they come back with time.
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: f64,
    at: Timestamp,
    per_second: f64,
    max: f64,
}

impl Budget {
    fn new(per_minute: u32, now: Timestamp) -> Budget {
        let per_second = f64::from(per_minute.max(1)) / 60.0;
        // A second's worth may come at once, so that no timer has to be exact.
        let max = per_second.max(1.0);
        Budget {
            left: max,
            at: now,
            per_second,
            max,
        }
    }

    fn move_to(&mut self, now: Timestamp) {
        let passed = Duration::try_from(now.duration_since(self.at)).unwrap_or_default();
        self.left = (self.left + passed.as_secs_f64() * self.per_second).min(self.max);
        self.at = self.at.max(now);
    }

    /// Attempts that may begin.
    fn whole(&self) -> usize {
        self.left.max(0.0) as usize
    }

    /// How long until one more may begin.
    fn wait(&self) -> Duration {
        Duration::from_secs_f64((1.0 - self.left).max(0.0) / self.per_second)
    }
}

impl Room {
    /// Room for `at_once` attempts.
    pub(super) fn new(at_once: usize) -> Room {
        Room {
            at_once,
            taken: 0,
            kinds: HashMap::new(),
            targets: HashMap::new(),
            budgets: HashMap::new(),
        }
    }

    /// Attempts that may begin, whatever they are.
    pub(super) fn left(&self) -> usize {
        self.at_once.saturating_sub(self.taken)
    }

    /// How many further jobs of a lane may begin now.
    pub(super) fn left_for(&mut self, (kind, target): Lane, bounds: &Bounds, now: Timestamp) -> usize {
        let taken = |places: Option<&usize>| places.copied().unwrap_or(0);
        let free = bounds
            .at_once
            .saturating_sub(taken(self.kinds.get(kind)))
            .min(self.left());
        let Some(target) = target else { return free };
        let held = taken(self.targets.get(&(kind, target)));
        // One place more is there while fewer are held than are free beside the last quarter.
        let share = (free + 1).saturating_sub(held + bounds.at_once / 4) / 2;
        let share = if held == 0 { share.max(free.min(1)) } else { share };
        let places = share.min(bounds.at_once_per_target.saturating_sub(held));
        match bounds.per_minute_per_target {
            None => places,
            Some(per_minute) => {
                let budget = self.budgets.entry((kind, target));
                let budget = budget.or_insert_with(|| Budget::new(per_minute, now));
                budget.move_to(now);
                places.min(budget.whole())
            }
        }
    }

    /// Takes a place, which [`left_for`](Room::left_for) has shown to be there.
    pub(super) fn take(&mut self, (kind, target): Lane) {
        self.taken += 1;
        *self.kinds.entry(kind).or_default() += 1;
        if let Some(target) = target {
            *self.targets.entry((kind, target)).or_default() += 1;
            if let Some(budget) = self.budgets.get_mut(&(kind, target)) {
                budget.left -= 1.0;
            }
        }
    }

    /// Gives a place back.
    pub(super) fn give_back(&mut self, (kind, target): Lane) {
        self.taken = self.taken.saturating_sub(1);
        give(&mut self.kinds, &kind);
        if let Some(target) = target {
            give(&mut self.targets, &(kind, target));
        }
    }

    /// The shortest wait until a target may be asked again whose budget is used up. Forgets those that are whole again.
    pub(super) fn wait_for_budget(&mut self, now: Timestamp) -> Option<Duration> {
        self.budgets.retain(|_, budget| {
            budget.move_to(now);
            budget.left < budget.max
        });
        let used_up = self.budgets.values().filter(|budget| budget.whole() == 0);
        used_up.map(Budget::wait).min()
    }
}

fn give<K: std::hash::Hash + Eq>(places: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = places.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            places.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        at_once: 256,
        at_once_per_target: 16,
        per_minute_per_target: None,
    };
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn target(number: usize) -> Option<Uuid> {
        Some(Uuid::from_u128(number as u128 + 1))
    }

    fn take_all(room: &mut Room, lane: Lane, bounds: &Bounds) -> usize {
        let mut took = 0;
        while room.left_for(lane, bounds, NOW) > 0 {
            room.take(lane);
            took += 1;
        }
        took
    }

    #[test]
    fn one_target_takes_its_own_bound_and_no_more() {
        let mut room = Room::new(1_000);
        assert_eq!(room.left_for(("notice", target(0)), &BOUNDS, NOW), 16);
        assert_eq!(take_all(&mut room, ("notice", target(0)), &BOUNDS), 16);
        assert_eq!(room.left_for(("notice", target(1)), &BOUNDS, NOW), 16);
    }

    #[test]
    fn however_many_targets_never_answer_one_more_finds_a_place() {
        for slow in 1..64 {
            let mut room = Room::new(1_000);
            for number in 0..slow {
                take_all(&mut room, ("notice", target(number)), &BOUNDS);
            }
            let left = room.left_for(("notice", target(slow)), &BOUNDS, NOW);
            assert!(left >= 1, "{slow} slow targets left {left}");
        }
    }

    #[test]
    fn what_is_said_to_be_left_can_be_taken_one_by_one() {
        for per_target in [1, 2, 3, 16, 400] {
            for (at_once, whole) in [(1, 1), (2, 9), (7, 5), (256, 300)] {
                let bounds = Bounds {
                    at_once,
                    at_once_per_target: per_target,
                    per_minute_per_target: None,
                };
                let mut room = Room::new(whole);
                for number in 0..40 {
                    let lane = ("notice", target(number % 5));
                    let said = room.left_for(lane, &bounds, NOW);
                    let took = take_all(&mut room, lane, &bounds);
                    assert_eq!(said, took, "{bounds:?} of {whole}");
                    room.give_back(lane);
                    assert_eq!(room.left(), whole - room.taken);
                }
            }
        }
    }

    #[test]
    fn places_that_are_given_back_are_there_again() {
        let mut room = Room::new(20);
        let lanes = [("notice", target(0)), ("notice", None), ("letter", target(0))];
        for lane in lanes {
            room.take(lane);
        }
        for lane in lanes {
            room.give_back(lane);
        }
        assert_eq!((room.left(), room.kinds.len(), room.targets.len()), (20, 0, 0));
    }

    #[test]
    fn a_budget_is_a_pace_and_not_a_crowd() {
        let bounds = Bounds {
            per_minute_per_target: Some(120),
            ..BOUNDS
        };
        let (mut room, lane) = (Room::new(1_000), ("notice", target(0)));
        let mut began = 0;
        for second in 0..60 {
            let now = NOW + Duration::from_secs(second);
            for _ in 0..room.left_for(lane, &bounds, now) {
                room.take(lane);
                room.give_back(lane);
                began += 1;
            }
            assert_eq!(room.left_for(lane, &bounds, now), 0);
            assert_eq!(room.wait_for_budget(now), Some(Duration::from_millis(500)));
        }
        assert_eq!(began, 120);
        assert_eq!(room.wait_for_budget(NOW + Duration::from_secs(3600)), None);
        assert!(room.budgets.is_empty());
    }
}
