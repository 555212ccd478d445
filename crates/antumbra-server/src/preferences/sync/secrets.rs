//! The secrets behind consent tokens.
//!
//! An organization's own servers and this one share two things: a key under which identifiers in tokens are wrapped, one for
//! the organization, and for each partition a secret that tokens are signed with. Both can be replaced while tokens made
//! with the ones before are about. They are kept sealed, each under a key that nothing else has.

use antumbra_crypto::{Key32, same_bytes, value};
use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    keyring::{KeyKind, KeyringError, OrganizationKeys, destroy_key},
    organization::OrganizationId,
    purposes::{Partition, PartitionId},
    world::Ids,
};

/// Whose the partition of a key may be: a token comes with nothing but that key, and is the organization's whose secret
/// signed it. So this table, as that of API keys, does not begin with the organization.
const SITES: Table<(String, OrganizationId, PartitionId), ()> = Table::new("consent_sites");

/// What tokens of a partition may be signed with, oldest first.
const TOKEN_SECRETS: Table<(OrganizationId, PartitionId, Uuid), SealedSecret> = Table::new("consent_token_secrets");

/// What identifiers in tokens may be wrapped under, oldest first; the last is in use.
const IDENTIFIER_KEYS: Table<(OrganizationId, Uuid), SealedSecret> = Table::new("consent_identifier_keys");

/// Names of these tables.
pub(crate) const TABLES: &[&str] = &[SITES.name(), TOKEN_SECRETS.name(), IDENTIFIER_KEYS.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[crate::fuzz::same_when_written_again::<SealedSecret>];

/// Secrets of a partition that count at once: the newest, and the one before it. So whoever sets one twice has done with
/// the one that was there.
const TOKEN_SECRETS_MAX: usize = 2;

/// Identifier keys that count at once. Those of long ago still open what was signed with a secret of today.
const IDENTIFIER_KEYS_MAX: usize = 10;

/// How long a secret that is made here is, in bytes.
const TOKEN_SECRET_BYTES: usize = 48;

/// A secret as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct SealedSecret {
    sealed: Vec<u8>,
    created_at: Timestamp,
}

impl Record for SealedSecret {
    const VERSION: u8 = 1;
}

/// A secret and its id.
pub(super) struct Secret {
    pub(super) id: Uuid,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// A secret that is being added.
pub(super) struct NewSecret<'a> {
    pub(super) ids: &'a Ids,
    pub(super) now: Timestamp,
    /// None for one that is made here.
    pub(super) brought: Option<Zeroizing<Vec<u8>>>,
}

/// Whose partition of this key has secrets. Seldom more than one organization's.
pub(super) async fn find_sites(
    reader: &mut Reader,
    partition: &str,
) -> Result<Vec<(OrganizationId, PartitionId)>, StoreError> {
    let rows = reader.scan(&SITES, Scan::prefix(&(partition.to_owned(),))).await?;
    Ok(rows
        .into_iter()
        .map(|((_, organization, id), ())| (organization, id))
        .collect())
}

/// What tokens of a partition may be signed with, newest first.
pub(super) async fn list_token_secrets(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    partition: PartitionId,
) -> Result<Vec<Secret>, KeyringError> {
    let scan = Scan::prefix(&(keys.organization, partition)).newest_first();
    let rows = reader.scan(&TOKEN_SECRETS, scan).await?;
    let rows = rows.into_iter().map(|((_, _, id), row)| (id, row)).collect();
    open(reader, keys, partition.0, TOKEN_SECRETS.name(), rows).await
}

/// What identifiers in tokens may be wrapped under, newest first.
pub(super) async fn list_identifier_keys(
    reader: &mut Reader,
    keys: &OrganizationKeys,
) -> Result<Vec<Secret>, KeyringError> {
    let organization = keys.organization;
    let rows = reader
        .scan(&IDENTIFIER_KEYS, Scan::prefix(&(organization,)).newest_first())
        .await?;
    let rows = rows.into_iter().map(|((_, id), row)| (id, row)).collect();
    open(reader, keys, organization.0, IDENTIFIER_KEYS.name(), rows).await
}

/// Has tokens of a partition signed with a new secret. The one that was in use still counts, until the next one comes.
/// Gives the id of the secret in use, which is that of before if it is brought once more.
pub(super) async fn add_token_secret(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    partition: &Partition,
    new: NewSecret<'_>,
) -> Result<Uuid, KeyringError> {
    let (organization, owner) = (keys.organization, partition.id.0);
    let known = list_token_secrets(tx, keys, partition.id).await?;
    let bytes = new.brought.unwrap_or_else(random::<TOKEN_SECRET_BYTES>);
    if let Some(newest) = known.first().filter(|newest| same_bytes(&newest.bytes, &bytes)) {
        return Ok(newest.id);
    }
    let gone =
        |(place, secret): &(usize, &Secret)| *place + 1 >= TOKEN_SECRETS_MAX || same_bytes(&secret.bytes, &bytes);
    for (_, secret) in known.iter().enumerate().filter(gone) {
        tx.delete(&TOKEN_SECRETS, &(organization, partition.id, secret.id));
    }
    let id = new.ids.uuid();
    let row = seal(tx, keys, owner, TOKEN_SECRETS.name(), id, &bytes, new.now).await?;
    tx.put(&TOKEN_SECRETS, &(organization, partition.id, id), &row);
    tx.put(&SITES, &(partition.key.clone(), organization, partition.id), &());
    Ok(id)
}

/// Has identifiers wrapped under a new key. The ones before still open what was wrapped under them. Gives the id of the
/// key in use, which is that of before if it is brought once more.
pub(super) async fn add_identifier_key(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    new: NewSecret<'_>,
) -> Result<Uuid, KeyringError> {
    let organization = keys.organization;
    let known = list_identifier_keys(tx, keys).await?;
    let bytes = new.brought.unwrap_or_else(random::<32>);
    if let Some(newest) = known.first().filter(|newest| same_bytes(&newest.bytes, &bytes)) {
        return Ok(newest.id);
    }
    let gone =
        |(place, secret): &(usize, &Secret)| *place + 1 >= IDENTIFIER_KEYS_MAX || same_bytes(&secret.bytes, &bytes);
    for (_, secret) in known.iter().enumerate().filter(gone) {
        tx.delete(&IDENTIFIER_KEYS, &(organization, secret.id));
    }
    let id = new.ids.uuid();
    let row = seal(tx, keys, organization.0, IDENTIFIER_KEYS.name(), id, &bytes, new.now).await?;
    tx.put(&IDENTIFIER_KEYS, &(organization, id), &row);
    Ok(id)
}

/// Removes the secrets of a partition that is being deleted, and destroys the key that they are sealed under.
pub async fn forget_partition(
    tx: &mut Tx,
    organization: OrganizationId,
    partition: &Partition,
) -> Result<(), StoreError> {
    let rows = tx
        .scan(&TOKEN_SECRETS, Scan::prefix(&(organization, partition.id)))
        .await?;
    for (place, _) in rows {
        tx.delete(&TOKEN_SECRETS, &place);
    }
    tx.delete(&SITES, &(partition.key.clone(), organization, partition.id));
    destroy_key(tx, organization, KeyKind::Consent, partition.id.0);
    Ok(())
}

fn random<const N: usize>() -> Zeroizing<Vec<u8>> {
    Zeroizing::new(antumbra_crypto::Secret::<N>::random().expose().to_vec())
}

/// Opens rows of `table` that are sealed under the key of `owner`.
async fn open(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    owner: Uuid,
    table: &'static str,
    rows: Vec<(Uuid, SealedSecret)>,
) -> Result<Vec<Secret>, KeyringError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let sealed = |source| KeyringError::Sealed { what: table, source };
    let key = keys.find_key(reader, KeyKind::Consent, owner).await?;
    let key = key.ok_or(sealed(antumbra_crypto::OpenFailed::OtherKek))?;
    let open = |(id, row): (Uuid, SealedSecret)| {
        let bytes = value::open(&key, &context(keys, &owner, table, &id), &row.sealed).map_err(sealed)?;
        Ok(Secret { id, bytes })
    };
    rows.into_iter().map(open).collect()
}

async fn seal(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    owner: Uuid,
    table: &'static str,
    id: Uuid,
    bytes: &[u8],
    created_at: Timestamp,
) -> Result<SealedSecret, KeyringError> {
    let key: Key32 = match keys.find_key(tx, KeyKind::Consent, owner).await? {
        Some(key) => key,
        None => keys.create_key(tx, KeyKind::Consent, owner).await?,
    };
    let sealed = value::seal(&key, &context(keys, &owner, table, &id), bytes);
    Ok(SealedSecret { sealed, created_at })
}

fn context<'a>(keys: &'a OrganizationKeys, owner: &'a Uuid, table: &'static str, id: &'a Uuid) -> [&'a [u8]; 4] {
    [
        keys.organization.0.as_bytes(),
        table.as_bytes(),
        owner.as_bytes(),
        id.as_bytes(),
    ]
}
