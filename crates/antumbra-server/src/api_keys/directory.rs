//! Who may come in: from the headers of an HTTP request to the grants of a live key.
//!
//! What was found is remembered for a second, under a hash of what was presented, so a busy caller costs one read of the
//! store a second. A revocation in this process is known at once; one in another process, within that second.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use antumbra_crypto::{api_key::ApiKey, same_bytes, sha256};
use axum::http::{HeaderMap, HeaderName, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{ApiKeyId, ScopeSet, store};
use crate::{
    AppState,
    http::{Code, Grants, Problem},
    organization::OrganizationId,
};

/// How long a process may act on what it read of a key.
const REMEMBERED: Duration = Duration::from_secs(1);
/// Remembered keys; beyond, all are forgotten and read again.
const REMEMBERED_MAX: usize = 10_000;

const MISSING: &str = "The API key in the authorization header is missing or unknown";
const INTERNAL_KEY: &str = "The internal key in the x-sombra-authorization header is missing or unknown";

/// The live keys, as this process knows them.
#[derive(Default)]
pub struct Directory {
    known: RwLock<Known>,
    uses: Mutex<HashMap<ApiKeyId, Use>>,
    failed: Attempts,
}

#[derive(Default)]
struct Known {
    /// Grows with each revocation: what was read before one is not remembered after it.
    revocations: u64,
    callers: HashMap<[u8; 32], Remembered>,
}

#[derive(Clone)]
struct Remembered {
    grants: Arc<Grants>,
    expires_at: Option<Timestamp>,
    read_at: Instant,
}

struct Use {
    organization: OrganizationId,
    at: Timestamp,
    noted: bool,
}

impl Directory {
    /// The grants of the key that `headers` carry.
    ///
    /// # Errors
    /// 401 when the key or the internal key is missing or wrong; 429 when the address at the other end has tried too many
    /// wrong ones. A good key is let in whatever others behind the same address have tried.
    pub async fn authenticate(
        &self,
        app: &AppState,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Arc<Grants>, Problem> {
        let refused = match self.check(app, headers).await {
            Ok(Ok(grants)) => {
                self.note_use(&grants, app.clock.now());
                return Ok(grants);
            }
            Ok(Err(reason)) => Problem::unauthenticated(reason),
            Err(failed) => return Err(failed),
        };
        metrics::counter!("antumbra_api_key_failures_total").increment(1);
        let per_minute = app.config.limits.failed_keys_per_minute.get();
        match peer.map_or(Ok(()), |peer| self.failed.count(peer, app.clock.now(), per_minute)) {
            Ok(()) => Err(refused),
            Err(wait) => Err(Problem::new(Code::RateLimited).retry_after(wait)),
        }
    }

    /// The grants, or which header is at fault. The outer error is a failure of ours.
    async fn check(&self, app: &AppState, headers: &HeaderMap) -> Result<Result<Arc<Grants>, &'static str>, Problem> {
        let Some(presented) = bearer(headers, &header::AUTHORIZATION) else {
            return Ok(Err(MISSING));
        };
        let Ok(secret) = ApiKey::parse(presented) else {
            return Ok(Err(MISSING));
        };
        let Some(grants) = self.find(app, &secret).await? else {
            return Ok(Err(MISSING));
        };
        if !has_internal_key(headers, app.config.internal_key_hash.as_ref()) {
            return Ok(Err(INTERNAL_KEY));
        }
        Ok(Ok(grants))
    }

    async fn find(&self, app: &AppState, secret: &ApiKey) -> Result<Option<Arc<Grants>>, Problem> {
        let hash = sha256(secret.expose().as_bytes());
        let alive = |key: &Remembered| key.expires_at.is_none_or(|at| at > app.clock.now());
        let revocations = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(key) = known
                .callers
                .get(&hash)
                .filter(|key| key.read_at.elapsed() < REMEMBERED)
            {
                return Ok(Some(key).filter(|key| alive(key)).map(|key| key.grants.clone()));
            }
            known.revocations
        };
        let Some(key) = read(app, secret).await? else {
            return Ok(None);
        };
        let found = Some(&key).filter(|key| alive(key)).map(|key| key.grants.clone());
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.callers.len() >= REMEMBERED_MAX {
            known.callers.clear();
        }
        if known.revocations == revocations {
            known.callers.insert(hash, key);
        }
        Ok(found)
    }

    /// Reads the key again before its holder is let in once more: it was revoked or changed.
    pub(crate) fn forget(&self, id: ApiKeyId) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.revocations += 1;
        known.callers.retain(|_, key| key.grants.key != id);
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    fn note_use(&self, grants: &Grants, now: Timestamp) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        uses.insert(
            grants.key,
            Use {
                organization: grants.organization,
                at: now,
                noted: false,
            },
        );
    }

    pub(super) fn last_used(&self, id: ApiKeyId) -> Option<Timestamp> {
        self.uses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .map(|last| last.at)
    }

    /// Writes down when keys were last used. Called every minute or so, so that using a key writes nothing.
    pub(crate) async fn note_uses(&self, app: &AppState) -> Result<(), antumbra_store::StoreError> {
        let fresh: Vec<_> = {
            let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
            uses.retain(|_, last| !last.noted);
            uses.iter_mut()
                .map(|(id, last)| {
                    last.noted = true;
                    (last.organization, *id, last.at)
                })
                .collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        let mut tx = app.store.begin_write().await?;
        store::note_uses(&mut tx, &fresh).await?;
        tx.commit().await
    }
}

/// Reads the key from the store and compares the secret with what is kept of it.
async fn read(app: &AppState, secret: &ApiKey) -> Result<Option<Remembered>, Problem> {
    let read_at = Instant::now();
    let place = app.keys.caller_index(secret);
    let found = store::find(&mut app.store.begin_read().await?, place).await?;
    let Some((organization, key, record)) = found else {
        return Ok(None);
    };
    let pepper = &app.keys.organization(organization).await?.pepper;
    if !same_bytes(&secret.digest(pepper), &record.digest) {
        return Ok(None);
    }
    let scopes = ScopeSet::implied_by(record.scopes);
    let grants = Arc::new(Grants {
        organization,
        key,
        scopes,
        silos: record.silos,
    });
    Ok(Some(Remembered {
        grants,
        expires_at: record.expires_at,
        read_at,
    }))
}

/// What follows `Bearer` in a header; nothing if the header is absent, empty, or there twice.
fn bearer<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, secret) = value.to_str().ok()?.trim().split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer"))
        .then(|| secret.trim())
        .filter(|secret| !secret.is_empty())
}

/// What is kept of the internal key: the hash of its bytes, decoded first where its text is base64.
pub fn internal_key_hash(text: &str) -> [u8; 32] {
    match BASE64_STANDARD.decode(text) {
        Ok(bytes) => sha256(&bytes),
        Err(_) => sha256(text.as_bytes()),
    }
}

/// Whether the internal key is there, where one is asked for.
fn has_internal_key(headers: &HeaderMap, expected: Option<&[u8; 32]>) -> bool {
    const NAMES: [HeaderName; 2] = [
        HeaderName::from_static("x-sombra-authorization"),
        HeaderName::from_static("x-sombra-authentication"),
    ];
    let Some(expected) = expected else { return true };
    let presented = NAMES.iter().find_map(|name| bearer(headers, name));
    presented.is_some_and(|presented| same_bytes(&internal_key_hash(presented), expected))
}

/// What addresses have tried, such as wrong keys. Each address may try so many times in a minute; they are forgiven one by
/// one, as time passes.
#[derive(Default)]
pub struct Attempts(Mutex<HashMap<IpAddr, Timestamp>>);

/// Addresses remembered; beyond, those forgiven are dropped, and if none is, all.
const ADDRESSES_MAX: usize = 50_000;

impl Attempts {
    /// Counts one. `Err` says in how many seconds the next will be taken.
    pub(crate) fn count(&self, address: IpAddr, now: Timestamp, per_minute: u32) -> Result<(), u32> {
        let each_ms = 60_000 / i64::from(per_minute.max(1));
        let now = now.as_millisecond();
        let mut paid_until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paid_until.len() >= ADDRESSES_MAX {
            paid_until.retain(|_, until| until.as_millisecond() > now);
            if paid_until.len() >= ADDRESSES_MAX {
                paid_until.clear();
            }
        }
        let until = paid_until
            .get(&address)
            .map_or(now, |until| until.as_millisecond().max(now))
            + each_ms;
        if until > now + 60_000 {
            let wait_ms = u32::try_from(until - now - 60_000).unwrap_or(u32::MAX);
            return Err(wait_ms.div_ceil(1000).max(1));
        }
        paid_until.insert(address, Timestamp::from_millisecond(until).unwrap_or(Timestamp::MAX));
        Ok(())
    }
}
