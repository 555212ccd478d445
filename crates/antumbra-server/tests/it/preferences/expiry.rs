//! Answers that expire: what each way of looking shows of them, before and after.

use std::time::Duration;

use super::*;
use crate::support::manage::{manage, manage_refused};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// When the clock of a test server begins.
const START: &str = "2026-03-02T10:00:00.000Z";

const ADA: &str = "ada@example.test";

/// A shop that says how long answers count.
struct Shop {
    preferences: Preferences,
    admin: String,
}

impl Shop {
    async fn open() -> Shop {
        let preferences = Preferences::start().await;
        let admin = preferences.server.key(&[ScopeName::FullAdmin]).await;
        Shop { preferences, admin }
    }

    async fn purpose_id(&self, purpose: &str) -> String {
        let document =
            format!("{{ purposes(first: 100, filterBy: {{trackingTypes: [\"{purpose}\"]}}) {{ nodes {{ id }} }} }}");
        let found = manage(&self.preferences.server, &self.admin, &document).await;
        found["nodes"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Sets how long answers to a purpose count, and gives what is set then.
    async fn rule(&self, purpose: &str, rule: &str) -> Value {
        let id = self.purpose_id(purpose).await;
        let document = format!(
            "mutation {{ updatePurpose(input: {{id: \"{id}\", {rule}}}) {{ purpose {{ consentExpiryDays onConsentExpiry }} }} }}"
        );
        manage(&self.preferences.server, &self.admin, &document).await["purpose"].clone()
    }

    async fn says(&self, purpose: &str, enabled: bool, at: &str) -> Value {
        self.preferences.record_choice(ADA, purpose, enabled, at).await
    }

    /// Ada's answers as a query shows them, by purpose: what she said, and when that expires.
    async fn sees(&self, view: Value) -> Vec<(String, bool, Option<String>)> {
        let mut body = json!({"filter": {"identifiers": [email_of(ADA)]}});
        body.as_object_mut().unwrap().extend(view.as_object().unwrap().clone());
        let (status, answer) = self.preferences.query(SHOP, body).await;
        assert_eq!(status, 200, "{answer}");
        answers(&answer["nodes"][0])
    }

    fn passes(&self, time: Duration) {
        self.preferences.server.clock.advance(time);
    }

    async fn timeline(&self) -> Vec<Value> {
        let path = format!("/v1/preferences/{SHOP}/consent-records");
        let body = json!({"identifier": email_of(ADA)}).to_string();
        let (status, answer) = self.preferences.call(reqwest::Method::POST, &path, body).await;
        assert_eq!(status, 200, "{answer}");
        answer["records"].as_array().unwrap().clone()
    }
}

fn answers(node: &Value) -> Vec<(String, bool, Option<String>)> {
    let purposes = node["purposes"].as_array().unwrap().iter();
    let answer = |purpose: &Value| {
        let expires = purpose.get("expiresAt").map(|at| at.as_str().unwrap().to_owned());
        (
            purpose["purpose"].as_str().unwrap().to_owned(),
            purpose["enabled"].as_bool().unwrap(),
            expires,
        )
    };
    purposes.map(answer).collect()
}

fn analytics(enabled: bool, expires: Option<&str>) -> (String, bool, Option<String>) {
    ("Analytics".to_owned(), enabled, expires.map(str::to_owned))
}

const GIVEN: &str = "2026-03-01T10:00:00.000Z";
const ENDS: &str = "2026-03-31T10:00:00.000Z";

#[tokio::test]
async fn a_consent_counts_until_it_expires_and_a_refusal_does_not_expire() {
    let shop = Shop::open().await;
    let set = shop.rule("Analytics", "consentExpiryDays: 30").await;
    assert_eq!(set, json!({"consentExpiryDays": 30, "onConsentExpiry": "ResetOptIns"}));
    shop.rule("ProductNews", "consentExpiryDays: 30").await;
    let news = ("ProductNews".to_owned(), false, None);
    shop.says("ProductNews", false, GIVEN).await;
    let node = shop.says("Analytics", true, GIVEN).await;
    let whole = vec![analytics(true, Some(ENDS)), news.clone()];
    assert_eq!(answers(&node), whole);

    shop.passes(DAY * 29 - Duration::from_millis(1));
    assert_eq!(shop.sees(json!({})).await, whole);
    shop.passes(Duration::from_millis(1));
    assert_eq!(shop.sees(json!({})).await, std::slice::from_ref(&news));

    // An older consent that comes late, and one that is too old by now, bring nothing back.
    let node = shop.says("Analytics", true, "2026-02-01T10:00:00.000Z").await;
    assert_eq!(answers(&node), std::slice::from_ref(&news));
    let node = shop.says("Analytics", true, "2026-03-01T10:00:00.001Z").await;
    assert_eq!(
        answers(&node),
        [analytics(true, Some("2026-03-31T10:00:00.001Z")), news.clone()]
    );
    shop.passes(Duration::from_millis(1));
    assert_eq!(shop.sees(json!({})).await, std::slice::from_ref(&news));

    // It was there, and whoever looks from there sees it.
    for view in [
        json!({"asOf": "2026-03-15T00:00:00Z"}),
        json!({"knownAt": "2026-03-15T00:00:00Z"}),
        json!({"asOf": "2026-03-15T00:00:00Z", "knownAt": "2026-03-20T00:00:00Z"}),
    ] {
        assert_eq!(shop.sees(view.clone()).await[0].0, "Analytics", "{view}");
    }
    for view in [
        json!({"asOf": "2026-03-31T10:00:00.001Z"}),
        json!({"asOf": "2027-01-01T00:00:00Z"}),
    ] {
        assert_eq!(shop.sees(view.clone()).await, std::slice::from_ref(&news), "{view}");
    }
}

#[tokio::test]
async fn every_way_of_looking_agrees() {
    let shop = Shop::open().await;
    shop.rule("Analytics", "consentExpiryDays: 30, onConsentExpiry: ResetAll")
        .await;
    let strings = json!({"usp": "1YYN"});
    let record = json!({"identifiers": [email_of(ADA)], "timestamp": GIVEN, "consentManagement": strings, "purposes": [
        {"purpose": "Analytics", "enabled": false}]});
    shop.preferences.record(record).await;
    shop.passes(DAY * 40);
    assert!(shop.sees(json!({})).await.is_empty());
    let lookup = json!({"partition": SHOP, "identifiers": [ADA]}).to_string();
    let (_, flat) = shop
        .preferences
        .call(reqwest::Method::POST, "/v1/consent-preferences", lookup)
        .await;
    assert_eq!(flat["nodes"][0]["purposes"], json!({}));
    let path = format!("/v1/consent-preferences?partition={SHOP}&identifier={ADA}");
    let (_, one) = shop.preferences.call(reqwest::Method::GET, &path, String::new()).await;
    assert_eq!(one["purposes"], json!([]));
    let entries = shop.timeline().await;
    let shown =
        json!([{"purpose": "Analytics", "consent": false, "timestamp": GIVEN, "preferences": [], "expiresAt": ENDS}]);
    assert_eq!(entries[0]["preferencesAtCurrentTime"], shown);

    // What had gone by the time of the next write is among what that entry finds removed.
    shop.says("ProductNews", true, "2026-04-10T00:00:00.000Z").await;
    let entries = shop.timeline().await;
    assert_eq!(entries[1]["changeFromPrevState"]["removed"], shown);
    assert_eq!(entries[1]["preferencesAtCurrentTime"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_feed_says_when_an_answer_expires_and_when_it_counts_for_longer() {
    let shop = Shop::open().await;
    shop.rule("Analytics", "consentExpiryDays: 30").await;
    shop.says("Analytics", true, GIVEN).await;
    // The same again: it counts for longer.
    shop.says("Analytics", true, "2026-03-02T09:00:00.000Z").await;
    // The same again, after it had expired.
    shop.passes(DAY * 60);
    shop.says("Analytics", true, "2026-05-01T00:00:00.000Z").await;
    // Something else, which leaves it as it is.
    shop.says("ProductNews", true, "2026-05-01T00:00:01.000Z").await;
    let changes = shop.preferences.wait_for_changes(4).await;
    let changes: Vec<&Value> = changes.iter().map(|change| &change["changes"]).collect();
    let said = |previous: Value, at: &str, ends: &str| json!([{"purpose": "Analytics", "previous": previous, "current": true, "timestamp": at, "expiresAt": ends}]);
    assert_eq!(*changes[0], said(json!(null), GIVEN, ENDS));
    assert_eq!(
        *changes[1],
        said(json!(true), "2026-03-02T09:00:00.000Z", "2026-04-01T09:00:00.000Z")
    );
    assert_eq!(
        *changes[2],
        said(json!(null), "2026-05-01T00:00:00.000Z", "2026-05-31T00:00:00.000Z")
    );
    assert_eq!(changes[3][0]["purpose"], "ProductNews");
    assert_eq!(
        (changes[3].as_array().unwrap().len(), changes[3][0].get("expiresAt")),
        (1, None)
    );
}

#[tokio::test]
async fn a_rule_holds_from_when_it_is_set_until_the_next_is() {
    let shop = Shop::open().await;
    shop.says("Analytics", true, "2025-01-01T00:00:00.000Z").await;
    shop.passes(DAY);
    let (set_at, before) = ("2026-03-03T10:00:00.000Z", "2026-03-03T09:59:59.999Z");
    shop.rule("Analytics", "consentExpiryDays: 30").await;
    assert!(shop.sees(json!({})).await.is_empty());
    assert_eq!(
        shop.sees(json!({"asOf": before})).await,
        [analytics(true, Some(set_at))]
    );
    assert_eq!(shop.sees(json!({"knownAt": before})).await, [analytics(true, None)]);
    assert_eq!(
        shop.timeline().await[0]["preferencesAtCurrentTime"][0]["expiresAt"],
        set_at
    );
    // Nothing was lost: a period that was too short can be put right.
    shop.passes(DAY);
    shop.rule("Analytics", "consentExpiryDays: 0").await;
    assert_eq!(shop.sees(json!({})).await, [analytics(true, None)]);
    assert!(shop.sees(json!({"asOf": set_at})).await.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_to_be_asked_for_again_stays() {
    let shop = Shop::open().await;
    let set = shop
        .rule("Analytics", "consentExpiryDays: 30, onConsentExpiry: Prompt")
        .await;
    assert_eq!(set["onConsentExpiry"], "Prompt");
    shop.says("Analytics", false, GIVEN).await;
    shop.passes(DAY * 40);
    assert_eq!(shop.sees(json!({})).await, [analytics(false, Some(ENDS))]);
}

#[tokio::test]
async fn a_period_has_its_bounds() {
    let shop = Shop::open().await;
    let id = shop.purpose_id("Analytics").await;
    for days in ["36526", "4294967295"] {
        let document = format!(
            "mutation {{ updatePurpose(input: {{id: \"{id}\", consentExpiryDays: {days}}}) {{ purpose {{ id }} }} }}"
        );
        let said = manage_refused(&shop.preferences.server, &shop.admin, &document).await;
        assert!(said.contains("must be from 0 to 36,525"), "{said}");
    }
    assert_eq!(
        shop.rule("Analytics", "consentExpiryDays: 36525").await["consentExpiryDays"],
        36_525
    );
    shop.rule("Essential", "consentExpiryDays: 1").await;
    shop.says("Essential", true, START).await;
    shop.passes(DAY * 40);
    assert_eq!(shop.sees(json!({})).await, [("Essential".to_owned(), true, None)]);
}
