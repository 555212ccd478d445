//! `antumbra preferences import`: reads files row by row, and has the server take each as the record of an upsert.

use std::{
    cell::Cell,
    fs::{File, TryLockError},
    io::IsTerminal,
    path::{Path, PathBuf},
    pin::pin,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{
    catalog::Catalog,
    mapping::Mapping,
    meter::{Meter, Point, grouped},
    progress::{Import, Mark, Progress},
    record::Recipe,
    rejected::Rejected,
    rows::{Format, Rows, unusable},
    sending::{Batch, Desk, Settled},
};
use crate::{
    client::Client,
    outcome::{Ended, Outcome},
    request::Remote,
};

/// Between two times that progress is kept.
const KEEP_EVERY: Duration = Duration::from_millis(500);

/// What can be typed after `antumbra preferences import`.
#[derive(Args)]
#[command(
    after_help = "Rows are sent 100 a call. An import that was cut short goes on where it was: what is settled is kept in \
FILE.progress, and the rows since then are sent again, which changes nothing. Rows that are refused do not stop the \
others; they are written to FILE.rejected.csv or .jsonl, from which they can be imported once they are put right.\n\n\
Several rows about one person take effect by their timestamps, not by their order.\n\n\
Needs the scopes manageStoredPreferences and, for files with columns, viewPreferenceStoreSettings. Ends with 1 if a row \
was refused, and with 2 if a dry run found one that would be.\n\n\
Examples:\n  antumbra preferences import people.csv --partition \"$PARTITION\" --dry-run\n  \
antumbra preferences import people.csv --partition \"$PARTITION\" --mapping mapping.yml\n  \
antumbra preferences import 2024.parquet 2025.parquet --partition \"$PARTITION\" --skip-workflow-triggers"
)]
pub(crate) struct Arguments {
    /// CSV with a row of names, JSON lines of one upsert record each, or Parquet
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The key of the partition, whatever the file says
    #[arg(short, long, value_name = "PARTITION")]
    partition: String,
    /// How the files are written, where their names do not say it
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Which column is what, in YAML; without it the names of the columns say it
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Ask what each column is, and write the answers to FILE.mapping.yml
    #[arg(long, conflicts_with = "mapping")]
    map: bool,
    /// Have the server check every row, report the bad ones, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Where refused rows are written [default: FILE.rejected.csv or FILE.rejected.jsonl]
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    rejected: Option<PathBuf>,
    /// Calls at once
    #[arg(long, value_name = "CALLS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// Open no data subject request, whatever the workflow triggers say
    #[arg(long)]
    skip_workflow_triggers: bool,
    /// Begin at the first row even if an earlier import was cut short
    #[arg(long)]
    no_resume: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What became of rows.
#[derive(Clone, Copy, Default, Deserialize, Serialize)]
pub(super) struct Counts {
    pub(super) taken: u64,
    pub(super) refused: u64,
}

/// Runs the command.
pub(super) async fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.rejected.is_some() && arguments.files.len() > 1 {
        return Err(Ended::new(
            Outcome::Usage,
            "--rejected is for one file; several have one each beside them",
        )
        .into());
    }
    let mapping = arguments.mapping.as_deref().map(Mapping::read).transpose()?;
    let client = arguments.remote.client()?;
    Desk::expect_partition(&client, &arguments.partition).await?;
    let mut all = Counts::default();
    for file in &arguments.files {
        let counts = OneFile::open(&arguments, &client, file, mapping.as_ref())
            .await?
            .run()
            .await?;
        all.taken += counts.taken;
        all.refused += counts.refused;
    }
    match (all.refused, arguments.dry_run) {
        (0, _) => Ok(ExitCode::SUCCESS),
        (_, true) => Ok(Outcome::Usage.into()),
        (_, false) => Ok(Outcome::Failed.into()),
    }
}

/// The import of one file.
struct OneFile<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    path: &'a Path,
    rows: Rows,
    recipe: Recipe,
    /// Nothing is kept of a dry run.
    kept: Option<(Progress, Rejected)>,
    mark: Mark,
    /// Held, so that no second import takes the file at the same time.
    _lock: File,
}

impl<'a> OneFile<'a> {
    async fn open(
        arguments: &'a Arguments,
        client: &'a Client,
        path: &'a Path,
        mapping: Option<&Mapping>,
    ) -> Result<OneFile<'a>> {
        let lock = File::open(path).map_err(|cause| unusable(path, cause))?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            return Err(unusable(path, "another import has it"));
        }
        let mut rows = Rows::open(path, arguments.format)?;
        let (mapping, recipe) = match rows.columns() {
            None if mapping.is_some() || arguments.map => {
                return Err(unusable(
                    path,
                    "its lines are records already: there are no columns to map",
                ));
            }
            None => (Mapping::default(), Recipe::of_lines(&arguments.partition)),
            Some(columns) => {
                let catalog = Catalog::read(client).await?;
                let mapping = match mapping {
                    Some(mapping) => mapping.clone(),
                    None if arguments.map => ask(path, columns, &catalog)?,
                    None => Mapping::default(),
                };
                let resolved = mapping.resolve(columns, &catalog).map_err(|why| unusable(path, why))?;
                let recipe = Recipe::of_columns(&arguments.partition, resolved, &catalog);
                (mapping, recipe)
            }
        };
        let mut mark = Mark::default();
        let mut kept = None;
        if !arguments.dry_run {
            let rejected = arguments.rejected.clone().unwrap_or_else(|| {
                appended(
                    path,
                    if rows.columns().is_some() {
                        ".rejected.csv"
                    } else {
                        ".rejected.jsonl"
                    },
                )
            });
            if same_file(&rejected, path) {
                return Err(unusable(path, "refused rows cannot be written over it"));
            }
            if arguments.no_resume {
                Progress::forget(path)?;
            }
            let import = Import::new(path, &arguments.partition, &mapping.text(), &rejected)?;
            let progress = Progress::open(path, import)?;
            mark = progress.mark().clone();
            let rejected = Rejected::open(&rejected, rows.columns(), mark.rejected_bytes)?;
            kept = Some((progress, rejected));
        }
        if mark.row > 0 {
            eprintln!("{}: going on after row {}", path.display(), grouped(mark.row));
            rows.skip_to(mark.row, mark.end)?;
        }
        Ok(OneFile {
            arguments,
            client,
            path,
            rows,
            recipe,
            kept,
            mark,
            _lock: lock,
        })
    }

    /// Sends row after row until the end, a failure, or Ctrl-C.
    async fn run(mut self) -> Result<Counts> {
        let length = self.rows.length();
        let point = |mark: &Mark| Point {
            at: mark.end,
            of: Some(length),
            rows: mark.counts.taken + mark.counts.refused,
            refused: mark.counts.refused,
        };
        let verb = if self.arguments.dry_run { "checked" } else { "settled" };
        let mut meter = Meter::new(verb, point(&self.mark));
        let desk = Desk {
            client: self.client,
            is_dry_run: self.arguments.dry_run,
            skip_workflow_triggers: self.arguments.skip_workflow_triggers,
        };
        let is_stopping = Cell::new(false);
        let ended = {
            let (rows, recipe) = (&mut self.rows, &self.recipe);
            let batches = std::iter::from_fn(|| {
                if is_stopping.get() {
                    return None;
                }
                next_batch(rows, recipe).transpose()
            });
            // Invariant: batches are settled in the order of the file, so that a mark speaks for every row before it.
            let mut settled = pin!(
                stream::iter(batches)
                    .map(|batch| async { desk.settle(batch?, |row, path| recipe.place(row, path)).await })
                    .buffered(usize::from(self.arguments.concurrency))
            );
            let mut stop = pin!(tokio::signal::ctrl_c());
            let mut kept_at = Instant::now();
            loop {
                let next = tokio::select! {
                    biased;
                    _ = &mut stop, if !is_stopping.get() => {
                        is_stopping.set(true);
                        meter.clear();
                        eprintln!("stopping: what is on its way is waited for");
                        continue;
                    }
                    next = settled.next() => next,
                };
                match next {
                    None => break Ok(()),
                    Some(Err(failure)) => break Err(failure),
                    Some(Ok(batch)) => {
                        if self.kept.is_none() && !batch.refused.is_empty() {
                            meter.clear();
                        }
                        note(&mut self.mark, self.kept.as_mut(), self.path, &batch)?;
                    }
                }
                if kept_at.elapsed() >= KEEP_EVERY {
                    keep(&mut self.mark, self.kept.as_mut())?;
                    kept_at = Instant::now();
                }
                meter.show(point(&self.mark));
            }
        };
        meter.clear();
        keep(&mut self.mark, self.kept.as_mut())?;
        let counts = self.mark.counts;
        let so_far = || format!("{} rows were settled", grouped(counts.taken + counts.refused));
        if let Err(failure) = ended {
            eprintln!(
                "{}: {}; the same command goes on from there",
                self.path.display(),
                so_far()
            );
            return Err(failure);
        }
        if is_stopping.get() && self.mark.end < length {
            let said = format!("stopped: {}; the same command goes on from there", so_far());
            return Err(Ended::new(Outcome::Failed, said).into());
        }
        let summary = meter.summary(point(&self.mark));
        self.finish(counts, &summary)
    }

    fn finish(self, counts: Counts, summary: &str) -> Result<Counts> {
        let (path, Counts { taken, refused }) = (self.path.display(), counts);
        match self.kept {
            None => println!(
                "{path}: {} rows are good, {} are bad; nothing was stored ({summary})",
                grouped(taken),
                grouped(refused)
            ),
            Some((_, rejected)) => {
                Progress::forget(self.path)?;
                println!(
                    "{path}: {} rows stored, {} refused ({summary})",
                    grouped(taken),
                    grouped(refused)
                );
                if refused > 0 {
                    println!(
                        "The refused rows are in {}, each with the reason.",
                        rejected.path().display()
                    );
                }
            }
        }
        Ok(counts)
    }
}

/// The next rows with their records; none at the end of the file.
fn next_batch(rows: &mut Rows, recipe: &Recipe) -> Result<Option<Batch>> {
    let mut batch = Batch::default();
    while !batch.is_full() {
        let Some(row) = rows.next()? else { break };
        let record = recipe.make(&row);
        batch.push(row, record);
    }
    Ok((!batch.rows.is_empty()).then_some(batch))
}

/// Counts a batch, and writes down the rows of it that were refused.
fn note(mark: &mut Mark, kept: Option<&mut (Progress, Rejected)>, path: &Path, batch: &Settled) -> Result<()> {
    let refused = batch.refused.len() as u64;
    mark.counts.refused += refused;
    mark.counts.taken += batch.rows.len() as u64 - refused;
    if let Some(last) = batch.rows.last() {
        (mark.row, mark.end) = (last.number, last.end);
    }
    match kept {
        Some((_, rejected)) => {
            for (at, faults) in &batch.refused {
                rejected.write(&batch.rows[*at], faults)?;
            }
        }
        None => {
            for (at, faults) in &batch.refused {
                for fault in faults {
                    println!("{}: row {}, {fault}", path.display(), batch.rows[*at].number);
                }
            }
        }
    }
    Ok(())
}

/// Keeps the mark, once what it speaks of is on the disk.
fn keep(mark: &mut Mark, kept: Option<&mut (Progress, Rejected)>) -> Result<()> {
    if let Some((progress, rejected)) = kept {
        mark.rejected_bytes = rejected.sync()?;
        progress.keep(mark.clone())?;
    }
    Ok(())
}

fn ask(path: &Path, columns: &[String], catalog: &Catalog) -> Result<Mapping> {
    if !std::io::stdin().is_terminal() {
        return Err(Ended::new(
            Outcome::Usage,
            "--map asks questions, and standard input is no terminal",
        )
        .into());
    }
    let mapping = Mapping::ask(columns, catalog, &mut std::io::stdin().lock(), &mut std::io::stderr())?;
    // What can't be is told before anything is written.
    mapping.resolve(columns, catalog).map_err(|why| unusable(path, why))?;
    let written = appended(path, ".mapping.yml");
    mapping.write(&written)?;
    eprintln!("{} holds the answers: --mapping takes it.", written.display());
    Ok(mapping)
}

fn appended(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
