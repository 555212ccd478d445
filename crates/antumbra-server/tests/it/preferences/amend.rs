//! Identifiers that come and go, and records that are deleted.

use super::*;
use crate::support::manage::manage;

mod lost_keys;
mod people;

const NO_RECORD: &str = "No preference record matches the anchor identifier";

impl Preferences {
    /// Calls one of the routes below a partition of the shop with these records.
    async fn amend(&self, verb: &str, records: Value) -> (u16, Value) {
        let path = format!("/v1/preferences/{SHOP}/{verb}");
        let body = json!({ "records": records }).to_string();
        self.call(reqwest::Method::POST, &path, body).await
    }

    /// Calls it with one record, which is done.
    async fn amended(&self, verb: &str, record: Value) -> Value {
        let (status, answer) = self.amend(verb, json!([record])).await;
        assert_eq!(
            (status, &answer["records"][0]["success"]),
            (200, &json!(true)),
            "{answer}"
        );
        assert_eq!(answer["failures"], json!([]));
        answer
    }

    /// Calls it with one record, which is refused: why.
    async fn not_amended(&self, verb: &str, record: Value) -> String {
        let before = everything(&self.server).await;
        let (status, answer) = self.amend(verb, json!([record])).await;
        let error = answer["failures"][0]["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        let mut expected = json!({
            "records": [{"success": false, "errorMessage": error}],
            "failures": [{"index": 0, "error": error}]
        });
        if verb != "delete" {
            expected["success"] = json!(false);
        }
        assert_eq!((status, &answer), (200, &expected));
        assert!(
            everything(&self.server).await == before,
            "what is refused writes nothing"
        );
        error.to_owned()
    }

    /// Calls until the answer is not that too many write about the same person at once.
    async fn insist(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        loop {
            match self.call(method.clone(), path, body.to_string()).await {
                (429, _) => continue,
                (status, answer) => {
                    assert_eq!(status, 200, "{answer}");
                    return answer;
                }
            }
        }
    }

    /// The record of the shop that an identifier leads to, if there is one.
    async fn lead(&self, identifier: Value) -> Option<Value> {
        self.find(json!({ "identifiers": [identifier] })).await.pop()
    }
}

/// Every row that one of these calls may write in its transaction. What jobs make of it later is their own.
async fn everything(server: &TestServer) -> BTreeMap<(&'static str, Vec<u8>), Vec<u8>> {
    let mut all = BTreeMap::new();
    for table in [
        "preference_records",
        "preference_owners",
        "preferences_by_update",
        "preferences_by_event",
        "preference_history",
        "subject_keys",
        "audit_entries",
    ] {
        let rows = rows_of(server, table).await.into_iter();
        all.extend(rows.map(|(key, row)| ((table, key), row)));
    }
    all
}

fn phone_of(value: &str) -> Value {
    json!({"name": "phone", "value": value})
}

fn core_of(value: &str) -> Value {
    json!({"name": "coreIdentifier", "value": value})
}

const ANA: &str = "ana@example.org";
const PHONE: &str = "+351910000017";
const AT: &str = "2026-03-02T08:30:00.000Z";

fn append(anchor: Value, new: Value, options: Value) -> Value {
    json!({"anchorIdentifier": anchor, "append": new, "timestamp": AT, "options": options})
}

fn update(anchor: Value, name: &str, old: &str, new: &str, options: Value) -> Value {
    let update = json!({"name": name, "oldValue": old, "newValue": new});
    json!({"anchorIdentifier": anchor, "update": update, "timestamp": AT, "options": options})
}

fn removal(anchor: Value, gone: Value, options: Value) -> Value {
    json!({"anchorIdentifier": anchor, "delete": gone, "timestamp": AT, "options": options})
}

fn deletion(anchor: Value) -> Value {
    json!({"anchorIdentifier": anchor, "timestamp": AT})
}

/// Adds an identifier that several people may share.
async fn with_shared_plan(store: &Preferences) {
    let app = store.server.app();
    let mut tx = app.store.begin_write().await.unwrap();
    let now = app.clock.now();
    let plan = Identifier::new(
        IdentifierId(app.ids.uuid()),
        "plan".to_owned(),
        IdentifierKind::Custom,
        now,
    );
    let mut changes = Changes {
        tx: &mut tx,
        ids: &app.ids,
        organization: store.server.organization,
        actor: Actor::Operator,
        at: now,
    };
    changes.save_identifier(&plan).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn an_appended_identifier_leads_to_the_record_and_its_own_time_stays() {
    let store = Preferences::start().await;
    let before = store
        .record_choice(ANA, "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    store.server.clock.advance(std::time::Duration::from_secs(60));
    let options = json!({"returnIdentifiers": true, "mergeRecordsOnConflict": false});
    let answer = store
        .amended("append-identifiers", append(email_of(ANA), phone_of(PHONE), options))
        .await;
    let transcend = json!({"name": "transcend", "value": transcend_of(&before)});
    let identifiers = json!([email_of(ANA), phone_of(PHONE), transcend]);
    assert_eq!(
        answer,
        json!({"success": true, "records": [{"success": true, "identifiers": identifiers}], "failures": []})
    );
    let node = store.lead(phone_of(PHONE)).await.unwrap();
    assert_eq!(node["identifiers"], identifiers);
    assert_eq!(node["timestamp"], before["timestamp"]);
    assert_eq!(node["purposes"], before["purposes"]);
    assert_eq!(node["system"]["updatedAt"], "2026-03-02T10:01:00.000Z");
    // Newest first by when we wrote it: the list has moved with the record.
    let found = store
        .find(json!({"system": {"updatedAfter": "2026-03-02T10:01:00.000Z"}}))
        .await;
    assert_eq!(found.len(), 1);

    // What it has already is no change, and several values of one name are fine.
    let rows = everything(&store.server).await;
    store.server.clock.advance(std::time::Duration::from_secs(60));
    let again = append(
        json!({"name": "transcend", "value": transcend_of(&before)}),
        phone_of(PHONE),
        json!({}),
    );
    let answer = store.amended("append-identifiers", again).await;
    assert_eq!(
        answer["records"],
        json!([{"success": true}]),
        "identifiers are shown to who asks for them"
    );
    assert_eq!(store.lead(email_of(ANA)).await.unwrap()["system"], node["system"]);
    let unchanged = |rows: &BTreeMap<(&'static str, Vec<u8>), Vec<u8>>| {
        rows.keys().filter(|(table, _)| *table != "audit_entries").count()
    };
    assert_eq!(unchanged(&everything(&store.server).await), unchanged(&rows));
    store
        .amended(
            "append-identifiers",
            append(email_of(ANA), phone_of("+351910000018"), json!({})),
        )
        .await;
    assert_eq!(store.find_email(ANA).await["identifiers"].as_array().unwrap().len(), 4);
    assert_eq!(check_tables(&store.server).await["preference_owners"], 3);
}

#[tokio::test]
async fn an_appended_identifier_of_another_record_joins_the_two_or_is_refused() {
    let store = Preferences::start().await;
    let older = store
        .record_choice(ANA, "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    store.server.clock.advance(std::time::Duration::from_secs(1));
    let newer = store
        .record(json!({
            "identifiers": [phone_of(PHONE)], "timestamp": "2026-02-03T10:00:00.000Z",
            "purposes": [{"purpose": "Analytics", "enabled": false}]
        }))
        .await;
    let taken = "The identifier to append already belongs to another preference record";
    for options in [
        json!({"mergeRecordsOnConflict": false}),
        json!({"mergeRecordOnConflict": false}),
        json!({"mergeRecordsOnConflict": false, "mergeRecordOnConflict": true}),
    ] {
        let error = store
            .not_amended("append-identifiers", append(phone_of(PHONE), email_of(ANA), options))
            .await;
        assert_eq!(error, taken);
    }
    let plural_wins =
        json!({"mergeRecordsOnConflict": true, "mergeRecordOnConflict": false, "returnIdentifiers": true});
    let answer = store
        .amended(
            "append-identifiers",
            append(phone_of(PHONE), email_of(ANA), plural_wins),
        )
        .await;
    let identifiers = answer["records"][0]["identifiers"].as_array().unwrap();
    assert_eq!(identifiers.len(), 3);
    assert_eq!(
        identifiers[2]["value"].as_str().unwrap(),
        transcend_of(&older),
        "the older record survives"
    );
    let node = store.find_email(ANA).await;
    assert_eq!(enabled(&node, "Analytics"), Some(false), "the newer answer stays");
    assert_eq!(node["timestamp"], "2026-02-03T10:00:00.000Z");
    for id in [&older, &newer].map(transcend_of) {
        let found = store.lead(json!({"name": "transcend", "value": id})).await.unwrap();
        assert_eq!(transcend_of(&found), transcend_of(&older));
    }
    assert_eq!(store.find(json!({})).await.len(), 1);
    check_tables(&store.server).await;

    // The record that is named by its id survives, however young it is.
    let youngest = store
        .record_choice("bo@example.org", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let named = json!({"name": "transcend", "value": transcend_of(&youngest)});
    store
        .amended("append-identifiers", append(named, phone_of(PHONE), json!({})))
        .await;
    assert_eq!(transcend_of(&store.find_email(ANA).await), transcend_of(&youngest));
    check_tables(&store.server).await;
}

#[tokio::test]
async fn an_updated_identifier_leads_to_the_record_and_its_old_value_to_nothing() {
    let store = Preferences::start().await;
    let before = store.record(json!({"userId": "Ana@Example.org", "usp": "1YNN"})).await;
    let new = "ana.silva@example.org";
    let options = json!({"returnIdentifiers": true});
    let answer = store
        .amended(
            "update-identifiers",
            update(
                email_of(ANA),
                "email",
                " ANA@example.org",
                "Ana.Silva@example.org",
                options,
            ),
        )
        .await;
    let transcend = json!({"name": "transcend", "value": transcend_of(&before)});
    assert_eq!(answer["records"][0]["identifiers"], json!([email_of(new), transcend]));
    assert_eq!(store.lead(email_of(ANA)).await, None);
    assert_eq!(
        store.lead(json!({"value": ANA})).await,
        None,
        "nor is it found without a name"
    );
    let node = store.find_email(new).await;
    assert_eq!(
        node["userId"], new,
        "what the person was called by the old value is gone with it"
    );
    assert_eq!(node["timestamp"], before["timestamp"]);
    assert_eq!(check_tables(&store.server).await["preference_owners"], 1);

    let refused = |record| store.not_amended("update-identifiers", record);
    let not_held = "The preference record does not have this identifier";
    assert_eq!(
        refused(update(email_of(new), "email", ANA, "x@example.org", json!({}))).await,
        not_held
    );
    assert_eq!(
        refused(update(email_of(ANA), "email", ANA, "x@example.org", json!({}))).await,
        NO_RECORD
    );
    // Per record, since the calls are small.
    assert_eq!(
        refused(update(email_of(new), "email", new, "no address", json!({}))).await,
        "Identifier email did not pass validation"
    );
    assert_eq!(
        store
            .not_amended("append-identifiers", append(email_of(new), phone_of("12"), json!({})))
            .await,
        "Identifier phone did not pass validation"
    );
    store.record(json!({"identifiers": [email_of("bo@example.org")]})).await;
    let taken = json!({"mergeRecordsOnConflict": false});
    assert_eq!(
        refused(update(email_of(new), "email", new, "bo@example.org", taken)).await,
        "The new value already belongs to another preference record"
    );
    // Merged: the old value is gone all the same, and the former owner may come back as somebody new.
    store
        .amended(
            "update-identifiers",
            update(email_of(new), "email", new, "bo@example.org", json!({})),
        )
        .await;
    assert_eq!(store.lead(email_of(new)).await, None);
    assert_eq!(
        transcend_of(&store.find_email("bo@example.org").await),
        transcend_of(&before)
    );
    assert_eq!(store.find(json!({})).await.len(), 1);
    check_tables(&store.server).await;
    let stranger = store.record(json!({"identifiers": [email_of(ANA)]})).await;
    assert_ne!(transcend_of(&stranger), transcend_of(&before));
    check_tables(&store.server).await;
}

#[tokio::test]
async fn the_last_identifier_that_finds_a_record_can_not_be_deleted() {
    let store = Preferences::start().await;
    with_shared_plan(&store).await;
    let plan = json!({"name": "plan", "value": "family"});
    let node = store
        .record(json!({"identifiers": [email_of(ANA), phone_of(PHONE), plan]}))
        .await;
    let options = json!({"returnIdentifiers": true});
    let answer = store
        .amended(
            "delete-identifiers",
            removal(phone_of(PHONE), phone_of(PHONE), options.clone()),
        )
        .await;
    let transcend = json!({"name": "transcend", "value": transcend_of(&node)});
    assert_eq!(
        answer["records"][0]["identifiers"],
        json!([email_of(ANA), plan, transcend]),
        "those that remain"
    );
    assert_eq!(store.lead(phone_of(PHONE)).await, None);
    let refused = |record| store.not_amended("delete-identifiers", record);
    assert_eq!(
        refused(removal(transcend.clone(), email_of(ANA), json!({}))).await,
        "The only identifier that is unique on the preference store can not be deleted"
    );
    assert_eq!(
        refused(removal(email_of(ANA), phone_of(PHONE), json!({}))).await,
        "The preference record does not have this identifier"
    );
    let answer = store
        .amended("delete-identifiers", removal(transcend.clone(), plan.clone(), options))
        .await;
    assert_eq!(answer["records"][0]["identifiers"], json!([email_of(ANA), transcend]));
    // What several people may share points at none of them.
    assert_eq!(
        refused(removal(plan, email_of(ANA), json!({}))).await,
        "The anchor identifier is not unique on the preference store"
    );
    assert_eq!(check_tables(&store.server).await["preference_owners"], 1);
}

#[tokio::test]
async fn a_user_id_goes_with_the_identifier_that_it_became() {
    let store = Preferences::start().await;
    store
        .record(json!({"userId": "Customer-17", "identifiers": [email_of(ANA)]}))
        .await;
    assert_eq!(store.find_email(ANA).await["userId"], "Customer-17");
    store
        .amended(
            "delete-identifiers",
            removal(email_of(ANA), core_of("Customer-17"), json!({})),
        )
        .await;
    assert_eq!(store.find_email(ANA).await["userId"], ANA);
}

#[tokio::test]
async fn records_of_a_call_are_taken_in_their_order_and_a_bad_one_does_not_spoil_its_neighbours() {
    let store = Preferences::start().await;
    store.record(json!({"identifiers": [email_of(ANA)]})).await;
    let show = json!({"returnIdentifiers": true});
    let (status, answer) = store
        .amend(
            "update-identifiers",
            json!([
                update(email_of(ANA), "email", ANA, "b@example.org", json!({})),
                update(email_of(ANA), "email", ANA, "c@example.org", json!({})),
                update(email_of("b@example.org"), "email", "b@example.org", ANA, show.clone()),
            ]),
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(answer["success"], json!(false));
    assert_eq!(answer["failures"], json!([{"index": 1, "error": NO_RECORD}]));
    assert_eq!(answer["records"][0], json!({"success": true}));
    assert_eq!(
        answer["records"][1],
        json!({"success": false, "errorMessage": NO_RECORD})
    );
    assert_eq!(answer["records"][2]["identifiers"][0], email_of(ANA));
    store.find_email(ANA).await;
    assert_eq!(
        check_tables(&store.server).await["preference_owners"],
        1,
        "what came back leads to it again"
    );

    // A join and a removal in one call leave nothing that leads to the record that is gone.
    store
        .record(json!({"identifiers": [phone_of(PHONE), core_of("c-17")]}))
        .await;
    store
        .amend(
            "append-identifiers",
            json!([
                append(email_of(ANA), phone_of(PHONE), json!({})),
                append(core_of("c-17"), phone_of("+351910000018"), json!({})),
            ]),
        )
        .await;
    assert_eq!(store.find_email(ANA).await["identifiers"].as_array().unwrap().len(), 5);
    check_tables(&store.server).await;
}

#[tokio::test]
async fn checklist_7_a_deletion_tells_of_one_existing_and_one_missing_anchor() {
    let store = Preferences::start().await;
    store
        .record_choice(ANA, "Analytics", true, "2026-02-03T09:15:00.250Z")
        .await;
    let call = json!([deletion(email_of(ANA)), deletion(phone_of("+351910000099"))]);
    let (status, answer) = store.amend("delete", call.clone()).await;
    assert_eq!(status, 200);
    let records = json!([{"success": true}, {"success": false, "errorMessage": NO_RECORD}]);
    assert_eq!(
        answer,
        json!({"records": records, "failures": [{"index": 1, "error": NO_RECORD}]})
    );
    assert_eq!(store.find(json!({})).await, Vec::<Value>::new());

    // Again: a failure that is told of, and does no harm. So is a name that several people may share.
    let (status, answer) = store.amend("delete", call).await;
    assert_eq!((status, answer["failures"].as_array().unwrap().len()), (200, 2));
    with_shared_plan(&store).await;
    let shared = deletion(json!({"name": "plan", "value": "family"}));
    assert_eq!(
        store.not_amended("delete", shared).await,
        "The anchor identifier is not unique on the preference store"
    );
    check_tables_after(&store.server, 1).await;
}

#[tokio::test]
async fn a_deleted_record_takes_all_that_leads_to_it_and_its_keys_and_its_id_never_comes_back() {
    let store = Preferences::start().await;
    let first = store
        .record_choice(ANA, "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let second = store
        .record(json!({"identifiers": [phone_of(PHONE), core_of("c-17")]}))
        .await;
    let joined = json!({"identifiers": [email_of(ANA), phone_of(PHONE)], "timestamp": "2026-02-03T11:00:00.000Z"});
    store.record(joined).await;
    let bystander = store
        .record_choice("bo@example.org", "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    let before = check_tables(&store.server).await;

    // It goes though it changed after the deletion was asked for, and by the id of what became part of it.
    let by_alias = json!({"name": "transcend", "value": transcend_of(&second)});
    let late = json!({"anchorIdentifier": by_alias, "timestamp": "2020-01-01T00:00:00Z"});
    store.amended("delete", late).await;
    let after = check_tables_after(&store.server, 2).await;
    assert_eq!(
        after["preference_history"], before["preference_history"],
        "the counts stay"
    );
    assert_eq!((after["preference_records"], after["preference_owners"]), (1, 1));
    let dead = [email_of(ANA), phone_of(PHONE), core_of("c-17")];
    let named = [&first, &second].map(|node| json!({"name": "transcend", "value": transcend_of(node)}));
    for identifier in dead.iter().chain(&named) {
        assert_eq!(store.lead(identifier.clone()).await, None);
        assert_eq!(
            store.not_amended("delete", deletion(identifier.clone())).await,
            NO_RECORD
        );
    }
    for node in &named {
        let (_, answer) = store
            .upsert(json!({"records": [in_shop(json!({"identifiers": [node, email_of(ANA)]}))]}))
            .await;
        let sentence =
            "The transcend identifier in this request does not match any consent profile for this organization.";
        assert_eq!(answer["failures"][0]["error"], sentence);
    }
    // The same address is somebody new, who has nothing of the old.
    let new = store.record(json!({"identifiers": [email_of(ANA)]})).await;
    assert!(![transcend_of(&first), transcend_of(&second)].contains(&transcend_of(&new)));
    assert_eq!(new["purposes"], json!([]));
    assert_eq!(
        transcend_of(&store.find_email("bo@example.org").await),
        transcend_of(&bystander)
    );
    check_tables_after(&store.server, 2).await;

    // A partition without records can be deleted, though histories of its people are still counted.
    store.amended("delete", deletion(email_of(ANA))).await;
    store.amended("delete", deletion(email_of("bo@example.org"))).await;
    let after = check_tables_after(&store.server, 4).await;
    assert_eq!((after["preference_records"], after["preference_owners"]), (0, 0));
}

#[tokio::test]
async fn each_deletion_stands_in_the_audit_log_by_the_id_of_its_record() {
    let store = Preferences::start().await;
    let node = store
        .record_choice(ANA, "Analytics", true, "2026-02-03T09:00:00.000Z")
        .await;
    store
        .amended("append-identifiers", append(email_of(ANA), phone_of(PHONE), json!({})))
        .await;
    store.amended("delete", deletion(email_of(ANA))).await;
    let app = store.server.app();
    let mut reader = app.store.begin_read().await.unwrap();
    let log = antumbra_server::audit::list(&mut reader, store.server.organization, None, 100)
        .await
        .unwrap();
    let entries: Vec<(String, String)> = log
        .iter()
        .map(|(_, entry)| (entry.action.to_string(), entry.object_id.to_string()))
        .collect();
    let organization = store.server.organization.0.to_string();
    for expected in [
        ("preferences.identifiers_appended".to_owned(), organization),
        ("preferences.deleted".to_owned(), transcend_of(&node)),
    ] {
        assert!(entries.contains(&expected), "{entries:?}");
    }
}

#[tokio::test]
async fn checklist_14_amendments_fire_nothing_and_eleven_records_are_refused_with_nothing_written() {
    let store = Preferences::start().await;
    store
        .record(json!({"identifiers": [email_of(ANA), phone_of(PHONE)]}))
        .await;
    let refusal = json!([{"purpose": "ProductNews", "enabled": false}]);
    store
        .record(json!({"identifiers": [core_of("c-17")], "purposes": refusal}))
        .await;
    let admin = store.server.key(&[ScopeName::FullAdmin]).await;
    let condition = json!(json!({"And": [{"ProductNews": false}]}).to_string());
    let trigger = format!(
        "mutation {{ createOrUpdateConsentWorkflowTrigger(input: {{name: \"Stop mail\", triggerCondition: {condition}, \
         actionType: CONTACT_OPT_OUT, dataSubjectType: \"customer\", isSilent: true}}) {{ consentWorkflowTrigger {{ id }} }} }}"
    );
    manage(&store.server, &admin, &trigger).await;
    // Ana's record has the refusal from now on, and she refused nothing herself.
    for (verb, amendment) in [
        ("append-identifiers", append(email_of(ANA), core_of("c-17"), json!({}))),
        (
            "update-identifiers",
            update(email_of(ANA), "coreIdentifier", "c-17", "c-18", json!({})),
        ),
        ("delete-identifiers", removal(email_of(ANA), core_of("c-18"), json!({}))),
    ] {
        store.amended(verb, amendment).await;
        assert_eq!(enabled(&store.find_email(ANA).await, "ProductNews"), Some(false));
        let opened = manage(&store.server, &admin, "{ requests { totalCount } }").await;
        assert_eq!(opened["totalCount"], 0, "{verb}");
    }
    let one = |verb: &str, n: usize| match verb {
        "append-identifiers" => append(email_of(ANA), phone_of(&format!("+3519100001{n:02}")), json!({})),
        "update-identifiers" => update(email_of(ANA), "phone", PHONE, PHONE, json!({})),
        "delete-identifiers" => removal(email_of(ANA), phone_of(&format!("+3519100001{n:02}")), json!({})),
        _ => deletion(email_of(ANA)),
    };
    for (verb, most) in [
        ("append-identifiers", 10),
        ("update-identifiers", 10),
        ("delete-identifiers", 10),
        ("delete", 100),
    ] {
        for (count, expected) in [(0, 400), (most + 1, 400), (most, 200)] {
            let before = everything(&store.server).await;
            let records: Vec<Value> = (0..count).map(|n| one(verb, n % 100)).collect();
            let (status, answer) = store.amend(verb, json!(records)).await;
            assert_eq!(status, expected, "{verb} {count}: {answer}");
            if expected == 400 {
                let rule = format!("must hold 1 to {most} records");
                assert_eq!(details(&answer), [("records".to_owned(), rule)]);
                assert!(everything(&store.server).await == before, "{verb}");
            } else {
                assert_eq!(answer["records"].as_array().unwrap().len(), most);
            }
        }
    }
}

#[tokio::test]
async fn bad_records_are_refused_whole_with_the_place_of_every_problem() {
    let store = Preferences::start().await;
    store.record(json!({"identifiers": [email_of(ANA)]})).await;
    let good = append(email_of(ANA), phone_of(PHONE), json!({}));
    let unknown = "is not an identifier of this organization";
    let future = "must not be more than 24 hours in the future";
    let moment = "must be an ISO 8601 date and time, such as 2026-02-03T09:15:00.250Z";
    let transcend = "must not be transcend: a record keeps the one it has";
    let stranger = json!({"name": "transcend", "value": "0d8f9a54-2c0a-4b7e-8f38-6f5b9ce0a201"});
    let mut late = good.clone();
    late["timestamp"] = json!("2026-03-03T10:00:00.001Z");
    let mut never = good.clone();
    never["timestamp"] = json!("soon");
    let nobodys = json!({"name": "shoeSize", "value": "canary-9e1f"});
    let cases = [
        (
            "append-identifiers",
            json!([good, append(nobodys.clone(), nobodys.clone(), json!({}))]),
            vec![
                ("records[1].anchorIdentifier.name", unknown),
                ("records[1].append.name", unknown),
            ],
        ),
        (
            "append-identifiers",
            json!([late, never, append(email_of(ANA), stranger.clone(), json!({}))]),
            vec![
                ("records[0].timestamp", future),
                ("records[1].timestamp", moment),
                ("records[2].append.name", transcend),
            ],
        ),
        (
            "update-identifiers",
            json!([
                update(email_of(ANA), "transcend", "a", "b", json!({})),
                update(email_of(ANA), "shoeSize", "a", "b", json!({}))
            ]),
            vec![
                ("records[0].update.name", transcend),
                ("records[1].update.name", unknown),
            ],
        ),
        (
            "delete-identifiers",
            json!([
                removal(email_of(ANA), stranger, json!({})),
                removal(email_of(ANA), nobodys.clone(), json!({}))
            ]),
            vec![
                ("records[0].delete.name", transcend),
                ("records[1].delete.name", unknown),
            ],
        ),
        (
            "delete",
            json!([deletion(email_of(ANA)), deletion(nobodys), {"anchorIdentifier": email_of(ANA), "timestamp": "soon"}]),
            vec![
                ("records[1].anchorIdentifier.name", unknown),
                ("records[2].timestamp", moment),
            ],
        ),
    ];
    let before = everything(&store.server).await;
    for (verb, records, expected) in cases {
        let (status, answer) = store.amend(verb, records).await;
        assert_eq!(status, 400, "{verb}: {answer}");
        let found = details(&answer);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(path, rule)| (path.as_str(), rule.as_str()))
            .collect();
        assert_eq!(found, expected, "{verb}");
        assert!(!answer.to_string().contains("canary"));
    }
    for (verb, record, path) in [
        (
            "append-identifiers",
            json!({"append": phone_of(PHONE), "timestamp": AT}),
            "records[0].anchorIdentifier",
        ),
        (
            "append-identifiers",
            json!({"anchorIdentifier": email_of(ANA), "timestamp": AT}),
            "records[0].append",
        ),
        (
            "append-identifiers",
            json!({"anchorIdentifier": email_of(ANA), "append": phone_of(PHONE)}),
            "records[0].timestamp",
        ),
        (
            "append-identifiers",
            append(email_of(ANA), phone_of(PHONE), json!({"returnIdentifiers": "yes"})),
            "records[0].options.returnIdentifiers",
        ),
        (
            "update-identifiers",
            json!({"anchorIdentifier": email_of(ANA), "timestamp": AT, "update": {"name": "email", "oldValue": ANA}}),
            "records[0].update.newValue",
        ),
        (
            "delete-identifiers",
            json!({"anchorIdentifier": email_of(ANA), "timestamp": AT}),
            "records[0].delete",
        ),
        ("delete", json!({"timestamp": AT}), "records[0].anchorIdentifier"),
        (
            "delete",
            json!({"anchorIdentifier": {"name": "email"}, "timestamp": AT}),
            "records[0].anchorIdentifier.value",
        ),
        (
            "delete",
            json!({"anchorIdentifier": email_of(ANA)}),
            "records[0].timestamp",
        ),
        ("delete", json!(7), "records[0]"),
    ] {
        let (status, answer) = store.amend(verb, json!([record])).await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, path), "{verb}");
    }
    for verb in [
        "append-identifiers",
        "update-identifiers",
        "delete-identifiers",
        "delete",
    ] {
        let nowhere = format!("/v1/preferences/no-such-shop/{verb}");
        let (status, answer) = store
            .call(reqwest::Method::POST, &nowhere, json!({"records": []}).to_string())
            .await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, "partition"));
        let here = format!("/v1/preferences/{SHOP}/{verb}");
        let (status, answer) = store.call(reqwest::Method::POST, &here, "{}".to_owned()).await;
        assert_eq!((status, details(&answer)[0].0.as_str()), (400, "records"));
    }
    assert!(everything(&store.server).await == before);
}

#[tokio::test]
async fn a_vendor_profile_allows_a_hundred_calls_of_each_route_a_minute() {
    let mut config = antumbra_server::ServerConfig::default();
    config.limits.profile = antumbra_server::config::RateProfile::Vendor;
    let server = TestServer::with(config).await;
    configure(&server, server.organization, &[SHOP]).await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    for verb in [
        "append-identifiers",
        "update-identifiers",
        "delete-identifiers",
        "delete",
    ] {
        let call = async || {
            let url = server.url(&format!("/v1/preferences/{SHOP}/{verb}"));
            let body = json!({"records": []});
            server
                .client()
                .post(url)
                .bearer_auth(&key)
                .json(&body)
                .send()
                .await
                .unwrap()
        };
        for _ in 0..100 {
            assert_eq!(call().await.status(), 400, "{verb}");
        }
        let refused = call().await;
        assert_eq!(refused.status(), 429, "{verb}");
        assert_eq!(refused.headers()["x-ratelimit-limit"], "100");
        let reset = refused.headers()["x-ratelimit-reset"].to_str().unwrap();
        assert!(reset.parse::<jiff::Timestamp>().is_ok(), "{reset}");
        assert!(refused.headers().contains_key("retry-after"));
    }
}

#[tokio::test]
async fn a_deletion_amid_writes_about_the_same_person_never_loses_half_of_one() {
    let store = std::sync::Arc::new(Preferences::start().await);
    let mut deleted = 0;
    for round in 0..12 {
        let mut calls = tokio::task::JoinSet::new();
        let email = format!("ana{round}@example.org");
        store
            .record_choice(&email, "Analytics", true, "2026-02-03T09:00:00.000Z")
            .await;
        for n in 0..4 {
            let (store, email) = (store.clone(), email.clone());
            calls.spawn(async move {
                let identifiers = json!([email_of(&email), phone_of(&format!("+35191{round:03}{n:04}"))]);
                let record =
                    json!({"identifiers": identifiers, "purposes": [{"purpose": "Advertising", "enabled": true}]});
                let batch = json!({"records": [in_shop(record)]});
                store.insist(reqwest::Method::PUT, "/v1/preferences", batch).await;
                0
            });
        }
        for _ in 0..2 {
            let (store, email) = (store.clone(), email.clone());
            calls.spawn(async move {
                let path = format!("/v1/preferences/{SHOP}/delete");
                let call = json!({"records": [deletion(email_of(&email))]});
                let answer = store.insist(reqwest::Method::POST, &path, call).await;
                usize::from(answer["records"][0]["success"] == json!(true))
            });
        }
        while let Some(done) = calls.join_next().await {
            deleted += done.unwrap();
        }
    }
    assert!(deleted >= 12);
    // Whatever order they came in: a whole record, or none.
    for node in store.all(json!({}), 100).await {
        assert_eq!(enabled(&node, "Advertising"), Some(true));
        for identifier in node["identifiers"].as_array().unwrap() {
            let found = store.lead(identifier.clone()).await.unwrap();
            assert_eq!(transcend_of(&found), transcend_of(&node));
        }
    }
    check_tables_after(&store.server, deleted).await;
}
