//! Names of files: what a stranger sent, made safe to write on anybody's disk.
//!
//! A name is a relative path with `/` between its segments. Clients write it below a folder of theirs without looking,
//! so nothing in it may lead out of that folder, mean a device, or hide what the file is.

/// How long one segment may be, in bytes.
const SEGMENT_BYTES_MAX: usize = 180;
/// How many segments a name may have. What is beyond is dropped from the front.
const SEGMENTS_MAX: usize = 8;

const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];

/// `name` made safe, `fallback` (already safe) if nothing of it is left.
pub(super) fn safe(name: &str, fallback: &str) -> String {
    let segments: Vec<String> = name
        .split(['/', '\\'])
        .map(segment)
        .filter(|segment| !segment.is_empty())
        .collect();
    if segments.is_empty() {
        return fallback.to_owned();
    }
    segments[segments.len().saturating_sub(SEGMENTS_MAX)..].join("/")
}

/// `name` made safe, in `folder`, which is one segment or nothing.
pub(super) fn within(folder: &str, name: &str) -> String {
    let (folder, name) = (segment(&folder.replace(['/', '\\'], " ")), safe(name, "file"));
    if folder.is_empty() {
        name
    } else {
        format!("{folder}/{name}")
    }
}

/// `name` with `number` behind its stem: `photo (2).jpg`.
pub(super) fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = split_extension(name);
    format!("{stem} ({number}){extension}")
}

/// The lower-case extension of `name`, without its dot.
pub(super) fn extension(name: &str) -> Option<String> {
    let (_, extension) = split_extension(name);
    extension.strip_prefix('.').map(str::to_ascii_lowercase)
}

/// The stem, and the extension with its dot. `.profile` and `archive.` have none.
fn split_extension(name: &str) -> (&str, &str) {
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[last..].rfind('.') {
        Some(dot) if dot > 0 && last + dot + 1 < name.len() => name.split_at(last + dot),
        _ => (name, ""),
    }
}

fn segment(text: &str) -> String {
    let plain: String = text
        .chars()
        .filter(|character| !is_hidden(*character))
        .map(harmless)
        .collect();
    let short = shorten(without_end(plain.trim_start()));
    if is_device(&short) {
        shorten(&format!("_{short}"))
    } else {
        short
    }
}

/// Windows drops dots and spaces at the end; without them `..` and `.` mean nothing any more.
fn without_end(segment: &str) -> &str {
    segment.trim_end_matches(|character: char| character == '.' || character.is_whitespace())
}

/// Control characters, and those that turn the direction of text round so that `exe.gpj` reads `jpg.exe`.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

fn harmless(character: char) -> char {
    if matches!(character, '<' | '>' | ':' | '"' | '|' | '?' | '*') {
        '_'
    } else {
        character
    }
}

fn is_device(segment: &str) -> bool {
    let stem = segment
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_lowercase();
    let numbered = |prefix: &str| {
        let mut rest = stem.strip_prefix(prefix).unwrap_or_default().chars();
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    };
    RESERVED.contains(&stem.as_str()) || numbered("com") || numbered("lpt")
}

/// Cuts the stem, so that the extension stays, at a border of characters.
fn shorten(segment: &str) -> String {
    if segment.len() <= SEGMENT_BYTES_MAX {
        return segment.to_owned();
    }
    let (stem, extension) = split_extension(segment);
    let (stem, extension) = if extension.len() <= 20 {
        (stem, extension)
    } else {
        (segment, "")
    };
    let end = stem.floor_char_boundary(SEGMENT_BYTES_MAX - extension.len());
    format!("{}{extension}", without_end(&stem[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_what_it_was_where_it_is_harmless() {
        for name in [
            "photo.jpg",
            "2026/März/Übersicht.pdf",
            "no extension",
            ".profile",
            "a.tar.gz",
            "写真.png",
        ] {
            assert_eq!(safe(name, "file"), name);
        }
    }

    #[test]
    fn a_name_that_is_cut_where_a_dot_stands_does_not_end_in_it() {
        let before = "x".repeat(SEGMENT_BYTES_MAX - 1);
        let cut = safe(&format!("{before}.{}", "y".repeat(30)), "file");
        assert_eq!(cut, before);
        let device = safe(&format!("con.{}", "y".repeat(SEGMENT_BYTES_MAX - 4)), "file");
        assert_eq!(
            (device.len(), safe(&device, "file")),
            (SEGMENT_BYTES_MAX, device.clone())
        );
    }

    #[test]
    fn nothing_leads_out_of_the_folder_or_hides_what_it_is() {
        let cases = [
            ("../../etc/passwd", "etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("C:\\temp\\x.txt", "C_/temp/x.txt"),
            ("a/./b//c/../d", "a/b/c/d"),
            ("a\0b\nc\rd\te", "abcde"),
            ("gpj.\u{202E}exe", "gpj.exe"),
            ("what?<is>\"this\"|*", "what__is__this___"),
            ("con", "_con"),
            ("NUL.txt", "_NUL.txt"),
            ("a/com1.tar.gz", "a/_com1.tar.gz"),
            ("lpt¹", "_lpt¹"),
            ("common.txt", "common.txt"),
            ("trailing. . ", "trailing"),
            (" padded ", "padded"),
            ("..", "file"),
            ("", "file"),
            ("///", "file"),
            ("\u{0}\u{7f}", "file"),
        ];
        for (name, expected) in cases {
            assert_eq!(safe(name, "file"), expected, "{name:?}");
        }
    }

    #[test]
    fn a_folder_is_one_segment_or_none() {
        assert_eq!(within("Contact details", "a.json"), "Contact details/a.json");
        assert_eq!(within("In/out \\ both", "a"), "In out   both/a");
        assert_eq!(within("..", "../a"), "a");
        assert_eq!(within("", "a"), "a");
    }

    #[test]
    fn a_long_name_is_cut_between_characters_and_keeps_its_extension() {
        let emoji = "😀".repeat(1024);
        let name = safe(&format!("{emoji}.jpeg"), "file");
        assert!(name.len() <= SEGMENT_BYTES_MAX && name.ends_with("😀.jpeg"));
        assert_eq!(safe(&"x/".repeat(100), "file").split('/').count(), SEGMENTS_MAX);
        assert_eq!(safe(&format!("a.{}", "e".repeat(500)), "file").len(), SEGMENT_BYTES_MAX);
    }

    #[test]
    fn a_number_stands_before_the_extension() {
        assert_eq!(numbered("photo.jpg", 2), "photo (2).jpg");
        assert_eq!(numbered("a.b/c", 3), "a.b/c (3)");
        assert_eq!(numbered(".profile", 2), ".profile (2)");
        assert_eq!(extension("a/B.JPG").as_deref(), Some("jpg"));
        assert_eq!(extension("a.b/c"), None);
        assert_eq!(extension("archive."), None);
    }
}
