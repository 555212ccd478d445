//! Measurements of Antumbra, each printed beside the limit measured in the same run.

mod dsr;
mod raw;
mod startup;
mod table;

use clap::{Parser, Subcommand};

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
    /// Submissions of data subject requests
    Dsr(dsr::Arguments),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Startup(arguments) => startup::run(&arguments),
        Command::Dsr(arguments) => dsr::run(&arguments),
    }
}
