//! Sending a notice to a receiver that somebody else wrote, without being led anywhere it may not go.
//!
//! Every address is checked when a connection to it is opened, whatever its name resolved to before; redirects are not
//! followed and no proxy is used, so there is no other way out. About the receiver little is assumed: its answer's status
//! is all that counts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};

use super::model::Received;
use crate::silos::{
    Header,
    address::{AddressRules, Refused},
    is_ours,
};

/// To open a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// From the first byte out to the last one in.
pub(super) const TOTAL_MAX: Duration = Duration::from_secs(30);
/// An answer's body is read this far, so that the connection may serve again; nobody looks at it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// And no longer than this.
const ANSWER_READ_MAX: Duration = Duration::from_secs(2);
/// Connections that wait for another notice.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// Sends notices.
#[derive(Clone)]
pub struct Webhooks {
    client: Client,
    addresses: AddressRules,
}

/// How a notice was received, and the reason in words for the log.
pub(super) struct Delivery {
    pub(super) received: Received,
    pub(super) why: String,
    /// What the receiver asks for before it is told again.
    pub(super) retry_after: Option<RetryAfter>,
}

/// That a message was not accepted.
pub struct NotAccepted {
    /// Why, without the address.
    pub why: String,
    /// What the receiver asks for before it is told again.
    pub retry_after: Option<RetryAfter>,
}

/// When a receiver wants to be told again, as its `Retry-After` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After so long.
    Wait(Duration),
    /// At that time.
    At(Timestamp),
}

impl RetryAfter {
    fn read(headers: &HeaderMap) -> Option<RetryAfter> {
        let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        match text.parse::<u32>() {
            Ok(seconds) => Some(RetryAfter::Wait(Duration::from_secs(seconds.into()))),
            Err(_) => Some(RetryAfter::At(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())),
        }
    }

    /// When that is, at most `wait_max` after `now`. None if it is over.
    pub fn time(self, now: Timestamp, wait_max: Duration) -> Option<Timestamp> {
        let at = match self {
            RetryAfter::Wait(wait) => now + wait.min(wait_max),
            RetryAfter::At(at) => at.min(now + wait_max),
        };
        (at > now).then_some(at)
    }
}

impl Webhooks {
    /// A sender that keeps to `addresses`.
    pub fn new(addresses: AddressRules) -> Webhooks {
        Webhooks::resolving(addresses, SystemResolver)
    }

    fn resolving(addresses: AddressRules, names: impl Resolve + Clone + 'static) -> Webhooks {
        let builder = || {
            Client::builder()
                .dns_resolver(Arc::new(CheckedResolver {
                    addresses: addresses.clone(),
                    names: names.clone(),
                }))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(CONNECT_MAX)
                .timeout(TOTAL_MAX)
                .pool_idle_timeout(IDLE_MAX)
                .user_agent(concat!("antumbra/", env!("CARGO_PKG_VERSION")))
        };
        let client = builder().build().unwrap_or_else(|cause| {
            // A machine without any certificate authorities can still reach receivers over plain HTTP.
            tracing::error!(
                cause = crate::http::chain(&cause),
                "no certificate authorities were found on this machine: https webhooks will fail"
            );
            builder()
                .tls_certs_only([])
                .build()
                .expect("a client without certificate authorities needs nothing")
        });
        Webhooks { client, addresses }
    }

    /// Posts `body` with these headers, to somebody who has to accept it with any status of success.
    pub async fn send(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<(), NotAccepted> {
        match self.post(url, headers, &[], body).await {
            Ok(Delivery {
                received: Received::Failed,
                why,
                retry_after,
            }) => Err(NotAccepted { why, retry_after }),
            Ok(_) => Ok(()),
            Err(refused) => Err(NotAccepted {
                why: refused.to_string(),
                retry_after: None,
            }),
        }
    }

    /// Posts `body`, with the silo's own `headers` below ours. Takes at most [`TOTAL_MAX`].
    pub(super) async fn post(
        &self,
        url: &str,
        own: HeaderMap,
        headers: &[Header],
        body: Bytes,
    ) -> Result<Delivery, Refused> {
        // The client connects to literal addresses without asking the resolver.
        let url = self.addresses.parse_url(url)?;
        let request = self.client.post(url).headers(merged(own, headers)).body(body);
        Ok(match request.send().await {
            Ok(answer) => {
                let status = answer.status();
                let retry_after = RetryAfter::read(answer.headers());
                drain(answer).await;
                Delivery {
                    received: meaning(status),
                    why: format!("answered {}", status.as_u16()),
                    retry_after,
                }
            }
            Err(error) => Delivery {
                received: Received::Failed,
                why: why(&error).to_owned(),
                retry_after: None,
            },
        })
    }
}

/// What the status of an answer means.
fn meaning(status: StatusCode) -> Received {
    match status {
        StatusCode::NO_CONTENT => Received::Nobody,
        status if status.is_success() => Received::Accepted,
        _ => Received::Failed,
    }
}

/// The silo's headers, and ours in place of any of the same name.
fn merged(own: HeaderMap, headers: &[Header]) -> HeaderMap {
    let mut all = HeaderMap::with_capacity(headers.len() + own.len());
    for Header { name, value, is_secret } in headers {
        let name = name.to_ascii_lowercase();
        let (Ok(key), Ok(mut value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) else {
            continue;
        };
        if !is_ours(&name) {
            value.set_sensitive(*is_secret);
            all.append(key, value);
        }
    }
    for (name, value) in &own {
        all.insert(name, value.clone());
    }
    all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    all.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    all
}

async fn drain(mut answer: Response) {
    let reading = async {
        let mut read = 0;
        while read < ANSWER_BYTES_MAX {
            match answer.chunk().await {
                Ok(Some(chunk)) => read += chunk.len(),
                Ok(None) | Err(_) => break,
            }
        }
    };
    // What is not read in time closes the connection, which is all that it costs.
    let _ = tokio::time::timeout(ANSWER_READ_MAX, reading).await;
}

/// A failure without the address, which may hold secrets of the silo's.
fn why(error: &reqwest::Error) -> &'static str {
    if caused_by_refusal(error) {
        "the name resolves to no address that may be called"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the connection ended without an answer"
    }
}

fn caused_by_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<NothingToCall>() || error.source().is_some_and(caused_by_refusal)
}

/// Keeps only those addresses of a name that may be called.
struct CheckedResolver<R> {
    addresses: AddressRules,
    names: R,
}

/// Every address of the name was refused, or it has none.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no address that may be called")]
struct NothingToCall;

impl<R: Resolve> Resolve for CheckedResolver<R> {
    fn resolve(&self, name: Name) -> Resolving {
        let (addresses, resolving) = (self.addresses.clone(), self.names.resolve(name));
        Box::pin(async move {
            let permitted: Vec<SocketAddr> = resolving.await?.filter(|found| addresses.permits(found.ip())).collect();
            if permitted.is_empty() {
                return Err(NothingToCall.into());
            }
            let addrs: Addrs = Box::new(permitted.into_iter());
            Ok(addrs)
        })
    }
}

/// Resolves names as the system does.
#[derive(Clone, Copy)]
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let addrs: Addrs = Box::new(found.into_iter());
            Ok(addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, net::IpAddr, sync::Mutex};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
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
            let webhooks = Webhooks::resolving(AddressRules::default(), Names::answering(&[&[address]]));
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
        let webhooks = Webhooks::resolving(rules, Names::answering(&[&["127.0.0.2", "127.0.0.1"]]));
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
        let webhooks = Webhooks::resolving(rules, Names::answering(&[&["127.0.0.1"], &["127.0.0.2"]]));
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
}
