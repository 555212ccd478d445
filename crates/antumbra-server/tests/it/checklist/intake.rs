//! Lines 3 to 8, 10, 13 and 27: submitting, asking how a request stands, and doing all of it more than once.

use regex::Regex;

use super::*;

#[tokio::test]
async fn line_03_a_minimal_silent_body_is_answered_with_all_thirteen_keys() {
    let story = Story::with_data_points(&[]).await;
    let request = story.created(minimal("acct_1", json!({}))).await;
    let mut keys: Vec<&str> = request.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "attributeValues",
        "coreIdentifier",
        "country",
        "countrySubDivision",
        "email",
        "id",
        "isSilent",
        "isTest",
        "link",
        "replyToEmailAddresses",
        "status",
        "subjectType",
        "type",
    ];
    assert_eq!(keys, expected);
    for empty in ["email", "country", "countrySubDivision"] {
        assert!(request[empty].is_null(), "{empty}");
    }
    assert_eq!(
        (&request["attributeValues"], &request["replyToEmailAddresses"]),
        (&json!([]), &json!([]))
    );
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn line_04_only_a_silent_request_can_do_without_an_address() {
    let story = Story::with_data_points(&[]).await;
    assert_eq!(
        story.create(minimal("acct_1", json!({ "isSilent": false }))).await.0,
        400
    );
    for (core, email) in [("acct_2", json!("")), ("acct_3", Value::Null)] {
        let subject = json!({ "subject": { "coreIdentifier": core, "email": email } });
        assert!(story.created(minimal(core, subject)).await["email"].is_null());
    }
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn line_05_a_bare_string_is_one_value() {
    let story = Story::with_data_points(&[]).await;
    let bare = json!({ "attributes": [{ "key": "Tags", "values": "by phone" }] });
    let request = story.created(minimal("acct_1", bare)).await;
    let one = json!([{ "attributeKey": { "name": "Tags" }, "name": "by phone" }]);
    assert_eq!(request["attributeValues"], one);
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn line_06_what_contradicts_itself_is_refused() {
    let story = Story::with_data_points(&[]).await;
    let silo = story.silo.0.to_string();
    for wrong in [
        json!({ "dataSiloIds": [silo], "ignoreDataSiloIds": [silo] }),
        json!({ "type": "PREFLIGHT" }),
        json!({ "type": "ACCOUNT_DELETION" }),
        json!({ "locale": "tlh" }),
        json!({ "completedRequestStatus": "DOWNLOADABLE" }),
        json!({ "region": { "country": "CA", "countrySubDivision": "US-CA" } }),
    ] {
        let (status, answer) = story.create(minimal("acct_1", wrong.clone())).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::BAD_REQUEST, &json!("VALIDATION_FAILED")),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn line_07_a_duplicate_is_told_in_the_words_and_the_shape_that_clients_look_for() {
    let story = Story::with_data_points(&[]).await;
    story.created(minimal("acct_1", json!({}))).await;
    let again = story
        .ask(
            Method::POST,
            "/v1/data-subject-request",
            Some(minimal("acct_1", json!({}))),
        )
        .await;
    let raw = body_of(again, 400).await;
    let pattern = Regex::new(r#"\{\\"message\\":\\"([^"]+)\\","#).unwrap();
    let encoded = serde_json::to_string(&raw).unwrap();
    for text in [&raw, &encoded] {
        let found = pattern.captures(text).expect("clients find the message");
        assert_eq!(&found[1], "Client error: You have already made this request.");
    }
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn line_08_an_import_is_where_it_says_and_nobody_is_told() {
    let story = Story::with_data_points(&["profile"]).await;
    for end in [
        "FAILED_VERIFICATION",
        "COMPLETED",
        "CANCELED",
        "SECONDARY_COMPLETED",
        "REVOKED",
    ] {
        let subject = json!({ "coreIdentifier": end, "email": EMAIL, "emailIsVerified": true });
        let fields =
            json!({ "completedRequestStatus": end, "createdAt": "2025-05-02", "isSilent": false, "subject": subject });
        let request = story.created(minimal(end, fields.clone())).await;
        assert_eq!(request["status"], end);
        // Once more is the same import.
        assert_eq!(story.create(minimal(end, fields)).await.1["code"], "DUPLICATE_REQUEST");
        let id = DsrId(request["id"].as_str().unwrap().parse().unwrap());
        story.server.pass(40 * DAY).await;
        assert!(story.runs_of(id).await.is_empty());
        assert_eq!(story.status_of(id).await, end);
    }
    assert!(story.receiver.take().is_empty());
    let listed = manage(&story.server, &story.admin_key, "{ requests(first: 0) { totalCount } }").await;
    assert_eq!(listed["totalCount"], 5);
}

#[tokio::test]
async fn line_10_a_status_is_flat_and_has_six_keys() {
    let story = Story::with_data_points(&[]).await;
    let id = story.created(minimal("acct_1", json!({}))).await["id"].clone();
    let shown = story
        .look(&format!("/v1/data-subject-request/{}", id.as_str().unwrap()))
        .await;
    let expected = json!({
        "id": id, "status": "ENRICHING", "type": "ACCESS", "subjectType": "customer", "email": null, "coreIdentifier": "acct_1",
    });
    assert_eq!(shown, expected);
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn line_13_identifiers_come_ten_at_a_time_or_fifty_and_never_more_than_a_hundred() {
    let story = Story::with_data_points(&[]).await;
    let phones: Vec<Value> = (0..70)
        .map(|n| json!({ "value": format!("+155555501{n:02}") }))
        .collect();
    let subject = json!({ "coreIdentifier": CORE, "attestedExtraIdentifiers": { "phone": phones } });
    let id = story.created(minimal(CORE, json!({ "subject": subject }))).await["id"].clone();
    for (window, count) in [
        (json!({}), 10),
        (json!({ "first": 50 }), 50),
        (json!({ "first": 50, "offset": 50 }), 21),
        (json!({ "first": 100 }), 71),
    ] {
        let mut query = json!({ "requestId": id });
        query
            .as_object_mut()
            .unwrap()
            .extend(window.as_object().unwrap().clone());
        let answer = story.ask(Method::POST, "/v1/request-identifiers", Some(query)).await;
        let answer: Value = serde_json::from_str(&body_of(answer, 200).await).unwrap();
        assert_eq!(answer["identifiers"].as_array().unwrap().len(), count, "{window}");
    }
    let query = json!({ "requestId": id, "first": 101 });
    body_of(
        story.ask(Method::POST, "/v1/request-identifiers", Some(query)).await,
        400,
    )
    .await;
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn line_27_a_write_that_is_repeated_has_the_effect_of_one() {
    let story = Story::with_data_points(&["profile"]).await;
    let body = minimal(CORE, json!({ "subject": { "coreIdentifier": CORE, "email": EMAIL } }));
    for turn in 0..3 {
        assert_eq!(story.create(body.clone()).await.0, if turn == 0 { 200 } else { 400 });
    }
    let listed = manage(
        &story.server,
        &story.admin_key,
        "{ requests(first: 9) { totalCount nodes { id } } }",
    )
    .await;
    assert_eq!(listed["totalCount"], 1);
    let request = DsrId(listed["nodes"][0]["id"].as_str().unwrap().parse().unwrap());
    story.server.run_jobs_until_idle().await;
    let nonce = story.receiver.take_one().nonce();
    let data = json!({ "profiles": [{ "profileId": EMAIL, "profileData": { "profile": 1 } }], "status": "WAITING" });
    for _ in 0..3 {
        body_of(story.post_data(&nonce, data.clone()).await, 200).await;
    }
    for turn in 0..3 {
        body_of(
            story.put_report(&nonce, json!({})).await,
            if turn == 0 { 200 } else { 409 },
        )
        .await;
    }
    assert_eq!(story.files_of(request).await.len(), 1);
    assert_eq!(story.status_of(request).await, "APPROVING");
    let approve =
        format!("mutation {{ approveRequest(input: {{ requestId: \"{request}\" }}) {{ request {{ id }} }} }}");
    manage(&story.server, &story.admin_key, &approve).await;
    for _ in 0..2 {
        let refused = manage_refused(&story.server, &story.admin_key, &approve).await;
        assert!(refused.contains("Request must be in an approving state,"), "{refused}");
    }
    assert_eq!(story.status_of(request).await, "DOWNLOADABLE");
}
