//! The kill battery: `kill -9` under mixed load, again and again, and nothing that was acknowledged may be missing.
//!
//! `ANTUMBRA_KILL_ROUNDS` raises the number of rounds, `ANTUMBRA_KILL_SEED` plays one again.

use std::path::PathBuf;

use xtask::battery::Battery;

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let folder = tempfile::tempdir().unwrap();
    let battery = Battery {
        executable: PathBuf::from(env!("CARGO_BIN_EXE_antumbra")),
        data: folder.path().join("data"),
        rounds: number("ANTUMBRA_KILL_ROUNDS").unwrap_or(200) as usize,
        seed: number("ANTUMBRA_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id())),
    };
    println!("seed {}", battery.seed);

    let report = battery.run(|server, _| server.kill()).unwrap();

    println!("{}", report.summary());
    assert!(report.losses.is_empty(), "seed {}: {:#?}", battery.seed, report.losses);
}
