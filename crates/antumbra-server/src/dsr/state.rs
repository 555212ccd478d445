//! The lifecycle of a data subject request: one enum, and one function that is the only way from one state to the next.
//!
//! It is pure. What a state wants done comes out as [`DsrEffect`]s, which [`super::advance`] turns into jobs in the
//! transaction that keeps the new state.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::organization::{Action, ActionSettings, MessageKind, PostCompileStatus};

/// Where a data subject request stands. Each state carries what only it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DsrState {
    /// Received; nothing has started.
    RequestMade,
    /// Identities are verified and enrichers run.
    Enriching,
    /// Parked until someone resumes it.
    OnHold {
        /// The state it goes back to. Invariant: an open state, and not `OnHold`.
        held: Box<DsrState>,
    },
    /// Every identifier is settled; the waiting period runs.
    Waiting {
        /// When it is over.
        until: Timestamp,
    },
    /// The silos work on the first phase.
    Compiling,
    /// The first phase is done; a person reviews what came of it.
    Approving {
        /// Whether any silo found anything.
        any_data: bool,
    },
    /// The first phase is delivered; the second has not begun and can still be stopped.
    Delayed {
        /// When the second phase begins.
        until: Timestamp,
    },
    /// The silos work on the second phase. It cannot be stopped.
    Secondary,
    /// The second phase is done; a person reviews it.
    SecondaryApproving,
    /// Both phases are done.
    SecondaryCompleted {
        /// Since when.
        completed_at: Timestamp,
    },
    /// The report is delivered and the data subject can download it.
    Downloadable {
        /// When it was delivered.
        completed_at: Timestamp,
        /// When the data subject can no longer download it.
        until: Timestamp,
    },
    /// The categories of data are delivered, without the data.
    ViewCategories {
        /// When they were delivered.
        completed_at: Timestamp,
        /// When the data subject can no longer see them.
        until: Timestamp,
    },
    /// Done.
    Completed {
        /// When it was done.
        completed_at: Timestamp,
    },
    /// Stopped by an administrator or by a rule.
    Canceled {
        /// When.
        canceled_at: Timestamp,
    },
    /// Withdrawn by the data subject.
    Revoked {
        /// When.
        revoked_at: Timestamp,
    },
    /// The data subject did not verify an identifier in time.
    FailedVerification {
        /// When that was established.
        failed_at: Timestamp,
    },
}

/// What happened to a data subject request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DsrEvent {
    /// Nothing stands in the way of starting.
    Begun,
    /// Every identifier is verified and every enricher has finished.
    IdentitiesSettled,
    /// Verification or an enricher ended otherwise.
    PreflightEnded(PreflightEnd),
    /// The span that the state waits for is over.
    TimeElapsed,
    /// An administrator ended a waiting period or a delay.
    BegunEarly,
    /// Every silo run of the phase has ended.
    RunsFinished {
        /// Whether any silo found anything.
        any_data: bool,
    },
    /// A person approved the result of the phase.
    Approved,
    /// An administrator stopped it.
    Canceled,
    /// The data subject withdrew it.
    Withdrawn,
    /// An administrator parked it.
    Held,
    /// An administrator resumed it.
    Resumed,
    /// It starts again from the beginning, under the same id.
    Restarted,
}

/// How verification or an enricher can end a request's way to the silos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreflightEnd {
    /// An identifier was not verified in time.
    FailedVerification,
    /// A rule cancels it.
    Canceled,
    /// A rule leaves it to a person.
    OnHold,
}

/// What a change of state wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DsrEffect {
    /// Verify identities and run enrichers, then report.
    SettleIdentities,
    /// Open the silo runs of the present phase, or look again at those that are open.
    OpenRuns,
    /// Report that time has elapsed.
    WakeAt(Timestamp),
    /// Tell the data subject, if they get messages.
    Tell(MessageKind),
}

/// The rules a request runs by: its action's settings as they were when it was made.
///
/// They are kept with the request. If a change of settings could take the second phase away from an erasure that has
/// shown its preview, the request would end without erasing anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The action of the last phase.
    pub action: Action,
    /// Time between settled identities and the first phase; zero for none.
    pub waiting: SignedDuration,
    /// Present if there are two phases.
    pub delay: Option<DelayRule>,
    /// Whether a person approves the first phase.
    pub requires_review: bool,
    /// Whether a person approves the second phase.
    pub requires_secondary_review: bool,
    /// Whether the second phase is left out when the first found nothing.
    pub skip_secondary_if_no_files: bool,
    /// What a request of one phase ends with.
    pub delivery: Delivery,
    /// Whether nothing is erased before somebody has approved the plan of it.
    #[serde(default)]
    pub requires_approved_plan: bool,
    /// How long the data subject can see what was delivered.
    pub availability: SignedDuration,
    /// Until when what was delivered can be seen and downloaded, where somebody has set that for this request.
    #[serde(default)]
    pub available_until: Option<Timestamp>,
}

/// The first of two phases, and the time between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelayRule {
    /// What the first phase does.
    pub preview: Action,
    /// Time between its delivery and the second phase; zero for none.
    pub time: SignedDuration,
}

/// What a request of one phase ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Nothing to look at.
    Nothing,
    /// The data.
    Files,
    /// The categories of data.
    Categories,
}

/// Which part of its work a request is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The first, and for most actions the only one.
    Primary,
    /// The second, after a delay.
    Secondary,
}

/// The event does not fit the state; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is {status}, where this is not possible")]
pub struct OutOfPlace {
    /// Where the request stands.
    pub status: DsrStatus,
}

/// Time that a data subject has at least to stop an erasure that was parked, once it is taken up again.
pub(super) const WAY_OUT_MIN: SignedDuration = SignedDuration::from_hours(24);

impl Rules {
    /// The rules for a request made under `settings`.
    pub fn under(settings: &ActionSettings) -> Rules {
        let delivers = matches!(settings.action, Action::Access | Action::BusinessPurpose);
        Rules {
            action: settings.action,
            waiting: settings.waiting_period.span(),
            delay: settings.delay.as_ref().map(|delay| DelayRule {
                preview: delay.preview_action,
                time: delay.time.span(),
            }),
            requires_review: settings.requires_review,
            requires_secondary_review: settings.requires_secondary_review,
            skip_secondary_if_no_files: settings.skip_secondary_if_no_files,
            delivery: match settings.post_compile_status {
                _ if settings.skip_downloadable_step || !delivers => Delivery::Nothing,
                PostCompileStatus::Downloadable => Delivery::Files,
                PostCompileStatus::ViewCategories => Delivery::Categories,
            },
            requires_approved_plan: settings.requires_approved_plan,
            availability: settings.download_availability.span(),
            available_until: None,
        }
    }

    /// Whether `phase` begins only once somebody has approved the plan of it.
    pub fn needs_approved_plan(&self, phase: Phase) -> bool {
        self.requires_approved_plan && self.action_in(phase) == Action::Erasure
    }

    /// What the silos are asked to do in `phase`.
    pub fn action_in(&self, phase: Phase) -> Action {
        match (phase, self.delay) {
            (Phase::Primary, Some(delay)) => delay.preview,
            (Phase::Primary, None) | (Phase::Secondary, _) => self.action,
        }
    }
}

impl Delivery {
    /// What a data subject has chosen who gets this.
    pub fn chosen(self) -> Option<PostCompileStatus> {
        match self {
            Delivery::Nothing => None,
            Delivery::Files => Some(PostCompileStatus::Downloadable),
            Delivery::Categories => Some(PostCompileStatus::ViewCategories),
        }
    }
}

impl DsrState {
    /// The state after `event`, and what is to be done about it.
    ///
    /// One line for each pair of state and event that belong together, and by name all those that do not.
    pub fn step(
        self,
        event: DsrEvent,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<(DsrState, Vec<DsrEffect>), OutOfPlace> {
        use DsrEffect::{OpenRuns, SettleIdentities, Tell, WakeAt};
        use DsrEvent as E;
        use DsrState as S;

        let refused: Result<(DsrState, Vec<DsrEffect>), OutOfPlace> = Err(OutOfPlace { status: self.status() });
        Ok(match (self, event) {
            // The silos are no longer asked for what they were asked for.
            (_, E::Restarted) => (S::RequestMade, vec![OpenRuns]),

            (S::RequestMade, E::Begun) => (S::Enriching, vec![SettleIdentities, Tell(MessageKind::Receipt)]),

            (S::Enriching, E::IdentitiesSettled) if rules.waiting.is_zero() => (S::Compiling, vec![OpenRuns]),
            (S::Enriching, E::IdentitiesSettled) => {
                let until = now + rules.waiting;
                (S::Waiting { until }, vec![WakeAt(until)])
            }
            (S::Enriching, E::PreflightEnded(PreflightEnd::FailedVerification)) => (
                S::FailedVerification { failed_at: now },
                vec![Tell(MessageKind::Denied)],
            ),
            (S::Enriching, E::PreflightEnded(PreflightEnd::Canceled)) => {
                (S::Canceled { canceled_at: now }, vec![Tell(MessageKind::Canceled)])
            }
            (S::Enriching, E::PreflightEnded(PreflightEnd::OnHold)) => (
                S::OnHold {
                    held: Box::new(S::Enriching),
                },
                vec![],
            ),

            (S::Waiting { until }, E::TimeElapsed) if until <= now => (S::Compiling, vec![OpenRuns]),
            (S::Waiting { .. }, E::BegunEarly) => (S::Compiling, vec![OpenRuns]),

            (S::Compiling, E::RunsFinished { any_data }) if rules.requires_review => {
                (S::Approving { any_data }, vec![])
            }
            (S::Compiling, E::RunsFinished { any_data }) => deliver(any_data, rules, now),
            (S::Approving { any_data }, E::Approved) => deliver(any_data, rules, now),

            (S::Delayed { until }, E::TimeElapsed) if until <= now => (S::Secondary, vec![OpenRuns]),
            (S::Delayed { .. }, E::BegunEarly) => (S::Secondary, vec![OpenRuns]),

            (S::Secondary, E::RunsFinished { .. }) if rules.requires_secondary_review => {
                (S::SecondaryApproving, vec![])
            }
            (S::Secondary, E::RunsFinished { .. }) | (S::SecondaryApproving, E::Approved) => {
                let told = vec![Tell(MessageKind::Completed)];
                (S::SecondaryCompleted { completed_at: now }, told)
            }

            (S::Downloadable { completed_at, until } | S::ViewCategories { completed_at, until }, E::TimeElapsed)
                if rules.available_until.unwrap_or(until) <= now =>
            {
                (S::Completed { completed_at }, vec![])
            }

            (S::Waiting { .. } | S::Delayed { .. }, E::Withdrawn) => {
                (S::Revoked { revoked_at: now }, vec![Tell(MessageKind::Revoked)])
            }
            (
                S::RequestMade | S::Enriching | S::Waiting { .. } | S::Approving { .. } | S::Delayed { .. },
                E::Canceled,
            ) => (S::Canceled { canceled_at: now }, vec![Tell(MessageKind::Canceled)]),
            // The silos are no longer asked for anything, and their work lists no longer hold it.
            (S::Compiling, E::Canceled) => (
                S::Canceled { canceled_at: now },
                vec![OpenRuns, Tell(MessageKind::Canceled)],
            ),
            (
                held @ (S::RequestMade
                | S::Enriching
                | S::Waiting { .. }
                | S::Compiling
                | S::Approving { .. }
                | S::Delayed { .. }
                | S::Secondary
                | S::SecondaryApproving),
                E::Held,
            ) => (S::OnHold { held: Box::new(held) }, vec![]),

            (S::OnHold { held }, E::Resumed) => {
                let held = match *held {
                    S::Delayed { until } => S::Delayed {
                        until: until.max(now + WAY_OUT_MIN),
                    },
                    held => held,
                };
                let wanted = held.wanted();
                (held, wanted)
            }
            // Being parked neither adds to nor takes from what may end a request.
            (S::OnHold { held }, E::Canceled | E::Withdrawn) => held.step(event, rules, now).or(refused)?,

            (S::RequestMade, E::IdentitiesSettled | E::PreflightEnded(_) | E::TimeElapsed | E::BegunEarly)
            | (S::RequestMade, E::RunsFinished { .. } | E::Approved | E::Withdrawn | E::Resumed)
            | (S::Enriching, E::Begun | E::TimeElapsed | E::BegunEarly | E::RunsFinished { .. })
            | (S::Enriching, E::Approved | E::Withdrawn | E::Resumed)
            | (S::OnHold { .. }, E::Begun | E::IdentitiesSettled | E::PreflightEnded(_) | E::TimeElapsed)
            | (S::OnHold { .. }, E::BegunEarly | E::RunsFinished { .. } | E::Approved | E::Held)
            | (S::Waiting { .. } | S::Delayed { .. }, E::Begun | E::IdentitiesSettled | E::PreflightEnded(_))
            | (S::Waiting { .. } | S::Delayed { .. }, E::TimeElapsed | E::RunsFinished { .. })
            | (S::Waiting { .. } | S::Delayed { .. }, E::Approved | E::Resumed)
            | (S::Compiling, E::Begun | E::IdentitiesSettled | E::PreflightEnded(_) | E::TimeElapsed)
            | (S::Compiling, E::BegunEarly | E::Approved | E::Withdrawn | E::Resumed)
            | (S::Approving { .. }, E::Begun | E::IdentitiesSettled | E::PreflightEnded(_) | E::TimeElapsed)
            | (S::Approving { .. }, E::BegunEarly | E::RunsFinished { .. } | E::Withdrawn | E::Resumed)
            | (S::Secondary, E::Begun | E::IdentitiesSettled | E::PreflightEnded(_) | E::TimeElapsed)
            | (S::Secondary, E::BegunEarly | E::Approved | E::Canceled | E::Withdrawn | E::Resumed)
            | (S::SecondaryApproving, E::Begun | E::IdentitiesSettled | E::PreflightEnded(_) | E::TimeElapsed)
            | (S::SecondaryApproving, E::BegunEarly | E::RunsFinished { .. } | E::Canceled)
            | (S::SecondaryApproving, E::Withdrawn | E::Resumed)
            | (
                S::SecondaryCompleted { .. }
                | S::Downloadable { .. }
                | S::ViewCategories { .. }
                | S::Completed { .. }
                | S::Canceled { .. }
                | S::Revoked { .. }
                | S::FailedVerification { .. },
                E::Begun
                | E::IdentitiesSettled
                | E::PreflightEnded(_)
                | E::TimeElapsed
                | E::BegunEarly
                | E::RunsFinished { .. }
                | E::Approved
                | E::Canceled
                | E::Withdrawn
                | E::Held
                | E::Resumed,
            ) => return refused,
        })
    }

    /// What the state wants done when it is taken up again.
    fn wanted(&self) -> Vec<DsrEffect> {
        match self {
            DsrState::Enriching => vec![DsrEffect::SettleIdentities],
            DsrState::Compiling | DsrState::Secondary => vec![DsrEffect::OpenRuns],
            DsrState::Waiting { until } | DsrState::Delayed { until } => vec![DsrEffect::WakeAt(*until)],
            DsrState::RequestMade
            | DsrState::OnHold { .. }
            | DsrState::Approving { .. }
            | DsrState::SecondaryApproving
            | DsrState::SecondaryCompleted { .. }
            | DsrState::Downloadable { .. }
            | DsrState::ViewCategories { .. }
            | DsrState::Completed { .. }
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => vec![],
        }
    }

    /// The status that the API shows.
    pub fn status(&self) -> DsrStatus {
        match self {
            DsrState::RequestMade => DsrStatus::RequestMade,
            DsrState::Enriching => DsrStatus::Enriching,
            DsrState::OnHold { .. } => DsrStatus::OnHold,
            DsrState::Waiting { .. } => DsrStatus::Waiting,
            DsrState::Compiling => DsrStatus::Compiling,
            DsrState::Approving { .. } => DsrStatus::Approving,
            DsrState::Delayed { .. } => DsrStatus::Delayed,
            DsrState::Secondary => DsrStatus::Secondary,
            DsrState::SecondaryApproving => DsrStatus::SecondaryApproving,
            DsrState::SecondaryCompleted { .. } => DsrStatus::SecondaryCompleted,
            DsrState::Downloadable { .. } => DsrStatus::Downloadable,
            DsrState::ViewCategories { .. } => DsrStatus::ViewCategories,
            DsrState::Completed { .. } => DsrStatus::Completed,
            DsrState::Canceled { .. } => DsrStatus::Canceled,
            DsrState::Revoked { .. } => DsrStatus::Revoked,
            DsrState::FailedVerification { .. } => DsrStatus::FailedVerification,
        }
    }

    /// Whether it is still worked on.
    pub fn is_open(&self) -> bool {
        self.status().is_open()
    }

    /// Whether it is still worked on and can no longer be stopped.
    pub fn is_past_stopping(&self) -> bool {
        match self {
            DsrState::Secondary | DsrState::SecondaryApproving => true,
            DsrState::OnHold { held } => held.is_past_stopping(),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Approving { .. }
            | DsrState::Delayed { .. }
            | DsrState::SecondaryCompleted { .. }
            | DsrState::Downloadable { .. }
            | DsrState::ViewCategories { .. }
            | DsrState::Completed { .. }
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => false,
        }
    }

    /// Whether preflights still matter to it, also while it is parked.
    pub fn is_at_preflight(&self) -> bool {
        match self {
            DsrState::Enriching => true,
            DsrState::OnHold { held } => held.is_at_preflight(),
            DsrState::RequestMade
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Approving { .. }
            | DsrState::Delayed { .. }
            | DsrState::Secondary
            | DsrState::SecondaryApproving
            | DsrState::SecondaryCompleted { .. }
            | DsrState::Downloadable { .. }
            | DsrState::ViewCategories { .. }
            | DsrState::Completed { .. }
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => false,
        }
    }

    /// The phase the silos work on, also while the request is parked; none before, between and after phases.
    pub fn phase(&self) -> Option<Phase> {
        match self {
            DsrState::Compiling => Some(Phase::Primary),
            DsrState::Secondary => Some(Phase::Secondary),
            DsrState::OnHold { held } => held.phase(),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::Waiting { .. }
            | DsrState::Approving { .. }
            | DsrState::Delayed { .. }
            | DsrState::SecondaryApproving
            | DsrState::SecondaryCompleted { .. }
            | DsrState::Downloadable { .. }
            | DsrState::ViewCategories { .. }
            | DsrState::Completed { .. }
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => None,
        }
    }

    /// Whether holders of a key may list what silos sent. While silos are at work the list would pass for the whole, and
    /// once the second phase has begun what was shown is being erased.
    pub fn shows_files(&self) -> bool {
        match self {
            DsrState::Approving { .. }
            | DsrState::Delayed { .. }
            | DsrState::Downloadable { .. }
            | DsrState::ViewCategories { .. }
            | DsrState::Completed { .. } => true,
            DsrState::OnHold { held } => held.shows_files(),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Secondary
            | DsrState::SecondaryApproving
            | DsrState::SecondaryCompleted { .. }
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => false,
        }
    }

    /// When the data subject can no longer see what was delivered; none where no such time is set.
    pub fn available_until(&self) -> Option<Timestamp> {
        match self {
            DsrState::Downloadable { until, .. } | DsrState::ViewCategories { until, .. } => Some(*until),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::OnHold { .. }
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Approving { .. }
            | DsrState::Delayed { .. }
            | DsrState::Secondary
            | DsrState::SecondaryApproving
            | DsrState::SecondaryCompleted { .. }
            | DsrState::Completed { .. }
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => None,
        }
    }

    /// When the demand was met; none while it is not, and none if it never was.
    pub fn completed_at(&self) -> Option<Timestamp> {
        match self {
            DsrState::SecondaryCompleted { completed_at }
            | DsrState::Downloadable { completed_at, .. }
            | DsrState::ViewCategories { completed_at, .. }
            | DsrState::Completed { completed_at } => Some(*completed_at),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::OnHold { .. }
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Approving { .. }
            | DsrState::Delayed { .. }
            | DsrState::Secondary
            | DsrState::SecondaryApproving
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => None,
        }
    }
}

fn deliver(any_data: bool, rules: &Rules, now: Timestamp) -> (DsrState, Vec<DsrEffect>) {
    use DsrEffect::Tell;

    let completed_at = now;
    let until = rules.available_until.unwrap_or(now + rules.availability);
    let shows = any_data && until > now;
    match (rules.delay, rules.delivery) {
        (Some(_), _) if rules.skip_secondary_if_no_files && !any_data => (
            DsrState::SecondaryCompleted { completed_at },
            vec![Tell(MessageKind::Completed)],
        ),
        // There is no time to look at a preview, so nobody is told of one.
        (Some(delay), _) if delay.time.is_zero() => (DsrState::Secondary, vec![DsrEffect::OpenRuns]),
        (Some(delay), _) => {
            let until = now + delay.time;
            let told = Tell(MessageKind::PreviewReady);
            (DsrState::Delayed { until }, vec![DsrEffect::WakeAt(until), told])
        }
        (None, Delivery::Files) if shows => (
            DsrState::Downloadable { completed_at, until },
            vec![DsrEffect::WakeAt(until), Tell(MessageKind::ReportReady)],
        ),
        (None, Delivery::Categories) if shows => (
            DsrState::ViewCategories { completed_at, until },
            vec![DsrEffect::WakeAt(until), Tell(MessageKind::ReportReady)],
        ),
        // A report of nothing is nothing to download, nor is one whose time is over before it begins.
        (None, Delivery::Nothing | Delivery::Files | Delivery::Categories) => {
            (DsrState::Completed { completed_at }, vec![Tell(MessageKind::Completed)])
        }
    }
}

/// The status of a data subject request, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "RequestStatus")]
#[allow(missing_docs, reason = "each is the state of the same name")]
pub enum DsrStatus {
    RequestMade = 0,
    FailedVerification = 1,
    Enriching = 2,
    OnHold = 3,
    Waiting = 4,
    Compiling = 5,
    Approving = 6,
    Delayed = 7,
    Completed = 8,
    Downloadable = 9,
    ViewCategories = 10,
    Canceled = 11,
    Secondary = 12,
    SecondaryCompleted = 13,
    SecondaryApproving = 14,
    Revoked = 15,
}

impl DsrStatus {
    /// Every status.
    pub const ALL: [DsrStatus; 16] = [
        DsrStatus::RequestMade,
        DsrStatus::FailedVerification,
        DsrStatus::Enriching,
        DsrStatus::OnHold,
        DsrStatus::Waiting,
        DsrStatus::Compiling,
        DsrStatus::Approving,
        DsrStatus::Delayed,
        DsrStatus::Completed,
        DsrStatus::Downloadable,
        DsrStatus::ViewCategories,
        DsrStatus::Canceled,
        DsrStatus::Secondary,
        DsrStatus::SecondaryCompleted,
        DsrStatus::SecondaryApproving,
        DsrStatus::Revoked,
    ];

    /// The number that stands for it in stored keys. Never change one.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            DsrStatus::RequestMade => "REQUEST_MADE",
            DsrStatus::FailedVerification => "FAILED_VERIFICATION",
            DsrStatus::Enriching => "ENRICHING",
            DsrStatus::OnHold => "ON_HOLD",
            DsrStatus::Waiting => "WAITING",
            DsrStatus::Compiling => "COMPILING",
            DsrStatus::Approving => "APPROVING",
            DsrStatus::Delayed => "DELAYED",
            DsrStatus::Completed => "COMPLETED",
            DsrStatus::Downloadable => "DOWNLOADABLE",
            DsrStatus::ViewCategories => "VIEW_CATEGORIES",
            DsrStatus::Canceled => "CANCELED",
            DsrStatus::Secondary => "SECONDARY",
            DsrStatus::SecondaryCompleted => "SECONDARY_COMPLETED",
            DsrStatus::SecondaryApproving => "SECONDARY_APPROVING",
            DsrStatus::Revoked => "REVOKED",
        }
    }

    /// Whether a request of this status is still worked on.
    pub const fn is_open(self) -> bool {
        match self {
            DsrStatus::RequestMade
            | DsrStatus::Enriching
            | DsrStatus::OnHold
            | DsrStatus::Waiting
            | DsrStatus::Compiling
            | DsrStatus::Approving
            | DsrStatus::Delayed
            | DsrStatus::Secondary
            | DsrStatus::SecondaryApproving => true,
            DsrStatus::FailedVerification
            | DsrStatus::Completed
            | DsrStatus::Downloadable
            | DsrStatus::ViewCategories
            | DsrStatus::Canceled
            | DsrStatus::SecondaryCompleted
            | DsrStatus::Revoked => false,
        }
    }
}

impl std::fmt::Display for DsrStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod diagram;
#[cfg(test)]
mod tests;
