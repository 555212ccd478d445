//! Organizations and what they configure about themselves: the identifiers they know people by, the data subject types
//! that can make requests and what they may demand, how each action is handled, attribute keys, templates.
//!
//! Others read a compiled snapshot, [`Settings`], which [`SettingsCache`] checks against the store by one read in the
//! caller's own transaction. Changes go through [`Changes`].

pub(crate) mod graphql;
mod model;
mod rehearsal;
mod settings;
mod store;

use antumbra_store::{Corrupt, Key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use model::{
    Action, ActionId, ActionSettings, AttributeKey, AttributeKeyId, AttributeKind, AttributeValue, AttributeValueId,
    Days, Delay, Holiday, Identifier, IdentifierId, IdentifierKind, MessageKind, NoHoliday, Organization, Piece,
    PostCompileStatus, RegionDetection, RegionExpiry, Retention, RetentionKind, SettingError, SubjectClass,
    SubjectType, SubjectTypeId, TAGS, Template, TemplateId, TextPlace, TimeToAnswer, check_words, knows_zone,
    names_for, pieces_of,
};
pub use rehearsal::{AHEAD_MAX, load_clocks};
pub use settings::{KnownIdentifier, Settings};
pub use store::{ChangeError, Changes, SettingsCache, TABLES, create, list, workflows};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

/// Whose data, keys and rules; first in every table key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrganizationId(pub Uuid);

impl Key for OrganizationId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(OrganizationId)
    }
}
