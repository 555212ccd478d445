//! What happens around every handler: an id for the HTTP request, a place among those being worked on, who is asking,
//! what they may spend, the body within its limit, a second run after a write conflict, and one rendering of problems.
//!
//! The order matters. Who is asking is known before a byte of the body is kept, so a stranger costs no memory.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Access, Code, Grants, Problem,
    budget::{self, Allowance, Budgets},
    connection::{Refusal, TooSlow},
    from_page::show_to_pages,
    metrics::Answers,
    problem::Dialect,
};
use crate::{
    AppState,
    config::Limits,
    routes::{BodyRule, RouteFacts},
};

/// How often a handler runs before its write conflict is reported.
const RUNS_MAX: u32 = 8;
/// Kept bodies are counted in units of this many bytes.
const UNIT: usize = 1024;

/// How long a body may be that a page sends: whose it is shows only when it has been read.
const FROM_PAGE_BYTES: u64 = 256 * 1024;

/// How long the body of a form may be that a person fills in on one of our own pages.
const FORM_BYTES: u64 = 16 * 1024;

/// What the HTTP requests of one process share.
pub struct Gates {
    in_flight: Semaphore,
    kept_bytes: Semaphore,
    budgets: Arc<Budgets>,
}

impl Gates {
    pub(crate) fn new(limits: &Limits) -> Gates {
        // One body of the largest size must always fit.
        let kept = limits.kept_bodies_bytes.max(limits.json_bytes);
        Gates {
            in_flight: Semaphore::new(limits.in_flight_max),
            kept_bytes: Semaphore::new(usize::try_from(kept / UNIT as u64).unwrap_or(usize::MAX) + 1),
            budgets: Arc::default(),
        }
    }
}

/// The outermost layer: names the HTTP request, catches panics, renders problems, and writes one line to the log. The
/// line has the route's template in place of the address, since addresses may name people.
pub(crate) async fn observe(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = app.ids.letters();
    let asked = accepts_problem_json(request.headers());
    let refusal = request.extensions().get::<Refusal>().copied();
    let response = match refusal {
        Some(Refusal { code, reason }) => Problem::new(code).saying(reason).into_response(),
        None => AssertUnwindSafe(next.run(request))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| {
                tracing::error!(request_id = id, "a handler panicked");
                Problem::new(Code::Internal).into_response()
            }),
    };
    let mut response = render(response, asked, &id);
    response.headers_mut().insert(
        "x-request-id",
        HeaderValue::try_from(&id).expect("letters are plain text"),
    );
    log(&response, &id, began.elapsed());
    response
}

/// Of what no route has answered.
static STRAY: LazyLock<Answers> = LazyLock::new(Answers::default);

fn log(response: &Response, id: &str, took: Duration) {
    let facts = response.extensions().get::<Arc<RouteFacts>>();
    let (method, route) = facts.map_or(("-", "-"), |facts| (facts.method.as_str(), facts.path.as_str()));
    let answers = facts.map_or(&*STRAY, |facts| &facts.answers);
    let grants = response.extensions().get::<Arc<Grants>>();
    tracing::info!(
        target: "antumbra::access",
        request_id = id,
        method = method,
        route = route,
        status = response.status().as_u16(),
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        organization = grants.map(|grants| tracing::field::display(grants.organization.0)),
        key = grants.map(|grants| tracing::field::display(grants.key.0)),
        "answered"
    );
    answers.count(method, route, response.status(), took);
}

fn render(mut response: Response, asked: bool, id: &str) -> Response {
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let facts = response.extensions().get::<Arc<RouteFacts>>();
    let own = facts.map_or(Dialect::Envelope, |facts| facts.dialect);
    let dialect = if asked { Dialect::ProblemJson } else { own };
    let mut rendered = problem.render(dialect, id);
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            rendered.headers_mut().append(name, value.clone());
        }
    }
    *rendered.extensions_mut() = std::mem::take(response.extensions_mut());
    rendered
}

fn accepts_problem_json(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut kinds = accepts
        .flat_map(|value| value.split(','))
        .filter_map(|kind| kind.split(';').next());
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case("application/problem+json"))
}

/// No route has this path.
pub(crate) async fn nothing_here() -> Problem {
    Problem::not_found()
}

/// The path has other methods; the router adds which.
pub(crate) async fn wrong_method() -> Problem {
    Problem::new(Code::MethodNotAllowed)
}

/// The layer around one handler: what its line in the route table demands.
pub(crate) async fn guard(
    State((app, route)): State<(AppState, Arc<RouteFacts>)>,
    request: Request,
    next: Next,
) -> Response {
    let mut admitted = Admitted::default();
    let answer = admit(&app, &route, request, next, &mut admitted).await;
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    match (admitted.allowance, &route.budget) {
        (Some(allowance), _) => allowance.describe(response.headers_mut()),
        (None, Some(budget)) => {
            budget::describe_nothing(budget, &app.config.limits, &app.clock, response.headers_mut());
        }
        (None, None) => {}
    }
    if route.body == BodyRule::FromPage {
        show_to_pages(&mut response);
    }
    if let Some(grants) = admitted.grants {
        response.extensions_mut().insert(grants);
    }
    response.extensions_mut().insert(route);
    response
}

/// What is known of the caller by the end, for headers and the log.
#[derive(Default)]
struct Admitted {
    grants: Option<Arc<Grants>>,
    allowance: Option<Arc<Allowance>>,
}

async fn admit(
    app: &AppState,
    route: &RouteFacts,
    mut request: Request,
    next: Next,
    admitted: &mut Admitted,
) -> Result<Response, Problem> {
    let limits = &app.config.limits;
    // Our own few routes are for watching the server, most of all when it has too much to do.
    let own = route.dialect == Dialect::ProblemJson;
    let _place = if own || route.seated {
        None
    } else {
        Some(app.gates.in_flight.try_acquire().map_err(|_| overloaded(app))?)
    };
    if !matches!(route.access, Access::Open(_)) {
        let grants = Grants::of(app, request.headers(), request.extensions()).await?;
        admitted.grants = Some(grants.clone());
        if let Some(budget) = &route.budget {
            let allowance = app
                .gates
                .budgets
                .allowance(budget, &grants, limits, &app.clock)
                .map(Arc::new);
            admitted.allowance.clone_from(&allowance);
            if let Some(allowance) = allowance {
                allowance.begin()?;
                request.extensions_mut().insert(allowance);
            }
        }
        grants.admit(route.access)?;
        request.extensions_mut().insert(grants);
    }
    if route.body == BodyRule::Stream {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let limit = match route.body {
        BodyRule::FromPage => FROM_PAGE_BYTES,
        BodyRule::Form => FORM_BYTES,
        _ if is_form(&parts.headers) => limits.form_bytes,
        _ => limits.json_bytes,
    };
    let (body, _kept) = keep(app, &parts, body, limit).await?;
    Ok(run(app, parts, body, next).await)
}

fn overloaded(app: &AppState) -> Problem {
    ::metrics::counter!("antumbra_http_overloaded_total").increment(1);
    Problem::new(Code::Overloaded).retry_after(1 + app.ids.below(5))
}

/// Runs the handler, again while its transaction meets another's.
async fn run(app: &AppState, parts: Parts, body: Bytes, next: Next) -> Response {
    let mut turn = 1;
    loop {
        let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
        let response = next.clone().run(request).await;
        let problem = response.extensions().get::<Problem>();
        if problem.is_none_or(|problem| !problem.code().is_worth_another_run()) || turn == RUNS_MAX {
            return response;
        }
        ::metrics::counter!("antumbra_http_reruns_total").increment(1);
        // Whoever met once would meet again if both waited equally long.
        tokio::time::sleep(Duration::from_millis(u64::from(app.ids.below(1 << turn)))).await;
        turn += 1;
    }
}

/// Takes in a whole body, within the route's limit and within what all bodies may take together. What it returns beside
/// the bytes is the body's share of that, to be held as long as they are.
async fn keep<'a>(
    app: &'a AppState,
    parts: &Parts,
    mut body: Body,
    limit: u64,
) -> Result<(Bytes, Vec<tokio::sync::SemaphorePermit<'a>>), Problem> {
    let too_large = || Problem::new(Code::BodyTooLarge).saying(format!("The body is larger than {limit} bytes"));
    if body.size_hint().lower().max(declared_length(&parts.headers)) > limit {
        return Err(too_large());
    }
    let (mut first, mut rest, mut shares, mut counted) = (None, BytesMut::new(), Vec::new(), 0);
    let mut length: u64 = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| body_problem(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length > limit {
            return Err(too_large());
        }
        let units = usize::try_from(length).unwrap_or(usize::MAX).div_ceil(UNIT);
        let more = u32::try_from(units - counted).unwrap_or(u32::MAX);
        shares.push(
            app.gates
                .kept_bytes
                .try_acquire_many(more)
                .map_err(|_| overloaded(app))?,
        );
        counted = units;
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(earlier) => {
                rest.reserve(
                    usize::try_from(declared_length(&parts.headers))
                        .unwrap_or(0)
                        .min(1 << 20),
                );
                rest.extend_from_slice(&earlier);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok((first.unwrap_or_else(|| rest.freeze()), shares))
}

/// The body stopped arriving, or was cut off; which one lies somewhere below the error at hand.
fn body_problem(error: &axum::Error) -> Problem {
    fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
        error.is::<TooSlow>() || error.source().is_some_and(is_too_slow)
    }
    if is_too_slow(error) {
        Problem::new(Code::TooSlow)
    } else {
        Problem::malformed("The body was cut off")
    }
}

/// The length of the body as its head states it; 0 where it does not.
pub(crate) fn declared_length(headers: &HeaderMap) -> u64 {
    let value = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    value.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn is_form(headers: &HeaderMap) -> bool {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    let kind = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let kind = kind.trim_ascii_start();
    kind.get(..FORM.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(FORM))
}
