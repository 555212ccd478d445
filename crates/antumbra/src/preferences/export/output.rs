//! Where an export goes.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, BufWriter, Stdout, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::outcome::{Ended, Outcome};

/// A file that is there whole or not at all, and that only its owner may read; or standard output.
pub(super) enum Output {
    Standard(BufWriter<Stdout>),
    File(Draft),
}

/// A file that has its name with `.part` behind it until it is whole. Dropped before that, it is removed.
pub(super) struct Draft {
    file: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    is_whole: bool,
}

impl Output {
    pub(super) fn open(path: Option<&Path>) -> Result<Output> {
        Ok(match path {
            None => Output::Standard(BufWriter::new(io::stdout())),
            Some(path) => Output::File(Draft::new(path)?),
        })
    }

    /// Has everything where it belongs.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Output::Standard(mut output) => output.flush().context("writing"),
            Output::File(draft) => draft.finish(),
        }
    }
}

impl Draft {
    fn new(path: &Path) -> Result<Draft> {
        if path.metadata().is_ok_and(|about| !about.is_file()) {
            let said = format!("{} is there already, and no file", path.display());
            return Err(Ended::new(Outcome::Usage, said).into());
        }
        let part = part_of(path);
        let context = || format!("{} cannot be written", part.display());
        match File::open(&part) {
            Ok(left_over) => {
                if let Err(TryLockError::WouldBlock) = left_over.try_lock() {
                    let said = format!("{} is being written by another export", path.display());
                    return Err(Ended::new(Outcome::Usage, said).into());
                }
                std::fs::remove_file(&part).with_context(context)?;
            }
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause).with_context(context),
        }
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
        let new = new.with_context(context)?;
        // Where files cannot be locked, two exports to one name are not told apart.
        let _ = new.try_lock();
        Ok(Draft {
            file: BufWriter::new(new),
            part,
            path: path.to_owned(),
            is_whole: false,
        })
    }

    fn finish(mut self) -> Result<()> {
        let context = || format!("{} cannot be written", self.path.display());
        self.file.flush().with_context(context)?;
        self.file.get_ref().sync_all().with_context(context)?;
        std::fs::rename(&self.part, &self.path).with_context(context)?;
        self.is_whole = true;
        File::open(folder(&self.path))
            .and_then(|folder| folder.sync_all())
            .with_context(context)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_whole {
            // What cannot be removed is told by its name.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// The name of a file that is not whole.
fn part_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Output::Standard(output) => output.write(bytes),
            Output::File(draft) => draft.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Standard(output) => output.flush(),
            Output::File(draft) => draft.file.flush(),
        }
    }
}
