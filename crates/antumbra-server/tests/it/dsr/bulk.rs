//! Bulk submission: all or nothing, each refusal under its own code, and what becomes of each input.

use std::sync::Arc;

use antumbra_server::{
    audit::Actor,
    dsr::{self, Deed, DsrId},
    organization::Action,
};

use super::*;
use crate::support::{
    manage::manage,
    story::{Story, nobody},
};

/// A shop with a silo for every action, its workflows' ids, and a run of records from a deletion platform.
struct Shop {
    story: Story,
    access: String,
    erasure: String,
    run: String,
}

impl Shop {
    async fn open() -> Shop {
        let story = Story::with_data_points(&["profile"]).await;
        let ask = async |document: &str| manage(&story.server, &story.admin_key, document).await;
        let actions = ask("{ actions(first: 100) { nodes { id type } } }").await;
        let id_of = |action: &str| {
            let nodes = actions["nodes"].as_array().unwrap();
            let found = nodes.iter().find(|node| node["type"] == action).unwrap();
            found["id"].as_str().unwrap().to_owned()
        };
        let made = ask(r#"mutation { createDropRun(input: { title: "Spring" }) { dropRun { id } } }"#).await;
        let run = made["dropRun"]["id"].as_str().unwrap().to_owned();
        ask(&format!(
            r#"mutation {{ addDropRecords(input: {{ dropRunId: "{run}", records: [
                {{ dropRecordId: "r-1", dropListType: email }}, {{ dropRecordId: "r-2", dropListType: email }},
                {{ dropRecordId: "r-2", dropListType: phone }}, {{ dropRecordId: "r-1", dropListType: email }}
            ] }}) {{ dropRun {{ recordCount }} }} }}"#
        ))
        .await;
        Shop {
            access: id_of("ACCESS"),
            erasure: id_of("ERASURE"),
            story,
            run,
        }
    }

    async fn ask(&self, document: &str) -> Value {
        manage(&self.story.server, &self.story.admin_key, document).await
    }

    /// An input about `core`, with `fields` laid over it.
    fn input(&self, core: &str, fields: Value) -> Value {
        let mut input = json!({
            "workflowConfigId": self.access,
            "attestedAuthContext": { "coreIdentifier": core, "email": format!("{core}@example.test") },
            "subjectType": "customer",
            "isSilent": true,
        });
        input
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        input
    }

    async fn post(&self, body: Value) -> (StatusCode, Value) {
        let server = &self.story.server;
        let call = server.client().post(server.url("/v1/data-subject-request-bulk"));
        let answer = call
            .bearer_auth(&self.story.admin_key)
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    /// What became of these inputs, as their outcomes and ids.
    async fn taken(&self, inputs: Vec<Value>) -> Vec<(String, String)> {
        let count = inputs.len();
        let (status, answer) = self.post(json!({ "input": inputs })).await;
        assert_eq!(status, 200, "{answer}");
        let requests = answer["requests"].as_array().unwrap();
        assert_eq!(requests.len(), count, "one entry an input");
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        requests
            .iter()
            .map(|one| (word(&one["outcome"]), word(&one["id"])))
            .collect()
    }

    /// The codes under which a call is refused, with the places of the inputs.
    async fn refused(&self, inputs: Vec<Value>) -> Vec<(u64, String)> {
        let before = self.count().await;
        let (status, answer) = self.post(json!({ "input": inputs })).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::BAD_REQUEST, &json!("BATCH_REFUSED")),
            "{answer}"
        );
        assert_eq!(self.count().await, before, "nothing was created");
        let errors = answer["errors"].as_array().unwrap();
        let one = |error: &Value| {
            assert!(!error["message"].as_str().unwrap().is_empty());
            (
                error["index"].as_u64().unwrap(),
                error["code"].as_str().unwrap().to_owned(),
            )
        };
        errors.iter().map(one).collect()
    }

    async fn count(&self) -> i64 {
        self.ask("{ requests(first: 0) { totalCount } }").await["totalCount"]
            .as_i64()
            .unwrap()
    }

    fn records(&self, records: Value) -> Value {
        json!({ "workflowConfigId": self.erasure, "dropRunId": self.run, "dropRecords": records })
    }
}

fn outcomes(taken: &[(String, String)]) -> Vec<&str> {
    taken.iter().map(|(outcome, _)| outcome.as_str()).collect()
}

fn record(id: &str, list: &str) -> Value {
    json!({ "dropRecordId": id, "dropListType": list })
}

#[tokio::test]
async fn each_input_is_answered_in_order_with_what_became_of_it() {
    let shop = Shop::open().await;
    let (status, answer) = shop
        .post(json!({ "input": [shop.input("acct_1", json!({ "locale": "en-gb" }))] }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let one = &answer["requests"][0];
    for (field, expected) in [
        ("status", json!("ENRICHING")),
        ("type", json!("ACCESS")),
        ("subjectType", json!("customer")),
        ("email", json!("acct_1@example.test")),
        ("coreIdentifier", json!("acct_1")),
        ("isSilent", json!(true)),
        ("isTest", json!(false)),
        ("attributeValues", json!([])),
        ("workflowConfig", json!({ "id": shop.access })),
        ("outcome", json!("CREATED")),
    ] {
        assert_eq!(one[field], expected, "{field}");
    }
    assert!(one["link"].as_str().unwrap().ends_with(one["id"].as_str().unwrap()));
    let first = one["id"].as_str().unwrap().to_owned();

    // One that repeats an open request, or an earlier input, is answered with that.
    let again = json!({ "requestId": first, "details": "once more" });
    let taken = shop
        .taken(vec![
            shop.input("acct_2", json!({})),
            shop.input("acct_1", json!({})),
            shop.input("acct_2", json!({ "details": "the same person" })),
            shop.input("acct_1", again),
        ])
        .await;
    assert_eq!(
        outcomes(&taken),
        ["CREATED", "ALREADY_OPEN", "ALREADY_OPEN", "RESTARTED"]
    );
    assert_eq!((&taken[1].1, &taken[2].1, &taken[3].1), (&first, &taken[0].1, &first));

    // A submission that has a name is taken once under it, whatever has become of the request since.
    let named = |details: &str| shop.input("acct_3", json!({ "idempotencyKey": "row 3", "details": details }));
    let once = shop.taken(vec![named("a"), named("a")]).await;
    assert_eq!(outcomes(&once), ["CREATED", "CREATED"]);
    let request = DsrId(once[0].1.parse().unwrap());
    shop.story
        .administrate(async |tx, by| dsr::cancel(tx, by, request).await)
        .await;
    assert_eq!(shop.taken(vec![named("a")]).await, [once[0].clone()]);
    assert_eq!(
        shop.refused(vec![named("b")]).await,
        [(0, "VALIDATION_FAILED".to_owned())]
    );

    // An import is there once, however often it is run.
    let import = json!({ "completedRequestStatus": "COMPLETED", "createdAt": "2025-05-02" });
    let imported = shop.taken(vec![shop.input("acct_4", import.clone())]).await;
    let once_more = shop.taken(vec![shop.input("acct_4", import)]).await;
    assert_eq!(
        (outcomes(&imported), outcomes(&once_more)),
        (vec!["CREATED"], vec!["ALREADY_OPEN"])
    );
    assert_eq!(imported[0].1, once_more[0].1);

    // A partition is part of what makes requests equivalent; where subject types leave no doubt, none need be named.
    let partition = shop.ask("{ consentPartitions { nodes { partition } } }").await;
    let partition = &partition["nodes"][0]["partition"];
    let mut scoped = shop.input("acct_1", json!({ "partitionKey": partition }));
    scoped.as_object_mut().unwrap().remove("subjectType");
    let scoped = shop.taken(vec![scoped]).await;
    assert_eq!(outcomes(&scoped), ["CREATED"]);
    let id = &scoped[0].1;
    let shown = shop
        .ask(&format!(r#"{{ request(id: "{id}") {{ partition {{ partition }} }} }}"#))
        .await;
    assert_eq!(shown["partition"]["partition"], *partition);
    let hundred = (0..100).map(|n| shop.input(&format!("many_{n}"), json!({})));
    assert_eq!(shop.taken(hundred.collect()).await.len(), 100);
    shop.story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn every_code_has_a_condition_and_one_bad_input_keeps_all_out() {
    let shop = Shop::open().await;
    let open = shop.taken(vec![shop.input("acct_1", json!({}))]).await.remove(0).1;
    shop.ask("mutation { updateOrganization(input: { restartTimeLimitDays: 1 }) { clientMutationId } }")
        .await;
    // Its status last changes today.
    shop.story.server.run_jobs_until_idle().await;
    shop.story.server.pass(std::time::Duration::from_secs(3 * 86_400)).await;
    let made = shop
        .ask(r#"mutation { createIdentifier(input: { name: "loyaltyCard", type: custom, regex: "^LC-" }) { identifier { id } } }"#)
        .await;
    assert!(made["identifier"]["id"].is_string());
    let sale = shop.ask(r#"{ actions(first: 100) { nodes { id type } } }"#).await;
    let sale = sale["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["type"] == "SALE_OPT_OUT")
        .unwrap()["id"]
        .clone();
    let regions = format!(
        "mutation {{ updateAction(input: {{ id: {sale}, regionDetectionMethod: FORM, regionList: [\"US-CA\", \"EU\"] }}) {{ action {{ id }} }} }}"
    );
    shop.ask(&regions).await;
    let deaf = shop
        .ask(r#"mutation { createDataSilos(input: [{ name: "cron", title: "Archive" }]) { dataSilos { id } } }"#)
        .await["dataSilos"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    crate::support::story::change_silo(
        &shop.story.server,
        antumbra_server::silos::DataSiloId(deaf.parse().unwrap()),
        |silo| {
            silo.actions = Some([Action::Erasure].into());
        },
    )
    .await;
    let closed = shop
        .ask(r#"mutation { createDropRun(input: { title: "Winter" }) { dropRun { id } } }"#)
        .await;
    let closed = closed["dropRun"]["id"].as_str().unwrap().to_owned();
    shop.ask(&format!(
        r#"mutation {{ closeDropRun(input: {{ id: "{closed}" }}) {{ dropRun {{ closedAt }} }} }}"#
    ))
    .await;

    let person = |extras: Value| json!({ "attestedAuthContext": { "coreIdentifier": "acct_9", "attestedExtraIdentifiers": extras } });
    let many: Vec<Value> = (0..501).map(|n| record(&format!("r-{n}"), "email")).collect();
    let cases = [
        (json!({ "workflowConfigId": nobody() }), "INVALID_WORKFLOW_CONFIG_ID"),
        (
            json!({ "attestedAuthContext": { "email": "ada@example.test" } }),
            "MISSING_CORE_IDENTIFIER",
        ),
        (json!({ "requestId": nobody() }), "RESTART_REQUEST_NOT_FOUND"),
        (
            json!({ "requestId": open, "attestedAuthContext": { "coreIdentifier": "acct_1" } }),
            "RESTART_TIME_LIMIT_EXCEEDED",
        ),
        (
            json!({ "emailReceiptTemplateId": nobody() }),
            "RECEIPT_TEMPLATE_NOT_FOUND",
        ),
        (
            shop.records(json!([record("r-2", "phone")])),
            "DROP_IDENTIFIER_COVERAGE_MISMATCH",
        ),
        (
            shop.records(json!([record("r-1", "email"), record("r-1", "email")])),
            "DUPLICATE_DROP_RECORDS",
        ),
        (
            json!({ "dropRecords": [record("r-1", "email")] }),
            "DROP_RECORDS_REQUIRE_DROP_RUN_ID",
        ),
        (shop.records(json!(many)), "MAX_DROP_RECORDS_PER_REQUEST_EXCEEDED"),
        (shop.records(json!([record("r-3", "email")])), "UNKNOWN_DROP_RECORDS"),
        (
            json!({ "dropRunId": nobody(), "dropRecords": [record("r-1", "email")] }),
            "DROP_RUN_NOT_FOUND",
        ),
        (json!({ "dropRunId": closed }), "DROP_RUN_NOT_INTAKE_ELIGIBLE"),
        (
            person(json!({ "custom": [{ "name": "loyaltyCard", "value": "7" }] })),
            "IDENTIFIER_VALIDATION_FAILED",
        ),
        (
            person(json!({ "custom": [{ "name": "shoeSize", "value": "7" }] })),
            "UNSUPPORTED_IDENTIFIER_NAME",
        ),
        (
            json!({ "isSilent": false, "attestedAuthContext": { "coreIdentifier": "acct_9" } }),
            "MISSING_REQUIRED_EMAIL",
        ),
        (json!({ "dataSiloIds": [deaf] }), "DATA_SILO_NOT_IN_WORKFLOW"),
        (json!({ "type": "ERASURE" }), "TYPE_NOT_MATCHING_WORKFLOW"),
        (
            json!({ "subjectType": "employee" }),
            "SUBJECT_TYPE_NOT_MATCHING_WORKFLOW",
        ),
        (
            json!({ "workflowConfigId": sale, "region": { "country": "US", "countrySubDivision": "US-VT" } }),
            "REGION_NOT_IN_WORKFLOW",
        ),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for (fields, code) in cases {
        let inputs = vec![shop.input("acct_8", json!({})), shop.input("acct_9", fields)];
        assert_eq!(shop.refused(inputs).await, [(1, code.to_owned())]);
        seen.push(code);
    }
    // Two inputs of one call about a platform's records that bear one name.
    let mut named = shop.records(json!([record("r-1", "email")]));
    named["idempotencyKey"] = json!("row 1");
    let inputs = vec![shop.input("acct_8", named.clone()), shop.input("acct_9", named)];
    let code = "IN_BATCH_DROP_IDEMPOTENCY_KEY_COLLISION";
    assert_eq!(shop.refused(inputs).await, [(1, code.to_owned())]);
    seen.push(code);
    assert_eq!(seen.len(), 20);
    for (core, region) in [
        ("acct_20", json!({ "countrySubDivision": "US-CA" })),
        ("acct_21", json!({ "country": "FR" })),
    ] {
        let fits = shop.input(core, json!({ "workflowConfigId": sale, "region": region }));
        assert_eq!(outcomes(&shop.taken(vec![fits]).await), ["CREATED"]);
    }
    // One by one they are held to the same.
    let submitted = async |region: Value| {
        let body = json!({ "type": "SALE_OPT_OUT", "subjectType": "customer", "isSilent": true,
            "subject": { "coreIdentifier": "acct_22" }, "region": region });
        let server = &shop.story.server;
        let call = server.client().post(server.url("/v1/data-subject-request"));
        let answer = call
            .bearer_auth(&shop.story.admin_key)
            .json(&body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, answer) = submitted(json!({ "country": "US", "countrySubDivision": "US-VT" })).await;
    assert_eq!(
        (status, &answer["error"]),
        (400, &json!("region: is not one that the workflow is offered in"))
    );
    assert_eq!(submitted(json!({ "country": "FR" })).await.0, 200);

    // All mistakes of all inputs at once, the unknown records of one by name up to twenty.
    let unknown: Vec<Value> = (100..125).map(|n| record(&format!("r-{n}"), "email")).collect();
    let inputs = vec![
        shop.input("acct_8", shop.records(json!(unknown))),
        shop.input("acct_9", json!({ "locale": "xx", "type": "ERASURE" })),
    ];
    let (_, answer) = shop.post(json!({ "input": inputs })).await;
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(
        message.contains("r-119 and 5 more") && !message.contains("r-120"),
        "{message}"
    );
    assert_eq!(answer["errors"][1]["code"], "TYPE_NOT_MATCHING_WORKFLOW");
    assert_eq!(
        answer["errors"][2],
        json!({ "index": 1, "code": "VALIDATION_FAILED", "message": "locale is not a locale that requests can have" })
    );
    let said = "Client error: The batch was refused and nothing was created.";
    assert_eq!((&answer["message"], &answer["statusCode"]), (&json!(said), &json!(400)));
    let upstream: Value = serde_json::from_str(answer["upstream"].as_str().unwrap()).unwrap();
    assert_eq!(upstream, json!({ "message": said, "statusCode": 400 }));

    // What is wrong with the call as a whole.
    let context = |input: Value| {
        let mut input = input;
        input["encryptedCEKContext"] = json!("x");
        input
    };
    let plain = shop.input("acct_8", json!({}));
    for (body, code) in [
        (json!({}), "NO_INPUTS_PROVIDED"),
        (json!({ "input": [] }), "NO_INPUTS_PROVIDED"),
        (
            json!({ "input": vec![plain.clone(); 101] }),
            "SUBMISSION_LIMIT_EXCEEDED",
        ),
        (
            json!({ "input": [plain.clone(), context(plain.clone())] }),
            "MIXED_CEK_CONTEXT",
        ),
        (json!({ "input": [context(plain.clone())] }), "DH_CONTEXT_REQUIRED"),
    ] {
        let (status, answer) = shop.post(body).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::BAD_REQUEST, &json!(code)),
            "{answer}"
        );
        assert_eq!(answer.get("errors"), None);
    }
    let both = json!({ "input": [context(plain)], "dhEncrypted": "x" });
    assert_eq!(
        shop.post(both).await.0,
        200,
        "a context of encryption is of no use here, and harmless"
    );
    shop.story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn records_of_a_deletion_platform_are_answered_by_requests() {
    let shop = Shop::open().await;
    let taken = shop
        .taken(vec![
            shop.input("acct_1", shop.records(json!([record("r-1", "email")]))),
        ])
        .await;
    assert_eq!(outcomes(&taken), ["CREATED"]);
    let id = &taken[0].1;
    let phone = json!({ "phone": [{ "value": "+15555550123" }] });
    let mut more = shop.records(json!([record("r-1", "email"), record("r-2", "phone")]));
    more["attestedAuthContext"] =
        json!({ "coreIdentifier": "acct_1", "email": "acct_1@example.test", "attestedExtraIdentifiers": phone });
    for outcome in ["DROP_RECORDS_LINKED", "ALREADY_OPEN"] {
        assert_eq!(
            shop.taken(vec![shop.input("acct_1", more.clone())]).await,
            [(outcome.to_owned(), id.clone())]
        );
    }
    let origin = shop.ask(&format!(r#"{{ request(id: "{id}") {{ origin }} }}"#)).await;
    assert_eq!(origin["origin"], "DROP");
    let run = &shop.run;
    let links = format!(r#"{{ dropRunLinks(id: "{run}") {{ nodes {{ dropRecordId dropListType requestId }} }} }}"#);
    let links = shop.ask(&links).await;
    let mut links: Vec<String> = links["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| {
            format!(
                "{} {} {}",
                link["dropRecordId"], link["dropListType"], link["requestId"]
            )
        })
        .collect();
    links.sort();
    assert_eq!(
        links,
        [format!(r#""r-1" "email" "{id}""#), format!(r#""r-2" "phone" "{id}""#)]
    );
    let runs = shop
        .ask("{ dropRuns { nodes { title recordCount closedAt } totalCount } }")
        .await;
    assert_eq!(
        runs,
        json!({ "nodes": [{ "title": "Spring", "recordCount": 3, "closedAt": null }], "totalCount": 1 })
    );
    shop.story.server.run_jobs_until_idle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_meets_others_all_the_time_is_refused_under_its_own_code() {
    let shop = Arc::new(Shop::open().await);
    let id = DsrId(
        shop.taken(vec![shop.input("acct_0", json!({}))])
            .await
            .remove(0)
            .1
            .parse()
            .unwrap(),
    );
    let app = shop.story.server.app().clone();
    let organization = shop.story.organization();
    // Somebody changes a request of the call without pause.
    let busy = tokio::spawn(async move {
        for turn in 0.. {
            let mut tx = app.store.begin_write().await.unwrap();
            let by = Deed {
                organization,
                by: Actor::Operator,
                now: app.clock.now(),
                ids: &app.ids,
            };
            dsr::set_silent(&mut tx, &by, id, turn % 2 == 0).await.unwrap();
            let _ = tx.commit().await;
        }
    });
    let mut seen = false;
    for turn in 0..40 {
        let fresh = (0..99).map(|n| shop.input(&format!("acct_{turn}_{n}"), json!({})));
        let inputs: Vec<Value> = std::iter::once(shop.input("acct_0", json!({}))).chain(fresh).collect();
        let (status, answer) = shop.post(json!({ "input": inputs })).await;
        if status != 200 {
            assert_eq!(
                (status, &answer["code"]),
                (StatusCode::BAD_REQUEST, &json!("CONCURRENT_SUBMISSION_CONFLICT")),
                "{answer}"
            );
            seen = true;
            break;
        }
    }
    busy.abort();
    let _ = busy.await;
    assert!(seen);
    shop.story.server.run_jobs_until_idle().await;
}
