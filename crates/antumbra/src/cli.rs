//! What can be typed after `antumbra`. Each command's own module says what it does.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::outcome::Outcome;

/// The open, self-hosted server for people's privacy rights.
#[derive(Parser)]
#[command(name = "antumbra", version, arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `antumbra --help` ends with.
pub(crate) fn after_help() -> String {
    let mut text =
        "Start here:\n  antumbra serve                       a server on this machine, nothing to set up\n  \
         antumbra demo                        the whole story on a throw-away server, in under a minute\n  \
         antumbra apply -f antumbra.yml       create what a file describes, after showing what would change\n\n\
         Exit codes:\n"
            .to_owned();
    for (outcome, meaning) in Outcome::TABLE {
        text.push_str(&format!("  {:<3} {meaning}\n", outcome as u8));
    }
    text.truncate(text.trim_end().len());
    text
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server until it is told to stop.
    Serve(ServeArguments),
    /// Create and update data silos, purposes and the rest from a file
    Apply(crate::apply::Arguments),
    /// Bring what people chose in and out, in bulk.
    Preferences {
        #[command(subcommand)]
        command: crate::preferences::PreferencesCommand,
    },
    /// Work on a data subject request.
    Request {
        #[command(subcommand)]
        command: crate::request::RequestCommand,
    },
    /// Create, list and revoke API keys.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// List jobs that fail or were given up, and have them tried again.
    Job {
        #[command(subcommand)]
        command: crate::jobs::JobCommand,
    },
    /// Rehearse: move the time of an organization of tests forward.
    Clock {
        #[command(subcommand)]
        command: crate::clock::ClockCommand,
    },
    /// Look at storage engines.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Explain the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Play the whole story on a throw-away server and check each step
    Demo(DemoArguments),
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  antumbra serve\n  antumbra serve --data /var/lib/antumbra --listen 0.0.0.0:8080\n  \
antumbra serve --config antumbra.toml --json"
)]
pub(crate) struct ServeArguments {
    /// Folder of everything that is kept [default: ./antumbra-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address and port [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Settings that differ from the defaults
    #[arg(long, value_name = "FILE", env = "ANTUMBRA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Print one JSON object when ready: url, data, version, and on the first start key
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it, once
    #[command(
        after_help = "Examples:\n  antumbra key create --title checkout --scope manageStoredPreferences\n  \
antumbra key create --title warehouse --silo 8d1f0b7c-6a3d-4b3a-b0a9-0a1b3f8e6c77\n  \
antumbra key create --title rescue --scope fullAdmin --data ./antumbra-data"
    )]
    Create {
        /// What the key is for
        #[arg(long)]
        title: String,
        /// A scope by its name, such as `makeDataSubjectRequest`; may be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// The id of a data silo the key may answer for; may be repeated
        #[arg(long = "silo", value_name = "ID")]
        silos: Vec<uuid::Uuid>,
        #[command(flatten)]
        place: KeyPlace,
    },
    /// List the keys, without their secrets
    List {
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Make a key useless from now on
    Revoke {
        /// The key's id, as `antumbra key list` shows it
        id: uuid::Uuid,
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Replace the root key, under which every other key is wrapped
    #[command(
        after_help = "Every server on the store must be stopped. A copy of the old root key opens nothing that is kept from then on.\n\n\
Example:\n  antumbra key rotate-root --data ./antumbra-data"
    )]
    RotateRoot {
        /// The data folder of a server that is stopped [default: ./antumbra-data]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// The server's settings
        #[arg(long, value_name = "FILE", env = "ANTUMBRA_CONFIG")]
        config: Option<PathBuf>,
    },
}

/// Where the keys are: on a running server, or in the data folder of a stopped one.
#[derive(Args)]
pub(crate) struct KeyPlace {
    #[command(flatten)]
    pub(crate) remote: crate::request::Remote,
    /// The data folder of a server that is stopped, instead of --url and --key
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// With --data: the server's settings
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Check that a storage engine keeps every rule the server relies on
    #[command(
        after_help = "The checks work in two tables of their own, `conformance_rows` and `conformance_marks`, and leave them empty.\n\n\
Examples:\n  antumbra store check postgres://antumbra:secret@db.example.test/antumbra\n  \
antumbra store check 'postgres://antumbra:secret@db.example.test/antumbra?sslmode=verify-full&sslrootcert=ca.pem'\n  \
antumbra store check ./antumbra-data"
    )]
    Check {
        /// A database that speaks the PostgreSQL protocol, or the data folder of a server that is stopped
        #[arg(value_name = "URL|DIR")]
        place: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the configuration is right, or what is wrong with it and where
    Check(ConfigArguments),
    /// Print every setting in force and where it came from; secrets are hidden
    Show(ConfigArguments),
    /// Print the annotated defaults, to begin a file of your own
    Init,
}

#[derive(Args)]
pub(crate) struct ConfigArguments {
    /// Settings that differ from the defaults
    #[arg(long, value_name = "FILE", env = "ANTUMBRA_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// Size of the film that is uploaded and downloaded, in bytes
    #[arg(long, default_value_t = 456_711_231, value_name = "BYTES")]
    pub(crate) film_bytes: u64,
    /// Give up after so many seconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
}
