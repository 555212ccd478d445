//! `antumbra-bench dsr`: submissions of data subject requests, one a call, each acknowledged after its fsync.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use xtask::battery::Child;

use crate::raw::{Connection, request};
use crate::table::{Row, print};

/// What the project holds itself to.
const GOAL_PER_SECOND: f64 = 2_000.0;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The executable, as it is released
    #[arg(long, default_value = "target/release/antumbra")]
    executable: PathBuf,
    /// Connections that submit at once
    #[arg(long, default_value_t = 64)]
    connections: u64,
    /// How long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = Child::start(&arguments.executable, &folder.path().join("data"))?;
    let key = server.key.clone().context("no key")?;
    let silo = "data-subjects:\n  - type: customer\n    title: Customer\n    actions: [ACCESS]\n\
                data-silos:\n  - title: Nightly\n    integrationName: cron\n    identity-keys: [email]\n    \
                datapoints:\n      - key: profile\n        title: Profile\n";
    server.apply(&arguments.executable, &key, silo)?;
    let empty = rate(arguments, &server.url, |_| request("GET", "/livez", "", b"")).await?;
    let submitted = rate(arguments, &server.url, move |number| {
        let body = format!(
            "{{\"type\":\"ACCESS\",\"subjectType\":\"customer\",\"isSilent\":true,\"subject\":{{\"coreIdentifier\":\
             \"person-{number}\",\"email\":\"person-{number}@example.test\",\"emailIsVerified\":true}}}}"
        );
        request("POST", "/v1/data-subject-request", &key, body.as_bytes())
    })
    .await?;
    server.end()?;
    print(
        &format!("submission of requests, {} connections", arguments.connections),
        &[
            Row::at_least("submitted, against the goal", submitted, GOAL_PER_SECOND, 1.0, "1/s"),
            Row::beside("submitted, against an empty handler", submitted, empty, "1/s"),
        ],
    );
    Ok(())
}

async fn rate(arguments: &Arguments, url: &str, make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Result<f64> {
    let (make, done, next) = (Arc::new(make), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let begun = Instant::now();
    let until = begun + Duration::from_secs(arguments.seconds);
    let mut tasks = JoinSet::new();
    for _ in 0..arguments.connections {
        let (make, done, next) = (Arc::clone(&make), Arc::clone(&done), Arc::clone(&next));
        let mut connection = Connection::open(url).await?;
        tasks.spawn(async move {
            while Instant::now() < until {
                let answer = connection.call(&make(next.fetch_add(1, Ordering::Relaxed))).await?;
                let said = || String::from_utf8_lossy(&answer.body).into_owned();
                ensure!(answer.status == 200, "answered {}: {}", answer.status, said());
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}
