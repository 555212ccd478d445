//! The kill battery from outside of the tests: as many rounds as wanted, and its control.

use std::path::Path;

use anyhow::{Result, bail};

use crate::battery::{Battery, Report};
use crate::ci::{cargo, target};
use crate::control;

/// Servers that are killed side by side.
pub const LANES: usize = 4;

/// Runs the battery and then its control, or the control alone.
pub fn run(rounds: usize, seed: Option<u64>, control_alone: bool) -> Result<()> {
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    if !control_alone {
        cargo(&["build", "--locked", "-p", "antumbra"], &[])?;
        let report = battery(&target().join("debug/antumbra"), rounds, seed)?;
        println!("kills: {}", report.summary());
        if !report.losses.is_empty() {
            bail!("acknowledged and lost:\n  {}", report.losses.join("\n  "));
        }
    }
    let report = battery(&control::crippled("answer")?, control::ROUNDS * LANES, seed)?;
    control::must_be_caught("answers before it writes", &report)
}

/// `kill -9` under mixed load, `rounds` times in all.
pub fn battery(executable: &Path, rounds: usize, seed: u64) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("antumbra-kill-").tempdir()?;
    let battery = Battery {
        executable: executable.to_owned(),
        data: folder.path().join("data"),
        rounds,
        seed,
        disk_fails: false,
    };
    battery.run_side_by_side(LANES, |server, _| server.kill())
}
