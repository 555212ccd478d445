//! The key tables.

use std::sync::{Arc, RwLock};

use antumbra_crypto::{
    Key32, OpenFailed,
    index::IndexKey,
    mac::MacKey,
    token::{SigningKey, TokenKey, TokenKeys},
    value,
    wrap::{self, Kek, WrappedKey},
};
use antumbra_store::{Raw, Reader, Record, Scan, StoreError, Table, Tx};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    KeyringError, OrganizationKeys,
    keys::Keks,
    root::Root,
    wrappers::{SharedWrappers, Wrappers},
};
use crate::organization::OrganizationId;

/// By which a root key is known again, by its name; there is one.
const CANARY: Table<String, Canary> = Table::new("key_canary");
/// In which epoch the key-encryption keys are; there is one row.
const EPOCH: Table<String, EpochRow> = Table::new("key_epoch");
/// Keys of the installation as a whole, wrapped under the root, by name.
const INSTALLATION_KEYS: Table<String, Raw> = Table::new("installation_keys");
/// Key-encryption keys, wrapped under the root and the epoch: (organization, version).
const ORGANIZATION_KEKS: Table<(Uuid, u32), KekRow> = Table::new("organization_keks");
/// Keys with a purpose, wrapped under the KEK: (organization, purpose, version).
const PURPOSE_KEYS: Table<(Uuid, String, u32), PurposeRow> = Table::new("purpose_keys");
/// Content keys of data subject requests, wrapped under the KEK: (organization, request).
const REQUEST_KEYS: Table<(Uuid, Uuid), Raw> = Table::new("request_keys");
/// Keys of data subjects, wrapped under the KEK: (organization, record).
const SUBJECT_KEYS: Table<(Uuid, Uuid), Raw> = Table::new("subject_keys");
/// Keys of data silos, wrapped under the KEK: (organization, silo).
const SILO_KEYS: Table<(Uuid, Uuid), Raw> = Table::new("silo_keys");
/// Keys of what consent tokens are made with, wrapped under the KEK: (organization, partition or organization).
const CONSENT_KEYS: Table<(Uuid, Uuid), Raw> = Table::new("consent_keys");

/// How far the keys of an organization have been re-wrapped, while they are.
const KEY_REWRAPS: Table<Uuid, RewrapRow> = Table::new("key_rewraps");

/// Every table of this slice.
pub const TABLES: &[&str] = &[
    CANARY.name(),
    EPOCH.name(),
    INSTALLATION_KEYS.name(),
    ORGANIZATION_KEKS.name(),
    PURPOSE_KEYS.name(),
    REQUEST_KEYS.name(),
    SUBJECT_KEYS.name(),
    SILO_KEYS.name(),
    CONSENT_KEYS.name(),
    KEY_REWRAPS.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<Canary>,
    crate::fuzz::same_when_written_again::<EpochRow>,
    crate::fuzz::same_when_written_again::<KekRow>,
    crate::fuzz::same_when_written_again::<PurposeRow>,
    crate::fuzz::same_when_written_again::<RewrapRow>,
];

/// Whose content a key protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// One data subject request: its files and messages.
    Request,
    /// One data subject's record in the preference store.
    Subject,
    /// One data silo, or another receiver outside: its address and credentials.
    Silo,
    /// One partition, or the organization: the secrets that consent tokens are made with.
    Consent,
}

impl KeyKind {
    /// The name that is bound into every wrapped key of this kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyKind::Request => "request",
            KeyKind::Subject => "subject",
            KeyKind::Silo => "silo",
            KeyKind::Consent => "consent",
        }
    }

    /// Every kind, in the order in which they are re-wrapped. Rows hold places of this list, so a new kind comes last.
    pub(super) const ALL: [KeyKind; 4] = [KeyKind::Request, KeyKind::Silo, KeyKind::Subject, KeyKind::Consent];

    const fn table(self) -> &'static Table<(Uuid, Uuid), Raw> {
        match self {
            KeyKind::Request => &REQUEST_KEYS,
            KeyKind::Subject => &SUBJECT_KEYS,
            KeyKind::Silo => &SILO_KEYS,
            KeyKind::Consent => &CONSENT_KEYS,
        }
    }
}

/// What the store remembers of the root key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Canary {
    pub(super) root_id: [u8; 8],
    pub(super) digest: [u8; 32],
}

impl Record for Canary {
    const VERSION: u8 = 1;
}

/// In which epoch the key-encryption keys are.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct EpochRow {
    /// Counts from 1.
    pub(super) number: u32,
    /// When it began, in milliseconds since 1970.
    pub(super) begun_at_ms: u64,
    /// The id of its key together with the root, if it has a key of its own.
    pub(super) key_id: Option<[u8; 8]>,
}

impl Record for EpochRow {
    const VERSION: u8 = 1;
}

/// One version of an organization's key-encryption key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KekRow {
    pub(super) wrapped: WrappedKey,
    pub(super) state: KekState,
    /// The epoch in which it was made; 0 before the first.
    #[serde(default)]
    pub(super) epoch: u32,
}

impl Record for KekRow {
    const VERSION: u8 = 1;
}

/// What a key-encryption key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum KekState {
    /// Wraps and unwraps. One of the organization's KEKs.
    Active,
    /// Unwraps what was wrapped before a newer version became active, until all of it is re-wrapped.
    DecryptOnly,
}

/// How far the keys of an organization have been re-wrapped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RewrapRow {
    /// The version under which they are to be.
    pub(super) kek_version: u32,
    /// The kind that is being worked on, as its place in [`KeyKind::ALL`].
    pub(super) kind: u8,
    /// The owner of the last key of that kind that was looked at.
    pub(super) after: Option<Uuid>,
}

impl RewrapRow {
    pub(super) fn from_the_first(kek_version: u32) -> RewrapRow {
        RewrapRow {
            kek_version,
            kind: 0,
            after: None,
        }
    }
}

impl Record for RewrapRow {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct PurposeRow {
    wrapped: WrappedKey,
    /// The PKCS#8 form of the signing key, sealed under the wrapped key; other purposes have none.
    #[serde(default)]
    sealed: Option<Vec<u8>>,
}

impl Record for PurposeRow {
    const VERSION: u8 = 1;
}

const TOKENS: &str = "tokens";
const INDEX: &str = "index";
const PEPPER: &str = "pepper";
const MANIFEST: &str = "manifest";
const SIGNING: &str = "signing";
const FIRST_VERSION: u32 = 1;

pub(super) fn put_key(tx: &mut Tx, organization: OrganizationId, kind: KeyKind, owner: Uuid, wrapped: &WrappedKey) {
    tx.put(
        kind.table(),
        &(organization.0, owner),
        &Raw(wrapped.to_bytes().to_vec()),
    );
}

/// The stored keys of many owners, in their order, in one round trip; of each that is none, why.
pub(super) async fn get_keys(
    reader: &mut Reader,
    organization: OrganizationId,
    kind: KeyKind,
    owners: &[Uuid],
) -> Result<Vec<Option<Result<WrappedKey, KeyringError>>>, StoreError> {
    let keys: Vec<_> = owners.iter().map(|owner| (organization.0, *owner)).collect();
    let rows = reader.get_many(kind.table(), &keys).await?;
    Ok(rows
        .into_iter()
        .map(|row| row.map(|row| stored_key(kind, &row)))
        .collect())
}

/// The stored keys of one kind, in the order of their owners, at most `limit` of them after `after`.
pub(super) async fn list_keys(
    reader: &mut Reader,
    organization: OrganizationId,
    kind: KeyKind,
    after: Option<Uuid>,
    limit: usize,
) -> Result<Vec<(Uuid, WrappedKey)>, KeyringError> {
    let mut scan = Scan::prefix(&(organization.0,)).limit(limit);
    if let Some(after) = after {
        scan = scan.after(&(organization.0, after));
    }
    let rows = reader.scan(kind.table(), scan).await?;
    rows.into_iter()
        .map(|((_, owner), row)| Ok((owner, stored_key(kind, &row)?)))
        .collect()
}

fn stored_key(kind: KeyKind, row: &Raw) -> Result<WrappedKey, KeyringError> {
    WrappedKey::from_bytes(&row.0).map_err(sealed(kind.as_str()))
}

/// Destroys the key of `owner`: what it encrypted can no longer be read by anyone.
pub fn destroy_key(tx: &mut Tx, organization: OrganizationId, kind: KeyKind, owner: Uuid) {
    tx.delete(kind.table(), &(organization.0, owner));
}

pub(super) async fn find_canary(reader: &mut Reader) -> Result<Option<Canary>, StoreError> {
    reader.get(&CANARY, &ROOT.to_owned()).await
}

pub(super) fn put_canary(tx: &mut Tx, canary: &Canary) {
    tx.put(&CANARY, &ROOT.to_owned(), canary);
}

const ROOT: &str = "root";
const CALLERS: &str = "callers";
const CURRENT: &str = "current";

fn installation_context(name: &str) -> [&[u8]; 2] {
    [b"installation", name.as_bytes()]
}

pub(super) async fn get_callers_key(reader: &mut Reader) -> Result<WrappedKey, KeyringError> {
    let row = reader.get(&INSTALLATION_KEYS, &CALLERS.to_owned()).await?;
    row.ok_or(OpenFailed::Malformed)
        .and_then(|row| WrappedKey::from_bytes(&row.0))
        .map_err(sealed("key of callers"))
}

pub(super) fn open_callers_key(root: &Root, wrapped: &WrappedKey) -> Result<Key32, OpenFailed> {
    wrap::unwrap(&root.kek, &installation_context(CALLERS), wrapped)
}

pub(super) fn put_callers_key(tx: &mut Tx, root: &Root, key: &Key32) {
    let wrapped = wrap::wrap(&root.kek, &installation_context(CALLERS), key);
    tx.put(
        &INSTALLATION_KEYS,
        &CALLERS.to_owned(),
        &Raw(wrapped.to_bytes().to_vec()),
    );
}

pub(super) async fn find_epoch(reader: &mut Reader) -> Result<Option<EpochRow>, StoreError> {
    reader.get(&EPOCH, &CURRENT.to_owned()).await
}

pub(super) fn put_epoch(tx: &mut Tx, epoch: &EpochRow) {
    tx.put(&EPOCH, &CURRENT.to_owned(), epoch);
}

/// Makes KEK and purpose keys of a new organization.
pub(super) fn put_organization(tx: &mut Tx, wrappers: &Wrappers, epoch: u32, organization: OrganizationId) {
    let kek = put_kek(tx, wrappers, epoch, organization, FIRST_VERSION);
    let version = FIRST_VERSION.to_be_bytes();
    for purpose in [TOKENS, INDEX, PEPPER, MANIFEST, SIGNING] {
        let key = Key32::random();
        let sealed = (purpose == SIGNING).then(|| {
            let pkcs8 = SigningKey::generate().to_pkcs8();
            value::seal(&key, &signing_context(&organization, &version), &pkcs8)
        });
        let wrapped = wrap::wrap(&kek, &purpose_context(&organization, purpose, &version), &key);
        let row = PurposeRow { wrapped, sealed };
        tx.put(
            &PURPOSE_KEYS,
            &(organization.0, purpose.to_owned(), FIRST_VERSION),
            &row,
        );
    }
}

/// Makes a KEK and stores it as the active one.
pub(super) fn put_kek(tx: &mut Tx, wrappers: &Wrappers, epoch: u32, organization: OrganizationId, version: u32) -> Kek {
    let key = Key32::random();
    let context = version.to_be_bytes();
    let row = KekRow {
        wrapped: wrap::wrap(&wrappers.active().kek, &kek_context(&organization, &context), &key),
        state: KekState::Active,
        epoch,
    };
    tx.put(&ORGANIZATION_KEKS, &(organization.0, version), &row);
    Kek::new(version, &key)
}

/// Stores a KEK row as it is now.
pub(super) fn put_kek_row(tx: &mut Tx, organization: OrganizationId, version: u32, row: &KekRow) {
    tx.put(&ORGANIZATION_KEKS, &(organization.0, version), row);
}

/// Removes a KEK: what it alone wraps can no longer be read by anyone.
pub(super) fn delete_kek(tx: &mut Tx, organization: OrganizationId, version: u32) {
    tx.delete(&ORGANIZATION_KEKS, &(organization.0, version));
}

/// The versions of an organization's KEK, oldest first.
pub(super) async fn list_keks(
    reader: &mut Reader,
    organization: OrganizationId,
) -> Result<Vec<(u32, KekRow)>, StoreError> {
    let rows = reader
        .scan(&ORGANIZATION_KEKS, Scan::prefix(&(organization.0,)))
        .await?;
    Ok(rows.into_iter().map(|((_, version), row)| (version, row)).collect())
}

/// The KEKs of every organization.
pub(super) async fn list_all_keks(reader: &mut Reader) -> Result<Vec<(OrganizationId, u32, KekRow)>, StoreError> {
    let rows = reader.scan(&ORGANIZATION_KEKS, Scan::prefix(&())).await?;
    let named = |((organization, version), row)| (OrganizationId(organization), version, row);
    Ok(rows.into_iter().map(named).collect())
}

/// Whether `kek` still wraps what is new.
pub(super) async fn is_active(
    reader: &mut Reader,
    organization: OrganizationId,
    kek: &Kek,
) -> Result<bool, StoreError> {
    let row = reader.get(&ORGANIZATION_KEKS, &(organization.0, kek.version())).await?;
    Ok(row.is_some_and(|row| row.state == KekState::Active))
}

pub(super) async fn find_rewrap(
    reader: &mut Reader,
    organization: OrganizationId,
) -> Result<Option<RewrapRow>, StoreError> {
    reader.get(&KEY_REWRAPS, &organization.0).await
}

pub(super) fn put_rewrap(tx: &mut Tx, organization: OrganizationId, row: &RewrapRow) {
    tx.put(&KEY_REWRAPS, &organization.0, row);
}

pub(super) fn delete_rewrap(tx: &mut Tx, organization: OrganizationId) {
    tx.delete(&KEY_REWRAPS, &organization.0);
}

/// Re-wraps the purpose keys, of which there are few, under `active`.
pub(super) async fn rewrap_purposes(
    tx: &mut Tx,
    keks: &Keks,
    active: &Kek,
    organization: OrganizationId,
) -> Result<(), KeyringError> {
    let rows = tx.scan(&PURPOSE_KEYS, Scan::prefix(&(organization.0,))).await?;
    for ((_, purpose, version), row) in rows {
        let version_bytes = version.to_be_bytes();
        let context = purpose_context(&organization, &purpose, &version_bytes);
        let key = keks.unwrap(&context, &row.wrapped).map_err(sealed("purpose key"))?;
        let wrapped = wrap::wrap(active, &context, &key);
        tx.put(
            &PURPOSE_KEYS,
            &(organization.0, purpose.clone(), version),
            &PurposeRow { wrapped, ..row },
        );
    }
    Ok(())
}

/// Reads and unwraps the keys of an organization, in two round trips.
pub(super) async fn get_organization(
    reader: &mut Reader,
    wrappers: &SharedWrappers,
    organization: OrganizationId,
) -> Result<OrganizationKeys, KeyringError> {
    let keks = get_keks(reader, &wrappers.get(), organization, None).await?;
    let rows = reader.scan(&PURPOSE_KEYS, Scan::prefix(&(organization.0,))).await?;
    // Rows come in the order of their keys, so the last of a purpose is its newest version.
    let versions = |purpose: &'static str| {
        let of_purpose = rows.iter().filter(move |((_, name, _), _)| name == purpose);
        let open = |((_, _, version), row): &((Uuid, String, u32), PurposeRow)| {
            let version_bytes = version.to_be_bytes();
            let context = purpose_context(&organization, purpose, &version_bytes);
            let key = keks.unwrap(&context, &row.wrapped).map_err(sealed(purpose))?;
            Ok((*version, key, row.sealed.clone()))
        };
        let mut versions = of_purpose.map(open).collect::<Result<Vec<_>, KeyringError>>()?;
        let newest = versions.pop().ok_or_else(|| sealed(purpose)(OpenFailed::Malformed))?;
        Ok::<_, KeyringError>((newest, versions))
    };
    let token_key = |(version, key, _): &(u32, Key32, Option<Vec<u8>>)| TokenKey::new(&format!("t{version}"), key);
    let (newest_tokens, older_tokens) = versions(TOKENS)?;
    let ((signing_version, signing_key, signing_sealed), _) = versions(SIGNING)?;
    let context = signing_version.to_be_bytes();
    let pkcs8 = value::open(
        &signing_key,
        &signing_context(&organization, &context),
        &signing_sealed.unwrap_or_default(),
    )
    .map_err(sealed(SIGNING))?;
    Ok(OrganizationKeys {
        organization,
        index: IndexKey::new(&versions(INDEX)?.0.1),
        tokens: TokenKeys::new(token_key(&newest_tokens), older_tokens.iter().map(token_key).collect()),
        pepper: MacKey::new(&versions(PEPPER)?.0.1),
        manifest: MacKey::new(&versions(MANIFEST)?.0.1),
        signing: Arc::new(SigningKey::from_pkcs8(&pkcs8).map_err(|_| sealed(SIGNING)(OpenFailed::Malformed))?),
        keks: RwLock::new(Arc::new(keks)),
        wrappers: wrappers.clone(),
    })
}

/// The organization's KEKs as `reader` sees them. Those that are `known` are not unwrapped again.
pub(super) async fn get_keks(
    reader: &mut Reader,
    wrappers: &Wrappers,
    organization: OrganizationId,
    known: Option<&Keks>,
) -> Result<Keks, KeyringError> {
    let (mut active, mut older) = (None, Vec::new());
    for (version, row) in list_keks(reader, organization).await? {
        let known = known.and_then(|keks| keks.all().find(|kek| kek.version() == version));
        let kek = match known {
            Some(kek) => kek.clone(),
            None => {
                let context = version.to_be_bytes();
                let key = wrappers
                    .unwrap(&kek_context(&organization, &context), &row.wrapped)
                    .map_err(sealed("key of the organization"))?;
                Arc::new(Kek::new(version, &key))
            }
        };
        match row.state {
            KekState::Active => older.extend(active.replace(kek)),
            KekState::DecryptOnly => older.push(kek),
        }
    }
    let active = active.ok_or(KeyringError::NoOrganization)?;
    Ok(Keks { active, older })
}

pub(super) fn kek_context<'a>(organization: &'a OrganizationId, version: &'a [u8; 4]) -> [&'a [u8]; 3] {
    [b"organization-kek", organization.0.as_bytes(), version]
}

fn purpose_context<'a>(organization: &'a OrganizationId, purpose: &'a str, version: &'a [u8; 4]) -> [&'a [u8]; 4] {
    [organization.0.as_bytes(), b"purpose", purpose.as_bytes(), version]
}

fn signing_context<'a>(organization: &'a OrganizationId, version: &'a [u8; 4]) -> [&'a [u8]; 3] {
    [organization.0.as_bytes(), b"signing-key", version]
}

pub(super) fn sealed(what: &'static str) -> impl Fn(OpenFailed) -> KeyringError {
    move |source| KeyringError::Sealed { what, source }
}
