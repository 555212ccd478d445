//! The part of the management API that is about data silos, data points and enrichers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use antumbra_store::Tx;
use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::{
    Attribute, DailyWindow, DataPoint, DataPointId, DataSilo, DataSiloId, ENRICHER_CHANGED, Encryption, Enricher,
    EnricherId, EnricherKind, Field, Header, Localized, Named as Class, Query, RESUMED, SaveError, SealedHeader,
    SiloError, VendorMailCompletionLink, VendorMailSendType, WorkflowDependencies, delete_enricher,
    find_data_point_by_name, find_enricher, find_silo, list_data_points, list_enrichers, list_silos, open_headers,
    save_data_point, save_enricher, save_silo,
};
use crate::{
    graphql::{
        AttachedKey, Date, Message, Named, OrderBy, OrderField, Page, Person, Refusal, Session, Titled, by_text,
        parse_id, parse_ids, person,
    },
    http::Problem,
    jobs::{self, Job},
    organization::{Action, Settings},
};

mod inputs;
mod nodes;

use inputs::*;
use nodes::*;
pub(crate) use nodes::{EnricherNode, SiloNode};

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
        let made = settings.organization.created_at;
        let mut enricher = Enricher::new(id, "Request Ingestion".to_owned(), EnricherKind::Sombra, made);
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
        let kind = input.r#type.unwrap_or(EnricherKind::Server);
        let enricher = Enricher::new(id, input.title, kind, session.now);
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
        look_again(session, &mut *session.write().await, id);
        Ok(UpdateEnricherPayload {
            enricher: EnricherNode(enricher),
            client_mutation_id: None,
        })
    }

    /// Removes an enricher. Requests go on without what it would have found, and none waits for it any more.
    async fn delete_enricher(&self, context: &Context<'_>, id: ID) -> Result<DeleteEnricherPayload, Refusal> {
        let session = Session::of(context);
        let id = EnricherId(parse_id(&id, "enricher")?);
        let mut tx = session.write().await;
        let removed = delete_enricher(&mut tx, session.organization(), id).await;
        removed.map_err(|error| match error {
            SaveError::Rule(SiloError::NoSuchEnricher) => Refusal::not_found("enricher"),
            failed => Problem::from(failed).into(),
        })?;
        session.record(&mut tx, "enricher.deleted", ("enricher", id.0));
        look_again(session, &mut tx, id);
        Ok(DeleteEnricherPayload {
            success: true,
            client_mutation_id: None,
        })
    }
}

/// Has the requests looked at again that an enricher may concern, as it is from now on.
fn look_again(session: &Session, tx: &mut Tx, id: EnricherId) {
    let job = Job::new(session.app.ids.uuid(), &ENRICHER_CHANGED, [id.0]).waiting_for(id.0);
    jobs::enqueue(tx, session.organization(), job, session.now);
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
    keys: Vec<AttachedKey>,
    settings: Arc<Settings>,
}

impl Around {
    async fn read(session: &Session) -> Result<Arc<Around>, Refusal> {
        let settings = session.settings().await?;
        let mut reader = session.read().await;
        let silos = list_silos(&mut reader, session.organization()).await?;
        let keys = session.attached_keys(&mut reader).await?;
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
