//! Plans with the management API: what lies ahead is approved, or begins at once.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{
    super::{DsrId, begin_early, plan::approve_plan},
    ApproveRequestPayload, RequestNode, opened, read_hash, refusal,
};
use crate::graphql::{Refusal, Session, parse_id};

/// What people do about what lies ahead of a request.
#[derive(Default)]
pub(crate) struct PlanMutations;

#[Object]
impl PlanMutations {
    /// Approves what is planned for a request, by the hash of `POST /v1/data-subject-request/{id}/plan`. One that was parked
    /// because its plan waits for approval goes on. Ours.
    async fn approve_request_plan(
        &self,
        context: &Context<'_>,
        input: ApproveRequestPlanInput,
    ) -> Result<ApproveRequestPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.request_id, "request")?);
        let hash = read_hash(&input.plan_hash)?;
        let keys = session.keys().await?;
        let head = approve_plan(&mut *session.write().await, &keys, &session.deed(), id, hash)
            .await
            .map_err(refusal)?;
        Ok(ApproveRequestPayload {
            request: opened(session, &head).await?,
            client_mutation_id: None,
        })
    }

    /// Lets what comes next begin now, before the waiting period of a request or the delay of its second phase is over. With
    /// `planHash` (ours) it does so only if what is planned has that hash, which is approved with it.
    async fn compile_request(
        &self,
        context: &Context<'_>,
        input: CompileRequestInput,
    ) -> Result<CompileRequestPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.request_id, "request")?);
        let hash = input.plan_hash.as_deref().map(read_hash).transpose()?;
        let keys = session.keys().await?;
        let head = {
            let mut tx = session.write().await;
            if let Some(hash) = hash {
                let approved = approve_plan(&mut tx, &keys, &session.deed(), id, hash).await;
                approved.map_err(refusal)?;
            }
            begin_early(&mut tx, &session.deed(), id).await.map_err(refusal)?
        };
        Ok(CompileRequestPayload {
            request: opened(session, &head).await?,
            client_mutation_id: None,
        })
    }
}

/// A request that is not to wait any longer.
#[derive(InputObject)]
struct CompileRequestInput {
    /// Which request.
    request_id: ID,
    /// The hash of its plan.
    plan_hash: Option<String>,
}

/// The plan of a request, which somebody approves.
#[derive(InputObject)]
struct ApproveRequestPlanInput {
    /// Which request.
    request_id: ID,
    /// The hash of its plan.
    plan_hash: String,
}

/// A request does not wait any longer.
#[derive(SimpleObject)]
struct CompileRequestPayload {
    /// It.
    request: RequestNode,
    /// Always null.
    client_mutation_id: Option<String>,
}
