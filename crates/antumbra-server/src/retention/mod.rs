//! Retention: what becomes of data subject requests that are over.
//!
//! Once a request has been over for as long as the organization says ([`crate::organization::Retention`]), its key is
//! destroyed: identifiers, texts and files are noise from that commit on, whoever holds a copy, within the horizon that
//! `docs/keys.md` states. In the same transaction go its links, the messages about it and every row by which the person could be
//! found. What follows takes its time and bounded steps: the rows and bodies of its files, what silos said. The bare record
//! stays, unless it is to go too. `shredRequest` does the same for one request at once.

pub(crate) mod graphql;
mod jobs;

pub(crate) use jobs::shred;
pub use jobs::{CLEAR, DELETE, clear, delete, keep, retain};

use antumbra_store::{Record, Table};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Answers: when an organization's requests were last gone through: (organization).
const ROUNDS: Table<Uuid, Round> = Table::new("retention_rounds");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[ROUNDS.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[crate::fuzz::same_when_written_again::<Round>];

#[derive(Serialize, Deserialize)]
struct Round {
    begun_at: Timestamp,
}

impl Record for Round {
    const VERSION: u8 = 1;
}
