//! Runs and profiles, event by event.

use proptest::prelude::*;

use super::*;

/// Each line: the data points asked for, what happens, then the profile's status and what is known of each data point.
fn check(table: &str) {
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (before, after) = line.split_once("=>").unwrap();
        let (asked, events) = before.split_once(':').unwrap();
        let mut profile = profile_asked_for(asked);
        let mut refused = "";
        for event in events.split(';').map(str::trim).filter(|event| !event.is_empty()) {
            if apply(&mut profile, event).is_err() {
                refused = " refused";
            }
        }
        let known: String = profile
            .data_points
            .iter()
            .map(|point| format!(" {}={:?}", name(point.id), point.answer))
            .collect();
        assert_eq!(
            format!("{}{known}{refused}", profile.status.as_str()),
            after.trim(),
            "{line}"
        );
    }
}

fn profile_asked_for(asked: &str) -> Profile {
    let points = asked.split_whitespace().map(data_point);
    Profile::new(
        ProfileId(Uuid::nil()),
        Uuid::nil(),
        "email".to_owned(),
        RunStatus::Queued,
        points,
    )
}

fn data_point(name: &str) -> DataPointId {
    DataPointId(Uuid::from_u128(u128::from(name.as_bytes()[0])))
}

fn name(id: DataPointId) -> char {
    char::from(u8::try_from(id.0.as_u128()).unwrap())
}

fn verdict(word: &str) -> Verdict {
    match word {
        "READY" | "RESOLVED" => Verdict::Resolved,
        "SKIPPED" => Verdict::Skipped,
        "EXCEPTION" => Verdict::SkippedDueToException,
        "ACTION_REQUIRED" => Verdict::ActionRequired,
        "WAITING" => Verdict::Waiting,
        "ERROR" => Verdict::Error,
        other => panic!("{other}"),
    }
}

fn apply(profile: &mut Profile, event: &str) -> Result<(), Closed> {
    let mut words = event.split_whitespace();
    let verb = words.next().unwrap();
    let words: Vec<&str> = words.collect();
    let said = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)).map(verdict);
    match verb {
        "post" => {
            let given = words
                .iter()
                .filter_map(|word| word.split_once(':'))
                .map(|(point, what)| {
                    (
                        data_point(point),
                        if what == "data" { Given::Data } else { Given::Nothing },
                    )
                });
            profile.hand_over(&given.collect::<Vec<_>>(), said("whole="), said("each="));
        }
        "put" => profile.report(said("whole="), said("this=")),
        "file" => drop(profile.file_came(data_point(words[0]), false)),
        "file+" => drop(profile.file_came(data_point(words[0]), true)),
        "page" => return profile.page_came(data_point(words[0]), Page::New, false).map(drop),
        "last" => return profile.page_came(data_point(words[0]), Page::New, true).map(drop),
        "empty-last" => return profile.page_came(data_point(words[0]), Page::Empty, true).map(drop),
        "accepted" => profile.noticed(Received::Accepted, 5),
        "nobody" => profile.noticed(Received::Nobody, 5),
        "failed" => profile.noticed(Received::Failed, 5),
        other => panic!("{other}"),
    }
    Ok(())
}

#[test]
fn data_points_not_mentioned_end_as_the_status_of_the_call_says() {
    check(
        "
        a b : post a:data                           => QUEUED a=Data b=Awaited
        a b : post a:data ; post b:none             => RESOLVED a=Data b=NoData
        a b : post a:none b:none                    => RESOLVED a=NoData b=NoData
        a b : post a:data whole=READY               => RESOLVED a=Data b=NoData
        a b : post a:data whole=RESOLVED            => RESOLVED a=Data b=NoData
        a b : post whole=READY                      => RESOLVED a=NoData b=NoData
        a b : post a:data whole=ACTION_REQUIRED     => ACTION_REQUIRED a=Data b=NoData
        a b : post a:data whole=SKIPPED             => SKIPPED a=Data b=Skipped
        a b : post whole=EXCEPTION                  => SKIPPED_DUE_TO_EXCEPTION a=SkippedDueToException b=SkippedDueToException
        a b : post a:data whole=WAITING             => WAITING a=Data b=Awaited
        a b : post                                  => QUEUED a=Awaited b=Awaited
        a   : post a:data                           => RESOLVED a=Data
            : post                                  => QUEUED
            : post whole=READY                      => RESOLVED
        ",
    );
}

#[test]
fn the_status_for_profiles_overrides_that_of_the_data_points_in_the_call() {
    check(
        "
        a b : post a:data each=WAITING               => QUEUED a=Partial b=Awaited
        a b : post a:data each=SKIPPED               => QUEUED a=Skipped b=Awaited
        a   : post a:data each=SKIPPED               => SKIPPED a=Skipped
        a   : post a:data each=EXCEPTION             => SKIPPED_DUE_TO_EXCEPTION a=SkippedDueToException
        a b : post a:data each=EXCEPTION ; post b:none each=SKIPPED => SKIPPED_DUE_TO_EXCEPTION a=SkippedDueToException b=Skipped
        a b : post a:data whole=READY each=RESOLVED  => RESOLVED a=Data b=NoData
        a b : post a:data whole=READY each=WAITING   => WAITING a=Partial b=NoData
        ",
    );
}

#[test]
fn a_report_without_data_says_what_becomes_of_the_profile() {
    check(
        "
        a : put                                     => RESOLVED a=NoData
          : put                                     => RESOLVED
        a : put whole=READY                         => RESOLVED a=NoData
          : put whole=SKIPPED                       => SKIPPED
        a : put whole=EXCEPTION                     => SKIPPED_DUE_TO_EXCEPTION a=SkippedDueToException
          : put whole=ACTION_REQUIRED               => ACTION_REQUIRED
        a : put whole=WAITING                       => WAITING a=Awaited
          : put this=ERROR                          => ERROR
          : put this=RESOLVED                       => RESOLVED
          : put whole=WAITING this=RESOLVED         => WAITING
          : put whole=RESOLVED this=WAITING         => WAITING
          : put whole=RESOLVED this=SKIPPED         => SKIPPED
          : put whole=WAITING ; put                 => RESOLVED
        a : file+ a ; put                           => RESOLVED a=Data
        ",
    );
}

#[test]
fn files_and_pages_answer_their_data_point_when_the_last_has_come() {
    check(
        "
        a b : file a                                => QUEUED a=Data b=Awaited
        a b : file a ; post b:data                  => RESOLVED a=Data b=Data
        a   : file+ a                               => QUEUED a=Partial
        a   : file+ a ; file+ a ; file a            => RESOLVED a=Data
        a b : file a ; file+ a                      => QUEUED a=Data b=Awaited
        a   : page a                                => QUEUED a=Partial
        a   : page a ; last a                       => RESOLVED a=Data
        a   : page a ; empty-last a                 => RESOLVED a=Data
        a   : empty-last a                          => RESOLVED a=NoData
        a b : last a ; page a                       => QUEUED a=Data b=Awaited refused
        a   : put whole=ACTION_REQUIRED ; file a    => ACTION_REQUIRED a=Data
        ",
    );
}

#[test]
fn a_notice_is_tried_five_times_and_the_answer_may_be_faster_than_its_receipt() {
    check(
        "
        a : accepted                                => WAITING a=Awaited
        a : nobody                                  => SKIPPED a=Skipped
        a : failed ; failed ; failed ; failed       => QUEUED a=Awaited
        a : failed ; failed ; failed ; failed ; failed => ERROR a=Awaited
        a : failed ; failed ; failed ; failed ; failed ; accepted => WAITING a=Awaited
        a : post a:data ; accepted                  => RESOLVED a=Data
        a : post a:data ; nobody                    => RESOLVED a=Data
        a : post a:data ; failed                    => RESOLVED a=Data
          : put whole=ACTION_REQUIRED ; accepted    => ACTION_REQUIRED
        ",
    );
}

fn run_of(statuses: &str) -> SiloRun {
    let profiles = statuses.split_whitespace().map(|status| {
        let status = RunStatus::ALL
            .into_iter()
            .find(|known| known.as_str() == status)
            .unwrap();
        Profile::new(ProfileId(Uuid::nil()), Uuid::nil(), "email".to_owned(), status, [])
    });
    SiloRun {
        id: RunId(Uuid::nil()),
        request: DsrId(Uuid::nil()),
        phase: Phase::Primary,
        round: 0,
        silo: DataSiloId(Uuid::nil()),
        action: Action::Access,
        created_at: Timestamp::UNIX_EPOCH,
        request_created_at: Timestamp::UNIX_EPOCH,
        profiles: profiles.collect(),
        decided: None,
        waits_for: Vec::new(),
        is_awaited: false,
        abandoned: false,
        manual_days: None,
        confirms_absence: false,
        confirmed_by: None,
        confirms: None,
        contradiction: None,
    }
}

#[test]
fn a_run_is_done_when_every_profile_is_and_otherwise_as_bad_as_its_worst() {
    for (profiles, status) in [
        ("", "SKIPPED"),
        ("RESOLVED", "RESOLVED"),
        ("RESOLVED SKIPPED", "RESOLVED"),
        ("SKIPPED SKIPPED", "SKIPPED"),
        ("SKIPPED SKIPPED_DUE_TO_EXCEPTION", "SKIPPED_DUE_TO_EXCEPTION"),
        ("RESOLVED SKIPPED_DUE_TO_EXCEPTION", "RESOLVED"),
        ("RESOLVED QUEUED", "QUEUED"),
        ("QUEUED REMOTE_PROCESSING", "REMOTE_PROCESSING"),
        ("WAITING REMOTE_PROCESSING QUEUED", "WAITING"),
        ("WAITING ACTION_REQUIRED", "ACTION_REQUIRED"),
        ("ERROR ACTION_REQUIRED RESOLVED", "ERROR"),
    ] {
        assert_eq!(run_of(profiles).status().as_str(), status, "{profiles}");
    }
}

/// What happens to a run of one profile, and what a silo or a person is told who wants it where it cannot be.
fn happens(run: &mut SiloRun, event: &str) -> Result<(), Closed> {
    let id = run.profiles[0].id;
    match event {
        "accepted" => run.profiles[0].noticed(Received::Accepted, 1),
        "nobody" => run.profiles[0].noticed(Received::Nobody, 1),
        "failed" => run.profiles[0].noticed(Received::Failed, 1),
        "asked again" => run.ask_again(),
        "skip" => run.decide(Verdict::Skipped),
        "reopen" => run.decide(Verdict::Waiting),
        said => run.open_profile(id)?.report(Some(verdict(said)), None),
    }
    Ok(())
}

#[test]
fn every_status_takes_every_event_as_this_table_says_and_what_is_closed_refuses_reports() {
    let events = [
        "accepted",
        "nobody",
        "failed",
        "RESOLVED",
        "WAITING",
        "ACTION_REQUIRED",
        "EXCEPTION",
        "skip",
        "reopen",
        "asked again",
    ];
    // In short: W waiting, S skipped, E error, R resolved, A action required, X an exception, Q queued, P remote processing,
    // - refused.
    let table = "
        QUEUED                   : W S E R W A X S W Q
        REMOTE_PROCESSING        : P S E R W A X S W Q
        WAITING                  : W S E R W A X S W Q
        ACTION_REQUIRED          : A S E R W A X S W Q
        ERROR                    : W S E R W A X S W Q
        RESOLVED                 : R R R - - - - R W Q
        SKIPPED                  : S S S - - - - S W Q
        SKIPPED_DUE_TO_EXCEPTION : X X X - - - - X W Q
    ";
    let lines: Vec<&str> = table.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), RunStatus::ALL.len());
    for line in lines {
        let (from, cells) = line.split_once(':').unwrap();
        let from = from.trim();
        let cells: Vec<&str> = cells.split_whitespace().collect();
        assert_eq!(cells.len(), events.len(), "{from}");
        for (event, cell) in events.into_iter().zip(cells) {
            let mut run = run_of(from);
            let outcome = happens(&mut run, event);
            let shown = match (outcome, run.status()) {
                (Err(Closed), status) => {
                    assert_eq!(status.as_str(), from, "what is refused changes nothing");
                    assert_eq!(Closed.to_string(), "nothing more is awaited here");
                    "-"
                }
                (Ok(()), RunStatus::Waiting) => "W",
                (Ok(()), RunStatus::Skipped) => "S",
                (Ok(()), RunStatus::Error) => "E",
                (Ok(()), RunStatus::Resolved) => "R",
                (Ok(()), RunStatus::ActionRequired) => "A",
                (Ok(()), RunStatus::SkippedDueToException) => "X",
                (Ok(()), RunStatus::Queued) => "Q",
                (Ok(()), RunStatus::RemoteProcessing) => "P",
            };
            assert_eq!(shown, cell, "{from}: {event}");
        }
    }
}

#[test]
fn a_run_is_polled_when_all_that_is_open_of_it_waits_under_a_name_of_the_silos() {
    let mut run = run_of("WAITING WAITING RESOLVED");
    assert!(!run.is_polled());
    run.profiles[0].poll_id = Some(vec![1]);
    assert!(!run.is_polled());
    run.profiles[1].poll_id = Some(vec![2]);
    assert!(run.is_polled());
    assert!(!run_of("").is_polled());
}

#[test]
fn a_person_can_close_reopen_and_ask_again() {
    let mut run = run_of("ERROR RESOLVED");
    run.decide(Verdict::Skipped);
    assert_eq!(run.status(), RunStatus::Resolved);
    run.decide(Verdict::Waiting);
    assert_eq!(run.status(), RunStatus::Waiting);

    let mut run = run_of("ERROR RESOLVED");
    run.ask_again();
    assert_eq!(run.profiles[0].status, RunStatus::Queued);
    assert_eq!(run.profiles[1].status, RunStatus::Resolved);

    let mut nothing_asked = run_of("");
    nothing_asked.decide(Verdict::ActionRequired);
    assert_eq!(nothing_asked.status(), RunStatus::ActionRequired);
}

#[test]
fn an_unfinished_profile_is_brought_up_again_after_its_window() {
    let windows = Windows {
        spread: 0,
        ..Windows::default()
    };
    let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let hours = |status: RunStatus, failed: u32, retry_after: Option<&str>| {
        let mut profile = profile_asked_for("");
        profile.status = status;
        profile.failed_notices = failed;
        profile.retry_after = retry_after.map(|at| at.parse().unwrap());
        profile
            .notice_at(&windows, now)
            .map(|at| (at.as_second() - now.as_second()) / 3600)
    };
    assert_eq!(hours(RunStatus::Queued, 0, None), Some(0));
    assert_eq!(hours(RunStatus::Queued, 1, None), Some(1));
    assert_eq!(hours(RunStatus::Waiting, 0, None), Some(24));
    assert_eq!(hours(RunStatus::Waiting, 3, None), Some(1));
    assert_eq!(hours(RunStatus::Waiting, 0, Some("2026-03-04T00:00:00Z")), Some(72));
    assert_eq!(hours(RunStatus::Waiting, 0, Some("2026-02-04T00:00:00Z")), Some(24));
    assert_eq!(hours(RunStatus::RemoteProcessing, 0, None), Some(12));
    assert_eq!(hours(RunStatus::ActionRequired, 0, None), Some(7 * 24));
    assert_eq!(hours(RunStatus::Error, 5, None), Some(24));
    for closed in [
        RunStatus::Resolved,
        RunStatus::Skipped,
        RunStatus::SkippedDueToException,
    ] {
        assert_eq!(hours(closed, 0, None), None);
    }
}

#[test]
fn waits_are_spread_by_a_tenth_at_most_and_never_shorter_than_they_say() {
    let (windows, now) = (Windows::default(), Timestamp::UNIX_EPOCH);
    let waits: std::collections::BTreeSet<i64> = (0..200)
        .map(|number| {
            let mut profile = profile_asked_for("");
            profile.id = ProfileId(Uuid::from_u128(number));
            profile.status = RunStatus::Waiting;
            profile.notice_at(&windows, now).unwrap().as_second()
        })
        .collect();
    let day = 24 * 3600;
    assert!(*waits.first().unwrap() >= day && *waits.last().unwrap() <= day + day / 10);
    assert!(waits.len() > 100);
}

#[test]
fn what_a_silo_polls_for_and_what_people_do_by_hand_have_windows_of_their_own() {
    let windows = Windows {
        spread: 0,
        ..Windows::default()
    };
    let now = Timestamp::UNIX_EPOCH;
    let mut run = run_of("WAITING");
    let hours = |run: &SiloRun| {
        let at = run.profiles[0].notice_at(&run.windows(&windows), now);
        at.unwrap().as_second() / 3600
    };
    assert_eq!(hours(&run), 24);
    run.manual_days = Some(30);
    assert_eq!(hours(&run), 30 * 24);
    run.profiles[0].poll_id = Some(vec![1]);
    assert_eq!(hours(&run), 12);
}

#[test]
fn a_work_list_shows_what_was_reported_undone_after_its_window_and_leaves_a_persons_task_to_the_person() {
    let windows = Windows {
        spread: 0,
        ..Windows::default()
    };
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let hour = |hours: u64| start + Duration::from_secs(3600 * hours);
    // After how many hours it is shown, of those that were tried.
    let shown_after = |profile: &Profile| {
        let tried = [0, 11, 12, 23, 24, 71, 72, 24 * 29, 24 * 30, 24 * 400];
        tried.into_iter().find(|hours| profile.is_due(&windows, hour(*hours)))
    };
    let reported = |verdict, retry_after: Option<u64>, poll_id: bool| {
        let mut profile = profile_asked_for("");
        profile.report(Some(verdict), None);
        profile.retry_after = retry_after.map(hour);
        profile.poll_id = poll_id.then(|| vec![1]);
        profile.put_off(start);
        profile
    };
    assert_eq!(
        shown_after(&profile_asked_for("")),
        Some(0),
        "what nobody has reported on"
    );
    assert_eq!(shown_after(&reported(Verdict::Waiting, None, false)), Some(24));
    assert_eq!(shown_after(&reported(Verdict::Waiting, Some(72), false)), Some(72));
    assert_eq!(
        shown_after(&reported(Verdict::Waiting, Some(0), false)),
        Some(24),
        "a time that is over"
    );
    assert_eq!(shown_after(&reported(Verdict::Waiting, None, true)), Some(12));
    assert_eq!(shown_after(&reported(Verdict::Error, None, false)), Some(24));
    assert_eq!(shown_after(&reported(Verdict::ActionRequired, None, false)), None);
    assert_eq!(shown_after(&reported(Verdict::Resolved, None, false)), None);

    let mut again = run_of("");
    again.profiles.push(reported(Verdict::ActionRequired, None, false));
    again.ask_again();
    assert_eq!(shown_after(&again.profiles[0]), Some(0), "somebody has it asked again");
    let mut waits = run_of("");
    waits.profiles.push(reported(Verdict::Error, None, false));
    waits.decide(Verdict::Waiting);
    assert_eq!(
        shown_after(&waits.profiles[0]),
        Some(0),
        "somebody says that the answer is still to come"
    );
}

#[test]
fn a_silo_that_is_asked_again_may_answer_in_pages_again() {
    let mut run = run_of("");
    run.profiles.push(profile_asked_for("a b"));
    for ended in ["empty-last a", "last b"] {
        assert_eq!(apply(&mut run.profiles[0], ended), Ok(()));
    }
    assert_eq!(run.status(), RunStatus::Resolved);
    assert_eq!(apply(&mut run.profiles[0], "page a"), Err(Closed));
    run.ask_again();
    for page in ["page a", "last a", "page b", "empty-last b"] {
        assert_eq!(apply(&mut run.profiles[0], page), Ok(()), "{page}");
    }
    assert_eq!(run.status(), RunStatus::Resolved);
}

#[test]
fn after_a_rest_a_silo_is_told_at_once_what_it_has_not_taken() {
    let windows = Windows {
        spread: 0,
        ..Windows::default()
    };
    let now: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let hours = |status: RunStatus, failed: u32, retry_after: Option<&str>| {
        let mut profile = profile_asked_for("");
        profile.status = status;
        profile.failed_notices = failed;
        profile.retry_after = retry_after.map(|at| at.parse().unwrap());
        let at = profile.notice_after_rest(&windows, now)?;
        Some((at.as_second() - now.as_second()) / 3600)
    };
    assert_eq!(hours(RunStatus::Queued, 0, None), Some(0));
    assert_eq!(hours(RunStatus::Queued, 3, None), Some(0));
    assert_eq!(hours(RunStatus::Error, 5, None), Some(0));
    assert_eq!(hours(RunStatus::Waiting, 0, None), Some(24));
    assert_eq!(hours(RunStatus::Waiting, 2, None), Some(0));
    assert_eq!(hours(RunStatus::Waiting, 0, Some("2026-03-04T00:00:00Z")), Some(72));
    assert_eq!(hours(RunStatus::Resolved, 0, None), None);
}

const EVENTS: [&str; 27] = [
    "post a:data",
    "post a:none",
    "post b:none c:data",
    "post a:data whole=READY",
    "post b:none whole=SKIPPED",
    "post whole=EXCEPTION",
    "post a:data each=WAITING",
    "post a:data whole=RESOLVED each=ERROR",
    "post b:data each=SKIPPED",
    "post whole=WAITING",
    "put",
    "put this=SKIPPED",
    "put this=EXCEPTION",
    "put whole=READY this=WAITING",
    "put whole=ERROR",
    "put this=ACTION_REQUIRED",
    "file a",
    "file+ a",
    "file+ c",
    "page b",
    "last b",
    "empty-last a",
    "accepted",
    "nobody",
    "failed",
    "decide RESOLVED",
    "again",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, in any order, late and repeated: nothing is closed while any data point is awaited, a run is closed
    /// when every profile is and no sooner, and whatever is closed says when and on whose word.
    #[test]
    fn nothing_counts_as_done_before_all_of_it_is(
        events in prop::collection::vec((0..2_usize, prop::sample::select(EVENTS.to_vec())), 0..12),
        confirms: bool,
    ) {
        let mut run = run_of("QUEUED WAITING");
        run.confirms = confirms.then_some(RunId(Uuid::nil()));
        for (number, profile) in run.profiles.iter_mut().enumerate() {
            *profile = profile_asked_for("a b");
            profile.id = ProfileId(Uuid::from_u128(number as u128));
        }
        for (second, (place, event)) in events.into_iter().enumerate() {
            let before = run.clone();
            let now = Timestamp::from_second(second as i64 + 1).unwrap();
            let is_open = run.open_profile(ProfileId(Uuid::from_u128(place as u128))).is_ok();
            match event {
                "again" => run.ask_again(),
                "decide RESOLVED" if !run.is_contradicted() => run.decide(Verdict::Resolved),
                "decide RESOLVED" => run.resolve(Resolution::Accepted { by: Actor::Operator, at: now, reason: vec![] }),
                // What a silo says of something that is closed is refused before it gets here.
                _ if is_open => apply(&mut run.profiles[place], event).unwrap_or(()),
                _ => {}
            }
            run.follow(&before, now, Proof::Reply { status: 200 });
            let mut all_closed = true;
            for profile in &run.profiles {
                let closed = profile.status.is_terminal();
                all_closed &= closed;
                prop_assert!(!closed || profile.data_points.iter().all(|point| point.answer.is_final()), "{event}");
                prop_assert_eq!((profile.answered_at.is_some(), profile.proof.is_some()), (closed, closed));
                for point in &profile.data_points {
                    prop_assert_eq!(point.answered_at.is_some(), point.answer.is_final());
                }
            }
            prop_assert_eq!(run.is_open(), !all_closed);
            // Data that should have been erased closes nothing before somebody has decided about it.
            let shows_data = run.profiles.iter().any(|profile| profile.status.is_terminal() && profile.has_data());
            prop_assert!(!(confirms && shows_data && run.is_contradicted()));
        }
    }
}
