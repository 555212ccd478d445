//! `GET /v1/data-subject-request/{id}/closing-record`.

use std::collections::HashMap;

use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    AppState,
    audit::Digest,
    dsr::{self, DsrId},
    http::{Caller, Json, Path, Problem, parse_uuid, scope},
    runs::{absence, closing::ClosingRecord, store},
    silos::{self, DataSiloId},
};

/// How a request ended, and what proves it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClosingRecordOut {
    /// What each silo was asked and answered: ids, words and times, and nothing that the person is called or has.
    #[schema(value_type = Object)]
    record: Box<RawValue>,
    /// SHA-256 of `record` as it stands here, without spaces.
    #[schema(value_type = String)]
    digest: Digest,
    /// Why somebody accepted what a silo still held, as long as the personal data of the request is kept.
    accepted: Vec<AcceptedBecause>,
    /// What the silos of the record are called today.
    data_silos: Vec<SiloTitle>,
}

/// Why somebody accepted what a silo still held.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptedBecause {
    run: Uuid,
    reason: String,
}

/// A silo and its title.
#[derive(Serialize, ToSchema)]
pub(crate) struct SiloTitle {
    id: Uuid,
    /// Null once it was removed.
    title: Option<String>,
}

/// `GET /v1/data-subject-request/{id}/closing-record`: how each silo, profile and data point of a request ended, when, and on
/// whose word.
///
/// There is one as soon as the request is over, and it outlives the personal data of the request.
#[utoipa::path(
    get,
    path = "/v1/data-subject-request/{id}/closing-record",
    tag = "data subject requests",
    params(("id" = uuid::Uuid, Path, description = "The data subject request")),
    responses((status = 200, description = "The record", body = ClosingRecordOut)),
)]
pub(crate) async fn closing_record(
    State(app): State<AppState>,
    caller: Caller<scope::ViewRequests>,
    Path(id): Path<String>,
) -> Result<Json<ClosingRecordOut>, Problem> {
    let id = parse_uuid(&id).ok_or_else(|| Problem::validation([("id", "must be a UUID")]))?;
    let mut reader = app.store.begin_read().await?;
    let head = dsr::get_head(&mut reader, caller.organization, DsrId(id)).await?;
    if head.state.is_open() {
        let status = head.state.status();
        return Err(Problem::conflict_state(format!(
            "The request has no closing record while it is {status}"
        )));
    }
    let mut runs = store::list(&mut reader, caller.organization, head.id).await?;
    runs.retain(|run| run.round == head.round);
    let keys = app.keys.organization(caller.organization).await?;
    let mut accepted = Vec::new();
    for run in &runs {
        if let Some(reason) = absence::reason_of(&mut reader, &keys, run).await? {
            accepted.push(AcceptedBecause { run: run.id.0, reason });
        }
    }
    let titles: HashMap<DataSiloId, String> = silos::list_silos(&mut reader, caller.organization)
        .await?
        .into_iter()
        .map(|silo| (silo.id, silo.title))
        .collect();
    let mut named: Vec<DataSiloId> = runs.iter().map(|run| run.silo).collect();
    named.sort_unstable();
    named.dedup();
    let record = ClosingRecord::of(&head, &runs).to_json();
    Ok(Json(ClosingRecordOut {
        digest: Digest::of(record.as_bytes()),
        record: RawValue::from_string(record).map_err(|error| Problem::internal(&error))?,
        accepted,
        data_silos: named
            .into_iter()
            .map(|silo| SiloTitle {
                id: silo.0,
                title: titles.get(&silo).cloned(),
            })
            .collect(),
    }))
}
