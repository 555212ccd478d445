//! `GET /v1/data-subject-request/{id}/report`.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{contents::Contents, send};
use crate::{
    AppState,
    dsr::{self, DsrHead, DsrId},
    files,
    http::{Caller, Path, Problem, parse_uuid, scope},
    keyring::OrganizationKeys,
};

use std::sync::Arc;

/// `GET /v1/data-subject-request/{id}/report`: everything that silos handed over, as one ZIP archive with an index.
///
/// Its length is not known before it is sent. A file that turns out to be damaged breaks the answer off.
#[utoipa::path(
    get,
    path = "/v1/data-subject-request/{id}/report",
    tag = "data subject requests",
    params(("id" = uuid::Uuid, Path, description = "The data subject request")),
    responses(
        (status = 200, description = "The archive", content_type = "application/zip"),
        (status = 400, description = "The files of the request are no longer available"),
    ),
)]
pub(crate) async fn download_report(
    State(app): State<AppState>,
    caller: Caller<scope::ViewRequestCompilation>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parse_uuid(&id).ok_or_else(|| Problem::validation([("id", "must be a UUID")]))?;
    let keys = app.keys.organization(caller.organization).await?;
    let now = app.now(caller.organization);
    let mut reader = app.store.begin_read().await?;
    let head = dsr::get_head(&mut reader, caller.organization, DsrId(id)).await?;
    if head.shredded_at.is_some() || (head.state.shows_files() && !head.shows_files(now)) {
        return Err(files::no_longer_available());
    }
    if !head.state.shows_files() {
        let status = head.state.status();
        return Err(Problem::conflict_state(format!(
            "The request has no report while it is {status}"
        )));
    }
    let contents = gather(&app, &mut reader, &keys, &head).await?;
    drop(reader);
    Ok(archive(app, keys, contents))
}

/// What the report of `head` consists of.
pub(super) async fn gather(
    app: &AppState,
    reader: &mut antumbra_store::Reader,
    keys: &OrganizationKeys,
    head: &DsrHead,
) -> Result<Contents, Problem> {
    let settings = app.settings.get(reader, keys.organization).await?;
    let name = &settings.organization.name;
    Ok(Contents::gather(reader, keys, head, name, app.now(keys.organization)).await?)
}

/// The archive as an answer, with a name that tells nothing about the person.
pub(super) fn archive(app: AppState, keys: Arc<OrganizationKeys>, contents: Contents) -> Response {
    let name = format!("attachment; filename=\"report-{}.zip\"", contents.request.id);
    let fixed = HeaderValue::from_static;
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, fixed("application/zip")),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::try_from(name).expect("an id is plain text"),
        ),
        (header::CACHE_CONTROL, fixed("private, no-store")),
        (header::REFERRER_POLICY, fixed("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        (header::CONTENT_SECURITY_POLICY, fixed("sandbox; default-src 'none'")),
    ]);
    (headers, Body::from_stream(send::archive(app, keys, contents))).into_response()
}
