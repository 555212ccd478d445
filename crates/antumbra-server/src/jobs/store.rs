//! What is kept of jobs.
//!
//! The queue is ordered by time, so that claiming reads from its front. A claimed job is the same row moved to the end of
//! its lease: if its runner dies, the row comes due again by itself, and no second table has to be watched.
//!
//! A job that comes due while nothing more may begin for its target is moved out of the way, once, into the line of its
//! kind and target. So the front of the queue never holds what cannot begin, and however long a line is, it costs others
//! nothing and its own next job is found at its head.

use std::{ops::Bound, time::Duration};

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Claimed, Failure, Job, JobError, JobId, JobKind, Outlook, Waiting};
use crate::{organization::OrganizationId, world::Clock};

/// Key of a waiting or claimed job.
pub(super) type JobKey = (OrganizationId, u64, JobId);
/// Key of a job in a line.
pub(super) type LinedUpKey = (OrganizationId, String, Uuid, u64, JobId);
/// A line: whose jobs, of which kind, and for which target.
pub(super) type Line = (OrganizationId, String, Option<Uuid>);

/// Where a job stands that waits to be claimed.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In the queue.
    Queue(JobKey),
    /// In a line.
    Line(LinedUpKey),
}

impl Place {
    pub(super) fn job(&self) -> (OrganizationId, JobId) {
        match self {
            Place::Queue((organization, _, id)) | Place::Line((organization, _, _, _, id)) => (*organization, *id),
        }
    }
}

/// What is to be done and when, in milliseconds since the epoch; claimed jobs stand at the end of their lease.
const JOBS: Table<JobKey, JobRow> = Table::new("jobs");
/// Due jobs that no room was found for, in the order in which they came due: (organization, kind, target or nil, when due
/// in milliseconds, job).
const LINED_UP: Table<LinedUpKey, JobRow> = Table::new("lined_up_jobs");
/// Jobs that were given up.
const PARKED_JOBS: Table<(OrganizationId, JobId), ParkedRow> = Table::new("parked_jobs");

/// Those of the waiting and claimed jobs whose last attempt failed.
const FAILING_JOBS: Table<(OrganizationId, JobId), FailingRow> = Table::new("failing_jobs");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[JOBS.name(), LINED_UP.name(), PARKED_JOBS.name(), FAILING_JOBS.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<JobRow>,
    crate::fuzz::same_when_written_again::<ParkedRow>,
    crate::fuzz::same_when_written_again::<FailingRow>,
];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JobRow {
    pub(super) kind: String,
    pub(super) subjects: Vec<Uuid>,
    pub(super) target: Option<Uuid>,
    /// Attempts begun.
    pub(super) attempts: u32,
    /// Rises with every claim; who holds an older one has lost the job.
    token: u64,
    /// A runner has it. Rows of before this was kept do not say so, and wait for their lease to end.
    #[serde(default)]
    pub(super) claimed: bool,
    /// Attempts that failed since one did not. Invariant: a row with any stands in `FAILING_JOBS` too.
    #[serde(default)]
    failures: u32,
}

impl Record for JobRow {
    const VERSION: u8 = 1;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ParkedRow {
    job: JobRow,
    parked_at_ms: u64,
    reason: String,
}

impl Record for ParkedRow {
    const VERSION: u8 = 1;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FailingRow {
    kind: String,
    subjects: Vec<Uuid>,
    failures: u32,
    failed_at_ms: u64,
    next_try_at_ms: u64,
    reason: String,
}

impl Record for FailingRow {
    const VERSION: u8 = 1;
}

/// A job whose last attempt failed and that waits for its next.
#[derive(Clone, Debug)]
pub struct Failing {
    /// Which job.
    pub id: JobId,
    /// Its kind's name.
    pub kind: String,
    /// What it is about.
    pub subjects: Vec<Uuid>,
    /// Attempts that failed since one did not.
    pub failures: u32,
    /// When the last attempt failed.
    pub failed_at: Timestamp,
    /// When it is tried again; in the past if that is under way.
    pub next_try_at: Timestamp,
    /// Why the last attempt failed.
    pub reason: String,
}

/// A job that was given up, and why.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Which job.
    pub id: JobId,
    /// Its kind's name.
    pub kind: String,
    /// What it was about.
    pub subjects: Vec<Uuid>,
    /// Attempts made.
    pub attempts: u32,
    /// When it was given up.
    pub parked_at: Timestamp,
    /// Why the last attempt failed.
    pub reason: String,
}

pub(super) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

pub(super) fn enqueue(tx: &mut Tx, organization: OrganizationId, job: Job, due_at: Timestamp) -> Waiting {
    let waiting = Waiting {
        due_at_ms: millis(due_at),
        id: job.id,
    };
    let kind = job.kind.name.to_owned();
    let row = JobRow {
        kind,
        subjects: job.subjects,
        target: job.target,
        attempts: 0,
        token: 0,
        claimed: false,
        failures: 0,
    };
    tx.put(&JOBS, &(organization, waiting.due_at_ms, waiting.id), &row);
    waiting
}

pub(super) fn cancel(tx: &mut Tx, organization: OrganizationId, waiting: Waiting) {
    tx.delete(&JOBS, &(organization, waiting.due_at_ms, waiting.id));
    tx.delete(&FAILING_JOBS, &(organization, waiting.id));
    tx.delete(&PARKED_JOBS, &(organization, waiting.id));
}

/// Organizations that have jobs, one short read each.
pub(super) async fn organizations(reader: &mut Reader) -> Result<Vec<OrganizationId>, StoreError> {
    let mut found: Vec<OrganizationId> = Vec::new();
    loop {
        let from = found.last().map_or(Bound::Unbounded, Bound::Excluded);
        let scan = Scan::range(from, Bound::<&OrganizationId>::Unbounded).limit(1);
        match reader.scan(&JOBS, scan).await?.pop() {
            Some(((organization, ..), _)) => found.push(organization),
            None => return Ok(found),
        }
    }
}

/// The first jobs of `organization` due from `from_ms` to `now`, those in lines not among them.
pub(super) async fn list_due(
    reader: &mut Reader,
    organization: OrganizationId,
    from_ms: u64,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(JobKey, JobRow)>, StoreError> {
    let from = (organization, from_ms);
    let to = (organization, millis(now));
    let scan = Scan::range(Bound::Included(&from), Bound::Included(&to)).limit(limit);
    reader.scan(&JOBS, scan).await
}

/// When the first job of `organization` after `now` comes due.
pub(super) async fn next_due_ms(
    reader: &mut Reader,
    organization: OrganizationId,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    let from = (organization, millis(now) + 1);
    let scan = Scan::range(Bound::Included(&from), Bound::Included(&organization)).limit(1);
    let first = reader.scan(&JOBS, scan).await?.pop();
    Ok(first.map(|((_, due_at_ms, _), _)| due_at_ms))
}

/// Takes those of `candidates` that are still waiting at their place, each until its lease ends.
///
/// Reads the candidates one by one and not as a range, so that enqueueing beside it is no conflict.
pub(super) async fn claim(
    tx: &mut Tx,
    candidates: &[(Place, &'static JobKind)],
    clock: &Clock,
) -> Result<Vec<(Claimed, &'static JobKind)>, StoreError> {
    let rows = find_waiting(tx, candidates.iter().map(|(place, _)| place)).await?;
    let mut claimed = Vec::with_capacity(candidates.len());
    for ((place, kind), row) in candidates.iter().zip(rows) {
        let Some(mut row) = row else { continue };
        row.attempts += 1;
        row.token += 1;
        row.claimed = true;
        let (organization, id) = place.job();
        let lease_ends_at_ms = millis(clock.now_for(organization)) + millis_of(kind.lease);
        take_away(tx, place);
        tx.put(&JOBS, &(organization, lease_ends_at_ms, id), &row);
        let JobRow {
            subjects,
            target,
            attempts: attempt,
            token,
            ..
        } = row;
        claimed.push((
            Claimed {
                organization,
                id,
                subjects,
                target,
                attempt,
                lease_ends_at_ms,
                token,
            },
            *kind,
        ));
    }
    Ok(claimed)
}

/// The rows of jobs that wait, in the order of `places`; none where a job is no longer there.
async fn find_waiting<'a>(
    reader: &mut Reader,
    places: impl Iterator<Item = &'a Place> + Clone,
) -> Result<Vec<Option<JobRow>>, StoreError> {
    let (mut queued, mut lined_up) = (Vec::new(), Vec::new());
    for place in places.clone() {
        match place {
            Place::Queue(key) => queued.push(*key),
            Place::Line(key) => lined_up.push(key.clone()),
        }
    }
    let mut queued = reader.get_many(&JOBS, &queued).await?.into_iter();
    let mut lined_up = reader.get_many(&LINED_UP, &lined_up).await?.into_iter();
    let row = |place: &Place| match place {
        Place::Queue(_) => queued.next().flatten(),
        Place::Line(_) => lined_up.next().flatten(),
    };
    Ok(places.map(row).collect())
}

fn take_away(tx: &mut Tx, place: &Place) {
    match place {
        Place::Queue(key) => tx.delete(&JOBS, key),
        Place::Line(key) => tx.delete(&LINED_UP, key),
    }
}

/// Moves due jobs, as far as they are still there, to the end of the lines they belong to. Says how many.
pub(super) async fn line_up(tx: &mut Tx, keys: &[JobKey]) -> Result<usize, StoreError> {
    let rows = tx.get_many(&JOBS, keys).await?;
    let mut moved = 0;
    for (key, row) in keys.iter().zip(rows) {
        let Some(row) = row else { continue };
        let (organization, due_at_ms, id) = *key;
        let (kind, target) = (row.kind.clone(), row.target.unwrap_or_default());
        tx.delete(&JOBS, key);
        tx.put(&LINED_UP, &(organization, kind, target, due_at_ms, id), &row);
        moved += 1;
    }
    Ok(moved)
}

/// Lines with somebody in them, one short read each.
pub(super) async fn lines(reader: &mut Reader) -> Result<Vec<Line>, StoreError> {
    let mut found: Vec<(OrganizationId, String, Uuid)> = Vec::new();
    loop {
        let from = found.last().map_or(Bound::Unbounded, Bound::Excluded);
        let scan = Scan::range(from, Bound::<&OrganizationId>::Unbounded).limit(1);
        match reader.scan(&LINED_UP, scan).await?.pop() {
            Some(((organization, kind, target, ..), _)) => found.push((organization, kind, target)),
            None => break,
        }
    }
    let line = |(organization, kind, target): (OrganizationId, String, Uuid)| {
        (organization, kind, Some(target).filter(|target| !target.is_nil()))
    };
    Ok(found.into_iter().map(line).collect())
}

/// The first `limit` jobs of a line that were due at `from_ms` or later.
pub(super) async fn list_line(
    reader: &mut Reader,
    (organization, kind, target): &Line,
    from_ms: u64,
    limit: usize,
) -> Result<Vec<(LinedUpKey, JobRow)>, StoreError> {
    let line = (*organization, kind.clone(), target.unwrap_or_default());
    let from = (line.0, line.1.clone(), line.2, from_ms);
    let scan = Scan::range(
        Bound::Included(&from),
        Bound::<&(OrganizationId, String, Uuid)>::Included(&line),
    );
    reader.scan(&LINED_UP, scan.limit(limit)).await
}

pub(super) fn millis_of(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Takes the row away, provided that the claim still stands.
pub(super) async fn release(tx: &mut Tx, claimed: &Claimed) -> Result<JobRow, JobError> {
    let key = (claimed.organization, claimed.lease_ends_at_ms, claimed.id);
    let row = tx
        .get(&JOBS, &key)
        .await?
        .filter(|row| row.token == claimed.token)
        .ok_or(JobError::Lost)?;
    tx.delete(&JOBS, &key);
    if row.failures > 0 {
        tx.delete(&FAILING_JOBS, &(claimed.organization, claimed.id));
    }
    Ok(JobRow { claimed: false, ..row })
}

/// Jobs of `organization` that come due after `now`, but no later than `longest` after it: whatever is claimed is among
/// them. From the first past `cursor`.
pub(super) async fn list_due_within(
    reader: &mut Reader,
    organization: OrganizationId,
    now: Timestamp,
    longest: Duration,
    cursor: Option<(u64, JobId)>,
    limit: usize,
) -> Result<Vec<(JobKey, JobRow)>, StoreError> {
    let from = (organization, millis(now) + 1);
    let to = (organization, millis(now) + millis_of(longest));
    let mut scan = Scan::range(Bound::Included(&from), Bound::Included(&to)).limit(limit);
    if let Some((due_at_ms, id)) = cursor {
        scan = scan.after(&(organization, due_at_ms, id));
    }
    reader.scan(&JOBS, scan).await
}

/// Takes a claimed job from whoever has it, to run again at `due_at` or when its lease ends, whichever comes first.
pub(super) fn take_over(tx: &mut Tx, key: JobKey, mut row: JobRow, due_at: Timestamp) {
    let (organization, lease_ends_at_ms, id) = key;
    row.token += 1;
    row.claimed = false;
    tx.delete(&JOBS, &key);
    tx.put(&JOBS, &(organization, millis(due_at).min(lease_ends_at_ms), id), &row);
}

pub(super) async fn finish_until(tx: &mut Tx, claimed: &Claimed, due_at: Timestamp) -> Result<Waiting, JobError> {
    let row = JobRow {
        attempts: 0,
        failures: 0,
        ..release(tx, claimed).await?
    };
    let waiting = Waiting {
        due_at_ms: millis(due_at),
        id: claimed.id,
    };
    tx.put(&JOBS, &(claimed.organization, waiting.due_at_ms, waiting.id), &row);
    Ok(waiting)
}

/// Puts a job whose attempt failed back, to be tried again.
pub(super) async fn try_again(tx: &mut Tx, claimed: &Claimed, failure: &Failure<'_>) -> Result<(), JobError> {
    let row = release(tx, claimed).await?;
    put_back(tx, claimed, row, failure);
    Ok(())
}

pub(super) async fn fail_until(tx: &mut Tx, claimed: &Claimed, failure: &Failure<'_>) -> Result<Waiting, JobError> {
    let row = JobRow {
        attempts: 0,
        ..release(tx, claimed).await?
    };
    Ok(put_back(tx, claimed, row, failure))
}

fn put_back(tx: &mut Tx, claimed: &Claimed, mut row: JobRow, failure: &Failure<'_>) -> Waiting {
    row.failures = row.failures.saturating_add(1);
    let waiting = Waiting {
        due_at_ms: millis(failure.next_try_at),
        id: claimed.id,
    };
    let failing = FailingRow {
        kind: row.kind.clone(),
        subjects: row.subjects.clone(),
        failures: row.failures,
        failed_at_ms: millis(failure.at),
        next_try_at_ms: waiting.due_at_ms,
        reason: failure.reason.to_owned(),
    };
    tx.put(&JOBS, &(claimed.organization, waiting.due_at_ms, waiting.id), &row);
    tx.put(&FAILING_JOBS, &(claimed.organization, claimed.id), &failing);
    waiting
}

/// Gives a claimed job up.
pub(super) async fn park(tx: &mut Tx, claimed: &Claimed, now: Timestamp, reason: String) -> Result<(), JobError> {
    let job = release(tx, claimed).await?;
    let row = ParkedRow {
        job,
        parked_at_ms: millis(now),
        reason,
    };
    tx.put(&PARKED_JOBS, &(claimed.organization, claimed.id), &row);
    Ok(())
}

/// Gives a job up that no runner may claim. Answers its kind, or nothing where another runner was faster.
pub(super) async fn park_waiting(
    tx: &mut Tx,
    place: &Place,
    now: Timestamp,
    reason: &'static str,
) -> Result<Option<String>, StoreError> {
    let Some(job) = find_waiting(tx, std::iter::once(place)).await?.pop().flatten() else {
        return Ok(None);
    };
    let at = place.job();
    take_away(tx, place);
    tx.delete(&FAILING_JOBS, &at);
    let kind = job.kind.clone();
    let row = ParkedRow {
        job,
        parked_at_ms: millis(now),
        reason: reason.to_owned(),
    };
    tx.put(&PARKED_JOBS, &at, &row);
    Ok(Some(kind))
}

pub(super) async fn list_parked(
    reader: &mut Reader,
    organization: OrganizationId,
    after: Option<JobId>,
    limit: usize,
) -> Result<Vec<Parked>, StoreError> {
    let mut scan = Scan::prefix(&organization).limit(limit);
    if let Some(after) = after {
        scan = scan.after(&(organization, after));
    }
    let rows = reader.scan(&PARKED_JOBS, scan).await?;
    Ok(rows.into_iter().map(|((_, id), row)| parked(id, row)).collect())
}

fn parked(id: JobId, row: ParkedRow) -> Parked {
    let ParkedRow {
        job,
        parked_at_ms,
        reason,
    } = row;
    Parked {
        id,
        kind: job.kind,
        subjects: job.subjects,
        attempts: job.attempts,
        parked_at: moment(parked_at_ms),
        reason,
    }
}

fn moment(ms: u64) -> Timestamp {
    let moment = i64::try_from(ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) async fn list_failing(
    reader: &mut Reader,
    organization: OrganizationId,
    after: Option<JobId>,
    limit: usize,
) -> Result<Vec<Failing>, StoreError> {
    let mut scan = Scan::prefix(&organization).limit(limit);
    if let Some(after) = after {
        scan = scan.after(&(organization, after));
    }
    let rows = reader.scan(&FAILING_JOBS, scan).await?.into_iter();
    let failing = rows.map(|((_, id), row)| Failing {
        id,
        kind: row.kind,
        subjects: row.subjects,
        failures: row.failures,
        failed_at: moment(row.failed_at_ms),
        next_try_at: moment(row.next_try_at_ms),
        reason: row.reason,
    });
    Ok(failing.collect())
}

pub(super) async fn retry_parked(
    tx: &mut Tx,
    organization: OrganizationId,
    id: JobId,
    due_at: Timestamp,
) -> Result<bool, StoreError> {
    let Some(ParkedRow { mut job, .. }) = tx.get(&PARKED_JOBS, &(organization, id)).await? else {
        return Ok(false);
    };
    job.attempts = 0;
    job.failures = 0;
    job.claimed = false;
    tx.delete(&PARKED_JOBS, &(organization, id));
    tx.put(&JOBS, &(organization, millis(due_at), id), &job);
    Ok(true)
}

/// No lease is longer.
const LEASE_MAX: Duration = Duration::from_secs(60 * 60);

pub(super) async fn outlook(
    reader: &mut Reader,
    organization: OrganizationId,
    now: Timestamp,
) -> Result<Outlook, StoreError> {
    const PAGE: usize = 512;
    let in_lines = Scan::prefix(&organization).limit(1);
    let mut is_busy = !list_due(reader, organization, 0, now, 1).await?.is_empty()
        || !reader.scan(&LINED_UP, in_lines).await?.is_empty();
    let mut cursor = None;
    while !is_busy {
        let page = list_due_within(reader, organization, now, LEASE_MAX, cursor, PAGE).await?;
        is_busy = page.iter().any(|(_, row)| row.claimed);
        match page.last() {
            Some((last, _)) if page.len() == PAGE => cursor = Some((last.1, last.2)),
            _ => break,
        }
    }
    let next_due_at = next_due_ms(reader, organization, now).await?.map(moment);
    Ok(Outlook { is_busy, next_due_at })
}

pub(super) async fn count_due(reader: &mut Reader, clock: &Clock, limit: usize) -> Result<usize, StoreError> {
    let mut count = reader.scan(&LINED_UP, Scan::prefix(&()).limit(limit)).await?.len();
    for organization in organizations(reader).await? {
        if count >= limit {
            break;
        }
        let now = clock.now_for(organization);
        count += list_due(reader, organization, 0, now, limit - count).await?.len();
    }
    Ok(count)
}
