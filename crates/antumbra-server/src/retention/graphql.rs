//! The part of the management API that is about retention.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{CLEAR, shred};
use crate::{
    dsr::{
        self, DsrId,
        graphql::{RequestNode, refusal},
    },
    graphql::{Refusal, Session, parse_id},
    organization::{Changes, Days, Retention, RetentionKind, graphql::nodes::RetentionNode},
};

/// What people do about requests that are over.
#[derive(Default)]
pub(crate) struct RetentionMutations;

#[Object]
impl RetentionMutations {
    /// Says what becomes of requests that have been over for long.
    async fn update_retention(
        &self,
        context: &Context<'_>,
        input: UpdateRetentionInput,
    ) -> Result<UpdateRetentionPayload, Refusal> {
        let session = Session::of(context);
        let mut changed = session.settings().await?.organization.clone();
        let retention = Retention {
            kind: input.kind.unwrap_or(changed.retention.kind),
            after: match input.after_days {
                Some(days) => Days(u16::try_from(days).unwrap_or(if days < 0 { 0 } else { u16::MAX })),
                None => changed.retention.after,
            },
        };
        retention
            .check()
            .map_err(|error| Refusal::client(format!("afterDays {error}")))?;
        changed.retention = retention;
        let mut tx = session.write().await;
        let mut changes = Changes {
            tx: &mut tx,
            ids: &session.app.ids,
            organization: session.organization(),
            actor: session.actor(),
            at: session.now,
        };
        changes.save_organization(&changed);
        Ok(UpdateRetentionPayload {
            retention: retention.into(),
            client_mutation_id: None,
        })
    }

    /// Deletes everything about the person from a request that is over, at once and for good: its key is destroyed. What was
    /// demanded, when and how it ended stays.
    async fn shred_request(
        &self,
        context: &Context<'_>,
        input: ShredRequestInput,
    ) -> Result<ShredRequestPayload, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let id = DsrId(parse_id(&input.id, "request")?);
        let mut tx = session.write().await;
        shred(&mut tx, &session.app, &session.deed(), id, &CLEAR)
            .await
            .map_err(refusal)?;
        let request = dsr::get(&mut tx, &keys, id).await.map_err(refusal)?;
        Ok(ShredRequestPayload {
            request: RequestNode(request),
            client_mutation_id: None,
        })
    }
}

/// What becomes of requests that have been over for long; what is not given stays.
#[derive(InputObject)]
struct UpdateRetentionInput {
    /// What is removed of them.
    kind: Option<RetentionKind>,
    /// Days that they have been over by then.
    after_days: Option<i32>,
}

/// What is kept for how long from now on.
#[derive(SimpleObject)]
struct UpdateRetentionPayload {
    /// It.
    retention: RetentionNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// The request to take everything personal from.
#[derive(InputObject)]
struct ShredRequestInput {
    /// It.
    id: ID,
}

/// Everything personal is gone from it.
#[derive(SimpleObject)]
struct ShredRequestPayload {
    /// What is left.
    request: RequestNode,
    /// Always null.
    client_mutation_id: Option<String>,
}
