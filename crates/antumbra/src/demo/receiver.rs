//! The data silo's own server, as somebody else would write it: it knows the published way to check a webhook and nothing
//! about the server that sends it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// A webhook that was sent by whom it says.
#[derive(Debug)]
pub(super) struct Webhook {
    pub(super) nonce: String,
    pub(super) body: Value,
}

/// A running receiver. Dropping it ends it.
pub(super) struct Receiver {
    port: u16,
    arrived: mpsc::Receiver<Webhook>,
    public_key: Arc<Mutex<Option<String>>>,
    _serving: JoinSet<()>,
}

/// What a webhook's token says.
#[derive(Deserialize)]
struct Claims {
    scope: String,
    value: String,
}

impl Receiver {
    pub(super) async fn start() -> Result<Receiver> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (sender, arrived) = mpsc::channel(100);
        let public_key = Arc::new(Mutex::new(None::<String>));
        let key = Arc::clone(&public_key);
        let handler = move |headers: HeaderMap, body: Bytes| {
            let (sender, key) = (sender.clone(), Arc::clone(&key));
            async move {
                let known = key.lock().await.clone();
                let Ok(webhook) = known.context("no key").and_then(|pem| checked(&headers, &body, &pem)) else {
                    return StatusCode::UNAUTHORIZED;
                };
                match sender.send(webhook).await {
                    Ok(()) => StatusCode::OK,
                    Err(_) => StatusCode::SERVICE_UNAVAILABLE,
                }
            }
        };
        let router = Router::new().route("/webhooks/dsr-job", post(handler));
        let mut serving = JoinSet::new();
        #[expect(clippy::disallowed_methods, reason = "it ends with the receiver")]
        serving.spawn(async move {
            axum::serve(listener, router).await.ok();
        });
        Ok(Receiver {
            port,
            arrived,
            public_key,
            _serving: serving,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/webhooks/dsr-job", self.port)
    }

    /// From now on webhooks are believed when this key has signed them.
    pub(super) async fn trust(&self, public_key: String) {
        *self.public_key.lock().await = Some(public_key);
    }

    /// The next webhook that stood the check.
    pub(super) async fn next(&mut self) -> Result<Webhook> {
        match tokio::time::timeout(Duration::from_secs(30), self.arrived.recv()).await {
            Ok(Some(webhook)) => Ok(webhook),
            Ok(None) => bail!("the receiver is gone"),
            Err(_) => bail!("no webhook that stands the check has arrived within 30 s"),
        }
    }
}

fn checked(headers: &HeaderMap, body: &[u8], pem: &str) -> Result<Webhook> {
    let header = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .context("a header is missing")
    };
    let mut validation = Validation::new(Algorithm::ES384);
    validation.required_spec_claims.clear();
    validation.validate_aud = false;
    let key = DecodingKey::from_ec_pem(pem.as_bytes())?;
    let claims = jsonwebtoken::decode::<Claims>(header("x-sombra-token")?, &key, &validation)?.claims;
    let body: Value = serde_json::from_slice(body)?;
    if claims.scope != "coreIdentifier" || body["coreIdentifier"]["value"] != claims.value.as_str() {
        bail!("the token speaks of somebody else");
    }
    Ok(Webhook {
        nonce: header("x-transcend-nonce")?.to_owned(),
        body,
    })
}
