//! A batch of writes, taken in.
//!
//! It reads in two round trips, whatever its size: first who the identifiers belong to, then those records and their
//! keys. Everything else happens on a [`Desk`] in memory, record by record in the order of the batch. Changes to
//! identifiers, and deletions, happen there too: see `amend.rs`.

mod amend;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use antumbra_crypto::{value::ValueKey, wrap::WrappedKey};
use antumbra_store::{Raw, StoreError, Table, Tx};

use super::{
    super::{
        check::{Checked, OnConflict},
        difference::{PurposeChange, difference},
        encoding,
        expiry::Sight,
        feed::{News, What},
        model::{Effect, Identifier, Record, RecordId},
        moment::Moment,
    },
    BY_EVENT, BY_UPDATE, Blind, Chapter, HISTORY, Header, Held, OWNERS, Opened, RECORDS, Site,
    history::{Page, history_row},
    owner_of, read_records, record_row,
};
use crate::{
    keyring::{KeyKind, KeyringError, destroy_key},
    organization::OrganizationId,
    purposes::PartitionId,
};
pub(in crate::preferences) use amend::{Amends, Deletes, amend_all, delete_all};

/// Most identifiers and most metadata keys of one record.
const ENTRIES_MAX: usize = 1000;

/// Why one record of a batch was not stored, while its neighbours were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::preferences) enum Refused {
    #[error("The transcend identifier in this request does not match any consent profile for this organization.")]
    UnknownRecord,
    #[error("Identifiers in this record belong to more than one existing preference record")]
    SeveralRecords,
    #[error("At least one identifier that is unique on the preference store is required")]
    NoUniqueIdentifier,
    #[error("The stored preference record can not be decrypted")]
    Unreadable,
    #[error("A preference record holds at most 1,000 identifiers and 1,000 metadata keys")]
    TooLarge,
}

/// A batch with what its records are looked up by.
pub(in crate::preferences) struct Batch {
    pub(in crate::preferences) records: Vec<Checked>,
    lookups: Vec<Lookups>,
}

impl Batch {
    /// Works out the digests of all identifiers in a batch.
    pub(in crate::preferences) fn new(site: &Site<'_>, records: Vec<Checked>) -> Batch {
        let lookups = records.iter().map(|checked| Lookups::of(site, checked)).collect();
        Batch { records, lookups }
    }

    /// Where the batch is kept; some of them may come twice.
    pub(in crate::preferences) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.records.iter().map(|checked| checked.partition)
    }

    /// Whom the batch is about.
    pub(in crate::preferences) fn people(&self) -> Vec<Blind> {
        self.lookups.iter().flat_map(Lookups::all).collect()
    }
}

/// Stores a batch. Gives for each record what is stored now, or why nothing was.
pub(in crate::preferences) async fn upsert_all(
    tx: &mut Tx,
    site: &Site<'_>,
    batch: &Batch,
) -> Result<Vec<Result<Held, Refused>>, KeyringError> {
    let records = batch.records.iter().zip(&batch.lookups);
    let blinds = records
        .clone()
        .flat_map(|(checked, lookups)| lookups.all().map(|blind| (checked.partition, blind)));
    let named = batch
        .records
        .iter()
        .flat_map(|checked| checked.named.iter().map(|id| (checked.partition, *id)));
    let mut desk = Desk::lay_out(tx, site, blinds.collect(), named.collect()).await?;
    let outcomes = records.map(|(checked, lookups)| desk.take(checked, lookups)).collect();
    desk.clear_away(tx).await?;
    Ok(outcomes)
}

/// What a record of a batch is looked up by.
struct Lookups {
    /// One for each unique identifier.
    unique: Vec<Blind>,
    /// One for each record that is named by its id.
    named: Vec<Blind>,
}

impl Lookups {
    fn of(site: &Site<'_>, checked: &Checked) -> Lookups {
        let unique = checked.unique.iter().map(|place| {
            let identifier = &checked.write.identifiers[*place];
            site.blind(checked.partition, &identifier.name, &identifier.value)
        });
        Lookups {
            unique: unique.collect(),
            named: checked
                .named
                .iter()
                .map(|id| site.alias(checked.partition, *id))
                .collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = Blind> {
        self.unique.iter().chain(&self.named).copied()
    }
}

/// Everything that a batch touches, in memory while its records are taken in one by one.
struct Desk<'a> {
    site: &'a Site<'a>,
    owners: HashMap<(PartitionId, Blind), Owner>,
    drawers: HashMap<(PartitionId, RecordId), Drawer>,
    /// Digests that may have a row which leads to the record beside them, and must not: those of identifiers that it lost,
    /// and of what is not unique now but may have been, if it became part of another.
    doubtful: Vec<(PartitionId, Blind, RecordId)>,
    /// What the change feed is to be told.
    news: News,
    /// How many pages of history there are already.
    pages: u32,
}

#[derive(Clone, Copy, Default)]
struct Owner {
    stored: Option<RecordId>,
    now: Option<RecordId>,
}

/// One record while a batch is at work on it.
struct Drawer {
    id: RecordId,
    /// None if the record can't be read.
    key: Option<ValueKey>,
    /// The key of a record that is new.
    new_key: Option<WrappedKey>,
    /// The times under which the store lists it now.
    listed: Option<(Moment, Moment)>,
    timestamp: Moment,
    updated_at: Moment,
    revision: u32,
    record: Option<Arc<Record>>,
    fate: Fate,
    history: Vec<Page>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is as it was stored.
    Unchanged,
    /// It is to be stored.
    Changed,
    /// It became part of another.
    Absorbed,
    /// It is no more.
    Deleted,
}

impl<'a> Desk<'a> {
    /// Reads whatever a call may touch that looks for these digests and names these records: two round trips, and one for
    /// keys.
    async fn lay_out(
        tx: &mut Tx,
        site: &'a Site<'a>,
        blinds: Vec<(PartitionId, Blind)>,
        named: Vec<(PartitionId, RecordId)>,
    ) -> Result<Desk<'a>, KeyringError> {
        let mut owners: HashMap<(PartitionId, Blind), Owner> =
            blinds.into_iter().map(|place| (place, Owner::default())).collect();
        let wanted: Vec<(PartitionId, Blind)> = owners.keys().copied().collect();
        let keys: Vec<_> = wanted
            .iter()
            .map(|(partition, blind)| (site.organization, *partition, *blind))
            .collect();
        let mut places: Vec<(PartitionId, RecordId)> = Vec::new();
        for (place, row) in wanted.into_iter().zip(tx.get_many(&OWNERS, &keys).await?) {
            let Some(row) = row else { continue };
            let id = owner_of(&row)?;
            owners.insert(
                place,
                Owner {
                    stored: Some(id),
                    now: Some(id),
                },
            );
            places.push((place.0, id));
        }
        places.extend(named);
        places.sort_unstable();
        places.dedup();
        let read = read_records(tx, site, &places).await?;
        let drawers = places
            .into_iter()
            .zip(read)
            .filter_map(|(place, opened)| Some((place, Drawer::from(opened?))))
            .collect();
        Ok(Desk {
            site,
            owners,
            drawers,
            doubtful: Vec::new(),
            news: News::default(),
            pages: 0,
        })
    }

    /// Takes in one record.
    fn take(&mut self, checked: &Checked, lookups: &Lookups) -> Result<Held, Refused> {
        let named = self.named(checked, lookups)?;
        let mut found: Vec<RecordId> = named.clone();
        let owners = lookups
            .unique
            .iter()
            .filter_map(|blind| self.owner(checked.partition, blind));
        found.extend(owners);
        found.sort_unstable();
        found.dedup();
        if found
            .iter()
            .any(|id| self.drawer(checked.partition, *id).record.is_none())
        {
            return Err(Refused::Unreadable);
        }
        let id = match found[..] {
            [] if lookups.unique.is_empty() => return Err(Refused::NoUniqueIdentifier),
            [] => self.open_drawer(checked.partition),
            [id] => id,
            [..] if checked.on_conflict == OnConflict::Refuse => return Err(Refused::SeveralRecords),
            // The one that is named; else the oldest, which has the smallest id.
            [oldest, ..] => named.first().copied().unwrap_or(oldest),
        };
        let others: Vec<RecordId> = found.into_iter().filter(|other| *other != id).collect();
        let keys = checked.write.metadata.iter().map(|(key, _)| key);
        self.refuse_too_large(checked.partition, id, &others, checked.write.identifiers.iter(), keys)?;
        let before = self.drawer(checked.partition, id).record.clone();
        let before = before.expect("records that can't be read were refused");
        self.unite(checked.partition, id, &others);
        for blind in &lookups.unique {
            self.owners.entry((checked.partition, *blind)).or_default().now = Some(id);
        }
        let held = self.write(checked, id, &before, &others);
        Ok(Held {
            before: Some(before),
            ..held
        })
    }

    /// The living records that the caller named by id.
    fn named(&self, checked: &Checked, lookups: &Lookups) -> Result<Vec<RecordId>, Refused> {
        let find = |(id, alias): (&RecordId, &Blind)| {
            self.find_named(checked.partition, *id, alias)
                .ok_or(Refused::UnknownRecord)
        };
        checked.named.iter().zip(&lookups.named).map(find).collect()
    }

    /// The living record of this id, or the one that it became part of.
    fn find_named(&self, partition: PartitionId, id: RecordId, alias: &Blind) -> Option<RecordId> {
        self.owner(partition, alias).or_else(|| self.living(partition, id))
    }

    /// The record that a digest leads to. An index row whose record is not there counts as none.
    fn owner(&self, partition: PartitionId, blind: &Blind) -> Option<RecordId> {
        let id = self.owners.get(&(partition, *blind))?.now?;
        self.living(partition, id)
    }

    fn living(&self, partition: PartitionId, id: RecordId) -> Option<RecordId> {
        let drawer = self.drawers.get(&(partition, id))?;
        matches!(drawer.fate, Fate::Unchanged | Fate::Changed).then_some(id)
    }

    fn drawer(&self, partition: PartitionId, id: RecordId) -> &Drawer {
        self.drawers
            .get(&(partition, id))
            .expect("an owner is given only if it has a drawer")
    }

    fn drawer_mut(&mut self, partition: PartitionId, id: RecordId) -> &mut Drawer {
        self.drawers
            .get_mut(&(partition, id))
            .expect("an owner is given only if it has a drawer")
    }

    fn open_drawer(&mut self, partition: PartitionId) -> RecordId {
        let id = RecordId(self.site.ids.uuid());
        let (key, wrapped) = self.site.keys.seal_new(KeyKind::Subject, id.0);
        let drawer = Drawer {
            id,
            key: Some(ValueKey::new(&key)),
            new_key: Some(wrapped),
            listed: None,
            timestamp: Moment(i64::MIN),
            updated_at: self.site.now,
            revision: 0,
            record: Some(Arc::new(Record::empty())),
            fate: Fate::Changed,
            history: Vec::new(),
        };
        self.drawers.insert((partition, id), drawer);
        id
    }

    /// Refuses if these records and what comes to them are too much for one record.
    fn refuse_too_large<'b>(
        &'b self,
        partition: PartitionId,
        id: RecordId,
        others: &[RecordId],
        identifiers: impl Iterator<Item = &'b Identifier> + Clone,
        metadata: impl Iterator<Item = &'b String> + Clone,
    ) -> Result<(), Refused> {
        let records = others
            .iter()
            .chain([&id])
            .filter_map(|id| self.drawer(partition, *id).record.as_ref());
        let held = records.clone().flat_map(|record| &record.identifiers);
        let keys = records.flat_map(|record| record.metadata.iter().map(|(key, _)| key));
        let fits = is_room_for(held.chain(identifiers)) && is_room_for(keys.chain(metadata));
        if fits { Ok(()) } else { Err(Refused::TooLarge) }
    }

    /// Makes `others` part of `id`.
    fn unite(&mut self, partition: PartitionId, id: RecordId, others: &[RecordId]) {
        if others.is_empty() {
            return;
        }
        let mut parts: Vec<(Moment, RecordId, Record)> = Vec::with_capacity(others.len() + 1);
        for part in others.iter().chain([&id]) {
            let drawer = self.drawer_mut(partition, *part);
            let record = drawer.record.as_ref().expect("records that can't be read were refused");
            parts.push((drawer.updated_at, *part, Record::clone(record)));
        }
        for (_, part, record) in parts.iter().filter(|(_, part, _)| *part != id) {
            self.redirect(partition, *part, record, id);
        }
        let drawer = self.drawer_mut(partition, id);
        drawer.record = Some(Arc::new(Record::united(id, parts)));
        drawer.fate = Fate::Changed;
    }

    /// Whatever led to `gone` leads to `to` from now on.
    fn redirect(&mut self, partition: PartitionId, gone: RecordId, record: &Record, to: RecordId) {
        for identifier in &record.identifiers {
            let blind = self.site.blind(partition, &identifier.name, &identifier.value);
            if self.site.is_unique(identifier) {
                self.owners.entry((partition, blind)).or_default().now = Some(to);
            } else {
                self.doubtful.push((partition, blind, gone));
            }
        }
        for id in record.absorbed.iter().chain([&gone]) {
            let alias = self.site.alias(partition, *id);
            self.owners.entry((partition, alias)).or_default().now = Some(to);
        }
        self.drawer_mut(partition, gone).fate = Fate::Absorbed;
    }

    /// Applies the write, and enters it in the record's history.
    fn write(&mut self, checked: &Checked, id: RecordId, before: &Record, absorbed: &[RecordId]) -> Held {
        let site = self.site;
        let drawer = self.drawer_mut(checked.partition, id);
        let effect = drawer.record_mut().apply(&checked.write);
        if effect == Effect::Changed || !absorbed.is_empty() {
            let event = |changes: &[PurposeChange]| encoding::encode_event(&checked.write, absorbed, changes);
            return self.enter(checked.partition, id, before, absorbed, event);
        }
        if effect == Effect::Late {
            let event = encoding::encode_event(&checked.write, absorbed, &[]);
            let digest = site
                .keys
                .index
                .blind(&[b"late", checked.partition.0.as_bytes(), id.0.as_bytes(), &event]);
            let number = self.number_page();
            self.drawer_mut(checked.partition, id)
                .note(Chapter::Late(digest), event, number);
        }
        self.drawer(checked.partition, id).held()
    }

    /// The place of the next page of history among all of the call.
    fn number_page(&mut self) -> u32 {
        self.pages += 1;
        self.pages
    }

    /// Enters a change of a record in its history and in the feed, there after the end of those that became part of it.
    fn enter(
        &mut self,
        partition: PartitionId,
        id: RecordId,
        before: &Record,
        absorbed: &[RecordId],
        event: impl FnOnce(&[PurposeChange]) -> Vec<u8>,
    ) -> Held {
        let now = self.site.now;
        let sight = Sight::now(self.site.catalog, now);
        let number = self.number_page();
        let drawer = self.drawer_mut(partition, id);
        let changes = difference(before, drawer.record_mut(), sight);
        drawer.enter(event(&changes), now, number);
        let (held, revision) = (drawer.held(), drawer.revision);
        for part in absorbed {
            self.news.tell(partition, *part, What::Merged(id));
        }
        self.news.tell(partition, id, What::Changed(revision));
        held
    }

    /// Writes what is different now.
    async fn clear_away(mut self, tx: &mut Tx) -> Result<(), KeyringError> {
        self.drop_known_late_arrivals(tx).await?;
        self.drop_doubtful(tx).await?;
        let organization = self.site.organization;
        for ((partition, blind), owner) in &self.owners {
            if owner.now != owner.stored
                && let Some(id) = owner.now
            {
                tx.put(
                    &OWNERS,
                    &(organization, *partition, *blind),
                    &Raw(id.0.as_bytes().to_vec()),
                );
            }
        }
        if self.drawers.values().any(|drawer| drawer.new_key.is_some()) {
            let adding = self.site.keys.adding(tx).await?;
            for drawer in self.drawers.values() {
                if let Some(wrapped) = &drawer.new_key {
                    adding.put(tx, KeyKind::Subject, drawer.id.0, wrapped)?;
                }
            }
        }
        for ((partition, _), drawer) in &self.drawers {
            drawer.put(tx, self.site, *partition);
        }
        self.news.put(tx, organization, self.site.ids, self.site.now);
        Ok(())
    }

    async fn drop_known_late_arrivals(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let organization = self.site.organization;
        let mut late = Vec::new();
        for ((partition, id), drawer) in &self.drawers {
            let chapters = drawer.history.iter().map(|page| page.chapter);
            let digests = chapters.filter(|chapter| matches!(chapter, Chapter::Late(_)));
            late.extend(digests.map(|chapter| (organization, *partition, *id, chapter)));
        }
        if late.is_empty() {
            return Ok(());
        }
        let rows = tx.get_many(&HISTORY, &late).await?;
        for ((_, partition, id, known), _) in late.into_iter().zip(rows).filter(|(_, row)| row.is_some()) {
            self.drawer_mut(partition, id)
                .history
                .retain(|page| page.chapter != known);
        }
        Ok(())
    }

    async fn drop_doubtful(&mut self, tx: &mut Tx) -> Result<(), StoreError> {
        let organization = self.site.organization;
        let keys: Vec<_> = self
            .doubtful
            .iter()
            .map(|(partition, blind, _)| (organization, *partition, *blind))
            .collect();
        if keys.is_empty() {
            return Ok(());
        }
        let rows = tx.get_many(&OWNERS, &keys).await?;
        for ((key, row), (partition, blind, gone)) in keys.iter().zip(rows).zip(&self.doubtful) {
            let Some(led_to) = row.as_ref().map(owner_of).transpose()? else {
                continue;
            };
            let owned = self.owners.get(&(*partition, *blind)).and_then(|owner| owner.now);
            // It may lead to what only this call made part of the record.
            let ended = |drawer: &Drawer| matches!(drawer.fate, Fate::Absorbed | Fate::Deleted);
            let stale = led_to == *gone || self.drawers.get(&(*partition, led_to)).is_some_and(ended);
            if owned.is_none() && stale {
                tx.delete(&OWNERS, key);
            }
        }
        Ok(())
    }
}

/// Whether one record has room for all of these. What is given twice counts once; most often there is no need to look.
fn is_room_for<T: Ord>(entries: impl Iterator<Item = T> + Clone) -> bool {
    entries.clone().count() <= ENTRIES_MAX || entries.collect::<BTreeSet<T>>().len() <= ENTRIES_MAX
}

impl From<Opened> for Drawer {
    fn from(opened: Opened) -> Drawer {
        let Opened { held, revision, key } = opened;
        Drawer {
            id: held.id,
            key,
            new_key: None,
            listed: Some((held.timestamp, held.updated_at)),
            timestamp: held.timestamp,
            updated_at: held.updated_at,
            revision,
            record: held.record,
            fate: Fate::Unchanged,
            history: Vec::new(),
        }
    }
}

impl Drawer {
    fn record_mut(&mut self) -> &mut Record {
        Arc::make_mut(self.record.as_mut().expect("records that can't be read were refused"))
    }

    /// Enters a change of the record in its history.
    fn enter(&mut self, event: Vec<u8>, now: Moment, number: u32) {
        self.fate = Fate::Changed;
        self.revision += 1;
        self.timestamp = self.record_mut().timestamp;
        // A clock that was set back does not make a record look older than it was.
        self.updated_at = self.updated_at.max(now);
        self.note(Chapter::Change(self.revision), event, number);
    }

    fn held(&self) -> Held {
        Held {
            id: self.id,
            timestamp: self.timestamp,
            updated_at: self.updated_at,
            record: self.record.clone(),
            before: None,
        }
    }

    /// Writes a page of the record's history.
    fn note(&mut self, chapter: Chapter, event: Vec<u8>, number: u32) {
        self.history.push(Page {
            chapter,
            revision: self.revision,
            number,
            event,
        });
    }

    fn put(&self, tx: &mut Tx, site: &Site<'_>, partition: PartitionId) {
        let organization = site.organization;
        let place = (organization, partition, self.id);
        // What can't be read is deleted or left alone.
        if let (Some(record), Some(key)) = (&self.record, &self.key) {
            for page in &self.history {
                let row = history_row(site, partition, self.id, key, page);
                tx.put(&HISTORY, &(organization, partition, self.id, page.chapter), &row);
            }
            if self.fate == Fate::Changed {
                let header = Header {
                    timestamp: self.timestamp,
                    updated_at: self.updated_at,
                    revision: self.revision,
                };
                tx.put(
                    &RECORDS,
                    &place,
                    &record_row(site, partition, self.id, &header, key, record),
                );
            }
        }
        let listed = match self.fate {
            Fate::Unchanged => return,
            Fate::Changed => Some((self.timestamp, self.updated_at)),
            Fate::Absorbed | Fate::Deleted => None,
        };
        if listed.is_none() {
            tx.delete(&RECORDS, &place);
        }
        if self.fate == Fate::Deleted {
            let absorbed = self.record.iter().flat_map(|record| &record.absorbed);
            for id in absorbed.chain([&self.id]) {
                destroy_key(tx, organization, KeyKind::Subject, id.0);
            }
        }
        self.list(
            tx,
            &BY_EVENT,
            site,
            partition,
            self.listed.map(|times| times.0),
            listed.map(|times| times.0),
        );
        self.list(
            tx,
            &BY_UPDATE,
            site,
            partition,
            self.listed.map(|times| times.1),
            listed.map(|times| times.1),
        );
    }

    /// Moves the record's row in a list of records by time.
    fn list(
        &self,
        tx: &mut Tx,
        table: &Table<(OrganizationId, PartitionId, i64, RecordId), ()>,
        site: &Site<'_>,
        partition: PartitionId,
        before: Option<Moment>,
        now: Option<Moment>,
    ) {
        if before == now {
            return;
        }
        let key = |moment: Moment| (site.organization, partition, moment.0, self.id);
        if let Some(before) = before {
            tx.delete(table, &key(before));
        }
        if let Some(now) = now {
            tx.put(table, &key(now), &());
        }
    }
}
