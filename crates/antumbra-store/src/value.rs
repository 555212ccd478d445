//! Values as bytes that stay readable when their types grow.

use crate::Corrupt;
use serde::{Serialize, de::DeserializeOwned};

/// What a table can hold.
///
/// Implemented by every [`Record`], by `()` for tables whose keys say it all, and by [`Raw`].
pub trait Value: Sized {
    /// Appends the value's bytes.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Corrupt>;

    /// Reads a value back.
    fn decode(bytes: &[u8]) -> Result<Self, Corrupt>;
}

/// A value kept as one version byte and then MessagePack with the names of the fields.
///
/// Names make small changes free: a new field needs `#[serde(default)]`, a dropped one nothing. A change beyond that
/// raises [`VERSION`](Record::VERSION) and teaches [`upgrade`](Record::upgrade) to read what was written before.
pub trait Record: Serialize + DeserializeOwned {
    /// The version that is written today.
    const VERSION: u8;

    /// Reads the MessagePack of an earlier version. An unknown version is an error.
    fn upgrade(version: u8, bytes: &[u8]) -> Result<Self, Corrupt> {
        let _ = (version, bytes);
        Err(Corrupt(
            "it was written by a version of the program that this one does not know",
        ))
    }
}

impl<R: Record> Value for R {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Corrupt> {
        out.push(R::VERSION);
        // The cause is dropped because it could quote what was being written.
        rmp_serde::encode::write_named(out, self).map_err(|_| Corrupt("the value cannot be written as MessagePack"))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        match bytes {
            [version, rest @ ..] if *version == R::VERSION => rmp_serde::from_slice(rest)
                // The cause is dropped because it could quote what was read.
                .map_err(|_| Corrupt("the value is not MessagePack of the shape that its version promises")),
            [version, rest @ ..] => R::upgrade(*version, rest),
            [] => Err(Corrupt("the value is empty")),
        }
    }
}

impl Value for () {
    fn encode(&self, _: &mut Vec<u8>) -> Result<(), Corrupt> {
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        match bytes {
            [] => Ok(()),
            _ => Err(Corrupt("the value should be empty")),
        }
    }
}

/// Bytes that are already encoded, kept as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(pub Vec<u8>);

impl Value for Raw {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), Corrupt> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        Ok(Raw(bytes.to_vec()))
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        name: String,
    }

    impl Record for Old {
        const VERSION: u8 = 1;
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Grown {
        name: String,
        #[serde(default)]
        nick: Option<String>,
    }

    impl Record for Grown {
        const VERSION: u8 = 1;
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Remade {
        names: Vec<String>,
    }

    impl Record for Remade {
        const VERSION: u8 = 2;

        fn upgrade(version: u8, bytes: &[u8]) -> Result<Self, Corrupt> {
            match version {
                1 => rmp_serde::from_slice::<Old>(bytes)
                    .map(|old| Remade { names: vec![old.name] })
                    .map_err(|_| Corrupt("version 1 is broken")),
                _ => Err(Corrupt("unknown")),
            }
        }
    }

    fn stored(value: &impl Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out).unwrap();
        out
    }

    #[test]
    fn an_old_row_is_read_by_a_type_that_grew_and_by_one_that_was_remade() {
        let row = stored(&Old { name: "Ada".into() });
        assert_eq!(
            Grown::decode(&row),
            Ok(Grown {
                name: "Ada".into(),
                nick: None
            })
        );
        assert_eq!(
            Remade::decode(&row),
            Ok(Remade {
                names: vec!["Ada".into()]
            })
        );
    }

    #[test]
    fn a_row_from_a_later_version_or_of_broken_bytes_is_refused() {
        let row = stored(&Remade { names: vec![] });
        assert!(Old::decode(&row).is_err());
        assert!(Old::decode(&[]).is_err());
        assert!(Old::decode(&[1, 0xC1]).is_err());
        assert!(<()>::decode(&[0]).is_err());
    }
}
