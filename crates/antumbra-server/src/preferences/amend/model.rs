//! What a call asks of one record, checked, and why it may be refused.

use super::super::{
    check::OnConflict,
    model::{Amendment, Identifier, RecordId},
    store,
};

/// How a call points at a record.
pub(in crate::preferences) enum Anchor {
    /// By an identifier that at most one record has.
    Unique(Identifier),
    /// By the record's own id, or by that of one that became part of it.
    Named(RecordId),
    /// By an identifier that several records may have.
    Shared,
    /// By what can be no record's.
    Nothing,
}

/// A change to who one person is.
pub(in crate::preferences) struct Amend {
    pub(in crate::preferences) anchor: Anchor,
    pub(in crate::preferences) amendment: Amendment,
    /// What happens if the identifier that comes is another record's.
    pub(in crate::preferences) on_conflict: OnConflict,
}

/// Why one record of a call stays as it is, while its neighbours do not.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(in crate::preferences) enum Refused {
    #[error("No preference record matches the anchor identifier")]
    NoRecord,
    #[error("The anchor identifier is not unique on the preference store")]
    SharedAnchor,
    /// The name is one that the organization has configured.
    #[error("Identifier {0} did not pass validation")]
    NotValid(String),
    #[error("The identifier to append already belongs to another preference record")]
    AppendBelongsToAnother,
    #[error("The new value already belongs to another preference record")]
    NewValueBelongsToAnother,
    #[error("The preference record does not have this identifier")]
    NotHeld,
    #[error("The only identifier that is unique on the preference store can not be deleted")]
    LastUnique,
    #[error(transparent)]
    Store(#[from] store::Refused),
}
