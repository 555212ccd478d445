//! Several byte strings as one, so that no two lists of parts ever give the same bytes.

/// `label` and then every part, each preceded by its length as a big-endian `u32`.
pub(crate) fn join(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let all = || std::iter::once(label.as_bytes()).chain(parts.iter().copied());
    let mut joined = Vec::with_capacity(all().map(|part| 4 + part.len()).sum());
    for part in all() {
        let length = u32::try_from(part.len()).expect("a part of a context is shorter than 4 GiB");
        joined.extend_from_slice(&length.to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_part_ends_and_the_next_begins_makes_a_difference() {
        assert_ne!(join("x", &[b"ab", b"c"]), join("x", &[b"a", b"bc"]));
        assert_ne!(join("x", &[b"ab"]), join("x", &[b"ab", b""]));
        assert_ne!(join("xa", &[b"b"]), join("x", &[b"ab"]));
    }
}
