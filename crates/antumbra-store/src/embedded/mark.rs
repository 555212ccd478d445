//! The high-water mark: the last commit known to be on stable storage, kept apart from the engine's own files.
//!
//! The engine treats a damaged record in its log as the end of the log, so it could open with less than it once held
//! and never say so. The mark says how far it must reach.

use crate::{OpenError, error::folder_failed};
use std::{
    fs::File,
    io::{ErrorKind, Write},
    path::Path,
};

const FILE: &str = "commit-mark";

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

/// Replaces the mark by `commit`, which must be on stable storage already.
pub(super) fn write(folder: &Path, commit: u64) -> std::io::Result<()> {
    let draft = folder.join(format!("{FILE}.tmp"));
    let mut file = File::create(&draft)?;
    writeln!(file, "{commit}")?;
    file.sync_all()?;
    std::fs::rename(&draft, folder.join(FILE))?;
    crate::folder::sync_above(&draft)
}
