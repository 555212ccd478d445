//! The nonce: what a silo is given with a notice or a work list, and presents with its answer.
//!
//! It names one profile of one run and holds ids only. It may be used as often as needed and does not expire: whether
//! anything may still be reported is a question of the run's state.

use antumbra_crypto::token::{Claims, TokenRefused};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::model::{Profile, ProfileId, RunId, SiloRun};
use crate::{
    dsr::DsrId,
    http::Problem,
    keyring::OrganizationKeys,
    organization::{Action, OrganizationId},
    silos::DataSiloId,
};

/// The header that carries it, both ways.
pub(super) const HEADER: &str = "x-transcend-nonce";

/// What a silo's nonce says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SiloNonce {
    #[serde(rename = "orgId")]
    pub(super) organization: OrganizationId,
    #[serde(rename = "requestId")]
    pub(super) request: DsrId,
    #[serde(rename = "dataSiloId")]
    pub(super) silo: DataSiloId,
    #[serde(rename = "requestDataSiloId")]
    pub(super) run: RunId,
    #[serde(rename = "profileId")]
    pub(super) profile: ProfileId,
    /// For whoever reads a log at the other end; the run itself says what counts.
    pub(super) active_type: Action,
    pub(super) iat: i64,
}

impl Claims for SiloNonce {
    const KIND: &'static str = "silo";
}

impl SiloNonce {
    /// The nonce of `profile`. Made anew it is the same again, so that every notice of one profile carries one nonce.
    pub(super) fn of(organization: OrganizationId, run: &SiloRun, profile: &Profile) -> SiloNonce {
        SiloNonce {
            organization,
            request: run.request,
            silo: run.silo,
            run: run.id,
            profile: profile.id,
            active_type: run.action,
            iat: run.created_at.as_second(),
        }
    }

    /// As it travels.
    pub(super) fn sign(&self, keys: &OrganizationKeys) -> String {
        keys.tokens.sign(self)
    }

    /// Reads the nonce of a call. Anything but a nonce that this organization gave to a silo is refused with 400.
    pub(super) fn from_headers(keys: &OrganizationKeys, headers: &HeaderMap) -> Result<SiloNonce, Problem> {
        let refuse = |why: &str| Problem::validation([(HEADER, why)]);
        let value = headers
            .get(HEADER)
            .ok_or_else(|| refuse("is required: the nonce that came with the notice"))?;
        let token = value.to_str().map_err(|_| refuse("is not a nonce"))?.trim();
        let nonce = keys
            .tokens
            .verify::<SiloNonce>(token)
            .map_err(|refused| match refused {
                TokenRefused::Malformed => refuse("is not a nonce, or not a whole one"),
                TokenRefused::Foreign => refuse("was not given out here"),
                TokenRefused::OtherKind => refuse("is a token for another purpose"),
            })?;
        if nonce.organization != keys.organization {
            return Err(refuse("was not given out here"));
        }
        Ok(nonce)
    }
}
