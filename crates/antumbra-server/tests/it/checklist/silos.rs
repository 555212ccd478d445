//! The conformance checklist, as far as it is about data silos: lines 15, 16, 19 to 22, 24 and 25.

use std::time::Duration;

use antumbra_crypto::token::VerifyingKey;
use antumbra_server::{
    dsr::DsrId,
    organization::Action,
    runs::{Answer, RunStatus},
};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{
    manage::{manage, manage_refused},
    receiver::status,
    story::{self, CORE, Story},
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn expect(answer: Response, status: u16) -> Value {
    let got = answer.status();
    let body = answer.text().await.unwrap();
    assert_eq!(got, status, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Submits about a person of that number, and gives the nonce of the notice.
async fn told(story: &Story, action: Action, person: usize) -> (DsrId, String) {
    let core = format!("core-{person}");
    let request = story
        .submit_about(action, &core, &format!("{person}@example.test"))
        .await;
    story.server.run_jobs_until_idle().await;
    (request, story.receiver.take_one().nonce())
}

#[tokio::test]
async fn line_15_every_status_of_a_hand_over_does_what_the_table_says() {
    use {Answer as A, RunStatus as S};
    let story = Story::with_data_points(&["profile", "orders", "photo"]).await;
    for (place, (word, unmentioned, run_status)) in [
        (None, A::Awaited, S::Waiting),
        (Some("READY"), A::NoData, S::Resolved),
        (Some("RESOLVED"), A::NoData, S::Resolved),
        (Some("ACTION_REQUIRED"), A::NoData, S::ActionRequired),
        (Some("SKIPPED"), A::Skipped, S::Skipped),
        (
            Some("SKIPPED_DUE_TO_EXCEPTION"),
            A::SkippedDueToException,
            S::SkippedDueToException,
        ),
        (Some("WAITING"), A::Awaited, S::Waiting),
    ]
    .into_iter()
    .enumerate()
    {
        let (request, nonce) = told(&story, Action::Access, place).await;
        let mut body = json!({ "profiles": [{ "profileData": { "profile": { "name": "Robin" } } }] });
        if let Some(word) = word {
            body["status"] = word.into();
        }
        expect(story.post_data(&nonce, body).await, 200).await;
        let run = story.run_of(request).await;
        let answers: Vec<Answer> = run.profiles[0].data_points.iter().map(|point| point.answer).collect();
        assert_eq!(answers, [A::Data, unmentioned, unmentioned], "{word:?}");
        assert_eq!(run.status(), run_status, "{word:?}");
    }
    let (request, nonce) = told(&story, Action::Access, 100).await;
    let nothing = json!({ "profiles": [{ "profileData": { "profile": null, "orders": [], "photo": {} } }] });
    expect(story.post_data(&nonce, nothing).await, 200).await;
    let run = story.run_of(request).await;
    assert!(
        run.profiles[0]
            .data_points
            .iter()
            .all(|point| point.answer == A::NoData)
    );
    assert_eq!(run.status(), S::Resolved, "every data point was reported");
    assert!(story.files_of(request).await.is_empty());
}

#[tokio::test]
async fn line_16_a_report_is_taken_once_and_one_that_puts_off_hides_the_work_until_then() {
    let story = Story::with_data_points(&[]).await;
    let (_, nonce) = told(&story, Action::Erasure, 1).await;
    let first = story.put_report(&nonce, json!({})).await;
    assert_eq!(first.status().as_u16(), 200);
    assert_eq!(story.put_report(&nonce, json!({})).await.status().as_u16(), 409);

    let (_, nonce) = told(&story, Action::Erasure, 2).await;
    let later = json!({ "status": "WAITING", "pollId": "job-55120", "retryAfterDate": "2026-03-04T10:00:00.000Z" });
    expect(story.put_report(&nonce, later).await, 200).await;
    assert!(story.pending(Action::Erasure, "").await.is_empty());
    story.server.pass(2 * DAY).await;
    assert_eq!(story.pending(Action::Erasure, "").await.len(), 1);
    let again = story.receiver.take_one();
    assert_eq!(again.json()["extras"]["pollId"], "job-55120");
    assert_eq!(again.nonce(), nonce);
}

#[tokio::test]
async fn line_19_pages_end_with_an_empty_one_and_a_page_sent_again_doubles_no_row() {
    let story = Story::with_data_points(&["orders"]).await;
    let (request, nonce) = told(&story, Action::Access, 1).await;
    let page = |title: &str, rows: Value, is_last: bool| {
        story.post_page(
            &nonce,
            json!({ "dataPointName": "orders", "fileId": title, "data": rows, "isLastPage": is_last }),
        )
    };
    for (title, rows, is_last) in [
        ("Page 1 -- 0 - 2", json!([{ "n": 1 }, { "n": 2 }]), false),
        ("Page 2 -- 2 - 4", json!([{ "n": 3 }]), false),
        ("Page 2 -- 2 - 4", json!([{ "n": 3 }, { "n": 4 }]), false),
        ("Page 3 -- 4 - 4", json!([]), true),
    ] {
        assert_eq!(
            expect(page(title, rows, is_last).await, 200).await,
            json!({ "success": true })
        );
    }
    assert_eq!(page("Page 4", json!([]), true).await.status().as_u16(), 409);
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    let mut rows = Vec::new();
    for file in story.files_of(request).await {
        let page: Vec<Value> = serde_json::from_slice(&story.download(&file).await).unwrap();
        rows.extend(page.iter().map(|row| row["n"].as_u64().unwrap()));
    }
    rows.sort_unstable();
    assert_eq!(rows, [1, 2, 3, 4]);
}

#[tokio::test]
async fn line_20_a_work_list_is_oldest_first_shrinks_with_each_report_and_says_what_is_late() {
    let story = Story::with_data_points(&[]).await;
    let cron = story::add_silo(&story.server, "Warehouse", None, &[]).await;
    let story = Story {
        silo: cron,
        silo_key: story.server.key_for(&[], &[cron]).await,
        ..story
    };
    let mut made = Vec::new();
    for person in 0..3 {
        let (request, _) = told(&story, Action::Erasure, person).await;
        made.push(json!(request.to_string()));
        story.server.clock.advance(HOUR);
    }
    let ids = |items: &[Value]| items.iter().map(|item| item["requestId"].clone()).collect::<Vec<_>>();
    let items = story.pending(Action::Erasure, "").await;
    assert_eq!(ids(&items), made);
    assert!(
        items
            .iter()
            .all(|item| item["daysUntilOverdue"].as_i64().is_some_and(|days| days > 0))
    );
    story.server.clock.advance(60 * DAY);
    let late = story.pending(Action::Erasure, "").await;
    assert!(
        late.iter()
            .all(|item| item["daysUntilOverdue"].as_i64().is_some_and(|days| days < 0))
    );
    for left in (0..3).rev() {
        let first = story.pending(Action::Erasure, "?limit=1").await.remove(0);
        expect(story.put_report(first["nonce"].as_str().unwrap(), json!({})).await, 200).await;
        assert_eq!(ids(&story.pending(Action::Erasure, "").await), made[3 - left..]);
    }
    story.server.settle().await;
}

#[tokio::test]
async fn line_21_the_public_key_is_a_plain_pem_block_that_verifies_the_token_for_its_audience() {
    let story = Story::with_data_points(&["profile"]).await;
    story.submit(Action::Access).await;
    let notice = story.receiver.take_one();
    let path = "/public-keys/sombra-general-signing-key";
    let answer = story.server.client().get(story.server.url(path)).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/plain"), "{kind}");
    let pem = answer.text().await.unwrap();
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n") && pem.trim_end().ends_with("-----END PUBLIC KEY-----"));
    let token = notice.header("x-sombra-token").unwrap();
    let claims: Value = VerifyingKey::from_pem(&pem).unwrap().verify(token).unwrap();
    assert_eq!(
        (&claims["scope"], &claims["value"]),
        (&json!("coreIdentifier"), &json!(CORE))
    );
    assert!(claims["iat"].is_i64());
    assert_eq!(
        claims["aud"], "organization",
        "whoever expects another audience refuses it"
    );
    let another = antumbra_crypto::token::SigningKey::generate().public_pem();
    assert!(
        VerifyingKey::from_pem(&another)
            .unwrap()
            .verify::<Value>(token)
            .is_err()
    );
}

#[tokio::test]
async fn line_22_a_notice_has_a_length_and_its_nonce_serves_on_all_four_routes_even_before_it_is_answered() {
    let story = Story::with_data_points(&["profile", "orders", "photo"]).await;
    story.submit(Action::Access).await;
    let notice = story.receiver.take_one();
    assert_eq!(notice.header("content-length").unwrap(), notice.body.len().to_string());
    let nonce = notice.nonce();
    let data = json!({ "profiles": [{ "profileData": { "profile": { "name": "Robin" } } }] });
    let page = json!({ "dataPointName": "orders", "data": [1], "isLastPage": true });
    expect(story.post_data(&nonce, data.clone()).await, 200).await;
    expect(story.post_page(&nonce, page).await, 200).await;
    expect(story.put_report(&nonce, json!({ "status": "WAITING" })).await, 200).await;
    expect(story.post_file(&nonce, "photo", &[], vec![1, 2, 3]).await, 200).await;

    story.receiver.answers(status(204));
    let (request, nonce) = told(&story, Action::Access, 1).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Skipped);
    expect(story.put_report(&nonce, json!({})).await, 409).await;

    let (client, key) = (story.server.client().clone(), story.silo_key.clone());
    let url = story.server.url("/v1/data-silo");
    story.receiver.answers_as(move |notice| {
        let call = client.put(&url).bearer_auth(&key);
        let call = call.header("x-transcend-nonce", notice.nonce());
        async move {
            assert_eq!(call.json(&json!({})).send().await.unwrap().status().as_u16(), 200);
            status(200)
        }
    });
    let (request, _) = told(&story, Action::Access, 2).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
}

#[tokio::test]
async fn line_24_after_five_tries_in_vain_a_run_has_failed_and_an_administrator_has_it_tried_again() {
    let story = Story::with_data_points(&["profile"]).await;
    story.receiver.answers(status(500));
    let request = story.submit(Action::Access).await;
    for tries in 2..=5 {
        assert_eq!(story.run_of(request).await.status(), RunStatus::Queued);
        story.server.pass(HOUR).await;
        assert_eq!(story.receiver.take().len(), if tries == 2 { 2 } else { 1 });
    }
    assert_eq!(story.run_of(request).await.status(), RunStatus::Error);
    story.receiver.answers(status(200));
    let run = story.run_of(request).await.id.0;
    let retry = format!("mutation {{ retryRequestDataSilo(id: \"{run}\") {{ requestDataSilo {{ status }} }} }}");
    let retried = manage(&story.server, &story.admin_key, &retry).await;
    assert_eq!(retried["requestDataSilo"]["status"], "QUEUED");
    story.server.run_jobs_until_idle().await;
    let nonce = story.receiver.take_one().nonce();
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    assert_eq!(story.status_of(request).await, "APPROVING");
}

#[tokio::test]
async fn line_25_an_erasure_in_two_phases_shows_first_and_erases_after_its_delay() {
    let story = Story::with_data_points(&["profile"]).await;
    let ask = async |document: &str| manage(&story.server, &story.admin_key, document).await;
    let actions = ask("{ actions(first: 100) { nodes { id type } } }").await;
    let erasure = actions["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|action| action["type"] == "ERASURE");
    let id = erasure.unwrap()["id"].as_str().unwrap();
    let delay = "delay: { time: 7, previewAction: ACCESS }";
    ask(&format!(
        "mutation {{ updateAction(input: {{ id: \"{id}\", {delay} }}) {{ clientMutationId }} }}"
    ))
    .await;

    let request = story.submit(Action::Erasure).await;
    let preview = story.receiver.take_one();
    assert_eq!(preview.json()["type"], "ACCESS");
    assert_eq!(story.pending(Action::Access, "").await.len(), 1);
    assert!(story.pending(Action::Erasure, "").await.is_empty());
    let data = json!({ "profiles": [{ "profileData": { "profile": { "name": "Robin" } } }], "status": "READY" });
    expect(story.post_data(&preview.nonce(), data).await, 200).await;
    ask(&format!(
        "mutation {{ approveRequest(input: {{ requestId: \"{request}\" }}) {{ clientMutationId }} }}"
    ))
    .await;
    assert_eq!(story.status_of(request).await, "DELAYED");
    story.server.pass(6 * DAY).await;
    assert!(story.receiver.take().is_empty());
    story.server.pass(DAY).await;
    assert_eq!(story.status_of(request).await, "SECONDARY");
    let removal = story.receiver.take_one();
    assert_eq!(removal.json()["type"], "ERASURE");
    assert_eq!(story.pending(Action::Erasure, "").await.len(), 1);
    expect(story.put_report(&preview.nonce(), json!({})).await, 409).await;
    let silo = story.silo.0;
    let runs = ask(&format!(
        "{{ requestDataSilos(filterBy: {{ requestId: \"{request}\", dataSiloId: \"{silo}\" }}) {{ nodes {{ activeType }} }} }}"
    ))
    .await;
    assert_eq!(
        runs["nodes"],
        json!([{ "activeType": "ERASURE" }]),
        "clients expect one"
    );

    let cancel = format!("mutation {{ cancelRequest(input: {{ requestId: \"{request}\" }}) {{ clientMutationId }} }}");
    let refused = manage_refused(&story.server, &story.admin_key, &cancel).await;
    assert!(refused.starts_with("Client error: "), "{refused}");
    assert_eq!(story.status_of(request).await, "SECONDARY");
    expect(story.put_report(&removal.nonce(), json!({})).await, 200).await;
    assert_eq!(story.status_of(request).await, "SECONDARY_COMPLETED");
    // What the preview showed is nobody's any more.
    story.server.run_jobs_until_idle().await;
}
