//! The rows of the preference store, read from the folder of a server that has stopped: no index row leads to a record that
//! is not there, and no record is without its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use antumbra_store::{Corrupt, EmbeddedConfig, Key, Raw, Scan, Store, StoreConfig, Table};
use anyhow::Result;

/// Any key, as its bytes.
struct AnyKey(Vec<u8>);

impl Key for AnyKey {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn decode(from: &mut &[u8]) -> Result<Self, Corrupt> {
        Ok(AnyKey(std::mem::take(from).to_vec()))
    }
}

/// A row as its bytes: key and value.
type Row = (Vec<u8>, Vec<u8>);

const RECORDS: &str = "preference_records";
const OWNERS: &str = "preference_owners";
const LISTS: [&str; 2] = ["preferences_by_update", "preferences_by_event"];
const KEYS: &str = "subject_keys";
const HISTORY: &str = "preference_history";

/// Where the id of the record stands in the keys of records and of history: after organization and partition.
const ID: std::ops::Range<usize> = 32..48;

/// Looks at every row, and says how many there are.
pub(super) async fn check(data: &Path, losses: &mut Vec<String>) -> Result<u64> {
    let config = EmbeddedConfig::new(data.join("store"));
    let tables = [RECORDS, OWNERS, LISTS[0], LISTS[1], KEYS, HISTORY];
    let store = Store::open(StoreConfig::Embedded(config), &tables).await?;
    let mut rows: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    let mut reader = store.begin_read().await?;
    for name in tables {
        let table: Table<AnyKey, Raw> = Table::new(name);
        let found = reader.scan(&table, Scan::prefix(&())).await?;
        rows.insert(
            name,
            found.into_iter().map(|(AnyKey(key), Raw(row))| (key, row)).collect(),
        );
    }
    drop(reader);
    store.close().await;

    let ids = |table: &str, id: std::ops::Range<usize>| -> BTreeSet<Vec<u8>> {
        rows[table]
            .iter()
            .filter_map(|(key, _)| key.get(id.clone()).map(<[u8]>::to_vec))
            .collect()
    };
    let living = ids(RECORDS, ID);
    let strays = rows[OWNERS]
        .iter()
        .filter(|(_, led_to)| !living.contains(led_to))
        .count();
    let mut lose = |count: usize, what: &str| {
        if count > 0 {
            losses.push(format!("{count} {what}"));
        }
    };
    lose(strays, "index rows lead to records that are not there");
    for list in LISTS {
        // Organization, partition, a time of eight bytes.
        let listed = ids(list, 40..56);
        let differ = listed.symmetric_difference(&living).count() + rows[list].len().abs_diff(living.len());
        lose(differ, "rows of a list of records are missing, or too many");
    }
    let keys = ids(KEYS, 16..32);
    lose(living.difference(&keys).count(), "records are without their keys");
    lose(keys.difference(&ids(HISTORY, ID)).count(), "keys protect nothing");
    Ok(rows.values().map(|rows| rows.len() as u64).sum())
}
