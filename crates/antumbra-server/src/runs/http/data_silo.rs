//! `/v1/data-silo`: a silo hands over data, or reports that it is done.

use std::collections::BTreeMap;

use axum::{extract::State, http::HeaderMap};
use serde_json::value::RawValue;

use super::{JSON, clear_slot, describe, receive_json, record, slot};
use crate::{
    AppState,
    files::{Naming, Received},
    http::{Caller, Json, LongJson, Problem, scope},
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
/// Several calls add up; a data point handed over again is replaced. A name that is no data point of the integration
/// refuses the whole call.
#[utoipa::path(
    post, path = "/v1/data-silo", tag = "Fulfilment", request_body = wire::HandOver,
    params(("x-transcend-nonce" = String, Header, description = "The nonce that came with the notice")),
    responses((status = 200, body = wire::Success))
)]
pub(crate) async fn hand_over(
    State(app): State<AppState>,
    caller: Caller<scope::Attached>,
    headers: HeaderMap,
    LongJson(body): LongJson<wire::HandOver>,
) -> Result<Json<Success>, Problem> {
    let admitted = Admitted::new(&app, &caller, &headers).await?;
    let found = find_points(&app, &admitted, &body).await?;
    let mut answers = Vec::with_capacity(found.len());
    for (point, data) in found {
        let received = match is_nothing(data) {
            true => None,
            false => Some(receive_json(&app, &admitted, data.get().as_bytes().to_vec()).await?),
        };
        answers.push((point, received));
    }
    let mut tx = app.store.begin_write().await?;
    let mut open = admitted.open(&mut tx).await?;
    let mut given = Vec::with_capacity(answers.len());
    for (point, received) in &answers {
        keep_json(&app, &mut tx, &admitted, point, received.as_ref()).await?;
        given.push((
            point.id,
            if received.is_some() {
                Given::Data
            } else {
                Given::Nothing
            },
        ));
    }
    open.profile()
        .hand_over(&given, body.status.map(Into::into), body.profile_status.map(Into::into));
    open.keep(&app, &mut tx, "silo_run.handed_over").await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(Json(Success::YES))
}

/// Unknown names that are worth listing.
const UNKNOWN_MAX: usize = 100;

/// What the call names, each data point once: of two values for one, the later counts. Refuses before anything is kept.
async fn find_points<'a>(
    app: &AppState,
    admitted: &Admitted,
    body: &'a wire::HandOver,
) -> Result<Vec<(DataPoint, &'a RawValue)>, Problem> {
    let named: BTreeMap<&str, (usize, &RawValue)> = body
        .profiles
        .iter()
        .enumerate()
        .flat_map(|(place, profile)| {
            profile
                .profile_data
                .iter()
                .map(move |(name, data)| (name.as_str(), (place, data.as_ref())))
        })
        .collect();
    if named.len() > NAMES_MAX {
        let rule = format!("must name at most {NAMES_MAX} data points");
        return Err(Problem::validation([("profiles", rule)]));
    }
    let mut reader = app.store.begin_read().await?;
    let (mut found, mut unknown) = (Vec::with_capacity(named.len()), Vec::new());
    for (name, (place, data)) in named {
        let path = path_of(place, name);
        match admitted.data_point(&mut reader, name, &path).await {
            Ok(point) => found.push((point, data)),
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

/// Puts the JSON of a data point in the place of what was there before.
async fn keep_json(
    app: &AppState,
    tx: &mut antumbra_store::Tx,
    admitted: &Admitted,
    point: &DataPoint,
    received: Option<&Received>,
) -> Result<(), RunError> {
    let slot = slot(admitted, point, "json", "");
    clear_slot(app, tx, admitted, &slot).await?;
    if let Some(received) = received {
        let name = format!("{}.json", point.name);
        let described = describe(app, point, Naming::Given(&name), Some(JSON));
        let file = record(app, tx, admitted, received, described).await?;
        store::put_handed_over(tx, &slot, Some(file.0));
    }
    Ok(())
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
    Json(body): Json<wire::Report>,
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
    open.keep(&app, &mut tx, "silo_run.reported").await?;
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
