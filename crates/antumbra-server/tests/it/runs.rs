//! Silo runs from outside: notices as a receiver reads them, and what silos report.

use std::time::Duration;

use antumbra_crypto::token::VerifyingKey;
use antumbra_server::{
    api_keys::ScopeName,
    dsr::{self, DsrId},
    organization::Action,
    runs::{self, RunStatus, Verdict},
};
use futures_util::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    receiver::status,
    rows::rows_of,
    story::{self, CORE, EMAIL, Story},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn expect(answer: Response, status: u16) -> Value {
    let got = answer.status();
    let body = answer.text().await.unwrap();
    assert_eq!(got, status, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Bytes that look like nothing, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

#[tokio::test]
async fn a_request_is_worked_by_its_silo_reviewed_and_downloaded_byte_for_byte() {
    let story = Story::with_data_points(&["profile", "orders", "photo"]).await;
    let request = story.submit(Action::Access).await;
    let notice = story.receiver.take_one();
    let nonce = notice.nonce();
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);

    // As the examples do: JSON and a file side by side, with one nonce.
    let photo = noise(3_000_000);
    let (json, file) = tokio::join!(
        story.post_data(
            &nonce,
            json!({ "profiles": [{ "profileId": EMAIL, "profileData": {
                "profile": { "displayName": "Robin H." },
                "orders": [{ "number": "SO-1182", "total": 48.20 }],
            } }] })
        ),
        story.post_file(
            &nonce,
            "photo",
            &[("x-transcend-remote-id", "avatar.png")],
            photo.clone()
        ),
    );
    assert_eq!(expect(json, 200).await, json!({ "success": true }));
    assert_eq!(expect(file, 200).await, json!({ "success": true }));
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    assert_eq!(story.status_of(request).await, "APPROVING");

    story
        .administrate(async |tx, deed| dsr::approve(tx, deed, request).await)
        .await;
    assert_eq!(story.status_of(request).await, "DOWNLOADABLE");
    let files = story.files_of(request).await;
    let mut names: Vec<&str> = files.iter().map(|file| file["fileName"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["orders/orders.json", "photo/avatar.png", "profile/profile.json"]
    );
    for file in &files {
        let bytes = story.download(file).await;
        assert_eq!(file["size"], bytes.len());
        match file["fileName"].as_str().unwrap() {
            "photo/avatar.png" => assert!(bytes == photo, "the photo has changed on its way"),
            "orders/orders.json" => assert_eq!(bytes, br#"[{"number":"SO-1182","total":48.2}]"#),
            _ => assert_eq!(bytes, br#"{"displayName":"Robin H."}"#),
        }
    }
}

#[tokio::test]
async fn a_notice_says_what_the_contract_says_and_proves_where_it_comes_from() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let notice = story.receiver.take_one();
    let run = story.run_of(request).await;

    assert_eq!(notice.path, "/transcend/new-dsr");
    assert_eq!(notice.header("content-length").unwrap(), notice.body.len().to_string());
    assert_eq!(notice.header("transfer-encoding"), None);
    assert_eq!(notice.header("content-type"), Some("application/json"));
    assert_eq!(notice.header("accept"), Some("application/json"));
    assert_eq!(notice.header("x-shop-key"), Some("s3cret"));
    let body = notice.json();
    let url = story.server.app().public_url();
    let organization = story.organization().0.to_string();
    assert_eq!(
        body,
        json!({
            "type": "ACCESS",
            "coreIdentifier": { "value": CORE },
            "requestIdentifier": { "value": EMAIL },
            "dataSubject": { "type": "customer" },
            "isTest": false,
            "extras": {
                "profile": {
                    "id": run.profiles[0].id.0.to_string(),
                    "RequestDataSiloId": run.id.0.to_string(),
                    "identifier": EMAIL,
                    "type": "email",
                },
                "dataSilo": {
                    "id": story.silo.0.to_string(),
                    "title": "Shop backend",
                    "description": "Webhook integration for the web shop",
                    "link": format!("{url}/data-map/integrations/{}", story.silo.0),
                },
                "pollId": null,
                "request": {
                    "id": request.to_string(),
                    "link": format!("{url}/privacy-requests/incoming-requests/{request}"),
                    "details": "Raised by phone, ticket 7741",
                    "createdAt": "2026-03-02T10:00:00.000Z",
                    "locale": "en-GB",
                    "origin": "API",
                    "attributes": [],
                    "country": "US",
                    "countrySubDivision": "US-CA",
                },
                "organization": { "id": organization, "uri": "organization", "name": "Organization" },
            },
        })
    );

    let call = story
        .server
        .client()
        .get(story.server.url("/public-keys/sombra-general-signing-key"));
    let answer = call.header("accept", "application/json").send().await.unwrap();
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    assert_eq!(answer.headers()["cache-control"], "max-age=3600");
    let pem = answer.text().await.unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let token = notice.header("x-sombra-token").unwrap();
    let claims: Value = VerifyingKey::from_pem(&pem).unwrap().verify(token).unwrap();
    assert_eq!(claims["scope"], "coreIdentifier");
    assert_eq!(claims["value"], CORE);
    assert_eq!(claims["aud"], "organization");
    assert_eq!(claims["iat"], 1_772_445_600);
    let other = antumbra_crypto::token::SigningKey::generate().public_pem();
    assert!(VerifyingKey::from_pem(&other).unwrap().verify::<Value>(token).is_err());

    let says = notice.nonce();
    assert!(!says.contains(EMAIL) && says.is_ascii() && says.len() < 2048);
}

#[tokio::test]
async fn a_silo_without_a_matching_identifier_is_skipped_at_once() {
    let story = Story::with_data_points(&["profile"]).await;
    let id = {
        let body = json!({ "type": "ACCESS", "subjectType": "customer", "isSilent": true,
            "subject": { "coreIdentifier": CORE } });
        let call = story.server.client().post(story.server.url("/v1/data-subject-request"));
        let answer = expect(
            call.bearer_auth(&story.admin_key).json(&body).send().await.unwrap(),
            200,
        )
        .await;
        DsrId(answer["id"].as_str().unwrap().parse().unwrap())
    };
    story.server.run_jobs_until_idle().await;
    assert!(story.receiver.take().is_empty());
    assert_eq!(story.run_of(id).await.status(), RunStatus::Skipped);
    assert_eq!(story.status_of(id).await, "APPROVING");
}

#[tokio::test]
async fn a_person_the_silo_does_not_know_is_skipped_with_204() {
    let story = Story::with_data_points(&["profile"]).await;
    story.receiver.answers(status(204));
    let request = story.submit(Action::Access).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Skipped);
    assert_eq!(story.status_of(request).await, "APPROVING");
    let nonce = story.receiver.take_one().nonce();
    expect(story.put_report(&nonce, json!({})).await, 409).await;
}

#[tokio::test]
async fn a_notice_that_fails_is_tried_five_times_then_daily_and_when_an_administrator_says_so() {
    let story = Story::with_data_points(&["profile"]).await;
    story.receiver.answers(status(500));
    let request = story.submit(Action::Access).await;
    for tries in 1..5 {
        assert_eq!(story.receiver.take().len(), 1, "try {tries}");
        assert_eq!(story.run_of(request).await.status(), RunStatus::Queued);
        story.server.pass(HOUR / 2).await;
        assert!(story.receiver.take().is_empty(), "too early after try {tries}");
        story.server.pass(HOUR / 2).await;
    }
    assert_eq!(story.receiver.take().len(), 1);
    assert_eq!(story.run_of(request).await.status(), RunStatus::Error);
    assert_eq!(story.status_of(request).await, "COMPILING");

    story.server.pass(DAY).await;
    assert_eq!(story.receiver.take().len(), 1);

    story.receiver.answers(status(200));
    let run = story.run_of(request).await.id;
    story
        .administrate(async |tx, deed| runs::retry(tx, deed, run).await)
        .await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    let nonce = story.receiver.take_one().nonce();
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    assert_eq!(story.status_of(request).await, "APPROVING");
}

#[tokio::test]
async fn an_administrator_can_close_a_run_in_the_silos_place() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let run = story.run_of(request).await.id;
    story
        .administrate(async |tx, deed| runs::change_status(tx, deed, run, Verdict::Skipped).await)
        .await;
    assert_eq!(story.status_of(request).await, "APPROVING");
    story.server.pass(2 * DAY).await;
    assert_eq!(story.receiver.take().len(), 1, "a closed run is not noticed again");
}

#[tokio::test]
async fn a_receiver_may_answer_as_badly_as_it_likes() {
    let long_body = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 1 << 20]].concat();
    let cases: Vec<(&str, Vec<u8>, RunStatus)> = vec![
        (
            "HTTP/1.0 without a length",
            b"HTTP/1.0 200 OK\r\n\r\nOK".to_vec(),
            RunStatus::Waiting,
        ),
        (
            "HTTP/1.0 nobody",
            b"HTTP/1.0 204 No Content\r\n\r\n".to_vec(),
            RunStatus::Skipped,
        ),
        (
            "text",
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nOK".to_vec(),
            RunStatus::Waiting,
        ),
        ("created", status(201), RunStatus::Waiting),
        ("a body without end", long_body, RunStatus::Waiting),
        (
            "a length that is a lie",
            b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nOK".to_vec(),
            RunStatus::Waiting,
        ),
        ("nothing at all", Vec::new(), RunStatus::Queued),
        ("garbage", b"\x16\x03\x01 hello\r\n\r\n".to_vec(), RunStatus::Queued),
        ("not authorised", status(401), RunStatus::Queued),
        (
            "a redirect",
            b"HTTP/1.1 307 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec(),
            RunStatus::Queued,
        ),
    ];
    let story = Story::with_data_points(&["profile"]).await;
    for (place, (name, answer, outcome)) in cases.into_iter().enumerate() {
        let http_1_1 = answer.starts_with(b"HTTP/1.1 200 OK\r\n\r\n") || name == "a length that is a lie";
        story.receiver.answers_as(move |_| {
            let mut answer = answer.clone();
            if http_1_1 {
                // Ends by closing, as HTTP/1.0 does.
                answer[7] = b'0';
            }
            std::future::ready(answer)
        });
        let request = story
            .submit_about(
                Action::Access,
                &format!("core-{place}"),
                &format!("{place}@example.test"),
            )
            .await;
        story.server.run_jobs_until_idle().await;
        assert_eq!(story.run_of(request).await.status(), outcome, "{name}");
    }
}

#[tokio::test]
async fn a_result_may_arrive_before_the_answer_to_the_notice() {
    let story = Story::with_data_points(&["profile"]).await;
    let (client, url, key) = (
        story.server.client().clone(),
        story.server.url("/v1/data-silo"),
        story.silo_key.clone(),
    );
    story.receiver.answers_as(move |notice| {
        let body = json!({ "profiles": [{ "profileData": { "profile": { "name": "Robin" } } }] });
        let call = client
            .post(&url)
            .bearer_auth(&key)
            .header("x-transcend-nonce", notice.nonce())
            .json(&body);
        async move {
            assert_eq!(call.send().await.unwrap().status(), StatusCode::OK);
            status(200)
        }
    });
    let request = story.submit(Action::Access).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    assert_eq!(story.status_of(request).await, "APPROVING");
    assert_eq!(story.receiver.take().len(), 1);
    story.server.pass(2 * DAY).await;
    assert!(story.receiver.take().is_empty());
}

#[tokio::test]
async fn a_silo_that_says_nothing_is_told_again_after_a_day_with_the_same_nonce() {
    let story = Story::with_data_points(&["profile"]).await;
    story.submit(Action::Access).await;
    let first = story.receiver.take_one();
    story.server.pass(DAY - HOUR).await;
    assert!(story.receiver.take().is_empty());
    story.server.pass(HOUR).await;
    let second = story.receiver.take_one();
    assert_eq!(first.nonce(), second.nonce());
    assert_ne!(first.header("x-sombra-token"), second.header("x-sombra-token"));
    expect(story.put_report(&first.nonce(), json!({})).await, 200).await;
}

#[tokio::test]
async fn what_a_silo_puts_off_is_left_alone_until_then_and_comes_back_with_its_poll_id() {
    let story = Story::with_data_points(&[]).await;
    let request = story.submit(Action::Erasure).await;
    let nonce = story.receiver.take_one().nonce();
    let report = json!({
        "status": "WAITING", "profileStatus": "WAITING", "pollId": "job-55120",
        "message": "Vendor accepted the deletion", "retryAfterDate": "2026-03-05T10:00:00.000Z",
    });
    expect(story.put_report(&nonce, report).await, 200).await;
    assert!(story.pending(Action::Erasure, "").await.is_empty());
    story.server.pass(2 * DAY).await;
    assert!(story.receiver.take().is_empty());
    story.server.pass(DAY).await;
    let again = story.receiver.take_one();
    assert_eq!(again.json()["extras"]["pollId"], "job-55120");
    assert_eq!(story.pending(Action::Erasure, "").await.len(), 1);
    expect(
        story.put_report(&again.nonce(), json!({ "status": "RESOLVED" })).await,
        200,
    )
    .await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
}

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
    let all_routes = async |nonce: &str, key: &str, expected: u16| {
        for (method, path, body) in [
            ("POST", "/v1/data-silo", "{}"),
            ("PUT", "/v1/data-silo", "{}"),
            ("POST", "/v1/datapoint", "bytes"),
            (
                "POST",
                "/v1/datapoint-chunked",
                r#"{"dataPointName":"profile","data":[]}"#,
            ),
        ] {
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

#[tokio::test]
async fn a_cron_silo_reads_its_work_oldest_first_until_there_is_none() {
    let story = Story::with_data_points(&[]).await;
    let server = &story.server;
    let cron = story::add_silo(server, "Warehouse", None, &[]).await;
    let cron = Story {
        silo: cron,
        silo_key: server.key_for(&[], &[cron]).await,
        ..story
    };
    let mut made = Vec::new();
    for person in 0..5 {
        made.push(
            cron.submit_about(
                Action::Erasure,
                &format!("core-{person}"),
                &format!("{person}@example.test"),
            )
            .await,
        );
        cron.server.clock.advance(HOUR);
    }
    cron.server.run_jobs_until_idle().await;
    assert!(cron.pending(Action::Access, "").await.is_empty());
    let items = cron.pending(Action::Erasure, "").await;
    let ids: Vec<String> = items
        .iter()
        .map(|item| item["requestId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, made.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut first = items[0].clone();
    assert!(first["nonce"].as_str().is_some_and(|nonce| nonce.len() > 100));
    first.as_object_mut().unwrap().remove("nonce");
    assert_eq!(
        first,
        json!({
            "identifier": "0@example.test",
            "type": "email",
            "coreIdentifier": "core-0",
            "dataSiloId": cron.silo.0.to_string(),
            "requestId": made[0].to_string(),
            "requestCreatedAt": "2026-03-02T10:00:00.000Z",
            "daysUntilOverdue": 29,
            "attributes": [],
            "dataSubjectType": "customer",
            "locale": "en-GB",
            "country": "US",
            "countrySubDivision": "US-CA",
            "partition": null,
        })
    );
    let page = cron.pending(Action::Erasure, "?limit=2&offset=3").await;
    assert_eq!(
        page.iter().map(|item| &item["coreIdentifier"]).collect::<Vec<_>>(),
        ["core-3", "core-4"]
    );
    assert!(cron.pending(Action::Erasure, "?offset=99").await.is_empty());
    for bad in [
        "?limit=0",
        "?limit=5001",
        "?limit=-1",
        "?limit=abc",
        "?offset=-1",
        "?offset=x",
    ] {
        expect(cron.pending_raw("ERASURE", bad).await, 400).await;
    }
    assert_eq!(cron.pending_raw("ERASURE", "?limit=5000").await.status(), 200);
    expect(cron.pending_raw("PURGE", "").await, 400).await;

    // As the examples do: the first page, all of it, until the list is empty.
    let mut rounds = 0;
    loop {
        let items = cron.pending(Action::Erasure, "?limit=2").await;
        if items.is_empty() {
            break;
        }
        rounds += 1;
        for item in items {
            let report = json!({ "profiles": [{ "profileId": item["identifier"] }] });
            expect(cron.put_report(item["nonce"].as_str().unwrap(), report).await, 200).await;
        }
    }
    assert_eq!(rounds, 3);
}

#[tokio::test]
async fn a_work_list_is_shown_to_its_own_silo_only_and_says_when_work_is_late() {
    let story = Story::with_data_points(&[]).await;
    story.submit(Action::Erasure).await;
    story.server.clock.advance(40 * DAY);
    let items = story.pending(Action::Erasure, "").await;
    assert_eq!(items[0]["daysUntilOverdue"], -10);

    let path = |silo: uuid::Uuid| {
        story
            .server
            .url(&format!("/v1/data-silo/{silo}/pending-requests/ERASURE"))
    };
    let stranger = story.server.key_for(&[], &[]).await;
    let call = story.server.client().get(path(story.silo.0)).bearer_auth(&stranger);
    expect(call.send().await.unwrap(), 403).await;
    let call = story
        .server
        .client()
        .get(path(story::nobody()))
        .bearer_auth(&story.silo_key);
    expect(call.send().await.unwrap(), 404).await;
    let call = story
        .server
        .client()
        .get(story.server.url("/v1/data-silo/shop/pending-requests/ERASURE"));
    expect(call.bearer_auth(&story.silo_key).send().await.unwrap(), 400).await;
    story.server.settle().await;
}

#[tokio::test]
async fn a_request_on_hold_rests_and_goes_on_where_it_was() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    story
        .administrate(async |tx, deed| dsr::hold(tx, deed, request).await)
        .await;
    assert!(story.pending(Action::Access, "").await.is_empty());
    story.server.pass(3 * DAY).await;
    assert!(story.receiver.take().is_empty());
    // What was under way may still be handed over, and counts when the request goes on.
    let body = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
    expect(story.post_data(&nonce, body).await, 200).await;
    assert_eq!(story.status_of(request).await, "ON_HOLD");
    story
        .administrate(async |tx, deed| dsr::resume(tx, deed, request).await)
        .await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(request).await, "APPROVING");
}

#[tokio::test]
async fn a_canceled_request_takes_nothing_more_and_tells_nobody() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, request).await)
        .await;
    expect(story.post_data(&nonce, json!({ "status": "READY" })).await, 409).await;
    expect(story.post_file(&nonce, "profile", &[], vec![1]).await, 409).await;
    assert!(story.pending(Action::Access, "").await.is_empty());
    story.server.pass(10 * DAY).await;
    assert!(story.receiver.take().is_empty());
    assert!(story.run_of(request).await.abandoned);
}

#[tokio::test]
async fn an_erasure_begins_at_a_silo_when_those_it_depends_on_are_done() {
    let story = Story::with_data_points(&[]).await;
    let server = &story.server;
    let second = crate::support::receiver::Receiver::start().await;
    let dependent = story::add_silo(server, "Mail", Some(second.url()), &[]).await;
    story::change_silo(server, dependent, |silo| silo.depends_on = [story.silo].into()).await;

    let request = story.submit(Action::Erasure).await;
    let nonce = story.receiver.take_one().nonce();
    assert!(second.take().is_empty());
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    server.run_jobs_until_idle().await;
    assert_eq!(second.take().len(), 1);
    assert_ne!(story.status_of(request).await, "APPROVING");
}

#[tokio::test]
async fn the_management_api_lists_runs_decides_about_them_and_has_silos_asked_again() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let ask = async |key: &str, query: &str, variables: Value| {
        let call = story
            .server
            .client()
            .post(story.server.url("/graphql"))
            .bearer_auth(key);
        let body = json!({ "query": query, "variables": variables });
        let answer: Value = call.json(&body).send().await.unwrap().json().await.unwrap();
        answer
    };
    let list = "query Q($filterBy: RequestDataSiloFiltersInput!) { requestDataSilos(filterBy: $filterBy, first: 10, \
                offset: 0, useMaster: false, orderBy: [{field: createdAt, direction: DESC}, \
                {field: title, direction: ASC, model: dataSilo}]) \
                { nodes { id status request { type } } totalCount } }";
    let of = |status: &str| {
        json!({ "filterBy": { "requestId": request.to_string(), "dataSiloId": story.silo.0.to_string(),
            "status": [status], "requestStatus": ["COMPILING"] } })
    };
    let listed = ask(&story.admin_key, list, of("WAITING")).await;
    let run = listed["data"]["requestDataSilos"]["nodes"][0]["id"].clone();
    assert_eq!(
        listed["data"]["requestDataSilos"],
        json!({ "nodes": [{ "id": run, "status": "WAITING", "request": { "type": "ACCESS" } }], "totalCount": 1 })
    );
    assert_eq!(
        ask(&story.admin_key, list, of("ERROR")).await["data"]["requestDataSilos"]["totalCount"],
        0
    );

    let count = "query Q($input: BulkCompletionReducedRequestInput!) \
                 { listReducedRequestsForDataSilo(input: $input) { totalCount } }";
    let input =
        json!({ "input": { "isResolved": false, "dataSiloId": story.silo.0.to_string(), "requestType": "ACCESS" } });
    let counted = ask(&story.silo_key, count, input).await;
    assert_eq!(
        counted["data"]["listReducedRequestsForDataSilo"]["totalCount"], 1,
        "{counted}"
    );

    let retry = "mutation M($id: ID!) { retryRequestDataSilo(id: $id) { requestDataSilo { id status } } }";
    let retried = ask(&story.admin_key, retry, json!({ "id": run })).await;
    assert_eq!(
        retried["data"]["retryRequestDataSilo"]["requestDataSilo"]["status"], "QUEUED",
        "{retried}"
    );
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.receiver.take_one().nonce(), nonce);

    let decide = "mutation M($id: ID!, $status: UpdateRequestDataSiloStatus!) \
                  { changeRequestDataSiloStatus(input: {id: $id, status: $status}) { requestDataSilo { id } } }";
    let decided = ask(&story.admin_key, decide, json!({ "id": run, "status": "RESOLVED" })).await;
    assert_eq!(
        decided["data"]["changeRequestDataSiloStatus"]["requestDataSilo"]["id"], run,
        "{decided}"
    );
    assert_eq!(story.status_of(request).await, "APPROVING");

    for (id, words) in [
        (run, "Client error: This job has already been completed"),
        (
            json!(story::nobody().to_string()),
            "Client error: Failed to find RequestDataSilo",
        ),
    ] {
        let refused = ask(&story.admin_key, decide, json!({ "id": id, "status": "SKIPPED" })).await;
        assert_eq!(refused["errors"][0]["message"], words);
    }
}

#[tokio::test]
async fn dependencies_that_form_a_circle_keep_nobody_waiting() {
    let story = Story::with_data_points(&[]).await;
    let second = crate::support::receiver::Receiver::start().await;
    let other = story::add_silo(&story.server, "Mail", Some(second.url()), &[]).await;
    story::change_silo(&story.server, other, |silo| silo.depends_on = [story.silo].into()).await;
    story::change_silo(&story.server, story.silo, |silo| silo.depends_on = [other].into()).await;
    story.submit(Action::Erasure).await;
    assert_eq!((story.receiver.take().len(), second.take().len()), (1, 1));
}

#[tokio::test]
async fn only_silos_that_take_part_are_asked() {
    let story = Story::with_data_points(&["profile"]).await;
    let server = &story.server;
    let dormant = story::add_silo(server, "Dormant", None, &[]).await;
    story::change_silo(server, dormant, |silo| silo.is_live = false).await;
    let staff = story::add_silo(server, "Staff", None, &[]).await;
    story::change_silo(server, staff, |silo| {
        silo.subject_blocklist = ["customer".to_owned()].into()
    })
    .await;
    let seller = story::add_silo(server, "Seller", None, &[]).await;
    story::change_silo(server, seller, |silo| silo.actions = Some([Action::SaleOptOut].into())).await;
    let left_out = story::add_silo(server, "Left out", None, &[]).await;

    let asked = async |further: Value, core: &str| {
        let request = story
            .submit_with(Action::Access, core, &format!("{core}@example.test"), further)
            .await;
        server.run_jobs_until_idle().await;
        let mut silos: Vec<_> = story.runs_of(request).await.iter().map(|run| run.silo).collect();
        silos.sort_unstable();
        silos
    };
    assert_eq!(
        asked(json!({ "ignoreDataSiloIds": [left_out.0] }), "one").await,
        [story.silo]
    );
    assert_eq!(
        asked(json!({ "dataSiloIds": [left_out.0, staff.0] }), "two").await,
        [left_out]
    );
    let mut all = [story.silo, dormant, left_out];
    all.sort_unstable();
    assert_eq!(asked(json!({ "isTest": true }), "three").await, all);
}

#[tokio::test]
async fn a_silo_that_is_taken_away_holds_no_request_up() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    story
        .administrate(async |tx, deed| antumbra_server::silos::delete_silo(tx, deed.organization, story.silo).await)
        .await;
    story.server.pass(DAY).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Skipped);
    assert_eq!(story.status_of(request).await, "APPROVING");
}
