//! What wraps the organizations' KEKs: a root key alone, or a root key and the key of an epoch together.
//!
//! Both have to be at hand to open a KEK that was wrapped under both. So once an epoch's key is erased, every copy of what
//! it wrapped is noise, even to whoever holds the root.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use antumbra_crypto::{
    Key32, OpenFailed,
    mac::MacKey,
    wrap::{self, Kek, WrappedKey},
};

use super::{
    RootError, RootFile,
    root::{self, EpochFiles, Root},
    store::{Canary, EpochRow},
};

const EPOCH_LABEL: &str = "antumbra/epoch/1";
/// Stands for the epoch of a wrapper that is a root alone.
pub(super) const NO_EPOCH: u32 = 0;

/// Every wrapper that can be had from the key files.
pub(super) struct Wrappers {
    /// Newest first.
    roots: Vec<Arc<Root>>,
    epochs: BTreeMap<u32, Arc<Key32>>,
    /// The epoch whose key wraps now, or [`NO_EPOCH`].
    current: u32,
    all: Vec<Wrapper>,
}

/// A key that wraps KEKs.
pub(super) struct Wrapper {
    /// The place of its root among the roots.
    root: usize,
    pub(super) epoch: u32,
    pub(super) kek: Kek,
}

impl Wrappers {
    /// What the key files give, checked against what the store remembers.
    pub(super) fn read(
        file: &RootFile,
        roots: Vec<Root>,
        canary: &Canary,
        epoch: Option<&EpochRow>,
    ) -> Result<Wrappers, RootError> {
        if !roots.iter().any(|root| root::is_of(root, canary)) {
            return Err(RootError::Other);
        }
        let key_id = epoch.and_then(|epoch| epoch.key_id);
        let current = epoch
            .filter(|_| key_id.is_some())
            .map_or(NO_EPOCH, |epoch| epoch.number);
        let mut epochs = BTreeMap::new();
        if current != NO_EPOCH || file.epochs() == EpochFiles::Beside {
            for number in file.list_epochs()? {
                match file.read_epoch(number) {
                    Ok(key) => epochs.extend(key.map(|key| (number, Arc::new(key)))),
                    // Left by an attempt that was cut short. If something depends on it, that is found out right below or
                    // when the KEKs are looked through.
                    Err(RootError::Malformed(_)) if number != current => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let roots = roots.into_iter().map(Arc::new).collect();
        let wrappers = Wrappers::new(roots, epochs, current);
        let is_there = |id: [u8; 8]| {
            let mut of_epoch = wrappers.all.iter().filter(|wrapper| wrapper.epoch == current);
            of_epoch.any(|wrapper| wrapper.kek.id().0 == id)
        };
        match key_id {
            Some(id) if !is_there(id) => Err(RootError::Epoch(file.epoch_path(current))),
            _ => Ok(wrappers),
        }
    }

    fn new(roots: Vec<Arc<Root>>, epochs: BTreeMap<u32, Arc<Key32>>, current: u32) -> Wrappers {
        let mut all = Vec::new();
        for (place, root) in roots.iter().enumerate() {
            let alone = Kek::new(root.kek.version(), &root.key);
            all.push(Wrapper {
                root: place,
                epoch: NO_EPOCH,
                kek: alone,
            });
            all.extend(epochs.iter().map(|(number, epoch)| Wrapper {
                root: place,
                epoch: *number,
                kek: Kek::new(*number, &together(&root.key, epoch)),
            }));
        }
        Wrappers {
            roots,
            epochs,
            current,
            all,
        }
    }

    /// The newest root.
    pub(super) fn root(&self) -> &Root {
        &self.roots[0]
    }

    /// Every root, newest first.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Root> {
        self.roots.iter().map(Arc::as_ref)
    }

    /// The one that wraps new KEKs.
    pub(super) fn active(&self) -> &Wrapper {
        self.newest(self.current)
            .expect("the current epoch's key was there when it became current")
    }

    /// The one that a stored KEK names.
    pub(super) fn find(&self, wrapped: &WrappedKey) -> Option<&Wrapper> {
        let is_named =
            |wrapper: &&Wrapper| wrapper.kek.version() == wrapped.kek_version() && wrapper.kek.id() == wrapped.kek_id();
        self.all.iter().find(is_named)
    }

    /// Opens a stored KEK.
    pub(super) fn unwrap(&self, context: &[&[u8]], wrapped: &WrappedKey) -> Result<Key32, OpenFailed> {
        let wrapper = self.find(wrapped).ok_or(OpenFailed::OtherKek)?;
        wrap::unwrap(&wrapper.kek, context, wrapped)
    }

    /// The same KEK under the newest root and the same epoch, or nothing if it is so already. It stays with its epoch:
    /// what an epoch's key wrapped has to be lost with it.
    pub(super) fn under_newest_root(
        &self,
        context: &[&[u8]],
        wrapped: &WrappedKey,
    ) -> Result<Option<WrappedKey>, OpenFailed> {
        let wrapper = self.find(wrapped).ok_or(OpenFailed::OtherKek)?;
        if wrapper.root == 0 {
            return Ok(None);
        }
        let newest = self.newest(wrapper.epoch).ok_or(OpenFailed::OtherKek)?;
        let key = wrap::unwrap(&wrapper.kek, context, wrapped)?;
        Ok(Some(wrap::wrap(&newest.kek, context, &key)))
    }

    /// The same with the key of one more epoch. It wraps nothing yet.
    pub(super) fn with_epoch(&self, number: u32, key: Key32) -> Wrappers {
        let mut epochs = self.epochs.clone();
        epochs.insert(number, Arc::new(key));
        Wrappers::new(self.roots.clone(), epochs, self.current)
    }

    /// The same, wrapping under the key of epoch `number`.
    pub(super) fn turned_to(&self, number: u32) -> Wrappers {
        Wrappers::new(self.roots.clone(), self.epochs.clone(), number)
    }

    /// The same without the keys of every other epoch than the current one.
    pub(super) fn without_past_epochs(&self) -> Wrappers {
        let current = self.epochs.get_key_value(&self.current);
        let epochs = current.map(|(number, key)| (*number, key.clone())).into_iter();
        Wrappers::new(self.roots.clone(), epochs.collect(), self.current)
    }

    /// The wrapper of an epoch under the newest root.
    pub(super) fn newest(&self, epoch: u32) -> Option<&Wrapper> {
        let of_epoch = |wrapper: &&Wrapper| wrapper.root == 0 && wrapper.epoch == epoch;
        self.all.iter().find(of_epoch)
    }
}

/// The key that only both together give.
fn together(root: &Key32, epoch: &Key32) -> Key32 {
    let mut digest = MacKey::new(&root.derive(EPOCH_LABEL)).digest(EPOCH_LABEL, &[epoch.expose()]);
    Key32::take(&mut digest)
}

/// The wrappers as everybody in this process sees them.
#[derive(Clone)]
pub(super) struct SharedWrappers(Arc<RwLock<Arc<Wrappers>>>);

impl SharedWrappers {
    pub(super) fn new(wrappers: Wrappers) -> SharedWrappers {
        SharedWrappers(Arc::new(RwLock::new(Arc::new(wrappers))))
    }

    pub(super) fn get(&self) -> Arc<Wrappers> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, wrappers: Wrappers) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(wrappers);
    }
}

impl fmt::Debug for SharedWrappers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedWrappers(..)")
    }
}
