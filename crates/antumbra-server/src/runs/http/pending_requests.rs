//! `/v1/data-silo/{id}/pending-requests/{type}`: a silo comes for its work.

use std::collections::HashMap;

use antumbra_store::Reader;
use axum::extract::State;
use jiff::Timestamp;

use crate::{
    AppState,
    dsr::{self, Dsr, DsrHead, DsrId, DsrStatus, PartitionOut, PurposeOut},
    http::{Caller, Json, Path, Problem, Query, parse_uuid, scope},
    keyring::OrganizationKeys,
    organization::Action,
    runs::{
        RunError,
        model::{Profile, SiloRun, Windows},
        nonce::SiloNonce,
        store,
        wire::{Pending, PendingAttribute, PendingItem},
    },
    silos::{self, DataSilo, DataSiloId},
};

/// Items on a page unless the caller says how many.
const LIMIT: u64 = 50;
/// Items on a page at most.
const LIMIT_MAX: u64 = 5_000;
/// Runs looked at in one round trip.
const BATCH: usize = 500;

/// `GET /v1/data-silo/{id}/pending-requests/{type}`: what the silo has still to do, oldest request first.
///
/// An item is gone once it is reported on, and while the silo has put it off. A silo that is paused has nothing to do.
#[utoipa::path(
    get, path = "/v1/data-silo/{id}/pending-requests/{type}", tag = "Fulfilment",
    params(
        ("id" = String, Path, description = "The data silo"),
        ("type" = String, Path, description = "The action, such as `ERASURE`"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 5000, description = "Items at most; 50 if absent"),
        ("offset" = Option<u32>, Query, description = "Items to pass over; none if absent"),
    ),
    responses((status = 200, body = Pending))
)]
pub(crate) async fn pending_requests(
    State(app): State<AppState>,
    caller: Caller<scope::Attached>,
    Path((id, action)): Path<(String, String)>,
    query: Query,
) -> Result<Json<Pending>, Problem> {
    let silo = parse_uuid(&id)
        .map(DataSiloId)
        .ok_or_else(|| Problem::validation([("id", "must be a UUID")]))?;
    let action = Action::parse(&action).ok_or_else(|| Problem::validation([("type", "must be a request action")]))?;
    let limit = query
        .number("limit", LIMIT, 1)
        .map_err(|broken| Problem::validation([broken]))?;
    let offset = query
        .number("offset", 0, 0)
        .map_err(|broken| Problem::validation([broken]))?;
    if limit > LIMIT_MAX {
        return Err(Problem::validation([("limit", format!("must be at most {LIMIT_MAX}"))]));
    }
    let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let DataSilo { is_paused, .. } = silos::find_silo(&mut reader, caller.organization, silo)
        .await?
        .ok_or_else(Problem::not_found)?;
    caller.attached_to(silo)?;
    if is_paused {
        return Ok(Json(Pending { items: Vec::new() }));
    }
    let wanted = Wanted {
        silo,
        action,
        offset: whole(offset),
        limit: whole(limit),
    };
    let now = app.now(caller.organization);
    let items = list(&mut reader, &keys, &wanted, &app.config.webhooks.windows, now).await?;
    Ok(Json(Pending { items }))
}

/// Which part of which work list.
struct Wanted {
    silo: DataSiloId,
    action: Action,
    offset: usize,
    limit: usize,
}

/// Reads on in batches until the page is full, so that memory is bounded by the page.
async fn list(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    page: &Wanted,
    windows: &Windows,
    now: Timestamp,
) -> Result<Vec<PendingItem>, Problem> {
    let (mut after, mut passed, mut items) = (None, 0, Vec::new());
    loop {
        let batch = store::list_work(reader, keys.organization, page.silo, page.action, after, BATCH).await?;
        let Some((last, _)) = batch.last() else {
            return Ok(items);
        };
        after = Some(*last);
        let ids: Vec<DsrId> = batch.iter().map(|(_, run)| run.request).collect();
        let heads = dsr::find_heads(reader, keys.organization, &ids).await?;
        let heads: HashMap<DsrId, DsrHead> = heads.into_iter().map(|head| (head.id, head)).collect();
        let mut wanted: Vec<(&SiloRun, &Profile)> = Vec::new();
        for (_, run) in &batch {
            if !heads.get(&run.request).is_some_and(|head| is_worked_on(head, run)) {
                continue;
            }
            let windows = run.windows(windows);
            let due = run.profiles.iter().filter(|profile| profile.is_due(&windows, now));
            for profile in due {
                if passed < page.offset {
                    passed += 1;
                } else if items.len() + wanted.len() < page.limit {
                    wanted.push((run, profile));
                }
            }
        }
        items.append(&mut open(reader, keys, &wanted, &heads, now).await?);
        if items.len() >= page.limit {
            return Ok(items);
        }
    }
}

fn is_worked_on(head: &DsrHead, run: &SiloRun) -> bool {
    run.is_of(head) && head.state.status() != DsrStatus::OnHold
}

/// The items of these profiles, each request opened once.
async fn open(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    wanted: &[(&SiloRun, &Profile)],
    heads: &HashMap<DsrId, DsrHead>,
    now: Timestamp,
) -> Result<Vec<PendingItem>, Problem> {
    let mut named: Vec<DsrHead> = Vec::new();
    for (run, _) in wanted {
        if named.last().is_none_or(|last| last.id != run.request) {
            named.extend(heads.get(&run.request).cloned());
        }
    }
    let opened = dsr::open(reader, keys, named).await.map_err(RunError::from)?;
    let opened: HashMap<DsrId, Dsr> = opened.into_iter().map(|dsr| (dsr.head.id, dsr)).collect();
    let item = |(run, profile): &(&SiloRun, &Profile)| item(keys, opened.get(&run.request)?, run, profile, now);
    Ok(wanted.iter().filter_map(item).collect())
}

/// None, where the identifier has been taken out of the request since.
fn item(keys: &OrganizationKeys, dsr: &Dsr, run: &SiloRun, profile: &Profile, now: Timestamp) -> Option<PendingItem> {
    let Dsr { head, subject } = dsr;
    let identifier = subject
        .identifiers
        .iter()
        .find(|identifier| identifier.id == profile.identifier)?;
    let attributes = subject.attributes.iter().map(|attribute| PendingAttribute {
        key: attribute.key.clone(),
        values: attribute.values.iter().map(|(_, value)| value.clone()).collect(),
    });
    Some(PendingItem {
        identifier: identifier.value.clone(),
        r#type: profile.name.clone(),
        core_identifier: subject.core_identifier.clone(),
        data_silo_id: run.silo.0,
        request_id: run.request.0,
        nonce: SiloNonce::of(keys.organization, run, profile).sign(keys),
        request_created_at: format!("{:.3}", head.created_at),
        days_until_overdue: head.days_until_overdue(now),
        attributes: attributes.collect(),
        data_subject_type: head.subject_type.clone(),
        locale: head.locale.clone(),
        country: head.region.country.clone(),
        country_sub_division: head.region.subdivision.clone(),
        purpose: subject.occasion.as_ref().map(PurposeOut::new),
        partition: subject.partition().map(PartitionOut::new),
    })
}
