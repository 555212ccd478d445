//! Legal holds: whose data must be kept, whatever they demand.
//!
//! A person is held from the moment that a request to place them on legal hold is taken in, until one to remove them has
//! been completed: evidence that is gone cannot be brought back, so the hold begins early and ends late. A request to
//! place that is stopped before it was done holds nobody. While a person is held, no silo is asked to erase anything of
//! theirs: [`super::advance`] parks such a request where it would begin to, and does not resume it. Nor is anything removed here:
//! keys and files of requests that are over are kept until the hold is lifted.

use antumbra_store::{Reader, Scan, StoreError, Table, Tx};
use uuid::Uuid;

use super::{
    model::{DsrHead, DsrId},
    state::{DsrState, DsrStatus},
};
use crate::organization::{Action, OrganizationId};

/// Answers: whether a person is held, and by which requests: (organization, blind core identifier, request).
pub(super) const HOLDS: Table<(Uuid, [u8; 16], Uuid), ()> = Table::new("legal_holds");

/// Holds that one request to remove lifts in one go.
const LIFTED_MAX: usize = 1_000;

/// Whether the person is held.
pub(super) async fn is_held(
    reader: &mut Reader,
    organization: OrganizationId,
    core: [u8; 16],
) -> Result<bool, StoreError> {
    let rows = reader
        .scan(&HOLDS, Scan::prefix(&(organization.0, core)).limit(1))
        .await?;
    Ok(!rows.is_empty())
}

/// Whether from `before` to `after` the silos begin to be asked to erase.
pub(super) fn begins_to_erase(before: &DsrHead, after: &DsrState) -> bool {
    let erases = |state: &DsrState| {
        let works = !matches!(state, DsrState::OnHold { .. });
        works
            && state
                .phase()
                .is_some_and(|phase| before.rules.action_in(phase) == Action::Erasure)
    };
    erases(after) && !erases(&before.state)
}

/// Whether the silos are being asked to erase.
pub(super) fn is_erasing(head: &DsrHead) -> bool {
    head.active_action() == Some(Action::Erasure) && head.state.status() != DsrStatus::OnHold
}

/// Has the holds follow how a request stands now. Says whether the person is held by it from now on.
pub(super) async fn follow(tx: &mut Tx, organization: OrganizationId, head: &DsrHead) -> Result<Followed, StoreError> {
    let (core, id) = (head.core_index, head.id.0);
    let is_done = head.state.completed_at().is_some();
    match head.action() {
        Action::PlaceOnLegalHold if head.state.is_open() || is_done => {
            let place = (organization.0, core, id);
            let is_new = tx.get(&HOLDS, &place).await?.is_none();
            tx.put(&HOLDS, &place, &());
            Ok(if is_new { Followed::Placed } else { Followed::Nothing })
        }
        Action::PlaceOnLegalHold => {
            tx.delete(&HOLDS, &(organization.0, core, id));
            Ok(Followed::Lifted)
        }
        Action::RemoveFromLegalHold if is_done => {
            let rows = tx
                .scan(&HOLDS, Scan::prefix(&(organization.0, core)).limit(LIFTED_MAX))
                .await?;
            // Ids are in the order of time: what was placed after this was asked for stays.
            for (place, ()) in rows.iter().filter(|((.., placed), ())| *placed < id) {
                tx.delete(&HOLDS, place);
            }
            Ok(Followed::Lifted)
        }
        _ => Ok(Followed::Nothing),
    }
}

/// What came of a change for the person's holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followed {
    /// Nothing that anybody has to act upon.
    Nothing,
    /// They are held by this request, and were not before.
    Placed,
    /// One hold fewer holds them, and maybe none any more.
    Lifted,
}

/// The requests that are being worked on and erase what must be kept from now on.
pub(super) async fn erasing(
    reader: &mut Reader,
    organization: OrganizationId,
    core: [u8; 16],
) -> Result<Vec<DsrId>, StoreError> {
    let ids = super::store::list_by_core_index(reader, organization, core).await?;
    let heads = super::store::find_heads(reader, organization, &ids).await?;
    Ok(heads
        .iter()
        .filter(|head| is_erasing(head))
        .map(|head| head.id)
        .collect())
}
