//! A data silo that somebody else might have written: it takes each webhook, remembers its nonce, and says 200.

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

/// A running receiver; it lives as long as the battery.
pub(super) struct Receiver {
    port: u16,
    deliveries: Deliveries,
}

impl Receiver {
    pub(super) async fn start() -> Result<Receiver> {
        let deliveries = Deliveries::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let into = Arc::clone(&deliveries);
        let router = Router::new().route(
            "/webhook",
            post(move |headers: HeaderMap, body: Bytes| {
                let into = Arc::clone(&into);
                async move {
                    let Some(delivery) = read(&headers, &body) else {
                        return StatusCode::BAD_REQUEST;
                    };
                    // A silo takes its time, so that kills hit deliveries on their way.
                    tokio::time::sleep(Duration::from_millis(body.len() as u64 % 20)).await;
                    into.lock().await.push(delivery);
                    StatusCode::OK
                }
            }),
        );
        #[allow(
            clippy::disallowed_methods,
            reason = "a battery is no server: its receiver lives as long as the process"
        )]
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Receiver { port, deliveries })
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
             datapoints:\n      - key: list\n        title: List\n        privacy-actions: [CONTACT_OPT_OUT]\n\
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
