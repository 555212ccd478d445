//! Group commit: one thread that validates what waits, writes it as one batch, syncs once, and answers everybody.

use super::{
    COMMIT_KEY, Shared,
    conflicts::{CommitLog, ReadSet, Written},
    mark::Mark,
    transactions::OpenTransaction,
};
use crate::StoreError;
use fjall::{Keyspace, PersistMode, Slice};
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
    pub(super) open: OpenTransaction,
    pub(super) reads: ReadSet,
    pub(super) writes: Vec<Write>,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
    /// Its room in the queue, given back when it has been answered.
    pub(super) room: OwnedSemaphorePermit,
}

/// One row to write; no value is a deletion.
pub(super) struct Write {
    pub(super) key: Slice,
    pub(super) value: Option<Slice>,
}

/// What is left of a submission while its group is written.
type Accepted = (
    OpenTransaction,
    oneshot::Sender<Result<(), StoreError>>,
    OwnedSemaphorePermit,
);

/// The committer's own state; it lives on its thread.
pub(super) struct Committer {
    shared: Arc<Shared>,
    db: fjall::Database,
    rows: Keyspace,
    log: CommitLog,
    mark: Arc<Mark>,
    /// Whether it has reached a commit of this opening.
    marked: bool,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, db: fjall::Database, rows: Keyspace, mark: Arc<Mark>) -> Self {
        let log = CommitLog::new(shared.transactions.committed(), KEYS_REMEMBERED_MAX);
        Committer {
            shared,
            db,
            rows,
            log,
            mark,
            marked: false,
        }
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Submission>) {
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
        let commit = self.shared.transactions.committed() + 1;
        let mut accepted: Vec<Accepted> = Vec::with_capacity(group.len());
        let mut writes: Vec<Write> = Vec::new();
        let mut overwritten = false;
        for submission in group {
            if let Err(refused) = self.check(&submission) {
                let _ = submission.answer.send(Err(refused));
                continue;
            }
            for write in submission.writes {
                overwritten |= self.log.note(commit, &write.key) == Written::Again;
                writes.push(write);
            }
            accepted.push((submission.open, submission.answer, submission.room));
        }
        if accepted.is_empty() {
            return;
        }
        if overwritten {
            writes = last_of_each_key(writes);
        }
        let (transactions, rows, began) = (accepted.len(), writes.len(), Instant::now());
        if cfg!(sabotage = "answer") {
            // A kill within the moment between answer and write is what the control waits for: here it is long enough.
            self.answer(std::mem::take(&mut accepted));
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let shared = self.shared.clone();
        for Write { key, value } in &writes {
            shared.row_cache.note_written(key, value.as_ref(), commit);
        }
        let writing = shared.published.begin_writing();
        match self.write(commit, writes) {
            Ok(()) => {
                // Shown first: whoever begins at this commit must see it.
                shared.published.publish(writing, &self.db, commit);
                shared.transactions.commit(commit);
                self.mark_first(commit);
            }
            Err(error) => self
                .shared
                .stop(format!("a commit could not be written to stable storage ({error})")),
        }
        self.shared.counters.note_group(transactions, rows, began.elapsed());
        self.answer(accepted);
        self.log.forget(self.shared.transactions.oldest());
    }

    fn answer(&self, accepted: Vec<Accepted>) {
        for (open, answer, room) in accepted {
            drop(open);
            // Nobody listens if the caller has given up; the commit stands all the same.
            let _ = answer.send(self.shared.stopped().map_or(Ok(()), Err));
            drop(room);
        }
    }

    /// Those accepted earlier in the same group are in the log already, so a conflict inside the group shows too.
    fn check(&mut self, submission: &Submission) -> Result<(), StoreError> {
        if let Some(stopped) = self.shared.stopped() {
            return Err(stopped);
        }
        if self.log.permits(submission.open.began(), &submission.reads) {
            return Ok(());
        }
        self.shared.counters.conflicts.fetch_add(1, Ordering::Relaxed);
        Err(StoreError::Conflict)
    }

    /// Moves the high-water mark to the first commit of this opening, before that is acknowledged.
    fn mark_first(&mut self, commit: u64) {
        if !self.marked {
            match self.mark.follow(commit) {
                Ok(()) => self.marked = true,
                Err(error) => self.shared.stop(format!(
                    "the high-water mark could not be written to stable storage ({error})"
                )),
            }
        }
    }

    /// One atomic, durable batch.
    fn write(&self, commit: u64, writes: Vec<Write>) -> fjall::Result<()> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.db.clone(), writes.len() + 1);
        for Write { key, value } in writes {
            match value {
                Some(value) => batch.insert(&self.rows, key, value),
                None => batch.remove(&self.rows, key),
            }
        }
        batch.insert(&self.rows, COMMIT_KEY, commit.to_be_bytes());
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
        last.insert(write.key, write.value);
    }
    last.into_iter().map(|(key, value)| Write { key, value }).collect()
}
