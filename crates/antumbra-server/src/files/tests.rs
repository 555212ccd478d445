//! Files from the inside: what stands on the disk, and what happens when it no longer is what was written.

use std::{
    convert::Infallible,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{
    receive::receive_in_segments,
    store::{Manifest, put_reservation, reserve},
    *,
};
use crate::{
    AppState, ServerConfig,
    keyring::{KeyKind, OrganizationKeys, destroy_key},
    organization::OrganizationId,
    testing::Place,
};

const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
const REQUEST: Uuid = Uuid::from_u128(2);
const GROUP: usize = 64 * 1024;

struct House {
    app: AppState,
    keys: Arc<OrganizationKeys>,
    place: Place,
}

impl House {
    async fn new() -> House {
        let place = Place::fresh();
        let world = crate::testing::world(&place, "2026-03-02T10:00:00Z").await;
        let (store, keys) = (&world.store, &world.keys);
        let mut tx = store.begin_write().await.unwrap();
        keys.create_organization(&mut tx, ORGANIZATION).await.unwrap();
        tx.commit().await.unwrap();
        let of_organization = keys.organization(ORGANIZATION).await.unwrap();
        let mut tx = store.begin_write().await.unwrap();
        of_organization
            .create_key(&mut tx, KeyKind::Request, REQUEST)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        House {
            app: AppState::new(ServerConfig::default(), world),
            keys: of_organization,
            place,
        }
    }

    fn upload(&self) -> Upload {
        Upload {
            organization: ORGANIZATION,
            request: REQUEST,
            bytes_max: 0,
        }
    }

    async fn receive(&self, bytes: &[u8]) -> Received {
        receive(&self.app, self.upload(), pieces(bytes, 10_000)).await.unwrap()
    }

    async fn record(&self, received: &Received, naming: Naming<'_>) -> FileId {
        let id = FileId(self.app.ids.uuid());
        let described = Description {
            silo: Uuid::from_u128(3),
            data_point: Uuid::from_u128(4),
            folder: "Profile",
            naming,
            content_type: None,
            at: self.app.clock.now(),
        };
        let mut tx = self.app.store.begin_write().await.unwrap();
        record(&mut tx, &self.keys, id, received, &described).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn keep(&self, bytes: &[u8]) -> FileId {
        let received = self.receive(bytes).await;
        self.record(&received, Naming::Given("photo.jpg")).await
    }

    async fn list(&self) -> Vec<Listed> {
        let mut reader = self.app.store.begin_read().await.unwrap();
        list(&mut reader, &self.keys, REQUEST, 0, 1000).await.unwrap().1
    }

    async fn names(&self) -> Vec<String> {
        self.list().await.into_iter().map(|listed| listed.name).collect()
    }

    async fn find(&self, id: FileId) -> Option<(antumbra_crypto::Key32, Listed, Manifest)> {
        let mut reader = self.app.store.begin_read().await.unwrap();
        store::find(&mut reader, &self.keys, REQUEST, id).await.unwrap()
    }

    /// What comes out before the first failure, and whether there was one.
    async fn read(&self, id: FileId) -> (Vec<u8>, Option<FileError>) {
        let (key, _, manifest) = self.find(id).await.unwrap();
        match send::whole(&self.app.blobs, &key, &manifest).await {
            Ok(bytes) => until_failure(bytes).await,
            Err(error) => (Vec::new(), Some(error)),
        }
    }

    async fn read_range(&self, id: FileId, range: std::ops::Range<u64>) -> Vec<u8> {
        let (key, _, manifest) = self.find(id).await.unwrap();
        let bytes = send::range(&self.app.blobs, &key, &manifest, range).await.unwrap();
        bytes.try_collect::<Vec<_>>().await.unwrap().concat()
    }

    fn blobs(&self) -> Vec<PathBuf> {
        files_under(&self.place.folder().join("blobs"))
    }

    /// Lets the blob store remove what a dropped writer left, which it does on other threads.
    async fn settle(&self) {
        let is_staged = |path: &PathBuf| path.to_string_lossy().contains('#');
        while self.blobs().iter().any(is_staged) {
            tokio::task::yield_now().await;
        }
    }

    /// The body of the only file, which is the larger of its two blobs.
    fn body(&self) -> PathBuf {
        self.blobs()
            .into_iter()
            .max_by_key(|path| fs::metadata(path).unwrap().len())
            .unwrap()
    }
}

async fn until_failure(
    bytes: impl futures_util::Stream<Item = Result<Bytes, FileError>>,
) -> (Vec<u8>, Option<FileError>) {
    let mut bytes = Box::pin(bytes);
    let mut read = Vec::new();
    while let Some(next) = bytes.next().await {
        match next {
            Ok(bytes) => read.extend_from_slice(&bytes),
            Err(error) => return (read, Some(error)),
        }
    }
    (read, None)
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] })
        .collect()
}

fn pieces(bytes: &[u8], length: usize) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Unpin + Send {
    let pieces: Vec<_> = bytes
        .chunks(length)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces)
}

/// Bytes that no group repeats.
fn plain(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

#[tokio::test]
async fn a_file_comes_back_as_it_came_whatever_its_length() {
    let house = House::new().await;
    for length in [
        0,
        1,
        100,
        GROUP - 1,
        GROUP,
        GROUP + 1,
        1 << 20,
        (1 << 20) + 1,
        3_500_000,
    ] {
        let bytes = plain(length);
        let id = house.keep(&bytes).await;
        let (read, failure) = house.read(id).await;
        assert!(failure.is_none() && read == bytes, "{length} bytes");
        assert_eq!(house.find(id).await.unwrap().1.bytes, length as u64);
    }
}

#[tokio::test]
async fn any_range_of_a_file_in_several_segments_is_what_the_file_says_there() {
    let house = House::new().await;
    let bytes = plain(1_000_000);
    for segment_bytes in [3 * GROUP as u64, 100_000, 1_000_000] {
        let body = pieces(&bytes, 33_333);
        let received = receive_in_segments(&house.app, house.upload(), body, segment_bytes)
            .await
            .unwrap();
        assert_eq!(received.segments.len() as u64, 1_000_000u64.div_ceil(segment_bytes));
        let id = house.record(&received, Naming::Given("a.bin")).await;
        assert!(house.read(id).await.0 == bytes);
        for range in [
            0..1,
            0..1_000_000,
            99_999..100_001,
            65_535..65_537,
            196_000..800_000,
            999_999..1_000_000,
        ] {
            let read = house.read_range(id, range.clone()).await;
            assert!(read == bytes[range.start as usize..range.end as usize], "{range:?}");
        }
    }
}

#[tokio::test]
async fn no_byte_of_a_spoiled_group_leaves_the_server() {
    let window = 1 << 20;
    let bytes = plain(3 * window + 500);
    type Spoil = fn(&mut Vec<u8>);
    let spoiled: [(&str, usize, Spoil); 9] = [
        ("first_bit_flipped", 0, |body| body[0] ^= 1),
        ("second_window_flipped", 1 << 20, |body| body[(1 << 20) + 7] ^= 1),
        ("last_bit_flipped", 3 << 20, |body| *body.last_mut().unwrap() ^= 1),
        ("last_chunk_missing", 3 << 20, |body| body.truncate(3 << 20)),
        ("last_byte_missing", 3 << 20, |body| body.truncate(body.len() - 1)),
        ("everything_missing", 0, Vec::clear),
        ("chunks_swapped", 0, |body| body[..2 * GROUP].rotate_left(GROUP)),
        ("chunk_repeated", 1 << 20, |body| body.copy_within(0..GROUP, 1 << 20)),
        ("byte_inserted", 0, |body| body.insert(5, 0)),
    ];
    let house = House::new().await;
    let id = house.keep(&bytes).await;
    let path = house.body();
    let good = fs::read(&path).unwrap();
    for (fault, whole_until, spoil) in spoiled {
        let mut body = good.clone();
        spoil(&mut body);
        fs::write(&path, body).unwrap();
        let (read, failure) = house.read(id).await;
        assert!(failure.is_some(), "{fault}");
        assert!(read == bytes[..whole_until], "{fault}: {} bytes came out", read.len());
    }
}

#[tokio::test]
async fn bytes_behind_the_end_are_not_looked_at() {
    let house = House::new().await;
    let bytes = plain(100_000);
    let id = house.keep(&bytes).await;
    let path = house.body();
    let mut body = fs::read(&path).unwrap();
    body.extend([7; 1000]);
    fs::write(&path, body).unwrap();
    assert!(house.read(id).await.0 == bytes);
}

#[tokio::test]
async fn a_spoiled_or_missing_sidecar_is_noticed_before_anything_is_sent() {
    for missing in [false, true] {
        let house = House::new().await;
        let id = house.keep(&plain(500_000)).await;
        let body = house.body();
        let sidecar = house.blobs().into_iter().find(|path| *path != body).unwrap();
        if missing {
            fs::remove_file(sidecar).unwrap();
        } else {
            let mut hashes = fs::read(&sidecar).unwrap();
            hashes[33] ^= 1;
            fs::write(&sidecar, hashes).unwrap();
        }
        let (read, failure) = house.read(id).await;
        assert!(read.is_empty() && failure.is_some());
    }
}

#[tokio::test]
async fn two_files_exchanged_on_disk_are_noticed() {
    let house = House::new().await;
    let (first, second) = (house.keep(b"the first file").await, house.keep(b"another file..").await);
    let [a, b]: [PathBuf; 2] = house.blobs().try_into().unwrap();
    let (in_a, in_b) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    fs::write(&a, in_b).unwrap();
    fs::write(&b, in_a).unwrap();
    for id in [first, second] {
        let (read, failure) = house.read(id).await;
        assert!(read.is_empty() && matches!(failure, Some(FileError::Body(_))));
    }
}

#[tokio::test]
async fn nothing_on_disk_can_be_read() {
    let house = House::new().await;
    let secret = b"Ada Lovelace lives at 12 St James's Square. ".repeat(50);
    let id = house.keep(&secret).await;
    assert_eq!(house.read(id).await.0, secret);
    let House { app, keys, place } = house;
    drop(keys);
    app.store.clone().close().await;
    for path in files_under(place.folder()) {
        let bytes = fs::read(&path).unwrap();
        for clear in [b"Lovelace".as_slice(), b"photo.jpg", b"image/jpeg", b"Profile"] {
            assert!(
                !bytes.windows(clear.len()).any(|window| window == clear),
                "{}",
                path.display()
            );
        }
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_no_bytes_and_can_be_made_again() {
    let house = House::new().await;
    for length in [0, 10, 3_000_000] {
        let whole = plain(length);
        let cut = pieces(&whole, 50_000)
            .map(|piece| Ok(piece.unwrap()))
            .chain(stream::iter([Err(io::Error::from(io::ErrorKind::UnexpectedEof))]));
        let refused = receive(&house.app, house.upload(), cut).await.unwrap_err();
        assert!(matches!(refused, FileError::CutOff));
        house.settle().await;
        assert!(house.blobs().is_empty());
    }
    let id = house.keep(&plain(3_000_000)).await;
    assert!(house.read(id).await.0 == plain(3_000_000));
}

#[tokio::test]
async fn a_file_of_the_longest_length_is_taken_and_one_byte_more_is_not() {
    let house = House::new().await;
    let upload = Upload {
        bytes_max: 100_000,
        ..house.upload()
    };
    assert_eq!(
        receive(&house.app, upload, pieces(&plain(100_000), 999))
            .await
            .unwrap()
            .bytes(),
        100_000
    );
    house.settle().await;
    let before = house.blobs().len();
    let refused = receive(&house.app, upload, pieces(&plain(100_001), 999))
        .await
        .unwrap_err();
    assert!(matches!(refused, FileError::TooLarge { bytes_max: 100_000 }));
    house.settle().await;
    assert_eq!(house.blobs().len(), before);
}

#[tokio::test]
async fn a_request_without_a_content_key_takes_and_gives_nothing() {
    let house = House::new().await;
    let id = house.keep(b"a file").await;
    let received = house.receive(b"another").await;
    let mut tx = house.app.store.begin_write().await.unwrap();
    destroy_key(&mut tx, ORGANIZATION, KeyKind::Request, REQUEST);
    tx.commit().await.unwrap();
    let refused = receive(&house.app, house.upload(), pieces(b"late", 9))
        .await
        .unwrap_err();
    assert!(matches!(refused, FileError::Closed));
    assert!(house.find(id).await.is_none() && house.list().await.is_empty());
    let mut tx = house.app.store.begin_write().await.unwrap();
    let described = Description {
        silo: REQUEST,
        data_point: REQUEST,
        folder: "",
        naming: Naming::Given("x"),
        content_type: None,
        at: house.app.clock.now(),
    };
    let refused = record(&mut tx, &house.keys, FileId(REQUEST), &received, &described)
        .await
        .unwrap_err();
    assert!(matches!(refused, FileError::Closed));
}

#[tokio::test]
async fn an_iv_is_never_reserved_twice_under_one_key() {
    let house = House::new().await;
    let mut reservation = reserve(&house.app, ORGANIZATION, REQUEST).await.unwrap();
    reservation.object = Uuid::from_u128(0xFFFE);
    let mut tx = house.app.store.begin_write().await.unwrap();
    assert!(
        put_reservation(&mut tx, ORGANIZATION, REQUEST, &reservation)
            .await
            .is_err()
    );
    // Another request has another key, and may.
    put_reservation(&mut tx, ORGANIZATION, Uuid::from_u128(9), &reservation)
        .await
        .unwrap();
}

#[tokio::test]
async fn two_reservations_of_one_iv_at_once_are_not_both_granted() {
    let house = House::new().await;
    let reservation = reserve(&house.app, ORGANIZATION, Uuid::from_u128(8)).await.unwrap();
    let mut first = house.app.store.begin_write().await.unwrap();
    let mut second = house.app.store.begin_write().await.unwrap();
    put_reservation(&mut first, ORGANIZATION, REQUEST, &reservation)
        .await
        .unwrap();
    put_reservation(&mut second, ORGANIZATION, REQUEST, &reservation)
        .await
        .unwrap();
    first.commit().await.unwrap();
    assert!(matches!(second.commit().await, Err(StoreError::Conflict)));
}

#[tokio::test]
async fn names_are_unique_within_a_request() {
    let house = House::new().await;
    for name in ["a.txt", "a.txt", "A.TXT", "a (2).txt", "../a.txt", "b"] {
        let received = house.receive(b"x").await;
        house.record(&received, Naming::Given(name)).await;
    }
    let expected = ["a.txt", "a (2).txt", "A (3).TXT", "a (2) (2).txt", "a (4).txt", "b"];
    assert_eq!(house.names().await, expected.map(|name| format!("Profile/{name}")));
}

#[tokio::test]
async fn a_file_without_a_name_is_its_data_point_and_a_number() {
    let house = House::new().await;
    for _ in 0..3 {
        let received = house.receive(b"x").await;
        house.record(&received, Naming::Numbered("profile_picture")).await;
    }
    let expected = ["profile_picture (1)", "profile_picture (2)", "profile_picture (3)"];
    assert_eq!(house.names().await, expected.map(|name| format!("Profile/{name}")));
}

#[tokio::test]
async fn pages_follow_each_other_in_the_order_of_arrival() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(house.keep(b"x").await);
    }
    let mut reader = house.app.store.begin_read().await.unwrap();
    for (offset, limit) in [(0, 2), (2, 2), (4, 2), (5, 2), (0, 0), (9, 9)] {
        let (total, page) = list(&mut reader, &house.keys, REQUEST, offset, limit).await.unwrap();
        let expected: Vec<_> = ids.iter().skip(offset).take(limit).copied().collect();
        assert_eq!(total, 5);
        assert_eq!(page.iter().map(|listed| listed.id).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_is_swept_after_a_day_and_what_was_recorded_stays() {
    let house = House::new().await;
    let kept = house.keep(&plain(200_000)).await;
    let lost = house.receive(&plain(200_000)).await;
    assert_eq!(house.blobs().len(), 4);
    assert_eq!(sweep(&house.app).await.unwrap(), 0);
    house.app.clock.advance(Duration::from_secs(25 * 60 * 60));
    assert_eq!(sweep(&house.app).await.unwrap(), 1);
    assert_eq!(house.blobs().len(), 2);
    assert!(house.read(kept).await.1.is_none());

    let mut tx = house.app.store.begin_write().await.unwrap();
    let described = Description {
        silo: REQUEST,
        data_point: REQUEST,
        folder: "",
        naming: Naming::Given("x"),
        content_type: None,
        at: house.app.clock.now(),
    };
    let refused = record(&mut tx, &house.keys, FileId(REQUEST), &lost, &described)
        .await
        .unwrap_err();
    assert!(matches!(refused, FileError::Swept));
    assert_eq!(sweep(&house.app).await.unwrap(), 0);
}

#[tokio::test]
async fn a_discarded_file_is_gone_at_once_and_its_bytes_by_the_next_sweep() {
    let house = House::new().await;
    let (first, second) = (house.keep(&plain(100_000)).await, house.keep(&plain(100_000)).await);
    let mut tx = house.app.store.begin_write().await.unwrap();
    discard(&mut tx, &house.keys, REQUEST, first).await.unwrap();
    tx.commit().await.unwrap();
    assert!(house.find(first).await.is_none());
    assert_eq!(sweep(&house.app).await.unwrap(), 1);
    assert_eq!(house.blobs().len(), 2);
    assert!(house.read(second).await.1.is_none());
    // The name is free again.
    house.keep(b"x").await;
    assert_eq!(house.names().await, ["Profile/photo (2).jpg", "Profile/photo.jpg"]);
}

#[tokio::test]
async fn discarding_everything_leaves_no_row_and_no_blob() {
    let house = House::new().await;
    for _ in 0..3 {
        house.keep(&plain(100_000)).await;
    }
    let mut tx = house.app.store.begin_write().await.unwrap();
    discard_all(&mut tx, &house.keys, REQUEST).await.unwrap();
    destroy_key(&mut tx, ORGANIZATION, KeyKind::Request, REQUEST);
    tx.commit().await.unwrap();
    assert_eq!(sweep(&house.app).await.unwrap(), 3);
    assert!(house.blobs().is_empty());
    let mut reader = house.app.store.begin_read().await.unwrap();
    assert_eq!(store::rows_of(&mut reader, ORGANIZATION, REQUEST).await, 0);
}

#[tokio::test]
async fn a_manifest_that_was_touched_or_moved_is_refused() {
    let house = House::new().await;
    let id = house.keep(b"a file").await;
    let mut tx = house.app.store.begin_write().await.unwrap();
    store::copy_manifest(&mut tx, ORGANIZATION, REQUEST, id, Uuid::from_u128(77), |_| {}).await;
    let moved = store::find(&mut tx, &house.keys, REQUEST, FileId(Uuid::from_u128(77))).await;
    assert!(matches!(moved, Err(FileError::Damaged { what: "manifest" })));
    for at in [0, 31, 32, 33, 60, 120] {
        store::copy_manifest(&mut tx, ORGANIZATION, REQUEST, id, id.0, |row| row[at] ^= 1).await;
        let touched = store::find(&mut tx, &house.keys, REQUEST, id).await;
        assert!(matches!(touched, Err(FileError::Damaged { .. })), "byte {at}");
        store::copy_manifest(&mut tx, ORGANIZATION, REQUEST, id, id.0, |row| row[at] ^= 1).await;
    }
    assert!(store::find(&mut tx, &house.keys, REQUEST, id).await.unwrap().is_some());
}
