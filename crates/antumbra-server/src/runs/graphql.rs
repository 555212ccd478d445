//! The part of the management API that is about silo runs.

use antumbra_store::Reader;
use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::{
    RunError, RunFilter, RunId, RunStatus, SiloRun, Verdict, VisualStatus, accept, change_status, count_work,
    list_runs, look_at, retry, send::open_text,
};
use crate::{
    api_keys::ScopeName,
    dsr::{self, DsrId, DsrStatus, Order, graphql::RequestNode},
    graphql::{Date, Direction, OrderBy, OrderField, Refusal, Session, bound, parse_id},
    http::Problem,
    organization::Action,
    silos::{DataSiloId, find_silo, graphql::SiloNode},
};

/// Runs on a page that asks for no number of them.
const FIRST: usize = 50;
/// Runs on a page.
const FIRST_MAX: i32 = 1_000;
/// A progress bar needs no longer count than this.
const COUNT_MAX: usize = 100_000;

/// Queries about silo runs.
#[derive(Default)]
pub(crate) struct RunQueries;

#[Object]
impl RunQueries {
    /// What data silos were asked, the newest first unless another order is asked for.
    async fn request_data_silos(
        &self,
        context: &Context<'_>,
        filter_by: RequestDataSiloFiltersInput,
        first: Option<i32>,
        offset: Option<i32>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
    ) -> Result<RequestDataSilosPayload, Refusal> {
        let session = Session::of(context);
        let filter = filter_by.read(read_order(order_by.as_deref().unwrap_or_default())?)?;
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(FIRST);
        let offset = bound("offset", offset, i32::MAX)?.unwrap_or(0);
        let mut reader = session.read().await;
        let listed = list_runs(&mut reader, session.organization(), &filter, offset, first).await?;
        Ok(RequestDataSilosPayload {
            nodes: RunNode::all(&mut reader, session, listed.runs).await?,
            total_count: i32::try_from(listed.total).unwrap_or(i32::MAX),
        })
    }

    /// How many requests a silo has still to work on, or has worked on. Any key that is attached to the silo may ask.
    async fn list_reduced_requests_for_data_silo(
        &self,
        context: &Context<'_>,
        input: BulkCompletionReducedRequestInput,
    ) -> Result<ListReducedRequestsForDataSiloPayload, Refusal> {
        let session = Session::of(context);
        let silo = input
            .data_silo_id
            .ok_or_else(|| Refusal::client("dataSiloId is required"))?;
        let silo = DataSiloId(parse_id(&silo, "data silo")?);
        let mut reader = session.read().await;
        let organization = session.organization();
        find_silo(&mut reader, organization, silo)
            .await?
            .ok_or_else(|| Refusal::not_found("data silo"))?;
        session.caller.attached_to(silo)?;
        let total = if input.is_resolved {
            let filter = RunFilter {
                silo: Some(silo),
                statuses: RunStatus::ALL
                    .into_iter()
                    .filter(|status| status.is_terminal())
                    .collect(),
                ..RunFilter::default()
            };
            list_runs(&mut reader, organization, &filter, 0, 0).await?.total
        } else {
            count_work(&mut reader, organization, silo, input.request_type, COUNT_MAX).await?
        };
        Ok(ListReducedRequestsForDataSiloPayload {
            total_count: i32::try_from(total).unwrap_or(i32::MAX),
        })
    }
}

/// What people do to silo runs.
#[derive(Default)]
pub(crate) struct RunMutations;

#[Object]
impl RunMutations {
    /// Decides how a run stands, in the silo's place.
    async fn change_request_data_silo_status(
        &self,
        context: &Context<'_>,
        input: ChangeRequestDataSiloStatusInput,
    ) -> Result<ChangeRequestDataSiloStatusPayload, Refusal> {
        let session = Session::of(context);
        let id = read_run_id(&input.id)?;
        let mut tx = session.write().await;
        let verdict = input.status.into();
        let run = change_status(&mut tx, &session.deed(), id, verdict)
            .await
            .map_err(refusal)?;
        Ok(ChangeRequestDataSiloStatusPayload {
            request_data_silo: RunNode::one(&mut tx, session, run).await?,
            client_mutation_id: None,
        })
    }

    /// Lets it stand that a silo still holds data that it said it had erased, for a reason: the erasure counts as done. Ours.
    async fn accept_request_data_silo_contradiction(
        &self,
        context: &Context<'_>,
        input: AcceptContradictionInput,
    ) -> Result<ChangeRequestDataSiloStatusPayload, Refusal> {
        let session = Session::of(context);
        let id = read_run_id(&input.id)?;
        let reason = input.reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_MAX {
            return Err(Refusal::client(format!(
                "reason must have 1 to {REASON_MAX} characters"
            )));
        }
        let keys = session.keys().await?;
        let mut tx = session.write().await;
        let run = accept(&mut tx, &keys, &session.deed(), id, reason)
            .await
            .map_err(refusal)?;
        Ok(ChangeRequestDataSiloStatusPayload {
            request_data_silo: RunNode::one(&mut tx, session, run).await?,
            client_mutation_id: None,
        })
    }

    /// Has the silo asked again. One that still holds data that it said it had erased is to erase it again.
    async fn retry_request_data_silo(
        &self,
        context: &Context<'_>,
        id: ID,
    ) -> Result<RetryRequestDataSiloPayload, Refusal> {
        let session = Session::of(context);
        let id = read_run_id(&id)?;
        let mut tx = session.write().await;
        let run = retry(&mut tx, &session.deed(), id).await.map_err(refusal)?;
        Ok(RetryRequestDataSiloPayload {
            request_data_silo: RunNode::one(&mut tx, session, run).await?,
            client_mutation_id: None,
        })
    }
}

/// Characters of a reason at most.
const REASON_MAX: usize = 1_000;

/// Clients look for these words.
const NO_SUCH_RUN: &str = "Failed to find RequestDataSilo";

fn read_run_id(id: &ID) -> Result<RunId, Refusal> {
    id.parse().map(RunId).map_err(|_| Refusal::client(NO_SUCH_RUN))
}

fn refusal(error: RunError) -> Refusal {
    match error {
        RunError::NotFound => Refusal::client(NO_SUCH_RUN),
        RunError::Closed
        | RunError::RequestMovedOn(_)
        | RunError::Contradicted
        | RunError::NotContradicted
        | RunError::PagesEnded => Refusal::client(error.to_string()),
        failed => Problem::from(failed).into(),
    }
}

fn read_order(order: &[OrderBy]) -> Result<Order, Refusal> {
    match order.first() {
        None => Ok(Order::NewestFirst),
        Some(by) if by.field == OrderField::CreatedAt && by.model.is_none() => Ok(match by.direction {
            Direction::Asc => Order::OldestFirst,
            Direction::Desc => Order::NewestFirst,
        }),
        Some(_) => Err(Refusal::client("silo runs are ordered by createdAt first")),
    }
}

/// Which runs to list: those that every member given lets through.
#[derive(InputObject)]
struct RequestDataSiloFiltersInput {
    /// At this silo.
    data_silo_id: Option<ID>,
    /// Of this request.
    request_id: Option<ID>,
    /// With one of these statuses.
    status: Option<Vec<RunStatus>>,
    /// That look so.
    visual_status: Option<VisualStatus>,
    /// Of requests with one of these statuses.
    request_status: Option<Vec<DsrStatus>>,
    /// With files, or without.
    has_files: Option<bool>,
    /// With an identifier to look up, or without.
    has_profiles: Option<bool>,
}

impl RequestDataSiloFiltersInput {
    fn read(self, order: Order) -> Result<RunFilter, Refusal> {
        let silo = self.data_silo_id.map(|id| parse_id(&id, "data silo")).transpose()?;
        let request = self.request_id.map(|id| parse_id(&id, "request")).transpose()?;
        Ok(RunFilter {
            request: request.map(DsrId),
            silo: silo.map(DataSiloId),
            statuses: self.status.unwrap_or_default(),
            visual: self.visual_status,
            request_statuses: self.request_status.unwrap_or_default(),
            has_files: self.has_files,
            has_profiles: self.has_profiles,
            newest_only: true,
            order,
        })
    }
}

/// Whose work is counted.
#[derive(InputObject)]
struct BulkCompletionReducedRequestInput {
    /// What has been worked on, or what has not.
    is_resolved: bool,
    /// The silo.
    data_silo_id: Option<ID>,
    /// Only this action.
    request_type: Option<Action>,
    /// Read and ignored: the key says who is asking.
    #[graphql(name = "token")]
    _token: Option<String>,
    /// Read and ignored.
    #[graphql(name = "communicationId")]
    _communication_id: Option<ID>,
}

/// Why it may stay as it is.
#[derive(InputObject)]
struct AcceptContradictionInput {
    /// The run in which data turned up.
    id: ID,
    /// Why. It is kept with the personal data of the request, and deleted with it.
    reason: String,
}

/// What a person decides about a run.
#[derive(InputObject)]
struct ChangeRequestDataSiloStatusInput {
    /// The run.
    id: ID,
    /// How it stands from now on.
    status: UpdateRequestDataSiloStatus,
}

/// What a person can decide about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
enum UpdateRequestDataSiloStatus {
    /// The answer is still to come.
    Waiting,
    /// Done.
    Resolved,
    /// A person has to look.
    ActionRequired,
    /// Nothing to do.
    Skipped,
    /// Not to be done, for a reason in law.
    SkippedDueToException,
}

impl From<UpdateRequestDataSiloStatus> for Verdict {
    fn from(status: UpdateRequestDataSiloStatus) -> Verdict {
        match status {
            UpdateRequestDataSiloStatus::Waiting => Verdict::Waiting,
            UpdateRequestDataSiloStatus::Resolved => Verdict::Resolved,
            UpdateRequestDataSiloStatus::ActionRequired => Verdict::ActionRequired,
            UpdateRequestDataSiloStatus::Skipped => Verdict::Skipped,
            UpdateRequestDataSiloStatus::SkippedDueToException => Verdict::SkippedDueToException,
        }
    }
}

/// What a silo was asked about a request.
struct RunNode {
    run: SiloRun,
    visual: VisualStatus,
}

impl RunNode {
    async fn all(reader: &mut Reader, session: &Session, runs: Vec<SiloRun>) -> Result<Vec<RunNode>, Refusal> {
        let looks = look_at(reader, session.organization(), &runs).await?;
        let nodes = runs.into_iter().zip(looks);
        Ok(nodes.map(|(run, visual)| RunNode { run, visual }).collect())
    }

    async fn one(reader: &mut Reader, session: &Session, run: SiloRun) -> Result<RunNode, Refusal> {
        let mut nodes = RunNode::all(reader, session, vec![run]).await?;
        nodes.pop().ok_or_else(|| Refusal::client(NO_SUCH_RUN))
    }
}

/// What a silo was asked about a request.
#[Object(name = "RequestDataSilo")]
impl RunNode {
    /// Its id.
    async fn id(&self) -> ID {
        self.run.id.0.into()
    }

    /// How far it has come, or what keeps it from going on.
    async fn status(&self) -> VisualStatus {
        self.visual
    }

    /// What the silo is asked to do in this phase of the request.
    async fn active_type(&self) -> Action {
        self.run.action
    }

    /// When the silo was first to be asked.
    async fn created_at(&self) -> Date {
        Date(self.run.created_at)
    }

    /// Why asking failed. What silos say is about people, and is not shown here but in messages.
    async fn error(&self) -> Option<&'static str> {
        (self.run.status() == RunStatus::Error).then_some("The data silo did not accept its notices")
    }

    /// What there is to say about it.
    async fn details(&self) -> String {
        if self.run.is_contradicted() {
            return RunError::Contradicted.to_string();
        }
        let done = self
            .run
            .profiles
            .iter()
            .filter(|profile| profile.status.is_terminal())
            .count();
        format!("{done} of {} identifiers are done", self.run.profiles.len())
    }

    /// What the silo had to say to people, one for each identifier that it said something about. Null unless the key may see
    /// how requests are worked on (VIEW_REQUEST_COMPILATION).
    async fn messages(&self, context: &Context<'_>) -> Result<Option<Vec<String>>, Refusal> {
        let session = Session::of(context);
        if session.caller.require(ScopeName::ViewRequestCompilation).is_err() {
            return Ok(None);
        }
        let keys = session.keys().await?;
        let mut reader = session.read().await;
        let mut messages = Vec::new();
        for profile in &self.run.profiles {
            let opened = open_text(&mut reader, &keys, &self.run, profile.message.as_deref()).await;
            messages.extend(opened.map_err(RunError::from).map_err(refusal)?);
        }
        Ok(Some(messages))
    }

    /// An address to look at it.
    async fn link(&self, context: &Context<'_>) -> String {
        format!(
            "{}/v1/data-subject-request/{}",
            Session::of(context).app.public_url(),
            self.run.request
        )
    }

    /// The silo.
    async fn data_silo(&self, context: &Context<'_>) -> Result<SiloNode, Refusal> {
        let found = SiloNode::find(Session::of(context), self.run.silo).await?;
        found.ok_or_else(|| Refusal::not_found("data silo"))
    }

    /// The request.
    async fn request(&self, context: &Context<'_>) -> Result<RequestNode, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let found = dsr::get(&mut *session.read().await, &keys, self.run.request).await;
        Ok(RequestNode(found.map_err(RunError::from).map_err(refusal)?))
    }
}

/// A page of runs.
#[derive(SimpleObject)]
struct RequestDataSilosPayload {
    /// The page.
    nodes: Vec<RunNode>,
    /// How many there are in all.
    total_count: i32,
}

/// How much work there is.
#[derive(SimpleObject)]
struct ListReducedRequestsForDataSiloPayload {
    /// The number of requests.
    total_count: i32,
}

/// A run that a person has decided about.
#[derive(SimpleObject)]
struct ChangeRequestDataSiloStatusPayload {
    /// The run.
    request_data_silo: RunNode,
    /// Always null: this server keeps no ids of mutations.
    client_mutation_id: Option<&'static str>,
}

/// A run whose silo is asked again.
#[derive(SimpleObject)]
struct RetryRequestDataSiloPayload {
    /// The run.
    request_data_silo: RunNode,
    /// Always null: this server keeps no ids of mutations.
    client_mutation_id: Option<&'static str>,
}
