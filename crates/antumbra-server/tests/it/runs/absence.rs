//! The confirmation of absence: an erasure is done when the silo has shown that nothing is left, and not when it says so.

use super::*;

impl Story {
    /// Has the silo asked after each erasure whether anything is left.
    async fn confirms_absence(&self) {
        let document = format!(
            "mutation {{ updateDataSilos(input: {{dataSilos: [{{id: \"{}\", confirmsAbsence: true}}]}}) {{ clientMutationId }} }}",
            self.silo.0
        );
        manage(&self.server, &self.admin_key, &document).await;
    }

    /// The nonce of the one notice since the last look, which asks for `action`.
    async fn is_asked(&self, action: Action) -> String {
        self.server.run_jobs_until_idle().await;
        let notice = self.receiver.take_one();
        assert_eq!(notice.json()["type"], action.as_str());
        notice.nonce()
    }

    /// The silo says that it has erased, and is asked whether anything is left.
    async fn erases(&self) -> String {
        let nonce = self.is_asked(Action::Erasure).await;
        expect(self.put_report(&nonce, json!({})).await, 200).await;
        self.is_asked(Action::Access).await
    }

    async fn deeds_on_runs(&self) -> Vec<String> {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let entries = antumbra_server::audit::list(&mut reader, self.organization(), None, 1000)
            .await
            .unwrap();
        let deeds = entries.into_iter().rev().map(|(_, entry)| entry.action.into_owned());
        deeds
            .filter(|deed| deed.contains("absence") || deed.contains("contradiction"))
            .collect()
    }

    async fn newest_run(&self, request: DsrId) -> Value {
        let query = format!(
            "{{ requestDataSilos(filterBy: {{requestId: \"{request}\"}}) {{ nodes {{ id status activeType details }} }} }}"
        );
        manage(&self.server, &self.admin_key, &query).await["nodes"][0].clone()
    }
}

#[tokio::test]
async fn an_erasure_is_done_when_the_silo_has_shown_that_nothing_is_left() {
    let story = Story::with_data_points(&["profile"]).await;
    let server = &story.server;
    story.confirms_absence().await;
    let mail = crate::support::receiver::Receiver::start().await;
    let after = story::add_silo(server, "Mail", Some(mail.url()), &[]).await;
    story::change_silo(server, after, |silo| silo.depends_on = [story.silo].into()).await;
    let request = story.submit(Action::Erasure).await;
    let nonce = story.erases().await;
    // Nobody goes on before the answer, and it may be of any kind.
    assert!(mail.take().is_empty());
    let nothing = json!({ "profiles": [{ "profileData": { "profile": null } }] });
    expect(story.post_data(&nonce, nothing).await, 200).await;
    server.run_jobs_until_idle().await;
    expect(story.put_report(&nonce, json!({})).await, 409).await;
    let erased = mail.take_one();
    assert_eq!(erased.json()["type"], "ERASURE");
    let calls = server.client().put(server.url("/v1/data-silo"));
    let key = server.key_for(&[], &[after]).await;
    let answered = calls.bearer_auth(key).header("x-transcend-nonce", erased.nonce());
    expect(answered.json(&json!({})).send().await.unwrap(), 200).await;
    assert_eq!(story.status_of(request).await, "APPROVING");
    assert_eq!(
        story.deeds_on_runs().await,
        ["silo_run.absence_asked", "silo_run.absence_confirmed"]
    );

    // One that erased nothing, because the law says so, is not asked.
    let kept = story
        .submit_about(Action::Erasure, "acct_2", "second@example.test")
        .await;
    let nonce = story.is_asked(Action::Erasure).await;
    expect(
        story
            .put_report(&nonce, json!({ "status": "SKIPPED_DUE_TO_EXCEPTION" }))
            .await,
        200,
    )
    .await;
    server.run_jobs_until_idle().await;
    assert!(story.receiver.take().is_empty());
    assert_eq!(story.runs_of(kept).await.len(), 2);
    mail.take();
}

#[tokio::test]
async fn data_that_should_have_been_erased_is_shown_and_erased_again_or_accepted_for_a_reason() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let server = &story.server;
    story.confirms_absence().await;
    let request = story.submit(Action::Erasure).await;
    let nonce = story.erases().await;
    let left = json!({ "profiles": [{ "profileData": { "profile": { "name": "Robin H." }, "photo": null } }] });
    expect(story.post_data(&nonce, left.clone()).await, 200).await;
    server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(request).await, "COMPILING");
    let found = story.newest_run(request).await;
    assert_eq!(
        (&found["status"], &found["activeType"]),
        (&json!("ACTION_REQUIRED"), &json!("ACCESS"))
    );
    assert!(
        found["details"].as_str().unwrap().contains("still holds data"),
        "{found}"
    );
    // The silo cannot talk its way out of it, and a person has to say more than that it is done.
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    assert_eq!(story.newest_run(request).await["status"], "ACTION_REQUIRED");
    let id = &found["id"];
    let decide = format!(
        "mutation {{ changeRequestDataSiloStatus(input: {{id: {id}, status: RESOLVED}}) {{ clientMutationId }} }}"
    );
    let refused = crate::support::manage::manage_refused(server, &story.admin_key, &decide).await;
    assert!(
        refused.contains("have it erase again, or accept that with a reason"),
        "{refused}"
    );

    // Once more: erased, asked, and this time a file turns up.
    let retry = format!("mutation {{ retryRequestDataSilo(id: {id}) {{ requestDataSilo {{ status activeType }} }} }}");
    let again = manage(server, &story.admin_key, &retry).await;
    assert_eq!(
        again["requestDataSilo"],
        json!({ "status": "QUEUED", "activeType": "ERASURE" })
    );
    let nonce = story.erases().await;
    expect(story.post_file(&nonce, "photo", &[], vec![7; 100]).await, 200).await;
    let page = json!({ "dataPointName": "profile", "data": [{ "row": 1 }], "isLastPage": true, "fileId": "rows" });
    expect(story.post_page(&nonce, page).await, 200).await;
    let found = story.newest_run(request).await;
    assert_eq!(found["status"], "ACTION_REQUIRED");
    let accept = |reason: &str| {
        let input = format!("{{id: {}, reason: \"{reason}\"}}", found["id"]);
        format!("mutation {{ acceptRequestDataSiloContradiction(input: {input}) {{ requestDataSilo {{ status }} }} }}")
    };
    let refused = crate::support::manage::manage_refused(server, &story.admin_key, &accept(" ")).await;
    assert!(refused.contains("reason must have"), "{refused}");
    let accepted = manage(server, &story.admin_key, &accept("A backup, gone in May")).await;
    assert_eq!(accepted["requestDataSilo"]["status"], "RESOLVED");
    assert_eq!(story.status_of(request).await, "APPROVING");
    story
        .administrate(async |tx, deed| dsr::approve(tx, deed, request).await)
        .await;
    assert_eq!(story.status_of(request).await, "COMPLETED");
    let refused = crate::support::manage::manage_refused(server, &story.admin_key, &accept("Again")).await;
    assert!(refused.contains("Request must be active"), "{refused}");

    // Nothing of what was shown was kept for the person.
    assert_eq!(story.files_of(request).await, Vec::<Value>::new());
    server.run_jobs_until_idle().await;
    let shown = story.closing_record(request).await;
    let silos = shown["record"]["phases"][0]["dataSilos"].as_array().unwrap().clone();
    let resolutions: Vec<&Value> = silos.iter().map(|run| &run["contradiction"]["resolution"]).collect();
    assert_eq!(
        resolutions,
        [&Value::Null, &json!("ERASED_AGAIN"), &Value::Null, &json!("ACCEPTED")]
    );
    assert_eq!(silos[3]["confirms"], silos[2]["run"]);
    assert_eq!(shown["accepted"][0]["reason"], "A backup, gone in May");
    assert_eq!(
        story.deeds_on_runs().await,
        [
            "silo_run.absence_asked",
            "silo_run.absence_contradicted",
            "silo_run.absence_asked",
            "silo_run.absence_contradicted",
            "silo_run.contradiction_accepted",
        ]
    );
}
