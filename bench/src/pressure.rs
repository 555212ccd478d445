//! `antumbra-bench pressure`: how long callers wait when calls come at a pace of their own, and what is left of the server
//! when twice as many come as it can take.
//!
//! First the capacity is found, with connections that each wait for their answer. Then calls fall due at a fixed pace,
//! whether or not earlier ones have been answered, and a call's time counts from the moment it fell due: a server that
//! stalls is not spared what queues up meanwhile.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    load::{BATCH, Until, load, mixed},
    preferences::House,
    raw::Connection,
    table::{Row, print},
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to write. Emptied first.
    #[arg(long, default_value = "target/bench-pressure")]
    folder: PathBuf,
    /// People whose records are stored before anything is measured
    #[arg(long, default_value_t = 100_000)]
    people: u64,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections that calls at a fixed pace are spread over
    #[arg(long, default_value_t = 2_000)]
    connections: u64,
}

/// Connections from one address; a server takes up to 1,000.
const PER_ADDRESS: u64 = 900;
/// Connections that find out the capacity.
const PROBES: u64 = 64;
/// What must be left of the peak under twice the load.
const GOODPUT_MIN: f64 = 0.9;
/// MiB that the process may grow by under twice the load, load generator included.
const GROWTH_MAX: f64 = 256.0;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.folder.exists() {
        std::fs::remove_dir_all(&arguments.folder).context("emptying the folder")?;
    }
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
    };
    let (server, clients) = (runtime()?, runtime()?);
    let house = server.block_on(House::open(&arguments.folder))?;
    clients.block_on(measure(arguments, &house))?;
    server.block_on(house.close());
    std::fs::remove_dir_all(&arguments.folder).context("removing the folder")
}

async fn measure(arguments: &Arguments, house: &House) -> Result<()> {
    let time = Duration::from_secs(arguments.seconds);
    let people = arguments.people;
    let filling = house.caller.clone();
    let fill = move |call: u64| filling.upsert(call * BATCH..(call + 1) * BATCH, 0);
    load(&house.caller.url, 16, Until::Calls(people / BATCH), fill).await?;
    let changing = house.caller.clone();
    let change = Arc::new(move |call: u64| changing.upsert([mixed(call, people)], call + 1));
    let looking = house.caller.clone();
    let look = Arc::new(move |call: u64| looking.query(mixed(call, people)));
    under_pressure("changed records, 1 a call", arguments, &house.caller.url, time, change).await?;
    under_pressure("look-ups by identifier", arguments, &house.caller.url, time, look).await
}

async fn under_pressure<M>(what: &str, arguments: &Arguments, url: &str, time: Duration, make: Arc<M>) -> Result<()>
where
    M: Fn(u64) -> Vec<u8> + Send + Sync + 'static,
{
    let capacity = {
        let make = make.clone();
        load(url, PROBES, Until::Time(time), move |call| make(call)).await?
    };
    let peak = capacity.per_second;
    println!("\n{what}: {peak:.0} calls a second from {PROBES} connections");
    println!(
        "{:<24} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "at a pace of", "offered/s", "done/s", "refused/s", "p50 ms", "p99 ms", "p99.9 ms"
    );
    let mut rows = Vec::new();
    for share in [0.5, 0.9, 2.0] {
        let before = resident_mib()?;
        let paced = at_pace(url, arguments.connections, peak * share, time, make.clone()).await?;
        println!(
            "{:<24} {:>10.0} {:>10.0} {:>10.0} {:>10.2} {:>10.2} {:>10.2}",
            format!("{share} of that"),
            peak * share,
            paced.done,
            paced.refused,
            paced.part(0.5),
            paced.part(0.99),
            paced.part(0.999),
        );
        if share > 1.0 {
            rows.push(Row::at_least(
                "done under twice the load",
                paced.done,
                peak,
                GOODPUT_MIN,
                "1/s",
            ));
            let growth = (resident_mib()? - before).max(0.0);
            rows.push(Row::at_most("growth of memory meanwhile", growth, GROWTH_MAX, "MiB"));
        }
    }
    print(what, &rows);
    Ok(())
}

/// What calls at a fixed pace came to: done and refused a second, and how long those that were done took, in milliseconds.
struct Paced {
    done: f64,
    refused: f64,
    times: Vec<f64>,
}

impl Paced {
    fn part(&self, share: f64) -> f64 {
        let place = (self.times.len() as f64 * share) as usize;
        self.times.get(place).copied().unwrap_or_default()
    }
}

async fn at_pace<M>(url: &str, connections: u64, per_second: f64, time: Duration, make: Arc<M>) -> Result<Paced>
where
    M: Fn(u64) -> Vec<u8> + Send + Sync + 'static,
{
    let mut open = Vec::new();
    for place in 0..connections {
        let from = Ipv4Addr::new(127, 0, 0, (2 + place / PER_ADDRESS) as u8);
        open.push(Connection::open_from(url, from).await?);
    }
    let (next, begun) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for mut connection in open {
        let (make, next) = (make.clone(), next.clone());
        tasks.spawn(async move {
            let (mut times, mut refused) = (Vec::new(), 0_u64);
            loop {
                let call = next.fetch_add(1, Ordering::Relaxed);
                let due = begun + Duration::from_secs_f64(call as f64 / per_second);
                if due >= begun + time {
                    return anyhow::Ok((times, refused));
                }
                sleep_until(due.into()).await;
                let answer = connection.call(&make(call + 1_000_000_000)).await?;
                match answer.status {
                    200 => times.push(due.elapsed().as_secs_f64() * 1000.0),
                    429 => {
                        ensure!(answer.says_when_to_come_again, "a refusal without Retry-After");
                        refused += 1;
                    }
                    status => anyhow::bail!("answered {status}"),
                }
            }
        });
    }
    let (mut times, mut refused) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (more, less) = done??;
        times.extend(more);
        refused += less;
    }
    let took = begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    Ok(Paced {
        done: times.len() as f64 / took,
        refused: refused as f64 / took,
        times,
    })
}

/// Resident memory of this process: the server and its load.
fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .context("the line is there")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib / 1024.0)
}
