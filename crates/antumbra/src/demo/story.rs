//! The story, step by step: what is done, and what is looked at afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, stream};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::child::{self, Server};
use super::files::{self, CANARY, Film, Hasher, Sha256};
use super::receiver::Receiver;
use super::silo;

/// How long the server may take for what it does on its own.
const PATIENCE: Duration = Duration::from_secs(30);

/// Plays everything and gives the number of steps.
pub(super) async fn play(folder: &Path, film_bytes: u64) -> Result<usize> {
    let mut story = Story::begin(folder, film_bytes).await?;
    story.step("a server starts", Story::look_at_first_start).await?;
    story.step("antumbra apply", Story::apply).await?;
    story.step("a request for access is submitted", Story::submit).await?;
    story.step("its webhook arrives", Story::receive).await?;
    story.step("the silo sends JSON", Story::send_json).await?;
    story.step("a photo and a document", Story::send_small_files).await?;
    story
        .step("kill -9 in the middle of a film", Story::kill_during_upload)
        .await?;
    story.step("the film again, whole", Story::send_film).await?;
    story
        .step("kill -9 once it was acknowledged", Story::kill_and_start)
        .await?;
    story.step("the silo is done", Story::report_done).await?;
    story.step("antumbra request approve", Story::approve).await?;
    story.step("every file is downloaded", Story::download).await?;
    story.step("choices of a batch of people", Story::choose).await?;
    story
        .step("kill -9, and the choices are read", Story::kill_and_read)
        .await?;
    story.step("what lies on the disk", Story::look_at_disk).await?;
    story.step("the server stops when asked", Story::stop).await?;
    Ok(story.steps)
}

struct Story {
    folder: PathBuf,
    server: Option<Server>,
    key: String,
    http: reqwest::Client,
    receiver: Receiver,
    film: Film,
    dsr: String,
    nonce: String,
    sent: Vec<Sent>,
    steps: usize,
}

/// A file that was acknowledged.
struct Sent {
    name: &'static str,
    bytes: u64,
    sha256: Sha256,
}

impl Story {
    async fn begin(folder: &Path, film_bytes: u64) -> Result<Story> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .build()?;
        Ok(Story {
            folder: folder.to_owned(),
            server: None,
            key: String::new(),
            http,
            receiver: Receiver::start().await?,
            film: Film::of(film_bytes),
            dsr: String::new(),
            nonce: String::new(),
            sent: Vec::new(),
            steps: 0,
        })
    }

    async fn step(&mut self, title: &str, work: impl AsyncFnOnce(&mut Story) -> Result<String>) -> Result<()> {
        let begun = Instant::now();
        let checked = work(self)
            .await
            .with_context(|| format!("step {}, {title}", self.steps + 1))?;
        self.steps += 1;
        println!(
            "  {:>2}  {title:<34} {:>6.2} s   {checked}",
            self.steps,
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }

    fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("no server is running")
    }

    fn call(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        Ok(self
            .http
            .request(method, format!("{}{path}", self.server()?.url))
            .bearer_auth(&self.key))
    }

    async fn look_at_first_start(&mut self) -> Result<String> {
        let server = Server::start(&self.folder)?;
        self.key = server.key.clone().context("the first start printed no key")?;
        self.server = Some(server);
        let health = self.call(Method::GET, "/health")?.send().await?;
        ensure!(health.status() == 200, "/health answers {}", health.status());
        let path = "/public-keys/sombra-general-signing-key";
        let public_key = self
            .call(Method::GET, path)?
            .send()
            .await?
            .error_for_status()?
            .text()
            .await?;
        self.receiver.trust(public_key).await;
        Ok("one key printed, /health answers, public key fetched".to_owned())
    }

    async fn apply(&mut self) -> Result<String> {
        let file = child::write(&self.folder, "antumbra.yml", &silo::configuration(&self.receiver.url()))?;
        let file = file.to_str().context("the folder's name is not text")?;
        let url = self.server()?.url.clone();
        child::command(&["apply", "-f", file], &url, &self.key)?;
        let again = child::command(&["apply", "-f", file, "--dry-run"], &url, &self.key)?;
        let last = again.lines().last().unwrap_or_default().trim().to_owned();
        Ok(format!("applied; applied again it says: {last}"))
    }

    async fn submit(&mut self) -> Result<String> {
        let body = json!({
            "type": "ACCESS",
            "subject": { "coreIdentifier": CANARY, "email": silo::email(), "emailIsVerified": true },
            "subjectType": "customer",
            "isSilent": true,
        });
        let answer = answered(self.call(Method::POST, "/v1/data-subject-request")?.json(&body)).await?;
        self.dsr = answer["request"]["id"].as_str().context("no id")?.to_owned();
        Ok(format!(
            "status {}",
            answer["request"]["status"].as_str().unwrap_or_default()
        ))
    }

    async fn receive(&mut self) -> Result<String> {
        let webhook = self.receiver.next().await?;
        ensure!(
            webhook.body["extras"]["request"]["id"] == self.dsr.as_str(),
            "it is about another request"
        );
        ensure!(
            webhook.body["extras"]["profile"]["identifier"] == silo::email(),
            "it names another person"
        );
        self.nonce = webhook.nonce;
        Ok("ES384 token verified with the public key; nonce kept".to_owned())
    }

    async fn send_json(&mut self) -> Result<String> {
        let orders: Vec<Value> = (1..=300)
            .map(|n| json!({ "number": format!("SO-{n}"), "of": CANARY }))
            .collect();
        let data = json!({ "profile": { "name": CANARY, "since": "2019-03-11" }, "orders": orders });
        let body = json!({ "profiles": [{ "profileId": silo::email(), "profileData": data }] });
        answered(
            self.call(Method::POST, "/v1/data-silo")?
                .header("x-transcend-nonce", &self.nonce)
                .json(&body),
        )
        .await?;
        Ok("two data points in one call".to_owned())
    }

    async fn send_small_files(&mut self) -> Result<String> {
        for (data_point, name, content) in [
            ("profile_picture", "antumbra.png", files::photo()),
            ("contracts", "contract.pdf", files::document()),
        ] {
            let sent = Sent {
                name,
                bytes: content.len() as u64,
                sha256: files::sha256(&content),
            };
            answered(self.upload(data_point, name)?.body(content)).await?;
            self.sent.push(sent);
        }
        Ok(format!(
            "PNG of {} bytes, PDF of {} bytes",
            self.sent[0].bytes, self.sent[1].bytes
        ))
    }

    /// An upload as a client that streams sends it: chunked, without a content type. What is done is said at the end.
    fn upload(&self, data_point: &str, name: &str) -> Result<RequestBuilder> {
        Ok(self
            .call(Method::POST, "/v1/datapoint")?
            .header("x-transcend-nonce", &self.nonce)
            .header("x-transcend-datapoint-name", data_point)
            .header("x-transcend-remote-id", name)
            .header("x-transcend-skip-status-update", "true"))
    }

    async fn kill_during_upload(&mut self) -> Result<String> {
        let blobs_before = self.blobs()?;
        let half_way = Arc::new(Notify::new());
        let (half, told) = (self.film.bytes() / 2, Arc::clone(&half_way));
        let mut so_far = 0;
        let pieces = stream::iter(self.film.pieces()).map(move |piece| {
            if so_far < half && so_far + piece.len() as u64 >= half {
                told.notify_one();
            }
            so_far += piece.len() as u64;
            Ok::<_, std::io::Error>(piece)
        });
        let upload = self
            .upload("films", "mymovie.mp4")?
            .body(reqwest::Body::wrap_stream(pieces))
            .send();
        let server = self.server.as_mut().context("no server is running")?;
        let (answer, killed) = tokio::join!(upload, async {
            half_way.notified().await;
            server.kill()
        });
        killed?;
        ensure!(answer.is_err(), "an upload was answered by a server that is dead");
        self.server = Some(Server::start(&self.folder)?);
        let status = self.status().await?;
        ensure!(status == "COMPILING", "the request is {status}");
        let kept = self.blobs()?;
        ensure!(
            kept == blobs_before,
            "half a film is kept: {kept} sealed files, {blobs_before} before"
        );
        Ok(format!("started again, request {status}, nothing of the half kept"))
    }

    async fn send_film(&mut self) -> Result<String> {
        let begun = Instant::now();
        let pieces = stream::iter(self.film.pieces()).map(Ok::<_, std::io::Error>);
        answered(
            self.upload("films", "mymovie.mp4")?
                .body(reqwest::Body::wrap_stream(pieces)),
        )
        .await?;
        let rate = self.film.bytes() as f64 / 1e6 / begun.elapsed().as_secs_f64();
        let sent = Sent {
            name: "mymovie.mp4",
            bytes: self.film.bytes(),
            sha256: self.film.sha256(),
        };
        self.sent.push(sent);
        Ok(format!(
            "{} bytes in chunks, {rate:.0} MB/s, sealed and fsynced",
            self.film.bytes()
        ))
    }

    async fn kill_and_start(&mut self) -> Result<String> {
        let ready_in = self.restart()?;
        let status = self.status().await?;
        ensure!(status == "COMPILING", "the request is {status}");
        Ok(format!("ready again in {} ms, request {status}", ready_in.as_millis()))
    }

    fn restart(&mut self) -> Result<Duration> {
        self.server.as_mut().context("no server is running")?.kill()?;
        let begun = Instant::now();
        self.server = Some(Server::start(&self.folder)?);
        Ok(begun.elapsed())
    }

    async fn report_done(&mut self) -> Result<String> {
        let call = self
            .call(Method::POST, "/v1/data-silo")?
            .header("x-transcend-nonce", &self.nonce);
        answered(call.json(&json!({ "status": "READY" }))).await?;
        self.until("APPROVING").await?;
        Ok("status APPROVING".to_owned())
    }

    async fn approve(&mut self) -> Result<String> {
        child::command(&["request", "approve", &self.dsr], &self.server()?.url, &self.key)?;
        self.until("DOWNLOADABLE").await?;
        Ok("status DOWNLOADABLE".to_owned())
    }

    async fn download(&mut self) -> Result<String> {
        let listed = self.list_files().await?;
        let mut bytes = 0;
        for sent in &self.sent {
            let entry = listed
                .iter()
                .find(|entry| entry["fileName"].as_str().is_some_and(|name| name.ends_with(sent.name)))
                .with_context(|| format!("{} is not listed", sent.name))?;
            ensure!(entry["size"] == sent.bytes, "{} has size {}", sent.name, entry["size"]);
            let key = entry["downloadKey"].as_str().context("no download key")?;
            ensure!(
                self.hash_of(key, None).await? == (sent.bytes, sent.sha256),
                "{} has other bytes",
                sent.name
            );
            bytes += sent.bytes;
        }
        let photo = files::photo();
        let entry = listed
            .iter()
            .find(|entry| entry["size"] == photo.len())
            .context("the photo is not listed")?;
        let part = self
            .hash_of(
                entry["downloadKey"].as_str().unwrap_or_default(),
                Some("bytes=1000-69999"),
            )
            .await?;
        ensure!(
            part == (69_000, files::sha256(&photo[1000..70_000])),
            "a range has other bytes"
        );
        Ok(format!(
            "{} files on pages of 2, {bytes} bytes equal by SHA-256, a range too",
            listed.len()
        ))
    }

    /// Walks the pages as their links say.
    async fn list_files(&self) -> Result<Vec<Value>> {
        let mut path = format!("/v1/data-subject-request/{}/download-keys?limit=2", self.dsr);
        let mut listed = Vec::new();
        loop {
            let page = answered(self.call(Method::GET, &path)?).await?;
            listed.extend(page["nodes"].as_array().context("no nodes")?.iter().cloned());
            match page["_links"]["next"].as_str() {
                Some(next) => path = next.to_owned(),
                None if page["totalCount"] == listed.len() => return Ok(listed),
                None => bail!("{} files listed of {}", listed.len(), page["totalCount"]),
            }
        }
    }

    async fn hash_of(&self, download_key: &str, range: Option<&str>) -> Result<(u64, Sha256)> {
        let mut call = self.call(Method::GET, &format!("/v1/files?downloadKey={download_key}"))?;
        if let Some(range) = range {
            call = call.header("range", range);
        }
        let answer = call.send().await?;
        let expected = if range.is_some() { 206 } else { 200 };
        ensure!(answer.status() == expected, "a download answers {}", answer.status());
        let (mut bytes, mut hasher, mut pieces) = (0, Hasher::new(), answer.bytes_stream());
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            bytes += piece.len() as u64;
            hasher.update(&piece);
        }
        Ok((bytes, hasher.finish()))
    }

    async fn choose(&mut self) -> Result<String> {
        let records: Vec<Value> = (0..100).map(|number| record(&person(number))).collect();
        let body = json!({ "records": records, "skipWorkflowTriggers": true });
        let answer = answered(self.call(Method::PUT, "/v1/preferences")?.json(&body)).await?;
        ensure!(answer["success"] == true, "not every record was taken");
        ensure!(
            answer["nodes"].as_array().map(Vec::len) == Some(100),
            "not every record was answered"
        );
        Ok("100 people in one call, with topics and a US privacy string".to_owned())
    }

    async fn kill_and_read(&mut self) -> Result<String> {
        self.restart()?;
        let status = self.status().await?;
        ensure!(status == "DOWNLOADABLE", "the request is {status}");
        let identifiers: Vec<Value> = (0..100)
            .map(|n| json!({ "name": "email", "value": person(n) }))
            .collect();
        let mut body = json!({ "filter": { "identifiers": identifiers }, "limit": 40 });
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let page = answered(self.call(Method::POST, "/v1/preferences/web-shop/query")?.json(&body)).await?;
            found.extend(page["nodes"].as_array().context("no nodes")?.iter().cloned());
            pages += 1;
            match page.get("cursor") {
                Some(cursor) => body["cursor"] = cursor.clone(),
                None => break,
            }
        }
        ensure!(found.len() == 100, "{} of 100 people were found", found.len());
        for node in &found {
            ensure!(
                node["consentManagement"]["usp"] == "1YYN",
                "a US privacy string is missing"
            );
            let topics = &node["purposes"]
                .as_array()
                .context("no purposes")?
                .iter()
                .find(|p| p["purpose"] == "Product Updates");
            let topics = topics.context("a purpose is missing")?["preferences"]
                .as_array()
                .context("no topics")?
                .len();
            ensure!(topics == 3, "{topics} of 3 topics were found");
        }
        Ok(format!(
            "100 people by identifier, on {pages} pages; request still DOWNLOADABLE"
        ))
    }

    async fn look_at_disk(&mut self) -> Result<String> {
        let words = [
            CANARY.as_bytes(),
            self.key.as_bytes(),
            b"IHDR",
            b"%PDF-",
            b"ftypisom",
            b"SO-300",
        ];
        let (mut files, mut bytes) = (0, 0);
        let mut folders = vec![self.folder.join("data")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let content = std::fs::read(&path)?;
                if let Some(word) = words.iter().find(|word| holds(&content, word)) {
                    bail!("{} holds {:?}", path.display(), String::from_utf8_lossy(word));
                }
                files += 1;
                bytes += content.len() as u64;
            }
        }
        let log = std::fs::read(self.folder.join("server.log"))?;
        ensure!(
            !holds(&log, CANARY.as_bytes()) && !holds(&log, self.key.as_bytes()),
            "the log names the person or the key"
        );
        Ok(format!("{files} files, {bytes} bytes, and the log: nothing readable"))
    }

    async fn stop(&mut self) -> Result<String> {
        self.server.take().context("no server is running")?.stop()?;
        Ok("SIGTERM, exit code 0".to_owned())
    }

    async fn status(&self) -> Result<String> {
        let answer = answered(self.call(Method::GET, &format!("/v1/data-subject-request/{}", self.dsr))?).await?;
        Ok(answer["status"].as_str().context("no status")?.to_owned())
    }

    async fn until(&self, wanted: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let status = self.status().await?;
            if status == wanted {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "the request stays {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many sealed files lie on the disk, half ones included.
    fn blobs(&self) -> Result<usize> {
        let mut count = 0;
        let mut folders = vec![self.folder.join("data/blobs")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() { folders.push(path) } else { count += 1 }
            }
        }
        Ok(count)
    }
}

fn person(number: usize) -> String {
    format!("{CANARY}-{number}@example.test")
}

fn record(person: &str) -> Value {
    json!({
        "userId": person,
        "partition": "web-shop",
        "timestamp": "2026-05-11T19:32:31.707Z",
        "usp": "1YYN",
        "purposes": [
            { "purpose": "Advertising", "enabled": true },
            { "purpose": "Analytics", "enabled": false },
            {
                "purpose": "Product Updates",
                "enabled": true,
                "preferences": [
                    { "topic": "Frequency", "choice": { "selectValue": "Weekly" } },
                    { "topic": "Channel", "choice": { "selectValues": ["Email", "Sms"] } },
                    { "topic": "Unsubscribe", "choice": { "booleanValue": true } },
                ],
            },
        ],
    })
}

async fn answered(call: RequestBuilder) -> Result<Value> {
    let answer = call.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status == 200, "answered {status}: {text}");
    serde_json::from_str(&text).with_context(|| format!("the answer is not JSON: {text}"))
}

fn holds(content: &[u8], word: &[u8]) -> bool {
    let first = word[0];
    let mut from = 0;
    while let Some(at) = content[from..].iter().position(|byte| *byte == first) {
        if content[from + at..].starts_with(word) {
            return true;
        }
        from += at + 1;
    }
    false
}
