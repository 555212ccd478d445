//! Tokens of the preference centre: made by the management API as the clients' program asks for them, and what they permit.

use std::time::Duration;

use reqwest::Method;

use antumbra_server::{ServerConfig, config::PreferencesConfig};

use super::*;
use crate::support::manage::{manage, manage_refused};

const AT: &str = "2026-02-04T18:22:10.031Z";

/// A preference centre, and the key that has its tokens made.
struct Centre {
    preferences: Preferences,
    key: String,
}

impl Centre {
    async fn open() -> Centre {
        Centre::of(Preferences::start().await).await
    }

    async fn of(preferences: Preferences) -> Centre {
        let key = preferences
            .server
            .key(&[ScopeName::GeneratePreferenceAccessTokens])
            .await;
        Centre { preferences, key }
    }

    fn server(&self) -> &TestServer {
        &self.preferences.server
    }

    /// Sends what the clients' program sends.
    async fn ask(&self, key: &str, records: Value) -> Value {
        let document = "mutation CreateAccessTokens($input: CreatePrivacyCenterAccessTokensInput!) { \
            createPrivacyCenterAccessTokens(input: $input) { nodes { id token email coreIdentifier link } } }";
        let body = json!({ "query": document, "variables": { "input": { "records": records } } });
        let answer = call(self.server(), key, Method::POST, "/graphql", body.to_string()).await;
        answer.1
    }

    async fn make(&self, records: Value) -> Vec<Value> {
        let answer = self.ask(&self.key, records).await;
        let nodes = answer["data"]["createPrivacyCenterAccessTokens"]["nodes"].as_array();
        nodes.unwrap_or_else(|| panic!("{answer}")).clone()
    }

    async fn token(&self, more: Value) -> String {
        self.make(json!([record_of("ana@example.org", more)])).await[0]["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn refusal(&self, records: Value) -> String {
        let answer = self.ask(&self.key, records).await;
        answer["errors"][0]["message"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    async fn get(&self, token: &str, partition: &str) -> (u16, Value) {
        let path = format!("/sync?partition={partition}");
        let request = self.server().client().get(self.server().url(&path)).bearer_auth(token);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default(),
        )
    }

    async fn tell(&self, token: &str, purposes: Value) -> (u16, Value) {
        let consent = json!({ "purposes": purposes, "confirmed": true, "timestamp": AT });
        let body = json!({ "token": token, "partition": SHOP, "consent": consent });
        let request = self
            .server()
            .client()
            .post(self.server().url("/sync"))
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

fn record_of(email: &str, more: Value) -> Value {
    let mut record = json!({ "email": email, "subjectType": "customer", "scopes": ["preferenceManagement"] });
    record
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    record
}

#[tokio::test]
async fn checklist_16_fifty_tokens_come_in_the_order_in_which_they_were_asked_for() {
    let centre = Centre::open().await;
    let people: Vec<Value> = (0..50)
        .map(|n| record_of(&format!("p{n:02}@example.org"), json!({ "expiresIn": 31_557_600 })))
        .collect();
    let nodes = centre.make(json!(people)).await;
    assert_eq!(nodes.len(), 50);
    let mut tokens = BTreeSet::new();
    for (n, node) in nodes.iter().enumerate() {
        let email = format!("p{n:02}@example.org");
        assert_eq!(
            (&node["email"], &node["coreIdentifier"]),
            (&json!(email), &json!(email))
        );
        let token = node["token"].as_str().unwrap();
        let (status, kept) = centre.tell(token, json!({ "Analytics": n % 2 == 0 })).await;
        assert_eq!((status, &kept["purposes"]), (200, &json!({ "Analytics": n % 2 == 0 })));
        let record = centre.preferences.find_email(&email).await;
        assert_eq!(
            enabled(&record, "Analytics"),
            Some(n % 2 == 0),
            "the token is that person's"
        );
        tokens.insert(token);
    }
    assert_eq!(tokens.len(), 50);
}

#[tokio::test]
async fn a_token_shows_and_changes_its_holders_record_and_no_other() {
    let centre = Centre::open().await;
    let token = centre.token(json!({})).await;
    assert_eq!(centre.get(&token, SHOP).await.0, 204);
    centre
        .preferences
        .record_choice("bob@example.org", "Analytics", true, AT)
        .await;
    assert_eq!(centre.get(&token, SHOP).await.0, 204, "that is somebody else");
    centre
        .preferences
        .record_choice("ana@example.org", "ProductNews", true, AT)
        .await;
    let (status, kept) = centre.tell(&token, json!({ "Analytics": false })).await;
    assert_eq!(
        (status, &kept["purposes"]),
        (200, &json!({ "Analytics": false, "ProductNews": true }))
    );
    assert_eq!(centre.get(&token, SHOP).await, (200, kept));
    assert_eq!(
        centre.get(&token, GAMES).await.0,
        204,
        "partitions know nothing of each other"
    );
    let bob = centre.preferences.find_email("bob@example.org").await;
    assert_eq!(enabled(&bob, "Analytics"), Some(true));
    // Nothing but `/sync` knows the token.
    for (method, path) in [(Method::PUT, "/v1/preferences"), (Method::POST, "/graphql")] {
        assert_eq!(
            call(centre.server(), &token, method, path, "{}".to_owned()).await.0,
            401
        );
    }
}

#[tokio::test]
async fn a_core_identifier_finds_the_person_too() {
    let centre = Centre::open().await;
    let purposes = json!([{ "purpose": "Analytics", "enabled": true }]);
    let known = json!({ "identifiers": [{ "name": "coreIdentifier", "value": "customer-17" }], "purposes": purposes });
    centre.preferences.record(known).await;
    let token = centre.token(json!({ "coreIdentifier": "customer-17" })).await;
    assert_eq!(
        centre.get(&token, SHOP).await.1["purposes"],
        json!({ "Analytics": true })
    );
    centre.tell(&token, json!({ "Functional": false })).await;
    let record = centre.preferences.find_email("ana@example.org").await;
    assert_eq!(
        enabled(&record, "Analytics"),
        Some(true),
        "it is one record, which has both identifiers now"
    );
}

#[tokio::test]
async fn a_token_is_good_for_an_hour_or_as_long_as_was_asked() {
    let centre = Centre::open().await;
    let (usual, short) = (
        centre.token(json!({})).await,
        centre.token(json!({ "expiresIn": 60 })).await,
    );
    let good = async |token: &str| centre.get(token, SHOP).await.0 == 204;
    centre.server().clock.advance(Duration::from_secs(59));
    assert!(good(&short).await);
    centre.server().clock.advance(Duration::from_secs(1));
    assert!(!good(&short).await && good(&usual).await);
    centre.server().clock.advance(Duration::from_secs(3540));
    assert!(!good(&usual).await);
}

#[tokio::test]
async fn a_token_that_was_not_made_here_for_this_opens_nothing() {
    let centre = Centre::open().await;
    let token = centre.token(json!({})).await;
    let other_right = centre.token(json!({ "scopes": ["dsrAutomation"] })).await;
    let both = centre
        .token(json!({ "scopes": ["dsrAutomation", "preferenceManagement"] }))
        .await;
    assert_eq!(centre.get(&both, SHOP).await.0, 204);
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("{token}")
    };
    let said = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).unwrap();
    let altered = |from: &str, to: &str| {
        let altered = String::from_utf8(said.clone()).unwrap().replace(from, to);
        assert_ne!(altered.as_bytes(), said, "{from}");
        let claims = base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, altered);
        format!("{header}.{claims}.{signature}")
    };
    let ours = centre.server().organization.0.to_string();
    let other = centre.server().another_organization().await;
    for (case, token) in [
        ("another right", other_right),
        ("another person", altered("ana@example.org", "bob@example.org")),
        ("another organization", altered(&ours, &other.0.to_string())),
        ("nobody's", altered(&ours, "0196b3a0-0000-7000-8000-00000000dead")),
        ("unsigned", format!("{header}.{claims}.")),
        ("cut short", token[..token.len() - 1].to_owned()),
    ] {
        let (status, answer) = centre.get(&token, SHOP).await;
        assert_eq!(
            (status, &answer["error"]),
            (400, &json!("The consent token could not be verified")),
            "{case}"
        );
        assert_eq!(centre.tell(&token, json!({})).await.0, 400, "{case}");
    }
    configure(centre.server(), other, &["next-door"]).await;
    let (status, answer) = centre.get(&token, "next-door").await;
    assert_eq!(
        (status, &answer["code"]),
        (400, &json!("VALIDATION_FAILED")),
        "it is good in its own organization only"
    );
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_by_its_place_and_without_its_value() {
    let centre = Centre::open().await;
    let good = || record_of("ana@example.org", json!({}));
    for (more, rule) in [
        (
            json!({ "subjectType": "nobody" }),
            "subjectType is not an active data subject type of this organization",
        ),
        (
            json!({ "email": "no address" }),
            "email is not a value that this identifier can have",
        ),
        (
            json!({ "coreIdentifier": " " }),
            "coreIdentifier is not a value that this identifier can have",
        ),
        (json!({ "scopes": [] }), "scopes must not be empty"),
        (json!({ "expiresIn": 0 }), "expiresIn must be 1 or more"),
    ] {
        let records = json!([good(), record_of("ana@example.org", more)]);
        assert_eq!(
            centre.refusal(records).await,
            format!("Client error: records[1].{rule}")
        );
    }
    let many: Vec<Value> = (0..51).map(|_| good()).collect();
    assert_eq!(
        centre.refusal(json!(many)).await,
        "Client error: records has more than 50 entries"
    );
    assert!(centre.make(json!([])).await.is_empty());
    let weak = centre.server().key(&[ScopeName::ReadOnly]).await;
    let document = "mutation { createPrivacyCenterAccessTokens(input: {records: []}) { nodes { token } } }";
    let refused = manage_refused(centre.server(), &weak, document).await;
    assert!(refused.contains("Generate Preference Access Tokens"), "{refused}");
    let stranger = centre.ask("ant_nobody", json!([])).await;
    assert!(
        stranger["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("API key is invalid")
    );
}

#[tokio::test]
async fn each_token_is_recorded_and_so_is_what_its_holder_does() {
    let centre = Centre::open().await;
    let token = centre.token(json!({})).await;
    centre.tell(&token, json!({ "Analytics": true })).await;
    let mut reader = centre.server().app().store.begin_read().await.unwrap();
    let entries = antumbra_server::audit::list(&mut reader, centre.server().organization, None, 1_000)
        .await
        .unwrap();
    let find = |action: &str| {
        entries
            .iter()
            .find(|(_, entry)| entry.action == action)
            .unwrap()
            .1
            .clone()
    };
    let (made, written) = (find("access_token.created"), find("preferences.upserted"));
    assert!(matches!(made.actor, Actor::ApiKey(_)));
    assert_eq!(written.actor, Actor::AccessToken(made.object_id));
}

#[tokio::test]
async fn a_revoked_token_opens_nothing_and_its_neighbours_stay_good() {
    let mut centre = Centre::open().await;
    let people = json!([
        record_of("ana@example.org", json!({})),
        record_of("ana@example.org", json!({}))
    ]);
    let nodes = centre.make(people).await;
    let (gone, stays) = (nodes[0]["token"].as_str().unwrap(), nodes[1]["token"].as_str().unwrap());
    let revoke = format!(
        "mutation {{ revokePrivacyCenterAccessTokens(ids: [{}]) {{ clientMutationId }} }}",
        nodes[0]["id"]
    );
    for _ in 0..2 {
        manage(centre.server(), &centre.key, &revoke).await;
    }
    centre.preferences.server.restart().await;
    assert_eq!(
        (centre.get(gone, SHOP).await.0, centre.get(stays, SHOP).await.0),
        (400, 204)
    );
    assert_eq!(centre.tell(gone, json!({ "Analytics": true })).await.0, 400);
    let mut reader = centre.server().app().store.begin_read().await.unwrap();
    let entries = antumbra_server::audit::list(&mut reader, centre.server().organization, None, 1_000)
        .await
        .unwrap();
    let revoked = entries
        .iter()
        .filter(|(_, entry)| entry.action == "access_token.revoked");
    let ids: Vec<String> = revoked.map(|(_, entry)| entry.object_id.to_string()).collect();
    assert_eq!(json!(ids), json!([nodes[0]["id"]]), "once for each token");
    let weak = centre.server().key(&[ScopeName::ReadOnly]).await;
    let refused = manage_refused(centre.server(), &weak, &revoke).await;
    assert!(refused.contains("Generate Preference Access Tokens"), "{refused}");
    let odd = "mutation { revokePrivacyCenterAccessTokens(ids: [\"x\"]) { clientMutationId } }";
    let refused = manage_refused(centre.server(), &centre.key, odd).await;
    assert!(refused.contains("access token"), "{refused}");
}

#[tokio::test]
async fn a_link_is_given_where_the_server_was_told_the_page() {
    let centre = Centre::open().await;
    assert_eq!(
        centre.make(json!([record_of("ana@example.org", json!({}))])).await[0]["link"],
        json!(null)
    );
    let config = ServerConfig {
        preferences: PreferencesConfig {
            access_link: Some("https://shop.example.test/mine?lang=en#token={token}".to_owned()),
            ..PreferencesConfig::default()
        },
        ..ServerConfig::default()
    };
    let server = TestServer::with(config).await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    let centre = Centre::of(Preferences { server, key }).await;
    let node = &centre.make(json!([record_of("ana@example.org", json!({}))])).await[0];
    let expected = format!(
        "https://shop.example.test/mine?lang=en#token={}",
        node["token"].as_str().unwrap()
    );
    assert_eq!(node["link"], expected);
}
