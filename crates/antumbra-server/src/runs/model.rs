//! A silo run: what one data silo was asked about one data subject, and how far its answer has come.
//!
//! Pure. A run holds one [`Profile`] per identifier that the silo is asked about; a profile holds what is known of each
//! data point. Statuses are never stored twice: the run's follows from its profiles', and a profile closes by itself when
//! its data points have all been answered. Everything that can happen to a run is a method here; what it means for the
//! request is the business of the `dsr` slice.

use std::time::Duration;

use antumbra_store::{Corrupt, Key};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use super::webhooks::RetryAfter;
use crate::{
    audit::{Actor, Digest},
    dsr::{DsrHead, DsrId, Phase},
    jobs::Waiting,
    organization::Action,
    silos::{DataPointId, DataSiloId},
};

/// One silo's part in one phase of one data subject request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

/// One identifier that a silo was asked about in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProfileId(pub Uuid);

/// How far a run or a profile has come: `RequestDataSiloStatus` on the wire.
///
/// Ordered from best to worst for someone waiting on it; see [`SiloRun::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, async_graphql::Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[graphql(name = "RequestDataSiloStatus")]
pub enum RunStatus {
    /// Done.
    Resolved,
    /// Deliberately not done, for a reason in law.
    SkippedDueToException,
    /// Nothing found, or nothing to do.
    Skipped,
    /// Not asked yet.
    Queued,
    /// Accepted by a queue at the other end.
    RemoteProcessing,
    /// Asked; the answer is to come.
    Waiting,
    /// Needs a person.
    ActionRequired,
    /// Asking failed.
    Error,
}

impl RunStatus {
    /// Every status.
    pub const ALL: [RunStatus; 8] = [
        RunStatus::Resolved,
        RunStatus::SkippedDueToException,
        RunStatus::Skipped,
        RunStatus::Queued,
        RunStatus::RemoteProcessing,
        RunStatus::Waiting,
        RunStatus::ActionRequired,
        RunStatus::Error,
    ];

    /// Whether nothing more is awaited.
    pub const fn is_terminal(self) -> bool {
        match self {
            RunStatus::Resolved | RunStatus::SkippedDueToException | RunStatus::Skipped => true,
            RunStatus::Queued
            | RunStatus::RemoteProcessing
            | RunStatus::Waiting
            | RunStatus::ActionRequired
            | RunStatus::Error => false,
        }
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            RunStatus::Resolved => "RESOLVED",
            RunStatus::SkippedDueToException => "SKIPPED_DUE_TO_EXCEPTION",
            RunStatus::Skipped => "SKIPPED",
            RunStatus::Queued => "QUEUED",
            RunStatus::RemoteProcessing => "REMOTE_PROCESSING",
            RunStatus::Waiting => "WAITING",
            RunStatus::ActionRequired => "ACTION_REQUIRED",
            RunStatus::Error => "ERROR",
        }
    }
}

/// What is known of one data point of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing yet.
    Awaited,
    /// More is to come.
    Partial,
    /// Data has been handed over.
    Data,
    /// There is none.
    NoData,
    /// Passed over.
    Skipped,
    /// Passed over for a reason in law.
    SkippedDueToException,
}

impl Answer {
    const fn is_final(self) -> bool {
        match self {
            Answer::Awaited | Answer::Partial => false,
            Answer::Data | Answer::NoData | Answer::Skipped | Answer::SkippedDueToException => true,
        }
    }
}

/// One silo's part in one phase of a data subject request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiloRun {
    /// Which run.
    pub id: RunId,
    /// Of which request.
    pub request: DsrId,
    /// In which phase.
    pub phase: Phase,
    /// In which round of the request: how often it had been restarted when the run was made.
    #[serde(default)]
    pub round: u32,
    /// At which silo.
    pub silo: DataSiloId,
    /// What the silo is asked to do.
    pub action: Action,
    /// When the run was made.
    pub created_at: Timestamp,
    /// When the request was made: work lists show the oldest request first.
    pub request_created_at: Timestamp,
    /// One for each identifier the silo is asked about. None means that there was nothing to ask.
    pub profiles: Vec<Profile>,
    /// What a person has decided about a run that has nothing to ask.
    pub decided: Option<RunStatus>,
    /// For erasures: silos that are to finish first. While there are any, the silo is told nothing.
    pub waits_for: Vec<DataSiloId>,
    /// Another silo's run waits for this one.
    pub is_awaited: bool,
    /// The request left the phase before the run was done: canceled, or withdrawn.
    pub abandoned: bool,
    /// The silo is a person's work, who is reminded of it after so many days.
    #[serde(default)]
    pub manual_days: Option<u32>,
    /// For erasures: once the silo says that it is done, it is asked whether anything is left.
    #[serde(default, skip_serializing_if = "is_false")]
    pub confirms_absence: bool,
    /// The run that asks so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<RunId>,
    /// The erasure after which this run asks whether anything is left. What the silo hands over is kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirms: Option<RunId>,
    /// The silo still holds what it said it had erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contradiction: Option<Contradiction>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A silo that said it had erased data showed that it holds some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contradiction {
    /// When it did.
    pub at: Timestamp,
    /// What somebody decided about it. Until then the run is open, and a person's task.
    pub resolved: Option<Resolution>,
}

/// What somebody decided about a contradiction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// The silo is to erase once more.
    ErasedAgain {
        /// In this run.
        run: RunId,
        /// Who decided it.
        by: Actor,
        /// When.
        at: Timestamp,
    },
    /// It is to stay as it is.
    Accepted {
        /// Who decided it.
        by: Actor,
        /// When.
        at: Timestamp,
        /// Why, sealed under the request's key.
        reason: Vec<u8>,
    },
}

/// On whose word something counts as answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The silo reported it, with the nonce of the profile.
    Report {
        /// The API key that it came with.
        key: Uuid,
        /// A keyed digest of what it sent.
        body: Digest,
    },
    /// Whoever holds the link that the silo was sent said it.
    Link {
        /// A keyed digest of what they sent.
        body: Digest,
    },
    /// The answer to a notice said it.
    Reply {
        /// The status of the answer.
        status: u16,
    },
    /// Somebody decided it in the silo's place.
    Decision {
        /// Who.
        by: Actor,
    },
}

/// One identifier that a silo is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Which profile.
    pub id: ProfileId,
    /// The identifier, as the request knows it; its value is sealed there.
    pub identifier: Uuid,
    /// The identifier's name, such as `email`.
    pub name: String,
    /// How far it has come.
    pub status: RunStatus,
    /// What is known of each data point that was asked for or answered.
    pub data_points: Vec<DataPointAnswer>,
    /// Notices in a row that the silo did not accept.
    pub failed_notices: u32,
    /// The next notice to the silo.
    pub next_notice: Option<Waiting>,
    /// Not to be brought up before this time, as the silo asked.
    pub retry_after: Option<Timestamp>,
    /// What the silo wants to be reminded of, sealed under the request's key.
    pub poll_id: Option<Vec<u8>>,
    /// What the silo had to say to a person, sealed under the request's key.
    pub message: Option<Vec<u8>>,
    /// When the silo last said that it is not done; none since somebody has had it asked again.
    #[serde(default)]
    pub put_off_at: Option<Timestamp>,
    /// What stands for the identifier's value: a digest under the request's key, and noise once that is destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When the silo first had word of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// When it was closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
    /// On whose word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What is known of one data point of a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPointAnswer {
    /// Which data point.
    pub id: DataPointId,
    /// What is known.
    pub answer: Answer,
    /// Files received so far; numbers those that come without a name.
    pub files: u32,
    /// The last page of paged data has come.
    pub pages_ended: bool,
    /// When it was answered for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_at: Option<Timestamp>,
}

/// The profile or its run is closed: nothing more can be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("nothing more is awaited here")]
pub struct Closed;

/// What a silo says of its work as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Resolved,
    /// Nothing to do.
    Skipped,
    /// Not to be done, for a reason in law.
    SkippedDueToException,
    /// A person has to look.
    ActionRequired,
    /// Not done yet.
    Waiting,
    /// Failed.
    Error,
}

impl Verdict {
    const fn status(self) -> RunStatus {
        match self {
            Verdict::Resolved => RunStatus::Resolved,
            Verdict::Skipped => RunStatus::Skipped,
            Verdict::SkippedDueToException => RunStatus::SkippedDueToException,
            Verdict::ActionRequired => RunStatus::ActionRequired,
            Verdict::Waiting => RunStatus::Waiting,
            Verdict::Error => RunStatus::Error,
        }
    }

    /// What becomes of data points the silo did not mention; nothing where more may come.
    const fn for_unmentioned(self) -> Option<Answer> {
        match self {
            Verdict::Resolved | Verdict::ActionRequired => Some(Answer::NoData),
            Verdict::Skipped => Some(Answer::Skipped),
            Verdict::SkippedDueToException => Some(Answer::SkippedDueToException),
            Verdict::Waiting | Verdict::Error => None,
        }
    }
}

/// What came for one data point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Something to keep.
    Data,
    /// The statement that there is nothing.
    Nothing,
}

/// What a page of paged data is to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Further rows.
    New,
    /// Rows that take the place of an earlier page of the same name.
    Replacement,
    /// No rows: kept nowhere, but it may be the last.
    Empty,
}

/// How a silo's notice was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Accepted; the answer will be reported.
    Accepted,
    /// Nobody by that identifier, nothing to do.
    Nobody,
    /// Refused, or not received at all.
    Failed,
}

/// The spans after which an unfinished profile is brought up again.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Between two tries of one notice.
    pub try_again: Duration,
    /// Tries before the profile counts as failed.
    pub tries: u32,
    /// When nothing was reported.
    pub waiting: Duration,
    /// After the last try failed.
    pub error: Duration,
    /// While the other end's queue works.
    pub remote_processing: Duration,
    /// While a person is needed.
    pub action_required: Duration,
    /// How often an enricher is asked about one identifier, tries in vain counted; none for as often as it takes.
    pub asks: Option<u32>,
    /// Each wait is longer by up to this many hundredths of itself, so that what failed together is not tried together.
    pub spread: u32,
}

impl Default for Windows {
    fn default() -> Windows {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Windows {
            try_again: HOUR,
            tries: 5,
            waiting: 24 * HOUR,
            error: 24 * HOUR,
            remote_processing: 12 * HOUR,
            action_required: 7 * 24 * HOUR,
            asks: Some(30),
            spread: 10,
        }
    }
}

impl Windows {
    /// The end of `span` from `now`, and of up to its spread more, as `seed` wants it.
    pub fn after(&self, span: Duration, seed: u64, now: Timestamp) -> Timestamp {
        now + self.spread(span, seed)
    }

    /// What is to be tried again at `at` is tried again then, or as late as the other end asks for, within the window of what has
    /// failed.
    pub fn heeding(&self, asked: Option<RetryAfter>, at: Timestamp, now: Timestamp) -> Timestamp {
        let asked = asked.and_then(|asked| asked.time(now, self.error));
        asked.map_or(at, |asked| asked.max(at))
    }

    fn spread(&self, span: Duration, seed: u64) -> Duration {
        let part = u32::try_from(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54).unwrap_or(0); // 0..1024
        span + span * self.spread / 100 * part / 1024
    }
}

impl SiloRun {
    /// How far the run has come.
    ///
    /// Done when every profile is: as resolved if any is, else as skipped, with the exception named if any was. While some
    /// are open, the worst of those.
    pub fn status(&self) -> RunStatus {
        let nothing_asked = self.decided.unwrap_or(RunStatus::Skipped);
        let open = self
            .profiles
            .iter()
            .map(|profile| profile.status)
            .filter(|status| !status.is_terminal())
            .max();
        let best = self.profiles.iter().map(|profile| profile.status).min();
        open.or(best).unwrap_or(nothing_asked)
    }

    /// Whether the request is at what the run is for: its phase, and not restarted since.
    pub fn is_of(&self, head: &DsrHead) -> bool {
        head.phase() == Some(self.phase) && head.round == self.round
    }

    /// Whether something is still awaited from the silo.
    pub fn is_open(&self) -> bool {
        !self.abandoned && !self.status().is_terminal()
    }

    /// The spans after which its profiles are brought up again.
    pub fn windows(&self, windows: &Windows) -> Windows {
        let by_hand = self.manual_days.map(|days| days * Duration::from_secs(24 * 60 * 60));
        Windows {
            waiting: by_hand.unwrap_or(windows.waiting),
            ..*windows
        }
    }

    /// Whether the silo may begin with it: it is open, and no other silo has to finish first.
    pub fn is_work(&self) -> bool {
        self.is_open() && self.waits_for.is_empty()
    }

    /// Whether all that the silo still has to do waits in a queue at its end, which it has named.
    pub fn is_polled(&self) -> bool {
        let mut open = self.profiles.iter().filter(|profile| !profile.status.is_terminal());
        !self.profiles.is_empty() && open.all(|profile| profile.poll_id.is_some())
    }

    /// Whether any data was handed over.
    pub fn has_data(&self) -> bool {
        self.profiles.iter().any(Profile::has_data)
    }

    /// Whether any data was handed over that belongs to the data subject's report.
    pub fn delivers(&self) -> bool {
        self.confirms.is_none() && self.has_data()
    }

    /// Whether it was closed in the silo's place, for every identifier.
    pub fn is_decided_in_its_place(&self) -> bool {
        let decided = |profile: &Profile| matches!(profile.proof, Some(Proof::Decision { .. }));
        self.profiles.iter().all(decided)
    }

    /// Whether it waits for somebody to decide about data that should have been erased.
    pub fn is_contradicted(&self) -> bool {
        let open = self.contradiction.as_ref().filter(|found| found.resolved.is_none());
        open.is_some()
    }

    /// Follows what has changed since `before`: notes when each thing was answered and on whose word, and keeps a run open
    /// in which data turned up that should have been erased.
    pub fn follow(&mut self, before: &SiloRun, now: Timestamp, proof: Proof) {
        if self.confirms.is_some() && self.contradiction.is_none() && self.has_data() {
            self.contradiction = Some(Contradiction {
                at: now,
                resolved: None,
            });
        }
        if self.is_contradicted() {
            for profile in self.profiles.iter_mut().filter(|profile| profile.has_data()) {
                profile.status = RunStatus::ActionRequired;
            }
        }
        for profile in &mut self.profiles {
            let was = before.profiles.iter().find(|was| was.id == profile.id);
            profile.follow(was, now, proof);
        }
    }

    /// Somebody has decided about the data that turned up: nothing more is awaited from the silo in this run.
    pub fn resolve(&mut self, resolution: Resolution) {
        if let Some(contradiction) = &mut self.contradiction {
            contradiction.resolved = Some(resolution);
        }
        for profile in self.profiles.iter_mut().filter(|profile| !profile.status.is_terminal()) {
            profile.close_unmentioned(Verdict::Resolved);
            profile.status = RunStatus::Resolved;
        }
    }

    /// The profile, if it is one of this run and can still be reported on.
    pub fn open_profile(&mut self, id: ProfileId) -> Result<&mut Profile, Closed> {
        self.profiles
            .iter_mut()
            .find(|profile| profile.id == id && !profile.status.is_terminal())
            .ok_or(Closed)
    }

    /// A person decides. An open status opens the run again; a closing one closes what is still open.
    pub fn decide(&mut self, verdict: Verdict) {
        if self.profiles.is_empty() {
            self.decided = Some(verdict.status());
        }
        for profile in &mut self.profiles {
            if verdict.status().is_terminal() && profile.status.is_terminal() {
                continue;
            }
            if verdict.status().is_terminal() {
                profile.close_unmentioned(verdict);
            }
            profile.status = verdict.status();
            profile.put_off_at = None;
        }
    }

    /// A person has the silo asked again: about what is still open, or about everything where nothing is.
    pub fn ask_again(&mut self) {
        let all = self.profiles.iter().all(|profile| profile.status.is_terminal());
        for profile in self
            .profiles
            .iter_mut()
            .filter(|profile| all || !profile.status.is_terminal())
        {
            profile.status = RunStatus::Queued;
            profile.failed_notices = 0;
            profile.retry_after = None;
            profile.put_off_at = None;
            for point in &mut profile.data_points {
                // It may be answered in pages once more.
                point.pages_ended = false;
                if point.answer != Answer::Data {
                    point.answer = Answer::Awaited;
                }
            }
        }
    }
}

impl Profile {
    /// A profile about to be asked about `data_points`.
    pub fn new(
        id: ProfileId,
        identifier: Uuid,
        name: String,
        status: RunStatus,
        data_points: impl IntoIterator<Item = DataPointId>,
    ) -> Profile {
        let data_points = data_points.into_iter().map(DataPointAnswer::awaited).collect();
        Profile {
            id,
            identifier,
            name,
            status,
            data_points,
            failed_notices: 0,
            next_notice: None,
            retry_after: None,
            poll_id: None,
            message: None,
            put_off_at: None,
            digest: None,
            asked_at: None,
            answered_at: None,
            proof: None,
        }
    }

    /// What is known of `data_point`; a data point nobody asked for begins as awaited.
    pub fn data_point(&mut self, data_point: DataPointId) -> &mut DataPointAnswer {
        let place = self
            .data_points
            .iter()
            .position(|known| known.id == data_point)
            .unwrap_or_else(|| {
                self.data_points.push(DataPointAnswer::awaited(data_point));
                self.data_points.len() - 1
            });
        &mut self.data_points[place]
    }

    /// The silo hands over data points (`POST /v1/data-silo`).
    ///
    /// `each` is its verdict on the data points named in this call, `whole` the one on its work. A data point kept waiting
    /// keeps the profile open whatever `whole` says: work can still be reported as done, a closed run cannot be reopened
    /// by its silo.
    pub fn hand_over(&mut self, given: &[(DataPointId, Given)], whole: Option<Verdict>, each: Option<Verdict>) {
        for (id, what) in given {
            let point = self.data_point(*id);
            point.answer = match (each, what) {
                (None | Some(Verdict::Resolved), Given::Data) => Answer::Data,
                (None | Some(Verdict::Resolved), Given::Nothing) => Answer::NoData,
                (Some(Verdict::Skipped), _) => Answer::Skipped,
                (Some(Verdict::SkippedDueToException), _) => Answer::SkippedDueToException,
                (Some(Verdict::Waiting | Verdict::ActionRequired | Verdict::Error), _) => Answer::Partial,
            };
        }
        match whole {
            None => self.close_if_answered(),
            Some(whole) => {
                let kept_waiting =
                    |point: &DataPointAnswer| !point.answer.is_final() && given.iter().any(|(id, _)| *id == point.id);
                let holds = self.data_points.iter().any(kept_waiting);
                self.close_unmentioned_except(whole, given);
                let closes = whole.status().is_terminal();
                self.status = if closes && holds {
                    RunStatus::Waiting
                } else {
                    whole.status()
                };
            }
        }
    }

    /// The silo reports on its work without data (`PUT /v1/data-silo`). Saying nothing means done.
    ///
    /// Where `whole` and `this` disagree about being done, the open one counts, for the reason given at
    /// [`hand_over`](Profile::hand_over).
    pub fn report(&mut self, whole: Option<Verdict>, this: Option<Verdict>) {
        let verdict = match (whole, this) {
            (None, None) => Verdict::Resolved,
            (Some(only), None) | (None, Some(only)) => only,
            (Some(whole), Some(this)) if this.status().is_terminal() && !whole.status().is_terminal() => whole,
            (Some(_), Some(this)) => this,
        };
        if verdict.status().is_terminal() {
            self.close_unmentioned(verdict);
        }
        self.status = verdict.status();
    }

    /// A file has come. Answers its number among the files of its data point, from 1.
    pub fn file_came(&mut self, data_point: DataPointId, more_follow: bool) -> u32 {
        let point = self.data_point(data_point);
        point.files += 1;
        let number = point.files;
        if !more_follow {
            point.answer = Answer::Data;
        } else if point.answer == Answer::Awaited {
            point.answer = Answer::Partial;
        }
        self.close_if_answered();
        number
    }

    /// A page of paged data has come. After the last there can be no other. Answers how many pages were kept so far.
    pub fn page_came(&mut self, data_point: DataPointId, page: Page, is_last: bool) -> Result<u32, Closed> {
        let point = self.data_point(data_point);
        if point.pages_ended {
            return Err(Closed);
        }
        point.files += u32::from(page == Page::New);
        point.pages_ended = is_last;
        point.answer = match (is_last, point.files) {
            (false, _) => Answer::Partial,
            (true, 0) => Answer::NoData,
            (true, _) => Answer::Data,
        };
        let kept = point.files;
        self.close_if_answered();
        Ok(kept)
    }

    /// A notice was sent and received so. Changes nothing once the profile is closed: the answer was faster.
    pub fn noticed(&mut self, received: Received, tries_max: u32) {
        if self.status.is_terminal() {
            return;
        }
        match received {
            Received::Accepted => {
                self.failed_notices = 0;
                if matches!(self.status, RunStatus::Queued | RunStatus::Error) {
                    self.status = RunStatus::Waiting;
                }
            }
            Received::Nobody => self.report(Some(Verdict::Skipped), None),
            Received::Failed => {
                self.failed_notices += 1;
                if self.failed_notices >= tries_max {
                    self.status = RunStatus::Error;
                }
            }
        }
    }

    fn has_data(&self) -> bool {
        let handed_over = |point: &DataPointAnswer| point.files > 0 || point.answer == Answer::Data;
        self.data_points.iter().any(handed_over)
    }

    /// Notes of what has changed since it was as `was` when it did, and on whose word.
    fn follow(&mut self, was: Option<&Profile>, now: Timestamp, proof: Proof) {
        for point in &mut self.data_points {
            let before = was.and_then(|was| was.data_points.iter().find(|before| before.id == point.id));
            if !point.answer.is_final() {
                point.answered_at = None;
            } else if before.is_none_or(|before| before.answer != point.answer) {
                point.answered_at = Some(now);
            }
        }
        let was_open = was.is_none_or(|was| !was.status.is_terminal());
        match self.status.is_terminal() {
            false => (self.answered_at, self.proof) = (None, None),
            true if was_open => (self.answered_at, self.proof) = (Some(now), Some(proof)),
            true => {}
        }
    }

    /// When the silo is to be noticed next, if nothing comes before.
    pub fn notice_at(&self, windows: &Windows, now: Timestamp) -> Option<Timestamp> {
        let tried_in_vain = self.failed_notices > 0 && self.failed_notices < windows.tries;
        let span = match self.window(windows)? {
            _ if tried_in_vain => windows.try_again,
            window => window,
        };
        let seed = self.id.0.as_u64_pair().1 ^ u64::from(self.failed_notices);
        let at = windows.after(span, seed, now);
        Some(self.retry_after.filter(|after| *after > now).unwrap_or(at))
    }

    /// When the silo is to be noticed that was at rest and goes on: at once about what it has not taken, else as ever.
    pub fn notice_after_rest(&self, windows: &Windows, now: Timestamp) -> Option<Timestamp> {
        let taken = match self.status {
            RunStatus::Queued | RunStatus::Error => false,
            RunStatus::RemoteProcessing | RunStatus::Waiting | RunStatus::ActionRequired => self.failed_notices == 0,
            RunStatus::Resolved | RunStatus::Skipped | RunStatus::SkippedDueToException => true,
        };
        let at = self.notice_at(windows, now)?;
        let is_asked_to_wait = self.retry_after.is_some_and(|after| after > now);
        Some(if taken || is_asked_to_wait { at } else { now })
    }

    /// The span after which it is brought up again; none once it is closed.
    fn window(&self, windows: &Windows) -> Option<Duration> {
        match self.status {
            RunStatus::Resolved | RunStatus::Skipped | RunStatus::SkippedDueToException => None,
            RunStatus::Queued if self.put_off_at.is_some() => Some(windows.waiting),
            RunStatus::Queued => Some(Duration::ZERO),
            // It is asked how far it has come.
            RunStatus::Waiting if self.poll_id.is_some() => Some(windows.remote_processing),
            RunStatus::Waiting => Some(windows.waiting),
            RunStatus::Error => Some(windows.error),
            RunStatus::RemoteProcessing => Some(windows.remote_processing),
            RunStatus::ActionRequired => Some(windows.action_required),
        }
    }

    /// The silo has said that it is not done: its work list shows the profile again after its window, or the time it named.
    pub fn put_off(&mut self, now: Timestamp) {
        self.put_off_at = Some(now);
    }

    /// Whether a work list shows it: it is open, no person is needed for it, and the silo has not put it off.
    pub fn is_due(&self, windows: &Windows, now: Timestamp) -> bool {
        let Some(window) = self.window(windows) else {
            return false;
        };
        let asked_after = |since: Timestamp| self.retry_after.filter(|after| *after > since);
        let until = match self.put_off_at {
            Some(said_at) => asked_after(said_at).or(Some(said_at + window)),
            None => asked_after(now).filter(|_| self.status == RunStatus::Waiting),
        };
        self.status != RunStatus::ActionRequired && until.is_none_or(|until| until <= now)
    }

    fn close_unmentioned(&mut self, verdict: Verdict) {
        self.close_unmentioned_except(verdict, &[]);
    }

    fn close_unmentioned_except(&mut self, verdict: Verdict, mentioned: &[(DataPointId, Given)]) {
        let Some(answer) = verdict.for_unmentioned() else {
            return;
        };
        for point in &mut self.data_points {
            if !point.answer.is_final() && !mentioned.iter().any(|(id, _)| *id == point.id) {
                // Files that came without a word about the rest are an answer all the same.
                point.answer = if point.files > 0 && answer == Answer::NoData {
                    Answer::Data
                } else {
                    answer
                };
            }
        }
    }

    /// Closes the profile when every data point is answered. A person's task is not done by data coming in.
    fn close_if_answered(&mut self) {
        let all = !self.data_points.is_empty() && self.data_points.iter().all(|point| point.answer.is_final());
        if !all || self.status == RunStatus::ActionRequired {
            return;
        }
        let any = |wanted: &[Answer]| self.data_points.iter().any(|point| wanted.contains(&point.answer));
        self.status = if any(&[Answer::Data, Answer::NoData]) {
            RunStatus::Resolved
        } else if any(&[Answer::SkippedDueToException]) {
            RunStatus::SkippedDueToException
        } else {
            RunStatus::Skipped
        };
    }
}

impl DataPointAnswer {
    fn awaited(id: DataPointId) -> DataPointAnswer {
        DataPointAnswer {
            id,
            answer: Answer::Awaited,
            files: 0,
            pages_ended: false,
            answered_at: None,
        }
    }
}

impl Key for RunId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(RunId)
    }
}

impl Key for ProfileId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Uuid::decode(from).map(ProfileId)
    }
}

#[cfg(test)]
mod tests;
