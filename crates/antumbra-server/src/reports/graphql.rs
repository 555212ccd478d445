//! The part of the management API that is about data subjects' links to their reports.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::{
    dsr::{
        self, DsrId,
        graphql::refusal,
        links::{self, Link, LinkId, Minted},
    },
    graphql::{Date, Refusal, Session, parse_id},
};

/// Queries about links.
#[derive(Default)]
pub(crate) struct LinkQueries;

#[Object]
impl LinkQueries {
    /// The links by which the data subject of a request gets at what it shows, oldest first, and how often they were used.
    async fn request_download_links(
        &self,
        context: &Context<'_>,
        request_id: ID,
    ) -> Result<RequestDownloadLinksPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&request_id, "request")?);
        let mut reader = session.read().await;
        dsr::get_head(&mut reader, session.organization(), id)
            .await
            .map_err(refusal)?;
        let links = links::list(&mut reader, session.organization(), id).await?;
        Ok(RequestDownloadLinksPayload {
            nodes: links.into_iter().map(RequestDownloadLink::from).collect(),
        })
    }
}

/// What people do about links.
#[derive(Default)]
pub(crate) struct LinkMutations;

#[Object]
impl LinkMutations {
    /// Makes a link by which the data subject gets at what a request shows them. Its address is shown this once.
    async fn create_request_download_link(
        &self,
        context: &Context<'_>,
        input: CreateRequestDownloadLinkInput,
    ) -> Result<CreateRequestDownloadLinkPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.request_id, "request")?);
        let expires_at = input.expires_at.map(|Date(at)| at);
        if expires_at.is_some_and(|at| at <= session.now) {
            return Err(Refusal::client("expiresAt is past"));
        }
        let mut tx = session.write().await;
        let minted = links::mint(&mut tx, &session.app, &session.deed(), id, expires_at).await;
        let Minted { link, address } = minted.map_err(refusal)?;
        Ok(CreateRequestDownloadLinkPayload {
            link: link.into(),
            address,
            client_mutation_id: None,
        })
    }

    /// Takes links of a request back: the one named, or every one.
    async fn revoke_request_download_links(
        &self,
        context: &Context<'_>,
        input: RevokeRequestDownloadLinksInput,
    ) -> Result<RevokeRequestDownloadLinksPayload, Refusal> {
        let session = Session::of(context);
        let id = DsrId(parse_id(&input.request_id, "request")?);
        let link = match &input.link_id {
            Some(link) => Some(LinkId(parse_id(link, "link")?)),
            None => None,
        };
        let mut tx = session.write().await;
        let revoked = links::revoke(&mut tx, &session.deed(), id, link)
            .await
            .map_err(refusal)?;
        Ok(RevokeRequestDownloadLinksPayload {
            count: i32::try_from(revoked).unwrap_or(i32::MAX),
            client_mutation_id: None,
        })
    }
}

/// A data subject's link to a request. Its address is kept nowhere.
#[derive(SimpleObject)]
struct RequestDownloadLink {
    /// Its id.
    id: ID,
    /// When it was made.
    created_at: Date,
    /// When it ceases to work, whatever the request still shows; null for with what the request shows.
    expires_at: Option<Date>,
    /// When somebody took it back.
    revoked_at: Option<Date>,
    /// How often its page was opened.
    opened_count: i32,
    /// When that was last.
    last_opened_at: Option<Date>,
    /// How often the report was downloaded by it.
    downloaded_count: i32,
    /// When that was last.
    last_downloaded_at: Option<Date>,
}

impl From<Link> for RequestDownloadLink {
    fn from(link: Link) -> RequestDownloadLink {
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        RequestDownloadLink {
            id: link.id.0.into(),
            created_at: Date(link.created_at),
            expires_at: link.expires_at.map(Date),
            revoked_at: link.revoked_at.map(Date),
            opened_count: count(link.opened),
            last_opened_at: link.last_opened_at.map(Date),
            downloaded_count: count(link.downloaded),
            last_downloaded_at: link.last_downloaded_at.map(Date),
        }
    }
}

/// The links of a request.
#[derive(SimpleObject)]
struct RequestDownloadLinksPayload {
    /// They.
    nodes: Vec<RequestDownloadLink>,
}

/// Which request the link leads to.
#[derive(InputObject)]
struct CreateRequestDownloadLinkInput {
    /// It.
    request_id: ID,
    /// When the link ceases to work; without, when the request shows nothing more.
    expires_at: Option<Date>,
}

/// A link was made.
#[derive(SimpleObject)]
struct CreateRequestDownloadLinkPayload {
    /// It.
    link: RequestDownloadLink,
    /// Its address: for the data subject, and for nobody else.
    address: String,
    /// Always null.
    client_mutation_id: Option<String>,
}

/// Which links to take back.
#[derive(InputObject)]
struct RevokeRequestDownloadLinksInput {
    /// Those of this request.
    request_id: ID,
    /// Only this one.
    link_id: Option<ID>,
}

/// Links were taken back.
#[derive(SimpleObject)]
struct RevokeRequestDownloadLinksPayload {
    /// How many.
    count: i32,
    /// Always null.
    client_mutation_id: Option<String>,
}
