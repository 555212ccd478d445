//! What a column of a file can be, and how that is written: in mapping files, and as names of columns.
//!
//! | Written | Is |
//! | --- | --- |
//! | `timestamp`, `confirmed`, `metadata`, … | what a record has once |
//! | `identifier:NAME` | an identifier |
//! | `purpose:SLUG` | whether the purpose is allowed |
//! | `purpose:SLUG:timestamp`, `purpose:SLUG:sourceSystem` | when it was answered, and where |
//! | `topic:PURPOSE:TOPIC` | the answer to a topic |
//! | `metadata:KEY` | one annotation |
//! | `ignore` | nothing |
//!
//! Slugs hold no colon, so this form is never ambiguous. Columns may also carry the short names that `catalog.rs` knows.

use std::fmt;

use serde_json::{Map, Value};

/// What a column is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Target {
    Timestamp,
    UserId,
    Confirmed,
    Usp,
    Gpp,
    Tcf,
    AirgapVersion,
    Metadata,
    MetadataTimestamp,
    Locale,
    BirthDate,
    Ignored,
    Identifier(String),
    Annotation(String),
    Purpose(String),
    PurposeTimestamp(String),
    PurposeSource(String),
    Topic(String, String),
}

/// What a record has once, by the name that the wire gives it.
pub(super) const PLAIN: [(&str, Target); 12] = [
    ("timestamp", Target::Timestamp),
    ("userId", Target::UserId),
    ("confirmed", Target::Confirmed),
    ("usp", Target::Usp),
    ("gpp", Target::Gpp),
    ("tcf", Target::Tcf),
    ("airgapVersion", Target::AirgapVersion),
    ("metadata", Target::Metadata),
    ("metadataTimestamp", Target::MetadataTimestamp),
    ("locale", Target::Locale),
    ("birthDate", Target::BirthDate),
    ("ignore", Target::Ignored),
];

impl Target {
    /// Reads the long form.
    pub(super) fn parse(text: &str) -> Option<Target> {
        let Some((kind, rest)) = text.split_once(':') else {
            let plain = PLAIN.into_iter().find(|(name, _)| *name == text);
            return plain.map(|(_, target)| target);
        };
        let owned = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        match kind {
            "identifier" => owned(rest).map(Target::Identifier),
            "metadata" => owned(rest).map(Target::Annotation),
            "purpose" => match rest.split_once(':') {
                None => owned(rest).map(Target::Purpose),
                Some((slug, "timestamp")) => owned(slug).map(Target::PurposeTimestamp),
                Some((slug, "sourceSystem")) => owned(slug).map(Target::PurposeSource),
                Some(_) => None,
            },
            "topic" => {
                let (purpose, topic) = rest.split_once(':')?;
                Some(Target::Topic(owned(purpose)?, owned(topic)?))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    /// The long form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Identifier(name) => write!(f, "identifier:{name}"),
            Target::Annotation(key) => write!(f, "metadata:{key}"),
            Target::Purpose(slug) => write!(f, "purpose:{slug}"),
            Target::PurposeTimestamp(slug) => write!(f, "purpose:{slug}:timestamp"),
            Target::PurposeSource(slug) => write!(f, "purpose:{slug}:sourceSystem"),
            Target::Topic(purpose, topic) => write!(f, "topic:{purpose}:{topic}"),
            plain => {
                let name = PLAIN.iter().find(|(_, target)| target == plain).map(|(name, _)| *name);
                f.write_str(name.unwrap_or_default())
            }
        }
    }
}

/// The annotations of a cell: an object, or a list of `key` and `value`.
pub(super) fn annotations(text: &str) -> Option<Vec<(String, Option<String>)>> {
    let value = |value: &Value| match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        _ => None,
    };
    match serde_json::from_str::<Value>(text).ok()? {
        Value::Object(entries) => entries
            .iter()
            .map(|(key, held)| Some((key.clone(), value(held)?)))
            .collect(),
        Value::Array(entries) => entries
            .iter()
            .map(|entry| Some((entry["key"].as_str()?.to_owned(), value(&entry["value"])?)))
            .collect(),
        _ => None,
    }
}

/// The same as a cell.
pub(super) fn annotations_cell<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let entries: Map<String, Value> = entries
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect();
    (!entries.is_empty()).then(|| Value::Object(entries).to_string())
}

/// Several values of one cell: a list in JSON where the cell begins like one. None if it then isn't one of texts.
pub(super) fn values(cell: &str) -> Option<Vec<String>> {
    if cell.starts_with('[') {
        serde_json::from_str(cell).ok()
    } else {
        Some(vec![cell.to_owned()])
    }
}

/// The same as a cell: what [`values`] would not give back as it is becomes a list.
pub(super) fn values_cell(values: &[&str]) -> Option<String> {
    match values {
        [] => None,
        [one] if !one.starts_with('[') && !one.trim().is_empty() => Some((*one).to_owned()),
        several => Some(Value::from(several.to_vec()).to_string()),
    }
}

/// Options of a topic with several answers: joined by commas, which no slug holds; `[]` is the answer "none of them".
pub(super) fn options(cell: &str) -> Option<Vec<String>> {
    match values(cell)? {
        one if cell.starts_with('[') => Some(one),
        one => Some(one[0].split(',').map(|slug| slug.trim().to_owned()).collect()),
    }
}

/// The same as a cell.
pub(super) fn options_cell(slugs: &[&str]) -> String {
    if slugs.is_empty() {
        "[]".to_owned()
    } else {
        slugs.join(",")
    }
}

/// Yes or no, as spreadsheets and people write it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    let says = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match () {
        () if says(&["true", "yes", "on", "1"]) => Some(true),
        () if says(&["false", "no", "off", "0"]) => Some(false),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let long = [
            "identifier:email",
            "identifier:a:b",
            "purpose:Product Updates",
            "purpose:Analytics:timestamp",
            "purpose:Analytics:sourceSystem",
            "topic:Product Updates:Cadence",
            "metadata:store",
        ];
        for text in long.into_iter().chain(PLAIN.iter().map(|(name, _)| *name)) {
            assert_eq!(Target::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "email",
            "identifier:",
            "purpose:A:when",
            "topic:A",
            "topic::B",
            "table:A",
        ] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }

    #[test]
    fn cells_with_several_values_come_back() {
        for held in [&["a"][..], &["a", "b"], &["[a"], &["a,b", " "], &[" "]] {
            assert_eq!(values(&values_cell(held).unwrap()).unwrap(), held);
        }
        assert_eq!(values("[a"), None);
        for held in [&[][..], &["Email"], &["Email", "Sms"]] {
            assert_eq!(options(&options_cell(held)).unwrap(), held);
        }
        let held = [("store", "Porto-3"), ("note", "says \"no\"")];
        let read = annotations(&annotations_cell(held).unwrap()).unwrap();
        assert!(
            held.iter()
                .all(|(key, value)| read.contains(&((*key).to_owned(), Some((*value).to_owned()))))
        );
        assert_eq!(
            annotations(r#"[{"key":"a","value":null}]"#).unwrap(),
            [("a".to_owned(), None)]
        );
        assert_eq!(annotations(r#"{"a":1}"#), None);
    }
}
