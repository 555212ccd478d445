//! The part of the management API that is about webhooks for changes of preferences.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::webhooks::{self, WEBHOOKS_MAX, Webhook, WebhookId};
use crate::{
    graphql::{Acknowledged, Date, Refusal, Session, parse_id},
    http::Problem,
};

/// Queries about webhooks for changes.
#[derive(Default)]
pub(crate) struct ChangeWebhookQueries;

#[Object]
impl ChangeWebhookQueries {
    /// The webhooks that are told of changes of preferences, the oldest first.
    async fn preference_change_webhooks(
        &self,
        context: &Context<'_>,
    ) -> Result<PreferenceChangeWebhooksPayload, Refusal> {
        let session = Session::of(context);
        let known = webhooks::list(&mut *session.read().await, session.organization()).await?;
        let mut nodes = Vec::with_capacity(known.len());
        for webhook in known {
            nodes.push(WebhookNode::read(session, webhook).await?.0);
        }
        Ok(PreferenceChangeWebhooksPayload { nodes })
    }
}

/// Changes of webhooks for changes.
#[derive(Default)]
pub(crate) struct ChangeWebhookMutations;

#[Object]
impl ChangeWebhookMutations {
    /// Makes a webhook that is told of what changes in a partition from now on. Its secret is shown this once.
    async fn create_preference_change_webhook(
        &self,
        context: &Context<'_>,
        input: CreatePreferenceChangeWebhookInput,
    ) -> Result<CreatePreferenceChangeWebhookPayload, Refusal> {
        let session = Session::of(context);
        if let Err(refused) = session.app.addresses.parse_url(&input.url) {
            return Err(Refusal::client(format!("url: {refused}")));
        }
        let keys = session.keys().await?;
        let webhook = {
            let mut tx = session.write().await;
            let catalog = session.app.catalogs.current(&mut tx, session.organization()).await?;
            let partition = catalog.partition(&input.partition);
            let partition = partition.ok_or_else(|| Refusal::not_found("partition"))?;
            if webhooks::list(&mut tx, session.organization()).await?.len() >= WEBHOOKS_MAX {
                let message = format!("An organization has at most {WEBHOOKS_MAX} webhooks for changes");
                return Err(Refusal::client(message));
            }
            let made = webhooks::create(&mut tx, &session.app.ids, &keys, partition, &input.url, session.now);
            let webhook = made.await.map_err(Problem::from)?;
            session.record(
                &mut tx,
                "preference_change_webhook.created",
                ("preference_change_webhook", webhook.id.0),
            );
            webhook
        };
        let (preference_change_webhook, secret) = WebhookNode::read(session, webhook).await?;
        Ok(CreatePreferenceChangeWebhookPayload {
            preference_change_webhook,
            secret,
        })
    }

    /// Forgets a webhook. What its receiver has at the moment it keeps.
    async fn delete_preference_change_webhook(
        &self,
        context: &Context<'_>,
        input: DeletePreferenceChangeWebhookInput,
    ) -> Result<Acknowledged, Refusal> {
        let session = Session::of(context);
        let id = WebhookId(parse_id(&input.id, "webhook")?);
        let mut tx = session.write().await;
        if !webhooks::delete(&mut tx, session.organization(), id).await? {
            return Err(Refusal::not_found("webhook"));
        }
        session.record(
            &mut tx,
            "preference_change_webhook.deleted",
            ("preference_change_webhook", id.0),
        );
        Ok(Acknowledged::default())
    }
}

/// A webhook to make.
#[derive(InputObject)]
struct CreatePreferenceChangeWebhookInput {
    /// Where to send changes: an address that may be called.
    url: String,
    /// The key of the partition.
    partition: String,
}

/// A webhook to forget.
#[derive(InputObject)]
struct DeletePreferenceChangeWebhookInput {
    /// Its id.
    id: ID,
}

/// A webhook that is told of changes of preferences.
#[derive(SimpleObject)]
#[graphql(name = "PreferenceChangeWebhook")]
struct WebhookNode {
    /// Its id.
    id: ID,
    /// Where changes are sent.
    url: String,
    /// The key of the partition.
    partition: String,
    /// When it was made.
    created_at: Date,
    /// How often in a row its receiver has not accepted what it was sent.
    failures: u32,
}

impl WebhookNode {
    /// The node, and the webhook's secret.
    async fn read(session: &Session, webhook: Webhook) -> Result<(WebhookNode, String), Refusal> {
        let (organization, keys) = (session.organization(), session.keys().await?);
        let mut reader = session.read().await;
        let opened = webhooks::open(&mut reader, &keys, &webhook)
            .await
            .map_err(Problem::from)?;
        let progress = webhooks::find_progress(&mut reader, organization, &webhook).await?;
        let catalog = session.app.catalogs.current(&mut reader, organization).await?;
        let node = WebhookNode {
            id: webhook.id.0.into(),
            partition: catalog.partition_key(webhook.partition).unwrap_or_default().to_owned(),
            created_at: Date(webhook.created_at),
            failures: progress.map_or(0, |progress| progress.failures),
            url: opened.url.clone(),
        };
        Ok((node, opened.secret().to_string()))
    }
}

/// All webhooks for changes.
#[derive(SimpleObject)]
struct PreferenceChangeWebhooksPayload {
    /// Each of them.
    nodes: Vec<WebhookNode>,
}

/// The webhook that was made.
#[derive(SimpleObject)]
struct CreatePreferenceChangeWebhookPayload {
    /// What it is like.
    preference_change_webhook: WebhookNode,
    /// What its receiver checks signatures with. It is not shown again.
    secret: String,
}
