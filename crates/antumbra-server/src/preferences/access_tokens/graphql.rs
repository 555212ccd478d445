//! The part of the management API that makes tokens of the preference centre.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use uuid::Uuid;

use super::{Access, Right};
use crate::{
    graphql::{Acknowledged, Refusal, Session, parse_ids},
    organization::Settings,
    preferences::identifiers,
};

/// Tokens of one call at most.
const TOKENS_MAX: usize = 50;

/// Tokens revoked in one call at most.
const REVOKED_MAX: usize = 1_000;

/// How long a token is good if nobody says otherwise.
const SECONDS: i64 = 60 * 60;

/// Changes about tokens of the preference centre.
#[derive(Default)]
pub(crate) struct AccessTokenMutations;

#[Object]
impl AccessTokenMutations {
    /// Makes tokens that let people see and change their own preferences, each for one person. The answer is in the order
    /// of the input.
    async fn create_privacy_center_access_tokens(
        &self,
        context: &Context<'_>,
        input: CreatePrivacyCenterAccessTokensInput,
    ) -> Result<CreatePrivacyCenterAccessTokensPayload, Refusal> {
        let session = Session::of(context);
        if input.records.len() > TOKENS_MAX {
            return Err(Refusal::client(format!("records has more than {TOKENS_MAX} entries")));
        }
        let (settings, keys) = (session.settings().await?, session.keys().await?);
        let mut tx = session.write().await;
        let mut nodes = Vec::with_capacity(input.records.len());
        for (place, record) in input.records.into_iter().enumerate() {
            let core_identifier = record.core_identifier.clone().unwrap_or_else(|| record.email.clone());
            let rule = record.broken_rule(&settings, &core_identifier);
            if let Some((member, rule)) = rule {
                return Err(Refusal::client(format!("records[{place}].{member} {rule}")));
            }
            let issued_at = session.app.clock.now().as_second();
            let access = Access {
                iss: session.organization(),
                sub: core_identifier,
                email: record.email,
                subject_type: record.subject_type,
                scopes: record.scopes.into_iter().map(Right::from).collect(),
                iat: issued_at,
                exp: issued_at + record.expires_in.map_or(SECONDS, i64::from),
                jti: session.app.ids.uuid(),
                aud: session.app.public_url().to_owned(),
            };
            session.record(&mut tx, "access_token.created", ("access_token", access.jti));
            let token = keys.tokens.sign(&access);
            let template = session.app.config.preferences.access_link.as_deref();
            nodes.push(PrivacyCenterAccessToken {
                id: access.jti.into(),
                link: template.map(|template| template.replace("{token}", &token)),
                token,
                email: access.email,
                core_identifier: access.sub,
            });
        }
        Ok(CreatePrivacyCenterAccessTokensPayload {
            nodes,
            client_mutation_id: None,
        })
    }

    /// Has tokens be good for nothing any more, whatever time they have left. For each id that is not among the revoked ones
    /// yet, the audit log says so.
    async fn revoke_privacy_center_access_tokens(
        &self,
        context: &Context<'_>,
        ids: Vec<ID>,
    ) -> Result<Acknowledged, Refusal> {
        let session = Session::of(context);
        if ids.len() > REVOKED_MAX {
            return Err(Refusal::client(format!("ids has more than {REVOKED_MAX} entries")));
        }
        let ids: Vec<Uuid> = parse_ids(&ids, "access token")?;
        let mut tx = session.write().await;
        for id in ids {
            if super::revoke(&mut tx, session.organization(), id).await? {
                session.record(&mut tx, "access_token.revoked", ("access_token", id));
            }
        }
        Ok(Acknowledged::default())
    }
}

/// Which tokens to make.
#[derive(InputObject)]
struct CreatePrivacyCenterAccessTokensInput {
    /// One for each token, at most 50.
    records: Vec<PrivacyCenterAccessTokenInput>,
}

/// One token.
#[derive(InputObject)]
struct PrivacyCenterAccessTokenInput {
    /// The person's e-mail address. It counts as verified.
    email: String,
    /// The person's core identifier; by default the e-mail address.
    core_identifier: Option<String>,
    /// The kind of data subject that the person is logged in as.
    subject_type: String,
    /// What the token permits.
    scopes: Vec<SombraStandardScope>,
    /// For how many seconds it is good; by default an hour.
    expires_in: Option<i32>,
}

impl PrivacyCenterAccessTokenInput {
    /// The first rule that it breaks, and where. No value is repeated.
    fn broken_rule(&self, settings: &Settings, core_identifier: &str) -> Option<(&'static str, &'static str)> {
        let is_valid = |name: &str, value: &str| {
            let known = settings.find_identifier(name);
            known.is_some_and(|known| identifiers::normalise(known, value).is_some())
        };
        let subject = settings.find_subject_type(&self.subject_type);
        let not_valid = "is not a value that this identifier can have";
        let is_email = core_identifier == self.email;
        [
            ("email", is_valid(identifiers::EMAIL_NAME, &self.email), not_valid),
            (
                "coreIdentifier",
                is_email || is_valid(identifiers::LEGACY_NAME, core_identifier),
                not_valid,
            ),
            (
                "subjectType",
                subject.is_some_and(|subject| subject.active),
                "is not an active data subject type of this organization",
            ),
            ("scopes", !self.scopes.is_empty(), "must not be empty"),
            (
                "expiresIn",
                self.expires_in.is_none_or(|seconds| seconds >= 1),
                "must be 1 or more",
            ),
        ]
        .into_iter()
        .find_map(|(member, holds, rule)| (!holds).then_some((member, rule)))
    }
}

/// What a token permits.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(rename_items = "camelCase")]
enum SombraStandardScope {
    /// To see and change one's own preferences.
    PreferenceManagement,
    /// To make data subject requests.
    DsrAutomation,
}

impl From<SombraStandardScope> for Right {
    fn from(scope: SombraStandardScope) -> Right {
        match scope {
            SombraStandardScope::PreferenceManagement => Right::PreferenceManagement,
            SombraStandardScope::DsrAutomation => Right::DsrAutomation,
        }
    }
}

/// Tokens were made.
#[derive(SimpleObject)]
struct CreatePrivacyCenterAccessTokensPayload {
    /// One for each record of the input, in its order.
    nodes: Vec<PrivacyCenterAccessToken>,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A token of the preference centre.
#[derive(SimpleObject)]
struct PrivacyCenterAccessToken {
    /// Its id, by which it can be revoked.
    id: ID,
    /// The link with the token in it; null if the server was not told where people see their preferences.
    link: Option<String>,
    /// The token.
    token: String,
    /// The e-mail address that it is for.
    email: String,
    /// The core identifier that it is for.
    core_identifier: String,
}
