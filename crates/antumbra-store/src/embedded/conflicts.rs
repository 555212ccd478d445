//! Which transactions may commit: the keys written by recent commits, and the check of what was read against them.
//!
//! A transaction is valid if nothing that it read was written by a commit after the one it began at. Then it could as
//! well have run whole at the moment of its commit, which is what serialisable means. The log keeps each recently
//! written key with the number of its last commit; it forgets what no open transaction can ask about, and past its
//! bound it forgets the oldest regardless: a transaction that began before what is still known is refused.

use crate::scan::Span;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// What a transaction has read: single keys, and spans of keys. What was absent counts as read.
#[derive(Default)]
pub(super) struct ReadSet {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) spans: Vec<Span>,
}

/// The recent commits.
pub(super) struct CommitLog {
    /// The last commit that wrote each key.
    written: BTreeMap<Arc<[u8]>, u64>,
    /// The same, oldest commit first.
    order: VecDeque<(u64, Arc<[u8]>)>,
    /// Everything written after this commit is known.
    floor: u64,
    keys_max: usize,
}

impl CommitLog {
    pub(super) fn new(committed: u64, keys_max: usize) -> Self {
        CommitLog {
            written: BTreeMap::new(),
            order: VecDeque::new(),
            floor: committed,
            keys_max,
        }
    }

    /// May a transaction that began at commit `began` and read `reads` commit now?
    pub(super) fn permits(&self, began: u64, reads: &ReadSet) -> bool {
        if reads.keys.is_empty() && reads.spans.is_empty() {
            return true;
        }
        let untouched = |commit: &u64| *commit <= began;
        let key_stands = |key: &Vec<u8>| self.written.get(key.as_slice()).is_none_or(untouched);
        let span_stands = |span: &Span| {
            let bounds = (
                span.from.as_ref().map(Vec::as_slice),
                span.to.as_ref().map(Vec::as_slice),
            );
            span.is_empty()
                || self
                    .written
                    .range::<[u8], _>(bounds)
                    .all(|(_, commit)| untouched(commit))
        };
        began >= self.floor && reads.keys.iter().all(key_stands) && reads.spans.iter().all(span_stands)
    }

    /// Notes that `commit` writes a key. Says whether the same commit had written it before.
    pub(super) fn note(&mut self, commit: u64, key: &[u8]) -> Written {
        let key: Arc<[u8]> = key.into();
        if self.written.insert(key.clone(), commit) == Some(commit) {
            return Written::Again;
        }
        self.order.push_back((commit, key));
        Written::First
    }

    /// Forgets what no transaction that began at `oldest` or later can ask about, and the oldest beyond the bound.
    pub(super) fn forget(&mut self, oldest: u64) {
        while let Some((commit, _)) = self.order.front()
            && (*commit <= oldest || self.order.len() > self.keys_max)
        {
            let Some((commit, key)) = self.order.pop_front() else {
                return;
            };
            self.floor = self.floor.max(commit);
            if self.written.get(&key) == Some(&commit) {
                self.written.remove(&key);
            }
        }
    }
}

#[derive(PartialEq, Eq)]
pub(super) enum Written {
    First,
    Again,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scan;

    fn reads(keys: &[u8], prefixes: &[u8]) -> ReadSet {
        ReadSet {
            keys: keys.iter().map(|key| vec![*key]).collect(),
            spans: prefixes.iter().map(|prefix| Scan::prefix(prefix).span()).collect(),
        }
    }

    #[test]
    fn only_what_was_read_and_written_since_refuses() {
        let mut log = CommitLog::new(10, 100);
        log.note(11, &[5]);
        log.note(12, &[6, 1]);
        for (began, keys, prefixes, permitted) in [
            (10, &[5u8][..], &[][..], false),
            (11, &[5], &[], true),
            (10, &[6], &[], true),
            (11, &[], &[6u8], false),
            (12, &[], &[6], true),
            (10, &[7], &[7], true),
            (10, &[], &[], true),
        ] {
            assert_eq!(
                log.permits(began, &reads(keys, prefixes)),
                permitted,
                "{began} {keys:?} {prefixes:?}"
            );
        }
    }

    #[test]
    fn what_nobody_can_ask_about_is_forgotten_and_older_transactions_are_refused() {
        let mut log = CommitLog::new(0, 2);
        (1..=5).for_each(|commit| drop(log.note(commit, &[commit as u8])));
        log.forget(0);
        assert_eq!(log.order.len(), 2);
        assert!(
            !log.permits(2, &reads(&[9], &[])),
            "what was written in commit 3 is no longer known"
        );
        assert!(log.permits(3, &reads(&[9], &[])));
        assert!(log.permits(0, &reads(&[], &[])), "who read nothing needs no memory");
        log.forget(5);
        assert!(log.order.is_empty() && log.written.is_empty());
    }
}
