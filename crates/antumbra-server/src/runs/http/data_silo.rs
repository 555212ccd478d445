//! `/v1/data-silo`: a silo hands over data, or reports that it is done.

use std::collections::{BTreeMap, BTreeSet};

use antumbra_store::Tx;
use axum::{extract::State, http::HeaderMap};
use serde_json::value::RawValue;

use super::{JSON, clear_slot, describe, receive_json, record, slot};
use crate::{
    AppState,
    files::{Naming, Received},
    http::{Caller, Digested, Json, LongJson, Problem, scope},
    runs::{
        RunError,
        model::Given,
        report::Admitted,
        store,
        wire::{self, NAMES_MAX, Success, is_nothing},
    },
    silos::{self, DataPoint},
};

/// `POST /v1/data-silo`: hands over JSON for data points, and says how far the work is.
///
/// Several calls add up, and so do several entries of `profiles`, of one data point too: each value becomes a file. What is
/// handed over again for the same data point and `profileId` takes the place of what was there. A name that is no data
/// point of the integration refuses the whole call.
#[utoipa::path(
    post, path = "/v1/data-silo", tag = "Fulfilment", request_body = wire::HandOver,
    params(("x-transcend-nonce" = String, Header, description = "The nonce that came with the notice")),
    responses((status = 200, body = wire::Success))
)]
pub(crate) async fn hand_over(
    State(app): State<AppState>,
    caller: Caller<scope::Attached>,
    headers: HeaderMap,
    Digested(LongJson(body), sent): Digested<LongJson<wire::HandOver>>,
) -> Result<Json<Success>, Problem> {
    let admitted = Admitted::new(&app, &caller, &headers).await?;
    let found = find_points(&app, &admitted, &body).await?;
    let mut answers = Vec::with_capacity(found.len());
    for (point, values) in found {
        let mut received = Vec::with_capacity(values.len());
        for Value { account, data, .. } in values {
            let data = match is_nothing(data) {
                true => None,
                false => Some(receive_json(&app, &admitted, data.get().as_bytes().to_vec()).await?),
            };
            received.push((account, data));
        }
        answers.push((point, received));
    }
    let mut tx = app.store.begin_write().await?;
    let mut open = admitted.open(&mut tx).await?;
    let mut given = Vec::with_capacity(answers.len());
    for (point, received) in &answers {
        let what = match open.keeps_data() {
            true => keep_json(&app, &mut tx, &admitted, point, received).await?,
            false if received.iter().any(|(_, data)| data.is_some()) => Given::Data,
            false => Given::Nothing,
        };
        given.push((point.id, what));
    }
    let (whole, each) = (body.status.map(Into::into), body.profile_status.map(Into::into));
    let profile = open.profile();
    profile.hand_over(&given, whole, each);
    if whole.or(each).is_some() {
        profile.put_off(app.now(admitted.organization));
    }
    open.keep(&app, &mut tx, "silo_run.handed_over", sent).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(Json(Success::YES))
}

/// Unknown names that are worth listing.
const UNKNOWN_MAX: usize = 100;

/// What one entry of `profiles` holds for a data point.
struct Value<'a> {
    /// The place of the entry.
    place: usize,
    /// Its `profileId` as it was written; empty if it has none.
    account: &'a str,
    data: &'a RawValue,
}

/// What the call names: each data point once, with its values in the order of the body. Refuses before anything is kept.
async fn find_points<'a>(
    app: &AppState,
    admitted: &Admitted,
    body: &'a wire::HandOver,
) -> Result<Vec<(DataPoint, Vec<Value<'a>>)>, Problem> {
    let mut named: BTreeMap<&str, Vec<Value<'_>>> = BTreeMap::new();
    for (place, profile) in body.profiles.iter().enumerate() {
        let account = profile.profile_id.as_deref().map_or("", RawValue::get);
        for (name, data) in &profile.profile_data {
            named.entry(name).or_default().push(Value { place, account, data });
        }
    }
    let files = named.values().flatten().filter(|value| !is_nothing(value.data)).count();
    if named.len() > NAMES_MAX || files > NAMES_MAX {
        let rule = format!("must name at most {NAMES_MAX} data points, and hold data at most {NAMES_MAX} times");
        return Err(Problem::validation([("profiles", rule)]));
    }
    let mut reader = app.store.begin_read().await?;
    let (mut found, mut unknown) = (Vec::with_capacity(named.len()), Vec::new());
    for (name, values) in named {
        let path = path_of(values[0].place, name);
        match admitted.data_point(&mut reader, name, &path).await {
            Ok(point) => found.push((point, values)),
            Err(problem) if problem.code() == crate::http::Code::ValidationFailed => {
                unknown.push((path, "is not a data point of this integration"));
                if unknown.len() == UNKNOWN_MAX {
                    break;
                }
            }
            Err(problem) => return Err(problem),
        }
    }
    if !unknown.is_empty() {
        return Err(Problem::validation(unknown));
    }
    admitted.open(&mut reader).await?;
    Ok(found)
}

/// Where a name stands in the body. One that is longer than a data point's can be is not repeated.
fn path_of(place: usize, name: &str) -> String {
    let path = format!("profiles[{place}].profileData");
    match silos::may_name_data_point(name) {
        true => format!("{path}.{name}"),
        false => path,
    }
}

/// Puts the JSON of a data point in the place of what was there before from the same accounts, and says what is there now.
///
/// The values of one account are numbered without gaps, so a body sent again finds every file that it made, and takes away
/// those that it brings no more.
async fn keep_json(
    app: &AppState,
    tx: &mut Tx,
    admitted: &Admitted,
    point: &DataPoint,
    received: &[(&str, Option<Received>)],
) -> Result<Given, RunError> {
    let slot_of = |account: &str, number: usize| slot(admitted, point, "json", &format!("{number} {account}"));
    let accounts: BTreeSet<&str> = received.iter().map(|(account, _)| *account).collect();
    for account in accounts {
        let mut number = 0;
        while clear_slot(tx, admitted, &slot_of(account, number)).await? {
            number += 1;
        }
    }
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let files = received
        .iter()
        .filter_map(|(account, data)| Some((account, data.as_ref()?)));
    for (before, (account, data)) in files.enumerate() {
        let name = match before {
            0 => format!("{}.json", point.name),
            _ => format!("{} ({}).json", point.name, before + 1),
        };
        let described = describe(app, admitted, point, Naming::Given(&name), Some(JSON));
        let file = record(app, tx, admitted, data, described).await?;
        let number = numbers.entry(account).or_default();
        store::put_handed_over(tx, &slot_of(account, *number), Some(file.0));
        *number += 1;
    }
    // Nothing from this account is no word about what came from another.
    let nothing = numbers.is_empty() && !store::any_handed_over(tx, &slot_of("", 0)).await?;
    Ok(if nothing { Given::Nothing } else { Given::Data })
}

/// `PUT /v1/data-silo`: reports on work that brings no data. An empty object says that it is done.
#[utoipa::path(
    put, path = "/v1/data-silo", tag = "Fulfilment", request_body = wire::Report,
    params(("x-transcend-nonce" = String, Header, description = "The nonce that came with the notice")),
    responses((status = 200, body = wire::Success))
)]
pub(crate) async fn report(
    State(app): State<AppState>,
    caller: Caller<scope::Attached>,
    headers: HeaderMap,
    Digested(Json(body), sent): Digested<Json<wire::Report>>,
) -> Result<Json<Success>, Problem> {
    check_texts(&body)?;
    let admitted = Admitted::new(&app, &caller, &headers).await?;
    let mut tx = app.store.begin_write().await?;
    let mut open = admitted.open(&mut tx).await?;
    let poll_id = match &body.poll_id {
        Some(text) => Some(open.seal(&mut tx, text).await?),
        None => None,
    };
    let message = match &body.message {
        Some(text) => Some(open.seal(&mut tx, text).await?),
        None => None,
    };
    let profile = open.profile();
    profile.report(body.status.map(Into::into), body.profile_status.map(Into::into));
    profile.retry_after = body.retry_after_date;
    profile.poll_id = poll_id.or(profile.poll_id.take());
    profile.message = message.or(profile.message.take());
    profile.put_off(app.now(admitted.organization));
    open.keep(&app, &mut tx, "silo_run.reported", sent).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(Json(Success::YES))
}

/// Characters of a note to people at most.
const MESSAGE_MAX: usize = 10_000;
/// Characters of what a silo wants to be reminded of at most.
const POLL_ID_MAX: usize = 2_000;

fn check_texts(body: &wire::Report) -> Result<(), Problem> {
    let too_long = |text: &Option<String>, max: usize| text.as_ref().is_some_and(|text| text.chars().count() > max);
    let mut broken = Vec::new();
    if too_long(&body.message, MESSAGE_MAX) {
        broken.push(("message", format!("must have at most {MESSAGE_MAX} characters")));
    }
    if too_long(&body.poll_id, POLL_ID_MAX) {
        broken.push(("pollId", format!("must have at most {POLL_ID_MAX} characters")));
    }
    if broken.is_empty() {
        Ok(())
    } else {
        Err(Problem::validation(broken))
    }
}
