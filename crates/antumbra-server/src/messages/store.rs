//! What is kept of messages.
//!
//! How a message stands is kept in clear and names nobody; what it says is sealed under the key of its request, and taken
//! away as soon as the mail server has it.

use antumbra_crypto::{Key32, value};
use antumbra_store::{Raw, Reader, Record, Scan, StoreError, Table, Tx, Value};
use uuid::Uuid;

use super::{
    MessageError,
    mail::Mail,
    model::{MessageHead, MessageId, MessageStatus},
};
use crate::{dsr::DsrId, organization::OrganizationId};

/// How each message stands: (organization, message).
const MESSAGES: Table<(Uuid, Uuid), MessageHead> = Table::new("messages");
/// What each message that is not sent says, and to whom, sealed: (organization, message).
const MAILS: Table<(Uuid, Uuid), Raw> = Table::new("message_mails");
/// Answers: which messages a request has, oldest first: (organization, request, message).
const MESSAGES_BY_REQUEST: Table<(Uuid, Uuid, Uuid), ()> = Table::new("messages_by_request");
/// Answers: which messages somebody may have to look after: (organization, status, message).
const MESSAGES_BY_STATUS: Table<(Uuid, u8, Uuid), ()> = Table::new("messages_by_status");

/// Names of this slice's tables.
pub const TABLES: &[&str] = &[
    MESSAGES.name(),
    MAILS.name(),
    MESSAGES_BY_REQUEST.name(),
    MESSAGES_BY_STATUS.name(),
];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<MessageHead>,
    crate::fuzz::same_when_written_again::<Mail>,
];

impl Record for MessageHead {
    const VERSION: u8 = 1;
}

impl Record for Mail {
    const VERSION: u8 = 1;
}

fn context<'a>(organization: &'a OrganizationId, id: &'a MessageId) -> [&'a [u8]; 3] {
    [b"message", organization.0.as_bytes(), id.0.as_bytes()]
}

/// Keeps a new message.
pub(super) fn insert(
    tx: &mut Tx,
    organization: OrganizationId,
    key: &Key32,
    head: &MessageHead,
    mail: &Mail,
) -> Result<(), MessageError> {
    let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(4096));
    mail.encode(&mut plain)?;
    let sealed = value::seal(key, &context(&organization, &head.id), &plain);
    tx.put(&MAILS, &(organization.0, head.id.0), &Raw(sealed));
    tx.put(&MESSAGES_BY_REQUEST, &(organization.0, head.request.0, head.id.0), &());
    put(tx, organization, head);
    Ok(())
}

fn put(tx: &mut Tx, organization: OrganizationId, head: &MessageHead) {
    tx.put(&MESSAGES, &(organization.0, head.id.0), head);
    if head.status.is_listed() {
        tx.put(
            &MESSAGES_BY_STATUS,
            &(organization.0, head.status.code(), head.id.0),
            &(),
        );
    }
}

/// Keeps how a message stands now in place of how it stood. What nobody will send is taken away.
pub(super) fn replace(tx: &mut Tx, organization: OrganizationId, before: &MessageHead, after: &MessageHead) {
    if before.status != after.status {
        tx.delete(
            &MESSAGES_BY_STATUS,
            &(organization.0, before.status.code(), before.id.0),
        );
    }
    put(tx, organization, after);
    if !after.status.is_listed() {
        tx.delete(&MAILS, &(organization.0, after.id.0));
    }
}

/// Removes a message and all that was kept about it.
pub(super) fn remove(tx: &mut Tx, organization: OrganizationId, head: &MessageHead) {
    tx.delete(&MESSAGES, &(organization.0, head.id.0));
    tx.delete(&MAILS, &(organization.0, head.id.0));
    tx.delete(&MESSAGES_BY_REQUEST, &(organization.0, head.request.0, head.id.0));
    tx.delete(&MESSAGES_BY_STATUS, &(organization.0, head.status.code(), head.id.0));
}

/// How the message stands.
pub(super) async fn find(
    reader: &mut Reader,
    organization: OrganizationId,
    id: MessageId,
) -> Result<Option<MessageHead>, StoreError> {
    reader.get(&MESSAGES, &(organization.0, id.0)).await
}

/// What the message says.
pub(super) async fn open(
    reader: &mut Reader,
    organization: OrganizationId,
    id: MessageId,
    key: &Key32,
) -> Result<Option<Mail>, MessageError> {
    let Some(sealed) = reader.get(&MAILS, &(organization.0, id.0)).await? else {
        return Ok(None);
    };
    let plain = value::open(key, &context(&organization, &id), &sealed.0)?;
    Ok(Some(Mail::decode(&plain)?))
}

/// The messages of a request after `after`, oldest first, at most `limit`.
pub(super) async fn list_of_request(
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
    after: Option<MessageId>,
    limit: usize,
) -> Result<Vec<MessageHead>, StoreError> {
    let mut scan = Scan::prefix(&(organization.0, request.0)).limit(limit);
    if let Some(after) = after {
        scan = scan.after(&(organization.0, request.0, after.0));
    }
    let rows = reader.scan(&MESSAGES_BY_REQUEST, scan).await?;
    heads(reader, organization, rows.into_iter().map(|((_, _, id), ())| id)).await
}

/// The messages of a status after `after`, oldest first, at most `limit`. Only statuses that are listed have any.
pub(super) async fn list_of_status(
    reader: &mut Reader,
    organization: OrganizationId,
    status: MessageStatus,
    after: Option<MessageId>,
    limit: usize,
) -> Result<Vec<MessageHead>, StoreError> {
    let mut scan = Scan::prefix(&(organization.0, status.code())).limit(limit);
    if let Some(after) = after {
        scan = scan.after(&(organization.0, status.code(), after.0));
    }
    let rows = reader.scan(&MESSAGES_BY_STATUS, scan).await?;
    heads(reader, organization, rows.into_iter().map(|((_, _, id), ())| id)).await
}

/// How many messages have a status that is listed, at most `limit`.
pub(super) async fn count_of_status(
    reader: &mut Reader,
    organization: OrganizationId,
    status: MessageStatus,
    limit: usize,
) -> Result<usize, StoreError> {
    let scan = Scan::prefix(&(organization.0, status.code())).limit(limit);
    Ok(reader.scan(&MESSAGES_BY_STATUS, scan).await?.len())
}

async fn heads(
    reader: &mut Reader,
    organization: OrganizationId,
    ids: impl Iterator<Item = Uuid>,
) -> Result<Vec<MessageHead>, StoreError> {
    let keys: Vec<_> = ids.map(|id| (organization.0, id)).collect();
    Ok(reader.get_many(&MESSAGES, &keys).await?.into_iter().flatten().collect())
}
