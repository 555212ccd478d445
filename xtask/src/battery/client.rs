//! The calls that the load makes, as an ordinary HTTP client makes them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::lives::{Person, Step, identifiers_of};

/// A client of one start of the server.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

/// A file as `download-keys` lists it.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) download_key: String,
}

/// The instant that carries a sequence number: so many milliseconds after a fixed moment of 2026.
pub(super) fn instant(sequence: u64) -> String {
    let (minutes, millis) = (sequence / 60_000, sequence % 60_000);
    let (hours, minutes) = (minutes / 60, minutes % 60);
    format!(
        "2026-01-{:02}T{:02}:{minutes:02}:{:02}.{:03}Z",
        1 + hours / 24,
        hours % 24,
        millis / 1000,
        millis % 1000
    )
}

/// The sequence number of an instant that [`instant`] made.
pub(super) fn sequence(instant: &str) -> Option<u64> {
    let part = |from: usize, to: usize| instant.get(from..to)?.parse::<u64>().ok();
    let minutes = ((part(8, 10)? - 1) * 24 + part(11, 13)?) * 60 + part(14, 16)?;
    Some(minutes * 60_000 + part(17, 19)? * 1000 + part(20, 23)?)
}

impl Client {
    pub(super) fn new(url: &str, key: &str) -> Result<Client> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .connect_timeout(Duration::from_secs(2))
            .build()?;
        Ok(Client {
            http,
            url: url.to_owned(),
            key: key.to_owned(),
        })
    }

    fn call(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.key)
    }

    /// Upserts one choice for each person; each carries its own sequence number as its time.
    pub(super) async fn choose(&self, choices: &[(String, u64)]) -> Result<()> {
        let records: Vec<Value> = choices
            .iter()
            .map(|(person, sequence)| {
                json!({
                    "userId": person,
                    "partition": "shop",
                    "timestamp": instant(*sequence),
                    "purposes": [{ "purpose": "Analytics", "enabled": sequence % 2 == 0 }],
                })
            })
            .collect();
        let answer = answered(
            self.call(reqwest::Method::PUT, "/v1/preferences")
                .json(&json!({ "records": records })),
        )
        .await?;
        if answer["success"] != true
            || answer["nodes"]
                .as_array()
                .is_none_or(|nodes| nodes.len() != choices.len())
        {
            bail!("an upsert was answered 200 without success for all: {answer}");
        }
        Ok(())
    }

    /// Refuses news in the name of people who have said nothing yet: each opens a request.
    pub(super) async fn refuse_news(&self, people: &[String]) -> Result<()> {
        let record = |person: &String| {
            json!({
                "userId": person,
                "partition": "shop",
                "timestamp": instant(1),
                "purposes": [{ "purpose": "News", "enabled": false }],
            })
        };
        let records: Vec<Value> = people.iter().map(record).collect();
        let call = self.call(reqwest::Method::PUT, "/v1/preferences");
        let answer = answered(call.json(&json!({ "records": records }))).await?;
        if answer["success"] != true {
            bail!("an upsert was answered 200 without success for all: {answer}");
        }
        Ok(())
    }

    /// How many requests there are about a person.
    pub(super) async fn requests_about(&self, person: &str) -> Result<u64> {
        let body = json!({
            "query": "query About($people: [String!]) { requests(filterBy: {coreIdentifierValues: $people}) { totalCount } }",
            "variables": { "people": [person] },
        });
        let answer = answered(self.call(reqwest::Method::POST, "/graphql").json(&body)).await?;
        let count = answer["data"]["requests"]["totalCount"].as_u64();
        count.context("a list of requests without a count")
    }

    /// Does a step to a person's records.
    pub(super) async fn step(&self, person: Person, step: Step) -> Result<()> {
        let [address, number, renamed] = identifiers_of(person);
        let named = |(name, value): &(&str, String)| json!({ "name": name, "value": value });
        let timestamp = instant(1);
        let record = match step {
            Step::Unknown => return Ok(()),
            Step::Written | Step::WrittenAgain => {
                let who = if step == Step::Written { &address } else { &number };
                json!({ "identifiers": [named(who)], "partition": "shop" })
            }
            Step::Joined => json!({ "anchorIdentifier": named(&address), "append": named(&number) }),
            Step::Renamed => json!({
                "anchorIdentifier": named(&number),
                "update": { "name": address.0, "oldValue": address.1, "newValue": renamed.1 },
            }),
            Step::Deleted => json!({ "anchorIdentifier": named(&renamed) }),
        };
        let (method, path) = match step {
            Step::Unknown | Step::Written | Step::WrittenAgain => (reqwest::Method::PUT, "/v1/preferences"),
            Step::Joined => (reqwest::Method::POST, "/v1/preferences/shop/append-identifiers"),
            Step::Renamed => (reqwest::Method::POST, "/v1/preferences/shop/update-identifiers"),
            Step::Deleted => (reqwest::Method::POST, "/v1/preferences/shop/delete"),
        };
        let mut record = record;
        record["timestamp"] = json!(timestamp);
        let answer = answered(self.call(method, path).json(&json!({ "records": [record] }))).await?;
        if answer["failures"]
            .as_array()
            .is_some_and(|failures| !failures.is_empty())
        {
            bail!("{step:?} was answered 200 without success: {answer}");
        }
        Ok(())
    }

    /// The records that each of a person's identifiers leads to.
    pub(super) async fn records_of(&self, person: Person) -> Result<[Option<String>; 3]> {
        let mut found = [const { None }; 3];
        for (place, (name, value)) in found.iter_mut().zip(identifiers_of(person)) {
            let body = json!({ "filter": { "identifiers": [{ "name": name, "value": value }] } });
            let call = self.call(reqwest::Method::POST, "/v1/preferences/shop/query");
            let answer = answered(call.json(&body)).await?;
            let identifiers = answer["nodes"][0]["identifiers"].as_array();
            let id = identifiers.and_then(|identifiers| identifiers.last()?["value"].as_str());
            *place = id.map(str::to_owned);
        }
        Ok(found)
    }

    /// The newest sequence number that is kept for each of at most 100 people.
    pub(super) async fn chosen(&self, people: &[String]) -> Result<Vec<(String, u64, bool)>> {
        let identifiers: Vec<Value> = people
            .iter()
            .map(|person| json!({ "name": "email", "value": person }))
            .collect();
        let body = json!({ "filter": { "identifiers": identifiers }, "limit": 100 });
        let answer = answered(
            self.call(reqwest::Method::POST, "/v1/preferences/shop/query")
                .json(&body),
        )
        .await?;
        let nodes = answer["nodes"].as_array().context("a query without nodes")?;
        nodes
            .iter()
            .map(|node| {
                let person = node["userId"].as_str().context("a record without userId")?.to_owned();
                let kept = node["timestamp"]
                    .as_str()
                    .and_then(sequence)
                    .context("a record without our time")?;
                let enabled = node["purposes"][0]["enabled"]
                    .as_bool()
                    .context("a record without its choice")?;
                Ok((person, kept, enabled))
            })
            .collect()
    }

    /// Demands access for somebody, who is told of it unless it is silent.
    pub(super) async fn submit(&self, person: &str, is_silent: bool) -> Result<String> {
        let body = json!({
            "type": "ACCESS",
            "subject": { "coreIdentifier": person, "email": format!("{person}@example.test"), "emailIsVerified": true },
            "subjectType": "customer",
            "isSilent": is_silent,
            "locale": "en",
        });
        let answer = answered(self.call(reqwest::Method::POST, "/v1/data-subject-request").json(&body)).await?;
        Ok(answer["request"]["id"]
            .as_str()
            .context("a submission without an id")?
            .to_owned())
    }

    pub(super) async fn status(&self, dsr: &str) -> Result<String> {
        let answer = answered(self.call(reqwest::Method::GET, &format!("/v1/data-subject-request/{dsr}"))).await?;
        Ok(answer["status"]
            .as_str()
            .context("a request without a status")?
            .to_owned())
    }

    pub(super) async fn upload(&self, nonce: &str, name: &str, bytes: Vec<u8>) -> Result<()> {
        let call = self
            .call(reqwest::Method::POST, "/v1/datapoint")
            .header("x-transcend-nonce", nonce)
            .header("x-transcend-datapoint-name", "files")
            .header("x-transcend-remote-id", name)
            .header("x-transcend-skip-status-update", "true")
            .body(bytes);
        answered(call).await.map(|_| ())
    }

    /// Reports everything of a silo. A silo that was done before counts as done: the first report may have been cut off.
    pub(super) async fn report_done(&self, nonce: &str) -> Result<()> {
        let body = json!({ "profiles": [{ "profileId": "p", "profileData": { "profile": { "known": true } } }], "status": "READY" });
        let send = || {
            let call = self.call(reqwest::Method::POST, "/v1/data-silo");
            call.header("x-transcend-nonce", nonce).json(&body).send()
        };
        // An upload that was refused before its last byte ends its connection, and this may have been sent on the same one.
        let call = match send().await {
            Err(_) => send().await?,
            Ok(answer) => answer,
        };
        match call.status().as_u16() {
            200 | 409 => Ok(()),
            other => bail!(
                "a report was answered {other}: {}",
                call.text().await.unwrap_or_default()
            ),
        }
    }

    /// The id of the silo that comes for its work.
    pub(super) async fn find_mailing_list(&self) -> Result<String> {
        let body = json!({ "query": "{ dataSilos(first: 10) { nodes { id title } } }" });
        let answer = answered(self.call(reqwest::Method::POST, "/graphql").json(&body)).await?;
        let nodes = answer["data"]["dataSilos"]["nodes"].as_array();
        let mut nodes = nodes.context("a list of data silos without nodes")?.iter();
        let silo = nodes.find(|node| node["title"] == "Mailing list");
        let id = silo.and_then(|silo| silo["id"].as_str());
        Ok(id.context("there is no mailing list")?.to_owned())
    }

    /// The nonces of what a silo has still to do, some of them.
    pub(super) async fn fetch_work(&self, silo: &str, action: &str) -> Result<Vec<String>> {
        let path = format!("/v1/data-silo/{silo}/pending-requests/{action}?limit=50");
        let answer = answered(self.call(reqwest::Method::GET, &path)).await?;
        let items = answer["items"].as_array().context("a work list without items")?;
        let nonce = |item: &Value| {
            item["nonce"]
                .as_str()
                .map(str::to_owned)
                .context("work without a nonce")
        };
        items.iter().map(nonce).collect()
    }

    /// Reports that there is nothing more to do. What was reported before counts as reported: the first report may have been
    /// cut off.
    pub(super) async fn report_nothing(&self, nonce: &str) -> Result<()> {
        let call = self
            .call(reqwest::Method::PUT, "/v1/data-silo")
            .header("x-transcend-nonce", nonce);
        match answered(call.json(&json!({}))).await {
            Err(cause)
                if cause
                    .downcast_ref::<Refused>()
                    .is_some_and(|refused| refused.status == 409) =>
            {
                Ok(())
            }
            answer => answer.map(drop),
        }
    }

    /// Requests that have not come to their end, some of them, and how many there are: id and status of each.
    pub(super) async fn open_requests(&self) -> Result<(Vec<(String, String)>, u64)> {
        let query = "{ requests(filterBy: {isClosed: false}, first: 50) { nodes { id status } totalCount } }";
        let answer = answered(
            self.call(reqwest::Method::POST, "/graphql")
                .json(&json!({ "query": query })),
        )
        .await?;
        let listed = &answer["data"]["requests"];
        let nodes = listed["nodes"].as_array().context("a list of requests without nodes")?;
        let text = |node: &Value, name: &str| node[name].as_str().unwrap_or_default().to_owned();
        let open = nodes.iter().map(|node| (text(node, "id"), text(node, "status")));
        let count = listed["totalCount"].as_u64().context("a list without a count")?;
        Ok((open.collect(), count))
    }

    pub(super) async fn approve(&self, dsr: &str) -> Result<()> {
        let body = json!({
            "query": "mutation Approve($input: CommunicationInput!) { approveRequest(input: $input) { request { id } } }",
            "variables": { "input": { "requestId": dsr } },
        });
        let answer = answered(self.call(reqwest::Method::POST, "/graphql").json(&body)).await?;
        if answer.get("errors").is_some() {
            bail!("an approval was refused: {}", answer["errors"]);
        }
        Ok(())
    }

    pub(super) async fn files(&self, dsr: &str) -> Result<Vec<Listed>> {
        let path = format!("/v1/data-subject-request/{dsr}/download-keys?limit=100");
        let answer = answered(self.call(reqwest::Method::GET, &path)).await?;
        let nodes = answer["nodes"].as_array().context("a list without nodes")?;
        nodes
            .iter()
            .map(|node| {
                let text = |name: &str| {
                    node[name]
                        .as_str()
                        .map(str::to_owned)
                        .with_context(|| format!("a file without {name}"))
                };
                let bytes = node["size"].as_u64().context("a file without size")?;
                Ok(Listed {
                    name: text("fileName")?,
                    bytes,
                    download_key: text("downloadKey")?,
                })
            })
            .collect()
    }

    pub(super) async fn download(&self, download_key: &str) -> Result<Vec<u8>> {
        let call = self
            .call(reqwest::Method::GET, &format!("/v1/files?downloadKey={download_key}"))
            .send()
            .await?;
        if !call.status().is_success() {
            bail!("a download was answered {}", call.status());
        }
        Ok(call.bytes().await?.to_vec())
    }
}

/// Sends and reads an answer, which must be 200 and JSON.
async fn answered(call: reqwest::RequestBuilder) -> Result<Value> {
    let answer = call.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if status.as_u16() != 200 {
        return Err(Refused {
            status: status.as_u16(),
            text,
        }
        .into());
    }
    Ok(serde_json::from_str(&text)?)
}

/// An answer that is not 200.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "answered {}: {}", self.status, self.text)
    }
}

impl std::error::Error for Refused {}
