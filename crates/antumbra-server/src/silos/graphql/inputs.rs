//! What can be asked for and said about data silos, data points and enrichers.

use super::*;

/// Which data silos to list.
#[derive(Default, InputObject)]
pub(super) struct DataSiloFiltersInput {
    /// Those whose title holds this.
    pub(super) text: Option<String>,
    /// Those of these ids.
    pub(super) ids: Option<Vec<ID>>,
    /// Those of these titles.
    pub(super) titles: Option<Vec<String>>,
    /// Those of these types.
    pub(super) r#type: Option<Vec<String>>,
    /// Those that take part in requests, or the others.
    pub(super) is_live: Option<bool>,
}

impl DataSiloFiltersInput {
    pub(super) fn lets_through(&self, silo: &DataSilo) -> bool {
        by_text(&silo.title, self.text.as_deref())
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&ID::from(silo.id.0)))
            && self.titles.as_ref().is_none_or(|titles| titles.contains(&silo.title))
            && self.r#type.as_ref().is_none_or(|types| types.contains(&silo.kind))
            && self.is_live.is_none_or(|wanted| wanted == silo.is_live)
    }
}

/// Which data points to list.
#[derive(Default, InputObject)]
pub(super) struct DataPointFiltersInput {
    /// Those whose name holds this.
    pub(super) text: Option<String>,
    /// Those of these ids.
    pub(super) ids: Option<Vec<ID>>,
    /// Those in these data silos.
    pub(super) data_silos: Option<Vec<ID>>,
}

impl DataPointFiltersInput {
    pub(super) fn lets_through(&self, point: &DataPoint) -> bool {
        by_text(&point.name, self.text.as_deref())
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&ID::from(point.id.0)))
    }
}

/// Which fields to list.
#[derive(Default, InputObject)]
pub(super) struct SubDataPointFiltersInput {
    /// Those whose name holds this.
    pub(super) text: Option<String>,
    /// Those in these data silos.
    pub(super) data_silos: Option<Vec<ID>>,
    /// Those in these data points.
    pub(super) data_points: Option<Vec<ID>>,
}

/// Which enrichers to list.
#[derive(Default, InputObject)]
pub(super) struct EnricherFiltersInput {
    /// Those whose title holds this.
    pub(super) text: Option<String>,
}

/// A data silo to be made.
#[derive(InputObject)]
pub(super) struct CreateDataSilosInput {
    /// What sort of system it is, such as `server`.
    pub(super) name: String,
    #[graphql(flatten)]
    pub(super) settings: DataSiloSettings,
}

/// Data silos to be changed.
#[derive(InputObject)]
pub(super) struct UpdateDataSilosInput {
    /// They.
    pub(super) data_silos: Vec<UpdateDataSiloInput>,
}

/// A data silo to be changed.
#[derive(InputObject)]
pub(super) struct UpdateDataSiloInput {
    /// Which one.
    pub(super) id: ID,
    #[graphql(flatten)]
    pub(super) settings: DataSiloSettings,
}

/// What can be set about a data silo. What is not given stays; an empty text removes.
#[derive(InputObject)]
pub(super) struct DataSiloSettings {
    /// What people read.
    pub(super) title: Option<String>,
    /// A sentence about it.
    pub(super) description: Option<String>,
    /// The sort of system behind a generic type.
    pub(super) outer_type: Option<String>,
    /// Where notices of new runs go.
    pub(super) url: Option<String>,
    /// The headers of its notices, all of them.
    pub(super) headers: Option<Vec<CustomHeaderInput>>,
    /// Who is told of its runs that need a person.
    pub(super) notify_email_address: Option<String>,
    /// Names of the identifiers it can look people up by.
    pub(super) identifiers: Option<Vec<String>>,
    /// Whether it takes part in requests that are not tests.
    pub(super) is_live: Option<bool>,
    /// Whether it is left alone for now: its runs wait until it is resumed. Ours.
    pub(super) is_paused: Option<bool>,
    /// For erasures: whether it is asked, once it says that it is done, whether anything is left. Ours.
    pub(super) confirms_absence: Option<bool>,
    /// The data subject types it holds nothing about, by id.
    pub(super) data_subject_block_list_ids: Option<Vec<ID>>,
    /// The data subject types it holds something about, by what `subjectType` says.
    pub(super) data_subjects: Option<Vec<String>>,
    /// For erasures: the silos that are to finish first.
    pub(super) depended_on_data_silo_titles: Option<Vec<String>>,
    /// The same, for all requests and for those of one workflow.
    pub(super) depended_on_data_silos: Option<Vec<DependedOnDataSilosInput>>,
    /// Mail addresses of the people answerable for it.
    pub(super) owner_emails: Option<Vec<String>>,
    /// The teams answerable for it.
    pub(super) team_names: Option<Vec<String>>,
    /// An API key that may answer for it from now on.
    pub(super) api_key_id: Option<ID>,
    /// The organization's own attributes.
    pub(super) attributes: Option<Vec<AttributeInput>>,
    /// The country it stands in.
    pub(super) country: Option<String>,
    /// The part of that country.
    pub(super) country_sub_division: Option<String>,
    /// The business entities it belongs to.
    pub(super) business_entity_titles: Option<Vec<String>>,
    /// Days between two mails to its vendor.
    pub(super) prompt_a_vendor_email_send_frequency: Option<i32>,
    /// What one mail to its vendor is about.
    pub(super) prompt_a_vendor_email_send_type: Option<VendorMailSendType>,
    /// Whether identifiers are attached to a mail to its vendor.
    pub(super) prompt_a_vendor_email_include_identifiers_attachment: Option<bool>,
    /// What the link in a mail to its vendor leads to.
    pub(super) prompt_a_vendor_email_completion_link_type: Option<VendorMailCompletionLink>,
    /// How often a run that waits for a person is brought up again.
    pub(super) manual_work_retry_frequency: Option<String>,
}

/// A header of a notice.
#[derive(InputObject)]
pub(super) struct CustomHeaderInput {
    /// Its name.
    pub(super) name: String,
    /// Its value.
    pub(super) value: String,
    /// Whether the value is never to be shown again.
    #[graphql(default)]
    pub(super) is_secret: bool,
}

impl CustomHeaderInput {
    pub(super) fn read(self) -> Header {
        Header {
            name: self.name,
            value: self.value,
            is_secret: self.is_secret,
        }
    }
}

/// Silos that are to finish first.
#[derive(InputObject)]
pub(super) struct DependedOnDataSilosInput {
    /// Their titles.
    pub(super) titles: Vec<String>,
    /// The workflow it is about; none for all requests.
    pub(super) workflow_config_id: Option<ID>,
}

/// Values of one of the organization's own attributes.
#[derive(InputObject)]
pub(super) struct AttributeInput {
    /// The attribute's name.
    pub(super) key: String,
    /// Its values.
    pub(super) values: Vec<String>,
}

pub(super) fn read_attributes(attributes: Vec<AttributeInput>) -> Vec<Attribute> {
    attributes
        .into_iter()
        .map(|given| Attribute {
            key: given.key,
            values: given.values,
        })
        .collect()
}

impl DataSiloSettings {
    /// Applies what was given to `silo`, keeps it, and attaches the API key.
    pub(super) async fn save(
        self,
        session: &Session,
        mut silo: DataSilo,
        deed: &'static str,
    ) -> Result<DataSilo, Refusal> {
        let around = Around::read(session).await?;
        let settings = &around.settings;
        if let Some(ids) = &self.data_subject_block_list_ids {
            let ids: Vec<uuid::Uuid> = parse_ids(ids, "data subject type")?;
            let slug = |id: uuid::Uuid| settings.subject_types.iter().find(|subject| subject.id.0 == id);
            let found = ids
                .into_iter()
                .map(|id| slug(id).ok_or_else(|| Refusal::not_found("data subject type")));
            silo.subject_blocklist = found
                .map(|found| found.map(|subject| subject.slug.clone()))
                .collect::<Result<_, _>>()?;
        }
        if let Some(slugs) = &self.data_subjects {
            if let Some(unknown) = slugs.iter().find(|slug| settings.find_subject_type(slug).is_none()) {
                return Err(Refusal::client(format!(
                    "There is no such data subject type: {unknown}"
                )));
            }
            let others = settings
                .subject_types
                .iter()
                .filter(|subject| !slugs.contains(&subject.slug));
            silo.subject_blocklist = others.map(|subject| subject.slug.clone()).collect();
        }
        if let Some(names) = &self.identifiers
            && let Some(unknown) = names.iter().find(|name| settings.find_identifier(name).is_none())
        {
            return Err(Refusal::client(format!("There is no such identifier: {unknown}")));
        }
        if let Some(titles) = &self.depended_on_data_silo_titles {
            silo.depends_on = around.ids(titles)?;
        }
        for dependency in self.depended_on_data_silos.into_iter().flatten() {
            let silos = around.ids(&dependency.titles)?;
            match dependency.workflow_config_id {
                None => silo.depends_on = silos,
                Some(workflow) => {
                    let workflow = parse_id(&workflow, "workflow")?;
                    silo.depends_on_in_workflow.retain(|known| known.workflow != workflow);
                    silo.depends_on_in_workflow
                        .push(WorkflowDependencies { workflow, silos });
                }
            }
        }
        put(&mut silo.title, self.title);
        put(&mut silo.description, self.description);
        put(&mut silo.outer_type, text(self.outer_type));
        put(&mut silo.url, text(self.url));
        put(&mut silo.notify_email_address, text(self.notify_email_address));
        put(&mut silo.identity_keys, self.identifiers);
        put(&mut silo.is_live, self.is_live);
        let was_paused = silo.is_paused;
        put(&mut silo.is_paused, self.is_paused);
        put(&mut silo.confirms_absence, self.confirms_absence);
        put(&mut silo.owners, self.owner_emails);
        put(&mut silo.teams, self.team_names);
        put(&mut silo.attributes, self.attributes.map(read_attributes));
        put(&mut silo.country, text(self.country));
        put(&mut silo.country_sub_division, text(self.country_sub_division));
        put(&mut silo.business_entities, self.business_entity_titles);
        let mail = &mut silo.vendor_mail;
        put(
            &mut mail.every_days,
            self.prompt_a_vendor_email_send_frequency
                .and_then(|days| u32::try_from(days).ok()),
        );
        put(&mut mail.send_type, self.prompt_a_vendor_email_send_type);
        put(
            &mut mail.attaches_identifiers,
            self.prompt_a_vendor_email_include_identifiers_attachment,
        );
        put(
            &mut mail.completion_link,
            self.prompt_a_vendor_email_completion_link_type,
        );
        put(&mut silo.manual_work_retry_frequency, self.manual_work_retry_frequency);

        let headers: Option<Vec<Header>> = self
            .headers
            .map(|headers| headers.into_iter().map(CustomHeaderInput::read).collect());
        let title = silo.title.clone();
        let keys = session.keys().await?;
        let mut tx = session.write().await;
        let saved = save_silo(&mut tx, &keys, &session.app.addresses, silo, headers.as_deref()).await;
        let silo = saved.map_err(about("data silo", &title))?;
        session.record(&mut tx, deed, ("data_silo", silo.id.0));
        match (was_paused, silo.is_paused) {
            (false, true) => session.record(&mut tx, "data_silo.paused", ("data_silo", silo.id.0)),
            (true, false) => {
                session.record(&mut tx, "data_silo.resumed", ("data_silo", silo.id.0));
                let job = Job::new(session.app.ids.uuid(), &RESUMED, [silo.id.0]).waiting_for(silo.id.0);
                jobs::enqueue(&mut tx, session.organization(), job, session.now);
            }
            (true, true) | (false, false) => {}
        }
        if let Some(id) = &self.api_key_id {
            session.attach_key(&mut tx, &around.keys, id, silo.id).await?;
        }
        Ok(silo)
    }
}

/// A data point to be made or changed.
#[derive(InputObject)]
pub(super) struct UpdateOrCreateDataPointInput {
    /// The silo it is in, by id.
    pub(super) data_silo_id: Option<ID>,
    /// The silo it is in, by title.
    pub(super) data_silo_title: Option<String>,
    /// What uploads call it.
    pub(super) name: String,
    /// Where it lies inside the silo, outermost first.
    pub(super) path: Option<Vec<String>>,
    /// What people read.
    pub(super) title: Option<String>,
    /// What it holds.
    pub(super) description: Option<String>,
    /// The category of the report that its files are put under.
    pub(super) data_collection_tag: Option<String>,
    /// What it takes part in, all of it.
    pub(super) enabled_actions: Option<Vec<ActionResolver>>,
    /// Addresses of documentation about it.
    pub(super) references: Option<Vec<String>>,
    /// Whether what it holds is encrypted there.
    pub(super) encryption: Option<Encryption>,
    /// The teams answerable for it.
    pub(super) team_names: Option<Vec<String>>,
    /// Mail addresses of the people answerable for it.
    pub(super) owner_emails: Option<Vec<String>>,
    /// Accepted and of no effect: this server knows people by their addresses.
    pub(super) owner_ids: Option<Vec<ID>>,
    /// Accepted and of no effect: this server knows teams by their names.
    pub(super) team_ids: Option<Vec<ID>>,
    /// For databases: queries that answer an action.
    pub(super) query_suggestions: Option<Vec<DbIntegrationQuerySuggestionInput>>,
    /// The fields inside it, all of them.
    pub(super) sub_data_points: Option<Vec<DataPointSubDataPointInput>>,
}

/// A proposed query.
#[derive(InputObject)]
pub(super) struct DbIntegrationQuerySuggestionInput {
    /// The action it answers.
    pub(super) request_type: ActionResolver,
    /// The query.
    pub(super) suggested_query: String,
}

/// A field inside a data point.
#[derive(InputObject)]
pub(super) struct DataPointSubDataPointInput {
    /// Its name.
    pub(super) name: String,
    /// What it holds.
    pub(super) description: Option<String>,
    /// The categories of data it belongs to.
    pub(super) categories: Option<Vec<FieldCategoryInput>>,
    /// The purposes it serves.
    pub(super) purposes: Option<Vec<FieldPurposeInput>>,
    /// Whether an access report shows it.
    pub(super) access_request_visibility_enabled: Option<bool>,
    /// Whether an erasure redacts it.
    pub(super) erasure_request_redaction_enabled: Option<bool>,
    /// The organization's own attributes.
    pub(super) attributes: Option<Vec<AttributeInput>>,
}

/// A category of data.
#[derive(InputObject)]
pub(super) struct FieldCategoryInput {
    /// Its name.
    pub(super) name: Option<String>,
    /// Its class.
    pub(super) category: String,
}

/// A purpose of processing.
#[derive(InputObject)]
pub(super) struct FieldPurposeInput {
    /// Its name.
    pub(super) name: Option<String>,
    /// Its class.
    pub(super) purpose: String,
}

impl DataPointSubDataPointInput {
    pub(super) fn read(self) -> Field {
        let class = |class: String, name: Option<String>| Class {
            class,
            name: name.unwrap_or_else(|| "Other".to_owned()),
        };
        let categories = self.categories.unwrap_or_default().into_iter();
        let purposes = self.purposes.unwrap_or_default().into_iter();
        Field {
            name: self.name,
            description: self.description,
            categories: categories.map(|given| class(given.category, given.name)).collect(),
            purposes: purposes.map(|given| class(given.purpose, given.name)).collect(),
            shown_in_access: self.access_request_visibility_enabled.unwrap_or(true),
            redacted_in_erasure: self.erasure_request_redaction_enabled.unwrap_or(false),
            attributes: read_attributes(self.attributes.unwrap_or_default()),
        }
    }
}

impl UpdateOrCreateDataPointInput {
    pub(super) fn find_silo(&self, around: &Around) -> Result<DataSiloId, Refusal> {
        let is_it = |silo: &&DataSilo| match (&self.data_silo_id, &self.data_silo_title) {
            (Some(id), _) => ID::from(silo.id.0) == *id,
            (None, Some(title)) => silo.title == *title,
            (None, None) => false,
        };
        around
            .silos
            .iter()
            .find(is_it)
            .map(|silo| silo.id)
            .ok_or_else(|| Refusal::not_found("data silo"))
    }

    pub(super) fn apply(self, point: &mut DataPoint, session: &Session) {
        let localize = |place: &mut Option<Localized>, given: Option<String>| {
            if let Some(default_message) = given {
                let id = place
                    .as_ref()
                    .map_or_else(|| session.app.ids.hidden_uuid(), |known| known.id);
                *place = Some(Localized { id, default_message }).filter(|text| !text.default_message.is_empty());
            }
        };
        localize(&mut point.title, self.title);
        localize(&mut point.description, self.description);
        put(&mut point.path, self.path);
        put(&mut point.data_collection_tag, text(self.data_collection_tag));
        let actions = self
            .enabled_actions
            .map(|actions| actions.into_iter().map(Action::from).collect());
        put(&mut point.enabled_actions, actions);
        put(&mut point.references, self.references);
        put(&mut point.encryption, self.encryption.map(Some));
        put(&mut point.teams, self.team_names);
        put(&mut point.owners, self.owner_emails);
        for given in self.query_suggestions.into_iter().flatten() {
            let (action, suggested) = (Action::from(given.request_type), Some(given.suggested_query));
            match point.queries.iter_mut().find(|query| query.action == action) {
                Some(query) => query.suggested = suggested,
                None => point.queries.push(Query {
                    action,
                    suggested,
                    query: None,
                }),
            }
        }
        let fields = self
            .sub_data_points
            .map(|fields| fields.into_iter().map(DataPointSubDataPointInput::read).collect());
        put(&mut point.fields, fields);
    }
}

/// An enricher to be made.
#[derive(InputObject)]
pub(super) struct EnricherInput {
    /// What people read.
    pub(super) title: String,
    /// How it works. By default `SERVER`.
    pub(super) r#type: Option<EnricherKind>,
    #[graphql(flatten)]
    pub(super) settings: EnricherSettings,
}

/// A change of an enricher.
#[derive(InputObject)]
pub(super) struct UpdateEnricherInput {
    /// Which one.
    pub(super) id: ID,
    /// What people read.
    pub(super) title: Option<String>,
    #[graphql(flatten)]
    pub(super) settings: EnricherSettings,
}

/// What can be set about an enricher. What is not given stays; an empty text removes.
#[derive(InputObject)]
pub(super) struct EnricherSettings {
    /// A sentence about it.
    pub(super) description: Option<String>,
    /// Where notices of new lookups go.
    pub(super) url: Option<String>,
    /// The headers of its notices, all of them.
    pub(super) headers: Option<Vec<CustomHeaderInput>>,
    /// The identifier it starts from, by id or name.
    pub(super) input_identifier: Option<String>,
    /// The identifiers it may find, by id or name.
    pub(super) identifiers: Option<Vec<String>>,
    /// The data subject types it runs for, by id.
    pub(super) data_subject_ids: Option<Vec<ID>>,
    /// The data subject types it runs for, by what `subjectType` says.
    pub(super) data_subjects: Option<Vec<String>>,
    /// The actions it runs for.
    pub(super) actions: Option<Vec<Action>>,
    /// The regions it runs for.
    pub(super) region_list: Option<Vec<String>>,
    /// Milliseconds that the data subject has to verify an identifier, that it waits, or that its address has to answer.
    pub(super) expiration_duration: Option<String>,
    /// For `REGEX_MATCH`: the pattern.
    pub(super) test_regex: Option<String>,
    /// The status a request gets when what the rule asks for is the case, or when an identifier is not verified in time.
    pub(super) transition_request_status: Option<PreflightRequestStatus>,
    /// Who is called.
    pub(super) phone_numbers: Option<Vec<String>>,
    /// For `LOOKER`: the query.
    pub(super) looker_query_title: Option<String>,
    /// For `email`: milliseconds after the first message at which the data subject is reminded, three at most.
    pub(super) reminder_durations: Option<Vec<String>>,
    /// The enrichers that are to end first, by id or title.
    pub(super) depends_on: Option<Vec<String>>,
    /// Whether it does not run for the time being.
    pub(super) is_paused: Option<bool>,
    /// The part of each day in which its address is asked; the same time twice for the whole day.
    pub(super) daily_window: Option<DailyWindowInput>,
    /// The template of the messages that ask the data subject to verify an identifier, by id or title.
    pub(super) verification_template: Option<String>,
    /// The template of the message that tells of the end it has brought upon a request, by id or title.
    pub(super) end_template: Option<String>,
}

/// A part of each day, by the organization's clock: its `timeZone`, or `dsr.time_zone`.
#[derive(InputObject)]
pub(super) struct DailyWindowInput {
    /// When it begins, as `22:00`.
    pub(super) from: String,
    /// When it is over. Before `from`: on the day after.
    pub(super) until: String,
}

impl EnricherSettings {
    pub(super) async fn save(
        self,
        session: &Session,
        mut enricher: Enricher,
        deed: &'static str,
    ) -> Result<Enricher, Refusal> {
        let settings = session.settings().await?;
        let identifier = |given: &String| {
            let mut known = settings.identifiers.iter().map(|known| &known.identifier);
            let found = known.find(|known| known.name == *given || known.id.0.to_string() == *given);
            found
                .map(|found| found.name.clone())
                .ok_or_else(|| Refusal::client(format!("There is no such identifier: {given}")))
        };
        if let Some(given) = &self.input_identifier {
            enricher.input_identifier = Some(identifier(given)?);
        }
        if let Some(given) = &self.identifiers {
            enricher.output_identifiers = given.iter().map(identifier).collect::<Result<_, _>>()?;
        }
        let mut subjects = self.data_subjects;
        if let Some(ids) = &self.data_subject_ids {
            let ids: Vec<uuid::Uuid> = parse_ids(ids, "data subject type")?;
            let slug = |id: &uuid::Uuid| settings.subject_types.iter().find(|subject| subject.id.0 == *id);
            let found = ids
                .iter()
                .map(|id| slug(id).ok_or_else(|| Refusal::not_found("data subject type")));
            subjects = Some(
                found
                    .map(|found| found.map(|subject| subject.slug.clone()))
                    .collect::<Result<_, _>>()?,
            );
        }
        if let Some(slugs) = subjects {
            if let Some(unknown) = slugs.iter().find(|slug| settings.find_subject_type(slug).is_none()) {
                return Err(Refusal::client(format!(
                    "There is no such data subject type: {unknown}"
                )));
            }
            enricher.subject_types = slugs.into_iter().collect();
        }
        if let Some(given) = self.expiration_duration {
            enricher.expiration = Some(millis("expirationDuration", &given)?).filter(|duration| !duration.is_zero());
        }
        if let Some(given) = &self.reminder_durations {
            let spans = given.iter().map(|given| millis("reminderDurations", given));
            enricher.reminders = Some(spans.collect::<Result<_, _>>()?);
        }
        if let Some(given) = &self.depends_on {
            let others = list_enrichers(&mut *session.read().await, session.organization()).await?;
            enricher.depends_on = find_all(given, &others, enricher.id)?;
        }
        let template = |given: &String| {
            if given.is_empty() {
                return Ok(None);
            }
            let mut known = settings.templates.iter();
            let found = known.find(|known| known.title == *given || known.id.0.to_string() == *given);
            found
                .map(|found| Some(found.id))
                .ok_or_else(|| Refusal::client(format!("There is no such template: {given}")))
        };
        put(
            &mut enricher.verification_template,
            self.verification_template.as_ref().map(template).transpose()?,
        );
        put(
            &mut enricher.end_template,
            self.end_template.as_ref().map(template).transpose()?,
        );
        if let Some(DailyWindowInput { from, until }) = &self.daily_window {
            let window = DailyWindow::parse(from, until).map_err(SaveError::Rule);
            enricher.daily_window = window.map_err(about("enricher", &enricher.title))?;
        }
        put(&mut enricher.is_paused, self.is_paused);
        put(&mut enricher.description, text(self.description));
        put(&mut enricher.url, text(self.url));
        put(
            &mut enricher.actions,
            self.actions.map(|actions| actions.into_iter().collect()),
        );
        put(&mut enricher.regions, self.region_list);
        put(&mut enricher.test_regex, text(self.test_regex));
        let status = self
            .transition_request_status
            .map(|status| Some(status.word().to_owned()));
        put(&mut enricher.transition_request_status, status);
        put(&mut enricher.phone_numbers, self.phone_numbers);
        put(&mut enricher.looker_query_title, text(self.looker_query_title));

        let headers: Option<Vec<Header>> = self
            .headers
            .map(|headers| headers.into_iter().map(CustomHeaderInput::read).collect());
        let (title, keys) = (enricher.title.clone(), session.keys().await?);
        let mut tx = session.write().await;
        let saved = save_enricher(&mut tx, &keys, &session.app.addresses, enricher, headers.as_deref()).await;
        let enricher = saved.map_err(about("enricher", &title))?;
        session.record(&mut tx, deed, ("enricher", enricher.id.0));
        Ok(enricher)
    }
}

fn millis(field: &str, given: &str) -> Result<Duration, Refusal> {
    let millis = given
        .parse()
        .map_err(|_| Refusal::client(format!("{field} must be whole milliseconds")))?;
    Ok(Duration::from_millis(millis))
}

/// The enrichers that `given` names by id or title. None may wait for itself, also not by way of others.
fn find_all(given: &[String], others: &[Enricher], own: EnricherId) -> Result<BTreeSet<EnricherId>, Refusal> {
    let find = |name: &String| {
        let mut others = others.iter();
        let found = others.find(|other| other.title == *name || other.id.0.to_string() == *name);
        found
            .map(|other| other.id)
            .ok_or_else(|| Refusal::client(format!("There is no such enricher: {name}")))
    };
    let direct: BTreeSet<EnricherId> = given.iter().map(find).collect::<Result<_, _>>()?;
    let (mut seen, mut next) = (direct.clone(), Vec::from_iter(direct.iter().copied()));
    while let Some(id) = next.pop() {
        if id == own {
            return Err(Refusal::client("an enricher would wait for itself"));
        }
        let further = others
            .iter()
            .filter(|other| other.id == id)
            .flat_map(|other| &other.depends_on);
        next.extend(further.copied().filter(|id| seen.insert(*id)));
    }
    Ok(direct)
}
