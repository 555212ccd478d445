//! The organization and its settings, as answers show them.

use super::*;

/// An organization.
pub(super) struct OrganizationNode(pub(super) Arc<Settings>);

/// What time it is for an organization.
#[derive(SimpleObject)]
pub(super) struct OrganizationClock {
    /// Its time.
    now: Date,
    /// Whether it rehearses: all its requests are tests, and its time can be moved forward.
    rehearses: bool,
    /// How far its time is ahead of the machine's.
    ahead_seconds: u64,
}

/// An organization.
#[Object(name = "Organization")]
impl OrganizationNode {
    /// Its id.
    async fn id(&self) -> ID {
        self.0.organization.id.0.into()
    }

    /// Its name.
    async fn name(&self) -> &str {
        &self.0.organization.name
    }

    /// Its name in addresses.
    async fn uri(&self) -> &str {
        &self.0.organization.uri
    }

    /// When it was made.
    async fn created_at(&self) -> Date {
        Date(self.0.organization.created_at)
    }

    /// The gateway that its data goes through: this server.
    async fn sombra(&self, context: &Context<'_>) -> Gateway {
        Gateway::of(self.0.organization.id.0.into(), Session::of(context))
    }

    /// Every gateway: this server.
    async fn sombras(&self, context: &Context<'_>) -> Vec<Gateway> {
        vec![Gateway::of(self.0.organization.id.0.into(), Session::of(context))]
    }

    /// What time it is for the organization.
    async fn clock(&self, context: &Context<'_>) -> OrganizationClock {
        let session = Session::of(context);
        let ahead = session.app.clock.ahead_for(session.organization());
        OrganizationClock {
            now: Date(session.now),
            rehearses: self.0.organization.rehearses,
            ahead_seconds: ahead.as_secs(),
        }
    }

    /// What becomes of a consent string that says the opposite of the purposes beside it; null for what the server is set to.
    async fn iab_contradiction(&self) -> Option<IabContradiction> {
        self.0.organization.iab_contradiction
    }

    /// How many days after its status last changed a data subject request can be restarted; null for as many as one likes.
    async fn restart_time_limit_days(&self) -> Option<u16> {
        self.0.organization.restart_time_limit_days.map(|days| days.0)
    }

    /// The time zone whose days count for deadlines; null for the one that the server is set to.
    async fn time_zone(&self) -> Option<&str> {
        self.0.organization.time_zone.as_deref()
    }

    /// Days on which nobody works, beside weekends: of every year, as `12-25`, or of one, as `2027-03-26`.
    async fn holidays(&self) -> Vec<String> {
        self.0.organization.holidays.iter().map(|day| (*day).into()).collect()
    }

    /// What becomes of data subject requests that have been over for long.
    async fn retention(&self) -> RetentionNode {
        self.0.organization.retention.into()
    }

    /// Whether assistants may use the API on a person's behalf.
    async fn ai_setting(&self) -> AiSetting {
        AiSetting {
            is_ai_enabled: true,
            is_mcp_sombra_enabled: true,
        }
    }
}

/// What becomes of data subject requests that have been over for long.
#[derive(SimpleObject)]
#[graphql(name = "Retention")]
pub(crate) struct RetentionNode {
    /// What is removed of them.
    kind: RetentionKind,
    /// Days that they have been over by then.
    after_days: i32,
}

impl From<Retention> for RetentionNode {
    fn from(retention: Retention) -> RetentionNode {
        RetentionNode {
            kind: retention.kind,
            after_days: i32::from(retention.after.0),
        }
    }
}

/// Where files and personal data go.
#[derive(SimpleObject)]
#[graphql(name = "Sombra")]
pub(super) struct Gateway {
    /// Its id.
    pub(super) id: ID,
    /// Its address, without a slash at its end.
    pub(super) customer_url: String,
    /// Its version; null when it has none that clients could compare.
    pub(super) version: Option<String>,
}

impl Gateway {
    pub(super) fn of(id: ID, session: &Session) -> Gateway {
        Gateway {
            id,
            customer_url: session.app.public_url().to_owned(),
            version: None,
        }
    }
}

/// What assistants may do.
#[derive(SimpleObject)]
pub(super) struct AiSetting {
    /// Whether they may do anything.
    pub(super) is_ai_enabled: bool,
    /// Whether they may reach the gateway.
    pub(super) is_mcp_sombra_enabled: bool,
}

/// The consent manager.
#[derive(SimpleObject)]
pub(super) struct ConsentManagerPayload {
    /// The one of this organization.
    pub(super) consent_manager: ConsentManager,
}

/// A consent manager.
#[derive(SimpleObject)]
pub(super) struct ConsentManager {
    /// Its id, which is also the key of the default partition.
    pub(super) id: ID,
}

/// A page of identifiers.
#[derive(SimpleObject)]
pub(super) struct IdentifiersPayload {
    /// The page.
    pub(super) nodes: Vec<IdentifierNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// An identifier's configuration.
#[derive(SimpleObject)]
#[graphql(name = "Identifier")]
pub(super) struct IdentifierNode {
    /// Its id.
    pub(super) id: String,
    /// Its name on the wire.
    pub(super) name: String,
    /// Its kind.
    pub(super) r#type: IdentifierKind,
    /// What a value must look like.
    pub(super) regex: String,
    /// The values it may have.
    pub(super) select_options: Vec<String>,
    /// The actions whose form asks for it.
    pub(super) privacy_center_visibility: Vec<Action>,
    /// The data subject types it is for; empty means all.
    pub(super) data_subjects: Vec<DataSubjectInternal>,
    /// The form does not go through without it.
    pub(super) is_required_in_form: bool,
    /// What an empty field of the form shows.
    pub(super) placeholder: String,
    /// Its name on the form.
    pub(super) display_title: Option<Message>,
    /// Its explanation on the form.
    pub(super) display_description: Option<Message>,
    /// What the form says to a value that does not fit.
    pub(super) validation_error_message: Option<Message>,
    /// Its place on the form.
    pub(super) display_order: Option<i32>,
    /// Which identifier databases are asked by first.
    pub(super) sql_priority: Option<i32>,
    /// The variable for its value in database queries.
    pub(super) sql_variable: Option<String>,
    /// The variable for its looked-up value in database queries.
    pub(super) sql_lookup_variable: Option<String>,
    /// One preference record at most has a given value.
    pub(super) is_unique_on_preference_store: bool,
    /// The form takes several values.
    pub(super) is_multi_input: bool,
    /// When it was made.
    pub(super) created_at: Date,
}

impl IdentifierNode {
    pub(super) fn new(identifier: &Identifier, settings: &Settings) -> IdentifierNode {
        let id = identifier.id.0;
        let subjects = settings
            .subject_types
            .iter()
            .filter(|subject| identifier.subject_types.contains(&subject.id));
        IdentifierNode {
            id: id.to_string(),
            name: identifier.name.clone(),
            r#type: identifier.kind,
            regex: identifier.regex.clone(),
            select_options: identifier.select_options.clone(),
            privacy_center_visibility: identifier.privacy_center_visibility.clone(),
            data_subjects: subjects
                .map(|subject| DataSubjectInternal::new(subject, settings))
                .collect(),
            is_required_in_form: identifier.is_required_in_form,
            placeholder: identifier.placeholder.clone(),
            display_title: Message::maybe(id, "displayTitle", identifier.display_title.as_deref()),
            display_description: Message::maybe(id, "displayDescription", identifier.display_description.as_deref()),
            validation_error_message: Message::maybe(id, "validation", identifier.validation_error_message.as_deref()),
            display_order: identifier.display_order,
            sql_priority: identifier.sql_priority,
            sql_variable: identifier.sql_variable.clone(),
            sql_lookup_variable: identifier.sql_lookup_variable.clone(),
            is_unique_on_preference_store: identifier.is_unique_on_preference_store,
            is_multi_input: identifier.is_multi_input,
            created_at: Date(identifier.created_at),
        }
    }

    pub(super) fn order(&self, field: OrderField) -> String {
        match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => self.created_at.text(),
            OrderField::Id => self.id.clone(),
            OrderField::Type => self.r#type.as_str().to_owned(),
            OrderField::Name | OrderField::Title => self.name.clone(),
        }
    }
}

/// A kind of identifier that can still be made.
#[derive(SimpleObject)]
pub(super) struct NewIdentifierType {
    /// The kind.
    pub(super) name: IdentifierKind,
}

/// A data subject type.
#[derive(SimpleObject)]
pub(super) struct DataSubjectInternal {
    /// Its id.
    pub(super) id: ID,
    /// What `subjectType` says on the wire.
    pub(super) r#type: String,
    /// What people read.
    pub(super) title: Message,
    /// The broad class it belongs to.
    pub(super) subject_class: SubjectClass,
    /// Whether new requests may name it.
    pub(super) active: bool,
    /// Requests made by an administrator send no mail unless told otherwise.
    pub(super) admin_dashboard_default_silent_mode: bool,
    /// An agent may act for the person.
    pub(super) supports_authorized_agent: bool,
    /// What these people may demand.
    pub(super) actions: Vec<ActionNode>,
    /// Days in which they are answered, where neither their action nor the law decides.
    pub(super) times_to_answer: Vec<TimeToAnswerNode>,
}

/// Days in which people are answered.
#[derive(SimpleObject)]
#[graphql(name = "TimeToAnswer")]
pub(super) struct TimeToAnswerNode {
    /// What they demand; null for every action that has no entry.
    pub(super) action: Option<Action>,
    /// Days.
    pub(super) days: i32,
}

impl DataSubjectInternal {
    pub(super) fn new(subject: &SubjectType, settings: &Settings) -> DataSubjectInternal {
        let actions = settings
            .actions
            .iter()
            .filter(|known| subject.actions.contains(&known.action));
        DataSubjectInternal {
            id: subject.id.0.into(),
            r#type: subject.slug.clone(),
            title: Message::new(subject.id.0, "title", &subject.title),
            subject_class: subject.class,
            active: subject.active,
            admin_dashboard_default_silent_mode: subject.silent_by_default,
            supports_authorized_agent: subject.supports_authorized_agent,
            actions: actions.map(ActionNode::new).collect(),
            times_to_answer: subject
                .times_to_answer
                .iter()
                .map(|time| TimeToAnswerNode {
                    action: time.action,
                    days: time.days.0.into(),
                })
                .collect(),
        }
    }
}

/// A page of actions.
#[derive(SimpleObject)]
pub(super) struct ActionsPayload {
    /// The page.
    pub(super) nodes: Vec<ActionNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// How an action is handled.
#[derive(SimpleObject)]
#[graphql(name = "Action")]
pub(super) struct ActionNode {
    /// The id of these settings.
    pub(super) id: ID,
    /// The action.
    pub(super) r#type: Action,
    /// Days that a request waits before silos are asked.
    pub(super) waiting_period: i32,
    /// The wait between its two phases; null when it has one.
    pub(super) delay: Option<DelayNode>,
    /// A person approves what was compiled.
    pub(super) requires_review: bool,
    /// A person approves the end of the second phase.
    pub(super) requires_secondary_review: bool,
    /// Nothing is erased before somebody has approved the plan of it. Ours.
    pub(super) requires_approved_plan: bool,
    /// The second phase is left out when the first found nothing.
    pub(super) skip_secondary_if_no_files: bool,
    /// There is no time in which the report can be downloaded.
    pub(super) skip_downloadable_step: bool,
    /// Days in which the report can be downloaded.
    pub(super) download_availability_duration: i32,
    /// What the data subject gets to see.
    pub(super) post_compile_status: PostCompileStatus,
    /// The data subject may choose what they get to see.
    pub(super) allow_post_compile_choice: bool,
    /// A receipt is sent.
    pub(super) send_receipt_email: bool,
    /// Days that the law allows, by region.
    pub(super) expiry_time_regions: Vec<RegionExpiryNode>,
    /// How the region is found.
    pub(super) region_detection_method: RegionDetection,
    /// Where it is offered; empty means everywhere.
    pub(super) region_list: Vec<String>,
}

/// The wait between two phases.
#[derive(SimpleObject)]
#[graphql(name = "Delay")]
pub(super) struct DelayNode {
    /// Days.
    pub(super) time: i32,
    /// What the first phase does.
    pub(super) preview_action: Action,
}

/// Days that the law of a region allows.
#[derive(SimpleObject)]
#[graphql(name = "ExpiryTimeRegion")]
pub(super) struct RegionExpiryNode {
    /// The region, or `default`.
    pub(super) region: String,
    /// Days.
    pub(super) value: i32,
}

/// What stands for a region in the entry that counts where no other does.
pub(super) const DEFAULT_REGION: &str = "default";

impl ActionNode {
    pub(super) fn new(settings: &ActionSettings) -> ActionNode {
        let delay = settings.delay.as_ref();
        ActionNode {
            id: settings.id.0.into(),
            r#type: settings.action,
            waiting_period: settings.waiting_period.0.into(),
            delay: delay.map(|delay| DelayNode {
                time: delay.time.0.into(),
                preview_action: delay.preview_action,
            }),
            requires_review: settings.requires_review,
            requires_secondary_review: settings.requires_secondary_review,
            requires_approved_plan: settings.requires_approved_plan,
            skip_secondary_if_no_files: settings.skip_secondary_if_no_files,
            skip_downloadable_step: settings.skip_downloadable_step,
            download_availability_duration: settings.download_availability.0.into(),
            post_compile_status: settings.post_compile_status,
            allow_post_compile_choice: settings.allow_post_compile_choice,
            send_receipt_email: settings.send_receipt_email,
            expiry_time_regions: settings
                .expiry
                .iter()
                .map(|entry| RegionExpiryNode {
                    region: entry.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned()),
                    value: entry.days.0.into(),
                })
                .collect(),
            region_detection_method: settings.region_detection,
            region_list: settings.regions.clone(),
        }
    }
}

/// A page of attribute keys.
#[derive(SimpleObject)]
pub(super) struct AttributeKeysPayload {
    /// The page.
    pub(super) nodes: Vec<AttributeKeyNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// A label that things can carry.
#[derive(SimpleObject)]
#[graphql(name = "AttributeKey")]
pub(crate) struct AttributeKeyNode {
    /// Its id.
    pub(super) id: ID,
    /// Its name.
    pub(super) name: String,
    /// How its values are given.
    pub(super) r#type: AttributeKind,
    /// What it is for.
    pub(super) description: Option<String>,
    /// What may carry it.
    pub(super) enabled_on: Vec<ResourceKind>,
    /// The organization made it, not the server.
    pub(super) is_custom: bool,
    #[graphql(skip)]
    pub(super) created_at: jiff::Timestamp,
}

impl AttributeKeyNode {
    pub(crate) fn new(key: &AttributeKey) -> AttributeKeyNode {
        AttributeKeyNode {
            id: key.id.0.into(),
            name: key.name.clone(),
            r#type: key.kind,
            description: key.description.clone(),
            enabled_on: key
                .enabled_on
                .iter()
                .filter_map(|word| ResourceKind::parse(word))
                .collect(),
            is_custom: key.is_custom,
            created_at: key.created_at,
        }
    }
}

/// What can carry attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(name = "AttributeSupportedResourceType", rename_items = "camelCase")]
pub(super) enum ResourceKind {
    /// Data subject requests.
    Request,
    /// Data silos.
    DataSilo,
    /// Fields of data points.
    SubDataPoint,
    /// Cookies.
    AirgapCookie,
    /// Data flows.
    AirgapDataFlow,
    /// Vendors.
    Vendor,
    /// Business entities.
    BusinessEntity,
    /// Categories of data.
    DataSubCategory,
    /// Purposes of processing.
    ProcessingPurposeSubCategory,
}

impl ResourceKind {
    pub(super) fn word(self) -> String {
        use async_graphql::resolver_utils::EnumType;
        let item = ResourceKind::items().iter().find(|item| item.value == self);
        item.map(|item| item.name.to_owned()).unwrap_or_default()
    }

    pub(super) fn parse(word: &str) -> Option<ResourceKind> {
        use async_graphql::resolver_utils::EnumType;
        ResourceKind::items()
            .iter()
            .find(|item| item.name == word)
            .map(|item| item.value)
    }
}

/// A page of attribute values.
#[derive(SimpleObject)]
pub(super) struct AttributeValuesPayload {
    /// The page.
    pub(super) nodes: Vec<AttributeValueNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// A value of an attribute key.
#[derive(SimpleObject)]
#[graphql(name = "AttributeValue")]
pub(super) struct AttributeValueNode {
    /// Its id.
    pub(super) id: ID,
    /// What it says.
    pub(super) name: String,
    /// What it means.
    pub(super) description: String,
    /// The colour it is shown in.
    pub(super) color: Option<String>,
    /// The key it belongs to.
    pub(super) attribute_key: AttributeKeyNode,
}

impl AttributeValueNode {
    pub(super) fn new(key: &AttributeKey, value: &AttributeValue) -> AttributeValueNode {
        AttributeValueNode {
            id: value.id.0.into(),
            name: value.name.clone(),
            description: value.description.clone().unwrap_or_default(),
            color: value.color.clone(),
            attribute_key: AttributeKeyNode::new(key),
        }
    }
}

/// A page of templates.
#[derive(SimpleObject)]
pub(super) struct TemplatesPayload {
    /// The page.
    pub(super) nodes: Vec<TemplateNode>,
    /// How many there are in all.
    pub(super) total_count: i32,
}

/// The text of a message.
#[derive(SimpleObject)]
#[graphql(name = "Template")]
pub(super) struct TemplateNode {
    /// Its id.
    pub(super) id: ID,
    /// What it is called.
    pub(super) title: String,
    /// The subject line.
    pub(super) subject: Message,
    /// The body.
    pub(super) template: Message,
    /// Which messages it is for; none: those for which somebody names it.
    pub(super) kind: Option<MessageKind>,
    /// About which demands; none: all of them.
    pub(super) action: Option<Action>,
    /// In which language it is; none: it is for everybody.
    pub(super) locale: Option<String>,
    /// The body as plain text, where that is not made of the HTML.
    pub(super) text: Option<String>,
}

impl TemplateNode {
    pub(super) fn new(template: &Template) -> TemplateNode {
        TemplateNode {
            id: template.id.0.into(),
            title: template.title.clone(),
            subject: Message::new(template.id.0, "subject", &template.subject),
            template: Message::new(template.id.0, "template", &template.body),
            kind: template.kind,
            action: template.action,
            locale: template.locale.clone(),
            text: template.text.clone(),
        }
    }
}

/// An identifier was made.
#[derive(SimpleObject)]
pub(super) struct CreateIdentifierPayload {
    /// It.
    pub(super) identifier: IdentifierNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// An identifier was changed.
#[derive(SimpleObject)]
pub(super) struct UpdateIdentifierPayload {
    /// It.
    pub(super) identifier: IdentifierNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// A data subject type was made.
#[derive(SimpleObject)]
pub(super) struct CreateSubjectPayload {
    /// It.
    pub(super) subject: DataSubjectInternal,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// A data subject type was changed.
#[derive(SimpleObject)]
pub(super) struct UpdateSubjectPayload {
    /// It.
    pub(super) subject: DataSubjectInternal,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// The settings of an action were changed.
#[derive(SimpleObject)]
pub(super) struct UpdateActionPayload {
    /// They.
    pub(super) action: ActionNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// An attribute key was made.
#[derive(SimpleObject)]
pub(super) struct CreateAttributeKeyPayload {
    /// It.
    pub(super) attribute_key: AttributeKeyNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// An attribute key was changed.
#[derive(SimpleObject)]
pub(super) struct UpdateAttributeKeyPayload {
    /// It.
    pub(super) attribute_key: AttributeKeyNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// Attribute values were made.
#[derive(SimpleObject)]
pub(super) struct CreateAttributeValuesPayload {
    /// They.
    pub(super) attribute_values: Vec<AttributeValueNode>,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// Attribute values were changed.
#[derive(SimpleObject)]
pub(super) struct UpdateAttributeValuesPayload {
    /// They.
    pub(super) attribute_values: Vec<AttributeValueNode>,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// An attribute value was removed.
#[derive(SimpleObject)]
pub(super) struct DeleteAttributeValuePayload {
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// A template was made.
#[derive(SimpleObject)]
pub(super) struct CreateTemplatePayload {
    /// It.
    pub(super) template: TemplateNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}

/// A template was changed.
#[derive(SimpleObject)]
pub(super) struct UpdateTemplatePayload {
    /// It.
    pub(super) template: TemplateNode,
    /// Always null.
    pub(super) client_mutation_id: Option<String>,
}
