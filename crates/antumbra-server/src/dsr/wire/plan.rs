//! The plan of a request, as its answer shows it.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    audit::{Actor, Digest},
    dsr::{
        model::{Dsr, DsrId, DsrIdentifier},
        plan::{self, Configured, Connection, Part, PhasePlan, PlannedPoint, Reason, UnaskedReason},
        state::{DsrStatus, Phase},
    },
    organization::{Action, IdentifierKind},
    silos::{DataPoint, DataSiloId},
};

/// What will be asked of which data silo, before anything is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Plan {
    request_id: Uuid,
    #[schema(value_type = String, example = "WAITING")]
    status: DsrStatus,
    /// SHA-256 over everything that is planned: the same plan has the same hash, whenever it is asked for.
    #[schema(value_type = String, example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    hash: Digest,
    /// The form in which plans are hashed.
    version: u32,
    /// The request is parked until somebody approves its plan.
    waits_for_approval: bool,
    /// What will be done, in the order in which it begins. Phases whose silos have been asked are no longer planned.
    phases: Vec<PlannedPhase>,
}

/// What will be done in one phase.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlannedPhase {
    /// `PRIMARY`, or after a delay `SECONDARY`.
    phase: &'static str,
    #[schema(value_type = String, example = "ERASURE")]
    r#type: Action,
    /// Seconds that pass before it: the waiting period, or the delay after the phase before.
    wait_seconds: i64,
    /// The person is on legal hold: nothing is erased while that stands.
    is_held: bool,
    /// It is left out if the phase before finds no data.
    only_after_data: bool,
    /// A person reviews what it brings.
    is_reviewed: bool,
    /// It does not begin before its plan is approved.
    needs_approval: bool,
    /// Who approved it, if it is still what they approved.
    approval: Option<PlanApproval>,
    /// The silos that will be asked.
    data_silos: Vec<PlannedSilo>,
    /// The silos that will not.
    excluded: Vec<ExcludedSilo>,
    /// Identifiers that no silo will be asked about.
    excluded_identifiers: Vec<ExcludedIdentifier>,
}

/// That somebody approved what is planned.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlanApproval {
    /// The API key; null where it was no API key.
    api_key_id: Option<Uuid>,
    #[schema(value_type = String, format = "date-time")]
    approved_at: Timestamp,
}

/// What one silo will be asked.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlannedSilo {
    id: Uuid,
    title: String,
    /// `NOTICED`, `COMES_FOR_WORK`, or `DISCONNECTED`: it has no way to learn of it, and the request will wait for it.
    #[schema(value_type = String, example = "NOTICED")]
    connection: Connection,
    /// It learns of it only when it is resumed.
    is_paused: bool,
    /// It is reminded of it after so many days, where it is a person's work.
    reminded_after_days: Option<u32>,
    /// Once it says that it has erased, it is asked whether anything is left.
    confirms_absence: bool,
    /// Silos that are to finish first.
    waits_for: Vec<Uuid>,
    /// What it will be asked about.
    identifiers: Vec<PlannedIdentifier>,
    /// What is in it.
    data_points: Vec<PlannedDataPoint>,
}

/// An identifier that a silo will be asked about. Its value is for `POST /v1/request-identifiers`.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlannedIdentifier {
    id: Uuid,
    name: String,
    #[schema(value_type = String, example = "email")]
    r#type: IdentifierKind,
}

/// A data point of a silo that will be asked.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PlannedDataPoint {
    id: Uuid,
    name: String,
    /// Whether it takes part.
    is_included: bool,
    /// `ACTION_NOT_TAKEN` where it does not.
    reason: Option<&'static str>,
}

/// A silo that will not be asked.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExcludedSilo {
    id: Uuid,
    title: String,
    /// `NOT_LIVE`, `NOT_CHOSEN`, `SUBJECT_TYPE_BLOCKED`, `ACTION_NOT_TAKEN`, `NO_IDENTIFIER` or `LEGAL_HOLD`.
    #[schema(value_type = String, example = "NO_IDENTIFIER")]
    reason: Reason,
}

/// An identifier that no silo will be asked about.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExcludedIdentifier {
    id: Uuid,
    name: String,
    /// `NOT_VERIFIED` or `NO_SILO_TAKES_IT`.
    #[schema(value_type = String, example = "NOT_VERIFIED")]
    reason: UnaskedReason,
}

impl Plan {
    /// The answer: what `planned` says of `dsr`, in the words of the silos as they are `configured`.
    pub(crate) fn new(dsr: &Dsr, planned: &plan::Plan, configured: &Configured<'_>) -> Plan {
        let words = Words {
            titles: configured
                .silos
                .iter()
                .map(|silo| (silo.id, silo.title.as_str()))
                .collect(),
            points: configured
                .points
                .values()
                .flatten()
                .map(|point| (point.id.0, point))
                .collect(),
            identifiers: dsr.subject.identifiers.iter().map(|known| (known.id, known)).collect(),
        };
        let DsrId(request_id) = dsr.head.id;
        Plan {
            request_id,
            status: dsr.head.state.status(),
            hash: planned.hash(),
            version: plan::VERSION,
            waits_for_approval: dsr.head.plan.is_stopped,
            phases: planned.phases.iter().map(|phase| words.phase(dsr, phase)).collect(),
        }
    }
}

/// What the ids of a plan stand for.
struct Words<'a> {
    titles: HashMap<DataSiloId, &'a str>,
    points: HashMap<Uuid, &'a DataPoint>,
    identifiers: HashMap<Uuid, &'a DsrIdentifier>,
}

impl Words<'_> {
    fn phase(&self, dsr: &Dsr, planned: &PhasePlan) -> PlannedPhase {
        let approval = dsr.head.plan.approval_of(planned.phase);
        let approval = approval.filter(|approved| approved.hash == planned.hash());
        let (asked, passed_over): (Vec<&Part>, Vec<&Part>) = planned
            .parts
            .iter()
            .partition(|part| !planned.is_held && !part.identifiers.is_empty());
        let left_out = planned.left_out.iter().map(|left_out| (left_out.silo, left_out.reason));
        let unfit = passed_over.iter().map(|part| match part.identifiers.is_empty() {
            true => (part.silo, Reason::NoIdentifier),
            false => (part.silo, Reason::LegalHold),
        });
        PlannedPhase {
            phase: phase_word(planned.phase),
            r#type: planned.action,
            wait_seconds: planned.wait_seconds,
            is_held: planned.is_held,
            only_after_data: planned.only_after_data,
            is_reviewed: planned.is_reviewed,
            needs_approval: dsr.head.rules.needs_approved_plan(planned.phase),
            approval: approval.map(|approved| PlanApproval {
                api_key_id: match approved.by {
                    Actor::ApiKey(key) => Some(key),
                    _ => None,
                },
                approved_at: approved.at,
            }),
            data_silos: asked.into_iter().map(|part| self.silo(part)).collect(),
            excluded: left_out
                .chain(unfit)
                .map(|(silo, reason)| ExcludedSilo {
                    id: silo.0,
                    title: self.title(silo),
                    reason,
                })
                .collect(),
            excluded_identifiers: planned
                .unasked
                .iter()
                .map(|unasked| ExcludedIdentifier {
                    id: unasked.id,
                    name: unasked.name.clone(),
                    reason: unasked.reason,
                })
                .collect(),
        }
    }

    fn silo(&self, part: &Part) -> PlannedSilo {
        let identifiers = part
            .identifiers
            .iter()
            .filter_map(|asked| self.identifiers.get(&asked.id));
        PlannedSilo {
            id: part.silo.0,
            title: self.title(part.silo),
            connection: part.connection,
            is_paused: part.is_paused,
            reminded_after_days: part.manual_days,
            confirms_absence: part.confirms_absence,
            waits_for: part.waits_for.iter().map(|silo| silo.0).collect(),
            identifiers: identifiers
                .map(|known| PlannedIdentifier {
                    id: known.id,
                    name: known.name.clone(),
                    r#type: known.kind,
                })
                .collect(),
            data_points: part.data_points.iter().filter_map(|point| self.point(*point)).collect(),
        }
    }

    fn point(&self, planned: PlannedPoint) -> Option<PlannedDataPoint> {
        Some(PlannedDataPoint {
            id: planned.id.0,
            name: self.points.get(&planned.id.0)?.name.clone(),
            is_included: planned.takes_part,
            reason: (!planned.takes_part).then_some("ACTION_NOT_TAKEN"),
        })
    }

    fn title(&self, silo: DataSiloId) -> String {
        self.titles.get(&silo).copied().unwrap_or_default().to_owned()
    }
}

/// What a phase is called in answers.
const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Primary => "PRIMARY",
        Phase::Secondary => "SECONDARY",
    }
}
