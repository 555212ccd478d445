//! Reading on in the feed: cursors, and what changes were.

use std::{collections::HashMap, sync::Arc};

use antumbra_crypto::token::Claims;
use antumbra_store::Reader;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Place,
    entry::What,
    store::{self, CannotGoOn, Numbered},
    wire,
};
use crate::{
    AppState,
    http::{Code, Problem},
    keyring::{KeyringError, OrganizationKeys},
    organization::OrganizationId,
    preferences::{
        http::Known,
        model::RecordId,
        store::{Held, Site, find_named, find_records, read_changes},
    },
    purposes::PartitionId,
};

/// A place in the feed of one partition: after the change with this number.
#[derive(Serialize, Deserialize)]
struct Cursor {
    /// The partition.
    p: PartitionId,
    /// The number.
    n: u64,
}

impl Claims for Cursor {
    const KIND: &'static str = "changes";
}

/// Where somebody reads.
pub(super) struct Desk {
    pub(super) app: AppState,
    pub(super) organization: OrganizationId,
    pub(super) keys: Arc<OrganizationKeys>,
    pub(super) partition: PartitionId,
    /// What clients call it.
    pub(super) partition_key: String,
}

/// A change as it is sent.
pub(super) struct Line {
    pub(super) cursor: String,
    pub(super) json: Bytes,
}

/// Changes, and the number of the last of them.
pub(super) struct Page {
    pub(super) lines: Vec<Line>,
    pub(super) last: u64,
}

impl Desk {
    pub(super) fn place(&self) -> Place {
        (self.organization, self.partition)
    }

    pub(super) fn cursor(&self, number: u64) -> String {
        self.keys.tokens.sign(&Cursor {
            p: self.partition,
            n: number,
        })
    }

    /// The number that a cursor of this partition stands for. Others can't be told from forged ones.
    pub(super) fn number(&self, cursor: &str) -> Option<u64> {
        let cursor = self.keys.tokens.verify::<Cursor>(cursor).ok()?;
        (cursor.p == self.partition).then_some(cursor.n)
    }

    /// The changes after number `after`, at most `limit` of them.
    pub(super) async fn read(&self, after: u64, limit: usize) -> Result<Page, Problem> {
        let mut reader = self.app.store.begin_read().await?;
        let changes = match store::read_after(&mut reader, self.place(), after, limit).await {
            Ok(changes) => changes,
            Err(CannotGoOn::Expired) => return Err(Problem::new(Code::CursorExpired)),
            Err(CannotGoOn::Unknown) => return Err(not_ours()),
            Err(CannotGoOn::Store(error)) => return Err(error.into()),
        };
        let last = changes.last().map_or(after, |change| change.number);
        let lines = if changes.is_empty() {
            Vec::new()
        } else {
            self.lines(&mut reader, &changes).await?
        };
        Ok(Page { lines, last })
    }

    async fn lines(&self, reader: &mut Reader, changes: &[Numbered]) -> Result<Vec<Line>, Problem> {
        let known = Known::read(&self.app, reader, self.organization, self.app.clock.now()).await?;
        let site = known.site(&self.app, self.organization, &self.keys);
        let revisions: Vec<(RecordId, u32)> = changes.iter().filter_map(revision_of).collect();
        let mut happened = read_changes(reader, &site, self.partition, &revisions)
            .await?
            .into_iter();
        let people = self.people(reader, &site, changes).await?;
        let lines = changes.iter().map(|change| {
            let cursor = self.cursor(change.number);
            let happened = revision_of(change).and_then(|_| happened.next());
            let node = wire::ChangeNode::new(
                wire::Shown {
                    cursor: &cursor,
                    partition: &self.partition_key,
                    change,
                    happened: happened.as_ref(),
                    person: people.get(&change.entry.record),
                },
                &known.catalog,
                known.sight(),
            );
            let json = serde_json::to_vec(&node).map_err(|error| Problem::internal(&error))?;
            Ok(Line {
                cursor,
                json: Bytes::from(json),
            })
        });
        lines.collect()
    }

    /// What is known now of the people whose records changed, by the records' ids at the time.
    async fn people(
        &self,
        reader: &mut Reader,
        site: &Site<'_>,
        changes: &[Numbered],
    ) -> Result<HashMap<RecordId, Held>, KeyringError> {
        let mut then: Vec<RecordId> = changes.iter().map(|change| change.entry.record).collect();
        then.sort_unstable();
        then.dedup();
        let now = find_named(reader, site, self.partition, &then).await?;
        let held = find_records(reader, site, self.partition, &now).await?;
        let people = then.into_iter().zip(held);
        Ok(people.filter_map(|(id, held)| Some((id, held?))).collect())
    }
}

fn revision_of(change: &Numbered) -> Option<(RecordId, u32)> {
    match change.entry.what {
        What::Changed(revision) => Some((change.entry.record, revision)),
        What::Deleted | What::Merged(_) => None,
    }
}

/// What a cursor is told that was not given out for this feed.
pub(super) fn not_ours() -> Problem {
    Problem::validation([("after", "is not a cursor of this partition's changes")])
}
