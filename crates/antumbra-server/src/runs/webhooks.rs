//! Sending a notice to a receiver that somebody else wrote, without being led anywhere it may not go.
//!
//! Every address is checked when a connection to it is opened, whatever its name resolved to before; redirects are not
//! followed and no proxy is used, so there is no other way out. About the receiver little is assumed: its answer's status
//! is all that counts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
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
}

impl Webhooks {
    /// A sender that keeps to `addresses`.
    pub fn new(addresses: AddressRules) -> Webhooks {
        let builder = || {
            Client::builder()
                .dns_resolver(Arc::new(CheckedResolver {
                    addresses: addresses.clone(),
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
                cause = crate::http::problem::chain(&cause),
                "no certificate authorities were found on this machine: https webhooks will fail"
            );
            builder()
                .tls_certs_only([])
                .build()
                .expect("a client without certificate authorities needs nothing")
        });
        Webhooks { client, addresses }
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
                drain(answer).await;
                Delivery {
                    received: meaning(status),
                    why: format!("answered {}", status.as_u16()),
                }
            }
            Err(error) => Delivery {
                received: Received::Failed,
                why: why(&error).to_owned(),
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

/// Resolves names as the system does and keeps only the addresses that may be called.
struct CheckedResolver {
    addresses: AddressRules,
}

/// Every address of the name was refused, or it has none.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no address that may be called")]
struct NothingToCall;

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let addresses = self.addresses.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|found| addresses.permits(found.ip())).collect();
            if permitted.is_empty() {
                return Err(NothingToCall.into());
            }
            let addrs: Addrs = Box::new(permitted.into_iter());
            Ok(addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test]
    async fn a_name_that_answers_with_a_private_address_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let webhooks = Webhooks::new(AddressRules::default());
        // The check at save cannot know what a name resolves to; ask the resolver as the client does.
        let resolver = CheckedResolver {
            addresses: webhooks.addresses.clone(),
        };
        let refused = resolver.resolve("localhost".parse().unwrap()).await;
        assert!(refused.is_err_and(|error| error.is::<NothingToCall>()));
        for url in [
            format!("http://127.0.0.1:{port}/"),
            format!("http://localhost:{port}/"),
            format!("http://0x7f.1:{port}/"),
        ] {
            let posted = webhooks.post(&url, HeaderMap::new(), &[], Bytes::new()).await;
            assert_eq!(posted.err(), Some(Refused::NotPublic), "{url}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(20), listener.accept()).await;
        assert!(nobody.is_err(), "something connected");
    }
}
