//! Files that are right, and every fault named by its line.

use super::*;

#[test]
fn any_bytes_are_read_or_refused_without_repeating_a_value() {
    fuzz_plain::run(&[("apply_file", fuzz)]);
}

fn faults_of(text: &str) -> String {
    match parse(Path::new("a.yml"), text.as_bytes()) {
        Ok(_) => "none".to_owned(),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn an_empty_file_asks_for_nothing() {
    assert_eq!(faults_of(""), "none");
    assert_eq!(faults_of("# nothing yet\n"), "none");
    assert_eq!(faults_of("data-silos:\n"), "none");
}

#[test]
fn every_fault_is_named_by_line_and_place() {
    let cases = [
        ("- a\n", "a.yml:1: must be a mapping of sections such as `data-silos:`"),
        (
            "data-silo: []\n",
            "a.yml:1: data-silo: is not a section; expected one of organization, api-keys, attributes, data-subjects, actions, identifiers, enrichers, preference-options, purposes, partitions, templates, data-silos, consent-workflow-triggers",
        ),
        ("\ndata-silos: crm\n", "a.yml:2: data-silos: must be a list"),
        (
            "data-silos:\n  - title: CRM\n    integrationName: server\n    urls: https://a.example\n",
            "unknown field `urls`",
        ),
        (
            "data-silos:\n  - integrationName: server\n",
            "a.yml:2: data-silos[0]: missing field `title`",
        ),
        (
            "data-silos:\n  - title: CRM\n    integrationName: server\n    datapoints:\n      - key: [hunter2]\n",
            "a.yml:5: data-silos[0].datapoints[0].key: is a list, expected a string",
        ),
        (
            "actions:\n  - type: ACCESS\n    waitingPeriod: -3\n",
            "a.yml:3: actions[0].waitingPeriod: ",
        ),
        (
            "actions:\n  - type: ACCESS\n    requiresReview: 'yes'\n",
            "a.yml:3: actions[0].requiresReview: is a string, expected a boolean",
        ),
        ("title: [a\n", "a.yml:"),
        ("partitions:\n  - name: a\n    name: b\n", "duplicate"),
        (
            "partitions:\n  - name: a\n---\npartitions: []\n",
            "more than one document",
        ),
    ];
    for (text, wanted) in cases {
        let found = faults_of(text);
        assert!(found.contains(wanted), "{text}\n  gave {found}\n  not {wanted}");
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = "partitions:\n  - name: 1\n  - nam: b\nidentifiers:\n  - name: a\n";
    let found = faults_of(text);
    let lines: Vec<&str> = found.lines().collect();
    assert_eq!(lines.len(), 3, "{found}");
    assert!(lines[0].starts_with("a.yml:2: partitions[0].name:"), "{found}");
    assert!(lines[1].starts_with("a.yml:3: partitions[1]"), "{found}");
    assert!(
        lines[2].starts_with("a.yml:5: identifiers[0]: missing field `type`"),
        "{found}"
    );
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let found = faults_of("data-silos:\n  - title: CRM\n    integrationName: server\n    headers: hunter2\n");
    assert!(!found.contains("hunter2"), "{found}");
    let found = faults_of("actions:\n  - type: ACCESS\n    waitingPeriod: hunter2\n");
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn broken_text_is_named_by_its_line() {
    let faults = parse(Path::new("a.yml"), b"partitions:\n  - name: \xff\n").unwrap_err();
    assert_eq!(faults.to_string(), "a.yml:2: is not UTF-8 text");
}

#[test]
fn what_the_vendor_knows_and_this_server_does_not_is_noted() {
    let text = "cookies: []\ndata-silos:\n  - title: CRM\n    integrationName: server\n    owners: [a@example.test]\n";
    let file = parse(Path::new("a.yml"), text.as_bytes()).unwrap();
    assert_eq!(file.ignored, ["cookies", "data-silos[].owners"]);
}
