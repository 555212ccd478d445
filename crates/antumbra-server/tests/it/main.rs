//! The slices seen from outside: a real server on a real store, its clock moved by hand.

#![allow(unreachable_pub, reason = "the whole test binary is one crate that nothing uses")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that is wrong about its surroundings is to stop, and it waits for the tasks that it spawned"
)]

mod access;
mod bad_input;
mod checklist;
mod deadlines;
mod download_keys;
mod dsr;
mod files;
mod graphql;
mod guards;
mod http;
mod jobs;
mod keyring;
mod messages;
mod openapi;
mod organization;
mod preferences;
mod preflights;
mod purposes;
mod reports;
mod retention;
mod runs;
mod silos;
mod storms;
mod support;
mod tenants;
mod year;
