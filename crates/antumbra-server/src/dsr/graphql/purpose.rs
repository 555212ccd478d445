//! The choice that brought a request about, as the management API shows it.

use async_graphql::{ID, SimpleObject};

use crate::{
    dsr::{
        occasion::{Labelled, Occasion, OccasionPartition, TopicAnswer, TopicChoice},
        wire::PreferenceOut,
    },
    graphql::Message,
};

/// The purpose that a request is about.
#[derive(SimpleObject)]
pub(super) struct RequestPurpose {
    /// Its heading.
    title: String,
    /// Its name.
    name: String,
    /// Whether it was allowed.
    consent: bool,
    /// The finer answers, as JSON: a list of `topic` and `choice`.
    preferences: String,
    /// The finer answers.
    enriched_preferences: Vec<RequestPreference>,
}

impl RequestPurpose {
    pub(super) fn new(occasion: &Occasion) -> RequestPurpose {
        let preferences = PreferenceOut::all(occasion);
        RequestPurpose {
            title: occasion.title.clone(),
            name: occasion.name.clone(),
            consent: occasion.enabled,
            preferences: serde_json::to_string(&preferences).expect("a list of strings has no way to fail"),
            enriched_preferences: occasion.answers.iter().map(RequestPreference::new).collect(),
        }
    }
}

/// A finer answer that a request is about.
#[derive(SimpleObject)]
struct RequestPreference {
    /// Its id: that of the topic.
    id: String,
    /// Its name.
    name: String,
    /// The topic's name on the wire.
    topic: String,
    /// The topic.
    preference_topic: RequestTopic,
    /// The answer, where it is yes or no.
    boolean_value: Option<bool>,
    /// The answer, where it is one option.
    select_value: Option<RequestOption>,
    /// The answer, where it is some options.
    select_values: Option<Vec<RequestOption>>,
}

impl RequestPreference {
    fn new(answer: &TopicAnswer) -> RequestPreference {
        let topic = &answer.topic;
        let mut preference = RequestPreference {
            id: topic.id.to_string(),
            name: topic.title.clone(),
            topic: topic.slug.clone(),
            preference_topic: RequestTopic {
                id: topic.id.into(),
                slug: topic.slug.clone(),
                title: Message::new(topic.id, "title", &topic.title),
            },
            boolean_value: None,
            select_value: None,
            select_values: None,
        };
        match &answer.choice {
            TopicChoice::Boolean(yes) => preference.boolean_value = Some(*yes),
            TopicChoice::Select(option) => preference.select_value = Some(RequestOption::new(option)),
            TopicChoice::MultiSelect(options) => {
                preference.select_values = Some(options.iter().map(RequestOption::new).collect());
            }
        }
        preference
    }
}

/// The topic of a finer answer.
#[derive(SimpleObject)]
struct RequestTopic {
    /// Its id.
    id: ID,
    /// Its name on the wire.
    slug: String,
    /// What people read.
    title: Message,
}

/// An option that was chosen.
#[derive(SimpleObject)]
struct RequestOption {
    /// Its id.
    id: String,
    /// Its name on the wire.
    name: String,
    /// The option.
    preference_option: RequestOptionValue,
}

/// The option behind an answer.
#[derive(SimpleObject)]
struct RequestOptionValue {
    /// Its id.
    id: ID,
    /// Its name on the wire.
    slug: String,
    /// What people read.
    title: Message,
}

impl RequestOption {
    fn new(option: &Labelled) -> RequestOption {
        RequestOption {
            id: option.id.to_string(),
            name: option.slug.clone(),
            preference_option: RequestOptionValue {
                id: option.id.into(),
                slug: option.slug.clone(),
                title: Message::new(option.id, "title", &option.title),
            },
        }
    }
}

/// The partition of the preferences that brought a request about.
#[derive(SimpleObject)]
pub(super) struct RequestPartition {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// Its key on the wire.
    partition: String,
}

impl RequestPartition {
    pub(super) fn new(partition: &OccasionPartition) -> RequestPartition {
        RequestPartition {
            id: partition.id.into(),
            name: partition.name.clone(),
            partition: partition.key.clone(),
        }
    }
}
