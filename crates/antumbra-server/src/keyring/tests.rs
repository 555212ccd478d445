mod epochs;

use std::{fs, os::unix::fs::PermissionsExt};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::*;
use crate::testing::Place;

struct House {
    store: Store,
    place: Place,
}

const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(7));

impl House {
    async fn new() -> House {
        House::within(Place::fresh()).await
    }

    async fn within(place: Place) -> House {
        let store = Store::open(place.store(), TABLES).await.unwrap();
        House { store, place }
    }

    fn root(&self) -> RootFile {
        RootFile::at(self.place.folder().join("root.key"))
    }

    async fn keyring(&self) -> Result<Keyring, KeyringError> {
        Keyring::open(&self.store, &self.root()).await
    }

    async fn with_organization(&self) -> Arc<OrganizationKeys> {
        let keyring = self.keyring().await.unwrap();
        let mut tx = self.store.begin_write().await.unwrap();
        keyring.create_organization(&mut tx, ORGANIZATION).await.unwrap();
        tx.commit().await.unwrap();
        keyring.organization(ORGANIZATION).await.unwrap()
    }
}

#[tokio::test]
async fn the_first_start_makes_a_root_key_that_only_its_owner_reads() {
    let house = House::new().await;
    house.keyring().await.unwrap();
    let path = house.place.folder().join("root.key");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (32, 0o600));
    house.keyring().await.unwrap();
}

#[tokio::test]
async fn a_root_key_that_others_can_read_is_refused_with_the_way_out() {
    let house = House::new().await;
    house.keyring().await.unwrap();
    let path = house.place.folder().join("root.key");
    for mode in [0o640, 0o604, 0o620, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = house.keyring().await.unwrap_err();
        assert!(
            matches!(&refused, KeyringError::Root(error @ RootError::Exposed(_)) if error.to_string().contains("chmod 600"))
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    house.keyring().await.unwrap();
}

#[tokio::test]
async fn a_missing_root_key_is_not_made_anew_once_data_depends_on_it() {
    let house = House::new().await;
    house.keyring().await.unwrap();
    let path = house.place.folder().join("root.key");
    fs::remove_file(&path).unwrap();
    let refused = house.keyring().await.unwrap_err();
    assert!(matches!(refused, KeyringError::Root(RootError::Missing(_))));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_wrong_or_broken_root_key_is_refused_at_start() {
    let house = House::new().await;
    house.keyring().await.unwrap();
    let path = house.place.folder().join("root.key");
    for (bytes, other) in [
        (vec![1; 32], true),
        (vec![1; 31], false),
        (vec![1; 33], false),
        (vec![], false),
    ] {
        fs::write(&path, bytes).unwrap();
        match house.keyring().await.unwrap_err() {
            KeyringError::Root(RootError::Other) => assert!(other),
            KeyringError::Root(RootError::Malformed(_)) => assert!(!other),
            error => panic!("{error}"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Greeting {
    to: u32,
}

impl antumbra_crypto::token::Claims for Greeting {
    const KIND: &'static str = "greeting";
}

#[tokio::test]
async fn an_organizations_keys_are_the_same_after_a_restart() {
    let house = House::new().await;
    let before = house.with_organization().await;
    let after = house.keyring().await.unwrap().organization(ORGANIZATION).await.unwrap();
    assert_eq!(before.index.blind(&[b"ada"]), after.index.blind(&[b"ada"]));
    assert_eq!(before.pepper.digest("x", &[]), after.pepper.digest("x", &[]));
    assert_eq!(before.manifest.digest("x", &[]), after.manifest.digest("x", &[]));
    assert_eq!(before.signing.public_pem(), after.signing.public_pem());
    let token = before.tokens.sign(&Greeting { to: 5 });
    assert_eq!(after.tokens.verify::<Greeting>(&token).unwrap().to, 5);
}

#[tokio::test]
async fn an_organization_without_keys_is_not_found() {
    let house = House::new().await;
    let keyring = house.keyring().await.unwrap();
    let refused = keyring.organization(ORGANIZATION).await.unwrap_err();
    assert!(matches!(refused, KeyringError::NoOrganization));
}

#[tokio::test]
async fn a_content_key_is_found_again_until_it_is_destroyed() {
    let house = House::new().await;
    let keys = house.with_organization().await;
    let (ada, grace) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut tx = house.store.begin_write().await.unwrap();
    let key = keys.create_key(&mut tx, KeyKind::Subject, ada).await.unwrap();
    tx.commit().await.unwrap();

    let mut reader = house.store.begin_read().await.unwrap();
    let found = keys
        .find_keys(&mut reader, KeyKind::Subject, &[grace, ada])
        .await
        .unwrap();
    assert!(found[0].is_none());
    assert_eq!(found[1].as_ref().unwrap().expose(), key.expose());
    assert!(
        keys.find_key(&mut reader, KeyKind::Request, ada)
            .await
            .unwrap()
            .is_none()
    );

    let mut tx = house.store.begin_write().await.unwrap();
    destroy_key(&mut tx, ORGANIZATION, KeyKind::Subject, ada);
    tx.commit().await.unwrap();
    let mut reader = house.store.begin_read().await.unwrap();
    assert!(
        keys.find_key(&mut reader, KeyKind::Subject, ada)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_wrapped_key_moved_to_another_owner_or_kind_does_not_open() {
    let house = House::new().await;
    let keys = house.with_organization().await;
    let (ada, grace) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let (_, wrapped) = keys.seal_new(KeyKind::Subject, ada);
    let mut tx = house.store.begin_write().await.unwrap();
    let adding = keys.adding(&mut tx).await.unwrap();
    adding.put(&mut tx, KeyKind::Subject, grace, &wrapped).unwrap();
    adding.put(&mut tx, KeyKind::Request, ada, &wrapped).unwrap();
    for (kind, owner) in [(KeyKind::Subject, grace), (KeyKind::Request, ada)] {
        let refused = keys.find_key(&mut tx, kind, owner).await.unwrap_err();
        assert!(matches!(
            refused,
            KeyringError::Sealed {
                source: OpenFailed::Refused,
                ..
            }
        ));
    }
}

#[test]
fn rows_of_epochs_and_re_wrappings_stay_readable() {
    fn read<V: antumbra_store::Value>(row: &[u8]) -> V {
        V::decode(row).unwrap()
    }
    let epoch: store::EpochRow = read(include_bytes!("../../../../fuzz/seeds/records/key_epoch"));
    assert_eq!((epoch.number, epoch.key_id), (2, Some([1, 2, 3, 4, 5, 6, 7, 8])));
    let epoch: store::EpochRow = read(include_bytes!("../../../../fuzz/seeds/records/key_epoch_without_key"));
    assert_eq!((epoch.number, epoch.key_id), (1, None));
    let rewrap: store::RewrapRow = read(include_bytes!("../../../../fuzz/seeds/records/key_rewraps"));
    assert_eq!((rewrap.kek_version, rewrap.kind), (3, 2));
    assert_eq!(
        rewrap.after,
        Some(Uuid::from_u128(0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f))
    );
}

#[tokio::test]
async fn nothing_of_a_key_is_stored_in_clear_in_the_files_of_the_embedded_engine() {
    let house = House::within(Place::embedded()).await;
    let keys = house.with_organization().await;
    let mut tx = house.store.begin_write().await.unwrap();
    let key = keys
        .create_key(&mut tx, KeyKind::Silo, Uuid::from_u128(1))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let root = fs::read(house.place.folder().join("root.key")).unwrap();
    let House { store, place } = house;
    store.close().await;
    for file in files_under(&place.folder().join("store")) {
        let bytes = fs::read(file).unwrap();
        let holds = |secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!holds(key.expose()) && !holds(&root));
    }
}

fn files_under(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] })
        .collect()
}
