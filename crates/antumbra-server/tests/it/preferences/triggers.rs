//! Workflow triggers: choices that open data subject requests.

use antumbra_server::{audit, silos::DataSiloId};

use super::*;
use crate::support::{
    manage::{manage, manage_refused},
    receiver::Receiver,
    story::{Story, add_silo, nobody},
};

mod missed;

/// A preference store, a data silo that is told of requests, and one that comes for them.
struct Shop {
    preferences: Preferences,
    receiver: Receiver,
    silo: DataSiloId,
    cron: DataSiloId,
    cron_key: String,
    admin: String,
}

impl Shop {
    async fn open() -> Shop {
        let Story {
            server,
            receiver,
            silo,
            admin_key: admin,
            ..
        } = Story::with_data_points(&["profile"]).await;
        configure(&server, server.organization, &[SHOP, GAMES]).await;
        let cron = add_silo(&server, "Mailing list", None, &[]).await;
        let cron_key = server.key_for(&[], &[cron]).await;
        let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
        Shop {
            preferences: Preferences { server, key },
            receiver,
            silo,
            cron,
            cron_key,
            admin,
        }
    }

    fn server(&self) -> &TestServer {
        &self.preferences.server
    }

    /// A trigger that demands CONTACT_OPT_OUT in silence, with further members of its input. Gives its id.
    async fn trigger(&self, name: &str, condition: Value, more: &str) -> String {
        let condition = json!(json!({ "And": condition }).to_string());
        let document = format!(
            "mutation {{ createOrUpdateConsentWorkflowTrigger(input: {{name: \"{name}\", triggerCondition: {condition}, \
             actionType: CONTACT_OPT_OUT, dataSubjectType: \"customer\", isSilent: true {more}}}) \
             {{ consentWorkflowTrigger {{ id }} }} }}"
        );
        let made = self.manage(&document).await;
        made["consentWorkflowTrigger"]["id"].as_str().unwrap().to_owned()
    }

    async fn manage(&self, document: &str) -> Value {
        manage(self.server(), &self.admin, document).await
    }

    /// What ada says about ProductNews, with further members of the purpose and of the call. Gives the status.
    async fn says(&self, enabled: bool, at: &str, purpose: Value, call: Value) -> u16 {
        let mut said = json!({"purpose": "ProductNews", "enabled": enabled});
        said.as_object_mut()
            .unwrap()
            .extend(purpose.as_object().unwrap().clone());
        let record = json!({"identifiers": [email_of("ada@example.test")], "timestamp": at, "purposes": [said]});
        let mut body = json!({"records": [in_shop(record)]});
        body.as_object_mut().unwrap().extend(call.as_object().unwrap().clone());
        self.preferences.upsert(body).await.0
    }

    async fn refuses_at(&self, at: &str) {
        assert_eq!(self.says(false, at, json!({}), json!({})).await, 200);
    }

    async fn allows_at(&self, at: &str) {
        assert_eq!(self.says(true, at, json!({}), json!({})).await, 200);
    }

    /// Every request, oldest first.
    async fn requests(&self) -> Vec<Value> {
        const DOCUMENT: &str = "{ requests(first: 100, orderBy: [{field: createdAt}, {field: id}]) { nodes { \
            id type subjectType status isSilent isTest locale origin email coreIdentifier country countrySubDivision \
            attributeValues { name attributeKey { name } } partition { id name partition } \
            purpose { title name consent preferences enrichedPreferences { topic name booleanValue \
                selectValue { name } selectValues { name preferenceOption { slug title { defaultMessage } } } \
                preferenceTopic { slug title { defaultMessage } } } } } } }";
        self.manage(DOCUMENT).await["nodes"].as_array().unwrap().clone()
    }

    async fn count(&self) -> usize {
        self.requests().await.len()
    }

    /// Reasons why triggers opened nothing, from the audit log.
    async fn failures(&self) -> Vec<String> {
        self.reasons("failed").await
    }

    /// The reasons of what became of firings in this way, latest first.
    async fn reasons(&self, became: &str) -> Vec<String> {
        let mut reader = self.server().app().store.begin_read().await.unwrap();
        let entries = audit::list(&mut reader, self.server().organization, None, 1000)
            .await
            .unwrap();
        let action = format!("consent_workflow_trigger.{became}");
        let failed = entries.into_iter().filter(|(_, entry)| entry.action == action);
        let reason = |(_, entry): (Uuid, audit::Recorded)| match &entry.details[1].1 {
            audit::Detail::Word(word) => word.to_string(),
            other => panic!("{other:?}"),
        };
        failed.map(reason).collect()
    }

    async fn settle(&self) {
        self.server().run_jobs_until_idle().await;
    }
}

fn waits_for(purpose: &str, enabled: bool) -> Value {
    json!([{ purpose: enabled }])
}

#[tokio::test]
async fn a_choice_opens_a_request_and_silos_are_told_what_was_chosen() {
    let shop = Shop::open().await;
    shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    shop.allows_at("2026-02-03T09:00:00Z").await;
    assert_eq!(shop.count().await, 0);

    let said = json!({
        "preferences": [
            {"topic": "Cadence", "choice": {"selectValue": "Monthly"}},
            {"topic": "Channel", "choice": {"selectValues": ["Email", "Sms"]}},
            {"topic": "Paused", "choice": {"booleanValue": true}},
            {"topic": "Unsubscribe", "choice": {}},
        ],
        "attributes": [{"key": "Tags", "values": ["web"]}],
        "locale": "de",
        "workflowSettings": {
            "attributes": [{"key": "Tags", "values": ["web", "kiosk"]}, {"key": "Source", "values": ["unknown here"]}],
            "isTest": true,
            "region": {"country": "US", "countrySubDivision": "US-CA"},
            "locale": "en-gb",
            "emailReceiptTemplateId": "no template",
        },
    });
    assert_eq!(shop.says(false, "2026-02-03T10:00:00Z", said, json!({})).await, 200);
    let requests = shop.requests().await;
    let [request] = &requests[..] else {
        panic!("one is opened: {requests:?}");
    };
    let id = request["id"].as_str().unwrap().to_owned();
    let partition_id = request["partition"]["id"].clone();
    let option =
        |slug: &str| json!({"name": slug, "preferenceOption": {"slug": slug, "title": {"defaultMessage": slug}}});
    let answer = |topic: &str, more: Value| {
        let mut answer = json!({"topic": topic, "name": topic, "booleanValue": null, "selectValue": null, "selectValues": null,
            "preferenceTopic": {"slug": topic, "title": {"defaultMessage": topic}}});
        answer
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        answer
    };
    let preferences = json!([
        {"topic": "Cadence", "choice": {"selectValue": "Monthly"}},
        {"topic": "Channel", "choice": {"selectValues": ["Email", "Sms"]}},
        {"topic": "Paused", "choice": {"booleanValue": true}},
    ]);
    let text = request["purpose"]["preferences"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), preferences);
    let expected = json!({
        "id": id, "type": "CONTACT_OPT_OUT", "subjectType": "customer", "status": "ENRICHING", "isSilent": true,
        "isTest": true, "locale": "en-GB", "origin": "API", "email": "ada@example.test",
        "coreIdentifier": "ada@example.test", "country": "US", "countrySubDivision": "US-CA",
        "attributeValues": [
            {"name": "web", "attributeKey": {"name": "Tags"}}, {"name": "kiosk", "attributeKey": {"name": "Tags"}}],
        "partition": {"id": partition_id, "name": SHOP, "partition": SHOP},
        "purpose": {
            "title": "ProductNews", "name": "ProductNews", "consent": false, "preferences": text,
            "enrichedPreferences": [
                answer("Cadence", json!({"selectValue": {"name": "Monthly"}})),
                answer("Channel", json!({"selectValues": [option("Email"), option("Sms")]})),
                answer("Paused", json!({"booleanValue": true})),
            ],
        },
    });
    assert_eq!(*request, expected);

    shop.settle().await;
    let purpose = json!({"purpose": "ProductNews", "enabled": false, "preferences": preferences});
    let partition = json!({"id": partition_id, "name": SHOP, "partition": SHOP});
    let notice = shop.receiver.take_one().json();
    assert_eq!(notice["type"], "CONTACT_OPT_OUT");
    assert_eq!(notice["isTest"], true);
    assert_eq!(notice["requestIdentifier"], json!({"value": "ada@example.test"}));
    assert_eq!(notice["extras"]["purpose"], purpose);
    assert_eq!(notice["extras"]["request"]["id"], *id);
    assert_eq!(notice["extras"]["request"]["partition"], partition);
    let attributes = json!([{"key": "Tags", "values": ["web", "kiosk"]}]);
    assert_eq!(notice["extras"]["request"]["attributes"], attributes);

    let path = format!("/v1/data-silo/{}/pending-requests/CONTACT_OPT_OUT", shop.cron.0);
    let get = shop
        .server()
        .client()
        .get(shop.server().url(&path))
        .bearer_auth(&shop.cron_key);
    let work: Value = get.send().await.unwrap().json().await.unwrap();
    let [item] = &work["items"].as_array().unwrap()[..] else {
        panic!("one item: {work}");
    };
    assert_eq!((&item["purpose"], &item["partition"]), (&purpose, &partition));
    assert_eq!((&item["requestId"], &item["locale"]), (&json!(id), &json!("en-GB")));
}

#[tokio::test]
async fn checklist_13_a_trigger_fires_once_for_a_change_again_if_forced_and_never_if_skipped() {
    let shop = Shop::open().await;
    shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    let (none, at) = (json!({}), "2026-02-03T10:00:00Z");
    shop.allows_at("2026-02-03T09:00:00Z").await;
    assert_eq!(
        shop.says(false, at, json!({}), json!({"skipWorkflowTriggers": true}))
            .await,
        200
    );
    assert_eq!(shop.count().await, 0, "it was skipped");
    shop.allows_at("2026-02-03T10:01:00Z").await;
    let skipped = json!({"workflowSettings": {"skipWorkflowTrigger": true, "forceTriggerWorkflow": true}});
    let forced = json!({"forceTriggerWorkflows": true});
    assert_eq!(
        shop.says(false, "2026-02-03T10:02:00Z", skipped.clone(), forced.clone())
            .await,
        200
    );
    assert_eq!(shop.count().await, 0, "it was skipped for the purpose");
    shop.allows_at("2026-02-03T10:03:00Z").await;

    let at = "2026-02-03T10:04:00Z";
    shop.refuses_at(at).await;
    assert_eq!(shop.count().await, 1);
    shop.refuses_at(at).await;
    shop.refuses_at("2026-02-03T10:05:00Z").await;
    assert_eq!(shop.count().await, 1, "nothing changed");
    let at = "2026-02-03T10:05:00Z";
    assert_eq!(shop.says(false, at, none.clone(), forced.clone()).await, 200);
    assert_eq!(shop.count().await, 2, "it was forced for the call");
    let own = json!({"workflowSettings": {"forceTriggerWorkflow": true}});
    assert_eq!(shop.says(false, at, own.clone(), none.clone()).await, 200);
    assert_eq!(shop.count().await, 3, "it was forced for the purpose");
    let both = json!({"forceTriggerWorkflows": true, "skipWorkflowTriggers": true});
    assert_eq!(shop.says(false, at, own.clone(), both).await, 200);
    assert_eq!(shop.says(false, "2026-02-03T09:30:00Z", own, forced).await, 200);
    shop.allows_at("2026-02-03T09:31:00Z").await;
    assert_eq!(shop.count().await, 3, "it was skipped; it came too late");

    // Each change is one, whatever is still open.
    shop.allows_at("2026-02-03T11:00:00Z").await;
    shop.refuses_at("2026-02-03T11:01:00Z").await;
    assert_eq!(shop.count().await, 4);
    shop.settle().await;
    assert_eq!(shop.receiver.take().len(), 4);
}

#[tokio::test]
async fn a_call_that_brings_several_changes_of_one_person_fires_for_each() {
    let shop = Shop::open().await;
    shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    shop.trigger("Both", json!([{"Analytics": false}, {"ProductNews": false}]), "")
        .await;
    shop.trigger("Inactive", waits_for("ProductNews", false), ", isActive: false")
        .await;
    let record = |at: &str, news: bool, analytics: bool| {
        let purposes = json!([
            {"purpose": "ProductNews", "enabled": news}, {"purpose": "Analytics", "enabled": analytics}]);
        in_shop(json!({"identifiers": [email_of("ada@example.test")], "timestamp": at, "purposes": purposes}))
    };
    let records = json!({"records": [
        record("2026-02-03T09:00:00Z", true, true),
        record("2026-02-03T09:01:00Z", false, true),
        record("2026-02-03T09:02:00Z", false, false),
        record("2026-02-03T09:02:00Z", false, false),
    ]});
    let (status, answer) = shop.preferences.upsert(records).await;
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let mut names: Vec<String> = shop
        .requests()
        .await
        .iter()
        .map(|request| request["purpose"]["name"].to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["\"Analytics\"", "\"ProductNews\""]);
    shop.settle().await;
}

#[tokio::test]
async fn parallel_calls_that_say_the_same_open_one_request() {
    let shop = std::sync::Arc::new(Shop::open().await);
    shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..12 {
        let shop = shop.clone();
        calls.spawn(async move {
            let at = format!("2026-02-03T09:00:{n:02}Z");
            while shop.says(false, &at, json!({}), json!({})).await == 429 {}
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(shop.count().await, 1);
    shop.settle().await;
}

#[tokio::test]
async fn records_that_become_one_fire_what_that_changes() {
    let shop = Shop::open().await;
    shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    shop.allows_at("2026-02-03T09:00:00Z").await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let other = json!({"identifiers": [phone], "timestamp": "2026-02-03T09:30:00Z",
        "purposes": [{"purpose": "ProductNews", "enabled": false, "workflowSettings": {"skipWorkflowTrigger": true}}]});
    shop.preferences.record(other).await;
    assert_eq!(shop.count().await, 0);
    let joining = json!({"identifiers": [email_of("ada@example.test"), phone], "timestamp": "2026-02-03T09:40:00Z"});
    shop.preferences.record(joining).await;
    let requests = shop.requests().await;
    assert_eq!(requests.len(), 1);
    let list = format!(
        "{{ requestIdentifiers(input: {{requestIds: [{}]}}) {{ nodes {{ name }} }} }}",
        requests[0]["id"]
    );
    let names = json!([{"name": "coreIdentifier"}, {"name": "email"}, {"name": "phone"}]);
    assert_eq!(shop.manage(&list).await["nodes"], names);
    shop.settle().await;
}

#[tokio::test]
async fn silos_are_those_of_the_write_or_else_of_the_trigger() {
    let shop = Shop::open().await;
    let own = format!(", dataSiloIds: [\"{}\"]", shop.cron.0);
    shop.trigger("Stop mail", waits_for("ProductNews", false), &own).await;
    shop.refuses_at("2026-02-03T09:00:00Z").await;
    shop.settle().await;
    assert_eq!(shop.receiver.take().len(), 0, "the trigger names another silo");
    let only = json!({"workflowSettings": {"forceTriggerWorkflow": true, "dataSiloIds": [shop.silo.0]}});
    assert_eq!(shop.says(false, "2026-02-03T09:00:00Z", only, json!({})).await, 200);
    shop.settle().await;
    assert_eq!(shop.receiver.take().len(), 1);
    let not = json!({"workflowSettings": {"forceTriggerWorkflow": true, "ignoreDataSiloIds": [shop.cron.0, nobody()]}});
    assert_eq!(shop.says(false, "2026-02-03T09:00:00Z", not, json!({})).await, 200);
    shop.settle().await;
    let runs = "{ requestDataSilos(filterBy: {}) { totalCount } }";
    assert_eq!(shop.manage(runs).await["totalCount"], 2);
    let both = json!({"workflowSettings": {"dataSiloIds": [shop.silo.0], "ignoreDataSiloIds": [shop.cron.0]}});
    assert_eq!(shop.says(false, "2026-02-03T09:01:00Z", both, json!({})).await, 400);
}

#[tokio::test]
async fn what_a_trigger_cannot_do_does_not_hold_up_the_write() {
    let shop = Shop::open().await;
    shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    let unknown = json!({"workflowSettings": {"subjectType": "martian"}});
    assert_eq!(shop.says(false, "2026-02-03T09:00:00Z", unknown, json!({})).await, 200);
    assert_eq!(shop.failures().await, ["no-such-subject-type"]);

    let subjects = shop.manage("{ internalSubjects { id type } }").await;
    let customer = &subjects[0]["id"];
    shop.manage(&format!(
        "mutation {{ updateSubject(input: {{id: {customer}, actions: [ACCESS]}}) {{ clientMutationId }} }}"
    ))
    .await;
    shop.allows_at("2026-02-03T09:01:00Z").await;
    shop.refuses_at("2026-02-03T09:02:00Z").await;
    assert_eq!(shop.failures().await, ["action-not-offered", "no-such-subject-type"]);

    shop.manage(&format!(
        "mutation {{ toggleSubject(input: {{id: {customer}, active: false}}) {{ clientMutationId }} }}"
    ))
    .await;
    shop.allows_at("2026-02-03T09:03:00Z").await;
    shop.refuses_at("2026-02-03T09:04:00Z").await;
    assert_eq!(shop.failures().await[0], "no-such-subject-type");
    assert_eq!(shop.count().await, 0);
    let stored = shop.preferences.find_email("ada@example.test").await;
    assert_eq!(enabled(&stored, "ProductNews"), Some(false), "the choice is kept");
}

#[tokio::test]
async fn a_person_without_an_address_gets_a_silent_request() {
    let shop = Shop::open().await;
    shop.trigger("Stop mail", waits_for("ProductNews", false), ", isSilent: false")
        .await;
    let purposes = json!([{"purpose": "ProductNews", "enabled": false}]);
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let record = json!({"identifiers": [phone], "purposes": purposes, "locale": "tlh"});
    shop.preferences.record(record).await;
    shop.refuses_at("2026-02-03T09:00:00Z").await;
    let requests = shop.requests().await;
    let shown = |request: &Value| {
        (
            request["coreIdentifier"].clone(),
            request["isSilent"].clone(),
            request["locale"].clone(),
        )
    };
    let mut shown: Vec<_> = requests.iter().map(shown).map(|one| format!("{one:?}")).collect();
    shown.sort();
    let expected = [
        (json!("+351910000017"), json!(true), json!("en")),
        (json!("ada@example.test"), json!(false), json!("en")),
    ];
    assert_eq!(shown, expected.map(|one| format!("{one:?}")));
    shop.settle().await;
    shop.receiver.take();
}

#[tokio::test]
async fn insisting_while_a_request_can_no_longer_be_stopped_refuses_the_whole_call() {
    let shop = Shop::open().await;
    let actions = shop.manage("{ actions(first: 100) { nodes { id type } } }").await;
    let erasure = actions["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|action| action["type"] == "ERASURE")
        .unwrap();
    shop.manage(&format!(
        "mutation {{ updateAction(input: {{id: {}, delay: {{time: 0, previewAction: ACCESS}}, requiresReview: false, skipSecondaryIfNoFiles: false}}) \
         {{ clientMutationId }} }}",
        erasure["id"]
    ))
    .await;
    let silo = shop.silo.0;
    shop.trigger(
        "Forget",
        waits_for("ProductNews", false),
        &format!(", dataSiloIds: [\"{silo}\"]"),
    )
    .await;
    let id = shop.manage("{ consentWorkflowTriggers { nodes { id } } }").await["nodes"][0]["id"].clone();
    shop.manage(&format!(
        "mutation {{ createOrUpdateConsentWorkflowTrigger(input: {{id: {id}, actionType: ERASURE}}) \
         {{ consentWorkflowTrigger {{ id }} }} }}"
    ))
    .await;
    let at = "2026-02-03T09:00:00Z";
    shop.refuses_at(at).await;
    shop.settle().await;
    let story_key = shop.server().key_for(&[], &[shop.silo]).await;
    let nonce = shop.receiver.take_one().nonce();
    let put = shop.server().client().put(shop.server().url("/v1/data-silo"));
    let put = put
        .bearer_auth(&story_key)
        .header("x-transcend-nonce", &nonce)
        .json(&json!({}));
    assert_eq!(put.send().await.unwrap().status(), 200);
    shop.settle().await;
    assert_eq!(shop.requests().await[0]["status"], "SECONDARY");

    let forced = json!({"forceTriggerWorkflows": true});
    let insists = |email: &str| {
        let purposes = json!([{"purpose": "ProductNews", "enabled": false}]);
        in_shop(json!({"identifiers": [email_of(email)], "timestamp": at, "purposes": purposes}))
    };
    let records =
        json!({"records": [insists("bob@example.test"), insists("ada@example.test")], "forceTriggerWorkflows": true});
    let (status, answer) = shop.preferences.upsert(records).await;
    assert_eq!((status, &answer["code"]), (409, &json!("NOT_MODIFIABLE")), "{answer}");
    let bob = shop
        .preferences
        .find(json!({"identifiers": [email_of("bob@example.test")]}))
        .await;
    assert_eq!((bob.len(), shop.count().await), (0, 1), "nothing of the call is kept");
    // Who really refuses is not held up.
    shop.allows_at("2026-02-03T09:10:00Z").await;
    assert_eq!(shop.says(false, "2026-02-03T09:11:00Z", json!({}), forced).await, 200);
    assert_eq!(shop.count().await, 2);
    shop.settle().await;
    shop.receiver.take();
}

#[tokio::test]
async fn triggers_are_made_changed_listed_and_removed_as_clients_do() {
    let shop = Shop::open().await;
    let purposes = shop
        .manage("{ purposes(first: 100, offset: 0, input: {includeDeleted: false}) { nodes { id trackingType } } }")
        .await;
    let purpose = |slug: &str| {
        let nodes = purposes["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["trackingType"] == slug).unwrap()["id"].clone()
    };
    let (news, analytics) = (purpose("ProductNews"), purpose("Analytics"));
    let action = shop.manage("{ actions(first: 100) { nodes { id type } } }").await;
    let action = action["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["type"] == "SALE_OPT_OUT")
        .unwrap()["id"]
        .clone();
    let subject = shop.manage("{ internalSubjects { id type } }").await[0]["id"].clone();
    let silo = shop.silo.0;
    let create = |name: &str, purposes: &str, more: &str| {
        format!(
            "mutation {{ createOrUpdateConsentWorkflowTrigger(input: {{name: \"{name}\", actionId: {action}, \
             dataSubjectId: {subject}, consentWorkflowTriggerPurposes: [{purposes}] {more}}}) \
             {{ consentWorkflowTrigger {{ id name }} }} }}"
        )
    };
    let off = |purpose: &Value| format!("{{purposeId: {purpose}, matchingState: false}}");
    let condition = json!(r#"{"And":[{"ProductNews":false}]}"#);
    let more = format!(", triggerCondition: {condition}, isSilent: true, dataSiloIds: [\"{silo}\"]");
    let made = shop.manage(&create("Stop mail", &off(&news), &more)).await;
    let id = made["consentWorkflowTrigger"]["id"].clone();
    shop.manage(&create("Stop all", &format!("{}, {}", off(&news), off(&analytics)), ""))
        .await;
    shop.manage(&create(
        "Idle",
        &off(&analytics),
        ", isActive: false, allowUnauthenticated: true",
    ))
    .await;

    const SELECTION: &str = "{ nodes { id name triggerCondition isSilent allowUnauthenticated isActive workflowConfigId \
        workflowConfig { id internalName } action { type } subject { type } dataSilos { title } \
        consentWorkflowTriggerPurposes { matchingState purpose { trackingType } } } totalCount }";
    let first = shop
        .manage(&format!(
            "{{ consentWorkflowTriggers(first: 1, offset: 0) {SELECTION} }}"
        ))
        .await;
    let expected = json!({
        "nodes": [{
            "id": id, "name": "Stop mail", "triggerCondition": r#"{"And":[{"ProductNews":false}]}"#, "isSilent": true,
            "allowUnauthenticated": false, "isActive": true, "workflowConfigId": null, "workflowConfig": null,
            "action": {"type": "SALE_OPT_OUT"}, "subject": {"type": "customer"},
            "dataSilos": [{"title": "Shop backend"}],
            "consentWorkflowTriggerPurposes": [{"matchingState": false, "purpose": {"trackingType": "ProductNews"}}],
        }],
        "totalCount": 3,
    });
    assert_eq!(first, expected);
    for (filter, names) in [
        ("text: \"STOP\"", &["Stop mail", "Stop all"][..]),
        ("isActive: false", &["Idle"]),
        ("isSilent: true", &["Stop mail"]),
        ("allowUnauthenticated: true", &["Idle"]),
        ("trackingTypes: [\"Analytics\"]", &["Stop all", "Idle"]),
        (&format!("purposeIds: [{news}]"), &["Stop mail", "Stop all"]),
        (
            &format!("actionIds: [{action}], dataSubjectIds: [{subject}]"),
            &["Stop mail", "Stop all", "Idle"],
        ),
        (&format!("actionIds: [{subject}]"), &[]),
    ] {
        let list = format!(
            "{{ consentWorkflowTriggers(first: 50, offset: 0, filterBy: {{{filter}}}) {{ nodes {{ name }} }} }}"
        );
        let found = shop.manage(&list).await;
        let found: Vec<&str> = found["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|node| node["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{filter}");
    }

    let change = |more: &str| {
        format!(
            "mutation {{ createOrUpdateConsentWorkflowTrigger(input: {{id: {id}, {more}}}) {{ consentWorkflowTrigger {{ id name }} }} }}"
        )
    };
    shop.manage(&change("name: \"Mail\", dataSiloIds: []")).await;
    let bad_condition = "triggerCondition must be";
    for (document, said) in [
        (change("name: \"Idle\""), "name is that of another trigger"),
        (change("name: \" x\""), "name must have"),
        (change("triggerCondition: \"{}\""), bad_condition),
        (change("consentWorkflowTriggerPurposes: []"), bad_condition),
        (
            change(&format!(
                "triggerCondition: {condition}, consentWorkflowTriggerPurposes: [{}]",
                off(&analytics)
            )),
            "must say the same",
        ),
        (
            change(&format!(
                "consentWorkflowTriggerPurposes: [{}, {}]",
                off(&news),
                off(&news)
            )),
            "twice",
        ),
        (
            change("consentWorkflowTriggerPurposes: [{matchingState: true}]"),
            "no such purpose",
        ),
        (
            change("triggerCondition: \"{\\\"And\\\":[{\\\"Nothing\\\":true}]}\""),
            "no such purpose",
        ),
        (change(&format!("actionId: {subject}")), "no such action"),
        (change(&format!("dataSubjectId: {action}")), "no such data subject type"),
        (change(&format!("dataSiloIds: [{action}]")), "no such data silo"),
        (
            change(&format!("workflowConfigId: {subject}")),
            "no such workflow configuration",
        ),
        (
            change(&format!("workflowConfigId: {action}, actionType: ACCESS")),
            "that of the workflow",
        ),
        (
            change(&format!("workflowConfigId: {action}, dataSiloIds: [\"{silo}\"]")),
            "must not be given together",
        ),
        (create("New", "", ""), bad_condition),
        (
            "mutation { createOrUpdateConsentWorkflowTrigger(input: {name: \"x\"}) { consentWorkflowTrigger { id } } }"
                .into(),
            bad_condition,
        ),
    ] {
        let refused = manage_refused(shop.server(), &shop.admin, &document).await;
        assert!(
            refused.starts_with("Client error: ") && refused.contains(said),
            "{document}: {refused}"
        );
    }

    let delete = format!(
        "mutation {{ deleteConsentWorkflowTriggers(input: {{ids: [{id}, \"{}\"]}}) {{ count }} }}",
        nobody()
    );
    assert_eq!(shop.manage(&delete).await["count"], 1);
    assert_eq!(shop.manage(&delete).await["count"], 0);
    shop.refuses_at("2026-02-03T09:00:00Z").await;
    assert_eq!(shop.count().await, 0, "what is left waits for Analytics too");
}

#[tokio::test]
async fn a_trigger_is_in_force_with_the_call_after_the_one_that_made_it() {
    let mut shop = Shop::open().await;
    shop.allows_at("2026-02-03T09:00:00Z").await;
    let id = shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    shop.refuses_at("2026-02-03T09:01:00Z").await;
    assert_eq!(shop.count().await, 1);
    shop.settle().await;
    shop.preferences.server.restart().await;
    shop.allows_at("2026-02-03T09:02:00Z").await;
    shop.refuses_at("2026-02-03T09:03:00Z").await;
    assert_eq!(shop.count().await, 2, "it outlives a restart");
    shop.manage(&format!(
        "mutation {{ createOrUpdateConsentWorkflowTrigger(input: {{id: \"{id}\", isActive: false}}) \
         {{ consentWorkflowTrigger {{ id }} }} }}"
    ))
    .await;
    shop.allows_at("2026-02-03T09:04:00Z").await;
    shop.refuses_at("2026-02-03T09:05:00Z").await;
    assert_eq!(shop.count().await, 2);
    shop.settle().await;
    shop.receiver.take();
}

#[tokio::test]
async fn a_trigger_can_run_a_workflow_configuration_which_is_how_an_action_is_handled() {
    let shop = Shop::open().await;
    let actions = shop.manage("{ actions(first: 100) { nodes { id type } } }").await;
    let workflow = |action: &str| {
        let mut nodes = actions["nodes"].as_array().unwrap().iter();
        nodes.find(|node| node["type"] == action).unwrap()["id"].clone()
    };
    let id = shop
        .trigger(
            "Stop mail",
            waits_for("ProductNews", false),
            &format!(", dataSiloIds: [\"{}\"]", shop.cron.0),
        )
        .await;
    let change = async |more: &str| {
        let document = format!(
            "mutation {{ createOrUpdateConsentWorkflowTrigger(input: {{id: \"{id}\", {more}}}) {{ consentWorkflowTrigger \
             {{ workflowConfigId workflowConfig {{ id internalName }} action {{ type }} dataSilos {{ title }} }} }} }}"
        );
        shop.manage(&document).await["consentWorkflowTrigger"].clone()
    };
    let opt_out = workflow("SALE_OPT_OUT");
    let by_workflow = json!({"workflowConfigId": opt_out, "workflowConfig": {"id": opt_out, "internalName": "SALE_OPT_OUT"},
        "action": {"type": "SALE_OPT_OUT"}, "dataSilos": []});
    assert_eq!(change(&format!("workflowConfigId: {opt_out}")).await, by_workflow);
    assert_eq!(change("isSilent: true").await, by_workflow, "what is not given stays");
    shop.refuses_at("2026-02-03T09:00:00Z").await;
    let other =
        json!({"workflowSettings": {"forceTriggerWorkflow": true, "workflowConfigId": workflow("TRACKING_OPT_OUT")}});
    assert_eq!(shop.says(false, "2026-02-03T09:00:00Z", other, json!({})).await, 200);
    let kinds: Vec<Value> = shop
        .requests()
        .await
        .iter()
        .map(|request| request["type"].clone())
        .collect();
    assert_eq!(kinds, ["SALE_OPT_OUT", "TRACKING_OPT_OUT"], "the write's wins");
    let unknown = json!({"workflowSettings": {"workflowConfigId": nobody().to_string()}});
    assert_eq!(shop.says(false, "2026-02-03T09:01:00Z", unknown, json!({})).await, 400);

    let by_parts = change("actionType: CONTACT_OPT_OUT").await;
    assert_eq!(
        (&by_parts["workflowConfigId"], &by_parts["workflowConfig"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(by_parts["action"]["type"], "CONTACT_OPT_OUT");
    shop.settle().await;
    shop.receiver.take();
}

#[tokio::test]
async fn appending_changing_and_deleting_identifiers_and_records_fires_nothing() {
    let shop = Shop::open().await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    let skipped = json!({"skipWorkflowTriggers": true});
    assert_eq!(shop.says(true, "2026-02-03T09:00:00Z", json!({}), json!({})).await, 200);
    let refused = json!({"identifiers": [phone], "timestamp": "2026-02-03T09:30:00Z",
        "purposes": [{"purpose": "ProductNews", "enabled": false}]});
    let body = json!({"records": [in_shop(refused)], "skipWorkflowTriggers": true});
    assert_eq!(shop.preferences.upsert(body).await.0, 200);
    shop.trigger("Stop mail", waits_for("ProductNews", false), "").await;
    shop.trigger("Start mail", waits_for("ProductNews", true), "").await;
    let amend = async |verb: &str, mut record: Value| {
        record["timestamp"] = json!("2026-02-03T09:40:00Z");
        let path = format!("/v1/preferences/{SHOP}/{verb}");
        let body = json!({ "records": [record] }).to_string();
        let (status, answer) = shop.preferences.call(reqwest::Method::POST, &path, body).await;
        assert_eq!((status, &answer["failures"]), (200, &json!([])), "{verb}: {answer}");
        assert_eq!(shop.count().await, 0, "{verb}");
    };
    let ada = email_of("ada@example.test");
    // The record that this brings in has another answer.
    let merging = json!({"mergeRecordsOnConflict": true});
    amend(
        "append-identifiers",
        json!({"anchorIdentifier": ada, "append": phone, "options": merging}),
    )
    .await;
    let stored = shop.preferences.find_email("ada@example.test").await;
    assert_eq!(enabled(&stored, "ProductNews"), Some(false));
    let update = json!({"name": "phone", "oldValue": "+351910000017", "newValue": "+351910000018"});
    amend("update-identifiers", json!({"anchorIdentifier": ada, "update": update})).await;
    let gone = json!({"name": "phone", "value": "+351910000018"});
    amend("delete-identifiers", json!({"anchorIdentifier": ada, "delete": gone})).await;
    amend("delete", json!({"anchorIdentifier": ada})).await;
    assert_eq!(shop.says(false, "2026-02-03T10:00:00Z", json!({}), skipped).await, 200);
    shop.settle().await;
    assert_eq!((shop.count().await, shop.failures().await), (0, Vec::new()));
}

#[tokio::test]
async fn a_consent_that_had_expired_is_a_change_when_it_is_given_again() {
    let shop = Shop::open().await;
    shop.trigger("Welcome", waits_for("ProductNews", true), "").await;
    let purposes = shop
        .manage("{ purposes(first: 100, filterBy: {trackingTypes: [\"ProductNews\"]}) { nodes { id } } }")
        .await;
    let id = purposes["nodes"][0]["id"].as_str().unwrap().to_owned();
    shop.manage(&format!(
        "mutation {{ updatePurpose(input: {{id: \"{id}\", consentExpiryDays: 30}}) {{ purpose {{ id }} }} }}"
    ))
    .await;
    shop.allows_at("2026-03-01T09:00:00Z").await;
    shop.allows_at("2026-03-02T09:00:00Z").await;
    assert_eq!(shop.count().await, 1);
    shop.settle().await;
    shop.server()
        .clock
        .advance(std::time::Duration::from_secs(60 * 24 * 60 * 60));
    shop.allows_at("2026-04-30T09:00:00Z").await;
    assert_eq!(shop.count().await, 2);
    shop.settle().await;
}
