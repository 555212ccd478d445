//! Legal holds: whose data must be kept, whatever they demand.
//!
//! A person is held from the moment that a request to place them on legal hold is taken in, until one to remove them has
//! been completed: evidence that is gone cannot be brought back, so the hold begins early and ends late. A request to
//! place that is stopped before it was done holds nobody. While a person is held, no silo is asked to erase anything of
//! theirs: [`super::advance`] parks such a request where it would begin to, and does not resume it before the hold has ended.
//! Then it is resumed without anybody's doing, unless somebody has done something else with it meanwhile. Nor is anything
//! removed here: keys and files of requests that are over are kept until the hold is lifted.
//!
//! What is a test has no effect on what is not: a test holds the person from tests only, and lifts no hold but those of
//! tests. A hold that is no test stops tests too, since silos are asked by them all the same.

use std::collections::BTreeSet;

use antumbra_store::{Reader, Scan, StoreError, Table, Tx};
use uuid::Uuid;

use super::{
    model::{DsrHead, DsrId},
    state::{DsrState, DsrStatus},
};
use crate::organization::{Action, OrganizationId};

/// Answers: whether a person is held, and by which requests: (organization, blind core identifier, request).
pub(super) const HOLDS: Table<(Uuid, [u8; 16], Uuid), ()> = Table::new("legal_holds");
/// Answers: which requests a person's hold has parked, and its end is to take up again: (organization, blind core identifier,
/// request).
pub(super) const PARKED: Table<(Uuid, [u8; 16], Uuid), ()> = Table::new("parked_by_legal_hold");

/// Holds of one person that are looked at in one go, and requests that their end takes up again.
const OF_PERSON_MAX: usize = 1_000;

/// Whether the person of a request is held from it.
pub async fn is_held(reader: &mut Reader, organization: OrganizationId, head: &DsrHead) -> Result<bool, StoreError> {
    let placed = list(reader, organization, head.core_index).await?;
    // Of more than anybody places one at least counts.
    Ok(placed.len() == OF_PERSON_MAX || placed.iter().any(|hold| hold.counts_for(head)))
}

/// Whether a hold has parked a request.
pub(super) async fn is_parked(
    reader: &mut Reader,
    organization: OrganizationId,
    head: &DsrHead,
) -> Result<bool, StoreError> {
    let place = (organization.0, head.core_index, head.id.0);
    Ok(reader.get(&PARKED, &place).await?.is_some())
}

/// A hold, by the request that placed it.
struct Hold {
    by: Uuid,
    is_test: bool,
}

impl Hold {
    fn counts_for(&self, head: &DsrHead) -> bool {
        head.is_test || !self.is_test
    }
}

async fn list(reader: &mut Reader, organization: OrganizationId, core: [u8; 16]) -> Result<Vec<Hold>, StoreError> {
    let of_person = Scan::prefix(&(organization.0, core)).limit(OF_PERSON_MAX);
    let rows = reader.scan(&HOLDS, of_person).await?;
    let ids: Vec<DsrId> = rows.into_iter().map(|((.., by), ())| DsrId(by)).collect();
    let tests = super::store::find_heads(reader, organization, &ids).await?;
    let tests: BTreeSet<DsrId> = tests.iter().filter(|head| head.is_test).map(|head| head.id).collect();
    let hold = |id: DsrId| Hold {
        by: id.0,
        is_test: tests.contains(&id),
    };
    Ok(ids.into_iter().map(hold).collect())
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
            let placed = list(tx, organization, core).await?;
            // Ids are in the order of time: what was placed after this was asked for stays.
            for hold in placed
                .iter()
                .filter(|hold| hold.by < id && (hold.is_test || !head.is_test))
            {
                tx.delete(&HOLDS, &(organization.0, core, hold.by));
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

/// The requests of a person that a hold has parked.
pub(super) async fn parked(
    reader: &mut Reader,
    organization: OrganizationId,
    core: [u8; 16],
) -> Result<Vec<DsrHead>, StoreError> {
    let of_person = Scan::prefix(&(organization.0, core)).limit(OF_PERSON_MAX);
    let rows = reader.scan(&PARKED, of_person).await?;
    let ids: Vec<DsrId> = rows.into_iter().map(|((.., id), ())| DsrId(id)).collect();
    super::store::find_heads(reader, organization, &ids).await
}

/// A hold has parked this request.
pub(super) fn park(tx: &mut Tx, organization: OrganizationId, head: &DsrHead) {
    tx.put(&PARKED, &(organization.0, head.core_index, head.id.0), &());
}

/// This request is no longer where a hold has parked it.
pub(super) fn unpark(tx: &mut Tx, organization: OrganizationId, head: &DsrHead) {
    tx.delete(&PARKED, &(organization.0, head.core_index, head.id.0));
}

/// The requests that are being worked on and erase what must be kept from now on, since `hold` has been placed.
pub(super) async fn erasing(
    reader: &mut Reader,
    organization: OrganizationId,
    hold: &DsrHead,
) -> Result<Vec<DsrHead>, StoreError> {
    let ids = super::store::list_by_core_index(reader, organization, hold.core_index).await?;
    let mut heads = super::store::find_heads(reader, organization, &ids).await?;
    heads.retain(|head| is_erasing(head) && (head.is_test || !hold.is_test));
    Ok(heads)
}
