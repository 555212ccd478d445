//! Wrap format W1: a 256-bit key encrypted under a key-encryption key (KEK), bound to the place it belongs to.
//!
//! A wrapped key names the KEK and its version, so a rotation can re-wrap one key at a time. Beside it stands a
//! commitment to the key, because AES-GCM alone would let one ciphertext open under two keys.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize, de};

use crate::{Key32, OpenFailed, parts, random_bytes, same_bytes};

const VERSION: u8 = 1;
const AES_256_GCM_RANDOM_NONCE: u8 = 1;

const HEADER: usize = 1 + 1 + 4 + 8;
const BLOB: usize = HEADER + NONCE_LEN + 32 + 16;
const COMMIT: usize = 32;

/// The name of a key-encryption key: the first bytes of a digest of it, so that a wrong key is noticed before use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KekId(pub [u8; 8]);

/// A key-encryption key, ready for use.
pub struct Kek {
    id: KekId,
    version: u32,
    cipher: LessSafeKey,
}

impl Kek {
    /// Makes `key` ready for wrapping as version `version` of its line.
    #[must_use]
    pub fn new(version: u32, key: &Key32) -> Self {
        let mut id = [0; 8];
        id.copy_from_slice(&key.derive("antumbra/kek-id/1").expose()[..8]);
        let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).expect("an AES-256 key has 32 bytes");
        Self {
            id: KekId(id),
            version,
            cipher: LessSafeKey::new(unbound),
        }
    }

    /// The name of this key.
    #[must_use]
    pub fn id(&self) -> KekId {
        self.id
    }

    /// The version of this key in its line.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kek(version {})", self.version)
    }
}

/// A key as it is stored: encrypted, with a commitment. Holds nothing secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey {
    blob: [u8; BLOB],
    commit: [u8; COMMIT],
}

impl WrappedKey {
    /// How many bytes a stored wrapped key has.
    pub const LEN: usize = BLOB + COMMIT;

    /// The bytes to store.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..BLOB].copy_from_slice(&self.blob);
        bytes[BLOB..].copy_from_slice(&self.commit);
        bytes
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`OpenFailed::Malformed`] if the length, the version or the algorithm is not known here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, OpenFailed> {
        if bytes.len() != Self::LEN || bytes[0] != VERSION || bytes[1] != AES_256_GCM_RANDOM_NONCE {
            return Err(OpenFailed::Malformed);
        }
        let mut wrapped = Self {
            blob: [0; BLOB],
            commit: [0; COMMIT],
        };
        wrapped.blob.copy_from_slice(&bytes[..BLOB]);
        wrapped.commit.copy_from_slice(&bytes[BLOB..]);
        Ok(wrapped)
    }

    /// The version of the key-encryption key that opens this.
    #[must_use]
    pub fn kek_version(&self) -> u32 {
        u32::from_be_bytes([self.blob[2], self.blob[3], self.blob[4], self.blob[5]])
    }

    /// The name of the key-encryption key that opens this.
    #[must_use]
    pub fn kek_id(&self) -> KekId {
        let mut id = [0; 8];
        id.copy_from_slice(&self.blob[6..HEADER]);
        KekId(id)
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(kek version {})", self.kek_version())
    }
}

impl Serialize for WrappedKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for WrappedKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> de::Visitor<'de> for Bytes {
            type Value = WrappedKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a wrapped key of {} bytes", WrappedKey::LEN)
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<WrappedKey, E> {
                WrappedKey::from_bytes(bytes).map_err(E::custom)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<WrappedKey, A::Error> {
                let mut bytes = Vec::with_capacity(WrappedKey::LEN);
                while let Some(byte) = seq.next_element()? {
                    if bytes.len() == WrappedKey::LEN {
                        return Err(de::Error::custom(OpenFailed::Malformed));
                    }
                    bytes.push(byte);
                }
                self.visit_bytes(&bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Wraps `key` under `kek` for the place that `context` names (organization, kind of object, its id).
///
/// The nonce is random: at most 2³² keys may be wrapped under one version of a KEK.
#[must_use]
pub fn wrap(kek: &Kek, context: &[&[u8]], key: &Key32) -> WrappedKey {
    let mut blob = [0; BLOB];
    blob[0] = VERSION;
    blob[1] = AES_256_GCM_RANDOM_NONCE;
    blob[2..6].copy_from_slice(&kek.version.to_be_bytes());
    blob[6..HEADER].copy_from_slice(&kek.id.0);
    let nonce: [u8; NONCE_LEN] = random_bytes();
    let aad = associated(&blob[..HEADER], context);
    let (_, body) = blob.split_at_mut(HEADER);
    let (stored_nonce, sealed) = body.split_at_mut(NONCE_LEN);
    stored_nonce.copy_from_slice(&nonce);
    let (ciphertext, stored_tag) = sealed.split_at_mut(32);
    ciphertext.copy_from_slice(key.expose());
    let tag = kek
        .cipher
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&aad), ciphertext)
        .expect("AES-GCM seals 32 bytes");
    stored_tag.copy_from_slice(tag.as_ref());
    WrappedKey {
        blob,
        commit: commitment(key),
    }
}

/// Opens a wrapped key that was made for the same `context`.
///
/// # Errors
/// [`OpenFailed::OtherKek`] if it names another KEK, [`OpenFailed::Refused`] if it was altered or belongs elsewhere.
pub fn unwrap(kek: &Kek, context: &[&[u8]], wrapped: &WrappedKey) -> Result<Key32, OpenFailed> {
    if wrapped.kek_version() != kek.version || wrapped.kek_id() != kek.id {
        return Err(OpenFailed::OtherKek);
    }
    let (header, body) = wrapped.blob.split_at(HEADER);
    let (nonce, sealed) = body.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenFailed::Malformed)?;
    let mut opened: Secret48 = crate::Secret::from_slice(sealed).ok_or(OpenFailed::Malformed)?;
    let plain = kek
        .cipher
        .open_in_place(nonce, Aad::from(associated(header, context)), opened.expose_mut())
        .map_err(|_| OpenFailed::Refused)?;
    let key = Key32::from_slice(plain).ok_or(OpenFailed::Malformed)?;
    if same_bytes(&commitment(&key), &wrapped.commit) {
        Ok(key)
    } else {
        Err(OpenFailed::Refused)
    }
}

type Secret48 = crate::Secret<48>;

fn associated(header: &[u8], context: &[&[u8]]) -> Vec<u8> {
    let mut bound = Vec::with_capacity(1 + context.len());
    bound.push(header);
    bound.extend_from_slice(context);
    parts::join("antumbra/wrap/1", &bound)
}

fn commitment(key: &Key32) -> [u8; COMMIT] {
    *key.derive("antumbra/commit/1").expose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kek() -> Kek {
        Kek::new(3, &Key32::take(&mut [9; 32]))
    }

    #[test]
    fn a_key_opens_where_it_was_wrapped() {
        let key = Key32::random();
        let wrapped = wrap(&kek(), &[b"org", b"request", b"7"], &key);
        let opened = unwrap(&kek(), &[b"org", b"request", b"7"], &wrapped).unwrap();
        assert_eq!(opened.expose(), key.expose());
        assert_eq!((wrapped.kek_version(), wrapped.kek_id()), (3, kek().id()));
    }

    #[test]
    fn a_key_does_not_open_in_another_place() {
        let wrapped = wrap(&kek(), &[b"org", b"request", b"7"], &Key32::random());
        for other in [
            &[b"org".as_slice(), b"request", b"8"][..],
            &[b"org", b"request7"],
            &[b"orgrequest", b"", b"7"],
            &[],
        ] {
            assert_eq!(unwrap(&kek(), other, &wrapped).unwrap_err(), OpenFailed::Refused);
        }
    }

    #[test]
    fn another_kek_or_version_is_named_before_anything_is_tried() {
        let wrapped = wrap(&kek(), &[], &Key32::random());
        let newer = Kek::new(4, &Key32::take(&mut [9; 32]));
        let stranger = Kek::new(3, &Key32::take(&mut [8; 32]));
        assert_eq!(unwrap(&newer, &[], &wrapped).unwrap_err(), OpenFailed::OtherKek);
        assert_eq!(unwrap(&stranger, &[], &wrapped).unwrap_err(), OpenFailed::OtherKek);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let wrapped = wrap(&kek(), &[b"here"], &Key32::random()).to_bytes();
        for bit in 0..wrapped.len() * 8 {
            let mut altered = wrapped;
            altered[bit / 8] ^= 1 << (bit % 8);
            let opened = WrappedKey::from_bytes(&altered).and_then(|altered| unwrap(&kek(), &[b"here"], &altered));
            assert!(opened.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn other_lengths_versions_and_algorithms_are_malformed() {
        let good = wrap(&kek(), &[], &Key32::random()).to_bytes();
        let mut version = good;
        version[0] = 2;
        let mut algorithm = good;
        algorithm[1] = 0;
        let mut long = good.to_vec();
        long.push(0);
        for bad in [&version[..], &algorithm, &long, &good[..good.len() - 1], &[]] {
            assert_eq!(WrappedKey::from_bytes(bad).unwrap_err(), OpenFailed::Malformed);
        }
    }
}
