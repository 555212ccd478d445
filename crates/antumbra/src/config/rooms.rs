//! The settings as the other rooms want them.

use std::path::PathBuf;
use std::time::Duration;

use antumbra_server::ServerConfig;
use antumbra_server::api_keys::internal_key_hash;
use antumbra_server::config as server;
use antumbra_server::silos::address::Network;
use antumbra_store::{EmbeddedConfig, PostgresConfig, StoreConfig};

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
            Storage::Postgres { url, connections } => {
                let mut postgres = PostgresConfig::new(url.reveal());
                postgres.connections_max = *connections;
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
        config.limits.shutdown = Duration::try_from(self.server.stop_within)
            .map_err(|_| Mistake::new("`server.stop_within` cannot be less than nothing"))?;
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
        if self.server.listen.ip().is_loopback() {
            config.webhooks.allowed_networks.extend(Network::LOOPBACK);
        }
        Ok(config)
    }
}
