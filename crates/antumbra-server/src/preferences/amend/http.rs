//! The routes that change identifiers and delete records.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::{
    super::{
        http::{Known, shown, unknown_partition},
        old_dialect::{self, Dialect},
        store,
        wire::{Failure, IdentifierNode},
    },
    APPENDED, DELETED, UPDATED,
    check::{self, Said},
    model::Refused,
    wire,
};
use crate::{
    AppState,
    audit::{self, Actor, AuditEntry, Detail},
    http::{Caller, Json, Path, Problem, scope},
};

/// `POST /v1/preferences/{partition}/append-identifiers`: gives records one more identifier each.
#[utoipa::path(
    post,
    path = "/v1/preferences/{partition}/append-identifiers",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = wire::Appends,
    responses((status = 200, description = "What became of each record", body = inline(wire::AmendOutcome<'static>)))
)]
pub(crate) async fn append_identifiers(
    State(app): State<AppState>,
    caller: Caller<scope::ManageStoredPreferences>,
    Path(partition): Path<String>,
    Json(asked): Json<wire::Appends>,
) -> Result<Response, Problem> {
    let (records, dialect) = match (asked.records, asked.user_id, asked.identifiers) {
        (None, Some(user_id), Some(identifiers)) if app.config.compat.old_dialect => {
            (old_dialect::appends(&app, &user_id, identifiers), Dialect::Old)
        }
        (Some(records), ..) => (records, Dialect::Present),
        (None, ..) => return Err(Problem::validation([("records", "is required")])),
    };
    let said = records.into_iter().map(Said::from).collect();
    amend(&app, &caller, &partition, said, APPENDED, dialect).await
}

/// `POST /v1/preferences/{partition}/update-identifiers`: gives an identifier of records another value. The old one leads
/// nowhere from then on.
#[utoipa::path(
    post,
    path = "/v1/preferences/{partition}/update-identifiers",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = wire::Updates,
    responses((status = 200, description = "What became of each record", body = inline(wire::AmendOutcome<'static>)))
)]
pub(crate) async fn update_identifiers(
    State(app): State<AppState>,
    caller: Caller<scope::ManageStoredPreferences>,
    Path(partition): Path<String>,
    Json(asked): Json<wire::Updates>,
) -> Result<Response, Problem> {
    let records = asked.records.into_iter().map(Said::from).collect();
    amend(&app, &caller, &partition, records, UPDATED, Dialect::Present).await
}

/// `POST /v1/preferences/{partition}/delete-identifiers`: takes one identifier away from records. One that is unique on
/// the preference store is left to each.
#[utoipa::path(
    post,
    path = "/v1/preferences/{partition}/delete-identifiers",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = wire::Removals,
    responses((status = 200, description = "What became of each record", body = inline(wire::AmendOutcome<'static>)))
)]
pub(crate) async fn delete_identifiers(
    State(app): State<AppState>,
    caller: Caller<scope::ManageStoredPreferences>,
    Path(partition): Path<String>,
    Json(asked): Json<wire::Removals>,
) -> Result<Response, Problem> {
    let records = asked.records.into_iter().map(Said::from).collect();
    amend(&app, &caller, &partition, records, DELETED, Dialect::Present).await
}

/// Changes the identifiers of up to 10 records, in one transaction.
pub(in crate::preferences) async fn amend(
    app: &AppState,
    caller: &Caller<scope::ManageStoredPreferences>,
    partition_key: &str,
    said: Vec<Said>,
    action: &'static str,
    dialect: Dialect,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let now = app.clock.now();
    let known = Known::read(app, &mut app.store.begin_read().await?, caller.organization, now).await?;
    let site = known.site(app, caller.organization, &keys);
    let partition = known.catalog.partition(partition_key).ok_or_else(unknown_partition)?;
    let records = check::amends(&said, &known.rules()).map_err(Problem::validation)?;
    let amends = store::Amends { partition, records };
    let _turn = app.turns.take(amends.people(&site)).await;
    let mut tx = app.store.begin_write().await?;
    known.still_holds(app, &mut tx, caller.organization).await?;
    // In `store/desk/amend.rs`.
    let outcomes = store::amend_all(&mut tx, &site, &amends).await?;
    let changed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    if changed > 0 {
        let entry = AuditEntry {
            actor: Actor::ApiKey(caller.key.0),
            action,
            object: ("organization", caller.organization.0),
            at: now,
            details: vec![("records", Detail::Count(changed as u64))],
        };
        audit::record(&mut tx, &app.ids, caller.organization, entry);
    }
    tx.commit().await?;
    app.feed.note(caller.organization, [partition]);
    let identifiers = |(held, said): (_, &Said)| {
        let asked_for = said.options.return_identifiers == Some(true);
        asked_for.then(|| shown(held, partition_key, &known).identifiers())
    };
    let entries = outcomes.iter().zip(&said);
    let (records, failures) = entries_of(entries.map(|(outcome, said)| match outcome {
        Ok(held) => Ok(identifiers((held, said))),
        Err(refused) => Err(refused),
    }));
    Ok(Json(wire::AmendOutcome {
        success: failures.is_empty(),
        records,
        failures,
        count: dialect.count(changed),
    })
    .into_response())
}

/// `POST /v1/preferences/{partition}/delete`: deletes up to 100 records with their keys, so that what they held and what
/// their history says is noise from then on. Starts no workflow.
///
/// A record that can't be decrypted any more is deleted too, by any identifier that leads to it.
#[utoipa::path(
    post,
    path = "/v1/preferences/{partition}/delete",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = wire::Deletions,
    responses((status = 200, description = "What became of each record", body = inline(wire::DeleteOutcome)))
)]
pub(crate) async fn delete_preferences(
    State(app): State<AppState>,
    caller: Caller<scope::ManageStoredPreferences>,
    Path(partition): Path<String>,
    Json(asked): Json<wire::Deletions>,
) -> Result<Response, Problem> {
    delete(&app, &caller, &partition, asked.records, Dialect::Present).await
}

/// The same, for a call in either dialect.
pub(in crate::preferences) async fn delete(
    app: &AppState,
    caller: &Caller<scope::ManageStoredPreferences>,
    partition_key: &str,
    asked: Vec<wire::Deletion>,
    dialect: Dialect,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(caller.organization).await?;
    let now = app.clock.now();
    let known = Known::read(app, &mut app.store.begin_read().await?, caller.organization, now).await?;
    let site = known.site(app, caller.organization, &keys);
    let partition = known.catalog.partition(partition_key).ok_or_else(unknown_partition)?;
    let anchors = check::deletions(&asked, &known.rules()).map_err(Problem::validation)?;
    let deletes = store::Deletes { partition, anchors };
    let _turn = app.turns.take(deletes.people(&site)).await;
    let mut tx = app.store.begin_write().await?;
    known.still_holds(app, &mut tx, caller.organization).await?;
    // In `store/desk/amend.rs`.
    let outcomes = store::delete_all(&mut tx, &site, &deletes).await?;
    for deleted in outcomes.iter().flatten() {
        let entry = AuditEntry {
            actor: Actor::ApiKey(caller.key.0),
            action: "preferences.deleted",
            object: ("preference_record", deleted.id.0),
            at: now,
            details: vec![("keys", Detail::Count(deleted.keys as u64))],
        };
        audit::record(&mut tx, &app.ids, caller.organization, entry);
    }
    tx.commit().await?;
    app.feed.note(caller.organization, [partition]);
    let (records, failures) = entries_of(outcomes.iter().map(|outcome| outcome.as_ref().map(|_| None)));
    let is_old = dialect == Dialect::Old;
    Ok(Json(wire::DeleteOutcome {
        success: is_old.then_some(failures.is_empty()),
        count: dialect.count(records.len() - failures.len()),
        records,
        failures,
    })
    .into_response())
}

/// The entries of an answer: of each record that was done the identifiers to show, of the others why not.
fn entries_of<'a, 'r>(
    outcomes: impl Iterator<Item = Result<Option<Vec<IdentifierNode<'a>>>, &'r Refused>>,
) -> (Vec<wire::RecordOutcome<'a>>, Vec<Failure>) {
    let (mut records, mut failures) = (Vec::new(), Vec::new());
    for (index, outcome) in outcomes.enumerate() {
        let (error, identifiers) = match outcome {
            Ok(identifiers) => (None, identifiers),
            Err(refused) => (Some(refused.to_string()), None),
        };
        failures.extend(error.clone().map(|error| Failure { index, error }));
        records.push(wire::RecordOutcome {
            success: error.is_none(),
            error_message: error,
            identifiers,
        });
    }
    (records, failures)
}
