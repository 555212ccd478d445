//! A silo with a receiver, a key attached to it, and the verbs of its part in a data subject request.

use antumbra_server::{
    ServerConfig,
    api_keys::ScopeName,
    audit::Actor,
    config::RunJobs,
    dsr::{self, Deed, DsrId},
    organization::{Action, OrganizationId},
    runs::{self, RunFilter, SiloRun},
    silos::{self, DataPoint, DataPointId, DataSilo, DataSiloId, Header, address::Network},
};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{TestServer, receiver::Receiver};

/// Whom the requests of these tests are about.
pub const EMAIL: &str = "robin.hale@example.test";
pub const CORE: &str = "acct_80431";

/// A server, one silo that is noticed, and what its people hold.
pub struct Story {
    pub server: TestServer,
    pub receiver: Receiver,
    pub silo: DataSiloId,
    /// Attached to the silo, without any scope.
    pub silo_key: String,
    /// May do everything.
    pub admin_key: String,
}

/// What may be called in tests, and when jobs run.
pub fn config() -> ServerConfig {
    let mut config = ServerConfig {
        run_jobs: RunJobs::WhenAsked,
        ..ServerConfig::default()
    };
    config.webhooks.allowed_networks = Network::LOOPBACK.to_vec();
    // What is due when, these stories say to the second.
    config.webhooks.windows.spread = 0;
    config
}

impl Story {
    /// A silo with these data points, which takes part in every action.
    pub async fn with_data_points(names: &[&str]) -> Story {
        Story::with(config(), names).await
    }

    pub async fn with(config: ServerConfig, names: &[&str]) -> Story {
        let server = TestServer::with(config).await;
        let receiver = Receiver::start().await;
        let silo = add_silo(&server, "Shop backend", Some(receiver.url()), names).await;
        let silo_key = server.key_for(&[], &[silo]).await;
        let admin_key = server.key(&[ScopeName::FullAdmin]).await;
        Story {
            server,
            receiver,
            silo,
            silo_key,
            admin_key,
        }
    }

    pub fn organization(&self) -> OrganizationId {
        self.server.organization
    }

    /// Submits a silent request about [`EMAIL`] and runs what that makes due.
    pub async fn submit(&self, action: Action) -> DsrId {
        let id = self.submit_about(action, CORE, EMAIL).await;
        self.server.run_jobs_until_idle().await;
        id
    }

    pub async fn submit_about(&self, action: Action, core: &str, email: &str) -> DsrId {
        self.submit_with(action, core, email, json!({})).await
    }

    /// Submits with further members.
    pub async fn submit_with(&self, action: Action, core: &str, email: &str, further: Value) -> DsrId {
        let mut body = json!({
            "type": action.as_str(),
            "subjectType": "customer",
            "isSilent": true,
            "subject": { "coreIdentifier": core, "email": email, "emailIsVerified": true },
            "details": "Raised by phone, ticket 7741",
            "locale": "en-GB",
            "region": { "country": "US", "countrySubDivision": "US-CA" },
        });
        body.as_object_mut()
            .unwrap()
            .extend(further.as_object().unwrap().clone());
        let call = self.server.client().post(self.server.url("/v1/data-subject-request"));
        let answer = call.bearer_auth(&self.admin_key).json(&body).send().await.unwrap();
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        DsrId(answer["request"]["id"].as_str().unwrap().parse().unwrap())
    }

    /// The silo's part in a request.
    pub async fn run_of(&self, request: DsrId) -> SiloRun {
        let mut runs = self.runs_of(request).await;
        runs.retain(|run| run.silo == self.silo);
        runs.remove(0)
    }

    pub async fn runs_of(&self, request: DsrId) -> Vec<SiloRun> {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        let filter = RunFilter {
            request: Some(request),
            ..RunFilter::default()
        };
        runs::list_runs(&mut reader, self.organization(), &filter, 0, 1000)
            .await
            .unwrap()
            .runs
    }

    pub async fn status_of(&self, request: DsrId) -> &'static str {
        let mut reader = self.server.app().store.begin_read().await.unwrap();
        dsr::get_head(&mut reader, self.organization(), request)
            .await
            .unwrap()
            .state
            .status()
            .as_str()
    }

    /// An administrator's deed on a request.
    pub async fn administrate<T, E: std::fmt::Debug>(
        &self,
        deed: impl AsyncFnOnce(&mut antumbra_store::Tx, &Deed<'_>) -> Result<T, E>,
    ) -> T {
        let app = self.server.app();
        let mut tx = app.store.begin_write().await.unwrap();
        let by = Deed {
            organization: self.organization(),
            by: Actor::Operator,
            now: app.clock.now(),
            ids: &app.ids,
        };
        let done = deed(&mut tx, &by).await.unwrap();
        tx.commit().await.unwrap();
        done
    }

    pub async fn post_data(&self, nonce: &str, body: Value) -> Response {
        self.call(reqwest::Method::POST, "/v1/data-silo", nonce)
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    pub async fn put_report(&self, nonce: &str, body: Value) -> Response {
        self.call(reqwest::Method::PUT, "/v1/data-silo", nonce)
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    pub async fn post_page(&self, nonce: &str, body: Value) -> Response {
        self.call(reqwest::Method::POST, "/v1/datapoint-chunked", nonce)
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// Sends a file as the examples do: chunked, without a content type.
    pub async fn post_file(&self, nonce: &str, data_point: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Response {
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            body.chunks(64 * 1024).map(|chunk| Ok(chunk.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        let mut call = self
            .call(reqwest::Method::POST, "/v1/datapoint", nonce)
            .header("x-transcend-datapoint-name", data_point)
            .header("x-transcend-profile-id", EMAIL);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        call.body(body).send().await.unwrap()
    }

    fn call(&self, method: reqwest::Method, path: &str, nonce: &str) -> reqwest::RequestBuilder {
        let call = self.server.client().request(method, self.server.url(path));
        call.bearer_auth(&self.silo_key).header("x-transcend-nonce", nonce)
    }

    /// The items of the silo's work list.
    pub async fn pending(&self, action: Action, query: &str) -> Vec<Value> {
        let answer = self.pending_raw(action.as_str(), query).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let answer: Value = answer.json().await.unwrap();
        answer["items"].as_array().unwrap().clone()
    }

    pub async fn pending_raw(&self, action: &str, query: &str) -> Response {
        let path = format!("/v1/data-silo/{}/pending-requests/{action}{query}", self.silo.0);
        self.server
            .client()
            .get(self.server.url(&path))
            .bearer_auth(&self.silo_key)
            .send()
            .await
            .unwrap()
    }

    /// What the list of report files says.
    pub async fn files_of(&self, request: DsrId) -> Vec<Value> {
        let path = format!("/v1/data-subject-request/{request}/download-keys?limit=100");
        let call = self
            .server
            .client()
            .get(self.server.url(&path))
            .bearer_auth(&self.admin_key);
        let answer: Value = call.send().await.unwrap().json().await.unwrap();
        answer["nodes"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// The bytes of a file in that list.
    pub async fn download(&self, file: &Value) -> Vec<u8> {
        let key = file["downloadKey"].as_str().unwrap();
        let call = self
            .server
            .client()
            .get(self.server.url(&format!("/v1/files?downloadKey={key}")));
        let answer = call.bearer_auth(&self.admin_key).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.bytes().await.unwrap().to_vec()
    }
}

/// A silo that looks people up by their e-mail address.
pub async fn add_silo(server: &TestServer, title: &str, url: Option<String>, data_points: &[&str]) -> DataSiloId {
    let app = server.app();
    let keys = app.keys.organization(server.organization).await.unwrap();
    let now = app.clock.now();
    let kind = if url.is_some() { "server" } else { "cron" };
    let mut silo = DataSilo::new(DataSiloId(app.ids.uuid()), kind.to_owned(), title.to_owned(), now);
    silo.url = url;
    silo.description = "Webhook integration for the web shop".to_owned();
    silo.identity_keys = vec!["email".to_owned()];
    let header = Header {
        name: "X-Shop-Key".to_owned(),
        value: "s3cret".to_owned(),
        is_secret: true,
    };
    let mut tx = app.store.begin_write().await.unwrap();
    let saved = silos::save_silo(&mut tx, &keys, &app.addresses, silo, Some(&[header]))
        .await
        .unwrap();
    for name in data_points {
        let point = DataPoint::new(DataPointId(app.ids.uuid()), saved.id, (*name).to_owned(), now);
        silos::save_data_point(&mut tx, server.organization, point)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    saved.id
}

/// Changes how a silo is configured.
pub async fn change_silo(server: &TestServer, silo: DataSiloId, change: impl FnOnce(&mut DataSilo)) {
    let app = server.app();
    let keys = app.keys.organization(server.organization).await.unwrap();
    let mut tx = app.store.begin_write().await.unwrap();
    let mut silo = silos::find_silo(&mut tx, server.organization, silo)
        .await
        .unwrap()
        .unwrap();
    change(&mut silo);
    silos::save_silo(&mut tx, &keys, &app.addresses, silo, None)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// An id that nothing has.
pub fn nobody() -> Uuid {
    Uuid::from_u128(0xdead_beef)
}
