//! Blind index: a keyed digest that finds equal values without holding them.
//!
//! 128 bits of HMAC-SHA-256. It shows which stored values are equal and nothing about what they are, as long as the
//! index key is not known. The caller normalises a value once before it comes here.

use std::fmt;

use aws_lc_rs::hmac;

use crate::{Key32, parts};

/// The key of a blind index.
pub struct IndexKey(hmac::Key);

impl IndexKey {
    /// Makes `key` ready for use.
    #[must_use]
    pub fn new(key: &Key32) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The place of `parts` in the index: the same parts always give the same 16 bytes.
    #[must_use]
    pub fn blind(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut index = [0; 16];
        index.copy_from_slice(&hmac::sign(&self.0, &parts::join("antumbra/index/1", parts)).as_ref()[..16]);
        index
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_meet_and_others_do_not() {
        let key = IndexKey::new(&Key32::random());
        let ada = key.blind(&[b"partition", b"email", b"ada@example.test"]);
        assert_eq!(ada, key.blind(&[b"partition", b"email", b"ada@example.test"]));
        assert_ne!(ada, key.blind(&[b"partition", b"emaila", b"da@example.test"]));
        assert_ne!(
            ada,
            IndexKey::new(&Key32::random()).blind(&[b"partition", b"email", b"ada@example.test"])
        );
    }
}
