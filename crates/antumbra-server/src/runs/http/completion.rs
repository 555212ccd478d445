//! `/complete/…`: whoever was asked by a message, and has no technical connection, says by a link how their work ended.
//!
//! The link says which profile it is about and is signed; it holds ids only. It works until the profile is closed, like a nonce.
//! Opening it changes nothing: programs that look through messages do so too. The page does not say whom it is about, the
//! message does.

use antumbra_crypto::token::Claims;
use antumbra_store::Reader;
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{
    AppState,
    http::{
        Path, Problem,
        pages::{Form, Html, Notice, Page},
    },
    keyring::{KeyringError, OrganizationKeys},
    organization::{Action, OrganizationId},
    runs::{
        RunError,
        model::{Profile, SiloRun, Verdict},
        nonce::SiloNonce,
        report::Admitted,
    },
};

/// The nonce of a profile as a link carries it: it opens the page and no other route.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Completion(SiloNonce);

impl Claims for Completion {
    const KIND: &'static str = "completion";
}

/// The address at which the work on a profile is reported without a key.
pub(in crate::runs) fn completion_link(
    public_url: &str,
    keys: &OrganizationKeys,
    run: &SiloRun,
    profile: &Profile,
) -> String {
    let organization = keys.organization;
    let token = keys.tokens.sign(&Completion(SiloNonce::of(organization, run, profile)));
    format!("{public_url}/complete/{}~{token}", organization.0)
}

/// What somebody says by pressing a button.
#[derive(Clone, Copy)]
enum Said {
    Done,
    Nothing,
    Data,
}

impl Said {
    fn parse(word: &str) -> Option<Said> {
        match word {
            "done" => Some(Said::Done),
            "nothing" => Some(Said::Nothing),
            "data" => Some(Said::Data),
            _ => None,
        }
    }

    fn verdict(self) -> Verdict {
        match self {
            Said::Done => Verdict::Resolved,
            Said::Nothing => Verdict::Skipped,
            // It is on its way, and somebody has to put it into the report.
            Said::Data => Verdict::ActionRequired,
        }
    }
}

/// The buttons of a page: where data is asked for, that there is some is not that it has been handed over.
fn buttons(action: Action) -> [(&'static str, &'static str); 2] {
    let first = match action {
        Action::Access | Action::BusinessPurpose => ("data", "We hold data, and send it to you"),
        _ => ("done", "It is done"),
    };
    [first, ("nothing", "We hold nothing about this person")]
}

/// `GET /complete/{token}`: the page that a link in a message to a vendor opens. It changes nothing yet.
#[utoipa::path(
    get, path = "/complete/{token}", tag = "Fulfilment",
    params(("token" = String, Path, description = "What stands in the link")),
    responses((status = 200, body = String, content_type = "text/html"))
)]
pub(crate) async fn show_completion(
    State(app): State<AppState>,
    Path(token): Path<String>,
) -> Result<Response, Problem> {
    let mut reader = app.store.begin_read().await?;
    let Some(found) = find(&app, &mut reader, &token).await? else {
        return Ok(not_valid());
    };
    let body = match found.admitted.open(&mut reader).await {
        Ok(open) => {
            let action = open.run.action;
            let asked = format!(
                "{} asks you to carry out a privacy request: {}.",
                found.from,
                action.as_str()
            );
            let whom = "The message that this link came with says whom it is about. Your answer can be given once.";
            buttons(action).into_iter().fold(
                Html::default().paragraph(&asked).paragraph(whom),
                |page, (word, label)| page.form(&format!("/complete/{token}/{word}"), Html::default().button(label)),
            )
        }
        Err(RunError::Closed) => Html::default().notice(Notice::Done, CLOSED),
        Err(error) => return Err(error.into()),
    };
    Ok(page(&found.from, body))
}

/// `POST /complete/{token}/{answer}`: the buttons of that page.
#[utoipa::path(
    post, path = "/complete/{token}/{answer}", tag = "Fulfilment",
    params(
        ("token" = String, Path, description = "What stands in the link"),
        ("answer" = String, Path, description = "`done`, `nothing` or `data`"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/html"),
        (status = 415, description = "The body is not what the page's form sends")
    )
)]
pub(crate) async fn complete_by_link(
    State(app): State<AppState>,
    Path((token, answer)): Path<(String, String)>,
    _: Form,
) -> Result<Response, Problem> {
    let mut tx = app.store.begin_write().await?;
    let (Some(found), Some(said)) = (find(&app, &mut tx, &token).await?, Said::parse(&answer)) else {
        return Ok(not_valid());
    };
    match found.admitted.open(&mut tx).await {
        Ok(mut open) => {
            open.profile().report(Some(said.verdict()), None);
            let sent = antumbra_crypto::sha256(answer.as_bytes());
            open.keep(&app, &mut tx, "silo_run.completed_by_link", sent).await?;
            tx.commit().await?;
            app.jobs.ring();
        }
        Err(RunError::Closed) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(page(&found.from, Html::default().notice(Notice::Done, CLOSED)))
}

const CLOSED: &str = "Thank you, your answer has been noted. You can close this page.";

struct Found {
    admitted: Admitted,
    from: String,
}

async fn find(app: &AppState, reader: &mut Reader, link: &str) -> Result<Option<Found>, Problem> {
    let Some((organization, token)) = link.split_once('~') else {
        return Ok(None);
    };
    let Ok(organization) = organization.parse().map(OrganizationId) else {
        return Ok(None);
    };
    let keys = match app.keys.organization(organization).await {
        Err(KeyringError::NoOrganization) => return Ok(None),
        keys => keys?,
    };
    let Ok(Completion(nonce)) = keys.tokens.verify::<Completion>(token) else {
        return Ok(None);
    };
    if nonce.organization != organization {
        return Ok(None);
    }
    let settings = app.settings.get(reader, organization).await?;
    Ok(Some(Found {
        admitted: Admitted::by_link(keys, nonce),
        from: settings.organization.name.clone(),
    }))
}

fn page(from: &str, body: Html) -> Response {
    Page {
        language: "en",
        from,
        title: "A privacy request",
        body,
    }
    .into_response()
}

/// The same page for every link that opens nothing.
fn not_valid() -> Response {
    let body = Html::default().notice(Notice::Careful, "This link is not valid.");
    (StatusCode::NOT_FOUND, page("", body)).into_response()
}
