//! The file of rows that were refused: their numbers, why, and the rows themselves, so that they can be put right there and
//! imported from there. Only its owner may read it.

use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{
    catalog::{REJECTED_REASON, REJECTED_ROW},
    rows::{Content, Fault, Row, inert},
};

/// The file of refused rows; made when there is one.
pub(super) struct Rejected {
    path: PathBuf,
    /// The names of the columns of the file that the rows are from.
    columns: Option<Vec<String>>,
    file: Option<BufWriter<File>>,
}

impl Rejected {
    /// The file at `path`, of which the first `bytes` are of rows that were refused earlier; none of it is kept if that
    /// is 0.
    pub(super) fn open(path: &Path, columns: Option<&[String]>, bytes: u64) -> Result<Rejected> {
        let context = || format!("{} cannot be written", path.display());
        let mut rejected = Rejected {
            path: path.to_owned(),
            columns: columns.map(<[String]>::to_vec),
            file: None,
        };
        if bytes > 0 {
            let mut file = OpenOptions::new().write(true).open(path).with_context(context)?;
            file.set_len(bytes).with_context(context)?;
            file.seek(SeekFrom::End(0)).with_context(context)?;
            rejected.file = Some(BufWriter::new(file));
        } else if let Err(cause) = std::fs::remove_file(path)
            && cause.kind() != std::io::ErrorKind::NotFound
        {
            return Err(cause).with_context(context);
        }
        Ok(rejected)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&mut self, row: &Row, faults: &[Fault]) -> Result<()> {
        let reason = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; ");
        let line = match &row.content {
            Content::Cells(cells) => {
                let number = row.number.to_string();
                let own = [number.as_str(), &reason].into_iter();
                csv_line(own.chain(cells.iter()))
            }
            Content::Line(line) => {
                let mut record = match serde_json::from_str::<Map<String, Value>>(line) {
                    Ok(record) => record,
                    Err(_) => Map::from_iter([("line".to_owned(), Value::from(line.as_str()))]),
                };
                record.insert("rejected".to_owned(), json!({ "row": row.number, "reason": reason }));
                format!("{}\n", Value::Object(record))
            }
        };
        let context = format!("{} cannot be written", self.path.display());
        self.file()?.write_all(line.as_bytes()).context(context)
    }

    /// Has what was written on the disk, and says how much it is.
    pub(super) fn sync(&mut self) -> Result<u64> {
        let Some(file) = &mut self.file else { return Ok(0) };
        let written = file.flush().and_then(|()| {
            file.get_ref().sync_data()?;
            file.get_mut().stream_position()
        });
        written.with_context(|| format!("{} cannot be written", self.path.display()))
    }

    fn file(&mut self) -> Result<&mut BufWriter<File>> {
        if self.file.is_none() {
            let new = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&self.path);
            let new = new.with_context(|| format!("{} cannot be written", self.path.display()))?;
            let mut new = BufWriter::new(new);
            if let Some(columns) = &self.columns {
                let own = [REJECTED_ROW, REJECTED_REASON].into_iter();
                let line = csv_line(own.chain(columns.iter().map(String::as_str)));
                new.write_all(line.as_bytes())?;
            }
            self.file = Some(new);
        }
        Ok(self.file.as_mut().expect("it was opened on the line before"))
    }
}

/// A line of CSV whose cells no spreadsheet takes for formulas.
pub(super) fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            line.push(',');
        }
        let cell = inert(cell);
        let is_first_and_empty = place == 0 && cell.is_empty();
        if is_first_and_empty || cell.contains(['"', ',', '\n', '\r']) || cell.trim() != cell {
            line.push('"');
            line.push_str(&cell.replace('"', "\"\""));
            line.push('"');
        } else {
            line.push_str(&cell);
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let cells = ["", "a", "a,b", "say \"no\"", "two\nlines", " a", "=1", "@x,y"];
        assert_eq!(
            csv_line(cells.into_iter()),
            "\"\",a,\"a,b\",\"say \"\"no\"\"\",\"two\nlines\",\" a\",'=1,\"'@x,y\"\n"
        );
    }
}
