//! The layers, laid over each other, and the mistakes in them, each with its place.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use antumbra_server::routes::budgets;

use super::Config;

/// The reference: every setting with its default.
pub(crate) const DEFAULTS: &str = include_str!("../../../../antumbra.default.toml");

/// What the command line says about the configuration. A flag wins over every other layer.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    pub(crate) file: Option<PathBuf>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) listen: Option<String>,
}

/// Something in the configuration that cannot be: what, where, and what to do about it.
#[derive(Debug)]
pub(crate) struct Mistake {
    what: String,
    place: Option<String>,
    hint: Option<String>,
    /// The setting whose place is to be found.
    setting: Option<&'static str>,
}

impl Mistake {
    /// A mistake in the value of one setting, such as `logs.level`: what the setting `cannot` be.
    pub(crate) fn in_setting(setting: &'static str, cannot: impl fmt::Display) -> Mistake {
        Mistake {
            what: format!("`{setting}` {cannot}"),
            place: None,
            hint: None,
            setting: Some(setting),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(place) = &self.place {
            write!(f, "\n  at {place}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistake {}

/// Everything that cannot be, in the order in which it was found.
#[derive(Debug)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mistake) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Mistakes {
        Mistakes(vec![mistake])
    }
}

/// Reads every layer into one [`Config`], in which every setting makes sense: what this lets pass, `serve` does not refuse
/// for a setting's sake.
///
/// What cannot be is put aside for its default, so that everything else that cannot be is found as well.
pub(crate) fn load(flags: &Flags) -> Result<Config, Mistakes> {
    let layers = layers(flags)?;
    let file = flags.file.as_deref();
    let variables = Env::prefixed("ANTUMBRA_");
    let mut mistakes = misspelt(variables.iter().map(|(name, _)| name.into_string()));
    let mut rest = layers.clone();
    loop {
        let (path, mut mistake) = match read(&rest) {
            Ok(config) if mistakes.is_empty() => return Ok(config),
            Ok(_) => return Err(Mistakes(mistakes)),
            Err(found) => found,
        };
        mistake.place = place(&path, &layers, file);
        mistakes.push(mistake);
        match without(&rest, &path) {
            Some(less) => rest = less,
            None => return Err(Mistakes(mistakes)),
        }
    }
}

/// The configuration, or the first setting that cannot be.
fn read(layers: &Figment) -> Result<Config, (Vec<String>, Mistake)> {
    let config: Config = layers.extract().map_err(explain)?;
    for name in config.limits.budgets.keys() {
        if let Some(hint) = wrong_with_budget(name) {
            let path = ["limits", "budgets", name].map(str::to_owned);
            let mistake = Mistake {
                what: format!("`{}` is not a setting", path.join(".")),
                place: None,
                hint: Some(hint),
                setting: None,
            };
            return Err((path.into(), mistake));
        }
    }
    config.verify().map_err(|mistake| {
        let names = mistake.setting.into_iter().flat_map(|name| name.split('.'));
        (names.map(str::to_owned).collect(), mistake)
    })?;
    Ok(config)
}

/// The layers with one setting as it is by default, or if that changes nothing, what it is part of. `None` if that changes
/// nothing either.
fn without(layers: &Figment, path: &[String]) -> Option<Figment> {
    let present: Dict = layers.extract().ok()?;
    // The settings of an engine go with the engine.
    let deepest = if path.first()? == "storage" { 1 } else { path.len() };
    (1..=deepest).rev().find_map(|depth| {
        let mut changed = present.clone();
        reset(&mut changed, &defaults(), &path[..depth])?;
        Some(Figment::from(Layer::new("default".to_owned(), whole(changed))))
    })
}

/// Puts what stands at a place into the same place, or takes away what is there. `None` if that changes nothing.
fn reset(table: &mut Dict, defaults: &Dict, path: &[String]) -> Option<()> {
    let (name, inner) = path.split_first()?;
    let default = defaults.get(name);
    if inner.is_empty() {
        if default == table.get(name) {
            return None;
        }
        match default {
            Some(default) => table.insert(name.clone(), default.clone()),
            None => table.remove(name),
        };
        return Some(());
    }
    let Some(Value::Dict(_, inside)) = table.get_mut(name) else {
        return None;
    };
    let empty = Dict::new();
    let default = default.and_then(Value::as_dict).unwrap_or(&empty);
    reset(inside, default, inner)
}

/// What to do about the name of a budget that stands for none.
fn wrong_with_budget(name: &str) -> Option<String> {
    let known = budgets::ALL.map(|budget| budget.name);
    let (budget, owner) = name
        .split_once('@')
        .map_or((name, None), |(budget, owner)| (budget, Some(owner)));
    if !known.contains(&budget) {
        return Some(match nearest(budget, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        });
    }
    let wrong = owner.is_some_and(|owner| owner.parse::<uuid::Uuid>().is_err());
    wrong.then(|| "after the @ stands the id of an organization or of an API key".to_owned())
}

/// The layers in their order, not yet read into types.
pub(super) fn layers(flags: &Flags) -> Result<Figment, Mistake> {
    let mut chosen = Figment::new();
    if let Some(key) = std::env::var("JWT_ECDSA_KEY").ok().filter(|key| !key.is_empty()) {
        // The name that other gateways give it. Whatever is said in our own words wins.
        let keys = Dict::from([("webhook_key".to_owned(), Value::from(key))]);
        let sections = Dict::from([("keys".to_owned(), Value::from(keys))]);
        chosen = chosen.merge(Layer::new("variable JWT_ECDSA_KEY".to_owned(), whole(sections)));
    }
    if let Some(path) = &flags.file {
        chosen = chosen.merge(file(path)?);
    }
    let mut defaults = defaults();
    // Only variables with a section are settings; others that begin alike belong to commands and tests.
    let settings = Env::prefixed("ANTUMBRA_").filter(|name| name.as_str().contains("__"));
    for variable in settings
        .iter()
        .map(|(name, _)| name.as_str().to_ascii_uppercase())
        .collect::<Vec<_>>()
    {
        let one = Env::prefixed("ANTUMBRA_").only(&[variable.as_str()]).split("__");
        chosen = chosen.merge(Layer::new(
            format!("variable ANTUMBRA_{variable}"),
            one.data().unwrap_or_default(),
        ));
    }
    if let Some(listen) = &flags.listen {
        chosen = chosen.merge(Layer::flag("--listen", "listen", listen));
    }
    if let Some(data) = &flags.data {
        chosen = chosen.merge(Layer::flag("--data", "data", &data.to_string_lossy()));
    }

    // The embedded engine's defaults mean nothing to another engine, so they leave with it.
    let other_engine = chosen
        .find_value("storage.engine")
        .is_ok_and(|engine| engine.as_str() != Some("embedded"));
    if other_engine {
        defaults.remove("storage");
    }
    Ok(Figment::from(Layer::new("default".to_owned(), whole(defaults))).merge(chosen))
}

fn defaults() -> Dict {
    Toml::from_str(DEFAULTS).expect("the built-in defaults are TOML: a test reads them")
}

/// Which variables, named without their prefix, have one underscore where a section ends: they would set nothing.
fn misspelt(names: impl Iterator<Item = String>) -> Vec<Mistake> {
    let sections = defaults();
    let misspelt = |name: String| {
        let (section, key) = name.split_once('_')?;
        if name.contains("__") || !sections.contains_key(&section.to_ascii_lowercase()) {
            return None;
        }
        let (section, key) = (section.to_ascii_uppercase(), key.to_ascii_uppercase());
        Some(Mistake {
            what: format!("`ANTUMBRA_{section}_{key}` is not a setting"),
            place: None,
            hint: Some(format!("two underscores end the section: `ANTUMBRA_{section}__{key}`")),
            setting: None,
        })
    };
    names.filter_map(misspelt).collect()
}

fn file(path: &Path) -> Result<Layer, Mistake> {
    let mistake = |what: String| Mistake {
        what,
        place: Some(path.display().to_string()),
        hint: None,
        setting: None,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|cause| mistake(format!("the configuration file cannot be read: {cause}")))?;
    let sections: Dict = Toml::from_str(&text).map_err(|cause| mistake(cause.to_string().trim_end().to_owned()))?;
    Ok(Layer::new(format!("file {}", path.display()), whole(sections)))
}

fn whole(sections: Dict) -> Map<Profile, Dict> {
    Map::from([(Profile::Default, sections)])
}

/// One layer with the name that `config show` and every mistake give it.
struct Layer {
    origin: String,
    sections: Map<Profile, Dict>,
}

impl Layer {
    fn new(origin: String, sections: Map<Profile, Dict>) -> Layer {
        Layer { origin, sections }
    }

    fn flag(name: &str, key: &str, value: &str) -> Layer {
        let server = Dict::from([(key.to_owned(), Value::from(value))]);
        Layer::new(
            format!("flag {name}"),
            whole(Dict::from([("server".to_owned(), Value::from(server))])),
        )
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(self.sections.clone())
    }
}

/// Turns what the reader stumbled over into the setting and a sentence.
fn explain(error: figment::Error) -> (Vec<String>, Mistake) {
    let mut path = error.path.clone();
    let (what, hint) = match &error.kind {
        Kind::UnknownField(name, known) => {
            if path.last() != Some(name) {
                path.push(name.clone());
            }
            let hint = match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            (format!("`{}` is not a setting", path.join(".")), Some(hint))
        }
        Kind::UnknownVariant(name, known) => {
            let hint = match nearest(name, known) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("one of: {}", known.join(", ")),
            };
            (format!("`{}` cannot be \"{name}\"", path.join(".")), Some(hint))
        }
        Kind::MissingField(name) => {
            path.push(name.to_string());
            (format!("`{}` must be given", path.join(".")), None)
        }
        other => (format!("`{}`: {other}", path.join(".")), None),
    };
    let mistake = Mistake {
        what,
        place: None,
        hint,
        setting: None,
    };
    (path, mistake)
}

/// Where a setting was written: the layer, and the line if the layer is a file.
fn place(path: &[String], layers: &Figment, file: Option<&Path>) -> Option<String> {
    // A setting that is missing has no place of its own; its section has one.
    let known = |depth: &usize| layers.find_metadata(&path[..*depth].join(".")).is_some();
    let depth = (1..=path.len()).rev().find(known)?;
    let origin = layers.find_metadata(&path[..depth].join("."))?.name.to_string();
    let line = file
        .filter(|_| origin.starts_with("file "))
        .and_then(|file| line_of(file, &path[..depth]));
    Some(match line {
        Some(line) => format!("{origin}:{line}"),
        None => origin,
    })
}

/// The line on which a key stands, found by reading headers and keys and nothing more.
fn line_of(file: &Path, path: &[String]) -> Option<usize> {
    let text = std::fs::read_to_string(file).ok()?;
    let wanted = path.join(".");
    let mut section = String::new();
    let mut header = None;
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            section = name.trim().to_owned();
            if section == wanted {
                header = Some(number + 1);
            }
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim().trim_matches('"');
            if wanted
                == if section.is_empty() {
                    key.to_owned()
                } else {
                    format!("{section}.{key}")
                }
            {
                return Some(number + 1);
            }
        }
    }
    header
}

/// The known word that a typing slip away from `word` would have been.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known
        .iter()
        .map(|candidate| (strsim::levenshtein(word, candidate), *candidate))
        .min()?;
    (near.0 <= 2.max(word.chars().count() / 3)).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DownloadKeySize, Storage};

    fn with_file(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("antumbra.toml");
        std::fs::write(&path, text).unwrap();
        load(&Flags {
            file: Some(path),
            ..Flags::default()
        })
        .map_err(|mistake| mistake.to_string().replace(&*folder.path().to_string_lossy(), "~"))
    }

    #[test]
    fn the_built_in_defaults_are_a_whole_configuration() {
        let config = load(&Flags::default()).unwrap();
        assert!(matches!(config.storage, Storage::Embedded { cache_bytes: 0, .. }));
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.compat.download_key_size, DownloadKeySize::Auto);
        assert!(config.compat.old_dialect);
    }

    #[test]
    fn a_variable_with_one_underscore_after_its_section_is_refused() {
        let refused = |name: &str| Mistakes(misspelt([name.to_owned()].into_iter())).to_string();
        assert_eq!(
            refused("server_listen"),
            "`ANTUMBRA_SERVER_LISTEN` is not a setting\n  \
             two underscores end the section: `ANTUMBRA_SERVER__LISTEN`"
        );
        for fine in [
            "server__listen",
            "server__stop_within",
            "config",
            "internal_key",
            "test_seed",
        ] {
            assert_eq!(refused(fine), "", "{fine}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let text = "[server]\nlisten = 7\nlitsen = 1\npublic_url = \"shop\"\ntls = { certificate = \"a\" }\n\
                    [storage]\nengine = \"postgers\"\n[limits]\nprofile = \"vendro\"\nbudgets = { dsrr = 1 }\n\
                    [preferences]\naccess_link = \"https://shop.example.test/\"\n[keys]\nepoch = \"-1h\"\n";
        let refused = with_file(text).unwrap_err();
        let wrong: Vec<&str> = refused.lines().filter(|line| line.starts_with('`')).collect();
        for named in [
            "server.listen",
            "server.litsen",
            "server.public_url",
            "server.tls.private_key",
            "storage.engine",
            "limits.profile",
            "limits.budgets.dsrr",
            "preferences.access_link",
            "keys.epoch",
        ] {
            let about = |line: &&&str| line.starts_with(&format!("`{named}`"));
            assert_eq!(wrong.iter().filter(about).count(), 1, "{named}: {refused}");
        }
        assert_eq!(wrong.len(), 9, "{refused}");
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_key() {
        assert_eq!(
            with_file("[server]\nlisten = \"127.0.0.1:0\"\nlitsen = \"127.0.0.1:1\"\n").unwrap_err(),
            "`server.litsen` is not a setting\n  at file ~/antumbra.toml:3\n  did you mean `listen`?"
        );
    }

    #[test]
    fn an_engine_carries_its_own_settings_and_no_others() {
        let config = with_file("[storage]\nengine = \"postgres\"\nurl = \"postgres://db.example.test/a\"\n").unwrap();
        assert!(matches!(config.storage, Storage::Postgres { connections: 16, .. }));
        let mixed = with_file("[storage]\nengine = \"postgres\"\nurl = \"postgres://x/y\"\ncache_bytes = 1\n");
        assert_eq!(
            mixed.unwrap_err(),
            "`storage.cache_bytes` is not a setting\n  at file ~/antumbra.toml:4\n  known here: url, connections, ca_file"
        );
        assert_eq!(
            with_file("[storage]\nengine = \"postgres\"\n").unwrap_err(),
            "`storage.url` must be given\n  at file ~/antumbra.toml:1"
        );
        assert_eq!(
            with_file("[storage]\nengine = \"postgers\"\n").unwrap_err(),
            "`storage.engine` cannot be \"postgers\"\n  at file ~/antumbra.toml:2\n  did you mean \"postgres\"?"
        );
    }

    #[test]
    fn every_section_refuses_what_it_does_not_know_and_names_the_line() {
        for (section, sibling) in [
            ("", ""),
            ("server", ""),
            ("server.tls", "certificate = \"a\"\nprivate_key = \"b\""),
            ("storage", ""),
            (
                "storage",
                "engine = \"postgres\"\nurl = \"postgres://db.example.test/a\"",
            ),
            ("files", ""),
            ("access", ""),
            ("limits", ""),
            ("limits.budgets", ""),
            ("compat", ""),
            ("dsr", ""),
            ("preferences", ""),
            ("webhooks", ""),
            ("keys", ""),
            ("logs", ""),
        ] {
            let (header, path) = match section {
                "" => (String::new(), "marmalade".to_owned()),
                section => (format!("[{section}]"), format!("{section}.marmalade")),
            };
            let text = [header.as_str(), sibling, "marmalade = 1"].join("\n");
            let line = text.lines().count();
            let refused = with_file(&text).unwrap_err();
            let place = format!("`{path}` is not a setting\n  at file ~/antumbra.toml:{line}\n");
            assert!(refused.starts_with(&place), "[{section}]: {refused}");
        }
        let section = with_file("[marmalade]\nsugar = 1\n").unwrap_err();
        assert!(
            section.starts_with("`marmalade` is not a setting\n  at file ~/antumbra.toml:1\n"),
            "{section}"
        );
    }

    #[test]
    fn a_budget_is_named_as_the_route_table_names_it() {
        let id = "0f8b4a51-77b1-4f0e-8d50-6a4b2f3c1d01";
        let good = format!("[limits]\nbudgets = {{ dsr = 5, preferences_query = 1, \"dsr@{id}\" = 7 }}\n");
        assert_eq!(with_file(&good).unwrap().limits.budgets.len(), 3);
        assert_eq!(
            with_file("[limits.budgets]\ndsr = 1\npreference_query = 5\n").unwrap_err(),
            "`limits.budgets.preference_query` is not a setting\n  at file ~/antumbra.toml:3\n  did you mean `preferences_query`?"
        );
        for wrong in ["dsr@", "dsr@shop", "dsr@0f8b4a51"] {
            let refused = with_file(&format!("[limits.budgets]\n\"{wrong}\" = 1\n")).unwrap_err();
            assert!(refused.contains(wrong) && refused.contains("after the @"), "{refused}");
        }
    }

    #[test]
    fn an_internal_key_that_is_empty_is_refused() {
        for empty in ["", "  "] {
            let refused = with_file(&format!("[access]\ninternal_key = \"{empty}\"\n")).unwrap_err();
            assert!(refused.contains("`access.internal_key` is empty"), "{refused}");
            assert!(refused.contains("\n  at file ~/antumbra.toml:2"), "{refused}");
        }
    }

    #[test]
    fn a_public_url_is_the_address_of_a_server_and_nothing_more() {
        let with_url = |url: &str| with_file(&format!("[server]\npublic_url = \"{url}\"\n"));
        for good in [
            "",
            "https://privacy.example.test",
            "http://10.0.0.1:8080/",
            "https://example.test/privacy",
        ] {
            assert!(with_url(good).is_ok(), "{good}");
        }
        for (wrong, why) in [
            ("privacy.example.test", "must be an absolute http or https URL"),
            ("/privacy", "must be an absolute http or https URL"),
            ("ftp://example.test", "must be an absolute http or https URL"),
            ("localhost:8080", "must be an absolute http or https URL"),
            ("https://", "must be an absolute http or https URL"),
            ("https://exa mple.test", "must be an absolute http or https URL"),
            ("https://example.test?a=b", "must not have a query or a fragment"),
            ("https://example.test/#top", "must not have a query or a fragment"),
            (
                "https://ada:canary@example.test",
                "must not carry a user name or a password",
            ),
        ] {
            let refused = with_url(wrong).unwrap_err();
            assert_eq!(
                refused,
                format!("`server.public_url` {why}\n  at file ~/antumbra.toml:2"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn what_only_shows_when_it_is_put_to_use_is_found_before() {
        for (section, setting, value, why) in [
            ("logs", "level", "\"loud\"", "cannot be \"loud\": "),
            (
                "logs",
                "level",
                "\"info,antumbra=loud\"",
                "cannot be \"info,antumbra=loud\": ",
            ),
            ("server", "stop_within", "\"-3s\"", "cannot be less than nothing"),
            ("webhooks", "remind_after", "\"-1h\"", "cannot be less than nothing"),
            ("keys", "webhook_key", "\"canary\"", "cannot be used: "),
            (
                "server",
                "tls",
                "{ certificate = \"/nowhere/a.pem\", private_key = \"/nowhere/b.pem\" }",
                "cannot be used: cannot read /nowhere/a.pem",
            ),
        ] {
            let refused = with_file(&format!("[{section}]\n{setting} = {value}\n")).unwrap_err();
            assert!(
                refused.starts_with(&format!("`{section}.{setting}` {why}")),
                "{refused}"
            );
            assert!(refused.ends_with("\n  at file ~/antumbra.toml:2"), "{refused}");
            assert!(!refused.contains("canary"), "{refused}");
        }
        let postgres = "[storage]\nengine = \"postgres\"\n";
        for (line, setting) in [
            (
                "url = \"postgres://db.example.test/a\"\nconnections = 0\n",
                "`storage.connections`",
            ),
            ("url = \"mysql://ada:canary@db.example.test/a\"\n", "`storage.url`"),
        ] {
            let refused = with_file(&format!("{postgres}{line}")).unwrap_err();
            assert!(refused.starts_with(setting) && !refused.contains("canary"), "{refused}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let config = with_file("[access]\ninternal_key = \"canary-internal\"\n").unwrap();
        assert!(!format!("{config:?}").contains("canary"));
    }
}
