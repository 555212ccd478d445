//! The handlers of `/sync`.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    super::{
        check,
        http::{Intent, Known, take_in, unknown_partition},
        model::Record,
        store::Refused,
        wire::UpsertRecord,
    },
    consent::{alone, in_consent},
    holder::{Found, Holder, Told},
    wire::{Consent, ConsentAnswer, Done},
};
use crate::{
    AppState,
    api_keys::ScopeName,
    audit::Actor,
    config::IabContradiction,
    http::{Code, Grants, Json, Problem, preflight},
    organization::{self, OrganizationId},
    purposes::{AuthLevel, Catalog},
};

/// `OPTIONS /sync`: what a browser asks before it lets a page of another origin send a header of its own.
#[utoipa::path(options, path = "/sync", tag = "consent", responses((status = 204, description = "Pages of every origin may")))]
pub(crate) async fn ask_first() -> Response {
    preflight("GET, POST, OPTIONS", "Authorization, Content-Type")
}

/// `GET /sync`: the confirmed consent of the person who holds the token.
#[utoipa::path(
    get,
    path = "/sync",
    tag = "consent",
    params(
        ("partition" = String, Query, description = "The key of the partition"),
        ("Authorization" = String, Header, description = "A consent token or a token of the preference centre, with or without `Bearer`")
    ),
    responses(
        (status = 200, description = "The consent that is kept", body = inline(ConsentAnswer<'static>)),
        (status = 204, description = "No confirmed consent is kept of this person"),
        (status = 400, description = "The token or the partition is not good"),
        (status = 500, description = "The server is at fault")
    )
)]
pub(crate) async fn show_consent(State(app): State<AppState>, holder: Holder) -> Result<Response, Problem> {
    let (known, found) = look(&app, &holder).await?;
    Ok(match confirmed(&found)? {
        Some(record) => Json(ConsentAnswer::kept(record, &known.catalog, known.sight())).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// `POST /sync`: adds what the person who holds the token chose to what is kept of them, and answers with what is kept
/// then.
///
/// What the person did not choose themselves (`confirmed: false`) changes nothing and makes no record: if nothing
/// confirmed is kept, it is sent back as it came. The body is read as JSON whatever its content type says, so that pages
/// can send it without asking first. With an API key in the header and no token, the older body of a gateway is taken:
/// `{partition, identifier, purposes: [{purpose, enabled}], confirmed}`, and with `confirmed: false` it is only checked. Where
/// the server is set to take it, so it is without any proof of who sends it, as far as each purpose's `authLevel` lets
/// anybody change it.
#[utoipa::path(
    post,
    path = "/sync",
    tag = "consent",
    request_body(content = inline(super::wire::SyncCall), content_type = "application/json"),
    responses(
        (status = 200, description = "The consent that is kept", body = inline(ConsentAnswer<'static>)),
        (status = 400, description = "The token, the partition or the consent is not good"),
        (status = 500, description = "The server is at fault")
    )
)]
pub(crate) async fn sync_consent(State(app): State<AppState>, told: Told) -> Result<Response, Problem> {
    match told {
        Told::Holder(holder, consent) if consent.confirmed => keep(&app, &holder, &consent).await,
        Told::Holder(holder, consent) => compare(&app, &holder, &consent).await,
        Told::Caller(grants, record) => keep_of_caller(&app, &grants, *record).await,
        Told::Anyone(record) => keep_of_anyone(&app, *record).await,
    }
}

/// Makes a confirmed consent part of the person's record.
async fn keep(app: &AppState, holder: &Holder, consent: &Consent) -> Result<Response, Problem> {
    let (known, found) = look(app, holder).await?;
    let who = holder.who(&found, &known.settings);
    let held = found.held.as_ref().and_then(|held| held.record.as_deref());
    let record = consent.record(&holder.partition, who, &known.catalog);
    let record = record.map_err(|broken| Problem::validation([broken]))?;
    let annotations = consent.annotations(held);
    let annotations = annotations.map_err(|broken| Problem::validation([broken]))?;
    // Nobody is there to mend a string that contradicts the choice beside it, and the choice is what counts.
    let rules = check::Rules {
        iab_contradiction: IabContradiction::Record,
        ..known.rules()
    };
    let checked = check::check(alone(record), &rules);
    let mut checked = checked.map_err(|broken| Problem::validation(in_consent(broken)))?;
    for checked in &mut checked {
        (checked.write.updated, checked.write.prompted) = (consent.updated, consent.prompted);
        checked.write.metadata = annotations.clone();
    }
    let site = known.site(app, holder.keys.organization, &holder.keys);
    let (_, mut kept) = take_in(app, &known, &site, checked, holder.by, Intent::Keep).await?;
    let held = kept
        .pop()
        .ok_or_else(|| Problem::new(Code::Internal))?
        .map_err(not_kept)?;
    let record = held.record.as_deref().ok_or_else(|| not_kept(Refused::Unreadable))?;
    Ok(Json(ConsentAnswer::kept(record, &known.catalog, known.sight())).into_response())
}

/// Answers a consent that nobody confirmed with the one that is kept, if there is one.
async fn compare(app: &AppState, holder: &Holder, consent: &Consent) -> Result<Response, Problem> {
    let answers = consent.answers().map_err(|broken| Problem::validation([broken]))?;
    let (known, found) = look(app, holder).await?;
    // It is not kept, and yet not sent back if it makes no sense.
    let at = super::super::moment::Moment::parse_event(&consent.timestamp, known.now);
    at.map_err(|bad| Problem::validation([("consent.timestamp", bad.to_string())]))?;
    Ok(match confirmed(&found)? {
        Some(record) => Json(ConsentAnswer::kept(record, &known.catalog, known.sight())).into_response(),
        None => Json(ConsentAnswer::said(consent, answers)).into_response(),
    })
}

/// Keeps what the holder of an API key says that somebody chose.
async fn keep_of_caller(app: &AppState, grants: &Grants, record: UpsertRecord) -> Result<Response, Problem> {
    grants.require(ScopeName::ManageStoredPreferences)?;
    keep_about(app, grants.organization, record, Actor::ApiKey(grants.key.0)).await
}

/// Keeps what somebody says that somebody chose, as far as the purposes let anybody say it. The answer tells nothing about
/// the person.
async fn keep_of_anyone(app: &AppState, record: UpsertRecord) -> Result<Response, Problem> {
    let mut reader = app.store.begin_read().await?;
    let mut owners = Vec::new();
    for organization in organization::list(&mut reader).await? {
        let catalog = app.catalogs.current(&mut reader, organization.id).await?;
        if catalog.partition(&record.partition).is_some() {
            owners.push((organization.id, catalog));
        }
    }
    // Nothing says whose partition is meant where several have one of this key.
    let [(organization, catalog)] = &owners[..] else {
        return Err(unknown_partition());
    };
    let broken = beyond_anyone(&record, catalog);
    if !broken.is_empty() {
        return Err(Problem::validation(broken));
    }
    keep_about(app, *organization, record, Actor::Anyone).await
}

/// What takes proof of who somebody is, by its place.
fn beyond_anyone(record: &UpsertRecord, catalog: &Catalog) -> Vec<(String, &'static str)> {
    let mut broken = Vec::new();
    if record.confirmed == Some(false) {
        broken.push(("confirmed".to_owned(), "must not be false without a token"));
    }
    for (place, said) in record.purposes.iter().flatten().enumerate() {
        let rule = match catalog.purpose(&said.purpose).map(|purpose| purpose.auth_level) {
            Some(AuthLevel::Required) => "cannot be changed without a token",
            Some(AuthLevel::AllowOptOut) if said.enabled != Some(false) => "can only be refused without a token",
            Some(AuthLevel::AllowOptOut | AuthLevel::Optional) | None => continue,
        };
        broken.push((format!("purposes[{place}].purpose"), rule));
    }
    broken
}

async fn keep_about(
    app: &AppState,
    organization: OrganizationId,
    record: UpsertRecord,
    by: Actor,
) -> Result<Response, Problem> {
    let keys = app.keys.organization(organization).await?;
    let now = app.clock.now();
    let known = Known::read(app, &mut app.store.begin_read().await?, organization, now).await?;
    let site = known.site(app, organization, &keys);
    // What nobody confirmed is not kept, whoever tells it.
    let intent = match record.confirmed {
        Some(false) => Intent::OnlyTry,
        _ => Intent::Keep,
    };
    let checked = check::check(alone(record), &known.rules()).map_err(Problem::validation)?;
    let (_, mut kept) = take_in(app, &known, &site, checked, by, intent).await?;
    kept.pop()
        .ok_or_else(|| Problem::new(Code::Internal))?
        .map_err(not_kept)?;
    Ok(Json(Done { success: true }).into_response())
}

/// What is configured, and the person's record.
async fn look(app: &AppState, holder: &Holder) -> Result<(Known, Found), Problem> {
    let organization = holder.keys.organization;
    let mut reader = app.store.begin_read().await?;
    let known = Known::read(app, &mut reader, organization, app.clock.now()).await?;
    let partition = known.catalog.partition(&holder.partition);
    let partition = partition.ok_or_else(unknown_partition)?;
    let site = known.site(app, organization, &holder.keys);
    let found = holder.find(&mut reader, &site, partition).await?;
    Ok((known, found))
}

/// The record, if what it holds was confirmed. One that cannot be opened is our fault.
fn confirmed(found: &Found) -> Result<Option<&Record>, Problem> {
    match &found.held {
        None => Ok(None),
        Some(held) => {
            let record = held.record.as_deref().ok_or_else(|| not_kept(Refused::Unreadable))?;
            Ok(Some(record).filter(|record| record.confirmed))
        }
    }
}

fn not_kept(why: Refused) -> Problem {
    match why {
        Refused::Unreadable => Problem::new(Code::Internal),
        refused => Problem::malformed(refused.to_string()),
    }
}
