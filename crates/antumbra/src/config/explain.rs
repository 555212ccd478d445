//! `antumbra config check` and `antumbra config show`.

use figment::value::{Dict, Value};

use super::load::{Flags, Mistake, layers, load};

/// Settings whose value is never printed.
const SECRETS: [&str; 3] = ["access.internal_key", "keys.webhook_key", "storage.url"];

/// Says that the configuration is right, or what is wrong with it and where.
pub(crate) fn check(flags: &Flags) -> Result<String, Mistake> {
    let config = load(flags)?;
    config.for_server()?;
    config.webhook_key()?;
    Ok(match &flags.file {
        Some(path) => format!("{} is right.", path.display()),
        None => "The configuration is right. No file was named: these are the defaults and the environment.".to_owned(),
    })
}

/// Every setting in force, one a line, with where it came from.
pub(crate) fn show(flags: &Flags) -> Result<String, Mistake> {
    load(flags)?;
    let layers = layers(flags)?;
    let whole: Dict = layers.extract().expect("what was read into types is a table");
    let mut settings = Vec::new();
    flatten("", &whole, &mut settings);
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
            Value::Dict(_, inner) => flatten(&name, inner, into),
            _ if SECRETS.contains(&name.as_str()) => into.push((name, "(hidden)".to_owned())),
            other => {
                let shown = serde_json::to_string(other).expect("a TOML value has a JSON form");
                into.push((name, shown));
            }
        }
    }
}
