//! Where purposes, topics, options and partitions are kept, and each change to them.

use std::collections::{BTreeSet, HashSet};

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    catalog::Catalog,
    model::{
        AuthLevel, BUILT_IN, DefaultConsent, NewPurpose, NewTopic, OptionChange, OptionId, OptionValue, Partition,
        PartitionId, Purpose, PurposeChange, PurposeError, PurposeId, PurposeSettings, Topic, TopicChange, TopicId,
        TopicKind, check_name, check_partition_key, check_slug, check_text, check_tracking_type, slug_of_title,
        take_given,
    },
};
use crate::{organization::OrganizationId, world::Ids};

/// What an organization can be asked about. Deleted purposes stay: answers to them are still stored.
const PURPOSES: Table<(OrganizationId, PurposeId), Purpose> = Table::new("purposes");

/// The finer questions under purposes. Deleted ones stay.
const TOPICS: Table<(OrganizationId, TopicId), Topic> = Table::new("preference_topics");

/// The answers that topics can offer. Deleted ones stay.
const OPTIONS: Table<(OrganizationId, OptionId), OptionValue> = Table::new("preference_options");

/// The walled-off sets of preference data.
const PARTITIONS: Table<(OrganizationId, PartitionId), Partition> = Table::new("partitions");

/// One row an organization: changes with each change above, so that a compiled catalog can be checked by one read.
const CATALOGS: Table<(OrganizationId,), CatalogRow> = Table::new("catalogs");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[
    PURPOSES.name(),
    TOPICS.name(),
    OPTIONS.name(),
    PARTITIONS.name(),
    CATALOGS.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<CatalogRow>,
    crate::fuzz::same_when_written_again::<Purpose>,
    crate::fuzz::same_when_written_again::<Topic>,
    crate::fuzz::same_when_written_again::<OptionValue>,
    crate::fuzz::same_when_written_again::<Partition>,
];

/// Most purposes, topics, options or partitions of one organization, each.
const MANY_MAX: usize = 10_000;

/// The version of an organization's configuration and the next free number in it.
#[derive(Clone, Serialize, Deserialize)]
struct CatalogRow {
    version: Uuid,
    next_number: u32,
}

impl Record for CatalogRow {
    const VERSION: u8 = 1;
}

impl Record for Purpose {
    const VERSION: u8 = 1;
}

impl Record for Topic {
    const VERSION: u8 = 1;
}

impl Record for OptionValue {
    const VERSION: u8 = 1;
}

impl Record for Partition {
    const VERSION: u8 = 1;
}

/// Makes what a new organization starts with: the five built-in purposes, and the default partition under
/// `partition_key`. The organization has nothing of the kind yet.
pub fn create_built_ins(tx: &mut Tx, ids: &Ids, organization: OrganizationId, partition_key: String, now: Timestamp) {
    let id = PartitionId(ids.uuid());
    let partition = Partition {
        id,
        name: "Default".to_owned(),
        key: partition_key,
        built_in: true,
        created_at: now,
    };
    tx.put(&PARTITIONS, &(organization, id), &partition);
    let mut numbers = Numbers::first(ids, organization);
    for (order, (tracking_type, name, description, essential)) in (0..).zip(BUILT_IN) {
        let new = NewPurpose {
            name: name.to_owned(),
            description: description.to_owned(),
            tracking_type: tracking_type.to_owned(),
            settings: PurposeSettings {
                show_in_consent_manager: Some(true),
                configurable: Some(!essential),
                ..PurposeSettings::default()
            },
        };
        let made = made(new, PurposeId(ids.uuid()), numbers.next(), order, now);
        let purpose = Purpose {
            essential,
            built_in: true,
            ..made
        };
        tx.put(&PURPOSES, &(organization, purpose.id), &purpose);
    }
    numbers.put(tx);
}

/// Every purpose, oldest first, deleted ones with their time of deletion.
pub async fn list_purposes(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<Purpose>, StoreError> {
    list(reader, &PURPOSES, organization).await
}

/// Every topic that is not deleted, oldest first.
pub async fn list_topics(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<Topic>, StoreError> {
    let mut topics = list(reader, &TOPICS, organization).await?;
    topics.retain(|topic| topic.deleted_at.is_none());
    Ok(topics)
}

/// Every option that is not deleted, oldest first.
pub async fn list_options(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<OptionValue>, StoreError> {
    let mut options = list(reader, &OPTIONS, organization).await?;
    options.retain(|option| option.deleted_at.is_none());
    Ok(options)
}

/// Every partition, oldest first: the default one leads.
pub async fn list_partitions(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<Partition>, StoreError> {
    list(reader, &PARTITIONS, organization).await
}

/// Makes a purpose.
pub async fn create_purpose(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    new: NewPurpose,
    now: Timestamp,
) -> Result<Purpose, PurposeError> {
    check_tracking_type(&new.tracking_type)?;
    check_name("name", &new.name)?;
    check_text("description", &new.description)?;
    new.settings.check()?;
    let all = list_purposes(tx, organization).await?;
    let living = all.iter().filter(|purpose| purpose.deleted_at.is_none());
    if living.clone().any(|purpose| purpose.tracking_type == new.tracking_type) {
        return Err(PurposeError::Taken);
    }
    room_in(all.len())?;
    let last = living.map(|purpose| purpose.display_order).max().unwrap_or(-1);
    let mut numbers = Numbers::take(tx, ids, organization).await?;
    let purpose = made(new, PurposeId(ids.uuid()), numbers.next(), last.saturating_add(1), now);
    tx.put(&PURPOSES, &(organization, purpose.id), &purpose);
    numbers.put(tx);
    Ok(purpose)
}

fn made(new: NewPurpose, id: PurposeId, number: u32, order: i32, now: Timestamp) -> Purpose {
    let mut purpose = Purpose {
        id,
        number,
        tracking_type: new.tracking_type,
        name: new.name,
        description: new.description,
        title: None,
        default_consent: DefaultConsent::Auto,
        configurable: true,
        essential: false,
        built_in: false,
        show_in_consent_manager: false,
        show_in_privacy_center: true,
        is_active: true,
        display_order: order,
        opt_out_signals: BTreeSet::new(),
        auth_level: AuthLevel::Optional,
        communication_preferences_identifier_id: None,
        show_disclosure_in_comm_preferences: false,
        data_subject_ids: BTreeSet::new(),
        expiry: Vec::new(),
        created_at: now,
        deleted_at: None,
    };
    new.settings.apply(&mut purpose, now);
    purpose
}

/// Changes a purpose.
pub async fn change_purpose(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    id: PurposeId,
    change: PurposeChange,
    now: Timestamp,
) -> Result<Purpose, PurposeError> {
    let mut purpose = living_purpose(tx, organization, id).await?;
    if let Some(name) = &change.name {
        check_name("name", name)?;
    }
    let set = &change.settings;
    check_text("description", change.description.as_deref().unwrap_or_default())?;
    set.check()?;
    let differs = |given: Option<bool>, held: bool| purpose.built_in && given.is_some_and(|given| given != held);
    if differs(set.configurable, purpose.configurable) {
        return Err(PurposeError::BuiltIn("configurable"));
    }
    if differs(set.show_in_consent_manager, purpose.show_in_consent_manager) {
        return Err(PurposeError::BuiltIn("showInConsentManager"));
    }
    let before = purpose.clone();
    take_given(&mut purpose.name, change.name);
    take_given(&mut purpose.description, change.description);
    take_given(&mut purpose.data_subject_ids, change.data_subject_ids);
    change.settings.apply(&mut purpose, now);
    if purpose != before {
        tx.put(&PURPOSES, &(organization, id), &purpose);
        Numbers::take(tx, ids, organization).await?.put(tx);
    }
    Ok(purpose)
}

/// Deletes a purpose that the organization made, and its topics: answers to them are shown no longer.
pub async fn delete_purpose(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    id: PurposeId,
    now: Timestamp,
) -> Result<(), PurposeError> {
    let mut purpose = living_purpose(tx, organization, id).await?;
    if purpose.built_in {
        return Err(PurposeError::BuiltIn("the existence"));
    }
    purpose.deleted_at = Some(now);
    tx.put(&PURPOSES, &(organization, id), &purpose);
    let topics = list_topics(tx, organization)
        .await?
        .into_iter()
        .filter(|topic| topic.purpose == id);
    for topic in topics.collect::<Vec<_>>() {
        tx.put(
            &TOPICS,
            &(organization, topic.id),
            &Topic {
                deleted_at: Some(now),
                ..topic
            },
        );
    }
    Numbers::take(tx, ids, organization).await?.put(tx);
    Ok(())
}

/// Makes a topic. One of yes and no gets its two options, `True` and `False`.
pub async fn create_topic(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    new: NewTopic,
    now: Timestamp,
) -> Result<Topic, PurposeError> {
    check_slug(&new.slug)?;
    check_name("title", &new.title)?;
    check_text("displayDescription", &new.display_description)?;
    check_text("defaultConfiguration", &new.default_configuration)?;
    living_purpose(tx, organization, new.purpose).await?;
    let topics = list_topics(tx, organization).await?;
    if topics
        .iter()
        .any(|topic| topic.purpose == new.purpose && topic.slug == new.slug)
    {
        return Err(PurposeError::Taken);
    }
    room_in(topics.len())?;
    let mut numbers = Numbers::take(tx, ids, organization).await?;
    let options = match new.kind {
        TopicKind::Boolean if new.options.is_empty() => yes_and_no(tx, ids, organization, &mut numbers, now).await?,
        TopicKind::Boolean => return Err(PurposeError::BooleanOptions),
        TopicKind::Select | TopicKind::MultiSelect => living_options(tx, organization, new.options).await?,
    };
    let topic = Topic {
        id: TopicId(ids.uuid()),
        number: numbers.next(),
        purpose: new.purpose,
        slug: new.slug,
        kind: new.kind,
        title: new.title,
        display_description: new.display_description,
        color: String::new(),
        show_in_privacy_center: new.show_in_privacy_center,
        default_configuration: new.default_configuration,
        options,
        created_at: now,
        deleted_at: None,
    };
    tx.put(&TOPICS, &(organization, topic.id), &topic);
    numbers.put(tx);
    Ok(topic)
}

/// Changes a topic.
pub async fn change_topic(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    id: TopicId,
    change: TopicChange,
) -> Result<Topic, PurposeError> {
    let topic = tx
        .get(&TOPICS, &(organization, id))
        .await?
        .filter(|topic| topic.deleted_at.is_none());
    let mut topic = topic.ok_or(PurposeError::NotFound("preference topic"))?;
    if let Some(title) = &change.title {
        check_name("title", title)?;
    }
    for (what, text) in [
        ("displayDescription", &change.display_description),
        ("defaultConfiguration", &change.default_configuration),
    ] {
        check_text(what, text.as_deref().unwrap_or_default())?;
    }
    let options = match change.options {
        Some(options) if topic.kind == TopicKind::Boolean => {
            if !options.is_empty() && options != topic.options {
                return Err(PurposeError::BooleanOptions);
            }
            None
        }
        Some(options) => Some(living_options(tx, organization, options).await?),
        None => None,
    };
    let before = topic.clone();
    take_given(&mut topic.title, change.title);
    take_given(&mut topic.display_description, change.display_description);
    take_given(&mut topic.show_in_privacy_center, change.show_in_privacy_center);
    take_given(&mut topic.default_configuration, change.default_configuration);
    take_given(&mut topic.options, options);
    if topic != before {
        tx.put(&TOPICS, &(organization, id), &topic);
        Numbers::take(tx, ids, organization).await?.put(tx);
    }
    Ok(topic)
}

/// Deletes topics: answers to them are shown no longer. Gives how many there were.
pub async fn delete_topics(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    gone: &[TopicId],
    now: Timestamp,
) -> Result<usize, PurposeError> {
    let topics = list_topics(tx, organization).await?;
    let gone: Vec<Topic> = topics.into_iter().filter(|topic| gone.contains(&topic.id)).collect();
    let count = gone.len();
    for topic in gone {
        tx.put(
            &TOPICS,
            &(organization, topic.id),
            &Topic {
                deleted_at: Some(now),
                ..topic
            },
        );
    }
    if count > 0 {
        Numbers::take(tx, ids, organization).await?.put(tx);
    }
    Ok(count)
}

/// Makes options, and changes the titles of those that are named. Gives each, in order.
pub async fn change_or_create_options(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    changes: Vec<OptionChange>,
    now: Timestamp,
) -> Result<Vec<OptionValue>, PurposeError> {
    let mut all = list_options(tx, organization).await?;
    let mut numbers = Numbers::take(tx, ids, organization).await?;
    let mut done = Vec::with_capacity(changes.len());
    for change in changes {
        check_name("title", &change.title)?;
        let option = match change.id {
            Some(id) => {
                let option = all.iter_mut().find(|option| option.id == id);
                let option = option.ok_or(PurposeError::NotFound("preference option value"))?;
                option.title = change.title;
                option.clone()
            }
            None => {
                let slug = change.slug.map_or_else(|| slug_of_title(&change.title), Ok)?;
                check_slug(&slug)?;
                if all.iter().any(|option| option.slug == slug) {
                    return Err(PurposeError::Taken);
                }
                room_in(all.len())?;
                let option = new_option(ids, &mut numbers, slug, change.title, now);
                all.push(option.clone());
                option
            }
        };
        tx.put(&OPTIONS, &(organization, option.id), &option);
        done.push(option);
    }
    numbers.put(tx);
    Ok(done)
}

/// Deletes options that no topic offers. Gives how many there were.
pub async fn delete_options(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    gone: &[OptionId],
    now: Timestamp,
) -> Result<usize, PurposeError> {
    let topics = list_topics(tx, organization).await?;
    if topics
        .iter()
        .flat_map(|topic| &topic.options)
        .any(|offered| gone.contains(offered))
    {
        return Err(PurposeError::OptionInUse);
    }
    let options = list_options(tx, organization).await?;
    let gone: Vec<OptionValue> = options.into_iter().filter(|option| gone.contains(&option.id)).collect();
    let count = gone.len();
    for option in gone {
        tx.put(
            &OPTIONS,
            &(organization, option.id),
            &OptionValue {
                deleted_at: Some(now),
                ..option
            },
        );
    }
    if count > 0 {
        Numbers::take(tx, ids, organization).await?.put(tx);
    }
    Ok(count)
}

/// Makes a partition. Without a key of the caller's own it gets a random one.
pub async fn create_partition(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    name: String,
    key: Option<String>,
    now: Timestamp,
) -> Result<Partition, PurposeError> {
    check_name("name", &name)?;
    let key = key.unwrap_or_else(|| ids.hidden_uuid().to_string());
    check_partition_key(&key)?;
    let all = list_partitions(tx, organization).await?;
    if all.iter().any(|partition| partition.key == key) {
        return Err(PurposeError::Taken);
    }
    room_in(all.len())?;
    let partition = Partition {
        id: PartitionId(ids.uuid()),
        name,
        key,
        built_in: false,
        created_at: now,
    };
    tx.put(&PARTITIONS, &(organization, partition.id), &partition);
    Numbers::take(tx, ids, organization).await?.put(tx);
    Ok(partition)
}

/// Deletes a partition. The caller has made sure that it holds no records.
pub async fn delete_partition(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    id: PartitionId,
) -> Result<(), PurposeError> {
    let partition = tx
        .get(&PARTITIONS, &(organization, id))
        .await?
        .ok_or(PurposeError::NotFound("partition"))?;
    if partition.built_in {
        return Err(PurposeError::DefaultPartition);
    }
    tx.delete(&PARTITIONS, &(organization, id));
    Numbers::take(tx, ids, organization).await?.put(tx);
    Ok(())
}

/// The version of an organization's configuration; nil before it has any.
pub(super) async fn version(reader: &mut Reader, organization: OrganizationId) -> Result<Uuid, StoreError> {
    let row = reader.get(&CATALOGS, &(organization,)).await?;
    Ok(row.map_or(Uuid::nil(), |row| row.version))
}

/// Makes every copy of the catalog out of date, for configuration that stands on it and is kept with it in memory.
pub async fn renew(tx: &mut Tx, ids: &Ids, organization: OrganizationId) -> Result<(), StoreError> {
    Numbers::take(tx, ids, organization).await?.put(tx);
    Ok(())
}

/// Reads everything an organization has as of `version`.
pub(super) async fn load(
    reader: &mut Reader,
    organization: OrganizationId,
    version: Uuid,
) -> Result<Catalog, StoreError> {
    let partitions = list_partitions(reader, organization).await?;
    let purposes = list_purposes(reader, organization).await?;
    let topics = list(reader, &TOPICS, organization).await?;
    let options = list(reader, &OPTIONS, organization).await?;
    Ok(Catalog::build(version, partitions, purposes, topics, options))
}

/// The organization's numbers while some are being given out. Putting them back marks the configuration as changed.
struct Numbers {
    organization: OrganizationId,
    row: CatalogRow,
}

impl Numbers {
    fn first(ids: &Ids, organization: OrganizationId) -> Numbers {
        let (version, next_number) = (ids.hidden_uuid(), 1);
        Numbers {
            organization,
            row: CatalogRow { version, next_number },
        }
    }

    async fn take(tx: &mut Tx, ids: &Ids, organization: OrganizationId) -> Result<Numbers, StoreError> {
        let next_number = tx
            .get(&CATALOGS, &(organization,))
            .await?
            .map_or(1, |row| row.next_number);
        // A random version, not a count: one that was never committed can't come back as another's.
        Ok(Numbers {
            organization,
            row: CatalogRow {
                version: ids.hidden_uuid(),
                next_number,
            },
        })
    }

    fn next(&mut self) -> u32 {
        let number = self.row.next_number;
        self.row.next_number += 1;
        number
    }

    fn put(self, tx: &mut Tx) {
        tx.put(&CATALOGS, &(self.organization,), &self.row);
    }
}

async fn list<Id: antumbra_store::Key, R: Record>(
    reader: &mut Reader,
    table: &Table<(OrganizationId, Id), R>,
    organization: OrganizationId,
) -> Result<Vec<R>, StoreError> {
    let rows = reader.scan(table, Scan::prefix(&(organization,))).await?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

async fn living_purpose(tx: &mut Tx, organization: OrganizationId, id: PurposeId) -> Result<Purpose, PurposeError> {
    let purpose = tx
        .get(&PURPOSES, &(organization, id))
        .await?
        .filter(|purpose| purpose.deleted_at.is_none());
    purpose.ok_or(PurposeError::NotFound("purpose"))
}

async fn living_options(
    tx: &mut Tx,
    organization: OrganizationId,
    wanted: Vec<OptionId>,
) -> Result<Vec<OptionId>, PurposeError> {
    let living: HashSet<OptionId> = list_options(tx, organization)
        .await?
        .iter()
        .map(|option| option.id)
        .collect();
    let mut taken = HashSet::new();
    let wanted: Vec<OptionId> = wanted.into_iter().filter(|id| taken.insert(*id)).collect();
    let known = wanted.iter().all(|id| living.contains(id));
    if known {
        Ok(wanted)
    } else {
        Err(PurposeError::NotFound("preference option value"))
    }
}

async fn yes_and_no(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    numbers: &mut Numbers,
    now: Timestamp,
) -> Result<Vec<OptionId>, PurposeError> {
    let all = list_options(tx, organization).await?;
    let mut two = Vec::with_capacity(2);
    for slug in ["True", "False"] {
        let option = all.iter().find(|option| option.slug == slug).cloned();
        let option = option.unwrap_or_else(|| {
            let option = new_option(ids, numbers, slug.to_owned(), slug.to_owned(), now);
            tx.put(&OPTIONS, &(organization, option.id), &option);
            option
        });
        two.push(option.id);
    }
    Ok(two)
}

fn new_option(ids: &Ids, numbers: &mut Numbers, slug: String, title: String, now: Timestamp) -> OptionValue {
    OptionValue {
        id: OptionId(ids.uuid()),
        number: numbers.next(),
        slug,
        title,
        created_at: now,
        deleted_at: None,
    }
}

fn room_in(count: usize) -> Result<(), PurposeError> {
    if count < MANY_MAX {
        Ok(())
    } else {
        Err(PurposeError::TooMany)
    }
}
