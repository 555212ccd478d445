//! The organization's part of the management API.

use std::sync::Arc;

use antumbra_store::Tx;
use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::{
    Action, ActionSettings, AttributeKey, AttributeKeyId, AttributeKind, AttributeValue, AttributeValueId, ChangeError,
    Changes, Days, Delay, Identifier, IdentifierId, IdentifierKind, PostCompileStatus, RegionDetection, RegionExpiry,
    Settings, SubjectClass, SubjectType, SubjectTypeId, Template, TemplateId,
};
use crate::graphql::{Acknowledged, Date, Message, OrderBy, OrderField, Page, Refusal, Session, by_text, parse_id};

/// Queries about the organization and its settings.
#[derive(Default)]
pub(crate) struct OrganizationQueries;

#[Object]
impl OrganizationQueries {
    /// The organization that the API key belongs to.
    async fn organization(&self, context: &Context<'_>) -> Result<OrganizationNode, Refusal> {
        Ok(OrganizationNode(Session::of(context).settings().await?))
    }

    /// The consent manager that every organization has one of.
    async fn consent_manager(&self, context: &Context<'_>) -> Result<ConsentManagerPayload, Refusal> {
        let settings = Session::of(context).settings().await?;
        let consent_manager = ConsentManager {
            id: settings.organization.consent_manager.into(),
        };
        Ok(ConsentManagerPayload { consent_manager })
    }

    /// The identifiers that the organization knows people by.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn identifiers(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<IdentifierFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<IdentifiersPayload, Refusal> {
        let settings = Session::of(context).settings().await?;
        let filter = filter_by.unwrap_or_default();
        let nodes = settings
            .identifiers
            .iter()
            .map(|known| IdentifierNode::new(&known.identifier, &settings));
        let nodes = nodes.filter(|node| by_text(&node.name, filter.text.as_deref()));
        let page = Page::cut(nodes.collect(), order_by, IdentifierNode::order, first, offset)?;
        Ok(IdentifiersPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The kinds of which the organization can still make an identifier.
    async fn new_identifier_types(&self, context: &Context<'_>) -> Result<Vec<NewIdentifierType>, Refusal> {
        let settings = Session::of(context).settings().await?;
        let free = IdentifierKind::all().filter(|kind| settings.find_identifier_of_kind(*kind).is_none());
        Ok(free.map(|name| NewIdentifierType { name }).collect())
    }

    /// The data subject types.
    async fn internal_subjects(&self, context: &Context<'_>) -> Result<Vec<DataSubjectInternal>, Refusal> {
        let settings = Session::of(context).settings().await?;
        Ok(settings
            .subject_types
            .iter()
            .map(|subject| DataSubjectInternal::new(subject, &settings))
            .collect())
    }

    /// How each action is handled.
    async fn actions(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<ActionsPayload, Refusal> {
        let settings = Session::of(context).settings().await?;
        let nodes = settings.actions.iter().map(ActionNode::new).collect();
        let page = Page::cut(
            nodes,
            order_by,
            |node, _| node.r#type.as_str().to_owned(),
            first,
            offset,
        )?;
        Ok(ActionsPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The attribute keys.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn attribute_keys(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<AttributeKeyFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<AttributeKeysPayload, Refusal> {
        let settings = Session::of(context).settings().await?;
        let filter = filter_by.unwrap_or_default();
        let wanted: Vec<String> = filter
            .enabled_on
            .unwrap_or_default()
            .iter()
            .map(|kind| kind.word())
            .collect();
        let kept = settings.attribute_keys.iter().filter(|key| {
            by_text(&key.name, filter.text.as_deref())
                && (wanted.is_empty() || wanted.iter().any(|word| key.enabled_on.contains(word)))
        });
        let order = |node: &AttributeKeyNode, field| match field {
            OrderField::CreatedAt => Date(node.created_at).text(),
            OrderField::Id => node.id.to_string(),
            _ => node.name.clone(),
        };
        let page = Page::cut(
            kept.map(AttributeKeyNode::new).collect(),
            order_by,
            order,
            first,
            offset,
        )?;
        Ok(AttributeKeysPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The values of attribute keys.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn attribute_values(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<AttributeValueFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<AttributeValuesPayload, Refusal> {
        let settings = Session::of(context).settings().await?;
        let filter = filter_by.unwrap_or_default();
        let keys = filter.attribute_keys;
        let kept = settings
            .attribute_keys
            .iter()
            .filter(|key| keys.as_ref().is_none_or(|ids| ids.contains(&ID::from(key.id.0))))
            .flat_map(|key| key.values.iter().map(|value| AttributeValueNode::new(key, value)))
            .filter(|node| by_text(&node.name, filter.text.as_deref()));
        let order = |node: &AttributeValueNode, _| node.name.clone();
        let page = Page::cut(kept.collect(), order_by, order, first, offset)?;
        Ok(AttributeValuesPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The templates.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn templates(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<TemplateFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<TemplatesPayload, Refusal> {
        let settings = Session::of(context).settings().await?;
        let filter = filter_by.unwrap_or_default();
        let kept = settings
            .templates
            .iter()
            .filter(|template| by_text(&template.title, filter.text.as_deref()));
        let order = |node: &TemplateNode, _| node.title.clone();
        let page = Page::cut(kept.map(TemplateNode::new).collect(), order_by, order, first, offset)?;
        Ok(TemplatesPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }
}

/// Changes of the organization's settings.
#[derive(Default)]
pub(crate) struct OrganizationMutations;

#[Object]
impl OrganizationMutations {
    /// Makes an identifier.
    async fn create_identifier(
        &self,
        context: &Context<'_>,
        input: IdentifierInput,
    ) -> Result<CreateIdentifierPayload, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        let id = IdentifierId(session.app.ids.uuid());
        let mut identifier = Identifier::new(id, input.name, input.r#type, session.now);
        input.settings.apply(&mut identifier, &settings)?;
        let mut tx = session.write().await;
        changes(session, &mut tx)
            .save_identifier(&identifier)
            .await
            .map_err(about("identifier", &identifier.name))?;
        Ok(CreateIdentifierPayload {
            identifier: IdentifierNode::new(&identifier, &settings),
            client_mutation_id: None,
        })
    }

    /// Changes an identifier; what is not given stays.
    async fn update_identifier(
        &self,
        context: &Context<'_>,
        input: UpdateIdentifierInput,
    ) -> Result<UpdateIdentifierPayload, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        let id = IdentifierId(parse_id(&input.id, "identifier")?);
        let known = settings.identifiers.iter().find(|known| known.identifier.id == id);
        let mut identifier = known
            .ok_or_else(|| Refusal::not_found("identifier"))?
            .identifier
            .clone();
        input.settings.apply(&mut identifier, &settings)?;
        let mut tx = session.write().await;
        changes(session, &mut tx)
            .save_identifier(&identifier)
            .await
            .map_err(about("identifier", &identifier.name))?;
        Ok(UpdateIdentifierPayload {
            identifier: IdentifierNode::new(&identifier, &settings),
            client_mutation_id: None,
        })
    }

    /// Makes a data subject type. It is active and may demand every action unless told otherwise.
    async fn create_subject(
        &self,
        context: &Context<'_>,
        input: CreateSubjectInput,
    ) -> Result<CreateSubjectPayload, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        let subject = SubjectType {
            id: SubjectTypeId(session.app.ids.uuid()),
            slug: input.r#type,
            title: input.title,
            class: input.subject_class.unwrap_or(SubjectClass::Other),
            active: input.active.unwrap_or(true),
            silent_by_default: input.admin_dashboard_default_silent_mode.unwrap_or(false),
            supports_authorized_agent: false,
            actions: input
                .actions
                .map_or(Action::ALL.into(), |actions| actions.into_iter().collect()),
            created_at: session.now,
        };
        let mut tx = session.write().await;
        changes(session, &mut tx)
            .save_subject_type(&subject)
            .await
            .map_err(about("data subject type", &subject.slug))?;
        Ok(CreateSubjectPayload {
            subject: DataSubjectInternal::new(&subject, &settings),
            client_mutation_id: None,
        })
    }

    /// Changes a data subject type; what is not given stays.
    async fn update_subject(
        &self,
        context: &Context<'_>,
        input: UpdateSubjectInput,
    ) -> Result<UpdateSubjectPayload, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        let mut subject = subject_of(&settings, &input.id)?;
        put(&mut subject.title, input.title);
        put(&mut subject.class, input.subject_class);
        put(
            &mut subject.silent_by_default,
            input.admin_dashboard_default_silent_mode,
        );
        put(&mut subject.supports_authorized_agent, input.supports_authorized_agent);
        put(
            &mut subject.actions,
            input.actions.map(|actions| actions.into_iter().collect()),
        );
        let mut tx = session.write().await;
        changes(session, &mut tx)
            .save_subject_type(&subject)
            .await
            .map_err(about("data subject type", &subject.slug))?;
        Ok(UpdateSubjectPayload {
            subject: DataSubjectInternal::new(&subject, &settings),
            client_mutation_id: None,
        })
    }

    /// Lets new requests name a data subject type, or no longer.
    async fn toggle_subject(&self, context: &Context<'_>, input: ToggleSubjectInput) -> Result<Acknowledged, Refusal> {
        let session = Session::of(context);
        let mut subject = subject_of(&*session.settings().await?, &input.id)?;
        subject.active = input.active;
        let mut tx = session.write().await;
        changes(session, &mut tx)
            .save_subject_type(&subject)
            .await
            .map_err(about("data subject type", &subject.slug))?;
        Ok(Acknowledged::default())
    }

    /// Changes how an action is handled; what is not given stays.
    async fn update_action(
        &self,
        context: &Context<'_>,
        input: UpdateActionInput,
    ) -> Result<UpdateActionPayload, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        let id = parse_id(&input.id, "action")?;
        let known = settings.actions.iter().find(|known| known.id.0 == id);
        let mut action = known.ok_or_else(|| Refusal::not_found("action"))?.clone();
        input.apply(&mut action)?;
        let mut tx = session.write().await;
        changes(session, &mut tx)
            .save_action(&action)
            .map_err(about("action", action.action.as_str()))?;
        Ok(UpdateActionPayload {
            action: ActionNode::new(&action),
            client_mutation_id: None,
        })
    }

    /// Makes an attribute key.
    async fn create_attribute_key(
        &self,
        context: &Context<'_>,
        input: CreateAttributeKeyInput,
    ) -> Result<CreateAttributeKeyPayload, Refusal> {
        let session = Session::of(context);
        let key = AttributeKey {
            id: AttributeKeyId(session.app.ids.uuid()),
            name: input.name,
            kind: input.r#type,
            description: input.description.filter(|text| !text.is_empty()),
            enabled_on: input
                .enabled_on
                .unwrap_or_default()
                .iter()
                .map(|kind| kind.word())
                .collect(),
            is_custom: true,
            values: Vec::new(),
            created_at: session.now,
        };
        save_key(session, &key).await?;
        Ok(CreateAttributeKeyPayload {
            attribute_key: AttributeKeyNode::new(&key),
            client_mutation_id: None,
        })
    }

    /// Changes an attribute key; what is not given stays.
    async fn update_attribute_key(
        &self,
        context: &Context<'_>,
        input: UpdateAttributeKeyInput,
    ) -> Result<UpdateAttributeKeyPayload, Refusal> {
        let session = Session::of(context);
        let settings = session.settings().await?;
        let id = AttributeKeyId(parse_id(&input.id, "attribute key")?);
        let known = settings.attribute_keys.iter().find(|key| key.id == id);
        let mut key = known.ok_or_else(|| Refusal::not_found("attribute key"))?.clone();
        put(
            &mut key.description,
            input.description.map(|text| Some(text).filter(|text| !text.is_empty())),
        );
        put(
            &mut key.enabled_on,
            input
                .enabled_on
                .map(|kinds| kinds.iter().map(|kind| kind.word()).collect()),
        );
        save_key(session, &key).await?;
        Ok(UpdateAttributeKeyPayload {
            attribute_key: AttributeKeyNode::new(&key),
            client_mutation_id: None,
        })
    }

    /// Adds values to attribute keys, each key given by its id or its name.
    async fn create_attribute_values(
        &self,
        context: &Context<'_>,
        input: Vec<CreateAttributeValuesInput>,
    ) -> Result<CreateAttributeValuesPayload, Refusal> {
        let session = Session::of(context);
        let mut nodes = Vec::new();
        for value in input {
            let settings = session.settings().await?;
            let is_it = |key: &&AttributeKey| match (&value.attribute_key_id, &value.attribute_key_name) {
                (Some(id), _) => ID::from(key.id.0) == *id,
                (None, Some(name)) => key.name == *name,
                (None, None) => false,
            };
            let known = settings.attribute_keys.iter().find(is_it);
            let mut key = known.ok_or_else(|| Refusal::not_found("attribute key"))?.clone();
            if !key.kind.is_select() {
                return Err(Refusal::client(format!(
                    "attribute key `{}` is not one whose values are picked",
                    key.name
                )));
            }
            let made = AttributeValue {
                id: AttributeValueId(session.app.ids.uuid()),
                name: value.name,
                description: value.description,
                color: value.color,
            };
            nodes.push(AttributeValueNode::new(&key, &made));
            key.values.push(made);
            save_key(session, &key).await?;
        }
        Ok(CreateAttributeValuesPayload {
            attribute_values: nodes,
            client_mutation_id: None,
        })
    }

    /// Changes values of attribute keys; what is not given stays.
    async fn update_attribute_values(
        &self,
        context: &Context<'_>,
        input: Vec<UpdateAttributeValueInput>,
    ) -> Result<UpdateAttributeValuesPayload, Refusal> {
        let session = Session::of(context);
        let mut nodes = Vec::new();
        for change in input {
            let (mut key, at) = value_of(&*session.settings().await?, &change.id)?;
            let value = &mut key.values[at];
            put(&mut value.name, change.name);
            put(&mut value.description, change.description.map(Some));
            put(&mut value.color, change.color.map(Some));
            nodes.push(AttributeValueNode::new(&key, &key.values[at]));
            save_key(session, &key).await?;
        }
        Ok(UpdateAttributeValuesPayload {
            attribute_values: nodes,
            client_mutation_id: None,
        })
    }

    /// Removes a value of an attribute key. What carries it already keeps it.
    async fn delete_attribute_value(
        &self,
        context: &Context<'_>,
        id: ID,
    ) -> Result<DeleteAttributeValuePayload, Refusal> {
        let session = Session::of(context);
        let (mut key, at) = value_of(&*session.settings().await?, &id)?;
        key.values.remove(at);
        save_key(session, &key).await?;
        Ok(DeleteAttributeValuePayload {
            client_mutation_id: None,
        })
    }

    /// Makes a template.
    async fn create_template(
        &self,
        context: &Context<'_>,
        input: CreateTemplateInput,
    ) -> Result<CreateTemplatePayload, Refusal> {
        let session = Session::of(context);
        let template = Template {
            id: TemplateId(session.app.ids.uuid()),
            title: input.title,
            subject: input.subject,
            body: input.template,
            created_at: session.now,
        };
        let mut tx = session.write().await;
        changes(session, &mut tx)
            .save_template(&template)
            .await
            .map_err(about("template", &template.title))?;
        Ok(CreateTemplatePayload {
            template: TemplateNode::new(&template),
            client_mutation_id: None,
        })
    }
}

fn changes<'a>(session: &'a Session, tx: &'a mut Tx) -> Changes<'a> {
    let (organization, actor, at) = (session.organization(), session.actor(), session.now);
    Changes {
        tx,
        ids: &session.app.ids,
        organization,
        actor,
        at,
    }
}

fn about(what: &'static str, name: &str) -> impl FnOnce(ChangeError) -> Refusal {
    move |error| match error {
        ChangeError::Refused(why) => Refusal::client(format!("{what} `{name}`: {why}")),
        ChangeError::Store(error) => error.into(),
    }
}

async fn save_key(session: &Session, key: &AttributeKey) -> Result<(), Refusal> {
    let mut tx = session.write().await;
    changes(session, &mut tx)
        .save_attribute_key(key)
        .await
        .map_err(about("attribute key", &key.name))
}

fn subject_of(settings: &Settings, id: &ID) -> Result<SubjectType, Refusal> {
    let id = SubjectTypeId(parse_id(id, "data subject type")?);
    let known = settings.subject_types.iter().find(|subject| subject.id == id);
    known.cloned().ok_or_else(|| Refusal::not_found("data subject type"))
}

fn value_of(settings: &Settings, id: &ID) -> Result<(AttributeKey, usize), Refusal> {
    let id = AttributeValueId(parse_id(id, "attribute value")?);
    let places = settings.attribute_keys.iter().filter_map(|key| {
        let at = key.values.iter().position(|value| value.id == id)?;
        Some((key.clone(), at))
    });
    places
        .into_iter()
        .next()
        .ok_or_else(|| Refusal::not_found("attribute value"))
}

/// Takes what was given and leaves what was not.
fn put<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

fn days(given: i32) -> Result<Days, Refusal> {
    u16::try_from(given)
        .map(Days)
        .map_err(|_| Refusal::client("a number of days is negative or too large"))
}

/// An organization.
struct OrganizationNode(Arc<Settings>);

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

    /// Whether assistants may use the API on a person's behalf.
    async fn ai_setting(&self) -> AiSetting {
        AiSetting {
            is_ai_enabled: true,
            is_mcp_sombra_enabled: true,
        }
    }
}

/// Where files and personal data go.
#[derive(SimpleObject)]
#[graphql(name = "Sombra")]
struct Gateway {
    /// Its id.
    id: ID,
    /// Its address, without a slash at its end.
    customer_url: String,
    /// Its version; null when it has none that clients could compare.
    version: Option<String>,
}

impl Gateway {
    fn of(id: ID, session: &Session) -> Gateway {
        Gateway {
            id,
            customer_url: session.app.public_url().to_owned(),
            version: None,
        }
    }
}

/// What assistants may do.
#[derive(SimpleObject)]
struct AiSetting {
    /// Whether they may do anything.
    is_ai_enabled: bool,
    /// Whether they may reach the gateway.
    is_mcp_sombra_enabled: bool,
}

/// The consent manager.
#[derive(SimpleObject)]
struct ConsentManagerPayload {
    /// The one of this organization.
    consent_manager: ConsentManager,
}

/// A consent manager.
#[derive(SimpleObject)]
struct ConsentManager {
    /// Its id, which is also the key of the default partition.
    id: ID,
}

/// A page of identifiers.
#[derive(SimpleObject)]
struct IdentifiersPayload {
    /// The page.
    nodes: Vec<IdentifierNode>,
    /// How many there are in all.
    total_count: i32,
}

/// An identifier's configuration.
#[derive(SimpleObject)]
#[graphql(name = "Identifier")]
struct IdentifierNode {
    /// Its id.
    id: String,
    /// Its name on the wire.
    name: String,
    /// Its kind.
    r#type: IdentifierKind,
    /// What a value must look like.
    regex: String,
    /// The values it may have.
    select_options: Vec<String>,
    /// The actions whose form asks for it.
    privacy_center_visibility: Vec<Action>,
    /// The data subject types it is for; empty means all.
    data_subjects: Vec<DataSubjectInternal>,
    /// The form does not go through without it.
    is_required_in_form: bool,
    /// What an empty field of the form shows.
    placeholder: String,
    /// Its name on the form.
    display_title: Option<Message>,
    /// Its explanation on the form.
    display_description: Option<Message>,
    /// What the form says to a value that does not fit.
    validation_error_message: Option<Message>,
    /// Its place on the form.
    display_order: Option<i32>,
    /// Which identifier databases are asked by first.
    sql_priority: Option<i32>,
    /// The variable for its value in database queries.
    sql_variable: Option<String>,
    /// The variable for its looked-up value in database queries.
    sql_lookup_variable: Option<String>,
    /// One preference record at most has a given value.
    is_unique_on_preference_store: bool,
    /// The form takes several values.
    is_multi_input: bool,
    /// When it was made.
    created_at: Date,
}

impl IdentifierNode {
    fn new(identifier: &Identifier, settings: &Settings) -> IdentifierNode {
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

    fn order(&self, field: OrderField) -> String {
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
struct NewIdentifierType {
    /// The kind.
    name: IdentifierKind,
}

/// A data subject type.
#[derive(SimpleObject)]
struct DataSubjectInternal {
    /// Its id.
    id: ID,
    /// What `subjectType` says on the wire.
    r#type: String,
    /// What people read.
    title: Message,
    /// The broad class it belongs to.
    subject_class: SubjectClass,
    /// Whether new requests may name it.
    active: bool,
    /// Requests made by an administrator send no mail unless told otherwise.
    admin_dashboard_default_silent_mode: bool,
    /// An agent may act for the person.
    supports_authorized_agent: bool,
    /// What these people may demand.
    actions: Vec<ActionNode>,
}

impl DataSubjectInternal {
    fn new(subject: &SubjectType, settings: &Settings) -> DataSubjectInternal {
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
        }
    }
}

/// A page of actions.
#[derive(SimpleObject)]
struct ActionsPayload {
    /// The page.
    nodes: Vec<ActionNode>,
    /// How many there are in all.
    total_count: i32,
}

/// How an action is handled.
#[derive(SimpleObject)]
#[graphql(name = "Action")]
struct ActionNode {
    /// The id of these settings.
    id: ID,
    /// The action.
    r#type: Action,
    /// Days that a request waits before silos are asked.
    waiting_period: i32,
    /// The wait between its two phases; null when it has one.
    delay: Option<DelayNode>,
    /// A person approves what was compiled.
    requires_review: bool,
    /// A person approves the end of the second phase.
    requires_secondary_review: bool,
    /// The second phase is left out when the first found nothing.
    skip_secondary_if_no_files: bool,
    /// There is no time in which the report can be downloaded.
    skip_downloadable_step: bool,
    /// Days in which the report can be downloaded.
    download_availability_duration: i32,
    /// What the data subject gets to see.
    post_compile_status: PostCompileStatus,
    /// The data subject may choose what they get to see.
    allow_post_compile_choice: bool,
    /// A receipt is sent.
    send_receipt_email: bool,
    /// Days that the law allows, by region.
    expiry_time_regions: Vec<RegionExpiryNode>,
    /// How the region is found.
    region_detection_method: RegionDetection,
    /// Where it is offered; empty means everywhere.
    region_list: Vec<String>,
}

/// The wait between two phases.
#[derive(SimpleObject)]
#[graphql(name = "Delay")]
struct DelayNode {
    /// Days.
    time: i32,
    /// What the first phase does.
    preview_action: Action,
}

/// Days that the law of a region allows.
#[derive(SimpleObject)]
#[graphql(name = "ExpiryTimeRegion")]
struct RegionExpiryNode {
    /// The region, or `default`.
    region: String,
    /// Days.
    value: i32,
}

/// What stands for a region in the entry that counts where no other does.
const DEFAULT_REGION: &str = "default";

impl ActionNode {
    fn new(settings: &ActionSettings) -> ActionNode {
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
struct AttributeKeysPayload {
    /// The page.
    nodes: Vec<AttributeKeyNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A label that things can carry.
#[derive(SimpleObject)]
#[graphql(name = "AttributeKey")]
pub(crate) struct AttributeKeyNode {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// How its values are given.
    r#type: AttributeKind,
    /// What it is for.
    description: Option<String>,
    /// What may carry it.
    enabled_on: Vec<ResourceKind>,
    /// The organization made it, not the server.
    is_custom: bool,
    #[graphql(skip)]
    created_at: jiff::Timestamp,
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
enum ResourceKind {
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
    fn word(self) -> String {
        use async_graphql::resolver_utils::EnumType;
        let item = ResourceKind::items().iter().find(|item| item.value == self);
        item.map(|item| item.name.to_owned()).unwrap_or_default()
    }

    fn parse(word: &str) -> Option<ResourceKind> {
        use async_graphql::resolver_utils::EnumType;
        ResourceKind::items()
            .iter()
            .find(|item| item.name == word)
            .map(|item| item.value)
    }
}

/// A page of attribute values.
#[derive(SimpleObject)]
struct AttributeValuesPayload {
    /// The page.
    nodes: Vec<AttributeValueNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A value of an attribute key.
#[derive(SimpleObject)]
#[graphql(name = "AttributeValue")]
struct AttributeValueNode {
    /// Its id.
    id: ID,
    /// What it says.
    name: String,
    /// What it means.
    description: String,
    /// The colour it is shown in.
    color: Option<String>,
    /// The key it belongs to.
    attribute_key: AttributeKeyNode,
}

impl AttributeValueNode {
    fn new(key: &AttributeKey, value: &AttributeValue) -> AttributeValueNode {
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
struct TemplatesPayload {
    /// The page.
    nodes: Vec<TemplateNode>,
    /// How many there are in all.
    total_count: i32,
}

/// The text of a message.
#[derive(SimpleObject)]
#[graphql(name = "Template")]
struct TemplateNode {
    /// Its id.
    id: ID,
    /// What it is called.
    title: String,
    /// The subject line.
    subject: Message,
    /// The body.
    template: Message,
}

impl TemplateNode {
    fn new(template: &Template) -> TemplateNode {
        TemplateNode {
            id: template.id.0.into(),
            title: template.title.clone(),
            subject: Message::new(template.id.0, "subject", &template.subject),
            template: Message::new(template.id.0, "template", &template.body),
        }
    }
}

/// Which identifiers to list.
#[derive(Default, InputObject)]
struct IdentifierFiltersInput {
    /// Those whose name holds this.
    text: Option<String>,
}

/// Which attribute keys to list.
#[derive(Default, InputObject)]
struct AttributeKeyFiltersInput {
    /// Those whose name holds this.
    text: Option<String>,
    /// Those that one of these can carry.
    enabled_on: Option<Vec<ResourceKind>>,
}

/// Which attribute values to list.
#[derive(Default, InputObject)]
struct AttributeValueFiltersInput {
    /// Those that hold this.
    text: Option<String>,
    /// Those of these keys.
    attribute_keys: Option<Vec<ID>>,
}

/// Which templates to list.
#[derive(Default, InputObject)]
struct TemplateFiltersInput {
    /// Those whose title holds this.
    text: Option<String>,
}

/// An identifier to be made.
#[derive(InputObject)]
struct IdentifierInput {
    /// Its name.
    name: String,
    /// Its kind.
    r#type: IdentifierKind,
    #[graphql(flatten)]
    settings: IdentifierSettings,
}

/// A change of an identifier.
#[derive(InputObject)]
struct UpdateIdentifierInput {
    /// Which one.
    id: ID,
    #[graphql(flatten)]
    settings: IdentifierSettings,
}

/// What can be set about an identifier. What is not given stays; an empty text removes.
#[derive(InputObject)]
struct IdentifierSettings {
    /// What a value must look like.
    regex: Option<String>,
    /// The values it may have.
    select_options: Option<Vec<String>>,
    /// The actions whose form asks for it.
    privacy_center_visibility: Option<Vec<Action>>,
    /// The data subject types it is for, by id.
    data_subject_ids: Option<Vec<ID>>,
    /// The data subject types it is for, by what `subjectType` says.
    data_subjects: Option<Vec<String>>,
    /// The form does not go through without it.
    is_required_in_form: Option<bool>,
    /// What an empty field of the form shows.
    placeholder: Option<String>,
    /// Its name on the form.
    display_title: Option<String>,
    /// Its explanation on the form.
    display_description: Option<String>,
    /// What the form says to a value that does not fit.
    validation_error_message: Option<String>,
    /// Its place on the form.
    display_order: Option<i32>,
    /// Which identifier databases are asked by first.
    sql_priority: Option<i32>,
    /// The variable for its value in database queries.
    sql_variable: Option<String>,
    /// The variable for its looked-up value in database queries.
    sql_lookup_variable: Option<String>,
    /// One preference record at most has a given value.
    is_unique_on_preference_store: Option<bool>,
    /// The form takes several values.
    is_multi_input: Option<bool>,
    /// Accepted and of no effect: a change is in force at once.
    skip_publish: Option<bool>,
}

impl IdentifierSettings {
    fn apply(self, identifier: &mut Identifier, settings: &Settings) -> Result<(), Refusal> {
        let text = |given: Option<String>| given.map(|text| Some(text).filter(|text| !text.is_empty()));
        if let Some(ids) = &self.data_subject_ids {
            let found = ids.iter().map(|id| subject_of(settings, id).map(|subject| subject.id));
            identifier.subject_types = found.collect::<Result<_, _>>()?;
        }
        if let Some(slugs) = &self.data_subjects {
            let find = |slug: &String| settings.find_subject_type(slug).map(|subject| subject.id);
            let found = slugs
                .iter()
                .map(|slug| find(slug).ok_or_else(|| Refusal::not_found("data subject type")));
            identifier.subject_types = found.collect::<Result<_, _>>()?;
        }
        put(&mut identifier.regex, self.regex);
        put(&mut identifier.select_options, self.select_options);
        put(
            &mut identifier.privacy_center_visibility,
            self.privacy_center_visibility,
        );
        put(&mut identifier.is_required_in_form, self.is_required_in_form);
        put(&mut identifier.placeholder, self.placeholder);
        put(&mut identifier.display_title, text(self.display_title));
        put(&mut identifier.display_description, text(self.display_description));
        put(
            &mut identifier.validation_error_message,
            text(self.validation_error_message),
        );
        put(&mut identifier.display_order, self.display_order.map(Some));
        put(&mut identifier.sql_priority, self.sql_priority.map(Some));
        put(&mut identifier.sql_variable, text(self.sql_variable));
        put(&mut identifier.sql_lookup_variable, text(self.sql_lookup_variable));
        put(
            &mut identifier.is_unique_on_preference_store,
            self.is_unique_on_preference_store,
        );
        put(&mut identifier.is_multi_input, self.is_multi_input);
        Ok(())
    }
}

/// A data subject type to be made.
#[derive(InputObject)]
struct CreateSubjectInput {
    /// What `subjectType` says on the wire.
    r#type: String,
    /// What people read.
    title: String,
    /// The broad class it belongs to.
    subject_class: Option<SubjectClass>,
    /// Whether new requests may name it.
    active: Option<bool>,
    /// Requests made by an administrator send no mail unless told otherwise.
    admin_dashboard_default_silent_mode: Option<bool>,
    /// What these people may demand.
    actions: Option<Vec<Action>>,
    /// Accepted and of no effect: a change is in force at once.
    skip_publish: Option<bool>,
}

/// A change of a data subject type.
#[derive(InputObject)]
struct UpdateSubjectInput {
    /// Which one.
    id: ID,
    /// What people read.
    title: Option<String>,
    /// The broad class it belongs to.
    subject_class: Option<SubjectClass>,
    /// Requests made by an administrator send no mail unless told otherwise.
    admin_dashboard_default_silent_mode: Option<bool>,
    /// An agent may act for the person.
    supports_authorized_agent: Option<bool>,
    /// What these people may demand.
    actions: Option<Vec<Action>>,
    /// Accepted and of no effect: a change is in force at once.
    skip_publish: Option<bool>,
}

/// Whether new requests may name a data subject type.
#[derive(InputObject)]
struct ToggleSubjectInput {
    /// Which one.
    id: ID,
    /// Whether they may.
    active: bool,
    /// Accepted and of no effect: a change is in force at once.
    skip_publish: Option<bool>,
}

/// A change of how an action is handled.
#[derive(InputObject)]
struct UpdateActionInput {
    /// Which settings.
    id: ID,
    /// Days that a request waits before silos are asked.
    waiting_period: Option<i32>,
    /// The wait between two phases. Without members it makes the action one-phase.
    delay: Option<DelayInput>,
    /// A person approves what was compiled.
    requires_review: Option<bool>,
    /// A person approves the end of the second phase.
    requires_secondary_review: Option<bool>,
    /// The second phase is left out when the first found nothing.
    skip_secondary_if_no_files: Option<bool>,
    /// There is no time in which the report can be downloaded.
    skip_downloadable_step: Option<bool>,
    /// Days in which the report can be downloaded.
    download_availability_duration: Option<i32>,
    /// What the data subject gets to see.
    post_compile_status: Option<PostCompileStatus>,
    /// The data subject may choose what they get to see.
    allow_post_compile_choice: Option<bool>,
    /// A receipt is sent.
    send_receipt_email: Option<bool>,
    /// Days that the law allows, by region; one entry must be the default.
    expiry_time_regions: Option<Vec<ExpiryTimeRegionInput>>,
    /// How the region is found.
    region_detection_method: Option<RegionDetection>,
    /// Where it is offered; empty means everywhere.
    region_list: Option<Vec<String>>,
    /// Accepted and of no effect: a change is in force at once.
    skip_publish: Option<bool>,
}

/// The wait between two phases.
#[derive(InputObject)]
struct DelayInput {
    /// Days.
    time: Option<i32>,
    /// What the first phase does.
    preview_action: Option<Action>,
}

/// Days that the law of a region allows.
#[derive(InputObject)]
struct ExpiryTimeRegionInput {
    /// The region; none or `default` for the default.
    region: Option<String>,
    /// Days.
    value: i32,
}

impl UpdateActionInput {
    fn apply(self, action: &mut ActionSettings) -> Result<(), Refusal> {
        put(&mut action.waiting_period, self.waiting_period.map(days).transpose()?);
        if let Some(delay) = self.delay {
            action.delay = match (delay.time, delay.preview_action) {
                (Some(time), Some(preview_action)) => Some(Delay {
                    time: days(time)?,
                    preview_action,
                }),
                (None, None) => None,
                _ => {
                    return Err(Refusal::client(
                        "delay needs time and previewAction, or neither to remove it",
                    ));
                }
            };
        }
        put(&mut action.requires_review, self.requires_review);
        put(&mut action.requires_secondary_review, self.requires_secondary_review);
        put(&mut action.skip_secondary_if_no_files, self.skip_secondary_if_no_files);
        put(&mut action.skip_downloadable_step, self.skip_downloadable_step);
        put(
            &mut action.download_availability,
            self.download_availability_duration.map(days).transpose()?,
        );
        put(&mut action.post_compile_status, self.post_compile_status);
        put(&mut action.allow_post_compile_choice, self.allow_post_compile_choice);
        put(&mut action.send_receipt_email, self.send_receipt_email);
        if let Some(regions) = self.expiry_time_regions {
            let entry = |entry: ExpiryTimeRegionInput| -> Result<RegionExpiry, Refusal> {
                let region = entry.region.filter(|region| region != DEFAULT_REGION);
                Ok(RegionExpiry {
                    region,
                    days: days(entry.value)?,
                })
            };
            action.expiry = regions.into_iter().map(entry).collect::<Result<_, _>>()?;
            action.expiry.sort_by(|a, b| a.region.cmp(&b.region));
        }
        put(&mut action.region_detection, self.region_detection_method);
        put(&mut action.regions, self.region_list);
        Ok(())
    }
}

/// An attribute key to be made.
#[derive(InputObject)]
struct CreateAttributeKeyInput {
    /// Its name.
    name: String,
    /// How its values are given.
    r#type: AttributeKind,
    /// What it is for.
    description: Option<String>,
    /// What may carry it.
    enabled_on: Option<Vec<ResourceKind>>,
}

/// A change of an attribute key.
#[derive(InputObject)]
struct UpdateAttributeKeyInput {
    /// Which one.
    id: ID,
    /// What it is for.
    description: Option<String>,
    /// What may carry it.
    enabled_on: Option<Vec<ResourceKind>>,
}

/// A value to be added to an attribute key.
#[derive(InputObject)]
struct CreateAttributeValuesInput {
    /// The key, by id.
    attribute_key_id: Option<ID>,
    /// The key, by name.
    attribute_key_name: Option<String>,
    /// What it says.
    name: String,
    /// What it means.
    description: Option<String>,
    /// The colour it is shown in.
    color: Option<String>,
}

/// A change of an attribute value.
#[derive(InputObject)]
struct UpdateAttributeValueInput {
    /// Which one.
    id: ID,
    /// What it says.
    name: Option<String>,
    /// What it means.
    description: Option<String>,
    /// The colour it is shown in.
    color: Option<String>,
}

/// A template to be made.
#[derive(InputObject)]
struct CreateTemplateInput {
    /// What it is called.
    title: String,
    /// The body.
    template: String,
    /// The subject line.
    subject: String,
    /// How it is sent. Only mail is.
    r#type: Option<String>,
    /// What it belongs to. Only data subject requests have templates.
    product: Option<String>,
}

/// An identifier was made.
#[derive(SimpleObject)]
struct CreateIdentifierPayload {
    /// It.
    identifier: IdentifierNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An identifier was changed.
#[derive(SimpleObject)]
struct UpdateIdentifierPayload {
    /// It.
    identifier: IdentifierNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A data subject type was made.
#[derive(SimpleObject)]
struct CreateSubjectPayload {
    /// It.
    subject: DataSubjectInternal,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A data subject type was changed.
#[derive(SimpleObject)]
struct UpdateSubjectPayload {
    /// It.
    subject: DataSubjectInternal,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// The settings of an action were changed.
#[derive(SimpleObject)]
struct UpdateActionPayload {
    /// They.
    action: ActionNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An attribute key was made.
#[derive(SimpleObject)]
struct CreateAttributeKeyPayload {
    /// It.
    attribute_key: AttributeKeyNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An attribute key was changed.
#[derive(SimpleObject)]
struct UpdateAttributeKeyPayload {
    /// It.
    attribute_key: AttributeKeyNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// Attribute values were made.
#[derive(SimpleObject)]
struct CreateAttributeValuesPayload {
    /// They.
    attribute_values: Vec<AttributeValueNode>,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// Attribute values were changed.
#[derive(SimpleObject)]
struct UpdateAttributeValuesPayload {
    /// They.
    attribute_values: Vec<AttributeValueNode>,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An attribute value was removed.
#[derive(SimpleObject)]
struct DeleteAttributeValuePayload {
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A template was made.
#[derive(SimpleObject)]
struct CreateTemplatePayload {
    /// It.
    template: TemplateNode,
    /// Always null.
    client_mutation_id: Option<String>,
}
