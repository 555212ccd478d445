//! What is to be done, by comparing a file with what a server holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    file::{ConfigFile, DataSilo, Fault, Header, Place, PreferenceOption},
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
        let documents: usize = planner.plan.steps.iter().map(|step| step.documents.len()).sum();
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
        let all = self.steps.iter().flat_map(|step| &step.documents);
        all.map(|(query, input)| (*query, json!({ "input": input }))).collect()
    }

    /// The place in the file of the document at this place.
    pub(super) fn fault(&self, document: usize, message: String) -> Fault {
        let places = self
            .steps
            .iter()
            .flat_map(|step| step.documents.iter().map(|_| &step.place));
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
        self.data_subjects(file).await?;
        self.attributes(file).await?;
        self.plain(&kinds::ACTION, &file.actions, as_said).await?;
        self.plain(&kinds::IDENTIFIER, &file.identifiers, as_said).await?;
        self.enrichers(file).await?;
        self.options(file).await?;
        self.plain(&kinds::PURPOSE, &file.purposes, with_description).await?;
        self.topics(file).await?;
        self.partitions(file).await?;
        self.templates(file).await?;
        self.data_silos(file).await?;
        self.data_points(file).await?;
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
        if kind.create.is_empty() {
            return self.fault(
                &place.key(kind.name),
                format!("is no {} that this server knows", kind.word),
            );
        }
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
        input.insert("id".to_owned(), node["id"].clone());
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

    async fn data_subjects(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::DATA_SUBJECT;
        if file.data_subjects.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        let place = |index| Place::section(kind.section).item(index);
        self.once(
            kind,
            file.data_subjects
                .iter()
                .enumerate()
                .map(|(index, entry)| (place(index), entry.slug.as_str())),
        );
        for (index, entry) in file.data_subjects.iter().enumerate() {
            let wanted = said(entry);
            let Some(node) = self.find(kind, &place(index), &present, &entry.slug) else {
                self.create(kind, place(index), &wanted, &entry.slug, |mut input| {
                    input["title"] = entry.title.as_ref().unwrap_or(&entry.slug).as_str().into();
                    if let Some(active) = entry.active {
                        input["active"] = active.into();
                    }
                    input
                });
                continue;
            };
            self.change(kind, place(index), &wanted, node, &entry.slug, |input| input);
            if let Some(active) = entry.active
                && node["active"] != active
                && let Some(step) = self.plan.steps.last_mut()
            {
                step.deed = Deed::Change;
                step.lines.push(format!("active: {} -> {active}", node["active"]));
                step.documents
                    .push((kinds::TOGGLE_SUBJECT, json!({ "id": node["id"], "active": active })));
            }
        }
        Ok(())
    }

    async fn attributes(&mut self, file: &ConfigFile) -> Result<()> {
        self.plain(&kinds::ATTRIBUTE, &file.attributes, as_said).await?;
        let kind = &kinds::ATTRIBUTE_VALUE;
        if file.attributes.iter().all(|attribute| attribute.values.is_none()) {
            return Ok(());
        }
        let present = self.present(kind).await?;
        for (index, attribute) in file.attributes.iter().enumerate() {
            let of_key = |node: &&Value| node["attributeKey"]["name"] == attribute.name.as_str();
            let present: Vec<Value> = present.iter().filter(of_key).cloned().collect();
            let values = attribute.values.as_deref().unwrap_or_default();
            let place = |at| Place::section(kind.section).item(index).key("values").item(at);
            self.once(
                kind,
                values
                    .iter()
                    .enumerate()
                    .map(|(at, value)| (place(at), value.name.as_str())),
            );
            for (at, value) in values.iter().enumerate() {
                let name = format!("{}: {}", attribute.name, value.name);
                match present.iter().find(|node| node["name"] == value.name.as_str()) {
                    Some(node) => self.change(kind, place(at), &said(value), node, &name, |input| json!([input])),
                    None => self.create(kind, place(at), &said(value), &name, |mut input| {
                        input["name"] = value.name.as_str().into();
                        input["attributeKeyName"] = attribute.name.as_str().into();
                        json!([input])
                    }),
                }
            }
        }
        Ok(())
    }

    async fn enrichers(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::ENRICHER;
        if file.enrichers.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        let place = |index| Place::section(kind.section).item(index);
        self.once(
            kind,
            file.enrichers
                .iter()
                .enumerate()
                .map(|(index, entry)| (place(index), entry.title.as_str())),
        );
        for (index, entry) in file.enrichers.iter().enumerate() {
            let mut wanted = said(entry);
            if let Some(millis) = entry.expiration_duration {
                wanted.insert("expirationDuration".to_owned(), millis.to_string().into());
            }
            let headers = entry.headers.as_deref();
            match self.find(kind, &place(index), &present, &entry.title) {
                Some(node) => self.change(kind, place(index), &wanted, node, &entry.title, |input| input),
                None => self.create(kind, place(index), &wanted, &entry.title, |input| {
                    with_headers(input, headers)
                }),
            }
        }
        Ok(())
    }

    /// Options stand in a section of their own and under topics; each is made once.
    async fn options(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::OPTION;
        let own = Place::section("preference-options");
        let own = file
            .preference_options
            .iter()
            .enumerate()
            .map(|(index, option)| (own.item(index), option));
        let mut options: Vec<(Place, &PreferenceOption)> = own.collect();
        for (index, purpose) in file.purposes.iter().enumerate() {
            let topics = Place::section("purposes").item(index).key("preference-topics");
            for (at, topic) in purpose
                .topics
                .iter()
                .enumerate()
                .filter(|(_, topic)| topic.kind != "BOOLEAN")
            {
                let place = topics.item(at).key("options");
                options.extend(
                    topic
                        .options
                        .iter()
                        .enumerate()
                        .map(|(nth, option)| (place.item(nth), option)),
                );
            }
        }
        if options.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        let mut titles: BTreeMap<&str, &str> = BTreeMap::new();
        for (place, option) in options {
            let slug = slug(option);
            match titles.insert(slug, &option.title) {
                None => {}
                Some(title) if title == option.title => continue,
                Some(title) => {
                    self.fault(
                        &place.key("title"),
                        format!("differs from `{title}`, which the file has for the same option"),
                    );
                    continue;
                }
            }
            let one = |input: Value| json!({ "preferenceOptionValues": [input] });
            match self.find(kind, &place, &present, slug) {
                Some(node) => self.change(kind, place, &said(option), node, slug, one),
                None => self.create(kind, place, &said(option), slug, one),
            }
        }
        Ok(())
    }

    async fn topics(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::TOPIC;
        if file.purposes.iter().all(|purpose| purpose.topics.is_empty()) {
            return Ok(());
        }
        let present = self.present(kind).await?;
        for (index, purpose) in file.purposes.iter().enumerate() {
            let under = |node: &&Value| node["purpose"]["trackingType"] == purpose.tracking_type.as_str();
            let present: Vec<Value> = present.iter().filter(under).cloned().collect();
            let place = |at| {
                Place::section(kind.section)
                    .item(index)
                    .key("preference-topics")
                    .item(at)
            };
            let slug_of = |topic: &super::file::Topic| topic.slug.clone().unwrap_or_else(|| topic.title.clone());
            let slugs: Vec<String> = purpose.topics.iter().map(slug_of).collect();
            self.once(
                kind,
                slugs.iter().enumerate().map(|(at, slug)| (place(at), slug.as_str())),
            );
            for (at, (topic, slug)) in purpose.topics.iter().zip(&slugs).enumerate() {
                let mut wanted = said(topic);
                wanted.insert("options".to_owned(), topic.options.iter().map(self::slug).collect());
                if topic.kind == "BOOLEAN" {
                    wanted.remove("options");
                }
                let name = format!("{}: {slug}", purpose.tracking_type);
                match present.iter().find(|node| node["slug"] == slug.as_str()) {
                    Some(node) => self.change(kind, place(at), &wanted, node, &name, |input| input),
                    None => self.create(kind, place(at), &wanted, &name, |mut input| {
                        input["slug"] = slug.as_str().into();
                        input["trackingType"] = purpose.tracking_type.as_str().into();
                        input
                    }),
                }
            }
        }
        Ok(())
    }

    async fn partitions(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::PARTITION;
        if file.partitions.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        let manager = self
            .client
            .graphql("{ consentManager { consentManager { id } } }", json!({}))
            .await?;
        let manager = &manager["consentManager"]["consentManager"]["id"];
        let place = |index| Place::section(kind.section).item(index);
        let id = |entry: &super::file::Partition| entry.partition.clone().unwrap_or_else(|| entry.name.clone());
        let ids: Vec<String> = file.partitions.iter().map(id).collect();
        self.once(
            kind,
            ids.iter().enumerate().map(|(index, id)| (place(index), id.as_str())),
        );
        for (index, entry) in file.partitions.iter().enumerate() {
            let is_it = |node: &&Value| match &entry.partition {
                Some(key) => node["partition"] == key.as_str(),
                None => node["name"] == entry.name.as_str(),
            };
            let shown = entry
                .partition
                .as_deref()
                .map_or(entry.name.clone(), |key| format!("{}: {key}", entry.name));
            match present.iter().find(is_it) {
                Some(_) => self.step(kind, place(index), &shown, Deed::Leave, Vec::new(), Vec::new()),
                None => self.create(kind, place(index), &said(entry), &shown, |mut input| {
                    input["name"] = entry.name.as_str().into();
                    input["id"] = manager.clone();
                    input
                }),
            }
        }
        Ok(())
    }

    async fn templates(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::TEMPLATE;
        if file.templates.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        for (index, entry) in file.templates.iter().enumerate() {
            let place = Place::section(kind.section).item(index);
            match self.find(kind, &place, &present, &entry.title) {
                Some(node) => self.change(kind, place, &said(entry), node, &entry.title, |input| input),
                None => self.create(kind, place, &said(entry), &entry.title, |mut input| {
                    input["template"] = "".into();
                    input["subject"] = entry.title.as_str().into();
                    input
                }),
            }
        }
        Ok(())
    }

    async fn data_silos(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::DATA_SILO;
        if file.data_silos.is_empty() {
            return Ok(());
        }
        let mut present = self.present(kind).await?;
        let mut subjects: BTreeSet<String> = file.data_subjects.iter().map(|subject| subject.slug.clone()).collect();
        let known = self.present(&kinds::DATA_SUBJECT).await?;
        subjects.extend(known.iter().filter_map(|node| node["type"].as_str().map(str::to_owned)));
        for node in &mut present {
            let blocked = value_at(node, "subjectBlocklist[].type");
            let blocked = blocked.as_array().cloned().unwrap_or_default();
            let open = subjects
                .iter()
                .filter(|slug| !blocked.iter().any(|other| other == slug.as_str()));
            node["data-subjects"] = open.cloned().map(Value::String).collect();
        }
        let place = |index| Place::section(kind.section).item(index);
        self.once(
            kind,
            file.data_silos
                .iter()
                .enumerate()
                .map(|(index, silo)| (place(index), silo.title.as_str())),
        );
        self.references(file, &present, &subjects).await?;
        for index in self.makeable_order(file, &present) {
            let silo = &file.data_silos[index];
            let mut wanted = said(silo);
            if let Some(disabled) = silo.disabled {
                wanted.insert("isLive".to_owned(), (!disabled).into());
            }
            let headers = silo.headers.as_deref();
            let Some(node) = self.find(kind, &place(index), &present, &silo.title) else {
                self.create(kind, place(index), &wanted, &silo.title, |mut input| {
                    input["title"] = silo.title.as_str().into();
                    json!([with_headers(input, headers)])
                });
                if let (Some(headers), Some(step)) = (headers, self.plan.steps.last_mut()) {
                    step.lines.push(format!("headers: {}", names_of(headers)));
                }
                continue;
            };
            let differ = match headers {
                Some(headers) => {
                    let asked = json!({ "id": node["id"], "headers": sent(headers) });
                    let answer = self.client.graphql(kinds::HEADERS_MATCH, asked).await?;
                    answer["dataSilo"]["headersMatch"] != true
                }
                None => false,
            };
            let (mut lines, mut input) = self.differences(kind, &place(index), &wanted, node);
            if let (true, Some(headers)) = (differ, headers) {
                lines.push(format!("headers: {} -> {}", present_headers(node), names_of(headers)));
                input.insert("headers".to_owned(), sent(headers));
            }
            if input.is_empty() {
                self.step(kind, place(index), &silo.title, Deed::Leave, lines, Vec::new());
                continue;
            }
            input.insert("id".to_owned(), node["id"].clone());
            let documents = vec![(kind.update, json!({ "dataSilos": [input] }))];
            self.step(kind, place(index), &silo.title, Deed::Change, lines, documents);
        }
        Ok(())
    }

    /// Names what silos refer to and nobody has.
    async fn references(&mut self, file: &ConfigFile, present: &[Value], subjects: &BTreeSet<String>) -> Result<()> {
        let mut identifiers: BTreeSet<String> = file.identifiers.iter().map(|entry| entry.name.clone()).collect();
        if file.data_silos.iter().any(|silo| silo.identity_keys.is_some()) {
            let known = self.present(&kinds::IDENTIFIER).await?;
            identifiers.extend(known.iter().filter_map(|node| node["name"].as_str().map(str::to_owned)));
        }
        let mut silos: BTreeSet<String> = file.data_silos.iter().map(|silo| silo.title.clone()).collect();
        silos.extend(
            present
                .iter()
                .filter_map(|node| node["title"].as_str().map(str::to_owned)),
        );
        for (index, silo) in file.data_silos.iter().enumerate() {
            let place = Place::section("data-silos").item(index);
            let lists = [
                ("identity-keys", "identifier", &silo.identity_keys, &identifiers),
                ("data-subjects", "data subject type", &silo.data_subjects, subjects),
                (
                    "deletion-dependencies",
                    "data silo",
                    &silo.deletion_dependencies,
                    &silos,
                ),
            ];
            for (key, word, names, known) in lists {
                for (at, name) in names
                    .iter()
                    .flatten()
                    .enumerate()
                    .filter(|(_, name)| !known.contains(*name))
                {
                    self.fault(
                        &place.key(key).item(at),
                        format!("no {word} is called `{name}`, in the file or on the server"),
                    );
                }
            }
        }
        Ok(())
    }

    /// The order in which silos can be made: each after those it waits for.
    fn makeable_order(&mut self, file: &ConfigFile, present: &[Value]) -> Vec<usize> {
        let exists = |title: &String| present.iter().any(|node| node["title"] == title.as_str());
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut left: Vec<usize> = (0..file.data_silos.len()).collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let is_ready = |index: &usize| {
                let waits_for = file.data_silos[*index].deletion_dependencies.iter().flatten();
                waits_for
                    .into_iter()
                    .all(|title| exists(title) || made.contains(title.as_str()) || !known(file, title))
            };
            let ready: Vec<usize> = left.iter().copied().filter(|index| is_ready(index)).collect();
            if ready.is_empty() {
                for index in &left {
                    let place = Place::section("data-silos").item(*index).key("deletion-dependencies");
                    self.fault(&place, "waits for itself, by way of the silos it waits for");
                }
                break;
            }
            made.extend(ready.iter().map(|index| file.data_silos[*index].title.as_str()));
            left.retain(|index| !ready.contains(index));
            order.extend(ready);
        }
        order
    }

    async fn data_points(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::DATA_POINT;
        if file.data_silos.iter().all(|silo| silo.datapoints.is_empty()) {
            return Ok(());
        }
        let present = self.present(kind).await?;
        for (index, silo) in file.data_silos.iter().enumerate() {
            let inside = |node: &&Value| node["dataSilo"]["title"] == silo.title.as_str();
            let present: Vec<Value> = present.iter().filter(inside).cloned().collect();
            let place = |at| Place::section(kind.section).item(index).key("datapoints").item(at);
            self.once(
                kind,
                silo.datapoints
                    .iter()
                    .enumerate()
                    .map(|(at, point)| (place(at), point.key.as_str())),
            );
            for (at, point) in silo.datapoints.iter().enumerate() {
                let name = format!("{}: {}", silo.title, point.key);
                let mut wanted = said(point);
                if point.path.is_empty() {
                    wanted.remove("path");
                }
                let whole = |mut input: Value| {
                    if let Some(input) = input.as_object_mut() {
                        input.remove("id");
                    }
                    input["name"] = point.key.as_str().into();
                    input["dataSiloTitle"] = silo.title.as_str().into();
                    input
                };
                match present.iter().find(|node| node["name"] == point.key.as_str()) {
                    Some(node) => self.change(kind, place(at), &wanted, node, &name, whole),
                    None => self.create(kind, place(at), &wanted, &name, whole),
                }
            }
        }
        Ok(())
    }

    async fn api_keys(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::API_KEY;
        let named = file.data_silos.iter().enumerate();
        let named = named.filter_map(|(index, silo)| silo.api_key_title.as_deref().map(|title| (index, title, silo)));
        let named: Vec<(usize, &str, &DataSilo)> = named.collect();
        if file.api_keys.is_empty() && named.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        let place = |index| Place::section(kind.section).item(index);
        self.once(
            kind,
            file.api_keys
                .iter()
                .enumerate()
                .map(|(index, key)| (place(index), key.title.as_str())),
        );
        let silos_of = |title: &str| -> Vec<String> {
            let naming = named.iter().filter(|(_, key, _)| *key == title);
            naming.map(|(_, _, silo)| silo.title.clone()).collect()
        };
        for (index, key) in file.api_keys.iter().enumerate() {
            let mut wanted = said(key);
            let node = self.find(kind, &place(index), &present, &key.title);
            // What the file lists is all; what its silos name is added to what is there.
            let listed = key.data_silos.clone().unwrap_or_else(|| {
                let attached = node.map(|node| value_at(node, "dataSilos[].title"));
                attached
                    .and_then(|titles| serde_json::from_value(titles).ok())
                    .unwrap_or_default()
            });
            let silos: BTreeSet<String> = listed.into_iter().chain(silos_of(&key.title)).collect();
            if key.data_silos.is_some() || named.iter().any(|(_, title, _)| *title == key.title) {
                wanted.insert("data-silos".to_owned(), silos.into_iter().map(Value::String).collect());
            }
            match node {
                Some(node) => self.change(kind, place(index), &wanted, node, &key.title, |input| input),
                None => self.create(kind, place(index), &wanted, &key.title, |input| input),
            }
        }
        for (index, title, silo) in &named {
            if file.api_keys.iter().any(|key| key.title == *title) {
                continue;
            }
            let place = Place::section("data-silos").item(*index).key("api-key-title");
            let Some(node) = self.find(kind, &place, &present, title) else {
                self.fault(
                    &place,
                    format!("no API key is called `{title}`, in the file or on the server"),
                );
                continue;
            };
            let attached = value_at(node, "dataSilos[].title");
            let silos: BTreeSet<String> = serde_json::from_value(attached).unwrap_or_default();
            if silos.contains(&silo.title) {
                continue;
            }
            let silos: Vec<String> = silos.into_iter().chain(silos_of(title)).collect();
            let wanted = Map::from_iter([("data-silos".to_owned(), json!(silos))]);
            self.change(kind, place, &wanted, node, title, |input| input);
        }
        Ok(())
    }
}

fn known(file: &ConfigFile, title: &str) -> bool {
    file.data_silos.iter().any(|silo| silo.title == title)
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
