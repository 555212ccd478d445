//! What is kept of silo runs.
//!
//! A run is one row with its profiles and data points in it: whatever happens to it is read and written whole, and what
//! happens to two silos of one request meets nowhere but in the index of open runs.

use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{ProfileId, RunId, SiloRun};
use crate::{
    dsr::DsrId,
    organization::{Action, OrganizationId},
    silos::{DataPointId, DataSiloId},
};

/// What each silo was asked about a request, and what it answered: (organization, request, run).
const RUNS: Table<(OrganizationId, Uuid, RunId), SiloRun> = Table::new("silo_runs");
/// Answers: what is a request still waiting for: (organization, request, run).
const OPEN_RUNS: Table<(OrganizationId, Uuid, RunId), ()> = Table::new("open_silo_runs");
/// Answers: what has a silo still to do, oldest request first: (organization, silo, action, milliseconds, request, run).
const WORK: Table<WorkKey, ()> = Table::new("silo_work");
/// Answers: which request a run belongs to, for callers that know the run alone: (organization, run).
const RUN_REQUESTS: Table<(OrganizationId, RunId), BelongsTo> = Table::new("silo_run_requests");
/// Answers: which file holds what was handed over under a name, so that a repeat replaces it:
/// (organization, request, profile, data point, blind name).
const HANDED_OVER: Table<(OrganizationId, Uuid, ProfileId, DataPointId, [u8; 16]), HandedOver> =
    Table::new("handed_over_files");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[
    RUNS.name(),
    OPEN_RUNS.name(),
    WORK.name(),
    RUN_REQUESTS.name(),
    HANDED_OVER.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<SiloRun>,
    crate::fuzz::same_when_written_again::<BelongsTo>,
    crate::fuzz::same_when_written_again::<HandedOver>,
];

pub(super) type WorkKey = (OrganizationId, DataSiloId, String, u64, Uuid, RunId);

impl Record for SiloRun {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct BelongsTo {
    request: DsrId,
}

impl Record for BelongsTo {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct HandedOver {
    file: Uuid,
}

impl Record for HandedOver {
    const VERSION: u8 = 1;
}

/// Keeps a run and every index row that follows from it.
pub(super) fn save(tx: &mut Tx, organization: OrganizationId, run: &SiloRun) {
    let key = (organization, run.request.0, run.id);
    tx.put(&RUNS, &key, run);
    tx.put(
        &RUN_REQUESTS,
        &(organization, run.id),
        &BelongsTo { request: run.request },
    );
    if run.is_open() {
        tx.put(&OPEN_RUNS, &key, &());
    } else {
        tx.delete(&OPEN_RUNS, &key);
    }
    if run.is_work() {
        tx.put(&WORK, &work_key(organization, run), &());
    } else {
        tx.delete(&WORK, &work_key(organization, run));
    }
}

/// Keeps `run` in the place of `before`, as it was read in this transaction. Writes what differs only.
pub(super) fn replace(tx: &mut Tx, organization: OrganizationId, before: &SiloRun, run: &SiloRun) {
    if run == before {
        return;
    }
    let key = (organization, run.request.0, run.id);
    tx.put(&RUNS, &key, run);
    match (before.is_open(), run.is_open()) {
        (false, true) => tx.put(&OPEN_RUNS, &key, &()),
        (true, false) => tx.delete(&OPEN_RUNS, &key),
        (true, true) | (false, false) => {}
    }
    match (before.is_work(), run.is_work()) {
        (false, true) => tx.put(&WORK, &work_key(organization, run), &()),
        (true, false) => tx.delete(&WORK, &work_key(organization, run)),
        (true, true) | (false, false) => {}
    }
}

fn work_key(organization: OrganizationId, run: &SiloRun) -> WorkKey {
    let made = u64::try_from(run.request_created_at.as_millisecond()).unwrap_or(0);
    (
        organization,
        run.silo,
        run.action.as_str().to_owned(),
        made,
        run.request.0,
        run.id,
    )
}

pub(super) async fn find(
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
    run: RunId,
) -> Result<Option<SiloRun>, StoreError> {
    reader.get(&RUNS, &(organization, request.0, run)).await
}

/// The run of that id, whichever request it belongs to.
pub(super) async fn find_by_id(
    reader: &mut Reader,
    organization: OrganizationId,
    run: RunId,
) -> Result<Option<SiloRun>, StoreError> {
    match reader.get(&RUN_REQUESTS, &(organization, run)).await? {
        Some(BelongsTo { request }) => find(reader, organization, request, run).await,
        None => Ok(None),
    }
}

/// Every run of a request, in the order in which they were made: one for each silo and phase.
pub(super) async fn list(
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
) -> Result<Vec<SiloRun>, StoreError> {
    let rows = reader.scan(&RUNS, Scan::prefix(&(organization, request.0))).await?;
    Ok(rows.into_iter().map(|(_, run)| run).collect())
}

/// Whether the request of a run that was closed waits for any other.
///
/// Looks for the next in the order of ids before the first: runs that close at once each see another one open, and none
/// of them stands in the way of all.
pub(super) async fn any_other_open(
    reader: &mut Reader,
    organization: OrganizationId,
    run: &SiloRun,
) -> Result<bool, StoreError> {
    let request = (organization, run.request.0);
    let next = Scan::prefix(&request)
        .after(&(organization, run.request.0, run.id))
        .limit(1);
    if !reader.scan(&OPEN_RUNS, next).await?.is_empty() {
        return Ok(true);
    }
    let first = reader.scan(&OPEN_RUNS, Scan::prefix(&request).limit(1)).await?;
    Ok(!first.is_empty())
}

/// Where a work list goes on.
pub(super) type Place = (u64, Uuid, RunId);

/// What a silo has still to do for `action`, oldest request first, after `after`.
pub(super) async fn list_work(
    reader: &mut Reader,
    organization: OrganizationId,
    silo: DataSiloId,
    action: Action,
    after: Option<Place>,
    limit: usize,
) -> Result<Vec<(Place, SiloRun)>, StoreError> {
    let action = action.as_str().to_owned();
    let mut scan = Scan::prefix(&(organization, silo, action.clone())).limit(limit);
    if let Some((made, request, run)) = after {
        scan = scan.after(&(organization, silo, action, made, request, run));
    }
    let places: Vec<Place> = reader
        .scan(&WORK, scan)
        .await?
        .into_iter()
        .map(|((_, _, _, made, request, run), ())| (made, request, run))
        .collect();
    let keys: Vec<_> = places
        .iter()
        .map(|(_, request, run)| (organization, *request, *run))
        .collect();
    let runs = reader.get_many(&RUNS, &keys).await?;
    Ok(places
        .into_iter()
        .zip(runs)
        .filter_map(|(place, run)| Some((place, run?)))
        .collect())
}

/// What a silo has still to do for any action, after the last of the page before.
pub(super) async fn list_all_work(
    reader: &mut Reader,
    organization: OrganizationId,
    silo: DataSiloId,
    after: Option<&WorkKey>,
    limit: usize,
) -> Result<Vec<WorkKey>, StoreError> {
    let mut scan = Scan::prefix(&(organization, silo)).limit(limit);
    if let Some(after) = after {
        scan = scan.after(after);
    }
    let rows = reader.scan(&WORK, scan).await?;
    Ok(rows.into_iter().map(|(key, ())| key).collect())
}

/// The runs that rows of a work list speak of.
pub(super) async fn find_work(reader: &mut Reader, work: &[WorkKey]) -> Result<Vec<SiloRun>, StoreError> {
    let keys: Vec<_> = work
        .iter()
        .map(|(organization, _, _, _, request, run)| (*organization, *request, *run))
        .collect();
    Ok(reader.get_many(&RUNS, &keys).await?.into_iter().flatten().collect())
}

/// How many runs a silo has still to do, of one action or of all, at most `limit`.
pub(super) async fn count_work(
    reader: &mut Reader,
    organization: OrganizationId,
    silo: DataSiloId,
    action: Option<Action>,
    limit: usize,
) -> Result<usize, StoreError> {
    let scan = match action {
        Some(action) => Scan::prefix(&(organization, silo, action.as_str().to_owned())),
        None => Scan::prefix(&(organization, silo)),
    };
    Ok(reader.scan(&WORK, scan.limit(limit)).await?.len())
}

/// Runs of the organization in the order of their requests' ids, after `after`.
pub(super) async fn list_all(
    reader: &mut Reader,
    organization: OrganizationId,
    after: Option<(DsrId, RunId)>,
    limit: usize,
) -> Result<Vec<SiloRun>, StoreError> {
    let mut scan = Scan::prefix(&organization).limit(limit);
    if let Some((request, run)) = after {
        scan = scan.after(&(organization, request.0, run));
    }
    Ok(reader
        .scan(&RUNS, scan)
        .await?
        .into_iter()
        .map(|(_, run)| run)
        .collect())
}

/// The place of something handed over that a repeat replaces.
pub(super) struct Slot {
    pub(super) organization: OrganizationId,
    pub(super) request: DsrId,
    pub(super) profile: ProfileId,
    pub(super) data_point: DataPointId,
    /// Blind, since names of pages come from outside.
    pub(super) name: [u8; 16],
}

impl Slot {
    fn key(&self) -> (OrganizationId, Uuid, ProfileId, DataPointId, [u8; 16]) {
        (
            self.organization,
            self.request.0,
            self.profile,
            self.data_point,
            self.name,
        )
    }
}

/// The file that holds what was last handed over there.
pub(super) async fn find_handed_over(reader: &mut Reader, slot: &Slot) -> Result<Option<Uuid>, StoreError> {
    Ok(reader
        .get(&HANDED_OVER, &slot.key())
        .await?
        .map(|HandedOver { file }| file))
}

/// Whether anything that was handed over about the slot's data point still stands.
pub(super) async fn any_handed_over(reader: &mut Reader, slot: &Slot) -> Result<bool, StoreError> {
    let point = (slot.organization, slot.request.0, slot.profile, slot.data_point);
    let rows = reader.scan(&HANDED_OVER, Scan::prefix(&point).limit(1)).await?;
    Ok(!rows.is_empty())
}

/// From now on `file` holds what is there; nothing does after `None`.
pub(super) fn put_handed_over(tx: &mut Tx, slot: &Slot, file: Option<Uuid>) {
    match file {
        Some(file) => tx.put(&HANDED_OVER, &slot.key(), &HandedOver { file }),
        None => tx.delete(&HANDED_OVER, &slot.key()),
    }
}

/// What is removed of the runs of a request whose key is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgetting {
    /// What silos had to say, and which files were handed over under which name. That they were asked and how that ended stays.
    Texts,
    /// Everything.
    All,
}

/// Removes what is kept of the runs of a request, of each sort up to `limit` rows. Says whether more may be left.
pub async fn forget(
    tx: &mut Tx,
    organization: OrganizationId,
    request: DsrId,
    what: Forgetting,
    limit: usize,
) -> Result<bool, StoreError> {
    let of_request = || Scan::prefix(&(organization, request.0));
    let handed_over = tx.scan(&HANDED_OVER, of_request().limit(limit)).await?;
    handed_over.iter().for_each(|(slot, _)| tx.delete(&HANDED_OVER, slot));
    let mut runs = list(tx, organization, request).await?;
    let has_texts = |run: &SiloRun| {
        let mut profiles = run.profiles.iter();
        profiles.any(|profile| profile.poll_id.is_some() || profile.message.is_some())
    };
    runs.retain(|run| what == Forgetting::All || has_texts(run));
    runs.truncate(limit);
    for run in &mut runs {
        match what {
            Forgetting::All => {
                let key = (organization, request.0, run.id);
                tx.delete(&RUNS, &key);
                tx.delete(&OPEN_RUNS, &key);
                tx.delete(&RUN_REQUESTS, &(organization, run.id));
                tx.delete(&WORK, &work_key(organization, run));
            }
            Forgetting::Texts => {
                for profile in &mut run.profiles {
                    (profile.poll_id, profile.message) = (None, None);
                }
                save(tx, organization, run);
            }
        }
    }
    Ok(!handed_over.is_empty() || !runs.is_empty())
}

#[cfg(test)]
mod tests {
    use antumbra_store::Store;
    use jiff::Timestamp;

    use super::*;
    use crate::{dsr::Phase, runs::RunStatus, testing::Place};

    fn open_run(number: u128) -> SiloRun {
        SiloRun {
            id: RunId(Uuid::from_u128(number)),
            request: DsrId(Uuid::from_u128(1)),
            phase: Phase::Primary,
            round: 0,
            silo: DataSiloId(Uuid::from_u128(number)),
            action: Action::Access,
            created_at: Timestamp::UNIX_EPOCH,
            request_created_at: Timestamp::UNIX_EPOCH,
            profiles: Vec::new(),
            decided: Some(RunStatus::Waiting),
            waits_for: Vec::new(),
            is_awaited: false,
            abandoned: false,
            manual_days: None,
            confirms_absence: false,
            confirmed_by: None,
            confirms: None,
            contradiction: None,
        }
    }

    #[tokio::test]
    async fn runs_of_one_request_that_close_at_once_meet_only_in_their_neighbours() {
        let place = Place::embedded();
        let store = Store::open(place.store(), TABLES).await.unwrap();
        let organization = OrganizationId(Uuid::from_u128(7));
        let mut tx = store.begin_write().await.unwrap();
        for number in 1..=6 {
            save(&mut tx, organization, &open_run(number));
        }
        tx.commit().await.unwrap();
        let close = async |number: u128| {
            let mut tx = store.begin_write().await.unwrap();
            let mut run = open_run(number);
            run.decided = Some(RunStatus::Resolved);
            replace(&mut tx, organization, &open_run(number), &run);
            let any = any_other_open(&mut tx, organization, &run).await.unwrap();
            (tx, any)
        };
        // In the order in which they were made, none has to try again.
        let (one, two, three) = (close(1).await, close(2).await, close(3).await);
        for (tx, any) in [one, two, three] {
            assert!(any);
            tx.commit().await.unwrap();
        }
        // Of the last, each sees another one open, so that somebody sees that there is none.
        let (four, five, six) = (close(4).await, close(5).await, close(6).await);
        let mut tried_again = 0;
        for ((tx, any), number) in [(six, 6), (five, 5), (four, 4)] {
            assert!(any);
            if tx.commit().await.is_err() {
                tried_again += 1;
                let (tx, any) = close(number).await;
                assert_eq!(any, tried_again == 1);
                tx.commit().await.unwrap();
            }
        }
        assert_eq!(tried_again, 2);
        store.close().await;
    }
}
