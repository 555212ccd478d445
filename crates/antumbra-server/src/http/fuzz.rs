//! Framing and JSON beside a second opinion, for any bytes. See [`crate::fuzz`].

use serde_json::Value;

use super::{
    DEPTH_MAX,
    connection::fuzzed::{Chunks, Framing, HeadScan, read_head},
    json::parse,
};

/// A head is found at the same place however it arrives, and one that is taken says the same to another reader: nobody
/// between a client and us can be made to see another body than we do.
pub(crate) fn head(bytes: &[u8]) {
    let verdict = |end: Option<usize>| end.map(|end| (end, read_head(&bytes[..end])));
    let whole = HeadScan::default().find_end(bytes).ok().and_then(verdict);
    let mut scan = HeadScan::default();
    let mut arrivals = (0..=bytes.len()).map(|to| scan.find_end(&bytes[..to]));
    let first = arrivals.find(|seen| !matches!(seen, Ok(None)));
    let piecemeal = first.and_then(Result::ok).and_then(verdict);
    let taken = |verdict: &Option<(usize, Result<Framing, _>)>| match verdict {
        Some((end, Ok(framing))) => Some((*end, *framing)),
        _ => None,
    };
    assert_eq!(taken(&whole), taken(&piecemeal));
    let Some((end, framing)) = taken(&whole) else { return };
    if framing == Framing::Http2 {
        return;
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(&bytes[..end]);
    assert_eq!(
        parsed,
        Ok(httparse::Status::Complete(end)),
        "another reader sees no head, or a shorter one"
    );
    let all = |name: &str| -> Vec<&[u8]> {
        let named = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_ascii_lowercase();
    let (lengths, encodings) = (all("content-length"), all("transfer-encoding"));
    match (&lengths[..], &encodings[..]) {
        ([], []) => assert_eq!(framing, Framing::Length(0)),
        ([length], []) => assert_eq!(text(length).parse().map(Framing::Length), Ok(framing)),
        ([], [encoding]) => assert_eq!((text(encoding).as_str(), framing), ("chunked", Framing::Chunked)),
        _ => panic!("taken, and its body is delimited twice"),
    }
}

/// Chunks end at the same place however they arrive, and where they end by the letter of the standard.
pub(crate) fn chunks(bytes: &[u8]) {
    let mut all_at_once = Chunks::default();
    let taken = all_at_once.advance(bytes);
    let mut one_by_one = Chunks::default();
    let each: Result<usize, _> = bytes.iter().map(|byte| one_by_one.advance(&[*byte])).sum();
    assert_eq!((taken, all_at_once.is_done()), (each, one_by_one.is_done()));
    if let Ok(taken) = taken
        && all_at_once.is_done()
    {
        assert_eq!(end_of_chunks(bytes), Some(taken));
    }
}

/// Where the last chunk and its trailers end: RFC 9112, 7.1, read backwards from nothing.
fn end_of_chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let line_from = |at: usize| {
        let length = bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        Some(&bytes[at..at + length])
    };
    loop {
        let line = line_from(at)?;
        at += line.len() + 2;
        let digits = line.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        at = at.checked_add(size)?;
        (bytes.get(at..at + 2)? == b"\r\n").then_some(())?;
        at += 2;
    }
    loop {
        let line = line_from(at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some(at);
        }
    }
}

/// What is taken as JSON is what another reader takes, within the bound on nesting; and the other way round.
pub(crate) fn json(bytes: &[u8]) {
    let ours = parse::<Value>(bytes).ok();
    let theirs = serde_json::from_slice::<Value>(bytes).ok();
    assert_eq!(ours, theirs.filter(|value| depth(value) <= DEPTH_MAX));
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
