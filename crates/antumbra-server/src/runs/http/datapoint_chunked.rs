//! `/v1/datapoint-chunked`: a silo sends a data point in pages of rows.

use axum::{extract::State, http::HeaderMap};

use super::{JSON, clear_slot, describe, receive_json, record, slot};
use crate::{
    AppState,
    files::Naming,
    http::{Caller, Digested, Json, LongJson, Problem, scope},
    runs::{
        RunError,
        model::Page,
        report::Admitted,
        store,
        wire::{self, Success, is_nothing},
    },
};

/// Characters of a page's title at most.
const TITLE_MAX: usize = 1_000;

/// `POST /v1/datapoint-chunked`: sends one page of rows of one data point.
///
/// Each page is a file of its own. A page of the same title takes the place of the earlier one, so a repeat doubles no
/// rows; after the last page there can be no other.
#[utoipa::path(
    post, path = "/v1/datapoint-chunked", tag = "Fulfilment", request_body = wire::DataPage,
    params(("x-transcend-nonce" = String, Header, description = "The nonce that came with the notice")),
    responses((status = 200, body = Success))
)]
pub(crate) async fn upload_page(
    State(app): State<AppState>,
    caller: Caller<scope::Attached>,
    headers: HeaderMap,
    Digested(LongJson(body), sent): Digested<LongJson<wire::DataPage>>,
) -> Result<Json<Success>, Problem> {
    let title = body.file_id.as_deref().map(str::trim).filter(|title| !title.is_empty());
    if title.is_some_and(|title| title.chars().count() > TITLE_MAX) {
        return Err(Problem::validation([(
            "fileId",
            format!("must have at most {TITLE_MAX} characters"),
        )]));
    }
    let admitted = Admitted::new(&app, &caller, &headers).await?;
    let mut reader = app.store.begin_read().await?;
    let point = admitted
        .data_point(&mut reader, &body.data_point_name, "dataPointName")
        .await?;
    admitted.open(&mut reader).await?;
    drop(reader);
    let received = match is_nothing(&body.data) {
        true => None,
        false => Some(receive_json(&app, &admitted, body.data.get().as_bytes().to_vec()).await?),
    };
    let mut tx = app.store.begin_write().await?;
    let mut open = admitted.open(&mut tx).await?;
    let slot = title.map(|title| slot(&admitted, &point, "page", title));
    let page = match (&received, &slot) {
        (None, _) => Page::Empty,
        (Some(_), Some(slot)) if clear_slot(&mut tx, &admitted, slot).await? => Page::Replacement,
        (Some(_), _) => Page::New,
    };
    open.profile()
        .page_came(point.id, page, body.is_last_page)
        .map_err(|_| RunError::PagesEnded)?;
    if let Some(received) = received.as_ref().filter(|_| open.keeps_data()) {
        let name = title.map(|title| format!("{title}.json"));
        let naming = name.as_deref().map_or(Naming::Numbered(&point.name), Naming::Given);
        let described = describe(&app, &admitted, &point, naming, Some(JSON));
        let file = record(&app, &mut tx, &admitted, received, described).await?;
        if let Some(slot) = &slot {
            store::put_handed_over(&mut tx, slot, Some(file.0));
        }
    }
    open.keep(&app, &mut tx, "silo_run.page_received", sent).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(Json(Success::YES))
}
