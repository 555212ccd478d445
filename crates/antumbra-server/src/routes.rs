//! Every handler of the server, one line each: the table of contents of the API.
//!
//! Router, scopes, body limits, budgets, the OpenAPI document and the test matrix are all read from `table`. A line is
//! the handler, then who may call it, then what differs from the usual (a JSON body of at most `limits.json_bytes`).

use std::sync::{Arc, LazyLock};

use axum::{Router, extract::DefaultBodyLimit, http::Method, middleware};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter},
    routes,
};

use crate::{
    AppState,
    api_keys::ScopeName,
    dsr, graphql,
    http::{Access, Answers, Budget, Dialect, docs, metrics, probes, shell},
    preferences, preflights, reports, runs,
};

#[rustfmt::skip] // A table: one line a handler.
fn table() -> Vec<Route> {
    use ScopeName::{MakeDataSubjectRequest, ManageRequestIdentities, ManageStoredPreferences, ViewManagedConsentDatabaseAdminApi, ViewRequestCompilation, ViewRequests};
    use budgets::{
        APPEND_IDENTIFIERS, DELETE_IDENTIFIERS, DSR, PREFERENCES_DELETE, PREFERENCES_QUERY, PREFERENCES_RECORDS,
        PREFERENCES_UPSERT, UPDATE_IDENTIFIERS,
    };
    vec![
        // Asking, and getting the answer.
        scope(routes!(dsr::http::submit), MakeDataSubjectRequest).budget(DSR),
        scope(routes!(dsr::http::submit_bulk), MakeDataSubjectRequest).budget(DSR),
        scope(routes!(dsr::http::status), ViewRequests).budget(DSR),
        scope(routes!(dsr::http::plan), ViewRequests).may_be_closed().budget(DSR),
        scope(routes!(runs::closing_record), ViewRequests).may_be_closed().budget(DSR),
        scope(routes!(dsr::http::download_keys), ViewRequestCompilation).budget(DSR),
        scope(routes!(dsr::http::request_identifiers), ViewRequestCompilation).budget(DSR),
        any_key(routes!(dsr::http::download_file)).budget(DSR),
        scope(routes!(reports::download_report), ViewRequestCompilation).may_be_closed().budget(DSR),
        // What people see who have a link to their request.
        open(routes!(reports::show_report), LINK).page(),
        open(routes!(reports::download_by_link), LINK).page(),
        open(routes!(reports::withdraw_by_link), LINK).page(),
        // What is found out before data silos are asked.
        scope(routes!(preflights::enrich_identifiers), ManageRequestIdentities).may_be_closed().budget(DSR),
        open(routes!(preflights::verify_by_code), CODE).own(),
        open(routes!(preflights::show_verification), ADDRESS_LINK).page(),
        open(routes!(preflights::verify_by_link), ADDRESS_LINK).page(),
        // What data silos hand over.
        attached(routes!(runs::hand_over)).may_be_closed().budget(DSR),
        attached(routes!(runs::report)).may_be_closed().budget(DSR),
        attached(routes!(runs::upload_file)).may_be_closed().streamed().budget(DSR),
        attached(routes!(runs::upload_page)).may_be_closed().budget(DSR),
        attached(routes!(runs::pending_requests)).budget(DSR),
        open(routes!(runs::public_key), PUBLIC_KEY),
        open(routes!(runs::show_completion), VENDOR_LINK).page(),
        open(routes!(runs::complete_by_link), VENDOR_LINK).page(),
        // Preferences.
        scope(routes!(preferences::http::upsert_preferences), ManageStoredPreferences).may_be_closed().budget(PREFERENCES_UPSERT),
        scope(routes!(preferences::http::check_preferences), ManageStoredPreferences).may_be_closed().budget(PREFERENCES_UPSERT),
        scope(routes!(preferences::http::query_preferences), ViewManagedConsentDatabaseAdminApi).budget(PREFERENCES_QUERY),
        scope(routes!(preferences::lookup::look_up), ViewManagedConsentDatabaseAdminApi).budget(PREFERENCES_QUERY),
        scope(routes!(preferences::lookup::look_up_one), ViewManagedConsentDatabaseAdminApi).budget(PREFERENCES_QUERY),
        scope(routes!(preferences::amend::http::delete_preferences), ManageStoredPreferences).budget(PREFERENCES_DELETE),
        scope(routes!(preferences::old_dialect::upsert), ManageStoredPreferences).budget(PREFERENCES_UPSERT),
        scope(routes!(preferences::old_dialect::delete), ManageStoredPreferences).budget(PREFERENCES_DELETE),
        scope(routes!(preferences::old_dialect::update_identifiers), ManageStoredPreferences).budget(UPDATE_IDENTIFIERS),
        scope(routes!(preferences::old_dialect::delete_identifiers), ManageStoredPreferences).budget(DELETE_IDENTIFIERS),
        scope(routes!(preferences::amend::http::append_identifiers), ManageStoredPreferences).budget(APPEND_IDENTIFIERS),
        scope(routes!(preferences::amend::http::update_identifiers), ManageStoredPreferences).budget(UPDATE_IDENTIFIERS),
        scope(routes!(preferences::amend::http::delete_identifiers), ManageStoredPreferences).budget(DELETE_IDENTIFIERS),
        open(routes!(preferences::sync::http::ask_first), PREFLIGHT).for_pages(),
        open(routes!(preferences::sync::http::show_consent), TOKEN).for_pages(),
        open(routes!(preferences::sync::http::sync_consent), TOKEN).for_pages(),
        scope(routes!(preferences::timeline::consent_records), ViewManagedConsentDatabaseAdminApi).budget(PREFERENCES_RECORDS),
        scope(routes!(preferences::timeline::list_histories), ViewManagedConsentDatabaseAdminApi).budget(PREFERENCES_QUERY),
        scope(routes!(preferences::feed::http::list_changes), ViewManagedConsentDatabaseAdminApi).seated(),
        // Management.
        any_key(routes!(graphql::http::run_documents)).graphql(),
        open(routes!(graphql::http::show_schema), PUBLIC).own(),
        // The server itself.
        open(routes!(probes::health), PROBE).own(),
        open(routes!(probes::livez), PROBE).own(),
        open(routes!(probes::readyz), PROBE).own(),
        open(routes!(metrics::show), PROBE).own(),
        open(routes!(docs::root), PUBLIC).own(),
        open(routes!(docs::document), PUBLIC).own(),
        open(routes!(docs::enter), PUBLIC).own(),
        open(routes!(docs::page), PUBLIC).own(),
        open(routes!(docs::part), PUBLIC).own(),
    ]
}

const CODE: &str = "people who verify an address have no key, but the code that was sent there; tries are bounded";
const ADDRESS_LINK: &str = "people who verify an address have no key, but the proof in the link that was sent there";
const VENDOR_LINK: &str =
    "vendors without a technical connection have no key, but the proof in the link that was sent to them";
const PUBLIC_KEY: &str = "receivers verify notices with it, and some send no key of their own";
const TOKEN: &str = "people in browsers carry a token of their own, which the handler's signature asks for";
const LINK: &str = "people carry the token of a link of their own in the path, and it opens one request";
const PREFLIGHT: &str = "browsers send no credentials with the question whether a page may ask";
const PROBE: &str = "what watches the server carries no key, and nothing here is anybody's data";
const PUBLIC: &str = "the same for everybody, and public in the source";

/// Budgets of the vendor profile. Routes that name the same budget share it.
pub mod budgets {
    use crate::http::{
        Budget,
        BudgetOwner::{Key, Organization},
        BudgetUnit::{self, Calls, Records},
        ResetStyle,
    };

    /// Every budget.
    pub const ALL: [Budget; 8] = [
        PREFERENCES_UPSERT,
        PREFERENCES_QUERY,
        PREFERENCES_RECORDS,
        PREFERENCES_DELETE,
        APPEND_IDENTIFIERS,
        UPDATE_IDENTIFIERS,
        DELETE_IDENTIFIERS,
        DSR,
    ];

    /// Records written by `PUT /v1/preferences`.
    pub const PREFERENCES_UPSERT: Budget = preferences("preferences_upsert", 10_000, Records);
    /// Calls of `POST /v1/preferences/{partition}/query`, of the lookup before it, and of `history`.
    pub const PREFERENCES_QUERY: Budget = preferences("preferences_query", 10_000, Calls);
    /// Calls of `POST /v1/preferences/{partition}/delete`.
    pub const PREFERENCES_DELETE: Budget = preferences("preferences_delete", 100, Calls);
    /// Calls of `POST /v1/preferences/{partition}/append-identifiers`.
    pub const APPEND_IDENTIFIERS: Budget = preferences("append_identifiers", 100, Calls);
    /// Calls of `POST /v1/preferences/{partition}/update-identifiers`.
    pub const UPDATE_IDENTIFIERS: Budget = preferences("update_identifiers", 100, Calls);
    /// Calls of `POST /v1/preferences/{partition}/delete-identifiers`.
    pub const DELETE_IDENTIFIERS: Budget = preferences("delete_identifiers", 100, Calls);
    /// Calls of `POST /v1/preferences/{partition}/consent-records`.
    pub const PREFERENCES_RECORDS: Budget = preferences("preferences_records", 1_000, Calls);
    /// Calls of the data subject request and fulfilment routes.
    pub const DSR: Budget = Budget {
        name: "dsr",
        vendor: 1_000,
        owner: Key,
        unit: Calls,
        reset: ResetStyle::Seconds,
    };

    const fn preferences(name: &'static str, vendor: u32, unit: BudgetUnit) -> Budget {
        Budget {
            name,
            vendor,
            owner: Organization,
            unit,
            reset: ResetStyle::Instant,
        }
    }
}

/// What the shell knows about a route before its handler runs.
#[derive(Clone, Debug)]
pub struct RouteFacts {
    /// The method.
    pub method: Method,
    /// The path, with its parameters in braces.
    pub path: String,
    /// Who may call.
    pub access: Access,
    /// How the body is read.
    pub body: BodyRule,
    /// What calls are counted against.
    pub budget: Option<Budget>,
    /// Whether what it changes may be over and done with, which it answers with 409.
    pub may_be_closed: bool,
    /// Whether it waits for things to happen, and so has bounds of its own on how many calls there may be at once.
    pub seated: bool,
    pub(crate) dialect: Dialect,
    pub(crate) answers: Arc<Answers>,
}

/// How a route reads its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// Whole, within `limits.json_bytes`, before the handler runs.
    Buffered,
    /// As it arrives; the handler keeps its own limit.
    Stream,
    /// The form of a page of ours: whole, within 16 KiB.
    Form,
    /// From a page of any origin: whole, within 256 KiB, and read as JSON whatever its content type says. Such pages may
    /// read the answer.
    FromPage,
}

/// One line of the table.
pub(crate) struct Route {
    facts: RouteFacts,
    handler: UtoipaMethodRouter<AppState>,
}

pub(crate) fn open(handler: UtoipaMethodRouter<AppState>, reason: &'static str) -> Route {
    Route::new(handler, Access::Open(reason))
}

pub(crate) fn scope(handler: UtoipaMethodRouter<AppState>, scope: ScopeName) -> Route {
    Route::new(handler, Access::Scope(scope))
}

pub(crate) fn attached(handler: UtoipaMethodRouter<AppState>) -> Route {
    Route::new(handler, Access::Attached)
}

pub(crate) fn any_key(handler: UtoipaMethodRouter<AppState>) -> Route {
    Route::new(handler, Access::AnyKey)
}

impl Route {
    fn new(handler: UtoipaMethodRouter<AppState>, access: Access) -> Route {
        let (path, item) = handler
            .1
            .paths
            .first_key_value()
            .expect("a line has one handler, which has one path");
        let methods = [
            (&item.get, Method::GET),
            (&item.put, Method::PUT),
            (&item.post, Method::POST),
            (&item.delete, Method::DELETE),
            (&item.patch, Method::PATCH),
            (&item.options, Method::OPTIONS),
        ];
        let method = methods
            .into_iter()
            .find_map(|(operation, method)| operation.is_some().then_some(method));
        let facts = RouteFacts {
            method: method.expect("a handler has one method"),
            path: path.clone(),
            access,
            body: BodyRule::Buffered,
            budget: None,
            may_be_closed: false,
            seated: false,
            dialect: Dialect::Envelope,
            answers: Arc::default(),
        };
        Route { facts, handler }
    }

    /// The body goes to the handler as it arrives.
    pub(crate) fn streamed(mut self) -> Route {
        self.facts.body = BodyRule::Stream;
        self
    }

    /// Pages of every origin call it.
    fn for_pages(mut self) -> Route {
        self.facts.body = BodyRule::FromPage;
        self
    }

    /// A person in a browser sees what it answers, refusals too.
    pub(crate) fn page(mut self) -> Route {
        self.facts.body = BodyRule::Form;
        self.facts.dialect = Dialect::Page;
        self
    }

    /// What it changes may be over and done with.
    fn may_be_closed(mut self) -> Route {
        self.facts.may_be_closed = true;
        self
    }

    /// It has seats of its own, and takes no place among the calls that are being worked on.
    fn seated(mut self) -> Route {
        self.facts.seated = true;
        self
    }

    /// Its clients look for problems where GraphQL has errors.
    fn graphql(mut self) -> Route {
        self.facts.dialect = Dialect::GraphQl;
        self
    }

    /// Calls count against `budget`, where the operator has set one.
    pub(crate) fn budget(mut self, budget: Budget) -> Route {
        self.facts.budget = Some(budget);
        self
    }

    /// A route of our own, outside the wire contract: it answers problems as RFC 9457.
    pub(crate) fn own(mut self) -> Route {
        self.facts.dialect = Dialect::ProblemJson;
        self
    }
}

/// The facts of every route, for tests that walk over all of them.
pub fn list() -> Vec<RouteFacts> {
    table().into_iter().map(|route| route.facts).collect()
}

/// The router over `app`.
pub(crate) fn router(app: AppState) -> Router {
    mount(app, table())
}

pub(crate) fn mount(app: AppState, table: Vec<Route>) -> Router {
    let mut router = Router::new();
    for Route {
        facts,
        handler: (_, _, methods),
    } in table
    {
        let path = facts.path.clone();
        let around = middleware::from_fn_with_state((app.clone(), Arc::new(facts)), shell::guard);
        router = router.route(&path, methods.route_layer(around));
    }
    router
        .fallback(shell::nothing_here)
        .method_not_allowed_fallback(shell::wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), shell::observe))
        // Bodies have come in within the bounds of their route before a handler asks for them.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

/// This API as OpenAPI 3.1, in JSON.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
        let mut all = OpenApiRouter::<AppState>::with_openapi(docs::preamble());
        for Route {
            facts,
            handler: (schemas, mut paths, methods),
        } in table()
        {
            paths.paths.values_mut().for_each(|item| docs::complete(item, &facts));
            all = all.routes((schemas, paths, methods));
        }
        all.into_openapi()
            .to_pretty_json()
            .expect("the document is made of text and numbers")
    });
    &DOCUMENT
}
