//! The story on the README's first screen, as it is printed there.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

/// The block of shell lines that begins with `first`.
fn block(readme: &str, first: &str) -> String {
    let mut blocks = readme.split("\n```sh\n").skip(1);
    let block = blocks.find(|block| block.starts_with(first)).unwrap();
    block.split("\n```").next().unwrap().to_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Only the ports are others than those printed, as tests run side by side.
#[test]
fn the_story_of_the_readme_holds_as_printed() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let story = block(&readme, "soon()")
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", free_port()))
        .replace("9000", &free_port().to_string());
    let folder = tempfile::tempdir().unwrap();
    let executable = Path::new(env!("CARGO_BIN_EXE_antumbra"));
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("timeout")
        .args(["120", "bash", "-c", &story])
        .current_dir(folder.path())
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
    for trouble in ["gave up", "differ", "error\":", "curl:", "command not found"] {
        assert!(!out.contains(trouble) && !err.contains(trouble), "{trouble}: {said}");
    }
    let webhook = std::fs::read_to_string(folder.path().join("webhook.txt")).unwrap();
    assert!(webhook.contains("x-sombra-token: "), "the webhook is signed: {webhook}");
    let found = out
        .lines()
        .any(|line| line.contains("\"userId\":\"robin@example.test\"") && line.contains("\"usp\":\"1YYN\""));
    assert!(found, "the choice is read back: {said}");
    let last = out.trim_end().lines().last().unwrap_or_default();
    assert!(
        last.contains("\"status\":"),
        "after a kill, the request is there: {said}"
    );
}
