//! Who may come in: from the headers of an HTTP request to the grants of a live key.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use axum::http::{HeaderMap, header};

use crate::{
    AppState,
    http::{Grants, Problem},
};

/// The live keys of this process.
#[derive(Default)]
pub struct Directory {
    known: RwLock<HashMap<String, Arc<Grants>>>,
}

impl Directory {
    /// The grants of the key that `headers` carry.
    pub async fn authenticate(
        &self,
        _app: &AppState,
        headers: &HeaderMap,
        _peer: Option<IpAddr>,
    ) -> Result<Arc<Grants>, Problem> {
        let missing = || Problem::unauthenticated("The API key in the authorization header is missing or unknown");
        let value = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(missing)?;
        let secret = value.strip_prefix("Bearer ").ok_or_else(missing)?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(secret).cloned().ok_or_else(missing)
    }

    /// Lets the holder of `secret` in.
    pub fn admit(&self, secret: &str, grants: Grants) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(secret.to_owned(), Arc::new(grants));
    }
}
