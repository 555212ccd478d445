//! The keys of one organization, unwrapped.

use std::fmt;

use antumbra_crypto::{
    Key32, OpenFailed,
    index::IndexKey,
    mac::MacKey,
    sha256,
    token::{SigningKey, TokenKeys},
    wrap::{self, Kek, WrappedKey},
};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::KeyKind;
use crate::organization::OrganizationId;

/// The keys of one organization. Held by whoever works for it at the moment.
pub struct OrganizationKeys {
    /// Whose keys these are.
    pub organization: OrganizationId,
    /// Finds identifiers without holding them.
    pub index: IndexKey,
    /// Signs nonces, download keys and cursors.
    pub tokens: TokenKeys,
    /// Goes into the digest of every API key.
    pub pepper: MacKey,
    /// Proves that a manifest was written here.
    pub manifest: MacKey,
    /// Signs webhooks.
    pub signing: SigningKey,
    pub(super) keks: Keks,
}

/// The organization's key-encryption keys: one wraps, all of them unwrap.
pub(super) struct Keks {
    pub(super) active: Kek,
    pub(super) older: Vec<Kek>,
}

impl Keks {
    pub(super) fn unwrap(&self, context: &[&[u8]], wrapped: &WrappedKey) -> Result<Key32, OpenFailed> {
        let kek = std::iter::once(&self.active)
            .chain(&self.older)
            .find(|kek| kek.version() == wrapped.kek_version() && kek.id() == wrapped.kek_id())
            .ok_or(OpenFailed::OtherKek)?;
        wrap::unwrap(kek, context, wrapped)
    }
}

impl OrganizationKeys {
    /// A fresh key for `owner`, and the form of it to be stored: for callers that write the row themselves.
    pub fn seal_new(&self, kind: KeyKind, owner: Uuid) -> (Key32, WrappedKey) {
        let key = Key32::random();
        let wrapped = wrap::wrap(&self.keks.active, &self.context(kind, &owner), &key);
        (key, wrapped)
    }

    /// Opens a stored key of `owner`.
    pub fn open(&self, kind: KeyKind, owner: Uuid, wrapped: &WrappedKey) -> Result<Key32, OpenFailed> {
        self.keks.unwrap(&self.context(kind, &owner), wrapped)
    }

    /// The token that tells a receiver who calls, about whom, and over which body.
    pub fn sign_webhook(&self, claims: &WebhookClaims<'_>) -> String {
        self.signing.sign(&Claims {
            scope: "coreIdentifier",
            value: claims.core_identifier,
            aud: claims.audience,
            // Cut to the second: some receivers refuse a token from the future.
            iat: claims.issued_at.as_second(),
            jti: claims.id,
            body_sha256: sha256(claims.body).iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    fn context<'a>(&'a self, kind: KeyKind, owner: &'a Uuid) -> [&'a [u8]; 3] {
        [
            self.organization.0.as_bytes(),
            kind.as_str().as_bytes(),
            owner.as_bytes(),
        ]
    }
}

impl fmt::Debug for OrganizationKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrganizationKeys({})", self.organization.0)
    }
}

/// What a webhook token says. It holds personal data and goes to the receiver only.
pub struct WebhookClaims<'a> {
    /// The core identifier of the data subject request.
    pub core_identifier: &'a str,
    /// Whom the organization's webhooks are meant for: its URI.
    pub audience: &'a str,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// The id of this delivery, so that a receiver can notice a replay.
    pub id: Uuid,
    /// The exact bytes of the webhook's body.
    pub body: &'a [u8],
}

#[derive(Serialize)]
struct Claims<'a> {
    scope: &'static str,
    value: &'a str,
    aud: &'a str,
    iat: i64,
    jti: Uuid,
    body_sha256: String,
}
