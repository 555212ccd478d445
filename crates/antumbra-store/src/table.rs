//! A table: a name, and the types of its keys and values.

use std::marker::PhantomData;

/// A named, ordered table of `K` to `V`.
///
/// Declared once, as a constant at the top of the file that owns it, and named again in the list given to
/// [`Store::open`](crate::Store::open). Names are lower-case words joined by `_`, at most 48 bytes: they are names of
/// SQL tables on one of the engines.
pub struct Table<K, V> {
    name: &'static str,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// A table called `name`. A name that breaks the rule above does not compile in a constant.
    pub const fn new(name: &'static str) -> Self {
        assert!(
            is_table_name(name),
            "a table name is lower-case words joined by `_`, at most 48 bytes"
        );
        Table {
            name,
            types: PhantomData,
        }
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

pub(crate) const fn is_table_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 48 || !bytes[0].is_ascii_lowercase() {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !(bytes[i].is_ascii_lowercase() || bytes[i].is_ascii_digit() || bytes[i] == b'_') {
            return false;
        }
        i += 1;
    }
    true
}
