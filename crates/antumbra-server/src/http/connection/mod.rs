//! The connection under the handlers: accepted within bounds, read strictly, and closed when it stalls.
//!
//! | File | Holds |
//! | --- | --- |
//! | `accept.rs` | the accept loop: how many connections, whose, and the end of all of them |
//! | `client.rs` | whose request it is, where a proxy stands in front |
//! | `framing.rs` | where an HTTP/1 message begins and ends, by the letter |
//! | `stream.rs` | one connection's bytes: framing checked before the HTTP engine sees them, silence bounded |
//! | `pace.rs` | a request body that must keep arriving |
//! | `tls.rs` | certificates from files |

mod accept;
mod client;
mod framing;
mod pace;
mod stream;
mod tls;

pub(crate) use accept::{Hangup, Listening, Peer};
pub(crate) use framing::Refusal;
pub(crate) use pace::TooSlow;
pub use tls::TlsError;
pub(crate) use tls::acceptor as tls_acceptor;

/// What the fuzz targets look at.
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzed {
    pub(crate) use super::framing::{Chunks, Framing, HeadScan, read_head};
}
