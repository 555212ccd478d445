//! The conformance checklist of data subject requests: each line a test with its number in its name.
//!
//! What a line asks for in passing, and other suites look at from all sides, is only touched here.

use std::time::Duration;

use antumbra_server::{dsr::DsrId, organization::Action, runs::RunStatus};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    manage::{manage, manage_refused},
    story::{CORE, EMAIL, Story},
};

mod fulfilment;
mod intake;
mod preflights;
mod silos;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The smallest submission, with `fields` laid over it.
fn minimal(core: &str, fields: Value) -> Value {
    let mut body = json!({
        "type": "ACCESS", "subjectType": "customer", "isSilent": true, "subject": { "coreIdentifier": core },
    });
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    body
}

impl Story {
    /// A call in the name of an administrator.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Response {
        let call = self
            .server
            .client()
            .request(method, self.server.url(path))
            .bearer_auth(&self.admin_key);
        let call = match body {
            Some(body) => call.json(&body),
            None => call,
        };
        call.send().await.unwrap()
    }

    async fn create(&self, body: Value) -> (StatusCode, Value) {
        let answer = self.ask(Method::POST, "/v1/data-subject-request", Some(body)).await;
        (answer.status(), answer.json().await.unwrap())
    }

    async fn created(&self, body: Value) -> Value {
        let (status, answer) = self.create(body).await;
        assert_eq!(status, 200, "{answer}");
        answer["request"].clone()
    }

    async fn look(&self, path: &str) -> Value {
        self.ask(Method::GET, path, None).await.json().await.unwrap()
    }
}

async fn body_of(answer: Response, status: u16) -> String {
    let got = answer.status();
    let body = answer.text().await.unwrap();
    assert_eq!(got, status, "{body}");
    body
}

#[test]
fn every_line_of_the_checklist_has_a_test_with_its_number() {
    let tests = [
        include_str!("checklist/fulfilment.rs"),
        include_str!("checklist/intake.rs"),
        include_str!("checklist/preflights.rs"),
        include_str!("checklist/silos.rs"),
    ]
    .concat();
    let names: Vec<&str> = tests
        .split("async fn ")
        .filter(|text| text.starts_with("line_"))
        .collect();
    let numbers = names.iter().flat_map(|name| {
        let (name, _) = name.split_once('(').unwrap();
        name.split('_').filter_map(|word| word.parse::<u32>().ok())
    });
    let mut numbers: Vec<u32> = numbers.collect();
    numbers.sort_unstable();
    assert_eq!(numbers, Vec::from_iter(1..=27), "each of them once");
}
