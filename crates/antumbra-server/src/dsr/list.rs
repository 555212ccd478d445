//! Lists of requests, with filters and cursors.
//!
//! Status and time are in the indexes; everything else is looked up request by request, and what is about the person only
//! after opening it. A page reads on until it is full, in batches, so memory is bounded by the page.

use std::{fmt, str::FromStr};

use antumbra_store::{Reader, StoreError};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    DsrError,
    model::{Dsr, DsrHead, DsrId, Origin},
    state::DsrStatus,
    store::{self, Order, Place},
};
use crate::{keyring::OrganizationKeys, organization::Action};

/// Requests looked at in one round trip.
const BATCH: usize = 250;
/// Requests on one page.
pub(super) const PAGE_MAX: usize = 1_000;

/// Which requests to list. Lists are alternatives; an empty list, like `None`, asks for nothing.
#[derive(Clone, Default)]
pub struct Filter {
    /// One of these.
    pub ids: Vec<DsrId>,
    /// With one of these statuses.
    pub statuses: Vec<DsrStatus>,
    /// Demanding one of these.
    pub actions: Vec<Action>,
    /// That came in one of these ways.
    pub origins: Vec<Origin>,
    /// Tests, or none.
    pub is_test: Option<bool>,
    /// Silent ones, or none.
    pub is_silent: Option<bool>,
    /// Ended ones, or those still worked on.
    pub is_closed: Option<bool>,
    /// Made before this.
    pub created_before: Option<Timestamp>,
    /// Made at this time or later.
    pub created_after: Option<Timestamp>,
    /// Last changed before this.
    pub updated_before: Option<Timestamp>,
    /// Last changed at this time or later.
    pub updated_after: Option<Timestamp>,
    /// Still worked on, and to be answered before this.
    pub due_before: Option<Timestamp>,
    /// About one of these people, by core identifier.
    pub core_identifiers: Vec<String>,
    /// With one of these addresses.
    pub emails: Vec<String>,
    /// With this text in its id, core identifier or address.
    pub text: Option<String>,
}

/// Where a list goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Place);

/// The cursor is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list")]
pub struct BadCursor;

impl Cursor {
    /// The place just after this request.
    pub fn after(head: &DsrHead) -> Cursor {
        Cursor(store::place(head))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.0, self.0.1)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Cursor, BadCursor> {
        let (created, id) = text.split_once('.').ok_or(BadCursor)?;
        Ok(Cursor((
            created.parse().map_err(|_| BadCursor)?,
            id.parse().map_err(|_| BadCursor)?,
        )))
    }
}

/// A page of requests.
pub struct Page {
    /// The requests, opened.
    pub items: Vec<Dsr>,
    /// Whether there are more after them.
    pub has_next: bool,
}

/// Requests that pass `filter`, after `after`, at most `first` and at most 1,000.
pub async fn list(
    reader: &mut Reader,
    keys: &OrganizationKeys,
    filter: &Filter,
    order: Order,
    after: Option<Cursor>,
    first: usize,
) -> Result<Page, DsrError> {
    let first = first.min(PAGE_MAX);
    let mut items = Vec::new();
    let mut walk = Walk::new(reader, keys, filter, order, after).await?;
    while items.len() <= first {
        let Some(batch) = walk.next(reader).await? else { break };
        let heads = batch.into_iter().filter(|head| filter.passes_head(head)).collect();
        let opened = store::open(reader, keys, heads).await?;
        items.extend(opened.into_iter().filter(|dsr| filter.passes_subject(dsr)));
    }
    let has_next = items.len() > first;
    items.truncate(first);
    Ok(Page { items, has_next })
}

/// How many requests pass `filter`.
pub async fn count(reader: &mut Reader, keys: &OrganizationKeys, filter: &Filter) -> Result<usize, DsrError> {
    let mut walk = Walk::new(reader, keys, filter, Order::OldestFirst, None).await?;
    let mut count = 0;
    if filter.is_in_the_index() {
        while let Some(places) = walk.next_places(reader).await? {
            count += places.len();
        }
        return Ok(count);
    }
    while let Some(batch) = walk.next(reader).await? {
        let heads: Vec<DsrHead> = batch.into_iter().filter(|head| filter.passes_head(head)).collect();
        count += if filter.looks_at_subject() {
            store::open(reader, keys, heads)
                .await?
                .iter()
                .filter(|dsr| filter.passes_subject(dsr))
                .count()
        } else {
            heads.len()
        };
    }
    Ok(count)
}

impl Filter {
    /// Whether an index answers it without looking at any request.
    fn is_in_the_index(&self) -> bool {
        let Filter {
            ids,
            statuses: _,
            actions,
            origins,
            is_test,
            is_silent,
            is_closed,
            created_before,
            created_after,
            updated_before,
            updated_after,
            due_before,
            core_identifiers: _,
            emails: _,
            text: _,
        } = self;
        ids.is_empty()
            && actions.is_empty()
            && origins.is_empty()
            && [is_test, is_silent, is_closed].into_iter().all(Option::is_none)
            && [created_before, created_after, updated_before, updated_after, due_before]
                .into_iter()
                .all(Option::is_none)
            && !self.looks_at_subject()
    }

    fn looks_at_subject(&self) -> bool {
        !self.core_identifiers.is_empty() || !self.emails.is_empty() || self.text.is_some()
    }

    fn passes_head(&self, head: &DsrHead) -> bool {
        fn one_of<T: PartialEq>(wanted: &[T], is: &T) -> bool {
            wanted.is_empty() || wanted.contains(is)
        }
        let status = head.state.status();
        one_of(&self.ids, &head.id)
            && one_of(&self.statuses, &status)
            && one_of(&self.actions, &head.action())
            && one_of(&self.origins, &head.origin)
            && self.is_test.is_none_or(|wanted| wanted == head.is_test)
            && self.is_silent.is_none_or(|wanted| wanted == head.is_silent)
            && self.is_closed.is_none_or(|wanted| wanted != status.is_open())
            && self.created_before.is_none_or(|before| head.created_at < before)
            && self.created_after.is_none_or(|after| head.created_at >= after)
            && self.updated_before.is_none_or(|before| head.updated_at < before)
            && self.updated_after.is_none_or(|after| head.updated_at >= after)
            && self
                .due_before
                .is_none_or(|before| status.is_open() && head.due_at < before)
    }

    fn passes_subject(&self, dsr: &Dsr) -> bool {
        let (core, email) = (
            &dsr.subject.core_identifier,
            dsr.subject.email.as_deref().unwrap_or_default(),
        );
        let holds = |text: &String| {
            let text = text.to_lowercase();
            core.to_lowercase().contains(&text) || email.contains(&text) || dsr.head.id.to_string().contains(&text)
        };
        (self.core_identifiers.is_empty() || self.core_identifiers.contains(core))
            && (self.emails.is_empty() || self.emails.iter().any(|wanted| wanted.eq_ignore_ascii_case(email)))
            && self.text.as_ref().is_none_or(holds)
    }
}

/// A walk over the requests that may pass a filter, in order.
struct Walk<'a> {
    keys: &'a OrganizationKeys,
    statuses: &'a [DsrStatus],
    order: Order,
    after: Option<Place>,
    /// The places left, where the filter names the requests; else the index is read.
    named: Option<Vec<Place>>,
    ended: bool,
}

impl<'a> Walk<'a> {
    async fn new(
        reader: &mut Reader,
        keys: &'a OrganizationKeys,
        filter: &'a Filter,
        order: Order,
        after: Option<Cursor>,
    ) -> Result<Walk<'a>, StoreError> {
        let after = after.map(|cursor| cursor.0);
        let mut walk = Walk {
            keys,
            statuses: &filter.statuses,
            order,
            after,
            named: None,
            ended: false,
        };
        let mut ids = filter.ids.clone();
        if ids.is_empty() {
            for core_identifier in &filter.core_identifiers {
                ids.extend(store::list_by_core_identifier(reader, keys, core_identifier).await?);
            }
        }
        if !filter.ids.is_empty() || !filter.core_identifiers.is_empty() {
            ids.sort();
            ids.dedup();
            let heads = store::find_heads(reader, keys.organization, &ids).await?;
            let mut places: Vec<Place> = heads
                .iter()
                .map(store::place)
                .filter(|place| walk.is_ahead(place))
                .collect();
            // The next place stands last.
            places.sort();
            if order == Order::OldestFirst {
                places.reverse();
            }
            walk.named = Some(places);
        }
        Ok(walk)
    }

    fn is_ahead(&self, place: &Place) -> bool {
        self.after.is_none_or(|after| match self.order {
            Order::NewestFirst => *place < after,
            Order::OldestFirst => *place > after,
        })
    }

    async fn next_places(&mut self, reader: &mut Reader) -> Result<Option<Vec<Place>>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let places = match &mut self.named {
            Some(left) => left
                .split_off(left.len().saturating_sub(BATCH))
                .into_iter()
                .rev()
                .collect(),
            None => {
                let organization = self.keys.organization;
                store::list_places(reader, organization, self.statuses, self.order, self.after, BATCH).await?
            }
        };
        self.ended = places.len() < BATCH;
        self.after = places.last().copied().or(self.after);
        Ok(Some(places))
    }

    async fn next(&mut self, reader: &mut Reader) -> Result<Option<Vec<DsrHead>>, StoreError> {
        let Some(places) = self.next_places(reader).await? else {
            return Ok(None);
        };
        let ids: Vec<DsrId> = places.into_iter().map(|(_, id): (u64, Uuid)| DsrId(id)).collect();
        store::find_heads(reader, self.keys.organization, &ids).await.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text_and_anything_else_is_refused() {
        let cursor = Cursor((1_700_000_000_000, Uuid::from_u128(7)));
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for wrong in ["", ".", "1", "-1.00000000-0000-0000-0000-000000000007", "x.y", "1.2"] {
            assert_eq!(wrong.parse::<Cursor>(), Err(BadCursor), "{wrong}");
        }
    }
}
