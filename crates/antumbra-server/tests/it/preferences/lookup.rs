//! The deprecated lookup.

use super::*;

impl Preferences {
    async fn look_up(&self, body: Value) -> (u16, Value) {
        self.call(reqwest::Method::POST, "/v1/consent-preferences", body.to_string())
            .await
    }

    /// Every record of the shop that a lookup finds, page by page, as old clients go through them.
    async fn look_up_all(&self, mut body: Value) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let (status, mut answer) = self.look_up(body.clone()).await;
            assert_eq!(status, 200, "{answer}");
            all.append(answer["nodes"].as_array_mut().unwrap());
            match answer.get("lastKey") {
                Some(key) => body["startKey"] = key.clone(),
                None => return all,
            }
        }
    }

    async fn look_up_one(&self, query: &str) -> (u16, Value) {
        let path = format!("/v1/consent-preferences{query}");
        self.call(reqwest::Method::GET, &path, String::new()).await
    }
}

fn user_ids(nodes: &[Value]) -> Vec<&str> {
    nodes.iter().map(|node| node["userId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_answer_is_flat_and_its_last_key_leads_to_the_next_page() {
    let store = Preferences::start().await;
    let purposes = json!([{"purpose": "Analytics", "enabled": false}, {"purpose": "ProductNews", "enabled": true}]);
    store
        .record(json!({"userId": "Ana@example.org", "usp": "1YNN", "purposes": purposes}))
        .await;
    store
        .record_choice("older@example.org", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let (status, answer) = store.look_up(json!({"partition": SHOP, "limit": 1})).await;
    let node = json!({
        "userId": "Ana@example.org",
        "partition": SHOP,
        "decryptionStatus": "DECRYPTED",
        "purposes": {"Analytics": false, "ProductNews": true},
        "timestamp": "2026-02-03T09:15:00.250Z",
        "updatedAt": "2026-03-02T10:00:00.000Z",
        "usp": "1YNN", "gpp": null, "tcf": null, "airgapVersion": null
    });
    let last_key = json!({
        "userId": format!("Ana@example.org {SHOP}"),
        "partition": SHOP,
        "decryptionStatus": "DECRYPTED",
        "timestamp": "2026-02-03T09:15:00.250Z"
    });
    assert_eq!((status, &answer), (200, &json!({"nodes": [node], "lastKey": last_key})));
    let mut start = last_key;
    start.as_object_mut().unwrap().remove("decryptionStatus");
    let (_, answer) = store
        .look_up(json!({"partition": SHOP, "limit": 1, "startKey": start}))
        .await;
    assert_eq!(user_ids(answer["nodes"].as_array().unwrap()), ["older@example.org"]);
    assert!(answer.get("lastKey").is_none(), "the last page has none");
    let (_, answer) = store.look_up(json!({"partition": SHOP, "startKey": {}})).await;
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 2);
    let (_, answer) = store
        .look_up(json!({"partition": SHOP, "filterBy": {"updatedAfter": "2026-03-02"}, "limit": 1}))
        .await;
    assert_eq!(answer["lastKey"]["updatedAt"], "2026-03-02T10:00:00.000Z");
    assert!(answer["lastKey"].get("timestamp").is_none());
}

#[tokio::test]
async fn plain_values_find_people_and_bounds_include_their_ends_in_either_place() {
    let store = Preferences::start().await;
    for n in 1..=3 {
        store.server.clock.advance(std::time::Duration::from_secs(60));
        let at = format!("2026-02-03T09:0{n}:00.000Z");
        store
            .record_choice(&format!("p{n}@example.org"), "Analytics", true, &at)
            .await;
    }
    store
        .record(json!({"userId": "customer-17", "timestamp": "2026-02-03T09:04:00.000Z"}))
        .await;
    let values = json!(["P2@example.org", "customer-17", "nobody@example.org"]);
    for filter in [
        json!({"identifiers": values}),
        json!({"filterBy": {"identifiers": values}}),
    ] {
        let mut body = filter;
        body["partition"] = json!(SHOP);
        let found = store.look_up_all(body.clone()).await;
        assert_eq!(
            user_ids(&found),
            ["customer-17", "P2@example.org"],
            "as they were asked for"
        );
        body["limit"] = json!(1);
        assert_eq!(store.look_up_all(body).await, found);
    }
    for (filter, expected) in [
        (
            json!({"timestampAfter": "2026-02-03T09:02:00Z"}),
            vec!["customer-17", "p3@example.org", "p2@example.org"],
        ),
        (
            json!({"timestampBefore": "2026-02-03T09:02:00Z"}),
            vec!["p2@example.org", "p1@example.org"],
        ),
        (
            json!({"timestampAfter": "2026-02-03T09:02:00Z", "timestampBefore": "2026-02-03T09:03:00Z"}),
            vec!["p3@example.org", "p2@example.org"],
        ),
        (
            json!({"updatedAfter": "2026-03-02T10:02:00Z", "updatedBefore": "2026-03-02T10:02:00Z"}),
            vec!["p2@example.org"],
        ),
        (json!({"updatedBefore": "2026-03-02T10:01:00Z"}), vec!["p1@example.org"]),
    ] {
        let mut flat = filter.clone();
        flat["partition"] = json!(SHOP);
        for body in [flat, json!({"partition": SHOP, "filterBy": filter})] {
            assert_eq!(user_ids(&store.look_up_all(body).await), expected);
        }
    }
    // Nobody has chosen after now, unless their clock is ahead of ours.
    store
        .record_choice("ahead@example.org", "Analytics", true, "2026-03-02T12:00:00.000Z")
        .await;
    assert_eq!(store.look_up_all(json!({"partition": SHOP})).await.len(), 4);
    assert_eq!(
        store
            .look_up_all(json!({"partition": SHOP, "identifiers": ["ahead@example.org"]}))
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn pages_pass_over_nobody_though_many_share_a_time_and_some_move_or_go() {
    let store = Preferences::start().await;
    for n in 0..23 {
        // Of some, nothing but their own id stands for them.
        let who = match n % 3 {
            0 => json!({"userId": format!("P{n:02}@Example.org")}),
            1 => json!({"identifiers": [email_of(&format!("p{n:02}@example.org"))]}),
            _ => json!({"identifiers": [{"name": "phone", "value": format!("+3519100000{n:02}")}]}),
        };
        store.record(who).await;
    }
    let expected: BTreeSet<String> = store
        .look_up_all(json!({"partition": SHOP, "limit": 100}))
        .await
        .iter()
        .map(|node| node["userId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(expected.len(), 23);
    for filter in [json!({}), json!({"updatedAfter": "2026-03-02T10:00:00Z"})] {
        let found = store
            .look_up_all(json!({"partition": SHOP, "limit": 4, "filterBy": filter}))
            .await;
        assert_eq!(found.len(), 23, "each once");
        assert_eq!(
            user_ids(&found).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
            expected
        );
    }
    // The record that a page ended with is gone by the time of the next.
    let (_, answer) = store.look_up(json!({"partition": SHOP, "limit": 7})).await;
    let mut seen: BTreeSet<String> = user_ids(answer["nodes"].as_array().unwrap())
        .into_iter()
        .map(str::to_owned)
        .collect();
    let last = answer["nodes"][6]["userId"].clone();
    let anchor = match last.as_str().unwrap().starts_with('+') {
        true => json!({"name": "phone", "value": last}),
        false => email_of(last.as_str().unwrap()),
    };
    let deletion = json!({"records": [{"anchorIdentifier": anchor, "timestamp": "2026-03-02T10:00:00Z"}]});
    let path = format!("/v1/preferences/{SHOP}/delete");
    let (status, _) = store.call(reqwest::Method::POST, &path, deletion.to_string()).await;
    assert_eq!(status, 200);
    let rest = store
        .look_up_all(json!({"partition": SHOP, "limit": 7, "startKey": answer["lastKey"]}))
        .await;
    seen.extend(user_ids(&rest).into_iter().map(str::to_owned));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn filters_that_exclude_each_other_and_keys_of_other_lists_are_refused_by_their_places() {
    let store = Preferences::start().await;
    let at = "2026-02-03T09:00:00Z";
    let times = "must not be given together with bounds on times";
    let event = "must not be given together with bounds on timestamp";
    let moment = "must be an ISO 8601 date and time, such as 2026-02-03T09:15:00.250Z";
    let start = |key: Value| json!({"partition": SHOP, "startKey": key});
    let long: Vec<String> = (0..101).map(|n| format!("p{n}@example.org")).collect();
    for (body, path, rule) in [
        (
            json!({"partition": "no-such-shop"}),
            "partition",
            "is not a partition of this organization",
        ),
        (json!({}), "partition", "is required"),
        (
            json!({"partition": SHOP, "identifiers": [], "timestampAfter": at}),
            "identifiers",
            times,
        ),
        (
            json!({"partition": SHOP, "filterBy": {"identifiers": [], "updatedBefore": at}}),
            "filterBy.identifiers",
            times,
        ),
        (
            json!({"partition": SHOP, "updatedAfter": at, "timestampBefore": at}),
            "updatedAfter",
            event,
        ),
        (
            json!({"partition": SHOP, "filterBy": {"updatedBefore": at}, "timestampBefore": at}),
            "filterBy.updatedBefore",
            event,
        ),
        (
            json!({"partition": SHOP, "timestampBefore": "then"}),
            "timestampBefore",
            moment,
        ),
        (
            json!({"partition": SHOP, "filterBy": {"updatedAfter": "then"}}),
            "filterBy.updatedAfter",
            moment,
        ),
        (
            json!({"partition": SHOP, "identifiers": long}),
            "identifiers",
            "must hold at most 100 entries",
        ),
        (json!({"partition": SHOP, "limit": 0}), "limit", "must be from 1 to 100"),
        (
            json!({"partition": SHOP, "limit": 101}),
            "limit",
            "must be from 1 to 100",
        ),
        (
            json!({"partition": SHOP, "limit": -1}),
            "limit",
            "must be from 1 to 100",
        ),
        (start(json!({"timestamp": at})), "startKey.userId", "is required"),
        (
            start(json!({"userId": "x"})),
            "startKey.timestamp",
            "is required: records are listed by it",
        ),
        (
            start(json!({"userId": "x", "updatedAt": at})),
            "startKey.timestamp",
            "is required: records are listed by it",
        ),
        (
            start(json!({"userId": "x", "timestamp": "then"})),
            "startKey.timestamp",
            moment,
        ),
        (
            start(json!({"userId": "x", "timestamp": at, "partition": GAMES})),
            "startKey.partition",
            "is not the one that is asked about",
        ),
    ] {
        let (status, answer) = store.look_up(body.clone()).await;
        assert_eq!(status, 400, "{body}: {answer}");
        assert_eq!(details(&answer), [(path.to_owned(), rule.to_owned())], "{body}");
    }
    for (body, path) in [
        (json!({"partition": SHOP, "identifers": []}), ""),
        (json!({"partition": SHOP, "filterBy": {"identifers": []}}), "filterBy"),
        (
            json!({"partition": SHOP, "identifiers": [{"value": "x"}]}),
            "identifiers[0]",
        ),
        (json!({"partition": SHOP, "limit": "ten"}), "limit"),
    ] {
        let (status, answer) = store.look_up(body.clone()).await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, path), "{body}");
    }
}

#[tokio::test]
async fn one_person_can_be_asked_about_in_the_address() {
    let store = Preferences::start().await;
    store
        .record_choice("ana@example.org", "Analytics", false, "2026-02-03T09:15:00.250Z")
        .await;
    let (status, answer) = store
        .look_up_one(&format!("?identifier=Ana%40example.org&partition={SHOP}"))
        .await;
    let purposes = json!([{"purpose": "Analytics", "enabled": false, "timestamp": "2026-02-03T09:15:00.250Z"}]);
    let expected = json!({
        "userId": "Ana@example.org", "partition": SHOP, "timestamp": "2026-02-03T09:15:00.250Z",
        "confirmed": true, "identifier": "Ana@example.org", "purposes": purposes
    });
    assert_eq!((status, answer), (200, expected));
    let (status, _) = store
        .look_up_one(&format!("?identifier=nobody%40example.org&partition={SHOP}"))
        .await;
    assert_eq!(status, 404);
    for (query, path) in [
        ("", "partition"),
        (&format!("?partition={SHOP}") as &str, "identifier"),
        ("?partition=no-such-shop&identifier=x", "partition"),
    ] {
        let (status, answer) = store.look_up_one(query).await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, path), "{query}");
    }
}
