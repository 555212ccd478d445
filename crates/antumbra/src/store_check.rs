//! `antumbra store check`: whether an engine that speaks the PostgreSQL protocol keeps every rule the server relies on.

use std::process::ExitCode;

use antumbra_store::{PostgresConfig, StoreConfig, conformance};

use crate::outcome::{Ended, Outcome};

/// Runs the conformance suite and prints each rule with what came of it.
pub(crate) async fn run(url: String) -> anyhow::Result<ExitCode> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let message = "the address must begin with postgres:// or postgresql://";
        return Err(Ended::new(Outcome::Usage, message).into());
    }
    let report = conformance::run(StoreConfig::Postgres(PostgresConfig::new(url))).await?;
    println!("{report}");
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        Outcome::Failed.into()
    })
}
