//! Preflights: what happens between a request's submission and the first silo that is asked. Enrichers run, and identifiers
//! are verified.
//!
//! [`settle_identities`] looks at a request that is at this point: it makes a run for each enricher and identifier that
//! belong together, lets begin what may, and lets the request go on once every run has ended and every identifier is
//! verified. A run is a pure state machine ([`Preflight`]). What others know of a person comes in by
//! `POST /v1/enrich-identifiers` or in the answer to a webhook.

mod admin;
mod answer;
pub(crate) mod graphql;
mod http;
mod jobs;
mod look;
mod mail;
mod model;
mod nonce;
mod notice;
mod store;
mod verification;
mod verify;
mod wire;
mod words;

use antumbra_crypto::OpenFailed;
use antumbra_store::StoreError;

pub(crate) use http::{__path_enrich_identifiers, enrich_identifiers};
pub use jobs::{ASK, WAKE, ask, enricher_changed, settle_identities, wake};
pub use model::{Preflight, PreflightId, PreflightOutOfPlace, PreflightState, PreflightStatus, Reason};
pub use store::{TABLES, forget};
pub use verification::Verification;
pub(crate) use verify::{
    __path_show_verification, __path_verify_by_code, __path_verify_by_link, show_verification, verify_by_code,
    verify_by_link,
};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

use crate::{dsr::DsrError, http::Problem, jobs::JobError, keyring::KeyringError, messages::MessageError};

/// Why something about a preflight cannot be done. Names nobody.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// There is no such preflight, or it is another organization's.
    #[error("there is no such preflight")]
    NotFound,
    /// It has ended. Clients look for these words.
    #[error("Cannot update a resolved RequestEnricher")]
    Resolved,
    /// Its request is past the point where preflights matter, or was restarted since.
    #[error("The request is no longer at its preflight checks")]
    RequestMovedOn,
    /// The event does not fit where it stands.
    #[error(transparent)]
    OutOfPlace(#[from] PreflightOutOfPlace),
    /// Something of the request does not open.
    #[error("something of the request does not open")]
    Sealed(#[from] OpenFailed),
    /// The request cannot do what the preflight wants of it.
    #[error("the request of the preflight failed")]
    Dsr(#[from] DsrError),
    /// A message could not be kept.
    #[error("a message of the preflight could not be kept")]
    Message(#[from] MessageError),
    /// A key could not be had.
    #[error("a key of the preflight could not be had")]
    Keys(#[from] KeyringError),
    /// Storage failed.
    #[error("preflights could not be read or written")]
    Store(#[from] StoreError),
}

impl PreflightError {
    /// What storage said, where that is the cause: a conflict has the whole transaction run again.
    fn storage(self) -> Result<StoreError, PreflightError> {
        match self {
            PreflightError::Store(error)
            | PreflightError::Dsr(DsrError::Store(error))
            | PreflightError::Dsr(DsrError::Keys(KeyringError::Store(error)))
            | PreflightError::Message(MessageError::Store(error))
            | PreflightError::Message(MessageError::Keys(KeyringError::Store(error)))
            | PreflightError::Keys(KeyringError::Store(error)) => Ok(error),
            other => Err(other),
        }
    }
}

impl From<PreflightError> for JobError {
    fn from(error: PreflightError) -> JobError {
        match error.storage() {
            Ok(error) => JobError::Store(error),
            Err(error) => JobError::because("working on a preflight", error),
        }
    }
}

impl From<PreflightError> for Problem {
    fn from(error: PreflightError) -> Problem {
        match error.storage() {
            Ok(error) => error.into(),
            Err(PreflightError::NotFound) => Problem::not_found(),
            Err(
                error @ (PreflightError::Resolved | PreflightError::RequestMovedOn | PreflightError::OutOfPlace(_)),
            ) => Problem::conflict_state(error.to_string()),
            Err(PreflightError::Dsr(error)) => error.into(),
            Err(PreflightError::Keys(error)) => error.into(),
            Err(error @ (PreflightError::Sealed(_) | PreflightError::Message(_) | PreflightError::Store(_))) => {
                Problem::internal(&error)
            }
        }
    }
}
