//! What triggers could not open, and what becomes of it.

use std::time::Duration;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Shop {
    /// A shop with a trigger whose data subject type takes no requests at present.
    async fn misconfigured() -> Shop {
        let shop = Shop::open().await;
        shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
        shop.customers_may_ask(false).await;
        shop
    }

    async fn customers_may_ask(&self, active: bool) {
        let customer = &self.manage("{ internalSubjects { id type } }").await[0]["id"];
        let toggle =
            format!("mutation {{ toggleSubject(input: {{id: {customer}, active: {active}}}) {{ clientMutationId }} }}");
        self.manage(&toggle).await;
    }

    async fn missed(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        rows_of(self.server(), "missed_workflow_triggers").await
    }

    async fn lapsed(&self) -> Vec<String> {
        self.reasons("lapsed").await
    }

    async fn pass(&self, time: Duration) {
        self.server().pass(time).await;
    }
}

#[tokio::test]
async fn what_a_trigger_missed_is_opened_once_as_the_write_wanted_it() {
    let shop = Shop::misconfigured().await;
    let said = json!({"locale": "de", "workflowSettings": {"isTest": true, "dataSiloIds": [shop.cron.0],
        "region": {"country": "FR"}, "attributes": [{"key": "Tags", "values": ["kiosk"]}]}});
    assert_eq!(shop.says(false, "2026-02-03T09:00:00Z", said, json!({})).await, 200);
    let missed = shop.missed().await;
    assert_eq!(
        (missed.len(), shop.failures().await),
        (1, vec!["no-such-subject-type".to_owned()])
    );
    let shown = String::from_utf8_lossy(&missed[0].1);
    assert!(
        !shown.contains("kiosk") && !shown.contains("FR"),
        "it is about the person: {shown}"
    );

    shop.pass(MINUTE).await;
    let failing = shop.manage("{ failingJobs { nodes { kind reason } } }").await;
    let expected = json!([{"kind": "preferences.fire_again", "reason": "no-such-subject-type"}]);
    assert_eq!(failing["nodes"], expected);
    shop.customers_may_ask(true).await;
    shop.pass(12 * MINUTE).await;
    let requests = shop.requests().await;
    let [request] = &requests[..] else {
        panic!("one is opened: {requests:?}")
    };
    let asked = ["isTest", "isSilent", "locale", "country", "email"].map(|member| request[member].clone());
    let expected = [
        json!(true),
        json!(true),
        json!("de"),
        json!("FR"),
        json!("ada@example.test"),
    ];
    assert_eq!(asked, expected);
    assert_eq!(request["attributeValues"][0]["name"], "kiosk");
    assert_eq!(request["purpose"]["consent"], false);
    assert_eq!(shop.receiver.take().len(), 0, "the write named the other silo");
    assert_eq!(shop.missed().await, []);
    shop.pass(DAY).await;
    assert_eq!(shop.count().await, 1);
    assert_eq!(
        shop.manage("{ failingJobs { nodes { kind } } }").await["nodes"],
        json!([])
    );
}

#[tokio::test]
async fn what_has_no_reason_any_more_is_not_opened() {
    let shop = Shop::misconfigured().await;
    shop.refuses_at("2026-02-03T09:00:00Z").await;
    shop.allows_at("2026-02-03T09:01:00Z").await;
    shop.customers_may_ask(true).await;
    shop.pass(MINUTE).await;
    assert_eq!(shop.lapsed().await, ["no-longer-so"]);

    shop.customers_may_ask(false).await;
    shop.refuses_at("2026-02-03T09:02:00Z").await;
    let path = format!("/v1/preferences/{SHOP}/delete");
    let gone =
        json!({"records": [{"anchorIdentifier": email_of("ada@example.test"), "timestamp": "2026-02-03T09:03:00Z"}]});
    let deleted = shop
        .preferences
        .call(reqwest::Method::POST, &path, gone.to_string())
        .await;
    assert_eq!(deleted.0, 200, "{}", deleted.1);
    shop.customers_may_ask(true).await;
    shop.pass(MINUTE).await;
    assert_eq!(shop.lapsed().await[0], "no-such-record");

    shop.customers_may_ask(false).await;
    shop.refuses_at("2026-02-03T09:04:00Z").await;
    let id = shop.manage("{ consentWorkflowTriggers { nodes { id } } }").await["nodes"][0]["id"].clone();
    shop.manage(&format!(
        "mutation {{ deleteConsentWorkflowTriggers(input: {{ids: [{id}]}}) {{ count }} }}"
    ))
    .await;
    shop.customers_may_ask(true).await;
    shop.pass(MINUTE).await;
    assert_eq!(shop.lapsed().await[0], "no-such-trigger");
    assert_eq!((shop.count().await, shop.missed().await), (0, Vec::new()));
}

#[tokio::test]
async fn an_answer_that_expired_meanwhile_is_no_reason_any_more() {
    let shop = Shop::misconfigured().await;
    let purposes = shop
        .manage("{ purposes(first: 100, filterBy: {trackingTypes: [\"ProductNews\"]}) { nodes { id } } }")
        .await;
    let id = &purposes["nodes"][0]["id"];
    shop.manage(&format!(
        "mutation {{ updatePurpose(input: {{id: {id}, consentExpiryDays: 1, onConsentExpiry: ResetAll}}) \
         {{ purpose {{ id }} }} }}"
    ))
    .await;
    shop.refuses_at("2026-03-02T09:00:00Z").await;
    shop.pass(MINUTE).await;
    shop.customers_may_ask(true).await;
    shop.pass(DAY).await;
    assert_eq!(
        (shop.lapsed().await, shop.count().await),
        (vec!["no-longer-so".to_owned()], 0)
    );
}

#[tokio::test]
async fn a_later_write_that_succeeds_is_all_that_is_owed() {
    let shop = Shop::misconfigured().await;
    shop.refuses_at("2026-02-03T09:00:00Z").await;
    shop.allows_at("2026-02-03T09:01:00Z").await;
    shop.refuses_at("2026-02-03T09:02:00Z").await;
    assert_eq!(shop.missed().await.len(), 1, "one request is owed");
    shop.customers_may_ask(true).await;
    shop.allows_at("2026-02-03T09:03:00Z").await;
    shop.refuses_at("2026-02-03T09:04:00Z").await;
    assert_eq!((shop.count().await, shop.missed().await), (1, Vec::new()));
    shop.pass(HOUR).await;
    assert_eq!((shop.count().await, shop.lapsed().await), (1, Vec::new()));
    shop.receiver.take();
}

#[tokio::test]
async fn what_fails_for_a_week_is_given_up_visibly_and_can_be_tried_again() {
    let shop = Shop::misconfigured().await;
    shop.refuses_at("2026-02-03T09:00:00Z").await;
    // Eleven tries; the last seven waits are each a little shorter or longer than a day.
    for _ in 0..20 {
        shop.pass(DAY).await;
    }
    let parked = shop.manage("{ parkedJobs { nodes { id kind reason } } }").await;
    let id = parked["nodes"][0]["id"].clone();
    let expected = json!([{"id": id, "kind": "preferences.fire_again", "reason": "no-such-subject-type"}]);
    assert_eq!(parked["nodes"], expected);
    shop.customers_may_ask(true).await;
    shop.manage(&format!("mutation {{ retryJob(id: {id}) {{ clientMutationId }} }}"))
        .await;
    shop.settle().await;
    assert_eq!((shop.count().await, shop.missed().await), (1, Vec::new()));
    shop.receiver.take();
}

#[tokio::test]
async fn a_call_that_is_only_tried_owes_nothing() {
    let shop = Shop::misconfigured().await;
    let record = json!({"identifiers": [email_of("ada@example.test")],
        "purposes": [{"purpose": "ProductNews", "enabled": false}]});
    let body = json!({"records": [in_shop(record)]}).to_string();
    let tried = shop
        .preferences
        .call(reqwest::Method::POST, "/v1/preferences/check", body)
        .await;
    assert_eq!(tried.0, 200, "{}", tried.1);
    assert_eq!((shop.missed().await, shop.failures().await), (Vec::new(), Vec::new()));
}
