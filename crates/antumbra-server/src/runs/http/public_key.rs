//! `/public-keys/sombra-general-signing-key`: the key that receivers verify our notices with.

use axum::{
    extract::State,
    http::{HeaderName, header},
};

use crate::{AppState, http::Problem};

/// `GET /public-keys/sombra-general-signing-key`: the public half of the key that signs notices, as a PEM block.
///
/// Receivers put the body into their libraries as it is, so there is nothing else in it, whatever `Accept` says.
#[utoipa::path(
    get, path = "/public-keys/sombra-general-signing-key", tag = "Fulfilment",
    responses((status = 200, body = String, content_type = "text/plain"))
)]
pub(crate) async fn public_key(
    State(app): State<AppState>,
) -> Result<([(HeaderName, &'static str); 2], String), Problem> {
    let organization = app.first_organization().await?.id;
    let pem = app.keys.organization(organization).await?.signing.public_pem();
    Ok((
        [
            (header::CONTENT_TYPE, "text/plain"),
            (header::CACHE_CONTROL, "max-age=3600"),
        ],
        pem,
    ))
}
