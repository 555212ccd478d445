//! The root key: 32 random bytes in a file, made at the first start, and refused whenever something is not as it was left.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use antumbra_crypto::{Key32, mac::MacKey, same_bytes, wrap::Kek};
use zeroize::Zeroizing;

use super::store::Canary;

/// The version that the key of a root file has in its line. Replacing a root gives a key of another id.
const ROOT_VERSION: u32 = 1;
const CANARY_LABEL: &str = "antumbra/canary/1";
const FOR_OTHERS: u32 = 0o077;

/// Where the root key is kept.
#[derive(Clone, Debug)]
pub struct RootFile(PathBuf);

/// Why a root key does not serve. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The store holds data that was encrypted under a root key, and its file is gone.
    #[error(
        "the root key file {} is missing, and the data cannot be read without it: put the file back, or set keys.root_file",
        .0.display()
    )]
    Missing(PathBuf),
    /// Others than the owner may read the file.
    #[error("the root key file {} can be read by others: run `chmod 600 {}`", .0.display(), .0.display())]
    Exposed(PathBuf),
    /// The file does not hold 32 bytes.
    #[error("the root key file {} does not hold a root key of 32 bytes: put the right file back", .0.display())]
    Malformed(PathBuf),
    /// The key is a good one, but not that of this store.
    #[error(
        "this root key is not the one that the data was encrypted under: put the right file back, or set keys.root_file"
    )]
    Other,
    /// The file could not be read or made.
    #[error("{doing} the root key file {} failed", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The root key of this process.
pub(super) struct Root {
    key: Key32,
    kek: Kek,
}

impl Root {
    fn new(key: Key32) -> Root {
        let kek = Kek::new(ROOT_VERSION, &key);
        Root { key, kek }
    }

    pub(super) fn kek(&self) -> &Kek {
        &self.kek
    }

    pub(super) fn into_kek(self) -> Kek {
        self.kek
    }
}

impl RootFile {
    /// The root key in the file `path`.
    pub fn at(path: impl Into<PathBuf>) -> RootFile {
        RootFile(path.into())
    }

    /// Reads the key. Makes the file if there is none and no data depends on it yet.
    pub(super) fn read(&self, needed: bool) -> Result<Root, RootError> {
        match File::open(&self.0) {
            Ok(file) => self.read_from(file),
            Err(source) if source.kind() == io::ErrorKind::NotFound && needed => {
                Err(RootError::Missing(self.0.clone()))
            }
            Err(source) if source.kind() == io::ErrorKind::NotFound => self.create().map_err(self.failed("making")),
            Err(source) => Err(self.failed("opening")(source)),
        }
    }

    fn read_from(&self, file: File) -> Result<Root, RootError> {
        let mode = file.metadata().map_err(self.failed("reading"))?.mode();
        if mode & FOR_OTHERS != 0 {
            return Err(RootError::Exposed(self.0.clone()));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        file.take(64).read_to_end(&mut bytes).map_err(self.failed("reading"))?;
        let key = Key32::from_slice(&bytes).ok_or_else(|| RootError::Malformed(self.0.clone()))?;
        Ok(Root::new(key))
    }

    /// The file is durable before anything is encrypted under it.
    fn create(&self) -> io::Result<Root> {
        let folder = self
            .0
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let key = Key32::random();
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.0)?;
        file.write_all(key.expose())?;
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok(Root::new(key))
    }

    fn failed(&self, doing: &'static str) -> impl Fn(io::Error) -> RootError {
        let path = self.0.clone();
        move |source| RootError::Io {
            doing,
            path: path.clone(),
            source,
        }
    }
}

/// What the store remembers of the root, to know it again without holding it.
pub(super) fn canary(root: &Root) -> Canary {
    let digest = MacKey::new(&root.key.derive(CANARY_LABEL)).digest(CANARY_LABEL, &[]);
    Canary {
        root_id: root.kek.id().0,
        digest,
    }
}

/// Refuses a root that the store was not made with.
pub(super) fn check(root: &Root, stored: &Canary) -> Result<(), RootError> {
    let ours = canary(root);
    if ours.root_id == stored.root_id && same_bytes(&ours.digest, &stored.digest) {
        Ok(())
    } else {
        Err(RootError::Other)
    }
}
