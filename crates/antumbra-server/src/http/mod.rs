//! The shell every slice shares: problems, callers and scopes, extractors, limits, the connection.
//!
//! It knows no domain word beyond who is calling.

mod budget;
mod caller;
pub(crate) mod connection;
pub(crate) mod docs;
mod from_page;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod json;
mod known;
pub(crate) mod metrics;
pub(crate) mod pages;
mod parameters;
pub(crate) mod probes;
mod problem;
pub mod scope;
pub(crate) mod shell;

pub use budget::{Budget, BudgetOwner, BudgetUnit, ResetStyle};
pub use caller::{Caller, Grants};
pub(crate) use connection::Peer;
pub use connection::TlsError;
pub(crate) use connection::{Hangup, tls_acceptor};
pub(crate) use from_page::preflight;
pub(crate) use json::UntypedJson;
pub use json::{DEPTH_MAX, Digested, Json, JsonOrList, LongJson, NoBody, VALUES_MAX, parse};
pub(crate) use known::{Known, Slips, careful, meant};
pub(crate) use metrics::Answers;
pub(crate) use parameters::{Path, Query, parse_uuid};
pub use problem::{Code, Detail, InputProblem, Problem};
pub(crate) use problem::{Dialect, chain};
pub use scope::Access;
pub use shell::Gates;

#[cfg(test)]
mod tests;
