//! `antumbra apply`, as the built executable runs it against a real server.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use std::path::PathBuf;

use support::{Place, Running, Told};

/// A running server, and a folder with the file that is applied to it.
struct Site {
    server: Running,
    place: Place,
}

impl Site {
    fn start() -> Site {
        let place = Place::fresh();
        Site {
            server: Running::start(place.serve()),
            place,
        }
    }

    fn file(&self) -> PathBuf {
        self.place.path().join("antumbra.yml")
    }

    fn apply(&self, text: &str, more: &[&str]) -> Told {
        std::fs::write(self.file(), text).unwrap();
        let mut command = self.place.antumbra();
        command
            .arg("apply")
            .args(["--url", &self.server.url, "--key", &self.server.key, "-f"])
            .arg(self.file())
            .args(more);
        self.place.run(&mut command)
    }

    fn applied(&self, text: &str) -> String {
        let told = self.apply(text, &[]);
        assert_eq!(told.code, 0, "{}{}", told.out, told.err);
        told.out
    }
}

const EXAMPLE: &str = include_str!("../../../docs/examples/antumbra.yml");
const NOTHING_TO_DO: &str = "Nothing to do: the server holds what the file says.\n";

#[test]
fn a_file_that_was_applied_finds_nothing_to_do() {
    let site = Site::start();
    let tried = site.apply(EXAMPLE, &["--dry-run"]);
    assert_eq!(tried.code, 0, "{}", tried.err);
    assert!(
        tried.out.ends_with("Nothing was changed: this was a dry run.\n"),
        "{}",
        tried.out
    );
    let first = site.applied(EXAMPLE);
    assert_eq!(first.matches("shown this once: ant_").count(), 2, "{first}");
    let again = site.applied(EXAMPLE);
    assert!(again.ends_with(NOTHING_TO_DO), "{again}");
    assert!(
        again
            .lines()
            .filter(|line| !line.starts_with("Nothing"))
            .all(|line| line.starts_with("= ")),
        "{again}"
    );
    assert!(!first.contains("replace-this-with-a-secret") && !again.contains("ant_"));

    // Enrichers are made after those they wait for, whatever their order in the file.
    let checked = site.applied(CHECKS);
    let places = ["+ enricher Cards", "+ enricher Shops"].map(|line| checked.find(line).unwrap());
    assert!(places.is_sorted(), "{checked}");
    let again = site.applied(CHECKS);
    assert!(again.ends_with(NOTHING_TO_DO), "{again}");
    let changed = CHECKS.replace("[Cards]", "[]").replace("\"06:00\"", "\"05:30\"");
    let changed = site.applied(&changed);
    assert!(changed.contains("depends-on: [Cards] -> "), "{changed}");
    let circle = CHECKS.replace("- title: Cards", "- title: Cards\n    depends-on: [Shops]");
    let refused = site.apply(&circle, &["--dry-run"]);
    assert!(
        refused.err.contains("enrichers[1]: an enricher would wait for itself"),
        "{}",
        refused.err
    );
}

const CHECKS: &str = "
templates:
  - title: Not a resident
    kind: CANCELED
enrichers:
  - title: Shops
    type: SERVER
    url: https://checks.example.org/shops
    input-identifier: email
    output-identifiers: [phone]
    depends-on: [Cards]
    daily-window: { from: \"22:00\", until: \"06:00\" }
  - title: Cards
    type: REGEX_MATCH
    testRegex: \"@example[.]test$\"
    input-identifier: email
    output-identifiers: []
    transitionRequestStatus: CANCELED
    end-template: Not a resident
";

#[test]
fn a_difference_is_shown_field_by_field() {
    let site = Site::start();
    site.applied(EXAMPLE);
    let changed = EXAMPLE
        .replace("requiresReview: true", "requiresReview: false")
        .replace(
            "identity-keys: [email, coreIdentifier, loyaltyCardNumber]",
            "identity-keys: [loyaltyCardNumber, email]",
        )
        .replace("title: Email Address", "title: Address")
        .replace("replace-this-with-a-secret", "another-secret")
        .replace("title: Daily\n", "title: Daily\n          - title: Yearly\n")
        .replace("05-01, 10-03", "10-03")
        .replace("afterDays: 1095", "afterDays: 400")
        .replace("days: 10 }", "days: 12 }");
    let told = site.applied(&changed);
    let kept: Vec<&str> = told.lines().filter(|line| !line.starts_with('=')).collect();
    let wanted = [
        "~ organization Northwind and Southwind",
        "    holidays: [01-06, 05-01, 10-03, 12-26, 2027-03-26, 2027-03-29] -> [01-06, 10-03, 12-26, 2027-03-26, 2027-03-29]",
        "    retention: {\"afterDays\":1095,\"kind\":\"DELETE_PERSONAL_DATA\"} -> {\"afterDays\":400,\"kind\":\"DELETE_PERSONAL_DATA\"}",
        "~ data subject type customer",
        "    timesToAnswer: [{\"action\":\"RECTIFICATION\",\"days\":10}] -> [{\"action\":\"RECTIFICATION\",\"days\":12}]",
        "~ action ACCESS",
        "    requiresReview: true -> false",
        "+ preference option Yearly",
        "    title: Yearly",
        "~ preference topic Product Updates: Frequency",
        "    options: [Daily, Weekly, Monthly] -> [Daily, Yearly, Weekly, Monthly]",
        "~ data silo Shop accounts",
        "    identity-keys: [email, coreIdentifier, loyaltyCardNumber] -> [loyaltyCardNumber, email]",
        "    headers: x-shop-token (values not shown) -> x-shop-token (values not shown)",
        "~ data point Shop accounts: email",
        "    title: Email Address -> Address",
        "1 created, 6 changed, 24 as they were.",
    ];
    assert_eq!(kept, wanted);
    assert!(site.applied(&changed).ends_with(NOTHING_TO_DO));
}

#[test]
fn the_order_of_what_is_a_set_means_nothing() {
    let site = Site::start();
    site.applied(EXAMPLE);
    let turned = EXAMPLE
        .replace(
            "identity-keys: [email, coreIdentifier]",
            "identity-keys: [coreIdentifier, email]",
        )
        .replace(
            "actions: [ACCESS, ERASURE, RECTIFICATION,",
            "actions: [ERASURE, RECTIFICATION, ACCESS,",
        );
    assert!(site.applied(&turned).ends_with(NOTHING_TO_DO));
}

#[test]
fn each_fault_of_a_file_is_named_by_its_line_and_nothing_is_kept() {
    let site = Site::start();
    let silo = "data-silos:\n  - title: CRM\n    integrationName: server\n";
    let cases = [
        ("organization:\n  timeZone: Mars/Olympus\n".to_owned(), ":2: organization: the organization: has a time zone that this server does not know"),
        ("organization:\n  holidays: [25.12.]\n".to_owned(), ":2: organization: holidays: `25.12.`: a holiday is a day that every year has"),
        ("organization:\n  retention: { kind: KEEP }\n".to_owned(), ":2: organization.retention: missing field `afterDays`"),
        (format!("{silo}    urls: https://crm.example.test\n"), ":4: data-silos[0].urls: unknown field `urls`"),
        (format!("{silo}    identity-keys:\n      - email\n      - usrId\n"), ":6: data-silos[0].identity-keys[1]: no identifier is called `usrId`, in the file or on the server"),
        (format!("{silo}    data-subjects: [martian]\n"), ":4: data-silos[0].data-subjects[0]: no data subject type is called `martian`"),
        (format!("{silo}    deletion-dependencies: [CRM]\n"), ":4: data-silos[0].deletion-dependencies: waits for itself"),
        (format!("{silo}    api-key-title: Nobody's\n"), ":4: data-silos[0].api-key-title: no API key is called `Nobody's`"),
        (format!("{silo}  - title: CRM\n    integrationName: cron\n"), ":4: data-silos[1].title: names a data silo that the file has already named"),
        (format!("{silo}    url: ftp://crm.example.test\n"), ":2: data-silos[0]: data silo `CRM`: url must be an absolute http or https URL"),
        (format!("{silo}    url: http://10.0.0.1/hook\n"), ":2: data-silos[0]: data silo `CRM`: url points to an address that is not public"),
        (format!("{silo}    headers: [{{ name: host, value: a }}]\n"), ":2: data-silos[0]: data silo `CRM`: header host cannot be set"),
        (format!("{silo}    datapoints:\n      - key: a\n      - key: a\n"), ":6: data-silos[0].datapoints[1].key: names a data point that the file has already named"),
        ("identifiers:\n  - name: email\n    type: custom\n".to_owned(), ":3: identifiers[0].type: is email on the server and does not change"),
        ("identifiers:\n  - name: card\n    type: custom\n    regex: (?=a)\n".to_owned(), ":2: identifiers[0]: identifier `card`: is not a regular expression"),
        ("identifiers:\n  - name: card\n    type: carnet\n".to_owned(), "is not a value of IdentifierType, which has only: "),
        ("actions:\n  - type: FORGET\n    requiresReview: true\n".to_owned(), ":2: actions[0].type: is no action that this server knows; it knows ACCESS, "),
        ("actions:\n  - type: ACCESS\n    waitingPeriod: 40000\n".to_owned(), ":2: actions[0]: action `ACCESS`: must be at most ten years of days"),
        ("actions:\n  - type: ACCESS\n    waitingPeriod: 99999\n".to_owned(), ":3: actions[0].waitingPeriod: is a number, expected a whole number, not negative and not too large"),
        ("purposes:\n  - name: a\n    trackingType: a/b\n".to_owned(), ":2: purposes[0]: purpose `a/b`: a name has 1 to 64"),
        ("purposes:\n  - name: a\n    trackingType: a\n    preference-topics:\n      - { title: t, type: SELECT, options: [{ title: x, slug: s }, { title: y, slug: s }] }\n".to_owned(), ":5: purposes[0].preference-topics[0].options[1].title: differs from `x`, which the file has for the same option"),
        ("partitions:\n  - name: a\n    partition: \"\\n\"\n".to_owned(), ":2: partitions[0]: partition `a`: the key of a partition"),
        ("api-keys:\n  - title: a\n    scopes: [flyToTheMoon]\n".to_owned(), ":2: api-keys[0]: "),
        ("data-silo: []\n".to_owned(), ":1: data-silo: is not a section"),
        ("data-silos: [\n".to_owned(), "is not valid YAML"),
    ];
    let mut wrong = String::new();
    for (text, wanted) in cases {
        // What comes before the fault is right, and must not have happened all the same.
        let text = if text.starts_with("data-silos: [\n") {
            text
        } else {
            format!("{text}templates:\n  - title: Half\n")
        };
        let told = site.apply(&text, &[]);
        if told.code != 2 || !told.err.contains(wanted) {
            wrong.push_str(&format!("--- {text}--- {} and not {wanted}\n{}\n", told.code, told.err));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    let told = site.apply("templates:\n  - title: Half\n", &["--dry-run"]);
    assert!(told.out.starts_with("+ template Half\n"), "{}", told.out);
}

#[test]
fn what_people_are_found_by_is_not_changed_under_their_records() {
    let site = Site::start();
    let file = |is_unique: bool| {
        format!(
            "identifiers:\n  - {{ name: plan, type: custom, isUniqueOnPreferenceStore: {is_unique} }}\npurposes:\n  - {{ name: \
             Analytics, trackingType: Analytics }}\npartitions:\n  - {{ name: Shop, partition: shop }}\n"
        )
    };
    for is_unique in [true, false] {
        site.applied(&file(is_unique));
    }
    let people = site.place.path().join("people.csv");
    std::fs::write(
        &people,
        "email,timestamp,Analytics\nada@example.test,2026-02-03T09:00:00.000Z,true\n",
    )
    .unwrap();
    let mut import = site.place.antumbra();
    import
        .args(["preferences", "import", "--partition", "shop"])
        .arg(people)
        .env("ANTUMBRA_URL", &site.server.url)
        .env("ANTUMBRA_KEY", &site.server.key);
    let imported = site.place.run(&mut import);
    assert_eq!(imported.code, 0, "{}{}", imported.out, imported.err);
    let told = site.apply(&file(true), &[]);
    let rule =
        "cannot begin or cease to be unique on the preference store while any partition holds preference records";
    let said = format!("{}{}", told.out, told.err);
    assert!(told.code != 0 && said.contains(rule), "{} {said}", told.code);
    assert!(site.applied(&file(false)).ends_with(NOTHING_TO_DO));
}

#[test]
fn an_api_key_is_attached_to_what_names_it() {
    let site = Site::start();
    site.applied("api-keys:\n  - title: Nightly\n    scopes: [viewRequests]\n");
    let silo = "data-silos:\n  - title: CRM\n    integrationName: cron\n    api-key-title: Nightly\n";
    let told = site.applied(silo);
    assert!(
        told.contains("~ API key Nightly\n    data-silos: [] -> [CRM]\n"),
        "{told}"
    );
    assert!(site.applied(silo).ends_with(NOTHING_TO_DO));
    let told = site.applied("api-keys:\n  - title: Nightly\n    scopes: [viewRequests, requestApproval]\n");
    assert!(
        told.contains("    scopes: [viewRequests] -> [viewRequests, requestApproval]\n"),
        "{told}"
    );
}

#[test]
fn a_server_silo_that_will_take_no_part_is_warned_of_until_it_does() {
    let site = Site::start();
    let silo = "data-silos:\n  - title: CRM\n    integrationName: server\n";
    let no_url = "    warning: without url it is told of no request, and requests wait until it comes for its work\n";
    let no_keys =
        "    warning: without identity-keys nobody can be looked up in it, and it takes no part in requests\n";
    let told = site.applied(silo);
    assert!(told.contains(no_url) && told.contains(no_keys), "{told}");
    let told = site.applied(&format!("{silo}    identity-keys: [email]\n"));
    assert!(told.contains(no_url) && !told.contains(no_keys), "{told}");
    let told = site.applied(&format!("{silo}    url: https://crm.example.test/hook\n"));
    assert!(!told.contains("warning"), "the server has its keys: {told}");
    let told = site.applied("data-silos:\n  - title: List\n    integrationName: cron\n");
    assert!(!told.contains("warning"), "{told}");
}

#[test]
fn the_secret_of_a_partitions_tokens_is_set_once_and_never_shown() {
    let site = Site::start();
    let file = |secret: &str| format!("partitions:\n  - name: Shop\n    partition: shop\n    token-secret: {secret}\n");
    let first = "c2VjcmV0IA==";
    let told = site.apply(&file(first), &[]);
    assert_eq!(told.code, 2, "{}", told.err);
    assert!(told.err.contains(":4: partitions[0].token-secret: "), "{}", told.err);
    assert!(
        !told.err.contains(first) && !told.out.contains(first),
        "{}{}",
        told.out,
        told.err
    );
    let [first, second] = ["MDEyMzQ1Njc4", "QUJDREVGR0hJ"].map(|part| part.repeat(6));
    let told = site.apply(&file(&first), &["--dry-run"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{}", told.out);
    let told = site.applied(&file(&first));
    assert!(
        told.starts_with("+ partition Shop: shop\n    partition: shop\n    token-secret: (hidden)\n"),
        "{told}"
    );
    assert!(site.applied(&file(&first)).ends_with(NOTHING_TO_DO));
    let told = site.apply(&file(&second), &["--dry-run"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""), "{}", told.out);
    let told = site.applied(&file(&second));
    assert!(
        told.starts_with("~ partition Shop: shop\n    token-secret: (hidden)\n"),
        "{told}"
    );
    let told = site.applied(&file(&second));
    assert!(told.ends_with(NOTHING_TO_DO) && !told.contains(&second), "{told}");
    let told = site.apply("partitions:\n  - name: Renamed\n    partition: shop\n", &[]);
    assert!(
        told.err
            .contains(":2: partitions[0].name: is Shop on the server and does not change"),
        "{}",
        told.err
    );
    let told = site.apply("partitions:\n  - name: New\n    token-secret: [x1y2z3]\n", &[]);
    assert!(told.code == 2 && !told.err.contains("x1y2z3"), "{}", told.err);
    let told = site.apply(&format!("partitions:\n  - name: New\n    token-secret: {first}\n"), &[]);
    assert!(
        told.err
            .contains(":3: partitions[0].token-secret: needs `partition` beside it"),
        "{}",
        told.err
    );
}

#[test]
fn a_trigger_runs_a_workflow_or_an_action() {
    let site = Site::start();
    let trigger = "consent-workflow-triggers:\n  - name: Stop\n    purposes: [{ tracking-type: Analytics, matching-state: false }]\n";
    let by_workflow = format!("{trigger}    data-subject-type: customer\n    workflow-title: SALE_OPT_OUT\n");
    let told = site.applied(&by_workflow);
    assert!(told.contains("    workflow-title: SALE_OPT_OUT\n"), "{told}");
    assert!(site.applied(&by_workflow).ends_with(NOTHING_TO_DO));
    let told = site.applied(&format!("{trigger}    workflow-title: ACCESS\n"));
    assert!(told.contains("    workflow-title: SALE_OPT_OUT -> ACCESS\n"), "{told}");
    let by_action = format!("{trigger}    action-type: ERASURE\n");
    let told = site.applied(&by_action);
    assert!(told.contains("    action-type: ACCESS -> ERASURE\n"), "{told}");
    assert!(site.applied(&by_action).ends_with(NOTHING_TO_DO));
    let told = site.apply(&format!("{trigger}    workflow-title: Ours\n"), &[]);
    assert!(
        told.err
            .contains(":4: consent-workflow-triggers[0].workflow-title: is no workflow"),
        "{}",
        told.err
    );
}

#[test]
fn silos_are_made_after_those_they_wait_for() {
    let site = Site::start();
    let told = site.applied(
        "data-silos:\n  - title: A\n    integrationName: cron\n    deletion-dependencies: [B]\n  - title: B\n    integrationName: cron\n",
    );
    assert!(
        told.find("+ data silo B").unwrap() < told.find("+ data silo A").unwrap(),
        "{told}"
    );
}

#[test]
fn what_the_vendor_knows_and_this_server_does_not_is_said() {
    let site = Site::start();
    let told = site.applied("cookies:\n  - name: _ga\ndata-silos:\n  - title: CRM\n    integrationName: cron\n    owners: [a@example.test]\n");
    assert!(
        told.starts_with("  cookies: kept out, this server has no use for it yet\n  data-silos[].owners: kept out"),
        "{told}"
    );
}

#[test]
fn a_server_that_is_away_and_a_key_that_may_not_end_with_codes_of_their_own() {
    let mut site = Site::start();
    let file = "partitions:\n  - name: a\n";
    let told = site.apply("# nothing yet\n", &[]);
    assert_eq!(told.code, 0);
    assert!(
        told.out.starts_with("Nothing to do: antumbra.yml describes nothing.\n"),
        "{}",
        told.out
    );
    let key = std::mem::replace(&mut site.server.key, "ant_nobody".to_owned());
    let told = site.apply(file, &[]);
    assert_eq!(told.code, 5, "{}", told.err);
    site.server.key = key;
    site.server.url = "http://127.0.0.1:9".to_owned();
    assert_eq!(site.apply(file, &[]).code, 69);
}
