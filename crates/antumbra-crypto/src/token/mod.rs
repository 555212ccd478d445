//! Signed tokens in the compact form of RFC 7515: `header.claims.signature`, base64url without padding.
//!
//! - [`TokenKeys`]: HS384, for tokens that we give out and take back (nonces, download keys, cursors). Claims carry
//!   ids only: anyone can read them.
//! - [`SharedSecret`]: HS384, for tokens that somebody else signs with a secret that we share.
//! - [`SigningKey`], [`VerifyingKey`]: ES384, for tokens that others verify (webhooks).
//!
//! The algorithm belongs to the key and is never taken from the token: a header that we wrote is compared as text with the
//! one that the key writes, and one that somebody else wrote has to name the one algorithm of its key.

mod secret;
mod shared;
mod signing;

pub use secret::{SECRET_BYTES_MIN, SharedSecret};
pub use shared::{Claims, TokenKey, TokenKeys, unverified};
pub use signing::{BadKey, SigningKey, VerifyingKey};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// How long a token may be. Longer text is refused unread.
pub const TOKEN_LEN_MAX: usize = 8 * 1024;

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// The text is no token at all.
    #[error("the text is not a token")]
    Malformed,
    /// Another key signed it, or nobody did, or it was altered.
    #[error("the token was not signed here")]
    Foreign,
    /// It is genuine and serves another purpose.
    #[error("the token serves another purpose")]
    OtherKind,
}

/// A token taken apart, nothing verified yet.
struct Parts<'a> {
    header: &'a str,
    signed: &'a [u8],
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Result<Self, TokenRefused> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(TokenRefused::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenRefused::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenRefused::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenRefused::Malformed)?;
        if header.is_empty() || claims.is_empty() || claims.contains('.') {
            return Err(TokenRefused::Malformed);
        }
        Ok(Self {
            header,
            signed: signed.as_bytes(),
            claims,
            signature,
        })
    }
}
