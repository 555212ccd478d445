//! Every cryptographic operation of Antumbra, and nothing else: wrapped keys, sealed values, encrypted bodies with
//! verifiable groups, blind indexes, keyed digests, signed tokens and API keys.
//!
//! | Module | Holds |
//! | --- | --- |
//! | [`secret`] | key bytes that wipe themselves and never print |
//! | [`wrap`] | a key encrypted under a key-encryption key, bound to its place |
//! | [`padded`] | a short text wrapped under a key in the form that others know (RFC 5649) |
//! | [`value`] | a short value encrypted under a key, bound to its place |
//! | [`mac`], [`index`] | keyed digests that prove, and keyed digests that find |
//! | [`body`] | a file as one AES-256-GCM stream, with a hash tree over its ciphertext |
//! | [`token`] | HS384 tokens we give and take back, or that others sign for us; ES384 tokens others verify |
//! | [`webhook`] | signatures of webhooks that others verify |
//! | [`api_key`] | what a caller presents, and what is kept of it |
//!
//! The exact bytes of everything kept are in `docs/file-format.md`. This crate knows no async, no file, no socket, no
//! clock and no word of the domain; whoever needs an expiry compares times itself. Randomness comes from AWS-LC alone.
//!
//! No error here carries an expected value: whoever sees one learns that something was refused and nothing else.

pub mod api_key;
pub mod body;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod index;
pub mod mac;
pub mod padded;
mod parts;
mod pem;
pub mod secret;
pub mod token;
pub mod value;
pub mod webhook;
pub mod wrap;

pub use secret::{Key32, Secret, random_bytes};

use subtle::ConstantTimeEq;

/// Why sealed bytes were not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenFailed {
    /// The bytes are no sealed value: wrong length, or a version or algorithm that this program does not know.
    #[error("the sealed bytes have an unknown form")]
    Malformed,
    /// A wrapped key names another key-encryption key than the one at hand.
    #[error("the key was wrapped under another key-encryption key")]
    OtherKek,
    /// The bytes were altered, moved from another place, or sealed under another key.
    #[error("the sealed bytes do not open here")]
    Refused,
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}

/// Whether two byte strings are equal, in a time that depends on their lengths alone.
#[must_use]
pub fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}
