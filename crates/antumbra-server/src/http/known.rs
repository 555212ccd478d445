//! Objects that mean something else altogether once a member of theirs is misspelt.
//!
//! Members that we do not know are ignored, as everywhere. But where all that an object says is under names we do not
//! know, what is left would mean "everybody", or nothing at all: such an object is refused, naming the members there are.
//! So is one with a member whose name is a slip away from one of ours: a bound that is not heeded answers about others, a
//! time that is not heeded about another time.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, MapAccess, Visitor, value::CowStrDeserializer},
    forward_to_deserialize_any,
};

/// Reads an object for whoever asks for a struct, and refuses one that has members that the struct does not know and
/// none of those that carry what it says.
pub(crate) struct Known<D> {
    /// Where the object is read from.
    pub(crate) from: D,
    /// The members that carry what the object says. If there are none, whatever it has says enough.
    pub(crate) telling: &'static [&'static str],
    /// What becomes of a member that is not known and has nearly the name of one that is.
    pub(crate) slips: Slips,
}

/// Reads these structs through [`Known`], with the members that carry what each says (none: it needs none of them). They
/// need `#[serde(remote = "Self")]`, with which serde writes `T::deserialize` beside the trait's.
macro_rules! careful {
    ($($kind:ident: $telling:expr;)+) => {$(
        impl<'de> serde::Deserialize<'de> for $kind {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$kind, D::Error> {
                let (telling, slips) = (&$telling, $crate::http::Slips::Refused);
                $kind::deserialize($crate::http::Known { from, telling, slips })
            }
        }
    )+};
}
pub(crate) use careful;

/// What becomes of a member that has nearly the name of one that is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slips {
    /// It is ignored as others are: clients send members with such names.
    Ignored,
    /// The object is refused.
    Refused,
}

/// The member that one of this name was probably meant to be: but for case, for one slip, or for two in a long name.
pub(crate) fn meant<'a>(name: &str, fields: &[&'a str]) -> Option<&'a str> {
    let is_near = |field: &&&str| {
        let slips = if field.len() < 10 { 1 } else { 2 };
        name.eq_ignore_ascii_case(field)
            || field.len() > 2
                && name.len().abs_diff(field.len()) <= slips
                && strsim::osa_distance(name, field) <= slips
    };
    fields.iter().find(is_near).copied()
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Known<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.from.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let object = Object {
            visitor,
            fields,
            telling: self.telling,
            slips: self.slips,
        };
        self.from.deserialize_struct(name, fields, object)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Object<V> {
    visitor: V,
    fields: &'static [&'static str],
    telling: &'static [&'static str],
    slips: Slips,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Object<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        let (mut tells, mut has_unknown) = (false, false);
        let members = Members {
            map,
            fields: self.fields,
            telling: self.telling,
            slips: self.slips,
            tells: &mut tells,
            has_unknown: &mut has_unknown,
        };
        let read = self.visitor.visit_map(members)?;
        if has_unknown && !tells && !self.telling.is_empty() {
            let names = self.telling.join(", ");
            return Err(A::Error::custom(format_args!("must have one of the members {names}")));
        }
        Ok(read)
    }
}

struct Members<'a, A> {
    map: A,
    fields: &'static [&'static str],
    telling: &'static [&'static str],
    slips: Slips,
    tells: &'a mut bool,
    has_unknown: &'a mut bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.map.next_key_seed(Name)? else {
            return Ok(None);
        };
        *self.tells |= self.telling.contains(&&*name);
        if !self.fields.contains(&&*name) {
            *self.has_unknown = true;
            if let Some(meant) = meant(&name, self.fields).filter(|_| self.slips == Slips::Refused) {
                let rule = format_args!("must not have a member that is nearly, but not quite, called {meant}");
                return Err(A::Error::custom(rule));
            }
        }
        let from = CowStrDeserializer::new(name);
        seed.deserialize(from).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// The name of a member, borrowed where that can be.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cow<'de, str>, D::Error> {
        from.deserialize_str(Text(PhantomData))
    }
}

struct Text<'de>(PhantomData<&'de ()>);

impl<'de> Visitor<'de> for Text<'de> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }

    fn visit_string<E: Error>(self, name: String) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_away_from_a_name_is_near_and_another_word_is_not() {
        let fields = ["asOf", "usp", "timestampAfter", "timestampBefore", "identifiers", "tcf"];
        for (name, field) in [
            ("asof", "asOf"),
            ("AsOf", "asOf"),
            ("ups", "usp"),
            ("uspp", "usp"),
            ("timestampAftr", "timestampAfter"),
            ("timestmpAftr", "timestampAfter"),
            ("timeStampAfter", "timestampAfter"),
            ("identifier", "identifiers"),
            ("idnetifiers", "identifiers"),
        ] {
            assert_eq!(meant(name, &fields), Some(field), "{name}");
        }
        for name in [
            "",
            "a",
            "of",
            "since",
            "timestamp",
            "updatedAfter",
            "ids",
            "gpp",
            "identity",
            "x".repeat(50_000).as_str(),
        ] {
            assert_eq!(meant(name, &fields), None, "{name}");
        }
    }
}
