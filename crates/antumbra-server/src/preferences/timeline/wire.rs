//! What `consent-records` reads and writes as JSON. A purpose's answer is called `consent` here, not `enabled`.

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::VecDeque;
use utoipa::ToSchema;

use super::{
    super::{
        encoding::{Event, Happening},
        expiry::Sight,
        identifiers::TRANSCEND,
        model::{Identifier, Record, Write},
        moment::Moment,
        store::Site,
        wire::{ChoiceNode, NamedValue, PreferenceNode},
    },
    LIMIT_MAX,
    replay::{Step, What},
};
use crate::{
    http::{Problem, careful},
    purposes::Catalog,
};

/// `POST /v1/preferences/{partition}/consent-records`: whose history, and how much of it.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct TimelineQuery {
    /// The person, by one identifier.
    #[schema(required)]
    identifier: Option<NamedValue>,
    /// The same as a list of one, as some clients send it.
    identifiers: Option<Vec<NamedValue>>,
    /// 1 to 200: only the newest entries. By default all of them.
    #[schema(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// Whether each entry shows the write that made it. By default not.
    include_raw_request: Option<bool>,
}

/// What is asked, checked.
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) limit: Option<usize>,
    pub(super) with_raw_request: bool,
}

impl TimelineQuery {
    pub(super) fn check(self, site: &Site<'_>) -> Result<Asked, Problem> {
        let mut broken: Vec<(String, String)> = Vec::new();
        let limit = self.limit.and_then(|limit| usize::try_from(limit).ok());
        if self.limit.is_some_and(|limit| !(1..=LIMIT_MAX).contains(&limit)) {
            broken.push(("limit".to_owned(), format!("must be from 1 to {LIMIT_MAX}")));
        }
        let mut listed = self.identifiers.unwrap_or_default();
        let (place, person) = match (self.identifier, listed.len()) {
            (Some(one), 0) => ("identifier", Some(one)),
            (None, 1) => ("identifiers[0]", listed.pop()),
            (None, 0) => {
                broken.push(("identifier".to_owned(), "is required".to_owned()));
                ("identifier", None)
            }
            (Some(_), _) => {
                broken.push((
                    "identifiers".to_owned(),
                    "must not be given together with identifier".to_owned(),
                ));
                ("identifier", None)
            }
            (None, _) => {
                broken.push((
                    "identifiers".to_owned(),
                    "must hold one entry: one person is asked about".to_owned(),
                ));
                ("identifiers[0]", None)
            }
        };
        if let Some(person) = &person
            && person.name != TRANSCEND
            && site.settings.find_identifier(&person.name).is_none()
        {
            broken.push((
                format!("{place}.name"),
                "is not an identifier of this organization".to_owned(),
            ));
        }
        match person {
            Some(NamedValue { name, value }) if broken.is_empty() => Ok(Asked {
                name,
                value,
                limit,
                with_raw_request: self.include_raw_request.unwrap_or(false),
            }),
            _ => Err(Problem::validation(broken)),
        }
    }
}

/// The record of consent of one person.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Timeline<'a> {
    /// What the person had chosen after each write, oldest first.
    #[schema(value_type = Vec<EntryNode<'static>>)]
    records: &'a [Entry],
    /// The same, as older clients expect it.
    #[schema(value_type = Vec<EntryNode<'static>>)]
    nodes: &'a [Entry],
    /// Whether the person's first write is among them.
    contains_initial_record: bool,
    /// Present, and true, if the history is longer than one call reads: then the only entry is what is stored now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    history_too_long: bool,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(entries: &'a [Entry], contains_initial_record: bool) -> Timeline<'a> {
        Timeline {
            records: entries,
            nodes: entries,
            contains_initial_record,
            history_too_long: false,
        }
    }

    /// Of a person whose history is longer than one call reads.
    pub(super) fn too_long(present: &'a [Entry]) -> Timeline<'a> {
        Timeline {
            history_too_long: true,
            ..Timeline::new(present, false)
        }
    }

    /// Of a person we do not know.
    pub(super) fn empty() -> Timeline<'static> {
        Timeline::new(&[], false)
    }
}

/// An entry as it is sent.
pub(super) type Entry = Box<RawValue>;

/// Entries, the newest of which fit into so many bytes.
pub(super) struct Entries {
    entries: VecDeque<Entry>,
    bytes: usize,
    bytes_max: usize,
}

impl Entries {
    pub(super) fn new(bytes_max: usize) -> Entries {
        Entries {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.get().len();
        self.entries.push_back(entry);
        // The newest stays, whatever its size.
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            let oldest = self.entries.pop_front();
            self.bytes -= oldest.map_or(0, |entry| entry.get().len());
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn into_vec(self) -> Vec<Entry> {
        self.entries.into()
    }
}

/// What a person had chosen after one write.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryNode<'a> {
    /// Every purpose that has been answered, by name.
    preferences_at_current_time: &'a [ConsentNode<'a>],
    /// What is different from the entry before; `null` for the first.
    #[schema(required)]
    change_from_prev_state: Option<ChangeNode<'a>>,
    /// The write; `null` unless it was asked for, and for what is no write.
    #[schema(required)]
    raw_request: Option<RawRequestNode<'a>>,
}

/// Answers to purposes that came, went, or are others now.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChangeNode<'a> {
    added: Vec<&'a ConsentNode<'a>>,
    removed: Vec<&'a ConsentNode<'a>>,
    updated: Vec<&'a ConsentNode<'a>>,
}

/// The answer to one purpose.
#[derive(Serialize, ToSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsentNode<'a> {
    purpose: &'a str,
    consent: bool,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    preferences: Vec<PreferenceNode<'a>>,
    /// From when the answer counts no longer, or the person should be asked again. `null` if it does not expire.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
}

/// A write as it was taken in: identifiers in the form in which they are kept, and without what only says how to go about it.
#[derive(Serialize, ToSchema)]
pub(crate) struct RawRequestNode<'a> {
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    confirmed: bool,
    partition: &'a str,
    identifiers: Vec<RawIdentifierNode<'a>>,
    purposes: Vec<RawPurposeNode<'a>>,
    /// A JSON text: a list of objects with `key` and `value`.
    metadata: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RawIdentifierNode<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RawPurposeNode<'a> {
    purpose: &'a str,
    consent: Option<bool>,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    preferences: Vec<RawPreferenceNode<'a>>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct RawPreferenceNode<'a> {
    topic: &'a str,
    /// `null` where the answer was cleared.
    #[schema(required)]
    choice: Option<ChoiceNode<'a>>,
}

#[derive(Serialize)]
struct RawMetadata<'a> {
    key: &'a str,
    value: Option<&'a str>,
}

/// How entries are shown.
pub(super) struct Shown<'a> {
    pub(super) partition: &'a str,
    pub(super) catalog: &'a Catalog,
    pub(super) sight: Sight<'a>,
    pub(super) with_raw_request: bool,
}

impl<'a> Shown<'a> {
    /// The purposes that exist and counted then, by name, as a query shows them.
    pub(super) fn purposes(&self, record: &Record, then: Moment) -> Vec<ConsentNode<'a>> {
        let sight = self.sight.at(then);
        let counted = record.purposes.iter().filter(|answer| !sight.is_gone(answer));
        let nodes = counted.filter_map(|answer| {
            let purpose = self
                .catalog
                .purpose_numbered(answer.purpose)
                .filter(|purpose| purpose.shown)?;
            Some(ConsentNode {
                purpose: &purpose.slug,
                consent: answer.consent.value.enabled,
                timestamp: answer.consent.at,
                preferences: PreferenceNode::all(answer, purpose, self.catalog),
                expires_at: sight.expires_at(answer.purpose, answer.consent.value.enabled, answer.consent.at),
            })
        });
        let mut nodes: Vec<ConsentNode<'a>> = nodes.collect();
        nodes.sort_unstable_by_key(|node| node.purpose);
        nodes
    }

    pub(super) fn entry(&self, now: &[ConsentNode<'_>], before: Option<&[ConsentNode<'_>]>, step: &Step) -> Entry {
        let raw_request = match &step.what {
            What::Event(Event {
                what: Happening::Write(write),
                ..
            }) if self.with_raw_request => Some(self.raw_request(write)),
            What::Event(_) | What::Base { .. } => None,
        };
        to_raw_value(&EntryNode {
            preferences_at_current_time: now,
            change_from_prev_state: before.map(|before| ChangeNode::between(before, now)),
            raw_request,
        })
        .expect("texts, numbers and lists can be written as JSON")
    }

    /// What a person has chosen now, where nothing tells how it came about.
    pub(super) fn present(&self, record: &Record, now: Moment) -> Entry {
        to_raw_value(&EntryNode {
            preferences_at_current_time: &self.purposes(record, now),
            change_from_prev_state: None,
            raw_request: None,
        })
        .expect("texts, numbers and lists can be written as JSON")
    }

    fn raw_request<'b>(&'b self, write: &'b Write) -> RawRequestNode<'b> {
        let identifier = |Identifier { name, value }: &'b Identifier| RawIdentifierNode { name, value };
        let metadata = write.metadata.iter().map(|(key, value)| RawMetadata {
            key,
            value: value.as_deref(),
        });
        let purposes = write.purposes.iter().filter_map(|said| {
            let purpose = self
                .catalog
                .purpose_numbered(said.purpose)
                .filter(|purpose| purpose.shown)?;
            let preferences = said.topics.iter().filter_map(|(topic, choice)| {
                let topic = purpose.topic_numbered(*topic).filter(|topic| topic.shown)?;
                let choice = match choice {
                    Some(choice) => Some(ChoiceNode::new(choice, self.catalog)?),
                    None => None,
                };
                Some(RawPreferenceNode {
                    topic: &topic.slug,
                    choice,
                })
            });
            Some(RawPurposeNode {
                purpose: &purpose.slug,
                consent: Some(said.consent.enabled),
                timestamp: said.at,
                preferences: preferences.collect(),
            })
        });
        RawRequestNode {
            timestamp: write.timestamp,
            confirmed: write.confirmed,
            partition: self.partition,
            identifiers: write.identifiers.iter().map(identifier).collect(),
            purposes: purposes.collect(),
            metadata: serde_json::to_string(&metadata.collect::<Vec<_>>()).expect("texts can be written as JSON"),
        }
    }
}

impl<'a> ChangeNode<'a> {
    fn between(before: &'a [ConsentNode<'a>], now: &'a [ConsentNode<'a>]) -> ChangeNode<'a> {
        let find = |nodes: &'a [ConsentNode<'a>], name: &str| {
            let place = nodes.binary_search_by_key(&name, |node| node.purpose).ok()?;
            Some(&nodes[place])
        };
        let missing_in =
            |nodes: &'a [ConsentNode<'a>]| move |node: &&ConsentNode<'a>| find(nodes, node.purpose).is_none();
        let is_other = |node: &&ConsentNode<'a>| find(before, node.purpose).is_some_and(|before| before != *node);
        ChangeNode {
            added: now.iter().filter(missing_in(before)).collect(),
            removed: before.iter().filter(missing_in(now)).collect(),
            updated: now.iter().filter(is_other).collect(),
        }
    }
}

careful! {
    TimelineQuery: ["identifier", "identifiers"];
}
