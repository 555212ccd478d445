//! Tokens: what others make of ours, and every way to forge one.

#![allow(clippy::unwrap_used, reason = "a test may")]

use antumbra_crypto::{
    Key32,
    token::{BadKey, Claims, SigningKey, TOKEN_LEN_MAX, TokenKey, TokenKeys, TokenRefused, VerifyingKey},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nonce {
    run: u32,
}

impl Claims for Nonce {
    const KIND: &'static str = "nonce";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Download {
    run: u32,
}

impl Claims for Download {
    const KIND: &'static str = "download";
}

fn secret(byte: u8) -> Key32 {
    Key32::take(&mut [byte; 32])
}

fn keys() -> TokenKeys {
    TokenKeys::new(TokenKey::new("t1", &secret(1)), Vec::new())
}

fn encode(json: Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn hs(algorithm: Algorithm, kid: &str, secret: &[u8], claims: Value) -> String {
    let mut header = jsonwebtoken::Header::new(algorithm);
    header.kid = Some(kid.into());
    jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(secret)).unwrap()
}

#[test]
fn a_token_says_what_it_was_given_to_say() {
    let token = keys().sign(&Nonce { run: 5 });
    assert_eq!(keys().verify::<Nonce>(&token), Ok(Nonce { run: 5 }));
    assert!(
        token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    );
}

#[test]
fn another_library_agrees_with_the_signature() {
    let token = keys().sign(&Nonce { run: 5 });
    let mut validation = Validation::new(Algorithm::HS384);
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_secret(secret(1).expose());
    let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    assert_eq!(read.claims, json!({ "kind": "nonce", "run": 5 }));
    assert_eq!(read.header.kid.as_deref(), Some("t1"));
}

#[test]
fn an_older_key_still_verifies_and_an_unknown_one_does_not() {
    let token = keys().sign(&Nonce { run: 5 });
    let rotated = TokenKeys::new(TokenKey::new("t2", &secret(2)), vec![TokenKey::new("t1", &secret(1))]);
    assert_eq!(rotated.verify::<Nonce>(&token), Ok(Nonce { run: 5 }));
    assert_eq!(
        keys().verify::<Nonce>(&rotated.sign(&Nonce { run: 5 })),
        Err(TokenRefused::Foreign)
    );
    let stranger = TokenKeys::new(TokenKey::new("t1", &secret(9)), Vec::new());
    assert_eq!(stranger.verify::<Nonce>(&token), Err(TokenRefused::Foreign));
}

#[test]
fn every_forged_token_is_refused() {
    use TokenRefused::*;
    let good = keys().sign(&Nonce { run: 5 });
    let [header, claims, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let says = json!({ "kind": "nonce", "run": 5 });
    let raised = encode(json!({ "kind": "nonce", "run": 6 }));
    let none = encode(json!({ "alg": "none", "typ": "JWT", "kid": "t1" }));
    let forged = [
        ("empty", String::new(), Malformed),
        ("no_dots", "abc".into(), Malformed),
        ("two_parts", format!("{header}.{claims}"), Malformed),
        ("four_parts", format!("{good}.{signature}"), Malformed),
        ("no_header", format!(".{claims}.{signature}"), Malformed),
        ("no_claims", format!("{header}..{signature}"), Malformed),
        ("no_signature", format!("{header}.{claims}."), Foreign),
        ("alg_none", format!("{none}.{claims}."), Foreign),
        (
            "alg_none_with_signature",
            format!("{none}.{claims}.{signature}"),
            Foreign,
        ),
        ("claims_changed", format!("{header}.{raised}.{signature}"), Foreign),
        (
            "header_in_another_order",
            format!(
                "{}.{claims}.{signature}",
                encode(json!({"typ":"JWT","kid":"t1","alg":"HS384"})) + "x"
            ),
            Foreign,
        ),
        ("signature_cut", good[..good.len() - 4].into(), Foreign),
        ("signature_padded", format!("{good}="), Malformed),
        (
            "signature_in_other_alphabet",
            format!("{header}.{claims}.+/{}", &signature[2..]),
            Malformed,
        ),
        ("space_in_front", format!(" {good}"), Foreign),
        ("newline_behind", format!("{good}\n"), Malformed),
        (
            "hs256_under_our_key",
            hs(Algorithm::HS256, "t1", secret(1).expose(), says.clone()),
            Foreign,
        ),
        (
            "hs384_under_another_key",
            hs(Algorithm::HS384, "t1", secret(2).expose(), says.clone()),
            Foreign,
        ),
        (
            "foreign_kid",
            hs(Algorithm::HS384, "t9", secret(1).expose(), says),
            Foreign,
        ),
        (
            "too_long",
            format!("{header}.{}.{signature}", "A".repeat(TOKEN_LEN_MAX)),
            Malformed,
        ),
        ("not_ascii", format!("{header}.ünï.{signature}"), Foreign),
    ];
    for (fault, token, expected) in forged {
        assert_eq!(keys().verify::<Nonce>(&token), Err(expected), "{fault}");
    }
    assert_eq!(keys().verify::<Download>(&good), Err(OtherKind));
}

#[test]
fn every_flipped_character_is_refused() {
    let good = keys().sign(&Nonce { run: 5 });
    for place in 0..good.len() {
        for other in [b'A', b'b', b'.', b'_'] {
            let mut token = good.clone().into_bytes();
            if token[place] != other {
                token[place] = other;
                let token = String::from_utf8(token).unwrap();
                assert!(keys().verify::<Nonce>(&token).is_err(), "place {place}");
            }
        }
    }
}

#[test]
fn another_library_verifies_a_signed_token_with_the_published_key() {
    let key = SigningKey::generate();
    let token = key.sign(&json!({ "scope": "coreIdentifier", "aud": "acme", "iat": 1_700_000_000 }));
    let signature = token.rsplit('.').next().unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(signature).unwrap().len(), 96);
    let mut validation = Validation::new(Algorithm::ES384);
    validation.required_spec_claims.clear();
    validation.set_audience(&["acme"]);
    let published = DecodingKey::from_ec_pem(key.public_pem().as_bytes()).unwrap();
    let read = jsonwebtoken::decode::<Value>(&token, &published, &validation).unwrap();
    assert_eq!(read.header.kid.as_deref(), Some(key.kid()));
    assert_eq!(read.claims["scope"], "coreIdentifier");
}

#[test]
fn the_published_key_is_a_pem_block_of_64_columns() {
    let pem = SigningKey::generate().public_pem();
    let lines: Vec<&str> = pem.lines().collect();
    assert_eq!(lines[0], "-----BEGIN PUBLIC KEY-----");
    assert_eq!(
        lines[1..lines.len() - 1]
            .iter()
            .map(|line| line.len())
            .collect::<Vec<_>>(),
        [64, 64, 32]
    );
    assert_eq!(lines[lines.len() - 1], "-----END PUBLIC KEY-----");
    assert!(pem.ends_with("-----\n"));
}

#[test]
fn a_signing_key_comes_back_from_its_stored_form() {
    let key = SigningKey::generate();
    let again = SigningKey::from_pkcs8(&key.to_pkcs8()).unwrap();
    assert_eq!((again.kid(), again.public_pem()), (key.kid(), key.public_pem()));
}

/// A key that `openssl ecparam -genkey -name secp384r1 -noout` wrote, SEC1.
const SEC1: &str = "
    MIGkAgEBBDDGbWkWWMKBa5ev1wKPvAjArqEULtnNM4u4JX7Gt8DskLcvh1DCOW+5
    ouGPTGecBnegBwYFK4EEACKhZANiAAQX8vVG5E2yMti5kjZvi1DUHxrSpQB8N8FT
    1KZEyRvnny7MaE62Ymr+cIhx1bNomyoiLkNMD8JJTtGaRuqcsC/uTQMzoJzvSxI6
    amPWaAUGM/6/Q5b/4HNW5CqnLC9W1fQ=";

fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn keys_are_read_in_the_forms_that_operators_have() {
    let sec1 = SigningKey::from_pem(&pem("EC PRIVATE KEY", SEC1)).unwrap();
    let pkcs8 = pem("PRIVATE KEY", &STANDARD.encode(sec1.to_pkcs8()));
    assert_eq!(SigningKey::from_pem(&pkcs8).unwrap().kid(), sec1.kid());
    let token = sec1.sign(&json!({ "a": 1 }));
    let read: Value = VerifyingKey::from_pem(&sec1.public_pem())
        .unwrap()
        .verify(&token)
        .unwrap();
    assert_eq!(read, json!({ "a": 1 }));
}

#[test]
fn what_is_no_p384_key_is_refused() {
    let p256 = p256_key();
    let cases = [
        String::new(),
        "-----BEGIN EC PRIVATE KEY-----".into(),
        pem("EC PRIVATE KEY", "AAAA"),
        pem("EC PRIVATE KEY", "not base64!"),
        pem("PRIVATE KEY", &STANDARD.encode(p256)),
        pem("PUBLIC KEY", SEC1),
    ];
    for text in cases {
        assert_eq!(SigningKey::from_pem(&text).unwrap_err(), BadKey);
    }
    assert!(VerifyingKey::from_pem(&pem("PUBLIC KEY", SEC1)).is_err());
}

fn p256_key() -> Vec<u8> {
    let pair =
        aws_lc_rs::signature::EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    pair.to_pkcs8v1().unwrap().as_ref().to_vec()
}

#[test]
fn a_signed_token_is_refused_in_every_other_form() {
    use TokenRefused::*;
    let key = SigningKey::generate();
    let verifying = VerifyingKey::from_pem(&key.public_pem()).unwrap();
    let claims = json!({ "value": "x" });
    let good = key.sign(&claims);
    let [header, says, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    // The classic confusion: the public key, which everybody has, as the secret of an HMAC.
    let confused = hs(Algorithm::HS384, key.kid(), key.public_pem().as_bytes(), claims.clone());
    let der = {
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut der = vec![0x30, 0x66, 0x02, 0x31, 0x00];
        der.extend_from_slice(&raw[..48]);
        der.extend([0x02, 0x31, 0x00]);
        der.extend_from_slice(&raw[48..]);
        URL_SAFE_NO_PAD.encode(der)
    };
    let none = encode(json!({ "alg": "none" }));
    let refused = [
        ("hs384_with_the_public_key", confused, Foreign),
        ("alg_none", format!("{none}.{says}."), Foreign),
        ("der_signature", format!("{header}.{says}.{der}"), Foreign),
        ("truncated", good[..good.len() - 8].into(), Foreign),
        (
            "claims_changed",
            format!("{header}.{}.{signature}", encode(json!({ "value": "y" }))),
            Foreign,
        ),
        ("another_key", SigningKey::generate().sign(&claims), Foreign),
        (
            "all_zero",
            format!("{header}.{says}.{}", URL_SAFE_NO_PAD.encode([0; 96])),
            Foreign,
        ),
    ];
    assert_eq!(verifying.verify::<Value>(&good), Ok(claims));
    for (fault, token, expected) in refused {
        assert_eq!(verifying.verify::<Value>(&token), Err(expected), "{fault}");
    }
}

#[test]
fn ecdsa_vectors_of_wycheproof() {
    // ecdsa_secp384r1_sha384_p1363_test: tests 1, 2, 4, 11 and 12.
    let public = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAELaV92hCJJ2pUP5/9rAv/DZdsrXHrcoDn\n\
        2b/Z/uS9svIPR/+IgnQ4l3LZjMV1ITiqS20FTWnc8+JexJ34cHFeNIg7GDYZfXb4\n\
        rZYuePZXG7x0B7DWCR+eTYjwFCdEBhdP\n-----END PUBLIC KEY-----\n";
    let der: Vec<u8> = STANDARD
        .decode(public.lines().filter(|line| !line.starts_with('-')).collect::<String>())
        .unwrap();
    let key = aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED, &der).unwrap();
    assert!(VerifyingKey::from_pem(public).is_ok());
    let r = "12b30abef6b5476fe6b612ae557c0425661e26b44b1bfe19daf2ca28e3113083ba8e4ae4cc45a0320abd3394f1c548d7";
    let s = "e7bf25603e2d07076ff30b7a2abec473da8b11c572b35fc631991d5de62ddca7525aaba89325dfd04fecc47bff426f82";
    let minus_s = "1840da9fc1d2f8f8900cf485d5413b8c2574ee3a8d4ca03995ca30240e09513805bf6209b58ac7aa9cff54eecd82b9f1";
    let r_plus_n = "0112b30abef6b5476fe6b612ae557c0425661e26b44b1bfe19a25617aad7485e6312a8589714f647acf7a94cffbe8a724a";
    let n_minus_r = "ed4cf541094ab8901949ed51aa83fbda99e1d94bb4e401e5ec7083591125fd5b9d8bc2cd7c6b0748e22ee5d5daffe09c";
    let (zero, one) = ("00".repeat(48), "00".repeat(47) + "01");
    let vectors = [
        (format!("{r}{s}"), true),
        (format!("{r}{minus_s}"), true),
        (format!("{r_plus_n}00{s}"), false),
        (format!("{n_minus_r}{s}"), false),
        (format!("{zero}{zero}"), false),
        (format!("{zero}{one}"), false),
    ];
    for (signature, valid) in vectors {
        let bytes: Vec<u8> = (0..signature.len() / 2)
            .map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(key.verify_sig(b"123400", &bytes).is_ok(), valid, "{signature}");
    }
}
