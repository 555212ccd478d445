//! Messages to data subjects: what is said, in whose words and which language, and that it is sent at least once or is seen
//! to have failed.
//!
//! [`post`] renders a [`Letter`] and keeps it, sealed under its request's key, with a job that sends it. The job gives it to
//! the mail server by [`Mailer`]; what the server puts off is tried again by a schedule, what it refuses has failed and is
//! listed until somebody has it tried again. This slice knows no request beyond its id: whether a person gets messages at
//! all is decided by whoever posts, and [`silence`] takes back what is not sent yet.

pub(crate) mod graphql;
mod jobs;
mod letter;
mod mail;
mod model;
mod post;
mod render;
mod smtp;
mod store;
mod unmixed;
mod words;

use antumbra_crypto::OpenFailed;
use antumbra_store::{Corrupt, StoreError};

pub use jobs::{SEND, send};
pub use letter::{Field, Letter, OwnWords};
pub use model::{MessageHead, MessageId, MessageStatus};
pub use post::{forget, list_of_request, post, retry, silence};
pub use smtp::Mailer;
pub use store::TABLES;

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

use crate::{config::MailConfig, jobs::JobError, keyring::KeyringError};

/// Whether the way to the mail server can be encrypted as configured; if not, why, in words.
pub(crate) fn check_tls(config: &MailConfig) -> Result<(), String> {
    smtp::tls(config).map(drop)
}

/// Why something about a message cannot be done. Names nobody.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// What it says does not open with the key of its request.
    #[error("a message does not open")]
    Sealed(#[from] OpenFailed),
    /// What it says opens to something that cannot be read.
    #[error("a message cannot be read or written")]
    Unreadable(#[from] Corrupt),
    /// The key of its request could not be had.
    #[error("the key of a message could not be had")]
    Keys(#[from] KeyringError),
    /// Storage failed.
    #[error("messages could not be read or written")]
    Store(#[from] StoreError),
}

impl From<MessageError> for JobError {
    fn from(error: MessageError) -> JobError {
        match error {
            MessageError::Store(error) | MessageError::Keys(KeyringError::Store(error)) => JobError::Store(error),
            error => JobError::because("working on a message", error),
        }
    }
}
