//! A record as the cells of a row: the columns, which follow from what is configured, and what stands in each.

use std::borrow::Cow;

use anyhow::{Result, bail};
use serde::Deserialize;

use super::super::{
    catalog::{Catalog, DECRYPTION_STATUS, PARTITION, TopicKind, UPDATED_AT},
    target::{self, Target},
};

/// A record as a query answers it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node<'a> {
    #[serde(borrow)]
    partition: Cow<'a, str>,
    timestamp: &'a str,
    confirmed: bool,
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) identifiers: Vec<Identifier<'a>>,
    #[serde(borrow)]
    purposes: Vec<Purpose<'a>>,
    #[serde(borrow)]
    consent_management: Strings<'a>,
    #[serde(borrow)]
    metadata: Vec<Annotation<'a>>,
    #[serde(default)]
    metadata_timestamp: Option<&'a str>,
    #[serde(borrow)]
    pub(super) system: System<'a>,
}

#[derive(Deserialize)]
pub(super) struct Identifier<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) value: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Purpose<'a> {
    #[serde(borrow)]
    purpose: Cow<'a, str>,
    enabled: bool,
    #[serde(default)]
    timestamp: Option<&'a str>,
    #[serde(borrow, default)]
    source_system: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    preferences: Vec<Preference<'a>>,
}

#[derive(Deserialize)]
struct Preference<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    choice: Choice<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice<'a> {
    #[serde(default)]
    boolean_value: Option<bool>,
    #[serde(borrow, default)]
    select_value: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    select_values: Option<Vec<Cow<'a, str>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Strings<'a> {
    #[serde(borrow, default)]
    usp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    gpp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    tcf: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    airgap_version: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct System<'a> {
    pub(super) decryption_status: &'a str,
    pub(super) updated_at: &'a str,
}

/// A cell; none where the record says nothing.
pub(super) type Cell<'n> = Option<Cow<'n, str>>;

/// What the cells of a column are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Text,
    Boolean,
    Instant,
}

/// The columns of an export.
pub(super) struct Sheet {
    columns: Vec<(String, Source, Kind)>,
    catalog_of: Known,
}

/// Where a cell comes from.
enum Source {
    Partition,
    DecryptionStatus,
    UpdatedAt,
    Target(Target),
}

/// What has a column.
struct Known {
    identifiers: Vec<String>,
    purposes: Vec<(String, Vec<String>)>,
}

impl Sheet {
    pub(super) fn new(catalog: &Catalog) -> Sheet {
        let mut columns = Vec::new();
        for target in catalog.columns() {
            let kind = match &target {
                Target::Timestamp | Target::MetadataTimestamp | Target::PurposeTimestamp(_) => Kind::Instant,
                Target::Confirmed | Target::Purpose(_) => Kind::Boolean,
                Target::Topic(purpose, topic) if catalog.topic(purpose, topic) == Some(TopicKind::Boolean) => {
                    Kind::Boolean
                }
                _ => Kind::Text,
            };
            let is_timestamp = target == Target::Timestamp;
            columns.push((catalog.column(&target), Source::Target(target), kind));
            if is_timestamp {
                columns.push((PARTITION.to_owned(), Source::Partition, Kind::Text));
                columns.push((DECRYPTION_STATUS.to_owned(), Source::DecryptionStatus, Kind::Text));
                columns.push((UPDATED_AT.to_owned(), Source::UpdatedAt, Kind::Instant));
            }
        }
        let topics = |topics: &[super::super::catalog::Topic]| topics.iter().map(|topic| topic.slug.clone()).collect();
        Sheet {
            columns,
            catalog_of: Known {
                identifiers: catalog.identifiers.clone(),
                purposes: catalog
                    .purposes
                    .iter()
                    .map(|known| (known.slug.clone(), topics(&known.topics)))
                    .collect(),
            },
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, ..)| name.as_str())
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.columns.iter().map(|(.., kind)| *kind)
    }

    /// The cells of a record. Fails if it says something that has no column: then it was configured after the export began.
    pub(super) fn row<'n>(&self, node: &'n Node<'_>) -> Result<Vec<Cell<'n>>> {
        if !self.catalog_of.covers(node) {
            bail!("the configuration changed while the export ran: run it again");
        }
        let cells = self.columns.iter().map(|(_, source, _)| match source {
            Source::Partition => some(&node.partition),
            Source::DecryptionStatus => some(node.system.decryption_status),
            Source::UpdatedAt => some(node.system.updated_at),
            Source::Target(target) => cell(node, target),
        });
        Ok(cells.collect())
    }
}

impl Known {
    fn covers(&self, node: &Node<'_>) -> bool {
        let has_identifier = |identifier: &Identifier<'_>| self.identifiers.iter().any(|name| *name == identifier.name);
        let has_purpose = |answer: &Purpose<'_>| {
            let known = self.purposes.iter().find(|(slug, _)| *slug == answer.purpose);
            known.is_some_and(|(_, topics)| {
                answer
                    .preferences
                    .iter()
                    .all(|one| topics.iter().any(|slug| *slug == one.topic))
            })
        };
        node.identifiers.iter().all(has_identifier) && node.purposes.iter().all(has_purpose)
    }
}

fn some(text: &str) -> Cell<'_> {
    Some(Cow::Borrowed(text))
}

fn boolean(yes: bool) -> Cell<'static> {
    some(if yes { "true" } else { "false" })
}

fn cell<'n>(node: &'n Node<'_>, target: &Target) -> Cell<'n> {
    let purpose = |slug: &str| node.purposes.iter().find(|answer| answer.purpose == slug);
    let strings = &node.consent_management;
    match target {
        Target::Timestamp => some(node.timestamp),
        Target::UserId => some(node.user_id.as_deref()?),
        Target::Confirmed => boolean(node.confirmed),
        Target::Usp => some(strings.usp.as_deref()?),
        Target::Gpp => some(strings.gpp.as_deref()?),
        Target::Tcf => some(strings.tcf.as_deref()?),
        Target::AirgapVersion => some(strings.airgap_version.as_deref()?),
        Target::Metadata => {
            let entries = node.metadata.iter().map(|entry| (&*entry.key, &*entry.value));
            target::annotations_cell(entries).map(Cow::Owned)
        }
        Target::MetadataTimestamp => some(node.metadata_timestamp?),
        Target::Identifier(name) => {
            let named = node.identifiers.iter().filter(|identifier| identifier.name == *name);
            let values: Vec<&str> = named.map(|identifier| &*identifier.value).collect();
            target::values_cell(&values).map(Cow::Owned)
        }
        Target::Purpose(slug) => boolean(purpose(slug)?.enabled),
        Target::PurposeTimestamp(slug) => some(purpose(slug)?.timestamp?),
        Target::PurposeSource(slug) => some(purpose(slug)?.source_system.as_deref()?),
        Target::Topic(slug, topic) => {
            let answer = purpose(slug)?
                .preferences
                .iter()
                .find(|answer| answer.topic == *topic)?;
            let Choice {
                boolean_value,
                select_value,
                select_values,
            } = &answer.choice;
            match (boolean_value, select_value, select_values) {
                (Some(yes), _, _) => boolean(*yes),
                (_, Some(slug), _) => some(slug),
                (_, _, Some(slugs)) => {
                    let slugs: Vec<&str> = slugs.iter().map(|slug| &**slug).collect();
                    Some(Cow::Owned(target::options_cell(&slugs)))
                }
                _ => None,
            }
        }
        Target::Locale | Target::BirthDate | Target::Annotation(_) | Target::Ignored => None,
    }
}
