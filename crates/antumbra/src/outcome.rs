//! How a command ends: what it says when it failed, and with which code.

use std::fmt;
use std::process::ExitCode;

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
    /// The server cannot be reached.
    Unreachable = 69,
    /// The disk failed: nothing more is acknowledged until the data folder has been looked at.
    Disk = 74,
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
        None if error.is::<crate::config::Mistake>() => Outcome::Usage,
        None => Outcome::Failed,
    };
    outcome.into()
}
