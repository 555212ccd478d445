//! What the routes of this folder read and write as JSON.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{
    old_dialect::OldIdentifier,
    wire::{Failure, IdentifierNode, NamedValue},
};
use crate::http::careful;

/// `POST …/append-identifiers`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Appends {
    /// 1 to 10 records.
    #[schema(required)]
    pub(in crate::preferences) records: Option<Vec<Append>>,
    /// What older clients send in place of `records`, together with `identifiers`: which record.
    pub(in crate::preferences) user_id: Option<String>,
    /// What older clients send in place of `records`: the identifiers that it gets.
    pub(in crate::preferences) identifiers: Option<Vec<OldIdentifier>>,
}

/// One more identifier for one record.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Append {
    /// Which record: an identifier that is unique on the preference store.
    pub(in crate::preferences) anchor_identifier: NamedValue,
    /// The identifier that is added.
    pub(in crate::preferences) append: NamedValue,
    /// When: any ISO 8601 date and time. The record's own `timestamp` stays.
    pub(in crate::preferences) timestamp: String,
    /// How to go about it.
    pub(in crate::preferences) options: Option<AmendOptions>,
}

/// `POST …/update-identifiers`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Updates {
    /// 1 to 10 records.
    pub(in crate::preferences) records: Vec<Update>,
}

/// Another value for an identifier of one record.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Update {
    /// Which record: an identifier that is unique on the preference store. It may be the one that is replaced.
    pub(in crate::preferences) anchor_identifier: NamedValue,
    /// The identifier, as it was and as it is to be.
    pub(in crate::preferences) update: NewValue,
    /// When: any ISO 8601 date and time. The record's own `timestamp` stays.
    pub(in crate::preferences) timestamp: String,
    /// How to go about it.
    pub(in crate::preferences) options: Option<AmendOptions>,
}

/// An identifier whose value changes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewValue {
    /// The name of an identifier that the organization has configured.
    pub(in crate::preferences) name: String,
    /// The value that the record has.
    pub(in crate::preferences) old_value: String,
    /// The value that takes its place.
    pub(in crate::preferences) new_value: String,
}

/// `POST …/delete-identifiers`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Removals {
    /// 1 to 10 records.
    pub(in crate::preferences) records: Vec<Removal>,
}

/// One identifier less for one record.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Removal {
    /// Which record: an identifier that is unique on the preference store.
    pub(in crate::preferences) anchor_identifier: NamedValue,
    /// The identifier that is taken away.
    pub(in crate::preferences) delete: NamedValue,
    /// When: any ISO 8601 date and time. The record's own `timestamp` stays.
    pub(in crate::preferences) timestamp: String,
    /// How to go about it.
    pub(in crate::preferences) options: Option<AmendOptions>,
}

/// How to go about one record.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct AmendOptions {
    /// An identifier that is another record's makes the two one (the default), or is refused.
    pub(in crate::preferences) merge_records_on_conflict: Option<bool>,
    /// The same, as one page of the contract spells it. The other spelling wins.
    pub(in crate::preferences) merge_record_on_conflict: Option<bool>,
    /// Whether the answer shows the identifiers that the record has now.
    pub(in crate::preferences) return_identifiers: Option<bool>,
}

careful! {
    AmendOptions: [];
}

/// `POST …/delete`.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Deletions {
    /// 1 to 100 records.
    pub(in crate::preferences) records: Vec<Deletion>,
}

/// A record to delete.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deletion {
    /// Which record: an identifier that is unique on the preference store.
    pub(in crate::preferences) anchor_identifier: NamedValue,
    /// When its deletion was asked for. The record goes even if it changed since.
    pub(in crate::preferences) timestamp: String,
}

/// Answer to a change of identifiers.
#[derive(Serialize, ToSchema)]
pub(crate) struct AmendOutcome<'a> {
    /// Whether every record was changed as asked.
    pub(in crate::preferences) success: bool,
    /// One entry for each record of the call, in its order.
    pub(in crate::preferences) records: Vec<RecordOutcome<'a>>,
    /// Records that stay as they were.
    pub(in crate::preferences) failures: Vec<Failure>,
    /// How many were done, for older clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::preferences) count: Option<usize>,
}

/// Answer to a deletion.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeleteOutcome {
    /// Whether every record was deleted, for older clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::preferences) success: Option<bool>,
    /// One entry for each record of the call, in its order.
    pub(in crate::preferences) records: Vec<RecordOutcome<'static>>,
    /// Records that were not deleted.
    pub(in crate::preferences) failures: Vec<Failure>,
    /// How many were done, for older clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::preferences) count: Option<usize>,
}

/// What became of one record of a call.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordOutcome<'a> {
    /// Whether it was done.
    pub(in crate::preferences) success: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::preferences) error_message: Option<String>,
    /// The identifiers that the record has now, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::preferences) identifiers: Option<Vec<IdentifierNode<'a>>>,
}
