//! Lines 9, 14, 23 and 26: what others know of a person, what a restart keeps of it, and whom nobody writes to.

use antumbra_server::{ServerConfig, config::MailConfig};

use super::*;
use crate::support::{
    postbox::Postbox,
    receiver::{Notice, Receiver, status},
    story::config,
};

/// An organization with one enricher, which starts from the e-mail address.
struct Lookup {
    story: Story,
    receiver: Receiver,
    enricher: String,
}

impl Lookup {
    async fn start() -> Lookup {
        let story = Story::with_data_points(&[]).await;
        let receiver = Receiver::start().await;
        let enricher = add_lookup(&story, &receiver).await;
        Lookup {
            story,
            receiver,
            enricher,
        }
    }

    /// A request about the person of that number, and the webhook that it sends.
    async fn asked(&self, person: usize) -> (DsrId, Notice) {
        let request = self.submitted(person).await;
        (request, self.receiver.take_one())
    }

    async fn submitted(&self, person: usize) -> DsrId {
        let (core, email) = (format!("core-{person}"), format!("{person}@example.test"));
        let request = self.story.submit_about(Action::Access, &core, &email).await;
        self.story.server.run_jobs_until_idle().await;
        request
    }

    async fn answer(&self, headers: &[(&str, &str)], body: Value) -> (u16, String) {
        let server = &self.story.server;
        let mut call = server.client().post(server.url("/v1/enrich-identifiers"));
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        let answer = call
            .bearer_auth(&self.story.admin_key)
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        server.run_jobs_until_idle().await;
        (status, answer.text().await.unwrap())
    }

    async fn check(&self, request: DsrId) -> Value {
        let listed = format!("{{ requestEnrichers(input: {{requestId: \"{request}\"}}) {{ nodes {{ status }} }} }}");
        manage(&self.story.server, &self.story.admin_key, &listed).await["nodes"][0]["status"].clone()
    }
}

async fn add_lookup(story: &Story, receiver: &Receiver) -> String {
    let input = format!(
        "{{title: \"Lookup\", url: \"{}\", inputIdentifier: \"email\", identifiers: [\"phone\"]}}",
        receiver.url()
    );
    let made = format!("mutation {{ createEnricher(input: {input}) {{ enricher {{ id }} }} }}");
    let made = manage(&story.server, &story.admin_key, &made).await;
    made["enricher"]["id"].as_str().unwrap().to_owned()
}

/// An answer of a receiver that is this JSON.
fn says(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn line_09_a_restart_keeps_id_region_and_attributes_and_of_identifiers_what_its_strategy_says() {
    let lookup = Lookup::start().await;
    let story = &lookup.story;
    lookup.receiver.answers(says(
        &json!({ "enrichedIdentifiers": { "phone": [{ "value": "+15555550144" }] } }),
    ));
    for (person, (strategy, phone)) in [
        (Some("PRESERVE_INITIAL_VERIFICATIONS_ONLY"), Some(false)),
        (Some("PRESERVE_ALL_VERIFICATIONS"), Some(true)),
        (Some("REMOVE_ENRICHED_IDENTIFIERS"), None),
        (None, Some(false)),
    ]
    .into_iter()
    .enumerate()
    {
        let core = format!("core-{person}");
        let subject = json!({
            "coreIdentifier": core, "email": format!("{person}@example.test"), "emailIsVerified": true,
        });
        let fields = json!({
            "subject": subject, "region": { "country": "US", "countrySubDivision": "US-CA" },
            "attributes": [{ "key": "Tags", "values": ["a", "b"] }],
        });
        let made = story.created(minimal(&core, fields)).await;
        story.server.run_jobs_until_idle().await;
        let identifiers = async || {
            let listed = format!(
                "{{ requestIdentifiers(input: {{requestIds: [{}]}}) {{ nodes {{ name isVerifiedAtLeastOnce }} }} }}",
                made["id"]
            );
            let listed = manage(&story.server, &story.admin_key, &listed).await;
            let nodes = listed["nodes"].as_array().unwrap().clone();
            let verified = |node: &Value| node["isVerifiedAtLeastOnce"].as_bool().unwrap();
            nodes
                .iter()
                .map(|node| (node["name"].as_str().unwrap().to_owned(), verified(node)))
                .collect::<Vec<_>>()
        };
        let told = |phone: Option<bool>| {
            let submitted = ["coreIdentifier", "email"].map(|name| (name.to_owned(), true));
            let found = phone.map(|is_verified| ("phone".to_owned(), is_verified));
            submitted.into_iter().chain(found).collect::<Vec<_>>()
        };
        assert_eq!(identifiers().await, told(Some(true)));
        let mut again = json!({ "requestId": made["id"], "subject": subject });
        if let Some(strategy) = strategy {
            again["restartIdentifierStrategy"] = strategy.into();
        }
        let restarted = story.created(minimal(&core, again)).await;
        for kept in ["id", "country", "countrySubDivision", "attributeValues"] {
            assert_eq!(restarted[kept], made[kept], "{strategy:?}");
        }
        assert_eq!(identifiers().await, told(phone), "{strategy:?}");
        // What was found is found again, and the request goes on.
        story.server.run_jobs_until_idle().await;
        assert_eq!(identifiers().await, told(Some(true)), "{strategy:?}");
        let id = DsrId(made["id"].as_str().unwrap().parse().unwrap());
        assert_eq!(story.status_of(id).await, "COMPILING");
    }
}

#[tokio::test]
async fn line_14_identifiers_come_by_nonce_or_by_two_ids_once_and_a_status_stops_the_request() {
    let lookup = Lookup::start().await;
    let (request, notice) = lookup.asked(1).await;
    let nonce = notice.nonce();
    let by_nonce = [("x-transcend-nonce", nonce.as_str())];
    let found = json!({ "enrichedIdentifiers": { "phone": [{ "value": "+15555550144" }] } });
    let (status, answer) = lookup.answer(&by_nonce, found).await;
    assert_eq!((status, answer.as_str()), (200, r#"{"success":true}"#));
    assert_eq!(lookup.story.status_of(request).await, "COMPILING");
    let (status, answer) = lookup.answer(&by_nonce, json!({})).await;
    assert_eq!(status, 409);
    assert!(answer.contains("Cannot update a resolved RequestEnricher"), "{answer}");

    let (request, _) = lookup.asked(2).await;
    let upper = request.to_string().to_uppercase();
    let by_ids = [
        ("x-transcend-request-id", upper.as_str()),
        ("x-transcend-enricher-id", lookup.enricher.as_str()),
    ];
    assert_eq!(
        lookup.answer(&by_ids, json!({})).await.0,
        200,
        "an empty object resolves it"
    );
    assert_eq!(lookup.story.status_of(request).await, "COMPILING");
    let (status, answer) = lookup.answer(&by_ids, json!({})).await;
    assert_eq!(status, 409);
    assert!(answer.contains("Cannot update a resolved RequestEnricher"), "{answer}");

    for (person, end) in [(3, "CANCELED"), (4, "ON_HOLD")] {
        let (request, notice) = lookup.asked(person).await;
        let nonce = notice.nonce();
        let by_nonce = [("x-transcend-nonce", nonce.as_str())];
        assert_eq!(lookup.answer(&by_nonce, json!({ "status": end })).await.0, 200);
        assert_eq!(lookup.story.status_of(request).await, end);
    }
    assert_eq!(lookup.answer(&[], json!({})).await.0, 400, "neither nonce nor ids");
}

#[tokio::test]
async fn line_23_an_empty_answer_to_a_preflight_is_waited_upon_and_one_that_cancels_cancels() {
    let lookup = Lookup::start().await;
    let (request, notice) = lookup.asked(1).await;
    assert_eq!(notice.header("content-length").unwrap(), notice.body.len().to_string());
    assert_eq!(lookup.check(request).await, "WAITING");
    assert_eq!(lookup.story.status_of(request).await, "ENRICHING");
    lookup.receiver.answers(says(&json!({ "status": "CANCELED" })));
    let request = lookup.submitted(2).await;
    assert_eq!(lookup.check(request).await, "RESOLVED");
    assert_eq!(lookup.story.status_of(request).await, "CANCELED");
}

#[tokio::test]
async fn line_26_nobody_is_written_to_about_a_silent_request_whatever_becomes_of_it() {
    let postbox = Postbox::start().await;
    let mail = MailConfig::new(&postbox.url(), "Shop <privacy@shop.example.test>").unwrap();
    let mailing = ServerConfig {
        mail: Some(mail),
        ..config()
    };
    let story = Story::with(mailing, &["profile"]).await;
    let lookup = Receiver::start().await;
    add_lookup(&story, &lookup).await;
    let ask = async |document: &str| manage(&story.server, &story.admin_key, document).await;
    let submit = async |action: Action, core: &str, further: Value| {
        let email = format!("{core}@example.test");
        let request = story.submit_with(action, core, &email, further).await;
        story.server.run_jobs_until_idle().await;
        request
    };
    let deed = async |name: &str, request: DsrId| {
        let input = format!("input: {{ requestId: \"{request}\" }}");
        ask(&format!("mutation {{ {name}({input}) {{ clientMutationId }} }}")).await;
        story.server.run_jobs_until_idle().await;
    };
    lookup.answers(says(&json!({ "enrichedIdentifiers": {} })));

    // Delivered, with more time on the way, and over.
    let delivered = submit(Action::Access, "one", json!({})).await;
    deed("notifyAdditionalTime", delivered).await;
    let nonce = story.receiver.take_one().nonce();
    let data = json!({ "profiles": [{ "profileData": { "profile": 1 } }], "status": "READY" });
    body_of(story.post_data(&nonce, data).await, 200).await;
    deed("approveRequest", delivered).await;
    assert_eq!(story.status_of(delivered).await, "DOWNLOADABLE");
    // Canceled by an administrator, and by an enricher.
    let canceled = submit(Action::Access, "two", json!({})).await;
    deed("cancelRequest", canceled).await;
    lookup.answers(says(&json!({ "status": "CANCELED" })));
    let stopped = submit(Action::Access, "three", json!({})).await;
    // Waiting for somebody to verify the address, who is not asked to.
    lookup.answers(status(204));
    let subject = json!({ "coreIdentifier": "four", "email": "four@example.test", "emailIsVerified": false });
    let unverified = submit(Action::Erasure, "four", json!({ "subject": subject })).await;
    // Erased.
    story.receiver.answers(status(204));
    let erased = submit(Action::Erasure, "five", json!({})).await;
    deed("approveRequest", erased).await;
    for (request, end) in [
        (canceled, "CANCELED"),
        (stopped, "CANCELED"),
        (unverified, "ENRICHING"),
        (erased, "COMPLETED"),
    ] {
        assert_eq!(story.status_of(request).await, end);
    }
    for _ in 0..20 {
        story.server.pass(DAY).await;
    }
    assert_eq!(story.status_of(delivered).await, "COMPLETED");
    assert_eq!(postbox.connections(), 0);
    // The others are written to.
    let told = submit(Action::Access, "six", json!({ "isSilent": false })).await;
    deed("cancelRequest", told).await;
    assert_eq!(postbox.take().len(), 2, "a receipt, and that it was canceled");
}
