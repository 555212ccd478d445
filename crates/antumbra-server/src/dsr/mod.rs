//! Data subject requests: their state machine, submission, status, approval and reports.

mod locales;
mod model;
mod regions;
mod state;
mod submission;
mod wire;

pub use model::*;
pub use state::*;
