//! Sealed bodies and their manifests: what silos uploaded and reports are downloaded from.
//!
//! A file is [`receive`]d first: its bytes are sealed as they arrive, and nothing refers to them yet. [`record`] then
//! makes it a file of its data subject request, inside the transaction that also changes what the upload was for.
//! Bytes that are never recorded, and those of files that were [`discard`]ed, are removed by [`sweep`]. A
//! [`DownloadKey`] lets its holder fetch one file for a while.
//!
//! The slice knows requests, silos and data points by their ids only. `docs/file-format.md` gives every byte.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod http;
mod mimetype;
mod name;
mod receive;
mod send;
mod store;
#[cfg(test)]
mod tests;

use antumbra_crypto::{OpenFailed, body::BodyError};
use antumbra_store::{BlobError, Corrupt, Key, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use http::{DOWNLOAD_KEY_LIFETIME, DownloadKey, mint_download_key};
pub(crate) use http::{download, no_longer_available, read_download_key, read_whole};
pub use receive::{Received, Upload, receive};
pub use store::{
    Left, Listed, TABLES, any, discard, discard_all, discard_some, forget_some, list, record, sweep, withdraw_all,
};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

use crate::{
    http::{Code, Problem},
    keyring::KeyringError,
};

/// One file of a data subject request. Ids of later files sort after those of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(pub Uuid);

impl Key for FileId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(FileId)
    }
}

/// What a recorded file is, apart from its bytes.
#[derive(Clone, Copy)]
pub struct Description<'a> {
    /// The data silo it came from.
    pub silo: Uuid,
    /// The data point it belongs to.
    pub data_point: Uuid,
    /// The folder that it stands in within the report: the title of a category.
    pub folder: &'a str,
    /// How it shall be called.
    pub naming: Naming<'a>,
    /// The content type that came with it.
    pub content_type: Option<&'a str>,
    /// When it was recorded.
    pub at: Timestamp,
}

/// How a file shall be called.
#[derive(Clone, Copy)]
pub enum Naming<'a> {
    /// As whoever sent it says, made safe, and with a number behind it where the name is taken.
    Given(&'a str),
    /// As its data point with a running number: `orders (1)`.
    Numbered(&'a str),
}

/// Why a file could not be received, recorded or sent.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is longer than the route allows.
    #[error("the file is longer than {bytes_max} bytes")]
    TooLarge {
        /// How long it might have been.
        bytes_max: u64,
    },
    /// It stopped arriving before its end.
    #[error("the file was cut off")]
    CutOff,
    /// The content key of its data subject request was destroyed.
    #[error("the data subject request takes no more files")]
    Closed,
    /// It took so long to be recorded that its bytes were swept away.
    #[error("the bytes of the file are no longer there")]
    Swept,
    /// What is stored of it is not what was stored.
    #[error("the stored {what} of a file is damaged")]
    Damaged {
        /// Which part.
        what: &'static str,
    },
    /// Its stored body is not what was stored.
    #[error("the stored body of a file is damaged")]
    Body(#[from] BodyError),
    /// A key could not be had.
    #[error("a key could not be had")]
    Keyring(#[from] KeyringError),
    /// Storage failed.
    #[error("storage failed")]
    Store(#[from] StoreError),
    /// The blob store failed.
    #[error("the blob store failed")]
    Blob(#[from] BlobError),
}

impl From<OpenFailed> for FileError {
    fn from(_: OpenFailed) -> FileError {
        FileError::Damaged { what: "description" }
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Problem {
        match error {
            FileError::TooLarge { bytes_max } => {
                Problem::new(Code::BodyTooLarge).saying(format!("The body is larger than {bytes_max} bytes"))
            }
            FileError::CutOff => Problem::malformed("The body was cut off"),
            FileError::Closed => Problem::conflict_state("This request has already been completed"),
            FileError::Swept => Problem::new(Code::TooSlow),
            FileError::Keyring(error) => error.into(),
            FileError::Store(error) => error.into(),
            FileError::Blob(error) => error.into(),
            FileError::Damaged { .. } | FileError::Body(_) => Problem::internal(&error),
        }
    }
}
