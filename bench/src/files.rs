//! `antumbra-bench files`: an upload and a download as a silo and a client make them, beside what one core and the disk
//! can do, and beside a file that another server of the same make hands out in clear.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest,
};
use axum::{Router, body::Body, extract::State, response::Response, routing};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use xtask::battery::Child;

use crate::{
    raw::{Connection, request},
    table::{Row, print},
};

/// How the files are measured.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The executable, as it is released
    #[arg(long, default_value = "target/release/antumbra")]
    executable: PathBuf,
    /// Size of the file
    #[arg(long, default_value_t = 456_711_231)]
    bytes: u64,
    /// How often each thing is measured; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where the data goes; it should lie on the disk that is meant
    #[arg(long, default_value = "target")]
    folder: PathBuf,
}

const GROUP: usize = 64 * 1024;
const CHUNK: usize = 1 << 20;
const MEMORY_GROWTH_MAX: f64 = 32.0;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(measure(arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let bytes = arguments.bytes;
    let folder = tempfile::tempdir_in(&arguments.folder)?;
    let clear = Clear::serve(folder.path(), bytes).await?;
    let shop = Shop::open(arguments, folder.path()).await?;
    let mut found = Found::default();
    for round in 0..arguments.rounds {
        found
            .seal
            .push(per_second(bytes, || cipher_and_hash(bytes, Order::CipherFirst)));
        found
            .open
            .push(per_second(bytes, || cipher_and_hash(bytes, Order::HashFirst)));
        found
            .disk
            .push(per_second(bytes, || write_and_sync(folder.path(), bytes)));
        let before = shop.reset_peak()?;
        let begun = Instant::now();
        shop.upload(&format!("file-{round}.bin"), bytes).await?;
        found.upload.push(rate(bytes, begun));
        found
            .upload_memory
            .push(shop.peak()?.saturating_sub(before) as f64 / 1024.0);
    }
    let keys = shop.finish(arguments).await?;
    for key in keys {
        let begun = Instant::now();
        clear.fetch().await?;
        found.clear.push(rate(bytes, begun));
        let before = shop.reset_peak()?;
        let begun = Instant::now();
        shop.download(&key, bytes).await?;
        found.download.push(rate(bytes, begun));
        found
            .download_memory
            .push(shop.peak()?.saturating_sub(before) as f64 / 1024.0);
    }
    found.print(bytes);
    Ok(())
}

#[derive(Default)]
struct Found {
    seal: Vec<f64>,
    open: Vec<f64>,
    disk: Vec<f64>,
    clear: Vec<f64>,
    upload: Vec<f64>,
    upload_memory: Vec<f64>,
    download: Vec<f64>,
    download_memory: Vec<f64>,
}

impl Found {
    fn print(self, bytes: u64) {
        let [seal, open, disk] = [self.seal, self.open, self.disk].map(median);
        let [clear, upload, download] = [self.clear, self.upload, self.download].map(median);
        let [up, down] = [self.upload_memory, self.download_memory].map(median);
        print(
            &format!("a file of {bytes} bytes"),
            &[
                Row::beside(
                    "upload, beside AES-256-GCM then SHA-256 on one core",
                    upload,
                    seal,
                    "MB/s",
                ),
                Row::beside("upload, beside a sequential write and fsync", upload, disk, "MB/s"),
                Row::at_least(
                    "upload, beside the slower of the two",
                    upload,
                    seal.min(disk),
                    0.6,
                    "MB/s",
                ),
                Row::at_least(
                    "download, beside SHA-256 then AES-256-GCM on one core",
                    download,
                    open,
                    0.8,
                    "MB/s",
                ),
                Row::at_least("download, beside the same file in clear", download, clear, 0.5, "MB/s"),
                Row::at_most("growth of memory during an upload", up, MEMORY_GROWTH_MAX, "MiB"),
                Row::at_most("growth of memory during a download", down, MEMORY_GROWTH_MAX, "MiB"),
            ],
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// In MB/s.
fn rate(bytes: u64, begun: Instant) -> f64 {
    bytes as f64 / 1e6 / begun.elapsed().as_secs_f64()
}

fn per_second(bytes: u64, work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    rate(bytes, begun)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    CipherFirst,
    HashFirst,
}

/// What any design must do to the bytes, with the one-shot calls of the library.
fn cipher_and_hash(bytes: u64, order: Order) {
    let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("an AES-256 key has 32 bytes");
    let key = LessSafeKey::new(key);
    let mut group = vec![1; GROUP];
    for _ in 0..bytes.div_ceil(GROUP as u64) {
        let hash = |group: &[u8]| std::hint::black_box(digest::digest(&digest::SHA256, group));
        if order == Order::HashFirst {
            hash(&group);
        }
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut group);
        let _ = std::hint::black_box(tag.expect("AES-GCM seals 64 KiB"));
        if order == Order::CipherFirst {
            hash(&group);
        }
    }
}

fn write_and_sync(folder: &Path, bytes: u64) {
    let path = folder.join("plain");
    let mut file = File::create(&path).expect("the folder can be written");
    let chunk = vec![3; CHUNK];
    for length in pieces(bytes) {
        file.write_all(&chunk[..length]).expect("the disk takes bytes");
    }
    file.sync_all().expect("the disk syncs");
    drop(file);
    fs::remove_file(path).expect("the file can be removed");
}

/// A server with one open request that a silo may upload to.
struct Shop {
    server: Child,
    key: String,
    nonce: String,
    request: String,
}

const CONFIGURATION: &str = "data-subjects:\n  - type: customer\n    title: Customer\n    actions: [ACCESS]\n\
    data-silos:\n  - title: Archive\n    integrationName: cron\n    identity-keys: [email]\n    \
    datapoints:\n      - key: films\n        title: Films\n";

impl Shop {
    async fn open(arguments: &Arguments, folder: &Path) -> Result<Shop> {
        let server = Child::start(&arguments.executable, &folder.join("data"))?;
        let key = server.key.clone().context("no key")?;
        server.apply(&arguments.executable, &key, CONFIGURATION)?;
        let mut shop = Shop {
            server,
            key,
            nonce: String::new(),
            request: String::new(),
        };
        let subject = json!({ "coreIdentifier": "ada", "email": "ada@example.test", "emailIsVerified": true });
        let demand = json!({ "type": "ACCESS", "subjectType": "customer", "isSilent": true, "subject": subject });
        let submitted = shop.call("POST", "/v1/data-subject-request", &demand).await?;
        shop.request = submitted["request"]["id"].as_str().context("no request")?.to_owned();
        let silos = json!({ "query": "{ dataSilos(first: 1) { nodes { id } } }" });
        let silos = shop.call("POST", "/graphql", &silos).await?;
        let silo = silos["data"]["dataSilos"]["nodes"][0]["id"]
            .as_str()
            .context("no silo")?
            .to_owned();
        let path = format!("/v1/data-silo/{silo}/pending-requests/ACCESS");
        for _ in 0..100 {
            let pending = shop.call("GET", &path, &Value::Null).await?;
            if let Some(nonce) = pending["items"][0]["nonce"].as_str() {
                nonce.clone_into(&mut shop.nonce);
                return Ok(shop);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        anyhow::bail!("the silo was given no work")
    }

    async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body)?
        };
        let mut connection = Connection::open(&self.server.url).await?;
        let answer = connection.call(&request(method, path, &self.key, &body)).await?;
        let said = || String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 200, "{path} answers {}: {}", answer.status, said());
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Sends a file as a client that streams does: chunked, without a content type.
    async fn upload(&self, name: &str, bytes: u64) -> Result<()> {
        let mut stream = TcpStream::connect(address(&self.server.url)?).await?;
        let (key, nonce) = (&self.key, &self.nonce);
        let head = format!(
            "POST /v1/datapoint HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\nx-transcend-nonce: {nonce}\r\n\
             x-transcend-datapoint-name: films\r\nx-transcend-remote-id: {name}\r\n\
             x-transcend-skip-status-update: true\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let chunk = vec![5; CHUNK];
        for length in pieces(bytes) {
            stream.write_all(format!("{length:x}\r\n").as_bytes()).await?;
            stream.write_all(&chunk[..length]).await?;
            stream.write_all(b"\r\n").await?;
        }
        stream.write_all(b"0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200 "), "an upload answers {answer}");
        Ok(())
    }

    /// Reports the work done, has the request approved, and gives the keys of its files.
    async fn finish(&self, arguments: &Arguments) -> Result<Vec<String>> {
        let request = &self.request;
        let mut connection = Connection::open(&self.server.url).await?;
        let body = b"{\"status\":\"READY\"}";
        let head = format!(
            "POST /v1/data-silo HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\nx-transcend-nonce: {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.key,
            self.nonce,
            body.len()
        );
        let answer = connection.call(&[head.as_bytes(), body].concat()).await?;
        ensure!(answer.status == 200, "reporting done answers {}", answer.status);
        let path = format!("/v1/data-subject-request/{request}/download-keys?limit=1000");
        for _ in 0..200 {
            let listed = self.call("GET", &path, &Value::Null).await?;
            let nodes = listed["nodes"].as_array().context("no list")?;
            if nodes.len() == arguments.rounds {
                let key = |node: &Value| node["downloadKey"].as_str().map(str::to_owned);
                return nodes.iter().map(key).collect::<Option<_>>().context("no download key");
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        anyhow::bail!("the files are not listed")
    }

    async fn download(&self, key: &str, bytes: u64) -> Result<()> {
        let head = format!(
            "GET /v1/files?downloadKey={key} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n\
             connection: close\r\n\r\n",
            self.key
        );
        fetch(address(&self.server.url)?, &head, bytes).await
    }

    /// Forgets the peak of resident memory and says what is resident now, in KiB.
    fn reset_peak(&self) -> Result<u64> {
        fs::write(format!("/proc/{}/clear_refs", self.server.id()), "5")?;
        self.status("VmRSS:")
    }

    fn peak(&self) -> Result<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Result<u64> {
        let mut text = String::new();
        File::open(format!("/proc/{}/status", self.server.id()))?.read_to_string(&mut text)?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("the line is there")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// The same HTTP libraries with a file in clear: what any server would do that checks and opens nothing.
struct Clear {
    address: String,
    bytes: u64,
}

impl Clear {
    async fn serve(folder: &Path, bytes: u64) -> Result<Clear> {
        let path = folder.join("clear");
        let mut file = File::create(&path)?;
        let chunk = vec![9; CHUNK];
        for length in pieces(bytes) {
            file.write_all(&chunk[..length])?;
        }
        file.sync_all()?;
        let file = Arc::new(File::open(path)?);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let router = Router::new().route("/", routing::get(give)).with_state((file, bytes));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Clear { address, bytes })
    }

    async fn fetch(&self) -> Result<()> {
        let head = "GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n";
        fetch(&self.address, head, self.bytes).await
    }
}

async fn give(State((file, bytes)): State<(Arc<File>, u64)>) -> Response {
    let piece = move |start: u64| {
        let file = Arc::clone(&file);
        async move {
            let read = move || {
                let mut piece = vec![0; CHUNK.min((bytes - start) as usize)];
                file.read_exact_at(&mut piece, start)?;
                Ok::<_, std::io::Error>(Bytes::from(piece))
            };
            tokio::task::spawn_blocking(read).await?
        }
    };
    let pieces = stream::iter((0..bytes).step_by(CHUNK)).map(piece).buffered(3);
    let answer = Response::builder().header("content-length", bytes);
    answer
        .body(Body::from_stream(pieces))
        .expect("a length is a header value")
}

async fn fetch(address: &str, head: &str, bytes: u64) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    let mut buffer = vec![0; CHUNK];
    let mut read = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => break,
            length => read += length as u64,
        }
    }
    ensure!((bytes..bytes + 4096).contains(&read), "the answer has {read} bytes");
    Ok(())
}

fn address(url: &str) -> Result<&str> {
    url.strip_prefix("http://").context("only plain HTTP is measured")
}

fn pieces(bytes: u64) -> impl Iterator<Item = usize> {
    (0..bytes)
        .step_by(CHUNK)
        .map(move |start| CHUNK.min((bytes - start) as usize))
}
