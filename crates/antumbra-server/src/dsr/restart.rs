//! Restarting a request: it begins again under its id, with what is submitted now laid over what is known of it.
//!
//! What was kept in the round before is history: its silo runs take no more answers, and its files are withdrawn, since the
//! silos are asked for all of it again. What the submission does not mention stays as it was, the day on which the data
//! subject made the request above all: restarting gives nobody more time.

use antumbra_store::Tx;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Deed, DsrError,
    change::{advance, record},
    deadlines::{self, Deadline},
    drop_runs::{self, DropLink, DropRecordId},
    locales,
    model::{Dsr, DsrHead, DsrId, DsrIdentifier, DsrSubject, IdentifierSource, Verifier},
    refusal::{Checks, InputCode},
    state::DsrEvent,
    store,
    submission::{Draft, EmailClaim, IDENTIFIERS_MAX, Submission},
    submit,
};
use crate::{
    audit::Detail,
    config::DsrConfig,
    files,
    keyring::{KeyKind, OrganizationKeys},
    messages,
    organization::{Days, Settings},
};

/// The same words within this span are the same call once more: clients repeat calls whose answer was lost.
const REPEATED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// What a restart does with the identifiers that a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// All stay; verified are those that were when they were submitted.
    #[default]
    InitialVerifications,
    /// All stay as they are.
    AllVerifications,
    /// Those that were submitted stay; verified are those that were then.
    SubmittedOnly,
}

impl Strategy {
    /// The strategy of this name on the wire.
    pub(crate) fn parse(name: &str) -> Option<Strategy> {
        match name {
            "PRESERVE_INITIAL_VERIFICATIONS_ONLY" => Some(Strategy::InitialVerifications),
            "PRESERVE_ALL_VERIFICATIONS" => Some(Strategy::AllVerifications),
            "REMOVE_ENRICHED_IDENTIFIERS" => Some(Strategy::SubmittedOnly),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Strategy::InitialVerifications => "PRESERVE_INITIAL_VERIFICATIONS_ONLY",
            Strategy::AllVerifications => "PRESERVE_ALL_VERIFICATIONS",
            Strategy::SubmittedOnly => "REMOVE_ENRICHED_IDENTIFIERS",
        }
    }
}

/// A restart that a submission asks for.
#[derive(Clone, Copy)]
pub(crate) struct Restart {
    /// Of this request.
    pub(crate) id: DsrId,
    /// What becomes of its identifiers.
    pub(crate) strategy: Strategy,
}

/// When a request was last restarted, and by which words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarted {
    at: Timestamp,
    /// Blind, since the words name the person.
    words: [u8; 16],
}

/// The request that shall be restarted, as it is found.
pub(crate) enum Standing {
    /// There is none, or it is another organization's.
    Unknown,
    /// Nothing is left of the person it was about.
    Erased,
    /// This one.
    Known(Box<Dsr>),
}

impl Standing {
    /// Looks up what the draft wants restarted, if it wants that.
    pub(crate) async fn of(tx: &mut Tx, keys: &OrganizationKeys, draft: &Draft) -> Result<Option<Standing>, DsrError> {
        let Some(restart) = &draft.restart else { return Ok(None) };
        let dsr = match super::get(tx, keys, restart.id).await {
            Ok(dsr) => dsr,
            Err(DsrError::NotFound) => return Ok(Some(Standing::Unknown)),
            Err(error) => return Err(error),
        };
        let is_known = keys.find_key(tx, KeyKind::Request, restart.id.0).await?.is_some();
        Ok(Some(match is_known && !dsr.subject.identifiers.is_empty() {
            true => Standing::Known(Box::new(dsr)),
            false => Standing::Erased,
        }))
    }
}

impl Draft {
    /// Checks that the request can be restarted with this draft, and takes over from it what the draft does not mention.
    pub(super) fn take_up(
        &mut self,
        standing: Option<&Standing>,
        settings: &Settings,
        now: Timestamp,
        checks: &mut Checks,
    ) {
        let Some(standing) = standing else { return };
        let Dsr { head, subject } = match standing {
            Standing::Unknown => {
                let rule = "is not a request of this organization";
                return checks.refused(InputCode::RestartRequestNotFound, "requestId", rule);
            }
            Standing::Erased => {
                let rule = "is a request whose identifiers have been erased: submit a new one instead";
                return checks.refused(InputCode::RestartRequestNotFound, "requestId", rule);
            }
            Standing::Known(dsr) => &**dsr,
        };
        let limit = settings.organization.restart_time_limit_days;
        if let Some(Days(days)) = limit.filter(|limit| head.moved_at() + limit.span() < now) {
            let rule = format!("can no longer be restarted: {days} days after its status last changed this is over");
            checks.refused(InputCode::RestartTimeLimitExceeded, "requestId", rule);
        }
        let differs = "is not that of the request that is restarted";
        if self.action.is_some_and(|action| action != head.action()) {
            checks.refused(InputCode::TypeNotMatchingWorkflow, "type", differs);
        }
        if self
            .subject_type
            .as_ref()
            .is_some_and(|slug| *slug != head.subject_type)
        {
            checks.refused(InputCode::SubjectTypeNotMatchingWorkflow, "subjectType", differs);
        }
        if self
            .core_identifier
            .as_ref()
            .is_some_and(|core| *core != subject.core_identifier)
        {
            checks.broken("subject.coreIdentifier", differs);
        }
        if self.imported_end.is_some() {
            checks.broken("completedRequestStatus", "cannot stand together with requestId");
        }
        if self.email.is_none() && subject.email.is_some() {
            self.email.clone_from(&subject.email);
            self.email_claim = EmailClaim::Kept;
        }
        self.is_silent.get_or_insert(head.is_silent);
        self.is_test.get_or_insert(head.is_test);
        self.skips_receipt.get_or_insert(head.skips_receipt);
        self.created_at.get_or_insert(head.created_at);
        self.locale = self.locale.or_else(|| locales::find_locale(&head.locale));
        self.receipt_template = self.receipt_template.or(head.receipt_template);
        self.skipped_enrichers
            .get_or_insert_with(|| head.skipped_enrichers.clone());
        let leaves_choice = settings
            .find_action(head.action())
            .is_some_and(|action| action.allow_post_compile_choice);
        if leaves_choice {
            self.post_compile = self.post_compile.or(head.rules.delivery.chosen());
        }
        self.silos.get_or_insert_with(|| head.silos.clone());
        self.details.get_or_insert_with(|| subject.details.clone());
        self.region.get_or_insert_with(|| head.region.clone());
        self.reply_to.get_or_insert_with(|| subject.reply_to.clone());
    }
}

/// Lets a request begin again. Said once more, it changes nothing. Fails with [`DsrError::Duplicate`], having written
/// nothing, if another request that is equivalent is open.
pub(super) async fn restart(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    standing: Dsr,
    asked: Restart,
    submission: Submission,
    config: &DsrConfig,
) -> Result<Dsr, DsrError> {
    let id = asked.id;
    let words = keys.index.blind(&[b"dsr-restart", id.0.as_bytes(), &submission.words]);
    if standing
        .head
        .restarted
        .as_ref()
        .is_some_and(|last| is_repeat(last, &standing.head, words, deed.now))
    {
        return Ok(standing);
    }
    let submission = Submission {
        occasion: standing.subject.occasion.clone(),
        partition: submission.partition.or_else(|| standing.subject.partition.clone()),
        ..submission
    };
    let blinds = submit::blinds(keys, &submission);
    let equivalent = store::list_equivalent(tx, deed.organization, &blinds).await?;
    if let Some(other) = equivalent.into_iter().find(|other| *other != id) {
        return Err(DsrError::Duplicate(other));
    }
    let claim = submission.email_claim;
    let (before, was) = (standing.head, standing.subject);
    let submitted = submit::subject(&submission, deed.ids, deed.now);
    let had = was.identifiers.len();
    let identifiers = merge(was.identifiers, submitted.identifiers, asked.strategy, claim);
    if identifiers.len() > had.max(IDENTIFIERS_MAX) {
        return Err(DsrError::TooManyIdentifiers);
    }
    let subject = DsrSubject {
        identifiers,
        attributes: match submission.attributes {
            None => was.attributes,
            Some(_) => submitted.attributes,
        },
        drop: join(was.drop, submitted.drop),
        ..submitted
    };
    for link in &subject.drop {
        drop_runs::link(tx, keys, id, link);
    }
    let is_verified = subject.is_verified();
    let fresh = submit::head(submission, deed, &blinds, config, is_verified);
    let begun = begin(&before, fresh, words, deed.now);
    if before.is_noted_as_passed() && !begun.is_noted_as_passed() {
        deadlines::watch(tx, deed, id, deed.now);
    }
    let key = keys
        .find_key(tx, KeyKind::Request, id.0)
        .await?
        .ok_or(DsrError::NotFound)?;
    store::put_subject(tx, deed.organization, id, &key, &subject)?;
    store::replace(tx, deed.organization, &before, &begun);
    if begun.is_silent {
        messages::silence(tx, deed.organization, id, deed.now).await?;
    }
    let withdrawn = files::withdraw_all(tx, keys, id.0).await?;
    let details = vec![
        ("round", Detail::Count(u64::from(begun.round))),
        ("identifiers", asked.strategy.as_str().into()),
        ("files_withdrawn", Detail::Count(withdrawn as u64)),
    ];
    record(tx, deed, id, "dsr.restarted", details);
    advance(tx, deed, id, DsrEvent::Restarted).await?;
    let head = advance(tx, deed, id, DsrEvent::Begun).await?;
    store::put_open(tx, deed.organization, &head, blinds.email);
    Ok(Dsr { head, subject })
}

fn is_repeat(last: &Restarted, head: &DsrHead, words: [u8; 16], now: Timestamp) -> bool {
    last.words == words && head.state.is_open() && now.duration_since(last.at) < REPEATED_WITHIN
}

/// The request as it begins again: `fresh`, but for what makes it the same request.
///
/// Its deadline is one of these things, with what has moved it, unless the time or the place it is counted from is another
/// than before.
fn begin(before: &DsrHead, fresh: DsrHead, words: [u8; 16], now: Timestamp) -> DsrHead {
    let counts_as_before = fresh.created_at == before.created_at && fresh.region == before.region;
    let fresh = match before.deadline.clone().filter(|_| counts_as_before) {
        Some(kept) => {
            let verifying_since = fresh.deadline.as_ref().and_then(|deadline| deadline.verifying_since);
            fresh.due_by(Deadline {
                verifying_since,
                ..kept
            })
        }
        None => fresh,
    };
    DsrHead {
        id: before.id,
        state: before.state.clone(),
        origin: before.origin,
        round: before.round + 1,
        restarted: Some(Restarted { at: now, words }),
        ..fresh
    }
}

/// Old and new records, each once.
fn join(mut known: Vec<DropLink>, new: Vec<DropLink>) -> Vec<DropLink> {
    for mut link in new {
        let of_run = known.iter().filter(|known| known.run == link.run);
        let old: Vec<DropRecordId> = of_run.flat_map(|known| known.records.clone()).collect();
        link.records.retain(|record| !old.contains(record));
        known.push(link);
    }
    known
}

/// Old and new identifiers, each once, the old ones first.
fn merge(
    known: Vec<DsrIdentifier>,
    submitted: Vec<DsrIdentifier>,
    strategy: Strategy,
    claim: EmailClaim,
) -> Vec<DsrIdentifier> {
    let stays = |known: &DsrIdentifier| strategy != Strategy::SubmittedOnly || known.source == IdentifierSource::Input;
    let is_initial =
        |known: &DsrIdentifier| known.source == IdentifierSource::Input && known.verified_by == Verifier::Submitter;
    let mut merged: Vec<DsrIdentifier> = known.into_iter().filter(stays).collect();
    for known in &mut merged {
        if strategy != Strategy::AllVerifications && !is_initial(known) {
            known.verified_at = None;
            known.verified_by = Verifier::default();
        }
    }
    for fresh in submitted {
        let same = |known: &&mut DsrIdentifier| known.name == fresh.name && known.value == fresh.value;
        match merged.iter_mut().find(same) {
            None => merged.push(fresh),
            Some(known) if fresh.verified_at.is_some() => known.verified_at = known.verified_at.or(fresh.verified_at),
            // Only an address can be submitted unverified, and only if its submitter says so is that news.
            Some(known) if claim == EmailClaim::Unverified && strategy != Strategy::AllVerifications => {
                known.verified_at = None;
            }
            Some(_) => {}
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::organization::IdentifierKind;

    const THEN: Timestamp = Timestamp::UNIX_EPOCH;

    fn identifier(value: &str, source: IdentifierSource, verified_by: Option<Verifier>) -> DsrIdentifier {
        DsrIdentifier {
            id: Uuid::nil(),
            name: "email".into(),
            kind: IdentifierKind::Email,
            value: value.into(),
            source,
            verified_at: verified_by.map(|_| THEN),
            verified_by: verified_by.unwrap_or_default(),
            preflight: None,
        }
    }

    /// What is left, as `value` or, if it is verified, `value!`.
    fn merged(strategy: Strategy, submitted: Option<Verifier>, claim: EmailClaim) -> String {
        let known = vec![
            identifier("vouched", IdentifierSource::Input, Some(Verifier::Submitter)),
            identifier("proved", IdentifierSource::Input, Some(Verifier::Preflight)),
            identifier("open", IdentifierSource::Input, None),
            identifier("found", IdentifierSource::Enricher, Some(Verifier::Preflight)),
        ];
        let fresh = vec![
            identifier("vouched", IdentifierSource::Input, submitted),
            identifier("new", IdentifierSource::Input, submitted),
        ];
        let mark = |of: &DsrIdentifier| format!("{}{}", of.value, if of.verified_at.is_some() { "!" } else { "" });
        let all = merge(known, fresh, strategy, claim);
        all.iter().map(mark).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_strategy_keeps_what_it_says() {
        let vouched = Some(Verifier::Submitter);
        for (strategy, submitted, claim, expected) in [
            (
                Strategy::InitialVerifications,
                vouched,
                EmailClaim::Verified,
                "vouched! proved open found new!",
            ),
            (
                Strategy::AllVerifications,
                vouched,
                EmailClaim::Verified,
                "vouched! proved! open found! new!",
            ),
            (
                Strategy::SubmittedOnly,
                vouched,
                EmailClaim::Verified,
                "vouched! proved open new!",
            ),
            (
                Strategy::InitialVerifications,
                None,
                EmailClaim::Kept,
                "vouched! proved open found new",
            ),
            (
                Strategy::InitialVerifications,
                None,
                EmailClaim::Unverified,
                "vouched proved open found new",
            ),
            (
                Strategy::AllVerifications,
                None,
                EmailClaim::Unverified,
                "vouched! proved! open found! new",
            ),
        ] {
            assert_eq!(merged(strategy, submitted, claim), expected, "{strategy:?} {claim:?}");
        }
    }

    #[test]
    fn a_strategy_is_spelled_as_the_wire_spells_it() {
        for strategy in [
            Strategy::InitialVerifications,
            Strategy::AllVerifications,
            Strategy::SubmittedOnly,
        ] {
            assert_eq!(Strategy::parse(strategy.as_str()), Some(strategy));
        }
        assert_eq!(Strategy::parse("PRESERVE"), None);
    }
}
