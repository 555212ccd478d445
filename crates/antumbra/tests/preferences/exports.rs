//! What an export holds.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn what_is_exported_is_imported_again_the_same_in_every_format() {
    let shop = Shop::start();
    shop.put(everything());
    let original = shop.records("shop");
    assert_eq!(original.len(), 6);
    for format in ["csv", "jsonl", "parquet"] {
        let (name, partition) = (format!("all.{format}"), format!("as-{format}"));
        let exported = shop.export("shop", &name);
        assert_eq!((exported.code, exported.out.as_str()), (0, ""), "{exported:?}");
        assert_eq!(
            std::fs::metadata(shop.path(&name)).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let file = shop.path(&name);
        let imported = shop.import(file.to_str().unwrap(), &["--partition", &partition]);
        assert_eq!(imported.code, 0, "{format}: {imported:?}");
        assert!(
            imported.out.starts_with(&format!("{name}: 6 rows stored, 0 refused")),
            "{imported:?}"
        );
        assert_eq!(shop.records(&partition), original, "{format}");
        assert!(!shop.path(&format!("{name}.progress")).exists());
    }
    // Where they came from, they change nothing.
    let as_written = shop.read("all.jsonl");
    for format in ["csv", "jsonl", "parquet"] {
        assert_eq!(
            shop.import(shop.path(&format!("all.{format}")).to_str().unwrap(), &[])
                .code,
            0
        );
    }
    assert_eq!(shop.export("shop", "again.jsonl").code, 0);
    assert_eq!(shop.read("again.jsonl"), as_written);
    for cell in shop.read("all.csv").split([',', '\n']) {
        assert!(
            !cell.trim_start_matches('"').starts_with(['=', '+', '-', '@']),
            "{cell}"
        );
    }
}

#[test]
fn an_export_goes_to_standard_output_and_takes_bounds_on_both_times() {
    let shop = Shop::start();
    let record = |email: &str, at: &str| json!({ "partition": "shop", "timestamp": at, "identifiers": [{ "name": "email", "value": email }] });
    shop.put(json!([
        record("old@example.test", "2020-01-01T00:00:00Z"),
        record("new@example.test", "2026-01-01T00:00:00Z")
    ]));
    let export = |more: &[&str]| {
        shop.run(
            &shop.url,
            &[&["preferences", "export", "--partition", "shop"], more].concat(),
        )
    };
    let all = export(&[]);
    assert_eq!((all.code, all.out.lines().count()), (0, 3), "{all:?}");
    assert!(
        all.out
            .starts_with("userId,timestamp,partition,decryptionStatus,updatedAt,confirmed,"),
        "{}",
        all.out
    );
    let late = export(&["--format", "jsonl", "--timestamp-after", "2021-01-01T00:00:00Z"]);
    assert!(
        late.out.contains("new@example.test") && !late.out.contains("old@example.test"),
        "{late:?}"
    );
    let early = export(&["--format", "jsonl", "--timestamp-before", "2021-01-01T00:00:00Z"]);
    assert!(
        early.out.contains("old@example.test") && !early.out.contains("new@example.test"),
        "{early:?}"
    );
    assert_eq!(
        export(&["--format", "jsonl", "--updated-before", "2021-01-01T00:00:00Z"]).out,
        ""
    );
    assert_eq!(
        export(&["--format", "jsonl", "--updated-after", "2021-01-01T00:00:00Z"])
            .out
            .lines()
            .count(),
        2
    );
    assert_eq!(export(&["--updated-after", "yesterday"]).code, 2);
}

#[test]
fn an_export_looks_back_to_what_people_had_chosen() {
    let shop = Shop::start();
    for (at, enabled) in [("2026-01-01T00:00:00Z", true), ("2026-02-01T00:00:00Z", false)] {
        shop.put(
            json!([{ "partition": "shop", "timestamp": at, "purposes": [{ "purpose": "Analytics", "enabled": enabled }],
            "identifiers": [{ "name": "email", "value": "ada@example.test" }] }]),
        );
    }
    let export = |more: &[&str]| {
        let all = [
            &["preferences", "export", "--partition", "shop", "--format", "jsonl"],
            more,
        ]
        .concat();
        let told = shop.run(&shop.url, &all);
        assert_eq!(told.code, 0, "{told:?}");
        told.out
    };
    let then = export(&["--as-of", "2026-01-15T00:00:00Z"]);
    assert!(then.contains("\"enabled\":true") && then.lines().count() == 1, "{then}");
    assert!(export(&["--as-of", "2026-03-01T00:00:00Z"]).contains("\"enabled\":false"));
    assert_eq!(
        export(&["--known-at", "2026-01-15T00:00:00Z"]),
        "",
        "nothing was known then"
    );
}

#[test]
fn a_partition_of_many_pages_is_exported_whole() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..1050));
    assert_eq!(shop.import(&file, &[]).code, 0);
    assert_eq!(shop.records("shop").len(), 1050);
}

#[test]
fn what_is_written_while_an_export_runs_is_in_it() {
    let shop = Shop::start();
    let rows = 4000;
    assert_eq!(
        shop.import(&shop.file("people.csv", people(0..rows)), &["--concurrency", "1"])
            .code,
        0
    );
    let file = shop.path("all.jsonl");
    let mut export = shop
        .command(
            &shop.url,
            &[
                "preferences",
                "export",
                "--partition",
                "shop",
                "--output",
                file.to_str().unwrap(),
            ],
        )
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Oldest first: each moves from what is still to be read to before what was read.
    for first in (0..rows).step_by(100) {
        let record = |row: usize| {
            json!({ "partition": "shop", "timestamp": "2026-02-04T09:00:00.000Z", "confirmed": false,
                "identifiers": [{ "name": "email", "value": format!("person-{row}@example.test") }] })
        };
        shop.put((first..first + 100).map(record).collect());
    }
    assert!(export.wait().unwrap().success());
    let text = std::fs::read_to_string(file).unwrap();
    let who = |line: &str| {
        serde_json::from_str::<Value>(line).unwrap()["userId"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let people: BTreeSet<String> = text.lines().map(who).collect();
    assert_eq!(people.len(), rows);
}
