//! A change as JSON.

use serde::Serialize;
use utoipa::ToSchema;

use super::{entry::What, store::Numbered};
use crate::{
    preferences::{
        difference::{PurposeChange, TopicChange},
        expiry::Sight,
        model::{Choice, RecordId},
        moment::Moment,
        store::{Happened, Held},
        wire::{ChoiceNode, IdentifierNode},
    },
    purposes::{Catalog, PurposeEntry},
};

/// One change of one preference record.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeNode<'a> {
    /// Where to read on after this change.
    cursor: &'a str,
    partition: &'a str,
    /// The record: its `transcend` identifier.
    #[schema(value_type = String, format = Uuid)]
    id: RecordId,
    #[serde(rename = "type")]
    kind: Kind,
    /// What the record's changes are numbered by, from 1, where it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u32>,
    /// When we learned of it.
    #[schema(value_type = String, format = DateTime)]
    known_at: Moment,
    /// When the person chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    timestamp: Option<Moment>,
    /// The record that this one became part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    into: Option<RecordId>,
    /// True if what it was can't be told any more, since the person's data was erased.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    /// True if what it was can't be told any more, since the record's history is not kept as long as this feed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    expired: bool,
    /// What the person is known by now.
    identifiers: Vec<IdentifierNode<'a>>,
    /// The purposes that are answered otherwise than before, or for longer. None of them when only something else about the record changed,
    /// such as its identifiers.
    changes: Vec<PurposeNode<'a>>,
}

/// What happened to the record.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// It is new, or other than before.
    Changed,
    /// It was deleted.
    Deleted,
    /// It turned out to be about the same person as another, and became part of that one.
    Merged,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PurposeChangeNode)]
struct PurposeNode<'a> {
    purpose: &'a str,
    /// None if it had not been answered, or the answer had expired.
    previous: Option<bool>,
    current: bool,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    /// From when the answer counts no longer, or the person should be asked again. Absent if it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Moment>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    preferences: Vec<PreferenceNode<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PreferenceChangeNode)]
struct PreferenceNode<'a> {
    topic: &'a str,
    /// None if it had no answer.
    previous: Option<ChoiceNode<'a>>,
    /// None if it has no answer now.
    current: Option<ChoiceNode<'a>>,
}

/// What a change is shown from.
pub(super) struct Shown<'a> {
    pub(super) cursor: &'a str,
    pub(super) partition: &'a str,
    pub(super) change: &'a Numbered,
    /// What its history says, if it changed.
    pub(super) happened: Option<&'a Happened>,
    /// None if there is no record of the person, or none that can be read.
    pub(super) person: Option<&'a Held>,
}

impl<'a> ChangeNode<'a> {
    pub(super) fn new(shown: Shown<'a>, catalog: &'a Catalog, sight: Sight<'_>) -> ChangeNode<'a> {
        let entry = shown.change.entry;
        let (kind, revision, into) = match entry.what {
            What::Changed(revision) => (Kind::Changed, Some(revision), None),
            What::Deleted => (Kind::Deleted, None, None),
            What::Merged(into) => (Kind::Merged, None, Some(into)),
        };
        let told = match shown.happened {
            Some(Happened::Known { timestamp, changes }) => Some((*timestamp, changes)),
            _ => None,
        };
        let identifiers = shown
            .person
            .and_then(|person| Some(IdentifierNode::all(person.id, person.record.as_deref()?)));
        let changes = told.into_iter().flat_map(|(_, changes)| changes);
        ChangeNode {
            cursor: shown.cursor,
            partition: shown.partition,
            id: entry.record,
            kind,
            revision,
            known_at: shown.change.at,
            timestamp: told.map(|(timestamp, _)| timestamp),
            into,
            erased: matches!(shown.happened, Some(Happened::Erased)) || matches!(kind, Kind::Deleted),
            expired: matches!(shown.happened, Some(Happened::Expired)),
            identifiers: identifiers.unwrap_or_default(),
            changes: changes
                .filter_map(|change| PurposeNode::new(change, catalog, sight))
                .collect(),
        }
    }
}

impl<'a> PurposeNode<'a> {
    /// None if the purpose does not exist any more.
    fn new(change: &PurposeChange, catalog: &'a Catalog, sight: Sight<'_>) -> Option<PurposeNode<'a>> {
        let purpose = catalog
            .purpose_numbered(change.purpose)
            .filter(|purpose| purpose.shown)?;
        let topics = change.topics.iter();
        Some(PurposeNode {
            purpose: &purpose.slug,
            previous: change.previous,
            current: change.current,
            timestamp: change.at,
            expires_at: sight.expires_at(change.purpose, change.current, change.at),
            preferences: topics
                .filter_map(|topic| PreferenceNode::new(topic, purpose, catalog))
                .collect(),
        })
    }
}

impl<'a> PreferenceNode<'a> {
    fn new(change: &TopicChange, purpose: &'a PurposeEntry, catalog: &'a Catalog) -> Option<PreferenceNode<'a>> {
        let topic = purpose.topic_numbered(change.topic).filter(|topic| topic.shown)?;
        let shown = |choice: &Option<Choice>| ChoiceNode::new(choice.as_ref()?, catalog);
        Some(PreferenceNode {
            topic: &topic.slug,
            previous: shown(&change.previous),
            current: shown(&change.current),
        })
    }
}
