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

const VERSION: u32 = 2;

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
}

#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    import: Import,
    /// The list of its refused rows.
    rejected: PathBuf,
    mark: Mark,
}

/// The progress file of one import.
pub(super) struct Progress {
    path: PathBuf,
    kept: Kept,
}

impl Import {
    pub(super) fn new(path: &Path, partition: &str, mapping: &str) -> Result<Import> {
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
        })
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digest = digest::digest(&SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Progress {
    /// What is kept of this import beside the file: its list of refused rows, and how far it has come. Fails if what is kept
    /// there is of another import.
    pub(super) fn find(file: &Path, import: &Import) -> Result<Option<(PathBuf, Mark)>> {
        let path = beside(file);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause).context(format!("{} cannot be read", path.display())),
        };
        match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.version == VERSION && kept.import == *import => Ok(Some((kept.rejected, kept.mark))),
            _ => Err(Progress::of_another(file)),
        }
    }

    /// What to say where something else is kept.
    pub(super) fn of_another(file: &Path) -> anyhow::Error {
        let said = format!(
            "{} is of another import: of another file of that name, another partition, mapping, list of refused rows or version\n  \
             --no-resume begins anew",
            beside(file).display()
        );
        Ended::new(Outcome::Usage, said).into()
    }

    /// Progress of an import that has come to a mark: kept from now on, so that its list of refused rows is known as its own.
    pub(super) fn begin(file: &Path, import: Import, rejected: &Path, mark: Mark) -> Result<Progress> {
        let mut progress = Progress {
            path: beside(file),
            kept: Kept {
                version: VERSION,
                import,
                rejected: rejected.to_owned(),
                mark: mark.clone(),
            },
        };
        progress.keep(mark)?;
        Ok(progress)
    }

    /// Forgets what was kept.
    pub(super) fn forget(self) -> Result<()> {
        std::fs::remove_file(&self.path).with_context(|| format!("{} cannot be removed", self.path.display()))
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
