//! Messages seen from outside: what a data subject's mail server gets, and what is seen of what it does not get.

mod way;

use std::{num::NonZeroU32, time::Duration};

use antumbra_server::{
    ServerConfig,
    config::MailConfig,
    dsr::{self, DsrEvent, DsrId, PreflightEnd},
    messages,
    organization::{Action, MessageKind},
};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    CANARY, TestServer,
    manage::{manage, manage_refused},
    postbox::{Answer, Postbox},
    story::{CORE, EMAIL, Story, config},
};

mod undelivered;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A server that sends its mail to `postbox`, changed a little.
async fn story(postbox: &Postbox, change: impl FnOnce(&mut MailConfig)) -> Story {
    let mut mail = MailConfig::new(&postbox.url(), "Fish & Chips <privacy@shop.example.test>").unwrap();
    change(&mut mail);
    let config = ServerConfig {
        mail: Some(mail),
        ..config()
    };
    Story::with(config, &["profile"]).await
}

impl Story {
    /// Submits a request whose data subject gets messages.
    async fn submit_told(&self, action: Action, further: Value) -> DsrId {
        let mut body = json!({ "isSilent": false, "locale": "en" });
        body.as_object_mut()
            .unwrap()
            .extend(further.as_object().unwrap().clone());
        let id = self.submit_with(action, CORE, EMAIL, body).await;
        self.server.run_jobs_until_idle().await;
        id
    }

    async fn manage(&self, document: &str) -> Value {
        let answer = manage(&self.server, &self.admin_key, document).await;
        self.server.run_jobs_until_idle().await;
        answer
    }

    /// Kind, status and reason of each message about a request.
    async fn messages_of(&self, id: DsrId) -> Vec<String> {
        let document = format!("{{ messages(requestId: \"{id}\") {{ nodes {{ kind status reason }} }} }}");
        let listed = manage(&self.server, &self.admin_key, &document).await;
        let line = |node: &Value| {
            let word = |name: &str| node[name].as_str().map(str::to_owned);
            [word("kind"), word("status"), word("reason")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
        };
        listed["nodes"].as_array().unwrap().iter().map(line).collect()
    }

    async fn count(&self, status: &str) -> i64 {
        let document = format!("{{ messages(status: {status}) {{ totalCount nodes {{ id }} }} }}");
        let listed = manage(&self.server, &self.admin_key, &document).await;
        let count = listed["totalCount"].as_i64().unwrap();
        assert_eq!(listed["nodes"].as_array().unwrap().len() as i64, count);
        count
    }

    async fn retry_all(&self, status: &str) -> Value {
        let document = format!("{{ messages(status: {status}) {{ nodes {{ id }} }} }}");
        let listed = manage(&self.server, &self.admin_key, &document).await;
        let ids: Vec<String> = listed["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["id"].to_string())
            .collect();
        let document = format!(
            "mutation {{ retryMessages(input: {{ ids: [{}] }}) {{ count }} }}",
            ids.join(", ")
        );
        self.manage(&document).await["count"].clone()
    }

    /// What happens to the request, by the state machine itself.
    async fn happens(&self, id: DsrId, event: DsrEvent) {
        self.administrate(async |tx, deed| dsr::advance(tx, deed, id, event).await)
            .await;
        self.server.run_jobs_until_idle().await;
    }

    /// The silo reports what it found.
    async fn report(&self) {
        let nonce = self.receiver.take_one().nonce();
        let body = json!({ "profiles": [{ "profileId": EMAIL, "profileData": { "profile": { "a": 1 } } }] });
        assert_eq!(self.post_data(&nonce, body).await.status(), StatusCode::OK);
        self.server.run_jobs_until_idle().await;
    }
}

/// Whom mail servers say a message is for, and its subject line.
fn seen(postbox: &Postbox) -> Vec<(String, String)> {
    let taken = postbox.take().into_iter();
    taken
        .map(|posted| (posted.to.join(" "), posted.header("Subject").unwrap()))
        .collect()
}

fn to_subject(subject: &str) -> Vec<(String, String)> {
    vec![(EMAIL.to_owned(), subject.to_owned())]
}

#[tokio::test]
async fn a_message_is_written_as_mail_programs_expect_and_copied_only_where_it_opens_nothing() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |mail| mail.reply_to = "desk@shop.example.test".parse().ok()).await;
    let copied = json!({ "replyToEmailAddresses": ["privacy-team@example.test"] });
    let id = story.submit_told(Action::Access, copied).await;
    let receipt = postbox.take_one();
    assert_eq!(receipt.from, "privacy@shop.example.test");
    assert_eq!(receipt.to, [EMAIL, "privacy-team@example.test"]);
    let header = |name: &str| {
        receipt
            .header(name)
            .unwrap_or_else(|| panic!("{name}: {}", receipt.content))
    };
    assert_eq!(
        header("From"),
        "=?utf-8?b?RmlzaCAmIENoaXBz?= <privacy@shop.example.test>"
    );
    assert_eq!(header("To"), EMAIL);
    assert_eq!(header("Cc"), "privacy-team@example.test");
    assert_eq!(header("Reply-To"), "desk@shop.example.test, privacy-team@example.test");
    assert_eq!(header("Subject"), "We have received your privacy request");
    assert_eq!(header("Date"), "Mon, 02 Mar 2026 10:00:00 +0000");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert_eq!(header("MIME-Version"), "1.0");
    assert!(header("Content-Type").starts_with("multipart/alternative"));
    let listed = story
        .manage(&format!(
            "{{ messages(requestId: \"{id}\") {{ nodes {{ id sentAt }} }} }}"
        ))
        .await;
    let message = listed["nodes"][0]["id"].as_str().unwrap();
    assert_eq!(header("Message-ID"), format!("<{message}@shop.example.test>"));
    assert_eq!(listed["nodes"][0]["sentAt"], "2026-03-02T10:00:00.000Z");
    let [text, html] = &receipt.parts()[..2] else {
        panic!("two parts")
    };
    let told = format!("Reference: {id}\nYou will have our answer by 16 April 2026.\n");
    assert!(
        text.contains(&told) && text.contains("a copy of your personal data"),
        "{text}"
    );
    assert!(html.contains("<html lang=\"en\"") && html.contains(&id.to_string()));

    story.report().await;
    let approve = format!("mutation {{ approveRequest(input: {{ requestId: \"{id}\" }}) {{ request {{ id }} }} }}");
    story.manage(&approve).await;
    let report = postbox.take_one();
    assert_eq!(report.to, [EMAIL]);
    assert_eq!(
        report.header("Subject").unwrap(),
        "The answer to your privacy request is ready"
    );
    assert_eq!(report.header("Cc"), None);
    assert_eq!(
        report.header("Reply-To").unwrap(),
        "desk@shop.example.test, privacy-team@example.test"
    );
    assert!(report.parts()[0].contains("until 16 March 2026"), "{}", report.content);
    assert_eq!(story.messages_of(id).await, ["RECEIPT SENT", "REPORT_READY SENT"]);
    // Nothing is said when the time to look is over: it was said before.
    story.server.pass(DAY * 15).await;
    assert!(seen(&postbox).is_empty());
}

#[tokio::test]
async fn every_change_that_a_data_subject_is_told_of_is_told_once() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;

    // An erasure shows what it found, waits, and ends.
    let actions = manage(
        &story.server,
        &story.admin_key,
        "{ actions(first: 50) { nodes { id type } } }",
    )
    .await;
    let mut all = actions["nodes"].as_array().unwrap().iter();
    let erasure = all.find(|node| node["type"] == "ERASURE").unwrap()["id"].to_string();
    let delay = format!("id: {erasure}, requiresReview: false, delay: {{ time: 10, previewAction: ACCESS }}");
    story
        .manage(&format!(
            "mutation {{ updateAction(input: {{ {delay} }}) {{ clientMutationId }} }}"
        ))
        .await;
    let erased = story.submit_told(Action::Erasure, json!({})).await;
    assert_eq!(seen(&postbox), to_subject("We have received your privacy request"));
    story.report().await;
    let preview = postbox.take_one();
    assert_eq!(
        preview.header("Subject").unwrap(),
        "Before we go ahead with your privacy request"
    );
    assert!(
        preview.parts()[0].contains("We go ahead on 12 March 2026."),
        "{}",
        preview.content
    );
    story.server.pass(DAY * 10).await;
    assert!(seen(&postbox).is_empty());
    let nonce = story.receiver.take_one().nonce();
    assert_eq!(story.put_report(&nonce, json!({})).await.status(), StatusCode::OK);
    story.server.run_jobs_until_idle().await;
    assert_eq!(seen(&postbox), to_subject("Your privacy request is done"));
    assert_eq!(story.status_of(erased).await, "SECONDARY_COMPLETED");

    // Withdrawn while it can be, also from hold, which by itself tells nobody anything.
    let withdrawn = story
        .submit_told(Action::Erasure, json!({ "skipSendingReceipt": true }))
        .await;
    story.report().await;
    assert_eq!(
        seen(&postbox),
        to_subject("Before we go ahead with your privacy request")
    );
    story.happens(withdrawn, DsrEvent::Held).await;
    assert!(seen(&postbox).is_empty());
    story.happens(withdrawn, DsrEvent::Withdrawn).await;
    assert_eq!(seen(&postbox), to_subject("Your privacy request was withdrawn"));

    // Nothing to look at.
    let nothing = story.submit_told(Action::ContactOptOut, json!({})).await;
    assert_eq!(seen(&postbox), to_subject("We have received your privacy request"));
    let _ = story.receiver.take();
    story.happens(nothing, DsrEvent::RunsFinished { any_data: false }).await;
    assert!(seen(&postbox).is_empty());
    story.happens(nothing, DsrEvent::Approved).await;
    assert_eq!(seen(&postbox), to_subject("Your privacy request is done"));

    // Stopped by an administrator, in words of their own.
    let stopped = story
        .submit_told(Action::Access, json!({ "skipSendingReceipt": true }))
        .await;
    assert!(seen(&postbox).is_empty());
    let cancel = |words: &str| {
        format!(
            "mutation {{ cancelRequest(input: {{ requestId: \"{stopped}\", {words} }}) {{ request {{ status }} }} }}"
        )
    };
    let refused = manage_refused(
        &story.server,
        &story.admin_key,
        &cancel("template: \"Dear {{firstName}}\""),
    )
    .await;
    assert_eq!(
        refused,
        "Client error: template: has {{ in line 1, column 6, that begins no known placeholder; known here: \
         organizationName, requestId, requestType, requestDate"
    );
    assert_eq!(story.status_of(stopped).await, "COMPILING");
    let words = "subject: \"Re: Request Canceled\", template: \"<p>Dear you,</p><p>{{requestId}} is not ours.</p>\"";
    story.manage(&cancel(words)).await;
    let canceled = postbox.take_one();
    assert_eq!(canceled.header("Subject").unwrap(), "Re: Request Canceled");
    assert!(
        canceled.parts()[0].contains(&format!("{stopped} is not ours.")),
        "{}",
        canceled.content
    );
    let _ = story.receiver.take();

    // Ended by a check, in the words of a template it names.
    let words = "title: \"Not a resident\", subject: \"Elsewhere\", template: \"You live elsewhere.\"";
    story
        .manage(&format!(
            "mutation {{ createTemplate(input: {{ {words} }}) {{ template {{ id }} }} }}"
        ))
        .await;
    for (end, kind, subject) in [
        (PreflightEnd::Canceled, MessageKind::Canceled, "Elsewhere"),
        (
            PreflightEnd::FailedVerification,
            MessageKind::Denied,
            "We could not confirm your privacy request",
        ),
    ] {
        let further = json!({ "isSilent": false, "skipSendingReceipt": true, "locale": "en" });
        let id = story.submit_with(Action::Access, CORE, EMAIL, further).await;
        let keys = story
            .server
            .app()
            .keys
            .organization(story.organization())
            .await
            .unwrap();
        let ended = async |tx: &mut antumbra_store::Tx, deed: &dsr::Deed<'_>| {
            let head = dsr::advance(tx, deed, id, DsrEvent::PreflightEnded(end)).await?;
            let words = dsr::Words {
                template_title: (end == PreflightEnd::Canceled).then(|| "Not a resident".to_owned()),
                ..dsr::Words::default()
            };
            dsr::choose_words(tx, &keys, &head, kind, &words).await
        };
        story.administrate(ended).await;
        story.server.run_jobs_until_idle().await;
        assert_eq!(seen(&postbox), to_subject(subject));
    }

    // More time, in the language of the data subject.
    let late = story.submit_told(Action::Access, json!({ "locale": "de-AT" })).await;
    assert_eq!(seen(&postbox), to_subject("Wir haben Ihre Datenschutzanfrage erhalten"));
    let keys = story
        .server
        .app()
        .keys
        .organization(story.organization())
        .await
        .unwrap();
    let tell = async |tx: &mut antumbra_store::Tx, deed: &dsr::Deed<'_>| {
        let head = dsr::get_head(tx, deed.organization, late).await?;
        dsr::tell(
            tx,
            &keys,
            deed,
            &head,
            MessageKind::AdditionalTime,
            &dsr::Words::default(),
        )
        .await
    };
    story.administrate(tell).await;
    story.server.run_jobs_until_idle().await;
    let [subject] = &seen(&postbox)[..] else {
        panic!("one message")
    };
    assert!(subject.1.contains("dauert"), "{subject:?}");
    assert_eq!(story.messages_of(late).await, ["RECEIPT SENT", "ADDITIONAL_TIME SENT"]);
}

#[tokio::test]
async fn a_receipt_is_sent_as_settings_and_templates_say() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    let make = |words: &str| format!("mutation {{ createTemplate(input: {{ {words} }}) {{ template {{ id }} }} }}");
    let words =
        "title: \"Own\", subject: \"Ours {{requestId}}\", template: \"<b>Until {{dueDate}}</b>\", kind: RECEIPT";
    let own = story.manage(&make(words)).await["template"]["id"].to_string();
    let id = story.submit_told(Action::Access, json!({})).await;
    let receipt = postbox.take_one();
    assert_eq!(receipt.header("Subject").unwrap(), format!("Ours {id}"));
    assert!(
        receipt.parts()[1].contains("<b>Until 16 April 2026</b>"),
        "{}",
        receipt.content
    );
    assert!(receipt.parts()[0].starts_with("Until 16 April 2026"));

    let refused = |change: &str| {
        format!("mutation {{ updateTemplate(input: {{ id: {own}, {change} }}) {{ template {{ id }} }} }}")
    };
    for (change, why) in [
        (
            "template: \"a\\n {{reportLink}}\"",
            "has {{ in line 2, column 2, that begins no known placeholder; known here: organizationName, requestId, requestType, requestDate, dueDate",
        ),
        (
            "kind: CANCELED",
            "has {{ in line 1, column 10, that begins no known placeholder; known here: organizationName, requestId, requestType, requestDate",
        ),
        ("subject: \"a\\nBcc: x\"", "must not hold control characters"),
        ("locale: \"german\"", "must be a language such as de or pt-BR"),
    ] {
        let told = manage_refused(&story.server, &story.admin_key, &refused(change)).await;
        assert_eq!(told, format!("Client error: template `Own`: {why}"));
    }

    // For everybody but those whose language is not its own.
    story
        .manage(&refused("locale: \"de\", subject: \"Unser\", action: ERASURE"))
        .await;
    story.submit_told(Action::Erasure, json!({ "locale": "de-CH" })).await;
    assert_eq!(seen(&postbox), to_subject("Unser"));
    story.submit_told(Action::SaleOptOut, json!({ "locale": "de" })).await;
    assert_eq!(seen(&postbox), to_subject("Wir haben Ihre Datenschutzanfrage erhalten"));

    // One request names its template; another kind of request gets none at all.
    let words = "title: \"Campaign\", subject: \"Of the campaign\", template: \"Thank you.\"";
    let named = story.manage(&make(words)).await["template"]["id"].clone();
    story
        .submit_told(Action::TrackingOptOut, json!({ "emailReceiptTemplateId": named }))
        .await;
    assert_eq!(seen(&postbox), to_subject("Of the campaign"));
    let actions = manage(
        &story.server,
        &story.admin_key,
        "{ actions(first: 50) { nodes { id type } } }",
    )
    .await;
    let mut all = actions["nodes"].as_array().unwrap().iter();
    let contact = all.find(|node| node["type"] == "CONTACT_OPT_OUT").unwrap()["id"].to_string();
    let off = format!(
        "mutation {{ updateAction(input: {{ id: {contact}, sendReceiptEmail: false }}) {{ clientMutationId }} }}"
    );
    story.manage(&off).await;
    story.submit_told(Action::ContactOptOut, json!({})).await;
    story.submit_told(Action::PlaceOnLegalHold, json!({})).await;
    let imported = json!({ "completedRequestStatus": "CANCELED", "createdAt": "2026-01-02T08:15:00.000Z" });
    story.submit_told(Action::Restriction, imported).await;
    assert!(seen(&postbox).is_empty());
}

#[tokio::test]
async fn days_are_those_of_the_place_where_the_organization_is() {
    // It is ten in the morning by UTC, and still the evening before there.
    let zone = "Pacific/Pago_Pago";
    if !antumbra_server::organization::knows_zone(zone) {
        return;
    }
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    let input = format!("timeZone: \"{zone}\", name: \"Fish & Chips\"");
    story
        .manage(&format!(
            "mutation {{ updateOrganization(input: {{ {input} }}) {{ clientMutationId }} }}"
        ))
        .await;
    let id = story.submit_told(Action::Access, json!({})).await;
    let receipt = postbox.take_one().parts().remove(0);
    assert!(
        receipt.contains("Fish & Chips has received your request of 1 March 2026."),
        "{receipt}"
    );
    assert!(
        receipt.contains("You will have our answer by 15 April 2026."),
        "{receipt}"
    );
    story.report().await;
    let approve = format!("mutation {{ approveRequest(input: {{ requestId: \"{id}\" }}) {{ request {{ id }} }} }}");
    story.manage(&approve).await;
    let report = postbox.take_one().parts().remove(0);
    assert!(report.contains("It is there until 15 March 2026."), "{report}");
    let (_, link) = report.split_once("You can see it here: ").unwrap();
    let page = story
        .server
        .client()
        .get(link.lines().next().unwrap())
        .send()
        .await
        .unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("<dd>2026-03-15</dd>"), "{page}");
}

#[tokio::test]
async fn a_silent_request_sends_nothing_on_any_path_also_when_it_becomes_silent_late() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    let paths: [&[DsrEvent]; 4] = [
        &[DsrEvent::Canceled],
        &[DsrEvent::PreflightEnded(PreflightEnd::FailedVerification)],
        &[DsrEvent::PreflightEnded(PreflightEnd::Canceled)],
        &[
            DsrEvent::IdentitiesSettled,
            DsrEvent::RunsFinished { any_data: true },
            DsrEvent::Approved,
        ],
    ];
    for path in paths {
        let id = story
            .submit_with(Action::Access, CORE, EMAIL, json!({ "isSilent": true }))
            .await;
        for event in path {
            story
                .administrate(async |tx, deed| dsr::advance(tx, deed, id, *event).await)
                .await;
        }
        story.server.run_jobs_until_idle().await;
        let keys = story
            .server
            .app()
            .keys
            .organization(story.organization())
            .await
            .unwrap();
        let tell = async |tx: &mut antumbra_store::Tx, deed: &dsr::Deed<'_>| {
            let head = dsr::get_head(tx, deed.organization, id).await?;
            dsr::tell(
                tx,
                &keys,
                deed,
                &head,
                MessageKind::AdditionalTime,
                &dsr::Words::default(),
            )
            .await
        };
        story.administrate(tell).await;
        story.server.run_jobs_until_idle().await;
        assert!(story.messages_of(id).await.is_empty());
    }
    let silence = async |id: DsrId| {
        let input = format!("id: \"{id}\", isSilent: true");
        manage(
            &story.server,
            &story.admin_key,
            &format!("mutation {{ updateRequest(input: {{ {input} }}) {{ request {{ isSilent }} }} }}"),
        )
        .await
    };
    let told = json!({ "isSilent": false });

    // Before it is composed.
    let early = story.submit_with(Action::Erasure, CORE, EMAIL, told.clone()).await;
    silence(early).await;
    story.server.run_jobs_until_idle().await;
    assert!(story.messages_of(early).await.is_empty());
    assert_eq!(postbox.connections(), 0);

    // While it waits to be tried again, and after it has failed.
    postbox.at("RCPT", Answer::Say("451 4.3.0 later".into()));
    let late = story.submit_told(Action::SaleOptOut, json!({})).await;
    postbox.behaves();
    postbox.at("RCPT", Answer::Say("550 5.1.1 no such person".into()));
    let failed = story.submit_told(Action::TrackingOptOut, json!({})).await;
    assert_eq!(
        story.messages_of(late).await,
        ["RECEIPT QUEUED the mail server put the recipient off (451 4.3.0)"]
    );
    assert_eq!(
        story.messages_of(failed).await,
        ["RECEIPT FAILED the mail server refused the recipient (550 5.1.1)"]
    );
    postbox.behaves();
    silence(late).await;
    silence(failed).await;
    let tried = postbox.connections();
    story.server.pass(DAY).await;
    assert!(story.messages_of(late).await[0].starts_with("RECEIPT SUPPRESSED"));
    assert!(story.messages_of(failed).await[0].starts_with("RECEIPT SUPPRESSED"));
    assert_eq!((story.count("FAILED").await, story.count("QUEUED").await), (0, 0));
    assert_eq!((postbox.connections(), postbox.take().len()), (tried, 0));
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_or_seen_to_have_failed() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |mail| mail.timeout = Duration::from_millis(300)).await;

    // Refused for good: failed at once, listed, counted, and sent when somebody wants it.
    postbox.at("RCPT", Answer::Say(format!("550 5.1.1 <{EMAIL}> is not here")));
    let refused = story.submit_told(Action::Access, json!({})).await;
    assert_eq!(
        story.messages_of(refused).await,
        ["RECEIPT FAILED the mail server refused the recipient (550 5.1.1)"]
    );
    assert_eq!(story.status_of(refused).await, "COMPILING");
    assert_eq!(story.count("FAILED").await, 1);
    postbox.behaves();
    story.server.pass(DAY).await;
    assert!(postbox.take().is_empty());
    assert_eq!(story.retry_all("FAILED").await, 1);
    assert_eq!(seen(&postbox).len(), 1);
    assert_eq!(
        (story.count("FAILED").await, story.messages_of(refused).await),
        (0, vec!["RECEIPT SENT".to_owned()])
    );
    let again = format!(
        "mutation {{ retryMessages(input: {{ ids: [\"{}\"] }}) {{ count }} }}",
        uuid::Uuid::from_u128(9)
    );
    let nobody = manage_refused(&story.server, &story.admin_key, &again).await;
    assert_eq!(
        nobody,
        "Client error: There is no such message that waits to be tried again"
    );

    // Put off in every way there is: each is tried again, and what comes through at last is sent once.
    let ways = [
        (
            "MAIL",
            Answer::Say("451 busy".into()),
            "the mail server put the sender off (451)",
        ),
        (
            "DATA",
            Answer::Say("452 4.2.2 full".into()),
            "the mail server put the message off (452 4.2.2)",
        ),
        (
            "RCPT",
            Answer::HangUp,
            "the conversation with the mail server broke off",
        ),
        (
            "EHLO",
            Answer::Say("554 not you".into()),
            "the mail server could not be reached (554)",
        ),
        ("DATA", Answer::Stall, "the mail server did not answer in time"),
    ];
    let actions = [
        Action::Erasure,
        Action::SaleOptOut,
        Action::TrackingOptOut,
        Action::ContactOptOut,
        Action::Restriction,
    ];
    for ((line, answer, why), action) in ways.into_iter().zip(actions) {
        postbox.at(line, answer);
        let id = story.submit_told(action, json!({})).await;
        assert_eq!(story.messages_of(id).await, [format!("RECEIPT QUEUED {why}")]);
        let failing = manage(
            &story.server,
            &story.admin_key,
            "{ failingJobs { nodes { kind reason } } }",
        )
        .await;
        assert_eq!(failing["nodes"], json!([{ "kind": "messages.send", "reason": why }]));
        postbox.behaves();
        story.server.pass(MINUTE * 2).await;
        assert_eq!(story.messages_of(id).await, ["RECEIPT SENT"]);
        assert_eq!(postbox.take().len(), 1);
    }

    // For ever: failed in the end, after days.
    postbox.at("RCPT", Answer::Say("451 4.7.1 later".into()));
    let hopeless = story.submit_told(Action::CustomOptOut, json!({})).await;
    for _ in 0..10 {
        assert!(story.messages_of(hopeless).await[0].starts_with("RECEIPT QUEUED"));
        story.server.pass(DAY + DAY / 5).await;
    }
    assert_eq!(
        story.messages_of(hopeless).await,
        ["RECEIPT FAILED the mail server put the recipient off (451 4.7.1)"]
    );
    postbox.behaves();

    // A copy that is refused does not keep the message from the data subject.
    postbox.at("RCPT TO:<COPY@", Answer::Say("550 5.1.1 no".into()));
    let copied = json!({ "replyToEmailAddresses": ["copy@example.test", "other@example.test"] });
    let id = story.submit_told(Action::Rectification, copied).await;
    assert_eq!(postbox.take_one().to, [EMAIL, "other@example.test"]);
    let document = format!("{{ messages(requestId: \"{id}\") {{ nodes {{ status copiesRefused communication }} }} }}");
    let told = manage(&story.server, &story.admin_key, &document).await;
    assert_eq!(
        told["nodes"],
        json!([{ "status": "SENT", "copiesRefused": 1, "communication": "RECEIPT_SENT" }])
    );
}

#[tokio::test]
async fn a_message_that_was_taken_without_our_learning_of_it_is_sent_once_more_with_the_same_id() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    postbox.at("DATA", Answer::TakeAndHangUp);
    let id = story.submit_told(Action::Access, json!({})).await;
    assert_eq!(
        story.messages_of(id).await,
        ["RECEIPT QUEUED the conversation with the mail server broke off"]
    );
    postbox.behaves();
    story.server.pass(MINUTE * 2).await;
    let [first, second] = &postbox.take()[..] else {
        panic!("two messages")
    };
    assert_eq!(first.content, second.content);
    assert_eq!(story.messages_of(id).await, ["RECEIPT SENT"]);
    story.server.pass(DAY).await;
    assert!(postbox.take().is_empty());
}

#[tokio::test]
async fn messages_of_a_time_without_a_mail_server_are_sent_once_there_is_one() {
    let postbox = Postbox::start().await;
    let mut story = Story::with_data_points(&["profile"]).await;
    let id = story.submit_told(Action::Access, json!({})).await;
    assert_eq!(story.count("NOT_SENT").await, 1);
    let mail = MailConfig::new(&postbox.url(), "privacy@shop.example.test").unwrap();
    story.server.reconfigure(|config| config.mail = Some(mail)).await;
    assert_eq!(story.retry_all("NOT_SENT").await, 1);
    assert_eq!(story.messages_of(id).await, ["RECEIPT SENT"]);
    assert_eq!(seen(&postbox), to_subject("We have received your privacy request"));
}

#[tokio::test]
async fn the_link_in_a_message_leads_to_the_report() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    let id = story
        .submit_told(Action::Access, json!({ "skipSendingReceipt": true }))
        .await;
    story.report().await;
    let approve = format!("mutation {{ approveRequest(input: {{ requestId: \"{id}\" }}) {{ request {{ id }} }} }}");
    story.manage(&approve).await;
    let message = postbox.take_one();
    let parts = message.parts();
    let [text, html] = &parts[..2] else { panic!("two parts") };
    let (_, behind) = text.split_once("You can see it here: ").unwrap();
    let link = behind.lines().next().unwrap();
    assert!(
        html.contains(&format!("<a href=\"{link}\">{link}</a>")),
        "both parts lead to one place: {html}"
    );
    // As the data subject does, who has no key: the page, its button, the archive.
    let client = story.server.client();
    let page = client.get(link).send().await.unwrap();
    assert_eq!(page.status(), StatusCode::OK);
    let page = page.text().await.unwrap();
    let (_, form) = page.split_once("action=\"").unwrap();
    let (button, _) = form.split_once('"').unwrap();
    let call = client.post(story.server.url(button));
    let call = call
        .header("content-type", "application/x-www-form-urlencoded")
        .body("");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/zip");
    let archive = std::io::Cursor::new(answer.bytes().await.unwrap());
    let mut archive = zip::ZipArchive::new(archive).unwrap();
    let mut told = String::new();
    let paths = archive.file_names().map(|path| path.unwrap().into_owned());
    let path = paths
        .collect::<Vec<_>>()
        .into_iter()
        .find(|path| path.ends_with("profile.json"));
    let mut file = archive.by_name(&path.unwrap()).unwrap();
    std::io::Read::read_to_string(&mut file, &mut told).unwrap();
    assert_eq!(told, "{\"a\":1}");
}

#[tokio::test]
async fn a_template_that_is_removed_leaves_the_words_for_its_kind() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    let words = "title: \"Own\", subject: \"Ours\", template: \"Hello.\", kind: RECEIPT";
    let make = format!("mutation {{ createTemplate(input: {{ {words} }}) {{ template {{ id }} }} }}");
    let own = story.manage(&make).await["template"]["id"].clone();
    story.submit_told(Action::Access, json!({})).await;
    assert_eq!(seen(&postbox), to_subject("Ours"));
    let remove = format!("mutation {{ deleteTemplate(id: {own}) {{ clientMutationId }} }}");
    story.manage(&remove).await;
    story.submit_told(Action::Erasure, json!({})).await;
    assert_eq!(seen(&postbox), to_subject("We have received your privacy request"));
    let again = manage_refused(&story.server, &story.admin_key, &remove).await;
    assert!(again.contains("template"), "{again}");
}

#[tokio::test]
async fn a_mail_server_that_says_nothing_delays_nothing_else() {
    let postbox = Postbox::start().await;
    postbox.at("EHLO", Answer::Stall);
    let mut mail = MailConfig::new(&postbox.url(), "privacy@example.test").unwrap();
    mail.connections = std::num::NonZeroUsize::MIN;
    mail.per_minute = NonZeroU32::new(600);
    let config = ServerConfig {
        mail: Some(mail),
        run_jobs: antumbra_server::config::RunJobs::InBackground,
        ..config()
    };
    let story = Story::with(config, &["profile"]).await;
    for number in 0..40 {
        let core = format!("acct_{number}");
        let told = json!({ "isSilent": false });
        story
            .submit_with(Action::Access, &core, &format!("person.{number}@example.test"), told)
            .await;
    }
    let mut told = 0;
    let all_are_told = async {
        while told < 40 {
            told += story.receiver.take().len();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_are_told)
        .await
        .unwrap();
    assert_eq!(postbox.connections(), 1);
}

#[tokio::test]
async fn nothing_of_a_message_is_kept_in_the_clear_and_nothing_at_all_once_it_is_sent() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    let email = format!("{CANARY}@example.test");
    postbox.at("RCPT", Answer::Say(format!("451 {CANARY} is away")));
    let id = story
        .submit_with(Action::Access, CANARY, &email, json!({ "isSilent": false }))
        .await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.messages_of(id).await.len(), 1);
    assert_eq!(mails(&story.server).await, 1);
    crate::guards::no_leaks(&story.server).await;
    postbox.behaves();
    story.server.pass(MINUTE * 2).await;
    assert_eq!(postbox.take_one().to, [email]);
    assert_eq!(mails(&story.server).await, 0);
    let reader = &mut story.server.app().store.begin_read().await.unwrap();
    let kept = messages::list_of_request(reader, story.organization(), id)
        .await
        .unwrap();
    assert_eq!(kept[0].status, messages::MessageStatus::Sent);
}

/// How many messages wait with what they say.
async fn mails(server: &TestServer) -> usize {
    let table: antumbra_store::Table<(uuid::Uuid, uuid::Uuid), antumbra_store::Raw> =
        antumbra_store::Table::new("message_mails");
    let mut reader = server.app().store.begin_read().await.unwrap();
    reader
        .scan(&table, antumbra_store::Scan::prefix(&()))
        .await
        .unwrap()
        .len()
}
