//! The mapping file: which column of a file is what.
//!
//! ```yaml
//! columns:
//!   E-mail: identifier:email
//!   Opted in: { as: purpose:ProductNews, values: { J: true, N: false } }
//!   Internal no.: ignore
//! constants:
//!   timestamp: 2026-01-31T00:00:00Z
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{catalog::Catalog, target::Target};
use crate::{
    config::nearest,
    outcome::{Ended, Outcome},
};

/// A mapping file.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    #[serde(default)]
    columns: BTreeMap<String, Meaning>,
    /// What every row says, by target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    constants: BTreeMap<String, Scalar>,
}

/// What a column means.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Meaning {
    Plain(String),
    Translated(Translated),
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Translated {
    #[serde(rename = "as")]
    target: String,
    /// What a cell says, and what is meant by it. Others are taken as they stand.
    #[serde(default)]
    values: BTreeMap<String, Scalar>,
}

/// YAML takes `true`, `1` and `2026` for something other than text.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Scalar {
    Boolean(bool),
    Number(i64),
    Text(String),
}

/// A column of a file, or what stands in place of one.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) target: Target,
    /// What a cell says, and what is meant by it.
    pub(super) values: HashMap<String, String>,
}

/// Every column of a file in its order, and what every row says besides.
pub(super) struct Resolved {
    pub(super) columns: Vec<Column>,
    pub(super) constants: Vec<(Target, String)>,
}

impl Mapping {
    /// Reads a mapping file.
    pub(super) fn read(path: &Path) -> Result<Mapping> {
        let usage = |cause: &dyn std::fmt::Display| {
            Ended::new(Outcome::Usage, format!("{} cannot be used: {cause}", path.display()))
        };
        let bytes = std::fs::read(path).map_err(|cause| usage(&cause))?;
        Ok(serde_yaml_ng::from_slice(&bytes).map_err(|cause| usage(&cause))?)
    }

    /// Writes it down, for the next time.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_yaml_ng::to_string(self).context("a mapping cannot be written")?;
        let new = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        let written = new.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|cause| {
            Ended::new(Outcome::Usage, format!("{} cannot be written: {cause}", path.display())).into()
        })
    }

    /// What tells mappings apart.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers have a form in JSON")
    }

    /// What each column of a file is: as the mapping says; where it names no columns at all, as their names say.
    pub(super) fn resolve(&self, names: &[String], catalog: &Catalog) -> Result<Resolved, String> {
        let mut columns = Vec::with_capacity(names.len());
        let (mut unknown, mut recognised) = (Vec::new(), 0);
        let known = catalog.names();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for name in names {
            let (target, values) = match self.columns.get(name) {
                Some(meaning) => meaning.resolve(catalog)?,
                None if self.columns.is_empty() || name.starts_with("rejected:") => {
                    (catalog.target(name), HashMap::new())
                }
                None => (None, HashMap::new()),
            };
            match target {
                Some(target) => {
                    recognised += 1;
                    let name = name.clone();
                    columns.push(Column { name, target, values });
                }
                None => unknown.push(match nearest(name, &known) {
                    Some(near) => format!("`{name}` (did you mean `{near}`?)"),
                    None => format!("`{name}`"),
                }),
            }
        }
        if recognised == 0 {
            // The first row may be of data: it isn't shown.
            return Err("no column of the first row has a name that means anything here; is the row with the names of the columns missing?\n  \
                --map asks what each column is, --mapping says it"
                .to_owned());
        }
        if !unknown.is_empty() {
            const SHOWN: usize = 10;
            let more = unknown.len().saturating_sub(SHOWN);
            unknown.truncate(SHOWN);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            return Err(format!(
                "it is not known what these columns are: {}{more}\n  \
                 known are {}\n  \
                 --map asks, --mapping says it; what shall be left out is `ignore`",
                unknown.join(", "),
                listed(&known)
            ));
        }
        if let Some(missing) = self.columns.keys().find(|name| !names.contains(name)) {
            return Err(format!("the mapping names a column `{missing}`, and there is none"));
        }
        let constants = self.constants.iter().map(|(target, value)| {
            let found = Target::parse(target).filter(|target| catalog.knows(target));
            let found = found.ok_or_else(|| format!("`{target}`, a constant of the mapping, is nothing known here"))?;
            Ok((found, value.text()))
        });
        let resolved = Resolved {
            constants: constants.collect::<Result<_, String>>()?,
            columns,
        };
        resolved.check()?;
        Ok(resolved)
    }

    /// Asks what each column is, and proposes what its name says.
    pub(super) fn ask(
        names: &[String],
        catalog: &Catalog,
        answers: &mut dyn BufRead,
        questions: &mut dyn Write,
    ) -> Result<Mapping> {
        writeln!(
            questions,
            "What is each column? timestamp, identifier:NAME, purpose:SLUG, topic:PURPOSE:TOPIC, metadata:KEY, confirmed, \
             usp, gpp, tcf,\npurpose:SLUG:timestamp, … or ignore. An empty line takes what stands in brackets; ? lists what is known."
        )?;
        let known = catalog.names();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let mut columns = BTreeMap::new();
        for (place, name) in names.iter().enumerate() {
            let proposed = catalog.target(name).unwrap_or(Target::Ignored);
            let target = loop {
                write!(questions, "{} of {}, `{name}` [{proposed}]: ", place + 1, names.len())?;
                questions.flush()?;
                let mut line = String::new();
                if answers.read_line(&mut line)? == 0 {
                    return Err(Ended::new(Outcome::Usage, "the questions were not answered").into());
                }
                let said = line.trim();
                if said.is_empty() {
                    break proposed;
                }
                if said == "?" {
                    writeln!(questions, "  {}", known.join("\n  "))?;
                    continue;
                }
                let found = Target::parse(said).or_else(|| catalog.target(said));
                match found.filter(|target| catalog.knows(target)) {
                    Some(target) => break target,
                    None => match nearest(said, &known) {
                        Some(near) => writeln!(questions, "  that is nothing known here; did you mean {near}?")?,
                        None => writeln!(questions, "  that is nothing known here; ? lists what is")?,
                    },
                }
            };
            columns.insert(name.clone(), Meaning::Plain(target.to_string()));
        }
        Ok(Mapping {
            columns,
            constants: BTreeMap::new(),
        })
    }
}

/// Names, as many as a message bears.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 40;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN {
        format!("{shown}, and {} more", names.len() - SHOWN)
    } else {
        shown
    }
}

impl Meaning {
    fn resolve(&self, catalog: &Catalog) -> Result<(Option<Target>, HashMap<String, String>), String> {
        let (said, values) = match self {
            Meaning::Plain(target) => (target, HashMap::new()),
            Meaning::Translated(Translated { target, values }) => {
                let values = values.iter().map(|(cell, meant)| (cell.clone(), meant.text()));
                (target, values.collect())
            }
        };
        let target = Target::parse(said).filter(|target| catalog.knows(target));
        let target =
            target.ok_or_else(|| format!("`{said}`, which the mapping says of a column, is nothing known here"))?;
        Ok((Some(target), values))
    }
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Scalar::Boolean(yes) => yes.to_string(),
            Scalar::Number(number) => number.to_string(),
            Scalar::Text(text) => text.clone(),
        }
    }
}

impl Resolved {
    /// A record needs a time and somebody it is about, and nothing may be said twice.
    fn check(&self) -> Result<(), String> {
        let columns = self.columns.iter().map(|column| &column.target);
        let targets: Vec<&Target> = columns.chain(self.constants.iter().map(|(target, _)| target)).collect();
        if !targets.contains(&&Target::Timestamp) {
            return Err("no column is `timestamp`: when people chose\n  \
                where it was at one time for all, a mapping says so: constants: { timestamp: 2026-01-31T00:00:00Z }"
                .to_owned());
        }
        let names_somebody = |target: &&Target| matches!(target, Target::Identifier(_) | Target::UserId);
        if !targets.iter().any(names_somebody) {
            return Err("no column is an identifier: nothing says who the rows are about".to_owned());
        }
        let single = targets
            .iter()
            .enumerate()
            .filter(|(_, target)| !matches!(target, Target::Ignored | Target::Identifier(_)));
        for (place, target) in single {
            if targets[..place].contains(target) {
                return Err(format!("two columns are `{target}`"));
            }
        }
        for target in &targets {
            let needed = match target {
                Target::Topic(purpose, _) | Target::PurposeTimestamp(purpose) | Target::PurposeSource(purpose) => {
                    Target::Purpose(purpose.clone())
                }
                _ => continue,
            };
            if !targets.contains(&&needed) {
                return Err(format!("`{target}` needs `{needed}` beside it"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::catalog::tests::sample, *};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn refusal(mapping: &str, columns: &[&str]) -> String {
        let mapping: Mapping = serde_yaml_ng::from_str(mapping).unwrap();
        match mapping.resolve(&names(columns), &sample()) {
            Ok(_) => panic!("was taken"),
            Err(why) => why,
        }
    }

    #[test]
    fn columns_are_what_their_names_say() {
        let columns = names(&["email", "timestamp", "News", "News_Cadence", "partition"]);
        let resolved = Mapping::default().resolve(&columns, &sample()).unwrap();
        let targets: Vec<String> = resolved
            .columns
            .iter()
            .map(|column| column.target.to_string())
            .collect();
        assert_eq!(
            targets,
            [
                "identifier:email",
                "timestamp",
                "purpose:News",
                "topic:News:Cadence",
                "ignore"
            ]
        );
    }

    #[test]
    fn a_mapping_says_what_names_do_not() {
        let mapping = "columns: { E-mail: identifier:email, In: { as: purpose:News, values: { J: true, N: false } }, No: ignore }\n\
                       constants: { timestamp: 2026-01-31T00:00:00Z, confirmed: true }";
        let mapping: Mapping = serde_yaml_ng::from_str(mapping).unwrap();
        let resolved = mapping.resolve(&names(&["No", "In", "E-mail"]), &sample()).unwrap();
        assert_eq!(resolved.columns[1].values["J"], "true");
        assert_eq!(resolved.constants.len(), 2);
        let again: Mapping = serde_yaml_ng::from_str(&serde_yaml_ng::to_string(&mapping).unwrap()).unwrap();
        assert_eq!(again.text(), mapping.text());
    }

    #[test]
    fn what_cannot_be_is_refused_and_a_first_row_of_data_is_not_shown() {
        let said = refusal("{}", &["ada@example.test", "true", "2026-01-01"]);
        assert!(said.contains("missing") && !said.contains("ada"), "{said}");
        let slip = refusal("{}", &["email", "timestamp", "Nws"]);
        assert!(slip.contains("`Nws` (did you mean `News`?)"), "{slip}");
        assert!(
            slip.contains("known are userId, timestamp, confirmed, email, phone"),
            "{slip}"
        );
        assert!(refusal("{}", &["email"]).contains("timestamp"));
        assert!(refusal("{}", &["timestamp"]).contains("identifier"));
        assert!(refusal("{}", &["email", "timestamp", "timestamp"]).contains("two columns"));
        assert!(refusal("{}", &["email", "timestamp", "News_Cadence"]).contains("needs `purpose:News`"));
        assert!(refusal("columns: { email: identifier:mail }", &["email"]).contains("identifier:mail"));
        assert!(
            refusal(
                "columns: { mail: identifier:email, email: identifier:email }",
                &["email"]
            )
            .contains("`mail`")
        );
    }

    #[test]
    fn questions_propose_what_names_say() {
        let columns = names(&["email", "When", "Internal"]);
        let mut questions = Vec::new();
        let mut answers = "\nlater\n?\ntimestmp\ntimestamp\n\n".as_bytes();
        let mapping = Mapping::ask(&columns, &sample(), &mut answers, &mut questions).unwrap();
        assert_eq!(
            mapping.text(),
            r#"{"columns":{"Internal":"ignore","When":"timestamp","email":"identifier:email"}}"#
        );
        let questions = String::from_utf8(questions).unwrap();
        assert!(questions.contains("`email` [identifier:email]") && questions.contains("nothing known"));
        assert!(questions.contains("did you mean timestamp?") && questions.contains("\n  News_Cadence\n"));
        assert!(Mapping::ask(&columns, &sample(), &mut "".as_bytes(), &mut Vec::new()).is_err());
    }
}
