//! The mixed load: people choose, requests are submitted, a silo uploads and reports, a person approves; and the webhooks
//! of the server fly in between.

#![expect(
    clippy::disallowed_methods,
    reason = "the clients of a battery, which end with their round"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::task::JoinSet;

use super::chance::Chance;
use super::client::{Client, Refused};
use super::journal::{Journal, Stage};
use super::lives::Step;
use super::postbox::Postbox;
use super::receiver::{Deliveries, Delivery};

/// How long the last start may take to bring every request to its end.
const SETTLE_MAX: Duration = Duration::from_secs(240);

/// Numbers that no two files or people share, over all rounds.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Tasks that work until they are stopped or the server goes away.
pub(super) struct Load {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

/// What every task needs.
struct Task {
    client: Client,
    journal: Arc<Journal>,
    deliveries: Deliveries,
    chance: Chance,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(super) fn start(client: Client, journal: Arc<Journal>, deliveries: Deliveries, chance: &mut Chance) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let mut task = || Task {
            client: client.clone(),
            journal: Arc::clone(&journal),
            deliveries: Arc::clone(&deliveries),
            chance: chance.branch(),
            stop: Arc::clone(&stop),
        };
        for group in 0..4 {
            tasks.spawn(choose(task(), group));
        }
        tasks.spawn(refuse(task()));
        tasks.spawn(live(task()));
        tasks.spawn(submit(task()));
        for _ in 0..3 {
            tasks.spawn(answer(task()));
        }
        tasks.spawn(run_errands(task()));
        tasks.spawn(approve(task()));
        Load { tasks, stop }
    }

    /// Waits until every task has seen that the server is gone.
    pub(super) async fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Task {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }
}

/// Whether a task goes on after a call that was not acknowledged: after overload it does, else the server is gone.
async fn may_try_again(journal: &Journal, cause: &anyhow::Error) -> bool {
    let Some(refused) = cause.downcast_ref::<Refused>() else {
        return false;
    };
    journal.refused(refused);
    let overloaded = refused.status == 429;
    if overloaded {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    overloaded
}

async fn choose(mut task: Task, group: u64) {
    while task.goes_on() {
        let count = task.chance.between(1, 20);
        let mut people: Vec<String> = (0..count)
            .map(|_| format!("p{group}-{}@example.test", task.chance.between(1, 200)))
            .collect();
        people.sort();
        people.dedup();
        let choices = task.journal.about_to_choose(&people);
        match task.client.choose(&choices).await {
            Ok(()) => task.journal.chosen(&choices),
            Err(cause) if may_try_again(&task.journal, &cause).await => {}
            Err(_) => return,
        }
    }
}

/// People whom nobody knows yet refuse news, a few in a call.
async fn refuse(mut task: Task) {
    while task.goes_on() {
        let people: Vec<String> = (0..task.chance.between(1, 5))
            .map(|_| format!("r{}@example.test", NEXT.fetch_add(1, Ordering::SeqCst)))
            .collect();
        task.journal.about_to_refuse(&people);
        match task.client.refuse_news(&people).await {
            Ok(()) => task.journal.refused_news(&people),
            Err(cause) if may_try_again(&task.journal, &cause).await => {}
            Err(_) => return,
        }
        tokio::time::sleep(Duration::from_millis(task.chance.between(20, 120))).await;
    }
}

/// People nobody knows yet get records, which are joined, renamed and deleted; some stop on the way.
async fn live(mut task: Task) {
    while task.goes_on() {
        let person = NEXT.fetch_add(1, Ordering::SeqCst);
        let steps = task.chance.between(1, Step::ALL.len() as u64) as usize;
        for step in &Step::ALL[..steps] {
            task.journal.lives.about_to(person, *step);
            loop {
                match task.client.step(person, *step).await {
                    Ok(()) => break task.journal.lives.done(person, *step),
                    Err(cause) if may_try_again(&task.journal, &cause).await => {}
                    Err(_) => return,
                }
            }
        }
    }
}

async fn submit(mut task: Task) {
    while task.goes_on() {
        let person = format!("subject-{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let is_silent = task.chance.one_in(2);
        let told = (!is_silent).then(|| format!("{person}@example.test"));
        match task.client.submit(&person, is_silent).await {
            Ok(dsr) => task.journal.submitted(&dsr, told),
            Err(cause) if may_try_again(&task.journal, &cause).await => {}
            Err(_) => return,
        }
        tokio::time::sleep(Duration::from_millis(task.chance.between(20, 120))).await;
    }
}

/// A silo works on a delivery: some files, then the report. What was cut off goes back to the others.
async fn answer(mut task: Task) {
    while task.goes_on() {
        let Some(delivery) = task.deliveries.lock().await.pop() else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        if let Err(cause) = work_on(&task.client, &task.journal, &mut task.chance, &delivery).await {
            let again = may_try_again(&task.journal, &cause).await;
            task.deliveries.lock().await.insert(0, delivery);
            if !again {
                return;
            }
        }
    }
}

async fn work_on(client: &Client, journal: &Journal, chance: &mut Chance, delivery: &Delivery) -> Result<()> {
    for _ in 0..chance.between(1, 3) {
        let name = format!("file{:08}x", NEXT.fetch_add(1, Ordering::SeqCst));
        let most = if chance.one_in(8) { 3_000_000 } else { 60_000 };
        let count = chance.between(0, most) as usize;
        let content = chance.bytes(count);
        match client.upload(&delivery.nonce, &name, content.clone()).await {
            Ok(()) => journal.uploaded(&delivery.dsr, &name, &content),
            // Delivered twice, and done the first time: there is nothing left to upload to.
            Err(cause)
                if cause
                    .downcast_ref::<Refused>()
                    .is_some_and(|refused| refused.status == 409) =>
            {
                break;
            }
            Err(cause) => return Err(cause),
        }
    }
    client.report_done(&delivery.nonce).await?;
    journal.reached(&delivery.dsr, Stage::Reported);
    Ok(())
}

/// A silo comes for its work and does it.
async fn run_errands(task: Task) {
    while task.goes_on() {
        if let Err(cause) = run_some_errands(&task.client, &task.journal).await
            && !may_try_again(&task.journal, &cause).await
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn run_some_errands(client: &Client, journal: &Journal) -> Result<()> {
    let silo = client.find_mailing_list().await?;
    for action in ["CONTACT_OPT_OUT", "ACCESS"] {
        for nonce in client.fetch_work(&silo, action).await? {
            journal.found_errand(&nonce);
            client.report_nothing(&nonce).await?;
            journal.ran_errand(nonce);
        }
    }
    Ok(())
}

async fn approve(mut task: Task) {
    while task.goes_on() {
        let reported = of_stage(&task.journal, Stage::Reported);
        if let Some(dsr) = task.chance.pick(&reported) {
            match approve_if_ready(&task.client, &task.journal, dsr).await {
                Ok(()) => {}
                Err(cause) if may_try_again(&task.journal, &cause).await => {}
                Err(_) => return,
            }
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

async fn approve_if_ready(client: &Client, journal: &Journal, dsr: &str) -> Result<()> {
    match Stage::of(&client.status(dsr).await?) {
        Some(Stage::Approving) => client.approve(dsr).await?,
        // An approval that was cut off may have taken effect.
        Some(Stage::Sent) => {}
        _ => return Ok(()),
    }
    journal.reached(dsr, Stage::Sent);
    Ok(())
}

fn of_stage(journal: &Journal, stage: Stage) -> Vec<String> {
    journal
        .requests()
        .into_iter()
        .filter(|(_, reached)| *reached == stage)
        .map(|(dsr, _)| dsr)
        .collect()
}

/// Works off every delivery and every errand, old and new, and approves every request, also those that nobody was told of
/// before the server was killed.
pub(super) async fn finish_everything(
    client: &Client,
    journal: &Journal,
    deliveries: Deliveries,
    losses: &mut Vec<String>,
) -> Result<()> {
    let begun = Instant::now();
    let mut chance = Chance::new(1);
    loop {
        while let Some(delivery) = { deliveries.lock().await.pop() } {
            work_on(client, journal, &mut chance, &delivery).await?;
        }
        run_some_errands(client, journal).await?;
        for dsr in of_stage(journal, Stage::Reported) {
            approve_if_ready(client, journal, &dsr).await?;
        }
        let (others, count) = client.open_requests().await?;
        for (dsr, _) in others.iter().filter(|(_, status)| status == "APPROVING") {
            client.approve(dsr).await?;
        }
        let open: Vec<String> = journal
            .requests()
            .into_iter()
            .filter(|(_, r)| *r < Stage::Sent)
            .map(|(d, _)| d)
            .chain(others.into_iter().map(|(d, _)| d))
            .collect();
        if open.is_empty() && count == 0 {
            return Ok(());
        }
        if begun.elapsed() > SETTLE_MAX {
            for dsr in open.iter().take(20) {
                let status = client.status(dsr).await.unwrap_or_else(|cause| cause.to_string());
                losses.push(format!(
                    "request {dsr} does not go on: {status}, no webhook after {SETTLE_MAX:?}"
                ));
            }
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits for the mails that must come, and looks at all that came.
pub(super) async fn wait_for_mails(journal: &Journal, postbox: &Postbox, losses: &mut Vec<String>) {
    let begun = Instant::now();
    let expected = journal.expected_mails();
    let missing = || expected.iter().filter(|about| !postbox.has(about));
    while missing().next().is_some() && begun.elapsed() < SETTLE_MAX {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    losses.extend(missing().map(|(to, subject)| format!("{to} was never told {subject:?}")));
    postbox.check(losses);
    journal.mails_arrived(postbox.count());
}
