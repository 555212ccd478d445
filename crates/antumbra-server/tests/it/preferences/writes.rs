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
