//! How a field says no.

use std::fmt;

use antumbra_store::StoreError;
use async_graphql::{ErrorExtensionValues, Pos, ServerError, Value};

use crate::{
    api_keys::ScopeName,
    http::{Code, Problem},
};

/// A field's refusal, or the failure of something it stands on.
///
/// Its text begins with `Client error: ` where the caller can do something about it: clients repeat at once, up to four
/// times, whatever does not begin so.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The caller asked for what cannot be.
    Client {
        /// Why.
        message: String,
        /// One word for it.
        code: &'static str,
    },
    /// The key lacks every scope that would do.
    Denied {
        /// The root field asked for.
        field: String,
        /// Any of these would do.
        scopes: &'static [ScopeName],
    },
    /// The whole HTTP request fails, or runs again.
    Failed(Problem),
}

impl Refusal {
    /// The caller asked for what cannot be.
    pub(crate) fn client(message: impl Into<String>) -> Refusal {
        Refusal::Client {
            message: message.into(),
            code: slug(Code::ValidationFailed),
        }
    }

    /// There is no such thing, or none that this caller may know of.
    pub(crate) fn not_found(what: &str) -> Refusal {
        Refusal::Client {
            message: format!("There is no such {what}"),
            code: slug(Code::NotFound),
        }
    }

    /// The refusal as an error at `place` of the document.
    pub(super) fn at(self, place: Vec<Pos>) -> ServerError {
        let error = async_graphql::Error::new_with_source(self).into_server_error(Pos::default());
        ServerError {
            locations: place,
            ..error
        }
    }

    /// Adds to an error what clients read beside its text.
    pub(crate) fn describe(error: &mut ServerError) {
        let mut extensions = ErrorExtensionValues::default();
        let Some(refusal) = error.source::<Refusal>() else {
            // Everything else that can be wrong is found by comparing the document with the schema.
            extensions.set("code", "GRAPHQL_VALIDATION_FAILED");
            error.message = format!("Client error: {}", error.message);
            error.extensions = Some(extensions);
            return;
        };
        match refusal {
            Refusal::Client { code, .. } => extensions.set("code", *code),
            Refusal::Denied { field, scopes } => {
                extensions.set("code", slug(Code::AccessDenied));
                extensions.set("route", field.as_str());
                let names = scopes.iter().map(|scope| Value::from(format!("{scope:?}")));
                extensions.set("requiredScopes", Value::List(names.collect()));
            }
            Refusal::Failed(problem) => extensions.set("code", slug(problem.code())),
        }
        error.extensions = Some(extensions);
    }

    /// The failure behind an error, if it concerns the whole HTTP request.
    pub(crate) fn failure_of(error: &ServerError) -> Option<Problem> {
        match error.source::<Refusal>()? {
            Refusal::Failed(problem) => Some(problem.clone()),
            Refusal::Client { .. } | Refusal::Denied { .. } => None,
        }
    }
}

fn slug(code: Code) -> &'static str {
    code.row().1
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Client { message, .. } => write!(f, "Client error: {message}"),
            Refusal::Denied { field, scopes } => {
                let titles: Vec<&str> = scopes.iter().map(|scope| scope.title()).collect();
                write!(
                    f,
                    "Client error: {field} needs an API key with one of the scopes: {}",
                    titles.join(", ")
                )
            }
            Refusal::Failed(problem) => f.write_str(problem.code().row().2),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::Failed(error.into())
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        match problem.code() {
            Code::Malformed
            | Code::ValidationFailed
            | Code::NotFound
            | Code::NotModifiable
            | Code::DuplicateRequest => Refusal::Client {
                message: problem.text(),
                code: slug(problem.code()),
            },
            _ => Refusal::Failed(problem),
        }
    }
}
