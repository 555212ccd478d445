//! `/v1/consent-preferences`: how clients asked before there was a query. Plain values or bounds on one of the two times,
//! never both; flat answers; and, in place of a cursor, the last record of a page in so many words.
//!
//! What it finds, and in which order, `query.rs` decides. A page goes on after the record that its key names: at that
//! time, whatever has become of the record since.

use std::{borrow::Cow, collections::BTreeMap};

use antumbra_store::{Reader, StoreError};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    check::Broken,
    http::{self, unknown_partition},
    identifiers,
    model::RecordId,
    moment::Moment,
    query::{self, Hit, IDENTIFIERS_MAX, Plain},
    store::{self, Dimension, Site},
    wire::{DecryptionStatus, PurposeNode, Shown, StringsNode},
};
use crate::{
    AppState,
    http::{Caller, Json, Problem, Query as Parameters, careful, scope},
    purposes::PartitionId,
};

/// `POST /v1/consent-preferences`: which records. The members of the filter may stand here or in `filterBy`.
#[derive(Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct Lookup {
    /// The key of the partition.
    partition: String,
    /// Records that have one of these values as their e-mail address or `userId`, at most 100. Not with bounds on times.
    identifiers: Option<Vec<String>>,
    /// Records whose `timestamp` is not after this: by default now. Not with bounds on `updatedAt`.
    timestamp_before: Option<String>,
    /// Records whose `timestamp` is not before this.
    timestamp_after: Option<String>,
    /// Records whose `updatedAt` is not after this: by default now.
    updated_before: Option<String>,
    /// Records whose `updatedAt` is not before this.
    updated_after: Option<String>,
    /// Another place for the members of the filter. What stands here wins.
    filter_by: Option<LookupFilter>,
    /// The `lastKey` of the page before.
    start_key: Option<StartKey>,
    /// 1 to 100; by default 50.
    #[schema(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

/// Which records.
#[derive(Default, Deserialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase")]
pub(crate) struct LookupFilter {
    /// As beside `filterBy`.
    identifiers: Option<Vec<String>>,
    /// As beside `filterBy`.
    timestamp_before: Option<String>,
    /// As beside `filterBy`.
    timestamp_after: Option<String>,
    /// As beside `filterBy`.
    updated_before: Option<String>,
    /// As beside `filterBy`.
    updated_after: Option<String>,
}

/// The last record of a page, as `lastKey` named it. An empty one means the first page.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartKey {
    /// Its `userId` and its partition, with a space between them.
    user_id: Option<String>,
    /// Its partition.
    partition: Option<String>,
    /// Its `timestamp`, if that is what records are listed by.
    timestamp: Option<String>,
    /// Its `updatedAt`, if that is.
    updated_at: Option<String>,
}

/// Answer to a lookup.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LookupAnswer<'a> {
    /// The records, newest first.
    nodes: Vec<LookupNode<'a>>,
    /// Gives the next page as `startKey`. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_key: Option<LastKey<'a>>,
}

/// A stored record, flat.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LookupNode<'a> {
    #[schema(value_type = String)]
    user_id: Cow<'a, str>,
    partition: &'a str,
    decryption_status: DecryptionStatus,
    purposes: BTreeMap<&'a str, bool>,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Moment,
    #[schema(required)]
    usp: Option<&'a str>,
    #[schema(required)]
    gpp: Option<&'a str>,
    #[schema(required)]
    tcf: Option<&'a str>,
    #[schema(required)]
    airgap_version: Option<&'a str>,
}

/// The last record of a page. It bears the time that records are listed by, and not the other.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LastKey<'a> {
    user_id: String,
    partition: &'a str,
    decryption_status: DecryptionStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    timestamp: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    updated_at: Option<Moment>,
}

/// One person's answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PersonAnswer<'a> {
    #[schema(value_type = String)]
    user_id: Cow<'a, str>,
    partition: &'a str,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Moment,
    confirmed: bool,
    /// As it was asked for.
    identifier: &'a str,
    purposes: Vec<PurposeNode<'a>>,
}

/// `POST /v1/consent-preferences`: finds records by plain values or by one of their times, newest first.
///
/// Deprecated: `POST /v1/preferences/{partition}/query` finds more.
#[utoipa::path(
    post,
    path = "/v1/consent-preferences",
    tag = "preferences",
    request_body = Lookup,
    responses((status = 200, description = "One page of records", body = inline(LookupAnswer<'static>)))
)]
pub(crate) async fn look_up(
    State(app): State<AppState>,
    caller: Caller<scope::ViewManagedConsentDatabaseAdminApi>,
    Json(asked): Json<Lookup>,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let known = http::Known::read(&app, &mut reader, caller.organization, app.clock.now()).await?;
    let site = known.site(&app, caller.organization, &keys);
    let partition = known
        .catalog
        .partition(&asked.partition)
        .ok_or_else(unknown_partition)?;
    let Checked {
        plain,
        dimension,
        limit,
        start,
    } = check(&asked, site.now)?;
    let after = match &start {
        Some(start) => Some((
            start.at,
            find_start(&mut reader, &site, partition, dimension, start).await?,
        )),
        None => None,
    };
    let query = query::plain(&site, partition, plain, limit, after);
    let (hits, more) = query::run(&mut reader, &site, &query).await?;
    let shown = |hit| shown(hit, &asked.partition, &known);
    let nodes = hits.iter().map(|hit| {
        let (shown, strings) = (shown(hit), StringsNode::new(hit.held.record.as_deref()));
        let answers = shown.purposes(&known.catalog).into_iter();
        LookupNode {
            user_id: user_id(shown),
            partition: shown.partition,
            decryption_status: shown.decryption_status(),
            purposes: answers.map(|answer| (answer.purpose, answer.enabled)).collect(),
            timestamp: shown.timestamp,
            updated_at: shown.updated_at,
            usp: strings.usp,
            gpp: strings.gpp,
            tcf: strings.tcf,
            airgap_version: strings.airgap_version,
        }
    });
    let last_key = hits.last().filter(|_| more.is_some()).map(shown);
    Ok(Json(LookupAnswer {
        nodes: nodes.collect(),
        last_key: last_key.map(|last| LastKey::of(last, dimension)),
    })
    .into_response())
}

/// `GET /v1/consent-preferences`: the answers of one person, found by their e-mail address or `userId`.
///
/// Deprecated, and best avoided: an identifier in an address stands in the log of whatever the call passes.
#[utoipa::path(
    get,
    path = "/v1/consent-preferences",
    tag = "preferences",
    params(
        ("identifier" = String, Query, description = "An e-mail address, or what was once given as userId"),
        ("partition" = String, Query, description = "The key of the partition"),
    ),
    responses((status = 200, description = "The person's answers", body = inline(PersonAnswer<'static>)))
)]
pub(crate) async fn look_up_one(
    State(app): State<AppState>,
    caller: Caller<scope::ViewManagedConsentDatabaseAdminApi>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let required = |name: &'static str| {
        let given = parameters.text(name);
        given.ok_or_else(|| Problem::validation([(name, "is required")]))
    };
    let (partition_key, identifier) = (required("partition")?, required("identifier")?);
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let known = http::Known::read(&app, &mut reader, caller.organization, app.clock.now()).await?;
    let site = known.site(&app, caller.organization, &keys);
    let partition = known.catalog.partition(partition_key).ok_or_else(unknown_partition)?;
    let plain = Plain::Values(vec![identifier.to_owned()]);
    let (hits, _) = query::run(&mut reader, &site, &query::plain(&site, partition, plain, 1, None)).await?;
    let hit = hits.first().ok_or_else(Problem::not_found)?;
    let shown = shown(hit, partition_key, &known);
    Ok(Json(PersonAnswer {
        user_id: user_id(shown),
        partition: partition_key,
        timestamp: shown.timestamp,
        confirmed: shown.record.is_some_and(|record| record.confirmed),
        identifier,
        purposes: shown.purposes(&known.catalog),
    })
    .into_response())
}

fn shown<'a>(hit: &'a Hit, partition: &'a str, known: &'a http::Known) -> Shown<'a> {
    Shown {
        user_id: hit.user_id.as_deref(),
        ..http::shown(&hit.held, partition, known)
    }
}

/// What stands for the person. Here it is never left out: where nothing else does, the record's own id does.
fn user_id(shown: Shown<'_>) -> Cow<'_, str> {
    shown
        .user_id()
        .map_or_else(|| Cow::Owned(shown.id.0.to_string()), Cow::Borrowed)
}

impl<'a> LastKey<'a> {
    fn of(last: Shown<'a>, dimension: Dimension) -> LastKey<'a> {
        let user_id = user_id(last);
        let finds = |identifier: &super::model::Identifier| {
            let known = last.settings.find_identifier(&identifier.name);
            known.is_some_and(|known| {
                known.identifier.is_unique_on_preference_store
                    && identifiers::kept(known, &user_id).as_ref() == Some(&identifier.value)
            })
        };
        // What does not lead back to the record can't say where the next page begins.
        let leads_back = last.record.is_some_and(|record| record.identifiers.iter().any(finds));
        let user_id = if leads_back {
            user_id
        } else {
            Cow::Owned(last.id.0.to_string())
        };
        let (timestamp, updated_at) = match dimension {
            Dimension::Event => (Some(last.timestamp), None),
            Dimension::Update => (None, Some(last.updated_at)),
        };
        LastKey {
            user_id: format!("{user_id} {}", last.partition),
            partition: last.partition,
            decryption_status: last.decryption_status(),
            timestamp,
            updated_at,
        }
    }
}

/// A lookup that breaks no rule.
struct Checked {
    plain: Plain,
    dimension: Dimension,
    limit: usize,
    start: Option<Start>,
}

/// Where a page begins: after this person's record, at this time.
struct Start {
    user_id: String,
    at: Moment,
}

fn check(asked: &Lookup, now: Moment) -> Result<Checked, Problem> {
    let mut broken: Vec<Broken> = Vec::new();
    let nested = asked.filter_by.as_ref();
    /// A member of the filter, with its place.
    fn placed<'a, T>(name: &str, flat: &'a Option<T>, nested: Option<&'a Option<T>>) -> Option<(String, &'a T)> {
        let nested = nested
            .and_then(Option::as_ref)
            .map(|value| (format!("filterBy.{name}"), value));
        nested.or_else(|| flat.as_ref().map(|value| (name.to_owned(), value)))
    }
    let values = placed(
        "identifiers",
        &asked.identifiers,
        nested.map(|filter| &filter.identifiers),
    );
    let mut bound = |name: &str, flat, nested| {
        let (place, text) = placed::<String>(name, flat, nested)?;
        let moment = Moment::parse(text);
        let moment = moment.map_err(|bad| broken.push((place.clone(), bad.to_string()))).ok();
        Some((place, moment))
    };
    let event = [
        bound(
            "timestampAfter",
            &asked.timestamp_after,
            nested.map(|filter| &filter.timestamp_after),
        ),
        bound(
            "timestampBefore",
            &asked.timestamp_before,
            nested.map(|filter| &filter.timestamp_before),
        ),
    ];
    let update = [
        bound(
            "updatedAfter",
            &asked.updated_after,
            nested.map(|filter| &filter.updated_after),
        ),
        bound(
            "updatedBefore",
            &asked.updated_before,
            nested.map(|filter| &filter.updated_before),
        ),
    ];
    let first =
        |bounds: &[Option<(String, Option<Moment>)>; 2]| bounds.iter().flatten().next().map(|(place, _)| place.clone());
    match (&values, first(&event), first(&update)) {
        (Some((place, _)), Some(_), _) | (Some((place, _)), _, Some(_)) => {
            broken.push((
                place.clone(),
                "must not be given together with bounds on times".to_owned(),
            ));
        }
        (_, Some(_), Some(place)) => {
            broken.push((place, "must not be given together with bounds on timestamp".to_owned()));
        }
        _ => {}
    }
    if let Some((place, _)) = values.as_ref().filter(|(_, values)| values.len() > IDENTIFIERS_MAX) {
        broken.push((place.clone(), format!("must hold at most {IDENTIFIERS_MAX} entries")));
    }
    let limit = query::check_limit(asked.limit, &mut broken);
    let dimension = if first(&update).is_some() {
        Dimension::Update
    } else {
        Dimension::Event
    };
    let start = start(asked, dimension, &mut broken);
    let [from, to] = match dimension {
        Dimension::Event => event,
        Dimension::Update => update,
    };
    let moment = |bound: Option<(String, Option<Moment>)>| bound.and_then(|(_, moment)| moment);
    let plain = match values {
        Some((_, values)) => Plain::Values(values.clone()),
        None => Plain::Between(dimension, moment(from), moment(to).or(Some(now))),
    };
    if broken.is_empty() {
        Ok(Checked {
            plain,
            dimension,
            limit,
            start,
        })
    } else {
        Err(Problem::validation(broken))
    }
}

/// The place that a `startKey` names; none if there is none, or an empty one.
fn start(asked: &Lookup, dimension: Dimension, broken: &mut Vec<Broken>) -> Option<Start> {
    let key = asked.start_key.as_ref()?;
    let (wanted, other) = match dimension {
        Dimension::Event => (("timestamp", &key.timestamp), &key.updated_at),
        Dimension::Update => (("updatedAt", &key.updated_at), &key.timestamp),
    };
    let mut complain = |member: &str, rule: String| broken.push((format!("startKey.{member}"), rule));
    let (user_id, at) = match (&key.user_id, wanted.1) {
        (None, None) if other.is_none() && key.partition.is_none() => return None,
        (Some(user_id), Some(at)) => (user_id, at),
        (None, _) => {
            complain("userId", "is required".to_owned());
            return None;
        }
        (_, None) => {
            complain(wanted.0, "is required: records are listed by it".to_owned());
            return None;
        }
    };
    if key
        .partition
        .as_ref()
        .is_some_and(|partition| *partition != asked.partition)
    {
        complain("partition", "is not the one that is asked about".to_owned());
    }
    let user_id = user_id
        .strip_suffix(&asked.partition)
        .and_then(|start| start.strip_suffix(' '))
        .unwrap_or(user_id);
    match Moment::parse(at) {
        Ok(at) => Some(Start {
            user_id: user_id.to_owned(),
            at,
        }),
        Err(bad) => {
            complain(wanted.0, bad.to_string());
            None
        }
    }
}

/// The record that a page goes on after. If it has another time by now, or is gone, the page goes on with all records of
/// the time that it had: some may be shown again, none is passed over.
async fn find_start(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    dimension: Dimension,
    start: &Start,
) -> Result<RecordId, StoreError> {
    let unique = site
        .settings
        .identifiers
        .iter()
        .filter(|known| known.identifier.is_unique_on_preference_store);
    let blinds = unique.filter_map(|known| {
        let value = identifiers::kept(known, &start.user_id)?;
        Some(site.blind(partition, &known.identifier.name, &value))
    });
    let owners = store::find_owners(reader, site, partition, &blinds.collect::<Vec<_>>()).await?;
    let ids: Vec<RecordId> = owners
        .into_iter()
        .flatten()
        .chain(identifiers::record_id(&start.user_id))
        .collect();
    let times = store::find_times(reader, site, partition, &ids).await?;
    let is_there = |times: Option<(Moment, Moment)>| {
        times.is_some_and(|(event, update)| match dimension {
            Dimension::Event => event == start.at,
            Dimension::Update => update == start.at,
        })
    };
    let found = ids.iter().zip(times).find(|(_, times)| is_there(*times));
    Ok(found.map_or(RecordId(Uuid::max()), |(id, _)| *id))
}

// `remote = "Self"` has serde write `T::deserialize` beside the trait's, which adds what a struct cannot say by itself.

careful! {
    Lookup: [
        "identifiers",
        "timestampBefore",
        "timestampAfter",
        "updatedBefore",
        "updatedAfter",
        "filterBy",
        "startKey",
    ];
    LookupFilter: ["identifiers", "timestampBefore", "timestampAfter", "updatedBefore", "updatedAfter"];
}
