//! Transactions on every engine: the conformance checks, random histories beside a plain map, and concurrent ones that
//! are afterwards shown to have an order.

use crate::engines;
use antumbra_store::{
    Crash, EmbeddedConfig, Raw, Reader, Scan, Store, StoreConfig, StoreError, Table, Tx, conformance,
};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Bound,
};

const ROWS: Table<Name, Raw> = Table::new("rows");
const LISTS: Table<u64, Raw> = Table::new("lists");

type Name = (u8, String);
type Model = BTreeMap<Name, Vec<u8>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_keeps_every_rule() {
    for fresh in engines::each(&conformance::TABLES).await {
        // On a task of its own, as a handler runs: everything in it can move between threads.
        let store = fresh.store.clone();
        let report = tokio::spawn(async move { conformance::check(&store).await })
            .await
            .unwrap();
        println!("{}:\n{report}", fresh.engine);
        assert!(report.passed(), "{}:\n{report}", fresh.engine);
    }
}

#[tokio::test]
async fn a_rehearsed_crash_ends_a_store_before_or_after_a_commit() {
    for (crash, kept) in [(Crash::Before, 1), (Crash::After, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let open = async || {
            let config = EmbeddedConfig::new(folder.path());
            Store::open(StoreConfig::Embedded(config), &[LISTS.name()]).await
        };
        let store = open().await.unwrap();
        let put = async |number: u64| {
            let mut tx = store.begin_write().await?;
            tx.put(&LISTS, &number, &Raw(vec![1]));
            tx.commit().await
        };
        store.crash_at(2, crash);
        put(1).await.unwrap();
        assert!(!store.has_crashed());
        assert!(matches!(put(2).await, Err(StoreError::Stopped { .. })));
        assert!(matches!(put(3).await, Err(StoreError::Stopped { .. })));
        assert!(store.has_crashed() && store.clone().begin_read().await.is_err());
        store.close().await;

        let store = open().await.unwrap();
        let mut reader = store.begin_read().await.unwrap();
        let rows = reader.scan(&LISTS, Scan::prefix(&())).await.unwrap();
        assert_eq!(rows.len(), kept, "{crash:?}");
    }
}

/// Flushes go on behind the readers' backs: the rows are large, so that there are some.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_reads_sees_whole_commits_only_and_one_stamp_is_one_state() {
    const LAST: u64 = 1_500;
    for fresh in engines::each(&[LISTS.name()]).await {
        let store = &fresh.store;
        let write = async {
            for count in 1..=LAST {
                let mut tx = store.begin_write().await.unwrap();
                for half in [0, 1] {
                    tx.put(&LISTS, &half, &Raw(count.to_be_bytes().to_vec()));
                }
                tx.put(&LISTS, &(1 + count), &Raw(vec![count as u8; 100_000]));
                tx.commit().await.unwrap();
                let mut reader = store.begin_read().await.unwrap();
                let seen = reader.get(&LISTS, &0).await.unwrap().unwrap();
                assert_eq!(seen.0, count.to_be_bytes(), "what was acknowledged is seen");
            }
        };
        let readers = (0..3).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut seen = HashMap::new();
                loop {
                    let mut reader = store.begin_read().await.unwrap();
                    let halves = reader.get_many(&LISTS, &[0, 1]).await.unwrap();
                    assert_eq!(halves[0], halves[1], "half a commit");
                    let before = reader
                        .stamp()
                        .map(|stamp| seen.insert(format!("{stamp:?}"), halves[0].clone()));
                    assert!(
                        before.flatten().is_none_or(|before| before == halves[0]),
                        "one stamp, two states"
                    );
                    if halves[0].as_ref().is_some_and(|half| half.0 == LAST.to_be_bytes()) {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            })
        });
        let readers: Vec<_> = readers.collect();
        write.await;
        for reader in readers {
            reader.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_table_of_one_row_may_have_the_empty_key() {
    const ONE: Table<(), Raw> = Table::new("one_row");
    for fresh in engines::each(&[ONE.name()]).await {
        for value in [b"first".to_vec(), b"second".to_vec()] {
            let mut tx = fresh.store.begin_write().await.unwrap();
            tx.put(&ONE, &(), &Raw(value.clone()));
            assert_eq!(tx.get(&ONE, &()).await.unwrap(), Some(Raw(value.clone())));
            tx.commit().await.unwrap();
            let mut reader = fresh.store.begin_read().await.unwrap();
            assert_eq!(
                reader.get(&ONE, &()).await.unwrap(),
                Some(Raw(value.clone())),
                "{}",
                fresh.engine
            );
            assert_eq!(
                reader.get_many(&ONE, &[(), ()]).await.unwrap(),
                [Some(Raw(value.clone())), Some(Raw(value.clone()))]
            );
            assert_eq!(reader.scan(&ONE, Scan::prefix(&())).await.unwrap(), [((), Raw(value))]);
        }
        // Scans that meet the empty key from either side, in a transaction that another one overtakes.
        let mut late = fresh.store.begin_write().await.unwrap();
        for scan in [Scan::prefix(&()), Scan::prefix(&()).newest_first()] {
            assert_eq!(late.scan(&ONE, scan.clone().limit(1)).await.unwrap().len(), 1);
            assert!(late.scan(&ONE, scan.after(&())).await.unwrap().is_empty());
        }
        late.put(&ONE, &(), &Raw(b"late".to_vec()));
        let mut tx = fresh.store.begin_write().await.unwrap();
        tx.delete(&ONE, &());
        tx.commit().await.unwrap();
        assert!(
            matches!(late.commit().await, Err(StoreError::Conflict)),
            "{}",
            fresh.engine
        );
        let mut tx = fresh.store.begin_write().await.unwrap();
        assert_eq!(tx.get(&ONE, &()).await.unwrap(), None);
        tx.commit().await.unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Name, u8),
    Delete(Name),
    Get(Name),
    GetMany(Vec<Name>),
    Scan {
        from: Limit,
        to: Limit,
        newest_first: bool,
        limit: usize,
        after: Option<Name>,
    },
}

/// One end of a scan: a prefix of one or both parts of the key, included or not.
type Limit = Option<(bool, u8, Option<String>)>;

fn name() -> impl Strategy<Value = Name> {
    (
        0u8..3,
        prop::sample::select(vec!["", "\0", "a", "a\0", "ab", "b", "ÿ"]).prop_map(str::to_owned),
    )
}

fn limit() -> impl Strategy<Value = Limit> {
    prop::option::of(
        (any::<bool>(), name(), any::<bool>())
            .prop_map(|(included, (group, name), whole)| (included, group, whole.then_some(name))),
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (name(), any::<u8>()).prop_map(|(name, value)| Step::Put(name, value)),
        2 => name().prop_map(Step::Delete),
        2 => name().prop_map(Step::Get),
        1 => prop::collection::vec(name(), 0..5).prop_map(Step::GetMany),
        3 => (limit(), limit(), any::<bool>(), 0usize..6, prop::option::of(name())).prop_map(
            |(from, to, newest_first, limit, after)| Step::Scan { from, to, newest_first, limit, after }
        ),
    ]
}

#[test]
fn random_histories_agree_with_a_plain_map() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for fresh in runtime.block_on(engines::each(&[ROWS.name()])) {
        let transactions = prop::collection::vec((prop::collection::vec(step(), 0..12), any::<bool>()), 0..6);
        let cases = if fresh.engine == "embedded" { 200 } else { 60 };
        let mut runner = TestRunner::new(ProptestConfig {
            cases,
            failure_persistence: None,
            ..Default::default()
        });
        let outcome = runner.run(&transactions, |transactions| {
            runtime.block_on(empty(&fresh.store));
            let mut committed = Model::new();
            for (steps, commit) in transactions {
                let (mut tx, mut model) = (runtime.block_on(fresh.store.begin_write()).unwrap(), committed.clone());
                for step in steps {
                    runtime.block_on(take(&mut tx, &mut model, step))?;
                }
                if commit {
                    runtime.block_on(tx.commit()).unwrap();
                    committed = model;
                }
                let mut reader = runtime.block_on(fresh.store.begin_read()).unwrap();
                prop_assert_eq!(runtime.block_on(contents(&mut reader)), committed.clone());
            }
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{}: {failure}", fresh.engine));
    }
}

async fn take(tx: &mut Tx, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::Put(name, value) => {
            tx.put(&ROWS, &name, &Raw(vec![value]));
            model.insert(name, vec![value]);
        }
        Step::Delete(name) => {
            tx.delete(&ROWS, &name);
            model.remove(&name);
        }
        Step::Get(name) => {
            let found = tx.get(&ROWS, &name).await.unwrap().map(|Raw(bytes)| bytes);
            prop_assert_eq!(found.as_ref(), model.get(&name));
        }
        Step::GetMany(names) => {
            let found = tx.get_many(&ROWS, &names).await.unwrap();
            let expected: Vec<_> = names.iter().map(|name| model.get(name).cloned().map(Raw)).collect();
            prop_assert_eq!(found, expected);
        }
        Step::Scan {
            from,
            to,
            newest_first,
            limit,
            after,
        } => {
            let inside = |name: &Name| above(name, &from) && below(name, &to);
            let mut expected: Vec<Name> = model.keys().filter(|name| inside(name)).cloned().collect();
            if newest_first {
                expected.reverse();
            }
            if let Some(after) = &after {
                expected.retain(|name| if newest_first { name < after } else { name > after });
            }
            expected.truncate(limit);
            let mut scan = scan_between(&from, &to).limit(limit);
            if newest_first {
                scan = scan.newest_first();
            }
            if let Some(after) = &after {
                scan = scan.after(after);
            }
            let found = tx.scan(&ROWS, scan).await.unwrap();
            let found: Vec<Name> = found.into_iter().map(|(name, _)| name).collect();
            prop_assert_eq!(found, expected);
        }
    }
    Ok(())
}

fn above(name: &Name, from: &Limit) -> bool {
    from.as_ref().is_none_or(|(included, group, rest)| match rest {
        Some(rest) if *included => *name >= (*group, rest.clone()),
        Some(rest) => *name > (*group, rest.clone()),
        None if *included => name.0 >= *group,
        None => name.0 > *group,
    })
}

fn below(name: &Name, to: &Limit) -> bool {
    to.as_ref().is_none_or(|(included, group, rest)| match rest {
        Some(rest) if *included => *name <= (*group, rest.clone()),
        Some(rest) => *name < (*group, rest.clone()),
        None if *included => name.0 <= *group,
        None => name.0 < *group,
    })
}

fn scan_between(from: &Limit, to: &Limit) -> Scan {
    /// A prefix as a key: the bytes of one or both parts.
    #[derive(Clone)]
    struct Prefix(u8, Option<String>);

    impl antumbra_store::Key for Prefix {
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
            self.1.iter().for_each(|rest| rest.encode(out));
        }

        fn decode(_: &mut &[u8]) -> Result<Self, antumbra_store::Corrupt> {
            unreachable!("it is only written")
        }
    }

    let prefix = |limit: &Limit| match limit {
        None => Bound::Unbounded,
        Some((true, group, rest)) => Bound::Included(Prefix(*group, rest.clone())),
        Some((false, group, rest)) => Bound::Excluded(Prefix(*group, rest.clone())),
    };
    Scan::range(prefix(from).as_ref(), prefix(to).as_ref())
}

async fn contents(reader: &mut Reader) -> Model {
    let rows = reader.scan(&ROWS, Scan::prefix(&())).await.unwrap();
    rows.into_iter().map(|(name, Raw(bytes))| (name, bytes)).collect()
}

async fn empty(store: &Store) {
    let mut tx = store.begin_write().await.unwrap();
    for name in contents(&mut tx).await.into_keys() {
        tx.delete(&ROWS, &name);
    }
    tx.commit().await.unwrap();
}

/// What a committed transaction saw and did: it appended its own number to some of the lists that it had read.
struct Done {
    number: u32,
    read: Vec<(u64, Vec<u32>)>,
    appended_to: Vec<u64>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_transactions_have_an_order_in_which_they_could_have_run_one_by_one() {
    for fresh in engines::each(&[LISTS.name()]).await {
        let workers = (0..8u32).map(|worker| {
            let store = fresh.store.clone();
            tokio::spawn(async move {
                let mut done = Vec::new();
                for round in 0..25 {
                    let number = worker * 1_000 + round;
                    done.push(append_somewhere(&store, number).await);
                }
                done
            })
        });
        let mut all = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            all.extend(worker.await.unwrap());
        }
        let mut reader = fresh.store.begin_read().await.unwrap();
        let lists: HashMap<u64, Vec<u32>> = reader
            .scan(&LISTS, Scan::prefix(&()))
            .await
            .unwrap()
            .into_iter()
            .map(|(k, v)| (k, numbers(&v)))
            .collect();
        assert_eq!(
            lists.values().map(Vec::len).sum::<usize>(),
            all.iter().map(|done| done.appended_to.len()).sum()
        );
        assert_has_an_order(&all, &lists, fresh.engine);
    }
}

async fn append_somewhere(store: &Store, number: u32) -> Done {
    // A cheap stand-in for chance, the same in every run.
    let draw = |salt: u32| u64::from((number.wrapping_mul(2_654_435_761) ^ salt.wrapping_mul(40_503)) >> 7);
    loop {
        let mut tx = store.begin_write().await.unwrap();
        let mut read = Vec::new();
        let outcome = async {
            if draw(1).is_multiple_of(3) {
                let from = draw(2) % 6;
                let found = tx
                    .scan(
                        &LISTS,
                        Scan::range(Bound::Included(&from), Bound::Excluded(&(from + 2))),
                    )
                    .await?;
                let found: HashMap<u64, Raw> = found.into_iter().collect();
                read.extend((from..from + 2).map(|list| (list, found.get(&list).map(numbers).unwrap_or_default())));
            } else {
                for list in HashSet::from([draw(3) % 6, draw(4) % 6]) {
                    read.push((
                        list,
                        tx.get(&LISTS, &list).await?.as_ref().map(numbers).unwrap_or_default(),
                    ));
                }
            }
            tokio::task::yield_now().await;
            let appended_to: Vec<u64> = read
                .iter()
                .take(1 + draw(5) as usize % 2)
                .map(|(list, _)| *list)
                .collect();
            for list in &appended_to {
                let (_, before) = read.iter().find(|(read, _)| read == list).unwrap();
                let after = before
                    .iter()
                    .chain([&number])
                    .flat_map(|number| number.to_be_bytes())
                    .collect();
                tx.put(&LISTS, list, &Raw(after));
            }
            Ok::<_, StoreError>((tx.commit().await?, appended_to))
        };
        match outcome.await {
            Ok(((), appended_to)) => {
                return Done {
                    number,
                    read,
                    appended_to,
                };
            }
            Err(StoreError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn numbers(Raw(bytes): &Raw) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|chunk| u32::from_be_bytes(chunk.try_into().unwrap()))
        .collect()
}

/// Draws an edge from each transaction to those that must come after it, and finds no cycle.
fn assert_has_an_order(all: &[Done], lists: &HashMap<u64, Vec<u32>>, engine: &str) {
    let mut edges: HashSet<(u32, u32)> = HashSet::new();
    for list in lists.values() {
        edges.extend(list.windows(2).map(|pair| (pair[0], pair[1])));
    }
    for done in all {
        for (list, seen) in &done.read {
            let whole = lists.get(list).map_or(&[][..], Vec::as_slice);
            assert!(whole.starts_with(seen), "{engine}: a list was seen that never was");
            edges.extend(seen.last().map(|writer| (*writer, done.number)));
            edges.extend(whole.get(seen.len()).map(|next| (done.number, *next)));
        }
    }
    edges.retain(|(before, after)| before != after);
    let mut left: HashSet<u32> = all.iter().map(|done| done.number).collect();
    loop {
        let waiting: HashSet<u32> = edges.iter().map(|(_, after)| *after).collect();
        let free: Vec<u32> = left.difference(&waiting).copied().collect();
        if free.is_empty() {
            break;
        }
        for number in free {
            left.remove(&number);
            edges.retain(|(before, _)| *before != number);
        }
    }
    assert!(left.is_empty(), "{engine}: {} transactions have no order", left.len());
}

#[tokio::test]
async fn a_table_that_was_not_named_and_rows_beyond_the_bounds_are_refused() {
    for fresh in engines::each(&[ROWS.name()]).await {
        let mut tx = fresh.store.begin_write().await.unwrap();
        assert!(matches!(
            tx.get(&LISTS, &1).await,
            Err(StoreError::Misused { table: "lists", .. })
        ));
        drop(tx);
        let (long, large) = ("x".repeat(1_998), vec![0; (32 << 20) + 1]);
        for (name, value) in [(long.as_str(), vec![]), ("a", large)] {
            let mut tx = fresh.store.begin_write().await.unwrap();
            tx.put(&ROWS, &(1, "kept".to_owned()), &Raw(vec![]));
            tx.put(&ROWS, &(1, name.to_owned()), &Raw(value));
            assert!(
                matches!(tx.commit().await, Err(StoreError::Misused { table: "rows", .. })),
                "{}",
                fresh.engine
            );
        }
        let mut reader = fresh.store.begin_read().await.unwrap();
        assert!(
            contents(&mut reader).await.is_empty(),
            "nothing of a refused transaction is kept"
        );
    }
}

#[tokio::test]
async fn errors_show_no_key_and_no_value() {
    const TEXTS: Table<Name, ()> = Table::new("rows");
    for fresh in engines::each(&[ROWS.name()]).await {
        let mut tx = fresh.store.begin_write().await.unwrap();
        tx.put(&ROWS, &(1, "ada@example.test".to_owned()), &Raw(b"canary".into()));
        tx.commit().await.unwrap();
        let mut reader = fresh.store.begin_read().await.unwrap();
        let error = reader
            .get(&TEXTS, &(1, "ada@example.test".to_owned()))
            .await
            .unwrap_err();
        let shown = format!("{error} {error:?} {:?}", Raw(b"canary".into()));
        assert!(!shown.contains("ada") && !shown.contains("canary"), "{shown}");
    }
}
