//! Which transactions may commit: the keys written by recent commits, and the check of what was read against them.
//!
//! A transaction is valid if nothing that it read was written by a commit after the one it began at. Then it could as
//! well have run whole at the moment of its commit, which is what serialisable means. The log keeps each recently
//! written key with the number of its last commit; it forgets what no open transaction can ask about, and past its
//! bound it forgets the oldest regardless: a transaction that began before what is still known is refused.

use crate::scan::Span;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

/// The number that a table has while the store is open.
pub(crate) type TableId = u16;

/// What a transaction has read: single keys, and spans of keys. What was absent counts as read.
#[derive(Default)]
pub(crate) struct ReadSet {
    keys: HashSet<(TableId, Vec<u8>)>,
    spans: Vec<(TableId, Span)>,
}

impl ReadSet {
    pub(crate) fn add_key(&mut self, table: TableId, key: &[u8]) {
        self.keys.insert((table, key.to_vec()));
    }

    pub(crate) fn add_span(&mut self, table: TableId, span: Span) {
        self.spans.push((table, span));
    }
}

/// The recent commits.
pub(crate) struct CommitLog {
    written: HashMap<TableId, BTreeMap<Arc<[u8]>, u64>>,
    commits: VecDeque<(u64, TableId, Arc<[u8]>)>,
    /// Everything written after this commit is known.
    floor: u64,
    keys_max: usize,
}

impl CommitLog {
    pub(crate) fn new(committed: u64, keys_max: usize) -> Self {
        CommitLog {
            written: HashMap::new(),
            commits: VecDeque::new(),
            floor: committed,
            keys_max,
        }
    }

    /// May a transaction that began at commit `began` and read `reads` commit now?
    pub(crate) fn permits(&self, began: u64, reads: &ReadSet) -> bool {
        if reads.keys.is_empty() && reads.spans.is_empty() {
            return true;
        }
        let untouched = |commit: &u64| *commit <= began;
        let key_stands = |(table, key): &(TableId, Vec<u8>)| {
            self.written
                .get(table)
                .and_then(|keys| keys.get(key.as_slice()))
                .is_none_or(untouched)
        };
        let span_stands = |(table, span): &(TableId, Span)| {
            let bounds = (
                span.from.as_ref().map(Vec::as_slice),
                span.to.as_ref().map(Vec::as_slice),
            );
            let keys = self.written.get(table).filter(|_| !span.is_empty());
            keys.is_none_or(|keys| keys.range::<[u8], _>(bounds).all(|(_, commit)| untouched(commit)))
        };
        began >= self.floor && reads.keys.iter().all(key_stands) && reads.spans.iter().all(span_stands)
    }

    /// Notes that `commit` writes a key. Says whether the same commit had written it before.
    pub(crate) fn note(&mut self, commit: u64, table: TableId, key: &[u8]) -> Written {
        let key: Arc<[u8]> = key.into();
        let before = self.written.entry(table).or_default().insert(key.clone(), commit);
        if before == Some(commit) {
            return Written::Again;
        }
        self.commits.push_back((commit, table, key));
        Written::First
    }

    /// Forgets what no transaction that began at `oldest` or later can ask about, and the oldest beyond the bound.
    pub(crate) fn forget(&mut self, oldest: u64) {
        while let Some((commit, _, _)) = self.commits.front()
            && (*commit <= oldest || self.commits.len() > self.keys_max)
        {
            let Some((commit, table, key)) = self.commits.pop_front() else {
                return;
            };
            self.floor = self.floor.max(commit);
            if let Some(keys) = self.written.get_mut(&table)
                && keys.get(&key) == Some(&commit)
            {
                keys.remove(&key);
            }
        }
    }
}

#[derive(PartialEq, Eq)]
pub(crate) enum Written {
    First,
    Again,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scan;

    fn reads(keys: &[u8], spans: &[u8]) -> ReadSet {
        let mut set = ReadSet::default();
        keys.iter().for_each(|key| set.add_key(1, &[*key]));
        spans
            .iter()
            .for_each(|prefix| set.add_span(1, Scan::prefix(prefix).span()));
        set
    }

    #[test]
    fn only_what_was_read_and_written_since_refuses() {
        let mut log = CommitLog::new(10, 100);
        log.note(11, 1, &[5]);
        log.note(12, 1, &[6, 1]);
        log.note(12, 2, &[7]);
        for (began, keys, spans, permitted) in [
            (10, &[5u8][..], &[][..], false),
            (11, &[5], &[], true),
            (10, &[6], &[], true),
            (11, &[], &[6u8], false),
            (12, &[], &[6], true),
            (10, &[7], &[7], true),
            (10, &[], &[], true),
        ] {
            assert_eq!(
                log.permits(began, &reads(keys, spans)),
                permitted,
                "began {began}, read {keys:?} {spans:?}"
            );
        }
    }

    #[test]
    fn what_nobody_can_ask_about_is_forgotten_and_older_transactions_are_refused() {
        let mut log = CommitLog::new(0, 2);
        (1..=5).for_each(|commit| drop(log.note(commit, 1, &[commit as u8])));
        log.forget(0);
        assert_eq!(log.commits.len(), 2);
        assert!(
            !log.permits(2, &reads(&[9], &[])),
            "what was written in commit 3 is no longer known"
        );
        assert!(log.permits(3, &reads(&[9], &[])));
        assert!(log.permits(0, &reads(&[], &[])), "who read nothing needs no memory");
        log.forget(5);
        assert!(log.commits.is_empty() && log.written[&1].is_empty());
    }
}
