//! The preference store, seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use antumbra_server::{
    api_keys::{ApiKeyInput, ScopeName},
    keyring::{KeyKind, destroy_key},
    organization::OrganizationId,
    purposes::{self, NewPurpose, NewTopic, OptionChange, OptionId, PurposeId, TopicKind},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestServer, key_input, rows::rows_of};

const SHOP: &str = "5f0c1f0e-6c5b-4c0d-9c57-0d7d3a6f2b11";
const GAMES: &str = "games";

/// A server whose organization asks about what the samples answer, and a key that may do everything here.
struct Preferences {
    server: TestServer,
    key: String,
}

impl Preferences {
    async fn start() -> Preferences {
        let server = TestServer::start().await;
        configure(&server, server.organization, &[SHOP, GAMES]).await;
        let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
        Preferences { server, key }
    }

    async fn call(&self, method: reqwest::Method, path: &str, body: String) -> (u16, Value) {
        call(&self.server, &self.key, method, path, body).await
    }

    async fn upsert(&self, body: Value) -> (u16, Value) {
        self.call(reqwest::Method::PUT, "/v1/preferences", body.to_string())
            .await
    }

    async fn query(&self, partition: &str, body: Value) -> (u16, Value) {
        let path = format!("/v1/preferences/{partition}/query");
        self.call(reqwest::Method::POST, &path, body.to_string()).await
    }

    /// Upserts one record into the shop, and gives its node.
    async fn record(&self, record: Value) -> Value {
        let (status, answer) = self.upsert(json!({"records": [in_shop(record)]})).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        answer["nodes"][0].clone()
    }

    async fn record_choice(&self, email: &str, purpose: &str, enabled: bool, at: &str) -> Value {
        let purposes = json!([{"purpose": purpose, "enabled": enabled}]);
        self.record(json!({"identifiers": [email_of(email)], "timestamp": at, "purposes": purposes}))
            .await
    }

    /// The records of the shop that a filter finds.
    async fn find(&self, filter: Value) -> Vec<Value> {
        let (status, answer) = self.query(SHOP, json!({"filter": filter, "limit": 100})).await;
        assert_eq!(status, 200, "{answer}");
        answer["nodes"].as_array().unwrap().clone()
    }

    async fn find_email(&self, email: &str) -> Value {
        let mut found = self.find(json!({"identifiers": [email_of(email)]})).await;
        assert_eq!(found.len(), 1, "{email}");
        found.remove(0)
    }

    /// Every record of the shop, page by page.
    async fn all(&self, filter: Value, limit: usize) -> Vec<Value> {
        let mut body = json!({"filter": filter, "limit": limit});
        let mut all = Vec::new();
        loop {
            let (status, mut answer) = self.query(SHOP, body.clone()).await;
            assert_eq!(status, 200, "{answer}");
            let nodes = answer["nodes"].as_array_mut().unwrap();
            assert!(nodes.len() <= limit);
            assert!(answer.get("cursor").is_none() || !answer["nodes"].as_array().unwrap().is_empty());
            all.append(answer["nodes"].as_array_mut().unwrap());
            match answer.get("cursor") {
                Some(cursor) => body["cursor"] = json!(cursor.as_str().unwrap()),
                None => return all,
            }
        }
    }

    /// The paths at which a record of the shop is refused.
    async fn refusal(&self, record: Value) -> Vec<(String, String)> {
        let (status, answer) = self.upsert(json!({"records": [in_shop(record)]})).await;
        assert_eq!(status, 400, "{answer}");
        details(&answer)
    }
}

async fn call(server: &TestServer, key: &str, method: reqwest::Method, path: &str, body: String) -> (u16, Value) {
    let request = server.client().request(method, server.url(path)).bearer_auth(key);
    let answer = request
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}")),
    )
}

/// Partitions, and the purposes and topics that the samples use.
async fn configure(server: &TestServer, organization: OrganizationId, partitions: &[&str]) {
    let app = server.app();
    let now = app.clock.now();
    let mut tx = app.store.begin_write().await.unwrap();
    for key in partitions {
        let name = key.to_string();
        purposes::create_partition(&mut tx, &app.ids, organization, name, Some(key.to_string()), now)
            .await
            .unwrap();
    }
    let purpose = |tracking_type: &str| NewPurpose {
        name: tracking_type.to_owned(),
        tracking_type: tracking_type.to_owned(),
        ..NewPurpose::default()
    };
    for (tracking_type, frequency) in [("ProductNews", "Cadence"), ("Product Updates", "Frequency")] {
        let made = purposes::create_purpose(&mut tx, &app.ids, organization, purpose(tracking_type), now)
            .await
            .unwrap();
        let weekly = option_ids(&mut tx, server, organization, &["Weekly", "Monthly"]).await;
        let channels = option_ids(&mut tx, server, organization, &["Email", "Sms"]).await;
        for (slug, kind, options) in [
            (frequency, TopicKind::Select, weekly),
            ("Channel", TopicKind::MultiSelect, channels),
            ("Unsubscribe", TopicKind::Boolean, vec![]),
            ("Paused", TopicKind::Boolean, vec![]),
        ] {
            let new = topic(made.id, slug, kind, options);
            purposes::create_topic(&mut tx, &app.ids, organization, new, now)
                .await
                .unwrap();
        }
    }
    tx.commit().await.unwrap();
}

async fn option_ids(
    tx: &mut antumbra_store::Tx,
    server: &TestServer,
    organization: OrganizationId,
    slugs: &[&str],
) -> Vec<OptionId> {
    let app = server.app();
    let known = purposes::list_options(tx, organization).await.unwrap();
    let mut ids = Vec::new();
    for slug in slugs {
        let found = known
            .iter()
            .find(|option| option.slug == **slug)
            .map(|option| option.id);
        ids.push(match found {
            Some(id) => id,
            None => {
                let change = OptionChange {
                    id: None,
                    title: slug.to_string(),
                    slug: Some(slug.to_string()),
                };
                let now = app.clock.now();
                let made = purposes::change_or_create_options(tx, &app.ids, organization, vec![change], now).await;
                made.unwrap()[0].id
            }
        });
    }
    ids
}

fn topic(purpose: PurposeId, slug: &str, kind: TopicKind, options: Vec<OptionId>) -> NewTopic {
    NewTopic {
        purpose,
        slug: slug.to_owned(),
        kind,
        title: slug.to_owned(),
        display_description: String::new(),
        show_in_privacy_center: true,
        default_configuration: String::new(),
        options,
    }
}

fn in_shop(mut record: Value) -> Value {
    record["partition"] = json!(SHOP);
    if record.get("timestamp").is_none() {
        record["timestamp"] = json!("2026-02-03T09:15:00.250Z");
    }
    record
}

fn email_of(value: &str) -> Value {
    json!({"name": "email", "value": value})
}

fn transcend_of(node: &Value) -> String {
    let last = node["identifiers"].as_array().unwrap().last().unwrap();
    assert_eq!(last["name"], "transcend");
    last["value"].as_str().unwrap().to_owned()
}

fn details(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let details = answer["details"]
        .as_array()
        .unwrap_or_else(|| panic!("no details: {answer}"));
    details
        .iter()
        .map(|detail| (text(&detail["path"]), text(&detail["message"])))
        .collect()
}

fn enabled(node: &Value, purpose: &str) -> Option<bool> {
    let purposes = node["purposes"].as_array().unwrap();
    purposes.iter().find(|answer| answer["purpose"] == purpose)?["enabled"].as_bool()
}

// ---- exact answers ----

#[tokio::test]
async fn an_upsert_answers_the_flat_and_the_nested_members() {
    let store = Preferences::start().await;
    let (status, answer) = store
        .upsert(json!({
            "records": [{
                "partition": SHOP,
                "timestamp": "2026-02-03T09:15:00.250Z",
                "identifiers": [
                    {"name": "phone", "value": "+351910000017"},
                    {"name": "email", "value": " Ana@Example.org "}
                ],
                "purposes": [
                    {
                        "purpose": "ProductNews",
                        "enabled": true,
                        "sourceSystem": "Kiosk",
                        "preferences": [
                            {"topic": "Cadence", "choice": {"selectValue": "Monthly"}},
                            {"topic": "Channel", "choice": {"selectValues": ["Email", "Sms", "Email"]}},
                            {"topic": "Paused", "choice": {"booleanValue": false}}
                        ],
                        "workflowSettings": {
                            "isSilent": true,
                            "attributes": [{"key": "Source", "values": ["kiosk-17"]}]
                        }
                    },
                    {"purpose": "Analytics", "enabled": false, "timestamp": "2026-01-20T08:00:00.000Z"}
                ],
                "metadata": [{"key": "store", "value": "Porto-3"}, {"key": "campaign", "value": null}],
                "consentManagement": {"usp": "1YNN"},
                "birthDate": "1990-05",
                "options": {"mergeRecordsOnConflict": false}
            }],
            "skipWorkflowTriggers": false
        }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let id = transcend_of(&answer["nodes"][0]);
    let expected = json!({
        "success": true,
        "nodes": [{
            "userId": "ana@example.org",
            "partition": SHOP,
            "timestamp": "2026-02-03T09:15:00.250Z",
            "updatedAt": "2026-03-02T10:00:00.000Z",
            "decryptionStatus": "DECRYPTED",
            "usp": "1YNN",
            "gpp": null,
            "tcf": null,
            "airgapVersion": null,
            "purposes": [
                {"purpose": "Analytics", "enabled": false, "timestamp": "2026-01-20T08:00:00.000Z"},
                {
                    "purpose": "ProductNews",
                    "enabled": true,
                    "timestamp": "2026-02-03T09:15:00.250Z",
                    "sourceSystem": "Kiosk",
                    "preferences": [
                        {"topic": "Cadence", "choice": {"selectValue": "Monthly"}},
                        {"topic": "Channel", "choice": {"selectValues": ["Email", "Sms"]}},
                        {"topic": "Paused", "choice": {"booleanValue": false}}
                    ]
                }
            ],
            "identifiers": [
                {"name": "email", "value": "ana@example.org"},
                {"name": "phone", "value": "+351910000017"},
                {"name": "transcend", "value": id}
            ],
            "confirmed": true,
            "metadata": [{"key": "store", "value": "Porto-3"}],
            "metadataTimestamp": "2026-02-03T09:15:00.250Z",
            "consentManagement": {"usp": "1YNN", "gpp": null, "tcf": null, "airgapVersion": null},
            "system": {"decryptionStatus": "DECRYPTED", "updatedAt": "2026-03-02T10:00:00.000Z"}
        }]
    });
    assert_eq!(answer, expected);

    let mut node = expected["nodes"][0].clone();
    for flat in ["updatedAt", "decryptionStatus", "usp", "gpp", "tcf", "airgapVersion"] {
        node.as_object_mut().unwrap().remove(flat);
    }
    let (status, answer) = store
        .query(SHOP, json!({"filter": {"identifiers": [email_of("ANA@example.org")]}}))
        .await;
    assert_eq!((status, answer), (200, json!({"nodes": [node]})));
}

#[tokio::test]
async fn the_printed_samples_are_answered_in_the_printed_shape() {
    let Some(page) = seed_page() else {
        println!("skipped: the seed pages are not beside this repository");
        return;
    };
    let texts = json_samples(&page);
    let samples: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let [first, second, printed] = samples.as_slice() else {
        panic!("{} samples", samples.len())
    };
    let server = TestServer::start().await;
    let records = first["records"].as_array().unwrap().iter();
    let partitions: BTreeSet<&str> = records.map(|record| record["partition"].as_str().unwrap()).collect();
    configure(
        &server,
        server.organization,
        &partitions.into_iter().collect::<Vec<_>>(),
    )
    .await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    for (sample, text) in [(first, &texts[0]), (second, &texts[1]), (first, &texts[0])] {
        let (status, answer) = call(&server, &key, reqwest::Method::PUT, "/v1/preferences", text.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["success"], json!(true));
        assert!(answer.get("failures").is_none() && answer.get("errors").is_none());
        let nodes = answer["nodes"].as_array().unwrap();
        let asked = sample["records"].as_array().unwrap();
        assert_eq!(nodes.len(), asked.len());
        for (place, (node, asked)) in nodes.iter().zip(asked).enumerate() {
            for echoed in ["userId", "partition", "timestamp"] {
                assert_eq!(node[echoed], asked[echoed]);
            }
            let printed = &printed["nodes"][place];
            assert_shape(&format!("nodes[{place}]"), node, printed);
            for flat in ["usp", "gpp", "tcf", "airgapVersion", "decryptionStatus"] {
                assert!(node.get(flat).is_some(), "{flat}");
            }
        }
    }
    // Both prints of one person lead to one record, which shows the first print's answers and the second's string.
    let (_, answer) = call(
        &server,
        &key,
        reqwest::Method::PUT,
        "/v1/preferences",
        first.to_string(),
    )
    .await;
    let node = &answer["nodes"][0];
    let asked = &first["records"][0];
    assert_eq!(without_timestamps(&node["purposes"]), asked["purposes"]);
    assert_eq!(node["usp"], second["records"][0]["usp"]);
}

/// Asserts that `got` has what `printed` has, member for member and null for null. One text may stand where the print has
/// none, and the other way round: the print shows the string of its second request beside the answers of its first.
fn assert_shape(path: &str, got: &Value, printed: &Value) {
    match (got, printed) {
        (Value::Object(got), Value::Object(printed)) => {
            for (name, printed) in printed {
                let got = got.get(name).unwrap_or_else(|| panic!("{path}.{name} is missing"));
                assert_shape(&format!("{path}.{name}"), got, printed);
            }
        }
        (Value::Array(got), Value::Array(printed)) => {
            assert_eq!(got.len(), printed.len(), "{path}");
            for (place, (got, printed)) in got.iter().zip(printed).enumerate() {
                assert_shape(&format!("{path}[{place}]"), got, printed);
            }
        }
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) | (Value::Null, Value::Null) => {}
        (Value::Null, Value::String(_)) | (Value::String(_), Value::Null) if path.ends_with(".usp") => {}
        _ => panic!("{path} is {got}, printed is {printed}"),
    }
}

fn without_timestamps(purposes: &Value) -> Value {
    let mut purposes = purposes.clone();
    for purpose in purposes.as_array_mut().unwrap() {
        purpose.as_object_mut().unwrap().remove("timestamp");
    }
    purposes
}

fn seed_page() -> Option<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/spec/seeds");
    let pages = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    pages.into_iter().find(|page| page.contains("\n/v1/preferences\n"))
}

/// The JSON objects that stand in a page with their braces at the beginning of a line, letter for letter.
fn json_samples(page: &str) -> Vec<String> {
    let mut samples = Vec::new();
    let mut sample: Option<String> = None;
    for line in page.lines() {
        if line == "{" {
            sample = Some(String::new());
        }
        if let Some(text) = &mut sample {
            text.push_str(line);
            text.push('\n');
        }
        if line == "}" {
            samples.extend(sample.take());
        }
    }
    samples
}

// ---- whose record it is ----

#[tokio::test]
async fn a_legacy_user_id_is_returned_as_it_was_sent_and_found_without_a_name() {
    let store = Preferences::start().await;
    let node = store
        .record(json!({"userId": "Bruno@Example.org", "usp": "1YYN"}))
        .await;
    assert_eq!(node["userId"], "Bruno@Example.org");
    assert_eq!(node["identifiers"][0], email_of("bruno@example.org"));
    let node = store.record(json!({"userId": "customer-17"})).await;
    assert_eq!(
        node["identifiers"][0],
        json!({"name": "coreIdentifier", "value": "customer-17"})
    );
    let found = store
        .find(json!({"identifiers": [{"value": "customer-17"}, {"value": "BRUNO@example.org"}, {"value": "nobody"}]}))
        .await;
    let shown: Vec<&str> = found.iter().map(|node| node["userId"].as_str().unwrap()).collect();
    assert_eq!(shown, ["customer-17", "BRUNO@example.org"]);
}

#[tokio::test]
async fn a_record_is_found_by_its_own_id_in_either_case() {
    let store = Preferences::start().await;
    let node = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    let id = transcend_of(&node);
    for value in [id.clone(), id.to_uppercase()] {
        let found = store
            .find(json!({"identifiers": [{"name": "transcend", "value": value}]}))
            .await;
        assert_eq!(found.len(), 1);
    }
    let by_id = json!({
        "identifiers": [{"name": "transcend", "value": id}],
        "purposes": [{"purpose": "Analytics", "enabled": false}]
    });
    let node = store.record(by_id).await;
    assert_eq!(
        (enabled(&node, "Analytics"), node["userId"].as_str()),
        (Some(false), Some("ada@example.test"))
    );
}

#[tokio::test]
async fn an_unknown_transcend_id_fails_alone_with_the_documented_sentence() {
    let store = Preferences::start().await;
    let stranger = json!({"name": "transcend", "value": "0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201"});
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    let (status, answer) = store
        .upsert(json!({"records": [
            in_shop(json!({"identifiers": [stranger]})),
            in_shop(json!({"identifiers": [email_of("ada@example.test"), stranger]})),
            in_shop(json!({"identifiers": [email_of("bea@example.test")]})),
        ]}))
        .await;
    let sentence = "The transcend identifier in this request does not match any consent profile for this organization.";
    assert_eq!(status, 200);
    assert_eq!(answer["success"], json!(false));
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(
        answer["failures"],
        json!([{"index": 0, "error": sentence}, {"index": 1, "error": sentence}])
    );
}

#[tokio::test]
async fn identifiers_of_two_records_make_them_one_and_both_ids_still_lead_to_it() {
    let store = Preferences::start().await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let a = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let b = store
        .record(json!({
            "identifiers": [phone],
            "timestamp": "2026-02-03T10:00:00.000Z",
            "confirmed": false,
            "purposes": [{"purpose": "Analytics", "enabled": false}, {"purpose": "Advertising", "enabled": true}]
        }))
        .await;
    let both = json!({"identifiers": [email_of("ada@example.test"), phone], "timestamp": "2026-02-03T08:00:00.000Z"});

    let mut refused = in_shop(both.clone());
    refused["options"] = json!({"mergeRecordsOnConflict": false});
    let (status, answer) = store.upsert(json!({"records": [refused]})).await;
    let error = "Identifiers in this record belong to more than one existing preference record";
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"success": false, "nodes": [], "failures": [{"index": 0, "error": error}]})
    );
    assert_eq!(store.find(json!({})).await.len(), 2);

    let node = store.record(both).await;
    assert_eq!(transcend_of(&node), transcend_of(&a), "the older record survives");
    assert_eq!(enabled(&node, "Analytics"), Some(false), "the newer answer stays");
    assert_eq!(enabled(&node, "Advertising"), Some(true));
    assert_eq!(
        (&node["confirmed"], &node["timestamp"]),
        (&json!(true), &json!("2026-02-03T10:00:00.000Z"))
    );
    assert_eq!(store.find(json!({})).await.len(), 1);
    for id in [transcend_of(&a), transcend_of(&b)] {
        let found = store
            .find(json!({"identifiers": [{"name": "transcend", "value": id}]}))
            .await;
        assert_eq!(found.len(), 1);
        assert_eq!(transcend_of(&found[0]), transcend_of(&a));
    }
    // Through the id of the one that is gone, too, something can be written, and a third record joined.
    let c = store
        .record_choice("cleo@example.test", "Functional", true, "2026-02-03T11:00:00.000Z")
        .await;
    let joined = json!({"identifiers": [
        {"name": "transcend", "value": transcend_of(&c)}, {"name": "transcend", "value": transcend_of(&b)}
    ]});
    let node = store.record(joined).await;
    assert_eq!(
        transcend_of(&node),
        transcend_of(&c),
        "the record that is named first survives"
    );
    for id in [&a, &b, &c].map(transcend_of) {
        let found = store
            .find(json!({"identifiers": [{"name": "transcend", "value": id}]}))
            .await;
        assert_eq!(found.iter().map(transcend_of).collect::<Vec<_>>(), [transcend_of(&c)]);
    }
    check_tables(&store.server).await;
}

#[tokio::test]
async fn one_batch_may_make_join_and_change_the_same_people() {
    let store = Preferences::start().await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let (status, answer) = store
        .upsert(json!({"records": [
            in_shop(json!({"identifiers": [email_of("ada@example.test")], "purposes": [{"purpose": "Analytics", "enabled": true}]})),
            in_shop(json!({"identifiers": [phone], "purposes": [{"purpose": "Advertising", "enabled": true}]})),
            in_shop(json!({"identifiers": [phone, email_of("ada@example.test")]})),
            in_shop(json!({
                "identifiers": [email_of("ada@example.test")],
                "timestamp": "2026-02-03T09:00:00.000Z",
                "purposes": [{"purpose": "Analytics", "enabled": false}]
            })),
        ]}))
        .await;
    assert_eq!(status, 200);
    let nodes = answer["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4);
    assert_eq!(nodes[0]["identifiers"].as_array().unwrap().len(), 2);
    assert_eq!(nodes[2], nodes[3], "what came late changed nothing");
    assert_eq!(enabled(&nodes[3], "Analytics"), Some(true));
    assert_eq!(store.find(json!({})).await.len(), 1);
    check_tables(&store.server).await;
}

#[tokio::test]
async fn partitions_and_organizations_know_nothing_of_each_other() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    let (_, answer) = store
        .query(
            GAMES,
            json!({"filter": {"identifiers": [email_of("ada@example.test")]}}),
        )
        .await;
    assert_eq!(answer, json!({"nodes": []}));

    let other = store.server.another_organization().await;
    configure(&store.server, other, &[SHOP]).await;
    let scopes = vec![ScopeName::ManageStoredPreferences];
    let input = ApiKeyInput { scopes, ..key_input() };
    let (_, key) = store.server.make_key(other, input).await;
    let path = format!("/v1/preferences/{SHOP}/query");
    let ask = |body: Value| call(&store.server, &key, reqwest::Method::POST, &path, body.to_string());
    assert_eq!(ask(json!({})).await, (200, json!({"nodes": []})));
    let games = format!("/v1/preferences/{GAMES}/query");
    let (status, answer) = call(&store.server, &key, reqwest::Method::POST, &games, "{}".to_owned()).await;
    assert_eq!((status, details(&answer)[0].0.as_str()), (400, "partition"));
}

// ---- what a write changes ----

#[tokio::test]
async fn a_late_arrival_does_not_overturn_a_newer_choice_and_is_no_failure() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", false, "2026-02-03T10:05:00.000Z")
        .await;
    let node = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:01:00.000Z")
        .await;
    assert_eq!(enabled(&node, "Analytics"), Some(false));
    assert_eq!(node["timestamp"], "2026-02-03T10:05:00.000Z");
    let rows = check_tables(&store.server).await;
    assert_eq!(rows["preference_history"], 2, "what came late is kept as well");
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:01:00.000Z")
        .await;
    assert_eq!(
        check_tables(&store.server).await["preference_history"],
        2,
        "but only once"
    );
}

#[tokio::test]
async fn a_replay_changes_nothing_not_even_when_it_was_updated() {
    let store = Preferences::start().await;
    let record = json!({
        "userId": "ada@example.test",
        "purposes": [{"purpose": "ProductNews", "enabled": true, "preferences": [
            {"topic": "Channel", "choice": {"selectValues": []}}
        ]}],
        "metadata": [{"key": "store", "value": "Porto-3"}],
        "usp": "1YYN"
    });
    let before = store.record(record.clone()).await;
    let rows = check_tables(&store.server).await;
    store.server.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(store.record(record).await, before);
    assert_eq!(check_tables(&store.server).await, rows);
    let node = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:01:00.000Z")
        .await;
    assert_eq!(node["updatedAt"], "2026-03-02T10:01:00.000Z");
}

#[tokio::test]
async fn null_clears_and_absent_leaves() {
    let store = Preferences::start().await;
    let person = json!([email_of("ada@example.test")]);
    store
        .record(json!({
            "identifiers": person,
            "consentManagement": {"usp": "1YYN", "gpp": "DBAA"},
            "tcf": "CPXxRfAPXxRfA",
            "metadata": [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}],
            "purposes": [{"purpose": "ProductNews", "enabled": true, "preferences": [
                {"topic": "Cadence", "choice": {"selectValue": "Weekly"}},
                {"topic": "Paused", "choice": {"booleanValue": true}}
            ]}]
        }))
        .await;
    let node = store
        .record(json!({
            "identifiers": person,
            "timestamp": "2026-02-04T09:15:00.250Z",
            "usp": "1NNN",
            "consentManagement": {"usp": null},
            "tcf": null,
            "metadata": [{"key": "a", "value": null}],
            "purposes": [{"purpose": "ProductNews", "enabled": false, "preferences": [
                {"topic": "Cadence", "choice": {"selectValue": null}},
            ]}]
        }))
        .await;
    let strings = json!({"usp": null, "gpp": "DBAA", "tcf": null, "airgapVersion": null});
    assert_eq!(node["consentManagement"], strings);
    assert_eq!(node["metadata"], json!([{"key": "b", "value": "2"}]));
    assert_eq!(
        without_timestamps(&node["purposes"]),
        json!([{"purpose": "ProductNews", "enabled": false, "preferences": [
            {"topic": "Paused", "choice": {"booleanValue": true}}
        ]}])
    );
}

#[tokio::test]
async fn a_deleted_purpose_is_hidden_and_a_new_one_of_its_name_has_no_answers() {
    let store = Preferences::start().await;
    let node = store
        .record_choice("ada@example.test", "ProductNews", true, "2026-02-03T10:05:00.000Z")
        .await;
    assert_eq!(enabled(&node, "ProductNews"), Some(true));
    let app = store.server.app();
    let organization = store.server.organization;
    let now = app.clock.now();
    let mut tx = app.store.begin_write().await.unwrap();
    let all = purposes::list_purposes(&mut tx, organization).await.unwrap();
    let id = all
        .iter()
        .find(|purpose| purpose.tracking_type == "ProductNews")
        .unwrap()
        .id;
    purposes::delete_purpose(&mut tx, &app.ids, organization, id, now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.find_email("ada@example.test").await["purposes"], json!([]));
    let again = json!({"identifiers": [email_of("ada@example.test")], "purposes": [{"purpose": "ProductNews", "enabled": true}]});
    assert_eq!(store.refusal(again).await[0].0, "records[0].purposes[0].purpose");

    let mut tx = app.store.begin_write().await.unwrap();
    let new = NewPurpose {
        name: "News".into(),
        tracking_type: "ProductNews".into(),
        ..NewPurpose::default()
    };
    purposes::create_purpose(&mut tx, &app.ids, organization, new, now)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.find_email("ada@example.test").await["purposes"], json!([]));
}

// ---- queries ----

#[tokio::test]
async fn the_newest_record_comes_first_on_the_filtered_dimension() {
    let store = Preferences::start().await;
    // Written in this order, a minute apart; chosen in another.
    for (email, at) in [
        ("a@example.test", "03"),
        ("b@example.test", "01"),
        ("c@example.test", "02"),
    ] {
        store
            .record_choice(email, "Analytics", true, &format!("2026-02-{at}T09:00:00.000Z"))
            .await;
        store.server.clock.advance(std::time::Duration::from_secs(60));
    }
    let first = async |filter: Value| {
        let (status, answer) = store.query(SHOP, json!({"limit": 1, "filter": filter})).await;
        assert_eq!(status, 200);
        answer["nodes"][0]["userId"].as_str().map(str::to_owned)
    };
    assert_eq!(first(json!({})).await.as_deref(), Some("c@example.test"));
    assert_eq!(first(json!({"system": {}})).await.as_deref(), Some("c@example.test"));
    assert_eq!(
        first(json!({"system": {"updatedBefore": "2026-03-02T10:01:30Z"}}))
            .await
            .as_deref(),
        Some("b@example.test")
    );
    assert_eq!(
        first(json!({"timestampBefore": "2026-03-01T00:00:00Z"}))
            .await
            .as_deref(),
        Some("a@example.test")
    );
    assert_eq!(
        first(json!({"timestampBefore": "2026-02-02T23:59:59.999Z"}))
            .await
            .as_deref(),
        Some("c@example.test")
    );
    // Everything that is given must hold.
    let both = json!({"timestampAfter": "2026-02-02T00:00:00Z", "system": {"updatedBefore": "2026-03-02T10:00:59Z"}});
    assert_eq!(first(both).await.as_deref(), Some("a@example.test"));
    let identifiers: Vec<Value> = ["b@example.test", "a@example.test", "b@example.test", "c@example.test"]
        .map(email_of)
        .into();
    let asked: Vec<_> = store.find(json!({"identifiers": identifiers})).await;
    let shown: Vec<&str> = asked.iter().map(|node| node["userId"].as_str().unwrap()).collect();
    assert_eq!(shown, ["b@example.test", "a@example.test", "c@example.test"]);
    let bounded = store
        .find(json!({"identifiers": identifiers, "timestampAfter": "2026-02-02T09:00:00.000Z"}))
        .await;
    let shown: Vec<&str> = bounded.iter().map(|node| node["userId"].as_str().unwrap()).collect();
    assert_eq!(shown, ["a@example.test", "c@example.test"]);
}

#[tokio::test]
async fn bounds_take_in_both_their_ends() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    for (after, before, found) in [
        ("2026-02-03T09:00:00.000Z", "2026-02-03T09:00:00.000Z", 1),
        ("2026-02-03T09:00:00.001Z", "2026-02-03T10:00:00.000Z", 0),
        ("2026-02-03T08:00:00.000Z", "2026-02-03T08:59:59.999Z", 0),
        ("2026-02-03T10:00:00.000Z", "2026-02-03T09:00:00.000Z", 0),
    ] {
        let nodes = store
            .find(json!({"timestampAfter": after, "timestampBefore": before}))
            .await;
        assert_eq!(nodes.len(), found, "{after} {before}");
    }
    for (after, found) in [("2026-03-02T10:00:00Z", 1), ("2026-03-02T10:00:00.001", 0)] {
        assert_eq!(
            store.find(json!({"system": {"updatedAfter": after}})).await.len(),
            found,
            "{after}"
        );
    }
}

#[tokio::test]
async fn windows_and_pages_give_every_record_exactly_once() {
    let store = Preferences::start().await;
    let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let minutes = |n: i64| (start + jiff::SignedDuration::from_mins(n)).to_string();
    let mut records = Vec::new();
    for n in 0..230i64 {
        let person = json!([email_of(&format!("person{n}@example.test"))]);
        records.push(in_shop(json!({"identifiers": person, "timestamp": minutes(n)})));
    }
    for batch in records.chunks(100) {
        let (status, answer) = store.upsert(json!({"records": batch})).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)));
        store.server.clock.advance(std::time::Duration::from_secs(1));
    }
    let names = |nodes: Vec<Value>| -> Vec<String> {
        nodes
            .iter()
            .map(|node| node["userId"].as_str().unwrap().to_owned())
            .collect()
    };
    // Half-open windows of five minutes, as clients make them of inclusive bounds.
    let mut windows = Vec::new();
    for n in (0..230).step_by(5) {
        let last = (start + jiff::SignedDuration::from_mins(n + 5) - jiff::SignedDuration::from_millis(1)).to_string();
        windows.extend(names(
            store
                .all(json!({"timestampAfter": minutes(n), "timestampBefore": last}), 2)
                .await,
        ));
    }
    let distinct: BTreeSet<&String> = windows.iter().collect();
    assert_eq!((windows.len(), distinct.len()), (230, 230));
    for (filter, limit) in [
        (json!({}), 7),
        (json!({"timestampAfter": minutes(0)}), 50),
        (
            json!({"timestampAfter": minutes(0), "system": {"updatedAfter": "2026-03-02T10:00:00Z"}}),
            100,
        ),
    ] {
        let all = names(store.all(filter, limit).await);
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (230, 230));
    }
    let by_event = names(store.all(json!({"timestampAfter": minutes(0)}), 100).await);
    let expected: Vec<String> = (0..230).rev().map(|n| format!("person{n}@example.test")).collect();
    assert_eq!(by_event, expected);
    let some: Vec<Value> = (0..10).map(|n| email_of(&format!("person{n}@example.test"))).collect();
    let paged = names(store.all(json!({"identifiers": some}), 3).await);
    assert_eq!(
        paged,
        (0..10).map(|n| format!("person{n}@example.test")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_bulk_upload_finds_what_it_uploaded_and_skips_it_the_second_time() {
    let store = Preferences::start().await;
    let email = |n: usize| format!("row{n}@example.test");
    let wanted: Vec<(String, Value)> = (0..250)
        .map(|n| {
            let channels = if n % 3 == 0 {
                json!(["Email"])
            } else {
                json!(["Email", "Sms"])
            };
            let topics = json!([{"topic": "Channel", "choice": {"selectValues": channels}}]);
            (
                email(n),
                json!([{"purpose": "ProductNews", "enabled": n % 2 == 0, "preferences": topics}]),
            )
        })
        .collect();
    let mut uploaded = Vec::new();
    for _ in 0..2 {
        let mut known = BTreeMap::new();
        for chunk in wanted.chunks(100) {
            let identifiers: Vec<Value> = chunk.iter().map(|(email, _)| json!({"value": email})).collect();
            let body = json!({"filter": {"identifiers": identifiers}, "limit": chunk.len()});
            let (status, answer) = store.query(SHOP, body).await;
            assert_eq!(status, 200);
            for node in answer["nodes"].as_array().unwrap() {
                known.insert(
                    node["userId"].as_str().unwrap().to_owned(),
                    without_timestamps(&node["purposes"]),
                );
            }
        }
        let pending: Vec<Value> = wanted
            .iter()
            .filter(|(email, purposes)| known.get(email) != Some(purposes))
            .map(|(email, purposes)| in_shop(json!({"userId": email, "purposes": purposes})))
            .collect();
        uploaded.push(pending.len());
        for chunk in pending.chunks(100) {
            let (status, _) = store
                .upsert(json!({"records": chunk, "skipWorkflowTriggers": true}))
                .await;
            assert_eq!(status, 200);
        }
    }
    assert_eq!(uploaded, [250, 0]);
}

#[tokio::test]
async fn a_cursor_serves_only_its_own_query() {
    let store = Preferences::start().await;
    for n in 0..3 {
        store
            .record_choice(
                &format!("p{n}@example.test"),
                "Analytics",
                true,
                "2026-02-03T09:00:00.000Z",
            )
            .await;
    }
    let filter = json!({"timestampAfter": "2026-01-01T00:00:00Z"});
    let (_, page) = store.query(SHOP, json!({"filter": filter, "limit": 1})).await;
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    assert!(
        cursor.len() <= 2048
            && cursor
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    );
    // It carries the filter, so it needs none; the same one may come along.
    let (_, alone) = store.query(SHOP, json!({"cursor": cursor, "limit": 1})).await;
    let (_, repeated) = store
        .query(SHOP, json!({"cursor": cursor, "filter": filter, "limit": 1}))
        .await;
    assert_eq!(alone, repeated);
    assert_ne!(alone["nodes"], page["nodes"]);

    let flipped = format!(
        "{}{}",
        &cursor[..cursor.len() - 2],
        if cursor.ends_with("AA") { "BB" } else { "AA" }
    );
    let cut = cursor[..cursor.len() - 5].to_owned();
    for (partition, body, path) in [
        (GAMES, json!({"cursor": cursor}), "cursor"),
        (SHOP, json!({"cursor": flipped}), "cursor"),
        (SHOP, json!({"cursor": cut}), "cursor"),
        (SHOP, json!({"cursor": "x"}), "cursor"),
        (
            SHOP,
            json!({"cursor": cursor, "filter": {"timestampAfter": "2026-01-02T00:00:00Z"}}),
            "filter",
        ),
        (SHOP, json!({"cursor": cursor, "filter": {}}), "filter"),
        (SHOP, json!({"limit": 0}), "limit"),
        (SHOP, json!({"limit": 101}), "limit"),
        (SHOP, json!({"limit": -1}), "limit"),
        (SHOP, json!({"limit": "abc"}), "limit"),
        (
            SHOP,
            json!({"filter": {"timestampAfter": "yesterday"}}),
            "filter.timestampAfter",
        ),
        (
            SHOP,
            json!({"filter": {"system": {"updatedBefore": "x"}}}),
            "filter.system.updatedBefore",
        ),
        (
            SHOP,
            json!({"filter": {"identifiers": [{"name": "shoeSize", "value": "42"}]}}),
            "filter.identifiers[0].name",
        ),
        (
            SHOP,
            json!({"filter": {"identifiers": vec![json!({"value": "x"}); 101]}}),
            "filter.identifiers",
        ),
    ] {
        let (status, answer) = store.query(partition, body.clone()).await;
        assert_eq!(
            (status, details(&answer)[0].0.as_str()),
            (400, path),
            "{body}: {answer}"
        );
    }
    let other = Preferences::start().await;
    let (status, _) = other.query(SHOP, json!({"cursor": cursor})).await;
    assert_eq!(status, 400, "a cursor of another server");
}

#[tokio::test]
async fn a_long_list_of_identifiers_is_sent_again_with_its_cursor() {
    let store = Preferences::start().await;
    let identifiers: Vec<Value> = (0..100).map(|n| email_of(&format!("p{n}@example.test"))).collect();
    for n in [3, 50, 98] {
        store
            .record_choice(
                &format!("p{n}@example.test"),
                "Analytics",
                true,
                "2026-02-03T09:00:00.000Z",
            )
            .await;
    }
    assert_eq!(store.all(json!({"identifiers": identifiers}), 1).await.len(), 3);
    let (_, page) = store
        .query(SHOP, json!({"filter": {"identifiers": identifiers}, "limit": 1}))
        .await;
    let cursor = page["cursor"].as_str().unwrap();
    assert!(cursor.len() <= 2048);
    let (status, answer) = store.query(SHOP, json!({"cursor": cursor})).await;
    assert_eq!((status, details(&answer)[0].0.as_str()), (400, "filter"));
    let (_, page) = store
        .query(SHOP, json!({"filter": {"identifiers": identifiers[..40]}, "limit": 1}))
        .await;
    assert!(page.get("cursor").is_none());
    let some = json!({"identifiers": [identifiers[3], identifiers[50], {"value": "p98@example.test"}]});
    let (_, page) = store.query(SHOP, json!({"filter": some, "limit": 1})).await;
    let (_, page) = store.query(SHOP, json!({"cursor": page["cursor"], "limit": 5})).await;
    assert_eq!(page["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_record_whose_key_is_gone_is_shown_without_its_contents() {
    let store = Preferences::start().await;
    let node = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let id: Uuid = transcend_of(&node).parse().unwrap();
    let app = store.server.app();
    let mut tx = app.store.begin_write().await.unwrap();
    destroy_key(&mut tx, store.server.organization, KeyKind::Subject, id);
    tx.commit().await.unwrap();
    let (_, answer) = store.query(SHOP, json!({})).await;
    let expected = json!({"nodes": [{
        "partition": SHOP,
        "timestamp": "2026-02-03T09:00:00.000Z",
        "confirmed": false,
        "identifiers": [],
        "purposes": [],
        "consentManagement": {"usp": null, "gpp": null, "tcf": null, "airgapVersion": null},
        "metadata": [],
        "system": {"decryptionStatus": "ERROR", "updatedAt": "2026-03-02T10:00:00.000Z"}
    }]});
    assert_eq!(answer, expected);
    let again = in_shop(json!({"identifiers": [email_of("ada@example.test")]}));
    let (status, answer) = store.upsert(json!({"records": [again]})).await;
    let error = "The stored preference record can not be decrypted";
    assert_eq!(
        (status, &answer["failures"]),
        (200, &json!([{"index": 0, "error": error}]))
    );
}

// ---- what is refused ----

#[tokio::test]
async fn each_rule_is_refused_with_its_place_and_without_the_value() {
    let store = Preferences::start().await;
    let with = |member: &str, value: Value| {
        let mut record = json!({"identifiers": [email_of("ada@example.test")]});
        record[member] = value;
        record
    };
    let purpose = |said: Value| with("purposes", json!([said]));
    let topic = |topic: &str, choice: Value| {
        purpose(json!({"purpose": "ProductNews", "enabled": true, "preferences": [{"topic": topic, "choice": choice}]}))
    };
    let identifier = |name: &str, value: &str| with("identifiers", json!([{"name": name, "value": value}]));
    let long = |bytes: usize| "x".repeat(bytes);
    let cases = [
        (json!({}), "identifiers"),
        (json!({"identifiers": []}), "identifiers"),
        (with("identifiers", json!("ada")), "identifiers"),
        (json!({"userId": ""}), "userId"),
        (with("timestamp", json!("yesterday")), "timestamp"),
        (with("timestamp", json!(17)), "timestamp"),
        (with("timestamp", json!("2026-03-03T10:00:00.001Z")), "timestamp"),
        (with("timestamp", json!("9999-01-01T00:00:00Z")), "timestamp"),
        (
            with("metadataTimestamp", json!("2027-01-01T00:00:00Z")),
            "metadataTimestamp",
        ),
        (with("birthDate", json!("1990")), "birthDate"),
        (with("birthDate", json!("1990-02-30")), "birthDate"),
        (with("birthDate", json!("13-1990")), "birthDate"),
        (with("confirmed", json!("yes")), "confirmed"),
        (with("usp", json!(17)), "usp"),
        (with("tcf", json!(long(16 * 1024 + 1))), "tcf"),
        (with("metadata", json!({"a": "b"})), "metadata"),
        (with("metadata", json!([{"key": "", "value": "b"}])), "metadata[0].key"),
        (
            with(
                "metadata",
                json!([{"key": "a", "value": "b"}, {"key": "a", "value": "c"}]),
            ),
            "metadata[1].key",
        ),
        (
            with("metadata", json!([{"key": "a", "value": long(4097)}])),
            "metadata[0].value",
        ),
        (with("metadata", json!(vec![json!({"key": "a"}); 201])), "metadata"),
        (identifier("shoeSize", "42"), "identifiers[0].name"),
        (identifier("Email", "ada@example.test"), "identifiers[0].name"),
        (identifier("email", "ada"), "identifiers[0].value"),
        (identifier("email", "a/b@example.test"), "identifiers[0].value"),
        (identifier("email", ""), "identifiers[0].value"),
        (identifier("email", "  "), "identifiers[0].value"),
        (identifier("phone", "0351910000017"), "identifiers[0].value"),
        (identifier("transcend", "me"), "identifiers[0].value"),
        (identifier("coreIdentifier", &long(1025)), "identifiers[0].value"),
        (
            purpose(json!({"purpose": "Newsleter", "enabled": true})),
            "purposes[0].purpose",
        ),
        (
            purpose(json!({"purpose": "analytics", "enabled": true})),
            "purposes[0].purpose",
        ),
        (
            purpose(json!({"purpose": "Unknown", "enabled": true})),
            "purposes[0].purpose",
        ),
        (purpose(json!({"purpose": "Analytics"})), "purposes[0].enabled"),
        (
            purpose(json!({"purpose": "Analytics", "enabled": "true"})),
            "purposes[0].enabled",
        ),
        (
            purpose(json!({"purpose": "Analytics", "consent": true})),
            "purposes[0].consent",
        ),
        (
            purpose(json!({"purpose": "Essential", "enabled": false})),
            "purposes[0].enabled",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "timestamp": "x"})),
            "purposes[0].timestamp",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "sourceSystem": ""})),
            "purposes[0].sourceSystem",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "sourceSystem": long(129)})),
            "purposes[0].sourceSystem",
        ),
        (
            with(
                "purposes",
                json!([{"purpose": "Analytics", "enabled": true}, {"purpose": "Analytics", "enabled": true}]),
            ),
            "purposes[1].purpose",
        ),
        (
            topic("Pace", json!({"selectValue": "Weekly"})),
            "purposes[0].preferences[0].topic",
        ),
        (
            topic("Cadence", json!({"selectValue": "Hourly"})),
            "purposes[0].preferences[0].choice.selectValue",
        ),
        (
            topic("Cadence", json!({"booleanValue": true})),
            "purposes[0].preferences[0].choice",
        ),
        (
            topic("Cadence", json!({"selectValues": ["Weekly"]})),
            "purposes[0].preferences[0].choice",
        ),
        (
            topic("Channel", json!({"selectValues": ["Email", "Fax"]})),
            "purposes[0].preferences[0].choice.selectValues[1]",
        ),
        (
            topic("Paused", json!({"booleanValue": "no"})),
            "purposes[0].preferences[0].choice.booleanValue",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "workflowSettings": {
                "dataSiloIds": ["0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201"],
                "ignoreDataSiloIds": ["0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a202"]
            }})),
            "purposes[0].workflowSettings.ignoreDataSiloIds",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "workflowSettings": {"isSilent": "yes"}})),
            "purposes[0].workflowSettings.isSilent",
        ),
        (
            purpose(
                json!({"purpose": "Analytics", "enabled": true, "workflowSettings": {"region": {"country": "Spain"}}}),
            ),
            "purposes[0].workflowSettings.region.country",
        ),
    ];
    for (record, place) in cases {
        let broken = store.refusal(record.clone()).await;
        let paths: Vec<&str> = broken.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, [format!("records[0].{place}")], "{record}");
    }
    let (_, message) = store.refusal(identifier("email", "secret-ada")).await.remove(0);
    assert_eq!(message, "Identifier email did not pass validation");
    assert_eq!(store.find(json!({})).await.len(), 0, "nothing was written");
}

#[tokio::test]
async fn values_at_the_bounds_are_taken() {
    let store = Preferences::start().await;
    let long = "é".repeat(512);
    let odd = "\u{202e}a\u{0301}\u{1F980}";
    for value in [long.as_str(), odd] {
        let node = store
            .record(json!({"identifiers": [{"name": "coreIdentifier", "value": value}]}))
            .await;
        assert_eq!(node["identifiers"][0]["value"], value);
    }
    for at in [
        "0000-01-01T00:00:00Z",
        "2026-03-03T10:00:00.000Z",
        "2026-02-03T10:15:00.123456789+01:00",
        "2016-12-31T23:59:60Z",
    ] {
        store
            .record(json!({"userId": "ada@example.test", "timestamp": at}))
            .await;
    }
    assert_eq!(
        store.find_email("ada@example.test").await["timestamp"],
        "2026-03-03T10:00:00.000Z"
    );
}

#[tokio::test]
async fn all_problems_of_a_batch_are_told_at_once_and_nothing_is_written() {
    let store = Preferences::start().await;
    let good = in_shop(json!({"userId": "good@example.test"}));
    let mut nowhere = good.clone();
    nowhere["partition"] = json!("nowhere");
    let bad = in_shop(json!({"userId": "good@example.test", "timestamp": "x", "purposes": [
        {"purpose": "Nope", "enabled": true},
        {"purpose": "ProductNews", "enabled": true, "preferences": [{"topic": "Cadence", "choice": {"selectValue": "Hourly"}}]}
    ]}));
    let (status, answer) = store.upsert(json!({"records": [good, nowhere, bad]})).await;
    assert_eq!(status, 400);
    let paths: Vec<String> = details(&answer).into_iter().map(|(path, _)| path).collect();
    let expected = [
        "records[1].partition",
        "records[2].timestamp",
        "records[2].purposes[0].purpose",
        "records[2].purposes[1].preferences[0].choice.selectValue",
    ];
    assert_eq!(paths, expected);
    let error = answer["error"].as_str().unwrap();
    assert!(
        expected.iter().all(|path| error.contains(&format!("{path}: "))) && error.contains("; "),
        "{error}"
    );
    assert_eq!(answer["errors"].as_array().unwrap().len(), 4);
    assert!(!answer.to_string().contains("good@"), "{answer}");
    assert_eq!(store.find(json!({})).await.len(), 0);
}

#[tokio::test]
async fn a_bad_row_in_a_batch_is_found_by_halving() {
    let store = Preferences::start().await;
    let row = |n: usize| {
        let cadence = if n == 17 { "Hourly" } else { "Weekly" };
        let topics = json!([{"topic": "Cadence", "choice": {"selectValue": cadence}}]);
        let purposes = json!([{"purpose": "ProductNews", "enabled": true, "preferences": topics}]);
        in_shop(json!({"userId": format!("row{n}@example.test"), "purposes": purposes}))
    };
    let mut pending: Vec<Vec<usize>> = vec![(0..25).collect()];
    let mut failed = Vec::new();
    while let Some(rows) = pending.pop() {
        let records: Vec<Value> = rows.iter().map(|n| row(*n)).collect();
        match store.upsert(json!({"records": records})).await.0 {
            200 => {}
            400 if rows.len() == 1 => failed.extend(rows),
            400 => {
                let (left, right) = rows.split_at(rows.len() / 2);
                pending.extend([left.to_vec(), right.to_vec()]);
            }
            status => panic!("{status}"),
        }
    }
    assert_eq!(failed, [17]);
    assert_eq!(store.find(json!({})).await.len(), 24);
}

#[tokio::test]
async fn a_batch_has_1_to_100_records() {
    let store = Preferences::start().await;
    let batch = |count: usize| {
        let record = |n: usize| in_shop(json!({"userId": format!("p{n}@example.test")}));
        json!({"records": (0..count).map(record).collect::<Vec<_>>()})
    };
    for (body, expected) in [(batch(0), 400), (batch(1), 200), (batch(100), 200), (batch(101), 400)] {
        let (status, answer) = store.upsert(body).await;
        assert_eq!(status, expected);
        if expected == 400 {
            assert_eq!(details(&answer)[0].0, "records");
        }
    }
    let (status, answer) = store.upsert(json!({})).await;
    assert_eq!(
        (status, details(&answer)),
        (400, vec![("records".to_owned(), "is required".to_owned())])
    );
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let store = Preferences::start().await;
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    for body in [
        "",
        "{",
        "[]x",
        "{\"records\":1e999}",
        &deep,
        "null",
        "\u{feff}{}",
        "{\"records\": [1]}",
    ] {
        let (status, _) = store
            .call(reqwest::Method::PUT, "/v1/preferences", body.to_owned())
            .await;
        assert_eq!(status, 400, "{body}");
    }
    // As in JavaScript, the last of two equal keys counts.
    let twice = format!(
        "{{\"records\":[],\"records\":[{}]}}",
        in_shop(json!({"userId": "ada@example.test"}))
    );
    let (status, answer) = store.call(reqwest::Method::PUT, "/v1/preferences", twice).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_record_stops_growing_before_it_gets_out_of_hand() {
    let store = Preferences::start().await;
    let mut outcomes = Vec::new();
    for round in 0..6 {
        let metadata: Vec<Value> = (0..200)
            .map(|n| json!({"key": format!("{round}-{n}"), "value": "x"}))
            .collect();
        let record = in_shop(json!({"userId": "ada@example.test", "metadata": metadata}));
        let (status, answer) = store.upsert(json!({"records": [record]})).await;
        assert_eq!(status, 200);
        outcomes.push(answer["success"].as_bool().unwrap());
    }
    assert_eq!(outcomes, [true, true, true, true, true, false]);
}

// ---- what is on disk ----

#[tokio::test]
async fn parallel_writes_about_the_same_people_leave_one_record_for_each_and_no_stray_row() {
    let store = std::sync::Arc::new(Preferences::start().await);
    let mut writers = tokio::task::JoinSet::new();
    // Ten people with three identifiers each; every write names two of the three, so all three come together.
    for writer in 0..16u64 {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..12u64 {
                let dice = writer * 31 + round * 17;
                let record = |n: u64| {
                    let person = (dice + n * 7) % 10;
                    let names = [
                        email_of(&format!("person{person}@example.test")),
                        json!({"name": "phone", "value": format!("+35191000{person:04}")}),
                        json!({"name": "coreIdentifier", "value": format!("core-{person}")}),
                    ];
                    let first = usize::try_from((dice + n) % 3).unwrap();
                    let at = format!("2026-02-03T09:{:02}:{:02}.000Z", round, writer);
                    in_shop(json!({
                        "identifiers": [names[first], names[(first + 1) % 3]],
                        "timestamp": at,
                        "purposes": [{"purpose": "Analytics", "enabled": dice % 2 == 0}]
                    }))
                };
                let batch = json!({"records": [record(0), record(1), record(2)]});
                // Where too many write about the same people at once, some are told to come again.
                let (status, answer) = loop {
                    match store.upsert(batch.clone()).await {
                        (429, _) => continue,
                        settled => break settled,
                    }
                };
                assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let nodes = store.all(json!({}), 100).await;
    assert_eq!(nodes.len(), 10);
    for node in nodes {
        assert_eq!(node["identifiers"].as_array().unwrap().len(), 4, "{node}");
    }
    check_tables(&store.server).await;
}

#[tokio::test]
async fn no_identifier_and_no_answer_stands_in_a_table_in_clear() {
    let store = Preferences::start().await;
    let canaries = [
        "canary.bird@example.test",
        "+351919191919",
        "canary-core-id",
        "CanaryShop",
        "CANARYSTRING",
        "1912-06",
    ];
    store
        .record(json!({
            "userId": "Canary.Bird@Example.test",
            "identifiers": [
                {"name": "phone", "value": canaries[1]}, {"name": "coreIdentifier", "value": canaries[2]}
            ],
            "metadata": [{"key": "store", "value": canaries[3]}],
            "tcf": canaries[4],
            "birthDate": canaries[5],
            "purposes": [{"purpose": "Analytics", "enabled": true, "sourceSystem": canaries[3]}]
        }))
        .await;
    let (_, refused) = store
        .query(
            SHOP,
            json!({"filter": {"identifiers": [email_of(canaries[0])]}, "limit": 0}),
        )
        .await;
    assert!(!refused.to_string().contains(canaries[0]));
    let mut rows = 0;
    for table in antumbra_server::tables() {
        for (key, value) in rows_of(&store.server, table).await {
            rows += 1;
            for canary in canaries.iter().chain(&["Canary.Bird@Example.test"]) {
                for bytes in [&key, &value] {
                    let found = bytes
                        .windows(canary.len())
                        .any(|window| window.eq_ignore_ascii_case(canary.as_bytes()));
                    assert!(!found, "{table} shows {canary}");
                }
            }
        }
    }
    assert!(rows > 10);
}

/// Looks at every row of the store: each is led to, and leads to something, as the tables promise. Gives the number of
/// rows of each table.
async fn check_tables(server: &TestServer) -> BTreeMap<&'static str, usize> {
    let uuid = |bytes: &[u8]| Uuid::from_slice(bytes).unwrap();
    let records = rows_of(server, "preference_records").await;
    // organization 16, partition 16, record 16; version 1, timestamp 8, updated at 8, revision 4.
    let living: BTreeMap<Uuid, (i64, i64, u32)> = records
        .iter()
        .map(|(key, value)| {
            let number = |from: usize| i64::from_be_bytes(value[from..from + 8].try_into().unwrap());
            let revision = u32::from_be_bytes(value[17..21].try_into().unwrap());
            (uuid(&key[32..48]), (number(1), number(9), revision))
        })
        .collect();
    let owners = rows_of(server, "preference_owners").await;
    for (_, value) in &owners {
        assert!(
            living.contains_key(&uuid(value)),
            "an index row leads to a record that is not there"
        );
    }
    let time_of = |key: &[u8]| (u64::from_be_bytes(key[32..40].try_into().unwrap()) ^ (1 << 63)).cast_signed();
    let by_update = rows_of(server, "preferences_by_update").await;
    let by_event = rows_of(server, "preferences_by_event").await;
    assert_eq!((by_update.len(), by_event.len()), (living.len(), living.len()));
    for (key, _) in &by_update {
        assert_eq!(living[&uuid(&key[40..56])].1, time_of(key));
    }
    for (key, _) in &by_event {
        assert_eq!(living[&uuid(&key[40..56])].0, time_of(key));
    }
    let keys: BTreeSet<Uuid> = rows_of(server, "subject_keys")
        .await
        .iter()
        .map(|(key, _)| uuid(&key[16..32]))
        .collect();
    let history = rows_of(server, "preference_history").await;
    let mut changes: BTreeMap<Uuid, u32> = BTreeMap::new();
    for (key, _) in &history {
        let record = uuid(&key[32..48]);
        assert!(keys.contains(&record), "a history without its key");
        if key[48] == 0 {
            *changes.entry(record).or_default() += 1;
        }
    }
    for (id, (_, _, revision)) in &living {
        assert!(keys.contains(id), "a record without its key");
        assert_eq!(changes[id], *revision, "each revision has its row of history");
    }
    assert_eq!(keys, changes.keys().copied().collect(), "a key that protects nothing");
    BTreeMap::from([
        ("preference_records", records.len()),
        ("preference_owners", owners.len()),
        ("preference_history", history.len()),
    ])
}
