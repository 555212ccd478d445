//! The course of runs: on hold, canceled, dependent on others, decided by people.

use super::*;

#[tokio::test]
async fn a_request_on_hold_rests_and_goes_on_where_it_was() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    story
        .administrate(async |tx, deed| dsr::hold(tx, deed, request).await)
        .await;
    assert!(story.pending(Action::Access, "").await.is_empty());
    story.server.pass(3 * DAY).await;
    assert!(story.receiver.take().is_empty());
    // What was under way may still be handed over, and counts when the request goes on.
    let body = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
    expect(story.post_data(&nonce, body).await, 200).await;
    assert_eq!(story.status_of(request).await, "ON_HOLD");
    story
        .administrate(async |tx, deed| dsr::resume(tx, deed, request).await)
        .await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(request).await, "APPROVING");
}

#[tokio::test]
async fn a_canceled_request_takes_nothing_more_and_tells_nobody() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, request).await)
        .await;
    expect(story.post_data(&nonce, json!({ "status": "READY" })).await, 409).await;
    expect(story.post_file(&nonce, "profile", &[], vec![1]).await, 409).await;
    assert!(story.pending(Action::Access, "").await.is_empty());
    story.server.run_jobs_until_idle().await;
    assert!(story.run_of(request).await.abandoned);
    story.server.pass(10 * DAY).await;
    assert!(story.receiver.take().is_empty());
}

#[tokio::test]
async fn a_request_that_is_canceled_after_a_long_rest_leaves_no_run_open() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    story
        .administrate(async |tx, deed| dsr::hold(tx, deed, request).await)
        .await;
    story.server.pass(3 * DAY).await;
    story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, request).await)
        .await;
    story.server.run_jobs_until_idle().await;
    assert!(story.run_of(request).await.abandoned);
    for table in ["open_silo_runs", "silo_work"] {
        assert!(rows_of(&story.server, table).await.is_empty(), "{table}");
    }
}

#[tokio::test]
async fn an_erasure_begins_at_a_silo_when_those_it_depends_on_are_done() {
    let story = Story::with_data_points(&[]).await;
    let server = &story.server;
    let second = crate::support::receiver::Receiver::start().await;
    let dependent = story::add_silo(server, "Mail", Some(second.url()), &[]).await;
    story::change_silo(server, dependent, |silo| silo.depends_on = [story.silo].into()).await;

    let request = story.submit(Action::Erasure).await;
    let nonce = story.receiver.take_one().nonce();
    assert!(second.take().is_empty());
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    server.run_jobs_until_idle().await;
    assert_eq!(second.take().len(), 1);
    assert_ne!(story.status_of(request).await, "APPROVING");
}

#[tokio::test]
async fn the_management_api_lists_runs_decides_about_them_and_has_silos_asked_again() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let ask = async |key: &str, query: &str, variables: Value| {
        let call = story
            .server
            .client()
            .post(story.server.url("/graphql"))
            .bearer_auth(key);
        let body = json!({ "query": query, "variables": variables });
        let answer: Value = call.json(&body).send().await.unwrap().json().await.unwrap();
        answer
    };
    let list = "query Q($filterBy: RequestDataSiloFiltersInput!) { requestDataSilos(filterBy: $filterBy, first: 10, \
                offset: 0, useMaster: false, orderBy: [{field: createdAt, direction: DESC}, \
                {field: title, direction: ASC, model: dataSilo}]) \
                { nodes { id status request { type } } totalCount } }";
    let of = |status: &str| {
        json!({ "filterBy": { "requestId": request.to_string(), "dataSiloId": story.silo.0.to_string(),
            "status": [status], "requestStatus": ["COMPILING"] } })
    };
    let listed = ask(&story.admin_key, list, of("WAITING")).await;
    let run = listed["data"]["requestDataSilos"]["nodes"][0]["id"].clone();
    assert_eq!(
        listed["data"]["requestDataSilos"],
        json!({ "nodes": [{ "id": run, "status": "WAITING", "request": { "type": "ACCESS" } }], "totalCount": 1 })
    );
    assert_eq!(
        ask(&story.admin_key, list, of("ERROR")).await["data"]["requestDataSilos"]["totalCount"],
        0
    );

    let count = "query Q($input: BulkCompletionReducedRequestInput!) \
                 { listReducedRequestsForDataSilo(input: $input) { totalCount } }";
    let input =
        json!({ "input": { "isResolved": false, "dataSiloId": story.silo.0.to_string(), "requestType": "ACCESS" } });
    let counted = ask(&story.silo_key, count, input).await;
    assert_eq!(
        counted["data"]["listReducedRequestsForDataSilo"]["totalCount"], 1,
        "{counted}"
    );

    let retry = "mutation M($id: ID!) { retryRequestDataSilo(id: $id) { requestDataSilo { id status } } }";
    let retried = ask(&story.admin_key, retry, json!({ "id": run })).await;
    assert_eq!(
        retried["data"]["retryRequestDataSilo"]["requestDataSilo"]["status"], "QUEUED",
        "{retried}"
    );
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.receiver.take_one().nonce(), nonce);

    // What the silo has to say to people is for those who see how requests are worked on.
    let report = json!({ "status": "ACTION_REQUIRED", "message": "Two accounts of that name, which one?" });
    expect(story.put_report(&nonce, report).await, 200).await;
    let said = "query Q($filterBy: RequestDataSiloFiltersInput!) \
                { requestDataSilos(filterBy: $filterBy) { nodes { messages } } }";
    let of_request = json!({ "filterBy": { "requestId": request.to_string() } });
    let looker = story.server.key(&[ScopeName::ViewRequests]).await;
    for (key, messages) in [
        (&story.admin_key, json!(["Two accounts of that name, which one?"])),
        (&looker, Value::Null),
    ] {
        let answer = ask(key, said, of_request.clone()).await;
        let nodes = &answer["data"]["requestDataSilos"]["nodes"];
        assert_eq!(*nodes, json!([{ "messages": messages }]), "{answer}");
    }

    let decide = "mutation M($id: ID!, $status: UpdateRequestDataSiloStatus!) \
                  { changeRequestDataSiloStatus(input: {id: $id, status: $status}) { requestDataSilo { id } } }";
    let decided = ask(&story.admin_key, decide, json!({ "id": run, "status": "RESOLVED" })).await;
    assert_eq!(
        decided["data"]["changeRequestDataSiloStatus"]["requestDataSilo"]["id"], run,
        "{decided}"
    );
    assert_eq!(story.status_of(request).await, "APPROVING");

    for (id, words) in [
        (
            run,
            "Client error: Request must be active: the silos no longer work on it, it is APPROVING",
        ),
        (
            json!(story::nobody().to_string()),
            "Client error: Failed to find RequestDataSilo",
        ),
    ] {
        let refused = ask(&story.admin_key, decide, json!({ "id": id, "status": "SKIPPED" })).await;
        assert_eq!(refused["errors"][0]["message"], words);
    }
}

#[tokio::test]
async fn a_download_key_lives_no_longer_than_what_was_delivered_can_be_seen() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let body = json!({ "profiles": [{ "profileData": { "profile": 1 } }] });
    expect(story.post_data(&nonce, body).await, 200).await;
    let head = story
        .administrate(async |tx, deed| dsr::approve(tx, deed, request).await)
        .await;
    let until = head.state.available_until().unwrap();
    let left = Duration::try_from(until.duration_since(story.server.app().clock.now())).unwrap();
    story.server.clock.advance(left - HOUR);
    let files = story.files_of(request).await;
    assert_eq!(story.download(&files[0]).await, b"1");
    story.server.clock.advance(HOUR);
    let path = format!("/v1/files?downloadKey={}", files[0]["downloadKey"].as_str().unwrap());
    let call = story.server.client().get(story.server.url(&path));
    let refused = expect(call.bearer_auth(&story.admin_key).send().await.unwrap(), 400).await;
    assert_eq!(refused["code"], "DOWNLOAD_KEY_EXPIRED");
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(request).await, "COMPLETED");
}

#[tokio::test]
async fn dependencies_that_form_a_circle_keep_nobody_waiting() {
    let story = Story::with_data_points(&[]).await;
    let second = crate::support::receiver::Receiver::start().await;
    let other = story::add_silo(&story.server, "Mail", Some(second.url()), &[]).await;
    story::change_silo(&story.server, other, |silo| silo.depends_on = [story.silo].into()).await;
    story::change_silo(&story.server, story.silo, |silo| silo.depends_on = [other].into()).await;
    story.submit(Action::Erasure).await;
    assert_eq!((story.receiver.take().len(), second.take().len()), (1, 1));
}

#[tokio::test]
async fn only_silos_that_take_part_are_asked() {
    let story = Story::with_data_points(&["profile"]).await;
    let server = &story.server;
    let dormant = story::add_silo(server, "Dormant", None, &[]).await;
    story::change_silo(server, dormant, |silo| silo.is_live = false).await;
    let staff = story::add_silo(server, "Staff", None, &[]).await;
    story::change_silo(server, staff, |silo| {
        silo.subject_blocklist = ["customer".to_owned()].into()
    })
    .await;
    let seller = story::add_silo(server, "Seller", None, &[]).await;
    story::change_silo(server, seller, |silo| silo.actions = Some([Action::SaleOptOut].into())).await;
    let left_out = story::add_silo(server, "Left out", None, &[]).await;

    let asked = async |further: Value, core: &str| {
        let request = story
            .submit_with(Action::Access, core, &format!("{core}@example.test"), further)
            .await;
        server.run_jobs_until_idle().await;
        let mut silos: Vec<_> = story.runs_of(request).await.iter().map(|run| run.silo).collect();
        silos.sort_unstable();
        silos
    };
    assert_eq!(
        asked(json!({ "ignoreDataSiloIds": [left_out.0] }), "one").await,
        [story.silo]
    );
    assert_eq!(
        asked(json!({ "dataSiloIds": [left_out.0, staff.0] }), "two").await,
        [left_out]
    );
    let mut all = [story.silo, dormant, left_out];
    all.sort_unstable();
    assert_eq!(asked(json!({ "isTest": true }), "three").await, all);
}

#[tokio::test]
async fn a_silo_that_is_taken_away_holds_no_request_up() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    story
        .administrate(async |tx, deed| antumbra_server::silos::delete_silo(tx, deed.organization, story.silo).await)
        .await;
    story.server.pass(DAY).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Skipped);
    assert_eq!(story.status_of(request).await, "APPROVING");
}
