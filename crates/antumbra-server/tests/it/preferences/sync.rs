//! `/sync`: what the holders of tokens see and change, as browsers and the clients' programs ask for it.

use antumbra_crypto::{Key32, padded::PaddedKek};
use antumbra_server::{audit, config::IabContradiction};
use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::support::manage::{manage, manage_refused};

mod confirmed;
mod secrets;

/// The keys and tokens that the contract prints.
const ENCRYPTION_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SIGNING_KEY: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj9AQUJDREVGR0hJSktMTU5P";
const OF_USER_42: &str = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJlbmNyeXB0ZWRJZGVudGlmaWVyIjoiQUVwaWk5RnJiWmRYUGU5Zm5TWDhRdz09IiwiaWF0IjoxNzUwMDAwMDAwfQ.rgwk9Tfz534ppbQnlLmws4c0zCHKyUmNJdjTwqZWMnxdTZ9tpApmFj8VCkEniAZV";
const OF_ANA: &str = "eyJhbGciOiJIUzM4NCIsInR5cCI6IkpXVCJ9.eyJlbmNyeXB0ZWRJZGVudGlmaWVyIjoiUFVuN0ZPSVpMcXZJa1pDd2c4N2d2VnVzNTZyVms4WE0iLCJpYXQiOjE3NTAwMDAwMDB9.R3rB9r5jkYkSQuYfkp7GHgizfbcafWl-o1c9fKuXND_ONbXgd7CRnTq6Pf71aMgT";

const AT: &str = "2026-02-04T18:22:10.031Z";
const LATER: &str = "2026-02-05T08:00:00.000Z";

fn wrapped(key: &str, id: &[u8]) -> String {
    let key = Key32::from_slice(&BASE64_STANDARD.decode(key).unwrap()).unwrap();
    BASE64_STANDARD.encode(PaddedKek::new(key).wrap(id).unwrap())
}

/// A token as an organization's own server signs it.
fn signed(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_base64_secret(secret).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::HS384), claims, &key).unwrap()
}

fn token_of(id: &str) -> String {
    let claims = json!({ "encryptedIdentifier": wrapped(ENCRYPTION_KEY, id.as_bytes()), "iat": 1_750_000_000 });
    signed(SIGNING_KEY, &claims)
}

/// An answer as a browser has it.
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{} {}", self.status, self.text))
    }
}

/// A shop whose pages sync consent.
struct Pages {
    preferences: Preferences,
    admin: String,
}

impl Pages {
    async fn open() -> Pages {
        Pages::of(Preferences::start().await).await
    }

    async fn of(preferences: Preferences) -> Pages {
        let admin = preferences.server.key(&[ScopeName::FullAdmin]).await;
        let pages = Pages { preferences, admin };
        pages.bring_identifier_key(ENCRYPTION_KEY).await;
        pages.set_token_secret(SHOP, SIGNING_KEY).await;
        pages
    }

    fn server(&self) -> &TestServer {
        &self.preferences.server
    }

    async fn manage(&self, document: &str) -> Value {
        manage(self.server(), &self.admin, document).await
    }

    async fn bring_identifier_key(&self, key: &str) -> Value {
        let input = format!("(input: {{key: \"{key}\"}}) {{ encryptionKey earlierEncryptionKeys }}");
        self.manage(&format!("mutation {{ generateConsentIdentifierEncryptionKey{input} }}"))
            .await
    }

    async fn set_token_secret(&self, partition: &str, secret: &str) -> Value {
        let input = format!(
            "(input: {{id: \"{partition}\", secret: \"{secret}\"}}) {{ tokenSecrets {{ partition secrets }} }}"
        );
        self.manage(&format!("mutation {{ setTokenSecret{input} }}")).await
    }

    /// Asks as a page does: every answer may be read by it, and none is cached.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = self.server().client().request(method, self.server().url(path));
        for (name, value) in [("origin", "https://shop.example")].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await.unwrap();
        let headers = answer.headers().clone();
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert!(headers.get("access-control-allow-credentials").is_none());
        assert_eq!(
            headers.get_all("cache-control").iter().collect::<Vec<_>>(),
            ["no-store"]
        );
        let status = answer.status().as_u16();
        assert!([200, 204, 400].contains(&status), "{status}");
        let text = answer.text().await.unwrap();
        assert_eq!(status == 204, text.is_empty());
        Answer { status, text }
    }

    async fn post(&self, body: &Value) -> Answer {
        self.ask(
            Method::POST,
            "/sync",
            &[("content-type", "text/plain;charset=UTF-8")],
            body.to_string(),
        )
        .await
    }

    /// Tells the shop a consent, and gives what it keeps.
    async fn tell(&self, token: &str, consent: Value) -> Value {
        let answer = self
            .post(&json!({ "token": token, "partition": SHOP, "consent": consent }))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    async fn get(&self, token: &str, partition: &str) -> Answer {
        let path = format!("/sync?partition={partition}");
        self.ask(Method::GET, &path, &[("authorization", token)], "").await
    }

    /// What the shop keeps of the holder.
    async fn kept(&self, token: &str) -> Option<Value> {
        let answer = self.get(token, SHOP).await;
        (answer.status == 200).then(|| answer.json())
    }

    async fn assert_refused(&self, token: &str, case: &str) {
        let got = self.get(token, SHOP).await;
        let consent = confirmed(json!({ "Analytics": true }));
        let posted = self
            .post(&json!({ "token": token, "partition": SHOP, "consent": consent }))
            .await;
        for answer in [got, posted] {
            assert_eq!(answer.status, 400, "{case}: {}", answer.text);
            assert_eq!(
                answer.json()["error"],
                "The consent token could not be verified",
                "{case}"
            );
        }
    }

    async fn audited(&self, action: &str) -> Vec<audit::Recorded> {
        let mut reader = self.server().app().store.begin_read().await.unwrap();
        let entries = audit::list(&mut reader, self.server().organization, None, 1_000)
            .await
            .unwrap();
        entries
            .into_iter()
            .map(|(_, entry)| entry)
            .filter(|entry| entry.action == action)
            .collect()
    }
}

fn confirmed(purposes: Value) -> Value {
    json!({ "purposes": purposes, "confirmed": true, "timestamp": AT })
}

fn unconfirmed(purposes: Value) -> Value {
    json!({ "purposes": purposes, "confirmed": false, "timestamp": LATER })
}

#[tokio::test]
async fn checklist_10_the_printed_tokens_are_those_of_their_people() {
    let pages = Pages::open().await;
    pages.tell(OF_USER_42, confirmed(json!({ "Analytics": true }))).await;
    pages.tell(OF_ANA, confirmed(json!({ "Analytics": false }))).await;
    let named = |name: &str, value: &str| json!({ "identifiers": [{ "name": name, "value": value }] });
    for (name, value, analytics) in [("coreIdentifier", "user-42", true), ("email", "ana@example.org", false)] {
        let found = pages.preferences.find(named(name, value)).await;
        assert_eq!((found.len(), &found[0]["userId"]), (1, &json!(value)));
        assert_eq!(enabled(&found[0], "Analytics"), Some(analytics));
    }
    for token in [
        OF_USER_42,
        &format!("Bearer {OF_USER_42}"),
        &format!("bearer  {OF_USER_42}"),
    ] {
        assert_eq!(
            pages.kept(token).await.unwrap()["purposes"],
            json!({ "Analytics": true })
        );
    }
}

#[tokio::test]
async fn checklist_11_a_page_of_another_origin_syncs_without_asking_first() {
    let pages = Pages::open().await;
    let body = json!({ "token": OF_ANA, "partition": SHOP, "consent": {
        "purposes": { "Analytics": false, "Advertising": false, "Functional": true },
        "airgapVersion": "9.133.1", "timestamp": AT, "confirmed": true, "prompted": true, "updated": true
    } })
    .to_string();
    // The bytes of a browser's `fetch` of a text. Its method, its one content type and the absence of any header of the
    // page's own are what has a browser send it at once, without an OPTIONS before it.
    let head = format!(
        "POST /sync HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: text/plain;charset=UTF-8\r\nAccept: */*\r\nOrigin: https://shop.example\r\n\
         Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n\
         Referer: https://shop.example/\r\nUser-Agent: Mozilla/5.0\r\n\r\n",
        pages.server().address(),
        body.len()
    );
    let mut stream = TcpStream::connect(pages.server().address()).await.unwrap();
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    let headers = head.to_ascii_lowercase();
    for header in [
        "access-control-allow-origin: *",
        "content-type: application/json",
        "cache-control: no-store",
    ] {
        assert!(headers.contains(header), "{head}");
    }
    let answer: Value = serde_json::from_str(body).unwrap();
    let expected = json!({
        "purposes": { "Analytics": false, "Advertising": false, "Functional": true },
        "confirmed": true, "timestamp": AT, "updated": true, "prompted": true, "airgapVersion": "9.133.1"
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_browser_that_does_ask_first_is_told_what_pages_may_send() {
    let pages = Pages::open().await;
    let ask = pages
        .server()
        .client()
        .request(Method::OPTIONS, pages.server().url("/sync"));
    let ask = ask
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "authorization");
    let answer = ask.send().await.unwrap();
    assert_eq!(answer.status(), 204);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, OPTIONS"),
        ("access-control-allow-headers", "Authorization, Content-Type"),
        ("access-control-max-age", "86400"),
    ] {
        assert_eq!(answer.headers()[name], value);
    }
    assert!(answer.text().await.unwrap().is_empty());
}

#[tokio::test]
async fn checklist_11_what_nobody_confirmed_changes_nothing_and_makes_no_record() {
    let pages = Pages::open().await;
    let before = check_tables(pages.server()).await;
    let mut defaults = unconfirmed(json!({ "Analytics": true, "Advertising": false, "Elsewhere": true }));
    defaults["prompted"] = json!(false);
    assert_eq!(
        pages.tell(OF_ANA, defaults.clone()).await,
        defaults,
        "it is sent back as it came"
    );
    assert_eq!(pages.get(OF_ANA, SHOP).await.status, 204);
    assert_eq!(check_tables(pages.server()).await, before);

    pages.tell(OF_ANA, confirmed(json!({ "Analytics": false }))).await;
    let record = pages.preferences.find_email("ana@example.org").await;
    let kept = pages.tell(OF_ANA, defaults).await;
    assert_eq!(
        kept["purposes"],
        json!({ "Analytics": false }),
        "defaults are not mixed in"
    );
    assert_eq!((&kept["confirmed"], &kept["timestamp"]), (&json!(true), &json!(AT)));
    assert_eq!(pages.preferences.find_email("ana@example.org").await, record);
}

#[tokio::test]
async fn checklist_12_of_a_person_whom_nobody_knows_there_is_nothing_to_tell() {
    let pages = Pages::open().await;
    pages.tell(OF_ANA, confirmed(json!({ "Analytics": true }))).await;
    let answer = pages.get(OF_USER_42, SHOP).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(check_tables(pages.server()).await["preference_records"], 1);
}

#[tokio::test]
async fn what_the_record_was_told_otherwise_is_in_the_answer() {
    let pages = Pages::open().await;
    let purposes = json!([{ "purpose": "ProductNews", "enabled": true }]);
    let ana = json!({ "identifiers": [email_of("ana@example.org")], "purposes": purposes, "timestamp": AT });
    pages.preferences.record(ana).await;
    let kept = pages
        .tell(
            OF_ANA,
            confirmed(json!({ "Analytics": false, "Essential": true, "Unknown": true })),
        )
        .await;
    assert_eq!(kept["purposes"], json!({ "Analytics": false, "ProductNews": true }));
    assert_eq!(pages.kept(OF_ANA).await, Some(kept));
}

#[tokio::test]
async fn a_late_consent_does_not_overturn_a_newer_one() {
    let pages = Pages::open().await;
    let newer = json!({ "purposes": { "Analytics": false }, "confirmed": true, "timestamp": LATER, "updated": true });
    pages.tell(OF_ANA, newer).await;
    let late = json!({ "purposes": { "Analytics": true, "Functional": true }, "confirmed": true, "timestamp": AT,
        "updated": false, "prompted": true });
    let kept = pages.tell(OF_ANA, late).await;
    let expected = json!({ "purposes": { "Analytics": false, "Functional": true }, "confirmed": true,
        "timestamp": LATER, "updated": true, "prompted": true });
    assert_eq!(kept, expected);
}

#[tokio::test]
async fn a_record_that_is_not_confirmed_is_none_for_sync() {
    let pages = Pages::open().await;
    let purposes = json!([{ "purpose": "Analytics", "enabled": true }]);
    let defaults = json!({ "identifiers": [email_of("ana@example.org")], "purposes": purposes, "confirmed": false });
    pages.preferences.record(defaults).await;
    assert_eq!(pages.get(OF_ANA, SHOP).await.status, 204);
    let said = unconfirmed(json!({ "Functional": false }));
    assert_eq!(pages.tell(OF_ANA, said.clone()).await, said);
}

#[tokio::test]
async fn consent_is_kept_as_the_mapping_says() {
    let pages = Pages::open().await;
    let said = json!({
        "purposes": { "Analytics": "on", "Advertising": "off", "Functional": "Auto", "SaleOfInfo": "AutoGPC", "New": true },
        "communicationPreferences": { "ProductNews": true },
        "confirmed": true, "timestamp": AT, "metadataTimestamp": "2026-02-03T00:00:00.000Z",
        "usp": "1YNN", "gpp": "", "tcf": "", "airgapVersion": "9.133.1", "viewState": "AcceptAll",
        "metadata": { "tcmp": { "tcf": { "tcString": "CP" } }, "n": 7, "note": "hello", "gone": null }
    });
    let kept = pages.tell(OF_ANA, said).await;
    let expected = json!({
        "purposes": { "Analytics": true, "Advertising": false, "ProductNews": true },
        "confirmed": true, "timestamp": AT, "metadataTimestamp": "2026-02-03T00:00:00.000Z",
        "usp": "1YNN", "airgapVersion": "9.133.1",
        "metadata": { "tcmp": { "tcf": { "tcString": "CP" } }, "n": "7", "note": "hello" }
    });
    assert_eq!(kept, expected);
    let record = pages.preferences.find_email("ana@example.org").await;
    assert_eq!(record["consentManagement"]["usp"], "1YNN");
    let metadata = json!([
        { "key": "n", "value": "7" }, { "key": "note", "value": "hello" },
        { "key": "tcmp", "value": "{\"tcf\":{\"tcString\":\"CP\"}}" }
    ]);
    assert_eq!(record["metadata"], metadata);

    let mut untouched =
        json!({ "purposes": {}, "confirmed": true, "timestamp": LATER, "metadata": null, "usp": "nonsense" });
    let kept = pages.tell(OF_ANA, untouched.clone()).await;
    assert_eq!(
        (&kept["metadata"], &kept["usp"]),
        (&expected["metadata"], &json!("1YNN"))
    );
    (untouched["metadata"], untouched["usp"]) = (json!(false), json!(null));
    let kept = pages.tell(OF_ANA, untouched).await;
    assert_eq!((kept.get("metadata"), kept.get("usp")), (None, None));
}

#[tokio::test]
async fn a_consent_is_kept_with_a_long_string_and_without_one_that_is_too_long() {
    let pages = Pages::open().await;
    let said = |at: &str, bytes: usize| {
        let string = "C".repeat(bytes);
        json!({
            "purposes": { "Analytics": true }, "confirmed": true, "timestamp": at,
            "metadata": { "tcmp": { "tcf": { "tcString": string } }, "note": at },
        })
    };
    let string = |kept: &Value| kept["metadata"]["tcmp"]["tcf"]["tcString"].as_str().map(str::len);
    let kept = pages.tell(OF_ANA, said(AT, 8 << 10)).await;
    assert_eq!(string(&kept), Some(8 << 10));
    let kept = pages.tell(OF_ANA, said(LATER, 16 << 10)).await;
    assert_eq!(
        (string(&kept), &kept["metadata"]["note"]),
        (Some(8 << 10), &json!(LATER))
    );
    assert_eq!(kept["timestamp"], LATER);

    // Whoever calls with a key brings back what such a record holds, and no more.
    let record = pages.preferences.find_email("ana@example.org").await;
    let mut again = json!({ "identifiers": [email_of("ana@example.org")], "metadata": record["metadata"] });
    pages.preferences.record(again.clone()).await;
    again["metadata"][1]["value"] = json!("x".repeat((16 << 10) + 1));
    let (status, answer) = pages.preferences.upsert(json!({ "records": [in_shop(again)] })).await;
    assert_eq!(
        (status, &answer["details"][0]["path"]),
        (400, &json!("records[0].metadata[1].value"))
    );
}

#[tokio::test]
async fn a_consent_is_kept_with_a_string_that_contradicts_it() {
    let pages = Pages::of(super::iab::with(IabContradiction::Refuse).await).await;
    let said = json!({ "purposes": { "SaleOfInfo": true }, "confirmed": true, "timestamp": AT, "usp": "1YYN" });
    let kept = pages.tell(OF_ANA, said).await;
    assert_eq!(
        (&kept["purposes"]["SaleOfInfo"], &kept["usp"]),
        (&json!(true), &json!("1YYN"))
    );
    // Whoever calls with a key is refused as before.
    let record = in_shop(json!({
        "identifiers": [email_of("bea@example.org")], "usp": "1YYN",
        "purposes": [{ "purpose": "SaleOfInfo", "enabled": true }],
    }));
    assert_eq!(pages.preferences.upsert(json!({ "records": [record] })).await.0, 400);
}

#[tokio::test]
async fn checklist_10_a_token_that_is_not_whole_and_genuine_opens_nothing() {
    let pages = Pages::open().await;
    pages.tell(OF_USER_42, confirmed(json!({ "Analytics": true }))).await;
    let other_secret = BASE64_STANDARD.encode([7; 48]);
    let claims = |wrapped: &str| json!({ "encryptedIdentifier": wrapped, "iat": 1_750_000_000 });
    let good = wrapped(ENCRYPTION_KEY, b"user-42");
    let unsigned = {
        let part = |text: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
        let (header, body) = (
            part("{\"alg\":\"none\",\"typ\":\"JWT\"}"),
            part(&claims(&good).to_string()),
        );
        let (_, signature) = OF_USER_42.rsplit_once('.').unwrap();
        [format!("{header}.{body}."), format!("{header}.{body}.{signature}")]
    };
    let mut bad = vec![
        ("nothing", String::new()),
        ("no token", "user-42".to_owned()),
        ("alg none", unsigned[0].clone()),
        ("alg none with a signature", unsigned[1].clone()),
        ("another secret", signed(&other_secret, &claims(&good))),
        (
            "another key",
            signed(
                SIGNING_KEY,
                &claims(&wrapped(&BASE64_STANDARD.encode([9; 32]), b"user-42")),
            ),
        ),
        (
            "no UTF-8",
            signed(SIGNING_KEY, &claims(&wrapped(ENCRYPTION_KEY, b"\xff\xfe"))),
        ),
        ("blank", signed(SIGNING_KEY, &claims(&wrapped(ENCRYPTION_KEY, b"  ")))),
        ("no identifier", signed(SIGNING_KEY, &json!({ "iat": 1 }))),
        ("a plain identifier", signed(SIGNING_KEY, &claims("user-42"))),
        ("an empty identifier", signed(SIGNING_KEY, &claims(""))),
        (
            "expired",
            signed(
                SIGNING_KEY,
                &json!({ "encryptedIdentifier": good, "exp": 1_750_000_000 }),
            ),
        ),
    ];
    for place in [3, 40, 90, OF_USER_42.len() - 30, OF_USER_42.len() - 1] {
        let other = if &OF_USER_42[place..=place] == "A" { "B" } else { "A" };
        let flipped = format!("{}{other}{}", &OF_USER_42[..place], &OF_USER_42[place + 1..]);
        bad.push(("a letter changed", flipped));
    }
    for (case, token) in &bad {
        pages.assert_refused(token, case).await;
    }
    let long = pages
        .post(&json!({ "token": "x".repeat(9_000), "partition": SHOP }))
        .await;
    assert_eq!(
        (long.status, &long.json()["error"]),
        (400, &json!("The consent token could not be verified"))
    );
    for partition in [GAMES, "no-such-partition", ""] {
        let answer = pages.get(OF_USER_42, partition).await;
        assert_eq!(
            answer.json()["error"],
            "The consent token could not be verified",
            "{partition}"
        );
    }
    assert_eq!(
        pages.kept(OF_USER_42).await.unwrap()["purposes"],
        json!({ "Analytics": true })
    );
}

#[tokio::test]
async fn a_token_expires_a_minute_after_its_time() {
    let pages = Pages::open().await;
    let exp = pages.server().clock.now().as_second() + 10;
    let claims = json!({ "encryptedIdentifier": wrapped(ENCRYPTION_KEY, b"user-42"), "exp": exp });
    let token = signed(SIGNING_KEY, &claims);
    pages.server().clock.advance(std::time::Duration::from_secs(69));
    assert_eq!(pages.get(&token, SHOP).await.status, 204);
    pages.server().clock.advance(std::time::Duration::from_secs(1));
    pages.assert_refused(&token, "expired").await;
}

#[tokio::test]
async fn what_cannot_be_read_is_a_400_that_pages_can_see() {
    let pages = Pages::open().await;
    let call = |consent: Value| json!({ "token": OF_ANA, "partition": SHOP, "consent": consent }).to_string();
    let change = |member: &str, value: Value| {
        let mut consent = confirmed(json!({ "Analytics": true }));
        consent[member] = value;
        call(consent)
    };
    let without = |member: &str| {
        let mut consent = confirmed(json!({}));
        consent.as_object_mut().unwrap().remove(member);
        call(consent)
    };
    for (body, path) in [
        (String::new(), ""),
        ("{".to_owned(), ""),
        ("[]".to_owned(), ""),
        (format!("{{\"pad\":\"{}\"}}", "x".repeat(300 * 1024)), ""),
        (
            json!({ "token": OF_ANA, "consent": {} }).to_string(),
            "consent.purposes",
        ),
        (json!({ "token": OF_ANA, "partition": SHOP }).to_string(), "consent"),
        (without("confirmed"), "consent.confirmed"),
        (without("timestamp"), "consent.timestamp"),
        (without("purposes"), "consent.purposes"),
        (change("timestamp", json!("yesterday")), "consent.timestamp"),
        (
            change("timestamp", json!("2099-01-01T00:00:00.000Z")),
            "consent.timestamp",
        ),
        (change("purposes", json!({ "Analytics": 1 })), "consent.purposes"),
        (change("purposes", json!([])), "consent.purposes"),
        (change("metadata", json!([1])), "consent.metadata"),
        (change("confirmed", json!("yes")), "consent.confirmed"),
    ] {
        let answer = pages.ask(Method::POST, "/sync", &[], body.clone()).await;
        let shown = &body[..body.len().min(120)];
        assert_eq!(answer.status, 400, "{shown}: {}", answer.text);
        let found = answer.json()["details"][0]["path"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(found, path, "{shown}: {}", answer.text);
        assert!(answer.json()["error"].is_string());
    }
    let answer = pages.ask(Method::GET, "/sync", &[("authorization", OF_ANA)], "").await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("partition: is required"))
    );
    assert_eq!(pages.kept(OF_ANA).await, None);
}

#[tokio::test]
async fn the_body_is_json_whatever_its_type_says() {
    let pages = Pages::open().await;
    let body = json!({ "token": OF_ANA, "partition": SHOP, "consent": confirmed(json!({ "Analytics": true })) });
    for kind in [
        "application/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "x/y",
    ] {
        let answer = pages
            .ask(Method::POST, "/sync", &[("content-type", kind)], body.to_string())
            .await;
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text);
    }
    assert_eq!(
        pages.ask(Method::POST, "/sync", &[], body.to_string()).await.status,
        200
    );
}

#[tokio::test]
async fn a_secret_can_be_replaced_while_tokens_are_about_and_twice_is_the_end_of_the_first() {
    let pages = Pages::open().await;
    let claims = json!({ "encryptedIdentifier": wrapped(ENCRYPTION_KEY, b"user-42") });
    let set = format!("setTokenSecret(input: {{id: \"{SHOP}\"}}) {{ tokenSecrets {{ secrets }} }}");
    let made = pages.manage(&format!("mutation {{ {set} }}")).await;
    let secrets = made["tokenSecrets"]["secrets"].clone();
    assert_eq!(
        (secrets.as_array().unwrap().len(), &secrets[1]),
        (2, &json!(SIGNING_KEY))
    );
    let newer = secrets[0].as_str().unwrap();
    assert_eq!(BASE64_STANDARD.decode(newer).unwrap().len(), 48);
    let signed_by = |secret: &str| signed(secret, &claims);
    for secret in [newer, SIGNING_KEY] {
        assert_eq!(pages.get(&signed_by(secret), SHOP).await.status, 204);
    }
    assert_eq!(
        pages.set_token_secret(SHOP, newer).await["tokenSecrets"]["secrets"],
        secrets,
        "it is in use already"
    );

    let third = BASE64_STANDARD.encode([3; 32]);
    let left = pages.set_token_secret(SHOP, &third).await["tokenSecrets"]["secrets"].clone();
    assert_eq!(left, json!([third, newer]));
    pages
        .assert_refused(&signed_by(SIGNING_KEY), "signed with the first")
        .await;
    assert_eq!(pages.get(&signed_by(newer), SHOP).await.status, 204);
}

#[tokio::test]
async fn identifiers_wrapped_under_earlier_keys_are_read_and_records_follow_their_people() {
    let pages = Pages::open().await;
    pages
        .tell(&token_of("user-42"), confirmed(json!({ "Analytics": true })))
        .await;
    let newer = BASE64_STANDARD.encode([5; 32]);
    let shown = pages.bring_identifier_key(&newer).await;
    assert_eq!(
        shown,
        json!({ "encryptionKey": newer, "earlierEncryptionKeys": [ENCRYPTION_KEY] })
    );
    assert!(pages.kept(&token_of("user-42")).await.is_some(), "as before");
    // The same person under a new id; the old one stands beside it under the old key.
    let claims = json!({
        "encryptedIdentifier": wrapped(&newer, b"customer-1742"),
        "deprecatedEncryptedIdentifiers": [wrapped(ENCRYPTION_KEY, b"user-42")],
    });
    let renamed = signed(SIGNING_KEY, &claims);
    assert_eq!(
        pages.kept(&renamed).await.unwrap()["purposes"],
        json!({ "Analytics": true })
    );
    let kept = pages.tell(&renamed, confirmed(json!({ "Functional": false }))).await;
    assert_eq!(kept["purposes"], json!({ "Analytics": true, "Functional": false }));
    // The record is found by the new id alone from now on, and there is one.
    let alone = signed(
        SIGNING_KEY,
        &json!({ "encryptedIdentifier": wrapped(&newer, b"customer-1742") }),
    );
    assert_eq!(pages.kept(&alone).await, Some(kept));
    assert_eq!(check_tables(pages.server()).await["preference_records"], 1);
}

#[tokio::test]
async fn who_was_kept_under_an_older_rule_is_found_as_before() {
    let pages = Pages::open().await;
    let kept = pages.tell(OF_ANA, confirmed(json!({ "Analytics": true }))).await;
    let known = pages.manage("{ identifiers(first: 50) { nodes { id name } } }").await;
    let known = known["nodes"].as_array().unwrap();
    let email = &known.iter().find(|known| known["name"] == "email").unwrap()["id"];
    let input = format!("{{id: {email}, regex: \"@shop[.]example$\"}}");
    pages
        .manage(&format!(
            "mutation {{ updateIdentifier(input: {input}) {{ clientMutationId }} }}"
        ))
        .await;

    let store = &pages.preferences;
    for who in [email_of("ana@example.org"), json!({ "value": "Ana@example.org" })] {
        assert_eq!(store.find(json!({ "identifiers": [who] })).await.len(), 1, "{who}");
    }
    let asked = json!({ "identifier": email_of("ana@example.org") }).to_string();
    let (_, told) = store
        .call(Method::POST, &format!("/v1/preferences/{SHOP}/consent-records"), asked)
        .await;
    assert_eq!(told["nodes"].as_array().unwrap().len(), 1, "{told}");
    let asked = json!({ "partition": SHOP, "identifiers": ["ana@example.org"] }).to_string();
    let (_, told) = store.call(Method::POST, "/v1/consent-preferences", asked).await;
    assert_eq!(told["nodes"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(pages.kept(OF_ANA).await, Some(kept));
    let mut later = confirmed(json!({ "Analytics": false }));
    later["timestamp"] = json!(LATER);
    assert_eq!(pages.tell(OF_ANA, later).await["purposes"]["Analytics"], false);
    let everybody = store.find(json!({})).await;
    assert_eq!(everybody.len(), 1, "{everybody:?}");
    assert_eq!(everybody[0]["identifiers"][0], email_of("ana@example.org"));
    assert_eq!(enabled(&everybody[0], "Analytics"), Some(false));
    // Nobody new is taken by that value.
    let new = in_shop(json!({ "identifiers": [email_of("bea@example.org")] }));
    assert_eq!(store.upsert(json!({ "records": [new] })).await.0, 400);
}

#[tokio::test]
async fn two_organizations_may_call_their_partitions_alike() {
    let pages = Pages::open().await;
    let server = pages.server();
    let other = server.another_organization().await;
    configure(server, other, &[SHOP]).await;
    let scopes = vec![ScopeName::FullAdmin];
    let (_, key) = server.make_key(other, ApiKeyInput { scopes, ..key_input() }).await;
    let theirs = BASE64_STANDARD.encode([9; 48]);
    manage(server, &key, &format!("mutation {{ generateConsentIdentifierEncryptionKey(input: {{key: \"{ENCRYPTION_KEY}\"}}) {{ encryptionKey }} }}")).await;
    manage(
        server,
        &key,
        &format!(
            "mutation {{ setTokenSecret(input: {{id: \"{SHOP}\", secret: \"{theirs}\"}}) {{ clientMutationId }} }}"
        ),
    )
    .await;
    let claims = json!({ "encryptedIdentifier": wrapped(ENCRYPTION_KEY, b"user-42") });
    let token = signed(&theirs, &claims);
    pages.tell(&token, confirmed(json!({ "Analytics": false }))).await;
    assert_eq!(pages.kept(OF_USER_42).await, None, "what is next door is nowhere");
    pages.tell(OF_USER_42, confirmed(json!({ "Analytics": true }))).await;
    assert_eq!(
        pages.kept(&token).await.unwrap()["purposes"],
        json!({ "Analytics": false })
    );
}

#[tokio::test]
async fn the_default_partition_is_named_by_its_consent_manager() {
    let pages = Pages::open().await;
    let manager = pages.manage("{ consentManager { consentManager { id } } }").await["consentManager"]["id"].clone();
    let manager = manager.as_str().unwrap();
    let set = pages.set_token_secret(manager, SIGNING_KEY).await;
    assert_eq!(set["tokenSecrets"]["partition"], manager);
    assert_eq!(pages.get(OF_USER_42, manager).await.status, 204);
}

#[tokio::test]
async fn a_write_is_recorded_as_that_of_the_tokens_holder() {
    let pages = Pages::open().await;
    pages.tell(OF_ANA, confirmed(json!({ "Analytics": true }))).await;
    let entries = pages.audited("preferences.upserted").await;
    assert_eq!(entries.len(), 1);
    assert!(
        matches!(entries[0].actor, Actor::ConsentToken(_)),
        "{:?}",
        entries[0].actor
    );
}

#[tokio::test]
async fn the_clients_upload_of_consents_goes_through_row_by_row() {
    let pages = Pages::open().await;
    let row = async |n: usize| {
        let id = format!("customer-{n:03}");
        // Further columns of the file arrive as texts, empty ones too.
        let consent = json!({ "confirmed": true, "purposes": { "SaleOfInfo": n.is_multiple_of(2), "Analytics": "Auto" }, "timestamp": AT,
            "usp": if n.is_multiple_of(3) { "1YNN" } else { "" }, "tcf": "", "metadata": format!("row {n}") });
        let body = json!({ "token": token_of(&id), "partition": SHOP, "consent": consent });
        let answer = pages
            .ask(
                Method::POST,
                "/sync",
                &[("content-type", "application/json")],
                body.to_string(),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        (n, answer.json())
    };
    for (n, kept) in futures_util::future::join_all((0..40).map(row)).await {
        assert_eq!(kept["purposes"], json!({ "SaleOfInfo": n % 2 == 0 }));
        assert_eq!(kept["metadata"], json!({ "metadata": format!("row {n}") }));
        assert_eq!(kept.get("usp").is_some(), n % 3 == 0);
    }
    assert_eq!(pages.preferences.all(json!({}), 100).await.len(), 40);
    assert_eq!(check_tables(pages.server()).await["preference_records"], 40);
}

#[tokio::test]
async fn a_gateway_client_tells_with_its_api_key() {
    let pages = Pages::open().await;
    let server = pages.server();
    let send = async |key: &str, body: Value| call(server, key, Method::POST, "/sync", body.to_string()).await;
    let said = json!({ "partition": SHOP, "identifier": "ana@example.org", "confirmed": true,
        "purposes": [{ "purpose": "Analytics", "enabled": true }, { "purpose": "Advertising", "enabled": false }] });
    assert_eq!(
        send(&pages.preferences.key, said.clone()).await,
        (200, json!({ "success": true }))
    );
    let record = pages.preferences.find_email("ana@example.org").await;
    assert_eq!(
        (enabled(&record, "Analytics"), enabled(&record, "Advertising")),
        (Some(true), Some(false))
    );
    let view = server.key(&[ScopeName::ViewManagedConsentDatabaseAdminApi]).await;
    assert_eq!(send(&view, said.clone()).await.0, 403);
    assert_eq!(send("ant_nobody", said.clone()).await.0, 401);
    for (member, wrong) in [
        ("purposes", json!([{ "purpose": "Nonsense", "enabled": true }])),
        ("partition", json!("no")),
        ("identifier", json!(null)),
    ] {
        let mut said = said.clone();
        said[member] = wrong;
        assert_eq!(send(&pages.preferences.key, said).await.0, 400, "{member}");
    }
}

#[tokio::test]
async fn a_choice_told_by_its_person_opens_requests_as_any_other_does() {
    let pages = Pages::open().await;
    let condition = json!(json!({ "And": [{ "ProductNews": false }] }).to_string());
    let trigger = format!(
        "createOrUpdateConsentWorkflowTrigger(input: {{name: \"Stop mail\", triggerCondition: {condition}, \
         actionType: CONTACT_OPT_OUT, dataSubjectType: \"customer\", isSilent: true}}) \
         {{ consentWorkflowTrigger {{ id }} }}"
    );
    pages.manage(&format!("mutation {{ {trigger} }}")).await;
    let requests = async || pages.manage("{ requests { totalCount } }").await["totalCount"].clone();
    pages.tell(OF_ANA, confirmed(json!({ "ProductNews": true }))).await;
    assert_eq!(requests().await, 0);
    let refusal = json!({ "purposes": { "ProductNews": false }, "confirmed": true, "timestamp": LATER });
    for _ in 0..2 {
        pages.tell(OF_ANA, refusal.clone()).await;
        assert_eq!(requests().await, 1, "once for a real change, and never for a replay");
    }
    pages.server().settle().await;
}
