//! Verifying an address by mail: the link and the code in the message, and what they are good for.
//!
//! Neither is kept anywhere. Both follow, by keyed digests, from the run they belong to and from when it was begun, so that
//! what comes back is compared with what it must be. A link works as long as its run waits for it; a code does so for a few
//! wrong tries.

use std::time::Duration;

use antumbra_crypto::same_bytes;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::model::{Preflight, PreflightId, PreflightState};
use crate::{
    keyring::OrganizationKeys,
    organization::OrganizationId,
    silos::{Enricher, EnricherId, EnricherKind},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What the verification is called that needs no configuration.
pub(super) const BUILT_IN_TITLE: &str = "Email Verification";
/// How long a data subject has where the enricher does not say.
const USUAL_WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// When a data subject is reminded where the enricher does not say.
const USUAL_REMINDERS: [Duration; 3] = [
    DAY,
    Duration::from_secs(3 * 24 * 60 * 60),
    Duration::from_secs(5 * 24 * 60 * 60),
];
/// Wrong codes, after which a code is good for nothing.
const WRONG_MAX: u32 = 5;
/// Further messages that a data subject can ask for.
const ASKED_FOR_MAX: u32 = 3;
/// The least time between two messages that somebody asks for.
const ASKED_FOR_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What has become of a verification by mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When the first message was sent.
    pub begun_at: Timestamp,
    /// When the last message was sent.
    pub sent_at: Timestamp,
    /// Reminders that were due.
    pub reminded: u32,
    /// Further messages that were asked for.
    pub asked_for: u32,
    /// Codes that were given up before the present one.
    pub code: u32,
    /// Wrong tries of the present code.
    pub wrong: u32,
}

impl Verification {
    /// One whose first message is sent now.
    pub fn begun(now: Timestamp) -> Verification {
        Verification {
            begun_at: now,
            sent_at: now,
            reminded: 0,
            asked_for: 0,
            code: 0,
            wrong: 0,
        }
    }

    /// One more message is sent. A code that was tried too often gives way to another.
    pub fn send_again(&mut self, now: Timestamp) {
        self.sent_at = now;
        if self.wrong >= WRONG_MAX {
            self.code += 1;
            self.wrong = 0;
        }
    }

    /// Whether one more message may be asked for.
    pub fn may_ask(&self, now: Timestamp) -> bool {
        self.asked_for < ASKED_FOR_MAX && now.duration_since(self.sent_at) >= ASKED_FOR_EVERY
    }
}

/// How long the data subject has.
pub(super) fn window(enricher: &Enricher) -> Duration {
    enricher.expiration.unwrap_or(USUAL_WINDOW)
}

/// When something is next to be done about a run that waits for the data subject: a reminder, or its end.
pub(super) fn wake_at(run: &Preflight, enricher: &Enricher) -> Option<Timestamp> {
    let (verification, ends_at) = (run.verification?, run.ends_at?);
    let mut spans = enricher.reminders.clone().unwrap_or_else(|| USUAL_REMINDERS.to_vec());
    spans.sort_unstable();
    let next = spans
        .get(verification.reminded as usize)
        .map(|span| verification.begun_at + *span);
    Some(next.filter(|at| *at < ends_at).unwrap_or(ends_at))
}

/// The verification that every organization has which has configured none of its own.
pub(super) fn built_in(keys: &OrganizationKeys) -> Enricher {
    // The same id each time, which no other enricher has.
    let id = EnricherId(Uuid::from_bytes(keys.index.blind(&[b"built-in-enricher", b"email"])));
    let mut enricher = Enricher::new(
        id,
        BUILT_IN_TITLE.to_owned(),
        EnricherKind::Email,
        Timestamp::UNIX_EPOCH,
    );
    enricher.input_identifier = Some("email".to_owned());
    enricher.output_identifiers = vec!["email".to_owned()];
    enricher
}

fn digest(keys: &OrganizationKeys, run: &Preflight, what: &[u8], number: u32) -> Option<[u8; 16]> {
    let begun = run.verification?.begun_at.as_millisecond().to_be_bytes();
    let (id, round) = (run.id.0, run.round.to_be_bytes());
    Some(keys.index.blind(&[
        b"verification",
        what,
        id.as_bytes(),
        &round,
        &begun,
        &number.to_be_bytes(),
    ]))
}

/// The six digits that the run waits for; none if it waits for none.
pub(super) fn code(keys: &OrganizationKeys, run: &Preflight) -> Option<String> {
    let digest = digest(keys, run, b"code", run.verification?.code)?;
    let (head, _) = digest.split_at(8);
    let number = head.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    Some(format!("{:06}", number % 1_000_000))
}

/// The token in the link of a run's messages; none if it sends none.
pub(super) fn token(keys: &OrganizationKeys, run: &Preflight) -> Option<String> {
    let digest = digest(keys, run, b"link", 0)?;
    let parts: [&[u8]; 3] = [keys.organization.0.as_bytes(), run.id.0.as_bytes(), &digest];
    Some(BASE64_URL_SAFE_NO_PAD.encode(parts.concat()))
}

/// Which run a token names, and what proves that it was given out for it.
pub(super) struct Token {
    pub(super) organization: OrganizationId,
    pub(super) run: PreflightId,
    proof: [u8; 16],
}

impl Token {
    /// Reads what stands in a link.
    pub(super) fn parse(text: &str) -> Option<Token> {
        let bytes: [u8; 48] = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let part = |at: usize| <[u8; 16]>::try_from(&bytes[at..at + 16]).ok();
        Some(Token {
            organization: OrganizationId(Uuid::from_bytes(part(0)?)),
            run: PreflightId(Uuid::from_bytes(part(16)?)),
            proof: part(32)?,
        })
    }

    /// Whether it was given out for this run, since that was last begun.
    pub(super) fn is_for(&self, keys: &OrganizationKeys, run: &Preflight) -> bool {
        digest(keys, run, b"link", 0).is_some_and(|digest| same_bytes(&digest, &self.proof))
    }
}

/// Tries a code on a run, and counts a wrong one.
pub(super) fn try_code(keys: &OrganizationKeys, run: &mut Preflight, tried: &str) -> bool {
    let right = code(keys, run);
    let Some(verification) = run.verification.as_mut() else {
        return false;
    };
    if run.state != PreflightState::Waiting || verification.wrong >= WRONG_MAX {
        return false;
    }
    if right.is_some_and(|right| same_bytes(right.as_bytes(), tried.as_bytes())) {
        return true;
    }
    verification.wrong += 1;
    false
}
