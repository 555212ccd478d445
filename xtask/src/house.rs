//! The rules of the house that no compiler knows: who may use whom, how long a file may be, what must have a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::ci::root;

/// A longer file has a seam somewhere.
const LINES_MAX: usize = 900;

/// Which slices each slice may use.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Whose words a file of a slice may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is the management API, or the slice's part of it.
    Management,
    Rest,
}

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
    for slice in edges.keys() {
        for file in rust_files(&source.join(slice))? {
            for path in uses(&without_comments(&std::fs::read_to_string(&file)?)) {
                let fault = fault_of_use(&edges, slice, part_of(&file), &path);
                faults.extend(fault.map(|fault| format!("{}: {slice} {fault}", shown(root, &file))));
            }
        }
    }
    Ok(())
}

/// What is wrong with `path` in a file of `slice`, if anything.
fn fault_of_use(edges: &Edges, slice: &str, part: Part, path: &[String]) -> Option<String> {
    let (used, inner) = (path[0].as_str(), path.get(1).map_or("", String::as_str));
    let named = path.join("::");
    if used == slice || !edges.contains_key(used) {
        return None;
    }
    if ["store", "wire", "http"].contains(&inner) {
        return Some(format!("reaches into {named} past its mod.rs"));
    }
    let is_of_graphql = used == "graphql" || inner == "graphql";
    if is_of_graphql && part == Part::Rest {
        return Some(format!("may use {named} in its graphql.rs only"));
    }
    // The shell is under every slice, the management API's words are under each slice's part of it, and an id is a word
    // that any slice may say.
    let is_free = ["http", "graphql"].contains(&used) || inner.ends_with("Id");
    (!is_free && !edges[slice].contains(used)).then(|| format!("may not use {named} (see ARCHITECTURE.md)"))
}

fn part_of(file: &Path) -> Part {
    let is_graphql = |name: &std::ffi::OsStr| name == "graphql" || name == "graphql.rs";
    match file.iter().any(is_graphql) {
        true => Part::Management,
        false => Part::Rest,
    }
}

/// The lines between `<!-- edges -->` and `<!-- /edges -->`: "| `dsr` | `organization`, `silos` |".
fn read_edges(map: &str) -> Result<Edges> {
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

fn find_cycle(edges: &Edges) -> Option<String> {
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
            let lines = text.lines().count();
            if lines > LINES_MAX {
                faults.push(format!("{place}: {lines} lines; {LINES_MAX} is the most"));
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

/// The Rust files below a folder. What a merge leaves lying about is refused.
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
            } else if path
                .extension()
                .is_some_and(|extension| extension == "orig" || extension == "rej")
            {
                anyhow::bail!("{} was left behind by a merge", path.display());
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
    fn a_use_off_the_edges_is_named() {
        let map = "<!-- edges -->\n| `http` | `api_keys` |\n| `api_keys` | |\n| `dsr` | `files` |\n| `files` | |\n\
                   | `graphql` | `dsr` |\n<!-- /edges -->";
        let edges = read_edges(map).unwrap();
        let fault = |slice: &str, part: Part, path: &str| {
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            fault_of_use(&edges, slice, part, &path)
        };
        let allowed = [
            ("dsr", Part::Rest, "files::find"),
            ("files", Part::Rest, "dsr::DsrId"),
            ("files", Part::Rest, "http::Problem"),
            ("http", Part::Rest, "api_keys::ScopeName"),
            ("graphql", Part::Management, "dsr::Deed"),
            ("files", Part::Management, "graphql::Session"),
            ("dsr", Part::Rest, "config::Limits"),
        ];
        for (slice, part, path) in allowed {
            assert_eq!(fault(slice, part, path), None, "{slice}: {path}");
        }
        let forbidden = [
            ("files", Part::Rest, "dsr::find"),
            ("dsr", Part::Rest, "files::store::find"),
            ("http", Part::Rest, "dsr::find"),
            ("graphql", Part::Management, "files::find"),
            ("files", Part::Rest, "graphql::Session"),
            ("dsr", Part::Rest, "files::graphql::FileNode"),
            ("files", Part::Management, "dsr::graphql::RequestNode"),
        ];
        for (slice, part, path) in forbidden {
            assert!(fault(slice, part, path).is_some(), "{slice}: {path}");
        }
    }

    #[test]
    fn a_cycle_between_slices_is_named() {
        let edges = read_edges("<!-- edges -->\n| `a` | `b` |\n| `b` | `c` |\n| `c` | |\n<!-- /edges -->").unwrap();
        assert_eq!(find_cycle(&edges), None);
        let edges = read_edges("<!-- edges -->\n| `a` | `b` |\n| `b` | `a` |\n<!-- /edges -->").unwrap();
        assert_eq!(find_cycle(&edges).as_deref(), Some("a"));
    }
}
