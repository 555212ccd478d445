//! Where workflow triggers are kept.
//!
//! Every change also makes the catalog new, so that whoever has the catalog of a snapshot has its triggers without a read.

use std::sync::Arc;

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use uuid::Uuid;

use super::model::{Trigger, TriggerError, TriggerId};
use crate::{
    copies::Copies,
    organization::OrganizationId,
    purposes::{self, Catalog},
    world::Ids,
};

/// The triggers of each organization, oldest first.
const TRIGGERS: Table<(OrganizationId, TriggerId), Trigger> = Table::new("consent_workflow_triggers");

/// The name of the table.
pub(super) const TABLE: &str = TRIGGERS.name();

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[crate::fuzz::same_when_written_again::<Trigger>];

/// Triggers of one organization. All of them may fire for each of the hundred records of a call.
const TRIGGERS_MAX: usize = 100;

impl Record for Trigger {
    const VERSION: u8 = 1;
}

/// Why a change of triggers failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    /// It breaks a rule.
    #[error(transparent)]
    Refused(#[from] TriggerError),
    /// The store failed.
    #[error("workflow triggers could not be read or written")]
    Store(#[from] StoreError),
}

/// Every trigger, oldest first.
pub(super) async fn list(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<Trigger>, StoreError> {
    let rows = reader.scan(&TRIGGERS, Scan::prefix(&(organization,))).await?;
    Ok(rows.into_iter().map(|(_, trigger)| trigger).collect())
}

/// Keeps a new trigger, or a changed one under its id.
pub(super) async fn save(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    trigger: &Trigger,
) -> Result<(), SaveError> {
    trigger.check()?;
    let mut others = list(tx, organization).await?;
    others.retain(|other| other.id != trigger.id);
    if others.iter().any(|other| other.name == trigger.name) {
        return Err(TriggerError::Taken.into());
    }
    if others.len() >= TRIGGERS_MAX {
        return Err(TriggerError::TooMany.into());
    }
    tx.put(&TRIGGERS, &(organization, trigger.id), trigger);
    purposes::renew(tx, ids, organization).await?;
    Ok(())
}

/// Removes triggers, and gives those that there were.
pub(super) async fn delete(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    gone: &[TriggerId],
) -> Result<Vec<TriggerId>, StoreError> {
    let mut known: Vec<TriggerId> = list(tx, organization).await?.iter().map(|trigger| trigger.id).collect();
    known.retain(|id| gone.contains(id));
    for id in &known {
        tx.delete(&TRIGGERS, &(organization, *id));
    }
    if !known.is_empty() {
        purposes::renew(tx, ids, organization).await?;
    }
    Ok(known)
}

/// The triggers of each organization that can fire, as of the last catalog that was asked about.
#[derive(Default)]
pub struct ArmedTriggers(Copies<Uuid, Vec<Trigger>>);

impl ArmedTriggers {
    /// The triggers that can fire, as `reader` sees them: active ones whose purposes all exist. `catalog` is what the same
    /// reader sees, so nothing is read while it stays.
    pub(in crate::preferences) async fn current(
        &self,
        reader: &mut Reader,
        organization: OrganizationId,
        catalog: &Catalog,
    ) -> Result<Arc<Vec<Trigger>>, StoreError> {
        let version = catalog.version();
        if let Some(triggers) = self.0.of_version(reader, organization, &version) {
            return Ok(triggers);
        }
        let exists = |number| catalog.purpose_numbered(number).is_some_and(|purpose| purpose.shown);
        let mut triggers = list(reader, organization).await?;
        triggers.retain(|trigger| {
            trigger.is_active && trigger.conditions.iter().all(|condition| exists(condition.purpose))
        });
        Ok(self.0.keep(reader, organization, version, triggers))
    }
}
