//! Receivers that somebody else wrote, and addresses that are not to be called.

use std::{collections::VecDeque, net::IpAddr, sync::Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::silos::address::Network;

#[test]
fn an_answer_means_what_its_status_says() {
    for (status, received) in [
        (200, Received::Accepted),
        (201, Received::Accepted),
        (202, Received::Accepted),
        (204, Received::Nobody),
        (299, Received::Accepted),
        (301, Received::Failed),
        (307, Received::Failed),
        (400, Received::Failed),
        (401, Received::Failed),
        (404, Received::Failed),
        (429, Received::Failed),
        (500, Received::Failed),
        (503, Received::Failed),
    ] {
        assert_eq!(meaning(StatusCode::from_u16(status).unwrap()), received, "{status}");
    }
}

#[test]
fn what_a_receiver_asks_for_is_read_in_seconds_and_as_a_date_and_has_an_end() {
    let now: Timestamp = "1994-11-06T08:00:00Z".parse().unwrap();
    let day = Duration::from_secs(24 * 60 * 60);
    let at = |text: &'static str| {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]);
        let at = RetryAfter::read(&headers)?.time(now, day)?;
        Some(at.duration_since(now).as_secs())
    };
    for (text, seconds) in [
        ("120", Some(120)),
        (" 7 ", Some(7)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(49 * 60 + 37)),
        ("4294967295", Some(86_400)),
        ("Sat, 06 Nov 2094 08:49:37 GMT", Some(86_400)),
        ("0", None),
        ("-5", None),
        ("Sat, 06 Nov 1993 08:49:37 GMT", None),
        ("soon", None),
    ] {
        assert_eq!(at(text), seconds, "{text}");
    }
}

#[test]
fn a_silos_headers_go_along_but_never_in_place_of_ours() {
    let header = |name: &str, value: &str| Header {
        name: name.into(),
        value: value.into(),
        is_secret: true,
    };
    let own = HeaderMap::from_iter([(
        HeaderName::from_static("x-transcend-nonce"),
        HeaderValue::from_static("ours"),
    )]);
    let sent = merged(
        own,
        &[
            header("X-Shop", "one"),
            header("x-shop", "two"),
            header("X-Transcend-Nonce", "theirs"),
            header("Content-Type", "text/plain"),
            header("content-length", "0"),
        ],
    );
    assert_eq!(sent.get_all("x-shop").iter().collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(sent["x-transcend-nonce"], "ours");
    assert_eq!(sent["content-type"], "application/json");
    assert!(!sent.contains_key("content-length"));
}

/// Names that answer with one list of addresses after the other, and with the last for good.
#[derive(Clone)]
struct Names(Arc<Mutex<VecDeque<Vec<IpAddr>>>>);

impl Names {
    fn answering(lists: &[&[&str]]) -> Names {
        let read = |list: &&[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        Names(Arc::new(Mutex::new(lists.iter().map(read).collect())))
    }
}

impl Resolve for Names {
    fn resolve(&self, _name: Name) -> Resolving {
        let mut lists = self.0.lock().unwrap();
        let list = if lists.len() > 1 {
            lists.pop_front()
        } else {
            lists.front().cloned()
        };
        let addrs: Addrs = Box::new(
            list.unwrap_or_default()
                .into_iter()
                .map(|address| SocketAddr::new(address, 0)),
        );
        Box::pin(std::future::ready(Ok(addrs)))
    }
}

async fn post(webhooks: &Webhooks, url: &str) -> Result<Delivery, Refused> {
    webhooks.post(url, HeaderMap::new(), &[], Bytes::new()).await
}

async fn nobody_comes(listener: &TcpListener) {
    let somebody = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
    assert!(somebody.is_err(), "something connected");
}

/// Answers one HTTP request with `answer` and closes.
async fn answer_once(listener: &TcpListener, answer: &str) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = [0; 4096];
    assert_ne!(stream.read(&mut read).await.unwrap(), 0);
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn this_machine_is_not_called_however_it_is_spelt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let webhooks = Webhooks::new(AddressRules::default());
    for host in [
        "127.0.0.1",
        "localhost",
        "shop.localhost",
        "0x7f.1",
        "2130706433",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
    ] {
        let posted = post(&webhooks, &format!("http://{host}:{port}/")).await;
        assert_eq!(posted.err(), Some(Refused::NotPublic), "{host}");
    }
    nobody_comes(&listener).await;
}

#[tokio::test]
async fn a_name_that_resolves_to_what_is_not_public_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://shop.example:{}/", listener.local_addr().unwrap().port());
    for address in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.9.9",
        "192.168.7.7",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ] {
        let webhooks = Webhooks::resolving(AddressRules::default(), Names::answering(&[&[address]]), PATIENCE);
        let delivery = post(&webhooks, &url).await.unwrap();
        assert_eq!(
            (delivery.received, delivery.why.as_str()),
            (Received::Failed, "the name resolves to no address that may be called"),
            "{address}"
        );
    }
    nobody_comes(&listener).await;
}

#[tokio::test]
async fn of_several_addresses_only_those_are_tried_that_may_be_called() {
    let listed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listed.local_addr().unwrap().port();
    let canary = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let rules = AddressRules::allowing(vec!["127.0.0.1".parse().unwrap()]);
    let webhooks = Webhooks::resolving(rules, Names::answering(&[&["127.0.0.2", "127.0.0.1"]]), PATIENCE);
    let answer = answer_once(&listed, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://shop.example:{port}/");
    let (delivery, ()) = tokio::join!(post(&webhooks, &url), answer);
    assert_eq!(delivery.unwrap().received, Received::Accepted);
    nobody_comes(&canary).await;
}

#[tokio::test]
async fn a_name_is_checked_each_time_a_connection_is_opened() {
    let shop = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = shop.local_addr().unwrap().port();
    let canary = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let rules = AddressRules::allowing(vec!["127.0.0.1".parse().unwrap()]);
    let webhooks = Webhooks::resolving(rules, Names::answering(&[&["127.0.0.1"], &["127.0.0.2"]]), PATIENCE);
    let url = format!("http://shop.example:{port}/");
    let answer = answer_once(
        &shop,
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    );
    let (first, ()) = tokio::join!(post(&webhooks, &url), answer);
    assert_eq!(first.unwrap().received, Received::Accepted);
    let second = post(&webhooks, &url).await.unwrap();
    assert_eq!(second.why, "the name resolves to no address that may be called");
    nobody_comes(&canary).await;
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_is_not_followed_anywhere() {
    let shop = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let webhooks = Webhooks::new(AddressRules::allowing(Network::LOOPBACK.to_vec()));
    let url = format!("http://{}/", shop.local_addr().unwrap());
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} X\r\nlocation: http://{}/\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            canary.local_addr().unwrap()
        );
        let (delivery, ()) = tokio::join!(post(&webhooks, &url), answer_once(&shop, &answer));
        let delivery = delivery.unwrap();
        assert_eq!(
            (delivery.received, delivery.why),
            (Received::Failed, format!("answered {status}"))
        );
    }
    nobody_comes(&canary).await;
}

/// A sender that does not wait as long as it does in earnest.
fn impatient() -> Webhooks {
    let patience = Patience {
        connect: Duration::from_millis(500),
        total: Duration::from_millis(400),
        answer: Duration::from_millis(150),
    };
    let loopback = AddressRules::allowing(Network::LOOPBACK.to_vec());
    Webhooks::resolving(loopback, SystemResolver, patience)
}

/// Takes one connection and reads what comes first.
async fn accept(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut read = [0; 4096];
    assert_ne!(stream.read(&mut read).await.unwrap(), 0);
    stream
}

/// Sends `piece` again and again until nobody takes it. Says how many bytes went out.
async fn send_without_end(stream: &mut TcpStream, piece: &[u8], pause: Duration) -> usize {
    let mut sent = 0;
    while stream.write_all(piece).await.is_ok() {
        sent += piece.len();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    sent
}

#[tokio::test]
async fn an_answer_is_what_follows_those_that_are_only_in_between() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    for (answer, received) in [
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            Received::Accepted,
        ),
        (
            "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            Received::Nobody,
        ),
        ("HTTP/1.1 100 Continue\r\n\r\n", Received::Failed),
        ("HTTP/1.0 200 OK\r\n\r\nOK", Received::Accepted),
        ("HTTP/1.1 200 OK\r\ncontent-le", Received::Failed),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\nhalf of it",
            Received::Accepted,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: -7\r\n\r\n", Received::Failed),
        ("HTTP/9.9 200 OK\r\n\r\n", Received::Failed),
        ("200 OK\n\n", Received::Failed),
    ] {
        let webhooks = impatient();
        let (delivery, ()) = tokio::join!(post(&webhooks, &url), answer_once(&listener, answer));
        assert_eq!(delivery.unwrap().received, received, "{answer:?}");
    }
}

#[tokio::test]
async fn a_head_that_drips_is_not_waited_for_longer_than_the_whole_may_take() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    for piece in ["x", "HTTP/1.1 103 X\r\n\r\n"] {
        let webhooks = impatient();
        let drip = async {
            let mut stream = accept(&listener).await;
            stream.write_all(b"HTTP/1.1 102 X\r\nx-").await.unwrap();
            if piece.len() > 1 {
                stream.write_all(b"y: z\r\n\r\n").await.unwrap();
            }
            send_without_end(&mut stream, piece.as_bytes(), Duration::from_millis(20)).await
        };
        let (delivery, sent) = tokio::join!(post(&webhooks, &url), drip);
        let delivery = delivery.unwrap();
        assert_eq!(
            (delivery.received, delivery.why.as_str()),
            (Received::Failed, "no answer in time")
        );
        assert!(sent < 100 * piece.len());
    }
}

#[tokio::test]
async fn a_body_that_drips_or_has_no_end_is_left_where_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let ten_gigabytes = b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
    for (piece, pause) in [
        (vec![b'x'; 64 * 1024], Duration::ZERO),
        (vec![b'x'], Duration::from_millis(20)),
    ] {
        let webhooks = impatient();
        let flood = async {
            let mut stream = accept(&listener).await;
            stream.write_all(ten_gigabytes).await.unwrap();
            send_without_end(&mut stream, &piece, pause).await
        };
        let (delivery, sent) = tokio::join!(post(&webhooks, &url), flood);
        assert_eq!(delivery.unwrap().received, Received::Accepted);
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }
}

#[tokio::test]
async fn a_head_without_end_is_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhooks = impatient();
    let flood = async {
        let mut stream = accept(&listener).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        let header = format!("x-more: {}\r\n", "x".repeat(8_000));
        send_without_end(&mut stream, header.as_bytes(), Duration::ZERO).await
    };
    let (delivery, sent) = tokio::join!(post(&webhooks, &url), flood);
    assert_eq!(delivery.unwrap().received, Received::Failed);
    assert!(sent < 64 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn whoever_speaks_no_tls_is_no_receiver_of_https() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let webhooks = impatient();
    let plain = answer_once(&listener, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let (delivery, ()) = tokio::join!(post(&webhooks, &url), plain);
    let delivery = delivery.unwrap();
    assert_eq!(
        (delivery.received, delivery.why.as_str()),
        (Received::Failed, "no connection")
    );
}

#[tokio::test]
async fn a_connection_that_the_receiver_closed_between_two_notices_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let webhooks = impatient();
    for _ in 0..3 {
        // It promises to keep the connection, and closes it all the same.
        let kept = answer_once(
            &listener,
            "HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        );
        let (delivery, ()) = tokio::join!(post(&webhooks, &url), kept);
        assert_eq!(delivery.unwrap().received, Received::Accepted);
    }
}
