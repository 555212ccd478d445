//! The part of the management API that is about purposes, preference topics, options and partitions.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{
    AuthLevel, DefaultConsent, NewPurpose, NewTopic, OnConsentExpiry, OptionChange, OptionId, OptionValue, Partition,
    PartitionId, PrivacySignal, Purpose, PurposeChange, PurposeError, PurposeId, PurposeSettings, Topic, TopicChange,
    TopicId, TopicKind, change_or_create_options, change_purpose, change_topic, create_partition, create_purpose,
    create_topic, delete_partition, list_options, list_partitions, list_purposes, list_topics,
};
use crate::graphql::{
    Acknowledged, Date, Message, OrderBy, OrderField, Page, Refusal, Session, by_text, parse_id, parse_ids,
};

mod inputs;

use inputs::*;

/// Options in one call at most.
const OPTIONS_MAX: usize = 50;

/// Queries about purposes and what hangs on them.
#[derive(Default)]
pub(crate) struct PurposeQueries;

#[Object]
impl PurposeQueries {
    /// The purposes.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn purposes(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<TrackingPurposeFiltersInput>,
        input: Option<TrackingPurposeInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<PurposesPayload, Refusal> {
        let session = Session::of(context);
        let mut reader = session.read().await;
        let catalog = Catalog {
            purposes: list_purposes(&mut reader, session.organization()).await?,
            topics: list_topics(&mut reader, session.organization()).await?,
            options: Vec::new(),
        };
        let filter = filter_by.unwrap_or_default();
        let deleted = input.is_some_and(|input| input.include_deleted.unwrap_or(false));
        let kept = catalog
            .purposes
            .iter()
            .filter(|purpose| filter.lets_through(purpose, deleted));
        let nodes = kept.map(|purpose| PurposeNode::new(purpose, &catalog)).collect();
        let page = Page::cut(nodes, order_by, PurposeNode::order, first, offset)?;
        Ok(PurposesPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The preference topics.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn preference_topics(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<PreferenceTopicFilterInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<PreferenceTopicsPayload, Refusal> {
        let catalog = Catalog::read(Session::of(context)).await?;
        let filter = filter_by.unwrap_or_default();
        let nodes = catalog
            .topics
            .iter()
            .filter_map(|topic| TopicNode::new(topic, &catalog));
        let nodes = nodes.filter(|node| filter.lets_through(node)).collect();
        let order = |node: &TopicNode, field| match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => Date(node.created_at).text(),
            OrderField::Id => node.id.to_string(),
            _ => node.title.default_message.clone(),
        };
        let page = Page::cut(nodes, order_by, order, first, offset)?;
        Ok(PreferenceTopicsPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The options that topics can offer.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn preference_option_values(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<PreferenceOptionValueFilterInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<PreferenceOptionValuesPayload, Refusal> {
        let catalog = Catalog::read(Session::of(context)).await?;
        let filter = filter_by.unwrap_or_default();
        let offered = |option: &OptionValue, ids: &Vec<ID>| {
            let asked = catalog
                .topics
                .iter()
                .filter(|topic| ids.contains(&ID::from(topic.id.0)));
            asked.into_iter().any(|topic| topic.options.contains(&option.id))
        };
        let kept = catalog.options.iter().filter(|option| {
            by_text(&option.title, filter.text.as_deref())
                && filter
                    .preference_topic_ids
                    .as_ref()
                    .is_none_or(|ids| offered(option, ids))
        });
        let order = |node: &OptionNode, _| node.slug.clone();
        let page = Page::cut(kept.map(OptionNode::new).collect(), order_by, order, first, offset)?;
        Ok(PreferenceOptionValuesPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The partitions.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn consent_partitions(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<ConsentPartitionFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<ConsentPartitionsPayload, Refusal> {
        let session = Session::of(context);
        let partitions = list_partitions(&mut *session.read().await, session.organization()).await?;
        let filter = filter_by.unwrap_or_default();
        let kept = partitions.iter().filter(|partition| {
            filter
                .ids
                .as_ref()
                .is_none_or(|ids| ids.contains(&ID::from(partition.id.0)))
                && filter.name.as_ref().is_none_or(|name| *name == partition.name)
                && filter.partition.as_ref().is_none_or(|key| *key == partition.key)
        });
        let order = |node: &PartitionNode, _| node.name.clone();
        let page = Page::cut(kept.map(PartitionNode::new).collect(), order_by, order, first, offset)?;
        Ok(ConsentPartitionsPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }
}

/// Changes of purposes and what hangs on them.
#[derive(Default)]
pub(crate) struct PurposeMutations;

#[Object]
impl PurposeMutations {
    /// Makes a purpose.
    async fn create_purpose(
        &self,
        context: &Context<'_>,
        input: CreatePurposeInput,
    ) -> Result<CreatePurposePayload, Refusal> {
        let session = Session::of(context);
        let slug = input.tracking_type.clone();
        let mut tx = session.write().await;
        let made = create_purpose(
            &mut tx,
            &session.app.ids,
            session.organization(),
            input.read()?,
            session.now,
        )
        .await;
        let purpose = made.map_err(about("purpose", &slug))?;
        session.record(&mut tx, "purpose.created", ("purpose", purpose.id.0));
        drop(tx);
        let catalog = Catalog::read(session).await?;
        Ok(CreatePurposePayload {
            purpose: PurposeNode::new(&purpose, &catalog),
            client_mutation_id: None,
        })
    }

    /// Changes a purpose; what is not given stays.
    async fn update_purpose(
        &self,
        context: &Context<'_>,
        input: UpdatePurposeInput,
    ) -> Result<UpdatePurposePayload, Refusal> {
        let session = Session::of(context);
        let id = PurposeId(parse_id(&input.id, "purpose")?);
        let mut tx = session.write().await;
        let (ids, organization) = (&session.app.ids, session.organization());
        let changed = change_purpose(&mut tx, ids, organization, id, input.read()?, session.now).await;
        let purpose = changed.map_err(about("purpose", &id.0.to_string()))?;
        session.record(&mut tx, "purpose.changed", ("purpose", purpose.id.0));
        drop(tx);
        let catalog = Catalog::read(session).await?;
        Ok(UpdatePurposePayload {
            purpose: PurposeNode::new(&purpose, &catalog),
            client_mutation_id: None,
        })
    }

    /// Makes a preference topic, or changes the one whose id is given.
    async fn create_or_update_preference_topic(
        &self,
        context: &Context<'_>,
        input: CreateOrUpdatePreferenceTopicInput,
    ) -> Result<CreateOrUpdatePreferenceTopicPayload, Refusal> {
        let session = Session::of(context);
        let catalog = Catalog::read(session).await?;
        let options = input.find_options(&catalog)?;
        let (ids, organization) = (&session.app.ids, session.organization());
        let mut tx = session.write().await;
        let saved = match &input.id {
            Some(id) => {
                let fixed = [
                    ("slug", input.slug.is_some()),
                    ("type", input.r#type.is_some()),
                    ("purposeId", input.purpose_id.is_some() || input.tracking_type.is_some()),
                ];
                if let Some((what, _)) = fixed.into_iter().find(|(_, given)| *given) {
                    return Err(Refusal::client(format!(
                        "the {what} of a preference topic does not change"
                    )));
                }
                let change = TopicChange {
                    title: input.title.clone(),
                    display_description: input.display_description.clone(),
                    show_in_privacy_center: input.show_in_privacy_center,
                    default_configuration: input.default_configuration.clone(),
                    options,
                };
                change_topic(
                    &mut tx,
                    ids,
                    organization,
                    TopicId(parse_id(id, "preference topic")?),
                    change,
                )
                .await
            }
            None => {
                create_topic(
                    &mut tx,
                    ids,
                    organization,
                    input.read_new(&catalog, options)?,
                    session.now,
                )
                .await
            }
        };
        let named = input.slug.as_deref().or(input.title.as_deref()).unwrap_or_default();
        let topic = saved.map_err(about("preference topic", named))?;
        session.record(&mut tx, "preference_topic.saved", ("preference_topic", topic.id.0));
        drop(tx);
        let catalog = Catalog::read(session).await?;
        let node = TopicNode::new(&topic, &catalog).ok_or_else(|| Refusal::not_found("purpose"))?;
        Ok(CreateOrUpdatePreferenceTopicPayload {
            preference_topic: node,
            client_mutation_id: None,
        })
    }

    /// Makes options, and changes the titles of those whose ids are given. The answer is in the order of the input.
    async fn create_or_update_preference_option_values(
        &self,
        context: &Context<'_>,
        input: CreateOrUpdatePreferenceOptionValuesInput,
    ) -> Result<CreateOrUpdatePreferenceOptionValuesPayload, Refusal> {
        let session = Session::of(context);
        if input.preference_option_values.len() > OPTIONS_MAX {
            return Err(Refusal::client(format!(
                "preferenceOptionValues has more than {OPTIONS_MAX} entries"
            )));
        }
        let mut changes = Vec::new();
        for option in input.preference_option_values {
            let id = option
                .id
                .map(|id| parse_id(&id, "preference option").map(OptionId))
                .transpose()?;
            if id.is_some() && option.slug.is_some() {
                return Err(Refusal::client("the slug of a preference option does not change"));
            }
            changes.push(OptionChange {
                id,
                title: option.title,
                slug: option.slug,
            });
        }
        let mut tx = session.write().await;
        let (ids, organization) = (&session.app.ids, session.organization());
        let saved = change_or_create_options(&mut tx, ids, organization, changes, session.now).await;
        let options = saved.map_err(about("preference options", ""))?;
        for option in &options {
            session.record(&mut tx, "preference_option.saved", ("preference_option", option.id.0));
        }
        let nodes = options.iter().map(OptionNode::new).collect();
        Ok(CreateOrUpdatePreferenceOptionValuesPayload {
            preference_option_values: nodes,
            client_mutation_id: None,
        })
    }

    /// Makes a partition.
    async fn create_consent_partition(
        &self,
        context: &Context<'_>,
        input: CreateConsentPartitionInput,
    ) -> Result<CreateConsentPartitionPayload, Refusal> {
        let session = Session::of(context);
        let manager = session.settings().await?.organization.consent_manager;
        if parse_id(&input.id, "consent manager")? != manager {
            return Err(Refusal::not_found("consent manager"));
        }
        let (ids, organization) = (&session.app.ids, session.organization());
        let mut tx = session.write().await;
        let name = input.name.clone();
        let made = create_partition(&mut tx, ids, organization, input.name, input.partition, session.now).await;
        let partition = made.map_err(about("partition", &name))?;
        session.record(&mut tx, "partition.created", ("partition", partition.id.0));
        Ok(CreateConsentPartitionPayload {
            consent_partition: PartitionNode::new(&partition),
            client_mutation_id: None,
        })
    }

    /// Deletes a partition that holds no preference records.
    async fn delete_consent_partition(
        &self,
        context: &Context<'_>,
        input: DeleteConsentPartitionInput,
    ) -> Result<Acknowledged, Refusal> {
        let session = Session::of(context);
        let id = PartitionId(parse_id(&input.id, "partition")?);
        let (ids, organization) = (&session.app.ids, session.organization());
        let mut tx = session.write().await;
        let partitions = list_partitions(&mut tx, organization).await?;
        let partition = partitions.into_iter().find(|partition| partition.id == id);
        let partition = partition.ok_or_else(|| Refusal::not_found("partition"))?;
        let deleted = match session.holds_records(&mut tx, id).await? {
            true => Err(PurposeError::PartitionInUse),
            false => delete_partition(&mut tx, ids, organization, id).await,
        };
        deleted.map_err(about("partition", &partition.name))?;
        session.forget_secrets(&mut tx, &partition).await?;
        session.record(&mut tx, "partition.deleted", ("partition", id.0));
        Ok(Acknowledged::default())
    }
}

fn about(what: &'static str, name: &str) -> impl FnOnce(PurposeError) -> Refusal {
    move |error| match error {
        PurposeError::Store(error) => error.into(),
        refused if name.is_empty() => Refusal::client(format!("{what}: {refused}")),
        refused => Refusal::client(format!("{what} `{name}`: {refused}")),
    }
}

/// Everything there is, as one snapshot has it.
struct Catalog {
    purposes: Vec<Purpose>,
    topics: Vec<Topic>,
    options: Vec<OptionValue>,
}

impl Catalog {
    async fn read(session: &Session) -> Result<Catalog, Refusal> {
        let mut reader = session.read().await;
        Ok(Catalog {
            purposes: list_purposes(&mut reader, session.organization()).await?,
            topics: list_topics(&mut reader, session.organization()).await?,
            options: list_options(&mut reader, session.organization()).await?,
        })
    }
}

/// A page of purposes.
#[derive(SimpleObject)]
struct PurposesPayload {
    /// The page.
    nodes: Vec<PurposeNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A reason for processing that can be allowed or refused.
#[derive(SimpleObject)]
#[graphql(name = "TrackingPurpose")]
struct PurposeNode {
    /// Its id.
    id: ID,
    /// What people read.
    name: String,
    /// What it is for.
    description: String,
    /// Its heading.
    title: Option<String>,
    /// What it means before anyone has answered.
    default_consent: DefaultConsent,
    /// Its name on the wire.
    tracking_type: String,
    /// Whether people can change it.
    configurable: bool,
    /// It can't be refused.
    essential: bool,
    /// The consent manager lists it.
    show_in_consent_manager: bool,
    /// The privacy centre lists it.
    show_in_privacy_center: bool,
    /// Answers to it can be written.
    is_active: bool,
    /// Its place in lists.
    display_order: i32,
    /// Signals that count as refusing it.
    opt_out_signals: Vec<PrivacySignal>,
    /// Who may change an answer.
    auth_level: AuthLevel,
    /// How many days an answer counts from when it was given; 0 for ever.
    consent_expiry_days: u32,
    /// What becomes of an answer then.
    on_consent_expiry: OnConsentExpiry,
    /// When it was deleted.
    deleted_at: Option<Date>,
    /// The topics under it.
    preference_topics: Vec<PurposeTopic>,
    /// Data points it is mapped to. This server maps none.
    purpose_data_point_count: i32,
    /// Data points that its options are mapped to. This server maps none.
    preference_topic_option_value_data_point_count: i32,
    /// Data silos it is mapped to. This server maps none.
    mapped_data_silos: Vec<MappedSilo>,
    #[graphql(skip)]
    created_at: jiff::Timestamp,
}

/// A topic, as its purpose lists it.
#[derive(SimpleObject)]
struct PurposeTopic {
    /// Its id.
    id: ID,
    /// Its name on the wire.
    slug: String,
    /// What people read.
    title: Message,
    /// The colour it is shown in.
    color: String,
}

/// A data silo that a purpose is mapped to.
#[derive(SimpleObject)]
struct MappedSilo {
    /// Its id.
    id: ID,
    /// Its title.
    title: String,
    /// Its type.
    r#type: String,
}

impl PurposeNode {
    fn new(purpose: &Purpose, catalog: &Catalog) -> PurposeNode {
        let topics = catalog.topics.iter().filter(|topic| topic.purpose == purpose.id);
        let topic = |topic: &Topic| PurposeTopic {
            id: topic.id.0.into(),
            slug: topic.slug.clone(),
            title: Message::new(topic.id.0, "title", &topic.title),
            color: topic.color.clone(),
        };
        let (consent_expiry_days, on_consent_expiry) = purpose.present_expiry();
        PurposeNode {
            id: purpose.id.0.into(),
            name: purpose.name.clone(),
            description: purpose.description.clone(),
            title: purpose.title.clone(),
            default_consent: purpose.default_consent,
            tracking_type: purpose.tracking_type.clone(),
            configurable: purpose.configurable,
            essential: purpose.essential,
            show_in_consent_manager: purpose.show_in_consent_manager,
            show_in_privacy_center: purpose.show_in_privacy_center,
            is_active: purpose.is_active,
            display_order: purpose.display_order,
            opt_out_signals: purpose.opt_out_signals.iter().copied().collect(),
            auth_level: purpose.auth_level,
            consent_expiry_days,
            on_consent_expiry,
            deleted_at: purpose.deleted_at.map(Date),
            preference_topics: topics.map(topic).collect(),
            purpose_data_point_count: 0,
            preference_topic_option_value_data_point_count: 0,
            mapped_data_silos: Vec::new(),
            created_at: purpose.created_at,
        }
    }

    fn order(&self, field: OrderField) -> String {
        match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => Date(self.created_at).text(),
            OrderField::Id => self.id.to_string(),
            OrderField::Type => self.tracking_type.clone(),
            OrderField::Name | OrderField::Title => self.name.clone(),
        }
    }
}

/// A page of preference topics.
#[derive(SimpleObject)]
struct PreferenceTopicsPayload {
    /// The page.
    nodes: Vec<TopicNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A finer question under a purpose.
#[derive(SimpleObject)]
#[graphql(name = "PreferenceTopic")]
struct TopicNode {
    /// Its id.
    id: ID,
    /// Its name on the wire.
    slug: String,
    /// What an answer looks like.
    r#type: TopicKind,
    /// The colour it is shown in.
    color: String,
    /// What people read.
    title: Message,
    /// Its explanation.
    display_description: Message,
    /// The privacy centre lists it.
    show_in_privacy_center: bool,
    /// The answer that a form starts with.
    default_configuration: String,
    /// The options that an answer can have, in order.
    preference_option_values: Vec<OptionNode>,
    /// The purpose it belongs to.
    purpose: TopicPurpose,
    #[graphql(skip)]
    created_at: jiff::Timestamp,
}

/// The purpose of a topic.
#[derive(SimpleObject)]
struct TopicPurpose {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// Its name on the wire.
    tracking_type: String,
}

impl TopicNode {
    /// None where the purpose was deleted and took the topic along.
    fn new(topic: &Topic, catalog: &Catalog) -> Option<TopicNode> {
        let purpose = catalog.purposes.iter().find(|purpose| purpose.id == topic.purpose)?;
        let find = |id: &OptionId| catalog.options.iter().find(|option| option.id == *id);
        Some(TopicNode {
            id: topic.id.0.into(),
            slug: topic.slug.clone(),
            r#type: topic.kind,
            color: topic.color.clone(),
            title: Message::new(topic.id.0, "title", &topic.title),
            display_description: Message::new(topic.id.0, "displayDescription", &topic.display_description),
            show_in_privacy_center: topic.show_in_privacy_center,
            default_configuration: topic.default_configuration.clone(),
            preference_option_values: topic.options.iter().filter_map(find).map(OptionNode::new).collect(),
            purpose: TopicPurpose {
                id: purpose.id.0.into(),
                name: purpose.name.clone(),
                tracking_type: purpose.tracking_type.clone(),
            },
            created_at: topic.created_at,
        })
    }
}

/// A page of options.
#[derive(SimpleObject)]
struct PreferenceOptionValuesPayload {
    /// The page.
    nodes: Vec<OptionNode>,
    /// How many there are in all.
    total_count: i32,
}

/// One answer that topics can offer.
#[derive(SimpleObject)]
#[graphql(name = "PreferenceOptionValue")]
struct OptionNode {
    /// Its id.
    id: ID,
    /// Its name on the wire.
    slug: String,
    /// What people read.
    title: Message,
}

impl OptionNode {
    fn new(option: &OptionValue) -> OptionNode {
        OptionNode {
            id: option.id.0.into(),
            slug: option.slug.clone(),
            title: Message::new(option.id.0, "title", &option.title),
        }
    }
}

/// A page of partitions.
#[derive(SimpleObject)]
struct ConsentPartitionsPayload {
    /// The page.
    nodes: Vec<PartitionNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A walled-off set of preference data.
#[derive(SimpleObject)]
#[graphql(name = "ConsentPartition")]
struct PartitionNode {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// Its key on the wire.
    partition: String,
}

impl PartitionNode {
    fn new(partition: &Partition) -> PartitionNode {
        PartitionNode {
            id: partition.id.0.into(),
            name: partition.name.clone(),
            partition: partition.key.clone(),
        }
    }
}

/// A purpose was made.
#[derive(SimpleObject)]
struct CreatePurposePayload {
    /// It.
    purpose: PurposeNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A purpose was changed.
#[derive(SimpleObject)]
struct UpdatePurposePayload {
    /// It.
    purpose: PurposeNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A preference topic was made or changed.
#[derive(SimpleObject)]
struct CreateOrUpdatePreferenceTopicPayload {
    /// It.
    preference_topic: TopicNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// Options were made or changed.
#[derive(SimpleObject)]
struct CreateOrUpdatePreferenceOptionValuesPayload {
    /// They, in the order of the input.
    preference_option_values: Vec<OptionNode>,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A partition was made.
#[derive(SimpleObject)]
struct CreateConsentPartitionPayload {
    /// It.
    consent_partition: PartitionNode,
    /// Always null.
    client_mutation_id: Option<String>,
}
