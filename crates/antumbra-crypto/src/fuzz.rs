//! What the readers of this crate keep for any bytes at all. Each target is run by the tests over seeds and random changes
//! of them (`fuzz/README.md`).

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::{
    Key32,
    api_key::ApiKey,
    body::{BodyError, GROUP_BYTES, Groups, Opener, RangeOpener, SealedBody, Sealer},
    padded::PaddedKek,
    token::{Claims, SharedSecret, SigningKey, TokenKey, TokenKeys, VerifyingKey},
    value,
    wrap::{self, Kek, WrappedKey},
};

/// A name, and what takes any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which is that of its folder of seeds.
pub const TARGETS: &[Target] = &[
    ("api_key", api_key),
    ("body", body),
    ("padded_text", padded_text),
    ("sealed_value", sealed_value),
    ("secret_token", secret_token),
    ("shared_token", shared_token),
    ("signed_token", signed_token),
    ("wrapped_key", wrapped_key),
];

/// What these keys made once. Whatever else opens under them is a forgery.
const GENUINE_TOKEN: &str = include_str!("../../../fuzz/seeds/shared_token/genuine");
const GENUINE_SIGNED_TOKEN: &str = include_str!("../../../fuzz/seeds/signed_token/genuine");
const GENUINE_VALUE: &[u8] = include_bytes!("../../../fuzz/seeds/sealed_value/genuine");
const GENUINE_PADDED_TEXT: &[u8] = include_bytes!("../../../fuzz/seeds/padded_text/genuine");
const GENUINE_SECRET_TOKEN: &str = include_str!("../../../fuzz/seeds/secret_token/genuine");
const GENUINE_WRAPPED_KEY: &[u8] = include_bytes!("../../../fuzz/seeds/wrapped_key/genuine");
const GENUINE_PRIVATE_KEY: &str = include_str!("../../../fuzz/seeds/signed_token/private_key");

const PLACE: &[&[u8]] = &[b"organization", b"place"];

fn key() -> Key32 {
    Key32::take(&mut [0x42; 32])
}

/// `bytes` with one of them changed; which one and how, the front of `by` says.
fn altered(bytes: &[u8], by: &[u8]) -> Vec<u8> {
    let [high, low, change] = [0, 1, 2].map(|at| by.get(at).copied().unwrap_or(0));
    let mut altered = bytes.to_vec();
    let place = usize::from(u16::from_be_bytes([high, low])) % altered.len();
    altered[place] ^= if change == 0 { 0x80 } else { change };
    altered
}

/// A key that is taken reads as it was written and shows nothing; no typing error in one of ours is taken.
fn api_key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(key) = ApiKey::parse(text) else { return };
    assert_eq!(key.expose(), text);
    assert_eq!(format!("{key:?}"), "ApiKey(..)");
    assert!(key.preview().chars().count() <= text.len() && !key.preview().contains(text));
    let Some(id) = key.id() else { return };
    assert_eq!(id, &text[4..12]);
    for place in 0..bytes.len() {
        let mut mistyped = bytes.to_vec();
        mistyped[place] = if bytes[place] == b'7' { b'8' } else { b'7' };
        let mistyped = String::from_utf8(mistyped).expect("a key of ours is ASCII");
        let still_ours = mistyped.starts_with("ant_");
        assert!(!still_ours || ApiKey::parse(&mistyped).is_err(), "place {place}");
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    says: String,
}

impl Claims for Note {
    const KIND: &'static str = "note";
}

/// No bytes but those that were signed are a token, and what was signed comes back.
fn shared_token(bytes: &[u8]) {
    let keys = TokenKeys::new(TokenKey::new("fuzz", &key()), Vec::new());
    let read = |text: &[u8]| keys.verify::<Note>(std::str::from_utf8(text).ok()?).ok();
    if let Some(note) = read(bytes) {
        assert_eq!((note.says.as_str(), bytes), ("Ada", GENUINE_TOKEN.as_bytes()));
    }
    let note = Note {
        says: String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).into_owned(),
    };
    let token = keys.sign(&note);
    assert_eq!(read(&altered(token.as_bytes(), bytes)), None);
    assert_eq!(
        read(token.as_bytes()),
        (token.len() <= crate::token::TOKEN_LEN_MAX).then_some(note)
    );
}

/// No bytes but those that were signed with the secret are a token, whatever header they have.
fn secret_token(bytes: &[u8]) {
    let secrets = [SharedSecret::new(&[1; 48]), SharedSecret::new(key().expose())];
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((signer, note)) = SharedSecret::verify::<Note>(&secrets, text) {
        assert_eq!((signer, note.says.as_str(), text), (1, "Ada", GENUINE_SECRET_TOKEN));
    }
}

/// A text is wrapped in one way and comes back, and nothing else opens: what does is what wrapping would give.
fn padded_text(bytes: &[u8]) {
    let kek = PaddedKek::new(key());
    if let Ok(text) = kek.unwrap(bytes) {
        assert_eq!(kek.wrap(&text).as_deref(), Some(bytes));
        assert_eq!(bytes, GENUINE_PADDED_TEXT);
    }
    let Some(wrapped) = kek.wrap(bytes) else { return };
    assert_eq!(kek.unwrap(&wrapped).as_deref().map(Vec::as_slice), Ok(bytes));
    assert!(kek.unwrap(&altered(&wrapped, bytes)).is_err());
}

/// Nothing but what was signed is taken for signed. The signature itself may be another: ECDSA knows two for each.
fn signed_token(bytes: &[u8]) {
    static KEY: LazyLock<SigningKey> =
        LazyLock::new(|| SigningKey::from_pem(GENUINE_PRIVATE_KEY).expect("the seed is a key"));
    static PUBLIC: LazyLock<VerifyingKey> =
        LazyLock::new(|| VerifyingKey::from_pem(&KEY.public_pem()).expect("the public half is a key"));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(note) = PUBLIC.verify::<Note>(text) {
        let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
        assert_eq!(
            (note.says.as_str(), signed(text)),
            ("Ada", signed(GENUINE_SIGNED_TOKEN))
        );
    }
    if let Ok(read) = SigningKey::from_pem(text) {
        let again = SigningKey::from_pkcs8(&read.to_pkcs8()).expect("what was written can be read");
        assert_eq!(again.kid(), read.kid());
    }
    let _ = VerifyingKey::from_pem(text);
}

/// A wrapped key is read and written alike, opens to what was wrapped, and does not open once a bit of it is another.
fn wrapped_key(bytes: &[u8]) {
    let kek = Kek::new(3, &key());
    let open = |bytes: &[u8]| WrappedKey::from_bytes(bytes).and_then(|wrapped| wrap::unwrap(&kek, PLACE, &wrapped));
    if let Ok(wrapped) = WrappedKey::from_bytes(bytes) {
        assert_eq!(wrapped.to_bytes(), bytes);
    }
    assert!(open(bytes).is_err() || bytes == GENUINE_WRAPPED_KEY);
    let mut content = [0; 32];
    content.iter_mut().zip(bytes).for_each(|(byte, from)| *byte = *from);
    let wrapped = wrap::wrap(&kek, PLACE, &Key32::take(&mut content.clone())).to_bytes();
    assert_eq!(open(&wrapped).map(|key| *key.expose()), Ok(content));
    assert!(open(&altered(&wrapped, bytes)).is_err());
}

/// A sealed value opens to what was sealed, and nothing else opens.
fn sealed_value(bytes: &[u8]) {
    let open = |sealed: &[u8]| value::open(&key(), PLACE, sealed);
    assert!(open(bytes).is_err() || bytes == GENUINE_VALUE);
    let sealed = value::seal(&key(), PLACE, bytes);
    assert_eq!(open(&sealed).as_deref().map(Vec::as_slice), Ok(bytes));
    assert!(open(&altered(&sealed, bytes)).is_err());
    assert!(open(&sealed[..sealed.len() - 1]).is_err());
}

/// A body opens to what was sealed, whole or in part; altered anywhere, the whole does not open, and a part of it either
/// does not open or is what was sealed.
fn body(bytes: &[u8]) {
    let [size, size_low, from, length, kind] = [0, 1, 2, 3, 4].map(|at| usize::from(*bytes.get(at).unwrap_or(&0)));
    let pattern = bytes.get(5..).filter(|rest| !rest.is_empty()).unwrap_or(b"plain");
    let plain: Vec<u8> = pattern
        .iter()
        .copied()
        .cycle()
        .take((size << 8 | size_low) * 3)
        .collect();
    let iv = [7; 12];
    let mut stored = plain.clone();
    let mut sealer = Sealer::new(&key(), &iv).expect("there is memory");
    for piece in stored.chunks_mut(pattern.len() * 1_024) {
        sealer.seal(piece).expect("it fits");
    }
    let mut sealed = sealer.finish().expect("there is memory");

    let wanted = (plain.len() * from / 256) as u64..(plain.len() * (from + length).min(255) / 256) as u64;
    assert_eq!(open_whole(&stored, &sealed, &iv).as_ref(), Ok(&plain));
    let part = &plain[wanted.start as usize..(wanted.end as usize).max(wanted.start as usize)];
    assert_eq!(open_part(&stored, &sealed, &iv, wanted.clone()).as_deref(), Ok(part));

    match kind % 5 {
        0 if !stored.is_empty() => stored = altered(&stored, &bytes[3.min(bytes.len())..]),
        1 if !sealed.sidecar.is_empty() => sealed.sidecar = altered(&sealed.sidecar, bytes),
        2 => sealed.root = altered(&sealed.root, bytes).try_into().expect("as long as it was"),
        3 => sealed.len += 1 + (from * GROUP_BYTES) as u64,
        _ => sealed.tag = altered(&sealed.tag, bytes).try_into().expect("as long as it was"),
    }
    assert!(open_whole(&stored, &sealed, &iv).is_err());
    let opened = open_part(&stored, &sealed, &iv, wanted);
    assert!(opened.is_err() || opened.as_deref() == Ok(part));
}

fn open_whole(stored: &[u8], sealed: &SealedBody, iv: &[u8; 12]) -> Result<Vec<u8>, BodyError> {
    let groups = Groups::new(&sealed.sidecar, sealed.len, &sealed.root)?;
    let mut opener = Opener::new(&key(), iv, sealed.len)?;
    let mut opened = Vec::new();
    for (number, group) in (0..).zip(stored.chunks(GROUP_BYTES)) {
        opened.extend(opener.open(groups.verify(number, group.to_vec())?)?);
    }
    opener.finish(&sealed.tag)?;
    Ok(opened)
}

fn open_part(
    stored: &[u8],
    sealed: &SealedBody,
    iv: &[u8; 12],
    wanted: std::ops::Range<u64>,
) -> Result<Vec<u8>, BodyError> {
    let groups = Groups::new(&sealed.sidecar, sealed.len, &sealed.root)?;
    let read = groups.covering(wanted.clone());
    assert!(read.start <= wanted.start.min(sealed.len) && read.start.is_multiple_of(GROUP_BYTES as u64));
    let first = read.start / GROUP_BYTES as u64;
    let stored = stored.get(read.start as usize..read.end as usize);
    let stored = stored.ok_or(BodyError::GroupDamaged { group: first })?;
    let opened = RangeOpener::new(&key(), iv)?.open(groups.verify(first, stored.to_vec())?)?;
    let place = |at: u64| ((at.max(read.start) - read.start) as usize).min(opened.len());
    Ok(opened[place(wanted.start)..place(wanted.end).max(place(wanted.start))].to_vec())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_over_its_seeds_and_what_chance_makes_of_them() {
        fuzz_plain::run(super::TARGETS);
    }
}
