//! `antumbra config check` and `antumbra config show`.

use figment::value::{Dict, Value};

use super::Storage;
use super::load::{Flags, Mistakes, layers, load};

/// Settings whose value is never printed.
const SECRETS: [&str; 4] = ["access.internal_key", "keys.webhook_key", "mail.url", "storage.url"];

/// Settings that the defaults do not hold, with what is in force without them.
const UNSET: [(&str, &str); 3] = [
    ("access.internal_key", "(not set)"),
    ("keys.webhook_key", "(not set)"),
    ("server.tls", "(not set)"),
];
const UNSET_WITH_POSTGRES: [(&str, &str); 2] = [("storage.ca_file", "(not set)"), ("storage.connections", "16")];

/// Says that the configuration is right, or what is wrong with it and where.
pub(crate) fn check(flags: &Flags) -> Result<String, Mistakes> {
    load(flags)?;
    Ok(match &flags.file {
        Some(path) => format!("{} is right.", path.display()),
        None => "The configuration is right. No file was named: these are the defaults and the environment.".to_owned(),
    })
}

/// Every setting in force, one a line, with where it came from.
pub(crate) fn show(flags: &Flags) -> Result<String, Mistakes> {
    let config = load(flags)?;
    let layers = layers(flags)?;
    let whole: Dict = layers.extract().expect("what was read into types is a table");
    let mut settings = Vec::new();
    flatten("", &whole, &mut settings);
    let unset: &[(&str, &str)] = match config.storage {
        Storage::Embedded { .. } => &UNSET,
        Storage::Postgres { .. } => &UNSET_WITH_POSTGRES,
    };
    for (name, value) in unset.iter().chain(&UNSET) {
        let under = format!("{name}.");
        if !settings
            .iter()
            .any(|(known, _)| known == name || known.starts_with(&under))
        {
            settings.push(((*name).to_owned(), (*value).to_owned()));
        }
    }
    settings.sort();
    let width = settings
        .iter()
        .map(|(name, value)| name.len() + value.len() + 3)
        .max()
        .unwrap_or(0);
    let lines = settings.iter().map(|(name, value)| {
        let origin = layers
            .find_metadata(name)
            .map_or("default", |metadata| metadata.name.as_ref());
        format!("{:width$}  # {origin}", format!("{name} = {value}"))
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn flatten(prefix: &str, table: &Dict, into: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let name = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => flatten(&name, inner, into),
            _ if SECRETS.contains(&name.as_str()) => into.push((name, "(hidden)".to_owned())),
            other => {
                let shown = serde_json::to_string(other).expect("a TOML value has a JSON form");
                into.push((name, shown));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DEFAULTS;

    #[test]
    fn every_setting_of_the_reference_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("antumbra.toml");
        std::fs::write(
            &file,
            "[storage]\nengine = \"postgres\"\nurl = \"postgres://ada:canary@db.example.test/a\"\n",
        )
        .unwrap();
        let shown = |file| {
            show(&Flags {
                file,
                ..Flags::default()
            })
            .unwrap()
        };
        let shown = [shown(None), shown(Some(file))].concat();
        assert!(!shown.contains("canary"), "{shown}");
        let mut section = "";
        for line in DEFAULTS.lines() {
            let line = line.strip_prefix("# ").unwrap_or(line);
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
            } else if let Some((key, _)) = line.split_once(" = ")
                && key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
            {
                let found =
                    shown.contains(&format!("{section}.{key} = ")) || shown.contains(&format!("{section} = (not set)"));
                assert!(found, "{section}.{key} is not in\n{shown}");
            }
        }
    }
}
