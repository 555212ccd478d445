//! Which transactions may commit: the keys written by recent commits, and the check of what was read against them.
//!
//! A transaction is valid if nothing that it read was written by a commit after the one it began at. Then it could as
//! well have run whole at the moment of its commit, which is what serialisable means. The log keeps a digest of each
//! recently written key with the number of its last commit; two keys of one digest can only refuse a transaction that
//! need not have been. It forgets what no open transaction can ask about, and past its bound it forgets the oldest
//! regardless: a transaction that began before what is still known is refused.

use crate::scan::Span;
use fjall::Slice;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    ops::Bound,
};
use xxhash_rust::xxh3::xxh3_64;

/// Keys at the end of a commit that are looked through one by one before all are sorted again.
const UNSORTED_MAX: usize = 32;

/// What a transaction has read: single keys, and spans of keys. What was absent counts as read.
#[derive(Default)]
pub(super) struct ReadSet {
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) spans: Vec<Span>,
}

/// The recent commits.
pub(super) struct CommitLog {
    /// The last commit that wrote each key, by the key's digest.
    last_written: HashMap<u64, u64, BuildHasherDefault<Digested>>,
    /// The recent commits, oldest first.
    commits: VecDeque<Commit>,
    /// How many keys they hold together.
    keys: usize,
    keys_max: usize,
    /// Everything written after this commit is known.
    floor: u64,
}

/// The keys that one commit wrote.
struct Commit {
    number: u64,
    keys: Vec<Slice>,
    /// Their digests, in the order in which they were noted.
    digests: Vec<u64>,
    /// How many of the keys, from the first on, are in order.
    sorted: usize,
}

impl CommitLog {
    pub(super) fn new(committed: u64, keys_max: usize) -> Self {
        CommitLog {
            last_written: HashMap::default(),
            commits: VecDeque::new(),
            keys: 0,
            keys_max,
            floor: committed,
        }
    }

    /// May a transaction that began at commit `began` and read `reads` commit now?
    pub(super) fn permits(&mut self, began: u64, reads: &ReadSet) -> bool {
        if reads.keys.is_empty() && reads.spans.is_empty() {
            return true;
        }
        let untouched = |commit: &u64| *commit <= began;
        if began < self.floor
            || !reads
                .keys
                .iter()
                .all(|key| self.last_written.get(&xxh3_64(key)).is_none_or(untouched))
        {
            return false;
        }
        let mut since = self.commits.iter_mut().rev().take_while(|commit| commit.number > began);
        reads.spans.is_empty() || !since.any(|commit| reads.spans.iter().any(|span| commit.wrote_in(span)))
    }

    /// Notes that `commit` writes a key. Says whether the same commit may have written it before.
    pub(super) fn note(&mut self, commit: u64, key: &Slice) -> Written {
        let digest = xxh3_64(key);
        let before = self.last_written.insert(digest, commit);
        if self.commits.back().is_none_or(|last| last.number != commit) {
            self.commits.push_back(Commit {
                number: commit,
                keys: Vec::new(),
                digests: Vec::new(),
                sorted: 0,
            });
        }
        if let Some(last) = self.commits.back_mut() {
            last.keys.push(key.clone());
            last.digests.push(digest);
            self.keys += 1;
        }
        if before == Some(commit) {
            Written::Again
        } else {
            Written::First
        }
    }

    /// Forgets what no transaction that began at `oldest` or later can ask about, and the oldest beyond the bound.
    pub(super) fn forget(&mut self, oldest: u64) {
        while let Some(first) = self.commits.front()
            && (first.number <= oldest || self.keys > self.keys_max)
        {
            let Some(Commit { number, digests, .. }) = self.commits.pop_front() else {
                return;
            };
            self.floor = self.floor.max(number);
            self.keys -= digests.len();
            for digest in digests {
                if self.last_written.get(&digest) == Some(&number) {
                    self.last_written.remove(&digest);
                }
            }
        }
    }
}

impl Commit {
    fn wrote_in(&mut self, span: &Span) -> bool {
        if self.keys.len() - self.sorted > UNSORTED_MAX {
            // A stable sort is quick where most is in order already.
            self.keys.sort();
            self.sorted = self.keys.len();
        }
        let (sorted, unsorted) = self.keys.split_at(self.sorted);
        let first = sorted.partition_point(|key| !starts_by(span, key));
        sorted.get(first).is_some_and(|key| ends_after(span, key))
            || unsorted.iter().any(|key| starts_by(span, key) && ends_after(span, key))
    }
}

fn starts_by(span: &Span, key: &[u8]) -> bool {
    match &span.from {
        Bound::Included(from) => from.as_slice() <= key,
        Bound::Excluded(from) => from.as_slice() < key,
        Bound::Unbounded => true,
    }
}

fn ends_after(span: &Span, key: &[u8]) -> bool {
    match &span.to {
        Bound::Included(to) => to.as_slice() >= key,
        Bound::Excluded(to) => to.as_slice() > key,
        Bound::Unbounded => true,
    }
}

/// The hasher of a map whose keys are digests.
#[derive(Default)]
pub(super) struct Digested(u64);

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
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
        let mut log = CommitLog::new(10, 1_000);
        log.note(11, &Slice::from([5]));
        log.note(12, &Slice::from([6, 1]));
        // Enough to be sorted, in no order.
        for key in 0..100u8 {
            log.note(13, &Slice::from([8, key.wrapping_mul(37)]));
        }
        for (began, keys, prefixes, permitted) in [
            (10, &[5u8][..], &[][..], false),
            (11, &[5], &[], true),
            (10, &[6], &[], true),
            (11, &[], &[6u8], false),
            (12, &[], &[6], true),
            (10, &[7], &[7], true),
            (12, &[], &[8], false),
            (12, &[], &[9], true),
            (13, &[], &[8], true),
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
    fn a_key_is_found_in_a_span_wherever_it_was_noted() {
        let mut log = CommitLog::new(0, 1_000);
        for key in (0..200u8).map(|key| key.wrapping_mul(73)) {
            let span = reads(&[], &[key]);
            assert!(log.permits(0, &span), "{key} is not written yet");
            log.note(1, &Slice::from([key, 1]));
            assert!(!log.permits(0, &span), "{key} has been written");
        }
    }

    #[test]
    fn what_nobody_can_ask_about_is_forgotten_and_older_transactions_are_refused() {
        let mut log = CommitLog::new(0, 2);
        for commit in 1..=5u8 {
            log.note(commit.into(), &Slice::from([commit]));
        }
        log.forget(0);
        assert_eq!(log.commits.len(), 2);
        assert!(
            !log.permits(2, &reads(&[9], &[])),
            "what was written in commit 3 is no longer known"
        );
        assert!(log.permits(3, &reads(&[9], &[])));
        assert!(log.permits(0, &reads(&[], &[])), "who read nothing needs no memory");
        log.forget(5);
        assert!(log.commits.is_empty() && log.last_written.is_empty() && log.keys == 0);
    }
}
