//! Deletion platforms: runs of records that come from one, and the requests that answer them.
//!
//! A run is one collection of records from such a platform, as California's is. Whoever fetches them has a run made, adds
//! the ids of its records with the list that each stands on, submits requests that name them, and closes the run when all
//! of it is matched. What is kept of a record is a blind index, until its run is closed; its id in plain words stands with the
//! requests that answer it, sealed with the rest that is about the person, and goes with them.

use std::collections::BTreeSet;

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use async_graphql::Enum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    DsrId,
    refusal::{Checks, InputCode},
    submission::Draft,
};
use crate::{
    keyring::OrganizationKeys,
    organization::{IdentifierKind, OrganizationId, Settings},
};

/// The runs of an organization: (organization, run).
pub(super) const RUNS: Table<(Uuid, Uuid), DropRun> = Table::new("drop_runs");
/// Answers: whether a record belongs to a run: (organization, run, blind record).
pub(super) const RECORDS: Table<(Uuid, Uuid, [u8; 16]), DropRecord> = Table::new("drop_records");
/// Answers: which requests answer the records of a run: (organization, run, blind record, request).
pub(super) const LINKS: Table<(Uuid, Uuid, [u8; 16], Uuid), ()> = Table::new("drop_links");

/// Answers: which records of which runs a request answers: (organization, request, run, blind record).
pub(super) const LINKS_BY_REQUEST: Table<(Uuid, Uuid, Uuid, [u8; 16]), ()> = Table::new("drop_links_by_request");

/// Records that one submission may answer.
pub(crate) const RECORDS_MAX: usize = 500;
/// Characters of a record's id.
pub(crate) const RECORD_ID_MAX: usize = 64;
/// Unknown records that are named before the rest is counted.
const NAMED_MAX: usize = 20;
/// Runs that are kept.
const RUNS_MAX: usize = 10_000;

/// The id of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DropRunId(pub Uuid);

/// One collection of records from a deletion platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRun {
    /// Its id.
    pub id: DropRunId,
    /// What people call it.
    pub title: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it takes no more requests.
    pub closed_at: Option<Timestamp>,
    /// How many records it has.
    pub records: u64,
}

impl Record for DropRun {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
pub(super) struct DropRecord {
    list: DropList,
}

impl Record for DropRecord {
    const VERSION: u8 = 1;
}

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(super) const ROWS: [fn(&[u8]); 2] = [
    crate::fuzz::same_when_written_again::<DropRun>,
    crate::fuzz::same_when_written_again::<DropRecord>,
];

/// The list of the platform that a record stands on, which says what points at the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Enum)]
#[serde(rename_all = "snake_case")]
#[graphql(name = "DropListType", rename_items = "snake_case")]
pub enum DropList {
    /// E-mail addresses.
    Email,
    /// Telephone numbers.
    Phone,
    /// Advertising ids of mobile devices.
    Maid,
    /// Ids of connected television sets.
    Ctv,
    /// Name, date of birth and postal code.
    Ndz,
    /// Name and vehicle identification number.
    NameVin,
}

impl DropList {
    /// The list of this name.
    pub(crate) fn parse(name: &str) -> Option<DropList> {
        Some(match name {
            "email" => DropList::Email,
            "phone" => DropList::Phone,
            "maid" => DropList::Maid,
            "ctv" => DropList::Ctv,
            "ndz" => DropList::Ndz,
            "name_vin" => DropList::NameVin,
            _ => return None,
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            DropList::Email => "email",
            DropList::Phone => "phone",
            DropList::Maid => "maid",
            DropList::Ctv => "ctv",
            DropList::Ndz => "ndz",
            DropList::NameVin => "name_vin",
        }
    }

    /// Whether an identifier of this kind can be what the list matched the person by. Names and numbers that have no
    /// kind of their own are custom identifiers.
    fn is_matched_by(self, kind: IdentifierKind) -> bool {
        use IdentifierKind as K;
        match self {
            DropList::Email => kind == K::Email,
            DropList::Phone => kind == K::Phone,
            DropList::Maid => matches!(kind, K::AdvertisingId | K::Gaid | K::Idfa | K::Idfv),
            DropList::Ctv => matches!(kind, K::AmazonFireAdvertisingId | K::Rida),
            DropList::Ndz | DropList::NameVin => kind == K::Custom,
        }
    }
}

/// A record, by its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DropRecordId {
    /// What the platform calls it.
    pub id: String,
    /// The list it stands on.
    pub list: DropList,
}

/// Records of one run that a request answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropLink {
    /// The run.
    pub run: DropRunId,
    /// The records.
    pub records: Vec<DropRecordId>,
}

/// The records that a submission says it answers, as far as they could be read.
#[derive(Default)]
pub(crate) struct Named {
    pub(crate) run: Option<DropRunId>,
    pub(crate) records: Vec<DropRecordId>,
}

impl Named {
    /// All that is named, in one form.
    pub(crate) fn words(&self) -> Vec<u8> {
        serde_json::to_vec(&(self.run, &self.records)).expect("ids and words have no way to fail")
    }

    /// Checks what is named against what is there, and that the draft has what the lists match people by.
    pub(crate) async fn check(
        self,
        reader: &mut Reader,
        keys: &OrganizationKeys,
        settings: &Settings,
        draft: &Draft,
        checks: &mut Checks,
    ) -> Result<Option<DropLink>, StoreError> {
        const PATH: &str = "dropRecords";
        let Named { run, records } = self;
        let Some(run) = run else {
            if !records.is_empty() {
                let rule = "need the dropRunId that they belong to";
                checks.refused(InputCode::DropRecordsRequireDropRunId, PATH, rule);
            }
            return Ok(None);
        };
        if records.len() > RECORDS_MAX {
            let rule = format!("must be at most {RECORDS_MAX}");
            checks.refused(InputCode::MaxDropRecordsPerRequestExceeded, PATH, rule);
            return Ok(None);
        }
        if records.iter().collect::<BTreeSet<_>>().len() < records.len() {
            checks.refused(InputCode::DuplicateDropRecords, PATH, "must name each record once");
        }
        match reader.get(&RUNS, &(keys.organization.0, run.0)).await? {
            None => checks.refused(
                InputCode::DropRunNotFound,
                "dropRunId",
                "is not a run of this organization",
            ),
            Some(DropRun { closed_at: Some(_), .. }) => {
                let rule = "is a run that is closed and takes no more requests";
                checks.refused(InputCode::DropRunNotIntakeEligible, "dropRunId", rule);
            }
            Some(_) => {
                let unknown = unknown(reader, keys, run, &records).await?;
                if !unknown.is_empty() {
                    checks.refused(InputCode::UnknownDropRecords, PATH, unknown_rule(&unknown));
                }
            }
        }
        let kinds = kinds(settings, draft);
        let lists: BTreeSet<DropList> = records.iter().map(|record| record.list).collect();
        for list in lists {
            if !kinds.iter().any(|kind| list.is_matched_by(*kind)) {
                let rule = format!(
                    "stand on the list {}, and no such identifier is submitted",
                    list.as_str()
                );
                checks.refused(InputCode::DropIdentifierCoverageMismatch, PATH, rule);
            }
        }
        Ok(Some(DropLink { run, records }))
    }
}

/// Names at most so many, as clients expect it of this rule, and counts the rest.
fn unknown_rule(unknown: &[&DropRecordId]) -> String {
    let named: Vec<&str> = unknown
        .iter()
        .take(NAMED_MAX)
        .map(|record| record.id.as_str())
        .collect();
    let named = named.join(", ");
    match unknown.len().saturating_sub(NAMED_MAX) {
        0 => format!("are not all records of this run: {named}"),
        more => format!("are not all records of this run: {named} and {more} more"),
    }
}

fn kinds(settings: &Settings, draft: &Draft) -> Vec<IdentifierKind> {
    let extras = draft
        .extras
        .iter()
        .filter_map(|extra| settings.find_identifier(&extra.name));
    let address = draft.email.iter().map(|_| IdentifierKind::Email);
    extras.map(|known| known.identifier.kind).chain(address).collect()
}

async fn unknown<'a>(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    run: DropRunId,
    records: &'a [DropRecordId],
) -> Result<Vec<&'a DropRecordId>, StoreError> {
    let places: Vec<_> = records
        .iter()
        .map(|record| (keys.organization.0, run.0, blind(keys, record)))
        .collect();
    let rows = reader.get_many(&RECORDS, &places).await?;
    let missing = records.iter().zip(rows).filter(|(_, row)| row.is_none());
    Ok(missing.map(|(record, _)| record).collect())
}

fn blind(keys: &OrganizationKeys, record: &DropRecordId) -> [u8; 16] {
    let parts: [&[u8]; 3] = [b"drop-record", record.list.as_str().as_bytes(), record.id.as_bytes()];
    keys.index.blind(&parts)
}

/// Notes that a request answers these records.
pub(super) fn link(tx: &mut Tx, keys: &OrganizationKeys, request: DsrId, link: &DropLink) {
    let (organization, run) = (keys.organization.0, link.run.0);
    for record in &link.records {
        let record = blind(keys, record);
        tx.put(&LINKS, &(organization, run, record, request.0), &());
        tx.put(&LINKS_BY_REQUEST, &(organization, request.0, run, record), &());
    }
}

/// Forgets which records a request answers, at most `limit` of them. Says whether more may be left.
pub(super) async fn forget_links(
    tx: &mut Tx,
    organization: OrganizationId,
    request: DsrId,
    limit: usize,
) -> Result<bool, StoreError> {
    let of_request = Scan::prefix(&(organization.0, request.0)).limit(limit);
    let links = tx.scan(&LINKS_BY_REQUEST, of_request).await?;
    for (place, ()) in &links {
        let (organization, request, run, record) = *place;
        tx.delete(&LINKS, &(organization, run, record, request));
        tx.delete(&LINKS_BY_REQUEST, place);
    }
    Ok(!links.is_empty())
}

/// Forgets the records of a run that is closed, at most `limit`: nobody asks for them any more. Says whether more may be left.
pub(super) async fn forget_records(
    tx: &mut Tx,
    organization: OrganizationId,
    run: DropRunId,
    limit: usize,
) -> Result<bool, StoreError> {
    let of_run = Scan::prefix(&(organization.0, run.0)).limit(limit);
    let records = tx.scan(&RECORDS, of_run).await?;
    records.iter().for_each(|(place, _)| tx.delete(&RECORDS, place));
    Ok(!records.is_empty())
}

/// Makes a run. Nothing, if there are too many.
pub(super) async fn create(
    tx: &mut Tx,
    organization: OrganizationId,
    id: DropRunId,
    title: String,
    now: Timestamp,
) -> Result<Option<DropRun>, StoreError> {
    let known = tx.scan(&RUNS, Scan::prefix(&organization.0).limit(RUNS_MAX)).await?;
    if known.len() == RUNS_MAX {
        return Ok(None);
    }
    let run = DropRun {
        id,
        title,
        created_at: now,
        closed_at: None,
        records: 0,
    };
    tx.put(&RUNS, &(organization.0, id.0), &run);
    Ok(Some(run))
}

/// The run.
pub(super) async fn find(
    reader: &mut Reader,
    organization: OrganizationId,
    id: DropRunId,
) -> Result<Option<DropRun>, StoreError> {
    reader.get(&RUNS, &(organization.0, id.0)).await
}

/// Every run, newest first.
pub(super) async fn list(reader: &mut Reader, organization: OrganizationId) -> Result<Vec<DropRun>, StoreError> {
    let runs = Scan::prefix(&organization.0).newest_first().limit(RUNS_MAX);
    Ok(reader
        .scan(&RUNS, runs)
        .await?
        .into_iter()
        .map(|(_, run)| run)
        .collect())
}

/// Keeps the run as it is now.
pub(super) fn save(tx: &mut Tx, organization: OrganizationId, run: &DropRun) {
    tx.put(&RUNS, &(organization.0, run.id.0), run);
}

/// Adds records to a run, each once; those that it has stay.
pub(super) async fn add(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    run: &mut DropRun,
    records: &[DropRecordId],
) -> Result<(), StoreError> {
    let fresh: BTreeSet<DropRecordId> = unknown(tx, keys, run.id, records).await?.into_iter().cloned().collect();
    for record in &fresh {
        let place = (keys.organization.0, run.id.0, blind(keys, record));
        tx.put(&RECORDS, &place, &DropRecord { list: record.list });
    }
    run.records += fresh.len() as u64;
    save(tx, keys.organization, run);
    Ok(())
}

/// The requests that answer records of a run, at most `limit` after `offset`, each as often as it answers one.
pub(super) async fn list_links(
    reader: &mut Reader,
    organization: OrganizationId,
    run: DropRunId,
    offset: usize,
    limit: usize,
) -> Result<Vec<([u8; 16], DsrId)>, StoreError> {
    let scan = Scan::prefix(&(organization.0, run.0)).limit(offset.saturating_add(limit));
    let rows = reader.scan(&LINKS, scan).await?;
    let links = rows.into_iter().skip(offset);
    Ok(links
        .map(|((.., record, request), ())| (record, DsrId(request)))
        .collect())
}

/// The record of a request that has this blind index.
pub(super) fn of_blind<'a>(
    keys: &OrganizationKeys,
    links: &'a [DropLink],
    run: DropRunId,
    wanted: [u8; 16],
) -> Option<&'a DropRecordId> {
    let of_run = links.iter().filter(|link| link.run == run);
    of_run
        .flat_map(|link| &link.records)
        .find(|record| blind(keys, record) == wanted)
}
