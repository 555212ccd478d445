//! Blobs in a folder of the local disk.
//!
//! A blob is written beside its final name, synced, renamed, and then the folder is synced: after a crash it is there
//! whole or not at all. While it is being written, what has been handed to the system is synced every few megabytes, so
//! that the disk works while the rest is still arriving and little is left to do at the end.

#![expect(clippy::disallowed_methods, reason = "files block, and each call waits for its own")]

use super::BlobError;
use crate::folder;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use std::{
    fs::{DirEntry, File},
    io::{ErrorKind, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

/// Bytes gathered before they are handed to the system.
const PART_BYTES: usize = 1 << 20;
/// Bytes handed to the system before it is told to bring them to the disk.
const SYNC_BYTES: usize = 16 << 20;
/// Bytes of a chunk that is read.
const CHUNK_BYTES: u64 = 256 << 10;
/// Chunks that are read ahead of the one that is wanted.
const CHUNKS_AHEAD: usize = 2;
/// What unfinished blobs have in their names, before a number.
const UNFINISHED: char = '#';

/// The folder. Blobs lie two folders deep, so that none grows large.
#[derive(Clone)]
pub(super) struct Folder {
    root: Arc<Path>,
}

impl Folder {
    pub(super) async fn open(root: PathBuf) -> Result<Folder, BlobError> {
        blocking("opening the blob folder", move || {
            folder::make(&root)?;
            for outer in folders_in(&root)? {
                for inner in folders_in(&outer)? {
                    remove_unfinished(&inner)?;
                }
            }
            Ok(Folder { root: root.into() })
        })
        .await
    }

    pub(super) async fn writer(&self, id: Uuid) -> Result<Writer, BlobError> {
        let path = self.path_of(id);
        let (draft, file) = blocking("beginning a blob", move || create_draft(&path)).await?;
        Ok(Writer {
            target: self.path_of(id),
            draft: Some(draft),
            file: Arc::new(file),
            gathered: Vec::new(),
            gathered_bytes: 0,
            unsynced_bytes: 0,
            writing: None,
            syncing: None,
        })
    }

    pub(super) async fn read(
        &self,
        id: Uuid,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        let path = self.path_of(id);
        let opened = blocking("opening a blob", move || match File::open(path) {
            Ok(file) => file.metadata().map(|metadata| Some((file, metadata.len()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        let (file, size) = opened.await?.ok_or(BlobError::NotFound(id))?;
        if range.start > range.end || range.end > size {
            return Err(BlobError::OutOfRange(id));
        }
        let file = Arc::new(file);
        let chunks = stream::iter(range.clone().step_by(CHUNK_BYTES as usize)).map(move |from| {
            let (file, bytes) = (file.clone(), CHUNK_BYTES.min(range.end - from));
            blocking("reading a blob", move || {
                let mut chunk = vec![0; bytes as usize];
                file.read_exact_at(&mut chunk, from)?;
                Ok(Bytes::from(chunk))
            })
        });
        Ok(chunks.buffered(CHUNKS_AHEAD))
    }

    pub(super) async fn read_into<B, T>(
        &self,
        id: Uuid,
        start: u64,
        mut buffer: B,
        work: impl FnOnce(B) -> T + Send + 'static,
    ) -> Result<T, BlobError>
    where
        B: AsMut<[u8]> + Send + 'static,
        T: Send + 'static,
    {
        let path = self.path_of(id);
        let read = blocking("reading a blob", move || {
            match File::open(path).and_then(|file| file.read_exact_at(buffer.as_mut(), start)) {
                Ok(()) => Ok(Ok(work(buffer))),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Err(BlobError::NotFound(id))),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Err(BlobError::OutOfRange(id))),
                Err(error) => Err(error),
            }
        });
        read.await?
    }

    pub(super) async fn size(&self, id: Uuid) -> Result<u64, BlobError> {
        let path = self.path_of(id);
        let found = blocking("looking up a blob", move || match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        found.await?.ok_or(BlobError::NotFound(id))
    }

    pub(super) async fn delete(&self, id: Uuid) -> Result<(), BlobError> {
        let path = self.path_of(id);
        blocking("deleting a blob", move || match std::fs::remove_file(&path) {
            Ok(()) => folder::sync_above(&path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) fn list(&self) -> impl Stream<Item = Result<Uuid, BlobError>> + Send + use<> {
        let root = self.root.clone();
        let outer = stream::once(blocking("listing blobs", move || folders_in(&root)));
        let outer = outer
            .map_ok(|folders| stream::iter(folders.into_iter().map(Ok)))
            .try_flatten();
        let ids = outer.and_then(|folder| blocking("listing blobs", move || ids_in(&folder)));
        ids.map_ok(|ids| stream::iter(ids.into_iter().map(Ok))).try_flatten()
    }

    fn path_of(&self, id: Uuid) -> PathBuf {
        let name = id.simple().to_string();
        // The last digits: the first ones of ids made from the time are alike.
        self.root.join(&name[28..30]).join(&name[30..32]).join(name)
    }
}

/// A blob being written.
pub(super) struct Writer {
    target: PathBuf,
    /// Where the blob is until it is finished.
    draft: Option<PathBuf>,
    file: Arc<File>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
    unsynced_bytes: usize,
    /// At most one part is being written, and at most one sync is running beside it.
    writing: Option<JoinHandle<std::io::Result<()>>>,
    syncing: Option<JoinHandle<std::io::Result<()>>>,
}

impl Writer {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.gathered_bytes += bytes.len();
        self.gathered.push(bytes);
        if self.gathered_bytes >= PART_BYTES {
            self.hand_over().await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<(), BlobError> {
        self.hand_over().await?;
        settle(&mut self.writing).await?;
        settle(&mut self.syncing).await?;
        let (file, target, draft) = (self.file.clone(), self.target.clone(), self.draft.clone());
        blocking("finishing a blob", move || {
            file.sync_all()?;
            if let Some(draft) = draft {
                std::fs::rename(draft, &target)?;
            }
            folder::sync_above(&target)
        })
        .await?;
        self.draft = None;
        Ok(())
    }

    /// Lets what was gathered be written once the part before has been.
    async fn hand_over(&mut self) -> Result<(), BlobError> {
        settle(&mut self.writing).await?;
        let (parts, file) = (std::mem::take(&mut self.gathered), self.file.clone());
        self.unsynced_bytes += std::mem::take(&mut self.gathered_bytes);
        self.writing = Some(spawn_blocking(move || {
            parts.iter().try_for_each(|part| (&*file).write_all(part))
        }));
        if self.unsynced_bytes >= SYNC_BYTES && self.syncing.as_ref().is_none_or(JoinHandle::is_finished) {
            settle(&mut self.syncing).await?;
            let file = self.file.clone();
            self.unsynced_bytes = 0;
            self.syncing = Some(spawn_blocking(move || file.sync_data()));
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(draft) = self.draft.take() {
            // What cannot be removed now is swept away at the next start.
            let _ = std::fs::remove_file(draft);
        }
    }
}

async fn settle(task: &mut Option<JoinHandle<std::io::Result<()>>>) -> Result<(), BlobError> {
    match task.take() {
        Some(task) => joined("writing a blob", task.await),
        None => Ok(()),
    }
}

/// Creates the file that becomes the blob, and the folders above it.
fn create_draft(target: &Path) -> std::io::Result<(PathBuf, File)> {
    target.parent().map_or(Ok(()), folder::make)?;
    let mut number = 1u64;
    loop {
        let mut draft = target.as_os_str().to_owned();
        draft.push(format!("{UNFINISHED}{number}"));
        match File::create_new(&draft) {
            Ok(file) => return Ok((draft.into(), file)),
            // Somebody else is writing the same blob: the one that finishes last stands.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn folders_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    entries_of(folder, |entry| Ok(entry.file_type()?.is_dir().then(|| entry.path())))
}

fn ids_in(outer: &Path) -> std::io::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    for inner in folders_in(outer)? {
        ids.extend(entries_of(&inner, |entry| {
            Ok(Uuid::try_parse(&entry.file_name().to_string_lossy()).ok())
        })?);
    }
    Ok(ids)
}

fn remove_unfinished(folder: &Path) -> std::io::Result<()> {
    let unfinished = |name: &str| name.contains(UNFINISHED);
    let found = entries_of(folder, |entry| {
        Ok(unfinished(&entry.file_name().to_string_lossy()).then(|| entry.path()))
    })?;
    found.iter().try_for_each(std::fs::remove_file)
}

fn entries_of<T>(folder: &Path, pick: impl Fn(&DirEntry) -> std::io::Result<Option<T>>) -> std::io::Result<Vec<T>> {
    let mut picked = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        picked.extend(pick(&entry?)?);
    }
    Ok(picked)
}

/// Does something with the disk where blocking is allowed.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, BlobError> {
    joined(doing, spawn_blocking(work).await)
}

fn joined<T>(doing: &'static str, outcome: Result<std::io::Result<T>, tokio::task::JoinError>) -> Result<T, BlobError> {
    match outcome {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(BlobError::Unavailable {
            doing,
            source: source.into(),
        }),
        Err(source) => Err(BlobError::Unavailable {
            doing,
            source: source.into(),
        }),
    }
}
