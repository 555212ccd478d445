//! AES-256-GCM over a stream, which the safe interface of AWS-LC does not offer.
//!
//! Invariants that the unsafe blocks rest on:
//! - `context` comes from `EVP_CIPHER_CTX_new`, is not null, is owned by one [`Gcm`] alone and freed once, in `Drop`.
//! - key, IV and tag are arrays of exactly the length that AES-256-GCM reads or writes (32, 12, 16).
//! - data is ciphered in place: input and output are the same pointer and length, which `EVP_CipherUpdate` allows, and
//!   GCM is a stream mode, so it writes exactly as many bytes as it reads; this is checked after each call.
#![allow(unsafe_code)]

use std::{ffi::c_int, ptr};

use aws_lc_sys as lc;

use super::{BodyError, IV_BYTES, TAG_BYTES};
use crate::Key32;

/// How much goes into one call: its length is a C `int`.
const CALL_BYTES_MAX: usize = 1 << 30;

/// Whether a stream turns plain bytes into ciphertext or back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Seal,
    Open,
}

/// One stream under one key and IV. AWS-LC wipes the key schedule when the context is freed.
pub(super) struct Gcm {
    context: ptr::NonNull<lc::EVP_CIPHER_CTX>,
}

// SAFETY: the context is plain memory owned by this value alone; AWS-LC ties it to no thread.
unsafe impl Send for Gcm {}
// SAFETY: every operation takes `&mut self`, so nothing can be done through a shared reference.
unsafe impl Sync for Gcm {}

impl Gcm {
    pub(super) fn new(direction: Direction, key: &Key32, iv: &[u8; IV_BYTES]) -> Result<Self, BodyError> {
        // SAFETY: no arguments; null is turned into an error.
        let context = ptr::NonNull::new(unsafe { lc::EVP_CIPHER_CTX_new() }).ok_or(BodyError::Cipher)?;
        let stream = Self { context };
        let seal = c_int::from(direction == Direction::Seal);
        // SAFETY: the context is valid and fresh; the cipher is a static of AWS-LC; key has 32 and iv has 12 bytes,
        // the lengths AES-256-GCM reads by default; both are copied before the call returns.
        let done = unsafe {
            lc::EVP_CipherInit_ex(
                stream.context.as_ptr(),
                lc::EVP_aes_256_gcm(),
                ptr::null_mut(),
                key.expose().as_ptr(),
                iv.as_ptr(),
                seal,
            )
        };
        if done == 1 { Ok(stream) } else { Err(BodyError::Cipher) }
    }

    /// Ciphers `data` in place, as the next bytes of the stream.
    pub(super) fn update(&mut self, data: &mut [u8]) -> Result<(), BodyError> {
        for part in data.chunks_mut(CALL_BYTES_MAX) {
            let length = c_int::try_from(part.len()).map_err(|_| BodyError::Cipher)?;
            let mut written: c_int = 0;
            let place = part.as_mut_ptr();
            // SAFETY: the context is valid; `place` is readable and writable for `length` bytes and in-place use is
            // allowed; `written` outlives the call.
            let done = unsafe { lc::EVP_CipherUpdate(self.context.as_ptr(), place, &mut written, place, length) };
            if done != 1 || written != length {
                return Err(BodyError::Cipher);
            }
        }
        Ok(())
    }

    /// Ends a sealing stream and gives its tag.
    pub(super) fn tag(mut self) -> Result<[u8; TAG_BYTES], BodyError> {
        self.end().map_err(|_| BodyError::Cipher)?;
        let mut tag = [0; TAG_BYTES];
        // SAFETY: the context is valid and finished; the tag buffer has the 16 bytes that the third argument states.
        let done = unsafe {
            lc::EVP_CIPHER_CTX_ctrl(
                self.context.as_ptr(),
                lc::EVP_CTRL_AEAD_GET_TAG,
                TAG_BYTES as c_int,
                tag.as_mut_ptr().cast(),
            )
        };
        if done == 1 { Ok(tag) } else { Err(BodyError::Cipher) }
    }

    /// Ends an opening stream: an error unless `tag` is right. AWS-LC compares in constant time.
    pub(super) fn verify(mut self, tag: &[u8; TAG_BYTES]) -> Result<(), BodyError> {
        let mut expected = *tag;
        // SAFETY: the context is valid; the 16 bytes are copied before the call returns.
        let done = unsafe {
            lc::EVP_CIPHER_CTX_ctrl(
                self.context.as_ptr(),
                lc::EVP_CTRL_AEAD_SET_TAG,
                TAG_BYTES as c_int,
                expected.as_mut_ptr().cast(),
            )
        };
        if done != 1 {
            return Err(BodyError::Cipher);
        }
        self.end()
    }

    fn end(&mut self) -> Result<(), BodyError> {
        let mut nothing = [0u8; 16];
        let mut written: c_int = 0;
        // SAFETY: the context is valid; GCM writes no byte at its end, and a whole block would fit.
        let done = unsafe { lc::EVP_CipherFinal_ex(self.context.as_ptr(), nothing.as_mut_ptr(), &mut written) };
        if done == 1 && written == 0 {
            Ok(())
        } else {
            Err(BodyError::TagMismatch)
        }
    }
}

impl Drop for Gcm {
    fn drop(&mut self) {
        // SAFETY: the context is valid, owned by this value, and not used after this.
        unsafe { lc::EVP_CIPHER_CTX_free(self.context.as_ptr()) }
    }
}
