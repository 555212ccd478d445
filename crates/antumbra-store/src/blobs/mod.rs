//! Blobs: large bodies, each under its own id, written once and read as streams. Memory in use does not grow with size.
//!
//! A blob is visible only when it is whole and on stable storage. What the bytes mean, and their encryption, is the
//! caller's affair. Places are a closed enum, matched in this file.

mod local;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::{ops::Range, path::PathBuf};
use uuid::Uuid;

/// Where blobs are kept.
#[derive(Clone, Debug)]
pub enum BlobConfig {
    /// In a folder of the local disk.
    Local {
        /// The folder. Made if it is not there.
        folder: PathBuf,
    },
}

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("there is no blob {0}")]
    NotFound(Uuid),
    /// The range does not lie inside the blob.
    #[error("the range does not lie inside blob {0}")]
    OutOfRange(Uuid),
    /// The disk or the service failed. A blob that was being written is not kept.
    #[error("{doing} failed")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A place for blobs. Cloning gives another handle on the same one.
#[derive(Clone)]
pub struct Blobs(Place);

#[derive(Clone)]
enum Place {
    Local(local::Folder),
}

impl Blobs {
    /// Opens the place and sweeps away what writers left behind that never finished.
    pub async fn open(config: BlobConfig) -> Result<Blobs, BlobError> {
        match config {
            BlobConfig::Local { folder } => Ok(Blobs(Place::Local(local::Folder::open(folder).await?))),
        }
    }

    /// Blobs in a folder of the local disk. One process at a time may have it open.
    pub async fn local(folder: impl Into<PathBuf>) -> Result<Blobs, BlobError> {
        Blobs::open(BlobConfig::Local { folder: folder.into() }).await
    }

    /// Begins to write a blob. An earlier blob of that id is replaced when the writer finishes.
    pub async fn writer(&self, id: Uuid) -> Result<BlobWriter, BlobError> {
        match &self.0 {
            Place::Local(folder) => Ok(BlobWriter(Writing::Local(folder.writer(id).await?))),
        }
    }

    /// Reads the bytes of `range` as a stream of chunks of 256 KiB, the last one shorter.
    pub async fn read(
        &self,
        id: Uuid,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        match &self.0 {
            Place::Local(folder) => Ok(folder.read(id, range).await?.boxed()),
        }
    }

    /// Fills `buffer` with the bytes from `start` on, and has `work` done on them by the thread that read them.
    pub async fn read_into<B, T>(
        &self,
        id: Uuid,
        start: u64,
        buffer: B,
        work: impl FnOnce(B) -> T + Send + 'static,
    ) -> Result<T, BlobError>
    where
        B: AsMut<[u8]> + Send + 'static,
        T: Send + 'static,
    {
        match &self.0 {
            Place::Local(folder) => folder.read_into(id, start, buffer, work).await,
        }
    }

    /// Reads the bytes of `range`, which is small, in one go.
    pub async fn read_at(&self, id: Uuid, range: Range<u64>) -> Result<Bytes, BlobError> {
        let buffer = BytesMut::zeroed(range.end.saturating_sub(range.start) as usize);
        self.read_into(id, range.start, buffer, BytesMut::freeze).await
    }

    /// The size of a blob in bytes.
    pub async fn size(&self, id: Uuid) -> Result<u64, BlobError> {
        match &self.0 {
            Place::Local(folder) => folder.size(id).await,
        }
    }

    /// Removes a blob for good. It is no failure if there is none.
    pub async fn delete(&self, id: Uuid) -> Result<(), BlobError> {
        match &self.0 {
            Place::Local(folder) => folder.delete(id).await,
        }
    }

    /// Every blob there is, for the sweeper. In no order.
    pub fn list(&self) -> impl Stream<Item = Result<Uuid, BlobError>> + Send + use<> {
        match &self.0 {
            Place::Local(folder) => folder.list().boxed(),
        }
    }
}

/// A blob being written. Dropped without [`finish`](BlobWriter::finish), it leaves nothing.
pub struct BlobWriter(Writing);

enum Writing {
    Local(local::Writer),
}

impl BlobWriter {
    /// Adds bytes. After a failure the writer is to be dropped.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        match &mut self.0 {
            Writing::Local(writer) => writer.write(bytes).await,
        }
    }

    /// Makes the blob durable and visible.
    pub async fn finish(self) -> Result<(), BlobError> {
        match self.0 {
            Writing::Local(writer) => writer.finish().await,
        }
    }
}
