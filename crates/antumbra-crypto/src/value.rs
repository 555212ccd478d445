//! A short value encrypted under a key and bound to the place it belongs to: names, identifiers, settings.
//!
//! Sealed: `version u8 = 1 ‖ nonce [12] ‖ ciphertext ‖ tag [16]`, AES-256-GCM with a random nonce. The key in use is
//! derived from the caller's, so that nonces here can never meet the reserved IVs of [`crate::body`] under one key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::{Key32, OpenFailed, parts, random_bytes};

const VERSION: u8 = 1;
const TAG_LEN: usize = 16;

/// How much longer a sealed value is than its plain form.
pub const OVERHEAD: usize = 1 + NONCE_LEN + TAG_LEN;

/// Seals `plain` under `key` for the place that `context` names.
#[must_use]
pub fn seal(key: &Key32, context: &[&[u8]], plain: &[u8]) -> Vec<u8> {
    ValueKey::new(key).seal(context, plain)
}

/// Opens what [`seal`] gave for the same `key` and `context`.
///
/// # Errors
/// [`OpenFailed::Malformed`] if it is no sealed value, [`OpenFailed::Refused`] if altered, moved or of another key.
pub fn open(key: &Key32, context: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenFailed> {
    ValueKey::new(key).open(context, sealed)
}

/// The derived key, for sealing or opening several values under one key.
pub struct ValueKey(LessSafeKey);

impl ValueKey {
    /// Derives the value key of `key`.
    #[must_use]
    pub fn new(key: &Key32) -> Self {
        let derived = key.derive("antumbra/value/1");
        let unbound = UnboundKey::new(&AES_256_GCM, derived.expose()).expect("an AES-256 key has 32 bytes");
        Self(LessSafeKey::new(unbound))
    }

    /// As [`seal`].
    #[must_use]
    pub fn seal(&self, context: &[&[u8]], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random_bytes();
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let aad = parts::join("antumbra/value/1", context);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&aad),
                &mut sealed[1 + NONCE_LEN..],
            )
            .expect("a value is far below the limit of AES-GCM");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// As [`open`].
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&self, context: &[&[u8]], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenFailed> {
        if sealed.len() < OVERHEAD || sealed[0] != VERSION {
            return Err(OpenFailed::Malformed);
        }
        let (nonce, ciphertext) = sealed[1..].split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenFailed::Malformed)?;
        let mut plain = Zeroizing::new(ciphertext.to_vec());
        let aad = parts::join("antumbra/value/1", context);
        self.0
            .open_in_place(nonce, Aad::from(&aad), &mut plain)
            .map_err(|_| OpenFailed::Refused)?;
        plain.truncate(ciphertext.len() - TAG_LEN);
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_in_its_own_place_only() {
        let key = Key32::random();
        let sealed = seal(&key, &[b"org", b"name"], b"Ada");
        assert_eq!(&**open(&key, &[b"org", b"name"], &sealed).unwrap(), b"Ada");
        assert_eq!(
            open(&key, &[b"org", b"title"], &sealed).unwrap_err(),
            OpenFailed::Refused
        );
        assert_eq!(
            open(&Key32::random(), &[b"org", b"name"], &sealed).unwrap_err(),
            OpenFailed::Refused
        );
    }

    #[test]
    fn an_empty_value_is_a_value() {
        let key = Key32::random();
        let sealed = seal(&key, &[], b"");
        assert_eq!(sealed.len(), OVERHEAD);
        assert!(open(&key, &[], &sealed).unwrap().is_empty());
    }

    #[test]
    fn the_same_value_is_sealed_differently_each_time() {
        let key = Key32::random();
        assert_ne!(seal(&key, &[], b"Ada"), seal(&key, &[], b"Ada"));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let key = Key32::random();
        let sealed = seal(&key, &[b"here"], b"Ada Lovelace");
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &[b"here"], &altered).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&key, &[b"here"], &sealed[..length]).is_err(), "cut to {length}");
        }
    }
}
