//! Bad days of the embedded engine: killed, damaged, out of disk, opened twice. Nothing acknowledged is lost, and nothing
//! is lost in silence.

use antumbra_store::{EmbeddedConfig, OpenError, Raw, Scan, Store, StoreConfig, StoreError, Table};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

const ROWS: Table<u64, Raw> = Table::new("rows");
/// Where a child process of a test finds its folder.
const CHILD_FOLDER: &str = "ANTUMBRA_TEST_CHILD_FOLDER";

fn config(folder: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        cache_bytes: 8 << 20,
        ..EmbeddedConfig::new(folder)
    }
}

async fn open(folder: &Path) -> Result<Store, OpenError> {
    Store::open(StoreConfig::Embedded(config(folder)), &[ROWS.name()]).await
}

async fn open_accepting_loss(folder: &Path) -> Result<Store, OpenError> {
    let config = EmbeddedConfig {
        accept_truncated_log: true,
        ..config(folder)
    };
    Store::open(StoreConfig::Embedded(config), &[ROWS.name()]).await
}

async fn put(store: &Store, number: u64) -> Result<(), StoreError> {
    let mut tx = store.begin_write().await?;
    tx.put(&ROWS, &number, &Raw(vec![number as u8 | 1; 160]));
    tx.commit().await
}

async fn rows(store: &Store) -> BTreeSet<u64> {
    let rows = store
        .begin_read()
        .await
        .unwrap()
        .scan(&ROWS, Scan::prefix(&()))
        .await
        .unwrap();
    rows.into_iter().map(|(number, _)| number).collect()
}

/// Copies a folder; of a log only what was ever written, for it is laid out in advance.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (source, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if source.is_dir() {
            copy(&source, &target);
            continue;
        }
        let mut bytes = std::fs::read(&source).unwrap();
        if source.extension().is_some_and(|end| end == "jnl") {
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        }
        std::fs::write(target, bytes).unwrap();
    }
}

/// The newest file of the log, and how many bytes of it were ever written.
fn log_of(folder: &Path) -> (PathBuf, usize) {
    let files = std::fs::read_dir(folder.join("tables"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let newest = files
        .filter(|path| path.extension().is_some_and(|end| end == "jnl"))
        .max()
        .unwrap();
    let bytes = std::fs::read(&newest).unwrap();
    (
        newest,
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
    )
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    change(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

/// The folder as a crash would leave it: a copy taken while the store is open, after commits `1..=count`, of which the mark
/// knows the first alone, however long the others took.
async fn crashed_after(count: u64) -> tempfile::TempDir {
    let (live, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(live.path()).await.unwrap();
    put(&store, 1).await.unwrap();
    let mark = std::fs::read(live.path().join("commit-mark")).unwrap();
    for number in 2..=count {
        put(&store, number).await.unwrap();
    }
    copy(live.path(), image.path());
    std::fs::write(image.path().join("commit-mark"), mark).unwrap();
    store.close().await;
    image
}

#[tokio::test]
async fn a_flipped_byte_inside_the_log_is_refused_and_the_log_is_left_as_it_was() {
    let image = crashed_after(60).await;
    let (log, written) = log_of(image.path());
    // Not in the last commit: that cannot be told from one that was cut short, until the mark knows of it.
    for place in (1..20).map(|part| written * part / 21) {
        let damaged = tempfile::tempdir().unwrap();
        copy(image.path(), damaged.path());
        let log = damaged.path().join("tables").join(log.file_name().unwrap());
        change(&log, |bytes| bytes[place] ^= 0x40);
        let before = std::fs::read(&log).unwrap();

        let refused = open(damaged.path()).await.err().unwrap();
        let OpenError::LogTruncated {
            found,
            expected: Some(60),
            place: Some(_),
            ..
        } = &refused
        else {
            panic!("byte {place}: {refused}");
        };
        assert!(found.unwrap_or(0) < 60);
        assert!(
            refused.to_string().contains("accept_truncated_log"),
            "the way out is named"
        );
        assert_eq!(
            std::fs::read(&log).unwrap(),
            before,
            "what lies beyond the damage can still be rescued"
        );

        let found = found.unwrap_or(0);
        let store = open_accepting_loss(damaged.path()).await.unwrap();
        assert_eq!(
            rows(&store).await,
            (1..=found).collect(),
            "what came before the damage is kept"
        );
        put(&store, 100).await.unwrap();
        store.close().await;
        assert!(damaged.path().join("damaged").join(log.file_name().unwrap()).exists());
        let store = open(damaged.path()).await.unwrap();
        assert_eq!(rows(&store).await, (1..=found).chain([100]).collect());
    }
}

#[tokio::test]
async fn a_commit_torn_by_a_crash_is_cut_off_and_all_before_it_is_kept() {
    let image = crashed_after(30).await;
    let (log, written) = log_of(image.path());
    for torn in [1, 4, 5, 20, 100, 180] {
        // A write reaches the disk in any order, so either end of the commit may be missing.
        let late = |bytes: &mut Vec<u8>| bytes[written - torn..].fill(0);
        let early = |bytes: &mut Vec<u8>| bytes[written - 190..written - 190 + torn].fill(0);
        let short = |bytes: &mut Vec<u8>| bytes.truncate(written - torn);
        for tear in [&late as &dyn Fn(&mut Vec<u8>), &early, &short] {
            let damaged = tempfile::tempdir().unwrap();
            copy(image.path(), damaged.path());
            change(&damaged.path().join("tables").join(log.file_name().unwrap()), tear);
            let store = open(damaged.path()).await.unwrap();
            assert_eq!(rows(&store).await, (1..=29).collect(), "torn by {torn}");
            put(&store, 30).await.unwrap();
            drop(store);
            assert_eq!(rows(&open(damaged.path()).await.unwrap()).await, (1..=30).collect());
        }
    }
}

#[tokio::test]
async fn a_log_that_ends_before_the_high_water_mark_is_refused_with_both_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for number in 1..=10 {
        put(&store, number).await.unwrap();
    }
    let (log, written) = log_of(folder.path());
    for number in 11..=15 {
        put(&store, number).await.unwrap();
    }
    store.close().await;
    change(&log, |bytes| bytes.truncate(written));

    let refused = open(folder.path()).await.err().unwrap();
    assert!(
        matches!(
            refused,
            OpenError::LogTruncated {
                found: Some(10),
                expected: Some(15),
                ..
            }
        ),
        "{refused}"
    );
    assert!(open(folder.path()).await.is_err(), "asking again changes nothing");
    let store = open_accepting_loss(folder.path()).await.unwrap();
    assert_eq!(rows(&store).await, (1..=10).collect());
    store.close().await;
    assert!(open(folder.path()).await.is_ok(), "the loss is accepted once");
}

#[tokio::test]
async fn a_flipped_byte_in_the_last_commit_is_refused_once_the_mark_knows_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    for number in 1..=5 {
        put(&store, number).await.unwrap();
    }
    store.close().await;
    let (log, written) = log_of(folder.path());
    change(&log, |bytes| bytes[written - 100] ^= 1);
    let refused = open(folder.path()).await.err().unwrap();
    assert!(
        matches!(
            refused,
            OpenError::LogTruncated {
                found: Some(4),
                expected: Some(5),
                ..
            }
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn a_lost_log_and_an_unreadable_mark_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    put(&store, 1).await.unwrap();
    store.close().await;
    let mark = folder.path().join("commit-mark");
    assert_eq!(std::fs::read_to_string(&mark).unwrap(), "1\n");
    std::fs::write(&mark, "one").unwrap();
    assert!(matches!(open(folder.path()).await, Err(OpenError::Folder { .. })));
    std::fs::write(&mark, "1\n").unwrap();
    std::fs::remove_file(log_of(folder.path()).0).unwrap();
    let refused = open(folder.path()).await.err().unwrap();
    assert!(
        matches!(refused, OpenError::LogTruncated { expected: Some(1), .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn a_commit_that_was_acknowledged_first_of_all_cannot_be_lost_without_a_word() {
    // Two openings: the first commit of a store, and the first after it was opened again.
    for before in [0, 3] {
        let (live, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = open(live.path()).await.unwrap();
        for number in 0..before {
            put(&store, number).await.unwrap();
        }
        store.close().await;
        let (log, written) = log_of(live.path());
        let store = open(live.path()).await.unwrap();
        put(&store, before).await.unwrap();
        // What a crash in this very moment leaves, long before the mark would follow by itself.
        copy(live.path(), image.path());
        store.close().await;

        let log = image.path().join("tables").join(log.file_name().unwrap());
        change(&log, |bytes| bytes.truncate(written));
        let refused = open(image.path()).await.err().unwrap();
        let OpenError::LogTruncated {
            found,
            expected: Some(expected),
            ..
        } = &refused
        else {
            panic!("{refused}")
        };
        assert_eq!((found.unwrap_or(0), *expected), (before, before + 1));
    }
}

#[tokio::test]
async fn a_store_without_its_mark_is_refused_unless_that_is_accepted() {
    let image = crashed_after(3).await;
    std::fs::remove_file(image.path().join("commit-mark")).unwrap();
    for _ in 0..2 {
        let refused = open(image.path()).await.err().unwrap();
        assert!(matches!(refused, OpenError::MarkMissing { .. }), "{refused}");
        assert!(
            refused.to_string().contains("accept_truncated_log"),
            "the way out is named"
        );
    }
    let store = open_accepting_loss(image.path()).await.unwrap();
    assert_eq!(rows(&store).await, (1..=3).collect());
    store.close().await;
    assert!(open(image.path()).await.is_ok(), "accepted once, it is kept again");
}

#[tokio::test]
async fn a_process_that_dies_before_its_first_commit_leaves_a_folder_that_opens() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("commit-mark.tmp"), "").unwrap();
    assert!(open(folder.path()).await.is_ok(), "before the mark was whole");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("commit-mark"), "0\n").unwrap();
    assert!(open(folder.path()).await.is_ok(), "before the tables were made");
}

#[tokio::test]
async fn a_folder_that_is_in_use_is_refused_at_once_and_its_holder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let began = std::time::Instant::now();
    let refused = open(folder.path()).await.err().unwrap();
    assert!(began.elapsed() < Duration::from_millis(200));
    let OpenError::InUse {
        holder: Some(holder), ..
    } = &refused
    else {
        panic!("{refused}")
    };
    assert_eq!(*holder, std::process::id().to_string());
    store.close().await;
    assert!(open(folder.path()).await.is_ok());
}

#[tokio::test]
async fn what_was_open_when_the_store_closed_can_no_longer_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let mut tx = store.begin_write().await.unwrap();
    tx.put(&ROWS, &1, &Raw(vec![]));
    store.clone().close().await;
    assert!(matches!(tx.commit().await, Err(StoreError::Stopped { .. })));
    assert!(rows(&store).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_loses_nothing_that_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..6u64 {
        let mut child = child("child_that_commits_until_it_is_killed", folder.path())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Killed after so many acknowledgements, wherever the committer is by then.
        for line in lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("acked ")?.parse().ok())
        {
            acknowledged.insert(line);
            if acknowledged.len() as u64 == (round + 1) * 70 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = open(folder.path()).await.unwrap();
        let found = rows(&store).await;
        assert!(
            acknowledged.is_subset(&found),
            "round {round}: {:?}",
            acknowledged.difference(&found)
        );
        drop(store);
    }
    assert!(acknowledged.len() >= 420);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_commits_until_it_is_killed() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder)).await.unwrap();
    let first = rows(&store).await.last().map_or(0, |last| last + 1);
    let workers = (0..8).map(|worker| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (first + worker..).step_by(8) {
                put(&store, number).await.unwrap();
                println!("acked {number}");
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

#[tokio::test]
async fn a_write_that_fails_stops_writing_for_good_and_reading_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    put(&store, 0).await.unwrap();
    store.close().await;
    // A limit on the size of files stands in for a disk that refuses: the log reaches it in the middle of a commit.
    let limited = child("child_whose_disk_refuses", folder.path());
    let script = "trap '' XFSZ; ulimit -f 256; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(limited.get_program())
        .args(limited.get_args())
        .env(CHILD_FOLDER, folder.path());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let acknowledged = text
        .lines()
        .filter_map(|line| line.strip_prefix("acked ")?.parse().ok());
    let acknowledged: BTreeSet<u64> = acknowledged.collect();
    assert!(acknowledged.len() > 10, "{text}");

    let store = open(folder.path()).await.unwrap();
    assert!(acknowledged.is_subset(&rows(&store).await));
    put(&store, 1_000_000).await.unwrap();
}

#[tokio::test]
async fn child_whose_disk_refuses() {
    let Some(folder) = std::env::var_os(CHILD_FOLDER) else {
        return;
    };
    let store = open(Path::new(&folder)).await.unwrap();
    let mut before = store.begin_write().await.unwrap();
    let mut number = 1;
    let refused = loop {
        match put(&store, number).await {
            Ok(()) => println!("acked {number}"),
            Err(refused) => break refused,
        }
        number += 1;
    };
    assert!(matches!(refused, StoreError::Stopped { .. }), "{refused}");
    assert!(
        matches!(store.begin_write().await.err(), Some(StoreError::Stopped { .. })),
        "no later transaction begins"
    );
    before.put(&ROWS, &0, &Raw(vec![]));
    assert!(
        matches!(before.commit().await, Err(StoreError::Stopped { .. })),
        "none that had begun commits"
    );
    assert!(store.stats().stopped);
    assert_eq!(
        rows(&store).await.len() as u64,
        number,
        "reading goes on, and sees what was acknowledged"
    );
}

/// This test program again, running one test, which plays the part of another process.
fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("recovery::{test}"),
        "--nocapture",
        "--test-threads=1",
    ]);
    command.env(CHILD_FOLDER, folder).stdout(Stdio::piped());
    command
}
