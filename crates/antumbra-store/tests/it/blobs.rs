//! Blobs: whole or not there, read back in ranges, and nothing left of a writer that gave up.

use antumbra_store::{BlobError, Blobs};
use bytes::Bytes;
use futures_util::TryStreamExt;
use std::{ops::Range, path::Path};
use uuid::Uuid;

const ID: Uuid = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_00A7);

async fn read(blobs: &Blobs, range: Range<u64>) -> Vec<u8> {
    let chunks: Vec<Bytes> = blobs.read(ID, range).await.unwrap().try_collect().await.unwrap();
    chunks.concat()
}

async fn write(blobs: &Blobs, body: &[u8]) {
    let mut writer = blobs.writer(ID).await.unwrap();
    for chunk in body.chunks(70_001) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap();
}

fn files_in(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files_in(&entry.path())),
            false => found.push(entry.file_name().into_string().unwrap()),
        }
    }
    found
}

#[tokio::test]
async fn a_finished_blob_is_read_back_whole_and_in_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).await.unwrap();
    let body: Vec<u8> = (0..3_500_000u32).map(|i| (i % 251) as u8).collect();
    write(&blobs, &body).await;

    assert_eq!(blobs.size(ID).await.unwrap(), body.len() as u64);
    assert_eq!(read(&blobs, 0..body.len() as u64).await, body);
    assert_eq!(read(&blobs, 1_000_000..2_500_001).await, &body[1_000_000..2_500_001]);
    assert_eq!(read(&blobs, 7..7).await, b"");
    assert!(matches!(
        blobs.read(ID, 0..3_500_001).await.err(),
        Some(BlobError::OutOfRange(ID))
    ));
    let listed: Vec<Uuid> = blobs.list().try_collect().await.unwrap();
    assert_eq!(listed, [ID]);
}

#[tokio::test]
async fn a_blob_is_read_in_large_chunks_and_what_is_not_there_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).await.unwrap();
    assert!(matches!(
        blobs.read(ID, 0..1).await.err(),
        Some(BlobError::NotFound(ID))
    ));
    assert!(matches!(
        blobs.read(ID, 0..0).await.err(),
        Some(BlobError::NotFound(ID))
    ));
    write(&blobs, &vec![3; 1_000_000]).await;
    let chunks: Vec<Bytes> = blobs
        .read(ID, 10..1_000_000)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let sizes: Vec<usize> = chunks.iter().map(Bytes::len).collect();
    assert_eq!(sizes, [262_144, 262_144, 262_144, 213_558]);
}

#[tokio::test]
async fn of_two_writers_of_one_blob_the_one_that_finishes_last_stands() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).await.unwrap();
    let (mut one, mut other) = (blobs.writer(ID).await.unwrap(), blobs.writer(ID).await.unwrap());
    one.write(Bytes::from_static(b"one")).await.unwrap();
    other.write(Bytes::from_static(b"other")).await.unwrap();
    other.finish().await.unwrap();
    assert_eq!(read(&blobs, 0..5).await, b"other");
    one.finish().await.unwrap();
    assert_eq!(read(&blobs, 0..3).await, b"one");
    assert_eq!(files_in(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_writer_that_gives_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).await.unwrap();
    write(&blobs, b"before").await;
    let mut writer = blobs.writer(ID).await.unwrap();
    writer.write(Bytes::from(vec![7; 40 << 20])).await.unwrap();
    drop(writer);
    assert_eq!(files_in(folder.path()).len(), 1);
    assert_eq!(
        read(&blobs, 0..6).await,
        b"before",
        "the blob that was there is there still"
    );
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).await.unwrap();
    write(&blobs, b"").await;
    assert_eq!(blobs.size(ID).await.unwrap(), 0);
    assert_eq!(read(&blobs, 0..0).await, b"");
}

#[tokio::test]
async fn a_deleted_blob_is_gone_and_deleting_it_again_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).await.unwrap();
    write(&blobs, b"photo").await;
    blobs.delete(ID).await.unwrap();
    blobs.delete(ID).await.unwrap();
    assert!(matches!(blobs.size(ID).await, Err(BlobError::NotFound(ID))));
    assert!(files_in(folder.path()).is_empty());
}

#[tokio::test]
async fn an_unfinished_blob_is_not_seen_and_is_swept_away_at_the_next_open() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(folder.path()).await.unwrap();
    let mut writer = blobs.writer(ID).await.unwrap();
    writer.write(Bytes::from(vec![7; 3 << 20])).await.unwrap();
    assert!(matches!(blobs.size(ID).await, Err(BlobError::NotFound(ID))));
    // As after a crash: nothing of the writer runs any more.
    std::mem::forget(writer);

    let blobs = Blobs::local(folder.path()).await.unwrap();
    assert!(files_in(folder.path()).is_empty());
    write(&blobs, b"again").await;
    assert_eq!(read(&blobs, 0..5).await, b"again");
}
