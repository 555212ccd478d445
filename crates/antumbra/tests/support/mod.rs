//! Where a test's server keeps its data: a folder, and where `ANTUMBRA_TEST_POSTGRES` holds a URL, a schema of its own there.
//! And a server that runs there.

#![allow(dead_code, reason = "not every suite needs all of it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
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
        self.serve_in("data")
    }

    /// The same with a data folder of this name.
    pub(crate) fn serve_in(&self, folder: &str) -> Command {
        let mut command = self.antumbra();
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(self.path().join(folder))
            .env("ANTUMBRA_LOGS__LEVEL", "error");
        command
    }
    /// Runs a command to its end.
    pub(crate) fn run(&self, command: &mut Command) -> Told {
        let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().unwrap();
        let folder = format!("{}/", self.path().display());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "");
        Told {
            code: status.code().unwrap(),
            out: text(stdout),
            err: text(stderr),
        }
    }
}

/// How a command ended, and what it said, with the folder left out.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A server that is ready.
pub(crate) struct Running {
    process: Child,
    pub(crate) url: String,
    /// The key of a first start; empty at a later one.
    pub(crate) key: String,
}

impl Running {
    /// Starts a server by the command that [`Place::serve`] gives.
    pub(crate) fn start(mut command: Command) -> Running {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
        Running {
            url: text("url"),
            key: text("key"),
            process,
        }
    }

    /// Its number among the processes of this machine.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
