//! `antumbra demo`: the whole story on a throw-away server, each step timed and checked.
//!
//! Everything happens as it would elsewhere: the server is a process of its own, the configuration comes through `antumbra
//! apply`, the data silo is an HTTP server that trusts nothing but the public key. Nothing is left behind.

mod child;
mod files;
mod receiver;
mod silo;
mod story;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cli::DemoArguments;
use crate::outcome::Outcome;

/// Plays the story and prints it. The exit code tells how it ended.
pub(crate) fn run(arguments: &DemoArguments) -> Result<ExitCode> {
    let folder = tempfile::Builder::new()
        .prefix("antumbra-demo-")
        .tempdir()
        .context("no folder to play in")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    println!(
        "\n  Antumbra {}: a throw-away server, a receiver, real files\n",
        env!("CARGO_PKG_VERSION")
    );
    let begun = Instant::now();
    let patience = Duration::from_secs(arguments.timeout);
    let played = runtime.block_on(async {
        let story = story::play(folder.path(), arguments.film_bytes);
        let late = || format!("it took longer than --timeout, {} s", arguments.timeout);
        tokio::time::timeout(patience, story).await.with_context(late)?
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    let seconds = begun.elapsed().as_secs_f64();
    match played {
        Ok(checks) => {
            println!("\n  {checks} steps, each as it should be, in {seconds:.1} s. Nothing is left behind.\n");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("\n  Not as it should be, after {seconds:.1} s: {error:#}\n");
            if let Ok(log) = std::fs::read_to_string(folder.path().join("server.log")) {
                let last: Vec<&str> = log.lines().rev().take(20).collect();
                eprintln!(
                    "The server's last words:\n{}",
                    last.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
            Ok(Outcome::Failed.into())
        }
    }
}
