//! What is held of an archive while it is sent.

use std::io::Read;

use uuid::Uuid;

use super::{
    super::{
        contents::{About, Entry, Named},
        words::Words,
    },
    *,
};
use crate::{
    ServerConfig,
    files::{Description, FileId, Naming, Upload},
    keyring::KeyKind,
    organization::OrganizationId,
    testing::Place,
};

const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
const REQUEST: Uuid = Uuid::from_u128(2);
const FILES: usize = 10_000;
const BYTES: usize = 2_000;

/// A server with one file, and a report that names it again and again.
async fn report(place: &Place) -> Sending {
    let world = crate::testing::world(place, "2026-03-02T10:00:00Z").await;
    let mut tx = world.store.begin_write().await.unwrap();
    world.keys.create_organization(&mut tx, ORGANIZATION).await.unwrap();
    tx.commit().await.unwrap();
    let keys = world.keys.organization(ORGANIZATION).await.unwrap();
    let mut tx = world.store.begin_write().await.unwrap();
    keys.create_key(&mut tx, KeyKind::Request, REQUEST).await.unwrap();
    tx.commit().await.unwrap();
    let app = AppState::new(ServerConfig::default(), world);
    let upload = Upload {
        organization: ORGANIZATION,
        request: REQUEST,
        bytes_max: 0,
    };
    let body = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![7; BYTES]))]);
    let received = files::receive(&app, upload, body).await.unwrap();
    let (file, at) = (FileId(app.ids.uuid()), app.clock.now());
    let described = Description {
        silo: Uuid::from_u128(3),
        data_point: Uuid::from_u128(4),
        folder: "Photos",
        naming: Naming::Given("photo.jpg"),
        content_type: None,
        at,
    };
    let mut tx = app.store.begin_write().await.unwrap();
    files::record(&mut tx, &keys, file, &received, &described)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let named = |title: &str| Named {
        id: Uuid::from_u128(3),
        title: title.to_owned(),
    };
    let entry = |number| Entry {
        file,
        path: format!("Photos/{number}.jpg"),
        mimetype: "image/jpeg".to_owned(),
        bytes: BYTES as u64,
        received_at: at,
        data_silo: named("Shop backend"),
        data_point: named("Photos"),
    };
    let contents = Contents {
        request: About {
            id: REQUEST,
            action: "ACCESS",
            status: "DOWNLOADABLE",
            created_at: at,
            completed_at: None,
            made_at: at,
            organization: "Fish & Chips".to_owned(),
        },
        files: (0..FILES).map(entry).collect(),
        silos: Vec::new(),
        words: Words::of("en"),
    };
    Sending::new(app, keys, contents)
}

#[tokio::test]
async fn of_ten_thousand_files_no_more_is_held_than_one_piece_and_the_list() {
    let place = Place::fresh();
    let mut sending = report(&place).await;
    let (mut archive, mut list_bytes, mut piece_max) = (Vec::new(), 0, 0);
    while let Some(piece) = sending.next().await.unwrap() {
        let ready: usize = sending.ready.iter().map(Bytes::len).sum();
        // The two indexes come first; each is made in pieces that do not grow with the number of files.
        let limit = if sending.next <= 2 { 2 << 20 } else { 64 << 10 };
        list_bytes = match &sending.at {
            At::Between(archive) => archive.directory_bytes(),
            At::Within(open, _) => open.directory_bytes(),
            At::End => list_bytes,
        };
        if !matches!(sending.at, At::End) {
            piece_max = piece_max.max(piece.len());
            assert!(ready + piece.len() <= limit, "{} of {limit}", ready + piece.len());
        }
        archive.extend_from_slice(&piece);
    }
    assert!(
        piece_max < 2 << 20 && list_bytes < FILES * 128,
        "{piece_max} and {list_bytes}"
    );
    assert!(archive.len() > FILES * BYTES);

    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    assert_eq!(archive.len(), FILES + 2);
    let mut last = Vec::new();
    archive
        .by_name("Photos/9999.jpg")
        .unwrap()
        .read_to_end(&mut last)
        .unwrap();
    assert_eq!(last, [7; BYTES]);
    let index: serde_json::Value = serde_json::from_reader(archive.by_name("index.json").unwrap()).unwrap();
    assert_eq!(index["files"].as_array().unwrap().len(), FILES);
}
