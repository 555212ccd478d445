use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{
    super::model::{Consent, PurposeWrite, Write},
    *,
};

/// Times of these tests are small numbers of hours, and periods too.
const HOUR: i64 = 3_600_000;

fn hours(count: i64) -> Moment {
    Moment(count * HOUR)
}

fn rule(since: i64, period: Option<u64>, on_expiry: OnConsentExpiry) -> ExpiryRule {
    ExpiryRule {
        since: Timestamp::from_second(since * 3600).unwrap(),
        period: period.map(|hours| Duration::from_secs(hours * 3600)),
        on_expiry,
    }
}

fn write(at: i64, purpose: u32, enabled: bool) -> Write {
    Write {
        timestamp: hours(at),
        confirmed: true,
        identifiers: Vec::new(),
        user_id: None,
        purposes: vec![PurposeWrite {
            purpose,
            at: hours(at),
            consent: Consent {
                enabled,
                source_system: None,
            },
            topics: Vec::new(),
        }],
        strings: Vec::new(),
        metadata: Vec::new(),
        metadata_timestamp: hours(at),
        birth_date: None,
        updated: None,
        prompted: None,
    }
}

fn answer(at: i64, enabled: bool) -> Record {
    let mut record = Record::empty();
    record.apply(&write(at, 0, enabled));
    record
}

/// Whether the answer to the purpose 0 counts at that hour, as everything known by another one has it.
fn counts(rules: &[ExpiryRule], record: &Record, at: i64, known_at: i64) -> bool {
    let catalog = Catalog::of_rules(vec![rules.to_vec()]);
    let view = View {
        as_of: Some(hours(at)),
        known_at: Some(hours(known_at)),
    };
    let sight = Sight::of(view, &catalog, hours(i64::from(u16::MAX)));
    !sight.left_of(record).purposes.is_empty()
}

fn ends(rules: &[ExpiryRule], record: &Record, known_at: i64) -> Option<Moment> {
    let catalog = Catalog::of_rules(vec![rules.to_vec()]);
    let consent = &record.purposes[0].consent;
    Sight::now(&catalog, hours(known_at)).expires_at(0, consent.value.enabled, consent.at)
}

use OnConsentExpiry::{Prompt, ResetAll, ResetOptIns};

#[test]
fn what_becomes_of_an_answer_is_what_the_table_says() {
    let allowed = answer(10, true);
    let refused = answer(10, false);
    for (on_expiry, record, counts_after, expires) in [
        (ResetOptIns, &allowed, false, true),
        (ResetOptIns, &refused, true, false),
        (ResetAll, &allowed, false, true),
        (ResetAll, &refused, false, true),
        (Prompt, &allowed, true, true),
        (Prompt, &refused, true, true),
    ] {
        let rules = [rule(0, Some(5), on_expiry)];
        assert!(counts(&rules, record, 14, 99), "{on_expiry:?}");
        assert_eq!(counts(&rules, record, 15, 99), counts_after, "{on_expiry:?}");
        assert_eq!(ends(&rules, record, 99), expires.then(|| hours(15)), "{on_expiry:?}");
    }
}

#[test]
fn a_rule_does_not_reach_back() {
    let record = answer(10, true);
    let rules = [rule(50, Some(5), ResetAll)];
    assert!(counts(&rules, &record, 49, 99));
    assert!(!counts(&rules, &record, 50, 99));
    assert_eq!(ends(&rules, &record, 99), Some(hours(50)));
    // Seen as known before it was set, it is not there.
    assert!(counts(&rules, &record, 60, 49));
}

#[test]
fn a_rule_that_is_set_late_does_not_move_an_end_that_has_come() {
    let record = answer(10, true);
    let rules = [rule(0, Some(10), ResetAll), rule(50, Some(5), ResetAll)];
    assert_eq!(ends(&rules, &record, 99), Some(hours(20)));
}

#[test]
fn a_longer_period_brings_back_what_had_expired() {
    let record = answer(10, true);
    let rules = [
        rule(0, Some(10), ResetAll),
        rule(50, Some(90), ResetAll),
        rule(60, None, ResetAll),
    ];
    for (at, expected) in [
        (19, true),
        (20, false),
        (49, false),
        (50, true),
        (59, true),
        (200, true),
    ] {
        assert_eq!(counts(&rules, &record, at, 300), expected, "{at}");
    }
    assert_eq!(ends(&rules, &record, 55), Some(hours(100)));
    assert_eq!(ends(&rules, &record, 300), None);
}

#[test]
fn a_view_that_names_only_when_it_was_known_looks_from_there() {
    let catalog = Catalog::of_rules(vec![vec![rule(0, Some(5), ResetAll)]]);
    let record = answer(10, true);
    let known = |at| View {
        as_of: None,
        known_at: Some(hours(at)),
    };
    assert_eq!(
        Sight::of(known(14), &catalog, hours(99))
            .left_of(&record)
            .purposes
            .len(),
        1
    );
    assert_eq!(
        Sight::of(known(15), &catalog, hours(99))
            .left_of(&record)
            .purposes
            .len(),
        0
    );
    assert_eq!(
        Sight::of(View::default(), &catalog, hours(14))
            .left_of(&record)
            .purposes
            .len(),
        1
    );
    assert_eq!(
        Sight::of(View::default(), &catalog, hours(15))
            .left_of(&record)
            .purposes
            .len(),
        0
    );
}

#[test]
fn periods_and_times_at_the_ends_of_what_there_is_do_not_overflow() {
    let mut record = answer(10, true);
    record.purposes[0].consent.at = Moment(i64::MAX - 1);
    let rules = [ExpiryRule {
        period: Some(Duration::MAX),
        ..rule(0, None, ResetAll)
    }];
    assert_eq!(ends(&rules, &record, 99), Some(Moment(i64::MAX)));
}

fn any_rules() -> impl Strategy<Value = Vec<ExpiryRule>> {
    let kind = prop_oneof![Just(Prompt), Just(ResetAll), Just(ResetOptIns)];
    let one = (0i64..60, prop::option::of(1u64..40), kind);
    prop::collection::vec(one, 0..5).prop_map(|mut rules| {
        rules.sort_by_key(|(since, ..)| *since);
        rules.dedup_by_key(|(since, ..)| *since);
        rules
            .into_iter()
            .map(|(since, period, kind)| rule(since, period, kind))
            .collect()
    })
}

/// The rule by which an answer stands at an hour, and whether it is too old by it: told from nothing but the definition.
fn too_old(rules: &[ExpiryRule], enabled: bool, given: i64, at: i64) -> Option<OnConsentExpiry> {
    let in_force = |rule: &&ExpiryRule| Moment::from(rule.since) <= hours(at);
    let rule = rules.iter().rfind(in_force)?;
    let period = i64::try_from(rule.period?.as_secs() / 3600).unwrap();
    let is_about = enabled || rule.on_expiry != ResetOptIns;
    (is_about && given + period <= at).then_some(rule.on_expiry)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12_000))]

    #[test]
    fn what_counts_is_what_the_definition_says(rules in any_rules(), given in 0i64..60, enabled: bool, at in 0i64..120) {
        let expected = too_old(&rules, enabled, given, at).is_none_or(|on_expiry| on_expiry == Prompt);
        prop_assert_eq!(counts(&rules, &answer(given, enabled), at, 999), expected);
    }

    /// The end is the first hour of the last unbroken stretch of hours at which the answer is too old.
    #[test]
    fn an_end_is_where_the_last_stretch_begins(rules in any_rules(), given in 0i64..60, enabled: bool) {
        let long = 200;
        let stretch = (0..long).rev().take_while(|at| too_old(&rules, enabled, given, *at).is_some());
        prop_assert_eq!(ends(&rules, &answer(given, enabled), 999), stretch.last().map(hours));
    }

    #[test]
    fn rules_that_come_later_change_nothing_about_earlier_times(
        rules in any_rules(), given in 0i64..60, enabled: bool, at in 0i64..120, known_at in 0i64..120,
    ) {
        let by = at.min(known_at);
        let mut then = rules.clone();
        then.retain(|rule| Moment::from(rule.since) <= hours(by));
        let record = answer(given, enabled);
        prop_assert_eq!(counts(&rules, &record, at, known_at), counts(&then, &record, at, known_at));
    }

    #[test]
    fn without_a_new_answer_what_is_gone_stays_gone_under_one_rule(
        period in 1u64..40, all: bool, given in 0i64..60, enabled: bool, at in 0i64..120, later in 0i64..120,
    ) {
        let rules = [rule(0, Some(period), if all { ResetAll } else { ResetOptIns })];
        let record = answer(given, enabled);
        prop_assert!(counts(&rules, &record, at, 999) || !counts(&rules, &record, at + later, 999));
    }

    /// Whoever asks at an hour sees the same, in whatever order the answers came in.
    #[test]
    fn the_order_of_arrival_does_not_matter(
        said in prop::collection::vec((0u32..3, any::<bool>()), 1..6).prop_flat_map(|said| {
            let dated: Vec<(i64, (u32, bool))> = (0..).map(|nth: i64| nth * 7).zip(said).collect();
            (Just(dated.clone()), Just(dated).prop_shuffle())
        }),
        rules in prop::collection::vec(any_rules(), 3),
        at in 0i64..120,
    ) {
        let catalog = Catalog::of_rules(rules);
        let left = |said: &[(i64, (u32, bool))]| {
            let mut record = Record::empty();
            for (time, (purpose, enabled)) in said {
                record.apply(&write(*time, *purpose, *enabled));
            }
            let mut left = Sight::now(&catalog, hours(at)).left_of(&record).into_owned();
            left.purposes.sort_by_key(|answer| answer.purpose);
            left
        };
        prop_assert!(left(&said.0) == left(&said.1));
    }

    #[test]
    fn nothing_but_answers_that_are_too_old_is_left_out(
        given in prop::collection::vec((0i64..60, any::<bool>()), 3), rules in prop::collection::vec(any_rules(), 3), at in 0i64..120,
    ) {
        let catalog = Catalog::of_rules(rules.clone());
        let mut record = Record::empty();
        for (purpose, (given, enabled)) in (0..).zip(&given) {
            record.apply(&write(*given, purpose, *enabled));
        }
        let left = Sight::now(&catalog, hours(at)).left_of(&record).into_owned();
        let is_left = |purpose: u32| {
            let (place, (given, enabled)) = (purpose as usize, given[purpose as usize]);
            too_old(&rules[place], enabled, given, at).is_none_or(|on_expiry| on_expiry == Prompt)
        };
        let mut expected = record;
        expected.purposes.retain(|answer| is_left(answer.purpose));
        prop_assert!(left == expected);
    }
}
