//! The body of a submission.
//!
//! It is read leniently where clients differ (`null` and `""` for no address, a bare string for a list of one
//! value, any case of locales and regions) and strictly elsewhere. Fields that we do not know are ignored.

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::dsr::{
    locales,
    model::{DsrId, ImportedEnd, Region, SiloChoice},
    refusal::{Checks, InputCode},
    regions,
    restart::{Restart, Strategy},
    submission::{
        ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, DETAILS_BYTES_MAX, Draft, EmailClaim, Extra, IDENTIFIER_BYTES_MAX,
        IDENTIFIERS_MAX, IDS_MAX, Labels, REPLY_TO_MAX, WORD_BYTES_MAX, normalize_email,
    },
};
use crate::{
    http::{self, parse_uuid},
    organization::{Action, IdentifierKind, PostCompileStatus},
};

/// The body of `POST /v1/data-subject-request`. Its fields are read one by one, so that all mistakes are found at once.
#[derive(Default, Deserialize, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "camelCase", default)]
pub(crate) struct Submit {
    /// What the data subject demands.
    #[schema(value_type = String, required, example = "ACCESS")]
    r#type: Value,
    /// Whom the request is about: `coreIdentifier`, `email`, `emailIsVerified`, `attestedExtraIdentifiers`.
    #[schema(value_type = Object, required, example = json!({"coreIdentifier": "acct_80431", "email": "robin.hale@example.org", "emailIsVerified": true}))]
    subject: Value,
    /// The data subject type.
    #[schema(value_type = String, required, example = "customer")]
    subject_type: Value,
    /// No messages to the data subject. Lifts the need for an e-mail address.
    #[schema(value_type = bool)]
    is_silent: Value,
    /// Marks the request as a test. Silos are asked all the same.
    #[schema(value_type = bool)]
    is_test: Value,
    /// No receipt; later messages still go out.
    #[schema(value_type = bool)]
    skip_sending_receipt: Value,
    /// The template of the receipt.
    #[schema(value_type = Option<Uuid>)]
    email_receipt_template_id: Value,
    /// No waiting period.
    #[schema(value_type = bool)]
    skip_waiting_period: Value,
    /// Enrichers that do not run.
    #[schema(value_type = Vec<Uuid>)]
    skip_enrichment_checks: Value,
    /// The language of messages and report.
    #[schema(value_type = Option<String>, example = "en")]
    locale: Value,
    /// Free text for administrators and silos.
    #[schema(value_type = Option<String>)]
    details: Value,
    /// Labels: `key` and `values` each.
    #[schema(value_type = Vec<Object>, example = json!([{"key": "Tags", "values": ["by phone"]}]))]
    attributes: Value,
    /// Where the data subject lives: `country`, `countrySubDivision`.
    #[schema(value_type = Option<Object>, example = json!({"country": "US", "countrySubDivision": "US-CA"}))]
    region: Value,
    /// When the data subject made the request, if not now.
    #[schema(value_type = Option<String>, format = DateTime)]
    created_at: Value,
    /// Imports a request that has already ended: `FAILED_VERIFICATION`, `COMPLETED`, `CANCELED`, `SECONDARY_COMPLETED`
    /// or `REVOKED`.
    #[schema(value_type = Option<String>)]
    completed_request_status: Value,
    /// What the data subject wants to see, where the action lets them choose: `DOWNLOADABLE` or `VIEW_CATEGORIES`.
    #[schema(value_type = Option<String>)]
    post_compile_status: Value,
    /// Only these data silos are asked.
    #[schema(value_type = Vec<Uuid>)]
    data_silo_ids: Value,
    /// These data silos are not asked.
    #[schema(value_type = Vec<Uuid>)]
    ignore_data_silo_ids: Value,
    /// Who gets copies of replies.
    #[schema(value_type = Vec<String>)]
    reply_to_email_addresses: Value,
    /// Restarts this request: it begins again, under its id. What is not given stays as it was.
    #[schema(value_type = Option<Uuid>)]
    request_id: Value,
    /// What a restart does with identifiers: `PRESERVE_INITIAL_VERIFICATIONS_ONLY`, `PRESERVE_ALL_VERIFICATIONS` or
    /// `REMOVE_ENRICHED_IDENTIFIERS`; the first, if nothing is said.
    #[schema(value_type = Option<String>)]
    restart_identifier_strategy: Value,
    /// The partition that the request is about.
    #[schema(value_type = Option<String>)]
    partition_key: Value,
    /// What the sender calls this submission: said once more under this name, it is answered as it was the first time.
    #[schema(value_type = Option<String>)]
    idempotency_key: Value,
}

http::careful! {
    Submit: [];
}

impl Serialize for Submit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Submit::serialize(self, to)
    }
}

impl Submit {
    /// What could be read, and what could not.
    pub(crate) fn read(self) -> (Draft, Checks) {
        let mut checks = Checks::default();
        let on = &mut checks;
        let restart = self.read_restart(on);
        let words = serde_json::to_vec(&self).expect("values that were JSON have no way to fail");
        let mut draft = Draft {
            action: named(self.r#type, "type", on, Action::parse, "is not an action"),
            subject_type: required(
                text(self.subject_type, "subjectType", 1..=WORD_BYTES_MAX, on),
                "subjectType",
                on,
            ),
            is_silent: flag(self.is_silent, "isSilent", on),
            is_test: flag(self.is_test, "isTest", on),
            skips_receipt: flag(self.skip_sending_receipt, "skipSendingReceipt", on),
            receipt_template: id(self.email_receipt_template_id, "emailReceiptTemplateId", on),
            skips_waiting: flag(self.skip_waiting_period, "skipWaitingPeriod", on).unwrap_or(false),
            skipped_enrichers: given(&self.skip_enrichment_checks)
                .then(|| ids(self.skip_enrichment_checks, "skipEnrichmentChecks", on)),
            locale: read_locale(self.locale, on),
            details: optional(text(self.details, "details", 0..=DETAILS_BYTES_MAX, on)),
            attributes: given(&self.attributes).then(|| read_attributes(self.attributes, on)),
            region: given(&self.region).then(|| read_region(self.region, on)),
            created_at: read_time(self.created_at, "createdAt", on),
            post_compile: given(&self.post_compile_status)
                .then(|| {
                    let rule = "is not what a data subject can see at the end";
                    named(
                        self.post_compile_status,
                        "postCompileStatus",
                        on,
                        PostCompileStatus::parse,
                        rule,
                    )
                })
                .flatten(),
            silos: read_silos(self.data_silo_ids, self.ignore_data_silo_ids, on),
            reply_to: given(&self.reply_to_email_addresses).then(|| read_reply_to(self.reply_to_email_addresses, on)),
            restart,
            partition: optional(text(self.partition_key, "partitionKey", 1..=WORD_BYTES_MAX, on)),
            idempotency_key: optional(text(self.idempotency_key, "idempotencyKey", 1..=WORD_BYTES_MAX, on)),
            words,
            ..Draft::default()
        };
        if !self.completed_request_status.is_null() {
            let rule = "is not a status that a request can be imported with";
            draft.imported_end = named(
                self.completed_request_status,
                "completedRequestStatus",
                on,
                ImportedEnd::parse,
                rule,
            );
        }
        read_subject(self.subject, &mut draft, on);
        (draft, checks)
    }

    fn read_restart(&self, checks: &mut Checks) -> Option<Restart> {
        const STRATEGY: &str = "restartIdentifierStrategy";
        let strategy = match &self.restart_identifier_strategy {
            Value::Null => Some(Strategy::default()),
            name => named(
                name.clone(),
                STRATEGY,
                checks,
                Strategy::parse,
                "is not such a strategy",
            ),
        };
        let request = id(self.request_id.clone(), "requestId", checks)?;
        Some(Restart {
            id: DsrId(request),
            strategy: strategy?,
        })
    }
}

/// Whether anything is said of it at all.
fn given(value: &Value) -> bool {
    !value.is_null()
}

fn read_subject(value: Value, draft: &mut Draft, checks: &mut Checks) {
    let Value::Object(mut subject) = value else {
        let rule = if value.is_null() {
            "is required"
        } else {
            "must be an object"
        };
        return checks.broken("subject", rule);
    };
    let mut take = |field: &str| subject.remove(field).unwrap_or_default();
    const CORE: &str = "subject.coreIdentifier";
    draft.core_identifier = match text(take("coreIdentifier"), CORE, 0..=IDENTIFIER_BYTES_MAX, checks) {
        Ok(Some(core)) if core.is_empty() => {
            checks.refused(InputCode::MissingCoreIdentifier, CORE, "must not be empty");
            None
        }
        Ok(Some(core)) if core.trim().is_empty() || core.chars().any(char::is_control) => {
            checks.broken(CORE, "must hold something, and no control characters");
            None
        }
        Ok(None) => {
            checks.refused(InputCode::MissingCoreIdentifier, CORE, "is required");
            None
        }
        Ok(core) => core,
        Err(Reported) => None,
    };
    draft.email = match text(take("email"), "subject.email", 0..=IDENTIFIER_BYTES_MAX, checks) {
        Ok(None) => None,
        Ok(Some(email)) if email.trim().is_empty() => None,
        Ok(Some(email)) => normalize_email(&email).or_else(|| {
            let rule = "must be an e-mail address";
            checks.refused(InputCode::IdentifierValidationFailed, "subject.email", rule);
            Some(String::new())
        }),
        // An address that was given and is wrong is not also reported missing: the draft is refused in any case.
        Err(Reported) => Some(String::new()),
    };
    draft.email_claim = match flag(take("emailIsVerified"), "subject.emailIsVerified", checks) {
        Some(true) => EmailClaim::Verified,
        Some(false) => EmailClaim::Unverified,
        None => EmailClaim::Unsaid,
    };
    draft.extras = read_extras(take("attestedExtraIdentifiers"), checks);
    let known = ["coreIdentifier", "email", "emailIsVerified", "attestedExtraIdentifiers"];
    refuse_slips(&subject, &known, "subject", checks);
}

/// Refuses what is left of an object where it has nearly the name of a member that is read: what it says would not be heeded
/// (decision 0013).
pub(super) fn refuse_slips(left: &Map<String, Value>, known: &[&str], path: &str, checks: &mut Checks) {
    for meant in left.keys().filter_map(|name| http::meant(name, known)) {
        let rule = format!("must not have a member that is nearly, but not quite, called {meant}");
        checks.broken(path, rule);
    }
}

fn read_extras(value: Value, checks: &mut Checks) -> Vec<Extra> {
    const PATH: &str = "subject.attestedExtraIdentifiers";
    let by_kind = match value {
        Value::Null => return Vec::new(),
        Value::Object(by_kind) => by_kind,
        _ => {
            checks.broken(PATH, "must be an object of identifier types");
            return Vec::new();
        }
    };
    let mut extras = Vec::new();
    for (kind, items) in by_kind {
        let Some(kind) = IdentifierKind::parse(&kind) else {
            let rule = "has a key that is not an identifier type";
            checks.refused(InputCode::UnsupportedIdentifierName, PATH, rule);
            continue;
        };
        let path = format!("{PATH}.{}", kind.as_str());
        for (at, item) in list(items, &path, IDENTIFIERS_MAX, checks).into_iter().enumerate() {
            extras.extend(read_extra(item, kind, format!("{path}[{at}]"), checks));
        }
    }
    if extras.len() > IDENTIFIERS_MAX {
        checks.broken(PATH, format!("must have at most {IDENTIFIERS_MAX} identifiers"));
    }
    extras
}

fn read_extra(item: Value, kind: IdentifierKind, path: String, checks: &mut Checks) -> Option<Extra> {
    let Value::Object(mut item) = item else {
        checks.broken(path, "must be an object with a value");
        return None;
    };
    let mut field = |name: &str, checks: &mut Checks| {
        let path = format!("{path}.{name}");
        let read = text(
            item.remove(name).unwrap_or_default(),
            &path,
            1..=IDENTIFIER_BYTES_MAX,
            checks,
        );
        required(read, &path, checks)
    };
    let value = field("value", checks);
    let name = match kind {
        IdentifierKind::Custom => field("name", checks),
        _ => Some(kind.as_str().to_owned()),
    };
    Some(Extra {
        path,
        name: name?,
        value: value?,
    })
}

fn read_attributes(value: Value, checks: &mut Checks) -> Vec<Labels> {
    let mut attributes = Vec::new();
    for (at, item) in list(value, "attributes", ATTRIBUTES_MAX, checks)
        .into_iter()
        .enumerate()
    {
        let path = format!("attributes[{at}]");
        let Value::Object(mut item) = item else {
            checks.broken(path, "must be an object with key and values");
            continue;
        };
        let key_path = format!("{path}.key");
        let key = text(
            item.remove("key").unwrap_or_default(),
            &key_path,
            1..=WORD_BYTES_MAX,
            checks,
        );
        let key = required(key, &key_path, checks);
        let values = read_labels(item, &path, checks);
        attributes.extend(key.map(|key| Labels { path, key, values }));
    }
    attributes
}

/// The values of one attribute: a list, or a bare string in place of a list of one.
fn read_labels(mut item: Map<String, Value>, path: &str, checks: &mut Checks) -> Vec<String> {
    let path = format!("{path}.values");
    let values = match item.remove("values").unwrap_or_default() {
        bare @ Value::String(_) => vec![bare],
        Value::Null => {
            checks.broken(path, "is required");
            return Vec::new();
        }
        other => list(other, &path, ATTRIBUTES_MAX, checks),
    };
    let mut read = Vec::new();
    for (at, value) in values.into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        let value = text(value, &path, 0..=ATTRIBUTE_BYTES_MAX, checks);
        read.extend(required(value, &path, checks).filter(|value| !value.trim().is_empty()));
    }
    read
}

fn read_region(value: Value, checks: &mut Checks) -> Region {
    let mut region = match value {
        Value::Null => return Region::default(),
        Value::Object(region) => region,
        _ => {
            checks.broken("region", "must be an object");
            return Region::default();
        }
    };
    let mut field = |name: &str, path: &str, checks: &mut Checks| {
        let code = text(
            region.remove(name).unwrap_or_default(),
            path,
            0..=WORD_BYTES_MAX,
            checks,
        );
        optional(code).filter(|code| !code.is_empty())
    };
    let country = field("country", "region.country", checks).and_then(|code| {
        let country = regions::find_country(&code);
        if country.is_none() {
            checks.broken("region.country", "is not a country code of ISO 3166-1");
        }
        country
    });
    let subdivision = field("countrySubDivision", "region.countrySubDivision", checks).and_then(|code| {
        let subdivision = regions::find_subdivision(&code);
        if subdivision.is_none() {
            checks.broken("region.countrySubDivision", "is not a subdivision code of ISO 3166-2");
        }
        subdivision
    });
    if let (Some(country), Some((of, _))) = (country, &subdivision)
        && country != *of
    {
        checks.broken(
            "region.countrySubDivision",
            format!("does not belong to country {country}"),
        );
    }
    refuse_slips(&region, &["country", "countrySubDivision"], "region", checks);
    let country = country.or(subdivision.as_ref().map(|(of, _)| *of)).map(str::to_owned);
    Region {
        country,
        subdivision: subdivision.map(|(_, code)| code),
    }
}

fn read_locale(value: Value, checks: &mut Checks) -> Option<&'static str> {
    let tag = optional(text(value, "locale", 1..=WORD_BYTES_MAX, checks))?;
    let locale = locales::find_locale(&tag);
    if locale.is_none() {
        checks.broken("locale", "is not a locale that requests can have");
    }
    locale
}

fn read_silos(only: Value, except: Value, checks: &mut Checks) -> Option<SiloChoice> {
    if !given(&only) && !given(&except) {
        return None;
    }
    let only = ids(only, "dataSiloIds", checks);
    let except = ids(except, "ignoreDataSiloIds", checks);
    Some(match (only.is_empty(), except.is_empty()) {
        (true, true) => SiloChoice::All,
        (false, true) => SiloChoice::Only(only),
        (true, false) => SiloChoice::Except(except),
        (false, false) => {
            checks.broken("ignoreDataSiloIds", "cannot stand together with dataSiloIds");
            SiloChoice::Only(only)
        }
    })
}

fn read_reply_to(value: Value, checks: &mut Checks) -> Vec<String> {
    let mut addresses = Vec::new();
    for (at, item) in list(value, "replyToEmailAddresses", REPLY_TO_MAX, checks)
        .into_iter()
        .enumerate()
    {
        match item.as_str().and_then(normalize_email) {
            Some(address) if addresses.contains(&address) => {}
            Some(address) => addresses.push(address),
            None => checks.broken(format!("replyToEmailAddresses[{at}]"), "must be an e-mail address"),
        }
    }
    addresses
}

/// A time in ISO 8601: with an offset, or without one in UTC, or a day, which begins in UTC.
fn read_time(value: Value, path: &str, checks: &mut Checks) -> Option<Timestamp> {
    let written = optional(text(value, path, 1..=WORD_BYTES_MAX, checks))?;
    let civil = |at: civil::DateTime| at.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    let read = written
        .parse::<Timestamp>()
        .ok()
        .or_else(|| written.parse::<civil::DateTime>().ok().and_then(civil))
        .filter(|at| *at >= Timestamp::UNIX_EPOCH)
        .and_then(|at| Timestamp::from_millisecond(at.as_millisecond()).ok());
    if read.is_none() {
        checks.broken(path, "must be a date or a time in ISO 8601");
    }
    read
}

/// It is there and wrong, and stands among the broken rules already.
pub(super) struct Reported;

/// A string, or nothing if it is absent.
pub(super) fn text(
    value: Value,
    path: &str,
    bytes: std::ops::RangeInclusive<usize>,
    checks: &mut Checks,
) -> Result<Option<String>, Reported> {
    let rule = match value {
        Value::Null => return Ok(None),
        Value::String(text) if bytes.contains(&text.len()) => return Ok(Some(text)),
        Value::String(text) if text.is_empty() => "must not be empty".to_owned(),
        Value::String(_) => format!("must have at most {} bytes", bytes.end()),
        _ => "must be a string".to_owned(),
    };
    checks.broken(path, rule);
    Err(Reported)
}

fn required<T>(read: Result<Option<T>, Reported>, path: &str, checks: &mut Checks) -> Option<T> {
    match read {
        Ok(None) => {
            checks.broken(path, "is required");
            None
        }
        Ok(found) => found,
        Err(Reported) => None,
    }
}

pub(super) fn optional<T>(read: Result<Option<T>, Reported>) -> Option<T> {
    read.unwrap_or(None)
}

/// One of a closed set of names, which must be there.
fn named<T>(
    value: Value,
    path: &str,
    checks: &mut Checks,
    parse: fn(&str) -> Option<T>,
    rule: &'static str,
) -> Option<T> {
    match value {
        Value::Null => {
            checks.broken(path, "is required");
            None
        }
        Value::String(name) => {
            let found = parse(&name);
            if found.is_none() {
                checks.broken(path, rule);
            }
            found
        }
        _ => {
            checks.broken(path, "must be a string");
            None
        }
    }
}

fn flag(value: Value, path: &str, checks: &mut Checks) -> Option<bool> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(flag),
        _ => {
            checks.broken(path, "must be true or false");
            None
        }
    }
}

pub(super) fn id(value: Value, path: &str, checks: &mut Checks) -> Option<Uuid> {
    if value.is_null() {
        return None;
    }
    let read = value.as_str().and_then(parse_uuid);
    if read.is_none() {
        checks.broken(path, "must be a UUID");
    }
    read
}

fn ids(value: Value, path: &str, checks: &mut Checks) -> Vec<Uuid> {
    let mut read = Vec::new();
    for (at, item) in list(value, path, IDS_MAX, checks).into_iter().enumerate() {
        let path = format!("{path}[{at}]");
        match item {
            Value::Null => checks.broken(path, "must be a UUID"),
            item => read.extend(id(item, &path, checks)),
        }
    }
    read
}

pub(super) fn list(value: Value, path: &str, max: usize, checks: &mut Checks) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(items) if items.len() <= max => items,
        Value::Array(_) => {
            checks.broken(path, format!("must have at most {max} entries"));
            Vec::new()
        }
        _ => {
            checks.broken(path, "must be a list");
            Vec::new()
        }
    }
}
