//! Who holds a token: the person whose record they may see and change, and nobody else's.
//!
//! A handler names [`Holder`] or [`Told`] in its signature, as others name a `Caller`: whoever is none does not come in.
//! Every fault of a token is answered alike, so that nobody learns how far a forged one came.

use std::sync::Arc;

use antumbra_crypto::{Key32, padded::PaddedKek, token::SharedSecret};
use antumbra_store::Reader;
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    super::{
        access_tokens::{self, Pass, Right},
        identifiers::{self, EMAIL_NAME, LEGACY_NAME, TRANSCEND},
        model::Identifier,
        store::{self, Held, Site},
        wire::{NamedValue, UpsertPurpose, UpsertRecord},
    },
    secrets,
    wire::{Consent, SyncCall},
};
use crate::{
    AppState,
    audit::Actor,
    http::{Code, Grants, Peer, Problem, Query, UntypedJson},
    keyring::{KeyringError, OrganizationKeys},
    organization::Settings,
    purposes::PartitionId,
};

/// How far the clock of whoever made a token may be ahead of ours, in seconds.
const LEEWAY_SECONDS: f64 = 60.0;

/// Identifiers under earlier keys that one token may bring.
const EARLIER_MAX: usize = 10;

/// The holder of a token.
pub(crate) struct Holder {
    pub(super) keys: Arc<OrganizationKeys>,
    /// The key of the partition that the call is about.
    pub(super) partition: String,
    /// On whose word, for the audit log.
    pub(super) by: Actor,
    person: Person,
}

/// The person whom a token is about.
enum Person {
    /// As a consent token has it: an id, and what the same token says that the person was known by before.
    Id {
        id: Zeroizing<String>,
        earlier: Vec<Zeroizing<String>>,
    },
    /// As a token of the preference centre has it.
    Verified { email: String, core_identifier: String },
}

/// A person's record, and what led to it.
pub(super) struct Found {
    pub(super) held: Option<Held>,
    by: By,
}

/// What leads to a person's record.
enum By {
    /// What the person is known by.
    Present,
    /// The same, in a form that the organization takes from nobody any more.
    Past,
    /// What the person was known by before.
    Earlier(Identifier),
}

/// What somebody told `POST /sync`.
pub(crate) enum Told {
    /// The holder of a token, about themselves.
    Holder(Holder, Box<Consent>),
    /// The holder of an API key, about somebody.
    Caller(Arc<Grants>, Box<UpsertRecord>),
    /// Somebody who shows nothing, about somebody.
    Anyone(Box<UpsertRecord>),
}

impl Holder {
    /// The holder of `token`, if it is good for `partition`.
    async fn of(app: &AppState, token: &str, partition: String) -> Result<Holder, Problem> {
        match access_tokens::read(app, token, Right::PreferenceManagement).await? {
            access_tokens::Read::Refused => Err(refused()),
            access_tokens::Read::Good(pass) => Ok(Holder::with(pass, partition)),
            access_tokens::Read::Other => Holder::of_consent_token(app, token, partition).await,
        }
    }

    fn with(pass: Pass, partition: String) -> Holder {
        Holder {
            keys: pass.keys,
            partition,
            by: Actor::AccessToken(pass.id),
            person: Person::Verified {
                email: pass.email,
                core_identifier: pass.core_identifier,
            },
        }
    }

    async fn of_consent_token(app: &AppState, token: &str, partition: String) -> Result<Holder, Problem> {
        let mut reader = app.store.begin_read().await?;
        for (organization, id) in secrets::find_sites(&mut reader, &partition).await? {
            let keys = app.keys.organization(organization).await?;
            let known = secrets::list_token_secrets(&mut reader, &keys, id).await?;
            let ready: Vec<SharedSecret> = known.iter().map(|secret| SharedSecret::new(&secret.bytes)).collect();
            // What another organization signed says nothing against the next one.
            let Ok((signer, claims)) = SharedSecret::verify::<ConsentToken>(&ready, token) else {
                continue;
            };
            let keks = identifier_keks(&mut reader, &keys).await?;
            let person = claims.person(&keks, app.clock.now()).ok_or_else(refused)?;
            return Ok(Holder {
                keys,
                partition,
                by: Actor::ConsentToken(known[signer].id),
                person,
            });
        }
        Err(refused())
    }

    /// The person's record in the partition, if there is one.
    pub(super) async fn find(
        &self,
        reader: &mut Reader,
        site: &Site<'_>,
        partition: PartitionId,
    ) -> Result<Found, Problem> {
        let present = self.person.identifiers(site.settings);
        let past = self.person.past_identifiers(site.settings);
        let earlier = self.person.earlier_identifiers(site.settings);
        let is_taken = !present.is_empty();
        let (first_past, first_earlier) = (present.len(), present.len() + past.len());
        let mut all = [present, past, earlier].concat();
        let blinds: Vec<_> = all
            .iter()
            .map(|identifier| site.blind(partition, &identifier.name, &identifier.value))
            .collect();
        let owners = store::find_owners(reader, site, partition, &blinds).await?;
        let first = owners
            .into_iter()
            .enumerate()
            .find_map(|(place, owner)| Some((place, owner?)));
        let Some((place, owner)) = first.filter(|(place, _)| is_taken || *place < first_earlier) else {
            let found = Found {
                held: None,
                by: By::Present,
            };
            return is_taken.then_some(found).ok_or_else(refused);
        };
        let held = store::find_records(reader, site, partition, &[owner]).await?.pop();
        let by = match place {
            place if place < first_past => By::Present,
            place if place < first_earlier => By::Past,
            place => By::Earlier(all.swap_remove(place)),
        };
        Ok(Found {
            held: held.flatten(),
            by,
        })
    }

    /// Who a record of this person is about: `userId`, and identifiers. One that was found by an earlier identifier gets the
    /// present one by that; one that was found by a form that is taken no more is named by its own id.
    pub(super) fn who(&self, found: &Found, settings: &Settings) -> (Option<String>, Vec<NamedValue>) {
        let further = match (&found.by, &found.held) {
            (By::Present, _) => None,
            (By::Earlier(identifier), _) => Some((identifier.name.clone(), identifier.value.clone())),
            (By::Past, Some(held)) => return (None, vec![of_record(held)]),
            (By::Past, None) => None,
        };
        let listed = match &self.person {
            Person::Id { .. } => Vec::new(),
            Person::Verified { .. } => self.person.identifiers(settings),
        };
        let listed = listed.into_iter().map(|identifier| (identifier.name, identifier.value));
        let listed = listed.chain(further).map(|(name, value)| NamedValue { name, value });
        let user_id = match &self.person {
            Person::Id { id, .. } => Some(id.to_string()),
            Person::Verified { .. } => None,
        };
        (user_id, listed.collect())
    }
}

impl Person {
    /// What finds the person, the strongest first. None if an id is none that this organization's identifiers let through.
    fn identifiers(&self, settings: &Settings) -> Vec<Identifier> {
        match self {
            Person::Id { id, .. } => identifier_of(settings, id).into_iter().collect(),
            Person::Verified { email, core_identifier } => {
                let named = |name: &str, value: &str| {
                    let value = identifiers::normalise(settings.find_identifier(name)?, value)?;
                    Some(Identifier {
                        name: name.to_owned(),
                        value,
                    })
                };
                let core = (core_identifier != email).then(|| named(LEGACY_NAME, core_identifier));
                [named(EMAIL_NAME, email), core.flatten()]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        }
    }

    /// What the person may have been kept under, and is taken from nobody any more.
    fn past_identifiers(&self, settings: &Settings) -> Vec<Identifier> {
        let past = match self {
            Person::Id { id, .. } => identifiers::of_past_user_id(settings, id),
            Person::Verified { email, core_identifier } => {
                let past = |name: &'static str, value: &str| {
                    let known = settings.find_identifier(name)?;
                    let is_past = identifiers::normalise(known, value).is_none();
                    Some((name, identifiers::kept(known, value).filter(|_| is_past)?))
                };
                let core = (core_identifier != email).then(|| past(LEGACY_NAME, core_identifier));
                [past(EMAIL_NAME, email), core.flatten()]
                    .into_iter()
                    .flatten()
                    .collect()
            }
        };
        let identifier = |(name, value): (&str, String)| Identifier {
            name: name.to_owned(),
            value,
        };
        past.into_iter().map(identifier).collect()
    }

    fn earlier_identifiers(&self, settings: &Settings) -> Vec<Identifier> {
        match self {
            Person::Id { earlier, .. } => earlier.iter().filter_map(|id| identifier_of(settings, id)).collect(),
            Person::Verified { .. } => Vec::new(),
        }
    }
}

/// A record by its own id.
fn of_record(held: &Held) -> NamedValue {
    NamedValue {
        name: TRANSCEND.to_owned(),
        value: held.id.0.to_string(),
    }
}

fn identifier_of(settings: &Settings, id: &str) -> Option<Identifier> {
    let (name, value) = identifiers::of_user_id(settings, id)?;
    Some(Identifier {
        name: name.to_owned(),
        value,
    })
}

/// What a consent token says. Other claims mean nothing here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConsentToken {
    encrypted_identifier: String,
    #[serde(default)]
    deprecated_encrypted_identifiers: Option<Vec<String>>,
    /// Seconds since the epoch; tokens without it are good for ever.
    #[serde(default)]
    exp: Option<f64>,
}

impl ConsentToken {
    /// Whom it is about, unless it has expired or its identifier does not open. Earlier identifiers that do not open are
    /// passed over.
    fn person(&self, keks: &[PaddedKek], now: Timestamp) -> Option<Person> {
        if self
            .exp
            .is_some_and(|exp| now.as_second() as f64 >= exp + LEEWAY_SECONDS)
        {
            return None;
        }
        let open = |wrapped: &String| {
            let wrapped = BASE64_STANDARD.decode(wrapped).ok()?;
            let text = keks.iter().find_map(|kek| kek.unwrap(&wrapped).ok())?;
            std::str::from_utf8(&text)
                .map(|text| Zeroizing::new(text.to_owned()))
                .ok()
        };
        let id = open(&self.encrypted_identifier)?;
        let deprecated = self.deprecated_encrypted_identifiers.iter().flatten().take(EARLIER_MAX);
        let earlier = deprecated.filter_map(open).filter(|earlier| *earlier != id).collect();
        Some(Person::Id { id, earlier })
    }
}

async fn identifier_keks(reader: &mut Reader, keys: &OrganizationKeys) -> Result<Vec<PaddedKek>, KeyringError> {
    let known = secrets::list_identifier_keys(reader, keys).await?;
    let ready = known.iter().filter_map(|secret| Key32::from_slice(&secret.bytes));
    Ok(ready.map(PaddedKek::new).collect())
}

/// The one answer to whatever is wrong with a token.
pub(super) fn refused() -> Problem {
    Problem::malformed("The consent token could not be verified")
}

/// The token in the header, with or without the name of the scheme before it.
fn token_in(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    match text.split_at_checked("Bearer ".len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer ") => token.trim(),
        _ => text,
    }
}

impl FromRequestParts<AppState> for Holder {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Holder, Problem> {
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let partition = query.text("partition");
        let partition = partition.ok_or_else(|| Problem::validation([("partition", "is required")]))?;
        Holder::of(app, token_in(&parts.headers), partition.to_owned()).await
    }
}

impl FromRequest<AppState> for Told {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &AppState) -> Result<Told, Problem> {
        let (headers, extensions) = (request.headers().clone(), request.extensions().clone());
        let UntypedJson(call) = UntypedJson::<SyncCall>::from_request(request, app).await?;
        if call.token.is_none() && headers.contains_key(header::AUTHORIZATION) {
            let grants = Grants::of(app, &headers, &extensions).await?;
            return Ok(Told::Caller(grants, Box::new(call.older_record(app.clock.now())?)));
        }
        let per_minute = app.config.preferences.unauthenticated_per_minute;
        if call.token.is_none() && call.identifier.is_some() && per_minute > 0 {
            let peer = extensions.get::<Peer>();
            let counted = peer.map_or(Ok(()), |peer| app.strangers.count(peer.0, app.clock.now(), per_minute));
            counted.map_err(|wait| Problem::new(Code::RateLimited).retry_after(wait))?;
            return Ok(Told::Anyone(Box::new(call.older_record(app.clock.now())?)));
        }
        let holder = Holder::of(app, call.token.as_deref().unwrap_or_default(), call.partition).await?;
        let consent = call
            .consent
            .ok_or_else(|| Problem::validation([("consent", "is required")]))?;
        Ok(Told::Holder(holder, Box::new(consent)))
    }
}

impl SyncCall {
    /// What somebody says about a person, as a record for the preference store.
    fn older_record(self, now: Timestamp) -> Result<UpsertRecord, Problem> {
        let user_id = self
            .identifier
            .ok_or_else(|| Problem::validation([("identifier", "is required")]))?;
        let purposes = self.purposes.unwrap_or_default().into_iter().map(|said| UpsertPurpose {
            purpose: said.purpose,
            enabled: Some(said.enabled),
            ..UpsertPurpose::default()
        });
        Ok(UpsertRecord {
            partition: self.partition,
            timestamp: now.to_string(),
            user_id: Some(user_id),
            purposes: Some(purposes.collect()),
            confirmed: self.confirmed,
            ..UpsertRecord::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keks() -> Vec<PaddedKek> {
        let key = |first: u8| Key32::from_slice(&(first..first + 32).collect::<Vec<u8>>()).unwrap();
        vec![PaddedKek::new(key(0)), PaddedKek::new(key(100))]
    }

    fn id_in(claims: serde_json::Value, now: i64) -> Option<(String, Vec<String>)> {
        let token: ConsentToken = serde_json::from_value(claims).ok()?;
        let person = token.person(&keks(), Timestamp::from_second(now).unwrap())?;
        let Person::Id { id, earlier } = person else {
            return None;
        };
        Some((id.to_string(), earlier.iter().map(|id| id.to_string()).collect()))
    }

    fn wrapped(kek: usize, text: &[u8]) -> String {
        BASE64_STANDARD.encode(keks()[kek].wrap(text).unwrap())
    }

    #[test]
    fn a_token_is_good_until_a_minute_after_it_expired() {
        let id = wrapped(0, b"user-42");
        let at = |exp: serde_json::Value, now| id_in(json!({ "encryptedIdentifier": id, "exp": exp }), now).is_some();
        assert!(at(json!(1_000), 1_059) && !at(json!(1_000), 1_060));
        assert!(at(json!(1_000.5), 1_060) && !at(json!(1_000.5), 1_061));
        assert!(at(json!(null), 9_999_999_999), "without an end it has none");
        assert!(!at(json!("1000"), 0), "what is no number is no time");
        assert!(!at(json!(-1e300), 0));
    }

    #[test]
    fn an_identifier_opens_under_the_key_in_use_and_under_those_before() {
        for kek in [0, 1] {
            let claims = json!({ "encryptedIdentifier": wrapped(kek, b"user-42"), "iat": 1 });
            assert_eq!(id_in(claims, 0), Some(("user-42".to_owned(), Vec::new())));
        }
    }

    #[test]
    fn what_is_no_wrapped_identifier_is_refused() {
        let good = wrapped(0, b"user-42");
        for odd in [
            "",
            "user-42",
            &good[..good.len() - 4],
            &good.replace("==", ""),
            &good.replace('A', "B"),
            &wrapped(0, b"\xff\xfe"),
            &BASE64_STANDARD.encode(PaddedKek::new(Key32::random()).wrap(b"user-42").unwrap()),
        ] {
            assert_eq!(id_in(json!({ "encryptedIdentifier": odd }), 0), None, "{odd}");
        }
        assert_eq!(id_in(json!({}), 0), None);
        assert_eq!(id_in(json!({ "encryptedIdentifier": 7 }), 0), None);
    }

    #[test]
    fn earlier_identifiers_are_those_that_open_and_differ() {
        let claims = json!({
            "encryptedIdentifier": wrapped(0, b"new"),
            "deprecatedEncryptedIdentifiers": [wrapped(1, b"old"), wrapped(1, b"new"), "nonsense"],
        });
        assert_eq!(id_in(claims, 0), Some(("new".to_owned(), vec!["old".to_owned()])));
    }
}
