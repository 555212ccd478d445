//! The part of the management API that is about data silos, data points and enrichers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use antumbra_store::Tx;
use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::{
    Attribute, DataPoint, DataPointId, DataSilo, DataSiloId, Encryption, Enricher, EnricherId, EnricherKind, Field,
    Header, Localized, Named as Class, Query, SaveError, VendorMailCompletionLink, VendorMailSendType,
    WorkflowDependencies, find_data_point_by_name, find_enricher, find_silo, list_data_points, list_enrichers,
    list_silos, open_headers, save_data_point, save_enricher, save_silo,
};
use crate::{
    api_keys::{self, ApiKeyChange, ApiKeyId},
    graphql::{
        Date, Message, Named, OrderBy, OrderField, Page, Person, Refusal, Session, Titled, by_text, parse_id,
        parse_ids, person,
    },
    http::Problem,
    organization::{Action, Settings},
};

/// Queries about data silos and what is in them.
#[derive(Default)]
pub(crate) struct SiloQueries;

#[Object]
impl SiloQueries {
    /// The data silos.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn data_silos(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<DataSiloFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<DataSilosPayload, Refusal> {
        let around = Around::read(Session::of(context)).await?;
        let filter = filter_by.unwrap_or_default();
        let kept = around.silos.iter().filter(|silo| filter.lets_through(silo));
        let nodes = kept
            .map(|silo| SiloNode {
                silo: silo.clone(),
                around: around.clone(),
            })
            .collect();
        let order = |node: &SiloNode, field| match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => Date(node.silo.created_at).text(),
            OrderField::Id => node.silo.id.0.to_string(),
            OrderField::Type => node.silo.kind.clone(),
            OrderField::Name | OrderField::Title => node.silo.title.clone(),
        };
        let page = Page::cut(nodes, order_by, order, first, offset)?;
        Ok(DataSilosPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// One data silo.
    async fn data_silo(&self, context: &Context<'_>, id: String) -> Result<SiloNode, Refusal> {
        let around = Around::read(Session::of(context)).await?;
        let id = DataSiloId(parse_id(&ID(id), "data silo")?);
        let silo = around.silos.iter().find(|silo| silo.id == id).cloned();
        Ok(SiloNode {
            silo: silo.ok_or_else(|| Refusal::not_found("data silo"))?,
            around,
        })
    }

    /// The data points of some data silos, or of all.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn data_points(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<DataPointFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<DataPointsPayload, Refusal> {
        let session = Session::of(context);
        let around = Around::read(session).await?;
        let filter = filter_by.unwrap_or_default();
        let points = around.points(session, filter.data_silos.as_deref()).await?;
        let kept = points.into_iter().filter(|point| filter.lets_through(point));
        let nodes = kept
            .map(|point| PointNode {
                point,
                around: around.clone(),
            })
            .collect();
        let order = |node: &PointNode, field| match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => Date(node.point.created_at).text(),
            OrderField::Id => node.point.id.0.to_string(),
            _ => node.point.name.clone(),
        };
        let page = Page::cut(nodes, order_by, order, first, offset)?;
        Ok(DataPointsPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The fields of some data points, or of all.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn sub_data_points(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<SubDataPointFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<SubDataPointsPayload, Refusal> {
        let session = Session::of(context);
        let around = Around::read(session).await?;
        let filter = filter_by.unwrap_or_default();
        let points = around.points(session, filter.data_silos.as_deref()).await?;
        let wanted = |point: &&DataPoint| {
            filter
                .data_points
                .as_ref()
                .is_none_or(|ids| ids.contains(&ID::from(point.id.0)))
        };
        let nodes = points.iter().filter(wanted).flat_map(|point| {
            point
                .fields
                .iter()
                .enumerate()
                .map(|(place, field)| FieldNode::new(point, place, field))
        });
        let kept = nodes
            .filter(|node| by_text(&node.name, filter.text.as_deref()))
            .collect();
        let page = Page::cut(kept, order_by, |node: &FieldNode, _| node.name.clone(), first, offset)?;
        Ok(SubDataPointsPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// The enrichers.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn enrichers(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
        filter_by: Option<EnricherFiltersInput>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<EnrichersPayload, Refusal> {
        let session = Session::of(context);
        let enrichers = list_enrichers(&mut *session.read().await, session.organization()).await?;
        let filter = filter_by.unwrap_or_default();
        let kept = enrichers
            .into_iter()
            .filter(|enricher| by_text(&enricher.title, filter.text.as_deref()));
        let order = |node: &EnricherNode, field| match field {
            OrderField::CreatedAt | OrderField::UpdatedAt => Date(node.0.created_at).text(),
            OrderField::Id => node.0.id.0.to_string(),
            _ => node.0.title.clone(),
        };
        let page = Page::cut(kept.map(EnricherNode).collect(), order_by, order, first, offset)?;
        Ok(EnrichersPayload {
            nodes: page.nodes,
            total_count: page.total_count,
        })
    }

    /// What takes in the identifiers that come with a request: every identifier that the organization knows.
    async fn initializer(&self, context: &Context<'_>) -> Result<EnricherNode, Refusal> {
        let settings = Session::of(context).settings().await?;
        let id = EnricherId(settings.organization.id.0);
        let mut enricher = blank_enricher(id, "Request Ingestion".to_owned(), EnricherKind::Sombra);
        enricher.created_at = settings.organization.created_at;
        enricher.output_identifiers = settings
            .identifiers
            .iter()
            .map(|known| known.identifier.name.clone())
            .collect();
        Ok(EnricherNode(enricher))
    }
}

/// Changes of data silos and what is in them.
#[derive(Default)]
pub(crate) struct SiloMutations;

#[Object]
impl SiloMutations {
    /// Makes data silos.
    async fn create_data_silos(
        &self,
        context: &Context<'_>,
        input: Vec<CreateDataSilosInput>,
    ) -> Result<CreateDataSilosPayload, Refusal> {
        let session = Session::of(context);
        let mut made = Vec::new();
        for input in input {
            let id = DataSiloId(session.app.ids.uuid());
            let title = input.settings.title.clone().unwrap_or_else(|| input.name.clone());
            let silo = DataSilo::new(id, input.name, title, session.now);
            made.push(input.settings.save(session, silo, "data_silo.created").await?);
        }
        refuse_circles(session).await?;
        Ok(CreateDataSilosPayload {
            data_silos: nodes(session, made).await?,
            client_mutation_id: None,
        })
    }

    /// Changes data silos; what is not given stays.
    async fn update_data_silos(
        &self,
        context: &Context<'_>,
        input: UpdateDataSilosInput,
    ) -> Result<UpdateDataSilosPayload, Refusal> {
        let session = Session::of(context);
        let mut changed = Vec::new();
        for change in input.data_silos {
            let id = DataSiloId(parse_id(&change.id, "data silo")?);
            let found = find_silo(&mut *session.read().await, session.organization(), id).await?;
            let silo = found.ok_or_else(|| Refusal::not_found("data silo"))?;
            changed.push(change.settings.save(session, silo, "data_silo.changed").await?);
        }
        refuse_circles(session).await?;
        Ok(UpdateDataSilosPayload {
            data_silos: nodes(session, changed).await?,
            client_mutation_id: None,
        })
    }

    /// Makes a data point, or changes the one of that name; what is not given stays.
    async fn update_or_create_data_point(
        &self,
        context: &Context<'_>,
        input: UpdateOrCreateDataPointInput,
    ) -> Result<UpdateOrCreateDataPointPayload, Refusal> {
        let session = Session::of(context);
        let around = Around::read(session).await?;
        let silo = input.find_silo(&around)?;
        let mut tx = session.write().await;
        let known = find_data_point_by_name(&mut tx, session.organization(), silo, &input.name).await?;
        let fresh = || {
            DataPoint::new(
                DataPointId(session.app.ids.uuid()),
                silo,
                input.name.clone(),
                session.now,
            )
        };
        let mut point = known.unwrap_or_else(fresh);
        let name = input.name.clone();
        input.apply(&mut point, session);
        let saved = save_data_point(&mut tx, session.organization(), point).await;
        let point = saved.map_err(about("data point", &name))?;
        session.record(&mut tx, "data_point.saved", ("data_point", point.id.0));
        Ok(UpdateOrCreateDataPointPayload {
            data_point: PointNode { point, around },
            client_mutation_id: None,
        })
    }

    /// Makes an enricher.
    async fn create_enricher(
        &self,
        context: &Context<'_>,
        input: EnricherInput,
    ) -> Result<CreateEnricherPayload, Refusal> {
        let session = Session::of(context);
        let id = EnricherId(session.app.ids.uuid());
        let mut enricher = blank_enricher(id, input.title, input.r#type.unwrap_or(EnricherKind::Server));
        enricher.created_at = session.now;
        let enricher = input.settings.save(session, enricher, "enricher.created").await?;
        Ok(CreateEnricherPayload {
            enricher: EnricherNode(enricher),
            client_mutation_id: None,
        })
    }

    /// Changes an enricher; what is not given stays.
    async fn update_enricher(
        &self,
        context: &Context<'_>,
        input: UpdateEnricherInput,
    ) -> Result<UpdateEnricherPayload, Refusal> {
        let session = Session::of(context);
        let id = EnricherId(parse_id(&input.id, "enricher")?);
        let found = find_enricher(&mut *session.read().await, session.organization(), id).await?;
        let mut enricher = found.ok_or_else(|| Refusal::not_found("enricher"))?;
        put(&mut enricher.title, input.title);
        let enricher = input.settings.save(session, enricher, "enricher.changed").await?;
        Ok(UpdateEnricherPayload {
            enricher: EnricherNode(enricher),
            client_mutation_id: None,
        })
    }
}

fn about(what: &'static str, name: &str) -> impl FnOnce(SaveError) -> Refusal {
    move |error| match error {
        SaveError::Rule(rule) => Refusal::client(format!("{what} `{name}`: {rule}")),
        failed => Problem::from(failed).into(),
    }
}

/// Takes what was given and leaves what was not.
fn put<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

/// An empty text removes.
fn text(given: Option<String>) -> Option<Option<String>> {
    given.map(|text| Some(text).filter(|text| !text.is_empty()))
}

fn blank_enricher(id: EnricherId, title: String, kind: EnricherKind) -> Enricher {
    Enricher {
        id,
        title,
        kind,
        description: None,
        url: None,
        headers: Vec::new(),
        input_identifier: None,
        output_identifiers: Vec::new(),
        subject_types: BTreeSet::new(),
        actions: BTreeSet::new(),
        regions: Vec::new(),
        expiration: None,
        test_regex: None,
        transition_request_status: None,
        phone_numbers: Vec::new(),
        looker_query_title: None,
        created_at: jiff::Timestamp::UNIX_EPOCH,
    }
}

/// Refuses silos that wait for each other in a circle: an erasure among them would never begin.
async fn refuse_circles(session: &Session) -> Result<(), Refusal> {
    let silos = list_silos(&mut *session.read().await, session.organization()).await?;
    let waits_for: BTreeMap<DataSiloId, &BTreeSet<DataSiloId>> =
        silos.iter().map(|silo| (silo.id, &silo.depends_on)).collect();
    for silo in &silos {
        let (mut seen, mut next) = (BTreeSet::new(), vec![silo.id]);
        while let Some(id) = next.pop() {
            for other in waits_for.get(&id).into_iter().copied().flatten() {
                if *other == silo.id {
                    return Err(Refusal::client(format!(
                        "data silo `{}` would wait for itself",
                        silo.title
                    )));
                }
                if seen.insert(*other) {
                    next.push(*other);
                }
            }
        }
    }
    Ok(())
}

async fn nodes(session: &Session, silos: Vec<DataSilo>) -> Result<Vec<SiloNode>, Refusal> {
    let around = Around::read(session).await?;
    Ok(silos
        .into_iter()
        .map(|silo| SiloNode {
            silo,
            around: around.clone(),
        })
        .collect())
}

/// What stands around a data silo, as one snapshot has it.
struct Around {
    silos: Vec<DataSilo>,
    keys: Vec<api_keys::Listed>,
    settings: Arc<Settings>,
}

impl Around {
    async fn read(session: &Session) -> Result<Arc<Around>, Refusal> {
        let settings = session.settings().await?;
        let mut reader = session.read().await;
        let silos = list_silos(&mut reader, session.organization()).await?;
        let keys = api_keys::list_in(&mut reader, &session.app, session.organization()).await?;
        Ok(Arc::new(Around { silos, keys, settings }))
    }

    async fn points(&self, session: &Session, silos: Option<&[ID]>) -> Result<Vec<DataPoint>, Refusal> {
        let mut points = Vec::new();
        for silo in &self.silos {
            if silos.is_none_or(|ids| ids.contains(&ID::from(silo.id.0))) {
                points.extend(list_data_points(&mut *session.read().await, session.organization(), silo.id).await?);
            }
        }
        Ok(points)
    }

    fn titles(&self, ids: &BTreeSet<DataSiloId>) -> Vec<Titled> {
        let known = self.silos.iter().filter(|silo| ids.contains(&silo.id));
        known
            .map(|silo| Titled {
                title: silo.title.clone(),
            })
            .collect()
    }

    fn ids(&self, titles: &[String]) -> Result<BTreeSet<DataSiloId>, Refusal> {
        let find = |title: &String| match self.silos.iter().find(|silo| silo.title == *title) {
            Some(silo) => Ok(silo.id),
            None => Err(Refusal::client(format!("There is no such data silo: {title}"))),
        };
        titles.iter().map(find).collect()
    }
}

/// A page of data silos.
#[derive(SimpleObject)]
struct DataSilosPayload {
    /// The page.
    nodes: Vec<SiloNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A system that holds personal data.
pub(crate) struct SiloNode {
    silo: DataSilo,
    around: Arc<Around>,
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
        session.caller.require(crate::api_keys::ScopeName::ConnectDataSilos)?;
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
        let attached = self
            .around
            .keys
            .iter()
            .filter(|key| key.record.silos.contains(&self.silo.id));
        attached
            .map(|key| Titled {
                title: key.record.title.clone(),
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

fn same_headers(present: Vec<Header>, wanted: Vec<CustomHeaderInput>) -> bool {
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
struct HeaderNode {
    /// Its name, in lower case.
    name: String,
    /// Its value; null when it is secret.
    value: Option<String>,
    /// Whether the value is never shown.
    is_secret: bool,
}

impl HeaderNode {
    fn new(header: Header) -> HeaderNode {
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
struct SiloAttributeValue {
    /// What it says.
    name: String,
    /// The key it belongs to.
    attribute_key: Named,
}

fn attribute_values(attributes: &[Attribute]) -> Vec<SiloAttributeValue> {
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
struct SubjectRef {
    /// What `subjectType` says on the wire.
    r#type: String,
}

/// An identifier that a silo can look people up by.
#[derive(SimpleObject)]
struct SiloIdentifier {
    /// Its name.
    name: String,
    /// Whether it is in use.
    is_connected: bool,
}

/// The silos that are to finish first, in one workflow.
#[derive(SimpleObject)]
struct WorkflowDependency {
    /// The workflow.
    workflow_config_id: ID,
    /// Its name among administrators.
    workflow_internal_name: String,
    /// The silos.
    depended_on_data_silos: Vec<Titled>,
}

/// What the catalogue says about a type of data silo.
#[derive(SimpleObject)]
struct CatalogEntry {
    /// Whether its vendor is asked by mail.
    has_avc_functionality: bool,
}

/// A gateway that is mentioned.
#[derive(SimpleObject)]
struct GatewayRef {
    /// Its id.
    id: ID,
}

/// A page of data points.
#[derive(SimpleObject)]
struct DataPointsPayload {
    /// The page.
    nodes: Vec<PointNode>,
    /// How many there are in all.
    total_count: i32,
}

/// One collection inside a silo.
struct PointNode {
    point: DataPoint,
    around: Arc<Around>,
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

fn message(text: &Localized) -> Message {
    Message {
        id: text.id.to_string(),
        default_message: text.default_message.clone(),
        description: None,
    }
}

/// An action that a data point takes part in.
#[derive(SimpleObject)]
struct PointAction {
    /// The action.
    r#type: ActionResolver,
    /// Whether it does.
    active: bool,
}

/// The category of a report.
#[derive(SimpleObject)]
struct DataCollection {
    /// What people read.
    title: Message,
}

/// A query that answers an action in a database.
#[derive(SimpleObject)]
struct PointQuery {
    /// What is in use.
    query: Option<String>,
    /// What someone proposed.
    suggested_query: Option<String>,
    /// The action it answers.
    request_type: ActionResolver,
}

/// An action, where data points are spoken of.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(name = "RequestActionObjectResolver", remote = "Action")]
enum ActionResolver {
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
struct SubDataPointsPayload {
    /// The page.
    nodes: Vec<FieldNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A field inside a data point.
#[derive(SimpleObject)]
#[graphql(name = "SubDataPoint")]
struct FieldNode {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// What it holds.
    description: Option<String>,
    /// The purposes it serves.
    purposes: Vec<FieldPurpose>,
    /// The categories of data it belongs to.
    categories: Vec<FieldCategory>,
    /// Whether an access report shows it.
    access_request_visibility_enabled: bool,
    /// Whether an erasure redacts it.
    erasure_request_redaction_enabled: bool,
    /// The organization's own attributes.
    attribute_values: Vec<SiloAttributeValue>,
}

/// A purpose that a field serves.
#[derive(SimpleObject)]
struct FieldPurpose {
    /// Its name.
    name: String,
    /// Its class.
    purpose: String,
}

/// A category of data that a field belongs to.
#[derive(SimpleObject)]
struct FieldCategory {
    /// Its name.
    name: String,
    /// Its class.
    category: String,
}

impl FieldNode {
    fn new(point: &DataPoint, place: usize, field: &Field) -> FieldNode {
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
struct EnrichersPayload {
    /// The page.
    nodes: Vec<EnricherNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A lookup of further identifiers, or a rule.
struct EnricherNode(Enricher);

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
        let node = |header: &super::SealedHeader| HeaderNode {
            name: header.name.clone(),
            value: None,
            is_secret: header.is_secret,
        };
        self.0.headers.iter().map(node).collect()
    }

    /// Milliseconds that it waits for an answer; `0` for no bound of its own.
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

    /// The status a request gets when the rule says no.
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
}

/// The status that a rule can give a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum PreflightRequestStatus {
    /// Stopped.
    Canceled,
    /// Parked.
    OnHold,
}

impl PreflightRequestStatus {
    fn word(self) -> &'static str {
        match self {
            PreflightRequestStatus::Canceled => "CANCELED",
            PreflightRequestStatus::OnHold => "ON_HOLD",
        }
    }

    fn parse(word: &str) -> Option<PreflightRequestStatus> {
        [PreflightRequestStatus::Canceled, PreflightRequestStatus::OnHold]
            .into_iter()
            .find(|status| status.word() == word)
    }
}

/// Which data silos to list.
#[derive(Default, InputObject)]
struct DataSiloFiltersInput {
    /// Those whose title holds this.
    text: Option<String>,
    /// Those of these ids.
    ids: Option<Vec<ID>>,
    /// Those of these titles.
    titles: Option<Vec<String>>,
    /// Those of these types.
    r#type: Option<Vec<String>>,
    /// Those that take part in requests, or the others.
    is_live: Option<bool>,
}

impl DataSiloFiltersInput {
    fn lets_through(&self, silo: &DataSilo) -> bool {
        by_text(&silo.title, self.text.as_deref())
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&ID::from(silo.id.0)))
            && self.titles.as_ref().is_none_or(|titles| titles.contains(&silo.title))
            && self.r#type.as_ref().is_none_or(|types| types.contains(&silo.kind))
            && self.is_live.is_none_or(|wanted| wanted == silo.is_live)
    }
}

/// Which data points to list.
#[derive(Default, InputObject)]
struct DataPointFiltersInput {
    /// Those whose name holds this.
    text: Option<String>,
    /// Those of these ids.
    ids: Option<Vec<ID>>,
    /// Those in these data silos.
    data_silos: Option<Vec<ID>>,
}

impl DataPointFiltersInput {
    fn lets_through(&self, point: &DataPoint) -> bool {
        by_text(&point.name, self.text.as_deref())
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&ID::from(point.id.0)))
    }
}

/// Which fields to list.
#[derive(Default, InputObject)]
struct SubDataPointFiltersInput {
    /// Those whose name holds this.
    text: Option<String>,
    /// Those in these data silos.
    data_silos: Option<Vec<ID>>,
    /// Those in these data points.
    data_points: Option<Vec<ID>>,
}

/// Which enrichers to list.
#[derive(Default, InputObject)]
struct EnricherFiltersInput {
    /// Those whose title holds this.
    text: Option<String>,
}

/// A data silo to be made.
#[derive(InputObject)]
struct CreateDataSilosInput {
    /// What sort of system it is, such as `server`.
    name: String,
    #[graphql(flatten)]
    settings: DataSiloSettings,
}

/// Data silos to be changed.
#[derive(InputObject)]
struct UpdateDataSilosInput {
    /// They.
    data_silos: Vec<UpdateDataSiloInput>,
}

/// A data silo to be changed.
#[derive(InputObject)]
struct UpdateDataSiloInput {
    /// Which one.
    id: ID,
    #[graphql(flatten)]
    settings: DataSiloSettings,
}

/// What can be set about a data silo. What is not given stays; an empty text removes.
#[derive(InputObject)]
struct DataSiloSettings {
    /// What people read.
    title: Option<String>,
    /// A sentence about it.
    description: Option<String>,
    /// The sort of system behind a generic type.
    outer_type: Option<String>,
    /// Where notices of new runs go.
    url: Option<String>,
    /// The headers of its notices, all of them.
    headers: Option<Vec<CustomHeaderInput>>,
    /// Who is told of its runs that need a person.
    notify_email_address: Option<String>,
    /// Names of the identifiers it can look people up by.
    identifiers: Option<Vec<String>>,
    /// Whether it takes part in requests that are not tests.
    is_live: Option<bool>,
    /// The data subject types it holds nothing about, by id.
    data_subject_block_list_ids: Option<Vec<ID>>,
    /// The data subject types it holds something about, by what `subjectType` says.
    data_subjects: Option<Vec<String>>,
    /// For erasures: the silos that are to finish first.
    depended_on_data_silo_titles: Option<Vec<String>>,
    /// The same, for all requests and for those of one workflow.
    depended_on_data_silos: Option<Vec<DependedOnDataSilosInput>>,
    /// Mail addresses of the people answerable for it.
    owner_emails: Option<Vec<String>>,
    /// The teams answerable for it.
    team_names: Option<Vec<String>>,
    /// An API key that may answer for it from now on.
    api_key_id: Option<ID>,
    /// The organization's own attributes.
    attributes: Option<Vec<AttributeInput>>,
    /// The country it stands in.
    country: Option<String>,
    /// The part of that country.
    country_sub_division: Option<String>,
    /// The business entities it belongs to.
    business_entity_titles: Option<Vec<String>>,
    /// Days between two mails to its vendor.
    prompt_a_vendor_email_send_frequency: Option<i32>,
    /// What one mail to its vendor is about.
    prompt_a_vendor_email_send_type: Option<VendorMailSendType>,
    /// Whether identifiers are attached to a mail to its vendor.
    prompt_a_vendor_email_include_identifiers_attachment: Option<bool>,
    /// What the link in a mail to its vendor leads to.
    prompt_a_vendor_email_completion_link_type: Option<VendorMailCompletionLink>,
    /// How often a run that waits for a person is brought up again.
    manual_work_retry_frequency: Option<String>,
}

/// A header of a notice.
#[derive(InputObject)]
struct CustomHeaderInput {
    /// Its name.
    name: String,
    /// Its value.
    value: String,
    /// Whether the value is never to be shown again.
    #[graphql(default)]
    is_secret: bool,
}

impl CustomHeaderInput {
    fn read(self) -> Header {
        Header {
            name: self.name,
            value: self.value,
            is_secret: self.is_secret,
        }
    }
}

/// Silos that are to finish first.
#[derive(InputObject)]
struct DependedOnDataSilosInput {
    /// Their titles.
    titles: Vec<String>,
    /// The workflow it is about; none for all requests.
    workflow_config_id: Option<ID>,
}

/// Values of one of the organization's own attributes.
#[derive(InputObject)]
struct AttributeInput {
    /// The attribute's name.
    key: String,
    /// Its values.
    values: Vec<String>,
}

fn read_attributes(attributes: Vec<AttributeInput>) -> Vec<Attribute> {
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
    async fn save(self, session: &Session, mut silo: DataSilo, deed: &'static str) -> Result<DataSilo, Refusal> {
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
        if let Some(id) = &self.api_key_id {
            attach(session, &mut tx, &around, ApiKeyId(parse_id(id, "API key")?), silo.id).await?;
        }
        Ok(silo)
    }
}

/// Lets the holder of an API key answer for a silo.
async fn attach(
    session: &Session,
    tx: &mut Tx,
    around: &Around,
    key: ApiKeyId,
    silo: DataSiloId,
) -> Result<(), Refusal> {
    let known = around
        .keys
        .iter()
        .find(|known| known.id == key)
        .ok_or_else(|| Refusal::not_found("API key"))?;
    if known.record.silos.contains(&silo) {
        return Ok(());
    }
    let silos = known.record.silos.iter().copied().chain([silo]).collect();
    let change = ApiKeyChange {
        silos: Some(silos),
        ..ApiKeyChange::default()
    };
    api_keys::change_in(tx, &session.app, session.organization(), session.actor(), key, change).await?;
    session.forget_key_after_commit(key);
    Ok(())
}

/// A data point to be made or changed.
#[derive(InputObject)]
struct UpdateOrCreateDataPointInput {
    /// The silo it is in, by id.
    data_silo_id: Option<ID>,
    /// The silo it is in, by title.
    data_silo_title: Option<String>,
    /// What uploads call it.
    name: String,
    /// Where it lies inside the silo, outermost first.
    path: Option<Vec<String>>,
    /// What people read.
    title: Option<String>,
    /// What it holds.
    description: Option<String>,
    /// The category of the report that its files are put under.
    data_collection_tag: Option<String>,
    /// What it takes part in, all of it.
    enabled_actions: Option<Vec<ActionResolver>>,
    /// Addresses of documentation about it.
    references: Option<Vec<String>>,
    /// Whether what it holds is encrypted there.
    encryption: Option<Encryption>,
    /// The teams answerable for it.
    team_names: Option<Vec<String>>,
    /// Mail addresses of the people answerable for it.
    owner_emails: Option<Vec<String>>,
    /// Accepted and of no effect: this server knows people by their addresses.
    owner_ids: Option<Vec<ID>>,
    /// Accepted and of no effect: this server knows teams by their names.
    team_ids: Option<Vec<ID>>,
    /// For databases: queries that answer an action.
    query_suggestions: Option<Vec<DbIntegrationQuerySuggestionInput>>,
    /// The fields inside it, all of them.
    sub_data_points: Option<Vec<DataPointSubDataPointInput>>,
}

/// A proposed query.
#[derive(InputObject)]
struct DbIntegrationQuerySuggestionInput {
    /// The action it answers.
    request_type: ActionResolver,
    /// The query.
    suggested_query: String,
}

/// A field inside a data point.
#[derive(InputObject)]
struct DataPointSubDataPointInput {
    /// Its name.
    name: String,
    /// What it holds.
    description: Option<String>,
    /// The categories of data it belongs to.
    categories: Option<Vec<FieldCategoryInput>>,
    /// The purposes it serves.
    purposes: Option<Vec<FieldPurposeInput>>,
    /// Whether an access report shows it.
    access_request_visibility_enabled: Option<bool>,
    /// Whether an erasure redacts it.
    erasure_request_redaction_enabled: Option<bool>,
    /// The organization's own attributes.
    attributes: Option<Vec<AttributeInput>>,
}

/// A category of data.
#[derive(InputObject)]
struct FieldCategoryInput {
    /// Its name.
    name: Option<String>,
    /// Its class.
    category: String,
}

/// A purpose of processing.
#[derive(InputObject)]
struct FieldPurposeInput {
    /// Its name.
    name: Option<String>,
    /// Its class.
    purpose: String,
}

impl DataPointSubDataPointInput {
    fn read(self) -> Field {
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
    fn find_silo(&self, around: &Around) -> Result<DataSiloId, Refusal> {
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

    fn apply(self, point: &mut DataPoint, session: &Session) {
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
struct EnricherInput {
    /// What people read.
    title: String,
    /// How it works. By default `SERVER`.
    r#type: Option<EnricherKind>,
    #[graphql(flatten)]
    settings: EnricherSettings,
}

/// A change of an enricher.
#[derive(InputObject)]
struct UpdateEnricherInput {
    /// Which one.
    id: ID,
    /// What people read.
    title: Option<String>,
    #[graphql(flatten)]
    settings: EnricherSettings,
}

/// What can be set about an enricher. What is not given stays; an empty text removes.
#[derive(InputObject)]
struct EnricherSettings {
    /// A sentence about it.
    description: Option<String>,
    /// Where notices of new lookups go.
    url: Option<String>,
    /// The headers of its notices, all of them.
    headers: Option<Vec<CustomHeaderInput>>,
    /// The identifier it starts from, by id or name.
    input_identifier: Option<String>,
    /// The identifiers it may find, by id or name.
    identifiers: Option<Vec<String>>,
    /// The data subject types it runs for, by id.
    data_subject_ids: Option<Vec<ID>>,
    /// The data subject types it runs for, by what `subjectType` says.
    data_subjects: Option<Vec<String>>,
    /// The actions it runs for.
    actions: Option<Vec<Action>>,
    /// The regions it runs for.
    region_list: Option<Vec<String>>,
    /// Milliseconds that it waits for an answer.
    expiration_duration: Option<String>,
    /// For `REGEX_MATCH`: the pattern.
    test_regex: Option<String>,
    /// The status a request gets when the rule says no.
    transition_request_status: Option<PreflightRequestStatus>,
    /// Who is called.
    phone_numbers: Option<Vec<String>>,
    /// For `LOOKER`: the query.
    looker_query_title: Option<String>,
}

impl EnricherSettings {
    async fn save(self, session: &Session, mut enricher: Enricher, deed: &'static str) -> Result<Enricher, Refusal> {
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
            let millis = given
                .parse()
                .map_err(|_| Refusal::client("expirationDuration must be whole milliseconds"))?;
            enricher.expiration = Some(Duration::from_millis(millis)).filter(|duration| !duration.is_zero());
        }
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

/// Data silos were made.
#[derive(SimpleObject)]
struct CreateDataSilosPayload {
    /// They.
    data_silos: Vec<SiloNode>,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// Data silos were changed.
#[derive(SimpleObject)]
struct UpdateDataSilosPayload {
    /// They.
    data_silos: Vec<SiloNode>,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A data point was made or changed.
#[derive(SimpleObject)]
struct UpdateOrCreateDataPointPayload {
    /// It.
    data_point: PointNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An enricher was made.
#[derive(SimpleObject)]
struct CreateEnricherPayload {
    /// It.
    enricher: EnricherNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// An enricher was changed.
#[derive(SimpleObject)]
struct UpdateEnricherPayload {
    /// It.
    enricher: EnricherNode,
    /// Always null.
    client_mutation_id: Option<String>,
}
