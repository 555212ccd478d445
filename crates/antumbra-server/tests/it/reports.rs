//! Reports from outside: the archive, the data subject's own link, and what is left once a request was shredded.

use std::{
    collections::BTreeSet,
    io::{Cursor, Read},
    time::Duration,
};

use antumbra_server::{
    dsr::{self, DsrId},
    files,
    organization::Action,
    retention,
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use zip::ZipArchive;

use crate::support::{
    manage::{manage, manage_refused},
    rows::rows_of,
    story::{EMAIL, Story},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// The verbs of reports.
pub trait Reports {
    async fn answered(&self, action: Action) -> DsrId;
    async fn delivered(&self) -> DsrId;
    async fn previewed(&self) -> DsrId;
    async fn manage(&self, document: &str) -> Value;
    async fn report(&self, request: DsrId) -> Response;
    async fn link(&self, request: DsrId) -> String;
    async fn open(&self, address: &str) -> (StatusCode, String);
    async fn post(&self, address: &str, form: &'static str) -> Response;
    async fn links(&self, request: DsrId) -> Value;
}

impl Reports for Story {
    /// A request about which the silo has handed over JSON and two files.
    async fn answered(&self, action: Action) -> DsrId {
        let request = self.submit(action).await;
        let nonce = self.receiver.take_one().nonce();
        for name in ["Photo.JPG", "photo.jpg"] {
            let named = [("x-transcend-remote-id", name)];
            let answer = self
                .post_file(&nonce, "photo", &named, name.repeat(50_000).into_bytes())
                .await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let data = json!({ "profiles": [{ "profileId": EMAIL, "profileData": { "profile": { "name": "Robin" } } }] });
        assert_eq!(self.post_data(&nonce, data).await.status(), StatusCode::OK);
        let done = json!({ "status": "READY" });
        self.put_report(&nonce, done).await;
        self.server.run_jobs_until_idle().await;
        assert_eq!(self.status_of(request).await, "APPROVING");
        request
    }

    async fn delivered(&self) -> DsrId {
        let request = self.answered(Action::Access).await;
        self.manage(&format!(
            "mutation {{ approveRequest(input: {{requestId: \"{request}\"}}) {{ request {{ id }} }} }}"
        ))
        .await;
        self.server.run_jobs_until_idle().await;
        request
    }

    /// An erasure that shows what it is going to erase.
    async fn previewed(&self) -> DsrId {
        let actions = self.manage("{ actions(first: 50) { nodes { id type } } }").await;
        let actions = actions["nodes"].as_array().unwrap();
        let erasure = actions.iter().find(|action| action["type"] == "ERASURE").unwrap();
        self.manage(&format!(
            "mutation {{ updateAction(input: {{id: {}, delay: {{time: 14, previewAction: ACCESS}}}}) {{ action {{ id }} }} }}",
            erasure["id"]
        ))
        .await;
        let request = self.answered(Action::Erasure).await;
        self.manage(&format!(
            "mutation {{ approveRequest(input: {{requestId: \"{request}\"}}) {{ request {{ id }} }} }}"
        ))
        .await;
        self.server.run_jobs_until_idle().await;
        assert_eq!(self.status_of(request).await, "DELAYED");
        request
    }

    async fn manage(&self, document: &str) -> Value {
        manage(&self.server, &self.admin_key, document).await
    }

    async fn report(&self, request: DsrId) -> Response {
        let path = format!("/v1/data-subject-request/{request}/report");
        let call = self.server.client().get(self.server.url(&path));
        call.bearer_auth(&self.admin_key).send().await.unwrap()
    }

    async fn link(&self, request: DsrId) -> String {
        let made = self
            .manage(&format!(
                "mutation {{ createRequestDownloadLink(input: {{requestId: \"{request}\"}}) {{ address link {{ id }} }} }}"
            ))
            .await;
        made["address"].as_str().unwrap().to_owned()
    }

    /// As a browser does: without a key.
    async fn open(&self, address: &str) -> (StatusCode, String) {
        let answer = self.server.client().get(address).send().await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        (answer.status(), answer.text().await.unwrap())
    }

    async fn post(&self, address: &str, form: &'static str) -> Response {
        let call = self.server.client().post(address).header(FORM.0, FORM.1);
        call.body(form).send().await.unwrap()
    }

    async fn links(&self, request: DsrId) -> Value {
        let fields = "id revokedAt openedCount downloadedCount lastOpenedAt lastDownloadedAt";
        let listed = self
            .manage(&format!(
                "{{ requestDownloadLinks(requestId: \"{request}\") {{ nodes {{ {fields} }} }} }}"
            ))
            .await;
        listed["nodes"].clone()
    }
}

fn text_of(archive: &mut ZipArchive<Cursor<Vec<u8>>>, name: &str) -> String {
    let mut text = String::new();
    archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// The random letters at the end of a link stand for nothing that is shown twice.
fn without_id(page: &str) -> &str {
    page.split("give this number").next().unwrap()
}

#[tokio::test]
async fn a_report_is_one_archive_whose_index_says_what_is_in_it() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let request = story.answered(Action::Access).await;
    let answer = story.report(request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/zip");
    let named = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert_eq!(named, format!("attachment; filename=\"report-{request}.zip\""));
    let bytes = answer.bytes().await.unwrap().to_vec();
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();

    let index: Value = serde_json::from_str(&text_of(&mut archive, "index.json")).unwrap();
    assert_eq!(index["request"]["id"], json!(request.to_string()));
    assert_eq!(
        (&index["request"]["type"], &index["request"]["status"]),
        (&json!("ACCESS"), &json!("APPROVING"))
    );
    let silo = &index["dataSilos"][0];
    assert_eq!(
        (&silo["title"], &silo["outcome"], &silo["identifiers"]),
        (&json!("Shop backend"), &json!("DATA"), &json!(["email"]))
    );
    let files = index["files"].as_array().unwrap().clone();
    assert_eq!(files.len(), 3);
    let mut folded = BTreeSet::new();
    for file in &files {
        let path = file["path"].as_str().unwrap();
        assert!(
            folded.insert(path.to_lowercase()),
            "{path} is another file's name on some disks"
        );
        let mut content = Vec::new();
        archive.by_name(path).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!(json!(content.len()), file["bytes"], "{path}");
        assert_eq!(file["dataSilo"]["title"], "Shop backend");
    }
    let page = text_of(&mut archive, "index.html");
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
    assert!(page.contains("Shop backend: photo") && page.contains("Data was found") && page.contains("href=\"./"));
    for personal in [EMAIL, "acct_"] {
        assert!(
            !page.contains(personal) && !index.to_string().contains(personal),
            "values are not told"
        );
    }
    assert_eq!(archive.len(), 5);
    story.server.settle().await;
}

#[tokio::test]
async fn a_report_is_there_only_while_its_files_are_shown() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let other = story
        .submit_about(Action::Access, "acct_other", "other@example.test")
        .await;
    story.server.run_jobs_until_idle().await;
    let answer = story.report(other).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT, "silos are at work");
    story
        .manage(&format!(
            "mutation {{ cancelRequest(input: {{requestId: \"{other}\"}}) {{ request {{ id }} }} }}"
        ))
        .await;
    story.receiver.take();
    let delivered = story.delivered().await;
    assert_eq!(story.report(delivered).await.status(), StatusCode::OK);
    let key = story.files_of(delivered).await.remove(0);
    let set = |at: &str| {
        format!(
            "mutation {{ updateRequest(input: {{id: \"{delivered}\", revokeDownloadAt: \"{at}\"}}) \
             {{ request {{ revokeDownloadAt }} }} }}"
        )
    };
    // Later than usual: two weeks become more.
    story.manage(&set("2026-06-01T00:00:00.000Z")).await;
    story.server.pass(20 * DAY).await;
    assert_eq!(story.status_of(delivered).await, "DOWNLOADABLE");
    assert_eq!(story.report(delivered).await.status(), StatusCode::OK);
    // And now it is over.
    story.manage(&set("2026-01-01T00:00:00.000Z")).await;
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.status_of(delivered).await, "COMPLETED");
    let refused = story.report(delivered).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(refused.text().await.unwrap().contains("fileMetadata#verify"));
    assert_eq!(story.files_of(delivered).await, Vec::<Value>::new());
    let path = format!("/v1/files?downloadKey={}", key["downloadKey"].as_str().unwrap());
    let call = story
        .server
        .client()
        .get(story.server.url(&path))
        .bearer_auth(&story.admin_key);
    assert!(
        call.send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("fileMetadata#verify")
    );
}

#[tokio::test]
async fn a_damaged_file_breaks_the_archive_off() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let request = story.answered(Action::Access).await;
    let mut blobs = Vec::new();
    files_under(&story.server.folder().join("blobs"), &mut blobs);
    let largest = blobs
        .into_iter()
        .max_by_key(|path| std::fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    // What is good comes first, unless the connection is gone before any of it was on its way.
    let path = format!("/v1/data-subject-request/{request}/report");
    let call = story.server.client().get(story.server.url(&path));
    if let Ok(answer) = call.bearer_auth(&story.admin_key).send().await {
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.bytes().await.is_err(), "nobody takes what comes for the whole");
    }
}

fn files_under(folder: &std::path::Path, into: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files_under(&path, into),
            false => into.push(path),
        }
    }
}

#[tokio::test]
async fn a_link_shows_and_gives_the_report_until_it_is_taken_back() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let request = story.delivered().await;
    let (kept, revoked) = (story.link(request).await, story.link(request).await);
    let token = kept.rsplit_once("/report/").unwrap().1.to_owned();
    assert_eq!(token.len(), 43);

    let (status, page) = story.open(&kept).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("Your data") && page.contains("Photo.JPG") && page.contains("Available until"),
        "{page}"
    );
    assert!(!page.contains(EMAIL) && !page.contains("<script"));

    let answer = story.post(&format!("{kept}/download"), "").await;
    assert_eq!(answer.headers()["content-type"], "application/zip");
    let archive = ZipArchive::new(Cursor::new(answer.bytes().await.unwrap().to_vec())).unwrap();
    assert_eq!(archive.len(), 5);

    let listed = story.links(request).await;
    assert_eq!(
        (&listed[0]["openedCount"], &listed[0]["downloadedCount"]),
        (&json!(1), &json!(1))
    );
    assert!(listed[0]["lastDownloadedAt"].is_string() && listed[1]["lastOpenedAt"].is_null());
    assert!(!rows_of(&story.server, "dsr_links").await.iter().any(|(key, value)| {
        [key, value]
            .iter()
            .any(|bytes| bytes.windows(43).any(|window| window == token.as_bytes()))
    }));

    let second = &listed[1]["id"];
    let revoke =
        format!("revokeRequestDownloadLinks(input: {{requestId: \"{request}\", linkId: {second}}}) {{ count }}");
    assert_eq!(story.manage(&format!("mutation {{ {revoke} }}")).await["count"], 1);
    assert_eq!(story.manage(&format!("mutation {{ {revoke} }}")).await["count"], 0);

    // Unknown, taken back, expired: one answer.
    let unknown = story.server.url(&format!("/report/{}", "x".repeat(43)));
    let (status, never) = story.open(&unknown).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, taken_back) = story.open(&revoked).await;
    assert_eq!(
        (status, without_id(&taken_back)),
        (StatusCode::NOT_FOUND, without_id(&never))
    );
    assert_eq!(story.open(&kept).await.0, StatusCode::OK);
    story.server.pass(15 * DAY).await;
    let (status, expired) = story.open(&kept).await;
    assert_eq!(
        (status, without_id(&expired)),
        (StatusCode::NOT_FOUND, without_id(&never))
    );
    let answer = story.post(&format!("{kept}/download"), "").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

/// Stored bodies of this server that the process has open.
#[tokio::test]
async fn a_system_that_somebody_left_out_is_not_said_to_hold_nothing() {
    let story = Story::with_data_points(&["profile"]).await;
    let request = story.submit(Action::Access).await;
    let run = story.run_of(request).await.id.0;
    let skip = format!("{{id: \"{run}\", status: SKIPPED}}");
    let skip = format!("mutation {{ changeRequestDataSiloStatus(input: {skip}) {{ clientMutationId }} }}");
    story.manage(&skip).await;
    story.server.run_jobs_until_idle().await;
    let approve = format!("mutation {{ approveRequest(input: {{requestId: \"{request}\"}}) {{ request {{ id }} }} }}");
    story.manage(&approve).await;
    story.server.run_jobs_until_idle().await;
    let archive = story.report(request).await.bytes().await.unwrap().to_vec();
    let mut archive = ZipArchive::new(Cursor::new(archive)).unwrap();
    let index: Value = serde_json::from_str(&text_of(&mut archive, "index.json")).unwrap();
    assert_eq!(index["dataSilos"][0]["outcome"], "LEFT_OUT", "{index}");
    assert!(text_of(&mut archive, "index.html").contains("Not searched"));
}

#[cfg(target_os = "linux")]
fn open_bodies(story: &Story) -> usize {
    let folder = story.server.folder().join("blobs");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| path.starts_with(&folder))
        .count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_leaves_midway_leaves_nothing_open_and_is_counted_once() {
    let story = Story::with_data_points(&["photo"]).await;
    let request = story.submit(Action::Access).await;
    let nonce = story.receiver.take_one().nonce();
    // More than is read ahead and the buffers between server and client take.
    let named = [("x-transcend-remote-id", "large.jpg")];
    let sent = story.post_file(&nonce, "photo", &named, vec![7; 80 << 20]).await;
    assert_eq!(sent.status(), StatusCode::OK);
    story.put_report(&nonce, json!({ "status": "READY" })).await;
    story.server.run_jobs_until_idle().await;
    let approve = format!("mutation {{ approveRequest(input: {{requestId: \"{request}\"}}) {{ request {{ id }} }} }}");
    story.manage(&approve).await;
    story.server.run_jobs_until_idle().await;
    let address = story.link(request).await;
    let mut answer = story.post(&format!("{address}/download"), "").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let mut read = 0;
    while read < 4 << 20 {
        read += answer.chunk().await.unwrap().unwrap().len();
    }
    drop(answer);
    let closed = async {
        while open_bodies(&story) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.unwrap();
    assert_eq!(story.links(request).await[0]["downloadedCount"], 1);
}

#[tokio::test]
async fn an_address_that_tries_many_tokens_is_made_to_wait() {
    let story = Story::with_data_points(&[]).await;
    let unknown = story.server.url("/report/not-a-token");
    for _ in 0..60 {
        assert_eq!(story.open(&unknown).await.0, StatusCode::NOT_FOUND);
    }
    let (status, page) = story.open(&unknown).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.contains("Please try again in a moment"));
}

#[tokio::test]
async fn a_person_sees_what_is_going_to_be_erased_and_can_stop_it() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let request = story.previewed().await;
    let address = story.link(request).await;
    let (_, page) = story.open(&address).await;
    assert!(
        page.contains("Data that is going to be erased") && page.contains("Photo.JPG"),
        "{page}"
    );

    let withdrawal = format!("{address}/withdraw");
    let unsure = story.post(&withdrawal, "").await.text().await.unwrap();
    assert!(unsure.contains("Nothing has changed"), "{unsure}");
    assert_eq!(story.status_of(request).await, "DELAYED");
    let sure = story.post(&withdrawal, "confirm=yes").await.text().await.unwrap();
    assert!(sure.contains("Your request is withdrawn"), "{sure}");
    assert_eq!(story.status_of(request).await, "REVOKED");
    assert_eq!(story.open(&address).await.0, StatusCode::NOT_FOUND);
    story.server.run_jobs_until_idle().await;
    assert!(
        rows_of(&story.server, "files").await.is_empty(),
        "nobody sees the preview any more"
    );
    story.server.pass(30 * DAY).await;
    assert_eq!(story.status_of(request).await, "REVOKED");
}

#[tokio::test]
async fn an_erasure_that_is_parked_past_its_delay_can_still_be_stopped_and_for_a_day_after() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let request = story.previewed().await;
    let address = story.link(request).await;
    story
        .administrate(async |tx, deed| dsr::hold(tx, deed, request).await)
        .await;
    story.server.pass(20 * DAY).await;
    let (status, page) = story.open(&address).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("/withdraw") && page.contains("2026-03-23"), "{page}");
    story
        .administrate(async |tx, deed| dsr::resume(tx, deed, request).await)
        .await;
    story.server.pass(DAY / 2).await;
    assert_eq!(story.status_of(request).await, "DELAYED");
    let sure = story.post(&format!("{address}/withdraw"), "confirm=yes").await;
    assert!(sure.text().await.unwrap().contains("Your request is withdrawn"));
    assert_eq!(story.status_of(request).await, "REVOKED");
    story.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn categories_are_shown_without_files() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let actions = story.manage("{ actions(first: 50) { nodes { id type } } }").await;
    let access = actions["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|action| action["type"] == "ACCESS")
        .unwrap()
        .clone();
    story
        .manage(&format!(
            "mutation {{ updateAction(input: {{id: {}, postCompileStatus: VIEW_CATEGORIES}}) {{ action {{ id }} }} }}",
            access["id"]
        ))
        .await;
    let request = story.delivered().await;
    assert_eq!(story.status_of(request).await, "VIEW_CATEGORIES");
    let address = story.link(request).await;
    let (_, page) = story.open(&address).await;
    assert!(
        page.contains("Categories of your data") && !page.contains("Photo.JPG"),
        "{page}"
    );
    let answer = story.post(&format!("{address}/download"), "").await;
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    story.server.settle().await;
}

/// Every byte by which the person could be read or found.
async fn telling_of(story: &Story) -> Vec<(&'static str, Vec<u8>)> {
    let mut telling = Vec::new();
    for table in ["request_keys", "dsr_subjects", "files"] {
        let rows = rows_of(&story.server, table).await;
        telling.extend(rows.into_iter().map(|(_, value)| (table, value)));
    }
    for table in [
        "dsrs_by_core_identifier",
        "file_names",
        "dsr_link_places",
        "handed_over_files",
    ] {
        let rows = rows_of(&story.server, table).await;
        let places = rows.into_iter().flat_map(|(key, _)| {
            // Organizations and requests may be told of; the blind index beside them may not.
            let at = match table {
                "dsr_link_places" => 0,
                "dsrs_by_core_identifier" => 16,
                "file_names" => 32,
                _ => key.len() - 16,
            };
            key.get(at..at + 16).map(|blind| (table, blind.to_vec()))
        });
        telling.extend(places);
    }
    telling
}

#[tokio::test]
async fn nothing_of_a_person_is_left_when_their_request_is_old_enough() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    story
        .manage("mutation { updateRetention(input: {kind: DELETE_PERSONAL_DATA, afterDays: 100}) { retention { afterDays } } }")
        .await;
    let request = story.delivered().await;
    let address = story.link(request).await;
    let file = story.files_of(request).await.remove(0);
    story.server.pass(15 * DAY).await;
    assert_eq!(story.status_of(request).await, "COMPLETED");
    let telling = telling_of(&story).await;
    assert!(telling.len() >= 8, "{}", telling.len());
    let mut blobs = Vec::new();
    files_under(&story.server.folder().join("blobs"), &mut blobs);
    assert!(!blobs.is_empty());

    story.server.pass(80 * DAY).await;
    retention::keep(story.server.app()).await.unwrap();
    story.server.run_jobs_until_idle().await;
    assert_eq!(
        rows_of(&story.server, "request_keys").await.len(),
        1,
        "not before its time"
    );
    story.server.pass(6 * DAY).await;
    retention::keep(story.server.app()).await.unwrap();
    retention::keep(story.server.app()).await.unwrap();
    story.server.run_jobs_until_idle().await;
    files::sweep(story.server.app()).await.unwrap();

    for table in antumbra_server::tables() {
        for (key, value) in rows_of(&story.server, table).await {
            for (from, bytes) in &telling {
                let holds = |place: &[u8]| place.windows(bytes.len()).any(|window| window == &bytes[..]);
                assert!(!holds(&key) && !holds(&value), "{table} still has what stood in {from}");
            }
        }
    }
    let mut blobs = Vec::new();
    files_under(&story.server.folder().join("blobs"), &mut blobs);
    assert!(blobs.is_empty(), "{blobs:?}");

    // The bare record, and what proves that the rest is gone.
    let left = story
        .manage(&format!(
            "{{ request(id: \"{request}\") {{ type status coreIdentifier email country personalDataDeletedAt successfullyCompletedAt }} }}"
        ))
        .await;
    assert_eq!(
        (
            &left["type"],
            &left["status"],
            &left["coreIdentifier"],
            &left["email"],
            &left["country"]
        ),
        (
            &json!("ACCESS"),
            &json!("COMPLETED"),
            &json!(""),
            &Value::Null,
            &Value::Null
        )
    );
    assert!(left["personalDataDeletedAt"].is_string() && left["successfullyCompletedAt"].is_string());
    let mut reader = story.server.app().store.begin_read().await.unwrap();
    let log = antumbra_server::audit::list(&mut reader, story.organization(), None, 100)
        .await
        .unwrap();
    drop(reader);
    let proof: Vec<_> = log.iter().filter(|(_, entry)| entry.action == "dsr.shredded").collect();
    assert_eq!(proof.len(), 1);
    let said: BTreeSet<&str> = proof[0].1.details.iter().map(|(name, _)| name.as_ref()).collect();
    assert!(
        said.contains("key") && said.iter().any(|name| name.starts_with("out_of_reach_after")),
        "{said:?}"
    );

    // Who comes late is told so.
    assert_eq!(story.files_of(request).await, Vec::<Value>::new());
    let path = format!("/v1/files?downloadKey={}", file["downloadKey"].as_str().unwrap());
    let call = story
        .server
        .client()
        .get(story.server.url(&path))
        .bearer_auth(&story.admin_key);
    assert!(
        call.send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("fileMetadata#verify")
    );
    assert!(
        story
            .report(request)
            .await
            .text()
            .await
            .unwrap()
            .contains("fileMetadata#verify")
    );
    assert_eq!(story.open(&address).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_request_is_shredded_on_demand_once_it_is_over_and_may_go_as_a_whole() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let open = story.answered(Action::Access).await;
    let shred = |id: DsrId| {
        format!("mutation {{ shredRequest(input: {{id: \"{id}\"}}) {{ request {{ personalDataDeletedAt }} }} }}")
    };
    let refused = manage_refused(&story.server, &story.admin_key, &shred(open)).await;
    assert!(refused.contains("must be over"), "{refused}");
    story
        .manage(&format!(
            "mutation {{ cancelRequest(input: {{requestId: \"{open}\"}}) {{ request {{ id }} }} }}"
        ))
        .await;
    let first = story.manage(&shred(open)).await;
    assert!(first["request"]["personalDataDeletedAt"].is_string());
    story.server.run_jobs_until_idle().await;
    assert_eq!(story.manage(&shred(open)).await, first, "once is enough");
    for table in [
        "request_keys",
        "dsr_subjects",
        "files",
        "file_names",
        "reserved_ivs",
        "handed_over_files",
    ] {
        assert!(rows_of(&story.server, table).await.is_empty(), "{table}");
    }
    assert_eq!(
        rows_of(&story.server, "silo_runs").await.len(),
        1,
        "that a silo was asked stays"
    );

    let retention = "updateRetention(input: {kind: DELETE_REQUEST, afterDays: 1}) { retention { kind } }";
    story.manage(&format!("mutation {{ {retention} }}")).await;
    let whole = story.delivered().await;
    story.server.pass(30 * DAY).await;
    retention::keep(story.server.app()).await.unwrap();
    story.server.run_jobs_until_idle().await;
    for table in [
        "dsrs",
        "dsrs_by_created",
        "dsrs_by_status",
        "silo_runs",
        "silo_run_requests",
    ] {
        let rows = rows_of(&story.server, table).await;
        let names = |key: &[u8]| key.windows(16).any(|window| window == whole.0.as_bytes());
        assert!(!rows.iter().any(|(key, _)| names(key)), "{table}");
    }
    for document in [
        "updateRetention(input: {afterDays: 0}) { clientMutationId }",
        "updateRetention(input: {afterDays: 4000}) { clientMutationId }",
    ] {
        let refused = manage_refused(&story.server, &story.admin_key, &format!("mutation {{ {document} }}")).await;
        assert!(refused.contains("afterDays"), "{refused}");
    }
}

#[tokio::test]
async fn what_must_be_kept_for_a_legal_hold_is_shredded_only_once_the_hold_is_over() {
    let story = Story::with_data_points(&["profile", "photo"]).await;
    let over = story.delivered().await;
    let hold = story.submit(Action::PlaceOnLegalHold).await;
    let shred = format!("mutation {{ shredRequest(input: {{id: \"{over}\"}}) {{ clientMutationId }} }}");
    let refused = manage_refused(&story.server, &story.admin_key, &shred).await;
    assert!(refused.contains("legal hold"), "{refused}");
    story
        .manage("mutation { updateRetention(input: {afterDays: 1}) { clientMutationId } }")
        .await;
    story.server.pass(30 * DAY).await;
    let keep = async || {
        retention::keep(story.server.app()).await.unwrap();
        story.server.run_jobs_until_idle().await;
        rows_of(&story.server, "dsr_subjects").await.len()
    };
    assert_eq!(keep().await, 2, "of the person's and of the hold itself");
    story
        .manage(&format!(
            "mutation {{ cancelRequest(input: {{requestId: \"{hold}\"}}) {{ request {{ id }} }} }}"
        ))
        .await;
    // Rounds are an hour apart.
    story.server.pass(DAY / 24).await;
    assert_eq!(keep().await, 1, "the hold itself has only just ended");
}
