//! Calls from many connections at once, each waiting for its answer; and the calls that store preferences and look them
//! up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;

use crate::raw::{Connection, request};

/// Records of a call in batches.
pub(crate) const BATCH: u64 = 100;

/// Whoever calls a server of ours: where it answers, with which key, about which partition.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) partition: String,
}

impl Caller {
    /// An upsert about some people; `round` moves the time and the answers on.
    pub(crate) fn upsert(&self, people: impl IntoIterator<Item = u64>, round: u64) -> Vec<u8> {
        let partition = &self.partition;
        let (minute, second, milli) = (round / 60_000 % 60, round / 1000 % 60, round % 1000);
        let records: Vec<String> = people
            .into_iter()
            .map(|person| {
                let enabled = (person + round).is_multiple_of(2);
                format!(
                    "{{\"partition\":\"{partition}\",\"timestamp\":\"2026-02-03T09:{minute:02}:{second:02}.{milli:03}Z\",\
                     \"identifiers\":[{{\"name\":\"email\",\"value\":\"person-{person}@example.test\"}}],\
                     \"purposes\":[{{\"purpose\":\"Advertising\",\"enabled\":{enabled}}},\
                     {{\"purpose\":\"Analytics\",\"enabled\":true}},{{\"purpose\":\"Functional\",\"enabled\":{enabled}}}],\
                     \"usp\":\"1YYN\"}}"
                )
            })
            .collect();
        let body = format!("{{\"records\":[{}],\"skipWorkflowTriggers\":true}}", records.join(","));
        request("PUT", "/v1/preferences", &self.key, body.as_bytes())
    }

    /// A look-up of one person by an identifier.
    pub(crate) fn query(&self, person: u64) -> Vec<u8> {
        let body = format!(
            "{{\"filter\":{{\"identifiers\":[{{\"name\":\"email\",\"value\":\"person-{person}@example.test\"}}]}}}}"
        );
        let path = format!("/v1/preferences/{}/query", self.partition);
        request("POST", &path, &self.key, body.as_bytes())
    }
}

/// The person of a call, so that calls do not follow one another.
pub(crate) fn mixed(call: u64, people: u64) -> u64 {
    call.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17) % people
}

/// How long a load goes on.
pub(crate) enum Until {
    Calls(u64),
    Time(Duration),
    /// Whichever comes first
    Either(u64, Duration),
}

/// What a load came to. Times in milliseconds.
pub(crate) struct Run {
    pub(crate) calls: u64,
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) answer_bytes: usize,
}

/// Calls from many connections at once, each waiting for its answer.
pub(crate) async fn load(
    url: &str,
    connections: u64,
    until: Until,
    make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> Result<Run> {
    let (make, next) = (Arc::new(make), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let (calls_max, end) = match until {
        Until::Calls(calls) => (calls, begun + Duration::from_secs(3600)),
        Until::Time(time) => (u64::MAX, begun + time),
        Until::Either(calls, time) => (calls, begun + time),
    };
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (make, next) = (make.clone(), next.clone());
        let mut connection = Connection::open(url).await?;
        tasks.spawn(async move {
            let (mut times, mut answer_bytes) = (Vec::new(), 0);
            while Instant::now() < end {
                let call = next.fetch_add(1, Ordering::Relaxed);
                if call >= calls_max {
                    break;
                }
                let request = make(call);
                let sent = Instant::now();
                let answer = connection.call(&request).await?;
                let said = || {
                    String::from_utf8_lossy(&answer.body)
                        .chars()
                        .take(500)
                        .collect::<String>()
                };
                ensure!(answer.status == 200, "answered {}: {}", answer.status, said());
                times.push(sent.elapsed().as_secs_f64() * 1000.0);
                answer_bytes = answer.body.len();
            }
            Ok((times, answer_bytes))
        });
    }
    let (mut times, mut answer_bytes) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (more, bytes) = done??;
        times.extend(more);
        answer_bytes = answer_bytes.max(bytes);
    }
    let took = begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let part = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .copied()
            .unwrap_or_default()
    };
    Ok(Run {
        calls: times.len() as u64,
        per_second: times.len() as f64 / took,
        p50: part(0.5),
        p99: part(0.99),
        answer_bytes,
    })
}
