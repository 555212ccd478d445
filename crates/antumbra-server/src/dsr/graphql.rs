//! The part of the management API that is about data subject requests.

use antumbra_store::Tx;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::{
    Cursor, Deed, Dsr, DsrError, DsrHead, DsrId, DsrState, DsrStatus, Filter, Order, Origin, Words, cancel,
    choose_words, count, extend, get, get_head, hold, link, list, plan::approve_bound, remove_identifiers, resume,
    set_available_until, set_silent, tell,
};
use crate::{
    audit::Digest,
    graphql::{Date, Direction, OrderBy, OrderField, Person, Refusal, Session, bound, parse_id, parse_ids},
    http::Problem,
    organization::{Action, Days, MessageKind, SettingError, check_words},
};

mod deadline;
mod drop_runs;
mod plan;
mod purpose;
mod rehearsal;

use deadline::RequestDeadline;
pub(crate) use drop_runs::{DropMutations, DropQueries};
pub(crate) use plan::PlanMutations;
use purpose::{RequestPartition, RequestPurpose};
pub(crate) use rehearsal::RehearsalMutations;

/// Requests on a page that asks for no number of them.
const FIRST: usize = 50;
/// Requests on a page.
const FIRST_MAX: i32 = 1_000;
/// Requests whose identifiers are listed at once.
const REQUESTS_MAX: usize = 1_000;

/// Queries about data subject requests.
#[derive(Default)]
pub(crate) struct DsrQueries;

#[Object]
impl DsrQueries {
    /// Data subject requests, the newest first unless another order is asked for.
    #[allow(clippy::too_many_arguments, reason = "the arguments that clients send")]
    async fn requests(
        &self,
        filter_by: Option<RequestFiltersInput>,
        first: Option<i32>,
        after: Option<String>,
        order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
        #[graphql(name = "isExportCsv")] _is_export_csv: Option<bool>,
    ) -> Result<RequestsPayload, Refusal> {
        let after = after.map(|text| {
            text.parse()
                .map_err(|_| Refusal::client("after is not a cursor of this list"))
        });
        Ok(RequestsPayload {
            filter: filter_by.unwrap_or_default().read()?,
            order: read_order(order_by.as_deref().unwrap_or_default())?,
            first: bound("first", first, FIRST_MAX)?.unwrap_or(FIRST),
            after: after.transpose()?,
            page: tokio::sync::OnceCell::new(),
        })
    }

    /// One data subject request.
    async fn request(&self, context: &Context<'_>, id: ID) -> Result<RequestNode, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let id = DsrId(parse_id(&id, "request")?);
        let dsr = get(&mut *session.read().await, &keys, id).await.map_err(refusal)?;
        Ok(RequestNode(dsr))
    }

    /// The identifiers of data subject requests, request by request and by name; their values are for
    /// `POST /v1/request-identifiers`.
    async fn request_identifiers(
        &self,
        context: &Context<'_>,
        input: RequestIdentifiersInput,
        first: Option<i32>,
        offset: Option<i32>,
        #[graphql(name = "orderBy")] _order_by: Option<Vec<OrderBy>>,
        #[graphql(name = "useMaster")] _use_master: Option<bool>,
    ) -> Result<RequestIdentifiersPayload, Refusal> {
        let session = Session::of(context);
        let all = input.read(session).await?;
        let first = bound("first", first, FIRST_MAX)?.unwrap_or(FIRST);
        let offset = bound("offset", offset, i32::MAX)?.unwrap_or(0);
        let total_count = i32::try_from(all.len()).unwrap_or(i32::MAX);
        let nodes = all.into_iter().skip(offset).take(first).collect();
        Ok(RequestIdentifiersPayload { nodes, total_count })
    }
}

/// What people do to data subject requests.
#[derive(Default)]
pub(crate) struct DsrMutations;

#[Object]
impl DsrMutations {
    /// Approves what a phase of a request brought, so that it goes on.
    async fn approve_request(
        &self,
        context: &Context<'_>,
        input: CommunicationInput,
    ) -> Result<ApproveRequestPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.request_id, "request")?);
        let hash = input.plan_hash.as_deref().map(read_hash).transpose()?;
        let keys = session.keys().await?;
        let head = approve_bound(&mut *session.write().await, &keys, &session.deed(), id, hash)
            .await
            .map_err(refusal)?;
        input.say(session, &head).await?;
        Ok(ApproveRequestPayload {
            request: opened(session, &head).await?,
            client_mutation_id: None,
        })
    }

    /// Stops a request.
    async fn cancel_request(
        &self,
        context: &Context<'_>,
        input: CommunicationInput,
    ) -> Result<CancelRequestPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.request_id, "request")?);
        if input.plan_hash.is_some() {
            return Err(Refusal::client("planHash is for approvals"));
        }
        let head = cancel(&mut *session.write().await, &session.deed(), id)
            .await
            .map_err(refusal)?;
        input.say(session, &head).await?;
        Ok(CancelRequestPayload {
            request: opened(session, &head).await?,
            client_mutation_id: None,
        })
    }

    /// Takes identifiers that nobody verified out of a request, so that it can go on without them.
    async fn remove_request_identifiers(
        &self,
        context: &Context<'_>,
        input: RemoveRequestIdentifiersInput,
    ) -> Result<RemoveRequestIdentifiersPayload, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let id = DsrId(parse_id(&input.request_id, "request")?);
        let identifiers: Vec<uuid::Uuid> = parse_ids(&input.request_identifier_ids, "request identifier")?;
        let mut tx = session.write().await;
        let removed = remove_identifiers(&mut tx, &keys, &session.deed(), id, &identifiers)
            .await
            .map_err(refusal)?;
        Ok(RemoveRequestIdentifiersPayload {
            count: i32::try_from(removed).unwrap_or(i32::MAX),
            client_mutation_id: None,
        })
    }

    /// Gives a request more time, once, and tells the data subject.
    async fn notify_additional_time(
        &self,
        context: &Context<'_>,
        input: AdditionalTimeInput,
    ) -> Result<NotifyAdditionalTimePayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.request_id, "request")?);
        let words = own_words(MessageKind::AdditionalTime, input.subject, input.template)?;
        let keys = session.keys().await?;
        // What is no number of days at all is refused as too many of them would be.
        let days = input
            .additional_time
            .map(|days| Days(u16::try_from(days).unwrap_or(u16::MAX)));
        let force = input.force.unwrap_or(false);
        let deed = session.deed();
        let mut tx = session.write().await;
        let head = extend(&mut tx, &deed, id, days, force).await.map_err(refusal)?;
        let told = tell(&mut tx, &keys, &deed, &head, MessageKind::AdditionalTime, &words);
        told.await.map_err(refusal)?;
        drop(tx);
        Ok(NotifyAdditionalTimePayload {
            request: opened(session, &head).await?,
            client_mutation_id: None,
        })
    }

    /// Changes how a request is handled: whether the data subject gets messages, until when files can be downloaded, and whether
    /// it is parked. `ON_HOLD` parks it; the status it had when it was parked takes it up again.
    async fn update_request(
        &self,
        context: &Context<'_>,
        input: UpdateRequestInput,
    ) -> Result<UpdateRequestPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.id, "request")?);
        if let Some(is_silent) = input.is_silent {
            let mut tx = session.write().await;
            set_silent(&mut tx, &session.deed(), id, is_silent)
                .await
                .map_err(refusal)?;
        }
        if let Some(status) = input.status {
            set_parked(&mut *session.write().await, &session.deed(), id, status).await?;
        }
        if let Some(Date(until)) = input.revoke_download_at {
            let mut tx = session.write().await;
            set_available_until(&mut tx, &session.deed(), id, until)
                .await
                .map_err(refusal)?;
        }
        let head = get_head(&mut *session.read().await, session.organization(), id)
            .await
            .map_err(refusal)?;
        Ok(UpdateRequestPayload {
            request: opened(session, &head).await?,
            client_mutation_id: None,
        })
    }
}

/// The identifiers of one page, and how many there are.
#[derive(SimpleObject)]
struct RequestIdentifiersPayload {
    /// The page.
    nodes: Vec<RequestIdentifier>,
    /// How many there are in all.
    total_count: i32,
}

/// An identifier of a request, without its value.
#[derive(SimpleObject)]
struct RequestIdentifier {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
    /// Whether anyone has verified it.
    is_verified_at_least_once: bool,
}

/// Whose identifiers to list.
#[derive(InputObject)]
struct RequestIdentifiersInput {
    /// The requests.
    request_ids: Option<Vec<ID>>,
    /// Only those that this preflight found or verified.
    request_enricher_id: Option<ID>,
    /// Verified, or else submitted, before this.
    updated_at_before: Option<Date>,
    /// Verified, or else submitted, at this time or later.
    updated_at_after: Option<Date>,
}

impl RequestIdentifiersInput {
    async fn read(self, session: &Session) -> Result<Vec<RequestIdentifier>, Refusal> {
        let ids: Vec<uuid::Uuid> = parse_ids(self.request_ids.as_deref().unwrap_or_default(), "request")?;
        if ids.is_empty() || ids.len() > REQUESTS_MAX {
            return Err(Refusal::client(format!(
                "requestIds must name 1 to {REQUESTS_MAX} requests"
            )));
        }
        let preflight = self.request_enricher_id.as_ref();
        let preflight: Option<uuid::Uuid> = preflight.map(|id| parse_id(id, "request enricher")).transpose()?;
        let keys = session.keys().await?;
        let mut found = Vec::new();
        for id in ids {
            let dsr = get(&mut *session.read().await, &keys, DsrId(id))
                .await
                .map_err(refusal)?;
            let mut identifiers = dsr.subject.identifiers;
            identifiers.retain(|identifier| {
                let updated_at = identifier.verified_at.unwrap_or(dsr.head.created_at);
                preflight.is_none_or(|preflight| identifier.preflight == Some(preflight))
                    && self.updated_at_before.is_none_or(|before| updated_at < before.0)
                    && self.updated_at_after.is_none_or(|after| updated_at >= after.0)
            });
            identifiers.sort_by(|one, other| one.name.cmp(&other.name));
            found.extend(identifiers.into_iter().map(|identifier| RequestIdentifier {
                id: identifier.id.into(),
                name: identifier.name,
                is_verified_at_least_once: identifier.verified_at.is_some(),
            }));
        }
        Ok(found)
    }
}

/// Identifiers to take out of a request.
#[derive(InputObject)]
struct RemoveRequestIdentifiersInput {
    /// The request.
    request_id: ID,
    /// The identifiers.
    request_identifier_ids: Vec<ID>,
}

/// What was taken out.
#[derive(SimpleObject)]
struct RemoveRequestIdentifiersPayload {
    /// How many identifiers were taken out.
    count: i32,
    /// Always null: this server keeps no ids of mutations.
    client_mutation_id: Option<String>,
}

async fn opened(session: &Session, head: &DsrHead) -> Result<RequestNode, Refusal> {
    let keys = session.keys().await?;
    Ok(RequestNode(
        get(&mut *session.read().await, &keys, head.id).await.map_err(refusal)?,
    ))
}

pub(crate) fn refusal(error: DsrError) -> Refusal {
    match error {
        DsrError::NotFound => Refusal::not_found("request"),
        DsrError::NotApproving(_)
        | DsrError::NotStoppable(_)
        | DsrError::PastStopping(_)
        | DsrError::TooManyIdentifiers
        | DsrError::LegallyHeld
        | DsrError::PlanDiffers { .. }
        | DsrError::PlanNotApproved
        | DsrError::StillOpen(_)
        | DsrError::Shredded
        | DsrError::Ended(_)
        | DsrError::NoExtension(_)
        | DsrError::OutOfPlace(_)
        | DsrError::Duplicate(_) => Refusal::client(error.to_string()),
        DsrError::Store(failed) => failed.into(),
        DsrError::Keys(failed) => Problem::from(failed).into(),
        DsrError::Files(failed) => Problem::from(failed).into(),
        DsrError::Sealed { .. } | DsrError::Unreadable { .. } => Problem::internal(&error).into(),
    }
}

fn read_order(order: &[OrderBy]) -> Result<Order, Refusal> {
    match order {
        [] => Ok(Order::NewestFirst),
        [first, rest @ ..]
            if first.field == OrderField::CreatedAt
                && rest
                    .iter()
                    .all(|by| by.field == OrderField::Id && by.direction == first.direction) =>
        {
            Ok(if first.direction == Direction::Asc {
                Order::OldestFirst
            } else {
                Order::NewestFirst
            })
        }
        _ => Err(Refusal::client(
            "requests are ordered by createdAt, then id, in one direction",
        )),
    }
}

/// A page of data subject requests. What is not selected is not worked out.
struct RequestsPayload {
    filter: Filter,
    order: Order,
    first: usize,
    after: Option<Cursor>,
    page: tokio::sync::OnceCell<(Vec<Dsr>, bool)>,
}

/// A page of data subject requests.
#[Object]
impl RequestsPayload {
    /// The page.
    async fn nodes(&self, context: &Context<'_>) -> Result<Vec<RequestNode>, Refusal> {
        let (items, _) = self.page(Session::of(context)).await?;
        Ok(items.iter().cloned().map(RequestNode).collect())
    }

    /// Where the page ends.
    async fn page_info(&self, context: &Context<'_>) -> Result<PageInfo, Refusal> {
        let (items, has_next_page) = self.page(Session::of(context)).await?;
        let end_cursor = items.last().map(|dsr| Cursor::after(&dsr.head).to_string());
        Ok(PageInfo {
            end_cursor,
            has_next_page: *has_next_page,
        })
    }

    /// How many there are in all.
    async fn total_count(&self, context: &Context<'_>) -> Result<i32, Refusal> {
        let session = Session::of(context);
        let keys = session.keys().await?;
        let total = count(&mut *session.read().await, &keys, &self.filter)
            .await
            .map_err(refusal)?;
        Ok(i32::try_from(total).unwrap_or(i32::MAX))
    }
}

impl RequestsPayload {
    async fn page(&self, session: &Session) -> Result<&(Vec<Dsr>, bool), Refusal> {
        let read = || async {
            let keys = session.keys().await?;
            let mut reader = session.read().await;
            let page = list(&mut reader, &keys, &self.filter, self.order, self.after, self.first).await;
            let page = page.map_err(refusal)?;
            Ok((page.items, page.has_next))
        };
        self.page.get_or_try_init(read).await
    }
}

/// Where a page ends.
#[derive(SimpleObject)]
pub(crate) struct PageInfo {
    /// The place after its last entry; null when it has none.
    pub(crate) end_cursor: Option<String>,
    /// Whether there is more after it.
    pub(crate) has_next_page: bool,
}

/// A data subject request.
pub(crate) struct RequestNode(pub(crate) Dsr);

/// A data subject request.
#[Object(name = "Request")]
impl RequestNode {
    /// Its id.
    async fn id(&self) -> ID {
        self.0.head.id.0.into()
    }

    /// What it demands.
    async fn r#type(&self) -> Action {
        self.0.head.action()
    }

    /// Where it stands.
    async fn status(&self) -> DsrStatus {
        self.0.head.state.status()
    }

    /// When the data subject made it.
    async fn created_at(&self) -> Date {
        Date(self.0.head.created_at)
    }

    /// When it last changed.
    async fn updated_at(&self) -> Date {
        Date(self.0.head.updated_at)
    }

    /// When it was done.
    async fn successfully_completed_at(&self) -> Option<Date> {
        self.0.head.state.completed_at().map(Date)
    }

    /// When what it delivered can no longer be seen and downloaded; null where no such time is set.
    async fn revoke_download_at(&self) -> Option<Date> {
        self.0.head.available_until().map(Date)
    }

    /// When everything about the person was deleted from it; null while it is there.
    async fn personal_data_deleted_at(&self) -> Option<Date> {
        self.0.head.shredded_at.map(Date)
    }

    /// Whole days until the time allowed by law is over; null once nothing more is to be done.
    async fn days_remaining(&self, context: &Context<'_>) -> Option<i32> {
        let days = self.0.head.days_until_overdue(Session::of(context).now);
        let open = self.0.head.state.status().is_open();
        open.then(|| i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }

    /// Until when it must have been answered, and why then.
    async fn deadline(&self) -> RequestDeadline {
        RequestDeadline::of(&self.0.head)
    }

    /// An address to look at it.
    async fn link(&self, context: &Context<'_>) -> String {
        link(&Session::of(context).app, self.0.head.id)
    }

    /// The slug of the data subject type.
    async fn subject_type(&self) -> &str {
        &self.0.head.subject_type
    }

    /// How it came in.
    async fn origin(&self) -> Origin {
        self.0.head.origin
    }

    /// No message is sent to the data subject.
    async fn is_silent(&self) -> bool {
        self.0.head.is_silent
    }

    /// It was made to try something out.
    async fn is_test(&self) -> bool {
        self.0.head.is_test
    }

    /// The language of messages and report.
    async fn locale(&self) -> &str {
        &self.0.head.locale
    }

    /// Where messages go.
    async fn email(&self) -> Option<&str> {
        self.0.subject.email.as_deref()
    }

    /// The organization's own name for the person.
    async fn core_identifier(&self) -> &str {
        &self.0.subject.core_identifier
    }

    /// Free text.
    async fn details(&self) -> &str {
        &self.0.subject.details
    }

    /// The country the data subject lives in.
    async fn country(&self) -> Option<&str> {
        self.0.head.region.country.as_deref()
    }

    /// The part of that country.
    async fn country_sub_division(&self) -> Option<&str> {
        self.0.head.region.subdivision.as_deref()
    }

    /// The purpose it is about, where preferences brought it about.
    async fn purpose(&self) -> Option<RequestPurpose> {
        self.0.subject.occasion.as_ref().map(RequestPurpose::new)
    }

    /// The partition that it is about, or that the preferences are in that brought it about.
    async fn partition(&self) -> Option<RequestPartition> {
        self.0.subject.partition().map(RequestPartition::new)
    }

    /// Labels.
    async fn attribute_values(&self) -> Vec<RequestAttributeValue> {
        let labels = self.0.subject.attributes.iter();
        let values = labels.flat_map(|label| {
            label.values.iter().map(|(id, name)| RequestAttributeValue {
                id: (*id).into(),
                name: name.clone(),
                attribute_key: RequestAttributeKey {
                    id: label.key_id.into(),
                    name: label.key.clone(),
                },
            })
        });
        values.collect()
    }

    /// People answerable for it. This server assigns none.
    async fn owners(&self) -> Vec<Person> {
        Vec::new()
    }

    /// Teams answerable for it. This server assigns none.
    async fn teams(&self) -> Vec<Person> {
        Vec::new()
    }
}

/// A label of a request.
#[derive(SimpleObject)]
struct RequestAttributeValue {
    /// Its id.
    id: ID,
    /// What it says.
    name: String,
    /// The key it belongs to.
    attribute_key: RequestAttributeKey,
}

/// The key of a label.
#[derive(SimpleObject)]
struct RequestAttributeKey {
    /// Its id.
    id: ID,
    /// Its name.
    name: String,
}

/// Which requests to list: those that every member given lets through, each list meaning any of its entries.
#[derive(Default, InputObject)]
struct RequestFiltersInput {
    /// With this text in id, core identifier or address.
    text: Option<String>,
    /// Demanding one of these.
    r#type: Option<Vec<Action>>,
    /// With one of these statuses.
    status: Option<Vec<DsrStatus>>,
    /// That came in one of these ways.
    origin: Option<Vec<Origin>>,
    /// Tests, or none.
    is_test: Option<bool>,
    /// Silent ones, or none.
    is_silent: Option<bool>,
    /// Ended ones, or those still worked on.
    is_closed: Option<bool>,
    /// Made before this.
    created_at_before: Option<Date>,
    /// Made at this time or later.
    created_at_after: Option<Date>,
    /// Last changed before this.
    updated_at_before: Option<Date>,
    /// Last changed at this time or later.
    updated_at_after: Option<Date>,
    /// Still worked on, and to be answered before this: with the present time, those that are late.
    due_before: Option<Date>,
    /// One of these.
    ids: Option<Vec<ID>>,
    /// About one of these people.
    core_identifier_values: Option<Vec<String>>,
    /// With one of these addresses.
    emails: Option<Vec<String>>,
    #[graphql(flatten)]
    others: OtherRequestFilters,
}

/// Filters that clients of other servers know. Given one, this server refuses rather than list too much.
#[derive(Default, InputObject)]
struct OtherRequestFilters {
    /// Not supported yet.
    details: Option<String>,
    /// Not supported yet.
    is_archived: Option<bool>,
    /// Not supported yet.
    is_bounced: Option<bool>,
    /// Not supported yet.
    is_opened: Option<bool>,
    /// Not supported yet.
    is_context_expired: Option<bool>,
    /// Not supported yet.
    has_unread_emails: Option<bool>,
    /// Not supported yet.
    missing_data_silo_ids: Option<Vec<ID>>,
    /// Not supported yet.
    subject_ids: Option<Vec<ID>>,
    /// Not supported yet.
    locales: Option<Vec<String>>,
    /// Not supported yet.
    attribute_value_ids: Option<Vec<ID>>,
    /// Not supported yet.
    countries: Option<Vec<String>>,
    /// Not supported yet.
    country_sub_divisions: Option<Vec<String>>,
    /// Not supported yet.
    owner_ids: Option<Vec<ID>>,
    /// Not supported yet.
    team_ids: Option<Vec<ID>>,
    /// Not supported yet.
    has_enricher_errors: Option<bool>,
    /// Not supported yet.
    identifier_value: Option<String>,
    /// Not supported yet.
    workflow_config_ids: Option<Vec<ID>>,
    /// Not supported yet.
    drop_run_ids: Option<Vec<ID>>,
    /// Not supported yet.
    drop_projected_cppa_status_codes: Option<Vec<String>>,
    /// Not supported yet.
    partition_keys: Option<Vec<String>>,
    /// Not supported yet.
    partition_ids: Option<Vec<ID>>,
    /// Not supported yet.
    purpose_names: Option<Vec<String>>,
    /// Not supported yet.
    purpose_ids: Option<Vec<ID>>,
    /// Not supported yet.
    consent_matching_state: Option<String>,
}

impl OtherRequestFilters {
    fn given(&self) -> Option<&'static str> {
        let given = [
            ("details", self.details.is_some()),
            ("isArchived", self.is_archived.is_some()),
            ("isBounced", self.is_bounced.is_some()),
            ("isOpened", self.is_opened.is_some()),
            ("isContextExpired", self.is_context_expired.is_some()),
            ("hasUnreadEmails", self.has_unread_emails.is_some()),
            ("missingDataSiloIds", self.missing_data_silo_ids.is_some()),
            ("subjectIds", self.subject_ids.is_some()),
            ("locales", self.locales.is_some()),
            ("attributeValueIds", self.attribute_value_ids.is_some()),
            ("countries", self.countries.is_some()),
            ("countrySubDivisions", self.country_sub_divisions.is_some()),
            ("ownerIds", self.owner_ids.is_some()),
            ("teamIds", self.team_ids.is_some()),
            ("hasEnricherErrors", self.has_enricher_errors.is_some()),
            ("identifierValue", self.identifier_value.is_some()),
            ("workflowConfigIds", self.workflow_config_ids.is_some()),
            ("dropRunIds", self.drop_run_ids.is_some()),
            (
                "dropProjectedCppaStatusCodes",
                self.drop_projected_cppa_status_codes.is_some(),
            ),
            ("partitionKeys", self.partition_keys.is_some()),
            ("partitionIds", self.partition_ids.is_some()),
            ("purposeNames", self.purpose_names.is_some()),
            ("purposeIds", self.purpose_ids.is_some()),
            ("consentMatchingState", self.consent_matching_state.is_some()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

impl RequestFiltersInput {
    fn read(self) -> Result<Filter, Refusal> {
        if let Some(name) = self.others.given() {
            return Err(Refusal::client(format!("this server cannot filter requests by {name}")));
        }
        let ids: Vec<uuid::Uuid> = parse_ids(&self.ids.unwrap_or_default(), "request")?;
        Ok(Filter {
            ids: ids.into_iter().map(DsrId).collect(),
            statuses: self.status.unwrap_or_default(),
            actions: self.r#type.unwrap_or_default(),
            origins: self.origin.unwrap_or_default(),
            is_test: self.is_test,
            is_silent: self.is_silent,
            is_closed: self.is_closed,
            created_before: self.created_at_before.map(|date| date.0),
            created_after: self.created_at_after.map(|date| date.0),
            updated_before: self.updated_at_before.map(|date| date.0),
            updated_after: self.updated_at_after.map(|date| date.0),
            due_before: self.due_before.map(|date| date.0),
            core_identifiers: self.core_identifier_values.unwrap_or_default(),
            emails: self.emails.unwrap_or_default(),
            text: self.text.filter(|text| !text.is_empty()),
        })
    }
}

/// A request, and what to say to the data subject about it.
#[derive(InputObject)]
struct CommunicationInput {
    /// Which request.
    request_id: ID,
    /// The body of the message: HTML if it has any tag, else plain text. Empty for the one that is configured or built in.
    template: Option<String>,
    /// The subject line of the message. Empty for the one that is configured or built in.
    subject: Option<String>,
    /// For approvals: the hash of what is planned from here on. If the plan has another hash by now, nothing is approved.
    /// Ours.
    plan_hash: Option<String>,
}

fn read_hash(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).ok_or_else(|| Refusal::client("planHash must be the hash of a plan"))
}

impl CommunicationInput {
    /// Has the message about what was just done to the request say these words.
    async fn say(self, session: &Session, head: &DsrHead) -> Result<(), Refusal> {
        let Some(kind) = head.state.tells() else { return Ok(()) };
        let words = own_words(kind, self.subject, self.template)?;
        let keys = session.keys().await?;
        let mut tx = session.write().await;
        choose_words(&mut tx, &keys, head, kind, &words).await.map_err(refusal)
    }
}

/// Words for one message, if they name only values that such a message has.
fn own_words(kind: MessageKind, subject: Option<String>, template: Option<String>) -> Result<Words, Refusal> {
    let given = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let words = Words {
        subject: given(subject),
        body: given(template),
        ..Words::default()
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let refuse = |place: &'static str| move |why: SettingError| Refusal::client(format!("{place}: {why}"));
    check_words(Some(kind), &text(&words.subject), &[]).map_err(refuse("subject"))?;
    check_words(Some(kind), "", &[&text(&words.body)]).map_err(refuse("template"))?;
    Ok(words)
}

/// More time for a request.
#[derive(InputObject)]
struct AdditionalTimeInput {
    /// Which request.
    request_id: ID,
    /// The body of the message.
    template: Option<String>,
    /// The subject line of the message.
    subject: Option<String>,
    /// So many days more; as many as the law allows, if it is left out.
    additional_time: Option<i32>,
    /// Also beyond what the law of the request allows. Nothing extends a request twice.
    force: Option<bool>,
}

/// A request was given more time.
#[derive(SimpleObject)]
struct NotifyAdditionalTimePayload {
    /// It.
    request: RequestNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A change of how a request is handled.
#[derive(InputObject)]
struct UpdateRequestInput {
    /// Which request.
    id: ID,
    /// Whether messages are kept from the data subject.
    is_silent: Option<bool>,
    /// `ON_HOLD` to park it, or the status to take it up again at.
    status: Option<DsrStatus>,
    /// Until when what it delivers can be seen and downloaded, in place of the usual time; a time that is past ends it now.
    revoke_download_at: Option<Date>,
}

/// Parks a request, or takes it up again where it stood. One that stands so already is left alone.
async fn set_parked(tx: &mut Tx, deed: &Deed<'_>, id: DsrId, wanted: DsrStatus) -> Result<(), Refusal> {
    let head = get_head(tx, deed.organization, id).await.map_err(refusal)?;
    let changed = match &head.state {
        state if state.status() == wanted => return Ok(()),
        DsrState::OnHold { held } if held.status() == wanted => resume(tx, deed, id).await,
        _ if wanted == DsrStatus::OnHold => hold(tx, deed, id).await,
        _ => {
            return Err(Refusal::client(
                "status must be ON_HOLD, or for a request that is parked the status it had before",
            ));
        }
    };
    changed.map(drop).map_err(refusal)
}

/// A request was approved.
#[derive(SimpleObject)]
struct ApproveRequestPayload {
    /// It.
    request: RequestNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A request was stopped.
#[derive(SimpleObject)]
struct CancelRequestPayload {
    /// It.
    request: RequestNode,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// A request was changed.
#[derive(SimpleObject)]
struct UpdateRequestPayload {
    /// It.
    request: RequestNode,
    /// Always null.
    client_mutation_id: Option<String>,
}
