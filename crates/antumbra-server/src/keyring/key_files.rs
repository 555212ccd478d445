//! Files of keys: 32 random bytes for each key and nothing else, for their owner's eyes only.
//!
//! A file is replaced whole or not at all, is on stable storage before anything depends on it, and is overwritten before
//! it is removed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use antumbra_crypto::Key32;
use zeroize::Zeroizing;

use super::RootError;

/// The keys that one file may hold: more are a mistake.
pub(super) const KEYS_MAX: usize = 8;
const KEY_BYTES: usize = 32;
const FOR_OTHERS: u32 = 0o077;

/// The keys of a file, in their order; `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<Vec<Key32>>, RootError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed("opening", path)(source)),
    };
    let mode = file.metadata().map_err(failed("reading", path))?.mode();
    if mode & FOR_OTHERS != 0 {
        return Err(RootError::Exposed(path.to_owned()));
    }
    let most = KEYS_MAX * KEY_BYTES;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let mut file = file.take(most as u64 + 1);
    file.read_to_end(&mut bytes).map_err(failed("reading", path))?;
    if bytes.is_empty() || bytes.len() > most || !bytes.len().is_multiple_of(KEY_BYTES) {
        return Err(RootError::Malformed(path.to_owned()));
    }
    if bytes.iter().all(|byte| *byte == 0) {
        // Erasing it was cut short.
        return Err(RootError::Malformed(path.to_owned()));
    }
    Ok(Some(bytes.chunks(KEY_BYTES).filter_map(Key32::from_slice).collect()))
}

/// Makes a file that must not be there yet.
pub(super) fn create(path: &Path, key: &Key32) -> Result<(), RootError> {
    let made = || {
        fs::create_dir_all(folder(path))?;
        let new = write_beside(path, &[key])?;
        // Unlike a renaming, a link does not replace what is there.
        let linked = fs::hard_link(&new, path);
        fs::remove_file(&new)?;
        linked?;
        sync_folder(path)
    };
    made().map_err(failed("making", path))
}

/// Puts `keys` in place of whatever the file holds, at one stroke, and overwrites what it held.
pub(super) fn replace(path: &Path, keys: &[&Key32]) -> Result<(), RootError> {
    let replaced = || {
        let before = OpenOptions::new().write(true).open(path).ok();
        fs::rename(write_beside(path, keys)?, path)?;
        sync_folder(path)?;
        before.map_or(Ok(()), overwrite)
    };
    replaced().map_err(failed("replacing", path))
}

/// Overwrites a file and removes it. One that is gone already is no failure.
pub(super) fn erase(path: &Path) -> Result<(), RootError> {
    let erased = || {
        let file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        overwrite(file)?;
        fs::remove_file(path)?;
        sync_folder(path)
    };
    erased().map_err(failed("erasing", path))
}

/// `path` with `suffix` at its end.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder that `path` is in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Writes `keys` into a file beside `path`, whole and synced, for it to be moved there.
fn write_beside(path: &Path, keys: &[&Key32]) -> io::Result<PathBuf> {
    let new = beside(path, ".new");
    // What an attempt left that was cut short.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
    for key in keys {
        file.write_all(key.expose())?;
    }
    file.sync_all()?;
    Ok(new)
}

fn overwrite(mut file: File) -> io::Result<()> {
    let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(KEY_BYTES);
    file.write_all(&vec![0; bytes.min(KEYS_MAX * KEY_BYTES)])?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> RootError {
    move |source| RootError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
