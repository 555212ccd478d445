//! Data silos, their data points, and enrichers, as they are configured.
//!
//! What a silo was asked and what it answered is the business of `runs`; this slice only says which silos there are, how
//! they are reached, and what they hold. Secrets in it (the values of headers) are sealed under a key of the silo's own.

pub mod address;
pub(crate) mod graphql;
mod model;
mod store;

use std::time::Duration;

use antumbra_store::{Corrupt, Key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::jobs::{INNER_RETRIES, JobKind};

pub use model::{
    Attribute, DailyWindow, DataPoint, DataSilo, Encryption, Enricher, EnricherKind, Field, Header, Localized, Named,
    Query, REMINDERS_MAX, SealedHeader, SiloError, VendorMail, VendorMailCompletionLink, VendorMailSendType,
    WorkflowDependencies, is_ours,
};
pub use store::{
    SaveError, TABLES, delete_data_point, delete_enricher, delete_silo, find_data_point, find_data_point_by_name,
    find_data_points, find_enricher, find_silo, list_all_data_points, list_data_points, list_enrichers, list_silos,
    may_name_data_point, open_enricher_headers, open_headers, save_data_point, save_enricher, save_silo,
};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

/// A silo that was paused is told again what it has to do. Subject: the silo. The work is done by the slice of silo runs.
pub static RESUMED: JobKind = JobKind {
    name: "silos.resumed",
    lease: Duration::from_secs(10 * 60),
    retries: INNER_RETRIES,
    at_once: 4,
    at_once_per_target: 1,
};

/// An enricher was paused, resumed, changed or removed: requests that it may concern are looked at again. Subject: the enricher. The
/// work is done by the slice of preflights.
pub static ENRICHER_CHANGED: JobKind = JobKind {
    name: "silos.enricher_changed",
    lease: Duration::from_secs(10 * 60),
    retries: INNER_RETRIES,
    at_once: 4,
    at_once_per_target: 1,
};

/// A system that holds personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataSiloId(pub Uuid);

/// One collection inside a silo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataPointId(pub Uuid);

/// A lookup of further identifiers, or a rule, that runs before silos are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnricherId(pub Uuid);

impl Key for DataSiloId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(DataSiloId)
    }
}

impl Key for DataPointId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(DataPointId)
    }
}

impl Key for EnricherId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(EnricherId)
    }
}
