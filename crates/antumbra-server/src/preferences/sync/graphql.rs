//! The part of the management API that is about the secrets behind consent tokens.
//!
//! The clients' own form of these answers is encrypted for a program that this server does not have. Here they are plain:
//! whoever may have them gets them as they are, and the audit log says so.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::secrets::{self, NewSecret};
use crate::{
    graphql::{Refusal, Session},
    http::Problem,
    keyring::OrganizationKeys,
    purposes::{Partition, list_partitions},
};

/// How long a secret may be, in bytes.
const TOKEN_SECRET_BYTES: std::ops::RangeInclusive<usize> = antumbra_crypto::token::SECRET_BYTES_MIN..=1024;

/// How long an identifier encryption key is, in bytes.
const IDENTIFIER_KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=32;

/// Queries about the secrets behind consent tokens.
#[derive(Default)]
pub(crate) struct SyncQueries;

#[Object]
impl SyncQueries {
    /// What consent tokens of a partition may be signed with, the newest first. That it was shown stands in the audit log.
    async fn get_token_secrets(&self, context: &Context<'_>, id: ID) -> Result<TokenSecretsPayload, Refusal> {
        let session = Session::of(context);
        let partition = find_partition(session, &id).await?;
        let keys = session.keys().await?;
        let mut tx = session.write().await;
        session.record(&mut tx, "token_secrets.shown", ("partition", partition.id.0));
        Ok(TokenSecretsPayload {
            token_secrets: TokenSecrets::read(&mut tx, &keys, &partition).await?,
            client_mutation_id: None,
        })
    }
}

/// Changes of the secrets behind consent tokens.
#[derive(Default)]
pub(crate) struct SyncMutations;

#[Object]
impl SyncMutations {
    /// Has consent tokens of a partition signed with another secret: the one given, or a random one. The one before it
    /// still counts, until this is called once more.
    async fn set_token_secret(
        &self,
        context: &Context<'_>,
        input: SetTokenSecretInput,
    ) -> Result<TokenSecretsPayload, Refusal> {
        let session = Session::of(context);
        let partition = find_partition(session, &input.id).await?;
        let keys = session.keys().await?;
        let new = NewSecret {
            ids: &session.app.ids,
            now: session.app.clock.now(),
            brought: brought(input.secret, "secret", TOKEN_SECRET_BYTES)?,
        };
        let mut tx = session.write().await;
        let id = secrets::add_token_secret(&mut tx, &keys, &partition, new).await;
        let id = id.map_err(Problem::from)?;
        session.record(&mut tx, "token_secret.set", ("token_secret", id));
        Ok(TokenSecretsPayload {
            token_secrets: TokenSecrets::read(&mut tx, &keys, &partition).await?,
            client_mutation_id: None,
        })
    }

    /// Has identifiers in consent tokens wrapped under another key: the one given, or a random one. What was wrapped under
    /// those before can still be read.
    async fn generate_consent_identifier_encryption_key(
        &self,
        context: &Context<'_>,
        input: Option<GenerateConsentIdentifierEncryptionKeyInput>,
    ) -> Result<ConsentIdentifierEncryptionKeyPayload, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let new = NewSecret {
            ids: &session.app.ids,
            now: session.app.clock.now(),
            brought: brought(input.and_then(|input| input.key), "key", IDENTIFIER_KEY_BYTES)?,
        };
        let mut tx = session.write().await;
        let id = secrets::add_identifier_key(&mut tx, &keys, new).await;
        let id = id.map_err(Problem::from)?;
        session.record(&mut tx, "consent_identifier_key.set", ("consent_identifier_key", id));
        ConsentIdentifierEncryptionKeyPayload::read(&mut tx, &keys).await
    }

    /// The key under which identifiers in consent tokens are wrapped, and those before it. That it was shown stands in the
    /// audit log.
    async fn reveal_consent_identifier_encryption_key(
        &self,
        context: &Context<'_>,
    ) -> Result<ConsentIdentifierEncryptionKeyPayload, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let mut tx = session.write().await;
        let shown = ConsentIdentifierEncryptionKeyPayload::read(&mut tx, &keys).await?;
        let organization = session.organization().0;
        session.record(&mut tx, "consent_identifier_keys.shown", ("organization", organization));
        Ok(shown)
    }
}

/// The partition with this id or this key. The id of the consent manager is the key of the default one.
async fn find_partition(session: &Session, id: &str) -> Result<Partition, Refusal> {
    let all = list_partitions(&mut *session.read().await, session.organization()).await?;
    let found = all
        .into_iter()
        .find(|partition| partition.key == id || partition.id.0.to_string() == id);
    found.ok_or_else(|| Refusal::not_found("partition"))
}

/// The bytes of a secret that a caller brings in base64.
fn brought(
    text: Option<String>,
    member: &str,
    lengths: std::ops::RangeInclusive<usize>,
) -> Result<Option<Zeroizing<Vec<u8>>>, Refusal> {
    let Some(text) = text.map(Zeroizing::new) else {
        return Ok(None);
    };
    let bytes = BASE64_STANDARD.decode(text.as_bytes()).map(Zeroizing::new).ok();
    let bytes = bytes.filter(|bytes| lengths.contains(&bytes.len()));
    let (min, max) = (lengths.start(), lengths.end());
    let length = if min == max {
        min.to_string()
    } else {
        format!("{min} to {max}")
    };
    let rule = || Refusal::client(format!("{member} must be the base64 of {length} bytes"));
    bytes.map(Some).ok_or_else(rule)
}

/// A secret to sign with.
#[derive(InputObject)]
struct SetTokenSecretInput {
    /// The partition: its id or its key, or the id of the consent manager for the default one.
    id: ID,
    /// The secret, in base64; by default a random one.
    secret: Option<String>,
}

/// A key to wrap under.
#[derive(InputObject)]
struct GenerateConsentIdentifierEncryptionKeyInput {
    /// A key that is in use already, in base64; by default a random one. Not among what other servers of this API take.
    key: Option<String>,
}

/// The secrets of a partition.
#[derive(SimpleObject)]
struct TokenSecretsPayload {
    /// The secrets.
    token_secrets: TokenSecrets,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// What consent tokens of a partition may be signed with.
#[derive(SimpleObject)]
struct TokenSecrets {
    /// The key of the partition.
    partition: String,
    /// In base64, the newest first.
    secrets: Vec<String>,
}

impl TokenSecrets {
    async fn read(
        reader: &mut antumbra_store::Reader,
        keys: &OrganizationKeys,
        partition: &Partition,
    ) -> Result<TokenSecrets, Refusal> {
        let known = secrets::list_token_secrets(reader, keys, partition.id).await;
        let known = known.map_err(Problem::from)?;
        Ok(TokenSecrets {
            partition: partition.key.clone(),
            secrets: known
                .iter()
                .map(|secret| BASE64_STANDARD.encode(&secret.bytes))
                .collect(),
        })
    }
}

/// The key under which identifiers in consent tokens are wrapped.
#[derive(SimpleObject)]
struct ConsentIdentifierEncryptionKeyPayload {
    /// The key in use, in base64.
    encryption_key: String,
    /// Those before it, in base64, the newest first. What is wrapped under them can still be read.
    earlier_encryption_keys: Vec<String>,
    /// Always null.
    client_mutation_id: Option<String>,
}

impl ConsentIdentifierEncryptionKeyPayload {
    async fn read(
        reader: &mut antumbra_store::Reader,
        keys: &OrganizationKeys,
    ) -> Result<ConsentIdentifierEncryptionKeyPayload, Refusal> {
        let known = secrets::list_identifier_keys(reader, keys).await;
        let mut known = known.map_err(Problem::from)?.into_iter();
        let newest = known
            .next()
            .ok_or_else(|| Refusal::not_found("consent identifier encryption key"))?;
        Ok(ConsentIdentifierEncryptionKeyPayload {
            encryption_key: BASE64_STANDARD.encode(&newest.bytes),
            earlier_encryption_keys: known.map(|key| BASE64_STANDARD.encode(&key.bytes)).collect(),
            client_mutation_id: None,
        })
    }
}
