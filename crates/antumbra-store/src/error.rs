//! How the store fails. No message here holds a key, a value, or anything else that was stored.

use std::{
    error::Error,
    path::{Path, PathBuf},
};

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
        "commits are missing from {}: it can be read up to commit {}, but commit {} was on disk before. {}Likely causes: \
         a failing disk or a flipped bit in the log, or an older copy of some files put back over newer ones. Way out: \
         stop, keep a copy of the whole folder, and restore the latest backup. To go on without the missing commits, \
         start once with storage.accept_truncated_log = true; the damaged part of the log is then moved to the folder \
         \"damaged\" beside it",
        folder.display(),
        or_unknown(found),
        or_unknown(expected),
        place.as_ref().map(|place| format!("The log is damaged at {place}. ")).unwrap_or_default()
    )]
    LogTruncated {
        /// The data folder.
        folder: PathBuf,
        /// The last commit that can be read, if that can be told.
        found: Option<u64>,
        /// The last commit that was known to be on stable storage, if that can be told.
        expected: Option<u64>,
        /// The file and the position of the damage, if it was found.
        place: Option<String>,
    },
    /// The engine holds tables, and the mark that says how far they must reach is gone.
    #[error(
        "the file commit-mark is missing from {}, so nobody can tell whether commits are missing too. Likely cause: \
         some files were copied or put back without the others. Way out: stop, keep a copy of the whole folder, and \
         restore the latest backup whole. To go on with what is there, start once with storage.accept_truncated_log = true",
        folder.display()
    )]
    MarkMissing {
        /// The data folder.
        folder: PathBuf,
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
    /// The database server cannot be reached, or does not let us in.
    #[error("the database cannot be reached")]
    Unreachable {
        /// Why.
        source: StoreError,
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

fn or_unknown(commit: &Option<u64>) -> String {
    commit.map_or_else(|| "(unknown)".to_owned(), |commit| commit.to_string())
}

/// Makes an [`OpenError::Folder`] of the system's error.
pub(crate) fn folder_failed(doing: &'static str, path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Folder {
        doing,
        path: path.to_owned(),
        source,
    }
}
