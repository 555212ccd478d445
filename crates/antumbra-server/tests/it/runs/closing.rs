//! The closing record: what is left when a request is over, and stays when the person's data is gone.

use std::collections::HashMap;

use antumbra_server::audit::Digest;
use serde_json::value::RawValue;

use super::*;

impl Story {
    pub(super) async fn closing_record(&self, request: DsrId) -> Value {
        expect(self.closing_record_raw(request).await, 200).await
    }

    async fn closing_record_raw(&self, request: DsrId) -> Response {
        let path = format!("/v1/data-subject-request/{request}/closing-record");
        let call = self.server.client().get(self.server.url(&path));
        call.bearer_auth(&self.admin_key).send().await.unwrap()
    }
}

#[tokio::test]
async fn a_request_that_is_over_leaves_a_record_that_outlives_the_persons_data() {
    let story = Story::with_data_points(&["profile", "orders"]).await;
    let server = &story.server;
    // Of the others, one has nobody of the kind, one says nothing was found, and one is decided about by a person.
    let nobody = crate::support::receiver::Receiver::start().await;
    let other = story::add_silo(server, "Nobody", Some(nobody.url()), &["profile"]).await;
    nobody.answers(status(204));
    let by_hand = story::add_silo(server, "By hand", None, &["profile"]).await;
    let unfit = story::add_silo(server, "Unfit", None, &["profile"]).await;
    story::change_silo(server, unfit, |silo| silo.identity_keys = vec!["phone".into()]).await;
    let request = story.submit(Action::Access).await;
    expect(story.closing_record_raw(request).await, 409).await;

    let nonce = story.receiver.take_one().nonce();
    let body = json!({ "profiles": [{ "profileData": { "profile": { "name": CORE } } }] });
    expect(story.post_data(&nonce, body.clone()).await, 200).await;
    server.clock.advance(HOUR);
    // What is said twice is one answer, and what is said late is none.
    expect(story.post_data(&nonce, body).await, 200).await;
    expect(story.post_file(&nonce, "orders", &[], vec![7; 1_000]).await, 200).await;
    expect(story.put_report(&nonce, json!({ "profileStatus": "ERROR" })).await, 409).await;
    assert_eq!(story.status_of(request).await, "COMPILING");
    let run = story
        .runs_of(request)
        .await
        .into_iter()
        .find(|run| run.silo == by_hand)
        .unwrap();
    story
        .administrate(async |tx, deed| runs::change_status(tx, deed, run.id, Verdict::SkippedDueToException).await)
        .await;
    assert_eq!(story.status_of(request).await, "APPROVING");
    story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, request).await)
        .await;
    server.run_jobs_until_idle().await;

    let shown = story.closing_record(request).await;
    let record = &shown["record"];
    assert_eq!(
        (&record["status"], &record["type"]),
        (&json!("CANCELED"), &json!("ACCESS"))
    );
    let phase = &record["phases"][0];
    assert_eq!((&phase["isIntact"], &phase["approval"]), (&json!(true), &Value::Null));
    assert!(phase["planHash"].is_string() && phase["answersHash"].is_string());
    let of = |silo: silos::DataSiloId| {
        let silos = phase["dataSilos"].as_array().unwrap();
        silos
            .iter()
            .find(|run| run["dataSiloId"] == json!(silo.0))
            .unwrap()
            .clone()
    };
    let shop = &of(story.silo)["profiles"][0];
    assert_eq!(
        (&shop["status"], &shop["identifier"]),
        (&json!("RESOLVED"), &json!("email"))
    );
    assert_eq!(shop["proof"]["kind"], "REPORT");
    assert_eq!(shop["digest"].as_str().unwrap().len(), 64);
    let points = shop["dataPoints"].as_array().unwrap();
    assert!(
        points
            .iter()
            .all(|point| point["answer"] == "DATA" && point["answeredAt"].is_string())
    );
    assert_ne!(points[0]["answeredAt"], points[1]["answeredAt"]);
    let passed = &of(other)["profiles"][0];
    assert_eq!(passed["proof"], json!({ "kind": "REPLY", "httpStatus": 204 }));
    assert_eq!(of(by_hand)["profiles"][0]["proof"]["kind"], "DECISION");
    assert_eq!(of(by_hand)["status"], "SKIPPED_DUE_TO_EXCEPTION");
    assert_eq!(
        (&of(unfit)["status"], &of(unfit)["profiles"]),
        (&json!("SKIPPED"), &json!([]))
    );
    assert!(!shown.to_string().contains(EMAIL) && !shown.to_string().contains(CORE));

    // The digest is of the record as it is shown, and nothing about it changes when the person's data is destroyed.
    let text = story.closing_record_raw(request).await.text().await.unwrap();
    let parts: HashMap<&str, &RawValue> = serde_json::from_str(&text).unwrap();
    assert_eq!(
        shown["digest"],
        Digest::of(parts["record"].get().as_bytes()).to_string()
    );
    let shred = format!("mutation {{ shredRequest(input: {{id: \"{request}\"}}) {{ clientMutationId }} }}");
    manage(server, &story.admin_key, &shred).await;
    server.run_jobs_until_idle().await;
    assert_eq!(story.closing_record(request).await, shown);
}

#[tokio::test]
async fn a_silo_that_fails_or_only_begins_keeps_its_request_open() {
    let story = Story::with_data_points(&["profile", "orders"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    for body in [
        json!({ "profileStatus": "ERROR" }),
        json!({ "status": "ACTION_REQUIRED" }),
        json!({ "status": "WAITING" }),
    ] {
        expect(story.put_report(&nonce, body).await, 200).await;
        assert_eq!(story.status_of(request).await, "COMPILING");
    }
    // Half of it is not all of it, and a data point of which more follows is not answered.
    let half = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
    expect(story.post_data(&nonce, half).await, 200).await;
    let more = [("x-transcend-skip-status-update", "true")];
    expect(story.post_file(&nonce, "orders", &more, vec![1]).await, 200).await;
    assert_eq!(story.status_of(request).await, "COMPILING");
    expect(story.post_file(&nonce, "orders", &[], vec![2]).await, 200).await;
    assert_eq!(story.status_of(request).await, "APPROVING");
    story.server.run_jobs_until_idle().await;
}
