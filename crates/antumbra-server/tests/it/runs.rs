//! Silo runs from outside: notices as a receiver reads them, and what silos report.

use std::time::Duration;

use antumbra_crypto::token::VerifyingKey;
use antumbra_server::{
    api_keys::ScopeName,
    dsr::{self, DsrId},
    http::Access,
    jobs::{Runner, Wake},
    keyring::{self, KeyKind},
    organization::Action,
    runs::{self, RunStatus, Verdict},
    silos,
};
use futures_util::future::join_all;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    manage::manage,
    receiver::status,
    rows::rows_of,
    story::{self, CORE, EMAIL, Story},
};

mod absence;
mod closing;
mod course;
mod notices;
mod reports;
mod rests;
mod vendors;
mod work_lists;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn expect(answer: Response, status: u16) -> Value {
    let got = answer.status();
    let body = answer.text().await.unwrap();
    assert_eq!(got, status, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Bytes that look like nothing, the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}

#[tokio::test]
async fn a_request_is_worked_by_its_silo_reviewed_and_downloaded_byte_for_byte() {
    let story = Story::with_data_points(&["profile", "orders", "photo"]).await;
    let request = story.submit(Action::Access).await;
    let notice = story.receiver.take_one();
    let nonce = notice.nonce();
    assert_eq!(story.run_of(request).await.status(), RunStatus::Waiting);

    // As the examples do: JSON and a file side by side, with one nonce.
    let photo = noise(3_000_000);
    let (json, file) = tokio::join!(
        story.post_data(
            &nonce,
            json!({ "profiles": [{ "profileId": EMAIL, "profileData": {
                "profile": { "displayName": "Robin H." },
                "orders": [{ "number": "SO-1182", "total": 48.20 }],
            } }] })
        ),
        story.post_file(
            &nonce,
            "photo",
            &[("x-transcend-remote-id", "avatar.png")],
            photo.clone()
        ),
    );
    assert_eq!(expect(json, 200).await, json!({ "success": true }));
    assert_eq!(expect(file, 200).await, json!({ "success": true }));
    assert_eq!(story.run_of(request).await.status(), RunStatus::Resolved);
    assert_eq!(story.status_of(request).await, "APPROVING");

    story
        .administrate(async |tx, deed| dsr::approve(tx, deed, request).await)
        .await;
    assert_eq!(story.status_of(request).await, "DOWNLOADABLE");
    let files = story.files_of(request).await;
    let mut names: Vec<&str> = files.iter().map(|file| file["fileName"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["orders/orders.json", "photo/avatar.png", "profile/profile.json"]
    );
    for file in &files {
        let bytes = story.download(file).await;
        assert_eq!(file["size"], bytes.len());
        match file["fileName"].as_str().unwrap() {
            "photo/avatar.png" => assert!(bytes == photo, "the photo has changed on its way"),
            "orders/orders.json" => assert_eq!(bytes, br#"[{"number":"SO-1182","total":48.2}]"#),
            _ => assert_eq!(bytes, br#"{"displayName":"Robin H."}"#),
        }
    }
}
