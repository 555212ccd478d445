//! Rows of cells as Parquet: instants and answers in types of their own, the rest as text.

use std::{slice::Chunks, sync::Arc};

use anyhow::{Context, Result};
use jiff::Timestamp;
use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::{ColumnPath, Type},
};

use super::{
    super::target::Target,
    output::Output,
    sheet::{Cell, Kind, Sheet},
};

/// Rows, and bytes of them, that are held before they are written.
const GROUP_ROWS: usize = 20_000;
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// What a cell takes beside its text.
const CELL_BYTES: usize = size_of::<ByteArray>() + size_of::<i16>();

/// Bytes of a column after which it is seen whether a page is full. A cell may hold megabytes.
const LOOK_EVERY_BYTES: usize = 1024 * 1024;

/// A Parquet file that is being written.
pub(super) struct ParquetSheet {
    file: SerializedFileWriter<Output>,
    columns: Vec<Column>,
    rows: usize,
}

/// The cells of one column that are not written yet; a level of 0 is a cell that holds nothing.
struct Column {
    levels: Vec<i16>,
    values: Values,
    bytes: usize,
}

enum Values {
    Text(Vec<ByteArray>),
    Boolean(Vec<bool>),
    Instant(Vec<i64>),
}

impl ParquetSheet {
    pub(super) fn new(sheet: &Sheet, output: Output) -> Result<ParquetSheet> {
        let fields = sheet.names().zip(sheet.kinds()).map(|(name, kind)| {
            let (physical, logical) = match kind {
                Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                Kind::Boolean => (Physical::BOOLEAN, None),
                Kind::Instant => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::MILLIS))),
            };
            let field = Type::primitive_type_builder(name, physical).with_logical_type(logical);
            Ok(Arc::new(field.with_repetition(Repetition::OPTIONAL).build()?))
        });
        let fields: parquet::errors::Result<Vec<_>> = fields.collect();
        let schema = Type::group_type_builder("preferences")
            .with_fields(fields.context("the columns")?)
            .build();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            // The largest cells, of which hardly two are the same: a dictionary would only hold them once more.
            .set_column_dictionary_enabled(ColumnPath::from(Target::Metadata.to_string()), false)
            .set_created_by(format!("antumbra {}", env!("CARGO_PKG_VERSION")))
            .build();
        let schema = Arc::new(schema.context("the columns")?);
        let file = SerializedFileWriter::new(output, schema, Arc::new(properties)).context("writing")?;
        Ok(ParquetSheet {
            file,
            columns: sheet.kinds().map(Column::new).collect(),
            rows: 0,
        })
    }

    pub(super) fn write(&mut self, row: Vec<Cell<'_>>) -> Result<()> {
        for (column, cell) in self.columns.iter_mut().zip(row) {
            column.push(cell.as_deref())?;
        }
        self.rows += 1;
        let bytes: usize = self.columns.iter().map(|column| column.bytes).sum();
        if self.rows == GROUP_ROWS || bytes >= GROUP_BYTES {
            self.write_group()
        } else {
            Ok(())
        }
    }

    pub(super) fn finish(mut self) -> Result<Output> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.file.into_inner().context("writing")
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.file.next_row_group().context("writing")?;
        for column in &mut self.columns {
            let writer = group.next_column().context("writing")?;
            column.write(writer.context("a row group has as many columns as the schema")?)?;
        }
        group.close().context("writing")?;
        self.rows = 0;
        Ok(())
    }
}

impl Column {
    fn new(kind: Kind) -> Column {
        Column {
            levels: Vec::new(),
            values: match kind {
                Kind::Text => Values::Text(Vec::new()),
                Kind::Boolean => Values::Boolean(Vec::new()),
                Kind::Instant => Values::Instant(Vec::new()),
            },
            bytes: 0,
        }
    }

    fn push(&mut self, cell: Option<&str>) -> Result<()> {
        self.levels.push(i16::from(cell.is_some()));
        self.bytes += CELL_BYTES + cell.map_or(0, str::len);
        let Some(cell) = cell else { return Ok(()) };
        match &mut self.values {
            Values::Text(values) => values.push(ByteArray::from(cell)),
            Values::Boolean(values) => values.push(cell == "true"),
            Values::Instant(values) => {
                let instant: Timestamp = cell.parse().context("the answer holds an instant that is none")?;
                values.push(instant.as_millisecond());
            }
        }
        Ok(())
    }

    fn write(&mut self, writer: SerializedColumnWriter<'_>) -> Result<()> {
        let cells = (self.levels.len() * LOOK_EVERY_BYTES / self.bytes.max(1)).max(1);
        let portions = self.levels.chunks(cells);
        match &mut self.values {
            Values::Text(values) => write::<ByteArrayType>(writer, values, portions)?,
            Values::Boolean(values) => write::<BoolType>(writer, values, portions)?,
            Values::Instant(values) => write::<Int64Type>(writer, values, portions)?,
        }
        self.levels.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Writes portions of a column. A value is let go of when it is written.
fn write<T: DataType>(
    mut writer: SerializedColumnWriter<'_>,
    values: &mut Vec<T::T>,
    portions: Chunks<'_, i16>,
) -> Result<()> {
    let mut values = values.drain(..);
    for levels in portions {
        let held = levels.iter().filter(|level| **level > 0).count();
        let portion: Vec<T::T> = values.by_ref().take(held).collect();
        let written = writer.typed::<T>().write_batch(&portion, Some(levels), None);
        written.context("writing")?;
    }
    writer.close().context("writing")
}
