//! What the rest of the program expects of a storage engine, as checks that can be run against any of them.
//!
//! `antumbra store check URL` runs them against the operator's own database; the tests of this crate run them against
//! both engines. Each check works in two tables of its own, `conformance_rows` and `conformance_marks`, which are left
//! behind empty. Durability is not checked here: that takes killing the engine.

use crate::{OpenError, Raw, Scan, Store, StoreConfig, StoreError, Table, Tx};
use futures_util::{
    FutureExt,
    future::{BoxFuture, join, join_all},
};
use std::{fmt, ops::Bound, time::Instant};

const ROWS: Table<(u8, Vec<u8>), Raw> = Table::new("conformance_rows");
const MARKS: Table<u64, ()> = Table::new("conformance_marks");

/// The tables that the checks work in.
pub const TABLES: [&str; 2] = [ROWS.name(), MARKS.name()];

/// What came of every check.
#[derive(Debug)]
pub struct Report {
    /// In the order in which they ran.
    pub checks: Vec<Check>,
}

/// What came of one check.
#[derive(Debug)]
pub struct Check {
    /// The rule that was checked.
    pub rule: &'static str,
    /// What was seen instead, if the rule was broken.
    pub outcome: Result<(), String>,
    /// How long it took.
    pub took: std::time::Duration,
}

impl Report {
    /// Whether every rule was kept.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.outcome.is_ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Check { rule, outcome, took } in &self.checks {
            match outcome {
                Ok(()) => writeln!(f, "kept    {:>6} ms  {rule}", took.as_millis())?,
                Err(seen) => writeln!(f, "BROKEN  {:>6} ms  {rule}: {seen}", took.as_millis())?,
            }
        }
        let broken = self.checks.iter().filter(|check| check.outcome.is_err()).count();
        write!(f, "{} rules checked, {broken} broken", self.checks.len())
    }
}

/// Opens a store and checks it.
pub async fn run(config: StoreConfig) -> Result<Report, OpenError> {
    let store = Store::open(config, &TABLES).await?;
    let report = check(&store).await;
    store.close().await;
    Ok(report)
}

/// Checks a store that was opened with [`TABLES`] among its tables.
pub async fn check(store: &Store) -> Report {
    let mut checks = Vec::new();
    for (rule, check) in RULES {
        let began = Instant::now();
        let outcome = match empty(store).await {
            Ok(()) => check(store).await,
            Err(error) => Err(error),
        };
        let outcome = outcome.map_err(|Broken(seen)| seen);
        checks.push(Check {
            rule,
            outcome,
            took: began.elapsed(),
        });
    }
    if let Err(Broken(seen)) = empty(store).await {
        checks.push(Check {
            rule: "the tables can be emptied",
            outcome: Err(seen),
            took: Default::default(),
        });
    }
    Report { checks }
}

type Rule = (&'static str, for<'a> fn(&'a Store) -> BoxFuture<'a, Outcome>);
type Outcome = Result<(), Broken>;

/// What was seen instead of what the rule says.
struct Broken(String);

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        let cause = std::error::Error::source(&error)
            .map(|cause| format!(" ({cause})"))
            .unwrap_or_default();
        Broken(format!("{error}{cause}"))
    }
}

const RULES: [Rule; 15] = [
    (
        "a row is read back as it was written, and is gone once deleted",
        |store| rows_come_back(store).boxed(),
    ),
    ("rows come in the order of the bytes of their keys", |store| {
        keys_are_ordered(store).boxed()
    }),
    ("pages in both directions add up to the whole", |store| {
        pages_add_up(store).boxed()
    }),
    (
        "many rows are found at once, in the order they were asked for",
        |store| many_are_found(store).boxed(),
    ),
    ("a transaction sees its own writes", |store| {
        own_writes_are_seen(store).boxed()
    }),
    ("a transaction that is not committed leaves nothing", |store| {
        dropped_leaves_nothing(store).boxed()
    }),
    ("a reader sees one moment, and a commit as a whole", |store| {
        snapshots_hold(store).boxed()
    }),
    ("readers with one stamp see the same rows", |store| {
        stamps_tell_apart(store).boxed()
    }),
    (
        "of two transactions that read a row and change it, one is refused",
        |store| lost_update(store).boxed(),
    ),
    (
        "of two transactions that read what the other writes, one is refused",
        |store| write_skew(store).boxed(),
    ),
    (
        "of two transactions that find a range empty and fill it, one is refused",
        |store| phantom(store).boxed(),
    ),
    (
        "what is taken from one row and given to another is never seen halfway",
        |store| transfers(store).boxed(),
    ),
    ("writers of different rows do not refuse each other", |store| {
        strangers(store).boxed()
    }),
    ("a value of 8 MiB and a key of 2,000 bytes are kept whole", |store| {
        large_rows(store).boxed()
    }),
    ("a transaction may write 5,000 rows, and delete them", |store| {
        many_rows(store).boxed()
    }),
];

async fn rows_come_back(store: &Store) -> Outcome {
    let values = [vec![], vec![0], vec![0xFF; 3], (0..=255).collect::<Vec<u8>>()];
    let mut tx = store.begin_write().await?;
    for (name, value) in (0..).zip(&values) {
        tx.put(&ROWS, &row(1, &[name]), &Raw(value.clone()));
    }
    tx.commit().await?;
    let mut tx = store.begin_write().await?;
    for (name, value) in (0..).zip(&values) {
        expect(
            "a value",
            tx.get(&ROWS, &row(1, &[name])).await?,
            Some(Raw(value.clone())),
        )?;
    }
    tx.delete(&ROWS, &row(1, &[0]));
    tx.delete(&ROWS, &row(1, &[9]));
    tx.put(&ROWS, &row(1, &[1]), &Raw(b"new".into()));
    tx.commit().await?;
    let mut reader = store.begin_read().await?;
    expect("the deleted row", reader.get(&ROWS, &row(1, &[0])).await?, None)?;
    expect(
        "the changed row",
        reader.get(&ROWS, &row(1, &[1])).await?,
        Some(Raw(b"new".into())),
    )
}

async fn keys_are_ordered(store: &Store) -> Outcome {
    let mut names: Vec<&[u8]> = vec![
        b"", b"\0", b"\0\0", b"\0\xFF", b"\x01", b"a", b"a\0", b"a\0b", b"aa", b"b", b"\x7F", b"\x80", b"\xFF",
    ];
    fill(store, 1, &names).await?;
    names.sort_unstable();
    let mut reader = store.begin_read().await?;
    expect(
        "ascending",
        scan(&mut reader, Scan::prefix(&(1u8,))).await?,
        owned(&names),
    )?;
    names.reverse();
    expect(
        "descending",
        scan(&mut reader, Scan::prefix(&(1u8,)).newest_first()).await?,
        owned(&names),
    )
}

async fn pages_add_up(store: &Store) -> Outcome {
    let names: Vec<[u8; 1]> = (0..50u8).map(|name| [name]).collect();
    let names: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
    for group in 0..3 {
        fill(store, group, &names).await?;
    }
    let mut reader = store.begin_read().await?;
    for descending in [false, true] {
        let mut found: Vec<Vec<u8>> = Vec::new();
        loop {
            let mut page = Scan::prefix(&(1u8,)).limit(7);
            if descending {
                page = page.newest_first();
            }
            if let Some(last) = found.last() {
                page = page.after(&row(1, last));
            }
            let rows = scan(&mut reader, page).await?;
            if rows.is_empty() {
                break;
            }
            found.extend(rows);
        }
        if descending {
            found.reverse();
        }
        expect("all the pages", found, owned(&names))?;
    }
    let (from, to) = (row(1, &[10]), row(1, &[13]));
    let between = Scan::range(Bound::Included(&from), Bound::Excluded(&to));
    expect("a range", scan(&mut reader, between).await?, owned(&names[10..13]))?;
    let beyond = Scan::range(Bound::Excluded(&from), Bound::Included(&to));
    expect("a range", scan(&mut reader, beyond).await?, owned(&names[11..14]))?;
    expect(
        "an empty range",
        scan(&mut reader, Scan::prefix(&(3u8,))).await?,
        vec![],
    )
}

async fn many_are_found(store: &Store) -> Outcome {
    fill(store, 1, &[b"a", b"b"]).await?;
    let asked: Vec<(u8, Vec<u8>)> = [b"b", b"x", b"a", b"b"].iter().map(|name| row(1, &name[..])).collect();
    let mut reader = store.begin_read().await?;
    let found = reader.get_many(&ROWS, &asked).await?;
    expect(
        "the rows",
        found,
        [Some("b"), None, Some("a"), Some("b")]
            .map(|name| Some(Raw(name?.into())))
            .to_vec(),
    )?;
    expect("no rows", reader.get_many(&ROWS, &[]).await?, vec![])
}

async fn own_writes_are_seen(store: &Store) -> Outcome {
    fill(store, 1, &[b"a", b"b", b"c", b"d"]).await?;
    let mut tx = store.begin_write().await?;
    tx.delete(&ROWS, &row(1, b"b"));
    tx.put(&ROWS, &row(1, b"bb"), &Raw(b"own".into()));
    tx.put(&ROWS, &row(1, b"c"), &Raw(b"own".into()));
    expect("a deleted row", tx.get(&ROWS, &row(1, b"b")).await?, None)?;
    let many = tx.get_many(&ROWS, &[row(1, b"c"), row(1, b"b"), row(1, b"d")]).await?;
    expect(
        "many rows",
        many,
        vec![Some(Raw(b"own".into())), None, Some(Raw(b"d".into()))],
    )?;
    let all = Scan::prefix(&(1u8,));
    expect(
        "a scan",
        scan(&mut tx, all.clone()).await?,
        owned(&[b"a", b"bb", b"c", b"d"]),
    )?;
    expect(
        "a short scan",
        scan(&mut tx, all.clone().limit(2)).await?,
        owned(&[b"a", b"bb"]),
    )?;
    expect(
        "a descending scan",
        scan(&mut tx, all.newest_first().limit(3)).await?,
        owned(&[b"d", b"c", b"bb"]),
    )
}

async fn dropped_leaves_nothing(store: &Store) -> Outcome {
    let mut tx = store.begin_write().await?;
    expect("the row before", tx.get(&MARKS, &1).await?, None)?;
    tx.put(&MARKS, &1, &());
    drop(tx);
    let mut reader = store.begin_read().await?;
    expect("the row after", reader.get(&MARKS, &1).await?, None)
}

async fn snapshots_hold(store: &Store) -> Outcome {
    let mut before = store.begin_read().await?;
    expect("a row before the commit", before.get(&MARKS, &1).await?, None)?;
    let mut tx = store.begin_write().await?;
    tx.put(&MARKS, &2, &());
    tx.put(&ROWS, &row(1, b"a"), &Raw(vec![]));
    tx.commit().await?;
    expect("a row of a later commit", before.get(&MARKS, &2).await?, None)?;
    expect(
        "rows of a later commit",
        scan(&mut before, Scan::prefix(&())).await?,
        vec![],
    )?;
    let mut after = store.begin_read().await?;
    expect("one half of the commit", after.get(&MARKS, &2).await?, Some(()))?;
    expect(
        "the other half",
        after.get(&ROWS, &row(1, b"a")).await?,
        Some(Raw(vec![])),
    )
}

async fn stamps_tell_apart(store: &Store) -> Outcome {
    let before = store.begin_read().await?.stamp();
    let again = store.begin_read().await?.stamp();
    expect("the stamp with nothing written between", again, before)?;
    let mut tx = store.begin_write().await?;
    tx.put(&MARKS, &1, &());
    expect("the stamp of a transaction", tx.stamp(), None)?;
    tx.commit().await?;
    let after = store.begin_read().await?.stamp();
    expect(
        "one stamp before and after a write",
        after.is_some() && after == before,
        false,
    )
}

async fn lost_update(store: &Store) -> Outcome {
    fill(store, 1, &[b"count"]).await?;
    let (mut one, mut other) = (store.begin_write().await?, store.begin_write().await?);
    for (tx, value) in [(&mut one, b"one"), (&mut other, b"two")] {
        tx.get(&ROWS, &row(1, b"count")).await?;
        tx.put(&ROWS, &row(1, b"count"), &Raw(value.into()));
    }
    one_is_refused(one, other).await
}

async fn write_skew(store: &Store) -> Outcome {
    let (mut one, mut other) = (store.begin_write().await?, store.begin_write().await?);
    one.get(&MARKS, &1).await?;
    other.get(&MARKS, &2).await?;
    one.put(&MARKS, &2, &());
    other.put(&MARKS, &1, &());
    one_is_refused(one, other).await
}

async fn phantom(store: &Store) -> Outcome {
    fill(store, 1, &[b"a", b"z"]).await?;
    let (mut one, mut other) = (store.begin_write().await?, store.begin_write().await?);
    for (tx, name) in [(&mut one, b"k"), (&mut other, b"m")] {
        let (from, to) = (row(1, b"a"), row(1, b"z"));
        let between = Scan::range(Bound::Excluded(&from), Bound::Excluded(&to));
        expect("rows between", scan(tx, between).await?, vec![])?;
        tx.put(&ROWS, &row(1, name), &Raw(vec![]));
    }
    one_is_refused(one, other).await
}

const ACCOUNTS: u8 = 6;

async fn transfers(store: &Store) -> Outcome {
    let mut tx = store.begin_write().await?;
    for account in 0..ACCOUNTS {
        tx.put(&ROWS, &row(1, &[account]), &Raw(vec![100]));
    }
    tx.commit().await?;
    join_all((0..4).map(|worker| transfer_and_look(store, worker)))
        .await
        .into_iter()
        .collect()
}

async fn transfer_and_look(store: &Store, worker: u8) -> Outcome {
    for round in 0..20u8 {
        let (from, to) = (
            worker.wrapping_add(round) % ACCOUNTS,
            worker.wrapping_add(round * 3 + 1) % ACCOUNTS,
        );
        if from != to {
            transfer(store, from, to).await?;
        }
        let mut reader = store.begin_read().await?;
        let rows = reader.scan(&ROWS, Scan::prefix(&(1u8,))).await?;
        let sum: u64 = rows.iter().map(|(_, Raw(bytes))| u64::from(bytes[0])).sum();
        expect("the sum", sum, u64::from(ACCOUNTS) * 100)?;
    }
    Ok(())
}

/// Runs the transaction again for as long as others are faster, as its callers do.
async fn transfer(store: &Store, from: u8, to: u8) -> Outcome {
    for _ in 0..1_000 {
        match try_transfer(store, from, to).await {
            Err(StoreError::Conflict) => tokio::task::yield_now().await,
            outcome => return Ok(outcome?),
        }
    }
    Err(Broken("a transaction was refused 1,000 times in a row".into()))
}

async fn try_transfer(store: &Store, from: u8, to: u8) -> Result<(), StoreError> {
    let mut tx = store.begin_write().await?;
    let found = tx.get_many(&ROWS, &[row(1, &[from]), row(1, &[to])]).await?;
    let balances: Vec<u8> = found.into_iter().flatten().map(|Raw(bytes)| bytes[0]).collect();
    tx.put(&ROWS, &row(1, &[from]), &Raw(vec![balances[0].wrapping_sub(1)]));
    tx.put(&ROWS, &row(1, &[to]), &Raw(vec![balances[1].wrapping_add(1)]));
    tx.commit().await
}

async fn strangers(store: &Store) -> Outcome {
    let write = async |name: u64| -> Outcome {
        let mut tx = store.begin_write().await?;
        tx.put(&MARKS, &name, &());
        Ok(tx.commit().await?)
    };
    join_all((0..8).map(write)).await.into_iter().collect::<Outcome>()?;
    let mut reader = store.begin_read().await?;
    let found: Vec<(u64, ())> = reader.scan(&MARKS, Scan::prefix(&())).await?;
    expect("the rows", found, (0..8).map(|name| (name, ())).collect())
}

async fn large_rows(store: &Store) -> Outcome {
    let (value, name) = (
        Raw((0..8 << 20).map(|i: u32| (i % 253) as u8).collect()),
        vec![7u8; 1_997],
    );
    let mut tx = store.begin_write().await?;
    tx.put(&ROWS, &row(1, &name), &value);
    tx.commit().await?;
    let mut reader = store.begin_read().await?;
    let found = reader.get(&ROWS, &row(1, &name)).await?;
    if found.as_ref() == Some(&value) {
        Ok(())
    } else {
        Err(Broken("it came back changed".into()))
    }
}

async fn many_rows(store: &Store) -> Outcome {
    let mut tx = store.begin_write().await?;
    (0..5_000u64).for_each(|name| tx.put(&MARKS, &name, &()));
    tx.commit().await?;
    let mut tx = store.begin_write().await?;
    expect("rows", tx.scan(&MARKS, Scan::prefix(&())).await?.len(), 5_000)?;
    (0..5_000u64).for_each(|name| tx.delete(&MARKS, &name));
    tx.commit().await?;
    let mut reader = store.begin_read().await?;
    expect("rows left", reader.scan(&MARKS, Scan::prefix(&())).await?.len(), 0)
}

async fn one_is_refused(one: Tx, other: Tx) -> Outcome {
    match join(one.commit(), other.commit()).await {
        (Ok(()), Err(StoreError::Conflict)) | (Err(StoreError::Conflict), Ok(())) => Ok(()),
        (Ok(()), Ok(())) => Err(Broken("both were accepted".into())),
        (Err(StoreError::Conflict), Err(StoreError::Conflict)) => Err(Broken("both were refused".into())),
        (Err(error), _) | (_, Err(error)) => Err(error.into()),
    }
}

async fn empty(store: &Store) -> Outcome {
    let mut tx = store.begin_write().await?;
    for (key, _) in tx.scan(&ROWS, Scan::prefix(&())).await? {
        tx.delete(&ROWS, &key);
    }
    for (key, ()) in tx.scan(&MARKS, Scan::prefix(&())).await? {
        tx.delete(&MARKS, &key);
    }
    Ok(tx.commit().await?)
}

async fn fill(store: &Store, group: u8, names: &[&[u8]]) -> Outcome {
    let mut tx = store.begin_write().await?;
    for name in names {
        tx.put(&ROWS, &row(group, name), &Raw(name.to_vec()));
    }
    Ok(tx.commit().await?)
}

async fn scan(reader: &mut crate::Reader, scan: Scan) -> Result<Vec<Vec<u8>>, StoreError> {
    Ok(reader
        .scan(&ROWS, scan)
        .await?
        .into_iter()
        .map(|((_, name), _)| name)
        .collect())
}

fn row(group: u8, name: &[u8]) -> (u8, Vec<u8>) {
    (group, name.to_vec())
}

fn owned(names: &[&[u8]]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.to_vec()).collect()
}

fn expect<T: PartialEq + fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(Broken(format!("{what}: expected {expected:?}, found {found:?}")))
}
