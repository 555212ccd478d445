//! What an organization settles once: identifiers, data subject types, actions, attribute keys. Each story changes a
//! setting as its clients do, and sees what follows for the next request.

use antumbra_server::{ServerConfig, api_keys::ScopeName, config::RunJobs};
use serde_json::{Value, json};

use crate::support::{
    TestServer,
    manage::{manage, manage_refused},
};

/// A server, and a key that may do everything.
struct Office {
    server: TestServer,
    key: String,
}

impl Office {
    async fn open() -> Office {
        let config = ServerConfig {
            run_jobs: RunJobs::WhenAsked,
            ..ServerConfig::default()
        };
        let server = TestServer::with(config).await;
        let key = server.key(&[ScopeName::FullAdmin]).await;
        Office { server, key }
    }

    async fn change(&self, mutation: &str) -> Value {
        manage(&self.server, &self.key, &format!("mutation {{ {mutation} }}")).await
    }

    async fn refused(&self, mutation: &str) -> String {
        manage_refused(&self.server, &self.key, &format!("mutation {{ {mutation} }}")).await
    }

    /// Submits an access request about `core`, with `more` laid over it.
    async fn submit(&self, core: &str, more: Value) -> (u16, Value) {
        let mut body = json!({ "type": "ACCESS", "subjectType": "customer", "isSilent": true,
            "subject": { "coreIdentifier": core } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let call = self.server.client().post(self.server.url("/v1/data-subject-request"));
        let answer = call.bearer_auth(&self.key).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// The request that a submission makes.
    async fn submitted(&self, core: &str, more: Value) -> Value {
        let (status, answer) = self.submit(core, more).await;
        assert_eq!(status, 200, "{answer}");
        answer["request"].clone()
    }

    /// The one rule that a submission breaks.
    async fn broken(&self, core: &str, more: Value) -> String {
        let (status, answer) = self.submit(core, more).await;
        assert_eq!(status, 400, "{answer}");
        let details = answer["details"].as_array().unwrap();
        assert_eq!(details.len(), 1, "{answer}");
        let text = |name: &str| details[0][name].as_str().unwrap().to_owned();
        format!("{}: {}", text("path"), text("message"))
    }

    async fn status(&self, request: &Value) -> Value {
        let path = format!("/v1/data-subject-request/{}", request["id"].as_str().unwrap());
        let call = self.server.client().get(self.server.url(&path)).bearer_auth(&self.key);
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        answer["status"].clone()
    }
}

fn with_card(number: &str) -> Value {
    let extras = json!({ "custom": [{ "name": "loyaltyCard", "value": number }] });
    json!({ "subject": { "coreIdentifier": number, "attestedExtraIdentifiers": extras } })
}

#[tokio::test]
async fn an_identifier_is_taken_once_it_is_known_and_only_in_its_form() {
    let office = Office::open().await;
    const PLACE: &str = "subject.attestedExtraIdentifiers.custom[0]";
    assert_eq!(
        office.broken("a", with_card("LC-1")).await,
        format!("{PLACE}: The organization does not support identifiers with this name at submission time")
    );
    let create =
        "createIdentifier(input: {name: \"loyaltyCard\", type: custom, regex: \"^LC-[0-9]+$\"}) { identifier { id } }";
    let id = office.change(create).await["identifier"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    office.submitted("a", with_card("LC-1")).await;
    assert_eq!(
        office.broken("a", with_card("XX-1")).await,
        format!("{PLACE}.value: does not have the form that the organization asks for")
    );
    let update = |what: &str| format!("updateIdentifier(input: {{id: \"{id}\", {what}}}) {{ clientMutationId }}");
    office
        .change(&update("validationErrorMessage: \"Look on the back of your card\""))
        .await;
    assert_eq!(
        office.broken("a", with_card("XX-1")).await,
        format!("{PLACE}.value: Look on the back of your card")
    );
    office.change(&update("selectOptions: [\"LC-1\", \"LC-2\"]")).await;
    office.submitted("a", with_card("LC-2")).await;
    office.broken("a", with_card("LC-3")).await;
    // Nothing is asked of it any more.
    office.change(&update("regex: \"\", selectOptions: []")).await;
    office.submitted("a", with_card("anything")).await;

    // So are the two that every organization has. What is imported keeps the form that it had elsewhere.
    let known = manage(
        &office.server,
        &office.key,
        "{ identifiers(first: 50) { nodes { id name } } }",
    )
    .await;
    let id_of = |name: &str| {
        let mut nodes = known["nodes"].as_array().unwrap().iter();
        nodes.find(|node| node["name"] == name).unwrap()["id"].clone()
    };
    let ask_for = |name: &str, what: &str| {
        let id = id_of(name);
        format!("updateIdentifier(input: {{id: {id}, {what}}}) {{ clientMutationId }}")
    };
    office
        .change(&ask_for("email", "regex: \"@shop[.]example[.]test$\""))
        .await;
    let (core, message) = (
        "coreIdentifier",
        "validationErrorMessage: \"An account has six digits\"",
    );
    office
        .change(&ask_for(core, &format!("regex: \"^[0-9]{{6}}$\", {message}")))
        .await;
    let subject = |core: &str, email: &str| json!({ "subject": { "coreIdentifier": core, "email": email } });
    office.submitted("a", subject("123456", "ada@shop.example.test")).await;
    assert_eq!(
        office.broken("a", subject("123456", "ada@example.test")).await,
        "subject.email: does not have the form that the organization asks for"
    );
    assert_eq!(
        office.broken("a", subject("12345", "ada@shop.example.test")).await,
        "subject.coreIdentifier: An account has six digits"
    );
    let mut imported = subject("12345", "ada@example.test");
    imported["completedRequestStatus"] = json!("COMPLETED");
    office.submitted("a", imported).await;
    office.change(&ask_for("email", "regex: \"\"")).await;
    office.change(&ask_for(core, "regex: \"\"")).await;

    // A kind that was not there is there once it is made, and its own name is all it can have.
    let phone = json!({ "subject": { "coreIdentifier": "b", "attestedExtraIdentifiers": { "stripeId": [{ "value": "cus_1" }] } } });
    office.broken("b", phone.clone()).await;
    let named = "createIdentifier(input: {name: \"stripe\", type: stripeId}) { identifier { id } }";
    assert_eq!(
        office.refused(named).await,
        "Client error: identifier `stripe`: must be called as its type is; only identifiers of type custom have names \
         of their own"
    );
    office
        .change("createIdentifier(input: {name: \"stripeId\", type: stripeId}) { identifier { id } }")
        .await;
    office.submitted("b", phone).await;
    office.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn a_data_subject_type_demands_what_it_may_and_only_while_it_is_active() {
    let office = Office::open().await;
    let employee = |action: &str| json!({ "subjectType": "employee", "type": action });
    assert_eq!(
        office.broken("a", employee("ACCESS")).await,
        "subjectType: is not a data subject type of this organization"
    );
    let create =
        "createSubject(input: {type: \"employee\", title: \"Employee\", actions: [ACCESS]}) { subject { id } }";
    let id = office.change(create).await["subject"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        office.submitted("a", employee("ACCESS")).await["subjectType"],
        "employee"
    );
    assert_eq!(
        office.broken("a", employee("ERASURE")).await,
        "type: is not an action that this data subject type may demand"
    );
    // Its name on the wire is exact; its title is for people.
    for wrong in ["Employee", "employee ", "EMPLOYEE"] {
        office.broken("a", json!({ "subjectType": wrong })).await;
    }
    office
        .change(&format!(
            "updateSubject(input: {{id: \"{id}\", actions: [ERASURE]}}) {{ subject {{ id }} }}"
        ))
        .await;
    office.submitted("a", employee("ERASURE")).await;
    office.broken("b", employee("ACCESS")).await;

    let toggle =
        |active: bool| format!("toggleSubject(input: {{id: \"{id}\", active: {active}}}) {{ clientMutationId }}");
    office.change(&toggle(false)).await;
    assert_eq!(
        office.broken("b", employee("ERASURE")).await,
        "subjectType: is a data subject type that takes no new requests"
    );
    office.change(&toggle(true)).await;
    office.submitted("b", employee("ERASURE")).await;
    assert_eq!(
        office
            .refused("createSubject(input: {type: \"employee\", title: \"Staff\"}) { subject { id } }")
            .await,
        "Client error: data subject type `employee`: is taken by another one"
    );
    office.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn an_attribute_is_carried_by_what_its_key_is_enabled_on() {
    let office = Office::open().await;
    let labels = |key: &str, values: &[&str]| json!({ "attributes": [{ "key": key, "values": values }] });
    let tagged = office
        .submitted("a", labels("Tags", &["by phone", "urgent", "urgent"]))
        .await;
    let value = |name: &str| json!({ "attributeKey": { "name": "Tags" }, "name": name });
    assert_eq!(tagged["attributeValues"], json!([value("by phone"), value("urgent")]));

    const UNKNOWN: &str = "attributes[0].key: is not an attribute that requests can carry";
    assert_eq!(office.broken("b", labels("Tier", &["Gold"])).await, UNKNOWN);
    let create = "createAttributeKey(input: {name: \"Tier\", type: SINGLE_SELECT, enabledOn: [dataSilo]}) { attributeKey { id } }";
    let id = office.change(create).await["attributeKey"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(office.broken("b", labels("Tier", &["Gold"])).await, UNKNOWN);
    let update =
        format!("updateAttributeKey(input: {{id: \"{id}\", enabledOn: [request]}}) {{ attributeKey {{ id }} }}");
    office.change(&update).await;
    assert_eq!(
        office.broken("b", labels("Tier", &["Gold", "Silver"])).await,
        "attributes[0].values: must be one value only, as this attribute is a single choice"
    );
    office.submitted("b", labels("Tier", &["Gold"])).await;

    // A value that is taken away stays with whoever carries it.
    let values =
        "createAttributeValues(input: [{attributeKeyName: \"Tags\", name: \"urgent\"}]) { attributeValues { id } }";
    let value = office.change(values).await["attributeValues"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        office.refused(values).await,
        "Client error: attribute key `Tags`: is taken by another one"
    );
    office
        .change(&format!("deleteAttributeValue(id: \"{value}\") {{ clientMutationId }}"))
        .await;
    let list = format!(
        "{{ requests(filterBy: {{ids: [{}]}}) {{ nodes {{ attributeValues {{ name }} }} }} }}",
        tagged["id"]
    );
    let listed = manage(&office.server, &office.key, &list).await;
    let carried = &listed["nodes"][0]["attributeValues"];
    assert_eq!(carried, &json!([{ "name": "by phone" }, { "name": "urgent" }]));
    office.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn an_action_decides_how_the_next_request_goes_on() {
    let office = Office::open().await;
    let actions = manage(&office.server, &office.key, "{ actions { nodes { id type } } }").await;
    let actions = actions["nodes"].as_array().unwrap();
    let access = actions.iter().find(|action| action["type"] == "ACCESS").unwrap()["id"].clone();
    let update = |what: &str| format!("updateAction(input: {{id: {access}, {what}}}) {{ action {{ id }} }}");
    let reviewed = office.submitted("a", json!({})).await;
    office.server.run_jobs_until_idle().await;
    assert_eq!(office.status(&reviewed).await, "APPROVING");

    // Nobody had anything, so there is nothing to download either.
    office.change(&update("requiresReview: false")).await;
    let unreviewed = office.submitted("b", json!({})).await;
    office.server.run_jobs_until_idle().await;
    assert_eq!(office.status(&unreviewed).await, "COMPLETED");
    assert_eq!(
        office.status(&reviewed).await,
        "APPROVING",
        "a request keeps the rules that it was made under"
    );

    office.change(&update("waitingPeriod: 3")).await;
    let waiting = office.submitted("c", json!({})).await;
    let hurried = office.submitted("d", json!({ "skipWaitingPeriod": true })).await;
    office.server.run_jobs_until_idle().await;
    assert_eq!(office.status(&waiting).await, "WAITING");
    assert_eq!(office.status(&hurried).await, "COMPLETED");
    office.server.pass(std::time::Duration::from_secs(3 * 24 * 3600)).await;
    assert_eq!(office.status(&waiting).await, "COMPLETED");
}

#[tokio::test]
async fn what_people_are_found_by_is_not_changed_under_their_records() {
    let office = Office::open().await;
    let query = "{ identifiers(first: 100) { nodes { id name isUniqueOnPreferenceStore } } }";
    let list = async || {
        let listed = manage(&office.server, &office.key, query).await;
        listed["nodes"].as_array().unwrap().clone()
    };
    office
        .change("createIdentifier(input: {name: \"plan\", type: custom}) { identifier { id } }")
        .await;
    let known = list().await;
    let unique = |name: &str, is_unique: bool| {
        let id = &known.iter().find(|known| known["name"] == name).unwrap()["id"];
        let input = format!("{{id: {id}, isUniqueOnPreferenceStore: {is_unique}, placeholder: \"{is_unique}\"}}");
        format!("updateIdentifier(input: {input}) {{ clientMutationId }}")
    };
    for is_unique in [true, false] {
        office.change(&unique("plan", is_unique)).await;
    }
    let manager = manage(
        &office.server,
        &office.key,
        "{ consentManager { consentManager { id } } }",
    )
    .await;
    let partition = &manager["consentManager"]["id"];
    let call = async |path: &str, body: Value| {
        let (client, url) = (office.server.client(), office.server.url(path));
        let call = if path == "/v1/preferences" {
            client.put(url)
        } else {
            client.post(url)
        };
        let answer = call.bearer_auth(&office.key).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    let email = json!({ "name": "email", "value": "ada@example.test" });
    let at = "2026-02-03T09:00:00.000Z";
    let identifiers = json!([email, { "name": "plan", "value": "family" }]);
    let record = json!({ "partition": partition, "identifiers": identifiers, "timestamp": at });
    call("/v1/preferences", json!({ "records": [record] })).await;
    for (name, is_unique) in [("plan", true), ("email", false), ("phone", false)] {
        assert_eq!(
            office.refused(&unique(name, is_unique)).await,
            format!(
                "Client error: identifier `{name}`: cannot begin or cease to be unique on the preference store while any \
                 partition holds preference records"
            )
        );
    }
    // What stays as it is may be said, and the rest may change.
    office.change(&unique("email", true)).await;
    office.change(&unique("plan", false)).await;
    assert_eq!(list().await, known);

    let path = format!("/v1/preferences/{}/delete", partition.as_str().unwrap());
    let gone = json!({ "anchorIdentifier": email, "timestamp": at });
    call(&path, json!({ "records": [gone] })).await;
    office.change(&unique("plan", true)).await;
    office.change(&unique("email", false)).await;
}

#[tokio::test]
async fn a_partition_that_holds_records_is_not_deleted() {
    let office = Office::open().await;
    let list = async || {
        let listed = manage(
            &office.server,
            &office.key,
            "{ consentPartitions { nodes { id name partition } } }",
        );
        listed.await["nodes"].as_array().unwrap().clone()
    };
    let manager = manage(
        &office.server,
        &office.key,
        "{ consentManager { consentManager { id } } }",
    )
    .await;
    let manager = &manager["consentManager"]["id"];
    for name in ["shop", "games"] {
        let input = format!("{{id: {manager}, name: \"{name}\", partition: \"{name}\"}}");
        office
            .change(&format!(
                "createConsentPartition(input: {input}) {{ consentPartition {{ id }} }}"
            ))
            .await;
    }
    let partitions = list().await;
    let delete = |name: &str| {
        let partition = partitions.iter().find(|partition| partition["name"] == name).unwrap();
        format!(
            "deleteConsentPartition(input: {{id: {}}}) {{ clientMutationId }}",
            partition["id"]
        )
    };
    let call = async |method: reqwest::Method, path: &str, body: Value| {
        let call = office.server.client().request(method, office.server.url(path));
        let answer = call.bearer_auth(&office.key).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let record = json!({ "partition": "shop", "userId": "ada@example.test", "timestamp": "2026-02-03T09:00:00.000Z" });
    let (status, answer) = call(reqwest::Method::PUT, "/v1/preferences", json!({ "records": [record] })).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        office.refused(&delete("shop")).await,
        "Client error: partition `shop`: holds preference records, which must be deleted first"
    );
    assert_eq!(
        office.refused(&delete("Default")).await,
        "Client error: partition `Default`: the default partition can not be deleted"
    );
    let (_, answer) = call(reqwest::Method::POST, "/v1/preferences/shop/query", json!({})).await;
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 1, "{answer}");

    office.change(&delete("games")).await;
    assert_eq!(list().await.len(), partitions.len() - 1);
    let (status, answer) = call(reqwest::Method::POST, "/v1/preferences/games/query", json!({})).await;
    assert_eq!((status, &answer["details"][0]["path"]), (400, &json!("partition")));
    assert_eq!(
        office.refused(&delete("games")).await,
        "Client error: There is no such partition"
    );
}

#[tokio::test]
async fn texts_are_taken_at_their_bound_and_refused_one_past_it() {
    let office = Office::open().await;
    let long = |length: usize| "x".repeat(length);
    let identifier = |name: &str, more: &str| {
        format!("createIdentifier(input: {{name: \"{name}\", type: custom{more}}}) {{ identifier {{ id }} }}")
    };
    let subject = |slug: &str, title: &str| {
        format!("createSubject(input: {{type: \"{slug}\", title: \"{title}\"}}) {{ subject {{ id }} }}")
    };
    let attribute =
        |name: &str| format!("createAttributeKey(input: {{name: \"{name}\", type: TEXT}}) {{ attributeKey {{ id }} }}");
    let template = |title: &str, body: &str| {
        format!(
            "createTemplate(input: {{title: \"{title}\", subject: \"s\", template: \"{body}\"}}) {{ template {{ id }} }}"
        )
    };
    let pattern = |length: usize| format!(", regex: \"{}\"", long(length));
    let message = |length: usize| format!(", validationErrorMessage: \"{}\"", long(length));
    for (at, past) in [
        (identifier(&long(128), ""), identifier(&long(129), "")),
        (identifier("a", &pattern(1_024)), identifier("b", &pattern(1_025))),
        (
            identifier("c", &message(16 * 1024)),
            identifier("d", &message(16 * 1024 + 1)),
        ),
        (subject(&long(128), "t"), subject(&long(129), "t")),
        (subject("a", &long(256)), subject("b", &long(257))),
        (attribute(&long(128)), attribute(&long(129))),
        (template(&long(128), "b"), template(&long(129), "b")),
    ] {
        office.change(&at).await;
        let refused = office.refused(&past).await;
        assert!(refused.ends_with(": is too long"), "{refused}");
    }
    for empty in [identifier("", ""), subject("", "t"), attribute(""), template("", "b")] {
        let refused = office.refused(&empty).await;
        assert!(
            refused.starts_with("Client error: ") && refused.contains("must"),
            "{refused}"
        );
    }
    for (odd, rule) in [
        ("a\\u0000b", "must not hold control characters"),
        ("a\\nb", "must not hold control characters"),
        (" a", "must not begin or end with a space"),
        ("a ", "must not begin or end with a space"),
    ] {
        let refused = office.refused(&identifier(odd, "")).await;
        assert!(refused.ends_with(rule), "{refused}");
    }
}

#[tokio::test]
async fn settings_are_still_there_after_a_restart() {
    let mut office = Office::open().await;
    office
        .change("createIdentifier(input: {name: \"loyaltyCard\", type: custom}) { identifier { id } }")
        .await;
    office
        .change("createSubject(input: {type: \"employee\", title: \"Employee\"}) { subject { id } }")
        .await;
    office.server.restart().await;
    office.submitted("a", with_card("LC-1")).await;
    office.submitted("b", json!({ "subjectType": "employee" })).await;
    office.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn what_happened_is_listed_newest_first_and_by_what_it_was_about() {
    let office = Office::open().await;
    let first = office.submitted("acct_1", json!({})).await;
    let second = office.submitted("acct_2", json!({})).await;
    office.server.run_jobs_until_idle().await;
    const ENTRY: &str =
        "nodes { id at actor { kind id } action objectKind objectId details { name value } } endCursor hasNextPage";
    let events = async |arguments: &str| {
        let document = format!("{{ auditEvents({arguments}) {{ {ENTRY} }} }}");
        manage(&office.server, &office.key, &document).await
    };
    let id = first["id"].as_str().unwrap();
    let about = events(&format!(r#"first: 1000, about: "{id}""#)).await;
    let actions: Vec<&str> = about["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions.last(), Some(&"dsr.submitted"), "{actions:?}");
    assert_eq!(about["hasNextPage"], false);
    let submitted = about["nodes"].as_array().unwrap().last().unwrap();
    assert_eq!(submitted["actor"]["kind"], "API_KEY");
    assert!(!about.to_string().contains(second["id"].as_str().unwrap()));
    assert!(!about.to_string().contains("acct_1"), "nothing that a person is called");

    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = events(&format!("first: 2{after}")).await;
        paged.extend(page["nodes"].as_array().unwrap().iter().cloned());
        if page["hasNextPage"] == false {
            break;
        }
        after = format!(r#", after: "{}""#, page["endCursor"].as_str().unwrap());
    }
    assert_eq!(events("first: 0").await["nodes"], json!([]));
    let whole = events("first: 1000").await;
    assert_eq!(whole["nodes"].as_array().unwrap(), &paged);
    let ids: Vec<&str> = paged.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert!(ids.is_sorted_by(|one, next| one > next), "newest first");
}
