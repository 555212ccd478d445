//! Preflights, event by event, and which of them a request has.

use std::time::Duration;

use super::*;
use crate::{
    dsr::{DsrState, IdentifierSource, Origin, PlanMarks, Rules, SiloChoice},
    organization::{ActionId, ActionSettings},
};

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 0);

const STATES: [(&str, PreflightState); 7] = [
    ("WAITING_ON_DEPENDENCIES", PreflightState::WaitingOnDependencies),
    ("QUEUED", PreflightState::Queued),
    ("WAITING", PreflightState::Waiting),
    ("ACTION_REQUIRED", PreflightState::ActionRequired(Reason::ForPerson)),
    ("ERROR", PreflightState::Error(Reason::NotAccepted)),
    ("RESOLVED", PreflightState::Resolved),
    ("SKIPPED", PreflightState::Skipped),
];

const EVENTS: [(&str, PreflightEvent); 10] = [
    ("released", PreflightEvent::Released),
    ("begun", PreflightEvent::Begun),
    (
        "refused",
        PreflightEvent::Refused {
            last: false,
            why: Reason::NotAccepted,
        },
    ),
    (
        "refused at last",
        PreflightEvent::Refused {
            last: true,
            why: Reason::NotAccepted,
        },
    ),
    ("stuck", PreflightEvent::Stuck(Reason::ForPerson)),
    ("answered", PreflightEvent::Answered),
    ("nothing found", PreflightEvent::NothingFound),
    ("timed out", PreflightEvent::TimedOut(Reason::NotInTime)),
    ("passed over", PreflightEvent::PassedOver),
    ("retried", PreflightEvent::Retried),
];

fn named<T: Copy>(all: &[(&str, T)], name: &str) -> T {
    let found = all.iter().find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("nothing is called {name}")).1
}

#[test]
fn what_follows_what_and_everything_else_is_refused() {
    let table = "
        WAITING_ON_DEPENDENCIES : released        => QUEUED
        WAITING_ON_DEPENDENCIES : stuck           => ACTION_REQUIRED
        WAITING_ON_DEPENDENCIES : answered        => RESOLVED
        WAITING_ON_DEPENDENCIES : nothing found   => SKIPPED
        WAITING_ON_DEPENDENCIES : passed over     => SKIPPED
        WAITING_ON_DEPENDENCIES : retried         => WAITING_ON_DEPENDENCIES
        QUEUED                  : begun           => WAITING
        QUEUED                  : refused         => QUEUED
        QUEUED                  : refused at last => ERROR
        QUEUED                  : stuck           => ACTION_REQUIRED
        QUEUED                  : answered        => RESOLVED
        QUEUED                  : nothing found   => SKIPPED
        QUEUED                  : timed out       => ERROR
        QUEUED                  : passed over     => SKIPPED
        QUEUED                  : retried         => WAITING_ON_DEPENDENCIES
        WAITING                 : begun           => WAITING
        WAITING                 : refused         => WAITING
        WAITING                 : refused at last => ERROR
        WAITING                 : stuck           => ACTION_REQUIRED
        WAITING                 : answered        => RESOLVED
        WAITING                 : nothing found   => SKIPPED
        WAITING                 : timed out       => ERROR
        WAITING                 : passed over     => SKIPPED
        WAITING                 : retried         => WAITING_ON_DEPENDENCIES
        ACTION_REQUIRED         : answered        => RESOLVED
        ACTION_REQUIRED         : nothing found   => SKIPPED
        ACTION_REQUIRED         : passed over     => SKIPPED
        ACTION_REQUIRED         : retried         => WAITING_ON_DEPENDENCIES
        ERROR                   : begun           => WAITING
        ERROR                   : refused         => ERROR
        ERROR                   : refused at last => ERROR
        ERROR                   : answered        => RESOLVED
        ERROR                   : nothing found   => SKIPPED
        ERROR                   : timed out       => ERROR
        ERROR                   : passed over     => SKIPPED
        ERROR                   : retried         => WAITING_ON_DEPENDENCIES
        RESOLVED                : retried         => WAITING_ON_DEPENDENCIES
        SKIPPED                 : retried         => WAITING_ON_DEPENDENCIES
    ";
    let mut expected = std::collections::BTreeMap::new();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (before, after) = line.split_once("=>").unwrap();
        let (from, event) = before.split_once(':').unwrap();
        expected.insert((from.trim().to_owned(), event.trim().to_owned()), after.trim());
        named(&STATES, from.trim());
        named(&EVENTS, event.trim());
    }
    for (from, state) in STATES {
        for (name, event) in EVENTS {
            let wanted = expected.get(&(from.to_owned(), name.to_owned())).copied();
            match (state.step(event), wanted) {
                (Ok(after), Some(wanted)) => assert_eq!(after.status().as_str(), wanted, "{from}: {name}"),
                (Err(refused), None) => {
                    assert_eq!(refused.status, state.status(), "{from}: {name}");
                    assert!(refused.to_string().contains(from), "{refused}");
                }
                (after, wanted) => panic!("{from}: {name} came to {after:?}, not {wanted:?}"),
            }
        }
    }
}

#[test]
fn a_run_stands_in_the_way_until_it_is_resolved_or_skipped_and_says_why() {
    for (name, state) in STATES {
        assert_eq!(state.is_open(), !["RESOLVED", "SKIPPED"].contains(&name), "{name}");
        assert_eq!(
            state.reason().is_some(),
            ["ACTION_REQUIRED", "ERROR"].contains(&name),
            "{name}"
        );
        assert_eq!(state.status().as_str(), name);
    }
}

fn enricher(number: u128, kind: EnricherKind) -> Enricher {
    Enricher::new(EnricherId(Uuid::from_u128(number)), "Lookup".to_owned(), kind, NOW)
}

fn head() -> DsrHead {
    DsrHead {
        id: DsrId(Uuid::nil()),
        state: DsrState::Enriching,
        rules: Rules::under(&ActionSettings::initial(ActionId(Uuid::nil()), Action::Erasure)),
        subject_type: "customer".into(),
        origin: Origin::Api,
        is_silent: false,
        is_test: false,
        skips_receipt: false,
        receipt_template: None,
        locale: "en".into(),
        region: Region {
            country: Some("US".into()),
            subdivision: Some("US-CA".into()),
        },
        silos: SiloChoice::All,
        skipped_enrichers: vec![Uuid::from_u128(9)],
        created_at: NOW,
        due_at: NOW,
        updated_at: NOW,
        round: 0,
        moved_at: None,
        restarted: None,
        plan: PlanMarks::default(),
        deadline: None,
        shredded_at: None,
        core_index: [0; 16],
        equivalence: [0; 16],
    }
}

fn input(kind: IdentifierKind, value: &str, is_verified: bool) -> DsrIdentifier {
    DsrIdentifier {
        id: Uuid::nil(),
        name: kind.as_str().to_owned(),
        kind,
        value: value.to_owned(),
        source: IdentifierSource::Input,
        verified_at: is_verified.then_some(NOW),
        verified_by: Default::default(),
        preflight: None,
    }
}

#[test]
fn an_enricher_runs_for_the_requests_it_is_made_for() {
    let with = |change: &dyn Fn(&mut Enricher)| {
        let mut enricher = enricher(1, EnricherKind::Server);
        change(&mut enricher);
        applies(&enricher, &head())
    };
    type Case<'a> = (&'a str, &'a dyn Fn(&mut Enricher), bool);
    let cases: [Case<'_>; 13] = [
        ("made for all", &|_| {}, true),
        ("its action", &|it| it.actions = [Action::Erasure].into(), true),
        ("another action", &|it| it.actions = [Action::Access].into(), false),
        (
            "its subject type",
            &|it| it.subject_types = ["customer".to_owned()].into(),
            true,
        ),
        (
            "another subject type",
            &|it| it.subject_types = ["employee".to_owned()].into(),
            false,
        ),
        ("its country", &|it| it.regions = vec!["FR".into(), "US".into()], true),
        (
            "its subdivision, in any case",
            &|it| it.regions = vec!["us-ca".into()],
            true,
        ),
        ("another region", &|it| it.regions = vec!["US-NY".into()], false),
        (
            "left out by the submitter",
            &|it| it.id = EnricherId(Uuid::from_u128(9)),
            false,
        ),
        ("paused", &|it| it.is_paused = true, false),
        (
            "the source of submitted identifiers",
            &|it| it.kind = EnricherKind::Sombra,
            false,
        ),
        (
            "a rule about other regions",
            &|it| (it.kind, it.regions) = (EnricherKind::RegionMatch, vec!["US-NY".into()]),
            true,
        ),
        ("a legal hold", &|it| it.kind = EnricherKind::LegalHold, true),
    ];
    for (name, change, expected) in cases {
        assert_eq!(with(change), expected, "{name}");
    }
    let mut lifting = head();
    lifting.rules = Rules::under(&ActionSettings::initial(
        ActionId(Uuid::nil()),
        Action::RemoveFromLegalHold,
    ));
    assert!(
        !applies(&enricher(1, EnricherKind::LegalHold), &lifting),
        "a hold could never end"
    );
}

#[test]
fn each_kind_of_enricher_does_its_part_or_waits_for_a_person_with_a_reason() {
    let email = input(IdentifierKind::Email, "ada@example.test", false);
    let verified = input(IdentifierKind::Email, "ada@example.test", true);
    let phone = input(IdentifierKind::Phone, "+15555550123", false);
    let day = Duration::from_secs(86_400);
    let end = |how| Decision::End(End::Stop(how));
    let stuck = Decision::Stuck;
    use EnricherKind::*;
    let lasts_a_day = |it: &mut Enricher| it.expiration = Some(day);
    type Case<'a> = (
        EnricherKind,
        &'a dyn Fn(&mut Enricher),
        &'a DsrIdentifier,
        bool,
        Decision,
    );
    let cases: Vec<Case<'_>> = vec![
        (AutoApprove, &|_| {}, &email, false, Decision::Verify),
        (
            RegexMatch,
            &|it| it.test_regex = Some("@example[.]test$".into()),
            &email,
            false,
            end(PreflightEnd::OnHold),
        ),
        (
            RegexMatch,
            &|it| it.test_regex = Some("@example[.]org$".into()),
            &email,
            false,
            Decision::Pass,
        ),
        (RegexMatch, &|_| {}, &email, false, stuck(Reason::BadPattern)),
        (
            RegexMatch,
            &|it| it.test_regex = Some("(?!a)b".into()),
            &email,
            false,
            stuck(Reason::BadPattern),
        ),
        (
            RegionMatch,
            &|it| (it.regions, it.transition_request_status) = (vec!["US-CA".into()], Some("CANCELED".into())),
            &email,
            false,
            end(PreflightEnd::Canceled),
        ),
        (
            RegexMatch,
            &|it| {
                (it.test_regex, it.transition_request_status) =
                    (Some("^ada@".into()), Some("FAILED_VERIFICATION".into()))
            },
            &email,
            false,
            end(PreflightEnd::FailedVerification),
        ),
        (
            RegexMatch,
            &|it| (it.test_regex, it.transition_request_status) = (Some("^ada@".into()), Some("COMPILING".into())),
            &email,
            false,
            Decision::End(End::GoOn),
        ),
        (
            RegionMatch,
            &|it| it.regions = vec!["FR".into()],
            &email,
            false,
            Decision::Pass,
        ),
        (LegalHold, &|_| {}, &email, false, Decision::Pass),
        (LegalHold, &|_| {}, &email, true, end(PreflightEnd::OnHold)),
        (WaitPeriod, &|_| {}, &email, false, Decision::WaitUntil(NOW)),
        (WaitPeriod, &lasts_a_day, &email, false, Decision::WaitUntil(NOW + day)),
        (Server, &|_| {}, &email, false, stuck(Reason::NoAddress)),
        (
            Server,
            &|it| it.url = Some("https://lookup.example.test/".into()),
            &email,
            false,
            Decision::Ask,
        ),
        (Email, &|_| {}, &email, false, Decision::Mail),
        (Email, &|_| {}, &verified, false, Decision::Pass),
        (Email, &|_| {}, &phone, false, stuck(Reason::NoMailbox)),
        (Phone, &|_| {}, &phone, false, stuck(Reason::NotSupported)),
        (Person, &|_| {}, &email, false, stuck(Reason::ForPerson)),
        (Database, &|_| {}, &email, false, stuck(Reason::NotSupported)),
        (Looker, &|_| {}, &email, false, stuck(Reason::NotSupported)),
        (GovernmentId, &|_| {}, &email, false, stuck(Reason::NotSupported)),
        (CustomFunction, &|_| {}, &email, false, stuck(Reason::NotSupported)),
    ];
    for (place, (kind, change, input, on_hold, expected)) in cases.into_iter().enumerate() {
        let mut enricher = enricher(1, kind);
        change(&mut enricher);
        assert_eq!(
            decide(&enricher, &head(), input, on_hold, NOW),
            expected,
            "{kind:?}, case {place}"
        );
    }
    let silent = DsrHead {
        is_silent: true,
        ..head()
    };
    assert_eq!(
        decide(&enricher(1, Email), &silent, &email, false, NOW),
        Decision::PassOver
    );
}

#[test]
fn nobody_is_asked_about_an_unchecked_address_but_who_can_say_that_it_is_right() {
    let mut lookup = enricher(1, EnricherKind::Server);
    lookup.input_identifier = Some("email".to_owned());
    lookup.output_identifiers = vec!["loyaltyCard".to_owned()];
    assert!(!takes_unverified(&lookup));
    lookup.output_identifiers.push("email".to_owned());
    assert!(takes_unverified(&lookup));
    assert!(takes_unverified(&enricher(1, EnricherKind::AutoApprove)));
}

/// Runs of enrichers 1, 2, … in these states, and the enrichers, each waiting for those listed.
fn chain(links: &[(PreflightState, &[u128])]) -> (Vec<Enricher>, Vec<Preflight>) {
    let made = links.iter().zip(1..).map(|((state, waits_for), number)| {
        let mut enricher = enricher(number, EnricherKind::Server);
        enricher.depends_on = waits_for
            .iter()
            .map(|other| EnricherId(Uuid::from_u128(*other)))
            .collect();
        let mut run = Preflight::new(
            PreflightId(Uuid::from_u128(number)),
            &head(),
            &enricher,
            Uuid::nil(),
            NOW,
        );
        run.state = *state;
        (enricher, run)
    });
    made.unzip()
}

#[test]
fn a_run_waits_for_open_runs_it_depends_on_and_a_circle_of_them_is_let_go() {
    use PreflightState::{Resolved, Waiting, WaitingOnDependencies as Held};
    let numbers = |ids: BTreeSet<PreflightId>| ids.into_iter().map(|id| id.0.as_u128()).collect::<Vec<_>>();
    type Case<'a> = (&'a [(PreflightState, &'a [u128])], &'a [usize], &'a [u128]);
    let cases: [Case<'_>; 5] = [
        (&[(Held, &[2]), (Waiting, &[])], &[1, 0], &[]),
        (&[(Held, &[2]), (Resolved, &[])], &[0, 0], &[]),
        (&[(Held, &[2]), (Held, &[1])], &[1, 1], &[1, 2]),
        (&[(Held, &[2, 3]), (Held, &[1]), (Waiting, &[])], &[2, 1, 0], &[]),
        (&[(Held, &[1, 7])], &[0], &[]),
    ];
    for (links, blocking, in_circle) in cases {
        let (enrichers, runs) = chain(links);
        let counted: Vec<usize> = enrichers
            .iter()
            .map(|enricher| blockers(enricher, &runs).count())
            .collect();
        assert_eq!(counted, blocking, "{links:?}");
        assert_eq!(numbers(circle(&enrichers, &runs)), in_circle, "{links:?}");
    }
}

#[test]
fn somebody_is_asked_on_the_schedule_of_webhooks() {
    let windows = Windows {
        spread: 0,
        asks: Some(8),
        ..Windows::default()
    };
    let (_, runs) = chain(&[(PreflightState::Queued, &[])]);
    let mut run = runs[0].clone();
    let refused = |last| PreflightEvent::Refused {
        last,
        why: Reason::NotAccepted,
    };
    assert_eq!(run.ask_at(&windows, NOW), Some(NOW));
    for tries in 1..=windows.tries {
        let last = run.is_last_try(&windows);
        assert_eq!(last, tries == windows.tries);
        run.step(refused(last)).unwrap();
        let span = if last { windows.error } else { windows.try_again };
        assert_eq!(run.ask_at(&windows, NOW), Some(NOW + span), "after {tries}");
    }
    run.step(PreflightEvent::Begun).unwrap();
    assert_eq!(run.ask_at(&windows, NOW), Some(NOW + windows.waiting));
    run.step(PreflightEvent::Answered).unwrap();
    assert_eq!(run.ask_at(&windows, NOW), None);
}

#[test]
fn nobody_is_asked_more_often_than_that_nor_after_their_time() {
    let windows = Windows {
        spread: 0,
        asks: Some(3),
        ..Windows::default()
    };
    let (_, runs) = chain(&[(PreflightState::Queued, &[])]);
    let mut silent = runs[0].clone();
    for asked in 1..=3 {
        silent.step(PreflightEvent::Begun).unwrap();
        assert_eq!(silent.was_asked_enough(&windows, NOW), asked == 3);
        assert_eq!(
            silent.ask_at(&windows, NOW),
            Some(NOW + windows.waiting),
            "the last has a day to answer, too"
        );
    }
    silent.step(PreflightEvent::TimedOut(Reason::NoAnswer)).unwrap();
    assert_eq!(silent.ask_at(&windows, NOW), None);
    let mut refusing = runs[0].clone();
    for _ in 0..3 {
        let last = refusing.is_last_try(&windows);
        let why = Reason::NotAccepted;
        refusing.step(PreflightEvent::Refused { last, why }).unwrap();
    }
    assert_eq!(refusing.state, PreflightState::Error(Reason::NotAccepted));
    assert_eq!(refusing.ask_at(&windows, NOW), None);
    refusing.step(PreflightEvent::Retried).unwrap();
    assert!(!refusing.was_asked_enough(&windows, NOW), "a person has it begin anew");

    let mut timed = runs[0].clone();
    timed.ends_at = Some(NOW + Duration::from_secs(3_600));
    timed.step(PreflightEvent::Begun).unwrap();
    assert_eq!(
        timed.ask_at(&windows, NOW),
        timed.ends_at,
        "its time is over before it is asked again"
    );
    let endless = Windows { asks: None, ..windows };
    timed.asked = 1_000;
    assert!(!timed.was_asked_enough(&endless, NOW));
    assert!(timed.was_asked_enough(&endless, NOW + Duration::from_secs(3_600)));
}

#[test]
fn waits_are_spread_as_those_of_silos_are() {
    let windows = Windows::default();
    let (_, mut runs) = chain(&[(PreflightState::Waiting, &[]), (PreflightState::Waiting, &[])]);
    runs[1].id = PreflightId(Uuid::from_u128(0x5eed_0000_5eed));
    let at: Vec<Timestamp> = runs.iter().filter_map(|run| run.ask_at(&windows, NOW)).collect();
    assert_ne!(at[0], at[1]);
    for at in at {
        let wait = at.duration_since(NOW).unsigned_abs();
        assert!(wait >= windows.waiting && wait <= windows.waiting.mul_f64(1.1));
    }
}
