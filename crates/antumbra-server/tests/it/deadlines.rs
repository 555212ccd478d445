//! Deadlines from outside: how they are shown, extended and noted; and the time of an organization that rehearses.

use std::{ops::Deref, time::Duration};

use antumbra_server::{
    Clock, audit,
    dsr::{self, DsrId},
    organization::Action,
};
use serde_json::{Value, json};

use crate::support::{
    manage::{manage, manage_refused},
    receiver::status,
    story::{CORE, EMAIL, Story},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A story whose days are counted.
struct Calendar(Story);

impl Deref for Calendar {
    type Target = Story;

    fn deref(&self) -> &Story {
        &self.0
    }
}

impl Calendar {
    async fn open(data_points: &[&str]) -> Calendar {
        Calendar(Story::with_data_points(data_points).await)
    }

    async fn manage(&self, document: &str) -> Value {
        manage(&self.server, &self.admin_key, document).await
    }

    async fn refused(&self, document: &str) -> String {
        manage_refused(&self.server, &self.admin_key, document).await
    }

    /// Submits from a country, and runs what that makes due.
    async fn submit_from(&self, country: &str, further: Value) -> DsrId {
        let mut members = json!({ "region": { "country": country } });
        members
            .as_object_mut()
            .unwrap()
            .extend(further.as_object().unwrap().clone());
        let id = self
            .submit_with(Action::Access, &format!("core-{country}"), EMAIL, members)
            .await;
        self.server.run_jobs_until_idle().await;
        id
    }

    async fn deadline(&self, id: DsrId) -> Value {
        let fields =
            "dueAt regime article checked explanation extended extensionNoticeDueAt tolledDays timeZone notedAsOverdue";
        let document = format!("{{ request(id: \"{id}\") {{ daysRemaining deadline {{ {fields} }} }} }}");
        let request = self.manage(&document).await;
        let mut shown = request["deadline"].clone();
        shown["daysRemaining"] = request["daysRemaining"].clone();
        shown
    }

    /// What the audit log holds of a request's deadline, oldest first.
    async fn noted(&self, id: DsrId) -> Vec<String> {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let entries = audit::list(&mut reader, self.organization(), None, 1_000)
            .await
            .unwrap();
        let about = entries.into_iter().filter(|(_, entry)| entry.object_id == id.0);
        let mut noted: Vec<_> = about.map(|(at, entry)| (at, entry.action.to_string())).collect();
        noted.sort();
        let of_deadlines = ["dsr.deadline_near", "dsr.overdue", "dsr.extended", "dsr.deadline_moved"];
        let noted = noted.into_iter().map(|(_, action)| action);
        noted.filter(|action| of_deadlines.contains(&action.as_str())).collect()
    }

    async fn overdue(&self) -> usize {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        dsr::count_overdue(&mut reader, 10).await.unwrap()
    }
}

fn more_time(id: DsrId, further: &str) -> String {
    format!("mutation {{ notifyAdditionalTime(input: {{requestId: \"{id}\"{further}}}) {{ clientMutationId }} }}")
}

#[tokio::test]
async fn a_deadline_is_explained_noted_and_extended_once() {
    let story = Calendar::open(&["Orders"]).await;
    let id = story.submit_from("IE", json!({})).await;
    assert_eq!(
        story.deadline(id).await,
        json!({
            "dueAt": "2026-04-02T23:59:59.999Z",
            "regime": "GDPR",
            "article": "GDPR Art. 12(3)",
            "checked": true,
            "explanation": "GDPR Art. 12(3): received 2026-03-02, + 1 month = 2026-04-02; due at the end of that day, UTC",
            "extended": false,
            "extensionNoticeDueAt": "2026-04-02T23:59:59.999Z",
            "tolledDays": 0,
            "timeZone": "UTC",
            "notedAsOverdue": false,
            "daysRemaining": 31,
        })
    );
    let refused = story.refused(&more_time(id, ", additionalTime: 62")).await;
    assert!(refused.contains("the law allows no extension by so much"), "{refused}");
    let refused = story.refused(&more_time(id, ", additionalTime: -1")).await;
    assert!(refused.contains("additionalTime must be 1 to 3660 days"), "{refused}");
    story.server.pass(25 * DAY).await;
    assert_eq!(story.noted(id).await, ["dsr.deadline_near"]);
    story.server.pass(7 * DAY).await;
    assert_eq!(story.noted(id).await, ["dsr.deadline_near", "dsr.overdue"]);
    let late = story.deadline(id).await;
    assert_eq!(
        (&late["notedAsOverdue"], &late["daysRemaining"]),
        (&json!(true), &json!(-1))
    );
    assert_eq!(story.overdue().await, 1);

    // Whoever was to be told of more time in time is not told too late, unless somebody answers for it.
    let refused = story.refused(&more_time(id, "")).await;
    assert!(
        refused.contains("in which more of it could be given is over"),
        "{refused}"
    );
    assert_eq!(story.overdue().await, 1);
    story.manage(&more_time(id, ", force: true")).await;
    let extended = story.deadline(id).await;
    assert_eq!(extended["dueAt"], "2026-06-02T23:59:59.999Z");
    assert_eq!(
        (&extended["extended"], &extended["extensionNoticeDueAt"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(story.overdue().await, 0);
    let refused = story.refused(&more_time(id, ", additionalTime: 1, force: true")).await;
    assert!(refused.contains("has been extended once"), "{refused}");

    // It is noted again at its new date, and no longer once the request has ended.
    story.server.run_jobs_until_idle().await;
    story.server.pass(62 * DAY).await;
    let all = ["dsr.deadline_near", "dsr.overdue", "dsr.extended", "dsr.overdue"];
    assert_eq!(story.noted(id).await, all);
    assert_eq!(story.overdue().await, 1);
    story
        .manage(&format!(
            "mutation {{ cancelRequest(input: {{requestId: \"{id}\"}}) {{ clientMutationId }} }}"
        ))
        .await;
    assert_eq!(story.overdue().await, 0);
    let refused = story.refused(&more_time(id, ", additionalTime: 1")).await;
    assert!(
        refused.contains("Request must be active, but it is CANCELED"),
        "{refused}"
    );
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn days_of_verification_do_not_count_where_the_law_says_so() {
    let story = Calendar::open(&["Orders"]).await;
    let unverified = json!({ "subject": { "coreIdentifier": "core-GB", "email": EMAIL, "emailIsVerified": false } });
    let id = story.submit_from("GB", unverified).await;
    assert_eq!(story.deadline(id).await["dueAt"], "2026-04-02T23:59:59.999Z");
    story.server.pass(8 * DAY).await;
    let document = format!("{{ requestIdentifiers(input: {{requestIds: [\"{id}\"]}}) {{ nodes {{ id name }} }} }}");
    let identifiers = story.manage(&document).await;
    let identifiers: Vec<&str> = identifiers["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    story
        .manage(&format!(
            "mutation {{ removeRequestIdentifiers(input: {{requestId: \"{id}\", requestIdentifierIds: {identifiers:?}}}) {{ count }} }}"
        ))
        .await;
    story.server.run_jobs_until_idle().await;
    let settled = story.deadline(id).await;
    assert_eq!(
        (&settled["dueAt"], &settled["tolledDays"]),
        (&json!("2026-04-10T23:59:59.999Z"), &json!(8))
    );
    assert_eq!(story.noted(id).await, ["dsr.deadline_moved"]);
}

#[tokio::test]
async fn an_organization_has_a_name_a_time_zone_and_holidays_of_its_own_and_lists_what_is_due() {
    let story = Calendar::open(&[]).await;
    let before = story.submit_from("DE", json!({})).await;
    let change =
        |input: &str| format!("mutation {{ updateOrganization(input: {{ {input} }}) {{ clientMutationId }} }}");
    let input = "name: \"Fish & Chips\", timeZone: \"UTC\", holidays: [\"04-02\", \"2026-04-03\", \"2026-04-06\"], \
                 retention: { kind: KEEP, afterDays: 30 }";
    story.manage(&change(input)).await;
    let shown = story
        .manage("{ organization { name timeZone holidays retention { kind afterDays } } }")
        .await;
    let expected = json!({
        "name": "Fish & Chips", "timeZone": "UTC", "holidays": ["04-02", "2026-04-03", "2026-04-06"],
        "retention": { "kind": "KEEP", "afterDays": 30 },
    });
    assert_eq!(shown, expected);
    let after = story.submit_from("FR", json!({})).await;
    // Thursday and Friday of the list, a weekend, and Monday; what was there already stays where it was.
    assert_eq!(story.deadline(before).await["dueAt"], "2026-04-02T23:59:59.999Z");
    assert_eq!(story.deadline(after).await["dueAt"], "2026-04-07T23:59:59.999Z");

    let due = async |before: &str| {
        let filter = format!("filterBy: {{ dueBefore: \"{before}\" }}");
        let listed = story
            .manage(&format!(
                "{{ requests(first: 9, {filter}) {{ nodes {{ id }} totalCount }} }}"
            ))
            .await;
        let nodes = listed["nodes"].as_array().unwrap().iter();
        let ids: Vec<String> = nodes.map(|node| node["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed["totalCount"], ids.len());
        ids
    };
    assert_eq!(due("2026-04-01T00:00:00Z").await, [""; 0]);
    assert_eq!(due("2026-04-03T00:00:00Z").await, [before.to_string()]);
    assert_eq!(due("2026-05-01T00:00:00Z").await.len(), 2);
    story
        .administrate(async |tx, deed| dsr::cancel(tx, deed, before).await)
        .await;
    assert_eq!(
        due("2026-04-03T00:00:00Z").await,
        [""; 0],
        "what is over is due no more"
    );

    for (wrong, why) in [
        (
            "timeZone: \"Mars/Olympus\"",
            "has a time zone that this server does not know",
        ),
        ("holidays: [\"12-25\", \"12-25\"]", "names one holiday twice"),
        ("holidays: [\"25.12.\"]", "a holiday is a day that every year has"),
        ("name: \"\"", "must not be empty"),
        ("retention: { kind: KEEP, afterDays: 0 }", "must be at least one day"),
    ] {
        let refused = story.refused(&change(wrong)).await;
        assert!(refused.contains(why), "{wrong}: {refused}");
    }
    story.manage(&change("timeZone: null, holidays: []")).await;
    let shown = story.manage("{ organization { timeZone holidays } }").await;
    assert_eq!(shown, json!({ "timeZone": null, "holidays": [] }));
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn a_rehearsal_takes_an_erasure_through_sixty_days_on_a_clock_that_stands_still() {
    let mut story = Calendar::open(&["Orders"]).await;
    let machine = story.server.clock.now();
    let until = machine + 60 * DAY;
    let advance = format!("mutation {{ advanceClock(input: {{until: \"{until}\"}}) {{ now moved arrived }} }}");
    assert!(story.refused(&advance).await.contains("does not rehearse"));
    story.manage("mutation { beginRehearsal { now } }").await;
    let actions = story.manage("{ actions(first: 100) { nodes { id type } } }").await;
    let erasure = actions["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|action| action["type"] == "ERASURE");
    let settings = "waitingPeriod: 5, delay: {time: 14, previewAction: ACCESS}, requiresReview: false, skipSecondaryIfNoFiles: false";
    let id = &erasure.unwrap()["id"];
    story
        .manage(&format!(
            "mutation {{ updateAction(input: {{id: {id}, {settings}}}) {{ clientMutationId }} }}"
        ))
        .await;

    // Every notice fails twice and is then accepted; what it asked for is reported when the next one would come.
    let id = story.submit_about(Action::Erasure, CORE, EMAIL).await;
    story.receiver.answers(status(503));
    let (mut path, mut failed) = (vec!["ENRICHING"], 0);
    for step in 0.. {
        assert!(step < 500, "the rehearsal does not arrive: {path:?}");
        story.server.run_jobs_until_idle().await;
        for notice in story.receiver.take() {
            failed += 1;
            story.receiver.answers(status(if failed % 3 == 2 { 200 } else { 503 }));
            if failed % 3 == 0 {
                let report = json!({});
                assert_eq!(story.put_report(&notice.nonce(), report).await.status(), 200);
            }
        }
        story.server.run_jobs_until_idle().await;
        let at = story.status_of(id).await;
        if path.last() != Some(&at) {
            path.push(at);
        }
        // Each step leaps to the next thing to do: after a restart as well, which finds the time where it was.
        if step == 3 {
            story.0.server.clock = Clock::manual(machine);
            story.0.server.restart().await;
        }
        if story.manage(&advance).await["arrived"] == json!(true) {
            break;
        }
    }
    assert_eq!(
        path,
        [
            "ENRICHING",
            "WAITING",
            "COMPILING",
            "DELAYED",
            "SECONDARY",
            "SECONDARY_COMPLETED"
        ]
    );
    assert_eq!(failed, 6, "two phases with two refusals and one accepted notice each");
    assert_eq!(story.server.clock.now(), machine);
    let clock = story
        .manage("{ organization { clock { now rehearses aheadSeconds } } }")
        .await;
    assert_eq!(
        clock["clock"],
        json!({ "now": "2026-05-01T10:00:00.000Z", "rehearses": true, "aheadSeconds": 60 * 24 * 3600 })
    );
    let done = story
        .manage(&format!(
            "{{ request(id: \"{id}\") {{ isTest successfullyCompletedAt }} }}"
        ))
        .await;
    assert_eq!(done["isTest"], json!(true), "whatever it was submitted as");
    assert!(done["successfullyCompletedAt"].as_str() > Some("2026-03-21"), "{done}");
    let too_far = "mutation { advanceClock(input: {until: \"2040-01-01T00:00:00.000Z\"}) { now } }";
    let mut refused = None;
    for _ in 0..20 {
        let answer = story
            .server
            .client()
            .post(story.server.url("/graphql"))
            .bearer_auth(&story.admin_key);
        let answer: Value = answer
            .json(&json!({ "query": too_far }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        story.server.run_jobs_until_idle().await;
        refused = answer["errors"][0]["message"].as_str().map(str::to_owned);
        if refused.is_some() {
            break;
        }
    }
    assert!(refused.is_some_and(|why| why.contains("more than ten years")));

    // Elsewhere nothing has moved, and who holds a real request does not rehearse.
    let other = Calendar::open(&[]).await;
    other.submit(Action::Access).await;
    let refused = other.refused("mutation { beginRehearsal { now } }").await;
    assert!(refused.contains("holds requests that are not tests"), "{refused}");
}
