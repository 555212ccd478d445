//! `antumbra store check`: whether an engine keeps every rule the server relies on.

use std::path::Path;
use std::process::ExitCode;

use antumbra_store::{EmbeddedConfig, PostgresConfig, StoreConfig, conformance};

use crate::outcome::{Ended, Outcome};
use crate::serve::refused;

/// Runs the conformance suite and prints each rule with what came of it.
pub(crate) async fn run(place: &str) -> anyhow::Result<ExitCode> {
    let config = match place.split_once("://") {
        Some(("postgres" | "postgresql", _)) => StoreConfig::Postgres(PostgresConfig::new(place)),
        Some(_) => {
            let message = "the address of an engine begins with postgres:// or postgresql://";
            return Err(Ended::new(Outcome::Usage, message).into());
        }
        None => StoreConfig::Embedded(EmbeddedConfig::new(Path::new(place).join("store"))),
    };
    let report = conformance::run(config).await.map_err(refused)?;
    println!("{report}");
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        Outcome::Failed.into()
    })
}
