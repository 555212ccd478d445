//! What is kept of API keys.

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ApiKeyId, ApiKeyRecord, Listed};
use crate::organization::OrganizationId;

/// Answers: what a key may do, and whether a presented secret is its own.
const KEYS: Table<(OrganizationId, ApiKeyId), Kept> = Table::new("api_keys");

/// Answers: which key a presented secret might be, before its organization is known. The place is a keyed hash of the
/// secret, so it does not begin with the organization; it gives nothing away, and the digest decides.
const PLACES: Table<[u8; 16], Place> = Table::new("api_key_places");

/// Answers: when a key was last used. Apart from [`KEYS`], so that noting it disturbs nobody who reads the key.
const USES: Table<(OrganizationId, ApiKeyId), LastUse> = Table::new("api_key_uses");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[KEYS.name(), PLACES.name(), USES.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<Kept>,
    crate::fuzz::same_when_written_again::<Place>,
    crate::fuzz::same_when_written_again::<LastUse>,
    crate::fuzz::same_when_written_again::<ApiKeyRecord>,
];

#[derive(Serialize, Deserialize)]
struct Kept {
    record: ApiKeyRecord,
    /// Where it stands in [`PLACES`], to be found from here when it is deleted.
    place: [u8; 16],
}

impl Record for Kept {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct Place {
    organization: OrganizationId,
    key: ApiKeyId,
}

impl Record for Place {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct LastUse {
    at: Timestamp,
}

impl Record for LastUse {
    const VERSION: u8 = 1;
}

/// Keeps a new key. `false`, and nothing kept, when its secret is a key already.
pub(super) async fn put(
    tx: &mut Tx,
    organization: OrganizationId,
    id: ApiKeyId,
    place: [u8; 16],
    record: &ApiKeyRecord,
) -> Result<bool, StoreError> {
    if tx.get(&PLACES, &place).await?.is_some() {
        return Ok(false);
    }
    tx.put(&PLACES, &place, &Place { organization, key: id });
    tx.put(
        &KEYS,
        &(organization, id),
        &Kept {
            record: record.clone(),
            place,
        },
    );
    Ok(true)
}

/// The key that stands at `place`.
pub(super) async fn find(
    reader: &mut Reader,
    place: [u8; 16],
) -> Result<Option<(OrganizationId, ApiKeyId, ApiKeyRecord)>, StoreError> {
    let Some(Place { organization, key }) = reader.get(&PLACES, &place).await? else {
        return Ok(None);
    };
    let kept = reader.get(&KEYS, &(organization, key)).await?;
    Ok(kept.map(|kept| (organization, key, kept.record)))
}

/// What is kept of a key.
pub(super) async fn get(
    reader: &mut Reader,
    organization: OrganizationId,
    id: ApiKeyId,
) -> Result<Option<ApiKeyRecord>, StoreError> {
    Ok(reader.get(&KEYS, &(organization, id)).await?.map(|kept| kept.record))
}

/// Keeps something else of a key, whose secret stays the same.
pub(super) async fn replace(
    tx: &mut Tx,
    organization: OrganizationId,
    id: ApiKeyId,
    record: &ApiKeyRecord,
) -> Result<(), StoreError> {
    if let Some(kept) = tx.get(&KEYS, &(organization, id)).await? {
        let place = kept.place;
        tx.put(
            &KEYS,
            &(organization, id),
            &Kept {
                record: record.clone(),
                place,
            },
        );
    }
    Ok(())
}

/// Deletes a key and everything about it. `None` if there is no such key.
pub(super) async fn delete(
    tx: &mut Tx,
    organization: OrganizationId,
    id: ApiKeyId,
) -> Result<Option<ApiKeyRecord>, StoreError> {
    let Some(kept) = tx.get(&KEYS, &(organization, id)).await? else {
        return Ok(None);
    };
    tx.delete(&KEYS, &(organization, id));
    tx.delete(&PLACES, &kept.place);
    tx.delete(&USES, &(organization, id));
    Ok(Some(kept.record))
}

/// All keys of an organization, oldest first.
pub(super) async fn list(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<Listed>, StoreError> {
    let all = || Scan::prefix(&(organization,));
    let kept = reader.scan(&KEYS, all()).await?;
    let uses: std::collections::HashMap<ApiKeyId, Timestamp> = reader
        .scan(&USES, all())
        .await?
        .into_iter()
        .map(|((_, id), last)| (id, last.at))
        .collect();
    let listed = kept.into_iter().map(|((_, id), kept)| Listed {
        id,
        record: kept.record,
        last_used_at: uses.get(&id).copied(),
    });
    Ok(listed.collect())
}

/// Notes when keys were last used; those that are gone by now are left alone.
pub(super) async fn note_uses(tx: &mut Tx, uses: &[(OrganizationId, ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
    for (organization, id, at) in uses {
        if tx.get(&KEYS, &(*organization, *id)).await?.is_some() {
            tx.put(&USES, &(*organization, *id), &LastUse { at: *at });
        }
    }
    Ok(())
}

/// Reads one row that is not there.
pub(super) async fn touch(reader: &mut Reader) -> Result<(), StoreError> {
    reader.get(&PLACES, &[0; 16]).await.map(drop)
}
