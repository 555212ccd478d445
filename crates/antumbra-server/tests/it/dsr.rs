//! Data subject requests from outside: submitting, asking how they stand, reading their identifiers.

use antumbra_server::{
    ServerConfig,
    api_keys::ScopeName,
    audit::{self, Detail},
    config::RunJobs,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::TestServer;

mod bulk;
mod choice;
mod legal_hold;
mod plan;
mod restart;

/// A server with a caller who may do everything about requests.
struct Intake {
    server: TestServer,
    key: String,
}

impl Intake {
    async fn start() -> Intake {
        Intake::over(
            TestServer::with(ServerConfig {
                run_jobs: RunJobs::WhenAsked,
                ..ServerConfig::default()
            })
            .await,
        )
        .await
    }

    async fn over(server: TestServer) -> Intake {
        let key = server
            .key(&[ScopeName::MakeDataSubjectRequest, ScopeName::ViewRequestCompilation])
            .await;
        Intake { server, key }
    }

    async fn post(&self, path: &str, body: String) -> (StatusCode, String) {
        let call = self.server.client().post(self.server.url(path)).bearer_auth(&self.key);
        let answer = call
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self
            .server
            .client()
            .get(self.server.url(path))
            .bearer_auth(&self.key)
            .send()
            .await
            .unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn submit(&self, body: Value) -> (StatusCode, Value) {
        let (status, text) = self.post("/v1/data-subject-request", body.to_string()).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Submits and expects that it works; gives `request` of the answer.
    async fn submitted(&self, body: Value) -> Value {
        let (status, answer) = self.submit(body).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["id"], answer["request"]["id"]);
        assert_eq!(answer["status"], answer["request"]["status"]);
        answer["request"].clone()
    }

    /// Submits and expects a refusal; gives its details as `path: message`.
    async fn refused(&self, body: Value) -> Vec<String> {
        let (status, answer) = self.submit(body).await;
        assert_eq!(
            (status, &answer["code"]),
            (StatusCode::BAD_REQUEST, &json!("VALIDATION_FAILED")),
            "{answer}"
        );
        let details = answer["details"].as_array().unwrap();
        let line = |detail: &Value| {
            format!(
                "{}: {}",
                detail["path"].as_str().unwrap(),
                detail["message"].as_str().unwrap()
            )
        };
        details.iter().map(line).collect()
    }

    async fn settle(&self) {
        self.server.run_jobs_until_idle().await;
    }

    async fn status(&self, request: &Value) -> Value {
        let id = request["id"].as_str().unwrap();
        let (status, body) = self.get(&format!("/v1/data-subject-request/{id}")).await;
        assert_eq!(status, 200, "{body}");
        body["status"].clone()
    }

    async fn identifiers(&self, query: Value) -> Vec<Value> {
        let (status, text) = self.post("/v1/request-identifiers", query.to_string()).await;
        assert_eq!(status, 200, "{text}");
        let body: Value = serde_json::from_str(&text).unwrap();
        body["identifiers"].as_array().unwrap().clone()
    }
}

/// The smallest submission, about `core`.
fn silent(core: &str) -> Value {
    json!({ "type": "ACCESS", "subjectType": "customer", "isSilent": true, "subject": { "coreIdentifier": core } })
}

/// The smallest submission with `fields` laid over it.
fn silent_with(core: &str, fields: Value) -> Value {
    let mut body = silent(core);
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn the_smallest_submission_is_answered_with_every_field() {
    let intake = Intake::start().await;
    let request = intake.submitted(silent("acct_1")).await;
    let id = request["id"].as_str().unwrap().to_owned();
    assert!(
        request["link"]
            .as_str()
            .unwrap()
            .ends_with(&format!("/privacy-requests/incoming-requests/{id}"))
    );
    assert!(request["link"].as_str().unwrap().starts_with("http"));
    let expected = json!({
        "id": id,
        "link": request["link"],
        "status": "ENRICHING",
        "type": "ACCESS",
        "subjectType": "customer",
        "email": null,
        "coreIdentifier": "acct_1",
        "isSilent": true,
        "isTest": false,
        "replyToEmailAddresses": [],
        "country": null,
        "countrySubDivision": null,
        "attributeValues": [],
    });
    assert_eq!(request, expected);
    intake.settle().await;
}

#[tokio::test]
async fn a_member_that_is_nearly_one_of_ours_is_refused_and_no_other() {
    let intake = Intake::start().await;
    for (fields, path, meant) in [
        (json!({ "isSilnt": true }), "", "isSilent"),
        (json!({ "requestID": "x" }), "", "requestId"),
        (
            json!({ "subject": { "coreIdentifier": "acct_1", "emailIsVerifed": false } }),
            "subject",
            "emailIsVerified",
        ),
        (
            json!({ "region": { "country": "US", "countrySubDivison": "US-CA" } }),
            "region",
            "countrySubDivision",
        ),
    ] {
        let refused = intake.refused(silent_with("acct_1", fields)).await;
        let rule = format!("must not have a member that is nearly, but not quite, called {meant}");
        assert_eq!(refused, [format!("{path}: {rule}")]);
    }
    intake
        .submitted(silent_with("acct_1", json!({ "ticket": 17, "note": "ours" })))
        .await;
    intake.settle().await;
}

#[tokio::test]
async fn a_full_submission_comes_back_in_canonical_form() {
    let intake = Intake::start().await;
    let request = intake
        .submitted(json!({
            "type": "ERASURE",
            "subjectType": "customer",
            "subject": {
                "coreIdentifier": "acct_80431",
                "email": "Robin.Hale@Example.org",
                "emailIsVerified": true,
                "name": "ignored",
                "attestedExtraIdentifiers": {
                    "phone": [{ "value": "+1 (555) 555-0123" }],
                    "email": [{ "value": "SECOND@example.org", "name": "email" }, { "value": "second@example.org" }],
                },
            },
            "isSilent": false,
            "isTest": true,
            "skipSendingReceipt": true,
            "skipWaitingPeriod": false,
            "skipEnrichmentChecks": [],
            "locale": "EN-gb",
            "details": "Raised by phone",
            "attributes": [{ "key": "Tags", "values": ["by phone", "urgent", "urgent"] }],
            "region": { "countrySubDivision": "us-ca" },
            "createdAt": "2026-01-02",
            "replyToEmailAddresses": ["Privacy-Team@example.org"],
            "unknownField": { "deep": [1, 2, 3] },
        }))
        .await;
    assert_eq!(request["email"], "robin.hale@example.org");
    assert_eq!(request["isTest"], true);
    assert_eq!(
        (&request["country"], &request["countrySubDivision"]),
        (&json!("US"), &json!("US-CA"))
    );
    assert_eq!(request["replyToEmailAddresses"], json!(["privacy-team@example.org"]));
    assert_eq!(
        request["attributeValues"],
        json!([
            { "attributeKey": { "name": "Tags" }, "name": "by phone" },
            { "attributeKey": { "name": "Tags" }, "name": "urgent" },
        ])
    );
    let listed = intake.identifiers(json!({ "requestId": request["id"] })).await;
    let named: Vec<_> = listed
        .iter()
        .map(|one| (one["name"].clone(), one["type"].clone(), one["value"].clone()))
        .collect();
    let one = |name: &str, value: &str| (json!(name), json!(name), json!(value));
    assert_eq!(
        named,
        [
            one("email", "robin.hale@example.org"),
            one("coreIdentifier", "acct_80431"),
            one("email", "second@example.org"),
            one("phone", "+15555550123"),
        ]
    );
    intake.settle().await;
}

#[tokio::test]
async fn an_address_is_needed_unless_the_request_is_silent() {
    let intake = Intake::start().await;
    let subject = |email: Value| json!({ "coreIdentifier": "acct_1", "email": email });
    for email in [json!(null), json!(""), json!("  ")] {
        let body = json!({ "type": "ACCESS", "subjectType": "customer", "subject": subject(email.clone()) });
        assert_eq!(
            intake.refused(body).await,
            ["subject.email: is required unless isSilent is true"]
        );
    }
    for (at, email) in [json!(null), json!("")].into_iter().enumerate() {
        let mut body = silent(&format!("silent_{at}"));
        body["subject"]["email"] = email;
        assert_eq!(intake.submitted(body).await["email"], Value::Null);
    }
    intake.settle().await;
}

#[tokio::test]
async fn a_bare_string_is_a_list_of_one_value() {
    let intake = Intake::start().await;
    let fields = json!({ "attributes": [{ "key": "Tags", "values": "transcend-cli" }] });
    let request = intake.submitted(silent_with("acct_1", fields)).await;
    assert_eq!(
        request["attributeValues"],
        json!([{ "attributeKey": { "name": "Tags" }, "name": "transcend-cli" }])
    );
    intake.settle().await;
}

#[tokio::test]
async fn every_mistake_is_named_at_once_with_its_place() {
    let intake = Intake::start().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let body = json!({
        "type": "ACCOUNT_DELETION",
        "subject": {
            "coreIdentifier": "",
            "email": "not an address",
            "emailIsVerified": "yes",
            "attestedExtraIdentifiers": {
                "phone": [{ "value": "5555550123" }],
                "stripeId": [{ "value": "cus_1" }],
                "custom": [{ "value": "LC-1" }, { "name": "loyaltyCardNumber", "value": "LC-1" }, "LC-1"],
                "shoeSize": [{ "value": "43" }],
            },
        },
        "isSilent": "true",
        "isTest": 1,
        "emailReceiptTemplateId": nobody,
        "skipEnrichmentChecks": [nobody, "x"],
        "locale": "tlh",
        "details": 7,
        "attributes": [{ "key": "Brand", "values": ["Northwind"] }, { "values": [] }, { "key": "Tags" }, "Tags"],
        "region": { "country": "CA", "countrySubDivision": "US-CA" },
        "createdAt": "next week",
        "completedRequestStatus": "DOWNLOADABLE",
        "dataSiloIds": [nobody],
        "ignoreDataSiloIds": [nobody],
        "replyToEmailAddresses": ["a@example.org", "b"],
    });
    let mut found = intake.refused(body).await;
    found.sort();
    let mut expected = vec![
        "attributes[0].key: is not an attribute that requests can carry",
        "attributes[1].key: is required",
        "attributes[2].values: is required",
        "attributes[3]: must be an object with key and values",
        "completedRequestStatus: is not a status that a request can be imported with",
        "createdAt: must be a date or a time in ISO 8601",
        "dataSiloIds[0]: is not a data silo of this organization",
        "details: must be a string",
        "emailReceiptTemplateId: is not a template of this organization",
        "ignoreDataSiloIds: cannot stand together with dataSiloIds",
        "isSilent: must be true or false",
        "isTest: must be true or false",
        "locale: is not a locale that requests can have",
        "region.countrySubDivision: does not belong to country CA",
        "replyToEmailAddresses[1]: must be an e-mail address",
        "skipEnrichmentChecks[0]: is not an enricher of this organization",
        "skipEnrichmentChecks[1]: must be a UUID",
        "subject.attestedExtraIdentifiers.custom[0].name: is required",
        "subject.attestedExtraIdentifiers.custom[1]: The organization does not support identifiers with this name at \
         submission time",
        "subject.attestedExtraIdentifiers.custom[2]: must be an object with a value",
        "subject.attestedExtraIdentifiers.phone[0].value: must be a telephone number that begins with +",
        "subject.attestedExtraIdentifiers.stripeId[0]: The organization does not support identifiers with this name at \
         submission time",
        "subject.attestedExtraIdentifiers: has a key that is not an identifier type",
        "subject.coreIdentifier: must not be empty",
        "subject.email: must be an e-mail address",
        "subject.emailIsVerified: must be true or false",
        "subjectType: is required",
        "type: is not an action",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    intake.settle().await;
}

#[tokio::test]
async fn one_mistake_at_a_time_is_refused_in_these_words() {
    let intake = Intake::start().await;
    let long = |bytes: usize| "x".repeat(bytes);
    let cases = [
        (json!({ "type": null }), "type: is required"),
        (json!({ "type": "access" }), "type: is not an action"),
        (json!({ "type": "PREFLIGHT" }), "type: is not an action"),
        (json!({ "subject": null }), "subject: is required"),
        (json!({ "subject": [] }), "subject: must be an object"),
        (json!({ "subject": {} }), "subject.coreIdentifier: is required"),
        (
            json!({ "subject": { "coreIdentifier": 7 } }),
            "subject.coreIdentifier: must be a string",
        ),
        (
            json!({ "subject": { "coreIdentifier": " " } }),
            "subject.coreIdentifier: must hold something, and no control characters",
        ),
        (
            json!({ "subject": { "coreIdentifier": "a\u{0}b" } }),
            "subject.coreIdentifier: must hold something, and no control characters",
        ),
        (
            json!({ "subject": { "coreIdentifier": long(1_025) } }),
            "subject.coreIdentifier: must have at most 1024 bytes",
        ),
        (json!({ "subjectType": "" }), "subjectType: must not be empty"),
        (
            json!({ "subjectType": "martian" }),
            "subjectType: is not a data subject type of this organization",
        ),
        (
            json!({ "details": long(256 * 1024 + 1) }),
            "details: must have at most 262144 bytes",
        ),
        (
            json!({ "region": { "country": "ZZ" } }),
            "region.country: is not a country code of ISO 3166-1",
        ),
        (
            json!({ "region": { "countrySubDivision": "US-ZZ" } }),
            "region.countrySubDivision: is not a subdivision code of ISO 3166-2",
        ),
        (json!({ "region": "US" }), "region: must be an object"),
        (
            json!({ "createdAt": "2026-03-03T10:00:00Z" }),
            "createdAt: must not be in the future",
        ),
        (
            json!({ "createdAt": "1969-12-31" }),
            "createdAt: must be a date or a time in ISO 8601",
        ),
        (json!({ "createdAt": 1_767_225_600 }), "createdAt: must be a string"),
        (json!({ "dataSiloIds": "all" }), "dataSiloIds: must be a list"),
        (json!({ "attributes": { "key": "Tags" } }), "attributes: must be a list"),
        (
            json!({ "attributes": [{ "key": "Tags", "values": [7] }] }),
            "attributes[0].values[0]: must be a string",
        ),
    ];
    for (fields, expected) in cases {
        assert_eq!(intake.refused(silent_with("acct_1", fields)).await, [expected]);
    }
    // Nothing of all that was kept, so the same person can still make the request.
    intake.submitted(silent("acct_1")).await;
    intake.settle().await;
}

#[tokio::test]
async fn what_is_at_its_bound_is_taken_and_one_more_is_refused() {
    let intake = Intake::start().await;
    let long = |bytes: usize| "x".repeat(bytes);
    let attributes = |entries: usize, values: usize, bytes: usize| {
        let values: Vec<String> = (0..values).map(|n| format!("{n:0bytes$}")).collect();
        json!({ "attributes": vec![json!({ "key": "Tags", "values": values }); entries] })
    };
    let reply_to = |count: usize| {
        let address = |n: usize| json!(format!("{n}@example.test"));
        json!({ "replyToEmailAddresses": (0..count).map(address).collect::<Vec<_>>() })
    };
    let extras = |phones: usize, cores: usize, bytes: usize| {
        let phones: Vec<Value> = (0..phones)
            .map(|n| json!({ "value": format!("+1555555{n:04}") }))
            .collect();
        let cores: Vec<Value> = (0..cores).map(|n| json!({ "value": format!("{n:0bytes$}") })).collect();
        json!({ "subject": { "coreIdentifier": "acct", "attestedExtraIdentifiers": {
            "phone": phones, "coreIdentifier": cores } } })
    };
    let core = |bytes: usize| json!({ "subject": { "coreIdentifier": long(bytes) } });
    let created = |at: &str| json!({ "createdAt": at });
    const EXTRAS: &str = "subject.attestedExtraIdentifiers";
    let cases = [
        (
            core(1_024),
            core(1_025),
            "subject.coreIdentifier: must have at most 1024 bytes".to_owned(),
        ),
        (
            json!({ "details": long(256 * 1024) }),
            json!({ "details": long(256 * 1024 + 1) }),
            "details: must have at most 262144 bytes".to_owned(),
        ),
        (
            attributes(200, 1, 1),
            attributes(201, 1, 1),
            "attributes: must have at most 200 entries".to_owned(),
        ),
        (
            attributes(1, 200, 1),
            attributes(1, 201, 1),
            "attributes[0].values: must have at most 200 entries".to_owned(),
        ),
        (
            attributes(1, 1, 4_096),
            attributes(1, 1, 4_097),
            "attributes[0].values[0]: must have at most 4096 bytes".to_owned(),
        ),
        (
            reply_to(50),
            reply_to(51),
            "replyToEmailAddresses: must have at most 50 entries".to_owned(),
        ),
        (
            extras(500, 0, 1),
            extras(501, 0, 1),
            format!("{EXTRAS}.phone: must have at most 500 entries"),
        ),
        (
            extras(250, 250, 1),
            extras(250, 251, 1),
            format!("{EXTRAS}: must have at most 500 identifiers"),
        ),
        (
            extras(0, 1, 1_024),
            extras(0, 1, 1_025),
            format!("{EXTRAS}.coreIdentifier[0].value: must have at most 1024 bytes"),
        ),
        (
            created("1970-01-01T00:00:00Z"),
            created("1969-12-31T23:59:59.999Z"),
            "createdAt: must be a date or a time in ISO 8601".to_owned(),
        ),
        // Clocks differ a little.
        (
            created("2026-03-02T10:05:00.000Z"),
            created("2026-03-02T10:05:00.001Z"),
            "createdAt: must not be in the future".to_owned(),
        ),
    ];
    for (n, (at, past, rule)) in cases.into_iter().enumerate() {
        let with = |mut fields: Value| {
            // A person of its own for each, unless the case is about that.
            if fields["subject"]["coreIdentifier"] == "acct" {
                fields["subject"]["coreIdentifier"] = json!(format!("acct_{n}"));
            }
            silent_with(&format!("acct_{n}"), fields)
        };
        assert_eq!(intake.refused(with(past)).await, [rule]);
        intake.submitted(with(at)).await;
    }
    // So many are looked up; none of these is there.
    let silos = |count: usize| {
        let nobody = "00000000-0000-4000-8000-000000000000";
        silent_with("acct_silos", json!({ "dataSiloIds": vec![nobody; count] }))
    };
    assert_eq!(
        intake.refused(silos(5_000)).await.len(),
        100,
        "as many mistakes as are worth listing"
    );
    assert_eq!(
        intake.refused(silos(5_001)).await,
        ["dataSiloIds: must have at most 5000 entries"]
    );
    let subject_type = |bytes: usize| silent_with("acct_type", json!({ "subjectType": long(bytes) }));
    assert_eq!(
        intake.refused(subject_type(256)).await,
        ["subjectType: is not a data subject type of this organization"]
    );
    assert_eq!(
        intake.refused(subject_type(257)).await,
        ["subjectType: must have at most 256 bytes"]
    );
    intake.settle().await;
}

#[tokio::test]
async fn what_is_no_json_object_is_refused() {
    let intake = Intake::start().await;
    for body in [
        "",
        "{",
        "null",
        "7",
        "\"x\"",
        "{\"type\":\"ACCESS\"} trailing",
        "{\"type\": \"\u{1}\"}",
    ] {
        let (status, text) = intake.post("/v1/data-subject-request", body.to_owned()).await;
        assert_eq!(status, 400, "{body} gives {text}");
    }
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(80), "]".repeat(80));
    assert_eq!(intake.post("/v1/data-subject-request", deep).await.0, 400);
    intake.settle().await;
}

#[tokio::test]
async fn details_may_be_as_long_as_a_dump_of_a_row() {
    let intake = Intake::start().await;
    let fields = json!({ "details": "x".repeat(64 * 1024) });
    intake.submitted(silent_with("acct_1", fields)).await;
    intake.settle().await;
}

#[tokio::test]
async fn the_same_request_twice_is_refused_in_the_words_that_clients_look_for() {
    let intake = Intake::start().await;
    intake.submitted(silent("acct_1")).await;
    for _ in 0..3 {
        let (status, raw) = intake
            .post("/v1/data-subject-request", silent("acct_1").to_string())
            .await;
        assert_eq!(status, 400);
        assert!(
            raw.starts_with(r#"{"message":"Client error: You have already made this request.","#),
            "{raw}"
        );
        assert!(
            raw.contains(r#"{\"message\":\"Client error: You have already made this request.\","#),
            "{raw}"
        );
        assert!(raw.contains(r#""code":"DUPLICATE_REQUEST""#), "{raw}");
    }
    intake.settle().await;
}

#[tokio::test]
async fn only_an_equivalent_request_is_a_duplicate() {
    let intake = Intake::start().await;
    let mut body = silent("acct_1");
    body["subject"]["email"] = json!("ada@example.test");
    intake.submitted(body.clone()).await;
    // Without an address there is nothing to tell the two apart.
    assert_eq!(intake.submit(silent("acct_1")).await.1["code"], "DUPLICATE_REQUEST");
    body["subject"]["email"] = json!("ADA@example.test");
    assert_eq!(intake.submit(body.clone()).await.1["code"], "DUPLICATE_REQUEST");
    body["subject"]["email"] = json!("ada.l@example.test");
    intake.submitted(body).await;
    intake
        .submitted(silent_with("acct_1", json!({ "type": "ERASURE" })))
        .await;
    intake.submitted(silent_with("acct_1", json!({ "isTest": true }))).await;
    intake.submitted(silent("acct_2")).await;
    intake.settle().await;
}

#[tokio::test]
async fn of_many_equal_submissions_at_once_one_is_taken() {
    let intake = Intake::start().await;
    let submissions = (0..16).map(|_| intake.submit(silent("acct_1")));
    let answers = futures_util::future::join_all(submissions).await;
    let taken = answers.iter().filter(|(status, _)| *status == 200).count();
    let refused = answers
        .iter()
        .filter(|(_, answer)| answer["code"] == "DUPLICATE_REQUEST")
        .count();
    assert_eq!((taken, refused), (1, 15), "{answers:?}");
    intake.settle().await;
}

#[tokio::test]
async fn a_request_can_be_imported_with_its_end() {
    let intake = Intake::start().await;
    for end in [
        "FAILED_VERIFICATION",
        "COMPLETED",
        "CANCELED",
        "SECONDARY_COMPLETED",
        "REVOKED",
    ] {
        let fields = json!({ "completedRequestStatus": end, "createdAt": "2025-05-02T08:15:00.000Z" });
        let body = silent_with(&format!("acct_{end}"), fields);
        let request = intake.submitted(body.clone()).await;
        assert_eq!(request["status"], end);
        assert_eq!(intake.status(&request).await, end);
        assert_eq!(intake.submit(body.clone()).await.1["code"], "DUPLICATE_REQUEST");
        let mut later = body;
        later["createdAt"] = json!("2025-06-02T08:15:00.000Z");
        intake.submitted(later).await;
    }
    // What has ended stands in nobody's way.
    intake.submitted(silent("acct_COMPLETED")).await;
    intake.settle().await;
}

#[tokio::test]
async fn a_status_has_six_fields_and_its_id_any_case() {
    let intake = Intake::start().await;
    let mut body = silent("acct_1");
    body["subject"]["email"] = json!("ada@example.test");
    let request = intake.submitted(body).await;
    let id = request["id"].as_str().unwrap();
    intake.settle().await;
    // No silo is configured, so nobody had to be waited for.
    let expected = json!({
        "id": id,
        "status": "APPROVING",
        "type": "ACCESS",
        "subjectType": "customer",
        "email": "ada@example.test",
        "coreIdentifier": "acct_1",
    });
    for spelled in [id.to_owned(), id.to_uppercase()] {
        let (status, body) = intake.get(&format!("/v1/data-subject-request/{spelled}")).await;
        assert_eq!(status, 200);
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn an_id_that_is_none_is_malformed_and_one_of_nobody_is_not_found() {
    let intake = Intake::start().await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    assert_eq!(intake.get(&format!("/v1/data-subject-request/{nobody}")).await.0, 404);
    for wrong in [
        "7",
        "abc",
        &nobody.replace('-', ""),
        &format!("{{{nobody}}}").replace('{', "%7B").replace('}', "%7D"),
    ] {
        let (status, body) = intake.get(&format!("/v1/data-subject-request/{wrong}")).await;
        assert_eq!(status, 400, "{wrong}");
        assert_eq!(body["details"][0]["path"], "id");
    }
    intake.settle().await;
}

#[tokio::test]
async fn identifiers_come_in_full_pages() {
    let intake = Intake::start().await;
    let phones: Vec<Value> = (0..118)
        .map(|n| json!({ "value": format!("+1555555{n:04}") }))
        .collect();
    let mut body = silent("acct_1");
    body["subject"]["email"] = json!("ada@example.test");
    body["subject"]["attestedExtraIdentifiers"] = json!({ "phone": phones });
    let id = intake.submitted(body).await["id"].clone();
    let page = async |query: Value| intake.identifiers(query).await.len();
    assert_eq!(page(json!({ "requestId": id })).await, 10);
    assert_eq!(page(json!({ "requestId": id, "first": 50 })).await, 50);
    assert_eq!(page(json!({ "requestId": id, "first": 50, "offset": 50 })).await, 50);
    assert_eq!(page(json!({ "requestId": id, "first": 50, "offset": 100 })).await, 20);
    assert_eq!(page(json!({ "requestId": id, "first": 100, "offset": 119 })).await, 1);
    assert_eq!(page(json!({ "requestId": id, "first": 0 })).await, 0);
    assert_eq!(page(json!({ "requestId": id, "offset": 4_000_000_000u32 })).await, 0);
    let once = intake.identifiers(json!({ "requestId": id, "first": 100 })).await;
    assert_eq!(once, intake.identifiers(json!({ "requestId": id, "first": 100 })).await);
    let wrong = [
        json!({}),
        json!({ "requestId": "x" }),
        json!({ "requestId": id, "first": 101 }),
        json!({ "requestId": id, "first": -1 }),
        json!({ "requestId": id, "first": "50" }),
        json!({ "requestId": id, "offset": -1 }),
        json!({ "requestId": id, "offset": 1.5 }),
    ];
    for query in wrong {
        let (status, text) = intake.post("/v1/request-identifiers", query.to_string()).await;
        assert_eq!(status, 400, "{query} gives {text}");
    }
    let nobody = json!({ "requestId": "00000000-0000-4000-8000-000000000000" });
    assert_eq!(intake.post("/v1/request-identifiers", nobody.to_string()).await.0, 404);
    intake.settle().await;
}

#[tokio::test]
async fn an_address_called_unverified_holds_its_request_until_it_is_taken_out() {
    let intake = Intake::start().await;
    let admin = intake.server.key(&[ScopeName::ManageRequestCompilation]).await;
    let graphql = async |query: String| {
        let call = intake
            .server
            .client()
            .post(intake.server.url("/graphql"))
            .bearer_auth(&admin);
        let answer: Value = call
            .json(&json!({ "query": query }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"].clone()
    };
    let mut body = silent("acct_1");
    body["subject"]["email"] = json!("ada@example.test");
    body["subject"]["emailIsVerified"] = json!(false);
    let request = intake.submitted(body).await;
    intake.settle().await;
    assert_eq!(intake.status(&request).await, "ENRICHING");

    let id = request["id"].as_str().unwrap();
    let fields = "nodes { id name isVerifiedAtLeastOnce } totalCount";
    let listed = graphql(format!(
        "{{ requestIdentifiers(input: {{ requestIds: [\"{id}\"] }}, first: 100) {{ {fields} }} }}"
    ))
    .await;
    let listed = &listed["requestIdentifiers"];
    assert_eq!(listed["totalCount"], 2);
    let shown = |at: usize| {
        (
            listed["nodes"][at]["name"].clone(),
            listed["nodes"][at]["isVerifiedAtLeastOnce"].clone(),
        )
    };
    assert_eq!(shown(0), (json!("coreIdentifier"), json!(true)));
    assert_eq!(shown(1), (json!("email"), json!(false)));

    let (core, address) = (&listed["nodes"][0]["id"], &listed["nodes"][1]["id"]);
    let input = format!("{{ requestId: \"{id}\", requestIdentifierIds: [{core}, {address}] }}");
    let removed = graphql(format!(
        "mutation {{ removeRequestIdentifiers(input: {input}) {{ count }} }}"
    ))
    .await;
    assert_eq!(
        removed["removeRequestIdentifiers"]["count"], 1,
        "the core identifier stays"
    );
    intake.settle().await;
    assert_eq!(intake.status(&request).await, "APPROVING");
}

#[tokio::test]
async fn what_a_request_waits_for_and_that_nobody_could_be_asked_stand_in_the_audit_log() {
    let intake = Intake::start().await;
    let told = async |request: &Value, action: &str| {
        let mut reader = intake.server.app().store.begin_read().await.unwrap();
        let entries = audit::list(&mut reader, intake.server.organization, None, 100)
            .await
            .unwrap();
        let id = request["id"].as_str().unwrap();
        let mut entries = entries.into_iter().map(|(_, entry)| entry);
        let entry = entries.find(|entry| entry.action == action && entry.object_id.to_string() == id);
        entry.map(|entry| entry.details)
    };
    let word = |word: &'static str| Detail::from(word);

    let mut body = silent("acct_1");
    body["subject"]["email"] = json!("ada@example.test");
    body["subject"]["emailIsVerified"] = json!(false);
    let request = intake.submitted(body).await;
    intake.settle().await;
    assert_eq!(
        told(&request, "dsr.verification_awaited").await.unwrap(),
        [
            ("count".into(), Detail::Count(1)),
            ("waits_for".into(), word("verified identifiers")),
            ("continued_by".into(), word("removeRequestIdentifiers")),
        ]
    );
    assert_eq!(
        told(&request, "dsr.no_silo_to_ask").await,
        None,
        "it has not come so far"
    );

    let request = intake.submitted(silent("acct_2")).await;
    intake.settle().await;
    assert_eq!(intake.status(&request).await, "APPROVING");
    assert_eq!(
        told(&request, "dsr.no_silo_to_ask").await.unwrap(),
        [("action".into(), word("ACCESS")), ("silos".into(), Detail::Count(0))]
    );
}
