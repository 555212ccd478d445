//! The organization's keys, unwrapped and kept at hand, and the content keys of requests, subjects and silos.
//!
//! A root key file wraps one key-encryption key (KEK) for each organization. The KEK wraps the organization's purpose
//! keys (tokens, index, pepper, manifest, signing), which live as long as the organization, and one key for each
//! request, data subject and data silo, which are destroyed with what they protect: without its key, every copy of the
//! bytes is noise. Every epoch each organization gets a new KEK (`epochs.rs`), so that a copy of the key tables from
//! before is noise as well. `docs/keys.md` tells it to the person who runs the server, `docs/file-format.md` gives the
//! bytes.
//!
//! Wrapped keys stand in tables of their own, so that they can be backed up apart from the data and kept shorter.

mod epochs;
mod key_files;
mod keys;
mod root;
mod rotation;
mod store;
mod wrappers;

pub use epochs::{REWRAP, erasure_horizon, keep_epochs, rewrap, rotate};
pub use keys::{Adding, OrganizationKeys, WebhookClaims};
pub use root::{RootError, RootFile};
pub use store::{KeyKind, TABLES, destroy_key};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use antumbra_crypto::{Key32, OpenFailed, index::IndexKey, token::SigningKey};
use antumbra_store::{Store, StoreError, Tx};

use crate::{http::Problem, organization::OrganizationId};
use wrappers::{NO_EPOCH, SharedWrappers, Wrappers};

/// Every key in use. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    store: Store,
    root_file: RootFile,
    wrappers: SharedWrappers,
    callers: IndexKey,
    /// Signs every organization's webhooks in place of their own keys, where the operator has brought one.
    webhook_key: OnceLock<Arc<SigningKey>>,
    /// Unwrapped on first use. A read lock is held for a look-up, a write lock for an insertion; neither waits.
    organizations: RwLock<HashMap<OrganizationId, Arc<OrganizationKeys>>>,
}

/// Why a key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The root key does not serve.
    #[error("the root key cannot be used")]
    Root(#[from] RootError),
    /// Storage failed.
    #[error("the key tables could not be read or written")]
    Store(#[from] StoreError),
    /// A stored key does not open with the keys at hand.
    #[error("the stored {what} does not open")]
    Sealed {
        /// Which kind of key.
        what: &'static str,
        /// Why not.
        source: OpenFailed,
    },
    /// There is no such organization.
    #[error("the organization has no keys")]
    NoOrganization,
}

/// Attempts to open, should other processes be opening the same store.
const OPENINGS_MAX: usize = 8;

impl Keyring {
    /// Reads the root key, or makes it at the very first start, and checks that it is the one the store was made with.
    /// What is still wrapped under an older root of the file is wrapped under its newest.
    pub async fn open(store: &Store, root: &RootFile) -> Result<Keyring, KeyringError> {
        for _ in 1..OPENINGS_MAX {
            match Keyring::try_open(store, root).await {
                Err(KeyringError::Store(StoreError::Conflict)) => {}
                opened => return opened,
            }
        }
        Keyring::try_open(store, root).await
    }

    async fn try_open(store: &Store, root: &RootFile) -> Result<Keyring, KeyringError> {
        let mut tx = store.begin_write().await?;
        let canary = store::find_canary(&mut tx).await?;
        let roots = root.read(canary.is_some())?;
        if canary.is_none() {
            store::put_canary(&mut tx, &root::canary(&roots[0]));
            store::put_callers_key(&mut tx, &roots[0], &Key32::random());
        }
        let canary = canary.unwrap_or_else(|| root::canary(&roots[0]));
        let epoch = store::find_epoch(&mut tx).await?;
        let wrappers = Wrappers::read(root, roots, &canary, epoch.as_ref())?;
        let callers = rotation::move_to_newest_root(&mut tx, &wrappers, root, &canary, epoch).await?;
        tx.commit().await?;
        Ok(Keyring(Arc::new(Inner {
            store: store.clone(),
            root_file: root.clone(),
            wrappers: SharedWrappers::new(wrappers),
            callers: IndexKey::new(&callers),
            webhook_key: OnceLock::new(),
            organizations: RwLock::default(),
        })))
    }

    /// Webhooks of every organization are signed with `key` from now on, and not with keys of their own: for receivers that
    /// know a key from before. It is not stored. To be called once, before anything is signed.
    pub fn sign_webhooks_with(&self, key: SigningKey) {
        self.0.webhook_key.get_or_init(|| Arc::new(key));
    }

    /// Replaces the root key of a store that nobody else has open: a new key, and every KEK wrapped under it. Cut short at
    /// any point it leaves a file that opens the store, and may be called again.
    pub async fn rotate_root(store: &Store, root: &RootFile) -> Result<(), KeyringError> {
        // The file as it is must be the right one before anything is added to it.
        Keyring::open(store, root).await?;
        root.add()?;
        Keyring::open(store, root).await?;
        Ok(root.keep_newest()?)
    }

    /// Makes the keys of a new organization, inside the transaction that makes the organization.
    pub async fn create_organization(&self, tx: &mut Tx, organization: OrganizationId) -> Result<(), StoreError> {
        let (wrappers, epoch) = self.wrapping(tx).await?;
        store::put_organization(tx, &wrappers, epoch, organization);
        Ok(())
    }

    /// Gives an organization a new KEK. Its keys have to be re-wrapped then: [`epochs::rotate`] sees to both.
    async fn rotate(&self, tx: &mut Tx, organization: OrganizationId) -> Result<(), KeyringError> {
        let (wrappers, epoch) = self.wrapping(tx).await?;
        rotation::rotate(tx, &wrappers, organization, epoch).await
    }

    /// What wraps KEKs in `tx`, and the epoch it is in. Reads the row of the epoch, so that `tx` does not commit after the
    /// next one has begun.
    async fn wrapping(&self, tx: &mut Tx) -> Result<(Arc<Wrappers>, u32), StoreError> {
        let epoch = store::find_epoch(tx).await?;
        let wrappers = self.0.wrappers.get();
        let with_key = epoch.as_ref().filter(|epoch| epoch.key_id.is_some());
        if wrappers.active().epoch != with_key.map_or(NO_EPOCH, |epoch| epoch.number) {
            return Err(StoreError::Conflict);
        }
        Ok((wrappers, epoch.map_or(NO_EPOCH, |epoch| epoch.number)))
    }

    /// The keys of an organization. Reads the store only on first use.
    pub async fn organization(&self, organization: OrganizationId) -> Result<Arc<OrganizationKeys>, KeyringError> {
        let known = |organizations: &HashMap<_, Arc<_>>| organizations.get(&organization).cloned();
        if let Some(keys) = known(&self.0.organizations.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(keys);
        }
        let mut reader = self.0.store.begin_read().await?;
        let mut keys = store::get_organization(&mut reader, &self.0.wrappers, organization).await?;
        if let Some(brought) = self.0.webhook_key.get() {
            keys.signing = brought.clone();
        }
        let keys = Arc::new(keys);
        let mut organizations = self.0.organizations.write().unwrap_or_else(PoisonError::into_inner);
        Ok(organizations.entry(organization).or_insert(keys).clone())
    }

    /// Has every organization's keys read anew on their next use.
    fn forget_organizations(&self) {
        let organizations = &self.0.organizations;
        organizations.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Where an API key stands in the table of callers: found before its organization is known.
    pub fn caller_index(&self, key: &antumbra_crypto::api_key::ApiKey) -> [u8; 16] {
        self.0.callers.blind(&[b"api-key", key.expose().as_bytes()])
    }

    /// Where the token of a person's link stands in the table of `kind`: found before its organization is known.
    pub fn link_index(&self, kind: &'static str, token: &str) -> [u8; 16] {
        self.0.callers.blind(&[b"link", kind.as_bytes(), token.as_bytes()])
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Problem {
        match error {
            KeyringError::Store(error) => error.into(),
            KeyringError::NoOrganization => Problem::not_found(),
            KeyringError::Root(_) | KeyringError::Sealed { .. } => Problem::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests;
