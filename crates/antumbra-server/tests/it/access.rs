//! Who may come in: a matrix over the route table, and the life of a key.

use std::{fmt::Write, time::Duration};

use antumbra_server::{
    ServerConfig,
    api_keys::{self, ApiKeyInput, Foreign, ScopeName, internal_key_hash},
    audit::Actor,
    http::Access,
    routes::{self, RouteFacts},
    silos::DataSiloId,
};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::support::{TestServer, key_input};

const PREFIX: &str = "Client error: ";

/// An id that nobody has, for every parameter of a path.
pub fn path_of(route: &RouteFacts) -> String {
    let parts = route.path.split('/').map(|part| match part {
        "{type}" => "ACCESS",
        "{partition}" => "no-such-partition",
        "{file}" => "index.html",
        part if part.starts_with('{') => "0196b3a0-0000-7000-8000-00000000dead",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

async fn ask(server: &TestServer, route: &RouteFacts, headers: &[(&str, &str)]) -> Response {
    let mut request = server
        .client()
        .request(route.method.clone(), server.url(&path_of(route)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if route.method != reqwest::Method::GET {
        request = request.header("content-type", "application/json").body("{}");
    }
    request.send().await.unwrap()
}

async fn ask_as(server: &TestServer, route: &RouteFacts, key: &str) -> Response {
    ask(server, route, &[("authorization", &format!("Bearer {key}"))]).await
}

pub fn guarded() -> Vec<RouteFacts> {
    routes::list()
        .into_iter()
        .filter(|route| !matches!(route.access, Access::Open(_)))
        .collect()
}

/// Many wrong keys from one address are the point here.
fn patient() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.limits.failed_keys_per_minute = 1_000_000.try_into().unwrap();
    config
}

/// The code and the message, in whichever dialect the route speaks.
pub async fn refusal(answer: Response) -> (String, String) {
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let error = &body["errors"][0];
    let (code, message) = match error["extensions"]["code"].is_string() {
        true => (&error["extensions"]["code"], &error["message"]),
        false => (&body["code"], &body["message"]),
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(code), text(message))
}

async fn assert_refused(answer: Response, status: StatusCode, code: &str, case: &str) {
    assert_eq!(answer.status(), status, "{case}");
    let (found, message) = refusal(answer).await;
    assert_eq!(found, code, "{case}");
    assert!(message.starts_with(PREFIX), "{case}: {message}");
}

#[tokio::test]
async fn no_route_lets_a_stranger_in() {
    let server = TestServer::with(patient()).await;
    let (revoked_id, revoked) = server.make_key(server.organization, full_admin()).await;
    let (_, expired) = server
        .make_key(
            server.organization,
            ApiKeyInput {
                expires_at: Some(server.clock.now() + Duration::from_secs(60)),
                ..full_admin()
            },
        )
        .await;
    api_keys::revoke(server.app(), server.organization, Actor::Operator, revoked_id)
        .await
        .unwrap();
    server.clock.advance(Duration::from_secs(61));
    let good = server.key(&[ScopeName::FullAdmin]).await;
    let mut typo = good.clone();
    typo.replace_range(20..21, if &good[20..21] == "x" { "y" } else { "x" });
    let strangers: Vec<(&str, Option<String>)> = vec![
        ("no key", None),
        ("empty header", Some(String::new())),
        ("no scheme", Some(good.clone())),
        ("another scheme", Some(format!("Basic {good}"))),
        ("scheme without a key", Some("Bearer ".to_owned())),
        ("one character wrong", Some(format!("Bearer {typo}"))),
        ("cut short", Some(format!("Bearer {}", &good[..good.len() - 1]))),
        ("one more character", Some(format!("Bearer {good}0"))),
        (
            "unknown, of ours",
            Some(format!("Bearer {}", antumbra_crypto::api_key::ApiKey::mint().expose())),
        ),
        (
            "unknown, foreign",
            Some("Bearer 0123456789abcdef0123456789abcdef".to_owned()),
        ),
        ("too short", Some("Bearer short".to_owned())),
        ("revoked", Some(format!("Bearer {revoked}"))),
        ("expired", Some(format!("Bearer {expired}"))),
    ];
    let mut cases = 0;
    for route in guarded() {
        for (name, value) in &strangers {
            let headers: Vec<(&str, &str)> = value.iter().map(|value| ("authorization", value.as_str())).collect();
            let case = format!("{} {} with {name}", route.method, route.path);
            assert_refused(
                ask(&server, &route, &headers).await,
                StatusCode::UNAUTHORIZED,
                "UNAUTHENTICATED",
                &case,
            )
            .await;
            cases += 1;
        }
    }
    assert_eq!(cases, guarded().len() * strangers.len());
}

#[tokio::test]
async fn each_scope_opens_its_routes_and_no_other() {
    let server = TestServer::with(patient()).await;
    for scope in ScopeName::ALL {
        let key = server.key(&[scope]).await;
        let held = api_keys::ScopeSet::implied_by([scope]);
        for route in guarded() {
            let Access::Scope(wanted) = route.access else { continue };
            let answer = ask_as(&server, &route, &key).await;
            let case = format!("{} {} with {}", route.method, route.path, scope.as_str());
            if held.holds(wanted) {
                assert!(
                    ![401, 403].contains(&answer.status().as_u16()),
                    "{case}: {}",
                    answer.status()
                );
            } else {
                assert_eq!(answer.status(), 403, "{case}");
                let (code, message) = refusal(answer).await;
                assert_eq!(code, "ACCESS_DENIED", "{case}");
                assert!(
                    message.contains(wanted.title()) && message.contains("Full Admin"),
                    "{case}: {message}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_id_that_nobody_has_gets_one_answer_from_every_organization() {
    let server = TestServer::with(patient()).await;
    let other = server.another_organization().await;
    let (_, theirs) = server.make_key(other, full_admin()).await;
    let ours = server.key(&[ScopeName::FullAdmin]).await;
    for route in guarded().into_iter().filter(|route| route.path.contains('{')) {
        let (to_us, to_them) = (
            ask_as(&server, &route, &ours).await,
            ask_as(&server, &route, &theirs).await,
        );
        assert_eq!(to_us.status(), to_them.status(), "{} {}", route.method, route.path);
    }
}

#[tokio::test]
async fn without_a_nonce_nobody_answers_for_an_integration() {
    let server = TestServer::with(patient()).await;
    let elsewhere = DataSiloId(server.app().ids.uuid());
    let key = server.key_for(&[], &[elsewhere]).await;
    for route in guarded().into_iter().filter(|route| route.access == Access::Attached) {
        let answer = ask_as(&server, &route, &key).await;
        // These routes cannot even tell which integration is meant. With a nonce: `runs.rs` and `tenants.rs`.
        assert!(
            answer.status().is_client_error(),
            "{} {}: {}",
            route.method,
            route.path,
            answer.status()
        );
    }
}

#[tokio::test]
async fn the_internal_key_is_asked_for_where_it_is_set_and_ignored_where_not() {
    let internal = "c29tYnJhIGludGVybmFsIGtleQ==";
    let config = ServerConfig {
        internal_key_hash: Some(internal_key_hash(internal)),
        ..patient()
    };
    let server = TestServer::with(config).await;
    let key = server.key(&[ScopeName::FullAdmin]).await;
    let bearer = format!("Bearer {key}");
    let good = format!("Bearer {internal}");
    for route in guarded() {
        let case = format!("{} {}", route.method, route.path);
        for wrong in [None, Some(""), Some("Bearer "), Some("Bearer d3Jvbmc="), Some(internal)] {
            let mut headers = vec![("authorization", bearer.as_str())];
            headers.extend(wrong.map(|wrong| ("x-sombra-authorization", wrong)));
            let answer = ask(&server, &route, &headers).await;
            assert_eq!(answer.status(), 401, "{case} with {wrong:?}");
            let body = answer.text().await.unwrap();
            assert!(
                body.contains("x-sombra-authorization"),
                "the answer says which header is at fault: {body}"
            );
        }
        for name in ["x-sombra-authorization", "X-Sombra-Authentication"] {
            let answer = ask(&server, &route, &[("authorization", &bearer), (name, &good)]).await;
            assert_ne!(answer.status(), 401, "{case} with {name}");
        }
    }
    let careless = TestServer::with(patient()).await;
    let key = format!("Bearer {}", careless.key(&[ScopeName::FullAdmin]).await);
    for route in guarded() {
        let headers = [
            ("authorization", key.as_str()),
            ("x-sombra-authorization", "Bearer whatever"),
        ];
        assert_ne!(ask(&careless, &route, &headers).await.status(), 401);
    }
}

#[test]
fn the_table_of_scopes() {
    let mut table = String::new();
    for route in routes::list() {
        let access = match route.access {
            Access::Open(reason) => format!("open: {reason}"),
            Access::AnyKey => "any key".to_owned(),
            Access::Attached => "key attached to the integration".to_owned(),
            Access::Scope(scope) => format!("{} ({})", scope.as_str(), scope.title()),
        };
        writeln!(table, "{:6} {:60} {access}", route.method.as_str(), route.path).unwrap();
    }
    insta::assert_snapshot!("scopes", table);
}

fn full_admin() -> ApiKeyInput {
    ApiKeyInput {
        scopes: vec![ScopeName::FullAdmin],
        ..key_input()
    }
}

/// Whether the holder of `key` comes in, asked of the directory itself.
async fn comes_in(server: &TestServer, key: &str) -> bool {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
    server
        .app()
        .callers
        .authenticate(server.app(), &headers, None)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_revoked_key_is_refused_from_that_moment_on() {
    let server = TestServer::start().await;
    let (id, key) = server.make_key(server.organization, full_admin()).await;
    assert!(comes_in(&server, &key).await, "and is remembered from here on");
    api_keys::revoke(server.app(), server.organization, Actor::Operator, id)
        .await
        .unwrap();
    assert!(!comes_in(&server, &key).await);
    let again = api_keys::revoke(server.app(), server.organization, Actor::Operator, id).await;
    assert!(again.is_err(), "a key is revoked once");
}

#[tokio::test]
async fn a_key_of_another_organization_cannot_be_revoked() {
    let server = TestServer::start().await;
    let other = server.another_organization().await;
    let (id, key) = server.make_key(server.organization, full_admin()).await;
    assert!(
        api_keys::revoke(server.app(), other, Actor::Operator, id)
            .await
            .is_err()
    );
    assert!(comes_in(&server, &key).await);
}

#[tokio::test]
async fn a_key_runs_out_at_its_time_though_it_is_remembered() {
    let server = TestServer::start().await;
    let at = server.clock.now() + Duration::from_secs(10);
    let (_, key) = server
        .make_key(
            server.organization,
            ApiKeyInput {
                expires_at: Some(at),
                ..full_admin()
            },
        )
        .await;
    assert!(comes_in(&server, &key).await);
    server.clock.advance(Duration::from_secs(10));
    assert!(!comes_in(&server, &key).await);
}

#[tokio::test]
async fn a_key_from_another_system_is_taken_as_it_is_and_once() {
    let server = TestServer::start().await;
    let text = "legacy-key-0123456789";
    let import = || ApiKeyInput {
        foreign: Some(Foreign::new(text)),
        ..full_admin()
    };
    let (_, key) = server.make_key(server.organization, import()).await;
    assert_eq!(key, text);
    assert!(comes_in(&server, text).await);
    assert!(!comes_in(&server, "legacy-key-0123456788").await);
    let other = server.another_organization().await;
    let again = api_keys::create(server.app(), other, Actor::Operator, import()).await;
    assert!(again.is_err(), "or one text would stand for two callers");
    for bad in [
        "too short",
        "with a space in it, though long",
        "ant_00000000_looks_like_ours_but_is_not",
    ] {
        let input = ApiKeyInput {
            foreign: Some(Foreign::new(bad)),
            ..full_admin()
        };
        assert!(
            api_keys::create(server.app(), server.organization, Actor::Operator, input)
                .await
                .is_err(),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn keys_survive_a_restart_and_so_does_when_they_were_used() {
    let mut server = TestServer::start().await;
    let (used, key) = server.make_key(server.organization, full_admin()).await;
    let (unused, _) = server.make_key(server.organization, full_admin()).await;
    assert!(comes_in(&server, &key).await);
    let used_at = server.clock.now();
    server.clock.advance(Duration::from_secs(3600));
    server.restart().await;
    let listed = api_keys::list(server.app(), server.organization).await.unwrap();
    assert_eq!(listed.iter().map(|key| key.id).collect::<Vec<_>>(), [used, unused]);
    assert_eq!(listed[0].last_used_at, Some(used_at));
    assert_eq!(listed[1].last_used_at, None);
    assert!(listed[0].record.preview.starts_with("ant_") && !listed[0].record.preview.contains(&key[20..40]));
    assert!(comes_in(&server, &key).await);
}

#[tokio::test]
async fn wrong_keys_are_slowed_down_and_right_ones_never() {
    let mut config = ServerConfig::default();
    config.limits.failed_keys_per_minute = 3.try_into().unwrap();
    let server = TestServer::with(config).await;
    let Some(route) = guarded().into_iter().next() else {
        return;
    };
    let good = server.key(&[ScopeName::FullAdmin]).await;
    let wrong = "0123456789abcdef0123456789abcdef";
    for _ in 0..3 {
        assert_eq!(ask_as(&server, &route, wrong).await.status(), 401);
    }
    let slowed = ask_as(&server, &route, wrong).await;
    assert_eq!(slowed.status(), 429);
    assert_eq!(slowed.headers()["retry-after"], "20");
    assert!(![401, 429].contains(&ask_as(&server, &route, &good).await.status().as_u16()));
    server.clock.advance(Duration::from_secs(20));
    assert_eq!(ask_as(&server, &route, wrong).await.status(), 401);
}
