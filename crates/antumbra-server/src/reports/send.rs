//! Giving a report out: one archive, made while it is sent.
//!
//! What is held at any time is one window of one file, the list of files, and the archive's own list, of some hundred bytes
//! each for a file. Dropping the stream drops all of it.

use std::{collections::VecDeque, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use jiff::Timestamp;

use super::{
    contents::{Contents, INDEX_HTML, INDEX_JSON},
    zip::{Archive, Member, Method, Open},
};
use crate::{
    AppState,
    files::{self, FileError},
    keyring::OrganizationKeys,
};

type FileBytes = Pin<Box<dyn Stream<Item = Result<Bytes, FileError>> + Send>>;

/// The archive, piece by piece. It fails, and ends, at the first file that is not whole.
pub(super) fn archive(
    app: AppState,
    keys: Arc<OrganizationKeys>,
    contents: Contents,
) -> impl Stream<Item = Result<Bytes, FileError>> + Send + 'static {
    let sending = Sending::new(app, keys, contents);
    stream::try_unfold(sending, |mut sending| async move {
        let piece = sending.next().await.inspect_err(|error| {
            let cause = crate::http::chain(error);
            tracing::error!(
                cause,
                dsr.id = %sending.contents.request.id,
                "a report was broken off because one of its files could not be read to its end"
            );
        })?;
        Ok(piece.map(|piece| (piece, sending)))
    })
}

struct Sending {
    app: AppState,
    keys: Arc<OrganizationKeys>,
    contents: Contents,
    /// Members that have begun: the two indexes, then the files.
    next: usize,
    ready: VecDeque<Bytes>,
    at: At,
}

/// Where in the archive we are.
enum At {
    Between(Archive),
    Within(Box<Open>, Source),
    End,
}

/// Where the bytes of a member come from.
enum Source {
    Ready(Option<Bytes>),
    /// The index for programs, from this file on.
    Index(usize),
    File(FileBytes),
}

impl Sending {
    fn new(app: AppState, keys: Arc<OrganizationKeys>, contents: Contents) -> Sending {
        Sending {
            app,
            keys,
            contents,
            next: 0,
            ready: VecDeque::new(),
            at: At::Between(Archive::default()),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, FileError> {
        loop {
            match self.ready.pop_front() {
                Some(piece) if piece.is_empty() => continue,
                Some(piece) => return Ok(Some(piece)),
                None => {}
            }
            self.at = match std::mem::replace(&mut self.at, At::End) {
                At::End => return Ok(None),
                At::Between(archive) => self.begin(archive).await?,
                At::Within(mut open, mut source) => match self.read(&mut source).await? {
                    Some(plain) => {
                        self.ready.push_back(open.pack(plain));
                        At::Within(open, source)
                    }
                    None => {
                        let (archive, tail) = open.close();
                        self.ready.push_back(tail);
                        At::Between(archive)
                    }
                },
            };
        }
    }

    /// Begins the next member, or ends the archive.
    async fn begin(&mut self, archive: Archive) -> Result<At, FileError> {
        let number = self.next;
        self.next += 1;
        let made_at = self.contents.request.made_at;
        let (open, head, source) = match number {
            0 => {
                let index = self.contents.index_html();
                let (open, head) = archive.open(&index_member(INDEX_HTML, made_at));
                (open, head, Source::Ready(Some(index)))
            }
            1 => {
                let (open, head) = archive.open(&index_member(INDEX_JSON, made_at));
                (open, head, Source::Index(0))
            }
            _ => {
                let Some(file) = self.contents.files.get(number - 2) else {
                    self.ready.push_back(archive.finish());
                    return Ok(At::End);
                };
                let request = self.contents.request.id;
                let mut reader = self.app.store.begin_read().await?;
                let bytes = files::read_whole(&self.app, &mut reader, &self.keys, request, file.file).await?;
                drop(reader);
                let member = Member {
                    path: &file.path,
                    method: Method::for_mimetype(&file.mimetype),
                    bytes: file.bytes,
                    at: file.received_at,
                };
                let (open, head) = archive.open(&member);
                // A file that was taken back since the list was made is no longer what the list says.
                let source: FileBytes = Box::pin(bytes.ok_or(FileError::Swept)?);
                (open, head, Source::File(source))
            }
        };
        self.ready.push_back(head);
        Ok(At::Within(Box::new(open), source))
    }

    async fn read(&mut self, source: &mut Source) -> Result<Option<Bytes>, FileError> {
        match source {
            Source::Ready(bytes) => Ok(bytes.take()),
            Source::Index(at) => Ok(self.contents.index_json(*at).map(|(piece, next)| {
                *at = next;
                piece
            })),
            Source::File(bytes) => bytes.try_next().await,
        }
    }
}

fn index_member(path: &'static str, at: Timestamp) -> Member<'static> {
    Member {
        path,
        method: Method::Deflated,
        bytes: 0,
        at,
    }
}

#[cfg(test)]
mod tests;
