//! How a field says no.

use std::{fmt, sync::LazyLock};

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
            let said = with_known_values(&error.message);
            error.message = format!("Client error: {}", said.as_deref().unwrap_or(&error.message));
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

/// What is said of a value that an enumeration does not have, with the values that it has in place of the one that was
/// sent, which may be anything. None if the message is about something else.
fn with_known_values(message: &str) -> Option<String> {
    let quoted = |text: &str| Some(text.split('"').nth(1)?.to_owned());
    let name = match message.split_once(" does not contain ") {
        Some((before, _)) => match before.split_once("enumeration type ") {
            // The document was compared with the schema.
            Some((_, name)) => quoted(name)?,
            // A variable was read: the type is named first.
            None if before.ends_with("Enumeration type") => quoted(before)?,
            None => return None,
        },
        None => return None,
    };
    let values = values_of(&name)?.join(", ");
    let argument = message
        .split_once("argument \"")
        .and_then(|(_, rest)| rest.split('"').next());
    let place = argument.map(|argument| format!("{argument}: ")).unwrap_or_default();
    Some(format!("{place}is not a value of {name}, which has only: {values}"))
}

/// The values of an enumeration of the schema.
fn values_of(name: &str) -> Option<Vec<String>> {
    static SCHEMA: LazyLock<String> = LazyLock::new(super::schema_text);
    let (_, from) = SCHEMA.split_once(&format!("\nenum {name} {{\n"))?;
    let (body, _) = from.split_once("\n}")?;
    let mut described = false;
    let values = body.lines().map(str::trim).filter(|line| {
        described ^= line.matches("\"\"\"").count() == 1;
        !described
            && !line.is_empty()
            && line
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    });
    Some(values.map(str::to_owned).collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_an_enumeration_does_not_have_is_answered_with_those_that_it_has_and_not_repeated() {
        let name = "RequestAction";
        let values = values_of(name).unwrap();
        assert!(values.contains(&"ACCESS".to_owned()) && values.len() > 5, "{values:?}");
        for (message, place) in [
            (
                format!(
                    "Invalid value for argument \"input.type\", enumeration type \"{name}\" does not contain the value \"ada\""
                ),
                "input.type: ",
            ),
            (
                format!("Failed to parse \"{name}\": Enumeration type does not contain value \"ada\"."),
                "",
            ),
        ] {
            let said = with_known_values(&message).unwrap();
            let rule = format!("is not a value of {name}, which has only: {}", values.join(", "));
            assert_eq!(said, format!("{place}{rule}"));
        }
        assert_eq!(with_known_values("Unknown field \"ada\" on type \"Query\"."), None);
    }
}
