//! Data silos, their data points, and enrichers, as they are configured.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A system that holds personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DataSiloId(pub Uuid);
