//! `GET /v1/preferences/{partition}/changes`.

use std::{convert::Infallible, time::Duration};

use antumbra_store::Reader;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{
    page::{Desk, Line, Page, not_ours},
    store, wire,
};
use crate::{
    AppState,
    http::{Caller, Code, Hangup, Path, Problem, Query, scope},
    preferences::http::unknown_partition,
};

/// Changes in one answer, if the caller does not say, and at most.
const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: u64 = 1_000;

/// How long an answer may wait for the first change, in seconds.
const WAIT_MAX: u64 = 60;

/// Changes that a stream reads at once: what it holds in memory for a reader who is slow.
const STREAM_PAGE: usize = 100;

/// How often whoever waits looks for what other processes wrote.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a stream says nothing at most. As often it is asked whether its key still counts.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where to read on after an answer, also an empty one.
const CURSOR: HeaderName = HeaderName::from_static("antumbra-cursor");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// `GET /v1/preferences/{partition}/changes`: what changed in a partition, in order, without a gap, from any place on.
///
/// Every change of a record is in it once: its place among the others never changes, and whoever goes on with the cursor of
/// the last change they have dealt with misses none and sees none twice. Changes of one record come in the order in which they
/// happened. How long they are kept is a setting; a cursor from before that is answered 410.
///
/// The answer is JSON lines, a change in each, and the header `antumbra-cursor` says where to read on. With `wait` an answer
/// that would be empty is held back until there is a change. With `accept: text/event-stream` it is a stream of events that
/// goes on for as long as both sides like; `Last-Event-ID` resumes it. Of a person who has been erased it is only told that
/// there was a change.
#[utoipa::path(
    get,
    path = "/v1/preferences/{partition}/changes",
    tag = "preferences",
    params(
        ("partition" = String, Path, description = "The key of the partition"),
        ("after" = Option<String>, Query, description = "Changes after this cursor. Without it, `from` counts"),
        ("from" = Option<String>, Query, description = "`start`: the oldest change that is kept, as it is without this. `now`: only what changes from now on"),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 1000, description = "Changes in one answer; by default 100"),
        ("wait" = Option<u64>, Query, minimum = 0, maximum = 60, description = "Seconds to wait for a change if there is none; by default 0"),
        ("last-event-id" = Option<String>, Header, description = "As `after`, and before it: where a stream of events resumes"),
    ),
    responses(
        (status = 200, description = "Changes, the oldest first", headers(("antumbra-cursor" = String, description = "Where to read on")), content(
            (wire::ChangeNode<'static> = "application/x-ndjson"),
            (String = "text/event-stream"),
        )),
        (status = 410, description = "What came after the cursor has expired"),
    )
)]
pub(crate) async fn list_changes(
    State(app): State<AppState>,
    caller: Caller<scope::ViewManagedConsentDatabaseAdminApi>,
    Path(partition): Path<String>,
    asked: Query,
    hangup: Hangup,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let seat = app.feed.seat().ok_or_else(no_seat)?;
    let mut reader = app.store.begin_read().await?;
    let catalog = app.catalogs.current(&mut reader, caller.organization).await?;
    let desk = Desk {
        organization: caller.organization,
        keys: app.keys.organization(caller.organization).await?,
        partition: catalog.partition(&partition).ok_or_else(unknown_partition)?,
        partition_key: partition,
        app,
    };
    let bounds = Bounds::check(&asked)?;
    let after = desk.begin(&mut reader, &asked, &headers).await?;
    drop(reader);
    if accepts_events(&headers) {
        return stream_of(desk, after, headers, hangup, seat).await;
    }
    let page = desk.wait_for(after, &bounds, &hangup).await?;
    Ok(json_lines(&desk, page))
}

/// How much is wanted, and how long that is worth waiting for.
struct Bounds {
    limit: usize,
    wait: Duration,
}

impl Bounds {
    fn check(asked: &Query) -> Result<Bounds, Problem> {
        asked.refuse_slips(&["after", "from", "limit", "wait"])?;
        let number = |name, default, min, max| match asked.number(name, default, min) {
            Ok(number) if number <= max => Ok(number),
            _ => Err((name, format!("must be a whole number from {min} to {max}"))),
        };
        let limit = number("limit", LIMIT_DEFAULT, 1, LIMIT_MAX);
        let wait = number("wait", 0, 0, WAIT_MAX);
        match (limit, wait) {
            (Ok(limit), Ok(wait)) => Ok(Bounds {
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
                wait: Duration::from_secs(wait),
            }),
            (limit, wait) => Err(Problem::validation([limit, wait].into_iter().filter_map(Result::err))),
        }
    }
}

impl Desk {
    /// The number after which the caller wants to read.
    async fn begin(&self, reader: &mut Reader, asked: &Query, headers: &HeaderMap) -> Result<u64, Problem> {
        let resumed = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
        let cursor = match resumed {
            Some(id) => Some(id.to_str().map_err(|_| not_ours())?),
            None => asked.text("after"),
        };
        if let Some(cursor) = cursor {
            return self.number(cursor).ok_or_else(not_ours);
        }
        match asked.text("from") {
            None | Some("start") => Ok(store::find_start(reader, self.place()).await?),
            Some("now") => Ok(store::find_head(reader, self.place()).await?),
            Some(_) => Err(Problem::validation([("from", "must be start or now")])),
        }
    }

    /// Changes after number `after`: as soon as there are any, or none once the caller has waited for long enough.
    async fn wait_for(&self, after: u64, bounds: &Bounds, hangup: &Hangup) -> Result<Page, Problem> {
        let until = Instant::now() + bounds.wait;
        let mut head = self.app.feed.watch(self.place());
        loop {
            let page = self.read(after, bounds.limit).await?;
            if !page.lines.is_empty() || Instant::now() >= until || self.is_over(hangup) {
                return Ok(page);
            }
            self.rest(&mut head, hangup, until).await;
        }
    }

    /// Whether one of the two sides is about to go.
    fn is_over(&self, hangup: &Hangup) -> bool {
        self.app.feed.closed.is_cancelled() || hangup.was_heard()
    }

    /// Waits until there may be something to read, but not past `until` nor past the end of either side.
    async fn rest(&self, head: &mut watch::Receiver<u64>, hangup: &Hangup, until: Instant) {
        let look_at = until.min(Instant::now() + LOOK_EVERY);
        tokio::select! {
            // The feed keeps the other end for as long as this one is there.
            _ = head.changed() => {}
            () = self.app.feed.closed.cancelled() => {}
            () = hangup.heard() => {}
            () = tokio::time::sleep_until(look_at) => {}
        }
    }
}

fn no_seat() -> Problem {
    Problem::new(Code::Overloaded)
        .saying("Too many read changes at once, try again shortly")
        .retry_after(5)
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter();
    let mut kinds = accepts
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|kind| kind.split(';').next());
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn json_lines(desk: &Desk, page: Page) -> Response {
    let mut body = BytesMut::new();
    for line in &page.lines {
        body.extend_from_slice(&line.json);
        body.extend_from_slice(b"\n");
    }
    let cursor = page.lines.into_iter().last().map(|line| line.cursor);
    let cursor = cursor.unwrap_or_else(|| desk.cursor(page.last));
    (headers_of("application/x-ndjson", &cursor), Body::from(body.freeze())).into_response()
}

fn headers_of(kind: &'static str, cursor: &str) -> [(HeaderName, HeaderValue); 3] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        (
            CURSOR,
            HeaderValue::try_from(cursor).expect("a cursor is letters, digits and dots"),
        ),
    ]
}

/// A stream of events from number `after` on. What is wrong with that is refused before it begins.
async fn stream_of(
    desk: Desk,
    after: u64,
    headers: HeaderMap,
    hangup: Hangup,
    seat: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let page = desk.read(after, STREAM_PAGE).await?;
    let cursor = desk.cursor(after);
    let events = Events {
        head: desk.app.feed.watch(desk.place()),
        desk,
        after,
        credentials: headers,
        hangup,
        let_in_until: Instant::now() + HEARTBEAT,
        ready: Some(begin_with(&cursor, &page)),
        _seat: seat,
    };
    let events = Events {
        after: page.last,
        ..events
    };
    Ok((
        headers_of("text/event-stream", &cursor),
        Body::from_stream(events.stream()),
    )
        .into_response())
}

/// Tells the reader where they are before anything happens, so that they can resume from there.
fn begin_with(cursor: &str, page: &Page) -> Bytes {
    let mut bytes = BytesMut::from(format!("id: {cursor}\n\n").as_bytes());
    page.lines.iter().for_each(|line| put_event(&mut bytes, line));
    bytes.freeze()
}

fn put_event(bytes: &mut BytesMut, line: &Line) {
    // JSON on one line has no line break in it.
    for part in [
        b"id: ",
        line.cursor.as_bytes(),
        b"\nevent: change\ndata: ",
        &line.json,
        b"\n\n",
    ] {
        bytes.extend_from_slice(part);
    }
}

/// A stream of events while it goes on.
struct Events {
    desk: Desk,
    head: watch::Receiver<u64>,
    after: u64,
    /// What the caller was let in with.
    credentials: HeaderMap,
    hangup: Hangup,
    /// When that is looked at again even if nothing happens, and when it is time to say something.
    let_in_until: Instant,
    ready: Option<Bytes>,
    _seat: OwnedSemaphorePermit,
}

impl Events {
    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, async |mut events| {
            let bytes = events.next().await?;
            Some((Ok(bytes), events))
        })
    }

    /// What to send next. It ends when the server stops, the reader leaves, the key no longer counts, or the feed can't be read
    /// on; a reader who comes back is then told why. No change is sent under a key that does not count any more.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(ready) = self.ready.take() {
            return Some(ready);
        }
        loop {
            if self.desk.is_over(&self.hangup) {
                return None;
            }
            if Instant::now() >= self.let_in_until {
                self.let_in_again().await?;
                self.let_in_until = Instant::now() + HEARTBEAT;
                return Some(Bytes::from_static(b":\n\n"));
            }
            let page = self.desk.read(self.after, STREAM_PAGE).await.ok()?;
            if !page.lines.is_empty() {
                self.let_in_again().await?;
                self.after = page.last;
                let mut bytes = BytesMut::new();
                page.lines.iter().for_each(|line| put_event(&mut bytes, line));
                return Some(bytes.freeze());
            }
            self.desk.rest(&mut self.head, &self.hangup, self.let_in_until).await;
        }
    }

    /// None if the key was revoked, has expired, or no longer has the scope.
    async fn let_in_again(&self) -> Option<()> {
        let app = &self.desk.app;
        let grants = app.callers.authenticate(app, &self.credentials, None).await.ok()?;
        grants
            .require(crate::api_keys::ScopeName::ViewManagedConsentDatabaseAdminApi)
            .ok()
    }
}
