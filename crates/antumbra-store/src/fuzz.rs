//! What the readers of this crate keep for any bytes at all. Each target is run by the tests over seeds and random changes
//! of them (`fuzz/README.md`).

use serde::{Deserialize, Serialize};

use crate::{
    Corrupt, Record, Value,
    key::{bytes_of, key_of},
};

/// A name, and what takes any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which is that of its folder of seeds.
pub const TARGETS: &[Target] = &[
    ("journal", crate::embedded::fuzz_journal),
    ("store_key", store_key),
    ("stored_value", stored_value),
];

type Wide = (u8, i64, String, bool, Vec<u8>, ([u8; 3], u32));

/// A key has one spelling, and two keys sort as their bytes do.
fn store_key(bytes: &[u8]) {
    let read = |bytes: &[u8]| key_of::<Wide>(bytes).ok();
    if let Some(key) = read(bytes) {
        assert_eq!(bytes_of(&key), bytes);
    }
    let (a, b) = bytes.split_at(bytes.len() / 2);
    if let (Some(first), Some(second)) = (read(a), read(b)) {
        assert_eq!(a.cmp(b), first.cmp(&second));
    }
    let (a, b) = (
        String::from_utf8_lossy(a).into_owned(),
        String::from_utf8_lossy(b).into_owned(),
    );
    let (key, other) = ((a.clone(), a.len() as u64), (b.clone(), b.len() as u64));
    assert_eq!(key_of::<(String, u64)>(&bytes_of(&key)).as_ref(), Ok(&key));
    assert_eq!(bytes_of(&key).cmp(&bytes_of(&other)), key.cmp(&other));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: Option<String>,
    state: State,
    #[serde(default)]
    parts: Vec<(i32, [u8; 4])>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Open,
    Waiting { since: i64 },
    Ended(String),
}

#[derive(Serialize, Deserialize)]
struct EarlierRow {
    id: u64,
}

impl Record for Row {
    const VERSION: u8 = 2;

    fn upgrade(version: u8, bytes: &[u8]) -> Result<Row, Corrupt> {
        let earlier: EarlierRow = match version {
            1 => rmp_serde::from_slice(bytes).map_err(|_| Corrupt("version 1 is broken"))?,
            _ => return Err(Corrupt("unknown")),
        };
        Ok(Row {
            id: earlier.id,
            name: None,
            state: State::Open,
            parts: Vec::new(),
        })
    }
}

/// See [`same_when_written_again`], for a record with a past.
fn stored_value(bytes: &[u8]) {
    same_when_written_again::<Row>(bytes);
}

/// Whatever can be read is written in one way, and read again as the same.
///
/// # Panics
/// If it is not.
pub fn same_when_written_again<V: Value>(bytes: &[u8]) {
    let Ok(value) = V::decode(bytes) else { return };
    let mut written = Vec::new();
    value.encode(&mut written).expect("what was read can be written");
    let again = V::decode(&written).expect("what was written can be read");
    let mut twice = Vec::new();
    again.encode(&mut twice).expect("what was read can be written");
    assert_eq!(written, twice);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_over_its_seeds_and_what_chance_makes_of_them() {
        fuzz_plain::run(super::TARGETS);
    }
}
