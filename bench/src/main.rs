//! Measurements of Antumbra, each printed beside the limit measured in the same run.

#![expect(
    clippy::disallowed_methods,
    reason = "a load generator spawns its own clients and ends with them"
)]

mod dsr;
mod engine;
mod fanout;
mod files;
mod import;
mod load;
mod peer;
mod preferences;
mod pressure;
mod raw;
mod startup;
mod table;

use clap::{Parser, Subcommand};

// The server that is measured in this process runs on the allocator of the executable.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start time, idle memory, size of the executable
    Startup(startup::Arguments),
    /// Uploads and downloads
    Files(files::Arguments),
    /// Submissions of data subject requests
    Dsr(dsr::Arguments),
    /// Requests told to many silos, and drained
    Fanout(fanout::Arguments),
    /// The store beside its bare engine: same keys, same values, same grouping of commits
    Engine(engine::Arguments),
    /// Upserts and look-ups of preferences
    Preferences(preferences::Arguments),
    /// Calls at a pace of their own, up to twice what the server can take
    Pressure(pressure::Arguments),
    /// Consents saved and read, beside another product's server on this machine
    Peer(peer::Arguments),
    /// A file of preferences, imported by the command
    Import(import::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Startup(arguments) => startup::run(&arguments),
        Command::Files(arguments) => files::run(&arguments),
        Command::Dsr(arguments) => dsr::run(&arguments),
        Command::Fanout(arguments) => fanout::run(&arguments),
        Command::Engine(arguments) => engine::run(&arguments),
        Command::Preferences(arguments) => preferences::run(&arguments),
        Command::Pressure(arguments) => pressure::run(&arguments),
        Command::Peer(arguments) => peer::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
    }
}
