//! `POST /v1/enrich-identifiers`: what an enricher found, or what a person decided in its place.

use antumbra_store::Reader;
use axum::{extract::State, http::HeaderMap};

use super::{
    PreflightError,
    answer::{open_head, take},
    model::Preflight,
    nonce::Addressed,
    store,
    wire::{self, Enriched},
};
use crate::{
    AppState,
    dsr::{self, Deed, DsrError},
    http::{Caller, Json, Problem, scope},
};

/// `POST /v1/enrich-identifiers`: hands over identifiers that were found about a person, or stops the request.
///
/// What is found counts as verified, and what the request has already is not added again. The preflight is done with that: a
/// second call is refused with 409. An empty object says that there is nothing to add.
#[utoipa::path(
    post, path = "/v1/enrich-identifiers", tag = "Fulfilment", request_body = wire::Enrichment,
    params(
        ("x-transcend-nonce" = Option<String>, Header, description = "The nonce that came with the webhook"),
        ("x-transcend-request-id" = Option<uuid::Uuid>, Header, description = "In place of the nonce: the data subject request"),
        ("x-transcend-enricher-id" = Option<uuid::Uuid>, Header, description = "In place of the nonce: the enricher"),
    ),
    responses((status = 200, body = wire::Enriched))
)]
pub(crate) async fn enrich_identifiers(
    State(app): State<AppState>,
    caller: Caller<scope::ManageRequestIdentities>,
    headers: HeaderMap,
    Json(body): Json<wire::Enrichment>,
) -> Result<Json<Enriched>, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let addressed = Addressed::from_headers(&keys, &headers)?;
    let deed = Deed::by(&app, &caller);
    let mut tx = app.store.begin_write().await?;
    let settings = app.settings.get(&mut tx, caller.organization).await?;
    let answer = body.read(&settings).map_err(Problem::validation)?;
    let mut runs = find_open(&mut tx, &deed, addressed).await?;
    take(&mut tx, &keys, &deed, &mut runs, answer).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(Json(Enriched::YES))
}

/// The runs that an answer is about, as far as they are open. Refuses where there are none.
async fn find_open(
    reader: &mut Reader,
    deed: &Deed<'_>,
    addressed: Addressed,
) -> Result<Vec<Preflight>, PreflightError> {
    let request = match addressed {
        Addressed::Run(request, _) | Addressed::Enricher(request, _) => request,
    };
    let head = match dsr::get_head(reader, deed.organization, request).await {
        Err(DsrError::NotFound) => return Err(PreflightError::NotFound),
        head => head?,
    };
    let mut runs = store::list(reader, deed.organization, request, head.round).await?;
    runs.retain(|run| match addressed {
        Addressed::Run(_, id) => run.id == id,
        Addressed::Enricher(_, enricher) => run.enricher == enricher,
    });
    if runs.is_empty() {
        // A nonce of a round that is over names a run that there was; two ids may never have had one.
        return Err(match addressed {
            Addressed::Run(..) => PreflightError::Resolved,
            Addressed::Enricher(..) => PreflightError::NotFound,
        });
    }
    runs.retain(Preflight::is_open);
    if runs.is_empty() {
        return Err(PreflightError::Resolved);
    }
    open_head(reader, deed, request).await?;
    Ok(runs)
}
