//! The engine's log, read before the engine opens it.
//!
//! A log can end badly in two ways. A power cut can tear the commit that was being written: nobody was told that it
//! succeeded, and there is nothing after it, because each commit is synced before the next begins. That tail is cut
//! off. A flipped bit, on the other hand, can spoil a commit that **was** acknowledged; sound commits follow it, and the
//! engine would drop them all (it takes the first record that it cannot read for the end, and shortens the file
//! there). That must be refused before the engine touches the file, while everything after the flaw is still there.
//!
//! The format is that of fjall 3 (`journal/entry.rs`): a batch is `1 count:u32 seqno:u64`, items, and
//! `3 checksum:u64 "FJL" 3`, the checksum being XXH3 over the items; an item is
//! `2 type compression keyspace:u64 key_len:u16 value_len:u32 stored_len:u32 key value`; numbers are little-endian.

use super::COMMIT_KEY;
use rustix::fs::{SeekFrom, seek};
use std::{
    fs::File,
    io::{Read, Seek},
    path::{Path, PathBuf},
};
use xxhash_rust::xxh3::Xxh3Default;

/// What the log holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Log {
    /// The last commit before the first flaw; none if no commit is in the log.
    pub(super) last_commit: Option<u64>,
    pub(super) flaw: Option<Flaw>,
}

/// The first place in the log that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) file: PathBuf,
    pub(super) at: u64,
    pub(super) kind: FlawKind,
}

impl Flaw {
    /// The last commit beyond the flaw, if one can still be told.
    pub(super) fn reached(&self) -> Option<u64> {
        match self.kind {
            FlawKind::TornTail => None,
            FlawKind::Inside { reached } => reached,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum FlawKind {
    /// Nothing sound follows: a commit that was being written when everything stopped.
    TornTail,
    /// Something followed that had been acknowledged, up to this commit if it can still be told.
    Inside { reached: Option<u64> },
}

/// Reads the log of the engine in `folder`, oldest file first. Changes nothing.
pub(super) fn inspect(folder: &Path) -> std::io::Result<Log> {
    let mut log = Log::default();
    let files = files(folder)?;
    let mut files = files.iter().peekable();
    while let Some(file) = files.next() {
        let bytes = data_of(file)?;
        let (sound, last_commit) = read_batches(&bytes);
        log.last_commit = last_commit.or(log.last_commit);
        let rest = &bytes[sound..];
        if rest.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut reached = beyond(rest);
        for later in files.by_ref() {
            reached = reached.max(Some(read_batches(&data_of(later)?).1));
        }
        let kind = reached.map_or(FlawKind::TornTail, |reached| FlawKind::Inside { reached });
        log.flaw = Some(Flaw {
            file: file.clone(),
            at: sound as u64,
            kind,
        });
        break;
    }
    Ok(log)
}

/// Ends the log at its flaw, so that the engine finds it whole.
pub(super) fn cut(flaw: &Flaw) -> std::io::Result<()> {
    let file = File::options().write(true).open(&flaw.file)?;
    file.set_len(flaw.at)?;
    file.sync_all()
}

/// Moves the log's files from the flaw on into `aside` (the first is copied), and says where they are.
pub(super) fn set_aside(flaw: &Flaw, folder: &Path, aside: &Path) -> std::io::Result<()> {
    crate::folder::make(aside)?;
    for file in files(folder)? {
        let Some(name) = file.file_name() else { continue };
        if file == flaw.file {
            std::fs::copy(&file, aside.join(name))?;
        } else if number_of(&file) > number_of(&flaw.file) {
            std::fs::rename(&file, aside.join(name))?;
        }
    }
    File::open(aside)?.sync_all()
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if number_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| number_of(path));
    Ok(files)
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jnl")?.parse().ok()
}

/// The file up to the end of its last stretch of data: the log is laid out in advance, and what was never written
/// takes no time to read.
fn data_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut end = 0;
    while let Ok(data) = seek(&file, SeekFrom::Data(end)) {
        end = seek(&file, SeekFrom::Hole(data))?;
    }
    file.rewind()?;
    let mut bytes = Vec::with_capacity(usize::try_from(end).unwrap_or(0));
    file.take(end).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How many bytes of sound batches `bytes` begins with, and the last commit in them.
fn read_batches(bytes: &[u8]) -> (usize, Option<u64>) {
    let (mut sound, mut last_commit, mut sequence) = (0, None, None);
    // The sequence number is outside the checksum, but it always rises.
    while let Some(batch) = read_batch(&bytes[sound..]).filter(|batch| Some(batch.sequence) > sequence) {
        sound += batch.length;
        last_commit = batch.commit.or(last_commit);
        sequence = Some(batch.sequence);
    }
    (sound, last_commit)
}

/// The last commit of the sound batches that follow a flaw; none if none follows.
fn beyond(flawed: &[u8]) -> Option<Option<u64>> {
    let starts = (0..flawed.len()).filter(|at| flawed[*at] == START);
    let mut sound = starts
        .map(|at| read_batches(&flawed[at..]))
        .filter(|(length, _)| *length > 0);
    sound.next().map(|(_, commit)| commit)
}

struct Batch {
    length: usize,
    sequence: u64,
    commit: Option<u64>,
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: &[u8] = b"FJL\x03";

/// The batch that `bytes` begins with; none if there is no sound one.
fn read_batch(bytes: &[u8]) -> Option<Batch> {
    let mut rest = bytes;
    let [START] = take::<1>(&mut rest)? else { return None };
    let items = u32::from_le_bytes(take(&mut rest)?);
    let sequence = u64::from_le_bytes(take(&mut rest)?);
    let body = rest;
    let mut commit = None;
    for _ in 0..items {
        let [ITEM, ..] = take::<11>(&mut rest)? else {
            return None;
        };
        let key_bytes = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let _value_bytes: [u8; 4] = take(&mut rest)?;
        let stored_bytes = u32::from_le_bytes(take(&mut rest)?) as usize;
        let (key, after) = rest.split_at_checked(key_bytes)?;
        let (value, after) = after.split_at_checked(stored_bytes)?;
        if key == COMMIT_KEY {
            commit = value.try_into().ok().map(u64::from_be_bytes);
        }
        rest = after;
    }
    let mut hasher = Xxh3Default::new();
    hasher.update(&body[..body.len() - rest.len()]);
    let [END] = take::<1>(&mut rest)? else { return None };
    let checksum = u64::from_le_bytes(take(&mut rest)?);
    let sound = checksum == hasher.digest() && rest.starts_with(TRAILER);
    sound.then(|| Batch {
        length: bytes.len() - rest.len() + TRAILER.len(),
        sequence,
        commit,
    })
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*taken)
}

/// A batch as the engine writes it, with one value beside the commit.
#[cfg(any(test, fuzzing))]
fn batch(commit: u64, value: &[u8]) -> Vec<u8> {
    let item = |key: &[u8], value: &[u8]| {
        let mut item = vec![ITEM, 0, 0];
        item.extend(1u64.to_le_bytes());
        item.extend((key.len() as u16).to_le_bytes());
        item.extend((value.len() as u32).to_le_bytes());
        item.extend((value.len() as u32).to_le_bytes());
        [&item, key, value].concat()
    };
    let body = [item(b"some key", value), item(COMMIT_KEY, &commit.to_be_bytes())].concat();
    let mut hasher = Xxh3Default::new();
    hasher.update(&body);
    let head = [&[START][..], &2u32.to_le_bytes(), &commit.to_le_bytes()].concat();
    [&head, &body, &[END][..], &hasher.digest().to_le_bytes(), TRAILER].concat()
}

/// Fuzz target. What was read as sound is read so again; nothing that follows a commit takes it away, nothing that stands
/// before one hides it, and a log with another byte in it is not read as a whole log that says something else.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let (sound, commit) = read_batches(bytes);
    assert_eq!(read_batches(&bytes[..sound]), (sound, commit));
    let first = batch(1, b"first");
    let (sound, commit) = read_batches(&[&first, bytes].concat());
    assert!(sound >= first.len() && commit.is_some());
    assert!(beyond(&[bytes, &first].concat()).is_some());
    if let [high, low, change, content @ ..] = bytes
        && *change != 0
    {
        let mut log = [batch(1, content), batch(2, b"second")].concat();
        let place = usize::from(u16::from_be_bytes([*high, *low])) % log.len();
        log[place] ^= change;
        let (sound, commit) = read_batches(&log);
        assert!(sound < log.len() || commit == Some(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspected(files: &[Vec<u8>]) -> (Option<u64>, Option<(usize, u64, FlawKind)>) {
        let folder = tempfile::tempdir().unwrap();
        for (number, bytes) in files.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{number}.jnl")), bytes).unwrap();
        }
        let log = inspect(folder.path()).unwrap();
        let flaw = log
            .flaw
            .map(|flaw| (number_of(&flaw.file).unwrap() as usize, flaw.at, flaw.kind));
        (log.last_commit, flaw)
    }

    #[test]
    fn a_sound_log_ends_in_zeros() {
        let log = [batch(1, b"a"), batch(2, b"b"), vec![0; 9_000]].concat();
        assert_eq!(inspected(&[log, batch(3, b"c")]), (Some(3), None));
        assert_eq!(inspected(&[vec![]]), (None, None));
    }

    #[test]
    fn every_flipped_bit_is_told_from_every_torn_tail() {
        let (one, two, three) = (batch(1, b"first"), batch(2, b"second"), batch(3, b"third"));
        let at = one.len() as u64;
        for torn in 1..two.len() {
            let log = [&one[..], &two[..torn]].concat();
            assert_eq!(
                inspected(&[log]),
                (Some(1), Some((0, at, FlawKind::TornTail))),
                "torn after {torn}"
            );
        }
        for flipped in 0..two.len() {
            let mut flawed = two.clone();
            flawed[flipped] ^= 0x10;
            let log = [&one[..], &flawed, &three].concat();
            let (found, flaw) = inspected(&[log]);
            assert!(found < Some(3), "byte {flipped}");
            assert!(
                matches!(flaw, Some((0, _, FlawKind::Inside { reached: Some(3) }))),
                "byte {flipped}: {flaw:?}"
            );
        }
    }

    #[test]
    fn a_flaw_at_the_end_of_an_older_file_lies_inside_the_log() {
        let older = [&batch(1, b"a")[..], &batch(2, b"b")[..20]].concat();
        let inside = FlawKind::Inside { reached: Some(3) };
        assert_eq!(
            inspected(&[older.clone(), batch(3, b"c")]),
            (Some(1), Some((0, batch(1, b"a").len() as u64, inside)))
        );
        assert!(matches!(
            inspected(&[older, vec![]]).1,
            Some((0, _, FlawKind::Inside { reached: None }))
        ));
    }
}
