//! `antumbra serve`: how a server is put together, started, and stopped.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use antumbra_server::keyring::{Keyring, KeyringError};
use antumbra_server::{Clock, Ids, Server, World};
use antumbra_store::{BlobConfig, Blobs, FolderLock, OpenError, Store};
use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::banner::{Banner, FirstKey};
use crate::cli::ServeArguments;
use crate::config::{self, Config, Files, Flags, Storage};
use crate::outcome::{Ended, Outcome};
use crate::{keys, logs};

/// Runs a server until a signal or a failed disk stops it.
pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let config = config::load(&Flags {
        file: arguments.config.clone(),
        data: arguments.data.clone(),
        listen: arguments.listen.clone(),
    })?;
    logs::begin(&config.logs)?;
    raise_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(&config, arguments.json, begun));
    // What still hangs has had its time.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(config: &Config, json: bool, begun: Instant) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let listener = listen(config.server.listen).await?;
    let world = open(config).await?;
    let store = world.store.clone();
    let organization = world.first_organization().await?.id;
    let mut server = Server::start(config.for_server()?, world, listener).await?;
    if let Some(address) = config.server.metrics_listen {
        server.show_metrics(listen(address).await?)?;
    }
    let first_key = keys::first(server.app(), organization).await?;
    Banner {
        address: server.address(),
        config,
        first_key: first_key
            .as_ref()
            .map(|key| FirstKey::hand_over(key.expose(), config, json))
            .transpose()
            .with_context(|| {
                let data = config.server.data.display();
                format!("the first key could not be handed over; make another with `antumbra key create --data {data}`")
            })?,
        ready_in: begun.elapsed(),
    }
    .print(json)?;

    let ended = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping");
            // Some tools signal a process and then its whole group: that is one wish, not two.
            signals.settle().await;
            Outcome::Success
        }
        () = disk_failed(&store) => {
            tracing::error!("stopping: the disk has failed, so nothing more can be acknowledged");
            Outcome::Disk
        }
    };
    tokio::select! {
        () = stop(server, store) => Ok(ended.into()),
        again = signals.next() => {
            Err(Ended::new(Outcome::Failed, format!("stopped at once by a second {again}")).into())
        }
    }
}

/// Waits for the moment after which the store writes nothing more.
async fn disk_failed(store: &Store) {
    let mut look = tokio::time::interval(Duration::from_millis(500));
    while !store.stats().stopped {
        look.tick().await;
    }
}

async fn stop(server: Server, store: Store) {
    server.shutdown().await;
    store.close().await;
}

/// Opens everything a server stands on, in the folder that the configuration names.
pub(crate) async fn open(config: &Config) -> anyhow::Result<World> {
    let webhook_key = config.webhook_key()?;
    let store = open_store(config).await?;
    let blobs = Blobs::open(match config.files {
        Files::Local {} => BlobConfig::Local {
            folder: config.server.data.join("blobs"),
        },
    })
    .await
    .context("the folder for files cannot be opened")?;
    let keys = Keyring::open(&store, &config.key_files()).await.map_err(locked_out)?;
    if let Some(key) = webhook_key {
        keys.sign_webhooks_with(key);
    }
    let clock = Clock::system();
    let ids = Ids::new(clock.clone());
    Ok(World {
        store,
        blobs,
        keys,
        clock,
        ids,
    })
}

/// Opens the store, in a process that keeps what it reads from it to itself.
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    keep_memory_private();
    make_folder(&config.server.data)?;
    hold(&config.server.data)?;
    refuse_lost_store(config)?;
    Store::open(config.for_store(), &antumbra_server::tables())
        .await
        .map_err(refused)
}

/// Refuses a configuration that no server has been started with yet: a new one would be made, and nobody meant it.
pub(crate) fn expect_server(config: &Config) -> anyhow::Result<()> {
    let root = config.root_file();
    if root.exists() {
        return Ok(());
    }
    let nothing = format!(
        "{} holds no server's data: there is no {}\n  Name the folder that `antumbra serve` uses.",
        config.server.data.display(),
        root.display()
    );
    Err(Ended::new(Outcome::NotFound, nothing).into())
}

/// Keeps every other process out of a data folder until this one ends: it would clear away files that are being taken
/// in here, or change the root key under us.
fn hold(data: &Path) -> anyhow::Result<()> {
    static HELD: OnceLock<FolderLock> = OnceLock::new();
    let lock = FolderLock::take(data).map_err(refused)?;
    HELD.set(lock).ok().context("this process holds a data folder already")
}

/// Why the keys did not open.
fn locked_out(cause: KeyringError) -> anyhow::Error {
    let outcome = match &cause {
        KeyringError::Root(_) | KeyringError::Sealed { .. } => Outcome::Disk,
        KeyringError::Store(_) | KeyringError::NoOrganization => Outcome::Failed,
    };
    let ended = Ended::new(outcome, cause.to_string());
    match std::error::Error::source(&cause).map(ToString::to_string) {
        Some(why) => anyhow::anyhow!(why).context(ended),
        None => ended.into(),
    }
}

/// Why a store did not open, with the way out and the code that goes with it.
pub(crate) fn refused(cause: OpenError) -> anyhow::Error {
    let outcome = match &cause {
        OpenError::LogTruncated { .. } | OpenError::MarkMissing { .. } => Outcome::Disk,
        OpenError::Unreachable { .. } => Outcome::Unreachable,
        _ => Outcome::Failed,
    };
    let hint = match &cause {
        OpenError::InUse { .. } => "\n  Stop that process, or give this one a folder of its own with --data.",
        _ => "",
    };
    let ended = Ended::new(outcome, format!("{cause}{hint}"));
    let causes: Vec<String> = anyhow::Chain::new(&cause).skip(1).map(ToString::to_string).collect();
    match causes.split_last() {
        None => ended.into(),
        Some((last, between)) => {
            let innermost = anyhow::anyhow!(last.clone());
            let chain = between.iter().rev().cloned().fold(innermost, anyhow::Error::context);
            chain.context(ended)
        }
    }
}

/// Files without the store that knows whose they are: the store was lost, and a new one would hide it.
fn refuse_lost_store(config: &Config) -> anyhow::Result<()> {
    let data = &config.server.data;
    let blobs = data.join("blobs");
    let holds_files = || std::fs::read_dir(&blobs).is_ok_and(|mut entries| entries.next().is_some());
    if matches!(config.storage, Storage::Embedded { .. }) && !data.join("store").exists() && holds_files() {
        let lost = format!(
            "{} holds files and no store: what they belong to is lost\n  Bring `store` back from a copy, or start in another \
             folder with --data. To begin anew here, move `blobs` away.",
            data.display()
        );
        return Err(Ended::new(Outcome::Disk, lost).into());
    }
    Ok(())
}

/// The folder of everything that is kept, for its owner's eyes only.
fn make_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} cannot be made", folder.display()))
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|cause| {
        let way_out = match cause.kind() {
            std::io::ErrorKind::AddrInUse => {
                "Another process listens there. Stop it, or choose another port: antumbra serve --listen 127.0.0.1:0"
            }
            std::io::ErrorKind::PermissionDenied => {
                "Ports below 1024 need a right of their own. Choose a higher one and put a proxy in front."
            }
            _ => "Is this one of the machine's own addresses? 127.0.0.1:8080 always is.",
        };
        Ended::new(
            Outcome::Failed,
            format!("cannot listen on {address}: {cause}\n  {way_out}"),
        )
        .into()
    })
}

/// The two signals that ask a server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Lets echoes of a signal pass.
    async fn settle(&mut self) {
        tokio::time::timeout(Duration::from_millis(100), async {
            while !self.next().await.is_empty() {}
        })
        .await
        .ok();
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Keys must not end up in a core file, nor be read by another process of the same user.
fn keep_memory_private() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(cause) = setrlimit(Resource::Core, none) {
        tracing::warn!(%cause, "core files cannot be switched off");
    }
    if let Err(cause) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%cause, "the process cannot be made undumpable");
    }
}

/// Each connection takes a descriptor, and many systems begin with 1,024 although they allow far more.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(cause) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%cause, "the number of open files cannot be raised");
    }
}
