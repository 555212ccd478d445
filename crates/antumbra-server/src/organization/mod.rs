//! Organizations, the identifiers they know, their data subject types with actions, and attribute keys.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whose data, keys and rules; first in every table key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrganizationId(pub Uuid);
