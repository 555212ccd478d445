//! Vendors without a technical connection: told by a message, answering by a link. And dependencies within one workflow.

use antumbra_server::silos::{VendorMailCompletionLink, WorkflowDependencies};

use super::*;

/// A vendor who is told at the silo's address.
async fn vendor(link: VendorMailCompletionLink) -> Story {
    let story = Story::with_data_points(&[]).await;
    story::change_silo(&story.server, story.silo, |silo| {
        silo.kind = "promptAPerson".to_owned();
        silo.vendor_mail.completion_link = link;
    })
    .await;
    story
}

/// Status and text of a page.
async fn page(story: &Story, post: bool, address: &str) -> (u16, String) {
    let (_, path) = address.split_once("/complete/").unwrap();
    let url = story.server.url(&format!("/complete/{path}"));
    let client = story.server.client();
    let call = match post {
        true => client
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded"),
        false => client.get(url),
    };
    let answer = call.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_vendor_reads_a_message_and_says_by_its_link_how_the_work_ended() {
    let story = vendor(VendorMailCompletionLink::UnauthenticatedExternalUser).await;
    let request = story.submit(Action::Erasure).await;
    let notice = story.receiver.take_one();
    let body = notice.json();
    let mut members: Vec<&String> = body.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["completionLink", "extras", "template", "type"]);
    assert_eq!(body["type"], "ERASURE");
    assert_eq!(body["extras"]["profile"]["identifier"], EMAIL);
    assert_eq!(body["extras"]["request"]["id"], request.to_string());
    let link = body["completionLink"].as_str().unwrap();
    let message = body["template"].as_str().unwrap();
    assert!(message.contains(link) && message.contains(EMAIL), "{message}");
    assert!(!link.contains(EMAIL) && !link.contains(&notice.nonce()));

    // Looking changes nothing, and the page says nothing about the person.
    let (status, text) = page(&story, false, link).await;
    assert_eq!(status, 200);
    assert!(
        text.contains("ERASURE") && text.contains("It is done") && !text.contains(EMAIL),
        "{text}"
    );
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    for broken in [
        format!("{link}x"),
        link.replace('~', "~x"),
        link.replace("complete/", "complete/x"),
    ] {
        assert_eq!(page(&story, false, &broken).await.0, 404, "{broken}");
    }
    assert_eq!(page(&story, true, &format!("{link}/maybe")).await.0, 404);
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    // The link opens no route of the API, and a nonce no page.
    let token = link.rsplit('~').next().unwrap();
    assert_eq!(story.put_report(token, json!({})).await.status(), 400);
    let (before, _) = link.split_once('~').unwrap();
    assert_eq!(
        page(&story, false, &format!("{before}~{}", notice.nonce())).await.0,
        404
    );

    let (status, text) = page(&story, true, &format!("{link}/done")).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    assert_eq!(story.status_of(request).await, "APPROVING");
    // Once more is answered alike, and changes nothing.
    assert_eq!(page(&story, true, &format!("{link}/nothing")).await.0, 200);
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);

    // That there is data is not that it has been handed over.
    for (place, (word, expected)) in [("nothing", RunStatus::Skipped), ("data", RunStatus::ActionRequired)]
        .into_iter()
        .enumerate()
    {
        let (core, email) = (format!("core-{place}"), format!("{place}@example.test"));
        let access = story.submit_about(Action::Access, &core, &email).await;
        story.server.run_jobs_until_idle().await;
        let body = story.receiver.take_one().json();
        let link = body["completionLink"].as_str().unwrap();
        assert_eq!(page(&story, true, &format!("{link}/{word}")).await.0, 200);
        assert_eq!(story.run_of(access).await.status(), expected);
    }
}

#[tokio::test]
async fn a_vendor_who_is_only_told_has_done_their_part_with_that() {
    let story = vendor(VendorMailCompletionLink::NoLinkMarkDatapointAsResolved).await;
    story.receiver.answers(status(500));
    let request = story.submit(Action::Erasure).await;
    assert_eq!(story.run_of(request).await.status(), RunStatus::Queued);
    story.receiver.answers(status(200));
    story.server.pass(HOUR).await;
    let told = story.receiver.take();
    assert!(told[0].json().get("completionLink").is_none());
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    assert_eq!(story.status_of(request).await, "APPROVING");
}

#[tokio::test]
async fn a_dependency_of_one_workflow_holds_in_that_workflow_only() {
    let story = Story::with_data_points(&[]).await;
    let second = story::add_silo(&story.server, "Archive", None, &[]).await;
    let actions = manage(
        &story.server,
        &story.admin_key,
        "{ actions(first: 100) { nodes { id type } } }",
    )
    .await;
    let id_of = |action: &str| {
        let mut nodes = actions["nodes"].as_array().unwrap().iter();
        let found = nodes.find(|node| node["type"] == action).unwrap();
        found["id"].as_str().unwrap().parse().unwrap()
    };
    for (person, (workflow, waits)) in [("ACCESS", false), ("ERASURE", true)].into_iter().enumerate() {
        let workflow = id_of(workflow);
        story::change_silo(&story.server, story.silo, |silo| {
            silo.depends_on_in_workflow = vec![WorkflowDependencies {
                workflow,
                silos: [second].into(),
            }];
        })
        .await;
        let (core, email) = (format!("core-{person}"), format!("{person}@example.test"));
        let request = story.submit_about(Action::Erasure, &core, &email).await;
        story.server.run_jobs_until_idle().await;
        assert_eq!(story.receiver.take().is_empty(), waits);
        assert_eq!(
            story.run_of(request).await.waits_for,
            if waits { vec![second] } else { vec![] }
        );
    }
}
