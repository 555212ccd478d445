//! Where preference records are kept.
//!
//! A record is one sealed row; what a caller may look for stands beside it in rows that lead to it. Every write that was
//! accepted is also kept as a history row, sealed under the same key, with the time of the event inside and the time at
//! which we learned it outside: what a person had allowed at one time, as it was known at another, can be worked out
//! from them by the rules of `model.rs`. When a record becomes part of another, its history and its key stay where they
//! are and the survivor names it. When a record is deleted, its key and theirs are destroyed: the rows of history stay, and
//! nobody can read them.
//!
//! This file holds the tables, the rows of records, and reading them; `store/desk.rs` takes in a batch of writes,
//! `store/history.rs` has the rows of history, `store/changes.rs` reads single ones for the change feed, and
//! `store/folding.rs` folds old ones into one.

mod changes;
mod desk;
mod folding;
mod history;

use std::{ops::Bound, sync::Arc};

use antumbra_crypto::value::ValueKey;
use antumbra_store::{Corrupt, Key, Raw, Reader, Scan, StoreError, Table};
use uuid::Uuid;

use super::{
    access_tokens, encoding, feed,
    identifiers::TRANSCEND,
    model::{Identifier, Record, RecordId},
    moment::Moment,
    triggers,
};
use crate::{
    keyring::{KeyKind, KeyringError, OrganizationKeys},
    organization::{OrganizationId, Settings},
    purposes::{Catalog, PartitionId},
    world::Ids,
};
pub(super) use changes::{Happened, read_changes};
pub(super) use desk::{Amends, Batch, Deletes, Refused, amend_all, delete_all, upsert_all};
#[cfg(any(test, fuzzing))]
pub(crate) use folding::RECORDS as FOLDING_RECORDS;
pub(super) use folding::{Progress, Round, end_round, find_round, fold_batch, put_round};
use history::Chapter;
pub(super) use history::{NoHistory, read_history};

/// The present state of each record: two times and a revision in clear, the rest sealed.
const RECORDS: Table<(OrganizationId, PartitionId, RecordId), Raw> = Table::new("preference_records");

/// Whose an identifier is: the digest of an identifier that is unique on the store leads to the record's id. So does
/// that of the id of each record that became part of another.
const OWNERS: Table<(OrganizationId, PartitionId, Blind), Raw> = Table::new("preference_owners");

/// Records by when we last wrote them.
const BY_UPDATE: Table<(OrganizationId, PartitionId, i64, RecordId), ()> = Table::new("preferences_by_update");

/// Records by when their people last chose.
const BY_EVENT: Table<(OrganizationId, PartitionId, i64, RecordId), ()> = Table::new("preferences_by_event");

/// Every write that was accepted, sealed under its record's key.
const HISTORY: Table<(OrganizationId, PartitionId, RecordId, Chapter), Raw> = Table::new("preference_history");

/// How far the present round through an organization's history has come, in which old rows are folded.
const FOLDING: Table<OrganizationId, Round> = Table::new("preference_folding");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[
    RECORDS.name(),
    OWNERS.name(),
    BY_UPDATE.name(),
    BY_EVENT.name(),
    HISTORY.name(),
    feed::TABLES[0],
    feed::TABLES[1],
    feed::TABLES[2],
    feed::TABLES[3],
    feed::TABLES[4],
    triggers::TABLES[0],
    triggers::TABLES[1],
    access_tokens::TABLE,
    FOLDING.name(),
];

/// A keyed digest that finds an identifier without holding it.
pub(super) type Blind = [u8; 16];

/// The first byte of a record's row.
const VERSION: u8 = 1;

/// For whom, with which keys, and when.
pub(super) struct Site<'a> {
    pub(super) organization: OrganizationId,
    pub(super) keys: &'a OrganizationKeys,
    pub(super) settings: &'a Settings,
    pub(super) catalog: &'a Catalog,
    pub(super) ids: &'a Ids,
    pub(super) now: Moment,
}

/// A record as it is stored.
pub(super) struct Held {
    pub(super) id: RecordId,
    pub(super) timestamp: Moment,
    pub(super) updated_at: Moment,
    /// None if its key is gone or does not open it.
    pub(super) record: Option<Arc<Record>>,
    /// What it held before a write of a batch.
    pub(super) before: Option<Arc<Record>>,
}

impl Site<'_> {
    /// The place of an identifier in the index. Its value is normalised.
    pub(super) fn blind(&self, partition: PartitionId, name: &str, value: &str) -> Blind {
        self.keys
            .index
            .blind(&[b"preference", partition.0.as_bytes(), name.as_bytes(), value.as_bytes()])
    }

    /// The place of a record's own id in the index, once the record is part of another.
    fn alias(&self, partition: PartitionId, id: RecordId) -> Blind {
        self.keys.index.blind(&[
            b"preference",
            partition.0.as_bytes(),
            TRANSCEND.as_bytes(),
            id.0.as_bytes(),
        ])
    }

    pub(super) fn is_unique(&self, identifier: &Identifier) -> bool {
        let known = self.settings.find_identifier(&identifier.name);
        known.is_some_and(|known| known.identifier.is_unique_on_preference_store)
    }
}

/// Which records some digests lead to, in their order.
pub(super) async fn find_owners(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    blinds: &[Blind],
) -> Result<Vec<Option<RecordId>>, StoreError> {
    let keys: Vec<_> = blinds
        .iter()
        .map(|blind| (site.organization, partition, *blind))
        .collect();
    reader
        .get_many(&OWNERS, &keys)
        .await?
        .iter()
        .map(|row| row.as_ref().map(owner_of).transpose())
        .collect()
}

/// The records that `transcend` identifiers name, in their order: the records of those ids, or those that they became
/// part of. An id that names nothing gives an id that finds nothing.
pub(super) async fn find_named(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    ids: &[RecordId],
) -> Result<Vec<RecordId>, StoreError> {
    let aliases: Vec<Blind> = ids.iter().map(|id| site.alias(partition, *id)).collect();
    let survivors = find_owners(reader, site, partition, &aliases).await?;
    Ok(ids
        .iter()
        .zip(survivors)
        .map(|(id, survivor)| survivor.unwrap_or(*id))
        .collect())
}

/// Records by their ids, in their order.
pub(super) async fn find_records(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    ids: &[RecordId],
) -> Result<Vec<Option<Held>>, KeyringError> {
    let places: Vec<_> = ids.iter().map(|id| (partition, *id)).collect();
    let opened = read_records(reader, site, &places).await?;
    Ok(opened.into_iter().map(|opened| Some(opened?.held)).collect())
}

/// When the people of these records last chose, and when we last wrote the records: in their order, and without any key.
pub(super) async fn find_times(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    ids: &[RecordId],
) -> Result<Vec<Option<(Moment, Moment)>>, StoreError> {
    let keys: Vec<_> = ids.iter().map(|id| (site.organization, partition, *id)).collect();
    let rows = reader.get_many(&RECORDS, &keys).await?;
    let times = |row: &Raw| {
        let (clear, _) = split_row(&row.0)?;
        let header = Header::read(clear)?;
        Ok((header.timestamp, header.updated_at))
    };
    rows.iter().map(|row| row.as_ref().map(times).transpose()).collect()
}

/// Whether a partition, or any of the organization, holds a record: what its records are found by is then left as it is.
pub async fn has_records(
    reader: &mut Reader,
    organization: OrganizationId,
    partition: Option<PartitionId>,
) -> Result<bool, StoreError> {
    let held = match partition {
        Some(partition) => Scan::prefix(&(organization, partition)),
        None => Scan::prefix(&organization),
    };
    Ok(!reader.scan(&BY_UPDATE, held.limit(1)).await?.is_empty())
}

/// The two times that records can be listed by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dimension {
    /// When we last wrote them.
    Update,
    /// When their people last chose.
    Event,
}

/// Ids of records between two times, both included, latest first, beginning after one of them.
pub(super) async fn list_by(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    dimension: Dimension,
    (from, to): (Option<Moment>, Option<Moment>),
    after: Option<(Moment, RecordId)>,
    limit: usize,
) -> Result<Vec<(Moment, RecordId)>, StoreError> {
    let table = match dimension {
        Dimension::Update => &BY_UPDATE,
        Dimension::Event => &BY_EVENT,
    };
    let prefix = |moment: Moment| (site.organization, partition, moment.0);
    let from = prefix(from.unwrap_or(Moment(i64::MIN)));
    let to = prefix(to.unwrap_or(Moment(i64::MAX)));
    let mut scan = Scan::range(Bound::Included(&from), Bound::Included(&to))
        .newest_first()
        .limit(limit);
    if let Some((moment, id)) = after {
        scan = scan.after(&(site.organization, partition, moment.0, id));
    }
    let rows = reader.scan(table, scan).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, millis, id), ())| (Moment(millis), id))
        .collect())
}

/// A record as it is stored, with what it takes to store it again.
struct Opened {
    held: Held,
    revision: u32,
    /// None if it is gone.
    key: Option<ValueKey>,
}

/// What stands in clear before a record's seal, and is bound into it.
struct Header {
    timestamp: Moment,
    updated_at: Moment,
    revision: u32,
}

impl Header {
    const LEN: usize = 1 + 8 + 8 + 4;

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&self.updated_at.0.to_be_bytes());
        bytes.extend_from_slice(&self.revision.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Header, StoreError> {
        let mut from = match bytes {
            [VERSION, rest @ ..] if bytes.len() == Header::LEN => rest,
            _ => {
                return Err(corrupt(
                    &RECORDS,
                    Corrupt("the row does not begin as one of a known version"),
                ));
            }
        };
        let mut number = || {
            <[u8; 8]>::decode(&mut from)
                .map(i64::from_be_bytes)
                .map_err(|bad| corrupt(&RECORDS, bad))
        };
        let (timestamp, updated_at) = (Moment(number()?), Moment(number()?));
        let revision = u32::decode(&mut from).map_err(|bad| corrupt(&RECORDS, bad))?;
        Ok(Header {
            timestamp,
            updated_at,
            revision,
        })
    }
}

/// A record as it is kept: the header in clear, the rest sealed.
fn record_row(
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    header: &Header,
    key: &ValueKey,
    record: &Record,
) -> Raw {
    let mut row = header.bytes();
    let sealed = key.seal(
        &record_context(site, &partition, &id, &row),
        &encoding::encode_record(record),
    );
    row.extend(sealed);
    Raw(row)
}

/// What a record's seal is bound to, so that a row can't be put in the place of another.
fn record_context<'a>(
    site: &'a Site<'_>,
    partition: &'a PartitionId,
    id: &'a RecordId,
    header: &'a [u8],
) -> [&'a [u8]; 5] {
    [
        b"record",
        site.organization.0.as_bytes(),
        partition.0.as_bytes(),
        id.0.as_bytes(),
        header,
    ]
}

/// Records with their keys: one round trip for each of the two tables.
async fn read_records(
    reader: &mut Reader,
    site: &Site<'_>,
    places: &[(PartitionId, RecordId)],
) -> Result<Vec<Option<Opened>>, KeyringError> {
    let keys: Vec<_> = places
        .iter()
        .map(|(partition, id)| (site.organization, *partition, *id))
        .collect();
    let rows = reader.get_many(&RECORDS, &keys).await?;
    let owners: Vec<Uuid> = places
        .iter()
        .zip(&rows)
        .filter(|(_, row)| row.is_some())
        .map(|((_, id), _)| id.0)
        .collect();
    let mut keys = site
        .keys
        .find_keys_that_open(reader, KeyKind::Subject, &owners)
        .await?
        .into_iter();
    let mut all = Vec::with_capacity(rows.len());
    for ((partition, id), row) in places.iter().zip(rows) {
        let Some(Raw(row)) = row else {
            all.push(None);
            continue;
        };
        let key = keys.next().flatten().map(|key| ValueKey::new(&key));
        all.push(Some(open_row(site, *partition, *id, &row, key)?));
    }
    Ok(all)
}

/// The header of a record's row, and its seal.
fn split_row(row: &[u8]) -> Result<(&[u8], &[u8]), StoreError> {
    row.split_at_checked(Header::LEN)
        .ok_or(corrupt(&RECORDS, Corrupt("the row is too short")))
}

fn open_row(
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    row: &[u8],
    key: Option<ValueKey>,
) -> Result<Opened, StoreError> {
    let (clear, sealed) = split_row(row)?;
    let Header {
        timestamp,
        updated_at,
        revision,
    } = Header::read(clear)?;
    let context = record_context(site, &partition, &id, clear);
    let plain = key.as_ref().and_then(|key| key.open(&context, sealed).ok());
    let record = match plain {
        Some(plain) => Some(Arc::new(
            encoding::decode_record(&plain).map_err(|bad| corrupt(&RECORDS, bad))?,
        )),
        None => {
            tracing::error!(record = %id.0, "a preference record can't be decrypted: its key is missing or not its own");
            None
        }
    };
    let held = Held {
        id,
        timestamp,
        updated_at,
        record,
        before: None,
    };
    Ok(Opened { held, revision, key })
}

fn owner_of(row: &Raw) -> Result<RecordId, StoreError> {
    let id = Uuid::from_slice(&row.0).map_err(|_| corrupt(&OWNERS, Corrupt("the row is not the id of a record")))?;
    Ok(RecordId(id))
}

fn corrupt<K, V>(table: &Table<K, V>, source: Corrupt) -> StoreError {
    StoreError::Corrupt {
        table: table.name(),
        source,
    }
}
