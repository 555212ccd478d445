//! The rules of the house that no compiler knows: who may use whom, how long a file may be, what must have a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::ci::root;

/// A longer file has a seam somewhere.
const LINES_MAX: usize = 900;
/// The stories of one slice stay together for longer.
const TEST_LINES_MAX: usize = 1_800;

/// Fails with every broken rule at once.
pub fn check() -> Result<()> {
    let root = root();
    let mut faults = Vec::new();
    slice_edges(&root, &mut faults)?;
    paths_written_once(&root, &mut faults)?;
    every_file(&root, &mut faults)?;
    reasons(&root, &mut faults)?;
    if !faults.is_empty() {
        bail!("{} broken:\n  {}", faults.len(), faults.join("\n  "));
    }
    println!("Edges, sizes, paths and reasons are in order.");
    Ok(())
}

/// Slices use each other only along the edges that ARCHITECTURE.md lists, and only through what a `mod.rs` offers.
fn slice_edges(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md cannot be read")?;
    let edges = read_edges(&map)?;
    if let Some(cycle) = find_cycle(&edges) {
        faults.push(format!(
            "ARCHITECTURE.md: the edges between slices form a cycle through {cycle}"
        ));
    }
    let source = root.join("crates/antumbra-server/src");
    for (slice, may_use) in &edges {
        for file in rust_files(&source.join(slice))? {
            for path in uses(&without_comments(&std::fs::read_to_string(&file)?)) {
                let (used, inner) = (&path[0], path.get(1).map_or("", String::as_str));
                // The shell is under every slice, and an id is a word that any slice may say.
                if used == slice || used == "http" || inner.ends_with("Id") || !edges.contains_key(used) {
                    continue;
                }
                let place = shown(root, &file);
                if !may_use.contains(used) {
                    faults.push(format!(
                        "{place}: {slice} may not use {} (see ARCHITECTURE.md)",
                        path.join("::")
                    ));
                }
                if ["store", "wire", "http"].contains(&inner) {
                    faults.push(format!("{place}: reaches into {} past its mod.rs", path.join("::")));
                }
            }
        }
    }
    Ok(())
}

/// The lines between `<!-- edges -->` and `<!-- /edges -->`: "| `dsr` | `organization`, `silos` |".
fn read_edges(map: &str) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let start = map
        .find("<!-- edges -->")
        .context("ARCHITECTURE.md has no `<!-- edges -->`")?;
    let end = map
        .find("<!-- /edges -->")
        .context("ARCHITECTURE.md has no `<!-- /edges -->`")?;
    let rows = map[start..end].lines().filter(|line| line.starts_with("| `"));
    Ok(rows
        .filter_map(|row| {
            let mut names = row.split('`').skip(1).step_by(2).map(str::to_owned);
            Some((names.next()?, names.collect()))
        })
        .collect())
}

fn find_cycle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    // A slice that uses none of the others left cannot be in a cycle: take those away until nothing changes.
    let mut left: BTreeSet<&String> = edges.keys().collect();
    loop {
        let before = left.len();
        let still: BTreeSet<&String> = left.clone();
        left.retain(|slice| edges[*slice].iter().any(|used| still.contains(used)));
        if left.len() == before {
            return left.first().map(|slice| slice.to_string());
        }
    }
}

/// Every path that begins with `crate::`, without that beginning; groups in braces are spelled out.
fn uses(source: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        spell_out(&source[at + "crate::".len()..], &mut Vec::new(), &mut found);
    }
    found
}

fn spell_out(path: &str, before: &mut Vec<String>, found: &mut BTreeSet<Vec<String>>) {
    let path = path.trim_start();
    if path.starts_with('{') {
        for element in group(path) {
            spell_out(element, &mut before.clone(), found);
        }
        return;
    }
    let word: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let rest = path[word.len()..].strip_prefix("::");
    before.push(word);
    match rest {
        Some(rest) => spell_out(rest, before, found),
        None => {
            found.insert(before.clone());
        }
    }
}

/// The elements of the outermost braces.
fn group(text: &str) -> Vec<&str> {
    let mut elements = Vec::new();
    let (mut depth, mut start) = (0, 1);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                elements.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            elements.push(&text[start..at]);
            break;
        }
    }
    elements
}

/// The path of an endpoint stands once, above its handler.
fn paths_written_once(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let mut handlers: BTreeMap<String, usize> = BTreeMap::new();
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    for file in rust_files(&root.join("crates/antumbra-server/src"))? {
        // Fuzz targets call the server as its tests do.
        if file.ends_with("fuzz.rs") {
            continue;
        }
        let text = without_comments(&std::fs::read_to_string(&file)?);
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for attribute in text.split("utoipa::path(").skip(1) {
            if let Some(path) = attribute
                .split("path = \"")
                .nth(1)
                .and_then(|rest| rest.split('"').next())
            {
                *handlers.entry(path.to_owned()).or_default() += 1;
            }
        }
        for literal in text.split('"').filter(|literal| literal.starts_with("/v1/")) {
            *written.entry(literal.to_owned()).or_default() += 1;
        }
    }
    for (path, count) in &handlers {
        let times = written.get(path).copied().unwrap_or_default();
        if path.starts_with("/v1/") && times > *count {
            faults.push(format!("{path}: written {times} times for {count} handlers"));
        }
    }
    Ok(())
}

/// Length, an opening paragraph, nothing left for later.
fn every_file(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let later = ["TO", "DO"].concat();
    let fix = ["FIX", "ME"].concat();
    let macros = [["to", "do!("].concat(), ["unimplemented", "!("].concat()];
    for folder in ["crates", "xtask", "bench"] {
        for file in rust_files(&root.join(folder))? {
            let text = std::fs::read_to_string(&file)?;
            let place = shown(root, &file);
            let tests = place.contains("/tests/") || place.ends_with("/tests.rs");
            let most = if tests { TEST_LINES_MAX } else { LINES_MAX };
            let lines = text.lines().count();
            if lines > most {
                faults.push(format!("{place}: {lines} lines; {most} is the most"));
            }
            if !text.starts_with("//!") && !tests {
                faults.push(format!("{place}: does not open with what it holds"));
            }
            for (number, line) in text.lines().enumerate() {
                let words = line.contains(&later) || line.contains(&fix);
                if words || macros.iter().any(|unfinished| line.contains(unfinished)) {
                    faults.push(format!("{place}:{}: something is left for later", number + 1));
                }
            }
        }
    }
    Ok(())
}

/// Every dependency says why it is here.
fn reasons(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let section = manifest
        .split("[workspace.dependencies]")
        .nth(1)
        .context("Cargo.toml lists no dependencies")?;
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        let (entry, reason) = line.split_once('#').unwrap_or((line, ""));
        let ours = entry.contains("path = ");
        if entry.contains('=') && !ours && reason.trim().is_empty() {
            faults.push(format!(
                "Cargo.toml: `{}` gives no reason",
                entry.split('=').next().unwrap_or_default().trim()
            ));
        }
    }
    Ok(())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn shown(root: &Path, file: &Path) -> String {
    file.strip_prefix(root).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_found_alone_and_in_groups() {
        let source =
            "use crate::audit::record;\nuse crate::{jobs::{self, Job}, silos};\nlet a = crate::files::store::x();";
        let found: Vec<_> = uses(source).iter().map(|path| path.join("::")).collect();
        assert_eq!(
            found,
            ["audit::record", "files::store::x", "jobs::Job", "jobs::self", "silos"]
        );
    }

    #[test]
    fn a_cycle_between_slices_is_named() {
        let edges = read_edges("<!-- edges -->\n| `a` | `b` |\n| `b` | `c` |\n| `c` | |\n<!-- /edges -->").unwrap();
        assert_eq!(find_cycle(&edges), None);
        let edges = read_edges("<!-- edges -->\n| `a` | `b` |\n| `b` | `a` |\n<!-- /edges -->").unwrap();
        assert_eq!(find_cycle(&edges).as_deref(), Some("a"));
    }
}
