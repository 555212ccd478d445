//! What ends with a request, and what a legal hold keeps of it.

use std::time::Duration;

use antumbra_server::{dsr, files, organization::Action};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    reports::Reports,
    support::{
        rows::rows_of,
        story::{CORE, EMAIL, Story},
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Story {
    async fn rows(&self, table: &'static str) -> usize {
        rows_of(&self.server, table).await.len()
    }

    async fn post_bulk(&self, input: Value) -> (String, String) {
        let call = self
            .server
            .client()
            .post(self.server.url("/v1/data-subject-request-bulk"));
        let call = call.bearer_auth(&self.admin_key).json(&json!({ "input": [input] }));
        let answer = call.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.unwrap();
        let word = |name: &str| answer["requests"][0][name].as_str().unwrap().to_owned();
        (word("id"), word("outcome"))
    }
}

#[tokio::test]
async fn names_of_submissions_and_records_they_answer_end_with_the_request_and_records_with_their_run() {
    let story = Story::with_data_points(&["profile"]).await;
    let actions = story.manage("{ actions(first: 50) { nodes { id type } } }").await;
    let mut actions = actions["nodes"].as_array().unwrap().iter();
    let erasure = actions.find(|action| action["type"] == "ERASURE").unwrap()["id"].clone();
    let run = story
        .manage(r#"mutation { createDropRun(input: { title: "Spring" }) { dropRun { id } } }"#)
        .await["dropRun"]["id"]
        .clone();
    let records = "{ dropRecordId: \"r-1\", dropListType: email }, { dropRecordId: \"r-2\", dropListType: email }";
    story
        .manage(&format!(
            "mutation {{ addDropRecords(input: {{ dropRunId: {run}, records: [{records}] }}) {{ dropRun {{ recordCount }} }} }}"
        ))
        .await;
    let input = |record: &str, name: &str| {
        json!({
            "workflowConfigId": erasure, "subjectType": "customer", "isSilent": true, "idempotencyKey": name,
            "attestedAuthContext": { "coreIdentifier": CORE, "email": EMAIL },
            "dropRunId": run, "dropRecords": [{ "dropRecordId": record, "dropListType": "email" }],
        })
    };
    let (request, outcome) = story.post_bulk(input("r-1", "row 1")).await;
    assert_eq!(outcome, "CREATED");
    let linked = (request.clone(), "DROP_RECORDS_LINKED".to_owned());
    assert_eq!(story.post_bulk(input("r-2", "row 2")).await, linked);
    let tables = [
        "dsr_idempotency_keys",
        "dsr_idempotency_keys_by_request",
        "drop_links",
        "drop_links_by_request",
    ];
    for table in tables {
        assert_eq!(story.rows(table).await, 2, "{table}");
    }

    let end = |deed: &str| format!("mutation {{ {deed} {{ clientMutationId }} }}");
    let cancel = format!("cancelRequest(input: {{ requestId: \"{request}\" }})");
    story.manage(&end(&cancel)).await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(
        story.post_bulk(input("r-1", "row 1")).await.0,
        request,
        "still known by its name"
    );
    let shred = format!("shredRequest(input: {{ id: \"{request}\" }})");
    story.manage(&end(&shred)).await;
    story.server.run_jobs_until_idle().await;
    for table in tables {
        assert_eq!(story.rows(table).await, 0, "{table}");
    }

    // The run goes on with its records until it is closed; what comes under the old name is a submission of its own.
    let (again, outcome) = story.post_bulk(input("r-1", "row 1")).await;
    assert_eq!(outcome, "CREATED");
    assert_ne!(again, request);
    let close = format!("closeDropRun(input: {{ id: {run} }})");
    assert_eq!(story.rows("drop_records").await, 2);
    story
        .manage(&format!("mutation {{ {close} {{ dropRun {{ recordCount }} }} }}"))
        .await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.rows("drop_records").await, 0);
    let links = story
        .manage(&format!("{{ dropRunLinks(id: {run}) {{ nodes {{ dropRecordId }} }} }}"))
        .await;
    assert_eq!(
        links["nodes"],
        json!([{ "dropRecordId": "r-1" }]),
        "what was answered can still be told"
    );
}

#[tokio::test]
async fn files_that_nobody_sees_any_more_are_kept_for_as_long_as_a_legal_hold() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let previewed = story.previewed().await;
    let files = story.rows("files").await;
    assert!(files > 0);
    let holds = [
        story.submit(Action::PlaceOnLegalHold).await,
        story
            .submit_with(Action::PlaceOnLegalHold, CORE, "second@example.test", json!({}))
            .await,
    ];
    story.receiver.take();
    let cancel = async |id| {
        story
            .administrate(async |tx, deed| dsr::cancel(tx, deed, id).await)
            .await;
        story.server.run_jobs_until_idle().await;
    };
    cancel(previewed).await;
    assert_eq!(story.status_of(previewed).await, "CANCELED");
    assert_eq!(story.rows("files").await, files);
    cancel(holds[0]).await;
    assert_eq!(story.rows("files").await, files, "another hold is still there");
    cancel(holds[1]).await;
    assert_eq!(story.rows("files").await, 0);
}

#[tokio::test]
async fn stored_bodies_go_by_the_time_of_the_machine_also_where_an_organization_rehearses() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    story.manage("mutation { beginRehearsal { now } }").await;
    let delivered = story.delivered().await;
    let until = story.server.clock.now() + 5 * DAY;
    let advance = format!("mutation {{ advanceClock(input: {{until: \"{until}\"}}) {{ arrived }} }}");
    while story.manage(&advance).await["arrived"] != json!(true) {
        story.server.run_jobs_until_idle().await;
    }
    let again = json!({ "requestId": delivered.to_string(), "createdAt": "2026-03-02T10:00:00.000Z" });
    assert_eq!(story.submit_with(Action::Access, CORE, EMAIL, again).await, delivered);
    assert_eq!(story.rows("files").await, 0);
    assert_eq!(
        files::sweep(story.server.app()).await.unwrap(),
        3,
        "the bodies of the round before"
    );
    assert_eq!(story.rows("loose_bodies").await, 0);
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn a_rehearsal_comes_past_the_day_on_which_the_person_is_forgotten() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    story.manage("mutation { beginRehearsal { now } }").await;
    let rule =
        "mutation { updateRetention(input: { kind: DELETE_PERSONAL_DATA, afterDays: 30 }) { clientMutationId } }";
    story.manage(rule).await;
    let delivered = story.delivered().await;
    let until = story.server.clock.now() + 100 * DAY;
    let advance = format!("mutation {{ advanceClock(input: {{until: \"{until}\"}}) {{ now arrived }} }}");
    for step in 0.. {
        assert!(step < 200, "the rehearsal does not arrive");
        let stands = story.manage(&advance).await;
        story.server.run_jobs_until_idle().await;
        if stands["arrived"] == json!(true) {
            break;
        }
    }
    let shown = story
        .manage(&format!(
            "{{ request(id: \"{delivered}\") {{ successfullyCompletedAt personalDataDeletedAt }} }}"
        ))
        .await;
    let at = |name: &str| -> jiff::Timestamp { shown[name].as_str().unwrap().parse().unwrap() };
    let kept = at("personalDataDeletedAt") - at("successfullyCompletedAt");
    assert_eq!(kept.total(jiff::Unit::Hour).unwrap().round(), 30.0 * 24.0, "{shown}");
}
