//! When enrichers are asked: how often, how long, in which hours; and what becomes of it when they are changed.

use super::*;

/// A desk whose enrichers are asked so many times.
async fn patient(asks: u32) -> Desk {
    let mut config = config();
    config.webhooks.windows.asks = Some(asks);
    Desk::with(config).await
}

impl Desk {
    async fn error(&self, request: DsrId) -> String {
        let node = self.nodes(request).await.remove(0);
        node["error"].as_str().unwrap_or_default().to_owned()
    }

    async fn about(&self, number: u32) -> DsrId {
        let (core, email) = (format!("acct_{number}"), format!("p{number}@example.test"));
        let request = self.story.submit_about(Action::Access, &core, &email).await;
        self.idle().await;
        request
    }
}

#[tokio::test]
async fn who_never_answers_is_asked_a_bounded_number_of_times_and_then_a_person_decides() {
    let desk = patient(3).await;
    let request = desk.story.submit(Action::Access).await;
    let nonce = desk.lookup.take_one().nonce();
    for _ in 0..2 {
        desk.story.server.pass(DAY).await;
        assert_eq!(desk.lookup.take_one().nonce(), nonce);
        assert_eq!(desk.check(request).await, "WAITING");
    }
    desk.story.server.pass(DAY).await;
    assert_eq!(desk.check(request).await, "ERROR");
    assert!(desk.error(request).await.contains("has not answered"));
    assert_eq!(
        desk.status(request).await,
        "ENRICHING",
        "until a person retries or skips it"
    );
    for _ in 0..10 {
        desk.story.server.pass(DAY).await;
    }
    assert!(desk.lookup.take().is_empty(), "nobody is asked for ever");
    // A person has it begin anew, with as many tries as at first.
    let run = desk.nodes(request).await[0]["id"].clone();
    let retry = format!("mutation {{ retryRequestEnricher(id: {run}) {{ requestEnricher {{ status }} }} }}");
    desk.ask(&retry).await;
    desk.idle().await;
    assert_eq!(desk.lookup.take_one().nonce(), nonce);
    for _ in 0..3 {
        desk.story.server.pass(DAY).await;
    }
    assert_eq!(
        (desk.lookup.take().len(), desk.check(request).await.as_str()),
        (2, "ERROR")
    );
    // An answer counts however late it comes.
    expect(desk.answer(&nonce, &json!({})).await, 200).await;
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");

    // Whoever refuses all the time is given up just so.
    desk.lookup.answers(status(500));
    let refused = desk.about(2).await;
    for _ in 0..2 {
        desk.story.server.pass(HOUR).await;
    }
    assert_eq!(
        (desk.lookup.take().len(), desk.check(refused).await.as_str()),
        (3, "ERROR")
    );
    desk.story.server.pass(2 * DAY).await;
    assert!(desk.lookup.take().is_empty());

    // With a time of its own it may also say what follows.
    desk.lookup.answers(status(200));
    for (number, rule, end) in [
        (3, "CANCELED", "CANCELED"),
        (4, "FAILED_VERIFICATION", "FAILED_VERIFICATION"),
        (5, "COMPILING", "COMPILING"),
        (6, "ON_HOLD", "ON_HOLD"),
    ] {
        let settings = format!("expirationDuration: \"7200000\", transitionRequestStatus: {rule}");
        desk.change(&desk.enricher, &settings).await;
        let request = desk.about(number).await;
        desk.story.server.pass(HOUR).await;
        assert_eq!(desk.status(request).await, "ENRICHING");
        desk.story.server.pass(HOUR).await;
        assert_eq!(desk.status(request).await, end);
        let check = if end == "COMPILING" { "SKIPPED" } else { "ERROR" };
        assert_eq!(desk.check(request).await, check);
    }
}

#[tokio::test]
async fn who_asks_for_time_or_has_hours_of_its_own_is_asked_then() {
    let desk = Desk::start().await;
    desk.lookup
        .answers(b"HTTP/1.1 503 X\r\nretry-after: 10800\r\ncontent-length: 0\r\n\r\n".to_vec());
    let request = desk.story.submit(Action::Access).await;
    desk.lookup.take_one();
    desk.story.server.pass(2 * HOUR).await;
    assert!(desk.lookup.take().is_empty());
    desk.story.server.pass(HOUR).await;
    assert_eq!(desk.lookup.take().len(), 1, "three hours, as it asked for");
    assert_eq!(desk.check(request).await, "QUEUED");
    expect(
        desk.answer_as(&request.to_string(), &desk.enricher, &json!({})).await,
        200,
    )
    .await;

    // It is one o'clock.
    desk.lookup.answers(status(200));
    desk.change(&desk.enricher, "dailyWindow: {from: \"22:00\", until: \"06:00\"}")
        .await;
    let shown = desk
        .ask("{ enrichers(first: 1) { nodes { dailyWindow { from until } } } }")
        .await;
    assert_eq!(
        shown["nodes"][0]["dailyWindow"],
        json!({ "from": "22:00", "until": "06:00" })
    );
    let night = desk.about(2).await;
    desk.story.server.pass(8 * HOUR).await;
    assert!(desk.lookup.take().is_empty());
    assert_eq!(desk.check(night).await, "QUEUED");
    desk.story.server.pass(HOUR).await;
    assert_eq!(desk.lookup.take().len(), 1, "at ten in the evening");
    let wrong = format!(
        "mutation {{ updateEnricher(input: {{id: \"{}\", dailyWindow: {{from: \"22\", until: \"6\"}}}}) {{ clientMutationId }} }}",
        desk.enricher
    );
    assert!(desk.refused(&wrong).await.contains("dailyWindow"));
}

#[tokio::test]
async fn an_enricher_that_is_paused_asks_nobody_and_one_that_is_removed_is_waited_for_no_more() {
    let desk = Desk::start().await;
    let waits = format!(
        "inputIdentifier: \"coreIdentifier\", dependsOn: [\"{}\"]",
        desk.enricher
    );
    desk.add("Second", "SERVER", &waits).await;
    let request = desk.story.submit(Action::Access).await;
    desk.lookup.take_one();
    desk.change(&desk.enricher, "isPaused: true").await;
    desk.story.server.pass(3 * DAY).await;
    assert!(desk.lookup.take().is_empty());
    desk.change(&desk.enricher, "isPaused: false").await;
    desk.story.server.pass(DAY).await;
    assert_eq!(desk.lookup.take().len(), 1, "it goes on on its schedule");
    let away = format!(
        "mutation {{ deleteEnricher(id: \"{}\") {{ success clientMutationId }} }}",
        desk.enricher
    );
    assert_eq!(desk.ask(&away).await["success"], true);
    desk.idle().await;
    assert!(desk.refused(&away).await.contains("enricher"));
    let named = |all: [(&str, &str); 2]| {
        all.map(|(title, status)| (title.to_owned(), status.to_owned()))
            .to_vec()
    };
    assert_eq!(
        desk.checks(request).await,
        named([("Removed enricher", "SKIPPED"), ("Second", "WAITING")])
    );
    let second = desk.lookup.take_one();
    expect(desk.answer(&second.nonce(), &json!({})).await, 200).await;
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");
    let left = desk.ask("{ enrichers(first: 10) { nodes { title dependsOn } } }").await;
    assert_eq!(left["nodes"], json!([{ "title": "Second", "dependsOn": [] }]));
}

#[tokio::test]
async fn what_a_preflight_found_can_be_asked_for_by_its_id() {
    let desk = Desk::start().await;
    let request = desk.story.submit(Action::Access).await;
    let nonce = desk.lookup.take_one().nonce();
    let found =
        json!({ "enrichedIdentifiers": { "loyaltyCard": [{ "value": "LC-4" }], "shopId": [{ "value": "s" }] } });
    expect(desk.answer(&nonce, &found).await, 200).await;
    desk.idle().await;
    let run = desk.nodes(request).await[0]["id"].clone();
    let names = async |filter: &str| {
        let input = format!("{{requestIds: [\"{request}\"], {filter}}}");
        let listed = format!("{{ requestIdentifiers(input: {input}) {{ nodes {{ name }} totalCount }} }}");
        let listed = desk.ask(&listed).await;
        let nodes = listed["nodes"].as_array().unwrap().clone();
        nodes
            .iter()
            .map(|node| node["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["coreIdentifier", "email", "loyaltyCard", "shopId"]);
    assert_eq!(
        names(&format!("requestEnricherId: {run}")).await,
        ["loyaltyCard", "shopId"]
    );
    assert!(names(&format!("requestEnricherId: \"{request}\"")).await.is_empty());
}
