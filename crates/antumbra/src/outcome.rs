//! How a command ends: what it says when it failed, and with which code.

use std::fmt;
use std::process::ExitCode;

use crate::config::{Mistake, Mistakes};

/// The exit codes that scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was as it should be.
    Success = 0,
    /// Something went wrong that has no code of its own.
    Failed = 1,
    /// What was asked for, or what the configuration says, makes no sense.
    Usage = 2,
    /// The thing named does not exist.
    NotFound = 4,
    /// The key may not do this.
    Denied = 5,
    /// The server or the database cannot be reached.
    Unreachable = 69,
    /// The disk failed, or what lies on it is not what was written: somebody has to look at the data folder.
    Disk = 74,
}

impl Outcome {
    /// Every exit code with what it means: the one table, which `antumbra --help` prints and `docs/exit-codes.md` repeats.
    pub(crate) const TABLE: [(Outcome, &str); 7] = [
        (Outcome::Success, "done"),
        (Outcome::Failed, "failed, for a reason without a code of its own"),
        (
            Outcome::Usage,
            "the command line, the configuration or the applied file cannot be; nothing was changed",
        ),
        (Outcome::NotFound, "the thing named does not exist"),
        (Outcome::Denied, "the API key is unknown, or may not do this"),
        (Outcome::Unreachable, "the server or the database cannot be reached"),
        (Outcome::Disk, "what lies on the disk cannot be relied on"),
    ];
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome as u8)
    }
}

/// An error that ends the command with a code of its own.
#[derive(Debug)]
pub(crate) struct Ended {
    outcome: Outcome,
    message: String,
}

impl Ended {
    /// An error that says `message` and exits with `outcome`.
    pub(crate) fn new(outcome: Outcome, message: impl Into<String>) -> Ended {
        Ended {
            outcome,
            message: message.into(),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Ended {}

/// Prints an error with its causes and gives the code that goes with it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("antumbra: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because {cause}");
    }
    let outcome = match error.downcast_ref::<Ended>() {
        Some(ended) => ended.outcome,
        None if error.is::<Mistakes>() || error.is::<Mistake>() => Outcome::Usage,
        None => Outcome::Failed,
    };
    outcome.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_about_exit_codes_says_what_the_table_says() {
        let page = include_str!("../../../docs/exit-codes.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let table = Outcome::TABLE.map(|(outcome, meaning)| format!("| `{}` | {meaning} |", outcome as u8));
        assert_eq!(rows, table);
    }
}
