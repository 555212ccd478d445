//! Preference records: what each person has allowed and refused, in partitions that know nothing of each other.
//!
//! A call says what a person chose and when; the rules of `model.rs` make it part of their record. A person may be known
//! by several identifiers, and two records that turn out to be of one person become one. Contents are sealed under a key
//! of the record's own; identifiers are found through a keyed digest.
//!
//! | File | Holds |
//! | --- | --- |
//! | `http.rs` | the handlers of upsert and query |
//! | `wire.rs` | JSON in, JSON out |
//! | `known.rs` | objects that would mean something else with a misspelt member |
//! | `check.rs`, `identifiers.rs`, `moment.rs` | from what a caller wrote to what the rules take |
//! | `model.rs` | a record, and the rules by which writes become part of it |
//! | `iab/` | what consent strings say, and where they are malformed |
//! | `difference.rs` | what a write changed of a person's answers |
//! | `expiry.rs` | answers that count no longer because of their age |
//! | `encoding.rs` | records and history as bytes, before they are sealed |
//! | `store.rs` | the tables, and reading and writing them in a few round trips a call |
//! | `triggers/` | choices that open data subject requests |
//! | `feed/` | the change feed |
//! | `turns.rs` | who is being written about at the moment |
//! | `old_dialect.rs` | what an older generation of clients sends, said in today's words |
//! | `sync/` | consent sync: what the holders of tokens see and change |
//! | `access_tokens.rs` | tokens of the preference centre |
//! | `timeline.rs`, `timeline/` | what people had chosen before: the record of consent, and queries that look back; every state of records |
//! | `query.rs` | which records a query means, their order, and where the next page begins |
//! | `lookup.rs` | the deprecated lookup, flat and by plain values |
//! | `amend/` | identifiers that come and go, and deletion |

pub(crate) mod access_tokens;
pub(crate) mod amend;
mod check;
mod difference;
mod encoding;
mod expiry;
pub(crate) mod feed;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod http;
mod iab;
mod identifiers;
pub(crate) mod lookup;
mod model;
mod moment;
pub(crate) mod old_dialect;
mod query;
mod store;
pub(crate) mod sync;
pub(crate) mod timeline;
mod triggers;
mod turns;
mod wire;

pub use feed::{Feed, TELL_OF_CHANGES, expire_changes, number_changes, run_sequencer, tell_of_changes};
pub use model::RecordId;
#[cfg(any(test, fuzzing))]
pub(crate) use store::FOLDING_RECORDS;
pub use store::{TABLES, has_records};
pub use sync::forget_partition;
pub use timeline::{FOLD_HISTORY, fold_history, keep_history};
pub(crate) use triggers::graphql;
pub use triggers::{ArmedTriggers, FIRE_AGAIN, fire_again};
#[cfg(any(test, fuzzing))]
pub(crate) use triggers::{MISSED_RECORDS, RECORDS};
pub use turns::Turns;
