//! The part of the management API that shows what happened: who did what to what, newest first.

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use uuid::Uuid;

use super::{Actor, Detail, PAGE_MAX, Recorded, list};
use crate::graphql::{Date, Refusal, Session, bound, parse_id};

/// Entries on a page that asks for no number of them.
const FIRST: usize = 100;
/// Entries on a page.
const FIRST_MAX: i32 = 1_000;
/// Entries that are looked at for one page about one thing; `endCursor` goes on from there.
const LOOKED_AT_MAX: usize = 50_000;

/// Queries about what happened.
#[derive(Default)]
pub(crate) struct AuditQueries;

#[Object]
impl AuditQueries {
    /// What happened, newest first: ids, counts and words of this program, and nothing that a data subject is called or has
    /// said. Entries are only ever added.
    async fn audit_events(
        &self,
        context: &Context<'_>,
        first: Option<i32>,
        #[graphql(desc = "`endCursor` of the page before.")] after: Option<ID>,
        #[graphql(desc = "Only what was done to the thing with this id, or what it took part in.")] about: Option<ID>,
    ) -> Result<AuditEventsPayload, Refusal> {
        let session = Session::of(context);
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(FIRST);
        let mut after = after.map(|id| parse_id(&id, "audit event")).transpose()?;
        let about = about.map(|id| parse_id(&id, "object")).transpose()?;
        let mut reader = session.read().await;
        let (mut nodes, mut looked_at) = (Vec::new(), 0);
        let has_more = loop {
            let page = list(&mut reader, session.organization(), after, PAGE_MAX).await?;
            let is_last = page.len() < PAGE_MAX;
            looked_at += page.len();
            let mut wanted = page.into_iter();
            while nodes.len() < first
                && let Some((id, recorded)) = wanted.next()
            {
                after = Some(id);
                if about.is_none_or(|about| names(&recorded, about)) {
                    nodes.push(AuditEvent::new(id, recorded));
                }
            }
            let is_full = nodes.len() == first;
            if is_full || is_last || looked_at >= LOOKED_AT_MAX {
                break wanted.len() > 0 || !is_last;
            }
        };
        Ok(AuditEventsPayload {
            nodes,
            end_cursor: after.map(ID::from),
            has_next_page: has_more,
        })
    }
}

fn names(recorded: &Recorded, id: Uuid) -> bool {
    recorded.object_id == id || recorded.details.iter().any(|(_, detail)| *detail == Detail::Id(id))
}

/// Who did something.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
enum AuditActorKind {
    /// A caller; `id` is that of its API key.
    ApiKey,
    /// A data silo that reported a result.
    DataSilo,
    /// The holder of a consent token; `id` is that of the secret that signed it.
    ConsentToken,
    /// The holder of a token of the preference centre.
    AccessToken,
    /// A data subject; `id` is that of the link to their request that they came with.
    DataSubject,
    /// Somebody who showed neither key nor token.
    Anyone,
    /// The operator, on the machine itself.
    Operator,
    /// The server's own jobs.
    System,
}

/// Who did something, by kind and id.
#[derive(SimpleObject)]
struct AuditActor {
    kind: AuditActorKind,
    id: Option<ID>,
}

impl From<Actor> for AuditActor {
    fn from(actor: Actor) -> AuditActor {
        let (kind, id) = match actor {
            Actor::ApiKey(id) => (AuditActorKind::ApiKey, Some(id)),
            Actor::DataSilo(id) => (AuditActorKind::DataSilo, Some(id)),
            Actor::ConsentToken(id) => (AuditActorKind::ConsentToken, Some(id)),
            Actor::AccessToken(id) => (AuditActorKind::AccessToken, Some(id)),
            Actor::DataSubject(id) => (AuditActorKind::DataSubject, Some(id)),
            Actor::Anyone => (AuditActorKind::Anyone, None),
            Actor::Operator => (AuditActorKind::Operator, None),
            Actor::System => (AuditActorKind::System, None),
        };
        AuditActor {
            kind,
            id: id.map(ID::from),
        }
    }
}

/// One fact about what happened.
#[derive(SimpleObject)]
struct AuditDetail {
    /// What it tells.
    name: String,
    /// A number, an id or a word of this program.
    value: String,
}

/// What happened once.
#[derive(SimpleObject)]
struct AuditEvent {
    /// Its id; ids grow with time.
    id: ID,
    /// When, by the time of the organization.
    at: Date,
    /// Who did it.
    actor: AuditActor,
    /// What was done, as in `dsr.submitted`.
    action: String,
    /// The kind of what it was done to.
    object_kind: String,
    /// The id of what it was done to.
    object_id: ID,
    /// What else there is to know.
    details: Vec<AuditDetail>,
}

impl AuditEvent {
    fn new(id: Uuid, recorded: Recorded) -> AuditEvent {
        let detail = |(name, detail): (std::borrow::Cow<'static, str>, Detail)| AuditDetail {
            name: name.into_owned(),
            value: match detail {
                Detail::Count(count) => count.to_string(),
                Detail::Id(id) => id.to_string(),
                Detail::Word(word) => word.into_owned(),
                Detail::Digest(digest) => digest.to_string(),
            },
        };
        AuditEvent {
            id: id.into(),
            at: Date(recorded.at),
            actor: recorded.actor.into(),
            action: recorded.action.into_owned(),
            object_kind: recorded.object_kind.into_owned(),
            object_id: recorded.object_id.into(),
            details: recorded.details.into_iter().map(detail).collect(),
        }
    }
}

/// A page of what happened.
#[derive(SimpleObject)]
struct AuditEventsPayload {
    /// The page.
    nodes: Vec<AuditEvent>,
    /// Where the next page goes on.
    end_cursor: Option<ID>,
    /// Whether there may be another.
    has_next_page: bool,
}
