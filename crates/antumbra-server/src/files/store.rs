//! What is kept of files: manifests, the names that are taken, reserved IVs, and bodies that belong to nothing yet.

use std::{fmt, ops::Bound};

use antumbra_crypto::{
    Key32,
    body::{Hash, IV_BYTES, TAG_BYTES},
    random_bytes,
    value::ValueKey,
};
use antumbra_store::{Raw, Reader, Record, Scan, StoreError, Table, Tx, Value};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Description, FileError, FileId, Naming, Received, mimetype, name};
use crate::{
    AppState,
    keyring::{KeyKind, OrganizationKeys},
    organization::OrganizationId,
};

/// Manifests, each behind its digest: (organization, request, file).
const FILES: Table<(Uuid, Uuid, Uuid), Raw> = Table::new("files");
/// The names that are taken in a request: (organization, request, blinded name).
const FILE_NAMES: Table<(Uuid, Uuid, [u8; 16]), ()> = Table::new("file_names");
/// The number that the next file of a taken name gets: (organization, request, blinded name).
const FILE_NUMBERS: Table<(Uuid, Uuid, [u8; 16]), NextNumber> = Table::new("file_numbers");
/// Every IV that was ever reserved under the content key of a request: (organization, request, IV).
const RESERVED_IVS: Table<(Uuid, Uuid, [u8; IV_BYTES]), ()> = Table::new("reserved_ivs");
/// Bodies that no manifest names, by the time from which they may be swept: (milliseconds, object).
const LOOSE_BODIES: Table<(u64, Uuid), Loose> = Table::new("loose_bodies");

/// Every table of this slice.
pub const TABLES: &[&str] = &[
    FILES.name(),
    FILE_NAMES.name(),
    FILE_NUMBERS.name(),
    RESERVED_IVS.name(),
    LOOSE_BODIES.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<NextNumber>,
    crate::fuzz::same_when_written_again::<Loose>,
    crate::fuzz::same_when_written_again::<Manifest>,
];

/// How long an upload may take from its first byte to its record.
const UPLOAD_MAX: SignedDuration = SignedDuration::from_hours(24);
/// How many loose bodies one sweep removes.
const SWEEP_MAX: usize = 1000;
/// How many rows of a request are held at once while its files are listed.
const LIST_CHUNK: usize = 200;
/// How often a reservation is tried again.
const RESERVE_TURNS: u32 = 8;
/// The place of bodies that the next sweep takes: before any time.
const AT_ONCE: u64 = 0;
const MANIFEST: &str = "antumbra/manifest/1";
const DIGEST_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct NextNumber(u32);

impl Record for NextNumber {
    const VERSION: u8 = 1;
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Loose {
    /// It is arriving, or was when the server stopped.
    Arriving,
    /// Nothing will ever name it again: it is being removed.
    Doomed,
}

impl Record for Loose {
    const VERSION: u8 = 1;
}

/// What a file is and where its bytes are.
#[derive(Serialize, Deserialize)]
pub(super) struct Manifest {
    silo: Uuid,
    data_point: Uuid,
    created_at_ms: i64,
    pub(super) segments: Vec<Segment>,
    name: Vec<u8>,
    mimetype: Vec<u8>,
    /// The place of the name among those taken, so that discarding the file frees it.
    name_index: [u8; 16],
}

impl Record for Manifest {
    const VERSION: u8 = 1;
}

impl Manifest {
    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }
}

/// One body and what it takes to read it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) object: Uuid,
    pub(super) iv: [u8; IV_BYTES],
    pub(super) tag: [u8; TAG_BYTES],
    pub(super) length: u64,
    pub(super) root: Hash,
}

impl Segment {
    /// The blob that holds the hashes of the body's groups.
    pub(super) fn sidecar(&self) -> Uuid {
        sidecar_of(self.object)
    }
}

/// The place of a body that is about to be sealed, and the IV that nothing else is ever sealed with.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    pub(super) object: Uuid,
    pub(super) iv: [u8; IV_BYTES],
    swept_from_ms: u64,
}

impl Reservation {
    pub(super) fn sidecar(&self) -> Uuid {
        sidecar_of(self.object)
    }
}

/// The last bit of a body's id is clear; with the bit set it is the id of the sidecar.
fn sidecar_of(object: Uuid) -> Uuid {
    Uuid::from_u128(object.as_u128() | 1)
}

/// Reserves an IV and a place, durably, before the first byte is sealed.
pub(super) async fn reserve(
    app: &AppState,
    organization: OrganizationId,
    request: Uuid,
) -> Result<Reservation, FileError> {
    let swept_from = app.clock.now() + UPLOAD_MAX;
    let reservation = Reservation {
        object: Uuid::from_u128(app.ids.hidden_uuid().as_u128() & !1),
        iv: random_bytes(),
        swept_from_ms: milliseconds(swept_from),
    };
    for turn in 1.. {
        let mut tx = app.store.begin_write().await?;
        put_reservation(&mut tx, organization, request, &reservation).await?;
        match tx.commit().await {
            Err(StoreError::Conflict) if turn < RESERVE_TURNS => {}
            outcome => return Ok(outcome.map(|()| reservation)?),
        }
    }
    unreachable!("the loop returns by its last turn")
}

/// Refuses an IV that was reserved before: two bodies under one key and IV would give both away.
pub(super) async fn put_reservation(
    tx: &mut Tx,
    organization: OrganizationId,
    request: Uuid,
    reservation: &Reservation,
) -> Result<(), FileError> {
    let place = (organization.0, request, reservation.iv);
    if tx.get(&RESERVED_IVS, &place).await?.is_some() {
        return Err(FileError::Damaged {
            what: "source of random IVs",
        });
    }
    tx.put(&RESERVED_IVS, &place, &());
    tx.put(
        &LOOSE_BODIES,
        &(reservation.swept_from_ms, reservation.object),
        &Loose::Arriving,
    );
    Ok(())
}

/// Makes a received file a file of its request: its manifest, its name, and its bodies loose no more.
pub async fn record(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    id: FileId,
    received: &Received,
    described: &Description<'_>,
) -> Result<(), FileError> {
    let request = received.request;
    if received.organization != keys.organization {
        return Err(FileError::Closed);
    }
    let key = keys
        .find_key(tx, KeyKind::Request, request)
        .await?
        .ok_or(FileError::Closed)?;
    for (reservation, _) in &received.segments {
        let place = (reservation.swept_from_ms, reservation.object);
        if tx.get(&LOOSE_BODIES, &place).await? != Some(Loose::Arriving) {
            return Err(FileError::Swept);
        }
        tx.delete(&LOOSE_BODIES, &place);
    }
    let (name, name_index) = take_name(tx, keys, request, described).await?;
    let mimetype = mimetype::choose(described.content_type, &name, received.sniffed);
    let values = ValueKey::new(&key);
    let place = Place::of(keys, request, id);
    let seal = |field: &str, plain: &str| values.seal(&place.sealed(field), plain.as_bytes());
    let manifest = Manifest {
        silo: described.silo,
        data_point: described.data_point,
        created_at_ms: described.at.as_millisecond(),
        segments: received.segments.iter().map(|(_, segment)| segment.clone()).collect(),
        name: seal("name", &name),
        mimetype: seal("mimetype", &mimetype),
        name_index,
    };
    put_manifest(tx, keys, place, &manifest)
}

/// The name that the file gets, and its place among those taken: the one asked for, or with the next free number.
async fn take_name(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    request: Uuid,
    described: &Description<'_>,
) -> Result<(String, [u8; 16]), FileError> {
    // Many disks hold `a` and `A` to be one file.
    let blind = |name: &str| {
        let folded = name.to_lowercase();
        keys.index.blind(&[b"file-name", request.as_bytes(), folded.as_bytes()])
    };
    let row = |name_index| (keys.organization.0, request, name_index);
    let (wanted, number_min) = match described.naming {
        Naming::Given(name) => (name::within(described.folder, name), 2),
        Naming::Numbered(data_point) => (name::within(described.folder, data_point), 1),
    };
    let wanted_index = blind(&wanted);
    if number_min > 1 && tx.get(&FILE_NAMES, &row(wanted_index)).await?.is_none() {
        tx.put(&FILE_NAMES, &row(wanted_index), &());
        return Ok((wanted, wanted_index));
    }
    let next = tx.get(&FILE_NUMBERS, &row(wanted_index)).await?;
    for number in next.map_or(number_min, |next| next.0).. {
        let candidate = name::numbered(&wanted, number);
        let index = blind(&candidate);
        if tx.get(&FILE_NAMES, &row(index)).await?.is_none() {
            tx.put(&FILE_NAMES, &row(index), &());
            tx.put(&FILE_NUMBERS, &row(wanted_index), &NextNumber(number.saturating_add(1)));
            return Ok((candidate, index));
        }
    }
    Err(FileError::Damaged { what: "count of names" })
}

/// A file as a list shows it. `Debug` shows no name.
pub struct Listed {
    /// Its id.
    pub id: FileId,
    /// The data silo it came from.
    pub silo: Uuid,
    /// The data point it belongs to.
    pub data_point: Uuid,
    /// Its path within the report.
    pub name: String,
    /// What it is.
    pub mimetype: String,
    /// How long it is.
    pub bytes: u64,
    /// When it was recorded.
    pub created_at: Timestamp,
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed")
            .field("id", &self.id)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// How many files a request has, and `limit` of them from the `offset`th on, in the order in which they were recorded.
///
/// Every page goes over all rows of the request, since their number is part of it; only those of the page are held.
pub async fn list(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    request: Uuid,
    offset: usize,
    limit: usize,
) -> Result<(usize, Vec<Listed>), FileError> {
    let Some(key) = keys.find_key(reader, KeyKind::Request, request).await? else {
        return Ok((0, Vec::new()));
    };
    let values = ValueKey::new(&key);
    let (mut total, mut page) = (0, Vec::new());
    let mut scan = Scan::prefix(&(keys.organization.0, request)).limit(LIST_CHUNK);
    loop {
        let rows = reader.scan(&FILES, scan).await?;
        let before = offset.saturating_sub(total);
        for ((.., id), row) in rows.iter().skip(before).take(limit - page.len()) {
            let place = Place::of(keys, request, FileId(*id));
            let manifest = open_manifest(keys, place, row)?;
            page.push(describe(&values, place, &manifest)?);
        }
        total += rows.len();
        match rows.last() {
            Some((last, _)) if rows.len() == LIST_CHUNK => {
                let of_request = Scan::prefix(&(keys.organization.0, request));
                scan = of_request.limit(LIST_CHUNK).after(last);
            }
            _ => return Ok((total, page)),
        }
    }
}

/// A file with the manifest to read it by; `None` if there is no such file, or its key was destroyed.
pub(super) async fn find(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    request: Uuid,
    id: FileId,
) -> Result<Option<(Key32, Listed, Manifest)>, FileError> {
    let place = Place::of(keys, request, id);
    let row = reader.get(&FILES, &place.row()).await?;
    let key = keys.find_key(reader, KeyKind::Request, request).await?;
    let (Some(row), Some(key)) = (row, key) else {
        return Ok(None);
    };
    let manifest = open_manifest(keys, place, &row)?;
    let listed = describe(&ValueKey::new(&key), place, &manifest)?;
    Ok(Some((key, listed, manifest)))
}

/// Removes a file: its manifest and its name now, its bytes by the next sweep, whatever time it is for whom.
pub async fn discard(tx: &mut Tx, keys: &OrganizationKeys, request: Uuid, id: FileId) -> Result<(), FileError> {
    let place = Place::of(keys, request, id);
    let Some(row) = tx.get(&FILES, &place.row()).await? else {
        return Ok(());
    };
    let manifest = open_manifest(keys, place, &row)?;
    for segment in &manifest.segments {
        tx.put(&LOOSE_BODIES, &(AT_ONCE, segment.object), &Loose::Doomed);
    }
    tx.delete(&FILE_NAMES, &(keys.organization.0, request, manifest.name_index));
    tx.delete(&FILES, &place.row());
    Ok(())
}

/// Removes every file of a request that goes on, and lets names and numbers begin anew. Says how many there were.
pub async fn withdraw_all(tx: &mut Tx, keys: &OrganizationKeys, request: Uuid) -> Result<usize, FileError> {
    let of_request = || Scan::prefix(&(keys.organization.0, request)).limit(LIST_CHUNK);
    let mut withdrawn = 0;
    loop {
        let files = tx.scan(&FILES, of_request()).await?;
        if files.is_empty() {
            break;
        }
        for ((.., id), _) in &files {
            discard(tx, keys, request, FileId(*id)).await?;
        }
        withdrawn += files.len();
    }
    loop {
        let numbers = tx.scan(&FILE_NUMBERS, of_request()).await?;
        if numbers.is_empty() {
            return Ok(withdrawn);
        }
        for (place, _) in &numbers {
            tx.delete(&FILE_NUMBERS, place);
        }
    }
}

/// Whether a request has any file.
pub async fn any(reader: &mut Reader, organization: OrganizationId, request: Uuid) -> Result<bool, StoreError> {
    let first = Scan::prefix(&(organization.0, request)).limit(1);
    Ok(!reader.scan(&FILES, first).await?.is_empty())
}

/// Whether anything is left to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Something.
    Something,
}

/// Removes up to `limit` files of a request.
pub async fn discard_some(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    request: Uuid,
    limit: usize,
) -> Result<Left, FileError> {
    let some = Scan::prefix(&(keys.organization.0, request)).limit(limit);
    let rows = tx.scan(&FILES, some).await?;
    for ((.., id), _) in &rows {
        discard(tx, keys, request, FileId(*id)).await?;
    }
    Ok(if rows.is_empty() {
        Left::Nothing
    } else {
        Left::Something
    })
}

/// Removes up to `limit` of each sort of row that is kept about a request's files, once the files themselves are gone and the
/// request's content key is destroyed: until then the reserved IVs must stay.
pub async fn forget_some(
    tx: &mut Tx,
    organization: OrganizationId,
    request: Uuid,
    limit: usize,
) -> Result<Left, FileError> {
    let some = || Scan::prefix(&(organization.0, request)).limit(limit);
    let names = tx.scan(&FILE_NAMES, some()).await?;
    let numbers = tx.scan(&FILE_NUMBERS, some()).await?;
    let ivs = tx.scan(&RESERVED_IVS, some()).await?;
    names.iter().for_each(|(place, ())| tx.delete(&FILE_NAMES, place));
    numbers.iter().for_each(|(place, _)| tx.delete(&FILE_NUMBERS, place));
    ivs.iter().for_each(|(place, ())| tx.delete(&RESERVED_IVS, place));
    let is_over = names.is_empty() && numbers.is_empty() && ivs.is_empty();
    Ok(if is_over { Left::Nothing } else { Left::Something })
}

/// Removes every file of a request and all that was kept about them. For when the request's content key is destroyed,
/// which is the caller's to do: until then the reserved IVs must stay.
pub async fn discard_all(tx: &mut Tx, keys: &OrganizationKeys, request: Uuid) -> Result<(), FileError> {
    let of_request = || Scan::prefix(&(keys.organization.0, request));
    for ((.., id), _) in tx.scan(&FILES, of_request()).await? {
        discard(tx, keys, request, FileId(id)).await?;
    }
    for (place, ()) in tx.scan(&FILE_NAMES, of_request()).await? {
        tx.delete(&FILE_NAMES, &place);
    }
    for (place, _) in tx.scan(&FILE_NUMBERS, of_request()).await? {
        tx.delete(&FILE_NUMBERS, &place);
    }
    for (place, ()) in tx.scan(&RESERVED_IVS, of_request()).await? {
        tx.delete(&RESERVED_IVS, &place);
    }
    Ok(())
}

/// Removes bodies that belong to no file: discarded ones, and those of uploads that came to nothing. Says how many.
pub async fn sweep(app: &AppState) -> Result<usize, FileError> {
    let now = milliseconds(app.clock.now());
    let mut tx = app.store.begin_write().await?;
    let due = Scan::range(Bound::<&()>::Unbounded, Bound::Included(&(now,))).limit(SWEEP_MAX);
    let loose = tx.scan(&LOOSE_BODIES, due).await?;
    if loose.is_empty() {
        return Ok(0);
    }
    // From here on no upload can be recorded over these bodies, so that removing them takes nothing from anyone.
    for (place, _) in loose.iter().filter(|(_, state)| *state == Loose::Arriving) {
        tx.put(&LOOSE_BODIES, place, &Loose::Doomed);
    }
    tx.commit().await?;
    for ((_, object), _) in &loose {
        app.blobs.delete(*object).await?;
        app.blobs.delete(sidecar_of(*object)).await?;
    }
    let mut tx = app.store.begin_write().await?;
    for (place, _) in &loose {
        tx.delete(&LOOSE_BODIES, place);
    }
    tx.commit().await?;
    Ok(loose.len())
}

/// Where a file stands. It is bound into everything that is sealed or digested about the file.
#[derive(Clone, Copy)]
struct Place {
    organization: OrganizationId,
    request: Uuid,
    file: FileId,
}

impl Place {
    fn of(keys: &OrganizationKeys, request: Uuid, file: FileId) -> Place {
        let organization = keys.organization;
        Place {
            organization,
            request,
            file,
        }
    }

    fn row(&self) -> (Uuid, Uuid, Uuid) {
        (self.organization.0, self.request, self.file.0)
    }

    fn digested<'a>(&'a self, row: &'a [u8]) -> [&'a [u8]; 4] {
        [
            self.organization.0.as_bytes(),
            self.request.as_bytes(),
            self.file.0.as_bytes(),
            row,
        ]
    }

    fn sealed<'a>(&'a self, field: &'a str) -> [&'a [u8]; 5] {
        let [organization, request, file, field] = self.digested(field.as_bytes());
        [organization, b"file", request, file, field]
    }
}

fn put_manifest(tx: &mut Tx, keys: &OrganizationKeys, place: Place, manifest: &Manifest) -> Result<(), FileError> {
    let mut row = vec![0; DIGEST_BYTES];
    manifest.encode(&mut row).map_err(|_| DAMAGED)?;
    let digest = keys.manifest.digest(MANIFEST, &place.digested(&row[DIGEST_BYTES..]));
    row[..DIGEST_BYTES].copy_from_slice(&digest);
    tx.put(&FILES, &place.row(), &Raw(row));
    Ok(())
}

/// Reads a manifest that was written here, for this file, and not touched since.
fn open_manifest(keys: &OrganizationKeys, place: Place, row: &Raw) -> Result<Manifest, FileError> {
    let (digest, bytes) = row.0.split_at_checked(DIGEST_BYTES).ok_or(DAMAGED)?;
    if keys.manifest.verify(MANIFEST, &place.digested(bytes), digest) {
        Manifest::decode(bytes).map_err(|_| DAMAGED)
    } else {
        Err(DAMAGED)
    }
}

/// Fuzz target. A manifest opens only with the digest that was made here over exactly these bytes; then it reads as it was.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_manifest(bytes: &[u8]) {
    let keys = &crate::fuzz::DESK.keys;
    let place = Place::of(keys, Uuid::from_u128(2), FileId(Uuid::from_u128(3)));
    let open = |row: Vec<u8>| open_manifest(keys, place, &Raw(row)).ok();
    assert!(open(bytes.to_vec()).is_none(), "nothing of this was digested here");
    let digest = keys.manifest.digest(MANIFEST, &place.digested(bytes));
    let row = [&digest, bytes].concat();
    let elsewhere = Place {
        request: Uuid::from_u128(4),
        ..place
    };
    assert!(open_manifest(keys, elsewhere, &Raw(row.clone())).is_err());
    assert_eq!(open(row.clone()).is_some(), Manifest::decode(bytes).is_ok());
    let mut altered = row;
    let at = bytes.len() % altered.len();
    altered[at] ^= 1;
    assert!(open(altered).is_none());
}

const DAMAGED: FileError = FileError::Damaged { what: "manifest" };

fn describe(values: &ValueKey, place: Place, manifest: &Manifest) -> Result<Listed, FileError> {
    let open = |field: &str, sealed: &[u8]| {
        let plain = values.open(&place.sealed(field), sealed)?;
        String::from_utf8(plain.to_vec()).map_err(|_| DAMAGED)
    };
    Ok(Listed {
        id: place.file,
        silo: manifest.silo,
        data_point: manifest.data_point,
        name: open("name", &manifest.name)?,
        mimetype: open("mimetype", &manifest.mimetype)?,
        bytes: manifest.bytes(),
        created_at: Timestamp::from_millisecond(manifest.created_at_ms).map_err(|_| DAMAGED)?,
    })
}

fn milliseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
pub(super) async fn rows_of(reader: &mut Reader, organization: OrganizationId, request: Uuid) -> usize {
    let prefix = || Scan::prefix(&(organization.0, request));
    let files = reader.scan(&FILES, prefix()).await.expect("the store answers").len();
    let names = reader
        .scan(&FILE_NAMES, prefix())
        .await
        .expect("the store answers")
        .len();
    let numbers = reader
        .scan(&FILE_NUMBERS, prefix())
        .await
        .expect("the store answers")
        .len();
    let ivs = reader
        .scan(&RESERVED_IVS, prefix())
        .await
        .expect("the store answers")
        .len();
    let loose = reader
        .scan(&LOOSE_BODIES, Scan::prefix(&()))
        .await
        .expect("the store answers")
        .len();
    files + names + numbers + ivs + loose
}

#[cfg(test)]
pub(super) async fn copy_manifest(
    tx: &mut Tx,
    organization: OrganizationId,
    request: Uuid,
    from: FileId,
    to: Uuid,
    change: impl FnOnce(&mut Vec<u8>),
) {
    let row = tx
        .get(&FILES, &(organization.0, request, from.0))
        .await
        .expect("the store answers");
    let mut row = row.expect("the file is there");
    change(&mut row.0);
    tx.put(&FILES, &(organization.0, request, to), &row);
}
