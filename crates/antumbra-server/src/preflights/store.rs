//! What is kept of preflights. None of it names a person: an identifier is known by its id, its value is the request's.

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{Preflight, PreflightId};
use crate::{dsr::DsrId, organization::OrganizationId};

/// The runs of enrichers for a request, in the order in which they were made: (organization, request, round, run).
const PREFLIGHTS: Table<(OrganizationId, Uuid, u32, PreflightId), Preflight> = Table::new("preflights");
/// Answers: where a run stands, for callers that know its id alone: (organization, run).
const PREFLIGHT_PLACES: Table<(OrganizationId, PreflightId), PreflightPlace> = Table::new("preflight_places");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[PREFLIGHTS.name(), PREFLIGHT_PLACES.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<Preflight>,
    crate::fuzz::same_when_written_again::<PreflightPlace>,
];

impl Record for Preflight {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct PreflightPlace {
    request: DsrId,
    round: u32,
}

impl Record for PreflightPlace {
    const VERSION: u8 = 1;
}

/// Keeps a run.
pub(super) fn save(tx: &mut Tx, organization: OrganizationId, run: &Preflight) {
    let (request, round) = (run.request, run.round);
    tx.put(&PREFLIGHTS, &(organization, request.0, round, run.id), run);
    tx.put(
        &PREFLIGHT_PLACES,
        &(organization, run.id),
        &PreflightPlace { request, round },
    );
}

/// The run of that id.
pub(super) async fn find(
    reader: &mut Reader,
    organization: OrganizationId,
    id: PreflightId,
) -> Result<Option<Preflight>, StoreError> {
    let Some(PreflightPlace { request, round }) = reader.get(&PREFLIGHT_PLACES, &(organization, id)).await? else {
        return Ok(None);
    };
    reader.get(&PREFLIGHTS, &(organization, request.0, round, id)).await
}

/// Every run of one round of a request, oldest first: at most [`super::model::PREFLIGHTS_MAX`].
pub(super) async fn list(
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
    round: u32,
) -> Result<Vec<Preflight>, StoreError> {
    let scan = Scan::prefix(&(organization, request.0, round));
    let rows = reader.scan(&PREFLIGHTS, scan).await?;
    Ok(rows.into_iter().map(|(_, run)| run).collect())
}

/// Removes up to `limit` of the runs for a request, of every round. Says whether more may be left.
pub async fn forget(
    tx: &mut Tx,
    organization: OrganizationId,
    request: DsrId,
    limit: usize,
) -> Result<bool, StoreError> {
    let some = Scan::prefix(&(organization, request.0)).limit(limit);
    let rows = tx.scan(&PREFLIGHTS, some).await?;
    for (place, run) in &rows {
        tx.delete(&PREFLIGHTS, place);
        tx.delete(&PREFLIGHT_PLACES, &(organization, run.id));
    }
    Ok(!rows.is_empty())
}
