//! What is to be done, by comparing a file with what a server holds.

mod sections;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    file::{ConfigFile, DailyWindow, DataSilo, Enricher, Fault, Header, Place, PreferenceOption},
    kinds::{self, Compared, Kind, Pages, comparable, value_at},
};
use crate::client::Client;

/// Entries on a page of what is there.
const PAGE: usize = 500;
/// Documents that a server carries out in one transaction.
const DOCUMENTS_MAX: usize = 2_000;

/// Everything that the file asks for, in the order in which it is to happen.
#[derive(Default)]
pub(super) struct Plan {
    steps: Vec<Step>,
    /// Secrets to be set when all else is done: what shows secrets can't be tried without doing it.
    secrets: Vec<(Place, Value)>,
}

/// One thing that the file describes.
pub(super) struct Step {
    place: Place,
    word: &'static str,
    name: String,
    deed: Deed,
    /// Each a field, and what becomes of it.
    lines: Vec<String>,
    documents: Vec<(&'static str, Value)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Create,
    Change,
    Leave,
}

impl Step {
    /// The title and secret of an API key that was made, if the answer is to that.
    pub(super) fn secret_in(answer: &Value) -> Option<(&str, &str)> {
        let key = answer.get("createApiKey")?.get("apiKey")?;
        Some((key["title"].as_str()?, key["apiKey"].as_str()?))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let sign = match step.deed {
                Deed::Create => '+',
                Deed::Change => '~',
                Deed::Leave => '=',
            };
            writeln!(f, "{sign} {} {}", step.word, step.name)?;
            for line in &step.lines {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Reads what is there and compares. The inner error names what the file may not ask for.
    pub(super) async fn new(client: &Client, file: &ConfigFile) -> Result<Result<Plan, Vec<Fault>>> {
        let mut planner = Planner {
            client,
            plan: Plan::default(),
            faults: Vec::new(),
        };
        planner.all(file).await?;
        let documents = planner.plan.documents().len();
        if documents > DOCUMENTS_MAX {
            let message =
                format!("asks for {documents} changes at once, and {DOCUMENTS_MAX} are possible; split the file");
            planner.faults.push(Fault {
                place: Place::default(),
                message,
            });
        }
        Ok(if planner.faults.is_empty() {
            Ok(planner.plan)
        } else {
            Err(planner.faults)
        })
    }

    /// What is to be sent, in order.
    pub(super) fn documents(&self) -> Vec<(&str, Value)> {
        let secrets = self
            .secrets
            .iter()
            .map(|(_, input)| (kinds::SET_TOKEN_SECRET, json!({ "input": input })));
        self.documents_to_try().into_iter().chain(secrets).collect()
    }

    /// The same without what can't be tried.
    pub(super) fn documents_to_try(&self) -> Vec<(&str, Value)> {
        let all = self.steps.iter().flat_map(|step| &step.documents);
        all.map(|(query, input)| (*query, json!({ "input": input }))).collect()
    }

    /// The place in the file of the document at this place.
    pub(super) fn fault(&self, document: usize, message: String) -> Fault {
        let places = self
            .steps
            .iter()
            .flat_map(|step| step.documents.iter().map(|_| &step.place));
        let places = places.chain(self.secrets.iter().map(|(place, _)| place));
        Fault {
            place: places.into_iter().nth(document).cloned().unwrap_or_default(),
            message,
        }
    }

    /// How many things are to be created, changed, and left.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let count = |deed| self.steps.iter().filter(|step| step.deed == deed).count();
        (count(Deed::Create), count(Deed::Change), count(Deed::Leave))
    }
}

struct Planner<'a> {
    client: &'a Client,
    plan: Plan,
    faults: Vec<Fault>,
}

/// What the file says about one thing, by the keys of the file.
type Wanted = Map<String, Value>;

impl Planner<'_> {
    async fn all(&mut self, file: &ConfigFile) -> Result<()> {
        self.organization(file).await?;
        self.data_subjects(file).await?;
        self.attributes(file).await?;
        self.plain(&kinds::ACTION, &file.actions, as_said).await?;
        self.plain(&kinds::IDENTIFIER, &file.identifiers, as_said).await?;
        self.templates(file).await?;
        self.enrichers(file).await?;
        self.options(file).await?;
        self.plain(&kinds::PURPOSE, &file.purposes, with_description).await?;
        self.topics(file).await?;
        self.partitions(file).await?;
        self.data_silos(file).await?;
        self.data_points(file).await?;
        self.triggers(file).await?;
        self.api_keys(file).await
    }

    /// Everything of a kind that is there.
    async fn present(&self, kind: &Kind) -> Result<Vec<Value>> {
        let (field, fixed) = kind.list.split_once('(').unwrap_or((kind.list, ""));
        if kind.pages == Pages::No {
            let mut data = self
                .client
                .graphql(&format!("{{ {} {{ {} }} }}", kind.list, kind.selection), json!({}))
                .await?;
            return Ok(data[field].as_array_mut().map(std::mem::take).unwrap_or_default());
        }
        let fixed = fixed.trim_end_matches(')');
        let query = format!(
            "query($first: Int!, $offset: Int!) {{ {field}({fixed} first: $first, offset: $offset) {{ nodes {{ {} }} }} }}",
            kind.selection
        );
        let mut all = Vec::new();
        loop {
            let page = json!({ "first": PAGE, "offset": all.len() });
            let mut data = self.client.graphql(&query, page).await?;
            let nodes = data[field]["nodes"]
                .as_array_mut()
                .map(std::mem::take)
                .unwrap_or_default();
            let last = nodes.len() < PAGE;
            all.extend(nodes);
            if last {
                return Ok(all);
            }
        }
    }

    fn fault(&mut self, place: &Place, message: impl Into<String>) {
        self.faults.push(Fault {
            place: place.clone(),
            message: message.into(),
        });
    }

    /// Refuses what the file says twice.
    fn once<'n>(&mut self, kind: &Kind, places: impl IntoIterator<Item = (Place, &'n str)>) {
        let mut seen = BTreeSet::new();
        for (place, name) in places {
            if !seen.insert(name) {
                self.fault(
                    &place.key(kind.name),
                    format!("names a {} that the file has already named", kind.word),
                );
            }
        }
    }

    /// A kind whose fields say everything. `whole` adds what a new one needs beyond them.
    async fn plain(
        &mut self,
        kind: &'static Kind,
        entries: &[impl Serialize],
        whole: fn(Value) -> Value,
    ) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        let wanted: Vec<(Place, Wanted)> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| (Place::section(kind.section).item(index), said(entry)))
            .collect();
        self.once(
            kind,
            wanted
                .iter()
                .map(|(place, wanted)| (place.clone(), name_of(kind, wanted))),
        );
        for (place, wanted) in wanted {
            let name = name_of(kind, &wanted).to_owned();
            match self.find(kind, &place, &present, &name) {
                Some(node) => self.change(kind, place, &wanted, node, &name, |input| input),
                None if kind.create.is_empty() => {
                    let known = present.iter().filter_map(|node| node[kind.name_at].as_str());
                    let known = known.collect::<Vec<_>>().join(", ");
                    let message = format!("is no {} that this server knows; it knows {known}", kind.word);
                    self.fault(&place.key(kind.name), message);
                }
                None => self.create(kind, place, &wanted, &name, whole),
            }
        }
        Ok(())
    }

    /// The one of this name. Two of a name on the server are a fault: a file could mean either.
    fn find<'n>(&mut self, kind: &Kind, place: &Place, present: &'n [Value], name: &str) -> Option<&'n Value> {
        let mut found = present.iter().filter(|node| node[kind.name_at] == name);
        let first = found.next();
        if found.next().is_some() {
            self.fault(
                place,
                format!(
                    "the server has two of the {}s called `{name}`; rename one there first",
                    kind.word
                ),
            );
        }
        first
    }

    /// Makes one. `finish` turns what the fields say into the whole input.
    fn create(
        &mut self,
        kind: &'static Kind,
        place: Place,
        wanted: &Wanted,
        name: &str,
        finish: impl FnOnce(Value) -> Value,
    ) {
        let given = kind
            .fields
            .iter()
            .filter_map(|field| wanted.get(field.key).map(|value| (field, value)));
        let lines = given
            .clone()
            .map(|(field, value)| format!("{}: {}", field.key, shown(value)))
            .collect();
        let mut input: Map<String, Value> = given
            .map(|(field, value)| (field.input.to_owned(), value.clone()))
            .collect();
        input.entry(kind.name_at).or_insert_with(|| name.into());
        let documents = vec![(kind.create, finish(Value::Object(input)))];
        self.step(kind, place, name, Deed::Create, lines, documents);
    }

    /// Changes what differs. `finish` turns the differing fields, with the id, into the whole input.
    fn change(
        &mut self,
        kind: &'static Kind,
        place: Place,
        wanted: &Wanted,
        node: &Value,
        name: &str,
        finish: impl FnOnce(Value) -> Value,
    ) {
        let (lines, mut input) = self.differences(kind, &place, wanted, node);
        if input.is_empty() {
            return self.step(kind, place, name, Deed::Leave, lines, Vec::new());
        }
        if let Some(id) = node.get("id") {
            input.insert("id".to_owned(), id.clone());
        }
        let documents = vec![(kind.update, finish(Value::Object(input)))];
        self.step(kind, place, name, Deed::Change, lines, documents);
    }

    fn differences(&mut self, kind: &Kind, place: &Place, wanted: &Wanted, node: &Value) -> (Vec<String>, Wanted) {
        let (mut lines, mut input) = (Vec::new(), Map::new());
        for field in kind.fields {
            let Some(after) = wanted.get(field.key) else { continue };
            let before = value_at(node, field.at);
            if comparable(&before, field.compared) == comparable(after, field.compared) {
                continue;
            }
            if field.compared == Compared::Fixed {
                let message = format!("is {} on the server and does not change", shown(&before));
                self.fault(&place.key(field.key), message);
                continue;
            }
            lines.push(format!("{}: {} -> {}", field.key, shown(&before), shown(after)));
            input.insert(field.input.to_owned(), after.clone());
        }
        (lines, input)
    }

    fn step(
        &mut self,
        kind: &'static Kind,
        place: Place,
        name: &str,
        deed: Deed,
        lines: Vec<String>,
        documents: Vec<(&'static str, Value)>,
    ) {
        self.plan.steps.push(Step {
            place,
            word: kind.word,
            name: name.to_owned(),
            deed,
            lines,
            documents,
        });
    }
}

fn as_said(input: Value) -> Value {
    input
}

/// A purpose has a description, be it an empty one.
fn with_description(mut input: Value) -> Value {
    if input["description"].is_null() {
        input["description"] = "".into();
    }
    input
}

/// What an entry says, by the keys of the file; what it does not say is not there.
fn said(entry: &impl Serialize) -> Wanted {
    match serde_json::to_value(entry) {
        Ok(Value::Object(members)) => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}

fn name_of<'w>(kind: &Kind, wanted: &'w Wanted) -> &'w str {
    wanted.get(kind.name).and_then(Value::as_str).unwrap_or_default()
}

fn slug(option: &PreferenceOption) -> &str {
    option.slug.as_deref().unwrap_or(&option.title)
}

fn sent(headers: &[Header]) -> Value {
    let header = |header: &Header| json!({ "name": header.name, "value": header.value, "isSecret": header.is_secret });
    headers.iter().map(header).collect()
}

fn with_headers(mut input: Value, headers: Option<&[Header]>) -> Value {
    if let Some(headers) = headers {
        input["headers"] = sent(headers);
    }
    input
}

/// Names only: a value may be a secret.
fn names_of(headers: &[Header]) -> String {
    let names: Vec<String> = headers.iter().map(|header| header.name.to_lowercase()).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        format!("{} (values not shown)", names.join(", "))
    }
}

fn present_headers(node: &Value) -> String {
    let names = value_at(node, "headers[].name");
    let names: Vec<&str> = names
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        format!("{} (values not shown)", names.join(", "))
    }
}

/// A value as a line of the difference shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) if text.is_empty() => "none".to_owned(),
        Value::String(text) if !text.contains('\n') => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
