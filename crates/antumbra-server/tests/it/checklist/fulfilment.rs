//! Lines 1, 2, 11, 12, 17 and 18: who may call, files, and bodies that are too large.

use antumbra_server::{ServerConfig, api_keys::internal_key_hash};

use super::*;
use crate::{
    access::{guarded, path_of},
    support::story::config,
};

#[tokio::test]
async fn line_01_nobody_comes_in_without_their_keys() {
    let mut strict = ServerConfig {
        internal_key_hash: Some(internal_key_hash("sesame-sesame-sesame")),
        ..config()
    };
    strict.limits.failed_keys_per_minute = 1_000_000.try_into().unwrap();
    let strict = Story::with(strict, &[]).await;
    let open = Story::with_data_points(&[]).await;
    for route in guarded()
        .iter()
        .filter(|route| !route.path.starts_with("/v1/preferences") && route.path != "/graphql")
    {
        let ask = async |story: &Story, headers: &[(&str, &str)]| {
            let mut call = story
                .server
                .client()
                .request(route.method.clone(), story.server.url(&path_of(route)));
            for (name, value) in headers {
                call = call.header(*name, *value);
            }
            let answer = call.send().await.unwrap();
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            (answer.status().as_u16(), kind)
        };
        let is_json = |(status, kind): &(u16, String)| *status == 401 && kind.starts_with("application/json");
        assert!(is_json(&ask(&open, &[]).await), "{}", route.path);
        let key = format!("Bearer {}", strict.admin_key);
        let wrong = [
            ("authorization", key.as_str()),
            ("x-sombra-authorization", "Bearer wrong"),
        ];
        assert!(is_json(&ask(&strict, &wrong).await), "{}", route.path);
        let key = format!("Bearer {}", open.admin_key);
        let unneeded = [
            ("authorization", key.as_str()),
            ("x-sombra-authorization", "Bearer wrong"),
        ];
        assert_ne!(ask(&open, &unneeded).await.0, 401, "{}", route.path);
    }
}

#[tokio::test]
async fn line_02_a_key_does_what_its_scopes_and_silos_allow() {
    let story = Story::with_data_points(&["profile"]).await;
    let scopeless = story.server.key(&[]).await;
    let id = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let ask = async |key: &str, method: Method, path: String| {
        let call = story
            .server
            .client()
            .request(method, story.server.url(&path))
            .bearer_auth(key);
        let answer = call
            .header("x-transcend-nonce", &nonce)
            .json(&json!({}))
            .send()
            .await
            .unwrap();
        answer.status().as_u16()
    };
    let status = format!("/v1/data-subject-request/{id}");
    assert_eq!(ask(&scopeless, Method::GET, status.clone()).await, 403);
    assert_eq!(ask(&story.admin_key, Method::GET, status).await, 200);
    let list = format!("/v1/data-silo/{}/pending-requests/ACCESS", story.silo.0);
    assert_eq!(ask(&scopeless, Method::GET, list.clone()).await, 403);
    assert_eq!(ask(&story.admin_key, Method::GET, list).await, 200);
    assert_eq!(ask(&scopeless, Method::PUT, "/v1/data-silo".to_owned()).await, 403);
    assert_eq!(
        ask(&story.admin_key, Method::PUT, "/v1/data-silo".to_owned()).await,
        200
    );
}

#[tokio::test]
async fn line_11_and_12_files_are_listed_in_pages_and_fetched_by_their_keys() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    for _ in 0..3 {
        body_of(
            story
                .post_file(
                    &nonce,
                    "profile",
                    &[("x-transcend-skip-status-update", "true")],
                    vec![1, 2],
                )
                .await,
            200,
        )
        .await;
    }
    body_of(story.put_report(&nonce, json!({})).await, 200).await;
    let path = format!("/v1/data-subject-request/{request}/download-keys");
    let page = story.look(&format!("{path}?limit=2")).await;
    let last = story.look(&format!("{path}?limit=2&offset=2")).await;
    assert!(page["_links"]["next"].as_str().unwrap().starts_with('/'), "{page}");
    assert!(last["_links"]["next"].is_null());
    assert!(
        story.look(&format!("{path}?limit=0")).await["nodes"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let names = |page: &Value| -> Vec<String> {
        let nodes = page["nodes"].as_array().unwrap();
        nodes
            .iter()
            .map(|node| node["fileName"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut all = names(&page);
    all.extend(names(&last));
    let whole = names(&story.look(&path).await);
    assert_eq!(all, whole, "the order is stable");
    assert_eq!(std::collections::BTreeSet::from_iter(&whole).len(), 3);
    assert_eq!(page["nodes"][0]["size"], 2);
    let got = story
        .server
        .client()
        .get(story.server.url(&path))
        .bearer_auth(&story.admin_key);
    let got: Value = got
        .header("user-agent", "got (https://example.test)")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(got["nodes"][0]["size"], "2");

    let key = page["nodes"][0]["downloadKey"].as_str().unwrap();
    for parameter in ["downloadKey", "key"] {
        let answer = story
            .ask(Method::GET, &format!("/v1/files?{parameter}={key}"), None)
            .await;
        assert_eq!(answer.bytes().await.unwrap(), vec![1, 2]);
    }
    story.server.pass(2 * DAY).await;
    let expired = story
        .ask(Method::GET, &format!("/v1/files?downloadKey={key}"), None)
        .await;
    assert!(body_of(expired, 400).await.contains("fileMetadata#verify"));
}

#[tokio::test]
async fn line_17_files_without_type_or_length_are_numbered_and_more_may_follow() {
    let story = Story::with_data_points(&["photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    // No content type, no length: chunk by chunk. 60 MB pass in `runs::reports`.
    let more = [("x-transcend-skip-status-update", "true")];
    for _ in 0..2 {
        body_of(story.post_file(&nonce, "photo", &more, vec![0xff; 10]).await, 200).await;
    }
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    body_of(story.post_file(&nonce, "photo", &[], vec![0xff; 10]).await, 200).await;
    assert_eq!(story.status_of(request).await, "APPROVING");
    let files = story.files_of(request).await;
    let mut names: Vec<&str> = files.iter().map(|file| file["fileName"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["photo/photo (1)", "photo/photo (2)", "photo/photo (3)"]);
}

#[tokio::test]
async fn line_18_a_body_over_fifty_mebibytes_is_too_large() {
    let story = Story::with_data_points(&[]).await;
    let call = story.server.client().post(story.server.url("/v1/data-subject-request"));
    let long = "x".repeat(50 * 1024 * 1024 + 1);
    let sent = call
        .bearer_auth(&story.admin_key)
        .header("content-type", "application/json")
        .body(long)
        .send()
        .await;
    // Told off at its head, a client may find the connection closed before it has read why.
    if let Ok(answer) = sent {
        assert_eq!(answer.status(), 413);
    }
}
