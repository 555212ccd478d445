//! Objects that mean something else altogether once a member of theirs is misspelt.
//!
//! Members that we do not know are ignored, as everywhere. But where all that an object says is under names we do not
//! know, what is left would mean "everybody", or nothing at all: such an object is refused, naming the members there are.

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
    /// The members that carry what the object says.
    pub(crate) telling: &'static [&'static str],
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
        let telling = self.telling;
        let object = Object {
            visitor,
            fields,
            telling,
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
            tells: &mut tells,
            has_unknown: &mut has_unknown,
        };
        let read = self.visitor.visit_map(members)?;
        if has_unknown && !tells {
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
        *self.has_unknown |= !self.fields.contains(&&*name);
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
