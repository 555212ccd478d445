//! The routes of the preference store.

use std::sync::Arc;

use antumbra_store::{Reader, StoreError, Tx};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;

use super::{
    check,
    expiry::Sight,
    moment::Moment,
    old_dialect::{self, Dialect},
    query, store, timeline, triggers, wire,
};
use crate::{
    AppState,
    audit::{self, Actor, AuditEntry, Detail},
    config::IabContradiction,
    http::{Caller, Json, Path, Problem, scope},
    keyring::OrganizationKeys,
    organization::{OrganizationId, Settings},
    purposes::Catalog,
};

/// `PUT /v1/preferences`: makes what up to 100 people chose part of their records.
///
/// One transaction. A batch that refers to something that does not exist is refused whole; a record whose identifiers
/// can't be brought together does not spoil its neighbours.
#[utoipa::path(
    put,
    path = "/v1/preferences",
    tag = "preferences",
    request_body = wire::UpsertBatch,
    responses((status = 200, description = "The stored records", body = inline(wire::UpsertOutcome<'static>)))
)]
pub(crate) async fn upsert_preferences(
    State(app): State<AppState>,
    caller: Caller<scope::ManageStoredPreferences>,
    Json(batch): Json<wire::UpsertBatch>,
) -> Result<Response, Problem> {
    upsert(&app, &caller, batch, Dialect::Present, Intent::Keep).await
}

/// `POST /v1/preferences/check`: answers as `PUT /v1/preferences` would, and keeps nothing.
///
/// A route and not a header: a server that knows neither keeps nothing either.
#[utoipa::path(
    post,
    path = "/v1/preferences/check",
    tag = "preferences",
    request_body = wire::UpsertBatch,
    responses((status = 200, description = "The records as they would be stored", body = inline(wire::UpsertOutcome<'static>)))
)]
pub(crate) async fn check_preferences(
    State(app): State<AppState>,
    caller: Caller<scope::ManageStoredPreferences>,
    Json(batch): Json<wire::UpsertBatch>,
) -> Result<Response, Problem> {
    upsert(&app, &caller, batch, Dialect::Present, Intent::OnlyTry).await
}

/// What becomes of an upsert that nothing is wrong with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    Keep,
    OnlyTry,
}

/// An upsert in either dialect, kept or only tried.
pub(super) async fn upsert(
    app: &AppState,
    caller: &Caller<scope::ManageStoredPreferences>,
    batch: wire::UpsertBatch,
    dialect: Dialect,
    intent: Intent,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let now = app.clock.now();
    let known = Known::read(app, &mut app.store.begin_read().await?, caller.organization, now).await?;
    let site = known.site(app, caller.organization, &keys);
    let records = check::check(batch, &known.rules()).map_err(Problem::validation)?;
    caller.spend(records.len())?;
    let (batch, outcomes) = take_in(app, &known, &site, records, Actor::ApiKey(caller.key.0), intent).await?;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let outcome = upsert_outcome(&batch.records, &outcomes, &known);
    let count = dialect.count(stored);
    Ok(Json(wire::UpsertOutcome { count, ..outcome }).into_response())
}

/// Makes records part of the store and opens what that sets off, in one transaction that also says who wrote them. Gives
/// the batch that they made, and for each record what is stored now, or why nothing was: or what would be, if this is only
/// tried.
pub(super) async fn take_in(
    app: &AppState,
    known: &Known,
    site: &store::Site<'_>,
    records: Vec<check::Checked>,
    by: Actor,
    intent: Intent,
) -> Result<(store::Batch, Vec<Result<store::Held, store::Refused>>), Problem> {
    let batch = store::Batch::new(site, records);
    let _turn = app.turns.take(batch.people()).await;
    let mut tx = app.store.begin_write().await?;
    known.still_holds(app, &mut tx, site.organization).await?;
    // In `store/desk.rs`.
    let outcomes = store::upsert_all(&mut tx, site, &batch).await?;
    let scene = triggers::Scene {
        app,
        site,
        catalog: &known.catalog,
        triggers: &known.triggers,
        by,
    };
    let opened = scene.fire(&mut tx, &batch, &outcomes).await?;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    if stored > 0 {
        let entry = AuditEntry {
            actor: by,
            action: "preferences.upserted",
            object: ("organization", site.organization.0),
            at: app.clock.now(),
            details: vec![("records", Detail::Count(stored as u64))],
        };
        audit::record(&mut tx, &app.ids, site.organization, entry);
    }
    match intent {
        Intent::OnlyTry => drop(tx),
        Intent::Keep => {
            tx.commit().await?;
            app.feed.note(site.organization, batch.partitions());
            if opened > 0 {
                app.jobs.ring();
            }
        }
    }
    Ok((batch, outcomes))
}

/// `POST /v1/preferences/{partition}/query`: finds records by identifiers and times, newest first, page by page.
///
/// With `asOf` each record shows what the person had chosen by that time, also where we learned of it late; with `knownAt`,
/// what we had learned by that time; with both, what we knew at the one about the other. Who is found, and in which order,
/// is a matter of what is stored now. Records of which there was nothing yet are left out, so that a page may be short, or
/// empty although its `cursor` leads on. `asOf` and `knownAt` of the first page hold for those that its cursor leads to. A record
/// whose history is longer than one call reads, 50,000 writes or 64 MiB, has no contents then, and `system.historyTooLong`.
///
/// With bounds on both times, a page may be short: one call looks at 2,000 records or so once it has found one. Where none of the
/// first 100,000 between the bounds on `timestamp` fits the others, the call is refused: ask with narrower ones.
#[utoipa::path(
    post,
    path = "/v1/preferences/{partition}/query",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = wire::Query,
    responses((status = 200, description = "One page of records", body = inline(wire::QueryAnswer<'static>)))
)]
pub(crate) async fn query_preferences(
    State(app): State<AppState>,
    caller: Caller<scope::ViewManagedConsentDatabaseAdminApi>,
    Path(partition): Path<String>,
    Json(mut asked): Json<wire::Query>,
) -> Result<Response, Problem> {
    let dialect = old_dialect::translate_query(&app, &mut asked)?;
    let keys = app.keys.organization(caller.organization).await?;
    let mut reader = app.store.begin_read().await?;
    let known = Known::read(&app, &mut reader, caller.organization, app.clock.now()).await?;
    let site = known.site(&app, caller.organization, &keys);
    let id = known.catalog.partition(&partition).ok_or_else(unknown_partition)?;
    let query = query::check(&site, id, asked)?;
    let (hits, cursor) = query::run(&mut reader, &site, &query).await?;
    let hits = timeline::look_back(&mut reader, &site, &query, hits).await?;
    let nodes = || {
        let nodes = hits.iter().map(|hit| {
            let shown = wire::Shown {
                user_id: hit.user_id.as_deref(),
                is_too_long: hit.is_too_long,
                sight: Sight::of(query.view, &known.catalog, known.now),
                ..shown(&hit.held, &partition, &known)
            };
            wire::QueryNode::new(shown, &known.catalog)
        });
        nodes.collect()
    };
    Ok(Json(wire::QueryAnswer {
        nodes: nodes(),
        cursor,
        preferences: (dialect == Dialect::Old).then(nodes),
    })
    .into_response())
}

/// What an organization has configured, as one snapshot has it.
pub(super) struct Known {
    pub(super) settings: Arc<Settings>,
    pub(super) catalog: Arc<Catalog>,
    /// Those that can fire.
    pub(super) triggers: Arc<Vec<triggers::Trigger>>,
    iab_contradiction: IabContradiction,
    pub(super) now: Moment,
}

impl Known {
    pub(super) async fn read(
        app: &AppState,
        reader: &mut Reader,
        organization: OrganizationId,
        now: Timestamp,
    ) -> Result<Known, Problem> {
        let settings = app.settings.get(reader, organization).await?;
        let catalog = app.catalogs.current(reader, organization).await?;
        let own = settings.organization.iab_contradiction;
        Ok(Known {
            settings,
            triggers: app.triggers.current(reader, organization, &catalog).await?,
            catalog,
            iab_contradiction: own.unwrap_or(app.config.preferences.iab_contradiction),
            now: Moment::from(now),
        })
    }

    /// Refuses, so that the handler runs again, if the configuration is another by now. Triggers are as old as the catalog.
    pub(super) async fn still_holds(
        &self,
        app: &AppState,
        tx: &mut Tx,
        organization: OrganizationId,
    ) -> Result<(), StoreError> {
        let settings = app.settings.get(tx, organization).await?;
        let catalog = app.catalogs.current(tx, organization).await?;
        let same = Arc::ptr_eq(&settings, &self.settings) && Arc::ptr_eq(&catalog, &self.catalog);
        if same { Ok(()) } else { Err(StoreError::Conflict) }
    }

    pub(super) fn rules(&self) -> check::Rules<'_> {
        check::Rules {
            settings: &self.settings,
            catalog: &self.catalog,
            iab_contradiction: self.iab_contradiction,
            now: self.now,
        }
    }

    pub(super) fn site<'a>(
        &'a self,
        app: &'a AppState,
        organization: OrganizationId,
        keys: &'a OrganizationKeys,
    ) -> store::Site<'a> {
        store::Site {
            organization,
            keys,
            settings: &self.settings,
            catalog: &self.catalog,
            ids: &app.ids,
            now: self.now,
        }
    }

    /// Answers as they are now.
    pub(super) fn sight(&self) -> Sight<'_> {
        Sight::now(&self.catalog, self.now)
    }
}

fn upsert_outcome<'a>(
    records: &'a [check::Checked],
    outcomes: &'a [Result<store::Held, store::Refused>],
    known: &'a Known,
) -> wire::UpsertOutcome<'a> {
    let mut nodes = Vec::with_capacity(outcomes.len());
    let mut failures = Vec::new();
    for (index, (checked, outcome)) in records.iter().zip(outcomes).enumerate() {
        match outcome {
            Ok(held) => {
                let shown = shown(held, &checked.partition_key, known);
                nodes.push(wire::UpsertNode::new(shown, &known.catalog));
            }
            Err(refused) => failures.push(wire::Failure {
                index,
                error: refused.to_string(),
            }),
        }
    }
    wire::UpsertOutcome {
        success: failures.is_empty(),
        nodes,
        failures,
        count: None,
    }
}

pub(super) fn shown<'a>(held: &'a store::Held, partition: &'a str, known: &'a Known) -> wire::Shown<'a> {
    wire::Shown {
        id: held.id,
        partition,
        timestamp: held.timestamp,
        updated_at: held.updated_at,
        record: held.record.as_deref(),
        user_id: None,
        settings: &known.settings,
        sight: known.sight(),
        iab_contradiction: known.iab_contradiction,
        is_too_long: false,
    }
}

pub(super) fn unknown_partition() -> Problem {
    Problem::validation([("partition", "is not a partition of this organization")])
}
