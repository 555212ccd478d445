//! Queries that look back: what people had chosen at one time, as it was known at another.

use super::*;

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
async fn what_one_call_told_of_two_records_is_in_its_order_once_they_are_one() {
    let store = Preferences::start().await;
    for (round, first) in [(0, true), (1, false), (2, true), (3, false), (4, true), (5, false)] {
        let email = email_of(&format!("ana-{round}@example.test"));
        let phone = json!({"name": "phone", "value": format!("+35191000002{round}")});
        let of = |identifiers: Value, at: &str, enabled: bool| {
            in_shop(json!({"identifiers": identifiers, "timestamp": at,
                "purposes": [{"purpose": "Analytics", "enabled": enabled}]}))
        };
        let mut records = vec![
            of(json!([email]), "2026-02-03T09:15:00Z", true),
            of(json!([phone]), "2026-02-03T09:16:00Z", false),
        ];
        if !first {
            records.reverse();
        }
        let (status, answer) = store.upsert(json!({ "records": records })).await;
        assert_eq!(status, 200, "{answer}");
        let joined = json!({"identifiers": [email, phone], "timestamp": "2026-02-03T09:17:00Z"});
        store.record(joined).await;
        let timeline = store.timeline(json!({"identifier": email})).await;
        let told: Vec<&Value> = entries(&timeline)
            .iter()
            .map(|entry| &entry["preferencesAtCurrentTime"][0]["consent"])
            .collect();
        // What was told first is there for as long as it stood alone.
        assert_eq!(told[0], &json!(first), "{timeline}");
        assert_eq!(told.last().unwrap(), &&json!(false), "{timeline}");
    }
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
