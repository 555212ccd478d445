//! `GET /v1/files`.

use axum::{extract::State, http::HeaderMap, response::Response};

use crate::{
    AppState,
    dsr::{DsrError, DsrId, get_head},
    files,
    http::{Caller, Problem, Query, scope},
};

/// `GET /v1/files`: the bytes of one file, checked before they leave.
///
/// A key opens nothing once its request has ceased to show files, however long it would have lasted.
#[utoipa::path(
    get,
    path = "/v1/files",
    params(
        ("downloadKey" = String, Query, description = "From the list of download keys; `key` is another name for it"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
    ),
    responses(
        (status = 200, description = "The bytes of the file", content_type = "application/octet-stream"),
        (status = 206, description = "The range that was asked for", content_type = "application/octet-stream"),
        (status = 304, description = "The file is the one that the client has"),
        (status = 400, description = "The download key is missing, malformed, foreign or no longer valid"),
        (status = 416, description = "The range lies outside the file"),
    )
)]
pub(crate) async fn download_file(
    State(app): State<AppState>,
    caller: Caller<scope::AnyKey>,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let key = files::read_download_key(&keys, &query, app.now(caller.organization))?;
    let mut reader = app.store.begin_read().await?;
    let shown = match get_head(&mut reader, caller.organization, DsrId(key.request())).await {
        Err(DsrError::NotFound) => false,
        head => head?.shows_files(app.now(caller.organization)),
    };
    match shown {
        true => files::download(&app, reader, &keys, &key, &headers).await,
        false => Err(files::no_longer_available()),
    }
}
