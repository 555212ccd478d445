//! One process per data folder: a locked file that names its holder.

use crate::{OpenError, error::folder_failed};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::File,
    io::{Read, Write},
    path::Path,
};

/// The lock of a data folder. It ends with the value, and with the process however that ends, so nothing has to be
/// cleaned up after a crash.
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock, or says which process has it. Does not wait.
    pub fn take(folder: &Path) -> Result<FolderLock, OpenError> {
        let path = folder.join("lock");
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options
            .open(&path)
            .map_err(folder_failed("opening the lock file", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
                let holder = known.then(|| holder.trim().to_owned());
                return Err(OpenError::InUse {
                    folder: folder.to_owned(),
                    holder,
                });
            }
            Err(errno) => return Err(folder_failed("locking", &path)(errno.into())),
        }
        file.set_len(0)
            .map_err(folder_failed("emptying the lock file", &path))?;
        writeln!(file, "{}", std::process::id()).map_err(folder_failed("writing the lock file", &path))?;
        Ok(FolderLock { _file: file })
    }
}
