//! Epochs and roots from outside and in between: whatever stops whenever, every key that was not destroyed opens, and one
//! that was destroyed does not come back.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use antumbra_crypto::wrap::WrappedKey;
use antumbra_store::{Blobs, EmbeddedConfig, Raw, Record, Scan, StoreConfig, Table};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{super::*, files_under};
use crate::{
    AppState, ServerConfig, World,
    config::KeysConfig,
    testing::Place,
    world::{Clock, Ids},
};

const EPOCH: Duration = Duration::from_secs(7 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const KINDS: [KeyKind; 4] = [KeyKind::Request, KeyKind::Silo, KeyKind::Subject, KeyKind::Consent];
/// More than one page, so that a page can be done and another not.
const OWNERS: u128 = 600;

/// A server's inside, which can be stopped anywhere and opened again.
struct Office {
    clock: Clock,
    organization: OrganizationId,
    app: Option<AppState>,
    place: Place,
}

impl Office {
    /// In its first epoch, with keys of every kind.
    async fn open() -> (Office, Keys) {
        Office::open_in(Place::fresh()).await
    }

    async fn open_in(place: Place) -> (Office, Keys) {
        let mut office = Office::without_epochs(place).await;
        let keys = office.add_keys(0..OWNERS).await;
        office.reopen(EpochsFrom::Files).await;
        office.settle().await;
        assert_eq!(office.epoch_files(), [1]);
        (office, keys)
    }

    /// As a version left it that knew of no epochs.
    async fn without_epochs(place: Place) -> Office {
        let mut office = Office {
            clock: Clock::manual("2026-03-02T10:00:00Z".parse().unwrap()),
            organization: OrganizationId(Uuid::nil()),
            app: None,
            place,
        };
        office.reopen(EpochsFrom::Nowhere).await;
        office.organization = office.app().first_organization().await.unwrap().id;
        office
    }

    fn app(&self) -> &AppState {
        self.app.as_ref().unwrap()
    }

    fn root(&self) -> RootFile {
        RootFile::at(self.place.folder().join("root.key")).with_epochs()
    }

    async fn open_store(&self) -> Store {
        Store::open(self.place.store(), &crate::tables()).await.unwrap()
    }

    async fn stop(&mut self) {
        if let Some(app) = self.app.take() {
            app.store.clone().close().await;
        }
    }

    /// Stops, and starts again.
    async fn reopen(&mut self, epochs: EpochsFrom) {
        self.stop().await;
        let (root, epoch) = match epochs {
            EpochsFrom::Files => (self.root(), Some(EPOCH)),
            EpochsFrom::Store => (RootFile::at(self.root().path()), Some(EPOCH)),
            EpochsFrom::Nowhere => (RootFile::at(self.root().path()), None),
        };
        let store = self.open_store().await;
        let world = World {
            blobs: Blobs::local(self.place.folder().join("blobs")).await.unwrap(),
            keys: Keyring::open(&store, &root).await.unwrap(),
            ids: Ids::new(self.clock.clone()),
            clock: self.clock.clone(),
            store,
        };
        let config = ServerConfig {
            keys: KeysConfig { epoch },
            ..ServerConfig::default()
        };
        self.app = Some(AppState::new(config, world));
    }

    async fn add_keys(&self, owners: std::ops::Range<u128>) -> Keys {
        let keys = self.app().keys.organization(self.organization).await.unwrap();
        let mut tx = self.app().store.begin_write().await.unwrap();
        let adding = keys.adding(&mut tx).await.unwrap();
        let mut made = Keys::new();
        for owner in owners.map(Uuid::from_u128) {
            for kind in KINDS {
                made.insert((kind.as_str(), owner), *adding.create(&mut tx, kind, owner).expose());
            }
        }
        tx.commit().await.unwrap();
        made
    }

    async fn destroy(&self, kind: KeyKind, owner: u128) {
        let mut tx = self.app().store.begin_write().await.unwrap();
        destroy_key(&mut tx, self.organization, kind, Uuid::from_u128(owner));
        tx.commit().await.unwrap();
    }

    /// Whatever is due, until nothing is.
    async fn keep(&self) {
        for _ in 0..2 {
            keep_epochs(self.app()).await.unwrap();
            self.app().job_runner().run_until_idle().await.unwrap();
        }
    }

    /// The same, and what is due a day later.
    async fn settle(&self) {
        self.keep().await;
        self.clock.advance(DAY);
        self.keep().await;
    }

    async fn expect(&self, expected: &Keys) {
        let keys = self.app().keys.organization(self.organization).await.unwrap();
        let mut reader = self.app().store.begin_read().await.unwrap();
        for kind in KINDS {
            let owners: Vec<Uuid> = (0..OWNERS + 100).map(Uuid::from_u128).collect();
            let found = keys.find_keys(&mut reader, kind, &owners).await.unwrap();
            for (owner, found) in owners.into_iter().zip(found) {
                let found = found.map(|key| *key.expose());
                assert_eq!(found, expected.get(&(kind.as_str(), owner)).copied());
            }
        }
    }

    async fn keks(&self) -> usize {
        let mut reader = self.app().store.begin_read().await.unwrap();
        store::list_keks(&mut reader, self.organization).await.unwrap().len()
    }

    fn epoch_files(&self) -> Vec<u32> {
        let mut files = self.root().list_epochs().unwrap();
        files.sort_unstable();
        files
    }
}

/// Where a start looks for epochs.
#[derive(Clone, Copy)]
enum EpochsFrom {
    Files,
    Store,
    Nowhere,
}

type Keys = BTreeMap<(&'static str, Uuid), [u8; 32]>;

#[tokio::test]
async fn a_folder_of_before_epochs_opens_and_gets_its_first_one() {
    #[derive(Serialize, Deserialize)]
    struct KekRowThen {
        wrapped: WrappedKey,
        state: store::KekState,
    }
    impl Record for KekRowThen {
        const VERSION: u8 = 1;
    }
    const KEKS_THEN: Table<(Uuid, u32), KekRowThen> = Table::new("organization_keks");

    let mut office = Office::without_epochs(Place::fresh()).await;
    let keys = office.add_keys(0..10).await;
    let mut tx = office.app().store.begin_write().await.unwrap();
    let rows = tx.scan(&KEKS_THEN, Scan::prefix(&())).await.unwrap();
    for (key, row) in &rows {
        tx.put(&KEKS_THEN, key, row);
    }
    tx.commit().await.unwrap();

    office.reopen(EpochsFrom::Files).await;
    office.expect(&keys).await;
    office.settle().await;
    office.expect(&keys).await;
    assert_eq!((office.epoch_files(), office.keks().await), (vec![1], 1));
    office.reopen(EpochsFrom::Files).await;
    office.expect(&keys).await;
}

#[tokio::test]
async fn an_epoch_begins_when_one_is_due_and_the_one_before_ends_a_day_later() {
    let (office, keys) = Office::open().await;
    office.clock.advance(EPOCH - DAY - Duration::from_millis(1));
    office.keep().await;
    assert_eq!(office.epoch_files(), [1]);
    office.clock.advance(Duration::from_millis(1));
    office.keep().await;
    assert_eq!((office.epoch_files(), office.keks().await), (vec![1, 2], 1));
    office.clock.advance(DAY - Duration::from_millis(1));
    office.keep().await;
    assert_eq!(
        office.epoch_files(),
        [1, 2],
        "a copy of yesterday can still be restored"
    );
    office.clock.advance(Duration::from_millis(1));
    office.keep().await;
    assert_eq!(office.epoch_files(), [2]);
    office.expect(&keys).await;
    office.clock.advance(EPOCH * 5);
    office.keep().await;
    assert_eq!(office.epoch_files(), [2, 3], "what was missed is not made up for");
    office.expect(&keys).await;
    assert_eq!(erasure_horizon(EPOCH), EPOCH + DAY);
    assert_eq!(erasure_horizon(Duration::from_secs(60)), Duration::from_secs(120));
}

#[tokio::test]
async fn yesterdays_copy_of_the_embedded_store_opens_with_the_key_files_of_today() {
    let (mut office, keys) = Office::open_in(Place::embedded()).await;
    office.stop().await;
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&office.place.folder().join("store"), &copy.path().join("store"));
    office.reopen(EpochsFrom::Files).await;
    office.clock.advance(EPOCH);
    office.keep().await;
    office.add_keys(OWNERS..OWNERS + 5).await;
    office.stop().await;
    fs::remove_dir_all(office.place.folder().join("store")).unwrap();
    copy_folder(&copy.path().join("store"), &office.place.folder().join("store"));
    office.reopen(EpochsFrom::Files).await;
    office.expect(&keys).await;
    office.settle().await;
    office.expect(&keys).await;
    assert_eq!((office.epoch_files(), office.keks().await), (vec![2], 1));
}

#[tokio::test]
async fn an_epoch_may_be_cut_short_at_every_step() {
    for step in 0..8 {
        let (mut office, mut keys) = Office::open().await;
        office.clock.advance(EPOCH);
        let keyring = office.app().keys.clone();
        let organization = keyring.organization(office.organization).await.unwrap();
        let page = async || rotation::rewrap_page(&office.app().store, &organization).await.unwrap();
        if step == 0 {
            fs::write(office.place.folder().join("root.key.epoch-2.new"), [7; 11]).unwrap();
        }
        if step >= 1 {
            keyring.make_epoch_key(2).await.unwrap();
            assert_eq!(office.epoch_files(), [1, 2]);
        }
        if step >= 2 {
            keyring.begin_epoch_if_due(office.clock.now(), EPOCH).await.unwrap();
        }
        if step >= 3 {
            assert_eq!(keyring.behind().await.unwrap(), [office.organization]);
            rotate(office.app(), office.organization).await.unwrap();
        }
        if step >= 4 {
            assert_eq!(page().await, rotation::Rewrapped::Page);
            keyring
                .erase_past_epochs(office.clock.now(), Duration::ZERO)
                .await
                .unwrap();
            assert_eq!(office.epoch_files(), [1, 2], "the old KEK is still needed");
        }
        if step >= 5 {
            while page().await == rotation::Rewrapped::Page {}
        }
        if step == 6 {
            fs::write(office.place.folder().join("root.key.epoch-1"), [0; 32]).unwrap();
        }
        if step >= 7 {
            keyring
                .erase_past_epochs(office.clock.now(), Duration::ZERO)
                .await
                .unwrap();
            assert_eq!(office.epoch_files(), [2]);
        }
        drop((keyring, organization));
        office.reopen(EpochsFrom::Files).await;
        office.expect(&keys).await;
        // Life goes on before anything is made up for.
        keys.extend(office.add_keys(OWNERS..OWNERS + 5).await);
        office.destroy(KeyKind::Subject, 3).await;
        keys.remove(&("subject", Uuid::from_u128(3)));
        office.expect(&keys).await;

        office.settle().await;
        office.expect(&keys).await;
        assert_eq!((office.epoch_files(), office.keks().await), (vec![2], 1), "step {step}");
        office.reopen(EpochsFrom::Files).await;
        office.expect(&keys).await;
    }
}

#[tokio::test]
async fn a_destroyed_key_does_not_come_back_from_a_copy_of_the_embedded_store() {
    let (mut office, mut keys) = Office::open_in(Place::embedded()).await;
    office.stop().await;
    let copy = tempfile::tempdir().unwrap();
    copy_folder(office.place.folder(), copy.path());
    let old_epoch_key = fs::read(office.place.folder().join("root.key.epoch-1")).unwrap();

    office.reopen(EpochsFrom::Files).await;
    office.destroy(KeyKind::Subject, 42).await;
    keys.remove(&("subject", Uuid::from_u128(42)));
    office.clock.advance(EPOCH);
    office.settle().await;
    office.expect(&keys).await;
    let current = office.app().keys.organization(office.organization).await.unwrap();
    office.stop().await;
    for file in files_under(office.place.folder()) {
        let bytes = fs::read(&file).unwrap();
        let holds = bytes.windows(old_epoch_key.len()).any(|window| window == old_epoch_key);
        assert!(!holds, "the old epoch's key is in {}", file.display());
    }

    // The copy with the key files that it was made with: that is what the rest guards against.
    let old_store = StoreConfig::Embedded(EmbeddedConfig::new(copy.path().join("store")));
    let old_store = Store::open(old_store, &crate::tables()).await.unwrap();
    let old_root = RootFile::at(copy.path().join("root.key")).with_epochs();
    let old_keys = Keyring::open(&old_store, &old_root).await.unwrap();
    let old_keys = old_keys.organization(office.organization).await.unwrap();
    let mut reader = old_store.begin_read().await.unwrap();
    let owner = [Uuid::from_u128(42)];
    let found = old_keys.find_keys(&mut reader, KeyKind::Subject, &owner).await.unwrap();
    assert!(found[0].is_some());

    // The copy with the key files of today.
    let refused = Keyring::open(&old_store, &office.root()).await.unwrap_err();
    assert!(matches!(refused, KeyringError::Root(RootError::Epoch(_))));
    let canary = store::find_canary(&mut reader).await.unwrap().unwrap();
    let today = Wrappers::read(&office.root(), office.root().read(true).unwrap(), &canary, None).unwrap();
    for (_, _, kek) in store::list_all_keks(&mut reader).await.unwrap() {
        assert!(today.find(&kek.wrapped).is_none(), "a KEK of the copy opens");
    }
    for kind in KINDS {
        for (_, wrapped) in store::list_keys(&mut reader, office.organization, kind, None, usize::MAX)
            .await
            .unwrap()
        {
            assert!(current.keks().find(&wrapped).is_none(), "a key of the copy opens");
        }
    }
}

#[tokio::test]
async fn a_lost_or_foreign_epoch_key_is_refused_at_start() {
    let (mut office, _) = Office::open().await;
    office.stop().await;
    let path = office.place.folder().join("root.key.epoch-1");
    let right = fs::read(&path).unwrap();
    let store = office.open_store().await;
    for (bytes, exposed) in [(None, false), (Some(vec![9; 32]), false), (Some(right.clone()), true)] {
        fs::remove_file(&path).ok();
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
            let mode = if exposed { 0o644 } else { 0o600 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        match Keyring::open(&store, &office.root()).await.unwrap_err() {
            KeyringError::Root(RootError::Epoch(named)) => assert_eq!((named, exposed), (path.clone(), false)),
            KeyringError::Root(RootError::Exposed(named)) => assert_eq!((named, exposed), (path.clone(), true)),
            error => panic!("{error}"),
        }
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    Keyring::open(&store, &office.root()).await.unwrap();
}

#[tokio::test]
async fn without_files_an_epoch_brings_new_keks_under_the_root() {
    let (mut office, keys) = (Office::without_epochs(Place::fresh()).await, Keys::new());
    office.reopen(EpochsFrom::Store).await;
    let mut keys: Keys = keys.into_iter().chain(office.add_keys(0..OWNERS).await).collect();
    for _ in 0..2 {
        office.clock.advance(EPOCH);
        office.settle().await;
        keys.extend(office.add_keys(OWNERS..OWNERS + 5).await);
        office.expect(&keys).await;
    }
    assert!(office.epoch_files().is_empty());
    let mut reader = office.app().store.begin_read().await.unwrap();
    let rows = store::list_keks(&mut reader, office.organization).await.unwrap();
    assert_eq!(
        rows.iter()
            .map(|(version, row)| (*version, row.epoch))
            .collect::<Vec<_>>(),
        [(3, 2)]
    );
}

#[tokio::test]
async fn a_root_may_be_replaced_and_cut_short_at_every_step() {
    for step in 0..5 {
        let (mut office, keys) = Office::open().await;
        let old = fs::read(office.root().path()).unwrap();
        let index = office.app().keys.organization(office.organization).await.unwrap();
        let (index, signing) = (index.index.blind(&[b"ada"]), index.signing.public_pem());
        office.stop().await;
        let store = office.open_store().await;
        if step == 0 {
            fs::write(office.place.folder().join("root.key.new"), [7; 40]).unwrap();
        }
        if step >= 1 {
            office.root().add().unwrap();
        }
        if step >= 2 {
            Keyring::open(&store, &office.root()).await.unwrap();
        }
        if step >= 3 {
            office.root().keep_newest().unwrap();
        }
        if step >= 4 {
            Keyring::rotate_root(&store, &office.root()).await.unwrap();
        }
        store.close().await;
        office.reopen(EpochsFrom::Files).await;
        office.expect(&keys).await;
        office.stop().await;
        let store = office.open_store().await;
        Keyring::rotate_root(&store, &office.root()).await.unwrap();
        store.close().await;

        let new = fs::read(office.root().path()).unwrap();
        assert_eq!(new.len(), 32);
        assert!(new != old);
        office.reopen(EpochsFrom::Files).await;
        office.expect(&keys).await;
        let same = office.app().keys.organization(office.organization).await.unwrap();
        assert_eq!(
            (same.index.blind(&[b"ada"]), same.signing.public_pem()),
            (index, signing)
        );
        office.clock.advance(EPOCH);
        office.settle().await;
        office.expect(&keys).await;

        let root = office.place.folder().join("old.key");
        key_files::create(&root, &Key32::from_slice(&old).unwrap()).unwrap();
        let refused = Keyring::open(&office.app().store, &RootFile::at(root))
            .await
            .unwrap_err();
        assert!(matches!(refused, KeyringError::Root(RootError::Other)));
    }
}

#[tokio::test]
async fn a_key_that_does_not_open_stops_the_re_wrapping_before_anything_is_destroyed() {
    const SUBJECTS: Table<(Uuid, Uuid), Raw> = Table::new("subject_keys");
    let (office, keys) = Office::open().await;
    let place = (office.organization.0, Uuid::from_u128(5));
    let mut tx = office.app().store.begin_write().await.unwrap();
    let Raw(right) = tx.get(&SUBJECTS, &place).await.unwrap().unwrap();
    let mut damaged = right.clone();
    damaged[60] ^= 1;
    tx.put(&SUBJECTS, &place, &Raw(damaged));
    tx.commit().await.unwrap();
    office.clock.advance(EPOCH);
    office.settle().await;
    assert_eq!((office.epoch_files(), office.keks().await), (vec![1, 2], 2));

    let mut tx = office.app().store.begin_write().await.unwrap();
    tx.put(&SUBJECTS, &place, &Raw(right));
    tx.commit().await.unwrap();
    office.clock.advance(Duration::from_secs(10));
    office.settle().await;
    office.expect(&keys).await;
    assert_eq!((office.epoch_files(), office.keks().await), (vec![2], 1));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        let to = to.join(name);
        if entry.is_dir() {
            copy_folder(&entry, &to);
        } else {
            fs::copy(&entry, &to).unwrap();
        }
    }
}
