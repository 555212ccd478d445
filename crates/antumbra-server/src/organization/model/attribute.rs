//! Labels: their keys, the values known of each, and what may carry them.

use std::collections::BTreeSet;

use async_graphql::Enum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{SettingError, TEXT_MAX, TITLE_MAX, check_name, check_text};

const ATTRIBUTE_VALUES_MAX: usize = 5_000;

/// The id of an attribute key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttributeKeyId(pub Uuid);

/// The id of one value of an attribute key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttributeValueId(pub Uuid);

/// A label that things of certain kinds can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeKey {
    /// Its id.
    pub id: AttributeKeyId,
    /// Its name.
    pub name: String,
    /// How its values are given.
    pub kind: AttributeKind,
    /// What it is for.
    pub description: Option<String>,
    /// What may carry it: the names of resource kinds, such as `request`.
    pub enabled_on: BTreeSet<String>,
    /// Whether the organization made it, or the server.
    pub is_custom: bool,
    /// The values known so far.
    pub values: Vec<AttributeValue>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl AttributeKey {
    /// The name of the resource kind that data subject requests have here.
    pub const ON_REQUESTS: &str = "request";

    /// Whether data subject requests may carry it.
    pub fn is_for_requests(&self) -> bool {
        self.enabled_on.contains(AttributeKey::ON_REQUESTS)
    }

    /// Checks everything that can be told without looking at others.
    pub(in crate::organization) fn check(&self) -> Result<(), SettingError> {
        check_name(&self.name)?;
        if self.values.len() > ATTRIBUTE_VALUES_MAX || self.enabled_on.len() > 100 {
            return Err(SettingError::TooMany);
        }
        let mut names = BTreeSet::new();
        for value in &self.values {
            check_text(&value.name, TITLE_MAX)?;
            if value.name.is_empty() {
                return Err(SettingError::Empty);
            }
            if !names.insert(&value.name) {
                return Err(SettingError::NameTaken);
            }
        }
        self.description
            .as_deref()
            .map_or(Ok(()), |text| check_text(text, TEXT_MAX))
    }
}

/// One value of an attribute key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeValue {
    /// Its id.
    pub id: AttributeValueId,
    /// What it says.
    pub name: String,
    /// What it means.
    pub description: Option<String>,
    /// The colour it is shown in.
    pub color: Option<String>,
}

/// How the values of an attribute key are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "AttributeKeyType")]
pub enum AttributeKind {
    /// Any number of the known values.
    MultiSelect,
    /// One of the known values.
    SingleSelect,
    /// Free text.
    Text,
    /// A mail address.
    Email,
    /// A telephone number.
    Telephone,
    /// An address on the web.
    Url,
    /// A reference to an assessment.
    Assessment,
}

impl AttributeKind {
    /// Whether values are picked from a list.
    pub fn is_select(self) -> bool {
        matches!(self, AttributeKind::MultiSelect | AttributeKind::SingleSelect)
    }
}

/// The attribute key that data subject requests can carry from the start.
pub const TAGS: &str = "Tags";
