//! The kill battery: `kill -9` under mixed load, again and again, and nothing that was acknowledged may be missing.
//!
//! `ANTUMBRA_KILL_ROUNDS` says how many rounds, `ANTUMBRA_KILL_SEED` plays one again.

use std::path::Path;

/// Rounds, unless somebody asks for others.
const ROUNDS: u64 = 120;

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("ANTUMBRA_KILL_ROUNDS").unwrap_or(ROUNDS) as usize;
    let seed = number("ANTUMBRA_KILL_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");

    let report = xtask::kill::battery(Path::new(env!("CARGO_BIN_EXE_antumbra")), rounds, seed).unwrap();

    println!("{}", report.summary());
    assert!(report.losses.is_empty(), "seed {seed}: {:#?}", report.losses);
    let unmixed: Vec<_> = report
        .acknowledged
        .kinds()
        .into_iter()
        .filter(|(_, count)| *count == 0)
        .collect();
    assert!(unmixed.is_empty(), "the load held none of these: {unmixed:?}");
}
