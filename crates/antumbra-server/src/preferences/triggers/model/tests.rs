//! The rule by which triggers fire, in tables.
//!
//! A record or a write is a list of answers: `A+@3` allows purpose A at time 3, `-` refuses it. `y`, `n` and `c` after the
//! time answer yes or no to the topic under it, or clear it; `!` forces triggers and `~` skips them.

use super::*;
use crate::preferences::{
    model::{Choice, Consent, RecordId},
    moment::Moment,
};

fn number(letter: char) -> u32 {
    u32::from(letter)
}

fn trigger(waits: &str) -> Trigger {
    let condition = |one: &str| Condition {
        purpose: number(one.chars().next().unwrap()),
        enabled: one.ends_with('+'),
    };
    Trigger {
        id: TriggerId(Uuid::nil()),
        name: waits.to_owned(),
        conditions: waits.split(' ').map(condition).collect(),
        action: Action::ContactOptOut,
        subject_type: SubjectTypeId(Uuid::nil()),
        silos: Vec::new(),
        is_silent: true,
        allow_unauthenticated: false,
        is_active: true,
        created_at: Timestamp::UNIX_EPOCH,
        workflow: None,
    }
}

/// What is said, and what it wants of triggers.
fn says(text: &str) -> (Write, Workflow) {
    let mut workflow = Workflow::default();
    let mut purposes = Vec::new();
    for said in text.split(' ').filter(|said| !said.is_empty()) {
        let purpose = number(said.chars().next().unwrap());
        let (_, rest) = said.split_once('@').unwrap();
        let digits = rest.chars().take_while(char::is_ascii_digit).collect::<String>();
        let topic = rest.chars().find_map(|flag| match flag {
            'y' => Some((7, Some(Choice::Boolean(true)))),
            'n' => Some((7, Some(Choice::Boolean(false)))),
            'c' => Some((7, None)),
            _ => None,
        });
        purposes.push(PurposeWrite {
            purpose,
            at: Moment(digits.parse().unwrap()),
            consent: Consent {
                enabled: said.chars().nth(1) == Some('+'),
                source_system: None,
            },
            topics: topic.into_iter().collect(),
        });
        let settings = RequestSettings {
            urge: Urge::of(Some(rest.contains('~')), Some(rest.contains('!'))),
            ..RequestSettings::default()
        };
        workflow.purposes.push((purpose, settings));
    }
    let latest = purposes.iter().map(|said| said.at).max().unwrap_or(Moment(0));
    let write = Write {
        timestamp: latest,
        confirmed: true,
        identifiers: Vec::new(),
        user_id: None,
        purposes,
        strings: Vec::new(),
        metadata: Vec::new(),
        metadata_timestamp: latest,
        birth_date: None,
        updated: None,
        prompted: None,
    };
    (write, workflow)
}

fn record(text: &str) -> Record {
    let mut record = Record::empty();
    record.apply(&says(text).0);
    record
}

/// Purpose and cause of what fires.
fn fires(waits: &str, before: &Record, after: Record, said: &str, urge: Urge) -> String {
    let (write, mut workflow) = says(said);
    workflow.urge = urge;
    let mut after = after;
    after.apply(&write);
    let taken = Taken {
        before,
        after: &after,
        write: &write,
        workflow: &workflow,
    };
    let triggers = [trigger(waits)];
    let fired = firings(&triggers, &taken);
    let shown = fired.iter().map(|firing| {
        let letter = char::from_u32(firing.purpose).unwrap();
        format!("{letter} {:?}", firing.cause).to_lowercase()
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_trigger_fires_when_a_purpose_of_its_condition_changes_and_all_of_it_holds() {
    use Urge::{Force, None, Skip};
    for (waits, before, said, urge, expected) in [
        // The first answer is a change, and so is another one.
        ("A-", "", "A-@1", None, "a change"),
        ("A-", "A+@1", "A-@2", None, "a change"),
        ("A-", "A+@1", "A-@1", None, "a change"),
        ("A-", "", "A+@1", None, ""),
        // A replay is none, nor is the same answer once more.
        ("A-", "A-@1", "A-@1", None, ""),
        ("A-", "A-@1", "A-@2", None, ""),
        // Force fires without a change; what changed counts as changed.
        ("A-", "A-@1", "A-@1", Force, "a insistence"),
        ("A-", "A-@1", "A-@1!", None, "a insistence"),
        ("A-", "A+@1", "A-@2!", None, "a change"),
        ("A-", "A+@1", "A+@2!", None, ""),
        // Skip beats force, for a purpose and for the whole write.
        ("A-", "A+@1", "A-@2~", None, ""),
        ("A-", "A+@1", "A-@2!~", None, ""),
        ("A-", "A+@1", "A-@2~", Force, ""),
        ("A-", "A+@1", "A-@2", Skip, ""),
        ("A-", "A+@1", "A-@2!", Skip, ""),
        // What comes too late fires nothing, whatever is asked.
        ("A-", "A+@3", "A-@2", None, ""),
        ("A-", "A-@3", "A-@2", Force, ""),
        ("A-", "A-@3", "A+@2!", None, ""),
        // All conditions hold afterwards; a purpose without an answer does not.
        ("A- B+", "A+@1 B+@1", "A-@2", None, "a change"),
        ("A- B+", "A+@1 B-@1", "A-@2", None, ""),
        ("A- B+", "A+@1", "A-@2", None, ""),
        ("A- B+", "A-@1 B-@1", "B+@2", None, "b change"),
        ("A-", "A+@1 B+@1", "B-@2", None, ""),
        ("A-", "A-@1 B+@1", "B-@2!", None, ""),
        // Once for a write; it is about the first that changed, in the order of the condition.
        ("A- B-", "A+@1 B+@1", "B-@2 A-@2", None, "a change"),
        ("B- A-", "A+@1 B+@1", "A-@2 B-@2", None, "b change"),
        ("A- B-", "A-@1 B+@1", "A-@1! B-@2", None, "a change"),
        ("A- B-", "A+@1 B+@1", "A-@2~ B-@2", None, "b change"),
        // An answer under the purpose is a change of it, if it is another.
        ("A+", "A+@1", "A+@2y", None, "a change"),
        ("A+", "A+@1y", "A+@2y", None, ""),
        ("A+", "A+@1y", "A+@2n", None, "a change"),
        ("A+", "A+@1y", "A+@2c", None, "a change"),
        ("A+", "A+@1", "A+@2c", None, ""),
        ("A-", "A+@1", "A+@2y", None, ""),
        ("A+", "A+@3y", "A+@2n", None, ""),
        ("A+", "A+@3", "A+@2y", None, "a change"),
    ] {
        let before = record(before);
        let fired = fires(waits, &before, before.clone(), said, urge);
        assert_eq!(fired, expected, "{waits} waits, {said} is said, {urge:?}");
    }
}

#[test]
fn what_another_record_brings_in_counts_as_changed() {
    for (survivor, other, said, expected) in [
        ("A+@1", "A-@5", "B+@6", "a change"),
        ("A+@1", "A-@5", "A+@3", "a change"),
        ("A-@1", "A-@5", "B+@6", ""),
        ("A-@5", "A+@1", "B+@6", ""),
        ("A+@1", "A-@5", "A+@6", ""),
        ("A+@1", "A-@5", "A-@6~", ""),
        ("", "A-@5", "B+@6", "a change"),
    ] {
        let before = record(survivor);
        let mut united = before.clone();
        united.absorb(record(other));
        united.absorbed.push(RecordId(Uuid::nil()));
        let fired = fires("A-", &before, united, said, Urge::None);
        assert_eq!(fired, expected, "{survivor} and {other}, {said}");
    }
}

#[test]
fn settings_of_several_purposes_become_one_in_their_order() {
    let (write, mut workflow) = says("A-@2 B-@2 C-@2");
    workflow.locale = Some("de".to_owned());
    let label = |key: &str, value: &str| (key.to_owned(), vec![value.to_owned()]);
    for (at, (_, settings)) in workflow.purposes.iter_mut().enumerate() {
        settings.attributes = vec![label("Tags", &at.to_string())];
        settings.is_test = Some(at == 0);
        settings.subject_type = Some(format!("type-{at}"));
    }
    workflow.purposes[0].1.is_silent = Some(false);
    let after = record("A-@2 B-@2 C-@2");
    let before = record("A+@1 B+@1 C+@1");
    let taken = Taken {
        before: &before,
        after: &after,
        write: &write,
        workflow: &workflow,
    };
    let triggers = [trigger("B- A-")];
    let [firing] = &firings(&triggers, &taken)[..] else {
        panic!("one fires");
    };
    let expected = RequestSettings {
        attributes: vec![label("Tags", "0"), label("Tags", "1")],
        is_silent: Some(false),
        is_test: Some(false),
        subject_type: Some("type-1".to_owned()),
        locale: Some("de".to_owned()),
        ..RequestSettings::default()
    };
    assert_eq!(firing.settings, expected);
}

#[test]
fn a_condition_is_read_in_one_form_only() {
    let read = Expression::parse(r#"{"And":[{"Marketing":false},{"Product Updates":true}]}"#).unwrap();
    let terms = [("Marketing", false), ("Product Updates", true)];
    assert_eq!(read.and, terms.map(|(slug, enabled)| Term(slug.to_owned(), enabled)));
    assert_eq!(read.text(), r#"{"And":[{"Marketing":false},{"Product Updates":true}]}"#);
    let many = |count: usize| {
        let terms: Vec<String> = (0..count).map(|n| format!(r#"{{"P{n}":true}}"#)).collect();
        format!(r#"{{"And":[{}]}}"#, terms.join(","))
    };
    assert!(Expression::parse(&many(CONDITIONS_MAX)).is_ok());
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"And":[]}"#,
        r#"{"And":{}}"#,
        r#"{"And":[{}]}"#,
        r#"{"And":[{"A":1}]}"#,
        r#"{"And":[{"A":null}]}"#,
        r#"{"And":[{"A":true,"B":true}]}"#,
        r#"{"And":[{"A":true,"A":false}]}"#,
        r#"{"And":[{"And":[{"A":true}]}]}"#,
        r#"{"Or":[{"A":true}]}"#,
        r#"{"And":[{"A":true}],"Or":[{"A":true}]}"#,
        r#"{"and":[{"A":true}]}"#,
        r#"{"And":[{"A":true}]} "#.repeat(2).as_str(),
        &many(CONDITIONS_MAX + 1),
    ] {
        assert_eq!(Expression::parse(bad), Err(TriggerError::BadCondition), "{bad}");
    }
    let twice = Expression::parse(r#"{"And":[{"A":true},{"A":false}]}"#);
    assert_eq!(twice, Err(TriggerError::PurposeTwice));
}

#[test]
fn two_ways_to_write_a_condition_say_the_same_or_are_refused() {
    let read = |text: &str| Some(Expression::parse(text).unwrap());
    let (ab, ba) = (
        r#"{"And":[{"A":true},{"B":false}]}"#,
        r#"{"And":[{"B":false},{"A":true}]}"#,
    );
    assert_eq!(Expression::agree(read(ab), None), Ok(read(ab)));
    assert_eq!(Expression::agree(None, read(ba)), Ok(read(ba)));
    assert_eq!(Expression::agree(read(ab), read(ba)), Ok(read(ab)));
    assert_eq!(Expression::agree(None, None), Ok(None));
    for other in [r#"{"And":[{"A":true}]}"#, r#"{"And":[{"A":true},{"B":true}]}"#] {
        assert_eq!(
            Expression::agree(read(ab), read(other)),
            Err(TriggerError::Contradiction)
        );
    }
}

#[test]
fn silos_are_those_of_the_write_or_else_of_the_trigger_without_those_left_out() {
    use crate::dsr::SiloChoice::{All, Except, Only};
    let id = Uuid::from_u128;
    let ids = |numbers: &[u128]| numbers.iter().map(|n| id(*n)).collect::<Vec<_>>();
    for (own, only, except, expected) in [
        (&[][..], None, None, All),
        (&[1, 2][..], None, None, Only(ids(&[1, 2]))),
        (&[1, 2][..], Some(ids(&[3])), None, Only(ids(&[3]))),
        (&[1, 2][..], None, Some(ids(&[2])), Only(ids(&[1]))),
        (&[][..], None, Some(ids(&[2])), Except(ids(&[2]))),
        (&[][..], Some(ids(&[1, 2])), Some(ids(&[2])), Only(ids(&[1]))),
    ] {
        let mut trigger = trigger("A-");
        trigger.silos = own.iter().map(|n| DataSiloId(id(*n))).collect();
        assert_eq!(trigger.choose_silos(only, except), expected);
    }
}
