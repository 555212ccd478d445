//! Histories of people who come and go, beside plain statements of what they have to say.

use std::collections::BTreeMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::{
    super::super::model::{Amendment, Choice, Consent, ConsentString, Dated, Effect, Identifier, PurposeWrite},
    *,
};

/// What the store does with writes, without a store: who is found by which name, and the rows that are kept.
#[derive(Default, Clone)]
struct Desk {
    now: i64,
    owners: BTreeMap<u8, RecordId>,
    living: BTreeMap<RecordId, Living>,
    rows: BTreeMap<RecordId, Vec<Line>>,
}

#[derive(Clone)]
struct Living {
    record: Record,
    updated_at: Moment,
    revision: u32,
}

impl Desk {
    /// Takes in what one call says about the person or the people of these names. Tells whether it was kept.
    fn write(&mut self, names: &[u8], write: &Write) -> bool {
        let mut found: Vec<RecordId> = names.iter().filter_map(|name| self.owners.get(name).copied()).collect();
        found.sort_unstable();
        found.dedup();
        let id = found
            .first()
            .copied()
            .unwrap_or(RecordId(Uuid::from_u128(self.rows.len() as u128 + 1)));
        let others: Vec<RecordId> = found.into_iter().filter(|other| *other != id).collect();
        let now = Moment(self.now);
        self.living.entry(id).or_insert(Living {
            record: Record::empty(),
            updated_at: now,
            revision: 0,
        });
        if !others.is_empty() {
            let parts = others.iter().chain([&id]).map(|part| {
                let held = &self.living[part];
                (held.updated_at, *part, held.record.clone())
            });
            let whole = Record::united(id, parts.collect());
            self.living.get_mut(&id).unwrap().record = whole;
            self.living.retain(|other, _| !others.contains(other));
        }
        for owner in self.owners.values_mut().filter(|owner| others.contains(owner)) {
            *owner = id;
        }
        self.owners.extend(names.iter().map(|name| (*name, id)));
        let held = self.living.get_mut(&id).unwrap();
        let effect = held.record.apply(write);
        let number = u32::try_from(self.rows.values().map(Vec::len).sum::<usize>()).unwrap();
        let rows = self.rows.entry(id).or_default();
        let place = if effect == Effect::Changed || !others.is_empty() {
            held.revision += 1;
            held.updated_at = held.updated_at.max(now);
            Place::Change(held.revision)
        } else {
            Place::Late {
                after: Some(held.revision),
            }
        };
        let event = Event {
            absorbed: others,
            what: Happening::Write(write.clone()),
            changes: Vec::new(),
        };
        let is_late = matches!(place, Place::Late { .. });
        let is_known =
            |row: &Line| matches!((&row.place, &row.what), (Place::Late { .. }, What::Event(other)) if *other == event);
        let is_kept = !is_late || effect == Effect::Late && !rows.iter().any(is_known);
        if is_kept {
            rows.push(Line {
                place,
                learned_at: now,
                number,
                what: What::Event(event),
            });
        }
        is_kept
    }

    /// Says who the person of a name is from now on.
    fn amend(&mut self, name: u8, amendment: &Amendment) {
        let Some(id) = self.owners.get(&name) else { return };
        let held = self.living.get_mut(id).unwrap();
        if held.record.amend(amendment) == Effect::Changed {
            held.revision += 1;
            held.updated_at = held.updated_at.max(Moment(self.now));
            let number = u32::try_from(self.rows.values().map(Vec::len).sum::<usize>()).unwrap();
            self.rows.get_mut(id).unwrap().push(Line {
                place: Place::Change(held.revision),
                learned_at: Moment(self.now),
                number,
                what: What::Event(Event {
                    absorbed: Vec::new(),
                    what: Happening::Amendment(amendment.clone()),
                    changes: Vec::new(),
                }),
            });
        }
    }

    fn take(&mut self, call: &Call) {
        self.now += call.pause;
        match &call.amendment {
            Some(amendment) => self.amend(call.names[0], amendment),
            None => {
                self.write(&call.names, &call.write);
            }
        }
    }

    fn after(calls: &[Call]) -> Desk {
        let mut desk = Desk::default();
        calls.iter().for_each(|call| desk.take(call));
        desk
    }

    /// The history of a person, with its rows in an order that says nothing.
    fn person(&self, id: RecordId) -> Person {
        let parts = [id].into_iter().chain(self.living[&id].record.absorbed.iter().copied());
        let rows = |part: RecordId| self.rows[&part].iter().rev().cloned().collect();
        Person::new(id, parts.map(|part| (part, rows(part))).collect()).expect("no row is missing")
    }

    fn people(&self) -> impl Iterator<Item = (RecordId, Person)> {
        self.living.keys().map(|id| (*id, self.person(*id)))
    }
}

#[derive(Clone, Debug)]
struct Call {
    pause: i64,
    names: Vec<u8>,
    write: Write,
    /// In place of the write.
    amendment: Option<Amendment>,
}

fn write(at: i64) -> Write {
    Write {
        timestamp: Moment(at),
        confirmed: true,
        updated: (at % 2 == 0).then_some(at % 3 == 0),
        prompted: (at % 3 == 0).then_some(at % 2 == 0),
        identifiers: Vec::new(),
        user_id: None,
        purposes: Vec::new(),
        strings: Vec::new(),
        metadata: Vec::new(),
        metadata_timestamp: Moment(at),
        birth_date: None,
    }
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[ab]{0,1}")
}

/// When a purpose was answered, how, and its topics.
type Answers = (i64, bool, BTreeMap<u32, Option<Choice>>);

fn any_choice() -> impl Strategy<Value = Option<Choice>> {
    prop_oneof![Just(None), any::<bool>().prop_map(|yes| Some(Choice::Boolean(yes)))]
}

prop_compose! {
    /// A write at some time, with parts that have times of their own.
    fn any_write(at: impl Strategy<Value = i64>, own: i64)(
        at in at,
        confirmed: bool,
        user_id in any_text(),
        purposes in prop::collection::btree_map(
            0u32..3,
            (0..=own, any::<bool>(), prop::collection::btree_map(0u32..2, any_choice(), 0..2)),
            0..3,
        ),
        usp in prop::option::of(any_text()),
        metadata in prop::collection::btree_map("[xy]", any_text(), 0..2),
        of_metadata in 0..=own,
        birth_date in any_text(),
    ) -> Write {
        let says = |(purpose, (own, enabled, topics)): (u32, Answers)| PurposeWrite {
            purpose,
            at: Moment(at + own),
            consent: Consent { enabled, source_system: None },
            topics: topics.into_iter().collect(),
        };
        Write {
            confirmed,
            user_id,
            purposes: purposes.into_iter().map(says).collect(),
            strings: usp.map(|usp| (ConsentString::Usp, usp)).into_iter().collect(),
            metadata: metadata.into_iter().collect(),
            metadata_timestamp: Moment(at + of_metadata),
            birth_date,
            ..write(at)
        }
    }
}

fn identifier(name: u8) -> Identifier {
    Identifier {
        name: "n".to_owned(),
        value: name.to_string(),
    }
}

prop_compose! {
    fn any_call(pauses: std::ops::Range<i64>, names: usize)(
        pause in pauses,
        names in prop::collection::btree_set(0u8..4, 1..=names),
        amends in prop::bool::weighted(0.15),
        (gone, new) in (prop::option::of(0u8..4), prop::option::of(0u8..4)),
        mut write in any_write(1i64..12, 3),
    ) -> Call {
        write.identifiers = names.iter().copied().map(identifier).collect();
        let amendment = Amendment { at: write.timestamp, gone: gone.map(identifier), new: new.map(identifier) };
        Call { pause, names: names.into_iter().collect(), write, amendment: amends.then_some(amendment) }
    }
}

fn calls(pauses: std::ops::Range<i64>, names: usize) -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(any_call(pauses, names), 1..10)
}

/// A record with its lists in an order that does not tell in which order things arrived.
fn sorted(mut record: Record) -> Record {
    record.purposes.sort_by_key(|answer| answer.purpose);
    for answer in &mut record.purposes {
        answer.topics.sort_by_key(|answer| answer.topic);
    }
    record.absorbed.sort();
    record
}

fn record_of(person: &Person, view: View) -> Option<Record> {
    person.state(view).map(|state| state.record.into_owned())
}

fn as_of(at: i64) -> View {
    View {
        as_of: Some(Moment(at)),
        known_at: None,
    }
}

fn known_at(at: i64) -> View {
    View {
        as_of: None,
        known_at: Some(Moment(at)),
    }
}

/// Later than anything in these histories.
const END: i64 = 1_000;

/// Every answer of a record with its time.
fn registers(record: &Record) -> BTreeMap<String, Moment> {
    let mut all = BTreeMap::new();
    for answer in &record.purposes {
        all.insert(format!("purpose {}", answer.purpose), answer.consent.at);
        for topic in &answer.topics {
            all.insert(format!("topic {} {}", answer.purpose, topic.topic), topic.choice.at);
        }
    }
    let strings = record
        .strings
        .iter()
        .flatten()
        .map(|text| ("string".to_owned(), text.at));
    let metadata = record
        .metadata
        .iter()
        .map(|(key, text)| (format!("metadata {key}"), text.at));
    let births = record.birth_date.iter().map(|text| ("birth date".to_owned(), text.at));
    all.extend(strings.chain(metadata).chain(births));
    all.insert("record".to_owned(), record.timestamp);
    all
}

/// The newest value of a register that was chosen by then; of equally old ones the one that arrived last.
fn newest<T>(offers: impl Iterator<Item = (Moment, T)>, as_of: i64) -> Option<Dated<T>> {
    let chosen = offers.filter(|(at, _)| at.0 <= as_of);
    // Of several that are newest it gives the last.
    chosen.max_by_key(|(at, _)| *at).map(|(at, value)| Dated { value, at })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12_000))]

    #[test]
    fn a_history_ends_in_the_record_as_it_is_stored(calls in calls(0..3, 2)) {
        let desk = Desk::after(&calls);
        for (id, person) in desk.people() {
            let held = &desk.living[&id];
            let now = View { as_of: Some(Moment(END)), known_at: Some(Moment(desk.now)) };
            for view in [View::default(), now] {
                let state = person.state(view).unwrap();
                prop_assert_eq!(state.updated_at, held.updated_at);
                prop_assert_eq!(&*state.record, &held.record);
            }
            // The timeline comes to the same end, entry by entry.
            let mut replay = person.replay(None);
            person.steps().iter().for_each(|step| replay.take(step));
            prop_assert_eq!(&*replay.state().unwrap().record, &held.record);
        }
    }

    #[test]
    fn as_known_at_a_time_it_is_what_was_stored_then(calls in calls(1..4, 2)) {
        let mut desk = Desk::default();
        let mut moments = Vec::new();
        for call in &calls {
            desk.take(call);
            moments.push((desk.now, desk.living.clone()));
        }
        for (id, person) in desk.people() {
            let of_person = |part: &RecordId| *part == id || desk.living[&id].record.absorbed.contains(part);
            for (now, living) in &moments {
                // Until records were joined they are told as they would be if they had been.
                let parts: Vec<_> = living.iter().filter(|(part, _)| of_person(part)).collect();
                let expected = match parts[..] {
                    [] => None,
                    [(_, held)] => Some(held.record.clone()),
                    _ => {
                        let parts = parts.iter().map(|(part, held)| (held.updated_at, **part, held.record.clone()));
                        Some(Record::united(id, parts.collect()))
                    }
                };
                prop_assert_eq!(record_of(&person, known_at(*now)), expected);
            }
        }
    }

    #[test]
    fn as_of_a_time_each_answer_is_the_newest_that_was_given_by_then(calls in calls(0..3, 1), at in 0i64..16) {
        let mut desk = Desk::default();
        let mut kept = Vec::new();
        for call in &calls {
            desk.now += call.pause;
            if desk.write(&[1], &call.write) {
                kept.push(&call.write);
            }
        }
        let person = desk.person(desk.owners[&1]);
        let state = record_of(&person, as_of(at));
        let times = kept.iter().flat_map(|write| {
            let metadata = (!write.metadata.is_empty()).then_some(write.metadata_timestamp);
            write.purposes.iter().map(|said| said.at).chain([write.timestamp]).chain(metadata)
        });
        let is_anything_there = times.min().is_some_and(|first| first.0 <= at);
        prop_assert_eq!(state.is_some(), is_anything_there, "before the first event there is nothing");
        let state = state.unwrap_or(Record::empty());
        for purpose in 0..3 {
            let said = || kept.iter().flat_map(|write| &write.purposes).filter(|said| said.purpose == purpose);
            let answer = state.purposes.iter().find(|answer| answer.purpose == purpose);
            let expected = newest(said().map(|said| (said.at, said.consent.clone())), at);
            prop_assert_eq!(answer.map(|answer| answer.consent.clone()), expected);
            for topic in 0..2 {
                let choices = said().flat_map(|said| said.topics.iter().map(move |(topic, choice)| (said.at, topic, choice)));
                let choices = choices.filter(|(_, one, _)| **one == topic).map(|(at, _, choice)| (at, choice.clone()));
                let held = answer.and_then(|answer| answer.topics.iter().find(|answer| answer.topic == topic));
                prop_assert_eq!(held.map(|held| held.choice.clone()), newest(choices, at));
            }
        }
        let strings = kept.iter().flat_map(|write| write.strings.iter().map(|(_, text)| (write.timestamp, text.clone())));
        prop_assert_eq!(state.strings[0].clone(), newest(strings, at));
        let births = kept.iter().filter_map(|write| Some((write.timestamp, write.birth_date.clone()?)));
        prop_assert_eq!(state.birth_date.clone(), newest(births, at));
        for key in ["x", "y"] {
            let said = kept.iter().flat_map(|write| write.metadata.iter().map(|said| (write.metadata_timestamp, said)));
            let said = said.filter(|(_, (one, _))| one == key).map(|(at, (_, text))| (at, text.clone()));
            let held = state.metadata.iter().find(|(one, _)| one == key).map(|(_, text)| text.clone());
            prop_assert_eq!(held, newest(said, at));
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter_to_what_was_chosen_by_a_time(
        (writes, order) in prop::collection::vec(any_write(Just(0), 3), 1..6).prop_flat_map(|writes| {
            let order: Vec<usize> = (0..writes.len()).collect();
            (Just(writes), Just(order).prop_shuffle())
        }),
        at in 0i64..70,
    ) {
        // Ten apart, so that no two parts of different writes have the same time.
        let later = |(number, mut write): (usize, Write)| {
            let by = (i64::try_from(number).unwrap() + 1) * 10;
            let later = |at: Moment| Moment(at.0 + by);
            write.timestamp = later(write.timestamp);
            write.metadata_timestamp = later(write.metadata_timestamp);
            write.purposes.iter_mut().for_each(|said| said.at = later(said.at));
            write
        };
        let writes: Vec<Write> = writes.into_iter().enumerate().map(later).collect();
        let state = |writes: Vec<&Write>| {
            let mut desk = Desk::default();
            for write in writes {
                desk.now += 1;
                desk.write(&[1], write);
            }
            record_of(&desk.person(desk.owners[&1]), as_of(at)).map(sorted)
        };
        prop_assert_eq!(state(writes.iter().collect()), state(order.iter().map(|place| &writes[*place]).collect()));
    }

    #[test]
    fn who_looks_later_sees_no_less(calls in calls(1..4, 2), at in (0i64..16, 0i64..6), known in (0i64..30, 0i64..10)) {
        let desk = Desk::after(&calls);
        for (_, person) in desk.people() {
            let view = |at: i64, known: i64| View { as_of: Some(Moment(at)), known_at: Some(Moment(known)) };
            let Some(before) = record_of(&person, view(at.0, known.0)) else { continue };
            let after = record_of(&person, view(at.0 + at.1, known.0 + known.1));
            let after = after.map(|record| registers(&record)).unwrap_or_default();
            for (name, time) in registers(&before) {
                prop_assert!(after.get(&name).is_some_and(|later| time <= *later), "{name}");
                prop_assert!(time.0 <= at.0);
            }
        }
    }
}

#[test]
fn a_late_arrival_says_what_held_until_it_was_superseded() {
    let says = |at: i64, enabled: bool| Write {
        purposes: vec![PurposeWrite {
            purpose: 1,
            at: Moment(at),
            consent: Consent {
                enabled,
                source_system: None,
            },
            topics: vec![],
        }],
        ..write(at)
    };
    let mut desk = Desk {
        now: 100,
        ..Desk::default()
    };
    desk.write(&[1], &says(20, false));
    desk.now = 200;
    desk.write(&[1], &says(10, true));
    let person = desk.person(desk.owners[&1]);
    let seen = |at: i64, known: i64| {
        let view = View {
            as_of: Some(Moment(at)),
            known_at: Some(Moment(known)),
        };
        record_of(&person, view).map(|record| record.purposes[0].consent.value.enabled)
    };
    assert_eq!((seen(15, 100), seen(15, 199), seen(15, 200)), (None, None, Some(true)));
    assert_eq!(
        (seen(20, 99), seen(20, 100), seen(20, 200)),
        (None, Some(false), Some(false))
    );
    assert_eq!(seen(9, 200), None);
}

#[test]
fn a_history_with_a_gap_is_none() {
    let mut desk = Desk::default();
    desk.write(&[1], &write(1));
    desk.write(&[2], &write(2));
    desk.write(&[1, 2], &write(3));
    let id = desk.owners[&1];
    let rows = |part: RecordId| (part, desk.rows[&part].clone());
    let other = desk.living[&id].record.absorbed[0];
    assert!(Person::new(id, vec![rows(id), rows(other)]).is_some());
    assert!(Person::new(id, vec![rows(id)]).is_none());
    assert!(Person::new(id, vec![rows(other)]).is_none());
    assert!(Person::new(id, vec![]).is_none());
}
