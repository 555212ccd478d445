//! Lines 21, 22, 24, 25 and 27: what silos are sent, and the course of a request.

use super::*;

#[tokio::test]
async fn checklist_21_the_public_key_verifies_what_we_sign() {
    let story = Story::with_data_points(&[]).await;
    story.submit(Action::Erasure).await;
    let answer = story
        .server
        .client()
        .get(story.server.url("/public-keys/sombra-general-signing-key"));
    let answer = answer.send().await.unwrap();
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    let pem = answer.text().await.unwrap();
    let notice = story.receiver.take_one();
    let token = notice.header("x-sombra-token").unwrap();
    let claims: Value = VerifyingKey::from_pem(&pem).unwrap().verify(token).unwrap();
    let uri = manage(&story.server, &story.admin_key, "{ organization { uri } }").await["uri"].clone();
    assert_eq!(claims["scope"], "coreIdentifier");
    assert_eq!(claims["value"], CORE);
    assert_eq!(claims["aud"], uri);
    assert_ne!(claims["aud"], "somebody-else");
    assert!(claims["iat"].is_number());
}

#[tokio::test]
async fn checklist_22_a_nonce_opens_all_four_routes_and_204_means_nobody() {
    let story = Story::with_data_points(&["profile", "photo", "orders"]).await;
    let request = story.submit(Action::Access).await;
    let notice = story.receiver.take_one();
    let length: usize = notice.header("content-length").unwrap().parse().unwrap();
    assert_eq!(length, notice.body.len());
    let nonce = notice.nonce();
    let data = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
    body_of(story.post_data(&nonce, data).await, 200).await;
    body_of(story.post_file(&nonce, "photo", &[], vec![1]).await, 200).await;
    let page = json!({ "dataPointName": "orders", "data": [1], "isLastPage": false });
    body_of(story.post_page(&nonce, page).await, 200).await;
    body_of(story.put_report(&nonce, json!({})).await, 200).await;
    assert_eq!(story.status_of(request).await, "APPROVING");

    story.receiver.answers(status(204));
    let nobody = story.submit_about(Action::Access, "acct_2", EMAIL).await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.run_of(nobody).await.status(), RunStatus::Skipped);
    // That a result may come before our client reads the 200 is looked at in `runs::notices`.
}

#[tokio::test]
async fn checklist_24_five_tries_in_vain_are_an_error_and_an_administrator_can_have_it_tried_again() {
    let story = Story::with_data_points(&["profile"]).await;
    story.receiver.answers(status(500));
    let request = story.submit(Action::Access).await;
    for _ in 1..5 {
        assert_ne!(story.run_of(request).await.status(), RunStatus::Error);
        // Long enough for the next try, whatever is added to its time so that not all come at once.
        story.server.pass(Duration::from_secs(2 * 3600)).await;
    }
    assert_eq!(story.run_of(request).await.status(), RunStatus::Error);
    story.receiver.take();
    story.receiver.answers(status(200));
    let run = story.run_of(request).await.id;
    story.administrate(async |tx, by| runs::retry(tx, by, run).await).await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    story.receiver.take_one();
}

#[tokio::test]
async fn checklist_25_an_erasure_of_two_phases_is_previewed_delayed_and_done() {
    let story = Story::with_data_points(&["profile"]).await;
    let actions = manage(
        &story.server,
        &story.admin_key,
        "{ actions(first: 100) { nodes { id type } } }",
    )
    .await;
    let erasure = actions["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["type"] == "ERASURE")
        .unwrap()["id"]
        .clone();
    let two = format!(
        "mutation {{ updateAction(input: {{ id: {erasure}, delay: {{ time: 10, previewAction: ACCESS }} }}) {{ action {{ id }} }} }}"
    );
    manage(&story.server, &story.admin_key, &two).await;
    let request = story.submit(Action::Erasure).await;
    let preview = story.receiver.take_one();
    assert_eq!(preview.json()["type"], "ACCESS");
    let data = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
    body_of(story.post_data(&preview.nonce(), data).await, 200).await;
    story
        .administrate(async |tx, by| dsr::approve(tx, by, request).await)
        .await;
    assert_eq!(story.status_of(request).await, "DELAYED");
    assert_eq!(story.files_of(request).await.len(), 1);
    story.server.pass(10 * DAY).await;
    assert_eq!(story.status_of(request).await, "SECONDARY");
    let erase = story.receiver.take_one();
    assert_eq!(erase.json()["type"], "ERASURE");
    let cancel = format!("mutation {{ cancelRequest(input: {{ requestId: \"{request}\" }}) {{ request {{ id }} }} }}");
    let refused = manage_refused(&story.server, &story.admin_key, &cancel).await;
    assert!(refused.starts_with("Client error: Request must be active"), "{refused}");
    body_of(story.put_report(&erase.nonce(), json!({})).await, 200).await;
    assert_eq!(story.status_of(request).await, "SECONDARY_COMPLETED");
}

#[tokio::test]
async fn checklist_27_a_write_that_is_repeated_has_the_effect_of_one() {
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
