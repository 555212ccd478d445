//! Changes to who a person is, and the end of a record: identifiers are appended, updated and deleted, and whole records
//! deleted, each found through one identifier that a call anchors it by.
//!
//! Nothing is chosen by any of this, so a record's own time stays and no workflow is triggered; when we last wrote it, and
//! its history, move on. Records of a call are taken in their order and in one transaction; one that fails does not spoil
//! its neighbours. A deleted record's key is destroyed, and with it all that its history says.
//!
//! | File | Holds |
//! | --- | --- |
//! | `http.rs` | the four handlers |
//! | `wire.rs` | JSON in, JSON out |
//! | `check.rs` | from what a caller wrote to what the store takes |
//! | `model.rs` | what is asked of a record, and why it is refused |
//!
//! What becomes of a record is decided in `store/desk/amend.rs`.

mod check;
pub(crate) mod http;
pub(super) mod model;
mod wire;

pub(super) use check::Said;
pub(super) use wire::{AmendOutcome, Append, DeleteOutcome, Deletion, NewValue, Removal, Update};

/// What the audit log says of each kind of change.
pub(super) const APPENDED: &str = "preferences.identifiers_appended";
pub(super) const UPDATED: &str = "preferences.identifiers_updated";
pub(super) const DELETED: &str = "preferences.identifiers_deleted";
