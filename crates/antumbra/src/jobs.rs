//! `antumbra job`: what became of the server's own work, and having it tried again.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::request::Remote;

/// Jobs of one call when they are listed.
const PAGE: usize = 100;

#[derive(Subcommand)]
pub(crate) enum JobCommand {
    /// List the jobs that were given up, with the reason
    #[command(after_help = "Example:\n  antumbra job list --parked --key \"$KEY\"")]
    List {
        /// Jobs that were given up after their last attempt
        #[arg(long, required = true)]
        #[allow(
            dead_code,
            reason = "there is no other list; scripts say which one they mean all the same"
        )]
        parked: bool,
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

/// Runs one of the job commands.
pub(crate) async fn run(command: JobCommand) -> Result<ExitCode> {
    match command {
        JobCommand::List { remote, .. } => print(&list_parked(&remote.client()?).await?),
        JobCommand::Retry { id, remote } => {
            let document = "mutation RetryJob($id: ID!) { retryJob(id: $id) { clientMutationId } }";
            remote.client()?.graphql(document, json!({ "id": id })).await?;
            println!("{id} is tried again.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list_parked(client: &Client) -> Result<Vec<Value>> {
    let document = "query ParkedJobs($first: Int!, $after: ID) {
        parkedJobs(first: $first, after: $after) { nodes { id kind subjects attempts parkedAt reason } }
    }";
    let mut jobs: Vec<Value> = Vec::new();
    loop {
        let after = jobs.last().map(|job| job["id"].clone());
        let answer = client
            .graphql(document, json!({ "first": PAGE, "after": after }))
            .await?;
        let page = answer["parkedJobs"]["nodes"].as_array();
        let page = page.context("the server listed no jobs")?;
        jobs.extend(page.iter().cloned());
        if page.len() < PAGE {
            return Ok(jobs);
        }
    }
}

fn print(jobs: &[Value]) {
    if jobs.is_empty() {
        println!("No job is parked.");
        return;
    }
    let text = |job: &Value, name: &str| job[name].as_str().unwrap_or_default().to_owned();
    let kinds = jobs.iter().map(|job| text(job, "kind").len()).fold(4, usize::max);
    println!(
        "{:36}  {:kinds$}  {:24}  ATTEMPTS  ABOUT, AND WHY",
        "ID", "KIND", "PARKED AT"
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
            text(job, "parkedAt"),
            job["attempts"],
            about.join(" "),
            text(job, "reason")
        );
    }
}
