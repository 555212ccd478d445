//! The plan of a request: what is looked at beforehand is what is asked, and what is approved is what is done.

use std::{collections::BTreeSet, time::Duration};

use antumbra_server::{
    dsr::{self, DsrId},
    organization::Action,
    silos::DataSiloId,
};

use super::*;
use crate::support::{
    manage::{manage, manage_refused},
    receiver::Receiver,
    story::{self, CORE, EMAIL, Story},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Story {
    async fn plan_raw(&self, request: DsrId) -> (StatusCode, Value) {
        let path = format!("/v1/data-subject-request/{request}/plan");
        let call = self.server.client().post(self.server.url(&path));
        let answer = call.bearer_auth(&self.admin_key).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    pub(super) async fn plan(&self, request: DsrId) -> Value {
        let (status, plan) = self.plan_raw(request).await;
        assert_eq!(status, StatusCode::OK, "{plan}");
        plan
    }

    fn approval(&self, mutation: &str, request: DsrId, hash: &Value) -> String {
        format!(
            "mutation {{ {mutation}(input: {{requestId: \"{request}\", planHash: {hash}}}) {{ request {{ status }} }} }}"
        )
    }

    pub(super) async fn approve_plan(&self, mutation: &str, request: DsrId, hash: &Value) -> Value {
        let document = self.approval(mutation, request, hash);
        manage(&self.server, &self.admin_key, &document).await["request"]["status"].clone()
    }

    async fn approval_refused(&self, mutation: &str, request: DsrId, hash: &Value) -> String {
        let document = self.approval(mutation, request, hash);
        manage_refused(&self.server, &self.admin_key, &document).await
    }

    /// Sets how erasures are handled.
    pub(super) async fn set_erasures(&self, settings: &str) {
        let query = "{ actions(first: 100) { nodes { id type } } }";
        let actions = manage(&self.server, &self.admin_key, query).await;
        let mut actions = actions["nodes"].as_array().unwrap().iter();
        let id = &actions.find(|action| action["type"] == "ERASURE").unwrap()["id"];
        let document = format!(
            "mutation {{ updateAction(input: {{id: {id}, {settings}}}) {{ action {{ requiresApprovedPlan }} }} }}"
        );
        manage(&self.server, &self.admin_key, &document).await;
    }

    /// What the audit log says was done, the oldest first.
    pub(super) async fn deeds(&self) -> Vec<String> {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let entries = audit::list(&mut reader, self.organization(), None, 1000).await.unwrap();
        entries
            .into_iter()
            .rev()
            .map(|(_, entry)| entry.action.into_owned())
            .collect()
    }

    async fn pause(&self, silo: DataSiloId, is_paused: bool) {
        let document = format!(
            "mutation {{ updateDataSilos(input: {{dataSilos: [{{id: \"{}\", isPaused: {is_paused}}}]}}) {{ clientMutationId }} }}",
            silo.0
        );
        manage(&self.server, &self.admin_key, &document).await;
        self.server.run_jobs_until_idle().await;
    }
}

#[tokio::test]
async fn a_plan_names_who_is_asked_what_and_who_is_not_and_just_that_is_done() {
    let story = Story::with_data_points(&["profile"]).await;
    let server = &story.server;
    let mail = Receiver::start().await;
    let second = story::add_silo(server, "Mail", Some(mail.url()), &[]).await;
    story::change_silo(server, second, |silo| silo.depends_on = [story.silo].into()).await;
    let dormant = story::add_silo(server, "Dormant", None, &[]).await;
    story::change_silo(server, dormant, |silo| silo.is_live = false).await;
    let cards = story::add_silo(server, "Cards", None, &[]).await;
    story::change_silo(server, cards, |silo| silo.identity_keys = vec!["phone".into()]).await;
    let left_out = story::add_silo(server, "Left out", None, &[]).await;
    story.set_erasures("waitingPeriod: 3, requiresReview: true").await;
    let further = json!({ "ignoreDataSiloIds": [left_out.0] });
    let request = story.submit_with(Action::Erasure, CORE, EMAIL, further).await;
    server.run_jobs_until_idle().await;

    let plan = story.plan(request).await;
    assert_eq!((&plan["status"], &plan["version"]), (&json!("WAITING"), &json!(1)));
    let phase = &plan["phases"][0];
    assert_eq!(plan["phases"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&phase["phase"], &phase["type"], &phase["waitSeconds"]),
        (&json!("PRIMARY"), &json!("ERASURE"), &json!(3 * 24 * 60 * 60))
    );
    let silos = phase["dataSilos"].as_array().unwrap();
    let titles: Vec<&Value> = silos.iter().map(|silo| &silo["title"]).collect();
    assert_eq!(titles, ["Shop backend", "Mail"]);
    assert_eq!(silos[1]["waitsFor"], json!([story.silo.0]));
    assert_eq!(silos[0]["identifiers"][0]["name"], "email");
    assert_eq!(silos[0]["dataPoints"][0]["isIncluded"], true);
    let excluded: Vec<_> = phase["excluded"].as_array().unwrap().iter().collect();
    let excluded: BTreeSet<_> = excluded
        .iter()
        .map(|out| (out["title"].as_str(), out["reason"].as_str()))
        .collect();
    let wanted = [
        ("Dormant", "NOT_LIVE"),
        ("Cards", "NO_IDENTIFIER"),
        ("Left out", "NOT_CHOSEN"),
    ];
    assert_eq!(
        excluded,
        wanted.map(|(title, reason)| (Some(title), Some(reason))).into()
    );
    assert_eq!(phase["excludedIdentifiers"][0]["reason"], "NO_SILO_TAKES_IT");
    // Names and ids, and nothing that the person is called.
    assert!(!plan.to_string().contains(EMAIL) && !plan.to_string().contains(CORE));
    // Looking changes nothing, and the same plan has the same hash at another time.
    server.pass(DAY).await;
    assert_eq!(story.plan(request).await["hash"], plan["hash"]);

    server.pass(2 * DAY).await;
    let notice = story.receiver.take_one();
    assert_eq!(notice.json()["extras"]["dataSilo"]["id"], silos[0]["id"]);
    assert_eq!(notice.json()["extras"]["profile"]["type"], "email");
    assert!(mail.take().is_empty());
    assert_eq!(story.put_report(&notice.nonce(), json!({})).await.status(), 200);
    server.run_jobs_until_idle().await;
    assert_eq!(mail.take_one().json()["extras"]["dataSilo"]["id"], silos[1]["id"]);
    // What has been asked is no longer planned, and what is over has no plan.
    assert_eq!(story.plan(request).await["phases"], json!([]));
    story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, request).await)
        .await;
    assert_eq!(story.plan_raw(request).await.0, StatusCode::CONFLICT);
    server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn a_request_whose_plan_has_changed_since_it_was_approved_is_parked_until_it_is_approved_anew() {
    let story = Story::with_data_points(&[]).await;
    story.set_erasures("waitingPeriod: 3, requiresReview: true").await;
    let request = story.submit(Action::Erasure).await;
    let hash = story.plan(request).await["hash"].clone();
    let other = json!("00".repeat(32));
    let refused = story.approval_refused("approveRequestPlan", request, &other).await;
    assert_eq!(
        refused,
        format!(
            "Client error: The plan has changed, and nothing was approved: its hash is {} by now",
            hash.as_str().unwrap()
        )
    );
    assert_eq!(story.plan(request).await["phases"][0]["approval"], Value::Null);
    assert_eq!(
        story
            .approval_refused("approveRequestPlan", request, &json!("none"))
            .await,
        "Client error: planHash must be the hash of a plan"
    );
    assert_eq!(
        story.approve_plan("approveRequestPlan", request, &hash).await,
        "WAITING"
    );
    let approval = story.plan(request).await["phases"][0]["approval"].clone();
    assert!(approval["apiKeyId"].is_string(), "{approval}");

    // What is done meanwhile to a silo takes the approval from the plan, and undone gives it back.
    story.pause(story.silo, true).await;
    assert_eq!(story.plan(request).await["phases"][0]["approval"], Value::Null);
    story.pause(story.silo, false).await;
    assert_eq!(story.plan(request).await["phases"][0]["approval"], approval);

    let late = story::add_silo(&story.server, "Late", None, &[]).await;
    story.server.pass(3 * DAY).await;
    assert_eq!(story.status_of(request).await, "ON_HOLD");
    assert!(story.receiver.take().is_empty() && story.runs_of(request).await.is_empty());
    assert!(story.deeds().await.contains(&"dsr.stopped_by_changed_plan".to_owned()));
    let plan = story.plan(request).await;
    assert_eq!(plan["waitsForApproval"], true);
    let resume =
        format!("mutation {{ updateRequest(input: {{id: \"{request}\", status: COMPILING}}) {{ clientMutationId }} }}");
    assert_eq!(
        manage_refused(&story.server, &story.admin_key, &resume).await,
        "Client error: Request is parked until its plan is approved"
    );
    let refused = story.approval_refused("approveRequestPlan", request, &hash).await;
    assert!(refused.contains("The plan has changed"), "{refused}");
    assert_eq!(story.status_of(request).await, "ON_HOLD");
    assert_eq!(
        story.approve_plan("approveRequestPlan", request, &plan["hash"]).await,
        "COMPILING"
    );
    story.server.run_jobs_until_idle().await;
    let asked: Vec<_> = story.runs_of(request).await.iter().map(|run| run.silo).collect();
    assert_eq!(asked.len(), 2);
    assert!(asked.contains(&late));
    story.receiver.take_one();
}

#[tokio::test]
async fn where_it_is_demanded_nothing_is_erased_before_its_plan_is_approved() {
    let story = Story::with_data_points(&["profile"]).await;
    let settings = "delay: {time: 5, previewAction: ACCESS}, requiresReview: true, requiresApprovedPlan: true";
    story.set_erasures(settings).await;
    let (one, two) = (story.submit(Action::Erasure).await, {
        let two = story
            .submit_about(Action::Erasure, "acct_2", "second@example.test")
            .await;
        story.server.run_jobs_until_idle().await;
        two
    });
    // The preview erases nothing, and is asked for.
    for notice in story.receiver.take() {
        assert_eq!(notice.json()["type"], "ACCESS");
        let body = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
        assert_eq!(story.post_data(&notice.nonce(), body).await.status(), 200);
    }
    assert_eq!(story.status_of(one).await, "APPROVING");
    let plan = story.plan(one).await;
    let phase = &plan["phases"][0];
    assert_eq!(
        (&phase["phase"], &phase["needsApproval"]),
        (&json!("SECONDARY"), &json!(true))
    );

    // One is approved with its plan, the other without.
    let refused = story
        .approval_refused("approveRequest", one, &json!("00".repeat(32)))
        .await;
    assert!(refused.contains("The plan has changed"), "{refused}");
    assert_eq!(story.status_of(one).await, "APPROVING");
    assert_eq!(
        story.approve_plan("approveRequest", one, &plan["hash"]).await,
        "DELAYED"
    );
    story
        .administrate(async |tx, deed| dsr::approve(tx, deed, two).await)
        .await;
    story.server.pass(5 * DAY).await;
    assert_eq!(
        (story.status_of(one).await, story.status_of(two).await),
        ("SECONDARY", "ON_HOLD")
    );
    assert_eq!(story.receiver.take_one().json()["type"], "ERASURE");
    assert!(
        story
            .deeds()
            .await
            .contains(&"dsr.stopped_for_plan_approval".to_owned())
    );
    let hash = story.plan(two).await["hash"].clone();
    assert_eq!(story.approve_plan("approveRequestPlan", two, &hash).await, "SECONDARY");
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.receiver.take_one().json()["type"], "ERASURE");
    // What has been approved once says nothing about the next round.
    let again = json!({ "requestId": one.to_string() });
    story.submit_with(Action::Erasure, CORE, EMAIL, again).await;
    assert_eq!(story.plan(one).await["phases"][1]["approval"], Value::Null);
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn who_cannot_wait_begins_now_what_is_planned_or_nothing() {
    let story = Story::with_data_points(&[]).await;
    story.set_erasures("waitingPeriod: 3, requiresReview: true").await;
    let request = story.submit(Action::Erasure).await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(request).await, "WAITING");
    let begin = |hash: &Value| {
        let input = format!("{{requestId: \"{request}\", planHash: {hash}}}");
        format!("mutation {{ compileRequest(input: {input}) {{ request {{ status }} }} }}")
    };
    let refused = manage_refused(&story.server, &story.admin_key, &begin(&json!("00".repeat(32)))).await;
    assert!(refused.contains("The plan has changed"), "{refused}");
    assert_eq!(story.status_of(request).await, "WAITING");
    let hash = story.plan(request).await["hash"].clone();
    let begun = manage(&story.server, &story.admin_key, &begin(&hash)).await;
    assert_eq!(begun["request"]["status"], "COMPILING");
    let again = manage_refused(&story.server, &story.admin_key, &begin(&Value::Null)).await;
    assert!(!again.is_empty());
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.receiver.take().len(), 1, "before the waiting period is over");
}
