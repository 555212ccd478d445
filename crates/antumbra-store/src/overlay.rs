//! What a transaction has written and not yet committed, laid over what it reads.

use crate::scan::{Order, Span};
use std::{cmp::Ordering, collections::BTreeMap};

/// One row as it is stored.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// The writes of one table by key; `None` is a deletion.
pub(crate) type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The buffered writes of one transaction. Both engines use it: nothing reaches an engine before the commit.
#[derive(Default)]
pub(crate) struct Overlay {
    tables: BTreeMap<&'static str, Writes>,
}

impl Overlay {
    pub(crate) fn put(&mut self, table: &'static str, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.tables.entry(table).or_default().insert(key, value);
    }

    /// What this transaction has made of a key: nothing yet, a value, or a deletion.
    pub(crate) fn get(&self, table: &str, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.tables.get(table)?.get(key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(crate) fn into_tables(self) -> BTreeMap<&'static str, Writes> {
        self.tables
    }

    /// How many rows more than its limit a scan must read below, because they could be deleted here.
    pub(crate) fn deletions_in(&self, table: &str, span: &Span) -> usize {
        self.range(table, span).filter(|(_, value)| value.is_none()).count()
    }

    /// Merges the rows read below with the writes of this transaction, in the span's order, up to its limit.
    pub(crate) fn merge(&self, table: &str, span: &Span, below: Vec<Row>) -> Vec<Row> {
        let mut written: Vec<_> = self.range(table, span).collect();
        if written.is_empty() {
            return below;
        }
        if span.order == Order::Descending {
            written.reverse();
        }
        let mut written = written.into_iter().peekable();
        let mut below = below.into_iter().peekable();
        let mut merged = Vec::new();
        while merged.len() < span.limit {
            let order = match (written.peek(), below.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((ours, _)), Some((theirs, _))) => match span.order {
                    Order::Ascending => ours.as_slice().cmp(theirs),
                    Order::Descending => theirs.as_slice().cmp(ours),
                },
            };
            if order != Ordering::Less {
                let row = below.next();
                if order == Ordering::Greater {
                    merged.extend(row);
                    continue;
                }
            }
            if let Some((key, Some(value))) = written.next() {
                merged.push((key.clone(), value.clone()));
            }
        }
        merged
    }

    fn range(&self, table: &str, span: &Span) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> {
        let writes = self.tables.get(table).filter(|_| !span.is_empty());
        writes
            .into_iter()
            .flat_map(|writes| writes.range((span.from.clone(), span.to.clone())))
    }
}
