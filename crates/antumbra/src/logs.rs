//! Log lines on standard error: for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logs, Mistake};

/// Which lines are written.
pub(crate) fn filter(logs: &Logs) -> Result<EnvFilter, Mistake> {
    // A plain level means ours: the libraries below us speak up only when something is wrong.
    let level = &logs.level;
    let wanted = match level.chars().all(char::is_alphanumeric) {
        true => format!("warn,antumbra={level},antumbra_server={level},antumbra_store={level}"),
        false => level.clone(),
    };
    let filter = EnvFilter::try_new(wanted)
        .map_err(|cause| Mistake::in_setting("logs.level", format_args!("cannot be \"{level}\": {cause}")))?;
    // Below this level the PostgreSQL client writes out the rows that it is given.
    let quiet = "tokio_postgres::query=info".parse();
    Ok(filter.add_directive(quiet.expect("the directive is well formed")))
}

/// Begins to write log lines for the rest of the process.
pub(crate) fn begin(logs: &Logs) -> Result<(), Mistake> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter(logs)?)
        .with_writer(std::io::stderr);
    let json = match logs.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Human => false,
        LogFormat::Json => true,
    };
    if json {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .init();
    } else {
        lines.with_target(false).init();
    }
    std::panic::set_hook(Box::new(|panic| {
        // What a panic says may quote what was being worked on, so only its place is told.
        let at = panic.location().map(ToString::to_string);
        tracing::error!(at, "a panic");
    }));
    Ok(())
}
