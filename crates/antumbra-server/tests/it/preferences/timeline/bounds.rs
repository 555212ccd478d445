//! The ends of what one call about the past reads and tells.

use super::*;
use crate::support::rows::put_rows;

const ANA: &str = "ana@example.test";

/// A person with one choice, into whose history rows can be put that nothing opens: how far it is read shows in the answer.
struct Long {
    store: Preferences,
    key: Vec<u8>,
    row: Vec<u8>,
}

impl Long {
    async fn start() -> Long {
        let store = Preferences::start().await;
        store
            .record_choice(ANA, "Analytics", true, "2026-02-03T09:00:00.000Z")
            .await;
        let (key, mut row) = rows_of(&store.server, "preference_history").await.remove(0);
        // The kind that may also have come late.
        row[0] = 1;
        Long { store, key, row }
    }

    /// Puts rows of so many bytes into the history, from the number `from` up to `to`, as ones that came late.
    async fn put(&self, from: u32, to: u32, bytes: usize) {
        let mut row = self.row.clone();
        row.resize(bytes.max(row.len()), 0);
        let at_once = u32::try_from((8 << 20) / row.len()).unwrap();
        for first in (from..to).step_by(at_once as usize) {
            let place = |n: u32| {
                // organization 16, partition 16, record 16; late, a digest of 16.
                let digest = [&[1; 13][..], &n.to_be_bytes()].concat();
                [&self.key[..48], &digest].concat()
            };
            let rows = (first..to.min(first + at_once)).map(|n| (place(n), row.clone()));
            put_rows(&self.store.server, "preference_history", rows).await;
        }
    }

    /// Whether the history is told to be too long, at each place where that can be asked for.
    async fn is_too_long(&self) -> bool {
        let told = self
            .store
            .ask_for_timeline(SHOP, json!({"identifier": email_of(ANA)}))
            .await;
        let view = json!({"filter": {}, "asOf": "2026-02-04T00:00:00Z"});
        let seen = self.store.query(SHOP, view).await;
        assert_eq!((told.0, seen.0), (200, 200));
        let (told, node) = (told.1, &seen.1["nodes"][0]);
        assert_eq!(
            node["system"]["decryptionStatus"], "ERROR",
            "it could not be opened, or was not read"
        );
        assert_eq!(node["system"].get("historyTooLong"), told.get("historyTooLong"));
        if told.get("historyTooLong").is_none() {
            assert_eq!(told["records"], json!([]));
            return false;
        }
        assert_eq!(told["historyTooLong"], true);
        assert_eq!(told["containsInitialRecord"], false);
        let [present] = &entries(&told)[..] else {
            panic!("what is stored now, and nothing else");
        };
        assert_eq!(present["preferencesAtCurrentTime"][0]["purpose"], "Analytics");
        assert_eq!(present["changeFromPrevState"], Value::Null);
        true
    }
}

#[tokio::test]
async fn a_history_of_fifty_thousand_rows_is_read_and_one_of_a_row_more_is_not() {
    let person = Long::start().await;
    person.put(1, 50_000, 0).await;
    assert!(!person.is_too_long().await);
    person.put(50_000, 50_001, 0).await;
    assert!(person.is_too_long().await);
    // What was chosen is as easily found and changed as ever.
    let store = &person.store;
    let node = store
        .record_choice(ANA, "Analytics", false, "2026-02-04T09:00:00.000Z")
        .await;
    assert_eq!(enabled(&node, "Analytics"), Some(false));
    assert_eq!(store.find_email(ANA).await["purposes"], node["purposes"]);
    // Nor does anybody else go without an answer.
    store
        .record_choice("bea@example.test", "Analytics", true, "2026-02-04T09:00:00.000Z")
        .await;
    let (status, page) = store.query(SHOP, json!({"asOf": "2026-02-05T00:00:00Z"})).await;
    assert_eq!(status, 200, "{page}");
    let shown = page["nodes"].as_array().unwrap().iter();
    let mut shown: Vec<&str> = shown.map(|node| node["userId"].as_str().unwrap_or_default()).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["", "bea@example.test"]);
}

#[tokio::test]
async fn a_history_of_sixty_four_mebibytes_is_read_and_one_of_a_byte_more_is_not() {
    let person = Long::start().await;
    let whole = 1 << 20;
    person.put(0, 63, whole).await;
    person.put(63, 64, whole - person.row.len()).await;
    assert!(!person.is_too_long().await);
    person.put(63, 64, whole - person.row.len() + 1).await;
    assert!(person.is_too_long().await);
}

#[tokio::test]
async fn of_more_than_eight_mebibytes_of_entries_the_newest_are_told() {
    let store = Preferences::start().await;
    for minute in 0..12 {
        let metadata: Vec<Value> = (0..200)
            .map(|key| json!({"key": key.to_string(), "value": "x".repeat(4_000)}))
            .collect();
        let at = format!("2026-02-03T09:{minute:02}:00.000Z");
        let purposes = json!([{"purpose": "Analytics", "enabled": minute % 2 == 0}]);
        store
            .record(json!({"userId": ANA, "timestamp": at, "purposes": purposes, "metadata": metadata}))
            .await;
    }
    let ask = async |with_raw: bool| {
        let asked = json!({"identifier": email_of(ANA), "includeRawRequest": with_raw});
        let told = store.timeline(asked).await;
        (entries(&told).clone(), told["containsInitialRecord"].clone())
    };
    let (all, with_first) = ask(false).await;
    assert_eq!((all.len(), with_first), (12, json!(true)));
    let (some, with_first) = ask(true).await;
    assert_eq!((some.len(), with_first), (10, json!(false)), "800 kB each");
    let bytes: usize = some.iter().map(|entry| entry.to_string().len()).sum();
    assert!(bytes <= 8 << 20, "{bytes}");
    for (entry, whole) in some.iter().zip(&all[2..]) {
        assert_eq!(entry["preferencesAtCurrentTime"], whole["preferencesAtCurrentTime"]);
        assert_eq!(entry["changeFromPrevState"], whole["changeFromPrevState"]);
    }
}
