//! Folding the old rows of a record's history into one.

use std::ops::Bound;

use antumbra_crypto::value::ValueKey;
use antumbra_store::{Raw, Reader, Record as Stored, Scan, StoreError, Tx};
use serde::{Deserialize, Serialize};

use super::{
    super::{
        encoding,
        model::RecordId,
        moment::Moment,
        timeline::{Line, Person, View, What},
    },
    FOLDING, HISTORY, Site,
    history::{Allowance, BASE, Chapter, NoHistory, learned, open, read_rows, sealed},
};
use crate::{
    keyring::{KeyKind, KeyringError, destroy_key},
    organization::OrganizationId,
    purposes::PartitionId,
};

/// Rows that one transaction looks at, and most rows of one record that it folds: the rest is for the next round.
const LOOKED_AT: usize = 500;
const FOLDED_MAX: usize = 2_000;

/// Most rows, and bytes, of the records that became part of one, which are read and removed with its own.
const ABSORBED_MAX: Allowance = Allowance {
    rows: 10_000,
    bytes: 32 << 20,
};

/// How far the present round through an organization's history has come.
#[derive(Serialize, Deserialize)]
pub(in crate::preferences) struct Round {
    pub(in crate::preferences) begun_at_ms: i64,
    pub(in crate::preferences) is_over: bool,
    /// The last record that was looked at.
    after: Option<(PartitionId, RecordId)>,
}

impl Stored for Round {
    const VERSION: u8 = 1;
}

#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[crate::fuzz::same_when_written_again::<Round>];

impl Round {
    pub(in crate::preferences) fn beginning(now: Moment) -> Round {
        Round {
            begun_at_ms: now.0,
            is_over: false,
            after: None,
        }
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::preferences) enum Progress {
    Batch,
    All,
}

pub(in crate::preferences) async fn find_round(
    reader: &mut Reader,
    organization: OrganizationId,
) -> Result<Option<Round>, StoreError> {
    reader.get(&FOLDING, &organization).await
}

pub(in crate::preferences) fn put_round(tx: &mut Tx, organization: OrganizationId, round: &Round) {
    tx.put(&FOLDING, &organization, round);
}

/// Ends the round, however far it has come.
pub(in crate::preferences) async fn end_round(
    tx: &mut Tx,
    organization: OrganizationId,
) -> Result<Progress, StoreError> {
    if let Some(round) = find_round(tx, organization).await? {
        let over = Round { is_over: true, ..round };
        put_round(tx, organization, &over);
    }
    Ok(Progress::All)
}

/// Goes through the next rows of the round, and folds what was learned by `until`. No time in it is after the horizon.
pub(in crate::preferences) async fn fold_batch(
    tx: &mut Tx,
    site: &Site<'_>,
    until: Moment,
    horizon: Moment,
) -> Result<Progress, KeyringError> {
    let organization = site.organization;
    let Some(round) = find_round(tx, organization).await? else {
        return Ok(Progress::All);
    };
    let scan = match round.after {
        None => Scan::prefix(&(organization,)),
        Some((partition, id)) => Scan::range(
            Bound::Excluded(&(organization, partition, id)),
            Bound::Included(&(organization,)),
        ),
    };
    let rows = tx.scan(&HISTORY, scan.limit(LOOKED_AT)).await?;
    let is_end = rows.len() < LOOKED_AT;
    let mut seen: Vec<(PartitionId, RecordId, usize)> = Vec::new();
    for ((_, partition, id, _), row) in &rows {
        let is_old = learned(row)?.0 <= until;
        match seen.last_mut() {
            Some((last_partition, last, old)) if (&*last_partition, &*last) == (partition, id) => {
                *old += usize::from(is_old)
            }
            _ => seen.push((*partition, *id, usize::from(is_old))),
        }
    }
    // Of the last record there may be more than was seen.
    let last = seen.last().map(|(partition, id, _)| (*partition, *id));
    for (partition, id, old) in seen {
        if old > 1 || (!is_end && last == Some((partition, id))) {
            fold(tx, site, partition, id, until, horizon).await?;
        }
    }
    if is_end {
        return Ok(end_round(tx, organization).await?);
    }
    put_round(tx, organization, &Round { after: last, ..round });
    Ok(Progress::Batch)
}

/// Folds the old rows of one record. What can't be read, or is too much at once, stays as it is.
async fn fold(
    tx: &mut Tx,
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    until: Moment,
    horizon: Moment,
) -> Result<(), KeyringError> {
    let old = old_rows(tx, site, partition, id, until).await?;
    let Some((Chapter::Change(revision), _)) = old.iter().rfind(|(chapter, _)| matches!(chapter, Chapter::Change(_)))
    else {
        return Ok(());
    };
    let chapter = Chapter::Change(*revision);
    if old.len() < 2 {
        return Ok(());
    }
    let folded = match read(tx, site, partition, id, &old).await {
        Ok(Some(folded)) => folded,
        Ok(None) | Err(NoHistory::Unreadable) => return Ok(()),
        Err(NoHistory::TooLong) => {
            tracing::warn!(record = %id.0, "the old history of a preference record is too long to be folded at once");
            return Ok(());
        }
        Err(NoHistory::Keyring(error)) => return Err(error),
    };
    for (place, _) in old.iter().filter(|(place, _)| *place != chapter) {
        tx.delete(&HISTORY, &(site.organization, partition, id, *place));
    }
    for (part, chapters) in &folded.absorbed {
        for chapter in chapters {
            tx.delete(&HISTORY, &(site.organization, partition, *part, *chapter));
        }
        destroy_key(tx, site.organization, KeyKind::Subject, part.0);
    }
    let mut clear = vec![BASE];
    clear.extend_from_slice(&folded.updated_at.0.to_be_bytes());
    clear.extend_from_slice(&horizon.0.to_be_bytes());
    let row = sealed(site, partition, id, &folded.key, chapter, clear, &folded.record);
    tx.put(&HISTORY, &(site.organization, partition, id, chapter), &row);
    Ok(())
}

/// The rows of a record that were learned by then: a part of its history with nothing left out before its end.
async fn old_rows(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    until: Moment,
) -> Result<Vec<(Chapter, Raw)>, StoreError> {
    let prefix = |kind: u8| Scan::prefix(&(site.organization, partition, id, kind)).limit(FOLDED_MAX);
    let mut old = Vec::new();
    let mut last = 0;
    for ((_, _, _, chapter), row) in reader.scan(&HISTORY, prefix(Chapter::CHANGES)).await? {
        if learned(&row)?.0 > until {
            break;
        }
        last = chapter.revision().unwrap_or(last);
        old.push((chapter, row));
    }
    for ((_, _, _, chapter), row) in reader.scan(&HISTORY, prefix(Chapter::LATE)).await? {
        let (learned_at, after) = learned(&row)?;
        if learned_at <= until && after.is_none_or(|after| after <= last) {
            old.push((chapter, row));
        }
    }
    Ok(old)
}

/// What old rows come to.
struct Folded {
    key: ValueKey,
    /// The bytes of the record.
    record: Vec<u8>,
    updated_at: Moment,
    /// Records that became part of it, with all their rows.
    absorbed: Vec<(RecordId, Vec<Chapter>)>,
}

async fn read(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    old: &[(Chapter, Raw)],
) -> Result<Option<Folded>, NoHistory> {
    let mut left = ABSORBED_MAX;
    let key = find_key(reader, site, id).await?.ok_or(NoHistory::Unreadable)?;
    let own = open_all(site, partition, id, &key, old)?;
    let mut wanted = absorbed_by(&own);
    let mut parts = vec![(id, own)];
    let mut absorbed = Vec::new();
    while let Some(part) = wanted.pop() {
        let rows = read_rows(reader, site, partition, part, &mut left).await?;
        let key = find_key(reader, site, part).await?.ok_or(NoHistory::Unreadable)?;
        let happened = open_all(site, partition, part, &key, &rows)?;
        wanted.extend(absorbed_by(&happened));
        parts.push((part, happened));
        absorbed.push((part, rows.into_iter().map(|(chapter, _)| chapter).collect()));
    }
    let person = Person::new(id, parts).ok_or(NoHistory::Unreadable)?;
    let Some(state) = person.state(View::default()) else {
        return Ok(None);
    };
    Ok(Some(Folded {
        key,
        record: encoding::encode_record(&state.record),
        updated_at: state.updated_at,
        absorbed,
    }))
}

async fn find_key(reader: &mut Reader, site: &Site<'_>, id: RecordId) -> Result<Option<ValueKey>, KeyringError> {
    let mut keys = site.keys.find_keys_that_open(reader, KeyKind::Subject, &[id.0]).await?;
    Ok(keys.pop().flatten().map(|key| ValueKey::new(&key)))
}

fn open_all(
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    key: &ValueKey,
    rows: &[(Chapter, Raw)],
) -> Result<Vec<Line>, NoHistory> {
    let opened = rows
        .iter()
        .map(|(chapter, row)| open(site, partition, id, Some(key), *chapter, row));
    opened.collect()
}

/// Records that became part of one by what happened to it.
fn absorbed_by(rows: &[Line]) -> Vec<RecordId> {
    let absorbed = rows.iter().filter_map(|row| match &row.what {
        What::Event(event) => Some(&event.absorbed),
        What::Base { .. } => None,
    });
    absorbed.flatten().copied().collect()
}
