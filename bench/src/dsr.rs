//! `antumbra-bench dsr`: submissions of data subject requests, one a call and many a call, each call acknowledged after its
//! fsync.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use xtask::battery::Child;

use crate::{
    load::{Until, load},
    raw::{Connection, request},
    table::{Row, print},
};

/// What the project holds itself to, submitted one by one.
const SINGLE_GOAL: f64 = 2_000.0;
/// And by bulk.
const BULK_GOAL: f64 = 10_000.0;
/// Submissions in a call by bulk.
const BULK: u64 = 100;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The executable, as it is released
    #[arg(long, default_value = "target/release/antumbra")]
    executable: PathBuf,
    /// Connections that submit at once
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// Connections that submit by bulk
    #[arg(long, default_value_t = 8)]
    bulk_connections: u64,
    /// How long, each
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = Child::start(&arguments.executable, &folder.path().join("data"))?;
    let key = server.key.clone().context("no key")?;
    let silo = "data-subjects:\n  - type: customer\n    title: Customer\n    actions: [ACCESS]\n\
                data-silos:\n  - title: Nightly\n    integrationName: cron\n    identity-keys: [email]\n    \
                datapoints:\n      - key: profile\n        title: Profile\n";
    server.apply(&arguments.executable, &key, silo)?;
    let during = || Until::Time(Duration::from_secs(arguments.seconds));
    let connections = arguments.connections;
    let url = &server.url;
    let empty = load(url, connections, during(), |_| request("GET", "/livez", "", b"")).await?;
    let of_key = key.clone();
    let single = load(url, connections, during(), move |number| {
        let body = format!(
            "{{\"type\":\"ACCESS\",\"subjectType\":\"customer\",\"isSilent\":true,\"subject\":{}}}",
            subject(number)
        );
        request("POST", "/v1/data-subject-request", &of_key, body.as_bytes())
    })
    .await?;
    let action = access(url, &key).await?;
    let calls = arguments.bulk_connections;
    let bulk = load(url, calls, during(), move |call| {
        let inputs: Vec<String> = (0..BULK)
            .map(|number| {
                format!(
                    "{{\"workflowConfigId\":\"{action}\",\"subjectType\":\"customer\",\"isSilent\":true,\"attestedAuthContext\":{}}}",
                    subject(1_000_000_000 + call * BULK + number)
                )
            })
            .collect();
        let body = format!("{{\"input\":[{}]}}", inputs.join(","));
        request("POST", "/v1/data-subject-request-bulk", &key, body.as_bytes())
    })
    .await?;
    server.end()?;
    print(
        &format!("submission of requests, {connections} connections; by bulk {calls}, {BULK} a call"),
        &[
            Row::at_least(
                "submitted, against the goal",
                single.per_second,
                SINGLE_GOAL,
                1.0,
                "1/s",
            ),
            Row::beside(
                "submitted, against an empty handler",
                single.per_second,
                empty.per_second,
                "1/s",
            ),
            Row::at_least(
                "submitted by bulk, against the goal",
                bulk.per_second * BULK as f64,
                BULK_GOAL,
                1.0,
                "1/s",
            ),
            Row::beside("a call by bulk, p50 and p99", bulk.p50, bulk.p99, "ms"),
        ],
    );
    Ok(())
}

/// Somebody new.
fn subject(number: u64) -> String {
    format!(
        "{{\"coreIdentifier\":\"person-{number}\",\"email\":\"person-{number}@example.test\",\"emailIsVerified\":true}}"
    )
}

/// The id of the settings of the action that is submitted.
async fn access(url: &str, key: &str) -> Result<String> {
    let query = br#"{"query":"{ actions(first: 100) { nodes { id type } } }"}"#;
    let mut connection = Connection::open(url).await?;
    let answer = connection.call(&request("POST", "/graphql", key, query)).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let nodes = answer["data"]["actions"]["nodes"].as_array().context("no actions")?;
    let action = nodes.iter().find(|node| node["type"] == "ACCESS");
    let id = action.and_then(|node| node["id"].as_str());
    Ok(id.context("no access")?.to_owned())
}
