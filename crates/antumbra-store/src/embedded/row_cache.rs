//! Rows that were read by their key, so that reading them again does not go through the tree: there, one costs several
//! microseconds even when all that it touches is in memory.
//!
//! A transaction sees the store as it stood after one commit, and a row may be written while others still look at an older
//! commit. So each row is kept with the commit since which it has been as it is: whoever sees an earlier commit does not
//! get it. The committer says what it writes **before** the commit is shown to anybody; a row that somebody has read
//! meanwhile from an older snapshot is then no longer taken in.

use super::conflicts::Digested;
use fjall::Slice;
use quick_cache::{Weighter, unsync};
use std::{
    hash::BuildHasherDefault,
    sync::{Mutex, MutexGuard, PoisonError},
};
use xxhash_rust::xxh3::xxh3_64;

/// Parts of the cache, each behind a lock of its own.
const SHARDS: usize = 64;
/// Groups of keys in one part, each with the number of the last commit that wrote to it.
const GROUPS: usize = 1 << 10;
/// Larger values are not kept: their rows are few, and reading them costs more than finding them.
const VALUE_BYTES_MAX: usize = 4 << 10;
/// What a kept row takes beside its bytes.
const ROW_BYTES: u64 = 128;
/// What a row is expected to take.
const ROW_BYTES_USUAL: u64 = 384;

/// Recently read rows of the newest commits.
pub(super) struct RowCache {
    shards: Vec<Mutex<Shard>>,
}

struct Shard {
    /// By the digest of the key. Of two keys with one digest only the later one is kept.
    rows: unsync::Cache<u64, Row, Weight, BuildHasherDefault<Digested>>,
    /// The last commit that wrote any key of a group.
    written: Vec<u64>,
}

struct Row {
    key: Slice,
    value: Slice,
    /// The value has been this one since then, and nobody has written the key after that.
    since: u64,
}

impl RowCache {
    /// A cache that takes at most `bytes`, as it needs them, over a store whose last commit is `committed`.
    pub(super) fn new(bytes: u64, committed: u64) -> Self {
        let bytes = bytes / SHARDS as u64;
        let rows = usize::try_from(bytes / ROW_BYTES_USUAL).unwrap_or(usize::MAX);
        let shard = |_| {
            Mutex::new(Shard {
                rows: unsync::Cache::with(rows, bytes, Weight, BuildHasherDefault::default(), Default::default()),
                written: vec![committed; GROUPS],
            })
        };
        RowCache {
            shards: (0..SHARDS).map(shard).collect(),
        }
    }

    /// The value of `key` as it stood after `commit`, if that is known here.
    pub(super) fn find(&self, key: &[u8], commit: u64) -> Option<Slice> {
        let digest = xxh3_64(key);
        let shard = self.shard(digest);
        let row = shard.rows.get(&digest)?;
        (row.since <= commit && row.key == key).then(|| row.value.clone())
    }

    /// `key` was read from a snapshot that holds all commits up to `commit`, and its value was `value`.
    pub(super) fn note_read(&self, key: &[u8], value: &Slice, commit: u64) {
        if value.len() > VALUE_BYTES_MAX {
            return;
        }
        // What the engine hands out keeps the whole block that it lies in.
        let (key, value) = (Slice::from(key), Slice::from(value.as_ref()));
        let digest = xxh3_64(&key);
        let mut shard = self.shard(digest);
        let since = shard.written[group(digest)];
        if since <= commit {
            shard.rows.insert(digest, Row { key, value, since });
        }
    }

    /// `key` is `value`, or gone, from `commit` on. To be said before anybody sees that commit.
    pub(super) fn note_written(&self, key: &Slice, value: Option<&Slice>, commit: u64) {
        let digest = xxh3_64(key);
        let mut shard = self.shard(digest);
        shard.written[group(digest)] = commit;
        let kept = value.filter(|value| value.len() <= VALUE_BYTES_MAX);
        let Some(mut row) = shard.rows.peek_mut(&digest) else {
            return;
        };
        match kept {
            _ if row.key != *key => {}
            Some(value) => {
                row.value = value.clone();
                row.since = commit;
            }
            None => {
                drop(row);
                shard.rows.remove(&digest);
            }
        }
    }

    fn shard(&self, digest: u64) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[(digest >> 40) as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Other bits than those that choose the shard, and than those that the table of a shard looks at first.
fn group(digest: u64) -> usize {
    (digest >> 20) as usize % GROUPS
}

/// What a row takes.
#[derive(Clone)]
struct Weight;

impl Weighter<u64, Row> for Weight {
    fn weight(&self, _digest: &u64, row: &Row) -> u64 {
        (row.key.len() + row.value.len()) as u64 + ROW_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What may happen, in any order, to a few keys.
    #[derive(Clone, Debug)]
    enum Event {
        /// The next commit writes these keys; no value is a deletion.
        Committed(Vec<(u8, Option<u8>)>),
        /// Somebody who sees the commit so many before the newest reads a key.
        Read { key: u8, ago: usize },
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let writes = proptest::collection::vec((0..8u8, proptest::option::weighted(0.8, any::<u8>())), 1..4);
        let committed = writes.prop_map(Event::Committed);
        let read = (0..8u8, 0..4usize).prop_map(|(key, ago)| Event::Read { key, ago });
        proptest::collection::vec(prop_oneof![1 => committed, 3 => read], 1..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn nobody_gets_what_was_written_after_their_commit_or_what_was_overwritten_before_it(events in events()) {
            let cache = RowCache::new(1 << 20, 0);
            let mut commits = vec![BTreeMap::<u8, u8>::new()];
            for event in events {
                match event {
                    Event::Committed(writes) => {
                        let mut next = commits[commits.len() - 1].clone();
                        for (key, value) in writes {
                            match value {
                                Some(value) => next.insert(key, value),
                                None => next.remove(&key),
                            };
                            let value = value.map(|value| Slice::from([value]));
                            cache.note_written(&Slice::from([key]), value.as_ref(), commits.len() as u64);
                        }
                        commits.push(next);
                    }
                    Event::Read { key, ago } => {
                        let commit = commits.len().saturating_sub(ago + 1);
                        let stored = commits[commit].get(&key).map(|value| Slice::from([*value]));
                        match (cache.find(&[key], commit as u64), stored) {
                            (Some(cached), stored) => {
                                prop_assert_eq!(Some(cached), stored);
                            }
                            (None, Some(stored)) => cache.note_read(&[key], &stored, commit as u64),
                            (None, None) => {}
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_read_is_found_again_by_whoever_sees_that_commit_or_a_later_one() {
        let cache = RowCache::new(1 << 20, 5);
        let value = Slice::from(b"value");
        assert_eq!(cache.find(b"key", 7), None);
        cache.note_read(b"key", &value, 7);
        assert_eq!(cache.find(b"key", 7), Some(value.clone()));
        assert_eq!(
            cache.find(b"key", 5),
            Some(value.clone()),
            "nothing was written since the store was opened"
        );
        cache.note_written(&Slice::from(b"key"), Some(&Slice::from(b"newer")), 8);
        assert_eq!(cache.find(b"key", 7), None);
        assert_eq!(cache.find(b"key", 8), Some(Slice::from(b"newer")));
        cache.note_read(b"key", &value, 7);
        assert_eq!(
            cache.find(b"key", 9),
            Some(Slice::from(b"newer")),
            "an older reading changes nothing"
        );
        cache.note_written(&Slice::from(b"key"), None, 9);
        assert_eq!(cache.find(b"key", 9), None);
    }

    #[test]
    fn large_values_are_not_kept_and_the_bound_holds() {
        let cache = RowCache::new(1 << 20, 0);
        cache.note_read(b"large", &Slice::from(vec![0; VALUE_BYTES_MAX + 1]), 0);
        assert_eq!(cache.find(b"large", 0), None);
        for key in 0..100_000_u32 {
            cache.note_read(&key.to_be_bytes(), &Slice::from([0; 100]), 0);
        }
        let weight: u64 = cache
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().rows.weight())
            .sum();
        assert!((1 << 19..=1 << 20).contains(&weight), "{weight}");
        let row = Slice::from(b"grown");
        cache.note_read(&row, &row, 0);
        cache.note_written(&row, Some(&Slice::from(vec![0; VALUE_BYTES_MAX + 1])), 1);
        assert_eq!(cache.find(&row, 1), None, "what has grown too large is let go");
    }
}
