//! Messages that do not go out: nobody may get them, or the server itself fails.

use antumbra_server::audit;

use super::*;
use crate::support::{
    rows::{put_rows, rows_of},
    story::change_silo,
};

#[tokio::test]
async fn nothing_is_sent_to_an_address_that_was_taken_out_of_the_request() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    change_silo(&story.server, story.silo, |silo| {
        silo.identity_keys = vec!["coreIdentifier".to_owned()];
    })
    .await;
    let unverified = json!({
        "skipSendingReceipt": true,
        "subject": { "coreIdentifier": CORE, "email": EMAIL, "emailIsVerified": false },
    });
    let id = story.submit_told(Action::Access, unverified).await;
    assert_eq!(
        postbox.take_one().to,
        [EMAIL],
        "they are asked whether the address is theirs"
    );
    let asked = format!("requestIdentifiers(input: {{ requestIds: [\"{id}\"] }})");
    let listed = story.manage(&format!("{{ {asked} {{ nodes {{ id }} }} }}")).await;
    let every: Vec<&str> = listed["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    let input = format!("{{ requestId: \"{id}\", requestIdentifierIds: {every:?} }}");
    story
        .manage(&format!(
            "mutation {{ removeRequestIdentifiers(input: {input}) {{ count }} }}"
        ))
        .await;
    story.report().await;
    let approve = format!("mutation {{ approveRequest(input: {{ requestId: \"{id}\" }}) {{ request {{ id }} }} }}");
    story.manage(&approve).await;

    let document = format!("{{ request(id: \"{id}\") {{ status email }} }}");
    let request = story.manage(&document).await;
    assert_eq!(request, json!({ "status": "DOWNLOADABLE", "email": null }));
    assert!(
        seen(&postbox).is_empty(),
        "whoever has that address is not the data subject"
    );
    assert_eq!(story.messages_of(id).await, ["VERIFICATION SENT"]);
    let mut reader = story.server.app().store.begin_read().await.unwrap();
    let entries = audit::list(&mut reader, story.organization(), None, 100).await.unwrap();
    let is_word = |entry: &audit::Recorded| entry.object_id == id.0 && entry.action == "dsr.not_told";
    assert_eq!(
        entries.iter().filter(|(_, entry)| is_word(entry)).count(),
        1,
        "an administrator can see it"
    );
}

#[tokio::test]
async fn a_message_that_fails_within_the_server_is_listed_as_failed_and_can_be_tried_again() {
    let postbox = Postbox::start().await;
    let story = story(&postbox, |_| {}).await;
    postbox.at("MAIL", Answer::Say("451 4.3.0 later".to_owned()));
    let id = story.submit_told(Action::Access, json!({})).await;
    let kept = rows_of(&story.server, "message_mails").await;
    let damaged = kept.iter().map(|(key, value)| (key.clone(), vec![0; value.len()]));
    put_rows(&story.server, "message_mails", damaged).await;
    postbox.behaves();
    // As often as work within the server is tried.
    for _ in 0..12 {
        story.server.pass(DAY * 2).await;
    }
    assert_eq!(
        story.messages_of(id).await,
        ["RECEIPT FAILED it could not be sent within the server"]
    );
    assert_eq!(story.count("FAILED").await, 1);

    put_rows(&story.server, "message_mails", kept).await;
    assert_eq!(story.retry_all("FAILED").await, 1);
    assert_eq!(story.messages_of(id).await, ["RECEIPT SENT"]);
    assert_eq!(seen(&postbox), to_subject("We have received your privacy request"));
}

#[tokio::test]
async fn without_a_mail_server_requests_go_on_and_every_message_is_shown_as_not_sent() {
    let story = Story::with_data_points(&["profile"]).await;
    let id = story.submit_told(Action::Access, json!({})).await;
    let not_sent = "RECEIPT NOT_SENT no mail server configured";
    assert_eq!(story.messages_of(id).await, [not_sent]);
    story.report().await;
    assert_eq!(story.status_of(id).await, "APPROVING");
    assert_eq!(story.count("NOT_SENT").await, 1);
    assert_eq!(story.retry_all("NOT_SENT").await, 1);
    assert_eq!(story.messages_of(id).await, [not_sent]);
    let refused = manage_refused(
        &story.server,
        &story.admin_key,
        "{ messages(status: SENT) { totalCount } }",
    )
    .await;
    assert_eq!(
        refused,
        "Client error: status: only QUEUED, FAILED and NOT_SENT messages are listed without a requestId"
    );
}
