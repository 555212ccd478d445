//! The lifecycle in tables: what follows what, and that everything else is refused.

use proptest::prelude::*;

use super::*;

pub(super) const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// A request of one phase that asks a person at every turn and waits three days.
pub(super) fn one_phase() -> Rules {
    Rules {
        action: Action::Access,
        waiting: days(3),
        delay: None,
        requires_review: true,
        requires_secondary_review: false,
        skip_secondary_if_no_files: false,
        delivery: Delivery::Files,
        availability: days(14),
        available_until: None,
        requires_approved_plan: false,
    }
}

/// An erasure that shows the data first and deletes it ten days later.
pub(super) fn two_phases() -> Rules {
    Rules {
        action: Action::Erasure,
        delay: Some(DelayRule {
            preview: Action::Access,
            time: days(10),
        }),
        requires_secondary_review: true,
        delivery: Delivery::Nothing,
        ..one_phase()
    }
}

/// Reads `WAITING +3d`, `APPROVING data`, `ON_HOLD COMPILING`; a span that is missing means now.
pub(super) fn state(text: &str) -> DsrState {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a state has a name");
    let rest: Vec<&str> = words.collect();
    let at = |place: usize| {
        let span = rest.get(place).map_or("0d", |word| word.trim_start_matches('+'));
        NOW + days(span.trim_end_matches('d').parse().expect("a span is a number of days"))
    };
    match name {
        "REQUEST_MADE" => DsrState::RequestMade,
        "ENRICHING" => DsrState::Enriching,
        "ON_HOLD" => DsrState::OnHold {
            held: Box::new(state(&rest.join(" "))),
        },
        "WAITING" => DsrState::Waiting { until: at(0) },
        "COMPILING" => DsrState::Compiling,
        "APPROVING" => DsrState::Approving {
            any_data: rest == ["data"],
        },
        "DELAYED" => DsrState::Delayed { until: at(0) },
        "SECONDARY" => DsrState::Secondary,
        "SECONDARY_APPROVING" => DsrState::SecondaryApproving,
        "SECONDARY_COMPLETED" => DsrState::SecondaryCompleted { completed_at: NOW },
        "DOWNLOADABLE" => DsrState::Downloadable {
            completed_at: NOW,
            until: at(0),
        },
        "VIEW_CATEGORIES" => DsrState::ViewCategories {
            completed_at: NOW,
            until: at(0),
        },
        "COMPLETED" => DsrState::Completed { completed_at: NOW },
        "CANCELED" => DsrState::Canceled { canceled_at: NOW },
        "REVOKED" => DsrState::Revoked { revoked_at: NOW },
        "FAILED_VERIFICATION" => DsrState::FailedVerification { failed_at: NOW },
        other => panic!("no state is called {other}"),
    }
}

pub(super) const EVENTS: [(&str, DsrEvent); 15] = [
    ("begun", DsrEvent::Begun),
    ("settled", DsrEvent::IdentitiesSettled),
    ("unverified", DsrEvent::PreflightEnded(PreflightEnd::FailedVerification)),
    ("rule cancels", DsrEvent::PreflightEnded(PreflightEnd::Canceled)),
    ("rule holds", DsrEvent::PreflightEnded(PreflightEnd::OnHold)),
    ("time", DsrEvent::TimeElapsed),
    ("early", DsrEvent::BegunEarly),
    ("found data", DsrEvent::RunsFinished { any_data: true }),
    ("found nothing", DsrEvent::RunsFinished { any_data: false }),
    ("approved", DsrEvent::Approved),
    ("canceled", DsrEvent::Canceled),
    ("withdrawn", DsrEvent::Withdrawn),
    ("held", DsrEvent::Held),
    ("resumed", DsrEvent::Resumed),
    ("restarted", DsrEvent::Restarted),
];

fn event(text: &str) -> DsrEvent {
    let found = EVENTS.iter().find(|(name, _)| *name == text);
    found.unwrap_or_else(|| panic!("no event is called {text}")).1
}

fn effect(text: &str) -> DsrEffect {
    match text {
        "settle" => DsrEffect::SettleIdentities,
        "open runs" => DsrEffect::OpenRuns,
        told if told.starts_with("tell ") => {
            let kind = told["tell ".len()..].replace(' ', "_").to_ascii_uppercase();
            DsrEffect::Tell(MessageKind::parse(&kind).expect("a kind of message"))
        }
        wake => {
            let span = wake.strip_prefix("wake +").and_then(|rest| rest.strip_suffix('d'));
            let span = span.unwrap_or_else(|| panic!("no effect is called {wake}"));
            DsrEffect::WakeAt(NOW + days(span.parse().expect("a span is a number of days")))
        }
    }
}

/// The lines of a table: state, event, state, effects.
fn lines(table: &str) -> Vec<(DsrState, DsrEvent, DsrState, Vec<DsrEffect>)> {
    let line = |line: &str| {
        let (before, after) = line.split_once("=>").expect("a line has an arrow");
        let (from, happened) = before.split_once(':').expect("a line has a colon");
        let mut after = after.split(" & ").map(str::trim);
        let to = state(after.next().expect("a line has an outcome"));
        (state(from), event(happened.trim()), to, after.map(effect).collect())
    };
    table
        .lines()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(line)
        .collect()
}

fn check(rules: &Rules, table: &str) {
    for (from, event, to, effects) in lines(table) {
        let outcome = from.clone().step(event, rules, NOW);
        assert_eq!(outcome, Ok((to, effects)), "{from:?} and {event:?}");
    }
}

const ONE_PHASE: &str = "
    REQUEST_MADE      : begun         => ENRICHING & settle & tell receipt
    REQUEST_MADE      : canceled      => CANCELED & tell canceled
    REQUEST_MADE      : held          => ON_HOLD REQUEST_MADE
    ENRICHING         : settled       => WAITING +3d & wake +3d
    ENRICHING         : unverified    => FAILED_VERIFICATION & tell denied
    ENRICHING         : rule cancels  => CANCELED & tell canceled
    ENRICHING         : rule holds    => ON_HOLD ENRICHING
    ENRICHING         : canceled      => CANCELED & tell canceled
    ENRICHING         : held          => ON_HOLD ENRICHING
    WAITING           : time          => COMPILING & open runs
    WAITING           : early         => COMPILING & open runs
    WAITING +2d       : early         => COMPILING & open runs
    WAITING           : canceled      => CANCELED & tell canceled
    WAITING           : withdrawn     => REVOKED & tell revoked
    WAITING           : held          => ON_HOLD WAITING
    WAITING +2d       : canceled      => CANCELED & tell canceled
    WAITING +2d       : withdrawn     => REVOKED & tell revoked
    WAITING +2d       : held          => ON_HOLD WAITING +2d
    COMPILING         : found data    => APPROVING data
    COMPILING         : found nothing => APPROVING
    COMPILING         : canceled      => CANCELED & open runs & tell canceled
    COMPILING         : held          => ON_HOLD COMPILING
    APPROVING data    : approved      => DOWNLOADABLE +14d & wake +14d & tell report ready
    APPROVING         : approved      => COMPLETED & tell completed
    APPROVING data    : canceled      => CANCELED & tell canceled
    APPROVING data    : held          => ON_HOLD APPROVING data
    APPROVING         : canceled      => CANCELED & tell canceled
    APPROVING         : held          => ON_HOLD APPROVING
    DOWNLOADABLE      : time          => COMPLETED
    VIEW_CATEGORIES   : time          => COMPLETED
    ON_HOLD REQUEST_MADE   : resumed   => REQUEST_MADE
    ON_HOLD REQUEST_MADE   : canceled  => CANCELED & tell canceled
    ON_HOLD ENRICHING      : resumed   => ENRICHING & settle
    ON_HOLD ENRICHING      : canceled  => CANCELED & tell canceled
    ON_HOLD WAITING +2d    : resumed   => WAITING +2d & wake +2d
    ON_HOLD WAITING +2d    : canceled  => CANCELED & tell canceled
    ON_HOLD WAITING +2d    : withdrawn => REVOKED & tell revoked
    ON_HOLD COMPILING      : resumed   => COMPILING & open runs
    ON_HOLD COMPILING      : canceled  => CANCELED & open runs & tell canceled
    ON_HOLD APPROVING data : resumed   => APPROVING data
    ON_HOLD APPROVING data : canceled  => CANCELED & tell canceled
";

const TWO_PHASES: &str = "
    DELAYED               : time          => SECONDARY & open runs
    DELAYED               : early         => SECONDARY & open runs
    DELAYED               : canceled      => CANCELED & tell canceled
    DELAYED               : withdrawn     => REVOKED & tell revoked
    DELAYED               : held          => ON_HOLD DELAYED
    DELAYED +9d           : early         => SECONDARY & open runs
    DELAYED +9d           : canceled      => CANCELED & tell canceled
    DELAYED +9d           : withdrawn     => REVOKED & tell revoked
    DELAYED +9d           : held          => ON_HOLD DELAYED +9d
    SECONDARY             : found data    => SECONDARY_APPROVING
    SECONDARY             : found nothing => SECONDARY_APPROVING
    SECONDARY             : held          => ON_HOLD SECONDARY
    SECONDARY_APPROVING   : approved      => SECONDARY_COMPLETED & tell completed
    SECONDARY_APPROVING   : held          => ON_HOLD SECONDARY_APPROVING
    ON_HOLD DELAYED       : resumed       => DELAYED +1d & wake +1d
    ON_HOLD DELAYED       : canceled      => CANCELED & tell canceled
    ON_HOLD DELAYED       : withdrawn     => REVOKED & tell revoked
    ON_HOLD DELAYED +9d   : resumed       => DELAYED +9d & wake +9d
    ON_HOLD DELAYED +9d   : canceled      => CANCELED & tell canceled
    ON_HOLD DELAYED +9d   : withdrawn     => REVOKED & tell revoked
    ON_HOLD SECONDARY     : resumed       => SECONDARY & open runs
    ON_HOLD SECONDARY_APPROVING : resumed => SECONDARY_APPROVING
";

#[test]
fn a_request_of_one_phase_goes_this_way() {
    check(&one_phase(), ONE_PHASE);
}

#[test]
fn a_request_of_two_phases_previews_then_waits_then_acts() {
    check(&two_phases(), TWO_PHASES);
    check(
        &two_phases(),
        "
        APPROVING data : approved => DELAYED +10d & wake +10d & tell preview ready
        APPROVING      : approved => DELAYED +10d & wake +10d & tell preview ready
    ",
    );
    assert_eq!(two_phases().action_in(Phase::Primary), Action::Access);
    assert_eq!(two_phases().action_in(Phase::Secondary), Action::Erasure);
    assert_eq!(one_phase().action_in(Phase::Primary), Action::Access);
}

#[test]
fn settings_leave_steps_out() {
    check(
        &Rules {
            waiting: days(0),
            ..one_phase()
        },
        "ENRICHING : settled => COMPILING & open runs",
    );
    check(
        &Rules {
            requires_review: false,
            ..one_phase()
        },
        "
        COMPILING : found data    => DOWNLOADABLE +14d & wake +14d & tell report ready
        COMPILING : found nothing => COMPLETED & tell completed
    ",
    );
    check(
        &Rules {
            delivery: Delivery::Categories,
            ..one_phase()
        },
        "
        APPROVING data : approved => VIEW_CATEGORIES +14d & wake +14d & tell report ready
        APPROVING      : approved => COMPLETED & tell completed
    ",
    );
    check(
        &Rules {
            delivery: Delivery::Nothing,
            ..one_phase()
        },
        "APPROVING data : approved => COMPLETED & tell completed",
    );
    let shown_for = |count: i64, delivery: Delivery| Rules {
        available_until: Some(NOW + days(count)),
        delivery,
        ..one_phase()
    };
    check(
        &shown_for(40, Delivery::Files),
        "APPROVING data : approved => DOWNLOADABLE +40d & wake +40d & tell report ready",
    );
    check(
        &shown_for(2, Delivery::Categories),
        "APPROVING data : approved => VIEW_CATEGORIES +2d & wake +2d & tell report ready",
    );
    for delivery in [Delivery::Files, Delivery::Categories] {
        check(
            &shown_for(0, delivery),
            "APPROVING data : approved => COMPLETED & tell completed",
        );
    }
    check(
        &Rules {
            requires_secondary_review: false,
            ..two_phases()
        },
        "
        SECONDARY : found data    => SECONDARY_COMPLETED & tell completed
        SECONDARY : found nothing => SECONDARY_COMPLETED & tell completed
    ",
    );
    let at_once = DelayRule {
        preview: Action::Access,
        time: days(0),
    };
    check(
        &Rules {
            delay: Some(at_once),
            ..two_phases()
        },
        "APPROVING data : approved => SECONDARY & open runs",
    );
    check(
        &Rules {
            skip_secondary_if_no_files: true,
            ..two_phases()
        },
        "
        APPROVING      : approved => SECONDARY_COMPLETED & tell completed
        APPROVING data : approved => DELAYED +10d & wake +10d & tell preview ready
    ",
    );
}

#[test]
fn every_state_can_be_restarted_and_refuses_whatever_the_tables_do_not_list() {
    for (rules, tables) in [
        (one_phase(), [ONE_PHASE, TWO_PHASES]),
        (two_phases(), [ONE_PHASE, TWO_PHASES]),
    ] {
        let listed: Vec<_> = tables.into_iter().flat_map(lines).collect();
        for from in every_state() {
            for (name, event) in EVENTS {
                let outcome = from.clone().step(event, &rules, NOW);
                if event == DsrEvent::Restarted {
                    assert_eq!(outcome, Ok((DsrState::RequestMade, vec![DsrEffect::OpenRuns])));
                } else if listed.iter().any(|(state, on, ..)| *state == from && *on == event) {
                    assert!(outcome.is_ok(), "{from:?} takes {name}");
                } else {
                    assert_eq!(
                        outcome,
                        Err(OutOfPlace { status: from.status() }),
                        "{from:?} refuses {name}"
                    );
                }
            }
        }
    }
}

/// Each state that the tables lead out of, those that wait also with time left, and those that nothing leads out of.
fn every_state() -> Vec<DsrState> {
    let ends = [
        "SECONDARY_COMPLETED",
        "COMPLETED",
        "CANCELED",
        "REVOKED",
        "FAILED_VERIFICATION",
    ];
    let mut all: Vec<DsrState> = [ONE_PHASE, TWO_PHASES]
        .into_iter()
        .flat_map(lines)
        .map(|(from, ..)| from)
        .chain(ends.map(state))
        .chain(["DOWNLOADABLE +14d", "VIEW_CATEGORIES +14d"].map(state))
        .collect();
    all.dedup();
    let statuses: std::collections::BTreeSet<_> = all.iter().map(DsrState::status).collect();
    assert_eq!(statuses.len(), DsrStatus::ALL.len());
    all
}

#[test]
fn a_status_is_spelled_as_the_wire_spells_it() {
    for status in DsrStatus::ALL {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}

#[test]
fn a_state_kept_by_the_first_version_can_still_be_read() {
    let kept = [
        (r#""request_made""#, "REQUEST_MADE"),
        (r#""enriching""#, "ENRICHING"),
        (
            r#"{"on_hold":{"held":{"waiting":{"until":"2023-11-16T22:13:20Z"}}}}"#,
            "ON_HOLD WAITING +2d",
        ),
        (r#"{"waiting":{"until":"2023-11-14T22:13:20Z"}}"#, "WAITING"),
        (r#""compiling""#, "COMPILING"),
        (r#"{"approving":{"any_data":true}}"#, "APPROVING data"),
        (r#"{"delayed":{"until":"2023-11-14T22:13:20Z"}}"#, "DELAYED"),
        (r#""secondary""#, "SECONDARY"),
        (r#""secondary_approving""#, "SECONDARY_APPROVING"),
        (
            r#"{"secondary_completed":{"completed_at":"2023-11-14T22:13:20Z"}}"#,
            "SECONDARY_COMPLETED",
        ),
        (
            r#"{"downloadable":{"completed_at":"2023-11-14T22:13:20Z","until":"2023-11-28T22:13:20Z"}}"#,
            "DOWNLOADABLE +14d",
        ),
        (
            r#"{"view_categories":{"completed_at":"2023-11-14T22:13:20Z","until":"2023-11-28T22:13:20Z"}}"#,
            "VIEW_CATEGORIES +14d",
        ),
        (r#"{"completed":{"completed_at":"2023-11-14T22:13:20Z"}}"#, "COMPLETED"),
        (r#"{"canceled":{"canceled_at":"2023-11-14T22:13:20Z"}}"#, "CANCELED"),
        (r#"{"revoked":{"revoked_at":"2023-11-14T22:13:20Z"}}"#, "REVOKED"),
        (
            r#"{"failed_verification":{"failed_at":"2023-11-14T22:13:20Z"}}"#,
            "FAILED_VERIFICATION",
        ),
    ];
    assert_eq!(kept.len(), DsrStatus::ALL.len());
    for (text, name) in kept {
        assert_eq!(serde_json::from_str::<DsrState>(text).unwrap(), state(name), "{name}");
        assert_eq!(serde_json::to_string(&state(name)).unwrap(), text);
    }
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let deliveries = prop_oneof![
        Just(Delivery::Nothing),
        Just(Delivery::Files),
        Just(Delivery::Categories)
    ];
    (0i64..3, prop::option::of(0i64..3), any::<[bool; 3]>(), deliveries).prop_map(
        |(waiting, delay, flags, delivery)| Rules {
            action: Action::Erasure,
            waiting: days(waiting),
            delay: delay.map(|time| DelayRule {
                preview: Action::Access,
                time: days(time),
            }),
            requires_review: flags[0],
            requires_secondary_review: flags[1],
            skip_secondary_if_no_files: flags[2],
            delivery,
            availability: days(2),
            available_until: None,
            requires_approved_plan: false,
        },
    )
}

proptest! {
    #[test]
    fn no_order_of_events_panics_or_reopens_what_is_closed_but_by_a_restart(
        rules in any_rules(),
        events in prop::collection::vec((0usize..EVENTS.len(), 0i64..3), 0..60),
    ) {
        let mut state = DsrState::RequestMade;
        let mut now = NOW;
        let mut secondary_begun = false;
        for (event, later) in events {
            now += days(later);
            let (_, event) = EVENTS[event];
            let Ok((next, effects)) = state.clone().step(event, &rules, now) else { continue };
            prop_assert!(state.is_open() || !next.is_open() || event == DsrEvent::Restarted);
            // What is over asks nobody for anything; the runs of the phase it left are closed.
            let harmless = |effect: &DsrEffect| match effect {
                DsrEffect::WakeAt(_) | DsrEffect::Tell(_) => true,
                DsrEffect::OpenRuns => state.phase().is_some(),
                DsrEffect::SettleIdentities => false,
            };
            prop_assert!(next.is_open() || effects.iter().all(harmless));
            if let DsrState::OnHold { held } = &next {
                prop_assert!(held.is_open() && held.status() != DsrStatus::OnHold);
            }
            for effect in effects {
                if let DsrEffect::WakeAt(at) = effect {
                    // A request that was parked past its time wakes at once.
                    prop_assert!(at > now || event == DsrEvent::Resumed);
                }
            }
            secondary_begun = match event {
                DsrEvent::Restarted => false,
                _ => secondary_begun || next == DsrState::Secondary,
            };
            if secondary_begun {
                prop_assert!(!matches!(next.status(), DsrStatus::Canceled | DsrStatus::Revoked));
            }
            state = next;
        }
    }
}
