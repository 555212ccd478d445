//! The conformance checklist of the contract: each line is a test, by its number.

mod silos;
