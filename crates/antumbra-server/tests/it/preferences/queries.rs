//! Queries: order, bounds, pages and cursors.

use super::*;
use crate::support::rows::put_rows;

#[tokio::test]
async fn checklist_5_the_newest_record_comes_first_on_the_filtered_dimension() {
    let store = Preferences::start().await;
    // Written in this order, a minute apart; chosen in another.
    for (email, at) in [
        ("a@example.test", "03"),
        ("b@example.test", "01"),
        ("c@example.test", "02"),
    ] {
        store
            .record_choice(email, "Analytics", true, &format!("2026-02-{at}T09:00:00.000Z"))
            .await;
        store.server.clock.advance(std::time::Duration::from_secs(60));
    }
    let first = async |filter: Value| {
        let (status, answer) = store.query(SHOP, json!({"limit": 1, "filter": filter})).await;
        assert_eq!(status, 200);
        answer["nodes"][0]["userId"].as_str().map(str::to_owned)
    };
    assert_eq!(first(json!({})).await.as_deref(), Some("c@example.test"));
    assert_eq!(first(json!({"system": {}})).await.as_deref(), Some("c@example.test"));
    assert_eq!(
        first(json!({"system": {"updatedBefore": "2026-03-02T10:01:30Z"}}))
            .await
            .as_deref(),
        Some("b@example.test")
    );
    assert_eq!(
        first(json!({"timestampBefore": "2026-03-01T00:00:00Z"}))
            .await
            .as_deref(),
        Some("a@example.test")
    );
    assert_eq!(
        first(json!({"timestampBefore": "2026-02-02T23:59:59.999Z"}))
            .await
            .as_deref(),
        Some("c@example.test")
    );
    // Everything that is given must hold.
    let both = json!({"timestampAfter": "2026-02-02T00:00:00Z", "system": {"updatedBefore": "2026-03-02T10:00:59Z"}});
    assert_eq!(first(both).await.as_deref(), Some("a@example.test"));
    let identifiers: Vec<Value> = ["b@example.test", "a@example.test", "b@example.test", "c@example.test"]
        .map(email_of)
        .into();
    let asked: Vec<_> = store.find(json!({"identifiers": identifiers})).await;
    let shown: Vec<&str> = asked.iter().map(|node| node["userId"].as_str().unwrap()).collect();
    assert_eq!(shown, ["b@example.test", "a@example.test", "c@example.test"]);
    let bounded = store
        .find(json!({"identifiers": identifiers, "timestampAfter": "2026-02-02T09:00:00.000Z"}))
        .await;
    let shown: Vec<&str> = bounded.iter().map(|node| node["userId"].as_str().unwrap()).collect();
    assert_eq!(shown, ["a@example.test", "c@example.test"]);
}

#[tokio::test]
async fn a_query_looks_at_so_many_records_and_its_cursor_goes_on_behind_the_last() {
    let store = Preferences::start().await;
    let chosen = |n: usize| format!("2026-01-02T{:02}:{:02}:{:02}.000Z", n / 3600, n / 60 % 60, n % 60);
    let batch = |from: usize| {
        let record = |n: usize| in_shop(json!({"userId": format!("p{n}@example.test"), "timestamp": chosen(n)}));
        json!({"records": (from..from + 100).map(record).collect::<Vec<_>>()})
    };
    for from in (0..2_400).step_by(100) {
        assert_eq!(store.upsert(batch(from)).await.0, 200);
    }
    // The one who chose last and the one who chose first are written again, later than all others.
    store.server.clock.advance(std::time::Duration::from_secs(60));
    for (n, usp) in [(2_399, "1YYN"), (0, "1YNN")] {
        let record = json!({"userId": format!("p{n}@example.test"), "timestamp": chosen(n), "usp": usp});
        store.record(record).await;
    }
    let late = json!({"timestampBefore": "2026-01-03T00:00:00Z", "system": {"updatedAfter": "2026-03-02T10:00:30Z"}});
    let (_, first) = store.query(SHOP, json!({"filter": late, "limit": 10})).await;
    assert_eq!(first["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(first["nodes"][0]["userId"], "p2399@example.test");
    let (_, last) = store.query(SHOP, json!({"cursor": first["cursor"], "limit": 10})).await;
    assert_eq!(last["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(last["nodes"][0]["userId"], "p0@example.test");
    assert_eq!(last.get("cursor"), None);
    // A page without a record would pass for the last: the call looks on until it has one.
    let before = json!({"timestampBefore": chosen(2_300), "system": {"updatedAfter": "2026-03-02T10:00:30Z"}});
    let (_, only) = store.query(SHOP, json!({"filter": before, "limit": 10})).await;
    assert_eq!(only["nodes"][0]["userId"], "p0@example.test");
}

#[tokio::test]
async fn bounds_take_in_both_their_ends() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    for (after, before, found) in [
        ("2026-02-03T09:00:00.000Z", "2026-02-03T09:00:00.000Z", 1),
        ("2026-02-03T09:00:00.001Z", "2026-02-03T10:00:00.000Z", 0),
        ("2026-02-03T08:00:00.000Z", "2026-02-03T08:59:59.999Z", 0),
        ("2026-02-03T10:00:00.000Z", "2026-02-03T09:00:00.000Z", 0),
    ] {
        let nodes = store
            .find(json!({"timestampAfter": after, "timestampBefore": before}))
            .await;
        assert_eq!(nodes.len(), found, "{after} {before}");
    }
    for (after, found) in [("2026-03-02T10:00:00Z", 1), ("2026-03-02T10:00:00.001", 0)] {
        assert_eq!(
            store.find(json!({"system": {"updatedAfter": after}})).await.len(),
            found,
            "{after}"
        );
    }
}

#[tokio::test]
async fn checklist_4_windows_and_pages_give_every_record_exactly_once() {
    let store = Preferences::start().await;
    // Two years of people, all on the minute: the third of each three on the very edge between two windows of five days.
    let (apart, window) = (4_800, 7_200);
    let start: jiff::Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    let minutes = |n: i64| (start + jiff::SignedDuration::from_mins(n)).to_string();
    let mut records = Vec::new();
    for n in 0..230i64 {
        let person = json!([email_of(&format!("person{n}@example.test"))]);
        records.push(in_shop(json!({"identifiers": person, "timestamp": minutes(n * apart)})));
    }
    for batch in records.chunks(100) {
        let (status, answer) = store.upsert(json!({"records": batch})).await;
        assert_eq!((status, &answer["success"]), (200, &json!(true)));
        store.server.clock.advance(std::time::Duration::from_secs(1));
    }
    let names = |nodes: Vec<Value>| -> Vec<String> {
        nodes
            .iter()
            .map(|node| node["userId"].as_str().unwrap().to_owned())
            .collect()
    };
    // The day of the first is found by looking at one record each time, nearer and nearer.
    let (mut empty, mut found) = (
        start - jiff::SignedDuration::from_hours(4_000 * 24),
        store.server.clock.now(),
    );
    while found.duration_since(empty) > jiff::SignedDuration::from_hours(24) {
        let middle = empty + found.duration_since(empty) / 2;
        let filter = json!({"timestampBefore": middle.to_string()});
        let (_, answer) = store.query(SHOP, json!({"filter": filter, "limit": 1})).await;
        match answer["nodes"].as_array().unwrap().first() {
            Some(node) => found = node["timestamp"].as_str().unwrap().parse().unwrap(),
            None => empty = middle,
        }
    }
    assert_eq!(found, start);
    // Half-open windows, as clients make them of inclusive bounds.
    let mut windows = Vec::new();
    for n in (0..230 * apart).step_by(usize::try_from(window).unwrap()) {
        let next = start + jiff::SignedDuration::from_mins(n + window);
        let last = (next - jiff::SignedDuration::from_millis(1)).to_string();
        windows.extend(names(
            store
                .all(json!({"timestampAfter": minutes(n), "timestampBefore": last}), 2)
                .await,
        ));
    }
    let distinct: BTreeSet<&String> = windows.iter().collect();
    assert_eq!((windows.len(), distinct.len()), (230, 230));
    for (filter, limit) in [
        (json!({}), 7),
        (json!({"timestampAfter": minutes(0)}), 50),
        (
            json!({"timestampAfter": minutes(0), "system": {"updatedAfter": "2026-03-02T10:00:00Z"}}),
            100,
        ),
    ] {
        let all = names(store.all(filter, limit).await);
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!((all.len(), distinct.len()), (230, 230));
    }
    let by_event = names(store.all(json!({"timestampAfter": minutes(0)}), 100).await);
    let expected: Vec<String> = (0..230).rev().map(|n| format!("person{n}@example.test")).collect();
    assert_eq!(by_event, expected);
    let some: Vec<Value> = (0..10).map(|n| email_of(&format!("person{n}@example.test"))).collect();
    let paged = names(store.all(json!({"identifiers": some}), 3).await);
    assert_eq!(
        paged,
        (0..10).map(|n| format!("person{n}@example.test")).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn checklist_1_a_bulk_upload_finds_what_it_uploaded_and_skips_it_the_second_time() {
    let store = Preferences::start().await;
    let email = |n: usize| format!("row{n}@example.test");
    let wanted: Vec<(String, Value)> = (0..250)
        .map(|n| {
            let channels = if n % 3 == 0 {
                json!(["Email"])
            } else {
                json!(["Email", "Sms"])
            };
            let topics = json!([{"topic": "Channel", "choice": {"selectValues": channels}}]);
            (
                email(n),
                json!([{"purpose": "ProductNews", "enabled": n % 2 == 0, "preferences": topics}]),
            )
        })
        .collect();
    let mut uploaded = Vec::new();
    for _ in 0..2 {
        let mut known = BTreeMap::new();
        for chunk in wanted.chunks(100) {
            let identifiers: Vec<Value> = chunk.iter().map(|(email, _)| json!({"value": email})).collect();
            let body = json!({"filter": {"identifiers": identifiers}, "limit": chunk.len()});
            let (status, answer) = store.query(SHOP, body).await;
            assert_eq!(status, 200);
            for node in answer["nodes"].as_array().unwrap() {
                known.insert(
                    node["userId"].as_str().unwrap().to_owned(),
                    without_timestamps(&node["purposes"]),
                );
            }
        }
        let pending: Vec<Value> = wanted
            .iter()
            .filter(|(email, purposes)| known.get(email) != Some(purposes))
            .map(|(email, purposes)| in_shop(json!({"userId": email, "purposes": purposes})))
            .collect();
        uploaded.push(pending.len());
        for chunk in pending.chunks(100) {
            let (status, _) = store
                .upsert(json!({"records": chunk, "skipWorkflowTriggers": true}))
                .await;
            assert_eq!(status, 200);
        }
    }
    assert_eq!(uploaded, [250, 0]);
}

#[tokio::test]
async fn a_cursor_serves_only_its_own_query() {
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
    let filter = json!({"timestampAfter": "2026-01-01T00:00:00Z"});
    let (_, page) = store.query(SHOP, json!({"filter": filter, "limit": 1})).await;
    let cursor = page["cursor"].as_str().unwrap().to_owned();
    assert!(
        cursor.len() <= 2048
            && cursor
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    );
    // It carries the filter, so it needs none; the same one may come along.
    let (_, alone) = store.query(SHOP, json!({"cursor": cursor, "limit": 1})).await;
    let (_, repeated) = store
        .query(SHOP, json!({"cursor": cursor, "filter": filter, "limit": 1}))
        .await;
    assert_eq!(alone, repeated);
    assert_ne!(alone["nodes"], page["nodes"]);

    let flipped = format!(
        "{}{}",
        &cursor[..cursor.len() - 2],
        if cursor.ends_with("AA") { "BB" } else { "AA" }
    );
    let cut = cursor[..cursor.len() - 5].to_owned();
    for (partition, body, path) in [
        (GAMES, json!({"cursor": cursor}), "cursor"),
        (SHOP, json!({"cursor": flipped}), "cursor"),
        (SHOP, json!({"cursor": cut}), "cursor"),
        (SHOP, json!({"cursor": "x"}), "cursor"),
        (
            SHOP,
            json!({"cursor": cursor, "filter": {"timestampAfter": "2026-01-02T00:00:00Z"}}),
            "filter",
        ),
        (SHOP, json!({"cursor": cursor, "filter": {}}), "filter"),
        (SHOP, json!({"limit": 0}), "limit"),
        (SHOP, json!({"limit": 101}), "limit"),
        (SHOP, json!({"limit": -1}), "limit"),
        (SHOP, json!({"limit": "abc"}), "limit"),
        (
            SHOP,
            json!({"filter": {"timestampAfter": "yesterday"}}),
            "filter.timestampAfter",
        ),
        (
            SHOP,
            json!({"filter": {"system": {"updatedBefore": "x"}}}),
            "filter.system.updatedBefore",
        ),
        (
            SHOP,
            json!({"filter": {"identifiers": [{"name": "shoeSize", "value": "42"}]}}),
            "filter.identifiers[0].name",
        ),
        (
            SHOP,
            json!({"filter": {"identifiers": vec![json!({"value": "x"}); 101]}}),
            "filter.identifiers",
        ),
    ] {
        let (status, answer) = store.query(partition, body.clone()).await;
        assert_eq!(
            (status, details(&answer)[0].0.as_str()),
            (400, path),
            "{body}: {answer}"
        );
    }
    for place in (0..cursor.len()).step_by(7) {
        let mut bytes = cursor.clone().into_bytes();
        bytes[place] ^= 1;
        let (status, answer) = store
            .query(SHOP, json!({"cursor": String::from_utf8(bytes).unwrap()}))
            .await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, "cursor"), "{place}");
    }
    // It is the organization's: with another key of theirs one reads on, and with nobody else's.
    let scopes = || vec![ScopeName::ManageStoredPreferences];
    let path = format!("/v1/preferences/{SHOP}/query");
    let other = store.server.another_organization().await;
    configure(&store.server, other, &[SHOP]).await;
    for (organization, expected) in [(store.server.organization, 200), (other, 400)] {
        let input = ApiKeyInput {
            scopes: scopes(),
            ..key_input()
        };
        let (_, key) = store.server.make_key(organization, input).await;
        let body = json!({"cursor": cursor}).to_string();
        let (status, _) = call(&store.server, &key, reqwest::Method::POST, &path, body).await;
        assert_eq!(status, expected);
    }
    let elsewhere = Preferences::start().await;
    let (status, _) = elsewhere.query(SHOP, json!({"cursor": cursor})).await;
    assert_eq!(status, 400, "a cursor of another server");
}

#[tokio::test]
async fn a_long_list_of_identifiers_is_sent_again_with_its_cursor() {
    let store = Preferences::start().await;
    let identifiers: Vec<Value> = (0..100).map(|n| email_of(&format!("p{n}@example.test"))).collect();
    for n in [3, 50, 98] {
        store
            .record_choice(
                &format!("p{n}@example.test"),
                "Analytics",
                true,
                "2026-02-03T09:00:00.000Z",
            )
            .await;
    }
    assert_eq!(store.all(json!({"identifiers": identifiers}), 1).await.len(), 3);
    let (_, page) = store
        .query(SHOP, json!({"filter": {"identifiers": identifiers}, "limit": 1}))
        .await;
    let cursor = page["cursor"].as_str().unwrap();
    assert!(cursor.len() <= 2048);
    let (status, answer) = store.query(SHOP, json!({"cursor": cursor})).await;
    assert_eq!((status, details(&answer)[0].0.as_str()), (400, "filter"));
    let (_, page) = store
        .query(SHOP, json!({"filter": {"identifiers": identifiers[..40]}, "limit": 1}))
        .await;
    assert!(page.get("cursor").is_none());
    let some = json!({"identifiers": [identifiers[3], identifiers[50], {"value": "p98@example.test"}]});
    let (_, page) = store.query(SHOP, json!({"filter": some, "limit": 1})).await;
    let (_, page) = store.query(SHOP, json!({"cursor": page["cursor"], "limit": 5})).await;
    assert_eq!(page["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_record_whose_key_is_gone_is_shown_without_its_contents() {
    let store = Preferences::start().await;
    let node = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    lose_key(&store.server, &node).await;
    let (_, answer) = store.query(SHOP, json!({})).await;
    let expected = json!({"nodes": [{
        "partition": SHOP,
        "timestamp": "2026-02-03T09:00:00.000Z",
        "confirmed": false,
        "identifiers": [],
        "purposes": [],
        "consentManagement": {"usp": null, "gpp": null, "tcf": null, "airgapVersion": null},
        "metadata": [],
        "system": {"decryptionStatus": "ERROR", "updatedAt": "2026-03-02T10:00:00.000Z"}
    }]});
    assert_eq!(answer, expected);
    let again = in_shop(json!({"identifiers": [email_of("ada@example.test")]}));
    let (status, answer) = store.upsert(json!({"records": [again]})).await;
    let error = "The stored preference record can not be decrypted";
    assert_eq!(
        (status, &answer["failures"]),
        (200, &json!([{"index": 0, "error": error}]))
    );
}

#[tokio::test]
async fn a_bound_may_be_the_end_of_all_time_and_nobody_is_not_everybody() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let end = "9999-12-31T23:59:59.999Z";
    let bounds = json!({"timestampBefore": end, "system": {"updatedBefore": end}});
    for body in [
        json!({"filter": bounds}),
        json!({"asOf": end, "knownAt": end}),
        json!({"filter": {"timestampAfter": "2026-02-03T09:00:00Z"}, "limit": 1}),
    ] {
        let (status, answer) = store.query(SHOP, body.clone()).await;
        assert_eq!(
            (status, answer["nodes"].as_array().map(Vec::len)),
            (200, Some(1)),
            "{body} {answer}"
        );
    }
    let (_, answer) = store.query(SHOP, json!({"filter": {"timestampAfter": end}})).await;
    assert_eq!(answer, json!({"nodes": []}));
    for (filter, place) in [
        (json!({"identifiers": null}), "filter.identifiers"),
        (
            json!({"identifiers": null, "timestampBefore": end}),
            "filter.identifiers",
        ),
        (
            json!({"timestampBefore": "2026-02-03T09:15:00[Europe/Paris]"}),
            "filter.timestampBefore",
        ),
    ] {
        let (status, answer) = store.query(SHOP, json!({"filter": filter})).await;
        assert_eq!(
            (status, &answer["details"][0]["path"]),
            (400, &json!(place)),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_search_that_finds_nothing_is_refused_past_a_hundred_thousand_records() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let (key, row) = rows_of(&store.server, "preferences_by_event").await.remove(0);
    let put = async |from: u128, to: u128| {
        // organization 16, partition 16, time 8, record 16.
        let place = |n: u128| [&key[..40], &n.to_be_bytes()].concat();
        let rows = (from..to).map(|n| (place(n), row.clone()));
        put_rows(&store.server, "preferences_by_event", rows).await;
    };
    let at = "2026-02-03T09:00:00Z";
    let body = json!({"filter": {"timestampAfter": at, "system": {"updatedBefore": at}}});
    put(1, 99_999).await;
    assert_eq!(store.query(SHOP, body.clone()).await, (200, json!({"nodes": []})));
    put(99_999, 100_000).await;
    let (status, answer) = store.query(SHOP, body).await;
    assert_eq!(
        (status, details(&answer)[0].0.as_str()),
        (400, "filter.system"),
        "{answer}"
    );
    let body = json!({"filter": {"timestampAfter": "2026-02-03T09:00:00.001Z", "system": {"updatedBefore": at}}});
    assert_eq!(store.query(SHOP, body).await, (200, json!({"nodes": []})));
}
