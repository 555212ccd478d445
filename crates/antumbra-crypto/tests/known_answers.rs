//! Published vectors, and values that an independent implementation of `docs/file-format.md` computed.

#![allow(clippy::unwrap_used, reason = "a test may")]

use antumbra_crypto::{
    Key32,
    api_key::ApiKey,
    body::{Sealer, Tree},
    index::IndexKey,
    mac::MacKey,
    token::{Claims, TokenKey, TokenKeys},
    value,
    wrap::{self, Kek, WrappedKey},
};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};
use serde::{Deserialize, Serialize};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex(text).try_into().unwrap()
}

/// 00 01 02 … 1f.
fn counting_key() -> Key32 {
    Key32::take(&mut std::array::from_fn(|place| place as u8))
}

#[test]
fn aes_256_gcm_of_the_specification() {
    // The Galois/Counter Mode of Operation, appendix B, test cases 13, 14 and 15: those without associated data.
    let vectors = [
        (
            "00".repeat(32),
            "00".repeat(12),
            String::new(),
            String::new(),
            "530f8afbc74536b9a963b4f1c4cb738b",
        ),
        (
            "00".repeat(32),
            "00".repeat(12),
            "00".repeat(16),
            "cea7403d4d606b6e074ec5d3baf39d18".into(),
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            "feffe9928665731c6d6a8f9467308308".repeat(2),
            "cafebabefacedbaddecaf888".into(),
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
                .into(),
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
                .into(),
            "b094dac5d93471bdec1a502270e3cc6c",
        ),
    ];
    for (key, iv, plain, ciphertext, tag) in vectors {
        let key = Key32::from_slice(&hex(&key)).unwrap();
        let mut data = hex(&plain);
        let mut sealer = Sealer::new(&key, &array(&iv)).unwrap();
        sealer.seal(&mut data).unwrap();
        let sealed = sealer.finish().unwrap();
        assert_eq!((data, sealed.tag), (hex(&ciphertext), array(tag)));
    }
}

#[test]
fn aes_256_gcm_with_associated_data_of_wycheproof() {
    // aes_gcm_test, test 91, and the same with the first bit of its tag flipped. Values and wrapped keys use this form.
    let key = hex("92ace3e348cd821092cd921aa3546374299ab46209691bc28b8752d17f123c20");
    let open = |sealed: &str| {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let nonce = Nonce::assume_unique_for_key(array("00112233445566778899aabb"));
        let mut data = hex(sealed);
        let opened = key.open_in_place(nonce, Aad::from(hex("00000000ffffffff")), &mut data);
        opened.map(|plain| plain.to_vec()).ok()
    };
    assert_eq!(
        open("e27abdd2d2a53d2f136b 9a4a2579529301bcfb71c78d4060f52c"),
        Some(hex("00010203040506070809"))
    );
    assert_eq!(open("e27abdd2d2a53d2f136b 9b4a2579529301bcfb71c78d4060f52c"), None);
}

#[test]
fn hmac_of_rfc_4231() {
    let vectors = [
        (
            vec![0x0b; 20],
            b"Hi There".to_vec(),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59c
             faea9ea9076ede7f4af152e8b2fa9cb6",
        ),
        (
            b"Jefe".to_vec(),
            b"what do ya want for nothing?".to_vec(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e
             8e2240ca5e69e2c78b3239ecfab21649",
        ),
    ];
    for (key, data, sha256, sha384) in vectors {
        for (algorithm, expected) in [(hmac::HMAC_SHA256, sha256), (hmac::HMAC_SHA384, sha384)] {
            let tag = hmac::sign(&hmac::Key::new(algorithm, &key), &data);
            assert_eq!(tag.as_ref(), hex(expected));
        }
    }
}

#[test]
fn hkdf_expand_of_rfc_5869() {
    // Appendix A.1, the first 32 of its 42 bytes: shorter output is a prefix of longer.
    let prk = hkdf::Prk::new_less_safe(
        hkdf::HKDF_SHA256,
        &hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"),
    );
    let info = hex("f0f1f2f3f4f5f6f7f8f9");
    let mut output = [0; 32];
    prk.expand(&[&info], hkdf::HKDF_SHA256)
        .unwrap()
        .fill(&mut output)
        .unwrap();
    assert_eq!(
        output,
        array("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")
    );
}

#[test]
fn tree_hashes_of_certificate_transparency() {
    // The leaves and roots that implementations of RFC 6962 are commonly checked with.
    let leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Tree::default();
    assert_eq!(
        tree.root(),
        array("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    );
    for (leaf, root) in leaves.iter().zip(roots) {
        tree.push(Tree::leaf(&hex(leaf)));
        assert_eq!(tree.root(), array(root));
    }
}

#[test]
fn derived_keys_and_digests() {
    let key = counting_key();
    let derived = key.derive("antumbra/value/1");
    assert_eq!(
        *derived.expose(),
        array("79a5e795e39531cd4fd713006162a06279f5018b98ffce396c4ed34d7979ac5f")
    );
    let digest = MacKey::new(&key).digest("label", &[b"a", b"b"]);
    assert_eq!(
        digest,
        array("386dd5a39f80827053311519ed380d59ed98c86f50b899567ca6420e234136f1")
    );
    let index = IndexKey::new(&key).blind(&[b"p", b"email", b"ada@example.test"]);
    assert_eq!(index, array("d7c3e5fa1e8c45afabc3adb292a70383"));
}

#[test]
fn a_sealed_value() {
    let sealed = hex("01a0a1a2a3a4a5a6a7a8a9aaab27b293c4c48de4adb88c9b1976a441675058d93bca4f65f027c48fba");
    assert_eq!(
        **value::open(&counting_key(), &[b"org", b"name"], &sealed).unwrap(),
        *b"Ada Lovelace"
    );
}

#[test]
fn a_wrapped_key() {
    let kek = Kek::new(7, &Key32::take(&mut std::array::from_fn(|place| 0x40 + place as u8)));
    let wrapped = WrappedKey::from_bytes(&hex(
        "0101000000077c6524d0eca07e5fa0a1a2a3a4a5a6a7a8a9aaabd78e043ce6ee9a2a71664bf585b13ef9ff06e7d4f87a933afac5f4
         81f5df60e7cc75bc1bf5ad637751caf47ed52b0c34222757889d8a0b6c045bccb2b2ae53125813a3710c8e99ce82f7a63be3a729de",
    ))
    .unwrap();
    let opened = wrap::unwrap(&kek, &[b"org", b"request", b"7"], &wrapped).unwrap();
    assert_eq!(opened.expose(), counting_key().expose());
}

#[test]
fn a_body_of_three_groups() {
    let mut body: Vec<u8> = (0..150_000u32).map(|place| ((place * 31 + 7) % 251) as u8).collect();
    let mut sealer = Sealer::new(&counting_key(), &array("a0a1a2a3a4a5a6a7a8a9aaab")).unwrap();
    sealer.seal(&mut body).unwrap();
    let sealed = sealer.finish().unwrap();
    assert_eq!(body[..16], hex("e13e3949c669c35f6646c5b287e57e03"));
    assert_eq!(sealed.tag, array("0bf22e16c4793dd8a45725bc472c3b8a"));
    assert_eq!(
        sealed.root,
        array("1add8b24498bd4e749a09a14808621e9e11aeef86355b62176d237a578ec0729")
    );
    let sidecar = antumbra_crypto::sha256(&sealed.sidecar);
    assert_eq!(
        sidecar,
        array("1dba2e6d119d7f81d6e6a942be9654578fe420ca5f696736684a5440aa03fcf8")
    );
}

#[test]
fn an_api_key_and_its_digest() {
    let key = ApiKey::parse("ant_AbCd0123_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf_3UiVS8").unwrap();
    assert_eq!(key.id(), Some("AbCd0123"));
    let digest = key.digest(&MacKey::new(&counting_key()));
    assert_eq!(
        digest,
        array("4f3aae517eef0005a5b25018b0c0d505debda2fd59a3877d002e9664721ed33d")
    );
}

#[derive(Serialize, Deserialize)]
struct Greeting {
    to: String,
}

impl Claims for Greeting {
    const KIND: &'static str = "greeting";
}

#[test]
fn a_token() {
    let keys = TokenKeys::new(TokenKey::new("t3", &counting_key()), Vec::new());
    assert_eq!(
        keys.sign(&Greeting { to: "ada".into() }),
        "eyJhbGciOiJIUzM4NCIsImtpZCI6InQzIiwidHlwIjoiSldUIn0.eyJraW5kIjoiZ3JlZXRpbmciLCJ0byI6ImFkYSJ9.\
         bHiLSnt254XHzc2Yj0YooqQ4WA9WTwztfSy_GXHy7ZMeTHKJnI_dTknustU3in0J"
    );
}
