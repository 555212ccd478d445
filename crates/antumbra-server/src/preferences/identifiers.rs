//! What an identifier's value becomes before it is stored or looked for. One function, so that both agree.

use uuid::Uuid;

use super::model::RecordId;
use crate::organization::{IdentifierKind, KnownIdentifier, Settings};

/// Longest value, in bytes, once it is normalised.
const VALUE_BYTES_MAX: usize = 1024;

/// The name of the identifier that each record has from us.
pub(super) const TRANSCEND: &str = "transcend";

/// The name under which a `userId` that is no e-mail address is kept.
pub(super) const LEGACY_NAME: &str = "coreIdentifier";

/// The name under which a `userId` that is an e-mail address is kept.
pub(super) const EMAIL_NAME: &str = "email";

/// A value in the form in which it is kept, whether or not it can be one of `known` today.
pub(super) fn form(known: &KnownIdentifier, value: &str) -> String {
    let value = value.trim();
    match known.identifier.kind {
        IdentifierKind::Email => value.to_lowercase(),
        _ => value.to_owned(),
    }
}

/// A value in the form in which it is kept, or none if it can't be one of `known`.
pub(super) fn normalise(known: &KnownIdentifier, value: &str) -> Option<String> {
    kept(known, value).filter(|value| known.accepts(value))
}

/// A value in the form in which it is kept, or none if none of its kind was ever kept so. What an organization asks of its
/// values beyond that may have been something else when this one was kept, and says nothing about what is to be found.
pub(super) fn kept(known: &KnownIdentifier, value: &str) -> Option<String> {
    let value = form(known, value);
    let form_fits = match known.identifier.kind {
        IdentifierKind::Email => value.contains('@') && !value.contains('/'),
        IdentifierKind::Phone => is_e164(&value),
        _ => true,
    };
    let fits = form_fits && (1..=VALUE_BYTES_MAX).contains(&value.len());
    fits.then_some(value)
}

/// The record that a `transcend` identifier names.
pub(super) fn record_id(value: &str) -> Option<RecordId> {
    Uuid::try_parse(value.trim()).ok().map(RecordId)
}

/// The identifier that a `userId` is kept as: its name and its value.
pub(super) fn of_user_id(settings: &Settings, value: &str) -> Option<(&'static str, String)> {
    [EMAIL_NAME, LEGACY_NAME].into_iter().find_map(|name| {
        let known = settings.find_identifier(name)?;
        Some((name, normalise(known, value)?))
    })
}

/// The identifiers that a `userId` may have been kept as and cannot be today.
pub(super) fn of_past_user_id(settings: &Settings, value: &str) -> Vec<(&'static str, String)> {
    let mut past = Vec::new();
    for name in [EMAIL_NAME, LEGACY_NAME] {
        let Some(known) = settings.find_identifier(name) else {
            continue;
        };
        if normalise(known, value).is_some() {
            break;
        }
        past.extend(kept(known, value).map(|value| (name, value)));
    }
    past
}

/// `+`, then 2 to 15 digits, the first of them not 0.
fn is_e164(value: &str) -> bool {
    value.strip_prefix('+').is_some_and(|digits| {
        (2..=15).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_digit())
            && !digits.starts_with('0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_is_international() {
        for good in ["+12", "+351910000017", "+123456789012345"] {
            assert!(is_e164(good), "{good}");
        }
        for bad in [
            "",
            "+",
            "+1",
            "12",
            "0035191",
            "+0351",
            "+1234567890123456",
            "+35191x",
            "+٣٥١",
        ] {
            assert!(!is_e164(bad), "{bad}");
        }
    }

    #[test]
    fn a_record_is_named_by_a_uuid_in_either_case() {
        let id = record_id(" 0D8F9A54-2C0A-4B7E-8F38-6F5B9CE0A201 ").unwrap();
        assert_eq!(id.0.to_string(), "0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201");
        assert!(record_id("0d8f9a54").is_none());
    }
}
