//! The data subject's pages: what a link opens, the download, and the way out of an erasure.
//!
//! Looking changes nothing but a count, so programs that follow links in mail do no harm: the download and the withdrawal
//! are sent by forms. Every token that opens nothing gets one and the same answer.

use antumbra_store::Reader;
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    contents::{Contents, FileLinks, day, size},
    http::{archive, gather},
    words::Words,
};
use crate::{
    AppState,
    audit::Actor,
    dsr::{
        self, Deed,
        links::{self, DOWNLOADS_MAX, Offer, Opened},
    },
    http::{
        Code, Path, Peer, Problem,
        pages::{Form, Html, Notice, Page, language_of_reader},
    },
};

/// `GET /report/{token}`: what a request shows its data subject.
#[utoipa::path(
    get,
    path = "/report/{token}",
    tag = "data subjects",
    params(("token" = String, Path, description = "From the link that the data subject was sent")),
    responses(
        (status = 200, description = "A page", body = String, content_type = "text/html"),
        (status = 404, description = "The link opens nothing", body = String, content_type = "text/html"),
        (status = 429, description = "Too many links that open nothing came from this address"),
    ),
)]
pub(crate) async fn show_report(
    State(app): State<AppState>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let mut tx = app.store.begin_write().await?;
    let Some(opened) = open(&app, &mut tx, peer, &token).await? else {
        return Ok(opens_nothing(&headers));
    };
    let page = overview(&app, &mut tx, &opened, &token, None).await?;
    links::count_opening(&mut tx, &opened, app.now(opened.organization));
    tx.commit().await?;
    Ok(page)
}

/// `POST /report/{token}/download`: the report as one ZIP archive.
#[utoipa::path(
    post,
    path = "/report/{token}/download",
    tag = "data subjects",
    params(("token" = String, Path, description = "From the link that the data subject was sent")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The archive", content_type = "application/zip"),
        (status = 404, description = "The link opens nothing", body = String, content_type = "text/html"),
        (status = 415, description = "Not the form of the page"),
        (status = 429, description = "The link has given all its downloads, or too many that open nothing were tried"),
    ),
)]
pub(crate) async fn download_by_link(
    State(app): State<AppState>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Path(token): Path<String>,
    _form: Form,
) -> Result<Response, Problem> {
    let mut tx = app.store.begin_write().await?;
    let Some(opened) = open(&app, &mut tx, peer, &token).await? else {
        return Ok(opens_nothing(&headers));
    };
    let now = app.now(opened.organization);
    let words = Words::of(&opened.head.locale);
    if !opened.offer.has_files(&opened.head, now) {
        return overview(
            &app,
            &mut tx,
            &opened,
            &token,
            Some((Notice::Careful, words.downloads_ended)),
        )
        .await;
    }
    if !links::count_download(&mut tx, &opened, now) {
        return overview(
            &app,
            &mut tx,
            &opened,
            &token,
            Some((Notice::Careful, words.no_more_downloads)),
        )
        .await;
    }
    let keys = app.keys.organization(opened.organization).await?;
    let contents = gather(&app, &mut tx, &keys, &opened.head).await?;
    let deed = by_the_data_subject(&app, &opened);
    dsr::record(&mut tx, &deed, opened.head.id, "dsr.report_downloaded", vec![]);
    tx.commit().await?;
    Ok(archive(app, keys, contents))
}

/// `POST /report/{token}/withdraw`: the data subject stops an erasure that has not begun.
#[utoipa::path(
    post,
    path = "/report/{token}/withdraw",
    tag = "data subjects",
    params(("token" = String, Path, description = "From the link that the data subject was sent")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A page that says what became of it", body = String, content_type = "text/html"),
        (status = 404, description = "The link opens nothing", body = String, content_type = "text/html"),
        (status = 415, description = "Not the form of the page"),
        (status = 429, description = "Too many links that open nothing came from this address"),
    ),
)]
pub(crate) async fn withdraw_by_link(
    State(app): State<AppState>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Path(token): Path<String>,
    form: Form,
) -> Result<Response, Problem> {
    let mut tx = app.store.begin_write().await?;
    let Some(opened) = open(&app, &mut tx, peer, &token).await? else {
        return Ok(opens_nothing(&headers));
    };
    let Offer::Preview { .. } = opened.offer else {
        return Ok(opens_nothing(&headers));
    };
    let words = Words::of(&opened.head.locale);
    if !form.is_ticked("confirm") {
        return overview(
            &app,
            &mut tx,
            &opened,
            &token,
            Some((Notice::Careful, words.stop_unconfirmed)),
        )
        .await;
    }
    let deed = by_the_data_subject(&app, &opened);
    dsr::withdraw(&mut tx, &deed, opened.head.id).await?;
    let from = organization_name(&app, &mut tx, &opened).await?;
    tx.commit().await?;
    app.jobs.ring();
    let page = Page {
        language: words.language,
        from: &from,
        title: words.stopped_title,
        body: Html::default().notice(Notice::Done, words.stopped),
    };
    Ok(page.into_response())
}

/// What a token opens, if anything. An address that tries many is made to wait.
async fn open(
    app: &AppState,
    reader: &mut Reader,
    peer: Option<Extension<Peer>>,
    token: &str,
) -> Result<Option<Opened>, Problem> {
    if let Some(opened) = links::open(reader, app, token).await? {
        return Ok(Some(opened));
    }
    let per_minute = app.config.limits.failed_keys_per_minute.get();
    let counted = peer.map_or(Ok(()), |Extension(peer)| {
        app.seekers.count(peer.0, app.clock.now(), per_minute)
    });
    counted.map_err(|seconds| Problem::new(Code::RateLimited).retry_after(seconds))?;
    Ok(None)
}

/// The same for tokens that never were, that have expired, and that were taken back, in the language of the reader.
fn opens_nothing(headers: &HeaderMap) -> Response {
    let words = Words::of(language_of_reader(headers));
    let page = Page {
        language: words.language,
        from: "",
        title: words.opens_nothing_title,
        body: Html::default().paragraph(words.opens_nothing),
    };
    (StatusCode::NOT_FOUND, page).into_response()
}

fn by_the_data_subject<'a>(app: &'a AppState, opened: &Opened) -> Deed<'a> {
    Deed {
        organization: opened.organization,
        by: Actor::DataSubject(opened.link.id.0),
        now: app.now(opened.organization),
        ids: &app.ids,
    }
}

async fn organization_name(app: &AppState, reader: &mut Reader, opened: &Opened) -> Result<String, Problem> {
    let settings = app.settings.get(reader, opened.organization).await?;
    Ok(settings.organization.name.clone())
}

/// The page that a link opens, with something to say at its top, where there is something.
async fn overview(
    app: &AppState,
    reader: &mut Reader,
    opened: &Opened,
    token: &str,
    notice: Option<(Notice, &'static str)>,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(opened.organization).await?;
    let contents = gather(app, reader, &keys, &opened.head).await?;
    let words = contents.words;
    let said = notice.map_or_else(Html::default, |(kind, text)| Html::default().notice(kind, text));
    let request = contents.request.id.to_string();
    let ends_at = match opened.offer {
        Offer::Preview { until } => until,
        Offer::Report { until } | Offer::Categories { until } => {
            opened.link.expires_at.map_or(until, |expires_at| until.min(expires_at))
        }
    };
    let until = day(opened.head.day_of(ends_at));
    let now = app.now(opened.organization);
    let (title, body) = match opened.offer {
        Offer::Report { .. } => {
            let facts = [
                (words.request, request.as_str()),
                (words.available_until, until.as_str()),
            ];
            (
                words.report_title,
                said.facts(facts)
                    .and(download(&contents, opened, token))
                    .and(contents.files_table(FileLinks::No)),
            )
        }
        Offer::Categories { .. } => {
            let facts = [
                (words.request, request.as_str()),
                (words.available_until, until.as_str()),
            ];
            (words.categories_title, said.facts(facts).and(categories(&contents)))
        }
        Offer::Preview { .. } => {
            let facts = [
                (words.request, request.as_str()),
                (words.erasure_begins, until.as_str()),
            ];
            let (offered, listed) = match opened.offer.has_files(&opened.head, now) {
                true => (download(&contents, opened, token), contents.files_table(FileLinks::No)),
                false => (Html::default().paragraph(words.downloads_ended), Html::default()),
            };
            (
                words.preview_title,
                said.facts(facts)
                    .paragraph(words.preview_intro)
                    .and(offered)
                    // Before the list, which may be long.
                    .and(way_out(words, token))
                    .and(listed),
            )
        }
    };
    let page = Page {
        language: words.language,
        from: &contents.request.organization,
        title,
        body: body.aside(words.keep_link),
    };
    Ok(page.into_response())
}

fn download(contents: &Contents, opened: &Opened, token: &str) -> Html {
    let words = contents.words;
    if contents.files.is_empty() {
        return Html::default();
    }
    if opened.link.downloaded >= DOWNLOADS_MAX {
        return Html::default().paragraph(words.no_more_downloads);
    }
    let button = format!("{} ({})", words.download, size(contents.bytes()));
    Html::default()
        .form(&format!("/report/{token}/download"), Html::default().button(&button))
        .aside(words.download_hint)
}

fn categories(contents: &Contents) -> Html {
    let words = contents.words;
    let entries = contents.categories().into_keys().map(|category| match category {
        "" => Html::default().text(words.other_category),
        category => Html::default().text(category),
    });
    Html::default().paragraph(words.categories_intro).list(entries)
}

fn way_out(words: &Words, token: &str) -> Html {
    let form = Html::default()
        .tick("confirm", words.stop_confirm)
        .button(words.stop_button);
    Html::default()
        .heading(words.stop)
        .paragraph(words.stop_hint)
        .form(&format!("/report/{token}/withdraw"), form)
}
