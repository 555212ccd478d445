//! ES384 tokens: signed here, verified by others.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{Parts, TokenRefused};
use crate::{pem, sha256};

/// The bytes are no P-384 key in a form known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a P-384 key in SEC1, PKCS#8 or SubjectPublicKeyInfo form")]
pub struct BadKey;

/// A P-384 private key and the header that its tokens carry.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public_der: Vec<u8>,
    kid: String,
    header: String,
}

impl SigningKey {
    /// A new key.
    #[must_use]
    pub fn generate() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("AWS-LC makes P-384 keys");
        Self::of(pair).expect("a fresh P-384 key has a public half")
    }

    /// Reads PKCS#8 bytes, as [`SigningKey::to_pkcs8`] gives them.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map_err(|_| BadKey)?;
        Self::of(pair)
    }

    /// Reads a PEM block: `EC PRIVATE KEY` (SEC1, as `openssl ecparam -genkey` writes it) or `PRIVATE KEY` (PKCS#8).
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        if let Some(der) = pem::find(text, "PRIVATE KEY") {
            return Self::from_pkcs8(&der);
        }
        let der = pem::find(text, "EC PRIVATE KEY").ok_or(BadKey)?;
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, &der).map_err(|_| BadKey)?;
        Self::of(pair)
    }

    /// The private key as PKCS#8, to be sealed and stored.
    #[must_use]
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let document = self.pair.to_pkcs8v1().expect("AWS-LC writes the keys it holds");
        Zeroizing::new(document.as_ref().to_vec())
    }

    /// The name of the key: its JWK thumbprint (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half as a PEM block, SubjectPublicKeyInfo, 64 columns.
    #[must_use]
    pub fn public_pem(&self) -> String {
        pem::write("PUBLIC KEY", &self.public_der)
    }

    /// The token that says `claims`, signed with R and S side by side (96 bytes), as JOSE wants it.
    #[must_use]
    pub fn sign<C: Serialize>(&self, claims: &C) -> String {
        let claims = serde_json::to_vec(claims).expect("claims are plain data");
        let mut token = format!("{}.{}", self.header, URL_SAFE_NO_PAD.encode(claims));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .expect("AWS-LC signs with P-384");
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }

    fn of(pair: EcdsaKeyPair) -> Result<Self, BadKey> {
        let public_der: PublicKeyX509Der<'static> = pair.public_key().as_der().map_err(|_| BadKey)?;
        let kid = thumbprint(pair.public_key().as_ref());
        let header = serde_json::json!({ "alg": "ES384", "kid": kid, "typ": "JWT" }).to_string();
        let (public_der, header) = (public_der.as_ref().to_vec(), URL_SAFE_NO_PAD.encode(header));
        Ok(Self {
            pair,
            public_der,
            kid,
            header,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

/// RFC 7638: SHA-256 over the required members in lexical order. `point` is uncompressed: 0x04 ‖ x ‖ y.
fn thumbprint(point: &[u8]) -> String {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    URL_SAFE_NO_PAD.encode(sha256(
        format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes(),
    ))
}

/// The public half of a signing key, as a receiver holds it.
pub struct VerifyingKey(ParsedPublicKey);

impl VerifyingKey {
    /// Reads a `PUBLIC KEY` PEM block.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        let der = pem::find(text, "PUBLIC KEY").ok_or(BadKey)?;
        ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, der.as_slice())
            .map(Self)
            .map_err(|_| BadKey)
    }

    /// What `token` says, once its signature is found right. The header must ask for exactly ES384.
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub fn verify<C: DeserializeOwned>(&self, token: &str) -> Result<C, TokenRefused> {
        #[derive(serde::Deserialize)]
        struct Header {
            alg: String,
        }
        let parts = Parts::of(token)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenRefused::Malformed);
        let header: Header = serde_json::from_slice(&decode(parts.header)?).map_err(|_| TokenRefused::Malformed)?;
        if header.alg != "ES384" {
            return Err(TokenRefused::Foreign);
        }
        self.0
            .verify_sig(parts.signed, &parts.signature)
            .map_err(|_| TokenRefused::Foreign)?;
        serde_json::from_slice(&decode(parts.claims)?).map_err(|_| TokenRefused::Malformed)
    }
}
