//! The OpenAPI document and the page that shows it.

use antumbra_server::{
    api_keys::ScopeName,
    routes::{self, BodyRule},
};
use serde_json::Value;

use crate::support::TestServer;

#[tokio::test]
async fn the_document_is_openapi_3_1_and_names_every_route() {
    let server = TestServer::start().await;
    let answer = server.client().get(server.url("/openapi.json")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for route in routes::list() {
        let operation = &document["paths"][&route.path][route.method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{} {} is missing", route.method, route.path);
        assert!(
            operation["description"].as_str().unwrap().contains("Needs "),
            "{} says who may",
            route.path
        );
    }
}

#[test]
fn the_document_matches_its_snapshot() {
    insta::assert_snapshot!("openapi", routes::document());
}

#[tokio::test]
async fn a_body_of_another_kind_is_refused_as_the_document_says() {
    let server = TestServer::start().await;
    let key = server.key(&[ScopeName::FullAdmin]).await;
    let document: Value = serde_json::from_str(routes::document()).unwrap();
    let mut takes_bodies = 0;
    for route in routes::list() {
        let operation = &document["paths"][&route.path][route.method.as_str().to_lowercase()];
        let says = |status: &str| operation["responses"].get(status).is_some();
        assert_eq!(says("409"), route.may_be_closed, "{}", route.path);
        let takes_body = route.method != "GET" && route.body != BodyRule::FromPage;
        assert_eq!(says("415"), takes_body, "{}", route.path);
        if takes_body {
            // What is streamed is taken as it is, unless there is a form around it.
            let kind = match route.body {
                BodyRule::Buffered | BodyRule::Form | BodyRule::FromPage => "text/plain",
                BodyRule::Stream => "multipart/form-data; boundary=x",
            };
            let call = server.client().request(route.method.clone(), server.url(&route.path));
            let call = call.bearer_auth(&key).header("content-type", kind).body("{}");
            assert_eq!(call.send().await.unwrap().status(), 415, "{}", route.path);
            takes_bodies += 1;
        }
    }
    assert!(takes_bodies >= 8, "{takes_bodies}");
}

#[tokio::test]
async fn the_page_comes_from_here_and_asks_nobody_else() {
    let server = TestServer::start().await;
    let get = async |path: &str| server.client().get(server.url(path)).send().await.unwrap();
    let entered = get("/docs").await;
    assert_eq!(entered.url().path(), "/docs/");
    assert_eq!(get("/").await.url().path(), "/docs/", "so does the bare address");
    let policy = entered.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'self';"));
    let page = entered.text().await.unwrap();
    assert!(!page.contains("://"), "{page}");
    let parts: Vec<&str> = page
        .split(['"', '\''])
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
        .collect();
    assert_eq!(parts.len(), 3, "{page}");
    for part in parts {
        let answer = get(&format!("/docs/{}", part.trim_start_matches("./"))).await;
        assert_eq!(answer.status(), 200, "{part}");
    }
    let start = get("/docs/start.js").await.text().await.unwrap();
    assert!(
        start.contains(r#"url: "../openapi.json""#) && start.contains(r#"validatorUrl: "none""#),
        "{start}"
    );
    for (accepted, coding) in [
        ("br, gzip", Some("gzip")),
        ("gzip;q=0.5", Some("gzip")),
        ("gzip;q=0", None),
        ("identity", None),
    ] {
        let call = server.client().get(server.url("/docs/swagger-ui-bundle.js"));
        let answer = call.header("accept-encoding", accepted).send().await.unwrap();
        let sent = answer
            .headers()
            .get("content-encoding")
            .map(|value| value.to_str().unwrap());
        assert_eq!(sent, coding, "{accepted}");
    }
    assert_eq!(get("/docs/no-such-part.js").await.status(), 404);
}
