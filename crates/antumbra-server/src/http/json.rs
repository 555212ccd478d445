//! JSON bodies, read with stated bounds and refused with the place that is wrong.
//!
//! Unknown fields are ignored and of two equal keys the last wins, as in JavaScript. Depth is bounded; numbers that no
//! field can hold, broken UTF-8, a byte order mark and anything after the value are refused.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Code, Problem};

/// Arrays and objects may nest this deep.
pub const DEPTH_MAX: usize = 64;

/// A JSON body, in or out.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        check_type(request.headers())?;
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|_| Problem::malformed("The body was cut off"))?;
        parse(&body).map(Json)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                let kind = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, kind)], bytes).into_response()
            }
            Err(cause) => Problem::internal(&cause).into_response(),
        }
    }
}

/// A body without a content type is read as JSON; one that says it is something else is refused.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = kind
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let json = essence.is_empty()
        || essence == "application/json"
        || essence
            .strip_prefix("application/")
            .is_some_and(|rest| rest.ends_with("+json"));
    if json {
        Ok(())
    } else {
        Err(Problem::new(Code::UnsupportedMediaType))
    }
}

/// Reads one JSON value within the bounds.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    check_depth(body)?;
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        Err(_) => explain(body),
    }
}

/// The slow reading, taken once the quick one has failed: it lets the last of two equal keys win, and names the place.
fn explain<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::malformed(format!(
            "The body is not JSON that can be read: see line {line}, column {column}"
        ))
    })?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        Problem::validation([(path, rule(&error.into_inner().to_string()))])
    })
}

/// What serde found wrong, without the value it found.
fn rule(message: &str) -> String {
    if let Some(field) = message.strip_prefix("missing field ") {
        return format!("{} is required", field.trim_matches('`'));
    }
    match message.rsplit_once("expected ") {
        Some((_, expected)) => format!("must be {expected}"),
        None => "is not valid".to_owned(),
    }
}

fn check_depth(body: &[u8]) -> Result<(), Problem> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(Problem::malformed(format!(
                        "The body nests deeper than {DEPTH_MAX} levels"
                    )));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}
