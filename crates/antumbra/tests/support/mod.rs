//! Where a test's server keeps its data: a folder, and where `ANTUMBRA_TEST_POSTGRES` holds a URL, a schema of its own there.

use std::path::Path;
use std::process::Command;

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

    /// For a test that is about the files or the process of the embedded engine.
    #[allow(dead_code, reason = "not every suite has such a test")]
    pub(crate) fn embedded() -> Place {
        Place {
            folder: tempfile::tempdir().unwrap(),
            schema: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The executable, told where the store is.
    pub(crate) fn antumbra(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_antumbra"));
        for name in ["ANTUMBRA_CONFIG", "ANTUMBRA_KEY", "ANTUMBRA_URL"] {
            command.env_remove(name);
        }
        if let Some(schema) = &self.schema {
            command.env("ANTUMBRA_STORAGE__ENGINE", "postgres");
            command.env("ANTUMBRA_STORAGE__URL", schema.url());
        }
        command
    }

    /// `antumbra serve` on a port of its own, with the data folder in here.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.antumbra();
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(self.path().join("data"))
            .env("ANTUMBRA_LOGS__LEVEL", "error");
        command
    }
}
