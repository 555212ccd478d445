//! Plans over a transaction: drawing them, approving them, and beginning a phase by them.

use antumbra_store::{Reader, StoreError, Tx};

use super::{Answered, Approved, Configured, Made, PhasePlan, Plan};
use crate::{
    audit::{Detail, Digest},
    dsr::{
        self, Deed, Dsr, DsrError, DsrEvent, DsrHead, DsrId, DsrState, Phase, advance, approve, change::record, holds,
        store,
    },
    keyring::OrganizationKeys,
    organization::Action,
    silos,
};

/// What is planned for a request as everything is configured now.
pub(in crate::dsr) async fn draw(
    reader: &mut Reader,
    dsr: &Dsr,
    configured: &Configured<'_>,
) -> Result<Plan, StoreError> {
    let mut phases = Vec::new();
    for phase in dsr.head.phases_ahead() {
        phases.push(draw_phase(reader, dsr, phase, configured).await?);
    }
    Ok(Plan { phases })
}

/// What is planned for one phase of a request.
pub async fn draw_phase(
    reader: &mut Reader,
    dsr: &Dsr,
    phase: Phase,
    configured: &Configured<'_>,
) -> Result<PhasePlan, StoreError> {
    let erases = dsr.head.rules.action_in(phase) == Action::Erasure;
    let is_held = erases && holds::is_held(reader, configured.organization, &dsr.head).await?;
    Ok(PhasePlan::draw(dsr, phase, configured, is_held))
}

/// Approves what is planned for a request, if its hash is `hash`. One that was parked because its plan waits for approval
/// goes on.
///
/// Fails with [`DsrError::PlanDiffers`], having written nothing, if the plan has another hash by now.
pub async fn approve_plan(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    hash: Digest,
) -> Result<DsrHead, DsrError> {
    let dsr = dsr::get(tx, keys, id).await?;
    if !dsr.head.state.is_open() {
        return Err(DsrError::Ended(dsr.head.state.status()));
    }
    let head = bind(tx, deed, &dsr, hash).await?;
    if !dsr.head.plan.is_stopped {
        return Ok(head);
    }
    match head.state {
        DsrState::OnHold { .. } => advance(tx, deed, id, DsrEvent::Resumed).await,
        _ => Ok(head),
    }
}

/// Approves what a phase brought, as [`approve`] does. With `hash`, only if what is planned from here on has that hash.
pub async fn approve_bound(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    id: DsrId,
    hash: Option<Digest>,
) -> Result<DsrHead, DsrError> {
    if let Some(hash) = hash {
        let dsr = dsr::get(tx, keys, id).await?;
        if !matches!(
            dsr.head.state,
            DsrState::Approving { .. } | DsrState::SecondaryApproving
        ) {
            return Err(DsrError::NotApproving(dsr.head.state.status()));
        }
        bind(tx, deed, &dsr, hash).await?;
    }
    approve(tx, deed, id).await
}

/// Keeps that `hash` was approved of everything that lies ahead.
async fn bind(tx: &mut Tx, deed: &Deed<'_>, dsr: &Dsr, hash: Digest) -> Result<DsrHead, DsrError> {
    let silos = silos::list_silos(tx, deed.organization).await?;
    let configured = Configured::read(tx, deed.organization, &silos).await?;
    let plan = draw(tx, dsr, &configured).await?;
    let now = plan.hash();
    if now != hash {
        return Err(DsrError::PlanDiffers { now });
    }
    let mut head = dsr.head.clone();
    for phase in &plan.phases {
        head.plan.approved.retain(|approved| approved.phase != phase.phase);
        head.plan.approved.push(Approved {
            phase: phase.phase,
            hash: phase.hash(),
            plan: hash,
            by: deed.by,
            at: deed.now,
        });
    }
    head.plan.is_stopped = false;
    head.updated_at = deed.now;
    store::replace(tx, deed.organization, &dsr.head, &head);
    let phases = Detail::Count(plan.phases.len() as u64);
    let details = vec![("phases", phases), ("plan", hash.into())];
    record(tx, deed, head.id, "dsr.plan_approved", details);
    Ok(head)
}

/// Whether a phase begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// The silos are asked what is planned.
    Begun,
    /// The plan is not what was approved, or nobody approved it and somebody has to: the request is parked.
    Parked,
}

/// Lets a phase begin as planned, and keeps that it did; or parks the request, where the plan has to be approved anew.
pub async fn begin_phase(tx: &mut Tx, deed: &Deed<'_>, before: &DsrHead, plan: &PhasePlan) -> Result<Begun, DsrError> {
    let hash = plan.hash();
    let parked_because = match before.plan.approval_of(plan.phase) {
        Some(approved) if approved.hash != hash => Some("dsr.stopped_by_changed_plan"),
        None if before.rules.needs_approved_plan(plan.phase) => Some("dsr.stopped_for_plan_approval"),
        Some(_) | None => None,
    };
    let mut head = before.clone();
    match parked_because {
        None => head.plan.made.push(Made {
            phase: plan.phase,
            hash,
            at: deed.now,
            answered: None,
        }),
        Some(_) => head.plan.is_stopped = true,
    }
    store::replace(tx, deed.organization, before, &head);
    let Some(why) = parked_because else {
        return Ok(Begun::Begun);
    };
    record(tx, deed, head.id, why, vec![("plan", hash.into())]);
    advance(tx, deed, head.id, DsrEvent::Held).await?;
    Ok(Begun::Parked)
}

/// Keeps what stands for the answers of a phase whose silos have all answered.
pub async fn phase_answered(
    tx: &mut Tx,
    deed: &Deed<'_>,
    id: DsrId,
    phase: Phase,
    digest: Digest,
) -> Result<(), DsrError> {
    let before = dsr::get_head(tx, deed.organization, id).await?;
    let mut head = before.clone();
    if let Some(made) = head.plan.made.iter_mut().find(|made| made.phase == phase) {
        made.answered = Some(Answered { digest, at: deed.now });
        store::replace(tx, deed.organization, &before, &head);
    }
    record(tx, deed, id, "dsr.answered", vec![("answers", digest.into())]);
    Ok(())
}
