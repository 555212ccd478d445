//! Verifying an address by mail: links, codes, reminders, and what follows when nobody answers.

use antumbra_server::{ServerConfig, config::MailConfig};
use reqwest::Method;

use super::*;
use crate::support::{
    postbox::{Postbox, Posted},
    story::config,
};

const MINUTE: Duration = Duration::from_secs(60);

/// A server that sends mail, and the requests of people whose addresses nobody vouches for.
struct Mailing {
    story: Story,
    postbox: Postbox,
}

impl Mailing {
    async fn start() -> Mailing {
        let postbox = Postbox::start().await;
        let mail = MailConfig::new(&postbox.url(), "Shop <privacy@shop.example.test>").unwrap();
        let config = ServerConfig {
            mail: Some(mail),
            ..config()
        };
        let story = Story::with(config, &["profile"]).await;
        Mailing { story, postbox }
    }

    async fn submit(&self, number: u32) -> DsrId {
        let email = format!("p{number}@example.test");
        let subject = json!({ "coreIdentifier": format!("acct_{number}"), "email": email, "emailIsVerified": false });
        let further = json!({ "isSilent": false, "skipSendingReceipt": true, "locale": "en", "subject": subject });
        let request = self.story.submit_with(Action::Access, "", "", further).await;
        self.story.server.run_jobs_until_idle().await;
        request
    }

    async fn ask(&self, document: &str) -> Value {
        manage(&self.story.server, &self.story.admin_key, document).await
    }

    async fn status(&self, request: DsrId) -> &'static str {
        self.story.status_of(request).await
    }

    /// The only check of a request: its status, and why it does not go on.
    async fn check(&self, request: DsrId) -> (String, Value) {
        let listed = format!(
            "{{ requestEnrichers(input: {{requestId: \"{request}\"}}) {{ nodes {{ status error enricher {{ title type }} }} totalCount }} }}"
        );
        let listed = self.ask(&listed).await;
        assert_eq!(listed["totalCount"], 1, "{listed}");
        let node = &listed["nodes"][0];
        assert_eq!(node["enricher"]["type"], "email");
        (node["status"].as_str().unwrap().to_owned(), node["error"].clone())
    }

    /// Status and text of a page.
    async fn page(&self, method: Method, path: &str) -> (u16, String) {
        let server = &self.story.server;
        let mut call = server.client().request(method.clone(), server.url(path));
        if method == Method::POST {
            call = call.header("content-type", "application/x-www-form-urlencoded");
        }
        let answer = call.send().await.unwrap();
        assert!(
            answer.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/html")
        );
        assert_eq!(answer.headers()["cache-control"], "no-store");
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Status and text of an answer to a code, or to a wish for another message.
    async fn say(&self, body: Value) -> (u16, Value) {
        let server = &self.story.server;
        let call = server.client().post(server.url("/v1/verify-identifier"));
        let answer = call.json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        let mut body: Value = answer.json().await.unwrap();
        if let Some(body) = body.as_object_mut() {
            body.retain(|name, _| name != "requestId" && name != "instance");
        }
        (status, body)
    }
}

/// The path of the link, and the code.
fn read(mail: &Posted) -> (String, String) {
    let text = mail.parts().remove(0);
    let after = |words: &str| {
        let (_, rest) = text
            .split_once(words)
            .unwrap_or_else(|| panic!("{words} is not in {text}"));
        rest.split_whitespace().next().unwrap().to_owned()
    };
    let link = after("Open this link to confirm: ");
    let (_, path) = link.split_once("/verify/").unwrap();
    (format!("/verify/{path}"), after("Or enter this code: "))
}

#[tokio::test]
async fn a_link_verifies_by_the_button_of_its_page_and_not_by_being_followed() {
    let mailing = Mailing::start().await;
    let request = mailing.submit(1).await;
    assert_eq!(mailing.status(request).await, "ENRICHING");
    assert_eq!(mailing.check(request).await, ("WAITING".to_owned(), Value::Null));
    let mail = mailing.postbox.take_one();
    assert_eq!(mail.to, ["p1@example.test"]);
    let (link, code) = read(&mail);
    assert!(
        code.len() == 6 && code.bytes().all(|digit| digit.is_ascii_digit()),
        "{code}"
    );

    for _ in 0..3 {
        let (status, page) = mailing.page(Method::GET, &link).await;
        assert_eq!(status, 200);
        assert!(page.contains("method=\"post\"") && !page.contains("p1@"), "{page}");
    }
    mailing.story.server.run_jobs_until_idle().await;
    assert_eq!(mailing.status(request).await, "ENRICHING");

    let (status, done) = mailing.page(Method::POST, &link).await;
    assert!(status == 200 && done.contains("is confirmed"), "{done}");
    mailing.story.server.run_jobs_until_idle().await;
    assert_eq!(mailing.status(request).await, "COMPILING");
    assert_eq!(mailing.check(request).await.0, "RESOLVED");
    assert_eq!(
        mailing.story.receiver.take().len(),
        1,
        "the silo is asked about the address"
    );

    // Once more does no harm, and shows nothing new.
    assert_eq!(mailing.page(Method::POST, &link).await, (200, done.clone()));
    assert_eq!(mailing.page(Method::GET, &link).await, (200, done));
    let mut other = link.clone().into_bytes();
    let last = other.last_mut().unwrap();
    *last = if *last == b'A' { b'B' } else { b'A' };
    let other = String::from_utf8(other).unwrap();
    let (status, unknown) = mailing.page(Method::POST, &other).await;
    assert_eq!(status, 404);
    for path in [
        other.as_str(),
        "/verify/x",
        "/verify/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ] {
        assert_eq!(mailing.page(Method::GET, path).await, (404, unknown.clone()), "{path}");
    }
}

#[tokio::test]
async fn a_code_is_good_for_five_tries_and_strangers_learn_nothing() {
    let mailing = Mailing::start().await;
    let request = mailing.submit(1).await;
    let (_, code) = read(&mailing.postbox.take_one());
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let nobody = "0196b3a0-0000-7000-8000-00000000dead";
    let refused = mailing.say(json!({ "requestId": request, "code": wrong })).await;
    assert_eq!(refused.0, 400);
    assert_eq!(mailing.say(json!({ "requestId": nobody, "code": code })).await, refused);
    assert_eq!(
        mailing
            .say(json!({ "requestId": request, "code": code, "organization": "elsewhere" }))
            .await,
        refused
    );
    for _ in 0..4 {
        assert_eq!(
            mailing.say(json!({ "requestId": request, "code": wrong })).await,
            refused
        );
    }
    assert_eq!(
        mailing.say(json!({ "requestId": request, "code": code })).await,
        refused,
        "it was tried too often"
    );

    let granted = (200, json!({ "success": true }));
    mailing.story.server.pass(MINUTE).await;
    for (id, email) in [
        (nobody, "p1@example.test"),
        (&*request.to_string(), "somebody-else@example.test"),
    ] {
        assert_eq!(mailing.say(json!({ "requestId": id, "email": email })).await, granted);
    }
    mailing.story.server.run_jobs_until_idle().await;
    assert!(mailing.postbox.take().is_empty());
    for _ in 0..2 {
        let wish = json!({ "requestId": request, "email": "P1@example.test", "organization": "organization" });
        assert_eq!(
            mailing.say(wish).await,
            granted,
            "the second comes too soon, and is answered alike"
        );
    }
    mailing.story.server.run_jobs_until_idle().await;
    let (_, second) = read(&mailing.postbox.take_one());
    assert_eq!(
        mailing.say(json!({ "requestId": request, "code": second })).await,
        granted
    );
    mailing.story.server.run_jobs_until_idle().await;
    assert_eq!(mailing.status(request).await, "COMPILING");
    assert_eq!(
        mailing.say(json!({ "requestId": request, "code": second })).await,
        refused,
        "it works once"
    );

    mailing.story.server.clock.advance(MINUTE);
    let mut tries = 0;
    while mailing.say(json!({ "requestId": nobody, "code": "123456" })).await.0 != 429 {
        tries += 1;
        assert!(tries <= 21, "a block of addresses may guess as often as it likes");
    }
}

#[tokio::test]
async fn who_does_not_verify_an_address_is_reminded_three_times_and_then_goes_no_further() {
    let mailing = Mailing::start().await;
    let request = mailing.submit(1).await;
    let (link, _) = read(&mailing.postbox.take_one());
    for day in 1..7 {
        mailing.story.server.pass(DAY).await;
        let reminders = mailing.postbox.take();
        assert_eq!(reminders.len(), usize::from([1, 3, 5].contains(&day)), "day {day}");
        assert!(
            reminders.iter().all(|mail| read(mail).0 == link),
            "the link stays the same"
        );
    }
    assert_eq!(mailing.status(request).await, "ENRICHING");
    mailing.story.server.pass(DAY).await;
    assert_eq!(mailing.status(request).await, "FAILED_VERIFICATION");
    assert_eq!(mailing.postbox.take().len(), 1, "and is told so");
    assert_eq!(mailing.page(Method::POST, &link).await.0, 404);

    let settings = "expirationDuration: \"7200000\", reminderDurations: [\"3600000\"]";
    let made = format!(
        "createEnricher(input: {{title: \"Ours\", type: email, inputIdentifier: \"email\", {settings}}}) {{ enricher {{ id }} }}"
    );
    let made = mailing.ask(&format!("mutation {{ {made} }}")).await;
    // Both messages have templates of the enricher's own.
    for (title, kind) in [("Ours", "VERIFICATION"), ("Too late", "CANCELED")] {
        let words =
            format!("title: \"{title}\", subject: \"{title}: {{{{requestId}}}}\", template: \"\", kind: {kind}");
        mailing
            .ask(&format!(
                "mutation {{ createTemplate(input: {{{words}}}) {{ template {{ id }} }} }}"
            ))
            .await;
    }
    let change = format!(
        "updateEnricher(input: {{id: {}, verificationTemplate: \"Ours\", endTemplate: \"Too late\", transitionRequestStatus: CANCELED}}) {{ clientMutationId }}",
        made["enricher"]["id"]
    );
    mailing.ask(&format!("mutation {{ {change} }}")).await;
    mailing.submit(9).await;
    let asked = mailing.postbox.take_one().header("Subject").unwrap();
    assert!(asked.starts_with("Ours: "), "{asked}");
    mailing.story.server.pass(2 * HOUR).await;
    let told = mailing.postbox.take().pop().unwrap().header("Subject").unwrap();
    assert!(told.starts_with("Too late: "), "{told}");
    for (number, rule, end) in [(2, "CANCELED", "CANCELED"), (3, "ON_HOLD", "ON_HOLD")] {
        let change = format!(
            "updateEnricher(input: {{id: {}, transitionRequestStatus: {rule}}}) {{ clientMutationId }}",
            made["enricher"]["id"]
        );
        mailing.ask(&format!("mutation {{ {change} }}")).await;
        let request = mailing.submit(number).await;
        mailing.story.server.pass(HOUR).await;
        assert_eq!(mailing.postbox.take().len(), 2, "the message and a reminder");
        mailing.story.server.pass(HOUR).await;
        assert_eq!(mailing.status(request).await, end);
        let (status, error) = mailing.check(request).await;
        assert_eq!(
            (status.as_str(), error.as_str()),
            ("ERROR", Some("The identifier was not verified in time"))
        );
        mailing.postbox.take();
    }
}

#[tokio::test]
async fn a_server_that_sends_no_mail_leaves_an_unverified_address_to_a_person() {
    let desk = Desk::start().await;
    let subject = json!({ "coreIdentifier": "acct_1", "email": "p1@example.test", "emailIsVerified": false });
    let further = json!({ "isSilent": false, "subject": subject });
    let request = desk.story.submit_with(Action::Access, "", "", further).await;
    desk.idle().await;
    let nodes = desk.nodes(request).await;
    let check = nodes
        .iter()
        .find(|node| node["enricher"]["title"] == "Email Verification")
        .unwrap();
    assert_eq!(check["status"], "ACTION_REQUIRED");
    assert_eq!(check["error"], "This server is not configured to send mail");
}

#[tokio::test]
async fn behind_a_proxy_each_caller_has_tries_of_its_own() {
    let mut config = crate::support::story::config();
    config.limits.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
    let server = crate::support::TestServer::with(config).await;
    let guess = async |from: &str| {
        let call = server.client().post(server.url("/v1/verify-identifier"));
        let call = call.header("x-forwarded-for", format!("192.0.2.1, {from}"));
        let body = json!({ "requestId": "0f8b4a51-77b1-4f0e-8d50-6a4b2f3c1d01", "code": "123456" });
        call.json(&body).send().await.unwrap().status().as_u16()
    };
    let mut tries = 0;
    while guess("198.51.100.7").await != 429 {
        tries += 1;
        assert!(tries <= 21);
    }
    assert_ne!(guess("203.0.113.9").await, 429);
    assert_eq!(guess("198.51.100.8").await, 429, "neighbours share");
}
