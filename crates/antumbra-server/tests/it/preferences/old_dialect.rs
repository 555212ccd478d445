//! What an older generation of clients sends.

use super::*;

const ANA: &str = "ana@example.org";
const PHONE: &str = "+351910000017";

impl Preferences {
    async fn older(&self, method: reqwest::Method, verb: &str, body: Value) -> (u16, Value) {
        let path = format!("/v1/preferences/{SHOP}/{verb}");
        self.call(method, &path, body.to_string()).await
    }
}

#[tokio::test]
async fn an_older_client_writes_reads_changes_and_deletes() {
    use reqwest::Method;
    let store = Preferences::start().await;
    let purposes = json!([{"purpose": "Analytics", "enabled": true}]);
    let records = json!([
        {"identifier": ANA, "purposes": purposes},
        {"identifier": PHONE, "identifierType": "phone", "purposes": purposes, "confirmed": false}
    ]);
    let body = json!({"partition": SHOP, "records": records}).to_string();
    let (status, answer) = store.call(Method::POST, "/v1/preferences", body).await;
    assert_eq!(
        (status, &answer["success"], &answer["count"]),
        (200, &json!(true), &json!(2)),
        "{answer}"
    );
    assert_eq!(
        answer["nodes"][0]["timestamp"], "2026-03-02T10:00:00.000Z",
        "it was chosen now"
    );

    let asked = json!({"identifiers": [{"value": ANA}, {"value": PHONE, "type": "phone"}]});
    let (status, answer) = store.query(SHOP, asked).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["preferences"], answer["nodes"]);
    assert_eq!(answer["nodes"].as_array().unwrap().len(), 2);
    let (_, answer) = store
        .query(SHOP, json!({"filter": {"identifiers": [{"value": ANA}]}}))
        .await;
    assert!(
        answer.get("preferences").is_none(),
        "a present client is answered in present words"
    );

    let cores = json!({"userId": ANA, "identifiers": [{"value": "c-17"}, {"value": "+351910000018", "type": "phone"}]});
    let (status, answer) = store.older(Method::POST, "append-identifiers", cores).await;
    assert_eq!(
        (status, &answer["success"], &answer["count"]),
        (200, &json!(true), &json!(2)),
        "{answer}"
    );
    assert_eq!(store.find_email(ANA).await["identifiers"].as_array().unwrap().len(), 4);

    let updates = json!([
        {"oldValue": ANA, "newValue": "a@example.org"},
        {"oldValue": "+351910000018", "newValue": "+351910000019", "type": "phone"}
    ]);
    let updates = json!({"userId": ANA, "identifiers": updates});
    let (status, answer) = store.older(Method::PUT, "update-identifiers", updates).await;
    assert_eq!(
        (status, &answer["success"], &answer["count"]),
        (200, &json!(true), &json!(2)),
        "{answer}"
    );
    let identifiers = store.find_email("a@example.org").await["identifiers"].clone();
    assert_eq!(identifiers[2], json!({"name": "phone", "value": "+351910000019"}));

    let removals = json!({"userId": "a@example.org", "identifiers": [{"value": "c-17"}, {"value": "nothing"}]});
    let (status, answer) = store.older(Method::DELETE, "delete-identifiers", removals).await;
    assert_eq!(
        (status, &answer["success"], &answer["count"]),
        (200, &json!(false), &json!(1)),
        "{answer}"
    );
    assert_eq!(answer["failures"][0]["index"], 1);

    let deletions = json!({"identifiers": [{"value": "a@example.org"}, {"value": "c-17"}]});
    let (status, answer) = store.older(Method::DELETE, "delete", deletions).await;
    assert_eq!(
        (status, &answer["success"], &answer["count"]),
        (200, &json!(false), &json!(1)),
        "{answer}"
    );
    assert_eq!(store.find(json!({})).await.len(), 1);
    check_tables_after(&store.server, 1).await;
}

#[tokio::test]
async fn what_older_clients_get_wrong_is_refused_and_so_is_all_of_it_where_it_is_turned_off() {
    use reqwest::Method;
    let store = Preferences::start().await;
    for (method, verb, body, path) in [
        (Method::POST, "append-identifiers", json!({"userId": ANA}), "records"),
        (
            Method::POST,
            "append-identifiers",
            json!({"userId": ANA, "identifiers": []}),
            "records",
        ),
        (Method::PUT, "update-identifiers", json!({"identifiers": []}), "userId"),
        (
            Method::PUT,
            "update-identifiers",
            json!({"userId": ANA, "identifiers": [{"oldValue": ANA}]}),
            "identifiers[0].newValue",
        ),
        (
            Method::DELETE,
            "delete-identifiers",
            json!({"userId": ANA}),
            "identifiers",
        ),
        (Method::DELETE, "delete", json!({}), "identifiers"),
    ] {
        let (status, answer) = store.older(method, verb, body).await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, path), "{verb}");
    }
    let eleven: Vec<Value> = (0..11).map(|n| json!({"value": format!("c-{n}")})).collect();
    let (status, _) = store
        .older(
            Method::POST,
            "append-identifiers",
            json!({"userId": ANA, "identifiers": eleven}),
        )
        .await;
    assert_eq!(status, 400);

    let mut config = antumbra_server::ServerConfig::default();
    config.compat.old_dialect = false;
    let server = TestServer::with(config).await;
    configure(&server, server.organization, &[SHOP]).await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    let route = |verb: &str| format!("/v1/preferences/{SHOP}/{verb}");
    for (method, path, body, expected) in [
        (
            Method::POST,
            "/v1/preferences".to_owned(),
            json!({"partition": SHOP, "records": []}),
            405,
        ),
        (
            Method::PUT,
            route("update-identifiers"),
            json!({"userId": ANA, "identifiers": []}),
            405,
        ),
        (
            Method::DELETE,
            route("delete-identifiers"),
            json!({"userId": ANA, "identifiers": []}),
            405,
        ),
        (Method::DELETE, route("delete"), json!({"identifiers": []}), 405),
        (
            Method::POST,
            route("append-identifiers"),
            json!({"userId": ANA, "identifiers": []}),
            400,
        ),
        (Method::POST, route("query"), json!({"identifiers": []}), 400),
    ] {
        let (status, answer) = call(&server, &key, method, &path, body.to_string()).await;
        assert_eq!(status, expected, "{path}: {answer}");
    }
}
