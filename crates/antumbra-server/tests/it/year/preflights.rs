//! What happens before silos are asked: a lookup that somebody else wrote, rules that stop requests or leave them to a person,
//! waits, and people who are asked by phone.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use antumbra_server::dsr::DsrId;
use serde_json::json;

use super::{Chance, Year};
use crate::support::receiver::{Notice, Receiver, status};

/// An enricher that is asked by webhook: it answers at once, later, wrongly, or not at all.
pub(super) struct Lookup {
    receiver: Receiver,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    is_calm: AtomicBool,
    /// The nonces that it still has to answer to.
    later: Mutex<BTreeSet<String>>,
}

impl Lookup {
    pub(super) async fn start(seed: u64) -> Lookup {
        let receiver = Receiver::start().await;
        let seen = Arc::new(Seen::default());
        let thinking = Arc::clone(&seen);
        receiver.answers_as(move |notice| std::future::ready(thinking.answer(seed, &notice)));
        Lookup { receiver, seen }
    }

    /// Answers at once from now on.
    pub(super) fn calm_down(&self) {
        self.seen.is_calm.store(true, Ordering::SeqCst);
    }
}

impl Seen {
    fn answer(&self, seed: u64, notice: &Notice) -> Vec<u8> {
        const FOUND: &str = r#"{"enrichedIdentifiers":{"loyaltyCard":[{"value":"LC-7"}]}}"#;
        const NOBODY: &str = r#"{"enrichedIdentifiers":{}}"#;
        const UNKNOWN: &str = r#"{"enrichedIdentifiers":{"shoeSize":[{"value":"44"}]}}"#;
        let says = |body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
        let who = notice.json()["coreIdentifier"]["value"].to_string();
        if self.is_calm.load(Ordering::SeqCst) {
            return says(FOUND);
        }
        match Chance::of(seed, &format!("{who} is looked up"), 0).below(12) {
            0 => status(500),
            1 => Vec::new(),
            2 => says(UNKNOWN),
            3 => status(204),
            4..6 => {
                self.later.lock().unwrap().insert(notice.nonce());
                status(200)
            }
            6..8 => says(NOBODY),
            _ => says(FOUND),
        }
    }
}

impl Year {
    /// Sets up every kind of preflight that runs here.
    pub(super) async fn configure_preflights(&mut self) {
        self.manage(
            "mutation { createIdentifier(input: {name: \"loyaltyCard\", type: custom}) { identifier { id } } }",
        )
        .await;
        let url = self.lookup.receiver.url();
        for settings in [
            format!(
                "title: \"Loyalty lookup\", type: SERVER, url: \"{url}\", inputIdentifier: \"email\", \
                 identifiers: [\"loyaltyCard\"], actions: [ACCESS, ERASURE]"
            ),
            "title: \"Known fraud\", type: REGEX_MATCH, inputIdentifier: \"email\", testRegex: \"^p[0-9]*13@\", \
             transitionRequestStatus: CANCELED"
                .to_owned(),
            "title: \"Elsewhere\", type: REGION_MATCH, inputIdentifier: \"coreIdentifier\", regionList: [\"JP\"]"
                .to_owned(),
            "title: \"Cool off\", type: WAIT_PERIOD, expirationDuration: \"172800000\", actions: [RESTRICTION]"
                .to_owned(),
            "title: \"Call back\", type: PERSON, actions: [RECTIFICATION]".to_owned(),
        ] {
            self.manage(&format!(
                "mutation {{ createEnricher(input: {{{settings}}}) {{ enricher {{ id }} }} }}"
            ))
            .await;
        }
    }

    /// The lookup gives the answers that it promised.
    pub(super) async fn answer_lookups(&mut self) {
        let later = std::mem::take(&mut *self.lookup.seen.later.lock().unwrap());
        for nonce in later {
            let body = json!({ "enrichedIdentifiers": { "loyaltyCard": [{ "value": "LC-8" }] } });
            let key = self.admin_key.clone();
            let answer = self
                .call(|server| {
                    let call = server.client().post(server.url("/v1/enrich-identifiers"));
                    call.bearer_auth(&key).header("x-transcend-nonce", &nonce).json(&body)
                })
                .await;
            // Nobody may wait for it any more.
            if !matches!(answer.status, 200 | 400 | 404 | 409) {
                self.wrongs.push(format!(
                    "a late answer of the lookup: {} {}",
                    answer.status, answer.body
                ));
            }
        }
    }

    /// A person goes on without the preflights that wait for a person, or that do not get on.
    pub(super) async fn look_at_preflights(&mut self, id: DsrId) {
        let listed =
            format!("{{ requestEnrichers(input: {{requestId: \"{id}\"}}, first: 100) {{ nodes {{ id status }} }} }}");
        let Some(listed) = self.manage(&listed).await else {
            return;
        };
        for node in listed["nodes"].as_array().unwrap() {
            if matches!(node["status"].as_str(), Some("ACTION_REQUIRED" | "ERROR")) {
                let skip = format!("skipRequestEnricher(id: {}) {{ requestEnricher {{ id }} }}", node["id"]);
                self.try_to_manage(&format!("mutation {{ {skip} }}")).await.ok();
            }
        }
    }
}
