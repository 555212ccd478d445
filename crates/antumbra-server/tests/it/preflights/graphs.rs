//! What enrichers find starts others; circles end; some wait for others.

use super::*;

#[tokio::test]
async fn what_one_enricher_finds_another_starts_from_and_a_circle_ends() {
    let desk = Desk::start().await;
    // email -> loyaltyCard (the desk's own), loyaltyCard -> shopId, shopId -> email: a circle.
    desk.add(
        "Cards",
        "SERVER",
        "inputIdentifier: \"loyaltyCard\", identifiers: [\"shopId\"]",
    )
    .await;
    desk.add(
        "Shops",
        "SERVER",
        "inputIdentifier: \"shopId\", identifiers: [\"email\"]",
    )
    .await;
    desk.lookup.answers_as(|notice| {
        let from = notice.json()["requestIdentifier"]["name"].as_str().unwrap().to_owned();
        let body = match from.as_str() {
            "email" => json!({ "loyaltyCard": [{ "value": "LC-1" }, { "value": "LC-2" }] }),
            "loyaltyCard" => json!({ "shopId": [{ "value": "shop-1" }] }),
            _ => json!({ "email": [{ "value": EMAIL }, { "value": "second@example.test" }] }),
        };
        std::future::ready(says(&json!({ "enrichedIdentifiers": body }).to_string()))
    });
    let request = desk.story.submit(Action::Access).await;
    assert_eq!(desk.status(request).await, "COMPILING");
    let asked: Vec<String> = desk
        .lookup
        .take()
        .iter()
        .map(|notice| notice.json()["requestIdentifier"].to_string())
        .collect();
    let mut once = asked.clone();
    once.sort();
    once.dedup();
    assert_eq!(
        (asked.len(), once.len()),
        (5, 5),
        "each value is looked up once: {asked:?}"
    );
    let values: Vec<String> = desk
        .identifiers(request)
        .await
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values.len(), 6, "{values:?}");
    assert_eq!(
        desk.story.receiver.take().len(),
        2,
        "the silo is asked about both addresses"
    );
}

#[tokio::test]
async fn an_enricher_that_never_stops_finding_meets_the_bound_and_waits_for_a_person() {
    let desk = Desk::start().await;
    desk.lookup.answers_as(|notice| {
        let value = notice.json()["requestIdentifier"]["value"].as_str().unwrap().to_owned();
        let number: u32 = value.split('@').next().unwrap().parse().unwrap_or(0);
        let next: Vec<Value> = (1..=40)
            .map(|n| json!({ "value": format!("{}@example.test", number * 40 + n) }))
            .collect();
        std::future::ready(says(&json!({ "enrichedIdentifiers": { "email": next } }).to_string()))
    });
    let request = desk.story.submit(Action::Access).await;
    assert_eq!(desk.status(request).await, "ENRICHING");
    let nodes = desk.nodes(request).await;
    assert_eq!(nodes.len(), 200);
    let last = nodes.last().unwrap();
    assert_eq!(last["status"], "ACTION_REQUIRED");
    assert!(
        last["error"].as_str().unwrap().contains("more preflights than"),
        "{last}"
    );
    assert!(desk.identifiers(request).await.len() <= 100);
}

#[tokio::test]
async fn an_enricher_waits_for_those_it_depends_on_and_none_can_wait_for_itself() {
    let desk = Desk::start().await;
    let second = desk
        .add(
            "Second",
            "SERVER",
            "inputIdentifier: \"coreIdentifier\", identifiers: [\"shopId\"], dependsOn: [\"Loyalty lookup\"]",
        )
        .await;
    let circle = format!(
        "mutation {{ updateEnricher(input: {{id: \"{}\", dependsOn: [\"{second}\"]}}) {{ clientMutationId }} }}",
        desk.enricher
    );
    assert!(desk.refused(&circle).await.contains("would wait for itself"));
    let request = desk.story.submit(Action::Access).await;
    let first = desk.lookup.take_one();
    let expected = [("Loyalty lookup", "WAITING"), ("Second", "WAITING_ON_DEPENDENCIES")];
    let named = |all: [(&str, &str); 2]| {
        all.map(|(title, status)| (title.to_owned(), status.to_owned()))
            .to_vec()
    };
    assert_eq!(desk.checks(request).await, named(expected));
    expect(desk.answer(&first.nonce(), &json!({})).await, 200).await;
    desk.idle().await;
    let second = desk.lookup.take_one();
    assert_eq!(
        second.json()["requestIdentifier"],
        json!({ "name": "coreIdentifier", "value": CORE })
    );
    assert_eq!(
        desk.checks(request).await,
        named([("Loyalty lookup", "RESOLVED"), ("Second", "WAITING")])
    );
    expect(desk.answer(&second.nonce(), &json!({})).await, 200).await;
    desk.idle().await;
    assert_eq!(desk.status(request).await, "COMPILING");
}
