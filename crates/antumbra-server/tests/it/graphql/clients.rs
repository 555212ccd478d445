//! What known clients send about each slice's things, selected and decoded exactly as they do.

use antumbra_server::{
    api_keys::ScopeName::{self, *},
    organization::Action,
    silos::DataSiloId,
};
use serde_json::{Value, json};

use super::Management;
use crate::support::story::{self, Story};

const DATA_SILO: &str = "nodes[] ( id ID!; title String!; description String!; type String!; outerType String; \
    link String!; country IsoCountryCode; countrySubDivision String; url String; notifyEmailAddress String; \
    attributeValues[] ( attributeKey ( name String! ); name String! ); apiKeys[] ( title String! ); \
    subjectBlocklist[] ( type String! ); identifiers[] ( name String!; isConnected Boolean! ); \
    dependentDataSilos[] ( title String! ); dependedOnDataSilosPerWorkflow[] ( workflowConfigId ID!; \
    workflowInternalName String!; dependedOnDataSilos[] ( title String! ) ); owners[] ( email String! ); \
    teams[] ( id ID!; name String! ); catalog ( hasAvcFunctionality Boolean! ); isLive Boolean!; \
    promptAVendorEmailSendFrequency Int!; promptAVendorEmailSendType PromptAVendorEmailSendType!; \
    promptAVendorEmailIncludeIdentifiersAttachment Boolean!; \
    promptAVendorEmailCompletionLinkType PromptAVendorEmailCompletionLinkType!; manualWorkRetryFrequency String!; \
    discoveredBy[] ( title String! ); businessEntities[] ( title String! ) )";

const REQUEST: &str = "nodes[] ( id ID!; createdAt Date!; email String; link String!; status RequestStatus!; \
    details String; isTest Boolean!; locale String!; origin RequestOrigin!; isSilent Boolean!; coreIdentifier String!; \
    daysRemaining Int; successfullyCompletedAt Date; type RequestAction!; subjectType String!; country IsoCountryCode; \
    countrySubDivision String; purpose? ( title String!; name String!; consent Boolean! ); \
    attributeValues[] ( id ID!; name String!; attributeKey ( id ID!; name String! ) ) ); \
    pageInfo ( endCursor String; hasNextPage Boolean! )";

const ORDER: &str = "orderBy: [{field: createdAt, direction: ASC}, {field: title, direction: ASC}], useMaster: false";

fn page() -> Value {
    json!({ "first": 20, "offset": 0 })
}

/// `variables` and a first page.
fn paged(mut variables: Value) -> Value {
    variables["first"] = 20.into();
    variables["offset"] = 0.into();
    variables
}

impl Management {
    async fn nodes(&self, operation: &str, field: &str, shape: &str, variables: Value) -> Vec<Value> {
        self.ask(operation, field, shape, variables).await["nodes"]
            .as_array()
            .unwrap()
            .clone()
    }

    async fn data_silos(&self) -> Vec<Value> {
        let operation =
            "query TranscendCliDataSilosEnriched($filterBy: DataSiloFiltersInput!, $first: Int!, $offset: Int!)";
        let field = format!("dataSilos(filterBy: $filterBy, first: $first, offset: $offset, {ORDER})");
        self.nodes(operation, &field, DATA_SILO, paged(json!({ "filterBy": {} })))
            .await
    }

    /// Pushes one silo as the vendor's command line does: made first, set afterwards.
    async fn push_silo(&self, title: &str, settings: Value) -> Value {
        let made = self.ask(
            "mutation TranscendCliCreateDataSilo($input: [CreateDataSilosInput!]!)",
            "createDataSilos(input: $input)",
            "dataSilos[] ( id ID!; title String! )",
            json!({ "input": [{ "name": "server", "title": title }] }),
        );
        let id = made.await["dataSilos"][0]["id"].clone();
        let mut change = settings;
        change["id"] = id.clone();
        self.ask(
            "mutation TranscendCliUpdateDataSilo($input: UpdateDataSilosInput!)",
            "updateDataSilos(input: $input)",
            "clientMutationId String; dataSilos[] ( id ID!; title String! )",
            json!({ "input": { "dataSilos": [change] } }),
        )
        .await;
        id
    }
}

#[tokio::test]
async fn a_data_silo_is_pushed_and_pulled() {
    let management = Management::with(&[ConnectDataSilos, ViewDataSubjectRequestSettings, ManageApiKeys]).await;
    let key = management.ask(
        "mutation TranscendCliCreateApiKey($input: ApiKeyInput!)",
        "createApiKey(input: $input)",
        "apiKey ( id ID!; apiKey String!; title String! )",
        json!({ "input": { "title": "Webhook key" } }),
    );
    let key = key.await["apiKey"]["id"].clone();
    management
        .push_silo("Billing", json!({ "dependedOnDataSilos": [{ "titles": [] }] }))
        .await;
    let settings = json!({
        "url": "https://crm.example.test/hook", "description": "Customers", "identifiers": ["email", "coreIdentifier"],
        "headers": [{ "name": "X-Token", "value": "s3cret", "isSecret": true }, { "name": "X-Plain", "value": "v" }],
        "isLive": true, "ownerEmails": ["ada@example.test"], "teamNames": ["Privacy"], "apiKeyId": key,
        "dataSubjectBlockListIds": [], "dependedOnDataSilos": [{ "titles": ["Billing"] }],
        "attributes": [{ "key": "Tier", "values": ["1"] }], "country": "FR", "notifyEmailAddress": null,
    });
    let id = management.push_silo("CRM", settings).await;

    let silos = management.data_silos().await;
    let titles: Vec<&Value> = silos.iter().map(|silo| &silo["title"]).collect();
    assert_eq!(titles, ["Billing", "CRM"]);
    let crm = &silos[1];
    assert_eq!(crm["type"], "server");
    assert_eq!(crm["url"], "https://crm.example.test/hook");
    assert_eq!(
        crm["identifiers"][1],
        json!({ "name": "coreIdentifier", "isConnected": true })
    );
    assert_eq!(crm["dependentDataSilos"], json!([{ "title": "Billing" }]));
    assert_eq!(crm["apiKeys"], json!([{ "title": "Webhook key" }]));
    assert_eq!(
        crm["attributeValues"],
        json!([{ "attributeKey": { "name": "Tier" }, "name": "1" }])
    );
    let sombra = management.ask(
        "query TranscendCliDataSiloSombra($id: String!)",
        "dataSilo(id: $id)",
        "id ID!; sombra? ( id ID! ); headers[] ( name String!; value String; isSecret Boolean! )",
        json!({ "id": id }),
    );
    let headers = sombra.await["headers"].clone();
    assert_eq!(
        headers[0],
        json!({ "name": "x-token", "value": null, "isSecret": true })
    );
    assert_eq!(
        headers[1],
        json!({ "name": "x-plain", "value": "v", "isSecret": false })
    );

    let field = format!("dataSilos(filterBy: $filterBy, first: $first, offset: $offset, {ORDER})");
    let found = management.nodes(
        "query TranscendCliDataSilos($filterBy: DataSiloFiltersInput!, $first: Int!, $offset: Int!)",
        &field,
        "nodes[] ( id ID!; title String!; link String!; type String!; catalog ( hasAvcFunctionality Boolean! ) )",
        paged(json!({ "filterBy": { "text": "crM" } })),
    );
    assert_eq!(found.await.len(), 1);
}

#[tokio::test]
async fn whether_headers_match_is_told_without_showing_them() {
    let management = Management::with(&[ConnectDataSilos]).await;
    let header = |value: &str| json!([{ "name": "X-Token", "value": value, "isSecret": true }]);
    let id = management.push_silo("CRM", json!({ "headers": header("right") })).await;
    for (value, wanted) in [("right", true), ("wrong", false), ("", false)] {
        let query =
            "query($id: String!, $h: [CustomHeaderInput!]!) { dataSilo(id: $id) { headersMatch(headers: $h) } }";
        let (_, answer) = management
            .send(&json!({ "query": query, "variables": { "id": id, "h": header(value) } }))
            .await;
        assert_eq!(answer["data"]["dataSilo"]["headersMatch"], wanted, "{answer}");
    }
}

#[tokio::test]
async fn silos_that_wait_for_each_other_are_refused() {
    let management = Management::with(&[ConnectDataSilos]).await;
    management.push_silo("A", json!({})).await;
    let b = management
        .push_silo("B", json!({ "dependedOnDataSiloTitles": ["A"] }))
        .await;
    let a = management.data_silos().await[0]["id"].clone();
    let change = json!({ "input": { "dataSilos": [{ "id": a, "dependedOnDataSiloTitles": ["B"] }] } });
    let query = "mutation($input: UpdateDataSilosInput!) { updateDataSilos(input: $input) { clientMutationId } }";
    let error = management.refused(query, change).await;
    assert_eq!(error["message"], "Client error: data silo `A` would wait for itself");
    assert_ne!(a, b);
}

#[tokio::test]
async fn a_data_point_is_made_once_and_then_changed() {
    let management = Management::with(&[ConnectDataSilos]).await;
    let silo = management.push_silo("CRM", json!({})).await;
    let operation = "mutation TranscendCliUpdateOrCreateDataPoint($dataSiloId: ID!, $name: String!, $path: [String!], \
        $title: String, $teamNames: [String!], $ownerEmails: [String!], $dataCollectionTag: String, \
        $description: String, $ownerIds: [ID!], $teamIds: [ID!], \
        $querySuggestions: [DbIntegrationQuerySuggestionInput!], $enabledActions: [RequestActionObjectResolver!], \
        $subDataPoints: [DataPointSubDataPointInput!])";
    let field = "updateOrCreateDataPoint(input: {dataSiloId: $dataSiloId, name: $name, path: $path, title: $title, \
        teamNames: $teamNames, ownerEmails: $ownerEmails, dataCollectionTag: $dataCollectionTag, \
        description: $description, ownerIds: $ownerIds, teamIds: $teamIds, querySuggestions: $querySuggestions, \
        enabledActions: $enabledActions, subDataPoints: $subDataPoints})";
    let save = |title: &str, actions: Value| {
        let variables = json!({
            "dataSiloId": silo, "name": "orders", "title": title, "path": ["shop", "public"],
            "dataCollectionTag": "User profile", "enabledActions": actions,
            "subDataPoints": [{ "name": "email", "categories": [{ "category": "CONTACT", "name": "Email" }] }],
        });
        management.ask(operation, field, "dataPoint ( id ID!; name String! )", variables)
    };
    let first = save("Orders", json!(["ACCESS", "ERASURE"])).await;
    let again = save("All orders", json!([])).await;
    assert_eq!(first["dataPoint"]["id"], again["dataPoint"]["id"]);
    let points = management.nodes(
        "query TranscendCliDataPoints($filterBy: DataPointFiltersInput, $first: Int!, $offset: Int!)",
        "dataPoints(filterBy: $filterBy, first: $first, offset: $offset, useMaster: false, orderBy: [{field: createdAt, direction: ASC}, {field: name, direction: ASC}])",
        "nodes[] ( id ID!; title? ( defaultMessage String! ); description? ( defaultMessage String! ); owners[] ( email String! ); teams[] ( name String! ); name String!; path [String!]!; actionSettings[] ( type RequestActionObjectResolver!; active Boolean! ); dataCollection? ( title ( defaultMessage String! ) ); dbIntegrationQueries[]? ( query String; suggestedQuery String; requestType RequestActionObjectResolver! ) )",
        paged(json!({ "filterBy": { "dataSilos": [silo] } })),
    );
    let points = points.await;
    assert_eq!(points.len(), 1);
    assert_eq!(points[0]["title"]["defaultMessage"], "All orders");
    assert_eq!(points[0]["path"], json!(["shop", "public"]));
    assert_eq!(points[0]["actionSettings"], json!([]));
    assert_eq!(points[0]["dataCollection"]["title"]["defaultMessage"], "User profile");
    let fields = management.nodes(
        "query TranscendCliSubDataPoints($filterBy: SubDataPointFiltersInput, $first: Int!, $offset: Int!)",
        "subDataPoints(filterBy: $filterBy, first: $first, offset: $offset, useMaster: false)",
        "nodes[] ( id ID!; name String!; description String; purposes[] ( name String!; purpose ProcessingPurpose! ); categories[] ( name String!; category DataCategoryType! ); accessRequestVisibilityEnabled Boolean!; erasureRequestRedactionEnabled Boolean!; attributeValues[] ( attributeKey ( name String! ); name String! ) )",
        paged(json!({ "filterBy": { "dataPoints": [points[0]["id"]] } })),
    );
    assert_eq!(
        fields.await[0]["categories"],
        json!([{ "name": "Email", "category": "CONTACT" }])
    );
}

#[tokio::test]
async fn an_enricher_is_pushed_and_pulled() {
    let management = Management::with(&[ManageRequestIdentities]).await;
    let initializer = management.ask(
        "query TranscendCliInitializer",
        "initializer",
        "id ID!; identifiers[] ( name String! )",
        json!({}),
    );
    let names = initializer.await["identifiers"].clone();
    assert_eq!(names.as_array().unwrap().len(), 4);
    let identifiers = management.identifiers().await;
    let (core, email) = (&identifiers[0]["id"], &identifiers[1]["id"]);
    management
        .ask(
            "mutation TranscendCliCreateEnricher($input: EnricherInput!)",
            "createEnricher(input: $input)",
            "clientMutationId String",
            json!({ "input": {
                "title": "Lookup", "url": "https://crm.example.test/enrich", "type": "SERVER",
                "headers": [{ "name": "x-a", "value": "b" }], "expirationDuration": "86400000",
                "inputIdentifier": email, "identifiers": [core], "actions": ["ACCESS"], "description": "",
                "transitionRequestStatus": "ON_HOLD", "dataSubjectIds": null,
            } }),
        )
        .await;
    let field = format!("enrichers(filterBy: {{text: $title}}, first: $first, offset: $offset, {ORDER})");
    let enrichers = management.nodes(
        "query TranscendCliEnrichers($title: String, $first: Int!, $offset: Int!)",
        &field,
        "nodes[] ( id ID!; title String!; url String; type EnricherType!; expirationDuration String!; lookerQueryTitle String; testRegex String; transitionRequestStatus PreflightRequestStatus; phoneNumbers [String!]!; regionList [String!]!; inputIdentifier? ( name String! ); identifiers[] ( name String! ); dataSubjects[] ( type String! ); actions [RequestAction!]! )",
        page(),
    );
    let enrichers = enrichers.await;
    assert_eq!(enrichers[0]["inputIdentifier"], json!({ "name": "email" }));
    assert_eq!(enrichers[0]["identifiers"], json!([{ "name": "coreIdentifier" }]));
    assert_eq!(enrichers[0]["expirationDuration"], "86400000");
    assert_eq!(enrichers[0]["transitionRequestStatus"], "ON_HOLD");
    management
        .ask(
            "mutation TranscendCliUpdateEnricher($input: UpdateEnricherInput!)",
            "updateEnricher(input: $input)",
            "clientMutationId String",
            json!({ "input": { "id": enrichers[0]["id"], "title": "Lookup", "identifiers": [core, email] } }),
        )
        .await;
    management.server.as_ref().unwrap().settle().await;
}

#[tokio::test]
async fn purposes_topics_options_and_partitions_are_pushed_and_pulled() {
    let scopes = [
        ManageConsentManager,
        ManagePreferenceStoreSettings,
        ManageConsentManagerDeveloperSettings,
    ];
    let management = Management::with(&scopes).await;
    let purpose = management.ask(
        "mutation TranscendCliCreatePurpose($input: CreatePurposeInput!)",
        "createPurpose(input: $input)",
        "purpose ( id ID!; trackingType String! )",
        json!({ "input": { "name": "News", "description": "News", "trackingType": "Product Updates", "isActive": true } }),
    );
    let purpose = purpose.await["purpose"]["id"].clone();
    management
        .ask(
            "mutation TranscendCliUpdatePurpose($input: UpdatePurposeInput!)",
            "updatePurpose(input: $input)",
            "purpose ( id ID!; trackingType String! )",
            json!({ "input": { "id": purpose, "title": "News", "authLevel": "ALLOW_OPT_OUT", "optOutSignals": ["GPC"] } }),
        )
        .await;
    let options = management.ask(
        "mutation TranscendCliCreateOrUpdatePreferenceOptionValues($input: CreateOrUpdatePreferenceOptionValuesInput!)",
        "createOrUpdatePreferenceOptionValues(input: $input)",
        "preferenceOptionValues[] ( id ID!; slug String! )",
        json!({ "input": { "preferenceOptionValues": [{ "title": "Weekly", "slug": "Weekly" }, { "title": "Daily", "slug": "Daily" }] } }),
    );
    let options = options.await["preferenceOptionValues"].clone();
    assert_eq!(
        (&options[0]["slug"], &options[1]["slug"]),
        (&json!("Weekly"), &json!("Daily"))
    );
    for (title, kind, ids) in [
        ("Frequency", "SELECT", json!([options[0]["id"], options[1]["id"]])),
        ("Stop", "BOOLEAN", json!([])),
    ] {
        management
            .ask(
                "mutation TranscendCliCreateOrUpdatePreferenceTopic($input: CreateOrUpdatePreferenceTopicInput!)",
                "createOrUpdatePreferenceTopic(input: $input)",
                "preferenceTopic ( id ID!; slug String! )",
                json!({ "input": {
                    "title": title, "slug": title, "type": kind, "purposeId": purpose, "displayDescription": "How often?",
                    "showInPrivacyCenter": true, "defaultConfiguration": "{}", "preferenceOptionValueIds": ids,
                } }),
            )
            .await;
    }
    let topics = management.nodes(
        "query TranscendCliPreferenceTopics($first: Int!, $offset: Int!, $filterBy: PreferenceTopicFilterInput)",
        "preferenceTopics(first: $first, offset: $offset, filterBy: $filterBy)",
        "nodes[] ( id ID!; slug String!; type PreferenceTopicType!; color String!; title ( id String!; defaultMessage String! ); showInPrivacyCenter Boolean!; displayDescription ( id String!; defaultMessage String! ); defaultConfiguration String!; preferenceOptionValues[] ( slug String!; title ( id String!; defaultMessage String! ) ); purpose ( trackingType String! ) )",
        page(),
    );
    let topics = topics.await;
    assert_eq!(topics[0]["preferenceOptionValues"][0]["slug"], "Weekly");
    assert_eq!(topics[1]["preferenceOptionValues"].as_array().unwrap().len(), 2);
    let purposes = management.nodes(
        "query TranscendCliPurposes($first: Int!, $offset: Int!, $filterBy: TrackingPurposeFiltersInput, $input: TrackingPurposeInput!)",
        "purposes(first: $first, offset: $offset, filterBy: $filterBy, input: $input)",
        "nodes[] ( id ID!; name String!; description String!; defaultConsent DefaultConsentOption!; trackingType String!; configurable Boolean!; essential Boolean!; showInConsentManager Boolean!; isActive Boolean!; displayOrder Int!; optOutSignals [UserPrivacySignalEnum!]!; deletedAt Date; authLevel PreferenceStoreAuthLevel!; showInPrivacyCenter Boolean!; title String )",
        paged(json!({ "input": { "includeDeleted": false } })),
    );
    let purposes = purposes.await;
    let news = purposes
        .iter()
        .find(|purpose| purpose["trackingType"] == "Product Updates")
        .unwrap();
    assert_eq!(
        (&news["title"], &news["authLevel"]),
        (&json!("News"), &json!("ALLOW_OPT_OUT"))
    );
    let wide = "nodes[] ( id ID!; preferenceTopics[] ( id ID!; slug String!; title ( description String ); color String! ); purposeDataPointCount Int!; preferenceTopicOptionValueDataPointCount Int!; mappedDataSilos[] ( id ID!; title String!; type String! ) ); totalCount Int!";
    management
        .ask(
            "query TranscendCliPurposes($first: Int!)",
            "purposes(first: $first)",
            wide,
            json!({ "first": 50 }),
        )
        .await;

    let manager = management
        .ask("query", "consentManager", "consentManager ( id ID! )", json!({}))
        .await;
    let input = json!({ "input": { "id": manager["consentManager"]["id"], "name": "Shop" } });
    let operation = "mutation TranscendCliCreateConsentPartition($input: CreateConsentPartitionInput!)";
    management
        .ask(
            operation,
            "createConsentPartition(input: $input)",
            "clientMutationId String",
            input,
        )
        .await;
    let partitions = management.nodes(
        "query TranscendCliConsentPartitions($first: Int!, $offset: Int!)",
        "consentPartitions(first: $first, offset: $offset)",
        "nodes[] ( id ID!; name String!; partition String! )",
        page(),
    );
    let partitions = partitions.await;
    assert_eq!(partitions[0]["partition"], manager["consentManager"]["id"]);
    assert_eq!(partitions[1]["name"], "Shop");
}

#[tokio::test]
async fn workflow_triggers_are_pushed_and_pulled() {
    let management = Management::admin().await;
    let of_type = |nodes: Value, wanted: &str| {
        let node = nodes
            .as_array()
            .unwrap()
            .iter()
            .find(|node| node["type"] == wanted)
            .cloned();
        node.unwrap()["id"].clone()
    };
    let action = management
        .ask(
            "query",
            "actions(first: 100)",
            "nodes[] ( id ID!; type RequestAction! )",
            json!({}),
        )
        .await;
    let subject = management
        .ask_list("query", "internalSubjects", "id ID!; type String!")
        .await;
    let input = json!({ "input": {
        "name": "Stop analytics",
        "triggerCondition": r#"{"And":[{"Analytics":false}]}"#,
        "isSilent": true, "allowUnauthenticated": false, "isActive": true,
        "actionId": of_type(action["nodes"].clone(), "TRACKING_OPT_OUT"),
        "dataSubjectId": of_type(subject.into(), "customer"),
    } });
    management
        .ask(
            "mutation TranscendCliCreateOrUpdateConsentWorkflowTrigger($input: CreateOrUpdateConsentWorkflowTriggerInput!)",
            "createOrUpdateConsentWorkflowTrigger(input: $input)",
            "consentWorkflowTrigger ( id ID!; name String! )",
            input,
        )
        .await;
    let triggers = management.nodes(
        "query TranscendCliConsentWorkflowTriggers($first: Int!, $offset: Int!)",
        "consentWorkflowTriggers(first: $first, offset: $offset)",
        "nodes[] ( id ID!; name String!; triggerCondition String!; isSilent Boolean!; allowUnauthenticated Boolean!; \
         isActive Boolean!; workflowConfigId ID; action ( type RequestAction! ); subject ( type String! ); \
         dataSilos[] ( title String! ) ); totalCount Int!",
        page(),
    );
    let triggers = triggers.await;
    assert_eq!(triggers[0]["triggerCondition"], r#"{"And":[{"Analytics":false}]}"#);
    assert_eq!(triggers[0]["action"]["type"], "TRACKING_OPT_OUT");
}

#[tokio::test]
async fn an_api_key_is_made_listed_and_revoked() {
    let management = Management::admin().await;
    let made = management.ask(
        "mutation AdminCreateApiKey($input: ApiKeyInput!)",
        "createApiKey(input: $input)",
        "apiKey ( id ID!; title String!; apiKey String!; preview String!; scopes[] ( id ID!; name ScopeName! ); createdAt Date! )",
        json!({ "input": { "title": "Export", "scopes": ["viewRequests"] } }),
    );
    let made = made.await["apiKey"].clone();
    let own = Management {
        key: made["apiKey"].as_str().unwrap().to_owned(),
        ..management.clone()
    };
    own.ask("query", "requests(first: 0)", "totalCount Int!", json!({}))
        .await;
    let field = format!("apiKeys(first: $first, offset: $offset, filterBy: {{titles: $titles}}, {ORDER})");
    let keys = management.nodes(
        "query TranscendCliApiKeys($first: Int!, $offset: Int!, $titles: [String!])",
        &field,
        "nodes[] ( id ID!; title String! )",
        paged(json!({ "titles": ["Export"] })),
    );
    assert_eq!(keys.await, [json!({ "id": made["id"], "title": "Export" })]);
    let all = "nodes[] ( id ID!; title String!; scopes[] ( id ID!; name ScopeName! ); lastUsedAt Date; createdAt Date! ); totalCount Int!";
    let listed = management.ask(
        "query AdminListApiKeys($first: Int, $offset: Int)",
        "apiKeys(first: $first, offset: $offset)",
        all,
        json!({ "first": null }),
    );
    assert!(!listed.await.to_string().contains(&own.key));
    let operation = "mutation TranscendCliDeleteApiKey($id: ID!)";
    management
        .ask(
            operation,
            "deleteApiKey(id: $id)",
            "clientMutationId String",
            json!({ "id": made["id"] }),
        )
        .await;
    let (status, _) = own.send(&json!({ "query": "{ __typename }" })).await;
    assert_eq!(status, 401);
}

#[tokio::test]
async fn a_key_gives_no_scope_that_it_does_not_have() {
    let management = Management::with(&[ManageApiKeys]).await;
    let query = "mutation($input: ApiKeyInput!) { createApiKey(input: $input) { apiKey { id } } }";
    let error = management
        .refused(query, json!({ "input": { "title": "a", "scopes": ["fullAdmin"] } }))
        .await;
    let wanted = "Client error: a key can give only the scopes that it has, and this one lacks Full Admin";
    assert_eq!(error["message"], wanted);
}

#[tokio::test]
async fn who_may_not_connect_silos_gives_keys_to_those_of_their_own_only() {
    let story = Story::with(story::config(), &["profile"]).await;
    let server = &story.server;
    let other = story::add_silo(server, "Warehouse", None, &[]).await;
    let holding = async |scopes: &[ScopeName]| Management::of(server, server.key_for(scopes, &[story.silo]).await);
    let (manager, connector) = (
        holding(&[ManageApiKeys]).await,
        holding(&[ManageApiKeys, ConnectDataSilos]).await,
    );
    let create = "mutation($input: ApiKeyInput!) { createApiKey(input: $input) { apiKey { id } } }";
    let update = "mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { apiKey { id } } }";
    let made = async |by: &Management, silos: &[DataSiloId]| {
        let silos: Vec<_> = silos.iter().map(|silo| silo.0).collect();
        let input = json!({ "input": { "title": "a", "dataSilos": silos } });
        let (_, answer) = by.send(&json!({ "query": create, "variables": input })).await;
        answer
    };
    let changed = async |by: &Management, key: &Value, silos: &[DataSiloId]| {
        let silos: Vec<_> = silos.iter().map(|silo| silo.0).collect();
        let input = json!({ "input": { "id": key, "dataSilos": silos } });
        let (_, answer) = by.send(&json!({ "query": update, "variables": input })).await;
        answer
    };
    let is_refused = |answer: &Value| answer["errors"][0]["message"].as_str().is_some();

    assert!(is_refused(&made(&manager, &[other]).await));
    assert!(is_refused(&made(&manager, &[story.silo, other]).await));
    let own = made(&manager, &[story.silo]).await;
    let own = &own["data"]["createApiKey"]["apiKey"]["id"];
    assert!(own.is_string());
    assert!(is_refused(&changed(&manager, own, &[story.silo, other]).await));

    // What a connector has attached stays when a manager changes something else.
    assert!(!is_refused(&made(&connector, &[other]).await));
    assert!(!is_refused(&changed(&connector, own, &[story.silo, other]).await));
    assert!(!is_refused(&changed(&manager, own, &[other]).await));
    assert!(!is_refused(&changed(&manager, own, &[other, story.silo]).await));
}

/// A story's server, with a key that may do everything.
async fn story() -> (Story, Management) {
    let story = Story::with(story::config(), &["profile"]).await;
    let management = Management::of(&story.server, story.admin_key.clone());
    (story, management)
}

#[tokio::test]
async fn requests_are_listed_counted_and_paged() {
    let (story, management) = story().await;
    let mut ids = Vec::new();
    for person in 0..3 {
        let (core, email) = (format!("core-{person}"), format!("person-{person}@example.test"));
        ids.push(story.submit_about(Action::Access, &core, &email).await);
    }
    story.server.run_jobs_until_idle().await;
    let count = "query TranscendCliRequestsCount($filterBy: RequestFiltersInput!)";
    let field = "requests(filterBy: $filterBy, first: 0, useMaster: false)";
    let wanted = json!({ "filterBy": { "type": ["ACCESS"], "status": null, "isTest": false, "createdAtAfter": "2026-01-01T00:00:00.000Z" } });
    assert_eq!(
        management.ask(count, field, "totalCount Int!", wanted).await["totalCount"],
        3
    );

    let list = "query TranscendCliRequests($filterBy: RequestFiltersInput!, $first: Int!, $after: String)";
    let field = "requests(filterBy: $filterBy, first: $first, after: $after, orderBy: [{field: createdAt, direction: ASC}, {field: id, direction: ASC}], useMaster: false)";
    let mut after = Value::Null;
    let mut seen = Vec::new();
    for has_next in [true, false] {
        let variables = json!({ "filterBy": {}, "first": 2, "after": after });
        let page = management.ask(list, field, REQUEST, variables).await;
        assert_eq!(page["pageInfo"]["hasNextPage"], has_next);
        after = page["pageInfo"]["endCursor"].clone();
        seen.extend(
            page["nodes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|node| node["id"].as_str().unwrap().to_owned()),
        );
    }
    let wanted: Vec<String> = ids.iter().map(|id| id.0.to_string()).collect();
    assert_eq!(seen, wanted);

    let newest = "nodes[] ( id ID!; type RequestAction!; status RequestStatus!; createdAt Date!; updatedAt Date!; owners[] ( id ID!; email String!; name String! ); teams[] ( id ID!; name String! ) ); pageInfo ( hasNextPage Boolean!; endCursor String ); totalCount Int!";
    let newest = management
        .ask(
            "query DsrListRequests($first: Int, $after: String)",
            "requests(first: $first, after: $after)",
            newest,
            json!({ "first": 1, "after": null }),
        )
        .await;
    assert_eq!(newest["nodes"][0]["id"], wanted[2].as_str());
    let one = "id ID!; type RequestAction!; status RequestStatus!; createdAt Date!; updatedAt Date!; daysRemaining Int; link String!; locale String!; isSilent Boolean!; owners[] ( id ID!; email String!; name String! ); teams[] ( id ID!; name String! )";
    let one = management
        .ask(
            "query DsrGetRequest($id: ID!)",
            "request(id: $id)",
            one,
            json!({ "id": wanted[0] }),
        )
        .await;
    assert_eq!((&one["locale"], &one["isSilent"]), (&json!("en-GB"), &json!(true)));
}

#[tokio::test]
async fn a_filter_that_is_not_known_is_refused_rather_than_ignored() {
    let (_story, management) = story().await;
    let query = "query($f: RequestFiltersInput) { requests(filterBy: $f) { totalCount } }";
    let error = management.refused(query, json!({ "f": { "countries": ["FR"] } })).await;
    assert_eq!(
        error["message"],
        "Client error: this server cannot filter requests by countries"
    );
    let error = management
        .refused("{ requests(after: \"x\") { totalCount } }", json!({}))
        .await;
    assert_eq!(error["message"], "Client error: after is not a cursor of this list");
}

#[tokio::test]
async fn a_request_is_made_silent_completed_by_hand_approved_and_not_approved_twice() {
    let (story, management) = story().await;
    let id = story.submit(Action::Access).await.0.to_string();
    let update = "mutation TranscendCliUpdatePrivacyRequest($input: UpdateRequestInput!)";
    let silent = json!({ "input": { "id": id, "isSilent": true } });
    management
        .ask(update, "updateRequest(input: $input)", "request ( id ID! )", silent)
        .await;

    let early = "mutation($input: CommunicationInput!) { approveRequest(input: $input) { request { id } } }";
    let error = management.refused(early, json!({ "input": { "requestId": id } })).await;
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("Client error: Request must be in an approving state,"),
        "{message}"
    );

    let runs = management.ask(
        "query TranscendCliRequestDataSilos($filterBy: RequestDataSiloFiltersInput!, $first: Int!, $offset: Int!)",
        "requestDataSilos(filterBy: $filterBy, first: $first, offset: $offset, useMaster: false, orderBy: [{field: createdAt, direction: DESC}, {field: title, direction: ASC, model: dataSilo}])",
        "nodes[] ( id ID!; request ( type RequestAction! ) ); totalCount Int!",
        paged(json!({ "filterBy": { "requestId": id, "dataSiloId": story.silo.0.to_string() } })),
    );
    let runs = runs.await;
    assert_eq!(runs["totalCount"], 1);
    let seen = "nodes[] ( id ID!; status VisualRequestDataSiloStatus!; error String; details String!; link String!; dataSilo ( id ID!; title String!; type String!; outerType String; isLive Boolean!; owners[] ( id ID!; email String!; name String! ); teams[] ( id ID!; name String! ) ) ); totalCount Int!";
    let operation = "query DsrListRequestDataSilos($first: Int, $offset: Int, $filterBy: RequestDataSiloFiltersInput!)";
    let field = "requestDataSilos(first: $first, offset: $offset, filterBy: $filterBy)";
    management
        .ask(operation, field, seen, json!({ "filterBy": { "requestId": id } }))
        .await;
    management
        .ask(
            "mutation TranscendCliMarkRequestDataSiloCompleted($requestDataSiloId: ID!, $status: UpdateRequestDataSiloStatus!)",
            "changeRequestDataSiloStatus(input: {id: $requestDataSiloId, status: $status})",
            "requestDataSilo ( id ID! )",
            json!({ "requestDataSiloId": runs["nodes"][0]["id"], "status": "RESOLVED" }),
        )
        .await;
    story.server.run_jobs_until_idle().await;
    let approve = "mutation TranscendCliApprovePrivacyRequest($input: CommunicationInput!)";
    management
        .ask(
            approve,
            "approveRequest(input: $input)",
            "request ( id ID! )",
            json!({ "input": { "requestId": id } }),
        )
        .await;
    let error = management.refused(early, json!({ "input": { "requestId": id } })).await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("Request must be in an approving state,"),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_is_canceled_once() {
    let (story, management) = story().await;
    let id = story.submit(Action::Access).await.0.to_string();
    let input = json!({ "input": { "requestId": id, "subject": "Re: Request Canceled", "template": "" } });
    let canceled = management.ask(
        "mutation DsrCancel($input: CommunicationInput!)",
        "cancelRequest(input: $input)",
        "clientMutationId String; request ( id ID!; type RequestAction!; status RequestStatus!; createdAt Date!; updatedAt Date! )",
        input.clone(),
    );
    assert_eq!(canceled.await["request"]["status"], "CANCELED");
    let again = "mutation($input: CommunicationInput!) { cancelRequest(input: $input) { request { id } } }";
    let error = management.refused(again, input).await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Client error: Request must be active"),
        "{error}"
    );
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn what_is_anothers_is_not_there() {
    let (story, management) = story().await;
    let id = story.submit(Action::Access).await.0.to_string();
    let other = story.server.another_organization().await;
    let input = antumbra_server::api_keys::ApiKeyInput {
        title: "theirs".into(),
        scopes: vec![FullAdmin],
        ..Default::default()
    };
    let (_, key) = story.server.make_key(other, input).await;
    let theirs = Management {
        key,
        ..management.clone()
    };
    let silo = story.silo.0.to_string();
    for (query, variables) in [
        ("query($id: ID!) { request(id: $id) { id } }", json!({ "id": id })),
        (
            "query($id: String!) { dataSilo(id: $id) { id } }",
            json!({ "id": silo }),
        ),
        (
            "mutation($id: ID!) { approveRequest(input: {requestId: $id}) { request { id } } }",
            json!({ "id": id }),
        ),
        (
            "mutation($id: ID!) { updateDataSilos(input: {dataSilos: [{id: $id, title: \"x\"}]}) { clientMutationId } }",
            json!({ "id": silo }),
        ),
        (
            "mutation($id: ID!) { updateOrCreateDataPoint(input: {dataSiloId: $id, name: \"x\"}) { dataPoint { id } } }",
            json!({ "id": silo }),
        ),
        (
            "mutation($id: ID!) { createApiKey(input: {title: \"x\", dataSilos: [$id]}) { apiKey { id } } }",
            json!({ "id": silo }),
        ),
    ] {
        let error = theirs.refused(query, variables).await;
        assert_eq!(error["extensions"]["code"], "NOT_FOUND", "{query} {error}");
    }
    assert!(theirs.data_silos().await.is_empty());
}
