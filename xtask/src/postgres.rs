//! A throw-away PostgreSQL cluster for tests, fast, on loopback only, gone afterwards; and a place for each test in it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio_postgres::NoTls;

use crate::ci::root;

/// A running cluster. Dropping it stops it and removes its folder.
pub struct Cluster {
    server: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// Whether PostgreSQL's programs are on this machine.
    pub fn installed() -> bool {
        programs().is_ok()
    }

    /// Makes a cluster and waits until it answers. Durability is off: it lives as long as the tests.
    pub fn start() -> Result<Cluster> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("antumbra-postgres-").tempdir()?;
        if is_root() {
            done(Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let data = folder.path().join("data");
        done(
            as_postgres(&programs.join("initdb"))
                .args([
                    "--username=postgres",
                    "--auth=trust",
                    "--encoding=UTF8",
                    "--no-sync",
                    "--locale=C",
                    "-D",
                ])
                .arg(&data)
                .current_dir(folder.path())
                .stdout(Stdio::null()),
        )?;
        let fixtures = root().join("crates/antumbra-store/tests/it/fixtures");
        let (certificate, key) = (
            folder.path().join("database.cert.pem"),
            folder.path().join("database.key.pem"),
        );
        std::fs::copy(fixtures.join("database.cert.pem"), &certificate)?;
        std::fs::copy(fixtures.join("database.key.pem"), &key)?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
        if is_root() {
            done(Command::new("chown").arg("postgres").arg(&key).arg(&certificate))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = as_postgres(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""])
            .args([
                "-c",
                "fsync=off",
                "-c",
                "synchronous_commit=off",
                "-c",
                "full_page_writes=off",
            ])
            .args([
                "-c",
                "max_connections=400",
                "-c",
                "shared_buffers=256MB",
                "-c",
                "max_wal_size=4GB",
            ])
            .args([
                "-c",
                "log_min_messages=fatal",
                "-c",
                "max_pred_locks_per_transaction=256",
            ])
            .args(["-c", "ssl=on"])
            .args(["-c", &format!("ssl_cert_file={}", certificate.display())])
            .args(["-c", &format!("ssl_key_file={}", key.display())])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("postgres cannot be started")?;
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
        let mut cluster = Cluster {
            server,
            url,
            _folder: folder,
        };
        cluster.wait_until_ready(port)?;
        Ok(cluster)
    }

    /// Where it is reached, in clear.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The authority that vouches for its certificate, which is for `localhost`.
    pub fn ca_file() -> PathBuf {
        root().join("crates/antumbra-store/tests/it/fixtures/authority.cert.pem")
    }

    fn wait_until_ready(&mut self, port: u16) -> Result<()> {
        let begun = Instant::now();
        while !accepts(port) {
            if let Some(status) = self.server.try_wait()? {
                bail!("postgres ended at once with {status}");
            }
            if begun.elapsed() > Duration::from_secs(30) {
                bail!("postgres was not ready after 30 s");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGINT asks PostgreSQL to stop without waiting for its clients.
        let asked = Command::new("kill")
            .args(["-INT", &self.server.id().to_string()])
            .status();
        if !asked.is_ok_and(|status| status.success()) {
            self.server.kill().ok();
        }
        self.server.wait().ok();
    }
}

/// A schema of its own for one test, in the database that `ANTUMBRA_TEST_POSTGRES` names. Dropping it drops what it holds.
pub struct Schema {
    database: String,
    name: String,
}

impl Schema {
    /// A new one, where that variable is set.
    ///
    /// # Panics
    /// If the database cannot be reached.
    pub fn where_asked() -> Option<Schema> {
        let database = std::env::var("ANTUMBRA_TEST_POSTGRES").ok()?;
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).expect("the system has randomness");
        let name = format!("test_{:032x}", u128::from_ne_bytes(random));
        execute(&database, format!("CREATE SCHEMA {name}")).expect("a schema can be made");
        Some(Schema { database, name })
    }

    /// The URL by which a store finds itself in this schema.
    pub fn url(&self) -> String {
        let joint = if self.database.contains('?') { '&' } else { '?' };
        format!("{}{joint}options=-c%20search_path%3D{}", self.database, self.name)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        // A read that the test let go of ends on the runtime that waits here, so it would hold its locks till it is ended
        // from outside.
        let name = &self.name;
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid IN (
                SELECT locks.pid FROM pg_locks locks JOIN pg_class tables ON tables.oid = locks.relation
                WHERE tables.relnamespace = '{name}'::regnamespace);
             DROP SCHEMA {name} CASCADE"
        );
        // A test that failed already says more than this would.
        let _ = execute(&self.database, sql);
    }
}

/// Carries out statements on a connection and a thread of their own: tests have a runtime, or none.
fn execute(database: &str, sql: String) -> Result<()> {
    let database = database.to_owned();
    #[expect(clippy::disallowed_methods, reason = "joined below")]
    let carrying_out = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&database, NoTls).await?;
            let statement = async move {
                let done = client.batch_execute(&sql).await;
                drop(client);
                done
            };
            let (done, _) = tokio::join!(statement, connection);
            anyhow::Ok(done?)
        })
    });
    carrying_out.join().expect("nothing in there panics")
}

/// Asks for an encrypted connection, as a client does first: whoever answers with one letter is ready.
fn accepts(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok();
    let mut letter = [0];
    connection.write_all(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]).is_ok() && connection.read_exact(&mut letter).is_ok()
}

fn programs() -> Result<PathBuf> {
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&in_path).collect();
    let mut installed: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    installed.sort();
    folders.extend(installed.into_iter().rev());
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .context(
            "PostgreSQL is not installed: no folder in PATH or under /usr/lib/postgresql holds initdb and postgres",
        )
}

/// PostgreSQL refuses to run as root, so root steps down first.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn done(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
