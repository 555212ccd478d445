//! JSON bodies, read with stated bounds and refused with the place that is wrong.
//!
//! Unknown fields are ignored and of two equal keys the last wins, as in JavaScript. Depth and the number of values are
//! bounded; numbers that no field can hold, broken UTF-8, a byte order mark and anything after the value are refused.

use axum::{
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::{Code, Problem};

/// Arrays and objects may nest this deep.
pub const DEPTH_MAX: usize = 64;

/// A body may hold this many values. A value of two bytes takes a hundred in memory, so the length of a body does not
/// bound what it costs.
pub const VALUES_MAX: usize = 1_000_000;

/// Of a list in which something was refused, so many further elements are looked at, each beside so many members of the body.
const ELEMENTS_MAX: usize = 200;
const MEMBERS_MAX: usize = 32;

/// A JSON body, in or out.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        parse_object(&json_of(request, state).await?, VALUES_MAX).map(Json)
    }
}

/// A JSON body that is an object or a list of them.
#[derive(Clone, Copy, Debug)]
pub struct JsonOrList<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonOrList<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        parse(&json_of(request, state).await?).map(JsonOrList)
    }
}

/// A JSON body that carries somebody's data, of any number of values: its type keeps what it costs in bounds.
#[derive(Clone, Copy, Debug)]
pub struct LongJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for LongJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        parse_object(&json_of(request, state).await?, usize::MAX).map(LongJson)
    }
}

/// A JSON body that may say of itself that it is something else. Pages in browsers send theirs as plain text, since a page
/// that says JSON has to ask first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UntypedJson<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for UntypedJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| Problem::malformed("The body was cut off"))?;
        parse_object(&body, VALUES_MAX).map(UntypedJson)
    }
}

/// A body of the kind `J`, and SHA-256 of its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Digested<J>(pub J, pub [u8; 32]);

impl<J: FromRequest<S, Rejection = Problem>, S: Send + Sync> FromRequest<S> for Digested<J> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let body = Bytes::from_request(Request::from_parts(parts.clone(), body), state).await;
        let body = body.map_err(|_| Problem::malformed("The body was cut off"))?;
        let digest = antumbra_crypto::sha256(&body);
        let read = J::from_request(Request::from_parts(parts, body.into()), state).await?;
        Ok(Digested(read, digest))
    }
}

/// For a route that needs no body: none, or an object whose members are not looked at, as some clients always send one.
#[derive(Clone, Copy, Debug)]
pub struct NoBody;

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = json_of(request, state).await?;
        if !body.is_empty() {
            parse_object::<serde_json::Map<String, serde_json::Value>>(&body, VALUES_MAX)?;
        }
        Ok(NoBody)
    }
}

async fn json_of<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    check_type(request.headers())?;
    let body = Bytes::from_request(request, state).await;
    body.map_err(|_| Problem::malformed("The body was cut off"))
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
    let essence = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let (essence, application) = (essence.trim(), "application/");
    let json = match essence.split_at_checked(application.len()) {
        _ if essence.is_empty() => true,
        Some((start, rest)) if start.eq_ignore_ascii_case(application) => {
            let suffix = rest.len().checked_sub("+json".len()).and_then(|at| rest.get(at..));
            rest.eq_ignore_ascii_case("json") || suffix.is_some_and(|end| end.eq_ignore_ascii_case("+json"))
        }
        _ => false,
    };
    if json {
        Ok(())
    } else {
        Err(Problem::new(Code::UnsupportedMediaType))
    }
}

/// As [`parse`], with so many values, and refuses a list, which serde would take for the members of an object in their
/// order.
fn parse_object<T: DeserializeOwned>(body: &[u8], values_max: usize) -> Result<T, Problem> {
    let read = parse_within(body, values_max)?;
    if body.trim_ascii_start().starts_with(b"[") {
        Err(Problem::validation([("", "must be an object")]))
    } else {
        Ok(read)
    }
}

/// Reads one JSON value within the bounds.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    parse_within(body, VALUES_MAX)
}

fn parse_within<T: DeserializeOwned>(body: &[u8], values_max: usize) -> Result<T, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Problem::malformed(format!("The body is not UTF-8: see byte {}", error.valid_up_to())))?;
    let values = count_values(body)?;
    if values > values_max {
        return Err(Problem::malformed(format!(
            "The body holds more than {values_max} values"
        )));
    }
    serde_json::from_str(text).or_else(|_| match values {
        ..=VALUES_MAX => explain(text),
        _ => Err(Problem::malformed(
            "The body is not JSON of the kind that this route reads",
        )),
    })
}

/// The slow reading, taken once the quick one has failed: it lets the last of two equal keys win, and names the place.
fn explain<T: DeserializeOwned>(body: &str) -> Result<T, Problem> {
    let value: Value = serde_json::from_str(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::malformed(format!(
            "The body is not JSON that can be read: see line {line}, column {column}"
        ))
    })?;
    let error = match read_from::<T>(&value) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let mut segments = error.path().iter();
    let behind = match (segments.next(), segments.next()) {
        (Some(Segment::Map { key }), Some(Segment::Seq { index })) => broken_behind::<T>(&value, key, *index),
        _ => Vec::new(),
    };
    Err(Problem::validation([broken_by(error)].into_iter().chain(behind)))
}

type Broken = serde_path_to_error::Error<serde_json::Error>;

fn read_from<T: DeserializeOwned>(value: &Value) -> Result<T, Broken> {
    serde_path_to_error::deserialize(value)
}

fn broken_by(error: Broken) -> (String, String) {
    let path = error.path().to_string();
    let path = if path == "." { String::new() } else { path };
    broken_rule(path, &error.into_inner().to_string())
}

/// What is wrong in the elements of a list behind the one that was refused: each is read as the only one of its list, beside
/// what else the body says in single words.
fn broken_behind<T: DeserializeOwned>(body: &Value, list: &str, refused: usize) -> Vec<(String, String)> {
    let Some(elements) = body[list].as_array() else {
        return Vec::new();
    };
    let members = body.as_object().into_iter().flatten().take(MEMBERS_MAX);
    let words = members.filter(|(_, value)| !value.is_array() && !value.is_object());
    let mut alone: Map<String, Value> = words.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut broken = Vec::new();
    for (index, element) in elements.iter().enumerate().skip(refused + 1).take(ELEMENTS_MAX) {
        alone.insert(list.to_owned(), Value::Array(vec![element.clone()]));
        let body = Value::Object(std::mem::take(&mut alone));
        if let Err(error) = read_from::<T>(&body) {
            let (path, rule) = broken_by(error);
            let inside = path.strip_prefix(list).and_then(|path| path.strip_prefix("[0]"));
            broken.extend(inside.map(|inside| (format!("{list}[{index}]{inside}"), rule)));
        }
        if let Value::Object(members) = body {
            alone = members;
        }
    }
    broken
}

/// Where and what, from what serde says; never with the value it found, which may be personal.
///
/// A message of our own, from a `Deserialize` that checks more than the type, is passed on if it reads as a rule: it
/// begins with `must` or `is`.
fn broken_rule(path: String, message: &str) -> (String, String) {
    if let Some(field) = message.strip_prefix("missing field ") {
        let field = field.trim_matches('`');
        let path = if path.is_empty() {
            field.to_owned()
        } else {
            format!("{path}.{field}")
        };
        return (path, "is required".to_owned());
    }
    let of_serde = [
        "invalid type: ",
        "invalid value: ",
        "invalid length ",
        "unknown variant ",
    ];
    let rule = if of_serde.iter().any(|start| message.starts_with(start)) {
        match message.rsplit_once("expected ") {
            Some((_, expected)) => format!("must be {}", in_words(expected)),
            None => "is not one of the known values".to_owned(),
        }
    } else if message.starts_with("must ") || message.starts_with("is ") {
        message.to_owned()
    } else {
        "is not valid".to_owned()
    };
    (path, rule)
}

/// Serde's names of types, in the words of JSON.
fn in_words(expected: &str) -> String {
    let word = match expected {
        "a sequence" => "an array",
        "a map" => "an object",
        "a borrowed string" | "a string or byte array" | "string or map" => "a string",
        "f64" | "f32" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, not negative and not too large",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, not too large",
        "unit" => "null",
        expected if expected.starts_with("struct ") => "an object",
        expected if expected.starts_with("a tuple") => "an array",
        expected => return expected.replace('`', ""),
    };
    word.to_owned()
}

/// How many values there can be at most. Refuses a body that nests too deeply.
fn count_values(body: &[u8]) -> Result<usize, Problem> {
    let (mut depth, mut values, mut in_string, mut escaped) = (0_usize, 1, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b',' => values += 1,
            b'[' | b'{' => {
                depth += 1;
                values += 1;
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
    Ok(values)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::http::problem::Dialect;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Batch {
        records: Vec<Record>,
        #[serde(default)]
        skip_workflow_triggers: bool,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Record {
        purpose: String,
        count: Option<u8>,
        level: Option<Level>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "camelCase")]
    enum Level {
        Low,
        High,
    }

    async fn refusal(body: &[u8]) -> (String, serde_json::Value) {
        let problem = parse::<Batch>(body).expect_err("the body is refused");
        let answer = problem.render(Dialect::Envelope, "id");
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        (body["error"].as_str().unwrap().to_owned(), body)
    }

    #[tokio::test]
    async fn each_bad_body_has_its_answer() {
        let deep = format!(r#"{{"records":[],"more":{}{}}}"#, "[".repeat(64), "]".repeat(64));
        let table: &[(&[u8], &str)] = &[
            // Not JSON: the place is a line and a column.
            (b"", "The body is not JSON that can be read: see line 1, column 0"),
            (
                b"{\"records\":[",
                "The body is not JSON that can be read: see line 1, column 12",
            ),
            (
                b"{\"records\":[]} x",
                "The body is not JSON that can be read: see line 1, column 16",
            ),
            (
                b"{\"records\":[]}{}",
                "The body is not JSON that can be read: see line 1, column 15",
            ),
            (
                b"{\"records\":[],}",
                "The body is not JSON that can be read: see line 1, column 15",
            ),
            (
                b"{'records':[]}",
                "The body is not JSON that can be read: see line 1, column 2",
            ),
            (
                b"\xef\xbb\xbf{\"records\":[]}",
                "The body is not JSON that can be read: see line 1, column 1",
            ),
            (b"\xff\xfe{\0}\0", "The body is not UTF-8: see byte 0"),
            (
                b"{\"records\":[{\"purpose\":\"\xff\"}]}",
                "The body is not UTF-8: see byte 24",
            ),
            (
                b"{\"records\":[{\"purpose\":\"\0\"}]}",
                "The body is not JSON that can be read: see line 1, column 25",
            ),
            (
                b"{\"records\":[{\"purpose\":\"\\ud800\"}]}",
                "The body is not JSON that can be read: see line 1, column 31",
            ),
            (
                b"{\"records\":[{\"purpose\":\"a\",\"count\":1e400}]}",
                "The body is not JSON that can be read: see line 1, column 40",
            ),
            (
                b"{\"records\":[],\"x\":NaN}",
                "The body is not JSON that can be read: see line 1, column 19",
            ),
            (deep.as_bytes(), "The body nests deeper than 64 levels"),
            // JSON, but not what the route reads: the place is a path.
            (b"[]", "must be an object"),
            (b"{}", "records: is required"),
            (b"{\"records\":null}", "records: must be an array"),
            (
                b"{\"records\":[{\"purpose\":\"a\"},{}]}",
                "records[1].purpose: is required",
            ),
            (
                b"{\"records\":[{\"purpose\":7}]}",
                "records[0].purpose: must be a string",
            ),
            (
                b"{\"records\":[{\"purpose\":\"a\",\"count\":256}]}",
                "records[0].count: must be a whole number, not negative and not too large",
            ),
            (
                b"{\"records\":[{\"purpose\":\"a\",\"count\":1.5}]}",
                "records[0].count: must be a whole number, not negative and not too large",
            ),
            (
                b"{\"records\":[{\"purpose\":\"a\",\"count\":12345678901234567890123}]}",
                "records[0].count: must be a whole number, not negative and not too large",
            ),
            (
                b"{\"records\":[{\"purpose\":\"a\",\"level\":\"ada@example.com\"}]}",
                "records[0].level: must be low or high",
            ),
            (
                b"{\"records\":[],\"skipWorkflowTriggers\":\"yes\"}",
                "skipWorkflowTriggers: must be a boolean",
            ),
        ];
        for (body, expected) in table {
            let (error, whole) = refusal(body).await;
            assert_eq!(error, *expected, "{}", String::from_utf8_lossy(body));
            assert!(
                !whole.to_string().contains("example.com"),
                "what was sent is not sent back"
            );
        }
    }

    #[tokio::test]
    async fn each_bad_element_of_a_list_is_told() {
        let body =
            br#"{"more":[[]],"skipWorkflowTriggers":true,"records":[{"purpose":"a"},{"purpose":7},{},{"purpose":"a"},3,
            {"purpose":"a","count":256,"level":"ada@example.com"}]}"#;
        let expected = "records[1].purpose: must be a string; records[2].purpose: is required; records[4]: must be an object; \
            records[5].count: must be a whole number, not negative and not too large";
        assert_eq!(refusal(body).await.0, expected);
        // What is wrong beside the list is told by itself.
        let body = br#"{"records":[{"purpose":"a"},{}],"skipWorkflowTriggers":"yes"}"#;
        assert_eq!(refusal(body).await.0, "records[1].purpose: is required");
        let many = format!(r#"{{"records":[{}{{}}]}}"#, "{},".repeat(999));
        assert_eq!(
            refusal(many.as_bytes()).await.1["details"].as_array().unwrap().len(),
            1 + ELEMENTS_MAX
        );
    }

    #[test]
    fn what_javascript_takes_is_taken() {
        let deepest = format!(r#"{{"records":[],"more":{}{}}}"#, "[".repeat(63), "]".repeat(63));
        let taken: &[&str] = &[
            r#"{"records":[],"unknown":{"a":[1,2]}}"#,
            r#"{"records":7,"records":[]}"#,
            r#"{"records":[],"unknown":1,"unknown":"two"}"#,
            " {\r\n\t\"records\" : [ ] } \n",
            r#"{"records":[],"text":"[[[[{{{{ \" ]] \\"}"#,
            &deepest,
        ];
        for body in taken {
            let batch = parse::<Batch>(body.as_bytes()).unwrap_or_else(|problem| panic!("{body}: {problem:?}"));
            assert!(batch.records.is_empty() && !batch.skip_workflow_triggers);
        }
        let twice = r#"{"records":[{"purpose":"first","purpose":"last"}]}"#;
        assert_eq!(parse::<Batch>(twice.as_bytes()).unwrap().records[0].purpose, "last");
    }

    #[tokio::test]
    async fn a_body_holds_so_many_values_and_no_more() {
        let list = |numbers: usize| format!("{{\"records\":[],\"more\":[{}0]}}", "0,".repeat(numbers - 1));
        // The object, its two members and the list in one of them; the numbers come on top.
        let (most, one_more) = (list(VALUES_MAX - 4), list(VALUES_MAX - 3));
        assert!(parse::<Batch>(most.as_bytes()).is_ok());
        let refused = |body: &str, values_max| parse_within::<Batch>(body.as_bytes(), values_max).unwrap_err().text();
        assert_eq!(
            refused(&one_more, VALUES_MAX),
            "The body holds more than 1000000 values"
        );
        assert!(parse_within::<Batch>(one_more.as_bytes(), usize::MAX).is_ok());
        // What is wrong in it is not looked for, since that would cost as much again.
        let wrong = one_more.replace("\"records\":[]", "\"records\":{}");
        assert_eq!(
            refused(&wrong, usize::MAX),
            "The body is not JSON of the kind that this route reads"
        );
        let quoted = format!("{{\"records\":[],\"text\":\"{}\"}}", ",[".repeat(VALUES_MAX));
        assert!(parse::<Batch>(quoted.as_bytes()).is_ok(), "commas in a text are text");
    }

    #[test]
    fn content_types() {
        let check = |kind: Option<&str>| {
            let mut headers = HeaderMap::new();
            kind.into_iter()
                .for_each(|kind| drop(headers.insert(header::CONTENT_TYPE, kind.parse().unwrap())));
            check_type(&headers).is_ok()
        };
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/vnd.api+json",
            "",
        ] {
            assert!(check(Some(kind)), "{kind}");
        }
        assert!(check(None), "a client that says nothing sends JSON");
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/jsonp",
            "nonsense",
        ] {
            assert!(!check(Some(kind)), "{kind}");
        }
    }
}
