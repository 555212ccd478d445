//! When a data subject request must have been answered, and why then: deadlines as the law counts them.
//!
//! The law is data: [`rules`] holds the table, `rules.json` its rows. A request keeps a copy of the row it was received
//! under, so that a change of the table moves no request that is there already. [`Deadline::reckon`] is pure: the same
//! rule, receipt, waiting and extension give the same date and the same words for it, on any machine and at any time.
//! Nothing here knows a person.

mod calendar;
mod jobs;
mod rules;

use jiff::{SignedDuration, Span, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

pub use jobs::{NOTE_DEADLINE, note_deadline};
pub(super) use jobs::{follow, near_at, watch};
pub(crate) use rules::{Allowance, Rule, Table};

use super::model::Region;
use crate::organization::{ActionSettings, Days, Holiday, Organization};

/// What decides until when a request must have been answered, and everything that has moved that date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// What gives the time.
    pub basis: Basis,
    /// The time zone whose days count: a name as `Europe/Berlin`.
    pub zone: String,
    /// Since when identities are being verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifying_since: Option<Timestamp>,
    /// Spans in which identities were being verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified: Vec<Verifying>,
    /// The extension, of which there is one at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<Extension>,
    /// What has been written down of it.
    #[serde(default)]
    pub noted: Noted,
}

/// What gives the time to answer, the first that applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What the organization set for the data subject type.
    SubjectType(Days),
    /// What the organization set for the action.
    Action(Days),
    /// The law where the data subject lives.
    Law(Rule),
    /// Nothing else says anything.
    Default(Days),
}

/// A span in which identities were being verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifying {
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub until: Timestamp,
}

/// More time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// How much.
    pub by: Allowance,
    /// Since when.
    pub granted_at: Timestamp,
}

/// Where and when the organization works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfficeCalendar {
    /// The time zone whose days count.
    pub zone: String,
    /// Days on which nobody works, beside weekends and what the law knows itself.
    pub holidays: Vec<Holiday>,
}

impl OfficeCalendar {
    /// That of the organization; `zone` where it has set none.
    pub fn of(organization: &Organization, zone: &str) -> OfficeCalendar {
        OfficeCalendar {
            zone: organization.time_zone.clone().unwrap_or_else(|| zone.to_owned()),
            holidays: organization.holidays.clone(),
        }
    }
}

/// What has been written down of a deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noted {
    /// Nothing yet.
    #[default]
    Nothing,
    /// That it is near.
    Near,
    /// That it has passed.
    Passed,
}

/// A deadline, worked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reckoned {
    /// The last millisecond in which the request can be answered in time.
    pub due_at: Timestamp,
    /// Until when the data subject must have been told that it takes longer; none where there is no extension to tell of.
    pub notice_due_at: Option<Timestamp>,
    /// Days that did not count.
    pub tolled_days: u32,
    /// How the date comes about, in words.
    pub explanation: String,
}

/// Why no more time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoExtension {
    /// It has been extended.
    #[error("the request has been extended once, and the law knows one extension")]
    Twice,
    /// More than the law allows.
    #[error("the law allows no extension by so much; `force` extends all the same")]
    TooLong,
    /// It was to be given, and told, while the time was not over.
    #[error("the time in which more of it could be given is over; `force` extends all the same")]
    TooLate,
    /// The law knows no extension.
    #[error("the law that the request is under knows no extension; `force` with `additionalTime` extends all the same")]
    NotKnown,
    /// Nobody said how much, and no law says so either.
    #[error("additionalTime must say how many days: no law gives a number for this request")]
    HowMuch,
    /// No days at all, or more than ten years.
    #[error("additionalTime must be 1 to 3660 days")]
    OutOfBounds,
}

impl Deadline {
    /// The deadline of a request that is received at `received`: the narrowest rule there is.
    ///
    /// What the organization has set for the data subject type comes before what it has set for the action, this before
    /// the law, and the law before the default.
    pub fn of(
        of_type: Option<Days>,
        settings: &ActionSettings,
        region: &Region,
        received: Timestamp,
        calendar: &OfficeCalendar,
    ) -> Deadline {
        let (country, subdivision) = (region.country.as_deref(), region.subdivision.as_deref());
        let configured = settings.expiry_in(country, subdivision);
        let law = || {
            let day = received.to_zoned(zone_of(&calendar.zone).0).date();
            let rule = Table::built_in().find(settings.action, country, subdivision, day)?;
            Some(rule.with_holidays(&calendar.holidays, day))
        };
        let basis = match of_type {
            Some(days) => Basis::SubjectType(days),
            None if settings.is_expiry_set() => Basis::Action(configured),
            None => law().map_or(Basis::Default(configured), Basis::Law),
        };
        Deadline {
            basis,
            zone: calendar.zone.clone(),
            verifying_since: None,
            verified: Vec::new(),
            extension: None,
            noted: Noted::Nothing,
        }
    }

    /// The deadline of a request of before deadlines were kept: its span, in days of 24 hours.
    pub(super) fn of_days(span: SignedDuration) -> Deadline {
        let days = u16::try_from(span.as_hours() / 24).map_or(Days::MAX, Days);
        Deadline {
            basis: Basis::Action(days),
            zone: "UTC".to_owned(),
            verifying_since: None,
            verified: Vec::new(),
            extension: None,
            noted: Noted::Nothing,
        }
    }

    /// When a request received at `received` must have been answered, and how that comes about.
    pub fn reckon(&self, received: Timestamp) -> Reckoned {
        match &self.basis {
            Basis::Law(rule) => self.by_law(rule, received),
            Basis::SubjectType(days) => self.by_days(*days, "set for the data subject type", received),
            Basis::Action(days) => self.by_days(*days, "set for the action", received),
            Basis::Default(days) => self.by_days(*days, "no law of the region is known here: the default", received),
        }
    }

    /// Whole days until `due_at`; negative when it has passed. Where the law counts days, they are those of the calendar.
    pub fn days_until(&self, due_at: Timestamp, now: Timestamp) -> i64 {
        match self.basis {
            Basis::Law(_) => {
                let zone = zone_of(&self.zone).0;
                let [due, today] = [due_at, now].map(|at| at.to_zoned(zone.clone()).date());
                calendar::days_between(today, due)
            }
            Basis::SubjectType(_) | Basis::Action(_) | Basis::Default(_) => {
                let day = SignedDuration::from_hours(24).as_secs();
                due_at.duration_since(now).as_secs().div_euclid(day)
            }
        }
    }

    /// The day of `at` where the organization is, as noon of that day by UTC.
    pub(super) fn day_of(&self, at: Timestamp) -> Timestamp {
        let day = at.to_zoned(zone_of(&self.zone).0).date();
        let noon = day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC);
        noon.map_or(at, |noon| noon.timestamp())
    }

    /// Identities are being verified from `now` on.
    pub fn verification_begins(&mut self, now: Timestamp) {
        self.verifying_since.get_or_insert(now);
    }

    /// Identities are verified, or nobody waits for it any more.
    pub fn verification_ends(&mut self, now: Timestamp) {
        if let Some(from) = self.verifying_since.take() {
            self.verified.push(Verifying { from, until: now });
        }
    }

    /// The extension that would be given at `now`: `days`, or as much as the law allows. It is given before the time is over in
    /// which the data subject must be told of it.
    pub fn extension(
        &self,
        days: Option<Days>,
        received: Timestamp,
        now: Timestamp,
        force: bool,
    ) -> Result<Allowance, NoExtension> {
        if self.extension.is_some() {
            return Err(NoExtension::Twice);
        }
        if days.is_some_and(|days| days.is_none() || days > Days::MAX) {
            return Err(NoExtension::OutOfBounds);
        }
        let reckoned = self.reckon(received);
        if !force && now > reckoned.notice_due_at.unwrap_or(reckoned.due_at) {
            return Err(NoExtension::TooLate);
        }
        let (rule, most) = match &self.basis {
            Basis::Law(rule) => (Some(rule), rule.extension),
            Basis::SubjectType(_) | Basis::Action(_) | Basis::Default(_) => (None, None),
        };
        match (rule, days.map(|days| Allowance::Days(days.0)), most) {
            (None, Some(days), _) => Ok(days),
            (None, None, _) => Err(NoExtension::HowMuch),
            (Some(_), Some(days), _) if force => Ok(days),
            (Some(_), None, None) | (Some(_), Some(_), None) => Err(NoExtension::NotKnown),
            (Some(_), None, Some(most)) => Ok(most),
            (Some(rule), Some(days), Some(most)) => {
                let start = self.start(rule, received);
                let [asked, allowed] = [days, most].map(|by| rule.last_day(start, Some(by)));
                if asked <= allowed {
                    Ok(days)
                } else {
                    Err(NoExtension::TooLong)
                }
            }
        }
    }

    /// Gives more time.
    pub fn extend(&mut self, by: Allowance, now: Timestamp) {
        self.extension = Some(Extension { by, granted_at: now });
        self.noted = Noted::Nothing;
    }

    /// Days that do not count, under a rule by which time stands still while identities are verified.
    fn tolled_days(&self, rule: &Rule, zone: &TimeZone) -> u32 {
        if !rule.tolls_verification {
            return 0;
        }
        let day = |at: Timestamp| at.to_zoned(zone.clone()).date();
        let days = self
            .verified
            .iter()
            .map(|span| calendar::days_between(day(span.from), day(span.until)));
        u32::try_from(days.sum::<i64>()).unwrap_or(0)
    }

    /// The day that counting starts from.
    fn start(&self, rule: &Rule, received: Timestamp) -> Date {
        let zone = zone_of(&self.zone).0;
        let tolled = self.tolled_days(rule, &zone);
        let received = received.to_zoned(zone).date();
        received.saturating_add(Span::new().days(i64::from(tolled)))
    }

    fn by_law(&self, rule: &Rule, received: Timestamp) -> Reckoned {
        let (zone, zone_name) = zone_of(&self.zone);
        let tolled_days = self.tolled_days(rule, &zone);
        let start = self.start(rule, received);
        let day = received.to_zoned(zone.clone()).date();
        let mut words = format!("{}: received {day}", rule.article);
        if tolled_days > 0 {
            words += &format!(
                ", {} of verification do not count = {start}",
                calendar::days(tolled_days)
            );
        }
        let more = self.extension.map(|extension| extension.by);
        words += &format!(", + {}", rule.allows);
        if let Some(more) = more {
            words += &format!(" + {more} of extension");
        }
        let last = rule.last_day(start, more);
        words += &format!(" = {last}");
        let (due, rolled) = rule.roll(last);
        words += &rolled;
        words += &format!("; due at the end of that day, {zone_name}");
        if rule.counts_holidays_as_working_days() {
            words += "; public holidays are not known here and count as working days";
        }
        if rule.tolls_verification && self.verifying_since.is_some() {
            words += "; identities are being verified, and these days will not count";
        }
        let notice_due = rule
            .extension
            .filter(|_| more.is_none())
            .map(|_| rule.roll(rule.last_day(start, None)).0);
        Reckoned {
            due_at: calendar::end_of(due, &zone),
            notice_due_at: notice_due.map(|day| calendar::end_of(day, &zone)),
            tolled_days,
            explanation: words,
        }
    }

    /// What the organization sets counts in days of 24 hours, from the moment of receipt.
    fn by_days(&self, days: Days, why: &str, received: Timestamp) -> Reckoned {
        let more = match self.extension.map(|extension| extension.by) {
            Some(Allowance::Days(more) | Allowance::BusinessDays(more)) => Days(more),
            Some(Allowance::Months(months)) => Days(u16::from(months) * 30),
            None => Days(0),
        };
        let due_at = received + days.span() + more.span();
        let (zone, zone_name) = zone_of(&self.zone);
        let day = |at: Timestamp| at.to_zoned(zone.clone()).date();
        let mut words = format!(
            "{why}: received {}, + {}",
            day(received),
            calendar::days(u32::from(days.0))
        );
        if !more.is_none() {
            words += &format!(" + {} of extension", calendar::days(u32::from(more.0)));
        }
        words += &format!(" of 24 hours = {}, {zone_name}", day(due_at));
        Reckoned {
            due_at,
            notice_due_at: None,
            tolled_days: 0,
            explanation: words,
        }
    }
}

/// The time zone of that name, and what to call it. A machine that does not know it counts by UTC, and says so.
fn zone_of(name: &str) -> (TimeZone, String) {
    match name {
        "UTC" => (TimeZone::UTC, "UTC".to_owned()),
        name => match TimeZone::get(name) {
            Ok(zone) => (zone, name.to_owned()),
            Err(_) => (
                TimeZone::UTC,
                format!("UTC (this machine does not know the time zone {name})"),
            ),
        },
    }
}

#[cfg(test)]
mod tests;
