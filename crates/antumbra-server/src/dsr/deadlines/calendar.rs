//! Counting days.

use jiff::{
    SignedDuration, Span, Timestamp, ToSpan,
    civil::{Date, Weekday},
    tz::TimeZone,
};

/// From one day to the other; negative if that is earlier.
pub(super) fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

/// So many days, in words.
pub(super) fn days(count: u32) -> String {
    match count {
        1 => "1 day".to_owned(),
        count => format!("{count} days"),
    }
}

/// The same day so many months on; the last of its month where that is shorter.
pub(super) fn months_after(day: Date, months: u8) -> Date {
    day.saturating_add(i64::from(months).months())
}

/// So many days on.
pub(super) fn days_after(day: Date, days: u16) -> Date {
    day.saturating_add(Span::new().days(i64::from(days)))
}

/// So many days on, of which only those count that `is_free` lets through.
pub(super) fn working_days_after(mut day: Date, mut count: u16, is_free: impl Fn(Date) -> bool) -> Date {
    while count > 0 {
        day = days_after(day, 1);
        if !is_free(day) {
            count -= 1;
        }
    }
    day
}

/// Whether nobody works because of the week.
pub(super) fn is_weekend(day: Date) -> bool {
    matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday)
}

/// The last millisecond of a day, which has 23 to 25 hours where clocks are changed.
pub(super) fn end_of(day: Date, zone: &TimeZone) -> Timestamp {
    let next = days_after(day, 1).to_zoned(zone.clone());
    next.map_or(Timestamp::MAX, |next| next.timestamp() - SignedDuration::from_millis(1))
}

/// What a day of the week is called.
pub(super) fn weekday(day: Date) -> &'static str {
    match day.weekday() {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}
