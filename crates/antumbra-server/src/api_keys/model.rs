//! What an API key is, and the rules for making one.

use antumbra_crypto::api_key::{ApiKey, FOREIGN_LEN_MAX, FOREIGN_LEN_MIN, NotAnApiKey};
use antumbra_store::Record;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{ApiKeyId, ScopeName};
use crate::{http::Problem, silos::DataSiloId};

/// Characters of a title.
const TITLE_MAX: usize = 200;
/// Data silos that one key may be attached to.
const SILOS_MAX: usize = 1_000;

/// What a key is made from.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyInput {
    /// The name that people know it by.
    pub title: String,
    /// The scopes granted.
    pub scopes: Vec<ScopeName>,
    /// The data silos it is attached to. That they exist is for the caller to check.
    pub silos: Vec<DataSiloId>,
    /// When it runs out; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// A key that another system gave out, to be accepted here as it is; `None` makes a fresh one.
    pub foreign: Option<Foreign>,
    /// Made for a program that speaks for a language model. Kept and shown, nothing more.
    pub is_mcp: bool,
}

/// The text of a key that another system gave out. Prints as a placeholder and wipes itself.
#[derive(Clone)]
pub struct Foreign(Zeroizing<String>);

impl Foreign {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Foreign {
        Foreign(Zeroizing::new(text.into()))
    }
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Foreign(..)")
    }
}

/// Why a key cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidApiKey {
    /// The title is missing or too long.
    #[error("must have between 1 and {TITLE_MAX} characters")]
    Title,
    /// Too many data silos.
    #[error("must name at most {SILOS_MAX} data silos")]
    Silos,
    /// The text from another system is no key.
    #[error("must be {FOREIGN_LEN_MIN} to {FOREIGN_LEN_MAX} printable characters without spaces")]
    Secret,
    /// The same text is a key already.
    #[error("is in use already")]
    Taken,
}

impl From<InvalidApiKey> for Problem {
    fn from(error: InvalidApiKey) -> Problem {
        let path = match error {
            InvalidApiKey::Title => "title",
            InvalidApiKey::Silos => "dataSilos",
            InvalidApiKey::Secret | InvalidApiKey::Taken => "secret",
        };
        Problem::validation([(path, error.to_string())])
    }
}

impl ApiKeyInput {
    /// Checks the input and gives the secret that it makes a key of.
    pub(super) fn secret(&self) -> Result<ApiKey, InvalidApiKey> {
        check(&self.title, &self.silos)?;
        match &self.foreign {
            None => Ok(ApiKey::mint()),
            Some(Foreign(text)) => ApiKey::parse(text).map_err(|NotAnApiKey| InvalidApiKey::Secret),
        }
    }

    /// What is kept of it.
    pub(super) fn record(self, secret: &ApiKey, digest: [u8; 32], now: Timestamp) -> ApiKeyRecord {
        ApiKeyRecord {
            title: self.title,
            preview: secret.preview(),
            digest,
            scopes: self.scopes,
            silos: self.silos,
            created_at: now,
            expires_at: self.expires_at,
            is_mcp: self.is_mcp,
        }
    }
}

fn check(title: &str, silos: &[DataSiloId]) -> Result<(), InvalidApiKey> {
    if title.trim().is_empty() || title.chars().count() > TITLE_MAX {
        return Err(InvalidApiKey::Title);
    }
    if silos.len() > SILOS_MAX {
        Err(InvalidApiKey::Silos)
    } else {
        Ok(())
    }
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// The name that people know it by.
    pub title: String,
    /// Its first and last characters, by which its owner knows it again.
    pub preview: String,
    /// The peppered digest of its secret.
    pub(super) digest: [u8; 32],
    /// The scopes granted; what they imply is worked out when it is used.
    pub scopes: Vec<ScopeName>,
    /// The data silos it is attached to.
    pub silos: Vec<DataSiloId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it runs out.
    pub expires_at: Option<Timestamp>,
    /// Made for a program that speaks for a language model.
    pub is_mcp: bool,
}

impl Record for ApiKeyRecord {
    const VERSION: u8 = 1;
}

/// What shall be different about a key. What is not given stays.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyChange {
    /// The name that people know it by.
    pub title: Option<String>,
    /// The scopes granted.
    pub scopes: Option<Vec<ScopeName>>,
    /// The data silos it is attached to. That they exist is for the caller to check.
    pub silos: Option<Vec<DataSiloId>>,
}

impl ApiKeyRecord {
    /// The same key after a change.
    pub(super) fn with(self, change: ApiKeyChange) -> Result<ApiKeyRecord, InvalidApiKey> {
        let title = change.title.unwrap_or(self.title);
        let silos = change.silos.unwrap_or(self.silos);
        check(&title, &silos)?;
        Ok(ApiKeyRecord {
            title,
            silos,
            scopes: change.scopes.unwrap_or(self.scopes),
            ..self
        })
    }
}

/// A key in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The key.
    pub id: ApiKeyId,
    /// What is kept of it.
    pub record: ApiKeyRecord,
    /// When it was last used, give or take a minute if the server was killed since.
    pub last_used_at: Option<Timestamp>,
}
