//! The power cut: the same battery as the kills, on a loop-mounted disk whose unwritten part is thrown away.
//!
//! Freeze the server, so that nothing can be acknowledged any more; shut the file system down without writing its log;
//! kill; mount again. What is then on the disk is what had been fsynced, and nothing else. A battery that nobody has seen
//! fail proves nothing, so a control run plays against a build whose fsync does nothing, and must be caught.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::battery::{Battery, Chance, Child, Report};
use crate::ci::{cargo, target};
use crate::control;

/// `EXT4_IOC_SHUTDOWN`: the file system stops at once, as if its disk had gone.
type Shutdown = rustix::ioctl::Setter<0x8004_587d, u32>;

/// Nothing more reaches the disk, neither data nor log.
const WITHOUT_LOG: u32 = 2;
/// The log is written, the data it speaks of is not: the meaner half of the cases.
const LOG_ONLY: u32 = 1;

/// Runs the battery, or the control alone.
pub fn run(rounds: usize, seed: Option<u64>, control: bool) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("a disk can only be mounted and cut off by root");
    }
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed}");
    if !control {
        cargo(&["build", "--locked", "-p", "antumbra"], &[])?;
        let report = battery(&target().join("debug/antumbra"), rounds, seed, Cuts::Always)?;
        println!("power cuts: {}", report.summary());
        if !report.losses.is_empty() {
            bail!("acknowledged and lost:\n  {}", report.losses.join("\n  "));
        }
    }
    // The first round of the control ends in order, so that its cuts find something to take away.
    let report = battery(&control::crippled("fsync")?, control::ROUNDS, seed, Cuts::AfterTheFirst)?;
    control::must_be_caught("fsync does nothing", &report)
}

/// Which rounds end in a power cut. The others end with the server gone and the disk in order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cuts {
    Always,
    AfterTheFirst,
}

fn battery(executable: &Path, rounds: usize, seed: u64, cuts: Cuts) -> Result<Report> {
    let disk = Disk::make()?;
    let battery = Battery {
        executable: executable.to_owned(),
        data: disk.mounted_at.join("data"),
        rounds,
        seed,
        disk_fails: true,
    };
    let mut in_order = cuts == Cuts::AfterTheFirst;
    battery.run(|server, chance| {
        if std::mem::take(&mut in_order) {
            disk.end_in_order(server)
        } else {
            disk.cut(server, chance)
        }
    })
}

/// A small ext4 in a file. Dropping it unmounts it and removes the file.
struct Disk {
    folder: tempfile::TempDir,
    mounted_at: PathBuf,
}

impl Disk {
    fn make() -> Result<Disk> {
        let folder = tempfile::Builder::new().prefix("antumbra-power-cut-").tempdir()?;
        let mounted_at = folder.path().join("disk");
        std::fs::create_dir(&mounted_at)?;
        let image = File::create(folder.path().join("image"))?;
        image.set_len(3 << 30)?;
        done(Command::new("mkfs.ext4").arg("-q").arg(folder.path().join("image")))?;
        let disk = Disk { folder, mounted_at };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<()> {
        done(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(self.folder.path().join("image"))
                .arg(&self.mounted_at),
        )
    }

    fn unmount(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match done(Command::new("umount").arg(&self.mounted_at)) {
                Ok(()) => return Ok(()),
                Err(cause) if begun.elapsed() > Duration::from_secs(10) => return Err(cause),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// The server is gone, and everything it wrote is on the disk.
    fn end_in_order(&self, server: &mut Child) -> Result<()> {
        server.kill()?;
        self.unmount()?;
        self.mount()
    }

    /// One power cut, and the disk as it is found afterwards.
    fn cut(&self, server: &mut Child, chance: &mut Chance) -> Result<()> {
        server.signal("STOP")?;
        let how = if chance.one_in(10) { LOG_ONLY } else { WITHOUT_LOG };
        shut_down(&self.mounted_at, how)?;
        server.kill()?;
        self.unmount()?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(cause) = self.unmount() {
            eprintln!("{} stays mounted: {cause:#}", self.mounted_at.display());
        }
    }
}

#[allow(unsafe_code, reason = "there is no safe interface to this ioctl")]
fn shut_down(mounted_at: &Path, how: u32) -> Result<()> {
    let folder = File::open(mounted_at)?;
    // Safety: the request reads one u32 behind its pointer, and `Setter` passes exactly that.
    unsafe { rustix::ioctl::ioctl(&folder, Shutdown::new(how)) }.context("the file system cannot be shut down")
}

fn done(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("{command:?} cannot be started"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
