//! The hash tree of RFC 6962: SHA-256, leaves prefixed with 0x00 and inner nodes with 0x01.

use aws_lc_rs::digest::{Context, SHA256};

use super::GROUP_BYTES;
#[cfg(target_arch = "x86_64")]
use super::sixteen;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// A tree that grows leaf by leaf and holds one hash per level.
#[derive(Clone, Default)]
pub struct Tree {
    /// Complete subtrees from left to right, with their heights; heights strictly fall.
    subtrees: Vec<(u32, Hash)>,
}

impl Tree {
    /// The hash of one leaf.
    #[must_use]
    pub fn leaf(data: &[u8]) -> Hash {
        let mut leaf = Leaf::new();
        leaf.update(data);
        leaf.finish()
    }

    /// Adds the next leaf, by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut subtree = (0, leaf);
        while let Some((_, left)) = self.subtrees.pop_if(|(height, _)| *height == subtree.0) {
            subtree = (subtree.0 + 1, node(&left, &subtree.1));
        }
        self.subtrees.push(subtree);
    }

    /// The root over the leaves so far; over none it is SHA-256 of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut subtrees = self.subtrees.iter().rev().map(|(_, hash)| *hash);
        match subtrees.next() {
            None => crate::sha256(&[]),
            Some(last) => subtrees.fold(last, |right, left| node(&left, &right)),
        }
    }
}

/// The leaf hashes of the groups of `data`, of which only the last may be shorter. Whole groups go sixteen at a time where
/// the processor can.
pub(super) fn leaves(data: &[u8]) -> Vec<Hash> {
    let mut hashes = Vec::with_capacity(data.len().div_ceil(GROUP_BYTES));
    let mut rest = data;
    #[cfg(target_arch = "x86_64")]
    while let Some(found) = rest.as_chunks().0.first_chunk().and_then(sixteen::leaves) {
        hashes.extend_from_slice(&found);
        rest = &rest[found.len() * GROUP_BYTES..];
    }
    hashes.extend(rest.chunks(GROUP_BYTES).map(Tree::leaf));
    hashes
}

/// The hash of one leaf, fed piece by piece.
pub(super) struct Leaf(Context);

impl Leaf {
    pub(super) fn new() -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&[0x00]);
        Self(context)
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(super) fn finish(self) -> Hash {
        finish(self.0)
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[0x01]);
    context.update(left);
    context.update(right);
    finish(context)
}

fn finish(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_of(leaves: &[&[u8]]) -> Hash {
        let mut tree = Tree::default();
        for leaf in leaves {
            tree.push(Tree::leaf(leaf));
        }
        tree.root()
    }

    /// The definition in RFC 6962 2.1, word for word.
    fn by_definition(leaves: &[&[u8]]) -> Hash {
        match leaves {
            [] => crate::sha256(b""),
            [only] => Tree::leaf(only),
            _ => {
                let split = (leaves.len() as u64).next_power_of_two() as usize / 2;
                node(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn groups_side_by_side_hash_as_one_by_one() {
        let whole: Vec<u8> = (0..40 * GROUP_BYTES as u32 + 7)
            .map(|n| (n.wrapping_mul(0x9e37_79b1) >> 23) as u8)
            .collect();
        for groups in [0, 1, 15, 16, 17, 31, 32, 40] {
            for more in [0, 1, 7] {
                let data = &whole[..groups * GROUP_BYTES + more];
                let one_by_one: Vec<Hash> = data.chunks(GROUP_BYTES).map(Tree::leaf).collect();
                assert_eq!(leaves(data), one_by_one, "{groups} groups and {more} bytes");
            }
        }
    }

    #[test]
    fn a_growing_tree_has_the_root_of_its_definition() {
        let leaves: Vec<Vec<u8>> = (0..67u8).map(|n| vec![n; n as usize]).collect();
        let leaves: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
        for count in 0..leaves.len() {
            assert_eq!(
                root_of(&leaves[..count]),
                by_definition(&leaves[..count]),
                "{count} leaves"
            );
        }
    }
}
