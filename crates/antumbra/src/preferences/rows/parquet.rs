//! Parquet, column by column: of each column some hundred rows and one page of the file are held at a time.
//!
//! Columns are flat. What they hold becomes the text that a cell of CSV would have: instants as RFC 3339, numbers in
//! digits. Errors of the library are not repeated, since they quote what they could not read.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use parquet::{
    basic::{ConvertedType, LogicalType, TimeUnit},
    column::reader::{ColumnReader, ColumnReaderImpl},
    data_type::DataType,
    file::reader::{FileReader, SerializedFileReader},
    schema::types::Type,
};

use super::{CELL_BYTES_MAX, COLUMNS_MAX, Cells, Content, Fault, ROW_BYTES_MAX, Row, unusable};

/// Rows of a column that are read in one go.
const PIECE_ROWS: usize = 256;

/// Largest part of one column in one row group, once it is unpacked: no page is larger, and a page is held whole.
const CHUNK_BYTES_MAX: i64 = 512 * 1024 * 1024;

pub(in super::super) struct ParquetRows {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    columns: Vec<Column>,
    names: Vec<String>,
    length: u64,
    number: u64,
    /// The next row group, and the columns of the present one.
    group: usize,
    open: Vec<ColumnReader>,
    left: usize,
    /// What was read of each column, and which row of it is next.
    pieces: Vec<Vec<Cell>>,
    at: usize,
    in_piece: usize,
}

/// How the values of a column become text.
#[derive(Clone, Copy)]
struct Column {
    kind: Kind,
    is_optional: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Unsigned,
    Days,
    Millis,
    Micros,
    Nanos,
    Uuid,
}

/// A cell, or what is wrong with it.
type Cell = Result<String, &'static str>;

impl ParquetRows {
    pub(super) fn open(file: File, path: &Path) -> Result<ParquetRows> {
        let reader = guarded(|| SerializedFileReader::new(file))
            .ok_or_else(|| unusable(path, "it is not a whole Parquet file"))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let fields = schema.root_schema().get_fields();
        if fields.len() > COLUMNS_MAX {
            let said = format!("it has {} columns, and {COLUMNS_MAX} are the most", fields.len());
            return Err(unusable(path, said));
        }
        let mut names: Vec<String> = Vec::with_capacity(fields.len());
        let mut columns = Vec::with_capacity(fields.len());
        for (place, field) in fields.iter().enumerate() {
            let said = |what: &str| unusable(path, format!("its column {} {what}", place + 1));
            let column = Column::of(field).ok_or_else(|| said("is nested, or holds what has no form as text"))?;
            if names.iter().any(|name| name == field.name()) {
                return Err(said("has the name of one before it"));
            }
            names.push(field.name().to_owned());
            columns.push(column);
        }
        let groups = reader.metadata().row_groups();
        let chunks = groups.iter().flat_map(|group| group.columns());
        if chunks
            .map(|chunk| chunk.uncompressed_size())
            .any(|size| !(0..=CHUNK_BYTES_MAX).contains(&size))
        {
            let said =
                format!("a row group has more than {CHUNK_BYTES_MAX} bytes in one column; write it in smaller ones");
            return Err(unusable(path, said));
        }
        let length = groups
            .iter()
            .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
            .sum();
        Ok(ParquetRows {
            path: path.to_owned(),
            reader,
            pieces: Vec::new(),
            columns,
            names,
            length,
            number: 0,
            group: 0,
            open: Vec::new(),
            left: 0,
            at: 0,
            in_piece: 0,
        })
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.names
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn skip_to(&mut self, number: u64) -> Result<()> {
        self.number = 0;
        self.group = 0;
        (self.left, self.at, self.in_piece) = (0, 0, 0);
        while self.number < number {
            let rows = self.rows_of_group(self.group);
            let skipped = (number - self.number).min(rows as u64);
            if skipped == rows as u64 {
                self.group += 1;
            } else if !self.next_group()? {
                break;
            } else {
                let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
                for column in &mut self.open {
                    guarded(|| skip(column, skipped)).ok_or_else(|| damaged(&self.path, self.number))?;
                }
                self.left -= skipped;
            }
            self.number += skipped;
        }
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<Row>> {
        if self.at == self.in_piece && !self.refill()? {
            return Ok(None);
        }
        self.number += 1;
        let mut cells = Cells::default();
        let mut fault = None;
        for (place, piece) in self.pieces.iter_mut().enumerate() {
            let cell = std::mem::replace(&mut piece[self.at], Ok(String::new()));
            let cell = match cell {
                Ok(cell) if cells.bytes() + cell.len() > ROW_BYTES_MAX => {
                    Err("makes the row too long; it is left out here")
                }
                cell => cell,
            };
            match cell {
                Ok(cell) => cells.push(&cell),
                Err(reason) => {
                    cells.push("");
                    fault.get_or_insert_with(|| Fault::at(format!("column `{}`", self.names[place]), reason));
                }
            }
        }
        self.at += 1;
        Ok(Some(Row {
            number: self.number,
            end: self.number,
            content: Content::Cells(cells),
            fault,
        }))
    }

    /// Whether there was more.
    fn refill(&mut self) -> Result<bool> {
        while self.left == 0 {
            if !self.next_group()? {
                return Ok(false);
            }
        }
        let rows = self.left.min(PIECE_ROWS);
        let damaged = || damaged(&self.path, self.number + 1);
        let mut pieces = Vec::with_capacity(self.open.len());
        for (reader, column) in self.open.iter_mut().zip(&self.columns) {
            let piece = guarded(|| Ok(read(reader, *column, rows)))
                .flatten()
                .ok_or_else(damaged)?;
            pieces.push(piece);
        }
        self.pieces = pieces;
        self.left -= rows;
        (self.at, self.in_piece) = (0, rows);
        Ok(true)
    }

    fn next_group(&mut self) -> Result<bool> {
        if self.group == self.reader.num_row_groups() {
            return Ok(false);
        }
        let opened = guarded(|| {
            let group = self.reader.get_row_group(self.group)?;
            (0..self.columns.len())
                .map(|place| group.get_column_reader(place))
                .collect::<Result<Vec<_>, _>>()
        });
        self.open = opened.ok_or_else(|| damaged(&self.path, self.number + 1))?;
        self.left = self.rows_of_group(self.group);
        self.group += 1;
        Ok(true)
    }

    fn rows_of_group(&self, group: usize) -> usize {
        let groups = self.reader.metadata().row_groups();
        groups
            .get(group)
            .map_or(0, |group| usize::try_from(group.num_rows()).unwrap_or(0))
    }
}

impl Column {
    fn of(field: &Type) -> Option<Column> {
        if field.is_group() {
            return None;
        }
        let about = field.get_basic_info();
        let kind = match (about.logical_type_ref(), about.converted_type()) {
            (Some(LogicalType::Timestamp(of)), _) => match of.unit {
                TimeUnit::MILLIS => Kind::Millis,
                TimeUnit::MICROS => Kind::Micros,
                TimeUnit::NANOS => Kind::Nanos,
            },
            (Some(LogicalType::Uuid), _) => Kind::Uuid,
            (_, ConvertedType::TIMESTAMP_MILLIS) => Kind::Millis,
            (_, ConvertedType::TIMESTAMP_MICROS) => Kind::Micros,
            (_, ConvertedType::DATE) => Kind::Days,
            (_, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
                Kind::Unsigned
            }
            (Some(LogicalType::Float16), _)
            | (_, ConvertedType::DECIMAL | ConvertedType::INTERVAL | ConvertedType::BSON)
            | (_, ConvertedType::TIME_MILLIS | ConvertedType::TIME_MICROS) => return None,
            _ => Kind::Plain,
        };
        let repetition = about.repetition();
        (repetition != parquet::basic::Repetition::REPEATED).then_some(Column {
            kind,
            is_optional: repetition == parquet::basic::Repetition::OPTIONAL,
        })
    }

    fn instant(self, value: i64) -> Cell {
        let instant = match self.kind {
            Kind::Millis => Timestamp::from_millisecond(value),
            Kind::Micros => Timestamp::from_microsecond(value),
            Kind::Nanos => Timestamp::from_nanosecond(i128::from(value)),
            Kind::Unsigned => return Ok(value.cast_unsigned().to_string()),
            _ => return Ok(value.to_string()),
        };
        instant
            .map(|instant| instant.to_string())
            .map_err(|_| "is not an instant of the years we count")
    }

    fn number(self, value: i32) -> Cell {
        match self.kind {
            Kind::Days => {
                let day = jiff::Span::new()
                    .try_days(value)
                    .and_then(|days| Date::constant(1970, 1, 1).checked_add(days));
                let day = day.and_then(|day| day.to_zoned(TimeZone::UTC));
                day.map(|day| day.date().to_string())
                    .map_err(|_| "is not a day of the years we count")
            }
            Kind::Unsigned => Ok(value.cast_unsigned().to_string()),
            _ => Ok(value.to_string()),
        }
    }

    fn text(self, bytes: &[u8]) -> Cell {
        if self.kind == Kind::Uuid {
            let id = uuid::Uuid::from_slice(bytes).map_err(|_| "is not a UUID")?;
            return Ok(id.to_string());
        }
        if bytes.len() > CELL_BYTES_MAX {
            return Err("the cell is longer than 32 MiB; it is left out here");
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8; it is left out here")?;
        Ok(text.to_owned())
    }
}

/// The next `rows` cells of a column; none if the file does not hold them.
fn read(reader: &mut ColumnReader, column: Column, rows: usize) -> Option<Vec<Cell>> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => cells(reader, column, rows, |value| Ok(value.to_string())),
        ColumnReader::Int32ColumnReader(reader) => cells(reader, column, rows, |value| column.number(*value)),
        ColumnReader::Int64ColumnReader(reader) => cells(reader, column, rows, |value| column.instant(*value)),
        ColumnReader::Int96ColumnReader(reader) => {
            let instants = Column {
                kind: Kind::Millis,
                ..column
            };
            cells(reader, column, rows, |value| instants.instant(value.to_millis()))
        }
        ColumnReader::FloatColumnReader(reader) => cells(reader, column, rows, |value| Ok(value.to_string())),
        ColumnReader::DoubleColumnReader(reader) => cells(reader, column, rows, |value| Ok(value.to_string())),
        ColumnReader::ByteArrayColumnReader(reader) => cells(reader, column, rows, |value| column.text(value.data())),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => {
            cells(reader, column, rows, |value| column.text(value.data()))
        }
    }
}

fn cells<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    column: Column,
    rows: usize,
    text: impl Fn(&T::T) -> Cell,
) -> Option<Vec<Cell>> {
    let (mut values, mut levels, mut cells) = (Vec::new(), Vec::new(), Vec::with_capacity(rows));
    while cells.len() < rows {
        values.clear();
        levels.clear();
        let given = column.is_optional.then_some(&mut levels);
        let (read, _, _) = reader.read_records(rows - cells.len(), given, None, &mut values).ok()?;
        if read == 0 {
            return None;
        }
        let mut values = values.iter();
        if column.is_optional {
            for level in &levels {
                cells.push(if *level == 0 {
                    Ok(String::new())
                } else {
                    text(values.next()?)
                });
            }
        } else {
            cells.extend(values.map(&text));
        }
    }
    (cells.len() == rows).then_some(cells)
}

fn skip(reader: &mut ColumnReader, rows: usize) -> parquet::errors::Result<usize> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int32ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int64ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int96ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FloatColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::DoubleColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::ByteArrayColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => reader.skip_records(rows),
    }
}

/// Does what the library may fail at; on a damaged file it also panics here and there.
fn guarded<T>(work: impl FnOnce() -> parquet::errors::Result<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()?.ok()
}

fn damaged(path: &Path, row: u64) -> anyhow::Error {
    // Not a mistake in the command: rows before it may be stored by now.
    anyhow!("{} is damaged at row {row}, or just after", path.display())
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Arc};

    use parquet::{
        data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type},
        file::writer::SerializedFileWriter,
        schema::parser::parse_message_type,
    };

    use super::*;

    const INSTANT: i64 = 1_770_110_100_250;
    const WRITTEN: &str = "2026-02-03T09:15:00.25Z";

    /// A file of `groups` row groups of one column, where a row in three holds nothing.
    fn file_of<T: DataType>(field: &str, values: &[T::T], groups: usize) -> Vec<u8> {
        let schema = parse_message_type(&format!("message people {{ {field}; }}")).unwrap();
        let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::default()).unwrap();
        let levels: Vec<i16> = values.iter().flat_map(|_| [1, 1, 0]).collect();
        let values: Vec<T::T> = values.iter().flat_map(|value| [value.clone(), value.clone()]).collect();
        for _ in 0..groups {
            let mut group = file.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            column.typed::<T>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        file.into_inner().unwrap()
    }

    fn open(bytes: &[u8]) -> Result<ParquetRows> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        ParquetRows::open(file, Path::new("people.parquet"))
    }

    fn told(row: &Row) -> String {
        let Content::Cells(cells) = &row.content else {
            panic!("cells")
        };
        let text = cells.iter().collect::<Vec<_>>().join("|");
        format!("{} {}", row.number, row.fault.as_ref().map_or(text, Fault::to_string))
    }

    fn all(mut rows: ParquetRows) -> Vec<String> {
        std::iter::from_fn(|| rows.next().unwrap())
            .map(|row| told(&row))
            .collect()
    }

    fn one<T: DataType>(field: &str, value: T::T) -> String {
        let rows = all(open(&file_of::<T>(field, &[value], 1)).unwrap());
        assert_eq!((&rows[1][2..], rows[2].as_str()), (&rows[0][2..], "3 "), "{field}");
        rows[0][2..].to_owned()
    }

    #[test]
    fn every_type_becomes_the_text_of_a_cell() {
        assert_eq!(one::<BoolType>("optional boolean a", true), "true");
        assert_eq!(one::<Int32Type>("optional int32 a", -3), "-3");
        assert_eq!(one::<Int32Type>("optional int32 a (UINT_32)", -1), "4294967295");
        assert_eq!(one::<Int32Type>("optional int32 a (DATE)", 20_487), "2026-02-03");
        assert_eq!(one::<Int64Type>("optional int64 a", i64::MAX), i64::MAX.to_string());
        assert_eq!(
            one::<Int64Type>("optional int64 a (TIMESTAMP_MILLIS)", INSTANT),
            WRITTEN
        );
        assert_eq!(
            one::<Int64Type>("optional int64 a (TIMESTAMP_MICROS)", INSTANT * 1000),
            WRITTEN
        );
        assert_eq!(
            one::<Int64Type>("optional int64 a (TIMESTAMP(NANOS, true))", INSTANT * 1_000_000),
            WRITTEN
        );
        let beyond = one::<Int64Type>("optional int64 a (TIMESTAMP_MILLIS)", i64::MAX);
        assert_eq!(beyond, "column `a`: is not an instant of the years we count");
        assert_eq!(one::<DoubleType>("optional double a", 1.5), "1.5");
        assert_eq!(
            one::<ByteArrayType>("optional binary a (UTF8)", "Grüße".into()),
            "Grüße"
        );
        assert_eq!(one::<ByteArrayType>("optional binary a", "raw".into()), "raw");
        let bad = one::<ByteArrayType>("optional binary a (UTF8)", ByteArray::from(vec![0xFF]));
        assert_eq!(bad, "column `a`: is not UTF-8; it is left out here");
        let long = one::<ByteArrayType>(
            "optional binary a (UTF8)",
            ByteArray::from(vec![b'x'; CELL_BYTES_MAX + 1]),
        );
        assert_eq!(long, "column `a`: the cell is longer than 32 MiB; it is left out here");
    }

    #[test]
    fn what_has_no_form_as_text_is_refused_before_anything_is_read() {
        for field in [
            "repeated int32 a;",
            "optional group a { optional int32 b; }",
            "optional int32 a (TIME_MILLIS);",
            "optional int32 a (DECIMAL(9, 2));",
        ] {
            let schema = parse_message_type(&format!("message people {{ {field} }}")).unwrap();
            let file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::default()).unwrap();
            assert!(open(&file.into_inner().unwrap()).is_err(), "{field}");
        }
    }

    #[test]
    fn reading_goes_on_after_any_row() {
        let values: Vec<i64> = (0..150).collect();
        let bytes = file_of::<Int64Type>("optional int64 a", &values, 3);
        let rows = all(open(&bytes).unwrap());
        assert_eq!(rows.len(), 1350);
        for number in [0, 1, 255, 256, 449, 450, 451, 899, 900, 1349, 1350] {
            let mut again = open(&bytes).unwrap();
            again.skip_to(number).unwrap();
            assert_eq!(all(again), rows[usize::try_from(number).unwrap()..], "{number}");
        }
    }

    #[test]
    fn a_damaged_file_ends_in_an_error_that_shows_nothing() {
        let values: Vec<ByteArray> = (0..50)
            .map(|row| ByteArray::from(format!("canary-{row}").as_str()))
            .collect();
        let bytes = file_of::<ByteArrayType>("optional binary a (UTF8)", &values, 2);
        for place in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[place] ^= flip;
                let Err(why) = open(&damaged).and_then(|mut rows| {
                    for _ in 0..10_000 {
                        if rows.next()?.is_none() {
                            break;
                        }
                    }
                    Ok(())
                }) else {
                    continue;
                };
                assert!(!format!("{why:#}").contains("canary"), "{why:#}");
            }
        }
        for length in [0, 3, 8, bytes.len() / 2, bytes.len() - 1] {
            assert!(open(&bytes[..length]).is_err(), "{length}");
        }
    }
}
