//! Webhooks for changes: signed, in order, at least once.

use std::time::Duration;

use antumbra_crypto::{Key32, webhook};
use antumbra_server::{
    ServerConfig,
    config::{RunJobs, WebhookConfig},
    preferences,
    silos::address::Network,
};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;
use crate::support::{
    manage::{manage, manage_refused},
    receiver::{Notice, Receiver, status},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// The store with a receiver that is told of what changes in the shop.
struct Told {
    store: Preferences,
    admin: String,
    receiver: Receiver,
    id: String,
    secret: String,
}

impl Told {
    async fn start() -> Told {
        let config = ServerConfig {
            run_jobs: RunJobs::WhenAsked,
            webhooks: WebhookConfig {
                allowed_networks: Network::LOOPBACK.to_vec(),
                ..WebhookConfig::default()
            },
            ..ServerConfig::default()
        };
        let server = TestServer::with(config).await;
        configure(&server, server.organization, &[SHOP, GAMES]).await;
        let key = server.key(&[ScopeName::ManageStoredPreferences]).await;
        let admin = server.key(&[ScopeName::ManagePreferenceStoreSettings]).await;
        let receiver = Receiver::start().await;
        let made = create(&server, &admin, &receiver.url()).await;
        let text = |pointer: &str| made.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        Told {
            id: text("/preferenceChangeWebhook/id"),
            secret: text("/secret"),
            store: Preferences { server, key },
            admin,
            receiver,
        }
    }

    async fn choose(&self, who: &str, enabled: bool, at: &str) {
        self.store.record_choice(who, "Analytics", enabled, at).await;
    }

    async fn pass(&self, time: Duration) {
        self.store.server.pass(time).await;
    }
}

async fn create(server: &TestServer, key: &str, url: &str) -> Value {
    let input = format!("input: {{url: \"{url}\", partition: \"{SHOP}\"}}");
    let wanted = "preferenceChangeWebhook { id url partition failures } secret";
    manage(
        server,
        key,
        &format!("mutation {{ createPreferenceChangeWebhook({input}) {{ {wanted} }} }}"),
    )
    .await
}

/// Whose changes a message is about.
fn people(notice: &Notice) -> Vec<String> {
    let body = notice.json();
    let changes = body["data"]["changes"].as_array().unwrap();
    let people = changes
        .iter()
        .map(|change| change["identifiers"][0]["value"].as_str().unwrap());
    people.map(str::to_owned).collect()
}

/// The signature that a receiver works out for itself.
fn expected_signature(notice: &Notice, secret: &str) -> String {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = Key32::from_slice(&key).unwrap();
    let id = notice.header("webhook-id").unwrap();
    let at = notice.header("webhook-timestamp").unwrap().parse().unwrap();
    webhook::sign(&key, id, at, &notice.body)
}

#[tokio::test]
async fn a_receiver_is_told_of_changes_and_can_tell_that_they_are_ours() {
    let told = Told::start().await;
    told.choose("ada@example.test", true, "2026-02-03T10:00:00Z").await;
    told.choose("bea@example.test", false, "2026-02-03T10:00:00Z").await;
    told.store.server.run_jobs_until_idle().await;
    let notice = told.receiver.take_one();
    assert_eq!(people(&notice), ["ada@example.test", "bea@example.test"]);
    let body = notice.json();
    assert_eq!(body["type"], "preferences.changed");
    let read: Vec<Value> = body["data"]["changes"].as_array().unwrap().clone();
    assert_eq!(read[1]["changes"][0]["current"], false);
    assert_eq!(notice.header("webhook-timestamp"), Some("1772445600"));
    assert_eq!(
        notice.header("webhook-signature"),
        Some(expected_signature(&notice, &told.secret).as_str())
    );
    // Nothing more is said until there is more to say.
    told.pass(Duration::from_secs(48 * 3600)).await;
    assert!(told.receiver.take().is_empty());
    told.choose("ada@example.test", false, "2026-02-04T10:00:00Z").await;
    told.store.server.run_jobs_until_idle().await;
    let next = told.receiver.take_one();
    assert_eq!(people(&next), ["ada@example.test"]);
    assert_ne!(next.header("webhook-id"), notice.header("webhook-id"));
}

#[tokio::test]
async fn what_is_not_accepted_comes_again_as_it_was_before_anything_newer() {
    let told = Told::start().await;
    told.receiver.answers(status(503));
    told.choose("ada@example.test", true, "2026-02-03T10:00:00Z").await;
    told.store.server.run_jobs_until_idle().await;
    let first = told.receiver.take_one();
    told.choose("bea@example.test", true, "2026-02-03T10:00:00Z").await;
    told.store.server.run_jobs_until_idle().await;
    assert!(told.receiver.take().is_empty(), "its time has not come");
    let query = "{ preferenceChangeWebhooks { nodes { url partition failures } } }";
    let listed = manage(&told.store.server, &told.admin, query).await;
    assert_eq!(
        listed["nodes"],
        json!([{"url": told.receiver.url(), "partition": SHOP, "failures": 1}])
    );
    told.pass(HOUR).await;
    let second = told.receiver.take_one();
    told.pass(HOUR / 2).await;
    assert!(told.receiver.take().is_empty(), "its time has not come");
    told.receiver.answers(status(204));
    told.pass(HOUR / 2).await;
    let notices = told.receiver.take();
    assert_eq!(notices.len(), 2);
    for again in [&second, &notices[0]] {
        assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(again.body, first.body);
        let signature = expected_signature(again, &told.secret);
        assert_eq!(again.header("webhook-signature"), Some(signature.as_str()));
    }
    assert_eq!(people(&notices[1]), ["bea@example.test"]);
    let listed = manage(&told.store.server, &told.admin, query).await;
    assert_eq!(listed["nodes"][0]["failures"], 0);
}

#[tokio::test]
async fn a_receiver_is_told_again_as_the_settings_of_webhooks_say_and_as_it_asks_for_itself() {
    let told = Told::start().await;
    told.receiver.answers(status(503));
    told.choose("ada@example.test", true, "2026-02-03T10:00:00Z").await;
    told.store.server.run_jobs_until_idle().await;
    assert_eq!(told.receiver.take().len(), 1);
    for _ in 1..5 {
        told.pass(HOUR).await;
        assert_eq!(told.receiver.take().len(), 1, "five tries, an hour apart");
    }
    told.pass(23 * HOUR).await;
    assert!(told.receiver.take().is_empty(), "then once a day");
    let asks = "HTTP/1.1 429 X\r\nretry-after: 90\r\ncontent-length: 0\r\n\r\n";
    told.receiver.answers(asks.into());
    told.pass(HOUR).await;
    assert_eq!(told.receiver.take().len(), 1);
    told.pass(Duration::from_secs(89)).await;
    assert!(told.receiver.take().is_empty());
    told.receiver.answers(status(204));
    told.pass(Duration::from_secs(1)).await;
    assert_eq!(people(&told.receiver.take_one()), ["ada@example.test"]);
}

#[tokio::test]
async fn a_receiver_that_missed_changes_is_told_how_many_before_it_is_told_more() {
    let told = Told::start().await;
    let server = &told.store.server;
    told.receiver.answers(status(503));
    for who in ["ada@example.test", "bea@example.test"] {
        told.choose(who, true, "2026-02-03T10:00:00Z").await;
        server.run_jobs_until_idle().await;
    }
    told.receiver.take();
    server.clock.advance(31 * 24 * HOUR);
    preferences::expire_changes(server.app()).await.unwrap();
    told.choose("cyd@example.test", true, "2026-02-03T10:00:00Z").await;
    server.run_jobs_until_idle().await;
    let refused = told.receiver.take_one();
    told.receiver.answers(status(204));
    told.pass(24 * HOUR).await;
    let [gap, changes] = &told.receiver.take()[..] else {
        panic!("the gap, and what came after it");
    };
    let body = gap.json();
    let cursor = &body["data"]["cursor"];
    let data = json!({"partition": SHOP, "expired": 2, "cursor": cursor});
    assert_eq!(body, json!({"type": "preferences.gap", "data": data}));
    let path = format!("/v1/preferences/{SHOP}/changes?after={}", cursor.as_str().unwrap());
    let read = server.client().get(server.url(&path)).bearer_auth(&told.store.key);
    let read = read.send().await.unwrap().text().await.unwrap();
    assert_eq!(
        (read.lines().count(), read.contains("cyd@example.test")),
        (1, true),
        "{read}"
    );
    assert_eq!(
        (&refused.body, refused.header("webhook-id")),
        (&gap.body, gap.header("webhook-id"))
    );
    let signature = expected_signature(gap, &told.secret);
    assert_eq!(gap.header("webhook-signature"), Some(signature.as_str()));
    assert_eq!(people(changes), ["cyd@example.test"]);
    told.pass(48 * HOUR).await;
    assert!(told.receiver.take().is_empty());
}

#[tokio::test]
async fn many_changes_come_in_messages_of_a_hundred_and_in_order() {
    let told = Told::start().await;
    for batch in 0..3 {
        let records: Vec<Value> = (0..75)
            .map(|n| in_shop(json!({"identifiers": [email_of(&format!("p{batch}-{n:02}@example.test"))]})))
            .collect();
        assert_eq!(told.store.upsert(json!({"records": records})).await.0, 200);
    }
    told.store.server.run_jobs_until_idle().await;
    let messages: Vec<Vec<String>> = told.receiver.take().iter().map(people).collect();
    let lengths: Vec<usize> = messages.iter().map(Vec::len).collect();
    assert_eq!(lengths, [100, 100, 25]);
    let expected = (0..3).flat_map(|batch| (0..75).map(move |n| format!("p{batch}-{n:02}@example.test")));
    assert_eq!(messages.concat(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receiver_hears_nothing_of_other_partitions_of_earlier_changes_and_after_it_was_deleted() {
    let told = Told::start().await;
    let elsewhere =
        json!({"partition": GAMES, "identifiers": [email_of("ada@example.test")], "timestamp": "2026-02-03T10:00:00Z"});
    assert_eq!(told.store.upsert(json!({"records": [elsewhere]})).await.0, 200);
    told.store.server.run_jobs_until_idle().await;
    assert!(told.receiver.take().is_empty());
    told.receiver.answers(status(500));
    told.choose("ada@example.test", true, "2026-02-03T10:00:00Z").await;
    told.store.server.run_jobs_until_idle().await;
    told.receiver.take_one();
    let later = Receiver::start().await;
    create(&told.store.server, &told.admin, &later.url()).await;
    let delete = format!(
        "mutation {{ deletePreferenceChangeWebhook(input: {{id: \"{}\"}}) {{ clientMutationId }} }}",
        told.id
    );
    manage(&told.store.server, &told.admin, &delete).await;
    assert!(
        manage_refused(&told.store.server, &told.admin, &delete)
            .await
            .contains("webhook")
    );
    told.pass(Duration::from_secs(24 * 3600)).await;
    assert!(told.receiver.take().is_empty());
    assert!(later.take().is_empty());
    told.choose("bea@example.test", true, "2026-02-03T10:00:00Z").await;
    told.store.server.run_jobs_until_idle().await;
    assert_eq!(people(&later.take_one()), ["bea@example.test"]);
    let keys = rows_of(&told.store.server, "silo_keys").await;
    assert_eq!(keys.len(), 1, "the key of the webhook that was deleted is gone");
}

#[tokio::test]
async fn an_address_that_may_not_be_called_and_a_partition_that_does_not_exist_are_refused() {
    let told = Told::start().await;
    for (url, partition) in [
        ("http://10.0.0.1/", SHOP),
        ("http://[::ffff:169.254.169.254]/", SHOP),
        ("ftp://example.test/", SHOP),
        ("nowhere", SHOP),
        ("https://hook.example.test/", "nowhere"),
    ] {
        let input = format!("input: {{url: \"{url}\", partition: \"{partition}\"}}");
        let document = format!("mutation {{ createPreferenceChangeWebhook({input}) {{ secret }} }}");
        manage_refused(&told.store.server, &told.admin, &document).await;
    }
}

#[tokio::test]
async fn neither_the_address_nor_the_secret_of_a_webhook_stands_in_a_table() {
    let told = Told::start().await;
    create(
        &told.store.server,
        &told.admin,
        "https://hook.example.test/canary-of-an-address",
    )
    .await;
    let key = STANDARD.decode(told.secret.strip_prefix("whsec_").unwrap()).unwrap();
    for table in antumbra_server::tables() {
        for (_, row) in rows_of(&told.store.server, table).await {
            let holds = |part: &[u8]| row.windows(part.len()).any(|window| window == part);
            assert!(!holds(b"canary-of-an-address") && !holds(&key), "{table}");
        }
    }
}
