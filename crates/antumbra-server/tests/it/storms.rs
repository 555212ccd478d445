//! Bad days: silos fail, processes die between claim and finish, notices and reports come twice.
//!
//! Each storm follows from its seed, which is printed; `ANTUMBRA_TEST_SEED` runs one alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use antumbra_server::{dsr::DsrId, jobs, organization::Action, runs::RunStatus};
use serde_json::{Value, json};

use crate::support::{
    receiver::{Receiver, status},
    story::{self, Story},
};

/// Numbers that look like chance and are the same for the same seed.
#[derive(Clone)]
struct Chance(Arc<Mutex<u64>>);

impl Chance {
    fn new(seed: u64) -> Chance {
        Chance(Arc::new(Mutex::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)))
    }

    /// A number below `bound`.
    fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) % bound
    }
}

/// What a silo was told and has not reported on for good: nonce, by request.
type Told = Arc<Mutex<BTreeMap<String, String>>>;

/// A receiver that accepts half of what it is told and fails at the rest in every way it knows.
async fn unreliable_receiver(chance: &Chance, told: &Told) -> Receiver {
    let receiver = Receiver::start().await;
    let (chance, told) = (chance.clone(), Arc::clone(told));
    receiver.answers_as(move |notice| {
        let request = notice.json()["extras"]["request"]["id"].as_str().unwrap().to_owned();
        let answer = match chance.below(10) {
            0 => status(500),
            1 => status(401),
            2 => Vec::new(),
            3 => b"HTTP/1.0 200 OK\r\n\r\nOK".to_vec(),
            4 => status(307),
            _ => status(200),
        };
        // It may do the work even where its answer was lost.
        told.lock().unwrap().insert(request, notice.nonce());
        std::future::ready(answer)
    });
    receiver
}

/// The silo of a story, with another of the same server in its place.
struct Silo<'a> {
    story: &'a Story,
    id: antumbra_server::silos::DataSiloId,
    key: String,
    told: Told,
    /// The last data that was acknowledged, by request.
    handed_over: BTreeMap<String, u64>,
}

impl Silo<'_> {
    /// Reports on something it was told of, now and then in vain, twice, or with data that comes again.
    async fn report_on_something(&mut self, chance: &Chance, round: u64) {
        let told: Vec<(String, String)> = self
            .told
            .lock()
            .unwrap()
            .iter()
            .map(|(request, nonce)| (request.clone(), nonce.clone()))
            .collect();
        if told.is_empty() {
            return;
        }
        let (request, nonce) = told[usize::try_from(chance.below(told.len() as u64)).unwrap()].clone();
        let data = json!({ "profiles": [{ "profileData": { "orders": [round] } }] });
        let (method, path, body) = match chance.below(6) {
            0 => (
                "PUT",
                "/v1/data-silo",
                json!({ "status": "WAITING", "pollId": "later" }),
            ),
            1 => ("POST", "/v1/data-silo", json!({ "status": "READY" })),
            2 => ("PUT", "/v1/data-silo", json!({})),
            _ => ("POST", "/v1/data-silo", data),
        };
        for _ in 0..=chance.below(2) {
            let server = &self.story.server;
            let call = server
                .client()
                .request(method.parse().unwrap(), server.url(path))
                .bearer_auth(&self.key);
            let answer = call
                .header("x-transcend-nonce", &nonce)
                .json(&body)
                .send()
                .await
                .unwrap();
            match answer.status().as_u16() {
                200 if body.get("profiles").is_some() => drop(self.handed_over.insert(request.clone(), round)),
                200 | 409 => {}
                other => panic!("{other}: {}", answer.text().await.unwrap()),
            }
        }
    }

    /// Comes for its work, as a cron job does.
    async fn fetch_work(&self) {
        let path = format!("/v1/data-silo/{}/pending-requests/ACCESS?limit=3", self.id.0);
        let server = &self.story.server;
        let call = server.client().get(server.url(&path)).bearer_auth(&self.key);
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        let mut told = self.told.lock().unwrap();
        for item in answer["items"].as_array().unwrap() {
            let text = |name: &str| item[name].as_str().unwrap().to_owned();
            told.insert(text("requestId"), text("nonce"));
        }
    }
}

async fn storm(seed: u64) {
    println!("ANTUMBRA_TEST_SEED={seed}");
    let chance = Chance::new(seed);
    let story = Story::with_data_points(&["orders", "profile"]).await;
    let mut silos = Vec::new();
    let mut receivers = Vec::new();
    for title in ["Shop", "Mail", "Warehouse"] {
        let told = Told::default();
        let receiver = unreliable_receiver(&chance, &told).await;
        let url = (title != "Warehouse").then(|| receiver.url());
        let id = story::add_silo(&story.server, title, url, &["orders", "profile"]).await;
        let key = story.server.key_for(&[], &[id]).await;
        silos.push(Silo {
            story: &story,
            id,
            key,
            told,
            handed_over: BTreeMap::new(),
        });
        receivers.push(receiver);
    }
    // The story's own silo has nobody by any identifier.
    story.receiver.answers(status(204));
    let mut requests = Vec::new();
    for person in 0..6 {
        let email = format!("{person}@example.test");
        requests.push(
            story
                .submit_about(Action::Access, &format!("core-{person}"), &email)
                .await,
        );
    }

    for round in 0..250 {
        match chance.below(6) {
            0 => drop(story.server.app().job_runner().claim_and_crash().await.unwrap()),
            1 => story.server.clock.advance(Duration::from_secs(chance.below(4 * 3600))),
            2 => silos[2].fetch_work().await,
            3 => story.server.run_jobs_until_idle().await,
            _ => {
                let which = usize::try_from(chance.below(3)).unwrap();
                silos[which].report_on_something(&chance, round).await;
            }
        }
    }
    settle(&story, &mut silos, &requests).await;
    check(&story, &silos, &requests).await;
}

/// The storm is over: everybody does their part, and time passes.
async fn settle(story: &Story, silos: &mut [Silo<'_>], requests: &[DsrId]) {
    for _ in 0..40 {
        story.server.pass(Duration::from_secs(6 * 3600)).await;
        silos[2].fetch_work().await;
        for silo in silos.iter() {
            let told: Vec<String> = silo.told.lock().unwrap().values().cloned().collect();
            for nonce in told {
                let call = story
                    .server
                    .client()
                    .put(story.server.url("/v1/data-silo"))
                    .bearer_auth(&silo.key);
                let answer = call.header("x-transcend-nonce", nonce).body("{}").send().await.unwrap();
                assert!(matches!(answer.status().as_u16(), 200 | 409));
            }
        }
        let mut compiling = 0;
        for request in requests {
            compiling += usize::from(story.status_of(*request).await == "COMPILING");
        }
        if compiling == 0 {
            return;
        }
    }
    panic!("some requests never came to their end");
}

async fn check(story: &Story, silos: &[Silo<'_>], requests: &[DsrId]) {
    for request in requests {
        assert_eq!(story.status_of(*request).await, "APPROVING");
        let runs = story.runs_of(*request).await;
        assert_eq!(runs.len(), 4, "one run for each silo, however often they were opened");
        for run in &runs {
            assert!(run.status().is_terminal());
            if run.silo == story.silo {
                assert_eq!(run.status(), RunStatus::Skipped);
            }
        }
        let files = story.files_of(*request).await;
        for silo in silos {
            let id = silo.id.0.to_string();
            let of_silo: Vec<&Value> = files
                .iter()
                .filter(|file| file["dataPoint"]["dataSilo"]["id"] == *id.as_str())
                .collect();
            match silo.handed_over.get(&request.to_string()) {
                None => assert!(of_silo.is_empty(), "a file that nobody acknowledged"),
                Some(round) => {
                    assert_eq!(of_silo.len(), 1, "an acknowledged hand-over is one file");
                    assert_eq!(story.download(of_silo[0]).await, format!("[{round}]").into_bytes());
                }
            }
        }
    }
    for silo in silos {
        let path = format!("/v1/data-silo/{}/pending-requests/ACCESS", silo.id.0);
        let call = story
            .server
            .client()
            .get(story.server.url(&path))
            .bearer_auth(&silo.key);
        assert_eq!(
            call.send().await.unwrap().json::<Value>().await.unwrap(),
            json!({ "items": [] })
        );
    }
    let mut reader = story.server.app().store.begin_read().await.unwrap();
    let parked = jobs::list_parked(&mut reader, story.organization(), None, 10)
        .await
        .unwrap();
    assert!(parked.is_empty(), "{parked:?}");
}

#[tokio::test]
async fn every_request_comes_to_its_end_and_nothing_acknowledged_is_lost() {
    let seeds = match std::env::var("ANTUMBRA_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2, 3],
    };
    for seed in seeds {
        storm(seed).await;
    }
}
