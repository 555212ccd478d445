//! `antumbra preferences export`: every record of a partition, or all that each has been, page by page, into a file or to
//! standard output.
//!
//! | File | Holds |
//! | --- | --- |
//! | `walk.rs` | the pages, and what makes sure that no record is missed while others write |
//! | `sheet.rs` | a record as the cells of a row |
//! | `parquet.rs` | rows of cells as Parquet |
//! | `output.rs` | where it goes: a file that is there whole or not at all, or standard output |

mod output;
mod parquet;
mod sheet;
mod walk;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::value::RawValue;

use super::{
    catalog::Catalog,
    meter::{Meter, Point, grouped},
    rejected::csv_line,
    rows::Format,
    stop::Stop,
};
use crate::{
    client::Client,
    outcome::{Ended, Outcome},
    request::Remote,
};
use output::Output;
use parquet::ParquetSheet;
use sheet::{Node, Sheet};
use walk::{Filter, Walk};

/// What can be typed after `antumbra preferences export`.
#[derive(Args)]
#[command(
    after_help = "Newest first. What others write while the export runs is in it, in its newest form; a record that they \
write then may stand in it twice, the later one being the newer.\n\n\
In CSV, a cell that a spreadsheet would take for a formula (one that begins with =, +, -, @, a tab or a line end) has a \
single quote before it. `antumbra preferences import` takes what any of the formats holds back in; what is given out by \
the server alone (partition, decryptionStatus, updatedAt and the ids of records) is not taken from it.\n\n\
Until a file is whole it is FILE.part. Ctrl-C removes that; a kill leaves it behind, in clear text, until the next export.\n\n\
With --history a record has a row for each write that changed it, oldest first: what the person had chosen from updatedAt, \
when it was learned, until the next row of the same record. A write that came late and changed nothing has no row.\n\n\
Needs the scopes viewManagedConsentDatabaseAdminApi and, for CSV and Parquet, viewPreferenceStoreSettings.\n\n\
Examples:\n  antumbra preferences export --partition \"$PARTITION\" --output people.csv\n  \
antumbra preferences export --partition \"$PARTITION\" --updated-after 2026-01-01T00:00:00Z --format jsonl | gzip > people.jsonl.gz\n  \
antumbra preferences export --partition \"$PARTITION\" --history --output history.parquet"
)]
pub(crate) struct Arguments {
    /// The key of the partition
    #[arg(short, long, value_name = "PARTITION")]
    partition: String,
    /// How it is written [default: as the name of the output says, or csv]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// The file to write, which only you may read; without it or as `-`, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    remote: Remote,
}

/// Runs the command.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let path = arguments.output.as_deref().filter(|path| *path != Path::new("-"));
    let format = format(arguments.format, path)?;
    arguments.filter.check()?;
    let client = arguments.remote.client()?;
    let walk = Walk::new(&client, &arguments.partition, arguments.filter);
    let written = write(walk, &client, format, path);
    match path {
        // Whoever reads from the other end may make a write wait: then Ctrl-C has to end it all the same.
        None => written.await?,
        Some(path) => {
            let mut stop = Stop::listen()?;
            tokio::select! {
                written = written => written?,
                () = stop.asked() => {
                    let said = format!("stopped: {} was not written, and what there was of it is removed", path.display());
                    return Err(Ended::new(Outcome::Failed, said).into());
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The format that was asked for, or that the name says.
fn format(asked: Option<Format>, path: Option<&Path>) -> Result<Format> {
    let format = match (asked, path) {
        (Some(format), _) => format,
        (None, None) => Format::Csv,
        (None, Some(path)) => Format::of_name(path).ok_or_else(|| {
            let said = "the name of the output does not say how to write it: end it in .csv, .jsonl or .parquet, or give --format";
            Ended::new(Outcome::Usage, said)
        })?,
    };
    if format == Format::Parquet && path.is_none() && std::io::stdout().is_terminal() {
        let said = "Parquet is nothing to look at: give --output, or redirect it";
        return Err(Ended::new(Outcome::Usage, said).into());
    }
    Ok(format)
}

/// Writes every record that the walk comes by.
async fn write(mut walk: Walk<'_>, client: &Client, format: Format, path: Option<&Path>) -> Result<()> {
    let sheet = match format {
        Format::Jsonl => None,
        Format::Csv | Format::Parquet => Some(Sheet::new(&Catalog::read(client).await?)),
    };
    // What is refused is refused before anything is written.
    let mut next = walk.next().await?;
    let mut writer = Writer::new(format, sheet, Output::open(path)?)?;
    let mut meter = Meter::new("exported", Point::default());
    let (mut now, mut sealed, mut cut) = (Point::default(), 0_u64, 0_u64);
    while let Some(page) = next {
        for record in page.records()? {
            if !walk.is_new(&record) {
                continue;
            }
            cut += u64::from(record.is_cut);
            for state in record.states {
                let read: Node<'_> =
                    serde_json::from_str(state.get()).context("the answer is not one of an Antumbra server")?;
                sealed += u64::from(read.system.decryption_status != "DECRYPTED");
                writer.write(state, &read)?;
                now.rows += 1;
            }
        }
        if path.is_some() {
            meter.show(now);
        }
        drop(page);
        next = walk.next().await?;
    }
    writer.finish()?;
    if let Some(path) = path {
        meter.clear();
        eprintln!("{}: {}", path.display(), meter.summary(now));
    }
    if sealed > 0 {
        eprintln!(
            "{} records could not be decrypted; they say so, and name nobody",
            grouped(sealed)
        );
    }
    if cut > 0 {
        eprintln!(
            "{} histories do not begin with the first write: it is not kept any more, can't be read, or there were too many since",
            grouped(cut)
        );
    }
    Ok(())
}

/// Records on their way into a format.
enum Writer {
    Lines(Output),
    Csv(Sheet, Output),
    Parquet(Sheet, Box<ParquetSheet>),
}

impl Writer {
    fn new(format: Format, sheet: Option<Sheet>, mut output: Output) -> Result<Writer> {
        Ok(match (format, sheet) {
            (Format::Csv, Some(sheet)) => {
                output
                    .write_all(csv_line(sheet.names()).as_bytes())
                    .context("writing")?;
                Writer::Csv(sheet, output)
            }
            (Format::Parquet, Some(sheet)) => {
                let file = ParquetSheet::new(&sheet, output)?;
                Writer::Parquet(sheet, Box::new(file))
            }
            _ => Writer::Lines(output),
        })
    }

    fn write(&mut self, node: &RawValue, read: &Node<'_>) -> Result<()> {
        match self {
            Writer::Lines(output) => {
                output.write_all(node.get().as_bytes()).context("writing")?;
                output.write_all(b"\n").context("writing")
            }
            Writer::Csv(sheet, output) => {
                let row = sheet.row(read)?;
                let line = csv_line(row.iter().map(|cell| cell.as_deref().unwrap_or_default()));
                output.write_all(line.as_bytes()).context("writing")
            }
            Writer::Parquet(sheet, file) => file.write(sheet.row(read)?),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Writer::Lines(output) | Writer::Csv(_, output) => output.finish(),
            Writer::Parquet(_, file) => file.finish()?.finish(),
        }
    }
}
