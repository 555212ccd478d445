//! Where a test keeps its data: a folder, and where `ANTUMBRA_TEST_POSTGRES` holds a URL, a schema of its own there. The
//! tests beside the slices (`src/testing.rs`) and those from outside share this file.

use std::path::Path;

use antumbra_store::{EmbeddedConfig, PostgresConfig, StoreConfig};
use tempfile::TempDir;
use xtask::postgres::Schema;

pub(crate) struct Place {
    folder: TempDir,
    schema: Option<Schema>,
}

impl Place {
    pub(crate) fn fresh() -> Place {
        Place {
            schema: Schema::where_asked(),
            ..Place::embedded()
        }
    }

    /// For a test that is about the files of the embedded engine.
    pub(crate) fn embedded() -> Place {
        Place {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            schema: None,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn store(&self) -> StoreConfig {
        match &self.schema {
            None => StoreConfig::Embedded(EmbeddedConfig {
                cache_bytes: 16 << 20,
                journal_bytes: 64 << 20,
                ..EmbeddedConfig::new(self.folder().join("store"))
            }),
            // Many tests share one database server.
            Some(schema) => StoreConfig::Postgres(PostgresConfig {
                connections_max: 8,
                ..PostgresConfig::new(schema.url())
            }),
        }
    }
}
