//! `antumbra preferences export --history`.

use std::collections::BTreeMap;

use super::*;

impl Shop {
    /// An export of the shop's history to standard output.
    fn history(&self, more: &[&str]) -> Told {
        let all = [&["preferences", "export", "--partition", "shop", "--history"], more].concat();
        self.run(&self.url, &all)
    }
}

fn choice(email: &str, at: &str, enabled: bool, source: &str) -> Value {
    json!({ "partition": "shop", "timestamp": at, "identifiers": [{ "name": "email", "value": email }],
        "purposes": [{ "purpose": "Analytics", "enabled": enabled, "sourceSystem": source }] })
}

/// The rows of each record, in their order.
fn by_record(lines: &str) -> BTreeMap<String, Vec<Value>> {
    let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let mut identifiers = row["identifiers"].as_array().unwrap().iter();
        let id = identifiers
            .find(|identifier| identifier["name"] == "transcend")
            .unwrap();
        rows.entry(id["value"].as_str().unwrap().to_owned())
            .or_default()
            .push(row);
    }
    rows
}

#[test]
fn a_history_has_a_row_for_each_write_that_changed_a_record_and_formulas_in_it_are_inert() {
    let shop = Shop::start();
    for record in [
        choice("ada@example.test", "2026-01-01T00:00:00Z", true, "=cmd|' /C calc'!A0"),
        choice("ada@example.test", "2026-02-01T00:00:00Z", false, "Kiosk"),
        // It comes late and changes nothing.
        choice("ada@example.test", "2026-01-15T00:00:00Z", true, "Kiosk"),
        choice("bo@example.test", "2026-01-01T00:00:00Z", true, "@SUM(1)"),
    ] {
        shop.put(json!([record]));
    }
    let lines = shop.history(&["--format", "jsonl"]);
    assert_eq!((lines.code, lines.err.as_str()), (0, ""), "{lines:?}");
    let rows = by_record(&lines.out);
    let answers = |rows: &Vec<Value>| {
        let answer = |row: &Value| row["purposes"][0]["enabled"].as_bool().unwrap();
        rows.iter().map(answer).collect::<Vec<_>>()
    };
    let mut all: Vec<Vec<bool>> = rows.values().map(answers).collect();
    all.sort();
    assert_eq!(all, [vec![true], vec![true, false]]);

    let table = shop.history(&["--format", "csv"]).out;
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(
        table.contains(",'=cmd|' /C calc'!A0,") && table.contains(",'@SUM(1),"),
        "{table}"
    );
    // Every format holds the same rows; Parquet keeps texts as they are.
    let file = shop.path("history.parquet");
    assert_eq!(shop.history(&["--output", file.to_str().unwrap()]).code, 0);
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));

    let narrowed = shop.history(&["--format", "jsonl", "--timestamp-after", "2026-01-20T00:00:00Z"]);
    assert_eq!(
        narrowed.out.lines().count(),
        2,
        "all rows of the records that the bounds let through"
    );
    assert_eq!(shop.history(&["--as-of", "2026-01-20T00:00:00Z"]).code, 2);
}

#[test]
fn a_history_of_many_pages_is_whole_and_ends_in_what_is_stored() {
    let shop = Shop::start();
    for (nth, at) in ["2026-01-01", "2026-01-02", "2026-01-03"].into_iter().enumerate() {
        let mut rows = "email,timestamp,Analytics\n".to_owned();
        for person in 0..700 {
            writeln!(
                rows,
                "p{person}@example.test,{at}T00:00:00Z,{}",
                (nth + person).is_multiple_of(2)
            )
            .unwrap();
        }
        let file = shop.file("people.csv", rows);
        assert_eq!(shop.import(&file, &[]).code, 0);
    }
    let told = shop.history(&["--format", "jsonl"]);
    assert_eq!(told.code, 0, "{}", told.err);
    let rows = by_record(&told.out);
    assert_eq!((rows.len(), told.out.lines().count()), (700, 2100));
    let present = shop.run(
        &shop.url,
        &["preferences", "export", "--partition", "shop", "--format", "jsonl"],
    );
    for (id, present) in by_record(&present.out) {
        let states = &rows[&id];
        assert_eq!(states.last(), present.last());
        let answer = |row: &Value| row["purposes"][0]["enabled"].as_bool().unwrap();
        assert_eq!(answer(&states[0]), answer(&states[2]));
        assert_ne!(answer(&states[0]), answer(&states[1]));
        let learned = |row: &Value| row["system"]["updatedAt"].as_str().unwrap().to_owned();
        assert!(states.is_sorted_by_key(learned));
    }
}
