//! What the store holds, as bytes: for tests that look past every slice.

use antumbra_store::{Corrupt, Key, Raw, Scan, Table};

use super::TestServer;

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

/// The rows of one table, in the order of their keys.
pub async fn rows_of(server: &TestServer, table: &'static str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let table: Table<AnyKey, Raw> = Table::new(table);
    let mut reader = server.app().store.begin_read().await.unwrap();
    let rows = reader.scan(&table, Scan::prefix(&())).await.unwrap();
    rows.into_iter().map(|(AnyKey(key), Raw(value))| (key, value)).collect()
}

/// Writes rows past every slice.
pub async fn put_rows(server: &TestServer, table: &'static str, rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) {
    let table: Table<AnyKey, Raw> = Table::new(table);
    let mut tx = server.app().store.begin_write().await.unwrap();
    for (key, value) in rows {
        tx.put(&table, &AnyKey(key), &Raw(value));
    }
    tx.commit().await.unwrap();
}
