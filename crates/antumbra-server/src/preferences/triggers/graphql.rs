//! The part of the management API that is about workflow triggers.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use uuid::Uuid;

use super::{
    model::{Condition, Expression, Term, Trigger, TriggerError, TriggerId},
    store::{self, SaveError},
};
use crate::{
    graphql::{Date, KnownSilo, OrderBy, OrderField, Page, Refusal, Session, Titled, by_text, parse_id, parse_ids},
    organization::{Action, ActionSettings, Settings, SubjectType, SubjectTypeId},
    purposes::Catalog,
    silos::DataSiloId,
};

/// Triggers removed in one call at most.
const IDS_MAX: usize = 1_000;

/// Queries about workflow triggers.
#[derive(Default)]
pub(crate) struct TriggerQueries;

#[Object]
impl TriggerQueries {
    /// The workflow triggers.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn consent_workflow_triggers(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<ConsentWorkflowTriggerFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<ConsentWorkflowTriggersPayload, Refusal> {
        let session = Session::of(context);
        let surroundings = Surroundings::read(session).await?;
        let triggers = store::list(&mut *session.read().await, session.organization()).await?;
        let filter = filter_by.unwrap_or_default();
        let nodes = triggers.iter().map(|trigger| TriggerNode::new(trigger, &surroundings));
        let nodes = nodes.filter(|node| filter.lets_through(node)).collect();
        let page = Page::cut(nodes, order_by, TriggerNode::order, first, offset)?;
        Ok(ConsentWorkflowTriggersPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }
}

/// Changes of workflow triggers.
#[derive(Default)]
pub(crate) struct TriggerMutations;

#[Object]
impl TriggerMutations {
    /// Makes a workflow trigger, or changes the one whose id is given; what is not given stays.
    async fn create_or_update_consent_workflow_trigger(
        &self,
        context: &Context<'_>,
        input: CreateOrUpdateConsentWorkflowTriggerInput,
    ) -> Result<CreateOrUpdateConsentWorkflowTriggerPayload, Refusal> {
        let session = Session::of(context);
        let surroundings = Surroundings::read(session).await?;
        let (ids, organization) = (&session.app.ids, session.organization());
        let mut tx = session.write().await;
        let (before, action) = match &input.id {
            Some(id) => {
                let id = TriggerId(parse_id(id, "workflow trigger")?);
                let known = store::list(&mut tx, organization).await?;
                let known = known.into_iter().find(|trigger| trigger.id == id);
                let known = known.ok_or_else(|| Refusal::not_found("workflow trigger"))?;
                (Some(known), "consent_workflow_trigger.changed")
            }
            None => (None, "consent_workflow_trigger.created"),
        };
        let trigger = input.read(before, TriggerId(ids.uuid()), session, &surroundings)?;
        store::save(&mut tx, ids, organization, &trigger).await?;
        session.record(&mut tx, action, ("consent_workflow_trigger", trigger.id.0));
        Ok(CreateOrUpdateConsentWorkflowTriggerPayload {
            consent_workflow_trigger: TriggerNode::new(&trigger, &surroundings),
            client_mutation_id: None,
        })
    }

    /// Removes workflow triggers. What they have opened goes on.
    async fn delete_consent_workflow_triggers(
        &self,
        context: &Context<'_>,
        input: DeleteConsentWorkflowTriggersInput,
    ) -> Result<DeleteConsentWorkflowTriggersPayload, Refusal> {
        let session = Session::of(context);
        if input.ids.len() > IDS_MAX {
            return Err(Refusal::client(format!("ids has more than {IDS_MAX} entries")));
        }
        let ids: Vec<Uuid> = parse_ids(&input.ids, "workflow trigger")?;
        let ids: Vec<TriggerId> = ids.into_iter().map(TriggerId).collect();
        let mut tx = session.write().await;
        let gone = store::delete(&mut tx, &session.app.ids, session.organization(), &ids).await?;
        for id in &gone {
            let action = "consent_workflow_trigger.deleted";
            session.record(&mut tx, action, ("consent_workflow_trigger", id.0));
        }
        Ok(DeleteConsentWorkflowTriggersPayload {
            count: i32::try_from(gone.len()).unwrap_or(i32::MAX),
            client_mutation_id: None,
        })
    }
}

impl From<SaveError> for Refusal {
    fn from(error: SaveError) -> Refusal {
        match error {
            SaveError::Refused(refused) => refused.into(),
            SaveError::Store(failed) => failed.into(),
        }
    }
}

impl From<TriggerError> for Refusal {
    fn from(refused: TriggerError) -> Refusal {
        Refusal::client(format!("workflow trigger: {refused}"))
    }
}

/// What triggers refer to, as one snapshot has it.
struct Surroundings {
    settings: std::sync::Arc<Settings>,
    catalog: std::sync::Arc<Catalog>,
    silos: Vec<KnownSilo>,
}

impl Surroundings {
    async fn read(session: &Session) -> Result<Surroundings, Refusal> {
        let settings = session.settings().await?;
        let mut reader = session.read().await;
        Ok(Surroundings {
            settings,
            catalog: session
                .app
                .catalogs
                .current(&mut reader, session.organization())
                .await?,
            silos: session.known_silos(&mut reader).await?,
        })
    }

    fn subject(&self, id: SubjectTypeId) -> Option<&SubjectType> {
        self.settings.subject_types.iter().find(|subject| subject.id == id)
    }
}

/// Which workflow triggers to list: those that every member given lets through.
#[derive(Default, InputObject)]
struct ConsentWorkflowTriggerFiltersInput {
    /// Waiting for one of these purposes.
    purpose_ids: Option<Vec<ID>>,
    /// Waiting for a purpose of one of these names on the wire.
    tracking_types: Option<Vec<String>>,
    /// Whose name holds this.
    text: Option<String>,
    /// Demanding one of these.
    action_ids: Option<Vec<ID>>,
    /// In the name of one of these data subject types.
    data_subject_ids: Option<Vec<ID>>,
    /// Active ones, or the others.
    is_active: Option<bool>,
    /// Silent ones, or the others.
    is_silent: Option<bool>,
    /// Those that fire for changes that nobody vouches for, or the others.
    allow_unauthenticated: Option<bool>,
}

impl ConsentWorkflowTriggerFiltersInput {
    fn lets_through(&self, node: &TriggerNode) -> bool {
        let purposes = || node.consent_workflow_trigger_purposes.iter().map(|one| &one.purpose);
        let holds = |wanted: &Option<Vec<ID>>, found: Option<&ID>| {
            wanted
                .as_ref()
                .is_none_or(|ids| found.is_some_and(|id| ids.contains(id)))
        };
        by_text(&node.name, self.text.as_deref())
            && self
                .purpose_ids
                .as_ref()
                .is_none_or(|ids| purposes().any(|one| ids.contains(&one.id)))
            && self
                .tracking_types
                .as_ref()
                .is_none_or(|names| purposes().any(|one| names.contains(&one.tracking_type)))
            && holds(&self.action_ids, node.action.id.as_ref())
            && holds(&self.data_subject_ids, node.subject.as_ref().map(|subject| &subject.id))
            && self.is_active.is_none_or(|wanted| wanted == node.is_active)
            && self.is_silent.is_none_or(|wanted| wanted == node.is_silent)
            && self
                .allow_unauthenticated
                .is_none_or(|wanted| wanted == node.allow_unauthenticated)
    }
}

/// A workflow trigger to be made or changed.
#[derive(InputObject)]
struct CreateOrUpdateConsentWorkflowTriggerInput {
    /// Which one; none makes a new one.
    id: Option<ID>,
    /// Its name.
    name: Option<String>,
    /// What it waits for, as JSON: `{"And":[{"<tracking type>":<true or false>},…]}`.
    trigger_condition: Option<String>,
    /// The same as a list. Either will do; both must say the same.
    consent_workflow_trigger_purposes: Option<Vec<ConsentWorkflowTriggerPurposeInput>>,
    /// What its requests demand. A new one needs this or `actionType`.
    action_id: Option<ID>,
    /// The same by its name.
    action_type: Option<Action>,
    /// In whose name. A new one needs this or `dataSubjectType`.
    data_subject_id: Option<ID>,
    /// The same by what `subjectType` says.
    data_subject_type: Option<String>,
    /// The data silos that are asked; none for all.
    data_silo_ids: Option<Vec<ID>>,
    /// The same by their titles.
    data_silo_titles: Option<Vec<String>>,
    /// Data subjects get no messages.
    is_silent: Option<bool>,
    /// It fires also for changes that nobody vouches for.
    allow_unauthenticated: Option<bool>,
    /// It fires. True for a new one, unless said otherwise.
    is_active: Option<bool>,
    /// The workflow configuration that it runs: the id of one of the `actions`. Goes with no data silos.
    workflow_config_id: Option<ID>,
}

/// A purpose, and the answer that a trigger waits for.
#[derive(InputObject)]
struct ConsentWorkflowTriggerPurposeInput {
    /// The purpose.
    purpose_id: Option<ID>,
    /// The answer.
    matching_state: bool,
}

impl CreateOrUpdateConsentWorkflowTriggerInput {
    /// The trigger that this makes of `before`, or as a new one under `id`.
    fn read(
        self,
        before: Option<Trigger>,
        id: TriggerId,
        session: &Session,
        surroundings: &Surroundings,
    ) -> Result<Trigger, Refusal> {
        let conditions = self.conditions(&surroundings.catalog)?;
        let workflow = self.workflow(&surroundings.settings)?;
        let named = self.action(&surroundings.settings)?;
        let subject_type = self.subject_type(&surroundings.settings)?;
        let mut silos = self.silos(&surroundings.silos)?;
        if let Some(workflow) = workflow {
            if named.is_some_and(|named| named != workflow.action) {
                return Err(Refusal::client("the action must be that of the workflow configuration"));
            }
            if silos.replace(Vec::new()).is_some_and(|silos| !silos.is_empty()) {
                return Err(Refusal::client(
                    "data silos must not be given together with a workflowConfigId",
                ));
            }
        }
        // Who names an action or silos goes by these from now on.
        let is_by_parts = workflow.is_none() && (named.is_some() || silos.is_some());
        let action = workflow.map(|workflow| workflow.action).or(named);
        let mut trigger = match before {
            Some(before) => before,
            None => Trigger {
                id,
                name: String::new(),
                conditions: conditions.clone().ok_or(TriggerError::BadCondition)?,
                action: action.ok_or_else(|| Refusal::client("a new workflow trigger needs an actionId"))?,
                subject_type: subject_type
                    .ok_or_else(|| Refusal::client("a new workflow trigger needs a dataSubjectId"))?,
                silos: Vec::new(),
                is_silent: false,
                allow_unauthenticated: false,
                is_active: true,
                created_at: session.now,
                workflow: None,
            },
        };
        if workflow.is_some() || is_by_parts {
            trigger.workflow = workflow.map(|workflow| workflow.id);
        }
        take_given(&mut trigger.name, self.name);
        take_given(&mut trigger.conditions, conditions);
        take_given(&mut trigger.action, action);
        take_given(&mut trigger.subject_type, subject_type);
        take_given(&mut trigger.silos, silos);
        take_given(&mut trigger.is_silent, self.is_silent);
        take_given(&mut trigger.allow_unauthenticated, self.allow_unauthenticated);
        take_given(&mut trigger.is_active, self.is_active);
        Ok(trigger)
    }

    fn conditions(&self, catalog: &Catalog) -> Result<Option<Vec<Condition>>, Refusal> {
        let no_purpose = || Refusal::not_found("purpose");
        let text = self.trigger_condition.as_deref().map(Expression::parse).transpose()?;
        let term = |given: &ConsentWorkflowTriggerPurposeInput| {
            let id = given.purpose_id.as_ref().ok_or_else(no_purpose)?;
            let id = parse_id(id, "purpose")?;
            let purpose = catalog
                .purpose_with(crate::purposes::PurposeId(id))
                .ok_or_else(no_purpose)?;
            Ok::<_, Refusal>(Term(purpose.slug.clone(), given.matching_state))
        };
        let list = match &self.consent_workflow_trigger_purposes {
            Some(list) => {
                let and = list.iter().map(term).collect::<Result<_, _>>()?;
                Some(Expression { and }.check()?)
            }
            None => None,
        };
        let Some(agreed) = Expression::agree(text, list)? else {
            return Ok(None);
        };
        let condition = |Term(slug, enabled): Term| {
            let purpose = catalog.purpose(&slug).ok_or_else(no_purpose)?.number;
            Ok(Condition { purpose, enabled })
        };
        agreed
            .and
            .into_iter()
            .map(condition)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    fn workflow<'a>(&self, settings: &'a Settings) -> Result<Option<&'a ActionSettings>, Refusal> {
        let Some(id) = &self.workflow_config_id else {
            return Ok(None);
        };
        let id = parse_id(id, "workflow configuration")?;
        let known = settings.actions.iter().find(|action| action.id.0 == id);
        known
            .map(Some)
            .ok_or_else(|| Refusal::not_found("workflow configuration"))
    }

    fn action(&self, settings: &Settings) -> Result<Option<Action>, Refusal> {
        let Some(id) = &self.action_id else {
            return Ok(self.action_type);
        };
        let id = parse_id(id, "action")?;
        let known = settings.actions.iter().find(|action| action.id.0 == id);
        known
            .map(|known| Some(known.action))
            .ok_or_else(|| Refusal::not_found("action"))
    }

    fn subject_type(&self, settings: &Settings) -> Result<Option<SubjectTypeId>, Refusal> {
        let known = match (&self.data_subject_id, &self.data_subject_type) {
            (Some(id), _) => {
                let id = parse_id(id, "data subject type")?;
                settings.subject_types.iter().find(|subject| subject.id.0 == id)
            }
            (None, Some(slug)) => settings.find_subject_type(slug),
            (None, None) => return Ok(None),
        };
        known
            .map(|known| Some(known.id))
            .ok_or_else(|| Refusal::not_found("data subject type"))
    }

    fn silos(&self, known: &[KnownSilo]) -> Result<Option<Vec<DataSiloId>>, Refusal> {
        let no_silo = || Refusal::not_found("data silo");
        let silos: Option<Vec<DataSiloId>> = match (&self.data_silo_ids, &self.data_silo_titles) {
            (Some(ids), _) => {
                let ids: Vec<Uuid> = parse_ids(ids, "data silo")?;
                let find = |id: Uuid| known.iter().find(|silo| silo.id.0 == id).map(|silo| silo.id);
                Some(
                    ids.into_iter()
                        .map(|id| find(id).ok_or_else(no_silo))
                        .collect::<Result<_, _>>()?,
                )
            }
            (None, Some(titles)) => {
                let find = |title: &String| known.iter().find(|silo| silo.title == *title).map(|silo| silo.id);
                Some(
                    titles
                        .iter()
                        .map(|title| find(title).ok_or_else(no_silo))
                        .collect::<Result<_, _>>()?,
                )
            }
            (None, None) => None,
        };
        Ok(silos.map(|mut silos| {
            silos.sort_unstable();
            silos.dedup();
            silos
        }))
    }
}

fn take_given<T>(held: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *held = given;
    }
}

/// Workflow triggers to be removed.
#[derive(InputObject)]
struct DeleteConsentWorkflowTriggersInput {
    /// Which ones.
    ids: Vec<ID>,
}

/// A page of workflow triggers.
#[derive(SimpleObject)]
struct ConsentWorkflowTriggersPayload {
    /// The page.
    nodes: Vec<TriggerNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A rule by which choices open data subject requests.
#[derive(SimpleObject)]
#[graphql(name = "ConsentWorkflowTrigger")]
struct TriggerNode {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// What it waits for, as JSON.
    trigger_condition: String,
    /// The same as a list.
    consent_workflow_trigger_purposes: Vec<TriggerPurpose>,
    /// What its requests demand.
    action: TriggerAction,
    /// In whose name; null if that data subject type is gone.
    subject: Option<TriggerSubject>,
    /// The data silos that are asked; none for all.
    data_silos: Vec<Titled>,
    /// Data subjects get no messages.
    is_silent: bool,
    /// It fires also for changes that nobody vouches for.
    allow_unauthenticated: bool,
    /// It fires.
    is_active: bool,
    /// The workflow configuration that it runs; null if it was made by action and data silos.
    workflow_config_id: Option<ID>,
    /// The same.
    workflow_config: Option<TriggerWorkflow>,
    #[graphql(skip)]
    created_at: jiff::Timestamp,
}

/// A purpose, and the answer that a trigger waits for.
#[derive(SimpleObject)]
#[graphql(name = "ConsentWorkflowTriggerPurpose")]
struct TriggerPurpose {
    /// The purpose.
    purpose: WaitedPurpose,
    /// The answer.
    matching_state: bool,
}

/// A purpose that a trigger waits for.
#[derive(SimpleObject)]
#[graphql(name = "ConsentWorkflowTriggerTrackingPurpose")]
struct WaitedPurpose {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// Its name on the wire.
    tracking_type: String,
}

/// What the requests of a trigger demand.
#[derive(SimpleObject)]
#[graphql(name = "ConsentWorkflowTriggerAction")]
struct TriggerAction {
    /// The id under which clients change how it is handled.
    id: Option<ID>,
    /// The action.
    r#type: Action,
}

/// The data subject type of a trigger.
#[derive(SimpleObject)]
#[graphql(name = "ConsentWorkflowTriggerSubject")]
struct TriggerSubject {
    /// Its id.
    id: ID,
    /// What `subjectType` says.
    r#type: String,
}

/// A workflow configuration: how the requests of one action are handled.
#[derive(SimpleObject)]
#[graphql(name = "ConsentWorkflowTriggerWorkflowConfig")]
struct TriggerWorkflow {
    /// That of the action's settings.
    id: ID,
    /// That of the action.
    internal_name: String,
}

impl TriggerNode {
    fn new(trigger: &Trigger, surroundings: &Surroundings) -> TriggerNode {
        let purposes = trigger.conditions.iter().filter_map(|condition| {
            let purpose = surroundings.catalog.purpose_numbered(condition.purpose)?;
            Some(TriggerPurpose {
                purpose: WaitedPurpose {
                    id: purpose.id.0.into(),
                    name: purpose.name.clone(),
                    tracking_type: purpose.slug.clone(),
                },
                matching_state: condition.enabled,
            })
        });
        let purposes: Vec<TriggerPurpose> = purposes.collect();
        let term = |one: &TriggerPurpose| Term(one.purpose.tracking_type.clone(), one.matching_state);
        let expression = Expression {
            and: purposes.iter().map(term).collect(),
        };
        let silos = surroundings
            .silos
            .iter()
            .filter(|silo| trigger.silos.contains(&silo.id));
        TriggerNode {
            id: trigger.id.0.into(),
            name: trigger.name.clone(),
            trigger_condition: expression.text(),
            consent_workflow_trigger_purposes: purposes,
            action: TriggerAction {
                id: surroundings
                    .settings
                    .find_action(trigger.action)
                    .map(|known| known.id.0.into()),
                r#type: trigger.action,
            },
            subject: surroundings
                .subject(trigger.subject_type)
                .map(|subject| TriggerSubject {
                    id: subject.id.0.into(),
                    r#type: subject.slug.clone(),
                }),
            data_silos: silos
                .map(|silo| Titled {
                    title: silo.title.clone(),
                })
                .collect(),
            is_silent: trigger.is_silent,
            allow_unauthenticated: trigger.allow_unauthenticated,
            is_active: trigger.is_active,
            workflow_config_id: trigger.workflow.map(|id| id.0.into()),
            workflow_config: trigger.workflow.map(|id| TriggerWorkflow {
                id: id.0.into(),
                internal_name: trigger.action.as_str().to_owned(),
            }),
            created_at: trigger.created_at,
        }
    }

    fn order(&self, field: OrderField) -> String {
        match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => Date(self.created_at).text(),
            OrderField::Id => self.id.to_string(),
            OrderField::Type => self.action.r#type.as_str().to_owned(),
            OrderField::Name | OrderField::Title => self.name.clone(),
        }
    }
}

/// A workflow trigger was made or changed.
#[derive(SimpleObject)]
struct CreateOrUpdateConsentWorkflowTriggerPayload {
    /// It.
    consent_workflow_trigger: TriggerNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// Workflow triggers were removed.
#[derive(SimpleObject)]
struct DeleteConsentWorkflowTriggersPayload {
    /// How many there were.
    count: i32,
    /// Always null.
    client_mutation_id: Option<String>,
}
