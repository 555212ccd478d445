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

/// From the first byte out to the last one in.
pub(super) const TOTAL_MAX: Duration = Duration::from_secs(30);
/// An answer's body is read this far, so that the connection may serve again; nobody looks at it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest answer of somebody whose answer counts.
const SAID_BYTES_MAX: usize = 1024 * 1024;
/// Connections that wait for another notice.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// Sends notices.
#[derive(Clone)]
pub struct Webhooks {
    client: Client,
    addresses: AddressRules,
    patience: Patience,
}

/// How long a receiver is waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// To open a connection.
    connect: Duration,
    /// From the first byte out to the last one in.
    total: Duration,
    /// To read the body of an answer.
    answer: Duration,
}

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(10),
    total: TOTAL_MAX,
    answer: Duration::from_secs(2),
};

/// How a notice was received, and the reason in words for the log.
pub(super) struct Delivery {
    pub(super) received: Received,
    /// The status of the answer, if there was one.
    pub(super) status: Option<u16>,
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

/// What came back from somebody who was asked something.
pub enum Reply {
    /// Accepted, with this to say.
    Said(Bytes),
    /// Accepted, and there is nothing to say (204).
    Nothing,
    /// Not accepted, or the answer could not be read to its end.
    Refused(NotAccepted),
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
        Webhooks::resolving(addresses, SystemResolver, PATIENCE)
    }

    fn resolving(addresses: AddressRules, names: impl Resolve + Clone + 'static, patience: Patience) -> Webhooks {
        let builder = || {
            Client::builder()
                .dns_resolver(Arc::new(CheckedResolver {
                    addresses: addresses.clone(),
                    names: names.clone(),
                }))
                .redirect(redirect::Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(patience.connect)
                .timeout(patience.total)
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
        Webhooks {
            client,
            addresses,
            patience,
        }
    }

    /// Posts `body` with these headers, to somebody who has to accept it with any status of success.
    pub async fn send(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<(), NotAccepted> {
        match self.post(url, headers, &[], body).await {
            Ok(Delivery {
                received: Received::Failed,
                why,
                retry_after,
                ..
            }) => Err(NotAccepted { why, retry_after }),
            Ok(_) => Ok(()),
            Err(refused) => Err(NotAccepted {
                why: refused.to_string(),
                retry_after: None,
            }),
        }
    }

    /// Posts `body` to somebody whose answer counts, with their own `headers` below ours. Takes at most 30 seconds.
    pub async fn ask(&self, url: &str, own: HeaderMap, headers: &[Header], body: Bytes) -> Reply {
        let refused = |why: String, retry_after| Reply::Refused(NotAccepted { why, retry_after });
        // The client connects to literal addresses without asking the resolver.
        let url = match self.addresses.parse_url(url) {
            Ok(url) => url,
            Err(unfit) => return refused(unfit.to_string(), None),
        };
        let request = self.client.post(url).headers(merged(own, headers)).body(body);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return refused(why(&error).to_owned(), None),
        };
        let retry_after = RetryAfter::read(answer.headers());
        match meaning(answer.status()) {
            Received::Nobody => Reply::Nothing,
            Received::Failed => {
                let status = answer.status().as_u16();
                drain(answer, self.patience.answer).await;
                refused(format!("answered {status}"), retry_after)
            }
            Received::Accepted => {
                let mut said = Vec::new();
                loop {
                    match answer.chunk().await {
                        Ok(Some(chunk)) if said.len() + chunk.len() <= SAID_BYTES_MAX => said.extend_from_slice(&chunk),
                        Ok(Some(_)) => return refused("answered more than is read".to_owned(), None),
                        Ok(None) => return Reply::Said(said.into()),
                        Err(_) => return refused("the answer broke off".to_owned(), None),
                    }
                }
            }
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
                drain(answer, self.patience.answer).await;
                Delivery {
                    received: meaning(status),
                    status: Some(status.as_u16()),
                    why: format!("answered {}", status.as_u16()),
                    retry_after,
                }
            }
            Err(error) => Delivery {
                received: Received::Failed,
                status: None,
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

async fn drain(mut answer: Response, wait_max: Duration) {
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
    let _ = tokio::time::timeout(wait_max, reading).await;
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
mod tests;
