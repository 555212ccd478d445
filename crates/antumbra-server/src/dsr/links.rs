//! The data subject's own links to a request: who holds one sees what was delivered, and may stop an erasure in time.
//!
//! A link carries a random token and nothing about the person. What is kept of it is a keyed digest, when it was made, how
//! often it was used and whether it was revoked. It works while the request shows its data subject something, and no
//! longer than it was made for; a token that is unknown, expired or revoked finds nothing, whichever it is.

use antumbra_crypto::random_bytes;
use antumbra_store::{Reader, Record, Scan, StoreError, Table, Tx};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Deed, DsrError, DsrHead, DsrId, DsrState, DsrStatus, change::record, state::WAY_OUT_MIN};
use crate::{AppState, keyring::Keyring, organization::OrganizationId};

/// Every link of a request: (organization, request, link).
const LINKS: Table<(Uuid, Uuid, Uuid), Kept> = Table::new("dsr_links");
/// Answers: which link a presented token might be, before its organization is known. The place is a keyed hash of the
/// token, so it does not begin with the organization, and gives nothing away.
const LINK_PLACES: Table<[u8; 16], Place> = Table::new("dsr_link_places");

/// Names of the tables of links.
pub(super) const TABLES: &[&str] = &[LINKS.name(), LINK_PLACES.name()];

/// Every kind of row, for the fuzz target that reads them.
#[cfg(any(test, fuzzing))]
pub(crate) const RECORDS: &[fn(&[u8])] = &[
    crate::fuzz::same_when_written_again::<Kept>,
    crate::fuzz::same_when_written_again::<Place>,
];

const TOKEN_BYTES: usize = 32;
/// Letters of a token: what is longer or shorter is none.
const TOKEN_LETTERS: usize = 43;
/// Links that a request may have; beyond, the oldest gives way.
const LINKS_MAX: usize = 50;
/// Downloads that one link gives.
pub const DOWNLOADS_MAX: u32 = 100;

/// The id of a link. It opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub Uuid);

/// What is kept of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    place: [u8; 16],
    link: Link,
}

impl Record for Kept {
    const VERSION: u8 = 1;
}

/// What is known of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Which it is.
    pub id: LinkId,
    /// In which round of its request it was made; it opens nothing of another.
    pub round: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to work, whatever its request still shows. None: with what the request shows.
    pub expires_at: Option<Timestamp>,
    /// When somebody took it back.
    pub revoked_at: Option<Timestamp>,
    /// How often its page was opened.
    pub opened: u32,
    /// When that was last.
    pub last_opened_at: Option<Timestamp>,
    /// How often the report was downloaded by it.
    pub downloaded: u32,
    /// When that was last.
    pub last_downloaded_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Place {
    organization: OrganizationId,
    request: DsrId,
    link: LinkId,
}

impl Record for Place {
    const VERSION: u8 = 1;
}

/// A link as it is made: the only moment at which its address is known.
pub struct Minted {
    /// What is kept.
    pub link: Link,
    /// The address, to be given to the data subject and to nobody else.
    pub address: String,
}

/// What a request shows its data subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The report.
    Report {
        /// Until then.
        until: Timestamp,
    },
    /// Which categories of data there are, without the data.
    Categories {
        /// Until then.
        until: Timestamp,
    },
    /// What is going to be erased. The erasure can still be stopped.
    Preview {
        /// Then the erasure begins.
        until: Timestamp,
    },
}

impl Offer {
    /// What `head` shows its data subject at `now`, if anything.
    pub fn of(head: &DsrHead, now: Timestamp) -> Option<Offer> {
        let set = head.rules.available_until;
        let offer = match Offer::in_state(&head.state)? {
            // Whoever ends the downloads does not take the way out of an erasure, and nor does time while it is parked: it
            // begins no sooner than this after it is taken up again.
            Offer::Preview { until } if head.state.status() == DsrStatus::OnHold => Offer::Preview {
                until: until.max(now + WAY_OUT_MIN),
            },
            Offer::Preview { until } => Offer::Preview { until },
            Offer::Report { until } => Offer::Report {
                until: set.unwrap_or(until),
            },
            Offer::Categories { until } => Offer::Categories {
                until: set.unwrap_or(until),
            },
        };
        Some(offer).filter(|offer| now < offer.until())
    }

    /// Until when it is shown.
    pub fn until(&self) -> Timestamp {
        match self {
            Offer::Report { until } | Offer::Categories { until } | Offer::Preview { until } => *until,
        }
    }

    /// Whether files are part of it at `now`.
    pub fn has_files(&self, head: &DsrHead, now: Timestamp) -> bool {
        match self {
            Offer::Report { .. } => true,
            Offer::Categories { .. } => false,
            Offer::Preview { .. } => head.shows_files(now),
        }
    }

    fn in_state(state: &DsrState) -> Option<Offer> {
        match state {
            DsrState::Downloadable { until, .. } => Some(Offer::Report { until: *until }),
            DsrState::ViewCategories { until, .. } => Some(Offer::Categories { until: *until }),
            DsrState::Delayed { until } => Some(Offer::Preview { until: *until }),
            DsrState::OnHold { held } => Offer::in_state(held),
            DsrState::RequestMade
            | DsrState::Enriching
            | DsrState::Waiting { .. }
            | DsrState::Compiling
            | DsrState::Approving { .. }
            | DsrState::Secondary
            | DsrState::SecondaryApproving
            | DsrState::SecondaryCompleted { .. }
            | DsrState::Completed { .. }
            | DsrState::Canceled { .. }
            | DsrState::Revoked { .. }
            | DsrState::FailedVerification { .. } => None,
        }
    }
}

/// Makes a link to a request, which works from the commit on. `expires_at` may end it before the request does.
///
/// Nothing of it works while the request shows nothing, so it may be made beforehand.
pub async fn mint(
    tx: &mut Tx,
    app: &AppState,
    deed: &Deed<'_>,
    request: DsrId,
    expires_at: Option<Timestamp>,
) -> Result<Minted, DsrError> {
    let head = super::get_head(tx, deed.organization, request).await?;
    if head.shredded_at.is_some() {
        return Err(DsrError::Shredded);
    }
    let existing = rows(tx, deed.organization, request).await?;
    for (_, kept) in existing.iter().take((existing.len() + 1).saturating_sub(LINKS_MAX)) {
        remove(tx, deed.organization, request, kept);
    }
    let token = BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<TOKEN_BYTES>());
    let link = Link {
        id: LinkId(deed.ids.uuid()),
        round: head.round,
        created_at: deed.now,
        expires_at,
        revoked_at: None,
        opened: 0,
        last_opened_at: None,
        downloaded: 0,
        last_downloaded_at: None,
    };
    let place = place_of(&app.keys, &token);
    let organization = deed.organization;
    tx.put(
        &LINK_PLACES,
        &place,
        &Place {
            organization,
            request,
            link: link.id,
        },
    );
    let kept = Kept { place, link };
    put(tx, organization, request, &kept);
    record(
        tx,
        deed,
        request,
        "dsr.link_made",
        vec![("link", kept.link.id.0.into())],
    );
    let address = format!("{}/report/{token}", app.public_url());
    Ok(Minted {
        link: kept.link,
        address,
    })
}

/// The links of a request, oldest first.
pub async fn list(reader: &mut Reader, organization: OrganizationId, request: DsrId) -> Result<Vec<Link>, StoreError> {
    let kept = rows(reader, organization, request).await?;
    Ok(kept.into_iter().map(|(_, kept)| kept.link).collect())
}

/// Takes links back: the one named, or every one. Says how many were in force.
pub async fn revoke(tx: &mut Tx, deed: &Deed<'_>, request: DsrId, link: Option<LinkId>) -> Result<usize, DsrError> {
    super::get_head(tx, deed.organization, request).await?;
    let kept = rows(tx, deed.organization, request).await?;
    let named = kept.into_iter().filter(|(id, _)| link.is_none_or(|link| link == *id));
    let mut revoked = 0;
    for (_, mut kept) in named.filter(|(_, kept)| kept.link.revoked_at.is_none()) {
        kept.link.revoked_at = Some(deed.now);
        put(tx, deed.organization, request, &kept);
        record(
            tx,
            deed,
            request,
            "dsr.link_revoked",
            vec![("link", kept.link.id.0.into())],
        );
        revoked += 1;
    }
    Ok(revoked)
}

/// Removes every link of a request and all that was kept about them.
pub(super) async fn remove_all(tx: &mut Tx, organization: OrganizationId, request: DsrId) -> Result<(), StoreError> {
    for (_, kept) in rows(tx, organization, request).await? {
        remove(tx, organization, request, &kept);
    }
    Ok(())
}

/// What a token opens.
pub struct Opened {
    /// Whose request it is.
    pub organization: OrganizationId,
    /// How the request stands.
    pub head: DsrHead,
    /// What it shows.
    pub offer: Offer,
    /// The link.
    pub link: Link,
    place: [u8; 16],
}

/// What `token` opens at `now`; nothing for one that is unknown, expired or revoked, or whose request shows nothing.
pub async fn open(reader: &mut Reader, app: &AppState, token: &str) -> Result<Option<Opened>, StoreError> {
    if token.len() != TOKEN_LETTERS {
        return Ok(None);
    }
    let place = place_of(&app.keys, token);
    let Some(found) = reader.get(&LINK_PLACES, &place).await? else {
        return Ok(None);
    };
    let row = (found.organization.0, found.request.0, found.link.0);
    let kept = reader.get(&LINKS, &row).await?;
    let head = super::store::find_head(reader, found.organization, found.request).await?;
    let (Some(Kept { link, .. }), Some(head)) = (kept, head) else {
        return Ok(None);
    };
    let now = app.now(found.organization);
    let in_force = link.revoked_at.is_none()
        && link.round == head.round
        && link.expires_at.is_none_or(|expires_at| now < expires_at);
    let offer = Offer::of(&head, now).filter(|_| in_force);
    Ok(offer.map(|offer| Opened {
        organization: found.organization,
        head,
        offer,
        link,
        place,
    }))
}

/// Counts that the page of a link was opened.
pub fn count_opening(tx: &mut Tx, opened: &Opened, now: Timestamp) {
    let link = Link {
        opened: opened.link.opened.saturating_add(1),
        last_opened_at: Some(now),
        ..opened.link.clone()
    };
    put_counted(tx, opened, link);
}

/// Counts that the report is downloaded by a link. False, and nothing counted, if it has given all its downloads.
pub fn count_download(tx: &mut Tx, opened: &Opened, now: Timestamp) -> bool {
    if opened.link.downloaded >= DOWNLOADS_MAX {
        return false;
    }
    let link = Link {
        downloaded: opened.link.downloaded + 1,
        last_downloaded_at: Some(now),
        ..opened.link.clone()
    };
    put_counted(tx, opened, link);
    true
}

fn put_counted(tx: &mut Tx, opened: &Opened, link: Link) {
    let kept = Kept {
        place: opened.place,
        link,
    };
    put(tx, opened.organization, opened.head.id, &kept);
}

fn place_of(keys: &Keyring, token: &str) -> [u8; 16] {
    keys.link_index("report", token)
}

async fn rows(
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
) -> Result<Vec<(LinkId, Kept)>, StoreError> {
    // Bounded by `LINKS_MAX`, which whoever makes a link keeps to.
    let of_request = Scan::prefix(&(organization.0, request.0));
    let rows = reader.scan(&LINKS, of_request).await?;
    Ok(rows.into_iter().map(|((.., id), kept)| (LinkId(id), kept)).collect())
}

fn put(tx: &mut Tx, organization: OrganizationId, request: DsrId, kept: &Kept) {
    tx.put(&LINKS, &(organization.0, request.0, kept.link.id.0), kept);
}

fn remove(tx: &mut Tx, organization: OrganizationId, request: DsrId, kept: &Kept) {
    tx.delete(&LINKS, &(organization.0, request.0, kept.link.id.0));
    tx.delete(&LINK_PLACES, &kept.place);
}
