//! From what a caller wrote to what the store takes. No message quotes what the caller sent.

use super::{
    super::{
        check::{self, Broken, OnConflict, Rules},
        identifiers::{self, TRANSCEND},
        model::{Amendment, Identifier},
        moment::Moment,
        wire::NamedValue,
    },
    model::{Amend, Anchor, Refused},
    wire,
};
use crate::organization::KnownIdentifier;

/// Most records of one call that changes identifiers.
const AMENDED_MAX: usize = 10;

/// What one record of a call says, whichever of the three routes it came by.
pub(in crate::preferences) struct Said {
    anchor: NamedValue,
    /// The member that speaks of the identifier.
    member: &'static str,
    name: String,
    gone: Option<String>,
    new: Option<String>,
    timestamp: String,
    pub(super) options: wire::AmendOptions,
}

impl From<wire::Append> for Said {
    fn from(record: wire::Append) -> Said {
        Said {
            anchor: record.anchor_identifier,
            member: "append",
            name: record.append.name,
            gone: None,
            new: Some(record.append.value),
            timestamp: record.timestamp,
            options: record.options.unwrap_or_default(),
        }
    }
}

impl From<wire::Update> for Said {
    fn from(record: wire::Update) -> Said {
        Said {
            anchor: record.anchor_identifier,
            member: "update",
            name: record.update.name,
            gone: Some(record.update.old_value),
            new: Some(record.update.new_value),
            timestamp: record.timestamp,
            options: record.options.unwrap_or_default(),
        }
    }
}

impl From<wire::Removal> for Said {
    fn from(record: wire::Removal) -> Said {
        Said {
            anchor: record.anchor_identifier,
            member: "delete",
            name: record.delete.name,
            gone: Some(record.delete.value),
            new: None,
            timestamp: record.timestamp,
            options: record.options.unwrap_or_default(),
        }
    }
}

/// Checks a whole call that changes identifiers. A new value that is not valid fails with its record alone.
pub(super) fn amends(records: &[Said], rules: &Rules<'_>) -> Result<Vec<Result<Amend, Refused>>, Vec<Broken>> {
    let mut checker = Checker::of(records.len(), AMENDED_MAX, rules)?;
    let checked: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(place, said)| checker.amend(place, said))
        .collect();
    checker.whole(checked)
}

/// Checks a whole call that deletes records.
pub(super) fn deletions(records: &[wire::Deletion], rules: &Rules<'_>) -> Result<Vec<Anchor>, Vec<Broken>> {
    let mut checker = Checker::of(records.len(), check::RECORDS_MAX, rules)?;
    let checked: Vec<_> = records
        .iter()
        .enumerate()
        .map(|(place, said)| {
            // It is only checked: a record goes even if it changed since.
            checker.moment(place, &said.timestamp);
            checker.anchor(place, &said.anchor_identifier)
        })
        .collect();
    checker.whole(checked)
}

struct Checker<'a> {
    rules: &'a Rules<'a>,
    broken: Vec<Broken>,
}

impl<'a> Checker<'a> {
    fn of(records: usize, max: usize, rules: &'a Rules<'a>) -> Result<Checker<'a>, Vec<Broken>> {
        if (1..=max).contains(&records) {
            let broken = Vec::new();
            Ok(Checker { rules, broken })
        } else {
            Err(vec![("records".to_owned(), format!("must hold 1 to {max} records"))])
        }
    }

    fn complain(&mut self, record: usize, member: &str, rule: &str) {
        self.broken
            .push((format!("records[{record}].{member}"), rule.to_owned()));
    }

    /// All records, unless one of them broke a rule: then it is none.
    fn whole<T>(self, checked: Vec<Option<T>>) -> Result<Vec<T>, Vec<Broken>> {
        if self.broken.is_empty() {
            Ok(checked
                .into_iter()
                .map(|record| record.expect("a record that breaks no rule is whole"))
                .collect())
        } else {
            Err(self.broken)
        }
    }

    fn amend(&mut self, record: usize, said: &Said) -> Option<Result<Amend, Refused>> {
        let at = self.moment(record, &said.timestamp);
        let anchor = self.anchor(record, &said.anchor);
        let known = self.identifier(record, said);
        let (at, anchor, known) = (at?, anchor?, known?);
        let named = |value: String| Identifier {
            name: said.name.clone(),
            value,
        };
        let gone = said.gone.as_ref().map(|value| named(identifiers::form(known, value)));
        let new = said.new.as_ref().map(|value| identifiers::normalise(known, value));
        let new = match new {
            Some(None) => return Some(Err(Refused::NotValid(said.name.clone()))),
            Some(Some(value)) => Some(named(value)),
            None => None,
        };
        let options = said.options;
        let merge = options.merge_records_on_conflict.or(options.merge_record_on_conflict);
        Some(Ok(Amend {
            anchor,
            amendment: Amendment { at, gone, new },
            on_conflict: OnConflict::unless_refused(merge),
        }))
    }

    fn moment(&mut self, record: usize, text: &str) -> Option<Moment> {
        Moment::parse_event(text, self.rules.now)
            .map_err(|bad| self.complain(record, "timestamp", &bad.to_string()))
            .ok()
    }

    /// An anchor whose value breaks a rule of today is looked for all the same: it may have been kept under another.
    fn anchor(&mut self, record: usize, given: &NamedValue) -> Option<Anchor> {
        if given.name == TRANSCEND {
            return Some(identifiers::record_id(&given.value).map_or(Anchor::Nothing, Anchor::Named));
        }
        let Some(known) = self.rules.settings.find_identifier(&given.name) else {
            self.complain(record, "anchorIdentifier.name", check::UNKNOWN_IDENTIFIER);
            return None;
        };
        if !known.identifier.is_unique_on_preference_store {
            return Some(Anchor::Shared);
        }
        Some(Anchor::Unique(Identifier {
            name: given.name.clone(),
            value: identifiers::form(known, &given.value),
        }))
    }

    /// The identifier that is to change.
    fn identifier(&mut self, record: usize, said: &Said) -> Option<&'a KnownIdentifier> {
        let known = self.rules.settings.find_identifier(&said.name);
        let rule = match known {
            _ if said.name == TRANSCEND => "must not be transcend: a record keeps the one it has",
            None => check::UNKNOWN_IDENTIFIER,
            Some(known) => return Some(known),
        };
        self.complain(record, &format!("{}.name", said.member), rule);
        None
    }
}
