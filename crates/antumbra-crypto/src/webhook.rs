//! Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA-256 over the message's id, its time and its body.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::Key32;

/// The key as receivers are given it: `whsec_` and base64.
#[must_use]
pub fn secret_text(key: &Key32) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(64));
    text.push_str("whsec_");
    STANDARD.encode_string(key.expose(), &mut text);
    text
}

/// The value of `webhook-signature` for a message. `id` has no dot in it; `seconds` is the time of sending, since 1970.
#[must_use]
pub fn sign(key: &Key32, id: &str, seconds: i64, body: &[u8]) -> String {
    sign_with(key.expose(), id, seconds, body)
}

fn sign_with(key: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
    let mut signing = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    signing.update(format!("{id}.{seconds}.").as_bytes());
    signing.update(body);
    let mut text = "v1,".to_owned();
    STANDARD.encode_string(signing.sign().as_ref(), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the test suites of the published libraries.
    #[test]
    fn signatures_are_those_of_other_implementations() {
        let key = STANDARD.decode("plJ3nmyCDGBKInavdOK15jsl").unwrap();
        let body = br#"{"event_type":"ping","data":{"success":true}}"#;
        assert_eq!(
            sign_with(&key, "msg_loFOjxBNrRLzqYUf", 1_731_705_121, body),
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="
        );
    }

    #[test]
    fn a_secret_is_given_in_the_form_that_receivers_read() {
        let key = Key32::take(&mut [0xFF; 32]);
        let expected = "whsec_//////////////////////////////////////////8=";
        assert_eq!(secret_text(&key).as_str(), expected);
    }
}
