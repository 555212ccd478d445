//! Deadlines, held against a calendar that is counted another way, and the table against what is printed of it.

use jiff::civil::date;

use super::*;
use crate::organization::{Action, ActionId, SubjectClass, SubjectType, SubjectTypeId, knows_zone};

fn at(text: &str) -> Timestamp {
    let text = if text.contains('T') {
        text.to_owned()
    } else {
        format!("{text}T10:00:00Z")
    };
    text.parse().unwrap()
}

fn region(text: &str) -> Region {
    let known = Some(text.to_owned()).filter(|text| !text.is_empty());
    let country = known.as_ref().map(|text| text.split('-').next().unwrap().to_owned());
    Region {
        country,
        subdivision: known.filter(|text| text.contains('-')),
    }
}

fn initial(action: Action) -> ActionSettings {
    ActionSettings::initial(ActionId(uuid::Uuid::nil()), action)
}

/// No holidays but those that the law knows.
fn office(zone: &str) -> OfficeCalendar {
    OfficeCalendar {
        zone: zone.to_owned(),
        holidays: Vec::new(),
    }
}

fn deadline(action: Action, place: &str, received: &str) -> Deadline {
    Deadline::of(None, &initial(action), &region(place), at(received), &office("UTC"))
}

/// The date, and the words for it.
fn reckoned(deadline: &Deadline, received: &str) -> (String, String) {
    let reckoned = deadline.reckon(at(received));
    (
        reckoned.due_at.to_zoned(TimeZone::UTC).date().to_string(),
        reckoned.explanation,
    )
}

#[test]
fn each_law_counts_in_its_own_way() {
    use Action::{Access, Erasure, SaleOptOut};
    for (action, place, received, due) in [
        (Access, "DE", "2026-03-03", "2026-04-03"),
        (Access, "EU", "2026-03-03", "2026-04-03"),
        // The last of the month, where the next one is shorter.
        (Access, "FR", "2026-01-29", "2026-03-02"),
        (Access, "FR", "2027-01-31", "2027-03-01"),
        (Access, "FR", "2028-01-31", "2028-02-29"),
        (Access, "FR", "2026-05-31", "2026-06-30"),
        // A Saturday; a Sunday; Christmas Day and the weekend after it; New Year's Day.
        (Access, "IE", "2026-03-04", "2026-04-06"),
        (Access, "IE", "2026-03-05", "2026-04-06"),
        (Access, "IE", "2026-11-25", "2026-12-28"),
        (Access, "NO", "2026-12-01", "2027-01-04"),
        (Erasure, "GB", "2026-03-04", "2026-04-06"),
        // Days stay where they fall.
        (Access, "US-CA", "2026-03-04", "2026-04-18"),
        (SaleOptOut, "US-CA", "2026-03-04", "2026-03-25"),
        (SaleOptOut, "US-CA", "2026-03-07", "2026-03-27"),
        (Access, "US-VA", "2026-03-04", "2026-04-18"),
        (Access, "US-IA", "2026-03-04", "2026-06-02"),
        (Access, "BR", "2026-03-04", "2026-03-19"),
        (Access, "CA-QC", "2026-03-04", "2026-04-03"),
        (Access, "CH", "2026-03-04", "2026-04-03"),
        (Erasure, "KR", "2026-03-04", "2026-03-14"),
        // Where no law is known: 30 days.
        (Access, "US", "2026-03-04", "2026-04-03"),
        (Access, "US-VT", "2026-03-04", "2026-04-03"),
        (Access, "", "2026-03-04", "2026-04-03"),
        // Before the law was in force.
        (Access, "US-TX", "2024-06-30", "2024-07-30"),
        (Access, "US-TX", "2024-07-01", "2024-08-15"),
    ] {
        let (found, why) = reckoned(&deadline(action, place, received), received);
        assert_eq!(
            found,
            due,
            "{} from {place} received {received}: {why}",
            action.as_str()
        );
    }
}

#[test]
fn the_words_explain_the_date() {
    let mut of_gdpr = deadline(Action::Access, "IE", "2026-03-04");
    assert_eq!(
        reckoned(&of_gdpr, "2026-03-04").1,
        "GDPR Art. 12(3): received 2026-03-04, + 1 month = 2026-04-04, Saturday, Sunday, so Monday 2026-04-06 \
         (Regulation (EEC, Euratom) No 1182/71 Art. 3(4)); due at the end of that day, UTC"
    );
    of_gdpr.extend(Allowance::Months(2), at("2026-03-20"));
    assert_eq!(
        reckoned(&of_gdpr, "2026-03-04").1,
        "GDPR Art. 12(3): received 2026-03-04, + 1 month + 2 months of extension = 2026-06-04; due at the end of that day, UTC"
    );
    let opt_out = deadline(Action::SaleOptOut, "US-CA", "2026-03-04");
    assert_eq!(
        reckoned(&opt_out, "2026-03-04").1,
        "CCPA Regulations § 7026(f): received 2026-03-04, + 15 business days = 2026-03-25; due at the end of that day, UTC; \
         public holidays are not known here and count as working days"
    );
    let default = deadline(Action::Access, "", "2026-03-04");
    assert_eq!(
        reckoned(&default, "2026-03-04").1,
        "no law of the region is known here: the default: received 2026-03-04, + 30 days of 24 hours = 2026-04-03, UTC"
    );
}

#[test]
fn what_the_organization_set_comes_before_the_law() {
    let mut settings = initial(Action::Access);
    let mut employees = SubjectType {
        id: SubjectTypeId(uuid::Uuid::nil()),
        slug: "employee".to_owned(),
        title: "Employee".to_owned(),
        class: SubjectClass::Employee,
        active: true,
        silent_by_default: false,
        supports_authorized_agent: false,
        actions: Action::ALL.into(),
        times_to_answer: Vec::new(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    let due = |settings: &ActionSettings, kind: Option<&SubjectType>| {
        let of_type = kind.and_then(|kind| kind.time_to_answer(settings.action));
        let deadline = Deadline::of(of_type, settings, &region("DE"), at("2026-03-03"), &office("UTC"));
        deadline.reckon(at("2026-03-03")).due_at
    };
    assert_eq!(due(&settings, Some(&employees)), at("2026-04-03T23:59:59.999Z"));
    // As it was before there was a table: days of 24 hours, from the moment of receipt.
    settings.expiry[0].days = Days(20);
    assert_eq!(due(&settings, Some(&employees)), at("2026-03-23T10:00:00Z"));
    let set = |action, days| crate::organization::TimeToAnswer {
        action,
        days: Days(days),
    };
    employees.times_to_answer = vec![set(None, 10), set(Some(Action::Erasure), 7)];
    assert_eq!(due(&settings, Some(&employees)), at("2026-03-13T10:00:00Z"));
    employees.times_to_answer.push(set(Some(Action::Access), 5));
    assert_eq!(due(&settings, Some(&employees)), at("2026-03-08T10:00:00Z"));
}

#[test]
fn the_initial_time_counts_as_set_once_somebody_has_set_it() {
    let mut settings = initial(Action::Access);
    assert!(!settings.is_expiry_set());
    settings.expiry_was_set = true;
    assert!(settings.is_expiry_set());
    let deadline = Deadline::of(None, &settings, &region("DE"), at("2026-03-03"), &office("UTC"));
    assert_eq!(deadline.basis, Basis::Action(Days(30)));
}

#[test]
fn time_stands_still_while_identities_are_verified_where_the_law_says_so() {
    for (place, due, tolled) in [
        ("GB", "2026-04-10", 7),
        ("DE", "2026-04-03", 0),
        ("US-CA", "2026-04-17", 0),
    ] {
        let mut deadline = deadline(Action::Access, place, "2026-03-03");
        deadline.verification_begins(at("2026-03-03"));
        deadline.verification_begins(at("2026-03-05"));
        let under_way = deadline.reckon(at("2026-03-03"));
        assert_eq!(under_way.explanation.contains("will not count"), tolled > 0);
        deadline.verification_ends(at("2026-03-10"));
        deadline.verification_ends(at("2026-03-30"));
        let settled = deadline.reckon(at("2026-03-03"));
        let (found, why) = reckoned(&deadline, "2026-03-03");
        assert_eq!((found.as_str(), settled.tolled_days), (due, tolled), "{place}: {why}");
        assert!(settled.due_at >= under_way.due_at);
    }
}

#[test]
fn a_deadline_is_extended_once_and_by_no_more_than_the_law_allows() {
    let received = at("2026-03-03");
    let by_days = |deadline: &Deadline, days: u16| deadline.extension(Some(Days(days)), received, received, false);
    let mut gdpr = deadline(Action::Access, "DE", "2026-03-03");
    assert_eq!(
        gdpr.extension(None, received, received, false),
        Ok(Allowance::Months(2))
    );
    assert_eq!(by_days(&gdpr, 61), Ok(Allowance::Days(61)));
    assert_eq!(by_days(&gdpr, 62), Err(NoExtension::TooLong));
    assert_eq!(
        gdpr.extension(Some(Days(62)), received, received, true),
        Ok(Allowance::Days(62))
    );
    assert_eq!(by_days(&gdpr, 0), Err(NoExtension::OutOfBounds));
    assert_eq!(
        gdpr.reckon(received).notice_due_at,
        Some(at("2026-04-03T23:59:59.999Z"))
    );
    gdpr.extend(Allowance::Months(2), at("2026-03-20"));
    assert_eq!(gdpr.reckon(received).notice_due_at, None);
    assert_eq!(
        gdpr.extension(Some(Days(1)), received, received, true),
        Err(NoExtension::Twice)
    );

    let ccpa = deadline(Action::Access, "US-CA", "2026-03-03");
    assert_eq!(by_days(&ccpa, 45), Ok(Allowance::Days(45)));
    assert_eq!(by_days(&ccpa, 46), Err(NoExtension::TooLong));
    let quebec = deadline(Action::Access, "CA-QC", "2026-03-03");
    assert_eq!(by_days(&quebec, 10), Err(NoExtension::NotKnown));
    assert_eq!(
        quebec.extension(None, received, received, true),
        Err(NoExtension::NotKnown)
    );
    assert_eq!(
        quebec.extension(Some(Days(10)), received, received, true),
        Ok(Allowance::Days(10))
    );
    let default = deadline(Action::Access, "", "2026-03-03");
    assert_eq!(
        default.extension(None, received, received, false),
        Err(NoExtension::HowMuch)
    );
    assert_eq!(by_days(&default, 45), Ok(Allowance::Days(45)));
}

#[test]
fn holidays_of_the_organization_count_where_the_law_looks_at_free_days_and_only_there() {
    let day = |text: &str| Holiday::try_from(text.to_owned()).unwrap();
    let closed = OfficeCalendar {
        holidays: vec![
            day("04-03"),
            day("2026-04-06"),
            day("2026-03-05"),
            day("2025-03-06"),
            day("12-25"),
        ],
        ..office("UTC")
    };
    for (action, place, due) in [
        // Friday, the weekend, Monday: the first free day is of every year, the last of this one.
        (Action::Access, "DE", "2026-04-07"),
        // Fifteen business days, one of which is free.
        (Action::SaleOptOut, "US-CA", "2026-03-25"),
        (Action::Access, "US-CA", "2026-04-17"),
        (Action::Access, "", "2026-04-02"),
    ] {
        let received = at("2026-03-03");
        let deadline = Deadline::of(None, &initial(action), &region(place), received, &closed);
        assert_eq!(reckoned(&deadline, "2026-03-03").0, due, "{} {place}", action.as_str());
    }
    let of = |place: &str| {
        Deadline::of(
            None,
            &initial(Action::Access),
            &region(place),
            at("2026-03-03"),
            &closed,
        )
    };
    let why = reckoned(&of("DE"), "2026-03-03").1;
    let rolled = "= 2026-04-03, a public holiday, Saturday, Sunday, a public holiday, so Tuesday 2026-04-07";
    assert!(why.contains(rolled), "{why}");
    // A request keeps the holidays that may matter to it, each once, and no others.
    let kept = |deadline: &Deadline| match &deadline.basis {
        Basis::Law(rule) => rule.holidays.iter().map(|day| String::from(*day)).collect::<Vec<_>>(),
        _ => panic!("no law"),
    };
    assert_eq!(kept(&of("DE")), ["01-01", "12-25", "04-03", "2026-04-06", "2026-03-05"]);
    assert_eq!(kept(&of("US-CA")), [""; 0]);
}

#[test]
fn more_time_is_given_while_the_time_is_not_over_or_by_force() {
    let received = at("2026-03-03");
    for (place, last) in [
        ("DE", "2026-04-03T23:59:59.999Z"),
        ("US-CA", "2026-04-17T23:59:59.999Z"),
        ("", "2026-04-02T10:00:00Z"),
    ] {
        let deadline = deadline(Action::Access, place, "2026-03-03");
        let days = Some(Days(10));
        let last = at(last);
        let too_late = last + SignedDuration::from_millis(1);
        let granted = Ok(Allowance::Days(10));
        assert_eq!(deadline.extension(days, received, last, false), granted, "{place}");
        assert_eq!(
            deadline.extension(days, received, too_late, false),
            Err(NoExtension::TooLate),
            "{place}"
        );
        assert_eq!(deadline.extension(days, received, too_late, true), granted, "{place}");
    }
}

#[test]
fn the_day_ends_at_midnight_where_the_organization_is() {
    // Received late in the evening by UTC, on the next day in Auckland, on the same in Los Angeles.
    for (zone, due) in [
        ("UTC", "2026-04-30T23:59:59.999Z"),
        ("Pacific/Auckland", "2026-05-01T11:59:59.999Z"),
        ("America/Los_Angeles", "2026-05-01T06:59:59.999Z"),
    ] {
        if !knows_zone(zone) {
            continue;
        }
        let received = at("2026-03-31T21:30:00Z");
        let deadline = Deadline::of(None, &initial(Action::Access), &region("DE"), received, &office(zone));
        let due_at = deadline.reckon(received).due_at;
        assert_eq!(due_at, at(due), "{zone}");
        assert_eq!(deadline.days_until(due_at, due_at), 0);
        assert_eq!(deadline.days_until(due_at, due_at + SignedDuration::from_millis(1)), -1);
    }
    let unknown = Deadline::of(
        None,
        &initial(Action::Access),
        &region("DE"),
        at("2026-03-03"),
        &office("Mars/Olympus"),
    );
    let words = unknown.reckon(at("2026-03-03")).explanation;
    assert!(
        words.ends_with("UTC (this machine does not know the time zone Mars/Olympus)"),
        "{words}"
    );
}

#[test]
fn every_day_ends_where_the_next_begins_also_on_nights_when_clocks_are_changed() {
    for rule in ["CET-1CEST,M3.5.0,M10.5.0/3", "<-03>3<-02>,M10.3.0/0,M2.3.0/0", "UTC0"] {
        let zone = TimeZone::posix(rule).unwrap();
        for day in date(2026, 1, 1).series(Span::new().days(1)).take(800) {
            let end = calendar::end_of(day, &zone);
            let next = end + SignedDuration::from_millis(1);
            assert_eq!(end.to_zoned(zone.clone()).date(), day, "{rule}");
            assert_eq!(next.to_zoned(zone.clone()).date(), day.tomorrow().unwrap(), "{rule}");
        }
    }
}

#[test]
fn days_of_the_calendar_are_counted_over_nights_when_clocks_are_changed() {
    let received = at("2026-03-03T22:30:00Z");
    let deadline = Deadline::of(
        None,
        &initial(Action::Access),
        &region("DE"),
        received,
        &office("Europe/Berlin"),
    );
    if knows_zone("Europe/Berlin") {
        let due_at = deadline.reckon(received).due_at;
        assert_eq!(deadline.days_until(due_at, received), 31);
    }
}

/// A calendar without a library: days are numbers, from 1970-01-01 on.
mod oracle {
    pub(super) fn is_leap(year: i64) -> bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    pub(super) fn length(year: i64, month: i64) -> i64 {
        match month {
            4 | 6 | 9 | 11 => 30,
            2 => 28 + i64::from(is_leap(year)),
            _ => 31,
        }
    }

    pub(super) fn number(year: i64, month: i64, day: i64) -> i64 {
        let years: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
        let months: i64 = (1..month).map(|month| length(year, month)).sum();
        years + months + day - 1
    }

    pub(super) fn month_later(year: i64, month: i64, day: i64, months: i64) -> i64 {
        let (mut year, mut month) = (year, month);
        for _ in 0..months {
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        number(year, month, day.min(length(year, month)))
    }

    /// 1970-01-01 was a Thursday.
    pub(super) fn is_weekend(number: i64) -> bool {
        (number + 3) % 7 >= 5
    }

    pub(super) fn is_holiday(number: i64) -> bool {
        let around = (number / 366 + 1970)..=(number / 365 + 1971);
        around
            .into_iter()
            .any(|year| number == self::number(year, 1, 1) || number == self::number(year, 12, 25))
    }
}

#[test]
fn a_hundred_thousand_random_dates_come_out_as_another_calendar_has_them() {
    let rules = ["DE", "US-CA", "US-CA opt-out"].map(|place| match place.strip_suffix(" opt-out") {
        Some(place) => deadline(Action::SaleOptOut, place, "2026-03-03"),
        None => deadline(Action::Access, place, "2026-03-03"),
    });
    let seed = std::env::var("ANTUMBRA_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_122_u64);
    let mut random = seed;
    let mut below = |bound: i64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(random >> 33).unwrap() % bound
    };
    for _ in 0..100_000 {
        let (year, month) = (1990 + below(70), 1 + below(12));
        let day = 1 + below(oracle::length(year, month));
        let number = oracle::number(year, month, day);
        let received = Timestamp::from_second(number * 86_400 + below(86_400)).unwrap();
        let (which, extended) = (usize::try_from(below(3)).unwrap(), below(2) == 1);
        let mut deadline = rules[which].clone();
        let expected = match (which, extended) {
            (0, extended) => {
                let mut due = oracle::month_later(year, month, day, if extended { 3 } else { 1 });
                while oracle::is_weekend(due) || oracle::is_holiday(due) {
                    due += 1;
                }
                due
            }
            (1, extended) => number + if extended { 90 } else { 45 },
            _ => {
                let mut left = 15;
                let mut due = number;
                while left > 0 {
                    due += 1;
                    left -= i64::from(!oracle::is_weekend(due));
                }
                due
            }
        };
        if extended && let Ok(most) = deadline.extension(None, received, received, false) {
            deadline.extend(most, received);
        }
        let due_at = deadline.reckon(received).due_at;
        assert_eq!(
            due_at.as_millisecond() + 1,
            (expected + 1) * 86_400_000,
            "seed {seed}: {year}-{month}-{day}: {}",
            deadline.reckon(received).explanation
        );
        assert_eq!(deadline.days_until(due_at, received), expected - number);
    }
}

#[test]
fn a_table_with_a_fault_is_refused_by_its_row() {
    let good = r#"{"groups": {"all": ["ACCESS"]}, "rows": [
        {"regions": ["FR"], "actions": "all", "valid_from": "2018-05-25", "valid_to": "2025-01-01",
         "rule": {"regime": "R", "article": "A", "checked": false, "allows": {"days": 3}, "holidays": ["05-01"]}},
        {"regions": ["FR", "US-CA"], "actions": "all", "valid_from": "2025-01-02",
         "rule": {"regime": "R", "article": "A", "checked": false, "allows": {"days": 4}}}]}"#;
    let table = Table::parse(good).unwrap();
    let allows = |day| {
        table
            .find(Action::Access, Some("FR"), None, day)
            .map(|rule| rule.allows)
    };
    assert_eq!(allows(date(2018, 5, 24)), None);
    assert_eq!(allows(date(2025, 1, 1)), Some(Allowance::Days(3)));
    assert_eq!(allows(date(2025, 1, 2)), Some(Allowance::Days(4)));
    for (was, becomes, fault) in [
        (
            "US-CA",
            "US-ZZ",
            "row 2 of the table of deadlines: a region is not known",
        ),
        (
            "\"actions\": \"all\"",
            "\"actions\": \"none\"",
            "row 1 of the table of deadlines: the group of actions is not known",
        ),
        (
            "2025-01-02",
            "2025-01-01",
            "row 2 of the table of deadlines: another row is for the same region, action and day",
        ),
        (
            "2018-05-25",
            "2025-01-03",
            "row 1 of the table of deadlines: it ends before it begins",
        ),
        (
            "\"days\": 3",
            "\"days\": 0",
            "row 1 of the table of deadlines: a span is empty",
        ),
        (
            "\"article\": \"A\"",
            "\"article\": \"\"",
            "row 1 of the table of deadlines: law and article must be named",
        ),
        ("05-01", "02-29", "the table of deadlines cannot be read"),
        ("checked", "chequed", "the table of deadlines cannot be read"),
    ] {
        let fault_found = Table::parse(&good.replacen(was, becomes, 1)).unwrap_err();
        assert_eq!(fault_found.to_string(), fault);
    }
}

#[test]
fn a_deadline_is_read_back_as_it_was_written() {
    let mut deadline = deadline(Action::Access, "GB", "2026-03-03");
    deadline.verification_begins(at("2026-03-03"));
    deadline.verification_ends(at("2026-03-04"));
    deadline.extend(Allowance::Days(3), at("2026-03-05"));
    let written = serde_json::to_string(&deadline).unwrap();
    assert_eq!(serde_json::from_str::<Deadline>(&written).unwrap(), deadline);
}

/// The table as `docs/deadlines.md` prints it.
fn printed() -> String {
    let mut lines = vec![
        "| Law and article | Where | Demands | Since | Time | Extension | A free last day | Verification | Checked |"
            .to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for row in &Table::built_in().rows {
        let rule = &row.rule;
        let until = row.valid_to.map_or(String::new(), |to| format!(" to {to}"));
        lines.push(format!(
            "| {}: {} | {} | {} | {}{until} | {} | {} | {} | {} | {} |",
            rule.regime,
            rule.article,
            row.regions.join(" "),
            row.actions,
            row.valid_from,
            rule.allows,
            rule.extension.map_or("–".to_owned(), |more| format!("+ {more}")),
            if rule.roll.is_some() {
                "the next working day"
            } else {
                "stays"
            },
            if rule.tolls_verification {
                "does not count"
            } else {
                "counts"
            },
            if rule.checked { "yes" } else { "no" },
        ));
    }
    lines.push(String::new());
    for (name, actions) in &Table::built_in().groups {
        let actions: Vec<String> = actions.iter().map(|action| format!("`{}`", action.as_str())).collect();
        lines.push(format!("- *{name}*: {}", actions.join(", ")));
    }
    lines.push(String::new());
    for row in Table::built_in().rows.iter().filter(|row| row.note.is_some()) {
        lines.push(format!(
            "- {}: {}",
            row.rule.article,
            row.note.as_deref().unwrap_or_default()
        ));
    }
    lines.join("\n")
}

/// With `ANTUMBRA_RENEW_DOCS=1` the page is written anew.
#[test]
fn the_page_prints_the_table_that_is_compiled_in() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/deadlines.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- table -->\n").unwrap();
    let (table, after) = rest.split_once("\n<!-- /table -->").unwrap();
    if std::env::var_os("ANTUMBRA_RENEW_DOCS").is_some() {
        let page = format!("{before}<!-- table -->\n{}\n<!-- /table -->{after}", printed());
        std::fs::write(path, page).unwrap();
    } else {
        assert_eq!(table, printed(), "run this test with ANTUMBRA_RENEW_DOCS=1");
    }
}
