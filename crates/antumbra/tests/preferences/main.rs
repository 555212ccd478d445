//! `antumbra preferences`, as the built executable runs it against a real server.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[path = "../support/bad_day.rs"]
mod bad_day;
mod endings;
mod exports;
mod feed;
mod files;
mod history;
mod imports;
mod sizes;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Place, Running, Told};

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
    server: Running,
    place: Place,
    url: String,
    key: String,
}

impl Shop {
    fn start() -> Shop {
        let place = Place::fresh();
        let server = Running::start(place.serve());
        let shop = Shop {
            url: server.url.clone(),
            key: server.key.clone(),
            server,
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
        self.place.run(&mut self.command(url, arguments))
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

    /// The row up to which the import of a file is settled, as is kept beside it.
    fn mark(&self, name: &str) -> u64 {
        let kept = std::fs::read(self.path(&format!("{name}.progress"))).unwrap_or_default();
        let kept: Value = serde_json::from_slice(&kept).unwrap_or_default();
        kept["mark"]["row"].as_u64().unwrap_or(0)
    }

    /// Has a server where the one was that was taken away.
    fn go_on(&mut self) {
        let mut serve = self.place.antumbra();
        let address = self.url.strip_prefix("http://").unwrap();
        serve.args(["serve", "--json", "--listen", address, "--data"]);
        serve.arg(self.path("data")).env("ANTUMBRA_LOGS__LEVEL", "error");
        self.server = Running::start(serve);
        assert_eq!(self.server.url, self.url);
    }

    fn put(&self, records: Value) {
        let body = json!({ "records": records }).to_string();
        let (status, answer) = http(&self.url, &self.key, "PUT", "/v1/preferences", &body);
        assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
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
    try_http(url, key, method, path, body).unwrap()
}

/// One call; an error where the server is away.
fn try_http(url: &str, key: &str, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
    let address = url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address)?;
    let length = body.len();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, serde_json::from_str(body).unwrap_or_default()))
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
