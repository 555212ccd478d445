//! The keys that open files, and what a download answers.
//!
//! The handler of `GET /v1/files` is in [`crate::dsr`], which knows whether a request still shows its files.

use std::{fmt::Write, ops::Range, time::Duration};

use antumbra_crypto::{
    sha256,
    token::{Claims, TokenRefused},
};
use antumbra_store::Reader;
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    FileError, FileId, mimetype, send,
    store::{self, Listed, Manifest},
};
use crate::{
    AppState,
    http::{Code, Problem, Query},
    keyring::OrganizationKeys,
};

/// How long a download key opens its file at most.
pub const DOWNLOAD_KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Lets its holder, together with any API key of the organization, fetch one file until it expires.
#[derive(Debug, Serialize, Deserialize)]
pub struct DownloadKey {
    request: Uuid,
    file: FileId,
    /// Seconds since the epoch.
    exp: i64,
}

impl Claims for DownloadKey {
    const KIND: &'static str = "download";
}

impl DownloadKey {
    /// The request whose file it opens.
    pub fn request(&self) -> Uuid {
        self.request
    }
}

/// A key to one file that expires at `expires_at`.
pub fn mint_download_key(keys: &OrganizationKeys, request: Uuid, file: FileId, expires_at: Timestamp) -> String {
    let exp = expires_at.as_second();
    keys.tokens.sign(&DownloadKey { request, file, exp })
}

/// The download key that a query brings. Refuses one that is missing, broken, foreign or too old.
pub(crate) fn read_download_key(
    keys: &OrganizationKeys,
    query: &Query,
    now: Timestamp,
) -> Result<DownloadKey, Problem> {
    // `key` is the name that some clients use.
    let Some(presented) = query.text("downloadKey").or_else(|| query.text("key")) else {
        return Err(Problem::validation([("downloadKey", "is required")]));
    };
    let key: DownloadKey = keys.tokens.verify(presented).map_err(|refused| match refused {
        TokenRefused::Malformed => Problem::validation([("downloadKey", "is not a download key")]),
        TokenRefused::Foreign | TokenRefused::OtherKind => {
            Problem::validation([("downloadKey", "was not issued for a file of this organization")])
        }
    })?;
    if now.as_second() < key.exp {
        Ok(key)
    } else {
        Err(no_longer_available())
    }
}

/// What a key answers that once opened a file.
pub(crate) fn no_longer_available() -> Problem {
    Problem::new(Code::DownloadKeyExpired)
}

/// Answers with the file that `key` opens, or the part of it that `headers` ask for, checked before it leaves.
///
/// Whether the file's request still shows its files is the caller's to find out.
pub(crate) async fn download(
    app: &AppState,
    mut reader: Reader,
    keys: &OrganizationKeys,
    key: &DownloadKey,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let found = store::find(&mut reader, keys, key.request, key.file).await?;
    let (content_key, listed, manifest) = found.ok_or_else(no_longer_available)?;
    drop(reader);

    let etag = etag(&manifest);
    let mut answer = describing(&listed, &etag);
    if matches(headers, header::IF_NONE_MATCH, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let body = match asked_range(headers, &etag, listed.bytes) {
        Asked::Whole => {
            answer.insert(header::CONTENT_LENGTH, HeaderValue::from(listed.bytes));
            let bytes = send::whole(&app.blobs, &content_key, &manifest).await?;
            (StatusCode::OK, answer, begun(bytes).await?).into_response()
        }
        Asked::Part(part) => {
            let range = format!("bytes {}-{}/{}", part.start, part.end - 1, listed.bytes);
            answer.insert(header::CONTENT_RANGE, ascii(&range));
            answer.insert(header::CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
            let bytes = send::range(&app.blobs, &content_key, &manifest, part).await?;
            (StatusCode::PARTIAL_CONTENT, answer, begun(bytes).await?).into_response()
        }
        Asked::Outside => {
            answer.insert(header::CONTENT_RANGE, ascii(&format!("bytes */{}", listed.bytes)));
            (StatusCode::RANGE_NOT_SATISFIABLE, answer).into_response()
        }
    };
    Ok(body)
}

/// The plain bytes of a file, each group checked before it is given out; `None` if there is no such file, or its key was
/// destroyed.
pub(crate) async fn read_whole(
    app: &AppState,
    reader: &mut Reader,
    keys: &OrganizationKeys,
    request: Uuid,
    file: FileId,
) -> Result<Option<impl Stream<Item = Result<Bytes, FileError>> + Send + use<>>, FileError> {
    match store::find(reader, keys, request, file).await? {
        Some((content_key, _, manifest)) => Ok(Some(send::whole(&app.blobs, &content_key, &manifest).await?)),
        None => Ok(None),
    }
}

/// Waits for the first bytes, so that a file that cannot be read is refused with a status and not by a cut connection.
async fn begun(bytes: impl Stream<Item = Result<Bytes, FileError>> + Send + 'static) -> Result<Body, Problem> {
    let mut bytes = Box::pin(bytes);
    let first = bytes.next().await.transpose()?;
    let rest = bytes.inspect(|sent| {
        if let Err(error) = sent {
            let cause = crate::http::chain(error);
            tracing::error!(
                cause,
                "a download was cut off because the file could not be read to its end"
            );
        }
    });
    let first = futures_util::stream::iter(first.map(Ok::<_, FileError>));
    Ok(Body::from_stream(first.chain(rest)))
}

fn describing(listed: &Listed, etag: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mimetype = HeaderValue::from_str(&listed.mimetype);
    headers.insert(
        header::CONTENT_TYPE,
        mimetype.unwrap_or(HeaderValue::from_static(mimetype::UNKNOWN)),
    );
    headers.insert(header::CONTENT_DISPOSITION, ascii(&disposition(&listed.name)));
    headers.insert(header::ETAG, ascii(etag));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    // What a stranger uploaded must never run on this origin.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    headers
}

fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the text was made of printable ASCII")
}

/// RFC 6266: the last segment of the name, once for clients that read ASCII only and once as it is.
fn disposition(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    let plain: String = file
        .chars()
        .map(|character| match character {
            '"' | '\\' | '%' => '_',
            ' '..='~' => character,
            _ => '_',
        })
        .collect();
    let mut text = format!("attachment; filename=\"{plain}\"");
    if plain != file {
        text.push_str("; filename*=UTF-8''");
        for byte in file.bytes() {
            // RFC 8187: what is not an attr-char is percent-encoded.
            if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").expect("writing to a string does not fail");
            }
        }
    }
    text
}

/// The same bytes sealed anew have another one; nobody can tell from it what they are.
fn etag(manifest: &Manifest) -> String {
    let roots: Vec<u8> = manifest.segments.iter().flat_map(|segment| segment.root).collect();
    let digest = sha256(&roots);
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

fn matches(headers: &HeaderMap, name: header::HeaderName, etag: &str) -> bool {
    let stated = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    stated
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|value| value == "*" || value.strip_prefix("W/").unwrap_or(value) == etag)
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<u64>),
    Outside,
}

/// RFC 9110, 14.2: one range of bytes. Several, other units and broken ones are as good as none.
fn asked_range(headers: &HeaderMap, etag: &str, length: u64) -> Asked {
    let if_range = headers
        .get(header::IF_RANGE)
        .map(|value| value.as_bytes() == etag.as_bytes());
    let stated = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    match stated {
        Some(stated) if if_range != Some(false) => parse_range(stated, length),
        _ => Asked::Whole,
    }
}

fn parse_range(stated: &str, length: u64) -> Asked {
    let number = |text: &str| match text {
        "" => Some(None),
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => None,
        _ => Some(Some(text.parse().unwrap_or(u64::MAX))),
    };
    let bounds = stated
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((number(first)?, number(last)?)));
    let range = match bounds {
        None | Some((None, None)) => return Asked::Whole,
        Some((Some(first), Some(last))) if last < first => return Asked::Whole,
        Some((Some(first), last)) => first..last.unwrap_or(u64::MAX).saturating_add(1).min(length),
        Some((None, Some(suffix))) => length.saturating_sub(suffix)..length,
    };
    if range.is_empty() {
        Asked::Outside
    } else {
        Asked::Part(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_standard_says() {
        let cases = [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-99", Asked::Part(0..100)),
            ("bytes=10-", Asked::Part(10..100)),
            ("bytes=-10", Asked::Part(90..100)),
            ("bytes=-1000", Asked::Part(0..100)),
            ("bytes=50-1000", Asked::Part(50..100)),
            ("bytes=99-18446744073709551615", Asked::Part(99..100)),
            ("bytes=100-", Asked::Outside),
            ("bytes=99999999999999999999999-", Asked::Outside),
            ("bytes=-0", Asked::Outside),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("items=0-1", Asked::Whole),
            ("", Asked::Whole),
        ];
        for (stated, expected) in cases {
            assert_eq!(parse_range(stated, 100), expected, "{stated}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Asked::Outside);
    }

    #[test]
    fn a_file_name_cannot_break_out_of_its_header() {
        let cases = [
            ("User profile/my movie.mp4", r#"attachment; filename="my movie.mp4""#),
            (
                "a\"b.txt",
                r#"attachment; filename="a_b.txt"; filename*=UTF-8''a%22b.txt"#,
            ),
            ("ü.txt", r#"attachment; filename="_.txt"; filename*=UTF-8''%C3%BC.txt"#),
            (
                "50% off.txt",
                r#"attachment; filename="50_ off.txt"; filename*=UTF-8''50%25%20off.txt"#,
            ),
            ("a\r\nb", r#"attachment; filename="a__b"; filename*=UTF-8''a%0D%0Ab"#),
        ];
        for (name, expected) in cases {
            assert_eq!(disposition(name), expected);
        }
    }
}
