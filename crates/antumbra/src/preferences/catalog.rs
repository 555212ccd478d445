//! What the organization has configured, and the short names that columns have because of it.
//!
//! The short names are those of the exports people have already: `email`, `Analytics`, `ProductNews_Cadence`. Where two
//! things would have the same one, neither has it, and only the long form of `target.rs` names them. What a record has
//! once keeps its name whatever else is called so.

use anyhow::Result;
use serde_json::{Value, json};

use super::target::Target;
use crate::client::Client;

/// Entries of one call when they are listed.
const PAGE: usize = 100;

/// Columns of an export that say what an import can't: they are passed over.
const PASSED_OVER: [&str; 5] = [
    PARTITION,
    DECRYPTION_STATUS,
    UPDATED_AT,
    "iabContradictions",
    "userPrivacySignals",
];
pub(super) const PARTITION: &str = "partition";
pub(super) const DECRYPTION_STATUS: &str = "decryptionStatus";
pub(super) const UPDATED_AT: &str = "updatedAt";

/// Columns that a file of refused rows has before those of the file they came from.
pub(super) const REJECTED_ROW: &str = "rejected:row";
pub(super) const REJECTED_REASON: &str = "rejected:reason";

/// What the organization has configured.
#[derive(Default)]
pub(super) struct Catalog {
    /// Names of identifiers.
    pub(super) identifiers: Vec<String>,
    pub(super) purposes: Vec<Purpose>,
}

/// A purpose and its topics.
pub(super) struct Purpose {
    pub(super) slug: String,
    pub(super) topics: Vec<Topic>,
}

/// A topic.
pub(super) struct Topic {
    pub(super) slug: String,
    pub(super) kind: TopicKind,
}

/// Which answers a topic takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TopicKind {
    Boolean,
    Select,
    MultiSelect,
}

impl Catalog {
    /// Asks the server for it.
    pub(super) async fn read(client: &Client) -> Result<Catalog> {
        let text = |node: &Value, name: &str| node[name].as_str().unwrap_or_default().to_owned();
        let identifiers = list(client, "identifiers", "name").await?;
        let purposes = list(client, "purposes", "trackingType").await?;
        let topics = list(client, "preferenceTopics", "slug type purpose { trackingType }").await?;
        let topics_of = |purpose: &str| {
            let own = topics.iter().filter(|node| node["purpose"]["trackingType"] == purpose);
            own.map(|node| Topic {
                slug: text(node, "slug"),
                kind: match node["type"].as_str() {
                    Some("SELECT") => TopicKind::Select,
                    Some("MULTI_SELECT") => TopicKind::MultiSelect,
                    _ => TopicKind::Boolean,
                },
            })
            .collect()
        };
        let purposes = purposes
            .iter()
            .map(|node| text(node, "trackingType"))
            .map(|slug| Purpose {
                topics: topics_of(&slug),
                slug,
            });
        Ok(Catalog {
            identifiers: identifiers.iter().map(|node| text(node, "name")).collect(),
            purposes: purposes.collect(),
        })
    }

    /// The kind of a topic, if there is one of that name.
    pub(super) fn topic(&self, purpose: &str, topic: &str) -> Option<TopicKind> {
        let topics = &self.purposes.iter().find(|known| known.slug == purpose)?.topics;
        topics.iter().find(|known| known.slug == topic).map(|known| known.kind)
    }

    /// Whether what the target names is configured.
    pub(super) fn knows(&self, target: &Target) -> bool {
        match target {
            Target::Identifier(name) => self.identifiers.contains(name),
            Target::Purpose(slug) | Target::PurposeTimestamp(slug) | Target::PurposeSource(slug) => {
                self.purposes.iter().any(|known| known.slug == *slug)
            }
            Target::Topic(purpose, topic) => self.topic(purpose, topic).is_some(),
            _ => true,
        }
    }

    /// What a column of this name is, by itself; none if that can't be told.
    pub(super) fn target(&self, column: &str) -> Option<Target> {
        if PASSED_OVER.contains(&column) || [REJECTED_ROW, REJECTED_REASON].contains(&column) {
            return Some(Target::Ignored);
        }
        let long = Target::parse(column).filter(|target| *target != Target::Ignored && self.knows(target));
        if long.is_some() {
            return long;
        }
        let mut named = self
            .short_names()
            .filter(|(name, _)| name == column)
            .map(|(_, target)| target);
        named.next().filter(|_| named.next().is_none())
    }

    /// The name of a column that holds this: the short one if nothing else has it.
    pub(super) fn column(&self, target: &Target) -> String {
        let short = self
            .short_names()
            .find(|(_, named)| named == target)
            .map(|(name, _)| name);
        let own = short.filter(|name| self.target(name).as_ref() == Some(target));
        own.unwrap_or_else(|| target.to_string())
    }

    /// Everything that an export says about a record and an import takes, in the order of its columns.
    pub(super) fn columns(&self) -> Vec<Target> {
        let mut columns = vec![Target::UserId, Target::Timestamp, Target::Confirmed];
        columns.extend(self.identifiers.iter().cloned().map(Target::Identifier));
        for Purpose { slug, topics } in &self.purposes {
            columns.push(Target::Purpose(slug.clone()));
            columns.extend(
                topics
                    .iter()
                    .map(|topic| Target::Topic(slug.clone(), topic.slug.clone())),
            );
            columns.push(Target::PurposeTimestamp(slug.clone()));
            columns.push(Target::PurposeSource(slug.clone()));
        }
        columns.extend([
            Target::Usp,
            Target::Gpp,
            Target::Tcf,
            Target::AirgapVersion,
            Target::Metadata,
            Target::MetadataTimestamp,
        ]);
        columns
    }

    /// The names that columns may have here, each as short as it may be.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.columns().iter().map(|target| self.column(target)).collect();
        let others = [Target::Locale, Target::BirthDate, Target::Ignored];
        names.extend(others.map(|target| target.to_string()));
        names
    }

    fn short_names(&self) -> impl Iterator<Item = (String, Target)> + '_ {
        let identifiers = self
            .identifiers
            .iter()
            .map(|name| (name.clone(), Target::Identifier(name.clone())));
        let purposes = self.purposes.iter().flat_map(|Purpose { slug, topics }| {
            let topics = topics.iter().map(move |topic| {
                let target = Target::Topic(slug.clone(), topic.slug.clone());
                (format!("{slug}_{}", topic.slug), target)
            });
            std::iter::once((slug.clone(), Target::Purpose(slug.clone()))).chain(topics)
        });
        identifiers.chain(purposes)
    }
}

async fn list(client: &Client, field: &str, selection: &str) -> Result<Vec<Value>> {
    let query = format!(
        "query($first: Int!, $offset: Int!) {{ {field}(first: $first, offset: $offset) {{ nodes {{ {selection} }} }} }}"
    );
    let mut all = Vec::new();
    loop {
        let page = json!({ "first": PAGE, "offset": all.len() });
        let mut data = client.graphql(&query, page).await?;
        let nodes = data[field]["nodes"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let is_last = nodes.len() < PAGE;
        all.extend(nodes);
        if is_last {
            return Ok(all);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two purposes whose names run into each other, and a topic of each kind.
    pub(crate) fn sample() -> Catalog {
        let topic = |slug: &str, kind| Topic {
            slug: slug.to_owned(),
            kind,
        };
        let purpose = |slug: &str, topics| Purpose {
            slug: slug.to_owned(),
            topics,
        };
        Catalog {
            identifiers: ["email", "phone", "timestamp", "transcend"].map(str::to_owned).to_vec(),
            purposes: vec![
                purpose("Analytics", Vec::new()),
                purpose(
                    "News",
                    vec![
                        topic("Cadence", TopicKind::Select),
                        topic("Channel", TopicKind::MultiSelect),
                        topic("Paused", TopicKind::Boolean),
                        topic("Shop_Size", TopicKind::Select),
                    ],
                ),
                purpose("News_Shop", vec![topic("Size", TopicKind::Select)]),
            ],
        }
    }

    #[test]
    fn a_short_name_is_nobodys_if_two_would_have_it() {
        let catalog = sample();
        let topic = |purpose: &str, topic: &str| Target::Topic(purpose.to_owned(), topic.to_owned());
        assert_eq!(catalog.target("News_Cadence"), Some(topic("News", "Cadence")));
        assert_eq!(catalog.target("News_Shop_Size"), None);
        assert_eq!(catalog.target("timestamp"), Some(Target::Timestamp));
        let identifier = Target::Identifier("timestamp".to_owned());
        assert_eq!(catalog.column(&identifier), "identifier:timestamp");
        assert_eq!(catalog.column(&topic("News", "Shop_Size")), "topic:News:Shop_Size");
        assert_eq!(catalog.column(&topic("News_Shop", "Size")), "topic:News_Shop:Size");
        assert_eq!(catalog.column(&topic("News", "Paused")), "News_Paused");
    }

    #[test]
    fn every_column_of_an_export_is_known_to_an_import_by_its_name() {
        let catalog = sample();
        for target in catalog.columns() {
            assert_eq!(catalog.target(&catalog.column(&target)), Some(target));
        }
        for name in PASSED_OVER {
            assert_eq!(catalog.target(name), Some(Target::Ignored));
        }
        assert_eq!(catalog.target("purpose:Nothing"), None);
        assert_eq!(catalog.target("Nothing"), None);
    }
}
