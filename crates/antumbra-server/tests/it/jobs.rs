//! Jobs from outside: those of a server that ended, and those that were given up.

use std::{sync::Arc, time::Duration};

use antumbra_server::{
    api_keys::ScopeName::{self, *},
    jobs::{self, Handler, Job, JobKind, Runner, Wake},
    organization::{Action, OrganizationId},
    runs::{self, Verdict},
};
use serde_json::{Value, json};

use crate::support::{
    TestServer, key_input,
    receiver::status,
    story::{self, Story},
};

const HOUR: Duration = Duration::from_secs(3600);

/// A kind that no server knows, as a newer version might have left it behind.
static OF_TOMORROW: JobKind = JobKind {
    name: "test.of_tomorrow",
    lease: Duration::from_secs(60),
    retries: &[],
    at_once: 1,
    at_once_per_target: 1,
};

const LIST: &str = "query($first: Int, $after: ID) {
    parkedJobs(first: $first, after: $after) { nodes { id kind subjects attempts parkedAt reason } }
}";
const RETRY: &str = "mutation($id: ID!) { retryJob(id: $id) { clientMutationId } }";

async fn ask(server: &TestServer, key: &str, query: &str, variables: Value) -> Value {
    let call = server.client().post(server.url("/graphql")).bearer_auth(key);
    let body = json!({ "query": query, "variables": variables });
    call.json(&body).send().await.unwrap().json().await.unwrap()
}

const FAILING: &str = "{ failingJobs { nodes { id kind subjects failures failedAt nextTryAt reason } } }";

async fn failing(server: &TestServer, key: &str) -> Vec<Value> {
    let answer = ask(server, key, FAILING, json!({})).await;
    answer["data"]["failingJobs"]["nodes"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .clone()
}

async fn parked(server: &TestServer, key: &str) -> Vec<Value> {
    let answer = ask(server, key, LIST, json!({})).await;
    answer["data"]["parkedJobs"]["nodes"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .clone()
}

/// Leaves jobs behind that this server can only give up, and has it do so.
async fn give_up(server: &TestServer, organization: OrganizationId, count: usize) {
    enqueue(server, organization, count).await;
    server.run_jobs_until_idle().await;
}

async fn enqueue(server: &TestServer, organization: OrganizationId, count: usize) {
    let app = server.app();
    let mut tx = app.store.begin_write().await.unwrap();
    for _ in 0..count {
        let job = Job::new(app.ids.uuid(), &OF_TOMORROW, [story::nobody()]);
        jobs::enqueue(&mut tx, organization, job, app.clock.now());
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_job_that_was_running_when_the_server_ended_is_due_at_the_next_start_unless_others_share_the_store() {
    let mut server = TestServer::with(story::config()).await;
    let key = server.key(&[FullAdmin]).await;
    let app = server.app();
    let ours_alone = app.store.is_exclusive();
    enqueue(&server, server.organization, 1).await;
    // Another process, which knows the kind and dies while it works.
    let never: Handler = Arc::new(|_| Box::pin(std::future::pending()));
    let kinds = vec![(&OF_TOMORROW, never)];
    let mut dying = Runner::new(app.store.clone(), server.clock.clone(), Wake::default(), kinds);
    assert_eq!(dying.claim_and_crash().await.unwrap(), 1);
    drop(dying);

    server.restart().await;
    server.run_jobs_until_idle().await;
    // This server can only give the job up, which shows that it had its turn.
    assert_eq!(parked(&server, &key).await.len(), usize::from(ours_alone));
    server.pass(OF_TOMORROW.lease).await;
    assert_eq!(parked(&server, &key).await.len(), 1);
}

#[tokio::test]
async fn a_job_that_was_given_up_is_listed_with_its_reason_and_tried_again_on_demand() {
    let server = TestServer::with(story::config()).await;
    let key = server.key(&[FullAdmin]).await;
    assert!(parked(&server, &key).await.is_empty());
    give_up(&server, server.organization, 1).await;

    let listed = parked(&server, &key).await;
    let id = &listed[0]["id"];
    assert_eq!(
        listed,
        [json!({
            "id": id,
            "kind": "test.of_tomorrow",
            "subjects": [story::nobody()],
            "attempts": 0,
            "parkedAt": "2026-03-02T10:00:00.000Z",
            "reason": "this version knows no such kind of job",
        })]
    );
    let answer = ask(&server, &key, RETRY, json!({ "id": id })).await;
    assert_eq!(answer, json!({ "data": { "retryJob": { "clientMutationId": null } } }));
    assert!(parked(&server, &key).await.is_empty(), "it is in the queue again");
    server.pass(Duration::from_secs(60)).await;
    assert_eq!(parked(&server, &key).await[0]["parkedAt"], "2026-03-02T10:01:00.000Z");
    let shown = server.client().get(server.url("/metrics")).send().await.unwrap();
    let shown = shown.text().await.unwrap();
    assert!(
        shown.contains(r#"antumbra_jobs_total{kind="test.of_tomorrow",outcome="parked"}"#),
        "{shown}"
    );
}

#[tokio::test]
async fn a_notice_that_failed_is_listed_until_one_is_received() {
    let story = Story::with_data_points(&["profile"]).await;
    let key = story.server.key(&[FullAdmin]).await;
    assert!(failing(&story.server, &key).await.is_empty());
    story.receiver.answers(status(500));
    let request = story.submit(Action::Access).await;
    let listed = failing(&story.server, &key).await;
    let expected = |failures: u32, failed_at: &str, next_try_at: &str| {
        json!([{
            "id": listed[0]["id"],
            "kind": "runs.send_notice",
            "subjects": listed[0]["subjects"],
            "failures": failures,
            "failedAt": failed_at,
            "nextTryAt": next_try_at,
            "reason": "answered 500",
        }])
    };
    assert_eq!(listed[0]["subjects"][0], request.to_string());
    let first = expected(1, "2026-03-02T10:00:00.000Z", "2026-03-02T11:00:00.000Z");
    assert_eq!(json!(listed), first);

    story.server.pass(HOUR).await;
    let second = expected(2, "2026-03-02T11:00:00.000Z", "2026-03-02T12:00:00.000Z");
    assert_eq!(json!(failing(&story.server, &key).await), second);
    let shown = story
        .server
        .client()
        .get(story.server.url("/metrics"))
        .send()
        .await
        .unwrap();
    let shown = shown.text().await.unwrap();
    assert!(
        shown.contains(r#"antumbra_jobs_total{kind="runs.send_notice",outcome="failed"}"#),
        "{shown}"
    );

    story.receiver.answers(status(200));
    story.server.pass(HOUR).await;
    assert!(failing(&story.server, &key).await.is_empty());
    story.server.pass(24 * HOUR).await;
    assert!(parked(&story.server, &key).await.is_empty());
}

#[tokio::test]
async fn a_notice_that_failed_and_is_no_longer_wanted_is_not_listed() {
    let story = Story::with_data_points(&["profile"]).await;
    let key = story.server.key(&[FullAdmin]).await;
    story.receiver.answers(status(503));
    let request = story.submit(Action::Access).await;
    assert_eq!(failing(&story.server, &key).await.len(), 1);
    let run = story.run_of(request).await.id;
    story
        .administrate(async |tx, deed| runs::change_status(tx, deed, run, Verdict::Skipped).await)
        .await;
    assert!(failing(&story.server, &key).await.is_empty());
}

#[tokio::test]
async fn parked_jobs_are_listed_page_by_page() {
    let server = TestServer::with(story::config()).await;
    let key = server.key(&[FullAdmin]).await;
    give_up(&server, server.organization, 5).await;
    let all = parked(&server, &key).await;
    assert_eq!(all.len(), 5);
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|job: &Value| job["id"].clone());
        let answer = ask(&server, &key, LIST, json!({ "first": 2, "after": after })).await;
        let page = answer["data"]["parkedJobs"]["nodes"].as_array().unwrap().clone();
        paged.extend(page.iter().cloned());
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(paged, all);
    for first in [-1, 1_001] {
        let answer = ask(&server, &key, LIST, json!({ "first": first })).await;
        assert_eq!(
            answer["errors"][0]["message"],
            "Client error: first must be between 0 and 1000"
        );
    }
}

#[tokio::test]
async fn parked_jobs_are_for_the_administrators_of_their_own_organization() {
    let server = TestServer::with(story::config()).await;
    give_up(&server, server.organization, 1).await;
    let admin = server.key(&[FullAdmin]).await;
    let id = parked(&server, &admin).await[0]["id"].clone();

    let every_other: Vec<ScopeName> = ScopeName::ALL.into_iter().filter(|scope| *scope != FullAdmin).collect();
    let other_scopes = server.key(&every_other).await;
    for (query, variables) in [(LIST, json!({})), (FAILING, json!({})), (RETRY, json!({ "id": id }))] {
        let answer = ask(&server, &other_scopes, query, variables).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "ACCESS_DENIED", "{answer}");
    }
    let another = server.another_organization().await;
    let mut input = key_input();
    input.scopes = vec![FullAdmin];
    let (_, stranger) = server.make_key(another, input).await;
    assert!(parked(&server, &stranger).await.is_empty());
    for id in [id.clone(), json!("no id at all"), json!(story::nobody())] {
        let answer = ask(&server, &stranger, RETRY, json!({ "id": id })).await;
        assert_eq!(
            answer["errors"][0]["message"],
            "Client error: There is no such parked job"
        );
    }
    assert_eq!(parked(&server, &admin).await.len(), 1);
}
