//! The settings as the other rooms want them.

use std::path::PathBuf;
use std::time::Duration;

use antumbra_crypto::token::SigningKey;
use antumbra_server::ServerConfig;
use antumbra_server::api_keys::internal_key_hash;
use antumbra_server::config as server;
use antumbra_server::jobs::Bounds;
use antumbra_server::keyring::{RootFile, erasure_horizon};
use antumbra_server::organization::knows_zone;
use antumbra_server::silos::address::Network;
use antumbra_store::{EmbeddedConfig, PostgresConfig, StoreConfig};
use jiff::SignedDuration;
use reqwest::Url;

use crate::logs;

use super::{Config, DownloadKeySize, IabContradiction, LimitsProfile, Mistake, Review, Storage, webhook_key};

impl Config {
    /// What the store needs to know.
    pub(crate) fn for_store(&self) -> StoreConfig {
        match &self.storage {
            Storage::Embedded {
                cache_bytes,
                accept_truncated_log,
            } => {
                let mut embedded = EmbeddedConfig::new(self.server.data.join("store"));
                if *cache_bytes > 0 {
                    embedded.cache_bytes = *cache_bytes;
                }
                embedded.accept_truncated_log = *accept_truncated_log;
                StoreConfig::Embedded(embedded)
            }
            Storage::Postgres {
                url,
                connections,
                ca_file,
            } => {
                let mut postgres = PostgresConfig::new(url.reveal());
                postgres.connections_max = *connections;
                postgres.ca_file = ca_file.clone();
                StoreConfig::Postgres(postgres)
            }
        }
    }

    /// Where the root key is.
    pub(crate) fn root_file(&self) -> PathBuf {
        self.keys
            .root_file
            .clone()
            .unwrap_or_else(|| self.server.data.join("root.key"))
    }

    /// The files of keys. Where several processes may share the store, none of them has a folder that all of them see.
    pub(crate) fn key_files(&self) -> RootFile {
        let root = RootFile::at(self.root_file());
        match self.storage {
            Storage::Embedded { .. } => root.with_epochs(),
            Storage::Postgres { .. } => root,
        }
    }

    /// When a destroyed key can no longer be brought back, in one line.
    pub(crate) fn erasure_horizon(&self) -> String {
        let epoch = Duration::try_from(self.keys.epoch).unwrap_or_default();
        match self.storage {
            Storage::Embedded { .. } if !epoch.is_zero() => {
                let hours = erasure_horizon(epoch).as_secs().div_ceil(3600);
                let span = match hours {
                    48.. if hours.is_multiple_of(24) => format!("{} days", hours / 24),
                    1 => "an hour".to_owned(),
                    _ => format!("{hours} hours"),
                };
                format!("final after {span}: no copy of the store brings anything back (docs/keys.md)")
            }
            _ => "final when the last copy of the store from before is gone (docs/keys.md)".to_owned(),
        }
    }

    /// The key that signs webhooks, where one was brought.
    pub(crate) fn webhook_key(&self) -> Result<Option<SigningKey>, Mistake> {
        let brought = self.keys.webhook_key.as_ref();
        let read = brought.map(|key| webhook_key::read(key.reveal())).transpose();
        read.map_err(|fault| Mistake::in_setting("keys.webhook_key", format_args!("cannot be used: {fault}")))
    }

    /// Looks at every setting that can be wrong although it has the right type.
    pub(super) fn verify(&self) -> Result<(), Mistake> {
        let config = self.for_server()?;
        self.webhook_key()?;
        if let Some(mail) = &config.mail {
            mail.check()
                .map_err(|why| Mistake::in_setting("mail.ca_file", format_args!("cannot be used: {why}")))?;
        }
        logs::filter(&self.logs)?;
        if let Some(url) = &self.server.public_url {
            check_public_url(url).map_err(|why| Mistake::in_setting("server.public_url", why))?;
        }
        if let Some(link) = &self.preferences.access_link {
            check_access_link(link).map_err(|why| Mistake::in_setting("preferences.access_link", why))?;
        }
        if let Some(tls) = &config.tls {
            tls.check().map_err(|cause| {
                let causes: Vec<String> = anyhow::Chain::new(&cause).map(ToString::to_string).collect();
                Mistake::in_setting("server.tls", format_args!("cannot be used: {}", causes.join(": ")))
            })?;
        }
        if let Storage::Postgres { url, connections, .. } = &self.storage {
            if *connections == 0 {
                return Err(Mistake::in_setting("storage.connections", "must be at least 1"));
            }
            if !["postgres://", "postgresql://"]
                .iter()
                .any(|start| url.reveal().starts_with(start))
            {
                let rule = "must begin with postgres:// or postgresql://";
                return Err(Mistake::in_setting("storage.url", rule));
            }
        }
        Ok(())
    }

    /// The mail server, where one is named.
    fn mail(&self) -> Result<Option<server::MailConfig>, Mistake> {
        let mail = &self.mail;
        let from_file = mail.url.reveal().strip_prefix("file:").map(std::fs::read_to_string);
        let from_file = from_file.transpose().map_err(|cause| {
            Mistake::in_setting("mail.url", format_args!("names a file that cannot be read: {cause}"))
        })?;
        let url = from_file.as_deref().unwrap_or(mail.url.reveal()).trim();
        if url.is_empty() {
            return Ok(None);
        }
        let config = server::MailConfig::new(url, &mail.from).map_err(|fault| match fault {
            server::MailFault::Url(why) => Mistake::in_setting("mail.url", why),
            server::MailFault::From => Mistake::in_setting(
                "mail.from",
                "must be an address where there is a mail server, as \"Privacy team <privacy@example.test>\"",
            ),
        })?;
        let reply_to = Some(mail.reply_to.as_str())
            .filter(|text| !text.is_empty())
            .map(|text| {
                server::mailbox(text)
                    .ok_or_else(|| Mistake::in_setting("mail.reply_to", "must be an address, or empty"))
            });
        let timeout = span("mail.timeout", mail.timeout)?;
        let longest = server::MailConfig::TIMEOUT_MAX;
        if timeout.is_zero() || timeout > longest {
            let rule = format_args!("must be between 1 s and {} s", longest.as_secs());
            return Err(Mistake::in_setting("mail.timeout", rule));
        }
        Ok(Some(server::MailConfig {
            ca_file: mail.ca_file.clone(),
            reply_to: reply_to.transpose()?,
            connect_timeout: span("mail.connect_timeout", mail.connect_timeout)?,
            timeout,
            connections: mail.connections,
            per_minute: std::num::NonZeroU32::new(mail.per_minute),
            ..config
        }))
    }

    /// What the server needs to know.
    pub(crate) fn for_server(&self) -> Result<ServerConfig, Mistake> {
        let mut config = ServerConfig {
            public_url: self
                .server
                .public_url
                .as_ref()
                .map(|url| url.trim_end_matches('/').to_owned()),
            tls: self.server.tls.as_ref().map(|tls| server::TlsFiles {
                certificate: tls.certificate.clone(),
                key: tls.private_key.clone(),
            }),
            ..ServerConfig::default()
        };
        config.limits.shutdown = span("server.stop_within", self.server.stop_within)?;
        if let Some(key) = &self.access.internal_key {
            if key.reveal().trim().is_empty() {
                let empty = "is empty: give a long random text, or leave it out to ask for none";
                return Err(Mistake::in_setting("access.internal_key", empty));
            }
            config.internal_key_hash = Some(internal_key_hash(key.reveal()));
        }
        if self.server.metrics_listen.is_some() {
            config.metrics = server::MetricsPlace::Apart;
        }
        config.limits.trusted_proxies = self.server.trusted_proxies.clone();
        config.limits.budgets = self.limits.budgets.clone();
        config.limits.datapoint_bytes = self.limits.datapoint_bytes;
        config.limits.profile = match self.limits.profile {
            LimitsProfile::None => server::RateProfile::None,
            LimitsProfile::Vendor => server::RateProfile::Vendor,
        };
        config.compat.download_key_size = match self.compat.download_key_size {
            DownloadKeySize::Auto => server::DownloadKeySize::Auto,
            DownloadKeySize::Number => server::DownloadKeySize::Number,
            DownloadKeySize::String => server::DownloadKeySize::String,
        };
        config.preferences.iab_contradiction = match self.preferences.iab_contradiction {
            IabContradiction::Refuse => server::IabContradiction::Refuse,
            IabContradiction::Record => server::IabContradiction::Record,
            IabContradiction::Ignore => server::IabContradiction::Ignore,
        };
        config.compat.old_dialect = self.compat.old_dialect;
        config.dsr.review = match self.dsr.review {
            Review::Required => server::Review::Required,
            Review::Skipped => server::Review::Skipped,
        };
        if !knows_zone(&self.dsr.time_zone) {
            let unknown = "is no time zone that this machine knows: write it as \"Europe/Berlin\", and see that its package of \
                           time zones (tzdata) is installed";
            return Err(Mistake::in_setting("dsr.time_zone", unknown));
        }
        config.dsr.time_zone = self.dsr.time_zone.clone();
        config.dsr.deadline_near = Duration::from_secs(u64::from(self.dsr.deadline_near_days) * 24 * 3600);
        let days = self.preferences.history_days;
        config.preferences.history = (days > 0).then(|| Duration::from_secs(u64::from(days) * 24 * 3600));
        config.webhooks.allowed_networks = self.webhooks.allow.clone();
        let windows = &mut config.webhooks.windows;
        windows.try_again = span("webhooks.try_again_after", self.webhooks.try_again_after)?;
        windows.tries = self.webhooks.tries.get();
        windows.waiting = span("webhooks.remind_after", self.webhooks.remind_after)?;
        windows.error = windows.waiting;
        windows.asks = Some(self.webhooks.enricher_asks).filter(|asks| *asks > 0);
        config.webhooks.bounds = Bounds {
            at_once: self.webhooks.at_once.get(),
            at_once_per_target: self.webhooks.at_once_per_silo.get(),
            per_minute_per_target: Some(self.webhooks.per_minute_per_silo).filter(|budget| *budget > 0),
        };
        let changes_kept = span("preferences.changes_kept", self.preferences.changes_kept)?;
        config.preferences.changes_kept = Some(changes_kept).filter(|kept| !kept.is_zero());
        config.preferences.unauthenticated_per_minute = self.preferences.unauthenticated_per_minute;
        config.preferences.access_link = self.preferences.access_link.clone();
        config.keys.epoch = Some(span("keys.epoch", self.keys.epoch)?).filter(|epoch| !epoch.is_zero());
        config.mail = self.mail()?;
        if self.server.listen.ip().is_loopback() {
            config.webhooks.allowed_networks.extend(Network::LOOPBACK);
        }
        Ok(config)
    }
}

/// A span as the server wants it: one that can pass.
fn span(setting: &'static str, span: SignedDuration) -> Result<Duration, Mistake> {
    Duration::try_from(span).map_err(|_| Mistake::in_setting(setting, "cannot be less than nothing"))
}

/// What is put in the place of `{token}` may only be read by the page itself or by its server.
fn check_access_link(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && !text.contains(char::is_whitespace)
    });
    let Some(url) = url else {
        return Err("must be an absolute http or https URL");
    };
    let behind_host = text.split_once(url.authority()).map_or("", |(_, rest)| rest);
    match behind_host.matches("{token}").count() {
        1 => Ok(()),
        _ => Err("must hold {token} once, behind the name of the host"),
    }
}

/// Links are made by writing a path behind it, so there may be nothing that has to come after a path. Its parts are not
/// repeated: it may hold a password.
fn check_public_url(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && !text.contains(char::is_whitespace)
    });
    let Some(url) = url else {
        return Err("must be an absolute http or https URL");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment");
    }
    Ok(())
}
