//! The organization's keys, unwrapped and kept at hand, and the content keys of requests, subjects and silos.

/// Every key in use.
#[derive(Clone)]
pub struct Keyring;
