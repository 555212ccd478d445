//! The keys of one organization, unwrapped.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use antumbra_crypto::{
    Key32, OpenFailed,
    index::IndexKey,
    mac::MacKey,
    sha256,
    token::{SigningKey, TokenKeys},
    wrap::{self, Kek, WrappedKey},
};
use antumbra_store::{Reader, StoreError, Tx};
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{KeyKind, KeyringError, store, wrappers::SharedWrappers};
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
    pub signing: Arc<SigningKey>,
    /// Replaced as a whole when a version turns up that is not among them.
    pub(super) keks: RwLock<Arc<Keks>>,
    pub(super) wrappers: SharedWrappers,
}

/// The organization's key-encryption keys: one wraps, all of them unwrap.
#[derive(Clone)]
pub(super) struct Keks {
    pub(super) active: Arc<Kek>,
    pub(super) older: Vec<Arc<Kek>>,
}

impl Keks {
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Kek>> {
        std::iter::once(&self.active).chain(&self.older)
    }

    pub(super) fn find(&self, wrapped: &WrappedKey) -> Option<&Arc<Kek>> {
        self.all()
            .find(|kek| kek.version() == wrapped.kek_version() && kek.id() == wrapped.kek_id())
    }

    pub(super) fn unwrap(&self, context: &[&[u8]], wrapped: &WrappedKey) -> Result<Key32, OpenFailed> {
        let kek = self.find(wrapped).ok_or(OpenFailed::OtherKek)?;
        wrap::unwrap(kek, context, wrapped)
    }
}

/// Leave to add keys in one transaction, as [`OrganizationKeys::adding`] gives it.
pub struct Adding<'k> {
    keys: &'k OrganizationKeys,
    keks: Arc<Keks>,
}

impl Adding<'_> {
    /// Makes a key for `owner` and stores it.
    pub fn create(&self, tx: &mut Tx, kind: KeyKind, owner: Uuid) -> Key32 {
        let key = Key32::random();
        let wrapped = wrap::wrap(&self.keks.active, &self.keys.context(kind, &owner), &key);
        store::put_key(tx, self.keys.organization, kind, owner, &wrapped);
        key
    }

    /// Stores a key that [`OrganizationKeys::seal_new`] gave. A conflict if the KEK has been rotated since; the next call
    /// wraps under the new one.
    pub fn put(&self, tx: &mut Tx, kind: KeyKind, owner: Uuid, wrapped: &WrappedKey) -> Result<(), StoreError> {
        if wrapped.kek_id() != self.keks.active.id() {
            return Err(StoreError::Conflict);
        }
        store::put_key(tx, self.keys.organization, kind, owner, wrapped);
        Ok(())
    }
}

impl OrganizationKeys {
    /// Leave to add keys in `tx`. Reads the row of the KEK that wraps, so that `tx` takes its place before a rotation, and
    /// its keys are re-wrapped by it, or is a conflict: a key that a rotation does not see would be lost with the old KEK.
    pub async fn adding(&self, tx: &mut Tx) -> Result<Adding<'_>, KeyringError> {
        let mut keks = self.keks();
        if !store::is_active(tx, self.organization, &keks.active).await? {
            keks = self.reload(tx).await?;
        }
        Ok(Adding { keys: self, keks })
    }

    /// Makes a key for `owner` and stores it.
    pub async fn create_key(&self, tx: &mut Tx, kind: KeyKind, owner: Uuid) -> Result<Key32, KeyringError> {
        Ok(self.adding(tx).await?.create(tx, kind, owner))
    }

    /// A fresh key for `owner`, and the form of it that [`Adding::put`] stores.
    pub fn seal_new(&self, kind: KeyKind, owner: Uuid) -> (Key32, WrappedKey) {
        let key = Key32::random();
        let wrapped = wrap::wrap(&self.keks().active, &self.context(kind, &owner), &key);
        (key, wrapped)
    }

    /// The key of `owner`, unless it never had one or it was destroyed.
    pub async fn find_key(
        &self,
        reader: &mut Reader,
        kind: KeyKind,
        owner: Uuid,
    ) -> Result<Option<Key32>, KeyringError> {
        Ok(self.find_keys(reader, kind, &[owner]).await?.pop().flatten())
    }

    /// The keys of many owners, in their order, in one round trip.
    pub async fn find_keys(
        &self,
        reader: &mut Reader,
        kind: KeyKind,
        owners: &[Uuid],
    ) -> Result<Vec<Option<Key32>>, KeyringError> {
        let found = self.try_keys(reader, kind, owners).await?;
        found.into_iter().map(Option::transpose).collect()
    }

    /// As [`find_keys`](Self::find_keys), and none also where a key is there that does not open: for those who can do
    /// without one, and say so.
    pub async fn find_keys_that_open(
        &self,
        reader: &mut Reader,
        kind: KeyKind,
        owners: &[Uuid],
    ) -> Result<Vec<Option<Key32>>, KeyringError> {
        let found = self.try_keys(reader, kind, owners).await?;
        Ok(found.into_iter().map(|key| key.and_then(Result::ok)).collect())
    }

    async fn try_keys(
        &self,
        reader: &mut Reader,
        kind: KeyKind,
        owners: &[Uuid],
    ) -> Result<Vec<Option<Result<Key32, KeyringError>>>, KeyringError> {
        let rows = store::get_keys(reader, self.organization, kind, owners).await?;
        let mut keks = self.keks();
        let mut known = rows.iter().flatten().flatten();
        if known.any(|wrapped| keks.find(wrapped).is_none()) {
            keks = self.reload(reader).await?;
        }
        let open = |(row, owner): (Option<Result<WrappedKey, KeyringError>>, &Uuid)| {
            row.map(|wrapped| self.open(&keks, kind, *owner, &wrapped?))
        };
        Ok(rows.into_iter().zip(owners).map(open).collect())
    }

    /// Opens a stored key of `owner`.
    pub(super) fn open(
        &self,
        keks: &Keks,
        kind: KeyKind,
        owner: Uuid,
        wrapped: &WrappedKey,
    ) -> Result<Key32, KeyringError> {
        let opened = keks.unwrap(&self.context(kind, &owner), wrapped);
        opened.map_err(|source| KeyringError::Sealed {
            what: kind.as_str(),
            source,
        })
    }

    /// The same key, wrapped under the active one of `keks`.
    pub(super) fn rewrap(
        &self,
        keks: &Keks,
        kind: KeyKind,
        owner: Uuid,
        wrapped: &WrappedKey,
    ) -> Result<WrappedKey, KeyringError> {
        let key = self.open(keks, kind, owner, wrapped)?;
        Ok(wrap::wrap(&keks.active, &self.context(kind, &owner), &key))
    }

    /// The KEKs that this process knows of.
    pub(super) fn keks(&self) -> Arc<Keks> {
        self.keks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the KEKs anew, as `reader` sees them. What was active until now stays at hand for readers of an older snapshot.
    pub(super) async fn reload(&self, reader: &mut Reader) -> Result<Arc<Keks>, KeyringError> {
        let known = self.keks();
        let wrappers = self.wrappers.get();
        let mut keks = store::get_keks(reader, &wrappers, self.organization, Some(&known)).await?;
        if !keks.all().any(|kek| kek.id() == known.active.id()) {
            keks.older.push(known.active.clone());
        }
        let keks = Arc::new(keks);
        *self.keks.write().unwrap_or_else(PoisonError::into_inner) = keks.clone();
        Ok(keks)
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
