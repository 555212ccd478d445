//! The sections of a file of which more is to be said than their tables do.

use super::*;

impl Planner<'_> {
    pub(super) async fn organization(&mut self, file: &ConfigFile) -> Result<()> {
        let Some(entry) = &file.organization else {
            return Ok(());
        };
        let kind = &kinds::ORGANIZATION;
        let query = format!("{{ {} {{ {} }} }}", kind.list, kind.selection);
        let data = self.client.graphql(&query, json!({})).await?;
        let node = &data[kind.list];
        let name = node[kind.name_at].as_str().unwrap_or_default();
        self.change(kind, Place::section(kind.section), &said(entry), node, name, |input| {
            input
        });
        Ok(())
    }

    pub(super) async fn data_subjects(&mut self, file: &ConfigFile) -> Result<()> {
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

    pub(super) async fn attributes(&mut self, file: &ConfigFile) -> Result<()> {
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

    pub(super) async fn enrichers(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::ENRICHER;
        if file.enrichers.is_empty() {
            return Ok(());
        }
        let mut present = self.present(kind).await?;
        let templates = self.present(&kinds::TEMPLATE).await?;
        let title_in = |all: &[Value], id: &Value| {
            let found = all.iter().find(|node| node["id"] == *id && !id.is_null());
            found.map_or(Value::Null, |node| node["title"].clone())
        };
        let before = present.clone();
        for node in &mut present {
            let ids = node["dependsOn"].as_array().cloned().unwrap_or_default();
            node["dependsOnTitles"] = ids.iter().map(|id| title_in(&before, id)).collect();
            node["verificationTemplateTitle"] = title_in(&templates, &node["verificationTemplateId"]);
            node["endTemplateTitle"] = title_in(&templates, &node["endTemplateId"]);
        }
        let place = |index| Place::section(kind.section).item(index);
        self.once(
            kind,
            file.enrichers
                .iter()
                .enumerate()
                .map(|(index, entry)| (place(index), entry.title.as_str())),
        );
        let exists = |title: &str| present.iter().any(|node| node["title"] == title);
        let waits_for = |entry: &Enricher| entry.depends_on.clone().unwrap_or_default();
        let entries = &file.enrichers;
        for index in self.makeable_order(kind, entries, |entry| &entry.title, ("depends-on", waits_for), exists) {
            let entry = &entries[index];
            let mut wanted = said(entry);
            if let Some(millis) = entry.expiration_duration {
                wanted.insert("expirationDuration".to_owned(), millis.to_string().into());
            }
            if let Some(spans) = &entry.reminder_durations {
                let spans: Vec<String> = spans.iter().map(u64::to_string).collect();
                wanted.insert("reminderDurations".to_owned(), spans.into());
            }
            let headers = entry.headers.as_deref();
            let node = self.find(kind, &place(index), &present, &entry.title);
            let is_whole_day = |window: &DailyWindow| window.from == window.until;
            if entry.daily_window.as_ref().is_some_and(is_whole_day)
                && node.is_none_or(|node| node["dailyWindow"].is_null())
            {
                wanted.remove("daily-window");
            }
            match node {
                Some(node) => self.change(kind, place(index), &wanted, node, &entry.title, |input| input),
                None => self.create(kind, place(index), &wanted, &entry.title, |input| {
                    with_headers(input, headers)
                }),
            }
        }
        Ok(())
    }

    /// Options stand in a section of their own and under topics; each is made once.
    pub(super) async fn options(&mut self, file: &ConfigFile) -> Result<()> {
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

    pub(super) async fn topics(&mut self, file: &ConfigFile) -> Result<()> {
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
            let slug_of = |topic: &crate::apply::file::Topic| topic.slug.clone().unwrap_or_else(|| topic.title.clone());
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

    pub(super) async fn partitions(&mut self, file: &ConfigFile) -> Result<()> {
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
        let id = |entry: &crate::apply::file::Partition| entry.partition.clone().unwrap_or_else(|| entry.name.clone());
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
            let node = present.iter().find(is_it);
            match node {
                Some(node) if node["name"] != entry.name.as_str() => {
                    let message = format!("is {} on the server and does not change", super::shown(&node["name"]));
                    self.fault(&place(index).key("name"), message);
                }
                Some(_) => self.step(kind, place(index), &shown, Deed::Leave, Vec::new(), Vec::new()),
                None => self.create(kind, place(index), &said(entry), &shown, |mut input| {
                    input["name"] = entry.name.as_str().into();
                    input["id"] = manager.clone();
                    input
                }),
            }
            self.token_secret(&place(index), entry, node).await?;
        }
        Ok(())
    }

    /// Has the partition of the last step signed for with the secret of the file. Whether it is the one in use is for the
    /// server to say, whose audit log says that it was asked; no secret is ever printed.
    async fn token_secret(
        &mut self,
        place: &Place,
        entry: &crate::apply::file::Partition,
        node: Option<&Value>,
    ) -> Result<()> {
        let Some(secret) = &entry.token_secret else {
            return Ok(());
        };
        let key = entry.partition.as_deref().or_else(|| node?["partition"].as_str());
        let Some(key) = key else {
            let rule = "needs `partition` beside it: the key of a new partition is not known before it is made";
            self.fault(&place.key("token-secret"), rule);
            return Ok(());
        };
        if node.is_some() {
            let known = self.client.graphql(kinds::TOKEN_SECRETS, json!({ "id": key })).await?;
            if known["getTokenSecrets"]["tokenSecrets"]["secrets"][0] == secret.reveal() {
                return Ok(());
            }
        }
        if let Some(step) = self.plan.steps.last_mut() {
            if step.deed == Deed::Leave {
                step.deed = Deed::Change;
            }
            step.lines.push("token-secret: (hidden)".to_owned());
        }
        let input = json!({ "id": key, "secret": secret.reveal() });
        self.plan.secrets.push((place.key("token-secret"), input));
        Ok(())
    }

    pub(super) async fn templates(&mut self, file: &ConfigFile) -> Result<()> {
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
                    // Without words of its own it says what is built in.
                    for (member, words) in [("template", ""), ("subject", entry.title.as_str())] {
                        if input[member].is_null() {
                            input[member] = words.into();
                        }
                    }
                    input
                }),
            }
        }
        Ok(())
    }

    pub(super) async fn data_silos(&mut self, file: &ConfigFile) -> Result<()> {
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
        let exists = |title: &str| present.iter().any(|node| node["title"] == title);
        let waits_for = |silo: &DataSilo| silo.deletion_dependencies.clone().unwrap_or_default();
        let waits_for = ("deletion-dependencies", waits_for);
        for index in self.makeable_order(kind, &file.data_silos, |silo| &silo.title, waits_for, exists) {
            let silo = &file.data_silos[index];
            let mut wanted = said(silo);
            if let Some(disabled) = silo.disabled {
                wanted.insert("isLive".to_owned(), (!disabled).into());
            }
            let headers = silo.headers.as_deref();
            let doubts = doubts_about(silo, present.iter().find(|node| node["title"] == silo.title.as_str()));
            let Some(node) = self.find(kind, &place(index), &present, &silo.title) else {
                self.create(kind, place(index), &wanted, &silo.title, |mut input| {
                    input["title"] = silo.title.as_str().into();
                    json!([with_headers(input, headers)])
                });
                if let (Some(headers), Some(step)) = (headers, self.plan.steps.last_mut()) {
                    step.lines.push(format!("headers: {}", names_of(headers)));
                }
                if let Some(step) = self.plan.steps.last_mut() {
                    step.lines.extend(doubts);
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
            lines.extend(doubts);
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

    pub(super) async fn triggers(&mut self, file: &ConfigFile) -> Result<()> {
        let kind = &kinds::TRIGGER;
        if file.triggers.is_empty() {
            return Ok(());
        }
        let present = self.present(kind).await?;
        let place = |index| Place::section(kind.section).item(index);
        self.once(
            kind,
            file.triggers
                .iter()
                .enumerate()
                .map(|(index, trigger)| (place(index), trigger.name.as_str())),
        );
        let workflows = match file.triggers.iter().any(|trigger| trigger.workflow_title.is_some()) {
            true => self.present(&kinds::ACTION).await?,
            false => Vec::new(),
        };
        for (index, trigger) in file.triggers.iter().enumerate() {
            let mut wanted = said(trigger);
            let title = trigger.workflow_title.as_deref();
            let workflow = workflows.iter().find(|node| node["type"].as_str() == title);
            if title.is_some() && workflow.is_none() {
                let rule = "is no workflow of this server: each has the name of an action, as ACCESS";
                self.fault(&place(index).key("workflow-title"), rule);
                continue;
            }
            let with_id = |mut input: Value| {
                if let (Some(workflow), Some(id)) = (workflow, input.get_mut("workflowConfigId")) {
                    *id = workflow["id"].clone();
                }
                input
            };
            let waits = trigger.purposes.iter();
            let waits = waits.map(|waits| json!({ waits.tracking_type.as_str(): waits.matching_state }));
            let condition = json!({ "And": waits.collect::<Vec<_>>() });
            wanted.insert("condition".to_owned(), condition.to_string().into());
            match self.find(kind, &place(index), &present, &trigger.name) {
                Some(node) => self.change(kind, place(index), &wanted, node, &trigger.name, with_id),
                None => self.create(kind, place(index), &wanted, &trigger.name, with_id),
            }
        }
        Ok(())
    }

    /// Names what silos refer to and nobody has.
    pub(super) async fn references(
        &mut self,
        file: &ConfigFile,
        present: &[Value],
        subjects: &BTreeSet<String>,
    ) -> Result<()> {
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

    /// The order in which entries that wait for others can be made: each after those it waits for.
    fn makeable_order<T>(
        &mut self,
        kind: &Kind,
        entries: &[T],
        title: impl Fn(&T) -> &str,
        (waits_at, waits_for): (&str, impl Fn(&T) -> Vec<String>),
        exists: impl Fn(&str) -> bool,
    ) -> Vec<usize> {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut left: Vec<usize> = (0..entries.len()).collect();
        let mut order = Vec::new();
        let is_known = |name: &str| entries.iter().any(|entry| title(entry) == name);
        while !left.is_empty() {
            let is_ready = |index: &usize| {
                waits_for(&entries[*index])
                    .iter()
                    .all(|name| exists(name) || made.contains(name.as_str()) || !is_known(name))
            };
            let ready: Vec<usize> = left.iter().copied().filter(|index| is_ready(index)).collect();
            if ready.is_empty() {
                for index in &left {
                    let place = Place::section(kind.section).item(*index).key(waits_at);
                    self.fault(
                        &place,
                        format!("waits for itself, by way of the {}s it waits for", kind.word),
                    );
                }
                break;
            }
            made.extend(ready.iter().map(|index| title(&entries[*index])));
            left.retain(|index| !ready.contains(index));
            order.extend(ready);
        }
        order
    }

    pub(super) async fn data_points(&mut self, file: &ConfigFile) -> Result<()> {
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

    pub(super) async fn api_keys(&mut self, file: &ConfigFile) -> Result<()> {
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

/// Why a silo of the kind `server` will take no part in requests as it will be: it is told nothing, or nobody can be looked
/// up in it. A file may be meant so, and a person seldom means it.
fn doubts_about(silo: &DataSilo, present: Option<&Value>) -> Vec<String> {
    let kind = present
        .and_then(|node| node["type"].as_str())
        .unwrap_or(&silo.integration_name);
    if kind != "server" {
        return Vec::new();
    }
    let url = silo.url.as_deref().or_else(|| present?["url"].as_str());
    let keys = silo.identity_keys.as_ref().map(Vec::len);
    let keys = keys.or_else(|| present?["identifiers"].as_array().map(Vec::len));
    let mut doubts = Vec::new();
    if url.is_none_or(str::is_empty) {
        doubts.push("warning: without url it is told of no request, and requests wait until it comes for its work");
    }
    if keys.unwrap_or(0) == 0 {
        doubts.push("warning: without identity-keys nobody can be looked up in it, and it takes no part in requests");
    }
    doubts.into_iter().map(str::to_owned).collect()
}
