//! The nonce of a preflight: what the other end is given with its webhook, and presents with its answer.
//!
//! It holds ids only, may be used as often as needed and does not expire: whether an answer is still awaited is a question
//! of the preflight's state.

use antumbra_crypto::token::{Claims, TokenRefused};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{Preflight, PreflightId};
use crate::{
    dsr::DsrId,
    http::{Problem, parse_uuid},
    keyring::OrganizationKeys,
    organization::OrganizationId,
    silos::EnricherId,
};

/// The header that carries it, both ways.
pub(super) const HEADER: &str = "x-transcend-nonce";
const REQUEST: &str = "x-transcend-request-id";
const ENRICHER: &str = "x-transcend-enricher-id";

/// What the nonce says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnricherNonce {
    #[serde(rename = "orgId")]
    organization: OrganizationId,
    #[serde(rename = "requestId")]
    request: DsrId,
    #[serde(rename = "enricherId")]
    enricher: EnricherId,
    #[serde(rename = "requestEnricherId")]
    run: PreflightId,
    iat: i64,
}

impl Claims for EnricherNonce {
    const KIND: &'static str = "enricher";
}

/// The nonce of a preflight. Made anew it is the same again, so that every notice of one preflight carries one nonce.
pub(super) fn nonce_of(keys: &OrganizationKeys, run: &Preflight) -> String {
    keys.tokens.sign(&EnricherNonce {
        organization: keys.organization,
        request: run.request,
        enricher: run.enricher,
        run: run.id,
        iat: run.created_at.as_second(),
    })
}

/// Which preflights an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressed {
    /// One.
    Run(DsrId, PreflightId),
    /// All that one request has of one enricher.
    Enricher(DsrId, EnricherId),
}

impl Addressed {
    /// Reads the nonce, or the two ids that stand for it.
    pub(super) fn from_headers(keys: &OrganizationKeys, headers: &HeaderMap) -> Result<Addressed, Problem> {
        if headers.contains_key(HEADER) {
            return from_nonce(keys, headers);
        }
        match (id_in(headers, REQUEST)?, id_in(headers, ENRICHER)?) {
            (Some(request), Some(enricher)) => Ok(Addressed::Enricher(DsrId(request), EnricherId(enricher))),
            (None, _) | (_, None) => Err(Problem::validation([(
                HEADER,
                "is required: the nonce that came with the webhook, or x-transcend-request-id with x-transcend-enricher-id",
            )])),
        }
    }
}

fn from_nonce(keys: &OrganizationKeys, headers: &HeaderMap) -> Result<Addressed, Problem> {
    let refuse = |why: &str| Problem::validation([(HEADER, why)]);
    let token = headers.get(HEADER).and_then(|value| value.to_str().ok());
    let token = token.ok_or_else(|| refuse("is not a nonce"))?.trim();
    let nonce = keys
        .tokens
        .verify::<EnricherNonce>(token)
        .map_err(|refused| match refused {
            TokenRefused::Malformed => refuse("is not a nonce, or not a whole one"),
            TokenRefused::Foreign => refuse("was not given out here"),
            TokenRefused::OtherKind => refuse("is a token for another purpose"),
        })?;
    if nonce.organization != keys.organization {
        return Err(refuse("was not given out here"));
    }
    Ok(Addressed::Run(nonce.request, nonce.run))
}

fn id_in(headers: &HeaderMap, name: &'static str) -> Result<Option<Uuid>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let id = parse_uuid(text).ok_or_else(|| Problem::validation([(name, "must be a UUID")]))?;
    Ok(Some(id))
}
