//! The store seen from outside, on both engines: the embedded one always, PostgreSQL where `ANTUMBRA_TEST_POSTGRES`
//! holds the URL of a server on which schemas may be made.

mod blobs;
mod engines;
mod recovery;
mod transactions;
