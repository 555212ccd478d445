//! The one way the server says no.
//!
//! A [`Problem`] carries a code and what the caller may know. One place, [`Problem::render`], writes it: as the envelope
//! of the compatible routes, or as RFC 9457 on our own routes and for whoever accepts `application/problem+json`. The
//! cause of a failure goes to the log and never into the answer; personal data goes into neither.

use antumbra_store::{BlobError, StoreError};
use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::pages;

/// What went wrong, in one word. [`Code::row`] is the table that both renderings are fed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The bytes are not what the route reads: broken JSON, a broken parameter.
    Malformed,
    /// Readable, but some part breaks a rule; the details say which.
    ValidationFailed,
    /// The data subject has already made this request.
    DuplicateRequest,
    /// Some inputs of a bulk submission break rules; each says which.
    BatchRefused,
    /// A bulk submission of nothing.
    NoInputsProvided,
    /// A bulk submission of too much.
    SubmissionLimitExceeded,
    /// Some inputs of a bulk submission come with a context of encryption, and others without.
    MixedCekContext,
    /// Inputs of a bulk submission come with a context of encryption that the call as a whole lacks.
    DhContextRequired,
    /// Others kept submitting about the same people. The shell runs the handler again, so callers rarely see it.
    ConcurrentSubmission,
    /// A download key that has expired, or whose file is gone.
    DownloadKeyExpired,
    /// A cursor from before all that is kept of a feed.
    CursorExpired,
    /// API key or internal key missing, unknown, revoked or expired.
    Unauthenticated,
    /// A good key without the scope or the attachment.
    AccessDenied,
    /// Nothing here that this caller may know of.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The thing is in a state that allows no change.
    NotModifiable,
    /// The body is over the route's limit.
    BodyTooLarge,
    /// The request line is over the limit.
    UriTooLong,
    /// The head is over the limit.
    HeaderTooLarge,
    /// The body stopped arriving.
    TooSlow,
    /// A content type or encoding the route does not read.
    UnsupportedMediaType,
    /// A budget is used up.
    RateLimited,
    /// The server has more to do than it can.
    Overloaded,
    /// A bug. The log has the cause.
    Internal,
    /// Storage does not answer, or cannot be written.
    StorageUnavailable,
    /// Not ready to serve; only our own routes say so.
    Unavailable,
    /// Two transactions wished to change the same thing. The shell runs the handler again, so callers rarely see it.
    WriteConflict,
}

impl Code {
    /// Status, stable slug and title.
    pub const fn row(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Code::Malformed => (S::BAD_REQUEST, "MALFORMED", "The request is malformed"),
            Code::ValidationFailed => (S::BAD_REQUEST, "VALIDATION_FAILED", "The request is not valid"),
            Code::DuplicateRequest => (
                S::BAD_REQUEST,
                "DUPLICATE_REQUEST",
                "You have already made this request.",
            ),
            Code::BatchRefused => (
                S::BAD_REQUEST,
                "BATCH_REFUSED",
                "The batch was refused and nothing was created.",
            ),
            Code::NoInputsProvided => (
                S::BAD_REQUEST,
                "NO_INPUTS_PROVIDED",
                "input must be a list with at least one entry",
            ),
            Code::SubmissionLimitExceeded => (
                S::BAD_REQUEST,
                "SUBMISSION_LIMIT_EXCEEDED",
                "input must have at most 100 entries",
            ),
            Code::MixedCekContext => (
                S::BAD_REQUEST,
                "MIXED_CEK_CONTEXT",
                "Either every input comes with encryptedCEKContext or none does",
            ),
            Code::DhContextRequired => (
                S::BAD_REQUEST,
                "DH_CONTEXT_REQUIRED",
                "dhEncrypted is required where inputs come with encryptedCEKContext",
            ),
            Code::ConcurrentSubmission => (
                S::BAD_REQUEST,
                "CONCURRENT_SUBMISSION_CONFLICT",
                "Others submit about the same people just now; nothing was created, submit again",
            ),
            Code::DownloadKeyExpired => (
                S::BAD_REQUEST,
                "DOWNLOAD_KEY_EXPIRED",
                "The download key is no longer valid",
            ),
            Code::CursorExpired => (
                S::GONE,
                "CURSOR_EXPIRED",
                "What came after this cursor is no longer kept",
            ),
            Code::Unauthenticated => (
                S::UNAUTHORIZED,
                "UNAUTHENTICATED",
                "The API key in the authorization header is missing or unknown",
            ),
            Code::AccessDenied => (S::FORBIDDEN, "ACCESS_DENIED", "This API key may not do that"),
            Code::NotFound => (S::NOT_FOUND, "NOT_FOUND", "There is nothing here"),
            Code::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "METHOD_NOT_ALLOWED",
                "This path does not answer this method",
            ),
            Code::NotModifiable => (S::CONFLICT, "NOT_MODIFIABLE", "This can no longer be changed"),
            Code::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE", "The body is too large"),
            Code::UriTooLong => (S::URI_TOO_LONG, "URI_TOO_LONG", "The address is too long"),
            Code::HeaderTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HEADER_TOO_LARGE",
                "The headers are too large or too many",
            ),
            Code::TooSlow => (S::REQUEST_TIMEOUT, "TOO_SLOW", "The body did not arrive in time"),
            Code::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_MEDIA_TYPE",
                "This route reads application/json",
            ),
            Code::RateLimited => (S::TOO_MANY_REQUESTS, "RATE_LIMITED", "Too many requests, slow down"),
            Code::Overloaded => (
                S::TOO_MANY_REQUESTS,
                "OVERLOADED",
                "Too many requests at once, try again shortly",
            ),
            Code::WriteConflict => (
                S::TOO_MANY_REQUESTS,
                "BUSY",
                "Too many requests change the same thing at once",
            ),
            Code::Internal => (S::INTERNAL_SERVER_ERROR, "INTERNAL", "Internal error"),
            Code::StorageUnavailable => (
                S::BAD_GATEWAY,
                "STORAGE_UNAVAILABLE",
                "The server's storage does not answer or cannot be written",
            ),
            Code::Unavailable => (S::SERVICE_UNAVAILABLE, "UNAVAILABLE", "Not ready"),
        }
    }

    /// Whether the handler met others at their work, and may do better when it is run again.
    pub(crate) const fn is_worth_another_run(self) -> bool {
        matches!(self, Code::WriteConflict | Code::ConcurrentSubmission)
    }

    /// The text that clients look for in the embedded copy of an answer, where it is not the answer's own.
    const fn upstream_says(self) -> Option<&'static str> {
        match self {
            Code::DownloadKeyExpired => Some("fileMetadata#verify: jwt expired"),
            _ => None,
        }
    }
}

/// One broken rule: where, as in `records[2].purposes[0].purpose`, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Place in the body, or name of the parameter.
    pub path: String,
    /// The rule, without any value the caller sent that could be personal.
    pub message: String,
}

/// Why one input of a bulk call is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputProblem {
    /// Its place among the inputs.
    pub index: usize,
    /// What clients branch on.
    pub code: &'static str,
    /// What people read, without any value the caller sent that could be personal.
    pub message: String,
}

/// A refusal or a failure, on its way to the caller.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    message: Option<String>,
    details: Vec<Detail>,
    inputs: Vec<InputProblem>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem that says the title of its code.
    pub fn new(code: Code) -> Problem {
        Problem {
            code,
            message: None,
            details: Vec::new(),
            inputs: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Says `message` in place of the title. No personal data, no double quotes.
    pub fn saying(mut self, message: impl Into<String>) -> Problem {
        self.message = Some(message.into());
        self
    }

    /// Says which inputs of a bulk call are refused, and why.
    pub fn with_inputs(mut self, inputs: Vec<InputProblem>) -> Problem {
        self.inputs = inputs;
        self
    }

    /// The same, but a conflict with others is one that bulk submission has a name for.
    pub(crate) fn of_many_submissions(self) -> Problem {
        match self.code {
            Code::WriteConflict => Problem::new(Code::ConcurrentSubmission),
            _ => self,
        }
    }

    /// Adds a header to the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Says when to try again.
    pub fn retry_after(self, seconds: u32) -> Problem {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 400: the rules broken, each with its place.
    pub fn validation<P: Into<String>, M: Into<String>>(broken: impl IntoIterator<Item = (P, M)>) -> Problem {
        let details = broken.into_iter().map(|(path, message)| Detail {
            path: path.into(),
            message: message.into(),
        });
        Problem {
            details: details.collect(),
            ..Problem::new(Code::ValidationFailed)
        }
    }

    /// 400: bytes that cannot be read.
    pub fn malformed(message: impl Into<String>) -> Problem {
        Problem::new(Code::Malformed).saying(message)
    }

    /// 401.
    pub fn unauthenticated(message: impl Into<String>) -> Problem {
        Problem::new(Code::Unauthenticated).saying(message)
    }

    /// 403.
    pub fn denied(message: impl Into<String>) -> Problem {
        Problem::new(Code::AccessDenied).saying(message)
    }

    /// 404: what does not exist and what this caller may not know of give the same answer.
    pub fn not_found() -> Problem {
        Problem::new(Code::NotFound)
    }

    /// 409: the state of the thing allows no change.
    pub fn conflict_state(message: impl Into<String>) -> Problem {
        Problem::new(Code::NotModifiable).saying(message)
    }

    /// 500: a bug. The cause is logged here, where it stops travelling.
    pub fn internal(cause: &(dyn std::error::Error + 'static)) -> Problem {
        tracing::error!(cause = chain(cause), "a handler failed");
        Problem::new(Code::Internal)
    }

    /// 502: storage does not do its part. The cause is logged here, where it stops travelling.
    pub fn storage(cause: &(dyn std::error::Error + 'static)) -> Problem {
        tracing::error!(cause = chain(cause), "storage does not answer or cannot be written");
        Problem::new(Code::StorageUnavailable).retry_after(2)
    }

    /// The same in one of the few statuses that consent managers in browsers know: 400 or 500. What is said to the holder of
    /// an API key stays, and so does that there is too much to do.
    pub(crate) fn in_few_statuses(self) -> Problem {
        let status = self.code.row().0;
        let stays = matches!(status.as_u16(), 400 | 401 | 403 | 429 | 500);
        let code = match status.is_client_error() {
            _ if stays => self.code,
            true => Code::Malformed,
            false => Code::Internal,
        };
        Problem { code, ..self }
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or(self.code.row().2))?;
        self.details
            .iter()
            .try_for_each(|detail| write!(f, "; {} {}", detail.path, detail.message))
    }
}

impl std::error::Error for Problem {}

impl From<StoreError> for Problem {
    /// A conflict is for the shell to run again, overload is refused as such, and a store that does not answer is a 502.
    fn from(error: StoreError) -> Problem {
        match error {
            StoreError::Conflict => Problem::new(Code::WriteConflict).retry_after(1),
            StoreError::Overloaded => Problem::new(Code::Overloaded).retry_after(1),
            StoreError::Unavailable { .. } | StoreError::Stopped { .. } => Problem::storage(&error),
            StoreError::Corrupt { .. } | StoreError::Misused { .. } => Problem::internal(&error),
        }
    }
}

impl From<BlobError> for Problem {
    /// A blob that should be there and is not is our fault, not the caller's.
    fn from(error: BlobError) -> Problem {
        match error {
            BlobError::Unavailable { .. } => Problem::storage(&error),
            BlobError::NotFound(_) | BlobError::OutOfRange(_) => Problem::internal(&error),
        }
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

impl IntoResponse for Problem {
    /// A bare answer that carries the problem; the shell's outermost layer renders it, since only that layer knows the
    /// route's dialect and the id of the request.
    fn into_response(self) -> Response {
        let mut response = self.code.row().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The envelope that clients of the compatible routes read.
    Envelope,
    /// RFC 9457.
    ProblemJson,
    /// The form in which GraphQL clients look for errors.
    GraphQl,
    /// A page for a person in a browser.
    Page,
}

const ACTIONABLE: &str = "Client error: ";

/// Words by which clients take a permanent refusal for a passing one, and try again for minutes.
const RETRY_WORDS: [&str; 15] = [
    "429",
    "rate limit exceeded",
    "too many requests",
    "bad gateway",
    "service unavailable",
    "gateway timeout",
    "gateway time-out",
    "socket hang up",
    "enotfound",
    "econnreset",
    "etimedout",
    "eai_again",
    "epipe",
    "task timed out after",
    "unknown request error",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    message: &'a str,
    status_code: u16,
    code: &'static str,
    error: &'a str,
    #[serde(skip_serializing_if = "Errors::is_empty")]
    errors: Errors<'a>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [Detail],
    request_id: &'a str,
    upstream: String,
}

/// Several problems at once: as lines, or where inputs of a bulk call are refused, as those.
#[derive(Serialize)]
#[serde(untagged)]
enum Errors<'a> {
    Lines(Vec<String>),
    Inputs(&'a [InputProblem]),
}

impl Errors<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Errors::Lines(lines) => lines.is_empty(),
            Errors::Inputs(inputs) => inputs.is_empty(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Upstream<'a> {
    message: &'a str,
    status_code: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemJson<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    details: &'a [Detail],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [InputProblem],
    request_id: &'a str,
}

impl Problem {
    /// The answer as bytes and headers.
    pub(crate) fn render(mut self, dialect: Dialect, request_id: &str) -> Response {
        let (status, slug, title) = self.code.row();
        let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
        for detail in &mut self.details {
            detail.message = plain(std::mem::take(&mut detail.message), passing, "is not valid");
            detail.path = plain(std::mem::take(&mut detail.path), passing, "");
        }
        for input in &mut self.inputs {
            input.message = plain(std::mem::take(&mut input.message), passing, "is not valid");
        }
        let said = plain(self.say(title), passing, title);
        let as_text = |body: String, kind| {
            let mut response = (status, body).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        };
        let mut response = match dialect {
            Dialect::Envelope => as_text(self.envelope(&said, status, slug, request_id), "application/json"),
            Dialect::ProblemJson => as_text(self.problem_json(&said, request_id), "application/problem+json"),
            Dialect::GraphQl => as_text(self.graphql(&said, request_id), "application/json"),
            Dialect::Page => pages::refusal(status, &said, request_id),
        };
        for (name, value) in self.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }

    /// What the problem says, as every rendering of it does.
    pub(crate) fn text(&self) -> String {
        let title = self.code.row().2;
        plain(self.say(title), false, title)
    }

    fn say(&self, title: &str) -> String {
        match (&self.message, self.details.as_slice()) {
            (Some(message), _) => message.clone(),
            (None, []) => title.to_owned(),
            (None, all) => all.iter().map(line).collect::<Vec<_>>().join("; "),
        }
    }

    fn envelope(&self, said: &str, status: StatusCode, code: &'static str, request_id: &str) -> String {
        let message = if status.is_client_error() {
            format!("{ACTIONABLE}{said}")
        } else {
            said.to_owned()
        };
        let status_code = status.as_u16();
        let errors = match self.details.len() {
            _ if !self.inputs.is_empty() => Errors::Inputs(&self.inputs),
            0 | 1 => Errors::Lines(Vec::new()),
            _ => Errors::Lines(self.details.iter().map(line).collect()),
        };
        let upstream = json(&Upstream {
            message: self.code.upstream_says().unwrap_or(&message),
            status_code,
        });
        json(&Envelope {
            message: &message,
            status_code,
            code,
            error: said,
            errors,
            details: &self.details,
            request_id,
            upstream,
        })
    }

    /// Clients give up at once on a text with `API key is invalid` or `Client error`, and repeat after any other.
    fn graphql(&self, said: &str, request_id: &str) -> String {
        let actionable = self.code.row().0.is_client_error() && !matches!(self.code.row().0.as_u16(), 408 | 429);
        let message = match self.code {
            Code::Unauthenticated => format!("{ACTIONABLE}API key is invalid: {said}"),
            _ if actionable => format!("{ACTIONABLE}{said}"),
            _ => said.to_owned(),
        };
        let extensions = serde_json::json!({ "code": self.code.row().1, "requestId": request_id });
        json(&serde_json::json!({ "data": null, "errors": [{ "message": message, "extensions": extensions }] }))
    }

    fn problem_json(&self, said: &str, request_id: &str) -> String {
        let (status, code, title) = self.code.row();
        let kind = format!("urn:antumbra:problem:{}", code.to_ascii_lowercase().replace('_', "-"));
        let status = status.as_u16();
        json(&ProblemJson {
            kind,
            title,
            status,
            detail: said,
            code,
            details: &self.details,
            errors: &self.inputs,
            request_id,
        })
    }
}

fn line(detail: &Detail) -> String {
    if detail.path.is_empty() {
        detail.message.clone()
    } else {
        format!("{}: {}", detail.path, detail.message)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a struct of strings and numbers has no way to fail")
}

/// Keeps a text from meaning more to a client than it says: no double quotes, which end the pattern clients read it with,
/// and in a permanent refusal none of the words that make clients try again.
fn plain(text: String, passing: bool, instead: &str) -> String {
    let lower = text.to_lowercase();
    if !passing && RETRY_WORDS.iter().any(|word| lower.contains(word)) {
        return instead.to_owned();
    }
    text.replace('"', "'")
}

#[cfg(test)]
mod tests {
    use regex::Regex;
    use serde_json::Value;

    use super::*;

    async fn rendered(problem: Problem, dialect: Dialect) -> (StatusCode, String) {
        let answer = problem.render(dialect, "bcdfghjklmnpqrstvwxz");
        let status = answer.status();
        let bytes = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_envelope_is_compact_and_its_keys_are_in_order() {
        let (status, body) = rendered(Problem::new(Code::DuplicateRequest), Dialect::Envelope).await;
        assert_eq!(status, 400);
        let said = "You have already made this request.";
        assert_eq!(
            body,
            format!(
                r#"{{"message":"Client error: {said}","statusCode":400,"code":"DUPLICATE_REQUEST","error":"{said}","#
            ) + r#""requestId":"bcdfghjklmnpqrstvwxz","#
                + &format!(r#""upstream":"{{\"message\":\"Client error: {said}\",\"statusCode\":400}}"}}"#)
        );
    }

    #[tokio::test]
    async fn several_problems_are_listed_twice_and_one_is_not() {
        let one = Problem::validation([("subject.email", "is required")]);
        let body: Value = serde_json::from_str(&rendered(one, Dialect::Envelope).await.1).unwrap();
        assert_eq!(body["error"], "subject.email: is required");
        assert_eq!(body.get("errors"), None);
        assert_eq!(body["details"][0]["path"], "subject.email");
        let two = Problem::validation([("a", "is required"), ("b", "must be a string")]);
        let body: Value = serde_json::from_str(&rendered(two, Dialect::Envelope).await.1).unwrap();
        assert_eq!(body["error"], "a: is required; b: must be a string");
        assert_eq!(
            body["errors"],
            serde_json::json!(["a: is required", "b: must be a string"])
        );
    }

    /// The two ways in which the published command line finds a message in a raw body.
    #[tokio::test]
    async fn clients_that_search_the_text_find_the_message() {
        let (_, body) = rendered(Problem::new(Code::DuplicateRequest), Dialect::Envelope).await;
        let pattern = Regex::new(r#"\{\\"message\\":\\"([^"]+)\\","#).unwrap();
        let of_upload = pattern.captures(&body).expect("with backslashes, in the raw body");
        assert_eq!(&of_upload[1], "Client error: You have already made this request.");
        let encoded = serde_json::to_string(&body).unwrap();
        let of_restart = pattern.captures(&encoded).expect("in the body, encoded once more");
        assert_eq!(&of_restart[1], "Client error: You have already made this request.");
    }

    #[tokio::test]
    async fn no_refusal_for_good_is_taken_for_a_passing_one() {
        for message in [
            "the limit is 429 items",
            "Bad gateway setting",
            "a socket hang up",
            "Too Many Requests made",
        ] {
            for problem in [
                Problem::conflict_state(message),
                Problem::validation([("items[429]", message)]),
            ] {
                let (_, body) = rendered(problem, Dialect::Envelope).await;
                let body = body.to_lowercase();
                assert!(RETRY_WORDS.iter().all(|word| !body.contains(word)), "{body}");
            }
        }
    }

    #[tokio::test]
    async fn quotes_do_not_cut_a_message_short() {
        let (_, body) = rendered(Problem::conflict_state(r#"the "crm", of all"#), Dialect::Envelope).await;
        assert!(body.contains(r#""error":"the 'crm', of all""#), "{body}");
    }

    #[tokio::test]
    async fn the_twin_is_rfc_9457() {
        let problem = Problem::validation([("title", "is required")]);
        let body: Value = serde_json::from_str(&rendered(problem, Dialect::ProblemJson).await.1).unwrap();
        assert_eq!(body["type"], "urn:antumbra:problem:validation-failed");
        assert_eq!(body["title"], "The request is not valid");
        assert_eq!(
            (&body["status"], &body["detail"]),
            (&400.into(), &"title: is required".into())
        );
    }

    #[tokio::test]
    async fn a_failure_of_ours_says_nothing_of_its_cause() {
        let cause = std::io::Error::other("disk of the third kind");
        for problem in [Problem::internal(&cause), Problem::storage(&cause)] {
            assert!(!rendered(problem, Dialect::Envelope).await.1.contains("third"));
        }
    }
}
