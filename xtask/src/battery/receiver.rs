//! A data silo that somebody else might have written: it takes each webhook, remembers its nonce, and says 200, at once or
//! when it has thought about it. Beside it stands one that comes for its work by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::Mutex;

/// One webhook that arrived.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    /// The request it is about.
    pub(super) dsr: String,
    /// What must be sent back with each answer.
    pub(super) nonce: String,
}

/// Deliveries that nobody has worked on yet, oldest first.
pub(super) type Deliveries = Arc<Mutex<Vec<Delivery>>>;

/// What was delivered for each request: its one nonce, and how often it came.
type Identities = Arc<Mutex<BTreeMap<String, (String, u64)>>>;

/// A running receiver; it lives as long as the battery.
pub(super) struct Receiver {
    port: u16,
    deliveries: Deliveries,
    identities: Identities,
    contradictions: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(super) async fn start() -> Result<Receiver> {
        let deliveries = Deliveries::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let identities = Identities::default();
        let contradictions = Arc::<Mutex<Vec<String>>>::default();
        let into = Arc::clone(&deliveries);
        let (known, wrong) = (Arc::clone(&identities), Arc::clone(&contradictions));
        let router = Router::new().route(
            "/webhook",
            post(move |headers: HeaderMap, body: Bytes| {
                let (into, known, wrong) = (Arc::clone(&into), Arc::clone(&known), Arc::clone(&wrong));
                async move {
                    let Some(delivery) = read(&headers, &body) else {
                        return StatusCode::BAD_REQUEST;
                    };
                    {
                        let mut known = known.lock().await;
                        let (nonce, times) = known.entry(delivery.dsr.clone()).or_default();
                        if *times > 0 && *nonce != delivery.nonce {
                            let again = format!("request {} was delivered again under another nonce", delivery.dsr);
                            wrong.lock().await.push(again);
                        }
                        nonce.clone_from(&delivery.nonce);
                        *times += 1;
                    }
                    // A silo takes its time, and some take so long that a kill hits most of what they were told.
                    let thinks = match delivery.dsr.bytes().last() {
                        Some(b'0'..=b'3') => 600,
                        _ => body.len() as u64 % 20,
                    };
                    // Its work may be done before its answer has arrived.
                    let is_eager = thinks % 2 == 0;
                    if is_eager {
                        into.lock().await.push(delivery.clone());
                    }
                    tokio::time::sleep(Duration::from_millis(thinks)).await;
                    if !is_eager {
                        into.lock().await.push(delivery);
                    }
                    StatusCode::OK
                }
            }),
        );
        #[allow(
            clippy::disallowed_methods,
            reason = "a battery is no server: its receiver lives as long as the process"
        )]
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Receiver {
            port,
            deliveries,
            identities,
            contradictions,
        })
    }

    /// Puts what was delivered under two identities with the losses, and says how many deliveries were repeats.
    pub(super) async fn check(&self, losses: &mut Vec<String>) -> u64 {
        losses.append(&mut *self.contradictions.lock().await);
        let identities = self.identities.lock().await;
        identities.values().map(|(_, times)| times.saturating_sub(1)).sum()
    }

    pub(super) fn deliveries(&self) -> Deliveries {
        Arc::clone(&self.deliveries)
    }

    /// What `antumbra apply` makes before the first round.
    pub(super) fn configuration(&self) -> String {
        format!(
            "data-subjects:\n  - type: customer\n    title: Customer\n    actions: [ACCESS, CONTACT_OPT_OUT]\n\
             purposes:\n  - name: Analytics\n    title: Analytics\n    trackingType: Analytics\n  \
             - name: News\n    title: News\n    trackingType: News\n\
             partitions:\n  - name: Shop\n    partition: shop\n\
             data-silos:\n  - title: Shop\n    integrationName: server\n    description: The shop\n    \
             url: http://127.0.0.1:{}/webhook\n    identity-keys: [email]\n    datapoints:\n      - key: profile\n        title: Profile\n      \
             - key: files\n        title: Files\n  - title: Mailing list\n    integrationName: cron\n    identity-keys: [email]\n    \
             datapoints:\n      - key: list\n        title: List\n        privacy-actions: [CONTACT_OPT_OUT, ACCESS]\n\
             consent-workflow-triggers:\n  - name: No news\n    action-type: CONTACT_OPT_OUT\n    \
             data-subject-type: customer\n    is-silent: true\n    data-silo-titles: [Mailing list]\n    \
             purposes:\n      - tracking-type: News\n        matching-state: false\n",
            self.port
        )
    }
}

fn read(headers: &HeaderMap, body: &[u8]) -> Option<Delivery> {
    let nonce = headers.get("x-transcend-nonce")?.to_str().ok()?.to_owned();
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let dsr = body["extras"]["request"]["id"]
        .as_str()
        .context("no id")
        .ok()?
        .to_owned();
    Some(Delivery { dsr, nonce })
}
