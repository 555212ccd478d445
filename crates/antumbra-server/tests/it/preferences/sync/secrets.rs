//! The secrets of consent tokens: who may have them, and where they lie.

use super::*;

#[tokio::test]
async fn secrets_are_for_those_who_may_have_them_and_it_is_recorded() {
    let pages = Pages::open().await;
    let server = pages.server();
    let read = format!("{{ getTokenSecrets(id: \"{SHOP}\") {{ tokenSecrets {{ partition secrets }} }} }}");
    let shown = pages.manage(&read).await;
    assert_eq!(
        shown,
        json!({ "tokenSecrets": { "partition": SHOP, "secrets": [SIGNING_KEY] } })
    );
    let reveal = "mutation { revealConsentIdentifierEncryptionKey { encryptionKey earlierEncryptionKeys } }";
    let shown = pages.manage(reveal).await;
    assert_eq!(
        shown,
        json!({ "encryptionKey": ENCRYPTION_KEY, "earlierEncryptionKeys": [] })
    );
    for (action, times) in [
        ("token_secret.set", 1),
        ("token_secrets.shown", 1),
        ("consent_identifier_key.set", 1),
        ("consent_identifier_keys.shown", 1),
    ] {
        let entries = pages.audited(action).await;
        assert_eq!(entries.len(), times, "{action}");
        assert!(matches!(entries[0].actor, Actor::ApiKey(_)), "{action}");
    }
    for document in [read.as_str(), reveal] {
        let call = server.client().post(server.url("/graphql")).bearer_auth(&pages.admin);
        let call = call
            .header("x-antumbra-dry-run", "1")
            .json(&json!({ "query": document }));
        let text = call.send().await.unwrap().text().await.unwrap();
        assert!(
            text.contains("dry run") && !text.contains(SIGNING_KEY) && !text.contains(ENCRYPTION_KEY),
            "{text}"
        );
    }
    let weak = server
        .key(&[
            ScopeName::ReadOnly,
            ScopeName::ManagePreferenceStoreSettings,
            ScopeName::ViewConsentManager,
        ])
        .await;
    for document in [read.as_str(), reveal] {
        assert!(
            manage_refused(server, &weak, document)
                .await
                .contains("needs an API key")
        );
    }
    let set = |secret: &str| {
        format!("setTokenSecret(input: {{id: \"{SHOP}\", secret: \"{secret}\"}}) {{ clientMutationId }}")
    };
    let bring =
        |key: &str| format!("generateConsentIdentifierEncryptionKey(input: {{key: \"{key}\"}}) {{ encryptionKey }}");
    let unknown = "setTokenSecret(input: {id: \"no-such\"}) { clientMutationId }".to_owned();
    for (field, rule) in [
        (unknown, "There is no such partition"),
        (set("c2hvcnQ="), "secret must be the base64 of 32 to 1024 bytes"),
        (set("not base64"), "secret must be the base64 of 32 to 1024 bytes"),
        (bring("c2hvcnQ="), "key must be the base64 of 32 bytes"),
    ] {
        let refused = manage_refused(server, &pages.admin, &format!("mutation {{ {field} }}")).await;
        assert_eq!(refused, format!("Client error: {rule}"));
    }
}

#[tokio::test]
async fn a_secret_is_nowhere_in_the_clear_and_goes_with_its_partition() {
    let pages = Pages::open().await;
    let server = pages.server();
    let made = "createConsentPartition(input: {id: \"@\", name: \"Closing\", partition: \"closing\"}) { consentPartition { id } }";
    let manager = pages.manage("{ consentManager { consentManager { id } } }").await["consentManager"]["id"].clone();
    let made = pages
        .manage(&format!(
            "mutation {{ {} }}",
            made.replace('@', manager.as_str().unwrap())
        ))
        .await;
    let id = made["consentPartition"]["id"].as_str().unwrap();
    pages.set_token_secret(id, SIGNING_KEY).await;
    assert_eq!(
        rows_of(server, "consent_keys").await.len(),
        3,
        "of two partitions and of the organization"
    );
    for table in antumbra_server::tables() {
        for (key, row) in rows_of(server, table).await {
            for secret in [SIGNING_KEY, ENCRYPTION_KEY] {
                let bytes = BASE64_STANDARD.decode(secret).unwrap();
                let has = |place: &[u8]| place.windows(16).any(|part| *part == bytes[..16]);
                assert!(!has(&key) && !has(&row), "{table}");
            }
        }
    }
    assert_eq!(pages.get(OF_USER_42, "closing").await.status, 204);
    pages
        .manage(&format!(
            "mutation {{ deleteConsentPartition(input: {{id: \"{id}\"}}) {{ clientMutationId }} }}"
        ))
        .await;
    assert_eq!(pages.get(OF_USER_42, "closing").await.status, 400);
    for (table, left) in [("consent_keys", 2), ("consent_token_secrets", 1), ("consent_sites", 1)] {
        assert_eq!(rows_of(server, table).await.len(), left, "{table}");
    }
}
