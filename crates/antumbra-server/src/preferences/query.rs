//! Which records a query means, in which order they come, and where the next page begins.
//!
//! Every member of a filter must hold. Bounds on time include their ends, and the newest record comes first: clients
//! find out how far a partition reaches by asking for one record. A cursor is signed, names its partition and carries
//! the whole filter, so the next page can be had with nothing else. It holds digests of identifiers, never identifiers.
//!
//! A query may look back: as of the time of an event, as known at a time of ours, or both. Which records it means, and in
//! which order they come, is then still a matter of what is stored now; `timeline.rs` shows each as it was.

use antumbra_crypto::token::Claims;
use antumbra_store::{Reader, StoreError};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    check::Broken,
    identifiers::{self, EMAIL_NAME, LEGACY_NAME, TRANSCEND},
    model::RecordId,
    moment::Moment,
    store::{self, Blind, Dimension, Held, Site},
    timeline::View,
    wire,
};
use crate::{http::Problem, keyring::KeyringError, purposes::PartitionId};

/// Most records of one page.
const LIMIT_MAX: i64 = 100;

/// Records of one page, if the caller does not say.
const LIMIT_DEFAULT: usize = 50;

/// Most identifiers of one filter.
pub(super) const IDENTIFIERS_MAX: usize = 100;

/// Most digests that a cursor carries: it stays under 2 KB. With more, the filter has to be sent again.
const CARRIED_MAX: usize = 40;

/// Rows that are read at once where a second bound leaves some out.
const CHUNK: usize = 200;

/// Rows that one call looks at where a second bound leaves some out. A page that is not full by then goes out as it is:
/// its cursor says where the next goes on. Only an empty one must not, since clients take it for the last, and looks on.
const LOOKED_AT_MAX: usize = 2_000;

/// Rows that one call looks at in search of the first that the second bound does not leave out. Past them the query is refused.
const LOOKED_AT_IN_VAIN_MAX: usize = 100_000;

/// A query, checked.
pub(super) struct Query {
    pub(super) partition: PartitionId,
    pub(super) limit: usize,
    pub(super) view: View,
    filter: Filter,
    after: Option<After>,
}

/// Which records.
#[derive(Default)]
struct Filter {
    /// None if any will do.
    lookups: Option<Vec<Lookup>>,
    event: Bounds,
    update: Bounds,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bounds {
    from: Option<i64>,
    to: Option<i64>,
}

/// One way to find a record.
struct Lookup {
    by: By,
    /// What the record's `userId` shall say: the value as the caller spelt it, if it came without a name.
    user_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Digest(Blind),
    Id(RecordId),
}

/// The last record of the page before.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum After {
    /// The place of the lookup that found it.
    #[serde(rename = "l")]
    Lookup(usize),
    /// Its time and its id.
    #[serde(rename = "t")]
    Time(i64, RecordId),
}

/// What a cursor says.
#[derive(Serialize, Deserialize)]
struct Cursor {
    /// The partition.
    p: PartitionId,
    /// The digest of the filter.
    f: String,
    /// The filter's bounds.
    e: Bounds,
    u: Bounds,
    /// The filter's digests, one after another; none if it has no identifiers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    i: Option<String>,
    /// The last record.
    a: After,
    /// The view: as of, as known at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    t: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    k: Option<i64>,
}

impl Claims for Cursor {
    const KIND: &'static str = "preferences";
}

/// One record of a page, and what its `userId` shall say.
pub(super) struct Hit {
    pub(super) held: Held,
    pub(super) user_id: Option<String>,
    /// Whether it can't be shown as the query wants it, because its history is too long.
    pub(super) is_too_long: bool,
}

/// Checks a query.
pub(super) fn check(site: &Site<'_>, partition: PartitionId, query: wire::Query) -> Result<Query, Problem> {
    let mut broken = Vec::new();
    let limit = check_limit(query.limit, &mut broken);
    let filter = query
        .filter
        .map(|filter| Filter::check(site, partition, filter, &mut broken));
    let cursor = match query.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
        None => None,
        Some(text) => match Cursor::read(site, partition, text) {
            Some(cursor) => Some(cursor),
            None => {
                broken.push((
                    "cursor".to_owned(),
                    "is not one that this server gave for this partition".to_owned(),
                ));
                None
            }
        },
    };
    let asked = View {
        as_of: check_moment("asOf", query.as_of, &mut broken),
        known_at: check_moment("knownAt", query.known_at, &mut broken),
    };
    let view = cursor.as_ref().map_or(asked, Cursor::view);
    for (name, asked, carried) in [
        ("asOf", asked.as_of, view.as_of),
        ("knownAt", asked.known_at, view.known_at),
    ] {
        if asked.is_some() && asked != carried {
            broken.push((
                name.to_owned(),
                "is not the one that the cursor was given for".to_owned(),
            ));
        }
    }
    let (filter, after) = match (filter, cursor) {
        (filter, None) => (filter.unwrap_or_default(), None),
        (Some(filter), Some(cursor)) => {
            if filter.digest(site) != cursor.f {
                broken.push((
                    "filter".to_owned(),
                    "is not the one that the cursor was given for".to_owned(),
                ));
            }
            (filter, Some(cursor.a))
        }
        (None, Some(cursor)) => match cursor.filter(site) {
            Some(filter) => (filter, Some(cursor.a)),
            None => {
                broken.push((
                    "filter".to_owned(),
                    "has to be sent again with this cursor: it is a long one".to_owned(),
                ));
                (Filter::default(), None)
            }
        },
    };
    if broken.is_empty() {
        Ok(Query {
            partition,
            limit,
            view,
            filter,
            after,
        })
    } else {
        Err(Problem::validation(broken))
    }
}

/// How many records a page holds.
pub(super) fn check_limit(limit: Option<i64>, broken: &mut Vec<Broken>) -> usize {
    match limit {
        None => LIMIT_DEFAULT,
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => usize::try_from(limit).unwrap_or(LIMIT_DEFAULT),
        Some(_) => {
            broken.push(("limit".to_owned(), format!("must be from 1 to {LIMIT_MAX}")));
            LIMIT_DEFAULT
        }
    }
}

/// What the deprecated lookup can ask for.
pub(super) enum Plain {
    /// Records that have one of these values. Those whose people chose last come first.
    Values(Vec<String>),
    /// Records between two times, both included.
    Between(Dimension, Option<Moment>, Option<Moment>),
}

/// A query for what the deprecated lookup asks, its page beginning after a record of that time.
pub(super) fn plain(
    site: &Site<'_>,
    partition: PartitionId,
    plain: Plain,
    limit: usize,
    after: Option<(Moment, RecordId)>,
) -> Query {
    let (lookups, dimension, bounds) = match plain {
        Plain::Values(values) => {
            let lookups = values.into_iter().flat_map(|value| nameless(site, partition, value));
            // A bound that holds for everybody, for the order.
            let ever = Bounds {
                from: Some(i64::MIN),
                to: None,
            };
            (Some(lookups.collect()), Dimension::Event, ever)
        }
        Plain::Between(dimension, from, to) => {
            let [from, to] = [from, to].map(|moment| moment.map(|at| at.0));
            (None, dimension, Bounds { from, to })
        }
    };
    let (event, update) = match dimension {
        Dimension::Event => (bounds, Bounds::default()),
        Dimension::Update => (Bounds::default(), bounds),
    };
    Query {
        partition,
        limit,
        view: View::default(),
        filter: Filter { lookups, event, update },
        after: after.map(|(at, id)| After::Time(at.0, id)),
    }
}

/// The record of a person, by one identifier whose name is known.
pub(super) async fn find_person(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    name: &str,
    value: &str,
) -> Result<Option<Held>, KeyringError> {
    let by = match name {
        TRANSCEND => identifiers::record_id(value).map(By::Id),
        name => digest(site, partition, name, value),
    };
    let Some(by) = by else { return Ok(None) };
    let found = find_all(reader, site, partition, &[Lookup { by, user_id: None }]).await?;
    let Some(Some(id)) = found.first() else { return Ok(None) };
    Ok(store::find_records(reader, site, partition, &[*id])
        .await?
        .pop()
        .flatten())
}

/// A query for what a filter says, without a view.
pub(super) fn filtered(
    site: &Site<'_>,
    partition: PartitionId,
    filter: Option<wire::QueryFilter>,
    limit: usize,
    broken: &mut Vec<Broken>,
) -> Query {
    let filter = filter.map(|filter| Filter::check(site, partition, filter, broken));
    Query {
        partition,
        limit,
        view: View::default(),
        filter: filter.unwrap_or_default(),
        after: None,
    }
}

impl Query {
    /// The same for what comes after a record.
    pub(super) fn after(self, after: Option<After>) -> Query {
        Query { after, ..self }
    }

    /// Tells what it asks for from what others do.
    pub(super) fn digest(&self, site: &Site<'_>) -> String {
        self.filter.digest(site)
    }

    /// The record that it goes on after.
    pub(super) fn is_after(&self) -> Option<After> {
        self.after
    }
}

/// Reads one page, and the cursor of the next if there is one.
pub(super) async fn run(
    reader: &mut Reader,
    site: &Site<'_>,
    query: &Query,
) -> Result<(Vec<Hit>, Option<String>), Problem> {
    let (page, more) = hits(reader, site, query).await?;
    let cursor = more.map(|after| site.keys.tokens.sign(&Cursor::new(site, query, after)));
    Ok((page.into_iter().map(|(_, hit)| hit).collect(), cursor))
}

/// Reads one page, and after what the next begins if there is one.
pub(super) async fn hits(
    reader: &mut Reader,
    site: &Site<'_>,
    query: &Query,
) -> Result<(Page, Option<After>), Problem> {
    let (mut page, looked_at) = match &query.filter.lookups {
        Some(lookups) => (found(reader, site, query, lookups).await?, None),
        None => listed(reader, site, query).await?,
    };
    let more = page.len() > query.limit;
    page.truncate(query.limit);
    let last = page.last().filter(|_| more).map(|(after, _)| *after);
    Ok((page, last.or(looked_at)))
}

/// Records, each with what comes after it.
type Page = Vec<(After, Hit)>;

/// Records that have one of the identifiers. One more than the page holds, if there is one more.
async fn found(reader: &mut Reader, site: &Site<'_>, query: &Query, lookups: &[Lookup]) -> Result<Page, KeyringError> {
    let ids = find_all(reader, site, query.partition, lookups).await?;
    let mut firsts: Vec<(usize, RecordId)> = Vec::new();
    for (place, id) in ids.into_iter().enumerate() {
        if let Some(id) = id
            && !firsts.iter().any(|(_, other)| *other == id)
        {
            firsts.push((place, id));
        }
    }
    let by_time = query.filter.order();
    if let (None, Some(After::Lookup(last))) = (by_time, query.after) {
        firsts.retain(|(place, _)| *place > last);
    }
    let distinct: Vec<RecordId> = firsts.iter().map(|(_, id)| *id).collect();
    let held = store::find_records(reader, site, query.partition, &distinct).await?;
    let hits = firsts
        .into_iter()
        .zip(held)
        .filter_map(|((place, _), held)| Some((place, held?)));
    let mut page: Page = hits
        .filter(|(_, held)| query.filter.holds_for(held.timestamp, held.updated_at))
        .map(|(place, held)| {
            let after = match by_time {
                None => After::Lookup(place),
                Some(dimension) => After::Time(time_of(&held, dimension).0, held.id),
            };
            (
                after,
                Hit {
                    held,
                    user_id: lookups[place].user_id.clone(),
                    is_too_long: false,
                },
            )
        })
        .collect();
    if let Some(dimension) = by_time {
        page.sort_by_key(|(_, hit)| std::cmp::Reverse((time_of(&hit.held, dimension), hit.held.id)));
        if let Some(After::Time(time, id)) = query.after {
            page.retain(|(_, hit)| (time_of(&hit.held, dimension).0, hit.held.id) < (time, id));
        }
    }
    Ok(page)
}

async fn find_all(
    reader: &mut Reader,
    site: &Site<'_>,
    partition: PartitionId,
    lookups: &[Lookup],
) -> Result<Vec<Option<RecordId>>, StoreError> {
    let digests: Vec<Blind> = lookups
        .iter()
        .filter_map(|lookup| match lookup.by {
            By::Digest(digest) => Some(digest),
            By::Id(_) => None,
        })
        .collect();
    let named: Vec<RecordId> = lookups
        .iter()
        .filter_map(|lookup| match lookup.by {
            By::Id(id) => Some(id),
            By::Digest(_) => None,
        })
        .collect();
    let mut owners = match digests.is_empty() {
        true => Vec::new(),
        false => store::find_owners(reader, site, partition, &digests).await?,
    }
    .into_iter();
    let mut named = match named.is_empty() {
        true => Vec::new(),
        false => store::find_named(reader, site, partition, &named).await?,
    }
    .into_iter();
    let next = |lookup: &Lookup| match lookup.by {
        By::Digest(_) => owners.next().flatten(),
        By::Id(_) => named.next(),
    };
    Ok(lookups.iter().map(next).collect())
}

/// Records of the partition in the order of a time: one more than the page holds, if there is one more. Where it looked at
/// all it may before it had them, also the last row it looked at, and at least one record.
///
/// Both times of a record stand in clear before its seal, so that what a bound leaves out is never opened.
async fn listed(reader: &mut Reader, site: &Site<'_>, query: &Query) -> Result<(Page, Option<After>), Problem> {
    let filter = &query.filter;
    let dimension = filter.order().unwrap_or(Dimension::Update);
    let (bounds, others) = match dimension {
        Dimension::Event => (filter.event, filter.update),
        Dimension::Update => (filter.update, filter.event),
    };
    let wanted = query.limit + 1;
    let is_narrowed = others != Bounds::default();
    let chunk = if is_narrowed { CHUNK } else { wanted };
    let range = (bounds.from.map(Moment), bounds.to.map(Moment));
    let mut after = match query.after {
        Some(After::Time(time, id)) => Some((Moment(time), id)),
        _ => None,
    };
    let (mut page, mut looked_at) = (Page::new(), 0);
    loop {
        let mut rows = store::list_by(reader, site, query.partition, dimension, range, after, chunk).await?;
        after = rows.last().copied();
        looked_at += rows.len();
        let is_end = rows.len() < chunk;
        let ids = |rows: &[(Moment, RecordId)]| -> Vec<RecordId> { rows.iter().map(|(_, id)| *id).collect() };
        if is_narrowed {
            let times = store::find_times(reader, site, query.partition, &ids(&rows)).await?;
            let mut holds = times
                .into_iter()
                .map(|times| times.is_some_and(|(event, update)| filter.holds_for(event, update)));
            rows.retain(|_| holds.next() == Some(true));
            rows.truncate(wanted - page.len());
        }
        let held = store::find_records(reader, site, query.partition, &ids(&rows)).await?;
        page.extend(rows.iter().zip(held).filter_map(|((time, id), held)| {
            let hit = Hit {
                held: held?,
                user_id: None,
                is_too_long: false,
            };
            Some((After::Time(time.0, *id), hit))
        }));
        if is_end || page.len() >= wanted {
            return Ok((page, None));
        }
        if is_narrowed && looked_at >= LOOKED_AT_MAX && !page.is_empty() {
            return Ok((page, after.map(|(time, id)| After::Time(time.0, id))));
        }
        if is_narrowed && looked_at >= LOOKED_AT_IN_VAIN_MAX {
            let rule = "leaves out each of the first 100,000 records between the bounds on timestamp: narrow those";
            return Err(Problem::validation([("filter.system", rule)]));
        }
        tokio::task::yield_now().await;
    }
}

fn time_of(held: &Held, dimension: Dimension) -> Moment {
    match dimension {
        Dimension::Event => held.timestamp,
        Dimension::Update => held.updated_at,
    }
}

fn check_moment(place: &str, text: Option<String>, broken: &mut Vec<Broken>) -> Option<Moment> {
    let moment = text.map(|text| Moment::parse(&text)).transpose();
    moment
        .map_err(|bad| broken.push((place.to_owned(), bad.to_string())))
        .ok()
        .flatten()
}

impl Filter {
    fn check(site: &Site<'_>, partition: PartitionId, filter: wire::QueryFilter, broken: &mut Vec<Broken>) -> Filter {
        let mut moment =
            |name: &str, text: Option<String>| check_moment(&format!("filter.{name}"), text, broken).map(|at| at.0);
        let system = filter.system.unwrap_or_default();
        let event = Bounds {
            from: moment("timestampAfter", filter.timestamp_after),
            to: moment("timestampBefore", filter.timestamp_before),
        };
        let update = Bounds {
            from: moment("system.updatedAfter", system.updated_after),
            to: moment("system.updatedBefore", system.updated_before),
        };
        let lookups = filter
            .identifiers
            .map(|identifiers| check_identifiers(site, partition, identifiers, broken));
        Filter { lookups, event, update }
    }

    /// By which time the records are ordered; none if by the identifiers that found them.
    fn order(&self) -> Option<Dimension> {
        let bounded = |bounds: Bounds| bounds != Bounds::default();
        match () {
            () if bounded(self.event) => Some(Dimension::Event),
            () if bounded(self.update) || self.lookups.is_none() => Some(Dimension::Update),
            () => None,
        }
    }

    fn holds_for(&self, event: Moment, update: Moment) -> bool {
        self.event.hold_for(event) && self.update.hold_for(update)
    }

    /// Tells filters apart.
    fn digest(&self, site: &Site<'_>) -> String {
        let bounds = [self.event.from, self.event.to, self.update.from, self.update.to];
        let bounds: Vec<u8> = bounds.into_iter().flat_map(bytes_of_bound).collect();
        let lookups = self.lookups.as_deref().map(bytes_of_lookups);
        let present = [u8::from(lookups.is_some())];
        let parts: [&[u8]; 4] = [b"filter", &bounds, &present, &lookups.unwrap_or_default()];
        URL_SAFE_NO_PAD.encode(site.keys.index.blind(&parts))
    }
}

impl Bounds {
    fn hold_for(self, moment: Moment) -> bool {
        self.from.is_none_or(|from| from <= moment.0) && self.to.is_none_or(|to| moment.0 <= to)
    }
}

fn digest(site: &Site<'_>, partition: PartitionId, name: &str, value: &str) -> Option<By> {
    let known = site.settings.find_identifier(name)?;
    let unique = known.identifier.is_unique_on_preference_store;
    let value = identifiers::kept(known, value).filter(|_| unique)?;
    Some(By::Digest(site.blind(partition, name, &value)))
}

/// A value without a name may be an e-mail address or what was once given as `userId`: it is looked for as both.
fn nameless(site: &Site<'_>, partition: PartitionId, value: String) -> impl Iterator<Item = Lookup> {
    let found = [EMAIL_NAME, LEGACY_NAME].map(|name| digest(site, partition, name, &value));
    found.into_iter().flatten().map(move |by| Lookup {
        by,
        user_id: Some(value.clone()),
    })
}

fn check_identifiers(
    site: &Site<'_>,
    partition: PartitionId,
    identifiers: Vec<wire::QueryIdentifier>,
    broken: &mut Vec<Broken>,
) -> Vec<Lookup> {
    if identifiers.len() > IDENTIFIERS_MAX {
        broken.push((
            "filter.identifiers".to_owned(),
            format!("must hold at most {IDENTIFIERS_MAX} entries"),
        ));
        return Vec::new();
    }
    let mut lookups = Vec::with_capacity(identifiers.len());
    for (place, given) in identifiers.into_iter().enumerate() {
        match given.name.as_deref() {
            None => lookups.extend(nameless(site, partition, given.value)),
            Some(TRANSCEND) => {
                let id = identifiers::record_id(&given.value).map(By::Id);
                lookups.extend(id.map(|by| Lookup { by, user_id: None }));
            }
            Some(name) if site.settings.find_identifier(name).is_none() => {
                let rule = "is not an identifier of this organization".to_owned();
                broken.push((format!("filter.identifiers[{place}].name"), rule));
            }
            Some(name) => {
                let by = digest(site, partition, name, &given.value);
                lookups.extend(by.map(|by| Lookup { by, user_id: None }));
            }
        }
    }
    lookups
}

impl Cursor {
    fn new(site: &Site<'_>, query: &Query, after: After) -> Cursor {
        let filter = &query.filter;
        let carried = filter.lookups.as_deref().filter(|lookups| lookups.len() <= CARRIED_MAX);
        Cursor {
            p: query.partition,
            f: filter.digest(site),
            e: filter.event,
            u: filter.update,
            i: carried.map(|lookups| URL_SAFE_NO_PAD.encode(bytes_of_lookups(lookups))),
            a: after,
            t: query.view.as_of.map(|at| at.0),
            k: query.view.known_at.map(|at| at.0),
        }
    }

    /// A cursor of this organization and partition. Others can't be told from forged ones.
    fn read(site: &Site<'_>, partition: PartitionId, text: &str) -> Option<Cursor> {
        site.keys
            .tokens
            .verify::<Cursor>(text)
            .ok()
            .filter(|cursor| cursor.p == partition)
    }

    fn view(&self) -> View {
        View {
            as_of: self.t.map(Moment),
            known_at: self.k.map(Moment),
        }
    }

    /// The filter that the cursor carries; none if it was too long to be carried.
    fn filter(&self, site: &Site<'_>) -> Option<Filter> {
        let lookups = match &self.i {
            Some(text) => Some(lookups_of(&URL_SAFE_NO_PAD.decode(text).ok()?)?),
            None => None,
        };
        let filter = Filter {
            lookups,
            event: self.e,
            update: self.u,
        };
        (filter.digest(site) == self.f).then_some(filter)
    }
}

const BY_DIGEST: u8 = 0;
const BY_ID: u8 = 1;

fn bytes_of_lookups(lookups: &[Lookup]) -> Vec<u8> {
    let bytes = lookups.iter().flat_map(|lookup| match lookup.by {
        By::Digest(digest) => [BY_DIGEST].into_iter().chain(digest),
        By::Id(id) => [BY_ID].into_iter().chain(id.0.into_bytes()),
    });
    bytes.collect()
}

fn lookups_of(bytes: &[u8]) -> Option<Vec<Lookup>> {
    let lookup = |bytes: &[u8]| {
        let (kind, rest) = bytes.split_first()?;
        let rest: [u8; 16] = rest.try_into().ok()?;
        let by = match *kind {
            BY_DIGEST => By::Digest(rest),
            BY_ID => By::Id(RecordId(Uuid::from_bytes(rest))),
            _ => return None,
        };
        Some(Lookup { by, user_id: None })
    };
    bytes.chunks(17).map(lookup).collect()
}

fn bytes_of_bound(bound: Option<i64>) -> impl Iterator<Item = u8> {
    [u8::from(bound.is_some())]
        .into_iter()
        .chain(bound.unwrap_or_default().to_be_bytes())
}
