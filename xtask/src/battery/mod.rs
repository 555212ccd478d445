//! The batteries that kill servers. A server works under mixed load, is ended without warning, and is started again; then
//! everything it had acknowledged must still be there. The journal of what was acknowledged is kept here, outside of the
//! server and of the disk whose power is cut.

mod chance;
mod client;
mod journal;
mod lives;
mod load;
mod postbox;
mod receiver;
mod rows;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

pub use chance::Chance;
pub use journal::Acknowledged;
pub use server::Child;

use client::{Client, Refused};
use journal::Journal;
use load::Load;
use postbox::Postbox;
use receiver::Receiver;

/// What a battery runs.
pub struct Battery {
    /// The executable under test.
    pub executable: PathBuf,
    /// Its data folder.
    pub data: PathBuf,
    /// How many times the server is ended.
    pub rounds: usize,
    /// Where chance begins.
    pub seed: u64,
    /// Whether the disk goes away under the running server, so that storage trouble is an honest answer.
    pub disk_fails: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Rounds that were played.
    pub rounds: usize,
    /// Answers that counted as acknowledgements.
    pub acknowledged: Acknowledged,
    /// Acknowledged things that were looked for after a restart.
    pub checked: u64,
    /// What was missing or could not be, one line each.
    pub losses: Vec<String>,
    /// Webhooks that came more than once, under the identity they had had before.
    pub repeated: u64,
    /// From starting the process to being ready, each round.
    pub ready_in: Vec<Duration>,
    /// How long the last restart took to carry every open request to its end.
    pub settled_in: Duration,
}

impl Report {
    /// One paragraph of figures.
    pub fn summary(&self) -> String {
        let mut ready = self.ready_in.clone();
        ready.sort();
        let at = |part: f64| ready.get(((ready.len() as f64 * part) as usize).min(ready.len().saturating_sub(1)));
        let kinds = self.acknowledged.kinds().map(|(kind, count)| format!("{count} {kind}"));
        let shown = |duration: Option<&Duration>| duration.map_or("-".to_owned(), |d| format!("{} ms", d.as_millis()));
        format!(
            "{} rounds, {} acknowledged ({}), {} checked again, {} lost, {} webhooks repeated; ready after a restart in {} (median), \
             {} (99 of 100), {} (slowest); settled in {:.1} s",
            self.rounds,
            self.acknowledged.total(),
            kinds.join(", "),
            self.checked,
            self.losses.len(),
            self.repeated,
            shown(at(0.5)),
            shown(at(0.99)),
            shown(ready.last()),
            self.settled_in.as_secs_f64(),
        )
    }
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Report) {
        self.rounds += other.rounds;
        self.acknowledged += other.acknowledged;
        self.checked += other.checked;
        self.losses.extend(other.losses);
        self.repeated += other.repeated;
        self.ready_in.extend(other.ready_in);
        self.settled_in = self.settled_in.max(other.settled_in);
    }
}

impl Battery {
    /// Plays the rounds in several lanes at once, each with a server, a folder and a journal of its own, because a server
    /// that starts or is dead leaves the machine idle. `end` is as in [`run`](Self::run).
    pub fn run_side_by_side(
        &self,
        lanes: usize,
        end: impl Fn(&mut Child, &mut Chance) -> Result<()> + Sync,
    ) -> Result<Report> {
        let lane = |number: usize| Battery {
            executable: self.executable.clone(),
            data: self.data.join(format!("lane-{number}")),
            rounds: (self.rounds + number) / lanes,
            seed: self.seed.wrapping_add(number as u64),
            disk_fails: self.disk_fails,
        };
        std::fs::create_dir_all(&self.data)?;
        std::thread::scope(|scope| {
            let end = &end;
            let running: Vec<_> = (0..lanes)
                .map(|number| scope.spawn(move || lane(number).run(end)))
                .collect();
            let mut all = Report::default();
            for lane in running {
                all += lane.join().expect("a lane reports what goes wrong")?;
            }
            Ok(all)
        })
    }

    /// Plays every round. `end` ends the running server and leaves its folder ready for the next start. Stops at the
    /// first round with a loss.
    pub fn run(&self, mut end: impl FnMut(&mut Child, &mut Chance) -> Result<()>) -> Result<Report> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(self.play(&mut end))
    }

    async fn play(&self, end: &mut impl FnMut(&mut Child, &mut Chance) -> Result<()>) -> Result<Report> {
        let mut chance = Chance::new(self.seed);
        let receiver = Receiver::start().await?;
        let postbox = Postbox::start().await?;
        let journal = Arc::new(Journal::new(self.disk_fails));
        let mut report = Report::default();
        let mut key = None;
        for round in 0..self.rounds {
            postbox.next_life();
            let mut server = match Child::start_with(&self.executable, &self.data, &postbox.settings()) {
                Err(cause) if round > 0 => {
                    report
                        .losses
                        .push(format!("the server does not start again: {cause:#}"));
                    return Ok(report);
                }
                started => started?,
            };
            report.ready_in.push(server.ready_in);
            let first_key = server.key.take();
            if let (None, Some(first)) = (&key, first_key) {
                server.apply(&self.executable, &first, &receiver.configuration())?;
                key = Some(first);
            }
            let client = Client::new(&server.url, key.as_deref().context("the first start printed no key")?)?;
            match journal.check(&client, &mut chance, &mut report.losses).await {
                Err(cause) if cause.is::<Refused>() => report
                    .losses
                    .push(format!("what was acknowledged cannot be asked for: {cause}")),
                checked => report.checked += checked?,
            }
            report.rounds = round + 1;
            if !report.losses.is_empty() {
                return Ok(report);
            }
            let load = Load::start(client, Arc::clone(&journal), receiver.deliveries(), &mut chance);
            tokio::time::sleep(Duration::from_millis(chance.between(20, 800))).await;
            tokio::task::block_in_place(|| end(&mut server, &mut chance)).context("ending the server")?;
            load.stop().await;
            report.acknowledged = journal.acknowledged();
        }
        self.settle(
            &journal,
            (&receiver, &postbox),
            key.as_deref().unwrap_or_default(),
            &mut report,
        )
        .await?;
        Ok(report)
    }

    /// Starts once more, lets every open request come to its end, and looks at everything.
    async fn settle(
        &self,
        journal: &Arc<Journal>,
        (receiver, postbox): (&Receiver, &Postbox),
        key: &str,
        report: &mut Report,
    ) -> Result<()> {
        let begun = Instant::now();
        postbox.next_life();
        let mut server = Child::start_with(&self.executable, &self.data, &postbox.settings())?;
        report.ready_in.push(server.ready_in);
        let client = Client::new(&server.url, key)?;
        load::finish_everything(&client, journal, receiver.deliveries(), &mut report.losses).await?;
        load::wait_for_mails(journal, postbox, &mut report.losses).await;
        report.repeated += receiver.check(&mut report.losses).await;
        report.settled_in = begun.elapsed();
        report.checked += journal.check_everything(&client, &mut report.losses).await?;
        report.acknowledged = journal.acknowledged();
        server.end()?;
        report.checked += rows::check(&self.data, &mut report.losses).await?;
        Ok(())
    }
}
