//! CSV as RFC 4180 has it and as spreadsheets write it: quotes, line ends of either kind, a mark of UTF-8 at the start.

use std::path::Path;

use anyhow::{Context, Result};
use csv_core::{ReadFieldResult, Reader, ReaderBuilder};

use super::{
    CELL_BYTES_MAX, COLUMNS_MAX, Cells, Content, Fault, MIB, ROW_BYTES_MAX, Row, Source, as_meant, read_some, unusable,
};

const PIECE_BYTES: usize = 256 * 1024;

/// Room for a cell to begin with.
const CELL_BYTES: usize = 64 * 1024;

/// What stands between cells where nobody says it, and what else may be found there.
const SEPARATOR: u8 = b',';
const OTHER_SEPARATORS: &[u8] = b";\t|";

/// What an unfinished quote needs to come to its end, and nothing else does.
const QUOTE_AND_END: &[u8] = b"\"\n";

pub(in super::super) struct CsvRows {
    source: Source,
    length: u64,
    separator: u8,
    core: Reader,
    piece: Box<[u8]>,
    /// What of the piece was read, and how much of it there is.
    at: usize,
    filled: usize,
    /// Bytes before what was read.
    position: u64,
    is_at_end: bool,
    number: u64,
    columns: Vec<String>,
    /// One cell.
    cell: Vec<u8>,
}

/// A row as it stands in the file, within bounds.
#[derive(Default)]
struct Raw {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// How many cells there were.
    cells: usize,
    /// The place of the first cell that was too long.
    too_long: Option<usize>,
    is_unfinished: bool,
}

impl CsvRows {
    /// Without a separator it is a comma, or what else stands in a first row that holds no comma.
    pub(super) fn open(source: Source, path: &Path, separator: Option<u8>) -> Result<CsvRows> {
        let mut rows = CsvRows {
            length: source.length(),
            source,
            separator: separator.unwrap_or(SEPARATOR),
            core: Reader::new(),
            piece: vec![0; PIECE_BYTES].into(),
            at: 0,
            filled: 0,
            position: 0,
            is_at_end: false,
            number: 0,
            columns: Vec::new(),
            cell: vec![0; CELL_BYTES],
        };
        rows.core = rows.reader();
        let mut first = rows.raw()?;
        let other = first.as_ref().filter(|first| separator.is_none() && first.cells == 1);
        let mut others = OTHER_SEPARATORS.iter();
        // All of a row of names is in the first piece, or it is none.
        if let Some(other) = other.and_then(|first| others.find(|other| first.bytes.contains(other)))
            && rows.position == 0
            && !rows.is_at_end
        {
            (rows.separator, rows.at) = (*other, 0);
            rows.core = rows.reader();
            first = rows.raw()?;
        }
        let Some(first) = first else {
            return Err(unusable(path, "it is empty"));
        };
        rows.number = 1;
        if first.cells > COLUMNS_MAX {
            let said = format!(
                "its first row has {} columns, and {COLUMNS_MAX} are the most",
                first.cells
            );
            return Err(unusable(path, said));
        }
        if let Some(place) = first.too_long {
            let said = format!(
                "the name of column {} is longer than {} MiB",
                place + 1,
                CELL_BYTES_MAX / MIB
            );
            return Err(unusable(path, said));
        }
        if first.is_unfinished {
            return Err(unusable(path, "a quote in its first row has no end"));
        }
        let (cells, not_text) = first.cells();
        if let Some(place) = not_text {
            return Err(unusable(path, format!("the name of column {} is not UTF-8", place + 1)));
        }
        rows.columns = cells.iter().map(|name| name.trim().to_owned()).collect();
        if let Some(place) = rows
            .columns
            .iter()
            .enumerate()
            .find_map(|(place, name)| rows.columns[..place].contains(name).then_some(place))
        {
            return Err(unusable(
                path,
                format!("column {} has the name of one before it", place + 1),
            ));
        }
        Ok(rows)
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn separator(&self) -> char {
        char::from(self.separator)
    }

    fn reader(&self) -> Reader {
        ReaderBuilder::new().delimiter(self.separator).build()
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn skip_to(&mut self, number: u64, end: u64) -> Result<()> {
        self.source.go_to(end).context("going on in the file")?;
        self.core = self.reader();
        (self.at, self.filled, self.position) = (0, 0, end);
        self.number = number;
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>> {
        let Some(raw) = self.raw()? else { return Ok(None) };
        self.number += 1;
        let (cells, not_text) = raw.cells();
        let column = |place: usize| {
            let name = self.columns.get(place).map(|name| format!("column `{name}`"));
            name.unwrap_or_else(|| format!("column {}", place + 1))
        };
        let fault = match () {
            () if raw.is_unfinished => {
                let place = column(raw.cells.saturating_sub(1));
                Some(Fault::at(
                    place,
                    "a quote has no end, and what follows it was not read as rows",
                ))
            }
            () if let Some(place) = raw.too_long => {
                let said = format!(
                    "the cell is longer than {} MiB; it is left out here",
                    CELL_BYTES_MAX / MIB
                );
                Some(Fault::at(column(place), said))
            }
            () if raw.cells > cells.len() => {
                let said = format!(
                    "the row is longer than {} MiB or {COLUMNS_MAX} cells; the rest is left out here",
                    ROW_BYTES_MAX / MIB
                );
                Some(Fault::new(said))
            }
            () if raw.cells != self.columns.len() => {
                let said = format!("has {} cells, and there are {} columns", raw.cells, self.columns.len());
                Some(Fault::new(said))
            }
            () => not_text.map(|place| Fault::at(column(place), "is not UTF-8; it is left out here")),
        };
        Ok(Some(Row {
            number: self.number,
            end: self.position + self.at as u64,
            content: Content::Cells(cells),
            fault,
        }))
    }

    /// The next row; none at the end of the file. Rows without a byte are passed over.
    fn raw(&mut self) -> Result<Option<Raw>> {
        let mut raw = Raw::default();
        let (mut held, mut is_too_long) = (0, false);
        loop {
            if self.at == self.filled && !self.refill()? {
                return Ok(self.finish(raw, held, is_too_long));
            }
            let input = &self.piece[self.at..self.filled];
            let (result, read, written) = self.core.read_field(input, &mut self.cell[held..]);
            self.at += read;
            held += written;
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::End => {}
                ReadFieldResult::OutputFull if self.cell.len() < CELL_BYTES_MAX => {
                    self.cell.resize((2 * self.cell.len()).min(CELL_BYTES_MAX), 0);
                }
                ReadFieldResult::OutputFull => {
                    is_too_long = true;
                    held = 0;
                }
                ReadFieldResult::Field { record_end } => {
                    raw.take(&self.cell[..held], is_too_long);
                    (held, is_too_long) = (0, false);
                    if record_end {
                        return Ok(Some(raw));
                    }
                }
            }
        }
    }

    /// The row that the end of the file ends, if there is one: a line end is supplied where none stands.
    fn finish(&mut self, mut raw: Raw, held: usize, is_too_long: bool) -> Option<Raw> {
        if std::mem::replace(&mut self.is_at_end, true) {
            return None;
        }
        let room = self.cell.len();
        let (result, _, written) = self.core.read_field(b"\n", &mut self.cell[held.min(room - 1)..]);
        if let ReadFieldResult::Field { .. } = result {
            raw.take(&self.cell[..held + written], is_too_long);
            return Some(raw);
        }
        // Nothing was begun, or a quote was never ended: then, and only then, one more quote ends it.
        let (result, _, _) = self
            .core
            .read_field(QUOTE_AND_END, &mut self.cell[..QUOTE_AND_END.len()]);
        matches!(result, ReadFieldResult::Field { .. }).then(|| {
            raw.take(&[], is_too_long);
            raw.is_unfinished = true;
            raw
        })
    }

    /// Whether there was more.
    fn refill(&mut self) -> Result<bool> {
        self.position += self.filled as u64;
        (self.at, self.filled) = (0, 0);
        self.filled = read_some(&mut self.source, &mut self.piece).context("reading the file")?;
        Ok(self.filled > 0)
    }
}

impl Raw {
    fn take(&mut self, cell: &[u8], is_too_long: bool) {
        let place = self.cells;
        self.cells += 1;
        if is_too_long && self.too_long.is_none() {
            self.too_long = Some(place);
        }
        // Invariant: what is kept is the beginning of the row without a gap, so that places hold.
        let fits = self.bytes.len() + cell.len() <= ROW_BYTES_MAX && place < COLUMNS_MAX && self.ends.len() == place;
        if fits {
            self.bytes.extend_from_slice(if is_too_long { &[] } else { cell });
            self.ends.push(self.bytes.len());
        }
    }

    /// The cells as they were meant, and the place of the first that is not text.
    fn cells(&self) -> (Cells, Option<usize>) {
        let (mut cells, mut not_text) = (Cells::default(), None);
        let mut start = 0;
        for (place, end) in self.ends.iter().enumerate() {
            match std::str::from_utf8(&self.bytes[start..*end]) {
                Ok(cell) => cells.push(as_meant(cell)),
                Err(_) => {
                    not_text = not_text.or(Some(place));
                    cells.push("");
                }
            }
            start = *end;
        }
        (cells, not_text)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    fn open(bytes: &[u8]) -> Result<CsvRows> {
        open_with(bytes, None)
    }

    fn open_with(bytes: &[u8], separator: Option<u8>) -> Result<CsvRows> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        CsvRows::open(Source::new(file, false).unwrap(), Path::new("people.csv"), separator)
    }

    /// Each row as its number and its cells, or its fault.
    fn read(bytes: &[u8]) -> Vec<String> {
        let mut rows = open(bytes).unwrap();
        std::iter::from_fn(|| rows.next().unwrap())
            .map(|row| told(&row))
            .collect()
    }

    fn told(row: &Row) -> String {
        let Content::Cells(cells) = &row.content else {
            panic!("cells")
        };
        match &row.fault {
            Some(fault) => format!("{} {fault}", row.number),
            None => format!("{} {}", row.number, cells.iter().collect::<Vec<_>>().join("|")),
        }
    }

    fn refusal(bytes: &[u8]) -> String {
        match open(bytes) {
            Ok(_) => panic!("was taken"),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn rows_are_read_however_they_are_written() {
        let same = ["2 1|2", "3 3|4"];
        for text in [
            "a,b\n1,2\n3,4\n",
            "a,b\n1,2\n3,4",
            "a,b\r\n1,2\r\n3,4\r\n",
            "\u{feff}a,b\n1,2\n3,4\n",
            "\u{feff}\"a\",\"b\"\r\n\"1\",\"2\"\r\n\"3\",\"4\"",
            "a,b\n\n1,2\n\n\n3,4\n\n",
            "a,b\r1,2\r3,4",
        ] {
            assert_eq!(read(text.as_bytes()), same, "{text:?}");
        }
        assert_eq!(read(b"a,b\n\"1\n2\",\"say \"\"no\"\"\"\n"), ["2 1\n2|say \"no\""]);
        assert_eq!(read(b"a,b\n'=1,'+35\n,\n"), ["2 =1|+35", "3 |"]);
        assert_eq!(read(b"a,b\n"), [""; 0]);
        assert_eq!(open("\u{feff}a,b\n".as_bytes()).unwrap().columns(), ["a", "b"]);
    }

    #[test]
    fn a_bad_row_is_named_and_does_not_spoil_its_neighbours() {
        assert_eq!(
            read(b"a,b\n1\n1,2,3\n\xff,2\n1,\xff\n1,2\n"),
            [
                "2 has 1 cells, and there are 2 columns",
                "3 has 3 cells, and there are 2 columns",
                "4 column `a`: is not UTF-8; it is left out here",
                "5 column `b`: is not UTF-8; it is left out here",
                "6 1|2",
            ]
        );
        // Two halves of a letter in two cells are no letter.
        assert_eq!(
            read(b"a,b\n\xc3,\xa4\n"),
            ["2 column `a`: is not UTF-8; it is left out here"]
        );
        assert_eq!(
            read(b"a,b\n1,2\n1,\"2\n3,4\n"),
            [
                "2 1|2",
                "3 column `b`: a quote has no end, and what follows it was not read as rows"
            ]
        );
        assert_eq!(
            read(b"a,b\n1,2\n1,\""),
            [
                "2 1|2",
                "3 column `b`: a quote has no end, and what follows it was not read as rows"
            ]
        );
    }

    #[test]
    fn what_is_too_long_is_left_out_and_the_rest_is_read() {
        let long = "x".repeat(CELL_BYTES_MAX + 1);
        assert_eq!(
            read(format!("a,b\n1,{long}\n\"{long}\",2\n1,2\n").as_bytes()),
            [
                "2 column `b`: the cell is longer than 32 MiB; it is left out here",
                "3 column `a`: the cell is longer than 32 MiB; it is left out here",
                "4 1|2",
            ]
        );
        for fits in [CELL_BYTES - 1, CELL_BYTES, CELL_BYTES + 1, CELL_BYTES_MAX - 1].map(|bytes| "x".repeat(bytes)) {
            let rows = read(format!("a,b\n1,{fits}").as_bytes());
            assert!(rows == [format!("2 1|{fits}")], "{} bytes", fits.len());
            let rows = read(format!("a,b\n{fits},1\n").as_bytes());
            assert!(rows == [format!("2 {fits}|1")], "{} bytes", fits.len());
        }
        let wide = "1,".repeat(1_000_000);
        assert_eq!(
            read(format!("a,b\n{wide}\n1,2\n").as_bytes()),
            [
                "2 the row is longer than 40 MiB or 4096 cells; the rest is left out here",
                "3 1|2"
            ]
        );
        assert!(refusal(wide.as_bytes()).contains("1000001 columns"));
        assert!(refusal(format!("a,{long}\n").as_bytes()).contains("column 2 is longer"));
    }

    #[test]
    fn cells_may_stand_apart_by_something_else_than_commas() {
        for (text, separator) in [
            ("a;b\n1;2,5\n", ';'),
            ("\u{feff}\"a\";b\r\n1;\"2,5\"", ';'),
            ("a\tb\n1\t2,5\n", '\t'),
            ("a|b\n1|2,5\n", '|'),
        ] {
            let mut rows = open(text.as_bytes()).unwrap();
            assert_eq!(
                (rows.columns().join(" ").as_str(), rows.separator()),
                ("a b", separator)
            );
            let row = rows.next().unwrap().unwrap();
            assert_eq!(told(&row), "2 1|2,5");
        }
        let said = open_with(b"a;b,c\n1;2,3\n", Some(b';')).unwrap();
        assert_eq!(said.columns(), ["a", "b,c"]);
        assert_eq!(
            open(b"a;b,c\n").unwrap().columns(),
            ["a;b", "c"],
            "a comma is what it is"
        );
        assert_eq!(open_with(b"a;b\n", Some(b',')).unwrap().columns(), ["a;b"]);
        let mut rows = open(b"a;b\n1;2\n3;4\n").unwrap();
        let row = rows.next().unwrap().unwrap();
        let mut again = open(b"a;b\n1;2\n3;4\n").unwrap();
        again.skip_to(row.number, row.end).unwrap();
        assert_eq!(told(&again.next().unwrap().unwrap()), "3 3|4", "after it went on too");
    }

    #[test]
    fn a_file_without_names_of_columns_is_refused() {
        assert!(refusal(b"").contains("empty"));
        assert!(refusal(b"\n\n").contains("empty"));
        assert!(refusal(b"a,\"b\n").contains("no end"));
        assert!(refusal(b"a,\xff\n").contains("column 2 is not UTF-8"));
        assert!(refusal(b"a,b,a\n").contains("column 3"));
    }

    #[test]
    fn reading_goes_on_after_any_row() {
        let text = b"\xef\xbb\xbfa,b\r\n1,\"2\r\n\"\r\n\r\n3,4\r\n5\r\n7,8";
        let mut rows = open(text).unwrap();
        let all: Vec<Row> = std::iter::from_fn(|| rows.next().unwrap()).collect();
        assert_eq!(all.last().unwrap().end, text.len() as u64);
        for (place, row) in all.iter().enumerate() {
            let mut again = open(text).unwrap();
            again.skip_to(row.number, row.end).unwrap();
            let rest: Vec<String> = std::iter::from_fn(|| again.next().unwrap())
                .map(|row| told(&row))
                .collect();
            assert_eq!(rest, all[place + 1..].iter().map(told).collect::<Vec<_>>());
        }
    }
}
