//! The words that are built in: for each kind of message and each language, with the names of demands and months.
//!
//! A language is one file of `texts/`, in sections that begin with `= `. A section of a kind has the subject line first,
//! then the body in plain text; its HTML is made of that.

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::{Timestamp, tz::TimeZone};

use crate::organization::{Action, MessageKind};

/// One language.
pub(super) struct Language {
    /// Its tag, as `de`.
    pub(super) tag: &'static str,
    /// How a day is written, with `{d}`, `{m}` and `{y}`.
    day: &'static str,
    /// How the first of a month is written.
    first_day: &'static str,
    months: Vec<&'static str>,
    actions: BTreeMap<&'static str, &'static str>,
    texts: BTreeMap<&'static str, (&'static str, &'static str)>,
}

/// Every language there is, English first.
static LANGUAGES: LazyLock<[Language; 7]> = LazyLock::new(|| {
    [
        Language::read("en", include_str!("texts/en.txt")),
        Language::read("de", include_str!("texts/de.txt")),
        Language::read("fr", include_str!("texts/fr.txt")),
        Language::read("es", include_str!("texts/es.txt")),
        Language::read("it", include_str!("texts/it.txt")),
        Language::read("nl", include_str!("texts/nl.txt")),
        Language::read("pt", include_str!("texts/pt.txt")),
    ]
});

/// The locale and what it falls back to: `de-AT`, then `de`.
pub(super) fn chain(locale: &str) -> impl Iterator<Item = &str> {
    let base = locale.split('-').next().filter(|base| *base != locale);
    std::iter::once(locale).chain(base)
}

impl Language {
    /// The language that somebody with this locale reads, if it is built in.
    pub(super) fn find(locale: &str) -> Option<&'static Language> {
        chain(locale).find_map(|tag| LANGUAGES.iter().find(|language| language.tag == tag))
    }

    /// What everybody gets whose language is not built in.
    pub(super) fn english() -> &'static Language {
        &LANGUAGES[0]
    }

    /// Subject line and body of a kind.
    pub(super) fn text(&self, kind: MessageKind) -> (&'static str, &'static str) {
        self.texts[kind.as_str()]
    }

    /// A demand in words; none for those that are internal.
    pub(super) fn action(&self, action: Action) -> Option<&'static str> {
        self.actions.get(action.as_str()).copied()
    }

    /// A day in words.
    pub(super) fn day(&self, at: Timestamp) -> String {
        let day = at.to_zoned(TimeZone::UTC).date();
        let month = usize::try_from(day.month() - 1).unwrap_or_default();
        let form = if day.day() == 1 { self.first_day } else { self.day };
        form.replace("{d}", &day.day().to_string())
            .replace("{m}", self.months[month])
            .replace("{y}", &day.year().to_string())
    }

    fn read(tag: &'static str, file: &'static str) -> Language {
        let sections: BTreeMap<&str, &str> = file
            .split("\n= ")
            .skip(1)
            .filter_map(|section| section.split_once('\n'))
            .map(|(name, content)| (name, content.trim()))
            .collect();
        let actions = sections["actions"].lines().filter_map(|line| line.split_once(": "));
        let texts = MessageKind::ALL.into_iter().map(|kind| {
            let (subject, body) = sections[kind.as_str()].split_once("\n\n").unwrap_or_default();
            (kind.as_str(), (subject, body))
        });
        let (day, first_day) = sections["day"]
            .split_once('\n')
            .unwrap_or((sections["day"], sections["day"]));
        Language {
            tag,
            day,
            first_day,
            months: sections["months"].split(", ").collect(),
            actions: actions.collect(),
            texts: texts.collect(),
        }
    }
}

/// A day where no language says how it is written.
pub(super) fn plain_day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).date().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::organization::{Piece, names_for, pieces_of};

    #[test]
    fn every_language_has_every_text_and_no_subject_line_names_anything() {
        for language in LANGUAGES.iter() {
            let tag = language.tag;
            assert_eq!(language.months.len(), 12, "{tag}");
            for kind in MessageKind::ALL {
                let (subject, body) = language.text(kind);
                assert!(
                    !subject.is_empty() && !subject.contains("{{") && !subject.contains('\n'),
                    "{tag} {kind:?}"
                );
                assert!(body.len() > 100, "{tag} {kind:?}");
                let pieces = pieces_of(body, Some(kind)).unwrap_or_else(|place| panic!("{tag} {kind:?} {place:?}"));
                let named = |text: &Vec<Piece<'_>>| -> BTreeSet<&str> {
                    let names = text.iter().filter_map(|piece| match piece {
                        Piece::Value(name) => Some(*name),
                        Piece::Text(_) => None,
                    });
                    names.collect()
                };
                let english = pieces_of(Language::english().text(kind).1, Some(kind)).unwrap();
                assert_eq!(
                    named(&pieces),
                    named(&english),
                    "{tag} {kind:?}: names other values than English"
                );
            }
            let told = Action::ALL.into_iter().filter(|action| !action.is_internal());
            for action in told {
                assert!(language.action(action).is_some(), "{tag} {action:?}");
            }
        }
        // What a kind has of its own is told.
        for kind in MessageKind::ALL {
            for name in names_for(Some(kind)) {
                let (_, body) = Language::english().text(kind);
                assert!(
                    body.contains(&format!("{{{{{name}}}}}")),
                    "{kind:?} does not tell {name}"
                );
            }
        }
    }

    #[test]
    fn a_locale_falls_back_to_its_language() {
        let tag = |locale| Language::find(locale).map(|language| language.tag);
        assert_eq!(tag("en-GB"), Some("en"));
        assert_eq!(tag("de"), Some("de"));
        assert_eq!(tag("pt-BR"), Some("pt"));
        assert_eq!(tag("es-419"), Some("es"));
        assert_eq!(tag("fil"), None);
        assert_eq!(tag(""), None);
    }

    #[test]
    fn days_are_written_as_the_language_writes_them() {
        let at = "2026-03-01T23:30:00Z".parse().unwrap();
        let day = |locale| Language::find(locale).unwrap().day(at);
        assert_eq!(day("en"), "1 March 2026");
        assert_eq!(day("de"), "1. März 2026");
        assert_eq!(day("es"), "1 de marzo de 2026");
        assert_eq!((day("fr"), day("it")), ("1er mars 2026".into(), "1º marzo 2026".into()));
        let second = |locale| {
            Language::find(locale)
                .unwrap()
                .day(at + jiff::SignedDuration::from_hours(24))
        };
        assert_eq!(
            (second("fr"), second("nl")),
            ("2 mars 2026".into(), "2 maart 2026".into())
        );
        assert_eq!(plain_day(at), "2026-03-01");
    }
}
