//! Which engine, and with what bounds.

use std::{path::PathBuf, time::Duration};

/// The engine that a store runs on.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In this process, in a folder of the local disk.
    Embedded(EmbeddedConfig),
    /// A PostgreSQL server, or another engine that speaks its protocol.
    Postgres(PostgresConfig),
}

/// Settings of the embedded engine.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Where everything is kept. Made if it is not there.
    pub folder: PathBuf,
    /// Most memory that the caches of read blocks (seven eighths) and rows may take, in bytes. It is taken as it is needed.
    pub cache_bytes: u64,
    /// Most disk space that the log may take before its oldest part is folded into the tables, in bytes; at least 64 MiB.
    /// Opening after a crash reads it whole.
    pub journal_bytes: u64,
    /// Open even though commits that were once on disk are gone. For one start, after reading what the refusal says.
    pub accept_truncated_log: bool,
}

impl EmbeddedConfig {
    /// The engine in `folder` with measured settings: a quarter of the machine's memory for the cache, 512 MiB of log.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        EmbeddedConfig {
            folder: folder.into(),
            cache_bytes: memory_bytes() / 4,
            journal_bytes: 512 << 20,
            accept_truncated_log: false,
        }
    }
}

/// Settings of the PostgreSQL engine.
#[derive(Clone)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?options`. A secret: it is not shown by `Debug`. Among the options are
    /// `sslmode` (`disable`, `prefer`, `require`, `verify-ca`, `verify-full`) and `sslrootcert`, a file of authorities.
    pub url: String,
    /// The authorities that vouch for the server's certificate, in PEM, where the URL names none. With them and without an
    /// `sslmode`, the certificate must be theirs and bear the host's name.
    pub ca_file: Option<PathBuf>,
    /// Most connections that this process opens.
    pub connections_max: usize,
    /// How long a transaction waits for a free connection before it is refused as overload.
    pub wait_max: Duration,
    /// How long one statement may take.
    pub statement_max: Duration,
}

impl PostgresConfig {
    /// The engine behind `url` with 16 connections, 2 s of waiting, and 30 s for a statement.
    pub fn new(url: impl Into<String>) -> Self {
        PostgresConfig {
            url: url.into(),
            ca_file: None,
            connections_max: 16,
            wait_max: Duration::from_secs(2),
            statement_max: Duration::from_secs(30),
        }
    }
}

impl std::fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConfig")
            .field("connections_max", &self.connections_max)
            .finish_non_exhaustive()
    }
}

/// The machine's memory, or the limit of the group of processes we are in, if that is lower; 2 GiB if neither is known.
fn memory_bytes() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    });
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = limits
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    let known = [machine, limit].into_iter().flatten().min();
    known.unwrap_or(2 << 30)
}
