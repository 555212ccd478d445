//! Silo runs: what each data silo was asked, and what it answered.

mod model;

pub use model::*;
