//! Tokens of the preference centre: in a link that is sent to one person, and good for that person's own record alone.
//!
//! The holder of an API key has them made, each for an e-mail address that counts as verified. This server signs them, so
//! it keeps nothing of them but the ids of those that were revoked; the others are good until they expire. `/sync` takes
//! them in the place of consent tokens.

pub(crate) mod graphql;

use antumbra_crypto::token::{self, Claims};
use antumbra_store::{StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    AppState,
    http::Problem,
    keyring::{KeyringError, OrganizationKeys},
    organization::OrganizationId,
};

/// Tokens that are good for nothing any more, whatever time they have left.
const REVOKED: Table<(OrganizationId, Uuid), ()> = Table::new("revoked_access_tokens");

/// The name of the table.
pub(super) const TABLE: &str = REVOKED.name();

/// What a token permits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Right {
    /// To see and change one's own record.
    PreferenceManagement,
    /// To make data subject requests. There is nothing here yet that asks for it.
    DsrAutomation,
}

/// What a token says. Whoever holds it can read it.
#[derive(Serialize, Deserialize)]
pub(super) struct Access {
    /// Names the key that signed it.
    iss: OrganizationId,
    /// The core identifier.
    sub: String,
    email: String,
    #[serde(rename = "subjectType")]
    subject_type: String,
    scopes: Vec<Right>,
    /// Seconds since the epoch.
    iat: i64,
    /// Seconds since the epoch.
    exp: i64,
    jti: Uuid,
    aud: String,
}

impl Claims for Access {
    const KIND: &'static str = "preference-access";
}

/// A token that is good now, for whatever it permits.
pub(super) struct Pass {
    pub(super) keys: std::sync::Arc<OrganizationKeys>,
    pub(super) id: Uuid,
    pub(super) email: String,
    pub(super) core_identifier: String,
}

/// What has become of a text that was brought as a token.
pub(super) enum Read {
    /// It is a token of another kind, or none at all.
    Other,
    /// It claims to be one of these, and is not, or not any more, or does not permit what was asked.
    Refused,
    Good(Pass),
}

/// Reads a token that has to permit `right`.
pub(super) async fn read(app: &AppState, text: &str, right: Right) -> Result<Read, Problem> {
    let Ok(said) = token::unverified::<Access>(text) else {
        return Ok(Read::Other);
    };
    let keys = match app.keys.organization(said.iss).await {
        Ok(keys) => keys,
        Err(KeyringError::NoOrganization) => return Ok(Read::Refused),
        Err(failed) => return Err(failed.into()),
    };
    let Ok(access) = keys.tokens.verify::<Access>(text) else {
        return Ok(Read::Refused);
    };
    if !access.permits(right, app.clock.now()) {
        return Ok(Read::Refused);
    }
    let mut reader = app.store.begin_read().await?;
    if reader.get(&REVOKED, &(access.iss, access.jti)).await?.is_some() {
        return Ok(Read::Refused);
    }
    Ok(Read::Good(Pass {
        keys,
        id: access.jti,
        email: access.email,
        core_identifier: access.sub,
    }))
}

/// Revokes a token, and says whether it was not before. Its id says nothing of whether there is one.
async fn revoke(tx: &mut Tx, organization: OrganizationId, id: Uuid) -> Result<bool, StoreError> {
    let is_news = tx.get(&REVOKED, &(organization, id)).await?.is_none();
    if is_news {
        tx.put(&REVOKED, &(organization, id), &());
    }
    Ok(is_news)
}

impl Access {
    fn permits(&self, right: Right, now: Timestamp) -> bool {
        now.as_second() < self.exp && self.scopes.contains(&right)
    }
}
