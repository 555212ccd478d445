//! The server under test, as a child process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A running server.
pub struct Child {
    process: std::process::Child,
    /// Where it answers.
    pub url: String,
    /// The key of a first start.
    pub key: Option<String>,
    /// From starting the process to its word that it is ready.
    pub ready_in: Duration,
}

impl Child {
    /// Starts `antumbra serve --json` and waits for its one object.
    pub fn start(executable: &Path, data: &Path) -> Result<Child> {
        Child::start_with(executable, data, &[])
    }

    /// The same, with settings as environment variables.
    pub fn start_with(executable: &Path, data: &Path, settings: &[(&str, String)]) -> Result<Child> {
        let begun = Instant::now();
        let log = data.with_extension("log");
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .context("the log cannot be opened")?;
        let mut process = Command::new(executable)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("ANTUMBRA_LOGS__LEVEL", "warn")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} cannot be started", executable.display()))?;
        let mut line = String::new();
        let output = process.stdout.take().context("the server has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let Ok(object) = serde_json::from_str::<Value>(&line) else {
            process.kill().ok();
            let status = process.wait()?;
            bail!("the server did not become ready and ended with {status}; its log is beside the data folder");
        };
        let text = |name: &str| object[name].as_str().map(str::to_owned);
        let url = text("url").context("the server named no address")?;
        Ok(Child {
            process,
            url,
            key: text("key"),
            ready_in: begun.elapsed(),
        })
    }

    /// Applies a configuration with the command that people use.
    pub fn apply(&self, executable: &Path, key: &str, configuration: &str) -> Result<()> {
        let mut file = tempfile::Builder::new().suffix(".yml").tempfile()?;
        file.write_all(configuration.as_bytes())?;
        let output = Command::new(executable)
            .args(["apply", "--url", &self.url, "--key", key, "-f"])
            .arg(file.path())
            .output()?;
        if !output.status.success() {
            bail!("antumbra apply: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.id().to_string()])
            .status()?;
        if !status.success() {
            bail!("signal {name} could not be sent: {status}");
        }
        Ok(())
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks it to stop and expects that it does so in order.
    pub fn end(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the server ended with {status} when it was asked to stop");
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
