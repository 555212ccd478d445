//! Transactions on every engine: the conformance checks, and random histories beside a plain map.

use crate::engines;
use antumbra_store::conformance;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_keeps_every_rule() {
    for fresh in engines::each(&conformance::TABLES).await {
        let report = conformance::check(&fresh.store).await;
        println!("{}:\n{report}", fresh.engine);
        assert!(report.passed(), "{}:\n{report}", fresh.engine);
    }
}
