//! The key tables.

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

use super::{KeyringError, OrganizationKeys, keys::Keks, root::Root};
use crate::organization::OrganizationId;

/// By which a root key is known again, by its name; there is one.
const CANARY: Table<String, Canary> = Table::new("key_canary");
/// Keys of the installation as a whole, wrapped under the root, by name.
const INSTALLATION_KEYS: Table<String, Raw> = Table::new("installation_keys");
/// Key-encryption keys, wrapped under the root: (organization, version).
const ORGANIZATION_KEKS: Table<(Uuid, u32), KekRow> = Table::new("organization_keks");
/// Keys with a purpose, wrapped under the KEK: (organization, purpose, version).
const PURPOSE_KEYS: Table<(Uuid, String, u32), PurposeRow> = Table::new("purpose_keys");
/// Content keys of data subject requests, wrapped under the KEK: (organization, request).
const REQUEST_KEYS: Table<(Uuid, Uuid), Raw> = Table::new("request_keys");
/// Keys of data subjects, wrapped under the KEK: (organization, record).
const SUBJECT_KEYS: Table<(Uuid, Uuid), Raw> = Table::new("subject_keys");
/// Keys of data silos, wrapped under the KEK: (organization, silo).
const SILO_KEYS: Table<(Uuid, Uuid), Raw> = Table::new("silo_keys");

/// Every table of this slice.
pub const TABLES: &[&str] = &[
    CANARY.name(),
    INSTALLATION_KEYS.name(),
    ORGANIZATION_KEKS.name(),
    PURPOSE_KEYS.name(),
    REQUEST_KEYS.name(),
    SUBJECT_KEYS.name(),
    SILO_KEYS.name(),
];

/// Whose content a key protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// One data subject request: its files and messages.
    Request,
    /// One data subject's record in the preference store.
    Subject,
    /// One data silo: its credentials.
    Silo,
}

impl KeyKind {
    /// The name that is bound into every wrapped key of this kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyKind::Request => "request",
            KeyKind::Subject => "subject",
            KeyKind::Silo => "silo",
        }
    }

    const fn table(self) -> &'static Table<(Uuid, Uuid), Raw> {
        match self {
            KeyKind::Request => &REQUEST_KEYS,
            KeyKind::Subject => &SUBJECT_KEYS,
            KeyKind::Silo => &SILO_KEYS,
        }
    }
}

/// What the store remembers of the root key.
#[derive(Serialize, Deserialize)]
pub(super) struct Canary {
    pub(super) root_id: [u8; 8],
    pub(super) digest: [u8; 32],
}

impl Record for Canary {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct KekRow {
    wrapped: WrappedKey,
    state: KekState,
}

impl Record for KekRow {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum KekState {
    /// Wraps and unwraps. One of the organization's KEKs.
    Active,
    /// Unwraps what was wrapped before a newer version became active.
    DecryptOnly,
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

impl OrganizationKeys {
    /// Makes a key for `owner` and stores it.
    pub fn create_key(&self, tx: &mut Tx, kind: KeyKind, owner: Uuid) -> Key32 {
        let (key, wrapped) = self.seal_new(kind, owner);
        self.put_key(tx, kind, owner, &wrapped);
        key
    }

    /// Stores a key that [`OrganizationKeys::seal_new`] gave.
    pub fn put_key(&self, tx: &mut Tx, kind: KeyKind, owner: Uuid, wrapped: &WrappedKey) {
        tx.put(
            kind.table(),
            &(self.organization.0, owner),
            &Raw(wrapped.to_bytes().to_vec()),
        );
    }

    /// The key of `owner`, unless it never had one or it was destroyed.
    pub async fn find_key(
        &self,
        reader: &mut Reader,
        kind: KeyKind,
        owner: Uuid,
    ) -> Result<Option<Key32>, KeyringError> {
        let row = reader.get(kind.table(), &(self.organization.0, owner)).await?;
        row.map(|row| self.opened(kind, owner, &row)).transpose()
    }

    /// The keys of many owners, in their order, in one round trip.
    pub async fn find_keys(
        &self,
        reader: &mut Reader,
        kind: KeyKind,
        owners: &[Uuid],
    ) -> Result<Vec<Option<Key32>>, KeyringError> {
        let keys: Vec<_> = owners.iter().map(|owner| (self.organization.0, *owner)).collect();
        let rows = reader.get_many(kind.table(), &keys).await?;
        let open = |(row, owner): (Option<Raw>, &Uuid)| row.map(|row| self.opened(kind, *owner, &row)).transpose();
        rows.into_iter().zip(owners).map(open).collect()
    }

    fn opened(&self, kind: KeyKind, owner: Uuid, row: &Raw) -> Result<Key32, KeyringError> {
        let what = kind.as_str();
        WrappedKey::from_bytes(&row.0)
            .and_then(|wrapped| self.open(kind, owner, &wrapped))
            .map_err(|source| KeyringError::Sealed { what, source })
    }
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

fn installation_context(name: &str) -> [&[u8]; 2] {
    [b"installation", name.as_bytes()]
}

pub(super) async fn get_callers_key(reader: &mut Reader, root: &Root) -> Result<Key32, KeyringError> {
    let row = reader.get(&INSTALLATION_KEYS, &CALLERS.to_owned()).await?;
    row.ok_or(OpenFailed::Malformed)
        .and_then(|row| WrappedKey::from_bytes(&row.0))
        .and_then(|wrapped| wrap::unwrap(root.kek(), &installation_context(CALLERS), &wrapped))
        .map_err(sealed("key of callers"))
}

pub(super) fn put_callers_key(tx: &mut Tx, root: &Root, key: &Key32) {
    let wrapped = wrap::wrap(root.kek(), &installation_context(CALLERS), key);
    tx.put(
        &INSTALLATION_KEYS,
        &CALLERS.to_owned(),
        &Raw(wrapped.to_bytes().to_vec()),
    );
}

/// Makes KEK and purpose keys of a new organization.
pub(super) fn put_organization(tx: &mut Tx, root: &Kek, organization: OrganizationId) {
    let kek_key = Key32::random();
    let kek = Kek::new(FIRST_VERSION, &kek_key);
    let version = FIRST_VERSION.to_be_bytes();
    let row = KekRow {
        wrapped: wrap::wrap(root, &kek_context(&organization, &version), &kek_key),
        state: KekState::Active,
    };
    tx.put(&ORGANIZATION_KEKS, &(organization.0, FIRST_VERSION), &row);
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

/// Reads and unwraps the keys of an organization, in two round trips.
pub(super) async fn get_organization(
    reader: &mut Reader,
    root: &Kek,
    organization: OrganizationId,
) -> Result<OrganizationKeys, KeyringError> {
    let keks = get_keks(reader, root, organization).await?;
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
        signing: SigningKey::from_pkcs8(&pkcs8).map_err(|_| sealed(SIGNING)(OpenFailed::Malformed))?,
        keks,
    })
}

async fn get_keks(reader: &mut Reader, root: &Kek, organization: OrganizationId) -> Result<Keks, KeyringError> {
    let rows = reader
        .scan(&ORGANIZATION_KEKS, Scan::prefix(&(organization.0,)))
        .await?;
    let (mut active, mut older) = (None, Vec::new());
    for ((_, version), row) in rows {
        let context = version.to_be_bytes();
        let key = wrap::unwrap(root, &kek_context(&organization, &context), &row.wrapped)
            .map_err(sealed("key of the organization"))?;
        let kek = Kek::new(version, &key);
        match row.state {
            KekState::Active => older.extend(active.replace(kek)),
            KekState::DecryptOnly => older.push(kek),
        }
    }
    let active = active.ok_or(KeyringError::NoOrganization)?;
    Ok(Keks { active, older })
}

fn kek_context<'a>(organization: &'a OrganizationId, version: &'a [u8; 4]) -> [&'a [u8]; 3] {
    [b"organization-kek", organization.0.as_bytes(), version]
}

fn purpose_context<'a>(organization: &'a OrganizationId, purpose: &'a str, version: &'a [u8; 4]) -> [&'a [u8]; 4] {
    [organization.0.as_bytes(), b"purpose", purpose.as_bytes(), version]
}

fn signing_context<'a>(organization: &'a OrganizationId, version: &'a [u8; 4]) -> [&'a [u8]; 3] {
    [organization.0.as_bytes(), b"signing-key", version]
}

fn sealed(what: &'static str) -> impl Fn(OpenFailed) -> KeyringError {
    move |source| KeyringError::Sealed { what, source }
}
