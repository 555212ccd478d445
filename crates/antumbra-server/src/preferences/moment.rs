//! Instants as the preference routes write them: UTC, whole milliseconds, `2026-02-03T09:15:00.250Z`.

use jiff::{Timestamp, civil};
use serde::{Serialize, Serializer};

/// How far ahead of our clock an instant may lie.
const AHEAD_MAX_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The first instant of the year 0.
const EARLIEST: Moment = Moment(-62_167_219_200_000);

/// An instant, in milliseconds since the start of 1970 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Moment(pub(crate) i64);

/// Why a text is not an instant we keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum BadMoment {
    /// It can't be read.
    #[error("must be an ISO 8601 date and time, such as 2026-02-03T09:15:00.250Z")]
    Unreadable,
    /// It is before the year 0.
    #[error("must not be before the year 0")]
    TooEarly,
    /// It is further ahead than clocks disagree.
    #[error("must not be more than 24 hours in the future")]
    Future,
}

impl Moment {
    /// Reads any ISO 8601 date and time. Without a zone it is UTC; what is finer than a millisecond is cut off.
    pub(crate) fn parse(text: &str) -> Result<Moment, BadMoment> {
        let moment = match text.parse::<Timestamp>() {
            Ok(instant) => Moment::from(instant),
            Err(_) => Moment::parse_utc(text)?,
        };
        if moment < EARLIEST {
            Err(BadMoment::TooEarly)
        } else {
            Ok(moment)
        }
    }

    /// Reads what has no zone, and the last day of the year 9999, which is past the last of the library's instants.
    fn parse_utc(text: &str) -> Result<Moment, BadMoment> {
        let utc = text.strip_suffix(['Z', 'z']).unwrap_or(text);
        let time = utc.split_once(['T', 't', ' ']).map_or("", |(_, time)| time);
        // The library would pass over another zone here, and over its name.
        if time.contains(['+', '-']) || utc.contains('[') {
            return Err(BadMoment::Unreadable);
        }
        let civil = utc.parse::<civil::DateTime>().map_err(|_| BadMoment::Unreadable)?;
        let nanos = civil.duration_since(civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_nanos();
        let millis = i64::try_from(nanos.div_euclid(1_000_000)).expect("a calendar's milliseconds fit");
        Ok(Moment(millis))
    }

    /// As [`parse`](Self::parse), and no more than a day ahead of `now`.
    pub(crate) fn parse_event(text: &str, now: Moment) -> Result<Moment, BadMoment> {
        let moment = Moment::parse(text)?;
        if moment.0 > now.0.saturating_add(AHEAD_MAX_MILLIS) {
            Err(BadMoment::Future)
        } else {
            Ok(moment)
        }
    }

    /// The text on the wire: 24 bytes.
    fn text(self) -> [u8; 24] {
        let days = self.0.div_euclid(86_400_000);
        let millis = u32::try_from(self.0.rem_euclid(86_400_000)).expect("a day has fewer milliseconds than 2^32");
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        digits(&mut text[0..4], year);
        digits(&mut text[5..7], month);
        digits(&mut text[8..10], day);
        digits(&mut text[11..13], millis / 3_600_000);
        digits(&mut text[14..16], millis / 60_000 % 60);
        digits(&mut text[17..19], millis / 1000 % 60);
        digits(&mut text[20..23], millis % 1000);
        text
    }
}

impl From<Timestamp> for Moment {
    /// Cuts off what is finer than a millisecond, towards the past.
    fn from(instant: Timestamp) -> Moment {
        Moment(i64::try_from(instant.as_nanosecond().div_euclid(1_000_000)).expect("a timestamp's milliseconds fit"))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.text()).expect("digits and signs are ASCII"))
    }
}

fn digits(place: &mut [u8], mut number: u32) {
    for byte in place.iter_mut().rev() {
        *byte = b'0' + u8::try_from(number % 10).expect("a digit fits a byte");
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1970-01-01, in the calendar that ISO 8601 uses throughout. Years 0 to 9999.
fn civil_from_days(days: i64) -> (u32, u32, u32) {
    // Counted from 0000-03-01, so that the leap day is the last day of its year, in eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |number: i64| u32::try_from(number).unwrap_or(0);
    (small(year), small(month), small(day))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_and_written(text: &str) -> String {
        let moment = Moment::parse(text).unwrap();
        String::from_utf8(moment.text().to_vec()).unwrap()
    }

    #[test]
    fn every_form_of_an_instant_is_read() {
        let expected = "2026-02-03T09:15:00.250Z";
        for form in [
            "2026-02-03T09:15:00.250Z",
            "2026-02-03T09:15:00.250999Z",
            "2026-02-03T09:15:00.250999999+00:00",
            "2026-02-03T10:15:00.25+01:00",
            "2026-02-03T04:15:00.250-05:00",
            "2026-02-03T09:15:00.250",
            "2026-02-03T09:15:00.250123",
            "2026-02-03 09:15:00.250Z",
        ] {
            assert_eq!(read_and_written(form), expected, "{form}");
        }
        assert_eq!(read_and_written("2026-02-03T09:15:00Z"), "2026-02-03T09:15:00.000Z");
        assert_eq!(read_and_written("2016-12-31T23:59:60Z"), "2016-12-31T23:59:59.000Z");
        assert_eq!(read_and_written("0000-01-01T00:00:00Z"), "0000-01-01T00:00:00.000Z");
        assert_eq!(
            read_and_written("9999-12-31T23:59:59.9999Z"),
            "9999-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "12:00",
            "1700000000",
            "-000001-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "2026-02-03T09:15:00+25:60",
            "2026-02-03T09:15:00[Europe/Lisbon]",
            "2026-02-03T09:15:61Z",
            "2026-02-03T09:15:00ZZ",
        ] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_event_may_be_a_day_ahead_of_our_clock_and_no_more() {
        let now = Moment::parse("2026-02-03T09:15:00.250Z").unwrap();
        assert!(Moment::parse_event("2026-02-04T09:15:00.250Z", now).is_ok());
        assert_eq!(
            Moment::parse_event("2026-02-04T09:15:00.251Z", now),
            Err(BadMoment::Future)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_agrees_with_the_calendar(millis in EARLIEST.0..253_402_207_200_000i64) {
            let moment = Moment(millis);
            let text = String::from_utf8(moment.text().to_vec()).unwrap();
            prop_assert_eq!(Moment::parse(&text), Ok(moment));
            let oracle = Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(text, oracle.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string());
        }
    }
}
