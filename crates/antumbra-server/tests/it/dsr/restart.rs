//! Restarts: the same request from its beginning.

use std::time::Duration;

use antumbra_server::{
    dsr::{self, DsrId},
    keyring::{self, KeyKind},
    organization::Action,
};

use super::*;
use crate::support::{
    manage::{manage, manage_refused},
    story::{CORE, EMAIL, Story},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What clients send to restart a request: neither region nor attributes.
fn restart_of(request: DsrId) -> Value {
    json!({
        "type": "ACCESS",
        "subjectType": "customer",
        "subject": { "coreIdentifier": CORE, "email": EMAIL, "emailIsVerified": true },
        "requestId": request.to_string(),
        "isSilent": true,
        "isTest": false,
        "locale": "en-GB",
        "skipWaitingPeriod": false,
        "createdAt": "2026-03-02T10:00:00.000Z",
        "details": "Restarted: Raised by phone, ticket 7741",
        "skipSendingReceipt": true,
    })
}

fn with(mut body: Value, fields: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}

impl Story {
    async fn restart(&self, body: Value) -> (StatusCode, Value) {
        let call = self.server.client().post(self.server.url("/v1/data-subject-request"));
        let answer = call.bearer_auth(&self.admin_key).json(&body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn round_of(&self, request: DsrId) -> u32 {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let head = dsr::get_head(&mut reader, self.organization(), request).await;
        head.unwrap().round
    }
}

#[tokio::test]
async fn a_restarted_request_begins_again_under_its_id_and_what_was_handed_over_before_is_withdrawn() {
    let story = Story::with_data_points(&["profile", "orders"]).await;
    let attributes = json!({ "attributes": [{ "key": "Tags", "values": ["by phone"] }] });
    let request = story.submit_with(Action::Access, CORE, EMAIL, attributes).await;
    story.server.run_jobs_until_idle().await;
    let old = story.receiver.take_one().nonce();
    let whole = json!({ "profiles": [{ "profileData": { "profile": 1, "orders": [1, 2] } }] });
    let half = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
    assert_eq!(story.post_data(&old, whole.clone()).await.status(), 200);
    assert_eq!(story.files_of(request).await.len(), 2);

    story.server.pass(3 * DAY).await;
    let (status, answer) = story.restart(restart_of(request)).await;
    assert_eq!(status, 200, "{answer}");
    let restarted = &answer["request"];
    assert_eq!(
        (&restarted["id"], &restarted["status"]),
        (&json!(request.to_string()), &json!("ENRICHING"))
    );
    assert_eq!(
        (&restarted["country"], &restarted["countrySubDivision"]),
        (&json!("US"), &json!("US-CA"))
    );
    let tags = json!([{ "attributeKey": { "name": "Tags" }, "name": "by phone" }]);
    assert_eq!(restarted["attributeValues"], tags);
    let details = r#"{ requests(first: 9) { nodes { createdAt details } totalCount } }"#;
    let listed = manage(&story.server, &story.admin_key, details).await;
    assert_eq!(listed["totalCount"], 1);
    assert_eq!(listed["nodes"][0]["createdAt"], "2026-03-02T10:00:00.000Z");
    assert_eq!(listed["nodes"][0]["details"], "Restarted: Raised by phone, ticket 7741");

    // Whoever worked on it before is told that this is over, now and when the new round has reached the same phase.
    assert_eq!(story.post_data(&old, half.clone()).await.status(), 409);
    story.server.run_jobs_until_idle().await;
    let new = story.receiver.take_one().nonce();
    assert_ne!(old, new);
    for refused in [
        story.post_data(&old, half.clone()).await,
        story.put_report(&old, json!({})).await,
        story.post_file(&old, "profile", &[], vec![1]).await,
    ] {
        assert_eq!(refused.status(), 409);
    }
    assert_eq!(story.status_of(request).await, "COMPILING");
    assert_eq!(story.post_data(&new, half).await.status(), 200);
    assert_eq!(story.put_report(&new, json!({})).await.status(), 200);
    assert_eq!(story.status_of(request).await, "APPROVING");
    assert_eq!(
        story.files_of(request).await.len(),
        1,
        "only what was handed over since"
    );
    let rounds: Vec<u32> = story.runs_of(request).await.iter().map(|run| run.round).collect();
    assert_eq!(rounds.iter().max(), Some(&1));
    story.server.run_jobs_until_idle().await;

    let mut reader = story.server.app().store.begin_read().await.unwrap();
    let entries = audit::list(&mut reader, story.organization(), None, 100).await.unwrap();
    let (_, entry) = entries
        .iter()
        .find(|(_, entry)| entry.action == "dsr.restarted")
        .unwrap();
    assert_eq!((entry.object_kind.as_ref(), entry.object_id), ("dsr", request.0));
    let count = |name: &str| {
        let found = entry.details.iter().find(|(key, _)| key == name);
        found.map(|(_, detail)| detail.clone())
    };
    assert_eq!(count("round"), Some(Detail::Count(1)));
    assert_eq!(count("files_withdrawn"), Some(Detail::Count(2)));
}

#[tokio::test]
async fn a_restart_that_is_repeated_restarts_once_and_any_state_can_be_restarted() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    story.receiver.take();
    for _ in 0..3 {
        let (status, answer) = story.restart(restart_of(request)).await;
        assert_eq!((status, &answer["id"]), (StatusCode::OK, &json!(request.to_string())));
        story.server.run_jobs_until_idle().await;
    }
    assert_eq!(story.round_of(request).await, 1);
    story.receiver.take_one();

    // Other words are another restart, and so are the same words later.
    let other = with(restart_of(request), json!({ "details": "once more" }));
    story.restart(other.clone()).await;
    assert_eq!(story.round_of(request).await, 2);
    story.server.pass(Duration::from_secs(11 * 60)).await;
    story.restart(other).await;
    assert_eq!(story.round_of(request).await, 3);

    for deed in ["hold", "cancel"] {
        story
            .administrate(async |tx, by| match deed {
                "hold" => dsr::hold(tx, by, request).await,
                _ => dsr::cancel(tx, by, request).await,
            })
            .await;
        let (status, answer) = story
            .restart(with(restart_of(request), json!({ "details": deed })))
            .await;
        assert_eq!((status, &answer["status"]), (StatusCode::OK, &json!("ENRICHING")));
    }
    for end in [
        "FAILED_VERIFICATION",
        "COMPLETED",
        "CANCELED",
        "SECONDARY_COMPLETED",
        "REVOKED",
    ] {
        let further = json!({ "completedRequestStatus": end, "createdAt": "2025-05-02" });
        let request = story
            .submit_with(Action::Access, &format!("acct_{end}"), EMAIL, further)
            .await;
        let mut body = restart_of(request);
        body["subject"]["coreIdentifier"] = json!(format!("acct_{end}"));
        let (status, answer) = story.restart(body).await;
        assert_eq!(
            (status, &answer["status"]),
            (StatusCode::OK, &json!("ENRICHING")),
            "{answer}"
        );
    }
    // It is found among the open ones again, and is in nobody's way but its own repeats'.
    let (status, answer) = story
        .restart(with(restart_of(request), json!({ "requestId": null })))
        .await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::BAD_REQUEST, &json!("DUPLICATE_REQUEST"))
    );
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn a_restart_that_cannot_be_says_why() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let refused = async |body: Value| {
        let (status, answer) = story.restart(body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    };
    let unknown = restart_of(DsrId(crate::support::story::nobody()));
    assert_eq!(
        refused(unknown).await,
        "requestId: is not a request of this organization"
    );
    for (fields, rule) in [
        (
            json!({ "type": "ERASURE" }),
            "type: is not that of the request that is restarted",
        ),
        (json!({ "requestId": "x" }), "requestId: must be a UUID"),
        (
            json!({ "restartIdentifierStrategy": "KEEP" }),
            "restartIdentifierStrategy: is not such a strategy",
        ),
        (
            json!({ "completedRequestStatus": "COMPLETED" }),
            "completedRequestStatus: cannot stand together with requestId",
        ),
        (
            json!({ "subject": { "coreIdentifier": "acct_9" } }),
            "subject.coreIdentifier: is not that of the request that is restarted",
        ),
    ] {
        assert_eq!(refused(with(restart_of(request), fields)).await, rule);
    }

    // Neither does a restart have a request grow without end.
    let phones = |from: usize| {
        let numbers = (from..from + 300).map(|number| json!({ "value": format!("+4930{number:06}") }));
        let extras = json!({ "phone": numbers.collect::<Vec<_>>() });
        let subject = json!({ "coreIdentifier": CORE, "email": EMAIL, "attestedExtraIdentifiers": extras });
        with(restart_of(request), json!({ "subject": subject }))
    };
    assert_eq!(story.restart(phones(0)).await.0, StatusCode::OK);
    let (status, answer) = story.restart(phones(300)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");
    assert_eq!(answer["error"], "A request has at most 500 identifiers");
    assert_eq!(story.round_of(request).await, 1);
    story.server.run_jobs_until_idle().await;

    // Another organization's request is as unknown as none.
    let other = story.server.another_organization().await;
    let input = antumbra_server::api_keys::ApiKeyInput {
        scopes: vec![ScopeName::FullAdmin],
        ..crate::support::key_input()
    };
    let (_, key) = story.server.make_key(other, input).await;
    let call = story.server.client().post(story.server.url("/v1/data-subject-request"));
    let answer = call.bearer_auth(key).json(&restart_of(request)).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["error"], "requestId: is not a request of this organization");

    // Silencing a request does not change its status: the limit counts from the status.
    let limit = "mutation { updateOrganization(input: { restartTimeLimitDays: 30 }) { clientMutationId } }";
    manage(&story.server, &story.admin_key, limit).await;
    story.server.pass(29 * DAY).await;
    let silent = async |tx: &mut antumbra_store::Tx, by: &dsr::Deed<'_>| dsr::set_silent(tx, by, request, false).await;
    story.administrate(silent).await;
    story.server.pass(2 * DAY).await;
    let late = "requestId: can no longer be restarted: 30 days after its status last changed this is over";
    assert_eq!(refused(restart_of(request)).await, late);
    let limit = "mutation { updateOrganization(input: { restartTimeLimitDays: null }) { clientMutationId } }";
    manage(&story.server, &story.admin_key, limit).await;
    let limit = "mutation { updateOrganization(input: { restartTimeLimitDays: -1 }) { clientMutationId } }";
    manage_refused(&story.server, &story.admin_key, limit).await;

    let mut tx = story.server.app().store.begin_write().await.unwrap();
    keyring::destroy_key(&mut tx, story.organization(), KeyKind::Request, request.0);
    tx.commit().await.unwrap();
    let erased = "requestId: is a request whose identifiers have been erased: submit a new one instead";
    assert_eq!(refused(restart_of(request)).await, erased);
    assert_eq!(story.round_of(request).await, 1);
    story.server.run_jobs_until_idle().await;
}
