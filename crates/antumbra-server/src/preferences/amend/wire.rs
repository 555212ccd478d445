//! What the routes of this folder read and write as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::wire::{Failure, IdentifierNode, NamedValue};

/// `POST …/append-identifiers`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Appends {
    /// 1 to 10 records.
    pub(super) records: Vec<Append>,
}

/// One more identifier for one record.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Append {
    /// Which record: an identifier that is unique on the preference store.
    pub(super) anchor_identifier: NamedValue,
    /// The identifier that is added.
    pub(super) append: NamedValue,
    /// When: any ISO 8601 date and time. The record's own `timestamp` stays.
    pub(super) timestamp: String,
    /// How to go about it.
    pub(super) options: Option<AmendOptions>,
}

/// `POST …/update-identifiers`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Updates {
    /// 1 to 10 records.
    pub(super) records: Vec<Update>,
}

/// Another value for an identifier of one record.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Update {
    /// Which record: an identifier that is unique on the preference store. It may be the one that is replaced.
    pub(super) anchor_identifier: NamedValue,
    /// The identifier, as it was and as it is to be.
    pub(super) update: NewValue,
    /// When: any ISO 8601 date and time. The record's own `timestamp` stays.
    pub(super) timestamp: String,
    /// How to go about it.
    pub(super) options: Option<AmendOptions>,
}

/// An identifier whose value changes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewValue {
    /// The name of an identifier that the organization has configured.
    pub(super) name: String,
    /// The value that the record has.
    pub(super) old_value: String,
    /// The value that takes its place.
    pub(super) new_value: String,
}

/// `POST …/delete-identifiers`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Removals {
    /// 1 to 10 records.
    pub(super) records: Vec<Removal>,
}

/// One identifier less for one record.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Removal {
    /// Which record: an identifier that is unique on the preference store.
    pub(super) anchor_identifier: NamedValue,
    /// The identifier that is taken away.
    pub(super) delete: NamedValue,
    /// When: any ISO 8601 date and time. The record's own `timestamp` stays.
    pub(super) timestamp: String,
    /// How to go about it.
    pub(super) options: Option<AmendOptions>,
}

/// How to go about one record.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AmendOptions {
    /// An identifier that is another record's makes the two one (the default), or is refused.
    pub(super) merge_records_on_conflict: Option<bool>,
    /// The same, as one page of the contract spells it. The other spelling wins.
    pub(super) merge_record_on_conflict: Option<bool>,
    /// Whether the answer shows the identifiers that the record has now.
    pub(super) return_identifiers: Option<bool>,
}

/// `POST …/delete`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Deletions {
    /// 1 to 100 records.
    pub(super) records: Vec<Deletion>,
}

/// A record to delete.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deletion {
    /// Which record: an identifier that is unique on the preference store.
    pub(super) anchor_identifier: NamedValue,
    /// When its deletion was asked for. The record goes even if it changed since.
    pub(super) timestamp: String,
}

/// Answer to a change of identifiers.
#[derive(Serialize, ToSchema)]
pub(crate) struct AmendOutcome<'a> {
    /// Whether every record was changed as asked.
    pub(super) success: bool,
    /// One entry for each record of the call, in its order.
    pub(super) records: Vec<RecordOutcome<'a>>,
    /// Records that stay as they were.
    pub(super) failures: Vec<Failure>,
}

/// Answer to a deletion.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeleteOutcome {
    /// One entry for each record of the call, in its order.
    pub(super) records: Vec<RecordOutcome<'static>>,
    /// Records that were not deleted.
    pub(super) failures: Vec<Failure>,
}

/// What became of one record of a call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordOutcome<'a> {
    /// Whether it was done.
    pub(super) success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_message: Option<String>,
    /// The identifiers that the record has now, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) identifiers: Option<Vec<IdentifierNode<'a>>>,
}
