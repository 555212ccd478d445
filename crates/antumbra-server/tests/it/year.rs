//! A year in the life of a server, in seconds: requests of every kind come in, silos and mail servers behave as they please,
//! people confirm, withdraw or say nothing, an administrator decides, and the process dies at its commits, before and after
//! they are durable. When the year is over and everybody has done their part, nothing is left over.
//!
//! A year follows from its seed, which is printed; `ANTUMBRA_TEST_SEED` plays one again. `cargo xtask year` plays large ones:
//! it sets `ANTUMBRA_YEAR_REQUESTS` and builds for speed.

mod chance;
mod check;
mod desk;
mod people;
mod preflights;
mod silos;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use antumbra_server::{
    ServerConfig,
    api_keys::ScopeName,
    config::MailConfig,
    dsr::{self, DsrHead, DsrId},
    preferences, retention,
};
use antumbra_store::Crash;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::{chance::Chance, preflights::Lookup, silos::Silo};
use crate::support::{
    TestServer,
    postbox::{Postbox, Posted},
    rows::rows_of,
    story,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How large a year is, and how hard.
#[derive(Clone, Copy)]
struct Plan {
    seed: u64,
    requests: u64,
    days: u64,
    /// The process dies within so many commits, again and again; 0: never.
    crash_within: u64,
    /// The longest time that nobody looks.
    leap_max: Duration,
}

/// A server, everybody around it, and what they know.
struct Year {
    plan: Plan,
    server: TestServer,
    /// May do everything.
    admin_key: String,
    postbox: Postbox,
    /// The mail server takes mail and does not say so.
    loses_receipts: bool,
    silos: Vec<Silo>,
    /// The enricher that is asked by webhook.
    lookup: Lookup,
    /// The ids of actions' settings.
    workflows: BTreeMap<String, String>,
    /// What happens next, where that is nobody's own decision.
    chance: Chance,
    begun: Timestamp,
    /// How often the process has died.
    crashes: u64,
    /// Whether it dies again and again.
    is_mortal: bool,
    /// Whether everybody does what they should.
    is_calm: bool,
    /// Every request that was acknowledged, and what was asked for.
    requests: BTreeMap<DsrId, Asked>,
    /// Those that may not have come to their end.
    unfinished: BTreeSet<DsrId>,
    mails: Vec<Mail>,
    /// How many mails have been read.
    read_mails: usize,
    /// What went wrong on the way.
    wrongs: Vec<String>,
}

/// What a request was submitted as.
#[derive(Clone, Debug)]
struct Asked {
    core: String,
    action: &'static str,
    country: Option<&'static str>,
    /// It was over when it came in.
    is_import: bool,
}

/// A mail, and in which life of the process the mail server got it.
struct Mail {
    life: u64,
    /// The mail server took it and did not say so.
    was_denied: bool,
    posted: Posted,
}

/// An answer of the server.
struct Answer {
    status: u16,
    body: Value,
    /// The process died over it once and was asked again, so it may have been done before.
    is_repeated: bool,
}

impl Year {
    async fn begin(plan: Plan) -> Year {
        let postbox = Postbox::start().await;
        let mail = MailConfig::new(&postbox.url(), "Shop <privacy@shop.example.test>").unwrap();
        let config = ServerConfig {
            mail: Some(mail),
            public_url: Some("https://privacy.example.test".to_owned()),
            ..story::config()
        };
        let server = TestServer::with(config).await;
        let admin_key = server.key(&[ScopeName::FullAdmin]).await;
        let mut year = Year {
            plan,
            admin_key,
            postbox,
            loses_receipts: false,
            silos: Vec::new(),
            lookup: Lookup::start(plan.seed).await,
            workflows: BTreeMap::new(),
            chance: Chance::new(plan.seed),
            begun: server.clock.now(),
            server,
            crashes: 0,
            is_mortal: plan.crash_within > 0,
            is_calm: false,
            requests: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            mails: Vec::new(),
            read_mails: 0,
            wrongs: Vec::new(),
        };
        year.silos = silos::open(&year).await;
        year.server
            .reconfigure(|config| config.keys.epoch = Some(30 * DAY))
            .await;
        year.configure().await;
        year.plan_crash();
        year
    }

    fn now(&self) -> Timestamp {
        self.server.clock.now()
    }

    /// The commit at which the process dies next.
    fn plan_crash(&mut self) {
        if self.is_mortal {
            let nth = 1 + self.chance.below(self.plan.crash_within);
            let crash = self.chance.pick(&[Crash::Before, Crash::After]);
            self.server.app().store.crash_at(nth, crash);
        }
    }

    /// Starts the process again if it has died.
    async fn rise(&mut self) -> bool {
        if !self.server.app().store.has_crashed() {
            return false;
        }
        // Nobody starts a process in no time.
        self.server.clock.advance(Duration::from_secs(1));
        self.server.restart().await;
        // What was on its way to the mail server has arrived by now.
        self.collect_mail();
        self.crashes += 1;
        self.plan_crash();
        true
    }

    fn collect_mail(&mut self) {
        let life = self.crashes;
        let taken = self.postbox.take().into_iter();
        let was_denied = self.loses_receipts;
        self.mails.extend(taken.map(|posted| Mail {
            life,
            was_denied,
            posted,
        }));
    }

    /// One call, made once more whenever the process dies over it.
    async fn call(&mut self, make: impl Fn(&TestServer) -> reqwest::RequestBuilder) -> Answer {
        let mut is_repeated = false;
        loop {
            let sent = make(&self.server).send().await;
            if self.rise().await {
                is_repeated = true;
                continue;
            }
            let answer = sent.unwrap();
            let status = answer.status().as_u16();
            let bytes = answer.bytes().await.unwrap();
            let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
            let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
            return Answer {
                status,
                body,
                is_repeated,
            };
        }
    }

    /// Carries out a document of the management API with one field. Nothing, if it had been done before it was asked again.
    async fn manage(&mut self, document: &str) -> Option<Value> {
        self.try_to_manage(document)
            .await
            .unwrap_or_else(|refused| panic!("{document}: {refused}"))
    }

    /// The same, or the words in which it is refused.
    async fn try_to_manage(&mut self, document: &str) -> Result<Option<Value>, String> {
        let key = self.admin_key.clone();
        let body = json!({ "query": document });
        let answer = self
            .call(|server| {
                let call = server.client().post(server.url("/graphql"));
                call.bearer_auth(&key).json(&body)
            })
            .await;
        if let Some(errors) = answer.body.get("errors") {
            return if answer.is_repeated {
                Ok(None)
            } else {
                Err(errors.to_string())
            };
        }
        let data = answer.body["data"].as_object().unwrap();
        Ok(data.values().next().cloned())
    }

    /// Does whatever is due, through any number of deaths.
    async fn run_jobs(&mut self) {
        loop {
            let app = self.server.app();
            let done = async {
                preferences::number_changes(app).await?;
                retention::keep(app).await?;
                app.job_runner().run_until_idle().await
            };
            let done = done.await;
            if !self.rise().await {
                done.unwrap();
                return self.collect_mail();
            }
        }
    }

    async fn heads(&self, ids: &[DsrId]) -> Vec<DsrHead> {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        dsr::find_heads(&mut reader, self.server.organization, ids)
            .await
            .unwrap()
    }

    /// Jobs that wait or run.
    async fn jobs_left(&self) -> usize {
        rows_of(&self.server, "jobs").await.len() + rows_of(&self.server, "lined_up_jobs").await.len()
    }

    /// Some time passes, and everybody does their part.
    async fn go_on(&mut self, leap: Duration) {
        self.server.clock.advance(leap);
        self.run_jobs().await;
        self.answer_mails().await;
        self.answer_lookups().await;
        self.work_in_silos().await;
        self.decide().await;
        self.begin_one_again().await;
        self.run_jobs().await;
    }

    /// The whole year.
    async fn pass(&mut self) {
        let end = self.begun + DAY * u32::try_from(self.plan.days).unwrap();
        let mut submitted = 0;
        while self.now() < end || submitted < self.plan.requests {
            let passed = self.now().duration_since(self.begun).as_secs().unsigned_abs();
            let due = self.plan.requests * passed / (self.plan.days * DAY.as_secs());
            while submitted < due.min(self.plan.requests) {
                self.submit(submitted).await;
                submitted += 1;
            }
            self.postbox_changes_its_mind();
            if self.chance.percent(2) {
                self.server.restart().await;
                self.plan_crash();
            }
            let leap = HOUR + Duration::from_secs(self.chance.below((self.plan.leap_max - HOUR).as_secs()));
            self.go_on(leap).await;
        }
    }

    /// From now on everybody does what they should.
    fn calm_down(&mut self) {
        self.is_calm = true;
        self.postbox.behaves();
        self.loses_receipts = false;
        self.lookup.calm_down();
        for silo in &self.silos {
            silo.calm_down();
        }
    }

    /// Everybody does what they should, until nothing is left to do.
    async fn settle(&mut self) {
        self.is_mortal = false;
        self.server.restart().await;
        self.calm_down();
        for _ in 0..240 {
            self.go_on(DAY).await;
            if self.unfinished.is_empty() && self.jobs_left().await == 0 {
                return;
            }
        }
    }

    /// The year is over, and everything must have come to its end.
    async fn end(mut self, began: Instant) {
        self.settle().await;
        let wrongs = self.check().await;
        println!(
            "{} requests, {} mails, {} deaths of the process in {:?}",
            self.requests.len(),
            self.mails.len(),
            self.crashes,
            began.elapsed()
        );
        let shown: Vec<String> = wrongs.iter().take(40).cloned().collect();
        let (seed, count) = (self.plan.seed, wrongs.len());
        assert!(
            count == 0,
            "ANTUMBRA_TEST_SEED={seed}: {count} wrongs:\n{}",
            shown.join("\n")
        );
    }
}

/// There everything takes longer.
fn is_on_postgres() -> bool {
    std::env::var_os("ANTUMBRA_TEST_POSTGRES").is_some()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[tokio::test]
async fn a_year_with_deaths_at_any_commit_ends_with_nothing_left_over() {
    let began = Instant::now();
    let large = number("ANTUMBRA_YEAR_REQUESTS");
    let plan = Plan {
        seed: number("ANTUMBRA_TEST_SEED").unwrap_or(1),
        requests: large.unwrap_or(if is_on_postgres() { 8 } else { 20 }),
        days: 365,
        crash_within: number("ANTUMBRA_YEAR_CRASH_WITHIN").unwrap_or(60),
        leap_max: if large.is_some() { 30 * HOUR } else { 4 * DAY },
    };
    println!("ANTUMBRA_TEST_SEED={}", plan.seed);
    let mut year = Year::begin(plan).await;
    year.pass().await;
    year.end(began).await;
}

/// The same person's erasure is begun, with a preview and mails, and the process dies at its first commit; then at its second,
/// and so on, until it has come to its end untouched. Some of them, unless a large year was
/// asked for.
#[tokio::test]
async fn an_erasure_comes_to_its_end_whichever_of_its_commits_the_process_dies_at() {
    let began = Instant::now();
    let is_large = number("ANTUMBRA_YEAR_REQUESTS").is_some();
    let plan = Plan {
        seed: number("ANTUMBRA_TEST_SEED").unwrap_or(1),
        requests: 0,
        days: 0,
        crash_within: 0,
        leap_max: 4 * DAY,
    };
    println!("ANTUMBRA_TEST_SEED={}", plan.seed);
    let mut year = Year::begin(plan).await;
    year.calm_down();
    let step = match (is_large, is_on_postgres()) {
        (true, _) => 1,
        (false, false) => 5,
        (false, true) => 12,
    };
    let first = 1 + plan.seed % step;
    let mut person = 0;
    for crash in [Crash::Before, Crash::After] {
        for nth in (first..).step_by(usize::try_from(step).unwrap()) {
            let crashes = year.crashes;
            year.server.app().store.crash_at(nth, crash);
            person += 1;
            year.submit_erasure(person).await;
            while !year.unfinished.is_empty() {
                assert!(
                    year.now() < year.begun + 3000 * DAY,
                    "an erasure does not come to its end"
                );
                year.go_on(4 * DAY).await;
            }
            if year.crashes == crashes {
                year.server.app().store.crash_at(0, crash);
                break;
            }
        }
    }
    year.end(began).await;
}
