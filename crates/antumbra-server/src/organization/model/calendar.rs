//! The calendar of an organization: its time zone, and the days on which nobody works there.

use std::collections::BTreeSet;

use jiff::{civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::SettingError;

/// The most holidays of an organization: those of many years.
const HOLIDAYS_MAX: usize = 500;

/// A day on which nobody works: of every year, written as `12-25`, or of one, as `2027-03-26`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Holiday {
    /// Of every year.
    Yearly {
        /// The month, from 1.
        month: i8,
        /// The day of the month, from 1.
        day: i8,
    },
    /// Of one year.
    Once(Date),
}

/// The text is no holiday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a holiday is a day that every year has, as 12-25, or a date, as 2027-03-26")]
pub struct NoHoliday;

impl Holiday {
    /// Whether nobody works on `date` because of it.
    pub fn is_on(self, date: Date) -> bool {
        match self {
            Holiday::Yearly { month, day } => (month, day) == (date.month(), date.day()),
            Holiday::Once(once) => once == date,
        }
    }

    /// Whether `date` or a later day is one.
    pub fn comes_from(self, date: Date) -> bool {
        match self {
            Holiday::Yearly { .. } => true,
            Holiday::Once(once) => once >= date,
        }
    }
}

impl TryFrom<String> for Holiday {
    type Error = NoHoliday;

    fn try_from(text: String) -> Result<Holiday, NoHoliday> {
        let numbers: Option<Vec<i16>> = text.split('-').map(|number| number.parse().ok()).collect();
        let numbers = numbers.filter(|_| !text.contains('+'));
        let small = |number: i16| i8::try_from(number).ok();
        let holiday = match (numbers.as_deref(), text.len()) {
            (Some([month, day]), 5) => small(*month).zip(small(*day)).and_then(|(month, day)| {
                // A year without a 29 February: what not every year has is no day of every year.
                Date::new(2023, month, day).ok()?;
                Some(Holiday::Yearly { month, day })
            }),
            (Some([year, month, day]), 10) => small(*month)
                .zip(small(*day))
                .and_then(|(month, day)| Date::new(*year, month, day).ok())
                .map(Holiday::Once),
            _ => None,
        };
        holiday.ok_or(NoHoliday)
    }
}

impl From<Holiday> for String {
    fn from(holiday: Holiday) -> String {
        match holiday {
            Holiday::Yearly { month, day } => format!("{month:02}-{day:02}"),
            Holiday::Once(date) => date.to_string(),
        }
    }
}

/// Whether this machine knows a time zone by that name.
pub fn knows_zone(name: &str) -> bool {
    name == "UTC" || TimeZone::get(name).is_ok()
}

pub(super) fn check(time_zone: Option<&str>, holidays: &[Holiday]) -> Result<(), SettingError> {
    match () {
        () if time_zone.is_some_and(|name| !knows_zone(name)) => Err(SettingError::UnknownTimeZone),
        () if holidays.len() > HOLIDAYS_MAX => Err(SettingError::TooMany),
        () if holidays.iter().collect::<BTreeSet<_>>().len() < holidays.len() => Err(SettingError::HolidayTwice),
        () => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holiday_is_of_every_year_or_of_one() {
        let read = |text: &str| Holiday::try_from(text.to_owned());
        for text in ["12-25", "01-01", "2027-03-26", "2028-02-29"] {
            assert_eq!(read(text).map(String::from).as_deref(), Ok(text));
        }
        for wrong in [
            "",
            "25.12.",
            "13-01",
            "02-29",
            "2027-02-29",
            "1-1",
            "2027-3-26",
            "-5-12",
            "12-25-",
            "12-+5",
        ] {
            assert_eq!(read(wrong), Err(NoHoliday), "{wrong}");
        }
        let on = |text: &str, date: &str| read(text).unwrap().is_on(date.parse().unwrap());
        assert!(on("12-25", "2026-12-25") && on("12-25", "2031-12-25") && !on("12-25", "2026-12-26"));
        assert!(on("2027-03-26", "2027-03-26") && !on("2027-03-26", "2028-03-26"));
    }

    #[test]
    fn a_calendar_names_a_zone_that_is_known_and_each_day_once() {
        let day = |text: &str| Holiday::try_from(text.to_owned()).unwrap();
        assert_eq!(check(None, &[]), Ok(()));
        assert_eq!(check(Some("Europe/Berlin"), &[day("12-25"), day("2027-03-26")]), Ok(()));
        assert_eq!(check(Some("Mars/Olympus"), &[]), Err(SettingError::UnknownTimeZone));
        assert_eq!(
            check(None, &[day("12-25"), day("12-25")]),
            Err(SettingError::HolidayTwice)
        );
        let many: Vec<Holiday> = (0..=HOLIDAYS_MAX as i16)
            .map(|n| Holiday::Once(Date::new(2000 + n, 1, 1).unwrap()))
            .collect();
        assert_eq!(check(None, &many), Err(SettingError::TooMany));
    }
}
