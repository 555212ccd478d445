//! Bodies: the streaming cipher against an independent one, and every way to spoil a body.

#![allow(clippy::unwrap_used, reason = "a test may")]

use aes::Aes256;
use antumbra_crypto::{
    Key32,
    body::{BodyError, GROUP_BYTES, Groups, Opener, RangeOpener, SealedBody, Sealer, Tree},
};
use ctr::{
    Ctr32BE,
    cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use ghash::{GHash, universal_hash::UniversalHash};
use proptest::prelude::*;

const IV: [u8; 12] = [7; 12];
const GROUP: u64 = GROUP_BYTES as u64;

fn key() -> Key32 {
    Key32::take(&mut [0x42; 32])
}

/// Bytes that no group repeats.
fn plain(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

fn seal(key: &Key32, iv: &[u8; 12], plain: &[u8]) -> (Vec<u8>, SealedBody) {
    let mut body = plain.to_vec();
    let mut sealer = Sealer::new(key, iv).unwrap();
    sealer.seal(&mut body).unwrap();
    (body, sealer.finish().unwrap())
}

/// What a stored body and its sidecar become when they are read from end to end.
fn open(key: &Key32, iv: &[u8; 12], body: &[u8], sealed: &SealedBody) -> Result<Vec<u8>, BodyError> {
    let groups = Groups::new(&sealed.sidecar, sealed.len, &sealed.root)?;
    let mut opener = Opener::new(key, iv, sealed.len)?;
    let mut opened = Vec::new();
    for (number, group) in (0..).zip(body.chunks(GROUP_BYTES)) {
        opened.extend(opener.open(groups.verify(number, group.to_vec())?)?);
    }
    opener.finish(&sealed.tag)?;
    Ok(opened)
}

/// AES-256-GCM without associated data, built from the parts of another library.
fn oracle(key: &Key32, iv: &[u8; 12], plain: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let mut first = [0; 16];
    first[..12].copy_from_slice(iv);
    first[15] = 2;
    let mut ciphertext = plain.to_vec();
    Ctr32BE::<Aes256>::new(key.expose().into(), &first.into()).apply_keystream(&mut ciphertext);
    let aes = Aes256::new(key.expose().into());
    let mut hash_key = Default::default();
    aes.encrypt_block(&mut hash_key);
    let mut ghash = GHash::new(&hash_key);
    ghash.update_padded(&ciphertext);
    let mut lengths = [0; 16];
    lengths[8..].copy_from_slice(&(plain.len() as u64 * 8).to_be_bytes());
    ghash.update(&[lengths.into()]);
    first[15] = 1;
    let mut mask = first.into();
    aes.encrypt_block(&mut mask);
    let digest = ghash.finalize();
    let mut tag = [0; 16];
    tag.iter_mut()
        .zip(digest.iter().zip(mask.iter()))
        .for_each(|(tag, (digest, mask))| *tag = digest ^ mask);
    (ciphertext, tag)
}

/// The tree by its definition, from the whole ciphertext.
fn root_by_definition(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => antumbra_crypto::sha256(b""),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            let mut node = vec![0x01];
            node.extend(root_by_definition(left));
            node.extend(root_by_definition(right));
            antumbra_crypto::sha256(&node)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_stream_agrees_with_an_independent_cipher_however_it_is_cut(
        length in prop_oneof![0..200usize, 65_500..65_600usize, 0..400_000usize],
        cuts in prop::collection::vec(1..150_000usize, 0..12),
        key in any::<[u8; 32]>(),
        iv in any::<[u8; 12]>(),
    ) {
        let key = Key32::from_slice(&key).unwrap();
        let plain = plain(length);
        let mut body = plain.clone();
        let mut sealer = Sealer::new(&key, &iv).unwrap();
        let mut rest = &mut body[..];
        for cut in cuts {
            let (piece, later) = rest.split_at_mut(cut.min(rest.len()));
            sealer.seal(piece).unwrap();
            rest = later;
        }
        sealer.seal(rest).unwrap();
        let sealed = sealer.finish().unwrap();

        let (ciphertext, tag) = oracle(&key, &iv, &plain);
        prop_assert!(body == ciphertext);
        prop_assert_eq!(sealed.tag, tag);
        let leaves: Vec<_> = ciphertext.chunks(GROUP_BYTES).map(Tree::leaf).collect();
        prop_assert_eq!(sealed.root, root_by_definition(&leaves));
        let sidecar = if leaves.len() > 1 { leaves.concat() } else { Vec::new() };
        prop_assert!(sealed.sidecar == sidecar);
        prop_assert!(open(&key, &iv, &body, &sealed).unwrap() == plain);
    }

    #[test]
    fn any_range_is_what_the_whole_says_there(
        length in 1..500_000usize,
        from in 0..500_000u64,
        wanted in 1..200_000u64,
    ) {
        let (from, to) = (from.min(length as u64 - 1), (from + wanted).min(length as u64));
        prop_assume!(from < to);
        let plain = plain(length);
        let (body, sealed) = seal(&key(), &IV, &plain);
        let groups = Groups::new(&sealed.sidecar, sealed.len, &sealed.root).unwrap();
        let read = groups.covering(from..to);
        prop_assert!(read.start <= from && to <= read.end && read.start.is_multiple_of(GROUP));
        let ciphertext = body[read.start as usize..read.end as usize].to_vec();
        let verified = groups.verify(read.start / GROUP, ciphertext).unwrap();
        let opened = RangeOpener::new(&key(), &IV).unwrap().open(verified).unwrap();
        let wanted = &opened[(from - read.start) as usize..(to - read.start) as usize];
        prop_assert!(wanted == &plain[from as usize..to as usize]);
    }
}

#[test]
fn every_way_to_spoil_a_body_is_noticed_before_its_group_is_decrypted() {
    let group = |number: usize| number * GROUP_BYTES..(number + 1) * GROUP_BYTES;
    let length = 4 * GROUP_BYTES + 100;
    let (good, sealed) = seal(&key(), &IV, &plain(length));
    let (other, _) = seal(&key(), &[8; 12], &plain(length));
    type Spoil<'a> = &'a dyn Fn(&mut Vec<u8>);
    let spoiled: &[(&str, u64, Spoil)] = &[
        ("first_bit_flipped", 0, &|body| body[0] ^= 0x80),
        ("last_bit_flipped", 4, &|body| *body.last_mut().unwrap() ^= 1),
        ("middle_bit_flipped", 2, &|body| body[2 * GROUP_BYTES + 7] ^= 0x10),
        ("last_byte_missing", 4, &|body| body.truncate(body.len() - 1)),
        ("last_chunk_missing", 4, &|body| body.truncate(4 * GROUP_BYTES)),
        ("last_two_chunks_missing", 3, &|body| body.truncate(3 * GROUP_BYTES)),
        ("everything_missing", 0, &Vec::clear),
        ("first_chunk_missing", 0, &|body| drop(body.drain(group(0)))),
        ("middle_chunk_missing", 2, &|body| drop(body.drain(group(2)))),
        ("one_byte_missing_inside", 1, &|body| {
            drop(body.drain(GROUP_BYTES + 5..GROUP_BYTES + 6))
        }),
        ("chunk_repeated", 2, &|body| body.copy_within(group(1), 2 * GROUP_BYTES)),
        ("two_last_chunks", 4, &|body| {
            body.extend_from_slice(&good[4 * GROUP_BYTES..])
        }),
        ("chunks_swapped", 1, &|body| {
            body[group(1)].copy_from_slice(&good[group(2)]);
            body[group(2)].copy_from_slice(&good[group(1)]);
        }),
        ("one_byte_too_many", 4, &|body| body.push(0)),
        ("one_chunk_too_many", 4, &|body| body.extend_from_slice(&good[group(0)])),
        ("chunk_of_another_body", 3, &|body| {
            body[group(3)].copy_from_slice(&other[group(3)])
        }),
        ("another_body", 0, &|body| body.copy_from_slice(&other)),
        ("all_zero", 0, &|body| body.fill(0)),
    ];
    for (fault, group, spoil) in spoiled {
        let mut body = good.clone();
        spoil(&mut body);
        let refused = open(&key(), &IV, &body, &sealed).unwrap_err();
        let missing_end = good.starts_with(&body) && body.len() % GROUP_BYTES == 0;
        let expected = if missing_end {
            BodyError::OutOfOrder { expected: *group }
        } else {
            BodyError::GroupDamaged { group: *group }
        };
        assert_eq!(refused, expected, "{fault}");
    }
}

#[test]
fn every_way_to_spoil_a_sidecar_or_a_manifest_is_noticed() {
    let (body, good) = seal(&key(), &IV, &plain(3 * GROUP_BYTES + 1));
    type Spoil<'a> = &'a dyn Fn(&mut SealedBody);
    let spoiled: &[(&str, Spoil)] = &[
        ("hash_flipped", &|sealed| sealed.sidecar[40] ^= 1),
        ("hash_missing", &|sealed| sealed.sidecar.truncate(96)),
        ("hash_too_many", &|sealed| sealed.sidecar.extend([0; 32])),
        ("hash_cut", &|sealed| sealed.sidecar.truncate(127)),
        ("hash_repeated", &|sealed| sealed.sidecar.copy_within(0..32, 32)),
        ("hashes_swapped", &|sealed| sealed.sidecar.rotate_left(32)),
        ("sidecar_empty", &|sealed| sealed.sidecar.clear()),
        ("root_flipped", &|sealed| sealed.root[31] ^= 1),
        ("length_a_group_less", &|sealed| sealed.len -= GROUP),
        ("length_a_group_more", &|sealed| sealed.len += GROUP),
        ("length_past_all_memory", &|sealed| sealed.len = u64::MAX),
    ];
    for (fault, spoil) in spoiled {
        let mut sealed = good.clone();
        spoil(&mut sealed);
        assert_eq!(
            open(&key(), &IV, &body, &sealed).unwrap_err(),
            BodyError::SidecarDamaged,
            "{fault}"
        );
    }

    let tag_flipped = SealedBody {
        tag: [0; 16],
        ..good.clone()
    };
    assert_eq!(
        open(&key(), &IV, &body, &tag_flipped).unwrap_err(),
        BodyError::TagMismatch
    );
    assert_eq!(
        open(&Key32::random(), &IV, &body, &good).unwrap_err(),
        BodyError::TagMismatch
    );
    assert_eq!(
        open(&key(), &[9; 12], &body, &good).unwrap_err(),
        BodyError::TagMismatch
    );
    let shorter_by_a_byte = SealedBody {
        len: good.len - 1,
        ..good.clone()
    };
    assert!(open(&key(), &IV, &body, &shorter_by_a_byte).is_err());
    let longer_by_a_byte = SealedBody {
        len: good.len + 1,
        ..good
    };
    assert!(open(&key(), &IV, &body, &longer_by_a_byte).is_err());
}

#[test]
fn bodies_of_no_and_of_one_group_need_no_sidecar() {
    for length in [0, 1, GROUP_BYTES - 1, GROUP_BYTES] {
        let (body, sealed) = seal(&key(), &IV, &plain(length));
        assert!(sealed.sidecar.is_empty());
        assert_eq!(open(&key(), &IV, &body, &sealed).unwrap(), plain(length));
        let with_sidecar = SealedBody {
            sidecar: vec![0; 32],
            ..sealed.clone()
        };
        assert_eq!(
            open(&key(), &IV, &body, &with_sidecar).unwrap_err(),
            BodyError::SidecarDamaged
        );
        let other_root = SealedBody {
            root: [1; 32],
            ..sealed
        };
        assert!(open(&key(), &IV, &body, &other_root).is_err());
    }
    assert_eq!(seal(&key(), &IV, &plain(GROUP_BYTES + 1)).1.sidecar.len(), 64);
}

#[test]
fn groups_are_opened_in_order_and_to_the_end() {
    let (body, sealed) = seal(&key(), &IV, &plain(3 * GROUP_BYTES));
    let groups = Groups::new(&sealed.sidecar, sealed.len, &sealed.root).unwrap();
    let verified = |number: u64| {
        let start = number as usize * GROUP_BYTES;
        groups
            .verify(number, body[start..start + GROUP_BYTES].to_vec())
            .unwrap()
    };
    let mut opener = Opener::new(&key(), &IV, sealed.len).unwrap();
    opener.open(verified(0)).unwrap();
    assert_eq!(
        opener.open(verified(2)).unwrap_err(),
        BodyError::OutOfOrder { expected: 1 }
    );
    assert_eq!(
        opener.open(verified(0)).unwrap_err(),
        BodyError::OutOfOrder { expected: 1 }
    );
    assert_eq!(
        opener.finish(&sealed.tag).unwrap_err(),
        BodyError::OutOfOrder { expected: 1 }
    );
}

#[test]
fn a_group_is_right_in_its_own_place_only() {
    let (body, sealed) = seal(&key(), &IV, &plain(3 * GROUP_BYTES));
    let groups = Groups::new(&sealed.sidecar, sealed.len, &sealed.root).unwrap();
    for (place, group) in [(1, 1), (3, 3), (u64::MAX, u64::MAX)] {
        let refused = groups.verify(place, body[..GROUP_BYTES].to_vec()).err();
        assert_eq!(refused, Some(BodyError::GroupDamaged { group }));
    }
}

#[test]
fn a_body_grows_to_its_bound_and_no_further() {
    let mut sealer = Sealer::with_room(&key(), &IV, 100).unwrap();
    sealer.seal(&mut [1; 60]).unwrap();
    assert_eq!(sealer.room(), 40);
    let mut too_many = [1; 41];
    assert_eq!(sealer.seal(&mut too_many).unwrap_err(), BodyError::TooLong);
    assert_eq!(too_many, [1; 41], "nothing was sealed");
    sealer.seal(&mut [1; 40]).unwrap();
    assert_eq!((sealer.room(), sealer.finish().unwrap().len), (0, 100));
    assert_eq!(Sealer::with_room(&key(), &IV, u64::MAX).unwrap().room(), 32 << 30);
}

#[test]
fn the_counter_of_a_range_reaches_the_end_of_the_longest_segment() {
    let (body, sealed) = seal(&key(), &IV, &plain(10));
    let groups = Groups::new(&[], sealed.len, &sealed.root).unwrap();
    assert!(
        RangeOpener::new(&key(), &IV)
            .unwrap()
            .open(groups.verify(0, body).unwrap())
            .is_ok()
    );
    let last_block_of_the_longest = (32u64 << 30) / 16 + 1;
    assert!(u32::try_from(last_block_of_the_longest).is_ok());
}
