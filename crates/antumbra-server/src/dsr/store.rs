//! What is kept of data subject requests.
//!
//! How a request stands changes often and needs no key; what is about the person changes seldom and is sealed. So they
//! are two tables, and a change of state writes only the first and its indexes.

use std::{collections::BTreeSet, ops::Bound};

use antumbra_crypto::{Key32, OpenFailed, value};
use antumbra_store::{Raw, Reader, Record, Scan, StoreError, Table, Tx, Value};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    DsrError, bulk, drop_runs, holds, links,
    model::{Dsr, DsrHead, DsrId, DsrSubject},
    occasion::{Occasion, OccasionPartition},
    state::DsrStatus,
    tell::WORDS,
};
use crate::{
    keyring::{KeyKind, OrganizationKeys},
    organization::{Action, OrganizationId},
};

/// How each request stands: (organization, request).
const DSRS: Table<(Uuid, Uuid), DsrHead> = Table::new("dsrs");
/// Whom each request is about, sealed under the request's key: (organization, request).
const DSR_SUBJECTS: Table<(Uuid, Uuid), Raw> = Table::new("dsr_subjects");
/// Answers: which requests came in when: (organization, milliseconds, request).
const DSRS_BY_CREATED: Table<(Uuid, u64, Uuid), ()> = Table::new("dsrs_by_created");
/// Answers: which requests have a status: (organization, status, milliseconds, request).
const DSRS_BY_STATUS: Table<(Uuid, u8, u64, Uuid), ()> = Table::new("dsrs_by_status");
/// Answers: whether an equivalent request is open: (organization, blind equivalence, request).
const OPEN_DSRS: Table<(Uuid, [u8; 16], Uuid), OpenDsr> = Table::new("open_dsrs");
/// Answers: of which open requests it has been noted that their time is over: (organization, request).
const OVERDUE_DSRS: Table<(Uuid, Uuid), ()> = Table::new("overdue_dsrs");
/// Answers: which requests are about a person: (organization, blind core identifier, milliseconds, request).
const DSRS_BY_CORE_IDENTIFIER: Table<(Uuid, [u8; 16], u64, Uuid), ()> = Table::new("dsrs_by_core_identifier");

/// Answers: which requests have been over for how long, and still hold something about the person: (organization,
/// milliseconds, request).
const DSRS_BY_END: Table<(Uuid, u64, Uuid), ()> = Table::new("dsrs_by_end");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[
    links::TABLES[0],
    links::TABLES[1],
    DSRS_BY_END.name(),
    DSRS.name(),
    DSR_SUBJECTS.name(),
    DSRS_BY_CREATED.name(),
    DSRS_BY_STATUS.name(),
    OPEN_DSRS.name(),
    OVERDUE_DSRS.name(),
    DSRS_BY_CORE_IDENTIFIER.name(),
    WORDS.name(),
    drop_runs::RUNS.name(),
    drop_runs::RECORDS.name(),
    drop_runs::LINKS.name(),
    drop_runs::LINKS_BY_REQUEST.name(),
    bulk::NAMED.name(),
    bulk::NAMES.name(),
    holds::HOLDS.name(),
    holds::PARKED.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<DsrHead>,
    crate::fuzz::same_when_written_again::<DsrSubject>,
    crate::fuzz::same_when_written_again::<OpenDsr>,
    crate::fuzz::same_when_written_again::<super::tell::Words>,
    drop_runs::ROWS[0],
    drop_runs::ROWS[1],
    bulk::ROWS[0],
    links::RECORDS[0],
    links::RECORDS[1],
];

impl Record for DsrHead {
    const VERSION: u8 = 1;
}

impl Record for DsrSubject {
    const VERSION: u8 = 1;
}

/// What is compared of an open request beyond its equivalence.
#[derive(Serialize, Deserialize)]
struct OpenDsr {
    /// Blind index of the e-mail address.
    email: Option<[u8; 16]>,
}

impl Record for OpenDsr {
    const VERSION: u8 = 1;
}

/// The blind indexes of a request.
pub(super) struct Blinds {
    pub(super) core: [u8; 16],
    pub(super) equivalence: [u8; 16],
    pub(super) email: Option<[u8; 16]>,
}

/// What two equivalent requests have in common.
pub(super) struct Sameness<'a> {
    pub(super) action: Action,
    pub(super) subject_type: &'a str,
    pub(super) is_test: bool,
    pub(super) core_identifier: &'a str,
    pub(super) occasion: Option<&'a Occasion>,
    pub(super) partition: Option<&'a OccasionPartition>,
}

impl Blinds {
    pub(super) fn of(keys: &OrganizationKeys, same: &Sameness<'_>, email: Option<&str>) -> Blinds {
        let core = same.core_identifier.as_bytes();
        let is_test = [u8::from(same.is_test)];
        let mut equivalence: Vec<&[u8]> = vec![
            b"dsr-equivalence",
            same.action.as_str().as_bytes(),
            same.subject_type.as_bytes(),
            &is_test,
            core,
        ];
        if let Some(occasion) = same.occasion {
            equivalence.extend([occasion.partition.id.as_bytes(), occasion.purpose.as_bytes()]);
        } else if let Some(partition) = same.partition {
            equivalence.push(partition.id.as_bytes());
        }
        Blinds {
            core: blind_core(keys, same.core_identifier),
            equivalence: keys.index.blind(&equivalence),
            email: email.map(|email| keys.index.blind(&[b"dsr-email", email.as_bytes()])),
        }
    }
}

fn blind_core(keys: &OrganizationKeys, core_identifier: &str) -> [u8; 16] {
    keys.index.blind(&[b"dsr-core-identifier", core_identifier.as_bytes()])
}

fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

fn context<'a>(organization: &'a OrganizationId, id: &'a DsrId) -> [&'a [u8]; 3] {
    [b"dsr-subject", organization.0.as_bytes(), id.0.as_bytes()]
}

/// Keeps a new request, and makes its key.
pub(super) async fn insert(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    dsr: &Dsr,
    email: Option<[u8; 16]>,
) -> Result<(), DsrError> {
    let (organization, head) = (keys.organization, &dsr.head);
    let key = keys.create_key(tx, KeyKind::Request, head.id.0).await?;
    put_subject(tx, organization, head.id, &key, &dsr.subject)?;
    tx.put(&DSRS, &(organization.0, head.id.0), head);
    tx.put(&DSRS_BY_CREATED, &by_created(organization, head), &());
    tx.put(&DSRS_BY_STATUS, &by_status(organization, head), &());
    tx.put(&DSRS_BY_CORE_IDENTIFIER, &by_core(organization, head), &());
    if let Some(over) = by_end(organization, head) {
        tx.put(&DSRS_BY_END, &over, &());
    }
    if head.state.is_open() {
        put_open(tx, organization, head, email);
    }
    Ok(())
}

/// Keeps how a request stands now in place of how it stood. One that is opened again needs [`put_open`] too.
pub(super) fn replace(tx: &mut Tx, organization: OrganizationId, before: &DsrHead, after: &DsrHead) {
    tx.put(&DSRS, &(organization.0, after.id.0), after);
    let (was, is) = (by_status(organization, before), by_status(organization, after));
    if was != is {
        tx.delete(&DSRS_BY_STATUS, &was);
        tx.put(&DSRS_BY_STATUS, &is, &());
    }
    let (was, is) = (by_created(organization, before), by_created(organization, after));
    if was != is {
        tx.delete(&DSRS_BY_CREATED, &was);
        tx.put(&DSRS_BY_CREATED, &is, &());
    }
    let (was, is) = (by_core(organization, before), by_core(organization, after));
    if was != is {
        tx.delete(&DSRS_BY_CORE_IDENTIFIER, &was);
        // Whose key is destroyed is found by nobody.
        if after.shredded_at.is_none() {
            tx.put(&DSRS_BY_CORE_IDENTIFIER, &is, &());
        }
    }
    if !after.state.is_open() || before.equivalence != after.equivalence {
        tx.delete(&OPEN_DSRS, &(organization.0, before.equivalence, before.id.0));
    }
    let (was_over, is_over) = (by_end(organization, before), by_end(organization, after));
    if was_over != is_over {
        was_over.iter().for_each(|place| tx.delete(&DSRS_BY_END, place));
        is_over.iter().for_each(|place| tx.put(&DSRS_BY_END, place, &()));
    }
    let is_overdue = |head: &DsrHead| head.is_noted_as_passed() && head.state.is_open();
    match (is_overdue(before), is_overdue(after)) {
        (false, true) => tx.put(&OVERDUE_DSRS, &(organization.0, after.id.0), &()),
        (true, false) => tx.delete(&OVERDUE_DSRS, &(organization.0, after.id.0)),
        (false, false) | (true, true) => {}
    }
}

/// Where a request stands among those that are over and that retention has not dealt with.
fn by_end(organization: OrganizationId, head: &DsrHead) -> Option<(Uuid, u64, Uuid)> {
    let over_since = head.over_since().filter(|_| head.shredded_at.is_none())?;
    Some((organization.0, millis(over_since), head.id.0))
}

/// A request that has been over since then.
pub struct Over {
    /// Which.
    pub id: DsrId,
    /// Its place among those that are over.
    pub place: (u64, Uuid),
}

/// Since when the request has been over that was the first to be so, of those that still hold something about the person, from
/// `from` on and before `before`.
pub(super) async fn next_over(
    reader: &mut Reader,
    organization: OrganizationId,
    from: Option<Timestamp>,
    before: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let from = (organization.0, from.map_or(0, millis));
    let to = (organization.0, millis(before));
    let scan = Scan::range(Bound::Included(&from), Bound::Excluded(&to)).limit(1);
    let rows = reader.scan(&DSRS_BY_END, scan).await?;
    let first = rows
        .first()
        .and_then(|((_, over_since, _), ())| i64::try_from(*over_since).ok());
    Ok(first.and_then(|millis| Timestamp::from_millisecond(millis).ok()))
}

/// Requests that were over before `before` and still hold something about the person, longest first, after `after`.
pub async fn list_over(
    reader: &mut Reader,
    organization: OrganizationId,
    before: Timestamp,
    after: Option<(u64, Uuid)>,
    limit: usize,
) -> Result<Vec<Over>, StoreError> {
    let from = (organization.0,);
    let to = (organization.0, millis(before));
    let mut scan = Scan::range(Bound::Included(&from), Bound::Excluded(&to)).limit(limit);
    if let Some((over_since, id)) = after {
        scan = scan.after(&(organization.0, over_since, id));
    }
    let rows = reader.scan(&DSRS_BY_END, scan).await?;
    Ok(rows
        .into_iter()
        .map(|((_, over_since, id), ())| Over {
            id: DsrId(id),
            place: (over_since, id),
        })
        .collect())
}

/// Removes what names or finds the person of a request.
pub(super) fn forget_person(tx: &mut Tx, organization: OrganizationId, head: &DsrHead) {
    tx.delete(&DSR_SUBJECTS, &(organization.0, head.id.0));
    tx.delete(&DSRS_BY_CORE_IDENTIFIER, &by_core(organization, head));
}

/// Removes the row of a request whose person has been forgotten.
pub(super) fn delete(tx: &mut Tx, organization: OrganizationId, head: &DsrHead) {
    tx.delete(&DSRS, &(organization.0, head.id.0));
    tx.delete(&DSRS_BY_CREATED, &by_created(organization, head));
    tx.delete(&DSRS_BY_STATUS, &by_status(organization, head));
}

/// Has the request stand among the open ones, where its repeats are looked for.
pub(super) fn put_open(tx: &mut Tx, organization: OrganizationId, head: &DsrHead, email: Option<[u8; 16]>) {
    tx.put(
        &OPEN_DSRS,
        &(organization.0, head.equivalence, head.id.0),
        &OpenDsr { email },
    );
}

fn by_created(organization: OrganizationId, head: &DsrHead) -> (Uuid, u64, Uuid) {
    (organization.0, millis(head.created_at), head.id.0)
}

fn by_core(organization: OrganizationId, head: &DsrHead) -> (Uuid, [u8; 16], u64, Uuid) {
    (organization.0, head.core_index, millis(head.created_at), head.id.0)
}

/// Whether any of the requests is no test. One that has more than `limit` is taken to have such.
pub(super) async fn holds_real_ones(
    reader: &mut Reader,
    organization: OrganizationId,
    limit: usize,
) -> Result<bool, StoreError> {
    const PAGE: usize = 256;
    let mut scan = Scan::prefix(&organization.0).limit(PAGE);
    for _ in 0..limit.div_ceil(PAGE) {
        let page = reader.scan(&DSRS, scan).await?;
        if page.iter().any(|(_, head)| !head.is_test) {
            return Ok(true);
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => scan = Scan::prefix(&organization.0).limit(PAGE).after(last),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Of how many open requests, at most `limit`, it has been noted that their time is over.
pub(super) async fn count_overdue(reader: &mut Reader, limit: usize) -> Result<usize, StoreError> {
    let rows = reader.scan(&OVERDUE_DSRS, Scan::prefix(&()).limit(limit)).await?;
    Ok(rows.len())
}

fn by_status(organization: OrganizationId, head: &DsrHead) -> (Uuid, u8, u64, Uuid) {
    (
        organization.0,
        head.state.status().code(),
        millis(head.created_at),
        head.id.0,
    )
}

/// Keeps what is about the person, sealed.
pub(super) fn put_subject(
    tx: &mut Tx,
    organization: OrganizationId,
    id: DsrId,
    key: &Key32,
    subject: &DsrSubject,
) -> Result<(), DsrError> {
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(512));
    subject
        .encode(&mut plain)
        .map_err(|source| DsrError::Unreadable { id, source })?;
    let sealed = value::seal(key, &context(&organization, &id), &plain);
    tx.put(&DSR_SUBJECTS, &(organization.0, id.0), &Raw(sealed));
    Ok(())
}

/// How the request stands.
pub(super) async fn find_head(
    reader: &mut Reader,
    organization: OrganizationId,
    id: DsrId,
) -> Result<Option<DsrHead>, StoreError> {
    reader.get(&DSRS, &(organization.0, id.0)).await
}

/// How these requests stand, in their order; those that are not there are left out.
pub(super) async fn find_heads(
    reader: &mut Reader,
    organization: OrganizationId,
    ids: &[DsrId],
) -> Result<Vec<DsrHead>, StoreError> {
    let keys: Vec<_> = ids.iter().map(|id| (organization.0, id.0)).collect();
    Ok(reader.get_many(&DSRS, &keys).await?.into_iter().flatten().collect())
}

/// The requests of these heads, opened.
pub(super) async fn open(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    heads: Vec<DsrHead>,
) -> Result<Vec<Dsr>, DsrError> {
    let organization = keys.organization;
    let ids: Vec<Uuid> = heads.iter().map(|head| head.id.0).collect();
    let rows: Vec<_> = ids.iter().map(|id| (organization.0, *id)).collect();
    let sealed = reader.get_many(&DSR_SUBJECTS, &rows).await?;
    let opened = keys.find_keys(reader, KeyKind::Request, &ids).await?;
    let open = |((head, sealed), key): ((DsrHead, Option<Raw>), Option<Key32>)| {
        let subject = match (sealed, key) {
            (Some(sealed), Some(key)) => open_subject(organization, head.id, &key, &sealed)?,
            (None, Some(_)) => {
                return Err(DsrError::Sealed {
                    id: head.id,
                    source: OpenFailed::Malformed,
                });
            }
            // Without its key the request has been erased: what is left of it names nobody.
            (Some(_) | None, None) => DsrSubject::default(),
        };
        Ok(Dsr { head, subject })
    };
    heads.into_iter().zip(sealed).zip(opened).map(open).collect()
}

fn open_subject(organization: OrganizationId, id: DsrId, key: &Key32, sealed: &Raw) -> Result<DsrSubject, DsrError> {
    let plain =
        value::open(key, &context(&organization, &id), &sealed.0).map_err(|source| DsrError::Sealed { id, source })?;
    DsrSubject::decode(&plain).map_err(|source| DsrError::Unreadable { id, source })
}

/// The open requests that a new one with these indexes would repeat.
///
/// Two requests of one person with two different addresses are two requests; an address on one side only tells nothing.
pub(super) async fn list_equivalent(
    reader: &mut Reader,
    organization: OrganizationId,
    blinds: &Blinds,
) -> Result<Vec<DsrId>, StoreError> {
    let rows = reader
        .scan(&OPEN_DSRS, Scan::prefix(&(organization.0, blinds.equivalence)))
        .await?;
    let same = |open: &OpenDsr| match (open.email, blinds.email) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => true,
    };
    let equivalent = rows.into_iter().filter(|(_, open)| same(open));
    Ok(equivalent.map(|((_, _, id), _)| DsrId(id)).collect())
}

/// The request that importing one with this action, core identifier and time would repeat, if there is one.
pub(super) async fn find_imported(
    reader: &mut Reader,
    organization: OrganizationId,
    core: [u8; 16],
    action: Action,
    created_at: Timestamp,
) -> Result<Option<DsrId>, StoreError> {
    let prefix = (organization.0, core, millis(created_at));
    let rows = reader.scan(&DSRS_BY_CORE_IDENTIFIER, Scan::prefix(&prefix)).await?;
    let ids: Vec<DsrId> = rows.into_iter().map(|((.., id), ())| DsrId(id)).collect();
    let heads = find_heads(reader, organization, &ids).await?;
    Ok(heads
        .into_iter()
        .find(|head| head.action() == action)
        .map(|head| head.id))
}

/// The requests about a person, oldest first.
pub(super) async fn list_by_core_identifier(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    core_identifier: &str,
) -> Result<Vec<DsrId>, StoreError> {
    list_by_core_index(reader, keys.organization, blind_core(keys, core_identifier)).await
}

/// The requests about the person whose core identifier has this blind index, oldest first.
pub(super) async fn list_by_core_index(
    reader: &mut Reader,
    organization: OrganizationId,
    core: [u8; 16],
) -> Result<Vec<DsrId>, StoreError> {
    let prefix = (organization.0, core);
    let rows = reader.scan(&DSRS_BY_CORE_IDENTIFIER, Scan::prefix(&prefix)).await?;
    Ok(rows.into_iter().map(|((.., id), ())| DsrId(id)).collect())
}

/// A request's place in lists.
pub(super) type Place = (u64, Uuid);

/// The place of a request.
pub(super) fn place(head: &DsrHead) -> Place {
    (millis(head.created_at), head.id.0)
}

/// Which way a list runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest request first.
    #[default]
    NewestFirst,
    /// The oldest request first.
    OldestFirst,
}

/// Places of requests with one of `statuses` (all, if it is empty), after `after` in the given order, at most `limit`.
pub(super) async fn list_places(
    reader: &mut Reader,
    organization: OrganizationId,
    statuses: &[DsrStatus],
    order: Order,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<Place>, StoreError> {
    let directed = |scan: Scan| match order {
        Order::NewestFirst => scan.newest_first().limit(limit),
        Order::OldestFirst => scan.limit(limit),
    };
    if statuses.is_empty() {
        let mut scan = directed(Scan::prefix(&organization.0));
        if let Some((created, id)) = after {
            scan = scan.after(&(organization.0, created, id));
        }
        let rows = reader.scan(&DSRS_BY_CREATED, scan).await?;
        return Ok(rows.into_iter().map(|((_, created, id), ())| (created, id)).collect());
    }
    let mut merged = BTreeSet::new();
    for status in statuses {
        let mut scan = directed(Scan::prefix(&(organization.0, status.code())));
        if let Some((created, id)) = after {
            scan = scan.after(&(organization.0, status.code(), created, id));
        }
        let rows = reader.scan(&DSRS_BY_STATUS, scan).await?;
        merged.extend(rows.into_iter().map(|((_, _, created, id), ())| (created, id)));
    }
    let places = merged.into_iter();
    Ok(match order {
        Order::NewestFirst => places.rev().take(limit).collect(),
        Order::OldestFirst => places.take(limit).collect(),
    })
}
