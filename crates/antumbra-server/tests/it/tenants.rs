//! Two organizations on one server: whatever one of them has, the other is answered as if it were not there.
//!
//! Everything is asked for twice by the same stranger: once with the real ids and tokens of the organization next door,
//! once with ones that nobody has. The answers are the same to the letter, and next door nothing has changed.

use std::collections::{BTreeMap, BTreeSet};

use antumbra_server::{
    api_keys::{ApiKeyInput, ScopeName},
    graphql,
    organization::{Action, OrganizationId},
    purposes,
    silos::DataSiloId,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    access::guarded,
    support::{TestServer, key_input, manage::manage, rows::rows_of, story::Story},
};

/// What an organization has, by the word that stands for it in the calls below: `@silo` and so on.
type Things = BTreeMap<&'static str, String>;

/// One of everything that an organization can have.
async fn furnish(story: &Story) -> Things {
    let (server, key) = (&story.server, story.admin_key.as_str());
    let mut things = Things::new();
    let mut ask = async |word: &'static str, document: &str, pointer: &str| {
        let answer = manage(server, key, document).await;
        let found = answer.pointer(pointer).and_then(Value::as_str);
        things.insert(
            word,
            found.unwrap_or_else(|| panic!("{pointer} in {answer}")).to_owned(),
        );
        things.clone()
    };
    let made = "createIdentifier(input: {name: \"loyaltyCard\", type: custom}) { identifier { id } }";
    ask("identifier", &format!("mutation {{ {made} }}"), "/identifier/id").await;
    let made = "createSubject(input: {type: \"member\", title: \"Member\"}) { subject { id } }";
    ask("subject", &format!("mutation {{ {made} }}"), "/subject/id").await;
    ask("action", "{ actions(first: 1) { nodes { id } } }", "/nodes/0/id").await;
    let made =
        "createAttributeKey(input: {name: \"Tier\", type: MULTI_SELECT, enabledOn: [request]}) { attributeKey { id } }";
    ask("attribute", &format!("mutation {{ {made} }}"), "/attributeKey/id").await;
    let made =
        "createAttributeValues(input: [{attributeKeyName: \"Tier\", name: \"Gold\"}]) { attributeValues { id } }";
    ask("value", &format!("mutation {{ {made} }}"), "/attributeValues/0/id").await;
    let made = "createTemplate(input: {title: \"Goodbye\", subject: \"s\", template: \"t\"}) { template { id } }";
    ask("template", &format!("mutation {{ {made} }}"), "/template/id").await;
    let made =
        "createPurpose(input: {name: \"Loyalty\", trackingType: \"Loyalty\", description: \"\"}) { purpose { id } }";
    let purpose = ask("purpose", &format!("mutation {{ {made} }}"), "/purpose/id").await["purpose"].clone();
    let made = "createOrUpdatePreferenceOptionValues(input: {preferenceOptionValues: [{title: \"Weekly\"}]}) \
        { preferenceOptionValues { id } }";
    let option = ask(
        "option",
        &format!("mutation {{ {made} }}"),
        "/preferenceOptionValues/0/id",
    )
    .await["option"]
        .clone();
    let made = format!(
        "createOrUpdatePreferenceTopic(input: {{purposeId: \"{purpose}\", slug: \"Pace\", title: \"Pace\", type: SELECT, \
         preferenceOptionValueIds: [\"{option}\"]}}) {{ preferenceTopic {{ id }} }}"
    );
    ask("topic", &format!("mutation {{ {made} }}"), "/preferenceTopic/id").await;
    let made = "createOrUpdateConsentWorkflowTrigger(input: {name: \"Theirs\", actionType: ACCESS, \
        dataSubjectType: \"customer\", triggerCondition: \"{\\\"And\\\":[{\\\"Loyalty\\\":false}]}\"}) \
        { consentWorkflowTrigger { id } }";
    ask(
        "trigger",
        &format!("mutation {{ {made} }}"),
        "/consentWorkflowTrigger/id",
    )
    .await;
    let manager = ask(
        "manager",
        "{ consentManager { consentManager { id } } }",
        "/consentManager/id",
    )
    .await;
    let made = format!(
        "createConsentPartition(input: {{id: \"{}\", name: \"Shop\", partition: \"shop-of-theirs\"}}) \
         {{ consentPartition {{ id }} }}",
        manager["manager"]
    );
    ask(
        "partition_id",
        &format!("mutation {{ {made} }}"),
        "/consentPartition/id",
    )
    .await;
    let made = format!(
        "createEnricher(input: {{title: \"Lookup\", type: SERVER, url: \"{}\", inputIdentifier: \"loyaltyCard\", \
         identifiers: [\"email\"]}}) {{ enricher {{ id }} }}",
        story.receiver.url()
    );
    ask("enricher", &format!("mutation {{ {made} }}"), "/enricher/id").await;
    let made = "createDropRun(input: {title: \"Spring\"}) { dropRun { id } }";
    ask("drop_run", &format!("mutation {{ {made} }}"), "/dropRun/id").await;
    let made = "createApiKey(input: {title: \"Shop key\"}) { apiKey { id } }";
    ask("api_key", &format!("mutation {{ {made} }}"), "/apiKey/id").await;
    ask("data_point", "{ dataPoints { nodes { id } } }", "/nodes/0/id").await;

    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    let second = story
        .submit_about(Action::Access, "acct_2", "second@example.test")
        .await;
    server.run_jobs_until_idle().await;
    let answered = story.receiver.take_one().nonce();
    let photo = b"what only they may see".to_vec();
    assert_eq!(story.post_file(&answered, "photo", &[], photo).await.status(), 200);
    let list = format!("{{ requestIdentifiers(input: {{requestIds: [\"{request}\"]}}) {{ nodes {{ id }} }} }}");
    ask("request_identifier", &list, "/nodes/0/id").await;
    let list = format!("{{ requestDataSilos(filterBy: {{requestId: \"{request}\"}}) {{ nodes {{ id }} }} }}");
    ask("run", &list, "/nodes/0/id").await;
    let told = json!({ "isSilent": false });
    let told = story
        .submit_with(Action::Access, "acct_3", "third@example.test", told)
        .await;
    server.run_jobs_until_idle().await;
    let _ = story.receiver.take_one();
    let list = format!("{{ messages(requestId: \"{told}\") {{ nodes {{ id }} }} }}");
    ask("message", &list, "/nodes/0/id").await;
    let card = json!({ "subject": { "coreIdentifier": "acct_4", "attestedExtraIdentifiers": {
        "custom": [{ "name": "loyaltyCard", "value": "LC-1" }] } } });
    let enriching = story.submit_with(Action::Access, "acct_4", "", card).await;
    server.run_jobs_until_idle().await;
    let preflight_nonce = story.receiver.take_one().nonce();
    let list = format!("{{ requestEnrichers(input: {{requestId: \"{enriching}\"}}) {{ nodes {{ id }} }} }}");
    let mut things = ask("preflight", &list, "/nodes/0/id").await;
    let file = story.files_of(second).await.remove(0);

    let put = server.client().put(server.url("/v1/preferences")).bearer_auth(key);
    let people: Vec<Value> = (0..3)
        .map(|n| {
            json!({ "partition": "shop-of-theirs", "timestamp": "2026-02-03T09:00:00.000Z",
                "identifiers": [{ "name": "email", "value": format!("p{n}@example.test") }] })
        })
        .collect();
    let answer: Value = put
        .json(&json!({ "records": people }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let identifiers = answer["nodes"][0]["identifiers"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    let record = identifiers
        .iter()
        .find(|identifier| identifier["name"] == "transcend")
        .unwrap();
    let query = server
        .client()
        .post(server.url("/v1/preferences/shop-of-theirs/query"))
        .bearer_auth(key);
    let page: Value = query
        .json(&json!({ "limit": 1 }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let changes = server
        .client()
        .get(server.url("/v1/preferences/shop-of-theirs/changes"));
    let changes = changes.bearer_auth(key).send().await.unwrap();
    let changes = changes.headers()["antumbra-cursor"].to_str().unwrap().to_owned();
    let made = "createPreferenceChangeWebhook(input: {url: \"https://hook.example.test/theirs\", partition: \"shop-of-theirs\"}) \
        { preferenceChangeWebhook { id } }";
    let made = manage(server, key, &format!("mutation {{ {made} }}")).await;
    let webhook = made
        .pointer("/preferenceChangeWebhook/id")
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned();
    // What the server means to do for them: the key of a job ends in its id.
    let jobs = rows_of(server, "jobs").await;
    let job = jobs
        .iter()
        .find(|(key, _)| key.starts_with(story.organization().0.as_bytes()));
    let (key, _) = job.expect("a silo that does not answer is told again");
    things.extend([
        ("job", Uuid::from_slice(&key[key.len() - 16..]).unwrap().to_string()),
        ("request", request.to_string()),
        ("silo", story.silo.0.to_string()),
        ("nonce", nonce),
        ("enriching", enriching.to_string()),
        ("preflight_nonce", preflight_nonce),
        ("download_key", file["downloadKey"].as_str().unwrap().to_owned()),
        ("record", record["value"].as_str().unwrap().to_owned()),
        ("changes", changes),
        ("webhook", webhook),
        ("cursor", page["cursor"].as_str().unwrap().to_owned()),
        ("organization", story.organization().0.to_string()),
        ("partition", "shop-of-theirs".to_owned()),
        ("silo_title", "Shop backend".to_owned()),
        ("subject_type", "member".to_owned()),
        ("identifier_name", "loyaltyCard".to_owned()),
        ("attribute_name", "Tier".to_owned()),
        ("purpose_name", "Loyalty".to_owned()),
        ("option_slug", "Weekly".to_owned()),
        ("core", crate::support::story::CORE.to_owned()),
    ]);
    things
}

/// The same words for things that nobody has: fresh ids, names of the same length, and tokens signed by nobody.
fn nobodys(things: &Things) -> Things {
    let other = |text: &str| -> String {
        if text.parse::<Uuid>().is_ok() {
            return Uuid::from_bytes(antumbra_crypto::random_bytes()).to_string();
        }
        // The last characters of a token carry padding; one in the middle of the signature does not.
        let at = text.len() - text.len().min(12) / 2 - 1;
        let letter = if &text[at..=at] == "x" { "y" } else { "x" };
        format!("{}{letter}{}", &text[..at], &text[at + 1..])
    };
    things.iter().map(|(word, thing)| (*word, other(thing))).collect()
}

/// `text` with things in the place of their words.
fn fill(text: &str, things: &Things) -> String {
    // Longer words first, since some begin like others.
    let mut words: Vec<_> = things.iter().collect();
    words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
    words.into_iter().fold(text.to_owned(), |text, (word, thing)| {
        text.replace(&format!("@{word}"), thing)
    })
}

/// An answer without what differs from one call to the next: ids, and the things that were asked for.
fn plain(text: &str, things: &Things) -> String {
    let mut text = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(mut answer)) => {
            answer.remove("requestId");
            Value::Object(answer).to_string()
        }
        _ => text.to_owned(),
    };
    for (word, thing) in things {
        text = text.replace(thing.as_str(), &format!("@{word}"));
    }
    let mut plain = String::new();
    while let Some(character) = text.chars().next() {
        match text.get(..36).filter(|part| part.parse::<Uuid>().is_ok()) {
            Some(_) => {
                plain.push_str("ID");
                text.drain(..36);
            }
            None => {
                plain.push(character);
                text.drain(..character.len_utf8());
            }
        }
    }
    plain
}

/// Every row of the organization, of every table but that of when its keys were used.
async fn everything_of(
    server: &TestServer,
    organization: OrganizationId,
) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let mut all = BTreeMap::new();
    for table in antumbra_server::tables()
        .into_iter()
        .filter(|table| *table != "api_key_uses")
    {
        let rows = rows_of(server, table).await.into_iter();
        let theirs = rows.filter(|(key, _)| key.starts_with(organization.0.as_bytes()));
        all.extend(theirs.map(|(key, row)| ((table, key), row)));
    }
    all
}

/// Two neighbours: what one has, and keys of the other that may do everything.
struct Neighbours {
    story: Story,
    things: Things,
    strangers: Vec<String>,
}

impl Neighbours {
    async fn meet() -> Neighbours {
        let story = Story::with_data_points(&["photo"]).await;
        let things = furnish(&story).await;
        let other = story.server.another_organization().await;
        let app = story.server.app();
        let third = app
            .world
            .create_organization("Third".into(), "third".into())
            .await
            .unwrap()
            .id;
        let scopes = vec![ScopeName::FullAdmin];
        let (_, admin) = story
            .server
            .make_key(other, ApiKeyInput { scopes, ..key_input() })
            .await;
        // Says of itself that it may answer for the silo next door.
        let silos = vec![DataSiloId(story.silo.0)];
        let (_, attached) = story.server.make_key(third, ApiKeyInput { silos, ..key_input() }).await;
        let mut tx = app.store.begin_write().await.unwrap();
        let (name, key) = ("Ours".to_owned(), Some("shop-of-ours".to_owned()));
        purposes::create_partition(&mut tx, &app.ids, other, name, key, app.clock.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        Neighbours {
            story,
            things,
            strangers: vec![admin, attached],
        }
    }

    /// Makes a call in a stranger's name with real things and with nobody's, and compares.
    async fn compare(&self, call: &Call, key: &str) {
        let nobodys = nobodys(&self.things);
        let mut answers = Vec::new();
        for (name, things) in [("nobodys", &nobodys), ("theirs", &self.things)] {
            let mut things = things.clone();
            // What is made by the call bears another name each time.
            things.insert("name", format!("{name}{}", call.field));
            let url = self.story.server.url(&fill(call.path, &things));
            let mut sent = self
                .story
                .server
                .client()
                .request(call.method.clone(), url)
                .bearer_auth(key);
            for (name, value) in call.headers {
                sent = sent.header(*name, fill(value, &things));
            }
            if call.method != Method::GET {
                sent = sent
                    .header("content-type", "application/json")
                    .body(fill(&call.body, &things));
            }
            let answer = sent.send().await.unwrap();
            let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
            answers.push((status, plain(&text, &things)));
        }
        let (nobodys, theirs) = (&answers[0], &answers[1]);
        assert_eq!(nobodys, theirs, "{} {} {}", call.method, call.path, call.body);
        assert!(!theirs.1.contains("what only they may see"));
        assert!(
            !theirs.1.contains("GRAPHQL_VALIDATION_FAILED"),
            "{}: {}",
            call.body,
            theirs.1
        );
    }
}

/// A call with words in the place of things.
struct Call {
    method: Method,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: String,
    /// The field of the management API, if it is about one.
    field: &'static str,
}

fn calls() -> Vec<Call> {
    const NONCE: &[(&str, &str)] = &[("x-transcend-nonce", "@nonce"), ("x-transcend-datapoint-name", "photo")];
    let call = |method: Method, path, headers, body: Value| Call {
        method,
        path,
        headers,
        body: body.to_string(),
        field: "",
    };
    let submit = |more: Value| {
        let mut body = json!({ "type": "ACCESS", "subjectType": "customer", "isSilent": true,
            "subject": { "coreIdentifier": "@name" } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(Method::POST, "/v1/data-subject-request", &[], body)
    };
    let bulk = |input: Value| {
        let mut whole = json!({ "workflowConfigId": "@name", "attestedAuthContext": { "coreIdentifier": "@name" } });
        whole
            .as_object_mut()
            .unwrap()
            .extend(input.as_object().unwrap().clone());
        call(
            Method::POST,
            "/v1/data-subject-request-bulk",
            &[],
            json!({ "input": [whole] }),
        )
    };
    let subject =
        |extras: Value| submit(json!({ "subject": { "coreIdentifier": "@name", "attestedExtraIdentifiers": extras } }));
    let ours = |more: Value| {
        let mut record = json!({ "partition": "shop-of-ours", "timestamp": "2026-02-03T09:00:00.000Z",
            "identifiers": [{ "name": "coreIdentifier", "value": "@name" }] });
        record
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        call(Method::PUT, "/v1/preferences", &[], json!({ "records": [record] }))
    };
    let query = |path: &'static str, body: Value| call(Method::POST, path, &[], body);
    let at = |record: &str, mut more: Value| {
        more["anchorIdentifier"] = json!({ "name": "transcend", "value": record });
        more["timestamp"] = json!("2026-02-03T09:00:00.000Z");
        more
    };
    let get = |path: &'static str| call(Method::GET, path, &[], Value::Null);
    vec![
        submit(json!({ "subjectType": "@subject_type" })),
        submit(json!({ "dataSiloIds": ["@silo"] })),
        submit(json!({ "ignoreDataSiloIds": ["@silo"] })),
        submit(json!({ "skipEnrichmentChecks": ["@enricher"] })),
        submit(json!({ "emailReceiptTemplateId": "@template" })),
        submit(json!({ "requestId": "@request" })),
        submit(json!({ "attributes": [{ "key": "@attribute_name", "values": ["Gold"] }] })),
        bulk(json!({ "workflowConfigId": "@action" })),
        bulk(json!({ "requestId": "@request" })),
        bulk(json!({ "partitionKey": "@partition" })),
        bulk(json!({ "dropRunId": "@drop_run", "dropRecords": [{ "dropRecordId": "1", "dropListType": "email" }] })),
        // The same person next door stands in nobody's way, and is found by nobody.
        submit(json!({ "subject": { "coreIdentifier": "@core" } })),
        subject(json!({ "custom": [{ "name": "@identifier_name", "value": "1" }] })),
        get("/v1/data-subject-request/@request"),
        get("/v1/data-subject-request/@request/download-keys"),
        get("/v1/data-subject-request/@request/report"),
        query("/v1/data-subject-request/@request/plan", Value::Null),
        get("/v1/data-subject-request/@request/closing-record"),
        query("/v1/request-identifiers", json!({ "requestId": "@request" })),
        get("/v1/files?downloadKey=@download_key"),
        call(
            Method::POST,
            "/v1/enrich-identifiers",
            &[("x-transcend-nonce", "@preflight_nonce")],
            json!({}),
        ),
        call(
            Method::POST,
            "/v1/enrich-identifiers",
            &[
                ("x-transcend-request-id", "@enriching"),
                ("x-transcend-enricher-id", "@enricher"),
            ],
            json!({}),
        ),
        call(Method::POST, "/v1/data-silo", NONCE, json!({ "status": "READY" })),
        call(Method::PUT, "/v1/data-silo", NONCE, json!({})),
        call(Method::POST, "/v1/datapoint", NONCE, json!("bytes")),
        call(
            Method::POST,
            "/v1/datapoint-chunked",
            NONCE,
            json!({ "dataPointName": "photo", "data": [1] }),
        ),
        get("/v1/data-silo/@silo/pending-requests/ACCESS"),
        get("/v1/preferences/@partition/changes"),
        get("/v1/preferences/shop-of-ours/changes?after=@changes"),
        ours(json!({ "partition": "@partition" })),
        ours(json!({ "identifiers": [{ "name": "transcend", "value": "@record" }] })),
        ours(json!({ "identifiers": [{ "name": "@identifier_name", "value": "1" }] })),
        ours(json!({ "purposes": [{ "purpose": "@purpose_name", "enabled": true }] })),
        query("/v1/consent-preferences", json!({ "partition": "@partition" })),
        query(
            "/v1/preferences/shop-of-ours/query",
            json!({ "identifiers": [{ "type": "transcend", "value": "@record" }] }),
        ),
        query(
            "/v1/preferences",
            json!({ "partition": "@partition", "records": [{ "identifier": "@name", "purposes": [] }] }),
        ),
        call(
            Method::DELETE,
            "/v1/preferences/shop-of-ours/delete",
            &[],
            json!({ "identifiers": [{ "type": "transcend", "value": "@record" }] }),
        ),
        call(
            Method::PUT,
            "/v1/preferences/shop-of-ours/update-identifiers",
            &[],
            json!({ "userId": "p0@example.test", "identifiers": [{ "oldValue": "p0@example.test", "newValue": "x@example.test" }] }),
        ),
        call(
            Method::DELETE,
            "/v1/preferences/shop-of-ours/delete-identifiers",
            &[],
            json!({ "userId": "p0@example.test", "identifiers": [{ "value": "p0@example.test" }] }),
        ),
        query(
            "/v1/consent-preferences",
            json!({ "partition": "shop-of-ours", "identifiers": ["p0@example.test"] }),
        ),
        get("/v1/consent-preferences?partition=@partition&identifier=p0@example.test"),
        get("/v1/consent-preferences?partition=shop-of-ours&identifier=p0@example.test"),
        query(
            "/v1/preferences/check",
            json!({ "records": [{ "partition": "@partition", "timestamp": "2026-02-03T09:00:00.000Z",
                "identifiers": [{ "name": "coreIdentifier", "value": "@name" }] }] }),
        ),
        query("/v1/preferences/@partition/query", json!({})),
        query(
            "/v1/preferences/@partition/delete",
            json!({ "records": [at("@record", json!({}))] }),
        ),
        query(
            "/v1/preferences/shop-of-ours/delete",
            json!({ "records": [at("@record", json!({}))] }),
        ),
        query(
            "/v1/preferences/shop-of-ours/append-identifiers",
            json!({ "records": [at("@record", json!({ "append": { "name": "email", "value": "p0@example.test" } }))] }),
        ),
        query(
            "/v1/preferences/shop-of-ours/append-identifiers",
            json!({ "records": [at("@record", json!({ "append": { "name": "@identifier_name", "value": "1" } }))] }),
        ),
        query(
            "/v1/preferences/shop-of-ours/update-identifiers",
            json!({ "records": [at("@record", json!({ "update":
                { "name": "email", "oldValue": "p0@example.test", "newValue": "p1@example.test" } }))] }),
        ),
        query(
            "/v1/preferences/shop-of-ours/delete-identifiers",
            json!({ "records": [at("@record", json!({ "delete": { "name": "email", "value": "p0@example.test" } }))] }),
        ),
        query("/v1/preferences/shop-of-ours/query", json!({ "cursor": "@cursor" })),
        query(
            "/v1/preferences/shop-of-ours/query",
            json!({ "filter": { "identifiers": [{ "name": "transcend", "value": "@record" }] } }),
        ),
        query(
            "/v1/preferences/shop-of-ours/query",
            json!({ "filter": { "identifiers": [{ "name": "email", "value": "p0@example.test" }] } }),
        ),
        query(
            "/v1/preferences/@partition/consent-records",
            json!({ "identifier": { "name": "email", "value": "p0@example.test" } }),
        ),
        query(
            "/v1/preferences/shop-of-ours/consent-records",
            json!({ "identifier": { "name": "transcend", "value": "@record" } }),
        ),
        query(
            "/v1/preferences/shop-of-ours/consent-records",
            json!({ "identifier": { "name": "email", "value": "p0@example.test" } }),
        ),
        query("/v1/preferences/@partition/history", json!({ "filter": {} })),
        query(
            "/v1/preferences/shop-of-ours/history",
            json!({ "filter": { "identifiers": [{ "name": "transcend", "value": "@record" }] } }),
        ),
    ]
}

/// A document or more for every field of the management API.
#[rustfmt::skip] // A table: a line a document.
const DOCUMENTS: &[(&str, &str)] = &[
    ("__schema", "{ __schema { queryType { name } } }"),
    ("__type", "{ __type(name: \"Request\") { name } }"),
    ("actions", "{ actions { nodes { id } } }"),
    ("apiKeys", "{ apiKeys(filterBy: {ids: [\"@api_key\"]}) { nodes { id } } }"),
    ("apiKeys", "{ apiKeys(filterBy: {dataSiloIds: [\"@silo\"]}) { nodes { id dataSilos { title } } } }"),
    ("attributeKeys", "{ attributeKeys { nodes { id name } } }"),
    ("attributeValues", "{ attributeValues(filterBy: {attributeKeys: [\"@attribute\"]}) { nodes { id name } } }"),
    ("auditEvents", "{ auditEvents(first: 1000) { nodes { objectId details { value } } } }"),
    ("auditEvents", "{ auditEvents(about: \"@request\") { nodes { id objectId } } }"),
    ("consentManager", "{ consentManager { consentManager { id } } }"),
    ("consentPartitions", "{ consentPartitions(filterBy: {ids: [\"@partition_id\"]}) { nodes { id } } }"),
    ("consentPartitions", "{ consentPartitions(filterBy: {partition: \"@partition\"}) { nodes { id } } }"),
    ("consentWorkflowTriggers", "{ consentWorkflowTriggers(filterBy: {purposeIds: [\"@purpose\"]}) { totalCount nodes { id } } }"),
    ("dataPoints", "{ dataPoints(filterBy: {dataSilos: [\"@silo\"]}) { nodes { id } } }"),
    ("dataPoints", "{ dataPoints(filterBy: {ids: [\"@data_point\"]}) { nodes { id } } }"),
    ("dataSilo", "{ dataSilo(id: \"@silo\") { id title } }"),
    ("dataSilos", "{ dataSilos(filterBy: {ids: [\"@silo\"]}) { nodes { id } } }"),
    ("dataSilos", "{ dataSilos(filterBy: {titles: [\"@silo_title\"]}) { nodes { id } } }"),
    ("dropRunLinks", "{ dropRunLinks(id: \"@drop_run\") { nodes { requestId } } }"),
    ("dropRuns", "{ dropRuns { nodes { id title } } }"),
    ("enrichers", "{ enrichers(filterBy: {text: \"Look\"}) { nodes { id } } }"),
    ("failingJobs", "{ failingJobs { nodes { id } } }"),
    ("getTokenSecrets", "{ getTokenSecrets(id: \"@partition_id\") { tokenSecrets { secrets } } }"),
    ("getTokenSecrets", "{ getTokenSecrets(id: \"@partition\") { tokenSecrets { secrets } } }"),
    ("identifiers", "{ identifiers { nodes { id name } } }"),
    ("initializer", "{ initializer { id } }"),
    ("internalSubjects", "{ internalSubjects { id type } }"),
    ("listReducedRequestsForDataSilo", "{ listReducedRequestsForDataSilo(input: {isResolved: false, dataSiloId: \"@silo\"}) { totalCount } }"),
    ("newIdentifierTypes", "{ newIdentifierTypes { name } }"),
    ("organization", "{ organization { id uri } }"),
    ("parkedJobs", "{ parkedJobs { nodes { id } } }"),
    ("messages", "{ messages(requestId: \"@request\") { totalCount nodes { id } } }"),
    ("messages", "{ messages(status: NOT_SENT, after: \"@message\") { totalCount nodes { id } } }"),
    ("preferenceChangeWebhooks", "{ preferenceChangeWebhooks { nodes { id url partition } } }"),
    ("preferenceOptionValues", "{ preferenceOptionValues(filterBy: {preferenceTopicIds: [\"@topic\"]}) { nodes { id } } }"),
    ("preferenceTopics", "{ preferenceTopics(filterBy: {purposeIds: [\"@purpose\"]}) { nodes { id } } }"),
    ("purposes", "{ purposes(filterBy: {ids: [\"@purpose\"]}) { nodes { id } } }"),
    ("purposes", "{ purposes(filterBy: {trackingTypes: [\"@purpose_name\"]}) { nodes { id } } }"),
    ("request", "{ request(id: \"@request\") { id coreIdentifier } }"),
    ("requestDownloadLinks", "{ requestDownloadLinks(requestId: \"@request\") { nodes { id } } }"),
    ("requestDataSilos", "{ requestDataSilos(filterBy: {requestId: \"@request\"}) { totalCount nodes { id } } }"),
    ("requestDataSilos", "{ requestDataSilos(filterBy: {dataSiloId: \"@silo\"}) { totalCount nodes { id } } }"),
    ("requestIdentifiers", "{ requestIdentifiers(input: {requestIds: [\"@request\"]}) { totalCount nodes { id name } } }"),
    ("requests", "{ requests(filterBy: {ids: [\"@request\"]}) { totalCount nodes { id } } }"),
    ("requests", "{ requests(filterBy: {attributeValueIds: [\"@value\"]}) { totalCount nodes { id } } }"),
    ("subDataPoints", "{ subDataPoints(filterBy: {dataPoints: [\"@data_point\"]}) { nodes { id } } }"),
    ("templates", "{ templates(filterBy: {text: \"Goodbye\"}) { nodes { id } } }"),
    ("acceptRequestDataSiloContradiction", "mutation { acceptRequestDataSiloContradiction(input: {id: \"@run\", reason: \"kept by law\"}) { requestDataSilo { id } } }"),
    ("addDropRecords", "mutation { addDropRecords(input: {dropRunId: \"@drop_run\", records: [{dropRecordId: \"1\", dropListType: email}]}) { dropRun { id } } }"),
    ("closeDropRun", "mutation { closeDropRun(input: {id: \"@drop_run\"}) { dropRun { id } } }"),
    ("createDropRun", "mutation { createDropRun(input: {title: \"@name\"}) { dropRun { title } } }"),
    ("compileRequest", "mutation { compileRequest(input: {requestId: \"@request\"}) { request { id } } }"),
    ("approveRequestPlan", "mutation { approveRequestPlan(input: {requestId: \"@request\", planHash: \"0000000000000000000000000000000000000000000000000000000000000000\"}) { request { id } } }"),
    ("approveRequest", "mutation { approveRequest(input: {requestId: \"@request\"}) { request { id } } }"),
    ("cancelRequest", "mutation { cancelRequest(input: {requestId: \"@request\"}) { request { id } } }"),
    ("changeRequestDataSiloStatus", "mutation { changeRequestDataSiloStatus(input: {id: \"@run\", status: SKIPPED}) { clientMutationId } }"),
    ("createApiKey", "mutation { createApiKey(input: {title: \"@name\", dataSilos: [\"@silo\"]}) { apiKey { title } } }"),
    ("createApiKey", "mutation { createApiKey(input: {title: \"@name\", dataSiloTitles: [\"@silo_title\"]}) { apiKey { title } } }"),
    ("createAttributeKey", "mutation { createAttributeKey(input: {name: \"@name\", type: TEXT}) { attributeKey { id } } }"),
    ("createAttributeValues", "mutation { createAttributeValues(input: [{attributeKeyId: \"@attribute\", name: \"@name\"}]) { attributeValues { id } } }"),
    ("createAttributeValues", "mutation { createAttributeValues(input: [{attributeKeyName: \"@attribute_name\", name: \"@name\"}]) { attributeValues { id } } }"),
    ("createConsentPartition", "mutation { createConsentPartition(input: {id: \"@manager\", name: \"@name\"}) { consentPartition { id } } }"),
    ("createDataSilos", "mutation { createDataSilos(input: [{name: \"server\", title: \"@name\", apiKeyId: \"@api_key\"}]) { dataSilos { id } } }"),
    ("createDataSilos", "mutation { createDataSilos(input: [{name: \"server\", title: \"@name\", dataSubjectBlockListIds: [\"@subject\"]}]) { dataSilos { id } } }"),
    ("createDataSilos", "mutation { createDataSilos(input: [{name: \"server\", title: \"@name\", dependedOnDataSiloTitles: [\"@silo_title\"]}]) { dataSilos { id } } }"),
    ("createDataSilos", "mutation { createDataSilos(input: [{name: \"server\", title: \"@name\", identifiers: [\"@identifier_name\"]}]) { dataSilos { id } } }"),
    ("createEnricher", "mutation { createEnricher(input: {title: \"@name\", dataSubjectIds: [\"@subject\"]}) { enricher { id } } }"),
    ("createEnricher", "mutation { createEnricher(input: {title: \"@name\", inputIdentifier: \"@identifier_name\"}) { enricher { id } } }"),
    ("createEnricher", "mutation { createEnricher(input: {title: \"@name\", endTemplate: \"@template\"}) { enricher { id } } }"),
    ("createEnricher", "mutation { createEnricher(input: {title: \"@name\", dependsOn: [\"@enricher\"]}) { enricher { id } } }"),
    ("createIdentifier", "mutation { createIdentifier(input: {name: \"@name\", type: custom, dataSubjectIds: [\"@subject\"]}) { identifier { id } } }"),
    ("createOrUpdateConsentWorkflowTrigger", "mutation { createOrUpdateConsentWorkflowTrigger(input: {id: \"@trigger\", name: \"@name\"}) { consentWorkflowTrigger { id } } }"),
    ("createOrUpdateConsentWorkflowTrigger", "mutation { createOrUpdateConsentWorkflowTrigger(input: {name: \"@name\", actionType: ACCESS, dataSubjectId: \"@subject\", triggerCondition: \"{\\\"And\\\":[{\\\"Analytics\\\":false}]}\"}) { consentWorkflowTrigger { id } } }"),
    ("createOrUpdateConsentWorkflowTrigger", "mutation { createOrUpdateConsentWorkflowTrigger(input: {name: \"@name\", actionType: ACCESS, dataSubjectType: \"@subject_type\", triggerCondition: \"{\\\"And\\\":[{\\\"Analytics\\\":false}]}\"}) { consentWorkflowTrigger { id } } }"),
    ("createOrUpdateConsentWorkflowTrigger", "mutation { createOrUpdateConsentWorkflowTrigger(input: {name: \"@name\", actionType: ACCESS, dataSubjectType: \"customer\", triggerCondition: \"{\\\"And\\\":[{\\\"@purpose_name\\\":false}]}\"}) { consentWorkflowTrigger { id } } }"),
    ("createOrUpdateConsentWorkflowTrigger", "mutation { createOrUpdateConsentWorkflowTrigger(input: {name: \"@name\", actionType: ACCESS, dataSubjectType: \"customer\", consentWorkflowTriggerPurposes: [{purposeId: \"@purpose\", matchingState: true}]}) { consentWorkflowTrigger { id } } }"),
    ("createOrUpdateConsentWorkflowTrigger", "mutation { createOrUpdateConsentWorkflowTrigger(input: {name: \"@name\", actionType: ACCESS, dataSubjectType: \"customer\", triggerCondition: \"{\\\"And\\\":[{\\\"Analytics\\\":false}]}\", dataSiloIds: [\"@silo\"]}) { consentWorkflowTrigger { id } } }"),
    ("createOrUpdateConsentWorkflowTrigger", "mutation { createOrUpdateConsentWorkflowTrigger(input: {name: \"@name\", actionType: ACCESS, dataSubjectType: \"customer\", triggerCondition: \"{\\\"And\\\":[{\\\"Analytics\\\":false}]}\", dataSiloTitles: [\"@silo_title\"]}) { consentWorkflowTrigger { id } } }"),
    ("createOrUpdatePreferenceOptionValues", "mutation { createOrUpdatePreferenceOptionValues(input: {preferenceOptionValues: [{id: \"@option\", title: \"@name\"}]}) { preferenceOptionValues { id } } }"),
    ("createOrUpdatePreferenceTopic", "mutation { createOrUpdatePreferenceTopic(input: {id: \"@topic\", title: \"@name\"}) { preferenceTopic { id } } }"),
    ("createOrUpdatePreferenceTopic", "mutation { createOrUpdatePreferenceTopic(input: {purposeId: \"@purpose\", slug: \"S\", title: \"@name\", type: BOOLEAN}) { preferenceTopic { id } } }"),
    ("createOrUpdatePreferenceTopic", "mutation { createOrUpdatePreferenceTopic(input: {trackingType: \"@purpose_name\", slug: \"S\", title: \"@name\", type: BOOLEAN}) { preferenceTopic { id } } }"),
    ("createOrUpdatePreferenceTopic", "mutation { createOrUpdatePreferenceTopic(input: {trackingType: \"Analytics\", slug: \"S\", title: \"@name\", type: SELECT, preferenceOptionValueIds: [\"@option\"]}) { preferenceTopic { id } } }"),
    ("createOrUpdatePreferenceTopic", "mutation { createOrUpdatePreferenceTopic(input: {trackingType: \"Analytics\", slug: \"S\", title: \"@name\", type: SELECT, preferenceOptionSlugs: [\"@option_slug\"]}) { preferenceTopic { id } } }"),
    ("createPrivacyCenterAccessTokens", "mutation { createPrivacyCenterAccessTokens(input: {records: [{email: \"p0@example.test\", subjectType: \"@subject_type\", scopes: [preferenceManagement]}]}) { nodes { email } } }"),
    ("createPurpose", "mutation { createPurpose(input: {name: \"@name\", trackingType: \"@name\", description: \"\", communicationPreferencesIdentifierId: \"@identifier\"}) { purpose { id } } }"),
    ("createSubject", "mutation { createSubject(input: {type: \"@name\", title: \"@name\"}) { subject { id } } }"),
    ("notifyAdditionalTime", "mutation { notifyAdditionalTime(input: {requestId: \"@request\", additionalTime: 5}) { clientMutationId } }"),
    ("advanceClock", "mutation { advanceClock(input: {until: \"2026-03-03T10:00:00.000Z\"}) { now arrived } }"),
    ("beginRehearsal", "mutation { beginRehearsal { now arrived } }"),
    ("createTemplate", "mutation { createTemplate(input: {title: \"@name\", subject: \"s\", template: \"t\"}) { template { id } } }"),
    ("createPreferenceChangeWebhook", "mutation { createPreferenceChangeWebhook(input: {url: \"https://hook.example.test/\", partition: \"@partition\"}) { preferenceChangeWebhook { id } } }"),
    ("deleteApiKey", "mutation { deleteApiKey(id: \"@api_key\") { clientMutationId } }"),
    ("updateOrganization", "mutation { updateOrganization(input: {iabContradiction: REFUSE}) { clientMutationId } }"),
    ("revokePrivacyCenterAccessTokens", "mutation { revokePrivacyCenterAccessTokens(ids: [\"@request\"]) { clientMutationId } }"),
    ("deleteTemplate", "mutation { deleteTemplate(id: \"@template\") { clientMutationId } }"),
    ("deleteAttributeValue", "mutation { deleteAttributeValue(id: \"@value\") { clientMutationId } }"),
    ("deleteConsentPartition", "mutation { deleteConsentPartition(input: {id: \"@partition_id\"}) { clientMutationId } }"),
    ("deleteConsentWorkflowTriggers", "mutation { deleteConsentWorkflowTriggers(input: {ids: [\"@trigger\"]}) { count } }"),
    ("generateConsentIdentifierEncryptionKey", "mutation { generateConsentIdentifierEncryptionKey { clientMutationId } }"),
    ("deleteEnricher", "mutation { deleteEnricher(id: \"@enricher\") { success } }"),
    ("deletePreferenceChangeWebhook", "mutation { deletePreferenceChangeWebhook(input: {id: \"@webhook\"}) { clientMutationId } }"),
    ("removeRequestIdentifiers", "mutation { removeRequestIdentifiers(input: {requestId: \"@request\", requestIdentifierIds: [\"@request_identifier\"]}) { count } }"),
    ("retryMessages", "mutation { retryMessages(input: {ids: [\"@message\"]}) { count } }"),
    ("retryRequestDataSilo", "mutation { retryRequestDataSilo(id: \"@run\") { clientMutationId } }"),
    ("requestEnrichers", "{ requestEnrichers(input: {requestId: \"@enriching\"}) { nodes { id } } }"),
    ("retryRequestEnricher", "mutation { retryRequestEnricher(id: \"@preflight\") { clientMutationId } }"),
    ("skipRequestEnricher", "mutation { skipRequestEnricher(id: \"@preflight\") { clientMutationId } }"),
    ("retryJob", "mutation { retryJob(id: \"@job\") { clientMutationId } }"),
    ("revealConsentIdentifierEncryptionKey", "mutation { revealConsentIdentifierEncryptionKey { clientMutationId } }"),
    ("setTokenSecret", "mutation { setTokenSecret(input: {id: \"@partition_id\"}) { clientMutationId } }"),
    ("setTokenSecret", "mutation { setTokenSecret(input: {id: \"@partition\"}) { clientMutationId } }"),
    ("toggleSubject", "mutation { toggleSubject(input: {id: \"@subject\", active: false}) { clientMutationId } }"),
    ("updateAction", "mutation { updateAction(input: {id: \"@action\", requiresReview: false}) { action { id } } }"),
    ("updateApiKey", "mutation { updateApiKey(input: {id: \"@api_key\", title: \"@name\"}) { apiKey { id } } }"),
    ("updateAttributeKey", "mutation { updateAttributeKey(input: {id: \"@attribute\", description: \"x\"}) { attributeKey { id } } }"),
    ("updateAttributeValues", "mutation { updateAttributeValues(input: [{id: \"@value\", name: \"@name\"}]) { attributeValues { id } } }"),
    ("updateDataSilos", "mutation { updateDataSilos(input: {dataSilos: [{id: \"@silo\", title: \"@name\"}]}) { clientMutationId } }"),
    ("updateEnricher", "mutation { updateEnricher(input: {id: \"@enricher\", title: \"@name\"}) { clientMutationId } }"),
    ("updateIdentifier", "mutation { updateIdentifier(input: {id: \"@identifier\", regex: \"x\"}) { clientMutationId } }"),
    ("updateOrCreateDataPoint", "mutation { updateOrCreateDataPoint(input: {dataSiloId: \"@silo\", name: \"photo\", title: \"@name\"}) { dataPoint { id } } }"),
    ("updateOrCreateDataPoint", "mutation { updateOrCreateDataPoint(input: {dataSiloTitle: \"@silo_title\", name: \"photo\"}) { dataPoint { id } } }"),
    ("updatePurpose", "mutation { updatePurpose(input: {id: \"@purpose\", name: \"@name\"}) { purpose { id } } }"),
    ("createRequestDownloadLink", "mutation { createRequestDownloadLink(input: {requestId: \"@request\"}) { link { id } } }"),
    ("revokeRequestDownloadLinks", "mutation { revokeRequestDownloadLinks(input: {requestId: \"@request\"}) { count } }"),
    ("shredRequest", "mutation { shredRequest(input: {id: \"@request\"}) { request { id } } }"),
    ("updateRetention", "mutation { updateRetention(input: {kind: KEEP}) { clientMutationId } }"),
    ("updateRequest", "mutation { updateRequest(input: {id: \"@request\", isSilent: false}) { request { id } } }"),
    ("updateSubject", "mutation { updateSubject(input: {id: \"@subject\", title: \"@name\"}) { subject { id } } }"),
    ("updateTemplate", "mutation { updateTemplate(input: {id: \"@template\", title: \"@name\"}) { template { id } } }"),
];

#[tokio::test]
async fn what_is_next_door_is_nowhere() {
    let neighbours = Neighbours::meet().await;
    let server = &neighbours.story.server;
    let organization = neighbours.story.organization();
    let before = everything_of(server, organization).await;
    assert!(before.len() > 80, "the neighbour has something of everything");

    let mut calls = calls();
    let template = |path: &str| {
        let path = path.split('?').next().unwrap().to_owned();
        let path = path
            .replace("@request", "{id}")
            .replace("@silo", "{id}")
            .replace("/ACCESS", "/{type}");
        path.replace("@partition", "{partition}")
            .replace("shop-of-ours", "{partition}")
    };
    let asked: BTreeSet<(String, String)> = calls
        .iter()
        .map(|call| (call.method.to_string(), template(call.path)))
        .collect();
    let routes = guarded().into_iter().filter(|route| route.path != "/graphql");
    let routes: BTreeSet<(String, String)> = routes.map(|route| (route.method.to_string(), route.path)).collect();
    assert_eq!(asked, routes, "every route is asked");

    let documents = DOCUMENTS.iter().map(|(field, document)| Call {
        method: Method::POST,
        path: "/graphql",
        headers: &[],
        body: json!({ "query": document }).to_string(),
        field,
    });
    calls.extend(documents);
    let fields: BTreeSet<&str> = graphql::fields().map(|access| access.field).collect();
    let asked: BTreeSet<&str> = DOCUMENTS.iter().map(|(field, _)| *field).collect();
    assert_eq!(asked, fields, "every field is asked");

    for call in &calls {
        for stranger in &neighbours.strangers {
            neighbours.compare(call, stranger).await;
        }
    }
    let after = everything_of(server, organization).await;
    let changed: Vec<_> = before
        .iter()
        .filter(|(place, row)| after.get(*place) != Some(*row))
        .collect();
    assert!(
        changed.is_empty(),
        "changed or gone: {:?}",
        changed.iter().map(|((table, _), _)| table).collect::<Vec<_>>()
    );
    assert_eq!(before.len(), after.len());
    server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn a_stranger_sees_nothing_of_next_door_in_any_list() {
    let neighbours = Neighbours::meet().await;
    let server = &neighbours.story.server;
    let ids: Vec<&String> = neighbours
        .things
        .values()
        .filter(|thing| thing.parse::<Uuid>().is_ok())
        .collect();
    assert!(ids.len() > 15);
    for document in [
        "{ actions { nodes { id } } apiKeys { nodes { id } } attributeKeys { nodes { id } } attributeValues { nodes { id } } }",
        "{ consentManager { consentManager { id } } consentPartitions { nodes { id partition } } organization { id } }",
        "{ dataPoints { nodes { id } } dataSilos { nodes { id title } } enrichers { nodes { id } } subDataPoints { nodes { id } } }",
        "{ identifiers { nodes { id name } } initializer { id } internalSubjects { id type } templates { nodes { id title } } }",
        "{ preferenceOptionValues { nodes { id } } preferenceTopics { nodes { id } } purposes { nodes { id } } }",
        "{ consentWorkflowTriggers { nodes { id name } } }",
        "{ messages(status: NOT_SENT) { totalCount nodes { id requestId } } }",
        "{ requests { nodes { id coreIdentifier } } requestDataSilos(filterBy: {}) { nodes { id } } }",
    ] {
        let call = server
            .client()
            .post(server.url("/graphql"))
            .bearer_auth(&neighbours.strangers[0]);
        let answer = call
            .json(&json!({ "query": document }))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(answer.contains("\"data\":{"), "{answer}");
        for id in &ids {
            assert!(!answer.contains(id.as_str()), "{id} in {answer}");
        }
        for name in [
            "shop-of-theirs",
            "Shop backend",
            "member",
            "loyaltyCard",
            "Goodbye",
            crate::support::story::CORE,
        ] {
            assert!(!answer.contains(name), "{name} in {answer}");
        }
    }
}
