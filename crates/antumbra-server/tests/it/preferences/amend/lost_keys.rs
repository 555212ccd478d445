//! Records whose keys are lost: they can't be read, and still be deleted.

use antumbra_server::keyring::{KeyKind, OrganizationKeys};

use super::*;

const AT_NINE: &str = "2026-02-03T09:00:00.000Z";

fn phone() -> Value {
    json!({"name": "phone", "value": "+351910000017"})
}

/// A person with an address and a number.
async fn ada(store: &Preferences) -> Value {
    let record = json!({"identifiers": [email_of("ada@example.test"), phone()], "timestamp": AT_NINE,
        "purposes": [{"purpose": "Analytics", "enabled": true}]});
    store.record(record).await
}

/// Puts the key of one record in the place of another's, where it does not open.
async fn spoil_key(store: &Preferences, node: &Value) {
    let app = store.server.app();
    let keys = app.keys.organization(store.server.organization).await.unwrap();
    let keys: &OrganizationKeys = &keys;
    let (_, of_another) = keys.seal_new(KeyKind::Subject, Uuid::from_u128(7));
    let mut tx = app.store.begin_write().await.unwrap();
    let adding = keys.adding(&mut tx).await.unwrap();
    let id: Uuid = transcend_of(node).parse().unwrap();
    adding.put(&mut tx, KeyKind::Subject, id, &of_another).unwrap();
    tx.commit().await.unwrap();
}

/// Rows that are about a record by its id.
async fn rows_about(server: &TestServer, node: &Value) -> usize {
    let id: Uuid = transcend_of(node).parse().unwrap();
    let mut count = 0;
    for table in [
        "preference_records",
        "preferences_by_update",
        "preferences_by_event",
        "subject_keys",
    ] {
        let rows = rows_of(server, table).await;
        count += rows
            .iter()
            .filter(|(key, _)| key.windows(16).any(|part| part == id.as_bytes()))
            .count();
    }
    count
}

#[tokio::test]
async fn a_record_whose_key_is_lost_or_does_not_open_can_be_deleted() {
    for is_lost in [true, false] {
        let store = Preferences::start().await;
        let node = ada(&store).await;
        match is_lost {
            true => lose_key(&store.server, &node).await,
            false => spoil_key(&store, &node).await,
        }
        // It is shown as what it is, and does not hold up its neighbours.
        store.record_choice("bo@example.test", "Analytics", true, AT_NINE).await;
        let nodes = store.all(json!({}), 10).await;
        let status = |node: &Value| node["system"]["decryptionStatus"].clone();
        assert_eq!(
            nodes.iter().map(status).collect::<Vec<_>>(),
            [json!("DECRYPTED"), json!("ERROR")]
        );

        let records = json!([deletion(phone())]);
        let (code, answer) = store.amend("delete", records.clone()).await;
        assert_eq!(
            (code, answer),
            (200, json!({"records": [{"success": true}], "failures": []}))
        );
        assert_eq!(rows_about(&store.server, &node).await, 0);
        let (_, again) = store.amend("delete", records).await;
        assert_eq!(again["failures"][0]["index"], 0);
        assert_eq!(store.all(json!({}), 10).await.len(), 1);

        // What led to it and was not named leads to nothing, and to a new record once there is one.
        assert!(
            store
                .find(json!({"identifiers": [email_of("ada@example.test")]}))
                .await
                .is_empty()
        );
        let anew = ada(&store).await;
        assert_ne!(transcend_of(&anew), transcend_of(&node));
        check_tables_after(&store.server, 1).await;
    }
}

#[tokio::test]
async fn every_identifier_that_a_call_names_is_forgotten_with_the_record() {
    let store = Preferences::start().await;
    let node = ada(&store).await;
    lose_key(&store.server, &node).await;
    let records = json!([deletion(phone()), deletion(email_of("ada@example.test"))]);
    let (_, answer) = store.amend("delete", records).await;
    assert_eq!(
        (&answer["records"][0]["success"], &answer["failures"][0]["index"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(rows_of(&store.server, "preference_owners").await.len(), 0);
    check_tables_after(&store.server, 1).await;
}

#[tokio::test]
async fn a_deleted_record_whose_key_was_lost_stands_in_the_feed_and_in_the_audit_log() {
    let store = Preferences::start().await;
    let node = ada(&store).await;
    lose_key(&store.server, &node).await;
    let id = json!({"name": "transcend", "value": transcend_of(&node)});
    let (_, answer) = store.amend("delete", json!([deletion(id)])).await;
    assert_eq!(answer["failures"], json!([]), "{answer}");
    let changes = store.wait_for_changes(2).await;
    assert_eq!(
        (&changes[0]["erased"], &changes[1]["type"]),
        (&json!(true), &json!("deleted"))
    );
    let mut reader = store.server.app().store.begin_read().await.unwrap();
    let entries = antumbra_server::audit::list(&mut reader, store.server.organization, None, 1000)
        .await
        .unwrap();
    assert!(entries.iter().any(|(_, entry)| entry.action == "preferences.deleted"));
}
