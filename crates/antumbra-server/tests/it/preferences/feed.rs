//! The change feed: what changed, in order, without a gap.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use antumbra_server::{ServerConfig, preferences};
use futures_util::StreamExt;
use tokio::{sync::Mutex, task::JoinSet};

use super::*;
use crate::support::manage::manage;

/// What a call of the feed came to.
struct Answer {
    status: u16,
    /// Where to read on.
    cursor: Option<String>,
    changes: Vec<Value>,
    problem: Value,
}

/// Reads changes of the shop. `None` if the server is away.
async fn try_changes(server: &TestServer, key: &str, query: &str) -> Option<Answer> {
    let path = format!("/v1/preferences/{SHOP}/changes{query}");
    let sent = server
        .client()
        .get(server.url(&path))
        .bearer_auth(key)
        .send()
        .await
        .ok()?;
    let status = sent.status().as_u16();
    let cursor = sent
        .headers()
        .get("antumbra-cursor")
        .map(|value| value.to_str().unwrap().to_owned());
    let text = sent.text().await.ok()?;
    if status != 200 {
        return Some(Answer {
            status,
            cursor,
            changes: Vec::new(),
            problem: serde_json::from_str(&text).unwrap(),
        });
    }
    let changes: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(text.is_empty() || text.ends_with('\n'));
    Some(Answer {
        status,
        cursor,
        changes,
        problem: Value::Null,
    })
}

impl Preferences {
    async fn changes(&self, query: &str) -> Answer {
        try_changes(&self.server, &self.key, query).await.unwrap()
    }

    /// As many changes as that, waiting for them.
    pub(super) async fn wait_for_changes(&self, count: usize) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        let mut query = "?wait=20".to_owned();
        while all.len() < count {
            let answer = self.changes(&query).await;
            assert_eq!(answer.status, 200, "{}", answer.problem);
            assert!(
                !answer.changes.is_empty(),
                "{count} changes were expected and {} came",
                all.len()
            );
            all.extend(answer.changes);
            query = format!("?wait=20&after={}", answer.cursor.unwrap());
        }
        assert_eq!(all.len(), count);
        all
    }
}

/// A change without what is different each time.
fn plain(change: &Value) -> Value {
    let mut plain = change.clone();
    let members = plain.as_object_mut().unwrap();
    for different in ["cursor", "id", "into", "identifiers"] {
        members.remove(different);
    }
    plain
}

#[tokio::test]
async fn a_change_says_who_what_before_and_after_and_when() {
    let store = Preferences::start().await;
    let record = |enabled: bool, cadence: &str, at: &str| {
        json!({"identifiers": [email_of("ada@example.test")], "timestamp": at, "purposes": [
            {"purpose": "ProductNews", "enabled": enabled, "preferences": [{"topic": "Cadence", "choice": {"selectValue": cadence}}]},
            {"purpose": "Analytics", "enabled": true},
        ]})
    };
    let node = store.record(record(true, "Weekly", "2026-02-03T09:15:00.250Z")).await;
    store.record(record(false, "Monthly", "2026-02-04T09:15:00.250Z")).await;
    let changes = store.wait_for_changes(2).await;
    let shown: Vec<Value> = changes.iter().map(plain).collect();
    assert_eq!(
        shown,
        [
            json!({"partition": SHOP, "type": "changed", "revision": 1, "knownAt": "2026-03-02T10:00:00.000Z",
                "timestamp": "2026-02-03T09:15:00.250Z", "changes": [
                {"purpose": "ProductNews", "previous": null, "current": true, "timestamp": "2026-02-03T09:15:00.250Z",
                    "preferences": [{"topic": "Cadence", "previous": null, "current": {"selectValue": "Weekly"}}]},
                {"purpose": "Analytics", "previous": null, "current": true, "timestamp": "2026-02-03T09:15:00.250Z"},
            ]}),
            json!({"partition": SHOP, "type": "changed", "revision": 2, "knownAt": "2026-03-02T10:00:00.000Z",
                "timestamp": "2026-02-04T09:15:00.250Z", "changes": [
                {"purpose": "ProductNews", "previous": true, "current": false, "timestamp": "2026-02-04T09:15:00.250Z",
                    "preferences": [{"topic": "Cadence", "previous": {"selectValue": "Weekly"}, "current": {"selectValue": "Monthly"}}]},
            ]}),
        ]
    );
    for change in &changes {
        assert_eq!(change["id"], transcend_of(&node));
        assert_eq!(change["identifiers"], node["identifiers"]);
    }
}

#[tokio::test]
async fn what_changes_nothing_is_no_change() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    store
        .record_choice("ada@example.test", "Analytics", false, "2026-02-03T09:00:00Z")
        .await;
    store
        .record_choice("bea@example.test", "Analytics", false, "2026-02-03T10:00:00Z")
        .await;
    let changes = store.wait_for_changes(2).await;
    let people: Vec<&Value> = changes
        .iter()
        .map(|change| &change["identifiers"][0]["value"])
        .collect();
    assert_eq!(people, ["ada@example.test", "bea@example.test"]);
}

#[tokio::test]
async fn records_that_become_one_are_told_of_before_the_change_of_the_one_that_stays() {
    let store = Preferences::start().await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let first = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let other = json!({"identifiers": [phone], "purposes": [{"purpose": "ProductNews", "enabled": true}]});
    let second = store.record(other).await;
    let both = json!({"identifiers": [email_of("ada@example.test"), phone], "timestamp": "2026-02-03T11:00:00Z",
        "options": {"mergeRecordsOnConflict": true}});
    store.record(both).await;
    let changes = store.wait_for_changes(4).await;
    let kinds: Vec<&Value> = changes.iter().map(|change| &change["type"]).collect();
    assert_eq!(kinds, ["changed", "changed", "merged", "changed"]);
    assert_eq!(changes[2]["id"], transcend_of(&second));
    assert_eq!(changes[2]["into"], transcend_of(&first));
    assert_eq!(changes[3]["id"], transcend_of(&first));
    let gained =
        json!([{"purpose": "ProductNews", "previous": null, "current": true, "timestamp": "2026-02-03T09:15:00.250Z"}]);
    assert_eq!(changes[3]["changes"], gained);
    // Whoever was meant by the record that is gone is known by what the other is known by.
    assert_eq!(changes[1]["identifiers"], changes[3]["identifiers"]);
}

#[tokio::test]
async fn a_cursor_goes_on_where_it_was_given_whatever_the_size_of_the_pages() {
    let store = Preferences::start().await;
    for batch in 0..5 {
        let records: Vec<Value> = (0..7)
            .map(|n| in_shop(json!({"identifiers": [email_of(&format!("p{batch}-{n}@example.test"))]})))
            .collect();
        assert_eq!(store.upsert(json!({"records": records})).await.0, 200);
    }
    let all = store.wait_for_changes(35).await;
    for limit in [1, 4, 7, 10, 1000] {
        let (mut read, mut after) = (Vec::new(), String::new());
        loop {
            let answer = store.changes(&format!("?limit={limit}{after}")).await;
            assert!(answer.changes.len() <= limit);
            if answer.changes.is_empty() {
                break;
            }
            assert_eq!(answer.changes.last().unwrap()["cursor"], answer.cursor.clone().unwrap());
            read.extend(answer.changes);
            after = format!("&after={}", answer.cursor.unwrap());
        }
        assert_eq!(read, all, "{limit}");
    }
    // Any change's own cursor serves as well.
    let after = all[9]["cursor"].as_str().unwrap();
    assert_eq!(
        store.changes(&format!("?after={after}&limit=3")).await.changes,
        all[10..13]
    );
}

#[tokio::test]
async fn whoever_begins_now_is_told_of_what_comes_only() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    store.wait_for_changes(1).await;
    let now = store.changes("?from=now").await;
    assert!(now.changes.is_empty());
    let after = format!("?wait=20&after={}", now.cursor.unwrap());
    let (answer, _) = tokio::join!(
        store.changes(&after),
        store.record_choice("bea@example.test", "Analytics", true, "2026-02-03T10:00:00Z"),
    );
    assert_eq!(answer.changes.len(), 1);
    assert_eq!(answer.changes[0]["identifiers"][0]["value"], "bea@example.test");
    assert_eq!(store.changes("?from=start").await.changes.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_its_place() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    store
        .record_choice("bea@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let cursor = store.wait_for_changes(2).await[0]["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let of_query = store.query(SHOP, json!({"limit": 1})).await.1["cursor"]
        .as_str()
        .unwrap()
        .to_owned();
    let elsewhere = format!("/v1/preferences/{GAMES}/changes?after={cursor}");
    let (status, problem) = store.call(reqwest::Method::GET, &elsewhere, String::new()).await;
    assert_eq!((status, &problem["details"][0]["path"]), (400, &json!("after")));
    let flipped = format!("{}{}", &cursor[..cursor.len() - 9], &cursor[cursor.len() - 8..]);
    for (query, place) in [
        (format!("?after={of_query}"), "after"),
        (format!("?after={flipped}"), "after"),
        (format!("?after={}", &cursor[..cursor.len() / 2]), "after"),
        ("?after=".to_owned(), "after"),
        ("?from=yesterday".to_owned(), "from"),
        ("?limit=0".to_owned(), "limit"),
        ("?limit=1001".to_owned(), "limit"),
        ("?limit=x".to_owned(), "limit"),
        ("?wait=61".to_owned(), "wait"),
        ("?wait=-1".to_owned(), "wait"),
    ] {
        let answer = store.changes(&query).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.problem["details"][0]["path"], place, "{}", answer.problem);
    }
    let (status, _) = store
        .call(reqwest::Method::GET, "/v1/preferences/nowhere/changes", String::new())
        .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_cursor_of_another_organization_is_worth_what_a_forged_one_is() {
    let store = Preferences::start().await;
    let theirs = store.server.another_organization().await;
    configure(&store.server, theirs, &["theirs"]).await;
    let scopes = vec![ScopeName::FullAdmin];
    let (_, key) = store
        .server
        .make_key(theirs, ApiKeyInput { scopes, ..key_input() })
        .await;
    let cursor = store.changes("").await.cursor.unwrap();
    let path = format!("/v1/preferences/theirs/changes?after={cursor}");
    let (status, problem) = call(&store.server, &key, reqwest::Method::GET, &path, String::new()).await;
    assert_eq!((status, &problem["details"][0]["path"]), (400, &json!("after")));
    let (status, _) = call(
        &store.server,
        &key,
        reqwest::Method::GET,
        &format!("/v1/preferences/{SHOP}/changes"),
        String::new(),
    )
    .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn old_changes_expire_and_a_reader_who_is_behind_is_told_so() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    store
        .record_choice("bea@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let old = store.wait_for_changes(2).await;
    let begin = store.changes("?limit=1").await;
    store.server.clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    store
        .record_choice("cyd@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let all = store.wait_for_changes(3).await;
    preferences::expire_changes(store.server.app()).await.unwrap();
    let behind = store.changes(&format!("?after={}", begin.cursor.unwrap())).await;
    assert_eq!(
        (behind.status, &behind.problem["code"]),
        (410, &json!("CURSOR_EXPIRED")),
        "{}",
        behind.problem
    );
    let up_to_date = format!("?after={}", old[1]["cursor"].as_str().unwrap());
    assert_eq!(store.changes(&up_to_date).await.changes, all[2..]);
    assert_eq!(store.changes("").await.changes, all[2..]);
    // When all of it has expired, whoever has seen all of it is not behind.
    store.server.clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    preferences::expire_changes(store.server.app()).await.unwrap();
    let last = format!("?after={}", all[2]["cursor"].as_str().unwrap());
    assert_eq!(store.changes(&last).await.changes, [] as [Value; 0]);
    assert_eq!(store.changes(&up_to_date).await.status, 410);
    assert_eq!(
        store.changes("").await.cursor,
        all[2]["cursor"].as_str().map(str::to_owned)
    );
}

#[tokio::test]
async fn the_changes_of_a_person_who_was_deleted_are_empty_places_and_the_last_says_that_they_are_gone() {
    let store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    store
        .record_choice("bea@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let before = store.wait_for_changes(2).await;
    let path = format!("/v1/preferences/{SHOP}/delete");
    let who =
        json!({"records": [{"anchorIdentifier": email_of("ada@example.test"), "timestamp": "2026-02-04T10:00:00Z"}]});
    let (status, answer) = store.call(reqwest::Method::POST, &path, who.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let after = store.wait_for_changes(3).await;
    let place = |cursor: &Value, what: Value| {
        let mut place = json!({"cursor": cursor, "partition": SHOP, "id": before[0]["id"], "erased": true,
            "knownAt": "2026-03-02T10:00:00.000Z", "identifiers": [], "changes": []});
        place.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        place
    };
    let changed = place(&before[0]["cursor"], json!({"type": "changed", "revision": 1}));
    let deleted = place(&after[2]["cursor"], json!({"type": "deleted"}));
    assert_eq!(after, [changed, before[1].clone(), deleted]);
}

#[tokio::test]
async fn identifiers_that_come_are_a_change_and_so_is_what_they_bring_together() {
    let store = Preferences::start().await;
    let ada = store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    store
        .record(json!({"identifiers": [phone], "purposes": [{"purpose": "ProductNews", "enabled": true}]}))
        .await;
    let path = format!("/v1/preferences/{SHOP}/append-identifiers");
    let append = json!({"records": [{"anchorIdentifier": email_of("ada@example.test"), "append": phone,
        "timestamp": "2026-02-04T10:00:00Z", "options": {"mergeRecordsOnConflict": true}}]});
    let (status, answer) = store.call(reqwest::Method::POST, &path, append.to_string()).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let changes = store.wait_for_changes(4).await;
    assert_eq!(
        (&changes[2]["type"], &changes[2]["into"]),
        (&json!("merged"), &json!(transcend_of(&ada)))
    );
    let gained =
        json!([{"purpose": "ProductNews", "previous": null, "current": true, "timestamp": "2026-02-03T09:15:00.250Z"}]);
    assert_eq!((&changes[3]["revision"], &changes[3]["changes"]), (&json!(2), &gained));
}

/// Reads on until it has seen all that is expected, and is cut off now and then.
struct Reader {
    seen: Vec<Value>,
    dice: u64,
}

impl Reader {
    fn new() -> Reader {
        Reader {
            seen: Vec::new(),
            dice: 0x9E37_79B9_7F4A_7C15,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.dice = self
            .dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % bound
    }

    /// Where it goes on: after the last change that it has dealt with, wherever it was cut off since.
    fn cursor(&self) -> Option<&str> {
        self.seen.last().map(|change| change["cursor"].as_str().unwrap())
    }

    /// Takes what came, or only the first part of it, as one does who is killed while at it.
    fn take(&mut self, mut changes: Vec<Value>) {
        if self.below(3) == 0 && !changes.is_empty() {
            let kept = self.below(changes.len() as u64 + 1);
            changes.truncate(usize::try_from(kept).unwrap());
        }
        self.seen.extend(changes);
    }

    async fn poll(&mut self, server: &TestServer, key: &str) {
        let limit = 1 + self.below(60);
        let query = match self.cursor() {
            Some(cursor) => format!("?wait=1&limit={limit}&after={cursor}"),
            None => format!("?wait=1&limit={limit}"),
        };
        let given_up = Duration::from_millis(5 + self.below(300));
        let answered = tokio::time::timeout(given_up, try_changes(server, key, &query)).await;
        let Ok(Some(answer)) = answered else { return };
        assert_eq!(answer.status, 200, "{}", answer.problem);
        self.take(answer.changes);
    }

    async fn stream(&mut self, server: &TestServer, key: &str) {
        let path = format!("/v1/preferences/{SHOP}/changes");
        let mut request = server
            .client()
            .get(server.url(&path))
            .bearer_auth(key)
            .header("accept", "text/event-stream");
        if let Some(cursor) = self.cursor() {
            request = request.header("last-event-id", cursor.to_owned());
        }
        let Ok(answer) = request.send().await else { return };
        assert_eq!(answer.status().as_u16(), 200);
        let mut text = String::new();
        let mut bytes = answer.bytes_stream();
        let until = tokio::time::Instant::now() + Duration::from_millis(5 + self.below(500));
        while let Ok(Some(Ok(part))) = tokio::time::timeout_at(until, bytes.next()).await {
            text.push_str(std::str::from_utf8(&part).unwrap());
        }
        // What was not received to its end is no event.
        let events = text.rsplit_once("\n\n").map_or("", |(events, _)| events);
        for event in events.split("\n\n") {
            let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
            if let Some(data) = field("data: ") {
                let change: Value = serde_json::from_str(data).unwrap();
                assert_eq!(field("id: "), change["cursor"].as_str());
                self.seen.push(change);
            }
        }
    }
}

/// How a reader reads.
#[derive(Clone, Copy)]
enum By {
    Polling,
    Streaming,
}

/// Writers change the same people from many connections, so that records become one all the time, while a reader is cut off
/// again and again. In the middle the server starts anew. Then the reader has seen what was acknowledged: each change once.
async fn nothing_is_missed_and_nothing_comes_twice(by: By) {
    let mut store = Preferences::start().await;
    let mut reader = Reader::new();
    let written = Arc::new(Mutex::new(0usize));
    for round in 0..3u64 {
        let shared = Arc::new(store);
        let done = Arc::new(AtomicBool::new(false));
        let mut writers = JoinSet::new();
        for writer in 0..8u64 {
            let (store, written) = (shared.clone(), written.clone());
            writers.spawn(async move {
                for turn in 0..10u64 {
                    let dice = writer * 31 + turn * 17 + round * 101;
                    let records: Vec<Value> = (0..4)
                        .map(|n| {
                            let person = (dice * 7 + n * 13) % 40 + round * 20;
                            let names = [
                                email_of(&format!("p{person}@example.test")),
                                json!({"name": "phone", "value": format!("+35191000{person:04}")}),
                                json!({"name": "coreIdentifier", "value": format!("core-{person}")}),
                            ];
                            // Known by one name only, people are taken for several until they give two.
                            let (first, count) = (usize::try_from((dice + n) % 3).unwrap(), 1 + usize::from(turn > 4));
                            let given: Vec<&Value> = names.iter().cycle().skip(first).take(count).collect();
                            in_shop(json!({
                                "identifiers": given,
                                "timestamp": format!("2026-02-{:02}T09:{:02}:{:02}.{:03}Z", round + 3, turn, writer, n),
                                "purposes": [{"purpose": "Analytics", "enabled": dice % 2 == 0}],
                            }))
                        })
                        .collect();
                    while store.upsert(json!({"records": records})).await.0 == 429 {}
                    *written.lock().await += 1;
                }
            });
        }
        let reading = async {
            while !done.load(Ordering::Relaxed) {
                match by {
                    By::Polling => reader.poll(&shared.server, &shared.key).await,
                    By::Streaming => reader.stream(&shared.server, &shared.key).await,
                }
            }
        };
        let writing = async {
            while let Some(ended) = writers.join_next().await {
                ended.unwrap();
            }
            done.store(true, Ordering::Relaxed);
        };
        tokio::join!(reading, writing);
        store = Arc::into_inner(shared).unwrap();
        store.server.restart().await;
    }
    assert_eq!(*written.lock().await, 240);
    // Every change that was acknowledged is a revision of a record, and stands in its history.
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (key, _) in rows_of(&store.server, "preference_history").await {
        if key[48] == 0 {
            let id = Uuid::from_slice(&key[32..48]).unwrap().to_string();
            *expected.entry(id).or_default() += 1;
        }
    }
    let living = rows_of(&store.server, "preference_records").await.len();
    let merged = expected.len() - living;
    let all = usize::try_from(expected.values().sum::<u64>()).unwrap() + merged;
    for _ in 0..2_000 {
        if reader.seen.len() >= all {
            break;
        }
        match by {
            By::Polling => reader.poll(&store.server, &store.key).await,
            By::Streaming => reader.stream(&store.server, &store.key).await,
        }
    }
    let mut revisions: BTreeMap<String, u64> = BTreeMap::new();
    let (mut gone, mut cursors) = (BTreeSet::new(), BTreeSet::new());
    for change in &reader.seen {
        assert!(
            cursors.insert(change["cursor"].as_str().unwrap()),
            "a change came twice"
        );
        let id = change["id"].as_str().unwrap().to_owned();
        assert!(!gone.contains(&id), "a record changed after it was gone");
        if change["type"] == "merged" {
            gone.insert(id);
        } else {
            let revision = revisions.entry(id).or_default();
            *revision += 1;
            assert_eq!(change["revision"], *revision, "revisions come one after the other");
        }
    }
    assert_eq!((revisions, gone.len()), (expected, merged));
    assert!(merged > 20, "the test wants records that become one: {merged}");
    assert_eq!(rows_of(&store.server, "preference_changes_waiting").await.len(), 0);
    let numbers: Vec<u64> = rows_of(&store.server, "preference_changes")
        .await
        .iter()
        .map(|(key, _)| u64::from_be_bytes(key[32..40].try_into().unwrap()))
        .collect();
    assert_eq!(*numbers.last().unwrap(), all as u64, "numbers leave none out");
    check_tables(&store.server).await;
}

#[tokio::test]
async fn a_reader_who_polls_and_is_cut_off_has_seen_each_change_once() {
    nothing_is_missed_and_nothing_comes_twice(By::Polling).await;
}

#[tokio::test]
async fn a_reader_of_events_who_is_cut_off_has_seen_each_change_once() {
    nothing_is_missed_and_nothing_comes_twice(By::Streaming).await;
}

#[tokio::test]
async fn a_stream_begins_with_where_it_stands_and_ends_when_the_server_stops() {
    let mut store = Preferences::start().await;
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let change = store.wait_for_changes(1).await.remove(0);
    let path = format!("/v1/preferences/{SHOP}/changes?from=now");
    let request = store
        .server
        .client()
        .get(store.server.url(&path))
        .bearer_auth(&store.key);
    let answer = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let server = store.server.take();
    let (text, ()) = tokio::join!(answer.text(), server.shutdown());
    assert_eq!(text.unwrap(), format!("id: {}\n\n", change["cursor"].as_str().unwrap()));
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_a_stream_before_the_next_change() {
    let store = Preferences::start().await;
    let scopes = vec![ScopeName::ViewManagedConsentDatabaseAdminApi];
    let input = ApiKeyInput { scopes, ..key_input() };
    let (id, key) = store.server.make_key(store.server.organization, input).await;
    let path = format!("/v1/preferences/{SHOP}/changes");
    let request = store.server.client().get(store.server.url(&path)).bearer_auth(&key);
    let answer = request.header("accept", "text/event-stream").send().await.unwrap();
    let mut bytes = answer.bytes_stream();
    let begun = bytes.next().await.unwrap().unwrap();
    store
        .record_choice("ada@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    let told = bytes.next().await.unwrap().unwrap();
    assert!(begun.starts_with(b"id: ") && told.starts_with(b"id: "));
    assert!(std::str::from_utf8(&told).unwrap().contains("ada@example.test"));
    let admin = store.server.key(&[ScopeName::FullAdmin]).await;
    let revoke = format!("mutation {{ deleteApiKey(id: \"{}\") {{ clientMutationId }} }}", id.0);
    manage(&store.server, &admin, &revoke).await;
    store
        .record_choice("bea@example.test", "Analytics", true, "2026-02-03T10:00:00Z")
        .await;
    assert!(bytes.next().await.is_none(), "nothing more is told");
    assert_eq!(try_changes(&store.server, &key, "").await.unwrap().status, 401);
}

#[tokio::test]
async fn more_readers_than_there_may_be_are_told_to_come_again_and_who_leaves_without_a_word_makes_room() {
    let mut config = ServerConfig::default();
    config.limits.feed_readers_max = 2;
    let server = TestServer::with(config).await;
    configure(&server, server.organization, &[SHOP]).await;
    let key = server.key(&[ScopeName::FullAdmin]).await;
    let path = format!("/v1/preferences/{SHOP}/changes");
    let stream = async || {
        let request = server.client().get(server.url(&path)).bearer_auth(&key);
        request.header("accept", "text/event-stream").send().await.unwrap()
    };
    let (first, second) = (stream().await, stream().await);
    let third = stream().await;
    assert_eq!(
        (third.status().as_u16(), &third.headers()["retry-after"]),
        (429, &"5".parse().unwrap())
    );
    // Long before there is anything to send to them: the next comment is due after 15 seconds.
    let came_in = async || {
        for _ in 0..500 {
            let answer = stream().await;
            if answer.status().as_u16() == 200 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the seat of a reader who left is not free again");
    };
    drop(first);
    let third = came_in().await;
    // So it is with one who waits for an answer.
    drop(second);
    let waiting = format!("{path}?wait=60");
    let mut left = false;
    while !left {
        let request = server.client().get(server.url(&waiting)).bearer_auth(&key).send();
        let answered = tokio::time::timeout(Duration::from_millis(200), request).await;
        left = answered.is_err();
        assert!(left || answered.unwrap().unwrap().status().as_u16() == 429);
    }
    came_in().await;
    drop(third);
}
