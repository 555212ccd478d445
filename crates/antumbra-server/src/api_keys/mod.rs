//! API keys: who may come in, and what for.

mod directory;
mod scopes;

use antumbra_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use directory::Directory;
pub use scopes::{ScopeKind, ScopeName, ScopeSet};

/// An API key, as a thing; never its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKeyId(pub Uuid);

/// The tables of this slice.
pub(crate) const TABLES: &[&str] = &[];

/// Reads something, to learn whether the store answers.
pub(crate) async fn touch_store(store: &Store) -> Result<(), StoreError> {
    store.begin_read().await.map(drop)
}
