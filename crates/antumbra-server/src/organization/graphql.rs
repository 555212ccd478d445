//! The organization's part of the management API.

use std::sync::Arc;

use antumbra_store::Tx;
use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use super::{
    Action, ActionSettings, AttributeKey, AttributeKeyId, AttributeKind, AttributeValue, AttributeValueId, ChangeError,
    Changes, Days, Delay, Holiday, Identifier, IdentifierId, IdentifierKind, MessageKind, Organization,
    PostCompileStatus, RegionDetection, RegionExpiry, Retention, RetentionKind, SettingError, Settings, SubjectClass,
    SubjectType, SubjectTypeId, Template, TemplateId, TimeToAnswer,
};
use crate::config::IabContradiction;
use crate::graphql::{Acknowledged, Date, Message, OrderBy, OrderField, Page, Refusal, Session, by_text, parse_id};

mod inputs;
pub(crate) mod nodes;

use inputs::*;
use nodes::*;

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
    /// Changes what the organization says of itself; what is not given stays.
    async fn update_organization(
        &self,
        context: &Context<'_>,
        input: UpdateOrganizationInput,
    ) -> Result<Acknowledged, Refusal> {
        let session = Session::of(context);
        let mut changed = session.settings().await?.organization.clone();
        input.apply(&mut changed)?;
        changed
            .check()
            .map_err(|why| Refusal::client(format!("the organization: {why}")))?;
        let mut tx = session.write().await;
        changes(session, &mut tx).save_organization(&changed);
        Ok(Acknowledged::default())
    }

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

    /// Changes an identifier; what is not given stays. Whether it is unique on the preference store stays while that holds
    /// records, since they are found by what was unique when they were written.
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
        let was_unique = identifier.is_unique_on_preference_store;
        input.settings.apply(&mut identifier, &settings)?;
        let mut tx = session.write().await;
        let is_changed = identifier.is_unique_on_preference_store != was_unique;
        let saved = match is_changed && session.holds_any_records(&mut tx).await? {
            true => Err(SettingError::UniquenessInUse.into()),
            false => changes(session, &mut tx).save_identifier(&identifier).await,
        };
        saved.map_err(about("identifier", &identifier.name))?;
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
            times_to_answer: times_to_answer(input.times_to_answer)?.unwrap_or_default(),
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
        put(&mut subject.times_to_answer, times_to_answer(input.times_to_answer)?);
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
            subject: input.subject,
            body: input.template,
            kind: input.kind,
            action: input.action,
            locale: input.locale,
            text: input.text,
            ..Template::new(TemplateId(session.app.ids.uuid()), input.title, session.now)
        };
        Ok(CreateTemplatePayload {
            template: save_template(session, template).await?,
            client_mutation_id: None,
        })
    }

    /// Changes a template; what is not given stays.
    async fn update_template(
        &self,
        context: &Context<'_>,
        input: UpdateTemplateInput,
    ) -> Result<UpdateTemplatePayload, Refusal> {
        let session = Session::of(context);
        let id = TemplateId(parse_id(&input.id, "template")?);
        let settings = session.settings().await?;
        let known = settings.templates.iter().find(|template| template.id == id);
        let template = input.change(known.cloned().ok_or_else(|| Refusal::not_found("template"))?);
        Ok(UpdateTemplatePayload {
            template: save_template(session, template).await?,
            client_mutation_id: None,
        })
    }

    /// Removes a template. Messages that would have used it are said in the words for their kind.
    async fn delete_template(&self, context: &Context<'_>, id: ID) -> Result<Acknowledged, Refusal> {
        let session = Session::of(context);
        let id = TemplateId(parse_id(&id, "template")?);
        let settings = session.settings().await?;
        if !settings.templates.iter().any(|template| template.id == id) {
            return Err(Refusal::not_found("template"));
        }
        let mut tx = session.write().await;
        changes(session, &mut tx).remove_template(id);
        Ok(Acknowledged::default())
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

async fn save_template(session: &Session, template: Template) -> Result<TemplateNode, Refusal> {
    let mut tx = session.write().await;
    changes(session, &mut tx)
        .save_template(&template)
        .await
        .map_err(about("template", &template.title))?;
    Ok(TemplateNode::new(&template))
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

fn times_to_answer(given: Option<Vec<TimeToAnswerInput>>) -> Result<Option<Vec<TimeToAnswer>>, Refusal> {
    given
        .map(|times| times.into_iter().map(TimeToAnswerInput::read).collect())
        .transpose()
}

fn days(given: i32) -> Result<Days, Refusal> {
    u16::try_from(given)
        .map(Days)
        .map_err(|_| Refusal::client("a number of days is negative or too large"))
}
