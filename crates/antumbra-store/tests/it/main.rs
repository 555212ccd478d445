//! The store seen from outside, on both engines: the embedded one always, PostgreSQL where `ANTUMBRA_TEST_POSTGRES`
//! holds the URL of a server on which schemas may be made.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that is wrong about its surroundings is to stop, and it waits for the tasks that it spawned"
)]

mod blobs;
mod engines;
mod postgres;
mod recovery;
mod round_trips;
mod transactions;
