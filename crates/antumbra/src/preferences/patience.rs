//! Calls that are made again while the server is busy, away, or gone under way.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use reqwest::{Method, StatusCode};

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

/// The first answer that another try would not better. The call may arrive more than once.
pub(super) async fn call(client: &Client, method: Method, path: &str, body: Bytes) -> Result<Answer> {
    let started = Instant::now();
    let mut pause = PAUSE;
    loop {
        let (asked, why) = match client.call(method.clone(), path, body.clone()).await {
            Ok(answer) if !passes(answer.status) => return Ok(answer),
            Ok(answer) => {
                let said = format!("the server has answered {} for too long", answer.status);
                (answer.retry_after, Ended::new(Outcome::Unreachable, said))
            }
            Err(cause) if cause.is_builder() => return Err(client.unreachable(&cause).into()),
            Err(cause) => (None, client.unreachable(&cause)),
        };
        if started.elapsed() > PATIENCE {
            return Err(why.into());
        }
        // Calls that were refused together should not come back together: their bodies differ in length.
        let spread = pause.mul_f64(f64::from(u8::try_from(body.len() % 64).unwrap_or(0)) / 64.0);
        let asked = asked.map(|asked| asked.min(RETRY_AFTER_MAX) + spread / 4);
        tokio::time::sleep(asked.unwrap_or(pause / 2 + spread)).await;
        pause = (pause * 2).min(PAUSE_MAX);
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
