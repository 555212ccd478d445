//! What a data subject is told about their request: which changes of state are told, and the job that finds what to say.
//!
//! A change of state leaves [`COMPOSE_MESSAGE`] behind. Whether the data subject gets messages is looked at when the state
//! changes, when the message is composed, and once more when it is sent: [`super::set_silent`] takes back what waits.

use std::{collections::BTreeMap, fmt};

use antumbra_crypto::value;
use antumbra_store::{Raw, Record, Scan, StoreError, Table, Tx, Value};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Deed, DsrError,
    change::record,
    jobs::{by_the_system, failed, inner},
    links,
    model::{Dsr, DsrHead, DsrId},
    state::{DsrEffect, DsrState},
};
use crate::{
    AppState,
    jobs::{self, Claimed, Job, JobError, JobKind},
    keyring::{KeyKind, OrganizationKeys},
    messages::{self, Field, Letter, OwnWords},
    organization::{MessageKind, OrganizationId, Settings, TemplateId},
};

/// Finds what to say to the data subject and posts it. Subjects: the request, and the number of the kind of message.
pub static COMPOSE_MESSAGE: JobKind = inner("dsr.compose_message");

/// Words that somebody chose for one message about a request, sealed until it is composed: (organization, request, kind).
pub(super) const WORDS: Table<(Uuid, Uuid, u8), Raw> = Table::new("dsr_words");

/// Words that somebody chose for one message about a request, in place of those for its kind.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// The template to use.
    pub template: Option<TemplateId>,
    /// The template to use, by its title, where none is named by its id.
    pub template_title: Option<String>,
    /// The subject line.
    pub subject: Option<String>,
    /// The body.
    pub body: Option<String>,
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words(…)")
    }
}

impl Record for Words {
    const VERSION: u8 = 1;
}

impl DsrHead {
    /// Whether an effect of a change is carried out for this request: messages only if they are wanted.
    pub(super) fn wants(&self, effect: &DsrEffect) -> bool {
        match effect {
            DsrEffect::Tell(MessageKind::Receipt) => self.is_told() && !self.skips_receipt,
            DsrEffect::Tell(_) => self.is_told(),
            DsrEffect::SettleIdentities | DsrEffect::OpenRuns | DsrEffect::WakeAt(_) => true,
        }
    }

    /// Whether the data subject gets messages about it.
    pub fn is_told(&self) -> bool {
        !self.is_silent && !self.action().is_internal()
    }
}

impl DsrState {
    /// What the data subject is told on coming here, if anything.
    pub(super) fn tells(&self) -> Option<MessageKind> {
        match self {
            DsrState::Delayed { .. } => Some(MessageKind::PreviewReady),
            DsrState::Downloadable { .. } | DsrState::ViewCategories { .. } => Some(MessageKind::ReportReady),
            DsrState::Completed { .. } | DsrState::SecondaryCompleted { .. } => Some(MessageKind::Completed),
            DsrState::Canceled { .. } => Some(MessageKind::Canceled),
            DsrState::Revoked { .. } => Some(MessageKind::Revoked),
            DsrState::FailedVerification { .. } => Some(MessageKind::Denied),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::OnHold { .. }
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Approving { .. }
            | DsrState::Secondary
            | DsrState::SecondaryApproving => None,
        }
    }

    /// Whether a message of this kind is still true: the request may have moved on before it was composed.
    fn still_tells(&self, kind: MessageKind) -> bool {
        let state = match self {
            DsrState::OnHold { held } => held,
            state => state,
        };
        match kind {
            MessageKind::Receipt => true,
            MessageKind::Verification | MessageKind::VerificationReminder => *state == DsrState::Enriching,
            MessageKind::AdditionalTime => state.is_open(),
            MessageKind::ReportReady
            | MessageKind::PreviewReady
            | MessageKind::Canceled
            | MessageKind::Completed
            | MessageKind::Denied
            | MessageKind::Revoked => state.tells() == Some(kind),
        }
    }
}

/// The job that composes a message of this kind.
pub(super) fn compose_job(job: Uuid, id: DsrId, kind: MessageKind) -> Job {
    Job::new(job, &COMPOSE_MESSAGE, [id.0, Uuid::from_u128(u128::from(kind.code()))])
}

/// Tells the data subject something that no change of state tells, in these words where any are given. Nothing if the
/// request gets no messages.
pub async fn tell(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    head: &DsrHead,
    kind: MessageKind,
    words: &Words,
) -> Result<(), DsrError> {
    if head.is_told() {
        choose_words(tx, keys, head, kind, words).await?;
        let job = compose_job(deed.ids.uuid(), head.id, kind);
        jobs::enqueue(tx, deed.organization, job, deed.now);
    }
    Ok(())
}

/// Has the message of this kind that the same transaction wants say these words. Call it beside the change of state that is
/// told.
pub async fn choose_words(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    head: &DsrHead,
    kind: MessageKind,
    words: &Words,
) -> Result<(), DsrError> {
    let (organization, id) = (keys.organization, head.id);
    if *words == Words::default() || !head.is_told() {
        return Ok(());
    }
    let Some(key) = keys.find_key(tx, KeyKind::Request, id.0).await? else {
        return Ok(());
    };
    let mut plain = zeroize::Zeroizing::new(Vec::new());
    words
        .encode(&mut plain)
        .map_err(|source| DsrError::Unreadable { id, source })?;
    let sealed = value::seal(&key, &context(&organization, &id), &plain);
    tx.put(&WORDS, &(organization.0, id.0, kind.code()), &Raw(sealed));
    Ok(())
}

/// The words chosen for a message, which are gone once it is composed.
async fn take_words(tx: &mut Tx, keys: &OrganizationKeys, id: DsrId, kind: MessageKind) -> Result<Words, DsrError> {
    let place = (keys.organization.0, id.0, kind.code());
    let Some(sealed) = tx.get(&WORDS, &place).await? else {
        return Ok(Words::default());
    };
    tx.delete(&WORDS, &place);
    let Some(key) = keys.find_key(tx, KeyKind::Request, id.0).await? else {
        return Ok(Words::default());
    };
    let plain = value::open(&key, &context(&keys.organization, &id), &sealed.0)
        .map_err(|source| DsrError::Sealed { id, source })?;
    Words::decode(&plain).map_err(|source| DsrError::Unreadable { id, source })
}

fn context<'a>(organization: &'a OrganizationId, id: &'a DsrId) -> [&'a [u8]; 3] {
    [b"dsr-words", organization.0.as_bytes(), id.0.as_bytes()]
}

/// Removes the words chosen for messages that have not been composed.
pub(super) async fn forget_words(tx: &mut Tx, organization: OrganizationId, id: DsrId) -> Result<(), StoreError> {
    // Bounded by the kinds of messages there are.
    for (place, _) in tx.scan(&WORDS, Scan::prefix(&(organization.0, id.0))).await? {
        tx.delete(&WORDS, &place);
    }
    Ok(())
}

/// A letter about a request, with all that every letter needs; none if its data subject gets no messages, or none of this kind
/// may go to the address they are known by.
pub fn letter(dsr: &Dsr, kind: MessageKind) -> Option<Letter> {
    let (head, subject) = (&dsr.head, &dsr.subject);
    let to = subject.address_for(kind).filter(|_| head.is_told())?.to_owned();
    Some(Letter {
        request: head.id,
        kind,
        action: head.action(),
        requested_at: head.day_of(head.created_at),
        to,
        locale: head.locale.clone(),
        words: OwnWords::default(),
        fields: BTreeMap::new(),
        reply_to: subject.reply_to.clone(),
    })
}

/// Does [`COMPOSE_MESSAGE`]. What is no longer true is not said.
pub async fn compose_message(app: AppState, job: Claimed) -> Result<(), JobError> {
    let id = DsrId(job.subject(0)?);
    let code = u8::try_from(job.subject(1)?.as_u128()).ok();
    let kind = code
        .and_then(MessageKind::of_code)
        .ok_or(JobError::Failed("the job names no kind of message"))?;
    let keys = app.keys.organization(job.organization).await.map_err(failed)?;
    let mut tx = app.store.begin_write().await?;
    let words = take_words(&mut tx, &keys, id, kind).await.map_err(failed)?;
    let dsr = match super::get(&mut tx, &keys, id).await {
        Ok(dsr) => Some(dsr).filter(|dsr| dsr.head.state.still_tells(kind)),
        Err(DsrError::NotFound) => None,
        Err(error) => return Err(failed(error)),
    };
    if let Some(dsr) = dsr {
        let settings = app.settings.get(&mut tx, job.organization).await?;
        let has_address = dsr.subject.address_for(kind).is_some();
        if dsr.head.is_told() && dsr.head.shredded_at.is_none() && !has_address {
            let details = vec![("kind", kind.as_str().into())];
            record(&mut tx, &by_the_system(&app, &job), id, "dsr.not_told", details);
        }
        if let Some(mut letter) = compose(&settings, &dsr, kind, words) {
            let now = app.now(job.organization);
            if matches!(kind, MessageKind::ReportReady | MessageKind::PreviewReady) {
                let deed = by_the_system(&app, &job);
                let minted = links::mint(&mut tx, &app, &deed, id, None).await.map_err(failed)?;
                letter = letter.with("reportLink", Field::Link(minted.address));
            }
            messages::post(&mut tx, &keys, &app.ids, now, &settings, letter).await?;
        }
    }
    jobs::finish(&mut tx, &job).await?;
    tx.commit().await?;
    app.jobs.ring();
    Ok(())
}

/// The letter of this kind with its values; none if it is not wanted.
fn compose(settings: &Settings, dsr: &Dsr, kind: MessageKind, words: Words) -> Option<Letter> {
    let head = &dsr.head;
    let mut letter = letter(dsr, kind)?;
    letter.words = OwnWords {
        template: words.template,
        template_title: words.template_title,
        subject: words.subject,
        body: words.body,
    };
    let until = match &head.state {
        DsrState::Delayed { until } => Some(*until),
        _ => head.available_until(),
    };
    match kind {
        MessageKind::Receipt => {
            let of_action = settings.find_action(head.action());
            if head.skips_receipt || of_action.is_some_and(|action| !action.send_receipt_email) {
                return None;
            }
            letter.words.template = letter.words.template.or(head.receipt_template.map(TemplateId));
            letter = letter.with("dueDate", Field::Day(head.due_day()));
        }
        MessageKind::AdditionalTime => letter = letter.with("dueDate", Field::Day(head.due_day())),
        MessageKind::ReportReady | MessageKind::PreviewReady => {
            if let Some(until) = until {
                letter = letter.with("availableUntil", Field::Day(head.day_of(until)));
            }
        }
        MessageKind::Verification
        | MessageKind::VerificationReminder
        | MessageKind::Canceled
        | MessageKind::Completed
        | MessageKind::Denied
        | MessageKind::Revoked => {}
    }
    Some(letter)
}
