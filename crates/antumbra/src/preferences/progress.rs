//! How far the import of a file has come, kept beside it, so that an import that was cut short goes on there.
//!
//! It says up to which row everything was taken or refused, and of which file, partition and mapping it speaks; nothing of
//! what the rows hold. It is replaced as a whole, and synced. What was sent after it was last written is sent again, which
//! changes nothing.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aws_lc_rs::digest::{self, SHA256};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::import::Counts;
use crate::outcome::{Ended, Outcome};

const VERSION: u32 = 1;

/// How much of a file's beginning, and of its end, it is known by.
const BEGINNING_BYTES: u64 = 1024 * 1024;
const END_BYTES: u64 = 64 * 1024;

/// Where the next run goes on.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Mark {
    /// The last row that is settled, and where it ended.
    pub(super) row: u64,
    pub(super) end: u64,
    pub(super) counts: Counts,
    /// How much of the file of refused rows belongs to these.
    pub(super) rejected_bytes: u64,
}

/// Which import it is.
#[derive(PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Import {
    file_bytes: u64,
    beginning: String,
    end: String,
    partition: String,
    mapping: String,
    rejected: PathBuf,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    import: Import,
    mark: Mark,
}

/// The progress file of one import.
pub(super) struct Progress {
    path: PathBuf,
    kept: Kept,
}

impl Import {
    pub(super) fn new(path: &Path, partition: &str, mapping: &str, rejected: &Path) -> Result<Import> {
        let mut file = File::open(path).context("opening the file")?;
        let file_bytes = file.metadata().context("the size of the file")?.len();
        let mut digest = |from: u64, bytes: u64| -> Result<String> {
            let mut piece = Vec::new();
            file.seek(SeekFrom::Start(from)).context("reading the file")?;
            (&mut file)
                .take(bytes)
                .read_to_end(&mut piece)
                .context("reading the file")?;
            Ok(hexadecimal(&piece))
        };
        Ok(Import {
            beginning: digest(0, BEGINNING_BYTES)?,
            end: digest(file_bytes.saturating_sub(END_BYTES), END_BYTES)?,
            file_bytes,
            partition: partition.to_owned(),
            mapping: hexadecimal(mapping.as_bytes()),
            rejected: rejected.to_owned(),
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digest = digest::digest(&SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Progress {
    /// What is kept of this import beside the file, or its beginning.
    pub(super) fn open(file: &Path, import: Import) -> Result<Progress> {
        let path = beside(file);
        let kept = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
            Err(cause) => return Err(cause).context(format!("{} cannot be read", path.display())),
        };
        let mark = match kept {
            None => Mark::default(),
            Some(bytes) => match serde_json::from_slice::<Kept>(&bytes) {
                Ok(kept) if kept.version == VERSION && kept.import == import => kept.mark,
                _ => {
                    let said = format!(
                        "{} is of another import: of another file of that name, another partition, mapping or version\n  \
                         --no-resume begins anew",
                        path.display()
                    );
                    return Err(Ended::new(Outcome::Usage, said).into());
                }
            },
        };
        Ok(Progress {
            path,
            kept: Kept {
                version: VERSION,
                import,
                mark,
            },
        })
    }

    /// Forgets what an earlier run kept.
    pub(super) fn forget(file: &Path) -> Result<()> {
        match std::fs::remove_file(beside(file)) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(cause).context(format!("{} cannot be removed", beside(file).display()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.kept.mark
    }

    /// Keeps a mark. Afterwards a run goes on from it even if this machine loses its power now.
    pub(super) fn keep(&mut self, mark: Mark) -> Result<()> {
        self.kept.mark = mark;
        let text = serde_json::to_vec(&self.kept).context("progress has no form")?;
        write_whole(&self.path, |file| Ok(file.write_all(&text)?))
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".progress");
    name.into()
}

/// Writes a file, which only its owner may read, so that either the old one or the whole new one is there.
pub(super) fn write_whole(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let context = || format!("{} cannot be written", path.display());
    let mut new = NamedTempFile::new_in(folder).with_context(context)?;
    fill(new.as_file_mut())?;
    new.as_file().sync_all().with_context(context)?;
    new.persist(path).map_err(|failed| failed.error).with_context(context)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(context)
}
