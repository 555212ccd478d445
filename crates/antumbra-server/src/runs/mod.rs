//! Silo runs: what each data silo was asked, and what it answered.
//!
//! When a request enters a phase, [`open_runs`] makes one run for each silo that takes part. A silo with an address is sent
//! a notice for each profile; one without comes for its work list. Both answer with the nonce they were given. A run is a
//! pure state machine ([`SiloRun`]); when the last one of a phase closes, the request goes on in the same transaction.

mod absence;
mod admin;
mod closing;
pub(crate) mod graphql;
mod http;
mod jobs;
mod model;
mod nonce;
mod notice;
mod report;
mod send;
mod store;
mod visual;
mod webhooks;
mod wire;

use antumbra_crypto::OpenFailed;
use antumbra_store::StoreError;

pub use absence::accept;
pub use admin::{Listed, RunFilter, change_status, count_work, get_run, list_runs, look_at, retry};
pub(crate) use http::*;
pub use jobs::{go_on_at_silo, open_runs};
pub use model::{
    Answer, Contradiction, DataPointAnswer, Profile, ProfileId, Proof, Resolution, RunId, RunStatus, SiloRun, Verdict,
    Windows,
};
pub use send::{SEND_NOTICE, send_notice};
pub use store::{Forgetting, TABLES, forget};
pub use visual::VisualStatus;

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;
pub use webhooks::{NotAccepted, Reply, RetryAfter, Webhooks};

use crate::{
    dsr::{DsrError, DsrStatus},
    files::FileError,
    http::Problem,
    jobs::JobError,
    keyring::KeyringError,
};

/// Why something about a silo run cannot be done. Names nobody.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such run, or it is another organization's.
    #[error("there is no such silo run")]
    NotFound,
    /// The profile, the run or the request is closed.
    #[error("This job has already been completed")]
    Closed,
    /// The request no longer works on the phase of the run. Clients look for the first words.
    #[error("Request must be active: the silos no longer work on it, it is {0}")]
    RequestMovedOn(DsrStatus),
    /// The silo holds what it said it had erased, and nobody has decided about that.
    #[error(
        "The data silo still holds data that it said it had erased: have it erase again, or accept that with a reason"
    )]
    Contradicted,
    /// Nothing contradicts the erasure, or somebody has decided about that.
    #[error("Nothing contradicts the erasure at this data silo")]
    NotContradicted,
    /// The last page of a data point has come.
    #[error("The last page of this data point has already been received")]
    PagesEnded,
    /// A sealed text of the run does not open.
    #[error("a text of the run does not open")]
    Sealed(#[from] OpenFailed),
    /// The request cannot do what the run wants of it.
    #[error("the request of the run failed")]
    Dsr(#[from] DsrError),
    /// A file could not be kept.
    #[error("a file of the run could not be kept")]
    File(#[from] FileError),
    /// A key could not be had.
    #[error("a key of the run could not be had")]
    Keys(#[from] KeyringError),
    /// Storage failed.
    #[error("silo runs could not be read or written")]
    Store(#[from] StoreError),
    /// The job that works on the run lost it.
    #[error("the job on the run failed")]
    Job(#[source] JobError),
}

impl RunError {
    /// What storage said, where that is the cause: a conflict has the whole transaction run again.
    fn storage(self) -> Result<StoreError, RunError> {
        match self {
            RunError::Store(error)
            | RunError::Dsr(DsrError::Store(error))
            | RunError::Dsr(DsrError::Keys(KeyringError::Store(error)))
            | RunError::File(FileError::Store(error))
            | RunError::File(FileError::Keyring(KeyringError::Store(error)))
            | RunError::Keys(KeyringError::Store(error)) => Ok(error),
            other => Err(other),
        }
    }
}

impl From<RunError> for JobError {
    fn from(error: RunError) -> JobError {
        match error.storage() {
            Ok(error) => JobError::Store(error),
            Err(RunError::Job(error)) => error,
            Err(error) => JobError::because("working on a silo run", error),
        }
    }
}

impl From<JobError> for RunError {
    fn from(error: JobError) -> RunError {
        match error {
            JobError::Store(error) => RunError::Store(error),
            error => RunError::Job(error),
        }
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Problem {
        match error.storage() {
            Ok(error) => error.into(),
            Err(RunError::NotFound) => Problem::not_found(),
            Err(
                error @ (RunError::Closed
                | RunError::RequestMovedOn(_)
                | RunError::Contradicted
                | RunError::NotContradicted
                | RunError::PagesEnded),
            ) => Problem::conflict_state(error.to_string()),
            Err(RunError::File(error)) => error.into(),
            Err(RunError::Keys(error)) => error.into(),
            Err(RunError::Dsr(DsrError::NotFound)) => Problem::not_found(),
            Err(error @ (RunError::Dsr(_) | RunError::Sealed(_) | RunError::Job(_) | RunError::Store(_))) => {
                Problem::internal(&error)
            }
        }
    }
}
