//! Where changes are kept: first among those that wait, then under their numbers.
//!
//! Whoever writes preferences puts one row for each call among those that wait, under an id of its own, so that writers
//! never meet. A sequencer moves rows from there into the feed and gives them numbers: only it reads and writes the head.
//! A row is moved as it is; its key in the feed is the number of its last entry.

use std::{collections::BTreeMap, ops::Bound};

use antumbra_store::{Raw, Reader, Scan, Store, StoreError, Table, Tx};
use uuid::Uuid;

use super::{
    super::{model::RecordId, moment::Moment},
    Place,
    entry::{Entry, Row, What, in_order},
    webhooks,
};
use crate::{AppState, organization::OrganizationId, purposes::PartitionId, world::Ids};

/// Changes that have no number yet, by an id that sorts by time.
const WAITING: Table<(OrganizationId, PartitionId, Uuid), Raw> = Table::new("preference_changes_waiting");

/// Changes, each row by the number of the last one in it. Numbers of a partition begin at 1 and leave none out.
const NUMBERED: Table<NumberedKey, Raw> = Table::new("preference_changes");

type NumberedKey = (OrganizationId, PartitionId, u64);

/// The number that was given last.
const HEADS: Table<(OrganizationId, PartitionId), Raw> = Table::new("preference_changes_heads");

/// Names of these tables.
pub(super) const TABLES: [&str; 3] = [WAITING.name(), NUMBERED.name(), HEADS.name()];

/// Rows that get their numbers in one transaction.
const ROWS_MAX: usize = 1_000;

/// Rows of the feed that are read at once.
const CHUNK: usize = 64;

/// Rows that are removed in one transaction.
const EXPIRED_MAX: usize = 1_000;

/// How far before the newest row that got its number others are still looked for. Between the making of a row's id and its
/// commit lie milliseconds; looking from the beginning would go over all that was removed.
const BEHIND_MAX_MILLIS: u64 = 30_000;

/// What a transaction has to tell the feed. Lost unless [`put`](News::put) is called.
#[derive(Default)]
pub(in crate::preferences) struct News(BTreeMap<PartitionId, Vec<Entry>>);

impl News {
    /// Something happened to a record, after what was told of it before.
    pub(in crate::preferences) fn tell(&mut self, partition: PartitionId, record: RecordId, what: What) {
        self.0.entry(partition).or_default().push(Entry { record, what });
    }

    /// Tells the feed, if and only if `tx` commits.
    pub(in crate::preferences) fn put(self, tx: &mut Tx, organization: OrganizationId, ids: &Ids, now: Moment) {
        for (partition, entries) in self.0 {
            let row = Row { at: now, entries };
            tx.put(&WAITING, &(organization, partition, ids.uuid()), &Raw(row.encode()));
        }
    }
}

/// Where rows wait. For a sequencer that was told of nothing.
pub(super) async fn list_waiting(reader: &mut Reader) -> Result<Vec<Place>, StoreError> {
    let mut places = Vec::new();
    let mut next = Scan::prefix(&());
    loop {
        let first = reader.scan(&WAITING, next.limit(1)).await?;
        let Some(((organization, partition, _), _)) = first.first() else {
            return Ok(places);
        };
        let place = (*organization, *partition);
        places.push(place);
        next = Scan::range(Bound::Excluded(&place), Bound::<&()>::Unbounded);
    }
}

/// What giving out numbers came to.
pub(super) struct Given {
    /// The number that was given last, in this transaction or an earlier one.
    pub(super) last: u64,
    /// The newest row that got one.
    pub(super) newest: Option<Uuid>,
    /// Further rows may be waiting.
    pub(super) more: bool,
}

/// Gives numbers to what waits at `place`, looking from a little before `newest` on, and wakes whoever is to be told. A
/// conflict when another sequencer was quicker.
pub(super) async fn give_numbers(app: &AppState, place: Place, newest: Option<Uuid>) -> Result<Given, StoreError> {
    let (organization, partition) = place;
    let mut reader = app.store.begin_read().await?;
    let head = find_head(&mut reader, place).await?;
    let from = newest.map_or(Uuid::nil(), a_little_before);
    let from = (organization, partition, from);
    let scan = Scan::range(Bound::Included(&from), Bound::Included(&place)).limit(ROWS_MAX);
    let waiting = reader.scan(&WAITING, scan).await?;
    drop(reader);
    let mut given = Given {
        last: head,
        newest: waiting.last().map(|((_, _, id), _)| *id),
        more: waiting.len() == ROWS_MAX,
    };
    if waiting.is_empty() {
        return Ok(given);
    }
    let rows: Vec<Row> = waiting
        .iter()
        .map(|(_, row)| decode(&WAITING, row))
        .collect::<Result<_, _>>()?;
    let mut tx = app.store.begin_write().await?;
    // Invariant: whoever takes a row moves the head, so with the head where it was all rows are still there.
    if find_head(&mut tx, place).await? != head {
        return Err(StoreError::Conflict);
    }
    for next in in_order(&rows.iter().collect::<Vec<_>>()) {
        given.last += rows[next].entries.len() as u64;
        let (key, row) = &waiting[next];
        tx.put(&NUMBERED, &(organization, partition, given.last), row);
        tx.delete(&WAITING, key);
    }
    tx.put(&HEADS, &place, &Raw(given.last.to_be_bytes().to_vec()));
    let woken = webhooks::wake(&mut tx, &app.ids, place, app.now(organization)).await?;
    tx.commit().await?;
    if woken > 0 {
        app.jobs.ring();
    }
    Ok(given)
}

/// The smallest id of a time that is so much earlier.
fn a_little_before(id: Uuid) -> Uuid {
    let millis = (id.as_u128() >> 80) as u64;
    Uuid::from_u128(u128::from(millis.saturating_sub(BEHIND_MAX_MILLIS)) << 80)
}

/// The number that was given last at `place`; 0 before the first.
pub(super) async fn find_head(reader: &mut Reader, place: Place) -> Result<u64, StoreError> {
    let row = reader.get(&HEADS, &place).await?;
    let Some(Raw(row)) = row else { return Ok(0) };
    let bytes = row.try_into().map_err(|_| StoreError::Corrupt {
        table: HEADS.name(),
        source: antumbra_store::Corrupt("the row is not a number"),
    })?;
    Ok(u64::from_be_bytes(bytes))
}

/// A change with its number.
#[derive(Clone, Copy)]
pub(super) struct Numbered {
    pub(super) number: u64,
    /// When we learned of it.
    pub(super) at: Moment,
    pub(super) entry: Entry,
}

/// Why there is no reading on after a number.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotGoOn {
    /// What came next has expired.
    #[error("what came next has expired")]
    Expired,
    /// The number has not been given out yet.
    #[error("the number has not been given out")]
    Unknown,
    #[error("the feed could not be read")]
    Store(#[from] StoreError),
}

/// The changes after number `after`, at most `limit` of them.
pub(super) async fn read_after(
    reader: &mut Reader,
    place: Place,
    after: u64,
    limit: usize,
) -> Result<Vec<Numbered>, CannotGoOn> {
    let (organization, partition) = place;
    let head = find_head(reader, place).await?;
    if after > head {
        return Err(CannotGoOn::Unknown);
    }
    let mut read = Vec::new();
    let mut next = after + 1;
    while next <= head && read.len() < limit {
        let from = (organization, partition, next);
        let scan = Scan::range(Bound::Included(&from), Bound::Included(&place)).limit(CHUNK);
        let rows = reader.scan(&NUMBERED, scan).await?;
        if rows.is_empty() {
            return Err(CannotGoOn::Expired);
        }
        for ((_, _, last), row) in rows {
            let row = decode(&NUMBERED, &row)?;
            let first = last + 1 - row.entries.len() as u64;
            if first > next {
                return Err(CannotGoOn::Expired);
            }
            let numbered = (first..).zip(row.entries).map(|(number, entry)| Numbered {
                number,
                at: row.at,
                entry,
            });
            read.extend(numbered.filter(|numbered| numbered.number >= next));
            next = last + 1;
        }
    }
    read.truncate(limit);
    Ok(read)
}

/// The number after which the feed begins: everything up to it has expired.
pub(super) async fn find_start(reader: &mut Reader, place: Place) -> Result<u64, StoreError> {
    let first = reader.scan(&NUMBERED, Scan::prefix(&place).limit(1)).await?;
    match first.first() {
        Some(((_, _, last), row)) => Ok(last - decode(&NUMBERED, row)?.entries.len() as u64),
        None => find_head(reader, place).await,
    }
}

/// Removes rows of before `until`. Whether there may be more of them.
pub(super) async fn expire(store: &Store, place: Place, until: Moment) -> Result<bool, StoreError> {
    let mut reader = store.begin_read().await?;
    let oldest = |rows| Scan::prefix(&place).limit(rows);
    // Most often there is nothing to do, and one row tells.
    let first = reader.scan(&NUMBERED, oldest(1)).await?;
    if expired_of(first, until)?.is_empty() {
        return Ok(false);
    }
    let expired = expired_of(reader.scan(&NUMBERED, oldest(EXPIRED_MAX)).await?, until)?;
    drop(reader);
    let mut tx = store.begin_write().await?;
    expired.iter().for_each(|key| tx.delete(&NUMBERED, key));
    tx.commit().await?;
    Ok(expired.len() == EXPIRED_MAX)
}

/// Those rows, in the order of their numbers, that are from before `until`. What comes after one that stays, stays.
fn expired_of(rows: Vec<(NumberedKey, Raw)>, until: Moment) -> Result<Vec<NumberedKey>, StoreError> {
    let mut expired = Vec::new();
    for (key, row) in rows {
        if decode(&NUMBERED, &row)?.at >= until {
            break;
        }
        expired.push(key);
    }
    Ok(expired)
}

/// Every partition that has a feed.
pub(super) async fn list_feeds(reader: &mut Reader) -> Result<Vec<Place>, StoreError> {
    let heads = reader.scan(&HEADS, Scan::prefix(&())).await?;
    Ok(heads.into_iter().map(|(place, _)| place).collect())
}

fn decode<K>(table: &Table<K, Raw>, row: &Raw) -> Result<Row, StoreError> {
    Row::decode(&row.0).map_err(|source| StoreError::Corrupt {
        table: table.name(),
        source,
    })
}
