//! From a row to the record of an upsert, as JSON.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    catalog::{Catalog, TopicKind},
    mapping::Resolved,
    members,
    pieces::{self, Pieces},
    rejected::as_it_was,
    rows::{Cells, Content, Fault, Row},
    target::{self, Target},
};

/// The identifier that the server gives each record. Those of a file are from where its rows were exported, so they only
/// count where a row names nobody otherwise.
const TRANSCEND: &str = "transcend";

/// The identifiers that the server makes of a `userId`: the one if it is an e-mail address, else the other.
const EMAIL: &str = "email";
const LEGACY: &str = "coreIdentifier";

/// How rows become records.
pub(super) struct Recipe {
    partition: String,
    table: Option<Table>,
}

/// What each column of a table is. Constants are columns past those of the file.
struct Table {
    names: Vec<String>,
    columns: Vec<(Part, HashMap<String, String>)>,
    constants: Vec<String>,
    purposes: Vec<String>,
}

/// What a cell becomes.
enum Part {
    Ignored,
    Plain(Target),
    Identifier(String),
    Annotation(String),
    /// The place in `Table::purposes`.
    Enabled(usize),
    AnsweredAt(usize),
    Source(usize),
    Topic(usize, String, TopicKind),
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    partition: &'a str,
    timestamp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    identifiers: Vec<Identifier<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    purposes: Vec<Answer<'a>>,
    #[serde(skip_serializing_if = "Strings::is_empty")]
    consent_management: Strings<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metadata: Vec<Annotation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_timestamp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    birth_date: Option<&'a str>,
}

#[derive(Serialize)]
struct Identifier<'a> {
    name: &'a str,
    value: String,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    purpose: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_system: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    preferences: Vec<TopicAnswer<'a>>,
}

#[derive(Serialize)]
struct TopicAnswer<'a> {
    topic: &'a str,
    choice: Choice<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Choice<'a> {
    BooleanValue(bool),
    SelectValue(&'a str),
    SelectValues(Vec<String>),
}

#[derive(Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Strings<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    usp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcf: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    airgap_version: Option<&'a str>,
}

#[derive(Serialize)]
struct Annotation {
    key: String,
    value: Option<String>,
}

impl Strings<'_> {
    fn is_empty(&self) -> bool {
        *self == Strings::default()
    }
}

/// Which column each part of a record came from: the beginning of its place on the wire, and the column.
type Origins = Vec<(String, usize)>;

impl Recipe {
    /// For files whose lines are records.
    pub(super) fn of_lines(partition: &str) -> Recipe {
        Recipe {
            partition: partition.to_owned(),
            table: None,
        }
    }

    /// For files with columns.
    pub(super) fn of_columns(partition: &str, resolved: Resolved, catalog: &Catalog) -> Recipe {
        let mut purposes: Vec<String> = Vec::new();
        let mut place = |slug: String| match purposes.iter().position(|known| *known == slug) {
            Some(place) => place,
            None => {
                purposes.push(slug);
                purposes.len() - 1
            }
        };
        let mut part = |target: Target| match target {
            Target::Ignored => Part::Ignored,
            Target::Identifier(name) => Part::Identifier(name),
            Target::Annotation(key) => Part::Annotation(key),
            Target::Purpose(slug) => Part::Enabled(place(slug)),
            Target::PurposeTimestamp(slug) => Part::AnsweredAt(place(slug)),
            Target::PurposeSource(slug) => Part::Source(place(slug)),
            Target::Topic(purpose, topic) => {
                let kind = catalog.topic(&purpose, &topic).unwrap_or(TopicKind::Boolean);
                Part::Topic(place(purpose), topic, kind)
            }
            plain => Part::Plain(plain),
        };
        let mut names = Vec::new();
        let mut columns = Vec::new();
        for column in resolved.columns {
            names.push(column.name);
            columns.push((part(column.target), column.values));
        }
        let mut constants = Vec::new();
        for (target, value) in resolved.constants {
            names.push(target.to_string());
            columns.push((part(target), HashMap::new()));
            constants.push(value);
        }
        Recipe {
            partition: partition.to_owned(),
            table: Some(Table {
                names,
                columns,
                constants,
                purposes,
            }),
        }
    }

    /// The record of a row, in as many pieces as it takes.
    pub(super) fn make(&self, row: &Row) -> Result<Pieces, Fault> {
        match (&row.fault, &row.content, &self.table) {
            (Some(fault), ..) => Err(fault.clone()),
            (None, Content::Line(line), _) => of_line(line, &self.partition),
            (None, Content::Cells(cells), Some(table)) => {
                let record = table.record(cells, &self.partition, None)?;
                let lists = [record.identifiers.len(), record.purposes.len(), record.metadata.len()];
                let form = "a record of texts has a form in JSON";
                if lists.into_iter().all(|entries| entries <= pieces::LIST_MAX) {
                    return Ok(vec![serde_json::to_vec(&record).expect(form)]);
                }
                match serde_json::to_value(&record).expect(form) {
                    Value::Object(record) => pieces::of(record),
                    _ => Err(Fault::new("is no record")),
                }
            }
            (None, Content::Cells(_), None) => Err(Fault::new("is not a line of JSON")),
        }
    }

    /// Says of a place in the record of a row where it is in the file.
    pub(super) fn place(&self, row: &Row, path: &str) -> Option<String> {
        let column = match (&self.table, &row.content) {
            (Some(table), Content::Cells(cells)) => table.origin(cells, path),
            _ => None,
        };
        column.or_else(|| (!path.is_empty()).then(|| path.to_owned()))
    }
}

impl Table {
    fn called(&self, column: usize) -> String {
        let word = if column < self.names.len() - self.constants.len() {
            "column"
        } else {
            "constant"
        };
        format!("{word} `{}`", self.names[column])
    }

    /// Which column a place in a record came from.
    fn origin(&self, cells: &Cells, path: &str) -> Option<String> {
        let mut origins = Origins::new();
        self.record(cells, "", Some(&mut origins)).ok()?;
        let nearest = origins.iter().filter(|(start, _)| path.starts_with(start.as_str()));
        let (_, column) = nearest.max_by_key(|(start, _)| start.len())?;
        Some(self.called(*column))
    }

    fn record<'a>(
        &'a self,
        cells: &'a Cells,
        partition: &'a str,
        mut origins: Option<&mut Origins>,
    ) -> Result<Record<'a>, Fault> {
        let mut record = Record {
            partition,
            ..Record::default()
        };
        let mut answers: Vec<Answer<'_>> = self
            .purposes
            .iter()
            .map(|purpose| Answer {
                purpose,
                ..Answer::default()
            })
            .collect();
        let (mut held, mut parts_of_answers) = (Vec::new(), Vec::new());
        for (column, (part, values)) in self.columns.iter().enumerate() {
            let cell = match column.checked_sub(cells.len()) {
                Some(constant) => self.constants[constant].as_str(),
                None => cells.get(column),
            };
            let cell = values.get(cell).map_or(cell, String::as_str);
            if cell.trim().is_empty() {
                continue;
            }
            let bad = |rule: &str| Fault::at(self.called(column), rule);
            let boolean = || target::boolean(cell.trim()).ok_or_else(|| bad("is neither true nor false"));
            let from = match part {
                Part::Ignored => continue,
                Part::Plain(target) => {
                    set(&mut record, target, cell).map_err(&bad)?;
                    match target {
                        Target::Usp | Target::Gpp | Target::Tcf | Target::AirgapVersion => {
                            format!("consentManagement.{target}")
                        }
                        target => target.to_string(),
                    }
                }
                Part::Identifier(name) => {
                    let values = target::values(cell).ok_or_else(|| bad("begins like a list of texts and is none"))?;
                    held.extend(values.into_iter().map(|value| (column, Identifier { name, value })));
                    continue;
                }
                Part::Annotation(key) => {
                    let place = format!("metadata[{}]", record.metadata.len());
                    record.metadata.push(Annotation {
                        key: key.clone(),
                        value: Some(cell.to_owned()),
                    });
                    place
                }
                Part::Enabled(purpose) => {
                    answers[*purpose].enabled = Some(boolean()?);
                    parts_of_answers.push((*purpose, "", column));
                    continue;
                }
                Part::AnsweredAt(purpose) => {
                    answers[*purpose].timestamp = Some(cell.trim());
                    parts_of_answers.push((*purpose, ".timestamp", column));
                    continue;
                }
                Part::Source(purpose) => {
                    answers[*purpose].source_system = Some(cell);
                    parts_of_answers.push((*purpose, ".sourceSystem", column));
                    continue;
                }
                Part::Topic(purpose, topic, kind) => {
                    let choice = match kind {
                        TopicKind::Boolean => Choice::BooleanValue(boolean()?),
                        TopicKind::Select => Choice::SelectValue(cell.trim()),
                        TopicKind::MultiSelect => {
                            let options = target::options(cell.trim());
                            Choice::SelectValues(options.ok_or_else(|| bad("begins like a list of texts and is none"))?)
                        }
                    };
                    answers[*purpose].preferences.push(TopicAnswer { topic, choice });
                    parts_of_answers.push((*purpose, ".preferences", column));
                    continue;
                }
            };
            if let Some(origins) = &mut origins {
                origins.push((from, column));
            }
        }
        if held.iter().any(|(_, identifier)| identifier.name != TRANSCEND) || record.user_id.is_some() {
            held.retain(|(_, identifier)| identifier.name != TRANSCEND);
        }
        for (column, identifier) in held {
            if let Some(origins) = &mut origins {
                origins.push((format!("identifiers[{}]", record.identifiers.len()), column));
            }
            record.identifiers.push(identifier);
        }
        self.finish(record, answers, &parts_of_answers, origins)
    }

    fn finish<'a>(
        &'a self,
        mut record: Record<'a>,
        answers: Vec<Answer<'a>>,
        parts: &[(usize, &'static str, usize)],
        mut origins: Option<&mut Origins>,
    ) -> Result<Record<'a>, Fault> {
        if record.timestamp.is_empty() {
            return Err(Fault::new("has no timestamp"));
        }
        let is_of_file = |column: usize| column < self.names.len() - self.constants.len();
        for (purpose, answer) in answers.into_iter().enumerate() {
            let parts = || parts.iter().filter(|(of, ..)| *of == purpose);
            if answer.enabled.is_none() {
                // What every row says of an answer says nothing where there is none.
                if let Some((_, _, column)) = parts().find(|(_, _, column)| is_of_file(*column)) {
                    let rule = format!("says something of `{}`, which is not answered", answer.purpose);
                    return Err(Fault::at(self.called(*column), rule));
                }
                continue;
            }
            if let Some(origins) = &mut origins {
                let start = format!("purposes[{}]", record.purposes.len());
                let mut topics = 0;
                for (_, part, column) in parts() {
                    if *part == ".preferences" {
                        origins.push((format!("{start}{part}[{topics}]"), *column));
                        topics += 1;
                    } else {
                        origins.push((format!("{start}{part}"), *column));
                    }
                }
            }
            record.purposes.push(answer);
        }
        let held = record
            .identifiers
            .iter()
            .map(|identifier| (identifier.name, identifier.value.as_str()));
        if record.user_id.is_some_and(|user_id| is_derived(user_id, held)) {
            record.user_id = None;
        }
        Ok(record)
    }
}

/// Sets what a record has once.
fn set<'a>(record: &mut Record<'a>, target: &Target, cell: &'a str) -> Result<(), &'static str> {
    let trimmed = cell.trim();
    match target {
        Target::Timestamp => record.timestamp = trimmed,
        Target::UserId => record.user_id = Some(cell),
        Target::Confirmed => record.confirmed = Some(target::boolean(trimmed).ok_or("is neither true nor false")?),
        Target::Usp => record.consent_management.usp = Some(cell),
        Target::Gpp => record.consent_management.gpp = Some(cell),
        Target::Tcf => record.consent_management.tcf = Some(cell),
        Target::AirgapVersion => record.consent_management.airgap_version = Some(cell),
        Target::MetadataTimestamp => record.metadata_timestamp = Some(trimmed),
        Target::Locale => record.locale = Some(cell),
        Target::BirthDate => record.birth_date = Some(trimmed),
        Target::Metadata => {
            let entries = target::annotations(trimmed).ok_or("is not an object of texts in JSON")?;
            let entries = entries.into_iter().map(|(key, value)| Annotation { key, value });
            record.metadata.extend(entries);
        }
        _ => {}
    }
    Ok(())
}

/// Whether a `userId` only repeats an identifier. Answers say one even of a record that was never given any: its first
/// e-mail address, or else another identifier. Sent back, it would be taken for one that was given, and might become a
/// further identifier.
fn is_derived<'a>(user_id: &str, identifiers: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> bool {
    let mut emails = identifiers.clone().filter(|(name, _)| *name == EMAIL);
    if let Some((_, email)) = emails.next() {
        return email == user_id;
    }
    let first = identifiers.clone().next();
    let mut same = identifiers.filter(|(name, value)| *name != LEGACY && *value == user_id);
    first.is_some_and(|(_, value)| value == user_id) || same.next().is_some()
}

/// The record of a line: a record as an upsert takes it, or as a query answers it.
fn of_line(line: &str, partition: &str) -> Result<Pieces, Fault> {
    let read: Result<Map<String, Value>, _> = serde_json::from_str(&as_it_was(line));
    // The message would quote the line.
    let mut record = read.map_err(|bad| match bad.classify() {
        serde_json::error::Category::Data => Fault::new("is not an object"),
        _ => Fault::new(format!("is not JSON from its character {} on", bad.column())),
    })?;
    record.remove("rejected");
    members::check(&record)?;
    record.insert("partition".to_owned(), Value::from(partition));
    // In an answer `null` says that there is no such string. In an upsert it would clear one, which is a change to be kept.
    if record.remove("system").is_some()
        && let Some(Value::Object(strings)) = record.get_mut("consentManagement")
    {
        strings.retain(|_, string| !string.is_null());
    }
    let has_user_id = record.get("userId").is_some_and(Value::is_string);
    if let Some(Value::Array(identifiers)) = record.get_mut("identifiers") {
        let is_other = |identifier: &Value| identifier["name"] != TRANSCEND;
        if has_user_id || identifiers.iter().any(is_other) {
            identifiers.retain(is_other);
        }
    }
    let repeats = {
        let user_id = record.get("userId").and_then(Value::as_str);
        let identifiers = record.get("identifiers").and_then(Value::as_array);
        let identifiers = identifiers.into_iter().flatten();
        let held = identifiers.filter_map(|one| Some((one["name"].as_str()?, one["value"].as_str()?)));
        user_id.is_some_and(|user_id| is_derived(user_id, held))
    };
    if repeats {
        record.remove("userId");
    }
    pieces::of(record)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{catalog::tests::sample, mapping::Mapping},
        *,
    };

    fn recipe(mapping: &str, columns: &[&str]) -> Recipe {
        let mapping: Mapping = serde_yaml_ng::from_str(mapping).unwrap();
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        let catalog = sample();
        Recipe::of_columns("shop", mapping.resolve(&columns, &catalog).unwrap(), &catalog)
    }

    fn row(cells: &[&str]) -> Row {
        let mut held = Cells::default();
        cells.iter().for_each(|cell| held.push(cell));
        Row {
            number: 2,
            end: 0,
            content: Content::Cells(held),
            fault: None,
        }
    }

    fn made(recipe: &Recipe, cells: &[&str]) -> Value {
        serde_json::from_slice(&recipe.make(&row(cells)).unwrap()[0]).unwrap()
    }

    fn line(text: &str) -> Result<Value, Fault> {
        of_line(text, "shop").map(|pieces| serde_json::from_slice(&pieces[0]).unwrap())
    }

    const COLUMNS: [&str; 9] = [
        "email",
        "timestamp",
        "Analytics",
        "News",
        "News_Channel",
        "News_Paused",
        "purpose:News:sourceSystem",
        "metadata",
        "usp",
    ];

    #[test]
    fn a_row_becomes_a_record() {
        let recipe = recipe("{}", &COLUMNS);
        let cells = [
            "ada@example.test",
            "2026-02-03T09:00:00Z",
            "",
            "Yes",
            "Email, Sms",
            "false",
            "Kiosk",
            "{\"a\":\"1\"}",
            "1YNN",
        ];
        assert_eq!(
            made(&recipe, &cells),
            json!({
                "partition": "shop",
                "timestamp": "2026-02-03T09:00:00Z",
                "identifiers": [{ "name": "email", "value": "ada@example.test" }],
                "purposes": [{ "purpose": "News", "enabled": true, "sourceSystem": "Kiosk", "preferences": [
                    { "topic": "Channel", "choice": { "selectValues": ["Email", "Sms"] } },
                    { "topic": "Paused", "choice": { "booleanValue": false } },
                ] }],
                "consentManagement": { "usp": "1YNN" },
                "metadata": [{ "key": "a", "value": "1" }],
            })
        );
        let places = [
            ("identifiers[0].value", Some("column `email`")),
            ("purposes[0].purpose", Some("column `News`")),
            (
                "purposes[0].preferences[0].choice.selectValues[1]",
                Some("column `News_Channel`"),
            ),
            ("purposes[0].preferences[1].choice", Some("column `News_Paused`")),
            ("purposes[0].sourceSystem", Some("column `purpose:News:sourceSystem`")),
            ("timestamp", Some("column `timestamp`")),
            ("consentManagement.usp", Some("column `usp`")),
            ("birthDate", Some("birthDate")),
            ("", None),
        ];
        for (path, column) in places {
            assert_eq!(recipe.place(&row(&cells), path).as_deref(), column, "{path}");
        }
    }

    #[test]
    fn a_bad_cell_is_named_by_its_column_and_not_shown() {
        let recipe = recipe("{}", &COLUMNS);
        let cases = [
            (2, "perhaps", "column `Analytics`: is neither true nor false"),
            (5, "perhaps", "column `News_Paused`: is neither true nor false"),
            (0, "[ada", "column `email`: begins like a list of texts and is none"),
            (7, "perhaps", "column `metadata`: is not an object of texts in JSON"),
            (
                3,
                "",
                "column `News_Channel`: says something of `News`, which is not answered",
            ),
            (1, " ", "has no timestamp"),
        ];
        for (place, cell, said) in cases {
            let mut cells = [
                "a@example.test",
                "2026-02-03T09:00:00Z",
                "",
                "no",
                "Email",
                "",
                "",
                "",
                "",
            ];
            cells[place] = cell;
            assert_eq!(recipe.make(&row(&cells)).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn constants_and_translations_stand_in_for_what_the_file_lacks() {
        let mapping = "{ columns: { mail: identifier:email, in: { as: purpose:News, values: { J: true, N: false } } }, \
            constants: { timestamp: 2026-01-31T00:00:00Z, confirmed: false, \"purpose:News:sourceSystem\": old shop } }";
        let recipe = recipe(mapping, &["mail", "in"]);
        let yes = made(&recipe, &["a@example.test", "J"]);
        assert_eq!(
            yes["purposes"],
            json!([{ "purpose": "News", "enabled": true, "sourceSystem": "old shop" }])
        );
        assert_eq!(
            (&yes["timestamp"], &yes["confirmed"]),
            (&json!("2026-01-31T00:00:00Z"), &json!(false))
        );
        assert_eq!(made(&recipe, &["a@example.test", ""]).get("purposes"), None);
        assert_eq!(
            recipe.place(&row(&["a", "J"]), "timestamp").unwrap(),
            "constant `timestamp`"
        );
    }

    #[test]
    fn a_record_id_of_elsewhere_counts_only_where_nothing_else_names_the_person() {
        let recipe = recipe("{}", &["email", "transcend", "timestamp"]);
        let names = |cells: &[&str]| made(&recipe, cells)["identifiers"].clone();
        let id = "0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201";
        assert_eq!(
            names(&["a@example.test", id, "t"]),
            json!([{ "name": "email", "value": "a@example.test" }])
        );
        assert_eq!(names(&["", id, "t"]), json!([{ "name": "transcend", "value": id }]));
        assert_eq!(
            names(&["[\"a@x.test\",\"b@x.test\"]", "", "t"])
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn a_line_is_a_record_as_it_is_sent_or_as_it_is_answered() {
        let answered = json!({
            "partition": "elsewhere", "timestamp": "t", "confirmed": true, "userId": "L-1",
            "identifiers": [{ "name": "loyalty", "value": "L-1" }, { "name": "transcend", "value": "0d8f9a54" }],
            "purposes": [], "consentManagement": { "usp": "1YNN", "gpp": null },
            "system": { "updatedAt": "u" }, "rejected": { "row": 1 },
        });
        assert_eq!(
            line(&answered.to_string()).unwrap(),
            json!({ "partition": "shop", "timestamp": "t", "confirmed": true, "purposes": [],
                "consentManagement": { "usp": "1YNN" }, "identifiers": [{ "name": "loyalty", "value": "L-1" }] })
        );
        let cleared = line(r#"{"consentManagement":{"usp":null}}"#).unwrap();
        assert_eq!(
            cleared["consentManagement"],
            json!({ "usp": null }),
            "an upsert that clears"
        );
        let listed =
            r#"{"line":" {\"timestamp\":\"t\",\"userId\":\"u\"} ","rejected":{"row":3,"reason":"is not JSON"}}"#;
        assert_eq!(
            line(listed).unwrap(),
            json!({ "partition": "shop", "timestamp": "t", "userId": "u" })
        );
        let kept = |user_id: &str, name: &str, value: &str| {
            let record = json!({ "userId": user_id, "identifiers": [{ "name": name, "value": value }] });
            line(&record.to_string()).unwrap().get("userId").is_some()
        };
        assert!(kept("Ada@example.test", "email", "ada@example.test"));
        assert!(!kept("ada@example.test", "email", "ada@example.test"));
        assert!(!kept("u-1", "coreIdentifier", "u-1"));
        assert!(kept("u-1", "loyalty", "L-1"));
        assert!(!kept("L-1", "loyalty", "L-1"));
        for (text, said) in [
            ("{\"a\":", "is not JSON from its character 5 on"),
            ("[1]", "is not an object"),
            ("\"ada@example.test\"", "is not an object"),
            (
                "{\"timestamp\":\"t\",\"confirmd\":true}",
                "`confirmd` has a name that is not known here; did you mean `confirmed`?",
            ),
            (
                r#"{"line":"{\"a\":","rejected":{"row":3,"reason":"is not JSON"}}"#,
                "is not JSON from its character 5 on",
            ),
        ] {
            assert_eq!(line(text).unwrap_err().to_string(), said);
        }
    }
}
