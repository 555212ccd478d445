//! Keys as bytes whose order is the order of the keys.
//!
//! Numbers are big-endian, signed ones with the sign bit flipped. Text and byte strings end in `00 00`, and a zero
//! byte inside them is written `00 FF`, so that a shorter one sorts before its extensions and a tuple sorts by its
//! first part, then the second. A tuple is its parts one after another, so the encoding of `(a,)` is a prefix of that
//! of `(a, b)`: that is what [`Scan::prefix`](crate::Scan::prefix) builds on.

use crate::Corrupt;
use uuid::Uuid;

/// A value that can be a table's key, or a part of one.
pub trait Key: Sized {
    /// Appends the key's bytes. For any two keys, the order of the bytes is the order of the keys.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one key from the front of `from`.
    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt>;
}

pub(crate) fn bytes_of(key: &impl Key) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    key.encode(&mut out);
    out
}

pub(crate) fn key_of<K: Key>(mut bytes: &[u8]) -> Result<K, Corrupt> {
    let key = K::decode(&mut bytes)?;
    match bytes {
        [] => Ok(key),
        _ => Err(Corrupt("the key has bytes left over")),
    }
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Result<&'a [u8], Corrupt> {
    let (taken, rest) = from.split_at_checked(count).ok_or(Corrupt("the key is too short"))?;
    *from = rest;
    Ok(taken)
}

macro_rules! unsigned_keys {
    ($($number:ty),*) => {$(
        impl Key for $number {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
                <[u8; size_of::<$number>()]>::decode(from).map(<$number>::from_be_bytes)
            }
        }
    )*};
}

unsigned_keys!(u8, u16, u32, u64, u128);

impl Key for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ (1 << 63)).encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        u64::decode(from).map(|bits| (bits ^ (1 << 63)).cast_signed())
    }
}

impl Key for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        match u8::decode(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Corrupt("the key holds neither true nor false")),
        }
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        let taken = take(from, N)?;
        Ok(taken.try_into().expect("`take` gives as many bytes as it is asked for"))
    }
}

impl Key for Uuid {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        <[u8; 16]>::decode(from).map(Uuid::from_bytes)
    }
}

impl Key for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_escaped(self, out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        let mut plain = Vec::new();
        loop {
            match u8::decode(from)? {
                0 => match u8::decode(from)? {
                    0 => return Ok(plain),
                    0xFF => plain.push(0),
                    _ => return Err(Corrupt("the key holds a byte string that is escaped wrongly")),
                },
                byte => plain.push(byte),
            }
        }
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_escaped(self.as_bytes(), out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        String::from_utf8(Vec::decode(from)?).map_err(|_| Corrupt("the key holds text that is not UTF-8"))
    }
}

fn encode_escaped(plain: &[u8], out: &mut Vec<u8>) {
    for &byte in plain {
        out.push(byte);
        if byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

macro_rules! tuple_keys {
    ($(($($part:ident),*)),*) => {$(
        impl<$($part: Key),*> Key for ($($part,)*) {
            #[allow(non_snake_case, unused_variables)]
            fn encode(&self, out: &mut Vec<u8>) {
                let ($($part,)*) = self;
                $($part.encode(out);)*
            }

            #[allow(unused_variables)]
            fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
                Ok(($($part::decode(from)?,)*))
            }
        }
    )*};
}

tuple_keys!(
    (),
    (A),
    (A, B),
    (A, B, C),
    (A, B, C, D),
    (A, B, C, D, E),
    (A, B, C, D, E, F)
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Wide = (u8, u64, i64, String, Vec<u8>, (bool, [u8; 3]));

    proptest! {
        #[test]
        fn a_key_comes_back_from_its_bytes(key: Wide) {
            prop_assert_eq!(key_of::<Wide>(&bytes_of(&key)), Ok(key));
        }

        #[test]
        fn the_order_of_the_bytes_is_the_order_of_the_keys(
            a in (0u8..2, any::<i64>(), "[\0a-c]{0,4}", prop::collection::vec(0u8..3, 0..4)),
            b in (0u8..2, any::<i64>(), "[\0a-c]{0,4}", prop::collection::vec(0u8..3, 0..4)),
        ) {
            prop_assert_eq!(bytes_of(&a).cmp(&bytes_of(&b)), a.cmp(&b));
        }

        #[test]
        fn bytes_that_are_no_key_are_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = key_of::<Wide>(&bytes);
        }
    }

    #[test]
    fn a_shorter_tuple_is_a_prefix_of_a_longer_one() {
        let whole = bytes_of(&("ada".to_owned(), 7u64));
        assert!(whole.starts_with(&bytes_of(&("ada".to_owned(),))));
        assert!(!whole.starts_with(&bytes_of(&("ad".to_owned(),))));
    }
}
