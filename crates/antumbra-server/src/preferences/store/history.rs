//! Rows of history: how one is written, and how all those of one person are read.
//!
//! A row begins in clear, and that is bound into its seal; what follows is sealed under the key of its record.
//!
//! | First byte | Then, in clear | Sealed |
//! | --- | --- | --- |
//! | 1 | when we learned of it, 8 bytes | an event |
//! | 2 | the same; after which revision, and as which of its call, it came late, 4 bytes each | an event that changed nothing |
//! | 3 | when the record was last written, and the horizon, 8 bytes each | a record: what the events before came to |
//! | 4 | when we learned of it, 8 bytes; as which of its call, 4 bytes | an event |
//!
//! All events were rows of the first kind once.

use antumbra_crypto::value::ValueKey;
use antumbra_store::{Corrupt, Key, Raw, Reader, Scan, StoreError};
use uuid::Uuid;

use super::{
    super::{
        encoding,
        model::RecordId,
        moment::Moment,
        timeline::{Line, Person, Place, What},
    },
    Blind, HISTORY, Held, Site, corrupt,
};
use crate::{
    keyring::{KeyKind, KeyringError},
    purposes::PartitionId,
};

/// Most rows of one person's history that are read, and most bytes of them.
const ROWS_MAX: usize = 50_000;
const BYTES_MAX: usize = 64 << 20;

/// Rows that are read at once. So a person's history takes two round trips, one more for each record that became part of
/// theirs, and one for every so many rows: 1,250 with the most records and the most rows there can be.
const CHUNK: usize = 200;

const LEARNED: u8 = 1;
const LEARNED_LATE: u8 = 2;
/// A row that holds what the rows before it came to. It stands in the place of the last of them.
pub(super) const BASE: u8 = 3;
const LEARNED_IN_CALL: u8 = 4;

/// The place of a write in a record's history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Chapter {
    /// It changed the record, and made it this revision.
    Change(u32),
    /// It came after everything it said had been superseded, and changed nothing. Filed under a digest of itself, so
    /// that a replay is found to be there already.
    Late(Blind),
}

impl Chapter {
    /// How the keys of all changes begin, and those of all that came late.
    pub(super) const CHANGES: u8 = 0;
    pub(super) const LATE: u8 = 1;

    pub(super) fn revision(self) -> Option<u32> {
        match self {
            Chapter::Change(revision) => Some(revision),
            Chapter::Late(_) => None,
        }
    }
}

impl Key for Chapter {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Chapter::Change(revision) => (Chapter::CHANGES, *revision).encode(out),
            Chapter::Late(digest) => (Chapter::LATE, *digest).encode(out),
        }
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        match u8::decode(from)? {
            Chapter::CHANGES => u32::decode(from).map(Chapter::Change),
            Chapter::LATE => Blind::decode(from).map(Chapter::Late),
            _ => Err(Corrupt("the key is no place in a history")),
        }
    }
}

/// A row of history that is about to be written.
pub(super) struct Page {
    pub(super) chapter: Chapter,
    /// The record's revision by then.
    pub(super) revision: u32,
    /// Its place among what one call brings.
    pub(super) number: u32,
    pub(super) event: Vec<u8>,
}

/// Why the history of a person can't be told.
#[derive(Debug, thiserror::Error)]
pub(in crate::preferences) enum NoHistory {
    /// There is more than one call reads.
    #[error("the history is too long")]
    TooLong,
    /// A key is gone or does not open it.
    #[error("the history can't be decrypted")]
    Unreadable,
    #[error("the history could not be read")]
    Keyring(#[from] KeyringError),
}

impl From<StoreError> for NoHistory {
    fn from(error: StoreError) -> NoHistory {
        NoHistory::Keyring(error.into())
    }
}

/// A write as it is kept.
pub(super) fn history_row(site: &Site<'_>, partition: PartitionId, id: RecordId, key: &ValueKey, page: &Page) -> Raw {
    let mut clear = Vec::with_capacity(page.event.len() + 64);
    let late = matches!(page.chapter, Chapter::Late(_));
    clear.push(if late { LEARNED_LATE } else { LEARNED_IN_CALL });
    clear.extend_from_slice(&site.now.0.to_be_bytes());
    if late {
        clear.extend_from_slice(&page.revision.to_be_bytes());
    }
    clear.extend_from_slice(&page.number.to_be_bytes());
    sealed(site, partition, id, key, page.chapter, clear, &page.event)
}

/// A row with its seal behind what stands in clear.
pub(super) fn sealed(
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    key: &ValueKey,
    chapter: Chapter,
    clear: Vec<u8>,
    plain: &[u8],
) -> Raw {
    let place = place_of(chapter);
    let seal = key.seal(&context(site, &partition, &id, &place, &clear), plain);
    let mut row = clear;
    row.extend(seal);
    Raw(row)
}

fn place_of(chapter: Chapter) -> Vec<u8> {
    let mut place = Vec::with_capacity(17);
    chapter.encode(&mut place);
    place
}

/// What a row's seal is bound to, so that it can't be put in the place of another.
fn context<'a>(
    site: &'a Site<'_>,
    partition: &'a PartitionId,
    id: &'a RecordId,
    place: &'a [u8],
    clear: &'a [u8],
) -> [&'a [u8]; 6] {
    [
        b"history",
        site.organization.0.as_bytes(),
        partition.0.as_bytes(),
        id.0.as_bytes(),
        place,
        clear,
    ]
}

/// The history of the person whose record this is.
pub(in crate::preferences) async fn read_history(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    held: &Held,
) -> Result<Person, NoHistory> {
    let record = held.record.as_ref().ok_or(NoHistory::Unreadable)?;
    let ids: Vec<RecordId> = [held.id].into_iter().chain(record.absorbed.iter().copied()).collect();
    let owners: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let keys = site.keys.find_keys_that_open(reader, KeyKind::Subject, &owners).await?;
    let mut left = Allowance {
        rows: ROWS_MAX,
        bytes: BYTES_MAX,
    };
    let mut parts = Vec::with_capacity(ids.len());
    for (id, key) in ids.into_iter().zip(keys) {
        let rows = read_rows(reader, site, partition, id, &mut left).await?;
        let key = key.map(|key| ValueKey::new(&key));
        let opened = rows
            .iter()
            .map(|(chapter, row)| open(site, partition, id, key.as_ref(), *chapter, row));
        parts.push((id, opened.collect::<Result<Vec<Line>, NoHistory>>()?));
    }
    Person::new(held.id, parts).ok_or_else(|| {
        tracing::error!(record = %held.id.0, "rows are missing from the history of a preference record");
        NoHistory::Unreadable
    })
}

/// What may still be read.
pub(super) struct Allowance {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

/// Every row of one record.
pub(super) async fn read_rows(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    left: &mut Allowance,
) -> Result<Vec<(Chapter, Raw)>, NoHistory> {
    let prefix = (site.organization, partition, id);
    let mut rows: Vec<(Chapter, Raw)> = Vec::new();
    loop {
        let mut scan = Scan::prefix(&prefix).limit(CHUNK);
        if let Some((last, _)) = rows.last() {
            scan = scan.after(&(site.organization, partition, id, *last));
        }
        let read = reader.scan(&HISTORY, scan).await?;
        let bytes: usize = read.iter().map(|(_, row)| row.0.len()).sum();
        left.rows = left.rows.checked_sub(read.len()).ok_or(NoHistory::TooLong)?;
        left.bytes = left.bytes.checked_sub(bytes).ok_or(NoHistory::TooLong)?;
        let is_end = read.len() < CHUNK;
        rows.extend(read.into_iter().map(|((_, _, _, chapter), row)| (chapter, row)));
        if is_end {
            return Ok(rows);
        }
    }
}

/// What stands in clear before the seal of a row.
struct Clear {
    kind: u8,
    /// Of a base, when the record was last written.
    learned_at: Moment,
    /// Of what came late: after which revision.
    after: Option<u32>,
    /// As which of its call it came.
    number: u32,
    horizon: Option<Moment>,
}

/// Takes what stands in clear off the front of a row, and leaves the seal.
fn take_clear(from: &mut &[u8]) -> Result<Clear, Corrupt> {
    let kind = u8::decode(from)?;
    let moment = |from: &mut &[u8]| <[u8; 8]>::decode(from).map(|bytes| Moment(i64::from_be_bytes(bytes)));
    Ok(Clear {
        kind,
        learned_at: moment(from)?,
        after: match kind {
            LEARNED_LATE => Some(u32::decode(from)?),
            _ => None,
        },
        number: match kind {
            LEARNED_LATE | LEARNED_IN_CALL => u32::decode(from)?,
            _ => 0,
        },
        horizon: if kind == BASE { Some(moment(from)?) } else { None },
    })
}

/// When we learned of what a row holds, and after which revision it came, if it came late. Without any key.
pub(super) fn learned(row: &Raw) -> Result<(Moment, Option<u32>), StoreError> {
    let clear = take_clear(&mut row.0.as_slice()).map_err(|bad| corrupt(&HISTORY, bad))?;
    Ok((clear.learned_at, clear.after))
}

/// What a row holds.
pub(super) fn open(
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    key: Option<&ValueKey>,
    chapter: Chapter,
    row: &Raw,
) -> Result<Line, NoHistory> {
    let broken = |corrupted: Corrupt| corrupt(&HISTORY, corrupted);
    let mut seal = row.0.as_slice();
    let Clear {
        kind,
        learned_at,
        after,
        number,
        horizon,
    } = take_clear(&mut seal).map_err(broken)?;
    let place = match (chapter, kind) {
        (Chapter::Change(revision), LEARNED | LEARNED_IN_CALL | BASE) => Place::Change(revision),
        (Chapter::Late(_), LEARNED | LEARNED_LATE) => Place::Late { after },
        _ => return Err(broken(Corrupt("the row does not begin as one of a known version")).into()),
    };
    let clear = &row.0[..row.0.len() - seal.len()];
    let bytes = place_of(chapter);
    let Some(plain) = key.and_then(|key| key.open(&context(site, &partition, &id, &bytes, clear), seal).ok()) else {
        tracing::error!(record = %id.0, "the history of a preference record can't be decrypted: its key is missing or not its own");
        return Err(NoHistory::Unreadable);
    };
    let what = match horizon {
        Some(horizon) => What::Base {
            record: encoding::decode_record(&plain).map_err(broken)?,
            horizon,
        },
        None => What::Event(encoding::decode_event(&plain).map_err(broken)?),
    };
    Ok(Line {
        place,
        learned_at,
        number,
        what,
    })
}
