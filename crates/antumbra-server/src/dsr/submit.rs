//! Making a request out of a submission.

use antumbra_store::Tx;
use jiff::Timestamp;

use super::{
    Deed, DsrError,
    change::{enqueue, follow_holds, record},
    deadlines::{self, Deadline, OfficeCalendar},
    drop_runs,
    model::{Dsr, DsrAttribute, DsrHead, DsrId, DsrIdentifier, DsrSubject, IdentifierSource, Origin, Verifier},
    plan::PlanMarks,
    state::{DsrEvent, DsrState, Rules},
    store::{self, Blinds, Sameness},
    submission::{EmailClaim, Submission},
};
use crate::{
    config::{DsrConfig, Review},
    keyring::OrganizationKeys,
    organization::IdentifierKind,
    world::Ids,
};

/// Keeps a new request and starts it. Fails with [`DsrError::Duplicate`], having written nothing, if an equivalent one is
/// open; for an import, if the same has been imported or was made at the same time.
pub(super) async fn submit(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    submission: Submission,
    config: &DsrConfig,
) -> Result<Dsr, DsrError> {
    let blinds = blinds(keys, &submission);
    let duplicate = match submission.imported_end {
        None => store::list_equivalent(tx, deed.organization, &blinds).await?.pop(),
        Some(_) => {
            let (action, created_at) = (submission.settings.action, submission.created_at);
            store::find_imported(tx, deed.organization, blinds.core, action, created_at).await?
        }
    };
    if let Some(known) = duplicate {
        return Err(DsrError::Duplicate(known));
    }
    keep(tx, keys, deed, submission, &blinds, config).await
}

/// Keeps a new request and starts it, whatever else is open.
pub(super) async fn keep(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    submission: Submission,
    blinds: &Blinds,
    config: &DsrConfig,
) -> Result<Dsr, DsrError> {
    let subject = subject(&submission, deed.ids, deed.now);
    let is_verified = subject.is_verified();
    let mut head = head(submission, deed, blinds, config, is_verified);
    let effects = match head.state {
        // Nothing stands between an API submission and its start.
        DsrState::RequestMade => {
            let (state, effects) = head.state.step(DsrEvent::Begun, &head.rules, deed.now)?;
            head.state = state;
            effects
        }
        _ => Vec::new(),
    };
    let dsr = Dsr { head, subject };
    store::insert(tx, keys, &dsr, blinds.email).await?;
    for link in &dsr.subject.drop {
        drop_runs::link(tx, keys, dsr.head.id, link);
    }
    let details = vec![
        ("action", dsr.head.action().as_str().into()),
        ("status", dsr.head.state.status().as_str().into()),
    ];
    record(tx, deed, dsr.head.id, "dsr.submitted", details);
    let wanted = effects.into_iter().filter(|effect| dsr.head.wants(effect));
    enqueue(tx, deed, dsr.head.id, wanted);
    if dsr.head.state.is_open() {
        let near_at = deadlines::near_at(&dsr.head, config.deadline_near);
        deadlines::watch(tx, deed, dsr.head.id, near_at);
    }
    follow_holds(tx, deed, &dsr.head).await?;
    Ok(dsr)
}

/// The blind indexes of the request that a submission will be.
pub(super) fn blinds(keys: &OrganizationKeys, submission: &Submission) -> Blinds {
    let same = Sameness {
        action: submission.settings.action,
        subject_type: &submission.subject_type,
        is_test: submission.is_test,
        core_identifier: &submission.core_identifier,
        occasion: submission.occasion.as_ref(),
        partition: submission.partition.as_ref(),
    };
    Blinds::of(keys, &same, submission.email.as_deref())
}

pub(super) fn head(
    submission: Submission,
    deed: &Deed<'_>,
    blinds: &Blinds,
    config: &DsrConfig,
    is_verified: bool,
) -> DsrHead {
    let settings = &submission.settings;
    let mut rules = Rules::under(settings);
    if submission.skips_waiting {
        rules.waiting = jiff::SignedDuration::ZERO;
    }
    if config.review == Review::Skipped {
        rules.requires_review = false;
        rules.requires_secondary_review = false;
    }
    let mut deadline = Deadline::of(
        submission.time_to_answer,
        settings,
        &submission.region,
        submission.created_at,
        &OfficeCalendar::of(&submission.organization, &config.time_zone),
    );
    if !is_verified && submission.imported_end.is_none() {
        deadline.verification_begins(deed.now);
    }
    DsrHead {
        id: DsrId(deed.ids.uuid()),
        state: submission
            .imported_end
            .map_or(DsrState::RequestMade, |end| end.state(deed.now)),
        rules,
        subject_type: submission.subject_type,
        origin: match submission.drop {
            Some(_) => Origin::Drop,
            None => Origin::Api,
        },
        is_silent: submission.is_silent,
        is_test: submission.is_test,
        skips_receipt: submission.skips_receipt,
        receipt_template: submission.receipt_template,
        locale: submission.locale.to_owned(),
        region: submission.region,
        silos: submission.silos,
        skipped_enrichers: submission.skipped_enrichers,
        created_at: submission.created_at,
        due_at: deadline.reckon(submission.created_at).due_at,
        deadline: Some(deadline),
        updated_at: deed.now,
        round: 0,
        moved_at: Some(deed.now),
        restarted: None,
        plan: PlanMarks::default(),
        core_index: blinds.core,
        equivalence: blinds.equivalence,
        shredded_at: None,
    }
}

/// The person, with every identifier that points at them: the address first, then the core identifier, then the others.
///
/// An API key holder's word makes an identifier verified, as an enricher of type `AUTO_APPROVE` would: the built-in rule
/// without which an organization that has configured no enricher could never ask a silo. It does not reach an address
/// that its submitter calls unverified.
pub(super) fn subject(submission: &Submission, ids: &Ids, now: Timestamp) -> DsrSubject {
    let identifier = |name: &str, kind, value: &str, verified_at| DsrIdentifier {
        id: ids.uuid(),
        name: name.to_owned(),
        kind,
        value: value.to_owned(),
        source: IdentifierSource::Input,
        verified_at,
        verified_by: Verifier::Submitter,
        preflight: None,
    };
    let built_in = |kind: IdentifierKind, value: &str, verified_at| identifier(kind.as_str(), kind, value, verified_at);
    let vouched = match submission.email_claim {
        EmailClaim::Verified | EmailClaim::Unsaid => Some(now),
        EmailClaim::Unverified | EmailClaim::Kept => None,
    };
    let address = submission
        .email
        .iter()
        .map(|email| built_in(IdentifierKind::Email, email, vouched));
    let core = built_in(IdentifierKind::CoreIdentifier, &submission.core_identifier, Some(now));
    let mut identifiers: Vec<DsrIdentifier> = address.chain([core]).collect();
    for (name, kind, value) in &submission.identifiers {
        if !identifiers
            .iter()
            .any(|known| known.name == *name && known.value == *value)
        {
            identifiers.push(identifier(name, *kind, value, Some(now)));
        }
    }
    let attributes = submission
        .attributes
        .iter()
        .flatten()
        .map(|(key, values)| DsrAttribute {
            key_id: key.id.0,
            key: key.name.clone(),
            values: values.iter().map(|value| (ids.uuid(), value.clone())).collect(),
        });
    DsrSubject {
        core_identifier: submission.core_identifier.clone(),
        email: submission.email.clone(),
        identifiers,
        details: submission.details.clone(),
        attributes: attributes.collect(),
        reply_to: submission.reply_to.clone(),
        occasion: submission.occasion.clone(),
        partition: submission.partition.clone(),
        drop: submission.drop.iter().cloned().collect(),
    }
}
