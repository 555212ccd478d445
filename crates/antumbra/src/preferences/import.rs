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
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    catalog::Catalog,
    mapping::Mapping,
    meter::{self, Meter, Point, grouped},
    patience::Patient,
    progress::{Import, Mark, Progress},
    record::Recipe,
    rejected::{self, Rejected},
    rows::{Format, MIB, Rows, called, is_piped, unusable},
    sending::{BATCH_BYTES_MAX, Batch, Desk, Settled},
    stop::Stop,
};
use crate::{
    client::Client,
    outcome::{Ended, Outcome},
    request::Remote,
};

/// Between two times that progress is kept.
const KEEP_EVERY: Duration = Duration::from_millis(500);

/// MiB of rows and records that are held at once, however many calls that makes.
const HELD_MIB: u32 = 64;

/// MiB that a batch may take, if no row of it is a long one.
const BATCH_MIB: u32 = (BATCH_BYTES_MAX / MIB) as u32 + 1;

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
antumbra preferences import 2024.parquet 2025.parquet --partition \"$PARTITION\" --skip-workflow-triggers\n  \
zcat people.csv.gz | antumbra preferences import - --format csv --partition \"$PARTITION\""
)]
pub(crate) struct Arguments {
    /// CSV with a row of names, JSON lines of one upsert record each, or Parquet; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The key of the partition, whatever the file says
    #[arg(short, long, value_name = "PARTITION")]
    partition: String,
    /// How the files are written, where their names do not say it
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What stands between the cells of CSV: one character, or `tab` [default: as the first row says]
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    separator: Option<u8>,
    /// Which column is what, in YAML; without it the names of the columns say it
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Ask what each column is, and write the answers to FILE.mapping.yml
    #[arg(long, conflicts_with = "mapping")]
    map: bool,
    /// Have the server check every row, report the bad ones, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// A new file for rows that are refused [default: FILE.rejected.csv or FILE.rejected.jsonl, numbered if that is there]
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
    if arguments.files.len() > 1 && arguments.files.iter().any(|file| is_piped(file)) {
        let said = "what comes through a pipe is imported alone: give one of these at a time";
        return Err(Ended::new(Outcome::Usage, said).into());
    }
    let mapping = arguments.mapping.as_deref().map(Mapping::read).transpose()?;
    let client = arguments.remote.client()?;
    Desk::expect_partition(&client, &arguments.partition).await?;
    // What makes a file one that cannot be imported is found before a row of any is sent.
    let mut files = Vec::new();
    for file in &arguments.files {
        files.push(OneFile::open(&arguments, &client, file, mapping.as_ref()).await?);
    }
    // A pipe may be waited for where Ctrl-C would not be heard; and there is nothing to tidy up.
    let mut stop = (!is_piped(&arguments.files[0])).then(Stop::listen).transpose()?;
    let mut all = Counts::default();
    for file in files {
        let counts = file.run(stop.as_mut()).await?;
        all.taken += counts.taken;
        all.refused += counts.refused;
    }
    match (all.refused, arguments.dry_run) {
        (0, _) => Ok(ExitCode::SUCCESS),
        (_, true) => Ok(Outcome::Usage.into()),
        (_, false) => Ok(Outcome::Failed.into()),
    }
}

fn separator(text: &str) -> Result<u8, &'static str> {
    match text.as_bytes() {
        _ if text == "tab" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ => Err("must be one character, such as ; or the word tab"),
    }
}

/// The import of one file.
struct OneFile<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    path: &'a Path,
    name: String,
    rows: Rows,
    recipe: Recipe,
    mark: Mark,
    /// Nothing is kept of a dry run.
    plan: Option<Plan>,
    /// Held, so that no second import takes the file at the same time.
    _lock: Option<File>,
}

/// What will be kept beside the file.
struct Plan {
    /// None of what comes through a pipe: there is no way back to a row of it.
    import: Option<Import>,
    rejected: PathBuf,
    /// The list goes on after so many bytes.
    resumed: Option<u64>,
}

/// What is kept beside the file.
struct Kept {
    progress: Option<Progress>,
    rejected: Rejected,
}

/// How a run came to its end.
enum End {
    Whole,
    Stopped,
    Failed(anyhow::Error),
}

impl<'a> OneFile<'a> {
    async fn open(
        arguments: &'a Arguments,
        client: &'a Client,
        path: &'a Path,
        mapping: Option<&Mapping>,
    ) -> Result<OneFile<'a>> {
        let lock = if is_piped(path) { None } else { Some(lock(path)?) };
        let mut rows = Rows::open(path, arguments.format, arguments.separator)?;
        let separator = rows.separator();
        if let (None, Some(found)) = (arguments.separator, separator.filter(|found| *found != ',')) {
            let found = if found == '\t' {
                "a tab".to_owned()
            } else {
                format!("`{found}`")
            };
            eprintln!("{}: {found} stands between its cells", called(path));
        }
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
                let resolved = mapping.resolve(columns, &catalog);
                let resolved = resolved.map_err(|why| unusable(path, why + separated(separator, columns)))?;
                let recipe = Recipe::of_columns(&arguments.partition, resolved, &catalog);
                (mapping, recipe)
            }
        };
        let mut mark = Mark::default();
        let plan = if arguments.dry_run {
            None
        } else {
            let meaning = format!("{}{}", mapping.text(), separator.unwrap_or_default());
            let import = || Import::new(path, &arguments.partition, &meaning);
            let import = lock.is_some().then(import).transpose()?;
            let found = match &import {
                Some(import) if !arguments.no_resume => Progress::find(path, import)?,
                _ => None,
            };
            let asked = arguments.rejected.as_deref();
            let (rejected, resumed) = match found {
                Some((rejected, _)) if asked.is_some_and(|asked| asked != rejected) => {
                    return Err(Progress::of_another(path));
                }
                Some((rejected, found)) => {
                    mark = found;
                    (rejected, Some(mark.rejected_bytes))
                }
                None => {
                    let beside = if lock.is_some() { path } else { Path::new("stdin") };
                    let ending = if rows.columns().is_some() { "csv" } else { "jsonl" };
                    (rejected::place(asked, beside, ending)?, None)
                }
            };
            Some(Plan {
                import,
                rejected,
                resumed,
            })
        };
        if mark.row > 0 {
            eprintln!("{}: going on after row {}", path.display(), grouped(mark.row));
            rows.skip_to(mark.row, mark.end)?;
        }
        Ok(OneFile {
            arguments,
            client,
            path,
            name: called(path),
            rows,
            recipe,
            mark,
            plan,
            _lock: lock,
        })
    }

    /// Sends row after row until the end, a failure, or Ctrl-C.
    async fn run(mut self, stop: Option<&mut Stop>) -> Result<Counts> {
        let length = Some(self.rows.length()).filter(|length| *length > 0);
        let point = |mark: &Mark| Point {
            at: mark.end,
            of: length,
            rows: mark.counts.taken + mark.counts.refused,
            refused: mark.counts.refused,
        };
        let mut kept = match self.plan.take() {
            None => None,
            Some(plan) => Some(plan.begin(self.path, self.rows.columns(), &self.mark)?),
        };
        let verb = if kept.is_none() { "checked" } else { "settled" };
        let mut meter = Meter::new(verb, point(&self.mark));
        let end = self.send(stop, &mut kept, |mark| meter.show(point(mark))).await?;
        meter.clear();
        if let Some(kept) = &mut kept {
            kept.keep(&mut self.mark)?;
        }
        let counts = self.mark.counts;
        let goes_on = match &kept {
            Some(Kept { progress: None, .. }) => {
                "what came through the pipe has to be sent again, which changes nothing"
            }
            _ => "the same command goes on from there",
        };
        let so_far = format!(
            "{} rows were settled; {goes_on}",
            grouped(counts.taken + counts.refused)
        );
        match end {
            End::Whole => {
                let summary = meter.summary(point(&self.mark));
                self.finish(kept, &summary)
            }
            End::Stopped => Err(Ended::new(Outcome::Failed, format!("stopped: {so_far}")).into()),
            End::Failed(failure) => {
                eprintln!("{}: {so_far}", self.name);
                Err(failure)
            }
        }
    }

    async fn send(
        &mut self,
        stop: Option<&mut Stop>,
        kept: &mut Option<Kept>,
        mut show: impl FnMut(&Mark),
    ) -> Result<End> {
        let desk = Desk {
            server: Patient::new(self.client),
            is_dry_run: self.arguments.dry_run,
            skip_workflow_triggers: self.arguments.skip_workflow_triggers,
        };
        let (is_stopping, is_whole) = (Cell::new(false), Cell::new(false));
        let room = Semaphore::new(HELD_MIB as usize);
        let (rows, recipe) = (&mut self.rows, &self.recipe);
        let (is_stopped, is_read, all_room) = (&is_stopping, &is_whole, &room);
        let batches = stream::unfold(rows, move |rows| async move {
            if is_stopped.get() {
                return None;
            }
            let batch = next_batch(rows, recipe, all_room).await.transpose();
            is_read.set(batch.is_none());
            Some((batch?, rows))
        });
        // Invariant: batches are settled in the order of the file, so that a mark speaks for every row before it.
        let mut settled = pin!(
            batches
                .map(|batch| async {
                    let (batch, held) = batch?;
                    let settled = desk.settle(batch, |row, path| recipe.place(row, path)).await?;
                    anyhow::Ok((settled, held))
                })
                .buffered(usize::from(self.arguments.concurrency))
        );
        let mut stop = stop;
        let mut asked = async || match &mut stop {
            Some(stop) => stop.asked().await,
            None => std::future::pending().await,
        };
        let mut kept_at = Instant::now();
        loop {
            let next = tokio::select! {
                biased;
                () = asked() => {
                    // What has no answer may never have one.
                    if is_stopping.replace(true) || desk.server.is_away() {
                        return Ok(End::Stopped);
                    }
                    meter::say("stopping: what is on its way is waited for; Ctrl-C again ends at once");
                    continue;
                }
                next = settled.next() => next,
            };
            match next {
                None if is_whole.get() => return Ok(End::Whole),
                None => return Ok(End::Stopped),
                Some(Err(failure)) => return Ok(End::Failed(failure)),
                Some(Ok((batch, _held))) => note(&mut self.mark, kept.as_mut(), &self.name, &batch)?,
            }
            if let Some(kept) = kept
                && kept_at.elapsed() >= KEEP_EVERY
            {
                kept.keep(&mut self.mark)?;
                kept_at = Instant::now();
            }
            show(&self.mark);
        }
    }

    fn finish(self, kept: Option<Kept>, summary: &str) -> Result<Counts> {
        let (name, Counts { taken, refused }) = (self.name, self.mark.counts);
        match kept {
            None => println!(
                "{name}: {} rows are good, {} are bad; nothing was stored ({summary})",
                grouped(taken),
                grouped(refused)
            ),
            Some(Kept { progress, rejected }) => {
                progress.map(Progress::forget).transpose()?;
                println!(
                    "{name}: {} rows stored, {} refused ({summary})",
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
        Ok(self.mark.counts)
    }
}

impl Plan {
    fn begin(self, path: &Path, columns: Option<&[String]>, mark: &Mark) -> Result<Kept> {
        let rejected = Rejected::open(&self.rejected, columns, self.resumed)?;
        let progress = self
            .import
            .map(|import| Progress::begin(path, import, &self.rejected, mark.clone()));
        Ok(Kept {
            progress: progress.transpose()?,
            rejected,
        })
    }
}

impl Kept {
    /// Keeps the mark, once what it speaks of is on the disk.
    fn keep(&mut self, mark: &mut Mark) -> Result<()> {
        mark.rejected_bytes = self.rejected.sync()?;
        match &mut self.progress {
            Some(progress) => progress.keep(mark.clone()),
            None => Ok(()),
        }
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|cause| unusable(path, cause))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(unusable(path, "another import has it")),
        _ => Ok(file),
    }
}

/// What to add where names of columns look as if something else stood between them.
fn separated(separator: Option<char>, columns: &[String]) -> &'static str {
    let has_semicolons = columns.iter().any(|name| name.contains(';'));
    if separator == Some(',') && has_semicolons {
        "\n  is a semicolon what stands between the columns? then give --separator ';'"
    } else {
        ""
    }
}

/// The next rows with their records, and the room that they take; none at the end of the file. Waits until there is some.
async fn next_batch<'r>(
    rows: &mut Rows,
    recipe: &Recipe,
    room: &'r Semaphore,
) -> Result<Option<(Batch, SemaphorePermit<'r>)>> {
    let open = "nobody closes it";
    let mut held = room.acquire_many(BATCH_MIB).await.expect(open);
    let mut batch = Batch::default();
    while !batch.is_full() {
        let Some(row) = rows.next()? else { break };
        let record = recipe.make(&row);
        batch.push(row, record);
    }
    let needed = u32::try_from(batch.bytes.div_ceil(MIB))
        .unwrap_or(HELD_MIB)
        .clamp(1, HELD_MIB);
    if needed > BATCH_MIB {
        held.merge(room.acquire_many(needed - BATCH_MIB).await.expect(open));
    } else {
        drop(held.split((BATCH_MIB - needed) as usize));
    }
    Ok((!batch.rows.is_empty()).then_some((batch, held)))
}

/// Counts a batch, and writes down the rows of it that were refused.
fn note(mark: &mut Mark, kept: Option<&mut Kept>, name: &str, batch: &Settled) -> Result<()> {
    let refused = batch.refused.len() as u64;
    mark.counts.refused += refused;
    mark.counts.taken += batch.rows.len() as u64 - refused;
    if let Some(last) = batch.rows.last() {
        (mark.row, mark.end) = (last.number, last.end);
    }
    match kept {
        Some(kept) => {
            for (at, faults) in &batch.refused {
                kept.rejected.write(&batch.rows[*at], faults)?;
            }
        }
        None => {
            if !batch.refused.is_empty() {
                meter::clear();
            }
            for (at, faults) in &batch.refused {
                for fault in faults {
                    println!("{name}: row {}, {fault}", batch.rows[*at].number);
                }
            }
        }
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
    let mut written = path.as_os_str().to_owned();
    written.push(".mapping.yml");
    let written = PathBuf::from(written);
    mapping.write(&written)?;
    eprintln!("{} holds the answers: --mapping takes it.", written.display());
    Ok(mapping)
}
