//! The part of the management API that is about preflights.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{
    PreflightError, admin,
    model::{Preflight, PreflightId, PreflightStatus},
};
use crate::{
    dsr::{DsrError, DsrId},
    graphql::{Date, Direction, OrderBy, OrderField, Refusal, Session, bound, parse_id},
    http::Problem,
    silos::{self, Enricher, graphql::EnricherNode},
};

/// Preflights on a page that asks for no number of them.
const FIRST: usize = 50;
/// Preflights on a page.
const FIRST_MAX: i32 = 1_000;

/// Queries about preflights.
#[derive(Default)]
pub(crate) struct PreflightQueries;

#[Object]
impl PreflightQueries {
    /// The runs of enrichers for a data subject request, the oldest first unless another order is asked for. What was run
    /// before the request was last restarted is left out.
    async fn request_enrichers(
        &self,
        context: &Context<'_>,
        input: RequestEnrichersInput,
        first: Option<i32>,
        offset: Option<i32>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
    ) -> Result<RequestEnrichersPayload, Refusal> {
        let session = Session::of(context);
        let request = DsrId(parse_id(&input.request_id, "request")?);
        let identifier = input.request_identifier_id.as_ref();
        let identifier = identifier.map(|id| parse_id(id, "request identifier")).transpose()?;
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(FIRST);
        let offset = bound("offset", offset, i32::MAX)?.unwrap_or(0);
        let (mut runs, enrichers) = {
            let mut reader = session.read().await;
            let runs = admin::list(&mut reader, session.organization(), request).await;
            let runs = runs.map_err(refusal)?;
            (runs, silos::list_enrichers(&mut reader, session.organization()).await?)
        };
        runs.retain(|run| identifier.is_none_or(|id| run.input == id));
        let by = order_by.as_deref().unwrap_or_default().first();
        if by.is_some_and(|by| by.field == OrderField::CreatedAt && by.direction == Direction::Desc) {
            runs.reverse();
        }
        let total_count = i32::try_from(runs.len()).unwrap_or(i32::MAX);
        let page = runs.into_iter().skip(offset).take(first);
        let nodes = page.map(|run| PreflightNode::new(run, &enrichers)).collect();
        Ok(RequestEnrichersPayload { nodes, total_count })
    }
}

/// What people do to preflights.
#[derive(Default)]
pub(crate) struct PreflightMutations;

#[Object]
impl PreflightMutations {
    /// Has an enricher run anew for a request that is at its preflight checks.
    async fn retry_request_enricher(
        &self,
        context: &Context<'_>,
        id: ID,
    ) -> Result<RetryRequestEnricherPayload, Refusal> {
        Ok(RetryRequestEnricherPayload {
            request_enricher: changed(Session::of(context), &id, admin::Deed::Retry).await?,
            client_mutation_id: None,
        })
    }

    /// Lets a request go on without an enricher. An identifier that it was to verify stays unverified.
    async fn skip_request_enricher(
        &self,
        context: &Context<'_>,
        id: ID,
    ) -> Result<SkipRequestEnricherPayload, Refusal> {
        Ok(SkipRequestEnricherPayload {
            request_enricher: changed(Session::of(context), &id, admin::Deed::Skip).await?,
            client_mutation_id: None,
        })
    }
}

async fn changed(session: &Session, id: &ID, deed: admin::Deed) -> Result<PreflightNode, Refusal> {
    let id = PreflightId(parse_id(id, "request enricher")?);
    let mut tx = session.write().await;
    let run = admin::act(&mut tx, &session.deed(), id, deed).await.map_err(refusal)?;
    let enrichers = silos::list_enrichers(&mut tx, session.organization()).await?;
    Ok(PreflightNode::new(run, &enrichers))
}

fn refusal(error: PreflightError) -> Refusal {
    match error {
        PreflightError::NotFound => Refusal::not_found("request enricher"),
        PreflightError::Dsr(DsrError::NotFound) => Refusal::not_found("request"),
        // Clients look for these words.
        PreflightError::OutOfPlace(_) | PreflightError::Resolved => {
            Refusal::client("Cannot skip Request enricher because it has already completed")
        }
        PreflightError::RequestMovedOn => Refusal::client(error.to_string()),
        failed => Problem::from(failed).into(),
    }
}

/// Whose preflights to list.
#[derive(InputObject)]
struct RequestEnrichersInput {
    /// The request.
    request_id: ID,
    /// Only those that start from this identifier of it.
    request_identifier_id: Option<ID>,
}

/// One run of one enricher for a request.
struct PreflightNode {
    run: Preflight,
    enricher: Enricher,
}

impl PreflightNode {
    fn new(run: Preflight, enrichers: &[Enricher]) -> PreflightNode {
        let found = enrichers.iter().find(|enricher| enricher.id == run.enricher).cloned();
        let enricher = found.unwrap_or_else(|| super::look::without_configuration(&run));
        PreflightNode { run, enricher }
    }
}

/// One run of one enricher for a request.
#[Object(name = "RequestEnricher")]
impl PreflightNode {
    /// Its id.
    async fn id(&self) -> ID {
        self.run.id.0.into()
    }

    /// How far it has come.
    async fn status(&self) -> PreflightStatus {
        self.run.state.status()
    }

    /// Why it does not go on by itself.
    async fn error(&self) -> Option<&'static str> {
        self.run.state.reason().map(super::Reason::text)
    }

    /// The enricher.
    async fn enricher(&self) -> EnricherNode {
        EnricherNode(self.enricher.clone())
    }

    /// The identifier of the request that it starts from.
    async fn request_identifier_id(&self) -> ID {
        self.run.input.into()
    }

    /// When it was made.
    async fn created_at(&self) -> Date {
        Date(self.run.created_at)
    }
}

/// A page of preflights.
#[derive(SimpleObject)]
struct RequestEnrichersPayload {
    /// The page.
    nodes: Vec<PreflightNode>,
    /// How many there are in all.
    total_count: i32,
}

/// A preflight that runs anew.
#[derive(SimpleObject)]
struct RetryRequestEnricherPayload {
    /// It.
    request_enricher: PreflightNode,
    /// Always null: this server keeps no ids of mutations.
    client_mutation_id: Option<&'static str>,
}

/// A preflight that was passed over.
#[derive(SimpleObject)]
struct SkipRequestEnricherPayload {
    /// It.
    request_enricher: PreflightNode,
    /// Always null: this server keeps no ids of mutations.
    client_mutation_id: Option<&'static str>,
}
