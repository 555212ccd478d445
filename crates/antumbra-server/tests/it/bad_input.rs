//! What a broken or a hostile client sends, and the answer to each, on every route that can be sent it.
//!
//! Heads that are too long or ambiguous are in `http.rs`, keys in `access.rs`, forged nonces in `runs.rs`, forged
//! download keys in `files.rs`.

use antumbra_server::{dsr::DsrId, files, http::VALUES_MAX, organization::Action, routes::BodyRule, runs::RunStatus};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    access::{guarded, path_of, refusal},
    support::{TestServer, rows::rows_of, story::Story},
};

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

impl Story {
    /// Sends a body to a route, as somebody who may do everything and holds this nonce.
    async fn send(&self, method: Method, path: &str, nonce: &str, body: impl Into<reqwest::Body>) -> Response {
        let call = self.server.client().request(method, self.server.url(path));
        let call = call.bearer_auth(&self.admin_key).header("x-transcend-nonce", nonce);
        call.header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap()
    }

    /// As `send`, and gives the places that are found wrong.
    async fn refused_at(&self, method: Method, path: &str, nonce: &str, body: String) -> Vec<String> {
        let shown: String = body.chars().take(200).collect();
        let answer = self.send(method, path, nonce, body).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path} {shown}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["code"], "VALIDATION_FAILED", "{path} {shown}: {answer}");
        let details = answer["details"].as_array().unwrap();
        details
            .iter()
            .map(|detail| detail["path"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn get(&self, path: &str) -> Response {
        let call = self.server.client().get(self.server.url(path));
        call.bearer_auth(&self.admin_key).send().await.unwrap()
    }

    async fn names_of(&self, request: DsrId) -> Vec<String> {
        let files = self.files_of(request).await;
        files
            .iter()
            .map(|file| file["fileName"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn no_route_reads_a_body_that_is_no_json_or_not_its_own() {
    let story = Story::with_data_points(&[]).await;
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let many = format!("{{\"records\":[{}0]}}", "0,".repeat(VALUES_MAX));
    let bodies: Vec<(&[u8], &str)> = vec![
        (b"", "MALFORMED"),
        (b"{", "MALFORMED"),
        (b"{}{}", "MALFORMED"),
        (b"{\"type\":\"\xff\"}", "MALFORMED"),
        (b"{\"type\":\"\xc3\"}", "MALFORMED"),
        (b"\xff\xfe{\0}\0", "MALFORMED"),
        (b"\xef\xbb\xbf{}", "MALFORMED"),
        (b"{\"type\":\"\0\"}", "MALFORMED"),
        (b"{\"type\":NaN}", "MALFORMED"),
        (b"{'type':1}", "MALFORMED"),
        (deep.as_bytes(), "MALFORMED"),
        (b"null", "VALIDATION_FAILED"),
        (b"true", "VALIDATION_FAILED"),
        (b"7", "VALIDATION_FAILED"),
        (b"\"{}\"", "VALIDATION_FAILED"),
        (b"[[]]", "VALIDATION_FAILED"),
        (many.as_bytes(), "MALFORMED"),
    ];
    let reading =
        |route: &antumbra_server::routes::RouteFacts| route.body == BodyRule::Buffered && route.method != Method::GET;
    let mut routes = 0;
    for route in guarded().into_iter().filter(reading) {
        routes += 1;
        let carries_any_json = ["/v1/data-silo", "/v1/datapoint-chunked"].contains(&route.path.as_str());
        for (body, code) in &bodies {
            let is_taken = match *body {
                b"" => route.path.ends_with("/plan"),
                b"[[]]" => route.path == "/graphql",
                body => carries_any_json && body.len() > VALUES_MAX,
            };
            if is_taken {
                continue;
            }
            let path = path_of(&route);
            let answer = story.send(route.method.clone(), &path, "x", body.to_vec()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
            let case = format!("{} {} {shown}", route.method, route.path);
            assert_eq!(answer.status(), 400, "{case}");
            let (found, message) = refusal(answer).await;
            assert_eq!(found, *code, "{case}: {message}");
            assert!(message.starts_with("Client error: "), "{case}: {message}");
        }
        if route.path != "/graphql" {
            let answer = story.send(route.method.clone(), &path_of(&route), "x", " []").await;
            let (found, message) = refusal(answer).await;
            assert_eq!(
                (found.as_str(), message.as_str()),
                ("VALIDATION_FAILED", "Client error: must be an object"),
                "{} {}",
                route.method,
                route.path
            );
        }
        let text = story
            .server
            .client()
            .request(route.method.clone(), story.server.url(&path_of(&route)));
        let text = text
            .bearer_auth(&story.admin_key)
            .header("content-type", "text/plain")
            .body("{}");
        assert_eq!(
            text.send().await.unwrap().status(),
            415,
            "{} {}",
            route.method,
            route.path
        );
    }
    assert!(routes >= 8);
}

#[tokio::test]
async fn of_two_equal_keys_the_last_counts() {
    let story = Story::with_data_points(&["profile"]).await;
    let body = r#"{"type":"ERASURE","type":"ACCESS","isSilent":false,"isSilent":true,"subjectType":"customer",
        "subject":{"coreIdentifier":"first","coreIdentifier":"last","email":"robin.hale@example.test","emailIsVerified":true}}"#;
    let answer = story.send(Method::POST, "/v1/data-subject-request", "", body).await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        (&answer["request"]["type"], &answer["request"]["coreIdentifier"]),
        (&json!("ACCESS"), &json!("last")),
        "{answer}"
    );
    let request = DsrId(answer["id"].as_str().unwrap().parse().unwrap());
    story.server.run_jobs_until_idle().await;
    let nonce = story.receiver.take_one().nonce();

    let body = r#"{"status":"READY","status":"WAITING","profiles":[{"profileData":{"profile":{"a":1},"profile":{"a":2,"a":3}}}]}"#;
    assert_eq!(
        story.send(Method::POST, "/v1/data-silo", &nonce, body).await.status(),
        200
    );
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    let page = r#"{"dataPointName":"salary","dataPointName":"profile","data":{},"data":[1],"fileId":"a","fileId":"b"}"#;
    assert_eq!(
        story
            .send(Method::POST, "/v1/datapoint-chunked", &nonce, page)
            .await
            .status(),
        200
    );
    let report = r#"{"status":"WAITING","status":"RESOLVED"}"#;
    assert_eq!(
        story.send(Method::PUT, "/v1/data-silo", &nonce, report).await.status(),
        200
    );
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    let mut names = story.names_of(request).await;
    names.sort_unstable();
    assert_eq!(names, ["profile/b.json", "profile/profile.json"]);

    let query = format!(r#"{{"requestId":"x","requestId":"{request}","first":1,"first":2}}"#);
    let answer = story.send(Method::POST, "/v1/request-identifiers", "", query).await;
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["identifiers"].as_array().unwrap().len(), 2, "{answer}");
}

#[tokio::test]
async fn numbers_in_somebodys_data_are_kept_as_they_were_written() {
    let story = Story::with_data_points(&["profile", "orders"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let numbers = r#"{"id": 123456789012345678901234567890, "price": 48.20, "far": 1e400, "no": -0}"#;
    let body = format!(r#"{{"profiles":[{{"profileData":{{"profile":{numbers}}}}}]}}"#);
    assert_eq!(
        story.send(Method::POST, "/v1/data-silo", &nonce, body).await.status(),
        200
    );
    let page = format!(r#"{{"dataPointName":"orders","isLastPage":true,"data": [{numbers}, 1.10]}}"#);
    assert_eq!(
        story
            .send(Method::POST, "/v1/datapoint-chunked", &nonce, page)
            .await
            .status(),
        200
    );
    let mut kept = Vec::new();
    for file in story.files_of(request).await {
        kept.push(String::from_utf8(story.download(&file).await).unwrap());
    }
    kept.sort_unstable();
    assert_eq!(kept, [format!("[{numbers}, 1.10]"), numbers.to_owned()]);
}

#[tokio::test]
async fn each_member_of_a_silos_call_has_its_type() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let page = |further: &str| format!(r#"{{"dataPointName":"profile","data":[1],{further}}}"#);
    let cases = [
        (
            Method::POST,
            "/v1/data-silo",
            r#"{"profiles":{}}"#.to_owned(),
            "profiles",
        ),
        (
            Method::POST,
            "/v1/data-silo",
            r#"{"profiles":"all"}"#.to_owned(),
            "profiles",
        ),
        (
            Method::POST,
            "/v1/data-silo",
            r#"{"profiles":[1]}"#.to_owned(),
            "profiles[0]",
        ),
        (
            Method::POST,
            "/v1/data-silo",
            r#"{"profiles":[{},{"profileData":[]}]}"#.to_owned(),
            "profiles[1].profileData",
        ),
        (
            Method::POST,
            "/v1/data-silo",
            r#"{"status":"DONE"}"#.to_owned(),
            "status",
        ),
        (Method::POST, "/v1/data-silo", r#"{"status":7}"#.to_owned(), "status"),
        (
            Method::POST,
            "/v1/data-silo",
            r#"{"profileStatus":"ERROR"}"#.to_owned(),
            "profileStatus",
        ),
        (
            Method::PUT,
            "/v1/data-silo",
            r#"{"status":"ready"}"#.to_owned(),
            "status",
        ),
        (
            Method::PUT,
            "/v1/data-silo",
            r#"{"profileStatus":"READY"}"#.to_owned(),
            "profileStatus",
        ),
        (Method::PUT, "/v1/data-silo", r#"{"pollId":7}"#.to_owned(), "pollId"),
        (
            Method::PUT,
            "/v1/data-silo",
            r#"{"message":["x"]}"#.to_owned(),
            "message",
        ),
        (
            Method::PUT,
            "/v1/data-silo",
            r#"{"retryAfterDate":"tomorrow"}"#.to_owned(),
            "retryAfterDate",
        ),
        (
            Method::PUT,
            "/v1/data-silo",
            r#"{"retryAfterDate":1778025600000}"#.to_owned(),
            "retryAfterDate",
        ),
        (
            Method::POST,
            "/v1/datapoint-chunked",
            r#"{"dataPointName":"profile"}"#.to_owned(),
            "data",
        ),
        (
            Method::POST,
            "/v1/datapoint-chunked",
            r#"{"dataPointName":"profile","data":{"a":1}}"#.to_owned(),
            "data",
        ),
        (
            Method::POST,
            "/v1/datapoint-chunked",
            r#"{"dataPointName":"profile","data":null}"#.to_owned(),
            "data",
        ),
        (
            Method::POST,
            "/v1/datapoint-chunked",
            r#"{"data":[]}"#.to_owned(),
            "dataPointName",
        ),
        (
            Method::POST,
            "/v1/datapoint-chunked",
            r#"{"data":[],"dataPointName":7}"#.to_owned(),
            "dataPointName",
        ),
        (
            Method::POST,
            "/v1/datapoint-chunked",
            page(r#""isLastPage":"yes""#),
            "isLastPage",
        ),
        (Method::POST, "/v1/datapoint-chunked", page(r#""fileId":7"#), "fileId"),
    ];
    for (method, path, body, place) in cases {
        assert_eq!(
            story.refused_at(method, path, &nonce, body.clone()).await,
            [place],
            "{body}"
        );
    }
    assert!(rows_of(&story.server, "files").await.is_empty());
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
}

#[tokio::test]
async fn what_a_silo_sends_is_taken_at_its_bound_and_refused_one_past_it() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let profiles = |count: usize| json!({ "status": "WAITING", "profiles": vec![json!({}); count] });
    let names = |count: usize| {
        let named: serde_json::Map<String, Value> = (0..count).map(|n| (format!("n{n}"), json!(n))).collect();
        json!({ "status": "WAITING", "profiles": [{ "profileData": named }] })
    };
    let report = |member: &str, length: usize| json!({ "status": "WAITING", member: "é".repeat(length) });
    let page = |title: usize| json!({ "dataPointName": "profile", "data": [1], "fileId": "é".repeat(title) });
    let (silo, chunked) = ("/v1/data-silo", "/v1/datapoint-chunked");
    for (method, path, at, past, place) in [
        (Method::POST, silo, profiles(1_000), profiles(1_001), "profiles"),
        (
            Method::PUT,
            silo,
            report("pollId", 2_000),
            report("pollId", 2_001),
            "pollId",
        ),
        (
            Method::PUT,
            silo,
            report("message", 10_000),
            report("message", 10_001),
            "message",
        ),
        (Method::POST, chunked, page(1_000), page(1_001), "fileId"),
    ] {
        let answer = story.send(method.clone(), path, &nonce, at.to_string()).await;
        assert_eq!(answer.status(), 200, "{place}");
        assert_eq!(story.refused_at(method, path, &nonce, past.to_string()).await, [place]);
    }
    // None of these is a data point: within the bound each is named, and at most a hundred of them; past it, none.
    let unknown = story
        .refused_at(Method::POST, silo, &nonce, names(2_000).to_string())
        .await;
    assert_eq!(
        (unknown.len(), unknown[0].as_str()),
        (100, "profiles[0].profileData.n0")
    );
    let past = story
        .refused_at(Method::POST, silo, &nonce, names(2_001).to_string())
        .await;
    assert_eq!(past, ["profiles[0].profileData"]);
    let two = json!({ "profiles": [names(1_500)["profiles"][0], { "profileData": { "a": 1 } }] });
    assert_eq!(
        story
            .refused_at(Method::POST, silo, &nonce, two.to_string())
            .await
            .len(),
        100
    );

    // A name that no data point can have is not said again.
    for name in ["x".repeat(257), "a\nb".to_owned(), String::new()] {
        let body = json!({ "profiles": [{ "profileData": { name: 1 } }] });
        let places = story.refused_at(Method::POST, silo, &nonce, body.to_string()).await;
        assert_eq!(places, ["profiles[0].profileData"]);
    }
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);
    assert_eq!(story.put_report(&nonce, json!({})).await.status(), 200);
    assert_eq!(story.names_of(request).await.len(), 1);
}

/// Ways in which an upload does not come to its end.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Half of the declared length, then no more is sent, though the answer would be read.
    HalfClosed,
    /// Half of the declared length, then the connection is gone.
    Gone,
    /// Whole chunks, and no last one.
    WithoutLastChunk,
    /// In the middle of a chunk.
    InsideChunk,
    /// What stands for the length of a chunk is none.
    BrokenChunk,
}

async fn upload_cut_off(server: &TestServer, key: &str, nonce: &str, cut: Cut) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /v1/datapoint HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key}\r\nX-Transcend-Nonce: {nonce}\r\n\
         X-Transcend-Datapoint-Name: photo\r\nX-Transcend-Remote-Id: avatar.png\r\n"
    );
    let half = vec![b'x'; 3_000_000];
    let (framing, body) = match cut {
        Cut::HalfClosed | Cut::Gone => ("Content-Length: 6000000\r\n\r\n".to_owned(), half),
        Cut::WithoutLastChunk => (format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", half.len()), {
            [half.as_slice(), b"\r\n"].concat()
        }),
        Cut::InsideChunk => (
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", 2 * half.len()),
            half,
        ),
        Cut::BrokenChunk => (format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", half.len()), {
            [half.as_slice(), b"\r\nxyz\r\n"].concat()
        }),
    };
    stream.write_all((head + &framing).as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    if matches!(cut, Cut::Gone) {
        return;
    }
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // The server may also close without a word.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
        "{cut:?}: {answer}"
    );
}

#[tokio::test]
async fn an_upload_that_does_not_come_to_its_end_leaves_nothing_and_can_be_repeated() {
    let story = Story::with_data_points(&["photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    for cut in [
        Cut::HalfClosed,
        Cut::Gone,
        Cut::WithoutLastChunk,
        Cut::InsideChunk,
        Cut::BrokenChunk,
    ] {
        upload_cut_off(&story.server, &story.silo_key, &nonce, cut).await;
        for table in ["files", "file_names", "file_numbers"] {
            assert!(rows_of(&story.server, table).await.is_empty(), "{table} after {cut:?}");
        }
        assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting, "{cut:?}");
    }
    let photo = vec![b'y'; 6_000_000];
    let name = [("x-transcend-remote-id", "avatar.png")];
    let again = story.post_file(&nonce, "photo", &name, photo.clone()).await;
    assert_eq!(again.status(), 200);
    assert_eq!(
        story.names_of(request).await,
        ["photo/avatar.png"],
        "the name was not taken"
    );
    assert!(story.download(&story.files_of(request).await[0]).await == photo);

    // A day later the halves are swept away, and what is left is the file.
    let blobs = || {
        let mut folders = vec![story.server.folder().join("blobs")];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                match entry.metadata().unwrap() {
                    of if of.is_dir() => folders.push(entry.path()),
                    of => bytes += of.len(),
                }
            }
        }
        bytes
    };
    story.server.pass(2 * DAY).await;
    files::sweep(story.server.app()).await.unwrap();
    assert!((6_000_000..6_100_000).contains(&blobs()), "{}", blobs());
}

#[tokio::test]
async fn a_file_name_leads_nowhere_and_hides_nothing() {
    let story = Story::with_data_points(&["photo", "orders"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let emoji = "😀".repeat(1_024);
    let more = ("x-transcend-skip-status-update", "true");
    for name in [
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/shadow",
        "..",
        "gpj.\u{202e}exe",
        &format!("{emoji}.jpeg"),
        "con",
    ] {
        let headers = [("x-transcend-remote-id", name), more];
        let answer = story.post_file(&nonce, "photo", &headers, b"x".to_vec()).await;
        assert_eq!(answer.status(), 200, "{name}");
    }
    // Latin-1, as libraries send it that know no other text in a header.
    let call = story.server.client().post(story.server.url("/v1/datapoint"));
    let latin = reqwest::header::HeaderValue::from_bytes(b"r\xe9sum\xe9.pdf").unwrap();
    let call = call.bearer_auth(&story.silo_key).header("x-transcend-nonce", &nonce);
    let call = call
        .header("x-transcend-datapoint-name", "photo")
        .header(more.0, more.1);
    let answer = call
        .header("x-transcend-remote-id", latin)
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    for title in ["../../etc/passwd", "a\0b\nc\rd", "..", &emoji[..4_000]] {
        let page = json!({ "dataPointName": "orders", "fileId": title, "data": [1] });
        assert_eq!(story.post_page(&nonce, page).await.status(), 200, "{title:?}");
    }
    assert_eq!(story.put_report(&nonce, json!({})).await.status(), 200);
    let mut names = story.names_of(request).await;
    let long: Vec<String> = names.extract_if(.., |name| name.contains('😀')).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "orders/...json",
            "orders/abcd.json",
            "orders/etc/passwd.json",
            "photo/_con",
            "photo/boot.ini",
            "photo/etc/passwd",
            "photo/etc/shadow",
            "photo/file",
            "photo/gpj.exe",
            "photo/résumé.pdf",
        ]
    );
    assert_eq!(long.len(), 2);
    assert!(
        long.iter()
            .all(|name| name.len() < 200 && (name.ends_with("😀.jpeg") || name.ends_with("😀.json")))
    );
    for file in story.files_of(request).await {
        let answer = story
            .get(&format!(
                "/v1/files?downloadKey={}",
                file["downloadKey"].as_str().unwrap()
            ))
            .await;
        let disposition = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
        assert!(disposition.starts_with("attachment; filename=\""), "{disposition}");
        assert!(
            !disposition.contains('/') && !disposition.contains('\\'),
            "{disposition}"
        );
    }
}

#[tokio::test]
async fn a_header_with_a_control_character_is_no_header() {
    let server = TestServer::start().await;
    for name in ["a\0b.png", "a\nb.png", "a\rb.png", "a\x7fb.png"] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "POST /v1/datapoint HTTP/1.1\r\nHost: a\r\nX-Transcend-Remote-Id: {name}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name:?}: {answer}");
    }
}

/// Reads a list with one entry in every way that a number can be wrong, and beyond its end.
async fn read_oddly(story: &Story, path: &str, members: &str) {
    for name in ["limit", "offset"] {
        for wrong in [
            "-1", "abc", "", "1.5", "%2B1", "%201", "1e3", "0x10", "%00", "%FF", "%D9%A3",
        ] {
            let answer = story.get(&format!("{path}?{name}={wrong}")).await;
            assert_eq!(answer.status(), 400, "{path} {name}={wrong}");
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer["code"], "VALIDATION_FAILED");
            assert_eq!(answer["details"][0]["path"], name, "{answer}");
        }
    }
    let entries = async |query: &str| {
        let answer = story.get(&format!("{path}?{query}")).await;
        assert_eq!(answer.status(), 200, "{path} {query}");
        let answer: Value = answer.json().await.unwrap();
        answer[members].as_array().unwrap().len()
    };
    assert_eq!(entries("limit=1&offset=0").await, 1);
    for beyond in ["1", "1000", "18446744073709551615", "99999999999999999999999"] {
        assert_eq!(entries(&format!("offset={beyond}")).await, 0, "{path} {beyond}");
    }
    assert_eq!(entries("limit=x&limit=5&unknown=1").await, 1, "the last of two counts");
}

#[tokio::test]
async fn numbers_in_an_address_are_whole_and_not_negative() {
    let story = Story::with_data_points(&["photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let pending = format!("/v1/data-silo/{}/pending-requests/ACCESS", story.silo.0);
    read_oddly(&story, &pending, "items").await;
    for (query, status) in [
        ("limit=0", 400),
        ("limit=1", 200),
        ("limit=5000", 200),
        ("limit=5001", 400),
    ] {
        let answer = story.get(&format!("{pending}?{query}")).await;
        assert_eq!(answer.status(), status, "{query}");
    }
    story.post_file(&nonce, "photo", &[], b"x".to_vec()).await;
    let files = format!("/v1/data-subject-request/{request}/download-keys");
    read_oddly(&story, &files, "nodes").await;
}

#[tokio::test]
async fn a_part_of_an_address_that_cannot_be_read_is_refused_in_the_envelope() {
    let story = Story::with_data_points(&[]).await;
    let (silo, dashless) = (story.silo.0, story.silo.0.simple());
    for path in [
        "/v1/data-subject-request/%FF".to_owned(),
        "/v1/data-subject-request/%00".to_owned(),
        "/v1/data-subject-request/%FF/download-keys".to_owned(),
        "/v1/data-subject-request/..%2F..%2Fhealth/download-keys".to_owned(),
        format!("/v1/data-silo/{silo}/pending-requests/%FF"),
        format!("/v1/data-silo/{silo}/pending-requests/access"),
        format!("/v1/data-silo/{dashless}/pending-requests/ACCESS"),
        "/v1/data-silo/%FF/pending-requests/ACCESS".to_owned(),
        "/v1/files".to_owned(),
        "/v1/files?downloadKey=%FF".to_owned(),
        "/v1/files?downloadKey=%00".to_owned(),
        "/v1/files?downloadKey=a&downloadKey=b".to_owned(),
    ] {
        let answer = story.get(&path).await;
        assert_eq!(answer.status(), 400, "{path}");
        let (code, message) = refusal(answer).await;
        assert!(
            ["MALFORMED", "VALIDATION_FAILED"].contains(&code.as_str()),
            "{path}: {code}"
        );
        assert!(message.starts_with("Client error: "), "{path}: {message}");
    }
    for partition in ["%FF", "%00", "a%2Fb", &"x".repeat(200)] {
        let path = format!("/v1/preferences/{partition}/query");
        let answer = story.send(Method::POST, &path, "", "{}").await;
        assert_eq!(answer.status(), 400, "{path}");
        assert!(refusal(answer).await.1.starts_with("Client error: "), "{path}");
    }
}
