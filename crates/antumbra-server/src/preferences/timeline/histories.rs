//! How the records of a partition came to be what they are: every state of each of them, page by page, for whoever takes all of
//! it away. The record of consent tells one person's; this tells everybody's, in the words of a query.

use antumbra_crypto::token::Claims;
use antumbra_store::Reader;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;

use super::{ENTRIES_AT_ONCE, ENTRIES_BYTES_MAX, Person};
use crate::{
    AppState,
    http::{Caller, Json, Path, Problem, careful, scope},
    preferences::{
        check::Broken,
        http::{self, unknown_partition},
        model::{Record, RecordId},
        moment::Moment,
        query::{self, After, Query},
        store::{self, Held, NoHistory, Site},
        wire::{QueryFilter, QueryNode, Shown},
    },
    purposes::PartitionId,
};

/// Most states of one page, and how many a page has if the caller does not say.
const LIMIT_MAX: i64 = 1_000;

/// Records that are looked up at once.
const RECORDS_AT_ONCE: usize = 25;

/// `POST /v1/preferences/{partition}/history`: whose history, and where to go on.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct HistoriesQuery {
    /// Which records, by what is stored now, as in a query.
    filter: Option<QueryFilter>,
    /// States of one page, 1 to 1,000; by default 1,000.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
    /// From the answer that held the page before, along with the same filter.
    cursor: Option<String>,
}

/// A page of histories.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoriesAnswer {
    /// Records in the order of a query, each with states of it. The last one may go on on the next page.
    records: Vec<HistoryNode>,
    /// Gives the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// States of one record, oldest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryNode {
    /// The record: its `transcend` identifier.
    #[schema(value_type = String, format = Uuid)]
    id: RecordId,
    /// When the record was last written.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    /// How many states of it stand on the pages before.
    before: usize,
    /// Whether its history is there from the beginning. If not, because it is not kept that long or can't be read, the first
    /// state is what came of all before.
    is_whole: bool,
    /// What the person had chosen from `system.updatedAt` on.
    #[schema(value_type = Vec<QueryNode<'static>>)]
    states: Vec<Box<RawValue>>,
}

/// Where a page begins.
#[derive(Serialize, Deserialize)]
struct Cursor {
    /// The partition.
    p: PartitionId,
    /// The digest of the filter.
    f: String,
    /// The record after which it begins; none for the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    a: Option<After>,
    /// The record that the page before broke off in, and how many of its states that gave.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    r: Option<(RecordId, usize)>,
}

impl Claims for Cursor {
    const KIND: &'static str = "histories";
}

/// `POST /v1/preferences/{partition}/history`: every state of records, one for each write that changed them.
///
/// Who is found, and in which order, is what a query with the same filter says. Each record comes with what it was after each
/// write, oldest first, as a query would have shown it then: `system.updatedAt` is when we learned of the write. A write that came
/// late and changed nothing makes no state. Of records that became one, the states show all of them together. A history that is
/// longer than one call reads is left out but for the present state.
#[utoipa::path(
    post,
    path = "/v1/preferences/{partition}/history",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = HistoriesQuery,
    responses((status = 200, description = "One page of histories", body = inline(HistoriesAnswer)))
)]
pub(crate) async fn list_histories(
    State(app): State<AppState>,
    caller: Caller<scope::ViewManagedConsentDatabaseAdminApi>,
    Path(partition): Path<String>,
    Json(asked): Json<HistoriesQuery>,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let known = http::Known::read(&app, &mut reader, caller.organization, app.clock.now()).await?;
    let site = known.site(&app, caller.organization, &keys);
    let id = known.catalog.partition(&partition).ok_or_else(unknown_partition)?;
    let (query, limit, begun) = asked.check(&site, id)?;
    let page = Page {
        known: &known,
        site: &site,
        partition: &partition,
        left: limit,
        bytes: 0,
        records: Vec::new(),
    };
    Ok(Json(page.fill(&mut reader, query, begun).await?).into_response())
}

type Begun = Option<(RecordId, usize)>;

impl HistoriesQuery {
    fn check(self, site: &Site<'_>, partition: PartitionId) -> Result<(Query, usize, Begun), Problem> {
        let mut broken: Vec<Broken> = Vec::new();
        let limit = self.limit.unwrap_or(LIMIT_MAX);
        if !(1..=LIMIT_MAX).contains(&limit) {
            broken.push(("limit".to_owned(), format!("must be from 1 to {LIMIT_MAX}")));
        }
        let cursor = self.cursor.as_deref().filter(|cursor| !cursor.is_empty()).map(|text| {
            let read = site.keys.tokens.verify::<Cursor>(text).ok();
            read.filter(|cursor| cursor.p == partition)
        });
        if matches!(cursor, Some(None)) {
            let rule = "is not one that this server gave for this partition";
            broken.push(("cursor".to_owned(), rule.to_owned()));
        }
        let query = query::filtered(site, partition, self.filter, RECORDS_AT_ONCE, &mut broken);
        let cursor = cursor.flatten();
        if cursor.as_ref().is_some_and(|cursor| cursor.f != query.digest(site)) {
            let rule = "is not the one that the cursor was given for";
            broken.push(("filter".to_owned(), rule.to_owned()));
        }
        if !broken.is_empty() {
            return Err(Problem::validation(broken));
        }
        let begun = cursor.as_ref().and_then(|cursor| cursor.r);
        let query = query.after(cursor.and_then(|cursor| cursor.a));
        Ok((query, usize::try_from(limit).unwrap_or_default(), begun))
    }
}

/// A page while it is filled.
struct Page<'a> {
    known: &'a http::Known,
    site: &'a Site<'a>,
    partition: &'a str,
    /// States that it still has room for.
    left: usize,
    bytes: usize,
    records: Vec<HistoryNode>,
}

impl Page<'_> {
    /// Fills it with the records that the query means, of which the first may have begun on the page before.
    async fn fill(
        mut self,
        reader: &mut Reader,
        mut query: Query,
        mut begun: Begun,
    ) -> Result<HistoriesAnswer, Problem> {
        loop {
            let (hits, looked_at) = query::hits(reader, self.site, &query).await?;
            for (after, hit) in hits {
                let before = begun
                    .take()
                    .filter(|(id, _)| *id == hit.held.id)
                    .map_or(0, |(_, before)| before);
                if self.is_full() {
                    return Ok(self.broken_off(&query, None));
                }
                if let Some(given) = self.add(reader, &query, &hit.held, before).await? {
                    return Ok(self.broken_off(&query, Some((hit.held.id, given))));
                }
                query = query.after(Some(after));
            }
            match looked_at {
                Some(after) => query = query.after(Some(after)),
                None => return Ok(self.answer(None)),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.left == 0 || self.bytes >= ENTRIES_BYTES_MAX
    }

    /// Adds what there is room for of a record's states. Gives how many it has given of them by now, if there are more.
    async fn add(
        &mut self,
        reader: &mut Reader,
        query: &Query,
        held: &Held,
        before: usize,
    ) -> Result<Option<usize>, Problem> {
        let person = match store::read_history(reader, self.site, query.partition, held).await {
            Ok(person) => Some(person),
            Err(NoHistory::Unreadable | NoHistory::TooLong) => None,
            Err(NoHistory::Keyring(error)) => return Err(error.into()),
        };
        let mut node = HistoryNode {
            id: held.id,
            updated_at: held.updated_at,
            before,
            is_whole: person.as_ref().is_some_and(|person| person.horizon().is_none()),
            states: Vec::new(),
        };
        let more = match person {
            Some(person) => self.add_states(&mut node, held, &person).await,
            None => {
                let present = (held.timestamp, held.updated_at, held.record.as_deref());
                self.push(&mut node, held, present);
                None
            }
        };
        self.records.push(node);
        Ok(more)
    }

    async fn add_states(&mut self, node: &mut HistoryNode, held: &Held, person: &Person) -> Option<usize> {
        let mut replay = person.replay(None);
        let mut number = 0;
        for step in person.steps() {
            replay.take(step);
            if !step.is_change {
                continue;
            }
            let Some(state) = replay.state() else { continue };
            number += 1;
            if number <= node.before {
                continue;
            }
            if self.is_full() {
                return Some(number - 1);
            }
            let then = (state.record.timestamp, step.counts_from(), Some(&*state.record));
            self.push(node, held, then);
            if number % ENTRIES_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        None
    }

    fn push(&mut self, node: &mut HistoryNode, held: &Held, state: (Moment, Moment, Option<&Record>)) {
        let (timestamp, updated_at, record) = state;
        let shown = http::shown(held, self.partition, self.known);
        let shown = Shown {
            timestamp,
            updated_at,
            record,
            sight: shown.sight.at(updated_at),
            ..shown
        };
        let node_then = to_raw_value(&QueryNode::new(shown, &self.known.catalog));
        let node_then = node_then.expect("texts, numbers and lists can be written as JSON");
        self.bytes += node_then.get().len();
        self.left = self.left.saturating_sub(1);
        node.states.push(node_then);
    }

    /// The answer of a page that ends before all was said.
    fn broken_off(self, query: &Query, begun: Begun) -> HistoriesAnswer {
        let cursor = Cursor {
            p: query.partition,
            f: query.digest(self.site),
            a: query.is_after(),
            r: begun,
        };
        let cursor = self.site.keys.tokens.sign(&cursor);
        self.answer(Some(cursor))
    }

    fn answer(self, cursor: Option<String>) -> HistoriesAnswer {
        HistoriesAnswer {
            records: self.records,
            cursor,
        }
    }
}

careful! {
    HistoriesQuery: ["filter", "cursor"];
}
