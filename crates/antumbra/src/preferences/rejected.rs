//! The file of rows that were refused: their numbers, why, and the rows themselves, so that they can be put right there and
//! imported from there. Only its owner may read it.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::{BufWriter, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

use super::{
    catalog::{REJECTED_REASON, REJECTED_ROW},
    rows::{Content, Fault, Row, inert},
};
use crate::outcome::{Ended, Outcome};

/// The file of refused rows; made when there is one.
pub(super) struct Rejected {
    path: PathBuf,
    /// The names of the columns of the file that the rows are from.
    columns: Option<Vec<String>>,
    /// The places of those that the list has itself: the file is a list, too.
    replaced: Vec<usize>,
    file: Option<BufWriter<File>>,
}

/// Where the list of an import that begins is written: nowhere where something is, which may be a list that was put right.
pub(super) fn place(asked: Option<&Path>, file: &Path, ending: &str) -> Result<PathBuf> {
    let is_free = |path: &Path| path.symlink_metadata().is_err();
    if let Some(asked) = asked {
        if !is_free(asked) {
            let said = format!(
                "{} is there already, and refused rows are not written over it",
                asked.display()
            );
            return Err(Ended::new(Outcome::Usage, said).into());
        }
        return Ok(asked.to_owned());
    }
    let numbered = |number: u32| {
        let mut name = file.as_os_str().to_owned();
        match number {
            1 => name.push(format!(".rejected.{ending}")),
            further => name.push(format!(".rejected-{further}.{ending}")),
        }
        PathBuf::from(name)
    };
    let mut free = (1..=u32::MAX).map(numbered).filter(|path| is_free(path));
    free.next().context("every name for a list of refused rows is taken")
}

/// A line of a list as it stood in the file. One that was not JSON is a text in the list.
pub(super) fn as_it_was(line: &str) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Listed {
        line: String,
        #[serde(rename = "rejected")]
        _rejected: IgnoredAny,
    }
    // Few lines are of a list, and only those are read twice.
    let listed = line
        .contains("\"rejected\"")
        .then(|| serde_json::from_str::<Listed>(line));
    match listed {
        Some(Ok(listed)) => listed.line.into(),
        _ => line.into(),
    }
}

impl Rejected {
    /// The list at `path`. Of an import that goes on, the first `resumed` bytes are of rows that were refused earlier; what
    /// comes after them will be written again.
    pub(super) fn open(path: &Path, columns: Option<&[String]>, resumed: Option<u64>) -> Result<Rejected> {
        let context = || format!("{} cannot be written", path.display());
        let names = columns.unwrap_or_default().iter().enumerate();
        let own = names.filter(|(_, name)| [REJECTED_ROW, REJECTED_REASON].contains(&name.as_str()));
        let mut rejected = Rejected {
            path: path.to_owned(),
            columns: columns.map(<[String]>::to_vec),
            replaced: own.map(|(place, _)| place).collect(),
            file: None,
        };
        match resumed {
            None => {}
            Some(0) => {
                if let Err(cause) = std::fs::remove_file(path)
                    && cause.kind() != std::io::ErrorKind::NotFound
                {
                    return Err(cause).with_context(context);
                }
            }
            Some(bytes) => {
                let mut file = OpenOptions::new().write(true).open(path).with_context(context)?;
                if file.metadata().with_context(context)?.len() < bytes {
                    bail!(
                        "{} is shorter than this import left it\n  --no-resume begins anew, with a list of its own",
                        path.display()
                    );
                }
                file.set_len(bytes).with_context(context)?;
                file.seek(SeekFrom::End(0)).with_context(context)?;
                rejected.file = Some(BufWriter::new(file));
            }
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
                csv_line(own.chain(without(cells.iter(), &self.replaced)))
            }
            Content::Line(line) => {
                let line = as_it_was(line);
                let mut record = match serde_json::from_str::<Map<String, Value>>(&line) {
                    Ok(record) => record,
                    Err(_) => Map::from_iter([("line".to_owned(), Value::from(line))]),
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
                let names = columns.iter().map(String::as_str);
                let line = csv_line(own.chain(without(names, &self.replaced)));
                new.write_all(line.as_bytes())?;
            }
            self.file = Some(new);
        }
        Ok(self.file.as_mut().expect("it was opened on the line before"))
    }
}

fn without<'a>(cells: impl Iterator<Item = &'a str>, places: &[usize]) -> impl Iterator<Item = &'a str> {
    let kept = cells.enumerate().filter(|(place, _)| !places.contains(place));
    kept.map(|(_, cell)| cell)
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
