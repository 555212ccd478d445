//! How the store fails. No message here holds a key, a value, or anything else that was stored.

use std::{error::Error, path::PathBuf};

/// Why a read, a write or a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another transaction was faster. Nothing was written; run the whole transaction again.
    #[error("another transaction changed what this one had read")]
    Conflict,
    /// More is waiting to be written than the bounds allow. Nothing was written; try again later.
    #[error("more writes are waiting than can be taken in")]
    Overloaded,
    /// The engine could not be reached, or did not answer. The outcome of a commit that fails so is **unknown**:
    /// it may have taken effect.
    #[error("the storage engine is unavailable: {doing} failed")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// The engine's own error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A write to stable storage failed earlier, so what is on disk is no longer certain. Reads go on; writes are
    /// refused until the store is opened anew.
    #[error("writing has stopped until the store is opened anew: {because}")]
    Stopped {
        /// The failure that stopped writing.
        because: String,
    },
    /// A stored key or value cannot be read back.
    #[error("a row of table {table:?} cannot be read")]
    Corrupt {
        /// The table that the row is in.
        table: &'static str,
        /// What is wrong with it.
        source: Corrupt,
    },
    /// The program used a table that was not named when the store was opened, or wrote a row beyond the bounds.
    #[error("table {table:?} was misused: {problem}")]
    Misused {
        /// The table.
        table: &'static str,
        /// What was wrong.
        problem: &'static str,
    },
}

/// Bytes that are not what their table says. Says what is wrong, never what the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Corrupt(pub &'static str);

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has this data folder open.
    #[error("the data folder {} is in use by process {}", folder.display(), holder.as_deref().unwrap_or("(unknown)"))]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// The process id that the holder left in its lock file.
        holder: Option<String>,
    },
    /// The engine holds less than it is known to have held.
    #[error(
        "the data folder {} has lost commits: it ends at commit {found}, but commit {expected} was known to be on disk. \
         Likely causes: a damaged log file (a failing disk, a flipped bit), or an older copy of part of the folder put \
         back over a newer one. Way out: stop, keep a copy of the folder, and restore the latest backup. To go on \
         without the lost commits, start once with storage.accept_truncated_log = true",
        folder.display()
    )]
    LogTruncated {
        /// The data folder.
        folder: PathBuf,
        /// The last commit that the engine still holds.
        found: u64,
        /// The last commit that was known to be on stable storage.
        expected: u64,
    },
    /// A file or folder could not be used.
    #[error("{doing} {} failed", path.display())]
    Folder {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The engine itself refused.
    #[error("{doing} failed")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// The engine's own error.
        source: Box<dyn Error + Send + Sync>,
    },
}
