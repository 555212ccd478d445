//! The stories that are printed for newcomers: on the README's first screen, of the preference store, and of files in bulk.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The block of shell lines that begins with `first`.
fn block(readme: &str, first: &str) -> String {
    let mut blocks = readme.split("\n```sh\n").skip(1);
    let block = blocks.find(|block| block.starts_with(first)).unwrap();
    block.split("\n```").next().unwrap().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs a story in an empty folder and gives what it printed. Only the ports are others than those printed, as tests run
/// side by side.
fn play(page: &str, folder: &Path) -> String {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page)).unwrap();
    let story = block(&page, "soon()")
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", free_port()))
        .replace("9000", &free_port().to_string());
    let executable = Path::new(env!("CARGO_BIN_EXE_antumbra"));
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["120", "bash", "-c", &story])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", executable.parent().unwrap().display()))
        .env("ANTUMBRA_LOGS__LEVEL", "error")
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let said = format!("{out}\n--- err\n{err}");
    assert!(output.status.success(), "{said}");
    for trouble in ["gave up", "differ", "error\":", "curl:", "Usage:", "command not found"] {
        assert!(!out.contains(trouble) && !err.contains(trouble), "{trouble}: {said}");
    }
    let key_file = std::fs::metadata(folder.join("ready.json")).unwrap();
    assert_eq!(
        key_file.permissions().mode() & 0o077,
        0,
        "others can read a key that may do everything"
    );
    out.into_owned()
}

#[test]
fn the_story_of_the_readme_holds_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let out = play("README.md", folder.path());
    let webhook = std::fs::read_to_string(folder.path().join("webhook.txt")).unwrap();
    assert!(webhook.contains("x-sombra-token: "), "the webhook is signed: {webhook}");
    let found = out
        .lines()
        .any(|line| line.contains("\"userId\":\"robin@example.test\"") && line.contains("\"usp\":\"1YYN\""));
    assert!(found, "the choice is read back: {out}");
    let last = out.trim_end().lines().last().unwrap_or_default();
    assert!(
        last.contains("\"status\":"),
        "after a kill, the request is there: {out}"
    );
}

#[test]
fn the_story_of_the_preference_store_holds_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let out = play("docs/preferences.md", folder.path());
    let file = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let node = |name: &str| -> Value { serde_json::from_str::<Value>(&file(name)).unwrap()["nodes"][0].clone() };
    let answers = |name: &str| -> Vec<(String, bool)> {
        let of = |answer: &Value| {
            (
                answer["purpose"].as_str().unwrap().to_owned(),
                answer["enabled"].as_bool().unwrap(),
            )
        };
        let mut answers: Vec<_> = node(name)["purposes"].as_array().unwrap().iter().map(of).collect();
        answers.sort();
        answers
    };
    let said = |analytics, news| vec![("Analytics".to_owned(), analytics), ("News".to_owned(), news)];
    assert_eq!(
        answers("now.json"),
        said(false, false),
        "the later choice of each purpose"
    );
    assert_eq!(node("now.json")["identifiers"].as_array().unwrap().len(), 3);
    assert_eq!(answers("then.json"), said(false, true), "as it was on the fourth");
    let timeline: Value = serde_json::from_str(&file("timeline.json")).unwrap();
    assert!(timeline["records"].as_array().unwrap().len() >= 3, "{timeline}");
    let requests: Value = serde_json::from_str(&file("requests.json")).unwrap();
    let opened = requests["data"]["requests"]["nodes"].as_array().unwrap();
    assert_eq!(opened.len(), 1, "{requests}");
    assert_eq!(opened[0]["type"], "CONTACT_OPT_OUT");
    assert_eq!(
        opened[0]["purpose"],
        serde_json::json!({ "name": "Product news", "consent": false }),
        "{requests}"
    );
    assert!(file("changes.jsonl").lines().filter(|line| !line.is_empty()).count() >= 3);
    assert!(file("people.csv").contains("+351910000018"));
    let last = out.trim_end().lines().last().unwrap_or_default();
    assert!(last.contains("\"records\":[]"), "nothing is left to be read: {out}");
}

#[test]
fn the_story_of_files_in_bulk_holds_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let out = play("docs/bulk.md", folder.path());
    for said in [
        "2 rows are good, 0 are bad; nothing was stored",
        "2 rows stored, 0 refused",
    ] {
        assert!(out.contains(said), "{said}: {out}");
    }
    let table = std::fs::read(folder.path().join("all.parquet")).unwrap();
    assert!(table.starts_with(b"PAR1"), "the export is a Parquet file");
}
