//! The server of the demo: a process of its own, so that it can be killed.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long a process may take to become ready, or to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `antumbra serve --json`.
pub(super) struct Server {
    process: Child,
    pub(super) url: String,
    /// The key of a first start.
    pub(super) key: Option<String>,
}

impl Server {
    /// Starts a server on any free port over `folder`, and waits for its one object.
    pub(super) fn start(folder: &Path) -> Result<Server> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("server.log"))?;
        let mut process = Command::new(executable()?)
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join("data"))
            .env("ANTUMBRA_LOGS__LEVEL", "warn")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("the server cannot be started")?;
        let output = process.stdout.take().context("the server has no output")?;
        // From here on it is killed when something goes wrong.
        let mut server = Server {
            process,
            url: String::new(),
            key: None,
        };
        let line = first_line(&mut server.process, output)?;
        let object: Value = match serde_json::from_str(&line) {
            Ok(object) => object,
            Err(_) => bail!("the server did not become ready: {}", ended(&mut server.process)?),
        };
        let url = object["url"].as_str().context("the server named no address")?;
        server.url = url.to_owned();
        server.key = object["key"].as_str().map(str::to_owned);
        Ok(server)
    }

    /// `kill -9`: no warning, no farewell.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks it to stop, as an init system does.
    pub(super) fn stop(mut self) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let status = ended(&mut self.process)?;
        if !status.success() {
            bail!("the server ended with {status} when it was asked to stop");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or to be gone now; either is right.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs another command of this executable and gives what it printed.
pub(super) fn command(arguments: &[&str], url: &str, key: &str) -> Result<String> {
    let mut process = Command::new(executable()?)
        .args(arguments)
        .env("ANTUMBRA_URL", url)
        .env("ANTUMBRA_KEY", key)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the command cannot be started")?;
    // What the commands of the story say fits into a pipe, so it can be read afterwards.
    let status = ended(&mut process);
    if status.is_err() {
        process.kill().ok();
    }
    let output = process.wait_with_output()?;
    if !status?.success() {
        bail!(
            "antumbra {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first line that a process writes, or its end.
fn first_line(process: &mut Child, output: ChildStdout) -> Result<String> {
    let (sender, arrived) = mpsc::channel();
    let reader = std::thread::Builder::new()
        .name("first line".to_owned())
        .spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            sender.send(read.map(|_| line)).ok();
        })?;
    let line = arrived.recv_timeout(PATIENCE);
    if line.is_err() {
        // Ends what the reader waits for.
        process.kill()?;
    }
    reader.join().ok();
    match line {
        Ok(line) => Ok(line?),
        Err(_) => bail!("the server did not become ready within {} s", PATIENCE.as_secs()),
    }
}

/// Waits for a process to end by itself.
fn ended(process: &mut Child) -> Result<ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > PATIENCE {
            bail!("a process did not end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a file of the demo's folder and gives its path.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::File::create(&path)?.write_all(text.as_bytes())?;
    Ok(path)
}

fn executable() -> Result<PathBuf> {
    std::env::current_exe().context("this executable cannot find itself")
}
