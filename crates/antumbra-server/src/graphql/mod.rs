//! The management API: each slice's part of the schema, merged.
