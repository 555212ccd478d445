//! `antumbra serve` on good days and bad ones, as the built executable runs.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running server with the object it printed.
struct Server {
    process: Child,
    ready: Value,
    out: BufReader<std::process::ChildStdout>,
}

/// How a server ended and what it had still to say.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Server {
    fn start(place: &Place) -> Server {
        Server::spawn(place.serve())
    }

    /// Starts `command` and waits until it is ready.
    fn spawn(mut command: Command) -> Server {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| {
            let mut said = String::new();
            process.stderr.take().unwrap().read_to_string(&mut said).ok();
            panic!("the server did not start: {said}")
        });
        Server { process, ready, out }
    }

    fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.text("url"))
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Waits for the end and reads what is left.
    fn ended(mut self) -> Ended {
        let (mut out, mut err) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        let code = self.process.wait().unwrap().code();
        Ended { code, out, err }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn apply(server: &Server, key: &str, place: &Place, text: &str) -> Output {
    let file = place.path().join("antumbra.yml");
    std::fs::write(&file, text).unwrap();
    let mut command = place.antumbra();
    command.args(["apply", "--url", server.text("url"), "--key", key, "-f"]);
    command.arg(file).output().unwrap()
}

/// A notice's nonce, once all of it has arrived.
async fn read_notice(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "a notice was cut short");
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).unwrap().1
        };
        if body.len() >= header("content-length").parse().unwrap() {
            return header("x-transcend-nonce").to_owned();
        }
    }
}

#[tokio::test]
async fn a_notice_that_was_on_its_way_at_a_kill_goes_out_again_at_the_next_start_on_the_folder() {
    let place = Place::embedded();
    let shop = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(&place);
    let key = server.text("key").to_owned();
    let configuration = format!(
        "data-subjects:\n  - type: customer\n    title: Customer\n    actions: [ACCESS]\ndata-silos:\n  - title: Shop\n    \
         integrationName: server\n    description: The shop\n    url: http://{}/hook\n    identity-keys: [email]\n",
        shop.local_addr().unwrap()
    );
    let applied = apply(&server, &key, &place, &configuration);
    assert!(
        applied.status.success(),
        "{}{}",
        String::from_utf8_lossy(&applied.stdout),
        String::from_utf8_lossy(&applied.stderr)
    );
    let body = json!({
        "type": "ACCESS",
        "subjectType": "customer",
        "isSilent": true,
        "subject": { "coreIdentifier": "acct_80431", "email": "robin.hale@example.test", "emailIsVerified": true },
    });
    let call = reqwest::Client::new().post(server.url("/v1/data-subject-request"));
    let answer = call.bearer_auth(&key).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());

    let (mut unanswered, _) = shop.accept().await.unwrap();
    let nonce = read_notice(&mut unanswered).await;
    server.signal("-KILL");
    drop(server);

    let started = Instant::now();
    let _server = Server::start(&place);
    let (mut again, _) = tokio::time::timeout(Duration::from_secs(10), shop.accept())
        .await
        .expect("the notice comes again without waiting for a lease to end")
        .unwrap();
    assert_eq!(read_notice(&mut again).await, nonce);
    assert!(started.elapsed() < Duration::from_secs(10));
    again
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_server_on_one_folder_is_refused_and_told_who_holds_it() {
    let place = Place::fresh();
    let first = Server::start(&place);
    let second = place.serve().output().unwrap();
    assert_eq!((second.status.code(), second.stdout.as_slice()), (Some(1), &b""[..]));
    let holder = format!("is in use by process {}", first.process.id());
    assert!(said(&second).contains(&holder), "{}", said(&second));
}

#[test]
fn the_key_of_a_first_start_under_the_systems_log_stands_in_a_file_of_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::fresh();
    let (reader, journal) = std::io::pipe().unwrap();
    let stream = rustix::fs::fstat(&journal).unwrap();
    let mut command = place.antumbra();
    let data = place.path().join("data");
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(&data)
        .env("ANTUMBRA_LOGS__LEVEL", "error")
        .env("JOURNAL_STREAM", format!("{}:{}", stream.st_dev, stream.st_ino))
        .stdout(journal);
    let mut process = command.spawn().unwrap();
    drop(command);
    let mut out = BufReader::new(reader);
    let mut banner = String::new();
    while !banner.contains("Listening on this machine only") {
        assert_ne!(out.read_line(&mut banner).unwrap(), 0, "{banner}");
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let file = data.join("first-key");
    let key = std::fs::read_to_string(&file).unwrap();
    assert!(key.starts_with("ant_") && key.ends_with('\n'));
    assert!(!banner.contains("ant_"), "{banner}");
    assert!(banner.contains(file.to_str().unwrap()), "{banner}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_for_this_machine_is_not_sent_through_a_proxy() {
    let place = Place::fresh();
    let server = Server::start(&place);
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = place.antumbra();
    command
        .args(["key", "list", "--url", server.text("url"), "--key", server.text("key")])
        .env("http_proxy", format!("http://{}", proxy.local_addr().unwrap()))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    let listed = command.output().unwrap();
    assert!(listed.status.success(), "{}", said(&listed));
    proxy.set_nonblocking(true).unwrap();
    assert!(proxy.accept().is_err(), "somebody called the proxy");
}

#[tokio::test]
async fn a_second_signal_ends_a_server_at_once() {
    let place = Place::fresh();
    let server = Server::start(&place);
    let (url, key) = (server.text("url").to_owned(), server.text("key").to_owned());
    // An upload that never goes on is what a stop would wait for.
    let address = url.strip_prefix("http://").unwrap();
    let mut unfinished = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /v1/data-subject-request HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    unfinished.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;

    let asked = Instant::now();
    server.signal("-TERM");
    // Echoes of the first one are let pass for a moment.
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.signal("-TERM");
    let ended = tokio::task::spawn_blocking(move || server.ended()).await.unwrap();
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "the first signal alone would wait 20 s"
    );
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert!(
        ended.err.contains("stopped at once by a second SIGTERM"),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_server_whose_disk_fails_acknowledges_nothing_more_and_ends_with_74() {
    let place = Place::embedded();
    let server = Server::start(&place);
    let key = server.text("key").to_owned();
    server.signal("-TERM");
    assert_eq!(server.ended().code, Some(0));

    // A limit on the size of files stands in for a disk that refuses.
    let limited = place.serve();
    let mut command = Command::new("sh");
    command
        .env("ANTUMBRA_LOGS__LEVEL", "error")
        .args(["-c", "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\""])
        .arg(limited.get_program())
        .args(limited.get_args());
    let server = Server::spawn(command);
    let client = reqwest::Client::new();
    let mut refused = None;
    for number in 0..2_000 {
        let title = format!("key {number} {}", "x".repeat(60));
        let body = json!({
            "query": "mutation($input: ApiKeyInput!) { createApiKey(input: $input) { apiKey { id } } }",
            "variables": { "input": { "title": title, "scopes": ["fullAdmin"] } },
        });
        match client
            .post(server.url("/graphql"))
            .bearer_auth(&key)
            .json(&body)
            .send()
            .await
        {
            Ok(answer) if answer.status() == 200 => {}
            other => {
                refused = Some(other.map(|answer| answer.status().as_u16()));
                break;
            }
        }
    }
    match refused {
        Some(Ok(status)) => assert_eq!(status, 502, "storage trouble is answered as such"),
        Some(Err(_)) => {}
        None => panic!("the disk never refused"),
    }
    let ended = tokio::task::spawn_blocking(move || server.ended()).await.unwrap();
    assert_eq!(ended.code, Some(74), "{}", ended.err);
}

#[test]
fn a_log_with_a_hole_in_it_is_refused_with_74_and_the_way_out() {
    let place = Place::embedded();
    let server = Server::start(&place);
    server.signal("-TERM");
    assert_eq!(server.ended().code, Some(0));
    let tables = place.path().join("data/store/tables");
    let logs = std::fs::read_dir(&tables).unwrap().map(|entry| entry.unwrap().path());
    for log in logs.filter(|path| path.extension().is_some_and(|end| end == "jnl")) {
        std::fs::File::options()
            .write(true)
            .open(log)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    let output = place.serve().output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(74), &b""[..]));
    assert!(said(&output).contains("accept_truncated_log"), "{}", said(&output));
}

#[test]
fn files_whose_store_is_gone_are_refused_with_74_and_not_given_to_a_new_one() {
    let place = Place::embedded();
    let server = Server::start(&place);
    server.signal("-TERM");
    assert_eq!(server.ended().code, Some(0));
    let data = place.path().join("data");
    std::fs::create_dir_all(data.join("blobs/7a/3f")).unwrap();
    std::fs::rename(data.join("store"), place.path().join("lost")).unwrap();

    let output = place.serve().output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(74), &b""[..]));
    assert!(said(&output).contains("holds files and no store"), "{}", said(&output));

    std::fs::rename(place.path().join("lost"), data.join("store")).unwrap();
    let server = Server::start(&place);
    server.signal("-TERM");
    assert_eq!(server.ended().code, Some(0));
}

#[test]
fn a_database_that_is_not_there_is_refused_with_69_and_no_password() {
    let place = Place::embedded();
    let output = place
        .serve()
        .env("ANTUMBRA_STORAGE__ENGINE", "postgres")
        .env("ANTUMBRA_STORAGE__URL", "postgres://ada:hunter2@127.0.0.1:1/none")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", said(&output));
    assert!(
        said(&output).contains("the database cannot be reached"),
        "{}",
        said(&output)
    );
    assert!(!said(&output).contains("hunter2"));
}

#[tokio::test]
async fn https_is_spoken_where_certificate_and_key_are_named() {
    let place = Place::fresh();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../antumbra-server/tests/it/fixtures");
    let mut command = place.serve();
    command
        .env("ANTUMBRA_SERVER__TLS__CERTIFICATE", fixtures.join("localhost.cert.pem"))
        .env("ANTUMBRA_SERVER__TLS__PRIVATE_KEY", fixtures.join("localhost.key.pem"));
    let server = Server::spawn(command);
    assert!(server.text("url").starts_with("https://127.0.0.1:"), "{}", server.ready);
    let certificate = std::fs::read(fixtures.join("localhost.cert.pem")).unwrap();
    let trusting = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&certificate).unwrap()])
        .build()
        .unwrap();
    let health = trusting.get(server.url("/health")).send().await.unwrap();
    assert_eq!(health.text().await.unwrap(), "ok\n");
    let in_clear = server.url("/health").replace("https://", "http://");
    assert!(reqwest::get(in_clear).await.is_err());
}

#[test]
fn a_certificate_that_cannot_be_read_is_named() {
    let place = Place::embedded();
    let output = place
        .serve()
        .env("ANTUMBRA_SERVER__TLS__CERTIFICATE", "/nowhere/chain.pem")
        .env("ANTUMBRA_SERVER__TLS__PRIVATE_KEY", "/nowhere/key.pem")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("cannot read /nowhere/chain.pem"),
        "{}",
        said(&output)
    );
}

#[tokio::test]
async fn metrics_may_have_an_address_of_their_own() {
    let place = Place::fresh();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = place.serve();
    command.env("ANTUMBRA_SERVER__METRICS_LISTEN", free.to_string());
    let server = Server::spawn(command);
    let status = async |url: String| reqwest::get(url).await.unwrap().status().as_u16();
    assert_eq!(status(server.url("/metrics")).await, 404);
    assert_eq!(status(server.url("/health")).await, 200);
    assert_eq!(status(format!("http://{free}/metrics")).await, 200);
    assert_eq!(status(format!("http://{free}/health")).await, 404);
}

#[test]
fn a_key_is_printed_at_the_first_start_and_never_again_however_the_server_ended() {
    let place = Place::fresh();
    let names = |server: &Server| -> Vec<String> { server.ready.as_object().unwrap().keys().cloned().collect() };
    let first = Server::start(&place);
    assert_eq!(names(&first), ["data", "key", "url", "version"]);
    first.signal("-KILL");
    drop(first);
    for signal in ["-INT", "-TERM"] {
        let server = Server::start(&place);
        assert_eq!(names(&server), ["data", "url", "version"]);
        server.signal(signal);
        let ended = server.ended();
        assert_eq!(
            (ended.code, ended.out.as_str()),
            (Some(0), ""),
            "one object and nothing else"
        );
    }
}

#[test]
fn a_setting_that_does_not_exist_is_refused_with_2_wherever_it_was_written() {
    let place = Place::embedded();
    let file = place.path().join("antumbra.toml");
    std::fs::write(&file, "[webhooks]\ntries = 3\n\n[limits.budgets]\ndsrs = 5\n").unwrap();
    let in_file = place.serve().arg("--config").arg(&file).output().unwrap();
    let named = format!(
        "`limits.budgets.dsrs` is not a setting\n  at file {}:5\n",
        file.display()
    );
    assert_eq!(in_file.status.code(), Some(2));
    assert!(said(&in_file).contains(&named), "{}", said(&in_file));

    for variable in [
        "ANTUMBRA_SERVER__LITSEN",
        "ANTUMBRA_LIMITS__BUDGETS__DSRS",
        "ANTUMBRA_SERVERS__LISTEN",
    ] {
        let output = place.serve().env(variable, "1").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}");
        let named = format!("is not a setting\n  at variable {variable}\n");
        assert!(said(&output).contains(&named), "{}", said(&output));
    }
    assert!(!place.path().join("data").exists(), "nothing was begun");
}
