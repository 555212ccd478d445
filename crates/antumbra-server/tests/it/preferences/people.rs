//! Whose record it is: identifiers, joined people, partitions.

use super::*;

#[tokio::test]
async fn a_legacy_user_id_is_returned_as_it_was_sent_and_found_without_a_name() {
    let store = Preferences::start().await;
    let node = store
        .record(json!({"userId": "Bruno@Example.org", "usp": "1YYN"}))
        .await;
    assert_eq!(node["userId"], "Bruno@Example.org");
    assert_eq!(node["identifiers"][0], email_of("bruno@example.org"));
    let node = store.record(json!({"userId": "customer-17"})).await;
    assert_eq!(
        node["identifiers"][0],
        json!({"name": "coreIdentifier", "value": "customer-17"})
    );
    let found = store
        .find(json!({"identifiers": [{"value": "customer-17"}, {"value": "BRUNO@example.org"}, {"value": "nobody"}]}))
        .await;
    let shown: Vec<&str> = found.iter().map(|node| node["userId"].as_str().unwrap()).collect();
    assert_eq!(shown, ["customer-17", "BRUNO@example.org"]);
}

#[tokio::test]
async fn a_user_id_that_nobody_gave_is_the_email_or_else_an_identifier_that_is_nobody_elses() {
    let store = Preferences::start().await;
    let app = store.server.app();
    let mut tx = app.store.begin_write().await.unwrap();
    let now = app.clock.now();
    let plan = Identifier::new(
        IdentifierId(app.ids.uuid()),
        "aPlan".to_owned(),
        IdentifierKind::Custom,
        now,
    );
    let mut changes = Changes {
        tx: &mut tx,
        ids: &app.ids,
        organization: store.server.organization,
        actor: Actor::Operator,
        at: now,
    };
    changes.save_identifier(&plan).await.unwrap();
    tx.commit().await.unwrap();

    let plan = json!({"name": "aPlan", "value": "family"});
    let account = json!({"name": "coreIdentifier", "value": "customer-17"});
    let node = store.record(json!({"identifiers": [plan, account]})).await;
    assert_eq!(node["identifiers"][0], plan);
    assert_eq!(node["userId"], "customer-17");
    let found = store.find(json!({"identifiers": [account]})).await;
    assert_eq!(found[0]["userId"], "customer-17");
    let node = store
        .record(json!({"identifiers": [account, email_of("ana@example.test")]}))
        .await;
    assert_eq!(node["userId"], "ana@example.test");
}

#[tokio::test]
async fn a_record_is_found_by_its_own_id_in_either_case() {
    let store = Preferences::start().await;
    let node = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    let id = transcend_of(&node);
    for value in [id.clone(), id.to_uppercase()] {
        let found = store
            .find(json!({"identifiers": [{"name": "transcend", "value": value}]}))
            .await;
        assert_eq!(found.len(), 1);
    }
    let by_id = json!({
        "identifiers": [{"name": "transcend", "value": id}],
        "purposes": [{"purpose": "Analytics", "enabled": false}]
    });
    let node = store.record(by_id).await;
    assert_eq!(
        (enabled(&node, "Analytics"), node["userId"].as_str()),
        (Some(false), Some("ada@example.test"))
    );
}

#[tokio::test]
async fn checklist_9_an_unknown_transcend_id_fails_alone_with_the_documented_sentence() {
    let store = Preferences::start().await;
    let stranger = json!({"name": "transcend", "value": "0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201"});
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    let (status, answer) = store
        .upsert(json!({"records": [
            in_shop(json!({"identifiers": [stranger]})),
            in_shop(json!({"identifiers": [email_of("ada@example.test"), stranger]})),
            in_shop(json!({"identifiers": [email_of("bea@example.test")]})),
        ]}))
        .await;
    let sentence = "The transcend identifier in this request does not match any consent profile for this organization.";
    assert_eq!(status, 200);
    assert_eq!(answer["success"], json!(false));
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(
        answer["failures"],
        json!([{"index": 0, "error": sentence}, {"index": 1, "error": sentence}])
    );
}

#[tokio::test]
async fn checklist_8_identifiers_of_two_records_make_them_one_and_both_ids_still_lead_to_it() {
    let store = Preferences::start().await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let a = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let b = store
        .record(json!({
            "identifiers": [phone],
            "timestamp": "2026-02-03T10:00:00.000Z",
            "confirmed": false,
            "purposes": [{"purpose": "Analytics", "enabled": false}, {"purpose": "Advertising", "enabled": true}]
        }))
        .await;
    let both = json!({"identifiers": [email_of("ada@example.test"), phone], "timestamp": "2026-02-03T08:00:00.000Z"});

    let mut refused = in_shop(both.clone());
    refused["options"] = json!({"mergeRecordsOnConflict": false});
    let (status, answer) = store.upsert(json!({"records": [refused]})).await;
    let error = "Identifiers in this record belong to more than one existing preference record";
    assert_eq!(status, 200);
    assert_eq!(
        answer,
        json!({"success": false, "nodes": [], "failures": [{"index": 0, "error": error}]})
    );
    assert_eq!(store.find(json!({})).await.len(), 2);

    let node = store.record(both).await;
    assert_eq!(transcend_of(&node), transcend_of(&a), "the older record survives");
    assert_eq!(enabled(&node, "Analytics"), Some(false), "the newer answer stays");
    assert_eq!(enabled(&node, "Advertising"), Some(true));
    assert_eq!(
        (&node["confirmed"], &node["timestamp"]),
        (&json!(true), &json!("2026-02-03T10:00:00.000Z"))
    );
    assert_eq!(store.find(json!({})).await.len(), 1);
    for id in [transcend_of(&a), transcend_of(&b)] {
        let found = store
            .find(json!({"identifiers": [{"name": "transcend", "value": id}]}))
            .await;
        assert_eq!(found.len(), 1);
        assert_eq!(transcend_of(&found[0]), transcend_of(&a));
    }
    // Through the id of the one that is gone, too, something can be written, and a third record joined.
    let c = store
        .record_choice("cleo@example.test", "Functional", true, "2026-02-03T11:00:00.000Z")
        .await;
    let joined = json!({"identifiers": [
        {"name": "transcend", "value": transcend_of(&c)}, {"name": "transcend", "value": transcend_of(&b)}
    ]});
    let node = store.record(joined).await;
    assert_eq!(
        transcend_of(&node),
        transcend_of(&c),
        "the record that is named first survives"
    );
    for id in [&a, &b, &c].map(transcend_of) {
        let found = store
            .find(json!({"identifiers": [{"name": "transcend", "value": id}]}))
            .await;
        assert_eq!(found.iter().map(transcend_of).collect::<Vec<_>>(), [transcend_of(&c)]);
    }
    check_tables(&store.server).await;
}

#[tokio::test]
async fn one_batch_may_make_join_and_change_the_same_people() {
    let store = Preferences::start().await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let (status, answer) = store
        .upsert(json!({"records": [
            in_shop(json!({"identifiers": [email_of("ada@example.test")], "purposes": [{"purpose": "Analytics", "enabled": true}]})),
            in_shop(json!({"identifiers": [phone], "purposes": [{"purpose": "Advertising", "enabled": true}]})),
            in_shop(json!({"identifiers": [phone, email_of("ada@example.test")]})),
            in_shop(json!({
                "identifiers": [email_of("ada@example.test")],
                "timestamp": "2026-02-03T09:00:00.000Z",
                "purposes": [{"purpose": "Analytics", "enabled": false}]
            })),
        ]}))
        .await;
    assert_eq!(status, 200);
    let nodes = answer["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 4);
    assert_eq!(nodes[0]["identifiers"].as_array().unwrap().len(), 2);
    assert_eq!(nodes[2], nodes[3], "what came late changed nothing");
    assert_eq!(enabled(&nodes[3], "Analytics"), Some(true));
    assert_eq!(store.find(json!({})).await.len(), 1);
    check_tables(&store.server).await;
}

#[tokio::test]
async fn partitions_and_organizations_know_nothing_of_each_other() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    let (_, answer) = store
        .query(
            GAMES,
            json!({"filter": {"identifiers": [email_of("ada@example.test")]}}),
        )
        .await;
    assert_eq!(answer, json!({"nodes": []}));

    let other = store.server.another_organization().await;
    configure(&store.server, other, &[SHOP]).await;
    let scopes = vec![ScopeName::ManageStoredPreferences];
    let input = ApiKeyInput { scopes, ..key_input() };
    let (_, key) = store.server.make_key(other, input).await;
    let path = format!("/v1/preferences/{SHOP}/query");
    let ask = |body: Value| call(&store.server, &key, reqwest::Method::POST, &path, body.to_string());
    assert_eq!(ask(json!({})).await, (200, json!({"nodes": []})));
    let games = format!("/v1/preferences/{GAMES}/query");
    let (status, answer) = call(&store.server, &key, reqwest::Method::POST, &games, "{}".to_owned()).await;
    assert_eq!((status, details(&answer)[0].0.as_str()), (400, "partition"));
}
