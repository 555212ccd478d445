//! Sealing a body, piece by piece, in place.

use super::{
    BodyError, GROUP_BYTES, IV_BYTES, SEGMENT_BYTES_MAX, TAG_BYTES,
    gcm::{Direction, Gcm},
    tree::{Hash, Leaf, Tree, leaves},
};
use crate::Key32;

/// How much is ciphered before it is hashed.
const PIECE_BYTES: usize = 16 * GROUP_BYTES;

/// Turns the plain bytes of one body into ciphertext as they come. Pieces may be of any length; few and large ones
/// are fastest. Holds one hash per 64 KiB that went through (16 MiB at the longest body).
pub struct Sealer {
    cipher: Gcm,
    length: u64,
    length_max: u64,
    group: Leaf,
    group_length: usize,
    tree: Tree,
    sidecar: Vec<u8>,
}

/// What is known of a body once its last byte is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBody {
    /// The GCM tag over the whole body.
    pub tag: [u8; TAG_BYTES],
    /// Length of the body, and of the plain bytes.
    pub len: u64,
    /// Root of the tree over the ciphertext groups.
    pub root: Hash,
    /// The hashes of the groups, one after the other; empty for a body of at most one group, whose root says it all.
    pub sidecar: Vec<u8>,
}

impl Sealer {
    /// Begins a body of at most [`SEGMENT_BYTES_MAX`] bytes. The caller has reserved `iv` for this body alone.
    ///
    /// # Errors
    /// [`BodyError::Cipher`] if AWS-LC has no memory.
    pub fn new(key: &Key32, iv: &[u8; IV_BYTES]) -> Result<Self, BodyError> {
        Self::with_room(key, iv, SEGMENT_BYTES_MAX)
    }

    /// Begins a body of at most `length_max` bytes, or [`SEGMENT_BYTES_MAX`] if that is less.
    ///
    /// # Errors
    /// [`BodyError::Cipher`] if AWS-LC has no memory.
    pub fn with_room(key: &Key32, iv: &[u8; IV_BYTES], length_max: u64) -> Result<Self, BodyError> {
        Ok(Self {
            cipher: Gcm::new(Direction::Seal, key, iv)?,
            length: 0,
            length_max: length_max.min(SEGMENT_BYTES_MAX),
            group: Leaf::new(),
            group_length: 0,
            tree: Tree::default(),
            sidecar: Vec::new(),
        })
    }

    /// How many more bytes fit into this body.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.length_max - self.length
    }

    /// Seals the next bytes in place.
    ///
    /// # Errors
    /// [`BodyError::TooLong`] if they do not fit; then nothing was sealed.
    pub fn seal(&mut self, data: &mut [u8]) -> Result<(), BodyError> {
        if data.len() as u64 > self.room() {
            return Err(BodyError::TooLong);
        }
        self.length += data.len() as u64;
        let mut rest = data;
        while !rest.is_empty() {
            // A few groups at a time, so that they are hashed while the processor's cache still holds them.
            let whole = rest.len().min(PIECE_BYTES) / GROUP_BYTES * GROUP_BYTES;
            if self.group_length == 0 && whole > 0 {
                let (groups, later) = rest.split_at_mut(whole);
                self.cipher.update(groups)?;
                leaves(groups).into_iter().for_each(|hash| self.keep(hash));
                rest = later;
            } else {
                let (piece, later) = rest.split_at_mut(rest.len().min(GROUP_BYTES - self.group_length));
                self.cipher.update(piece)?;
                self.group.update(piece);
                self.group_length += piece.len();
                if self.group_length == GROUP_BYTES {
                    self.end_group();
                }
                rest = later;
            }
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`BodyError::Cipher`] if AWS-LC fails.
    pub fn finish(mut self) -> Result<SealedBody, BodyError> {
        if self.group_length > 0 {
            self.end_group();
        }
        if self.sidecar.len() == size_of::<Hash>() {
            self.sidecar.clear();
        }
        Ok(SealedBody {
            tag: self.cipher.tag()?,
            len: self.length,
            root: self.tree.root(),
            sidecar: self.sidecar,
        })
    }

    fn end_group(&mut self) {
        let hash = std::mem::replace(&mut self.group, Leaf::new()).finish();
        self.group_length = 0;
        self.keep(hash);
    }

    fn keep(&mut self, hash: Hash) {
        self.sidecar.extend_from_slice(&hash);
        self.tree.push(hash);
    }
}
