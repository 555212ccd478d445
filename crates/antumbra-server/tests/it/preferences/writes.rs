//! What a write changes, and what it leaves.

use super::*;

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
async fn checklist_3_of_two_rows_about_one_address_the_newer_values_survive_though_the_older_comes_last() {
    let store = Preferences::start().await;
    let row = |email: &str, at: &str, enabled: bool, cadence: &str, usp: &str, note: &str| {
        in_shop(json!({
            "userId": email, "timestamp": at, "usp": usp, "metadata": [{"key": "note", "value": note}],
            "purposes": [{"purpose": "ProductNews", "enabled": enabled, "preferences": [
                {"topic": "Cadence", "choice": {"selectValue": cadence}}]}],
        }))
    };
    let newer = |email: &str| row(email, "2026-02-03T10:05:00.000Z", false, "Monthly", "1YYN", "newer");
    let mut older = row(
        "ada@example.test",
        "2026-02-03T10:01:00.000Z",
        true,
        "Weekly",
        "1YNN",
        "older",
    );
    older["purposes"][0]["preferences"]
        .as_array_mut()
        .unwrap()
        .push(json!({"topic": "Paused", "choice": {"booleanValue": true}}));
    let expected = json!([{"purpose": "ProductNews", "enabled": false, "preferences": [
        {"topic": "Cadence", "choice": {"selectValue": "Monthly"}},
        {"topic": "Paused", "choice": {"booleanValue": true}},
    ]}]);
    // In one call, in two, and with the address spelt otherwise.
    let calls = [
        vec![newer("ada@example.test"), older.clone()],
        vec![newer(" ADA@Example.Test")],
        vec![older],
    ];
    for records in calls {
        let (status, answer) = store.upsert(json!({"records": records})).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
        let stored = store.find_email("ada@example.test").await;
        assert_eq!(without_timestamps(&stored["purposes"]), expected);
        assert_eq!(stored["purposes"][0]["timestamp"], "2026-02-03T10:05:00.000Z");
        assert_eq!(stored["timestamp"], "2026-02-03T10:05:00.000Z");
        assert_eq!(stored["consentManagement"]["usp"], "1YYN");
        assert_eq!(stored["metadata"], json!([{"key": "note", "value": "newer"}]));
    }
    assert_eq!(store.find(json!({})).await.len(), 1);
}

#[tokio::test]
async fn checklist_15_ten_thousand_records_pass_a_minute_and_the_call_after_them_is_told_when_to_come_again() {
    let mut config = antumbra_server::ServerConfig::default();
    config.limits.profile = antumbra_server::config::RateProfile::Vendor;
    let server = TestServer::with(config).await;
    configure(&server, server.organization, &[SHOP]).await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    let store = Preferences { server, key };
    let put = async |records: Vec<Value>| {
        let url = store.server.url("/v1/preferences");
        let call = store.server.client().put(url).bearer_auth(&store.key);
        call.json(&json!({"records": records})).send().await.unwrap()
    };
    // Records are counted and not people: it is one whom all of them are about.
    let ada = in_shop(json!({"userId": "ada@example.test"}));
    for call in 0..99 {
        let answer = put(vec![ada.clone(); 100]).await;
        assert_eq!(answer.status(), 200, "{call}");
        assert_eq!(answer.headers()["x-ratelimit-limit"], "10000");
        assert_eq!(
            answer.headers()["x-ratelimit-remaining"],
            (9_900 - 100 * call).to_string().as_str()
        );
    }
    // A call that has more than is left is refused whole, and costs nothing of it.
    let bea = in_shop(json!({"userId": "bea@example.test"}));
    assert_eq!(put(vec![ada.clone()]).await.status(), 200);
    assert_eq!(put(vec![bea.clone(); 100]).await.status(), 429);
    assert_eq!(put(vec![ada.clone(); 99]).await.status(), 200);
    let refused = put(vec![bea]).await;
    assert_eq!(refused.status(), 429);
    let head = |name: &str| refused.headers()[name].to_str().unwrap().to_owned();
    let seconds: i64 = head("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let reset: jiff::Timestamp = head("x-ratelimit-reset").parse().unwrap();
    let now = store.server.clock.now();
    assert!(
        reset > now && reset <= now + jiff::SignedDuration::from_secs(seconds),
        "{reset}"
    );
    assert_eq!(
        (head("x-ratelimit-limit"), head("x-ratelimit-remaining")),
        ("10000".into(), "0".into())
    );
    assert_eq!(
        store.find(json!({})).await.len(),
        1,
        "nothing of what was refused is kept"
    );
    store
        .server
        .clock
        .advance(std::time::Duration::from_secs(u64::try_from(seconds).unwrap()));
    assert_eq!(put(vec![ada; 100]).await.status(), 200);
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
            "tcf": "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA",
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
