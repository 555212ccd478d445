//! Records, cells and files of a size that hurts.

use std::{io::BufWriter, process::Child};

use super::*;

/// The most memory a process has held, in KiB, when it has ended.
fn most_memory(process: &mut Child) -> u64 {
    let status = PathBuf::from(format!("/proc/{}/status", process.id()));
    let mut most = 0;
    while process.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let held = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        most = most.max(held.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    most
}

#[test]
#[cfg(target_os = "linux")]
fn a_cell_of_a_hundred_megabytes_is_refused_and_costs_no_memory() {
    let shop = Shop::start();
    let path = shop.path("huge.csv");
    let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
    file.write_all(b"email,timestamp,metadata\n").unwrap();
    for row in ["before", "huge", "after"] {
        write!(file, "{row}@example.test,2026-02-03T09:00:00Z,\"").unwrap();
        if row == "huge" {
            for _ in 0..100 {
                file.write_all(&vec![b'x'; 1_000_000]).unwrap();
            }
        }
        file.write_all(b"\"\n").unwrap();
    }
    file.flush().unwrap();
    let mut process = shop
        .command(
            &shop.url,
            &["preferences", "import", path.to_str().unwrap(), "--partition", "shop"],
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let most = most_memory(&mut process);
    assert_eq!(process.wait().unwrap().code(), Some(1));
    assert!(most < 128 * 1024, "{most} KiB");
    assert_eq!(shop.records("shop").len(), 2);
    let rejected = shop.read("huge.csv.rejected.csv");
    let second = rejected.lines().nth(1).unwrap();
    assert_eq!(
        second,
        "3,column `metadata`: the cell is longer than 32 MiB; it is left out here,huge@example.test,2026-02-03T09:00:00Z,"
    );
}

/// A record with everything that one can hold: 1,000 annotations of 4 KiB.
fn put_large(shop: &Shop, email: &str) {
    for first in (0..1000).step_by(200) {
        let annotation = |number: usize| json!({ "key": format!("k{number}"), "value": "\"x\\".repeat(1365) });
        shop.put(json!([{ "partition": "shop", "timestamp": "2026-02-03T09:00:00.000Z",
            "identifiers": [{ "name": "email", "value": email }],
            "metadata": (first..first + 200).map(annotation).collect::<Vec<_>>() }]));
    }
}

#[test]
fn the_largest_record_comes_back_from_every_format() {
    let shop = Shop::start();
    put_large(&shop, "large@example.test");
    for first in (0..450).step_by(150) {
        let further = (first..first + 150).map(|number| format!("further-{number:03}@example.test"));
        let emails = std::iter::once("large@example.test".to_owned()).chain(further);
        let identifiers: Vec<Value> = emails.map(|email| json!({ "name": "email", "value": email })).collect();
        shop.put(json!([{ "partition": "shop", "timestamp": "2026-02-03T09:00:00.000Z", "identifiers": identifiers }]));
    }
    let original = shop.records("shop");
    assert_eq!(original.len(), 1);
    for format in ["csv", "jsonl", "parquet"] {
        let (name, partition) = (format!("all.{format}"), format!("as-{format}"));
        assert_eq!(shop.export("shop", &name).code, 0);
        let file = shop.path(&name);
        let into = ["--partition", &partition];
        let checked = shop.import(file.to_str().unwrap(), &[&into[..], &["--dry-run"]].concat());
        assert_eq!(checked.code, 0, "{format}: {checked:?}");
        let imported = shop.import(file.to_str().unwrap(), &into);
        assert_eq!(imported.code, 0, "{format}: {imported:?}");
        assert!(
            imported.out.contains("1 rows stored, 0 refused"),
            "{format}: {imported:?}"
        );
        assert!(
            shop.records(&partition) == original,
            "{format}: another record came back"
        );
    }
    // One annotation more than fits: the row is refused, and is one row.
    let text = shop.read("all.jsonl");
    let mut record: Value = serde_json::from_str(&text).unwrap();
    let annotations = record["metadata"].as_array_mut().unwrap();
    annotations.push(json!({ "key": "k1000", "value": "v" }));
    let told = shop.import(&shop.file("more.jsonl", record.to_string()), &[]);
    assert!(
        told.code == 1 && told.out.contains("0 rows stored, 1 refused"),
        "{told:?}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn an_export_of_large_records_takes_no_more_memory_than_one_of_small_ones_may() {
    let shop = Shop::start();
    let records = 5;
    for number in 0..records {
        put_large(&shop, &format!("large-{number}@example.test"));
    }
    for format in ["jsonl", "csv", "parquet"] {
        let path = shop.path(&format!("all.{format}"));
        let mut process = shop
            .command(
                &shop.url,
                &[
                    "preferences",
                    "export",
                    "--partition",
                    "shop",
                    "--output",
                    path.to_str().unwrap(),
                ],
            )
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let most = most_memory(&mut process);
        assert!(process.wait().unwrap().success(), "{format}");
        // One is 7 MB as it comes, and is held in several forms while it is written: that takes some 100 MB. Whoever holds all
        // at once holds five times as much.
        assert!(most < 192 * 1024, "{format}: {most} KiB");
    }
    assert_eq!(shop.read("all.jsonl").lines().count(), records);
}
