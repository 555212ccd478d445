//! What `/sync` reads and writes as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::super::{
    expiry::Sight,
    model::{ConsentString, Record},
    moment::Moment,
    wire::even_null,
};
use crate::purposes::Catalog;

/// `POST /sync`: what the holder of a token chose, or in the older way of a gateway, what the holder of an API key says
/// that a person chose.
#[derive(Deserialize, ToSchema)]
pub(crate) struct SyncCall {
    /// A consent token, or a token of the preference centre. Required, unless an API key is in the header.
    #[schema(required)]
    pub(super) token: Option<String>,
    /// The key of the partition.
    pub(super) partition: String,
    /// What was chosen. Required along with `token`.
    #[schema(required)]
    pub(super) consent: Option<Consent>,
    /// With an API key, or without any proof where the server takes that: who the person is.
    #[schema(ignore)]
    pub(super) identifier: Option<String>,
    /// The same: the purposes that were answered.
    #[schema(ignore)]
    pub(super) purposes: Option<Vec<Answered>>,
    /// The same: whether the person made the choice. True by default.
    #[schema(ignore)]
    pub(super) confirmed: Option<bool>,
}

/// A purpose that was answered, in the older way.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Answered {
    /// The purpose's tracking type.
    pub(super) purpose: String,
    /// Allowed or refused.
    pub(super) enabled: bool,
}

/// The consent of one person, as a consent manager has it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Consent {
    /// By tracking type: true, false, `on` or `off`. Values that begin with `Auto` are no choice and are passed over, and so
    /// are purposes that the organization does not have.
    #[schema(value_type = BTreeMap<String, bool>)]
    pub(super) purposes: Map<String, Value>,
    /// Whether the person made the choice. What was not is never kept.
    pub(super) confirmed: bool,
    /// When the person chose.
    pub(super) timestamp: String,
    /// Whether anything was chosen since the defaults were worked out, be it the same.
    pub(super) updated: Option<bool>,
    /// Whether the person was asked.
    pub(super) prompted: Option<bool>,
    /// Annotations: an object, or the JSON text of one. `false` clears all, `null` leaves them as they are.
    #[schema(value_type = Option<Object>)]
    pub(super) metadata: Option<Value>,
    /// When the annotations were made. By default `timestamp`.
    pub(super) metadata_timestamp: Option<String>,
    /// IAB US Privacy. A string that is empty or cannot be read is passed over, this one and the next.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) usp: Option<Option<String>>,
    /// IAB Global Privacy Platform.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) gpp: Option<Option<String>>,
    /// IAB Transparency and Consent Framework.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) tcf: Option<Option<String>>,
    /// Version of the browser library.
    #[serde(default, deserialize_with = "even_null")]
    #[schema(value_type = Option<String>)]
    pub(super) airgap_version: Option<Option<String>>,
    /// Further purposes, in an older place.
    #[schema(ignore)]
    pub(super) communication_preferences: Option<Map<String, Value>>,
}

/// The consent that is kept, or what was said where nothing is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsentAnswer<'a> {
    purposes: BTreeMap<&'a str, bool>,
    confirmed: bool,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Time<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    metadata_timestamp: Option<Time<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcf: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    airgap_version: Option<&'a str>,
}

/// An instant that is kept, or the text of one that was sent.
#[derive(Serialize)]
#[serde(untagged)]
enum Time<'a> {
    Kept(Moment),
    Said(&'a str),
}

/// What the holder of an API key is answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    pub(super) success: bool,
}

impl<'a> ConsentAnswer<'a> {
    /// What is kept of a person: their answers that count, to the purposes that exist.
    pub(super) fn kept(record: &'a Record, catalog: &'a Catalog, sight: Sight<'_>) -> ConsentAnswer<'a> {
        let shown = |number| catalog.purpose_numbered(number).filter(|purpose| purpose.shown);
        let counting = record.purposes.iter().filter(|answer| !sight.is_gone(answer));
        let answers = counting.filter_map(|answer| {
            let purpose = shown(answer.purpose)?;
            Some((purpose.slug.as_str(), answer.consent.value.enabled))
        });
        let text = |string: ConsentString| record.strings[string as usize].as_ref()?.value.as_deref();
        ConsentAnswer {
            purposes: answers.collect(),
            confirmed: record.confirmed,
            timestamp: Time::Kept(record.timestamp),
            updated: record.updated.as_ref().map(|updated| updated.value),
            prompted: record.prompted.as_ref().map(|prompted| prompted.value),
            metadata: annotations(record),
            metadata_timestamp: record.metadata_timestamp.map(Time::Kept),
            usp: text(ConsentString::Usp),
            gpp: text(ConsentString::Gpp),
            tcf: text(ConsentString::Tcf),
            airgap_version: text(ConsentString::AirgapVersion),
        }
    }

    /// What was said, as it was said, with `answers` as its purposes: nothing is kept of the person.
    pub(super) fn said(consent: &'a Consent, answers: BTreeMap<&'a str, bool>) -> ConsentAnswer<'a> {
        fn text(given: &Option<Option<String>>) -> Option<&str> {
            given.as_ref()?.as_deref()
        }
        ConsentAnswer {
            purposes: answers,
            confirmed: consent.confirmed,
            timestamp: Time::Said(&consent.timestamp),
            updated: consent.updated,
            prompted: consent.prompted,
            metadata: consent.metadata.clone().filter(|metadata| !metadata.is_null()),
            metadata_timestamp: consent.metadata_timestamp.as_deref().map(Time::Said),
            usp: text(&consent.usp),
            gpp: text(&consent.gpp),
            tcf: text(&consent.tcf),
            airgap_version: text(&consent.airgap_version),
        }
    }
}

/// The annotations of a record as one object, if it has any. What was an object or a list when it came is one again.
fn annotations(record: &Record) -> Option<Value> {
    let held = record.metadata.iter().filter_map(|(key, register)| {
        let text = register.value.as_deref()?;
        let structured = text
            .starts_with(['{', '['])
            .then(|| serde_json::from_str(text).ok())
            .flatten();
        Some((key.clone(), structured.unwrap_or_else(|| Value::from(text))))
    });
    let held: Map<String, Value> = held.collect();
    (!held.is_empty()).then_some(Value::Object(held))
}
