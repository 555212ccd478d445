//! What the dependency tree may hold: the lists of `deny.toml`, checked by cargo-deny where it is installed, and by this
//! file's plain reading of the same lists where it is not.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::ci::root;

/// Fails for a licence, a crate or a source that `deny.toml` does not allow.
pub fn check() -> Result<()> {
    let rules = std::fs::read_to_string(root().join("deny.toml")).context("deny.toml cannot be read")?;
    let allowed = quoted(between(&rules, "\nallow = [", "\n]")?);
    let banned = banned(between(&rules, "\ndeny = [", "\n]")?);
    let mut faults = Vec::new();
    let packages = packages()?;
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none");
        if !permits(licence, &allowed) {
            faults.push(format!("{name}: licence {licence}"));
        }
        if banned.iter().any(|ban| ban == name) {
            faults.push(format!("{name}: banned by deny.toml"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+") && !source.starts_with("sparse+")) {
            faults.push(format!("{name}: comes from {}", source.unwrap_or_default()));
        }
    }
    if !faults.is_empty() {
        bail!("the dependency tree holds what it may not:\n  {}", faults.join("\n  "));
    }
    println!(
        "{} crates, each with an allowed licence and from a registry.",
        packages.len()
    );
    if Command::new("cargo-deny")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success())
    {
        crate::ci::cargo(&["deny", "check", "bans", "licenses", "sources"], &[])?;
    }
    Ok(())
}

/// The crates that are built. `cargo metadata` also lists what no feature in use asks for, and only `cargo tree` tells.
fn packages() -> Result<Vec<Value>> {
    const PLATFORM: &str = "x86_64-unknown-linux-gnu";
    let tree = read(&[
        "tree",
        "--workspace",
        "--locked",
        "--target",
        PLATFORM,
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let built: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?.trim_start_matches('v')))
        })
        .collect();
    let metadata = read(&[
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        PLATFORM,
    ])?;
    let mut metadata: Value = serde_json::from_str(&metadata)?;
    let Value::Array(mut packages) = metadata["packages"].take() else {
        bail!("cargo metadata lists no packages");
    };
    let text = |package: &Value, name: &str| package[name].as_str().unwrap_or_default().to_owned();
    packages.retain(|package| built.contains(&(&text(package, "name"), &text(package, "version"))));
    Ok(packages)
}

fn read(arguments: &[&str]) -> Result<String> {
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(root())
        .output()
        .with_context(|| format!("cargo {} cannot be started", arguments[0]))?;
    if !output.status.success() {
        bail!("cargo {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether an expression such as `(MIT OR Apache-2.0) AND Unicode-3.0` can be met with allowed licences.
fn permits(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    all_of(
        &mut expression
            .replace('(', " ( ")
            .replace(')', " ) ")
            .split_whitespace()
            .peekable(),
        allowed,
    )
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// `OR` binds weaker than `AND`; both sides are always read, so that the reader stays in step.
fn all_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut any = and_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        any |= and_of(words, allowed);
    }
    any
}

fn and_of(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut every = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        every &= one(words, allowed);
    }
    every
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    match words.next() {
        Some("(") => {
            let inner = all_of(words, allowed);
            words.next_if_eq(&")");
            inner
        }
        Some(name) => {
            let mut name = name.to_owned();
            if words.next_if_eq(&"WITH").is_some() {
                name = format!("{name} WITH {}", words.next().unwrap_or_default());
            }
            allowed.contains(&name)
        }
        None => false,
    }
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Result<&'a str> {
    let start = text
        .find(from)
        .with_context(|| format!("deny.toml has no `{}`", from.trim()))?
        + from.len();
    let length = text[start..].find(to).context("deny.toml has a list without an end")?;
    Ok(&text[start..start + length])
}

fn quoted(list: &str) -> Vec<String> {
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn banned(list: &str) -> Vec<String> {
    let names = list
        .lines()
        .filter_map(|line| line.split("name = \"").nth(1)?.split('"').next());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::permits;

    #[test]
    fn an_expression_is_met_only_by_allowed_licences() {
        let allowed = [
            "MIT".to_owned(),
            "Unicode-3.0".to_owned(),
            "Apache-2.0 WITH LLVM-exception".to_owned(),
        ];
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("MIT OR GPL-3.0", true),
            ("MIT/GPL-3.0", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
            ("GPL-3.0 OR MIT AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("none", false),
        ] {
            assert_eq!(permits(expression, &allowed), expected, "{expression}");
        }
    }
}
