//! The guards of the house: one person known to every slice is nowhere in the clear, and no test leaves a job behind. Each
//! guard is also seen to fail. The one over the log stands in `support/canary.rs`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use antumbra_server::{organization::Action, purposes};
use antumbra_store::{Corrupt, Key, Raw, Scan, Table};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::support::{
    CANARY, TestServer,
    rows::rows_of,
    story::{Story, config},
};

/// What no byte that is kept may look like: the canary as it is, and in the forms that programs give to text.
fn forms() -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let wide = CANARY.bytes().flat_map(|byte| [byte, 0]).collect();
    let mut forms = vec![
        ("plain", CANARY.as_bytes().to_vec()),
        ("hex", hex.into_bytes()),
        ("two bytes a letter", wide),
        ("backwards", CANARY.bytes().rev().collect()),
    ];
    // Base64 of a text looks different at each of three places; the first and the last letters depend on what is around.
    for before in 0..3 {
        let shifted = [&b"..."[..before], CANARY.as_bytes()].concat();
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted);
            forms.push(("base64", text.as_bytes()[4..text.len() - 2].to_vec()));
        }
    }
    forms
}

/// In which form `bytes` hold the canary, if they do.
fn found_in(bytes: &[u8]) -> Option<&'static str> {
    let lower = bytes.to_ascii_lowercase();
    let holds = |(name, form): &(&'static str, Vec<u8>)| {
        let (searched, wanted) = match *name {
            "base64" => (bytes, form.clone()),
            _ => (&lower[..], form.to_ascii_lowercase()),
        };
        searched.windows(wanted.len()).any(|window| window == wanted)
    };
    forms().into_iter().find(holds).map(|(name, _)| name)
}

/// Any key, as its bytes.
struct AnyKey(Vec<u8>);

impl Key for AnyKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Ok(AnyKey(std::mem::take(from).to_vec()))
    }
}

/// Every place where the server keeps the canary: rows of every table, and every file below its folder.
async fn leaks(server: &TestServer) -> Vec<String> {
    let (leaks, rows, bytes) = search(server).await;
    assert!(
        rows > 50 && bytes > 100_000,
        "{rows} rows and {bytes} bytes: too little was looked at"
    );
    leaks
}

/// The same, with how many rows and bytes were looked at.
async fn search(server: &TestServer) -> (Vec<String>, usize, usize) {
    let (mut leaks, mut rows) = (Vec::new(), 0);
    let mut reader = server.app().store.begin_read().await.unwrap();
    for name in antumbra_server::tables() {
        let table: Table<AnyKey, Raw> = Table::new(name);
        for (AnyKey(key), Raw(value)) in reader.scan(&table, Scan::prefix(&())).await.unwrap() {
            rows += 1;
            leaks.extend(found_in(&key).map(|form| format!("a key of {name}, {form}")));
            leaks.extend(found_in(&value).map(|form| format!("a value of {name}, {form}")));
        }
    }
    let mut bytes = 0;
    walk(server.folder(), &mut |path, content| {
        bytes += content.len();
        leaks.extend(found_in(path.to_string_lossy().as_bytes()).map(|form| format!("the name of a file, {form}")));
        leaks.extend(found_in(content).map(|form| format!("{}, {form}", path.display())));
    });
    (leaks, rows, bytes)
}

/// Fails if the server keeps the canary anywhere.
pub async fn no_leaks(server: &TestServer) {
    let (leaks, rows, _) = search(server).await;
    assert!(leaks.is_empty() && rows > 50, "{leaks:#?}");
}

fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else {
            // The engine lays its log out in advance: what was never written is skipped.
            let content = std::fs::read(&path).unwrap();
            let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            visit(&path, &content[..end]);
        }
    }
}

/// Tells every slice about one person, in every field that can name them, and is refused by every slice about them too.
async fn known_to_every_slice() -> Story {
    let story = Story::with(config(), &["profile", "photo", "pages"]).await;
    let server = &story.server;
    let ask = async |method: reqwest::Method, path: &str, body: Value| {
        let call = server.client().request(method, server.url(path));
        let answer = call.bearer_auth(&story.admin_key).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let email = format!("{CANARY}@example.test");

    // dsr, and through it jobs, audit and the webhook of the silo.
    let further = json!({
        "subject": {
            "coreIdentifier": CANARY, "email": email, "emailIsVerified": true,
            "attestedExtraIdentifiers": { "email": [{ "value": format!("{CANARY}.second@example.test") }] },
        },
        "details": format!("{CANARY} asked by letter"),
        "attributes": [{ "key": "Tags", "values": [format!("{CANARY}-label")] }],
        "replyToEmailAddresses": [format!("{CANARY}.reply@example.test")],
    });
    story.submit_with(Action::Access, CANARY, &email, further).await;
    server.run_jobs_until_idle().await;
    let notices = story.receiver.take();
    assert!(!notices.is_empty());

    // runs and files: JSON, a file with a telling name, a report in words.
    for notice in &notices {
        let nonce = notice.nonce();
        let words = json!({ "status": "WAITING", "pollId": CANARY, "message": format!("{CANARY} was found") });
        assert_eq!(story.put_report(&nonce, words).await.status(), 200);
        let unknown = json!({ "profiles": [{ "profileId": CANARY, "profileData": { "nothing": CANARY } }] });
        assert_eq!(story.post_data(&nonce, unknown).await.status(), 400);
        let named = [("x-transcend-remote-id", "canary-9e1f.png")];
        let photo = CANARY.repeat(20_000).into_bytes();
        let answer = story.post_file(&nonce, "photo", &named, photo).await;
        assert_eq!(answer.status(), 200);
        let data = json!({ "profiles": [{ "profileId": CANARY, "profileData": { "profile": { "name": CANARY } } }] });
        assert_eq!(story.post_data(&nonce, data).await.status(), 200);
    }

    // preferences.
    let app = server.app();
    let mut tx = app.store.begin_write().await.unwrap();
    let shop = || "shop".to_owned();
    purposes::create_partition(
        &mut tx,
        &app.ids,
        server.organization,
        shop(),
        Some(shop()),
        app.clock.now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let record = json!({
        "partition": "shop", "timestamp": "2026-03-02T09:00:00Z", "userId": CANARY,
        "identifiers": [{ "name": "email", "value": email }, { "name": "coreIdentifier", "value": CANARY }],
        "purposes": [{ "purpose": "Analytics", "enabled": true, "sourceSystem": CANARY }],
        "metadata": [{ "key": CANARY, "value": CANARY }], "airgapVersion": CANARY,
    });
    let (status, answer) = ask(reqwest::Method::PUT, "/v1/preferences", json!({ "records": [record] })).await;
    assert_eq!(status, 200, "{answer}");

    // What is refused about them, slice by slice, and what is searched for.
    let bad = json!({ "records": [{ "partition": CANARY, "timestamp": CANARY, "userId": CANARY }] });
    assert_eq!(ask(reqwest::Method::PUT, "/v1/preferences", bad).await.0, 400);
    let bad = json!({ "type": CANARY, "subject": { "coreIdentifier": CANARY, "email": CANARY }, "locale": CANARY });
    assert_eq!(ask(reqwest::Method::POST, "/v1/data-subject-request", bad).await.0, 400);
    let wanted = json!({ "filter": { "identifiers": [{ "name": "email", "value": email }] }, "cursor": CANARY });
    assert_eq!(
        ask(reqwest::Method::POST, "/v1/preferences/shop/query", wanted).await.0,
        400
    );
    let document = r#"query($text: String) { requests(filterBy: { text: $text }) { nodes { id } } }"#;
    let search = json!({ "query": document, "variables": { "text": CANARY } });
    assert_eq!(ask(reqwest::Method::POST, "/graphql", search).await.0, 200);
    let broken = json!({ "query": format!("{{ request(id: \"{CANARY}\" }}") });
    assert_eq!(ask(reqwest::Method::POST, "/graphql", broken).await.0, 200);
    let document = json!({ "query": format!("mutation {{ approveRequest(input: {{ requestId: \"{CANARY}\" }}) {{ request {{ id }} }} }}") });
    assert_eq!(ask(reqwest::Method::POST, "/graphql", document).await.0, 200);
    for path in [
        format!("/v1/files?downloadKey={CANARY}"),
        format!("/v1/data-subject-request/{CANARY}"),
    ] {
        assert!(ask(reqwest::Method::GET, &path, json!({})).await.0 >= 400);
    }
    server.run_jobs_until_idle().await;
    story
}

#[tokio::test]
async fn a_person_known_to_every_slice_is_nowhere_in_the_clear() {
    let story = known_to_every_slice().await;
    assert_eq!(leaks(&story.server).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_person_whose_preferences_are_deleted_can_be_neither_found_nor_read() {
    let story = known_to_every_slice().await;
    let server = &story.server;
    let email = json!({ "name": "email", "value": format!("{CANARY}@example.test") });
    let post = async |path: &str, body: Value| {
        let call = server.client().post(server.url(path)).bearer_auth(&story.admin_key);
        call.json(&body).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let find = async || {
        post(
            "/v1/preferences/shop/query",
            json!({ "filter": { "identifiers": [email] } }),
        )
        .await
    };
    assert_eq!(find().await["nodes"].as_array().unwrap().len(), 1);
    // What opens and what finds: the wrapped keys, the digests of the identifiers, the sealed record.
    let mut telling: Vec<Vec<u8>> = Vec::new();
    let values = |rows: Vec<(Vec<u8>, Vec<u8>)>| rows.into_iter().map(|(_, value)| value);
    telling.extend(values(rows_of(server, "subject_keys").await));
    telling.extend(values(rows_of(server, "preference_records").await));
    // The key of an index row is the organization, the partition, and the digest.
    let owners = rows_of(server, "preference_owners").await;
    telling.extend(owners.into_iter().map(|(key, _)| key[32..].to_vec()));
    assert_eq!(
        telling.len(),
        4,
        "one key, one record, an e-mail address and a core identifier"
    );
    let history = rows_of(server, "preference_history").await;
    assert_eq!(history.len(), 1);

    let deletion = json!({ "anchorIdentifier": email, "timestamp": "2026-03-02T09:30:00Z" });
    let answer = post("/v1/preferences/shop/delete", json!({ "records": [deletion] })).await;
    assert_eq!(answer, json!({ "records": [{ "success": true }], "failures": [] }));

    for table in antumbra_server::tables() {
        for (key, value) in rows_of(server, table).await {
            for bytes in &telling {
                let holds = |place: &[u8]| place.windows(bytes.len()).any(|window| window == bytes);
                assert!(
                    !holds(&key) && !holds(&value),
                    "{table} still has what opens or finds them"
                );
            }
        }
    }
    assert_eq!(
        rows_of(server, "preference_history").await,
        history,
        "that something was, is still counted"
    );
    assert_eq!(find().await, json!({ "nodes": [] }));
    assert_eq!(leaks(server).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_canary_that_is_kept_in_the_clear_is_found_in_every_form_and_place() {
    let story = known_to_every_slice().await;
    let server = &story.server;
    for (name, form) in forms() {
        let around = [b"around ", &form[..], b" it"].concat();
        assert!(found_in(&around).is_some(), "{name}");
    }
    for before in 0..6 {
        let text = [&b"abcdef"[..before], CANARY.as_bytes(), b" and on"].concat();
        assert_eq!(found_in(STANDARD_NO_PAD.encode(text).as_bytes()), Some("base64"));
    }
    let planted = AnyKey(format!("~{CANARY}").into_bytes());
    let mut tx = server.app().store.begin_write().await.unwrap();
    for name in antumbra_server::tables() {
        let table: Table<AnyKey, Raw> = Table::new(name);
        tx.put(&table, &planted, &Raw(CANARY.to_uppercase().into_bytes()));
    }
    tx.commit().await.unwrap();
    let blob = server.folder().join("blobs/planted");
    std::fs::write(&blob, CANARY).unwrap();
    let found = leaks(server).await;
    let tables = antumbra_server::tables();
    let expected = tables
        .iter()
        .flat_map(|name| [format!("a key of {name}, plain"), format!("a value of {name}, plain")]);
    for expected in expected.chain([format!("{}, plain", blob.display())]) {
        assert!(found.contains(&expected), "{expected}: {found:?}");
    }
    let mut tx = server.app().store.begin_write().await.unwrap();
    for name in tables {
        tx.delete(&Table::<AnyKey, Raw>::new(name), &planted);
    }
    tx.commit().await.unwrap();
}

#[test]
fn a_test_that_leaves_a_job_behind_fails() {
    if std::env::var("ANTUMBRA_TEST_POSTGRES").is_ok() {
        // There the connections live on the runtime that would have to wait.
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let story = runtime.block_on(async {
        let story = Story::with(config(), &["profile"]).await;
        story.submit_about(Action::Access, "acct_1", "robin@example.test").await;
        story
    });
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(story)));
    let said = *dropped.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("jobs are left over"), "{said}");
}
