//! What people can be asked about: purposes, the preference topics under them, the options of topics; and partitions,
//! the walled-off sets that answers are kept in.
//!
//! Everything here is configuration. Preference records refer to it by small numbers that are never given twice in one
//! organization, so that a purpose made anew under an old name does not inherit old answers. The hot path reads a
//! compiled [`Catalog`], kept in [`Catalogs`] and checked by one read in the caller's transaction.
//!
//! | File | Holds |
//! | --- | --- |
//! | `model.rs` | the types, and the rules on names |
//! | `catalog.rs` | everything an organization has, made ready for the preference store |
//! | `store.rs` | the tables, and each change as a function over a transaction |

mod catalog;
pub(crate) mod graphql;
mod model;
mod store;

pub use catalog::{Catalog, Catalogs, OptionEntry, PurposeEntry, TopicEntry};
pub use model::{
    AuthLevel, DefaultConsent, ExpiryRule, NewPurpose, NewTopic, OnConsentExpiry, OptionChange, OptionId, OptionValue,
    Partition, PartitionId, PrivacySignal, Purpose, PurposeChange, PurposeError, PurposeId, PurposeSettings, Topic,
    TopicChange, TopicId, TopicKind,
};
pub use store::{
    TABLES, change_or_create_options, change_purpose, change_topic, create_built_ins, create_partition, create_purpose,
    create_topic, delete_options, delete_partition, delete_purpose, delete_topics, list_options, list_partitions,
    list_purposes, list_topics, renew,
};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;
