//! Where an HTTP/1 message begins and ends, read strictly.
//!
//! The HTTP engine behind this is lenient: it lets a length and chunks stand side by side, lines end in a bare line feed,
//! and a host be missing. Whoever stands between a client and us may read such bytes otherwise, and what one takes for a
//! body the other takes for the next request. So every head and every chunk line is read here first, by the letter of
//! RFC 9112, and the first doubt is refused. Pure: bytes in, verdicts out.

use crate::http::Code;

/// Bytes of a head, its request line and the empty line included.
pub(crate) const HEAD_MAX: usize = 32 * 1024;
/// Header fields of a head.
pub(crate) const FIELDS_MAX: usize = 100;
/// Bytes of a request target.
pub(crate) const TARGET_MAX: usize = 8 * 1024;
/// Bytes of a chunk's size line, extensions included.
const CHUNK_LINE_MAX: usize = 256;

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: &'static str,
}

const fn broken(reason: &'static str) -> Refusal {
    Refusal {
        code: Code::Malformed,
        reason,
    }
}

/// How the body after a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes; 0 when there is no body.
    Length(u64),
    /// Chunks, up to the empty one.
    Chunked,
    /// The connection speaks HTTP/2 from here on, which frames itself.
    Http2,
}

/// Looks for the end of a head in bytes that arrive bit by bit; each byte is looked at once.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    seen: usize,
    line_start: usize,
    fields: usize,
}

impl HeadScan {
    /// The length of the head at the start of `bytes`, once it has all arrived. `bytes` is all that arrived so far.
    pub(crate) fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = bytes.get(self.seen) {
            let after_cr = self.seen > self.line_start && bytes[self.seen - 1] == b'\r';
            match byte {
                b'\n' if !after_cr => return Err(broken("A line of the head ends without a carriage return")),
                b'\n' => {
                    let empty = self.seen - self.line_start == 1;
                    self.seen += 1;
                    self.line_start = self.seen;
                    if empty && self.fields > 0 {
                        return Ok(Some(self.seen));
                    }
                    // Empty lines before the request line are let pass, as RFC 9112 2.2 asks.
                    self.fields += usize::from(!empty);
                    continue;
                }
                _ if after_cr => return Err(broken("A carriage return stands alone in the head")),
                0 => return Err(broken("The head holds a zero byte")),
                _ => self.seen += 1,
            }
            if self.fields == 0 && self.seen - self.line_start > TARGET_MAX + 64 {
                return Err(Refusal {
                    code: Code::UriTooLong,
                    reason: "The address is longer than 8192 bytes",
                });
            }
        }
        // The request line is counted as a field.
        if self.seen > HEAD_MAX || self.fields > FIELDS_MAX + 1 {
            return Err(too_large());
        }
        Ok(None)
    }
}

const fn too_large() -> Refusal {
    Refusal {
        code: Code::HeaderTooLarge,
        reason: "The head is larger than 32768 bytes or has more than 100 fields",
    }
}

/// Reads a whole head, as [`HeadScan`] found it, and says how its body is delimited.
pub(crate) fn read_head(head: &[u8]) -> Result<Framing, Refusal> {
    if head.len() > HEAD_MAX {
        return Err(too_large());
    }
    let text = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    if request_line == b"PRI * HTTP/2.0" {
        return Ok(Framing::Http2);
    }
    let (target, version) = read_request_line(request_line)?;
    let mut fields = Fields::default();
    for line in lines {
        fields.read(line)?;
    }
    fields.settle(target, version)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

fn read_request_line(line: &[u8]) -> Result<(&[u8], Version), Refusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(broken("The request line is not a method, a target and a version"));
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(broken("The method is not a word"));
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(broken("The version is neither HTTP/1.1 nor HTTP/1.0")),
    };
    check_target(target)?;
    Ok((target, version))
}

fn check_target(target: &[u8]) -> Result<(), Refusal> {
    if target.len() > TARGET_MAX {
        return Err(Refusal {
            code: Code::UriTooLong,
            reason: "The address is longer than 8192 bytes",
        });
    }
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
        return Err(broken("The target holds bytes that an address cannot hold"));
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let control = |code: &[u8]| {
        let [b'%', high, low] = code else { return false };
        matches!((high, low.to_ascii_lowercase()), (b'0' | b'1', b'0'..=b'9' | b'a'..=b'f') | (b'7', b'f'))
    };
    if path.windows(3).any(control) {
        return Err(broken("The path holds an encoded control character"));
    }
    Ok(())
}

/// What the header fields say about framing.
#[derive(Default)]
struct Fields<'a> {
    count: usize,
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
}

impl<'a> Fields<'a> {
    fn read(&mut self, line: &'a [u8]) -> Result<(), Refusal> {
        self.count += 1;
        if self.count > FIELDS_MAX {
            return Err(too_large());
        }
        if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(broken("A header field goes on in the next line"));
        }
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or(broken("A header field has no colon"))?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err(broken("The name of a header field is not a word"));
        }
        if value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(broken("A header field holds a control character"));
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.read_host(value)
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.read_length(value)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.read_encoding(value)
        } else {
            Ok(())
        }
    }

    fn read_host(&mut self, value: &'a [u8]) -> Result<(), Refusal> {
        let plausible = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(byte);
        if self.host.is_some() {
            return Err(broken("There is more than one Host"));
        }
        if value.is_empty() || !value.iter().all(plausible) {
            return Err(broken("The Host is not the name of a host"));
        }
        self.host = Some(value);
        Ok(())
    }

    fn read_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(broken("There is more than one Content-Length"));
        }
        let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value)
            .ok()
            .filter(|_| digits)
            .and_then(|text| text.parse().ok());
        self.length = Some(number.ok_or(broken("The Content-Length is not a number"))?);
        Ok(())
    }

    fn read_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(broken("The only Transfer-Encoding understood here is chunked, once"));
        }
        self.chunked = true;
        Ok(())
    }

    fn settle(self, target: &[u8], version: Version) -> Result<Framing, Refusal> {
        if self.host.is_none() && version == Version::Http11 {
            return Err(broken("There is no Host"));
        }
        if let Some(authority) = authority(target)
            && !self.host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
        {
            return Err(broken("The target names another host than Host does"));
        }
        match (self.chunked, self.length, version) {
            (true, Some(_), _) => Err(broken("Content-Length and Transfer-Encoding stand side by side")),
            (true, None, Version::Http10) => Err(broken("HTTP/1.0 has no Transfer-Encoding")),
            (true, None, Version::Http11) => Ok(Framing::Chunked),
            (false, length, _) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// The authority of a target in absolute form.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let start = target.windows(3).position(|window| window == b"://")? + 3;
    if target.first() == Some(&b'/') {
        return None;
    }
    target[start..].split(|byte| matches!(byte, b'/' | b'?')).next()
}

fn trim(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !blank(byte)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !blank(byte))
        .map_or(start, |last| last + 1);
    &value[start..end]
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Follows a chunked body to its end.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: ChunkState,
    size: u64,
    line: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    LastLf,
    Done,
}

impl Chunks {
    /// Whether the last chunk and its trailers have passed.
    pub(crate) fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    /// Takes the part of `bytes` that belongs to the body and says how long it is: less than all once the body is done.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            if self.state == ChunkState::Data {
                let step = self.size.min((bytes.len() - at) as u64);
                self.size -= step;
                at += usize::try_from(step).expect("no longer than the slice");
                if self.size == 0 {
                    self.state = ChunkState::DataCr;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<ChunkState, Refusal> {
        use ChunkState::*;
        const LINE: Refusal = broken("The size of a chunk cannot be read");
        self.line += 1;
        if self.line > CHUNK_LINE_MAX && matches!(self.state, Size | Extension) || self.line > HEAD_MAX {
            return Err(LINE);
        }
        Ok(match (self.state, byte) {
            (Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.line <= 15 => {
                let digit = char::from(byte)
                    .to_digit(16)
                    .expect("the pattern is that of a hexadecimal digit");
                self.size = self.size << 4 | u64::from(digit);
                Size
            }
            (Size, b';') if self.line > 1 => Extension,
            (Size, b'\r') if self.line > 1 => SizeEnd,
            (Extension, b'\r') => SizeEnd,
            (Extension, b'\t' | b' '..=b'~') => Extension,
            (SizeEnd, b'\n') => {
                self.line = 0;
                if self.size == 0 { TrailerStart } else { Data }
            }
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => {
                self.line = 0;
                Size
            }
            (TrailerStart, b'\r') => LastLf,
            (TrailerStart, b'!'..=b'~') | (Trailer, b'\t' | b' '..=b'~' | 0x80..) => Trailer,
            (Trailer, b'\r') => TrailerLf,
            (TrailerLf, b'\n') => TrailerStart,
            (LastLf, b'\n') => Done,
            _ => return Err(LINE),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Framing, Code> {
        let mut scan = HeadScan::default();
        match scan.find_end(head.as_bytes()) {
            Err(refusal) => Err(refusal.code),
            Ok(None) => panic!("the head has no end: {head:?}"),
            Ok(Some(end)) => read_head(&head.as_bytes()[..end]).map_err(|refusal| refusal.code),
        }
    }

    const BAD: Result<Framing, Code> = Err(Code::Malformed);

    #[test]
    fn each_head_gets_its_verdict() {
        let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(TARGET_MAX));
        let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(count - 1));
        let (hundred, hundred_and_one) = (fields(100), fields(101));
        let large = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(HEAD_MAX));
        let table: &[(&str, Result<Framing, Code>)] = &[
            // What ordinary clients send.
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Framing::Length(0))),
            ("GET /health HTTP/1.0\r\n\r\n", Ok(Framing::Length(0))),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Framing::Length(0))),
            (
                "PUT /p HTTP/1.1\r\nhost:a:3000\r\ncontent-length: 17\r\n\r\n",
                Ok(Framing::Length(17)),
            ),
            (
                "POST /p HTTP/1.1\r\nHost: [::1]:3000\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Ok(Framing::Chunked),
            ),
            ("GET http://a/p?q HTTP/1.1\r\nHost: A\r\n\r\n", Ok(Framing::Length(0))),
            (
                "GET /p?to=http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
                Ok(Framing::Length(0)),
            ),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Framing::Length(0))),
            (
                "GET /a%2fb%20c HTTP/1.1\r\nHost: a\r\nx-name: na\u{ef}ve\r\n\r\n",
                Ok(Framing::Length(0)),
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nx-empty:\r\nx-tab: a\tb\r\n\r\n",
                Ok(Framing::Length(0)),
            ),
            ("PRI * HTTP/2.0\r\n\r\n", Ok(Framing::Http2)),
            // Length and chunks.
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                BAD,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                BAD,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                BAD,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                BAD,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", BAD),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", BAD),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", BAD),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", BAD),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
                BAD,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", BAD),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", BAD),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                BAD,
            ),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                BAD,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", BAD),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                BAD,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", BAD),
            (
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
                BAD,
            ),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BAD),
            // Hosts.
            ("GET / HTTP/1.1\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n", BAD),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD),
            ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            // Lines.
            ("GET / HTTP/1.1\nHost: a\n\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", BAD),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\rx: y\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\n\tfolded: yes\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n", BAD),
            ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nx: \u{7f}\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\n: no name\r\n\r\n", BAD),
            ("GET / HTTP/1.1\r\nHost: a\r\nna(me: x\r\n\r\n", BAD),
            // Request lines.
            ("GET /\r\nHost: a\r\n\r\n", BAD),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", BAD),
            ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", BAD),
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", BAD),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", BAD),
            ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET /# HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            ("GET /a%0d%0ab HTTP/1.1\r\nHost: a\r\n\r\n", BAD),
            // Sizes.
            (&long_target, Err(Code::UriTooLong)),
            (&hundred, Ok(Framing::Length(0))),
            (&hundred_and_one, Err(Code::HeaderTooLarge)),
            (&large, Err(Code::HeaderTooLarge)),
        ];
        for (head, verdict) in table {
            assert_eq!(read(head), *verdict, "{:.120}", head.escape_debug());
        }
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_is_found_at_the_same_place() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
        let mut scan = HeadScan::default();
        let ends: Vec<_> = (0..bytes.len())
            .filter_map(|to| scan.find_end(&bytes[..to]).unwrap())
            .collect();
        assert_eq!(ends.first(), Some(&27));
    }

    #[test]
    fn a_head_without_end_is_refused_at_its_limit() {
        let mut scan = HeadScan::default();
        let endless = b"GET / HTTP/1.1\r\nHost: a\r\nx: "
            .iter()
            .copied()
            .chain(std::iter::repeat(b'y'));
        let bytes: Vec<u8> = endless.take(HEAD_MAX + 1).collect();
        assert_eq!(scan.find_end(&bytes), Err(too_large()));
        let mut scan = HeadScan::default();
        assert_eq!(scan.find_end(&vec![b'G'; 10_000]).unwrap_err().code, Code::UriTooLong);
    }

    #[test]
    fn chunks_are_followed_to_their_end_and_no_further() {
        let whole = [
            "5\r\nhello\r\n0\r\n\r\n",
            "A;x=y\r\n0123456789\r\n0\r\nt: v\r\n\r\n",
            "0\r\n\r\n",
        ];
        for body in whole {
            let bytes = format!("{body}GET /next");
            let mut chunks = Chunks::default();
            assert_eq!(chunks.advance(bytes.as_bytes()), Ok(body.len()), "{body:?}");
            assert!(chunks.is_done());
            let mut bit_by_bit = Chunks::default();
            let taken: usize = bytes.bytes().map(|byte| bit_by_bit.advance(&[byte]).unwrap()).sum();
            assert_eq!(taken, body.len());
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        let long = format!("1;{}\r\n", "x".repeat(300));
        let broken = [
            "\r\n",
            ";\r\n",
            "g\r\n",
            " 5\r\n",
            "5 \r\n",
            "0x5\r\n",
            "-1\r\n",
            "5\n",
            "5\r5",
            "5\r\nhello0",
            "5\r\nhello\n",
            "5\r\nhello\r0",
            "FFFFFFFFFFFFFFFF\r\n",
            "10000000000000000\r\n",
            "0\r\n \r\n",
            "0\r\nt: v\n",
            "1;\0\r\n",
            &long,
        ];
        for body in broken {
            assert!(Chunks::default().advance(body.as_bytes()).is_err(), "{body:?}");
        }
    }
}
