//! What a workflow trigger is, and when it fires: pure.
//!
//! A trigger waits for purposes to have certain answers. It fires when a write changes one of them and all of them have
//! those answers afterwards: once for a write, however many of them it changed. What a write says too late changes nothing
//! and fires nothing.

use std::{collections::BTreeMap, fmt};

use antumbra_store::{Corrupt, Key};
use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor},
};
use uuid::Uuid;

use super::settings::{RequestSettings, Urge, Workflow};
use crate::{
    dsr::Cause,
    organization::{Action, ActionId, SubjectTypeId},
    preferences::model::{PurposeAnswer, PurposeWrite, Record, TopicAnswer, Write},
    silos::DataSiloId,
};

/// Purposes that one condition can name.
pub(super) const CONDITIONS_MAX: usize = 50;

/// Bytes of a name.
const NAME_BYTES_MAX: usize = 256;

/// The id of a workflow trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TriggerId(pub(crate) Uuid);

impl Key for TriggerId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(TriggerId)
    }
}

/// A rule by which choices open data subject requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trigger {
    pub(super) id: TriggerId,
    /// Clients find it by this.
    pub(super) name: String,
    /// All of these hold when it fires, and one of them newly. At least one, each purpose once.
    pub(super) conditions: Vec<Condition>,
    /// What the requests demand.
    pub(super) action: Action,
    /// In whose name.
    pub(super) subject_type: SubjectTypeId,
    /// The silos that are asked; empty for every one that fits.
    pub(super) silos: Vec<DataSiloId>,
    /// Data subjects get no messages.
    pub(super) is_silent: bool,
    /// It fires also for changes by somebody who showed neither key nor token.
    pub(super) allow_unauthenticated: bool,
    pub(super) is_active: bool,
    pub(super) created_at: Timestamp,
    /// The workflow configuration that it runs: the settings of its action. None if it was made by action and silos.
    #[serde(default)]
    pub(super) workflow: Option<ActionId>,
}

/// A purpose, and the answer it is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Condition {
    /// The number of the purpose.
    pub(super) purpose: u32,
    pub(super) enabled: bool,
}

/// Why a trigger can't be kept as it was described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TriggerError {
    #[error("name must have 1 to 256 bytes, no space at its ends and no control characters")]
    BadName,
    #[error("name is that of another trigger")]
    Taken,
    #[error("triggerCondition must be {{\"And\":[{{\"<tracking type>\":<true or false>}},…]}} with 1 to 50 purposes")]
    BadCondition,
    #[error("the condition names a purpose twice")]
    PurposeTwice,
    #[error("triggerCondition and consentWorkflowTriggerPurposes must say the same; one of them is enough")]
    Contradiction,
    #[error("there are already as many as an organization may have")]
    TooMany,
}

/// A condition as clients write it: what each purpose, by its name on the wire, is to be.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expression {
    #[serde(rename = "And")]
    pub(super) and: Vec<Term>,
}

/// One purpose of a condition as clients write it: an object with one member.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Term(pub(super) String, pub(super) bool);

impl Serialize for Term {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map([(&self.0, self.1)])
    }
}

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Term, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Term;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one member")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Term, A::Error> {
                let none = || A::Error::custom("has no member");
                let (slug, enabled) = map.next_entry()?.ok_or_else(none)?;
                match map.next_key::<String>()? {
                    None => Ok(Term(slug, enabled)),
                    Some(_) => Err(A::Error::custom("has more than one member")),
                }
            }
        }
        from.deserialize_map(One)
    }
}

impl Expression {
    /// Reads a condition, and refuses any other form.
    pub(super) fn parse(text: &str) -> Result<Expression, TriggerError> {
        let read: Expression = serde_json::from_str(text).map_err(|_| TriggerError::BadCondition)?;
        read.check()
    }

    /// Itself, if it names enough and not too much.
    pub(super) fn check(self) -> Result<Expression, TriggerError> {
        if !(1..=CONDITIONS_MAX).contains(&self.and.len()) {
            return Err(TriggerError::BadCondition);
        }
        let twice = |(at, term): (usize, &Term)| self.and[..at].iter().any(|other| other.0 == term.0);
        if self.and.iter().enumerate().any(twice) {
            return Err(TriggerError::PurposeTwice);
        }
        Ok(self)
    }

    /// The one condition of two ways to write it.
    pub(super) fn agree(
        text: Option<Expression>,
        list: Option<Expression>,
    ) -> Result<Option<Expression>, TriggerError> {
        let (Some(text), Some(list)) = (&text, &list) else {
            return Ok(text.or(list));
        };
        let same = text.and.len() == list.and.len() && text.and.iter().all(|term| list.and.contains(term));
        if same {
            Ok(Some(Expression {
                and: text
                    .and
                    .iter()
                    .map(|Term(slug, enabled)| Term(slug.clone(), *enabled))
                    .collect(),
            }))
        } else {
            Err(TriggerError::Contradiction)
        }
    }

    /// As clients read it.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("a list of names has no way to fail")
    }
}

impl Trigger {
    /// Checks everything that can be told without looking at others.
    pub(super) fn check(&self) -> Result<(), TriggerError> {
        let name = &self.name;
        let fits =
            (1..=NAME_BYTES_MAX).contains(&name.len()) && name.trim() == name && !name.chars().any(char::is_control);
        if fits { Ok(()) } else { Err(TriggerError::BadName) }
    }

    /// Whether every purpose has the answer that it waits for.
    pub(super) fn holds(&self, record: &Record) -> bool {
        let has = |condition: &Condition| {
            let answer = answer_to(record, condition.purpose);
            answer.is_some_and(|answer| answer.consent.value.enabled == condition.enabled)
        };
        self.conditions.iter().all(has)
    }
}

/// A write, and the record before and after it. What other records brought in that became part of it counts as changed.
pub(super) struct Taken<'a> {
    pub(super) before: &'a Record,
    pub(super) after: &'a Record,
    pub(super) write: &'a Write,
    pub(super) workflow: &'a Workflow,
}

/// A trigger that fires.
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub(super) struct Firing<'a> {
    pub(super) trigger: &'a Trigger,
    /// The purpose that it is about: the first in the order of the condition that made it fire.
    pub(super) purpose: u32,
    pub(super) cause: Cause,
    /// What the write wants of the request.
    pub(super) settings: RequestSettings,
}

/// The triggers that a write fires, each once.
pub(super) fn firings<'a>(triggers: &'a [Trigger], taken: &Taken<'_>) -> Vec<Firing<'a>> {
    if triggers.is_empty() || taken.workflow.urge == Urge::Skip {
        return Vec::new();
    }
    let stirred = taken.stirred();
    let fires = |trigger: &'a Trigger| {
        let mine = || {
            trigger
                .conditions
                .iter()
                .filter_map(|one| Some((one.purpose, *stirred.get(&one.purpose)?)))
        };
        let (purpose, _) = mine().next()?;
        let cause = mine().map(|(_, cause)| cause).max()?;
        trigger.holds(taken.after).then(|| Firing {
            trigger,
            purpose,
            cause,
            settings: taken.workflow.merged(|purpose| mine().any(|(mine, _)| mine == purpose)),
        })
    };
    triggers.iter().filter_map(fires).collect()
}

impl Taken<'_> {
    /// The purposes that can make a trigger fire, and why.
    fn stirred(&self) -> BTreeMap<u32, Cause> {
        let changed = self.after.purposes.iter().filter(|answer| {
            let before = answer_to(self.before, answer.purpose);
            before.is_none_or(|before| differ(before, answer))
        });
        let mut stirred: BTreeMap<u32, Cause> = changed.map(|answer| (answer.purpose, Cause::Change)).collect();
        for said in &self.write.purposes {
            match self.workflow.urge_of(said.purpose) {
                Urge::Skip => {
                    stirred.remove(&said.purpose);
                }
                Urge::Force if self.counts(said) => {
                    stirred.entry(said.purpose).or_insert(Cause::Insistence);
                }
                Urge::Force | Urge::None => {}
            }
        }
        stirred
    }

    /// Whether anything that was said about the purpose is what the record holds now: it came later, or at the same time.
    fn counts(&self, said: &PurposeWrite) -> bool {
        answer_to(self.after, said.purpose).is_some_and(|answer| {
            let topic = |topic: &TopicAnswer| said.topics.iter().any(|(said, _)| *said == topic.topic);
            answer.consent.at == said.at
                || answer
                    .topics
                    .iter()
                    .any(|answer| topic(answer) && answer.choice.at == said.at)
        })
    }
}

fn answer_to(record: &Record, purpose: u32) -> Option<&PurposeAnswer> {
    record.purposes.iter().find(|answer| answer.purpose == purpose)
}

/// Whether two answers to a purpose say different things. When they were given, and through which system, does not matter.
fn differ(before: &PurposeAnswer, after: &PurposeAnswer) -> bool {
    let topic_differs = |answer: &TopicAnswer| {
        let before = before.topics.iter().find(|topic| topic.topic == answer.topic);
        before.and_then(|before| before.choice.value.as_ref()) != answer.choice.value.as_ref()
    };
    before.consent.value.enabled != after.consent.value.enabled || after.topics.iter().any(topic_differs)
}

#[cfg(test)]
mod tests;
