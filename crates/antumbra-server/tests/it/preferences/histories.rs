//! `history`: every state of the records of a partition.

use std::time::Duration;

use super::*;

/// A record with its states, from one page or several.
#[derive(Debug, PartialEq)]
struct History {
    id: String,
    is_whole: bool,
    states: Vec<Value>,
}

impl Preferences {
    async fn history_page(&self, body: &Value) -> (u16, Value) {
        let path = format!("/v1/preferences/{SHOP}/history");
        self.call(reqwest::Method::POST, &path, body.to_string()).await
    }

    /// Every history that a filter finds, so many states a page.
    async fn histories(&self, filter: Value, limit: usize) -> Vec<History> {
        let mut body = json!({"filter": filter, "limit": limit});
        let mut all: Vec<History> = Vec::new();
        loop {
            let (status, answer) = self.history_page(&body).await;
            assert_eq!(status, 200, "{answer}");
            let mut count = 0;
            for record in answer["records"].as_array().unwrap() {
                let states = record["states"].as_array().unwrap().clone();
                count += states.len();
                let id = record["id"].as_str().unwrap().to_owned();
                let is_whole = record["isWhole"].as_bool().unwrap();
                match all.last_mut().filter(|last| last.id == id) {
                    Some(last) => {
                        assert_eq!(record["before"], last.states.len());
                        last.states.extend(states);
                    }
                    None => {
                        assert_eq!(record["before"], 0);
                        all.push(History { id, is_whole, states });
                    }
                }
            }
            assert!(count <= limit);
            match answer.get("cursor") {
                Some(cursor) => body["cursor"] = cursor.clone(),
                None => return all,
            }
        }
    }

    fn a_minute_passes(&self) {
        self.server.clock.advance(Duration::from_secs(60));
    }
}

/// Some people: several writes each, late ones, a join, and identifiers that come and go.
async fn busy_shop() -> Preferences {
    let store = Preferences::start().await;
    for (person, writes) in [("ada", 3), ("bo", 1), ("cy", 5)] {
        let email = format!("{person}@example.test");
        for day in 1..=writes {
            let at = format!("2026-02-{day:02}T09:00:00.000Z");
            store.record_choice(&email, "Analytics", day % 2 == 0, &at).await;
            store.a_minute_passes();
        }
        // Late: it changes nothing.
        store
            .record_choice(&email, "Analytics", true, "2026-01-01T00:00:00.000Z")
            .await;
    }
    let both = json!([email_of("ada@example.test"), email_of("bo@example.test")]);
    store
        .record(json!({"identifiers": both, "timestamp": "2026-03-01T00:00:00.000Z",
        "purposes": [{"purpose": "ProductNews", "enabled": true}]}))
        .await;
    store.a_minute_passes();
    let path = format!("/v1/preferences/{SHOP}/append-identifiers");
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let append = json!({"records": [{"anchorIdentifier": email_of("cy@example.test"), "append": phone,
        "timestamp": "2026-03-01T00:00:00.000Z"}]});
    let (status, _) = store.call(reqwest::Method::POST, &path, append.to_string()).await;
    assert_eq!(status, 200);
    store
}

#[tokio::test]
async fn each_state_is_what_a_query_showed_when_it_was_new() {
    let store = busy_shop().await;
    let histories = store.histories(json!({}), 1_000).await;
    let counts: Vec<usize> = histories.iter().map(|history| history.states.len()).collect();
    // Newest first: cy with five choices and a number, then ada and bo, who are one by now.
    assert_eq!(counts, [6, 5]);
    for history in &histories {
        assert!(history.is_whole);
        let filter = json!({"identifiers": [{"name": "transcend", "value": history.id}]});
        for state in &history.states {
            let body = json!({"filter": filter, "knownAt": state["system"]["updatedAt"]});
            let (_, answer) = store.query(SHOP, body).await;
            assert_eq!(answer["nodes"][0], *state);
        }
        assert_eq!(store.find(filter).await.last(), history.states.last());
    }
}

#[tokio::test]
async fn pages_of_any_size_hold_the_same() {
    let store = busy_shop().await;
    let whole = store.histories(json!({}), 1_000).await;
    for limit in [1, 2, 3, 5, 6, 7, 11] {
        assert_eq!(store.histories(json!({}), limit).await, whole, "{limit}");
    }
    let of_cy = json!({"identifiers": [email_of("cy@example.test")]});
    assert_eq!(store.histories(of_cy, 4).await, whole[..1]);
    let nobody = json!({"identifiers": [email_of("nobody@example.test")]});
    assert!(store.histories(nobody, 4).await.is_empty());
    let bound = json!({"system": {"updatedBefore": whole[1].states.last().unwrap()["system"]["updatedAt"]}});
    assert_eq!(store.histories(bound, 4).await, whole[1..]);
}

#[tokio::test]
async fn a_record_that_is_written_between_two_pages_is_not_taken_up_in_the_middle() {
    let store = busy_shop().await;
    let (_, first) = store.history_page(&json!({"filter": {}, "limit": 2})).await;
    let cy = first["records"][0]["id"].clone();
    store.a_minute_passes();
    store
        .record_choice("cy@example.test", "Analytics", true, "2026-03-02T00:00:00.000Z")
        .await;
    let (status, next) = store
        .history_page(&json!({"filter": {}, "cursor": first["cursor"]}))
        .await;
    assert_eq!(status, 200, "{next}");
    let records = next["records"].as_array().unwrap();
    // It has moved to the front, where it is still the first, and goes on where it broke off.
    assert_eq!((&records[0]["id"], &records[0]["before"]), (&cy, &json!(2)));
    assert_eq!(records[0]["states"].as_array().unwrap().len(), 5);
    assert_eq!((records.len(), &records[1]["before"]), (2, &json!(0)));
}

#[tokio::test]
async fn a_history_that_can_not_be_read_is_the_present_state_and_says_so() {
    let store = busy_shop().await;
    let node = store.find_email("cy@example.test").await;
    lose_key(&store.server, &node).await;
    let histories = store.histories(json!({}), 10).await;
    let cy = histories
        .iter()
        .find(|history| history.id == transcend_of(&node))
        .unwrap();
    assert_eq!((cy.is_whole, cy.states.len()), (false, 1));
    assert_eq!(cy.states[0]["system"]["decryptionStatus"], "ERROR");
    assert_eq!(histories.len(), 2);
}

#[tokio::test]
async fn what_can_not_be_asked_is_refused_with_its_place() {
    let store = busy_shop().await;
    let (_, page) = store.history_page(&json!({"filter": {}, "limit": 1})).await;
    let cursor = page["cursor"].as_str().unwrap();
    let (_, of_query) = store.query(SHOP, json!({"filter": {}, "limit": 1})).await;
    let flipped = format!("{}x", &cursor[..cursor.len() - 1]);
    for (body, place) in [
        (json!({"limit": 0, "filter": {}}), "limit"),
        (
            json!({"cursor": cursor, "filter": {"timestampAfter": "2026-01-01T00:00:00Z"}}),
            "filter",
        ),
        (json!({"limit": 1001, "filter": {}}), "limit"),
        (json!({"cursor": flipped}), "cursor"),
        (json!({"cursor": of_query["cursor"]}), "cursor"),
        (
            json!({"filter": {"timestampAfter": "yesterday"}}),
            "filter.timestampAfter",
        ),
    ] {
        let (status, answer) = store.history_page(&body).await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, place), "{answer}");
    }
    let path = "/v1/preferences/games/history";
    let body = json!({"cursor": cursor}).to_string();
    assert_eq!(store.call(reqwest::Method::POST, path, body).await.0, 400);
    assert_eq!(store.history_page(&json!({"filtr": {}})).await.0, 400);
}
