//! Changes by somebody who shows neither key nor token.

use antumbra_server::{ServerConfig, audit, config::PreferencesConfig};
use reqwest::Method;

use super::*;
use crate::support::{manage::manage, story};

/// A shop that takes so many changes a minute from an address, and the key of its administrator.
struct Counter {
    preferences: Preferences,
    admin: String,
}

impl Counter {
    async fn taking(unauthenticated_per_minute: u32) -> Counter {
        let preferences = PreferencesConfig {
            unauthenticated_per_minute,
            ..PreferencesConfig::default()
        };
        let config = ServerConfig {
            preferences,
            ..story::config()
        };
        let server = TestServer::with(config).await;
        configure(&server, server.organization, &[SHOP]).await;
        let admin = server.key(&[ScopeName::FullAdmin]).await;
        let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
        Counter {
            preferences: Preferences { server, key },
            admin,
        }
    }

    fn server(&self) -> &TestServer {
        &self.preferences.server
    }

    async fn manage(&self, document: &str) -> Value {
        manage(self.server(), &self.admin, document).await
    }

    async fn protect(&self, tracking_type: &str, level: &str) {
        let list = "{ purposes(first: 100, offset: 0, input: {includeDeleted: false}) { nodes { id trackingType } } }";
        let purposes = self.manage(list).await["nodes"].as_array().unwrap().clone();
        let id = &purposes
            .iter()
            .find(|node| node["trackingType"] == tracking_type)
            .unwrap()["id"];
        let update = format!("updatePurpose(input: {{id: {id}, authLevel: {level}}}) {{ purpose {{ id }} }}");
        self.manage(&format!("mutation {{ {update} }}")).await;
    }

    /// What is answered to somebody who says this about ana, with further members of the call.
    async fn hears(&self, purpose: &str, enabled: bool, more: Value) -> (u16, Value) {
        let mut body = json!({"partition": SHOP, "identifier": "ana@example.test",
            "purposes": [{"purpose": purpose, "enabled": enabled}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let url = self.server().url("/sync");
        let answer = self.server().client().request(Method::POST, url).body(body.to_string());
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn anybody_may_say_what_the_purpose_lets_anybody_say() {
    let shop = Counter::taking(60).await;
    shop.protect("ProductNews", "REQUIRED").await;
    shop.protect("Analytics", "ALLOW_OPT_OUT").await;
    let kept = json!({"success": true});
    assert_eq!(shop.hears("Functional", true, json!({})).await, (200, kept.clone()));
    assert_eq!(shop.hears("Functional", false, json!({})).await, (200, kept.clone()));
    assert_eq!(shop.hears("Analytics", false, json!({})).await, (200, kept.clone()));
    for (purpose, enabled, more, path) in [
        ("ProductNews", true, json!({}), "purposes[0].purpose"),
        ("ProductNews", false, json!({}), "purposes[0].purpose"),
        ("Analytics", true, json!({}), "purposes[0].purpose"),
        ("Functional", true, json!({"confirmed": false}), "confirmed"),
        ("Functional", true, json!({"partition": "nowhere"}), "partition"),
    ] {
        let (status, answer) = shop.hears(purpose, enabled, more).await;
        assert_eq!(
            (status, &answer["details"][0]["path"]),
            (400, &json!(path)),
            "{purpose} {enabled}: {answer}"
        );
    }
    let record = shop.preferences.find_email("ana@example.test").await;
    let answers = ["Functional", "Analytics", "ProductNews"].map(|purpose| enabled(&record, purpose));
    assert_eq!(answers, [Some(false), Some(false), None]);
    let mut reader = shop.server().app().store.begin_read().await.unwrap();
    let entries = audit::list(&mut reader, shop.server().organization, None, 1000)
        .await
        .unwrap();
    let written = entries
        .iter()
        .find(|(_, entry)| entry.action == "preferences.upserted")
        .unwrap();
    assert_eq!(written.1.actor, Actor::Anyone);
}

#[tokio::test]
async fn only_triggers_that_are_to_fire_for_whom_nobody_vouches() {
    let shop = Counter::taking(60).await;
    for (name, allowed) in [("Vouched", false), ("Anyone", true)] {
        let trigger = format!(
            "createOrUpdateConsentWorkflowTrigger(input: {{name: \"{name}\", allowUnauthenticated: {allowed}, isSilent: true, \
             triggerCondition: \"{{\\\"And\\\":[{{\\\"ProductNews\\\":false}}]}}\", actionType: {}, \
             dataSubjectType: \"customer\"}}) {{ consentWorkflowTrigger {{ id }} }}",
            if allowed { "CONTACT_OPT_OUT" } else { "ERASURE" }
        );
        shop.manage(&format!("mutation {{ {trigger} }}")).await;
    }
    assert_eq!(shop.hears("ProductNews", false, json!({})).await.0, 200);
    let list = "{ requests(first: 10) { nodes { type } } }";
    assert_eq!(shop.manage(list).await["nodes"], json!([{"type": "CONTACT_OPT_OUT"}]));
    for (enabled, at) in [(true, "2026-03-02T10:01:00Z"), (false, "2026-03-02T10:02:00Z")] {
        shop.preferences
            .record_choice("ana@example.test", "ProductNews", enabled, at)
            .await;
    }
    let requests = shop.manage(list).await["nodes"].as_array().unwrap().len();
    assert_eq!(requests, 3, "with a key both fire");
    shop.server().settle().await;
}

#[tokio::test]
async fn who_says_too_much_in_a_minute_waits_and_by_default_nobody_is_heard() {
    let shop = Counter::taking(2).await;
    let says = async || shop.hears("Functional", true, json!({})).await.0;
    assert_eq!((says().await, says().await, says().await), (200, 200, 429));
    shop.server().clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(says().await, 200);

    let closed = Counter::taking(0).await;
    let (status, answer) = closed.hears("Functional", true, json!({})).await;
    assert_eq!(
        (status, &answer["error"]),
        (400, &json!("The consent token could not be verified"))
    );
}
