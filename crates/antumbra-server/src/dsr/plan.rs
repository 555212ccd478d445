//! The plan of a request: what each data silo will be asked, about which identifiers, and which silos are left out and why.
//!
//! [`PhasePlan::draw`] is pure. The silo runs of a phase are made from what it says and from nothing else, so that what was
//! looked at beforehand and what is done cannot drift apart. Its hash covers all of it: whoever approves a hash approves
//! exactly this, and a request whose plan has changed since is parked where it would begin (`keep.rs`). A plan names nobody;
//! identifiers stand in it by name and id.

mod keep;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};

use antumbra_store::{Reader, StoreError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(super) use keep::draw;
pub use keep::{Begun, approve_bound, approve_plan, begin_phase, draw_phase, phase_answered};

use super::{
    model::{Dsr, DsrHead, DsrId, DsrIdentifier},
    state::{DsrState, Phase},
};
use crate::{
    audit::{Actor, Digest},
    organization::{self, Action, OrganizationId},
    silos::{self, DataPoint, DataPointId, DataSilo, DataSiloId},
};

/// The form in which plans are hashed. A plan of another form has another hash.
pub(super) const VERSION: u32 = 1;

/// What is planned for a request: its phases that have not begun yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they begin.
    pub phases: Vec<PhasePlan>,
}

/// What is planned for one phase of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PhasePlan {
    /// Of which request.
    pub request: DsrId,
    /// Of which of its rounds.
    pub round: u32,
    /// Which phase.
    pub phase: Phase,
    /// What the silos will be asked to do.
    pub action: Action,
    /// Seconds that pass before it: the waiting period, or the delay after the phase before.
    pub wait_seconds: i64,
    /// It erases what must be kept: nothing is asked while the legal hold stands.
    pub is_held: bool,
    /// It is left out if the phase before finds no data.
    pub only_after_data: bool,
    /// A person reviews what it brings.
    pub is_reviewed: bool,
    /// The silos that take part, by id.
    pub parts: Vec<Part>,
    /// The silos that do not, by id.
    pub left_out: Vec<LeftOut>,
    /// Identifiers of the request that no silo is asked about, by id.
    pub unasked: Vec<Unasked>,
}

/// One silo's part in a phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Which silo.
    pub silo: DataSiloId,
    /// What it is asked about. None: it looks people up by nothing that the request has, and is passed over.
    pub identifiers: Vec<AskedIdentifier>,
    /// Its data points, by id.
    pub data_points: Vec<PlannedPoint>,
    /// Silos that are to finish first, by id.
    pub waits_for: Vec<DataSiloId>,
    /// How it learns of its work.
    pub connection: Connection,
    /// It is left alone until somebody resumes it.
    pub is_paused: bool,
    /// A person's work, who is reminded of it after so many days.
    pub manual_days: Option<u32>,
    /// Once it says that it has erased, it is asked whether anything is left.
    pub confirms_absence: bool,
}

/// An identifier that a silo is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AskedIdentifier {
    /// Its id in the request.
    pub id: Uuid,
    /// Its name.
    pub name: String,
}

/// A data point of a silo that takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedPoint {
    /// Which.
    pub id: DataPointId,
    /// Whether it does what is asked. One that does not is left out.
    pub takes_part: bool,
}

/// How a silo learns of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Connection {
    /// Notices are sent to it.
    Noticed,
    /// It comes for its work itself.
    ComesForWork,
    /// It is of the kind `server` and has no url: nothing reaches it, and the request waits for it.
    Disconnected,
}

/// A silo that does not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Which.
    pub silo: DataSiloId,
    /// Why not.
    pub reason: Reason,
}

/// Why a silo does not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// It is not live, and the request is no test.
    NotLive,
    /// The request names the silos it is for, or those it is not for.
    NotChosen,
    /// It holds nothing about this kind of data subject.
    SubjectTypeBlocked,
    /// Neither it nor its data points do what is asked.
    ActionNotTaken,
    /// None of the identifiers it looks people up by is a verified one of the request.
    NoIdentifier,
    /// The person is on legal hold.
    LegalHold,
}

/// An identifier that no silo is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unasked {
    /// Its id in the request.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Why not.
    pub reason: UnaskedReason,
}

/// Why no silo is asked about an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnaskedReason {
    /// Nobody has verified it yet.
    NotVerified,
    /// No silo that takes part looks people up by it.
    NoSiloTakesIt,
}

/// The silos of an organization, and what is in them.
pub struct Configured<'a> {
    /// Whose they are.
    pub organization: OrganizationId,
    /// The silos.
    pub silos: &'a [DataSilo],
    /// The data points of each.
    pub points: HashMap<DataSiloId, Vec<DataPoint>>,
    /// The workflow of each action, if any silo's place in the order depends on it.
    pub workflows: HashMap<Action, Uuid>,
}

impl<'a> Configured<'a> {
    /// With `silos` at hand, reads what is in them.
    pub async fn read(
        reader: &mut Reader,
        organization: OrganizationId,
        silos: &'a [DataSilo],
    ) -> Result<Configured<'a>, StoreError> {
        let mut points: HashMap<DataSiloId, Vec<DataPoint>> = HashMap::new();
        for point in silos::list_all_data_points(reader, organization).await? {
            points.entry(point.silo).or_default().push(point);
        }
        let depends = silos.iter().any(|silo| !silo.depends_on_in_workflow.is_empty());
        let workflows = match depends {
            true => organization::workflows(reader, organization).await?,
            false => HashMap::new(),
        };
        Ok(Configured {
            organization,
            silos,
            points,
            workflows,
        })
    }
}

impl Plan {
    /// What stands for all of it.
    pub fn hash(&self) -> Digest {
        let phases: Vec<Digest> = self.phases.iter().map(PhasePlan::hash).collect();
        digest("antumbra plan", &phases)
    }
}

impl PhasePlan {
    /// What is planned for `phase` of `dsr`, with the silos as they are configured now.
    pub fn draw(dsr: &Dsr, phase: Phase, configured: &Configured<'_>, is_held: bool) -> PhasePlan {
        let (head, rules) = (&dsr.head, &dsr.head.rules);
        let action = rules.action_in(phase);
        let (mut parts, mut left_out) = (Vec::new(), Vec::new());
        for silo in configured.silos {
            let points = configured.points.get(&silo.id).map_or(&[][..], Vec::as_slice);
            match reason_against(head, silo, action, points) {
                Some(reason) => left_out.push(LeftOut { silo: silo.id, reason }),
                None => parts.push(Part::draw(silo, points, action, &dsr.subject.identifiers)),
            }
        }
        parts.sort_by_key(|part| part.silo);
        left_out.sort_by_key(|left_out| left_out.silo);
        if action == Action::Erasure {
            let workflow = configured.workflows.get(&head.action()).copied();
            order(&mut parts, configured.silos, workflow);
        }
        let asked: HashSet<Uuid> = parts
            .iter()
            .flat_map(|part| part.identifiers.iter().map(|asked| asked.id))
            .collect();
        let unasked = dsr
            .subject
            .identifiers
            .iter()
            .filter(|known| !asked.contains(&known.id));
        let mut unasked: Vec<Unasked> = unasked
            .map(|known| Unasked {
                id: known.id,
                name: known.name.clone(),
                reason: match known.verified_at {
                    None => UnaskedReason::NotVerified,
                    Some(_) => UnaskedReason::NoSiloTakesIt,
                },
            })
            .collect();
        unasked.sort_by_key(|unasked| unasked.id);
        let wait = match phase {
            Phase::Primary => rules.waiting,
            Phase::Secondary => rules.delay.map(|delay| delay.time).unwrap_or_default(),
        };
        PhasePlan {
            request: head.id,
            round: head.round,
            phase,
            action,
            wait_seconds: wait.as_secs(),
            is_held: is_held && action == Action::Erasure,
            only_after_data: phase == Phase::Secondary && rules.skip_secondary_if_no_files,
            is_reviewed: match phase {
                Phase::Primary => rules.requires_review,
                Phase::Secondary => rules.requires_secondary_review,
            },
            parts,
            left_out,
            unasked,
        }
    }

    /// What stands for all of it.
    pub fn hash(&self) -> Digest {
        digest("antumbra phase plan", self)
    }

    /// Whether any silo is asked about anything.
    pub fn asks_anybody(&self) -> bool {
        self.parts.iter().any(|part| !part.identifiers.is_empty())
    }
}

impl Part {
    fn draw(silo: &DataSilo, points: &[DataPoint], action: Action, identifiers: &[DsrIdentifier]) -> Part {
        let mut seen = BTreeSet::new();
        let asked = identifiers.iter().filter(|identifier| {
            identifier.verified_at.is_some()
                && silo.identity_keys.contains(&identifier.name)
                && seen.insert((&identifier.name, &identifier.value))
        });
        let does = |point: &DataPoint| point.enabled_actions.contains(&action);
        // Where none names what is asked, the silo is asked as a whole.
        let as_a_whole = action != Action::Access && !points.iter().any(does);
        let mut data_points: Vec<PlannedPoint> = points
            .iter()
            .map(|point| PlannedPoint {
                id: point.id,
                takes_part: as_a_whole || does(point),
            })
            .collect();
        data_points.sort_by_key(|point| point.id);
        Part {
            silo: silo.id,
            identifiers: asked
                .map(|identifier| AskedIdentifier {
                    id: identifier.id,
                    name: identifier.name.clone(),
                })
                .collect(),
            data_points,
            waits_for: Vec::new(),
            connection: match silo.kind.as_str() {
                _ if silo.is_noticed() => Connection::Noticed,
                "server" => Connection::Disconnected,
                _ => Connection::ComesForWork,
            },
            is_paused: silo.is_paused,
            manual_days: silo.manual_days(),
            confirms_absence: action == Action::Erasure && silo.confirms_absence,
        }
    }

    /// The data points that are answered one by one. Only data that is handed over is: anything else a silo does as a whole.
    pub fn answered(&self, action: Action) -> impl Iterator<Item = DataPointId> + '_ {
        let each = self
            .data_points
            .iter()
            .filter(move |point| point.takes_part && action == Action::Access);
        each.map(|point| point.id)
    }
}

/// For erasures: which silo is to finish before which. One that is asked nothing keeps nobody waiting.
fn order(parts: &mut [Part], silos: &[DataSilo], workflow: Option<Uuid>) {
    let asked: BTreeSet<DataSiloId> = parts
        .iter()
        .filter(|part| !part.identifiers.is_empty())
        .map(|part| part.silo)
        .collect();
    for part in parts {
        let silo = silos.iter().find(|silo| silo.id == part.silo);
        let first = silo.into_iter().flat_map(|silo| silo.predecessors(workflow));
        part.waits_for = first
            .filter(|other| *other != part.silo && asked.contains(other))
            .collect();
    }
}

/// Why `silo` takes no part in what `head` demands; nothing if it does.
fn reason_against(head: &DsrHead, silo: &DataSilo, action: Action, points: &[DataPoint]) -> Option<Reason> {
    if !silo.is_live && !head.is_test {
        Some(Reason::NotLive)
    } else if !head.silos.includes(silo.id.0) {
        Some(Reason::NotChosen)
    } else if silo.subject_blocklist.contains(&head.subject_type) {
        Some(Reason::SubjectTypeBlocked)
    } else if !silo.serves(action, points) {
        Some(Reason::ActionNotTaken)
    } else {
        None
    }
}

/// The digest of `what` in its canonical form: JSON without spaces, members in the order of the types, lists in that of ids.
fn digest(domain: &str, what: &impl Serialize) -> Digest {
    let canonical = serde_json::to_string(what).expect("ids, numbers and names have a form in JSON");
    Digest::of(format!("{domain} {VERSION}\n{canonical}").as_bytes())
}

/// What a request remembers of its plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanMarks {
    /// What somebody approved beforehand, of each phase at most one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<Approved>,
    /// What was really made of it, of each phase one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Made>,
    /// The request is parked because its plan waits for approval.
    pub is_stopped: bool,
}

/// A phase of a plan that somebody approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Which phase.
    pub phase: Phase,
    /// The phase's hash.
    pub hash: Digest,
    /// The hash of the whole plan, which they named.
    pub plan: Digest,
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
}

/// A phase of a plan that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Which phase.
    pub phase: Phase,
    /// The hash of what was planned as the silos were asked.
    pub hash: Digest,
    /// When they were.
    pub at: Timestamp,
    /// What stands for everything they answered, once all of them have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<Answered>,
}

/// That all silos of a phase have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The digest of what they were asked and answered.
    pub digest: Digest,
    /// When the last of them did.
    pub at: Timestamp,
}

impl PlanMarks {
    /// The approval of a phase, if there is one.
    pub fn approval_of(&self, phase: Phase) -> Option<&Approved> {
        self.approved.iter().find(|approved| approved.phase == phase)
    }

    /// What was made of a phase, if it has begun.
    pub fn made_of(&self, phase: Phase) -> Option<&Made> {
        self.made.iter().find(|made| made.phase == phase)
    }
}

impl DsrHead {
    /// The phases whose silos have not been asked yet.
    pub fn phases_ahead(&self) -> Vec<Phase> {
        let from = first_ahead(&self.state);
        let has = |phase: &Phase| *phase == Phase::Primary || self.rules.delay.is_some();
        let phases = [Phase::Primary, Phase::Secondary].into_iter();
        phases
            .filter(|phase| has(phase) && from.is_some_and(|from| *phase >= from))
            .filter(|phase| self.plan.made_of(*phase).is_none())
            .collect()
    }
}

/// The first phase that a request which stands so may still begin.
fn first_ahead(state: &DsrState) -> Option<Phase> {
    match state {
        DsrState::RequestMade | DsrState::Enriching | DsrState::Waiting { .. } | DsrState::Compiling => {
            Some(Phase::Primary)
        }
        DsrState::Approving { .. } | DsrState::Delayed { .. } | DsrState::Secondary => Some(Phase::Secondary),
        DsrState::OnHold { held } => first_ahead(held),
        DsrState::SecondaryApproving
        | DsrState::SecondaryCompleted { .. }
        | DsrState::Downloadable { .. }
        | DsrState::ViewCategories { .. }
        | DsrState::Completed { .. }
        | DsrState::Canceled { .. }
        | DsrState::Revoked { .. }
        | DsrState::FailedVerification { .. } => None,
    }
}
