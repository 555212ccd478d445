//! What people had chosen before: the record of consent, and queries that look back.

use std::time::Duration;

use antumbra_server::{ServerConfig, config::RunJobs, preferences::keep_history};

use super::*;

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
async fn a_late_arrival_is_no_entry_and_tells_what_held_until_it_was_superseded() {
    let store = Preferences::start().await;
    let says = async |enabled: bool, at: &str| store.record_choice("ana@example.test", "Analytics", enabled, at).await;
    says(false, "2026-02-03T10:00:00.000Z").await; // learned at 10:00 on the 2nd of March
    store.minutes_pass(10);
    says(true, "2026-02-03T09:00:00.000Z").await; // learned at 10:10
    let timeline = store
        .timeline(json!({"identifier": email_of("ana@example.test")}))
        .await;
    assert_eq!(entries(&timeline).len(), 1);

    let seen = async |as_of: Option<&str>, known_at: Option<&str>| {
        let mut view = json!({});
        view.as_object_mut()
            .unwrap()
            .extend(as_of.map(|at| ("asOf".to_owned(), json!(at))));
        view.as_object_mut()
            .unwrap()
            .extend(known_at.map(|at| ("knownAt".to_owned(), json!(at))));
        let node = store.look_back("ana@example.test", view).await?;
        assert_eq!(node["identifiers"][0], email_of("ana@example.test"));
        enabled(&node, "Analytics")
    };
    let (before, between, after) = (
        "2026-02-03T08:59:59.999Z",
        "2026-02-03T09:30:00Z",
        "2026-02-03T10:00:00Z",
    );
    assert_eq!(seen(Some(before), None).await, None);
    assert_eq!(seen(Some(between), None).await, Some(true));
    assert_eq!(seen(Some(after), None).await, Some(false));
    // What we told about 09:30 before the late arrival was nothing, and we can tell that we did.
    assert_eq!(seen(Some(between), Some("2026-03-02T10:09:59.999Z")).await, None);
    assert_eq!(seen(Some(between), Some("2026-03-02T10:10:00Z")).await, Some(true));
    assert_eq!(seen(Some(after), Some("2026-03-02T10:00:00Z")).await, Some(false));
    assert_eq!(seen(None, Some("2026-03-02T09:59:59.999Z")).await, None);
    assert_eq!(seen(None, Some("2026-03-02T10:00:00Z")).await, Some(false));
    assert_eq!(seen(None, None).await, Some(false));
}

#[tokio::test]
async fn a_node_of_the_past_has_its_own_times_and_contents() {
    let store = Preferences::start().await;
    let says = |at: &str, usp: &str, shop: &str| {
        json!({
            "userId": "Ana@example.test", "timestamp": at, "usp": usp, "confirmed": usp == "1YNN",
            "metadata": [{"key": "store", "value": shop}],
            "purposes": [{"purpose": "Analytics", "enabled": usp == "1YNN"}]
        })
    };
    store.record(says("2026-02-03T09:00:00.000Z", "1YNN", "Porto-3")).await;
    let then = store.find_email("ana@example.test").await;
    store.minutes_pass(60);
    store.record(says("2026-02-03T11:00:00.000Z", "1NYN", "Faro-1")).await;
    let now = store.find_email("ana@example.test").await;
    assert_ne!(then, now);
    for view in [
        json!({"knownAt": "2026-03-02T10:59:59.999Z"}),
        json!({"knownAt": "2026-03-02T10:00:00Z", "asOf": "2026-03-02T10:00:00Z"}),
    ] {
        assert_eq!(store.look_back("ana@example.test", view).await, Some(then.clone()));
    }
    let mut seen = store
        .look_back("ana@example.test", json!({"asOf": "2026-02-03T10:59:59.999+00:00"}))
        .await
        .unwrap();
    assert_eq!(
        seen["system"]["updatedAt"], "2026-03-02T11:00:00.000Z",
        "when we had last written it is a matter of what we know"
    );
    seen["system"] = then["system"].clone();
    assert_eq!(seen, then);
    for view in [
        json!({"asOf": "2026-03-02T11:00:00Z", "knownAt": "2026-03-02T11:00:00Z"}),
        json!({"asOf": "9999-12-30T00:00:00Z"}),
    ] {
        assert_eq!(store.look_back("ana@example.test", view).await, Some(now.clone()));
    }
}

#[tokio::test]
async fn the_histories_of_joined_records_are_one() {
    let store = Preferences::start().await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let ana = email_of("ana@example.test");
    store
        .record_choice("ana@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    store.minutes_pass(1);
    let of_phone = json!([{"purpose": "Advertising", "enabled": true}, {"purpose": "Analytics", "enabled": false}]);
    let other = store
        .record(json!({"identifiers": [phone], "timestamp": "2026-02-03T10:00:00.000Z", "purposes": of_phone}))
        .await;
    store.minutes_pass(1);
    store
        .record(json!({"identifiers": [phone, ana], "timestamp": "2026-02-03T08:00:00.000Z"}))
        .await;
    store.minutes_pass(1);
    store
        .record_choice("ana@example.test", "Functional", true, "2026-02-03T11:00:00.000Z")
        .await;
    let by_id = json!({"name": "transcend", "value": transcend_of(&other)});
    let timeline = store.timeline(json!({"identifier": ana})).await;
    for identifier in [phone, by_id] {
        assert_eq!(store.timeline(json!({"identifier": identifier})).await, timeline);
    }
    let shown: Vec<Vec<(&str, bool)>> = entries(&timeline)
        .iter()
        .map(|entry| {
            let purposes = entry["preferencesAtCurrentTime"].as_array().unwrap().iter();
            purposes
                .map(|answer| {
                    (
                        answer["purpose"].as_str().unwrap(),
                        answer["consent"].as_bool().unwrap(),
                    )
                })
                .collect()
        })
        .collect();
    let joined = vec![("Advertising", true), ("Analytics", false)];
    assert_eq!(
        shown,
        [
            vec![("Analytics", true)],
            joined.clone(),
            joined,
            vec![("Advertising", true), ("Analytics", false), ("Functional", true)]
        ]
    );
    let unchanged = json!({"added": [], "removed": [], "updated": []});
    assert_eq!(entries(&timeline)[2]["changeFromPrevState"], unchanged);
    let node = store
        .look_back("ana@example.test", json!({"knownAt": "2026-03-02T10:01:00Z"}))
        .await
        .unwrap();
    assert_eq!(
        enabled(&node, "Advertising"),
        Some(true),
        "records of one person count as one at all times"
    );
    let node = store
        .look_back("ana@example.test", json!({"asOf": "2026-02-03T09:30:00Z"}))
        .await
        .unwrap();
    assert_eq!(
        (enabled(&node, "Analytics"), enabled(&node, "Advertising")),
        (Some(true), None)
    );
}

#[tokio::test]
async fn who_somebody_is_belongs_to_what_we_knew_and_is_no_entry() {
    let store = Preferences::start().await;
    store
        .record_choice("ana@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    store.minutes_pass(10);
    let amend = async |verb: &str, record: Value| {
        let path = format!("/v1/preferences/{SHOP}/{verb}");
        let body = json!({"records": [record]}).to_string();
        let (status, answer) = store.call(reqwest::Method::POST, &path, body).await;
        assert_eq!((status, &answer["failures"]), (200, &json!([])), "{answer}");
    };
    let (old, new) = (email_of("ana@example.test"), email_of("ana.b@example.test"));
    let update = json!({
        "anchorIdentifier": old, "timestamp": "2026-03-02T10:10:00.000Z",
        "update": {"name": "email", "oldValue": "ana@example.test", "newValue": "ana.b@example.test"}
    });
    amend("update-identifiers", update).await;
    let timeline = store.timeline(json!({"identifier": new})).await;
    assert_eq!(entries(&timeline).len(), 1);
    assert_eq!(entries(&store.timeline(json!({"identifier": old})).await).len(), 0);
    let seen = async |view: Value| {
        let node = store.look_back("ana.b@example.test", view).await.unwrap();
        node["identifiers"][0].clone()
    };
    assert_eq!(seen(json!({"knownAt": "2026-03-02T10:09:59Z"})).await, old);
    assert_eq!(seen(json!({"asOf": "2026-02-03T09:00:00Z"})).await, new);
    assert_eq!(seen(json!({})).await, new);

    amend(
        "delete",
        json!({"anchorIdentifier": new, "timestamp": "2026-03-02T10:10:00.000Z"}),
    )
    .await;
    assert_eq!(
        store.timeline(json!({"identifier": new})).await,
        json!({"records": [], "nodes": [], "containsInitialRecord": false})
    );
    let gone = store
        .look_back("ana.b@example.test", json!({"knownAt": "2026-03-02T10:10:00Z"}))
        .await;
    assert_eq!(gone, None, "the past of a person who was deleted is gone with them");
}

#[tokio::test]
async fn pages_of_the_past_keep_their_view_and_leave_out_whom_there_was_nothing_of() {
    let store = Preferences::start().await;
    for n in 0..6 {
        store
            .record_choice(
                &format!("p{n}@example.test"),
                "Analytics",
                true,
                "2026-02-03T09:00:00.000Z",
            )
            .await;
        store.minutes_pass(1);
        let later = format!("2026-02-{:02}T09:00:00.000Z", 10 + n);
        store
            .record_choice(&format!("p{n}@example.test"), "Analytics", false, &later)
            .await;
        store.minutes_pass(1);
    }
    // At 10:05 three people were known, and of the third only their first choice; at most two later ones are on a page.
    let mut body = json!({"filter": {"system": {}}, "limit": 2, "knownAt": "2026-03-02T10:04:30Z", "asOf": "2026-02-10T12:00:00Z"});
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let (status, answer) = store.query(SHOP, body.clone()).await;
        assert_eq!(status, 200, "{answer}");
        pages += 1;
        for node in answer["nodes"].as_array().unwrap() {
            seen.push((
                node["userId"].as_str().unwrap().to_owned(),
                enabled(node, "Analytics").unwrap(),
            ));
        }
        let Some(cursor) = answer.get("cursor") else { break };
        body = json!({"cursor": cursor, "limit": 2});
    }
    let expected = [
        ("p2@example.test", true),
        ("p1@example.test", true),
        ("p0@example.test", false),
    ];
    assert_eq!(seen, expected.map(|(email, enabled)| (email.to_owned(), enabled)));
    assert_eq!(pages, 3);
}

/// A server that tells of the past for so many days.
async fn forgetful(days: u64) -> Preferences {
    let mut config = ServerConfig {
        run_jobs: RunJobs::WhenAsked,
        ..ServerConfig::default()
    };
    config.preferences.history = Some(Duration::from_secs(days * 24 * 3600));
    let server = TestServer::with(config).await;
    configure(&server, server.organization, &[SHOP, GAMES]).await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    Preferences { server, key }
}

async fn fold_what_is_old(store: &Preferences) {
    keep_history(store.server.app()).await.unwrap();
    store.server.run_jobs_until_idle().await;
}

async fn rows_of_history(store: &Preferences) -> usize {
    rows_of(&store.server, "preference_history").await.len()
}

#[tokio::test]
async fn old_history_is_folded_and_what_is_kept_stays_right() {
    let store = forgetful(10).await;
    let says = async |email: &str, enabled: bool, at: &str| store.record_choice(email, "Analytics", enabled, at).await;
    // Learned on the 2nd of March.
    says("ana@example.test", true, "2026-02-03T09:00:00.000Z").await;
    says("ana@example.test", false, "2026-02-05T09:00:00.000Z").await;
    says("ana@example.test", true, "2026-02-04T09:00:00.000Z").await; // late
    says("bea@example.test", true, "2026-02-03T09:00:00.000Z").await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    store
        .record(json!({"identifiers": [phone], "purposes": [{"purpose": "Advertising", "enabled": true}]}))
        .await;
    store
        .record(json!({"identifiers": [phone, email_of("ana@example.test")], "timestamp": "2026-02-06T09:00:00.000Z"}))
        .await;
    store.minutes_pass(60 * 24 * 5);
    says("ana@example.test", true, "2026-03-07T09:00:00.000Z").await;
    fold_what_is_old(&store).await;
    assert_eq!(rows_of_history(&store).await, 7, "nothing is old yet");

    store.minutes_pass(60 * 24 * 7); // It is the 14th: the 3rd and what comes after it is kept.
    let now = store.find(json!({})).await;
    fold_what_is_old(&store).await;
    assert_eq!(store.find(json!({})).await, now);
    // What was learned on the 2nd, of two records that became one, is one row, and what came on the 7th another.
    assert_eq!(rows_of_history(&store).await, 3);
    assert_eq!(
        rows_of(&store.server, "subject_keys").await.len(),
        2,
        "the key of what was folded is destroyed"
    );
    let ana = json!({"identifier": email_of("ana@example.test"), "includeRawRequest": true});
    let timeline = store.timeline(ana.clone()).await;
    assert_eq!(timeline["containsInitialRecord"], json!(false));
    let [folded, last] = &entries(&timeline)[..] else {
        panic!("{timeline}")
    };
    assert_eq!(
        (&folded["changeFromPrevState"], &folded["rawRequest"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(folded["preferencesAtCurrentTime"][0]["purpose"], "Advertising");
    assert_eq!(folded["preferencesAtCurrentTime"][1]["consent"], json!(false));
    assert_eq!(last["changeFromPrevState"]["updated"][0]["consent"], json!(true));
    let bea = json!({"identifier": email_of("bea@example.test")});
    assert_eq!(store.timeline(bea).await["containsInitialRecord"], json!(true));

    let seen = async |view: Value| {
        let node = store.look_back("ana@example.test", view).await?;
        enabled(&node, "Analytics")
    };
    assert_eq!(seen(json!({"asOf": "2026-03-05T00:00:00Z"})).await, Some(false));
    assert_eq!(
        seen(json!({"asOf": "2026-03-05T00:00:00Z", "knownAt": "2026-03-06T00:00:00Z"})).await,
        Some(false)
    );
    assert_eq!(seen(json!({"asOf": "2026-03-08T00:00:00Z"})).await, Some(true));
    let rule = "is before what is kept of the history of a record".to_owned();
    for (view, path) in [
        (json!({"asOf": "2026-02-04T12:00:00Z"}), "asOf"),
        (
            json!({"asOf": "2026-03-05T00:00:00Z", "knownAt": "2026-03-03T00:00:00Z"}),
            "knownAt",
        ),
    ] {
        let mut body = json!({"filter": {"identifiers": [email_of("ana@example.test")]}});
        body.as_object_mut().unwrap().extend(view.as_object().unwrap().clone());
        let (status, answer) = store.query(SHOP, body).await;
        assert_eq!(
            (status, details(&answer)),
            (400, vec![(path.to_owned(), rule.clone())]),
            "{view}"
        );
    }
    let of_bea = store
        .look_back("bea@example.test", json!({"asOf": "2026-02-03T09:00:00Z"}))
        .await;
    assert!(of_bea.is_some(), "a record of which nothing was folded is told whole");
    // A round a day, and nothing is folded twice.
    store.minutes_pass(60 * 25);
    fold_what_is_old(&store).await;
    assert_eq!(store.timeline(ana).await, timeline);
}

/// Whatever can be asked about what is kept has the same answer before and after old history is folded, in small steps.
#[tokio::test]
async fn folding_changes_no_answer_about_what_is_kept() {
    for seed in 1..=6u64 {
        println!("seed {seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let store = forgetful(3).await;
        for _ in 0..30 {
            store.minutes_pass(60 * (1 + dice.below(12)));
            let mut record = any_record(&mut dice);
            let ahead = i64::try_from(dice.below(30)).unwrap() - 26;
            let at = store.server.clock.now() + jiff::SignedDuration::from_hours(ahead);
            record["timestamp"] = json!(at.to_string());
            for purpose in record["purposes"].as_array_mut().unwrap() {
                purpose.as_object_mut().unwrap().remove("timestamp");
            }
            store.record(record).await;
            let before = answers(&store).await;
            fold_what_is_old(&store).await;
            assert_eq!(answers(&store).await, before);
        }
        assert!(rows_of_history(&store).await < 27, "a good deal was folded");
    }
}

/// What is stored, and what was chosen and known at some times of the last three days.
async fn answers(store: &Preferences) -> Vec<Value> {
    let mut answers = store.find(json!({})).await;
    let now = store.server.clock.now();
    for (chosen, known) in [
        (0, 0),
        (10, 0),
        (30, 0),
        (71, 0),
        (10, 10),
        (30, 20),
        (71, 30),
        (71, 71),
        (20, 71),
    ] {
        let ago = |hours: i64| json!((now - jiff::SignedDuration::from_hours(hours)).to_string());
        let (status, answer) = store
            .query(
                SHOP,
                json!({"filter": {}, "limit": 100, "asOf": ago(chosen), "knownAt": ago(known)}),
            )
            .await;
        assert_eq!(status, 200, "{answer}");
        answers.push(answer["nodes"].clone());
    }
    answers
}

#[tokio::test]
async fn a_view_is_refused_at_its_place() {
    let store = Preferences::start().await;
    for n in 0..3 {
        store
            .record_choice(
                &format!("p{n}@example.test"),
                "Analytics",
                true,
                "2026-02-03T09:00:00.000Z",
            )
            .await;
    }
    let page = async |body: Value| store.query(SHOP, body).await.1["cursor"].clone();
    let plain = page(json!({"limit": 1, "filter": {}})).await;
    let view = json!({"limit": 1, "filter": {}, "asOf": "2026-02-04T00:00:00Z"});
    let of_view = page(view).await;
    let not_of_cursor = "is not the one that the cursor was given for";
    let unreadable = "must be an ISO 8601 date and time, such as 2026-02-03T09:15:00.250Z";
    for (body, path, rule) in [
        (json!({"asOf": "yesterday"}), "asOf", unreadable),
        (json!({"knownAt": "2026-02-30T00:00:00Z"}), "knownAt", unreadable),
        (
            json!({"asOf": "-000001-01-01T00:00:00Z"}),
            "asOf",
            "must not be before the year 0",
        ),
        (
            json!({"cursor": of_view, "asOf": "2026-02-04T00:00:01Z"}),
            "asOf",
            not_of_cursor,
        ),
        (
            json!({"cursor": of_view, "knownAt": "2026-02-04T00:00:00Z"}),
            "knownAt",
            not_of_cursor,
        ),
        (
            json!({"cursor": plain, "asOf": "2026-02-04T00:00:00Z"}),
            "asOf",
            not_of_cursor,
        ),
    ] {
        let (status, answer) = store.query(SHOP, body.clone()).await;
        assert_eq!(
            (status, details(&answer)),
            (400, vec![(path.to_owned(), rule.to_owned())]),
            "{body}"
        );
    }
    let (status, answer) = store.query(SHOP, json!({"asOf": 1_770_000_000})).await;
    assert_eq!((status, details(&answer)[0].0.as_str()), (400, "asOf"), "{answer}");
    let again = json!({"cursor": of_view, "asOf": "2026-02-04T01:00:00+01:00", "filter": {}});
    let (status, answer) = store.query(SHOP, again).await;
    assert_eq!(status, 200, "the same view may come along: {answer}");
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
