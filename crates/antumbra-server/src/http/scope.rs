//! What a handler asks of its caller, as types, so that it stands in the handler's signature.

use crate::api_keys::ScopeName;

/// What a key must have before it may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone may, for the reason given.
    Open(&'static str),
    /// Any live key; the handler asks for more once it knows what is wanted.
    AnyKey,
    /// A key with this scope.
    Scope(ScopeName),
    /// A key attached to the data silo that the path or the nonce names: the handler checks it with
    /// [`Caller::attached_to`](super::Caller::attached_to) once it knows the silo.
    Attached,
}

/// A demand on the caller, in a handler's signature: `Caller<scope::ViewRequests>`.
pub trait Scope: Send + Sync + 'static {
    /// The demand.
    const ACCESS: Access;
}

/// A key with the scope that stands at this place of [`ScopeName`].
pub struct Holds<const SCOPE: u8>;

impl<const SCOPE: u8> Scope for Holds<SCOPE> {
    const ACCESS: Access = Access::Scope(ScopeName::ALL[SCOPE as usize]);
}

/// Any live key.
pub struct AnyKey;

impl Scope for AnyKey {
    const ACCESS: Access = Access::AnyKey;
}

/// A key attached to the data silo in question.
pub struct Attached;

impl Scope for Attached {
    const ACCESS: Access = Access::Attached;
}

/// Submit New Data Subject Request.
pub type MakeDataSubjectRequest = Holds<{ ScopeName::MakeDataSubjectRequest as u8 }>;
/// View Incoming Requests.
pub type ViewRequests = Holds<{ ScopeName::ViewRequests as u8 }>;
/// View the Request Compilation.
pub type ViewRequestCompilation = Holds<{ ScopeName::ViewRequestCompilation as u8 }>;
/// Manage Request Identity Verification.
pub type ManageRequestIdentities = Holds<{ ScopeName::ManageRequestIdentities as u8 }>;
/// Modify User Stored Preferences.
pub type ManageStoredPreferences = Holds<{ ScopeName::ManageStoredPreferences as u8 }>;
/// View Managed Consent Database Admin API.
pub type ViewManagedConsentDatabaseAdminApi = Holds<{ ScopeName::ViewManagedConsentDatabaseAdminApi as u8 }>;
