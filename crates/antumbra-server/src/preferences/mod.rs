//! Preference records: upsert and query.
