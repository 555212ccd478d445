//! `antumbra-bench fanout`: requests that are each told to many silos, from their submission to the last answer; the same
//! beside a silo that takes its time; and a start with a store full of jobs.
//!
//! The receiver is this process: it costs next to nothing and answers 204, which closes its part of a request, or accepts and
//! reports by `PUT /v1/data-silo` (`--reports`). Server, receiver and submitter share the cores.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use antumbra_server::{
    jobs::{self, Job},
    organization, runs,
};
use antumbra_store::{EmbeddedConfig, Store, StoreConfig};
use anyhow::{Context, Result, ensure};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use xtask::battery::Child;

use crate::raw::{Connection, request};
use crate::table::{Row, print};

/// What a start may take, however many jobs are open.
const READY_MAX: Duration = Duration::from_secs(2);
/// How much slower the other silos may be beside a slow one.
const SLOWER_MAX: f64 = 0.9;

/// What to measure. The figures of the project are those of `--requests 100000 --silos 50 --open-jobs 1000000`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The executable, as it is released
    #[arg(long, default_value = "target/release/antumbra")]
    executable: PathBuf,
    /// Requests submitted
    #[arg(long, default_value_t = 2_000)]
    requests: u64,
    /// Silos that each of them is told to
    #[arg(long, default_value_t = 50)]
    silos: u64,
    /// Connections that submit at once
    #[arg(long, default_value_t = 16)]
    connections: u64,
    /// Silos accept and report, rather than answer that there is nothing to do
    #[arg(long)]
    reports: bool,
    /// Seconds that the slow one of the silos takes for an answer; 0 leaves this part out
    #[arg(long, default_value_t = 30)]
    slow: u64,
    /// Jobs in the store of the start that is measured; 0 leaves this part out
    #[arg(long, default_value_t = 1_000_000)]
    open_jobs: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let signatures = signatures_per_second()?;
    let all = runtime.block_on(drain(arguments, None))?;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let notices = (arguments.requests * arguments.silos) as f64;
    let mut rows = vec![
        Row::beside(
            "requests drained",
            arguments.requests as f64 / all.drained_in,
            all.submitted,
            "1/s",
        ),
        Row::beside(
            "notices, against ES384 signatures on one core",
            notices / all.drained_in,
            signatures,
            "1/s",
        ),
        Row::beside(
            "all told, and how long submitting took of it",
            all.drained_in,
            all.submitted_in,
            "s",
        ),
        Row::beside(
            "memory at its peak, and idle",
            mib(all.peak_bytes),
            mib(all.idle_bytes),
            "MiB",
        ),
    ];
    if arguments.slow > 0 {
        let beside = runtime.block_on(drain(arguments, Some(Duration::from_secs(arguments.slow))))?;
        let per_second =
            |run: &Drained| notices / arguments.silos as f64 * (arguments.silos - 1) as f64 / run.others_in;
        rows.push(Row::at_least(
            format!("notices to the others, one silo answering after {} s", arguments.slow),
            per_second(&beside),
            per_second(&all),
            SLOWER_MAX,
            "1/s",
        ));
    }
    if arguments.open_jobs > 0 {
        let ready = runtime.block_on(start_with_jobs(arguments))?;
        rows.push(Row::at_most(
            format!("start with {} open jobs", arguments.open_jobs),
            ready.as_secs_f64() * 1e3,
            READY_MAX.as_secs_f64() * 1e3,
            "ms",
        ));
    }
    print(
        &format!("{} requests to {} silos each", arguments.requests, arguments.silos),
        &rows,
    );
    Ok(())
}

/// What one core can sign, which bounds what can be told to silos.
fn signatures_per_second() -> Result<f64> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref())?;
    let (begun, mut signed) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(2) {
        std::hint::black_box(key.sign(&random, &signed.to_le_bytes().repeat(40))?);
        signed += 1;
    }
    Ok(signed as f64 / begun.elapsed().as_secs_f64())
}

/// What one run came to. Times in seconds.
struct Drained {
    submitted: f64,
    submitted_in: f64,
    drained_in: f64,
    others_in: f64,
    peak_bytes: u64,
    idle_bytes: u64,
}

async fn drain(arguments: &Arguments, slow: Option<Duration>) -> Result<Drained> {
    let folder = tempfile::tempdir()?;
    let mut server = Child::start(&arguments.executable, &folder.path().join("data"))?;
    let key = server.key.clone().context("no key")?;
    let receiver = Receiver::start(slow, arguments.reports.then(|| (server.url.clone(), key.clone()))).await?;
    server.apply(&arguments.executable, &key, &configuration(arguments, receiver.port))?;
    let idle_bytes = memory(server.id(), "VmRSS:")?;

    let begun = Instant::now();
    submit(arguments, &server.url, &key).await?;
    let submitted_in = begun.elapsed().as_secs_f64();
    let others = arguments.requests * (arguments.silos - 1);
    receiver.expect(&receiver.told.others, others).await?;
    let others_in = begun.elapsed().as_secs_f64();
    if slow.is_none() {
        receiver.expect(&receiver.told.first, arguments.requests).await?;
        nothing_is_open(&server.url, &key).await?;
    }
    let drained_in = begun.elapsed().as_secs_f64();
    let peak_bytes = memory(server.id(), "VmHWM:")?;
    server.kill()?;
    Ok(Drained {
        submitted: arguments.requests as f64 / submitted_in,
        submitted_in,
        drained_in,
        others_in,
        peak_bytes,
        idle_bytes,
    })
}

fn configuration(arguments: &Arguments, port: u16) -> String {
    let mut text =
        "data-subjects:\n  - type: customer\n    title: Customer\n    actions: [ERASURE]\ndata-silos:\n".to_owned();
    for number in 0..arguments.silos {
        text += &format!(
            "  - title: Silo {number}\n    integrationName: server\n    url: http://127.0.0.1:{port}/{number}\n    \
             identity-keys: [email]\n"
        );
    }
    text
}

async fn submit(arguments: &Arguments, url: &str, key: &str) -> Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..arguments.connections {
        let (next, key, requests) = (Arc::clone(&next), key.to_owned(), arguments.requests);
        let mut connection = Connection::open(url).await?;
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return anyhow::Ok(());
                }
                let body = format!(
                    "{{\"type\":\"ERASURE\",\"subjectType\":\"customer\",\"isSilent\":true,\"subject\":{{\"coreIdentifier\":\
                     \"person-{number}\",\"email\":\"person-{number}@example.test\",\"emailIsVerified\":true}}}}"
                );
                let call = request("POST", "/v1/data-subject-request", &key, body.as_bytes());
                let mut answer = connection.call(&call).await?;
                while answer.status == 429 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    answer = connection.call(&call).await?;
                }
                ensure!(answer.status == 200, "answered {}", answer.status);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// Waits until every request has left its silos behind.
async fn nothing_is_open(url: &str, key: &str) -> Result<()> {
    let mut connection = Connection::open(url).await?;
    let query = br#"{"query":"{ requests(first: 1, filterBy: {status: [COMPILING]}) { nodes { id } } }"}"#;
    loop {
        let answer = connection.call(&request("POST", "/graphql", key, query)).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let nodes = answer["data"]["requests"]["nodes"]
            .as_array()
            .context("requests are not listed")?;
        if nodes.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A line of what the system counts of a process, in bytes.
fn memory(process: u32, line: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .context("the process is gone")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// Notices that have been answered.
#[derive(Default)]
struct Told {
    /// By the first silo, which may be slow.
    first: AtomicU64,
    others: AtomicU64,
    failed: AtomicBool,
}

/// The silos: one listener, a path for each.
struct Receiver {
    port: u16,
    told: Arc<Told>,
    _serving: JoinSet<()>,
}

/// Who reports with a nonce: the server's address, and a key.
type Reporter = Option<(String, String)>;

impl Receiver {
    async fn start(slow: Option<Duration>, reporter: Reporter) -> Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let told: Arc<Told> = Arc::default();
        let counted = Arc::clone(&told);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&counted), slow, reporter.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Receiver {
            port,
            told,
            _serving: serving,
        })
    }

    /// Waits until as many notices have been answered.
    async fn expect(&self, count: &AtomicU64, wanted: u64) -> Result<()> {
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            ensure!(!self.told.failed.load(Ordering::Relaxed), "a report was refused");
            let now = count.load(Ordering::Relaxed);
            if now >= wanted {
                return Ok(());
            }
            if now > last {
                (last, moved) = (now, Instant::now());
            }
            ensure!(
                moved.elapsed() < Duration::from_secs(60),
                "nothing is told any more, after {now} of {wanted}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn converse(mut stream: TcpStream, told: Arc<Told>, slow: Option<Duration>, reporter: Reporter) {
    let mut reports = match &reporter {
        Some((url, _)) => Connection::open(url).await.ok(),
        None => None,
    };
    let mut buffer = Vec::with_capacity(8 * 1024);
    while let Some(Notice { is_first, nonce }) = read_notice(&mut stream, &mut buffer).await {
        if let Some(wait) = slow.filter(|_| is_first) {
            tokio::time::sleep(wait).await;
        }
        let answer: &[u8] = match reporter {
            None => b"HTTP/1.1 204 No Content\r\n\r\n",
            Some(_) => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        if let (Some(connection), Some((_, key))) = (&mut reports, &reporter) {
            let done = format!(
                "PUT /v1/data-silo HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\nx-transcend-nonce: {nonce}\r\n\
                 content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            let mut answered = connection.call(done.as_bytes()).await;
            while answered.as_ref().is_ok_and(|answer| answer.status == 429) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                answered = connection.call(done.as_bytes()).await;
            }
            // A notice that came twice finds its work done.
            if !answered.is_ok_and(|answer| matches!(answer.status, 200 | 409)) {
                told.failed.store(true, Ordering::Relaxed);
            }
        }
        let count = if is_first { &told.first } else { &told.others };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

struct Notice {
    is_first: bool,
    nonce: String,
}

async fn read_notice(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Notice> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end]).ok()?;
    let header = |name: &str| {
        let of = |line: &str| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        };
        Some(head.lines().find(|line| of(line))?[name.len()..].trim().to_owned())
    };
    let is_first = head.starts_with("POST /0 ");
    let nonce = header("x-transcend-nonce:")?;
    let length: usize = header("content-length:")?.parse().ok()?;
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    buffer.drain(..head_end + length);
    Some(Notice { is_first, nonce })
}

/// How long a start takes where so many jobs are open: half of them due, at one target.
async fn start_with_jobs(arguments: &Arguments) -> Result<Duration> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    Child::start(&arguments.executable, &data)?.end()?;
    fill(&data, arguments.open_jobs).await?;
    let mut server = Child::start(&arguments.executable, &data)?;
    let ready = server.ready_in;
    server.kill()?;
    Ok(ready)
}

async fn fill(data: &Path, open_jobs: u64) -> Result<()> {
    const BATCH: u64 = 5_000;
    let config = StoreConfig::Embedded(EmbeddedConfig::new(data.join("store")));
    let store = Store::open(config, &antumbra_server::tables()).await?;
    let clock = antumbra_server::Clock::system();
    let ids = antumbra_server::Ids::new(clock.clone());
    let first = organization::list(&mut store.begin_read().await?).await?;
    let organization = first.first().context("no organization")?.id;
    let target = ids.uuid();
    for batch in 0..open_jobs.div_ceil(BATCH) {
        let mut tx = store.begin_write().await?;
        for number in batch * BATCH..open_jobs.min((batch + 1) * BATCH) {
            let subjects = [ids.uuid(), ids.uuid(), ids.uuid()];
            let job = Job::new(ids.uuid(), &runs::SEND_NOTICE, subjects).waiting_for(target);
            let due_in = Duration::from_secs(if number % 2 == 0 { 0 } else { 3_600 + number % 86_400 });
            jobs::enqueue(&mut tx, organization, job, clock.now() + due_in);
        }
        tx.commit().await?;
    }
    store.close().await;
    Ok(())
}
