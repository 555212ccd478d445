//! `antumbra-bench startup`: what a server costs before anybody calls it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use xtask::battery::Child;

use crate::table::{Row, print};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The executable, as it is released
    #[arg(long, default_value = "target/release/antumbra")]
    executable: PathBuf,
    /// Starts on an empty folder; the median is printed
    #[arg(long, default_value_t = 9)]
    starts: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut ready = Vec::new();
    let mut idle = 0;
    for _ in 0..arguments.starts {
        let folder = tempfile::tempdir()?;
        let mut server = Child::start(&arguments.executable, &folder.path().join("data"))?;
        ready.push(server.ready_in);
        // What start-up borrowed is given back by then.
        std::thread::sleep(Duration::from_millis(700));
        idle = idle.max(resident_bytes(server.id())?);
        server.end()?;
    }
    ready.sort();
    let binary = std::fs::metadata(&arguments.executable)?.len();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    print(
        "start, idle memory, size",
        &[
            Row::at_most(
                "start on an empty folder",
                ready[ready.len() / 2].as_secs_f64() * 1e3,
                300.0,
                "ms",
            ),
            Row::at_most(
                "the slowest of these starts",
                ready[ready.len() - 1].as_secs_f64() * 1e3,
                300.0,
                "ms",
            ),
            Row::at_most("resident memory, idle", mib(idle), 60.0, "MiB"),
            Row::at_most("executable, stripped", mib(binary), 40.0, "MiB"),
        ],
    );
    Ok(())
}

/// The memory of a process that is really there, as the system counts it.
pub(crate) fn resident_bytes(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("the process is gone")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
