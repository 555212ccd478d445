//! What people had chosen before: the record of consent, and queries that look back.
//!
//! Both are worked out from the rows of history by `timeline/replay.rs`, which says what "as of" and "as known at" mean.

mod histories;
mod replay;
mod retention;
mod wire;

use std::sync::Arc;

use antumbra_store::Reader;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    http::{Known, unknown_partition},
    moment::Moment,
    query::{self, Hit, Query},
    store::{self, NoHistory, Site},
};
use crate::{
    AppState,
    http::{Caller, Json, Path, Problem, scope},
};
pub(crate) use histories::*;
pub(super) use replay::{Line, Person, Place, View, What};
pub use retention::{FOLD_HISTORY, fold_history, keep_history};

/// Most entries that a caller may ask for by number. Without a number it is all of them.
const LIMIT_MAX: i64 = 200;

/// Most bytes of all entries of one answer, before they are written twice. Older entries are left out.
const ENTRIES_BYTES_MAX: usize = 8 << 20;

/// Entries that are made before others get a turn.
const ENTRIES_AT_ONCE: usize = 100;

/// `POST /v1/preferences/{partition}/consent-records`: how one person's choices came about, oldest first.
///
/// There is an entry for each write that changed the person's record, with what they had chosen from then on, in the order in
/// which we learned of it. A write that came late and changed nothing has none: what it says is found by a query with `asOf`.
/// Of a person whose records became one, what happened to each of them is told in one line; an entry shows all of them
/// together. The last entry shows what is stored now; an answer in it that expired since says so by its `expiresAt`.
///
/// With `limit` the newest entries are given, and without it all of them up to 8 MiB; `containsInitialRecord` says whether the
/// first one is among them. Nothing is given for a person who is not known, or whose history was deleted with their key.
///
/// Of a history that is longer than one call reads, 50,000 writes or 64 MiB, the only entry is what is stored now, without what it
/// changed, and `historyTooLong` is true.
#[utoipa::path(
    post,
    path = "/v1/preferences/{partition}/consent-records",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = wire::TimelineQuery,
    responses((status = 200, description = "The record of consent of one person", body = inline(wire::Timeline<'static>)))
)]
pub(crate) async fn consent_records(
    State(app): State<AppState>,
    caller: Caller<scope::ViewManagedConsentDatabaseAdminApi>,
    Path(partition_key): Path<String>,
    Json(asked): Json<wire::TimelineQuery>,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let known = Known::read(&app, &mut reader, caller.organization, app.clock.now()).await?;
    let site = known.site(&app, caller.organization, &keys);
    let partition = known.catalog.partition(&partition_key).ok_or_else(unknown_partition)?;
    let asked = asked.check(&site)?;
    let shown = wire::Shown {
        partition: &partition_key,
        catalog: &known.catalog,
        sight: known.sight(),
        with_raw_request: asked.with_raw_request,
    };
    let Some(held) = query::find_person(&mut reader, &site, partition, &asked.name, &asked.value).await? else {
        return Ok(Json(wire::Timeline::empty()).into_response());
    };
    let person = match store::read_history(&mut reader, &site, partition, &held).await {
        Ok(person) => person,
        Err(NoHistory::Unreadable) => return Ok(Json(wire::Timeline::empty()).into_response()),
        Err(NoHistory::TooLong) => {
            let present: Vec<_> = held
                .record
                .iter()
                .map(|record| shown.present(record, known.now))
                .collect();
            return Ok(Json(wire::Timeline::too_long(&present)).into_response());
        }
        Err(NoHistory::Keyring(error)) => return Err(error.into()),
    };
    let (records, contains_initial_record) = entries(&person, asked.limit, &shown).await;
    Ok(Json(wire::Timeline::new(&records, contains_initial_record)).into_response())
}

/// The newest entries of a timeline, oldest first, and whether its first is among them.
async fn entries(person: &Person, limit: Option<usize>, shown: &wire::Shown<'_>) -> (Vec<wire::Entry>, bool) {
    let steps = person.steps();
    let count = steps.iter().filter(|step| step.is_entry()).count();
    let first = limit.map_or(0, |limit| count.saturating_sub(limit));
    let mut replay = person.replay(None);
    let mut entries = wire::Entries::new(ENTRIES_BYTES_MAX);
    let mut before = None;
    let mut number = 0;
    for step in steps {
        replay.take(step);
        if !step.is_entry() {
            continue;
        }
        number += 1;
        // The one before the first that is shown tells what that one changed.
        if number < first {
            continue;
        }
        let now = replay
            .state()
            .map(|state| shown.purposes(&state.record, step.counts_from()))
            .unwrap_or_default();
        if number > first {
            entries.push(shown.entry(&now, before.as_deref(), step));
        }
        before = Some(now);
        if number % ENTRIES_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    let contains_initial_record = entries.len() == count && person.horizon().is_none();
    (entries.into_vec(), contains_initial_record)
}

/// Shows hits as the query's view has them, and leaves out whom it has nothing of. A hit whose history can't be decrypted, or is
/// too long, stays where it is without its contents.
pub(super) async fn look_back(
    reader: &mut Reader,
    site: &Site<'_>,
    query: &Query,
    hits: Vec<Hit>,
) -> Result<Vec<Hit>, Problem> {
    if query.view == View::default() {
        return Ok(hits);
    }
    let mut seen = Vec::with_capacity(hits.len());
    for mut hit in hits {
        match store::read_history(reader, site, query.partition, &hit.held).await {
            Ok(person) => {
                refuse_behind(person.horizon(), query.view)?;
                let Some(state) = person.state(query.view) else {
                    continue;
                };
                hit.held.timestamp = state.record.timestamp;
                hit.held.updated_at = state.updated_at;
                hit.held.record = Some(Arc::new(state.record.into_owned()));
            }
            Err(NoHistory::Keyring(error)) => return Err(error.into()),
            Err(why @ (NoHistory::TooLong | NoHistory::Unreadable)) => {
                hit.held.record = None;
                hit.is_too_long = matches!(why, NoHistory::TooLong);
            }
        }
        seen.push(hit);
        tokio::task::yield_now().await;
    }
    Ok(seen)
}

/// History from before the horizon is not kept whole: nothing is told of it, rather than something wrong.
fn refuse_behind(horizon: Option<Moment>, view: View) -> Result<(), Problem> {
    let behind = |at: Option<Moment>| at.is_some_and(|at| horizon.is_some_and(|horizon| at < horizon));
    let broken = [("asOf", view.as_of), ("knownAt", view.known_at)]
        .into_iter()
        .filter(|(_, at)| behind(*at));
    let broken: Vec<_> = broken
        .map(|(place, _)| (place, "is before what is kept of the history of a record"))
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Problem::validation(broken))
    }
}
