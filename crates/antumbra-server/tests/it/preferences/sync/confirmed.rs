//! Defaults that a browser worked out, and what people chose themselves: `confirmed`, sentence by sentence of the contract.

use super::*;

const EARLIER: &str = "2026-01-01T00:00:00.000Z";

fn said(confirmed: bool, timestamp: &str, purposes: Value) -> Value {
    json!({ "purposes": purposes, "confirmed": confirmed, "timestamp": timestamp })
}

impl Pages {
    /// What an integrator says of ana, past the pages.
    async fn upsert(&self, confirmed: Option<bool>, timestamp: &str, purposes: Value) -> Value {
        let mut record =
            json!({ "identifiers": [email_of("ana@example.org")], "timestamp": timestamp, "purposes": purposes });
        if let Some(confirmed) = confirmed {
            record["confirmed"] = json!(confirmed);
        }
        self.preferences.record(record).await
    }

    async fn gateway(&self, body: Value) -> (u16, Value) {
        let key = &self.preferences.key;
        call(self.server(), key, Method::POST, "/sync", body.to_string()).await
    }
}

#[tokio::test]
async fn a_write_of_a_server_is_confirmed_unless_it_says_otherwise() {
    let pages = Pages::open().await;
    let purposes = json!([{ "purpose": "Analytics", "enabled": true }]);
    assert_eq!(pages.upsert(None, EARLIER, purposes.clone()).await["confirmed"], true);
    assert_eq!(
        pages.upsert(Some(false), AT, purposes.clone()).await["confirmed"],
        false
    );
    // The newer statement holds, and at the same time the one that comes later.
    assert_eq!(
        pages.upsert(Some(true), EARLIER, purposes.clone()).await["confirmed"],
        false
    );
    assert_eq!(pages.upsert(Some(true), AT, purposes).await["confirmed"], true);
}

#[tokio::test]
async fn defaults_never_change_a_record_however_new_they_are() {
    let pages = Pages::open().await;
    let purposes = json!([{ "purpose": "Analytics", "enabled": true }]);
    for confirmed in [true, false] {
        let node = pages.upsert(Some(confirmed), AT, purposes.clone()).await;
        let mut defaults = said(false, LATER, json!({ "Analytics": false, "Advertising": true }));
        defaults["metadata"] = json!({ "shop": "7" });
        defaults["usp"] = json!("1YNN");
        defaults["prompted"] = json!(true);
        let before = check_tables(pages.server()).await;
        pages.tell(OF_ANA, defaults).await;
        assert_eq!(
            pages.preferences.find_email("ana@example.org").await["purposes"],
            node["purposes"]
        );
        assert_eq!(check_tables(pages.server()).await, before, "not even in its history");
    }
}

#[tokio::test]
async fn defaults_are_answered_with_what_is_kept_and_nothing_of_theirs() {
    let pages = Pages::open().await;
    pages.tell(OF_ANA, said(true, AT, json!({ "Analytics": false }))).await;
    let mut defaults = said(false, LATER, json!({ "Analytics": true, "Advertising": true }));
    defaults["airgapVersion"] = json!("9.133.1");
    let answer = pages.tell(OF_ANA, defaults).await;
    // A purpose that the page knows and the answer has not keeps the page asking.
    assert_eq!(answer, said(true, AT, json!({ "Analytics": false })));
}

#[tokio::test]
async fn defaults_of_somebody_who_is_not_known_come_back_as_they_were_and_nothing_is_kept() {
    let pages = Pages::open().await;
    let before = check_tables(pages.server()).await;
    let defaults = said(false, LATER, json!({ "Analytics": true }));
    assert_eq!(pages.tell(OF_ANA, defaults.clone()).await, defaults);
    assert_eq!(pages.get(OF_ANA, SHOP).await.status, 204);
    // Values that leave it to a regime are no answers, confirmed or not: answers are booleans.
    let auto = said(
        false,
        LATER,
        json!({ "Analytics": "AutoGDPR", "Advertising": "Auto", "Functional": "off" }),
    );
    assert_eq!(
        pages.tell(OF_ANA, auto).await["purposes"],
        json!({ "Functional": false })
    );
    assert_eq!(check_tables(pages.server()).await, before);
}

#[tokio::test]
async fn defaults_do_not_give_a_record_a_new_name() {
    let pages = Pages::open().await;
    pages
        .tell(&token_of("user-42"), said(true, AT, json!({ "Analytics": true })))
        .await;
    let claims = json!({ "encryptedIdentifier": wrapped(ENCRYPTION_KEY, b"user-43"),
        "deprecatedEncryptedIdentifiers": [wrapped(ENCRYPTION_KEY, b"user-42")] });
    let renamed = signed(SIGNING_KEY, &claims);
    let kept = pages
        .tell(&renamed, said(false, LATER, json!({ "Analytics": false })))
        .await;
    assert_eq!(kept["purposes"], json!({ "Analytics": true }));
    assert_eq!(pages.kept(&token_of("user-43")).await, None);
}

#[tokio::test]
async fn a_first_confirmed_consent_makes_the_record_and_takes_the_place_of_older_defaults() {
    let pages = Pages::open().await;
    let defaults = json!([{ "purpose": "Analytics", "enabled": true }, { "purpose": "Functional", "enabled": true }]);
    pages.upsert(Some(false), EARLIER, defaults).await;
    assert_eq!(
        pages.get(OF_ANA, SHOP).await.status,
        204,
        "what is kept was not confirmed"
    );
    let kept = pages.tell(OF_ANA, said(true, AT, json!({ "Analytics": false }))).await;
    assert_eq!(kept, said(true, AT, json!({ "Analytics": false, "Functional": true })));
    assert_eq!(pages.get(OF_ANA, SHOP).await.json(), kept);
}

#[tokio::test]
async fn of_records_that_become_one_the_whole_is_confirmed_if_any_was() {
    let pages = Pages::open().await;
    let phone = json!({ "name": "phone", "value": "+351910000017" });
    let purposes = json!([{ "purpose": "Analytics", "enabled": true }]);
    pages.upsert(Some(true), EARLIER, purposes.clone()).await;
    let other = json!({ "identifiers": [phone], "timestamp": AT, "confirmed": false, "purposes": purposes });
    pages.preferences.record(other).await;
    let joined =
        json!({ "records": [{ "anchorIdentifier": email_of("ana@example.org"), "append": phone, "timestamp": AT }] });
    let path = format!("/v1/preferences/{SHOP}/append-identifiers");
    let (status, answer) = pages.preferences.call(Method::POST, &path, joined.to_string()).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    assert_eq!(pages.preferences.find_email("ana@example.org").await["confirmed"], true);
}

#[tokio::test]
async fn a_gateway_client_does_not_have_defaults_kept_either() {
    let pages = Pages::open().await;
    let body = |confirmed: Value, enabled: bool| {
        json!({ "partition": SHOP, "identifier": "ana@example.org", "confirmed": confirmed,
            "purposes": [{ "purpose": "Analytics", "enabled": enabled }] })
    };
    let before = check_tables(pages.server()).await;
    let done = (200, json!({ "success": true }));
    assert_eq!(pages.gateway(body(json!(false), true)).await, done);
    assert_eq!(check_tables(pages.server()).await, before);
    assert_eq!(pages.gateway(body(json!(null), true)).await, done);
    assert_eq!(pages.gateway(body(json!(false), false)).await, done);
    let kept = pages.preferences.find_email("ana@example.org").await;
    assert_eq!(
        (enabled(&kept, "Analytics"), &kept["confirmed"]),
        (Some(true), &json!(true))
    );
}
