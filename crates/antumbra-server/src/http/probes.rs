//! Health, liveness and readiness, for whoever watches the process.

use std::time::Duration;

use axum::extract::State;

use super::{Code, Problem};
use crate::AppState;

/// A store that has not answered by then does not serve.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// `GET /health`: the process answers.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, description = "Up", body = String)))]
pub(crate) async fn health() -> &'static str {
    "ok\n"
}

/// `GET /livez`: the process answers.
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, description = "Up", body = String)))]
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the store answers too.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, description = "Ready", body = String), (status = 503, description = "The store does not answer")))]
pub(crate) async fn readyz(State(app): State<AppState>) -> Result<&'static str, Problem> {
    let not_ready = || {
        Problem::new(Code::Unavailable)
            .saying("The store does not answer")
            .retry_after(2)
    };
    match tokio::time::timeout(STORE_ANSWERS_WITHIN, crate::api_keys::touch_store(&app)).await {
        Ok(Ok(())) => Ok("ready\n"),
        Ok(Err(_)) | Err(_) => Err(not_ready()),
    }
}
