//! What is on disk.

use super::*;

#[tokio::test]
async fn parallel_writes_about_the_same_people_leave_one_record_for_each_and_no_stray_row() {
    let store = std::sync::Arc::new(Preferences::start().await);
    let mut writers = tokio::task::JoinSet::new();
    // Ten people with three identifiers each; every write names two of the three, so all three come together.
    for writer in 0..16u64 {
        let store = store.clone();
        writers.spawn(async move {
            for round in 0..12u64 {
                let dice = writer * 31 + round * 17;
                let record = |n: u64| {
                    let person = (dice + n * 7) % 10;
                    let names = [
                        email_of(&format!("person{person}@example.test")),
                        json!({"name": "phone", "value": format!("+35191000{person:04}")}),
                        json!({"name": "coreIdentifier", "value": format!("core-{person}")}),
                    ];
                    let first = usize::try_from((dice + n) % 3).unwrap();
                    let at = format!("2026-02-03T09:{:02}:{:02}.000Z", round, writer);
                    in_shop(json!({
                        "identifiers": [names[first], names[(first + 1) % 3]],
                        "timestamp": at,
                        "purposes": [{"purpose": "Analytics", "enabled": dice % 2 == 0}]
                    }))
                };
                let batch = json!({"records": [record(0), record(1), record(2)]});
                // Where too many write about the same people at once, some are told to come again.
                let (status, answer) = loop {
                    match store.upsert(batch.clone()).await {
                        (429, _) => continue,
                        settled => break settled,
                    }
                };
                assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let nodes = store.all(json!({}), 100).await;
    assert_eq!(nodes.len(), 10);
    for node in nodes {
        assert_eq!(node["identifiers"].as_array().unwrap().len(), 4, "{node}");
    }
    check_tables(&store.server).await;
}

#[tokio::test]
async fn no_identifier_and_no_answer_stands_in_a_table_in_clear() {
    let store = Preferences::start().await;
    let canaries = [
        "canary.bird@example.test",
        "+351919191919",
        "canary-core-id",
        "CanaryShop",
        "CANARYSTRING",
        "1912-06",
    ];
    store
        .record(json!({
            "userId": "Canary.Bird@Example.test",
            "identifiers": [
                {"name": "phone", "value": canaries[1]}, {"name": "coreIdentifier", "value": canaries[2]}
            ],
            "metadata": [{"key": "store", "value": canaries[3]}],
            "airgapVersion": canaries[4],
            "birthDate": canaries[5],
            "purposes": [{"purpose": "Analytics", "enabled": true, "sourceSystem": canaries[3]}]
        }))
        .await;
    let (_, refused) = store
        .query(
            SHOP,
            json!({"filter": {"identifiers": [email_of(canaries[0])]}, "limit": 0}),
        )
        .await;
    assert!(!refused.to_string().contains(canaries[0]));
    let mut rows = 0;
    for table in antumbra_server::tables() {
        for (key, value) in rows_of(&store.server, table).await {
            rows += 1;
            for canary in canaries.iter().chain(&["Canary.Bird@Example.test"]) {
                for bytes in [&key, &value] {
                    let found = bytes
                        .windows(canary.len())
                        .any(|window| window.eq_ignore_ascii_case(canary.as_bytes()));
                    assert!(!found, "{table} shows {canary}");
                }
            }
        }
    }
    assert!(rows > 10);
}
