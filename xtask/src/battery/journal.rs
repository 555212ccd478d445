//! What the server acknowledged, and whether it still knows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest};

use super::chance::Chance;
use super::client::{Client, Refused};
use super::lives::Lives;

/// Everything acknowledged so far. A thing enters when its 200 has been read, never before.
pub(super) struct Journal {
    kept: Mutex<Kept>,
    /// Whose records come and go.
    pub(super) lives: Lives,
}

/// How many answers counted as acknowledgements, by what they acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Choices of one person.
    pub choices: u64,
    /// Records made, joined, renamed and deleted.
    pub steps: u64,
    /// Submissions.
    pub requests: u64,
    /// Uploaded files.
    pub files: u64,
    /// Reports of silos: each answers a webhook.
    pub reports: u64,
    /// Approvals.
    pub approvals: u64,
    /// What a silo that comes for its work reported done.
    pub errands: u64,
    /// Mails that had to arrive, and did.
    pub mails: u64,
}

impl Acknowledged {
    /// All of them.
    pub fn total(self) -> u64 {
        self.kinds().into_iter().map(|(_, count)| count).sum()
    }

    /// Each kind with its count.
    pub fn kinds(self) -> [(&'static str, u64); 8] {
        [
            ("choices", self.choices),
            ("steps of records", self.steps),
            ("requests", self.requests),
            ("files", self.files),
            ("reports", self.reports),
            ("approvals", self.approvals),
            ("errands", self.errands),
            ("mails", self.mails),
        ]
    }
}

impl std::ops::AddAssign for Acknowledged {
    fn add_assign(&mut self, other: Acknowledged) {
        self.choices += other.choices;
        self.steps += other.steps;
        self.requests += other.requests;
        self.files += other.files;
        self.reports += other.reports;
        self.approvals += other.approvals;
        self.errands += other.errands;
        self.mails += other.mails;
    }
}

#[derive(Default)]
struct Kept {
    acknowledged: Acknowledged,
    people: BTreeMap<String, Choices>,
    /// People who refused news once, and whether that was acknowledged.
    refusals: BTreeMap<String, bool>,
    requests: BTreeMap<String, Request>,
    /// The nonces of errands that were reported done.
    errands: BTreeSet<String>,
    /// What the last round touched, and so what the next start is asked about first.
    fresh_people: Vec<String>,
    fresh_refusals: Vec<String>,
    fresh_requests: Vec<String>,
    /// Answers that no server may give under this load, however it is about to end.
    unexpected: Vec<String>,
    disk_fails: bool,
}

/// The choices of one person. What was sent without an answer may or may not be kept, and nothing else may.
#[derive(Clone, Copy, Default)]
struct Choices {
    acknowledged: u64,
    sent: u64,
}

/// One data subject request.
#[derive(Clone, Default)]
pub(super) struct Request {
    pub(super) files: Vec<File>,
    /// The farthest that it must have come.
    pub(super) reached: Stage,
    /// The address of the data subject, who is told how it goes; none if it is silent.
    pub(super) told: Option<String>,
}

/// One file that was acknowledged.
#[derive(Clone)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// How far a request has come, as its status tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    #[default]
    Made,
    Compiling,
    /// Its silo has reported everything. What follows is the server's own work, so it is not seen in a status at once.
    Reported,
    Approving,
    Sent,
}

impl Stage {
    /// The stage of a status, if the requests of this battery can be in it at all.
    pub(super) fn of(status: &str) -> Option<Stage> {
        match status {
            "REQUEST_MADE" | "ENRICHING" => Some(Stage::Made),
            "COMPILING" => Some(Stage::Compiling),
            "APPROVING" => Some(Stage::Approving),
            "DOWNLOADABLE" | "COMPLETED" => Some(Stage::Sent),
            _ => None,
        }
    }

    /// The least that a status may show of a request that came so far.
    fn seen_as(self) -> Stage {
        if self == Stage::Reported {
            Stage::Compiling
        } else {
            self
        }
    }
}

impl Journal {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no task panics while it writes the journal")
    }

    /// An empty journal. `disk_fails` as in [`Battery`](super::Battery).
    pub(super) fn new(disk_fails: bool) -> Journal {
        let kept = Kept {
            disk_fails,
            ..Kept::default()
        };
        Journal {
            kept: Mutex::new(kept),
            lives: Lives::default(),
        }
    }

    pub(super) fn acknowledged(&self) -> Acknowledged {
        Acknowledged {
            steps: self.lives.acknowledged(),
            ..self.kept().acknowledged
        }
    }

    /// Notes an answer that was no acknowledgement. Overload is an honest one; so is storage trouble while a disk fails.
    pub(super) fn refused(&self, refused: &Refused) {
        let mut kept = self.kept();
        let honest = refused.status == 429 || (kept.disk_fails && refused.status == 502);
        if !honest {
            kept.unexpected.push(format!("the load was refused: {refused}"));
        }
    }

    /// The next sequence numbers of some people, noted as sent.
    pub(super) fn about_to_choose(&self, people: &[String]) -> Vec<(String, u64)> {
        let mut kept = self.kept();
        let next = |person: &String| {
            let choices = kept.people.entry(person.clone()).or_default();
            choices.sent += 1;
            (person.clone(), choices.sent)
        };
        people.iter().map(next).collect()
    }

    pub(super) fn chosen(&self, choices: &[(String, u64)]) {
        let mut kept = self.kept();
        for (person, sequence) in choices {
            kept.acknowledged.choices += 1;
            kept.fresh_people.push(person.clone());
            let of_person = kept.people.entry(person.clone()).or_default();
            of_person.acknowledged = of_person.acknowledged.max(*sequence);
        }
    }

    /// Notes that people are about to refuse news.
    pub(super) fn about_to_refuse(&self, people: &[String]) {
        let mut kept = self.kept();
        kept.fresh_refusals.extend_from_slice(people);
        kept.refusals
            .extend(people.iter().map(|person| (person.clone(), false)));
    }

    pub(super) fn refused_news(&self, people: &[String]) {
        let mut kept = self.kept();
        kept.acknowledged.choices += people.len() as u64;
        kept.refusals.extend(people.iter().map(|person| (person.clone(), true)));
    }

    pub(super) fn submitted(&self, dsr: &str, told: Option<String>) {
        self.reached(dsr, Stage::Made);
        self.kept().requests.entry(dsr.to_owned()).or_default().told = told;
    }

    /// Notes what a silo that comes for its work finds on its list. What it has reported on must not come back.
    pub(super) fn found_errand(&self, nonce: &str) {
        let mut kept = self.kept();
        if kept.errands.contains(nonce) {
            kept.unexpected
                .push("work that was reported done is on the list again".to_owned());
        }
    }

    /// Notes that it has done some, and that its report was acknowledged.
    pub(super) fn ran_errand(&self, nonce: String) {
        let mut kept = self.kept();
        kept.acknowledged.errands += u64::from(kept.errands.insert(nonce));
    }

    /// Whom which mails must have reached, once every request has come to its end.
    pub(super) fn expected_mails(&self) -> Vec<(String, String)> {
        let kept = self.kept();
        let told = kept.requests.values().filter_map(|request| request.told.clone());
        let subjects = [
            "We have received your privacy request",
            "The answer to your privacy request is ready",
        ];
        told.flat_map(|address| subjects.map(|subject| (address.clone(), subject.to_owned())))
            .collect()
    }

    pub(super) fn mails_arrived(&self, count: u64) {
        self.kept().acknowledged.mails = count;
    }

    pub(super) fn uploaded(&self, dsr: &str, name: &str, content: &[u8]) {
        let file = File {
            name: name.to_owned(),
            bytes: content.len() as u64,
            sha256: sha256(content),
        };
        let mut kept = self.kept();
        kept.acknowledged.files += 1;
        kept.requests.entry(dsr.to_owned()).or_default().files.push(file);
        kept.fresh_requests.push(dsr.to_owned());
    }

    /// Notes that a request came so far and may never be found before it again.
    pub(super) fn reached(&self, dsr: &str, stage: Stage) {
        let mut kept = self.kept();
        match stage {
            Stage::Made => kept.acknowledged.requests += 1,
            Stage::Reported => kept.acknowledged.reports += 1,
            Stage::Sent => kept.acknowledged.approvals += 1,
            Stage::Compiling | Stage::Approving => {}
        }
        let request = kept.requests.entry(dsr.to_owned()).or_default();
        request.reached = request.reached.max(stage);
        kept.fresh_requests.push(dsr.to_owned());
    }

    /// Every request and how far it came.
    pub(super) fn requests(&self) -> Vec<(String, Stage)> {
        self.kept()
            .requests
            .iter()
            .map(|(dsr, request)| (dsr.clone(), request.reached))
            .collect()
    }

    /// Looks for what the last round had acknowledged and for some of what earlier rounds had.
    pub(super) async fn check(&self, client: &Client, chance: &mut Chance, losses: &mut Vec<String>) -> Result<u64> {
        let (mut people, mut requests, refusals) = {
            let mut kept = self.kept();
            losses.append(&mut kept.unexpected);
            let refusals = std::mem::take(&mut kept.fresh_refusals);
            let mut people = std::mem::take(&mut kept.fresh_people);
            let mut requests = std::mem::take(&mut kept.fresh_requests);
            let everyone: Vec<&String> = kept.people.keys().collect();
            let every_request: Vec<&String> = kept.requests.keys().collect();
            people.extend((0..40).filter_map(|_| chance.pick(&everyone).map(|person| (*person).clone())));
            requests.extend((0..10).filter_map(|_| chance.pick(&every_request).map(|dsr| (*dsr).clone())));
            (people, requests, refusals)
        };
        people.sort();
        people.dedup();
        requests.sort();
        requests.dedup();
        let lives = self.lives.check(client, losses).await?;
        Ok(lives + self.check_those(client, &people, &requests, &refusals, losses).await?)
    }

    /// Looks for everything.
    pub(super) async fn check_everything(&self, client: &Client, losses: &mut Vec<String>) -> Result<u64> {
        let (people, requests, refusals): (Vec<_>, Vec<_>, Vec<_>) = {
            let mut kept = self.kept();
            losses.append(&mut kept.unexpected);
            (
                kept.people.keys().cloned().collect(),
                kept.requests.keys().cloned().collect(),
                kept.refusals.keys().cloned().collect(),
            )
        };
        let lives = self.lives.check_everybody(client, losses).await?;
        Ok(lives + self.check_those(client, &people, &requests, &refusals, losses).await?)
    }

    async fn check_those(
        &self,
        client: &Client,
        people: &[String],
        requests: &[String],
        refusals: &[String],
        losses: &mut Vec<String>,
    ) -> Result<u64> {
        Ok(self.check_people(client, people, losses).await?
            + self.check_requests(client, requests, losses).await?
            + self.check_refusals(client, refusals, losses).await?)
    }

    /// Whoever refused news has one request, and whoever is not known to have refused has none.
    async fn check_refusals(&self, client: &Client, people: &[String], losses: &mut Vec<String>) -> Result<u64> {
        for some in people.chunks(100) {
            let known = client.chosen(some).await?;
            for person in some {
                let is_known = known.iter().any(|(other, ..)| other == person);
                let opened = client.requests_about(person).await?;
                if opened != u64::from(is_known) {
                    losses.push(format!("{person} refused news: {is_known}, and has {opened} requests"));
                }
                if !is_known && self.kept().refusals.get(person) == Some(&true) {
                    losses.push(format!("the refusal of {person} is gone"));
                }
            }
        }
        Ok(people.len() as u64)
    }

    async fn check_people(&self, client: &Client, people: &[String], losses: &mut Vec<String>) -> Result<u64> {
        for some in people.chunks(100) {
            let found: BTreeMap<String, (u64, bool)> = client
                .chosen(some)
                .await?
                .into_iter()
                .map(|(person, sequence, enabled)| (person, (sequence, enabled)))
                .collect();
            let kept = self.kept();
            for person in some {
                let expected = kept.people.get(person).copied().unwrap_or_default();
                match found.get(person) {
                    None if expected.acknowledged > 0 => losses.push(format!("the choices of {person} are gone")),
                    None => {}
                    Some((sequence, _)) if *sequence < expected.acknowledged || *sequence > expected.sent => {
                        losses.push(format!(
                            "choice {sequence} of {person} is kept; {} was acknowledged, {} sent",
                            expected.acknowledged, expected.sent
                        ));
                    }
                    Some((sequence, enabled)) if *enabled != (sequence % 2 == 0) => {
                        losses.push(format!("choice {sequence} of {person} is kept with another answer"));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(people.len() as u64)
    }

    async fn check_requests(&self, client: &Client, requests: &[String], losses: &mut Vec<String>) -> Result<u64> {
        for dsr in requests {
            let Some(expected) = self.kept().requests.get(dsr).cloned() else {
                continue;
            };
            let status = match client.status(dsr).await {
                Ok(status) => status,
                Err(cause) => {
                    losses.push(format!("request {dsr} is gone: {cause}"));
                    continue;
                }
            };
            match Stage::of(&status) {
                None => losses.push(format!("request {dsr} is in state {status}, which it cannot reach")),
                Some(stage) if stage < expected.reached.seen_as() => {
                    losses.push(format!(
                        "request {dsr} fell back to {status} from {:?}",
                        expected.reached
                    ));
                }
                Some(stage) if stage >= Stage::Approving => check_files(client, dsr, &expected.files, losses).await?,
                Some(_) => {}
            }
        }
        Ok(requests.len() as u64)
    }
}

/// Each acknowledged file is listed with its size, and is byte for byte what was sent.
async fn check_files(client: &Client, dsr: &str, files: &[File], losses: &mut Vec<String>) -> Result<()> {
    let listed = client.files(dsr).await?;
    for file in files {
        let Some(found) = listed.iter().find(|found| found.name.contains(&file.name)) else {
            losses.push(format!("file {} of request {dsr} is not listed", file.name));
            continue;
        };
        if found.bytes != file.bytes {
            losses.push(format!(
                "file {} of request {dsr} has {} bytes, not {}",
                file.name, found.bytes, file.bytes
            ));
            continue;
        }
        match client.download(&found.download_key).await {
            Ok(content) if sha256(&content) == file.sha256 => {}
            Ok(_) => losses.push(format!("file {} of request {dsr} has other bytes", file.name)),
            Err(cause) => losses.push(format!("file {} of request {dsr} cannot be read: {cause}", file.name)),
        }
    }
    Ok(())
}

fn sha256(content: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, content).as_ref());
    hash
}
