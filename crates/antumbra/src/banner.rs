//! What a started server says on standard output: a few lines for a person, or one JSON object for a script.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Config, Storage};

/// A server that is ready.
pub(crate) struct Banner<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) config: &'a Config,
    /// The key of a first start. It is shown here and nowhere else.
    pub(crate) first_key: Option<&'a str>,
    pub(crate) ready_in: Duration,
}

impl Banner<'_> {
    /// Writes it, whole, and makes sure it has left.
    pub(crate) fn print(&self, json: bool) -> std::io::Result<()> {
        let text = if json { self.object() } else { self.lines() };
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn url(&self) -> String {
        let scheme = if self.config.server.tls.is_some() {
            "https"
        } else {
            "http"
        };
        // An address that means "every address" cannot be called; this machine's own can.
        let host = match self.address.ip() {
            ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
            ip if ip.is_unspecified() => "[::1]".to_owned(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            std::net::IpAddr::V4(ip) => ip.to_string(),
        };
        format!("{scheme}://{host}:{}", self.address.port())
    }

    fn object(&self) -> String {
        let mut object = serde_json::json!({
            "url": self.url(),
            "data": self.config.server.data,
            "version": env!("CARGO_PKG_VERSION"),
        });
        if let Some(key) = self.first_key {
            object["key"] = key.into();
        }
        format!("{object}\n")
    }

    fn lines(&self) -> String {
        let url = self.url();
        let kept = match &self.config.storage {
            Storage::Embedded { .. } => "embedded, fsync on",
            Storage::Postgres { .. } => "PostgreSQL",
        };
        let mut text = format!(
            "\n  Antumbra {}   data {} ({kept})   ready in {} ms\n\n  API + docs       {url}/v1   ·   {url}/docs\n  \
             Erasure          {}\n",
            env!("CARGO_PKG_VERSION"),
            self.config.server.data.display(),
            self.ready_in.as_millis(),
            self.config.erasure_horizon(),
        );
        if let Some(key) = self.first_key {
            text.push_str(&format!(
                "\n  First start. An API key with every scope, shown this once:\n  {key}\n\n  \
                 Try:  curl -H \"authorization: Bearer {key}\" \\\n          \
                 -H \"content-type: application/json\" {url}/graphql \\\n          \
                 -d '{{\"query\":\"{{ organization {{ id uri }} }}\"}}'\n\n  \
                 Keep copies of the key files apart from your backups (docs/keys.md): without them the data is noise.\n  \
                 {}{}\n",
                self.config.root_file().display(),
                match self.config.storage {
                    Storage::Embedded { .. } => ", and beside it the newest .epoch- file",
                    Storage::Postgres { .. } => "",
                },
            ));
        }
        if self.address.ip().is_loopback() {
            text.push_str(
                "\n  Listening on this machine only. To publish it: --listen, and TLS or a proxy before it.\n",
            );
        } else if self.config.server.tls.is_none() {
            text.push_str("\n  Listening in the open without TLS: put a proxy before it, or set [server.tls].\n");
        }
        text.push('\n');
        text
    }
}
