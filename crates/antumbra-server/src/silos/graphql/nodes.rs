//! Data silos, data points and enrichers, as answers show them.

use super::*;

/// A page of data silos.
#[derive(SimpleObject)]
pub(super) struct DataSilosPayload {
    /// The page.
    pub(super) nodes: Vec<SiloNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// A system that holds personal data.
pub(crate) struct SiloNode {
    pub(super) silo: DataSilo,
    pub(super) around: Arc<Around>,
}

impl SiloNode {
    /// A silo on its own, for those who list something else.
    pub(crate) async fn find(session: &Session, id: DataSiloId) -> Result<Option<SiloNode>, Refusal> {
        let around = Around::read(session).await?;
        let silo = around.silos.iter().find(|silo| silo.id == id).cloned();
        Ok(silo.map(|silo| SiloNode { silo, around }))
    }
}

/// A system that holds personal data.
#[Object(name = "DataSilo")]
impl SiloNode {
    /// Its id.
    async fn id(&self) -> ID {
        self.silo.id.0.into()
    }

    /// What people read.
    async fn title(&self) -> &str {
        &self.silo.title
    }

    /// A sentence about it.
    async fn description(&self) -> &str {
        &self.silo.description
    }

    /// What sort of system it is.
    async fn r#type(&self) -> &str {
        &self.silo.kind
    }

    /// The sort of system behind a generic type.
    async fn outer_type(&self) -> Option<&str> {
        self.silo.outer_type.as_deref()
    }

    /// An address to look at it.
    async fn link(&self, context: &Context<'_>) -> String {
        format!(
            "{}/graphql#data-silo-{}",
            Session::of(context).app.public_url(),
            self.silo.id.0
        )
    }

    /// When it was made.
    async fn created_at(&self) -> Date {
        Date(self.silo.created_at)
    }

    /// The country it stands in.
    async fn country(&self) -> Option<&str> {
        self.silo.country.as_deref()
    }

    /// The part of that country.
    async fn country_sub_division(&self) -> Option<&str> {
        self.silo.country_sub_division.as_deref()
    }

    /// Where notices of new runs go.
    async fn url(&self) -> Option<&str> {
        self.silo.url.as_deref()
    }

    /// The headers of its notices. The value of a secret one is never shown.
    async fn headers(&self, context: &Context<'_>) -> Result<Vec<HeaderNode>, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let headers = open_headers(&mut *session.read().await, &keys, &self.silo)
            .await
            .map_err(Problem::from)?;
        Ok(headers.into_iter().map(HeaderNode::new).collect())
    }

    /// Whether its notices have exactly these headers. For whoever would set them and wants to know whether to.
    async fn headers_match(&self, context: &Context<'_>, headers: Vec<CustomHeaderInput>) -> Result<bool, Refusal> {
        let session = Session::of(context);
        session.require_connecting()?;
        let keys = session.keys().await?;
        let present = open_headers(&mut *session.read().await, &keys, &self.silo)
            .await
            .map_err(Problem::from)?;
        Ok(same_headers(present, headers))
    }

    /// Who is told of its runs that need a person.
    async fn notify_email_address(&self) -> Option<&str> {
        self.silo.notify_email_address.as_deref()
    }

    /// The organization's own attributes.
    async fn attribute_values(&self) -> Vec<SiloAttributeValue> {
        attribute_values(&self.silo.attributes)
    }

    /// The API keys that may answer for it.
    async fn api_keys(&self) -> Vec<Titled> {
        let attached = self.around.keys.iter().filter(|key| key.silos.contains(&self.silo.id));
        attached
            .map(|key| Titled {
                title: key.title.clone(),
            })
            .collect()
    }

    /// The data subject types it holds nothing about.
    async fn subject_blocklist(&self) -> Vec<SubjectRef> {
        self.silo
            .subject_blocklist
            .iter()
            .map(|slug| SubjectRef { r#type: slug.clone() })
            .collect()
    }

    /// The identifiers it can look people up by.
    async fn identifiers(&self) -> Vec<SiloIdentifier> {
        let names = self.silo.identity_keys.iter();
        names
            .map(|name| SiloIdentifier {
                name: name.clone(),
                is_connected: true,
            })
            .collect()
    }

    /// For erasures: the silos that are to finish first.
    async fn dependent_data_silos(&self) -> Vec<Titled> {
        self.around.titles(&self.silo.depends_on)
    }

    /// The same, for the requests of one workflow.
    async fn depended_on_data_silos_per_workflow(&self) -> Vec<WorkflowDependency> {
        let per_workflow = self.silo.depends_on_in_workflow.iter();
        let node = |entry: &WorkflowDependencies| WorkflowDependency {
            workflow_config_id: entry.workflow.into(),
            workflow_internal_name: String::new(),
            depended_on_data_silos: self.around.titles(&entry.silos),
        };
        per_workflow.map(node).collect()
    }

    /// People answerable for it.
    async fn owners(&self) -> Vec<Person> {
        self.silo.owners.iter().map(|owner| person(owner)).collect()
    }

    /// Teams answerable for it.
    async fn teams(&self) -> Vec<Person> {
        self.silo.teams.iter().map(|team| person(team)).collect()
    }

    /// What the catalogue says about its type.
    async fn catalog(&self) -> CatalogEntry {
        CatalogEntry {
            has_avc_functionality: self.silo.kind == "promptAPerson",
        }
    }

    /// Whether it takes part in requests that are not tests.
    async fn is_live(&self) -> bool {
        self.silo.is_live
    }

    /// Whether it is left alone for now: its runs wait until it is resumed.
    async fn is_paused(&self) -> bool {
        self.silo.is_paused
    }

    /// For erasures: whether it is asked, once it says that it is done, whether anything is left. Ours.
    async fn confirms_absence(&self) -> bool {
        self.silo.confirms_absence
    }

    /// Days between two mails to its vendor.
    async fn prompt_a_vendor_email_send_frequency(&self) -> i32 {
        i32::try_from(self.silo.vendor_mail.every_days).unwrap_or(i32::MAX)
    }

    /// What one mail to its vendor is about.
    async fn prompt_a_vendor_email_send_type(&self) -> VendorMailSendType {
        self.silo.vendor_mail.send_type
    }

    /// Whether identifiers are attached to a mail to its vendor.
    async fn prompt_a_vendor_email_include_identifiers_attachment(&self) -> bool {
        self.silo.vendor_mail.attaches_identifiers
    }

    /// What the link in a mail to its vendor leads to.
    async fn prompt_a_vendor_email_completion_link_type(&self) -> VendorMailCompletionLink {
        self.silo.vendor_mail.completion_link
    }

    /// How often a run that waits for a person is brought up again.
    async fn manual_work_retry_frequency(&self) -> &str {
        &self.silo.manual_work_retry_frequency
    }

    /// What discovered it. This server discovers none.
    async fn discovered_by(&self) -> Vec<Titled> {
        Vec::new()
    }

    /// The business entities it belongs to.
    async fn business_entities(&self) -> Vec<Titled> {
        self.silo
            .business_entities
            .iter()
            .map(|title| Titled { title: title.clone() })
            .collect()
    }

    /// The gateway that its data goes through.
    async fn sombra(&self) -> Option<GatewayRef> {
        Some(GatewayRef {
            id: self.around.settings.organization.id.0.into(),
        })
    }
}

pub(super) fn same_headers(present: Vec<Header>, wanted: Vec<CustomHeaderInput>) -> bool {
    let canonical = |headers: Vec<Header>| -> BTreeMap<String, (String, bool)> {
        let entry = |header: Header| (header.name.to_ascii_lowercase(), (header.value, header.is_secret));
        headers.into_iter().map(entry).collect()
    };
    let (present, wanted) = (
        canonical(present),
        canonical(wanted.into_iter().map(CustomHeaderInput::read).collect()),
    );
    present.len() == wanted.len()
        && present.iter().zip(&wanted).fold(
            true,
            |same, ((name, (value, secret)), (other, (wanted, wanted_secret)))| {
                // Compared to the end, so that the time taken tells nothing about a secret.
                same & (name == other)
                    & (secret == wanted_secret)
                    & antumbra_crypto::same_bytes(value.as_bytes(), wanted.as_bytes())
            },
        )
}

/// A header of a notice.
#[derive(SimpleObject)]
#[graphql(name = "CustomHeader")]
pub(super) struct HeaderNode {
    /// Its name, in lower case.
    pub(super) name: String,
    /// Its value; null when it is secret.
    pub(super) value: Option<String>,
    /// Whether the value is never shown.
    pub(super) is_secret: bool,
}

impl HeaderNode {
    pub(super) fn new(header: Header) -> HeaderNode {
        let value = Some(header.value).filter(|_| !header.is_secret);
        HeaderNode {
            name: header.name,
            value,
            is_secret: header.is_secret,
        }
    }
}

/// A value of an attribute that a silo or field carries.
#[derive(SimpleObject)]
pub(super) struct SiloAttributeValue {
    /// What it says.
    pub(super) name: String,
    /// The key it belongs to.
    pub(super) attribute_key: Named,
}

pub(super) fn attribute_values(attributes: &[Attribute]) -> Vec<SiloAttributeValue> {
    let each = attributes.iter().flat_map(|attribute| {
        attribute.values.iter().map(|value| SiloAttributeValue {
            name: value.clone(),
            attribute_key: Named {
                name: attribute.key.clone(),
            },
        })
    });
    each.collect()
}

/// A data subject type that is mentioned.
#[derive(SimpleObject)]
pub(super) struct SubjectRef {
    /// What `subjectType` says on the wire.
    pub(super) r#type: String,
}

/// An identifier that a silo can look people up by.
#[derive(SimpleObject)]
pub(super) struct SiloIdentifier {
    /// Its name.
    pub(super) name: String,
    /// Whether it is in use.
    pub(super) is_connected: bool,
}

/// The silos that are to finish first, in one workflow.
#[derive(SimpleObject)]
pub(super) struct WorkflowDependency {
    /// The workflow.
    pub(super) workflow_config_id: ID,
    /// Its name among administrators.
    pub(super) workflow_internal_name: String,
    /// The silos.
    pub(super) depended_on_data_silos: Vec<Titled>,
}

/// What the catalogue says about a type of data silo.
#[derive(SimpleObject)]
pub(super) struct CatalogEntry {
    /// Whether its vendor is asked by mail.
    pub(super) has_avc_functionality: bool,
}

/// A gateway that is mentioned.
#[derive(SimpleObject)]
pub(super) struct GatewayRef {
    /// Its id.
    pub(super) id: ID,
}

/// A page of data points.
#[derive(SimpleObject)]
pub(super) struct DataPointsPayload {
    /// The page.
    pub(super) nodes: Vec<PointNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// One collection inside a silo.
pub(super) struct PointNode {
    pub(super) point: DataPoint,
    pub(super) around: Arc<Around>,
}

/// One collection inside a silo.
#[Object(name = "DataPoint")]
impl PointNode {
    /// Its id.
    async fn id(&self) -> ID {
        self.point.id.0.into()
    }

    /// What uploads call it.
    async fn name(&self) -> &str {
        &self.point.name
    }

    /// Its name in addresses.
    async fn slug(&self) -> &str {
        &self.point.slug
    }

    /// What people read.
    async fn title(&self) -> Option<Message> {
        self.point.title.as_ref().map(message)
    }

    /// What it holds.
    async fn description(&self) -> Option<Message> {
        self.point.description.as_ref().map(message)
    }

    /// Where it lies inside the silo, outermost first.
    async fn path(&self) -> &[String] {
        &self.point.path
    }

    /// Whether what it holds is encrypted there.
    async fn encryption(&self) -> Option<Encryption> {
        self.point.encryption
    }

    /// Addresses of documentation about it.
    async fn references(&self) -> &[String] {
        &self.point.references
    }

    /// The silo it is in.
    async fn data_silo(&self) -> Result<SiloNode, Refusal> {
        let silo = self
            .around
            .silos
            .iter()
            .find(|silo| silo.id == self.point.silo)
            .cloned();
        Ok(SiloNode {
            silo: silo.ok_or_else(|| Refusal::not_found("data silo"))?,
            around: self.around.clone(),
        })
    }

    /// People answerable for it.
    async fn owners(&self) -> Vec<Person> {
        self.point.owners.iter().map(|owner| person(owner)).collect()
    }

    /// Teams answerable for it.
    async fn teams(&self) -> Vec<Person> {
        self.point.teams.iter().map(|team| person(team)).collect()
    }

    /// What it takes part in.
    async fn action_settings(&self) -> Vec<PointAction> {
        let node = |action: &Action| PointAction {
            r#type: ActionResolver::from(*action),
            active: true,
        };
        self.point.enabled_actions.iter().map(node).collect()
    }

    /// The category of the report that its files are put under.
    async fn data_collection(&self) -> Option<DataCollection> {
        let tag = self.point.data_collection_tag.as_deref()?;
        Some(DataCollection {
            title: Message::new(self.point.id.0, "dataCollection", tag),
        })
    }

    /// For databases: queries that answer an action.
    async fn db_integration_queries(&self) -> Option<Vec<PointQuery>> {
        let node = |query: &Query| PointQuery {
            query: query.query.clone(),
            suggested_query: query.suggested.clone(),
            request_type: query.action.into(),
        };
        Some(self.point.queries.iter().map(node).collect())
    }
}

pub(super) fn message(text: &Localized) -> Message {
    Message {
        id: text.id.to_string(),
        default_message: text.default_message.clone(),
        description: None,
    }
}

/// An action that a data point takes part in.
#[derive(SimpleObject)]
pub(super) struct PointAction {
    /// The action.
    pub(super) r#type: ActionResolver,
    /// Whether it does.
    pub(super) active: bool,
}

/// The category of a report.
#[derive(SimpleObject)]
pub(super) struct DataCollection {
    /// What people read.
    pub(super) title: Message,
}

/// A query that answers an action in a database.
#[derive(SimpleObject)]
pub(super) struct PointQuery {
    /// What is in use.
    pub(super) query: Option<String>,
    /// What someone proposed.
    pub(super) suggested_query: Option<String>,
    /// The action it answers.
    pub(super) request_type: ActionResolver,
}

/// An action, where data points are spoken of.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "RequestActionObjectResolver", remote = "Action")]
pub(super) enum ActionResolver {
    Access,
    Erasure,
    Rectification,
    Restriction,
    BusinessPurpose,
    PlaceOnLegalHold,
    RemoveFromLegalHold,
    AutomatedDecisionMakingOptOut,
    UseOfSensitiveInformationOptOut,
    ContactOptOut,
    SaleOptOut,
    TrackingOptOut,
    CustomOptOut,
    AutomatedDecisionMakingOptIn,
    UseOfSensitiveInformationOptIn,
    SaleOptIn,
    TrackingOptIn,
    ContactOptIn,
    CustomOptIn,
}

/// A page of fields.
#[derive(SimpleObject)]
pub(super) struct SubDataPointsPayload {
    /// The page.
    pub(super) nodes: Vec<FieldNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// A field inside a data point.
#[derive(SimpleObject)]
#[graphql(name = "SubDataPoint")]
pub(super) struct FieldNode {
    /// Its id.
    pub(super) id: ID,
    /// Its name.
    pub(super) name: String,
    /// What it holds.
    pub(super) description: Option<String>,
    /// The purposes it serves.
    pub(super) purposes: Vec<FieldPurpose>,
    /// The categories of data it belongs to.
    pub(super) categories: Vec<FieldCategory>,
    /// Whether an access report shows it.
    pub(super) access_request_visibility_enabled: bool,
    /// Whether an erasure redacts it.
    pub(super) erasure_request_redaction_enabled: bool,
    /// The organization's own attributes.
    pub(super) attribute_values: Vec<SiloAttributeValue>,
}

/// A purpose that a field serves.
#[derive(SimpleObject)]
pub(super) struct FieldPurpose {
    /// Its name.
    pub(super) name: String,
    /// Its class.
    pub(super) purpose: String,
}

/// A category of data that a field belongs to.
#[derive(SimpleObject)]
pub(super) struct FieldCategory {
    /// Its name.
    pub(super) name: String,
    /// Its class.
    pub(super) category: String,
}

impl FieldNode {
    pub(super) fn new(point: &DataPoint, place: usize, field: &Field) -> FieldNode {
        let purpose = |class: &Class| FieldPurpose {
            name: class.name.clone(),
            purpose: class.class.clone(),
        };
        let category = |class: &Class| FieldCategory {
            name: class.name.clone(),
            category: class.class.clone(),
        };
        FieldNode {
            id: person(&format!("{}.{place}", point.id.0)).id,
            name: field.name.clone(),
            description: field.description.clone(),
            purposes: field.purposes.iter().map(purpose).collect(),
            categories: field.categories.iter().map(category).collect(),
            access_request_visibility_enabled: field.shown_in_access,
            erasure_request_redaction_enabled: field.redacted_in_erasure,
            attribute_values: attribute_values(&field.attributes),
        }
    }
}

/// A page of enrichers.
#[derive(SimpleObject)]
pub(super) struct EnrichersPayload {
    /// The page.
    pub(super) nodes: Vec<EnricherNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// A lookup of further identifiers, or a rule.
pub(crate) struct EnricherNode(pub(crate) Enricher);

/// A lookup of further identifiers, or a rule.
#[Object(name = "Enricher")]
impl EnricherNode {
    /// Its id.
    async fn id(&self) -> ID {
        self.0.id.0.into()
    }

    /// What people read.
    async fn title(&self) -> &str {
        &self.0.title
    }

    /// A sentence about it.
    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// How it works.
    async fn r#type(&self) -> EnricherKind {
        self.0.kind
    }

    /// Where notices of new lookups go.
    async fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// The names of the headers of its notices.
    async fn headers(&self) -> Vec<HeaderNode> {
        let node = |header: &SealedHeader| HeaderNode {
            name: header.name.clone(),
            value: None,
            is_secret: header.is_secret,
        };
        self.0.headers.iter().map(node).collect()
    }

    /// Milliseconds that the data subject has to verify an identifier, that it waits, or that its address has to answer; `0`
    /// for the usual time.
    async fn expiration_duration(&self) -> String {
        self.0.expiration.unwrap_or_default().as_millis().to_string()
    }

    /// For `LOOKER`: the query.
    async fn looker_query_title(&self) -> Option<&str> {
        self.0.looker_query_title.as_deref()
    }

    /// For `REGEX_MATCH`: the pattern.
    async fn test_regex(&self) -> Option<&str> {
        self.0.test_regex.as_deref()
    }

    /// The status a request gets when what the rule asks for is the case, or when an identifier is not verified in time.
    async fn transition_request_status(&self) -> Option<PreflightRequestStatus> {
        self.0
            .transition_request_status
            .as_deref()
            .and_then(PreflightRequestStatus::parse)
    }

    /// Who is called.
    async fn phone_numbers(&self) -> &[String] {
        &self.0.phone_numbers
    }

    /// The regions it runs for; empty means all.
    async fn region_list(&self) -> &[String] {
        &self.0.regions
    }

    /// The identifier it starts from.
    async fn input_identifier(&self) -> Option<Named> {
        self.0.input_identifier.clone().map(|name| Named { name })
    }

    /// The identifiers it may find.
    async fn identifiers(&self) -> Vec<Named> {
        self.0
            .output_identifiers
            .iter()
            .map(|name| Named { name: name.clone() })
            .collect()
    }

    /// The data subject types it runs for; empty means all.
    async fn data_subjects(&self) -> Vec<SubjectRef> {
        self.0
            .subject_types
            .iter()
            .map(|slug| SubjectRef { r#type: slug.clone() })
            .collect()
    }

    /// The actions it runs for; empty means all.
    async fn actions(&self) -> Vec<Action> {
        self.0.actions.iter().copied().collect()
    }

    /// For `email`: milliseconds after the first message at which the data subject is reminded; null for the usual times.
    async fn reminder_durations(&self) -> Option<Vec<String>> {
        let reminders = self.0.reminders.as_ref()?;
        Some(reminders.iter().map(|span| span.as_millis().to_string()).collect())
    }

    /// The ids of the enrichers that are to end first.
    async fn depends_on(&self) -> Vec<ID> {
        self.0.depends_on.iter().map(|id| id.0.into()).collect()
    }

    /// Whether it does not run for the time being.
    async fn is_paused(&self) -> bool {
        self.0.is_paused
    }

    /// The part of each day in which its address is asked; null for the whole day.
    async fn daily_window(&self) -> Option<DailyWindowNode> {
        let (from, until) = self.0.daily_window?.texts();
        Some(DailyWindowNode { from, until })
    }

    /// The id of the template of the messages that ask the data subject to verify an identifier; null for the usual one.
    async fn verification_template_id(&self) -> Option<ID> {
        self.0.verification_template.map(|id| id.0.into())
    }

    /// The id of the template of the message that tells of the end it has brought upon a request; null for the usual one.
    async fn end_template_id(&self) -> Option<ID> {
        self.0.end_template.map(|id| id.0.into())
    }
}

/// A part of each day.
#[derive(SimpleObject)]
#[graphql(name = "DailyWindow")]
pub(super) struct DailyWindowNode {
    /// When it begins, as `22:00`.
    pub(super) from: String,
    /// When it is over.
    pub(super) until: String,
}

/// The status that a rule can give a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub(super) enum PreflightRequestStatus {
    /// Stopped.
    Canceled,
    /// Parked.
    OnHold,
    /// Ended, as whoever does not verify an identifier in time ends it.
    FailedVerification,
    /// On its way to the silos, with what is verified and without any further check.
    Compiling,
}

impl PreflightRequestStatus {
    pub(super) fn word(self) -> &'static str {
        match self {
            PreflightRequestStatus::Canceled => "CANCELED",
            PreflightRequestStatus::OnHold => "ON_HOLD",
            PreflightRequestStatus::FailedVerification => "FAILED_VERIFICATION",
            PreflightRequestStatus::Compiling => "COMPILING",
        }
    }

    pub(super) fn parse(word: &str) -> Option<PreflightRequestStatus> {
        let all = [
            PreflightRequestStatus::Canceled,
            PreflightRequestStatus::OnHold,
            PreflightRequestStatus::FailedVerification,
            PreflightRequestStatus::Compiling,
        ];
        all.into_iter().find(|status| status.word() == word)
    }
}

/// Data silos were made.
#[derive(SimpleObject)]
pub(super) struct CreateDataSilosPayload {
    /// They.
    pub(super) data_silos: Vec<SiloNode>,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// Data silos were changed.
#[derive(SimpleObject)]
pub(super) struct UpdateDataSilosPayload {
    /// They.
    pub(super) data_silos: Vec<SiloNode>,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// A data point was made or changed.
#[derive(SimpleObject)]
pub(super) struct UpdateOrCreateDataPointPayload {
    /// It.
    pub(super) data_point: PointNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// An enricher was made.
#[derive(SimpleObject)]
pub(super) struct CreateEnricherPayload {
    /// It.
    pub(super) enricher: EnricherNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// An enricher was changed.
#[derive(SimpleObject)]
pub(super) struct UpdateEnricherPayload {
    /// It.
    pub(super) enricher: EnricherNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// An enricher was removed.
#[derive(SimpleObject)]
pub(super) struct DeleteEnricherPayload {
    /// Always true: a failure is an error.
    pub(super) success: bool,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}
