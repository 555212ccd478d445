//! Exact answers, and the samples as they are printed.

use super::*;

#[tokio::test]
async fn an_upsert_answers_the_flat_and_the_nested_members() {
    let store = Preferences::start().await;
    let (status, answer) = store
        .upsert(json!({
            "records": [{
                "partition": SHOP,
                "timestamp": "2026-02-03T09:15:00.250Z",
                "identifiers": [
                    {"name": "phone", "value": "+351910000017"},
                    {"name": "email", "value": " Ana@Example.org "}
                ],
                "purposes": [
                    {
                        "purpose": "ProductNews",
                        "enabled": true,
                        "sourceSystem": "Kiosk",
                        "preferences": [
                            {"topic": "Cadence", "choice": {"selectValue": "Monthly"}},
                            {"topic": "Channel", "choice": {"selectValues": ["Email", "Sms", "Email"]}},
                            {"topic": "Paused", "choice": {"booleanValue": false}}
                        ],
                        "workflowSettings": {
                            "isSilent": true,
                            "attributes": [{"key": "Source", "values": ["kiosk-17"]}]
                        }
                    },
                    {"purpose": "Analytics", "enabled": false, "timestamp": "2026-01-20T08:00:00.000Z"}
                ],
                "metadata": [{"key": "store", "value": "Porto-3"}, {"key": "campaign", "value": null}],
                "consentManagement": {"usp": "1YNN"},
                "birthDate": "1990-05",
                "options": {"mergeRecordsOnConflict": false}
            }],
            "skipWorkflowTriggers": false
        }))
        .await;
    assert_eq!(status, 200, "{answer}");
    let id = transcend_of(&answer["nodes"][0]);
    let expected = json!({
        "success": true,
        "nodes": [{
            "userId": "ana@example.org",
            "partition": SHOP,
            "timestamp": "2026-02-03T09:15:00.250Z",
            "updatedAt": "2026-03-02T10:00:00.000Z",
            "decryptionStatus": "DECRYPTED",
            "usp": "1YNN",
            "gpp": null,
            "tcf": null,
            "airgapVersion": null,
            "purposes": [
                {"purpose": "Analytics", "enabled": false, "timestamp": "2026-01-20T08:00:00.000Z"},
                {
                    "purpose": "ProductNews",
                    "enabled": true,
                    "timestamp": "2026-02-03T09:15:00.250Z",
                    "sourceSystem": "Kiosk",
                    "preferences": [
                        {"topic": "Cadence", "choice": {"selectValue": "Monthly"}},
                        {"topic": "Channel", "choice": {"selectValues": ["Email", "Sms"]}},
                        {"topic": "Paused", "choice": {"booleanValue": false}}
                    ]
                }
            ],
            "identifiers": [
                {"name": "email", "value": "ana@example.org"},
                {"name": "phone", "value": "+351910000017"},
                {"name": "transcend", "value": id}
            ],
            "confirmed": true,
            "metadata": [{"key": "store", "value": "Porto-3"}],
            "metadataTimestamp": "2026-02-03T09:15:00.250Z",
            "consentManagement": {"usp": "1YNN", "gpp": null, "tcf": null, "airgapVersion": null},
            "system": {"decryptionStatus": "DECRYPTED", "updatedAt": "2026-03-02T10:00:00.000Z"}
        }]
    });
    assert_eq!(answer, expected);

    let mut node = expected["nodes"][0].clone();
    for flat in ["updatedAt", "decryptionStatus", "usp", "gpp", "tcf", "airgapVersion"] {
        node.as_object_mut().unwrap().remove(flat);
    }
    let (status, answer) = store
        .query(SHOP, json!({"filter": {"identifiers": [email_of("ANA@example.org")]}}))
        .await;
    assert_eq!((status, answer), (200, json!({"nodes": [node]})));
}

#[tokio::test]
async fn the_printed_samples_are_answered_in_the_printed_shape() {
    let Some(page) = seed_page() else {
        println!("skipped: the seed pages are not beside this repository");
        return;
    };
    let texts = json_samples(&page);
    let samples: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let [first, second, printed] = samples.as_slice() else {
        panic!("{} samples", samples.len())
    };
    let server = TestServer::start().await;
    let records = first["records"].as_array().unwrap().iter();
    let partitions: BTreeSet<&str> = records.map(|record| record["partition"].as_str().unwrap()).collect();
    configure(
        &server,
        server.organization,
        &partitions.into_iter().collect::<Vec<_>>(),
    )
    .await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    for (sample, text) in [(first, &texts[0]), (second, &texts[1]), (first, &texts[0])] {
        let (status, answer) = call(&server, &key, reqwest::Method::PUT, "/v1/preferences", text.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["success"], json!(true));
        assert!(answer.get("failures").is_none() && answer.get("errors").is_none());
        let nodes = answer["nodes"].as_array().unwrap();
        let asked = sample["records"].as_array().unwrap();
        assert_eq!(nodes.len(), asked.len());
        for (place, (node, asked)) in nodes.iter().zip(asked).enumerate() {
            for echoed in ["userId", "partition", "timestamp"] {
                assert_eq!(node[echoed], asked[echoed]);
            }
            let printed = &printed["nodes"][place];
            assert_shape(&format!("nodes[{place}]"), node, printed);
            for flat in ["usp", "gpp", "tcf", "airgapVersion", "decryptionStatus"] {
                assert!(node.get(flat).is_some(), "{flat}");
            }
        }
    }
    // Both prints of one person lead to one record, which shows the first print's answers and the second's string.
    let (_, answer) = call(
        &server,
        &key,
        reqwest::Method::PUT,
        "/v1/preferences",
        first.to_string(),
    )
    .await;
    let node = &answer["nodes"][0];
    let asked = &first["records"][0];
    assert_eq!(without_timestamps(&node["purposes"]), asked["purposes"]);
    assert_eq!(node["usp"], second["records"][0]["usp"]);
}

/// Asserts that `got` has what `printed` has, member for member and null for null. One text may stand where the print has
/// none, and the other way round: the print shows the string of its second request beside the answers of its first.
fn assert_shape(path: &str, got: &Value, printed: &Value) {
    match (got, printed) {
        (Value::Object(got), Value::Object(printed)) => {
            for (name, printed) in printed {
                let got = got.get(name).unwrap_or_else(|| panic!("{path}.{name} is missing"));
                assert_shape(&format!("{path}.{name}"), got, printed);
            }
        }
        (Value::Array(got), Value::Array(printed)) => {
            assert_eq!(got.len(), printed.len(), "{path}");
            for (place, (got, printed)) in got.iter().zip(printed).enumerate() {
                assert_shape(&format!("{path}[{place}]"), got, printed);
            }
        }
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) | (Value::Null, Value::Null) => {}
        (Value::Null, Value::String(_)) | (Value::String(_), Value::Null) if path.ends_with(".usp") => {}
        _ => panic!("{path} is {got}, printed is {printed}"),
    }
}

fn seed_page() -> Option<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/spec/seeds");
    let pages = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    pages.into_iter().find(|page| page.contains("\n/v1/preferences\n"))
}

/// The JSON objects that stand in a page with their braces at the beginning of a line, letter for letter.
fn json_samples(page: &str) -> Vec<String> {
    let mut samples = Vec::new();
    let mut sample: Option<String> = None;
    for line in page.lines() {
        if line == "{" {
            sample = Some(String::new());
        }
        if let Some(text) = &mut sample {
            text.push_str(line);
            text.push('\n');
        }
        if line == "}" {
            samples.extend(sample.take());
        }
    }
    samples
}

#[tokio::test]
async fn checklist_6_no_null_stands_where_strict_clients_can_not_read_one_and_the_last_page_has_no_cursor() {
    let store = Preferences::start().await;
    let bare = json!({"identifiers": [{"name": "phone", "value": "+351910000017"}]});
    let cleared = json!({"userId": "ana@example.org", "metadata": [{"key": "a", "value": null}], "purposes": [
        {"purpose": "ProductNews", "enabled": true, "preferences": [{"topic": "Cadence", "choice": {"selectValue": null}}]}
    ]});
    let (_, written) = store
        .upsert(json!({"records": [in_shop(bare), in_shop(cleared)]}))
        .await;
    let (_, page) = store.query(SHOP, json!({"limit": 2})).await;
    assert!(page.get("cursor").is_none());
    let anchor = email_of("ana@example.org");
    let at = "2026-03-02T08:30:00.000Z";
    let append =
        json!({"anchorIdentifier": anchor, "append": {"name": "coreIdentifier", "value": "c"}, "timestamp": at});
    let missing = json!({"anchorIdentifier": email_of("nobody@example.org"), "append": anchor, "timestamp": at});
    let route = |verb: &str| format!("/v1/preferences/{SHOP}/{verb}");
    let body = json!({"records": [append, missing]}).to_string();
    let (_, appended) = store
        .call(reqwest::Method::POST, &route("append-identifiers"), body)
        .await;
    let body = json!({"records": [{"anchorIdentifier": anchor, "timestamp": at}]}).to_string();
    let (_, deleted) = store.call(reqwest::Method::POST, &route("delete"), body).await;
    for (answer, expected) in [(written, 16), (page, 8), (appended, 0), (deleted, 0)] {
        let mut nulls = Vec::new();
        find_nulls(&answer, "", &mut nulls);
        // The consent strings may be null, nested and in the flat members of an upsert's answer.
        let strings = ["usp", "gpp", "tcf", "airgapVersion"];
        assert!(nulls.iter().all(|name| strings.contains(&name.as_str())), "{nulls:?}");
        assert_eq!(nulls.len(), expected, "{answer}");
    }
}

/// The names of all members that are null.
fn find_nulls(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(name.to_owned()),
        Value::Array(entries) => entries.iter().for_each(|entry| find_nulls(entry, name, found)),
        Value::Object(members) => members
            .iter()
            .for_each(|(name, member)| find_nulls(member, name, found)),
        _ => {}
    }
}
