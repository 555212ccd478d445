//! `/v1/datapoint`: a silo sends one file, as raw bytes.

use antumbra_store::StoreError;
use axum::{body::Body, extract::State, http::HeaderMap};

use super::{describe, record, text_header};
use crate::{
    AppState,
    files::{self, FileError, Naming, Received, Upload},
    http::{Caller, Code, Json, Problem, scope, shell::declared_length},
    runs::{
        RunError,
        report::Admitted,
        wire::{self, Success},
    },
    silos::DataPoint,
};

const DATA_POINT_NAME: &str = "x-transcend-datapoint-name";
const REMOTE_ID: &str = "x-transcend-remote-id";
const SKIP_STATUS_UPDATE: &str = "x-transcend-skip-status-update";

/// Tries at the small transaction after a long upload. The bytes are not asked for again because of a conflict.
const CONFLICTS_MAX: u32 = 32;

/// `POST /v1/datapoint`: sends one file into one data point.
///
/// The body is sealed as it arrives and never held whole. Nobody reads it before nonce, key, data point and run have been
/// found right, nor at all if it says that it is too long; cut off in the middle, it leaves nothing.
#[utoipa::path(
    post, path = "/v1/datapoint", tag = "Fulfilment",
    request_body(content = inline(wire::FileBytes), content_type = "application/octet-stream"),
    params(
        ("x-transcend-nonce" = String, Header, description = "The nonce that came with the notice"),
        ("x-transcend-datapoint-name" = String, Header, description = "The data point, by name"),
        ("x-transcend-remote-id" = Option<String>, Header,
            description = "Name of the file; the data point's with a running number, if absent"),
        ("x-transcend-skip-status-update" = Option<bool>, Header,
            description = "`true` leaves the data point open, because more files follow"),
    ),
    responses((status = 200, body = Success))
)]
pub(crate) async fn upload_file(
    State(app): State<AppState>,
    caller: Caller<scope::Attached>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Success>, Problem> {
    if text_header(&headers, "content-type").is_some_and(|kind| kind.trim_start().starts_with("multipart/")) {
        let reason = "The bytes of the file are the body, without a form around them (curl --data-binary)";
        return Err(Problem::new(Code::UnsupportedMediaType).saying(reason));
    }
    let admitted = Admitted::new(&app, &caller, &headers).await?;
    let name = text_header(&headers, DATA_POINT_NAME)
        .ok_or_else(|| Problem::validation([(DATA_POINT_NAME, "is required: the data point the file belongs to")]))?;
    let mut reader = app.store.begin_read().await?;
    let point = admitted.data_point(&mut reader, &name, DATA_POINT_NAME).await?;
    admitted.open(&mut reader).await?;
    drop(reader);
    let bytes_max = app.config.limits.datapoint_bytes;
    if bytes_max > 0 && declared_length(&headers) > bytes_max {
        return Err(FileError::TooLarge { bytes_max }.into());
    }
    let upload = Upload {
        organization: admitted.organization,
        request: admitted.nonce.request.0,
        bytes_max,
    };
    let received = files::receive(&app, upload, body.into_data_stream()).await?;
    keep_in_spite_of_conflicts(&app, &admitted, &point, &received, &headers).await?;
    app.jobs.ring();
    Ok(Json(Success::YES))
}

async fn keep_in_spite_of_conflicts(
    app: &AppState,
    admitted: &Admitted,
    point: &DataPoint,
    received: &Received,
    headers: &HeaderMap,
) -> Result<(), RunError> {
    for _ in 1..CONFLICTS_MAX {
        match keep(app, admitted, point, received, headers)
            .await
            .map_err(RunError::storage)
        {
            Ok(()) => return Ok(()),
            Err(Ok(StoreError::Conflict)) => tokio::task::yield_now().await,
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(error)) => return Err(error),
        }
    }
    keep(app, admitted, point, received, headers).await
}

async fn keep(
    app: &AppState,
    admitted: &Admitted,
    point: &DataPoint,
    received: &Received,
    headers: &HeaderMap,
) -> Result<(), RunError> {
    let mut tx = app.store.begin_write().await?;
    let mut open = admitted.open(&mut tx).await?;
    let remote_id = text_header(headers, REMOTE_ID);
    let naming = remote_id
        .as_deref()
        .map_or(Naming::Numbered(&point.name), Naming::Given);
    let content_type = text_header(headers, "content-type");
    if open.keeps_data() {
        let described = describe(app, admitted, point, naming, content_type.as_deref());
        record(app, &mut tx, admitted, received, described).await?;
    }
    let more_follow = text_header(headers, SKIP_STATUS_UPDATE).is_some_and(|flag| flag.eq_ignore_ascii_case("true"));
    open.profile().file_came(point.id, more_follow);
    open.keep(app, &mut tx, "silo_run.file_received", received.digest())
        .await?;
    Ok(tx.commit().await?)
}
