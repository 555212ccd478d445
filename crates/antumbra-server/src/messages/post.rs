//! Keeping messages, and what others do to those that are kept.

use antumbra_store::{Reader, StoreError, Tx};
use jiff::Timestamp;

use super::{
    MessageError,
    jobs::SEND,
    letter::Letter,
    model::{MessageHead, MessageId, MessageStatus},
    render, store,
};
use crate::{
    dsr::DsrId,
    jobs::{self, Job},
    keyring::{KeyKind, OrganizationKeys},
    organization::{OrganizationId, Settings},
    world::Ids,
};

/// Messages of one request. More than a request has even after years of restarts and reminders.
const OF_REQUEST_MAX: usize = 1_000;

/// Finds words for `letter`, keeps it and has it sent, if and only if `tx` commits. `None` if the request has no key any
/// more: then nobody is known to whom it could go.
pub async fn post(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    ids: &Ids,
    now: Timestamp,
    settings: &Settings,
    letter: Letter,
) -> Result<Option<MessageId>, MessageError> {
    let organization = keys.organization;
    let Some(key) = keys.find_key(tx, KeyKind::Request, letter.request.0).await? else {
        return Ok(None);
    };
    let (language, mail) = render::mail(settings, &letter);
    let head = MessageHead {
        id: MessageId(ids.uuid()),
        request: letter.request,
        kind: letter.kind,
        language,
        status: MessageStatus::Queued,
        failures: 0,
        reason: None,
        created_at: now,
        updated_at: now,
        sent_at: None,
        copies_refused: 0,
    };
    store::insert(tx, organization, &key, &head, &mail)?;
    enqueue(tx, ids, organization, head.id, now);
    Ok(Some(head.id))
}

fn enqueue(tx: &mut Tx, ids: &Ids, organization: OrganizationId, id: MessageId, now: Timestamp) {
    jobs::enqueue(tx, organization, Job::new(ids.uuid(), &SEND, [id.0]), now);
}

/// Takes back every message about a request that is not sent yet: the data subject gets none from now on.
pub async fn silence(
    tx: &mut Tx,
    organization: OrganizationId,
    request: DsrId,
    now: Timestamp,
) -> Result<(), StoreError> {
    for head in store::list_of_request(tx, organization, request, None, OF_REQUEST_MAX).await? {
        if head.status.is_listed() {
            let after = MessageHead {
                status: MessageStatus::Suppressed,
                updated_at: now,
                ..head.clone()
            };
            store::replace(tx, organization, &head, &after);
        }
    }
    Ok(())
}

/// Has a message that failed, or that there was no server for, sent after all. `false` when no such message waits for that.
pub async fn retry(
    tx: &mut Tx,
    ids: &Ids,
    organization: OrganizationId,
    id: MessageId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(before) = store::find(tx, organization, id).await? else {
        return Ok(false);
    };
    let mut after = before.clone();
    let wanted = after.wanted_again(now);
    if wanted {
        store::replace(tx, organization, &before, &after);
        enqueue(tx, ids, organization, id, now);
    }
    Ok(wanted)
}

/// The messages about a request, oldest first.
pub async fn list_of_request(
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
) -> Result<Vec<MessageHead>, StoreError> {
    store::list_of_request(reader, organization, request, None, OF_REQUEST_MAX).await
}

/// Removes what is kept of the messages about a request, up to a bound. Says whether more may be left.
pub async fn forget(tx: &mut Tx, organization: OrganizationId, request: DsrId) -> Result<bool, StoreError> {
    let heads = store::list_of_request(tx, organization, request, None, OF_REQUEST_MAX).await?;
    heads.iter().for_each(|head| store::remove(tx, organization, head));
    Ok(!heads.is_empty())
}
