//! What the shell does around handlers, shown on handlers made for it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use antumbra_store::StoreError;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Query, Request},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Notify;
use tower::ServiceExt;
use utoipa_axum::routes;

use super::*;
use crate::{
    AppState, ServerConfig,
    api_keys::ScopeName,
    config::RateProfile,
    routes::{Route, any_key, budgets, mount, open, scope},
    testing,
};

/// Conflicts as often as the query says, then answers with the body.
#[utoipa::path(post, path = "/contended")]
async fn contended(Query(times): Query<Times>, body: String) -> Result<String, Problem> {
    let turn = TURN.with(|turn| turn.fetch_add(1, Ordering::SeqCst));
    if turn < times.times {
        Err(StoreError::Conflict.into())
    } else {
        Ok(body)
    }
}

#[derive(serde::Deserialize)]
struct Times {
    times: u32,
}

thread_local! {
    /// Each test runs on a thread of its own.
    static TURN: AtomicU32 = const { AtomicU32::new(0) };
    static HOLD: Arc<Notify> = Arc::new(Notify::new());
}

#[utoipa::path(get, path = "/broken")]
async fn broken() -> String {
    panic!("ada@example.com")
}

#[utoipa::path(get, path = "/unstored")]
async fn unstored() -> Result<String, Problem> {
    let source = std::io::Error::other("the disk of ada@example.com").into();
    Err(StoreError::Unavailable {
        doing: "a read",
        source,
    }
    .into())
}

#[utoipa::path(get, path = "/held")]
async fn held() -> &'static str {
    let hold = HOLD.with(Arc::clone);
    hold.notified().await;
    "held"
}

#[utoipa::path(put, path = "/records")]
async fn records(
    caller: Caller<scope::ManageStoredPreferences>,
    JsonOrList(records): JsonOrList<Vec<u8>>,
) -> Result<String, Problem> {
    caller.spend(records.len())?;
    caller.spend(records.len())?;
    Ok(String::new())
}

#[utoipa::path(get, path = "/calls")]
async fn calls(_caller: Caller) -> &'static str {
    "called"
}

#[utoipa::path(get, path = "/forgotten")]
async fn forgotten(_caller: Caller) -> &'static str {
    "its line in the table is open, though it asks for a caller"
}

fn table() -> Vec<Route> {
    vec![
        open(routes!(contended), "test"),
        open(routes!(broken), "test"),
        open(routes!(unstored), "test"),
        open(routes!(held), "test"),
        open(routes!(forgotten), "test"),
        scope(routes!(records), ScopeName::ManageStoredPreferences).budget(budgets::PREFERENCES_UPSERT),
        any_key(routes!(calls)).budget(budgets::DSR),
    ]
}

struct Bench {
    app: AppState,
    router: Router,
    key: String,
    _place: testing::Place,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut ServerConfig)) -> Bench {
        let place = testing::Place::fresh();
        let mut config = ServerConfig::default();
        change(&mut config);
        let world = testing::world(&place, "2026-03-02T10:00:15Z").await;
        let app = AppState::new(config, world);
        let organization = app.world.first_organization().await.unwrap().id;
        let key = testing::admin_key(&app, organization).await;
        Bench {
            router: mount(app.clone(), table()),
            app,
            key,
            _place: place,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.key));
        Answer::read(
            self.router
                .clone()
                .oneshot(request.body(body.into()).unwrap())
                .await
                .unwrap(),
        )
        .await
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    async fn read(response: Response) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer {
            status,
            headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap();
        body["code"].as_str().unwrap().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

#[tokio::test]
async fn a_handler_that_conflicts_runs_again_with_the_same_body() {
    let bench = Bench::new(|_| ()).await;
    let answer = bench.ask("POST", "/contended?times=7", "the body").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "the body"));
}

#[tokio::test]
async fn a_handler_that_always_conflicts_is_given_up_with_a_hint_to_come_back() {
    let bench = Bench::new(|_| ()).await;
    let answer = bench.ask("POST", "/contended?times=1000", "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "BUSY"));
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(TURN.with(|turn| turn.load(Ordering::SeqCst)), 8);
}

#[tokio::test]
async fn a_panic_is_an_answer_that_tells_nothing() {
    let bench = Bench::new(|_| ()).await;
    let answer = bench.ask("GET", "/broken", "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "INTERNAL"));
    assert!(!answer.text.contains("ada"));
    assert_eq!(answer.header("x-request-id").len(), 20);
}

#[tokio::test]
async fn storage_that_does_not_do_its_part_is_called_by_its_name() {
    let bench = Bench::new(|_| ()).await;
    let answer = bench.ask("GET", "/unstored", "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (502, "STORAGE_UNAVAILABLE")
    );
    assert!(
        !answer.text.to_lowercase().contains("an upstream"),
        "nobody else has issues"
    );
    assert!(!answer.text.contains("ada") && !answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn a_handler_that_asks_for_a_caller_on_an_open_line_answers_nobody() {
    let bench = Bench::new(|_| ()).await;
    assert_eq!(bench.ask("GET", "/forgotten", "").await.status, 500);
}

#[tokio::test]
async fn too_much_at_once_is_refused_at_once() {
    let bench = Bench::new(|config| {
        config.limits.in_flight_max = 1;
        config.limits.budgets = [("dsr".into(), 7)].into();
    })
    .await;
    let hold = HOLD.with(Arc::clone);
    let second = async {
        let refused = bench.ask("GET", "/calls", "").await;
        hold.notify_one();
        refused
    };
    let (first, second) = tokio::join!(bench.ask("GET", "/held", ""), second);
    assert_eq!(first.status, 200);
    assert_eq!((second.status.as_u16(), second.code().as_str()), (429, "OVERLOADED"));
    assert!((1..=5).contains(&second.header("retry-after").parse::<u32>().unwrap()));
    assert_eq!(
        (
            second.header("x-ratelimit-limit"),
            second.header("x-ratelimit-remaining"),
            second.header("x-ratelimit-reset")
        ),
        ("7", "0", "45"),
        "for now there is nothing to spend"
    );
    assert_eq!(
        bench.ask("GET", "/calls", "").await.status,
        200,
        "and again, as soon as there is room"
    );
}

#[tokio::test]
async fn bodies_are_bounded_each_and_all_together() {
    let bench = Bench::new(|config| {
        config.limits.json_bytes = 10_000;
        config.limits.form_bytes = 1_000;
        config.limits.kept_bodies_bytes = 0;
    })
    .await;
    let at = |length: usize| "x".repeat(length);
    assert_eq!(bench.ask("POST", "/contended?times=0", at(10_000)).await.status, 200);
    let refused = bench.ask("POST", "/contended?times=0", at(10_001)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (413, "BODY_TOO_LARGE")
    );
    assert!(refused.text.contains("The body is larger than 10000 bytes"));
    let pieces = || futures_util::stream::iter((0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1000]))));
    let streamed = bench
        .ask("POST", "/contended?times=0", Body::from_stream(pieces()))
        .await;
    assert_eq!(streamed.status, 413, "whether its length was declared or not");
    let form = Request::builder()
        .method("POST")
        .uri("/contended?times=0")
        .header("content-type", "application/x-www-form-urlencoded");
    let form = form.body(Body::from(at(1_001))).unwrap();
    assert_eq!(bench.router.clone().oneshot(form).await.unwrap().status(), 413);
}

#[tokio::test]
async fn without_a_budget_nothing_is_said_of_one() {
    let bench = Bench::new(|_| ()).await;
    let answer = bench.ask("GET", "/calls", "").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("x-ratelimit"))
    );
}

#[tokio::test]
async fn a_budget_of_calls_is_on_every_answer_and_ends_in_429() {
    let bench = Bench::new(|config| config.limits.budgets = [("dsr".into(), 2)].into()).await;
    for left in ["1", "0"] {
        let answer = bench.ask("GET", "/calls", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            (
                answer.header("x-ratelimit-limit"),
                answer.header("x-ratelimit-remaining")
            ),
            ("2", left)
        );
        assert_eq!(answer.header("x-ratelimit-reset"), "45", "seconds, on these routes");
    }
    let answer = bench.ask("GET", "/calls", "").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "RATE_LIMITED"));
    assert_eq!(
        (answer.header("retry-after"), answer.header("x-ratelimit-remaining")),
        ("45", "0")
    );
    bench.app.clock.advance(std::time::Duration::from_secs(45));
    assert_eq!(
        bench.ask("GET", "/calls", "").await.header("x-ratelimit-remaining"),
        "1"
    );
}

#[tokio::test]
async fn a_stranger_is_told_the_budget_of_a_route_and_spends_nothing_of_it() {
    let mut bench = Bench::new(|config| config.limits.profile = RateProfile::Vendor).await;
    let key = std::mem::replace(&mut bench.key, "ant_nobody".to_owned());
    let limits = |answer: &Answer| {
        ["limit", "remaining", "reset"].map(|name| answer.header(&format!("x-ratelimit-{name}")).to_owned())
    };
    let answer = bench.ask("GET", "/calls", "").await;
    assert_eq!(answer.status, 401);
    assert_eq!(limits(&answer), ["1000", "0", "45"]);
    let answer = bench.ask("PUT", "/records", "[1]").await;
    assert_eq!(answer.status, 401);
    assert_eq!(limits(&answer), ["10000", "0", "2026-03-02T10:01:00.000Z"]);
    bench.key = key;
    assert_eq!(limits(&bench.ask("GET", "/calls", "").await)[1], "999");
}

#[tokio::test]
async fn a_budget_of_records_counts_them_once_and_writes_its_reset_as_an_instant() {
    let bench = Bench::new(|config| config.limits.profile = RateProfile::Vendor).await;
    let answer = bench.ask("PUT", "/records", "[1,2,3]").await;
    assert_eq!(answer.header("x-ratelimit-limit"), "10000");
    assert_eq!(
        answer.header("x-ratelimit-remaining"),
        "9997",
        "though the handler said it twice"
    );
    assert_eq!(answer.header("x-ratelimit-reset"), "2026-03-02T10:01:00.000Z");
    let all = serde_json::to_string(&vec![1; 9_997]).unwrap();
    assert_eq!(bench.ask("PUT", "/records", all).await.status, 200);
    assert_eq!(bench.ask("PUT", "/records", "[1]").await.status, 429);
}

#[tokio::test]
async fn a_call_that_wants_more_records_than_remain_takes_none() {
    let bench = Bench::new(|config| config.limits.budgets = [("preferences_upsert".into(), 5)].into()).await;
    assert_eq!(bench.ask("PUT", "/records", "[1,2,3]").await.status, 200);
    assert_eq!(bench.ask("PUT", "/records", "[1,2,3]").await.status, 429);
    let answer = bench.ask("PUT", "/records", "[1,2]").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("x-ratelimit-remaining")),
        (200, "0")
    );
}

#[tokio::test]
async fn what_is_not_there_says_so_in_both_dialects() {
    let bench = Bench::new(|_| ()).await;
    let missing = bench.ask("GET", "/v1/nothing", "").await;
    assert_eq!((missing.status.as_u16(), missing.code().as_str()), (404, "NOT_FOUND"));
    let wrong = bench.ask("DELETE", "/records", "").await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.code().as_str()),
        (405, "METHOD_NOT_ALLOWED")
    );
    assert_eq!(wrong.header("allow"), "PUT");
    let options = bench.ask("OPTIONS", "/records", "").await;
    assert_eq!(options.status, 405);
    assert!(
        options
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("access-control"))
    );
    let asked = Request::builder()
        .uri("/v1/nothing")
        .header("accept", "text/html, Application/Problem+JSON;q=0.9");
    let asked = bench
        .router
        .clone()
        .oneshot(asked.body(Body::empty()).unwrap())
        .await
        .unwrap();
    let asked = Answer::read(asked).await;
    assert_eq!(asked.header("content-type"), "application/problem+json");
    assert!(
        asked.text.starts_with(r#"{"type":"urn:antumbra:problem:not-found""#),
        "{}",
        asked.text
    );
}
