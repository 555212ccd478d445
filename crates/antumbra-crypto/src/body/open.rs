//! Opening a body: each group is checked against the tree first, and decrypted only then.

use std::ops::Range;

use aws_lc_rs::{
    cipher::{AES_256, DecryptingKey, DecryptionContext, UnboundCipherKey},
    iv::FixedLength,
};

use super::{
    BodyError, GROUP_BYTES, IV_BYTES, TAG_BYTES,
    gcm::{Direction, Gcm},
    tree::{Hash, Tree, leaves},
};
use crate::{Key32, same_bytes};

/// The hashes of the groups of one body, known to lead to its root.
pub struct Groups {
    hashes: Vec<Hash>,
    length: u64,
}

/// Ciphertext that is known to be what was sealed, from the start of group `first_group` on.
pub struct Verified<B> {
    first_group: u64,
    bytes: B,
}

impl Groups {
    /// Checks `sidecar` against the `length` and `root` of its body. For a body of at most one group it is empty.
    ///
    /// # Errors
    /// [`BodyError::SidecarDamaged`].
    pub fn new(sidecar: &[u8], length: u64, root: &Hash) -> Result<Self, BodyError> {
        let count = usize::try_from(length.div_ceil(GROUP_BYTES as u64)).map_err(|_| BodyError::SidecarDamaged)?;
        let (hashes, rest) = if count <= 1 {
            (vec![*root; count], sidecar)
        } else {
            split(sidecar)
        };
        if hashes.len() != count || !rest.is_empty() {
            return Err(BodyError::SidecarDamaged);
        }
        let mut tree = Tree::default();
        hashes.iter().for_each(|hash| tree.push(*hash));
        if same_bytes(&tree.root(), root) {
            Ok(Self { hashes, length })
        } else {
            Err(BodyError::SidecarDamaged)
        }
    }

    /// Length of the body.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The bytes that must be read to give out `wanted`: from the start of its first group to the end of its last.
    #[must_use]
    pub fn covering(&self, wanted: Range<u64>) -> Range<u64> {
        let group = GROUP_BYTES as u64;
        let end = wanted.end.min(self.length);
        wanted.start.min(end) / group * group..end.div_ceil(group).saturating_mul(group).min(self.length)
    }

    /// Checks `bytes`, which begin at group `first_group` and end at the end of a group.
    ///
    /// # Errors
    /// [`BodyError::GroupDamaged`] names the first group that is not what was sealed.
    pub fn verify<B: AsRef<[u8]>>(&self, first_group: u64, bytes: B) -> Result<Verified<B>, BodyError> {
        for (place, found) in (0..).zip(leaves(bytes.as_ref())) {
            let group = first_group.saturating_add(place);
            let expected = usize::try_from(group).ok().and_then(|group| self.hashes.get(group));
            match expected {
                Some(expected) if same_bytes(expected, &found) => {}
                _ => return Err(BodyError::GroupDamaged { group }),
            }
        }
        Ok(Verified { first_group, bytes })
    }
}

fn split(sidecar: &[u8]) -> (Vec<Hash>, &[u8]) {
    let (hashes, rest) = sidecar.as_chunks::<32>();
    (hashes.to_vec(), rest)
}

/// Decrypts a body from its first byte to its last, and checks the tag at the end.
pub struct Opener {
    cipher: Gcm,
    next_group: u64,
    left: u64,
}

impl Opener {
    /// Begins with a body of `length` bytes.
    ///
    /// # Errors
    /// [`BodyError::Cipher`] if AWS-LC has no memory.
    pub fn new(key: &Key32, iv: &[u8; IV_BYTES], length: u64) -> Result<Self, BodyError> {
        Ok(Self {
            cipher: Gcm::new(Direction::Open, key, iv)?,
            next_group: 0,
            left: length,
        })
    }

    /// Decrypts the next groups in place.
    ///
    /// # Errors
    /// [`BodyError::OutOfOrder`] if they are not the next ones.
    pub fn open<B: AsMut<[u8]>>(&mut self, verified: Verified<B>) -> Result<B, BodyError> {
        let Verified { first_group, mut bytes } = verified;
        let length = bytes.as_mut().len();
        if first_group != self.next_group || length as u64 > self.left {
            return Err(BodyError::OutOfOrder {
                expected: self.next_group,
            });
        }
        self.cipher.update(bytes.as_mut())?;
        self.next_group += length.div_ceil(GROUP_BYTES) as u64;
        self.left -= length as u64;
        Ok(bytes)
    }

    /// Ends the body.
    ///
    /// # Errors
    /// [`BodyError::OutOfOrder`] if bytes are missing, [`BodyError::TagMismatch`] if the tag does not hold. In either
    /// case the last bytes must not be given out.
    pub fn finish(self, tag: &[u8; TAG_BYTES]) -> Result<(), BodyError> {
        if self.left > 0 {
            return Err(BodyError::OutOfOrder {
                expected: self.next_group,
            });
        }
        self.cipher.verify(tag)
    }
}

/// Decrypts any groups of a body in any order. The tag cannot be checked this way; the tree was.
pub struct RangeOpener {
    cipher: DecryptingKey,
    iv: [u8; IV_BYTES],
}

impl RangeOpener {
    /// Makes ready to read anywhere in the body that was sealed with `key` and `iv`.
    ///
    /// # Errors
    /// [`BodyError::Cipher`] if AWS-LC has no memory.
    pub fn new(key: &Key32, iv: &[u8; IV_BYTES]) -> Result<Self, BodyError> {
        let cipher = UnboundCipherKey::new(&AES_256, key.expose())
            .and_then(DecryptingKey::ctr)
            .map_err(|_| BodyError::Cipher)?;
        Ok(Self { cipher, iv: *iv })
    }

    /// Decrypts in place.
    ///
    /// # Errors
    /// [`BodyError::TooLong`] for a group beyond what one IV may encrypt.
    pub fn open<B: AsMut<[u8]>>(&self, verified: Verified<B>) -> Result<B, BodyError> {
        let Verified { first_group, mut bytes } = verified;
        let blocks_before = first_group * (GROUP_BYTES / 16) as u64;
        // GCM encrypts its first block with counter 2; counter 1 belongs to the tag.
        let counter = u32::try_from(blocks_before + 2).map_err(|_| BodyError::TooLong)?;
        let mut block = [0; 16];
        block[..IV_BYTES].copy_from_slice(&self.iv);
        block[IV_BYTES..].copy_from_slice(&counter.to_be_bytes());
        self.cipher
            .decrypt(bytes.as_mut(), DecryptionContext::Iv128(FixedLength::from(block)))
            .map_err(|_| BodyError::Cipher)?;
        Ok(bytes)
    }
}
