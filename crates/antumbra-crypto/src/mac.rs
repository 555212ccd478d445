//! Keyed digests that prove who wrote something: HMAC-SHA-256 over length-prefixed parts.

use std::fmt;

use aws_lc_rs::hmac;

use crate::{Key32, parts};

/// A key for making and checking digests.
pub struct MacKey(hmac::Key);

impl MacKey {
    /// Makes `key` ready for use.
    #[must_use]
    pub fn new(key: &Key32) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The digest of `parts` for the use that `label` names.
    #[must_use]
    pub fn digest(&self, label: &str, parts: &[&[u8]]) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.0, &parts::join(label, parts)).as_ref());
        digest
    }

    /// Whether `digest` is that of `parts`, in a time that does not depend on where they differ.
    #[must_use]
    pub fn verify(&self, label: &str, parts: &[&[u8]], digest: &[u8]) -> bool {
        hmac::verify(&self.0, &parts::join(label, parts), digest).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_holds_for_its_label_parts_and_key_only() {
        let key = MacKey::new(&Key32::random());
        let digest = key.digest("manifest", &[b"a", b"b"]);
        assert!(key.verify("manifest", &[b"a", b"b"], &digest));
        assert!(!key.verify("manifest", &[b"ab", b""], &digest));
        assert!(!key.verify("other", &[b"a", b"b"], &digest));
        assert!(!key.verify("manifest", &[b"a", b"b"], &digest[..31]));
        assert!(!MacKey::new(&Key32::random()).verify("manifest", &[b"a", b"b"], &digest));
    }
}
