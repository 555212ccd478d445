//! The project's own checks and chores: what CI runs, the rules of the house, and the batteries that kill servers.

pub mod battery;
pub mod ci;
pub mod control;
pub mod house;
pub mod kill;
pub mod licences;
pub mod postgres;
pub mod power_cut;
pub mod year;
