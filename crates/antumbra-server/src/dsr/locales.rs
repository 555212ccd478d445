//! The languages a request may be answered in.

/// The canonical form of a locale, whatever its case; nothing if we do not know it.
pub(crate) fn find_locale(tag: &str) -> Option<&'static str> {
    LOCALES.iter().find(|known| known.eq_ignore_ascii_case(tag)).copied()
}

/// What a request without a locale gets.
pub(crate) const DEFAULT_LOCALE: &str = "en";

/// In alphabetical order. `no`, `no-NO`, `iw` and `iw-IL` are older spellings that clients still send.
#[rustfmt::skip]
const LOCALES: [&str; 195] = [
    "af", "af-ZA", "am", "am-ET", "ar", "ar-AE", "az", "az-AZ", "bg", "bg-BG", "bn", "bn-BD", "bn-IN", "bs", "bs-BA",
    "bs-Cyrl-BA", "bs-Latn-BA", "ca", "ca-AD", "ca-ES", "ca-FR", "ca-IT", "cs", "cs-CZ", "cy", "cy-GB", "da", "da-DK",
    "de", "de-AT", "de-CH", "de-DE", "dv", "el", "el-GR", "en", "en-AE", "en-AU", "en-CA", "en-GB", "en-IE", "en-NZ",
    "en-US", "es", "es-419", "es-AR", "es-CL", "es-CO", "es-CR", "es-ES", "es-MX", "et", "et-EE", "eu", "eu-ES", "fa",
    "fa-AF", "fi", "fi-FI", "fil", "fil-PH", "fr", "fr-BE", "fr-CA", "fr-CH", "fr-FR", "ga", "ga-IE", "gl", "gl-ES",
    "gu", "gu-IN", "ha", "ha-GH", "ha-NE", "ha-NG", "he", "he-IL", "hi", "hi-IN", "hr", "hr-HR", "ht", "ht-HT", "hu",
    "hu-HU", "hy", "hy-AM", "id-ID", "is", "is-IS", "it", "it-CH", "it-IT", "iw", "iw-IL", "ja", "ja-JP", "ka",
    "ka-GE", "kk", "kk-KZ", "kn", "kn-IN", "ko", "ko-KR", "lt", "lt-LT", "lv", "lv-LV", "mk", "mk-MK", "ml", "ml-IN",
    "mn", "mn-MN", "mr", "mr-IN", "ms", "ms-MY", "ms-SG", "mt", "mt-MT", "nb", "nb-NO", "nl", "nl-BE", "nl-NL", "no",
    "no-NO", "pa", "pa-Arab-PK", "pa-Guru-IN", "pl", "pl-PL", "ps", "ps-AF", "pt", "pt-BR", "pt-PT", "ro", "ro-RO",
    "ru", "ru-RU", "si", "si-LK", "sk", "sk-SK", "sl", "sl-SL", "so", "so-DJ", "so-ET", "so-KE", "so-SO", "sq",
    "sq-AL", "sq-MK", "sq-XK", "sr", "sr-Cyrl-RS", "sr-Latn-RS", "sv", "sv-SE", "sw", "sw-CD", "sw-KE", "sw-TZ",
    "sw-UG", "ta", "ta-IN", "te", "te-IN", "th", "th-TH", "tl", "tl-PH", "tr", "tr-TR", "uk", "uk-UA", "ur", "ur-IN",
    "ur-PK", "uz", "uz-UZ", "vi", "vi-VN", "zh", "zh-CN", "zh-Hans", "zh-HK", "zh-TW", "zu", "zu-ZA",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_case_is_accepted_and_the_canonical_form_is_kept() {
        assert_eq!(find_locale("EN-gb"), Some("en-GB"));
        assert_eq!(find_locale("sr-latn-rs"), Some("sr-Latn-RS"));
        assert_eq!(find_locale(DEFAULT_LOCALE), Some("en"));
        assert_eq!(find_locale("id"), None);
        assert_eq!(find_locale("en_GB"), None);
    }

    #[test]
    fn no_two_locales_differ_only_by_case() {
        for (at, locale) in LOCALES.iter().enumerate() {
            assert!(
                LOCALES[at + 1..]
                    .iter()
                    .all(|other| !other.eq_ignore_ascii_case(locale)),
                "{locale}"
            );
        }
    }
}
