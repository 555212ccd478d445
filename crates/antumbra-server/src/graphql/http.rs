//! `POST /graphql`, and the schema as text.

use std::sync::Arc;

use async_graphql::{Request, Response, ServerError};
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};

use super::{
    Refusal, SCHEMA, Session,
    access::{self, Demand},
};
use crate::{
    AppState,
    http::{Caller, Json, JsonOrList, Problem},
};

/// Documents in one body.
const BATCH_MAX: usize = 2_000;

/// Bytes of one document, without its variables.
const QUERY_BYTES_MAX: usize = 64 * 1024;

/// Carries out a body and then forgets it: everything is checked and answered, nothing is kept.
const DRY_RUN: &str = "x-antumbra-dry-run";

/// One document, or a list of them that is carried out in order.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Documents {
    /// One.
    One(Box<Request>),
    /// Several, in one transaction.
    Many(Vec<Request>),
}

/// The answer, in the shape of the question.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Answers {
    /// To one document.
    One(Box<Response>),
    /// To each of several.
    Many(Vec<Response>),
}

/// `POST /graphql`: reads and changes the configuration, and acts on data subject requests.
///
/// The body is `{query, variables?, operationName?}`, or a list of such objects. The whole body is one transaction: if
/// any document in it fails, none has happened. Refusals come with status 200 and `errors`, as GraphQL has it. The
/// schema is at `/graphql/schema.graphql`.
#[utoipa::path(
    post,
    path = "/graphql",
    tag = "Management",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, description = "`data`, or `errors`", content_type = "application/json"))
)]
pub(crate) async fn run_documents(
    State(app): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    JsonOrList(body): JsonOrList<Documents>,
) -> Result<Json<Answers>, Problem> {
    let (mut requests, alone) = match body {
        Documents::One(request) => (vec![*request], true),
        Documents::Many(requests) => (requests, false),
    };
    if requests.is_empty() || requests.len() > BATCH_MAX {
        return Err(Problem::malformed(format!(
            "The body must hold between 1 and {BATCH_MAX} documents"
        )));
    }
    let documents = requests.len();
    let prepared = requests
        .iter_mut()
        .enumerate()
        .map(|(at, request)| prepare(request, &caller).map_err(|refused| (at, Box::new(refused))));
    let prepared = prepared.collect::<Result<Vec<_>, _>>();
    let mut answers = match prepared {
        Ok(demands) => {
            let demand = demands.into_iter().max().unwrap_or(Demand::Look);
            let dry_run = headers.contains_key(DRY_RUN);
            if dry_run && demand == Demand::Record {
                // Nothing would be written down, and yet the secret be shown.
                return Err(Problem::malformed(
                    "A field of the body shows a secret, which a dry run cannot do",
                ));
            }
            let session = if demand > Demand::Look {
                Session::writing(app, caller).await
            } else {
                Session::reading(app, caller).await
            }?;
            execute(requests, Arc::new(session), dry_run).await?
        }
        Err((at, refused)) => {
            let answers = (0..at)
                .map(|_| Response::default())
                .chain([Response::from_errors(vec![*refused])])
                .collect();
            undone(answers, documents)
        }
    };
    answers
        .iter_mut()
        .flat_map(|answer| &mut answer.errors)
        .for_each(Refusal::describe);
    Ok(Json(match answers.pop() {
        Some(answer) if alone => Answers::One(Box::new(answer)),
        last => Answers::Many(answers.into_iter().chain(last).collect()),
    }))
}

/// Parses one document, and refuses it before anything is done if the caller may not have one of its fields.
fn prepare(request: &mut Request, caller: &Caller) -> Result<Demand, ServerError> {
    if request.query.len() > QUERY_BYTES_MAX {
        let why = format!("the document is larger than {QUERY_BYTES_MAX} bytes; put values into variables");
        return Err(Refusal::client(why).at(Vec::new()));
    }
    let document = request.parsed_query().map_err(|error| {
        Refusal::client(format!("syntax error: {}", without_quote(&error.message))).at(error.locations)
    })?;
    access::admit(document, caller)
}

/// What the parser says, without the line of the document that it quotes: values may stand in it.
fn without_quote(message: &str) -> String {
    let said = message.rsplit_once(" = ").map_or(message, |(_, expected)| expected);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn execute(requests: Vec<Request>, session: Arc<Session>, dry_run: bool) -> Result<Vec<Response>, Problem> {
    let documents = requests.len();
    let mut answers = Vec::with_capacity(documents);
    for request in requests {
        let answer = SCHEMA.execute(request.data(session.clone())).await;
        if let Some(failure) = answer.errors.iter().find_map(Refusal::failure_of) {
            return Err(failure);
        }
        let refused = !answer.errors.is_empty();
        answers.push(answer);
        if refused {
            return Ok(undone(answers, documents));
        }
    }
    if !dry_run {
        session.commit().await?;
    }
    Ok(answers)
}

/// The answers once the last of them was refused: the other documents have not happened either.
fn undone(mut answers: Vec<Response>, documents: usize) -> Vec<Response> {
    let Some(refused) = answers.pop() else { return answers };
    let at = answers.len();
    let undone = || {
        let message = format!("document {at} of this body was refused, so nothing of it was kept");
        let why = Refusal::Client {
            message,
            code: "NOT_CARRIED_OUT",
        };
        Response::from_errors(vec![why.at(Vec::new())])
    };
    let mut all: Vec<Response> = (0..documents).map(|_| undone()).collect();
    all[at] = Response::from_errors(refused.errors);
    all
}

/// `GET /graphql/schema.graphql`: the schema as text.
#[utoipa::path(
    get,
    path = "/graphql/schema.graphql",
    tag = "Management",
    responses((status = 200, description = "The schema", content_type = "text/plain"))
)]
pub(crate) async fn show_schema() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        super::schema_text(),
    )
}
