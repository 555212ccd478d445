//! A running server as the commands use it: its management API, and calls of its other routes.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::outcome::{Ended, Outcome};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The code of a document that has not happened because another one was refused.
const UNDONE: &str = "NOT_CARRIED_OUT";

/// The document of a transaction that was refused.
pub(crate) struct Refused {
    /// Its place.
    pub(crate) at: usize,
    /// Why.
    pub(crate) message: String,
    code: String,
}

/// What a route answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How long to wait before the same is asked again, where the server says so.
    pub(crate) retry_after: Option<Duration>,
    /// What the server's clock said, to the second.
    pub(crate) sent_at: Option<Timestamp>,
    pub(crate) body: Bytes,
}

/// A key as a header carries it.
fn bearer(flag: &str, key: &str) -> Result<HeaderValue> {
    let value = HeaderValue::try_from(format!("Bearer {}", key.trim()));
    let mut value = value.map_err(|_| Ended::new(Outcome::Usage, format!("{flag} holds letters that no key has")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a URL leads to this machine itself.
fn is_this_machine(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// A caller of a server.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// A caller of the server at `url` with an API key, and an internal key if there is one.
    pub(crate) fn new(url: &str, key: &str, internal_key: Option<&str>) -> Result<Client> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer("--key", key)?);
        if let Some(internal_key) = internal_key {
            headers.insert("x-sombra-authorization", bearer("--internal-key", internal_key)?);
        }
        let mut http = reqwest::Client::builder().timeout(PATIENCE).default_headers(headers);
        if is_this_machine(url) {
            // A proxy of the environment could not reach it, and has no business with the key.
            http = http.no_proxy();
        }
        let http = http.build().context("no HTTP client can be made")?;
        Ok(Client {
            http,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// Calls a route with a body in JSON; what it refuses, it refuses as RFC 9457. Fails if no whole answer arrives.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Bytes) -> reqwest::Result<Answer> {
        let call = self.http.request(method, format!("{}{path}", self.url));
        let call = call.header(CONTENT_TYPE, "application/json");
        let answer = call
            .header(ACCEPT, "application/problem+json")
            .body(body)
            .send()
            .await?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let seconds = header(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let sent_at = header(DATE).and_then(|date| rfc2822::parse(date).ok());
        Ok(Answer {
            status: answer.status(),
            retry_after: seconds.map(Duration::from_secs),
            sent_at: sent_at.map(|date| date.timestamp()),
            body: answer.bytes().await?,
        })
    }

    /// Runs one document and gives its `data`.
    pub(crate) async fn graphql(&self, query: &str, variables: Value) -> Result<Value> {
        let call = self
            .http
            .post(format!("{}/graphql", self.url))
            .json(&json!({ "query": query, "variables": variables }));
        let answer = call.send().await.map_err(|cause| self.unreachable(&cause))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|cause| self.unreachable(&cause))?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let refusal = body["errors"][0]["message"]
            .as_str()
            .or(body["error"].as_str())
            .or(body["message"].as_str());
        match (status, refusal) {
            (StatusCode::OK, None) => Ok(body["data"].clone()),
            (status, refusal) => {
                let said = refusal.unwrap_or("the answer is not one of an Antumbra server");
                let code = body["errors"][0]["extensions"]["code"].as_str().unwrap_or_default();
                Err(Ended::new(outcome(status, code), said.trim_start_matches("Client error: ")).into())
            }
        }
    }

    /// Carries out documents in one transaction, or only tries to. Gives the `data` of each, or which one was refused
    /// and why.
    pub(crate) async fn transaction(
        &self,
        documents: &[(&str, Value)],
        trial: bool,
    ) -> Result<std::result::Result<Vec<Value>, Refused>> {
        if documents.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let body: Vec<Value> = documents
            .iter()
            .map(|(query, variables)| json!({ "query": query, "variables": variables }))
            .collect();
        let mut call = self.http.post(format!("{}/graphql", self.url)).json(&body);
        if trial {
            call = call.header("x-antumbra-dry-run", "1");
        }
        let answer = call.send().await.map_err(|cause| self.unreachable(&cause))?;
        let status = answer.status();
        let answers: Value = answer.json().await.unwrap_or_default();
        let Some(answers) = answers.as_array().filter(|answers| answers.len() == documents.len()) else {
            let said = answers["errors"][0]["message"].as_str();
            let said = said.unwrap_or("the answer is not one of an Antumbra server");
            return Err(Ended::new(outcome(status, ""), said.trim_start_matches("Client error: ")).into());
        };
        let refusals = answers.iter().enumerate().filter_map(|(at, answer)| {
            let error = answer["errors"].get(0)?;
            let message = error["message"].as_str().unwrap_or("refused without a reason");
            let code = error["extensions"]["code"].as_str().unwrap_or_default();
            Some(Refused {
                at,
                message: message.trim_start_matches("Client error: ").to_owned(),
                code: code.to_owned(),
            })
        });
        // The documents that were carried out before the refused one say that they were undone.
        Ok(
            match refusals.min_by_key(|refused| (refused.code == UNDONE, refused.at)) {
                Some(refused) if refused.code == "ACCESS_DENIED" => {
                    return Err(Ended::new(Outcome::Denied, refused.message).into());
                }
                Some(refused) => Err(refused),
                None => Ok(answers.iter().map(|answer| answer["data"].clone()).collect()),
            },
        )
    }

    /// What to say when no answer arrives.
    pub(crate) fn unreachable(&self, cause: &reqwest::Error) -> Ended {
        let mut innermost: &dyn std::error::Error = cause;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let hint = "is the server running, and is this its address?";
        Ended::new(
            Outcome::Unreachable,
            format!("{} cannot be reached: {innermost}\n  {hint}", self.url),
        )
    }
}

/// How a command ends that was refused so.
pub(crate) fn outcome(status: StatusCode, code: &str) -> Outcome {
    match (status, code) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) | (_, "ACCESS_DENIED") => Outcome::Denied,
        (StatusCode::NOT_FOUND, _) | (_, "NOT_FOUND") => Outcome::NotFound,
        _ => Outcome::Failed,
    }
}
