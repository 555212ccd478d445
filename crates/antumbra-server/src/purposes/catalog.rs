//! Everything an organization can be asked about, compiled for the preference store.
//!
//! A [`Catalog`] finds things by the names that clients write and by the numbers that rows hold. Deleted things stay in
//! it under their numbers, because old rows still hold them. [`Catalogs`] keeps the last one of each organization; it
//! is good as long as the version row that a transaction reads is the one it was built from.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use antumbra_store::{Reader, StoreError};
use uuid::Uuid;

use super::{
    model::{OptionId, OptionValue, Partition, PartitionId, Purpose, PurposeId, Topic, TopicKind},
    store,
};
use crate::organization::OrganizationId;

/// An organization's purposes, topics, options and partitions, ready to be looked up.
#[derive(Debug, Default)]
pub struct Catalog {
    version: Uuid,
    partitions: HashMap<String, PartitionId>,
    purposes: Vec<PurposeEntry>,
    purposes_by_slug: HashMap<String, usize>,
    purposes_by_number: HashMap<u32, usize>,
    options_by_number: HashMap<u32, String>,
}

/// A purpose in a catalog.
#[derive(Debug)]
pub struct PurposeEntry {
    /// What rows call it.
    pub number: u32,
    /// What clients call it.
    pub slug: String,
    /// Answers to it can be written.
    pub writable: bool,
    /// It is neither deleted nor hidden: answers to it are shown.
    pub shown: bool,
    /// It can't be refused.
    pub essential: bool,
    topics: Vec<TopicEntry>,
    topics_by_slug: HashMap<String, usize>,
}

/// A topic in a catalog.
#[derive(Debug)]
pub struct TopicEntry {
    /// What rows call it.
    pub number: u32,
    /// What clients call it.
    pub slug: String,
    /// What an answer looks like.
    pub kind: TopicKind,
    /// It is not deleted.
    pub shown: bool,
    options: HashMap<String, u32>,
}

impl Catalog {
    /// Compiles what the tables hold.
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
                .map(|partition| (partition.key, partition.id))
                .collect(),
            purposes_by_slug: places()
                .filter(|(_, p)| p.shown)
                .map(|(i, p)| (p.slug.clone(), i))
                .collect(),
            purposes_by_number: places().map(|(i, p)| (p.number, i)).collect(),
            options_by_number: options
                .iter()
                .map(|option| (option.number, option.slug.clone()))
                .collect(),
            purposes,
        }
    }

    /// The partition with this key.
    pub fn partition(&self, key: &str) -> Option<PartitionId> {
        self.partitions.get(key).copied()
    }

    /// The key of a partition.
    pub fn partition_key(&self, id: PartitionId) -> Option<&str> {
        self.partitions
            .iter()
            .find(|(_, partition)| **partition == id)
            .map(|(key, _)| key.as_str())
    }

    /// The purpose that clients call `slug`, unless it was deleted.
    pub fn purpose(&self, slug: &str) -> Option<&PurposeEntry> {
        self.purposes_by_slug.get(slug).map(|place| &self.purposes[*place])
    }

    /// The purpose that rows call `number`, deleted or not.
    pub fn purpose_numbered(&self, number: u32) -> Option<&PurposeEntry> {
        self.purposes_by_number.get(&number).map(|place| &self.purposes[*place])
    }

    /// The name of the option that rows call `number`, deleted or not.
    pub fn option_numbered(&self, number: u32) -> Option<&str> {
        self.options_by_number.get(&number).map(String::as_str)
    }
}

impl PurposeEntry {
    fn build(purpose: &Purpose, topics: Vec<TopicEntry>) -> PurposeEntry {
        let shown = purpose.deleted_at.is_none();
        let named = topics.iter().enumerate().filter(|(_, topic)| topic.shown);
        PurposeEntry {
            number: purpose.number,
            slug: purpose.tracking_type.clone(),
            writable: shown && purpose.is_active,
            shown,
            essential: purpose.essential,
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
            number: topic.number,
            slug: topic.slug.clone(),
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

/// The last catalog of each organization that was read.
#[derive(Clone, Debug, Default)]
pub struct Catalogs(Arc<RwLock<HashMap<OrganizationId, Arc<Catalog>>>>);

impl Catalogs {
    /// The catalog as `reader`'s snapshot has it. Takes one read while nothing has changed.
    pub async fn current(&self, reader: &mut Reader, organization: OrganizationId) -> Result<Arc<Catalog>, StoreError> {
        let version = store::version(reader, organization).await?;
        let kept = self
            .0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&organization)
            .cloned();
        if let Some(catalog) = kept
            && catalog.version == version
        {
            return Ok(catalog);
        }
        let catalog = Arc::new(store::load(reader, organization, version).await?);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(organization, catalog.clone());
        Ok(catalog)
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! A small catalog for the tests of slices that build on this one.

    use jiff::Timestamp;

    use super::*;
    use crate::purposes::model::{AuthLevel, DefaultConsent, TopicId};

    /// Partitions `shop` and `games`; `Essential`, `Analytics`, `Advertising`; `Product Updates` with the topics
    /// `Frequency`, `Channel` and `Unsubscribe`; `Old` is inactive, `Gone` deleted.
    pub(crate) fn catalog() -> Catalog {
        let id = |n: u32| Uuid::from_u128(u128::from(n));
        let now = Timestamp::UNIX_EPOCH;
        let purpose = |number: u32, slug: &str| Purpose {
            id: PurposeId(id(number)),
            number,
            tracking_type: slug.to_owned(),
            name: slug.to_owned(),
            description: slug.to_owned(),
            title: None,
            default_consent: DefaultConsent::Auto,
            configurable: true,
            essential: slug == "Essential",
            built_in: false,
            show_in_consent_manager: true,
            show_in_privacy_center: true,
            is_active: slug != "Old",
            display_order: 0,
            opt_out_signals: Default::default(),
            auth_level: AuthLevel::Optional,
            communication_preferences_identifier_id: None,
            show_disclosure_in_comm_preferences: false,
            data_subject_ids: Default::default(),
            created_at: now,
            deleted_at: (slug == "Gone").then_some(now),
        };
        let topic = |number: u32, purpose: u32, slug: &str, kind, options: &[u32]| Topic {
            id: TopicId(id(number)),
            number,
            purpose: PurposeId(id(purpose)),
            slug: slug.to_owned(),
            kind,
            title: slug.to_owned(),
            display_description: String::new(),
            color: String::new(),
            show_in_privacy_center: true,
            default_configuration: String::new(),
            options: options.iter().map(|n| OptionId(id(*n))).collect(),
            created_at: now,
            deleted_at: None,
        };
        let option = |number: u32, slug: &str| OptionValue {
            id: OptionId(id(number)),
            number,
            slug: slug.to_owned(),
            title: slug.to_owned(),
            created_at: now,
            deleted_at: None,
        };
        let partition = |number: u32, key: &str| Partition {
            id: PartitionId(id(number)),
            name: key.to_owned(),
            key: key.to_owned(),
            built_in: false,
            created_at: now,
        };
        Catalog::build(
            id(99),
            vec![partition(90, "shop"), partition(91, "games")],
            [
                "Essential",
                "Analytics",
                "Advertising",
                "Product Updates",
                "Old",
                "Gone",
            ]
            .into_iter()
            .zip(1..)
            .map(|(slug, number)| purpose(number, slug))
            .collect(),
            vec![
                topic(11, 4, "Frequency", TopicKind::Select, &[21, 22]),
                topic(12, 4, "Channel", TopicKind::MultiSelect, &[23, 24]),
                topic(13, 4, "Unsubscribe", TopicKind::Boolean, &[]),
            ],
            vec![
                option(21, "Weekly"),
                option(22, "Monthly"),
                option(23, "Email"),
                option(24, "Sms"),
            ],
        )
    }
}
