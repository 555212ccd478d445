//! What the readers of this crate keep for any bytes at all. Each target is run by the tests over seeds and random changes
//! of them (`fuzz/README.md`).
//!
//! What comes over the wire is sent to the whole server, without its sockets: whatever a stranger writes, no handler fails
//! or panics, and no refusal repeats what may be personal. What is read by one function is given to that function.

use std::sync::{Arc, LazyLock};

use antumbra_store::{EmbeddedConfig, StoreConfig, Value as Stored};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderName, HeaderValue, Request, StatusCode},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::{
    AppState, ServerConfig, api_keys, audit, dsr, files, http, jobs, keyring, messages, organization, preferences,
    preflights, purposes, retention, routes, runs, silos, testing,
};

/// A name, and what takes any bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target by its name, which is that of its folder of seeds.
pub const TARGETS: &[Target] = &[
    ("consent_strings", preferences::fuzz::consent_strings),
    ("consent_sync", consent_sync),
    ("dsr_submission", dsr_submission),
    ("file_name", files::fuzz::name),
    ("graphql", graphql),
    ("http_chunks", http::fuzz::chunks),
    ("http_head", http::fuzz::head),
    ("json", http::fuzz::json),
    ("manifest", files::fuzz::manifest),
    ("preference_rows", preferences::fuzz::rows),
    ("preferences_query", preferences_query),
    ("preferences_upsert", preferences_upsert),
    ("records", records),
    ("tokens", tokens),
];

/// Stands in the seeds wherever something personal would.
const CANARY: &str = "canary-9e1f";

/// A server without sockets, and its first organization with one partition. Its engine is always the embedded one: the
/// targets are about what is read, not about where it is kept.
pub(crate) struct Desk {
    runtime: Runtime,
    router: Router,
    key: HeaderValue,
    pub(crate) keys: Arc<keyring::OrganizationKeys>,
    #[cfg(test)]
    folder: std::path::PathBuf,
}

/// One for the whole process; [`Desk::clear`] removes what it leaves.
pub(crate) static DESK: LazyLock<Desk> = LazyLock::new(Desk::open);

struct Answer {
    status: StatusCode,
    body: Value,
}

impl Desk {
    fn open() -> Desk {
        // Not the process's number: whoever had that before may have been killed, and left its store.
        let number = u64::from_ne_bytes(antumbra_crypto::random_bytes());
        let folder = std::env::temp_dir().join(format!("antumbra-fuzz-{number:016x}"));
        std::fs::create_dir(&folder).expect("a temporary folder can be made");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let (app, organization, key) = runtime.block_on(async {
            let store = StoreConfig::Embedded(EmbeddedConfig::new(folder.join("store")));
            let world = testing::world_on(store, &folder, "2026-03-02T10:00:00Z").await;
            let organization = world.first_organization().await.expect("the store answers").id;
            let mut tx = world.store.begin_write().await.expect("the store answers");
            let (name, key, now) = ("Shop".to_owned(), Some("shop".to_owned()), world.clock.now());
            purposes::create_partition(&mut tx, &world.ids, organization, name, key, now)
                .await
                .expect("a partition can be made");
            tx.commit().await.expect("the store answers");
            let app = AppState::new(ServerConfig::default(), world);
            let key = testing::admin_key(&app, organization).await;
            (app, organization, key)
        });
        let keys = runtime.block_on(app.keys.organization(organization));
        Desk {
            keys: keys.expect("the organization has keys"),
            router: routes::router(app),
            key: format!("Bearer {key}").parse().expect("a key is plain text"),
            #[cfg(test)]
            folder,
            runtime,
        }
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
        let mut request = Request::new(Body::from(body.to_vec()));
        *request.method_mut() = method.parse().expect("a method");
        *request.uri_mut() = path.parse().expect("a path");
        request.headers_mut().insert("authorization", self.key.clone());
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes());
            let value = value.unwrap_or_else(|_| HeaderValue::from_static("not a header value"));
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let (status, bytes) = self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.expect("a router answers");
            let (head, body) = answer.into_parts();
            (
                head.status,
                to_bytes(body, usize::MAX).await.expect("an answer has a body"),
            )
        });
        let text = std::str::from_utf8(&bytes).expect("every answer to these calls is text");
        assert!(!status.is_server_error(), "{status}: {text}");
        assert!(
            status.is_success() || !text.contains(CANARY),
            "{status} repeats what was sent: {text}"
        );
        Answer {
            status,
            body: serde_json::from_str(text).expect("every answer to these calls is JSON"),
        }
    }

    /// Removes what the server keeps on the disk.
    #[cfg(test)]
    fn clear(&self) {
        std::fs::remove_dir_all(&self.folder).expect("the folder can be removed");
    }
}

/// A submission that is taken is answered with its request.
fn dsr_submission(bytes: &[u8]) {
    let answer = DESK.ask("POST", "/v1/data-subject-request", &[], bytes);
    if answer.status.is_success() {
        assert!(answer.body["request"]["id"].is_string());
    }
}

/// A batch that is taken is taken whole: every record stands in the answer, or among what failed.
fn preferences_upsert(bytes: &[u8]) {
    let answer = DESK.ask("PUT", "/v1/preferences", &[], bytes);
    if answer.status.is_success() {
        let sent: Value = serde_json::from_slice(bytes).expect("what was taken is JSON");
        let count = |list: &Value| list.as_array().map_or(0, Vec::len);
        let answered = count(&answer.body["nodes"]) + count(&answer.body["failures"]);
        assert_eq!(count(&sent["records"]), answered);
        assert!((1..=100).contains(&answered));
    }
}

/// What is told to be kept of a person is kept and shown as answers of yes and no, or refused. The key that comes with each
/// call counts where there is no token, and no bytes are a token.
fn consent_sync(bytes: &[u8]) {
    let answer = DESK.ask("POST", "/sync", &[("content-type", "text/plain")], bytes);
    assert!(answer.status.is_success() || answer.status == StatusCode::BAD_REQUEST);
    assert!(!answer.status.is_success() || answer.body == json!({ "success": true }));
}

/// A page is never longer than what was asked for, nor than 100.
fn preferences_query(bytes: &[u8]) {
    let answer = DESK.ask("POST", "/v1/preferences/shop/query", &[], bytes);
    if answer.status.is_success() {
        let sent: Value = serde_json::from_slice(bytes).expect("what was taken is JSON");
        let limit = sent["limit"].as_u64().unwrap_or(50).min(100) as usize;
        assert!(
            answer.body["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.len() <= limit)
        );
    }
}

/// A document is carried out or refused, and no refusal repeats a value. The bytes are a document, or a whole body if they
/// begin with a bracket.
fn graphql(bytes: &[u8]) {
    let body = match bytes.first() {
        Some(b'[') => bytes.to_vec(),
        _ => json!({ "query": String::from_utf8_lossy(bytes) })
            .to_string()
            .into_bytes(),
    };
    let answer = DESK.ask("POST", "/graphql", &[("x-antumbra-dry-run", "1")], &body);
    let answers = match answer.body {
        Value::Array(answers) => answers,
        one => vec![one],
    };
    for answer in answers {
        assert!(!answer["errors"].to_string().contains(CANARY), "{}", answer["errors"]);
    }
}

/// No text but what was signed here is a nonce, a download key, a cursor or an API key.
fn tokens(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(written) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let header = written.to_str().unwrap_or("not plain text");
    let refused = |answer: Answer| assert!(answer.status.is_client_error(), "{}", answer.status);
    refused(DESK.ask("POST", "/v1/data-silo", &[("x-transcend-nonce", header)], b"{}"));
    refused(DESK.ask("GET", "/v1/files", &[("authorization", header)], b""));
    let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    if escaped.len() < 8_000 {
        refused(DESK.ask("GET", &format!("/v1/files?downloadKey={escaped}"), &[], b""));
    }
    let cursor = json!({ "cursor": text }).to_string();
    let answer = DESK.ask("POST", "/v1/preferences/shop/query", &[], cursor.as_bytes());
    assert!(text.is_empty() || answer.status.is_client_error());
}

/// Each kind of row that takes the bytes for its own writes what it read in one way, and reads that again.
fn records(bytes: &[u8]) {
    let slices = [
        api_keys::RECORDS,
        audit::RECORDS,
        dsr::RECORDS,
        messages::RECORDS,
        files::RECORDS,
        jobs::RECORDS,
        keyring::RECORDS,
        organization::RECORDS,
        preferences::FOLDING_RECORDS,
        preferences::MISSED_RECORDS,
        preferences::RECORDS,
        preferences::sync::RECORDS,
        preferences::feed::RECORDS,
        purposes::RECORDS,
        preflights::RECORDS,
        retention::RECORDS,
        runs::RECORDS,
        silos::RECORDS,
    ];
    for same_when_written_again in slices.into_iter().flatten() {
        same_when_written_again(bytes);
    }
}

/// Whatever can be read is written in one way, and read again as the same.
pub(crate) fn same_when_written_again<V: Stored>(bytes: &[u8]) {
    let Ok(value) = V::decode(bytes) else { return };
    let mut written = Vec::new();
    value.encode(&mut written).expect("what was read can be written");
    let again = V::decode(&written).expect("what was written can be read");
    let mut twice = Vec::new();
    again.encode(&mut twice).expect("what was read can be written");
    assert_eq!(written, twice);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_holds_over_its_seeds_and_what_chance_makes_of_them() {
        fuzz_plain::run(TARGETS);
        DESK.clear();
    }
}
