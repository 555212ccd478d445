//! AES-256 key wrap with padding (RFC 5649): a short text encrypted under a key, the same text always to the same bytes.
//!
//! For values that others wrap for us and we for them, in the one form that both know. What is only ours is sealed as in
//! [`crate::value`], which shows nobody that two values are equal.

use std::fmt;

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use zeroize::Zeroizing;

use crate::{Key32, OpenFailed};

/// The longest text that is wrapped or unwrapped, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// The shortest and the longest wrapped form: one block, and the longest text with what stands before it.
const WRAPPED_MIN: usize = 16;
const WRAPPED_MAX: usize = TEXT_BYTES_MAX + 8;

/// A key that wraps short texts.
pub struct PaddedKek(Key32);

impl PaddedKek {
    /// Makes `key` ready for use.
    #[must_use]
    pub fn new(key: Key32) -> Self {
        Self(key)
    }

    /// The wrapped form of `text`, or `None` if it is empty or longer than [`TEXT_BYTES_MAX`].
    #[must_use]
    pub fn wrap(&self, text: &[u8]) -> Option<Vec<u8>> {
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        // What AWS-LC asks for: room for the padding and the block before it.
        let mut wrapped = vec![0; text.len() + 15];
        let length = self.cipher().wrap_with_padding(text, &mut wrapped).ok()?.len();
        wrapped.truncate(length);
        Some(wrapped)
    }

    /// The text that `wrapped` holds. It is never empty.
    ///
    /// # Errors
    /// [`OpenFailed::Malformed`] if it has a length that no wrapped text has, [`OpenFailed::Refused`] if it was altered or
    /// wrapped under another key.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenFailed> {
        if !(WRAPPED_MIN..=WRAPPED_MAX).contains(&wrapped.len()) || !wrapped.len().is_multiple_of(8) {
            return Err(OpenFailed::Malformed);
        }
        let mut text = Zeroizing::new(vec![0; wrapped.len()]);
        let unwrapped = self.cipher().unwrap_with_padding(wrapped, &mut text);
        let length = unwrapped.map_err(|_| OpenFailed::Refused)?.len();
        text.truncate(length);
        if text.is_empty() {
            Err(OpenFailed::Refused)
        } else {
            Ok(text)
        }
    }

    fn cipher(&self) -> AesKek {
        AesKek::new(&AES_256, self.0.expose()).expect("an AES-256 key has 32 bytes")
    }
}

impl fmt::Debug for PaddedKek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaddedKek(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kek() -> PaddedKek {
        PaddedKek::new(Key32::from_slice(&(0..32).collect::<Vec<u8>>()).unwrap())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn known_texts_have_their_known_forms() {
        for (text, wrapped) in [
            ("user-42", "004a628bd16b6d97573def5f9d25fc43"),
            ("ana@example.org", "3d49fb14e2192eabc89190b083cee0bd5bace7aad593c5cc"),
            (
                "customer-0000000000000017",
                "178297381c678863f3c799ce2e357513bcdd7db4b570868b2a85eafa4fdf802933bc1e07c8a39551",
            ),
        ] {
            let made = kek().wrap(text.as_bytes()).unwrap();
            assert_eq!(hex(&made), wrapped, "{text}");
            assert_eq!(kek().unwrap(&made).unwrap().as_slice(), text.as_bytes());
        }
    }

    #[test]
    fn every_length_comes_back_and_is_as_long_as_it_must_be() {
        for length in 1..=TEXT_BYTES_MAX {
            let text: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let wrapped = kek().wrap(&text).unwrap();
            let expected = if length <= 8 { 16 } else { length.div_ceil(8) * 8 + 8 };
            assert_eq!(wrapped.len(), expected, "{length}");
            assert_eq!(*kek().unwrap(&wrapped).unwrap(), text, "{length}");
        }
    }

    #[test]
    fn nothing_and_too_much_are_not_wrapped() {
        assert_eq!(kek().wrap(b""), None);
        assert_eq!(kek().wrap(&[1; TEXT_BYTES_MAX + 1]), None);
    }

    #[test]
    fn every_flipped_bit_every_cut_and_every_other_key_is_noticed() {
        for text in [&b"user-42"[..], b"ana@example.org", &[9; 64]] {
            let wrapped = kek().wrap(text).unwrap();
            for bit in 0..wrapped.len() * 8 {
                let mut altered = wrapped.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(kek().unwrap(&altered).is_err(), "bit {bit}");
            }
            for length in 0..wrapped.len() {
                assert!(kek().unwrap(&wrapped[..length]).is_err(), "cut to {length}");
            }
            assert!(kek().unwrap(&[wrapped.as_slice(), &[0; 8]].concat()).is_err());
            let other = PaddedKek::new(Key32::random());
            assert_eq!(other.unwrap(&wrapped).unwrap_err(), OpenFailed::Refused);
        }
    }
}
