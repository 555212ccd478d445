//! Controls: a battery that nobody has seen fail proves nothing, so each is also played against a server with a planted
//! bug, and must catch it.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::battery::Report;
use crate::ci::{cargo, target};

/// A control must be caught within so many rounds.
pub const ROUNDS: usize = 20;

/// The server with the bug that `--cfg sabotage="<bug>"` plants.
pub fn crippled(bug: &str) -> Result<PathBuf> {
    built_with(bug, &format!("--cfg 'sabotage=\"{bug}\"'"), "antumbra")
}

/// The executable `package`, our own crates compiled with further flags for rustc.
///
/// It is built beside the sound one and from the same dependencies. Where there is a sound executable of that name it is
/// overwritten on the way; the next build puts it back.
pub fn built_with(name: &str, flags: &str, package: &str) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let folder = target().join("with").join(name);
    std::fs::create_dir_all(&folder)?;
    let wrapper = folder.join("rustc");
    std::fs::write(&wrapper, format!("#!/bin/sh\nexec \"$@\" {flags}\n"))?;
    std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
    let wrapper = wrapper.to_string_lossy();
    cargo(
        &["build", "--locked", "-p", package],
        &[("RUSTC_WORKSPACE_WRAPPER", &wrapper)],
    )?;
    let executable = folder.join(package);
    std::fs::copy(target().join("debug").join(package), &executable)?;
    Ok(executable)
}

/// Fails unless the battery has found something missing.
pub fn must_be_caught(bug: &str, report: &Report) -> Result<()> {
    let Some(first) = report.losses.first() else {
        bail!(
            "the control ({bug}) lost nothing: this battery proves nothing. {}",
            report.summary()
        );
    };
    println!("control ({bug}): caught. {}\n  first: {first}", report.summary());
    Ok(())
}
