//! Transactions: what they see, what they leave, and when they are refused.

use antumbra_store::{EmbeddedConfig, Raw, Scan, Store, StoreConfig, StoreError, Table};
use std::ops::Bound;

const ROWS: Table<(u8, String), Raw> = Table::new("rows");
const MARKS: Table<u64, ()> = Table::new("marks");

struct Opened {
    store: Store,
    _folder: tempfile::TempDir,
}

async fn open() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig::Embedded(EmbeddedConfig::new(folder.path()));
    Opened {
        store: Store::open(config, &[ROWS.name(), MARKS.name()]).await.unwrap(),
        _folder: folder,
    }
}

fn key(group: u8, name: &str) -> (u8, String) {
    (group, name.to_owned())
}

#[tokio::test]
async fn a_commit_is_seen_whole_by_later_readers_and_not_by_earlier_ones() {
    let Opened { store, .. } = &open().await;
    let mut before = store.begin_read().await.unwrap();
    let mut tx = store.begin_write().await.unwrap();
    tx.put(&ROWS, &key(1, "a"), &Raw(vec![1]));
    tx.put(&MARKS, &7, &());
    assert_eq!(
        tx.get(&ROWS, &key(1, "a")).await.unwrap(),
        Some(Raw(vec![1])),
        "a transaction reads its own writes"
    );
    tx.commit().await.unwrap();

    assert_eq!(before.get(&MARKS, &7).await.unwrap(), None);
    let mut after = store.begin_read().await.unwrap();
    assert_eq!(after.get(&MARKS, &7).await.unwrap(), Some(()));
    assert_eq!(
        after.get_many(&ROWS, &[key(1, "b"), key(1, "a")]).await.unwrap(),
        [None, Some(Raw(vec![1]))]
    );
}

#[tokio::test]
async fn a_scan_reads_pages_in_both_directions_with_own_writes_laid_over() {
    let Opened { store, .. } = &open().await;
    let mut tx = store.begin_write().await.unwrap();
    for name in ["a", "b", "c", "d"] {
        tx.put(&ROWS, &key(1, name), &Raw(name.into()));
        tx.put(&ROWS, &key(2, name), &Raw(name.into()));
    }
    tx.commit().await.unwrap();

    let mut tx = store.begin_write().await.unwrap();
    tx.delete(&ROWS, &key(1, "b"));
    tx.put(&ROWS, &key(1, "bb"), &Raw(vec![]));
    let mut names = async |scan: Scan| -> String {
        let rows = tx.scan(&ROWS, scan).await.unwrap();
        rows.into_iter()
            .map(|((group, name), _)| format!("{group}{name} "))
            .collect()
    };
    assert_eq!(names(Scan::prefix(&(1u8,))).await, "1a 1bb 1c 1d ");
    assert_eq!(names(Scan::prefix(&(1u8,)).limit(2)).await, "1a 1bb ");
    assert_eq!(
        names(Scan::prefix(&(1u8,)).limit(2).after(&key(1, "bb"))).await,
        "1c 1d "
    );
    assert_eq!(names(Scan::prefix(&(1u8,)).newest_first().limit(3)).await, "1d 1c 1bb ");
    assert_eq!(
        names(Scan::prefix(&(1u8,)).newest_first().after(&key(1, "c"))).await,
        "1bb 1a "
    );
    assert_eq!(names(Scan::prefix(&()).limit(5)).await, "1a 1bb 1c 1d 2a ");
    let (from, to) = (key(1, "c"), (2u8,));
    assert_eq!(
        names(Scan::range(Bound::Included(&from), Bound::Excluded(&to))).await,
        "1c 1d "
    );
    assert_eq!(
        names(Scan::range(Bound::Excluded(&(1u8,)), Bound::Unbounded::<&(u8,)>)).await,
        "2a 2b 2c 2d "
    );
    assert_eq!(names(Scan::prefix(&(3u8,))).await, "");
}

#[tokio::test]
async fn of_two_transactions_that_read_what_the_other_writes_one_is_refused() {
    let Opened { store, .. } = &open().await;
    let mut one = store.begin_write().await.unwrap();
    let mut other = store.begin_write().await.unwrap();
    assert_eq!(one.get(&MARKS, &1).await.unwrap(), None);
    assert_eq!(other.get(&MARKS, &2).await.unwrap(), None);
    one.put(&MARKS, &2, &());
    other.put(&MARKS, &1, &());
    one.commit().await.unwrap();
    assert!(matches!(other.commit().await, Err(StoreError::Conflict)));
}
