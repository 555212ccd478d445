//! Giving a file out: each group is checked against the hash tree before it is decrypted, and decrypted before it is sent.

use std::{
    mem,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use antumbra_crypto::{
    Key32,
    body::{GROUP_BYTES, Groups, Opener, RangeOpener, Verified},
};
use antumbra_store::Blobs;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::{
    FileError,
    store::{Manifest, Segment},
};

/// How much is read, checked and decrypted in one go: a whole number of groups.
const WINDOW_BYTES: u64 = 1 << 20;
/// Windows that are read and checked while one is being sent: enough that a thread that is woken late holds nobody up.
const WINDOWS_AHEAD: usize = 6;

/// Memory for the windows of one body. What has been sent is filled again: clearing fresh memory costs a core as much as
/// a part of the work on it.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A window's bytes.
struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    fn take(&self, length: usize) -> Buffer {
        let mut bytes = self.spare().pop().unwrap_or_default();
        bytes.resize(length, 0);
        Buffer {
            bytes,
            home: self.clone(),
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.spare().push(mem::take(&mut self.bytes));
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// The plain bytes of the whole file. Nothing of a spoiled group is given out, nor the end of a file whose tag is wrong.
pub(super) async fn whole(
    blobs: &Blobs,
    key: &Key32,
    manifest: &Manifest,
) -> Result<impl Stream<Item = Result<Bytes, FileError>> + Send + use<>, FileError> {
    let mut parts = Vec::with_capacity(manifest.segments.len());
    for segment in &manifest.segments {
        let opener = Opener::new(key, &segment.iv, segment.length)?;
        let groups = read_groups(blobs, segment).await?;
        let windows = checked(blobs.clone(), segment.clone(), groups, 0..segment.length);
        parts.push(decrypt_all(opener, segment.clone(), windows));
    }
    Ok(stream::iter(parts).flatten())
}

/// The plain bytes of `range`, which lies inside the file and is not empty.
pub(super) async fn range(
    blobs: &Blobs,
    key: &Key32,
    manifest: &Manifest,
    range: Range<u64>,
) -> Result<impl Stream<Item = Result<Bytes, FileError>> + Send + use<>, FileError> {
    let mut parts = Vec::new();
    let mut start = 0;
    for segment in &manifest.segments {
        let end = start + segment.length;
        let wanted = range.start.max(start)..range.end.min(end);
        if !wanted.is_empty() {
            let opener = RangeOpener::new(key, &segment.iv)?;
            let groups = read_groups(blobs, segment).await?;
            let wanted = wanted.start - start..wanted.end - start;
            let windows = checked(blobs.clone(), segment.clone(), groups, wanted.clone());
            parts.push(decrypt_some(opener, wanted, windows));
        }
        start = end;
    }
    Ok(stream::iter(parts).flatten())
}

/// The hashes of a body's groups, known to belong to it.
async fn read_groups(blobs: &Blobs, segment: &Segment) -> Result<Arc<Groups>, FileError> {
    let count = segment.length.div_ceil(GROUP_BYTES as u64);
    let sidecar = if count > 1 {
        blobs
            .read_at(segment.sidecar(), 0..count * size_of_val(&segment.root) as u64)
            .await?
    } else {
        Bytes::new()
    };
    Ok(Arc::new(Groups::new(&sidecar, segment.length, &segment.root)?))
}

/// A window of ciphertext that is what was sealed, and where in the body it begins.
type Window = (u64, Verified<Buffer>);

/// The windows that cover `wanted`, read and checked on other threads, in order.
fn checked(
    blobs: Blobs,
    segment: Segment,
    groups: Arc<Groups>,
    wanted: Range<u64>,
) -> impl Stream<Item = Result<Window, FileError>> + Send {
    let buffers = Buffers::default();
    let covering = groups.covering(wanted);
    let starts = covering.clone().step_by(WINDOW_BYTES as usize);
    let window = move |start: u64| {
        let (blobs, groups, object) = (blobs.clone(), groups.clone(), segment.object);
        let buffers = buffers.clone();
        let end = (start + WINDOW_BYTES).min(covering.end);
        async move {
            let check = move |bytes| groups.verify(start / GROUP_BYTES as u64, bytes);
            let buffer = buffers.take((end - start) as usize);
            let verified = blobs.read_into(object, start, buffer, check).await??;
            Ok((start, verified))
        }
    };
    stream::iter(starts).map(window).buffered(WINDOWS_AHEAD)
}

fn decrypt_all(
    opener: Opener,
    segment: Segment,
    windows: impl Stream<Item = Result<Window, FileError>> + Send,
) -> impl Stream<Item = Result<Bytes, FileError>> + Send {
    stream::try_unfold((Some(opener), Box::pin(windows)), move |(opener, mut windows)| {
        let Segment { tag, length, .. } = segment;
        async move {
            let Some(mut opener) = opener else { return Ok(None) };
            let (plain, end) = match windows.try_next().await? {
                Some((start, window)) => {
                    let plain = Bytes::from_owner(opener.open(window)?);
                    let end = start + plain.len() as u64;
                    (plain, end)
                }
                None => (Bytes::new(), length),
            };
            if end < length {
                return Ok(Some((plain, (Some(opener), windows))));
            }
            // The last bytes wait for the tag.
            opener.finish(&tag)?;
            Ok(Some((plain, (None, windows))))
        }
    })
}

fn decrypt_some(
    opener: RangeOpener,
    wanted: Range<u64>,
    windows: impl Stream<Item = Result<Window, FileError>> + Send,
) -> impl Stream<Item = Result<Bytes, FileError>> + Send {
    windows.and_then(move |(start, window)| {
        let plain = opener.open(window).map(|plain| {
            let plain = Bytes::from_owner(plain);
            let cut = |at: u64| {
                usize::try_from(at.saturating_sub(start))
                    .unwrap_or(usize::MAX)
                    .min(plain.len())
            };
            plain.slice(cut(wanted.start)..cut(wanted.end))
        });
        std::future::ready(plain.map_err(FileError::from))
    })
}
