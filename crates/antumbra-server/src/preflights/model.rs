//! A preflight: one run of one enricher for one data subject request, started by one identifier of the person.
//!
//! Pure. [`PreflightState::step`] is the only way from one state to the next; [`applies`], [`decide`] and [`blockers`] say
//! which preflights a request has and what each does. Who is asked and what is written is the business of `jobs.rs`.

use std::{collections::BTreeSet, time::Duration};

use antumbra_store::{Corrupt, Key};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::verification::Verification;
use crate::{
    dsr::{DsrHead, DsrId, DsrIdentifier, PreflightEnd, Region},
    jobs::Waiting,
    organization::{Action, IdentifierKind},
    runs::Windows,
    silos::{Enricher, EnricherId, EnricherKind},
};

/// One run of one enricher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PreflightId(pub Uuid);

impl Key for PreflightId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(PreflightId)
    }
}

/// Preflights of one round of a request at most. What is beyond waits for a person, as the last of them.
pub(super) const PREFLIGHTS_MAX: usize = 200;

/// One run of one enricher for one request. It holds nothing that the data subject is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Which run.
    pub id: PreflightId,
    /// Of which request.
    pub request: DsrId,
    /// In which round of the request; those of an older round are history.
    #[serde(default)]
    pub round: u32,
    /// Of which enricher.
    pub enricher: EnricherId,
    /// How that works.
    pub kind: EnricherKind,
    /// The identifier it starts from, as the request knows it; its value is sealed there. A request has each value once,
    /// so there is one run for each enricher and value.
    pub input: Uuid,
    /// When it was made.
    pub created_at: Timestamp,
    /// How it stands.
    pub state: PreflightState,
    /// Tries in a row that the other end did not accept.
    pub tries: u32,
    /// How often the other end was asked since it was last begun.
    #[serde(default)]
    pub asked: u32,
    /// When its time is over, for those that have one.
    pub ends_at: Option<Timestamp>,
    /// Its next job.
    pub next: Option<Waiting>,
    /// What has become of the messages to the data subject, where it is they who are asked.
    #[serde(default)]
    pub verification: Option<Verification>,
}

/// How a preflight stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreflightState {
    /// Something has to end before it begins.
    WaitingOnDependencies,
    /// It is to be begun.
    Queued,
    /// Somebody was asked, or a span of time runs.
    Waiting,
    /// A person has to do something about it.
    ActionRequired(Reason),
    /// It came to nothing, and a person can try again or skip it.
    Error(Reason),
    /// Done.
    Resolved,
    /// Nothing was found, or a person passed it over.
    Skipped,
}

/// Why a preflight does not go on by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// It is of a kind that a person does.
    ForPerson,
    /// This server cannot do what it is configured for.
    NotSupported,
    /// It has no address to ask at.
    NoAddress,
    /// Its pattern does not compile.
    BadPattern,
    /// The other end did not accept it.
    NotAccepted,
    /// The other end answered something that cannot be used.
    BadAnswer,
    /// The identifier is not one that mail can go to.
    NoMailbox,
    /// This server sends no mail.
    NoMail,
    /// The time allowed is over.
    NotInTime,
    /// The other end was asked and never answered.
    NoAnswer,
    /// The request has more preflights than are run.
    TooMany,
}

impl Reason {
    /// In words, for administrators.
    pub const fn text(self) -> &'static str {
        match self {
            Reason::ForPerson => "A person has to decide: answer it with POST /v1/enrich-identifiers, or skip it",
            Reason::NotSupported => "This server cannot run enrichers of this type: answer it in its place, or skip it",
            Reason::NoAddress => "The enricher has no url",
            Reason::BadPattern => "The enricher has no testRegex that this server can run",
            Reason::NotAccepted => "The enricher's address did not accept the webhook",
            Reason::BadAnswer => "The enricher's address answered something that cannot be used",
            Reason::NoMailbox => "Only an e-mail address can be verified by mail",
            Reason::NoMail => "This server is not configured to send mail",
            Reason::NotInTime => "The identifier was not verified in time",
            Reason::NoAnswer => "The enricher's address has not answered, and is not asked any more",
            Reason::TooMany => "The request has more preflights than this server runs; the others are left out",
        }
    }
}

/// How a preflight stands, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, async_graphql::Enum)]
#[graphql(name = "RequestEnricherStatus")]
pub enum PreflightStatus {
    /// To be begun.
    Queued,
    /// Somebody was asked.
    Waiting,
    /// Passed over, or nothing found.
    Skipped,
    /// Came to nothing.
    Error,
    /// Done.
    Resolved,
    /// A person has to do something.
    ActionRequired,
    /// A queue at the other end has it. Not used by this server.
    RemoteProcessing,
    /// Something has to end first.
    WaitingOnDependencies,
    /// The other end is asked for news. Not used by this server.
    Polling,
}

impl PreflightStatus {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            PreflightStatus::Queued => "QUEUED",
            PreflightStatus::Waiting => "WAITING",
            PreflightStatus::Skipped => "SKIPPED",
            PreflightStatus::Error => "ERROR",
            PreflightStatus::Resolved => "RESOLVED",
            PreflightStatus::ActionRequired => "ACTION_REQUIRED",
            PreflightStatus::RemoteProcessing => "REMOTE_PROCESSING",
            PreflightStatus::WaitingOnDependencies => "WAITING_ON_DEPENDENCIES",
            PreflightStatus::Polling => "POLLING",
        }
    }
}

/// What happened to a preflight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreflightEvent {
    /// What it waited for is over.
    Released,
    /// Somebody was asked and accepted that, or its span of time began.
    Begun,
    /// Somebody was asked and did not accept that.
    Refused {
        /// Whether that was the last of the tries that follow each other.
        last: bool,
        /// Why.
        why: Reason,
    },
    /// It cannot go on without a person.
    Stuck(Reason),
    /// The answer has come.
    Answered,
    /// There is nothing to find.
    NothingFound,
    /// Its time is over, or the other end was asked as often as it is.
    TimedOut(Reason),
    /// A person passes it over.
    PassedOver,
    /// A person has it begun anew.
    Retried,
}

/// The event does not fit the state; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the preflight is {}, where this is not possible", .status.as_str())]
pub struct PreflightOutOfPlace {
    /// How the preflight stands.
    pub status: PreflightStatus,
}

impl PreflightState {
    /// The state after `event`: a line for each pair that belongs together, and by name all those that do not.
    pub fn step(self, event: PreflightEvent) -> Result<PreflightState, PreflightOutOfPlace> {
        use PreflightEvent as E;
        use PreflightState as S;

        Ok(match (self, event) {
            (S::WaitingOnDependencies, E::Released) => S::Queued,

            (S::Queued | S::Waiting | S::Error(_), E::Begun) => S::Waiting,
            (S::Queued, E::Refused { last: false, .. }) => S::Queued,
            (S::Waiting, E::Refused { last: false, .. }) => S::Waiting,
            (S::Queued | S::Waiting, E::Refused { last: true, why }) => S::Error(why),
            // The daily try after the last failed too.
            (S::Error(_), E::Refused { why, .. }) => S::Error(why),

            (S::WaitingOnDependencies | S::Queued | S::Waiting, E::Stuck(why)) => S::ActionRequired(why),
            (S::Queued | S::Waiting | S::Error(_), E::TimedOut(why)) => S::Error(why),

            // An answer to an earlier question counts, whatever has become of the run meanwhile.
            (S::WaitingOnDependencies | S::Queued | S::Waiting | S::ActionRequired(_) | S::Error(_), E::Answered) => {
                S::Resolved
            }
            (
                S::WaitingOnDependencies | S::Queued | S::Waiting | S::ActionRequired(_) | S::Error(_),
                E::NothingFound | E::PassedOver,
            ) => S::Skipped,
            (
                S::WaitingOnDependencies
                | S::Queued
                | S::Waiting
                | S::ActionRequired(_)
                | S::Error(_)
                | S::Resolved
                | S::Skipped,
                E::Retried,
            ) => S::WaitingOnDependencies,

            (S::WaitingOnDependencies, E::Begun | E::Refused { .. } | E::TimedOut(_))
            | (S::Queued | S::Waiting, E::Released)
            | (S::ActionRequired(_), E::Released | E::Begun | E::Refused { .. } | E::Stuck(_) | E::TimedOut(_))
            | (S::Error(_), E::Released | E::Stuck(_))
            | (
                S::Resolved | S::Skipped,
                E::Released
                | E::Begun
                | E::Refused { .. }
                | E::Stuck(_)
                | E::Answered
                | E::NothingFound
                | E::TimedOut(_)
                | E::PassedOver,
            ) => return Err(PreflightOutOfPlace { status: self.status() }),
        })
    }

    /// The status that the API shows.
    pub const fn status(self) -> PreflightStatus {
        match self {
            PreflightState::WaitingOnDependencies => PreflightStatus::WaitingOnDependencies,
            PreflightState::Queued => PreflightStatus::Queued,
            PreflightState::Waiting => PreflightStatus::Waiting,
            PreflightState::ActionRequired(_) => PreflightStatus::ActionRequired,
            PreflightState::Error(_) => PreflightStatus::Error,
            PreflightState::Resolved => PreflightStatus::Resolved,
            PreflightState::Skipped => PreflightStatus::Skipped,
        }
    }

    /// Whether it stands in its request's way.
    pub const fn is_open(self) -> bool {
        match self {
            PreflightState::WaitingOnDependencies
            | PreflightState::Queued
            | PreflightState::Waiting
            | PreflightState::ActionRequired(_)
            | PreflightState::Error(_) => true,
            PreflightState::Resolved | PreflightState::Skipped => false,
        }
    }

    /// Why it does not go on by itself.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            PreflightState::ActionRequired(why) | PreflightState::Error(why) => Some(why),
            PreflightState::WaitingOnDependencies
            | PreflightState::Queued
            | PreflightState::Waiting
            | PreflightState::Resolved
            | PreflightState::Skipped => None,
        }
    }
}

impl Preflight {
    /// A run that has not begun.
    pub fn new(id: PreflightId, head: &DsrHead, enricher: &Enricher, input: Uuid, now: Timestamp) -> Preflight {
        Preflight {
            id,
            request: head.id,
            round: head.round,
            enricher: enricher.id,
            kind: enricher.kind,
            input,
            created_at: now,
            state: PreflightState::WaitingOnDependencies,
            tries: 0,
            asked: 0,
            ends_at: None,
            next: None,
            verification: None,
        }
    }

    /// Lets `event` happen.
    pub fn step(&mut self, event: PreflightEvent) -> Result<(), PreflightOutOfPlace> {
        self.state = self.state.step(event)?;
        match event {
            PreflightEvent::Refused { .. } => self.tries = self.tries.saturating_add(1),
            PreflightEvent::Begun => self.tries = 0,
            PreflightEvent::Retried => (self.tries, self.asked) = (0, 0),
            PreflightEvent::Released
            | PreflightEvent::Stuck(_)
            | PreflightEvent::Answered
            | PreflightEvent::NothingFound
            | PreflightEvent::TimedOut(_)
            | PreflightEvent::PassedOver => {}
        }
        if matches!(event, PreflightEvent::Begun | PreflightEvent::Refused { .. }) {
            self.asked = self.asked.saturating_add(1);
        }
        if event == PreflightEvent::Retried {
            self.ends_at = None;
            self.verification = None;
        }
        Ok(())
    }

    /// Whether it stands in its request's way.
    pub fn is_open(&self) -> bool {
        self.state.is_open()
    }

    /// When somebody outside is asked next, or given up, if nothing else happens.
    pub fn ask_at(&self, windows: &Windows, now: Timestamp) -> Option<Timestamp> {
        let tried_in_vain = self.tries > 0 && self.tries < windows.tries;
        let span = match self.state {
            PreflightState::Queued | PreflightState::Waiting if tried_in_vain => windows.try_again,
            PreflightState::Queued => Duration::ZERO,
            PreflightState::Waiting => windows.waiting,
            PreflightState::Error(_) if self.was_asked_enough(windows, now) => return None,
            PreflightState::Error(_) => windows.error,
            PreflightState::WaitingOnDependencies
            | PreflightState::ActionRequired(_)
            | PreflightState::Resolved
            | PreflightState::Skipped => return None,
        };
        let seed = self.id.0.as_u64_pair().1 ^ u64::from(self.asked);
        let at = windows.after(span, seed, now);
        Some(self.ends_at.map_or(at, |ends_at| at.min(ends_at.max(now))))
    }

    /// Whether nobody outside is asked any more: as often as they are, or until their time was over.
    pub fn was_asked_enough(&self, windows: &Windows, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|ends_at| ends_at <= now) || windows.asks.is_some_and(|max| self.asked >= max)
    }

    /// Whether one more try in vain is the last of those that follow each other.
    pub fn is_last_try(&self, windows: &Windows) -> bool {
        self.tries + 1 >= windows.tries || windows.asks.is_some_and(|max| self.asked + 1 >= max)
    }
}

/// The name of the identifier an enricher starts from. One that names none starts from the identifier every request has.
pub(super) fn input_of(enricher: &Enricher) -> &str {
    match (&enricher.input_identifier, enricher.kind) {
        (Some(name), _) => name,
        (None, EnricherKind::Email) => "email",
        (None, EnricherKind::Phone) => "phone",
        (None, _) => "coreIdentifier",
    }
}

/// Whether the enricher runs for a request: not paused, not left out by the submitter, and made for such requests.
pub(super) fn applies(enricher: &Enricher, head: &DsrHead) -> bool {
    let action = head.action();
    // A hold must be able to begin and to end.
    let is_about_holds = matches!(action, Action::PlaceOnLegalHold | Action::RemoveFromLegalHold);
    // For a rule about regions they are what is asked, not when to ask.
    let is_for_region = enricher.kind == EnricherKind::RegionMatch || lies_in(&head.region, &enricher.regions);
    let is_left_out = match enricher.kind {
        // What was configured as the source of submitted identifiers has done its part when the request is made.
        EnricherKind::Sombra => true,
        EnricherKind::LegalHold => is_about_holds,
        _ => false,
    };
    let may_run = !enricher.is_paused && !is_left_out && !head.skipped_enrichers.contains(&enricher.id.0);
    may_run
        && (enricher.actions.is_empty() || enricher.actions.contains(&action))
        && (enricher.subject_types.is_empty() || enricher.subject_types.contains(&head.subject_type))
        && (enricher.regions.is_empty() || is_for_region)
}

fn lies_in(region: &Region, regions: &[String]) -> bool {
    let named = |code: &Option<String>| {
        code.as_ref()
            .is_some_and(|code| regions.iter().any(|one| one.eq_ignore_ascii_case(code)))
    };
    named(&region.country) || named(&region.subdivision)
}

/// Whether the enricher has something to do about an identifier that is named as its input is: one that only verifies has
/// nothing to do about what is verified.
pub(super) fn concerns(enricher: &Enricher, input: &DsrIdentifier) -> bool {
    let only_verifies = matches!(enricher.kind, EnricherKind::Email | EnricherKind::Phone);
    input.name == input_of(enricher) && !(only_verifies && input.verified_at.is_some())
}

/// How the checks of a request end before all have been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its way to the silos ends.
    Stop(PreflightEnd),
    /// It goes on to the silos with what is verified, and nothing more is checked.
    GoOn,
}

impl End {
    /// What the enricher is configured to bring about; nothing where it is not.
    pub(super) fn of(enricher: &Enricher) -> Option<End> {
        Some(match enricher.transition_request_status.as_deref()? {
            "CANCELED" => End::Stop(PreflightEnd::Canceled),
            "FAILED_VERIFICATION" => End::Stop(PreflightEnd::FailedVerification),
            "COMPILING" => End::GoOn,
            _ => End::Stop(PreflightEnd::OnHold),
        })
    }
}

/// What a preflight that may begin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It verifies the identifier it starts from, and is done.
    Verify,
    /// There is nothing to object to, and it is done.
    Pass,
    /// It cannot do its part, and is passed over.
    PassOver,
    /// It ends the checks of the request, and is done.
    End(End),
    /// It waits until then.
    WaitUntil(Timestamp),
    /// Somebody outside is asked.
    Ask,
    /// The data subject is asked by mail.
    Mail,
    /// Nothing goes on without a person.
    Stuck(Reason),
}

/// What `enricher` does about a request that `applies` let through. `on_hold`: whether the person is on legal hold.
pub(super) fn decide(
    enricher: &Enricher,
    head: &DsrHead,
    input: &DsrIdentifier,
    on_hold: bool,
    now: Timestamp,
) -> Decision {
    let when = |met: bool| {
        if met {
            // Where nothing is configured, a person looks at it.
            Decision::End(End::of(enricher).unwrap_or(End::Stop(PreflightEnd::OnHold)))
        } else {
            Decision::Pass
        }
    };
    match enricher.kind {
        EnricherKind::AutoApprove => Decision::Verify,
        EnricherKind::RegexMatch => match enricher.matches(&input.value) {
            Some(met) => when(met),
            None => Decision::Stuck(Reason::BadPattern),
        },
        EnricherKind::RegionMatch => when(lies_in(&head.region, &enricher.regions)),
        EnricherKind::LegalHold => when(on_hold),
        EnricherKind::WaitPeriod => Decision::WaitUntil(now + enricher.expiration.unwrap_or_default()),
        EnricherKind::Server if enricher.url.is_none() => Decision::Stuck(Reason::NoAddress),
        EnricherKind::Server => Decision::Ask,
        EnricherKind::Email if input.verified_at.is_some() => Decision::Pass,
        EnricherKind::Email if input.kind != IdentifierKind::Email => Decision::Stuck(Reason::NoMailbox),
        // Its address stays unverified, and the request waits for a person.
        EnricherKind::Email if !head.is_told() => Decision::PassOver,
        EnricherKind::Email => Decision::Mail,
        EnricherKind::Phone if input.verified_at.is_some() => Decision::Pass,
        EnricherKind::Person => Decision::Stuck(Reason::ForPerson),
        EnricherKind::Sombra
        | EnricherKind::Phone
        | EnricherKind::Database
        | EnricherKind::Looker
        | EnricherKind::GovernmentId
        | EnricherKind::CustomFunction => Decision::Stuck(Reason::NotSupported),
    }
}

/// Whether the enricher may be asked about an identifier that nobody has verified.
///
/// What it answers counts as verified, so it is not asked to find more about whoever an unchecked address belongs to. One
/// that can itself say that the address is right names it among what it finds.
pub(super) fn takes_unverified(enricher: &Enricher) -> bool {
    let verifies = enricher
        .output_identifiers
        .iter()
        .any(|name| name == input_of(enricher));
    match enricher.kind {
        EnricherKind::Server
        | EnricherKind::Database
        | EnricherKind::Looker
        | EnricherKind::CustomFunction
        | EnricherKind::Sombra => verifies,
        EnricherKind::Email
        | EnricherKind::Phone
        | EnricherKind::Person
        | EnricherKind::LegalHold
        | EnricherKind::AutoApprove
        | EnricherKind::RegexMatch
        | EnricherKind::RegionMatch
        | EnricherKind::WaitPeriod
        | EnricherKind::GovernmentId => true,
    }
}

/// The runs that are to end before those of `enricher` begin.
pub(super) fn blockers<'a>(enricher: &'a Enricher, runs: &'a [Preflight]) -> impl Iterator<Item = &'a Preflight> {
    runs.iter()
        .filter(|run| run.is_open() && run.enricher != enricher.id && enricher.depends_on.contains(&run.enricher))
}

/// Of runs that wait for each other, those that wait in a circle: nothing outside it would ever let them go.
pub(super) fn circle(enrichers: &[Enricher], runs: &[Preflight]) -> BTreeSet<PreflightId> {
    let enricher_of = |run: &Preflight| enrichers.iter().find(|enricher| enricher.id == run.enricher);
    let waits = |run: &&Preflight| run.state == PreflightState::WaitingOnDependencies;
    let mut held: BTreeSet<PreflightId> = runs
        .iter()
        .filter(waits)
        .filter(|run| enricher_of(run).is_some_and(|enricher| blockers(enricher, runs).next().is_some()))
        .map(|run| run.id)
        .collect();
    loop {
        let freed = runs.iter().find(|run| {
            held.contains(&run.id)
                && enricher_of(run)
                    .is_none_or(|enricher| blockers(enricher, runs).any(|blocker| !held.contains(&blocker.id)))
        });
        match freed {
            Some(run) => held.remove(&run.id),
            None => return held,
        };
    }
}

#[cfg(test)]
mod tests;
