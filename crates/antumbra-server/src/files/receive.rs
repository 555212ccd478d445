//! Taking a file in: sealed as it arrives, in memory that does not grow with it.
//!
//! Three stages run side by side, each on its own megabyte: one is filled from the wire, one is sealed on a thread of
//! its own, one is written to the blob store. Nothing of the plain bytes is ever on disk.

use antumbra_crypto::{
    Key32,
    body::{BodyError, SEGMENT_BYTES_MAX, SealedBody, Sealer},
};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::try_join;
use uuid::Uuid;

use super::{
    FileError, mimetype,
    store::{self, Reservation, Segment},
};
use crate::{AppState, keyring::KeyKind, organization::OrganizationId};

/// How much is gathered before it is sealed: a whole number of groups, small enough for the processor's cache.
const CHUNK_BYTES: usize = 1 << 20;

/// A file that is about to arrive.
#[derive(Clone, Copy, Debug)]
pub struct Upload {
    /// Whose file.
    pub organization: OrganizationId,
    /// The data subject request it is for; it must have a content key.
    pub request: Uuid,
    /// How long it may be; 0 for no bound.
    pub bytes_max: u64,
}

/// A file whose bytes are sealed and durable, and to which nothing refers yet.
#[derive(Debug)]
pub struct Received {
    pub(super) organization: OrganizationId,
    pub(super) request: Uuid,
    pub(super) segments: Vec<(Reservation, Segment)>,
    pub(super) sniffed: Option<&'static str>,
    pub(super) bytes: u64,
}

impl Received {
    /// How long the file is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What stands for the sealed bytes: it says nothing about the file to those who cannot open it.
    pub fn digest(&self) -> [u8; 32] {
        let roots = self.segments.iter().flat_map(|(_, segment)| segment.root);
        antumbra_crypto::sha256(&roots.collect::<Vec<u8>>())
    }
}

/// Seals what `body` brings. What fails or is cut off leaves nothing but a reservation, which the sweep removes.
pub async fn receive<S, E>(app: &AppState, upload: Upload, body: S) -> Result<Received, FileError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
{
    receive_in_segments(app, upload, body, SEGMENT_BYTES_MAX).await
}

/// As [`receive`], with segments of `segment_bytes_max`.
pub(super) async fn receive_in_segments<S, E>(
    app: &AppState,
    upload: Upload,
    body: S,
    segment_bytes_max: u64,
) -> Result<Received, FileError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
{
    let keys = app.keys.organization(upload.organization).await?;
    let key = {
        // Closed again before the first byte: an upload may last for hours, and a snapshot must not.
        let mut reader = app.store.begin_read().await?;
        let found = keys.find_key(&mut reader, KeyKind::Request, upload.request).await?;
        found.ok_or(FileError::Closed)?
    };
    let mut arriving = Arriving::new(body, upload.bytes_max);
    let mut first = arriving.fill(CHUNK_BYTES, segment_bytes_max).await?;
    let sniffed = mimetype::sniff(&first[..first.len().min(mimetype::SNIFF_BYTES)]);
    let mut received = Received {
        organization: upload.organization,
        request: upload.request,
        segments: Vec::new(),
        sniffed,
        bytes: 0,
    };
    while !first.is_empty() || received.segments.is_empty() {
        let reservation = store::reserve(app, upload.organization, upload.request).await?;
        let segment = seal_segment(app, &key, &reservation, first, &mut arriving, segment_bytes_max).await?;
        received.bytes += segment.length;
        received.segments.push((reservation, segment));
        first = arriving.fill(CHUNK_BYTES, segment_bytes_max).await?;
    }
    Ok(received)
}

async fn seal_segment<S, E>(
    app: &AppState,
    key: &Key32,
    reservation: &Reservation,
    first: BytesMut,
    arriving: &mut Arriving<S>,
    segment_bytes_max: u64,
) -> Result<Segment, FileError>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
{
    let mut writer = app.blobs.writer(reservation.object).await?;
    let mut sealer = Sealer::with_room(key, &reservation.iv, segment_bytes_max)?;
    let (mut current, mut sealed) = (first, Bytes::new());
    while !current.is_empty() {
        let room = sealer.room() - current.len() as u64;
        let write = async { Ok(writer.write(sealed).await?) };
        let (next, done, ()) = try_join!(arriving.fill(CHUNK_BYTES, room), seal_chunk(sealer, current), write)?;
        (sealer, sealed) = done;
        current = next;
    }
    writer.write(sealed).await?;
    let SealedBody {
        tag,
        len,
        root,
        sidecar,
    } = sealer.finish()?;
    let keep_sidecar = async {
        if !sidecar.is_empty() {
            let mut writer = app.blobs.writer(reservation.sidecar()).await?;
            writer.write(sidecar.into()).await?;
            writer.finish().await?;
        }
        Ok(())
    };
    try_join!(writer.finish(), keep_sidecar)?;
    Ok(Segment {
        object: reservation.object,
        iv: reservation.iv,
        tag,
        length: len,
        root,
    })
}

/// Seals one chunk away from the threads that serve connections.
async fn seal_chunk(mut sealer: Sealer, mut chunk: BytesMut) -> Result<(Sealer, Bytes), FileError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a chunk is sealed beside the connections; waited for below"
    )]
    let sealing = tokio::task::spawn_blocking(move || {
        sealer.seal(&mut chunk)?;
        Ok::<_, BodyError>((sealer, chunk.freeze()))
    });
    let sealed = sealing.await.map_err(|_| FileError::Body(BodyError::Cipher))?;
    Ok(sealed?)
}

/// What is still on its way.
struct Arriving<S> {
    body: S,
    /// Came with the last chunk and belongs to the next.
    left_over: Bytes,
    bytes_max: u64,
    bytes_left: u64,
}

impl<S, E> Arriving<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin + Send,
{
    fn new(body: S, bytes_max: u64) -> Self {
        let bytes_left = if bytes_max == 0 { u64::MAX } else { bytes_max };
        Self {
            body,
            left_over: Bytes::new(),
            bytes_max,
            bytes_left,
        }
    }

    /// The next chunk: as long as asked for, and shorter only at the end of `room` or of the file.
    async fn fill(&mut self, length: usize, room: u64) -> Result<BytesMut, FileError> {
        let length = length.min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut chunk = BytesMut::new();
        while chunk.len() < length {
            if self.left_over.is_empty() {
                match self.body.next().await {
                    None => break,
                    Some(Err(_)) => return Err(FileError::CutOff),
                    Some(Ok(bytes)) => self.left_over = bytes,
                }
                let arrived = self.left_over.len() as u64;
                let too_large = FileError::TooLarge {
                    bytes_max: self.bytes_max,
                };
                self.bytes_left = self.bytes_left.checked_sub(arrived).ok_or(too_large)?;
            }
            if chunk.is_empty() && chunk.capacity() == 0 {
                chunk.reserve(length.min(CHUNK_BYTES));
            }
            let taken = self.left_over.len().min(length - chunk.len());
            chunk.extend_from_slice(&self.left_over[..taken]);
            self.left_over.advance(taken);
        }
        Ok(chunk)
    }
}
