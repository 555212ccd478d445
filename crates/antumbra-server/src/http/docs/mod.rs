//! The OpenAPI document and the page that shows it, all from inside the executable: the page asks no other origin for
//! anything, and its browser is told to keep it so.

use std::io::Read as _;

use axum::{
    http::{HeaderMap, HeaderValue, Method, header},
    response::{IntoResponse, Redirect, Response},
};
use flate2::read::GzDecoder;
use utoipa::openapi::{
    ArrayBuilder, Components, Content, Info, License, ObjectBuilder, OpenApi, PathItem, Ref, Response as Answer,
    Schema, Type,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::{Access, Code, Path, Problem};
use crate::routes::{self, BodyRule, RouteFacts};

macro_rules! part_of {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))
    };
}

const KEY: &str = "apiKey";
const INTERNAL_KEY: &str = "internalKey";

const ONLY_FROM_HERE: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                              frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// What the page is made of, compressed (`build.rs`): name, content type, bytes.
const PARTS: [(&str, &str, &[u8]); 4] = [
    (PAGE, "text/html; charset=utf-8", part_of!("page.html")),
    ("start.js", "text/javascript; charset=utf-8", part_of!("start.js")),
    ("swagger-ui.css", "text/css; charset=utf-8", part_of!("swagger-ui.css")),
    (
        "swagger-ui-bundle.js",
        "text/javascript; charset=utf-8",
        part_of!("swagger-ui-bundle.js"),
    ),
];
const PAGE: &str = "page.html";

/// `GET /openapi.json`: this API, as OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, description = "The document", body = String, content_type = "application/json")))]
pub(crate) async fn document() -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], routes::document()).into_response()
}

/// `GET /`: on to the page, for whoever opens the server's bare address.
#[utoipa::path(get, path = "/", tag = "operations", responses((status = 307, description = "To the page")))]
pub(crate) async fn root() -> Redirect {
    Redirect::temporary("docs/")
}

/// `GET /docs`: on to the page.
#[utoipa::path(get, path = "/docs", tag = "operations", responses((status = 303, description = "To the page")))]
pub(crate) async fn enter() -> Redirect {
    Redirect::to("docs/")
}

/// `GET /docs/`: the page that shows the document.
#[utoipa::path(get, path = "/docs/", tag = "operations", responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub(crate) async fn page(headers: HeaderMap) -> Result<Response, Problem> {
    asset(PAGE, &headers)
}

/// `GET /docs/{file}`: what the page is made of.
#[utoipa::path(get, path = "/docs/{file}", tag = "operations", params(("file" = String, Path, description = "Name of a part")), responses((status = 200, description = "A part of the page")))]
pub(crate) async fn part(Path(file): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    asset(&file, &headers)
}

/// The document before its routes: what it is, how callers are known, and the shape of a refusal.
pub(crate) fn preamble() -> OpenApi {
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "An API key, as `authorization: Bearer ant_…`. Made with `antumbra key create`, shown once.",
    ));
    let internal = ApiKeyValue::with_description(
        "x-sombra-authorization",
        "`Bearer` and the internal key. Only where the operator has set one; otherwise it is ignored.",
    );
    let components = Components::builder()
        .security_scheme(KEY, SecurityScheme::Http(key.build()))
        .security_scheme(INTERNAL_KEY, SecurityScheme::ApiKey(ApiKey::Header(internal)))
        .schema("Problem", problem_schema())
        .build();
    let info = Info::builder()
        .title("Antumbra")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("People's privacy rights: data subject requests and preferences."))
        .license(Some(
            License::builder()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    OpenApi::builder().info(info).components(Some(components)).build()
}

/// What one line of the route table says about its operation: who may call, and how it refuses.
pub(crate) fn complete(item: &mut PathItem, facts: &RouteFacts) {
    let operations = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
        &mut item.options,
    ];
    for operation in operations.into_iter().flatten() {
        let needs = match facts.access {
            Access::Open(_) => "Needs no API key.".to_owned(),
            Access::AnyKey => "Needs an API key.".to_owned(),
            Access::Attached => "Needs an API key that is associated to the integration.".to_owned(),
            Access::Scope(scope) => format!("Needs the scope *{}* (`{}`).", scope.title(), scope.as_str()),
        };
        let described = operation.description.take().unwrap_or_default();
        operation.description = Some(format!("{described}\n\n{needs}").trim_start().to_owned());
        if matches!(facts.access, Access::Open(_)) {
            continue;
        }
        let none = [] as [&str; 0];
        let key = || SecurityRequirement::new(KEY, none);
        operation.security = Some(vec![key(), key().add(INTERNAL_KEY, none)]);
        for code in refusals(facts) {
            let (status, _, title) = code.row();
            let title = match (code, facts.body) {
                (Code::UnsupportedMediaType, BodyRule::Stream) => "The file has a form around it",
                _ => title,
            };
            let responses = &mut operation.responses.responses;
            responses.entry(status.as_str().to_owned()).or_insert_with(|| {
                let content = Content::new(Some(Ref::from_schema_name("Problem")));
                Answer::builder()
                    .description(title)
                    .content("application/json", content)
                    .build()
                    .into()
            });
        }
    }
}

/// The refusals that a route shares with all others of its kind.
fn refusals(facts: &RouteFacts) -> Vec<Code> {
    let mut codes = vec![Code::ValidationFailed, Code::Unauthenticated, Code::RateLimited];
    codes.extend([Code::Internal, Code::StorageUnavailable]);
    if !matches!(facts.access, Access::AnyKey) {
        codes.push(Code::AccessDenied);
    }
    if facts.path.contains('{') {
        codes.push(Code::NotFound);
    }
    if facts.method != Method::GET {
        codes.extend([Code::BodyTooLarge, Code::UnsupportedMediaType]);
    }
    if facts.may_be_closed {
        codes.push(Code::NotModifiable);
    }
    codes
}

fn problem_schema() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let detail = ObjectBuilder::new()
        .property("path", text())
        .property("message", text());
    ObjectBuilder::new()
        .description(Some(
            "A refusal. Asked with `accept: application/problem+json`, RFC 9457 instead.",
        ))
        .property("message", text().description(Some("What is wrong, for a person.")))
        .property("statusCode", ObjectBuilder::new().schema_type(Type::Integer))
        .property(
            "code",
            text().description(Some("What is wrong, for a program. Never changes its meaning.")),
        )
        .property("error", text())
        .property("errors", ArrayBuilder::new().items(text()))
        .property("details", ArrayBuilder::new().items(detail))
        .property("requestId", text().description(Some("The line in the server's log.")))
        .property("upstream", text())
        .required("message")
        .required("statusCode")
        .required("code")
        .required("error")
        .required("requestId")
        .required("upstream")
        .into()
}

/// A part of the page; unpacked for whoever does not say that it may come compressed.
fn asset(file: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let (_, kind, bytes) = PARTS
        .iter()
        .find(|(name, ..)| *name == file)
        .ok_or_else(Problem::not_found)?;
    let policy = (header::CONTENT_SECURITY_POLICY, ONLY_FROM_HERE);
    let head = [(header::CONTENT_TYPE, *kind), policy, (header::VARY, "accept-encoding")];
    if takes_gzip(headers) {
        return Ok((head, [(header::CONTENT_ENCODING, "gzip")], *bytes).into_response());
    }
    let mut plain = Vec::new();
    GzDecoder::new(*bytes).read_to_end(&mut plain).map_err(|cause| {
        tracing::error!(%cause, "the documentation page cannot be unpacked");
        Problem::new(Code::Internal)
    })?;
    Ok((head, plain).into_response())
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut named = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','));
    named.any(|coding| {
        let (name, rest) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = rest.replace([' ', '\t'], "").trim_end_matches(['0', '.']) == "q=";
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}
