//! Consent sync: a browser, or whoever else holds a token about one person, reads that person's consent and adds to it.
//!
//! There is no API key. The token says who the person is, and nobody else's record can be reached with it. It is one of
//! two kinds: a *consent token*, which the organization signs itself with a secret that it shares with this server, or a
//! token of the preference centre, which this server has made (`access_tokens.rs`).
//!
//! | File | Holds |
//! | --- | --- |
//! | `http.rs` | the handlers |
//! | `wire.rs` | JSON in, JSON out |
//! | `holder.rs` | from a token to the person whose record may be reached |
//! | `consent.rs` | from what a consent manager says to what the preference store takes: pure |
//! | `secrets.rs` | the secrets behind consent tokens: their tables, and each change |
//! | `graphql.rs` | making, bringing and showing those secrets |

mod consent;
pub(crate) mod graphql;
mod holder;
pub(crate) mod http;
mod secrets;
mod wire;

#[cfg(any(test, fuzzing))]
pub(crate) use secrets::RECORDS;
pub(crate) use secrets::TABLES;
pub use secrets::forget_partition;
