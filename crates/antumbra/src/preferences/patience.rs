//! Calls that are made again while the server is busy, away, or gone under way.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::Result;
use bytes::Bytes;
use reqwest::{Method, StatusCode};

use super::meter;
use crate::{
    client::{Answer, Client},
    outcome::{Ended, Outcome},
};

/// How long one call is tried for.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long after the first and at most between two tries, where the server says nothing.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The longest a server may ask to wait between two tries.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// How long a call is tried for before somebody is told.
const SAY_AFTER: Duration = Duration::from_secs(1);

/// Calls that are made again, and what was said of them.
pub(super) struct Patient<'a> {
    client: &'a Client,
    /// Whether it was said that the server does not do its part, and not yet that it does.
    is_away: Cell<bool>,
}

impl<'a> Patient<'a> {
    pub(super) fn new(client: &'a Client) -> Patient<'a> {
        Patient {
            client,
            is_away: Cell::new(false),
        }
    }

    /// Whether calls are being made again without an end in sight.
    pub(super) fn is_away(&self) -> bool {
        self.is_away.get()
    }

    /// The first answer that another try would not better. The call may arrive more than once.
    pub(super) async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Answer> {
        let started = Instant::now();
        let mut pause = PAUSE;
        loop {
            let (asked, why) = match self.client.call(method.clone(), path, body.clone()).await {
                Ok(answer) if !passes(answer.status) => {
                    self.is_back();
                    return Ok(answer);
                }
                Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => {
                    self.is_back();
                    (answer.retry_after, "the server has had too many calls".to_owned())
                }
                Ok(answer) => (answer.retry_after, format!("the server answers {}", answer.status)),
                Err(cause) if cause.is_builder() => return Err(self.client.unreachable(&cause).into()),
                Err(cause) => (None, self.client.unreachable(&cause).to_string()),
            };
            if started.elapsed() > PATIENCE {
                let said = format!(
                    "{why}\n  the same has been tried for {} minutes",
                    PATIENCE.as_secs() / 60
                );
                return Err(Ended::new(Outcome::Unreachable, said).into());
            }
            self.say(&why, started.elapsed());
            // Calls that were refused together should not come back together: their bodies differ in length.
            let spread = pause.mul_f64(f64::from(u8::try_from(body.len() % 64).unwrap_or(0)) / 64.0);
            let asked = asked.map(|asked| asked.min(RETRY_AFTER_MAX) + spread / 4);
            tokio::time::sleep(asked.unwrap_or(pause / 2 + spread)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn say(&self, why: &str, tried_for: Duration) {
        if tried_for >= SAY_AFTER && !self.is_away.replace(true) {
            let why = why.lines().next().unwrap_or_default();
            meter::say(&format!(
                "{why}: trying again until it has been {} minutes; Ctrl-C ends at once",
                PATIENCE.as_secs() / 60
            ));
        }
    }

    fn is_back(&self) {
        if self.is_away.replace(false) {
            meter::say("the server answers again");
        }
    }
}

/// Whether what the server is in passes by itself.
fn passes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
