//! History that is kept for so long only: it is folded into what it came to.

use antumbra_server::{ServerConfig, config::RunJobs, preferences::keep_history};

use super::*;

/// A server that tells of the past for so many days.
async fn forgetful(days: u64) -> Preferences {
    let mut config = ServerConfig {
        run_jobs: RunJobs::WhenAsked,
        ..ServerConfig::default()
    };
    config.preferences.history = Some(Duration::from_secs(days * 24 * 3600));
    let server = TestServer::with(config).await;
    configure(&server, server.organization, &[SHOP, GAMES]).await;
    let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
    Preferences { server, key }
}

async fn fold_what_is_old(store: &Preferences) {
    keep_history(store.server.app()).await.unwrap();
    store.server.run_jobs_until_idle().await;
}

async fn rows_of_history(store: &Preferences) -> usize {
    rows_of(&store.server, "preference_history").await.len()
}

#[tokio::test]
async fn old_history_is_folded_and_what_is_kept_stays_right() {
    let store = forgetful(10).await;
    let says = async |email: &str, enabled: bool, at: &str| store.record_choice(email, "Analytics", enabled, at).await;
    // Learned on the 2nd of March.
    says("ana@example.test", true, "2026-02-03T09:00:00.000Z").await;
    says("ana@example.test", false, "2026-02-05T09:00:00.000Z").await;
    says("ana@example.test", true, "2026-02-04T09:00:00.000Z").await; // late
    says("bea@example.test", true, "2026-02-03T09:00:00.000Z").await;
    let phone = json!({"name": "phone", "value": "+351910000017"});
    store
        .record(json!({"identifiers": [phone], "purposes": [{"purpose": "Advertising", "enabled": true}]}))
        .await;
    store
        .record(json!({"identifiers": [phone, email_of("ana@example.test")], "timestamp": "2026-02-06T09:00:00.000Z"}))
        .await;
    store.minutes_pass(60 * 24 * 5);
    says("ana@example.test", true, "2026-03-07T09:00:00.000Z").await;
    fold_what_is_old(&store).await;
    assert_eq!(rows_of_history(&store).await, 7, "nothing is old yet");

    store.minutes_pass(60 * 24 * 7); // It is the 14th: the 3rd and what comes after it is kept.
    let now = store.find(json!({})).await;
    fold_what_is_old(&store).await;
    assert_eq!(store.find(json!({})).await, now);
    // What was learned on the 2nd, of two records that became one, is one row, and what came on the 7th another.
    assert_eq!(rows_of_history(&store).await, 3);
    assert_eq!(
        rows_of(&store.server, "subject_keys").await.len(),
        2,
        "the key of what was folded is destroyed"
    );
    let ana = json!({"identifier": email_of("ana@example.test"), "includeRawRequest": true});
    let timeline = store.timeline(ana.clone()).await;
    assert_eq!(timeline["containsInitialRecord"], json!(false));
    let [folded, last] = &entries(&timeline)[..] else {
        panic!("{timeline}")
    };
    assert_eq!(
        (&folded["changeFromPrevState"], &folded["rawRequest"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(folded["preferencesAtCurrentTime"][0]["purpose"], "Advertising");
    assert_eq!(folded["preferencesAtCurrentTime"][1]["consent"], json!(false));
    assert_eq!(last["changeFromPrevState"]["updated"][0]["consent"], json!(true));
    let bea = json!({"identifier": email_of("bea@example.test")});
    assert_eq!(store.timeline(bea).await["containsInitialRecord"], json!(true));

    let seen = async |view: Value| {
        let node = store.look_back("ana@example.test", view).await?;
        enabled(&node, "Analytics")
    };
    assert_eq!(seen(json!({"asOf": "2026-03-05T00:00:00Z"})).await, Some(false));
    assert_eq!(
        seen(json!({"asOf": "2026-03-05T00:00:00Z", "knownAt": "2026-03-06T00:00:00Z"})).await,
        Some(false)
    );
    assert_eq!(seen(json!({"asOf": "2026-03-08T00:00:00Z"})).await, Some(true));
    let rule = "is before what is kept of the history of a record".to_owned();
    for (view, path) in [
        (json!({"asOf": "2026-02-04T12:00:00Z"}), "asOf"),
        (
            json!({"asOf": "2026-03-05T00:00:00Z", "knownAt": "2026-03-03T00:00:00Z"}),
            "knownAt",
        ),
    ] {
        let mut body = json!({"filter": {"identifiers": [email_of("ana@example.test")]}});
        body.as_object_mut().unwrap().extend(view.as_object().unwrap().clone());
        let (status, answer) = store.query(SHOP, body).await;
        assert_eq!(
            (status, details(&answer)),
            (400, vec![(path.to_owned(), rule.clone())]),
            "{view}"
        );
    }
    let of_bea = store
        .look_back("bea@example.test", json!({"asOf": "2026-02-03T09:00:00Z"}))
        .await;
    assert!(of_bea.is_some(), "a record of which nothing was folded is told whole");
    // A round a day, and nothing is folded twice.
    store.minutes_pass(60 * 25);
    fold_what_is_old(&store).await;
    assert_eq!(store.timeline(ana).await, timeline);
}

/// Whatever can be asked about what is kept has the same answer before and after old history is folded, in small steps.
#[tokio::test]
async fn folding_changes_no_answer_about_what_is_kept() {
    for seed in 1..=6u64 {
        println!("seed {seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let store = forgetful(3).await;
        for _ in 0..30 {
            store.minutes_pass(60 * (1 + dice.below(12)));
            let mut record = any_record(&mut dice);
            let ahead = i64::try_from(dice.below(30)).unwrap() - 26;
            let at = store.server.clock.now() + jiff::SignedDuration::from_hours(ahead);
            record["timestamp"] = json!(at.to_string());
            for purpose in record["purposes"].as_array_mut().unwrap() {
                purpose.as_object_mut().unwrap().remove("timestamp");
            }
            store.record(record).await;
            let before = answers(&store).await;
            fold_what_is_old(&store).await;
            assert_eq!(answers(&store).await, before);
        }
        assert!(rows_of_history(&store).await < 27, "a good deal was folded");
    }
}

/// What is stored, and what was chosen and known at some times of the last three days.
async fn answers(store: &Preferences) -> Vec<Value> {
    let mut answers = store.find(json!({})).await;
    let now = store.server.clock.now();
    for (chosen, known) in [
        (0, 0),
        (10, 0),
        (30, 0),
        (71, 0),
        (10, 10),
        (30, 20),
        (71, 30),
        (71, 71),
        (20, 71),
    ] {
        let ago = |hours: i64| json!((now - jiff::SignedDuration::from_hours(hours)).to_string());
        let (status, answer) = store
            .query(
                SHOP,
                json!({"filter": {}, "limit": 100, "asOf": ago(chosen), "knownAt": ago(known)}),
            )
            .await;
        assert_eq!(status, 200, "{answer}");
        answers.push(answer["nodes"].clone());
    }
    answers
}
