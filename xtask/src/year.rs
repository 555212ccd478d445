//! The simulated year of `tests/it/year.rs`, as large as wanted and built for speed.

use anyhow::Result;

use crate::ci::cargo;

/// Plays one year, and one erasure for each of its commits.
pub fn run(requests: u64, seed: Option<u64>, crash_within: u64) -> Result<()> {
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    let [requests, seed, crash_within] = [requests, seed, crash_within].map(|number| number.to_string());
    let test = ["test", "--locked", "--release", "-p", "antumbra-server", "--test", "it"];
    let chosen = ["year::", "--", "--nocapture"];
    let variables = [
        ("ANTUMBRA_YEAR_REQUESTS", requests.as_str()),
        ("ANTUMBRA_TEST_SEED", seed.as_str()),
        ("ANTUMBRA_YEAR_CRASH_WITHIN", crash_within.as_str()),
    ];
    cargo(&[&test[..], &chosen[..]].concat(), &variables)
}
