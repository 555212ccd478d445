//! What people had chosen before: the record of consent, and queries that look back.

use std::time::Duration;

use super::*;

mod bounds;
mod retention;
mod views;

/// Numbers that look like chance and are the same for the same seed.
struct Dice(u64);

impl Dice {
    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }

    /// True in so many cases of a hundred.
    fn fall(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

impl Preferences {
    async fn timeline(&self, body: Value) -> Value {
        let (status, answer) = self.ask_for_timeline(SHOP, body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["records"], answer["nodes"]);
        answer
    }

    async fn ask_for_timeline(&self, partition: &str, body: Value) -> (u16, Value) {
        let path = format!("/v1/preferences/{partition}/consent-records");
        self.call(reqwest::Method::POST, &path, body.to_string()).await
    }

    /// The one person of that address, looked at in some way.
    async fn look_back(&self, email: &str, view: Value) -> Option<Value> {
        let mut body = json!({"filter": {"identifiers": [email_of(email)]}});
        body.as_object_mut().unwrap().extend(view.as_object().unwrap().clone());
        let (status, answer) = self.query(SHOP, body).await;
        assert_eq!(status, 200, "{answer}");
        answer["nodes"].as_array().unwrap().first().cloned()
    }

    fn minutes_pass(&self, minutes: u64) {
        self.server.clock.advance(Duration::from_secs(60 * minutes));
    }
}

fn entries(timeline: &Value) -> &Vec<Value> {
    timeline["records"].as_array().unwrap()
}

/// Answers of a query's node as the timeline writes them.
fn as_on_the_timeline(node: &Value) -> Value {
    let purposes = node["purposes"].as_array().unwrap().iter().map(|purpose| {
        json!({
            "purpose": purpose["purpose"],
            "consent": purpose["enabled"],
            "timestamp": purpose["timestamp"],
            "preferences": purpose.get("preferences").cloned().unwrap_or(json!([])),
            "expiresAt": null
        })
    });
    purposes.collect()
}

#[tokio::test]
async fn a_record_of_consent_has_the_printed_shape() {
    let store = Preferences::start().await;
    let ana = email_of("ana@example.test");
    store
        .record_choice("ana@example.test", "Analytics", false, "2026-01-20T08:00:00.000Z")
        .await;
    store
        .record(json!({
            "identifiers": [ana],
            "timestamp": "2026-02-03T09:15:00.250Z",
            "purposes": [{
                "purpose": "ProductNews",
                "enabled": true,
                "sourceSystem": "Kiosk",
                "preferences": [{"topic": "Cadence", "choice": {"selectValue": "Monthly"}}],
                "workflowSettings": {"isSilent": true}
            }],
            "metadata": [{"key": "store", "value": "Porto-3"}]
        }))
        .await;
    let analytics = json!({
        "purpose": "Analytics", "consent": false, "timestamp": "2026-01-20T08:00:00.000Z",
        "preferences": [], "expiresAt": null
    });
    let news = json!({
        "purpose": "ProductNews", "consent": true, "timestamp": "2026-02-03T09:15:00.250Z",
        "preferences": [{"topic": "Cadence", "choice": {"selectValue": "Monthly"}}], "expiresAt": null
    });
    let mut records = json!([
        {
            "preferencesAtCurrentTime": [analytics],
            "changeFromPrevState": null,
            "rawRequest": {
                "timestamp": "2026-01-20T08:00:00.000Z",
                "confirmed": true,
                "partition": SHOP,
                "identifiers": [ana],
                "purposes": [{
                    "purpose": "Analytics", "consent": false, "timestamp": "2026-01-20T08:00:00.000Z", "preferences": []
                }],
                "metadata": "[]"
            }
        },
        {
            "preferencesAtCurrentTime": [analytics, news],
            "changeFromPrevState": {"added": [news], "removed": [], "updated": []},
            "rawRequest": {
                "timestamp": "2026-02-03T09:15:00.250Z",
                "confirmed": true,
                "partition": SHOP,
                "identifiers": [ana],
                "purposes": [{
                    "purpose": "ProductNews", "consent": true, "timestamp": "2026-02-03T09:15:00.250Z",
                    "preferences": [{"topic": "Cadence", "choice": {"selectValue": "Monthly"}}]
                }],
                "metadata": "[{\"key\":\"store\",\"value\":\"Porto-3\"}]"
            }
        }
    ]);
    let expected = |records: &Value| json!({"records": records, "nodes": records, "containsInitialRecord": true});
    for asked in [json!({"identifier": ana}), json!({"identifiers": [ana]})] {
        let mut asked = asked;
        asked["includeRawRequest"] = json!(true);
        assert_eq!(store.timeline(asked).await, expected(&records));
    }
    for record in records.as_array_mut().unwrap() {
        record["rawRequest"] = json!(null);
    }
    assert_eq!(store.timeline(json!({"identifier": ana})).await, expected(&records));
    let spelt_otherwise = json!({"identifier": email_of(" ANA@example.test ")});
    assert_eq!(store.timeline(spelt_otherwise).await, expected(&records));
}

#[tokio::test]
async fn what_was_cleared_is_null_in_the_write_and_gone_from_the_state() {
    let store = Preferences::start().await;
    let says = |at: &str, choice: Value, store_name: Value| {
        json!({
            "identifiers": [email_of("ana@example.test")],
            "timestamp": at,
            "confirmed": false,
            "purposes": [{"purpose": "ProductNews", "enabled": true, "preferences": [
                {"topic": "Cadence", "choice": choice}, {"topic": "Paused", "choice": {"booleanValue": true}}
            ]}],
            "metadata": [{"key": "store", "value": store_name}]
        })
    };
    let weekly = json!({"selectValue": "Weekly"});
    store
        .record(says("2026-02-03T09:00:00.000Z", weekly, json!("Porto-3")))
        .await;
    store
        .record(says(
            "2026-02-03T10:00:00.000Z",
            json!({"selectValue": null}),
            json!(null),
        ))
        .await;
    let asked = json!({"identifier": email_of("ana@example.test"), "includeRawRequest": true, "limit": 1});
    let timeline = store.timeline(asked).await;
    assert_eq!(timeline["containsInitialRecord"], json!(false));
    let [entry] = &entries(&timeline)[..] else {
        panic!("{timeline}")
    };
    let paused = json!({"topic": "Paused", "choice": {"booleanValue": true}});
    assert_eq!(entry["preferencesAtCurrentTime"][0]["preferences"], json!([paused]));
    let change = &entry["changeFromPrevState"];
    assert_eq!((&change["added"], &change["removed"]), (&json!([]), &json!([])));
    assert_eq!(change["updated"], entry["preferencesAtCurrentTime"]);
    let raw = &entry["rawRequest"];
    assert_eq!(raw["confirmed"], json!(false));
    assert_eq!(raw["metadata"], "[{\"key\":\"store\",\"value\":null}]");
    assert_eq!(
        raw["purposes"][0]["preferences"],
        json!([{"topic": "Cadence", "choice": null}, paused])
    );
}

#[tokio::test]
async fn the_newest_entries_come_oldest_first_and_say_whether_the_first_is_among_them() {
    let store = Preferences::start().await;
    for minute in 0..205u32 {
        let at = format!("2026-02-03T{:02}:{:02}:00.000Z", 9 + minute / 60, minute % 60);
        store
            .record_choice("ana@example.test", "Analytics", minute % 2 == 0, &at)
            .await;
    }
    let whole = store
        .timeline(json!({"identifier": email_of("ana@example.test")}))
        .await;
    assert_eq!(entries(&whole).len(), 205);
    assert_eq!(whole["containsInitialRecord"], json!(true));
    assert_eq!(entries(&whole)[0]["changeFromPrevState"], json!(null));
    for limit in [1, 2, 200] {
        let asked = json!({"identifier": email_of("ana@example.test"), "limit": limit});
        let some = store.timeline(asked).await;
        assert_eq!(entries(&some)[..], entries(&whole)[205 - limit..]);
        assert_eq!(some["containsInitialRecord"], json!(false));
    }
    store
        .record_choice("bea@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let asked = json!({"identifier": email_of("bea@example.test"), "limit": 1});
    assert_eq!(store.timeline(asked).await["containsInitialRecord"], json!(true));
}

#[tokio::test]
async fn who_is_not_known_and_whose_key_is_destroyed_has_no_record_of_consent() {
    let store = Preferences::start().await;
    let nothing = json!({"records": [], "nodes": [], "containsInitialRecord": false});
    let node = store
        .record_choice("ana@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let id = transcend_of(&node);
    for identifier in [
        email_of("nobody@example.test"),
        email_of("no address"),
        json!({"name": "transcend", "value": "0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201"}),
        json!({"name": "transcend", "value": "no id"}),
    ] {
        assert_eq!(store.timeline(json!({"identifier": identifier})).await, nothing);
    }
    let by_id = json!({"identifier": {"name": "transcend", "value": id}});
    assert_eq!(entries(&store.timeline(by_id.clone()).await).len(), 1);
    let (_, elsewhere) = store.ask_for_timeline(GAMES, by_id.clone()).await;
    assert_eq!(elsewhere, nothing);

    let app = store.server.app();
    let mut tx = app.store.begin_write().await.unwrap();
    destroy_key(
        &mut tx,
        store.server.organization,
        KeyKind::Subject,
        id.parse().unwrap(),
    );
    tx.commit().await.unwrap();
    assert_eq!(store.timeline(by_id).await, nothing);
    let node = store
        .look_back("ana@example.test", json!({"asOf": "2026-02-04T00:00:00Z"}))
        .await;
    let node = node.expect("it is still listed");
    assert_eq!(
        (&node["system"]["decryptionStatus"], &node["purposes"]),
        (&json!("ERROR"), &json!([]))
    );
}

#[tokio::test]
async fn a_question_about_the_record_of_consent_is_refused_at_its_place() {
    let store = Preferences::start().await;
    let ana = email_of("ana@example.test");
    let rule = "is not an identifier of this organization";
    for (body, path, message) in [
        (json!({"identifier": ana, "limit": 0}), "limit", "must be from 1 to 200"),
        (
            json!({"identifier": ana, "limit": 201}),
            "limit",
            "must be from 1 to 200",
        ),
        (
            json!({"identifier": ana, "limit": -1}),
            "limit",
            "must be from 1 to 200",
        ),
        (json!({"identifiers": []}), "identifier", "is required"),
        (json!({"identifier": null, "limit": 3}), "identifier", "is required"),
        (
            json!({"identifiers": [ana, ana]}),
            "identifiers",
            "must hold one entry: one person is asked about",
        ),
        (
            json!({"identifier": ana, "identifiers": [ana]}),
            "identifiers",
            "must not be given together with identifier",
        ),
        (
            json!({"identifier": {"name": "shoeSize", "value": "42"}}),
            "identifier.name",
            rule,
        ),
        (
            json!({"identifiers": [{"name": "shoeSize", "value": "42"}]}),
            "identifiers[0].name",
            rule,
        ),
    ] {
        let (status, answer) = store.ask_for_timeline(SHOP, body.clone()).await;
        assert_eq!(
            (status, details(&answer)),
            (400, vec![(path.to_owned(), message.to_owned())]),
            "{body}"
        );
    }
    for (body, path) in [
        (json!({"identifier": {"value": "ana@example.test"}}), "identifier.name"),
        (json!({"identifier": {"name": "email"}}), "identifier.value"),
        (json!({"identifier": "ana@example.test"}), "identifier"),
        (json!({"identifier": ana, "limit": "3"}), "limit"),
        (json!({"identifier": ana, "limit": 1.5}), "limit"),
        (
            json!({"identifier": ana, "includeRawRequest": "yes"}),
            "includeRawRequest",
        ),
        (json!({"identifiers": ana}), "identifiers"),
    ] {
        let (status, answer) = store.ask_for_timeline(SHOP, body.clone()).await;
        assert_eq!(
            (status, details(&answer)[0].0.as_str()),
            (400, path),
            "{body}: {answer}"
        );
        assert!(!answer.to_string().contains("ana@"), "{answer}");
    }
    let (status, answer) = store.ask_for_timeline(SHOP, json!({"identifer": ana})).await;
    assert_eq!(
        status, 400,
        "a misspelt member is not a question about nobody: {answer}"
    );
    let (status, answer) = store.ask_for_timeline("attic", json!({"identifier": ana})).await;
    assert_eq!((status, details(&answer)[0].0.as_str()), (400, "partition"));
}

#[tokio::test]
async fn the_last_entry_of_a_timeline_is_what_is_stored_now() {
    let seeds = match std::env::var("ANTUMBRA_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=8u64).collect(),
    };
    for seed in seeds {
        println!("ANTUMBRA_TEST_SEED={seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let store = Preferences::start().await;
        for _ in 0..4 + dice.below(14) {
            if dice.fall(70) {
                store.minutes_pass(1 + dice.below(90));
            }
            store.record(any_record(&mut dice)).await;
        }
        for node in store.find(json!({})).await {
            expect_to_end_in(&store, &node).await;
        }
        check_tables(&store.server).await;
    }
}

/// What somebody chose at some minute: of a few people, of whom some turn out to be the same.
fn any_record(dice: &mut Dice) -> Value {
    let names = [
        email_of("ana@example.test"),
        json!({"name": "phone", "value": "+351910000017"}),
        json!({"name": "coreIdentifier", "value": "c-17"}),
        email_of("bea@example.test"),
    ];
    let mut who: Vec<&Value> = names.iter().filter(|_| dice.fall(30)).collect();
    if who.is_empty() {
        who.push(&names[dice.below(4) as usize]);
    }
    let at = |dice: &mut Dice| json!(format!("2026-02-03T09:{:02}:00.000Z", dice.below(20)));
    let mut purposes = Vec::new();
    for purpose in ["Analytics", "Advertising", "ProductNews"] {
        if dice.fall(50) {
            let mut said = json!({"purpose": purpose, "enabled": dice.fall(50)});
            if dice.fall(30) {
                said["timestamp"] = at(dice);
            }
            if purpose == "ProductNews" {
                let choices = [json!({}), json!({"booleanValue": true}), json!({"booleanValue": false})];
                said["preferences"] = json!([{"topic": "Paused", "choice": choices[dice.below(3) as usize]}]);
            }
            purposes.push(said);
        }
    }
    json!({
        "identifiers": who,
        "timestamp": at(dice),
        "confirmed": dice.fall(80),
        "purposes": purposes,
        "metadata": [{"key": "n", "value": dice.below(3).to_string()}]
    })
}

/// The person of a node has a timeline of steps that lead from nothing to it, and a query that looks at it as of now.
async fn expect_to_end_in(store: &Preferences, node: &Value) {
    let by_id = json!({"name": "transcend", "value": transcend_of(node)});
    let timeline = store.timeline(json!({"identifier": by_id})).await;
    let last = entries(&timeline).last().unwrap();
    assert_eq!(last["preferencesAtCurrentTime"], as_on_the_timeline(node));
    assert_eq!(timeline["containsInitialRecord"], json!(true));
    let mut before = json!([]);
    for entry in entries(&timeline) {
        let state = &entry["preferencesAtCurrentTime"];
        let change = &entry["changeFromPrevState"];
        if !change.is_null() {
            assert_eq!(changed(&before, change), *state);
        }
        before = state.clone();
    }
    let now = store.server.clock.now().to_string();
    let body = json!({"filter": {"identifiers": [by_id]}, "asOf": now, "knownAt": now});
    let (_, answer) = store.query(SHOP, body).await;
    assert_eq!(answer["nodes"][0], *node);
}

/// A state after a change was made to it.
fn changed(before: &Value, change: &Value) -> Value {
    let list = |value: &Value| value.as_array().unwrap().clone();
    let name = |answer: &Value| answer["purpose"].as_str().unwrap().to_owned();
    let mut state: BTreeMap<String, Value> = list(before).into_iter().map(|answer| (name(&answer), answer)).collect();
    for gone in list(&change["removed"]) {
        state.remove(&name(&gone));
    }
    let said = list(&change["added"]).into_iter().chain(list(&change["updated"]));
    state.extend(said.map(|answer| (name(&answer), answer)));
    state.into_values().collect()
}
