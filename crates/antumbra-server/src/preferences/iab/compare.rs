//! Statements of strings, held against answers to purposes.
//!
//! Two things are compared, each in both directions:
//!
//! - the sale of personal data: whether the person opted out, against the purpose `SaleOfInfo`;
//! - advertising: whether they opted out of targeted advertising, against the purpose `Advertising`. A TC string has no one
//!   word for it. It refuses advertising if no purpose of advertising has a ground, be it consent or legitimate interest,
//!   for vendors or the publisher; it allows it if profiles for advertising are consented to.
//!
//! Nothing else is. Sharing has no purpose of its own, measuring and analytics need not be the framework's, and the Global
//! Privacy Control does not say which of the person's words came later.

use std::fmt::Write as _;

use super::{
    super::model::{ConsentString, Record},
    Purpose, Reading, Statement, read,
    tcf::Tcf,
};
use crate::purposes::Catalog;

/// Selecting advertising, making and using profiles for it, measuring it.
const ADVERTISING: [u32; 4] = [2, 3, 4, 7];

/// Making and using profiles for advertising.
const PROFILES: [u32; 2] = [3, 4];

impl Reading {
    /// Takes in what a TC string says about advertising, if it says anything.
    pub(super) fn permit(&mut self, source: &'static str, tcf: Tcf) {
        let grounds = [tcf.consents, tcf.interests, tcf.publisher];
        let allows = if tcf.consents.any_of(&PROFILES) {
            true
        } else if grounds.iter().any(|ground| ground.any_of(&ADVERTISING)) {
            return;
        } else {
            false
        };
        self.statements.push(Statement {
            source,
            purpose: Purpose::Advertising,
            allows,
        });
    }
}

/// Those statements that say the opposite of the answers. No answer is not the opposite of one.
pub(in crate::preferences) fn statements_against<'a>(
    statements: &'a [Statement],
    answer: impl Fn(Purpose) -> Option<bool> + 'a,
) -> impl Iterator<Item = &'a Statement> {
    statements
        .iter()
        .filter(move |said| answer(said.purpose).is_some_and(|enabled| enabled != said.allows))
}

/// What the strings of a record say beside its purposes, as both stand now.
#[derive(Default, PartialEq, Eq, Debug)]
pub(in crate::preferences) struct Found {
    /// `purpose:string` for each contradiction, with commas between; none if there is none.
    pub(in crate::preferences) contradictions: Option<String>,
    pub(in crate::preferences) gpc: bool,
}

/// Reads the strings of a record. Costs nothing if it has none. A string that was kept before strings were read, and is
/// malformed, says nothing.
pub(in crate::preferences) fn found_in(record: &Record, catalog: &Catalog) -> Found {
    let mut found = Found::default();
    let enabled = |purpose: Purpose| {
        let known = catalog.purpose(purpose.slug()).filter(|known| known.shown)?;
        let answer = record.purposes.iter().find(|answer| answer.purpose == known.number)?;
        Some(answer.consent.value.enabled)
    };
    for string in [ConsentString::Usp, ConsentString::Gpp, ConsentString::Tcf] {
        let register = record.strings[string as usize].as_ref();
        let Some(text) = register.and_then(|register| register.value.as_deref()) else {
            continue;
        };
        let Ok(reading) = read(string, text) else { continue };
        found.gpc |= reading.gpc;
        for said in statements_against(&reading.statements, enabled) {
            let shown = found.contradictions.get_or_insert_default();
            let comma = if shown.is_empty() { "" } else { "," };
            let _ = write!(shown, "{comma}{}:{}", said.purpose.slug(), said.source);
        }
    }
    found
}
