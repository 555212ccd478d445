//! How far an import or an export is: a bar on a terminal, and elsewhere a line now and then. On standard error.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// Between two drawings of the bar, and between two lines.
const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(10);

const BAR_WIDTH: u64 = 24;

/// Where a run is.
#[derive(Clone, Copy, Default)]
pub(super) struct Point {
    /// How far of how much, if that is known.
    pub(super) at: u64,
    pub(super) of: Option<u64>,
    pub(super) rows: u64,
    pub(super) refused: u64,
}

/// Tells how far a run is.
pub(super) struct Meter {
    is_bar: bool,
    started: Instant,
    first: Point,
    told: Instant,
    verb: &'static str,
}

impl Meter {
    /// For a run that begins at `first`, and whose rows are, say, "imported".
    pub(super) fn new(verb: &'static str, first: Point) -> Meter {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Meter {
            is_bar: std::io::stderr().is_terminal() && !is_dumb,
            started: Instant::now(),
            told: Instant::now(),
            first,
            verb,
        }
    }

    /// Shows where the run is, if it is time to.
    pub(super) fn show(&mut self, now: Point) {
        let every = if self.is_bar { BAR_EVERY } else { LINE_EVERY };
        if self.told.elapsed() >= every {
            self.told = Instant::now();
            self.draw(now);
        }
    }

    /// Clears the bar, so that something else can be said.
    pub(super) fn clear(&self) {
        if self.is_bar {
            clear();
        }
    }

    /// The rows of this run, and how long it took.
    pub(super) fn summary(&self, now: Point) -> String {
        let elapsed = self.started.elapsed();
        let rows = now.rows - self.first.rows;
        format!(
            "{} rows in {:.1} s, {}/s",
            grouped(rows),
            elapsed.as_secs_f64(),
            grouped(self.rate(now, elapsed))
        )
    }

    fn draw(&self, now: Point) {
        let text = self.text(now, self.started.elapsed());
        // Standard error that is gone is no reason to stop.
        let _ = if self.is_bar {
            write!(std::io::stderr(), "\r\x1b[K{text}")
        } else {
            writeln!(std::io::stderr(), "{text}")
        };
    }

    fn text(&self, now: Point, elapsed: Duration) -> String {
        let mut text = String::new();
        if let Some(of) = now.of.filter(|of| *of > 0) {
            let share = now.at.min(of) * 100 / of;
            if self.is_bar {
                let full = usize::try_from(share * BAR_WIDTH / 100).unwrap_or(0);
                let empty = usize::try_from(BAR_WIDTH).unwrap_or(0) - full;
                text.push_str(&format!("[{}{}] ", "#".repeat(full), "-".repeat(empty)));
            }
            text.push_str(&format!("{share} %, "));
        }
        text.push_str(&format!(
            "{} rows {}, {}/s",
            grouped(now.rows),
            self.verb,
            grouped(self.rate(now, elapsed))
        ));
        if now.refused > 0 {
            text.push_str(&format!(", {} refused", grouped(now.refused)));
        }
        if let Some(left) = self.left(now, elapsed) {
            text.push_str(&format!(", {}:{:02} left", left / 60, left % 60));
        }
        text
    }

    fn rate(&self, now: Point, elapsed: Duration) -> u64 {
        let rows = (now.rows - self.first.rows) as f64;
        (rows / elapsed.as_secs_f64().max(0.001)) as u64
    }

    /// Seconds until the end, if it goes on like this.
    fn left(&self, now: Point, elapsed: Duration) -> Option<u64> {
        let done = now.at.checked_sub(self.first.at).filter(|done| *done > 0)? as f64;
        let left = now.of?.saturating_sub(now.at) as f64;
        Some((elapsed.as_secs_f64() * left / done) as u64)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Clears a bar, if there is one, so that something can be said in its place.
pub(super) fn clear() {
    let mut error = std::io::stderr();
    if error.is_terminal() {
        let _ = write!(error, "\r\x1b[K");
    }
}

/// Says something in a line of its own.
pub(super) fn say(text: &str) {
    clear();
    // Standard error that is gone is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown at row 3,500 and byte 6,000 of 10,000, twenty seconds after it went on at row 1,000 and byte 1,000.
    fn told(is_bar: bool, of: Option<u64>, refused: u64) -> String {
        let first = Point {
            at: 1000,
            of,
            rows: 1000,
            refused: 0,
        };
        let mut meter = Meter::new("settled", first);
        meter.is_bar = is_bar;
        let now = Point {
            at: 6000,
            of,
            rows: 3500,
            refused,
        };
        let text = meter.text(now, Duration::from_secs(20));
        meter.is_bar = false;
        text
    }

    #[test]
    fn rate_and_time_left_are_of_this_run_and_the_share_is_of_the_file() {
        assert_eq!(
            told(false, Some(10_000), 0),
            "60 %, 3,500 rows settled, 125/s, 0:16 left"
        );
        assert_eq!(
            told(true, Some(10_000), 7),
            "[##############----------] 60 %, 3,500 rows settled, 125/s, 7 refused, 0:16 left"
        );
        assert_eq!(told(true, None, 0), "3,500 rows settled, 125/s", "of a pipe");
        assert_eq!(
            told(false, Some(100_000), 0),
            "6 %, 3,500 rows settled, 125/s, 6:16 left"
        );
    }

    #[test]
    fn before_anything_is_done_nothing_is_foretold() {
        let first = Point {
            of: Some(10),
            ..Point::default()
        };
        let mut meter = Meter::new("checked", first);
        meter.is_bar = false;
        assert_eq!(meter.text(first, Duration::ZERO), "0 %, 0 rows checked, 0/s");
        let whole = Point {
            at: 12,
            rows: 4,
            ..first
        };
        assert_eq!(
            meter.text(whole, Duration::from_secs(2)),
            "100 %, 4 rows checked, 2/s, 0:00 left"
        );
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
