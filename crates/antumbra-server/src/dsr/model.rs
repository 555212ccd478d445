//! What a data subject request is, and the rules on what may be submitted: pure, without clock or storage.
//!
//! A request has two parts. [`DsrHead`] says how the request stands and names nobody; it is kept in clear, so that lists,
//! timers and uploads need no key. [`DsrSubject`] is about the person; it is kept sealed under the request's own key, so
//! that destroying that key leaves noise.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    deadlines::{Deadline, Noted, Reckoned},
    drop_runs::DropLink,
    occasion::{Occasion, OccasionPartition},
    plan::PlanMarks,
    restart::Restarted,
    state::{DsrState, Phase, Rules},
};
use crate::organization::{Action, IdentifierKind, MessageKind};

/// The id of a data subject request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DsrId(pub Uuid);

impl fmt::Display for DsrId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A data subject request, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dsr {
    /// How it stands.
    pub head: DsrHead,
    /// Whom it is about.
    pub subject: DsrSubject,
}

/// How a data subject request stands. It holds nothing that the data subject is called or has said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DsrHead {
    /// Its id.
    pub id: DsrId,
    /// Where it stands.
    pub state: DsrState,
    /// The rules it runs by; they name its action.
    pub rules: Rules,
    /// The slug of the data subject type.
    pub subject_type: String,
    /// How it came in.
    pub origin: Origin,
    /// No message is sent to the data subject.
    pub is_silent: bool,
    /// It was made to try something out. Silos are asked all the same.
    pub is_test: bool,
    /// The data subject gets no receipt.
    pub skips_receipt: bool,
    /// The template of the receipt, if not the action's.
    pub receipt_template: Option<Uuid>,
    /// The language of messages and report.
    pub locale: String,
    /// Where the data subject lives.
    pub region: Region,
    /// Which silos are asked.
    pub silos: SiloChoice,
    /// Enrichers that do not run.
    pub skipped_enrichers: Vec<Uuid>,
    /// When the data subject made it; the time allowed by law begins here.
    pub created_at: Timestamp,
    /// When the time to answer is over.
    pub due_at: Timestamp,
    /// What decides that; none for requests of before this was kept.
    #[serde(default)]
    pub deadline: Option<Deadline>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// How often it has been restarted. What was kept in an earlier round is history: it is neither asked nor answered.
    #[serde(default)]
    pub round: u32,
    /// When its status last changed; none for requests kept before that was.
    #[serde(default)]
    pub moved_at: Option<Timestamp>,
    /// The last restart.
    #[serde(default)]
    pub restarted: Option<Restarted>,
    /// What was approved and made of its plans in this round.
    #[serde(default)]
    pub plan: PlanMarks,
    /// Blind index of the core identifier.
    pub core_index: [u8; 16],
    /// Blind index of what makes another request equivalent to this one.
    pub equivalence: [u8; 16],
    /// When its key was destroyed, and with it everything that it kept about the person.
    #[serde(default)]
    pub shredded_at: Option<Timestamp>,
}

impl DsrHead {
    /// When its status last changed.
    pub fn moved_at(&self) -> Timestamp {
        self.moved_at.unwrap_or(self.updated_at)
    }

    /// What it demands.
    pub fn action(&self) -> Action {
        self.rules.action
    }

    /// What the silos are asked to do at present; none unless a phase is under way.
    pub fn active_action(&self) -> Option<Action> {
        self.state.phase().map(|phase| self.rules.action_in(phase))
    }

    /// Whether holders of a key may list and download what silos sent.
    pub fn shows_files(&self, now: Timestamp) -> bool {
        self.state.shows_files()
            && self.shredded_at.is_none()
            && self.rules.available_until.is_none_or(|until| now < until)
    }

    /// Whether nobody will ever see what silos sent, unless the request begins again.
    pub(super) fn shows_nothing_any_more(&self) -> bool {
        !self.state.is_open() && !self.state.shows_files()
    }

    /// When the data subject can no longer see what was delivered; none where no such time is set.
    pub fn available_until(&self) -> Option<Timestamp> {
        self.rules.available_until.or(self.state.available_until())
    }

    /// The moment from which retention counts, once the request is over.
    pub(crate) fn over_since(&self) -> Option<Timestamp> {
        match &self.state {
            // Over, but still shown.
            DsrState::Downloadable { until, .. } | DsrState::ViewCategories { until, .. } => {
                Some(self.rules.available_until.unwrap_or(*until))
            }
            DsrState::SecondaryCompleted { completed_at: at }
            | DsrState::Completed { completed_at: at }
            | DsrState::Canceled { canceled_at: at }
            | DsrState::Revoked { revoked_at: at }
            | DsrState::FailedVerification { failed_at: at } => Some(*at),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::OnHold { .. }
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Approving { .. }
            | DsrState::Delayed { .. }
            | DsrState::Secondary
            | DsrState::SecondaryApproving => None,
        }
    }

    /// The phase the silos work on.
    pub fn phase(&self) -> Option<Phase> {
        self.state.phase()
    }

    /// Whole days until the time to answer is over; negative when it is.
    pub fn days_until_overdue(&self, now: Timestamp) -> i64 {
        self.deadline().days_until(self.due_at, now)
    }

    /// The last day on which it can be answered in time, as noon of that day by UTC: days are written by UTC.
    pub(super) fn due_day(&self) -> Timestamp {
        self.day_of(self.due_at)
    }

    /// The day of `at` where the organization is, as noon of that day by UTC: for those who are told of days.
    pub fn day_of(&self, at: Timestamp) -> Timestamp {
        self.deadline().day_of(at)
    }

    /// What decides until when it must have been answered.
    pub fn deadline(&self) -> Deadline {
        let kept = self.deadline.clone();
        kept.unwrap_or_else(|| Deadline::of_days(self.due_at.duration_since(self.created_at)))
    }

    /// How the deadline comes about.
    pub fn reckoned(&self) -> Reckoned {
        self.deadline().reckon(self.created_at)
    }

    /// The same with another deadline, and due when that says.
    pub(super) fn due_by(self, deadline: Deadline) -> DsrHead {
        DsrHead {
            due_at: deadline.reckon(self.created_at).due_at,
            deadline: Some(deadline),
            ..self
        }
    }

    /// Whether it has been noted that its time is over.
    pub(super) fn is_noted_as_passed(&self) -> bool {
        let noted = self.deadline.as_ref().map(|deadline| deadline.noted);
        noted == Some(Noted::Passed)
    }
}

/// Whom a data subject request is about, and what they said.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DsrSubject {
    /// The organization's own name for the person.
    pub core_identifier: String,
    /// Where messages go.
    pub email: Option<String>,
    /// Everything that points at the person, in the order in which it came.
    pub identifiers: Vec<DsrIdentifier>,
    /// Free text.
    pub details: String,
    /// Labels.
    pub attributes: Vec<DsrAttribute>,
    /// Who gets copies of replies.
    pub reply_to: Vec<String>,
    /// The choice that brought it about; none for requests that somebody submitted.
    #[serde(default)]
    pub occasion: Option<Occasion>,
    /// The partition that it is about, where its submitter said so.
    #[serde(default)]
    pub partition: Option<OccasionPartition>,
    /// Records of deletion platforms that it answers.
    #[serde(default)]
    pub drop: Vec<DropLink>,
}

impl DsrSubject {
    /// The partition that the request is about.
    pub fn partition(&self) -> Option<&OccasionPartition> {
        self.occasion
            .as_ref()
            .map(|occasion| &occasion.partition)
            .or(self.partition.as_ref())
    }
}

impl DsrSubject {
    /// Whether every identifier is verified.
    pub(super) fn is_verified(&self) -> bool {
        self.identifiers
            .iter()
            .all(|identifier| identifier.verified_at.is_some())
    }

    /// The identifiers that are the address of messages; none, if it has been taken out of the request.
    pub(super) fn address(&self) -> impl Iterator<Item = &DsrIdentifier> {
        self.identifiers
            .iter()
            .filter(|known| known.kind == IdentifierKind::Email && Some(&known.value) == self.email.as_ref())
    }

    /// Where a message of this kind may go. What opens the data of the person goes to an address that was verified.
    pub(super) fn address_for(&self, kind: MessageKind) -> Option<&str> {
        let asks_for_proof = matches!(kind, MessageKind::Verification | MessageKind::VerificationReminder);
        let takes_any = asks_for_proof || !kind.opens_something();
        let mut fit = self.address().filter(|known| takes_any || known.verified_at.is_some());
        fit.next().map(|known| known.value.as_str())
    }
}

/// An identifier of the person, as one request knows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DsrIdentifier {
    /// Its id.
    pub id: Uuid,
    /// Its name, as the organization configured it.
    pub name: String,
    /// Its kind.
    pub kind: IdentifierKind,
    /// Its value, normalised.
    pub value: String,
    /// Where it came from.
    pub source: IdentifierSource,
    /// Since when it counts as verified; silos are only asked about identifiers that are.
    pub verified_at: Option<Timestamp>,
    /// On whose word.
    #[serde(default)]
    pub verified_by: Verifier,
    /// The preflight that found or verified it, where one did.
    #[serde(default)]
    pub preflight: Option<Uuid>,
}

/// A label with its values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DsrAttribute {
    /// The id of the attribute key.
    pub key_id: Uuid,
    /// The name of the attribute key.
    pub key: String,
    /// Each value with an id of its own.
    pub values: Vec<(Uuid, String)>,
}

macro_rules! says_nothing {
    ($($personal:ty),*) => {$(
        impl fmt::Debug for $personal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($personal), "(…)"))
            }
        }
    )*};
}

says_nothing!(DsrSubject, DsrIdentifier, DsrAttribute);

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "RequestOrigin")]
pub enum Origin {
    /// The data subject used the privacy centre.
    PrivacyCenter,
    /// An administrator entered it.
    AdminDashboard,
    /// A program submitted it.
    Api,
    /// It came from a shop on that platform.
    Shopify,
    /// It came from California's deletion platform.
    Drop,
}

impl Origin {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Origin::PrivacyCenter => "PRIVACY_CENTER",
            Origin::AdminDashboard => "ADMIN_DASHBOARD",
            Origin::Api => "API",
            Origin::Shopify => "SHOPIFY",
            Origin::Drop => "DROP",
        }
    }
}

/// Where an identifier came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum IdentifierSource {
    /// It was submitted.
    Input,
    /// An enricher found it.
    Enricher,
    /// A silo found it.
    DataSilo,
}

/// On whose word an identifier counts as verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verifier {
    /// On that of whoever submitted it.
    #[default]
    Submitter,
    /// On that of a preflight, or of the data subject in one.
    Preflight,
}

/// Where a data subject lives, as far as known. Invariant: a subdivision stands with the country it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// ISO 3166-1 alpha-2, or `EU`.
    pub country: Option<String>,
    /// ISO 3166-2.
    pub subdivision: Option<String>,
}

/// Which silos a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiloChoice {
    /// Every one that fits.
    #[default]
    All,
    /// Those that fit and are listed.
    Only(Vec<Uuid>),
    /// Those that fit and are not listed.
    Except(Vec<Uuid>),
}

impl SiloChoice {
    /// Whether the silo may be asked.
    pub fn includes(&self, silo: Uuid) -> bool {
        match self {
            SiloChoice::All => true,
            SiloChoice::Only(listed) => listed.contains(&silo),
            SiloChoice::Except(listed) => !listed.contains(&silo),
        }
    }
}

/// The end a request can be imported with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImportedEnd {
    /// Verification failed.
    FailedVerification,
    /// Done.
    Completed,
    /// Stopped.
    Canceled,
    /// Both phases done.
    SecondaryCompleted,
    /// Withdrawn.
    Revoked,
}

impl ImportedEnd {
    /// The end with this name on the wire.
    pub(crate) fn parse(name: &str) -> Option<ImportedEnd> {
        match name {
            "FAILED_VERIFICATION" => Some(ImportedEnd::FailedVerification),
            "COMPLETED" => Some(ImportedEnd::Completed),
            "CANCELED" => Some(ImportedEnd::Canceled),
            "SECONDARY_COMPLETED" => Some(ImportedEnd::SecondaryCompleted),
            "REVOKED" => Some(ImportedEnd::Revoked),
            _ => None,
        }
    }

    /// The state, entered at `now`.
    pub(crate) fn state(self, now: Timestamp) -> DsrState {
        match self {
            ImportedEnd::FailedVerification => DsrState::FailedVerification { failed_at: now },
            ImportedEnd::Completed => DsrState::Completed { completed_at: now },
            ImportedEnd::Canceled => DsrState::Canceled { canceled_at: now },
            ImportedEnd::SecondaryCompleted => DsrState::SecondaryCompleted { completed_at: now },
            ImportedEnd::Revoked => DsrState::Revoked { revoked_at: now },
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::organization::{ActionId, ActionSettings};

    fn head(due_at: Timestamp) -> DsrHead {
        DsrHead {
            id: DsrId(Uuid::nil()),
            state: DsrState::Compiling,
            rules: Rules::under(&ActionSettings::initial(ActionId(Uuid::nil()), Action::Access)),
            subject_type: "customer".into(),
            origin: Origin::Api,
            is_silent: true,
            is_test: false,
            skips_receipt: false,
            receipt_template: None,
            locale: "en".into(),
            region: Region::default(),
            silos: SiloChoice::All,
            skipped_enrichers: vec![],
            created_at: Timestamp::UNIX_EPOCH,
            due_at,
            deadline: None,
            updated_at: Timestamp::UNIX_EPOCH,
            round: 0,
            moved_at: None,
            restarted: None,
            plan: PlanMarks::default(),
            core_index: [0; 16],
            equivalence: [0; 16],
            shredded_at: None,
        }
    }

    #[test]
    fn days_until_overdue_are_whole_and_negative_when_late() {
        let hours = |hours: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let head = head(hours(30 * 24));
        for (now, left) in [
            (0, 30),
            (1, 29),
            (24, 29),
            (30 * 24, 0),
            (30 * 24 + 1, -1),
            (32 * 24, -2),
        ] {
            assert_eq!(head.days_until_overdue(hours(now)), left, "after {now} hours");
        }
    }

    #[test]
    fn what_opens_something_goes_to_a_verified_address_and_nothing_to_one_that_was_taken_out() {
        const NOBODY: Option<&str> = None;
        let address = Some("ada@example.test");
        let to = |known: &str, verified_at, kind| {
            let identifier = DsrIdentifier {
                id: Uuid::nil(),
                name: "email".into(),
                kind: IdentifierKind::Email,
                value: known.into(),
                source: IdentifierSource::Input,
                verified_at,
                verified_by: Verifier::Submitter,
                preflight: None,
            };
            let subject = DsrSubject {
                email: address.map(str::to_owned),
                identifiers: vec![identifier],
                ..DsrSubject::default()
            };
            subject.address_for(kind).map(str::to_owned)
        };
        let (verified, unverified) = (Some(Timestamp::UNIX_EPOCH), None);
        for kind in MessageKind::ALL {
            let of_proof = [MessageKind::Verification, MessageKind::VerificationReminder].contains(&kind);
            let unproved = if of_proof || !kind.opens_something() {
                address
            } else {
                NOBODY
            };
            assert_eq!(to("ada@example.test", verified, kind).as_deref(), address, "{kind:?}");
            assert_eq!(
                to("ada@example.test", unverified, kind).as_deref(),
                unproved,
                "{kind:?}"
            );
            assert_eq!(to("other@example.test", verified, kind).as_deref(), NOBODY, "{kind:?}");
        }
    }

    #[test]
    fn a_choice_of_silos_lists_them_or_leaves_them_out() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(SiloChoice::All.includes(one));
        assert!(SiloChoice::Only(vec![one]).includes(one) && !SiloChoice::Only(vec![one]).includes(other));
        assert!(!SiloChoice::Except(vec![one]).includes(one) && SiloChoice::Except(vec![one]).includes(other));
    }

    #[test]
    fn what_is_about_a_person_does_not_print() {
        let identifier = DsrIdentifier {
            id: Uuid::nil(),
            name: "email".into(),
            kind: IdentifierKind::Email,
            value: "ada@example.test".into(),
            source: IdentifierSource::Input,
            verified_at: None,
            verified_by: Verifier::Submitter,
            preflight: None,
        };
        let subject = DsrSubject {
            core_identifier: "ada".into(),
            email: Some("ada@example.test".into()),
            identifiers: vec![identifier],
            details: "ada asked".into(),
            attributes: vec![DsrAttribute {
                key_id: Uuid::nil(),
                key: "Tags".into(),
                values: vec![],
            }],
            reply_to: vec!["ada@example.test".into()],
            occasion: None,
            partition: None,
            drop: Vec::new(),
        };
        let dsr = Dsr {
            head: head(Timestamp::UNIX_EPOCH),
            subject,
        };
        assert!(!format!("{dsr:?} {:?} {:?}", dsr.subject.identifiers, dsr.subject.attributes).contains("ada"));
    }
}
