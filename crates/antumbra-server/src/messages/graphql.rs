//! The part of the management API that is about messages: how each stands, never to whom it goes or what it says.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{MessageHead, MessageId, MessageStatus, retry, store};
use crate::{
    dsr::DsrId,
    graphql::{Date, Refusal, Session, bound, parse_id, parse_ids},
    organization::MessageKind,
};

/// Messages on a page that asks for no number of them.
const FIRST: usize = 100;
/// Messages on a page.
const FIRST_MAX: i32 = 1_000;
/// Messages are counted this far.
const COUNT_MAX: usize = 10_000;

/// Queries about messages.
#[derive(Default)]
pub(crate) struct MessageQueries;

#[Object]
impl MessageQueries {
    /// Messages to data subjects, oldest first: those of a request, or those that somebody may have to look after.
    async fn messages(
        &self,
        context: &Context<'_>,
        request_id: Option<ID>,
        #[graphql(desc = "QUEUED, FAILED or NOT_SENT, where no request is given; FAILED unless said.")] status: Option<
            MessageStatus,
        >,
        first: Option<i32>,
        #[graphql(desc = "The last message of the page before.")] after: Option<ID>,
    ) -> Result<RequestMessagesPayload, Refusal> {
        let session = Session::of(context);
        let organization = session.organization();
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(FIRST);
        let after = after.map(|id| parse_id(&id, "message")).transpose()?.map(MessageId);
        let mut reader = session.read().await;
        if let Some(id) = request_id {
            let request = DsrId(parse_id(&id, "request")?);
            let mut listed = store::list_of_request(&mut reader, organization, request, after, first).await?;
            listed.retain(|head| status.is_none_or(|status| head.status == status));
            return Ok(RequestMessagesPayload::new(listed, None));
        }
        let status = status.unwrap_or(MessageStatus::Failed);
        if !status.is_listed() {
            return Err(Refusal::client(
                "status: only QUEUED, FAILED and NOT_SENT messages are listed without a requestId",
            ));
        }
        let listed = store::list_of_status(&mut reader, organization, status, after, first).await?;
        let count = store::count_of_status(&mut reader, organization, status, COUNT_MAX).await?;
        Ok(RequestMessagesPayload::new(listed, Some(count)))
    }
}

/// What people do to messages.
#[derive(Default)]
pub(crate) struct MessageMutations;

#[Object]
impl MessageMutations {
    /// Has messages that failed, or that there was no mail server for, sent after all.
    async fn retry_messages(
        &self,
        context: &Context<'_>,
        input: RetryMessagesInput,
    ) -> Result<RetryMessagesPayload, Refusal> {
        let session = Session::of(context);
        let ids: Vec<uuid::Uuid> = parse_ids(&input.ids, "message")?;
        if ids.len() > FIRST_MAX as usize {
            return Err(Refusal::client("ids holds more entries than allowed"));
        }
        let mut tx = session.write().await;
        let mut count = 0;
        for id in ids {
            let wanted = retry(
                &mut tx,
                &session.app.ids,
                session.organization(),
                MessageId(id),
                session.now,
            );
            if !wanted.await? {
                return Err(Refusal::not_found("message that waits to be tried again"));
            }
            session.record(&mut tx, "message.retried", ("message", id));
            count += 1;
        }
        Ok(RetryMessagesPayload {
            count,
            client_mutation_id: None,
        })
    }
}

/// Which messages to send after all.
#[derive(InputObject)]
struct RetryMessagesInput {
    /// They.
    ids: Vec<ID>,
}

/// Messages are sent after all.
#[derive(SimpleObject)]
struct RetryMessagesPayload {
    /// How many.
    count: i32,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A page of messages.
#[derive(SimpleObject)]
struct RequestMessagesPayload {
    /// The page.
    nodes: Vec<RequestMessage>,
    /// How many have the status that was asked for, counted to 10,000; null for those of a request.
    total_count: Option<i32>,
}

impl RequestMessagesPayload {
    fn new(heads: Vec<MessageHead>, count: Option<usize>) -> RequestMessagesPayload {
        RequestMessagesPayload {
            nodes: heads.into_iter().map(RequestMessage::from).collect(),
            total_count: count.map(|count| i32::try_from(count).unwrap_or(i32::MAX)),
        }
    }
}

/// A message to a data subject.
#[derive(SimpleObject)]
struct RequestMessage {
    /// Its id; the part of its Message-ID before the @.
    id: ID,
    /// The request it is about.
    request_id: ID,
    /// What it tells.
    kind: MessageKind,
    /// What clients of the published API call it once it is sent, such as RECEIPT_SENT.
    communication: &'static str,
    /// How it stands.
    status: MessageStatus,
    /// The language it is in.
    locale: String,
    /// Attempts that failed.
    failures: i32,
    /// Why the last attempt failed, or it was not sent at all.
    reason: Option<String>,
    /// Copies that the mail server refused, though it took the message.
    copies_refused: i32,
    /// When it was posted.
    created_at: Date,
    /// When it last changed.
    updated_at: Date,
    /// When the mail server took it over.
    sent_at: Option<Date>,
}

impl From<MessageHead> for RequestMessage {
    fn from(head: MessageHead) -> RequestMessage {
        RequestMessage {
            id: head.id.0.into(),
            request_id: head.request.0.into(),
            kind: head.kind,
            communication: head.kind.communication(),
            status: head.status,
            locale: head.language,
            failures: i32::try_from(head.failures).unwrap_or(i32::MAX),
            reason: head.reason,
            copies_refused: i32::try_from(head.copies_refused).unwrap_or(i32::MAX),
            created_at: Date(head.created_at),
            updated_at: Date(head.updated_at),
            sent_at: head.sent_at.map(Date),
        }
    }
}
