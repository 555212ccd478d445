//! What the operator decides, read once into types in which wrong combinations cannot be written.
//!
//! `antumbra.default.toml` is the reference and the first layer; a file, the environment and the flags are laid over it
//! in `load`. What a setting does belongs to the room it is handed to, not here.

mod explain;
mod load;
mod rooms;
mod webhook_key;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use antumbra_server::silos::address::Network;
use jiff::SignedDuration;
use serde::Deserialize;

pub(crate) use explain::{check, show};
pub(crate) use load::{DEFAULTS, Flags, Mistake, Mistakes, load, nearest};

/// Every setting of the server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) server: Server,
    pub(crate) storage: Storage,
    pub(crate) files: Files,
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) compat: Compat,
    pub(crate) dsr: Dsr,
    pub(crate) preferences: Preferences,
    pub(crate) webhooks: Webhooks,
    pub(crate) mail: Mail,
    pub(crate) keys: Keys,
    pub(crate) logs: Logs,
}

/// Where the server listens and what it calls its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) listen: SocketAddr,
    pub(crate) data: PathBuf,
    #[serde(deserialize_with = "empty_is_none")]
    pub(crate) public_url: Option<String>,
    pub(crate) trusted_proxies: Vec<Network>,
    #[serde(deserialize_with = "empty_is_none")]
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) stop_within: SignedDuration,
    pub(crate) tls: Option<Tls>,
}

/// The files of HTTPS on the listener.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) certificate: PathBuf,
    pub(crate) private_key: PathBuf,
}

/// Which engine keeps everything but files. Each carries its own settings and no other's.
#[derive(Debug, Deserialize)]
#[serde(tag = "engine", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Storage {
    Embedded {
        cache_bytes: u64,
        accept_truncated_log: bool,
    },
    Postgres {
        url: Hidden,
        #[serde(default = "connections")]
        connections: usize,
        ca_file: Option<PathBuf>,
    },
}

fn connections() -> usize {
    16
}

/// Where sealed files are kept.
#[derive(Debug, Deserialize)]
#[serde(tag = "store", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Files {
    Local {},
}

/// Keys that callers need besides their API key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Access {
    pub(crate) internal_key: Option<Hidden>,
}

/// Budgets and sizes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) profile: LimitsProfile,
    pub(crate) datapoint_bytes: u64,
    pub(crate) budgets: BTreeMap<String, u32>,
}

/// Which request budgets apply.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LimitsProfile {
    None,
    Vendor,
}

/// Where published clients disagree with the published pages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compat {
    pub(crate) download_key_size: DownloadKeySize,
    pub(crate) old_dialect: bool,
}

/// How `size` is written in a list of download keys.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DownloadKeySize {
    Auto,
    Number,
    String,
}

/// How preferences are kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preferences {
    pub(crate) iab_contradiction: IabContradiction,
    pub(crate) history_days: u32,
    pub(crate) changes_kept: SignedDuration,
    pub(crate) unauthenticated_per_minute: u32,
    #[serde(deserialize_with = "empty_is_none")]
    pub(crate) access_link: Option<String>,
}

/// What becomes of a consent string that says the opposite of the purposes beside it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IabContradiction {
    Refuse,
    Record,
    Ignore,
}

/// How data subject requests are handled.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dsr {
    pub(crate) review: Review,
    pub(crate) time_zone: String,
    pub(crate) deadline_near_days: u16,
}

/// Whether a person looks at a report before it is sent.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Review {
    Required,
    Skipped,
}

/// Where webhooks may go, and when they are sent again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhooks {
    pub(crate) allow: Vec<Network>,
    pub(crate) try_again_after: SignedDuration,
    pub(crate) tries: NonZeroU32,
    pub(crate) remind_after: SignedDuration,
    pub(crate) enricher_asks: u32,
    pub(crate) at_once: NonZeroUsize,
    pub(crate) at_once_per_silo: NonZeroUsize,
    pub(crate) per_minute_per_silo: u32,
}

/// Which server takes mail, and at which pace.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    pub(crate) url: Hidden,
    pub(crate) from: String,
    pub(crate) reply_to: String,
    #[serde(deserialize_with = "empty_is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) connect_timeout: SignedDuration,
    pub(crate) timeout: SignedDuration,
    pub(crate) connections: NonZeroUsize,
    pub(crate) per_minute: u32,
}

/// Where keys come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    #[serde(deserialize_with = "empty_is_none")]
    pub(crate) root_file: Option<PathBuf>,
    pub(crate) epoch: SignedDuration,
    pub(crate) webhook_key: Option<Hidden>,
}

/// What is logged, and how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logs {
    pub(crate) level: String,
    pub(crate) format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Auto,
    Human,
    Json,
}

/// A setting that is a secret, or carries one: it has no `Display`, and its `Debug` is a placeholder.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(String);

impl Hidden {
    /// The secret itself, for the one place that needs it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

fn empty_is_none<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}
