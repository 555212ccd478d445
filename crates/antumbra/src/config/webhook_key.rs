//! The key that an operator brings to sign webhooks with, as other gateways take it: base64 of a PEM block, several with
//! commas between, newest first.

use std::fmt;

use antumbra_crypto::token::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Thumbprints of keys whose private half stands in published examples: whoever has read them can sign in our name.
const PUBLISHED: &[&str] = &["Ih8_6I-nx5JjxQw_fzZiH9dqL7qHhFkpznWVaj9prWw"];
/// A longer text is no list of keys.
const TEXT_MAX: usize = 64 * 1024;

/// What is wrong with which key. Says nothing of what it holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// From 1.
    place: usize,
    what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} {}", self.place, self.what)
    }
}

/// The first key of `text`. The others have to be keys as well: a list with a mistake in it is not what it was meant to be.
pub(super) fn read(text: &str) -> Result<SigningKey, Fault> {
    read_unless(PUBLISHED, text)
}

fn read_unless(published: &[&str], text: &str) -> Result<SigningKey, Fault> {
    let fault = |place, what| Fault { place, what };
    if text.len() > TEXT_MAX {
        return Err(fault(1, "is longer than any key"));
    }
    let mut first = None;
    for (place, entry) in (1..).zip(text.split(',')) {
        let key = read_one(entry.trim()).map_err(|what| fault(place, what))?;
        if published.contains(&key.kid()) {
            return Err(fault(
                place,
                "stands in a published example, so anybody can sign with it: make one of your own",
            ));
        }
        first.get_or_insert(key);
    }
    first.ok_or_else(|| fault(1, "is empty"))
}

fn read_one(entry: &str) -> Result<SigningKey, &'static str> {
    if entry.is_empty() {
        return Err("is empty");
    }
    let decoded;
    let pem = if entry.starts_with("-----BEGIN ") {
        entry
    } else {
        let compact: String = entry.split_ascii_whitespace().collect();
        let bytes = STANDARD
            .decode(compact)
            .map_err(|_| "is neither a PEM text nor base64 of one")?;
        decoded = String::from_utf8(bytes).map_err(|_| "is base64, but not of a PEM text")?;
        &decoded
    };
    let has = |what: &str, label: &str| pem.contains(&format!("-----{what} {label}-----"));
    let labels = ["EC PRIVATE KEY", "PRIVATE KEY"];
    match labels.into_iter().find(|label| has("BEGIN", label)) {
        None if has("BEGIN", "PUBLIC KEY") => Err("is a public key; signing takes the private one"),
        None if has("BEGIN", "ENCRYPTED PRIVATE KEY") => Err("is locked with a passphrase; give it unlocked"),
        None => Err("has no block `EC PRIVATE KEY` or `PRIVATE KEY`"),
        Some(label) if !has("END", label) => Err("is cut off: the last line of its block is missing"),
        Some(_) => SigningKey::from_pem(pem)
            .map_err(|_| "is not a P-384 key: `openssl ecparam -name secp384r1 -genkey -noout`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!(
            "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
            STANDARD.encode(der)
        )
    }

    #[test]
    fn the_first_of_the_keys_signs_in_either_form() {
        let (new, old) = (SigningKey::generate(), SigningKey::generate());
        let [new_pem, old_pem] = [&new, &old].map(|key| pem("PRIVATE KEY", &key.to_pkcs8()));
        for text in [
            new_pem.clone(),
            STANDARD.encode(&new_pem),
            format!("{}, {}", STANDARD.encode(&new_pem), STANDARD.encode(&old_pem)),
        ] {
            assert_eq!(read(&text).unwrap().public_pem(), new.public_pem());
        }
    }

    #[test]
    fn a_key_that_stands_in_a_published_example_is_refused_wherever_it_is_listed() {
        let (own, published) = (SigningKey::generate(), SigningKey::generate());
        let [own, published_pem] = [&own, &published].map(|key| pem("PRIVATE KEY", &key.to_pkcs8()));
        let refused = read_unless(&[published.kid()], &format!("{own},{published_pem}")).unwrap_err();
        assert_eq!(refused.place, 2);
        assert!(refused.what.starts_with("stands in a published example"));
    }

    #[test]
    fn a_fault_is_named_with_its_place_and_nothing_of_the_key() {
        let good = pem("PRIVATE KEY", &SigningKey::generate().to_pkcs8());
        let base64 = STANDARD.encode(&good);
        let cut = good.split("-----END").next().unwrap().to_owned();
        for (text, told) in [
            (String::new(), "key 1 is empty"),
            (format!("{base64},"), "key 2 is empty"),
            ("canary!".to_owned(), "key 1 is neither a PEM text nor base64 of one"),
            (
                format!("{base64},canary!"),
                "key 2 is neither a PEM text nor base64 of one",
            ),
            (STANDARD.encode([0xff; 9]), "key 1 is base64, but not of a PEM text"),
            (
                STANDARD.encode("canary"),
                "key 1 has no block `EC PRIVATE KEY` or `PRIVATE KEY`",
            ),
            (
                SigningKey::generate().public_pem(),
                "key 1 is a public key; signing takes the private one",
            ),
            (
                pem("ENCRYPTED PRIVATE KEY", b"canary"),
                "key 1 is locked with a passphrase; give it unlocked",
            ),
            (cut, "key 1 is cut off: the last line of its block is missing"),
            (
                pem("EC PRIVATE KEY", b"canary"),
                "key 1 is not a P-384 key: `openssl ecparam -name secp384r1 -genkey -noout`",
            ),
            ("x".repeat(TEXT_MAX + 1), "key 1 is longer than any key"),
        ] {
            assert_eq!(read(&text).unwrap_err().to_string(), told);
        }
    }
}
