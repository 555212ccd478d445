//! Being asked to end: by Ctrl-C, or by whoever started the command.
//!
//! A terminal that is closed ends a command where it is, as a kill does: were that caught too, it would end one that was
//! told to go on without a terminal.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks a command to end. From when it is made, only whoever waits for it hears of it.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Stop> {
        let listen = |kind| signal(kind).context("signals cannot be listened for");
        Ok(Stop {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Ends when the command is asked to end; may be waited for again.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
