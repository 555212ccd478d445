//! JSON lines: each line is the record of an upsert.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result};

use super::{Content, Fault, MIB, ROW_BYTES_MAX, Row, Source};

const MARK_OF_UTF8: &[u8] = b"\xef\xbb\xbf";

pub(in super::super) struct LineRows {
    file: BufReader<Source>,
    length: u64,
    position: u64,
    number: u64,
}

impl LineRows {
    pub(super) fn open(source: Source) -> LineRows {
        LineRows {
            length: source.length(),
            file: BufReader::with_capacity(256 * 1024, source),
            position: 0,
            number: 0,
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn skip_to(&mut self, number: u64, end: u64) -> Result<()> {
        let left = self.file.buffer().len();
        self.file.consume(left);
        self.file.get_mut().go_to(end).context("going on in the file")?;
        (self.number, self.position) = (number, end);
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>> {
        loop {
            let Some((line, is_whole)) = self.line()? else {
                return Ok(None);
            };
            self.number += 1;
            let line = line
                .strip_prefix(MARK_OF_UTF8)
                .filter(|_| self.number == 1)
                .unwrap_or(&line);
            let (text, fault) = match std::str::from_utf8(line) {
                _ if !is_whole => {
                    let said = format!(
                        "the line is longer than {} MiB; it is left out here",
                        ROW_BYTES_MAX / MIB
                    );
                    ("", Some(Fault::new(said)))
                }
                Err(_) => ("", Some(Fault::new("is not UTF-8; it is left out here"))),
                Ok(text) => (text.trim(), None),
            };
            if fault.is_some() || !text.is_empty() {
                return Ok(Some(Row {
                    number: self.number,
                    end: self.position,
                    content: Content::Line(text.to_owned()),
                    fault,
                }));
            }
        }
    }

    /// The next line and whether it is held whole; none at the end of the file.
    fn line(&mut self) -> Result<Option<(Vec<u8>, bool)>> {
        let (mut line, mut is_whole) = (Vec::new(), true);
        loop {
            let piece = self.file.fill_buf().context("reading the file")?;
            if piece.is_empty() {
                return Ok((!line.is_empty()).then_some((line, is_whole)));
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let taken = &piece[..end.unwrap_or(piece.len())];
            if line.len() + taken.len() > ROW_BYTES_MAX {
                is_whole = false;
            }
            if is_whole {
                line.extend_from_slice(taken);
            } else {
                line.truncate(1);
            }
            let read = end.map_or(piece.len(), |end| end + 1);
            self.file.consume(read);
            self.position += read as u64;
            if end.is_some() {
                return Ok(Some((line, is_whole)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    fn open(bytes: &[u8]) -> LineRows {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        LineRows::open(Source::new(file, false).unwrap())
    }

    fn told(row: &Row) -> String {
        let Content::Line(line) = &row.content else {
            panic!("a line")
        };
        format!(
            "{} {}",
            row.number,
            row.fault.as_ref().map_or(line.clone(), Fault::to_string)
        )
    }

    fn read(bytes: &[u8]) -> Vec<String> {
        let mut rows = open(bytes);
        std::iter::from_fn(|| rows.next().unwrap())
            .map(|row| told(&row))
            .collect()
    }

    #[test]
    fn lines_are_counted_as_an_editor_counts_them() {
        assert_eq!(
            read(b"\xef\xbb\xbf{}\r\n\r\n{\"a\":1}\n\n{}"),
            ["1 {}", "3 {\"a\":1}", "5 {}"]
        );
        assert_eq!(
            read(b"{}\n\xff\n{}\n"),
            ["1 {}", "2 is not UTF-8; it is left out here", "3 {}"]
        );
        assert_eq!(read(b""), [""; 0]);
        let long = "x".repeat(ROW_BYTES_MAX + 1);
        assert_eq!(
            read(format!("{{}}\n{long}\n{{}}\n").as_bytes()),
            ["1 {}", "2 the line is longer than 40 MiB; it is left out here", "3 {}"]
        );
    }

    #[test]
    fn reading_goes_on_after_any_line() {
        let text = b"{\"a\":1}\r\n\n{\"a\":2}\n{\"a\":3}";
        let mut rows = open(text);
        let all: Vec<Row> = std::iter::from_fn(|| rows.next().unwrap()).collect();
        for (place, row) in all.iter().enumerate() {
            let mut again = open(text);
            again.skip_to(row.number, row.end).unwrap();
            let rest: Vec<String> = std::iter::from_fn(|| again.next().unwrap())
                .map(|row| told(&row))
                .collect();
            assert_eq!(rest, all[place + 1..].iter().map(told).collect::<Vec<_>>());
        }
    }
}
