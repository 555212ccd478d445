//! Typed, ordered tables over serialisable transactions, and blobs.
//!
//! **Start here.** A [`Table`] is a name with a key type and a value type. A [`Store`] is opened on one of two engines
//! ([`StoreConfig`]): embedded in this process, or a PostgreSQL server. A [`Reader`] sees one consistent snapshot. A
//! [`Tx`] is a reader that may also write; its [`commit`](Tx::commit) returns only when the writes are on stable
//! storage, and either every one of them is or none is. Transactions are serialisable: whatever they did, some order
//! of running them one by one gives the same result, and a transaction for which there is no such order is refused
//! with [`StoreError::Conflict`] and is to be run again by its caller.
//!
//! | File | Holds |
//! | --- | --- |
//! | `key.rs`, `value.rs`, `table.rs`, `scan.rs` | what is kept, and how it becomes bytes |
//! | `store.rs` | [`Store`], [`Reader`], [`Tx`]: the one place where the engines are told apart |
//! | `embedded/` | the engine in this process: group commit, conflicts, the check of the log |
//! | `lock.rs` | [`FolderLock`]: one process per folder |
//! | `postgres.rs`, `postgres/tls.rs` | the engine behind a PostgreSQL server, and how the way to it is guarded |
//! | `blobs/` | [`Blobs`]: large bodies, written and read as streams |
//! | `conformance.rs` | what an engine must do, as checks for any of them |
//! | `crash.rs` | [`Crash`]: a store that ends at a commit, for tests |
//!
//! This crate knows no HTTP, no domain word, and not what the bytes mean. Its errors never show a key or a value.

mod blobs;
mod config;
pub mod conformance;
mod crash;
mod embedded;
mod error;
mod folder;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod key;
mod lock;
mod overlay;
mod postgres;
mod scan;
mod store;
mod table;
mod value;

pub use blobs::{BlobConfig, BlobError, BlobWriter, Blobs};
pub use config::{EmbeddedConfig, PostgresConfig, StoreConfig};
pub use crash::Crash;
pub use error::{Corrupt, OpenError, StoreError};
pub use key::Key;
pub use lock::FolderLock;
pub use scan::Scan;
pub use store::{Reader, Stamp, Store, StoreStats, Tx};
pub use table::Table;
pub use value::{Raw, Record, Value};
