//! Who did what to what: append-only, written in the transaction of the deed.
//!
//! An entry holds ids, counts and words of this program, and by its types nothing else: what a data subject is called or
//! has said cannot get in here, so the log outlives every erasure. There is no way to change or remove an entry.

mod digest;
pub(crate) mod graphql;

use std::borrow::Cow;

use antumbra_store::{Reader, Scan, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use digest::Digest;

use crate::{organization::OrganizationId, world::Ids};

/// Answers: what happened in an organization, in the order in which it happened.
const ENTRIES: Table<(Uuid, Uuid), Recorded> = Table::new("audit_entries");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[ENTRIES.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[crate::fuzz::same_when_written_again::<Recorded>];

/// What one call to [`list`] returns at most.
pub const PAGE_MAX: usize = 1_000;

/// One deed, about to be recorded.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// Who did it.
    pub actor: Actor,
    /// What was done: slice and event in the past tense, as in `dsr.submitted`.
    pub action: &'static str,
    /// What it was done to: a word for its kind, and its id.
    pub object: (&'static str, Uuid),
    /// When.
    pub at: Timestamp,
    /// What else a later reader needs: ids, counts and words of this program.
    pub details: Vec<(&'static str, Detail)>,
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A caller, by the id of its API key.
    ApiKey(Uuid),
    /// A data silo that reported a result, by its id.
    DataSilo(Uuid),
    /// The holder of a consent token, by the id of the secret that signed it.
    ConsentToken(Uuid),
    /// The holder of a token of the preference centre, by its id.
    AccessToken(Uuid),
    /// A data subject, by the id of the link to their request that they came with.
    DataSubject(Uuid),
    /// Somebody who showed neither key nor token.
    Anyone,
    /// The operator, on the machine itself.
    Operator,
    /// The server's own jobs.
    System,
}

/// One fact about a deed. There is deliberately no variant for text that comes from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// How many.
    Count(u64),
    /// Another thing that took part.
    Id(Uuid),
    /// A word of this program, such as a status.
    Word(Cow<'static, str>),
    /// What stands for something that names nobody, such as a plan.
    Digest(Digest),
}

impl From<&'static str> for Detail {
    fn from(word: &'static str) -> Detail {
        Detail::Word(Cow::Borrowed(word))
    }
}

impl From<Digest> for Detail {
    fn from(digest: Digest) -> Detail {
        Detail::Digest(digest)
    }
}

impl From<Uuid> for Detail {
    fn from(id: Uuid) -> Detail {
        Detail::Id(id)
    }
}

/// One deed, as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Cow<'static, str>,
    /// The kind of what it was done to.
    pub object_kind: Cow<'static, str>,
    /// The id of what it was done to.
    pub object_id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Ids, counts and words.
    pub details: Vec<(Cow<'static, str>, Detail)>,
}

impl antumbra_store::Record for Recorded {
    const VERSION: u8 = 1;
}

/// Adds `entry` to the log of `organization`, if and when `tx` commits.
pub fn record(tx: &mut Tx, ids: &Ids, organization: OrganizationId, entry: AuditEntry) {
    let recorded = Recorded {
        actor: entry.actor,
        action: Cow::Borrowed(entry.action),
        object_kind: Cow::Borrowed(entry.object.0),
        object_id: entry.object.1,
        at: entry.at,
        details: entry
            .details
            .into_iter()
            .map(|(name, detail)| (Cow::Borrowed(name), detail))
            .collect(),
    };
    tx.put(&ENTRIES, &(organization.0, ids.uuid()), &recorded);
}

/// The entries of `organization`, newest first, beginning after the entry `after`; at most `limit`, and at most
/// [`PAGE_MAX`]. Each comes with the id that continues the list after it.
pub async fn list(
    reader: &mut Reader,
    organization: OrganizationId,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<(Uuid, Recorded)>, StoreError> {
    let mut scan = Scan::prefix(&organization.0).newest_first().limit(limit.min(PAGE_MAX));
    if let Some(after) = after {
        scan = scan.after(&(organization.0, after));
    }
    let rows = reader.scan(&ENTRIES, scan).await?;
    Ok(rows.into_iter().map(|((_, id), recorded)| (id, recorded)).collect())
}
