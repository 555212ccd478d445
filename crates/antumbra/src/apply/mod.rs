//! `antumbra apply`: makes a server hold what a file describes.
//!
//! It reads what is there, shows what would change, and has the server make all changes in one transaction: either the
//! file is applied, or nothing has happened. What the file does not mention stays as it is; nothing is ever removed.
//!
//! | File | Holds |
//! | --- | --- |
//! | `file.rs` | the file: its keys, and a line for everything that is wrong with it |
//! | `kinds.rs` | each kind of thing as a table: key in the file, place in an answer, name in an input |
//! | `plan.rs` | what is to be done, by comparing the file with the server; `plan/sections.rs` for what tables do not say |

mod file;
mod kinds;
mod plan;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use crate::{
    outcome::{Ended, Outcome},
    request::Remote,
};
use file::{Fault, Faults};
use plan::{Plan, Step};

/// What can be typed after `antumbra apply`.
#[derive(Args)]
#[command(
    after_help = "The file's keys are those of transcend.yml for api-keys, attributes, data-subjects, actions, \
identifiers, enrichers, preference-options, purposes, partitions, templates, data-silos with datapoints and \
consent-workflow-triggers.\n\
Everything is applied, or nothing. What the file does not mention stays as it is.\n\n\
Examples:\n  antumbra apply -f antumbra.yml --dry-run\n  antumbra apply -f antumbra.yml --key \"$KEY\""
)]
pub(crate) struct Arguments {
    /// What the server shall hold
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Show what would change, have the server check it, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let path = &arguments.file;
    let bytes = std::fs::read(path)
        .map_err(|cause| Ended::new(Outcome::Usage, format!("{} cannot be read: {cause}", path.display())))?;
    let file = file::parse(path, &bytes).map_err(usage)?;
    let client = arguments.remote.client()?;
    let refused = |faults: &[Fault]| usage(Faults::new(path, &String::from_utf8_lossy(&bytes), faults));

    if file.is_empty() {
        println!("Nothing to do: {} describes nothing.", path.display());
        println!("A file has sections, such as data-silos and purposes: antumbra apply --help names them.");
        return Ok(ExitCode::SUCCESS);
    }
    for ignored in &file.ignored {
        println!("  {ignored}: kept out, this server has no use for it yet");
    }
    let plan = Plan::new(&client, &file).await?.map_err(|faults| refused(&faults))?;
    print!("{plan}");
    let documents = plan.documents();
    if documents.is_empty() {
        println!("Nothing to do: the server holds what the file says.");
        return Ok(ExitCode::SUCCESS);
    }
    let documents = match arguments.dry_run {
        true => plan.documents_to_try(),
        false => documents,
    };
    let answers = match client.transaction(&documents, arguments.dry_run).await? {
        Ok(answers) => answers,
        Err(why) => return Err(refused(&[plan.fault(why.at, why.message)])),
    };
    let (created, changed, same) = plan.counts();
    if arguments.dry_run {
        println!(
            "{created} to create, {changed} to change, {same} as they are. Nothing was changed: this was a dry run."
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{created} created, {changed} changed, {same} as they were.");
    for (title, secret) in answers.iter().filter_map(Step::secret_in) {
        println!("The API key `{title}`, shown this once: {secret}");
    }
    Ok(ExitCode::SUCCESS)
}

fn usage(faults: Faults) -> anyhow::Error {
    Ended::new(Outcome::Usage, format!("the file cannot be applied\n{faults}")).into()
}
