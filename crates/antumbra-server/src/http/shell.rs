//! What happens around every handler: an id for the HTTP request, who is asking, the body within its limit, a second
//! run after a write conflict, and one rendering of problems.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Limited};

use super::{
    Access, Code, Problem,
    connection::{Refusal, TooSlow},
    problem::Dialect,
};
use crate::{
    AppState,
    routes::{BodyRule, RouteFacts},
};

/// How often a handler runs before its write conflicts are reported.
const RUNS_MAX: u32 = 8;

/// The outermost layer: names the HTTP request, catches panics, renders problems.
pub(crate) async fn observe(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let id = app.ids.uuid().simple().to_string();
    let asked = accepts_problem_json(request.headers());
    if let Some(Refusal { code, reason }) = request.extensions().get() {
        return Problem::new(*code).saying(*reason).render(Dialect::Envelope, &id);
    }
    let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => Problem::new(Code::Internal).into_response(),
    };
    let mut response = render(response, asked, &id);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}

fn render(mut response: Response, asked: bool, id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let own = response.extensions().get::<Dialect>() == Some(&Dialect::ProblemJson);
    let dialect = if asked || own {
        Dialect::ProblemJson
    } else {
        Dialect::Envelope
    };
    let mut rendered = problem.render(dialect, id);
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}

fn accepts_problem_json(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .eq_ignore_ascii_case("application/problem+json")
    })
}

/// No route has this path.
pub(crate) async fn nothing_here(method: Method, _: Uri) -> Problem {
    let _ = method;
    Problem::not_found()
}

/// The path has other methods.
pub(crate) async fn wrong_method() -> Problem {
    Problem::new(Code::MethodNotAllowed)
}

/// The layer around one handler: what its line in the route table demands.
pub(crate) async fn guard(
    State((app, route)): State<(AppState, Arc<RouteFacts>)>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = admit(app, &route, request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response);
    response.extensions_mut().insert(route.dialect);
    response
}

async fn admit(app: AppState, route: &RouteFacts, mut request: Request, next: Next) -> Result<Response, Problem> {
    if !matches!(route.access, Access::Open(_)) {
        let grants = app.callers.authenticate(&app, request.headers()).await?;
        grants.admit(route.access)?;
        request.extensions_mut().insert(grants);
    }
    if route.body == BodyRule::Stream {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let body = buffer(&parts, body, app.config.limits.json_bytes).await?;
    Ok(run(&parts, body, next).await)
}

/// Runs the handler, again while its transaction meets another's.
async fn run(parts: &Parts, body: Bytes, next: Next) -> Response {
    for turn in 1.. {
        let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
        let response = next.clone().run(request).await;
        let conflict = response
            .extensions()
            .get::<Problem>()
            .is_some_and(|p| p.code() == Code::WriteConflict);
        if !conflict || turn == RUNS_MAX {
            return response;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(turn) * 3)).await;
    }
    unreachable!("the loop returns by its last turn")
}

async fn buffer(parts: &Parts, body: Body, limit: u64) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge).saying(format!("The body is larger than {limit} bytes"));
    let declared = body.size_hint().lower().max(declared_length(&parts.headers));
    if declared > limit {
        return Err(too_large());
    }
    match Limited::new(body, usize::try_from(limit).unwrap_or(usize::MAX))
        .collect()
        .await
    {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(error) if is_too_slow(&*error) => Err(Problem::new(Code::TooSlow)),
        Err(_) => Err(Problem::malformed("The body was cut off")),
    }
}

/// The body stopped arriving, somewhere below the error at hand.
fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TooSlow>() || error.source().is_some_and(is_too_slow)
}

fn declared_length(headers: &HeaderMap) -> u64 {
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or(0)
}
