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
