//! Data subject requests: their state machine, submission, status, approval and the list of their files.
//!
//! Others see a request as a [`DsrHead`], which says how it stands and needs no key, or as a [`Dsr`], which is opened and
//! names the person. Nobody changes a state but [`advance`]: it keeps the new state, writes the audit entry and enqueues
//! the jobs that the state wants, all in the caller's transaction. Ring [`crate::jobs::Wake`] after the commit.

mod bulk;
mod change;
pub(crate) mod deadlines;
mod drop_runs;
pub(crate) mod graphql;
mod holds;
pub(crate) mod http;
mod jobs;
pub mod links;
mod list;
mod locales;
mod model;
mod occasion;
mod plan;
mod prompt;
mod refusal;
mod regions;
mod restart;
mod state;
mod store;
mod submission;
mod submit;
mod tell;
mod wire;

use antumbra_crypto::OpenFailed;
use antumbra_store::{Corrupt, Reader, StoreError};

pub use change::{
    Deed, FoundIdentifier, add_identifiers, advance, approve, begin_early, cancel, delete, extend, forget_some, hold,
    record, remove_identifiers, resume, set_available_until, set_silent, settle_soon, shred, verify_identifiers,
    withdraw,
};
pub use deadlines::{Deadline, NOTE_DEADLINE, NoExtension, OfficeCalendar, note_deadline};
pub use drop_runs::{DropLink, DropList, DropRecordId, DropRun, DropRunId};
pub use holds::is_held;
pub(crate) use jobs::file_failed;
pub use jobs::{
    DROP_FILES, ELAPSED, FORGET_DROP_RECORDS, OPEN_RUNS, RETAIN, SETTLE_IDENTITIES, drop_files, elapsed,
    forget_drop_records,
};
pub use list::{Cursor, Filter, Page, count, list};
pub use model::{
    Dsr, DsrAttribute, DsrHead, DsrId, DsrIdentifier, DsrSubject, IdentifierSource, Origin, Region, SiloChoice,
    Verifier,
};
pub use occasion::{Labelled, Occasion, OccasionPartition, TopicAnswer, TopicChoice};
pub use plan::{
    Answered, Approved, AskedIdentifier, Begun, Configured, Connection, LeftOut, Made, Part, PhasePlan, Plan,
    PlanMarks, PlannedPoint, Reason, Unasked, UnaskedReason, approve_bound, approve_plan, begin_phase, draw_phase,
    phase_answered,
};
pub use prompt::{Cause, Prompt, Unfit, open_prompted};
pub use restart::Restarted;
pub use state::{
    DelayRule, Delivery, DsrEffect, DsrEvent, DsrState, DsrStatus, OutOfPlace, Phase, PreflightEnd, Rules,
};
pub use store::{Order, Over, TABLES, list_over};
pub(crate) use submission::{IDENTIFIERS_MAX, fit};
pub use tell::{COMPOSE_MESSAGE, Words, choose_words, compose_message, letter, tell};
pub(crate) use wire::{PartitionOut, PurposeOut};

#[cfg(any(test, fuzzing))]
pub(crate) use store::RECORDS;

use crate::{
    AppState,
    audit::Digest,
    files::FileError,
    keyring::{KeyringError, OrganizationKeys},
    organization::OrganizationId,
};

/// Why something about a data subject request cannot be done. Names nobody.
#[derive(Debug, thiserror::Error)]
pub enum DsrError {
    /// There is no such request, or it is another organization's.
    #[error("there is no such request")]
    NotFound,
    /// An equivalent request is open.
    #[error("an equivalent request is open")]
    Duplicate(DsrId),
    /// Its plan is not what somebody approves, or no longer.
    #[error("The plan has changed, and nothing was approved: its hash is {now} by now")]
    PlanDiffers {
        /// The plan's hash as it is.
        now: Digest,
    },
    /// It is parked until somebody approves its plan.
    #[error("Request is parked until its plan is approved")]
    PlanNotApproved,
    /// It waits for nobody's approval.
    #[error("Request must be in an approving state, but it is {0}")]
    NotApproving(DsrStatus),
    /// It has ended, or is past the point where it can be stopped.
    #[error("Request must be active and not removing data yet, but it is {0}")]
    NotStoppable(DsrStatus),
    /// It is not over yet.
    #[error("Request must be over before its personal data is deleted, but it is {0}")]
    StillOpen(DsrStatus),
    /// What it kept about the person is gone.
    #[error("The personal data of this request has been deleted")]
    Shredded,
    /// Somebody insists on one like it, and it can no longer be stopped.
    #[error("An equivalent request of this person is {0} and can no longer be changed")]
    PastStopping(DsrStatus),
    /// It has as many identifiers as a request can have.
    #[error("A request has at most {} identifiers", submission::IDENTIFIERS_MAX)]
    TooManyIdentifiers,
    /// What it would erase must be kept.
    #[error("The data subject is on legal hold: nothing of theirs is erased until they are removed from it")]
    LegallyHeld,
    /// It has ended.
    #[error("Request must be active, but it is {0}")]
    Ended(DsrStatus),
    /// No more time is given.
    #[error(transparent)]
    NoExtension(#[from] NoExtension),
    /// The event does not fit where it stands.
    #[error(transparent)]
    OutOfPlace(#[from] OutOfPlace),
    /// What is about the person does not open with the request's key.
    #[error("the subject of request {id} does not open")]
    Sealed {
        /// The request.
        id: DsrId,
        /// Why not.
        source: OpenFailed,
    },
    /// What is about the person opens to something that cannot be read.
    #[error("the subject of request {id} cannot be read")]
    Unreadable {
        /// The request.
        id: DsrId,
        /// Why not.
        source: Corrupt,
    },
    /// Its files could not be withdrawn.
    #[error("the files of the request could not be withdrawn")]
    Files(#[from] FileError),
    /// Storage failed.
    #[error("requests could not be read or written")]
    Store(#[from] StoreError),
    /// The request's key could not be had.
    #[error("the key of the request could not be had")]
    Keys(#[from] KeyringError),
}

/// How the request stands. Fails with [`DsrError::NotFound`].
pub async fn get_head(reader: &mut Reader, organization: OrganizationId, id: DsrId) -> Result<DsrHead, DsrError> {
    store::find_head(reader, organization, id)
        .await?
        .ok_or(DsrError::NotFound)
}

/// How these requests stand, in their order and in one round trip; those that do not exist are left out.
pub async fn find_heads(
    reader: &mut Reader,
    organization: OrganizationId,
    ids: &[DsrId],
) -> Result<Vec<DsrHead>, StoreError> {
    store::find_heads(reader, organization, ids).await
}

/// Of how many open requests of all organizations, at most `limit`, it has been noted that their time is over.
pub async fn count_overdue(reader: &mut Reader, limit: usize) -> Result<usize, StoreError> {
    store::count_overdue(reader, limit).await
}

/// The request, opened. Fails with [`DsrError::NotFound`].
pub async fn get(reader: &mut Reader, keys: &OrganizationKeys, id: DsrId) -> Result<Dsr, DsrError> {
    let head = get_head(reader, keys.organization, id).await?;
    store::open(reader, keys, vec![head])
        .await?
        .pop()
        .ok_or(DsrError::NotFound)
}

/// The requests of these heads, opened, in their order and in two round trips.
pub async fn open(reader: &mut Reader, keys: &OrganizationKeys, heads: Vec<DsrHead>) -> Result<Vec<Dsr>, DsrError> {
    store::open(reader, keys, heads).await
}

/// Where an administrator finds the request.
pub fn link(app: &AppState, id: DsrId) -> String {
    format!("{}/privacy-requests/incoming-requests/{id}", app.public_url())
}

#[cfg(test)]
mod tests;
