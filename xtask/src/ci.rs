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

/// Where cargo leaves what it has built.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Tests whose subject is the same on every engine: fuzz targets, sizes of files, and rules that are pure.
const KEEP_NOTHING: [&str; 7] = [
    "fuzz::",
    "sizes::",
    "dsr::state::",
    "preferences::model::",
    "preferences::expiry::tests::",
    "preferences::iab::tests::",
    "preferences::timeline::replay::",
];

/// Runs every check and stops at the first that fails.
///
/// Where PostgreSQL is not installed the suite cannot be run on it, and the last line says so.
pub fn run() -> Result<()> {
    let begun = Instant::now();
    step("format", || cargo(&["fmt", "--all", "--check"], &[]))?;
    step("house rules", house::check)?;
    step("licences and sources", licences::check)?;
    step("lints", || {
        let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];
        cargo(&[&clippy[..], &["--", "-D", "warnings"]].concat(), &[])
    })?;
    step("documentation", || {
        let doc = ["doc", "--workspace", "--no-deps", "--locked", "--quiet"];
        cargo(&doc, &[("RUSTDOCFLAGS", "-D warnings")])
    })?;
    step("tests, embedded engine", || {
        cargo(&["test", "--workspace", "--locked"], &[])
    })?;
    if !Cluster::installed() {
        println!("\nEverything passed on the embedded engine in {}.", minutes(begun));
        println!("PostgreSQL is not installed here: nothing was tested on it.");
        return Ok(());
    }
    // The same suites, without what keeps nothing or keeps it on the embedded engine whatever is asked (ARCHITECTURE.md).
    step("tests, PostgreSQL", || {
        let cluster = Cluster::start()?;
        let authority = Cluster::ca_file().display().to_string();
        let suites = ["it", "apply", "cli", "preferences", "serve", "store"]
            .map(|name| ["--test", name])
            .concat();
        let skipped = KEEP_NOTHING.map(|name| ["--skip", name]).concat();
        let tests = [
            &["test", "--workspace", "--locked", "--lib"],
            &suites[..],
            &["--"],
            &skipped[..],
        ]
        .concat();
        let place = [
            ("ANTUMBRA_TEST_POSTGRES", cluster.url()),
            ("ANTUMBRA_TEST_POSTGRES_CA", &authority),
        ];
        cargo(&tests, &place)
    })?;
    println!("\nEverything passed on both engines in {}.", minutes(begun));
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
