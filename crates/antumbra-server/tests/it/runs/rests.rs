//! Runs that rest: their silo is paused, others come first, their request is on hold. And how that is shown.

use super::*;

/// How each run of a request looks, in the order of the titles of the silos.
async fn looks(story: &Story, request: DsrId) -> Vec<(String, String)> {
    let query = format!(
        "{{ requestDataSilos(filterBy: {{ requestId: \"{request}\" }}) {{ nodes {{ status dataSilo {{ title }} }} }} }}"
    );
    let listed = manage(&story.server, &story.admin_key, &query).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let look = |node: &Value| (text(&node["dataSilo"]["title"]), text(&node["status"]));
    let mut looks: Vec<_> = listed["nodes"].as_array().unwrap().iter().map(look).collect();
    looks.sort();
    looks
}

async fn look(story: &Story, request: DsrId) -> String {
    let looks = looks(story, request).await;
    let own = looks.into_iter().find(|(title, _)| title == "Shop backend");
    own.unwrap().1
}

async fn pause(story: &Story, is_paused: bool) {
    let change = format!("{{ id: \"{}\", isPaused: {is_paused} }}", story.silo.0);
    let document =
        format!("mutation {{ updateDataSilos(input: {{ dataSilos: [{change}] }}) {{ dataSilos {{ isPaused }} }} }}");
    let changed = manage(&story.server, &story.admin_key, &document).await;
    assert_eq!(changed["dataSilos"][0]["isPaused"], is_paused);
}

#[tokio::test]
async fn a_paused_silo_is_left_alone_visibly_and_told_what_it_missed_when_it_is_resumed() {
    let story = Story::with_data_points(&["profile"]).await;
    // One was told before, one is planned and not told yet, one comes while it is paused.
    let told = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let planned = story.submit_about(Action::Access, "core-1", "1@example.test").await;
    pause(&story, true).await;
    story.server.run_jobs_until_idle().await;
    let fresh = story.submit_about(Action::Access, "core-2", "2@example.test").await;
    story.server.run_jobs_until_idle().await;
    for request in [told, planned, fresh] {
        assert_eq!(look(&story, request).await, "DATA_SILO_PAUSED");
    }
    story.server.pass(3 * DAY).await;
    assert!(story.receiver.take().is_empty());
    assert!(story.pending(Action::Access, "").await.is_empty());
    for request in [told, planned, fresh] {
        assert_eq!(story.status_of(request).await, "COMPILING");
    }
    // What it was told before it may still report on.
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    assert_eq!(story.status_of(told).await, "APPROVING");

    pause(&story, false).await;
    story.server.run_jobs_until_idle().await;
    let told: Vec<String> = story.receiver.take().iter().map(|notice| notice.nonce()).collect();
    assert_eq!(told.len(), 2);
    assert_eq!(story.pending(Action::Access, "").await.len(), 2);
    for request in [planned, fresh] {
        assert_eq!(look(&story, request).await, "WAITING");
    }
    for nonce in &told {
        expect(story.put_report(nonce, json!({})).await, 200).await;
    }
    for request in [planned, fresh] {
        assert_eq!(story.status_of(request).await, "APPROVING");
    }
    pause(&story, true).await;
    pause(&story, false).await;
    story.server.pass(3 * DAY).await;
    assert!(story.receiver.take().is_empty());
}

#[tokio::test]
async fn a_silo_that_is_asked_again_while_it_is_paused_is_told_once_when_it_is_resumed() {
    let story = Story::with_data_points(&["profile"]).await;
    story.receiver.answers(status(503));
    let request = story.submit(Action::Access).await;
    story.receiver.take_one();
    pause(&story, true).await;
    let run = story.run_of(request).await.id;
    story
        .administrate(async |tx, deed| runs::retry(tx, deed, run).await)
        .await;
    story.server.pass(2 * DAY).await;
    assert!(story.receiver.take().is_empty());
    story.receiver.answers(status(200));
    pause(&story, false).await;
    story.server.run_jobs_until_idle().await;
    story.receiver.take_one();
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
}

#[tokio::test]
async fn what_keeps_a_run_from_going_on_is_shown_and_can_be_asked_for() {
    let story = Story::with_data_points(&[]).await;
    let server = &story.server;
    let mail = story::add_silo(server, "Mail", None, &[]).await;
    story::change_silo(server, mail, |silo| silo.depends_on = [story.silo].into()).await;
    let lost = story::add_silo(server, "Lost", None, &[]).await;
    story::change_silo(server, lost, |silo| silo.kind = "server".to_owned()).await;
    let desk = story::add_silo(server, "Desk", None, &[]).await;
    story::change_silo(server, desk, |silo| silo.kind = "promptAPerson".to_owned()).await;
    let request = story.submit(Action::Erasure).await;
    let pair = |title: &str, status: &str| (title.to_owned(), status.to_owned());
    let at_first = [
        pair("Desk", "MANUAL"),
        pair("Lost", "DATA_SILO_DISCONNECTED"),
        pair("Mail", "WAITING_ON_DEPENDENCIES"),
        pair("Shop backend", "WAITING"),
    ];
    assert_eq!(looks(&story, request).await, at_first);
    let count = async |status: &str| {
        let query = format!("{{ requestDataSilos(filterBy: {{ visualStatus: {status} }}) {{ totalCount }} }}");
        manage(server, &story.admin_key, &query).await["totalCount"].clone()
    };
    assert_eq!(count("WAITING_ON_DEPENDENCIES").await, 1);
    assert_eq!(count("DATA_SILO_PAUSED").await, 0);

    let nonce = story.receiver.take_one().nonce();
    let accepted = json!({ "status": "WAITING", "pollId": "job-55120" });
    expect(story.put_report(&nonce, accepted).await, 200).await;
    assert_eq!(look(&story, request).await, "REMOTE_PROCESSING");
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    expect(story.put_report(&nonce, json!({})).await, 200).await;
    server.run_jobs_until_idle().await;
    assert_eq!(
        looks(&story, request).await[2..],
        [pair("Mail", "WAITING"), pair("Shop backend", "RESOLVED")]
    );
    story
        .administrate(async |tx, deed| dsr::hold(tx, deed, request).await)
        .await;
    assert_eq!(looks(&story, request).await[2], pair("Mail", "REQUEST_PENDING"));
    assert_eq!(count("REQUEST_PENDING").await, 3);
    story
        .administrate(async |tx, deed| dsr::resume(tx, deed, request).await)
        .await;
    story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, request).await)
        .await;
    assert_eq!(looks(&story, request).await[2], pair("Mail", "REQUEST_CANCELED"));
    let run = story.runs_of(request).await.remove(0).id.0;
    let change = format!("{{ id: \"{run}\", status: SKIPPED }}");
    let document =
        format!("mutation {{ changeRequestDataSiloStatus(input: {change}) {{ requestDataSilo {{ id }} }} }}");
    let refused = crate::support::manage::manage_refused(server, &story.admin_key, &document).await;
    assert!(
        refused.starts_with("Client error: Request must be active:"),
        "{refused}"
    );
    server.settle().await;
}

#[tokio::test]
async fn silos_in_a_circle_that_got_through_begin_together_and_those_behind_it_wait_for_them() {
    let story = Story::with_data_points(&[]).await;
    let server = &story.server;
    let other = story::add_silo(server, "Mail", None, &[]).await;
    let behind = story::add_silo(server, "Archive", None, &[]).await;
    story::add_silo(server, "Free", None, &[]).await;
    story::change_silo(server, other, |silo| silo.depends_on = [story.silo].into()).await;
    story::change_silo(server, story.silo, |silo| silo.depends_on = [other].into()).await;
    story::change_silo(server, behind, |silo| silo.depends_on = [other].into()).await;
    let request = story.submit(Action::Erasure).await;
    story.receiver.take_one();
    let waiting: Vec<_> = looks(&story, request)
        .await
        .into_iter()
        .filter(|(_, status)| status == "WAITING_ON_DEPENDENCIES")
        .map(|(title, _)| title)
        .collect();
    assert_eq!(waiting, ["Archive"]);
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_and_no_less_than_the_schedule_says() {
    let story = Story::with_data_points(&["profile"]).await;
    let busy =
        |seconds: u32| format!("HTTP/1.1 503 X\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    story.receiver.answers(busy(3 * 3600));
    story.submit(Action::Access).await;
    story.receiver.take_one();
    story.receiver.answers(busy(5));
    story.server.pass(3 * HOUR - Duration::from_secs(1)).await;
    assert!(story.receiver.take().is_empty());
    story.server.pass(Duration::from_secs(1)).await;
    story.receiver.take_one();
    story.server.pass(HOUR - Duration::from_secs(1)).await;
    assert!(story.receiver.take().is_empty());
    story.server.pass(Duration::from_secs(1)).await;
    story.receiver.take_one();
}
