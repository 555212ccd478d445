//! The lifecycle as a picture, drawn from the step function itself: `docs/requests.md` shows what this draws.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use super::{
    DsrStatus,
    tests::{EVENTS, NOW, one_phase, state, two_phases},
};
use crate::dsr::{DelayRule, Delivery, Rules};

/// Between these lines of the page stands what is drawn.
const MARKS: (&str, &str) = ("<!-- drawn from the step function -->\n", "<!-- /drawn -->\n");
/// Set to anything, it has the page written anew.
const DRAW: &str = "ANTUMBRA_DRAW";

/// Every state, with its time over where it waits for one.
const STATES: [&str; 16] = [
    "REQUEST_MADE",
    "ENRICHING",
    "WAITING",
    "COMPILING",
    "APPROVING data",
    "DELAYED",
    "SECONDARY",
    "SECONDARY_APPROVING",
    "SECONDARY_COMPLETED",
    "DOWNLOADABLE",
    "VIEW_CATEGORIES",
    "COMPLETED",
    "CANCELED",
    "REVOKED",
    "FAILED_VERIFICATION",
    "ON_HOLD ENRICHING",
];

/// What a state knows makes several of one: whether anything was found, and what is held.
const VARIANTS: [&str; 2] = ["APPROVING", "ON_HOLD WAITING"];

/// What an event is called in the picture; what can happen almost everywhere stands in a list below it.
fn word(event: &str) -> Option<&'static str> {
    Some(match event {
        "begun" => "begun",
        "settled" => "every identifier is settled",
        "unverified" => "not verified in time",
        "rule cancels" => "a preflight cancels it",
        "rule holds" => "a preflight holds it",
        "time" => "time is over",
        "early" => "begun early",
        "found data" | "found nothing" => "every silo is done",
        "approved" => "approved",
        "withdrawn" => "withdrawn",
        "canceled" | "held" | "resumed" | "restarted" => return None,
        other => panic!("the event {other} has no word"),
    })
}

/// Every set of rules that may lead elsewhere than another.
fn rules() -> Vec<Rules> {
    let none = jiff::SignedDuration::ZERO;
    let mut at_once = two_phases();
    at_once.delay = at_once.delay.map(|delay| DelayRule { time: none, ..delay });
    let mut all = vec![one_phase(), two_phases(), at_once];
    let mut vary = |change: &dyn Fn(&mut Rules)| {
        let mut changed = all.clone();
        changed.iter_mut().for_each(change);
        all.extend(changed);
    };
    vary(&|rules| rules.waiting = none);
    vary(&|rules| rules.requires_review = !rules.requires_review);
    vary(&|rules| rules.requires_secondary_review = !rules.requires_secondary_review);
    vary(&|rules| rules.skip_secondary_if_no_files = !rules.skip_secondary_if_no_files);
    vary(&|rules| rules.delivery = Delivery::Nothing);
    vary(&|rules| rules.delivery = Delivery::Categories);
    all
}

fn drawn() -> String {
    let statuses = STATES.map(|text| state(text).status());
    let place = |status: DsrStatus| {
        statuses
            .iter()
            .position(|other| *other == status)
            .expect("every state is listed")
    };
    let mut ways: BTreeMap<(usize, usize), BTreeSet<&str>> = BTreeMap::new();
    let mut lists: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for text in STATES.iter().chain(&VARIANTS) {
        let from = place(state(text).status());
        for (name, event) in EVENTS {
            for rules in rules() {
                let Ok((to, _)) = state(text).step(event, &rules, NOW) else {
                    continue;
                };
                match word(name) {
                    Some(word) => ways.entry((from, place(to.status()))).or_default().insert(word),
                    None => lists.entry(name).or_default().insert(from),
                };
            }
        }
    }
    let mut text = String::from("```mermaid\nstateDiagram-v2\n    [*] --> REQUEST_MADE\n");
    for ((from, to), words) in ways {
        let words: Vec<&str> = words.into_iter().collect();
        writeln!(
            text,
            "    {} --> {}: {}",
            statuses[from],
            statuses[to],
            words.join(" or ")
        )
        .expect("text takes text");
    }
    for (end, _) in STATES.iter().enumerate().filter(|(_, text)| !state(text).is_open()) {
        writeln!(text, "    {} --> [*]", statuses[end]).expect("text takes text");
    }
    text.push_str("```\n\n");
    for (event, what) in [
        ("canceled", "It can be canceled"),
        ("held", "It can be put on hold, and be resumed where it stood,"),
        ("restarted", "It can be restarted"),
    ] {
        let states: Vec<String> = lists[event]
            .iter()
            .map(|place| format!("`{}`", statuses[*place]))
            .collect();
        let states = if states.len() == STATES.len() {
            "any state".into()
        } else {
            states.join(", ")
        };
        writeln!(text, "- {what} in {states}.").expect("text takes text");
    }
    text
}

#[test]
fn the_picture_in_the_docs_is_drawn_from_the_step_function() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/requests.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(MARKS.0).expect("the page has a place for the picture");
    let (shown, after) = rest.split_once(MARKS.1).expect("the place has an end");
    let drawn = drawn();
    if std::env::var_os(DRAW).is_some() {
        std::fs::write(path, [before, MARKS.0, &drawn, MARKS.1, after].concat()).unwrap();
    } else {
        assert_eq!(shown, drawn, "{DRAW}=1 draws it anew");
    }
}

#[test]
fn every_status_is_in_the_picture() {
    let listed: BTreeSet<u8> = STATES.map(|text| state(text).status().code()).into();
    assert_eq!(listed, DsrStatus::ALL.map(DsrStatus::code).into());
}
