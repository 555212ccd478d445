//! What silos report: data, files, statuses, and with which nonce.

use super::*;

#[tokio::test]
async fn an_empty_report_is_enough_and_its_repeat_is_a_conflict() {
    let story = Story::with_data_points(&[]).await;
    let request = story.submit(Action::Erasure).await;
    let nonce = story.receiver.take_one().nonce();
    let answer = story.put_report(&nonce, json!({})).await;
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(expect(answer, 200).await, json!({ "success": true }));
    for _ in 0..2 {
        let refused = expect(story.put_report(&nonce, json!({})).await, 409).await;
        assert_eq!(refused["message"], "Client error: This job has already been completed");
    }
    assert_ne!(story.status_of(request).await, "COMPILING");
}

#[tokio::test]
async fn a_report_that_is_misspelt_altogether_does_not_mean_done() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    expect(story.put_report(&nonce, json!({ "stauts": "WAITING" })).await, 400).await;
    expect(story.post_data(&nonce, json!({ "profile": [] })).await, 400).await;
    let form = [("content-type", "multipart/form-data; boundary=x")];
    expect(story.post_file(&nonce, "profile", &form, b"--x--".to_vec()).await, 415).await;
    // Nor one of which a part is.
    let half = [
        json!({ "stauts": "WAITING", "message": "coming" }),
        json!({ "status": "WAITING", "retryAfterDat": "2030-01-01" }),
    ];
    for half in half {
        expect(story.put_report(&nonce, half).await, 400).await;
    }
    let data = json!({ "profileDat": { "profile": { "a": 1 } } });
    let half = json!({ "profiles": [data], "status": "READY" });
    expect(story.post_data(&nonce, half).await, 400).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    expect(
        story
            .put_report(&nonce, json!({ "status": "READY", "note": "ours" }))
            .await,
        200,
    )
    .await;
}

#[tokio::test]
async fn each_status_of_a_hand_over_ends_the_run_as_the_contract_says() {
    for (word, run_status, request_status) in [
        ("READY", RunStatus::Resolved, "APPROVING"),
        ("RESOLVED", RunStatus::Resolved, "APPROVING"),
        ("SKIPPED", RunStatus::Skipped, "APPROVING"),
        (
            "SKIPPED_DUE_TO_EXCEPTION",
            RunStatus::SkippedDueToException,
            "APPROVING",
        ),
        ("ACTION_REQUIRED", RunStatus::ActionRequired, "COMPILING"),
        ("WAITING", RunStatus::Waiting, "COMPILING"),
    ] {
        let story = Story::with_data_points(&["profile", "orders"]).await;
        let request = story.submit(Action::Access).await;
        let nonce = story.receiver.take_one().nonce();
        let body = json!({ "profiles": [{ "profileData": { "profile": { "a": 1 } } }], "status": word });
        expect(story.post_data(&nonce, body).await, 200).await;
        assert_eq!(story.run_of(request).await.status(), run_status, "{word}");
        assert_eq!(story.status_of(request).await, request_status, "{word}");
        if request_status == "APPROVING" {
            assert_eq!(story.files_of(request).await.len(), 1, "{word}");
        }
    }
}

#[tokio::test]
async fn nothing_found_is_an_answer_and_no_file() {
    let story = Story::with_data_points(&["profile", "orders", "photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let body = json!({ "profiles": [{ "profileData": { "profile": null, "orders": [], "photo": {} } }] });
    expect(story.post_data(&nonce, body).await, 200).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    assert!(story.files_of(request).await.is_empty());
}

#[tokio::test]
async fn an_unknown_data_point_refuses_the_whole_call() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let body = json!({ "profiles": [{ "profileData": { "profile": { "a": 1 }, "salary": 5 } }], "status": "READY" });
    let refused = expect(story.post_data(&nonce, body).await, 400).await;
    assert_eq!(refused["details"][0]["path"], "profiles[0].profileData.salary");
    expect(story.post_file(&nonce, "salary", &[], vec![1]).await, 400).await;
    let page = json!({ "dataPointName": "salary", "data": [] });
    expect(story.post_page(&nonce, page).await, 400).await;
    assert!(rows_of(&story.server, "files").await.is_empty());
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
}

#[tokio::test]
async fn json_handed_over_again_takes_the_place_of_what_was_there() {
    let story = Story::with_data_points(&["profile", "orders"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    for round in 0..3 {
        let body = json!({ "profiles": [{ "profileData": { "profile": { "round": round } } }] });
        expect(story.post_data(&nonce, body).await, 200).await;
    }
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    let files = story.files_of(request).await;
    assert_eq!(files.len(), 1);
    assert_eq!(files[0]["fileName"], "profile/profile.json");
    assert_eq!(story.download(&files[0]).await, br#"{"round":2}"#);
}

/// Names and contents of a request's files, in the order of their names.
async fn contents_of(story: &Story, request: DsrId) -> Vec<(String, Value)> {
    let mut contents = Vec::new();
    for file in story.files_of(request).await {
        let name = file["fileName"].as_str().unwrap().to_owned();
        contents.push((name, serde_json::from_slice(&story.download(&file).await).unwrap()));
    }
    contents.sort_by(|(one, _), (other, _)| one.cmp(other));
    contents
}

#[tokio::test]
async fn every_entry_of_profiles_is_kept_and_a_body_sent_again_doubles_none() {
    let story = Story::with_data_points(&["profile", "orders"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let named = |names: [&str; 3]| {
        let [shop, club, third] = names;
        json!({ "profiles": [
            { "profileId": shop, "profileData": { "orders": [{ "number": "SO-1" }] } },
            { "profileId": club, "profileData": { "orders": [{ "number": "SO-2" }] } },
            { "profileId": third, "profileData": { "orders": [{ "number": "SO-3" }] } },
        ] })
    };
    // One account twice and another once; then entries that nothing tells apart but their place.
    for body in [named(["shop", "club", "shop"]), named(["shop", "club", "shop"])] {
        expect(story.post_data(&nonce, body).await, 200).await;
    }
    let kept = rows_of(&story.server, "files").await.len();
    assert_eq!(kept, 3);
    let entries = json!([
        { "profileData": { "profile": { "name": "R. Hale" } } },
        { "profileData": { "profile": { "name": "Robin" } } },
    ]);
    let nameless = json!({ "profiles": entries, "profileStatus": "WAITING" });
    for _ in 0..3 {
        expect(story.post_data(&nonce, nameless.clone()).await, 200).await;
    }
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    let expected = [
        ("orders/orders (2).json", json!([{ "number": "SO-2" }])),
        ("orders/orders (3).json", json!([{ "number": "SO-3" }])),
        ("orders/orders.json", json!([{ "number": "SO-1" }])),
        ("profile/profile (2).json", json!({ "name": "Robin" })),
        ("profile/profile.json", json!({ "name": "R. Hale" })),
    ];
    assert_eq!(
        contents_of(&story, request).await,
        expected.map(|(name, json)| (name.to_owned(), json))
    );
}

#[tokio::test]
async fn what_one_account_no_longer_has_leaves_what_others_have() {
    let story = Story::with_data_points(&["orders"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let orders = |account: &str, orders: Value| json!({ "profileId": account, "profileData": { "orders": orders } });
    let waiting = |profiles: Vec<Value>| json!({ "profiles": profiles, "profileStatus": "WAITING" });
    let all = vec![
        orders("shop", json!([1])),
        orders("shop", json!([2])),
        orders("club", json!([3])),
    ];
    expect(story.post_data(&nonce, waiting(all)).await, 200).await;
    expect(
        story.post_data(&nonce, waiting(vec![orders("shop", json!([4]))])).await,
        200,
    )
    .await;
    expect(
        story
            .post_data(&nonce, waiting(vec![orders("shop", json!(null))]))
            .await,
        200,
    )
    .await;
    expect(
        story.post_data(&nonce, waiting(vec![orders("bank", json!([5]))])).await,
        200,
    )
    .await;
    let done = json!({ "profiles": [orders("bank", json!([]))], "status": "READY" });
    expect(story.post_data(&nonce, done).await, 200).await;
    let point = &story.run_of(request).await.profiles[0].data_points[0];
    assert_eq!(point.answer, runs::Answer::Data);
    let left = contents_of(&story, request).await;
    assert_eq!(left.into_iter().map(|(_, json)| json).collect::<Vec<_>>(), [json!([3])]);
}

#[tokio::test]
async fn pages_add_up_a_repeated_page_does_not_and_the_last_is_the_last() {
    let story = Story::with_data_points(&["orders", "profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let page = |title: &str, rows: Value, last: bool| json!({ "dataPointName": "orders", "fileId": title, "data": rows, "isLastPage": last });
    for _ in 0..3 {
        expect(
            story
                .post_page(&nonce, page("Page 1 -- 0 - 2", json!([{ "n": 1 }, { "n": 2 }]), false))
                .await,
            200,
        )
        .await;
    }
    expect(
        story
            .post_page(&nonce, page("Page 2 -- 2 - 4", json!([{ "n": 3 }, { "n": 4 }]), false))
            .await,
        200,
    )
    .await;
    expect(
        story.post_page(&nonce, page("Page 3 -- 4 - 4", json!([]), true)).await,
        200,
    )
    .await;
    expect(story.post_page(&nonce, page("Page 4", json!([1]), false)).await, 409).await;
    expect(story.post_data(&nonce, json!({ "status": "READY" })).await, 200).await;
    assert_eq!(story.status_of(request).await, "APPROVING");
    let mut rows = Vec::new();
    for file in story.files_of(request).await {
        rows.extend(serde_json::from_slice::<Vec<Value>>(&story.download(&file).await).unwrap());
    }
    let numbers: Vec<i64> = rows.iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[tokio::test]
async fn files_without_a_name_are_numbered_and_more_may_follow() {
    let story = Story::with_data_points(&["photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let more = [("x-transcend-skip-status-update", "true")];
    expect(story.post_file(&nonce, "photo", &more, b"one".to_vec()).await, 200).await;
    expect(story.post_file(&nonce, "photo", &more, b"two".to_vec()).await, 200).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    let last = [("x-transcend-skip-status-update", "false")];
    expect(story.post_file(&nonce, "photo", &last, b"three".to_vec()).await, 200).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    expect(story.post_file(&nonce, "photo", &[], b"four".to_vec()).await, 409).await;
    let names: Vec<String> = story
        .files_of(request)
        .await
        .iter()
        .map(|file| file["fileName"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 3);
    for (place, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("photo/photo ({})", place + 1)), "{names:?}");
    }
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_and_one_cut_off_leaves_nothing() {
    let mut config = story::config();
    config.limits.datapoint_bytes = 100_000;
    let story = Story::with(config, &["photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    expect(story.post_file(&nonce, "photo", &[], noise(100_001)).await, 413).await;

    let cut = futures_util::stream::iter([Ok(vec![1; 1000]), Err(std::io::Error::other("cut"))]);
    let call = story
        .server
        .client()
        .post(story.server.url("/v1/datapoint"))
        .bearer_auth(&story.silo_key);
    let call = call
        .header("x-transcend-nonce", &nonce)
        .header("x-transcend-datapoint-name", "photo");
    assert!(call.body(reqwest::Body::wrap_stream(cut)).send().await.is_err());
    assert!(rows_of(&story.server, "files").await.is_empty());
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);

    expect(story.post_file(&nonce, "photo", &[], noise(100_000)).await, 200).await;
    assert_eq!(story.files_of(request).await.len(), 1);
}

#[tokio::test]
async fn a_file_that_says_it_is_too_long_is_refused_before_its_first_byte() {
    let mut config = story::config();
    config.limits.datapoint_bytes = 100_000;
    let story = Story::with(config, &["photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let silent = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let call = story
        .server
        .client()
        .post(story.server.url("/v1/datapoint"))
        .bearer_auth(&story.silo_key);
    let call = call
        .header("x-transcend-nonce", &nonce)
        .header("x-transcend-datapoint-name", "photo")
        .header("content-length", "100001");
    let answer = call.body(reqwest::Body::wrap_stream(silent)).send().await.unwrap();
    expect(answer, 413).await;
    assert!(rows_of(&story.server, "loose_bodies").await.is_empty());
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
}

#[tokio::test]
async fn json_of_many_megabytes_passes() {
    let story = Story::with_data_points(&["orders"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let orders: Vec<String> = (0..200_000)
        .map(|number| format!("order number {number:020}"))
        .collect();
    let found = json!({ "profiles": [{ "profileData": { "orders": orders } }], "status": "READY" });
    expect(story.post_data(&nonce, found).await, 200).await;
    let files = story.files_of(request).await;
    let kept: Value = serde_json::from_slice(&story.download(&files[0]).await).unwrap();
    assert!(files[0]["size"].as_u64().unwrap() > 6_000_000);
    assert!(kept == json!(orders), "it came back as it was");
}

#[tokio::test]
async fn a_file_larger_than_any_json_body_passes() {
    let story = Story::with_data_points(&["video"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let video = noise(60_000_000);
    expect(
        story
            .post_file(
                &nonce,
                "video",
                &[("x-transcend-remote-id", "movie.mp4")],
                video.clone(),
            )
            .await,
        200,
    )
    .await;
    let files = story.files_of(request).await;
    assert_eq!(
        (files[0]["size"].as_u64(), files[0]["mimetype"].as_str()),
        (Some(60_000_000), Some("video/mp4"))
    );
    assert!(story.download(&files[0]).await == video);
}

#[tokio::test]
async fn only_a_nonce_of_ours_in_the_hands_of_a_key_of_the_silo_reports() {
    let story = Story::with_data_points(&["profile"]).await;
    story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let (head, tail) = nonce.rsplit_once('.').unwrap();
    let flipped = format!("{head}.{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
    let foreign = {
        let other = Story::with_data_points(&["profile"]).await;
        other.submit(Action::Access).await;
        other.receiver.take_one().nonce()
    };
    let routes = [
        ("POST", "/v1/data-silo", "{}"),
        ("PUT", "/v1/data-silo", "{}"),
        ("POST", "/v1/datapoint", "bytes"),
        (
            "POST",
            "/v1/datapoint-chunked",
            r#"{"dataPointName":"profile","data":[]}"#,
        ),
    ];
    for facts in antumbra_server::routes::list() {
        let here = routes
            .iter()
            .any(|(method, path, _)| facts.method == *method && facts.path == *path);
        // Work lists take no nonce; `work_lists.rs` asks for them with keys that are not attached.
        let needs_one = facts.access == Access::Attached && !facts.path.contains("pending-requests");
        assert_eq!(here, needs_one, "{} {}", facts.method, facts.path);
    }
    let all_routes = async |nonce: &str, key: &str, expected: u16| {
        for (method, path, body) in routes {
            let call = story
                .server
                .client()
                .request(method.parse().unwrap(), story.server.url(path))
                .bearer_auth(key);
            let call = call.header("x-transcend-datapoint-name", "profile");
            let call = if nonce.is_empty() {
                call
            } else {
                call.header("x-transcend-nonce", nonce)
            };
            let answer = call.body(body).send().await.unwrap();
            assert_eq!(answer.status(), expected, "{method} {path}");
        }
    };
    // A header that names no algorithm, or another one, before the claims of a good nonce; and claims that were changed.
    const NO_ALGORITHM: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    const ANOTHER_ALGORITHM: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";
    let (header, claims) = head.split_once('.').unwrap();
    let unsigned = format!("{NO_ALGORITHM}.{claims}.");
    let disguised = format!("{NO_ALGORITHM}.{claims}.{tail}");
    let downgraded = format!("{ANOTHER_ALGORITHM}.{claims}.{tail}");
    let middle = claims.len() / 2;
    let other = if &claims[middle..=middle] == "x" { "y" } else { "x" };
    let changed = format!("{header}.{}{other}{}.{tail}", &claims[..middle], &claims[middle + 1..]);
    for bad in [
        &unsigned,
        &disguised,
        &downgraded,
        &changed,
        "",
        "x",
        "a.b.c",
        &nonce[..nonce.len() - 1],
        &nonce[1..],
        &flipped,
        &foreign,
        head,
    ] {
        all_routes(bad, &story.silo_key, 400).await;
    }
    let stranger = story.server.key_for(&[], &[]).await;
    all_routes(&nonce, &stranger, 403).await;
    let viewer = story.server.key_for(&[ScopeName::ViewRequests], &[]).await;
    all_routes(&nonce, &viewer, 403).await;
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    all_routes(&nonce, &story.silo_key, 409).await;
}

#[tokio::test]
async fn a_download_key_is_no_nonce() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    expect(story.post_file(&nonce, "profile", &[], b"x".to_vec()).await, 200).await;
    let download_key = story.files_of(request).await[0]["downloadKey"]
        .as_str()
        .unwrap()
        .to_owned();
    expect(story.put_report(&download_key, json!({})).await, 400).await;
}

#[tokio::test]
async fn sixty_four_equal_reports_at_once_have_the_effect_of_one() {
    let story = Story::with_data_points(&[]).await;
    let request = story.submit(Action::Erasure).await;
    let nonce = story.receiver.take_one().nonce();
    let answers = join_all((0..64).map(|_| story.put_report(&nonce, json!({})))).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 409 | 429)),
        "{statuses:?}"
    );
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
}
