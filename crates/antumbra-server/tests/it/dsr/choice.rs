//! What a data subject sees at the end is theirs to choose where the action lets them.

use antumbra_server::{dsr::DsrId, organization::Action};

use super::*;
use crate::support::{
    manage::manage,
    story::{CORE, EMAIL, Story},
};

#[tokio::test]
async fn a_data_subject_chooses_what_to_see_where_the_action_leaves_it_to_them() {
    let story = Story::with_data_points(&["profile"]).await;
    let ask = async |document: &str| manage(&story.server, &story.admin_key, document).await;
    let actions = ask("{ actions(first: 100) { nodes { id type } } }").await;
    let mut nodes = actions["nodes"].as_array().unwrap().iter();
    let access = nodes.find(|action| action["type"] == "ACCESS").unwrap()["id"].clone();
    let submit = async |fields: Value| {
        let mut body = silent_with(CORE, fields);
        body["subject"] = json!({ "coreIdentifier": CORE, "email": EMAIL, "emailIsVerified": true });
        let call = story.server.client().post(story.server.url("/v1/data-subject-request"));
        let answer = call.bearer_auth(&story.admin_key).json(&body).send().await.unwrap();
        let status = answer.status();
        (status, answer.json::<Value>().await.unwrap())
    };
    let categories = json!({ "postCompileStatus": "VIEW_CATEGORIES" });
    for wrong in [categories.clone(), json!({ "postCompileStatus": "EVERYTHING" })] {
        let (status, answer) = submit(wrong).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(answer["details"][0]["path"], "postCompileStatus");
    }
    ask(&format!(
        "mutation {{ updateAction(input: {{ id: {access}, allowPostCompileChoice: true }}) {{ clientMutationId }} }}"
    ))
    .await;
    let (status, made) = submit(categories).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let request = DsrId(made["request"]["id"].as_str().unwrap().parse().unwrap());
    let finish = async || {
        story.server.run_jobs_until_idle().await;
        let nonce = story.receiver.take_one().nonce();
        let data = json!({ "profiles": [{ "profileData": { "profile": 1 } }], "status": "READY" });
        assert_eq!(story.post_data(&nonce, data).await.status(), 200);
        let approve = format!("approveRequest(input: {{ requestId: \"{request}\" }}) {{ clientMutationId }}");
        ask(&format!("mutation {{ {approve} }}")).await;
        story.server.run_jobs_until_idle().await;
        story.status_of(request).await
    };
    assert_eq!(finish().await, "VIEW_CATEGORIES");
    // Their choice stays theirs when it begins again.
    let (status, again) = submit(json!({ "requestId": request })).await;
    assert_eq!(status, StatusCode::OK, "{again}");
    assert_eq!(finish().await, "VIEW_CATEGORIES");
    // Whoever chooses nothing gets what the action is set to.
    let other = story.submit_about(Action::Access, "acct_2", "two@example.test").await;
    story.server.run_jobs_until_idle().await;
    story.receiver.take();
    assert_eq!(story.status_of(other).await, "COMPILING");
}
