//! Folders that outlive a crash.

use std::{
    fs::File,
    io::{ErrorKind, Result},
    path::Path,
};

/// Makes a folder and those above it, each on stable storage before this returns.
pub(crate) fn make(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = above(path) {
        make(above)?;
    }
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_above(path),
    }
}

/// Brings the entry of `path` in the folder above it to stable storage: that it is there, or that it is gone.
pub(crate) fn sync_above(path: &Path) -> Result<()> {
    File::open(above(path).unwrap_or(Path::new(".")))?.sync_all()
}

fn above(path: &Path) -> Option<&Path> {
    path.parent().filter(|above| !above.as_os_str().is_empty())
}
