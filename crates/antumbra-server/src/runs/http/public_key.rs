//! `/public-keys/sombra-general-signing-key`: the key that receivers verify our notices with.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, header},
};

use crate::{AppState, http::Problem, organization::OrganizationId};

/// `GET /public-keys/sombra-general-signing-key`: the public half of the key that signs notices, as a PEM block.
///
/// Receivers put the body into their libraries as it is, so there is nothing else in it, whatever `Accept` says.
#[utoipa::path(
    get, path = "/public-keys/sombra-general-signing-key", tag = "Fulfilment",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(crate) async fn public_key(
    State(app): State<AppState>,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 2], String), Problem> {
    let organization = match known_caller(&app, &headers).await {
        Some(organization) => organization,
        None => app.first_organization().await?.id,
    };
    let pem = app.keys.organization(organization).await?.signing.public_pem();
    Ok((
        [
            (header::CONTENT_TYPE, "text/plain"),
            (header::CACHE_CONTROL, "max-age=3600"),
        ],
        pem,
    ))
}

/// Whose key a caller wants, where it says who it is. One that does not, or not rightly, is not sent away: the key is
/// public.
async fn known_caller(app: &AppState, headers: &HeaderMap) -> Option<OrganizationId> {
    headers.get(header::AUTHORIZATION)?;
    let grants = app.callers.authenticate(app, headers, None).await.ok()?;
    Some(grants.organization)
}
