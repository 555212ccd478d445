//! What a silo that is not noticed reads instead.

use super::*;

#[tokio::test]
async fn a_cron_silo_reads_its_work_oldest_first_until_there_is_none() {
    let story = Story::with_data_points(&[]).await;
    let server = &story.server;
    let cron = story::add_silo(server, "Warehouse", None, &[]).await;
    let cron = Story {
        silo: cron,
        silo_key: server.key_for(&[], &[cron]).await,
        ..story
    };
    let mut made = Vec::new();
    for person in 0..5 {
        made.push(
            cron.submit_about(
                Action::Erasure,
                &format!("core-{person}"),
                &format!("{person}@example.test"),
            )
            .await,
        );
        cron.server.clock.advance(HOUR);
    }
    cron.server.run_jobs_until_idle().await;
    assert!(cron.pending(Action::Access, "").await.is_empty());
    let items = cron.pending(Action::Erasure, "").await;
    let ids: Vec<String> = items
        .iter()
        .map(|item| item["requestId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, made.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut first = items[0].clone();
    assert!(first["nonce"].as_str().is_some_and(|nonce| nonce.len() > 100));
    first.as_object_mut().unwrap().remove("nonce");
    assert_eq!(
        first,
        json!({
            "identifier": "0@example.test",
            "type": "email",
            "coreIdentifier": "core-0",
            "dataSiloId": cron.silo.0.to_string(),
            "requestId": made[0].to_string(),
            "requestCreatedAt": "2026-03-02T10:00:00.000Z",
            "daysUntilOverdue": 45,
            "attributes": [],
            "dataSubjectType": "customer",
            "locale": "en-GB",
            "country": "US",
            "countrySubDivision": "US-CA",
            "partition": null,
        })
    );
    let page = cron.pending(Action::Erasure, "?limit=2&offset=3").await;
    assert_eq!(
        page.iter().map(|item| &item["coreIdentifier"]).collect::<Vec<_>>(),
        ["core-3", "core-4"]
    );
    assert!(cron.pending(Action::Erasure, "?offset=99").await.is_empty());
    for bad in [
        "?limit=0",
        "?limit=5001",
        "?limit=-1",
        "?limit=abc",
        "?offset=-1",
        "?offset=x",
    ] {
        expect(cron.pending_raw("ERASURE", bad).await, 400).await;
    }
    assert_eq!(cron.pending_raw("ERASURE", "?limit=5000").await.status(), 200);
    expect(cron.pending_raw("PURGE", "").await, 400).await;

    // As the examples do: the first page, all of it, until the list is empty.
    let mut rounds = 0;
    loop {
        let items = cron.pending(Action::Erasure, "?limit=2").await;
        if items.is_empty() {
            break;
        }
        rounds += 1;
        for item in items {
            let report = json!({ "profiles": [{ "profileId": item["identifier"] }] });
            expect(cron.put_report(item["nonce"].as_str().unwrap(), report).await, 200).await;
        }
    }
    assert_eq!(rounds, 3);
}

#[tokio::test]
async fn what_is_reported_undone_leaves_the_work_list_until_its_window_so_that_the_loop_ends() {
    let story = Story::with_data_points(&[]).await;
    let cron = story::add_silo(&story.server, "Warehouse", None, &[]).await;
    let cron = Story {
        silo: cron,
        silo_key: story.server.key_for(&[], &[cron]).await,
        ..story
    };
    let reports = [
        json!({ "status": "ACTION_REQUIRED" }),
        json!({ "profileStatus": "ERROR" }),
        json!({ "status": "WAITING" }),
        json!({ "status": "WAITING", "retryAfterDate": "2026-03-01T00:00:00.000Z" }),
        json!({ "status": "WAITING", "retryAfterDate": "2026-03-05T10:00:00.000Z" }),
        json!({ "status": "WAITING", "pollId": "job-1" }),
    ];
    for person in 0..reports.len() {
        let core = format!("core-{person}");
        cron.submit_about(Action::Erasure, &core, &format!("{person}@example.test"))
            .await;
    }
    cron.server.run_jobs_until_idle().await;
    let mut rounds = 0;
    loop {
        let items = cron.pending(Action::Erasure, "?limit=4").await;
        if items.is_empty() {
            break;
        }
        rounds += 1;
        assert!(rounds <= 2, "{items:?}");
        for item in items {
            let person: usize = item["coreIdentifier"].as_str().unwrap()[5..].parse().unwrap();
            let report = reports[person].clone();
            expect(cron.put_report(item["nonce"].as_str().unwrap(), report).await, 200).await;
        }
    }
    let shown = async || {
        let items = cron.pending(Action::Erasure, "").await;
        let cores = items
            .iter()
            .map(|item| item["coreIdentifier"].as_str().unwrap().to_owned());
        cores.collect::<Vec<_>>().join(" ")
    };
    cron.server.clock.advance(12 * HOUR);
    assert_eq!(shown().await, "core-5", "what is polled for");
    cron.server.clock.advance(12 * HOUR);
    assert_eq!(shown().await, "core-1 core-2 core-3 core-5");
    cron.server.clock.advance(2 * DAY);
    assert_eq!(
        shown().await,
        "core-1 core-2 core-3 core-4 core-5",
        "the first waits for a person"
    );
    cron.server.settle().await;
}

#[tokio::test]
async fn a_work_list_is_shown_to_its_own_silo_only_and_says_when_work_is_late() {
    let story = Story::with_data_points(&[]).await;
    story.submit(Action::Erasure).await;
    story.server.clock.advance(55 * DAY);
    let items = story.pending(Action::Erasure, "").await;
    assert_eq!(items[0]["daysUntilOverdue"], -10);

    let path = |silo: uuid::Uuid| {
        story
            .server
            .url(&format!("/v1/data-silo/{silo}/pending-requests/ERASURE"))
    };
    let stranger = story.server.key_for(&[], &[]).await;
    let call = story.server.client().get(path(story.silo.0)).bearer_auth(&stranger);
    expect(call.send().await.unwrap(), 403).await;
    let call = story
        .server
        .client()
        .get(path(story::nobody()))
        .bearer_auth(&story.silo_key);
    expect(call.send().await.unwrap(), 404).await;
    let call = story
        .server
        .client()
        .get(story.server.url("/v1/data-silo/shop/pending-requests/ERASURE"));
    expect(call.bearer_auth(&story.silo_key).send().await.unwrap(), 400).await;
    story.server.settle().await;
}
