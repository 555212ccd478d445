//! Health, liveness and readiness, for whoever watches the process.

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
