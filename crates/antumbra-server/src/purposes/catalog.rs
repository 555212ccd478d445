//! Everything an organization can be asked about, compiled for the preference store.
//!
//! A [`Catalog`] finds things by the names that clients write and by the numbers that rows hold. Deleted things stay in
//! it under their numbers, because old rows still hold them. [`Catalogs`] keeps the last one of each organization.

use std::{collections::HashMap, sync::Arc};

use antumbra_store::{Reader, StoreError};
use uuid::Uuid;

use super::{
    model::{
        AuthLevel, ExpiryRule, OptionId, OptionValue, Partition, PartitionId, Purpose, PurposeId, Topic, TopicId,
        TopicKind,
    },
    store,
};
use crate::{copies::Copies, organization::OrganizationId};

/// An organization's purposes, topics, options and partitions, ready to be looked up.
#[derive(Debug, Default)]
pub struct Catalog {
    version: Uuid,
    partitions: HashMap<String, Partition>,
    purposes: Vec<PurposeEntry>,
    purposes_by_slug: HashMap<String, usize>,
    purposes_by_number: HashMap<u32, usize>,
    options_by_number: HashMap<u32, OptionEntry>,
    has_expiry: bool,
}

/// A purpose in a catalog.
#[derive(Debug)]
pub struct PurposeEntry {
    /// Its id.
    pub id: PurposeId,
    /// What rows call it.
    pub number: u32,
    /// What clients call it.
    pub slug: String,
    /// What people call it.
    pub name: String,
    /// Its heading, where that differs from its name.
    pub title: Option<String>,
    /// Answers to it can be written.
    pub writable: bool,
    /// It is neither deleted nor hidden: answers to it are shown.
    pub shown: bool,
    /// It can't be refused.
    pub essential: bool,
    /// Who may change an answer to it.
    pub auth_level: AuthLevel,
    /// How long its answers count: each rule that was set, oldest first.
    pub expiry: Vec<ExpiryRule>,
    topics: Vec<TopicEntry>,
    topics_by_slug: HashMap<String, usize>,
}

/// A topic in a catalog.
#[derive(Debug)]
pub struct TopicEntry {
    /// Its id.
    pub id: TopicId,
    /// What rows call it.
    pub number: u32,
    /// What clients call it.
    pub slug: String,
    /// What people call it.
    pub title: String,
    /// What an answer looks like.
    pub kind: TopicKind,
    /// It is not deleted.
    pub shown: bool,
    options: HashMap<String, u32>,
}

/// An option in a catalog.
#[derive(Debug)]
pub struct OptionEntry {
    /// Its id.
    pub id: OptionId,
    /// What clients call it.
    pub slug: String,
    /// What people call it.
    pub title: String,
}

impl Catalog {
    /// Compiles what the tables hold as of `version`.
    pub(super) fn build(
        version: Uuid,
        partitions: Vec<Partition>,
        purposes: Vec<Purpose>,
        topics: Vec<Topic>,
        options: Vec<OptionValue>,
    ) -> Catalog {
        let option_ids: HashMap<OptionId, &OptionValue> = options.iter().map(|option| (option.id, option)).collect();
        let mut topics_of: HashMap<PurposeId, Vec<TopicEntry>> = HashMap::new();
        for topic in &topics {
            topics_of
                .entry(topic.purpose)
                .or_default()
                .push(TopicEntry::build(topic, &option_ids));
        }
        let entry = |purpose: &Purpose| PurposeEntry::build(purpose, topics_of.remove(&purpose.id).unwrap_or_default());
        let purposes: Vec<PurposeEntry> = purposes.iter().map(entry).collect();
        let places = || purposes.iter().enumerate();
        Catalog {
            version,
            partitions: partitions
                .into_iter()
                .map(|partition| (partition.key.clone(), partition))
                .collect(),
            purposes_by_slug: places()
                .filter(|(_, p)| p.shown)
                .map(|(i, p)| (p.slug.clone(), i))
                .collect(),
            purposes_by_number: places().map(|(i, p)| (p.number, i)).collect(),
            options_by_number: options.into_iter().map(OptionEntry::numbered).collect(),
            has_expiry: purposes.iter().any(|purpose| !purpose.expiry.is_empty()),
            purposes,
        }
    }

    /// Purposes numbered from 0 that have these rules and nothing else to tell them apart.
    #[cfg(test)]
    pub(crate) fn of_rules(rules: Vec<Vec<ExpiryRule>>) -> Catalog {
        let entry = |(number, expiry): (u32, Vec<ExpiryRule>)| PurposeEntry {
            id: PurposeId(Uuid::from_u128(u128::from(number))),
            number,
            slug: format!("Purpose{number}"),
            name: String::new(),
            title: None,
            writable: true,
            shown: true,
            essential: false,
            auth_level: AuthLevel::Optional,
            expiry,
            topics: Vec::new(),
            topics_by_slug: HashMap::new(),
        };
        let purposes: Vec<PurposeEntry> = (0..).zip(rules).map(entry).collect();
        Catalog {
            purposes_by_number: (0..)
                .zip(&purposes)
                .map(|(place, entry)| (entry.number, place))
                .collect(),
            has_expiry: true,
            purposes,
            ..Catalog::default()
        }
    }

    /// What changes with everything in the catalog, and with whatever else calls [`renew`](super::renew).
    pub fn version(&self) -> Uuid {
        self.version
    }

    /// Whether answers to any purpose have ever had a rule by which they expire.
    pub fn has_expiry(&self) -> bool {
        self.has_expiry
    }

    /// The partition with this key.
    pub fn partition(&self, key: &str) -> Option<PartitionId> {
        self.partitions.get(key).map(|partition| partition.id)
    }

    /// The partition with this id.
    pub fn partition_of(&self, id: PartitionId) -> Option<&Partition> {
        self.partitions.values().find(|partition| partition.id == id)
    }

    /// The key of a partition.
    pub fn partition_key(&self, id: PartitionId) -> Option<&str> {
        self.partition_of(id).map(|partition| partition.key.as_str())
    }

    /// The purpose that clients call `slug`, unless it was deleted.
    pub fn purpose(&self, slug: &str) -> Option<&PurposeEntry> {
        self.purposes_by_slug.get(slug).map(|place| &self.purposes[*place])
    }

    /// The purpose with this id, unless it was deleted.
    pub fn purpose_with(&self, id: PurposeId) -> Option<&PurposeEntry> {
        self.purposes.iter().find(|purpose| purpose.id == id && purpose.shown)
    }

    /// The purpose that rows call `number`, deleted or not.
    pub fn purpose_numbered(&self, number: u32) -> Option<&PurposeEntry> {
        self.purposes_by_number.get(&number).map(|place| &self.purposes[*place])
    }

    /// The name of the option that rows call `number`, deleted or not.
    pub fn option_numbered(&self, number: u32) -> Option<&str> {
        self.option_entry(number).map(|option| option.slug.as_str())
    }

    /// The option that rows call `number`, deleted or not.
    pub fn option_entry(&self, number: u32) -> Option<&OptionEntry> {
        self.options_by_number.get(&number)
    }
}

impl PurposeEntry {
    fn build(purpose: &Purpose, topics: Vec<TopicEntry>) -> PurposeEntry {
        let shown = purpose.deleted_at.is_none();
        let named = topics.iter().enumerate().filter(|(_, topic)| topic.shown);
        PurposeEntry {
            id: purpose.id,
            number: purpose.number,
            slug: purpose.tracking_type.clone(),
            name: purpose.name.clone(),
            title: purpose.title.clone(),
            writable: shown && purpose.is_active,
            shown,
            essential: purpose.essential,
            auth_level: purpose.auth_level,
            expiry: purpose.expiry.clone(),
            topics_by_slug: named.map(|(place, topic)| (topic.slug.clone(), place)).collect(),
            topics,
        }
    }

    /// The topic that clients call `slug`, unless it was deleted.
    pub fn topic(&self, slug: &str) -> Option<&TopicEntry> {
        self.topics_by_slug.get(slug).map(|place| &self.topics[*place])
    }

    /// The topic that rows call `number`, deleted or not.
    pub fn topic_numbered(&self, number: u32) -> Option<&TopicEntry> {
        self.topics.iter().find(|topic| topic.number == number)
    }
}

impl TopicEntry {
    fn build(topic: &Topic, options: &HashMap<OptionId, &OptionValue>) -> TopicEntry {
        let offered = topic
            .options
            .iter()
            .filter_map(|id| options.get(id))
            .filter(|option| option.deleted_at.is_none());
        TopicEntry {
            id: topic.id,
            number: topic.number,
            slug: topic.slug.clone(),
            title: topic.title.clone(),
            kind: topic.kind,
            shown: topic.deleted_at.is_none(),
            options: offered.map(|option| (option.slug.clone(), option.number)).collect(),
        }
    }

    /// The number of the option that clients call `slug`, if the topic offers it.
    pub fn option(&self, slug: &str) -> Option<u32> {
        self.options.get(slug).copied()
    }
}

impl OptionEntry {
    fn numbered(option: OptionValue) -> (u32, OptionEntry) {
        let OptionValue {
            id,
            number,
            slug,
            title,
            ..
        } = option;
        (number, OptionEntry { id, slug, title })
    }
}

/// The last catalog of each organization that was read.
#[derive(Clone, Default)]
pub struct Catalogs(Arc<Copies<Uuid, Catalog>>);

impl Catalogs {
    /// The catalog as `reader` sees it. Takes one read while nothing has changed, none if nothing at all has.
    pub async fn current(&self, reader: &mut Reader, organization: OrganizationId) -> Result<Arc<Catalog>, StoreError> {
        if let Some(catalog) = self.0.seen_by(reader, organization) {
            return Ok(catalog);
        }
        let version = store::version(reader, organization).await?;
        if let Some(catalog) = self.0.of_version(reader, organization, &version) {
            return Ok(catalog);
        }
        let catalog = store::load(reader, organization, version).await?;
        Ok(self.0.keep(reader, organization, version, catalog))
    }
}
