//! Webhooks of preflights: what they say, when they are sent again, and what answers do.

use super::*;

#[tokio::test]
async fn a_preflight_webhook_says_what_the_contract_says_and_its_answer_lets_the_request_go_on() {
    let desk = Desk::start().await;
    let request = desk.story.submit(Action::Access).await;
    assert_eq!(desk.status(request).await, "ENRICHING");
    assert_eq!(desk.check(request).await, "WAITING");
    assert!(desk.story.receiver.take().is_empty(), "no silo is asked yet");

    let notice = desk.lookup.take_one();
    assert_eq!(notice.header("content-length").unwrap(), notice.body.len().to_string());
    assert_eq!(notice.header("content-type"), Some("application/json"));
    assert_eq!(notice.header("x-lookup-key"), Some("s3cret"));
    assert!(notice.header("x-sombra-token").is_some());
    assert!(!notice.nonce().contains(EMAIL) && notice.nonce().is_ascii() && notice.nonce().len() < 2048);
    let url = desk.story.server.app().public_url();
    let mut body = notice.json();
    let identifier = body["extras"]["identifier"]["id"].take();
    assert!(identifier.is_string());
    let run = desk.nodes(request).await[0]["id"].clone();
    assert_eq!(
        body,
        json!({
            "type": "ACCESS",
            "coreIdentifier": { "value": CORE },
            "requestIdentifier": { "name": "email", "value": EMAIL },
            "dataSubject": { "type": "customer" },
            "isTest": false,
            "extras": {
                "enricher": { "id": desk.enricher, "title": "Loyalty lookup" },
                "identifier": { "id": null, "name": "email", "type": "email" },
                "requestEnricherId": run,
                "request": {
                    "id": request.to_string(),
                    "link": format!("{url}/privacy-requests/incoming-requests/{request}"),
                    "details": "Raised by phone, ticket 7741",
                    "createdAt": "2026-03-02T10:00:00.000Z",
                    "locale": "en-GB",
                    "origin": "API",
                    "attributes": [],
                    "country": "US",
                    "countrySubDivision": "US-CA",
                },
                "organization": { "id": desk.story.organization().0.to_string(), "uri": "organization", "name": "Organization" },
            },
        })
    );

    let found = json!({ "enrichedIdentifiers": {
        "email": [{ "value": "R.Hale@Example.test" }, { "value": EMAIL }],
        "phone": [{ "value": "+1 555 555 0144", "countryCode": "US" }],
        "loyaltyCard": [{ "value": "LC-7" }, { "value": "LC-7" }],
        "forumHandle": [{ "value": "known, but not among what the enricher says it finds" }],
    } });
    assert_eq!(
        expect(desk.answer(&notice.nonce(), &found).await, 200).await,
        json!({ "success": true })
    );
    desk.idle().await;
    let all = desk.identifiers(request).await;
    assert_eq!(
        all.len(),
        6,
        "each value once, in the form in which it is kept: {all:?}"
    );
    assert!(all.contains(&("email".into(), "r.hale@example.test".into())));
    assert!(all.contains(&("phone".into(), "+15555550144".into())));

    // The new address starts a lookup of its own; the others start nothing.
    let second = desk.lookup.take_one();
    assert_eq!(second.json()["requestIdentifier"]["value"], "r.hale@example.test");
    assert_eq!(desk.status(request).await, "ENRICHING");
    let refused = expect(desk.answer(&notice.nonce(), &found).await, 409).await;
    assert!(refused["message"].as_str().unwrap().contains(RESOLVED), "{refused}");
    expect(desk.answer(&second.nonce(), &json!({})).await, 200).await;
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");
    assert_eq!(desk.story.receiver.take().len(), 2, "a notice for each address");
    let late = expect(desk.answer(&second.nonce(), &json!({})).await, 409).await;
    assert!(late["message"].as_str().unwrap().contains(RESOLVED), "{late}");
}

#[tokio::test]
async fn two_ids_stand_for_the_nonce_in_any_case_and_everything_else_is_refused() {
    let desk = Desk::start().await;
    let request = desk.story.submit(Action::Access).await;
    let nonce = desk.lookup.take_one().nonce();
    let empty = json!({});
    expect(desk.post(&[], &empty).await, 400).await;
    expect(
        desk.post(&[("x-transcend-request-id", &request.to_string())], &empty)
            .await,
        400,
    )
    .await;
    expect(desk.answer_as("not an id", &desk.enricher, &empty).await, 400).await;
    expect(desk.answer("garbage", &empty).await, 400).await;
    let nobody = "0196b3a0-0000-7000-8000-00000000dead";
    expect(desk.answer_as(nobody, &desk.enricher, &empty).await, 404).await;
    expect(desk.answer_as(&request.to_string(), nobody, &empty).await, 404).await;
    let unscoped = desk.story.server.key(&[ScopeName::ViewRequests]).await;
    let call = desk
        .story
        .server
        .client()
        .post(desk.story.server.url("/v1/enrich-identifiers"));
    let answer = call
        .bearer_auth(unscoped)
        .header("x-transcend-nonce", &nonce)
        .json(&empty)
        .send()
        .await
        .unwrap();
    expect(answer, 403).await;
    for (wrong, place) in [
        (
            json!({ "enrichedIdentifiers": { "shoeSize": [{ "value": "44" }] } }),
            "enrichedIdentifiers",
        ),
        (
            json!({ "enrichedIdentifiers": { "email": [{ "value": "nobody" }] } }),
            "enrichedIdentifiers.email[0].value",
        ),
        (
            json!({ "enrichedIdentifiers": { "loyaltyCard": [{ "value": "7" }] } }),
            "enrichedIdentifiers.loyaltyCard[0].value",
        ),
        (
            json!({ "enrichedIdentifiers": { "email": ["ada@example.test"] } }),
            "enrichedIdentifiers.email[0]",
        ),
        (json!({ "status": "COMPLETED" }), "status"),
        (
            json!({ "status": "CANCELED", "templateTitle": "No such template" }),
            "templateTitle",
        ),
        // What an older client sends, which names no preflight at all.
        (
            json!({ "requestId": request, "identifiers": { "email": "ada@example.test" } }),
            "",
        ),
    ] {
        let refused = expect(desk.answer(&nonce, &wrong).await, 400).await;
        assert_eq!(refused["details"][0]["path"], place, "{refused}");
        assert!(
            !refused.to_string().contains("shoeSize") && !refused.to_string().contains("ada@"),
            "{refused}"
        );
    }
    assert_eq!(desk.status(request).await, "ENRICHING");
    let upper = request.to_string().to_uppercase();
    let found = json!({ "enrichedIdentifiers": { "loyaltyCard": [{ "value": "LC-1" }] } });
    assert_eq!(
        expect(desk.answer_as(&upper, &desk.enricher, &found).await, 200).await,
        json!({ "success": true })
    );
    let refused = expect(desk.answer_as(&upper, &desk.enricher, &found).await, 409).await;
    assert!(refused["message"].as_str().unwrap().contains(RESOLVED), "{refused}");
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");
}

#[tokio::test]
async fn an_answer_to_the_webhook_counts_as_if_it_had_been_posted() {
    let desk = Desk::start().await;
    let template =
        "createTemplate(input: {title: \"Not a resident\", subject: \"s\", template: \"t\"}) { template { id } }";
    let template = desk.ask(&format!("mutation {{ {template} }}")).await["template"]["id"].clone();
    let far_too_long = format!("{{\"x\":\"{}\"}}", "y".repeat(2 << 20));
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("an empty 200", status(200), "WAITING", "ENRICHING"),
        ("text", says("OK"), "WAITING", "ENRICHING"),
        ("an empty object", says("{}"), "WAITING", "ENRICHING"),
        (
            "members nobody knows",
            says(r#"{"ok":true,"status":"ok"}"#),
            "WAITING",
            "ENRICHING",
        ),
        ("an array", says("[1]"), "WAITING", "ENRICHING"),
        (
            "HTTP/1.0 without a length",
            b"HTTP/1.0 200 OK\r\n\r\n{\"enrichedIdentifiers\":{}}".to_vec(),
            "RESOLVED",
            "COMPILING",
        ),
        ("nothing to find", status(204), "SKIPPED", "COMPILING"),
        (
            "identifiers",
            says(r#"{"enrichedIdentifiers":{"loyaltyCard":[{"value":"LC-9","more":1}]}}"#),
            "RESOLVED",
            "COMPILING",
        ),
        (
            "a cancellation",
            says(r#"{"status":"CANCELED"}"#),
            "RESOLVED",
            "CANCELED",
        ),
        (
            "a cancellation with a template",
            says(&format!("{{\"status\":\"CANCELED\",\"templateId\":{template}}}")),
            "RESOLVED",
            "CANCELED",
        ),
        (
            "a cancellation with a template that there is not",
            says(r#"{"status":"CANCELED","templateTitle":"Never made"}"#),
            "RESOLVED",
            "CANCELED",
        ),
        ("a hold", says(r#"{"status":"ON_HOLD"}"#), "RESOLVED", "ON_HOLD"),
        (
            "a name nobody knows",
            says(r#"{"enrichedIdentifiers":{"shoeSize":[{"value":"44"}]}}"#),
            "QUEUED",
            "ENRICHING",
        ),
        (
            "a value that does not fit",
            says(r#"{"enrichedIdentifiers":{"loyaltyCard":[{"value":"44"}]}}"#),
            "QUEUED",
            "ENRICHING",
        ),
        (
            "another form",
            says(r#"{"enrichedIdentifiers":[]}"#),
            "QUEUED",
            "ENRICHING",
        ),
        ("more than is read", says(&far_too_long), "QUEUED", "ENRICHING"),
        (
            "an answer that breaks off",
            b"HTTP/1.0 200 OK\r\ncontent-length: 99\r\n\r\n{}".to_vec(),
            "QUEUED",
            "ENRICHING",
        ),
        ("a refusal", status(400), "QUEUED", "ENRICHING"),
        (
            "a redirect",
            b"HTTP/1.1 307 X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec(),
            "QUEUED",
            "ENRICHING",
        ),
        ("nothing at all", Vec::new(), "QUEUED", "ENRICHING"),
    ];
    for (place, (name, answer, check, status)) in cases.into_iter().enumerate() {
        desk.lookup.answers(answer);
        let email = format!("{place}@example.test");
        let request = desk
            .story
            .submit_about(Action::Access, &format!("core-{place}"), &email)
            .await;
        desk.idle().await;
        assert_eq!(desk.check(request).await, check, "{name}");
        assert_eq!(desk.status(request).await, status, "{name}");
    }
}

#[tokio::test]
async fn a_webhook_that_fails_is_tried_five_times_and_keeps_its_request_until_somebody_retries_or_skips_it() {
    let desk = Desk::start().await;
    desk.lookup.answers(status(500));
    let request = desk.story.submit(Action::Access).await;
    for tries in 1..5 {
        assert_eq!(desk.lookup.take().len(), 1, "try {tries}");
        assert_eq!(desk.check(request).await, "QUEUED");
        desk.story.server.pass(HOUR).await;
    }
    assert_eq!(desk.lookup.take().len(), 1);
    let node = desk.nodes(request).await.remove(0);
    assert_eq!(
        (&node["status"], &node["enricher"]["type"]),
        (&json!("ERROR"), &json!("SERVER"))
    );
    assert!(node["error"].as_str().unwrap().contains("did not accept"), "{node}");
    assert_eq!(desk.status(request).await, "ENRICHING");
    desk.story.server.pass(DAY).await;
    assert_eq!(desk.lookup.take().len(), 1, "once a day");

    let id = node["id"].as_str().unwrap();
    let retry = format!("mutation {{ retryRequestEnricher(id: \"{id}\") {{ requestEnricher {{ id status }} }} }}");
    desk.lookup.answers(status(200));
    assert_eq!(desk.ask(&retry).await["requestEnricher"]["id"], id);
    desk.idle().await;
    assert_eq!(desk.check(request).await, "WAITING");
    let nonce = desk.lookup.take_one().nonce();
    desk.story.server.pass(DAY).await;
    assert_eq!(
        desk.lookup.take_one().nonce(),
        nonce,
        "asked again after a day without an answer"
    );

    let skip = format!("mutation {{ skipRequestEnricher(id: \"{id}\") {{ requestEnricher {{ id status }} }} }}");
    assert_eq!(desk.ask(&skip).await["requestEnricher"]["status"], "SKIPPED");
    let said = "Client error: Cannot skip Request enricher because it has already completed";
    assert_eq!(desk.refused(&skip).await, said);
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");
    assert_eq!(desk.refused(&skip).await, said, "also when the request has gone on");
    desk.refused(&retry).await;
    let nobody =
        "mutation { skipRequestEnricher(id: \"0196b3a0-0000-7000-8000-00000000dead\") { requestEnricher { id } } }";
    desk.refused(nobody).await;
    expect(desk.answer(&nonce, &json!({})).await, 409).await;
    desk.story.server.pass(2 * DAY).await;
    assert!(desk.lookup.take().is_empty());
}

#[tokio::test]
async fn an_answer_may_be_posted_before_the_webhook_is_answered() {
    let desk = Desk::start().await;
    let (client, url, key) = (
        desk.story.server.client().clone(),
        desk.story.server.url("/v1/enrich-identifiers"),
        desk.key.clone(),
    );
    desk.lookup.answers_as(move |notice| {
        let body = json!({ "enrichedIdentifiers": { "loyaltyCard": [{ "value": "LC-3" }] } });
        let call = client
            .post(&url)
            .bearer_auth(&key)
            .header("x-transcend-nonce", notice.nonce())
            .json(&body);
        async move {
            assert_eq!(call.send().await.unwrap().status(), 200);
            status(500)
        }
    });
    let request = desk.story.submit(Action::Access).await;
    assert_eq!(desk.check(request).await, "RESOLVED");
    assert_eq!(desk.status(request).await, "COMPILING");
    assert_eq!(desk.lookup.take().len(), 1);
    desk.story.server.pass(2 * DAY).await;
    assert!(desk.lookup.take().is_empty());
}

#[tokio::test]
async fn a_request_that_is_parked_asks_nobody_and_takes_answers_until_it_is_resumed() {
    let desk = Desk::start().await;
    let request = desk.story.submit(Action::Access).await;
    let nonce = desk.lookup.take_one().nonce();
    desk.park(request, "ON_HOLD").await;
    desk.story.server.pass(2 * DAY).await;
    assert!(
        desk.lookup.take().is_empty(),
        "nobody is reminded while the request is parked"
    );
    let found = json!({ "enrichedIdentifiers": { "loyaltyCard": [{ "value": "LC-4" }] }, "status": "ON_HOLD" });
    expect(desk.answer(&nonce, &found).await, 200).await;
    desk.idle().await;
    assert_eq!(
        (desk.check(request).await.as_str(), desk.status(request).await),
        ("RESOLVED", "ON_HOLD")
    );
    let odd =
        format!("mutation {{ updateRequest(input: {{id: \"{request}\", status: COMPILING}}) {{ clientMutationId }} }}");
    assert!(desk.refused(&odd).await.contains("status must be ON_HOLD"));
    desk.park(request, "ENRICHING").await;
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");

    // A parked one can be canceled by an answer, and one that is canceled takes none.
    let other = desk
        .story
        .submit_about(Action::Access, "acct_2", "two@example.test")
        .await;
    desk.idle().await;
    let nonce = desk.lookup.take_one().nonce();
    desk.story
        .administrate(async |tx, deed| dsr::hold(tx, deed, other).await)
        .await;
    expect(desk.answer(&nonce, &json!({ "status": "CANCELED" })).await, 200).await;
    assert_eq!(desk.status(other).await, "CANCELED");
    let third = desk
        .story
        .submit_about(Action::Access, "acct_3", "three@example.test")
        .await;
    desk.idle().await;
    let nonce = desk.lookup.take_one().nonce();
    desk.story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, third).await)
        .await;
    expect(desk.answer(&nonce, &json!({})).await, 409).await;
    desk.story.server.pass(2 * DAY).await;
    assert!(desk.lookup.take().is_empty());
}

#[tokio::test]
async fn a_restarted_request_has_its_preflights_anew_and_takes_no_answer_to_those_before() {
    let desk = Desk::start().await;
    let request = desk.story.submit(Action::Access).await;
    let before = desk.lookup.take_one();
    let again = json!({ "requestId": request });
    let same = desk.story.submit_with(Action::Access, CORE, EMAIL, again).await;
    assert_eq!(same, request);
    desk.idle().await;
    let after = desk.lookup.take_one();
    assert_ne!(before.nonce(), after.nonce());
    assert_eq!(desk.check(request).await, "WAITING", "what was run before is history");
    let refused = expect(desk.answer(&before.nonce(), &json!({})).await, 409).await;
    assert!(refused["message"].as_str().unwrap().contains(RESOLVED), "{refused}");
    expect(desk.answer(&after.nonce(), &json!({})).await, 200).await;
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");
    desk.story.server.pass(2 * DAY).await;
    assert!(desk.lookup.take().is_empty());
}

impl Desk {
    /// Parks a request, or takes it up again at the status it had.
    async fn park(&self, request: DsrId, status: &str) {
        let input = format!("{{id: \"{request}\", status: {status}}}");
        let answer = self
            .ask(&format!(
                "mutation {{ updateRequest(input: {input}) {{ request {{ status }} }} }}"
            ))
            .await;
        assert_eq!(answer["request"]["status"], status);
    }
}
