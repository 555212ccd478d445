//! Data silos that other people wrote: some are told by webhook and some come for their work, and they answer early, late,
//! twice, with something else, or not at all.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use antumbra_server::silos::DataSiloId;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Chance, DAY, Year};
use crate::support::{
    receiver::{Notice, Receiver, status},
    story,
};

/// What cron silos ask for.
pub(super) const ACTIONS: [&str; 9] = [
    "ACCESS",
    "ERASURE",
    "RECTIFICATION",
    "RESTRICTION",
    "BUSINESS_PURPOSE",
    "CONTACT_OPT_OUT",
    "SALE_OPT_OUT",
    "PLACE_ON_LEGAL_HOLD",
    "REMOVE_FROM_LEGAL_HOLD",
];

/// Where files are sent.
const FILE: &str = "/v1/datapoint";

/// One silo.
pub(super) struct Silo {
    title: &'static str,
    id: DataSiloId,
    key: String,
    /// How it is told; none if it comes for its work.
    receiver: Option<Receiver>,
    seen: Arc<Seen>,
}

/// What a silo knows.
#[derive(Default)]
pub(super) struct Seen {
    /// It does what it should from now on.
    is_calm: AtomicBool,
    /// What it was asked, by nonce.
    errands: Mutex<BTreeMap<String, Errand>>,
    /// Notices that contradict earlier ones.
    wrongs: Mutex<Vec<String>>,
}

/// What it was asked about one person.
#[derive(Clone, Debug)]
struct Errand {
    request: String,
    core: String,
    action: String,
    /// The identifier to look up.
    identifier: String,
    /// Silo run and profile, where the silo is told them.
    told_as: Option<String>,
    /// Notices so far.
    notices: u64,
    /// Looks at it so far.
    looks: u64,
    /// The silo has nothing more to say.
    is_done: bool,
}

/// The silos of the year.
pub(super) async fn open(year: &Year) -> Vec<Silo> {
    let mut silos = Vec::new();
    for (title, is_told) in [
        ("Shop", true),
        ("Billing", true),
        ("Warehouse", false),
        ("Mailing list", true),
    ] {
        let receiver = if is_told { Some(Receiver::start().await) } else { None };
        let url = receiver.as_ref().map(Receiver::url);
        let id = story::add_silo(&year.server, title, url, &["profile", "orders"]).await;
        if title == "Shop" {
            let keys = ["email", "loyaltyCard"].map(str::to_owned);
            story::change_silo(&year.server, id, |silo| silo.identity_keys = keys.to_vec()).await;
        }
        let seen = Arc::new(Seen::default());
        if let Some(receiver) = &receiver {
            let (seen, seed) = (Arc::clone(&seen), year.plan.seed);
            receiver.answers_as(move |notice| std::future::ready(seen.take(seed, title, &notice)));
        }
        silos.push(Silo {
            title,
            id,
            key: year.server.key_for(&[], &[id]).await,
            receiver,
            seen,
        });
    }
    silos
}

impl Seen {
    /// Takes note of a notice, and thinks of an answer.
    fn take(&self, seed: u64, title: &str, notice: &Notice) -> Vec<u8> {
        let body = notice.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let extras = &body["extras"];
        let profile = &extras["profile"];
        let errand = Errand {
            request: text(&extras["request"]["id"]),
            core: text(&body["coreIdentifier"]["value"]),
            action: text(&body["type"]),
            identifier: text(&profile["identifier"]),
            told_as: Some(format!("{} {}", profile["RequestDataSiloId"], profile["id"])),
            notices: 0,
            looks: 0,
            is_done: false,
        };
        let (notices, who) = self.note(notice.nonce(), errand);
        if self.is_calm.load(Ordering::SeqCst) {
            return status(200);
        }
        let mut chance = Chance::of(seed, &format!("{title} hears of {who}"), notices);
        match chance.below(20) {
            0 => status(500),
            1 => status(401),
            2 => Vec::new(),
            3 => b"HTTP/1.0 200 OK\r\n\r\nOK".to_vec(),
            4 => status(307),
            5 => b"HTTP/1.1 429 X\r\nretry-after: 7200\r\ncontent-length: 0\r\n\r\n".to_vec(),
            6 => b"HTTP/1.0 200 OK\r\ncontent-length: 900\r\n\r\ncut short".to_vec(),
            7 => status(204),
            _ => status(200),
        }
    }

    /// Keeps what it was asked, once however often it is told, and says how often that was.
    fn note(&self, nonce: String, errand: Errand) -> (u64, String) {
        let mut errands = self.errands.lock().unwrap();
        let who = format!("{} {}", errand.core, errand.action);
        let known = errands.entry(nonce).or_insert_with(|| errand.clone());
        known.notices += 1;
        known.is_done = false;
        let is_same = (&known.request, &known.action, &known.identifier, &known.told_as)
            == (&errand.request, &errand.action, &errand.identifier, &errand.told_as);
        if !is_same {
            let wrong = format!("{who}: told once more under another identity: {known:?}, then {errand:?}");
            self.wrongs.lock().unwrap().push(wrong);
        }
        (known.notices, who)
    }
}

impl Silo {
    /// Does what it should from now on.
    pub(super) fn calm_down(&self) {
        self.seen.is_calm.store(true, Ordering::SeqCst);
    }

    /// What went wrong as this silo saw it: notices that changed their identity, and questions that were asked under more
    /// identities than the request had rounds.
    pub(super) fn wrongs(&self, rounds: &BTreeMap<String, usize>) -> Vec<String> {
        let mut wrongs = self.seen.wrongs.lock().unwrap().clone();
        let errands = self.seen.errands.lock().unwrap();
        let mut identities: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
        for errand in errands.values() {
            let question = (&*errand.request, &*errand.action, &*errand.identifier);
            *identities.entry(question).or_default() += 1;
        }
        for ((request, action, _), count) in identities {
            let rounds = rounds.get(request).copied().unwrap_or(0);
            if count > rounds {
                wrongs.push(format!(
                    "{} was asked for {action} by {request} under {count} nonces in {rounds} rounds",
                    self.title
                ));
            }
        }
        wrongs
    }
}

impl Year {
    /// Every silo comes for its work, and reports on some of what it was asked.
    pub(super) async fn work_in_silos(&mut self) {
        for place in 0..self.silos.len() {
            if self.silos[place].receiver.is_none() && (self.is_calm || self.chance.percent(50)) {
                self.fetch_work(place).await;
            }
            let seen = Arc::clone(&self.silos[place].seen);
            let open: Vec<String> = {
                let errands = seen.errands.lock().unwrap();
                // Some come back with an answer that nobody waits for.
                let late = self.chance.below(40);
                let open = errands
                    .iter()
                    .filter(|(_, errand)| !errand.is_done || errand.looks % 40 == late);
                open.map(|(nonce, _)| nonce.clone()).collect()
            };
            for nonce in open {
                self.work_on(place, &nonce).await;
            }
        }
    }

    /// Comes for work, as a cron job does.
    async fn fetch_work(&mut self, place: usize) {
        for action in ACTIONS {
            let path = format!(
                "/v1/data-silo/{}/pending-requests/{action}?limit=500",
                self.silos[place].id.0
            );
            let answer = self.call_of(place, Method::GET, &path, None, &Value::Null).await;
            assert_eq!(answer.0, 200, "{}", answer.1);
            for item in answer.1["items"].as_array().unwrap() {
                let text = |name: &str| item[name].as_str().unwrap().to_owned();
                let errand = Errand {
                    request: text("requestId"),
                    core: text("coreIdentifier"),
                    action: action.to_owned(),
                    identifier: text("identifier"),
                    told_as: None,
                    notices: 0,
                    looks: 0,
                    is_done: false,
                };
                self.silos[place].seen.note(text("nonce"), errand);
            }
        }
    }

    /// A look at one errand: perhaps an answer, perhaps two, perhaps none.
    async fn work_on(&mut self, place: usize, nonce: &str) {
        let silo = &self.silos[place];
        let (title, seen, is_calm) = (
            silo.title,
            Arc::clone(&silo.seen),
            silo.seen.is_calm.load(Ordering::SeqCst),
        );
        let errand = {
            let mut errands = seen.errands.lock().unwrap();
            let errand = errands.get_mut(nonce).unwrap();
            errand.looks += 1;
            errand.clone()
        };
        let who = format!("{title} works on {} {}", errand.core, errand.action);
        let mut chance = Chance::of(self.plan.seed, &who, errand.looks);
        let later = self.now() + DAY * 2;
        let found = json!({ "profiles": [{ "profileId": errand.core, "profileData": { "orders": [errand.looks] } }] });
        let step = if is_calm { 99 } else { chance.below(100) };
        let put = |body: Value| (Method::PUT, "/v1/data-silo", body);
        let (method, path, body) = match step {
            0..40 => return,
            40..48 => put(json!({ "status": "WAITING", "retryAfterDate": later.to_string(), "pollId": "ticket 7" })),
            48..52 => put(json!({ "status": "ACTION_REQUIRED", "message": "Two people go by that name" })),
            52..54 => put(json!({ "profileStatus": "ERROR" })),
            54..58 => put(json!({ "status": "SKIPPED" })),
            58..60 => put(json!({ "status": "SKIPPED_DUE_TO_EXCEPTION" })),
            60..80 if errand.action == "ACCESS" => (Method::POST, "/v1/data-silo", found),
            80..90 if errand.action == "ACCESS" => (Method::POST, FILE, json!("who they are")),
            _ => put(json!({})),
        };
        for _ in 0..1 + chance.below(2) {
            let (status, answer) = self.call_of(place, method.clone(), path, Some(nonce), &body).await;
            match status {
                200 => {}
                // Nobody waits for it any more.
                409 => seen.errands.lock().unwrap().get_mut(nonce).unwrap().is_done = true,
                _ => self.wrongs.push(format!("{who}: {status} {answer}")),
            }
        }
    }

    /// A call with the silo's own key.
    async fn call_of(
        &mut self,
        place: usize,
        method: Method,
        path: &str,
        nonce: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        let key = self.silos[place].key.clone();
        let answer = self
            .call(|server| {
                let mut call = server
                    .client()
                    .request(method.clone(), server.url(path))
                    .bearer_auth(&key);
                if let Some(nonce) = nonce {
                    call = call.header("x-transcend-nonce", nonce);
                }
                match (path, nonce) {
                    (FILE, _) => call
                        .header("x-transcend-datapoint-name", "profile")
                        .body(body.to_string()),
                    (_, Some(_)) => call.json(body),
                    (_, None) => call,
                }
            })
            .await;
        (answer.status, answer.body)
    }
}
