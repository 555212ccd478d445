//! Format AUF1: a file as one AES-256-GCM stream with a detached tag, and a hash tree over the ciphertext.
//!
//! The stored body is exactly the ciphertext: no header, no tag, as long as the file. Beside it stands the sidecar:
//! one SHA-256 per 64 KiB group of ciphertext. The root of the tree over these, the tag, the IV and the length are
//! kept by the caller under a keyed digest. A reader checks each group against the tree before it decrypts it
//! ([`Groups::verify`] is the only way to get the [`Verified`] bytes that [`Opener`] and [`RangeOpener`] take), so
//! nothing that was altered, cut, moved or repeated ever becomes plain bytes.
//!
//! No IV may be used twice under one key: the caller reserves it durably before the first byte is sealed.

mod gcm;
mod open;
mod seal;
#[cfg(target_arch = "x86_64")]
mod sixteen;
mod tree;

pub use open::{Groups, Opener, RangeOpener, Verified};
pub use seal::{SealedBody, Sealer};
pub use tree::{Hash, Tree};

/// How many ciphertext bytes one hash covers. Only the last group of a body may be shorter.
pub const GROUP_BYTES: usize = 64 * 1024;

/// How long one body may be: half of what one IV may encrypt. Longer files are several bodies, each with its own IV.
pub const SEGMENT_BYTES_MAX: u64 = 32 << 30;

/// How long the IV of a body is.
pub const IV_BYTES: usize = 12;

/// How long the tag of a body is.
pub const TAG_BYTES: usize = 16;

/// Why a body was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than one IV may encrypt, or than the segment was made for.
    #[error("the body is longer than its segment may be")]
    TooLong,
    /// The sidecar has another length than the body calls for, or its hashes do not lead to the root.
    #[error("the hashes of the groups do not belong to this body")]
    SidecarDamaged,
    /// The group with this number is not the one that was sealed.
    #[error("group {group} of the body is not what was sealed")]
    GroupDamaged {
        /// Counted from zero.
        group: u64,
    },
    /// Groups were handed over out of order, or some are missing.
    #[error("group {expected} of the body was expected")]
    OutOfOrder {
        /// Counted from zero.
        expected: u64,
    },
    /// Every group was right and yet the whole is not: the key, the IV or the tag belongs to another body.
    #[error("the tag of the body does not hold")]
    TagMismatch,
    /// AWS-LC refused an operation that cannot fail with these arguments.
    #[error("the cipher failed")]
    Cipher,
}
