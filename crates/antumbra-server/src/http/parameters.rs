//! Parameters in the path and in the query, refused in the shell's own words.
//!
//! What axum's own extractors refuse they answer in plain text, which no client of the wire contract reads.

use std::convert::Infallible;

use axum::{
    extract::{self, FromRequestParts},
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{Problem, known::meant};

/// A UUID in its usual form with hyphens, in any case.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() == 36 {
        Uuid::try_parse(text).ok()
    } else {
        None
    }
}

/// The parameters in the path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = extract::Path::from_request_parts(parts, state).await;
        read.map(|extract::Path(parameters)| Path(parameters))
            .map_err(|_| Problem::malformed("The path of the address cannot be read"))
    }
}

/// The parameters in the query. Of two equal names the last counts; names that a route does not know are ignored.
#[derive(Clone)]
pub(crate) struct Query(Vec<(String, String)>);

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Query({} parameters)", self.0.len())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Query::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    pub(crate) fn parse(query: &str) -> Query {
        Query(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// A parameter as it stands.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Refuses where a name is not one of `known` and nearly is: what it asks for would not be heeded.
    pub(crate) fn refuse_slips(&self, known: &'static [&'static str]) -> Result<(), Problem> {
        let unknown = self.0.iter().filter(|(name, _)| !known.contains(&name.as_str()));
        let mut slips = unknown.filter_map(|(name, _)| meant(name, known)).peekable();
        if slips.peek().is_none() {
            return Ok(());
        }
        let rule = "is the name that another parameter nearly has, but not quite";
        Err(Problem::validation(slips.map(|meant| (meant, rule))))
    }

    /// A parameter as a whole number of at least `min`. One too large to be held is the largest, which lies beyond the
    /// end of any list.
    pub(crate) fn number(&self, name: &'static str, default: u64, min: u64) -> Result<u64, BrokenRule> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| text.parse().unwrap_or(u64::MAX));
        number
            .filter(|number| *number >= min)
            .ok_or_else(|| (name, format!("must be a whole number, {min} or more")))
    }
}

/// The name of a parameter, and the rule that it breaks.
pub(crate) type BrokenRule = (&'static str, String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_made_of_digits_and_may_be_too_large_to_be_held() {
        let number = |query: &str| Query::parse(query).number("limit", 25, 1).ok();
        for (query, expected) in [
            ("", 25),
            ("offset=7", 25),
            ("limit=1", 1),
            ("limit=007", 7),
            ("limit=2&limit=3", 3),
            ("%6Cimit=4", 4),
            ("limit=18446744073709551616", u64::MAX),
        ] {
            assert_eq!(number(query), Some(expected), "{query}");
        }
        for query in [
            "limit",
            "limit=",
            "limit=0",
            "limit=-1",
            "limit=+1",
            "limit=%2B1",
            "limit=abc",
            "limit=1.5",
            "limit=1e3",
            "limit=0x10",
            "limit=%201",
            "limit=1%00",
            "limit=%D9%A3",
            "limit=%FF",
            "limit=1&limit=x",
        ] {
            assert_eq!(number(query), None, "{query}");
        }
    }
}
