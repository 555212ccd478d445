//! Where an export goes.

use std::{
    fs::File,
    io::{self, BufWriter, Stdout, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// A file that is there whole or not at all, and that only its owner may read; or standard output.
pub(super) enum Output {
    Standard(BufWriter<Stdout>),
    File {
        new: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
}

impl Output {
    pub(super) fn open(path: Option<&Path>) -> Result<Output> {
        let Some(path) = path else {
            return Ok(Output::Standard(BufWriter::new(io::stdout())));
        };
        let new = NamedTempFile::new_in(folder(path));
        Ok(Output::File {
            new: BufWriter::new(new.with_context(|| format!("{} cannot be written", path.display()))?),
            path: path.to_owned(),
        })
    }

    /// Has everything where it belongs.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Output::Standard(mut output) => output.flush().context("writing"),
            Output::File { new, path } => {
                let context = || format!("{} cannot be written", path.display());
                let new = new
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .with_context(context)?;
                new.as_file().sync_all().with_context(context)?;
                new.persist(&path)
                    .map_err(|failed| failed.error)
                    .with_context(context)?;
                File::open(folder(&path))
                    .and_then(|folder| folder.sync_all())
                    .with_context(context)
            }
        }
    }
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
            Output::File { new, .. } => new.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Output::Standard(output) => output.flush(),
            Output::File { new, .. } => new.flush(),
        }
    }
}
