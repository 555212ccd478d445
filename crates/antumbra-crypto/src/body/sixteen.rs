//! SHA-256 of sixteen groups at once, one in each lane of a vector register, where the processor has AVX-512.
//!
//! Checking a group before it is sent costs more than anything else of a download, and one message after another is bound
//! by how long a round takes. Side by side they go about twice as fast (`docs/decisions/0009`). Everywhere else AWS-LC
//! hashes one group after the other, and the tests hold the two against each other. The names are those of FIPS 180-4, 6.2.
#![allow(unsafe_code)]

use std::{
    arch::{is_x86_feature_detected, x86_64::*},
    array,
};

use super::{GROUP_BYTES, tree::Hash};

/// How many messages go side by side.
pub(super) const LANES: usize = 16;
/// Bytes that SHA-256 takes in one go.
const BLOCK_BYTES: usize = 64;

/// The leaf hashes of sixteen whole groups, if this processor can do that.
pub(super) fn leaves(groups: &[[u8; GROUP_BYTES]; LANES]) -> Option<[Hash; LANES]> {
    // SAFETY: the processor has what the function was compiled for.
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")).then(|| unsafe { hash(groups) })
}

/// One word of each of the sixteen messages.
type Words = __m512i;

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
#[rustfmt::skip]
const K: [[u32; 16]; 4] = [
    [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    ],
    [
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    ],
    [
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    ],
    [
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ],
];

/// The first 32 bits of the fractional parts of the square roots of the first 8 primes.
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

#[target_feature(enable = "avx512f,avx512bw")]
fn hash(groups: &[[u8; GROUP_BYTES]; LANES]) -> [Hash; LANES] {
    const HEAD_BYTES: usize = BLOCK_BYTES - 1;
    let mut state = START.map(|word| _mm512_set1_epi32(word as i32));
    // RFC 6962: a leaf is hashed behind a zero byte, so blocks end one byte before those of the group.
    let heads = groups.each_ref().map(|group| {
        let mut block = [0; BLOCK_BYTES];
        block[1..].copy_from_slice(&group[..HEAD_BYTES]);
        block
    });
    compress(&mut state, &heads.each_ref());
    for at in (HEAD_BYTES..GROUP_BYTES - BLOCK_BYTES).step_by(BLOCK_BYTES) {
        let mut blocks = heads.each_ref();
        for (block, group) in blocks.iter_mut().zip(groups) {
            *block = group[at..].first_chunk().expect("whole blocks are left");
        }
        compress(&mut state, &blocks);
    }
    let bits = (GROUP_BYTES as u64 + 1) * 8;
    let ends = groups.each_ref().map(|group| {
        let mut block = [0; BLOCK_BYTES];
        block[0] = group[GROUP_BYTES - 1];
        block[1] = 0x80;
        block[BLOCK_BYTES - 8..].copy_from_slice(&bits.to_be_bytes());
        block
    });
    compress(&mut state, &ends.each_ref());
    let words = state.map(|words| to_lanes(words));
    array::from_fn(|lane| {
        let mut hash = Hash::default();
        for (bytes, word) in hash.as_chunks_mut().0.iter_mut().zip(&words) {
            *bytes = word[lane].to_be_bytes();
        }
        hash
    })
}

/// Takes one block of each message into the state.
#[target_feature(enable = "avx512f,avx512bw")]
fn compress(state: &mut [Words; 8], blocks: &[&[u8; BLOCK_BYTES]; LANES]) {
    let before = *state;
    let mut rows = [_mm512_setzero_si512(); LANES];
    for (row, block) in rows.iter_mut().zip(blocks) {
        *row = load(block);
    }
    let mut schedule = transpose(rows);
    sixteen_rounds::<true>(state, &mut schedule, &K[0]);
    sixteen_rounds::<true>(state, &mut schedule, &K[1]);
    sixteen_rounds::<true>(state, &mut schedule, &K[2]);
    sixteen_rounds::<false>(state, &mut schedule, &K[3]);
    for (word, before) in state.iter_mut().zip(before) {
        *word = _mm512_add_epi32(*word, before);
    }
}

/// Sixteen rounds, and with `MORE` the schedule of the next sixteen. Written out, so that all of it stays in registers.
#[target_feature(enable = "avx512f,avx512bw")]
fn sixteen_rounds<const MORE: bool>(state: &mut [Words; 8], schedule: &mut [Words; 16], k: &[u32; 16]) {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    let mut next = |t: usize| {
        let word = schedule[t];
        if MORE {
            let (later, last) = (schedule[(t + 1) % 16], schedule[(t + 14) % 16]);
            let s0 = xor(
                _mm512_ror_epi32::<7>(later),
                _mm512_ror_epi32::<18>(later),
                _mm512_srli_epi32::<3>(later),
            );
            let s1 = xor(
                _mm512_ror_epi32::<17>(last),
                _mm512_ror_epi32::<19>(last),
                _mm512_srli_epi32::<10>(last),
            );
            let sum = _mm512_add_epi32(word, schedule[(t + 9) % 16]);
            schedule[t] = _mm512_add_epi32(sum, _mm512_add_epi32(s0, s1));
        }
        _mm512_add_epi32(word, _mm512_set1_epi32(k[t] as i32))
    };
    round([a, b, c], &mut d, [e, f, g], &mut h, next(0));
    round([h, a, b], &mut c, [d, e, f], &mut g, next(1));
    round([g, h, a], &mut b, [c, d, e], &mut f, next(2));
    round([f, g, h], &mut a, [b, c, d], &mut e, next(3));
    round([e, f, g], &mut h, [a, b, c], &mut d, next(4));
    round([d, e, f], &mut g, [h, a, b], &mut c, next(5));
    round([c, d, e], &mut f, [g, h, a], &mut b, next(6));
    round([b, c, d], &mut e, [f, g, h], &mut a, next(7));
    round([a, b, c], &mut d, [e, f, g], &mut h, next(8));
    round([h, a, b], &mut c, [d, e, f], &mut g, next(9));
    round([g, h, a], &mut b, [c, d, e], &mut f, next(10));
    round([f, g, h], &mut a, [b, c, d], &mut e, next(11));
    round([e, f, g], &mut h, [a, b, c], &mut d, next(12));
    round([d, e, f], &mut g, [h, a, b], &mut c, next(13));
    round([c, d, e], &mut f, [g, h, a], &mut b, next(14));
    round([b, c, d], &mut e, [f, g, h], &mut a, next(15));
    *state = [a, b, c, d, e, f, g, h];
}

#[target_feature(enable = "avx512f,avx512bw")]
fn round([a, b, c]: [Words; 3], d: &mut Words, [e, f, g]: [Words; 3], h: &mut Words, word: Words) {
    const CHOICE: i32 = 0xca;
    const MAJORITY: i32 = 0xe8;
    let s1 = xor(
        _mm512_ror_epi32::<6>(e),
        _mm512_ror_epi32::<11>(e),
        _mm512_ror_epi32::<25>(e),
    );
    let choice = _mm512_ternarylogic_epi32::<CHOICE>(e, f, g);
    let first = _mm512_add_epi32(_mm512_add_epi32(*h, word), _mm512_add_epi32(s1, choice));
    let s0 = xor(
        _mm512_ror_epi32::<2>(a),
        _mm512_ror_epi32::<13>(a),
        _mm512_ror_epi32::<22>(a),
    );
    let majority = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
    *d = _mm512_add_epi32(*d, first);
    *h = _mm512_add_epi32(first, _mm512_add_epi32(s0, majority));
}

#[target_feature(enable = "avx512f,avx512bw")]
fn xor(a: Words, b: Words, c: Words) -> Words {
    const XOR: i32 = 0x96;
    _mm512_ternarylogic_epi32::<XOR>(a, b, c)
}

/// A block as sixteen words in the processor's order.
#[target_feature(enable = "avx512f,avx512bw")]
fn load(block: &[u8; BLOCK_BYTES]) -> Words {
    // SAFETY: the block is 64 bytes long, and the load asks for no alignment.
    let words = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
    let big_endian = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    _mm512_shuffle_epi8(words, big_endian)
}

#[target_feature(enable = "avx512f,avx512bw")]
fn to_lanes(words: Words) -> [u32; LANES] {
    let mut lanes = [0; LANES];
    // SAFETY: sixteen words of 32 bits are 64 bytes, and the store asks for no alignment.
    unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), words) };
    lanes
}

/// From one block a register to one word a register: words in pairs, in fours, then parts of 128 bits twice.
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose(rows: [Words; 16]) -> [Words; 16] {
    let (mut pairs, mut fours, mut eights, mut words) = (rows, rows, rows, rows);
    for i in (0..16).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for i in [0, 1, 4, 5, 8, 9, 12, 13] {
        let place = i / 4 * 4 + i % 4 * 2;
        fours[place] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[place + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    }
    // Register 4 q + w holds words w, w + 4, w + 8 and w + 12 of blocks 4 q to 4 q + 3.
    for i in [0, 1, 2, 3, 8, 9, 10, 11] {
        eights[i] = _mm512_shuffle_i32x4::<0x44>(fours[i], fours[i + 4]);
        eights[i + 4] = _mm512_shuffle_i32x4::<0xee>(fours[i], fours[i + 4]);
    }
    for i in 0..8 {
        let word = i / 4 * 8 + i % 4;
        words[word] = _mm512_shuffle_i32x4::<0x88>(eights[i], eights[i + 8]);
        words[word + 4] = _mm512_shuffle_i32x4::<0xdd>(eights[i], eights[i + 8]);
    }
    words
}
