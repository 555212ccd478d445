//! The choice that brought a request about, as silos read it in notices and work lists.
//!
//! Receivers check these objects against closed schemas: there is nothing in them but what the contract names.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::dsr::occasion::{Labelled, Occasion, OccasionPartition, TopicAnswer, TopicChoice};

/// A purpose, and what was chosen about it.
#[derive(Serialize, ToSchema)]
pub(crate) struct PurposeOut {
    /// What clients call it.
    purpose: String,
    /// Whether it is allowed.
    enabled: bool,
    /// The answers to its topics; absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    preferences: Vec<PreferenceOut>,
}

/// The answer to a preference topic.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreferenceOut {
    /// What clients call the topic.
    topic: String,
    choice: PreferenceChoiceOut,
}

/// An answer, in the member that its kind has.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum PreferenceChoiceOut {
    BooleanValue(bool),
    SelectValue(String),
    SelectValues(Vec<String>),
}

/// The partition of the preferences.
#[derive(Serialize, ToSchema)]
pub(crate) struct PartitionOut {
    id: Uuid,
    name: String,
    /// What clients call it.
    partition: String,
}

impl PurposeOut {
    pub(crate) fn new(occasion: &Occasion) -> PurposeOut {
        PurposeOut {
            purpose: occasion.purpose.clone(),
            enabled: occasion.enabled,
            preferences: PreferenceOut::all(occasion),
        }
    }
}

impl PreferenceOut {
    pub(crate) fn all(occasion: &Occasion) -> Vec<PreferenceOut> {
        occasion.answers.iter().map(PreferenceOut::new).collect()
    }

    fn new(answer: &TopicAnswer) -> PreferenceOut {
        let slug = |option: &Labelled| option.slug.clone();
        PreferenceOut {
            topic: answer.topic.slug.clone(),
            choice: match &answer.choice {
                TopicChoice::Boolean(yes) => PreferenceChoiceOut::BooleanValue(*yes),
                TopicChoice::Select(option) => PreferenceChoiceOut::SelectValue(slug(option)),
                TopicChoice::MultiSelect(options) => {
                    PreferenceChoiceOut::SelectValues(options.iter().map(slug).collect())
                }
            },
        }
    }
}

impl PartitionOut {
    pub(crate) fn new(partition: &OccasionPartition) -> PartitionOut {
        PartitionOut {
            id: partition.id,
            name: partition.name.clone(),
            partition: partition.key.clone(),
        }
    }
}
