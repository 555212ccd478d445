//! The organization's keys, unwrapped and kept at hand, and the content keys of requests, subjects and silos.
//!
//! A root key file wraps one key-encryption key (KEK) for each organization. The KEK wraps the organization's purpose
//! keys (tokens, index, pepper, manifest, signing), which live as long as the organization, and one key for each
//! request, data subject and data silo, which are destroyed with what they protect: without its key, every copy of the
//! bytes is noise. `docs/file-format.md` gives the bytes.
//!
//! Wrapped keys stand in tables of their own, so that they can be backed up apart from the data and kept shorter.

mod keys;
mod root;
mod store;

pub use keys::{OrganizationKeys, WebhookClaims};
pub use root::{RootError, RootFile};
pub use store::{KeyKind, TABLES, destroy_key};

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use antumbra_crypto::{Key32, OpenFailed, index::IndexKey, wrap::Kek};
use antumbra_store::{Store, StoreError, Tx};

use crate::{http::Problem, organization::OrganizationId};

/// Every key in use. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    store: Store,
    root: Kek,
    callers: IndexKey,
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

impl Keyring {
    /// Reads the root key, or makes it at the very first start, and checks that it is the one the store was made with.
    pub async fn open(store: &Store, root: &RootFile) -> Result<Keyring, KeyringError> {
        let mut tx = store.begin_write().await?;
        let canary = store::find_canary(&mut tx).await?;
        let root = root.read(canary.is_some())?;
        let callers = match &canary {
            Some(canary) => {
                root::check(&root, canary)?;
                store::get_callers_key(&mut tx, &root).await?
            }
            None => {
                store::put_canary(&mut tx, &root::canary(&root));
                let callers = Key32::random();
                store::put_callers_key(&mut tx, &root, &callers);
                tx.commit().await?;
                callers
            }
        };
        Ok(Keyring(Arc::new(Inner {
            store: store.clone(),
            root: root.into_kek(),
            callers: IndexKey::new(&callers),
            organizations: RwLock::default(),
        })))
    }

    /// Makes the keys of a new organization, inside the transaction that makes the organization.
    pub fn create_organization(&self, tx: &mut Tx, organization: OrganizationId) {
        store::put_organization(tx, &self.0.root, organization);
    }

    /// The keys of an organization. Reads the store only on first use.
    pub async fn organization(&self, organization: OrganizationId) -> Result<Arc<OrganizationKeys>, KeyringError> {
        let known = |organizations: &HashMap<_, Arc<_>>| organizations.get(&organization).cloned();
        if let Some(keys) = known(&self.0.organizations.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(keys);
        }
        let mut reader = self.0.store.begin_read().await?;
        let keys = Arc::new(store::get_organization(&mut reader, &self.0.root, organization).await?);
        let mut organizations = self.0.organizations.write().unwrap_or_else(PoisonError::into_inner);
        Ok(organizations.entry(organization).or_insert(keys).clone())
    }

    /// Where an API key stands in the table of callers: found before its organization is known.
    pub fn caller_index(&self, key: &antumbra_crypto::api_key::ApiKey) -> [u8; 16] {
        self.0.callers.blind(&[b"api-key", key.expose().as_bytes()])
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
