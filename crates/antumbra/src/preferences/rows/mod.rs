//! Files as rows, one at a time: however large a file, a row and a piece of what follows are all that is held.
//!
//! What is wrong with one row is that row's fault, and the next one is read. What is wrong with the file ends the import.

mod csv;
mod lines;
mod parquet;

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use anyhow::Result;
use clap::ValueEnum;

use crate::outcome::{Ended, Outcome};

/// Longest cell, in bytes. All annotations of a record may stand in one: 1,000 of 4 KiB and a key, and JSON makes six
/// bytes of what it has to escape.
pub(super) const CELL_BYTES_MAX: usize = 32 * MIB;

/// Longest row, in bytes.
pub(super) const ROW_BYTES_MAX: usize = 40 * MIB;

pub(super) const MIB: usize = 1024 * 1024;

/// Most columns.
pub(super) const COLUMNS_MAX: usize = 4096;

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Format {
    /// Comma-separated, with a row of names
    Csv,
    /// One JSON object a line
    Jsonl,
    /// Apache Parquet
    Parquet,
}

/// One row of a file.
pub(super) struct Row {
    /// Its place, counted from 1: in CSV the row of names is 1, in JSON lines it is the line.
    pub(super) number: u64,
    /// Where reading goes on after it: bytes from the start, in Parquet rows.
    pub(super) end: u64,
    pub(super) content: Content,
    /// Why it can't be taken.
    pub(super) fault: Option<Fault>,
}

/// What a row holds.
pub(super) enum Content {
    Cells(Cells),
    Line(String),
}

/// The cells of a row, one after the other.
#[derive(Default)]
pub(super) struct Cells {
    text: String,
    ends: Vec<usize>,
}

/// What is wrong with a row: never with what it holds, only where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    /// A name that the file gives, or a place in a line.
    pub(super) place: Option<String>,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn new(reason: impl Into<String>) -> Fault {
        Fault {
            place: None,
            reason: reason.into(),
        }
    }

    pub(super) fn at(place: impl Into<String>, reason: impl Into<String>) -> Fault {
        Fault {
            place: Some(place.into()),
            reason: reason.into(),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl Cells {
    pub(super) fn push(&mut self, cell: &str) {
        self.text.push_str(cell);
        self.ends.push(self.text.len());
    }

    pub(super) fn get(&self, place: usize) -> &str {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[place]]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|place| self.get(place))
    }

    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }
}

impl Content {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Content::Cells(cells) => cells.bytes(),
            Content::Line(line) => line.len(),
        }
    }
}

/// The bytes of a file, or of what comes through a pipe.
pub(super) struct Source {
    file: File,
    is_piped: bool,
    /// What was read to see what it is, and how much of that is still to be given out.
    start: [u8; START_BYTES],
    filled: usize,
    given: usize,
}

const START_BYTES: usize = 4;

/// Whether a file is read once from its beginning to its end, because that is all that can be done with it.
pub(super) fn is_piped(path: &Path) -> bool {
    path == Path::new("-") || path == Path::new("/dev/stdin") || path.metadata().is_ok_and(|about| !about.is_file())
}

impl Source {
    fn open(path: &Path) -> io::Result<Source> {
        let is_standard = path == Path::new("-");
        let file = File::open(if is_standard { Path::new("/dev/stdin") } else { path })?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::other("it is a folder"));
        }
        Source::new(file, is_piped(path))
    }

    fn new(mut file: File, is_piped: bool) -> io::Result<Source> {
        let mut start = [0; START_BYTES];
        let filled = read_some(&mut file, &mut start)?;
        Ok(Source {
            file,
            is_piped,
            start,
            filled,
            given: 0,
        })
    }

    /// How many bytes there are; 0 if that is not known.
    fn length(&self) -> u64 {
        let about = self.file.metadata().ok().filter(|_| !self.is_piped);
        about.map_or(0, |about| about.len())
    }

    /// Goes on so many bytes from the start.
    fn go_to(&mut self, at: u64) -> io::Result<()> {
        self.given = self.filled;
        self.file.seek(SeekFrom::Start(at)).map(|_| ())
    }

    /// The file, at its start.
    fn into_file(mut self) -> io::Result<File> {
        self.go_to(0)?;
        Ok(self.file)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.filled {
            return self.file.read(buffer);
        }
        let read = (&self.start[self.given..self.filled]).read(buffer)?;
        self.given += read;
        Ok(read)
    }
}

/// An open file.
pub(super) enum Rows {
    Csv(Box<csv::CsvRows>),
    Lines(lines::LineRows),
    Parquet(Box<parquet::ParquetRows>),
}

impl Format {
    /// The format that the name of a file says.
    pub(super) fn of_name(path: &Path) -> Option<Format> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "jsonl" | "ndjson" | "json" => Some(Format::Jsonl),
            "parquet" => Some(Format::Parquet),
            _ => None,
        }
    }
}

impl Rows {
    /// Opens a file, whose format its name or its beginning says where nobody else does. A separator is of CSV.
    pub(super) fn open(path: &Path, format: Option<Format>, separator: Option<u8>) -> Result<Rows> {
        let source = Source::open(path).map_err(|cause| unusable(path, cause))?;
        let start = &source.start[..source.filled];
        if matches!(start, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]) {
            return Err(unusable(path, "it is in UTF-16; save it as UTF-8"));
        }
        if start.is_empty() {
            return Err(unusable(path, "it is empty"));
        }
        let begins_as_parquet = (start == b"PAR1").then_some(Format::Parquet);
        let format = format.or(begins_as_parquet).or_else(|| Format::of_name(path));
        if separator.is_some() && format.is_some_and(|format| format != Format::Csv) {
            return Err(unusable(path, "--separator is for CSV"));
        }
        match format {
            Some(Format::Csv) => csv::CsvRows::open(source, path, separator).map(|rows| Rows::Csv(Box::new(rows))),
            Some(Format::Jsonl) => Ok(Rows::Lines(lines::LineRows::open(source))),
            Some(Format::Parquet) if source.is_piped => Err(unusable(
                path,
                "Parquet is read from its end, and a pipe has none: give a file",
            )),
            Some(Format::Parquet) => {
                let file = source.into_file().map_err(|cause| unusable(path, cause))?;
                parquet::ParquetRows::open(file, path).map(Box::new).map(Rows::Parquet)
            }
            None => Err(unusable(
                path,
                "its name does not say what it is; give --format csv, jsonl or parquet",
            )),
        }
    }

    /// What stands between the cells of CSV.
    pub(super) fn separator(&self) -> Option<char> {
        match self {
            Rows::Csv(rows) => Some(rows.separator()),
            Rows::Lines(_) | Rows::Parquet(_) => None,
        }
    }

    /// The names of its columns; none where rows are objects.
    pub(super) fn columns(&self) -> Option<&[String]> {
        match self {
            Rows::Csv(rows) => Some(rows.columns()),
            Rows::Lines(_) => None,
            Rows::Parquet(rows) => Some(rows.columns()),
        }
    }

    /// The greatest [`Row::end`]; 0 if that is not known.
    pub(super) fn length(&self) -> u64 {
        match self {
            Rows::Csv(rows) => rows.length(),
            Rows::Lines(rows) => rows.length(),
            Rows::Parquet(rows) => rows.length(),
        }
    }

    /// Goes on after the row of this number that ended there.
    pub(super) fn skip_to(&mut self, number: u64, end: u64) -> Result<()> {
        match self {
            Rows::Csv(rows) => rows.skip_to(number, end),
            Rows::Lines(rows) => rows.skip_to(number, end),
            Rows::Parquet(rows) => rows.skip_to(number),
        }
    }

    /// The next row; none at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Row>> {
        match self {
            Rows::Csv(rows) => rows.next(),
            Rows::Lines(rows) => rows.next(),
            Rows::Parquet(rows) => rows.next(),
        }
    }
}

/// A file that can't be imported at all.
pub(super) fn unusable(path: &Path, cause: impl std::fmt::Display) -> anyhow::Error {
    Ended::new(Outcome::Usage, format!("{} cannot be imported: {cause}", called(path))).into()
}

/// What to call a file.
pub(super) fn called(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Fills as much as there is.
fn read_some(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(filled)
}

/// A spreadsheet takes a cell that begins so for a formula, and carries it out.
fn begins_a_formula(cell: &str) -> bool {
    let inner = cell.trim_start_matches('\'');
    inner.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

/// The cell as a spreadsheet leaves it alone: with a quote before it, also where one already stands there, so that
/// [`as_meant`] gives back exactly what it was.
pub(super) fn inert(cell: &str) -> std::borrow::Cow<'_, str> {
    if begins_a_formula(cell) {
        format!("'{cell}").into()
    } else {
        cell.into()
    }
}

/// The cell without the quote that [`inert`] put before it.
pub(super) fn as_meant(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(meant) if begins_a_formula(meant) => meant,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_inert_comes_back() {
        for cell in [
            "",
            "a",
            "=cmd|' /C calc'!A0",
            "'=1",
            "''-",
            "+351910000017",
            "@x",
            "\tx",
            "\rx",
            "'quoted'",
            "-",
            "'",
            "＝1",
        ] {
            let written = inert(cell);
            assert!(!written.starts_with(['=', '+', '-', '@', '\t', '\r']), "{written}");
            assert_eq!(as_meant(&written), cell);
        }
        assert_eq!(as_meant("'quoted'"), "'quoted'");
    }
}
