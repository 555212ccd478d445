//! The members of a line of JSON. A server passes over names that it does not know, as it has to for the sake of newer
//! clients; in a file such a name is a slip, and what it says would be lost.

use serde_json::{Map, Value};

use super::rows::Fault;
use crate::config::nearest;

/// What is looked at inside a member.
enum Inside {
    /// Nothing: that is the server's to judge.
    Nothing,
    Object(&'static Members),
    List(&'static Members),
}

type Members = [(&'static str, Inside)];

use Inside::{List, Nothing, Object};

/// Of a record as an upsert takes it, and as a query or an upsert answers it.
const RECORD: &Members = &[
    ("partition", Nothing),
    ("timestamp", Nothing),
    ("userId", Nothing),
    ("confirmed", Nothing),
    ("identifiers", List(&[("name", Nothing), ("value", Nothing)])),
    ("purposes", List(PURPOSE)),
    ("consentManagement", Object(STRINGS)),
    ("usp", Nothing),
    ("gpp", Nothing),
    ("tcf", Nothing),
    ("airgapVersion", Nothing),
    ("metadata", List(&[("key", Nothing), ("value", Nothing)])),
    ("metadataTimestamp", Nothing),
    ("locale", Nothing),
    ("birthDate", Nothing),
    (
        "options",
        Object(&[("mergeRecordsOnConflict", Nothing), ("mergeRecordOnConflict", Nothing)]),
    ),
    ("system", Nothing),
    ("updatedAt", Nothing),
    ("decryptionStatus", Nothing),
];

const STRINGS: &Members = &[
    ("usp", Nothing),
    ("gpp", Nothing),
    ("tcf", Nothing),
    ("airgapVersion", Nothing),
];

const PURPOSE: &Members = &[
    ("purpose", Nothing),
    ("enabled", Nothing),
    // The server says what is meant instead.
    ("consent", Nothing),
    ("timestamp", Nothing),
    ("expiresAt", Nothing),
    ("sourceSystem", Nothing),
    ("preferences", List(PREFERENCE)),
    ("attributes", List(ATTRIBUTE)),
    ("locale", Nothing),
    ("workflowSettings", Object(WORKFLOW_SETTINGS)),
];

const PREFERENCE: &Members = &[
    ("topic", Nothing),
    (
        "choice",
        Object(&[
            ("booleanValue", Nothing),
            ("selectValue", Nothing),
            ("selectValues", Nothing),
        ]),
    ),
];

const ATTRIBUTE: &Members = &[("key", Nothing), ("values", Nothing)];

const WORKFLOW_SETTINGS: &Members = &[
    ("attributes", List(ATTRIBUTE)),
    ("dataSiloIds", Nothing),
    ("ignoreDataSiloIds", Nothing),
    ("emailReceiptTemplateId", Nothing),
    ("isSilent", Nothing),
    ("isTest", Nothing),
    ("skipSendingReceipt", Nothing),
    ("skipWaitingPeriod", Nothing),
    ("skipWorkflowTrigger", Nothing),
    ("forceTriggerWorkflow", Nothing),
    (
        "region",
        Object(&[("country", Nothing), ("countrySubDivision", Nothing)]),
    ),
    ("locale", Nothing),
    ("subjectType", Nothing),
    ("workflowConfigId", Nothing),
];

/// Letters of the longest name that is repeated in a message.
const SHOWN_MAX: usize = 40;

/// Fails at the first member of a record that has a name nobody knows.
pub(super) fn check(record: &Map<String, Value>) -> Result<(), Fault> {
    look(record, RECORD, "")
}

fn look(object: &Map<String, Value>, known: &Members, place: &str) -> Result<(), Fault> {
    for (name, value) in object {
        let Some((name, inside)) = known.iter().find(|(known, _)| known == name) else {
            return Err(unknown(name, known, place));
        };
        let place = || {
            if place.is_empty() {
                (*name).to_owned()
            } else {
                format!("{place}.{name}")
            }
        };
        match (inside, value) {
            (Object(members), Value::Object(object)) => look(object, members, &place())?,
            (List(members), Value::Array(entries)) => {
                for (at, entry) in entries.iter().enumerate() {
                    if let Value::Object(entry) = entry {
                        look(entry, members, &format!("{}[{at}]", place()))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn unknown(name: &str, known: &Members, place: &str) -> Fault {
    let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let meant = match nearest(name, &known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known are {}", known.join(", ")),
    };
    // What is no word may be about a person.
    let is_word = name.len() <= SHOWN_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphabetic() || b"_-".contains(&byte));
    let called = if is_word {
        format!("`{name}`")
    } else {
        "a member".to_owned()
    };
    let said = format!("{called} has a name that is not known here; {meant}");
    if place.is_empty() {
        Fault::new(said)
    } else {
        Fault::at(place, said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let record: Map<String, Value> = serde_json::from_str(line).unwrap();
        check(&record).map_or_else(|fault| fault.to_string(), |()| String::new())
    }

    #[test]
    fn a_slip_is_named_with_what_was_meant() {
        for (line, told) in [
            (
                r#"{"metdata":[]}"#,
                "`metdata` has a name that is not known here; did you mean `metadata`?",
            ),
            (
                r#"{"confirmd":false}"#,
                "`confirmd` has a name that is not known here; did you mean `confirmed`?",
            ),
            (
                r#"{"uspp":"1YNN"}"#,
                "`uspp` has a name that is not known here; did you mean `usp`?",
            ),
            (
                r#"{"purposes":[{"purpose":"A"},{"purpose":"B","enabeld":true}]}"#,
                "purposes[1]: `enabeld` has a name that is not known here; did you mean `enabled`?",
            ),
            (
                r#"{"purposes":[{"preferences":[{"topic":"T","choice":{"boolValue":true}}]}]}"#,
                "purposes[0].preferences[0].choice: `boolValue` has a name that is not known here; did you mean `booleanValue`?",
            ),
            (
                r#"{"consentManagement":{"somethingElse":""}}"#,
                "consentManagement: `somethingElse` has a name that is not known here; known are usp, gpp, tcf, airgapVersion",
            ),
        ] {
            assert_eq!(said(line), told, "{line}");
        }
        let personal = said(r#"{"canary@example.test":true}"#);
        assert!(
            personal.starts_with("a member has a name") && !personal.contains("canary"),
            "{personal}"
        );
    }

    #[test]
    fn what_is_sent_and_what_is_answered_is_known() {
        for line in [
            r#"{"partition":"p","timestamp":"t","options":{"mergeRecordsOnConflict":false},"locale":"pt","birthDate":"1990-01"}"#,
            r#"{"purposes":[{"purpose":"A","enabled":true,"timestamp":"t","expiresAt":"t","workflowSettings":{"isTest":true}}]}"#,
            r#"{"identifiers":[{"name":"email","value":"v"}],"metadata":[{"key":"k","value":null}],"system":{"updatedAt":"t"}}"#,
            r#"{"identifiers":"not a list","purposes":[1],"consentManagement":[]}"#,
        ] {
            assert_eq!(said(line), "", "{line}");
        }
    }
}
