//! Key bytes: wiped when dropped, never printed, never serialised.

use std::{cell::RefCell, fmt};

use aws_lc_rs::hkdf;
use zeroize::Zeroize;

/// `N` secret bytes on the heap, so that a move copies a pointer and not the secret. Wiped when dropped.
pub struct Secret<const N: usize>(Box<[u8; N]>);

/// A 256-bit key.
pub type Key32 = Secret<32>;

impl<const N: usize> Secret<N> {
    /// `N` bytes from the random generator of AWS-LC.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = Box::new([0; N]);
        fill_random(&mut bytes[..]);
        Self(bytes)
    }

    /// Takes over `bytes` and wipes the caller's copy.
    #[must_use]
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let secret = Self(Box::new(*bytes));
        bytes.zeroize();
        secret
    }

    /// A copy of `bytes`, or `None` if there are not exactly `N` of them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self(Box::new([0; N]));
        (bytes.len() == N).then(|| {
            secret.0.copy_from_slice(bytes);
            secret
        })
    }

    /// The bytes themselves. Whoever calls this takes care of every copy it makes.
    #[must_use]
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl Key32 {
    /// HKDF-Expand with SHA-256: a key of its own for the use that `label` names.
    #[must_use]
    pub fn derive(&self, label: &str) -> Key32 {
        let mut derived = Secret(Box::new([0; 32]));
        hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.expose())
            .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut derived.0[..]))
            .expect("32 bytes are what HKDF-SHA-256 expands to in one step");
        derived
    }
}

impl<const N: usize> Drop for Secret<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({N} bytes)")
    }
}

/// `N` random bytes that are not secret in themselves: nonces, salts, IVs.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

fn fill_random(bytes: &mut [u8]) {
    thread_local! {
        static RESERVE: RefCell<Reserve> = RefCell::new(Reserve::empty());
    }
    RESERVE.with_borrow_mut(|reserve| reserve.fill(bytes));
}

const RESERVE_BYTES: usize = 1024;

/// A thread's random bytes, drawn from AWS-LC many at a time, because a call of its generator costs more than what it
/// gives for a nonce. Each is handed out once and wiped here. A process that forked would hand some out twice: ours
/// starts others by `exec` only.
struct Reserve {
    bytes: Secret<RESERVE_BYTES>,
    used: usize,
}

impl Reserve {
    fn empty() -> Reserve {
        Reserve {
            bytes: Secret(Box::new([0; RESERVE_BYTES])),
            used: RESERVE_BYTES,
        }
    }

    fn fill(&mut self, wanted: &mut [u8]) {
        if wanted.len() > RESERVE_BYTES {
            return draw(wanted);
        }
        if wanted.len() > RESERVE_BYTES - self.used {
            draw(self.bytes.expose_mut());
            self.used = 0;
        }
        let end = self.used + wanted.len();
        let given = &mut self.bytes.expose_mut()[self.used..end];
        wanted.copy_from_slice(given);
        given.zeroize();
        self.used = end;
    }
}

fn draw(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("AWS-LC ends the process itself when it has no entropy");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Key32::take(&mut [0xAB; 32]);
        assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
    }

    #[test]
    fn taking_bytes_wipes_where_they_came_from() {
        let mut bytes = [7; 32];
        let secret = Key32::take(&mut bytes);
        assert_eq!(bytes, [0; 32]);
        assert_eq!(secret.expose(), &[7; 32]);
    }

    #[test]
    fn a_slice_of_another_length_is_no_key() {
        assert!(Key32::from_slice(&[1; 31]).is_none());
        assert!(Key32::from_slice(&[1; 33]).is_none());
        assert!(Key32::from_slice(&[1; 32]).is_some());
    }

    #[test]
    fn no_random_byte_is_given_twice_or_kept() {
        let mut reserve = Reserve::empty();
        let mut given = std::collections::HashSet::new();
        for length in (0..400)
            .map(|turn| 12 + turn % 37)
            .chain([RESERVE_BYTES, RESERVE_BYTES + 1])
        {
            let mut bytes = vec![0; length];
            reserve.fill(&mut bytes);
            for piece in bytes.chunks_exact(12) {
                assert!(given.insert(piece.to_vec()));
            }
            assert!(reserve.bytes.expose()[..reserve.used].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn different_labels_derive_different_keys() {
        let key = Key32::random();
        assert_ne!(key.derive("one").expose(), key.derive("two").expose());
        assert_eq!(key.derive("one").expose(), key.derive("one").expose());
    }
}
