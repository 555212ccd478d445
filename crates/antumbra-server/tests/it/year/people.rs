//! The people whose requests these are, and whoever submits them: they ask for this and that, more than once, confirm their
//! addresses or do not, fetch their reports, and think better of it.

use std::sync::LazyLock;

use antumbra_server::dsr::DsrId;
use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Asked, Chance, Year};

/// Where people live whose time the law counts, and where none does.
const COUNTRIES: [Option<&str>; 7] = [
    Some("IE"),
    Some("DE"),
    Some("GB"),
    Some("US-CA"),
    Some("BR"),
    Some("JP"),
    None,
];
/// How requests that are over come in.
const ENDS: [&str; 5] = [
    "FAILED_VERIFICATION",
    "COMPLETED",
    "CANCELED",
    "SECONDARY_COMPLETED",
    "REVOKED",
];

static LINK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("https://privacy.example.test(/(verify|report)/[^\\s]+)").unwrap());
static CODE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("Reference: (\\S+)[\\s\\S]*Or enter this code: ([0-9]{6})").unwrap());

impl Year {
    /// The `number`th submission: one body, by itself or in bulk, and now and then both.
    pub(super) async fn submit(&mut self, number: u64) {
        let mut chance = Chance::of(self.plan.seed, "submission", number);
        let action = match chance.below(100) {
            0..30 => "ACCESS",
            30..60 => "ERASURE",
            60..68 => "CONTACT_OPT_OUT",
            68..76 => "SALE_OPT_OUT",
            76..84 => "RECTIFICATION",
            84..88 => "RESTRICTION",
            88..94 => "BUSINESS_PURPOSE",
            94..98 => "PLACE_ON_LEGAL_HOLD",
            _ => "REMOVE_FROM_LEGAL_HOLD",
        };
        // Some have asked for something before.
        let person = if number > 0 && chance.percent(20) {
            chance.below(number)
        } else {
            number
        };
        let core = format!("p{person}");
        let is_internal = action.ends_with("LEGAL_HOLD");
        let is_silent = is_internal || chance.percent(40);
        let is_import = chance.percent(6);
        let country = chance.pick(&COUNTRIES);
        let subject = json!({
            "coreIdentifier": core,
            "email": format!("{core}@example.test"),
            "emailIsVerified": is_silent || chance.percent(65),
        });
        let made_at = self.now() - super::DAY * u32::try_from(chance.below(4)).unwrap();
        let mut body = json!({
            "type": action,
            "subjectType": "customer",
            "subject": subject,
            "isSilent": is_silent,
            "createdAt": made_at.to_string(),
            "locale": chance.pick(&["en", "de", "fr-FR"]),
            "details": "Raised by phone",
            "attributes": [{ "key": "Tags", "values": ["by phone"] }],
            "skipSendingReceipt": chance.percent(20),
            "skipWaitingPeriod": chance.percent(20),
            "idempotencyKey": format!("submission-{number}"),
        });
        body["region"] = match country {
            Some(code) if code.contains('-') => json!({ "country": &code[..2], "countrySubDivision": code }),
            Some(code) => json!({ "country": code }),
            None => Value::Null,
        };
        if is_import {
            body["completedRequestStatus"] = json!(chance.pick(&ENDS));
        }
        let asked = Asked {
            core,
            action,
            country,
            is_import,
        };
        if !is_import && chance.percent(15) {
            self.submit_in_bulk(body, asked).await;
        } else {
            self.submit_one(body, asked).await;
        }
    }

    /// An erasure whose person confirms everything and withdraws nothing.
    pub(super) async fn submit_erasure(&mut self, person: u64) {
        let core = format!("e{person}");
        let body = json!({
            "type": "ERASURE",
            "subjectType": "customer",
            "subject": { "coreIdentifier": core, "email": format!("{core}@example.test"), "emailIsVerified": true },
            "locale": "en",
            "region": { "country": "IE" },
            "idempotencyKey": core,
        });
        let asked = Asked {
            core,
            action: "ERASURE",
            country: Some("IE"),
            is_import: false,
        };
        self.submit_one(body, asked).await;
    }

    pub(super) async fn submit_one(&mut self, body: Value, asked: Asked) {
        let answer = self.post("/v1/data-subject-request", &body).await;
        match answer.status {
            200 => self.acknowledged(&answer.body["request"]["id"], asked),
            // They have asked for the same, and it is worked on.
            400 | 409 if answer.body.to_string().contains("DUPLICATE") => {}
            _ => self
                .wrongs
                .push(format!("a submission: {} {}", answer.status, answer.body)),
        }
    }

    async fn submit_in_bulk(&mut self, mut body: Value, asked: Asked) {
        let fields = body.as_object_mut().unwrap();
        let subject = fields.remove("subject").unwrap();
        fields.remove("type");
        let auth = json!({ "coreIdentifier": subject["coreIdentifier"], "email": subject["email"] });
        fields.insert("attestedAuthContext".to_owned(), auth);
        fields.insert("workflowConfigId".to_owned(), json!(self.workflows[asked.action]));
        fields.retain(|_, value| !value.is_null());
        let answer = self
            .post("/v1/data-subject-request-bulk", &json!({ "input": [body] }))
            .await;
        if answer.status != 200 {
            return self.wrongs.push(format!("a bulk: {} {}", answer.status, answer.body));
        }
        let taken = &answer.body["requests"][0];
        if taken["outcome"] == "CREATED" || answer.is_repeated {
            self.acknowledged(&taken["id"], asked);
        }
    }

    fn acknowledged(&mut self, id: &Value, asked: Asked) {
        let id = DsrId(id.as_str().unwrap().parse().unwrap());
        self.unfinished.insert(id);
        self.requests.entry(id).or_insert(asked);
    }

    /// A call with the key that may do everything.
    pub(super) async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let key = self.admin_key.clone();
        self.call(|server| server.client().post(server.url(path)).bearer_auth(&key).json(body))
            .await
    }

    /// People read what was sent to them since, and follow some of the links.
    pub(super) async fn answer_mails(&mut self) {
        while self.read_mails < self.mails.len() {
            let posted = self.mails[self.read_mails].posted.clone();
            self.read_mails += 1;
            let who = posted.to[0].clone();
            let mut chance = Chance::of(self.plan.seed, &format!("mail to {who}"), self.read_mails as u64);
            // There are people who never answer.
            let never = Chance::of(self.plan.seed, &who, 0).percent(15);
            let text = posted.parts().remove(0);
            let Some(link) = LINK.captures(&text).filter(|_| !never) else {
                continue;
            };
            let (path, kind) = (link[1].to_owned(), link[2].to_owned());
            match (kind.as_str(), CODE.captures(&text)) {
                ("verify", Some(said)) if chance.percent(30) => self.enter_code(&said[1], &said[2]).await,
                ("verify", _) if chance.percent(70) => self.confirm(&path).await,
                ("report", _) if chance.percent(70) => {
                    self.fetch_report(&path, chance.percent(25) && !self.is_calm).await
                }
                _ => {}
            }
        }
    }

    async fn confirm(&mut self, path: &str) {
        self.page(Method::GET, path, "").await;
        self.page(Method::POST, path, "").await;
    }

    async fn enter_code(&mut self, request: &str, code: &str) {
        let body = json!({ "requestId": request, "code": code });
        let answer = self
            .call(|server| server.client().post(server.url("/v1/verify-identifier")).json(&body))
            .await;
        // It may be too late for it, or an earlier code.
        if !matches!(answer.status, 200 | 400 | 429) {
            self.wrongs.push(format!("a code: {} {}", answer.status, answer.body));
        }
    }

    async fn fetch_report(&mut self, path: &str, withdraws: bool) {
        let page = self.page(Method::GET, path, "").await;
        if page.contains("/withdraw") && withdraws {
            self.page(Method::POST, &format!("{path}/withdraw"), "confirm=yes")
                .await;
        } else if page.contains("/download") {
            self.page(Method::POST, &format!("{path}/download"), "").await;
        }
    }

    /// A page, unless the link opens nothing any more.
    async fn page(&mut self, method: Method, path: &str, form: &'static str) -> String {
        let answer = self
            .call(|server| {
                let call = server.client().request(method.clone(), server.url(path)).body(form);
                call.header("content-type", "application/x-www-form-urlencoded")
            })
            .await;
        if !matches!(answer.status, 200 | 404 | 429) {
            self.wrongs
                .push(format!("{method} of a page: {} {}", answer.status, answer.body));
        }
        answer.body.as_str().unwrap_or_default().to_owned()
    }
}
