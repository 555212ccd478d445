//! Paths inside an archive: such as can be unpacked side by side on every system.
//!
//! Names of files are made safe when they are recorded (`files/name.rs`): nothing leads out of the folder, means a device
//! or ends in a dot. What is left to see to here is what only shows when they lie side by side: some disks hold `a` and
//! `A` to be one file, some an `é` of one letter and one of two, none allows a file where a folder is, and a path may be
//! only so long.

use std::collections::HashSet;

use antumbra_crypto::sha256;
use unicode_normalization::UnicodeNormalization;

/// How long a path may be, in bytes. With a folder before it, it stays below the 260 letters that Windows unpacks.
const PATH_BYTES_MAX: usize = 180;
/// How long each folder of a path may be that is cut.
const FOLDER_BYTES_MAX: usize = 60;

/// The paths that are taken in one archive. Each takes a few bytes, however long it is.
#[derive(Default)]
pub(super) struct Paths {
    files: HashSet<[u8; 16]>,
    folders: HashSet<[u8; 16]>,
}

impl Paths {
    /// The path that a file gets: `wanted`, or as near to it as can be. The same names in the same order give the same.
    pub(super) fn take(&mut self, wanted: &str) -> String {
        let wanted = bounded(&wanted.nfc().collect::<String>());
        let mut segments = wanted.split('/').peekable();
        let mut path = String::new();
        while let Some(segment) = segments.next() {
            let is_file = segments.peek().is_none();
            let before = path.clone();
            let place = |number: u32| match number {
                1 => join(&before, segment),
                _ => join(&before, &numbered(segment, number, is_file)),
            };
            let is_free = |path: &String| {
                let folded = fold(path);
                !(self.files.contains(&folded) || is_file && self.folders.contains(&folded))
            };
            path = (1..).map(place).find(is_free).unwrap_or(before);
            let taken = if is_file { &mut self.files } else { &mut self.folders };
            taken.insert(fold(&path));
        }
        path
    }
}

fn join(folder: &str, segment: &str) -> String {
    match folder {
        "" => segment.to_owned(),
        folder => format!("{folder}/{segment}"),
    }
}

/// What two paths have in common that any disk holds to be one.
fn fold(path: &str) -> [u8; 16] {
    let folded: String = path.nfkd().flat_map(char::to_lowercase).nfkd().collect();
    let digest = sha256(folded.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest[..16]);
    short
}

fn numbered(segment: &str, number: u32, is_file: bool) -> String {
    match segment.rfind('.') {
        Some(dot) if is_file && dot > 0 => format!("{} ({number}){}", &segment[..dot], &segment[dot..]),
        _ => format!("{segment} ({number})"),
    }
}

/// A path that is too long keeps its first folder and its file, both cut so that the extension stays.
fn bounded(path: &str) -> String {
    if path.len() <= PATH_BYTES_MAX {
        return path.to_owned();
    }
    let (folder, file) = match (path.split_once('/'), path.rsplit_once('/')) {
        (Some((folder, _)), Some((_, file))) => (cut(folder, FOLDER_BYTES_MAX, false), file),
        _ => (String::new(), path),
    };
    join(&folder, &cut(file, PATH_BYTES_MAX - FOLDER_BYTES_MAX - 1, true))
}

fn cut(segment: &str, bytes_max: usize, is_file: bool) -> String {
    if segment.len() <= bytes_max {
        return segment.to_owned();
    }
    let extension = match segment.rfind('.') {
        Some(dot) if is_file && dot > 0 && segment.len() - dot <= 20 => &segment[dot..],
        _ => "",
    };
    let end = segment.floor_char_boundary(bytes_max - extension.len());
    let stem = segment[..end].trim_end_matches(|last: char| last == '.' || last.is_whitespace());
    format!("{stem}{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_paths_are_the_same_on_any_disk() {
        let mut paths = Paths::default();
        for (wanted, given) in [
            ("index.html", "index.html"),
            ("Index.HTML", "Index (2).HTML"),
            ("Photos/caf\u{e9}.jpg", "Photos/caf\u{e9}.jpg"),
            ("Photos/cafe\u{301}.jpg", "Photos/caf\u{e9} (2).jpg"),
            ("photos/CAF\u{c9}.jpg", "photos/CAF\u{c9} (3).jpg"),
            ("Photos/\u{fb01}le.txt", "Photos/\u{fb01}le.txt"),
            ("Photos/file.txt", "Photos/file (2).txt"),
            ("Profile", "Profile"),
            ("Profile/a.json", "Profile (2)/a.json"),
            ("profile/b.json", "profile (2)/b.json"),
            ("Photos", "Photos (2)"),
            ("a/b/c", "a/b/c"),
            ("a/b", "a/b (2)"),
            (".profile", ".profile"),
            (".PROFILE", ".PROFILE (2)"),
        ] {
            assert_eq!(paths.take(wanted), given, "{wanted:?}");
        }
    }

    #[test]
    fn a_path_is_no_longer_than_can_be_unpacked() {
        let segment = "\u{1F600}".repeat(40);
        for wanted in [
            format!("{segment}/{segment}/{segment}/{segment}.jpeg"),
            format!("{segment}{segment}.jpeg"),
            format!("a/{}", "b".repeat(400)),
        ] {
            let mut paths = Paths::default();
            let first = paths.take(&wanted);
            assert!(first.len() <= PATH_BYTES_MAX, "{first}");
            assert_eq!(first.ends_with(".jpeg"), wanted.ends_with(".jpeg"));
            assert_ne!(first, paths.take(&wanted), "and two are still two");
        }
    }
}
