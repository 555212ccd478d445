//! The commands, as the built executable runs them.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use support::Place;

fn antumbra(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_antumbra"))
        .args(arguments)
        .env_remove("ANTUMBRA_KEY")
        .env_remove("ANTUMBRA_URL")
        .output()
        .unwrap()
}

/// What a command said and how it ended, with the test's own folder and ports made nameless.
fn told(output: &Output, folder: &Path) -> String {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .replace(folder.to_str().unwrap(), "~")
    };
    format!(
        "exit {}\n--- out\n{}--- err\n{}",
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr)
    )
}

/// A running server with the object it printed.
struct Server {
    process: Child,
    ready: Value,
    rest: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(place: &Place) -> Server {
        Server::start_with(place, &[])
    }

    fn start_with(place: &Place, variables: &[(&str, &str)]) -> Server {
        let mut process = place
            .serve()
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut rest = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        rest.read_line(&mut line).unwrap();
        Server {
            process,
            ready: serde_json::from_str(&line).unwrap(),
            rest,
        }
    }

    /// The head and body of an answer.
    fn get(&self, path: &str) -> String {
        let address = self.ready["url"].as_str().unwrap().strip_prefix("http://").unwrap();
        let mut connection = std::net::TcpStream::connect(address).unwrap();
        write!(
            connection,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    fn stop(mut self) -> (Option<i32>, String) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let code = self.process.wait().unwrap().code();
        let mut rest = String::new();
        self.rest.read_to_string(&mut rest).unwrap();
        (code, rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn help_names_every_command_and_where_to_start() {
    insta::assert_snapshot!(told(&antumbra(&["--help"]), Path::new("~")));
}

#[test]
fn serve_teaches_by_examples() {
    insta::assert_snapshot!(told(&antumbra(&["serve", "--help"]), Path::new("~")));
}

#[test]
fn every_setting_is_shown_with_where_it_came_from_and_no_secret() {
    let place = Place::embedded();
    let file = place.path().join("antumbra.toml");
    let text = "[access]\ninternal_key = \"canary-internal\"\n[limits]\nprofile = \"vendor\"\n";
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_antumbra"))
        .args(["config", "show", "--config"])
        .arg(&file)
        .env("ANTUMBRA_SERVER__LISTEN", "127.0.0.1:9000")
        .output()
        .unwrap();
    insta::assert_snapshot!(told(&output, place.path()));
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_its_line_and_the_way_out() {
    let place = Place::embedded();
    let file = place.path().join("antumbra.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = \"127.0.0.1:8080\"\n\n[limits]\nprofil = \"vendor\"\n",
    )
    .unwrap();
    let path = file.to_str().unwrap();
    insta::assert_snapshot!(told(&antumbra(&["config", "check", "--config", path]), place.path()));
    assert_eq!(antumbra(&["serve", "--config", path]).status.code(), Some(2));
}

#[test]
fn the_printed_defaults_are_a_configuration_file() {
    let place = Place::embedded();
    let file = place.path().join("antumbra.toml");
    std::fs::write(&file, antumbra(&["config", "init"]).stdout).unwrap();
    insta::assert_snapshot!(told(
        &antumbra(&["config", "check", "--config", file.to_str().unwrap()]),
        place.path()
    ));
}

#[test]
fn a_ready_server_prints_one_object_and_nothing_else_and_stops_when_asked() {
    let place = Place::fresh();
    let server = Server::start(&place);
    let ready = server.ready.clone();
    let names: Vec<&String> = ready.as_object().unwrap().keys().collect();
    assert_eq!(names, ["data", "key", "url", "version"]);
    assert_eq!(ready["data"], place.path().join("data").to_str().unwrap());
    assert_eq!(ready["version"], env!("CARGO_PKG_VERSION"));
    assert!(ready["key"].as_str().unwrap().starts_with("ant_"));
    assert_eq!(server.stop(), (Some(0), String::new()));

    let again = Server::start(&place);
    assert_eq!(again.ready.get("key"), None, "a key is shown once");
    assert_eq!(again.stop(), (Some(0), String::new()));
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_out() {
    let place = Place::fresh();
    let antumbra = |arguments: &[&str]| place.antumbra().args(arguments).output().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = place.path().join("data");
    let output = antumbra(&["serve", "--listen", &address, "--data", data.to_str().unwrap()]);
    insta::assert_snapshot!(told(&output, place.path()).replace(&address, "127.0.0.1:PORT"));
}

#[test]
fn a_second_process_on_one_data_folder_is_refused_and_told_who_holds_it() {
    let place = Place::fresh();
    let server = Server::start(&place);
    let data = place.path().join("data");
    let output = place
        .antumbra()
        .args(["key", "list", "--data", data.to_str().unwrap()])
        .output()
        .unwrap();
    let told = told(&output, place.path()).replace(&server.process.id().to_string(), "PID");
    insta::assert_snapshot!(told);
}

#[test]
fn the_commands_bring_the_internal_key_where_the_server_asks_for_one() {
    let place = Place::fresh();
    let server = Server::start_with(&place, &[("ANTUMBRA_ACCESS__INTERNAL_KEY", "c2VjcmV0LW9mLW91cnM=")]);
    let (url, key) = (
        server.ready["url"].as_str().unwrap(),
        server.ready["key"].as_str().unwrap(),
    );
    let list = ["key", "list", "--url", url, "--key", key];
    let refused = place.antumbra().args(list).output().unwrap();
    assert_eq!(refused.status.code(), Some(5));
    let listed = place
        .antumbra()
        .args(list)
        .env("ANTUMBRA_INTERNAL_KEY", "c2VjcmV0LW9mLW91cnM=")
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", told(&listed, place.path()));
    server.stop();
}

#[test]
fn keys_are_made_listed_and_revoked_while_the_server_is_stopped() {
    let place = Place::fresh();
    let antumbra = |arguments: &[&str]| place.antumbra().args(arguments).output().unwrap();
    let data = place.path().join("data");
    let data = data.to_str().unwrap();
    for command in ["list", "rotate-root"] {
        let refused = antumbra(&["key", command, "--data", data]);
        assert_eq!(refused.status.code(), Some(4), "no server was started there");
    }
    assert!(!place.path().join("data").exists());
    Server::start(&place).stop();
    let created = antumbra(&[
        "key",
        "create",
        "--title",
        "rescue",
        "--scope",
        "fullAdmin",
        "--data",
        data,
    ]);
    assert!(String::from_utf8(created.stdout).unwrap().starts_with("ant_"));

    let listed = String::from_utf8(antumbra(&["key", "list", "--data", data]).stdout).unwrap();
    let row = listed.lines().find(|line| line.contains("rescue")).unwrap();
    let id = row.split_whitespace().next().unwrap();
    assert!(row.contains("fullAdmin") && row.contains("never"));

    assert!(antumbra(&["key", "revoke", id, "--data", data]).status.success());
    assert_eq!(antumbra(&["key", "revoke", id, "--data", data]).status.code(), Some(4));
}

#[test]
fn the_root_key_is_replaced_while_the_server_is_stopped() {
    let place = Place::embedded();
    let data = place.path().join("data");
    let server = Server::start(&place);
    let key = server.ready["key"].as_str().unwrap().to_owned();
    let signing = server.get("/public-keys/sombra-general-signing-key");
    let running = antumbra(&["key", "rotate-root", "--data", data.to_str().unwrap()]);
    assert_eq!(running.status.code(), Some(1), "the folder is in use");
    server.stop();
    assert!(data.join("root.key.epoch-1").exists());

    let before = std::fs::read(data.join("root.key")).unwrap();
    let rotated = antumbra(&["key", "rotate-root", "--data", data.to_str().unwrap()]);
    insta::assert_snapshot!(told(&rotated, place.path()));
    let after = std::fs::read(data.join("root.key")).unwrap();
    assert!(after.len() == 32 && after != before);

    let server = Server::start(&place);
    let url = server.ready["url"].as_str().unwrap();
    assert!(antumbra(&["key", "list", "--url", url, "--key", &key]).status.success());
    let pem = |answer: &str| answer.split("\r\n\r\n").nth(1).unwrap().to_owned();
    assert_eq!(
        pem(&server.get("/public-keys/sombra-general-signing-key")),
        pem(&signing)
    );
    server.stop();
    std::fs::write(data.join("root.key"), before).unwrap();
    let refused = antumbra(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    assert_eq!(
        refused.status.code(),
        Some(74),
        "a copy of the old root key opens nothing"
    );
}

#[test]
fn webhooks_are_signed_with_the_key_that_was_brought() {
    let place = Place::fresh();
    let key = antumbra_crypto::token::SigningKey::generate();
    let private = BASE64.encode(key.to_pkcs8());
    let private = BASE64.encode(format!(
        "-----BEGIN PRIVATE KEY-----\n{private}\n-----END PRIVATE KEY-----\n"
    ));
    let server = Server::start_with(&place, &[("JWT_ECDSA_KEY", &private)]);
    assert!(
        server
            .get("/public-keys/sombra-general-signing-key")
            .ends_with(&key.public_pem())
    );
    server.stop();
    let server = Server::start(&place);
    let own = server.get("/public-keys/sombra-general-signing-key");
    assert!(!own.ends_with(&key.public_pem()), "it is not stored");

    let output = Command::new(env!("CARGO_BIN_EXE_antumbra"))
        .args(["config", "check"])
        .env("JWT_ECDSA_KEY", "canary")
        .output()
        .unwrap();
    insta::assert_snapshot!(told(&output, place.path()));
}

#[test]
fn keys_are_made_listed_and_revoked_on_a_running_server() {
    let place = Place::fresh();
    let server = Server::start(&place);
    let (url, key) = (
        server.ready["url"].as_str().unwrap(),
        server.ready["key"].as_str().unwrap(),
    );
    let server = ["--url", url, "--key", key];
    let with = |arguments: &[&str]| antumbra(&[arguments, &server].concat());

    let made = with(&["key", "create", "--title", "reader", "--scope", "readOnly"]);
    let made = String::from_utf8(made.stdout).unwrap();
    assert!(made.starts_with("ant_"));
    let listed = String::from_utf8(with(&["key", "list"]).stdout).unwrap();
    let id = listed
        .lines()
        .find(|line| line.contains("reader"))
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    assert!(with(&["key", "revoke", &id]).status.success());

    let refused = antumbra(&["key", "list", "--url", url, "--key", made.trim()]);
    assert_eq!(refused.status.code(), Some(5), "a revoked key may do nothing");
}

#[test]
fn jobs_are_listed_and_tried_again_on_a_running_server() {
    let place = Place::fresh();
    let server = Server::start(&place);
    let (url, key) = (
        server.ready["url"].as_str().unwrap(),
        server.ready["key"].as_str().unwrap(),
    );
    let server = ["--url", url, "--key", key];
    let listed = antumbra(&[&["job", "list", "--parked"][..], &server].concat());
    assert_eq!(
        told(&listed, place.path()),
        "exit 0\n--- out\nNo job is parked.\n--- err\n"
    );
    let listed = antumbra(&[&["job", "list", "--failing"][..], &server].concat());
    assert_eq!(
        told(&listed, place.path()),
        "exit 0\n--- out\nNo job is failing.\n--- err\n"
    );
    let nobody = "00000000-0000-7000-8000-000000000000";
    let refused = antumbra(&[&["job", "retry", nobody][..], &server].concat());
    assert_eq!(
        told(&refused, place.path()),
        "exit 4\n--- out\n--- err\nantumbra: There is no such parked job\n"
    );
    assert_eq!(
        antumbra(&["job", "list"]).status.code(),
        Some(2),
        "which jobs is to be said"
    );
}

#[test]
fn the_time_of_an_organization_that_rehearses_is_moved_forward() {
    let place = Place::fresh();
    let server = Server::start(&place);
    let (url, key) = (
        server.ready["url"].as_str().unwrap(),
        server.ready["key"].as_str().unwrap(),
    );
    let clock = |arguments: &[&str]| {
        let arguments = [&["clock"], arguments, &["--url", url, "--key", key]].concat();
        let output = antumbra(&arguments);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(clock(&["show"]).1.ends_with("The organization does not rehearse.\n"));
    assert_eq!(
        clock(&["advance", "45d"]).0,
        Some(1),
        "nobody's time is moved but that of a rehearsal"
    );
    assert_eq!(clock(&["rehearse"]).0, Some(0));
    let (code, said) = clock(&["advance", "45d"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        clock(&["show"])
            .1
            .ends_with(", 45 days ahead. The organization rehearses.\n")
    );
}

#[test]
fn a_server_that_is_not_there_is_told_apart_from_one_that_refuses() {
    let output = antumbra(&["key", "list", "--url", "http://127.0.0.1:1", "--key", "ant_x"]);
    insta::assert_snapshot!(told(&output, Path::new("~")));
    assert_eq!(antumbra(&["key", "list"]).status.code(), Some(2));
}

#[test]
fn the_story_of_the_demo_holds() {
    let output = antumbra(&["demo", "--film-bytes", "3000001"]);
    assert!(output.status.success(), "{}", told(&output, Path::new("~")));
}

#[test]
fn a_demo_that_takes_too_long_is_given_up() {
    let output = antumbra(&["demo", "--film-bytes", "400000000000", "--timeout", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let told = told(&output, Path::new("~"));
    assert!(told.contains("it took longer than --timeout, 1 s"), "{told}");
}

#[test]
fn what_check_lets_pass_serve_does_not_refuse_for_a_settings_sake() {
    let place = Place::embedded();
    let file = place.path().join("antumbra.toml");
    for text in [
        "[logs]\nlevel = \"loud\"\n",
        "[server]\npublic_url = \"privacy.example.test\"\n",
        "[server.tls]\ncertificate = \"/nowhere/a.pem\"\nprivate_key = \"/nowhere/b.pem\"\n",
        "[access]\ninternal_key = \"\"\n",
    ] {
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        let checked = antumbra(&["config", "check", "--config", path]);
        let served = antumbra(&["serve", "--listen", "127.0.0.1:0", "--config", path]);
        assert_eq!(checked.status.code(), Some(2), "{text}");
        assert_eq!(checked.stderr, served.stderr, "{text}");
        assert_eq!(served.status.code(), Some(2), "{text}");
    }
}
