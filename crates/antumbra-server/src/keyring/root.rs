//! The root key: 32 random bytes in a file, made at the first start, and refused whenever something is not as it was left.
//!
//! While it is being replaced the file holds the new key and after it the old one: the first wraps, all of them unwrap.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use antumbra_crypto::{Key32, mac::MacKey, same_bytes, wrap::Kek};

use super::{key_files, store::Canary};

/// The version that the key of a root file has in its line. Replacing a root gives a key of another id.
const ROOT_VERSION: u32 = 1;
const CANARY_LABEL: &str = "antumbra/canary/1";

/// Where the root key is kept, and the epoch keys beside it.
#[derive(Clone, Debug)]
pub struct RootFile {
    path: PathBuf,
    epochs: EpochFiles,
}

/// Whether the keys of epochs can be kept in files beside the root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EpochFiles {
    /// One process has the store for itself, so its folder is the one place.
    Beside,
    /// Several processes share the store and no folder.
    None,
}

/// Why a root key or an epoch key does not serve. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The store holds data that was encrypted under a root key, and its file is gone.
    #[error(
        "the root key file {} is missing, and the data cannot be read without it: put the file back, or set keys.root_file",
        .0.display()
    )]
    Missing(PathBuf),
    /// Others than the owner may read the file.
    #[error("the key file {} can be read by others: run `chmod 600 {}`", .0.display(), .0.display())]
    Exposed(PathBuf),
    /// The file does not hold keys of 32 bytes.
    #[error("the key file {} does not hold a key of 32 bytes: put the right file back", .0.display())]
    Malformed(PathBuf),
    /// The key is a good one, but not that of this store.
    #[error(
        "this root key is not the one that the data was encrypted under: put the right file back, or set keys.root_file"
    )]
    Other,
    /// A file that the stored keys were wrapped with is gone, or is another.
    #[error(
        "the epoch key file {} is missing or is not that of this store: put its newest copy back. If the store was \
         restored from a copy of before that file was erased, its keys are destroyed: restore a newer copy",
        .0.display()
    )]
    Epoch(PathBuf),
    /// The file could not be read or written.
    #[error("{doing} the key file {} failed", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// One root key of this process.
pub(super) struct Root {
    pub(super) key: Key32,
    pub(super) kek: Kek,
}

impl Root {
    pub(super) fn new(key: Key32) -> Root {
        let kek = Kek::new(ROOT_VERSION, &key);
        Root { key, kek }
    }
}

impl RootFile {
    /// The root key in the file `path`, and no epoch keys: for a store that several processes share.
    pub fn at(path: impl Into<PathBuf>) -> RootFile {
        RootFile {
            path: path.into(),
            epochs: EpochFiles::None,
        }
    }

    /// The same, with the keys of epochs in files beside it: for a store that one process has for itself.
    pub fn with_epochs(mut self) -> RootFile {
        self.epochs = EpochFiles::Beside;
        self
    }

    /// Whether new epochs have a key of their own.
    pub(super) fn epochs(&self) -> EpochFiles {
        self.epochs
    }

    /// Reads the keys, newest first. Makes the file if there is none and no data depends on it yet.
    pub(super) fn read(&self, needed: bool) -> Result<Vec<Root>, RootError> {
        match key_files::read(&self.path)? {
            Some(keys) => Ok(keys.into_iter().map(Root::new).collect()),
            None if needed => Err(RootError::Missing(self.path.clone())),
            None => {
                // Durable before anything is encrypted under it.
                let key = Key32::random();
                key_files::create(&self.path, &key)?;
                Ok(vec![Root::new(key)])
            }
        }
    }

    /// Puts a new key before those that the file holds.
    pub(super) fn add(&self) -> Result<(), RootError> {
        let old = key_files::read(&self.path)?.ok_or_else(|| RootError::Missing(self.path.clone()))?;
        let new = Key32::random();
        let keys: Vec<&Key32> = std::iter::once(&new).chain(&old).collect();
        if keys.len() > key_files::KEYS_MAX {
            return Err(RootError::Malformed(self.path.clone()));
        }
        key_files::replace(&self.path, &keys)
    }

    /// Leaves only the first key in the file.
    pub(super) fn keep_newest(&self) -> Result<(), RootError> {
        let keys = key_files::read(&self.path)?.ok_or_else(|| RootError::Missing(self.path.clone()))?;
        match &keys[..] {
            [newest, _, ..] => key_files::replace(&self.path, &[newest]),
            _ => Ok(()),
        }
    }

    /// The key of epoch `number`, if its file is there.
    pub(super) fn read_epoch(&self, number: u32) -> Result<Option<Key32>, RootError> {
        let path = self.epoch_path(number);
        match key_files::read(&path)? {
            Some(mut keys) if keys.len() == 1 => Ok(keys.pop()),
            Some(_) => Err(RootError::Malformed(path)),
            None => Ok(None),
        }
    }

    /// The key of epoch `number`, durable. One that an earlier attempt left is taken: a store whose answer was lost may
    /// depend on it.
    pub(super) fn make_epoch(&self, number: u32) -> Result<Key32, RootError> {
        match self.read_epoch(number) {
            Ok(Some(left)) => return Ok(left),
            Ok(None) | Err(RootError::Malformed(_)) => {}
            Err(error) => return Err(error),
        }
        let key = Key32::random();
        key_files::replace(&self.epoch_path(number), &[&key])?;
        Ok(key)
    }

    /// Overwrites and removes the key of epoch `number`.
    pub(super) fn erase_epoch(&self, number: u32) -> Result<(), RootError> {
        key_files::erase(&self.epoch_path(number))
    }

    /// The epochs whose files are there.
    pub(super) fn list_epochs(&self) -> Result<Vec<u32>, RootError> {
        let folder = key_files::folder(&self.path);
        let prefix = key_files::beside(&self.path, EPOCH);
        let Some(prefix) = prefix.file_name().and_then(|name| name.to_str()) else {
            return Ok(Vec::new());
        };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(key_files::failed("listing", folder))?,
        };
        let number = |entry: io::Result<fs::DirEntry>| {
            let name = entry.ok()?.file_name();
            name.to_str()?.strip_prefix(prefix)?.parse().ok()
        };
        Ok(entries.filter_map(number).collect())
    }

    /// Where the key of epoch `number` is.
    pub(super) fn epoch_path(&self, number: u32) -> PathBuf {
        key_files::beside(&self.path, &format!("{EPOCH}{number}"))
    }

    /// Where the root key is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

const EPOCH: &str = ".epoch-";

/// What the store remembers of the root, to know it again without holding it.
pub(super) fn canary(root: &Root) -> Canary {
    let digest = MacKey::new(&root.key.derive(CANARY_LABEL)).digest(CANARY_LABEL, &[]);
    Canary {
        root_id: root.kek.id().0,
        digest,
    }
}

/// Whether the store was made with, or moved to, this root.
pub(super) fn is_of(root: &Root, stored: &Canary) -> bool {
    let ours = canary(root);
    ours.root_id == stored.root_id && same_bytes(&ours.digest, &stored.digest)
}
