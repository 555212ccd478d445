//! The closing record: what each silo was asked and answered in a request that is over, with what proves it.
//!
//! It is made of rows that are there anyway and stay when the person's data is destroyed: how the request stands and its
//! runs, which name nobody. The digest of each phase's answers is kept, and written to the audit log, in the transaction that
//! ended the phase; a record whose rows were changed since shows that.

use antumbra_crypto::index::IndexKey;
use antumbra_store::Reader;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::model::{Answer, Contradiction, DataPointAnswer, Profile, Proof, Resolution, RunId, RunStatus, SiloRun};
use crate::{
    audit::{Actor, Digest},
    dsr::{DsrHead, DsrId, DsrIdentifier, DsrStatus, Phase},
    keyring::{KeyKind, KeyringError, OrganizationKeys},
    organization::Action,
};

/// The form in which records are written and hashed.
pub(super) const VERSION: u32 = 1;

/// What stands for the identifiers of one request: digests under its own key, and so noise once that is destroyed.
pub(super) struct Digests(Option<IndexKey>);

impl Digests {
    pub(super) async fn of_request(
        reader: &mut Reader,
        keys: &OrganizationKeys,
        request: DsrId,
    ) -> Result<Digests, KeyringError> {
        let key = keys.find_key(reader, KeyKind::Request, request.0).await?;
        Ok(Digests(key.as_ref().map(IndexKey::new)))
    }

    /// Digests under no key, which is none at all: for rules that are tried without a store.
    #[cfg(test)]
    pub(super) const NONE: Digests = Digests(None);

    /// What stands for the value of an identifier.
    pub(super) fn of(&self, identifier: &DsrIdentifier) -> Option<Digest> {
        let key = self.0.as_ref()?;
        let parts: [&[u8]; 3] = [
            b"closing-record",
            identifier.name.as_bytes(),
            identifier.value.as_bytes(),
        ];
        Some(Digest::of(&key.blind(&parts)))
    }
}

/// What stands for everything that these runs of one phase were asked and answered.
pub(super) fn digest_of(runs: &[SiloRun]) -> Digest {
    let mut runs: Vec<ClosedRun> = runs.iter().map(ClosedRun::of).collect();
    runs.sort_by_key(|run| run.run);
    Digest::of(canonical(&runs).as_bytes())
}

/// JSON without spaces, members in the order of the types.
fn canonical(what: &impl Serialize) -> String {
    serde_json::to_string(what).expect("ids, numbers and words have a form in JSON")
}

/// What is known of how a request ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClosingRecord {
    version: u32,
    request_id: DsrId,
    r#type: Action,
    status: DsrStatus,
    /// How often it had begun again.
    round: u32,
    created_at: Timestamp,
    ended_at: Option<Timestamp>,
    phases: Vec<ClosedPhase>,
}

/// One phase of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedPhase {
    phase: &'static str,
    r#type: Action,
    /// The hash of what was planned as the silos were asked; none where none was kept.
    plan_hash: Option<Digest>,
    begun_at: Option<Timestamp>,
    approval: Option<ClosedApproval>,
    answered_at: Option<Timestamp>,
    /// What stood for the answers when the last of them came.
    answers_hash: Option<Digest>,
    /// Whether the answers below are still those.
    is_intact: Option<bool>,
    data_silos: Vec<ClosedRun>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedApproval {
    /// The hash of the whole plan that was approved.
    plan_hash: Digest,
    by: Person,
    at: Timestamp,
}

/// One silo's part.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedRun {
    run: RunId,
    data_silo_id: Uuid,
    r#type: Action,
    status: RunStatus,
    /// The request left the phase before the silo was done.
    is_abandoned: bool,
    /// The erasure after which this asks whether anything is left.
    confirms: Option<RunId>,
    contradiction: Option<ClosedContradiction>,
    profiles: Vec<ClosedProfile>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedContradiction {
    at: Timestamp,
    /// `ERASED_AGAIN` or `ACCEPTED`.
    resolution: Option<&'static str>,
    resolved_by: Option<Person>,
    resolved_at: Option<Timestamp>,
    erased_again_in: Option<RunId>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedProfile {
    id: Uuid,
    /// The identifier's name.
    identifier: String,
    /// What stands for its value.
    digest: Option<Digest>,
    status: RunStatus,
    asked_at: Option<Timestamp>,
    answered_at: Option<Timestamp>,
    proof: Option<ClosedProof>,
    data_points: Vec<ClosedPoint>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
enum ClosedProof {
    Report { api_key_id: Uuid, body: Digest },
    Link { body: Digest },
    Reply { http_status: u16 },
    Decision { by: Person },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClosedPoint {
    id: Uuid,
    answer: &'static str,
    files: u32,
    answered_at: Option<Timestamp>,
}

/// Who did something: a kind, and an id where the kind has one.
#[derive(Debug, Serialize)]
struct Person {
    kind: &'static str,
    id: Option<Uuid>,
}

impl ClosingRecord {
    /// The record of a request, from its runs of the present round.
    pub(super) fn of(head: &DsrHead, runs: &[SiloRun]) -> ClosingRecord {
        let has = |phase: Phase| phase == Phase::Primary || head.rules.delay.is_some();
        let phases = [Phase::Primary, Phase::Secondary]
            .into_iter()
            .filter(|phase| has(*phase));
        ClosingRecord {
            version: VERSION,
            request_id: head.id,
            r#type: head.action(),
            status: head.state.status(),
            round: head.round,
            created_at: head.created_at,
            ended_at: head.over_since(),
            phases: phases.map(|phase| ClosedPhase::of(head, phase, runs)).collect(),
        }
    }

    /// As it is hashed and shown.
    pub(super) fn to_json(&self) -> String {
        canonical(self)
    }
}

impl ClosedPhase {
    fn of(head: &DsrHead, phase: Phase, runs: &[SiloRun]) -> ClosedPhase {
        let is_of = |run: &&SiloRun| run.phase == phase && run.round == head.round;
        let runs: Vec<SiloRun> = runs.iter().filter(is_of).cloned().collect();
        let made = head.plan.made_of(phase);
        let answered = made.and_then(|made| made.answered);
        let approved = head.plan.approval_of(phase);
        ClosedPhase {
            phase: match phase {
                Phase::Primary => "PRIMARY",
                Phase::Secondary => "SECONDARY",
            },
            r#type: head.rules.action_in(phase),
            plan_hash: made.map(|made| made.hash),
            begun_at: made.map(|made| made.at),
            approval: approved.map(|approved| ClosedApproval {
                plan_hash: approved.plan,
                by: approved.by.into(),
                at: approved.at,
            }),
            answered_at: answered.map(|answered| answered.at),
            answers_hash: answered.map(|answered| answered.digest),
            is_intact: answered.map(|answered| answered.digest == digest_of(&runs)),
            data_silos: runs.iter().map(ClosedRun::of).collect(),
        }
    }
}

impl ClosedRun {
    fn of(run: &SiloRun) -> ClosedRun {
        ClosedRun {
            run: run.id,
            data_silo_id: run.silo.0,
            r#type: run.action,
            status: run.status(),
            is_abandoned: run.abandoned,
            confirms: run.confirms,
            contradiction: run.contradiction.as_ref().map(ClosedContradiction::of),
            profiles: run.profiles.iter().map(ClosedProfile::of).collect(),
        }
    }
}

impl ClosedContradiction {
    fn of(found: &Contradiction) -> ClosedContradiction {
        let (resolution, by, at, run) = match &found.resolved {
            None => (None, None, None, None),
            Some(Resolution::ErasedAgain { run, by, at }) => (Some("ERASED_AGAIN"), Some(*by), Some(*at), Some(*run)),
            Some(Resolution::Accepted { by, at, .. }) => (Some("ACCEPTED"), Some(*by), Some(*at), None),
        };
        ClosedContradiction {
            at: found.at,
            resolution,
            resolved_by: by.map(Person::from),
            resolved_at: at,
            erased_again_in: run,
        }
    }
}

impl ClosedProfile {
    fn of(profile: &Profile) -> ClosedProfile {
        ClosedProfile {
            id: profile.id.0,
            identifier: profile.name.clone(),
            digest: profile.digest,
            status: profile.status,
            asked_at: profile.asked_at,
            answered_at: profile.answered_at,
            proof: profile.proof.map(|proof| match proof {
                Proof::Report { key, body } => ClosedProof::Report { api_key_id: key, body },
                Proof::Link { body } => ClosedProof::Link { body },
                Proof::Reply { status } => ClosedProof::Reply { http_status: status },
                Proof::Decision { by } => ClosedProof::Decision { by: by.into() },
            }),
            data_points: profile.data_points.iter().map(ClosedPoint::of).collect(),
        }
    }
}

impl ClosedPoint {
    fn of(point: &DataPointAnswer) -> ClosedPoint {
        ClosedPoint {
            id: point.id.0,
            answer: match point.answer {
                Answer::Awaited => "AWAITED",
                Answer::Partial => "PARTIAL",
                Answer::Data => "DATA",
                Answer::NoData => "NO_DATA",
                Answer::Skipped => "SKIPPED",
                Answer::SkippedDueToException => "SKIPPED_DUE_TO_EXCEPTION",
            },
            files: point.files,
            answered_at: point.answered_at,
        }
    }
}

impl From<Actor> for Person {
    fn from(actor: Actor) -> Person {
        let (kind, id) = match actor {
            Actor::ApiKey(id) => ("API_KEY", Some(id)),
            Actor::DataSilo(id) => ("DATA_SILO", Some(id)),
            Actor::ConsentToken(id) => ("CONSENT_TOKEN", Some(id)),
            Actor::AccessToken(id) => ("ACCESS_TOKEN", Some(id)),
            Actor::DataSubject(id) => ("DATA_SUBJECT", Some(id)),
            Actor::Anyone => ("ANYONE", None),
            Actor::Operator => ("OPERATOR", None),
            Actor::System => ("SYSTEM", None),
        };
        Person { kind, id }
    }
}
