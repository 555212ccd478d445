//! Keys while their KEK is rotated: several processes on one store, some of which have not heard of it.

use std::{cell::Cell, collections::BTreeMap, sync::Arc};

use antumbra_server::{
    ServerConfig,
    config::RunJobs,
    keyring::{self, KeyKind, Keyring, KeyringError, OrganizationKeys, RootFile, destroy_key},
};
use antumbra_store::{Raw, Scan, StoreError, Table};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::support::TestServer;

const KEKS: Table<(Uuid, u32), Raw> = Table::new("organization_keks");
const KINDS: [KeyKind; 4] = [KeyKind::Request, KeyKind::Silo, KeyKind::Subject, KeyKind::Consent];

async fn start() -> TestServer {
    let config = ServerConfig {
        run_jobs: RunJobs::WhenAsked,
        ..ServerConfig::default()
    };
    TestServer::with(config).await
}

/// The organization's keys as one more process on the same store holds them.
async fn in_another_process(server: &TestServer) -> Arc<OrganizationKeys> {
    let root = RootFile::at(server.folder().join("root.key"));
    let keyring = Keyring::open(&server.app().store, &root).await.unwrap();
    keyring.organization(server.organization).await.unwrap()
}

async fn rotate(server: &TestServer) {
    while let Err(error) = keyring::rotate(server.app(), server.organization).await {
        assert!(matches!(error, KeyringError::Store(StoreError::Conflict)), "{error}");
    }
}

/// The versions of the KEK that are still there.
async fn versions(server: &TestServer) -> Vec<u32> {
    let mut reader = server.app().store.begin_read().await.unwrap();
    let rows = reader
        .scan(&KEKS, Scan::prefix(&(server.organization.0,)))
        .await
        .unwrap();
    rows.into_iter().map(|((_, version), _)| version).collect()
}

#[tokio::test]
async fn a_process_that_has_not_heard_of_a_rotation_reads_and_adds_all_the_same() {
    let server = start().await;
    let app = server.app();
    let here = app.keys.organization(server.organization).await.unwrap();
    let there = in_another_process(&server).await;
    let (ada, grace) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let mut tx = app.store.begin_write().await.unwrap();
    let of_ada = there.create_key(&mut tx, KeyKind::Subject, ada).await.unwrap();
    tx.commit().await.unwrap();

    rotate(&server).await;
    server.run_jobs_until_idle().await;
    assert_eq!(versions(&server).await, [2]);

    let mut tx = app.store.begin_write().await.unwrap();
    let of_grace = there.create_key(&mut tx, KeyKind::Subject, grace).await.unwrap();
    tx.commit().await.unwrap();
    for keys in [&here, &there] {
        let mut reader = app.store.begin_read().await.unwrap();
        let found = keys
            .find_keys(&mut reader, KeyKind::Subject, &[ada, grace])
            .await
            .unwrap();
        let found: Vec<_> = found.iter().flatten().map(|key| *key.expose()).collect();
        assert_eq!(found, [*of_ada.expose(), *of_grace.expose()]);
    }
}

#[tokio::test]
async fn a_key_that_was_wrapped_before_a_rotation_is_not_stored_after_it() {
    let server = start().await;
    let store = &server.app().store;
    let there = in_another_process(&server).await;
    let owner = Uuid::from_u128(1);
    let (_, wrapped) = there.seal_new(KeyKind::Subject, owner);
    // This transaction sees the store as it was before the rotation, and is slow.
    let mut slow = store.begin_write().await.unwrap();
    let adding = there.adding(&mut slow).await.unwrap();
    adding.put(&mut slow, KeyKind::Subject, owner, &wrapped).unwrap();

    rotate(&server).await;
    server.run_jobs_until_idle().await;
    assert!(matches!(slow.commit().await, Err(StoreError::Conflict)));

    let mut again = store.begin_write().await.unwrap();
    let adding = there.adding(&mut again).await.unwrap();
    let stored = adding.put(&mut again, KeyKind::Subject, owner, &wrapped);
    assert!(
        matches!(stored, Err(StoreError::Conflict)),
        "it is wrapped under the old KEK"
    );
    let (key, wrapped) = there.seal_new(KeyKind::Subject, owner);
    adding.put(&mut again, KeyKind::Subject, owner, &wrapped).unwrap();
    again.commit().await.unwrap();
    let mut reader = store.begin_read().await.unwrap();
    let found = there
        .find_key(&mut reader, KeyKind::Subject, owner)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.expose(), key.expose());
}

#[tokio::test]
async fn a_key_that_is_destroyed_while_its_page_is_re_wrapped_stays_destroyed() {
    let server = start().await;
    let app = server.app();
    let keys = app.keys.organization(server.organization).await.unwrap();
    let owner = Uuid::from_u128(1);
    let mut tx = app.store.begin_write().await.unwrap();
    keys.create_key(&mut tx, KeyKind::Request, owner).await.unwrap();
    tx.commit().await.unwrap();
    rotate(&server).await;
    let mut slow = app.store.begin_write().await.unwrap();
    assert!(
        keys.find_key(&mut slow, KeyKind::Request, owner)
            .await
            .unwrap()
            .is_some()
    );
    destroy_key(&mut slow, server.organization, KeyKind::Request, owner);
    server.run_jobs_until_idle().await;
    // The re-wrapping wrote the row in between, so this is done anew.
    assert!(matches!(slow.commit().await, Err(StoreError::Conflict)));
    let mut tx = app.store.begin_write().await.unwrap();
    destroy_key(&mut tx, server.organization, KeyKind::Request, owner);
    tx.commit().await.unwrap();
    rotate(&server).await;
    server.run_jobs_until_idle().await;
    let mut reader = app.store.begin_read().await.unwrap();
    assert!(
        keys.find_key(&mut reader, KeyKind::Request, owner)
            .await
            .unwrap()
            .is_none()
    );
}

/// What a process knows that it has stored.
type Stored = BTreeMap<(usize, Uuid), [u8; 32]>;

/// Adds keys and destroys some, each in a transaction that lets others in between.
async fn add_and_destroy(server: &TestServer, keys: &OrganizationKeys, process: u64, mut chance: u64) -> Stored {
    let mut stored = Stored::new();
    let mut below = move |bound: u64| {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        (chance >> 11) % bound
    };
    for n in 0..60 {
        let owners: Vec<Uuid> = (0..=below(3))
            .map(|i| Uuid::from_u64_pair(below(u64::MAX), process << 32 | n << 8 | i))
            .collect();
        let kind = usize::try_from(below(3)).unwrap();
        let doomed = (below(4) == 0).then(|| stored.keys().next().copied()).flatten();
        loop {
            let mut tx = server.app().store.begin_write().await.unwrap();
            let made = async {
                let adding = keys.adding(&mut tx).await?;
                let made: Vec<_> = owners
                    .iter()
                    .map(|owner| *adding.create(&mut tx, KINDS[kind], *owner).expose())
                    .collect();
                Ok::<_, KeyringError>(made)
            };
            let made = made.await;
            if let Some((kind, owner)) = doomed {
                destroy_key(&mut tx, server.organization, KINDS[kind], owner);
            }
            for _ in 0..below(20) {
                tokio::task::yield_now().await;
            }
            match made {
                Ok(made) if tx.commit().await.is_ok() => {
                    stored.extend(owners.iter().map(|owner| (kind, *owner)).zip(made));
                    break;
                }
                Ok(_) | Err(KeyringError::Store(StoreError::Conflict)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if let Some(doomed) = doomed {
            stored.remove(&doomed);
        }
    }
    stored
}

#[tokio::test]
async fn no_key_is_lost_and_none_comes_back_while_keks_are_rotated_beside_writers() {
    let seed = match std::env::var("ANTUMBRA_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from_le_bytes(antumbra_crypto::random_bytes()),
    };
    println!("ANTUMBRA_TEST_SEED={seed}");
    let server = start().await;
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(in_another_process(&server).await);
    }
    let writing = Cell::new(processes.len());
    let writers = processes.iter().zip(1..).map(async |(keys, process)| {
        let stored = add_and_destroy(
            &server,
            keys,
            process,
            (seed ^ process.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1,
        )
        .await;
        writing.set(writing.get() - 1);
        stored
    });
    let rotations = async {
        while writing.get() > 0 {
            rotate(&server).await;
            server.clock.advance(std::time::Duration::from_secs(3600));
            server.run_jobs_until_idle().await;
        }
    };
    let (stored, ()) = tokio::join!(join_all(writers), rotations);
    let stored: Stored = stored.into_iter().flatten().collect();
    server.clock.advance(std::time::Duration::from_secs(48 * 3600));
    server.run_jobs_until_idle().await;
    let kept = versions(&server).await;
    assert_eq!(kept.len(), 1);
    println!("{} keys, {} rotations", stored.len(), kept[0] - 1);

    let fresh = in_another_process(&server).await;
    let mut reader = server.app().store.begin_read().await.unwrap();
    for (place, kind) in KINDS.into_iter().enumerate() {
        let table: Table<(Uuid, Uuid), Raw> = Table::new(match kind {
            KeyKind::Request => "request_keys",
            KeyKind::Silo => "silo_keys",
            KeyKind::Consent => "consent_keys",
            KeyKind::Subject => "subject_keys",
        });
        let rows = reader
            .scan(&table, Scan::prefix(&(server.organization.0,)))
            .await
            .unwrap();
        let owners: Vec<Uuid> = rows.into_iter().map(|((_, owner), _)| owner).collect();
        let found = fresh.find_keys(&mut reader, kind, &owners).await.unwrap();
        let found: Stored = owners
            .into_iter()
            .zip(found)
            .map(|(owner, key)| ((place, owner), *key.unwrap().expose()))
            .collect();
        let expected: Stored = stored
            .iter()
            .filter(|((of, _), _)| *of == place)
            .map(|(at, key)| (*at, *key))
            .collect();
        assert_eq!(found, expected);
    }
}
