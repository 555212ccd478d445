//! The one executable: commands, configuration, wiring, signals.
//!
//! Start at [`cli`] for what can be typed, at [`serve`] for how a server is put together. Nothing here knows how any
//! slice works inside.

mod apply;
mod banner;
mod cli;
mod client;
mod clock;
mod config;
mod demo;
mod jobs;
mod keys;
mod logs;
mod outcome;
mod preferences;
mod request;
mod serve;
mod store_check;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::{Cli, Command, ConfigArguments, ConfigCommand, StoreCommand};
use config::Flags;

// Measured faster than the system's allocator under this load, and it returns memory after a large upload.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = Cli::command().after_help(cli::after_help());
    let cli = Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => outcome::report(&error),
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Apply(arguments) => on_this_thread(apply::run(arguments)),
        Command::Preferences { command } => on_this_thread(preferences::run(command)),
        Command::Request { command } => on_this_thread(request::run(command)),
        Command::Clock { command } => on_this_thread(clock::run(command)),
        Command::Job { command } => on_this_thread(jobs::run(command)),
        Command::Key { command } => on_this_thread(keys::run(command)),
        Command::Store {
            command: StoreCommand::Check { place },
        } => on_this_thread(store_check::run(&place)),
        Command::Config { command } => explain_config(&command),
        Command::Demo(arguments) => demo::run(&arguments),
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

/// Commands that wait on one conversation need no pool of threads.
fn on_this_thread<F>(work: F) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<ExitCode>>,
{
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
