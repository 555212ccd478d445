//! `POST /v1/data-subject-request/{id}/plan`.

use axum::extract::State;

use super::id_in_path;
use crate::{
    AppState,
    dsr::{
        self, DsrError,
        plan::{self, Configured},
        wire,
    },
    http::{Caller, Json, NoBody, Path, Problem, scope},
    silos,
};

/// `POST /v1/data-subject-request/{id}/plan`: what will be asked of which data silo, who is left out and why.
///
/// It changes nothing, whatever its method says. `approveRequestPlan` and `approveRequest` take its hash, and a request whose
/// plan has another hash when its silos are about to be asked is parked instead.
#[utoipa::path(
    post,
    path = "/v1/data-subject-request/{id}/plan",
    tag = "data subject requests",
    params(("id" = uuid::Uuid, Path, description = "The data subject request")),
    responses((status = 200, description = "What is planned", body = wire::Plan)),
)]
pub(crate) async fn plan(
    State(app): State<AppState>,
    caller: Caller<scope::ViewRequests>,
    Path(id): Path<String>,
    _: NoBody,
) -> Result<Json<wire::Plan>, Problem> {
    let id = id_in_path(&id)?;
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let dsr = dsr::get(&mut reader, &keys, id).await?;
    if !dsr.head.state.is_open() {
        return Err(DsrError::Ended(dsr.head.state.status()).into());
    }
    let silos = silos::list_silos(&mut reader, caller.organization).await?;
    let configured = Configured::read(&mut reader, caller.organization, &silos).await?;
    let planned = plan::draw(&mut reader, &dsr, &configured).await?;
    Ok(Json(wire::Plan::new(&dsr, &planned, &configured)))
}
