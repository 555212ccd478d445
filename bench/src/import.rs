//! `antumbra-bench import`: a CSV brought in by `antumbra preferences import`.
//!
//! The limit is measured in the same run: the same records, upserted by a client that costs next to nothing, from ready
//! bodies, over as many connections as the import makes calls at once.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    load::{BATCH, Until, load},
    preferences::House,
    startup::resident_bytes,
    table::{Row, print},
};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to write. Emptied first.
    #[arg(long, default_value = "target/bench-import")]
    folder: PathBuf,
    /// The executable, as it is released
    #[arg(long, default_value = "target/release/antumbra")]
    executable: PathBuf,
    /// Rows of the file
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Calls at once
    #[arg(long, default_value_t = 16)]
    concurrency: u64,
}

/// Part of the limit that the import shall reach: reading the file, and a client that looks at what it is answered, share
/// the cores with the server.
const PART: f64 = 0.7;

/// What an import may hold, however long the file.
const MEMORY_MIB: f64 = 128.0;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.folder.exists() {
        std::fs::remove_dir_all(&arguments.folder).context("emptying the folder")?;
    }
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
    };
    let (server, clients) = (runtime()?, runtime()?);
    let file = arguments.folder.join("people.csv");

    // Each on a store of its own: both write people who are new.
    let house = server.block_on(House::open(&arguments.folder.join("raw")))?;
    let raw = clients.block_on(raw(arguments, &house))?;
    server.block_on(house.close());

    write_file(&file, arguments.rows)?;
    let house = server.block_on(House::open(&arguments.folder.join("imported")))?;
    let imported = import(arguments, &house, &file)?;
    server.block_on(house.close());

    let title = format!(
        "import of {} rows, 100 a call x {}",
        arguments.rows, arguments.concurrency
    );
    print(
        &title,
        &[
            Row::at_least(
                "rows of CSV, beside raw batches of the same",
                imported.per_second,
                raw,
                PART,
                "1/s",
            ),
            Row::at_most("memory of the import at most", imported.most_mib, MEMORY_MIB, "MiB"),
        ],
    );
    std::fs::remove_dir_all(&arguments.folder).context("removing the folder")
}

async fn raw(arguments: &Arguments, house: &House) -> Result<f64> {
    let url = house.caller.url.clone();
    let caller = house.caller.clone();
    let make = move |call: u64| caller.upsert(call * BATCH..(call + 1) * BATCH, 0);
    let run = load(&url, arguments.concurrency, Until::Calls(arguments.rows / BATCH), make).await?;
    Ok(run.per_second * BATCH as f64)
}

/// The people whom [`Caller::upsert`](crate::load::Caller::upsert) tells of.
fn write_file(path: &PathBuf, rows: u64) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "email,timestamp,Advertising,Analytics,Functional,usp")?;
    for person in 0..rows {
        let enabled = person.is_multiple_of(2);
        writeln!(
            file,
            "person-{person}@example.test,2026-02-03T09:00:00.000Z,{enabled},true,{enabled},1YYN"
        )?;
    }
    file.flush().context("writing the file")
}

struct Imported {
    per_second: f64,
    most_mib: f64,
}

fn import(arguments: &Arguments, house: &House, file: &PathBuf) -> Result<Imported> {
    let begun = Instant::now();
    let mut process = Command::new(&arguments.executable)
        .args(["preferences", "import", "--partition", &house.caller.partition])
        .args([
            "--concurrency",
            &arguments.concurrency.to_string(),
            "--skip-workflow-triggers",
        ])
        .arg(file)
        .env("ANTUMBRA_URL", &house.caller.url)
        .env("ANTUMBRA_KEY", &house.caller.key)
        .stdin(Stdio::null())
        .spawn()
        .context("starting the import")?;
    let mut most = 0;
    let status = loop {
        if let Some(status) = process.try_wait()? {
            break status;
        }
        // A process that has just ended has no memory to count.
        most = most.max(resident_bytes(process.id()).unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    ensure!(status.success(), "the import ended with {status}");
    Ok(Imported {
        per_second: arguments.rows as f64 / begun.elapsed().as_secs_f64(),
        most_mib: most as f64 / f64::from(1 << 20),
    })
}
