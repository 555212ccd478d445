//! What is refused, by which rule, and at which bound.

use super::*;

#[tokio::test]
async fn a_filter_all_of_whose_members_are_unknown_is_refused_and_does_not_mean_everybody() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-03-02T10:00:00Z")
        .await;
    let by_email = json!([{"value": "bob@example.test"}]);
    let members = "must have one of the members identifiers, timestampAfter, timestampBefore, system";
    let of_system = "must have one of the members updatedAfter, updatedBefore";
    for (filter, path, rule) in [
        (json!({"people": by_email}), "filter", members),
        (json!({"people": by_email, "confirmed": true}), "filter", members),
        (json!({"system": {"since": "x"}}), "filter.system", of_system),
    ] {
        let (status, answer) = store.query(SHOP, json!({"filter": filter})).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(details(&answer), [(path.to_owned(), rule.to_owned())]);
        assert!(!answer.to_string().contains("people"), "what was sent is not sent back");
    }
    // What is known beside it counts, and an empty filter is none.
    let known = json!({"identifiers": by_email, "confirmed": true});
    assert_eq!(store.find(known).await.len(), 0);
    for everybody in [
        json!({}),
        json!({"system": {}}),
        json!({"system": {}, "confirmed": true}),
    ] {
        assert_eq!(store.find(everybody.clone()).await.len(), 1, "{everybody}");
    }
}

#[tokio::test]
async fn a_record_all_of_whose_contents_are_unknown_is_refused_and_one_of_identifiers_alone_is_not() {
    let store = Preferences::start().await;
    let choice = json!([{"purpose": "Analytics", "enabled": false}]);
    let misspelt = json!({"identifiers": [email_of("ada@example.test")], "choices": choice, "confirmed": true});
    let [(path, rule)] = &store.refusal(misspelt).await[..] else {
        panic!("one complaint");
    };
    assert_eq!(path, "records[0]");
    assert!(rule.starts_with("must have one of the members purposes, "), "{rule}");
    let identifiers = json!({"identifiers": [email_of("ada@example.test")]});
    assert_eq!(store.record(identifiers).await["purposes"], json!([]));
    let known = json!({"identifiers": [email_of("ada@example.test")], "purposes": choice, "colour": "red"});
    assert_eq!(store.record(known).await["purposes"][0]["enabled"], false);
}

/// Where a batch is refused. No identifier's value stands in the answer.
async fn places(store: &Preferences, records: &[Value]) -> Vec<String> {
    let (status, answer) = store.upsert(json!({"records": records})).await;
    assert_eq!(status, 400, "{answer}");
    let text = answer.to_string();
    for record in records {
        let listed = record["identifiers"].as_array().into_iter().flatten();
        let values = listed.map(|identifier| &identifier["value"]).chain([&record["userId"]]);
        let values = values
            .filter_map(Value::as_str)
            .filter(|value| !value.trim().is_empty());
        for value in values {
            assert!(
                !text.contains(value) && !text.contains(&value[..value.floor_char_boundary(12)]),
                "{value}: {text}"
            );
        }
    }
    details(&answer).into_iter().map(|(path, _)| path).collect()
}

#[tokio::test]
async fn each_rule_is_refused_with_its_place_and_without_the_value() {
    let store = Preferences::start().await;
    let with = |member: &str, value: Value| {
        let mut record = json!({"identifiers": [email_of("ada@example.test")]});
        record[member] = value;
        record
    };
    let purpose = |said: Value| with("purposes", json!([said]));
    let topic = |topic: &str, choice: Value| {
        purpose(json!({"purpose": "ProductNews", "enabled": true, "preferences": [{"topic": topic, "choice": choice}]}))
    };
    let identifier = |name: &str, value: &str| with("identifiers", json!([{"name": name, "value": value}]));
    let long = |bytes: usize| "x".repeat(bytes);
    let cases = [
        (json!({}), "identifiers"),
        (json!({"identifiers": []}), "identifiers"),
        (with("identifiers", json!("ada")), "identifiers"),
        (json!({"userId": ""}), "userId"),
        (with("timestamp", json!("yesterday")), "timestamp"),
        (with("timestamp", json!(17)), "timestamp"),
        (with("timestamp", json!("2026-03-03T10:00:00.001Z")), "timestamp"),
        (with("timestamp", json!("9999-12-31T23:59:59.999Z")), "timestamp"),
        (with("timestamp", json!("10000-01-01T00:00:00Z")), "timestamp"),
        (with("timestamp", json!("-000001-12-31T23:59:59Z")), "timestamp"),
        (with("timestamp", json!("2026-02-03T09:15:61Z")), "timestamp"),
        (with("timestamp", json!("2026-02-03T09:15:00+25:60")), "timestamp"),
        (
            with("metadataTimestamp", json!("2027-01-01T00:00:00Z")),
            "metadataTimestamp",
        ),
        (with("birthDate", json!("1990")), "birthDate"),
        (with("birthDate", json!("1990-02-30")), "birthDate"),
        (with("birthDate", json!("13-1990")), "birthDate"),
        (with("confirmed", json!("yes")), "confirmed"),
        (with("usp", json!(17)), "usp"),
        (with("airgapVersion", json!(long(8 * 1024 + 1))), "airgapVersion"),
        (with("metadata", json!({"a": "b"})), "metadata"),
        (with("metadata", json!([{"key": "", "value": "b"}])), "metadata[0].key"),
        (
            with(
                "metadata",
                json!([{"key": "a", "value": "b"}, {"key": "a", "value": "c"}]),
            ),
            "metadata[1].key",
        ),
        (
            with("metadata", json!([{"key": "a", "value": long(16_385)}])),
            "metadata[0].value",
        ),
        (with("metadata", json!(vec![json!({"key": "a"}); 201])), "metadata"),
        (identifier("shoeSize", "forty-two"), "identifiers[0].name"),
        (identifier("Email", "ada@example.test"), "identifiers[0].name"),
        (identifier("email", "ada.example.test"), "identifiers[0].value"),
        (identifier("email", "a/b@example.test"), "identifiers[0].value"),
        (identifier("email", ""), "identifiers[0].value"),
        (identifier("email", "  "), "identifiers[0].value"),
        (identifier("phone", "0351910000017"), "identifiers[0].value"),
        (identifier("transcend", "nobody's id"), "identifiers[0].value"),
        (identifier("coreIdentifier", &long(1025)), "identifiers[0].value"),
        (
            identifier("coreIdentifier", &format!("{}x", "é".repeat(512))),
            "identifiers[0].value",
        ),
        (
            identifier("email", "ada\u{202e}@example.test/\u{200f}"),
            "identifiers[0].value",
        ),
        (
            purpose(json!({"purpose": "Newsleter", "enabled": true})),
            "purposes[0].purpose",
        ),
        (
            purpose(json!({"purpose": "analytics", "enabled": true})),
            "purposes[0].purpose",
        ),
        (
            purpose(json!({"purpose": "Unknown", "enabled": true})),
            "purposes[0].purpose",
        ),
        (purpose(json!({"purpose": "Analytics"})), "purposes[0].enabled"),
        (
            purpose(json!({"purpose": "Analytics", "enabled": "true"})),
            "purposes[0].enabled",
        ),
        (
            purpose(json!({"purpose": "Analytics", "consent": true})),
            "purposes[0].consent",
        ),
        (
            purpose(json!({"purpose": "Essential", "enabled": false})),
            "purposes[0].enabled",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "timestamp": "x"})),
            "purposes[0].timestamp",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "sourceSystem": ""})),
            "purposes[0].sourceSystem",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "sourceSystem": long(129)})),
            "purposes[0].sourceSystem",
        ),
        (
            with(
                "purposes",
                json!([{"purpose": "Analytics", "enabled": true}, {"purpose": "Analytics", "enabled": true}]),
            ),
            "purposes[1].purpose",
        ),
        (
            topic("Pace", json!({"selectValue": "Weekly"})),
            "purposes[0].preferences[0].topic",
        ),
        (
            topic("Cadence", json!({"selectValue": "Hourly"})),
            "purposes[0].preferences[0].choice.selectValue",
        ),
        (
            topic("Cadence", json!({"booleanValue": true})),
            "purposes[0].preferences[0].choice",
        ),
        (
            topic("Cadence", json!({"selectValues": ["Weekly"]})),
            "purposes[0].preferences[0].choice",
        ),
        (
            topic("Channel", json!({"selectValues": ["Email", "Fax"]})),
            "purposes[0].preferences[0].choice.selectValues[1]",
        ),
        (
            purpose(json!({"purpose": "ProductNews", "enabled": true, "preferences": [
                {"topic": "Paused", "choice": {"booleanValue": true}}, {"topic": "Paused", "choice": {"booleanValue": true}}]})),
            "purposes[0].preferences[1].topic",
        ),
        (
            topic("Cadence", json!({"selectValue": "Weekly", "booleanValue": true})),
            "purposes[0].preferences[0].choice",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "timestamp": "9999-12-31T23:59:59Z"})),
            "purposes[0].timestamp",
        ),
        (
            topic("Paused", json!({"booleanValue": "no"})),
            "purposes[0].preferences[0].choice.booleanValue",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "workflowSettings": {
                "dataSiloIds": ["0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201"],
                "ignoreDataSiloIds": ["0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a202"]
            }})),
            "purposes[0].workflowSettings.ignoreDataSiloIds",
        ),
        (
            purpose(json!({"purpose": "Analytics", "enabled": true, "workflowSettings": {"isSilent": "yes"}})),
            "purposes[0].workflowSettings.isSilent",
        ),
        (
            purpose(
                json!({"purpose": "Analytics", "enabled": true, "workflowSettings": {"region": {"country": "Spain"}}}),
            ),
            "purposes[0].workflowSettings.region.country",
        ),
    ];
    // Each among 99 good ones, and then as many as there are all together.
    let good: Vec<Value> = (0..100)
        .map(|n| in_shop(json!({"userId": format!("neighbour-{n}@example.test")})))
        .collect();
    let mut all = good.clone();
    let mut all_places = Vec::new();
    for (number, (record, place)) in cases.into_iter().enumerate() {
        let mut batch = good.clone();
        batch[57] = in_shop(record);
        all[number] = batch[57].clone();
        all_places.push(format!("records[{number}].{place}"));
        assert_eq!(
            places(&store, &batch).await,
            [format!("records[57].{place}")],
            "{}",
            batch[57]
        );
    }
    // Types are looked at first; what is of another is told of together, and then all the rest.
    let of_types = places(&store, &all).await;
    assert!(
        of_types.len() > 6 && of_types.iter().all(|place| all_places.contains(place)),
        "{of_types:?}"
    );
    for (number, place) in all_places.iter().enumerate() {
        if of_types.contains(place) {
            all[number] = good[number].clone();
        }
    }
    all_places.retain(|place| !of_types.contains(place));
    assert_eq!(places(&store, &all).await, all_places);
    let (_, message) = store.refusal(identifier("email", "secret-ada")).await.remove(0);
    assert_eq!(message, "Identifier email did not pass validation");
    assert_eq!(store.find(json!({})).await.len(), 0, "nothing was written");
}

#[tokio::test]
async fn no_route_repeats_an_identifier_that_it_cannot_take_or_find() {
    let store = Preferences::start().await;
    let at = "2026-02-03T09:15:00.250Z";
    let (bad, unknown) = (
        "canary-7f3a@/",
        json!({"name": "email", "value": "canary-7f3a@example.test"}),
    );
    let nameless = json!({"name": bad, "value": bad});
    let anchored = |anchor: &Value, member: &str, amendment: Value| json!({"records": [{"anchorIdentifier": anchor, "timestamp": at, member: amendment}]});
    let rename = |old: &str, new: &str| json!({"name": "email", "oldValue": old, "newValue": new});
    let email = |value: &str| json!({"name": "email", "value": value});
    let upsert = |record: Value| json!({"records": [in_shop(record)]});
    let token =
        json!({"token": bad, "partition": SHOP, "consent": {"purposes": {}, "confirmed": true, "timestamp": at}});
    for (route, body, expected) in [
        ("query", json!({"filter": {"identifiers": [nameless]}}), 400),
        ("query", json!({"filter": {"identifiers": bad}}), 400),
        ("query", json!({"filter": {"identifiers": [unknown]}}), 200),
        ("query", json!({"cursor": bad}), 400),
        ("consent-records", json!({"identifier": nameless}), 400),
        ("consent-records", json!({"identifier": bad}), 400),
        ("consent-records", json!({"identifier": unknown}), 200),
        ("delete", anchored(&nameless, "note", json!(bad)), 400),
        ("delete", anchored(&json!(bad), "note", json!(bad)), 400),
        ("delete", anchored(&unknown, "note", json!(bad)), 200),
        ("append-identifiers", anchored(&unknown, "append", email(bad)), 200),
        ("append-identifiers", anchored(&unknown, "append", unknown.clone()), 200),
        (
            "update-identifiers",
            anchored(&unknown, "update", rename("canary-7f3a", bad)),
            200,
        ),
        ("update-identifiers", anchored(&unknown, "update", json!(bad)), 400),
        (
            "delete-identifiers",
            anchored(&unknown, "delete", nameless.clone()),
            400,
        ),
        ("delete-identifiers", anchored(&unknown, "delete", unknown.clone()), 200),
        ("/v1/preferences", upsert(json!({"identifiers": [email(bad)]})), 400),
        ("/v1/preferences", upsert(json!({"identifiers": bad})), 400),
        ("/v1/preferences", upsert(json!({"userId": {"canary-7f3a": bad}})), 400),
        ("/v1/preferences/check", upsert(json!({"identifiers": [nameless]})), 400),
        (
            "/v1/consent-preferences",
            json!({"partition": SHOP, "identifiers": bad}),
            400,
        ),
        ("/sync", token, 400),
    ] {
        let (method, path) = match route {
            "/v1/preferences" => (reqwest::Method::PUT, route.to_owned()),
            route if route.starts_with('/') => (reqwest::Method::POST, route.to_owned()),
            route => (reqwest::Method::POST, format!("/v1/preferences/{SHOP}/{route}")),
        };
        let (status, answer) = store.call(method, &path, body.to_string()).await;
        assert_eq!(status, expected, "{route} {body}: {answer}");
        assert!(!answer.to_string().contains("canary"), "{route} {body}: {answer}");
    }
    let path = format!("/v1/preferences/{SHOP}/changes?after=canary-7f3a");
    let (status, answer) = store.call(reqwest::Method::GET, &path, String::new()).await;
    assert!(status == 400 && !answer.to_string().contains("canary"), "{answer}");
}

#[tokio::test]
async fn values_at_the_bounds_are_taken() {
    let store = Preferences::start().await;
    // What looks alike is not the same: nobody is taken for somebody else.
    let long = "é".repeat(512);
    let odd = [
        "\u{202e}a\u{0301}\u{1F980}",
        "a\u{0301}\u{1F980}",
        "á\u{1F980}",
        "á\u{200f}\u{1F980}",
        &long,
    ];
    let mut ids = BTreeSet::new();
    for value in odd {
        let identifier = json!({"name": "coreIdentifier", "value": value});
        let node = store.record(json!({"identifiers": [identifier]})).await;
        assert_eq!(node["identifiers"][0]["value"], value);
        ids.insert(transcend_of(&node));
        let found = store.find(json!({"identifiers": [identifier]})).await;
        assert_eq!((found.len(), transcend_of(&found[0])), (1, transcend_of(&node)));
    }
    assert_eq!(ids.len(), odd.len());
    for (n, (at, kept)) in [
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
        ("2026-03-03T10:00:00.000Z", "2026-03-03T10:00:00.000Z"),
        ("2026-02-03T10:15:00.123456789+01:00", "2026-02-03T09:15:00.123Z"),
        ("2026-02-03T00:15:00.9999-14:00", "2026-02-03T14:15:00.999Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
        ("2026-02-03T09:15", "2026-02-03T09:15:00.000Z"),
    ]
    .into_iter()
    .enumerate()
    {
        let email = format!("p{n}@example.test");
        let node = store.record(json!({"userId": email, "timestamp": at})).await;
        assert_eq!(node["timestamp"], kept, "{at}");
        let both = json!({"timestampAfter": at, "timestampBefore": kept, "identifiers": [email_of(&email)]});
        assert_eq!(store.find(both).await.len(), 1, "{at}");
    }
    let ever = json!({"timestampAfter": "0000-01-01T00:00:00Z", "timestampBefore": "9999-12-31T23:59:59.999Z"});
    assert_eq!(store.find(ever).await.len(), odd.len() + 6);
}

#[tokio::test]
async fn all_problems_of_a_batch_are_told_at_once_and_nothing_is_written() {
    let store = Preferences::start().await;
    let good = in_shop(json!({"userId": "good@example.test"}));
    let mut nowhere = good.clone();
    nowhere["partition"] = json!("nowhere");
    let bad = in_shop(json!({"userId": "good@example.test", "timestamp": "x", "purposes": [
        {"purpose": "Nope", "enabled": true},
        {"purpose": "ProductNews", "enabled": true, "preferences": [{"topic": "Cadence", "choice": {"selectValue": "Hourly"}}]}
    ]}));
    let (status, answer) = store.upsert(json!({"records": [good, nowhere, bad]})).await;
    assert_eq!(status, 400);
    let paths: Vec<String> = details(&answer).into_iter().map(|(path, _)| path).collect();
    let expected = [
        "records[1].partition",
        "records[2].timestamp",
        "records[2].purposes[0].purpose",
        "records[2].purposes[1].preferences[0].choice.selectValue",
    ];
    assert_eq!(paths, expected);
    let error = answer["error"].as_str().unwrap();
    assert!(
        expected.iter().all(|path| error.contains(&format!("{path}: "))) && error.contains("; "),
        "{error}"
    );
    assert_eq!(answer["errors"].as_array().unwrap().len(), 4);
    assert!(!answer.to_string().contains("good@"), "{answer}");
    assert_eq!(store.find(json!({})).await.len(), 0);
}

#[tokio::test]
async fn a_query_that_is_misspelt_altogether_is_refused() {
    let store = Preferences::start().await;
    let wanted = json!({"identifiers": [email_of("a@example.test")]});
    let (status, answer) = store.query(SHOP, json!({"filtr": wanted, "limit": 10})).await;
    assert_eq!(status, 400);
    let rule = nearly("filter");
    assert_eq!(details(&answer), [(String::new(), rule)]);
    let (status, answer) = store.query(SHOP, json!({"wanted": wanted, "limit": 10})).await;
    assert_eq!(status, 400);
    let rule = "must have one of the members filter, cursor, asOf, knownAt, identifiers".to_owned();
    assert_eq!(details(&answer), [(String::new(), rule)]);
    let (status, _) = store.query(SHOP, json!({"filter": wanted, "note": "ours"})).await;
    assert_eq!(status, 200);
    let (status, _) = store.query(SHOP, json!({"limit": 10})).await;
    assert_eq!(status, 200);
}

fn nearly(member: &str) -> String {
    format!("must not have a member that is nearly, but not quite, called {member}")
}

#[tokio::test]
async fn a_member_that_is_misspelt_beside_good_ones_is_refused_and_nothing_is_stored() {
    let store = Preferences::start().await;
    let wanted = json!({"identifiers": [email_of("a@example.test")]});
    for (query, path, meant) in [
        (json!({"filter": wanted, "asof": "2020-01-01T00:00:00Z"}), "", "asOf"),
        (
            json!({"filter": {"identifiers": wanted["identifiers"], "timestampAftr": "2030-01-01T00:00:00Z"}}),
            "filter",
            "timestampAfter",
        ),
        (
            json!({"filter": {"identifiers": [{"nam": "email", "value": "a@example.test"}]}}),
            "filter.identifiers[0]",
            "name",
        ),
    ] {
        let (status, answer) = store.query(SHOP, query).await;
        assert_eq!(
            (status, details(&answer)),
            (400, vec![(path.to_owned(), nearly(meant))])
        );
    }
    let record = in_shop(json!({"userId": "a@example.test", "purposes": [{"purpose": "Analytics", "enabled": true}]}));
    let strings = in_shop(json!({"userId": "a@example.test", "consentManagement": {"uspp": "1YYN"}}));
    let options = in_shop(json!({"userId": "a@example.test", "options": {"mergeRecordsOnConflct": false}}));
    let purposes = in_shop(
        json!({"userId": "a@example.test", "purposes": [{"purpose": "Analytics", "enabled": true,
        "preferencs": []}]}),
    );
    for (batch, path, meant) in [
        (
            json!({"records": [record], "skipWorkflowTrigers": true}),
            "",
            "skipWorkflowTriggers",
        ),
        (json!({"records": [strings]}), "records[0].consentManagement", "usp"),
        (
            json!({"records": [options]}),
            "records[0].options",
            "mergeRecordsOnConflict",
        ),
        (json!({"records": [purposes]}), "records[0].purposes[0]", "preferences"),
    ] {
        let (status, answer) = store.upsert(batch).await;
        assert_eq!(
            (status, details(&answer)),
            (400, vec![(path.to_owned(), nearly(meant))])
        );
    }
    assert_eq!(store.find(json!({})).await.len(), 0);
    let path = format!("/v1/preferences/{SHOP}/changes?form=now");
    let (status, answer) = store.call(reqwest::Method::GET, &path, String::new()).await;
    assert_eq!((status, &*details(&answer)[0].0), (400, "from"), "{answer}");
}

#[tokio::test]
async fn of_very_many_problems_a_thousand_are_told_and_the_rest_counted() {
    let store = Preferences::start().await;
    let batch = |purposes: usize| {
        let bad = in_shop(json!({"userId": "a@example.test", "purposes": vec![json!({"purpose": "x"}); purposes]}));
        json!({"records": vec![bad; 10]})
    };
    let (status, at) = store.upsert(batch(100)).await;
    let told = details(&at);
    assert_eq!((status, told.len()), (400, 1_000));
    assert_eq!(told[999].0, "records[9].purposes[99].purpose");
    let (status, past) = store.upsert(batch(200)).await;
    let told = details(&past);
    assert_eq!((status, told.len()), (400, 1_001));
    let rest = "have 1000 further problems, which are not listed".to_owned();
    assert_eq!(told[1_000], ("records".to_owned(), rest));
}

#[tokio::test]
async fn what_is_given_twice_is_told_once_and_not_looked_into() {
    let store = Preferences::start().await;
    let topics = json!([{"topic": "Nope", "choice": {}}]);
    let twice = json!([
        {"purpose": "ProductNews", "enabled": true},
        {"purpose": "ProductNews", "consent": "Granted", "preferences": topics},
    ]);
    let refused = store
        .refusal(json!({"userId": "a@example.test", "purposes": twice}))
        .await;
    let paths: Vec<&str> = refused.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["records[0].purposes[1].purpose"]);
}

#[tokio::test]
async fn checklist_2_a_bad_row_in_a_batch_is_found_by_halving() {
    let store = Preferences::start().await;
    let row = |n: usize| {
        let cadence = if n == 17 { "Hourly" } else { "Weekly" };
        let topics = json!([{"topic": "Cadence", "choice": {"selectValue": cadence}}]);
        let purposes = json!([{"purpose": "ProductNews", "enabled": true, "preferences": topics}]);
        in_shop(json!({"userId": format!("row{n}@example.test"), "purposes": purposes}))
    };
    let mut pending: Vec<Vec<usize>> = vec![(0..25).collect()];
    let mut failed = Vec::new();
    while let Some(rows) = pending.pop() {
        let records: Vec<Value> = rows.iter().map(|n| row(*n)).collect();
        match store.upsert(json!({"records": records})).await.0 {
            200 => {}
            400 if rows.len() == 1 => failed.extend(rows),
            400 => {
                let (left, right) = rows.split_at(rows.len() / 2);
                pending.extend([left.to_vec(), right.to_vec()]);
            }
            status => panic!("{status}"),
        }
    }
    assert_eq!(failed, [17]);
    assert_eq!(store.find(json!({})).await.len(), 24);
}

#[tokio::test]
async fn a_batch_has_1_to_100_records() {
    let store = Preferences::start().await;
    let batch = |count: usize| {
        let record = |n: usize| in_shop(json!({"userId": format!("p{n}@example.test")}));
        json!({"records": (0..count).map(record).collect::<Vec<_>>()})
    };
    for (body, expected) in [(batch(0), 400), (batch(1), 200), (batch(100), 200), (batch(101), 400)] {
        let (status, answer) = store.upsert(body).await;
        assert_eq!(status, expected);
        if expected == 400 {
            assert_eq!(details(&answer)[0].0, "records");
        }
    }
    let (status, answer) = store.upsert(json!({})).await;
    assert_eq!(
        (status, details(&answer)),
        (400, vec![("records".to_owned(), "is required".to_owned())])
    );
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let store = Preferences::start().await;
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    for body in [
        "",
        "{",
        "[]x",
        "{\"records\":1e999}",
        &deep,
        "null",
        "\u{feff}{}",
        "{\"records\": [1]}",
    ] {
        let (status, _) = store
            .call(reqwest::Method::PUT, "/v1/preferences", body.to_owned())
            .await;
        assert_eq!(status, 400, "{body}");
    }
    // As in JavaScript, the last of two equal keys counts.
    let twice = format!(
        "{{\"records\":[],\"records\":[{}]}}",
        in_shop(json!({"userId": "ada@example.test"}))
    );
    let (status, answer) = store.call(reqwest::Method::PUT, "/v1/preferences", twice).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_record_stops_growing_before_it_gets_out_of_hand() {
    let store = Preferences::start().await;
    let mut outcomes = Vec::new();
    for round in 0..6 {
        let metadata: Vec<Value> = (0..200)
            .map(|n| json!({"key": format!("{round}-{n}"), "value": "x"}))
            .collect();
        let record = in_shop(json!({"userId": "ada@example.test", "metadata": metadata}));
        let (status, answer) = store.upsert(json!({"records": [record]})).await;
        assert_eq!(status, 200);
        outcomes.push(answer["success"].as_bool().unwrap());
    }
    assert_eq!(outcomes, [true, true, true, true, true, false]);
    // What was accepted is accepted again, and what is there can be cleared.
    let stays = async |metadata: Vec<Value>| {
        let node = store
            .record(json!({"userId": "ada@example.test", "metadata": metadata}))
            .await;
        node["metadata"].as_array().unwrap().len()
    };
    let fifth = (0..200).map(|n| json!({"key": format!("4-{n}"), "value": "x"}));
    assert_eq!(stays(fifth.collect()).await, 1_000);
    let first = (0..200).map(|n| json!({"key": format!("0-{n}"), "value": null}));
    assert_eq!(stays(first.collect()).await, 800);
}
