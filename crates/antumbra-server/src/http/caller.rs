//! Who is asking. The shell authenticates before a body is read; a handler takes the result as `Caller<scope::…>`.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderMap, request::Parts},
};

use super::{
    Access, Code, Problem,
    budget::Allowance,
    connection::Peer,
    scope::{AnyKey, Scope},
};
use crate::{
    AppState,
    api_keys::{ApiKeyId, ScopeName, ScopeSet},
    organization::OrganizationId,
    silos::DataSiloId,
};

/// What a live key lets its holder do.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The organization the key belongs to.
    pub organization: OrganizationId,
    /// The key.
    pub key: ApiKeyId,
    /// Its scopes, with those they imply.
    pub scopes: ScopeSet,
    /// The data silos it is attached to.
    pub silos: Vec<DataSiloId>,
}

/// The holder of a live key that satisfies `S`.
pub struct Caller<S = AnyKey> {
    /// The organization the caller acts for; every row read or written belongs to it.
    pub organization: OrganizationId,
    /// The key it acts with.
    pub key: ApiKeyId,
    grants: Arc<Grants>,
    allowance: Option<Arc<Allowance>>,
    scope: PhantomData<fn() -> S>,
}

impl<S> Caller<S> {
    /// Refuses unless the key holds `scope`.
    pub fn require(&self, scope: ScopeName) -> Result<(), Problem> {
        self.grants.require(scope)
    }

    /// Counts `records` against the route's budget, where there is one that counts records. Refuses when that is more
    /// than remains. Saying it again when the handler runs again costs nothing.
    pub fn spend(&self, records: usize) -> Result<(), Problem> {
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        self.allowance
            .as_ref()
            .map_or(Ok(()), |allowance| allowance.spend(records))
    }

    /// Refuses unless the key is attached to `silo`, or may do everything.
    pub fn attached_to(&self, silo: DataSiloId) -> Result<(), Problem> {
        if self.grants.scopes.holds(ScopeName::FullAdmin) || self.grants.silos.contains(&silo) {
            return Ok(());
        }
        Err(Problem::denied("This API key is not associated to this integration"))
    }
}

impl Grants {
    /// The grants of the key in the head of an HTTP request. The shell asks for them where a route wants a key; a handler
    /// does where it wants one only of some.
    pub(crate) async fn of(
        app: &AppState,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Arc<Grants>, Problem> {
        let peer = extensions.get::<Peer>().map(|peer| peer.0);
        app.callers.authenticate(app, headers, peer).await
    }

    /// Refuses unless these grants include `scope`.
    pub fn require(&self, scope: ScopeName) -> Result<(), Problem> {
        if self.scopes.holds(scope) {
            return Ok(());
        }
        let (title, admin) = (scope.title(), ScopeName::FullAdmin.title());
        Err(Problem::denied(format!(
            "This route needs one of the scopes: {title}, {admin}"
        )))
    }

    pub(crate) fn admit(&self, access: Access) -> Result<(), Problem> {
        match access {
            Access::Open(_) | Access::AnyKey | Access::Attached => Ok(()),
            Access::Scope(scope) => self.require(scope),
        }
    }
}

impl<S: Scope, State: Sync> FromRequestParts<State> for Caller<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let Some(grants) = parts.extensions.get::<Arc<Grants>>() else {
            tracing::error!("a handler asks for a caller, but its line in the route table is open");
            return Err(Problem::new(Code::Internal));
        };
        grants.admit(S::ACCESS)?;
        Ok(Caller {
            organization: grants.organization,
            key: grants.key,
            grants: grants.clone(),
            allowance: parts.extensions.get().cloned(),
            scope: PhantomData,
        })
    }
}
