//! The part of each day in which an enricher is asked.

use jiff::{Timestamp, civil::Time, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::SiloError;

/// A part of each day by the clock on the wall: over midnight where it ends before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyWindow {
    /// When it begins.
    pub from: Time,
    /// When it is over.
    pub until: Time,
}

impl DailyWindow {
    /// Reads two times such as `22:00`. None where both are the same: that is the whole day.
    pub fn parse(from: &str, until: &str) -> Result<Option<DailyWindow>, SiloError> {
        let time = |text: &str| Time::strptime("%H:%M", text).map_err(|_| SiloError::NoTimeOfDay);
        let (from, until) = (time(from)?, time(until)?);
        Ok((from != until).then_some(DailyWindow { from, until }))
    }

    /// Both times as [`DailyWindow::parse`] reads them.
    pub fn texts(&self) -> (String, String) {
        let text = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        (text(self.from), text(self.until))
    }

    /// `at` where it lies in the window, else when the window next begins.
    pub fn next(&self, at: Timestamp, zone: &TimeZone) -> Timestamp {
        let local = at.to_zoned(zone.clone());
        let time = local.time();
        let is_open = if self.from < self.until {
            self.from <= time && time < self.until
        } else {
            self.from <= time || time < self.until
        };
        if is_open {
            return at;
        }
        let today = local.date();
        let day = if time < self.from {
            today
        } else {
            today.tomorrow().unwrap_or(today)
        };
        let begins = day.to_datetime(self.from).to_zoned(zone.clone());
        begins.map_or(at, |begins| begins.timestamp().max(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_the_window_waits_until_it_begins() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        for (from, until, at, next) in [
            ("09:00", "17:00", "2026-03-02T08:00:00Z", "2026-03-02T08:00:00Z"),
            ("09:00", "17:00", "2026-03-02T07:59:59Z", "2026-03-02T08:00:00Z"),
            ("09:00", "17:00", "2026-03-02T16:00:00Z", "2026-03-03T08:00:00Z"),
            ("22:00", "06:00", "2026-03-02T21:30:00Z", "2026-03-02T21:30:00Z"),
            ("22:00", "06:00", "2026-03-02T04:59:00Z", "2026-03-02T04:59:00Z"),
            ("22:00", "06:00", "2026-03-02T05:00:00Z", "2026-03-02T21:00:00Z"),
            // The hour is left out in the night in which clocks go forward.
            ("02:30", "04:00", "2026-03-29T00:00:00Z", "2026-03-29T01:30:00Z"),
        ] {
            let window = DailyWindow::parse(from, until).unwrap().unwrap();
            let (at, next): (Timestamp, Timestamp) = (at.parse().unwrap(), next.parse().unwrap());
            assert_eq!(window.next(at, &zone), next, "{from} to {until} at {at}");
            assert_eq!(window.texts(), (from.to_owned(), until.to_owned()));
        }
    }

    #[test]
    fn a_window_is_two_times_of_day_and_the_whole_day_is_none() {
        assert_eq!(DailyWindow::parse("08:00", "08:00"), Ok(None));
        for wrong in ["", "8", "24:00", "08:60", "08:00:00", "noon"] {
            assert_eq!(
                DailyWindow::parse(wrong, "09:00"),
                Err(SiloError::NoTimeOfDay),
                "{wrong}"
            );
        }
    }
}
