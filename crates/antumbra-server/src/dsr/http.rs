//! The handlers.

mod download_file;
mod download_keys;
mod plan;

use axum::extract::State;

use super::{
    Deed, DsrError, DsrId,
    bulk::{self, Outcome},
    restart::Standing,
    wire,
};
use crate::{
    AppState,
    audit::Actor,
    http::{Caller, Code, Json, Path, Problem, parse_uuid, scope},
};

pub(crate) use download_file::{__path_download_file, download_file};
pub(crate) use download_keys::{__path_download_keys, download_keys};
pub(crate) use plan::{__path_plan, plan};

/// `POST /v1/data-subject-request`: takes a new request in and starts it.
#[utoipa::path(
    post,
    path = "/v1/data-subject-request",
    tag = "data subject requests",
    request_body = wire::Submit,
    responses((status = 200, description = "The request that was made", body = wire::Submitted)),
)]
pub(crate) async fn submit(
    State(app): State<AppState>,
    caller: Caller<scope::MakeDataSubjectRequest>,
    Json(body): Json<wire::Submit>,
) -> Result<Json<wire::Submitted>, Problem> {
    let (draft, checks) = body.read();
    let keys = app.keys.organization(caller.organization).await?;
    let mut tx = app.store.begin_write().await?;
    let settings = app.settings.get(&mut tx, caller.organization).await?;
    let configured = bulk::configured(&mut tx, caller.organization, &[&draft]).await?;
    let deed = Deed::by(&app, &caller);
    let standing = Standing::of(&mut tx, &keys, &draft).await?;
    let ready = bulk::ready(draft, &settings, &configured, standing.as_ref(), deed.now, checks)?;
    let taken = bulk::keep_one(&mut tx, &keys, &deed, &app.config.dsr, ready).await?;
    let dsr = match taken? {
        (_, Outcome::AlreadyOpen | Outcome::DropRecordsLinked) => return Err(Problem::new(Code::DuplicateRequest)),
        (dsr, Outcome::Created | Outcome::Restarted) => dsr,
    };
    tx.commit().await?;
    app.jobs.ring();
    let link = super::link(&app, dsr.head.id);
    Ok(Json(wire::Submitted::new(dsr, link)))
}

/// `POST /v1/data-subject-request-bulk`: takes up to 100 requests in, all or none of them.
///
/// One that repeats an open request is answered with that.
#[utoipa::path(
    post,
    path = "/v1/data-subject-request-bulk",
    tag = "data subject requests",
    request_body = wire::Batch,
    responses((status = 200, description = "What became of each input, in order", body = wire::BatchTaken)),
)]
pub(crate) async fn submit_bulk(
    State(app): State<AppState>,
    caller: Caller<scope::MakeDataSubjectRequest>,
    Json(body): Json<wire::Batch>,
) -> Result<Json<wire::BatchTaken>, Problem> {
    let taken = take_all(&app, &caller, body).await;
    taken.map(Json).map_err(Problem::of_many_submissions)
}

async fn take_all(
    app: &AppState,
    caller: &Caller<scope::MakeDataSubjectRequest>,
    body: wire::Batch,
) -> Result<wire::BatchTaken, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let mut tx = app.store.begin_write().await?;
    let settings = app.settings.get(&mut tx, caller.organization).await?;
    let deed = Deed::by(app, caller);
    let inputs = body.read(&settings)?;
    let ready = bulk::check_all(&mut tx, &keys, &settings, &deed, inputs).await?;
    let taken = bulk::keep_all(&mut tx, &keys, &deed, &app.config.dsr, ready).await?;
    tx.commit().await?;
    app.jobs.ring();
    let linked = taken.into_iter().map(|(dsr, outcome)| {
        let link = super::link(app, dsr.head.id);
        (dsr, outcome, link)
    });
    Ok(wire::BatchTaken::new(linked.collect(), &settings))
}

/// `GET /v1/data-subject-request/{id}`: how a request stands.
#[utoipa::path(
    get,
    path = "/v1/data-subject-request/{id}",
    tag = "data subject requests",
    params(("id" = uuid::Uuid, Path, description = "The data subject request")),
    responses((status = 200, description = "How the request stands", body = wire::Status)),
)]
pub(crate) async fn status(
    State(app): State<AppState>,
    caller: Caller<scope::ViewRequests>,
    Path(id): Path<String>,
) -> Result<Json<wire::Status>, Problem> {
    let id = id_in_path(&id)?;
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let dsr = super::get(&mut reader, &keys, id).await?;
    Ok(Json(dsr.into()))
}

/// `POST /v1/request-identifiers`: the identifiers of a request. A read, whatever its method says.
#[utoipa::path(
    post,
    path = "/v1/request-identifiers",
    tag = "data subject requests",
    request_body = wire::IdentifiersQuery,
    responses((status = 200, description = "A page of identifiers", body = wire::Identifiers)),
)]
pub(crate) async fn request_identifiers(
    State(app): State<AppState>,
    caller: Caller<scope::ViewRequestCompilation>,
    Json(query): Json<wire::IdentifiersQuery>,
) -> Result<Json<wire::Identifiers>, Problem> {
    let (id, first, offset) = query.read()?;
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let dsr = super::get(&mut reader, &keys, DsrId(id)).await?;
    Ok(Json(wire::Identifiers::page(dsr.subject.identifiers, first, offset)))
}

fn id_in_path(text: &str) -> Result<DsrId, Problem> {
    parse_uuid(text)
        .map(DsrId)
        .ok_or_else(|| Problem::validation([("id", "must be a UUID")]))
}

impl<'a> Deed<'a> {
    /// What `caller` does now.
    pub fn by<S>(app: &'a AppState, caller: &Caller<S>) -> Deed<'a> {
        Deed {
            organization: caller.organization,
            by: Actor::ApiKey(caller.key.0),
            now: app.now(caller.organization),
            ids: &app.ids,
        }
    }
}

impl From<DsrError> for Problem {
    fn from(error: DsrError) -> Problem {
        match error {
            DsrError::NotFound => Problem::not_found(),
            DsrError::Duplicate(_) => Problem::new(Code::DuplicateRequest),
            DsrError::NotApproving(_)
            | DsrError::NotStoppable(_)
            | DsrError::PastStopping(_)
            | DsrError::TooManyIdentifiers
            | DsrError::LegallyHeld
            | DsrError::PlanDiffers { .. }
            | DsrError::PlanNotApproved
            | DsrError::StillOpen(_)
            | DsrError::Shredded
            | DsrError::Ended(_)
            | DsrError::NoExtension(_)
            | DsrError::OutOfPlace(_) => Problem::conflict_state(error.to_string()),
            DsrError::Store(error) => error.into(),
            DsrError::Keys(error) => error.into(),
            DsrError::Files(error) => error.into(),
            DsrError::Sealed { .. } | DsrError::Unreadable { .. } => Problem::internal(&error),
        }
    }
}
