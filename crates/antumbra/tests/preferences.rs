//! `antumbra preferences`, as the built executable runs it against a real server.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "support/bad_day.rs"]
mod bad_day;
mod support;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{BufRead, BufReader, BufWriter, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bad_day::BadDay;
use serde_json::{Value, json};
use support::Place;

/// What the shop of these tests asks people.
const CONFIGURATION: &str = "
identifiers:
  - { name: loyalty, type: custom, regex: '^LC-[0-9]+$', isUniqueOnPreferenceStore: true }
purposes:
  - { name: Analytics, trackingType: Analytics }
  - { name: Advertising, trackingType: Advertising }
  - name: Product Updates
    trackingType: Product Updates
    preference-topics:
      - { title: Frequency, type: SELECT, options: [{ title: Weekly }, { title: Monthly }] }
      - { title: Channel, type: MULTI_SELECT, options: [{ title: Email }, { title: Sms }] }
      - { title: Paused, type: BOOLEAN }
partitions:
  - { name: Shop, partition: shop }
  - { name: As CSV, partition: as-csv }
  - { name: As lines, partition: as-jsonl }
  - { name: As Parquet, partition: as-parquet }
";

/// A running server, and a folder for files.
struct Shop {
    process: Child,
    place: Place,
    url: String,
    key: String,
}

/// How a command ended, and what it said, with the folder left out.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Shop {
    fn start() -> Shop {
        let place = Place::fresh();
        let mut process = place
            .serve()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        let shop = Shop {
            url: text("url"),
            key: text("key"),
            process,
            place,
        };
        let file = shop.file("antumbra.yml", CONFIGURATION);
        let applied = shop.run(&shop.url, &["apply", "-f", &file]);
        assert_eq!(applied.code, 0, "{applied:?}");
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A file of this name, and its path.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = self.place.antumbra();
        command
            .args(arguments)
            .env("ANTUMBRA_URL", url)
            .env("ANTUMBRA_KEY", &self.key);
        command
    }

    fn run(&self, url: &str, arguments: &[&str]) -> Told {
        let output = self.command(url, arguments).stdin(Stdio::null()).output().unwrap();
        let folder = format!("{}/", self.place.path().display());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "");
        Told {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    fn import(&self, file: &str, more: &[&str]) -> Told {
        let partition = if more.contains(&"--partition") {
            &[][..]
        } else {
            &["--partition", "shop"]
        };
        self.run(&self.url, &[&["preferences", "import", file], partition, more].concat())
    }

    fn export(&self, partition: &str, name: &str) -> Told {
        let file = self.path(name);
        let file = file.to_str().unwrap();
        self.run(
            &self.url,
            &["preferences", "export", "--partition", partition, "--output", file],
        )
    }

    /// What a partition holds, without what the server alone gives out, in an order of its own.
    fn records(&self, partition: &str) -> BTreeSet<String> {
        assert_eq!(self.export(partition, "records.jsonl").code, 0);
        let text = self.read("records.jsonl");
        let records: Vec<String> = text
            .lines()
            .map(|line| said(serde_json::from_str(line).unwrap()))
            .collect();
        let different: BTreeSet<String> = records.iter().cloned().collect();
        assert_eq!(
            different.len(),
            records.len(),
            "no record is given out twice while nobody writes"
        );
        different
    }

    fn put(&self, records: Value) {
        let body = json!({ "records": records }).to_string();
        let (status, answer) = http(&self.url, &self.key, "PUT", "/v1/preferences", &body);
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A record without its id, its partition and when we wrote it.
fn said(mut record: Value) -> String {
    let members = record.as_object_mut().unwrap();
    members.remove("partition");
    members.remove("system");
    members["identifiers"]
        .as_array_mut()
        .unwrap()
        .retain(|identifier| identifier["name"] != "transcend");
    record.to_string()
}

fn http(url: &str, key: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let address = url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// A CSV of people with an answer each.
fn people(rows: std::ops::Range<usize>) -> String {
    let mut text = "email,timestamp,Analytics\n".to_owned();
    for row in rows {
        writeln!(
            text,
            "person-{row}@example.test,2026-02-03T09:00:00.000Z,{}",
            row % 2 == 0
        )
        .unwrap();
    }
    text
}

/// People who say everything that can be said, some of it spelled to hurt a spreadsheet.
fn everything() -> Value {
    let record = |identifiers: Value, more: Value| {
        let mut record =
            json!({ "partition": "shop", "timestamp": "2026-02-03T09:15:00.250Z", "identifiers": identifiers });
        record
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        record
    };
    let named = |name: &str, value: &str| json!({ "name": name, "value": value });
    json!([
        record(
            json!([
                named("email", "ana@example.test"),
                named("phone", "+351910000017"),
                named("loyalty", "LC-7")
            ]),
            json!({
                "purposes": [
                    { "purpose": "Product Updates", "enabled": true, "sourceSystem": "Kiosk, \"north\"", "preferences": [
                        { "topic": "Frequency", "choice": { "selectValue": "Weekly" } },
                        { "topic": "Channel", "choice": { "selectValues": ["Sms", "Email"] } },
                        { "topic": "Paused", "choice": { "booleanValue": false } },
                    ] },
                    { "purpose": "Analytics", "enabled": false, "timestamp": "2026-01-20T08:00:00.000Z" },
                ],
                "consentManagement": { "usp": "1YNN" },
                "metadata": [{ "key": "store", "value": "Porto \"3\"\nline two" }],
                "metadataTimestamp": "2026-01-01T00:00:00.000Z",
            })
        ),
        record(
            json!([
                named("coreIdentifier", "=cmd|' /C calc'!A0"),
                named("email", "two@example.test"),
                named("email", "one@example.test")
            ]),
            json!({ "confirmed": false, "purposes": [{ "purpose": "Product Updates", "enabled": false, "preferences": [
                { "topic": "Channel", "choice": { "selectValues": [] } }] }] })
        ),
        record(json!([named("coreIdentifier", "'-5")]), json!({})),
        record(
            json!([named("coreIdentifier", "[not a list"), named("loyalty", "LC-9")]),
            json!({ "userId": "Grüße@Example.test" })
        ),
        record(
            json!([named("loyalty", "LC-1")]),
            json!({ "purposes": [{ "purpose": "Advertising", "enabled": true }] })
        ),
        record(json!([]), json!({ "userId": "old-style" })),
    ])
}

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
fn a_dry_run_names_every_bad_row_and_stores_nothing() {
    let shop = Shop::start();
    let file = shop.file(
        "people.csv",
        "email,phone,timestamp,Analytics,Product Updates,Product Updates_Frequency\n\
         good@example.test,,2026-02-03T09:00:00Z,true,,\n\
         canary,,2026-02-03T09:00:00Z,true,,\n\
         a@example.test,,canary,true,,\n\
         b@example.test,0351canary,2026-02-03T09:00:00Z,canary,,\n\
         c@example.test,0351canary,2026-02-03T09:00:00Z,,true,canary\n\
         d@example.test\n\
         ,,2026-02-03T09:00:00Z,true,,\n",
    );
    let told = shop.import(&file, &["--dry-run"]);
    let (lines, summary) = told.out.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(
        lines.lines().collect::<Vec<_>>(),
        [
            "people.csv: row 3, column `email`: Identifier email did not pass validation",
            "people.csv: row 4, column `timestamp`: must be an ISO 8601 date and time, such as 2026-02-03T09:15:00.250Z",
            "people.csv: row 5, column `Analytics`: is neither true nor false",
            "people.csv: row 6, column `phone`: Identifier phone did not pass validation",
            "people.csv: row 6, column `Product Updates_Frequency`: is not an option of this topic",
            "people.csv: row 7, has 1 cells, and there are 6 columns",
            "people.csv: row 8, identifiers: must not be empty unless userId is given",
        ]
    );
    assert!(
        summary.starts_with("people.csv: 1 rows are good, 6 are bad; nothing was stored"),
        "{summary}"
    );
    assert_eq!((told.code, shop.records("shop").len()), (2, 0));
    assert!(!format!("{told:?}").contains("canary"));
    let good = shop.file("good.csv", people(0..250));
    assert_eq!(shop.import(&good, &["--dry-run"]).code, 0);
    assert_eq!(shop.records("shop").len(), 0);
}

#[test]
fn only_bad_rows_are_refused_and_they_can_be_put_right_where_they_are_written() {
    let shop = Shop::start();
    let mut text = people(0..350);
    text = text
        .replace("person-7@example.test", "person-7")
        .replace("person-349@example.test", "=person");
    let file = shop.file("people.csv", &text);
    let told = shop.import(&file, &["--concurrency", "2"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.out.starts_with("people.csv: 348 rows stored, 2 refused"),
        "{told:?}"
    );
    let rejected = shop.read("people.csv.rejected.csv");
    assert_eq!(
        rejected,
        "rejected:row,rejected:reason,email,timestamp,Analytics\n\
         9,column `email`: Identifier email did not pass validation,person-7,2026-02-03T09:00:00.000Z,false\n\
         351,column `email`: Identifier email did not pass validation,'=person,2026-02-03T09:00:00.000Z,false\n"
    );
    let mode = std::fs::metadata(shop.path("people.csv.rejected.csv"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let fixed = rejected
        .replace(",person-7,", ",person-7@example.test,")
        .replace("'=person", "person-349@example.test");
    let fixed = shop.file("fixed.csv", fixed);
    assert_eq!(shop.import(&fixed, &[]).code, 0);
    assert_eq!(shop.records("shop").len(), 350);
    // A later import without a bad row leaves no list of an earlier one behind.
    let file = shop.file("people.csv", people(0..350));
    assert_eq!(shop.import(&file, &[]).code, 0);
    assert!(!shop.path("people.csv.rejected.csv").exists());
}

#[test]
fn lines_of_json_are_records_and_bad_ones_are_written_with_the_reason() {
    let shop = Shop::start();
    let text = concat!(
        "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"a@example.test\",\"purposes\":[{\"purpose\":\"Analytics\",\"enabled\":true}]}\n",
        "\n{\"canary\":\n",
        "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"userId\":\"b@example.test\",\"purposes\":[{\"purpose\":\"Nothing\",\"enabled\":true}]}\n",
        "{\"timestamp\":3,\"userId\":\"c@example.test\"}\n",
        "{\"timestamp\":\"2026-02-03T09:00:00Z\",\"identifiers\":[{\"name\":\"transcend\",\"value\":\"0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201\"}]}\n",
    );
    let file = shop.file("people.jsonl", text);
    let told = shop.import(&file, &[]);
    assert!(
        told.out.starts_with("people.jsonl: 1 rows stored, 4 refused"),
        "{told:?}"
    );
    let rejected = shop.read("people.jsonl.rejected.jsonl");
    let reasons: Vec<Value> = rejected
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["rejected"].clone())
        .collect();
    assert_eq!(
        reasons[0],
        json!({ "row": 3, "reason": "is not JSON from its character 10 on" })
    );
    assert_eq!(
        reasons[1],
        json!({ "row": 4, "reason": "purposes[0].purpose: is not an active purpose of this organization" })
    );
    assert_eq!(reasons[2]["row"], 5);
    assert!(
        reasons[3]["reason"]
            .as_str()
            .unwrap()
            .contains("does not match any consent profile")
    );
    // A line of that list that was put right is taken.
    let line = rejected.lines().nth(1).unwrap().replace("Nothing", "Advertising");
    assert_eq!(shop.import(&shop.file("fixed.jsonl", line), &[]).code, 0);
    assert_eq!(shop.records("shop").len(), 2);
}

#[test]
fn a_mapping_says_which_column_is_what() {
    let shop = Shop::start();
    let file = shop.file("people.csv", "Kundin,Darf\nada@example.test,J\nbo@example.test,N\n");
    let mapping = "columns: { Kundin: identifier:email, Darf: { as: purpose:Analytics, values: { J: true, N: false } } }\n\
        constants: { timestamp: 2026-01-31T00:00:00Z, 'purpose:Analytics:sourceSystem': Old shop }\n";
    let mapping = shop.file("mapping.yml", mapping);
    let told = shop.import(&file, &["--mapping", &mapping]);
    assert_eq!(told.code, 0, "{told:?}");
    let records = shop.records("shop");
    let both = records
        .iter()
        .all(|record| record.contains("\"sourceSystem\":\"Old shop\"") && record.contains("2026-01-31"));
    assert!(both && records.len() == 2, "{records:?}");
    assert!(records.iter().any(|record| record.contains("\"enabled\":false")));
    assert_eq!(
        shop.import(&file, &["--map"]).code,
        2,
        "no questions without a terminal"
    );
}

#[test]
fn what_cannot_be_imported_at_all_is_said_before_anything_is_sent_and_no_value_is_shown() {
    let shop = Shop::start();
    let cases: [(&str, Vec<u8>, &str); 12] = [
        ("empty.csv", Vec::new(), "empty.csv cannot be imported: it is empty"),
        ("blank.csv", b"\n\n".to_vec(), "it is empty"),
        (
            "headless.csv",
            b"canary@example.test,2026-02-03T09:00:00Z,true\n".to_vec(),
            "names of the columns missing",
        ),
        (
            "unknown.csv",
            b"email,timestamp,Analitics\n".to_vec(),
            "what these columns are: `Analitics`",
        ),
        (
            "nobody.csv",
            b"timestamp,Analytics\n".to_vec(),
            "no column is an identifier",
        ),
        (
            "timeless.csv",
            b"email,Analytics\n".to_vec(),
            "no column is `timestamp`",
        ),
        (
            "wide.csv",
            "email,".repeat(1_000_000).into_bytes(),
            "1000001 columns, and 4096 are the most",
        ),
        (
            "binary.csv",
            b"email,\xff\xfe\n".to_vec(),
            "the name of column 2 is not UTF-8",
        ),
        (
            "utf16.csv",
            "\u{feff}email".encode_utf16().flat_map(u16::to_le_bytes).collect(),
            "UTF-16",
        ),
        (
            "open.csv",
            b"email,\"timestamp\n".to_vec(),
            "a quote in its first row has no end",
        ),
        (
            "broken.parquet",
            b"PAR1 and no more".to_vec(),
            "it is not a whole Parquet file",
        ),
        ("people.data", b"email\n".to_vec(), "give --format"),
    ];
    for (name, content, why) in cases {
        let told = shop.import(&shop.file(name, content), &[]);
        assert_eq!((told.code, told.out.as_str()), (2, ""), "{name}: {told:?}");
        assert!(told.err.contains(why), "{name}: {}", told.err);
        assert!(!told.err.contains("canary"), "{name}: {}", told.err);
    }
    assert_eq!(shop.import(shop.path("absent.csv").to_str().unwrap(), &[]).code, 2);
    let header = shop.import(&shop.file("header.csv", "email,timestamp\n"), &[]);
    assert!(
        header.code == 0 && header.out.starts_with("header.csv: 0 rows stored"),
        "{header:?}"
    );
    let file = shop.file("people.csv", people(0..1));
    assert_eq!(shop.import(&file, &["--partition", "nowhere"]).code, 4);
    let wrong = shop
        .command(
            &shop.url,
            &[
                "preferences",
                "import",
                &file,
                "--partition",
                "shop",
                "--key",
                "ant_wrong",
            ],
        )
        .status();
    assert_eq!(wrong.unwrap().code(), Some(5));
    let away = shop.run(
        "http://127.0.0.1:9",
        &["preferences", "import", &file, "--partition", "shop"],
    );
    assert_eq!(away.code, 69);
    assert_eq!(
        shop.run(
            "http://127.0.0.1:9",
            &["preferences", "export", "--partition", "shop", "--format", "csv"]
        )
        .code,
        69
    );
    assert_eq!(shop.export("nowhere", "nothing.jsonl").code, 4);
    assert!(!shop.path("nothing.jsonl").exists());
    assert!(shop.records("shop").is_empty());
}

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
        "3,column `metadata`: the cell is longer than 1048576 bytes; it is left out here,huge@example.test,2026-02-03T09:00:00Z,"
    );
}

#[test]
fn an_import_that_is_killed_again_and_again_goes_on_and_every_row_is_there() {
    let shop = Shop::start();
    let rows = 12_000;
    // Some bad rows, so that the list of them is cut short too.
    let text = people(0..rows).replace("00@example.test", "00");
    let bad = (0..rows).filter(|row| row % 100 == 0 && *row > 0).count();
    let file = shop.file("people.csv", &text);
    let arguments = [
        "preferences",
        "import",
        &file,
        "--partition",
        "shop",
        "--concurrency",
        "2",
    ];
    let progress = shop.path("people.csv.progress");
    let mark = || -> u64 {
        let kept = std::fs::read(&progress).unwrap_or_default();
        let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
        kept["mark"]["row"].as_u64().unwrap_or(0)
    };
    let mut kills = 0;
    let mut last = 0;
    let ended = loop {
        let mut process = shop
            .command(&shop.url, &arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let code = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status.code();
            }
            // Past a mark of its own, so that each run comes further than the one before.
            if kills < 4 && (mark() > last || started.elapsed() > Duration::from_secs(60)) {
                std::thread::sleep(Duration::from_millis(20));
                process.kill().unwrap();
                process.wait().unwrap();
                kills += 1;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        last = mark();
        if let Some(code) = code {
            let mut out = String::new();
            process.stdout.take().unwrap().read_to_string(&mut out).unwrap();
            break (code, out);
        }
    };
    assert!(kills >= 1, "it was killed under way");
    assert_eq!(ended.0, 1, "{ended:?}");
    assert!(ended.1.contains(&format!("{} refused", bad)), "{ended:?}");
    assert_eq!(shop.records("shop").len(), rows - bad);
    let rejected = shop.read("people.csv.rejected.csv");
    let numbers: Vec<usize> = rejected
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(
        numbers,
        (1..rows)
            .filter(|row| row % 100 == 0)
            .map(|row| row + 2)
            .collect::<Vec<_>>()
    );
    assert!(!progress.exists());
}

#[test]
fn progress_of_another_file_partition_or_mapping_is_not_taken_for_this_one() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..40_000));
    let import = |more: &[&str]| {
        let process = shop
            .command(
                &shop.url,
                &[&["preferences", "import", &file, "--concurrency", "1"], more].concat(),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        process.unwrap()
    };
    let mut process = import(&["--partition", "shop"]);
    while !shop.path("people.csv.progress").exists() {
        assert!(
            process.try_wait().unwrap().is_none(),
            "it ended before it kept anything"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &process.id().to_string()]).status();
        assert!(sent.unwrap().success(), "{name}");
    };
    // Held, so that it can't be done before the second has looked.
    signal("-STOP");
    let second = shop.import(&file, &[]);
    assert!(
        second.code == 2 && second.err.contains("another import has it"),
        "{second:?}"
    );
    // Ctrl-C: what is on its way is waited for, and the rest is left for the next time.
    signal("-INT");
    signal("-CONT");
    assert_eq!(process.wait().unwrap().code(), Some(1));

    let other = shop.import(&file, &["--partition", "as-csv"]);
    assert!(other.code == 2 && other.err.contains("--no-resume"), "{other:?}");
    let whole = shop.read("people.csv");
    shop.file("people.csv", whole.replacen("person-1@", "person-x@", 1));
    assert_eq!(shop.import(&file, &[]).code, 2);
    shop.file("people.csv", whole);
    let resumed = shop.import(&file, &[]);
    assert!(
        resumed.code == 0 && resumed.err.contains("going on after row"),
        "{resumed:?}"
    );
    assert!(resumed.out.contains("40,000 rows stored"), "{resumed:?}");
    assert_eq!(shop.records("shop").len(), 40_000);
}

#[test]
fn a_server_that_is_busy_or_away_for_a_while_costs_no_row() {
    let shop = Shop::start();
    let file = shop.file("people.csv", people(0..2000));
    let between = BadDay::before(&shop.url);
    let told = shop.run(&between.url, &["preferences", "import", &file, "--partition", "shop"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.out.contains("2,000 rows stored, 0 refused"), "{told:?}");
    assert!(between.calls.load(Ordering::Relaxed) > 25, "some calls were made again");
    assert_eq!(shop.records("shop").len(), 2000);
}

#[test]
fn several_files_are_imported_one_after_the_other() {
    let shop = Shop::start();
    let (one, two) = (
        shop.file("one.csv", people(0..120)),
        shop.file("two.csv", people(100..200)),
    );
    let told = shop.import(&one, &[&two]);
    assert_eq!(told.code, 0, "{told:?}");
    assert!(
        told.out.contains("one.csv: 120 rows stored") && told.out.contains("two.csv: 100 rows stored"),
        "{told:?}"
    );
    assert_eq!(shop.records("shop").len(), 200);
    assert_eq!(shop.import(&one, &[&two, "--rejected", "all.csv"]).code, 2);
    assert!(Path::new(&one).exists());
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
