//! What the feed keeps of a change: which record, and what happened to it. Nothing about the person.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use antumbra_store::{Corrupt, Key};
use uuid::Uuid;

use super::super::{model::RecordId, moment::Moment};

/// One change of one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) record: RecordId,
    pub(crate) what: What,
}

/// What happened to a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// It became this revision, which its history tells of.
    Changed(u32),
    /// It is gone, and its key with it.
    Deleted,
    /// It turned out to be about the same person as this one, and became part of it.
    Merged(RecordId),
}

/// The changes of one transaction in one partition: a row of the feed, and of those that wait for their numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    /// When we learned of them.
    pub(crate) at: Moment,
    /// In the order in which they happened. Never empty.
    pub(crate) entries: Vec<Entry>,
}

const VERSION: u8 = 1;
const CHANGED: u8 = 0;
const DELETED: u8 = 1;
const MERGED: u8 = 2;

impl Row {
    /// The version, the time, and the entries: the record's id, a byte that says what happened, and what belongs to that.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(9 + 21 * self.entries.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.at.0.to_be_bytes());
        for entry in &self.entries {
            bytes.extend_from_slice(entry.record.0.as_bytes());
            match entry.what {
                What::Changed(revision) => (CHANGED, revision).encode(&mut bytes),
                What::Deleted => bytes.push(DELETED),
                What::Merged(into) => (MERGED, into.0).encode(&mut bytes),
            }
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Row, Corrupt> {
        let mut from = match bytes {
            [VERSION, rest @ ..] => rest,
            _ => return Err(Corrupt("the row does not begin as one of a known version")),
        };
        let at = <[u8; 8]>::decode(&mut from).map(i64::from_be_bytes).map(Moment)?;
        let mut entries = Vec::with_capacity(from.len() / 21);
        while !from.is_empty() || entries.is_empty() {
            let record = Uuid::decode(&mut from).map(RecordId)?;
            let what = match u8::decode(&mut from)? {
                CHANGED => What::Changed(u32::decode(&mut from)?),
                DELETED => What::Deleted,
                MERGED => What::Merged(Uuid::decode(&mut from).map(RecordId)?),
                _ => return Err(Corrupt("a change is of no known kind")),
            };
            entries.push(Entry { record, what });
        }
        Ok(Row { at, entries })
    }
}

/// The places of `rows` in an order in which no record's revisions go back: their own, as far as that allows.
///
/// Rows come by the clocks of those who wrote them. Whoever wrote a later revision had seen the one before, but where
/// several servers share a database its clock may have been behind.
pub(super) fn in_order(rows: &[&Row]) -> Vec<usize> {
    let mut of_record: HashMap<RecordId, Vec<(u32, usize)>> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        for entry in &row.entries {
            let places = of_record.entry(entry.record).or_default();
            places.push((entry.what.rank(), place));
        }
    }
    let mut waits_for = vec![0; rows.len()];
    let mut lets_go = vec![Vec::new(); rows.len()];
    for places in of_record.values_mut() {
        places.sort_unstable();
        for pair in places.windows(2) {
            let (before, after) = (pair[0].1, pair[1].1);
            if before != after {
                lets_go[before].push(after);
                waits_for[after] += 1;
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..rows.len())
        .filter(|place| waits_for[*place] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(rows.len());
    while let Some(Reverse(place)) = ready.pop() {
        order.push(place);
        for next in &lets_go[place] {
            waits_for[*next] -= 1;
            if waits_for[*next] == 0 {
                ready.push(Reverse(*next));
            }
        }
    }
    // Transactions that can be put in a row wait for each other in no circle; were there one, nothing may be lost by it.
    order.extend((0..rows.len()).filter(|place| waits_for[*place] > 0));
    order
}

impl What {
    /// What comes later in the life of a record ranks higher.
    fn rank(self) -> u32 {
        match self {
            What::Changed(revision) => revision,
            What::Deleted | What::Merged(_) => u32::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(record: u128, what: What) -> Entry {
        Entry {
            record: RecordId(Uuid::from_u128(record)),
            what,
        }
    }

    fn row(entries: &[(u128, u32)]) -> Row {
        let entries = entries
            .iter()
            .map(|(record, revision)| entry(*record, What::Changed(*revision)));
        Row {
            at: Moment(1_770_110_100_250),
            entries: entries.collect(),
        }
    }

    #[test]
    fn the_bytes_of_version_1_stay_readable() {
        let row = Row {
            at: Moment(-2),
            entries: vec![
                entry(1, What::Changed(258)),
                entry(2, What::Deleted),
                entry(3, What::Merged(RecordId(Uuid::from_u128(4)))),
            ],
        };
        let id = |last: u8| [[0; 15].as_slice(), &[last]].concat();
        let bytes = [
            &[1, 255, 255, 255, 255, 255, 255, 255, 254][..],
            &id(1),
            &[0, 0, 0, 1, 2],
            &id(2),
            &[1],
            &id(3),
            &[2],
            &id(4),
        ];
        assert_eq!(row.encode(), bytes.concat());
        assert_eq!(Row::decode(&bytes.concat()), Ok(row));
    }

    #[test]
    fn rows_that_are_cut_or_of_no_change_are_refused() {
        let bytes = row(&[(1, 1)]).encode();
        for length in 0..bytes.len() {
            assert!(Row::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Row::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn rows_keep_their_order_but_where_a_revision_would_go_back() {
        let ordered = |rows: &[&[(u128, u32)]]| {
            let rows: Vec<Row> = rows.iter().map(|entries| row(entries)).collect();
            in_order(&rows.iter().collect::<Vec<_>>())
        };
        assert_eq!(
            ordered(&[&[(1, 1)], &[(2, 1)], &[(1, 2), (1, 3)], &[(1, 4)]]),
            [0, 1, 2, 3]
        );
        assert_eq!(
            ordered(&[&[(1, 2)], &[(2, 1)], &[(1, 1), (3, 2)], &[(3, 1)]]),
            [1, 3, 2, 0]
        );
    }

    proptest! {
        /// Whatever the clocks said, a row comes after those that it had seen.
        #[test]
        fn no_revision_goes_back(about in prop::collection::vec(prop::collection::btree_set(0u128..4, 1..3), 1..12), seed in prop::collection::vec(any::<u16>(), 12)) {
            let mut revisions = [0u32; 4];
            let mut rows: Vec<Row> = Vec::new();
            for records in &about {
                let entries: Vec<(u128, u32)> = records.iter().map(|record| {
                    let revision = &mut revisions[usize::try_from(*record).unwrap()];
                    *revision += 1;
                    (*record, *revision)
                }).collect();
                rows.push(row(&entries));
            }
            let mut shuffled: Vec<(u16, Row)> = seed.into_iter().zip(rows).collect();
            shuffled.sort_by_key(|(at, _)| *at);
            let rows: Vec<&Row> = shuffled.iter().map(|(_, row)| row).collect();
            let order = in_order(&rows);
            let mut all = order.clone();
            all.sort_unstable();
            prop_assert_eq!(all, (0..rows.len()).collect::<Vec<_>>());
            let mut seen = [0u32; 4];
            for entry in order.into_iter().flat_map(|place| &rows[place].entries) {
                let last = &mut seen[usize::try_from(entry.record.0.as_u128()).unwrap()];
                prop_assert_eq!(entry.what, What::Changed(*last + 1));
                *last += 1;
            }
        }
    }
}
