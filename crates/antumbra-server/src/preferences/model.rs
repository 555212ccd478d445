//! A preference record and the rules by which writes become part of it. Pure: no clock, no I/O.
//!
//! A record is a set of small registers, each with the time at which its value was chosen: one for a purpose, one for
//! each topic under it, one for each metadata key and each consent string. A write offers values with times. **The
//! later time wins; at equal times the later arrival does.** So with distinct times the order in which writes arrive
//! does not matter, nor does it matter how often they do. What was cleared keeps its time, hidden, so that an older
//! value that comes late can't bring it back.

use std::fmt;

use antumbra_store::{Corrupt, Key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::moment::Moment;

/// The id of a preference record: its `transcend` identifier on the wire. Sorts by time of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub Uuid);

impl Key for RecordId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(RecordId)
    }
}

/// A name and a normalised value that point at a person.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identifier {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identifier(..)")
    }
}

/// A value and when it was chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Dated<T> {
    pub(crate) value: T,
    pub(crate) at: Moment,
}

/// What an offer did to a register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Effect {
    /// The register already held just this.
    Same,
    /// The register holds a later value, which stays.
    Late,
    /// The register holds what was offered.
    Changed,
}

/// What somebody answered to a topic.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Choice {
    Boolean(bool),
    /// The number of an option.
    Select(u32),
    /// The numbers of options, each once, in the order in which they were given.
    MultiSelect(Vec<u32>),
}

/// The answer to one topic; none once it was cleared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TopicAnswer {
    pub(crate) topic: u32,
    pub(crate) choice: Dated<Option<Choice>>,
}

/// The answer to one purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PurposeAnswer {
    pub(crate) purpose: u32,
    pub(crate) consent: Dated<Consent>,
    pub(crate) topics: Vec<TopicAnswer>,
}

/// Whether a purpose is allowed, and which system said so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Consent {
    pub(crate) enabled: bool,
    pub(crate) source_system: Option<String>,
}

/// The four strings of `consentManagement`, in the order in which they are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ConsentString {
    Usp,
    Gpp,
    Tcf,
    AirgapVersion,
}

impl ConsentString {
    pub(crate) const ALL: [ConsentString; 4] = [
        ConsentString::Usp,
        ConsentString::Gpp,
        ConsentString::Tcf,
        ConsentString::AirgapVersion,
    ];
}

/// A text register; none once it was cleared.
pub(crate) type TextRegister = Dated<Option<String>>;

/// What one person has answered in one partition.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Record {
    /// The newest record-level event time.
    pub(crate) timestamp: Moment,
    /// Whether the person made the newest choice themselves.
    pub(crate) confirmed: bool,
    /// Sorted, each once. The record's own id is not among them.
    pub(crate) identifiers: Vec<Identifier>,
    /// The legacy single identifier, spelt as the newest write that had one spelt it.
    pub(crate) user_id: Option<Dated<String>>,
    /// In the order in which they were first answered.
    pub(crate) purposes: Vec<PurposeAnswer>,
    /// By [`ConsentString`].
    pub(crate) strings: [Option<TextRegister>; 4],
    /// Sorted by key, each key once.
    pub(crate) metadata: Vec<(String, TextRegister)>,
    /// The newest time at which metadata was given.
    pub(crate) metadata_timestamp: Option<Moment>,
    pub(crate) birth_date: Option<Dated<String>>,
    /// Whether the consent manager said that anything was chosen since it worked out the defaults.
    pub(crate) updated: Option<Dated<bool>>,
    /// Whether the consent manager said that the person was asked.
    pub(crate) prompted: Option<Dated<bool>>,
    /// Records that were found to be of the same person and became part of this one. Their history stays theirs.
    pub(crate) absorbed: Vec<RecordId>,
}

/// What one call said about one person, checked and normalised.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Write {
    pub(crate) timestamp: Moment,
    pub(crate) confirmed: bool,
    /// Sorted, each once, without `transcend`.
    pub(crate) identifiers: Vec<Identifier>,
    pub(crate) user_id: Option<String>,
    pub(crate) purposes: Vec<PurposeWrite>,
    pub(crate) strings: Vec<(ConsentString, Option<String>)>,
    pub(crate) metadata: Vec<(String, Option<String>)>,
    pub(crate) metadata_timestamp: Moment,
    pub(crate) birth_date: Option<String>,
    pub(crate) updated: Option<bool>,
    pub(crate) prompted: Option<bool>,
}

/// What a write says about one purpose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PurposeWrite {
    pub(crate) purpose: u32,
    pub(crate) at: Moment,
    pub(crate) consent: Consent,
    /// None clears the answer.
    pub(crate) topics: Vec<(u32, Option<Choice>)>,
}

/// What one call changed about who a person is. Nothing is chosen by it, so the record's own time stays.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Amendment {
    /// When, as the caller says.
    pub(crate) at: Moment,
    /// The identifier that the record has no longer.
    pub(crate) gone: Option<Identifier>,
    /// The identifier that it has from now on.
    pub(crate) new: Option<Identifier>,
}

impl Record {
    /// A record that holds nothing yet.
    pub(crate) fn empty() -> Record {
        Record {
            timestamp: Moment(i64::MIN),
            confirmed: false,
            identifiers: Vec::new(),
            user_id: None,
            purposes: Vec::new(),
            strings: [None, None, None, None],
            metadata: Vec::new(),
            metadata_timestamp: None,
            birth_date: None,
            updated: None,
            prompted: None,
            absorbed: Vec::new(),
        }
    }

    /// Takes in a write. `Late` means that something in it was older than what is held and nothing changed.
    pub(crate) fn apply(&mut self, write: &Write) -> Effect {
        let mut effect = self.take_timestamp(write.timestamp, write.confirmed);
        let mut note = |one: Effect| effect = effect.max(one);
        for identifier in &write.identifiers {
            note(self.add_identifier(identifier.clone()));
        }
        if let Some(user_id) = &write.user_id {
            note(offer(&mut self.user_id, user_id, write.timestamp));
        }
        for said in &write.purposes {
            let (answer, one) = offer_consent(&mut self.purposes, said.purpose, &said.consent, said.at);
            note(one);
            for (topic, choice) in &said.topics {
                note(offer_topic(&mut answer.topics, *topic, choice, said.at));
            }
        }
        for (string, value) in &write.strings {
            note(offer(&mut self.strings[*string as usize], value, write.timestamp));
        }
        for (key, value) in &write.metadata {
            note(offer_metadata(&mut self.metadata, key, value, write.metadata_timestamp));
        }
        if !write.metadata.is_empty() && self.metadata_timestamp < Some(write.metadata_timestamp) {
            self.metadata_timestamp = Some(write.metadata_timestamp);
            note(Effect::Changed);
        }
        if let Some(birth_date) = &write.birth_date {
            note(offer(&mut self.birth_date, birth_date, write.timestamp));
        }
        for (register, said) in [(&mut self.updated, write.updated), (&mut self.prompted, write.prompted)] {
            if let Some(said) = said {
                note(offer(register, &said, write.timestamp));
            }
        }
        effect
    }

    /// Takes in another record of the same person. At equal times `other` wins: callers give the one written last.
    pub(crate) fn absorb(&mut self, other: Record) {
        let confirmed = self.confirmed || other.confirmed;
        self.take_timestamp(other.timestamp, confirmed);
        self.confirmed = confirmed;
        for identifier in other.identifiers {
            self.add_identifier(identifier);
        }
        if let Some(user_id) = other.user_id {
            offer(&mut self.user_id, &user_id.value, user_id.at);
        }
        for theirs in other.purposes {
            let consent = &theirs.consent;
            let (mine, _) = offer_consent(&mut self.purposes, theirs.purpose, &consent.value, consent.at);
            for topic in theirs.topics {
                offer_topic(&mut mine.topics, topic.topic, &topic.choice.value, topic.choice.at);
            }
        }
        for (mine, theirs) in self.strings.iter_mut().zip(other.strings) {
            if let Some(theirs) = theirs {
                offer(mine, &theirs.value, theirs.at);
            }
        }
        for (key, theirs) in other.metadata {
            offer_metadata(&mut self.metadata, &key, &theirs.value, theirs.at);
        }
        self.metadata_timestamp = self.metadata_timestamp.max(other.metadata_timestamp);
        if let Some(birth_date) = other.birth_date {
            offer(&mut self.birth_date, &birth_date.value, birth_date.at);
        }
        for (mine, theirs) in [(&mut self.updated, other.updated), (&mut self.prompted, other.prompted)] {
            if let Some(theirs) = theirs {
                offer(mine, &theirs.value, theirs.at);
            }
        }
        self.absorbed.extend(other.absorbed);
    }

    /// Takes in who the person is from now on: one identifier goes, one comes. What the person was called as `userId` is
    /// called by the new value, or no longer, if it meant the one that goes.
    pub(crate) fn amend(&mut self, amendment: &Amendment) -> Effect {
        let mut effect = Effect::Same;
        if let Some(gone) = &amendment.gone
            && let Ok(place) = self.identifiers.binary_search(gone)
        {
            self.identifiers.remove(place);
            let meant = self
                .user_id
                .take_if(|user_id| is_spelling_of(&user_id.value, &gone.value));
            self.user_id = self.user_id.take().or_else(|| {
                let value = amendment.new.as_ref()?.value.clone();
                Some(Dated { value, at: meant?.at })
            });
            effect = Effect::Changed;
        }
        if let Some(new) = &amendment.new {
            effect = effect.max(self.add_identifier(new.clone()));
        }
        effect
    }

    /// Several records of one person as one, which keeps the id `survivor`. Each comes with the time at which it was last
    /// written: of equally old values that of the record written last stays.
    pub(crate) fn united(survivor: RecordId, mut parts: Vec<(Moment, RecordId, Record)>) -> Record {
        parts.sort_by_key(|(updated_at, id, _)| (*updated_at, *id));
        let mut whole = Record::empty();
        for (_, part, record) in parts {
            if part != survivor {
                whole.absorbed.push(part);
            }
            whole.absorb(record);
        }
        whole
    }

    fn take_timestamp(&mut self, timestamp: Moment, confirmed: bool) -> Effect {
        if timestamp < self.timestamp {
            return Effect::Late;
        }
        let same = timestamp == self.timestamp && confirmed == self.confirmed;
        (self.timestamp, self.confirmed) = (timestamp, confirmed);
        if same { Effect::Same } else { Effect::Changed }
    }

    fn add_identifier(&mut self, identifier: Identifier) -> Effect {
        match self.identifiers.binary_search(&identifier) {
            Ok(_) => Effect::Same,
            Err(place) => {
                self.identifiers.insert(place, identifier);
                Effect::Changed
            }
        }
    }
}

fn offer_consent<'a>(
    answers: &'a mut Vec<PurposeAnswer>,
    purpose: u32,
    consent: &Consent,
    at: Moment,
) -> (&'a mut PurposeAnswer, Effect) {
    match answers.iter().position(|answer| answer.purpose == purpose) {
        Some(place) => {
            let answer = &mut answers[place];
            let effect = offer_to(&mut answer.consent, consent, at);
            (answer, effect)
        }
        None => {
            let consent = Dated {
                value: consent.clone(),
                at,
            };
            answers.push(PurposeAnswer {
                purpose,
                consent,
                topics: Vec::new(),
            });
            (answers.last_mut().expect("it was just put there"), Effect::Changed)
        }
    }
}

fn offer_topic(answers: &mut Vec<TopicAnswer>, topic: u32, choice: &Option<Choice>, at: Moment) -> Effect {
    match answers.iter_mut().find(|answer| answer.topic == topic) {
        Some(answer) => offer_to(&mut answer.choice, choice, at),
        None => {
            answers.push(TopicAnswer {
                topic,
                choice: Dated {
                    value: choice.clone(),
                    at,
                },
            });
            Effect::Changed
        }
    }
}

fn offer_metadata(held: &mut Vec<(String, TextRegister)>, key: &str, value: &Option<String>, at: Moment) -> Effect {
    match held.binary_search_by(|(other, _)| other.as_str().cmp(key)) {
        Ok(place) => offer_to(&mut held[place].1, value, at),
        Err(place) => {
            held.insert(
                place,
                (
                    key.to_owned(),
                    Dated {
                        value: value.clone(),
                        at,
                    },
                ),
            );
            Effect::Changed
        }
    }
}

fn offer<T: Clone + PartialEq>(register: &mut Option<Dated<T>>, value: &T, at: Moment) -> Effect {
    match register {
        Some(held) => offer_to(held, value, at),
        None => {
            *register = Some(Dated {
                value: value.clone(),
                at,
            });
            Effect::Changed
        }
    }
}

/// Whether a `userId`, which is kept as it was sent, became this identifier when it was normalised.
fn is_spelling_of(user_id: &str, value: &str) -> bool {
    let user_id = user_id.trim();
    user_id == value || user_id.to_lowercase() == value
}

/// The one rule: the later time wins, and at equal times what arrives now does.
fn offer_to<T: Clone + PartialEq>(held: &mut Dated<T>, value: &T, at: Moment) -> Effect {
    if at < held.at {
        return Effect::Late;
    }
    if at == held.at && *value == held.value {
        return Effect::Same;
    }
    *held = Dated {
        value: value.clone(),
        at,
    };
    Effect::Changed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write(at: i64) -> Write {
        Write {
            timestamp: Moment(at),
            confirmed: true,
            identifiers: Vec::new(),
            user_id: None,
            purposes: Vec::new(),
            strings: Vec::new(),
            metadata: Vec::new(),
            metadata_timestamp: Moment(at),
            birth_date: None,
            updated: None,
            prompted: None,
        }
    }

    fn says(purpose: u32, at: i64, enabled: bool, topics: Vec<(u32, Option<Choice>)>) -> PurposeWrite {
        PurposeWrite {
            purpose,
            at: Moment(at),
            consent: Consent {
                enabled,
                source_system: None,
            },
            topics,
        }
    }

    fn after(writes: &[Write]) -> Record {
        let mut record = Record::empty();
        for write in writes {
            record.apply(write);
        }
        record
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

    fn shows(record: &Record) -> String {
        format!("{:?} {:?} {:?}", record.timestamp.0, record.confirmed, record.purposes)
    }

    fn any_choice() -> impl Strategy<Value = Option<Choice>> {
        prop_oneof![
            Just(None),
            any::<bool>().prop_map(|yes| Some(Choice::Boolean(yes))),
            (0u32..4).prop_map(|option| Some(Choice::Select(option))),
            prop::collection::vec(0u32..4, 0..3).prop_map(|options| Some(Choice::MultiSelect(options))),
        ]
    }

    fn any_text() -> impl Strategy<Value = Option<String>> {
        prop::option::of("[ab]{0,2}")
    }

    prop_compose! {
        fn any_purpose(at: i64)(
            purpose in 0u32..3,
            enabled: bool,
            own_time in any::<bool>(),
            source_system in any_text(),
            topics in prop::collection::btree_map(0u32..3, any_choice(), 0..3),
        ) -> PurposeWrite {
            // A time of its own that no other write has: times are multiples of 1,000, and this one is 500 earlier.
            let at = Moment(if own_time { at - 500 } else { at });
            PurposeWrite { purpose, at, consent: Consent { enabled, source_system }, topics: topics.into_iter().collect() }
        }
    }

    prop_compose! {
        fn any_write(at: i64)(
            confirmed: bool,
            names in prop::collection::btree_set("[ab]", 0..2),
            user_id in any_text(),
            purposes in prop::collection::vec(any_purpose(at), 0..3),
            strings in prop::collection::btree_map(0usize..4, any_text(), 0..3),
            metadata in prop::collection::btree_map("[xyz]", any_text(), 0..3),
            birth_date in any_text(),
            updated: Option<bool>,
            prompted: Option<bool>,
        ) -> Write {
            let mut seen = std::collections::BTreeSet::new();
            Write {
                confirmed,
                identifiers: names.into_iter().map(|name| Identifier { value: name.clone(), name }).collect(),
                user_id,
                purposes: purposes.into_iter().filter(|said| seen.insert(said.purpose)).collect(),
                strings: strings.into_iter().map(|(place, text)| (ConsentString::ALL[place], text)).collect(),
                metadata: metadata.into_iter().collect(),
                birth_date,
                updated,
                prompted,
                ..write(at)
            }
        }
    }

    /// Writes at distinct times, and an order with repetitions in which each of them occurs.
    fn writes_and_an_order() -> impl Strategy<Value = (Vec<Write>, Vec<usize>)> {
        (1usize..7).prop_flat_map(|count| {
            let writes: Vec<_> = (1..=i64::try_from(count).unwrap())
                .map(|n| any_write(n * 1000))
                .collect();
            let order = prop::collection::vec(0..count, 0..6)
                .prop_map(move |again| (0..count).chain(again).collect::<Vec<_>>());
            (writes, order.prop_shuffle())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn any_order_and_any_repetition_of_distinct_times_ends_in_the_same_record((writes, order) in writes_and_an_order()) {
            let expected = sorted(after(&writes));
            let shuffled: Vec<Write> = order.iter().map(|place| writes[*place].clone()).collect();
            let got = sorted(after(&shuffled));
            prop_assert!(got == expected, "{} became {}", shows(&expected), shows(&got));
        }

        #[test]
        fn a_replay_changes_nothing(writes in (any_write(1000), any_write(1000))) {
            let mut record = after(&[writes.0, writes.1.clone()]);
            let before = record.clone();
            prop_assert!(record.apply(&writes.1) != Effect::Changed);
            prop_assert!(record == before);
        }

        #[test]
        fn at_equal_times_the_later_arrival_wins(first in any_write(1000), second in any_write(1000)) {
            let record = after(&[first, second.clone()]);
            prop_assert_eq!(record.confirmed, second.confirmed);
            for (string, value) in &second.strings {
                prop_assert_eq!(&record.strings[*string as usize].as_ref().unwrap().value, value);
            }
            for (key, value) in &second.metadata {
                prop_assert_eq!(&record.metadata.iter().find(|(held, _)| held == key).unwrap().1.value, value);
            }
        }

        #[test]
        fn what_a_write_does_not_mention_stays(first in any_write(1000), second in any_write(2000)) {
            let before = after(&[first]);
            let mut record = before.clone();
            record.apply(&second);
            for answer in &before.purposes {
                let now = record.purposes.iter().find(|now| now.purpose == answer.purpose).unwrap();
                let said = second.purposes.iter().find(|said| said.purpose == answer.purpose);
                if said.is_none() {
                    prop_assert_eq!(now, answer);
                }
                for topic in &answer.topics {
                    if !said.is_some_and(|said| said.topics.iter().any(|(mentioned, _)| *mentioned == topic.topic)) {
                        prop_assert!(now.topics.contains(topic));
                    }
                }
            }
            for held in &before.metadata {
                if !second.metadata.iter().any(|(key, _)| *key == held.0) {
                    prop_assert!(record.metadata.contains(held));
                }
            }
        }

        #[test]
        fn records_joined_in_any_order_end_alike(
            writes in prop::collection::vec(Just(()), 3..4).prop_flat_map(|_| (any_write(1000), any_write(2000), any_write(3000))),
        ) {
            let [a, b, c] = [after(&[writes.0]), after(&[writes.1]), after(&[writes.2])];
            let join = |parts: [&Record; 3]| {
                let mut record = Record::empty();
                for part in parts {
                    record.absorb(part.clone());
                }
                sorted(record)
            };
            let expected = join([&a, &b, &c]);
            for other in [[&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
                prop_assert!(join(other) == expected);
            }
            prop_assert_eq!(expected.confirmed, a.confirmed || b.confirmed || c.confirmed);
        }

        #[test]
        fn effects_tell_the_truth(first in any_write(2000), second in prop_oneof![any_write(1000), any_write(2000), any_write(3000)]) {
            let before = after(&[first]);
            let mut record = before.clone();
            let effect = record.apply(&second);
            prop_assert_eq!(effect == Effect::Changed, record != before);
        }
    }

    #[test]
    fn an_amendment_changes_who_the_person_is_and_nothing_else() {
        let email = |value: &str| Identifier {
            name: "email".to_owned(),
            value: value.to_owned(),
        };
        let before = after(&[Write {
            identifiers: vec![email("ada@example.test")],
            user_id: Some(" Ada@Example.test".to_owned()),
            purposes: vec![says(1, 10, true, vec![])],
            ..write(10)
        }]);
        let (ada, bea) = (email("ada@example.test"), email("bea@example.test"));
        for (gone, new, effect, identifiers, user_id) in [
            (None, Some(&ada), Effect::Same, vec![&ada], Some(" Ada@Example.test")),
            (
                None,
                Some(&bea),
                Effect::Changed,
                vec![&ada, &bea],
                Some(" Ada@Example.test"),
            ),
            (
                Some(&ada),
                Some(&bea),
                Effect::Changed,
                vec![&bea],
                Some("bea@example.test"),
            ),
            (Some(&ada), None, Effect::Changed, vec![], None),
            (Some(&bea), None, Effect::Same, vec![&ada], Some(" Ada@Example.test")),
        ] {
            let mut record = before.clone();
            let (gone, new) = (gone.cloned(), new.cloned());
            let at = Moment(99);
            assert_eq!(record.amend(&Amendment { at, gone, new }), effect);
            assert!(record.identifiers.iter().eq(identifiers));
            assert_eq!(record.user_id.as_ref().map(|user_id| user_id.value.as_str()), user_id);
            record.identifiers = before.identifiers.clone();
            record.user_id = before.user_id.clone();
            assert!(record == before);
        }
    }

    #[test]
    fn a_late_arrival_does_not_overturn_a_newer_choice() {
        let mut record = after(&[Write {
            purposes: vec![says(1, 20, false, vec![])],
            ..write(20)
        }]);
        let late = Write {
            purposes: vec![says(1, 10, true, vec![])],
            ..write(10)
        };
        assert_eq!(record.apply(&late), Effect::Late);
        assert!(!record.purposes[0].consent.value.enabled);
        assert_eq!(record.timestamp, Moment(20));
    }

    #[test]
    fn a_cleared_answer_stays_cleared_when_an_older_one_arrives() {
        let yes = Some(Choice::Boolean(true));
        let cleared = Write {
            purposes: vec![says(1, 20, true, vec![(7, None)])],
            ..write(20)
        };
        let late = Write {
            purposes: vec![says(1, 10, true, vec![(7, yes)])],
            ..write(10)
        };
        let record = after(&[cleared, late]);
        assert_eq!(record.purposes[0].topics[0].choice.value, None);
    }

    #[test]
    fn a_purpose_has_its_own_time() {
        let newer = Write {
            purposes: vec![says(1, 5, false, vec![])],
            ..write(20)
        };
        let older = Write {
            purposes: vec![says(1, 10, true, vec![])],
            ..write(10)
        };
        let record = after(&[newer, older]);
        assert!(record.purposes[0].consent.value.enabled);
        assert_eq!(record.timestamp, Moment(20));
    }

    #[test]
    fn the_source_system_goes_with_the_write_that_wins() {
        let mut named = says(1, 10, true, vec![]);
        named.consent.source_system = Some("Kiosk".to_owned());
        let record = after(&[
            Write {
                purposes: vec![named],
                ..write(10)
            },
            Write {
                purposes: vec![says(1, 20, true, vec![])],
                ..write(20)
            },
        ]);
        assert_eq!(record.purposes[0].consent.value.source_system, None);
    }

    #[test]
    fn refusing_a_purpose_keeps_the_answers_under_it() {
        let monthly = Some(Choice::Select(3));
        let record = after(&[
            Write {
                purposes: vec![says(1, 10, true, vec![(7, monthly.clone())])],
                ..write(10)
            },
            Write {
                purposes: vec![says(1, 20, false, vec![])],
                ..write(20)
            },
        ]);
        assert_eq!(record.purposes[0].topics[0].choice.value, monthly);
    }
}
