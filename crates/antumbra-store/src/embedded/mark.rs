//! The high-water mark: the last commit known to be on stable storage, kept apart from the engine's own files.
//!
//! The engine treats a damaged record in its log as the end of the log, so it could open with less than it once held
//! and never say so. The mark says how far it must reach. It is made before the tables are; the first commit after each
//! opening moves it before it is acknowledged, and from then on it follows at a short distance: a log that is gone whole
//! is always noticed, and what is lost from its end is, save for damage to the very last commit that the mark had not
//! reached: that looks like one that was being written.

use crate::{OpenError, error::folder_failed};
use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

const FILE: &str = "commit-mark";

/// The mark of an open store.
pub(super) struct Mark {
    folder: PathBuf,
    /// What the file says. One at a time writes it.
    reached: Mutex<u64>,
}

impl Mark {
    /// The mark in `folder`; none if there never was one. A mark that cannot be read is an error, not an absent one.
    pub(super) fn read(folder: &Path) -> Result<Option<u64>, OpenError> {
        let path = folder.join(FILE);
        let failed = folder_failed("reading the high-water mark", &path);
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim_end().parse() {
                Ok(commit) => Ok(Some(commit)),
                Err(_) => Err(failed(std::io::Error::new(
                    ErrorKind::InvalidData,
                    "it is not a number",
                ))),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// The mark of `folder`, set to `commit`, whatever it was before.
    pub(super) fn set(folder: &Path, commit: u64) -> Result<Mark, OpenError> {
        write(folder, commit).map_err(folder_failed("writing the high-water mark in", folder))?;
        Ok(Mark::at(folder, commit))
    }

    /// The mark of `folder`, which is at `commit`.
    pub(super) fn at(folder: &Path, commit: u64) -> Mark {
        Mark {
            folder: folder.to_owned(),
            reached: Mutex::new(commit),
        }
    }

    /// Moves the mark on to `commit`, which must be on stable storage already.
    pub(super) fn follow(&self, commit: u64) -> std::io::Result<()> {
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        if *reached < commit {
            write(&self.folder, commit)?;
            *reached = commit;
        }
        Ok(())
    }
}

fn write(folder: &Path, commit: u64) -> std::io::Result<()> {
    let draft = folder.join(format!("{FILE}.tmp"));
    let mut file = File::create(&draft)?;
    writeln!(file, "{commit}")?;
    file.sync_all()?;
    std::fs::rename(&draft, folder.join(FILE))?;
    crate::folder::sync_above(&draft)
}
