//! Group commit: one thread that validates what waits, writes it as one batch, syncs once, and answers everybody.

use super::{
    ActiveTransaction, Shared,
    conflicts::{CommitLog, ReadSet, TableId, Written},
};
use crate::StoreError;
use fjall::{Keyspace, PersistMode};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Most transactions in one group.
const GROUP_TRANSACTIONS_MAX: usize = 1_000;
/// Most bytes of keys and values in one group, beside those of the transaction that passes the bound.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Most recently written keys that are remembered for open transactions.
const KEYS_REMEMBERED_MAX: usize = 1_000_000;

/// A transaction that wants to commit.
pub(super) struct Submission {
    pub(super) active: ActiveTransaction,
    pub(super) reads: ReadSet,
    pub(super) writes: Vec<Write>,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
    /// Its room in the queue, given back when it has been answered.
    pub(super) room: OwnedSemaphorePermit,
}

/// One row to write; no value is a deletion.
pub(super) struct Write {
    pub(super) table: TableId,
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

/// The committer's own state; it lives on its thread.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) db: fjall::Database,
    pub(super) keyspaces: Vec<Keyspace>,
    pub(super) meta: Keyspace,
    log: CommitLog,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, db: fjall::Database, keyspaces: Vec<Keyspace>, meta: Keyspace) -> Self {
        let log = CommitLog::new(shared.committed.load(Ordering::Acquire), KEYS_REMEMBERED_MAX);
        Committer {
            shared,
            db,
            keyspaces,
            meta,
            log,
        }
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut queue: mpsc::UnboundedReceiver<Submission>) {
        while let Some(first) = queue.blocking_recv() {
            let mut bytes = first.bytes;
            let mut group = vec![first];
            while group.len() < GROUP_TRANSACTIONS_MAX && bytes < GROUP_BYTES_MAX {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.bytes;
                group.push(next);
            }
            self.commit(group);
        }
    }

    fn commit(&mut self, group: Vec<Submission>) {
        let commit = self.shared.committed.load(Ordering::Relaxed) + 1;
        let mut accepted = Vec::with_capacity(group.len());
        let mut writes: Vec<Write> = Vec::new();
        let mut overwritten = false;
        for submission in group {
            if let Some(stopped) = self.shared.stopped() {
                let _ = submission.answer.send(Err(stopped));
                continue;
            }
            // Those accepted earlier in this group are in the log already, so a conflict inside the group shows too.
            if !self.log.permits(submission.active.began, &submission.reads) {
                self.shared.stats.conflicts.fetch_add(1, Ordering::Relaxed);
                let _ = submission.answer.send(Err(StoreError::Conflict));
                continue;
            }
            for write in submission.writes {
                overwritten |= self.log.note(commit, write.table, &write.key) == Written::Again;
                writes.push(write);
            }
            accepted.push((submission.active, submission.answer, submission.room));
        }
        if accepted.is_empty() {
            return;
        }
        if overwritten {
            writes = last_of_each_key(writes);
        }
        let rows = writes.len();
        let began = Instant::now();
        let outcome = self.write(commit, writes);
        self.shared.stats.note_group(accepted.len(), rows, began.elapsed());
        match outcome {
            Ok(()) => self.shared.committed.store(commit, Ordering::Release),
            Err(error) => self
                .shared
                .stop(format!("a commit could not be written to stable storage ({error})")),
        }
        for (active, answer, room) in accepted {
            drop(active);
            let _ = answer.send(self.shared.stopped().map_or(Ok(()), Err));
            drop(room);
        }
        self.log.forget(self.shared.oldest_active());
    }

    /// One atomic, durable batch.
    fn write(&self, commit: u64, writes: Vec<Write>) -> fjall::Result<()> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.db.clone(), writes.len() + 1);
        for Write { table, key, value } in writes {
            let keyspace = &self.keyspaces[usize::from(table)];
            match value {
                Some(value) => batch.insert(keyspace, key, value),
                None => batch.remove(keyspace, key),
            }
        }
        batch.insert(&self.meta, super::COMMIT_KEY, commit.to_be_bytes());
        let mode = if cfg!(sabotage = "fsync") {
            PersistMode::Buffer
        } else {
            PersistMode::SyncData
        };
        batch.durability(Some(mode)).commit()
    }
}

/// A batch must not hold a key twice: of two writes in one group, the later transaction's stands.
fn last_of_each_key(writes: Vec<Write>) -> Vec<Write> {
    let mut last = HashMap::with_capacity(writes.len());
    for write in writes {
        last.insert((write.table, write.key), write.value);
    }
    last.into_iter()
        .map(|((table, key), value)| Write { table, key, value })
        .collect()
}
