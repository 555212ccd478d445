//! One person's history, worked through again: what they had chosen at one time, as we knew it at another. Pure.
//!
//! Each thing that happened has two times: when the person chose, which stands in the write, and when we learned of it.
//! A [`View`] looks at both. Seen as known at K, whatever we learned after K has not happened. Seen as of T, a choice that
//! was made after T is not there; the values that stay are then told apart by the rules of `model.rs`, as ever. So:
//!
//! * seen as of no time and as known at no time, a history ends in the record as it is stored;
//! * a write that came late changed nothing then, and still says what held until the choice that superseded it;
//! * who a person is has no event time: identifiers are those we knew of at K, whatever T is;
//! * records that were found to be of one person count as one at all times, also at a K before they were joined. Until
//!   then each is worked through by itself, and they are joined by the rule by which they were joined in the end.

use std::{borrow::Cow, collections::HashMap};

use super::super::{
    encoding::{Event, Happening},
    model::{Record, RecordId, Write},
    moment::Moment,
};

/// From when a history is looked at. None looks at all of it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(in crate::preferences) struct View {
    /// Choices made by then.
    pub(in crate::preferences) as_of: Option<Moment>,
    /// What we had learned by then.
    pub(in crate::preferences) known_at: Option<Moment>,
}

/// One line of a record's history, as it was kept.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::preferences) struct Line {
    pub(in crate::preferences) place: Place,
    pub(in crate::preferences) learned_at: Moment,
    /// Its place among what one call brought.
    pub(in crate::preferences) number: u32,
    pub(in crate::preferences) what: What,
}

/// Where in a record's history something belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::preferences) enum Place {
    /// It made the record this revision.
    Change(u32),
    /// It changed nothing.
    Late {
        /// It came after this revision, if that was noted.
        after: Option<u32>,
    },
}

/// What happened.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug))]
pub(in crate::preferences) enum What {
    Event(Event),
    /// Everything up to here was replaced by what it came to. Whatever it says was chosen before the horizon.
    Base {
        record: Record,
        horizon: Moment,
    },
}

/// What a person had chosen, seen in some way.
pub(in crate::preferences) struct State<'a> {
    pub(in crate::preferences) record: Cow<'a, Record>,
    /// When we had last written it.
    pub(in crate::preferences) updated_at: Moment,
}

/// The history of a person: that of their record, and of each record that became part of it, in one order.
pub(in crate::preferences) struct Person {
    survivor: RecordId,
    parts: Vec<RecordId>,
    steps: Vec<Step>,
    horizon: Option<Moment>,
}

/// One thing that happened, in the order of all.
pub(in crate::preferences) struct Step {
    /// When it counts as learned: never before what came before it, though a clock may have been set back.
    at: Moment,
    learned_at: Moment,
    /// Its place among what one call brought, or that of what it came after.
    number: u32,
    part: usize,
    /// Records that became part of this one, just before.
    absorbed: Vec<usize>,
    pub(in crate::preferences) is_change: bool,
    pub(in crate::preferences) what: What,
}

impl Step {
    /// When it counts as learned.
    pub(in crate::preferences) fn counts_from(&self) -> Moment {
        self.at
    }

    /// Whether the record of consent tells of it: of each change but those that only say who somebody is.
    pub(in crate::preferences) fn is_entry(&self) -> bool {
        let says_who = match &self.what {
            What::Event(event) => matches!(event.what, Happening::Amendment(_)) && event.absorbed.is_empty(),
            What::Base { .. } => false,
        };
        self.is_change && !says_who
    }
}

impl Person {
    /// The history of `survivor` and of the records that are part of it. None if it has gaps.
    pub(in crate::preferences) fn new(survivor: RecordId, mut parts: Vec<(RecordId, Vec<Line>)>) -> Option<Person> {
        // Records whose history went into a base have none of their own any more.
        let in_bases: Vec<RecordId> = parts.iter().flat_map(|(_, rows)| absorbed_in_bases(rows)).collect();
        parts.retain(|(id, rows)| !rows.is_empty() && !in_bases.contains(id));
        let ids: Vec<RecordId> = parts.iter().map(|(id, _)| *id).collect();
        let numbers: HashMap<RecordId, usize> = ids.iter().enumerate().map(|(number, id)| (*id, number)).collect();
        if !numbers.contains_key(&survivor) {
            return None;
        }
        let mut chains = Vec::with_capacity(parts.len());
        for (number, (_, rows)) in parts.into_iter().enumerate() {
            chains.push(chain(number, rows, &numbers)?);
        }
        let heights = settle(&mut chains)?;
        let mut steps: Vec<Step> = chains.into_iter().flatten().collect();
        // A record that becomes part of another has come to its end by then, and stands below it.
        steps.sort_by_key(|step| (step.at, step.number, heights[step.part], step.part));
        let horizon = steps.iter().filter_map(|step| match &step.what {
            What::Base { horizon, .. } => Some(*horizon),
            What::Event(_) => None,
        });
        Some(Person {
            survivor,
            parts: ids,
            horizon: horizon.max(),
            steps,
        })
    }

    /// Everything that happened, in the order in which we learned of it.
    pub(in crate::preferences) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Before this the history is not kept whole.
    pub(in crate::preferences) fn horizon(&self) -> Option<Moment> {
        self.horizon
    }

    /// What the person had chosen; none if there was nothing yet. The view does not reach behind the horizon.
    pub(in crate::preferences) fn state(&self, view: View) -> Option<State<'static>> {
        let mut replay = self.replay(view.as_of);
        for step in &self.steps {
            if view.known_at.is_none_or(|known_at| step.at <= known_at) {
                replay.take(step);
            }
        }
        let State { record, updated_at } = replay.state()?;
        Some(State {
            record: Cow::Owned(record.into_owned()),
            updated_at,
        })
    }

    pub(in crate::preferences) fn replay(&self, as_of: Option<Moment>) -> Replay<'_> {
        let ahead = |id: &RecordId| Part {
            id: *id,
            record: Record::empty(),
            updated_at: Moment(i64::MIN),
            stage: Stage::Ahead,
        };
        Replay {
            person: self,
            parts: self.parts.iter().map(ahead).collect(),
            as_of,
        }
    }
}

fn absorbed_in_bases(rows: &[Line]) -> impl Iterator<Item = RecordId> {
    rows.iter()
        .filter_map(|row| match &row.what {
            What::Base { record, .. } => Some(record.absorbed.iter().copied()),
            What::Event(_) => None,
        })
        .flatten()
}

/// The rows of one record in the order in which they came.
fn chain(part: usize, mut rows: Vec<Line>, numbers: &HashMap<RecordId, usize>) -> Option<Vec<Step>> {
    let mut changes: Vec<(u32, Moment)> = rows
        .iter()
        .filter_map(|row| match row.place {
            Place::Change(revision) => Some((revision, row.learned_at)),
            Place::Late { .. } => None,
        })
        .collect();
    changes.sort_unstable();
    let first = changes.first()?.0;
    let order = |row: &Line| match row.place {
        Place::Change(revision) => (revision, 0, row.learned_at, 0),
        Place::Late { after } => {
            let known = changes
                .iter()
                .take_while(|(_, learned_at)| *learned_at <= row.learned_at);
            let after = after.or(known.last().map(|(revision, _)| *revision));
            (
                after.map_or(first, |after| after.max(first)),
                1,
                row.learned_at,
                row.number,
            )
        }
    };
    rows.sort_by_cached_key(order);
    let mut steps = Vec::with_capacity(rows.len());
    for Line {
        place,
        learned_at,
        number,
        what,
    } in rows
    {
        let absorbed = match &what {
            What::Event(event) => event
                .absorbed
                .iter()
                .map(|id| numbers.get(id).copied())
                .collect::<Option<_>>()?,
            What::Base { .. } => Vec::new(),
        };
        steps.push(Step {
            at: learned_at,
            learned_at,
            number,
            part,
            absorbed,
            is_change: matches!(place, Place::Change(_)),
            what,
        });
    }
    Some(steps)
}

/// Sees to it that nothing counts as learned before what it came after, and tells how many records deep each one is.
/// None if the records do not form trees.
fn settle(chains: &mut [Vec<Step>]) -> Option<Vec<usize>> {
    let mut heights: Vec<Option<usize>> = vec![None; chains.len()];
    let mut ends = vec![(Moment(i64::MIN), 0); chains.len()];
    let mut waiting: Vec<usize> = (0..chains.len()).collect();
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain(|part| {
            let children = chains[*part].iter().flat_map(|step| &step.absorbed);
            let below: Option<Vec<usize>> = children.map(|child| heights[*child]).collect();
            let Some(below) = below else { return true };
            heights[*part] = Some(below.into_iter().max().map_or(0, |height| height + 1));
            for step in &mut chains[*part] {
                let before = step.absorbed.iter().map(|child| ends[*child]).max();
                let own = (step.learned_at, step.number);
                ends[*part] = ends[*part].max(own).max(before.unwrap_or(own));
                (step.at, step.number) = ends[*part];
            }
            false
        });
        if waiting.len() == before {
            return None;
        }
    }
    heights.into_iter().collect()
}

/// A person's records while their history is worked through.
pub(in crate::preferences) struct Replay<'a> {
    person: &'a Person,
    parts: Vec<Part>,
    as_of: Option<Moment>,
}

struct Part {
    id: RecordId,
    record: Record,
    updated_at: Moment,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is known of it yet.
    Ahead,
    Living,
    /// It is part of another.
    Absorbed,
}

impl Replay<'_> {
    /// Takes the next step.
    pub(in crate::preferences) fn take(&mut self, step: &Step) {
        self.absorb(step);
        let part = &mut self.parts[step.part];
        part.stage = Stage::Living;
        match &step.what {
            What::Event(event) => match &event.what {
                Happening::Write(write) => {
                    part.record.apply(&chosen_by(write, self.as_of));
                }
                Happening::Amendment(amendment) => {
                    part.record.amend(amendment);
                }
            },
            What::Base { record, .. } => part.record = record.clone(),
        }
        if step.is_change {
            part.updated_at = part.updated_at.max(step.learned_at);
        }
    }

    fn absorb(&mut self, step: &Step) {
        if step.absorbed.is_empty() {
            return;
        }
        let mut parts = Vec::with_capacity(step.absorbed.len() + 1);
        for number in step.absorbed.iter().chain([&step.part]) {
            let part = &mut self.parts[*number];
            part.stage = Stage::Absorbed;
            let record = std::mem::replace(&mut part.record, Record::empty());
            parts.push((part.updated_at, part.id, record));
        }
        let part = &mut self.parts[step.part];
        part.record = Record::united(part.id, parts);
    }

    /// Where the person is now: their records as one. None if they have chosen nothing yet.
    pub(in crate::preferences) fn state(&self) -> Option<State<'_>> {
        let living: Vec<&Part> = self.parts.iter().filter(|part| part.stage == Stage::Living).collect();
        let record = match living[..] {
            [only] => Cow::Borrowed(&only.record),
            _ => {
                let parts = living
                    .iter()
                    .map(|part| (part.updated_at, part.id, part.record.clone()));
                Cow::Owned(Record::united(self.person.survivor, parts.collect()))
            }
        };
        let updated_at = living.iter().map(|part| part.updated_at).max()?;
        (record.timestamp > Record::empty().timestamp).then_some(State { record, updated_at })
    }
}

/// What of a write was chosen by then. If its own time is later, a purpose of its that was answered earlier still brings
/// along whether the person answered it themselves.
fn chosen_by(write: &Write, as_of: Option<Moment>) -> Cow<'_, Write> {
    let Some(as_of) = as_of else {
        return Cow::Borrowed(write);
    };
    let times = write.purposes.iter().map(|said| said.at);
    let times = times
        .chain([write.timestamp])
        .chain((!write.metadata.is_empty()).then_some(write.metadata_timestamp));
    if times.clone().all(|at| at <= as_of) {
        return Cow::Borrowed(write);
    }
    let newest = times.filter(|at| *at <= as_of).max();
    let mut chosen = write.clone();
    chosen.purposes.retain(|said| said.at <= as_of);
    if write.metadata_timestamp > as_of {
        chosen.metadata.clear();
    }
    if write.timestamp > as_of {
        chosen.timestamp = newest.unwrap_or(Record::empty().timestamp);
        chosen.confirmed &= newest.is_some();
        chosen.user_id = None;
        chosen.birth_date = None;
        chosen.updated = None;
        chosen.prompted = None;
        chosen.strings.clear();
    }
    Cow::Owned(chosen)
}

#[cfg(test)]
mod tests;
