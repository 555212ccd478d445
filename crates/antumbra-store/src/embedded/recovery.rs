//! Opening: nothing that was once on disk may be missing without a word.

use super::{COMMIT_KEY, journal, mark::Mark};
use crate::{EmbeddedConfig, OpenError, error::folder_failed};
use fjall::{
    CompressionType, Keyspace, KeyspaceCreateOptions,
    config::{BlockSizePolicy, CompressionPolicy, HashRatioPolicy, PartitioningPolicy, PinningPolicy},
};

/// The engine's own folder inside the data folder.
const TABLES: &str = "tables";
/// Where a damaged log goes when the operator decided to go on without it.
const DAMAGED: &str = "damaged";
/// Most bytes that gather in memory before they are written as a sorted file.
const MEMTABLE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a block: what one read of a row takes from the disk. With twice the engine's own four kilobytes its indexes
/// are half as long, and a row in memory is found more quickly.
const BLOCK_BYTES: u32 = 8 << 10;
/// Places for each row in the table at a block's end that says where the row begins.
const PLACES_PER_ROW: f32 = 1.33;

/// The engine, opened, with the last commit that it holds.
pub(super) struct Recovered {
    pub(super) db: fjall::Database,
    pub(super) rows: Keyspace,
    pub(super) committed: u64,
    pub(super) mark: Mark,
}

/// Compares log, tables and high-water mark, and opens the engine if nothing is missing, or if that was accepted.
pub(super) fn open(config: &EmbeddedConfig) -> Result<Recovered, OpenError> {
    let folder = &config.folder;
    let mark = match Mark::read(folder)? {
        // The mark is there before anything that it could speak of, so that its absence is a loss and not a beginning.
        None if !folder.join(TABLES).exists() => {
            Mark::set(folder, 0)?;
            Some(0)
        }
        None if !config.accept_truncated_log => {
            return Err(OpenError::MarkMissing { folder: folder.clone() });
        }
        None => {
            tracing::warn!("going on without the high-water mark of commits, as accepted");
            None
        }
        known => known,
    };
    check_log(config, mark)?;
    let failed = |doing| {
        move |source: fjall::Error| OpenError::Engine {
            doing,
            source: source.into(),
        }
    };
    let db = fjall::Database::builder(folder.join(TABLES))
        .cache_size(config.cache_bytes - config.cache_bytes / super::ROW_CACHE_PART)
        .max_journaling_size(config.journal_bytes.max(64 << 20))
        .worker_threads(std::thread::available_parallelism().map_or(1, usize::from))
        .open()
        .map_err(failed("opening the tables"))?;
    let rows = db.keyspace("rows", options).map_err(failed("opening the tables"))?;
    let found = rows.get(COMMIT_KEY).map_err(failed("reading the last commit"))?;
    let found = found.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?)));
    let committed = found.unwrap_or(0);
    let mark = match mark {
        Some(expected) if committed >= expected => Mark::at(folder, expected),
        expected => {
            if expected.is_some() {
                refuse(config, Some(committed), expected, None)?;
            }
            Mark::set(folder, committed)?
        }
    };
    Ok(Recovered {
        db,
        rows,
        committed,
        mark,
    })
}

/// How a new store lays out its rows; one that is there keeps the layout that it was made with.
fn options() -> KeyspaceCreateOptions {
    // What is sealed does not get any shorter.
    let as_it_is = CompressionPolicy::all(CompressionType::None);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES_MAX)
        .data_block_compression_policy(as_it_is)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .data_block_hash_ratio_policy(HashRatioPolicy::all(PLACES_PER_ROW))
        // Filters and indexes of every table stay in memory, each whole: two to three bytes a row. In the cache they would
        // go and come again with the data, and a filter of a table is a hundred times as large as a block.
        .filter_block_partitioning_policy(PartitioningPolicy::all(false))
        .index_block_partitioning_policy(PartitioningPolicy::all(false))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .index_block_pinning_policy(PinningPolicy::all(true))
}

/// Reads the log before the engine does, and cuts off a commit that was being written when everything stopped.
fn check_log(config: &EmbeddedConfig, mark: Option<u64>) -> Result<(), OpenError> {
    let tables = config.folder.join(TABLES);
    if !tables.exists() {
        return Ok(());
    }
    let log = journal::inspect(&tables).map_err(folder_failed("reading the log in", &tables))?;
    let Some(flaw) = log.flaw else {
        return Ok(());
    };
    let torn = flaw.kind == journal::FlawKind::TornTail;
    if torn && log.last_commit >= mark {
        tracing::info!(
            at_bytes = flaw.at,
            "cut off a commit that was never acknowledged from the end of the log"
        );
    } else {
        // With no commit in the log at all, only the tables can tell whether the mark is reached: that is seen later.
        if !(torn && log.last_commit.is_none()) {
            let reached = flaw.reached().max(mark);
            let place = format!("byte {} of {}", flaw.at, flaw.file.display());
            refuse(config, log.last_commit, reached, Some(place))?;
        }
        let aside = config.folder.join(DAMAGED);
        journal::set_aside(&flaw, &tables, &aside).map_err(folder_failed("setting aside the log in", &tables))?;
    }
    journal::cut(&flaw).map_err(folder_failed("shortening", &flaw.file))
}

/// Refuses unless the operator has accepted the loss.
fn refuse(
    config: &EmbeddedConfig,
    found: Option<u64>,
    expected: Option<u64>,
    place: Option<String>,
) -> Result<(), OpenError> {
    if config.accept_truncated_log {
        tracing::warn!(
            found,
            expected,
            "going on without commits that were once on disk, as accepted"
        );
        return Ok(());
    }
    Err(OpenError::LogTruncated {
        folder: config.folder.clone(),
        found,
        expected,
        place,
    })
}
