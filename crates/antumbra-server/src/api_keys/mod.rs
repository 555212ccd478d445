//! API keys: who may come in, and what for.
//!
//! A key is kept as a peppered digest and shown once, when it is made. [`Directory`] turns what a caller presents into
//! [`Grants`](crate::http::Grants); [`create`], [`list`] and [`revoke`] are for the command line, and the same with `_in`
//! for the management API, which works in a transaction of its own. A key that runs out or is revoked is gone for good.

mod directory;
pub(crate) mod graphql;
mod model;
mod scopes;
mod store;

use antumbra_crypto::api_key::ApiKey;
use antumbra_store::{Corrupt, Key, Reader, StoreError, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    AppState,
    audit::{self, Actor, AuditEntry},
    http::Problem,
    organization::OrganizationId,
};

pub use directory::{Attempts, Directory, internal_key_hash};
pub use model::{ApiKeyChange, ApiKeyInput, ApiKeyRecord, Foreign, InvalidApiKey, Listed};
pub use scopes::{ScopeKind, ScopeName, ScopeSet};
pub use store::TABLES;

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

/// An API key, as a thing; never its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKeyId(pub Uuid);

impl Key for ApiKeyId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(ApiKeyId)
    }
}

/// A key as it is made: the only moment at which its secret is known.
pub struct Created {
    /// The key.
    pub id: ApiKeyId,
    /// Its secret, to be shown once.
    pub secret: ApiKey,
    /// What is kept.
    pub record: ApiKeyRecord,
}

/// Makes a key, or takes over one that another system gave out, in a transaction of its own.
pub async fn create(
    app: &AppState,
    organization: OrganizationId,
    actor: Actor,
    input: ApiKeyInput,
) -> Result<Created, Problem> {
    let mut tx = app.store.begin_write().await?;
    let created = create_in(&mut tx, app, organization, actor, input).await?;
    tx.commit().await?;
    Ok(created)
}

/// Makes a key, or takes over one that another system gave out. The secret is good from the commit on.
pub async fn create_in(
    tx: &mut Tx,
    app: &AppState,
    organization: OrganizationId,
    actor: Actor,
    input: ApiKeyInput,
) -> Result<Created, Problem> {
    let secret = input.secret()?;
    let pepper = &app.keys.organization(organization).await?.pepper;
    let id = ApiKeyId(app.ids.uuid());
    let record = input.record(&secret, secret.digest(pepper), app.clock.now());
    if !store::put(tx, organization, id, app.keys.caller_index(&secret), &record).await? {
        return Err(InvalidApiKey::Taken.into());
    }
    record_deed(tx, app, organization, actor, "api_key.created", id);
    Ok(Created { id, secret, record })
}

/// The keys of an organization, oldest first.
pub async fn list(app: &AppState, organization: OrganizationId) -> Result<Vec<Listed>, StoreError> {
    list_in(&mut app.store.begin_read().await?, app, organization).await
}

/// The keys of an organization, oldest first, as `reader` sees them.
pub async fn list_in(
    reader: &mut Reader,
    app: &AppState,
    organization: OrganizationId,
) -> Result<Vec<Listed>, StoreError> {
    let mut listed = store::list(reader, organization).await?;
    // What this process has seen and not written down yet is newer than what is written down.
    for key in &mut listed {
        key.last_used_at = key.last_used_at.max(app.callers.last_used(key.id));
    }
    Ok(listed)
}

/// Changes what a key is called, may do and is attached to. Call `Directory::forget` after the commit; other processes
/// on the same store follow within a second.
pub async fn change_in(
    tx: &mut Tx,
    app: &AppState,
    organization: OrganizationId,
    actor: Actor,
    id: ApiKeyId,
    change: ApiKeyChange,
) -> Result<ApiKeyRecord, Problem> {
    let before = store::get(tx, organization, id).await?.ok_or_else(Problem::not_found)?;
    let record = before.with(change)?;
    store::replace(tx, organization, id, &record).await?;
    record_deed(tx, app, organization, actor, "api_key.changed", id);
    Ok(record)
}

/// Revokes a key, in a transaction of its own. From the return of this call on, this process does not let its holder in;
/// other processes on the same store follow within a second.
pub async fn revoke(
    app: &AppState,
    organization: OrganizationId,
    actor: Actor,
    id: ApiKeyId,
) -> Result<ApiKeyRecord, Problem> {
    let mut tx = app.store.begin_write().await?;
    let record = revoke_in(&mut tx, app, organization, actor, id).await?;
    tx.commit().await?;
    app.callers.forget(id);
    Ok(record)
}

/// Revokes a key. Call `Directory::forget` after the commit; other processes on the same store follow within a second.
pub async fn revoke_in(
    tx: &mut Tx,
    app: &AppState,
    organization: OrganizationId,
    actor: Actor,
    id: ApiKeyId,
) -> Result<ApiKeyRecord, Problem> {
    let record = store::delete(tx, organization, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    record_deed(tx, app, organization, actor, "api_key.revoked", id);
    Ok(record)
}

fn record_deed(
    tx: &mut Tx,
    app: &AppState,
    organization: OrganizationId,
    actor: Actor,
    action: &'static str,
    id: ApiKeyId,
) {
    let at: Timestamp = app.clock.now();
    let entry = AuditEntry {
        actor,
        action,
        object: ("api_key", id.0),
        at,
        details: Vec::new(),
    };
    audit::record(tx, &app.ids, organization, entry);
}

/// Reads something, to learn whether the store answers.
pub(crate) async fn touch_store(app: &AppState) -> Result<(), StoreError> {
    store::touch(&mut app.store.begin_read().await?).await
}
