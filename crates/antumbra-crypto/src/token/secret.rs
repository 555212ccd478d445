//! HS384 tokens that somebody else signs, with a secret that both sides hold.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Parts, TokenRefused};

/// How short a secret may be, in bytes.
pub const SECRET_BYTES_MIN: usize = 32;

/// A secret that tokens are signed with on one side and verified with on the other.
pub struct SharedSecret(hmac::Key);

impl SharedSecret {
    /// Makes `bytes` ready for use.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA384, bytes))
    }

    /// What `token` says, once it is found to be signed with one of `secrets`, and with which.
    ///
    /// The header is written by the other side, so it is read: it must name HS384, the one algorithm there is here, and
    /// must not demand (`crit`) what nobody here knows of.
    ///
    /// # Errors
    /// [`TokenRefused::Malformed`] or [`TokenRefused::Foreign`].
    pub fn verify<C: DeserializeOwned>(secrets: &[SharedSecret], token: &str) -> Result<(usize, C), TokenRefused> {
        let parts = Parts::of(token)?;
        let header: Header = read(parts.header)?;
        if header.alg != "HS384" || header.crit.is_some() {
            return Err(TokenRefused::Foreign);
        }
        let is_of = |secret: &SharedSecret| hmac::verify(&secret.0, parts.signed, &parts.signature).is_ok();
        let signer = secrets.iter().position(is_of).ok_or(TokenRefused::Foreign)?;
        Ok((signer, read(parts.claims)?))
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

fn read<T: DeserializeOwned>(part: &str) -> Result<T, TokenRefused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefused::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenRefused::Malformed)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const SHORT: &str = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJlbmNyeXB0ZWRJZGVudGlmaWVyIjoiQUVwaWk5RnJiWmRYUGU5Zm5TWDhRdz09IiwiaWF0IjoxNzUwMDAwMDAwfQ.rgwk9Tfz534ppbQnlLmws4c0zCHKyUmNJdjTwqZWMnxdTZ9tpApmFj8VCkEniAZV";
    const LONG: &str = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJlbmNyeXB0ZWRJZGVudGlmaWVyIjoiUFVuN0ZPSVpMcXZJa1pDd2c4N2d2VnVzNTZyVms4WE0iLCJpYXQiOjE3NTAwMDAwMDB9.R3rB9r5jkYkSQuYfkp7GHgizfbcafWl-o1c9fKuXND_ONbXgd7CRnTq6Pf71aMgT";

    fn secret() -> Vec<u8> {
        (0x20..0x50).collect()
    }

    fn verify(token: &str) -> Result<Value, TokenRefused> {
        SharedSecret::verify(&[SharedSecret::new(&secret())], token).map(|(_, claims)| claims)
    }

    /// A token as any other program would make it, with whatever header.
    fn made(header: &Value, claims: &Value, key: &[u8], algorithm: hmac::Algorithm) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = hmac::sign(&hmac::Key::new(algorithm, key), signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn known_tokens_say_what_they_are_known_to_say() {
        for (token, wrapped) in [
            (SHORT, "AEpii9FrbZdXPe9fnSX8Qw=="),
            (LONG, "PUn7FOIZLqvIkZCwg87gvVus56rVk8XM"),
        ] {
            let said = verify(token).unwrap();
            assert_eq!(said, json!({ "encryptedIdentifier": wrapped, "iat": 1_750_000_000 }));
        }
    }

    #[test]
    fn a_token_of_another_library_is_read() {
        let claims = json!({ "sub": "x" });
        let key = jsonwebtoken::EncodingKey::from_secret(&secret());
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS384);
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert_eq!(verify(&token), Ok(claims));
    }

    #[test]
    fn each_of_several_secrets_is_tried_and_the_one_that_fits_is_named() {
        let other = SharedSecret::new(&[7; 48]);
        let secrets = [other, SharedSecret::new(&secret())];
        let (signer, _): (usize, Value) = SharedSecret::verify(&secrets, SHORT).unwrap();
        assert_eq!(signer, 1);
        let without = SharedSecret::verify::<Value>(&secrets[..1], SHORT);
        assert_eq!(without.unwrap_err(), TokenRefused::Foreign);
        assert!(SharedSecret::verify::<Value>(&[], SHORT).is_err());
    }

    #[test]
    fn every_character_counts() {
        for place in 0..SHORT.len() {
            for other in ["A", "B", ".", "=", "é"] {
                let altered = format!("{}{other}{}", &SHORT[..place], &SHORT[place + 1..]);
                assert!(altered == SHORT || verify(&altered).is_err(), "{place} {other}");
            }
        }
        for length in 0..SHORT.len() {
            assert!(verify(&SHORT[..length]).is_err(), "cut to {length}");
        }
        for more in ["x", "=", ".", " ", "\n", ".x"] {
            assert!(verify(&format!("{SHORT}{more}")).is_err(), "{more:?}");
        }
    }

    #[test]
    fn no_header_but_that_of_hs384_is_taken() {
        let claims = json!({ "encryptedIdentifier": "x" });
        for header in [
            json!({ "alg": "none" }),
            json!({ "alg": "None" }),
            json!({ "alg": "hs384" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "HS512" }),
            json!({ "alg": "RS384" }),
            json!({ "alg": ["HS384"] }),
            json!({ "alg": null }),
            json!({ "typ": "JWT" }),
            json!({ "alg": "HS384", "crit": ["exp"] }),
            json!({ "alg": "HS384", "crit": [] }),
            json!("HS384"),
        ] {
            let token = made(&header, &claims, &secret(), hmac::HMAC_SHA384);
            assert!(verify(&token).is_err(), "{header}");
        }
        for algorithm in [hmac::HMAC_SHA256, hmac::HMAC_SHA512] {
            let token = made(&json!({ "alg": "HS384" }), &claims, &secret(), algorithm);
            assert!(verify(&token).is_err());
        }
        let (signed, _) = SHORT.rsplit_once('.').unwrap();
        assert!(verify(&format!("{signed}.")).is_err(), "no signature");
        let more = json!({ "typ": "JWT", "alg": "HS384", "kid": "1" });
        assert!(verify(&made(&more, &claims, &secret(), hmac::HMAC_SHA384)).is_ok());
    }

    #[test]
    fn claims_that_are_not_what_is_asked_for_are_refused_though_signed() {
        #[derive(Deserialize)]
        #[allow(dead_code, reason = "only whether it can be read is asked")]
        struct Asked {
            name: String,
        }
        for claims in [json!({}), json!({ "name": 7 }), json!([]), json!(null)] {
            let token = made(&json!({ "alg": "HS384" }), &claims, &secret(), hmac::HMAC_SHA384);
            let read = SharedSecret::verify::<Asked>(&[SharedSecret::new(&secret())], &token);
            assert_eq!(read.map(|_| ()).unwrap_err(), TokenRefused::Malformed, "{claims}");
        }
    }
}
