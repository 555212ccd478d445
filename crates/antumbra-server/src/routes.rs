//! Every handler of the server, one line each: the table of contents of the API.
//!
//! Router, scopes, body limits, budgets, the OpenAPI document and the test matrix are all read from [`table`]. A line is
//! the handler, then who may call it, then what differs from the usual (a JSON body of at most `limits.json_bytes`).

use std::sync::Arc;

use axum::{Router, http::Method, middleware};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt},
    routes,
};

use crate::{
    AppState,
    api_keys::ScopeName,
    http::{Access, probes, problem::Dialect, shell},
};

fn table() -> Vec<Route> {
    vec![
        open(routes!(probes::health), "probes carry no key").own(),
        open(routes!(probes::livez), "probes carry no key").own(),
    ]
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
    pub(crate) dialect: Dialect,
}

/// How a route reads its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// Whole, within `limits.json_bytes`, before the handler runs.
    Buffered,
    /// As it arrives; the handler keeps its own limit.
    Stream,
}

struct Route {
    facts: RouteFacts,
    handler: UtoipaMethodRouter<AppState>,
}

fn open(handler: UtoipaMethodRouter<AppState>, reason: &'static str) -> Route {
    Route::new(handler, Access::Open(reason))
}

fn scope(handler: UtoipaMethodRouter<AppState>, scope: ScopeName) -> Route {
    Route::new(handler, Access::Scope(scope))
}

fn attached(handler: UtoipaMethodRouter<AppState>) -> Route {
    Route::new(handler, Access::Attached)
}

fn any_key(handler: UtoipaMethodRouter<AppState>) -> Route {
    Route::new(handler, Access::AnyKey)
}

impl Route {
    fn new(handler: UtoipaMethodRouter<AppState>, access: Access) -> Route {
        let (path, item) = handler
            .1
            .paths
            .first_key_value()
            .expect("a line has one handler, which has one path");
        let method = method_of(item).expect("a handler has one method");
        let facts = RouteFacts {
            method,
            path: path.clone(),
            access,
            body: BodyRule::Buffered,
            dialect: Dialect::Envelope,
        };
        Route { facts, handler }
    }

    /// The body goes to the handler as it arrives.
    fn streamed(mut self) -> Route {
        self.facts.body = BodyRule::Stream;
        self
    }

    /// A route of our own: it answers problems as RFC 9457.
    fn own(mut self) -> Route {
        self.facts.dialect = Dialect::ProblemJson;
        self
    }
}

fn method_of(item: &utoipa::openapi::PathItem) -> Option<Method> {
    let methods = [
        (&item.get, Method::GET),
        (&item.put, Method::PUT),
        (&item.post, Method::POST),
        (&item.delete, Method::DELETE),
        (&item.patch, Method::PATCH),
    ];
    methods
        .into_iter()
        .find_map(|(operation, method)| operation.is_some().then_some(method))
}

/// The facts of every route, for tests that walk over all of them.
pub fn list() -> Vec<RouteFacts> {
    table().into_iter().map(|route| route.facts).collect()
}

/// The router over `app`.
pub(crate) fn router(app: AppState) -> Router {
    let mut router = OpenApiRouter::<AppState>::new();
    for Route { facts, handler } in table() {
        let around = middleware::from_fn_with_state((app.clone(), Arc::new(facts)), shell::guard);
        router = router.routes(handler.map(|methods| methods.route_layer(around)));
    }
    let (router, _document) = router.split_for_parts();
    router
        .fallback(shell::nothing_here)
        .method_not_allowed_fallback(shell::wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), shell::observe))
        .with_state(app)
}
