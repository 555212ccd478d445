//! `antumbra job`: what became of the server's own work, and having it tried again.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::request::Remote;

/// Jobs of one call when they are listed.
const PAGE: usize = 100;

#[derive(Subcommand)]
pub(crate) enum JobCommand {
    /// List the jobs that fail or were given up, with the reason
    #[command(
        after_help = "A data silo that does not accept its webhook is a failing job; it is tried again as [webhooks] says.\n\n\
Examples:\n  antumbra job list --failing --key \"$KEY\"\n  antumbra job list --parked --key \"$KEY\""
    )]
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        remote: Remote,
    },
    /// Have a job that was given up tried again, at once
    Retry {
        /// The job's id, as `antumbra job list --parked` shows it
        id: Uuid,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Which jobs are listed.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Jobs whose last attempt failed, with the time of the next
    #[arg(long)]
    failing: bool,
    /// Jobs that were given up after their last attempt
    #[arg(long)]
    #[allow(dead_code, reason = "one of the two is given: this one, unless it is the other")]
    parked: bool,
}

/// Runs one of the job commands.
pub(crate) async fn run(command: JobCommand) -> Result<ExitCode> {
    match command {
        JobCommand::List { which, remote } => {
            let list = if which.failing { &FAILING } else { &PARKED };
            print(list, &all(&remote.client()?, list).await?);
        }
        JobCommand::Retry { id, remote } => {
            let document = "mutation RetryJob($id: ID!) { retryJob(id: $id) { clientMutationId } }";
            remote.client()?.graphql(document, json!({ "id": id })).await?;
            println!("{id} is tried again.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One of the lists, as the management API gives it and as it is shown.
struct List {
    field: &'static str,
    /// The time of the list, and the heading of its column.
    time: (&'static str, &'static str),
    /// How often, and the heading of its column.
    count: (&'static str, &'static str),
    if_empty: &'static str,
}

const FAILING: List = List {
    field: "failingJobs",
    time: ("nextTryAt", "NEXT TRY AT"),
    count: ("failures", "FAILURES"),
    if_empty: "No job is failing.",
};

const PARKED: List = List {
    field: "parkedJobs",
    time: ("parkedAt", "PARKED AT"),
    count: ("attempts", "ATTEMPTS"),
    if_empty: "No job is parked.",
};

async fn all(client: &Client, list: &List) -> Result<Vec<Value>> {
    let List {
        field,
        time: (time, _),
        count: (count, _),
        ..
    } = list;
    let document = format!(
        "query Jobs($first: Int!, $after: ID) {{
            {field}(first: $first, after: $after) {{ nodes {{ id kind subjects {count} {time} reason }} }}
        }}"
    );
    let mut jobs: Vec<Value> = Vec::new();
    loop {
        let after = jobs.last().map(|job| job["id"].clone());
        let answer = client
            .graphql(&document, json!({ "first": PAGE, "after": after }))
            .await?;
        let page = answer[field]["nodes"].as_array();
        let page = page.context("the server listed no jobs")?;
        jobs.extend(page.iter().cloned());
        if page.len() < PAGE {
            return Ok(jobs);
        }
    }
}

fn print(list: &List, jobs: &[Value]) {
    if jobs.is_empty() {
        println!("{}", list.if_empty);
        return;
    }
    let text = |job: &Value, name: &str| job[name].as_str().unwrap_or_default().to_owned();
    let kinds = jobs.iter().map(|job| text(job, "kind").len()).fold(4, usize::max);
    println!(
        "{:36}  {:kinds$}  {:24}  {}  ABOUT, AND WHY",
        "ID", "KIND", list.time.1, list.count.1
    );
    for job in jobs {
        let about: Vec<&str> = job["subjects"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        println!(
            "{:36}  {:kinds$}  {:24}  {:>8}  {}: {}",
            text(job, "id"),
            text(job, "kind"),
            text(job, list.time.0),
            job[list.count.0].to_string(),
            about.join(" "),
            text(job, "reason")
        );
    }
}
