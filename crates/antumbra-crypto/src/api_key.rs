//! API keys: what a caller presents, and what is kept of it.
//!
//! Ours read `ant_<id: 8>_<secret: 43>_<checksum: 6>`, all base62: secret scanners find them, and a typing error is
//! told from a wrong key without asking anyone. Strings that another system gave out are accepted as they are, from
//! 20 characters on. Only a peppered digest is kept, so a copy of the store opens nothing and whoever can write to
//! the store still cannot plant a key.

use std::fmt;

use zeroize::Zeroizing;

use crate::{Secret, mac::MacKey};

const PREFIX: &str = "ant_";
const ID_LEN: usize = 8;
const SECRET_LEN: usize = 43;
const CHECKSUM_LEN: usize = 6;
const LEN: usize = PREFIX.len() + ID_LEN + 1 + SECRET_LEN + 1 + CHECKSUM_LEN;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// How long a key of another system must be, in characters.
pub const FOREIGN_LEN_MIN: usize = 20;
/// How long a key of another system may be, in characters.
pub const FOREIGN_LEN_MAX: usize = 512;

/// The text is no API key: too short or long, not printable ASCII, or one of ours with a typing error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not an API key")]
pub struct NotAnApiKey;

/// The whole text of an API key. Prints as a placeholder and wipes itself.
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// A new key of ours, with 256 random bits.
    #[must_use]
    pub fn mint() -> Self {
        let mut text = Zeroizing::new(String::with_capacity(LEN));
        text.push_str(PREFIX);
        push_base62(&mut text, Secret::<8>::random().expose(), ID_LEN);
        text.push('_');
        push_base62(&mut text, Secret::<32>::random().expose(), SECRET_LEN);
        let checksum = checksum(&text);
        text.push('_');
        text.push_str(&checksum);
        Self(text)
    }

    /// Reads what a caller presented.
    ///
    /// # Errors
    /// [`NotAnApiKey`], which does not say which part was wrong.
    pub fn parse(text: &str) -> Result<Self, NotAnApiKey> {
        let accepted = if text.starts_with(PREFIX) {
            is_ours(text)
        } else {
            (FOREIGN_LEN_MIN..=FOREIGN_LEN_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if accepted {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(NotAnApiKey)
        }
    }

    /// The public part of a key of ours; `None` for a key of another system.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.0
            .starts_with(PREFIX)
            .then(|| &self.0[PREFIX.len()..PREFIX.len() + ID_LEN])
    }

    /// The whole text, to be shown once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The digest to keep and to compare with [`crate::same_bytes`].
    #[must_use]
    pub fn digest(&self, pepper: &MacKey) -> [u8; 32] {
        pepper.digest("antumbra/api-key/1", &[self.0.as_bytes()])
    }

    /// The first and the last characters, by which its owner knows it again.
    #[must_use]
    pub fn preview(&self) -> String {
        let shown = if self.id().is_some() { PREFIX.len() + ID_LEN } else { 4 };
        format!("{}…{}", &self.0[..shown], &self.0[self.0.len() - 2..])
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

fn is_ours(text: &str) -> bool {
    let base62 = |byte: u8| byte.is_ascii_alphanumeric();
    let shape = text.bytes().enumerate().all(|(place, byte)| match place {
        0..4 => true,
        12 | 56 => byte == b'_',
        _ => base62(byte),
    });
    text.len() == LEN && shape && checksum(&text[..LEN - CHECKSUM_LEN - 1]) == text[LEN - CHECKSUM_LEN..]
}

fn checksum(text: &str) -> String {
    let mut digits = String::with_capacity(CHECKSUM_LEN);
    push_base62(
        &mut digits,
        &crc32fast::hash(text.as_bytes()).to_be_bytes(),
        CHECKSUM_LEN,
    );
    digits
}

/// Appends the last `digits` base62 digits of the big-endian number in `bytes`.
fn push_base62(text: &mut String, bytes: &[u8], digits: usize) {
    let mut number = Zeroizing::new(bytes.to_vec());
    let mut reversed = Zeroizing::new(Vec::with_capacity(digits));
    for _ in 0..digits {
        let remainder = number.iter_mut().fold(0u32, |carry, byte| {
            let value = carry << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            value % 62
        });
        reversed.push(ALPHABET[remainder as usize]);
    }
    text.extend(reversed.iter().rev().map(|&digit| char::from(digit)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key32;

    #[test]
    fn a_minted_key_reads_back() {
        for _ in 0..200 {
            let key = ApiKey::mint();
            assert_eq!(key.expose().len(), LEN);
            let read = ApiKey::parse(key.expose()).unwrap();
            assert_eq!(read.id(), key.id());
            assert_eq!(read.id().unwrap().len(), ID_LEN);
        }
    }

    #[test]
    fn every_wrong_character_in_one_of_ours_is_a_typing_error() {
        let key = ApiKey::mint();
        for place in PREFIX.len()..LEN {
            let mut text = key.expose().to_owned().into_bytes();
            text[place] = if text[place] == b'a' { b'b' } else { b'a' };
            let text = String::from_utf8(text).unwrap();
            assert!(ApiKey::parse(&text).is_err(), "place {place}");
        }
        assert!(ApiKey::parse(&key.expose()[..LEN - 1]).is_err());
        assert!(ApiKey::parse(&format!("{}0", key.expose())).is_err());
    }

    #[test]
    fn a_key_of_another_system_is_taken_as_it_is() {
        let foreign = ApiKey::parse("0123456789abcdef0123").unwrap();
        assert_eq!(foreign.id(), None);
        assert_eq!(foreign.preview(), "0123…23");
        for bad in [
            "0123456789abcdef012",
            "0123456789 abcdef01234",
            "ünïcödé-ünïcödé-ünïcödé",
            "",
            &"x".repeat(513),
        ] {
            assert_eq!(ApiKey::parse(bad).unwrap_err(), NotAnApiKey);
        }
    }

    #[test]
    fn the_digest_depends_on_the_pepper_and_on_every_character() {
        let pepper = MacKey::new(&Key32::random());
        let key = ApiKey::mint();
        assert_eq!(
            key.digest(&pepper),
            ApiKey::parse(key.expose()).unwrap().digest(&pepper)
        );
        assert_ne!(key.digest(&pepper), key.digest(&MacKey::new(&Key32::random())));
        assert_ne!(key.digest(&pepper), ApiKey::mint().digest(&pepper));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(format!("{:?}", ApiKey::mint()), "ApiKey(..)");
    }

    #[test]
    fn base62_of_known_numbers() {
        let base62 = |bytes: &[u8], digits| {
            let mut text = String::new();
            push_base62(&mut text, bytes, digits);
            text
        };
        assert_eq!(base62(&[0], 3), "000");
        assert_eq!(base62(&[61], 1), "z");
        assert_eq!(base62(&[0x0F, 0x03], 2), "zz"); // 3,843 = 62² - 1
        assert_eq!(base62(&[0xFF; 32], 43).len(), 43);
    }
}
