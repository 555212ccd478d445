//! Which rows of a table to read, and in which order.

use crate::{Key, key::bytes_of};
use std::ops::Bound;

/// A range of rows, read from one end.
///
/// Rows come in the order of their keys unless [`newest_first`](Scan::newest_first) turns it round.
#[derive(Clone)]
pub struct Scan {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    order: Order,
    limit: usize,
    after: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

impl Scan {
    /// Every row whose key begins with `prefix`: `&(organization,)`, or `&()` for the whole table.
    pub fn prefix(prefix: &impl Key) -> Scan {
        Scan::range(Bound::Included(prefix), Bound::Included(prefix))
    }

    /// Every row between two prefixes of keys. An included bound takes in every key that begins with it, an excluded
    /// one leaves every such key out.
    pub fn range(from: Bound<&impl Key>, to: Bound<&impl Key>) -> Scan {
        let from = match from {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(prefix) => Bound::Included(bytes_of(prefix)),
            Bound::Excluded(prefix) => match past_prefix(bytes_of(prefix)) {
                Some(next) => Bound::Included(next),
                None => Bound::Excluded(vec![0xFF; crate::store::KEY_BYTES_MAX]),
            },
        };
        let to = match to {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(prefix) => past_prefix(bytes_of(prefix)).map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Excluded(prefix) => Bound::Excluded(bytes_of(prefix)),
        };
        Scan {
            from,
            to,
            order: Order::Ascending,
            limit: usize::MAX,
            after: None,
        }
    }

    /// Descending order of keys.
    pub fn newest_first(mut self) -> Scan {
        self.order = Order::Descending;
        self
    }

    /// At most `rows` rows.
    pub fn limit(mut self, rows: usize) -> Scan {
        self.limit = rows;
        self
    }

    /// Only what lies beyond `key` in the direction of the scan: how the next page begins. `key` is a whole key.
    pub fn after(mut self, key: &impl Key) -> Scan {
        self.after = Some(bytes_of(key));
        self
    }

    pub(crate) fn span(self) -> Span {
        let (mut from, mut to) = (self.from, self.to);
        if let Some(after) = self.after {
            match self.order {
                Order::Ascending if starts_before(&from, &after) => from = Bound::Excluded(after),
                Order::Descending if ends_after(&to, &after) => to = Bound::Excluded(after),
                _ => {}
            }
        }
        Span {
            from,
            to,
            order: self.order,
            limit: self.limit,
        }
    }
}

/// A scan with its cursor worked in: bounds on encoded keys.
#[derive(Clone)]
pub(crate) struct Span {
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) to: Bound<Vec<u8>>,
    pub(crate) order: Order,
    pub(crate) limit: usize,
}

impl Span {
    /// True if no key can lie in it. (`BTreeMap::range` panics on some such spans.)
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
            _ => false,
        }
    }

    /// The span up to `last` in its direction: what has really been read when a limit cut the scan there.
    pub(crate) fn up_to(mut self, last: Vec<u8>) -> Span {
        match self.order {
            Order::Ascending => self.to = Bound::Included(last),
            Order::Descending => self.from = Bound::Included(last),
        }
        self
    }
}

fn starts_before(from: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match from {
        Bound::Unbounded => true,
        Bound::Included(from) | Bound::Excluded(from) => from.as_slice() <= key,
    }
}

fn ends_after(to: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match to {
        Bound::Unbounded => true,
        Bound::Included(to) | Bound::Excluded(to) => to.as_slice() >= key,
    }
}

/// The first byte string after every one that begins with `prefix`; none if there is no such string.
fn past_prefix(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if last < 0xFF {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}
