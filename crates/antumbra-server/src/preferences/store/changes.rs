//! What single changes were, as history has them.

use antumbra_crypto::value::ValueKey;
use antumbra_store::{Raw, Reader};
use uuid::Uuid;

use super::{
    super::{difference::PurposeChange, model::RecordId, moment::Moment, timeline::What},
    Chapter, HISTORY, Site,
    history::{self, NoHistory},
};
use crate::{
    keyring::{KeyKind, KeyringError},
    purposes::PartitionId,
};

/// What is still known of a change.
pub(in crate::preferences) enum Happened {
    /// All there was.
    Known {
        /// When the person chose.
        timestamp: Moment,
        /// What they answered otherwise than before.
        changes: Vec<PurposeChange>,
    },
    /// Nothing, since its key is gone.
    Erased,
    /// Nothing, since history is not kept that long.
    Expired,
}

/// What made records these revisions, in their order: one round trip for the rows and one for the keys.
pub(in crate::preferences) async fn read_changes(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    revisions: &[(RecordId, u32)],
) -> Result<Vec<Happened>, KeyringError> {
    let keys: Vec<_> = revisions
        .iter()
        .map(|(id, revision)| (site.organization, partition, *id, Chapter::Change(*revision)))
        .collect();
    let rows = reader.get_many(&HISTORY, &keys).await?;
    let owners: Vec<Uuid> = revisions.iter().map(|(id, _)| id.0).collect();
    let keys = site.keys.find_keys_that_open(reader, KeyKind::Subject, &owners).await?;
    let mut all = Vec::with_capacity(revisions.len());
    for (((id, revision), row), key) in revisions.iter().zip(rows).zip(keys) {
        let (Some(key), Some(row)) = (&key, &row) else {
            all.push(if key.is_none() {
                Happened::Erased
            } else {
                Happened::Expired
            });
            continue;
        };
        all.push(open(site, partition, *id, *revision, &ValueKey::new(key), row)?);
    }
    Ok(all)
}

/// What a row of history says of the change that it is of.
fn open(
    site: &Site<'_>,
    partition: PartitionId,
    id: RecordId,
    revision: u32,
    key: &ValueKey,
    row: &Raw,
) -> Result<Happened, KeyringError> {
    let line = match history::open(site, partition, id, Some(key), Chapter::Change(revision), row) {
        Ok(line) => line,
        Err(NoHistory::Keyring(error)) => return Err(error),
        Err(NoHistory::TooLong | NoHistory::Unreadable) => return Ok(Happened::Erased),
    };
    Ok(match line.what {
        What::Event(event) => Happened::Known {
            timestamp: event.what.at(),
            changes: event.changes,
        },
        // It holds what several changes came to, and none of them by itself.
        What::Base { .. } => Happened::Expired,
    })
}
