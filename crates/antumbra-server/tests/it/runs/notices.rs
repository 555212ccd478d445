//! Notices: what they say, when they are sent again, and when a silo is not asked.

use super::*;

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
async fn a_notice_that_was_given_up_is_tried_again_by_the_daily_look() {
    let story = Story::with_data_points(&["profile"]).await;
    let (app, organization) = (story.server.app(), story.organization());
    // The headers of the silo no longer open, so its notice cannot even be made.
    let mut tx = app.store.begin_write().await.unwrap();
    keyring::destroy_key(&mut tx, organization, KeyKind::Silo, story.silo.0);
    tx.commit().await.unwrap();
    let request = story.submit(Action::Access).await;
    let mut hours = 0;
    while rows_of(&story.server, "parked_jobs").await.is_empty() {
        story.server.pass(HOUR).await;
        hours += 1;
        assert!(hours < 48, "the notice is never given up");
    }
    assert!(story.receiver.take().is_empty());

    let keys = app.keys.organization(organization).await.unwrap();
    let mut tx = app.store.begin_write().await.unwrap();
    let silo = silos::find_silo(&mut tx, organization, story.silo)
        .await
        .unwrap()
        .unwrap();
    silos::save_silo(&mut tx, &keys, &app.addresses, silo, Some(&[]))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for _ in 0..24 {
        story.server.pass(HOUR).await;
    }
    assert!(rows_of(&story.server, "parked_jobs").await.is_empty());
    let nonce = story.receiver.take_one().nonce();
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
}

#[tokio::test]
async fn a_notice_that_was_given_up_tried_again_and_planned_anew_is_sent_once() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    story.receiver.take_one();
    // A server that knows no kind of job gives up what is due, among it the second notice.
    story.server.clock.advance(DAY);
    let store = story.server.app().store.clone();
    let mut stranger = Runner::new(store, story.server.clock.clone(), Wake::default(), Vec::new());
    stranger.run_until_idle().await.unwrap();
    let ask = async |document: &str| manage(&story.server, &story.admin_key, document).await;
    let parked = ask("{ parkedJobs { nodes { id kind } } }").await["nodes"].clone();
    let parked = parked.as_array().unwrap();
    assert!(
        parked.iter().any(|job| job["kind"] == runs::SEND_NOTICE.name),
        "{parked:?}"
    );
    for job in parked {
        let retry = format!("retryJob(id: {}) {{ clientMutationId }}", job["id"]);
        ask(&format!("mutation {{ {retry} }}")).await;
    }
    // The job waits at another place than the run remembers, so it can't be taken back.
    let run = story.run_of(request).await.id.0;
    let retry = format!("retryRequestDataSilo(id: \"{run}\") {{ requestDataSilo {{ id }} }}");
    ask(&format!("mutation {{ {retry} }}")).await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.receiver.take().len(), 1);
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
async fn a_silo_that_names_an_operation_to_poll_for_is_asked_again_after_half_a_day() {
    let story = Story::with_data_points(&[]).await;
    story.submit(Action::Erasure).await;
    let nonce = story.receiver.take_one().nonce();
    let report = json!({ "status": "WAITING", "pollId": "job-55120" });
    expect(story.put_report(&nonce, report).await, 200).await;
    story.server.pass(11 * HOUR).await;
    assert!(story.receiver.take().is_empty());
    story.server.pass(HOUR).await;
    assert_eq!(story.receiver.take_one().json()["extras"]["pollId"], "job-55120");
}
