//! Names and manifests, for any bytes. See [`crate::fuzz`].

pub(crate) use super::store::fuzz_manifest as manifest;

use super::name::{numbered, within};

/// A name that is given out is a path below its folder that no system takes for something else, and stays as it is when
/// it is made safe again.
pub(crate) fn name(bytes: &[u8]) {
    let sent = String::from_utf8_lossy(bytes);
    let (folder, sent) = sent.split_once('\n').unwrap_or(("Crm", &sent));
    let safe = within(folder, sent);
    let alone = within("", sent);
    assert_eq!(within("", &alone), alone);
    for name in [&safe, &numbered(&safe, 2)] {
        assert!(!name.is_empty() && !name.contains(['\\', '\0', '\r', '\n']));
        for segment in name.split('/') {
            let stem = segment
                .split('.')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            assert!(!matches!(segment, "" | "." | ".."), "{name:?}");
            assert!(!matches!(stem.as_str(), "con" | "prn" | "aux" | "nul"), "{name:?}");
            assert!(segment.len() < 256, "{name:?}");
        }
    }
}
