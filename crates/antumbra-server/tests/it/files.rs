//! Files seen from outside: what a download answers, and everything it refuses.

use std::{convert::Infallible, fs, path::PathBuf, time::Duration};

use antumbra_server::{
    api_keys::ScopeName,
    files::{self, Description, FileId, Naming, Upload},
    keyring::{KeyKind, destroy_key},
};
use bytes::Bytes;
use futures_util::stream;
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestServer;

/// A server with a request that shows its files.
struct Shop {
    server: TestServer,
    key: String,
    request: Uuid,
}

impl Shop {
    async fn open() -> Shop {
        let server = TestServer::start().await;
        let key = server
            .key(&[ScopeName::MakeDataSubjectRequest, ScopeName::ViewRequestCompilation])
            .await;
        let body = json!({
            "type": "ACCESS",
            "subjectType": "customer",
            "isSilent": true,
            "subject": { "coreIdentifier": "acct_1" },
            "completedRequestStatus": "COMPLETED",
        });
        let call = server.client().post(server.url("/v1/data-subject-request"));
        let answer = call.bearer_auth(&key).json(&body).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let request = answer["id"].as_str().unwrap().parse().unwrap();
        Shop { server, key, request }
    }

    async fn upload(&self, name: &str, content_type: Option<&str>, bytes: &[u8]) -> FileId {
        let app = self.server.app();
        let upload = Upload {
            organization: self.server.organization,
            request: self.request,
            bytes_max: 0,
        };
        let body = stream::iter([Ok::<_, Infallible>(Bytes::copy_from_slice(bytes))]);
        let received = files::receive(app, upload, body).await.unwrap();
        let described = Description {
            silo: Uuid::from_u128(1),
            data_point: Uuid::from_u128(2),
            folder: "User profile",
            naming: Naming::Given(name),
            content_type,
            at: app.clock.now(),
        };
        let keys = app.keys.organization(self.server.organization).await.unwrap();
        let id = FileId(app.ids.uuid());
        let mut tx = app.store.begin_write().await.unwrap();
        files::record(&mut tx, &keys, id, &received, &described).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn download_key(&self, file: FileId) -> String {
        let app = self.server.app();
        let keys = app.keys.organization(self.server.organization).await.unwrap();
        files::mint_download_key(
            &keys,
            self.request,
            file,
            app.clock.now() + files::DOWNLOAD_KEY_LIFETIME,
        )
    }

    async fn get(&self, download_key: &str, headers: &[(&str, &str)]) -> Response {
        self.get_as(&self.key, &[("downloadKey", download_key)], headers).await
    }

    async fn get_as(&self, key: &str, query: &[(&str, &str)], headers: &[(&str, &str)]) -> Response {
        let mut url = reqwest::Url::parse(&self.server.url("/v1/files")).unwrap();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut asked = self.server.client().get(url).bearer_auth(key);
        for (name, value) in headers {
            asked = asked.header(*name, *value);
        }
        asked.send().await.unwrap()
    }

    async fn discard(&self, file: FileId) {
        let app = self.server.app();
        let keys = app.keys.organization(self.server.organization).await.unwrap();
        let mut tx = app.store.begin_write().await.unwrap();
        files::discard(&mut tx, &keys, self.request, file).await.unwrap();
        tx.commit().await.unwrap();
    }

    fn blobs(&self) -> Vec<PathBuf> {
        files_under(&self.server.folder().join("blobs"))
    }
}

fn files_under(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] })
        .collect()
}

fn plain(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|place| (place.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

fn header_of(response: &Response, name: header::HeaderName) -> &str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_download_is_the_bytes_of_the_upload_and_says_what_they_are() {
    let shop = Shop::open().await;
    let bytes = plain(2_500_000);
    let file = shop.upload("my movie.mp4", None, &bytes).await;
    let answer = shop.get(&shop.download_key(file).await, &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    for (name, value) in [
        (header::CONTENT_LENGTH, "2500000"),
        (header::CONTENT_TYPE, "video/mp4"),
        (header::CONTENT_DISPOSITION, r#"attachment; filename="my movie.mp4""#),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::CONTENT_ENCODING, ""),
    ] {
        assert_eq!(header_of(&answer, name.clone()), value, "{name}");
    }
    assert!(answer.bytes().await.unwrap() == bytes);
}

#[tokio::test]
async fn a_file_of_no_bytes_is_downloaded_as_such() {
    let shop = Shop::open().await;
    let file = shop.upload("empty.txt", None, b"").await;
    let answer = shop.get(&shop.download_key(file).await, &[("range", "bytes=0-")]).await;
    assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let answer = shop.get(&shop.download_key(file).await, &[]).await;
    assert_eq!(
        (answer.status(), header_of(&answer, header::CONTENT_LENGTH)),
        (StatusCode::OK, "0")
    );
    assert!(answer.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn the_query_may_call_the_key_by_its_other_name() {
    let shop = Shop::open().await;
    let file = shop.upload("a.txt", None, b"hello").await;
    let download_key = shop.download_key(file).await;
    let answer = shop.get_as(&shop.key, &[("key", &download_key)], &[]).await;
    assert_eq!(answer.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn one_range_is_answered_with_that_range() {
    let shop = Shop::open().await;
    let bytes = plain(200_000);
    let file = shop.upload("a.bin", None, &bytes).await;
    let key = shop.download_key(file).await;
    for (asked, range) in [
        ("bytes=0-9", 0..10),
        ("bytes=65530-65545", 65_530..65_546),
        ("bytes=199999-", 199_999..200_000),
        ("bytes=-100000", 100_000..200_000),
    ] {
        let answer = shop.get(&key, &[("range", asked)]).await;
        assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{asked}");
        let stated = format!("bytes {}-{}/200000", range.start, range.end - 1);
        assert_eq!(header_of(&answer, header::CONTENT_RANGE), stated);
        assert_eq!(header_of(&answer, header::CONTENT_LENGTH), range.len().to_string());
        assert!(answer.bytes().await.unwrap() == bytes[range], "{asked}");
    }
    let outside = shop.get(&key, &[("range", "bytes=200000-")]).await;
    assert_eq!(outside.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header_of(&outside, header::CONTENT_RANGE), "bytes */200000");
    let several = shop.get(&key, &[("range", "bytes=0-1,5-6")]).await;
    assert_eq!(several.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_download_can_be_resumed_and_is_not_sent_twice() {
    let shop = Shop::open().await;
    let file = shop.upload("a.txt", None, b"0123456789").await;
    let key = shop.download_key(file).await;
    let etag = header_of(&shop.get(&key, &[]).await, header::ETAG).to_owned();
    let resumed = shop.get(&key, &[("range", "bytes=5-"), ("if-range", &etag)]).await;
    assert_eq!(resumed.text().await.unwrap(), "56789");
    let changed = shop
        .get(&key, &[("range", "bytes=5-"), ("if-range", "\"another\"")])
        .await;
    assert_eq!(changed.text().await.unwrap(), "0123456789");
    let known = shop.get(&key, &[("if-none-match", &etag)]).await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn what_a_browser_could_run_is_only_ever_saved() {
    let shop = Shop::open().await;
    let file = shop
        .upload("page.html", Some("text/html"), b"<script>alert(1)</script>")
        .await;
    let answer = shop.get(&shop.download_key(file).await, &[]).await;
    assert_eq!(header_of(&answer, header::CONTENT_TYPE), "text/html");
    assert!(header_of(&answer, header::CONTENT_DISPOSITION).starts_with("attachment;"));
    assert_eq!(
        header_of(&answer, header::CONTENT_SECURITY_POLICY),
        "sandbox; default-src 'none'"
    );
}

async fn refusal(answer: Response) -> (StatusCode, String, String) {
    let status = answer.status();
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned(), text)
}

#[tokio::test]
async fn a_key_that_is_missing_broken_forged_or_foreign_is_refused() {
    let shop = Shop::open().await;
    let file = shop.upload("a.txt", None, b"hello").await;
    let good = shop.download_key(file).await;
    let app = shop.server.app();
    let keys = app.keys.organization(shop.server.organization).await.unwrap();
    let stranger = shop.server.another_organization().await;
    let strangers = app.keys.organization(stranger).await.unwrap();
    let later = app.clock.now() + Duration::from_secs(60);

    let (status, code, _) = refusal(shop.get_as(&shop.key, &[], &[]).await).await;
    assert_eq!((status, code.as_str()), (StatusCode::BAD_REQUEST, "VALIDATION_FAILED"));
    let parts: Vec<&str> = good.split('.').collect();
    let (claims, signature) = (parts[1], parts[2]);
    let refused = [
        String::new(),
        "superlongstring1".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}x"),
        good.replacen('.', "..", 1),
        good.to_uppercase(),
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."),
        format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{claims}.{signature}"),
        files::mint_download_key(&strangers, shop.request, file, later),
        "x".repeat(7000),
    ];
    for key in refused {
        let (status, code, text) = refusal(shop.get(&key, &[]).await).await;
        assert_eq!(
            (status, code.as_str()),
            (StatusCode::BAD_REQUEST, "VALIDATION_FAILED"),
            "{key}"
        );
        assert!(!text.contains("fileMetadata#verify"));
    }
    let unknown = files::mint_download_key(&keys, shop.request, FileId(Uuid::from_u128(5)), later);
    let (status, code, _) = refusal(shop.get(&unknown, &[]).await).await;
    assert_eq!(
        (status, code.as_str()),
        (StatusCode::BAD_REQUEST, "DOWNLOAD_KEY_EXPIRED")
    );
}

#[tokio::test]
async fn a_key_opens_its_file_for_a_day_and_says_so_when_it_no_longer_does() {
    let shop = Shop::open().await;
    let file = shop.upload("a.txt", None, b"hello").await;
    let key = shop.download_key(file).await;
    shop.server
        .clock
        .advance(files::DOWNLOAD_KEY_LIFETIME - Duration::from_secs(1));
    assert_eq!(shop.get(&key, &[]).await.status(), StatusCode::OK);
    shop.server.clock.advance(Duration::from_secs(1));
    let (status, code, text) = refusal(shop.get(&key, &[]).await).await;
    assert_eq!(
        (status, code.as_str()),
        (StatusCode::BAD_REQUEST, "DOWNLOAD_KEY_EXPIRED")
    );
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["message"], "Client error: The download key is no longer valid");
    assert_eq!(
        body["upstream"],
        r#"{"message":"fileMetadata#verify: jwt expired","statusCode":400}"#
    );
}

#[tokio::test]
async fn a_file_that_is_gone_or_whose_key_was_destroyed_is_no_longer_available() {
    let shop = Shop::open().await;
    let (first, second) = (
        shop.upload("a.txt", None, b"1").await,
        shop.upload("b.txt", None, b"2").await,
    );
    let (first_key, second_key) = (shop.download_key(first).await, shop.download_key(second).await);
    shop.discard(first).await;
    assert!(
        refusal(shop.get(&first_key, &[]).await)
            .await
            .2
            .contains("fileMetadata#verify")
    );
    assert_eq!(shop.get(&second_key, &[]).await.status(), StatusCode::OK);

    let app = shop.server.app();
    let mut tx = app.store.begin_write().await.unwrap();
    destroy_key(&mut tx, shop.server.organization, KeyKind::Request, shop.request);
    tx.commit().await.unwrap();
    assert!(
        refusal(shop.get(&second_key, &[]).await)
            .await
            .2
            .contains("fileMetadata#verify")
    );
}

#[tokio::test]
async fn a_body_that_was_touched_on_disk_never_reaches_anyone() {
    let shop = Shop::open().await;
    let bytes = plain(3_000_000);
    let file = shop.upload("a.bin", None, &bytes).await;
    let key = shop.download_key(file).await;
    let body = shop
        .blobs()
        .into_iter()
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let spoil = |at: usize| {
        let mut stored = fs::read(&body).unwrap();
        stored[at] ^= 1;
        fs::write(&body, stored).unwrap();
    };

    spoil(2_500_000);
    let answer = shop.get(&key, &[]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(
        answer.bytes().await.is_err(),
        "the answer is cut off before the spoiled part"
    );
    let whole_part = shop.get(&key, &[("range", "bytes=0-999999")]).await;
    assert!(whole_part.bytes().await.unwrap() == bytes[..1_000_000]);

    spoil(10);
    let (status, code, text) = refusal(shop.get(&key, &[]).await).await;
    assert_eq!((status, code.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"));
    assert!(!text.contains("a.bin"));
}
