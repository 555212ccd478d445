//! Routes that pages in browsers call, from whatever origin: what a browser wants to see before it shows a page the
//! answer.
//!
//! No cookie and no other credential of a browser counts on these routes, so there is nothing that a page could misuse,
//! and every origin may read the answer, a refusal too.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::Problem;

/// How long a browser may remember what it was told of a route, in seconds.
const REMEMBERED: &str = "86400";

/// Lets every page read an answer, and no cache keep it. A refusal is put as one of the few statuses that the pages'
/// programs know.
pub(crate) fn show_to_pages(response: &mut Response) {
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => {
            let plain = problem.in_few_statuses();
            *response.status_mut() = plain.code().row().0;
            response.extensions_mut().insert(plain);
        }
        // Where there is a problem, whoever renders it says the same.
        None => {
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
    let everyone = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, everyone);
}

/// The answer to a browser that asks which methods and headers a page may use.
pub(crate) fn preflight(methods: &'static str, headers: &'static str) -> Response {
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods)),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(headers)),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED)),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}
