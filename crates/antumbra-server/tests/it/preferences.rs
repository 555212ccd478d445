//! The preference store, seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use antumbra_server::{
    api_keys::{ApiKeyInput, ScopeName},
    audit::Actor,
    keyring::{KeyKind, destroy_key},
    organization::{Changes, Identifier, IdentifierId, IdentifierKind, OrganizationId},
    purposes::{self, NewPurpose, NewTopic, OptionChange, OptionId, PurposeId, TopicKind},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{TestServer, key_input, rows::rows_of};

mod access_tokens;
mod amend;
mod answers;
mod change_webhooks;
mod checks;
mod expiry;
mod feed;
mod histories;
mod iab;
mod lookup;
mod old_dialect;
mod people;
mod queries;
mod refusals;
mod strangers;
mod sync;
mod tables;
mod timeline;
mod triggers;
mod writes;

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

/// Loses the key of a record, as a fault would.
async fn lose_key(server: &TestServer, node: &Value) {
    let mut tx = server.app().store.begin_write().await.unwrap();
    let id: Uuid = transcend_of(node).parse().unwrap();
    destroy_key(&mut tx, server.organization, KeyKind::Subject, id);
    tx.commit().await.unwrap();
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

fn without_timestamps(purposes: &Value) -> Value {
    let mut purposes = purposes.clone();
    for purpose in purposes.as_array_mut().unwrap() {
        purpose.as_object_mut().unwrap().remove("timestamp");
    }
    purposes
}
/// Looks at every row of the store: each is led to, and leads to something, as the tables promise. Gives the number of
/// rows of each table.
async fn check_tables(server: &TestServer) -> BTreeMap<&'static str, usize> {
    check_tables_after(server, 0).await
}

/// The same after so many keys were destroyed: that many histories, and no more, can't be read any longer.
async fn check_tables_after(server: &TestServer, destroyed: usize) -> BTreeMap<&'static str, usize> {
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
        if key[48] == 0 {
            *changes.entry(record).or_default() += 1;
        }
    }
    for (id, (_, _, revision)) in &living {
        assert!(keys.contains(id), "a record without its key");
        assert_eq!(changes[id], *revision, "each revision has its row of history");
    }
    let told: BTreeSet<Uuid> = changes.keys().copied().collect();
    assert!(keys.is_subset(&told), "a key that protects nothing");
    assert_eq!(told.len() - keys.len(), destroyed, "a history without its key");
    BTreeMap::from([
        ("preference_records", records.len()),
        ("preference_owners", owners.len()),
        ("preference_history", history.len()),
    ])
}
