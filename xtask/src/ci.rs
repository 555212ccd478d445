//! What CI runs, in the order in which a mistake is cheapest to find.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::postgres::Cluster;
use crate::{house, licences};

/// The root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository")
        .to_owned()
}

/// Runs the checks and stops at the first that fails. `full` adds the house rules, licences, documentation,
/// the whole kill battery, and the suite once more on PostgreSQL.
pub fn run(full: bool) -> Result<()> {
    let begun = Instant::now();
    step("format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    step("lints", || {
        let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];
        cargo(&[&clippy[..], &["--", "-D", "warnings"]].concat(), &[])
    })?;
    if full {
        step("house rules", house::check)?;
        step("licences and sources", licences::check)?;
        step("documentation", || {
            let doc = ["doc", "--workspace", "--no-deps", "--locked", "--quiet"];
            cargo(&doc, &[("RUSTDOCFLAGS", "-D warnings")])
        })?;
    }
    step("tests, embedded engine", || {
        let rounds = if full { "200" } else { "10" };
        let tests = ["test", "--workspace", "--locked"];
        cargo(&tests, &[("ANTUMBRA_KILL_ROUNDS", rounds)])
    })?;
    if full {
        step("tests, PostgreSQL", || {
            let cluster = Cluster::start()?;
            let tests = ["test", "--locked", "-p", "antumbra-store", "-p", "antumbra-server"];
            cargo(&tests, &[("ANTUMBRA_TEST_POSTGRES", cluster.url())])
        })?;
    }
    println!("\nEverything passed in {}.", minutes(begun));
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    let begun = Instant::now();
    work().with_context(|| format!("{name}: failed after {}", minutes(begun)))?;
    println!("== {name}: passed in {}", minutes(begun));
    Ok(())
}

fn minutes(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}

/// Runs cargo in the repository with further variables.
pub fn cargo(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(root())
        .status()
        .context("cargo cannot be started")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", arguments.join(" "));
    }
    Ok(())
}
