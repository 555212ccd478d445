//! What data subjects do to show that an address is theirs: follow a link and press its button, or enter a code.
//!
//! Following the link changes nothing: programs that look through mail do so too. Whether a request, a link or a code is
//! known makes no difference to what strangers are answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use antumbra_store::{Reader, Tx};
use axum::{
    extract::State,
    http::{Extensions, HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    PreflightError, answer,
    jobs::enricher_of,
    mail,
    model::{Preflight, PreflightEvent, PreflightState},
    store,
    verification::{Token, try_code},
    words::{Words, words},
};
use crate::{
    AppState,
    audit::Actor,
    dsr::{self, Deed, DsrError, DsrId},
    http::{
        Code, Json, Path, Peer, Problem,
        pages::{Form, Html, Notice, Page, language_of_reader},
    },
    keyring::{KeyringError, OrganizationKeys},
    organization::{self, MessageKind, OrganizationId},
    silos::EnricherKind,
};

/// Tries of links and codes that one block of addresses has in a minute.
const TRIES_PER_MINUTE: u32 = 20;

/// `GET /verify/{token}`: the page that a link in a message opens. It verifies nothing yet.
#[utoipa::path(
    get, path = "/verify/{token}", tag = "data subjects",
    params(("token" = String, Path, description = "What stands in the link")),
    responses((status = 200, body = String, content_type = "text/html"))
)]
pub(crate) async fn show_verification(
    State(app): State<AppState>,
    extensions: Extensions,
    headers: HeaderMap,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    count_try(&app, &extensions)?;
    let mut reader = app.store.begin_read().await?;
    let Some(found) = find(&app, &mut reader, &token).await? else {
        return Ok(not_valid(&headers));
    };
    let said = found.words();
    let body = if found.run.state == PreflightState::Waiting {
        Html::default()
            .paragraph(said.asked)
            .form(&format!("/verify/{token}"), Html::default().button(said.button))
            .aside(said.otherwise)
    } else {
        Html::default().notice(Notice::Done, said.done)
    };
    Ok(found.page(body))
}

/// `POST /verify/{token}`: the button of that page. The address is verified.
#[utoipa::path(
    post, path = "/verify/{token}", tag = "data subjects",
    params(("token" = String, Path, description = "What stands in the link")),
    responses(
        (status = 200, body = String, content_type = "text/html"),
        (status = 415, description = "The body is not what the page's form sends")
    )
)]
pub(crate) async fn verify_by_link(
    State(app): State<AppState>,
    extensions: Extensions,
    headers: HeaderMap,
    Path(token): Path<String>,
    _: Form,
) -> Result<Response, Problem> {
    count_try(&app, &extensions)?;
    let mut tx = app.store.begin_write().await?;
    let Some(mut found) = find(&app, &mut tx, &token).await? else {
        return Ok(not_valid(&headers));
    };
    if found.run.state == PreflightState::Waiting {
        let deed = by_anyone(&app, found.run_organization);
        verify(&mut tx, &found.keys, &deed, &mut found.run).await?;
        tx.commit().await?;
        app.jobs.ring();
    }
    let body = Html::default().notice(Notice::Done, found.words().done);
    Ok(found.page(body))
}

/// Body of `POST /v1/verify-identifier`.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifyIdentifier {
    /// The request that the message names.
    request_id: Uuid,
    /// Whose request it is: id or URI. The first organization of the server if it is left out.
    #[serde(default)]
    organization: Option<String>,
    /// The six digits in the newest message.
    #[serde(default)]
    code: Option<String>,
    /// In place of a code: the address, to have one more message sent to it.
    #[serde(default)]
    email: Option<String>,
}

impl std::fmt::Debug for VerifyIdentifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyIdentifier({})", self.request_id)
    }
}

/// What is answered to a code that is right, and to every wish for another message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verified {
    /// Always true: a code that is not right is refused.
    success: bool,
}

/// `POST /v1/verify-identifier`: verifies an address by the code that was sent to it, or has one more message sent.
///
/// A code that is wrong, too late or tried too often is refused in the same words as one for a request that does not exist;
/// a wish for another message is always answered alike.
#[utoipa::path(
    post, path = "/v1/verify-identifier", tag = "data subjects", request_body = VerifyIdentifier,
    responses(
        (status = 200, body = Verified),
        (status = 400, description = "The code is not right, or can no longer be used"),
        (status = 415, description = "The body is not JSON"),
        (status = 429, description = "Too many tries from this block of addresses")
    )
)]
pub(crate) async fn verify_by_code(
    State(app): State<AppState>,
    extensions: Extensions,
    Json(body): Json<VerifyIdentifier>,
) -> Result<Json<Verified>, Problem> {
    count_try(&app, &extensions)?;
    let asked = match (&body.code, &body.email) {
        (Some(code), _) => Asked::Code(code.trim()),
        (None, Some(email)) => Asked::Message(email.trim()),
        (None, None) => {
            return Err(Problem::validation([(
                "code",
                "is required, or email to have another one sent",
            )]));
        }
    };
    let mut tx = app.store.begin_write().await?;
    let done = match find_organization(&mut tx, body.organization.as_deref()).await? {
        Some(organization) => {
            let keys = app.keys.organization(organization).await?;
            let request = DsrId(body.request_id);
            match asked {
                Asked::Code(code) => enter(&app, &mut tx, &keys, request, code).await?,
                Asked::Message(email) => send_again(&app, &mut tx, &keys, request, email).await?,
            }
        }
        None => false,
    };
    tx.commit().await?;
    app.jobs.ring();
    match (done, asked) {
        (true, _) | (false, Asked::Message(_)) => Ok(Json(Verified { success: true })),
        (false, Asked::Code(_)) => Err(Problem::validation([(
            "code",
            "is not right, or can no longer be used: ask for another message",
        )])),
    }
}

#[derive(Clone, Copy)]
enum Asked<'a> {
    Code(&'a str),
    Message(&'a str),
}

/// A run that a link was given out for and that is of use: it waits for the data subject, or has been verified.
struct Found {
    run: Preflight,
    run_organization: OrganizationId,
    keys: std::sync::Arc<OrganizationKeys>,
    locale: String,
    from: String,
}

impl Found {
    fn words(&self) -> &'static Words {
        words(&self.locale)
    }

    fn page(&self, body: Html) -> Response {
        let said = self.words();
        Page {
            language: said.language,
            from: &self.from,
            title: said.title,
            body,
        }
        .into_response()
    }
}

async fn find(app: &AppState, reader: &mut Reader, token: &str) -> Result<Option<Found>, Problem> {
    let Some(token) = Token::parse(token) else {
        return Ok(None);
    };
    let keys = match app.keys.organization(token.organization).await {
        Err(KeyringError::NoOrganization) => return Ok(None),
        keys => keys?,
    };
    let Some(run) = store::find(reader, token.organization, token.run).await? else {
        return Ok(None);
    };
    let is_of_use = matches!(run.state, PreflightState::Waiting | PreflightState::Resolved);
    if !token.is_for(&keys, &run) || !is_of_use {
        return Ok(None);
    }
    let head = match dsr::get_head(reader, token.organization, run.request).await {
        Err(DsrError::NotFound) => return Ok(None),
        head => head?,
    };
    let is_late = run.ends_at.is_some_and(|at| at <= app.now(token.organization));
    let waits = head.state.is_at_preflight() && head.round == run.round && !is_late;
    if run.state == PreflightState::Waiting && !waits {
        return Ok(None);
    }
    let settings = app.settings.get(reader, token.organization).await?;
    Ok(Some(Found {
        run,
        run_organization: token.organization,
        keys,
        locale: head.locale,
        from: settings.organization.name.clone(),
    }))
}

/// The same page for every link that opens nothing, in the language of the reader.
fn not_valid(headers: &HeaderMap) -> Response {
    let said = words(language_of_reader(headers));
    let page = Page {
        language: said.language,
        from: "",
        title: said.title,
        body: Html::default().notice(Notice::Careful, said.not_valid),
    };
    (StatusCode::NOT_FOUND, page).into_response()
}

/// The address that a run starts from is verified, and its request looked at again.
async fn verify(
    tx: &mut Tx,
    keys: &OrganizationKeys,
    deed: &Deed<'_>,
    run: &mut Preflight,
) -> Result<(), PreflightError> {
    dsr::verify_identifiers(tx, keys, deed, run.request, &[run.input], run.id.0).await?;
    run.step(PreflightEvent::Answered)?;
    answer::forget_job(tx, deed, run);
    answer::keep(tx, deed, run, "preflight.verified");
    dsr::settle_soon(tx, deed, run.request);
    Ok(())
}

/// The runs of a request that wait for its data subject.
async fn waiting(
    app: &AppState,
    reader: &mut Reader,
    organization: OrganizationId,
    request: DsrId,
) -> Result<Vec<Preflight>, PreflightError> {
    let head = match dsr::get_head(reader, organization, request).await {
        Err(DsrError::NotFound) => return Ok(Vec::new()),
        head => head?,
    };
    if !head.state.is_at_preflight() {
        return Ok(Vec::new());
    }
    let now = app.now(organization);
    let mut runs = store::list(reader, organization, request, head.round).await?;
    runs.retain(|run| {
        run.kind == EnricherKind::Email && run.state == PreflightState::Waiting && run.ends_at.is_none_or(|at| at > now)
    });
    Ok(runs)
}

/// Tries a code on every address of the request that waits for one.
async fn enter(
    app: &AppState,
    tx: &mut Tx,
    keys: &OrganizationKeys,
    request: DsrId,
    code: &str,
) -> Result<bool, PreflightError> {
    let deed = by_anyone(app, keys.organization);
    for mut run in waiting(app, tx, keys.organization, request).await? {
        if try_code(keys, &mut run, code) {
            verify(tx, keys, &deed, &mut run).await?;
            return Ok(true);
        }
        store::save(tx, keys.organization, &run);
    }
    Ok(false)
}

/// Sends one more message to an address that waits for one, unless that was asked for too often.
async fn send_again(
    app: &AppState,
    tx: &mut Tx,
    keys: &OrganizationKeys,
    request: DsrId,
    email: &str,
) -> Result<bool, PreflightError> {
    let deed = by_anyone(app, keys.organization);
    let runs = waiting(app, tx, keys.organization, request).await?;
    if runs.is_empty() {
        return Ok(false);
    }
    let dsr = dsr::get(tx, keys, request).await?;
    for mut run in runs {
        let input = dsr.subject.identifiers.iter().find(|input| input.id == run.input);
        let Some(input) = input.filter(|input| input.value.eq_ignore_ascii_case(email)) else {
            continue;
        };
        let Some(verification) = run.verification.as_mut().filter(|it| it.may_ask(deed.now)) else {
            continue;
        };
        verification.asked_for += 1;
        verification.send_again(deed.now);
        let Some(enricher) = enricher_of(tx, keys, &run).await? else {
            continue;
        };
        let about = (&run, input, &enricher);
        mail::post(app, tx, keys, &deed, &dsr, about, MessageKind::Verification).await?;
        answer::keep(tx, &deed, &run, "preflight.mailed_again");
    }
    Ok(true)
}

async fn find_organization(reader: &mut Reader, named: Option<&str>) -> Result<Option<OrganizationId>, Problem> {
    let all = organization::list(reader).await?;
    let found = match named {
        None => all.first(),
        Some(name) => all
            .iter()
            .find(|one| one.uri == name || one.id.0.to_string().eq_ignore_ascii_case(name)),
    };
    Ok(found.map(|one| one.id))
}

fn by_anyone(app: &AppState, organization: OrganizationId) -> Deed<'_> {
    Deed {
        organization,
        by: Actor::Anyone,
        now: app.now(organization),
        ids: &app.ids,
    }
}

/// Counts a try of whoever calls, with all who share their block of addresses.
fn count_try(app: &AppState, extensions: &Extensions) -> Result<(), Problem> {
    let Some(Peer(address)) = extensions.get::<Peer>() else {
        return Ok(());
    };
    let counted = app
        .strangers
        .count(block_of(*address), app.clock.now(), TRIES_PER_MINUTE);
    counted.map_err(|wait| Problem::new(Code::RateLimited).retry_after(wait))
}

/// The block that an address belongs to: 256 neighbours, or what one line of IPv6 has.
fn block_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}
