//! Log lines on standard error: for people on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Logs};
use crate::outcome::{Ended, Outcome};

/// Begins to write log lines for the rest of the process.
pub(crate) fn begin(logs: &Logs) -> Result<(), Ended> {
    let filter = EnvFilter::try_new(&logs.level).map_err(|cause| {
        Ended::new(
            Outcome::Usage,
            format!("`logs.level` cannot be \"{}\": {cause}", logs.level),
        )
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
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
    Ok(())
}
