//! How a run looks to a person: its status, or what keeps it from going on. Pure.

use super::model::{RunStatus, SiloRun};
use crate::{
    dsr::{DsrHead, DsrStatus},
    silos::DataSilo,
};

/// A status of a run as it is shown: `VisualRequestDataSiloStatus` on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, async_graphql::Enum)]
#[graphql(name = "VisualRequestDataSiloStatus")]
pub enum VisualStatus {
    /// Not asked yet.
    Queued,
    /// Asked; the answer is to come.
    Waiting,
    /// Nothing found, or nothing to do.
    Skipped,
    /// Asking failed.
    Error,
    /// Done.
    Resolved,
    /// Needs a person.
    ActionRequired,
    /// Accepted by a queue at the other end, which is asked how far it has come.
    RemoteProcessing,
    /// Deliberately not done, for a reason in law.
    SkippedDueToException,
    /// Other silos are to finish first.
    WaitingOnDependencies,
    /// Other requests are to finish first. This server has no such rule.
    WaitingOnOtherRequests,
    /// There is no way to the silo: it is gone, or is of the kind `server` and has no url.
    DataSiloDisconnected,
    /// The silo is left alone until it is resumed.
    DataSiloPaused,
    /// The request is on hold.
    RequestPending,
    /// The request ended before the run was done.
    RequestCanceled,
    /// A person is to do it.
    Manual,
}

impl VisualStatus {
    /// How `run` looks, of a request that stands as `head` says, at `silo` if it is still there.
    pub fn of(run: &SiloRun, head: Option<&DsrHead>, silo: Option<&DataSilo>) -> VisualStatus {
        let status = run.status();
        if status.is_terminal() {
            return status.into();
        }
        let Some(head) = head.filter(|head| !run.abandoned && run.is_of(head)) else {
            return VisualStatus::RequestCanceled;
        };
        let Some(silo) = silo else {
            return VisualStatus::DataSiloDisconnected;
        };
        if head.state.status() == DsrStatus::OnHold {
            VisualStatus::RequestPending
        } else if !run.waits_for.is_empty() {
            VisualStatus::WaitingOnDependencies
        } else if silo.is_paused {
            VisualStatus::DataSiloPaused
        } else if silo.kind == "server" && !silo.is_noticed() {
            VisualStatus::DataSiloDisconnected
        } else if status == RunStatus::Waiting && run.is_polled() {
            VisualStatus::RemoteProcessing
        } else if run.manual_days.is_some() && matches!(status, RunStatus::Queued | RunStatus::Waiting) {
            VisualStatus::Manual
        } else {
            status.into()
        }
    }
}

impl From<RunStatus> for VisualStatus {
    fn from(status: RunStatus) -> VisualStatus {
        match status {
            RunStatus::Resolved => VisualStatus::Resolved,
            RunStatus::SkippedDueToException => VisualStatus::SkippedDueToException,
            RunStatus::Skipped => VisualStatus::Skipped,
            RunStatus::Queued => VisualStatus::Queued,
            RunStatus::RemoteProcessing => VisualStatus::RemoteProcessing,
            RunStatus::Waiting => VisualStatus::Waiting,
            RunStatus::ActionRequired => VisualStatus::ActionRequired,
            RunStatus::Error => VisualStatus::Error,
        }
    }
}
