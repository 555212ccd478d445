//! What becomes of a message: pure.

use std::{fmt, time::Duration};

use async_graphql::Enum;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{dsr::DsrId, organization::MessageKind};

/// The id of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Waits before the second and each further attempt, give or take a tenth. Past the last the message has failed.
pub(super) const TRY_AGAIN_AFTER: [Duration; 10] = {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    [
        Duration::from_secs(MINUTE),
        Duration::from_secs(5 * MINUTE),
        Duration::from_secs(15 * MINUTE),
        Duration::from_secs(HOUR),
        Duration::from_secs(2 * HOUR),
        Duration::from_secs(4 * HOUR),
        Duration::from_secs(8 * HOUR),
        Duration::from_secs(12 * HOUR),
        Duration::from_secs(24 * HOUR),
        Duration::from_secs(24 * HOUR),
    ]
};

/// How a message stands. It holds neither an address nor a word of what is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageHead {
    /// Its id.
    pub id: MessageId,
    /// The request it is about.
    pub request: DsrId,
    /// What it tells.
    pub kind: MessageKind,
    /// The language of its words.
    pub language: String,
    /// How it stands.
    pub status: MessageStatus,
    /// Attempts that failed since somebody wanted it sent.
    pub failures: u32,
    /// Why the last attempt failed, or it is not sent at all; names nobody.
    pub reason: Option<String>,
    /// When it was posted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When the mail server took it over.
    pub sent_at: Option<Timestamp>,
    /// Copies that the mail server refused, though it took the message.
    #[serde(default)]
    pub copies_refused: u32,
}

/// How a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Enum)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MessageStatus {
    /// It is to be sent.
    Queued = 0,
    /// The mail server took it over.
    Sent = 1,
    /// It was refused for good, or put off until nobody tries any more.
    Failed = 2,
    /// There is no mail server to give it to.
    NotSent = 3,
    /// The request became silent before it was sent.
    Suppressed = 4,
}

impl MessageStatus {
    /// The number that stands for it in stored keys. Never change one.
    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    /// Whether it is listed by its status: nothing is left to be done about the others.
    pub(super) const fn is_listed(self) -> bool {
        match self {
            MessageStatus::Queued | MessageStatus::Failed | MessageStatus::NotSent => true,
            MessageStatus::Sent | MessageStatus::Suppressed => false,
        }
    }

    /// Whether it waits for somebody to have it tried again.
    pub(super) const fn can_be_tried_again(self) -> bool {
        match self {
            MessageStatus::Failed | MessageStatus::NotSent => true,
            MessageStatus::Queued | MessageStatus::Sent | MessageStatus::Suppressed => false,
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The mail server took it over.
    Sent {
        /// Copies that it refused.
        copies_refused: u32,
    },
    /// Not now.
    PutOff(String),
    /// Not ever, as it is.
    Refused(String),
    /// There is no mail server.
    NoServer,
}

/// What follows from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing more is done.
    Nothing,
    /// It is tried again after about this span.
    TryAgain(Duration),
}

impl MessageHead {
    /// Takes note of what came of an attempt. One that was taken back meanwhile stays so, unless it is out already.
    pub(super) fn tried(&mut self, outcome: Outcome, now: Timestamp) -> Next {
        if self.status != MessageStatus::Queued && !matches!(outcome, Outcome::Sent { .. }) {
            return Next::Nothing;
        }
        self.updated_at = now;
        match outcome {
            Outcome::Sent { copies_refused } => {
                self.status = MessageStatus::Sent;
                self.sent_at = Some(now);
                self.reason = None;
                self.copies_refused = copies_refused;
                Next::Nothing
            }
            Outcome::Refused(why) => {
                self.failures += 1;
                self.status = MessageStatus::Failed;
                self.reason = Some(why);
                Next::Nothing
            }
            Outcome::PutOff(why) => {
                let wait = TRY_AGAIN_AFTER.get(self.failures as usize);
                self.failures += 1;
                self.reason = Some(why);
                match wait {
                    Some(wait) => Next::TryAgain(*wait),
                    None => {
                        self.status = MessageStatus::Failed;
                        Next::Nothing
                    }
                }
            }
            Outcome::NoServer => {
                self.status = MessageStatus::NotSent;
                self.reason = Some("no mail server configured".to_owned());
                Next::Nothing
            }
        }
    }

    /// Has it tried once more from the beginning. `false` if it does not wait for that.
    pub(super) fn wanted_again(&mut self, now: Timestamp) -> bool {
        let can = self.status.can_be_tried_again();
        if can {
            self.status = MessageStatus::Queued;
            self.failures = 0;
            self.updated_at = now;
        }
        can
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> MessageHead {
        MessageHead {
            id: MessageId(Uuid::nil()),
            request: DsrId(Uuid::nil()),
            kind: MessageKind::Receipt,
            language: "en".into(),
            status: MessageStatus::Queued,
            failures: 0,
            reason: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            sent_at: None,
            copies_refused: 0,
        }
    }

    const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

    #[test]
    fn what_is_put_off_is_tried_for_three_days_and_has_then_failed() {
        let mut head = head();
        let mut waited = Duration::ZERO;
        for wait in TRY_AGAIN_AFTER {
            let next = head.tried(Outcome::PutOff("later".into()), NOW);
            assert_eq!((next, head.status), (Next::TryAgain(wait), MessageStatus::Queued));
            waited += wait;
        }
        assert!(waited > Duration::from_secs(3 * 24 * 3600), "{waited:?}");
        assert_eq!(head.tried(Outcome::PutOff("later".into()), NOW), Next::Nothing);
        assert_eq!((head.status, head.failures), (MessageStatus::Failed, 11));
        assert!(head.wanted_again(NOW) && !head.wanted_again(NOW));
        assert_eq!((head.status, head.failures), (MessageStatus::Queued, 0));
    }

    #[test]
    fn what_was_taken_back_stays_so_unless_it_is_out() {
        for (outcome, status) in [
            (Outcome::PutOff("later".into()), MessageStatus::Suppressed),
            (Outcome::Refused("no".into()), MessageStatus::Suppressed),
            (Outcome::NoServer, MessageStatus::Suppressed),
            (Outcome::Sent { copies_refused: 0 }, MessageStatus::Sent),
        ] {
            let mut head = MessageHead {
                status: MessageStatus::Suppressed,
                ..head()
            };
            assert_eq!(head.tried(outcome, NOW), Next::Nothing);
            assert_eq!(head.status, status);
        }
    }

    #[test]
    fn without_a_server_a_message_waits_for_somebody() {
        let mut head = head();
        assert_eq!(head.tried(Outcome::NoServer, NOW), Next::Nothing);
        assert_eq!(head.reason.as_deref(), Some("no mail server configured"));
        assert!(head.wanted_again(NOW));
    }
}
