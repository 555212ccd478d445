//! What changes seldom and is asked for by nearly every HTTP request, kept in memory.
//!
//! A copy is good for a reader that sees the version it was made of. Whoever changes the rows changes their version in
//! the same transaction, so comparing versions takes one read, and none at all for a reader with the stamp of one that
//! has compared already. A version of a transaction that is never committed is never met again, so what it left here is
//! never used.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use antumbra_store::{Reader, Stamp};

use crate::organization::OrganizationId;

/// The last copy of each organization's `T`, as of some version.
pub(crate) struct Copies<V, T>(RwLock<HashMap<OrganizationId, Copy<V, T>>>);

struct Copy<V, T> {
    version: V,
    value: Arc<T>,
    /// Of the last reader that saw this version.
    stamp: Mutex<Option<Stamp>>,
}

impl<V, T> Default for Copies<V, T> {
    fn default() -> Self {
        Copies(RwLock::default())
    }
}

impl<V: PartialEq, T> Copies<V, T> {
    /// The copy, if it is known without a read that `reader` sees its version.
    pub(crate) fn seen_by(&self, reader: &Reader, organization: OrganizationId) -> Option<Arc<T>> {
        let stamp = reader.stamp()?;
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let copy = all.get(&organization)?;
        let seen = *copy.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        (seen == Some(stamp)).then(|| copy.value.clone())
    }

    /// The copy, if it is of the version that `reader` sees.
    pub(crate) fn of_version(&self, reader: &Reader, organization: OrganizationId, version: &V) -> Option<Arc<T>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let copy = all.get(&organization).filter(|copy| copy.version == *version)?;
        if let Some(stamp) = reader.stamp() {
            *copy.stamp.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamp);
        }
        Some(copy.value.clone())
    }

    /// Keeps what `reader` has read as that version.
    pub(crate) fn keep(&self, reader: &Reader, organization: OrganizationId, version: V, value: T) -> Arc<T> {
        let value = Arc::new(value);
        let copy = Copy {
            version,
            value: value.clone(),
            stamp: Mutex::new(reader.stamp()),
        };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(organization, copy);
        value
    }
}
