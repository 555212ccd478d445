//! The table of the law: which rule a request is under, by region, action and the day of its receipt.
//!
//! `rules.json` is compiled in. Its rows are dated and name their article; a row says `checked` where somebody has held it
//! against the text of the law. A public holiday that is not in a row is not known, and counts as a working day: that never
//! gives a later date than the law.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{super::regions, calendar};
use crate::organization::{Action, Holiday};

/// How one law counts. Requests keep a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The law, as people call it.
    pub regime: String,
    /// Where it says so.
    pub article: String,
    /// Whether somebody has held time and extension against the text.
    pub checked: bool,
    /// The time to answer, from receipt.
    pub allows: Allowance,
    /// The most that it can be extended by, once, if the data subject is told within the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Allowance>,
    /// What moves a last day that is no working day to the next one; none where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll: Option<String>,
    /// Public holidays that are sure; in a copy, those too that the organization keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<Holiday>,
    /// Days on which identities are being verified do not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tolls_verification: bool,
}

/// A span as laws have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allowance {
    /// Months of the calendar.
    Months(u8),
    /// Days of the calendar.
    Days(u16),
    /// Days but for weekends and public holidays.
    BusinessDays(u16),
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match *self {
            Allowance::Months(count) => (u16::from(count), "month"),
            Allowance::Days(count) => (count, "day"),
            Allowance::BusinessDays(count) => (count, "business day"),
        };
        let s = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{s}")
    }
}

impl Rule {
    /// The rule with further holidays, where it counts any: those that may come after `from`.
    pub(super) fn with_holidays(&self, further: &[Holiday], from: Date) -> Rule {
        let mut rule = self.clone();
        if self.looks_at_free_days() {
            let further = further.iter().filter(|day| day.comes_from(from));
            let new: Vec<Holiday> = further.filter(|day| !self.holidays.contains(day)).copied().collect();
            rule.holidays.extend(new);
        }
        rule
    }

    /// Whether days on which nobody works make another date.
    fn looks_at_free_days(&self) -> bool {
        matches!(self.allows, Allowance::BusinessDays(_)) || self.roll.is_some()
    }

    /// The last day, before it is moved off a free day, when counting starts from `start`.
    ///
    /// Time and extension make one span where they have one unit: a month and two months are three months from `start`.
    pub(super) fn last_day(&self, start: Date, extension: Option<Allowance>) -> Date {
        match (self.allows, extension) {
            (Allowance::Months(first), Some(Allowance::Months(more))) => calendar::months_after(start, first + more),
            (first, None) => self.after(start, first),
            (first, Some(more)) => self.after(self.after(start, first), more),
        }
    }

    fn after(&self, day: Date, span: Allowance) -> Date {
        match span {
            Allowance::Months(months) => calendar::months_after(day, months),
            Allowance::Days(days) => calendar::days_after(day, days),
            Allowance::BusinessDays(days) => calendar::working_days_after(day, days, |day| self.is_free(day)),
        }
    }

    /// The day itself, or the next working day where the law says so; with the reason, in words.
    pub(super) fn roll(&self, last: Date) -> (Date, String) {
        let Some(law) = self.roll.as_deref().filter(|_| self.is_free(last)) else {
            return (last, String::new());
        };
        let mut day = last;
        let mut why: Vec<String> = Vec::new();
        while self.is_free(day) {
            why.push(if self.is_holiday(day) {
                "a public holiday".to_owned()
            } else {
                calendar::weekday(day).to_owned()
            });
            day = calendar::days_after(day, 1);
        }
        let words = format!(", {}, so {} {day} ({law})", why.join(", "), calendar::weekday(day));
        (day, words)
    }

    fn is_free(&self, day: Date) -> bool {
        calendar::is_weekend(day) || self.is_holiday(day)
    }

    fn is_holiday(&self, day: Date) -> bool {
        self.holidays.iter().any(|holiday| holiday.is_on(day))
    }

    /// Whether the date would be another one if public holidays were known.
    pub(super) fn counts_holidays_as_working_days(&self) -> bool {
        self.looks_at_free_days() && self.holidays.is_empty()
    }
}

/// A row of the table, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) regions: Vec<String>,
    /// A group of actions, by its name.
    pub(super) actions: String,
    /// The first day of receipt it is for.
    pub(super) valid_from: Date,
    /// The last day of receipt it is for.
    #[serde(default)]
    pub(super) valid_to: Option<Date>,
    pub(super) rule: Rule,
    /// What its reader should know.
    #[serde(default)]
    #[allow(dead_code, reason = "for who reads the file, and for the page that prints it")]
    pub(super) note: Option<String>,
}

/// The law, as far as it is known here.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    pub(super) groups: BTreeMap<String, Vec<Action>>,
    pub(super) rows: Vec<Row>,
}

/// What is wrong with a table.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadTable {
    /// It is not written as a table is.
    #[error("the table of deadlines cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// A row cannot be.
    #[error("row {row} of the table of deadlines: {why}")]
    Row {
        /// Which row, from 1.
        row: usize,
        /// Why not.
        why: &'static str,
    },
}

impl Table {
    /// The table of this version.
    pub(crate) fn built_in() -> &'static Table {
        static TABLE: LazyLock<Table> = LazyLock::new(|| {
            Table::parse(include_str!("rules.json")).expect("a test reads the table that is compiled in")
        });
        &TABLE
    }

    /// Reads a table and checks it.
    pub(crate) fn parse(text: &str) -> Result<Table, BadTable> {
        let table: Table = serde_json::from_str(text)?;
        for (place, row) in table.rows.iter().enumerate() {
            let refuse = |why| BadTable::Row { row: place + 1, why };
            table.check(row).map_err(refuse)?;
            if table.rows[..place].iter().any(|earlier| table.overlap(earlier, row)) {
                return Err(refuse("another row is for the same region, action and day"));
            }
        }
        Ok(table)
    }

    fn check(&self, row: &Row) -> Result<(), &'static str> {
        let known = |region: &String| {
            regions::find_country(region).is_some_and(|code| code == region)
                || regions::find_subdivision(region).is_some_and(|(_, code)| code == *region)
        };
        let empty = |span: Allowance| {
            matches!(
                span,
                Allowance::Months(0) | Allowance::Days(0) | Allowance::BusinessDays(0)
            )
        };
        let rule = &row.rule;
        match () {
            () if row.regions.is_empty() || !row.regions.iter().all(known) => Err("a region is not known"),
            () if self.groups.get(&row.actions).is_none_or(Vec::is_empty) => Err("the group of actions is not known"),
            () if row.valid_to.is_some_and(|to| to < row.valid_from) => Err("it ends before it begins"),
            () if rule.regime.is_empty() || rule.article.is_empty() => Err("law and article must be named"),
            () if empty(rule.allows) || rule.extension.is_some_and(empty) => Err("a span is empty"),
            () => Ok(()),
        }
    }

    fn overlap(&self, one: &Row, other: &Row) -> bool {
        let begins_in = |row: &Row, day: Date| row.valid_from <= day && row.valid_to.is_none_or(|to| day <= to);
        let actions = |row: &Row| self.groups.get(&row.actions).into_iter().flatten();
        (begins_in(one, other.valid_from) || begins_in(other, one.valid_from))
            && one.regions.iter().any(|region| other.regions.contains(region))
            && actions(one).any(|action| actions(other).any(|other| other == action))
    }

    /// The rule for what is received on `day` from someone in this country and subdivision: the narrowest counts.
    pub(crate) fn find(
        &self,
        action: Action,
        country: Option<&str>,
        subdivision: Option<&str>,
        day: Date,
    ) -> Option<&Rule> {
        let applies = |row: &&Row, region: &str| {
            row.valid_from <= day
                && row.valid_to.is_none_or(|to| day <= to)
                && row.regions.iter().any(|known| known == region)
                && self
                    .groups
                    .get(&row.actions)
                    .is_some_and(|group| group.contains(&action))
        };
        let in_region = |region: &str| self.rows.iter().find(|row| applies(row, region));
        let row = subdivision.and_then(in_region).or_else(|| country.and_then(in_region));
        row.map(|row| &row.rule)
    }
}
