//! The management API in one call, for tests about what it changes.

use serde_json::{Value, json};

use super::TestServer;

async fn send(server: &TestServer, key: &str, document: &str) -> Value {
    let call = server.client().post(server.url("/graphql")).bearer_auth(key);
    let sent = call.json(&json!({ "query": document })).send();
    sent.await.unwrap().json().await.unwrap()
}

/// Carries out a document with one field, and gives what the field holds.
pub async fn manage(server: &TestServer, key: &str, document: &str) -> Value {
    let answer = send(server, key, document).await;
    assert_eq!(answer.get("errors"), None, "{document}: {answer}");
    let data = answer["data"].as_object().unwrap();
    data.values().next().unwrap().clone()
}

/// The words in which a document is refused.
pub async fn manage_refused(server: &TestServer, key: &str, document: &str) -> String {
    let answer = send(server, key, document).await;
    let message = answer["errors"][0]["message"].as_str();
    message.unwrap_or_else(|| panic!("{document}: {answer}")).to_owned()
}
