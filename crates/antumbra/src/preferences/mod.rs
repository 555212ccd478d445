//! `antumbra preferences`: people's choices in bulk, in and out, over the API of a running server.
//!
//! | File | Holds |
//! | --- | --- |
//! | `import.rs` | an import from its first row to its last |
//! | `rows/` | files as rows: CSV, JSON lines, Parquet |
//! | `target.rs`, `catalog.rs`, `mapping.rs` | what a column can be, what its name says, what a mapping file says |
//! | `record.rs`, `members.rs`, `pieces.rs` | from a row to the record of an upsert; the names in a line; records of more than a call takes |
//! | `sending.rs`, `patience.rs` | batches until they are settled; calls that are made again |
//! | `progress.rs`, `rejected.rs` | what is kept beside the file: how far it has come, and the rows that were refused |
//! | `export/` | an export: the walk over all records, and the formats they are written in |
//! | `meter.rs` | how far it is, on standard error |
//! | `stop.rs` | Ctrl-C |

mod catalog;
mod export;
mod import;
mod mapping;
mod members;
mod meter;
mod patience;
mod pieces;
mod progress;
mod record;
mod rejected;
mod rows;
mod sending;
mod stop;
mod target;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What can be typed after `antumbra preferences`.
#[derive(Subcommand)]
pub(crate) enum PreferencesCommand {
    /// Store what files say people chose
    Import(import::Arguments),
    /// Write every record of a partition to a file
    Export(export::Arguments),
}

/// Runs one of the preferences commands.
pub(crate) async fn run(command: PreferencesCommand) -> Result<ExitCode> {
    match command {
        PreferencesCommand::Import(arguments) => import::run(arguments).await,
        PreferencesCommand::Export(arguments) => export::run(arguments).await,
    }
}
