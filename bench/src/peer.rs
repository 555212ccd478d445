//! `antumbra-bench peer`: consents saved and read, one a call, beside another product's server that was started on this
//! machine before (see the README): the backend of c15t on PostgreSQL.
//!
//! Both are processes of their own, both answer after their fsync, and what they use of the processors is what the system
//! counts for them and for all that they started: what the load itself uses is on neither side. Ours encrypts what it
//! stores and checks a key on each call, which the peer does not.

use std::{collections::HashSet, fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use xtask::battery::Child;

use crate::{
    load::{Caller, Run, Until, load, mixed},
    raw::{Connection, request},
    table::{Row, print},
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the peer answers; on this machine
    #[arg(long)]
    url: String,
    /// Processes of the peer, whose time on the processors is counted with that of all that they started
    #[arg(long, value_delimiter = ',', required = true)]
    pids: Vec<u32>,
    /// The executable, as it is released
    #[arg(long, default_value = "target/release/antumbra")]
    executable: PathBuf,
    /// Where our data goes; it should lie on the disk that the peer's lies on
    #[arg(long, default_value = "target")]
    folder: PathBuf,
    /// People whom each side saves at most
    #[arg(long, default_value_t = 50_000)]
    people: u64,
    /// Seconds for each measurement at most
    #[arg(long, default_value_t = 15)]
    seconds: u64,
}

const CONNECTIONS: u64 = 16;
/// Calls that are not counted, until each side has compiled and cached what it will.
const WARM_UP: u64 = 500;
/// Work that is put off until after the answer counts as well, if it is begun within this time.
const SETTLE: Duration = Duration::from_secs(2);
/// What the system counts time on the processors in, whatever its own clock.
const TICK_MICROS: f64 = 10_000.0;

/// Advertising, Analytics and Functional are there from the start.
const CONFIGURATION: &str = "partitions:\n  - name: Shop\n    partition: shop\n";

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let is_here = arguments.url.starts_with("http://127.0.0.1:");
    ensure!(
        is_here,
        "a peer is measured on this machine only: http://127.0.0.1:PORT"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir_in(&arguments.folder)?;
    let mut server = Child::start(&arguments.executable, &folder.path().join("data"))?;
    let key = server.key.clone().context("no key")?;
    server.apply(&arguments.executable, &key, CONFIGURATION)?;
    let caller = Caller {
        url: server.url.clone(),
        key,
        partition: "shop".to_owned(),
    };
    let ours = Side::of(arguments, &caller.url, &[server.id()]);
    let peer = Side::of(arguments, &arguments.url, &arguments.pids);
    let guest = Guest(std::process::id());

    let saving = caller.clone();
    let our_saves = ours.save(move |person| saving.upsert([person], 0)).await?;
    let peer_saves = peer.save(move |person| guest.save(person)).await?;
    println!(
        "saved: {} of ours, {} of the peer's; p99 {:.1} ms and {:.1} ms",
        our_saves.run.calls, peer_saves.run.calls, our_saves.run.p99, peer_saves.run.p99
    );
    let our_people = WARM_UP + our_saves.run.calls;
    let peer_people = WARM_UP + peer_saves.run.calls;

    let our_reads = ours.read(our_people, move |person| caller.query(person)).await?;
    let by_id = peer.read(peer_people, move |person| guest.read(person)).await?;
    let by_identifier = peer.read(peer_people, move |person| guest.check(person)).await?;
    server.end()?;

    let rows: Vec<Row> = [
        ("saved, a new person a call", &our_saves, &peer_saves),
        ("read by identifier, the peer's by its id", &our_reads, &by_id),
        ("read by identifier, the peer's one answer", &our_reads, &by_identifier),
    ]
    .into_iter()
    .flat_map(|(what, ours, peer)| {
        [
            Row::beside(what, ours.run.per_second, peer.run.per_second, "1/s"),
            Row::beside("  time on the processors, each", ours.micros, peer.micros, "us"),
        ]
    })
    .collect();
    print(&format!("beside a peer, 1 a call x {CONNECTIONS}"), &rows);
    println!(
        "on the processors a save costs the peer {:.0} times ours, a read by its id {:.0}, by identifier {:.0}",
        peer_saves.micros / our_saves.micros,
        by_id.micros / our_reads.micros,
        by_identifier.micros / our_reads.micros,
    );
    Ok(())
}

/// One of the two that are measured.
struct Side {
    url: String,
    pids: Vec<u32>,
    people: u64,
    time: Duration,
}

/// What calls came to, and what each cost on the processors.
struct Cost {
    run: Run,
    micros: f64,
}

impl Side {
    fn of(arguments: &Arguments, url: &str, pids: &[u32]) -> Side {
        Side {
            url: url.to_owned(),
            pids: pids.to_vec(),
            people: arguments.people,
            time: Duration::from_secs(arguments.seconds),
        }
    }

    /// Saves people, each of them new.
    async fn save(&self, make: impl Fn(u64) -> Vec<u8> + Clone + Send + Sync + 'static) -> Result<Cost> {
        load(&self.url, CONNECTIONS, Until::Calls(WARM_UP), make.clone()).await?;
        self.cost(Until::Either(self.people, self.time), move |call| make(WARM_UP + call))
            .await
    }

    /// Reads some of the people who were saved, after looking whether a read tells of its person.
    async fn read(&self, people: u64, make: impl Fn(u64) -> Vec<u8> + Clone + Send + Sync + 'static) -> Result<Cost> {
        let answer = Connection::open(&self.url).await?.call(&make(people - 1)).await?;
        let body = String::from_utf8_lossy(&answer.body);
        let tells = body.contains("example.test") || body.contains("\"hasConsent\":true");
        ensure!(tells, "answered {}, and not about the person: {body}", answer.status);
        load(&self.url, CONNECTIONS, Until::Either(WARM_UP, self.time), make.clone()).await?;
        self.cost(Until::Time(self.time), move |call| make(mixed(call, people)))
            .await
    }

    async fn cost(&self, until: Until, make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Result<Cost> {
        let before = micros_used(&self.pids)?;
        let run = load(&self.url, CONNECTIONS, until, make).await?;
        tokio::time::sleep(SETTLE).await;
        let used = micros_used(&self.pids)? - before;
        ensure!(run.calls > 0, "no call was answered in time");
        let micros = used / run.calls as f64;
        Ok(Cost { run, micros })
    }
}

/// Whoever calls the peer, with people of this run only, so that each save is of somebody new.
#[derive(Clone, Copy)]
struct Guest(u32);

impl Guest {
    /// What a visitor's browser sends after a click, as the peer's documentation has it.
    fn save(self, person: u64) -> Vec<u8> {
        let (id, name, measures) = (self.id(person), self.name(person), person.is_multiple_of(2));
        let body = format!(
            "{{\"type\":\"cookie_banner\",\"subjectId\":\"{id}\",\"externalSubjectId\":\"{name}\",\
             \"domain\":\"example.test\",\"givenAt\":1770109200000,\
             \"preferences\":{{\"necessary\":true,\"measurement\":{measures},\"marketing\":true}}}}"
        );
        request("POST", "/subjects", "", body.as_bytes())
    }

    /// All that is known of a person, by the peer's own id.
    fn read(self, person: u64) -> Vec<u8> {
        request("GET", &format!("/subjects/{}", self.id(person)), "", b"")
    }

    /// Whether a person has consented, by the identifier they are known by elsewhere.
    fn check(self, person: u64) -> Vec<u8> {
        let name = self.name(person);
        let path = format!("/consents/check?externalId={name}&type=cookie_banner");
        request("GET", &path, "", b"")
    }

    /// Ids are in base 58, which has no zero.
    fn id(self, person: u64) -> String {
        format!("sub_{}x{person}", self.0).replace('0', "z")
    }

    fn name(self, person: u64) -> String {
        format!("person-{}-{person}@example.test", self.0)
    }
}

/// Time on the processors, in microseconds, that these processes have used, with all that they started and still run or
/// have seen end.
fn micros_used(pids: &[u32]) -> Result<f64> {
    let processes = processes()?;
    for pid in pids {
        let runs = processes.iter().any(|process| process.pid == *pid);
        ensure!(runs, "process {pid} does not run");
    }
    let mut family: HashSet<u32> = pids.iter().copied().collect();
    loop {
        let known = family.len();
        let children = processes.iter().filter(|process| family.contains(&process.parent));
        let children: Vec<u32> = children.map(|process| process.pid).collect();
        family.extend(children);
        if family.len() == known {
            break;
        }
    }
    let members = processes.iter().filter(|process| family.contains(&process.pid));
    Ok(members.map(|process| process.ticks).sum::<u64>() as f64 * TICK_MICROS)
}

struct Process {
    pid: u32,
    parent: u32,
    /// Its own and those of children that have ended, in user and in system mode.
    ticks: u64,
}

fn processes() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        // The name stands in brackets and may hold anything; the state comes next, then the parent.
        let (_, fields) = stat.rsplit_once(')').context("a process without a name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = fields.get(11..15).context("a process without its times")?;
        found.push(Process {
            pid,
            parent: fields[1].parse()?,
            ticks: ticks.iter().map(|part| part.parse::<u64>()).sum::<Result<u64, _>>()?,
        });
    }
    Ok(found)
}
