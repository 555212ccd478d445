//! `antumbra store check`, as the built executable runs it.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::process::{Command, Output};

fn check(place: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antumbra"));
    command.args(["store", "check", place]).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// One line for each rule, all of them kept, and the sum below.
fn expect_every_rule_kept(output: &Output) {
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}{}", text(&output.stderr));
    let lines: Vec<&str> = table.lines().collect();
    let (sum, rules) = lines.split_last().unwrap();
    assert_eq!(*sum, format!("{} rules checked, 0 broken", rules.len()));
    assert!(rules.len() >= 14, "{table}");
    for rule in rules {
        let words: Vec<&str> = rule.split_whitespace().collect();
        assert!(
            words[0] == "kept" && words[1].parse::<u64>().is_ok() && words[2] == "ms",
            "{rule}"
        );
        assert_eq!(rule.find(words[3]), Some(19), "the rules stand in one column: {rule}");
    }
}

#[test]
fn the_embedded_engine_keeps_every_rule_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    expect_every_rule_kept(&check(place));
    expect_every_rule_kept(&check(place));
}

#[test]
fn a_database_keeps_every_rule() {
    let Ok(url) = std::env::var("ANTUMBRA_TEST_POSTGRES") else {
        return;
    };
    expect_every_rule_kept(&check(&url));
    let Ok(authority) = std::env::var("ANTUMBRA_TEST_POSTGRES_CA") else {
        return;
    };
    let guarded = |host: &str| {
        let mode = format!("sslmode=verify-full&sslrootcert={authority}");
        url.replace("127.0.0.1", host).replace("sslmode=disable", &mode)
    };
    expect_every_rule_kept(&check(&guarded("localhost")));
    let refused = check(&guarded("127.0.0.1"));
    assert_eq!(refused.status.code(), Some(69));
    assert!(
        text(&refused.stderr).contains("invalid peer certificate"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn what_cannot_be_checked_is_told_apart() {
    let unreachable = check("postgres://ada:hunter2@127.0.0.1:1/none");
    assert_eq!(unreachable.status.code(), Some(69));
    assert!(!text(&unreachable.stderr).contains("hunter2"));
    assert_eq!(check("mysql://127.0.0.1/none").status.code(), Some(2));
    assert_eq!(check("/proc/antumbra").status.code(), Some(1));
}
