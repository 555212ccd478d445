//! `POST /v1/preferences/check`: what an upsert would answer, with nothing kept.

use super::*;

async fn check(shop: &Preferences, records: Value) -> (u16, Value) {
    let body = json!({ "records": records }).to_string();
    shop.call(reqwest::Method::POST, "/v1/preferences/check", body).await
}

#[tokio::test]
async fn a_check_answers_as_the_upsert_would_and_keeps_nothing() {
    let shop = Preferences::start().await;
    shop.record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00Z")
        .await;
    let tables = [
        "preference_records",
        "preference_history",
        "subject_keys",
        "audit_entries",
    ];
    let mut before = Vec::new();
    for table in tables {
        before.push(rows_of(&shop.server, table).await);
    }
    let records = json!([
        in_shop(
            json!({ "identifiers": [email_of("ada@example.test")], "timestamp": "2026-02-04T09:00:00Z",
            "purposes": [{ "purpose": "Analytics", "enabled": false }] })
        ),
        in_shop(json!({ "identifiers": [email_of("bo@example.test")], "timestamp": "2026-02-04T09:00:00Z" })),
        in_shop(
            json!({ "identifiers": [{ "name": "transcend", "value": "0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201" }],
            "timestamp": "2026-02-04T09:00:00Z" })
        ),
    ]);

    let (status, answer) = check(&shop, records.clone()).await;

    assert_eq!((status, &answer["success"]), (200, &json!(false)), "{answer}");
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 2);
    assert_eq!(answer["nodes"][0]["purposes"][0]["enabled"], false);
    assert_eq!(answer["failures"][0]["index"], 2);
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(rows_of(&shop.server, table).await, before, "{table}");
    }
    let (status, upserted) = shop.upsert(json!({ "records": records })).await;
    assert_eq!((status, &upserted["failures"]), (200, &answer["failures"]));
}

#[tokio::test]
async fn a_check_names_every_bad_record_with_its_place() {
    let shop = Preferences::start().await;
    let bad = in_shop(json!({ "identifiers": [email_of("no address")], "timestamp": "yesterday" }));
    let (status, answer) = check(&shop, json!([bad])).await;
    assert_eq!(status, 400);
    let places: Vec<_> = answer["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["path"])
        .collect();
    assert_eq!(places, ["records[0].timestamp", "records[0].identifiers[0].value"]);
}
