//! Runs of records from deletion platforms: made, filled and closed by whoever fetches the records.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::{
    dsr::{
        DropList, DropRecordId, DropRun, DropRunId, DsrId, DsrStatus, FORGET_DROP_RECORDS, drop_runs, find_heads, open,
    },
    graphql::{Date, Refusal, Session, bound, parse_id},
    jobs::{self, Job},
};

use super::refusal;

/// Records that are added at once.
const ADDED_MAX: usize = 10_000;
/// Entries of a page.
const PAGE_MAX: i32 = 1_000;
/// Bytes of a title.
const TITLE_MAX: usize = 256;

/// Queries about runs of records from deletion platforms.
#[derive(Default)]
pub(crate) struct DropQueries;

#[Object]
impl DropQueries {
    /// The runs, the newest first.
    async fn drop_runs(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        offset: Option<i32>,
    ) -> Result<DropRunsPayload, Refusal> {
        let session = Session::of(context);
        let first = bound("first", first, PAGE_MAX)?.unwrap_or(50);
        let offset = bound("offset", offset, i32::MAX)?.unwrap_or(0);
        let all = drop_runs::list(&mut *session.read().await, session.organization()).await?;
        Ok(DropRunsPayload {
            total_count: i32::try_from(all.len()).unwrap_or(i32::MAX),
            nodes: all.iter().skip(offset).take(first).map(DropRunNode::new).collect(),
        })
    }

    /// The requests that answer the records of a run, record by record.
    async fn drop_run_links(
        &self,
        context: &Context<'_>,
        id: ID,
        first: Option<i32>,
        offset: Option<i32>,
    ) -> Result<DropRunLinksPayload, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let first = bound("first", first, PAGE_MAX)?.unwrap_or(50);
        let offset = bound("offset", offset, i32::MAX)?.unwrap_or(0);
        let run = run_of(session, &id).await?;
        let mut reader = session.read().await;
        let links = drop_runs::list_links(&mut reader, session.organization(), run.id, offset, first).await?;
        let ids: Vec<_> = links.iter().map(|(_, request)| *request).collect();
        let heads = find_heads(&mut reader, session.organization(), &ids).await?;
        let requests = open(&mut reader, &keys, heads).await.map_err(refusal)?;
        let node = |(record, request): ([u8; 16], DsrId)| {
            let dsr = requests.iter().find(|dsr| dsr.head.id == request)?;
            let record = drop_runs::of_blind(&keys, &dsr.subject.drop, run.id, record)?;
            Some(DropLinkNode {
                drop_record_id: record.id.clone(),
                drop_list_type: record.list,
                request_id: request.0.into(),
                status: dsr.head.state.status(),
            })
        };
        Ok(DropRunLinksPayload {
            nodes: links.into_iter().filter_map(node).collect(),
        })
    }
}

/// Changes of runs of records from deletion platforms.
#[derive(Default)]
pub(crate) struct DropMutations;

#[Object]
impl DropMutations {
    /// Makes a run, which takes requests until it is closed.
    async fn create_drop_run(
        &self,
        context: &Context<'_>,
        input: CreateDropRunInput,
    ) -> Result<DropRunPayload, Refusal> {
        let session = Session::of(context);
        let title = input.title.trim();
        if title.is_empty() || title.len() > TITLE_MAX || title.chars().any(char::is_control) {
            return Err(Refusal::client(
                "title must have 1 to 256 bytes, and no control characters",
            ));
        }
        let deed = session.deed();
        let id = DropRunId(deed.ids.uuid());
        let mut tx = session.write().await;
        let run = drop_runs::create(&mut tx, session.organization(), id, title.to_owned(), deed.now).await?;
        let run = run.ok_or_else(|| Refusal::client("there are too many runs"))?;
        session.record(&mut tx, "drop_run.created", ("drop_run", id.0));
        Ok(DropRunPayload::new(&run))
    }

    /// Adds records to a run that is not closed; those that it has stay.
    async fn add_drop_records(
        &self,
        context: &Context<'_>,
        input: AddDropRecordsInput,
    ) -> Result<DropRunPayload, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        if input.records.len() > ADDED_MAX {
            return Err(Refusal::client("records must be at most 10000 in one call"));
        }
        let fits = |id: &str| (1..=drop_runs::RECORD_ID_MAX).contains(&id.len()) && !id.chars().any(char::is_control);
        if !input.records.iter().all(|record| fits(&record.drop_record_id)) {
            return Err(Refusal::client(
                "dropRecordId must have 1 to 64 bytes, and no control characters",
            ));
        }
        let mut run = run_of(session, &input.drop_run_id).await?;
        if run.closed_at.is_some() {
            return Err(Refusal::client("the run is closed"));
        }
        let records: Vec<DropRecordId> = input.records.into_iter().map(Into::into).collect();
        let mut tx = session.write().await;
        drop_runs::add(&mut tx, &keys, &mut run, &records).await?;
        session.record(&mut tx, "drop_run.records_added", ("drop_run", run.id.0));
        Ok(DropRunPayload::new(&run))
    }

    /// Closes a run: no request can be submitted for its records any more, and those are forgotten.
    async fn close_drop_run(&self, context: &Context<'_>, input: CloseDropRunInput) -> Result<DropRunPayload, Refusal> {
        let session = Session::of(context);
        let mut run = run_of(session, &input.id).await?;
        if run.closed_at.is_none() {
            run.closed_at = Some(session.deed().now);
            let mut tx = session.write().await;
            drop_runs::save(&mut tx, session.organization(), &run);
            let job = Job::new(session.app.ids.uuid(), &FORGET_DROP_RECORDS, [run.id.0]);
            jobs::enqueue(&mut tx, session.organization(), job, session.now);
            session.record(&mut tx, "drop_run.closed", ("drop_run", run.id.0));
        }
        Ok(DropRunPayload::new(&run))
    }
}

async fn run_of(session: &Session, id: &ID) -> Result<DropRun, Refusal> {
    let id = DropRunId(parse_id(id, "run")?);
    let found = drop_runs::find(&mut *session.read().await, session.organization(), id).await?;
    found.ok_or_else(|| Refusal::not_found("run"))
}

/// A run to be made.
#[derive(InputObject)]
struct CreateDropRunInput {
    /// What people call it.
    title: String,
}

/// Records to be added to a run.
#[derive(InputObject)]
struct AddDropRecordsInput {
    /// The run.
    drop_run_id: ID,
    /// The records, at most 10,000.
    records: Vec<DropRecordInput>,
}

/// A record of a deletion platform.
#[derive(InputObject)]
struct DropRecordInput {
    /// What the platform calls it.
    drop_record_id: String,
    /// The list it stands on.
    drop_list_type: DropList,
}

impl From<DropRecordInput> for DropRecordId {
    fn from(input: DropRecordInput) -> DropRecordId {
        DropRecordId {
            id: input.drop_record_id,
            list: input.drop_list_type,
        }
    }
}

/// A run to be closed.
#[derive(InputObject)]
struct CloseDropRunInput {
    /// Which one.
    id: ID,
}

/// One collection of records from a deletion platform.
#[derive(SimpleObject)]
#[graphql(name = "DropRun")]
struct DropRunNode {
    /// Its id.
    id: ID,
    /// What people call it.
    title: String,
    /// When it was made.
    created_at: Date,
    /// Since when it takes no more requests.
    closed_at: Option<Date>,
    /// How many records it has.
    record_count: i32,
}

impl DropRunNode {
    fn new(run: &DropRun) -> DropRunNode {
        DropRunNode {
            id: run.id.0.into(),
            title: run.title.clone(),
            created_at: Date(run.created_at),
            closed_at: run.closed_at.map(Date),
            record_count: i32::try_from(run.records).unwrap_or(i32::MAX),
        }
    }
}

/// A run, after a change.
#[derive(SimpleObject)]
struct DropRunPayload {
    /// The run.
    drop_run: DropRunNode,
    /// Always null: this server keeps no ids of mutations.
    client_mutation_id: Option<String>,
}

impl DropRunPayload {
    fn new(run: &DropRun) -> DropRunPayload {
        DropRunPayload {
            drop_run: DropRunNode::new(run),
            client_mutation_id: None,
        }
    }
}

/// A page of runs.
#[derive(SimpleObject)]
struct DropRunsPayload {
    /// The runs.
    nodes: Vec<DropRunNode>,
    /// How many there are.
    total_count: i32,
}

/// A record and a request that answers it.
#[derive(SimpleObject)]
#[graphql(name = "DropLink")]
struct DropLinkNode {
    /// What the platform calls the record.
    drop_record_id: String,
    /// The list it stands on.
    drop_list_type: DropList,
    /// The request.
    request_id: ID,
    /// How the request stands.
    status: DsrStatus,
}

/// Records of a run that are answered.
#[derive(SimpleObject)]
struct DropRunLinksPayload {
    /// The records, each with a request that answers it.
    nodes: Vec<DropLinkNode>,
}
