//! People whose records are made, joined, renamed and deleted: each step is one call, and a person is found as one of the
//! steps left them, from the last that was acknowledged to the last that was sent.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use anyhow::Result;

use super::client::Client;

/// A person of this battery, by number.
pub(super) type Person = u64;

/// What is done to a person's records, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Nothing so far.
    Unknown,
    /// A record under the address.
    Written,
    /// Another under the number.
    WrittenAgain,
    /// The number is appended to the first: the two become one.
    Joined,
    /// The address becomes another.
    Renamed,
    /// The record is deleted.
    Deleted,
}

impl Step {
    /// All that is done to a person.
    pub(super) const ALL: [Step; 5] = [
        Step::Written,
        Step::WrittenAgain,
        Step::Joined,
        Step::Renamed,
        Step::Deleted,
    ];

    /// Whether a person is as this step leaves them: which records the address, the number and the new address lead to.
    fn leaves(self, found: &[Option<String>; 3]) -> bool {
        let [address, number, renamed] = found;
        let led_to = [address.is_some(), number.is_some(), renamed.is_some()];
        match self {
            Step::Unknown | Step::Deleted => led_to == [false, false, false],
            Step::Written => led_to == [true, false, false],
            Step::WrittenAgain => led_to == [true, true, false] && address != number,
            Step::Joined => led_to == [true, true, false] && address == number,
            Step::Renamed => led_to == [false, true, true] && number == renamed,
        }
    }
}

/// The name and the value of each of a person's identifiers: address, number, new address.
pub(super) fn identifiers_of(person: Person) -> [(&'static str, String); 3] {
    [
        ("email", format!("l{person}@example.test")),
        ("phone", format!("+35{person:010}")),
        ("email", format!("m{person}@example.test")),
    ]
}

#[derive(Clone, Copy)]
struct Life {
    acknowledged: Step,
    sent: Step,
}

/// How far each person came.
#[derive(Default)]
pub(super) struct Lives(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    people: BTreeMap<Person, Life>,
    /// Whom the last round touched.
    fresh: Vec<Person>,
    acknowledged: u64,
}

impl Lives {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("no task panics while it writes the journal")
    }

    pub(super) fn about_to(&self, person: Person, step: Step) {
        let mut kept = self.kept();
        let before = kept.people.get(&person).map_or(Step::Unknown, |life| life.acknowledged);
        let life = Life {
            acknowledged: before,
            sent: step,
        };
        kept.people.insert(person, life);
        kept.fresh.push(person);
    }

    pub(super) fn done(&self, person: Person, step: Step) {
        let mut kept = self.kept();
        kept.acknowledged += 1;
        let life = Life {
            acknowledged: step,
            sent: step,
        };
        kept.people.insert(person, life);
    }

    /// How many steps were acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.kept().acknowledged
    }

    /// Looks for whom the last round touched.
    pub(super) async fn check(&self, client: &Client, losses: &mut Vec<String>) -> Result<u64> {
        let mut people = std::mem::take(&mut self.kept().fresh);
        people.sort_unstable();
        people.dedup();
        self.check_those(client, &people, losses).await
    }

    /// Looks for everybody.
    pub(super) async fn check_everybody(&self, client: &Client, losses: &mut Vec<String>) -> Result<u64> {
        let people: Vec<Person> = self.kept().people.keys().copied().collect();
        self.check_those(client, &people, losses).await
    }

    async fn check_those(&self, client: &Client, people: &[Person], losses: &mut Vec<String>) -> Result<u64> {
        for person in people {
            let found = client.records_of(*person).await?;
            let life = self.kept().people[person];
            let possible = |step: &Step| (life.acknowledged..=life.sent).contains(step) && step.leaves(&found);
            if !possible(&Step::Unknown) && !Step::ALL.iter().any(possible) {
                let shown = found.each_ref().map(Option::is_some);
                losses.push(format!(
                    "the records of person {person} are as no step from {:?} to {:?} leaves them: found by {shown:?}",
                    life.acknowledged, life.sent
                ));
            }
        }
        Ok(people.len() as u64)
    }
}
