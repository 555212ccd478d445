//! The management API as its clients use it: their documents, decoded as strictly as they decode.

use std::sync::Arc;

use antumbra_server::api_keys::ScopeName::{self, *};
use serde_json::{Value, json};

use crate::support::TestServer;

mod clients;
mod notation;
use notation::Shape;

/// A server, and a key with the scopes that a test is about.
#[derive(Clone)]
struct Management {
    url: String,
    client: reqwest::Client,
    key: String,
    /// None where the test keeps the server.
    server: Option<Arc<TestServer>>,
}

impl Management {
    async fn with(scopes: &[ScopeName]) -> Management {
        let server = TestServer::start().await;
        let key = server.key(scopes).await;
        let management = Management::of(&server, key);
        Management {
            server: Some(Arc::new(server)),
            ..management
        }
    }

    /// The management API of a server that the test keeps.
    fn of(server: &TestServer, key: String) -> Management {
        Management {
            url: server.url("/graphql"),
            client: server.client().clone(),
            key,
            server: None,
        }
    }

    fn server(&self) -> &TestServer {
        self.server.as_ref().unwrap()
    }

    async fn admin() -> Management {
        Management::with(&[FullAdmin]).await
    }

    async fn send(&self, body: &Value) -> (u16, Value) {
        let sent = self.client.post(&self.url).bearer_auth(&self.key).json(body).send();
        let answer = sent.await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Sends what a client sends: a document that selects exactly `shape`. Gives the decoded field.
    async fn ask(&self, operation: &str, field: &str, shape: &str, variables: Value) -> Value {
        let shape = Shape::parse(shape);
        let query = format!("{operation} {{ {field} {{ {} }} }}", shape.selection());
        let (status, answer) = self.send(&json!({ "query": query, "variables": variables })).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer.get("errors"), None, "{query}\n{answer}");
        let name = field.split(['(', ' ']).next().unwrap();
        let data = answer["data"].as_object().unwrap();
        assert_eq!(data.len(), 1);
        shape.check(&data[name], name);
        data[name].clone()
    }

    /// The first error of a document that is refused.
    async fn refused(&self, query: &str, variables: Value) -> Value {
        let (status, answer) = self.send(&json!({ "query": query, "variables": variables })).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["data"], Value::Null, "{answer}");
        answer["errors"][0].clone()
    }
}

#[tokio::test]
async fn a_client_finds_its_gateway() {
    let management = Management::with(&[]).await;
    let organization = management
        .ask(
            "query TranscendCliOrganization",
            "organization",
            "sombra ( id ID!; customerUrl String! ); sombras[] ( id ID!; customerUrl String! )",
            json!({}),
        )
        .await;
    assert_eq!(
        organization["sombra"]["customerUrl"],
        format!("http://{}", management.server().address())
    );
    let context = "sombra ( customerUrl String!; version String ); aiSetting? ( isAiEnabled Boolean!; isMcpSombraEnabled Boolean! )";
    let organization = management.ask("query", "organization", context, Value::Null).await;
    assert_eq!(
        organization["aiSetting"],
        json!({ "isAiEnabled": true, "isMcpSombraEnabled": true })
    );
    management
        .ask(
            "query",
            "organization",
            "id ID!; name String!; uri String!; createdAt Date!",
            json!({}),
        )
        .await;
}

#[tokio::test]
async fn a_new_server_has_what_clients_expect_to_find() {
    let management = Management::admin().await;
    let title = json!({ "title": "Request Canceled", "first": 20, "offset": 0 });
    let templates = management
        .ask(
            "query TranscendCliTemplates($title: String, $first: Int!, $offset: Int!)",
            "templates(filterBy: {text: $title}, first: $first, offset: $offset, useMaster: false)",
            "nodes[] ( id ID!; title String!; subject ( defaultMessage String! ); template ( defaultMessage String! ) )",
            title,
        )
        .await;
    assert_eq!(templates["nodes"][0]["title"], "Request Canceled");
    assert_eq!(templates["nodes"].as_array().unwrap().len(), 1);

    let subjects = management.ask_list(
        "query TranscendCliDataSubjects",
        "internalSubjects",
        "id ID!; title ( defaultMessage String! ); active Boolean!; type String!; adminDashboardDefaultSilentMode Boolean!; supportsAuthorizedAgent Boolean!; actions[] ( type RequestAction! )",
    );
    let subjects = subjects.await;
    assert_eq!(subjects[0]["type"], "customer");
    assert_eq!(subjects[0]["actions"].as_array().unwrap().len(), 19);

    let keys = management
        .ask(
            "query TranscendCliAttributeKeys($first: Int!, $offset: Int!)",
            "attributeKeys(filterBy: {enabledOn: [request]}, first: $first, useMaster: false, offset: $offset)",
            "nodes[] ( id ID!; name String!; type AttributeKeyType! )",
            json!({ "first": 20, "offset": 0 }),
        )
        .await;
    assert_eq!(keys["nodes"][0]["name"], "Tags");
    assert_eq!(keys["nodes"][0]["type"], "MULTI_SELECT");

    let identifiers = management.identifiers().await;
    let names: Vec<&str> = identifiers
        .iter()
        .map(|identifier| identifier["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["coreIdentifier", "email", "phone", "transcend"]);

    let actions = management
        .ask(
            "query TranscendCliActions($first: Int!, $offset: Int!)",
            "actions(first: $first, offset: $offset, useMaster: false, orderBy: [{field: type, direction: ASC}])",
            "nodes[] ( id ID!; type RequestAction!; skipSecondaryIfNoFiles Boolean!; skipDownloadableStep Boolean!; requiresReview Boolean!; regionList [String!]!; regionDetectionMethod RegionDetectionMethod!; waitingPeriod Int!; downloadAvailabilityDuration Int! )",
            json!({ "first": 50, "offset": 0 }),
        )
        .await;
    let actions = actions["nodes"].as_array().unwrap();
    assert_eq!(actions.len(), 19);
    assert_eq!(actions[0]["type"], "ACCESS");
    assert_eq!(actions[0]["downloadAvailabilityDuration"], 14);
    assert_eq!(actions[0]["requiresReview"], true);

    let manager = management.ask(
        "query TranscendCliFetchConsentManagerId",
        "consentManager",
        "consentManager ( id ID! )",
        json!({}),
    );
    manager.await;
}

impl Management {
    async fn ask_list(&self, operation: &str, field: &str, shape: &str) -> Vec<Value> {
        let shape = Shape::parse(shape);
        let query = format!("{operation} {{ {field} {{ {} }} }}", shape.selection());
        let (_, answer) = self.send(&json!({ "query": query })).await;
        let nodes = answer["data"][field]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"))
            .clone();
        nodes.iter().for_each(|node| shape.check(node, field));
        nodes
    }

    async fn identifiers(&self) -> Vec<Value> {
        let page = self
            .ask(
                "query TranscendCliIdentifiers($first: Int!, $offset: Int!)",
                "identifiers(first: $first, offset: $offset, useMaster: false, orderBy: [{field: createdAt, direction: ASC}, {field: name, direction: ASC}])",
                "nodes[] ( id String!; name String!; type IdentifierType!; regex String!; selectOptions [String!]!; privacyCenterVisibility [RequestAction!]!; dataSubjects[] ( type String! ); isRequiredInForm Boolean!; placeholder String!; displayTitle? ( defaultMessage String! ); displayDescription? ( defaultMessage String! ); displayOrder Int; isUniqueOnPreferenceStore Boolean! )",
                json!({ "first": 20, "offset": 0 }),
            )
            .await;
        page["nodes"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn an_identifier_is_made_and_changed_as_a_push_does_it() {
    let management = Management::with(&[ManageRequestIdentities, ViewDataSubjectRequestSettings]).await;
    let kinds = management
        .ask_list(
            "query TranscendCliNewIdentifierTypes",
            "newIdentifierTypes",
            "name IdentifierType!",
        )
        .await;
    assert!(kinds.iter().any(|kind| kind["name"] == "custom"));
    assert!(!kinds.iter().any(|kind| kind["name"] == "email"));
    let made = management
        .ask(
            "mutation TranscendCliCreateIdentifier($input: IdentifierInput!)",
            "createIdentifier(input: $input)",
            "identifier ( id String!; name String! )",
            json!({ "input": { "name": "loyaltyCard", "type": "custom" } }),
        )
        .await;
    let change = json!({ "input": {
        "id": made["identifier"]["id"], "regex": "^LC-[0-9]+$", "isUniqueOnPreferenceStore": true, "displayTitle": "Card",
        "selectOptions": null, "dataSubjects": ["customer"], "skipPublish": true,
    } });
    management
        .ask(
            "mutation TranscendCliUpdateIdentifier($input: UpdateIdentifierInput!)",
            "updateIdentifier(input: $input)",
            "clientMutationId String",
            change,
        )
        .await;
    let card = management
        .identifiers()
        .await
        .into_iter()
        .find(|known| known["name"] == "loyaltyCard")
        .unwrap();
    assert_eq!(card["regex"], "^LC-[0-9]+$");
    assert_eq!(card["displayTitle"]["defaultMessage"], "Card");
    assert_eq!(card["isUniqueOnPreferenceStore"], true);
    assert_eq!(card["dataSubjects"], json!([{ "type": "customer" }]));
}

#[tokio::test]
async fn a_document_that_is_refused_says_why_in_words_that_clients_do_not_repeat_after() {
    let management = Management::admin().await;
    let create = "mutation($input: IdentifierInput!) { createIdentifier(input: $input) { identifier { id } } }";
    let cases = [
        (
            create,
            json!({ "input": { "name": "email", "type": "custom" } }),
            "Client error: identifier `email`: is taken by another one",
        ),
        (
            create,
            json!({ "input": { "name": "", "type": "custom" } }),
            "Client error: identifier ``: must not be empty",
        ),
        (
            create,
            json!({ "input": { "name": "a", "type": "custom", "regex": "(?=a)" } }),
            "Client error: identifier `a`: is not a regular expression that this server can run; look-around and back-references are not supported",
        ),
        (
            "mutation { updateIdentifier(input: {id: \"nobody\"}) { clientMutationId } }",
            json!({}),
            "Client error: There is no such identifier",
        ),
        (
            "query { identifiers(first: -1) { totalCount } }",
            json!({}),
            "Client error: first must be between 0 and 10000",
        ),
    ];
    for (query, variables, wanted) in cases {
        let error = management.refused(query, variables).await;
        assert_eq!(error["message"], wanted);
        assert!(error["extensions"]["code"].is_string(), "{error}");
    }
    assert_eq!(management.identifiers().await.len(), 4);
}

#[tokio::test]
async fn a_syntax_error_does_not_repeat_the_values_around_it() {
    let management = Management::admin().await;
    let error = management
        .refused("query { request(id: \"ada@example.test\" }", json!({}))
        .await;
    assert!(!error.to_string().contains("ada@"), "{error}");
    assert!(error["message"].as_str().unwrap().contains("expected"), "{error}");
}

#[tokio::test]
async fn a_broken_document_is_told_from_a_wrong_one() {
    let management = Management::admin().await;
    let error = management.refused("query {", json!({})).await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Client error: syntax error: "),
        "{error}"
    );
    let error = management.refused("query { organisation { id } }", json!({})).await;
    assert_eq!(error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{error}");
    assert!(
        error["message"].as_str().unwrap().starts_with("Client error: "),
        "{error}"
    );
    let error = management
        .refused(
            "query($n: Int!) { identifiers(first: $n) { totalCount } }",
            json!({ "n": "x" }),
        )
        .await;
    assert_eq!(error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{error}");
}

#[tokio::test]
async fn undeclared_variables_and_operation_names_do_not_matter() {
    let management = Management::admin().await;
    let body = json!({
        "query": "mutation TranscendCliCreateDataSubject($type: String!) { createSubject(input: {type: $type, title: $type, subjectClass: OTHER}) { subject { id type } } }",
        "variables": { "type": "employee", "skipPublish": true },
        "operationName": "TranscendCliCreateDataSubject",
    });
    let (status, answer) = management.send(&body).await;
    assert_eq!(
        (status, answer["data"]["createSubject"]["subject"]["type"].as_str()),
        (200, Some("employee")),
        "{answer}"
    );
    let (_, answer) = management.send(&json!({ "query": "query { __typename }" })).await;
    assert_eq!(answer, json!({ "data": { "__typename": "Query" } }));
}

#[tokio::test]
async fn a_body_of_several_documents_happens_whole_or_not_at_all() {
    let management = Management::admin().await;
    let create = |name: &str| {
        let query =
            "mutation($n: String!) { createIdentifier(input: {name: $n, type: custom}) { identifier { name } } }";
        json!({ "query": query, "variables": { "n": name } })
    };
    let (status, answer) = management.send(&json!([create("a"), create("b"), create("a")])).await;
    assert_eq!(status, 200);
    let messages: Vec<&str> = (0..3)
        .map(|at| answer[at]["errors"][0]["message"].as_str().unwrap())
        .collect();
    assert_eq!(messages[2], "Client error: identifier `a`: is taken by another one");
    assert_eq!(messages[0], messages[1]);
    assert!(messages[0].contains("nothing of it was kept"), "{answer}");
    assert_eq!(management.identifiers().await.len(), 4);

    let (_, answer) = management.send(&json!([create("a"), create("b")])).await;
    assert_eq!(answer[1]["data"]["createIdentifier"]["identifier"]["name"], "b");
    assert_eq!(management.identifiers().await.len(), 6);
}

#[tokio::test]
async fn a_dry_run_answers_and_keeps_nothing() {
    let management = Management::admin().await;
    let query = "mutation { createIdentifier(input: {name: \"a\", type: custom}) { identifier { name } } }";
    let sent = management.client.post(&management.url).bearer_auth(&management.key);
    let sent = sent
        .header("x-antumbra-dry-run", "1")
        .json(&json!({ "query": query }))
        .send();
    let answer: Value = sent.await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["createIdentifier"]["identifier"]["name"], "a");
    assert_eq!(management.identifiers().await.len(), 4);
}

#[tokio::test]
async fn a_key_that_is_not_known_is_told_so_in_the_words_that_clients_look_for() {
    let mut management = Management::admin().await;
    management.key = "ant_nobody".to_owned();
    let (status, answer) = management.send(&json!({ "query": "query { __typename }" })).await;
    assert_eq!(status, 401);
    assert!(
        answer["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("API key is invalid"),
        "{answer}"
    );
}

#[tokio::test]
async fn every_root_field_stands_in_the_table_of_scopes() {
    let schema = antumbra_server::graphql::schema_text();
    let mut in_schema = root_fields(&schema, "Query");
    in_schema.extend(root_fields(&schema, "Mutation"));
    let mut in_table: Vec<String> = antumbra_server::graphql::fields()
        .map(|known| known.field.to_owned())
        .collect();
    in_table.retain(|field| !field.starts_with("__"));
    in_schema.sort();
    in_table.sort();
    assert_eq!(in_schema, in_table);
}

/// The fields of a type in the schema's text: lines such as `name: Type` and `name(argument: Type): Type`.
fn root_fields(schema: &str, root: &str) -> Vec<String> {
    let body = schema
        .split(&format!("\ntype {root} {{\n"))
        .nth(1)
        .unwrap()
        .split("\n}")
        .next()
        .unwrap();
    let fields = body.lines().filter_map(|line| {
        let line = line.strip_prefix('\t')?;
        let name = &line[..line.find(['(', ':'])?];
        name.chars().all(char::is_alphanumeric).then(|| name.to_owned())
    });
    fields.collect()
}

#[tokio::test]
async fn each_root_field_needs_one_of_its_scopes() {
    let management = Management::with(&[]).await;
    for known in antumbra_server::graphql::fields().filter(|known| !known.scopes.is_empty()) {
        let keyword = if is_mutation(known.field) { "mutation" } else { "query" };
        let (_, answer) = management
            .send(&json!({ "query": format!("{keyword} {{ {} }}", known.field) }))
            .await;
        let error = &answer["errors"][0];
        assert_eq!(error["extensions"]["code"], "ACCESS_DENIED", "{answer}");
        assert_eq!(error["extensions"]["route"], known.field);
        let wanted: Vec<String> = known.scopes.iter().map(|scope| format!("{scope:?}")).collect();
        assert_eq!(error["extensions"]["requiredScopes"], json!(wanted));
        for scope in known.scopes {
            let key = management.server().key(&[*scope]).await;
            let allowed = Management {
                key,
                ..management.clone()
            };
            let (_, answer) = allowed
                .send(&json!({ "query": format!("{keyword} {{ {} }}", known.field) }))
                .await;
            assert_ne!(
                answer["errors"][0]["extensions"]["code"], "ACCESS_DENIED",
                "{scope:?} {answer}"
            );
        }
    }
}

fn is_mutation(field: &str) -> bool {
    root_fields(&antumbra_server::graphql::schema_text(), "Mutation")
        .iter()
        .any(|known| known == field)
}

#[tokio::test]
async fn a_fragment_is_no_way_around_the_scopes() {
    let management = Management::with(&[]).await;
    for query in [
        "query { ...F } fragment F on Query { identifiers { totalCount } }",
        "query { ... on Query { identifiers { totalCount } } }",
        "query { alias: identifiers { totalCount } }",
        "query A { organization { id } } query B { identifiers { totalCount } }",
        "query { ...F } fragment F on Query { ...F identifiers { totalCount } }",
    ] {
        assert_eq!(
            management.refused(query, json!({})).await["extensions"]["code"],
            "ACCESS_DENIED",
            "{query}"
        );
    }
}

#[tokio::test]
async fn depth_and_breadth_are_bounded() {
    let management = Management::admin().await;
    let wide = format!(
        "query {{ {} }}",
        (0..501)
            .map(|n| format!("a{n}: newIdentifierTypes {{ name }} "))
            .collect::<String>()
    );
    let deep = format!(
        "query {{ __schema {{ types {} }} }}",
        "{ fields { type ".repeat(12) + "{ name }" + &"} }".repeat(12)
    );
    let fragments = "query { ...A } fragment A on Query { ...B ...B ...B ...B ...B ...B ...B ...B } fragment B on Query { ...C ...C ...C ...C ...C ...C ...C ...C } fragment C on Query { ...D ...D ...D ...D ...D ...D ...D ...D ...D ...D } fragment D on Query { organization { id name } }";
    for query in [wide.as_str(), deep.as_str(), fragments] {
        let error = management.refused(query, json!({})).await;
        assert_eq!(error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{error}");
    }
    let long = format!("query {{ {} }}", "__typename ".repeat(6_000));
    let error = management.refused(&long, json!({})).await;
    assert_eq!(
        error["message"],
        "Client error: the document is larger than 65536 bytes; put values into variables"
    );
}

#[tokio::test]
async fn the_schema_is_the_one_in_the_snapshot() {
    let management = Management::with(&[]).await;
    let served = management
        .server()
        .client()
        .get(management.server().url("/graphql/schema.graphql"))
        .send()
        .await
        .unwrap();
    assert_eq!(served.headers()["content-type"], "text/plain; charset=utf-8");
    insta::assert_snapshot!("schema", served.text().await.unwrap());
}
