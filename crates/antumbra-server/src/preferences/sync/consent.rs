//! From what a consent manager says to a record for the preference store. Pure.
//!
//! A consent manager and this server are set up at different times, so what it says of purposes that are not here, or not
//! to be answered, is passed over. What is malformed is refused with its place in the body, as everywhere.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    super::{
        check::{Broken, LIST_MAX, METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX},
        iab,
        model::{ConsentString, Record},
        wire::{NamedValue, UpsertBatch, UpsertPurpose, UpsertRecord, UpsertStrings},
    },
    wire::Consent,
};
use crate::purposes::Catalog;

/// The built-in purpose that stands for what nobody has assigned; it is not answered.
const UNKNOWN: &str = "Unknown";

/// The key under which annotations are kept that came as a text of their own.
const METADATA: &str = "metadata";

/// Where the record stands in the batch that is made of it.
const PLACE: &str = "records[0].";

impl Consent {
    /// The purposes that were allowed or refused. Those that were left to a default are not among them.
    pub(super) fn answers(&self) -> Result<BTreeMap<&str, bool>, Broken> {
        let further = self.communication_preferences.iter().flatten();
        let mut answers = BTreeMap::new();
        for (slug, value) in further.chain(&self.purposes) {
            let answer = match value {
                Value::Bool(answer) => *answer,
                Value::String(text) if text == "on" => true,
                Value::String(text) if text == "off" => false,
                Value::String(text) if text.starts_with("Auto") => continue,
                _ => {
                    let rule = "must hold nothing but true, false, on, off and values that begin with Auto";
                    return Err(("consent.purposes".to_owned(), rule.to_owned()));
                }
            };
            answers.insert(slug.as_str(), answer);
        }
        Ok(answers)
    }

    /// The record that keeps this consent of the person whom `identifiers` and `user_id` name, but for its annotations.
    pub(super) fn record(
        &self,
        partition: &str,
        (user_id, identifiers): (Option<String>, Vec<NamedValue>),
        catalog: &Catalog,
    ) -> Result<UpsertRecord, Broken> {
        let answers = self.answers()?.into_iter().filter(|(slug, _)| {
            let purpose = catalog.purpose(slug);
            *slug != UNKNOWN && purpose.is_some_and(|purpose| purpose.writable && !purpose.essential)
        });
        let purposes = answers.map(|(slug, enabled)| UpsertPurpose {
            purpose: slug.to_owned(),
            enabled: Some(enabled),
            ..UpsertPurpose::default()
        });
        Ok(UpsertRecord {
            partition: partition.to_owned(),
            timestamp: self.timestamp.clone(),
            identifiers: Some(identifiers),
            user_id,
            purposes: Some(purposes.collect()),
            consent_management: Some(UpsertStrings {
                usp: readable(ConsentString::Usp, &self.usp),
                gpp: readable(ConsentString::Gpp, &self.gpp),
                tcf: readable(ConsentString::Tcf, &self.tcf),
                airgap_version: readable(ConsentString::AirgapVersion, &self.airgap_version),
            }),
            confirmed: Some(self.confirmed),
            metadata_timestamp: self.metadata_timestamp.clone().filter(|text| !text.is_empty()),
            ..UpsertRecord::default()
        })
    }

    /// Its annotations, each with its key; none clears one. `held` is what is kept of the person until now.
    ///
    /// What is too large to be kept is passed over, and so is what comes after 200 of them: what a person chose is not lost
    /// because a page says too much beside it.
    pub(super) fn annotations(&self, held: Option<&Record>) -> Result<Vec<(String, Option<String>)>, Broken> {
        let entry = |key: &str, value: Option<String>| (key.to_owned(), value);
        let fits = |(key, value): &(String, Option<String>)| {
            let is_short = |value: &String| value.len() <= METADATA_VALUE_BYTES_MAX;
            (1..=METADATA_KEY_BYTES_MAX).contains(&key.len()) && value.as_ref().is_none_or(is_short)
        };
        let object = |members: &Map<String, Value>| {
            let text = |value: &Value| match value {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            };
            let entries = members.iter().map(|(key, value)| entry(key, text(value)));
            entries.filter(fits).take(LIST_MAX).collect()
        };
        Ok(match &self.metadata {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Bool(false)) => {
                let keys = held.into_iter().flat_map(|record| &record.metadata);
                keys.map(|(key, _)| entry(key, None)).collect()
            }
            Some(Value::Object(members)) => object(members),
            // Cells of a table arrive as texts; an empty one is no annotation.
            Some(Value::String(text)) if text.is_empty() => Vec::new(),
            Some(Value::String(text)) => match serde_json::from_str(text) {
                Ok(Value::Object(members)) => object(&members),
                _ => [entry(METADATA, Some(text.clone()))].into_iter().filter(fits).collect(),
            },
            Some(_) => {
                let rule = "must be an object, a text, false or null";
                return Err(("consent.metadata".to_owned(), rule.to_owned()));
            }
        })
    }
}

/// A batch of one.
pub(super) fn alone(record: UpsertRecord) -> UpsertBatch {
    UpsertBatch {
        records: vec![record],
        ..UpsertBatch::default()
    }
}

/// Problems of the batch, placed where the consent manager sent what is wrong.
pub(super) fn in_consent(broken: Vec<Broken>) -> Vec<Broken> {
    let placed = |path: String| match path.strip_prefix(PLACE) {
        Some("partition") => "partition".to_owned(),
        Some(rest) => format!("consent.{}", rest.trim_start_matches("consentManagement.")),
        None => path,
    };
    broken.into_iter().map(|(path, rule)| (placed(path), rule)).collect()
}

/// A string as it was given. An empty one is as if it were not there, and so is one that cannot be read: what a person
/// chose is not lost because a page puts a broken string beside it.
fn readable(string: ConsentString, given: &Option<Option<String>>) -> Option<Option<String>> {
    let is_readable = |text: &str| !text.is_empty() && iab::read(string, text).is_ok();
    given.clone().filter(|text| text.as_deref().is_none_or(is_readable))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn consent(more: Value) -> Consent {
        let mut body = json!({ "purposes": {}, "confirmed": true, "timestamp": "2026-02-04T18:22:10.031Z" });
        let members = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(members);
        serde_json::from_value(body).unwrap()
    }

    fn record(more: Value) -> Result<UpsertRecord, Broken> {
        let person = (Some("user-42".to_owned()), Vec::new());
        consent(more).record("shop", person, &Catalog::default())
    }

    fn annotations(metadata: Value, held: Option<&Record>) -> Vec<(String, Option<String>)> {
        consent(json!({ "metadata": metadata })).annotations(held).unwrap()
    }

    #[test]
    fn a_default_is_no_answer() {
        let said = json!({ "purposes": {
            "A": true, "B": false, "C": "on", "D": "off", "E": "Auto", "F": "AutoGPC", "G": "AutoDNT"
        } });
        let expected = [("A", true), ("B", false), ("C", true), ("D", false)];
        assert_eq!(consent(said).answers(), Ok(expected.into()));
    }

    #[test]
    fn an_older_place_of_purposes_is_read_and_the_newer_one_wins() {
        let said = json!({ "communicationPreferences": { "A": true, "B": true }, "purposes": { "B": false } });
        assert_eq!(consent(said).answers(), Ok([("A", true), ("B", false)].into()));
    }

    #[test]
    fn an_answer_that_is_none_is_refused_and_not_repeated() {
        for odd in [
            json!(1),
            json!(null),
            json!("yes"),
            json!("True"),
            json!("auto"),
            json!([true]),
            json!({}),
        ] {
            let said = consent(json!({ "purposes": { "ada@example.test": odd } }));
            let (place, rule) = said.answers().unwrap_err();
            assert_eq!(place, "consent.purposes", "{odd}");
            assert!(!rule.contains("example"), "{rule}");
        }
    }

    #[test]
    fn purposes_that_are_not_here_are_passed_over() {
        let made = record(json!({ "purposes": { "Analytics": true, "Essential": false } })).unwrap();
        assert!(made.purposes.unwrap().is_empty(), "the catalog has none");
    }

    #[test]
    fn annotations_are_what_the_table_says() {
        let text = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        assert!(annotations(json!(null), None).is_empty());
        assert!(annotations(json!(""), None).is_empty());
        assert_eq!(annotations(json!("a note"), None), [text("metadata", "a note")]);
        assert_eq!(annotations(json!("[1]"), None), [text("metadata", "[1]")]);
        assert_eq!(annotations(json!("{\"shop\":\"7\"}"), None), [text("shop", "7")]);
        let object = json!({ "gone": null, "n": 7, "tcmp": { "tcf": { "tcString": "CP" } }, "yes": true });
        assert_eq!(
            annotations(object, None),
            [
                ("gone".to_owned(), None),
                text("n", "7"),
                text("tcmp", "{\"tcf\":{\"tcString\":\"CP\"}}"),
                text("yes", "true"),
            ]
        );
        for odd in [json!(true), json!(7), json!([])] {
            let refused = consent(json!({ "metadata": odd })).annotations(None);
            assert_eq!(refused.unwrap_err().0, "consent.metadata");
        }
    }

    #[test]
    fn what_is_too_large_to_be_kept_is_passed_over() {
        let long = |bytes: usize| "x".repeat(bytes);
        let object = json!({ "largest": long(16_384), "larger": long(16_385), long(257): 7, "": 7 });
        assert_eq!(annotations(object, None), [("largest".to_owned(), Some(long(16_384)))]);
        assert!(annotations(json!(long(16_385)), None).is_empty());
        let many: Map<String, Value> = (0..300).map(|n| (n.to_string(), json!(n))).collect();
        assert_eq!(annotations(many.into(), None).len(), 200);
    }

    #[test]
    fn false_clears_every_annotation_there_is() {
        assert!(annotations(json!(false), None).is_empty());
        let mut held = Record::empty();
        let register = super::super::super::model::Dated {
            value: Some("x".to_owned()),
            at: super::super::super::moment::Moment(1),
        };
        held.metadata = vec![("one".to_owned(), register.clone()), ("two".to_owned(), register)];
        let cleared = [("one".to_owned(), None), ("two".to_owned(), None)];
        assert_eq!(annotations(json!(false), Some(&held)), cleared);
    }

    #[test]
    fn empty_and_broken_strings_are_passed_over_and_null_clears() {
        let strings = |more: Value| record(more).unwrap().consent_management.unwrap();
        let empty = strings(json!({ "usp": "", "gpp": "", "tcf": "", "airgapVersion": "" }));
        assert_eq!(
            (empty.usp, empty.gpp, empty.tcf, empty.airgap_version),
            (None, None, None, None)
        );
        assert_eq!(strings(json!({ "gpp": null })).gpp, Some(None));
        assert_eq!(strings(json!({ "usp": "1YNN" })).usp, Some(Some("1YNN".to_owned())));
        assert_eq!(strings(json!({ "usp": null })).usp, Some(None));
        for broken in ["1YN", "1YNNN", "YYNN", "1YNX", "1 YN", "１YNN"] {
            assert_eq!(strings(json!({ "usp": broken })).usp, None, "{broken}");
        }
        let broken = strings(json!({ "gpp": "nonsense", "tcf": "!", "airgapVersion": "9".repeat(9_000) }));
        assert_eq!((broken.gpp, broken.tcf, broken.airgap_version), (None, None, None));
    }

    #[test]
    fn problems_stand_where_they_were_sent() {
        let broken = |path: &str| (path.to_owned(), String::new());
        let placed = in_consent(vec![
            broken("records[0].timestamp"),
            broken("records[0].partition"),
            broken("records[0].consentManagement.tcf"),
            broken("records[0].metadata[2].key"),
        ]);
        let paths: Vec<&str> = placed.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "consent.timestamp",
                "partition",
                "consent.tcf",
                "consent.metadata[2].key"
            ]
        );
    }
}
