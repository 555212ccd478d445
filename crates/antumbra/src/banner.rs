//! What a started server says on standard output: a few lines for a person, or one JSON object for a script.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{Config, Storage};
use crate::keys::FIRST_KEY_DAYS;

/// A server that is ready.
pub(crate) struct Banner<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) config: &'a Config,
    /// The key of a first start. It is shown here and nowhere else.
    pub(crate) first_key: Option<FirstKey<'a>>,
    pub(crate) ready_in: Duration,
}

/// How the key of a first start is handed over.
pub(crate) enum FirstKey<'a> {
    /// To whoever looks at the terminal.
    Shown(&'a str),
    /// Standard output is kept by the system's log, which others read too: the key stands in this file.
    InFile(PathBuf),
}

impl FirstKey<'_> {
    /// Leaves a key where its one reader finds it.
    pub(crate) fn hand_over<'a>(key: &'a str, config: &Config, json: bool) -> std::io::Result<FirstKey<'a>> {
        if json || !is_journal(std::io::stdout()) {
            return Ok(FirstKey::Shown(key));
        }
        let path = config.server.data.join("first-key");
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        writeln!(file, "{key}")?;
        file.sync_all()?;
        Ok(FirstKey::InFile(path))
    }
}

/// Whether what is written there goes to systemd's journal: then its device and inode stand in `JOURNAL_STREAM`
/// (systemd.exec(5)), which children of a service inherit too.
fn is_journal(out: impl AsFd) -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    rustix::fs::fstat(out).is_ok_and(|file| stream == format!("{}:{}", file.st_dev, file.st_ino))
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
        if let Some(FirstKey::Shown(key)) = &self.first_key {
            object["key"] = (*key).into();
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
        if let Some(first_key) = &self.first_key {
            let days = FIRST_KEY_DAYS;
            match first_key {
                FirstKey::Shown(key) => text.push_str(&format!(
                    "\n  First start. An API key with every scope, shown this once, good for {days} days:\n  {key}\n\n  \
                     Try:  curl -H \"authorization: Bearer {key}\" \\\n          \
                     -H \"content-type: application/json\" {url}/graphql \\\n          \
                     -d '{{\"query\":\"{{ organization {{ id uri }} }}\"}}'\n"
                )),
                FirstKey::InFile(path) => text.push_str(&format!(
                    "\n  First start. An API key with every scope, good for {days} days, stands in this file; read it and \
                     delete it:\n  {}\n",
                    path.display()
                )),
            }
            text.push_str(&format!(
                "\n  Keep copies of the key files apart from your backups (docs/keys.md): without them the data is noise.\n  \
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
