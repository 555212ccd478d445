//! The one executable: commands, configuration, wiring, signals.
//!
//! Start at [`cli`] for what can be typed, at [`serve`] for how a server is put together. Nothing here knows how any
//! slice works inside.

mod banner;
mod cli;
mod config;
mod logs;
mod outcome;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, ConfigArguments, ConfigCommand};
use config::Flags;

// Measured faster than the system's allocator under this load, and it returns memory after a large upload.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => outcome::report(&error),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Config { command } => explain_config(&command),
    }
}

fn explain_config(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    let flags = |arguments: &ConfigArguments| Flags {
        file: arguments.config.clone(),
        ..Flags::default()
    };
    let text = match command {
        ConfigCommand::Check(arguments) => config::check(&flags(arguments))?,
        ConfigCommand::Show(arguments) => config::show(&flags(arguments))?,
        ConfigCommand::Init => config::DEFAULTS.trim_end().to_owned(),
    };
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}
