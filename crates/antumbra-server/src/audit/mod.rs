//! Who did what to what: append-only, written in the transaction of the deed.
