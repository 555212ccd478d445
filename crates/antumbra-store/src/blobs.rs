//! Blobs: large bodies, each under its own id, written once and read as streams. Memory in use does not grow with size.
//!
//! A blob is visible only when it is whole and on stable storage. What the bytes mean, and their encryption, is the
//! caller's affair.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream::FuturesUnordered};
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, UploadPart, local::LocalFileSystem, path::Path,
};
use std::{
    fs::File,
    io::{ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};
use uuid::Uuid;

/// Bytes gathered before they are handed to the disk.
const PART_BYTES: usize = 1 << 20;
/// Parts that are being written while more bytes are gathered.
const PARTS_IN_FLIGHT_MAX: usize = 2;

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
    Local(Arc<LocalFileSystem>),
}

impl Blobs {
    /// Opens the place and sweeps away what writers left behind that never finished.
    pub async fn open(config: BlobConfig) -> Result<Blobs, BlobError> {
        match config {
            BlobConfig::Local { folder } => Blobs::local(folder).await,
        }
    }

    /// Blobs in a folder of the local disk. One process at a time may have it open.
    pub async fn local(folder: impl Into<PathBuf>) -> Result<Blobs, BlobError> {
        let folder = folder.into();
        let opening = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(&folder).map_err(unavailable("making the blob folder"))?;
            sweep(&folder).map_err(unavailable("sweeping the blob folder"))?;
            let place = LocalFileSystem::new_with_prefix(&folder).map_err(unavailable("opening the blob folder"))?;
            Ok(Blobs(Place::Local(Arc::new(place.with_fsync(true)))))
        });
        opening.await.map_err(unavailable("opening the blob folder"))?
    }

    /// Begins to write a blob. An earlier blob of that id is replaced when the writer finishes.
    pub async fn writer(&self, id: Uuid) -> Result<BlobWriter, BlobError> {
        let upload = self
            .place()
            .put_multipart(&path_of(id))
            .await
            .map_err(unavailable("beginning a blob"))?;
        Ok(BlobWriter {
            upload,
            gathered: BytesMut::new(),
            in_flight: FuturesUnordered::new(),
        })
    }

    /// Reads the bytes of `range` as a stream of chunks.
    pub async fn read(
        &self,
        id: Uuid,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + use<>, BlobError> {
        if range.is_empty() {
            return Ok(futures_util::stream::empty().left_stream());
        }
        if range.end > self.size(id).await? {
            return Err(BlobError::OutOfRange(id));
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let found = self
            .place()
            .get_opts(&path_of(id), options)
            .await
            .map_err(missing(id, "reading a blob"))?;
        Ok(found
            .into_stream()
            .map_err(unavailable("reading a blob"))
            .right_stream())
    }

    /// Reads the bytes of `range`, which is small, in one go, and has `work` done on them by the thread that read them.
    pub async fn read_then<T: Send + 'static>(
        &self,
        id: Uuid,
        range: Range<u64>,
        work: impl FnOnce(BytesMut) -> T + Send + 'static,
    ) -> Result<T, BlobError> {
        let worked = match &self.0 {
            Place::Local(place) => {
                let path = place
                    .path_to_filesystem(&path_of(id))
                    .map_err(missing(id, "reading a blob"))?;
                tokio::task::spawn_blocking(move || Ok(work(read_exactly(id, &path, range)?)))
            }
        };
        worked.await.map_err(unavailable("reading a blob"))?
    }

    /// Reads the bytes of `range`, which is small, in one go.
    pub async fn read_at(&self, id: Uuid, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.read_then(id, range, BytesMut::freeze).await
    }

    /// The size of a blob in bytes.
    pub async fn size(&self, id: Uuid) -> Result<u64, BlobError> {
        let found = self
            .place()
            .head(&path_of(id))
            .await
            .map_err(missing(id, "looking up a blob"))?;
        Ok(found.size)
    }

    /// Removes a blob. It is no failure if there is none.
    pub async fn delete(&self, id: Uuid) -> Result<(), BlobError> {
        match self.place().delete(&path_of(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(unavailable("deleting a blob")(error)),
        }
    }

    /// Every blob there is, for the sweeper.
    pub fn list(&self) -> impl Stream<Item = Result<Uuid, BlobError>> + Send + use<> {
        let listed = self.place().list(None).map_err(unavailable("listing blobs"));
        listed.try_filter_map(|found| async move { Ok(id_of(&found.location)) })
    }

    fn place(&self) -> &dyn ObjectStore {
        match &self.0 {
            Place::Local(place) => place.as_ref(),
        }
    }
}

/// A blob being written. Dropped without [`finish`](BlobWriter::finish), it leaves nothing.
pub struct BlobWriter {
    upload: Box<dyn MultipartUpload>,
    gathered: BytesMut,
    in_flight: FuturesUnordered<UploadPart>,
}

impl BlobWriter {
    /// Adds bytes. After a failure the writer is to be dropped.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        if self.gathered.is_empty() && bytes.len() >= PART_BYTES {
            return self.send(bytes).await;
        }
        self.gathered.extend_from_slice(&bytes);
        while self.gathered.len() >= PART_BYTES {
            let part = self.gathered.split_to(PART_BYTES).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    /// Makes the blob durable and visible.
    pub async fn finish(mut self) -> Result<(), BlobError> {
        let rest = self.gathered.split().freeze();
        self.send(rest).await?;
        while self
            .in_flight
            .try_next()
            .await
            .map_err(unavailable("writing a blob"))?
            .is_some()
        {}
        self.upload.complete().await.map_err(unavailable("finishing a blob"))?;
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), BlobError> {
        while self.in_flight.len() >= PARTS_IN_FLIGHT_MAX {
            self.in_flight.try_next().await.map_err(unavailable("writing a blob"))?;
        }
        self.in_flight.push(self.upload.put_part(part.into()));
        Ok(())
    }
}

/// `ab/cd/abcd….`: two levels of folders, so that none grows large.
fn path_of(id: Uuid) -> Path {
    let name = id.simple().to_string();
    // The last digits: the first ones of an id made from the time are alike.
    let (outer, inner) = (&name[28..30], &name[30..32]);
    Path::from(format!("{outer}/{inner}/{name}"))
}

fn id_of(path: &Path) -> Option<Uuid> {
    Uuid::try_parse(path.filename()?).ok()
}

fn read_exactly(id: Uuid, path: &std::path::Path, range: Range<u64>) -> Result<BytesMut, BlobError> {
    let length = range.end.saturating_sub(range.start);
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(unavailable("reading a blob"))?);
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(range.start))?;
        file.take(length).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) if bytes.len() as u64 == length => Ok(BytesMut::from(Bytes::from(bytes))),
        Ok(_) => Err(BlobError::OutOfRange(id)),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(BlobError::NotFound(id)),
        Err(error) => Err(unavailable("reading a blob")(error)),
    }
}

/// Removes what unfinished writers left: their files have a `#` in the name.
fn sweep(folder: &std::path::Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep(&entry.path())?;
        } else if entry.file_name().to_string_lossy().contains('#') {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn unavailable<E: Into<Box<dyn std::error::Error + Send + Sync>>>(doing: &'static str) -> impl Fn(E) -> BlobError {
    move |source| BlobError::Unavailable {
        doing,
        source: source.into(),
    }
}

fn missing(id: Uuid, doing: &'static str) -> impl Fn(object_store::Error) -> BlobError {
    move |source| match source {
        object_store::Error::NotFound { .. } => BlobError::NotFound(id),
        source => unavailable(doing)(source),
    }
}
