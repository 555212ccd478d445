//! HS384 tokens: given out and taken back by the same server.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Parts, TokenRefused};
use crate::Key32;

/// What a kind of token says. A token of one kind is never taken for another.
pub trait Claims: Serialize + DeserializeOwned {
    /// The name of the kind, as its `kind` claim.
    const KIND: &'static str;
}

/// One version of the key that signs tokens, with the name that its tokens carry as `kid`.
pub struct TokenKey {
    header: String,
    key: hmac::Key,
}

impl TokenKey {
    /// Makes `key` ready for use under the name `kid`.
    #[must_use]
    pub fn new(kid: &str, key: &Key32) -> Self {
        let header = serde_json::json!({ "alg": "HS384", "kid": kid, "typ": "JWT" }).to_string();
        Self {
            header: URL_SAFE_NO_PAD.encode(header),
            key: hmac::Key::new(hmac::HMAC_SHA384, key.expose()),
        }
    }
}

/// The key that signs now, and older ones whose tokens still count.
pub struct TokenKeys {
    current: TokenKey,
    older: Vec<TokenKey>,
}

impl TokenKeys {
    /// Signs with `current`; accepts what `current` or any of `older` signed.
    #[must_use]
    pub fn new(current: TokenKey, older: Vec<TokenKey>) -> Self {
        Self { current, older }
    }

    /// The token that says `claims`.
    #[must_use]
    pub fn sign<C: Claims>(&self, claims: &C) -> String {
        let says = serde_json::to_vec(&Says { kind: C::KIND, claims }).expect("claims are plain data");
        let mut token = format!("{}.{}", self.current.header, URL_SAFE_NO_PAD.encode(says));
        let signature = hmac::sign(&self.current.key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }

    /// What `token` says, once its signature and kind are found right. Whether it has expired is the caller's to ask.
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub fn verify<C: Claims>(&self, token: &str) -> Result<C, TokenRefused> {
        let parts = Parts::of(token)?;
        let key = std::iter::once(&self.current)
            .chain(&self.older)
            .find(|key| key.header == parts.header)
            .ok_or(TokenRefused::Foreign)?;
        hmac::verify(&key.key, parts.signed, &parts.signature).map_err(|_| TokenRefused::Foreign)?;
        claims_of(&parts)
    }
}

/// What `token` says of itself, while nobody has looked whether it is genuine: to find the keys that it has to be verified
/// with, and for nothing else.
///
/// # Errors
/// [`TokenRefused::Malformed`] or [`TokenRefused::OtherKind`].
pub fn unverified<C: Claims>(token: &str) -> Result<C, TokenRefused> {
    claims_of(&Parts::of(token)?)
}

fn claims_of<C: Claims>(parts: &Parts<'_>) -> Result<C, TokenRefused> {
    let says = URL_SAFE_NO_PAD
        .decode(parts.claims)
        .map_err(|_| TokenRefused::Malformed)?;
    let kind: Kind = serde_json::from_slice(&says).map_err(|_| TokenRefused::Malformed)?;
    if kind.kind != C::KIND {
        return Err(TokenRefused::OtherKind);
    }
    serde_json::from_slice(&says).map_err(|_| TokenRefused::Malformed)
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKeys({} older)", self.older.len())
    }
}

#[derive(Serialize)]
struct Says<'a, C> {
    kind: &'static str,
    #[serde(flatten)]
    claims: &'a C,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}
