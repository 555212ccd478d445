//! A ZIP archive, written as it is sent: nothing of it is held but the list that stands at its end.
//!
//! Pure: bytes in, bytes out. Lengths and checksums follow each file (data descriptors), since they are not known before;
//! where a file or its place needs more than 32 bits, or there are more than 65,535 files, ZIP64 says so. Names are UTF-8.
//! The format is that of PKWARE's APPNOTE 6.3, sections 4.3 to 4.5.

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress, Status};
use jiff::{Timestamp, tz::TimeZone};

/// Sizes from here on are written with 64 bits: what deflating may add to a file still fits below.
const LARGE: u64 = 0xFFF0_0000;
const MARK_32: u32 = u32::MAX;
const MARK_16: u16 = u16::MAX;

const LOCAL: u32 = 0x0403_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END_64: u32 = 0x0606_4b50;
const LOCATOR_64: u32 = 0x0706_4b50;
/// The extra field of lengths and places beyond 32 bits.
const EXTRA_64: u16 = 0x0001;

/// Lengths and checksum come after the bytes; the name is UTF-8.
const FLAGS: u16 = 1 << 3 | 1 << 11;
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
/// Made on Unix: the upper half of the outer attributes is a file mode.
const MADE_BY: u16 = 3 << 8 | VERSION_64;
const PLAIN_FILE: u32 = 0o100_644 << 16;

/// How much is deflated in one go, so that no thread is held for long.
const DEFLATED_AT_ONCE: usize = 64 * 1024;

/// How the bytes of a file stand in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// As they are: for what is compressed already.
    Stored,
    /// Deflated: for text.
    Deflated,
}

impl Method {
    /// The method for a file of this type.
    pub(super) fn for_mimetype(mimetype: &str) -> Method {
        let essence = mimetype.split(';').next().unwrap_or_default().trim();
        let is_text = essence.starts_with("text/")
            || essence.ends_with("json")
            || essence.ends_with("xml")
            || essence.ends_with("javascript")
            || essence == "application/sql"
            || essence == "image/bmp";
        if is_text { Method::Deflated } else { Method::Stored }
    }

    const fn code(self) -> u16 {
        match self {
            Method::Stored => 0,
            Method::Deflated => 8,
        }
    }
}

/// What a file in an archive is.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    /// Its path. Names, here as everywhere, are made safe before.
    pub(super) path: &'a str,
    pub(super) method: Method,
    /// How long it is going to be; decides whether its lengths take 64 bits.
    pub(super) bytes: u64,
    /// When it was made.
    pub(super) at: Timestamp,
}

/// An archive between two files.
#[derive(Default)]
pub(super) struct Archive {
    /// How many bytes have been given out.
    length: u64,
    /// The list at the end, as far as it has come.
    directory: Vec<u8>,
    members: u64,
}

/// An archive within a file.
pub(super) struct Open {
    archive: Archive,
    path: String,
    method: Method,
    deflate: Option<Compress>,
    checksum: crc32fast::Hasher,
    begins_at: u64,
    is_large: bool,
    stamp: (u16, u16),
    plain_bytes: u64,
    packed_bytes: u64,
}

impl Archive {
    /// Bytes of the list, as far as it has come.
    #[cfg(test)]
    pub(super) fn directory_bytes(&self) -> usize {
        self.directory.len()
    }

    /// Begins a file. The bytes returned come before those of the file.
    pub(super) fn open(mut self, member: &Member<'_>) -> (Open, Bytes) {
        let is_large = member.bytes >= LARGE;
        let stamp = dos_time(member.at);
        let begins_at = self.length;
        let mut head = Vec::with_capacity(64 + member.path.len());
        let unknown = if is_large { MARK_32 } else { 0 };
        let extra: Vec<u8> = if is_large { extra_64(&[0, 0]) } else { Vec::new() };
        put_32(&mut head, LOCAL);
        put_16(&mut head, if is_large { VERSION_64 } else { VERSION });
        put_16(&mut head, FLAGS);
        put_16(&mut head, member.method.code());
        put_16(&mut head, stamp.0);
        put_16(&mut head, stamp.1);
        put_32(&mut head, 0);
        put_32(&mut head, unknown);
        put_32(&mut head, unknown);
        put_16(&mut head, short(member.path.len()));
        put_16(&mut head, short(extra.len()));
        head.extend_from_slice(member.path.as_bytes());
        head.extend_from_slice(&extra);
        self.length += head.len() as u64;
        let open = Open {
            archive: self,
            path: member.path.to_owned(),
            method: member.method,
            deflate: (member.method == Method::Deflated).then(|| Compress::new(Compression::fast(), false)),
            checksum: crc32fast::Hasher::new(),
            begins_at,
            is_large,
            stamp,
            plain_bytes: 0,
            packed_bytes: 0,
        };
        (open, head.into())
    }

    /// The list of all files: the end of the archive.
    pub(super) fn finish(self) -> Bytes {
        let (directory_at, directory_bytes) = (self.length, self.directory.len() as u64);
        let mut end = self.directory;
        let is_large = self.members >= u64::from(MARK_16) || directory_at >= LARGE || directory_bytes >= LARGE;
        if is_large {
            let end_64_at = directory_at + directory_bytes;
            put_32(&mut end, END_64);
            put_64(&mut end, 44);
            put_16(&mut end, MADE_BY);
            put_16(&mut end, VERSION_64);
            put_32(&mut end, 0);
            put_32(&mut end, 0);
            put_64(&mut end, self.members);
            put_64(&mut end, self.members);
            put_64(&mut end, directory_bytes);
            put_64(&mut end, directory_at);
            put_32(&mut end, LOCATOR_64);
            put_32(&mut end, 0);
            put_64(&mut end, end_64_at);
            put_32(&mut end, 1);
        }
        let in_16 = |number: u64| {
            if is_large {
                MARK_16
            } else {
                u16::try_from(number).unwrap_or(MARK_16)
            }
        };
        let in_32 = |number: u64| {
            if is_large {
                MARK_32
            } else {
                u32::try_from(number).unwrap_or(MARK_32)
            }
        };
        put_32(&mut end, END);
        put_16(&mut end, 0);
        put_16(&mut end, 0);
        put_16(&mut end, in_16(self.members));
        put_16(&mut end, in_16(self.members));
        put_32(&mut end, in_32(directory_bytes));
        put_32(&mut end, in_32(directory_at));
        put_16(&mut end, 0);
        end.into()
    }
}

impl Open {
    /// Bytes of the list, as far as it has come.
    #[cfg(test)]
    pub(super) fn directory_bytes(&self) -> usize {
        self.archive.directory_bytes()
    }

    /// The next bytes of the file, as they stand in the archive. May be none yet.
    pub(super) fn pack(&mut self, plain: Bytes) -> Bytes {
        self.checksum.update(&plain);
        self.plain_bytes += plain.len() as u64;
        let packed = match &mut self.deflate {
            None => plain,
            Some(deflate) => {
                let mut packed = Vec::new();
                for piece in plain.chunks(DEFLATED_AT_ONCE) {
                    deflate_into(deflate, piece, FlushCompress::None, &mut packed);
                }
                packed.into()
            }
        };
        self.packed_bytes += packed.len() as u64;
        packed
    }

    /// The file is over. The bytes returned come after those of the file.
    pub(super) fn close(mut self) -> (Archive, Bytes) {
        let mut rest = Vec::new();
        if let Some(mut deflate) = self.deflate.take() {
            deflate_into(&mut deflate, &[], FlushCompress::Finish, &mut rest);
            self.packed_bytes += rest.len() as u64;
        }
        let checksum = self.checksum.clone().finalize();
        let mut descriptor = Vec::with_capacity(24);
        put_32(&mut descriptor, DESCRIPTOR);
        put_32(&mut descriptor, checksum);
        for length in [self.packed_bytes, self.plain_bytes] {
            match u32::try_from(length) {
                Ok(length) if !self.is_large => put_32(&mut descriptor, length),
                _ => put_64(&mut descriptor, length),
            }
        }
        self.list(checksum);
        self.archive.length += self.packed_bytes + descriptor.len() as u64;
        rest.extend_from_slice(&descriptor);
        (self.archive, rest.into())
    }

    /// Adds the file to the list at the end.
    fn list(&mut self, checksum: u32) {
        let mut beyond = Vec::new();
        let mut in_32 = |number: u64| match u32::try_from(number) {
            Ok(number) if u64::from(number) < LARGE => number,
            _ => {
                beyond.push(number);
                MARK_32
            }
        };
        // The order in which the extra field has them.
        let plain_bytes = in_32(self.plain_bytes);
        let packed_bytes = in_32(self.packed_bytes);
        let begins_at = in_32(self.begins_at);
        let extra = if beyond.is_empty() {
            Vec::new()
        } else {
            extra_64(&beyond)
        };
        let to = &mut self.archive.directory;
        put_32(to, CENTRAL);
        put_16(to, MADE_BY);
        put_16(
            to,
            if extra.is_empty() && !self.is_large {
                VERSION
            } else {
                VERSION_64
            },
        );
        put_16(to, FLAGS);
        put_16(to, self.method.code());
        put_16(to, self.stamp.0);
        put_16(to, self.stamp.1);
        put_32(to, checksum);
        put_32(to, packed_bytes);
        put_32(to, plain_bytes);
        put_16(to, short(self.path.len()));
        put_16(to, short(extra.len()));
        put_16(to, 0);
        put_16(to, 0);
        put_16(to, 0);
        put_32(to, PLAIN_FILE);
        put_32(to, begins_at);
        to.extend_from_slice(self.path.as_bytes());
        to.extend_from_slice(&extra);
        self.archive.members += 1;
    }
}

fn deflate_into(deflate: &mut Compress, mut plain: &[u8], flush: FlushCompress, packed: &mut Vec<u8>) {
    loop {
        packed.reserve(plain.len() / 2 + 1024);
        let before = deflate.total_in();
        let status = deflate
            .compress_vec(plain, packed, flush)
            .expect("deflating fails only for dictionaries, and there is none");
        let taken = usize::try_from(deflate.total_in() - before).unwrap_or(plain.len());
        plain = &plain[taken.min(plain.len())..];
        let is_over = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => plain.is_empty() && packed.len() < packed.capacity(),
        };
        if is_over {
            return;
        }
    }
}

fn extra_64(numbers: &[u64]) -> Vec<u8> {
    let mut extra = Vec::with_capacity(4 + 8 * numbers.len());
    put_16(&mut extra, EXTRA_64);
    put_16(&mut extra, short(8 * numbers.len()));
    numbers.iter().for_each(|number| put_64(&mut extra, *number));
    extra
}

/// Time and day as the format has them: by the clock of UTC, from 1980 on, to two seconds.
fn dos_time(at: Timestamp) -> (u16, u16) {
    let at = at.to_zoned(TimeZone::UTC);
    let part = |number: i8| u16::try_from(number).unwrap_or(0);
    let year = u16::try_from(i32::from(at.year()) - 1980).unwrap_or(0).min(127);
    let time = part(at.hour()) << 11 | part(at.minute()) << 5 | (part(at.second()) / 2);
    let day = year << 9 | part(at.month()) << 5 | part(at.day());
    (time, day)
}

/// Names and extra fields are far shorter than what 16 bits hold.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(MARK_16)
}

fn put_16(to: &mut Vec<u8>, number: u16) {
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_32(to: &mut Vec<u8>, number: u32) {
    to.extend_from_slice(&number.to_le_bytes());
}

fn put_64(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read, Seek, SeekFrom, Write};

    use super::*;

    fn member(path: &str, method: Method, bytes: u64) -> Member<'_> {
        let at = "2026-03-02T10:11:13Z".parse().unwrap();
        Member {
            path,
            method,
            bytes,
            at,
        }
    }

    fn add(archive: Archive, to: &mut Vec<u8>, path: &str, method: Method, bytes: &[u8]) -> Archive {
        let (mut open, head) = archive.open(&member(path, method, bytes.len() as u64));
        to.extend_from_slice(&head);
        for piece in bytes.chunks(100_000) {
            to.extend_from_slice(&open.pack(Bytes::copy_from_slice(piece)));
        }
        let (archive, tail) = open.close();
        to.extend_from_slice(&tail);
        archive
    }

    #[test]
    fn another_program_reads_what_was_written() {
        let long: Vec<u8> = (0..300_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        let files: [(&str, Method, &[u8]); 5] = [
            ("index.html", Method::Deflated, b"<p>hello</p>"),
            ("Überblick/写真 (2).png", Method::Stored, &long),
            ("long.csv", Method::Deflated, &long),
            ("empty.txt", Method::Deflated, b""),
            ("empty.bin", Method::Stored, b""),
        ];
        let (mut bytes, mut archive) = (Vec::new(), Archive::default());
        for (path, method, content) in files {
            archive = add(archive, &mut bytes, path, method, content);
        }
        bytes.extend_from_slice(&archive.finish());
        let mut read = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(read.len(), files.len());
        for (at, (path, _, content)) in files.into_iter().enumerate() {
            let mut found = read.by_index(at).unwrap();
            assert_eq!(found.name().unwrap(), path);
            let mut plain = Vec::new();
            // Reading to the end compares the checksum.
            found.read_to_end(&mut plain).unwrap();
            assert!(plain == content, "{path}");
        }
    }

    #[test]
    fn more_files_than_sixteen_bits_count_are_all_listed() {
        let (mut bytes, mut archive) = (Vec::new(), Archive::default());
        for number in 0..70_000 {
            archive = add(archive, &mut bytes, &format!("{number}"), Method::Stored, b"x");
        }
        bytes.extend_from_slice(&archive.finish());
        let mut read = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(read.len(), 70_000);
        let mut last = String::new();
        read.by_name("69999").unwrap().read_to_string(&mut last).unwrap();
        assert_eq!(last, "x");
    }

    /// The file is a hole, so that its five gigabytes take no place.
    #[test]
    fn lengths_and_places_beyond_32_bits_are_kept() {
        const LENGTH: u64 = 5 << 30;
        let mut file = tempfile::tempfile().unwrap();
        let (mut open, head) = Archive::default().open(&member("hole.bin", Method::Stored, LENGTH));
        file.write_all(&head).unwrap();
        let zeros = Bytes::from(vec![0; 1 << 20]);
        for _ in 0..LENGTH >> 20 {
            assert_eq!(open.pack(zeros.clone()).len(), zeros.len());
        }
        file.seek(SeekFrom::Current(LENGTH as i64)).unwrap();
        let (archive, tail) = open.close();
        file.write_all(&tail).unwrap();
        let mut rest = Vec::new();
        let archive = add(archive, &mut rest, "after.txt", Method::Deflated, b"still here");
        rest.extend_from_slice(&archive.finish());
        file.write_all(&rest).unwrap();

        let mut read = zip::ZipArchive::new(file).unwrap();
        assert_eq!(read.by_index_raw(0).unwrap().size(), LENGTH);
        let mut after = String::new();
        read.by_name("after.txt").unwrap().read_to_string(&mut after).unwrap();
        assert_eq!(after, "still here");
    }

    #[test]
    fn text_is_deflated_and_what_is_packed_already_is_not() {
        for (mimetype, method) in [
            ("text/csv; charset=utf-8", Method::Deflated),
            ("application/json", Method::Deflated),
            ("application/vnd.api+json", Method::Deflated),
            ("image/svg+xml", Method::Deflated),
            ("image/jpeg", Method::Stored),
            ("application/zip", Method::Stored),
            ("application/octet-stream", Method::Stored),
            ("", Method::Stored),
        ] {
            assert_eq!(Method::for_mimetype(mimetype), method, "{mimetype}");
        }
    }

    #[test]
    fn times_before_the_formats_first_year_are_its_first() {
        assert_eq!(dos_time(Timestamp::UNIX_EPOCH).1 >> 9, 0);
        assert_eq!(
            dos_time("2026-03-02T10:11:13Z".parse().unwrap()),
            (10 << 11 | 11 << 5 | 6, 46 << 9 | 3 << 5 | 2)
        );
    }
}
