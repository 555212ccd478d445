//! What a file is: from what was said of it, else from its name, else from its first bytes.

use super::name;

/// What is not known to be anything else.
pub(super) const UNKNOWN: &str = "application/octet-stream";

/// How many of the first bytes are looked at.
pub(super) const SNIFF_BYTES: usize = 512;

const LENGTH_MAX: usize = 128;

/// Content types that clients send without meaning them.
const UNSPECIFIC: [&str; 4] = [
    UNKNOWN,
    "binary/octet-stream",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
];

/// The mimetype of a file that was sent with `content_type`, shall be called `name`, and begins like `sniffed`.
pub(super) fn choose(content_type: Option<&str>, name: &str, sniffed: Option<&'static str>) -> String {
    if let Some(stated) = content_type.and_then(specific) {
        return stated;
    }
    let by_name = name::extension(name).and_then(|extension| of_extension(&extension));
    by_name.or(sniffed).unwrap_or(UNKNOWN).to_owned()
}

/// `content_type` if it is well formed and says anything.
fn specific(content_type: &str) -> Option<String> {
    let content_type = content_type.trim();
    let essence = content_type.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let well_formed = is_token(kind) && is_token(subtype) && content_type.len() <= LENGTH_MAX;
    let printable = content_type.bytes().all(|byte| (0x20..0x7F).contains(&byte));
    (well_formed && printable && !UNSPECIFIC.contains(&essence.as_str())).then(|| content_type.to_owned())
}

fn of_extension(extension: &str) -> Option<&'static str> {
    Some(match extension {
        "7z" => "application/x-7z-compressed",
        "aac" => "audio/aac",
        "avi" => "video/x-msvideo",
        "avif" => "image/avif",
        "bmp" => "image/bmp",
        "bz2" => "application/x-bzip2",
        "css" => "text/css",
        "csv" => "text/csv",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "eml" => "message/rfc822",
        "epub" => "application/epub+zip",
        "flac" => "audio/flac",
        "gif" => "image/gif",
        "gz" | "tgz" => "application/gzip",
        "heic" => "image/heic",
        "htm" | "html" => "text/html",
        "ics" => "text/calendar",
        "jpeg" | "jpg" => "image/jpeg",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "jsonl" | "ndjson" => "application/x-ndjson",
        "log" | "txt" => "text/plain",
        "m4a" => "audio/mp4",
        "m4v" | "mp4" => "video/mp4",
        "md" => "text/markdown",
        "mkv" => "video/x-matroska",
        "mov" => "video/quicktime",
        "mp3" => "audio/mpeg",
        "mpeg" | "mpg" => "video/mpeg",
        "odp" => "application/vnd.oasis.opendocument.presentation",
        "ods" => "application/vnd.oasis.opendocument.spreadsheet",
        "odt" => "application/vnd.oasis.opendocument.text",
        "oga" | "ogg" | "opus" => "audio/ogg",
        "ogv" => "video/ogg",
        "parquet" => "application/vnd.apache.parquet",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "ppt" => "application/vnd.ms-powerpoint",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "rtf" => "application/rtf",
        "svg" => "image/svg+xml",
        "tar" => "application/x-tar",
        "tif" | "tiff" => "image/tiff",
        "tsv" => "text/tab-separated-values",
        "vcf" => "text/vcard",
        "wav" => "audio/wav",
        "weba" => "audio/webm",
        "webm" => "video/webm",
        "webp" => "image/webp",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "xml" => "application/xml",
        "yaml" | "yml" => "application/yaml",
        "zip" => "application/zip",
        _ => return None,
    })
}

/// What a file that begins with `start` is, where its first bytes say so. Never anything that a browser would run.
pub(super) fn sniff(start: &[u8]) -> Option<&'static str> {
    const SIGNATURES: [(&[u8], &str); 14] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xFF\xD8\xFF", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-", "application/pdf"),
        (b"PK\x03\x04", "application/zip"),
        (b"\x1F\x8B", "application/gzip"),
        (b"7z\xBC\xAF\x27\x1C", "application/x-7z-compressed"),
        (b"ID3", "audio/mpeg"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
        (b"\x1A\x45\xDF\xA3", "video/x-matroska"),
        (b"II*\x00", "image/tiff"),
        (b"MM\x00*", "image/tiff"),
    ];
    let signature = SIGNATURES.iter().find(|(signature, _)| start.starts_with(signature));
    signature
        .map(|(_, mimetype)| *mimetype)
        .or_else(|| match (start.get(..4), start.get(4..8), start.get(8..12)) {
            (Some(b"RIFF"), _, Some(b"WEBP")) => Some("image/webp"),
            (Some(b"RIFF"), _, Some(b"WAVE")) => Some("audio/wav"),
            (_, Some(b"ftyp"), Some(b"qt  ")) => Some("video/quicktime"),
            (_, Some(b"ftyp"), Some(b"heic")) => Some("image/heic"),
            (_, Some(b"ftyp"), Some(b"avif")) => Some("image/avif"),
            (_, Some(b"ftyp"), _) => Some("video/mp4"),
            _ => is_text(start).then_some("text/plain"),
        })
}

/// UTF-8 without control characters, apart from a last character that the cut may have gone through.
fn is_text(start: &[u8]) -> bool {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty()
        && text
            .chars()
            .all(|character| !character.is_control() || "\t\r\n".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_comes_before_the_name_and_the_name_before_the_bytes() {
        let png = sniff(b"\x89PNG\r\n\x1a\nrest");
        let cases = [
            (Some("image/webp"), "a.jpg", png, "image/webp"),
            (Some("text/csv; charset=utf-8"), "a.jpg", png, "text/csv; charset=utf-8"),
            (Some("application/octet-stream"), "a.JPG", png, "image/jpeg"),
            (Some("application/x-www-form-urlencoded"), "a", png, "image/png"),
            (Some("nonsense"), "a.jpg", png, "image/jpeg"),
            (Some("text/html\r\nX-Evil: 1"), "a.jpg", png, "image/jpeg"),
            (Some(""), "a.unheardof", png, "image/png"),
            (None, "a.unheardof", None, UNKNOWN),
        ];
        for (said, name, sniffed, expected) in cases {
            assert_eq!(choose(said, name, sniffed), expected, "{said:?} {name}");
        }
    }

    #[test]
    fn first_bytes_that_say_something() {
        let cases: [(&[u8], Option<&str>); 9] = [
            (b"%PDF-1.7", Some("application/pdf")),
            (b"\0\0\0\x20ftypisom", Some("video/mp4")),
            (b"RIFF\0\0\0\0WEBPVP8", Some("image/webp")),
            (b"name,age\r\nAda,36\r\n", Some("text/plain")),
            ("Überschrift".as_bytes(), Some("text/plain")),
            (&"Ü".as_bytes()[..1], None),
            (b"<html><script>", Some("text/plain")),
            (b"\x00\x01\x02", None),
            (b"", None),
        ];
        for (start, expected) in cases {
            assert_eq!(sniff(start), expected, "{start:?}");
        }
    }
}
