//! What an older generation of clients sends, said in today's words: one list of identifiers where today's routes take
//! records, other methods, no times. `compat.old_dialect` turns it off.
//!
//! `type` is today's `name`. What comes without one is an e-mail address if it looks like one, else a `coreIdentifier`;
//! the time of what comes without one is now. Answers are today's, with a `count`.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    amend::{self, Append, Deletion, NewValue, Removal, Update},
    http,
    identifiers::{EMAIL_NAME, LEGACY_NAME},
    wire::{NamedValue, Query, QueryFilter, QueryIdentifier, UpsertBatch, UpsertPurpose, UpsertRecord},
};
use crate::{
    AppState,
    http::{Caller, Code, Json, Path, Problem, scope},
};

/// In which words a call came, and so how it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// In today's.
    Present,
    /// In those of this file.
    Old,
}

impl Dialect {
    /// What an answer says of how many records were done.
    pub(super) fn count(self, done: usize) -> Option<usize> {
        (self == Dialect::Old).then_some(done)
    }
}

/// An identifier of the old kind.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OldIdentifier {
    /// Its value.
    pub(super) value: String,
    /// Its name.
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// An identifier whose value changes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OldUpdate {
    old_value: String,
    new_value: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// `POST /v1/preferences`: what people chose.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OldUpserts {
    /// The key of the partition.
    partition: String,
    /// 1 to 100 records.
    records: Vec<OldUpsert>,
}

/// What one person chose, now.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OldUpsert {
    identifier: String,
    identifier_type: Option<String>,
    purposes: Vec<UpsertPurpose>,
    confirmed: Option<bool>,
}

/// `DELETE …/delete`: records that end.
#[derive(Deserialize, ToSchema)]
pub(crate) struct OldDeletions {
    /// 1 to 100 identifiers.
    identifiers: Vec<OldIdentifier>,
}

/// `PUT …/update-identifiers`: new values for identifiers of one record.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OldUpdates {
    /// Which record.
    user_id: String,
    /// 1 to 10 identifiers.
    identifiers: Vec<OldUpdate>,
}

/// `DELETE …/delete-identifiers`: identifiers that one record loses.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OldRemovals {
    /// Which record.
    user_id: String,
    /// 1 to 10 identifiers.
    identifiers: Vec<OldIdentifier>,
}

type Writer = Caller<scope::ManageStoredPreferences>;

/// `POST /v1/preferences`: the older words of `PUT /v1/preferences`.
#[utoipa::path(
    post,
    path = "/v1/preferences",
    tag = "preferences",
    request_body = OldUpserts,
    responses((status = 200, description = "The stored records", body = inline(super::wire::UpsertOutcome<'static>)))
)]
pub(crate) async fn upsert(
    State(app): State<AppState>,
    caller: Writer,
    Json(asked): Json<OldUpserts>,
) -> Result<Response, Problem> {
    allowed(&app)?;
    let records = asked.records.into_iter().map(|old| {
        // An identifier without a name is what `userId` is today.
        let (identifiers, user_id) = match old.identifier_type {
            Some(name) => (
                Some(vec![NamedValue {
                    name,
                    value: old.identifier,
                }]),
                None,
            ),
            None => (None, Some(old.identifier)),
        };
        UpsertRecord {
            partition: asked.partition.clone(),
            timestamp: now(&app),
            identifiers,
            user_id,
            purposes: Some(old.purposes),
            confirmed: old.confirmed,
            ..UpsertRecord::default()
        }
    });
    let batch = UpsertBatch {
        records: records.collect(),
        ..UpsertBatch::default()
    };
    http::upsert(&app, &caller, batch, Dialect::Old, http::Intent::Keep).await
}

/// `DELETE /v1/preferences/{partition}/delete`: the older words of the same with `POST`.
#[utoipa::path(
    delete,
    path = "/v1/preferences/{partition}/delete",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = OldDeletions,
    responses((status = 200, description = "What became of each record", body = inline(amend::DeleteOutcome)))
)]
pub(crate) async fn delete(
    State(app): State<AppState>,
    caller: Writer,
    Path(partition): Path<String>,
    Json(asked): Json<OldDeletions>,
) -> Result<Response, Problem> {
    allowed(&app)?;
    let records = asked.identifiers.into_iter().map(|old| Deletion {
        anchor_identifier: old.named(),
        timestamp: now(&app),
    });
    amend::http::delete(&app, &caller, &partition, records.collect(), Dialect::Old).await
}

/// `PUT /v1/preferences/{partition}/update-identifiers`: the older words of the same with `POST`.
#[utoipa::path(
    put,
    path = "/v1/preferences/{partition}/update-identifiers",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = OldUpdates,
    responses((status = 200, description = "What became of each identifier", body = inline(amend::AmendOutcome<'static>)))
)]
pub(crate) async fn update_identifiers(
    State(app): State<AppState>,
    caller: Writer,
    Path(partition): Path<String>,
    Json(asked): Json<OldUpdates>,
) -> Result<Response, Problem> {
    allowed(&app)?;
    let mut user_id = asked.user_id;
    let records = asked.identifiers.into_iter().map(|old| {
        let anchor_identifier = named(user_id.clone(), None);
        if old.old_value == user_id {
            // From here on the record is found by the new value.
            user_id = old.new_value.clone();
        }
        let NamedValue { name, value } = named(old.old_value, old.kind);
        let update = NewValue {
            name,
            old_value: value,
            new_value: old.new_value,
        };
        let timestamp = now(&app);
        Update {
            anchor_identifier,
            update,
            timestamp,
            options: None,
        }
    });
    let said = records.map(amend::Said::from).collect();
    amend::http::amend(&app, &caller, &partition, said, amend::UPDATED, Dialect::Old).await
}

/// `DELETE /v1/preferences/{partition}/delete-identifiers`: the older words of the same with `POST`.
#[utoipa::path(
    delete,
    path = "/v1/preferences/{partition}/delete-identifiers",
    tag = "preferences",
    params(("partition" = String, Path, description = "The key of the partition")),
    request_body = OldRemovals,
    responses((status = 200, description = "What became of each identifier", body = inline(amend::AmendOutcome<'static>)))
)]
pub(crate) async fn delete_identifiers(
    State(app): State<AppState>,
    caller: Writer,
    Path(partition): Path<String>,
    Json(asked): Json<OldRemovals>,
) -> Result<Response, Problem> {
    allowed(&app)?;
    let records = asked.identifiers.into_iter().map(|old| Removal {
        anchor_identifier: named(asked.user_id.clone(), None),
        delete: old.named(),
        timestamp: now(&app),
        options: None,
    });
    let said = records.map(amend::Said::from).collect();
    amend::http::amend(&app, &caller, &partition, said, amend::DELETED, Dialect::Old).await
}

/// Says in a query's own words what one in the older words asks for.
pub(super) fn translate_query(app: &AppState, asked: &mut Query) -> Result<Dialect, Problem> {
    let Some(identifiers) = asked.identifiers.take().filter(|_| asked.filter.is_none()) else {
        return Ok(Dialect::Present);
    };
    if !app.config.compat.old_dialect {
        return Err(Problem::validation([(
            "",
            "must have one of the members filter, cursor",
        )]));
    }
    let named = |OldIdentifier { value, kind: name }| QueryIdentifier { name, value };
    asked.filter = Some(QueryFilter {
        identifiers: Some(identifiers.into_iter().map(named).collect()),
        ..QueryFilter::default()
    });
    Ok(Dialect::Old)
}

/// What `POST …/append-identifiers` says in the older words, record by record.
pub(super) fn appends(app: &AppState, user_id: &str, identifiers: Vec<OldIdentifier>) -> Vec<Append> {
    let records = identifiers.into_iter().map(|old| Append {
        anchor_identifier: named(user_id.to_owned(), None),
        append: old.named(),
        timestamp: now(app),
        options: None,
    });
    records.collect()
}

impl OldIdentifier {
    fn named(self) -> NamedValue {
        named(self.value, self.kind)
    }
}

fn named(value: String, kind: Option<String>) -> NamedValue {
    let like_an_address = value.contains('@') && !value.contains('/');
    let name = kind.unwrap_or_else(|| if like_an_address { EMAIL_NAME } else { LEGACY_NAME }.to_owned());
    NamedValue { name, value }
}

fn now(app: &AppState) -> String {
    app.clock.now().to_string()
}

fn allowed(app: &AppState) -> Result<(), Problem> {
    if app.config.compat.old_dialect {
        Ok(())
    } else {
        Err(Problem::new(Code::MethodNotAllowed))
    }
}
