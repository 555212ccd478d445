//! Rows of cells as Parquet: instants and answers in types of their own, the rest as text.

use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel},
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedColumnWriter, SerializedFileWriter},
    },
    schema::types::Type,
};

use super::{
    output::Output,
    sheet::{Cell, Kind, Sheet},
};

/// Rows that are held before they are written.
const GROUP_ROWS: usize = 20_000;

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
        if self.rows == GROUP_ROWS {
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
        }
    }

    fn push(&mut self, cell: Option<&str>) -> Result<()> {
        self.levels.push(i16::from(cell.is_some()));
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
        match &mut self.values {
            Values::Text(values) => write::<ByteArrayType>(writer, values, &self.levels)?,
            Values::Boolean(values) => write::<BoolType>(writer, values, &self.levels)?,
            Values::Instant(values) => write::<Int64Type>(writer, values, &self.levels)?,
        }
        self.levels.clear();
        Ok(())
    }
}

fn write<T: DataType>(mut writer: SerializedColumnWriter<'_>, values: &mut Vec<T::T>, levels: &[i16]) -> Result<()> {
    writer
        .typed::<T>()
        .write_batch(values, Some(levels), None)
        .context("writing")?;
    values.clear();
    writer.close().context("writing")
}
