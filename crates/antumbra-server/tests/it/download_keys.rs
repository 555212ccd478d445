//! The list of a request's files from outside.

use std::convert::Infallible;

use antumbra_server::{
    Ids, ServerConfig,
    api_keys::ScopeName,
    audit::Actor,
    config::{Compat, DownloadKeySize, RunJobs},
    dsr::{self, Deed, DsrEvent, DsrId, DsrStatus},
    files::{self, Description, FileId, Naming, Upload},
    silos::{self, DataPoint, DataPointId, DataSilo, DataSiloId, Encryption, Localized},
};
use antumbra_store::Tx;
use bytes::Bytes;
use futures_util::stream;
use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::TestServer;

/// A request that waits for approval, and a caller who may see what was compiled.
struct Archive {
    server: TestServer,
    key: String,
    request: DsrId,
}

impl Archive {
    async fn open() -> Archive {
        Archive::with(ServerConfig::default()).await
    }

    async fn with(config: ServerConfig) -> Archive {
        let server = TestServer::with(ServerConfig {
            run_jobs: RunJobs::WhenAsked,
            ..config
        })
        .await;
        let key = server
            .key(&[ScopeName::MakeDataSubjectRequest, ScopeName::ViewRequestCompilation])
            .await;
        let body = json!({
            "type": "ACCESS",
            "subjectType": "customer",
            "isSilent": true,
            "subject": { "coreIdentifier": "acct_1" },
        });
        let call = server
            .client()
            .post(server.url("/v1/data-subject-request"))
            .bearer_auth(&key)
            .json(&body);
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        let request = DsrId(answer["id"].as_str().unwrap().parse().unwrap());
        // No silo is configured yet, so nothing holds the request back.
        server.run_jobs_until_idle().await;
        let archive = Archive { server, key, request };
        assert_eq!(archive.status().await, DsrStatus::Approving);
        archive
    }

    async fn status(&self) -> DsrStatus {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let head = dsr::get_head(&mut reader, self.server.organization, self.request)
            .await
            .unwrap();
        head.state.status()
    }

    async fn write<T>(&self, change: impl AsyncFnOnce(&mut Tx, Deed<'_>) -> T) -> T {
        let app = self.server.app();
        let ids: &Ids = &app.ids;
        let deed = Deed {
            organization: self.server.organization,
            by: Actor::Operator,
            now: app.clock.now(),
            ids,
        };
        let mut tx = app.store.begin_write().await.unwrap();
        let done = change(&mut tx, deed).await;
        tx.commit().await.unwrap();
        done
    }

    async fn happens(&self, event: DsrEvent) {
        self.write(async |tx, deed| dsr::advance(tx, &deed, self.request, event).await.unwrap())
            .await;
    }

    /// Configures silo and data point as a node of the list shows them.
    async fn configure(&self, shown: &Value) {
        let app = self.server.app();
        let now = app.clock.now();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let id = |value: &Value| value.as_str().unwrap().parse::<Uuid>().unwrap();
        let words = |value: &Value| value.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
        let localized = |value: &Value| {
            let found = value.as_object()?;
            Some(Localized {
                id: id(&found["id"]),
                default_message: text(&found["defaultMessage"]),
            })
        };
        let of = &shown["dataSilo"];
        let mut silo = DataSilo::new(DataSiloId(id(&of["id"])), text(&of["type"]), text(&of["title"]), now);
        silo.description = text(&of["description"]);
        silo.outer_type = of["outerType"].as_str().map(str::to_owned);
        let mut point = DataPoint::new(DataPointId(id(&shown["id"])), silo.id, text(&shown["name"]), now);
        point.title = localized(&shown["title"]);
        point.description = localized(&shown["description"]);
        point.slug = text(&shown["slug"]);
        point.path = words(&shown["path"]);
        point.references = words(&shown["metadata"]["references"]);
        point.encryption = match shown["encryption"].as_str() {
            Some("UNENCRYPTED") => Some(Encryption::Unencrypted),
            Some("ENCRYPTED_APPLICATION_SIDE") => Some(Encryption::EncryptedApplicationSide),
            Some("ENCRYPTED_DATA_AT_REST") => Some(Encryption::EncryptedDataAtRest),
            Some(other) => panic!("no encryption is called {other}"),
            None => None,
        };
        let keys = app.keys.organization(self.server.organization).await.unwrap();
        self.write(async |tx, deed| {
            silos::save_silo(tx, &keys, &app.addresses, silo, None).await.unwrap();
            silos::save_data_point(tx, deed.organization, point).await.unwrap();
        })
        .await;
    }

    /// Keeps a file as a node of the list shows it, but of at most a thousand bytes.
    async fn keep(&self, node: &Value) {
        let app = self.server.app();
        let size = usize::try_from(node["size"].as_u64().unwrap().min(1_000)).unwrap();
        let upload = Upload {
            organization: self.server.organization,
            request: self.request.0,
            bytes_max: 0,
        };
        let body = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'x'; size]))]);
        let received = files::receive(app, upload, body).await.unwrap();
        let (folder, name) = node["fileName"].as_str().unwrap().rsplit_once('/').unwrap();
        let id = |value: &Value| value.as_str().unwrap().parse::<Uuid>().unwrap();
        let described = Description {
            silo: id(&node["dataPoint"]["dataSilo"]["id"]),
            data_point: id(&node["dataPoint"]["id"]),
            folder,
            naming: Naming::Given(name),
            content_type: node["mimetype"].as_str(),
            at: app.clock.now(),
        };
        let keys = app.keys.organization(self.server.organization).await.unwrap();
        let file = FileId(app.ids.uuid());
        self.write(async |tx, _| files::record(tx, &keys, file, &received, &described).await.unwrap())
            .await;
    }

    /// Keeps `count` files of the data point of [`node`].
    async fn keep_many(&self, count: usize) {
        self.configure(&node()["dataPoint"]).await;
        for _ in 0..count {
            self.keep(&node()).await;
        }
    }

    fn path(&self) -> String {
        format!("/v1/data-subject-request/{}/download-keys", self.request)
    }

    async fn ask(&self, query: &str, agent: &str) -> (StatusCode, Value) {
        let url = self.server.url(&format!("{}{query}", self.path()));
        let call = self
            .server
            .client()
            .get(url)
            .bearer_auth(&self.key)
            .header(header::USER_AGENT, agent);
        let answer = call.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn fetch(&self, download_key: &str) -> (StatusCode, String) {
        let mut url = reqwest::Url::parse(&self.server.url("/v1/files")).unwrap();
        url.query_pairs_mut().append_pair("downloadKey", download_key);
        let answer = self
            .server
            .client()
            .get(url)
            .bearer_auth(&self.key)
            .send()
            .await
            .unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn list(&self, query: &str) -> Value {
        let (status, body) = self.ask(query, "test").await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

/// One file, with invented data.
fn node() -> Value {
    json!({
        "downloadKey": "opaque",
        "error": null,
        "mimetype": "application/json",
        "size": 41,
        "fileName": "Contact details/profile.json",
        "dataPoint": {
            "id": "3b9a1f6e-77f6-4ac0-9a43-8b8f5d6f2c04",
            "title": { "id": "7f0a8b31-1b0e-4cbb-9ff5-51f6d0c5e6d2", "defaultMessage": "Profile" },
            "description": { "id": "c2b6bb57-8f83-4b19-8a4e-0d3f9b7e5a15", "defaultMessage": "The account page" },
            "name": "profile",
            "metadata": { "references": ["https://docs.example.org/data/profile"] },
            "slug": "profile",
            "encryption": null,
            "path": [],
            "dataSilo": {
                "id": "5c0f5a2e-2f0b-4b49-9f5e-2e4d1c1f7a90",
                "title": "Shop backend",
                "description": "Webhook integration for the web shop",
                "type": "server",
                "outerType": null,
            },
        },
    })
}

/// Another, of a database.
fn row_node() -> Value {
    json!({
        "downloadKey": "opaque",
        "error": null,
        "mimetype": "text/csv",
        "size": 912,
        "fileName": "Purchases/orders.csv",
        "dataPoint": {
            "id": "8d1f0b7c-6a3d-4b3a-b0a9-0a1b3f8e6c77",
            "title": null,
            "description": null,
            "name": "OrderRows",
            "metadata": { "references": [] },
            "slug": "orderRows",
            "encryption": "ENCRYPTED_DATA_AT_REST",
            "path": ["shop", "public"],
            "dataSilo": {
                "id": "1e7a9c22-90b5-4b3e-a8a2-9b3a6b2f4d10",
                "title": "Warehouse",
                "description": "Analytics database",
                "type": "database",
                "outerType": "warehouse",
            },
        },
    })
}

/// Reproduces a printed page: as many files, and those it shows at the place where it shows them.
async fn reproduce(printed: &Value) {
    let archive = Archive::open().await;
    let shown = printed["nodes"].as_array().unwrap();
    for node in shown {
        archive.configure(&node["dataPoint"]).await;
    }
    let link = printed["_links"]["self"].as_str().unwrap();
    let query = &link[link.find('?').unwrap()..];
    let offset: usize = query.rsplit_once('=').unwrap().1.parse().unwrap();
    let others = usize::try_from(printed["totalCount"].as_u64().unwrap()).unwrap() - shown.len();
    for at in 0..others {
        if at == offset {
            for node in shown {
                archive.keep(node).await;
            }
        }
        archive
            .keep(&json!({
                "size": 1,
                "fileName": format!("Other/{at}.txt"),
                "mimetype": "text/plain",
                "dataPoint": shown[0]["dataPoint"],
            }))
            .await;
    }

    let mut answer = archive.list(query).await;
    let mut expected = printed.clone();
    for node in expected["nodes"].as_array_mut().unwrap() {
        node["size"] = json!(node["size"].as_u64().unwrap().min(1_000));
    }
    for node in answer["nodes"].as_array_mut().unwrap() {
        assert!(node["downloadKey"].as_str().unwrap().len() > 20);
    }
    for (got, printed) in answer["nodes"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .zip(expected["nodes"].as_array().unwrap())
    {
        got["downloadKey"] = printed["downloadKey"].clone();
    }
    let other = link.split('/').nth(3).unwrap();
    for (_, link) in expected["_links"].as_object_mut().unwrap() {
        *link = json!(link.as_str().unwrap().replace(other, &archive.request.to_string()));
    }
    let previous = answer["_links"].as_object_mut().unwrap().remove("previous");
    assert_eq!(previous.as_ref(), Some(&answer["_links"]["prev"]));
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_page_of_the_printed_shape_is_reproduced_field_for_field() {
    let path = "/v1/data-subject-request/9a2f4c1e-6d73-4f0a-8b55-0c7de1f2a310/download-keys";
    reproduce(&json!({
        "totalCount": 7,
        "nodes": [node(), row_node()],
        "_links": {
            "self": format!("{path}?limit=2&offset=2"),
            "prev": format!("{path}?limit=2&offset=0"),
            "next": format!("{path}?limit=2&offset=4"),
        },
    }))
    .await;
}

#[tokio::test]
async fn the_printed_page_is_reproduced_field_for_field() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/spec/seeds");
    let pages = std::fs::read_dir(folder).into_iter().flatten();
    let mut pages = pages.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let Some(page) = pages.find(|page| page.contains("/v1/data-subject-request/{id}/download-keys")) else {
        eprintln!("the reference pages are not here, so their sample is not replayed");
        return;
    };
    let sample = &page[page.find("\n{\n").unwrap()..];
    let mut values = serde_json::Deserializer::from_str(sample).into_iter::<Value>();
    let printed = values.next().unwrap().unwrap();
    assert_eq!(printed["nodes"].as_array().unwrap().len(), 3);
    reproduce(&printed).await;
}

#[tokio::test]
async fn pages_join_without_gap_or_overlap_and_the_last_has_no_next() {
    let archive = Archive::open().await;
    archive.keep_many(7).await;
    let whole = archive.list("").await;
    let name = |node: &Value| node["fileName"].as_str().unwrap().to_owned();
    let names: Vec<String> = whole["nodes"].as_array().unwrap().iter().map(name).collect();
    assert_eq!((names.len(), &whole["totalCount"]), (7, &json!(7)));
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), 7);

    let mut walked = Vec::new();
    let mut next = Some(format!("{}?limit=3", archive.path()));
    while let Some(link) = next {
        let page = archive.list(&link[link.find('?').unwrap()..]).await;
        walked.extend(page["nodes"].as_array().unwrap().iter().map(name));
        next = page["_links"]["next"].as_str().map(str::to_owned);
        assert!(page["_links"]["self"].as_str().unwrap().starts_with("/v1/"));
    }
    assert_eq!(walked, names);
}

#[tokio::test]
async fn limit_and_offset_have_their_edges() {
    let archive = Archive::open().await;
    archive.keep_many(2).await;
    let path = archive.path();
    let page = async |query: &str| {
        let page = archive.list(query).await;
        assert_eq!(page["totalCount"], 2);
        (page["nodes"].as_array().unwrap().len(), page["_links"].clone())
    };
    let links = |this: &str, prev: Option<&str>, next: Option<&str>| {
        let link = |query: Option<&str>| query.map_or(Value::Null, |query| json!(format!("{path}?{query}")));
        json!({ "self": link(Some(this)), "prev": link(prev), "next": link(next), "previous": link(prev) })
    };
    assert_eq!(page("").await, (2, links("limit=25&offset=0", None, None)));
    assert_eq!(page("?limit=0").await, (0, links("limit=0&offset=0", None, None)));
    assert_eq!(
        page("?limit=1").await,
        (1, links("limit=1&offset=0", None, Some("limit=1&offset=1")))
    );
    assert_eq!(
        page("?limit=1&offset=1").await,
        (1, links("limit=1&offset=1", Some("limit=1&offset=0"), None))
    );
    assert_eq!(
        page("?limit=100&offset=100").await,
        (0, links("limit=100&offset=100", Some("limit=100&offset=0"), None))
    );
    assert_eq!(
        page("?limit=99999").await,
        (2, links("limit=1000&offset=0", None, None))
    );
    let beyond = page("?offset=99999999999999999999999").await;
    assert_eq!(beyond.0, 0);
    for (query, field) in [
        ("?limit=-1", "limit"),
        ("?limit=abc", "limit"),
        ("?limit=", "limit"),
        ("?limit=1.5", "limit"),
        ("?offset=-1", "offset"),
        ("?offset=%00", "offset"),
    ] {
        let (status, body) = archive.ask(query, "test").await;
        assert_eq!(
            (status, &body["details"][0]["path"]),
            (StatusCode::BAD_REQUEST, &json!(field)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_list_of_more_files_than_are_read_at_once_is_whole() {
    let archive = Archive::open().await;
    archive.keep_many(200).await;
    let names = async |query: &str| {
        let page = archive.list(query).await;
        let names = page["nodes"].as_array().unwrap().iter();
        let names: Vec<Value> = names.map(|node| node["fileName"].clone()).collect();
        (page["totalCount"].as_u64().unwrap(), names)
    };
    let (total, all) = names("?limit=1000").await;
    assert_eq!((total, all.len()), (200, 200));
    archive.keep(&node()).await;
    let (total, all) = names("?limit=1000").await;
    assert_eq!((total, all.len()), (201, 201));
    for (offset, limit) in [(0, 3), (198, 2), (199, 2), (200, 5), (201, 5), (150, 51)] {
        let (total, page) = names(&format!("?offset={offset}&limit={limit}")).await;
        let expected: Vec<Value> = all.iter().skip(offset).take(limit).cloned().collect();
        assert_eq!((total, page), (201, expected));
    }
}

#[tokio::test]
async fn a_size_is_a_number_but_digits_for_the_client_that_reads_only_digits() {
    const GOT: &str = "got (https://github.com/sindresorhus/got)";
    let cases = [
        (DownloadKeySize::Auto, json!(41), json!("41")),
        (DownloadKeySize::Number, json!(41), json!(41)),
        (DownloadKeySize::String, json!("41"), json!("41")),
    ];
    for (download_key_size, to_most, to_got) in cases {
        let config = ServerConfig {
            compat: Compat {
                download_key_size,
                ..Compat::default()
            },
            ..ServerConfig::default()
        };
        let archive = Archive::with(config).await;
        archive.keep_many(1).await;
        for (agent, expected) in [("curl/8", &to_most), ("gotcha", &to_most), (GOT, &to_got)] {
            assert_eq!(&archive.ask("", agent).await.1["nodes"][0]["size"], expected, "{agent}");
        }
    }
}

#[tokio::test]
async fn files_are_listed_while_the_request_stands_where_it_shows_them() {
    let archive = Archive::open().await;
    archive.keep_many(1).await;
    let listed = async || archive.list("").await["totalCount"].clone();
    assert_eq!(listed().await, 1);
    archive.happens(DsrEvent::Held).await;
    assert_eq!(listed().await, 1);
    archive.happens(DsrEvent::Canceled).await;
    assert_eq!(listed().await, 0);
    archive.server.run_jobs_until_idle().await;
}

#[tokio::test]
async fn a_download_key_opens_nothing_once_its_request_shows_no_files() {
    let archive = Archive::open().await;
    archive.keep_many(1).await;
    let page = archive.list("").await;
    let key = page["nodes"][0]["downloadKey"].as_str().unwrap();
    assert_eq!(archive.fetch(key).await.0, StatusCode::OK);
    archive
        .write(async |tx, deed| dsr::cancel(tx, &deed, archive.request).await.map(drop).unwrap())
        .await;
    assert_eq!(archive.status().await, DsrStatus::Canceled);
    let (status, body) = archive.fetch(key).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body.contains("DOWNLOAD_KEY_EXPIRED") && body.contains("fileMetadata#verify"),
        "{body}"
    );
    archive.server.run_jobs_until_idle().await;
    let (status, body) = archive.fetch(key).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "nor once the file itself is gone");
    assert!(body.contains("fileMetadata#verify"), "{body}");
}

#[tokio::test]
async fn a_file_outlives_the_configuration_of_its_data_point() {
    let archive = Archive::open().await;
    archive.keep_many(1).await;
    let (silo, point) = (
        node()["dataPoint"]["dataSilo"]["id"].clone(),
        node()["dataPoint"]["id"].clone(),
    );
    let removed = DataSiloId(silo.as_str().unwrap().parse().unwrap());
    archive
        .write(async |tx, deed| silos::delete_silo(tx, deed.organization, removed).await.unwrap())
        .await;
    let shown = &archive.list("").await["nodes"][0];
    assert_eq!(
        (&shown["dataPoint"]["id"], &shown["dataPoint"]["dataSilo"]["id"]),
        (&point, &silo)
    );
    assert_eq!(shown["dataPoint"]["dataSilo"]["description"], "");
    assert_eq!(shown["fileName"], "Contact details/profile.json");
}

#[tokio::test]
async fn nobody_sees_the_files_of_another_organization() {
    let archive = Archive::open().await;
    let other = archive.server.another_organization().await;
    let input = antumbra_server::api_keys::ApiKeyInput {
        scopes: vec![ScopeName::FullAdmin],
        ..crate::support::key_input()
    };
    let (_, stranger) = archive.server.make_key(other, input).await;
    let url = archive.server.url(&archive.path());
    let answer = archive
        .server
        .client()
        .get(url)
        .bearer_auth(stranger)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 404);
}
