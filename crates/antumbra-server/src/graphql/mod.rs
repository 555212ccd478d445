//! The management API: one GraphQL schema, to which each slice brings its part in a `graphql.rs` of its own.
//!
//! | File | Holds |
//! | --- | --- |
//! | `http.rs` | `POST /graphql` and the schema as text |
//! | `session.rs` | what a document works on: its caller and its one transaction |
//! | `access.rs` | every root field with the scopes it needs |
//! | `attachments.rs` | where API keys and data silos meet |
//! | `contents.rs` | where configuration and what is kept under it meet |
//! | `wire.rs` | what the slices' parts share: dates, messages, pages, orders |
//! | `refusal.rs` | how a field says no |
//!
//! A body is one document or a list of them, and the whole of it is one transaction: either everything in it has
//! happened, or nothing. The order of a list is the order of execution.

mod access;
mod attachments;
mod contents;
pub(crate) mod http;
mod refusal;
mod session;
mod wire;

use std::sync::LazyLock;

use async_graphql::{EmptySubscription, MergedObject, Schema};

use crate::{
    api_keys, audit, dsr, jobs, messages, organization,
    preferences::{self, access_tokens, sync},
    preflights, purposes, reports, retention, runs, silos,
};

pub use access::{FieldAccess, Recorded, fields};
pub(crate) use attachments::{AttachedKey, KnownSilo};
pub(crate) use refusal::Refusal;
pub(crate) use session::Session;
pub(crate) use wire::{
    Acknowledged, Date, Direction, Message, Named, OrderBy, OrderField, Page, Person, Titled, bound, by_text, parse_id,
    parse_ids, person,
};

/// Fields and arguments nest this deep at most. The deepest document of a known client is an introspection, with 13.
const DEPTH_MAX: usize = 20;
/// Fields of one document, fragments counted each time they are used.
const FIELDS_MAX: usize = 1_000;

/// Every query.
#[derive(Default, MergedObject)]
#[graphql(name = "Query")]
struct Query(
    api_keys::graphql::ApiKeyQueries,
    audit::graphql::AuditQueries,
    dsr::graphql::DropQueries,
    dsr::graphql::DsrQueries,
    jobs::graphql::JobQueries,
    messages::graphql::MessageQueries,
    organization::graphql::OrganizationQueries,
    preferences::feed::graphql::ChangeWebhookQueries,
    preferences::graphql::TriggerQueries,
    preflights::graphql::PreflightQueries,
    purposes::graphql::PurposeQueries,
    reports::graphql::LinkQueries,
    runs::graphql::RunQueries,
    silos::graphql::SiloQueries,
    sync::graphql::SyncQueries,
);

/// Every mutation.
#[derive(Default, MergedObject)]
#[graphql(name = "Mutation")]
struct Mutation(
    access_tokens::graphql::AccessTokenMutations,
    api_keys::graphql::ApiKeyMutations,
    dsr::graphql::PlanMutations,
    dsr::graphql::DropMutations,
    dsr::graphql::DsrMutations,
    dsr::graphql::RehearsalMutations,
    jobs::graphql::JobMutations,
    messages::graphql::MessageMutations,
    organization::graphql::OrganizationMutations,
    preferences::feed::graphql::ChangeWebhookMutations,
    preferences::graphql::TriggerMutations,
    preflights::graphql::PreflightMutations,
    purposes::graphql::PurposeMutations,
    reports::graphql::LinkMutations,
    retention::graphql::RetentionMutations,
    runs::graphql::RunMutations,
    silos::graphql::SiloMutations,
    sync::graphql::SyncMutations,
);

type ManagementSchema = Schema<Query, Mutation, EmptySubscription>;

static SCHEMA: LazyLock<ManagementSchema> = LazyLock::new(|| {
    Schema::build(Query::default(), Mutation::default(), EmptySubscription)
        .limit_depth(DEPTH_MAX)
        .limit_complexity(FIELDS_MAX)
        .disable_suggestions()
        .finish()
});

/// The schema as text, in a stable order.
pub fn schema_text() -> String {
    let options = async_graphql::SDLExportOptions::new()
        .sorted_fields()
        .sorted_arguments()
        .sorted_enum_items();
    SCHEMA.sdl_with_options(options)
}
