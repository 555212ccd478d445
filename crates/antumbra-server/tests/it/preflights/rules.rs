//! Enrichers that decide by themselves, and those that a person stands in for.

use super::*;

/// An organization without the enricher that every desk begins with.
async fn without_lookup() -> Desk {
    let desk = Desk::start().await;
    let paused = format!(
        "mutation {{ updateEnricher(input: {{id: \"{}\", isPaused: true}}) {{ clientMutationId }} }}",
        desk.enricher
    );
    desk.ask(&paused).await;
    desk
}

impl Desk {
    async fn submit_with(&self, number: u32, further: Value) -> DsrId {
        let (core, email) = (format!("acct_{number}"), format!("p{number}@example.test"));
        let request = self.story.submit_with(Action::Access, &core, &email, further).await;
        self.idle().await;
        request
    }

    async fn skip_all(&self, request: DsrId) {
        for node in self.nodes(request).await {
            let skip = format!(
                "mutation {{ skipRequestEnricher(id: {}) {{ requestEnricher {{ id }} }} }}",
                node["id"]
            );
            if node["status"] != "RESOLVED" && node["status"] != "SKIPPED" {
                self.ask(&skip).await;
            }
        }
        self.idle().await;
    }
}

#[tokio::test]
async fn a_rule_without_what_it_goes_by_is_refused() {
    let desk = Desk::start().await;
    for (kind, lacks) in [
        ("REGEX_MATCH", "testRegex"),
        ("REGION_MATCH", "regionList"),
        ("WAIT_PERIOD", "expirationDuration"),
    ] {
        let input = format!("{{title: \"Rule\", type: {kind}, inputIdentifier: \"email\"}}");
        let refused = desk
            .refused(&format!(
                "mutation {{ createEnricher(input: {input}) {{ enricher {{ id }} }} }}"
            ))
            .await;
        assert!(refused.contains(&format!("{lacks} is required")), "{refused}");
    }
}

#[tokio::test]
async fn rules_about_values_and_regions_stop_the_requests_they_are_met_by() {
    let desk = without_lookup().await;
    let settings = "inputIdentifier: \"email\", testRegex: \"^p1@\", transitionRequestStatus: CANCELED";
    desk.add("Known fraud", "REGEX_MATCH", settings).await;
    let settings = "inputIdentifier: \"coreIdentifier\", regionList: [\"US-NY\", \"FR\"]";
    desk.add("Elsewhere", "REGION_MATCH", settings).await;
    let one = desk.submit_with(1, json!({})).await;
    assert_eq!(desk.status(one).await, "CANCELED");
    let two = desk.submit_with(2, json!({ "region": { "country": "FR" } })).await;
    assert_eq!(
        desk.status(two).await,
        "ON_HOLD",
        "a rule that says no more leaves it to a person"
    );
    desk.story
        .administrate(async |tx, deed| dsr::resume(tx, deed, two).await)
        .await;
    desk.idle().await;
    assert_eq!(desk.status(two).await, "COMPILING", "who resumes it has decided");
    let three = desk.submit_with(3, json!({})).await;
    assert_eq!(desk.status(three).await, "COMPILING");

    // A rule can also say that nothing more is checked: what is not verified is left out.
    desk.add("Ask somebody", "PERSON", "inputIdentifier: \"email\"").await;
    let settings = "inputIdentifier: \"email\", testRegex: \"^p4@\", transitionRequestStatus: COMPILING";
    desk.add("Known to us", "REGEX_MATCH", settings).await;
    let subject = json!({ "coreIdentifier": "acct_4", "email": "p4@example.test", "emailIsVerified": false });
    let four = desk.submit_with(4, json!({ "subject": subject })).await;
    let known: Vec<String> = desk.identifiers(four).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(known, ["coreIdentifier"]);
    assert_eq!(desk.status(four).await, "APPROVING", "no silo looks people up by that");
    assert!(
        desk.checks(four)
            .await
            .contains(&("Ask somebody".into(), "SKIPPED".into()))
    );
    let settings = "inputIdentifier: \"email\", testRegex: \"^p5@\", transitionRequestStatus: FAILED_VERIFICATION";
    desk.add("Not them", "REGEX_MATCH", settings).await;
    let five = desk.submit_with(5, json!({})).await;
    assert_eq!(desk.status(five).await, "FAILED_VERIFICATION");
    assert!(desk.lookup.take().is_empty(), "what is paused asks nobody");
    let bad = "mutation { createEnricher(input: {title: \"Bad\", type: REGEX_MATCH, testRegex: \"(?!a)b\"}) { enricher { id } } }";
    assert!(desk.refused(bad).await.contains("testRegex"));
}

#[tokio::test]
async fn a_wait_lasts_as_long_as_it_is_configured_to_and_not_while_the_submitter_leaves_it_out() {
    let desk = without_lookup().await;
    let wait = desk
        .add("Cool off", "WAIT_PERIOD", "expirationDuration: \"7200000\"")
        .await;
    let request = desk.submit_with(1, json!({})).await;
    assert_eq!(desk.check(request).await, "WAITING");
    desk.story.server.pass(HOUR).await;
    assert_eq!(desk.status(request).await, "ENRICHING");
    desk.story
        .administrate(async |tx, deed| dsr::hold(tx, deed, request).await)
        .await;
    desk.story.server.pass(2 * HOUR).await;
    desk.story
        .administrate(async |tx, deed| dsr::resume(tx, deed, request).await)
        .await;
    desk.idle().await;
    assert_eq!(
        desk.status(request).await,
        "COMPILING",
        "it ran on while the request was parked"
    );
    let left_out = desk.submit_with(2, json!({ "skipEnrichmentChecks": [wait] })).await;
    assert_eq!(desk.status(left_out).await, "COMPILING");
    assert!(desk.checks(left_out).await.is_empty());
}

#[tokio::test]
async fn somebody_on_legal_hold_is_left_to_a_person_until_the_hold_is_lifted() {
    let desk = without_lookup().await;
    desk.add("Holds", "LEGAL_HOLD", "").await;
    let about = async |action: Action| {
        let request = desk.story.submit_about(action, CORE, EMAIL).await;
        desk.idle().await;
        request
    };
    let finish = async |request: DsrId| {
        if desk.status(request).await == "APPROVING" {
            desk.story
                .administrate(async |tx, deed| dsr::approve(tx, deed, request).await)
                .await;
        }
        assert_eq!(desk.status(request).await, "COMPLETED");
    };
    let free = about(Action::Access).await;
    assert_ne!(desk.status(free).await, "ON_HOLD");
    finish(close(&desk, about(Action::PlaceOnLegalHold).await).await).await;
    let erasure = about(Action::Erasure).await;
    assert_eq!(desk.status(erasure).await, "ON_HOLD");
    desk.story.server.pass(HOUR).await;
    finish(close(&desk, about(Action::RemoveFromLegalHold).await).await).await;
    let restriction = about(Action::Restriction).await;
    assert_ne!(desk.status(restriction).await, "ON_HOLD");
}

/// Has the silo's part of a request passed over.
async fn close(desk: &Desk, request: DsrId) -> DsrId {
    use antumbra_server::runs::{self, Verdict};
    for run in desk
        .story
        .runs_of(request)
        .await
        .into_iter()
        .filter(|run| run.is_open())
    {
        desk.story
            .administrate(async |tx, deed| runs::change_status(tx, deed, run.id, Verdict::Skipped).await)
            .await;
    }
    request
}

#[tokio::test]
async fn what_this_server_cannot_do_waits_for_a_person_who_answers_in_its_place_or_skips_it() {
    let desk = without_lookup().await;
    let person = desk
        .add(
            "Ask the shop",
            "PERSON",
            "inputIdentifier: \"email\", identifiers: [\"loyaltyCard\"]",
        )
        .await;
    desk.add("Call back", "PERSON", "actions: [ERASURE]").await;
    desk.add("Warehouse", "DATABASE", "").await;
    desk.add("Nowhere", "SERVER", "").await;
    let nowhere = desk.nodes_of("Nowhere").await;
    desk.ask(&format!(
        "mutation {{ updateEnricher(input: {{id: \"{nowhere}\", url: \"\"}}) {{ clientMutationId }} }}"
    ))
    .await;
    let request = desk.submit_with(1, json!({})).await;
    let statuses: Vec<String> = desk
        .checks(request)
        .await
        .into_iter()
        .map(|(_, status)| status)
        .collect();
    assert_eq!(statuses, ["ACTION_REQUIRED"; 3]);
    for node in desk.nodes(request).await {
        assert!(!node["error"].as_str().unwrap().is_empty(), "it says why: {node}");
    }
    let found = json!({ "enrichedIdentifiers": { "loyaltyCard": [{ "value": "LC-5" }] } });
    expect(desk.answer_as(&request.to_string(), &person, &found).await, 200).await;
    desk.idle().await;
    assert_eq!(desk.status(request).await, "ENRICHING");
    desk.skip_all(request).await;
    assert_eq!(desk.status(request).await, "COMPILING");
    assert!(
        desk.identifiers(request)
            .await
            .contains(&("loyaltyCard".into(), "LC-5".into()))
    );
}

impl Desk {
    /// The id of the enricher of this title.
    async fn nodes_of(&self, title: &str) -> String {
        let listed = self.ask("{ enrichers(first: 100) { nodes { id title } } }").await;
        let found = listed["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|node| node["title"] == title);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn an_unverified_address_starts_no_lookup_until_something_verifies_it_or_a_person_takes_it_out() {
    let desk = Desk::start().await;
    let unverified = |core: &str, email: &str| json!({ "subject": { "coreIdentifier": core, "email": email, "emailIsVerified": false } });
    let one = desk.submit_with(1, unverified("acct_9", "one@example.test")).await;
    assert!(
        desk.lookup.take().is_empty(),
        "nobody is asked to find more about an unchecked address"
    );
    assert!(
        desk.checks(one)
            .await
            .contains(&("Loyalty lookup".into(), "WAITING_ON_DEPENDENCIES".into()))
    );
    let listed = desk
        .ask(&format!(
            "{{ requestIdentifiers(input: {{requestIds: [\"{one}\"]}}) {{ nodes {{ id name }} }} }}"
        ))
        .await;
    let address = listed["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["name"] == "email")
        .unwrap()["id"]
        .clone();
    let out = format!(
        "removeRequestIdentifiers(input: {{requestId: \"{one}\", requestIdentifierIds: [{address}]}}) {{ count }}"
    );
    assert_eq!(desk.ask(&format!("mutation {{ {out} }}")).await["count"], 1);
    desk.idle().await;
    assert_eq!(
        desk.status(one).await,
        "APPROVING",
        "no silo knows people by anything else"
    );

    desk.add("We trust our shop", "AUTO_APPROVE", "inputIdentifier: \"email\"")
        .await;
    let two = desk.submit_with(2, unverified("acct_10", "two@example.test")).await;
    let notice = desk.lookup.take_one();
    assert_eq!(notice.json()["requestIdentifier"]["value"], "two@example.test");
    expect(desk.answer(&notice.nonce(), &json!({})).await, 200).await;
    desk.idle().await;
    assert_eq!(desk.status(two).await, "COMPILING");
}
