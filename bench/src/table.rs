//! The one form in which every figure is printed: ours, the limit it is held to, and how they stand to each other.

/// One figure.
pub(crate) struct Row {
    what: String,
    ours: f64,
    limit: f64,
    unit: &'static str,
    goal: Goal,
}

/// Which side of the limit is the right one.
enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    /// A figure that should reach this part of a limit measured in the same run.
    pub(crate) fn at_least(what: impl Into<String>, ours: f64, limit: f64, part: f64, unit: &'static str) -> Row {
        Row {
            what: what.into(),
            ours,
            limit,
            unit,
            goal: Goal::AtLeast(part),
        }
    }

    /// A figure beside another, for comparison.
    pub(crate) fn beside(what: impl Into<String>, ours: f64, limit: f64, unit: &'static str) -> Row {
        let goal = Goal::None;
        Row {
            goal,
            ..Row::at_most(what, ours, limit, unit)
        }
    }

    /// A figure that should stay below a bound.
    pub(crate) fn at_most(what: impl Into<String>, ours: f64, limit: f64, unit: &'static str) -> Row {
        Row {
            what: what.into(),
            ours,
            limit,
            unit,
            goal: Goal::AtMost(1.0),
        }
    }

    fn reached(&self) -> Option<bool> {
        let ratio = self.ours / self.limit;
        match self.goal {
            Goal::None => None,
            Goal::AtLeast(part) => Some(ratio >= part),
            Goal::AtMost(part) => Some(ratio <= part),
        }
    }
}

/// Prints the rows of one benchmark.
pub(crate) fn print(title: &str, rows: &[Row]) {
    println!("\n{title}");
    println!("{:<52} {:>12} {:>12} {:>8}  goal", "", "ours", "limit/peer", "ratio");
    for row in rows {
        let goal = match row.goal {
            Goal::None => "none",
            Goal::AtLeast(part) => &format!(">= {part:.2}"),
            Goal::AtMost(part) => &format!("<= {part:.2}"),
        };
        let verdict = match row.reached() {
            None => "",
            Some(true) => "reached",
            Some(false) => "MISSED",
        };
        println!(
            "{:<52} {:>12} {:>12} {:>8.2}  {goal} {verdict}",
            format!("{} [{}]", row.what, row.unit),
            figure(row.ours),
            figure(row.limit),
            row.ours / row.limit,
        );
    }
}

fn figure(value: f64) -> String {
    if value >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
