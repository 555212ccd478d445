//! The change feed, followed by a reader while servers come and go.

use std::{
    io::{BufRead, BufReader},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::*;

/// A change, told apart from all others by whom it is about and when they chose.
type Choice = (String, String);

/// Somebody who follows the stream of events, wherever the server is by now, and notes each change with its place.
struct Follower {
    seen: Arc<Mutex<Vec<Choice>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// `urls` says where it may read: the next place after it was cut off, or had seen so many changes in one.
    fn start(urls: Arc<Mutex<Vec<String>>>, key: String, at_once: usize) -> Follower {
        let seen: Arc<Mutex<Vec<Choice>>> = Arc::default();
        let over: Arc<AtomicBool> = Arc::default();
        let (into, end) = (seen.clone(), over.clone());
        let follow = move || {
            let mut cursor = String::new();
            for turn in 0.. {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let url = {
                    let urls = urls.lock().unwrap();
                    urls[turn % urls.len()].clone()
                };
                let end = || end.load(Ordering::Relaxed);
                // That it is cut off is the way of it.
                read_on(&url, &key, &mut cursor, at_once, end, &into).ok();
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        Follower {
            thread: Some(std::thread::Builder::new().spawn(follow).unwrap()),
            seen,
            over,
        }
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Waits until it has seen so many changes.
    fn wait_for(&self, count: usize) {
        let begun = Instant::now();
        while self.count() < count {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{} of {count} changes came",
                self.count()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) -> Vec<Choice> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// Reads events after `cursor` until the stream breaks off, or it is enough.
fn read_on(
    url: &str,
    key: &str,
    cursor: &mut String,
    mut at_once: usize,
    over: impl Fn() -> bool,
    seen: &Mutex<Vec<Choice>>,
) -> std::io::Result<()> {
    let address = url.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_millis(500)))?;
    write!(
        connection,
        "GET /v1/preferences/shop/changes HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         accept: text/event-stream\r\nlast-event-id: {cursor}\r\n\r\n"
    )?;
    let mut lines = BufReader::new(connection);
    let (mut line, mut id, mut change) = (String::new(), String::new(), None);
    while at_once > 0 && !over() {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some(said) = line.strip_prefix("id: ") {
            said.trim_end().clone_into(&mut id);
        } else if let Some(said) = line.strip_prefix("data: ") {
            // Half a line, with which the server was cut off, is none.
            change = serde_json::from_str::<Value>(said).ok();
        } else if line == "\n" && !id.is_empty() {
            // Only an event that is whole counts, and with it its place.
            std::mem::swap(cursor, &mut id);
            id.clear();
            if let Some(change) = change.take() {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let told = (text(&change["identifiers"][0]["value"]), text(&change["timestamp"]));
                seen.lock().unwrap().push(told);
                at_once -= 1;
            }
        }
    }
    Ok(())
}

/// What five people say to a writer of their own at some moment, sent again until somebody acknowledges it.
fn say(urls: &Mutex<Vec<String>>, key: &str, writer: usize, turn: usize) -> Vec<Choice> {
    let at = format!(
        "2026-02-03T{:02}:{:02}:{:02}.{:03}Z",
        9 + turn / 3600,
        turn / 60 % 60,
        turn % 60,
        writer
    );
    let emails: Vec<String> = (0..5)
        .map(|n| format!("person-{writer}-{}@example.test", (turn + n) % 20))
        .collect();
    let record = |email: &String| {
        json!({ "partition": "shop", "timestamp": at, "identifiers": [{ "name": "email", "value": email }],
            "purposes": [{ "purpose": "Analytics", "enabled": turn.is_multiple_of(2) }] })
    };
    let body = json!({ "records": emails.iter().map(record).collect::<Vec<_>>() }).to_string();
    let begun = Instant::now();
    loop {
        let url = {
            let urls = urls.lock().unwrap();
            urls[writer % urls.len()].clone()
        };
        match try_http(&url, key, "PUT", "/v1/preferences", &body) {
            Ok((200, answer)) => {
                assert_eq!(answer["success"], json!(true), "{answer}");
                return emails.into_iter().map(|email| (email, at.clone())).collect();
            }
            Ok((429 | 503, _)) | Err(_) => std::thread::sleep(Duration::from_millis(5)),
            Ok((status, answer)) => panic!("{status} {answer}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nobody takes it");
    }
}

/// Each change came, and came once.
fn assert_each_once(seen: &[Choice], mut said: Vec<Choice>) {
    let mut sorted = seen.to_vec();
    sorted.sort();
    said.sort();
    assert_eq!(sorted, said);
}

#[test]
fn a_reader_who_is_attached_while_the_server_is_killed_goes_on_and_sees_each_change_once() {
    let mut shop = Shop::start();
    let urls = Arc::new(Mutex::new(vec![shop.url.clone()]));
    let reader = Follower::start(urls.clone(), shop.key.clone(), usize::MAX);
    let over: Arc<AtomicBool> = Arc::default();
    let writer = {
        let (urls, key, over) = (urls.clone(), shop.key.clone(), over.clone());
        let write = move || {
            let mut said = Vec::new();
            for turn in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                said.extend(say(&urls, &key, 0, turn));
            }
            said
        };
        std::thread::Builder::new().spawn(write).unwrap()
    };
    for _ in 0..3 {
        // In the middle of what it tells, and of what it is told.
        reader.wait_for(reader.count() + 60);
        shop.server.kill();
        shop.server = Running::start(shop.place.serve());
        *urls.lock().unwrap() = vec![shop.server.url.clone()];
    }
    reader.wait_for(reader.count() + 20);
    over.store(true, Ordering::Relaxed);
    let said = writer.join().unwrap();
    reader.wait_for(said.len());
    std::thread::sleep(Duration::from_millis(200));
    assert_each_once(&reader.end(), said);
}

#[test]
fn two_servers_on_one_database_number_what_both_take_in_and_a_reader_moves_between_them() {
    if std::env::var_os("ANTUMBRA_TEST_POSTGRES").is_none() {
        println!("skipped: only a database can have two servers");
        return;
    }
    let shop = Shop::start();
    std::fs::create_dir(shop.path("beside")).unwrap();
    std::fs::copy(shop.path("data/root.key"), shop.path("beside/root.key")).unwrap();
    let second = Running::start(shop.place.serve_in("beside"));
    let urls = Arc::new(Mutex::new(vec![shop.url.clone(), second.url.clone()]));
    let reader = Follower::start(urls.clone(), shop.key.clone(), 15);
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let (urls, key) = (urls.clone(), shop.key.clone());
            let write = move || {
                (0..40)
                    .flat_map(|turn| say(&urls, &key, writer, turn))
                    .collect::<Vec<Choice>>()
            };
            std::thread::Builder::new().spawn(write).unwrap()
        })
        .collect();
    let said: Vec<Choice> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    reader.wait_for(said.len());
    std::thread::sleep(Duration::from_millis(200));
    assert_each_once(&reader.end(), said);
}
