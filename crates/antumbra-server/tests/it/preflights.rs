//! Preflights from outside: enrichers that are asked, what they answer, and what people decide.

use std::time::Duration;

use antumbra_server::{
    ServerConfig,
    api_keys::ScopeName,
    dsr::{self, DsrId},
    organization::Action,
};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{
    manage::{manage, manage_refused},
    receiver::{Receiver, status},
    story::{CORE, EMAIL, Story, config},
};

mod answers;
mod graphs;
mod rules;
mod schedule;
mod verification;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const RESOLVED: &str = "Cannot update a resolved RequestEnricher";

/// An organization whose enricher `Loyalty lookup` starts from the e-mail address.
struct Desk {
    story: Story,
    /// What the enricher's webhooks are sent to.
    lookup: Receiver,
    enricher: String,
    /// May hand over identifiers, and nothing else.
    key: String,
}

impl Desk {
    async fn start() -> Desk {
        Desk::with(config()).await
    }

    async fn with(config: ServerConfig) -> Desk {
        let story = Story::with(config, &["profile"]).await;
        let lookup = Receiver::start().await;
        for (name, more) in [
            ("loyaltyCard", "regex: \"^LC-[0-9]+$\""),
            ("forumHandle", ""),
            ("shopId", ""),
        ] {
            let made = format!(
                "createIdentifier(input: {{name: \"{name}\", type: custom, {more}}}) {{ identifier {{ id }} }}"
            );
            manage(&story.server, &story.admin_key, &format!("mutation {{ {made} }}")).await;
        }
        let key = story.server.key(&[ScopeName::ManageRequestIdentities]).await;
        let mut desk = Desk {
            story,
            lookup,
            enricher: String::new(),
            key,
        };
        desk.enricher = desk
            .add(
                "Loyalty lookup",
                "SERVER",
                "inputIdentifier: \"email\", identifiers: [\"loyaltyCard\"]",
            )
            .await;
        desk
    }

    /// Makes an enricher, with an address where that is what its type needs, and gives its id.
    async fn add(&self, title: &str, kind: &str, settings: &str) -> String {
        let url = if kind == "SERVER" {
            format!("url: \"{}\",", self.lookup.url())
        } else {
            String::new()
        };
        let headers = "headers: [{name: \"X-Lookup-Key\", value: \"s3cret\", isSecret: true}]";
        let input = format!("{{title: \"{title}\", type: {kind}, {url} {headers}, {settings}}}");
        let made = self
            .ask(&format!(
                "mutation {{ createEnricher(input: {input}) {{ enricher {{ id }} }} }}"
            ))
            .await;
        made["enricher"]["id"].as_str().unwrap().to_owned()
    }

    async fn ask(&self, document: &str) -> Value {
        manage(&self.story.server, &self.story.admin_key, document).await
    }

    async fn refused(&self, document: &str) -> String {
        manage_refused(&self.story.server, &self.story.admin_key, document).await
    }

    async fn idle(&self) {
        self.story.server.run_jobs_until_idle().await;
    }

    async fn status(&self, request: DsrId) -> &'static str {
        self.story.status_of(request).await
    }

    /// Changes an enricher.
    async fn change(&self, enricher: &str, settings: &str) {
        let input = format!("{{id: \"{enricher}\", {settings}}}");
        self.ask(&format!(
            "mutation {{ updateEnricher(input: {input}) {{ clientMutationId }} }}"
        ))
        .await;
        self.idle().await;
    }

    /// The preflights of a request: title and status of each.
    async fn checks(&self, request: DsrId) -> Vec<(String, String)> {
        let nodes = self.nodes(request).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        nodes
            .iter()
            .map(|node| (text(&node["enricher"]["title"]), text(&node["status"])))
            .collect()
    }

    /// The status of the only preflight.
    async fn check(&self, request: DsrId) -> String {
        let mut all = self.checks(request).await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0).1
    }

    async fn nodes(&self, request: DsrId) -> Vec<Value> {
        let fields = "nodes { id status error enricher { id type title } } totalCount";
        let order = "orderBy: [{field: createdAt, direction: ASC}, {field: title, direction: ASC, model: enricher}]";
        let listed = format!(
            "{{ requestEnrichers(input: {{requestId: \"{request}\"}}, first: 1000, offset: 0, useMaster: false, {order}) {{ {fields} }} }}"
        );
        let listed = self.ask(&listed).await;
        let nodes = listed["nodes"].as_array().unwrap().clone();
        assert_eq!(listed["totalCount"], nodes.len());
        nodes
    }

    /// Posts an answer with a nonce.
    async fn answer(&self, nonce: &str, body: &Value) -> Response {
        self.post(&[("x-transcend-nonce", nonce)], body).await
    }

    /// Posts an answer with the two ids in place of a nonce.
    async fn answer_as(&self, request: &str, enricher: &str, body: &Value) -> Response {
        let headers = [
            ("x-transcend-request-id", request),
            ("x-transcend-enricher-id", enricher),
        ];
        self.post(&headers, body).await
    }

    async fn post(&self, headers: &[(&str, &str)], body: &Value) -> Response {
        let server = &self.story.server;
        let mut call = server
            .client()
            .post(server.url("/v1/enrich-identifiers"))
            .bearer_auth(&self.key);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        call.json(body).send().await.unwrap()
    }

    /// Name and value of every identifier of a request, in their order.
    async fn identifiers(&self, request: DsrId) -> Vec<(String, String)> {
        let server = &self.story.server;
        let call = server
            .client()
            .post(server.url("/v1/request-identifiers"))
            .bearer_auth(&self.story.admin_key);
        let answer: Value = call
            .json(&json!({ "requestId": request, "first": 100 }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = answer["identifiers"].as_array().unwrap();
        all.iter()
            .map(|one| (text(&one["name"]), text(&one["value"])))
            .collect()
    }
}

async fn expect(answer: Response, status: u16) -> Value {
    let got = answer.status();
    let body = answer.text().await.unwrap();
    assert_eq!(got, status, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// An answer of a receiver with this body.
fn says(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
