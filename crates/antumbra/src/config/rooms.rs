//! The settings as the other rooms want them.

use std::path::PathBuf;
use std::time::Duration;

use antumbra_server::ServerConfig;
use antumbra_server::api_keys::internal_key_hash;
use antumbra_server::config as server;
use antumbra_server::silos::address::Network;
use antumbra_store::{EmbeddedConfig, PostgresConfig, StoreConfig};
use jiff::SignedDuration;

use super::{Config, DownloadKeySize, LimitsProfile, Mistake, Review, Storage};

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
        config.internal_key_hash = self
            .access
            .internal_key
            .as_ref()
            .map(|key| internal_key_hash(key.reveal()));
        if self.server.metrics_listen.is_some() {
            config.metrics = server::MetricsPlace::Apart;
        }
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
        config.dsr.review = match self.dsr.review {
            Review::Required => server::Review::Required,
            Review::Skipped => server::Review::Skipped,
        };
        config.webhooks.allowed_networks = self.webhooks.allow.clone();
        let windows = &mut config.webhooks.windows;
        windows.try_again = span("webhooks.try_again_after", self.webhooks.try_again_after)?;
        windows.tries = self.webhooks.tries.get();
        windows.waiting = span("webhooks.remind_after", self.webhooks.remind_after)?;
        windows.error = windows.waiting;
        if self.server.listen.ip().is_loopback() {
            config.webhooks.allowed_networks.extend(Network::LOOPBACK);
        }
        Ok(config)
    }
}

/// A span as the server wants it: one that can pass.
fn span(setting: &str, span: SignedDuration) -> Result<Duration, Mistake> {
    Duration::try_from(span).map_err(|_| Mistake::new(format!("`{setting}` cannot be less than nothing")))
}
