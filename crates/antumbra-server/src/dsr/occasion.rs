//! What brought a request about when nobody submitted it: a choice about a purpose, as it stood then.
//!
//! Names and titles are kept as they were at the time, so that the request goes on saying what was chosen whatever becomes of
//! the configuration. All of it is about the person, and is sealed with the rest that is.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::purposes::Partition;

/// A choice about a purpose that brought a request about.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occasion {
    /// The partition of the preferences.
    pub partition: OccasionPartition,
    /// What clients call the purpose.
    pub purpose: String,
    /// What people call it.
    pub name: String,
    /// Its heading.
    pub title: String,
    /// Whether it is allowed.
    pub enabled: bool,
    /// The answers under it.
    pub answers: Vec<TopicAnswer>,
}

/// A walled-off set of preferences.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccasionPartition {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// What clients call it.
    pub key: String,
}

impl From<Partition> for OccasionPartition {
    fn from(partition: Partition) -> OccasionPartition {
        OccasionPartition {
            id: partition.id.0,
            name: partition.name,
            key: partition.key,
        }
    }
}

/// The answer to a preference topic.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicAnswer {
    /// The topic.
    pub topic: Labelled,
    /// What was answered.
    pub choice: TopicChoice,
}

/// What was answered to a preference topic.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicChoice {
    /// Yes or no.
    Boolean(bool),
    /// One option.
    Select(Labelled),
    /// Some options.
    MultiSelect(Vec<Labelled>),
}

/// A topic or an option, by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labelled {
    /// Its id.
    pub id: Uuid,
    /// What clients call it.
    pub slug: String,
    /// What people call it.
    pub title: String,
}
