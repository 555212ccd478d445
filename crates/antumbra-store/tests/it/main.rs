//! The store seen from outside.

mod blobs;
mod transactions;
